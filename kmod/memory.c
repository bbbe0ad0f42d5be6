// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A session's memory: blocks out of its buckets, and the chunks behind them.
 *
 * The session's mutex is held inside the core and dropped around everything that
 * takes time: acquiring chunks, zeroing, taking chunks out of page tables.
 */

#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/sched/signal.h>

#include "acquire.h"
#include "mmap.h"
#include "session.h"
#include "trace.h"

/* Context: sleeps. Return: 0, or -EINTR when a fatal signal came first. */
int mp_session_lock(struct mp_session *s)
{
	return mutex_lock_killable(&s->lock) ? -EINTR : 0;
}

/* ---- chunks ---- */

/* Slots that no page table leads through any more become holes. */
void mp_session_absorb_freed(struct mp_session *s)
{
	struct llist_node *freed = llist_del_all(&s->freed);
	struct mp_slot *slot, *next;

	lockdep_assert_held(&s->lock);
	llist_for_each_entry_safe(slot, next, freed, freed)
		mp_heap_give_slots(&s->heap, slot->index, 1);
}

/* Backs @nr slots from @first with the first chunks of the list. */
static int mp_session_bind(struct mp_session *s, u64 first, u64 nr, struct list_head *chunks)
{
	struct mp_chunk *chunk;
	u64 i;
	int err;

	lockdep_assert_held(&s->lock);
	for (i = 0; i < nr; i++) {
		chunk = list_first_entry(chunks, struct mp_chunk, list);
		chunk->slot = first + i;
		list_del(&chunk->list);
		err = mp_heap_bind(&s->heap, first + i, chunk);
		if (err) {
			list_add(&chunk->list, chunks);
			return err;
		}
	}
	return 0;
}

/*
 * Takes idle chunks, @nr at most, out of the heap. @leave: they are given up. They leave
 * while they still count as idle: a request that counts what is within its reach finds
 * them as the one or as the other, or twice for a moment, but never not at all.
 */
static unsigned long mp_session_unbind_idle(struct mp_session *s, unsigned long nr, bool leave,
					    struct list_head *chunks)
{
	unsigned long taken = 0;
	struct mp_chunk *chunk;
	struct mp_slot *slot;

	lockdep_assert_held(&s->lock);
	while (taken < nr && mp_session_spare_idle(s)) {
		slot = mp_heap_idle_slot(&s->heap);
		mp_buckets_vacate(&s->buckets, slot->index);
		if (leave)
			mp_chunk_leave(mp_slot_chunk(slot));
		chunk = mp_heap_unbind(&s->heap, slot->index);
		list_add_tail(&chunk->list, chunks);
		taken++;
		cond_resched();
	}
	return taken;
}

/**
 * mp_session_detach_idle() - begins to give idle chunks up
 * @s: locked
 * @nr: most to take; those within the guaranteed minimum stay
 * @chunks: they are added here, leaving, in no slot
 *
 * mp_session_unlock_and_hand_over() does the rest.
 *
 * Return: how many.
 */
unsigned long mp_session_detach_idle(struct mp_session *s, unsigned long nr,
				     struct list_head *chunks)
{
	return mp_session_unbind_idle(s, nr, true, chunks);
}

/* The same for wholly free chunks only: what no cache wants to keep. */
void mp_session_detach_free(struct mp_session *s, struct list_head *chunks)
{
	struct mp_slot *slot;

	lockdep_assert_held(&s->lock);
	while ((slot = mp_heap_idle_slot(&s->heap)) && mp_slot_wholly_free(slot))
		if (!mp_session_detach_idle(s, 1, chunks))
			break;
}

void mp_session_unlock_and_hand_over(struct mp_session *s, struct list_head *chunks)
{
	mutex_unlock(&s->lock);
	if (!list_empty(chunks))
		mp_session_hand_over(s, chunks);
}

/*
 * Makes up for missing chunks with idle ones of the session's own, moved to
 * other slots: the minimum is no obstacle, since they stay the session's.
 */
static unsigned long mp_session_move_idle(struct mp_session *s, unsigned long nr,
					  struct list_head *chunks)
{
	unsigned long floor = s->min_chunks, taken;
	LIST_HEAD(moving);

	lockdep_assert_held(&s->lock);
	WRITE_ONCE(s->min_chunks, 0);
	taken = mp_session_unbind_idle(s, nr, false, &moving);
	WRITE_ONCE(s->min_chunks, floor);

	mutex_unlock(&s->lock);
	mp_session_unmap(s, &moving);
	mutex_lock(&s->lock);
	list_splice_tail(&moving, chunks);
	return taken;
}

