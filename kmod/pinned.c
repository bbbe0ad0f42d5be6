// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Pinned chunks: given back while somebody still refers to a page of theirs.
 *
 * A page handed to a pipe, to I/O in flight or to a device keeps a reference
 * that survives the page tables. Such a chunk is not handed on and not zeroed;
 * it stays charged to who gave it back, and is looked at again: soon, then less
 * often, and whenever chunks are short. With the parameter spare= a few may be
 * given fresh memory instead; the pinned memory then waits in exile.
 */

#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "mmap.h"
#include "pinned.h"
#include "trace.h"

#define MP_LOOKS	4
#define MP_EXILE_LOOK	HZ

/* Most references that keep a chunk pinned last microseconds. */
static const unsigned int mp_look_ms[MP_LOOKS] = { 1, 10, 100, 1000 };

/**
 * struct mp_exile - pinned memory that its chunk could not wait for
 * @list: in mp_arena.exiles, arena lock
 * @pages: still ours, and somebody else's
 * @charged: who gave it back; its count of pinned chunks includes this
 */
struct mp_exile {
	struct list_head list;
	struct mp_pages pages;
	struct mp_owner *charged;
};

/*
 * Held by who takes pinned chunks or exiles off their list. A request waits for the
 * worker here, or it would count without those that the worker is looking at.
 *
 * Order of locks: mp_short_lock, this one, those of page tables and of the arena.
 */
static DEFINE_MUTEX(mp_pinned_lock);

static struct delayed_work mp_pinned_work;
static unsigned long mp_next_run;	/* of it, if pending; arena lock */

/*
 * Has the worker look in @delay jiffies or sooner. Whoever puts something on a
 * list calls this: the worker does not come again when it finds both empty, and
 * it cannot see what somebody has claimed for a moment.
 */
static void mp_pinned_look_in(unsigned long delay)
{
	lockdep_assert_held(&mp_arena.lock);
	if (!delayed_work_pending(&mp_pinned_work) ||
	    time_before(jiffies + delay, mp_next_run)) {
		mp_next_run = jiffies + delay;
		mod_delayed_work(mp_workers, &mp_pinned_work, delay);
	}
}

/* Puts a chunk in state pinned on the list; the worker will look at it. */
void mp_pinned_add(struct mp_chunk *chunk)
{
	unsigned int wait = mp_look_ms[min_t(unsigned int, chunk->looks, MP_LOOKS - 1)];

	lockdep_assert_held(&mp_arena.lock);
	chunk->next_look = jiffies + msecs_to_jiffies(wait);
	list_add_tail(&chunk->list, &mp_arena.pinned);
	mp_pinned_look_in(msecs_to_jiffies(wait));
}

static void mp_look_at(struct mp_chunk *chunk)
{
	if (mp_pages_mapped(&chunk->pages))
		mp_zap_again(chunk->charged, chunk->slot);
	if (chunk->looks < MP_LOOKS)
		chunk->looks++;
	mp_chunk_settle(chunk);
}

/* Moves the pinned chunks that are due, or all, to @due; they stay pinned. */
static void mp_claim_pinned(bool all, struct list_head *due)
{
	struct mp_chunk *chunk, *next;

	spin_lock(&mp_arena.lock);
	list_for_each_entry_safe(chunk, next, &mp_arena.pinned, list)
		if (all || time_after_eq(jiffies, chunk->next_look))
			list_move_tail(&chunk->list, due);
	spin_unlock(&mp_arena.lock);
}

/* All of them, to be looked at without the arena's lock: each may be 512 pages. */
static void mp_claim_exiles(struct list_head *claimed)
{
	spin_lock(&mp_arena.lock);
	list_splice_init(&mp_arena.exiles, claimed);
	spin_unlock(&mp_arena.lock);
}

static void mp_unclaim_exiles(struct list_head *claimed)
{
	if (list_empty(claimed))
		return;
	spin_lock(&mp_arena.lock);
	list_splice(claimed, &mp_arena.exiles);
	mp_pinned_look_in(MP_EXILE_LOOK);
	spin_unlock(&mp_arena.lock);
}

static void mp_exile_uncharge(struct mp_exile *exile)
{
	spin_lock(&mp_arena.lock);
	exile->charged->pinned--;
	mp_uncharge_user(exile->charged, 1);
	mp_arena.nr_replaced--;
	spin_unlock(&mp_arena.lock);
	mp_owner_put(exile->charged);
}

/**
 * mp_pinned_free_exiles() - gives replaced memory back to the system
 * @all: also what is still pinned, which goes back when its pins are gone
 *
 * Context: sleeps; no lock held.
 * Return: pages given back.
 */
