// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Two functions that do nothing, in a shared library: what the loops cost with
 * no allocator in them. All blocks are the same.
 */
#define BENCH_NULL	1
#include "contender.h"

static char block[16 << 20] __attribute__((aligned(4096)));

__attribute__((noinline)) void *null_take(size_t size)
{
	return size <= sizeof(block) ? block : NULL;
}

__attribute__((noinline)) int null_give(void *ptr)
{
	return !ptr;
}
