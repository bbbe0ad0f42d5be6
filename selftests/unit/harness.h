/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A tiny harness for the unit tests of the core.
 *
 * TEST(name) { ... } is one claim. CHECK() ends it when it does not hold. A test
 * that leaves allocations of the core behind, or causes warnings that it does not
 * ask for, has failed. Output is TAP.
 *
 * Environment: UNIT_SEED=n runs random tests with that seed only; UNIT_ONLY=s
 * runs the tests whose name contains s; UNIT_FAIL_FAST=1 stops at the first failure.
 */
#ifndef UNIT_HARNESS_H
#define UNIT_HARNESS_H

#include "bucket.h"

#include <stdio.h>
#include <stdnoreturn.h>

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

void test_register(struct test *test);
noreturn void test_fail(const char *file, int line, const char *claim);
void test_note(const char *format, ...);

#define TEST(_name)							\
	static void _name(void);					\
	__attribute__((constructor)) static void _name##_register(void)	\
	{								\
		static struct test test = { .name = #_name, .run = _name };	\
		test_register(&test);					\
	}								\
	static void _name(void)

#define CHECK(claim)							\
	do {								\
		if (!(claim))						\
			test_fail(__FILE__, __LINE__, #claim);		\
	} while (0)

/* Random numbers; each random test runs once per seed. */
struct seeds {
	const unsigned long long *seed;
	size_t nr;
};

struct seeds test_seeds(void);
void random_seed(unsigned long long seed);
unsigned int random_below(unsigned int limit);
bool random_chance(unsigned int percent);

#define FOR_EACH_SEED(i)						\
	for (size_t i = 0; i < test_seeds().nr && (random_seed(test_seeds().seed[i]), 1); i++)

/* The core's memory. */
struct memory {
	unsigned long blocks;		/* allocations outstanding */
	unsigned long bytes;		/* their sum, rounded as kmalloc() does */
	unsigned long calls;		/* of mp_zalloc() so far */
};

extern struct memory memory;

/* The allocation after @nr more fails, once; a negative @nr: none does. */
void memory_fail_after(long nr);

/* Has the failure asked for taken place? Then none is pending any more. */
bool memory_failed(void);

/* Warnings of the core since the last call. */
unsigned int warnings(void);

#endif /* UNIT_HARNESS_H */
