// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Blocks that one thread takes and another releases go back to the first.
 *
 * The table of places tells who took a block, by the thread's number. A thread that
 * releases another's puts it into its outbox, and from time to time all of that, under
 * one lock, into the inboxes of those who took them. There they are found before the
 * depot is.
 *
 * Threads that kept each other's blocks would end up with blocks that are neighbours,
 * and write to the same cache lines of the table, twice for each block they use, for
 * ever. (Two threads that exchange 1000 blocks of up to 8 KiB: 20 ns for each block,
 * and so 9.)
 *
 * An outbox is its thread's; inboxes are under depot_lock, and count as depots.
 */
#include <stdlib.h>

#include "thread.h"

/*
 * What waits in an outbox, and of one bucket in an inbox, at most: so many bytes; of
 * large blocks so many, but no more than a quarter of what a thread may keep. What is
 * more in an outbox is delivered, in an inbox left to all.
 */
#define WAITING		(1 << 20)
#define WAITING_BLOCKS	8

static uint64_t most_waiting(const struct mempool *pool, uint64_t size)
{
	uint64_t bytes = WAITING_BLOCKS * size;

	if (bytes > pool->cache.bytes / 4)
		bytes = pool->cache.bytes / 4;
	return bytes > WAITING ? bytes : WAITING;
}

static struct mp_inbox *inbox_of(const struct mempool *pool, unsigned int number)
{
	return __atomic_load_n(&pool->cache.inboxes[number], __ATOMIC_ACQUIRE);
}

static struct mp_thread *owner_of(const struct mp_inbox *inbox)
{
	return inbox ? __atomic_load_n(&inbox->of, __ATOMIC_RELAXED) : NULL;
}

static void set_owner(struct mempool *pool, struct mp_inbox *inbox, struct mp_thread *t)
{
	pthread_mutex_lock(&pool->cache.depot_lock);
	__atomic_store_n(&inbox->of, t, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&pool->cache.depot_lock);
}

/* The lowest number that no thread has, with an inbox; or MEMPOOL_NO_THREAD. */
static unsigned int free_number(struct mp_cache *cache)
{
	unsigned int number = 1;
	struct mp_inbox *inbox;

	while (number <= cache->nr_numbers && owner_of(cache->inboxes[number]))
		number++;
	if (number <= cache->nr_numbers || number == MEMPOOL_NO_THREAD)
		return number;
	inbox = calloc(1, sizeof(*inbox));
	if (!inbox)
		return MEMPOOL_NO_THREAD;
	__atomic_store_n(&cache->inboxes[number], inbox, __ATOMIC_RELEASE);
	__atomic_store_n(&cache->nr_numbers, number, __ATOMIC_RELEASE);
	return number;
}

/*
 * A number and an inbox for a thread that begins; without them, if all are given or
 * there is no memory, its blocks stay with whoever releases them. Global lock held.
 */
void mp_remote_join(struct mempool *pool, struct mp_thread *t)
{
	int saved = errno;

	t->hot.number = free_number(&pool->cache);
	if (t->hot.number != MEMPOOL_NO_THREAD)
		set_owner(pool, pool->cache.inboxes[t->hot.number], t);
	errno = saved;
}

/*
 * The thread ends. What waits for it goes to the kernel, what comes later is kept by
 * those who release it. Global lock held.
 */
void mp_remote_leave(struct mempool *pool, struct mp_thread *t)
{
	struct mp_inbox *inbox = inbox_of(pool, t->hot.number);

	if (!inbox)
		return;
	set_owner(pool, inbox, NULL);
	mp_depot_empty_inbox(pool, t->hot.number);
}

/*
 * @nr blocks of one bucket that one thread took: to it, as far as it has not enough of
 * them, then to the depot. How many found room. depot_lock held.
 */
