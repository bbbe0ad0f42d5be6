// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A load of random sizes and lifetimes: 2000 steps, half of them allocations,
 * half of them releases of any of the live blocks. The steps are worked out
 * before, so that only the allocator is timed.
 */
#include <string.h>

#include "worker.h"

#define STEPS	2000

/* @size 0: release what is in @slot. */
struct step {
	unsigned int slot;
	size_t size;
};

static struct step steps[2 * STEPS];	/* at the end all are released */
static unsigned int nr_steps, nr_allocations;

static void make_steps(size_t largest)
{
	unsigned int live[STEPS], nr = 0, slots = 0, i;
	struct lcg g = { 1 };

	nr_steps = nr_allocations = 0;
	for (i = 0; i < STEPS; i++) {
		struct step *s = &steps[nr_steps++];

		if (lcg_next(&g) % 100 < 50 || !nr) {
			uint32_t hi = lcg_next(&g), lo = lcg_next(&g);

			s->size = 1 + (hi * 32768ull + lo) % largest;
			s->slot = live[nr++] = slots++;
			nr_allocations++;
		} else {
			unsigned int victim = lcg_next(&g) % nr;

			s->size = 0;
			s->slot = live[victim];
			memmove(&live[victim], &live[victim + 1], (--nr - victim) * sizeof(*live));
		}
	}
	while (nr)
		steps[nr_steps++] = (struct step){ live[--nr], 0 };
}

static int replay(unsigned int nr)
{
	static struct {
		void *ptr;
		size_t size;
	} held[STEPS];

	for (unsigned int i = 0; i < nr; i++) {
		unsigned int slot = steps[i].slot;

		if (steps[i].size) {
			held[slot].size = steps[i].size;
			held[slot].ptr = take(steps[i].size);
			if (UNLIKELY(!held[slot].ptr))
				return -1;
			*(char *)held[slot].ptr = 1;
		} else if (UNLIKELY(give(held[slot].ptr, held[slot].size))) {
			return -1;
		}
	}
	return 0;
}

static int loop(const struct request *r, long n)
{
	(void)r;
	while (n--)
		if (replay(nr_steps))
			return -1;
	return 0;
}

static int test_random(const struct request *r)
{
	make_steps(r->size);
	return measure(r, loop, nr_steps);
}

#if BENCH_POOL

/*
 * How much of this load is reuse with the same classes and the same limit for
 * each, when nothing but the counts are kept.
 */
static unsigned int simulate(unsigned int max_cached)
{
	static struct {
		size_t bucket;
		unsigned int free;
	} classes[STEPS], *c;
	static size_t bucket_of[STEPS];
	unsigned int reused = 0, i;

	memset(classes, 0, sizeof(classes));
	for (i = 0; i < STEPS; i++) {
		if (steps[i].size)
			bucket_of[steps[i].slot] = mempool_round_to_bucket(bench_pool, steps[i].size);
		for (c = classes; c->bucket && c->bucket != bucket_of[steps[i].slot]; c++)
			;
		c->bucket = bucket_of[steps[i].slot];
		if (!steps[i].size) {
			c->free += c->free < max_cached;
		} else if (c->free) {
			c->free--;
			reused++;
		}
	}
	return reused;
}

/* Once from a fresh pool, without the releases at the end. @a: max_cached */
static int test_reuse(const struct request *r)
{
	struct mempool_stats s;

	make_steps(r->size);
	if (replay(STEPS))
		return fail("wrong result");
	mempool_flush(bench_pool);
	if (mempool_get_stats(bench_pool, &s, sizeof(s)))
		return fail("no statistics");
	if (s.total_allocations != nr_allocations)
		return fail("%llu allocations counted, %u made",
			    (unsigned long long)s.total_allocations, nr_allocations);
	say("reuse-percent", 100 * s.reuse_rate);
	say("simulated-percent", 100.0 * simulate(r->a) / nr_allocations);
	say("peak-footprint", s.peak_footprint_bytes);
	return 0;
}

#endif

const struct test random_tests[] = {
	{ "random", test_random },
#if BENCH_POOL
	{ "reuse", test_reuse },
#endif
	{ NULL, NULL }
};
