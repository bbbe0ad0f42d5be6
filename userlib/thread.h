/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A thread's cache, as the files see it that make it up:
 *
 *	thread.c	its life: made, found again, orphaned, freed
 *	magazine.c	blocks of one kind in it
 *	depot.c		blocks of one kind between threads
 *	remote.c	what goes back to the thread that took it
 *	cache.c		what buckets do with it
 *	claims.c	what it counts
 *	recall.c	how blocks are called back out of it
 *	poolcache.c	what block pools do with it
 *
 * libmempool_inline.h has the hot path and says how it works.
 *
 * Who writes what: a thread's cache is written by that thread alone, but another
 * may raise a magazine's lim, which sends the owner into the slow path. Others
 * read its counters for the statistics: they may be an operation behind.
 *
 * Locks: global (mp_threads_lock(): lists of caches; commands are sent inside) ->
 * pools_lock (block pools with a cache; likewise) -> depot_lock.
 */
#ifndef MP_THREAD_H
#define MP_THREAD_H

#include "internal.h"

#define MP_CACHE_LINE	64u
#define MP_SLOTS	8192u	/* of all magazines of a thread */
#define MP_MAX_SLOTS	512u	/* of a magazine: a power of two */
#define MP_FIRST_SLOTS	8u
#define MP_MIN_SLOTS	1u
#define MP_FIRST_ROOM	MP_MAX_SLOTS	/* of a depot: what one magazine may leave */
#define MP_DEPOT_SLOTS	(1u << 20)	/* and most: pointers of 8 MiB */
#define MP_NR_ORDERS	10	/* of arrays of 2^order slots */
#define MP_NOTHING	((void **)UINTPTR_MAX)	/* lim of what is not to be used */
#define MP_FIRST_POOL	((unsigned int)MP_NR_BUCKET_IDS)
#define MP_OUTBOX	256u	/* blocks */
#define MP_UNREAD	4u	/* deliveries until what is in an inbox is for all */

/**
 * struct mp_cold - the part of a magazine that only the slow path needs
 * @bottom: NULL: not in use
 * @changes: odd while @bottom, @net and the top change, see mp_magazine_look()
 * @fresh: blocks at the bottom that no user had
 * @filled: since it came into use
 * @emptied: and its bucket has run out of blocks since it was last full
 * @net: blocks brought in less blocks taken out, since ever
 * @serial: of the block pool, see struct mp_pool_cache; 0 in buckets
 */
struct mp_cold {
	void **bottom;
	unsigned int changes;
	unsigned int fresh;
	bool filled;
	bool emptied;
	uint64_t net;
	uint64_t serial;
};

/**
 * struct mp_thread - a thread's cache of one session
 * @hot: see libmempool_inline.h; @hot.session is NULL in an orphan
 * @cold: by id
 * @shift: of the session's units
 * @next_mine: caches of this thread
 * @next, @prev: caches of this session; the global lock
 * @capacity: bytes that all magazines of buckets together could hold
 * @new: fresh blocks used
 * @peak: highest sum of this thread's bytes, unless there are others
 * @bad: releases refused here
 * @remote: blocks released here that others had taken
 * @outbox: the last of them, which have not been delivered yet, with their
 *	@labels: what their places read as while they were out;
 *	@nr_outbox of them, together of @outbox_bytes
 * @claimed_allocs, @claimed_releases, @claimed_new, @claimed_bad: of which the
 *	kernel knows
 * @hand: where to look next for a magazine to give up
 * @pressure: the status page's counter when last looked at
 * @recall: others want the blocks
 * @deaf: and have waited in vain since
 * @free_slots: by order, arrays that magazines gave up, linked by their first slot
 * @used_slots: of @slots
 * @slots: what magazines are made of, the lowest first
 */
struct mp_thread {
	struct mempool_thread hot;
	struct mp_cold cold[MEMPOOL_NR_MAGAZINES];
	unsigned int shift;
	struct mp_thread *next_mine;
	struct mp_thread *next, *prev;
	uint64_t capacity;
	uint64_t new;
	uint64_t peak;
	uint64_t bad;
	uint64_t remote;
	uint64_t outbox_bytes;
	unsigned int nr_outbox;
	void *outbox[MP_OUTBOX];
	struct mempool_place labels[MP_OUTBOX];
	uint64_t claimed_allocs, claimed_releases, claimed_new, claimed_bad;
	unsigned int hand;
	uint32_t pressure;
	atomic_bool recall;
	atomic_bool deaf;
	void **free_slots[MP_NR_ORDERS];
	unsigned int used_slots;
	void *slots[MP_SLOTS] __attribute__((aligned(64)));
};

static inline struct mp_thread *mp_to_thread(struct mempool_thread *hot)
{
	return (struct mp_thread *)hot;
}

