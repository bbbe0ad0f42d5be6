// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * watched CASE: a program that does one thing wrong, for tools to see. What it
 * prints is what it has got to: "done" at the end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "libmempool_inline.h"

static struct mempool *pool;
static struct mempool_blocks *blocks;

static void write_byte(char *ptr, long at)
{
	((volatile char *)ptr)[at] = 1;
}

static char *get(unsigned int *index)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;

	opts.block_size = 1000;
	opts.num_blocks = 4;
	if (mempool_blocks_create(&blocks, pool, &opts))
		exit(2);
	return mempool_get_block(blocks, index);
}

/* Every call once or more, and each block used as far as it goes. */
static void clean(void)
{
	unsigned int i, round, indices[4];
	char *ptrs[50], *ptr;

	for (round = 0; round < 5; round++) {
		for (i = 0; i < 50; i++) {
			ptrs[i] = mempool_alloc_inline(pool, 1 + i * 977);
			memset(ptrs[i], i, 1 + i * 977);
		}
		for (i = 0; i < 50; i++)
			if (mempool_release_inline(pool, ptrs[i]))
				exit(2);
	}
	mempool_trim(pool);
	ptr = mempool_zalloc(pool, 5000);
	if (ptr[4999] || mempool_usable_size(pool, ptr) != 5120)
		exit(2);
	ptr[5119] = 1;
	mempool_release(pool, ptr);
	ptr = mempool_aligned_alloc(pool, 4096, 100);
	ptr[99] = 1;
	if (mempool_alloc_bulk(pool, 2000, (void **)ptrs, 8))
		exit(2);
	for (i = 0; i < 8; i++)
		memset(ptrs[i], i, 2000);
	mempool_release_bulk(pool, (void **)ptrs, 8);
	mempool_clear(pool);
	get(&indices[3]);
	if (mempool_get_blocks(blocks, (void **)ptrs, indices, 3))
		exit(2);
	for (i = 0; i < 3; i++)
		memset(ptrs[i], i, 1000);
	if (mempool_return_blocks(blocks, indices, 4))
		exit(2);
	for (i = 0; i < 4; i++)
		memset(mempool_get_block(blocks, NULL), i, 1000);
	mempool_reset(blocks);
}

static void do_case(const char *what)
{
	unsigned int index;
	char *ptr, *next;

	if (!strcmp(what, "clean")) {
		clean();
	} else if (!strcmp(what, "use_after_release")) {
		ptr = mempool_alloc(pool, 1000);
		mempool_release(pool, ptr);
		write_byte(ptr, 10);
	} else if (!strcmp(what, "use_after_inlined_release")) {
		ptr = mempool_alloc_inline(pool, 1000);
		mempool_release_inline(pool, ptr);
		mempool_release_inline(pool, mempool_alloc_inline(pool, 1000));
		write_byte(ptr, 10);
	} else if (!strcmp(what, "use_after_clear")) {
		ptr = mempool_alloc(pool, 1000);
		mempool_clear(pool);
		write_byte(ptr, 10);
	} else if (!strcmp(what, "overflow")) {
		ptr = mempool_alloc(pool, 1000);
		write_byte(ptr, 1000);
	} else if (!strcmp(what, "overflow_of_a_whole_bucket")) {
		ptr = mempool_alloc(pool, 4096);
		next = mempool_alloc(pool, 4096);
		write_byte(ptr < next ? ptr : next, 4096);
	} else if (!strcmp(what, "second_release")) {
		ptr = mempool_alloc(pool, 1000);
		mempool_release(pool, ptr);
		mempool_release(pool, ptr);
	} else if (!strcmp(what, "use_after_return")) {
		ptr = get(&index);
		mempool_return_block(blocks, index);
		write_byte(ptr, 10);
	} else if (!strcmp(what, "overflow_of_a_pools_block")) {
		ptr = get(&index);
		write_byte(ptr, 1000);
	} else {
		exit(3);
	}
}

int main(int argc, char **argv)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	char *ptr, *again;

	opts.device = "memfd:16M";
	if (argc != 2 || mempool_open(&pool, &opts))
		return 3;
	ptr = mempool_aligned_alloc(pool, 4096, 4096);
	mempool_release(pool, ptr);
	do_case(argv[1]);
	mempool_blocks_close(blocks);
	mempool_close(pool);
	/* Nothing stays hidden where the pool was. */
	again = mmap(ptr, 4096, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (again != ptr)
		return 3;
	write_byte(again, 4095);
	puts("done");
	return 0;
}
