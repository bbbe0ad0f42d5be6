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
	depot->nr += nr;
	cache->depot_bytes += nr * size;
	return nr;
}

/* Take up to @nr blocks, those that came last: how many there were. depot_lock held. */
static unsigned int take(struct mempool *pool, struct mp_depot *depot, unsigned int id,
			 void **blocks, unsigned int nr)
{
	if (nr > depot->nr)
		nr = depot->nr;
	depot->nr -= nr;
	if (nr)
		memcpy(blocks, depot->blocks + depot->nr, nr * sizeof(blocks[0]));
	if (nr)
		pool->cache.depot_bytes -= nr * size_of(pool, id);
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

/* Likewise, rather out of the inbox of the thread with this number. */
unsigned int mp_depot_get_own(struct mempool *pool, unsigned int number, unsigned int id,
			      void **blocks, unsigned int nr)
{
	struct mp_cache *cache = &pool->cache;
	struct mp_inbox *inbox = id < MP_FIRST_POOL ? cache->inboxes[number] : NULL;
	unsigned int got = 0;

	pthread_mutex_lock(&cache->depot_lock);
	if (inbox)
		got = take(pool, &inbox->depots[id], id, blocks, nr);
	if (!got)
		got = take(pool, &cache->depots[id], id, blocks, nr);
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

	do {
		pthread_mutex_lock(&pool->cache.depot_lock);
		nr = take(pool, depot, id, blocks, MP_BATCH);
		pthread_mutex_unlock(&pool->cache.depot_lock);
		mp_give_cached(pool, blocks, nr);
	} while (nr);
}

/* All blocks of a kind, but those in inboxes, back to the kernel. */
void mp_depot_empty_one(struct mempool *pool, unsigned int id)
{
	if (id >= MP_FIRST_POOL)
		mp_pools_empty_depot(pool, id);
	else
		empty(pool, &pool->cache.depots[id], id);
}

/* All in the inbox with this number, if there is one, back to the kernel. */
void mp_depot_empty_inbox(struct mempool *pool, unsigned int number)
{
	struct mp_inbox *inbox = __atomic_load_n(&pool->cache.inboxes[number], __ATOMIC_ACQUIRE);
	unsigned int id;

	for (id = 1; inbox && id < MP_FIRST_POOL; id++)
		empty(pool, &inbox->depots[id], id);
}

void mp_depot_empty(struct mempool *pool)
{
	unsigned int i;

	for (i = 1; i < MEMPOOL_NR_MAGAZINES; i++)
		mp_depot_empty_one(pool, i);
	for (i = 1; i < MP_NR_NUMBERS; i++)
		mp_depot_empty_inbox(pool, i);
}

static void free_depot(struct mp_depot *depot)
{
	free(__atomic_exchange_n(&depot->blocks, NULL, __ATOMIC_SEQ_CST));
	*depot = (struct mp_depot) { 0 };
}

/* The blocks in it, if any, are gone. Block pools': pools_lock held. */
void mp_depot_free(struct mempool *pool, unsigned int id)
{
	free_depot(&pool->cache.depots[id]);
}

void mp_depot_free_inbox(struct mempool *pool, unsigned int number)
{
	struct mp_inbox *inbox = pool->cache.inboxes[number];
	unsigned int id;

	for (id = 0; inbox && id < MP_FIRST_POOL; id++)
		free_depot(&inbox->depots[id]);
	free(inbox);
	pool->cache.inboxes[number] = NULL;
}
