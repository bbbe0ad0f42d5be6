// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * hot CASE TIMES: do what is meant to be fast, TIMES over, on the in-process
 * device. The script "instructions" counts what that takes.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmempool_inline.h"

#define SIZE	4096
#define BULK	64

static struct mempool *pool;
static struct mempool_blocks *blocks;
static void *ptrs[BULK];
static unsigned int indices[BULK];

static void must(int right)
{
	if (!right)
		abort();
}

static void inline_pair(void)
{
	void *ptr = mempool_alloc_inline(pool, SIZE);

	must(ptr && !mempool_release_inline(pool, ptr));
}

static void call_pair(void)
{
	void *ptr = mempool_alloc(pool, SIZE);

	must(ptr && !mempool_release(pool, ptr));
}

static void bulk(void)
{
	must(!mempool_alloc_bulk(pool, SIZE, ptrs, BULK));
	must(!mempool_release_bulk(pool, ptrs, BULK));
}

static void inline_block(void)
{
	must(!mempool_get_blocks_inline(blocks, ptrs, indices, 1));
	must(!mempool_return_blocks_inline(blocks, indices, 1));
}

static void inline_blocks(void)
{
	must(!mempool_get_blocks_inline(blocks, ptrs, indices, 32));
	must(!mempool_return_blocks_inline(blocks, indices, 32));
}

static void call_blocks(void)
{
	must(!mempool_get_blocks(blocks, ptrs, indices, BULK));
	must(!mempool_return_blocks(blocks, indices, BULK));
}

static pthread_barrier_t turn;

static void *release_all(void *arg)
{
	unsigned int i;

	for (;;) {
		pthread_barrier_wait(&turn);
		for (i = 0; i < BULK; i++)
			must(!mempool_release_inline(pool, ptrs[i]));
		pthread_barrier_wait(&turn);
	}
	return arg;
}

/* Blocks that another thread releases; with two barriers for all of them. */
static void remote(void)
{
	static pthread_t other;
	unsigned int i;

	if (!other) {
		pthread_barrier_init(&turn, NULL, 2);
		must(!pthread_create(&other, NULL, release_all, NULL));
	}
	for (i = 0; i < BULK; i++) {
		ptrs[i] = mempool_alloc_inline(pool, SIZE);
		must(!!ptrs[i]);
	}
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
}

/* Without caches: the same functions, and the core's, under them. */
static const struct {
	const char *name;
	void (*run)(void);
	int64_t cache_bytes;
	unsigned int cache_blocks;
} cases[] = {
	{ "inline_pair", inline_pair, -1, 0 },
	{ "call_pair", call_pair, -1, 0 },
	{ "bulk", bulk, -1, 0 },
	{ "remote", remote, -1, 0 },
	{ "inline_block", inline_block, -1, 512 },
	{ "inline_blocks", inline_blocks, -1, 512 },
	{ "call_blocks", call_blocks, -1, 512 },
	{ "core_pair", call_pair, 0, 0 },
	{ "core_bulk", bulk, 0, 0 },
	{ "core_blocks", call_blocks, 0, 0 },
};

static void open_pools(int64_t cache_bytes, unsigned int cache_blocks)
{
	struct mempool_blocks_options wanted = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;

	opts.device = "memfd:64M";
	opts.cache_bytes = cache_bytes;
	wanted.block_size = 2048;
	wanted.num_blocks = 1000;
	wanted.cache_blocks = cache_blocks;
	must(!mempool_open(&pool, &opts));
	must(!mempool_blocks_create(&blocks, pool, &wanted));
}

int main(int argc, char **argv)
{
	long times = argc == 3 ? atol(argv[2]) : 0;
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (argc != 3 || strcmp(argv[1], cases[i].name))
			continue;
		open_pools(cases[i].cache_bytes, cases[i].cache_blocks);
		while (times--)
			cases[i].run();
		return 0;
	}
	fprintf(stderr, "usage: hot CASE TIMES\n");
	return 2;
}
