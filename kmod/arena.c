// SPDX-License-Identifier: MIT OR GPL-2.0
/* Arena: the reserve's chunks and the state of each. See arena.h. */

#include <linux/sched/signal.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "arena.h"
#include "pinned.h"
#include "trace.h"

#define MP_CLEANERS	4		/* chunks zeroed at a time by workers */

struct mp_arena mp_arena;

struct workqueue_struct *mp_workers;
static struct work_struct mp_cleaner[MP_CLEANERS];

/* ---- states ---- */

static void mp_chunk_set_state(struct mp_chunk *chunk, enum mp_chunk_state state)
{
	lockdep_assert_held(&mp_arena.lock);
	mp_arena.nr[chunk->state]--;
	mp_arena.nr[state]++;
	chunk->state = state;
}

static void mp_chunk_set_owner(struct mp_chunk *chunk, struct mp_owner *owner)
{
	spin_lock(&chunk->lock);
	chunk->owner = owner;
	spin_unlock(&chunk->lock);
}

/* Something changed that a request short of chunks may be waiting for. */
static void mp_arena_event(void)
{
	lockdep_assert_held(&mp_arena.lock);
	WRITE_ONCE(mp_arena.events, mp_arena.events + 1);
	wake_up_all(&mp_arena.wait);
}

void mp_chunk_to_free(struct mp_chunk *chunk)
{
	mp_chunk_set_state(chunk, MP_CHUNK_FREE);
	list_add(&chunk->list, &mp_arena.free[chunk->node]);
	mp_arena_event();
}

static void mp_chunk_to_owner(struct mp_chunk *chunk, struct mp_owner *owner,
			      struct list_head *chunks)
{
	unsigned long used;

	mp_owner_get(owner);
	chunk->charged = owner;
	mp_chunk_set_state(chunk, MP_CHUNK_OWNED);
	mp_chunk_set_owner(chunk, owner);
	list_add_tail(&chunk->list, chunks);
	trace_mp_chunk_acquire(chunk, owner, chunk->state);

	used = mp_arena.nr[MP_CHUNK_OWNED] + mp_arena.nr[MP_CHUNK_LEAVING] +
	       mp_arena.nr[MP_CHUNK_PINNED];
	mp_arena.peak = max(mp_arena.peak, used);
}

/* ---- charging ---- */

static bool mp_within(unsigned long have, unsigned long nr, unsigned long limit)
{
	return !limit || (have <= limit && nr <= limit - have);
}

/* Another limit from now on, in chunks; what is owned already stays. */
void mp_arena_set_limit(struct mp_owner *owner, unsigned long limit)
{
	spin_lock(&mp_arena.lock);
	WRITE_ONCE(owner->limit, limit);
	spin_unlock(&mp_arena.lock);
}

/**
 * mp_arena_charge() - puts @nr chunks on the account of @owner and its user
 * @owner: session or pool
 * @nr: chunks that the caller is about to take
 *
 * Return: 0; -ENOMEM when the reserve has not so many; -EDQUOT.
 */
int mp_arena_charge(struct mp_owner *owner, unsigned long nr)
{
	struct mp_user *user = owner->user;
	int err = 0;

	if (nr > mp_arena.nr_chunks)
		return -ENOMEM;
	spin_lock(&mp_arena.lock);
	if (!mp_within(owner->owned + owner->pinned, nr, owner->limit)) {
		err = -EDQUOT;
		WRITE_ONCE(owner->user_refused, false);
	} else if (user && !mp_within(user->chunks, nr, mp_arena.user_limit)) {
		err = -EDQUOT;
		WRITE_ONCE(owner->user_refused, true);
	} else {
		owner->owned += nr;
		if (user)
			user->chunks += nr;
	}
	spin_unlock(&mp_arena.lock);
	return err;
}

void mp_uncharge_user(struct mp_owner *owner, unsigned long nr)
{
	lockdep_assert_held(&mp_arena.lock);
	if (owner->user)
		owner->user->chunks -= nr;
}

/* Takes @nr chunks that were charged and not had off the account again. */
void mp_arena_uncharge(struct mp_owner *owner, unsigned long nr)
{
	spin_lock(&mp_arena.lock);
	owner->owned -= nr;
	mp_uncharge_user(owner, nr);
	spin_unlock(&mp_arena.lock);
}

