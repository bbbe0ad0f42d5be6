// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Blocks and the machine: reads over much memory, latency when memory is scarce,
 * what zeroing costs.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "worker.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

/* Percent of this process' memory that is mapped in huge pages. */
static double huge_percent(void)
{
	double kib, huge = 0, rss = 1;
	char line[200];
	FILE *f = fopen("/proc/self/smaps_rollup", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Rss: %lf", &kib) == 1)
			rss = kib;
		if (sscanf(line, "AnonHugePages: %lf", &kib) == 1 ||
		    sscanf(line, "ShmemPmdMapped: %lf", &kib) == 1)
			huge += kib;
	}
	if (f)
		fclose(f);
	return 100 * huge / rss;
}

static char **area;
static long nr_area;

/* Each read's place depends on what was read before. */
static int chase(const struct request *r, long n)
{
	unsigned long per = r->size / 64, x = 1, sum = 0;

	while (n--) {
		x = x * 6364136223846793005ul + 1442695040888963407ul + sum;
		sum = *(unsigned long *)&area[(x >> 33) % nr_area][(x >> 20) % per * 64];
	}
	return sum ? -1 : 0;	/* all is zero */
}

/* Random reads over @a MiB in blocks of @size. */
static int test_access(const struct request *r)
{
	if (!area) {
		nr_area = (r->a << 20) / r->size;
		area = calloc(nr_area, sizeof(*area));
		for (long i = 0; i < nr_area; i++) {
			area[i] = take(r->size);
			if (!area[i])
				return fail("no block %ld", i);
			memset(area[i], 0, r->size);
		}
	}
	say("huge-percent", huge_percent());
	return measure(r, chase, 1);
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/*
 * Quantiles are to say what the allocator and the memory do: other programs do not get
 * the processor from this one, where it may ask for that. (All contenders do.)
 */
static void undisturbed(bool on)
{
	struct sched_param param = { .sched_priority = on };

	sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &param);
}

static void say_quantiles(float *ns, long nr)
{
	qsort(ns, nr, sizeof(*ns), compare);
	say("p50", ns[nr / 2]);
	say("p99", ns[nr * 99 / 100]);
	say("p99.9", ns[nr * 999 / 1000]);
	say("p99.99", ns[nr * 9999 / 10000]);
	say("max", ns[nr - 1]);
}

/*
 * @a times a block is taken, touched for the first time and given back 64 later:
 * quantiles of the time of the first two. Blocks of several sizes, as every
 * program has them.
 */
static int test_tail(const struct request *r)
{
	static const size_t factor[] = { 1, 4, 2, 8 };
	static struct {
		char *ptr;
		size_t size;
	} held[64];
	static unsigned int line;
	float *ns = malloc(r->a * sizeof(*ns));

	if (!ns)
		return fail("no memory");
	memset(ns, 0, r->a * sizeof(*ns));
	memset(held, 0, sizeof(held));
	undisturbed(true);
	for (long i = 0; i < r->a; i++) {
		size_t size = r->size * factor[i % 4];
		double t;

		if (held[i % 64].ptr && give(held[i % 64].ptr, held[i % 64].size))
			return fail("a block is refused");
		t = now();
		held[i % 64].ptr = take(size);
		held[i % 64].size = size;
		if (!held[i % 64].ptr)
			return fail("no block %ld", i);
		for (size_t at = line % 4096; at < size; at += 4096)
			held[i % 64].ptr[at] = 1;
		ns[i] = now() - t;
		line += 64;
	}
	undisturbed(false);
	for (int i = 0; i < 64; i++)
		if (held[i].ptr)
			give(held[i].ptr, held[i].size);
	say_quantiles(ns, r->a);
	free(ns);
	return 0;
}

/*
 * The same for memory that the program has not had before: its live memory grows
 * by @a MiB, block by block. A process does that once.
 */
static int test_tail_growth(const struct request *r)
{
	long nr = (r->a << 20) / r->size, i;
	float *ns = malloc(nr * sizeof(*ns));
	char *ptr;
	double t;

	if (!ns)
		return fail("no memory");
	memset(ns, 0, nr * sizeof(*ns));
	contender_preallocate(r->size, nr);
	undisturbed(true);
	for (i = 0; i < nr; i++) {
		t = now();
		ptr = take(r->size);
		if (!ptr)
			return fail("no block %ld", i);
		for (size_t at = i * 64 % 4096; at < r->size; at += 4096)
			ptr[at] = 1;
		ns[i] = now() - t;
	}
	undisturbed(false);
	say_quantiles(ns, nr);
	return 0;
}

/* Have @mib MiB of memory zeroed by the kernel. */
static int zero(long mib)
{
	size_t len = (size_t)mib << 20;
	void *ptr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double ns = now();

	if (ptr == MAP_FAILED)
		return fail("no memory");
	madvise(ptr, len, MADV_HUGEPAGE);
	if (madvise(ptr, len, MADV_POPULATE_WRITE))
		return fail("not populated: %s", strerror(errno));
	say("ns", now() - ns);
	return munmap(ptr, len);
}

/* Load the module with @mib MiB, and unload it. */
static int load(long mib)
{
	char parameter[50];
	double ns = now();
	int fd = open(getenv("MEMPOOL_KO"), O_RDONLY | O_CLOEXEC);

	snprintf(parameter, sizeof(parameter), "reserve=%ldM", mib);
	if (fd < 0 || syscall(SYS_finit_module, fd, parameter, 0))
		return fail("not loaded: %s", strerror(errno));
	say("ns", now() - ns);
	close(fd);
	if (syscall(SYS_delete_module, "mempool", O_NONBLOCK))
		return fail("not unloaded: %s", strerror(errno));
	return 0;
}

/* The kernel's part of having @a MiB: BENCH_MODULE: by loading the module. */
static int test_load(const struct request *r)
{
	return getenv("BENCH_MODULE") ? load(r->a) : zero(r->a);
}

const struct test system_tests[] = {
	{ "access", test_access },
	{ "tail", test_tail },
	{ "tail-growth", test_tail_growth },
	{ "load", test_load },
	{ NULL, NULL }
};
