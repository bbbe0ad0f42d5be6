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
 * and so 8.)
 *
 * An outbox is its thread's; inboxes are under depot_lock, and count as depots.
 */
#include <stdlib.h>

#include "thread.h"

/* What waits for a thread at most; the rest is for all. Outboxes go when as full. */
#define WAITING		(1 << 20)	/* bytes: of a bucket, or in an outbox */
#define WAITING_BLOCKS	8		/* also of large ones */

static struct mp_inbox *inbox_of(const struct mempool *pool, unsigned int number)
{
	return __atomic_load_n(&pool->cache.inboxes[number], __ATOMIC_ACQUIRE);
}

static bool is_open(const struct mp_inbox *inbox)
{
	return inbox && __atomic_load_n(&inbox->open, __ATOMIC_RELAXED);
}

/*
 * A number and an inbox for a thread that begins; without them, if all are given or
 * there is no memory, its blocks stay with whoever releases them. Global lock held.
 */
void mp_remote_join(struct mempool *pool, struct mp_thread *t)
{
	struct mp_inbox **at = pool->cache.inboxes;
	unsigned int number = 1;
	int saved = errno;

	while (number < MEMPOOL_NO_THREAD && is_open(at[number]))
		number++;
	if (number < MEMPOOL_NO_THREAD && !at[number])
		__atomic_store_n(&at[number], calloc(1, sizeof(*at[number])), __ATOMIC_RELEASE);
	errno = saved;
	if (number == MEMPOOL_NO_THREAD || !at[number]) {
		t->hot.number = MEMPOOL_NO_THREAD;
		return;
	}
	t->hot.number = number;
	__atomic_store_n(&at[number]->open, true, __ATOMIC_RELAXED);
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
	pthread_mutex_lock(&pool->cache.depot_lock);
	__atomic_store_n(&inbox->open, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&pool->cache.depot_lock);
	mp_depot_empty_inbox(pool, t->hot.number);
}

/*
 * @nr blocks of one bucket that one thread took: to it, as far as it has not enough of
 * them, then to the depot. How many found room. depot_lock held.
 */
static unsigned int deliver(struct mempool *pool, struct mp_label label, void *const *blocks,
			    unsigned int nr)
{
	struct mp_inbox *inbox = inbox_of(pool, label.number);
	uint64_t max = WAITING / (pool->track.key_of[label.id] >> 1);
	unsigned int done = 0;

	if (is_open(inbox)) {
		inbox->depots[label.id].max = max < WAITING_BLOCKS ? WAITING_BLOCKS : max;
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
	       t->labels[end].number == t->labels[at].number)
		end++;
	return end - at;
}

/* Deliver what is in the outbox. What finds no room goes to the kernel. */
void mp_remote_flush(struct mempool *pool, struct mp_thread *t)
{
	unsigned int at, nr, done, rest = 0;

	if (!t->nr_outbox)
		return;
	pthread_mutex_lock(&pool->cache.depot_lock);
	for (at = 0; at < t->nr_outbox; at += nr) {
		nr = run_length(t, at);
		done = deliver(pool, t->labels[at], t->outbox + at, nr);
		while (done < nr)
			t->outbox[rest++] = t->outbox[at + done++];
	}
	pthread_mutex_unlock(&pool->cache.depot_lock);
	t->nr_outbox = rest;
	mp_remote_give_up(pool, t);
}

/* What is in the outbox goes to the kernel. */
void mp_remote_give_up(struct mempool *pool, struct mp_thread *t)
{
	mp_give_cached(pool, t->outbox, t->nr_outbox);
	t->nr_outbox = 0;
	mp_store(&t->outbox_bytes, 0);
}

/* With @bytes it has what one is to have, or all that this thread may keep. */
static bool is_full(const struct mempool *pool, const struct mp_thread *t, uint64_t bytes)
{
	return t->nr_outbox == MP_OUTBOX || t->capacity + bytes > pool->cache.bytes ||
		(bytes >= WAITING && t->nr_outbox >= WAITING_BLOCKS);
}

static void post(struct mempool *pool, struct mp_thread *t, void *ptr, struct mp_label label)
{
	uint64_t bytes = t->outbox_bytes + (pool->track.key_of[label.id] >> 1);

	t->outbox[t->nr_outbox] = ptr;
	t->labels[t->nr_outbox++] = label;
	mp_store(&t->outbox_bytes, bytes);
	mp_store(&t->remote, t->remote + 1);
	if (!is_full(pool, t, bytes))
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
	struct mempool_place *place;
	struct mp_label label;
	uintptr_t unit;

	if (MEMPOOL_GET(hot->session) != pool)
		return false;
	unit = mp_unit_of(ptr, hot->base, t->shift);
	if (unit >= hot->units || atomic_load_explicit(&t->recall, memory_order_relaxed))
		return false;
	place = &hot->places[unit];
	label = (struct mp_label) { place->id, place->out };
	if (!label.number || label.number == hot->number || !is_open(inbox_of(pool, label.number)))
		return false;
	place->out = 0;
	post(pool, t, ptr, label);
	return true;
}
