// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Buckets and threads' caches: what happens where the hot path does not go.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "thread.h"

#define DEPOT_FACTOR	8
/* What a thread may keep that only gives back, see relieve(). */
#define HOARD		(1 << 20)	/* bytes */
#define HOARD_BLOCKS	8		/* also of large ones, if its cache is large */

/* Say in the table what becomes of a block that we have. */
static void mark(struct mp_thread *t, const void *ptr, unsigned int id, unsigned int number)
{
	mp_track_mark(t->hot.session, (uintptr_t)ptr - t->hot.base, id, number);
}

/* ---- magazines of buckets ---------------------------------------------------- */

/* For @bytes more in magazines; then the outbox may have to go. */
static bool has_room(struct mempool *pool, struct mp_thread *t, uint64_t bytes)
{
	if (t->capacity + bytes > pool->cache.bytes)
		return false;
	if (t->capacity + bytes + t->outbox_bytes > pool->cache.bytes)
		mp_remote_flush(pool, t);
	return true;
}

/* Give up others' magazines until there is room for @bytes more. */
static bool make_room(struct mempool *pool, struct mp_thread *t, unsigned int id, uint64_t bytes)
{
	unsigned int looked;

	for (looked = 0; looked < MP_ID_OTHER; looked++) {
		if (has_room(pool, t, bytes))
			return true;
		t->hand = (t->hand + 1) % MP_ID_OTHER;
		if (t->hand != id && t->cold[t->hand].bottom)
			mp_magazine_give_up(pool, t, t->hand, false);
	}
	return has_room(pool, t, bytes);
}

/* All sizes that lead to the bucket, in units in which all do, lead to its id. */
static void publish_sizes(struct mempool *pool, struct mp_thread *t, unsigned int id,
			  uint64_t size)
{
	uint64_t unit = (size - 1) >> t->shift;

	if (unit >= MEMPOOL_NR_SIZES)
		unit = MEMPOOL_NR_SIZES - 1;
	do {
		if (mp_round(&pool->info, (unit << t->shift) + 1) != size)
			break;
		if (mp_round(&pool->info, (unit + 1) << t->shift) == size)
			t->hot.buckets[unit] = id;
	} while (unit--);
}

/*
 * Slots of a thread's first magazine for a bucket. As many blocks come with its first
 * refill (it has grown by then), and they are neighbours: enough of them that no
 * other thread's blocks are told of in the same cache line of the table. Two threads
 * that write to one line for each block they use are twice as slow.
 */
static uint64_t first_slots(const struct mempool *pool, const struct mp_thread *t, uint64_t size)
{
	const uint64_t line = (uint64_t)MP_CACHE_LINE / sizeof(struct mempool_place) << t->shift;
	uint64_t slots = MP_FIRST_SLOTS;

	while (slots < MP_MAX_SLOTS && slots * size < line)
		slots *= 2;
	while (slots > MP_MIN_SLOTS && slots * size > pool->cache.bytes / 8)
		slots /= 2;
	return slots;
}

/* A magazine for the bucket, if its blocks are small enough for one. */
static bool activate(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	uint64_t size = pool->track.key_of[id] >> 1, slots;

	if (t->cold[id].bottom)
		return true;
	if (size > pool->cache.max_block)
		return false;
	slots = first_slots(pool, t, size);
	t->hot.sizes[id] = size;
	if (!make_room(pool, t, id, slots * size) || !mp_magazine_resize(t, id, slots))
		return false;
	t->capacity += slots * size;
	mp_depot_prepare(pool, id, pool->cache.depot_max / size);
	if (!(pool->track.key_of[id] & 1))
		publish_sizes(pool, t, id, size);
	return true;
}

/*
 * How many slots more a magazine may get: as many as it has, if there is room for their
 * bytes; or as many as there is, but for what buckets that come later are to begin with,
 * unless that is so few that it is not worth a copy.
 */
static uint64_t room_for(const struct mempool *pool, const struct mp_thread *t, uint64_t slots,
			 uint64_t size)
{
	uint64_t most = pool->cache.bytes - pool->cache.bytes / 8, more = slots;

	if (more > MP_MAX_SLOTS - slots)
		more = MP_MAX_SLOTS - slots;
	if (t->capacity + more * size <= pool->cache.bytes)
		return more;
	more = t->capacity < most ? (most - t->capacity) / size : 0;
	return more > slots / 4 ? more : 0;
}

/*
 * Halve a magazine that has more than twice as many bytes as this one: it may be of a
 * time when the program did something else. One is looked at each time: of many buckets
 * in turn use, each would take from the others all the time.
 */
