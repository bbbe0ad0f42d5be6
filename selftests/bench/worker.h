/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A worker is one contender in a process of its own. It reads requests
 *
 *	TEST SIZE A B MILLISECONDS
 *
 * and answers each with one line: "ok METRIC VALUE METRIC VALUE ...", "none"
 * when it has no such test, or "fail WHY".
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include "contender.h"

/**
 * struct request - one test
 * @size: of blocks, bytes
 * @a, @b: the test's own
 * @ms: how long a sample is to last
 */
struct request {
	const char *test;
	size_t size;
	long a, b;
	double ms;
};

/* A loop of @n operations. 0, or -1 when a result was wrong. */
typedef int (*loop_t)(const struct request *r, long n);

double now(void);	/* nanoseconds */
void say(const char *metric, double value);
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Time @loop for about @r->ms and say "ns" (for one operation) and "faults" (page
 * faults per operation). @unit: operations that one turn of the loop counts for.
 */
int measure(const struct request *r, loop_t loop, double unit);

/* A loop: @n times a block of @r->size taken and given back. */
int pair(const struct request *r, long n);

struct test {
	const char *name;
	int (*run)(const struct request *r);
};

extern const struct test single_tests[], random_tests[], thread_tests[], block_tests[],
	pool_tests[], system_tests[];

struct lcg {
	uint32_t x;
};

static inline uint32_t lcg_next(struct lcg *g)
{
	g->x = (g->x * 1103515245u + 12345) & 0x7fffffff;
	return g->x >> 16;
}

#endif /* BENCH_WORKER_H */
