// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Block pools with a cache: magazines of indices in threads' caches.
 *
 * Private pools only. To the kernel a block in a cache is held by this session
 * under one generation all the time, so another member could not tell the block
 * that it was sent from the one that came after it. For the same reason there are
 * no tokens of such pools.
 *
 * Whether a block is out is written by whoever has it, and magazines by their
 * threads, as those of buckets. When a pool is closed, other threads may still
 * have magazines of it: their indices mean nothing from then on, and no other
 * pool gets the id before they are gone.
 */
#include <string.h>
#include <time.h>

#include "thread.h"

#define DEPOT_FACTOR	16	/* blocks between threads, in terms of a thread's */
#define RETRIES		20

static struct mempool_blocks **pool_at(struct mempool *pool, unsigned int id)
{
	return &pool->cache.pools[id - MP_FIRST_POOL];
}

/* Its magazine is of this pool, not of one that had the id before. */
static bool is_of(const struct mp_thread *t, const struct mempool_blocks *blocks)
{
	return mp_load(&t->cold[blocks->head.magazine].serial) == blocks->serial;
}

static bool is_out(const struct mempool_blocks *blocks, uint32_t index)
{
	return __atomic_load_n(&blocks->head.out[index], __ATOMIC_RELAXED);
}

/* ---- open and close ---------------------------------------------------------- */

static bool id_is_free(struct mempool *pool, unsigned int id)
{
	struct mp_thread *t;

	if (*pool_at(pool, id))
		return false;
	for (t = pool->cache.threads; t; t = t->next)
		if (__atomic_load_n(&t->cold[id].bottom, __ATOMIC_ACQUIRE))
			return false;
	return true;
}

static void take_id(struct mempool_blocks *blocks)
{
	struct mempool *pool = blocks->head.pool;
	unsigned int id;

	mp_threads_lock();
	pthread_mutex_lock(&pool->cache.pools_lock);
	for (id = MP_FIRST_POOL; id < MEMPOOL_NR_MAGAZINES && !id_is_free(pool, id); id++)
		;
	if (id < MEMPOOL_NR_MAGAZINES) {
		blocks->serial = ++pool->cache.serial;
		blocks->head.magazine = id;
		*pool_at(pool, id) = blocks;
	}
	pthread_mutex_unlock(&pool->cache.pools_lock);
	mp_threads_unlock();
}

/*
 * Have a cache of up to @cache_blocks in each thread. Where there can be none
 * (MP_MAX_CACHED_POOLS have one, blocks of 4 GiB, more than 2^31, checked mode), all works
 * without.
 */
int mp_pools_attach(struct mempool_blocks *blocks, unsigned int cache_blocks)
{
	struct mempool *pool = blocks->head.pool;
	uint32_t mask = blocks->nr - 1;
	unsigned int i;

	if (!pool->cache.ready || pool->checked || blocks->head.stride > UINT32_MAX ||
	    blocks->nr > UINT32_C(1) << 31)
		return 0;
	for (i = 1; i < 32; i *= 2)
		mask |= mask >> i;
	blocks->head.mask = mask;
	blocks->head.out = mp_zero_pages(mask + UINT64_C(1));
	if (!blocks->head.out)
		return -ENOMEM;
	blocks->max_slots = 1;
	while (blocks->max_slots < MP_MAX_SLOTS && 2 * blocks->max_slots <= cache_blocks)
		blocks->max_slots *= 2;
	take_id(blocks);
	return 0;
}

void mp_pools_detach(struct mempool_blocks *blocks)
{
	struct mempool *pool = blocks->head.pool;
	unsigned int id = blocks->head.magazine;
	struct mp_thread *t;

	if (!id)
		return;
	mp_threads_lock();
	pthread_mutex_lock(&pool->cache.pools_lock);
	*pool_at(pool, id) = NULL;
	for (t = pool->cache.threads; t; t = t->next) {
		if (!__atomic_load_n(&t->cold[id].bottom, __ATOMIC_RELAXED))
			continue;
		if (&t->hot == mempool_thread_1)
			mp_magazine_drop(t, id);
		else
			atomic_store(&t->recall, true);
	}
	mp_depot_free(pool, id);
	pthread_mutex_unlock(&pool->cache.pools_lock);
	mp_threads_unlock();
}