static bool take_from_another(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	uint64_t bytes = mp_magazine_slots(t, id) * (uint64_t)t->hot.sizes[id];
	unsigned int slots;

	if (++t->hand >= MP_ID_OTHER)
		t->hand = 0;
	slots = mp_magazine_slots(t, t->hand);
	if (slots < 2 || slots * (uint64_t)t->hot.sizes[t->hand] <= 2 * bytes ||
	    !mp_magazine_shrink(pool, t, t->hand, (slots + 1) / 2))
		return false;
	t->capacity -= slots / 2 * (uint64_t)t->hot.sizes[t->hand];
	return true;
}

/* A magazine was empty or full: larger, if there is room. */
static void grow(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	uint64_t slots = mp_magazine_slots(t, id), size = t->hot.sizes[id];
	uint64_t more = room_for(pool, t, slots, size);

	if (!more && slots < MP_MAX_SLOTS && t->cold[id].emptied &&
	    take_from_another(pool, t, id))
		more = room_for(pool, t, slots, size);
	if (more && has_room(pool, t, more * size) && mp_magazine_resize(t, id, slots + more))
		t->capacity += more * size;
}

/*
 * Enough for several blocks to go to the depot at a time: there both threads wait
 * for the same lock.
 */
static bool may_hoard(const struct mempool *pool, uint64_t slots, uint64_t size)
{
	return slots * size <= HOARD ||
		(slots <= HOARD_BLOCKS && slots * size <= pool->cache.bytes / 2);
}

/*
 * Room in a full magazine for one block more. A thread that only gives back, blocks of
 * threads that have ended, is another's supply: what it kept, the other would have to
 * take from the kernel meanwhile. So a magazine grows beyond what it may hoard only
 * where its thread runs out of blocks as well; else half of it goes to the depot. And
 * where the thread has run out since it was last full, a quarter: it would only fetch
 * them again, and with less of them away it may not have to.
 */
static void relieve(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	unsigned int slots = mp_magazine_slots(t, id), part = 2;
	struct mp_cold *c = &t->cold[id];

	if (c->emptied || may_hoard(pool, 2 * slots, t->hot.sizes[id]))
		grow(pool, t, id);
	if (c->emptied)
		part = 4;
	c->emptied = false;
	if (t->hot.tops[id] == t->hot.ends[id])
		mp_magazine_drain(pool, t, id, (slots + part - 1) / part, false);
}

/* Fresh ones below, the first to come topmost; then the others likewise. */
static void sort_in(struct mp_cold *c, void *const *blocks, const bool *reused, unsigned int nr)
{
	unsigned int i, used = 0;

	for (i = 0; i < nr; i++)
		c->fresh += !reused[i];
	for (i = 0; i < nr; i++) {
		if (reused[i])
			c->bottom[nr - 1 - used++] = blocks[i];
		else
			c->bottom[c->fresh - 1 - (i - used)] = blocks[i];
	}
}

/* Fill an empty magazine by half. */
static int refill(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	unsigned int want = (mp_magazine_slots(t, id) + 1) / 2, nr;
	void *blocks[MP_BATCH];
	bool reused[MP_BATCH];
	int ret;

	if (mp_magazine_refill(pool, t, id))
		return 0;
	if (want > MP_BATCH)
		want = MP_BATCH;
	ret = mp_take_cached(pool, pool->track.key_of[id], blocks, reused, want, &nr);
	if (ret)
		return ret;
	sort_in(&t->cold[id], blocks, reused, nr);
	mp_magazine_filled(t, id, nr);
	return 0;
}

/* ---- blocks ------------------------------------------------------------------ */

static void *past_the_caches(struct mempool *pool, uint64_t key)
{
	void *ptr;
	int ret = mp_take(pool, key, &ptr, 1);

	if (ret)
		return mp_null(ret);
	mp_cache_account(pool, key >> 1);
	return ptr;
}

/* Pop the topmost block; there is one. */
static void *pop(struct mp_thread *t, unsigned int id)
{
	struct mp_cold *c = &t->cold[id];
	void **top = t->hot.tops[id] - 1;

	mp_magazine_set_top(t, id, top);
	if (top < c->bottom + c->fresh) {
		c->fresh--;
		mp_store(&t->new, t->new + 1);
	}
	mp_magazine_set_lim(t, id);
	mp_store(&t->hot.allocs, t->hot.allocs + 1);
	mark(t, *top, id, t->hot.number);
	mp_thread_account(t, t->hot.sizes[id]);
	return *top;
}

/* mempool_alloc() where the hot path does not go. */
void *mp_cache_alloc(struct mempool *pool, uint64_t key)
{
	struct mp_thread *t = mp_thread_of(pool, true);
	unsigned int id = mp_track_id(pool, key);
	struct mp_retry retry = { 0 };
	int ret = 0;

	if (t)
		mp_cache_answer_recall(pool, t);
	if (!t || id == MP_ID_OTHER || !activate(pool, t, id))
		return past_the_caches(pool, key);
	while (!ret && t->hot.tops[id] == t->cold[id].bottom) {
		t->cold[id].emptied = true;
		grow(pool, t, id);
		ret = refill(pool, t, id);
		if ((ret == -ENOMEM || ret == -EDQUOT) && mp_cache_retry(pool, &retry))
			ret = activate(pool, t, id) ? 0 : ret;
	}
	return ret ? mp_null(ret) : pop(t, id);
}

