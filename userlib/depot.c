// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Free blocks between threads: what one has too many of, another may take
 * without asking the kernel (Bonwick and Adams, Magazines and Vmem, 2001).
 *
 * One depot for each kind of block, an array under a lock that is held for a
 * memcpy(). Together those of buckets hold mp_cache.depot_max bytes at most.
 */
#include <stdlib.h>
#include <string.h>

#include "thread.h"

/* Bytes that the bound counts for a block. Block pools' are there anyway. */
static uint64_t size_of(const struct mempool *pool, unsigned int id)
{
	return id < MP_FIRST_POOL ? pool->track.key_of[id] >> 1 : 0;
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

/* Leave up to @nr blocks in the depot: how many it took, from the first on. */
unsigned int mp_depot_put(struct mempool *pool, unsigned int id, void **blocks, unsigned int nr)
{
	struct mp_cache *cache = &pool->cache;
	struct mp_depot *depot = &cache->depots[id];
	uint64_t size = size_of(pool, id);

	pthread_mutex_lock(&cache->depot_lock);
	if (size && nr > (cache->depot_max - cache->depot_bytes) / size)
		nr = (cache->depot_max - cache->depot_bytes) / size;
	if (nr > depot->room - depot->nr)
		have_room(depot, 2 * depot->room);
	if (nr > depot->room - depot->nr)
		nr = depot->room - depot->nr;
	if (nr)
		memcpy(depot->blocks + depot->nr, blocks, nr * sizeof(blocks[0]));
	depot->nr += nr;
	cache->depot_bytes += nr * size;
	pthread_mutex_unlock(&cache->depot_lock);
	return nr;
}

/* Take up to @nr blocks, those that came last: how many there were. */
unsigned int mp_depot_get(struct mempool *pool, unsigned int id, void **blocks, unsigned int nr)
{
	struct mp_cache *cache = &pool->cache;
	struct mp_depot *depot = &cache->depots[id];

	pthread_mutex_lock(&cache->depot_lock);
	if (nr > depot->nr)
		nr = depot->nr;
	depot->nr -= nr;
	if (nr)
		memcpy(blocks, depot->blocks + depot->nr, nr * sizeof(blocks[0]));
	if (nr)
		cache->depot_bytes -= nr * size_of(pool, id);
	pthread_mutex_unlock(&cache->depot_lock);
	return nr;
}

unsigned int mp_depot_count(struct mempool *pool, unsigned int id)
{
	unsigned int nr;

	pthread_mutex_lock(&pool->cache.depot_lock);
	nr = pool->cache.depots[id].nr;
	pthread_mutex_unlock(&pool->cache.depot_lock);
	return nr;
}

/* All blocks of a kind back to the kernel. */
void mp_depot_empty_one(struct mempool *pool, unsigned int id)
{
	void *blocks[MP_BATCH];
	unsigned int nr;

	if (id >= MP_FIRST_POOL)
		mp_pools_empty_depot(pool, id);
	else
		while ((nr = mp_depot_get(pool, id, blocks, MP_BATCH)))
			mp_give_cached(pool, blocks, nr);
}

void mp_depot_empty(struct mempool *pool)
{
	unsigned int id;

	for (id = 1; id < MEMPOOL_NR_MAGAZINES; id++)
		mp_depot_empty_one(pool, id);
}

/* The blocks in it, if any, are gone. Block pools': pools_lock held. */
void mp_depot_free(struct mempool *pool, unsigned int id)
{
	struct mp_depot *depot = &pool->cache.depots[id];

	free(__atomic_exchange_n(&depot->blocks, NULL, __ATOMIC_SEQ_CST));
	*depot = (struct mp_depot) { 0 };
}
