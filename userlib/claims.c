// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Statistics of what the caches of buckets served: counted by their threads, claimed
 * from the kernel when somebody asks.
 *
 * The peak is exact with one thread: room is what it may allocate before its sum
 * is higher than ever. When a second thread comes, the kernel's own peak, which
 * counts what lies in caches, becomes the answer.
 */
#include "thread.h"

#define NO_PEAK		(INT64_MAX / 2)

static uint64_t not_below(uint64_t now, uint64_t before)
{
	return (int64_t)(now - before) < 0 ? before : now;
}

/*
 * What came back, of what had gone out before now. If a magazine cannot be looked at
 * there is nothing new to say.
 */
static uint64_t count_releases(struct mp_thread *t)
{
	uint64_t releases = not_below(mp_load(&t->hot.allocs), t->claimed_allocs);
	struct mp_look look;
	unsigned int id;

	for (id = 1; id < MP_ID_OTHER; id++) {
		if (!mp_magazine_look(t, id, &look))
			return t->claimed_releases;
		releases += look.nr - look.net;
	}
	return not_below(releases + mp_load(&t->remote), t->claimed_releases);
}

static void claim_releases(struct mp_thread *t, struct mempool_claims *claims)
{
	uint64_t releases = count_releases(t), bad = mp_load(&t->bad);

	claims->releases += releases - t->claimed_releases;
	claims->bad_releases += bad - t->claimed_bad;
	t->claimed_releases = releases;
	t->claimed_bad = bad;
}

static void claim_allocations(struct mp_thread *t, struct mempool_claims *claims)
{
	uint64_t allocs = not_below(mp_load(&t->hot.allocs), t->claimed_allocs);
	uint64_t new = mp_load(&t->new);

	if (new - t->claimed_new > allocs - t->claimed_allocs)
		new = t->claimed_new + allocs - t->claimed_allocs;
	claims->new_allocations += new - t->claimed_new;
	claims->reused_allocations += allocs - t->claimed_allocs - (new - t->claimed_new);
	if (mp_load(&t->peak) > claims->peak_bytes)
		claims->peak_bytes = mp_load(&t->peak);
	t->claimed_new = new;
	t->claimed_allocs = allocs;
}

/*
 * Bring the kernel's statistics up to date: counters that it has not heard of. What was
 * released had been allocated before, by whatever thread, so that is counted last: what
 * is claimed once cannot be taken back. Global lock held.
 */
void mp_cache_claim_all(struct mempool *pool)
{
	struct mempool_release cmd = { .flags = MEMPOOL_RELEASE_CLAIMS };
	struct mp_thread *t;

	for (t = pool->cache.threads; t; t = t->next)
		claim_releases(t, &cmd.claims);
	atomic_thread_fence(memory_order_acquire);
	for (t = pool->cache.threads; t; t = t->next)
		claim_allocations(t, &cmd.claims);
	cmd.claims.bad_releases += atomic_exchange(&pool->cache.bad, 0);
	if (atomic_load(&pool->cache.shared))
		cmd.claims.peak_bytes = UINT64_MAX;
	mp_ioctl(pool, MEMPOOL_IOC_RELEASE, &cmd);
}

/* @bytes more are in use, or less: is that the peak? */
void mp_thread_account(struct mp_thread *t, int64_t bytes)
{
	t->hot.room -= bytes;
	if (atomic_load_explicit(&t->hot.session->cache.shared, memory_order_relaxed)) {
		t->hot.room = NO_PEAK;
	} else if (t->hot.room < 0) {
		mp_store(&t->peak, t->peak - t->hot.room);
		t->hot.room = 0;
	}
}

/* Blocks that came from the kernel to a user, or went, past the caches. */
void mp_cache_account(struct mempool *pool, int64_t bytes)
{
	struct mp_thread *t = pool->cache.bytes ? mp_thread_of(pool, true) : NULL;

	if (t)
		mp_thread_account(t, bytes);
}

/* Bring the kernel's statistics up to date. Returns the bytes free in caches. */
uint64_t mp_cache_claim(struct mempool *pool)
{
	struct mp_thread *t;
	unsigned int id;
	uint64_t bytes;

	if (!pool->cache.bytes || mp_inherited(pool))
		return 0;
	mp_threads_lock();
	mp_cache_claim_all(pool);
	pthread_mutex_lock(&pool->cache.depot_lock);
	bytes = pool->cache.depot_bytes;
	pthread_mutex_unlock(&pool->cache.depot_lock);
	for (t = pool->cache.threads; t; t = t->next) {
		bytes += mp_load(&t->outbox_bytes);
		for (id = 1; id < MP_ID_OTHER; id++)
			bytes += mp_magazine_count(t, id) * (pool->track.key_of[id] >> 1);
	}
	mp_threads_unlock();
	return bytes;
}