/* Ends the charge of a chunk that its giver lost; the caller puts the owner. */
static struct mp_owner *mp_chunk_uncharge(struct mp_chunk *chunk)
{
	struct mp_owner *owner = chunk->charged;

	lockdep_assert_held(&mp_arena.lock);
	if (chunk->state == MP_CHUNK_PINNED)
		owner->pinned--;
	else
		owner->owned--;
	mp_uncharge_user(owner, 1);
	chunk->charged = NULL;
	return owner;
}

/* ---- the free lists ---- */

static unsigned long mp_take_from_node(struct mp_owner *owner, unsigned long nr, int node,
				       struct list_head *chunks)
{
	unsigned long taken = 0;
	struct mp_chunk *chunk;

	while (taken < nr) {
		chunk = list_first_entry_or_null(&mp_arena.free[node], struct mp_chunk, list);
		if (!chunk)
			break;
		list_del(&chunk->list);
		mp_chunk_to_owner(chunk, owner, chunks);
		taken++;
	}
	return taken;
}

static unsigned long mp_take_locked(struct mp_owner *owner, unsigned long nr, int node,
				    struct list_head *chunks)
{
	unsigned long taken;
	int other;

	lockdep_assert_held(&mp_arena.lock);
	if (node == NUMA_NO_NODE)
		node = numa_mem_id();
	taken = mp_take_from_node(owner, nr, node, chunks);
	for_each_online_node(other) {
		if (taken == nr)
			break;
		taken += mp_take_from_node(owner, nr - taken, other, chunks);
	}
	return taken;
}

/*
 * A memory error may have been found while a chunk was free. Such a chunk is
 * retired; the charge for it stays, since another is to be had in its place.
 * Return: how many.
 */
static unsigned long mp_retire_poisoned(struct mp_owner *owner, struct list_head *chunks)
{
	struct mp_chunk *chunk, *next;
	unsigned long nr = 0;

	list_for_each_entry_safe(chunk, next, chunks, list) {
		if (!mp_pages_poisoned(&chunk->pages))
			continue;
		spin_lock(&mp_arena.lock);
		list_del(&chunk->list);
		chunk->charged = NULL;
		mp_chunk_set_owner(chunk, NULL);
		mp_chunk_set_state(chunk, MP_CHUNK_RETIRED);
		mp_arena_event();
		spin_unlock(&mp_arena.lock);
		mp_owner_put(owner);
		nr++;
	}
	return nr;
}

#define MP_TAKE_AT_ONCE	64		/* chunks, under the spinlock */

/**
 * mp_arena_take_some() - free chunks for @owner, as many as there are up to @nr
 * @owner: charged before
 * @nr: most to take
 * @node: whose chunks come first, or NUMA_NO_NODE
 * @chunks: they are added here
 *
 * Return: how many were taken.
 */
unsigned long mp_arena_take_some(struct mp_owner *owner, unsigned long nr, int node,
				 struct list_head *chunks)
{
	unsigned long taken = 0, want, got;
	LIST_HEAD(batch);

	do {
		want = min_t(unsigned long, nr - taken, MP_TAKE_AT_ONCE);
		spin_lock(&mp_arena.lock);
		got = mp_take_locked(owner, want, node, &batch);
		spin_unlock(&mp_arena.lock);
		taken += got - mp_retire_poisoned(owner, &batch);
		list_splice_tail_init(&batch, chunks);
		cond_resched();
	} while (got == want && taken < nr);
	return taken;
}

/* The same if there are @nr, else none; fewer when others take them meanwhile. */
unsigned long mp_arena_take_all(struct mp_owner *owner, unsigned long nr, int node,
				struct list_head *chunks)
{
	if (mp_peek(mp_arena.nr[MP_CHUNK_FREE]) < nr)
		return 0;
	return mp_arena_take_some(owner, nr, node, chunks);
}

/**
 * mp_arena_return_clean() - gives back chunks that were never mapped
 * @chunks: owned, uncharged here
 *
 * Context: sleeps.
 */
void mp_arena_return_clean(struct list_head *chunks)
{
	struct mp_chunk *chunk, *next;
	struct mp_owner *owner;

	list_for_each_entry_safe(chunk, next, chunks, list) {
		spin_lock(&mp_arena.lock);
		list_del(&chunk->list);
		owner = mp_chunk_uncharge(chunk);
		mp_chunk_set_owner(chunk, NULL);
		mp_chunk_to_free(chunk);
		spin_unlock(&mp_arena.lock);
		mp_owner_put(owner);
		cond_resched();
	}
}

