// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Free blocks between threads: what one has too many of, another may take
 * without asking the kernel (Bonwick and Adams, Magazines and Vmem, 2001).
 *
 * One depot for each kind of block, and one more for each bucket and thread, its
 * inbox (remote.c), from which it takes first. A depot is an array under a lock,
 * which is the same for all and is held for a memcpy(). Together those of buckets
 * hold mp_cache.depot_max bytes at most.
 */
#include <stdlib.h>
#include <string.h>

#include "thread.h"

/* Bytes that the bound counts for a block. Block pools' are there anyway. */
static uint64_t size_of(const struct mempool *pool, unsigned int id)
{
	return id < MP_FIRST_POOL ? pool->track.key_of[id] >> 1 : 0;
}

/* Under the lock; who looks whether there is anything at all does not take it. */
static void set_nr(struct mp_depot *depot, unsigned int nr)
{
	__atomic_store_n(&depot->nr, nr, __ATOMIC_RELAXED);
}

static unsigned int count(const struct mp_depot *depot)
{
	return __atomic_load_n(&depot->nr, __ATOMIC_RELAXED);
}

static void set_bytes(struct mp_cache *cache, uint64_t bytes)
{
	__atomic_store_n(&cache->depot_bytes, bytes, __ATOMIC_RELAXED);
}

static unsigned int nr_numbers(const struct mp_cache *cache)
{
	return __atomic_load_n(&cache->nr_numbers, __ATOMIC_ACQUIRE);
}

/*
 * More room, touched at once, up to @room. Without memory it stays as it is. The
 * old array goes last, for a child forked at any moment frees what it finds here.
 */
static void have_room(struct mp_depot *depot, unsigned int room)
{
	int saved = errno;
	void **blocks;

	if (room > depot->max)
		room = depot->max;
	if (room <= depot->room)
		return;
	blocks = malloc(room * sizeof(blocks[0]));
	if (blocks) {
		if (depot->nr)
			memcpy(blocks, depot->blocks, depot->nr * sizeof(blocks[0]));
		memset(blocks + depot->nr, 0, (room - depot->nr) * sizeof(blocks[0]));
		depot->room = room;
		free(__atomic_exchange_n(&depot->blocks, blocks, __ATOMIC_SEQ_CST));
	}
	errno = saved;
}

/*
 * A depot for up to @max blocks, made when a thread first has a magazine for them.
 * Its array doubles when it is full, so it takes faults only as it reaches a new
 * height, and costs nothing where little is in flight.
 */
void mp_depot_prepare(struct mempool *pool, unsigned int id, uint64_t max)
{
	struct mp_depot *depot = &pool->cache.depots[id];

	pthread_mutex_lock(&pool->cache.depot_lock);
	depot->max = max < MP_DEPOT_SLOTS ? max : MP_DEPOT_SLOTS;
	have_room(depot, MP_FIRST_ROOM);
	pthread_mutex_unlock(&pool->cache.depot_lock);
}

/*
 * Leave up to @nr blocks of bucket or block pool @id in the depot: how many it took,
 * from the first on. depot_lock held.
 */
unsigned int mp_depot_add(struct mempool *pool, struct mp_depot *depot, unsigned int id,
			  void *const *blocks, unsigned int nr)
{
	struct mp_cache *cache = &pool->cache;
	uint64_t size = size_of(pool, id);

	if (size && nr > (cache->depot_max - cache->depot_bytes) / size)
		nr = (cache->depot_max - cache->depot_bytes) / size;
	if (nr > depot->room - depot->nr)
		have_room(depot, depot->nr + nr > 2 * depot->room ? depot->nr + nr :
								    2 * depot->room);
	if (nr > depot->room - depot->nr)
		nr = depot->room - depot->nr;
	if (nr)
		memcpy(depot->blocks + depot->nr, blocks, nr * sizeof(blocks[0]));
	set_nr(depot, depot->nr + nr);
	set_bytes(cache, cache->depot_bytes + nr * size);
	return nr;
}

/* Take up to @nr blocks, those that came last: how many there were. depot_lock held. */
static unsigned int take(struct mempool *pool, struct mp_depot *depot, unsigned int id,
			 void **blocks, unsigned int nr)
{
	if (nr > depot->nr)
		nr = depot->nr;
	if (!nr)
		return 0;
	set_nr(depot, depot->nr - nr);
	memcpy(blocks, depot->blocks + depot->nr, nr * sizeof(blocks[0]));
	set_bytes(&pool->cache, pool->cache.depot_bytes - nr * size_of(pool, id));
	return nr;
}

/* As mp_depot_add(), where all may take them. */
unsigned int mp_depot_put(struct mempool *pool, unsigned int id, void **blocks, unsigned int nr)
{
	pthread_mutex_lock(&pool->cache.depot_lock);
	nr = mp_depot_add(pool, &pool->cache.depots[id], id, blocks, nr);
	pthread_mutex_unlock(&pool->cache.depot_lock);
	return nr;
}