unsigned long mp_pinned_free_exiles(bool all)
{
	struct mp_exile *exile, *next;
	unsigned long pages = 0;
	LIST_HEAD(claimed);

	mutex_lock(&mp_pinned_lock);
	mp_claim_exiles(&claimed);
	list_for_each_entry_safe(exile, next, &claimed, list) {
		if (!all && !mp_pages_ours_alone(&exile->pages))
			continue;
		list_del(&exile->list);
		pages += mp_pages_free(&exile->pages);
		mp_exile_uncharge(exile);
		kfree(exile);
		cond_resched();
	}
	mp_unclaim_exiles(&claimed);
	mutex_unlock(&mp_pinned_lock);
	return pages;
}

/**
 * mp_arena_look_at_pinned() - lets pinned chunks go on whose pins are gone
 * @all: also those whose next look is not due
 *
 * Context: sleeps; no lock held.
 */
void mp_arena_look_at_pinned(bool all)
{
	struct mp_chunk *chunk, *next;
	LIST_HEAD(due);

	mutex_lock(&mp_pinned_lock);
	mp_claim_pinned(all, &due);
	list_for_each_entry_safe(chunk, next, &due, list) {
		list_del(&chunk->list);
		mp_look_at(chunk);
		cond_resched();
	}
	mutex_unlock(&mp_pinned_lock);
	mp_pinned_free_exiles(false);
}

static void mp_pinned_run(struct work_struct *work)
{
	struct mp_chunk *chunk;

	mp_arena_look_at_pinned(false);

	spin_lock(&mp_arena.lock);
	list_for_each_entry(chunk, &mp_arena.pinned, list)
		mp_pinned_look_in(max_t(long, chunk->next_look - jiffies, 1));
	if (!list_empty(&mp_arena.exiles))
		mp_pinned_look_in(MP_EXILE_LOOK);
	spin_unlock(&mp_arena.lock);
}

/* Exchanges the memory of a claimed pinned chunk; the old goes into exile. */
static void mp_exile(struct mp_chunk *chunk, struct mp_exile *exile, struct mp_pages *fresh)
{
	mp_pages_adopt(fresh, mp_chunk_nr(chunk));

	spin_lock(&mp_arena.lock);
	exile->charged = chunk->charged;
	exile->pages = chunk->pages;
	list_add_tail(&exile->list, &mp_arena.exiles);
	mp_pinned_look_in(MP_EXILE_LOOK);
	mp_arena.nr_huge += !!fresh->head - !!exile->pages.head;

	spin_lock(&chunk->lock);
	chunk->pages = *fresh;
	spin_unlock(&chunk->lock);
	chunk->node = page_to_nid(mp_pages_at(fresh, 0));
	chunk->charged = NULL;
	trace_mp_chunk_replace(chunk, exile->charged, MP_CHUNK_FREE);
	mp_chunk_to_free(chunk);
	spin_unlock(&mp_arena.lock);
}

static struct mp_chunk *mp_claim_replaceable(void)
{
	struct mp_chunk *chunk = NULL;

	mutex_lock(&mp_pinned_lock);
	spin_lock(&mp_arena.lock);
	if (mp_arena.nr_replaced < mp_arena.spare)
		chunk = list_first_entry_or_null(&mp_arena.pinned, struct mp_chunk, list);
	if (chunk) {
		list_del(&chunk->list);
		mp_arena.nr_replaced++;
	}
	spin_unlock(&mp_arena.lock);
	mutex_unlock(&mp_pinned_lock);
	return chunk;
}

static void mp_unclaim_replaceable(struct mp_chunk *chunk)
{
	spin_lock(&mp_arena.lock);
	mp_pinned_add(chunk);
	mp_arena.nr_replaced--;
	spin_unlock(&mp_arena.lock);
}

/**
 * mp_arena_replace_pinned() - gives one pinned chunk fresh memory
 *
 * At most mp_arena.spare chunks at a time: what pins can take from the machine
 * is bounded. The pinned memory stays charged to who gave it back.
 *
 * Context: sleeps; no lock held.
 * Return: whether a chunk became free.
 */
bool mp_arena_replace_pinned(void)
{
	struct mp_chunk *chunk = mp_claim_replaceable();
	struct mp_exile *exile;
	struct mp_pages fresh;

	if (!chunk)
		return false;
	exile = kmalloc(sizeof(*exile), GFP_KERNEL);
	if (!exile || mp_pages_alloc(&fresh, chunk->node)) {
		kfree(exile);
		mp_unclaim_replaceable(chunk);
		return false;
	}
	mp_exile(chunk, exile, &fresh);
	return true;
}

void mp_pinned_init(void)
{
	INIT_DELAYED_WORK(&mp_pinned_work, mp_pinned_run);
}

/* Context: sleeps. No session is left that could make it start again. */
void mp_pinned_stop(void)
{
	cancel_delayed_work_sync(&mp_pinned_work);
}