/**
 * mp_arena_dispose() - gives up owned chunks that are in no slot and page table
 * @chunks: emptied; they may hold data of the owner's
 *
 * Context: sleeps.
 */
void mp_arena_dispose(struct list_head *chunks)
{
	struct mp_chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, chunks, list) {
		list_del(&chunk->list);
		mp_chunk_leave(chunk);
		mp_chunk_settle(chunk);
		cond_resched();
	}
}

/* A chunk that the caller has claimed and cleaned goes straight to @owner. */
void mp_arena_grant(struct mp_chunk *chunk, struct mp_owner *owner, struct list_head *chunks)
{
	spin_lock(&mp_arena.lock);
	mp_chunk_to_owner(chunk, owner, chunks);
	spin_unlock(&mp_arena.lock);
}

/* ---- the way out ---- */

/**
 * mp_chunk_leave() - first step out of ownership: nobody may map it any more
 * @chunk: owned, off every list
 *
 * The caller takes it out of its slot and of page tables, and calls mp_chunk_settle().
 */
void mp_chunk_leave(struct mp_chunk *chunk)
{
	spin_lock(&mp_arena.lock);
	mp_chunk_set_state(chunk, MP_CHUNK_LEAVING);
	mp_chunk_set_owner(chunk, NULL);
	spin_unlock(&mp_arena.lock);
}

static void mp_chunk_to_pinned(struct mp_chunk *chunk)
{
	if (chunk->state == MP_CHUNK_LEAVING) {
		chunk->charged->owned--;
		chunk->charged->pinned++;
		chunk->looks = 0;
	}
	mp_chunk_set_state(chunk, MP_CHUNK_PINNED);
	mp_pinned_add(chunk);
}

static void mp_chunk_to_cleaning(struct mp_chunk *chunk)
{
	mp_chunk_set_state(chunk, MP_CHUNK_CLEANING);
	list_add_tail(&chunk->list, &mp_arena.dirty);
}

static void mp_wake_cleaners(void)
{
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, MP_CLEANERS, num_online_cpus()); i++)
		if (queue_work(mp_workers, &mp_cleaner[i]))
			break;
}

/**
 * mp_chunk_settle() - decides what becomes of a chunk that is in no page table
 * @chunk: leaving, or pinned and off the list
 *
 * A page with a memory error: retired. Any reference but ours: pinned, still
 * charged to the giver. Else it is to be cleaned, by a worker or by whoever
 * needs it first.
 *
 * Context: sleeps.
 */
void mp_chunk_settle(struct mp_chunk *chunk)
{
	bool poisoned = mp_pages_poisoned(&chunk->pages);
	bool ours = mp_pages_ours_alone(&chunk->pages);
	struct mp_owner *giver, *owner = NULL;

	spin_lock(&mp_arena.lock);
	giver = chunk->charged;
	if (!poisoned && !ours) {
		mp_chunk_to_pinned(chunk);
	} else {
		owner = mp_chunk_uncharge(chunk);
		if (poisoned)
			mp_chunk_set_state(chunk, MP_CHUNK_RETIRED);
		else
			mp_chunk_to_cleaning(chunk);
	}
	trace_mp_chunk_give(chunk, giver, chunk->state);
	mp_arena_event();
	spin_unlock(&mp_arena.lock);

	if (!owner)
		return;
	if (!poisoned)
		mp_wake_cleaners();
	mp_owner_put(owner);
}

/* ---- cleaning ---- */

/* A chunk to be cleaned by the caller, or NULL. */
struct mp_chunk *mp_arena_claim_dirty(void)
{
	struct mp_chunk *chunk;

	spin_lock(&mp_arena.lock);
	chunk = list_first_entry_or_null(&mp_arena.dirty, struct mp_chunk, list);
	if (chunk)
		list_del(&chunk->list);
	spin_unlock(&mp_arena.lock);
	return chunk;
}

/**
 * mp_chunk_clean() - zeroes a claimed chunk
 * @chunk: from mp_arena_claim_dirty()
 *
 * Context: sleeps; no lock held.
 * Return: whether it is clean; if not it had a memory error and is retired.
 */
