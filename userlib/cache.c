// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Buckets and threads' caches: what happens where the hot path does not go, who
 * gives blocks back when, and the statistics.
 *
 * The peak is exact with one thread: room is what it may allocate before its sum
 * is higher than ever. When a second thread comes, the kernel's own peak, which
 * counts what lies in caches, becomes the answer.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "thread.h"

#define NO_PEAK		(INT64_MAX / 2)
/* Milliseconds to wait: for the first answer, for more, for all to end. */
#define PATIENCE	100
#define PATIENCE_MORE	20
#define PATIENCE_IN_ALL	1000
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

	while (slots * size < line)
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

/* It was empty or full: twice as large, if there is room without taking others'. */
static void grow(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	uint64_t slots = mp_magazine_slots(t, id), more = slots * t->hot.sizes[id];

	if (slots < MP_MAX_SLOTS && has_room(pool, t, more) &&
	    mp_magazine_resize(t, id, 2 * slots))
		t->capacity += more;
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
 * where its thread runs out of blocks as well; else half of it goes to the depot.
 */
static void relieve(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	struct mp_cold *c = &t->cold[id];

	if (c->emptied || may_hoard(pool, 2 * mp_magazine_slots(t, id), t->hot.sizes[id]))
		grow(pool, t, id);
	c->emptied = false;
	if (t->hot.tops[id] == t->hot.ends[id])
		mp_magazine_drain(pool, t, id, (mp_magazine_slots(t, id) + 1) / 2, false);
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

/* ---- counting ---------------------------------------------------------------- */

static uint64_t not_below(uint64_t now, uint64_t before)
{
	return (int64_t)(now - before) < 0 ? before : now;
}

/*
 * What came back, of what had gone out before now; never more, for what is claimed
 * once cannot be taken back. So @allocs has been read before, and if a magazine
 * cannot be looked at there is nothing new to say.
 */
static uint64_t count_releases(struct mp_thread *t, uint64_t allocs)
{
	uint64_t releases = allocs;
	struct mp_look look;
	unsigned int id;

	for (id = 1; id < MP_ID_OTHER; id++) {
		if (!mp_magazine_look(t, id, &look))
			return t->claimed_releases;
		releases += look.nr - look.net;
	}
	return releases + mp_load(&t->remote);
}

/* Counters that the kernel has not heard of. Global lock held. */
static void claim_thread(struct mp_thread *t, struct mempool_claims *claims)
{
	uint64_t new = mp_load(&t->new), bad = mp_load(&t->bad), releases;
	uint64_t allocs = not_below(mp_load(&t->hot.allocs), t->claimed_allocs);

	releases = not_below(count_releases(t, allocs), t->claimed_releases);
	if (new - t->claimed_new > allocs - t->claimed_allocs)
		new = t->claimed_new + allocs - t->claimed_allocs;
	claims->new_allocations += new - t->claimed_new;
	claims->reused_allocations += allocs - t->claimed_allocs - (new - t->claimed_new);
	claims->releases += releases - t->claimed_releases;
	claims->bad_releases += bad - t->claimed_bad;
	if (mp_load(&t->peak) > claims->peak_bytes)
		claims->peak_bytes = mp_load(&t->peak);
	t->claimed_new = new;
	t->claimed_allocs = allocs;
	t->claimed_releases = releases;
	t->claimed_bad = bad;
}

/* Bring the kernel's statistics up to date. Global lock held. */
void mp_cache_claim_all(struct mempool *pool)
{
	struct mempool_release cmd = { .flags = MEMPOOL_RELEASE_CLAIMS };
	struct mp_thread *t;

	for (t = pool->cache.threads; t; t = t->next)
		claim_thread(t, &cmd.claims);
	if (atomic_load(&pool->cache.shared))
		cmd.claims.peak_bytes = UINT64_MAX;
	mp_ioctl(pool, MEMPOOL_IOC_RELEASE, &cmd);
}

static void account(struct mp_thread *t, int64_t bytes)
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
		account(t, bytes);
}

/* ---- called back ------------------------------------------------------------- */

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

	mp_threads_lock();
	for (t = pool->cache.threads; t; t = t->next) {
		if (&t->hot == mempool_thread_1)
			continue;
		if (!atomic_exchange(&t->recall, true))
			atomic_store(&t->deaf, false);
		if (!atomic_load(&t->deaf))
			bytes += mp_load(&t->outbox_bytes);
		for (id = 1; id < MEMPOOL_NR_MAGAZINES; id++) {
			if (!mp_magazine_count(t, id))
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
	account(t, t->hot.sizes[id]);
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
	if (id & MP_ID_CACHED && t) {
		mp_store(&t->bad, t->bad + 1);
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
			account(t, -(int64_t)(key >> 1));
		return ret;
	}
	if (t->hot.tops[id] == t->hot.ends[id])
		relieve(pool, t, id);
	*t->hot.tops[id] = ptr;
	mp_magazine_set_top(t, id, t->hot.tops[id] + 1);
	mark(t, ptr, id, 0);
	account(t, -t->hot.sizes[id]);
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

/* Beyond all units if @ptr begins none. */
static inline uintptr_t unit_of(const void *ptr, uintptr_t base, unsigned int shift)
{
	uintptr_t offset = (uintptr_t)ptr - base;

	return offset >> shift | offset << (-shift % (sizeof(offset) * 8));
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

	unit = count ? unit_of(ptrs[0], base, shift) : units;
	if (unit >= units || places[unit].out != t->number)
		return 0;
	out = place_word(&places[unit]);
	id = places[unit].id;
	top = t->tops[id];
	if (count > (size_t)(t->ends[id] - top))
		count = t->ends[id] - top;
	for (nr = 0; nr < count; nr++) {
		unit = unit_of(ptrs[nr], base, shift);
		if (unit >= units || place_word(&places[unit]) != out)
			break;
		places[unit].out = 0;
		top[nr] = ptrs[nr];
	}
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
	for (id = 0; id < MP_NR_NUMBERS; id++)
		mp_depot_free_inbox(pool, id);
}