static unsigned int deliver(struct mempool *pool, struct mempool_place label,
			    void *const *blocks, unsigned int nr)
{
	struct mp_inbox *inbox = inbox_of(pool, label.out);
	uint64_t size = pool->track.key_of[label.id] >> 1;
	unsigned int done = 0;

	if (inbox->of) {
		inbox->depots[label.id].max = most_waiting(pool, size) / size;
		done = mp_depot_add(pool, &inbox->depots[label.id], label.id, blocks, nr);
	}
	if (done < nr)
		done += mp_depot_add(pool, &pool->cache.depots[label.id], label.id, blocks + done,
				     nr - done);
	return done;
}

/* Blocks from @at on that are delivered together. */
static unsigned int run_length(const struct mp_thread *t, unsigned int at)
{
	unsigned int end = at + 1;

	while (end < t->nr_outbox && t->labels[end].id == t->labels[at].id &&
	       t->labels[end].out == t->labels[at].out)
		end++;
	return end - at;
}

/*
 * Has the owner taken blocks since the last delivery? Of several owners one is asked,
 * now this one and now that. depot_lock held.
 */
static void look_after(struct mp_inbox *inbox)
{
	uint64_t allocs = inbox->of ? mp_load(&inbox->of->hot.allocs) : 0;

	__atomic_store_n(&inbox->unread, allocs == inbox->allocs ? inbox->unread + 1 : 0,
			 __ATOMIC_RELAXED);
	inbox->allocs = allocs;
}

/* Deliver what is in the outbox. What finds no room goes to the kernel. */
void mp_remote_flush(struct mempool *pool, struct mp_thread *t)
{
	unsigned int at, nr, done, rest = 0;

	if (!t->nr_outbox)
		return;
	pthread_mutex_lock(&pool->cache.depot_lock);
	look_after(inbox_of(pool, t->labels[0].out));
	for (at = 0; at < t->nr_outbox; at += nr) {
		nr = run_length(t, at);
		done = deliver(pool, t->labels[at], t->outbox + at, nr);
		while (done < nr)
			t->outbox[rest++] = t->outbox[at + done++];
	}
	pthread_mutex_unlock(&pool->cache.depot_lock);
	t->nr_outbox = rest;
	mp_remote_give_up(pool, t);
	if (rest)
		mp_depot_empty_unread(pool);
}

/* What is in the outbox goes to the kernel. */
void mp_remote_give_up(struct mempool *pool, struct mp_thread *t)
{
	mp_give_cached(pool, t->outbox, t->nr_outbox);
	t->nr_outbox = 0;
	mp_store(&t->outbox_bytes, 0);
}

/* With @bytes, the last block's @size among them; or as much as this thread may keep. */
static bool is_full(const struct mempool *pool, const struct mp_thread *t, uint64_t bytes,
		    uint64_t size)
{
	return t->nr_outbox == MP_OUTBOX || t->capacity + bytes > pool->cache.bytes ||
		bytes >= most_waiting(pool, size);
}

static void post(struct mempool *pool, struct mp_thread *t, void *ptr, struct mempool_place label)
{
	uint64_t size = pool->track.key_of[label.id] >> 1, bytes = t->outbox_bytes + size;

	t->outbox[t->nr_outbox] = ptr;
	t->labels[t->nr_outbox++] = label;
	mp_store(&t->outbox_bytes, bytes);
	mp_store(&t->remote, t->remote + 1);
	if (!is_full(pool, t, bytes, size))
		return;
	mp_cache_answer_recall(pool, t);
	mp_remote_flush(pool, t);
}

/*
 * Release a block, if it is out, another thread took it, and that one is there still.
 * False: only the usual way can tell.
 */
bool mp_remote_release(struct mempool *pool, void *ptr)
{
	struct mempool_thread *hot = mempool_thread_1;
	struct mp_thread *t = mp_to_thread(hot);
	struct mempool_place label;
	uintptr_t unit;

	if (MEMPOOL_GET(hot->session) != pool)
		return false;
	unit = mp_unit_of(ptr, hot->base, t->shift);
	if (unit >= hot->units || atomic_load_explicit(&t->recall, memory_order_relaxed))
		return false;
	label = hot->places[unit];
	if (!label.id || !label.out || label.out == hot->number ||
	    !owner_of(inbox_of(pool, label.out)))
		return false;
	hot->places[unit].out = 0;
	post(pool, t, ptr, label);
	return true;
}