bool mp_chunk_clean(struct mp_chunk *chunk)
{
	if (!mp_pages_poisoned(&chunk->pages)) {
		mp_pages_zero(&chunk->pages);
		return true;
	}
	spin_lock(&mp_arena.lock);
	mp_chunk_set_state(chunk, MP_CHUNK_RETIRED);
	mp_arena_event();
	spin_unlock(&mp_arena.lock);
	return false;
}

static void mp_cleaner_run(struct work_struct *work)
{
	struct mp_chunk *chunk;

	while ((chunk = mp_arena_claim_dirty())) {
		mp_wake_cleaners();	/* another one, if there is more */
		if (!mp_chunk_clean(chunk))
			continue;
		spin_lock(&mp_arena.lock);
		mp_chunk_to_free(chunk);
		spin_unlock(&mp_arena.lock);
	}
}

/**
 * mp_arena_coming() - chunks that will be free without anybody's doing
 * @events: for mp_arena.wait: what mp_arena.events was
 *
 * Return: free, leaving and cleaning chunks.
 */
unsigned long mp_arena_coming(unsigned long *events)
{
	unsigned long nr;

	spin_lock(&mp_arena.lock);
	*events = mp_arena.events;
	nr = mp_arena.nr[MP_CHUNK_FREE] + mp_arena.nr[MP_CHUNK_LEAVING] +
	     mp_arena.nr[MP_CHUNK_CLEANING];
	spin_unlock(&mp_arena.lock);
	return nr;
}

/* ---- for .fault ---- */

static bool mp_chunk_mappable(const struct mp_chunk *chunk, const struct mp_owner *session)
{
	lockdep_assert_held(&chunk->lock);
	return chunk->owner && (chunk->owner == session || chunk->owner->kind == MP_OWNER_POOL);
}

/**
 * mp_chunk_get_page() - a counted page of a chunk, if @session may map it
 * @chunk: what the session's slot pointed to a moment ago
 * @session: who faults; a named pool's chunk is reached through slots of its
 *	members only, which the caller checks
 * @index: page in the chunk
 *
 * Context: any; takes the chunk's lock.
 * Return: the page with a reference, or NULL.
 */
struct page *mp_chunk_get_page(struct mp_chunk *chunk, const struct mp_owner *session,
			       unsigned int index)
{
	struct page *page = NULL;

	spin_lock(&chunk->lock);
	if (mp_chunk_mappable(chunk, session)) {
		page = mp_pages_at(&chunk->pages, index);
		get_page(page);
	}
	spin_unlock(&chunk->lock);
	return page;
}

/* Does that still hold, now that the page is locked? */
bool mp_chunk_has_page(struct mp_chunk *chunk, const struct mp_owner *session,
		       unsigned int index, const struct page *page)
{
	bool same;

	spin_lock(&chunk->lock);
	same = mp_chunk_mappable(chunk, session) && mp_pages_at(&chunk->pages, index) == page;
	spin_unlock(&chunk->lock);
	return same;
}

/* ---- load and unload ---- */

static unsigned long mp_margin_pages(void)
{
	return max(totalram_pages() / 16, (64ul << 20) >> PAGE_SHIFT);
}

/* Can the machine spare @chunks more? Taking them must not starve others. */
static bool mp_machine_has(unsigned long chunks)
{
	long available = si_mem_available();
	unsigned long margin = mp_margin_pages();

	return available > 0 && available > margin &&
	       chunks <= (available - margin) / MP_CHUNK_PAGES;
}

static int mp_chunk_fill(struct mp_chunk *chunk, int node)
{
	if (mp_pages_alloc(&chunk->pages, node))
		return -ENOMEM;
	mp_pages_adopt(&chunk->pages, mp_chunk_nr(chunk));
	spin_lock_init(&chunk->lock);
	chunk->node = page_to_nid(mp_pages_at(&chunk->pages, 0));

	spin_lock(&mp_arena.lock);
	mp_arena.nr[MP_CHUNK_FREE]++;
	mp_arena.nr_huge += mp_chunk_is_huge(chunk);
	list_add_tail(&chunk->list, &mp_arena.free[chunk->node]);
	spin_unlock(&mp_arena.lock);
	return 0;
}