/* Indices back to the kernel; to nobody, if the pool is closed. pools_lock held. */
static void give_cached(struct mempool *pool, unsigned int id, void *const *from, unsigned int nr)
{
	struct mempool_blocks *blocks = *pool_at(pool, id);
	uint32_t indices[MP_BATCH];
	unsigned int at, i, part;

	for (at = 0; blocks && at < nr; at += part) {
		part = nr - at < MP_BATCH ? nr - at : MP_BATCH;
		for (i = 0; i < part; i++)
			indices[i] = (uint32_t)(uintptr_t)from[at + i];
		mp_past_give(blocks, indices, part);
		atomic_fetch_add(&blocks->drained, part);
	}
}

/* Out of this thread's magazine, as long as which is there nobody gets the id. */
void mp_pools_give_cached(struct mempool *pool, unsigned int id, void *const *from,
			  unsigned int nr)
{
	pthread_mutex_lock(&pool->cache.pools_lock);
	give_cached(pool, id, from, nr);
	pthread_mutex_unlock(&pool->cache.pools_lock);
}

/*
 * The lock is held throughout: the pool may be closed at any time, and its blocks
 * must not come to the next one with the id.
 */
void mp_pools_empty_depot(struct mempool *pool, unsigned int id)
{
	void *blocks[MP_BATCH];
	unsigned int nr;

	pthread_mutex_lock(&pool->cache.pools_lock);
	while ((nr = mp_depot_get(pool, id, blocks, MP_BATCH)))
		give_cached(pool, id, blocks, nr);
	pthread_mutex_unlock(&pool->cache.pools_lock);
}

/* A thread ends: what it has counted stays. Global lock held. */
void mp_pools_fold(struct mempool *pool, struct mp_thread *t)
{
	struct mempool_blocks *blocks;
	unsigned int id;

	pthread_mutex_lock(&pool->cache.pools_lock);
	for (id = MP_FIRST_POOL; id < MEMPOOL_NR_MAGAZINES; id++) {
		blocks = *pool_at(pool, id);
		if (!blocks || !is_of(t, blocks))
			continue;
		blocks->gets += t->hot.gets[id];
		blocks->net += t->cold[id].net;
	}
	pthread_mutex_unlock(&pool->cache.pools_lock);
}

/* ---- magazines --------------------------------------------------------------- */

/*
 * Slots of a thread's first magazine. Half of it comes with the first refill: as
 * many blocks as one cache line of @out tells of, so that no two threads write to
 * one, unless the pool is too small for that.
 */
static unsigned int first_slots(const struct mempool_blocks *blocks)
{
	unsigned int slots = 2 * MP_CACHE_LINE;

	while (slots > MP_FIRST_SLOTS && slots > blocks->nr / 8)
		slots /= 2;
	return slots < blocks->max_slots ? slots : blocks->max_slots;
}

/* This thread's cache with a magazine for the pool, or NULL. */
static struct mp_thread *activate(struct mempool_blocks *blocks)
{
	struct mempool *pool = blocks->head.pool;
	struct mp_thread *t = mp_thread_of(pool, true);
	unsigned int id = blocks->head.magazine, max;

	if (!t)
		return NULL;
	mp_cache_answer_recall(pool, t);
	if (t->cold[id].bottom && mp_magazine_recalled(t, id))
		mp_magazine_give_up(pool, t, id, true);
	if (t->cold[id].bottom)
		return t;
	if (!is_of(t, blocks)) {
		mp_store(&t->hot.gets[id], 0);
		mp_store(&t->cold[id].net, 0);
		mp_store(&t->cold[id].serial, blocks->serial);
	}
	if (!mp_magazine_resize(t, id, first_slots(blocks)))
		return NULL;
	max = DEPOT_FACTOR * blocks->max_slots;
	mp_depot_prepare(pool, id, max < blocks->nr ? max : blocks->nr);
	return t;
}

