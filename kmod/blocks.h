/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Blocks: a fixed number of equal blocks, addressed by index.
 *
 * One slab, and for each block who holds it (a member's number, 0: nobody) and
 * its generation, which rises by one whenever the block is returned. A token
 * (index, generation) names one issue: it can never be taken for a later one.
 * No locks here: the pool's serialises.
 */
#ifndef MP_BLOCKS_H
#define MP_BLOCKS_H

#include "slab.h"

/**
 * struct mp_issue - one block
 * @holder: number of the member that holds it; 0: free
 * @generation: rises at every return, and wraps
 */
struct mp_issue {
	u32 holder;
	u32 generation;
};

/**
 * struct mp_blocks - the blocks of a pool, and what was counted
 * @slab: the blocks
 * @issues: by index
 * @block_size: bytes, as asked for
 * @threshold: percent of fragmentation above which a return coalesces
 * @gets: blocks handed out
 * @returns: blocks returned
 * @bad_returns: tokens refused
 * @adopts: blocks adopted
 * @coalesces: all coalesces
 * @auto_coalesces: those that a return caused
 * @coalesce_ns_last: the latest one took this long
 * @coalesce_ns_max: the longest
 */
struct mp_blocks {
	struct mp_slab *slab;
	struct mp_issue *issues;
	u64 block_size;
	u32 threshold;
	u64 gets;
	u64 returns;
	u64 bad_returns;
	u64 adopts;
	u64 coalesces;
	u64 auto_coalesces;
	u64 coalesce_ns_last;
	u64 coalesce_ns_max;
};

/* Bytes from one block to the next. */
static inline u64 mp_blocks_stride(u64 block_size)
{
	return ALIGN(block_size, (u64)MEMPOOL_BLOCK_ALIGN);
}

/* Cuts pages from page number @start into blocks. 0 or -ENOMEM. */
int mp_blocks_init(struct mp_blocks *b, u64 start, u64 block_size, u32 nr, u32 threshold);
void mp_blocks_destroy(struct mp_blocks *b);

/* Issues the lowest free blocks to @member, at most @most; returns how many. */
u32 mp_blocks_get(struct mp_blocks *b, u32 member, struct mempool_token *tokens, u32 most);

/*
 * Looks @token up. 0 and its @index; -ERANGE; -ESTALE: returned since; -ENOENT:
 * free, or not @member's (0: anybody's).
 */
int mp_blocks_find(const struct mp_blocks *b, const struct mempool_token *token, u32 member,
		   u32 *index);

/* Ends the issue of a block that is out; returns who held it. */
u32 mp_blocks_return(struct mp_blocks *b, u32 index);

/* The same, unseen: its token could not be told. */
void mp_blocks_unget(struct mp_blocks *b, u32 index);

/* Makes @member the holder; returns who was. */
u32 mp_blocks_adopt(struct mp_blocks *b, u32 index, u32 member);

/* The lowest index not below @from that @member (0: anybody) holds, or nr. */
u32 mp_blocks_next_held(const struct mp_blocks *b, u32 member, u32 from);

/* A coalesce took @ns; @automatic: a return caused it. */
void mp_blocks_coalesced(struct mp_blocks *b, u64 ns, bool automatic);

/* State and counters; fields that the blocks do not know are zero. */
void mp_blocks_read_stats(const struct mp_blocks *b, struct mempool_pool_stats *stats);

#endif /* MP_BLOCKS_H */