/* Idle slots among those of the free pages [@start, @start + @pages). */
static unsigned long mp_count_idle(const struct mp_heap *heap, u64 start, u64 pages)
{
	unsigned long nr = 0;
	u64 i;

	if (!pages)
		return 0;
	for (i = start / MP_CHUNK_PAGES; i <= (start + pages - 1) / MP_CHUNK_PAGES; i++)
		nr += !mp_heap_slot(heap, i)->busy;
	return nr;
}

/*
 * Idle chunks that can serve in the @nr slots from @first. Those beside them are
 * part of the same plan: to move one would leave another slot to fill.
 */
static unsigned long mp_session_movable(const struct mp_session *s, u64 first, u64 nr)
{
	const struct mp_heap *heap = &s->heap;
	u64 start = first * MP_CHUNK_PAGES, end = (first + nr) * MP_CHUNK_PAGES;
	u64 below = mp_extents_ending_at(&heap->pages, start);
	u64 above = mp_extents_starting_at(&heap->pages, end);

	lockdep_assert_held(&s->lock);
	return heap->nr_idle - mp_count_idle(heap, start - below, below) -
	       mp_count_idle(heap, end, above);
}

/* Acquires @nr chunks; if that fails, up to @movable idle ones of the session do. */
static int mp_session_acquire(struct mp_session *s, unsigned long nr, unsigned long movable,
			      struct list_head *chunks)
{
	unsigned long own;
	int err;

	lockdep_assert_held(&s->lock);
	mutex_unlock(&s->lock);
	err = mp_acquire(&s->owner, nr, s->node, chunks);
	mutex_lock(&s->lock);
	if (err != -ENOMEM && err != -EDQUOT)
		return err;

	own = min3(nr, movable, (unsigned long)s->heap.nr_idle);
	if (!own)
		return err;
	if (own < nr) {
		mutex_unlock(&s->lock);
		err = mp_acquire(&s->owner, nr - own, s->node, chunks);
		mutex_lock(&s->lock);
		if (err)
			return err;
	}
	return mp_session_move_idle(s, own, chunks) == own ? 0 : -EAGAIN;
}

static unsigned long mp_count(const struct list_head *chunks)
{
	const struct list_head *pos;
	unsigned long nr = 0;

	list_for_each(pos, chunks)
		nr++;
	return nr;
}

/*
 * Chunks that a request did not need in the end. The session's own may be among
 * them, moved for it: as many as the minimum is short of go back first, or others'
 * requests would have them. All may hold data. (To bind one takes small pieces of
 * memory, which the kernel refuses to nobody but a process that it is killing.)
 */
static void mp_session_put_back(struct mp_session *s, struct list_head *chunks)
{
	u64 hole;

	mp_session_absorb_freed(s);
	while (!list_empty(chunks) && s->heap.nr_backed < s->min_chunks) {
		hole = mp_extents_find(&s->heap.holes, 1);
		if (hole == U64_MAX || mp_session_bind(s, hole, 1, chunks))
			break;
	}
	if (list_empty(chunks))
		return;
	mutex_unlock(&s->lock);
	mp_arena_dispose(chunks);
	mutex_lock(&s->lock);
}

/**
 * mp_session_grow() - makes a free run of @pages pages in the heap
 * @s: locked; the lock is dropped and taken again
 * @pages: length of the run
 * @move: when chunks are short, idle ones of the session may serve, whatever is
 *	kept in them for reuse
 *
 * Context: sleeps.
 * Return: 0; -ENOMEM, -EDQUOT, -EINTR.
 */
int mp_session_grow(struct mp_session *s, u64 pages, bool move)
{
	unsigned long have = 0;
	LIST_HEAD(chunks);
	u64 first, nr;
	int err;

	for (;;) {
		mp_session_absorb_freed(s);
		err = mp_heap_plan(&s->heap, pages, &first, &nr);
		if (err || !nr)
			break;
		if (have >= nr) {
			err = mp_session_bind(s, first, nr, &chunks);
			break;
		}
		err = mp_session_acquire(s, nr - have,
					 move ? mp_session_movable(s, first, nr) : 0, &chunks);
		if (err == -EAGAIN && fatal_signal_pending(current))
			err = -EINTR;
		if (err && err != -EAGAIN)
			break;
		have = mp_count(&chunks);
	}
	if (!list_empty(&chunks))
		mp_session_put_back(s, &chunks);
	return err == -ENOSPC ? -ENOMEM : err;
}

/* ---- blocks ---- */

static void mp_taken_init(struct mp_taken *taken)
{
	taken->tickets = taken->few;
	taken->nr = 0;
	taken->room = MP_FEW_TICKETS;
}