/* It became empty or full, rather than being new: twice as large. */
static void grow(struct mempool_blocks *blocks, struct mp_thread *t)
{
	unsigned int id = blocks->head.magazine, slots = mp_magazine_slots(t, id);

	if (t->cold[id].filled && slots < blocks->max_slots)
		mp_magazine_resize(t, id, 2 * slots);
}

/*
 * Fill an empty magazine by half, the lowest index topmost. One block is enough while
 * another thread waits for blocks that are in caches: it has asked for these, too.
 */
static int refill(struct mempool_blocks *blocks, struct mp_thread *t, bool another_waits)
{
	unsigned int id = blocks->head.magazine, want = (mp_magazine_slots(t, id) + 1) / 2;
	struct mempool_token tokens[MP_BATCH];
	unsigned int i, nr;
	int ret;

	if (mp_magazine_refill(blocks->head.pool, t, id))
		return 0;
	if (want > MP_BATCH)
		want = MP_BATCH;
	if (another_waits)
		want = 1;
	ret = mp_past_take(blocks, tokens, want, &nr);
	if (ret)
		return ret;
	for (i = 0; i < nr; i++)
		t->cold[id].bottom[nr - 1 - i] = (void *)(uintptr_t)tokens[i].index;
	atomic_fetch_add(&blocks->filled, nr);
	mp_magazine_filled(t, id, nr);
	return 0;
}

/*
 * Ask the other threads for their blocks of the pool: 0 if none has any, else
 * how many have not been asked before.
 */
static int recall_others(struct mempool_blocks *blocks, bool *any)
{
	struct mempool *pool = blocks->head.pool;
	unsigned int id = blocks->head.magazine;
	struct mp_thread *t;
	int asked = 0;

	*any = false;
	mp_threads_lock();
	for (t = pool->cache.threads; t; t = t->next) {
		if (&t->hot == mempool_thread_1 || !mp_magazine_count(t, id))
			continue;
		*any = true;
		if (mp_magazine_recalled(t, id))
			continue;
		mp_magazine_recall(t, id);
		asked++;
	}
	mp_threads_unlock();
	return asked;
}

/*
 * Every block is issued: is it worth asking again? Other threads are given a
 * moment to give theirs back; those that did not do so the last time are not
 * waited for. Who has tried counts as waiting until it ends its call.
 */
static bool retry(struct mempool_blocks *blocks, unsigned int *tries)
{
	static const struct timespec moment = { 0, 1000000 };
	bool any, asked = recall_others(blocks, &any);

	if (*tries ? !any || *tries > RETRIES : !asked)
		return false;
	if (!(*tries)++)
		atomic_fetch_add(&blocks->waiting, 1);
	nanosleep(&moment, NULL);
	return true;
}

/* ---- get and return ---------------------------------------------------------- */

/* Likewise, for who has no magazine and so takes nothing out of the depot. */
static bool retry_past(struct mempool_blocks *blocks, unsigned int *tries)
{
	struct mempool *pool = blocks->head.pool;
	unsigned int id = blocks->head.magazine;
	bool any = mp_depot_count(pool, id);

	if (any)
		mp_pools_empty_depot(pool, id);
	return any || retry(blocks, tries);
}

/* Past the cache, for want of a magazine. */
static int get_past(struct mempool_blocks *blocks, void **ptrs, unsigned int *indices,
		    unsigned int count)
{
	int ret = mp_past_get(blocks, NULL, ptrs, indices, count);
	unsigned int i;

	for (i = 0; !ret && i < count; i++)
		blocks->head.out[indices ? indices[i] : mp_block_index(blocks, ptrs[i])] = 1;
	return ret;
}

static void undo_get(struct mempool_blocks *blocks, void **ptrs, unsigned int *indices,
		     unsigned int nr)
{
	unsigned int i, index;

	for (i = 0; i < nr; i++) {
		index = indices ? indices[i] : mp_block_index(blocks, ptrs[i]);
		mp_pools_return(blocks, &index, 1);
	}
}

