// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What only this project has: its counters, commands, tables, block pools.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "uapi/mempool.h"
#include "worker.h"

#if BENCH_POOL

/* Own memory of this process, bytes: not the blocks, which lie in a file. */
static double own_memory(void)
{
	char line[200];
	double kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %lf", &kib);
	if (f)
		fclose(f);
	return kib * 1024;
}

/*
 * Bytes of tables, all of them, per byte of reserve in use: @a MiB of blocks.
 * On the in-process device, where the core's tables are this process', too.
 */
static int test_overhead(const struct request *r)
{
	long nr = (r->a << 20) / r->size, i;
	void **ptr = calloc(nr, sizeof(*ptr));
	double before;

	if (!ptr)
		return fail("no memory");
	memset(ptr, 1, nr * sizeof(*ptr));
	before = own_memory();
	for (i = 0; i < nr; i++) {
		ptr[i] = take(r->size);
		if (!ptr[i])
			return fail("no block %ld", i);
	}
	say("overhead-percent", 100 * (own_memory() - before) / (nr * r->size));
	say("overhead-bytes-per-block", (own_memory() - before) / nr);
	return 0;
}

/* The same for block pools. */
static int test_overhead_blocks(const struct request *r)
{
	struct mempool_blocks_options o = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	double before = own_memory();
	unsigned int i;

	o.block_size = r->size;
	o.num_blocks = (r->a << 20) / r->size;
	if (mempool_blocks_create(&blocks, bench_pool, &o))
		return fail("no block pool");
	for (i = 0; i < o.num_blocks; i++)
		if (!mempool_get_block(blocks, NULL))
			return fail("no block %u", i);
	say("overhead-percent", 100 * (own_memory() - before) / ((double)o.num_blocks * r->size));
	say("overhead-bytes-per-block", (own_memory() - before) / o.num_blocks);
	return 0;
}

/* A block pool of @a blocks of which every other one is free. */
static int test_coalesce(const struct request *r)
{
	struct mempool_blocks_options o = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks_stats s;
	struct mempool_blocks *blocks;
	double before, ns;
	unsigned int i;

	o.block_size = r->size;
	o.num_blocks = r->a;
	o.threshold = 100;
	if (mempool_blocks_create(&blocks, bench_pool, &o))
		return fail("no block pool");
	for (i = 0; i < o.num_blocks; i++)
		if (!mempool_get_block(blocks, NULL))
			return fail("no block %u", i);
	for (i = 0; i < o.num_blocks; i += 2)
		if (mempool_return_block(blocks, i))
			return fail("block %u is refused", i);
	before = own_memory();
	ns = now();
	if (mempool_coalesce(blocks))
		return fail("not coalesced");
	ns = now() - ns;
	if (mempool_blocks_get_stats(blocks, &s, sizeof(s)))
		return fail("no statistics");
	if (s.free_list_disorder > 0)
		return fail("disorder of %g percent is left", s.free_list_disorder);
	say("ns", ns);
	say("extra-bytes", own_memory() - before);
	mempool_blocks_close(blocks);
	return 0;
}

#if BENCH_HAS_INLINE && BENCH_KNOWN_LAYOUT

/* What mempool_alloc_inline() and mempool_release_inline() do at best. */
static int counted_pair(const struct request *r, long n)
{
	while (n--) {
		void *ptr;

		if (UNLIKELY(!mempool_try_alloc(bench_pool, r->size, &ptr)))
			return -1;
		escape(ptr);
		if (UNLIKELY(!mempool_try_release(bench_pool, ptr)))
			return -1;
	}
	return 0;
}

