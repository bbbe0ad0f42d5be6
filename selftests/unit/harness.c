// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The harness: see harness.h.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>

struct memory memory;

static struct test *tests;
static struct test **last = &tests;
static jmp_buf end_of_test;
static unsigned long long state;
static long fail_after = -1;
static bool failed;
static unsigned int warned;

/* In front of each allocation, at the size that malloc() aligns to. */
struct header {
	size_t size;
	size_t magic;
};

#define MAGIC	0x6d656d706f6f6c21ull

void test_register(struct test *test)
{
	*last = test;
	last = &test->next;
}

void test_fail(const char *file, int line, const char *claim)
{
	printf("# %s:%d: %s\n", file, line, claim);
	longjmp(end_of_test, 1);
}

void test_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

struct seeds test_seeds(void)
{
	static const unsigned long long fixed[] = { 1, 2, 3, 20, 1729, 0x9e3779b97f4a7c15 };
	static unsigned long long given;
	const char *seed = getenv("UNIT_SEED");

	if (!seed)
		return (struct seeds){ fixed, ARRAY_SIZE(fixed) };
	given = strtoull(seed, NULL, 0);
	return (struct seeds){ &given, 1 };
}

void random_seed(unsigned long long seed)
{
	test_note("seed %llu", seed);
	state = seed;
}

/* splitmix64 */
unsigned int random_below(unsigned int limit)
{
	unsigned long long z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % limit;
}

bool random_chance(unsigned int percent)
{
	return random_below(100) < percent;
}

/* What kmalloc() or, from two pages up, vmalloc() takes for @size bytes. */
static size_t kernel_size(size_t size)
{
	size_t round = 8;

	if (size > 2 * MP_PAGE_SIZE)
		return ALIGN(size, MP_PAGE_SIZE);
	if (size > 64 && size <= 96)
		return 96;
	if (size > 128 && size <= 192)
		return 192;
	while (round < size)
		round *= 2;
	return round;
}

void *mp_zalloc(size_t size)
{
	struct header *header;

	memory.calls++;
	if (fail_after >= 0 && !fail_after--) {
		failed = true;
		return NULL;
	}
	header = calloc(1, sizeof(*header) + size);
	if (!header)
		abort();
	header->size = size;
	header->magic = MAGIC;
	memory.blocks++;
	memory.bytes += kernel_size(size);
	return header + 1;
}

void mp_free(void *p)
{
	struct header *header = p;

	if (!p)
		return;
	header--;
	if (header->magic != MAGIC)
		abort();
	header->magic = 0;
	memory.blocks--;
	memory.bytes -= kernel_size(header->size);
	free(header);
}

void memory_fail_after(long nr)
{
	fail_after = nr;
	failed = false;
}

bool memory_failed(void)
{
	bool was = failed;

	memory_fail_after(-1);
	return was;
}

void mp_warn(void)
{
	warned++;
}

unsigned int warnings(void)
{
	unsigned int nr = warned;

	warned = 0;
	return nr;
}

static bool run(const struct test *test)
{
	memory = (struct memory){ 0 };
	memory_fail_after(-1);
	warnings();
	if (setjmp(end_of_test))
		return false;
	test->run();
	if (memory.blocks)
		test_note("%lu allocations left behind", memory.blocks);
	if (warned)
		test_note("%u warnings", warned);
	return !memory.blocks && !warned;
}

int main(void)
{
	const char *only = getenv("UNIT_ONLY");
	unsigned int nr = 0, bad = 0;
	const struct test *test;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	for (test = tests; test; test = test->next) {
		bool ok;

		if (only && !strstr(test->name, only))
			continue;
		ok = run(test);
		bad += !ok;
		printf("%sok %u %s\n", ok ? "" : "not ", ++nr, test->name);
		if (bad && getenv("UNIT_FAIL_FAST"))
			break;
	}
	printf("1..%u\n", nr);
	return bad || !nr;
}
