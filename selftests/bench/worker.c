// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A worker: see worker.h.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "worker.h"

static char answer[1000];

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

void say(const char *metric, double value)
{
	size_t len = strlen(answer);

	snprintf(answer + len, sizeof(answer) - len, " %s %.6g", metric, value);
}

int fail(const char *format, ...)
{
	va_list args;

	strcpy(answer, "fail ");
	va_start(args, format);
	vsnprintf(answer + 5, sizeof(answer) - 5, format, args);
	va_end(args);
	return -1;
}

static long faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt + u.ru_majflt;
}

/* Nanoseconds for @n turns, or -1. */
static double timed(const struct request *r, loop_t loop, long n)
{
	double ns = now();

	return loop(r, n) ? -1 : now() - ns;
}

/*
 * How many turns take about @r->ms, found by turning, which warms everything up:
 * more turns until they take half as long, then again until for IDLE runs it has
 * not got faster. 0: a wrong result.
 */
static double calibrate(const struct request *r, loop_t loop)
{
	enum { IDLE = 5, MOST = 500 };
	double turns = 1, best = 1e18, ns;
	int runs, idle = 0;

	for (runs = 0; runs < MOST && idle < IDLE; runs++) {
		ns = timed(r, loop, turns);
		if (ns < 0)
			return 0;
		idle = ns / turns < best * 0.9 ? 0 : idle + 1;
		if (ns / turns < best)
			best = ns / turns;
		if (ns < r->ms * 0.5e6) {
			turns *= 2;
			idle = 0;
		}
	}
	turns = r->ms * 1e6 / best;
	return turns < 1 ? 1 : turns;
}

int measure(const struct request *r, loop_t loop, double unit)
{
	static char last[200];
	static double turns;
	char this[200];
	long n, before;
	double ns;

	snprintf(this, sizeof(this), "%s %zu %ld %ld", r->test, r->size, r->a, r->b);
	if (strcmp(this, last)) {
		strcpy(last, this);
		turns = calibrate(r, loop);
	}
	n = turns;
	before = faults();
	ns = n ? timed(r, loop, n) : -1;
	if (ns < 0)
		return fail("wrong result");
	say("ns", ns / n / unit);
	say("faults", (faults() - before) / (double)n / unit);
	return 0;
}

/* 64 blocks at a time are whole, apart from each other and can be given back. */
static int verify(const struct request *r)
{
	enum { NR = 64 };
	static char *ptr[NR];
	int i;

	for (i = 0; i < NR; i++) {
		ptr[i] = take(r->size);
		if (!ptr[i])
			return fail("no block %d of %zu bytes", i, r->size);
		*(int *)ptr[i] = i;
		ptr[i][r->size - 1] = i;
	}
	for (i = 0; i < NR && !BENCH_NULL; i++)
		if (*(int *)ptr[i] != i || ptr[i][r->size - 1] != i)
			return fail("block %d of %zu bytes is another's too", i, r->size);
	for (i = 0; i < NR; i++)
		if (give(ptr[i], r->size))
			return fail("block %d of %zu bytes is refused", i, r->size);
	return 0;
}

static const struct test *find(const struct test *t, const char *name)
{
	while (t->name && strcmp(t->name, name))
		t++;
	return t->name ? t : NULL;
}

static void serve(const struct request *r)
{
	static const struct test own[] = { { "verify", verify }, { NULL, NULL } };
	const struct test *const lists[] = { own, single_tests, random_tests, thread_tests,
		block_tests, pool_tests, system_tests };
	const struct test *t = NULL;
	size_t i;

	for (i = 0; i < sizeof(lists) / sizeof(*lists) && !t; i++)
		t = find(lists[i], r->test);
	strcpy(answer, "ok");
	if (!t)
		strcpy(answer, "none");
	else if (t->run(r) && !strncmp(answer, "ok", 2))
		fail("no reason given");
	puts(answer);
	fflush(stdout);
}

int main(void)
{
	char line[200], test[50];
	struct request r = { .test = test };

	contender_open();
	printf("ready %s\n", contender_name());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%49s %zu %ld %ld %lf", test, &r.size, &r.a, &r.b, &r.ms) != 5)
			return 2;
		serve(&r);
	}
	return 0;
}
