/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Slab: a run of pages cut into equal blocks.
 *
 * One implementation serves a bucket's slabs (a few blocks) and a block pool
 * (up to millions). A block is in one of three states:
 *
 *	free      may be taken
 *	reserved  taken, not yet known to the user: cannot be given by an offset
 *	live      published: the user may give it back
 *
 * so that a result which cannot be written is undone although another thread
 * guesses the offset meanwhile. Invariants:
 *
 *	free bits + issued == nr,  live bits <= issued,  index >= fresh => free
 *
 * The lowest free index is taken: blocks handed out before (index < fresh) go
 * before fresh ones, and the free set is always in address order.
 *
 * Blocks change state in bunches: as many as one word of the bitmaps holds, in one
 * step for all of them. How scattered the free ones are is of interest in a block
 * pool only: for a bucket's slab it is not counted.
 * No locks here: the caller serialises.
 */
#ifndef MP_SLAB_H
#define MP_SLAB_H

#include "core.h"

struct mp_bucket;

struct mp_slab {
	u64 start;			/* page number in the owner's space */
	u64 pages;
	u64 stride;			/* bytes from block to block */
	u64 reciprocal;			/* 2^64 / stride, rounded up */
	u32 nr;				/* blocks */
	u32 issued;			/* reserved + live */
	u32 fresh;			/* lowest index never handed out */
	u32 runs;			/* maximal runs of free blocks; a bucket's: 1 */
	u32 hint;			/* no word of free[] below this has a bit set */
	u32 live_count;
	struct mp_bucket *bucket;	/* of a bucket's slab, else NULL */
	struct list_head list;		/* the bucket's: see bucket.h */
	unsigned long *free;		/* bitmap: block is free */
	unsigned long *live;		/* bitmap: block is live */
	unsigned long *summary;		/* bitmap: word of free[] has a bit set */
};

/* Some blocks of a slab, whose bits share a word of its bitmaps. */
struct mp_bunch {
	unsigned long bits;		/* in that word */
	u32 word;
	u8 nr;				/* bits that are set */
	bool reused;			/* taken: handed out before */
};

/* Blocks of @stride (> 1) bytes in @pages pages, at most @nr. NULL: no memory. */
struct mp_slab *mp_slab_create(u64 start, u64 pages, u64 stride, u32 nr);
void mp_slab_destroy(struct mp_slab *slab);

static inline u32 mp_slab_free(const struct mp_slab *slab)
{
	return slab->nr - slab->issued;
}

/* Free blocks that were handed out before. */
static inline u32 mp_slab_reusable(const struct mp_slab *slab)
{
	return slab->fresh - slab->issued;
}

static inline u64 mp_slab_offset(const struct mp_slab *slab, u32 index)
{
	return (slab->start << MP_PAGE_SHIFT) + index * slab->stride;
}

static inline u32 mp_bunch_first(const struct mp_bunch *bunch)
{
	return bunch->word * BITS_PER_LONG + __ffs(bunch->bits);
}

/*
 * Takes the lowest free blocks, at least one and at most @most: reserved
 * afterwards. All of them were handed out before, or none. 0 or -ENOSPC.
 */
int mp_slab_take(struct mp_slab *slab, u32 most, struct mp_bunch *bunch);

/* reserved -> live */
void mp_slab_publish(struct mp_slab *slab, const struct mp_bunch *bunch);

/*
 * reserved -> free. Fresh blocks are so again, provided that the fresh ones taken
 * after them have been aborted before. (Otherwise they count as handed out before.)
 */
void mp_slab_abort(struct mp_slab *slab, const struct mp_bunch *bunch);

/* live -> free */
void mp_slab_give(struct mp_slab *slab, const struct mp_bunch *bunch);

/*
 * Gives back the blocks at @nr (> 0) offsets in bytes, up to the first that lies
 * outside of the slab or is refused, and no more when the last issued one went back.
 * *@given: how many. 0; an error of mp_slab_index(); -ENOENT: not live.
 */
int mp_slab_give_offsets(struct mp_slab *slab, const u64 *offsets, u32 nr, u32 *given);

/* Gives back all that are live; returns how many. */
u32 mp_slab_give_live(struct mp_slab *slab);

/* One block: live -> free. -ENOENT when it is not live. */
int mp_slab_give_one(struct mp_slab *slab, u32 index);

/*
 * Index of the block that starts at @offset (bytes). -EINVAL: it is misaligned or lies
 * inside of a block; -ENOENT: in none, as what is left over behind the last one.
 */
static inline int mp_slab_index(const struct mp_slab *slab, u64 offset, u32 *index)
{
	u64 in = offset - (slab->start << MP_PAGE_SHIFT);
	/* Exact for multiples of the stride; nothing else passes the test below. */
	u64 i = mp_mul_high(in, slab->reciprocal);

	if (i * slab->stride == in && i < slab->nr) {
		*index = i;
		return 0;
	}
	return in < slab->nr * slab->stride || in % MEMPOOL_BLOCK_ALIGN ? -EINVAL : -ENOENT;
}

static inline bool mp_slab_is_live(const struct mp_slab *slab, u32 index)
{
	return test_bit(index, slab->live);
}

/* The lowest live index not below @from, or nr. */
u32 mp_slab_next_live(const struct mp_slab *slab, u32 from);

/* Gaps between neighbouring free blocks: runs - 1, or 0. */
u64 mp_slab_gaps(const struct mp_slab *slab);

/* fragmentation > threshold, in integers: gaps * 100 > threshold * (free - 1) */
bool mp_slab_fragmented(const struct mp_slab *slab, u32 threshold);

/* Counts runs and summaries anew from the bitmap and resets the search. */
void mp_slab_coalesce(struct mp_slab *slab);

/* Checks the invariants: for tests. */
bool mp_slab_valid(const struct mp_slab *slab);

#endif /* MP_SLAB_H */
