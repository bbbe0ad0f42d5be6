// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * One thread: pairs and bursts of blocks of one size.
 */
#include <string.h>

#include "worker.h"

#define PAGE	4096
#define BURST	64

/*
 * One byte of each page. At a line that moves on: were it always the first, all
 * would fall into one set of the cache, and one would measure that.
 */
INLINE void touch(char *ptr, size_t size, unsigned int *line)
{
	size_t first = *line % PAGE;

	*line += 64;
	if (size < PAGE)
		first %= size;
	for (size_t i = first; i < size; i += PAGE)
		ptr[i] = 1;
}

static unsigned int line;

int pair(const struct request *r, long n)
{
	size_t size = r->size;

	while (n--) {
		void *ptr = take(size);

		if (UNLIKELY(!ptr))
			return -1;
		escape(ptr);
		if (UNLIKELY(give(ptr, size)))
			return -1;
	}
	return 0;
}

static int pair_touch(const struct request *r, long n)
{
	size_t size = r->size;

	while (n--) {
		void *ptr = take(size);

		if (UNLIKELY(!ptr))
			return -1;
		touch(ptr, size, &line);
		escape(ptr);
		if (UNLIKELY(give(ptr, size)))
			return -1;
	}
	return 0;
}

static int burst(const struct request *r, long n)
{
	void *ptr[BURST];

	while (n--) {
		if (UNLIKELY(take_many(r->size, ptr, BURST)))
			return -1;
		escape(ptr);
		if (UNLIKELY(give_many(r->size, ptr, BURST)))
			return -1;
	}
	return 0;
}

static int burst_touch(const struct request *r, long n)
{
	void *ptr[BURST];

	while (n--) {
		if (UNLIKELY(take_many(r->size, ptr, BURST)))
			return -1;
		for (int i = 0; i < BURST; i++)
			touch(ptr[i], r->size, &line);
		escape(ptr);
		if (UNLIKELY(give_many(r->size, ptr, BURST)))
			return -1;
	}
	return 0;
}

static int burst_write(const struct request *r, long n)
{
	void *ptr[BURST];

	while (n--) {
		if (UNLIKELY(take_many(r->size, ptr, BURST)))
			return -1;
		for (int i = 0; i < BURST; i++)
			memset(ptr[i], 1, r->size);
		escape(ptr);
		if (UNLIKELY(give_many(r->size, ptr, BURST)))
			return -1;
	}
	return 0;
}

static int test_pair(const struct request *r)
{
	return measure(r, pair, 1);
}

static int test_pair_touch(const struct request *r)
{
	return measure(r, pair_touch, 1);
}

static int test_burst(const struct request *r)
{
	return measure(r, burst, BURST);
}

static int test_burst_touch(const struct request *r)
{
	return measure(r, burst_touch, BURST);
}

static int test_burst_write(const struct request *r)
{
	return measure(r, burst_write, BURST);
}

/* The first of a process: without any warming up. */
static int test_first_burst(const struct request *r)
{
	double ns;

	if (r->a)
		contender_preallocate(r->size, BURST);
	ns = now();
	if (burst_touch(r, 1))
		return fail("wrong result");
	say("ns", (now() - ns) / BURST);
	return 0;
}

/* A pair while @a blocks are held. */
static int test_pair_live(const struct request *r)
{
	static long held;

	for (; held < r->a; held++) {
		char *ptr = take(r->size);

		if (!ptr)
			return fail("%ld blocks are all there are", held);
		*ptr = 1;
	}
	return measure(r, r->b ? burst : pair, r->b ? BURST : 1);
}

const struct test single_tests[] = {
	{ "pair", test_pair },
	{ "pair-touch", test_pair_touch },
	{ "burst", test_burst },
	{ "burst-touch", test_burst_touch },
	{ "burst-write", test_burst_write },
	{ "first-burst", test_first_burst },
	{ "pair-live", test_pair_live },
	{ NULL, NULL }
};