/* Of 1 << @shift bytes, from @base on; beyond all units if @ptr begins none. */
static inline uintptr_t mp_unit_of(const void *ptr, uintptr_t base, unsigned int shift)
{
	uintptr_t offset = (uintptr_t)ptr - base;

	return offset >> shift | offset << (-shift % (sizeof(offset) * 8));
}

static inline uint64_t mp_load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void mp_store(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

/* ---- thread.c ---- */

bool mp_threads_init(void);
void mp_threads_lock(void);
void mp_threads_unlock(void);
struct mp_thread *mp_thread_of(struct mempool *pool, bool make);
void mp_threads_leave(struct mempool *pool);
unsigned int mp_threads_spare(void);

/* ---- magazine.c ---- */

/**
 * struct mp_look - a magazine as it was at one moment
 * @bottom: where its blocks begin, or NULL
 * @nr: blocks
 * @net: as in struct mp_cold; less @nr: blocks that users have
 */
struct mp_look {
	void **bottom;
	unsigned int nr;
	uint64_t net;
};

bool mp_magazine_look(struct mp_thread *t, unsigned int id, struct mp_look *look);
unsigned int mp_magazine_count(struct mp_thread *t, unsigned int id);
void mp_magazine_set_lim(struct mp_thread *t, unsigned int id);
void mp_magazine_set_top(struct mp_thread *t, unsigned int id, void **top);
bool mp_magazine_resize(struct mp_thread *t, unsigned int id, unsigned int slots);
bool mp_magazine_shrink(struct mempool *pool, struct mp_thread *t, unsigned int id,
			unsigned int slots);
void mp_magazine_drop(struct mp_thread *t, unsigned int id);
void mp_magazine_drain(struct mempool *pool, struct mp_thread *t, unsigned int id,
		       unsigned int nr, bool home);
void mp_magazine_give_up(struct mempool *pool, struct mp_thread *t, unsigned int id, bool home);
void mp_magazines_give_up(struct mempool *pool, struct mp_thread *t);
bool mp_magazine_refill(struct mempool *pool, struct mp_thread *t, unsigned int id);
void mp_magazine_filled(struct mp_thread *t, unsigned int id, unsigned int nr);
void mp_magazine_recall(struct mp_thread *t, unsigned int id);

static inline bool mp_magazine_in_use(const struct mp_thread *t, unsigned int id)
{
	return __atomic_load_n(&t->cold[id].bottom, __ATOMIC_RELAXED);
}

static inline bool mp_magazine_recalled(const struct mp_thread *t, unsigned int id)
{
	return mp_magazine_in_use(t, id) &&
		__atomic_load_n(&t->hot.lims[id], __ATOMIC_RELAXED) == MP_NOTHING;
}

static inline unsigned int mp_magazine_slots(const struct mp_thread *t, unsigned int id)
{
	return t->cold[id].bottom ? t->hot.ends[id] - t->cold[id].bottom : 0;
}

/* ---- depot.c ---- */

void mp_depot_prepare(struct mempool *pool, unsigned int id, uint64_t max);
unsigned int mp_depot_put(struct mempool *pool, unsigned int id, void **blocks, unsigned int nr);
unsigned int mp_depot_get(struct mempool *pool, unsigned int id, void **blocks, unsigned int nr);
unsigned int mp_depot_get_own(struct mempool *pool, unsigned int number, unsigned int id,
			      void **blocks, unsigned int nr);
unsigned int mp_depot_add(struct mempool *pool, struct mp_depot *depot, unsigned int id,
			  void *const *blocks, unsigned int nr);
void mp_depot_empty(struct mempool *pool);
bool mp_depot_empty_buckets(struct mempool *pool);
void mp_depot_empty_unread(struct mempool *pool);
void mp_depot_empty_inbox(struct mempool *pool, unsigned int number);
void mp_depot_free_inboxes(struct mempool *pool);
unsigned int mp_depot_count(struct mempool *pool, unsigned int id);
void mp_depot_free(struct mempool *pool, unsigned int id);

/* ---- remote.c ---- */

void mp_remote_join(struct mempool *pool, struct mp_thread *t);
void mp_remote_leave(struct mempool *pool, struct mp_thread *t);
void mp_remote_flush(struct mempool *pool, struct mp_thread *t);
void mp_remote_give_up(struct mempool *pool, struct mp_thread *t);

/* ---- claims.c, recall.c, poolcache.c ---- */

void mp_thread_account(struct mp_thread *t, int64_t bytes);
void mp_cache_claim_all(struct mempool *pool);
void mp_cache_answer_recall(struct mempool *pool, struct mp_thread *t);
void mp_pools_give_cached(struct mempool *pool, unsigned int id, void *const *blocks,
			  unsigned int nr);
void mp_pools_empty_depot(struct mempool *pool, unsigned int id);
void mp_pools_fold(struct mempool *pool, struct mp_thread *t);

#endif /* MP_THREAD_H */
