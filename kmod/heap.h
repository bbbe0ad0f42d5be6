/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Heap: page runs in a session's offset space.
 *
 * The offset space is divided into slots of one chunk (2 MiB). A slot is a
 * hole, or backed by a chunk; the pages of backed slots form free runs, across
 * the borders of neighbouring slots, and runs taken for slabs. Which chunk backs
 * a slot is the session's business: the core keeps the pointer and never looks
 * behind it.
 *
 * A backed slot is *idle* while no slab that overlaps it has a block issued.
 * Idle slots are listed, wholly free ones first.
 *
 * Slots live in leaves that are made on demand and stay until the heap is
 * destroyed, so that mp_heap_slot() and a slot's @chunk may be read without the
 * lock that serialises everything else here.
 */
#ifndef MP_HEAP_H
#define MP_HEAP_H

#include "extents.h"
#include "slab.h"
#include "slabmap.h"

#define MP_LEAF_SLOTS	64u

struct mp_slot {
	void *chunk;			/* what backs it; NULL: hole */
	u64 tenure;			/* of this backing */
	u64 index;			/* slot number */
	struct mp_slabmap *map;		/* slab over each page; from bind to give_slots */
	u32 busy;			/* slabs with blocks issued that overlap it */
	u32 free_pages;			/* pages in free runs */
	struct list_head idle;		/* in heap->idle while @busy is 0 */
	struct llist_node freed;	/* the session's: see session.c */
};

struct mp_heap {
	struct mp_extents holes;	/* unit: slot */
	struct mp_extents pages;	/* unit: page */
	struct mp_slot **leaves;
	u64 nr_slots;
	u64 nr_backed;			/* slots whose pages are in the heap */
	u64 nr_idle;			/* of these, idle */
	u64 tenure;			/* of the latest binding */
	struct list_head idle;
};

/* 0 or -ENOMEM. It is to be destroyed in both cases. */
int mp_heap_init(struct mp_heap *heap, u64 nr_slots);
void mp_heap_destroy(struct mp_heap *heap);

/* The slot, or NULL when it was never used or lies beyond the space. Lockless. */
struct mp_slot *mp_heap_slot(const struct mp_heap *heap, u64 index);

/*
 * Takes @nr neighbouring holes for memory that is not the heap's (a named block
 * pool) and makes their leaves. 0, -ENOSPC (no room in the space), -ENOMEM.
 * The caller sets each slot's chunk, last, by mp_slot_set_chunk().
 */
int mp_heap_take_slots(struct mp_heap *heap, u64 nr, u64 *first);

/*
 * @nr holes again: the slots of one mp_heap_take_slots(), whose chunk pointers
 * the caller has cleared, or slots that were unbound.
 */
void mp_heap_give_slots(struct mp_heap *heap, u64 first, u64 nr);

/*
 * Where chunks are to be bound so that a free run of @pages pages exists:
 * @nr slots from @first. *@nr is 0 when there is such a run already.
 * 0, or -ENOSPC when the space has no room.
 */
int mp_heap_plan(const struct mp_heap *heap, u64 pages, u64 *first, u64 *nr);

/* Backs hole @index with @chunk: its pages become free. 0, -ENOMEM, -ENOSPC. */
int mp_heap_bind(struct mp_heap *heap, u64 index, void *chunk);

/*
 * Ends the backing of an idle slot of which no slab overlaps: its pages leave
 * the heap, its chunk pointer is cleared. It becomes a hole by
 * mp_heap_give_slots(), once nobody can reach the chunk through it.
 */
void *mp_heap_unbind(struct mp_heap *heap, u64 index);

/* Publishes or clears what backs a slot, for lockless readers. */
static inline void mp_slot_set_chunk(struct mp_slot *slot, void *chunk)
{
	WRITE_ONCE(slot->chunk, chunk);
}

static inline void *mp_slot_chunk(const struct mp_slot *slot)
{
	return READ_ONCE(slot->chunk);
}

static inline bool mp_slot_wholly_free(const struct mp_slot *slot)
{
	return slot->free_pages == MP_CHUNK_PAGES;
}

/*
 * A run of pages, which is given back as it was taken. 0, -ENOSPC (bind chunks
 * first: mp_heap_plan()), -ENOMEM.
 */
int mp_heap_take(struct mp_heap *heap, u64 pages, u64 *start);
void mp_heap_give(struct mp_heap *heap, u64 start, u64 pages);

/* Notes which slab covers the pages of a run (NULL: none). */
void mp_heap_set_slab(struct mp_heap *heap, u64 start, u64 pages, struct mp_slab *slab);

/* The slab over the page that @offset (bytes) lies in, or NULL. */
struct mp_slab *mp_heap_slab(const struct mp_heap *heap, u64 offset);

/* Do these pages lie in one slot? */
static inline bool mp_heap_one_slot(u64 start, u64 pages)
{
	return !((start ^ (start + pages - 1)) & ~(u64)(MP_CHUNK_PAGES - 1));
}

/* A slab over these pages has its first block issued, or lost its last one. */
void mp_heap_get_busy(struct mp_heap *heap, u64 start, u64 pages);
void mp_heap_put_busy(struct mp_heap *heap, u64 start, u64 pages);

/* The idle slot to give up first (wholly free before cached), or NULL. */
struct mp_slot *mp_heap_idle_slot(const struct mp_heap *heap);

/* Highest tenure of the slots that [@offset, @offset + @len) touches. */
u64 mp_heap_tenure(const struct mp_heap *heap, u64 offset, u64 len);

bool mp_heap_valid(const struct mp_heap *heap);

#endif /* MP_HEAP_H */
