// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The life of threads' caches.
 *
 * A cache belongs to its thread for good, so that a pointer to it is never left
 * dangling; when its session is closed it becomes an orphan, which the thread
 * uses for another session. At the thread's end it is left to the next new thread:
 * to map and unmap one costs more than most threads' work with it, since all
 * processors hear of an unmapping.
 *
 * All of it, the global lock too, lies in memory that reads as zero in a forked
 * child (MADV_WIPEONFORK): the child finds orphans, empty magazines, an open
 * lock, and every call of its ends in the slow path, which refuses it.
 */
#include <string.h>
#include <sys/mman.h>

#include "thread.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE		4096
#define COLOUR		1216	/* keeps the counters off the lines of page-aligned blocks */

#define MAX_SPARE	16	/* caches of ended threads, about 100 KiB each */

struct global {
	pthread_mutex_t lock;	/* all zero is open */
	struct mp_thread *spare;	/* linked by @next_mine */
	unsigned int nr_spare;
};

static struct mempool_thread nobody;

MEMPOOL_API __thread struct mempool_thread *mempool_thread_1
	__attribute__((tls_model("initial-exec"))) = &nobody;
static __thread struct mp_thread *mine __attribute__((tls_model("initial-exec")));

static _Atomic(struct global *) global;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static bool exit_key_made;

/* The first @ready of @len bytes are populated: the rest may never be used. */
static void *wiped_pages(size_t len, size_t ready)
{
	char *pages = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int saved = errno;
	size_t i;

	if (pages == MAP_FAILED)
		return NULL;
	if (madvise(pages, len, MADV_WIPEONFORK)) {
		munmap(pages, len);
		return NULL;
	}
	if (madvise(pages, ready, MADV_POPULATE_WRITE))	/* not before Linux 5.14 */
		for (i = 0; i < ready; i += PAGE)
			((volatile char *)pages)[i] = 0;
	errno = saved;
	return pages;
}

/* The lock, made by whoever is first. False: no memory, so no caches. */
bool mp_threads_init(void)
{
	struct global *g = atomic_load(&global), *made;

	if (g)
		return true;
	made = wiped_pages(sizeof(*made), sizeof(*made));
	if (made && atomic_compare_exchange_strong(&global, &g, made))
		return true;
	if (made)
		munmap(made, sizeof(*made));
	return g;
}

void mp_threads_lock(void)
{
	pthread_mutex_lock(&atomic_load(&global)->lock);
}

void mp_threads_unlock(void)
{
	pthread_mutex_unlock(&atomic_load(&global)->lock);
}

/* How many caches of ended threads wait for a new one. */
unsigned int mp_threads_spare(void)
{
	unsigned int nr;

	mp_threads_lock();
	nr = atomic_load(&global)->nr_spare;
	mp_threads_unlock();
	return nr;
}

/* All but @hot.pool, @hot.session and what links the owner's caches. */
static void wipe(struct mp_thread *t)
{
	const size_t base = offsetof(struct mp_thread, hot.base);
	const size_t rest = offsetof(struct mp_thread, next);

	memset((char *)t + base, 0, offsetof(struct mp_thread, next_mine) - base);
	memset((char *)t + rest, 0, offsetof(struct mp_thread, slots) - rest);
}

/*
 * Out of its session's list; its counters are lost. Global lock held, but the
 * owner does not ask for it: it goes through its caches at any time, and takes
 * this one for another session once it sees @hot.session NULL, so that comes last.
 * Until then nobody looks inside: no call on the session that ends is going on.
 */
static void orphan(struct mp_thread *t)
{
	if (t->next)
		t->next->prev = t->prev;
	if (t->prev)
		t->prev->next = t->next;
	else
		t->hot.session->cache.threads = t->next;
	__atomic_store_n(&t->hot.pool, NULL, __ATOMIC_RELAXED);
	wipe(t);
	__atomic_store_n(&t->hot.session, NULL, __ATOMIC_RELEASE);
}

/* For another thread, or unmapped. Global lock held. */
static void put_spare(struct mp_thread *t)
{
	struct global *g = atomic_load(&global);

	if (g->nr_spare == MAX_SPARE) {
		munmap((char *)t - COLOUR, sizeof(*t) + COLOUR);
		return;
	}
	t->next_mine = g->spare;
	g->spare = t;
	g->nr_spare++;
}

/* With the slots of the first magazines; large ones take faults as they grow. */
static struct mp_thread *map_thread(void)
{
	char *pages = wiped_pages(sizeof(struct mp_thread) + COLOUR,
				  offsetof(struct mp_thread, slots) + COLOUR + PAGE);

	return pages ? (struct mp_thread *)(pages + COLOUR) : NULL;
}