/* Nodes with memory give in turn. */
static int mp_arena_fill(unsigned long nr)
{
	int node = first_memory_node;
	unsigned long i;

	for (i = 0; i < nr; i++) {
		if (!(i % 32) && !mp_machine_has(nr - i)) {
			pr_err("reserve=: %lu MiB do not fit into the memory available, less a margin of %lu MiB\n",
			       nr * 2, mp_margin_pages() >> (20 - PAGE_SHIFT));
			return -ENOMEM;
		}
		if (fatal_signal_pending(current))
			return -EINTR;
		if (mp_chunk_fill(&mp_arena.chunks[i], node)) {
			pr_err("reserve=: memory ended after %lu of %lu MiB\n", i * 2, nr * 2);
			return -ENOMEM;
		}
		mp_arena.nr_chunks++;
		node = next_memory_node(node);
		if (node == MAX_NUMNODES)
			node = first_memory_node;
		cond_resched();
	}
	return 0;
}

static int mp_arena_alloc_tables(unsigned long nr)
{
	int node;

	mp_arena.chunks = kvcalloc(nr, sizeof(*mp_arena.chunks), GFP_KERNEL | __GFP_NOWARN);
	mp_arena.free = kcalloc(nr_node_ids, sizeof(*mp_arena.free), GFP_KERNEL);
	mp_workers = alloc_workqueue("mempool", WQ_UNBOUND, 0);
	if (!mp_arena.chunks || !mp_arena.free || !mp_workers)
		return -ENOMEM;
	for (node = 0; node < nr_node_ids; node++)
		INIT_LIST_HEAD(&mp_arena.free[node]);
	return 0;
}

/**
 * mp_arena_init() - takes the reserve from the system
 * @reserve: bytes, a multiple of MEMPOOL_CHUNK_SIZE
 * @user_limit: most chunks charged to a user; 0: none
 * @spare: most pinned chunks replaced at a time
 *
 * Context: sleeps.
 * Return: 0, -ENOMEM or -EINTR; all is given back then.
 */
int mp_arena_init(u64 reserve, unsigned long user_limit, unsigned long spare)
{
	unsigned int i;
	int err;

	spin_lock_init(&mp_arena.lock);
	INIT_LIST_HEAD(&mp_arena.dirty);
	INIT_LIST_HEAD(&mp_arena.pinned);
	INIT_LIST_HEAD(&mp_arena.exiles);
	init_waitqueue_head(&mp_arena.wait);
	for (i = 0; i < MP_CLEANERS; i++)
		INIT_WORK(&mp_cleaner[i], mp_cleaner_run);
	mp_pinned_init();
	mp_arena.user_limit = user_limit;
	mp_arena.spare = spare;

	if (!mp_machine_has(reserve / MEMPOOL_CHUNK_SIZE)) {
		pr_err("reserve=: %llu MiB do not fit into the memory available, less a margin of %lu MiB\n",
		       reserve >> 20, mp_margin_pages() >> (20 - PAGE_SHIFT));
		return -ENOMEM;
	}
	err = mp_arena_alloc_tables(reserve / MEMPOOL_CHUNK_SIZE);
	if (!err)
		err = mp_arena_fill(reserve / MEMPOOL_CHUNK_SIZE);
	if (err)
		mp_arena_exit();
	return err;
}

/**
 * mp_arena_exit() - gives the reserve back to the system
 *
 * No session and no pool is left. Memory still pinned goes back when its pins
 * are gone, memory with an error never.
 *
 * Context: sleeps.
 */
void mp_arena_exit(void)
{
	unsigned long i, returned = 0, replaced;
	struct mp_owner *owner;

	mp_pinned_stop();
	if (mp_workers)
		destroy_workqueue(mp_workers);
	mp_workers = NULL;

	for (i = 0; i < mp_arena.nr_chunks; i++) {
		struct mp_chunk *chunk = &mp_arena.chunks[i];

		if (chunk->state == MP_CHUNK_PINNED) {
			spin_lock(&mp_arena.lock);
			owner = mp_chunk_uncharge(chunk);
			spin_unlock(&mp_arena.lock);
			mp_owner_put(owner);
		}
		returned += mp_pages_free(&chunk->pages);
		cond_resched();
	}
	replaced = mp_pinned_free_exiles(true);
	if (mp_arena.nr_chunks)
		pr_info("%lu pages taken, %lu returned, %lu retired, %lu replacements returned\n",
			mp_arena.nr_chunks * MP_CHUNK_PAGES, returned,
			mp_arena.nr_chunks * MP_CHUNK_PAGES - returned, replaced);
	kvfree(mp_arena.chunks);
	kfree(mp_arena.free);
	mp_arena.chunks = NULL;
	mp_arena.free = NULL;
	mp_arena.nr_chunks = 0;
}
