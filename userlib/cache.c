// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Free blocks kept by threads, and between them (Bonwick and Adams, Magazines and
 * Vmem, 2001). libmempool_inline.h has the hot path and says how it works; here
 * is what happens when a magazine is empty or full, and who gives blocks back
 * when.
 *
 * Who writes what: a thread's cache is written by that thread alone, but another
 * may raise a magazine's @lim, which sends the owner into the slow path, where
 * it finds @recall set. Others read its counters for the statistics: they may
 * be an operation behind. A cache belongs to its thread for good, so that a
 * pointer to it is never left dangling; when its session is closed it becomes
 * an orphan, which the thread uses for another session or frees at its end.
 *
 * All of it, the global lock too, lies in memory that reads as zero in a forked
 * child (MADV_WIPEONFORK): the child finds orphans, empty magazines, an open
 * lock, and every call of its ends in the slow path, which refuses it.
 *
 * Fresh blocks, which no user had yet, lie at the bottom of a magazine, below
 * @lim: so each is counted when it is first used, and no sooner.
 *
 * The peak is exact with one thread: @room is what it may allocate before its
 * sum is higher than ever. When a second thread comes, the kernel's own peak,
 * which counts what lies in caches, becomes the answer.
 *
 * Locks: global (lists of caches; commands are sent inside) -> depot_lock.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "internal.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#define MAX_SLOTS	512u	/* of a magazine */
#define MIN_SLOTS	2u
#define FIRST_SLOTS	8u
#define MAX_SIZES	65536u
#define NO_PEAK		(INT64_MAX / 2)
#define COLOUR		1216	/* keeps the counters off the lines of page-aligned blocks */
#define RETRIES		20
#define SLOTS		8192u	/* of all magazines of a thread */
#define NR_ORDERS	10	/* magazines have 2^order slots, up to MAX_SLOTS */

/* The part of a magazine that only the slow path needs. */
struct cold {
	void **bottom;		/* NULL: not in use */
	unsigned int fresh;	/* blocks at the bottom that no user had */
	uint64_t net;		/* blocks brought in less blocks taken out, since ever */
	uint64_t new;		/* fresh blocks used */
	uint64_t claimed_allocs, claimed_releases, claimed_new;
};

/**
 * struct mp_thread - a thread's cache of one session
 * @hot: see libmempool_inline.h; @hot.pool is NULL in an orphan
 * @cold: by id
 * @next_mine: caches of this thread
 * @next, @prev: caches of this session; the global lock
 * @capacity: bytes that all magazines together could hold
 * @peak: highest sum of this thread's bytes, unless there are others
 * @bad: releases refused here
 * @claimed_bad: of which the kernel knows
 * @hand: where to look next for a magazine to give up
 * @pressure: the status page's counter when last looked at
 * @recall: others want the blocks
 * @free_slots: by order, arrays that magazines gave up, linked by their first slot
 * @used_slots: of @slots
 * @slots: what magazines are made of; here, so that it takes no fault later
 */
struct mp_thread {
	struct mempool_thread hot;
	struct cold cold[MP_NR_IDS];
	struct mp_thread *next_mine;
	struct mp_thread *next, *prev;
	uint64_t capacity;
	uint64_t peak;
	uint64_t bad, claimed_bad;
	unsigned int hand;
	uint32_t pressure;
	atomic_bool recall;
	void **free_slots[NR_ORDERS];
	unsigned int used_slots;
	void *slots[SLOTS] __attribute__((aligned(64)));
};

struct global {
	pthread_mutex_t lock;	/* all zero is open */
};

static struct mempool_thread nobody;

MEMPOOL_API __thread struct mempool_thread *mempool_thread_1
	__attribute__((tls_model("initial-exec"))) = &nobody;
static __thread struct mp_thread *mine __attribute__((tls_model("initial-exec")));

static _Atomic(struct global *) global;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static bool exit_key_made;

