// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * fit - nonlinear regression whose working arrays come from a memory pool
 *
 * An optimisation loop is the classic case for a pool with buckets: model, data
 * and size change from call to call, every iteration wants a handful of arrays,
 * and none of them lives long. With a pool each array is memory that was used a
 * moment ago: no page fault, no zeroing.
 *
 * The work is real and its results are known: the Statistical Reference Datasets
 * of NIST, with parameters certified to 11 digits (nist_data.c). The solver is
 * in lm.c. fit checks
 * - that each fit reaches the certified parameters to at least 6 digits, and the
 *   certified residual sum of squares;
 * - that at least 90 % of the pool's allocations reuse memory;
 * - that in the steady state not one page fault is taken.
 * The same loop then runs on malloc, for comparison. Exit status: 0 when every
 * promise was kept, 1 when one was broken, 2 for errors.
 */
#include <errno.h>
#include <float.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <libmempool.h>

#include "lm.h"
#include "nist.h"

#define DIGITS_PROMISED		6.0
#define REUSE_PROMISED		0.90

/*
 * A set's data repeated some times has the same parameters, so sizes can vary:
 * so many copies in turn, and many of one set, for arrays of the largest tier.
 */
static const unsigned int copies[] = { 1, 3, 2 };
#define COPIES (sizeof(copies) / sizeof(copies[0]))
#define LARGE_SET	"Hahn1"
#define LARGE_COPIES	12

static unsigned int broken;	/* promises, so far */

static void __attribute__((format(printf, 1, 2))) broke(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "fit: BROKEN: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	broken++;
}

static void __attribute__((noreturn)) die(const char *what, int error)
{
	fprintf(stderr, "fit: %s: %s\n", what, strerror(error));
	exit(2);
}

/* ---- the two sources of memory ---- */

static void *pool_alloc(void *pool, size_t size)
{
	return mempool_alloc(pool, size);
}

static void pool_release(void *pool, void *ptr)
{
	int err = mempool_release(pool, ptr);

	if (err)
		broke("mempool_release: %s", strerror(-err));
}

static void *plain_alloc(void *unused, size_t size)
{
	(void)unused;
	return malloc(size);
}

static void plain_release(void *unused, void *ptr)
{
	(void)unused;
	free(ptr);
}

/* ---- one fit ---- */

struct fit {
	double digits;			/* of the worst parameter */
	double rss_error;		/* in units of what is allowed */
	unsigned int iterations;
	int error;
};

/* @times copies of the set's rows, as the solver wants them. */
static void load(const struct nist_set *set, unsigned int times, double *x, double *y)
{
	for (unsigned int t = 0; t < times; t++) {
		const double *row = set->data;

		for (unsigned int i = 0; i < set->observations; i++) {
			*y++ = set->log_response ? log(row[0]) : row[0];
			for (unsigned int v = 1; v <= set->variables; v++)
				*x++ = row[v];
			row += 1 + set->variables;
		}
	}
}

/* Correct digits of the parameter that has the fewest. */
static double digits(const struct nist_set *set, const double *b)
{
	double worst = DBL_DIG;

	for (unsigned int j = 0; j < set->parameters; j++) {
		double error = fabs(b[j] - set->certified[j]) / fabs(set->certified[j]);

		worst = fmin(worst, -log10(error));
	}
	return isnan(worst) ? -INFINITY : fmax(worst, 0);
}

/*
 * How far the sum of squares is off, 1 being the limit: its 6th digit. One set
 * (Lanczos1) has residuals so small that double precision cannot hold 6 digits
 * of them; there it is what an error of one unit in the last place of each y
 * and each value of the model adds up to.
 */
static double rss_error(const struct nist_set *set, const double *y, double rss)
{
	double largest = 0;

	for (unsigned int i = 0; i < set->observations; i++)
		largest = fmax(largest, fabs(y[i]));
	return fabs(rss - set->certified_rss) /
	       (1e-6 * set->certified_rss +
		2 * sqrt(set->observations * set->certified_rss) * 2 * DBL_EPSILON * largest);
}