/* The same without the counters. */
static __attribute__((noinline)) int bare_pair(const struct request *r, long n)
{
	while (n--) {
		struct mempool_thread *t = mempool_thread_1;
		size_t units = (r->size - 1) >> MEMPOOL_UNIT_SHIFT;
		struct mempool_place *place;
		unsigned int id;
		uintptr_t unit;
		void **top, *ptr;

		if (UNLIKELY(t->pool != bench_pool || units >= MEMPOOL_NR_SIZES))
			return -1;
		id = t->buckets[units];
		top = t->tops[id];
		if (UNLIKELY(top <= MEMPOOL_GET(t->lims[id])))
			return -1;
		ptr = top[-1];
		MEMPOOL_SET(t->tops[id], top - 1);
		((struct mempool_place *)(t->places_at_0 +
			((uintptr_t)ptr >> MEMPOOL_UNIT_SHIFT) * sizeof(*place)))->out = t->number;
		escape(ptr);

		t = mempool_thread_1;
		unit = (uintptr_t)ptr - t->base;
		unit = unit >> MEMPOOL_UNIT_SHIFT | unit << (64 - MEMPOOL_UNIT_SHIFT);
		if (UNLIKELY(t->pool != bench_pool || unit >= t->units))
			return -1;
		place = &t->places[unit];
		id = place->id;
		top = t->tops[id];
		if (UNLIKELY(place->out != t->number || top >= t->ends[id]))
			return -1;
		*top = ptr;
		MEMPOOL_SET(t->tops[id], top + 1);
		place->out = 0;
	}
	return 0;
}

/* BENCH_BARE: without counters */
static int test_statistics(const struct request *r)
{
	static int warm;
	void *ptr[2] = { NULL, NULL };

	if (!warm) {	/* the peak is two blocks, then there are always some */
		warm = 1;
		for (int turn = 0; turn < 2; turn++) {
			for (int i = 0; i < 2; i++) {
				ptr[i] = take(r->size);
				if (!ptr[i])
					return fail("no block");
			}
			give(ptr[0], r->size);
			give(ptr[1], r->size);
		}
	}
	return measure(r, getenv("BENCH_BARE") ? bare_pair : counted_pair, 1);
}

#endif

/* ---- commands, on the device itself ---- */

static int device = -1;

static int empty(const struct request *r, long n)
{
	(void)r;
	while (n--)
		if (ioctl(device, _IO(MEMPOOL_IOC_TYPE, 0xff)) != -1 ||
		    ioctl(device, _IO(MEMPOOL_IOC_TYPE, 0xff)) != -1)
			return -1;
	return 0;
}

static int commands(const struct request *r, long n)
{
	struct mempool_block blocks[64];
	uint64_t offsets[64];

	while (n--) {
		struct mempool_alloc a = { .size = r->size, .blocks = (uintptr_t)blocks,
					   .count = r->a };
		struct mempool_release f = { .offsets = (uintptr_t)offsets, .count = r->a };

		if (UNLIKELY(ioctl(device, MEMPOOL_IOC_ALLOC, &a) || a.done != r->a))
			return -1;
		for (long i = 0; i < r->a; i++)
			offsets[i] = blocks[i].offset;
		if (UNLIKELY(ioctl(device, MEMPOOL_IOC_RELEASE, &f) || f.done != r->a))
			return -1;
	}
	return 0;
}

/* @a: blocks in a command; 0: two commands that there are not */
static int test_ioctl(const struct request *r)
{
	if (device < 0)
		device = open(MEMPOOL_DEVICE_DEFAULT, O_RDWR);
	if (device < 0 || r->a > 64)
		return fail("no device");
	return measure(r, r->a ? commands : empty, r->a ? r->a : 1);
}

#endif

const struct test pool_tests[] = {
#if BENCH_POOL
	{ "overhead", test_overhead },
	{ "overhead-blocks", test_overhead_blocks },
	{ "coalesce", test_coalesce },
	{ "ioctl", test_ioctl },
#if BENCH_HAS_INLINE && BENCH_KNOWN_LAYOUT
	{ "statistics", test_statistics },
#endif
#endif
	{ NULL, NULL }
};