/* Up to @nr blocks of those for all. */
unsigned int mp_depot_get(struct mempool *pool, unsigned int id, void **blocks, unsigned int nr)
{
	pthread_mutex_lock(&pool->cache.depot_lock);
	nr = take(pool, &pool->cache.depots[id], id, blocks, nr);
	pthread_mutex_unlock(&pool->cache.depot_lock);
	return nr;
}

/*
 * Out of the inbox of a thread that has not taken a block for long: it may never need
 * them, and else the kernel would have to be asked. depot_lock held.
 */
static unsigned int take_unread(struct mempool *pool, unsigned int id, void **blocks,
				unsigned int nr)
{
	struct mp_cache *cache = &pool->cache;
	unsigned int number, got = 0;

	for (number = 1; number <= nr_numbers(cache) && !got; number++)
		if (cache->inboxes[number]->unread >= MP_UNREAD)
			got = take(pool, &cache->inboxes[number]->depots[id], id, blocks, nr);
	return got;
}

/*
 * Likewise, rather out of the inbox of the thread with this number, and if there are
 * none for all either, out of another's.
 */
unsigned int mp_depot_get_own(struct mempool *pool, unsigned int number, unsigned int id,
			      void **blocks, unsigned int nr)
{
	struct mp_cache *cache = &pool->cache;
	bool bucket = id < MP_FIRST_POOL;
	unsigned int got = 0;

	pthread_mutex_lock(&cache->depot_lock);
	if (bucket && cache->inboxes[number])
		got = take(pool, &cache->inboxes[number]->depots[id], id, blocks, nr);
	if (!got)
		got = take(pool, &cache->depots[id], id, blocks, nr);
	if (!got && bucket)
		got = take_unread(pool, id, blocks, nr);
	pthread_mutex_unlock(&cache->depot_lock);
	return got;
}

unsigned int mp_depot_count(struct mempool *pool, unsigned int id)
{
	unsigned int nr;

	pthread_mutex_lock(&pool->cache.depot_lock);
	nr = pool->cache.depots[id].nr;
	pthread_mutex_unlock(&pool->cache.depot_lock);
	return nr;
}

/* All blocks of a bucket back to the kernel. */
static void empty(struct mempool *pool, struct mp_depot *depot, unsigned int id)
{
	void *blocks[MP_BATCH];
	unsigned int nr;

	while (count(depot)) {
		pthread_mutex_lock(&pool->cache.depot_lock);
		nr = take(pool, depot, id, blocks, MP_BATCH);
		pthread_mutex_unlock(&pool->cache.depot_lock);
		mp_give_cached(pool, blocks, nr);
	}
}

/* All in the inbox with this number back to the kernel. */
void mp_depot_empty_inbox(struct mempool *pool, unsigned int number)
{
	struct mp_inbox *inbox = pool->cache.inboxes[number];
	unsigned int id;

	for (id = 1; id < MP_ID_OTHER; id++)
		empty(pool, &inbox->depots[id], id);
}

/*
 * No room is left in depots: what waits for threads that do not come for it goes back
 * to the kernel, rather than all that is released from now on.
 */
void mp_depot_empty_unread(struct mempool *pool)
{
	struct mp_cache *cache = &pool->cache;
	unsigned int number;

	for (number = 1; number <= nr_numbers(cache); number++)
		if (__atomic_load_n(&cache->inboxes[number]->unread, __ATOMIC_RELAXED) >= MP_UNREAD)
			mp_depot_empty_inbox(pool, number);
}

/* All blocks of buckets between threads: false if there were none. */
bool mp_depot_empty_buckets(struct mempool *pool)
{
	struct mp_cache *cache = &pool->cache;
	unsigned int i;

	if (!mp_load(&cache->depot_bytes))
		return false;
	for (i = 1; i < MP_ID_OTHER; i++)
		empty(pool, &cache->depots[i], i);
	for (i = 1; i <= nr_numbers(cache); i++)
		mp_depot_empty_inbox(pool, i);
	return true;
}

void mp_depot_empty(struct mempool *pool)
{
	unsigned int id;

	mp_depot_empty_buckets(pool);
	for (id = MP_FIRST_POOL; id < MEMPOOL_NR_MAGAZINES; id++)
		if (count(&pool->cache.depots[id]))
			mp_pools_empty_depot(pool, id);
}

static void free_depot(struct mp_depot *depot)
{
	free(__atomic_exchange_n(&depot->blocks, NULL, __ATOMIC_SEQ_CST));
	set_nr(depot, 0);
	depot->room = 0;
	depot->max = 0;
}

/* The blocks in it, if any, are gone. Block pools': pools_lock held. */
void mp_depot_free(struct mempool *pool, unsigned int id)
{
	free_depot(&pool->cache.depots[id]);
}

void mp_depot_free_inboxes(struct mempool *pool)
{
	struct mp_inbox *inbox;
	unsigned int id;

	for (; pool->cache.nr_numbers; pool->cache.nr_numbers--) {
		inbox = pool->cache.inboxes[pool->cache.nr_numbers];
		for (id = 0; id < MP_FIRST_POOL; id++)
			free_depot(&inbox->depots[id]);
		free(inbox);
	}
}