static struct fit run_fit(const struct nist_set *set, unsigned int start, unsigned int times,
			  const struct lm_memory *memory)
{
	size_t rows = (size_t)set->observations * times;
	double *x = memory->alloc(memory->pool, rows * set->variables * sizeof(*x));
	double *y = memory->alloc(memory->pool, rows * sizeof(*y));
	double b[NIST_MAX_PARAMETERS];
	struct fit fit = { 0 };

	if (x && y) {
		const struct lm_problem problem = {
			.model = set->model, .x = x, .y = y, .observations = rows,
			.variables = set->variables, .parameters = set->parameters,
		};
		struct lm_result result = { 0 };

		load(set, times, x, y);
		memcpy(b, set->start[start], sizeof(b));
		fit.error = lm_fit(&problem, b, &result, memory);
		fit.digits = digits(set, b);
		fit.rss_error = rss_error(set, y, result.rss / times);
		fit.iterations = result.iterations;
	} else {
		fit.error = -errno;
	}
	if (y)
		memory->release(memory->pool, y);
	if (x)
		memory->release(memory->pool, x);
	return fit;
}

static bool certified(const struct fit *fit)
{
	return !fit->error && fit->digits >= DIGITS_PROMISED && fit->rss_error <= 1;
}

static void check_fit(const struct nist_set *set, unsigned int start, const struct fit *fit)
{
	if (fit->error && fit->error != -ERANGE && fit->error != -EDOM)
		die(set->name, -fit->error);
	if (!certified(fit))
		broke("%s from start %u: %.1f digits, sum of squares off by %.3g of what is allowed%s",
		      set->name, start + 1, fit->digits, fit->rss_error,
		      fit->error ? ", not at rest" : "");
}

/* ---- every set from both of NIST's starting points ---- */

static void certify(const struct lm_memory *memory)
{
	unsigned int promised = 0;

	printf("%-9s %5s %5s   %-24s%s\n", "set", "rows", "param", "start 1 (far)",
	       "start 2 (near)");
	for (unsigned int s = 0; s < nist_set_count; s++) {
		const struct nist_set *set = &nist_sets[s];

		printf("%-9s %5u %5u", set->name, set->observations, set->parameters);
		for (unsigned int start = 0; start < 2; start++) {
			struct fit fit = run_fit(set, start, 1, memory);

			if (start == 0 && set->start1_fails && !certified(&fit)) {
				printf("   %-21s", "another valley");
				continue;
			}
			printf("   %4.1f digits, %4u it", fit.digits, fit.iterations);
			check_fit(set, start, &fit);
			promised++;
		}
		printf("\n");
		fflush(stdout);
	}
	printf("%u fits of %u sets: certified parameters to at least %.0f digits: %s\n\n",
	       promised, nist_set_count, DIGITS_PROMISED, broken ? "NO" : "yes");
}

/* ---- the steady state ---- */

struct cost {
	long faults;
	double seconds;
	unsigned int fits;
};