/* A cache of this thread whose session has ended, or NULL. */
static struct mp_thread *my_orphan(void)
{
	struct mp_thread *t = mine;

	while (t && __atomic_load_n(&t->hot.session, __ATOMIC_ACQUIRE))
		t = t->next_mine;
	return t;	/* wiped by now, see orphan() */
}

/*
 * A cache is there for the thread that next needs one, so it does not wait for the
 * memory. None: it will ask itself.
 */
void mp_threads_prepare(struct mempool *pool)
{
	struct mp_thread *t;

	if (!pool->cache.bytes || mp_thread_of(pool, false) || my_orphan() || mp_threads_spare())
		return;
	t = map_thread();
	if (!t)
		return;
	mp_threads_lock();
	put_spare(t);
	mp_threads_unlock();
}

static struct mp_thread *get_spare(void)
{
	struct global *g = atomic_load(&global);
	struct mp_thread *t;

	mp_threads_lock();
	t = g->spare;
	if (t) {
		g->spare = t->next_mine;
		g->nr_spare--;
	}
	mp_threads_unlock();
	return t;
}

/* At a thread's end: its blocks go back, whatever session they are of. */
static void thread_exit(void *unused)
{
	struct mp_thread *t;
	struct mempool *pool;

	(void)unused;
	mempool_thread_1 = &nobody;
	mp_threads_lock();
	while ((t = mine)) {
		mine = t->next_mine;
		pool = t->hot.session;
		if (pool) {
			mp_cache_answer_recall(pool, t);
			mp_remote_flush(pool, t);
			mp_magazines_give_up(pool, t);
			mp_cache_claim_all(pool);
			mp_pools_fold(pool, t);
			mp_remote_leave(pool, t);
			orphan(t);
		}
		put_spare(t);
	}
	mp_threads_unlock();
}

static void make_key(void)
{
	exit_key_made = !pthread_key_create(&exit_key, thread_exit);
}

/* An orphan of ours, a spare cache or a new one, in no list yet but ours. */
static struct mp_thread *new_thread(void)
{
	struct mp_thread *t = my_orphan();

	if (t)
		return t;
	pthread_once(&exit_once, make_key);
	if (!exit_key_made || pthread_setspecific(exit_key, &mine))
		return NULL;
	t = get_spare();
	if (!t)
		t = map_thread();
	if (!t)
		return NULL;
	t->next_mine = mine;
	mine = t;
	return t;
}

/* Where the offset space is mapped in windows, an address says nothing: no units. */
static void fill_in(struct mempool *pool, struct mp_thread *t)
{
	unsigned int id;

	t->shift = pool->track.shift;
	if (pool->space.whole) {
		t->hot.base = (uintptr_t)pool->space.whole->addr;
		t->hot.units = pool->track.units;
	}
	t->hot.places = (struct mempool_place *)pool->track.places;
	t->hot.places_at_0 = (uintptr_t)t->hot.places -
		(t->hot.base >> t->shift) * sizeof(struct mempool_place);
	for (id = 0; id < MEMPOOL_NR_MAGAZINES; id++)
		t->hot.lims[id] = MP_NOTHING;
	if (pool->cache.status)
		t->pressure = __atomic_load_n(&pool->cache.status->pressure, __ATOMIC_RELAXED);
}

static void join(struct mempool *pool, struct mp_thread *t)
{
	struct mp_cache *cache = &pool->cache;

	fill_in(pool, t);
	mp_threads_lock();
	t->next = cache->threads;
	if (t->next)
		t->next->prev = t;
	cache->threads = t;
	if (cache->had_threads)
		atomic_store(&cache->shared, true);
	cache->had_threads = true;
	mp_remote_join(pool, t);
	__atomic_store_n(&t->hot.session, pool, __ATOMIC_RELAXED);
	if (t->shift == MEMPOOL_UNIT_SHIFT)
		__atomic_store_n(&t->hot.pool, pool, __ATOMIC_RELAXED);
	mp_threads_unlock();
}

/*
 * This thread's cache of the session, made if @make. A session that has had a
 * thread before is shared, also when that thread has ended.
 */
struct mp_thread *mp_thread_of(struct mempool *pool, bool make)
{
	struct mp_thread *t = mine;

	if (!pool->cache.ready)
		return NULL;
	if (MEMPOOL_GET(mempool_thread_1->session) == pool)
		return mp_to_thread(mempool_thread_1);
	while (t && __atomic_load_n(&t->hot.session, __ATOMIC_RELAXED) != pool)
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

/* The session ends. Global lock held. */
void mp_threads_leave(struct mempool *pool)
{
	while (pool->cache.threads)
		orphan(pool->cache.threads);
}