/*
 * mempool_release() where the hot path does not go. What is free in a cache is
 * still ours to the kernel, so that is refused here; all else that is not a
 * block that is out goes to the kernel, to be refused and counted there.
 */
int mp_cache_release(struct mempool *pool, void *ptr)
{
	struct mp_thread *t = mp_thread_of(pool, true);
	uint64_t offset, key;
	unsigned int id;
	int ret;

	if (mp_space_offset(pool, ptr, &offset))
		offset = UINT64_MAX;
	id = offset == UINT64_MAX ? 0 : mp_track_look(pool, offset);
	if (id & MP_ID_CACHED) {
		if (t)
			mp_store(&t->bad, t->bad + 1);
		else
			atomic_fetch_add(&pool->cache.bad, 1);
		return -ENOENT;
	}
	if (t)
		mp_cache_answer_recall(pool, t);
	if (t && mp_remote_release(pool, ptr))	/* its first one, or recalled before */
		return 0;
	if (!t || !id || id == MP_ID_OTHER || !activate(pool, t, id)) {
		key = id ? mp_track_key(pool, offset) : 0;
		ret = mp_give(pool, &ptr, 1);
		if (!ret && t)
			mp_thread_account(t, -(int64_t)(key >> 1));
		return ret;
	}
	if (t->hot.tops[id] == t->hot.ends[id])
		relieve(pool, t, id);
	*t->hot.tops[id] = ptr;
	mp_magazine_set_top(t, id, t->hot.tops[id] + 1);
	mark(t, ptr, id, 0);
	mp_thread_account(t, -t->hot.sizes[id]);
	return 0;
}

/* The hot path where units are not those of libmempool_inline.h. */
void *mp_cache_alloc_odd(struct mempool *pool, size_t size)
{
	struct mempool_thread *t = mempool_thread_1;
	void *ptr;

	return MEMPOOL_GET(t->session) == pool && !MEMPOOL_GET(t->pool) &&
		mempool_pop(t, size, mp_to_thread(t)->shift, &ptr) ? ptr : NULL;
}

bool mp_cache_release_odd(struct mempool *pool, void *ptr)
{
	struct mempool_thread *t = mempool_thread_1;

	return MEMPOOL_GET(t->session) == pool && !MEMPOOL_GET(t->pool) &&
		mempool_push(t, ptr, t->units, mp_to_thread(t)->shift);
}

/* mp_cache_alloc_many() in units of 1 << @shift. */
static inline __attribute__((always_inline)) unsigned int
pop_many(struct mempool_thread *t, size_t size, void **ptrs, unsigned int count,
	 unsigned int shift)
{
	size_t units = (size - 1) >> shift;
	unsigned int id, i;
	void **top, **lim;

	if (units >= MEMPOOL_NR_SIZES)
		return 0;
	id = t->buckets[units];
	top = t->tops[id];
	lim = __atomic_load_n(&t->lims[id], __ATOMIC_RELAXED);
	if (top <= lim)
		return 0;
	if (count > (size_t)(top - lim))
		count = top - lim;
	if (t->room < (int64_t)count * t->sizes[id])
		return 0;
	t->room -= (int64_t)count * t->sizes[id];
	top -= count;
	memcpy(ptrs, top, count * sizeof(ptrs[0]));
#pragma GCC unroll 8
	for (i = 0; i < count; i++)
		((struct mempool_place *)(t->places_at_0 +
			((uintptr_t)ptrs[i] >> shift) * sizeof(struct mempool_place)))->out = t->number;
	__atomic_store_n(&t->tops[id], top, __ATOMIC_RELAXED);
	mp_store(&t->allocs, t->allocs + count);
	return count;
}

/* What a place reads as, for one comparison. */
static inline uint16_t place_word(const struct mempool_place *place)
{
	uint16_t word;

	memcpy(&word, place, sizeof(word));
	return word;
}