static long faults_so_far(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		die("getrusage", errno);
	return usage.ru_minflt + usage.ru_majflt;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void checked_fit(const struct nist_set *set, unsigned int times,
			const struct lm_memory *memory)
{
	struct fit fit = run_fit(set, 1, times, memory);

	check_fit(set, 1, &fit);
}

/* Every set in every size once; no two calls in a row are of one size. */
static unsigned int cycle(const struct lm_memory *memory)
{
	unsigned int fits = 0;

	for (unsigned int turn = 0; turn < COPIES; turn++) {
		for (unsigned int s = 0; s < nist_set_count; s++, fits++)
			checked_fit(&nist_sets[s], copies[(turn + s) % COPIES], memory);
	}
	for (unsigned int s = 0; s < nist_set_count; s++) {
		if (!strcmp(nist_sets[s].name, LARGE_SET)) {
			checked_fit(&nist_sets[s], LARGE_COPIES, memory);
			fits++;
		}
	}
	return fits;
}

/* @cycles of them after one to warm up; nothing is printed meanwhile. */
static struct cost steady_state(const struct lm_memory *memory, unsigned int cycles)
{
	struct cost cost = { 0 };
	double start;
	long faults;

	cycle(memory);
	start = now();
	faults = faults_so_far();
	for (unsigned int i = 0; i < cycles; i++)
		cost.fits += cycle(memory);
	cost.faults = faults_so_far() - faults;
	cost.seconds = now() - start;
	return cost;
}

static void compare(struct mempool *pool, const struct cost *pooled, const struct cost *plain)
{
	struct mempool_stats stats;
	int err = mempool_flush(pool);

	if (!err)
		err = mempool_get_stats(pool, &stats, sizeof(stats));
	if (err)
		die("statistics of the pool", -err);

	printf("steady state: %u fits of changing size, after a cycle of them to warm up\n",
	       pooled->fits);
	printf("%-32s %12s %12s\n", "", "memory pool", "malloc");
	printf("%-32s %12ld %12ld\n", "page faults in the steady state", pooled->faults,
	       plain->faults);
	printf("%-32s %12.2f %12.2f\n", "seconds", pooled->seconds, plain->seconds);
	printf("%-32s %12llu\n", "allocations, whole run",
	       (unsigned long long)stats.total_allocations);
	printf("%-32s %10.2f %%\n", "reuse rate, whole run", 100 * stats.reuse_rate);
	printf("%-32s %12llu\n", "peak bytes held",
	       (unsigned long long)stats.peak_bytes);
	printf("%-32s %12llu\n", "peak bytes of slabs",
	       (unsigned long long)stats.peak_footprint_bytes);
	printf("%-32s %12llu\n", "bytes taken from the reserve",
	       (unsigned long long)stats.owned_bytes);

	if (pooled->faults)
		broke("%ld page faults in the steady state", pooled->faults);
	if (stats.reuse_rate < REUSE_PROMISED)
		broke("reuse rate %.1f %%, below %.0f %%", 100 * stats.reuse_rate,
		      100 * REUSE_PROMISED);
	if (stats.currently_allocated || stats.bad_releases)
		broke("%llu blocks still held, %llu releases refused",
		      (unsigned long long)stats.currently_allocated,
		      (unsigned long long)stats.bad_releases);
}

static void usage(FILE *to)
{
	fputs("usage: fit [-d DEVICE] [-r CYCLES]\n"
	      "Nonlinear regression on NIST's reference datasets, with working arrays from\n"
	      "a memory pool and, for comparison, from malloc.\n"
	      "  -d, --device=DEVICE   device node (default: $MEMPOOL_DEVICE, then\n"
	      "                        " MEMPOOL_DEVICE_DEFAULT ")\n"
	      "  -r, --repeats=CYCLES  cycles measured in the steady state (default 1)\n"
	      "  -h, --help            this text\n", to);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "repeats", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct lm_memory from_pool = { pool_alloc, pool_release, NULL };
	const struct lm_memory from_malloc = { plain_alloc, plain_release, NULL };
	struct cost pooled, plain;
	struct mempool *pool;
	long cycles = 1;
	char *end;
	int c, err;

	while ((c = getopt_long(argc, argv, "d:r:h", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			opts.device = optarg;
			break;
		case 'r':
			cycles = strtol(optarg, &end, 10);
			if (*end || end == optarg || cycles < 1 || cycles > 100000) {
				fprintf(stderr, "fit: --repeats wants 1 to 100000\n");
				return 2;
			}
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}

	err = mempool_open(&pool, &opts);
	if (err)
		die(opts.device ? opts.device : "mempool_open", -err);
	from_pool.pool = pool;

	certify(&from_pool);
	pooled = steady_state(&from_pool, cycles);
	plain = steady_state(&from_malloc, cycles);
	compare(pool, &pooled, &plain);
	mempool_close(pool);

	if (broken)
		printf("fit: %u promises broken\n", broken);
	else
		printf("fit: every promise kept\n");
	return broken ? 1 : 0;
}