/* mempool_get_blocks() where the hot path does not go. */
int mp_pools_get(struct mempool_blocks *blocks, void **ptrs, unsigned int *indices,
		 unsigned int count)
{
	unsigned int nr = 0, part, tries = 0, id = blocks->head.magazine;
	int ret = 0;

	while (!ret && nr < count) {
		void **p = ptrs ? ptrs + nr : NULL;
		unsigned int *x = indices ? indices + nr : NULL;
		struct mp_thread *t = activate(blocks);

		part = t ? mp_magazine_count(t, id) : 0;
		if (part > count - nr)
			part = count - nr;
		if (part > MEMPOOL_MAX_COUNT)
			part = MEMPOOL_MAX_COUNT;
		if (!t) {
			part = count - nr;
			ret = get_past(blocks, p, x, part);
			if (ret == -ENOSPC && retry_past(blocks, &tries))
				ret = part = 0;
		} else if (part) {
			/* Unless recalled at this moment. */
			part *= mempool_try_get_blocks(blocks, p, x, part);
		} else {
			grow(blocks, t);
			ret = refill(blocks, t, atomic_load(&blocks->waiting) > !!tries);
			if (ret == -ENOSPC && retry(blocks, &tries))
				ret = 0;
		}
		if (!ret)
			nr += part;
	}
	if (tries)
		atomic_fetch_sub(&blocks->waiting, 1);
	if (ret)
		undo_get(blocks, ptrs, indices, nr);
	return ret;
}

/* What is not out is refused; the kernel, to which it is ours, is not asked. */
static int refuse(struct mempool_blocks *blocks, uint32_t index)
{
	atomic_fetch_add(&blocks->bad, 1);
	return index < blocks->nr ? -ENOENT : -ERANGE;
}

static int return_past(struct mempool_blocks *blocks, uint32_t index)
{
	blocks->head.out[index] = 0;
	return mp_past_return(blocks, index);
}

static int return_one(struct mempool_blocks *blocks, unsigned int index)
{
	unsigned int id = blocks->head.magazine;
	struct mp_thread *t;

	if (index >= blocks->nr || !is_out(blocks, index))
		return refuse(blocks, index);
	t = activate(blocks);
	if (!t)
		return return_past(blocks, index);
	if (t->hot.tops[id] == t->hot.ends[id]) {
		grow(blocks, t);
		if (t->hot.tops[id] == t->hot.ends[id])
			mp_magazine_drain(blocks->head.pool, t, id,
					  (mp_magazine_slots(t, id) + 1) / 2, false);
	}
	return mempool_try_return_blocks(blocks, &index, 1) ? 0 : refuse(blocks, index);
}

/* mempool_return_blocks() where the hot path does not go. */
int mp_pools_return(struct mempool_blocks *blocks, const unsigned int *indices,
		    unsigned int count)
{
	struct mempool_thread *t = mempool_thread_1;
	unsigned int id = blocks->head.magazine, nr = 0, part;
	int ret, first = 0;

	while (nr < count) {
		ret = return_one(blocks, indices[nr++]);
		if (!first)
			first = ret;
		t = mempool_thread_1;
		part = 0;
		if (MEMPOOL_GET(t->session) == blocks->head.pool)
			part = t->ends[id] - t->tops[id];
		if (part > count - nr)
			part = count - nr;
		if (part > MEMPOOL_MAX_COUNT)
			part = MEMPOOL_MAX_COUNT;
		if (part && mempool_try_return_blocks(blocks, indices + nr, part))
			nr += part;
	}
	return first;
}

/* ---- the whole pool ---------------------------------------------------------- */

/* This thread's blocks and the depot's back to the kernel, the others' soon. */
void mp_pools_flush(struct mempool_blocks *blocks)
{
	struct mempool *pool = blocks->head.pool;
	unsigned int id = blocks->head.magazine;
	struct mp_thread *t = mp_thread_of(pool, false);
	bool any;

	if (t && t->cold[id].bottom)
		mp_magazine_give_up(pool, t, id, true);
	mp_pools_empty_depot(pool, id);
	recall_others(blocks, &any);
}

