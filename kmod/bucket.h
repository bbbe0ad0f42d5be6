/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Buckets: size classes and a session's slabs in each.
 *
 * A size is rounded up by the session's tiers; the result is the bucket's size.
 * Blocks of a bucket lie in slabs, runs of pages of the session's heap. Partly
 * used slabs are used first, blocks handed out before ahead of fresh ones.
 * Slabs of which no block is issued stay for reuse as long as the bucket's
 * reusable free blocks without them would be fewer than @max_cached and all
 * such slabs together do not exceed @max_cached_bytes.
 *
 * Buckets are looked up sparsely: only those that have a slab exist.
 * No locks here: the session serialises.
 */
#ifndef MP_BUCKET_H
#define MP_BUCKET_H

#include "heap.h"

#define MP_DEFAULT_MAX_CACHED		10
#define MP_DEFAULT_MAX_CACHED_BYTES	(16ull << 20)
#define MP_BUCKET_HASH_BITS		7

struct mp_tiers {
	u32 nr;
	struct mempool_tier tier[MEMPOOL_MAX_TIERS];
};

/* (10 KiB, 1 KiB), (100 KiB, 10 KiB), (END, 100 KiB) */
extern const struct mp_tiers mp_default_tiers;

/* 0 or -EINVAL: 1 to MAX_TIERS, rising, last MEMPOOL_TIER_END, granularities. */
int mp_tiers_check(const struct mp_tiers *tiers);

/* The bucket's size for @size > 0. 0, -EINVAL (0 bytes), -EOVERFLOW. */
int mp_round_to_bucket(const struct mp_tiers *tiers, u64 size, u64 *rounded);

struct mp_bucket {
	u64 size;			/* what requests are rounded to */
	u64 stride;			/* its storage */
	u64 nr_blocks;			/* in all slabs */
	u64 nr_issued;
	u64 nr_reusable;		/* free, handed out before */
	u64 nr_slabs;
	u64 keep;			/* max_cached, or more after a preallocation */
	struct list_head partial;	/* some issued, some free */
	struct list_head empty;		/* none issued */
	struct list_head full;		/* none free */
	struct hlist_node hash;
};

struct mp_bucket_counts {
	u64 new_allocations;
	u64 reused_allocations;
	u64 releases;
	u64 bad_releases;
	u64 current_blocks;		/* live */
	u64 current_bytes;		/* their rounded sizes */
	u64 peak_bytes;
	u64 footprint_bytes;		/* all slabs */
	u64 peak_footprint_bytes;
	u64 cached_bytes;		/* slabs of which no block is issued */
	u64 nr_slabs;
};

/* The latest request, and the bucket that serves it: NULL when it is gone. */
struct mp_recent {
	u64 size;
	u32 flags;
	struct mp_bucket *bucket;
};

struct mp_buckets {
	struct mp_heap *heap;
	struct mp_tiers tiers;
	u32 max_cached;
	u64 max_cached_bytes;
	u64 prepared_bytes;		/* kept even above @max_cached_bytes, until a trim */
	struct mp_recent recent;
	struct mp_bucket_counts counts;
	struct hlist_head hash[1 << MP_BUCKET_HASH_BITS];
};

void mp_buckets_init(struct mp_buckets *b, struct mp_heap *heap, const struct mp_tiers *tiers);

/* Requests are rounded by other tiers from now on; the slabs that there are stay. */
void mp_buckets_set_tiers(struct mp_buckets *b, const struct mp_tiers *tiers);

/* Frees all tables; blocks issued are forgotten. */
void mp_buckets_destroy(struct mp_buckets *b);

/* Blocks taken but not yet published: valid across unlocking. */
struct mp_ticket {
	struct mp_slab *slab;
	struct mp_bunch bunch;
};

#define MP_TAKE_PAGE_ALIGNED	1u

/*
 * Some blocks have been had: are the @rest (> 0) worth another chunk? Those for a cache
 * only if they fill it. Nobody waits for them, but their user would for the chunk.
 */
static inline bool mp_worth_a_chunk(const struct mempool_alloc *req, u32 rest)
{
	return !(req->flags & MEMPOOL_ALLOC_CACHED) || req->size >= MEMPOOL_CHUNK_SIZE / rest;
}

/*
 * Reserves blocks for @size bytes each, at least one and at most @most: as many as
 * are next to each other in the order of taking. A slab that has to be made has room
 * for @most of them, if that is not too large.
 * 0; -ENOSPC: the heap needs a free run of *@pages pages first; -EINVAL,
 * -EOVERFLOW as mp_round_to_bucket(); -ENOMEM.
 */
int mp_buckets_take(struct mp_buckets *b, u64 size, u32 flags, u32 most,
		    struct mp_ticket *ticket, u64 *pages);

/* Blocks of a ticket of which the user is told the same, but for the offset. */
struct mp_alike {
	struct mempool_block block;	/* as for bit 0 */
	u64 stride;			/* a bit further: so much further */
	unsigned long bits;
};

/*
 * Says what the user is to know of the first of @*bits, blocks of a ticket, and of
 * others like it; takes them off. They are reserved: no lock is needed.
 */
void mp_buckets_describe(const struct mp_buckets *b, const struct mp_ticket *ticket,
			 unsigned long *bits, struct mp_alike *alike);

/*
 * The blocks are the user's now. @count: they count as allocations (no: they go
 * into a cache in user space, which claims later).
 */
void mp_buckets_publish(struct mp_buckets *b, const struct mp_ticket *ticket, bool count);

/* The blocks go back unseen. */
void mp_buckets_abort(struct mp_buckets *b, const struct mp_ticket *ticket);

/*
 * Gives the blocks at @nr offsets back, up to the first that is refused. @count: as
 * for publish. *@done is raised by how many were given.
 * 0; -EINVAL: misaligned, inside a block or beyond the space; -ENOENT: not a
 * live block. The refused one changes counts.bad_releases only.
 */
int mp_buckets_give(struct mp_buckets *b, const u64 *offsets, u32 nr, bool count, u32 *done);

/* Gives every live block back (counted); returns how many. */
u64 mp_buckets_give_all(struct mp_buckets *b);

/*
 * One step towards @count free blocks in the bucket of @size: adds a slab.
 * *@ready: free blocks now. 0 when *@ready >= @count; -EAGAIN: call again;
 * -ENOSPC: as for mp_buckets_take(); else an error.
 */
int mp_buckets_prepare(struct mp_buckets *b, u64 size, u32 flags, u32 count, u32 *ready,
		       u64 *pages);

/* Dissolves slabs of which no block is issued: all, or those over slot @index. */
void mp_buckets_trim(struct mp_buckets *b);
void mp_buckets_vacate(struct mp_buckets *b, u64 index);

bool mp_buckets_valid(const struct mp_buckets *b);

#endif /* MP_BUCKET_H */
