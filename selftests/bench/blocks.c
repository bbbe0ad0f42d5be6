// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Block pools against rte_mempool: get @a blocks, @b at a time, and return them
 * likewise. What is timed is one block got and returned. Blocks come in the order in
 * which they lie in memory, or (blocks-mixed) in none, as after long use.
 */
#include <stdio.h>
#include <string.h>

#include "worker.h"

#define BLOCKS	8191
#define KEEP	1024

#if BENCH_RTE

#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mempool.h>
#include <rte_version.h>

static struct rte_mempool *pool;
static struct rte_mempool_cache *cache;

void contender_open(void)
{
	char line[] = "bench --no-huge --no-pci --no-telemetry --no-shconf -l0 -m 256 --log-level=3";
	char *args[10];
	int nr = 0;

	for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
		args[nr++] = word;
	if (rte_eal_init(nr, args) < 0) {
		puts("fail EAL");
		exit(0);
	}
}

const char *contender_name(void)
{
	return rte_version();
}

void *slow_take(size_t size)
{
	return rte_malloc(NULL, size, 64);
}

int slow_give(void *ptr, size_t size)
{
	(void)size;
	rte_free(ptr);
	return 0;
}

static int make(size_t size)
{
	if (pool)
		return 0;
	pool = rte_mempool_create("bench", BLOCKS, size, 256, 0, NULL, NULL, NULL, NULL,
				  SOCKET_ID_ANY, 0);
	if (!pool)
		return fail("no rte_mempool");
	cache = rte_mempool_default_cache(pool, rte_lcore_id());
	return 0;
}

/* BENCH_HOISTED: the cache is looked up once for all, not in every call. */
INLINE int get(void **ptr, unsigned int *index, unsigned int nr)
{
	(void)index;
#if BENCH_HOISTED
	return rte_mempool_generic_get(pool, ptr, nr, cache);
#else
	return rte_mempool_get_bulk(pool, ptr, nr);
#endif
}

INLINE int put(void **ptr, unsigned int *index, unsigned int nr)
{
	(void)index;
#if BENCH_HOISTED
	rte_mempool_generic_put(pool, ptr, nr, cache);
#else
	rte_mempool_put_bulk(pool, ptr, nr);
#endif
	return 0;
}

#elif BENCH_POOL

static struct mempool_blocks *pool;

static int make(size_t size)
{
	struct mempool_blocks_options o = MEMPOOL_BLOCKS_OPTIONS_INIT;
	int ret;

	o.block_size = size;
	o.num_blocks = BLOCKS;
#if BENCH_HAS_CACHE_BLOCKS
	o.cache_blocks = 256;	/* as much as rte_mempool has */
#endif
	ret = pool ? 0 : mempool_blocks_create(&pool, bench_pool, &o);
	return ret ? fail("no block pool: %d", ret) : 0;
}

#if BENCH_INLINE && BENCH_HAS_INLINE_BLOCKS
#define GET	mempool_get_blocks_inline
#define PUT	mempool_return_blocks_inline
#else
#define GET	mempool_get_blocks
#define PUT	mempool_return_blocks
#endif

INLINE int get(void **ptr, unsigned int *index, unsigned int nr)
{
	return GET(pool, ptr, index, nr);
}

INLINE int put(void **ptr, unsigned int *index, unsigned int nr)
{
	(void)ptr;
	return PUT(pool, index, nr);
}

#endif

#if BENCH_RTE || BENCH_POOL

INLINE int cycle(long keep, long bulk, long n)
{
	static void *ptr[KEEP];
	static unsigned int index[KEEP];

	while (n--) {
		for (long i = 0; i < keep; i += bulk)
			if (UNLIKELY(get(ptr + i, index + i, bulk)))
				return -1;
		escape(ptr);
		for (long i = 0; i < keep; i += bulk)
			if (UNLIKELY(put(ptr + i, index + i, bulk)))
				return -1;
	}
	return 0;
}

/* How many at a time is a constant, as in real programs. */
static int loop(const struct request *r, long n)
{
	switch (r->b) {
	case 1:
		return cycle(r->a, 1, n);
	case 4:
		return cycle(r->a, 4, n);
	case 32:
		return cycle(r->a, 32, n);
	default:
		return -1;
	}
}

/* All of them: apart from each other, and given back. */
static int verify(void)
{
	static void *ptr[KEEP];
	static unsigned int index[KEEP];
	int i;

	if (get(ptr, index, KEEP))
		return fail("no blocks");
	for (i = 0; i < KEEP; i++)
		*(int *)ptr[i] = i;
	for (i = 0; i < KEEP; i++)
		if (*(int *)ptr[i] != i)
			return fail("a block is issued twice");
	return put(ptr, index, KEEP) ? fail("a block is refused") : 0;
}

/* Have the next KEEP blocks come in no order. */
static int mix(void)
{
	static void *ptr[KEEP];
	static unsigned int index[KEEP];
	unsigned int seed = 1;
	int i, j;

	for (i = 0; i < KEEP; i++)
		if (get(ptr + i, index + i, 1))
			return fail("no blocks");
	for (i = KEEP - 1; i >= 0; i--) {
		void *p = ptr[i];
		unsigned int x = index[i];

		seed = seed * 1103515245u + 12345u;
		j = (seed >> 8) % (i + 1);
		ptr[i] = ptr[j];
		index[i] = index[j];
		if (put(&ptr[i], &index[i], 1))
			return fail("a block is refused");
		ptr[j] = p;
		index[j] = x;
	}
	return 0;
}

static int test(const struct request *r, int mixed)
{
	static int prepared;

	if (r->a > KEEP || r->a % r->b)
		return fail("%ld blocks, %ld at a time", r->a, r->b);
	if (make(r->size) || (!prepared && (verify() || (mixed && mix()))))
		return -1;
	prepared = 1;
	return measure(r, loop, r->a);
}

static int test_blocks(const struct request *r)
{
	return test(r, 0);
}

static int test_mixed(const struct request *r)
{
	return test(r, 1);
}

#endif

const struct test block_tests[] = {
#if BENCH_RTE || BENCH_POOL
	{ "blocks", test_blocks },
	{ "blocks-mixed", test_mixed },
#endif
	{ NULL, NULL }
};