/* mp_cache_release_many(), likewise. */
static inline __attribute__((always_inline)) unsigned int
push_many(struct mempool_thread *t, void *const *ptrs, unsigned int count, unsigned int shift)
{
	uintptr_t base = t->base, units = t->units, unit;
	struct mempool_place *places = t->places;
	unsigned int nr, id;
	uint16_t out;
	void **top;

	unit = count ? mp_unit_of(ptrs[0], base, shift) : units;
	if (unit >= units || places[unit].out != t->number)
		return 0;
	out = place_word(&places[unit]);
	id = places[unit].id;
	top = t->tops[id];
	if (count > (size_t)(t->ends[id] - top))
		count = t->ends[id] - top;
	if (!count)
		return 0;
#pragma GCC unroll 8
	for (nr = 0; nr < count; nr++) {
		unit = mp_unit_of(ptrs[nr], base, shift);
		if (unit >= units || place_word(&places[unit]) != out)
			break;
		places[unit].out = 0;
	}
	memcpy(top, ptrs, nr * sizeof(ptrs[0]));
	__atomic_store_n(&t->tops[id], top + nr, __ATOMIC_RELAXED);
	t->room += (int64_t)nr * t->sizes[id];
	return nr;
}

/*
 * Up to @count blocks at once for @size, as far as the magazine has them. With the
 * usual tiers the units are those of the hot path, and a constant.
 */
unsigned int mp_cache_alloc_many(struct mempool *pool, size_t size, void **ptrs,
				 unsigned int count)
{
	struct mempool_thread *t = mempool_thread_1;

	if (MEMPOOL_GET(t->pool) == pool)
		return pop_many(t, size, ptrs, count, MEMPOOL_UNIT_SHIFT);
	return MEMPOOL_GET(t->session) == pool ?
		pop_many(t, size, ptrs, count, mp_to_thread(t)->shift) : 0;
}

/* The first blocks of @ptrs, as far as they are of one bucket and find room. */
unsigned int mp_cache_release_many(struct mempool *pool, void *const *ptrs, unsigned int count)
{
	struct mempool_thread *t = mempool_thread_1;

	if (MEMPOOL_GET(t->pool) == pool)
		return push_many(t, ptrs, count, MEMPOOL_UNIT_SHIFT);
	return MEMPOOL_GET(t->session) == pool ? push_many(t, ptrs, count, mp_to_thread(t)->shift) : 0;
}

/* ---- session ----------------------------------------------------------------- */

static const struct mempool_status *map_status(struct mempool *pool)
{
	void *page;

	if (!(pool->info.features & MEMPOOL_FEATURE_STATUS_PAGE))
		return NULL;
	page = pool->dev.ops->map(&pool->dev, NULL, pool->info.page_size, PROT_READ, MAP_SHARED,
				  pool->info.status_offset);
	if (page == MAP_FAILED)
		return NULL;
	if (pool->dontfork)
		madvise(page, pool->info.page_size, MADV_DONTFORK);
	return page;
}

/*
 * Bytes between threads: several times what a thread keeps, so that a burst that
 * is larger than a thread's cache does not go back to the device, whole chunks of
 * it to the reserve, only to be populated again; but in all sessions together no
 * more than the reserve if there are eight of them.
 */
static uint64_t depot_bytes(const struct mempool *pool, uint64_t bytes)
{
	uint64_t share = pool->info.reserve_bytes / 8;

	if (share > DEPOT_FACTOR * bytes)
		share = DEPOT_FACTOR * bytes;
	return share > bytes ? share : bytes;
}

/*
 * @bytes: most that each thread may keep of buckets. None where the offset space
 * is mapped in windows (an address then says nothing), no caches at all in a
 * session that cannot allocate.
 */
int mp_cache_init(struct mempool *pool, uint64_t bytes)
{
	struct mp_cache *cache = &pool->cache;
	int ret;

	if (!(pool->space.prot & PROT_WRITE) || !mp_threads_init())
		return 0;
	ret = pthread_mutex_init(&cache->depot_lock, NULL);
	if (!ret)
		ret = pthread_mutex_init(&cache->pools_lock, NULL);
	if (ret)
		return -ret;
	if (bytes > pool->space.bytes)	/* sums of sizes are not to wrap */
		bytes = pool->space.bytes;
	cache->bytes = pool->space.whole ? bytes : 0;
	cache->max_block = cache->bytes / MP_MIN_SLOTS;
	cache->depot_max = depot_bytes(pool, cache->bytes);
	if (cache->bytes)
		cache->status = map_status(pool);
	cache->ready = true;
	return 0;
}

/*
 * The session ends: its blocks go with it. Other threads may still have caches
 * of it, but are not in a call on it.
 */
void mp_cache_exit(struct mempool *pool)
{
	struct mp_cache *cache = &pool->cache;
	unsigned int id;

	if (cache->ready && !mp_inherited(pool)) {
		mp_threads_lock();
		mp_cache_claim_all(pool);
		mp_threads_leave(pool);
		mp_threads_unlock();
	}
	if (cache->status && !(pool->dontfork && mp_inherited(pool)))
		munmap((void *)cache->status, pool->info.page_size);
	for (id = 0; id < MEMPOOL_NR_MAGAZINES; id++)
		mp_depot_free(pool, id);
	mp_depot_free_inboxes(pool);
}
