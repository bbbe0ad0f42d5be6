// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Free blocks are called back out of caches: when the kernel has no memory for
 * somebody, here or elsewhere, and when the user asks for it.
 */
#include <time.h>

#include "thread.h"

/* Milliseconds to wait: for the first answer, for more, for all to end. */
#define PATIENCE	100
#define PATIENCE_MORE	20
#define PATIENCE_IN_ALL	1000

/* Blocks that somebody else needs more go back now. */
void mp_cache_answer_recall(struct mempool *pool, struct mp_thread *t)
{
	uint32_t now = t->pressure;

	if (pool->cache.status)
		now = __atomic_load_n(&pool->cache.status->pressure, __ATOMIC_RELAXED);
	if (now == t->pressure && !atomic_load_explicit(&t->recall, memory_order_relaxed))
		return;
	t->pressure = now;
	atomic_fetch_add(&pool->cache.answering, 1);
	atomic_store(&t->recall, false);
	t->deaf = false;
	mp_magazines_give_up(pool, t);
	mp_depot_empty(pool);
	atomic_fetch_add(&pool->cache.answers, 1);
	atomic_fetch_sub(&pool->cache.answering, 1);
}

/*
 * Ask the other threads for their blocks: they answer at their next operation.
 * Returns what they have, but for those who have not answered the last time.
 */
static uint64_t recall_others(struct mempool *pool)
{
	struct mp_thread *t;
	uint64_t bytes = 0;
	unsigned int id;
	bool posts;

	mp_threads_lock();
	for (t = pool->cache.threads; t; t = t->next) {
		if (&t->hot == mempool_thread_1)
			continue;
		if (!atomic_exchange(&t->recall, true))
			atomic_store(&t->deaf, false);
		posts = mp_load(&t->outbox_bytes);
		if (!atomic_load(&t->deaf))
			bytes += mp_load(&t->outbox_bytes);
		/* Any magazine leads the owner to its outbox, also an empty one. */
		for (id = 1; id < MEMPOOL_NR_MAGAZINES; id++) {
			if (!mp_magazine_count(t, id) && !(posts && mp_magazine_in_use(t, id)))
				continue;
			if (id < MP_ID_OTHER && !atomic_load(&t->deaf))
				bytes += mp_magazine_count(t, id) *
					(pool->track.key_of[id] >> 1);
			mp_magazine_recall(t, id);
		}
	}
	mp_threads_unlock();
	return bytes;
}

/* Who is asleep, or does not need blocks, is not waited for again. */
static void give_up_waiting(struct mempool *pool)
{
	struct mp_thread *t;

	mp_threads_lock();
	for (t = pool->cache.threads; t; t = t->next)
		if (atomic_load(&t->recall))
			atomic_store(&t->deaf, true);
	mp_threads_unlock();
}

/*
 * The kernel has no memory: is it worth asking again? Blocks in caches go back
 * first; other threads are given a moment to begin to do the same, and who has
 * begun all the time that it takes.
 */
bool mp_cache_retry(struct mempool *pool, struct mp_retry *retry)
{
	static const struct timespec moment = { 0, 1000000 };
	unsigned int answers = atomic_load(&pool->cache.answers), most = PATIENCE;
	struct mp_thread *t = mp_thread_of(pool, false);
	bool again;

	if (!pool->cache.bytes)
		return false;
	if (retry->tries && answers != retry->first)
		most = PATIENCE_MORE;
	if (!retry->tries++) {
		retry->first = answers;
		again = mp_cache_claim(pool);
		if (t)
			mp_magazines_give_up(pool, t);
		mp_depot_empty(pool);
		again |= recall_others(pool) != 0;
	} else if (atomic_load(&pool->cache.answering) && retry->waits++ < PATIENCE_IN_ALL) {
		retry->tries--;
		nanosleep(&moment, NULL);
		again = true;
	} else if (retry->tries > most) {
		give_up_waiting(pool);
		again = false;
	} else if (mp_depot_empty_buckets(pool)) {
		again = true;	/* given back, or delivered, since we asked */
	} else {
		again = recall_others(pool) != 0;
		if (again)
			nanosleep(&moment, NULL);
		again |= answers != retry->answers;	/* since we asked the kernel */
	}
	retry->answers = answers;
	return again;
}

/* This thread's blocks and the depot's back to the kernel; with @recall others' soon. */
int mp_cache_flush(struct mempool *pool, bool recall)
{
	struct mp_thread *t = mp_thread_of(pool, false);

	if (!pool->cache.ready)
		return 0;
	if (t)
		mp_magazines_give_up(pool, t);
	mp_depot_empty(pool);
	if (recall)
		recall_others(pool);
	mp_cache_claim(pool);
	return 0;
}