static void *wiped_pages(size_t len)
{
	void *pages = mmap(NULL, len, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (pages == MAP_FAILED)
		return NULL;
	if (!madvise(pages, len, MADV_WIPEONFORK))
		return pages;
	munmap(pages, len);
	return NULL;
}

static struct mp_thread *to_thread(struct mempool_thread *hot)
{
	return (struct mp_thread *)hot;
}

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void store(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

/* Blocks in a magazine; of another thread's, about. */
static unsigned int count_of(struct mp_thread *t, unsigned int id)
{
	void **bottom = __atomic_load_n(&t->cold[id].bottom, __ATOMIC_RELAXED);
	void **top = __atomic_load_n(&t->hot.magazines[id].top, __ATOMIC_RELAXED);

	return bottom && top > bottom ? top - bottom : 0;
}

static void set_lim(struct mp_thread *t, unsigned int id)
{
	struct cold *c = &t->cold[id];

	__atomic_store_n(&t->hot.magazines[id].lim, c->bottom + c->fresh, __ATOMIC_RELAXED);
}

static void set_top(struct mp_thread *t, unsigned int id, void **top)
{
	__atomic_store_n(&t->hot.magazines[id].top, top, __ATOMIC_RELAXED);
}

/* Say in the table what becomes of a block that we have. */
static void mark(struct mp_thread *t, const void *ptr, unsigned int id)
{
	__atomic_store_n(&t->hot.ids[((uintptr_t)ptr - t->hot.base) >> t->hot.shift], id,
			 __ATOMIC_RELAXED);
}

/* ---- the depot --------------------------------------------------------------- */

static unsigned int order_of(unsigned int slots)
{
	return __builtin_ctz(slots);
}

/* An array for a magazine, @slots being a power of two, or NULL. */
static void **get_slots(struct mp_thread *t, unsigned int slots)
{
	void ***list = &t->free_slots[order_of(slots)], **array = *list;

	if (array) {
		*list = *array;
		return array;
	}
	if (SLOTS - t->used_slots < slots)
		return NULL;
	array = t->slots + t->used_slots;
	t->used_slots += slots;
	return array;
}

static void put_slots(struct mp_thread *t, void **array, unsigned int slots)
{
	void ***list = &t->free_slots[order_of(slots)];

	*array = *list;
	*list = array;
}

/*
 * Room for the bucket in the depot, made when a thread first has a magazine for
 * it, and touched then: later uses are to take no fault.
 */
static void depot_prepare(struct mempool *pool, unsigned int id, uint64_t size)
{
	struct mp_cache *cache = &pool->cache;
	struct mp_depot *depot = &cache->depots[id];

	pthread_mutex_lock(&cache->depot_lock);
	if (!depot->blocks) {
		depot->max = cache->bytes / size < MAX_SLOTS ? cache->bytes / size : MAX_SLOTS;
		depot->blocks = malloc(depot->max * sizeof(depot->blocks[0]));
		if (depot->blocks)
			memset(depot->blocks, 0, depot->max * sizeof(depot->blocks[0]));
	}
	pthread_mutex_unlock(&cache->depot_lock);
}

/* Leave up to @nr blocks in the depot: how many it took. */
static unsigned int depot_put(struct mempool *pool, unsigned int id, void **blocks,
			      unsigned int nr, uint64_t size)
{
	struct mp_cache *cache = &pool->cache;
	struct mp_depot *depot = &cache->depots[id];
	uint64_t room;

	pthread_mutex_lock(&cache->depot_lock);
	room = (cache->bytes - cache->depot_bytes) / size;
	if (!depot->blocks)
		room = 0;
	else if (room > depot->max - depot->nr)
		room = depot->max - depot->nr;
	if (nr > room)
		nr = room;
	if (nr)
		memcpy(depot->blocks + depot->nr, blocks, nr * sizeof(blocks[0]));
	depot->nr += nr;
	cache->depot_bytes += nr * size;
	pthread_mutex_unlock(&cache->depot_lock);
	return nr;
}

static unsigned int depot_get(struct mempool *pool, unsigned int id, void **blocks,
			      unsigned int nr, uint64_t size)
{
	struct mp_cache *cache = &pool->cache;
	struct mp_depot *depot = &cache->depots[id];

	pthread_mutex_lock(&cache->depot_lock);
	if (nr > depot->nr)
		nr = depot->nr;
	depot->nr -= nr;
	if (nr)
		memcpy(blocks, depot->blocks + depot->nr, nr * sizeof(blocks[0]));
	cache->depot_bytes -= nr * size;
	pthread_mutex_unlock(&cache->depot_lock);
	return nr;
}

/* All that is in the depot back to the kernel: how many blocks. */
static unsigned int depot_empty(struct mempool *pool)
{
	unsigned int id, nr, all = 0;
	void *blocks[MP_BATCH];

	for (id = 1; id < MP_ID_OTHER; id++)
		while ((nr = depot_get(pool, id, blocks, MP_BATCH, pool->track.key_of[id] >> 1))) {
			mp_give_cached(pool, blocks, nr);
			all += nr;
		}
	return all;
}

/* ---- magazines --------------------------------------------------------------- */

/*
 * Take @nr blocks out of a magazine: used ones from the top, to the depot as far
 * as it has room (unless @home), the rest to the kernel.
 */
static void drain(struct mempool *pool, struct mp_thread *t, unsigned int id, unsigned int nr,
		  bool home)
{
	struct mempool_magazine *m = &t->hot.magazines[id];
	struct cold *c = &t->cold[id];
	unsigned int used = m->top - c->bottom - c->fresh, kept = 0;
	void **from = m->top - nr, **from_used;

	if (!nr)
		return;
	if (used > nr)
		used = nr;
	from_used = m->top - used;
	if (!home && used)
		kept = depot_put(pool, id, from_used, used, m->size);
	mp_give_cached(pool, from_used + kept, used - kept);
	mp_give_cached(pool, from, nr - used);
	c->fresh -= nr - used;
	store(&c->net, c->net - nr);
	set_top(t, id, from);
	set_lim(t, id);
}

/* Give a magazine up; @home: its blocks go to the kernel. */
static void deactivate(struct mempool *pool, struct mp_thread *t, unsigned int id, bool home)
{
	struct mempool_magazine *m = &t->hot.magazines[id];
	struct cold *c = &t->cold[id];
	void **bottom = c->bottom;
	unsigned int slots = m->end - bottom;

	drain(pool, t, id, m->top - bottom, home);
	t->capacity -= slots * m->size;
	__atomic_store_n(&c->bottom, NULL, __ATOMIC_RELAXED);
	set_top(t, id, NULL);
	__atomic_store_n(&m->lim, NULL, __ATOMIC_RELAXED);
	m->end = NULL;
	put_slots(t, bottom, slots);
}

/* Give up others' magazines until there is room for @bytes more. */
static bool make_room(struct mempool *pool, struct mp_thread *t, unsigned int id, uint64_t bytes)
{
	unsigned int looked;

	for (looked = 0; looked < MP_ID_OTHER; looked++) {
		if (t->capacity + bytes <= pool->cache.bytes)
			return true;
		t->hand = (t->hand + 1) % MP_ID_OTHER;
		if (t->hand != id && t->cold[t->hand].bottom)
			deactivate(pool, t, t->hand, false);
	}
	return t->capacity + bytes <= pool->cache.bytes;
}

/* All sizes that lead to the bucket, in units in which all do, lead to its id. */
static void publish_sizes(struct mempool *pool, unsigned int id, uint64_t size)
{
	unsigned int shift = pool->track.shift;
	uint64_t unit;

	for (unit = (size - 1) >> shift; unit < pool->cache.nr_sizes; unit--) {
		if (mp_round(&pool->info, (unit << shift) + 1) != size)
			break;
		if (mp_round(&pool->info, (unit + 1) << shift) == size)
			__atomic_store_n(&pool->cache.buckets[unit], id, __ATOMIC_RELAXED);
		if (!unit)
			break;
	}
}

/* Have a magazine of @slots for the bucket, which has none or a smaller one. */
static bool resize(struct mp_thread *t, unsigned int id, uint64_t size, unsigned int slots)
{
	struct mempool_magazine *m = &t->hot.magazines[id];
	struct cold *c = &t->cold[id];
	unsigned int nr = c->bottom ? m->top - c->bottom : 0;
	unsigned int old = c->bottom ? m->end - c->bottom : 0;
	void **bottom = get_slots(t, slots);

	if (!bottom)
		return false;
	if (nr)
		memcpy(bottom, c->bottom, nr * sizeof(bottom[0]));
	if (old)
		put_slots(t, c->bottom, old);
	m->size = size;
	m->end = bottom + slots;
	/* Readers of the count may see old and new mixed: none, or a number too small. */
	set_top(t, id, NULL);
	__atomic_store_n(&c->bottom, bottom, __ATOMIC_RELEASE);
	set_top(t, id, bottom + nr);
	set_lim(t, id);
	t->capacity += (slots - old) * size;
	return true;
}

/* A magazine for the bucket, if its blocks are small enough for one. */
static bool activate(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	uint64_t size = pool->track.key_of[id] >> 1;
	uint64_t slots = FIRST_SLOTS;

	if (t->cold[id].bottom)
		return true;
	if (size > pool->cache.max_block)
		return false;
	while (slots > MIN_SLOTS && slots * size > pool->cache.bytes / 8)
		slots /= 2;
	if (!make_room(pool, t, id, slots * size) || !resize(t, id, size, slots))
		return false;
	depot_prepare(pool, id, size);
	if (!(pool->track.key_of[id] & 1))
		publish_sizes(pool, id, size);
	return true;
}

/* It was empty or full: twice as large, if there is room without taking others'. */
static void grow(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	struct mempool_magazine *m = &t->hot.magazines[id];
	uint64_t slots = m->end - t->cold[id].bottom;

	if (slots < MAX_SLOTS && t->capacity + slots * m->size <= pool->cache.bytes)
		resize(t, id, m->size, 2 * slots);
}

/* Fill an empty magazine by half. */
static int refill(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	struct mempool_magazine *m = &t->hot.magazines[id];
	struct cold *c = &t->cold[id];
	unsigned int want = (m->end - c->bottom + 1) / 2, nr, i, used = 0;
	void *blocks[MP_BATCH];
	bool reused[MP_BATCH];
	int ret;

	nr = depot_get(pool, id, c->bottom, want, m->size);
	if (!nr) {
		if (want > MP_BATCH)
			want = MP_BATCH;
		ret = mp_take_cached(pool, pool->track.key_of[id], blocks, reused, want, &nr);
		if (ret)
			return ret;
		for (i = 0; i < nr; i++)	/* fresh ones below, first to come topmost */
			if (!reused[i])
				c->bottom[c->fresh++] = blocks[i];
		for (i = nr; i-- > 0;)
			if (reused[i])
				c->bottom[c->fresh + used++] = blocks[i];
		for (i = 0; i < c->fresh / 2; i++) {
			void *swap = c->bottom[i];

			c->bottom[i] = c->bottom[c->fresh - 1 - i];
			c->bottom[c->fresh - 1 - i] = swap;
		}
		for (i = 0; i < nr; i++)
			mark(t, blocks[i], id | MEMPOOL_ID_CACHED);
	}
	store(&c->net, c->net + nr);
	set_top(t, id, c->bottom + nr);
	set_lim(t, id);
	return 0;
}

/* ---- threads ----------------------------------------------------------------- */

/* Counters that the kernel has not heard of. Global lock held. */
static void claim_thread(struct mp_thread *t, struct mempool_claims *claims)
{
	uint64_t allocs, releases, new, bad = load(&t->bad);
	unsigned int id;

	for (id = 1; id < MP_ID_OTHER; id++) {
		struct cold *c = &t->cold[id];

		new = load(&c->new);
		allocs = load(&t->hot.magazines[id].allocs);
		releases = allocs - load(&c->net) + count_of(t, id);
		if ((int64_t)(allocs - c->claimed_allocs) < 0)
			allocs = c->claimed_allocs;
		if ((int64_t)(releases - c->claimed_releases) < 0)
			releases = c->claimed_releases;
		if (new - c->claimed_new > allocs - c->claimed_allocs)
			new = c->claimed_new + allocs - c->claimed_allocs;
		claims->new_allocations += new - c->claimed_new;
		claims->reused_allocations += allocs - c->claimed_allocs - (new - c->claimed_new);
		claims->releases += releases - c->claimed_releases;
		c->claimed_new = new;
		c->claimed_allocs = allocs;
		c->claimed_releases = releases;
	}
	claims->bad_releases += bad - t->claimed_bad;
	t->claimed_bad = bad;
	if (t->peak > claims->peak_bytes)
		claims->peak_bytes = t->peak;
}

/* Bring the kernel's statistics up to date. Global lock held. */
static void claim_all(struct mempool *pool)
{
	struct mempool_release cmd = { .flags = MEMPOOL_RELEASE_CLAIMS };
	struct mp_thread *t;

	for (t = pool->cache.threads; t; t = t->next)
		claim_thread(t, &cmd.claims);
	if (atomic_load(&pool->cache.shared))
		cmd.claims.peak_bytes = UINT64_MAX;
	mp_ioctl(pool, MEMPOOL_IOC_RELEASE, &cmd);
}

/* All blocks to the kernel; magazines begin small again. */
static void drain_all(struct mempool *pool, struct mp_thread *t)
{
	unsigned int id;

	for (id = 1; id < MP_ID_OTHER; id++)
		if (t->cold[id].bottom)
			deactivate(pool, t, id, true);
}

/* Out of its session's list; its counters are lost. Global lock held. */
static void orphan(struct mp_thread *t)
{
	struct mp_thread *next_mine = t->next_mine;

	if (t->next)
		t->next->prev = t->prev;
	if (t->prev)
		t->prev->next = t->next;
	else
		t->hot.pool->cache.threads = t->next;
	__atomic_store_n(&t->hot.pool, NULL, __ATOMIC_RELAXED);
	memset(t, 0, sizeof(*t));
	t->next_mine = next_mine;
}

/* At a thread's end: its blocks go back, whatever session they are of. */
static void thread_exit(void *unused)
{
	struct global *g = atomic_load(&global);
	struct mp_thread *t;
	struct mempool *pool;

	(void)unused;
	mempool_thread_1 = &nobody;
	pthread_mutex_lock(&g->lock);
	while ((t = mine)) {
		mine = t->next_mine;
		pool = t->hot.pool;
		if (pool) {
			drain_all(pool, t);
			claim_all(pool);
			orphan(t);
		}
		munmap((char *)t - COLOUR, sizeof(*t) + COLOUR);
	}
	pthread_mutex_unlock(&g->lock);
}

static void make_key(void)
{
	exit_key_made = !pthread_key_create(&exit_key, thread_exit);
}

static struct global *get_global(void)
{
	struct global *g = atomic_load(&global), *made;

	if (g)
		return g;
	made = wiped_pages(sizeof(*made));
	if (made && atomic_compare_exchange_strong(&global, &g, made))
		return made;
	if (made)
		munmap(made, sizeof(*made));
	return g;
}

/* An orphan of ours or a new cache, in no list yet but ours. */
static struct mp_thread *new_thread(void)
{
	struct mp_thread *t;
	char *pages;

	for (t = mine; t; t = t->next_mine)
		if (!__atomic_load_n(&t->hot.pool, __ATOMIC_RELAXED))
			return t;
	pthread_once(&exit_once, make_key);
	if (!exit_key_made || pthread_setspecific(exit_key, &mine))
		return NULL;
	pages = wiped_pages(sizeof(*t) + COLOUR);
	if (!pages)
		return NULL;
	t = (struct mp_thread *)(pages + COLOUR);
	t->next_mine = mine;
	mine = t;
	return t;
}

static void join(struct mempool *pool, struct mp_thread *t)
{
	struct mp_cache *cache = &pool->cache;
	struct global *g = atomic_load(&global);

	t->hot.base = (uintptr_t)pool->space.whole->addr;
	t->hot.units = pool->track.units;
	t->hot.ids = (unsigned char *)pool->track.ids;
	t->hot.buckets = cache->buckets;
	t->hot.nr_sizes = cache->nr_sizes;
	t->hot.shift = pool->track.shift;
	if (cache->status)
		t->pressure = __atomic_load_n(&cache->status->pressure, __ATOMIC_RELAXED);
	pthread_mutex_lock(&g->lock);
	t->next = cache->threads;
	if (t->next)
		t->next->prev = t;
	cache->threads = t;
	if (cache->had_threads)
		atomic_store(&cache->shared, true);
	cache->had_threads = true;
	__atomic_store_n(&t->hot.pool, pool, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&g->lock);
}

/*
 * This thread's cache of the session, made if @make. A session that has had a
 * thread before is shared, also when that thread has ended.
 */
static struct mp_thread *thread_of(struct mempool *pool, bool make)
{
	struct mp_thread *t = mine;

	if (!pool->cache.bytes)
		return NULL;
	if (mempool_thread_1->pool == pool)
		return to_thread(mempool_thread_1);
	while (t && __atomic_load_n(&t->hot.pool, __ATOMIC_RELAXED) != pool)
		t = t->next_mine;
	if (!t && make) {
		t = new_thread();
		if (t)
			join(pool, t);
	}
	if (t)
		mempool_thread_1 = &t->hot;
	return t;
}

/* Blocks that somebody else needs more go back now. */
static void answer_recall(struct mempool *pool, struct mp_thread *t)
{
	uint32_t now = t->pressure;

	if (pool->cache.status)
		now = __atomic_load_n(&pool->cache.status->pressure, __ATOMIC_RELAXED);
	if (now == t->pressure && !atomic_load_explicit(&t->recall, memory_order_relaxed))
		return;
	t->pressure = now;
	atomic_store(&t->recall, false);
	drain_all(pool, t);
	depot_empty(pool);
}

/* Ask the other threads for their blocks: they answer at their next operation. */
static uint64_t recall_others(struct mempool *pool)
{
	struct global *g = atomic_load(&global);
	struct mp_thread *t;
	uint64_t bytes = 0;
	unsigned int id;

	pthread_mutex_lock(&g->lock);
	for (t = pool->cache.threads; t; t = t->next) {
		if (&t->hot == mempool_thread_1)
			continue;
		atomic_store(&t->recall, true);
		for (id = 1; id < MP_ID_OTHER; id++) {
			if (!count_of(t, id))
				continue;
			bytes += count_of(t, id) * (pool->track.key_of[id] >> 1);
			__atomic_store_n(&t->hot.magazines[id].lim, (void **)UINTPTR_MAX,
					 __ATOMIC_RELAXED);
		}
	}
	pthread_mutex_unlock(&g->lock);
	return bytes;
}

static void account(struct mp_thread *t, int64_t bytes)
{
	bool shared = atomic_load_explicit(&t->hot.pool->cache.shared, memory_order_relaxed);

	t->hot.room -= bytes;
	if (shared) {
		t->hot.room = NO_PEAK;
	} else if (t->hot.room < 0) {
		store(&t->peak, t->peak - t->hot.room);
		t->hot.room = 0;
	}
}

/* ---- what the rest of the library calls -------------------------------------- */

/* Blocks that came from the kernel to a user, or went, past the caches. */
void mp_cache_account(struct mempool *pool, int64_t bytes)
{
	struct mp_thread *t = thread_of(pool, true);

	if (t)
		account(t, bytes);
}

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
	struct mempool_magazine *m = &t->hot.magazines[id];
	struct cold *c = &t->cold[id];
	void *ptr = m->top[-1];

	set_top(t, id, m->top - 1);
	if (m->top < c->bottom + c->fresh) {
		c->fresh--;
		store(&c->new, c->new + 1);
	}
	set_lim(t, id);
	store(&m->allocs, m->allocs + 1);
	mark(t, ptr, id);
	account(t, m->size);
	return ptr;
}

/* mempool_alloc() where the hot path does not go. */
void *mp_cache_alloc(struct mempool *pool, uint64_t key)
{
	struct mp_thread *t = thread_of(pool, true);
	unsigned int id = mp_track_id(pool, key), tries = 0;
	int ret = 0;

	if (t)
		answer_recall(pool, t);
	if (!t || id == MP_ID_OTHER || !activate(pool, t, id))
		return past_the_caches(pool, key);
	if (t->hot.magazines[id].top == t->cold[id].bottom) {
		grow(pool, t, id);
		do
			ret = refill(pool, t, id);
		while ((ret == -ENOMEM || ret == -EDQUOT) && mp_cache_retry(pool, tries++));
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
	struct mp_thread *t = thread_of(pool, true);
	struct mempool_magazine *m;
	uint64_t offset, key;
	unsigned int id;
	int ret;

	if (mp_space_offset(pool, ptr, &offset))
		offset = UINT64_MAX;
	id = offset == UINT64_MAX ? 0 : mp_track_look(pool, offset);
	if (id & MEMPOOL_ID_CACHED && t) {
		store(&t->bad, t->bad + 1);
		return -ENOENT;
	}
	if (t)
		answer_recall(pool, t);
	if (!t || !id || id == MP_ID_OTHER || !activate(pool, t, id)) {
		key = id ? mp_track_key(pool, offset) : 0;
		ret = mp_give(pool, &ptr, 1);
		if (!ret && t)
			account(t, -(int64_t)(key >> 1));
		return ret;
	}
	m = &t->hot.magazines[id];
	if (m->top == m->end) {
		grow(pool, t, id);
		if (m->top == m->end)
			drain(pool, t, id, (m->end - t->cold[id].bottom + 1) / 2, false);
	}
	*m->top = ptr;
	set_top(t, id, m->top + 1);
	mark(t, ptr, id | MEMPOOL_ID_CACHED);
	account(t, -(int64_t)m->size);
	return 0;
}

/*
 * The kernel has no memory: is it worth asking again? Blocks in caches go back
 * first; other threads are given a moment to do the same.
 */
bool mp_cache_retry(struct mempool *pool, unsigned int tries)
{
	static const struct timespec moment = { 0, 1000000 };
	struct mp_thread *t = thread_of(pool, false);
	uint64_t before;

	if (!pool->cache.bytes || tries > RETRIES)
		return false;
	if (!tries) {
		before = mp_cache_claim(pool);
		if (t)
			drain_all(pool, t);
		depot_empty(pool);
		return before || recall_others(pool);
	}
	if (!recall_others(pool))
		return false;
	nanosleep(&moment, NULL);
	return true;
}

/* This thread's blocks and the depot's back to the kernel; with @recall others' soon. */
int mp_cache_flush(struct mempool *pool, bool recall)
{
	struct mp_thread *t = thread_of(pool, false);

	if (!pool->cache.bytes)
		return 0;
	if (t)
		drain_all(pool, t);
	depot_empty(pool);
	if (recall)
		recall_others(pool);
	mp_cache_claim(pool);
	return 0;
}

/* Bring the kernel's statistics up to date. Returns the bytes free in caches. */
uint64_t mp_cache_claim(struct mempool *pool)
{
	struct global *g = atomic_load(&global);
	struct mp_thread *t;
	unsigned int id;
	uint64_t bytes;

	if (!pool->cache.bytes || mp_inherited(pool))
		return 0;
	pthread_mutex_lock(&g->lock);
	claim_all(pool);
	pthread_mutex_lock(&pool->cache.depot_lock);
	bytes = pool->cache.depot_bytes;
	pthread_mutex_unlock(&pool->cache.depot_lock);
	for (t = pool->cache.threads; t; t = t->next)
		for (id = 1; id < MP_ID_OTHER; id++)
			bytes += count_of(t, id) * (pool->track.key_of[id] >> 1);
	pthread_mutex_unlock(&g->lock);
	return bytes;
}

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
 * @bytes: most that each thread may keep. No caches where the offset space is
 * mapped in windows (an address then says nothing), nor in a session that
 * cannot allocate.
 */
int mp_cache_init(struct mempool *pool, uint64_t bytes)
{
	struct mp_cache *cache = &pool->cache;
	int ret;

	if (!bytes || !pool->space.whole || !(pool->space.prot & PROT_WRITE) || !get_global())
		return 0;
	cache->max_block = bytes / MIN_SLOTS;
	cache->nr_sizes = cache->max_block >> pool->track.shift;
	if (cache->nr_sizes > MAX_SIZES)
		cache->nr_sizes = MAX_SIZES;
	cache->buckets = calloc(cache->nr_sizes ? cache->nr_sizes : 1, 1);
	if (!cache->buckets)
		return -ENOMEM;
	ret = pthread_mutex_init(&cache->depot_lock, NULL);
	if (ret)
		return -ret;
	cache->status = map_status(pool);
	cache->bytes = bytes;
	return 0;
}

/*
 * The session ends: its blocks go with it. Other threads may still have caches
 * of it, but are not in a call on it.
 */
void mp_cache_exit(struct mempool *pool)
{
	struct mp_cache *cache = &pool->cache;
	struct global *g = atomic_load(&global);
	unsigned int id;

	if (cache->bytes && !mp_inherited(pool)) {
		pthread_mutex_lock(&g->lock);
		claim_all(pool);
		while (cache->threads)
			orphan(cache->threads);
		pthread_mutex_unlock(&g->lock);
	}
	if (cache->status && !(pool->dontfork && mp_inherited(pool)))
		munmap((void *)cache->status, pool->info.page_size);
	for (id = 0; id < MP_NR_IDS; id++)
		free(cache->depots[id].blocks);
	free(cache->buckets);
}