/* Room for @more tickets beyond those that are there. */
static int mp_taken_grow(struct mp_taken *taken, u32 more)
{
	struct mp_ticket *tickets = kvmalloc_array(taken->nr + more, sizeof(*tickets),
						   GFP_KERNEL_ACCOUNT | __GFP_NOWARN);

	if (!tickets)
		return -ENOMEM;
	memcpy(tickets, taken->tickets, taken->nr * sizeof(*tickets));
	taken->tickets = tickets;
	taken->room = taken->nr + more;
	return 0;
}

static void mp_taken_free(struct mp_taken *taken)
{
	if (taken->tickets != taken->few)
		kvfree(taken->tickets);
}

/*
 * One step: reserves some of the blocks asked for, at most @most. -ENOSPC, only after
 * others: what is left is not worth a chunk.
 */
static int mp_session_take(struct mp_session *s, const struct mempool_alloc *req, u32 most,
			   struct mp_taken *taken)
{
	u32 flags = req->flags & MEMPOOL_ALLOC_PAGE_ALIGNED ? MP_TAKE_PAGE_ALIGNED : 0;
	int err = taken->nr < taken->room ? 0 : mp_taken_grow(taken, most);
	u64 pages;

	while (!err) {
		err = mp_buckets_take(&s->buckets, req->size, flags, most,
				      &taken->tickets[taken->nr], &pages);
		if (err != -ENOSPC || (taken->nr && !mp_worth_a_chunk(req, most)))
			break;
		err = mp_session_grow(s, pages, true);
	}
	taken->nr += !err;
	return err;
}

static void mp_count_failure(struct mp_session *s, int err)
{
	if (err == -ENOMEM)
		s->failed_no_memory++;
	else if (err == -EDQUOT && READ_ONCE(s->owner.user_refused))
		s->failed_user_limit++;
	else if (err == -EDQUOT)
		s->failed_session_limit++;
}

/* Zeroes part of one page of the session's space; it is backed and stays so. */
static void mp_zero_in_page(struct mp_session *s, u64 offset, size_t len)
{
	struct mp_slot *slot = mp_heap_slot(&s->heap, offset / MEMPOOL_CHUNK_SIZE);
	struct mp_chunk *chunk = mp_slot_chunk(slot);
	unsigned int index = (offset % MEMPOOL_CHUNK_SIZE) >> PAGE_SHIFT;

	memzero_page(mp_pages_at(&chunk->pages, index), offset_in_page(offset), len);
}

/* Return: 0, or -EINTR when a fatal signal came first: a block may be of gigabytes. */
static int mp_session_zero(struct mp_session *s, u64 offset, u64 size)
{
	size_t len;

	for (; size; offset += len, size -= len) {
		if (fatal_signal_pending(current))
			return -EINTR;
		len = min_t(u64, size, PAGE_SIZE - offset_in_page(offset));
		mp_zero_in_page(s, offset, len);
		cond_resched();
	}
	return 0;
}

/* Reserved blocks keep their chunks from being handed on: no lock is needed. */
static int mp_session_zero_taken(struct mp_session *s, const struct mp_taken *taken)
{
	const struct mp_ticket *ticket = taken->tickets;
	struct mp_bunch rest;
	int err = 0;

	for (; ticket < taken->tickets + taken->nr; ticket++)
		for (rest = ticket->bunch; rest.bits && !err; rest.bits &= rest.bits - 1)
			err = mp_session_zero(s, mp_slab_offset(ticket->slab,
								mp_bunch_first(&rest)),
					      ticket->slab->stride);
	return err;
}

/**
 * mp_session_alloc() - reserves blocks
 * @s: not locked
 * @req: checked; its @size, @count and @flags are used
 * @taken: receives them
 * @done: receives how many were had
 *
 * The blocks are nobody's until mp_session_publish(), or mp_session_abort(): one
 * of them is to be called if there are any.
 *
 * Context: sleeps.
 * Return: 0 when *@done > 0; else -ENOMEM, -EDQUOT, -EINVAL, -EOVERFLOW, -EINTR.
 */
int mp_session_alloc(struct mp_session *s, const struct mempool_alloc *req,
		     struct mp_taken *taken, u32 *done)
{
	u32 nr = 0;
	int err;

	mp_taken_init(taken);
	*done = 0;
	err = mp_session_lock(s);
	if (err)
		return err;
	s->under_way++;
	for (;;) {
		err = mp_session_take(s, req, req->count - nr, taken);
		if (err)
			break;
		nr += taken->tickets[taken->nr - 1].bunch.nr;
		if (nr == req->count)
			break;
		cond_resched();
	}
	if (!nr) {
		s->under_way--;
		mp_count_failure(s, err);
	}
	trace_mp_alloc(s, req->size, req->count, nr, err);
	WRITE_ONCE(s->last_used, jiffies);
	mutex_unlock(&s->lock);