/* What users have goes back to the kernel; other threads keep what is free. */
int mp_pools_reset(struct mempool_blocks *blocks)
{
	uint32_t index;
	int ret, first = 0;

	mp_pools_flush(blocks);
	for (index = 0; index < blocks->nr; index++) {
		if (!__atomic_exchange_n(&blocks->head.out[index], 0, __ATOMIC_SEQ_CST))
			continue;
		ret = mp_past_give(blocks, &index, 1);
		if (!first)
			first = ret;
	}
	return first;
}

/* ---- statistics -------------------------------------------------------------- */

static bool in_kernel(const struct mempool_blocks *blocks, uint32_t index)
{
	return !(atomic_load_explicit(&blocks->words[index], memory_order_relaxed) & MP_HELD);
}

/* Gaps between neighbouring free blocks, those in caches included. */
static uint64_t count_gaps(const struct mempool_blocks *blocks)
{
	uint64_t runs = 0;
	bool before = false;
	uint32_t i;

	for (i = 0; i < blocks->nr; i++) {
		bool now = !is_out(blocks, i);

		runs += now && !before;
		before = now;
	}
	return runs ? runs - 1 : 0;
}

/*
 * The order in which blocks would be handed out: caches', whatever it is, then
 * the kernel's, from the lowest on. In it, steps that do not go to the next
 * higher free index.
 */
struct order {
	uint32_t last;
	bool begun;
	uint64_t disorder;
};

static void step(const struct mempool_blocks *blocks, struct order *order, uint32_t to)
{
	uint32_t next = order->last + 1;

	while (next < to && is_out(blocks, next))
		next++;
	order->disorder += order->begun && next != to;
	order->begun = true;
	order->last = to;
}

static void walk(const struct mempool_blocks *blocks, struct order *order, void **bottom,
		 unsigned int nr)
{
	uint32_t index;

	while (nr--) {
		index = (uint32_t)(uintptr_t)__atomic_load_n(&bottom[nr], __ATOMIC_RELAXED);
		if (index < blocks->nr)
			step(blocks, order, index);
	}
}

/* Global lock held. */
static uint64_t count_disorder(struct mempool_blocks *blocks)
{
	struct mempool *pool = blocks->head.pool;
	unsigned int id = blocks->head.magazine;
	struct mp_depot *depot = &pool->cache.depots[id];
	struct order order = { 0 };
	struct mp_thread *t;
	struct mp_look look;
	uint32_t i;

	for (t = pool->cache.threads; t; t = t->next)
		if (is_of(t, blocks) && mp_magazine_look(t, id, &look))
			walk(blocks, &order, look.bottom, look.nr);
	pthread_mutex_lock(&pool->cache.depot_lock);
	walk(blocks, &order, depot->blocks, depot->nr);
	pthread_mutex_unlock(&pool->cache.depot_lock);
	for (i = 0; i < blocks->nr; i++)
		if (!is_out(blocks, i) && in_kernel(blocks, i))
			step(blocks, &order, i);
	return order.disorder;
}

/* The kernel has counted what came into caches and left them: say what users did. */
void mp_pools_correct(struct mempool_blocks *blocks, struct mempool_pool_stats *stats)
{
	struct mempool *pool = blocks->head.pool;
	unsigned int id = blocks->head.magazine;
	uint64_t gets, net, cached = 0, filled, drained;
	struct mp_thread *t;
	struct mp_look look;

	mp_threads_lock();
	gets = blocks->gets;
	net = blocks->net;
	for (t = pool->cache.threads; t; t = t->next) {
		if (!is_of(t, blocks))
			continue;
		gets += mp_load(&t->hot.gets[id]);
		mp_magazine_look(t, id, &look);
		net += look.net;
		cached += look.nr;
	}
	filled = atomic_load(&blocks->filled);
	drained = atomic_load(&blocks->drained);
	stats->gets += gets - filled;
	stats->returns += gets - net + cached - drained;
	cached += mp_depot_count(pool, id);
	stats->issued -= cached < stats->issued ? cached : stats->issued;
	stats->held -= cached < stats->held ? cached : stats->held;
	stats->free = stats->nr_blocks - stats->issued;
	stats->bad_returns += atomic_load(&blocks->bad);
	stats->gaps = count_gaps(blocks);
	stats->disorder = count_disorder(blocks);
	mp_threads_unlock();
}