	if (nr && (req->flags & MEMPOOL_ALLOC_ZERO) && mp_session_zero_taken(s, taken)) {
		mp_session_abort(s, taken);
		return -EINTR;
	}
	*done = nr;
	return nr ? 0 : err;
}

/* The blocks are the user's now; @count: they count as allocations. */
void mp_session_publish(struct mp_session *s, struct mp_taken *taken, bool count)
{
	u32 i;

	mutex_lock(&s->lock);
	for (i = 0; i < taken->nr; i++)
		mp_buckets_publish(&s->buckets, &taken->tickets[i], count);
	s->started = true;
	s->under_way--;
	mutex_unlock(&s->lock);
	mp_taken_free(taken);
}

/* The blocks go back unseen. */
void mp_session_abort(struct mp_session *s, struct mp_taken *taken)
{
	LIST_HEAD(chunks);

	mutex_lock(&s->lock);
	/* The last first: then fresh blocks are fresh again. */
	while (taken->nr--)
		mp_buckets_abort(&s->buckets, &taken->tickets[taken->nr]);
	s->under_way--;
	mp_session_detach_free(s, &chunks);
	mp_session_unlock_and_hand_over(s, &chunks);
	mp_taken_free(taken);
}

/**
 * mp_session_release() - gives blocks back, up to the first that is refused
 * @s: not locked
 * @offsets: in the session's space, from the user
 * @nr: how many
 * @count: they count as releases
 * @done: raised by the number given back
 *
 * Context: sleeps.
 * Return: 0; -EINVAL, -ENOENT for the offset after the last one given back;
 * -EINTR.
 */
int mp_session_release(struct mp_session *s, const u64 *offsets, u32 nr, bool count, u32 *done)
{
	u32 before = *done;
	LIST_HEAD(chunks);
	int err;

	err = mp_session_lock(s);
	if (err)
		return err;
	err = mp_buckets_give(&s->buckets, offsets, nr, count, done);
	trace_mp_release(s, nr, *done - before, err);
	WRITE_ONCE(s->last_used, jiffies);
	mp_session_detach_free(s, &chunks);
	mp_session_unlock_and_hand_over(s, &chunks);
	return err;
}

/* Gives every block of every bucket back. Return: 0 or -EINTR. */
int mp_session_release_all(struct mp_session *s, u32 *done)
{
	LIST_HEAD(chunks);
	int err;

	err = mp_session_lock(s);
	if (err)
		return err;
	*done = min_t(u64, mp_buckets_give_all(&s->buckets), U32_MAX);
	WRITE_ONCE(s->last_used, jiffies);
	mp_session_detach_free(s, &chunks);
	mp_session_unlock_and_hand_over(s, &chunks);
	return 0;
}

/*
 * Steps of a preallocation without one block more. Two would be enough, but that
 * others take what is ready: two preallocations could do that to each other for
 * ever.
 */
#define MP_VAIN_STEPS	16

/**
 * mp_session_preallocate() - makes free blocks of a bucket ready
 * @s: not locked
 * @req: checked; @done is set
 *
 * Context: sleeps.
 * Return: 0, or why fewer than @count are ready; those that are stay.
 */
int mp_session_preallocate(struct mp_session *s, struct mempool_preallocate *req)
{
	u32 flags = req->flags & MEMPOOL_ALLOC_PAGE_ALIGNED ? MP_TAKE_PAGE_ALIGNED : 0;
	u32 best = 0, vain = 0;
	u64 pages;
	int err;

	err = mp_session_lock(s);
	if (err)
		return err;
	s->under_way++;
	do {
		err = mp_buckets_prepare(&s->buckets, req->size, flags, req->count, &req->done,
					 &pages);
		vain = req->done > best ? 0 : vain + 1;
		best = max(best, req->done);
		if (err == -ENOSPC) {
			/* Not from what is ready already: that would never end. */
			err = mp_session_grow(s, pages, false);
			if (!err)
				err = -EAGAIN;
		}
		if (err == -EAGAIN && vain > MP_VAIN_STEPS)
			err = -ENOMEM;
		if (err == -EAGAIN && fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	} while (err == -EAGAIN);
	s->under_way--;
	s->started |= req->done;
	mp_count_failure(s, err);
	mutex_unlock(&s->lock);
	return err;
}

/* Gives idle chunks above the minimum back to the reserve. */
int mp_session_trim(struct mp_session *s, u64 *released)
{
	LIST_HEAD(chunks);
	int err;

	err = mp_session_lock(s);
	if (err)
		return err;
	mp_session_absorb_freed(s);
	mp_buckets_trim(&s->buckets);
	*released = (u64)mp_session_detach_idle(s, ULONG_MAX, &chunks) * MEMPOOL_CHUNK_SIZE;
	mp_session_unlock_and_hand_over(s, &chunks);
	return 0;
}
