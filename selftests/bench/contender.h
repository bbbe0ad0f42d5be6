/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What is compared. The worker is built once for each kind of contender, with
 * one of BENCH_MALLOC (whatever malloc is loaded), BENCH_CALL, BENCH_INLINE and
 * BENCH_BULK (this project's library), BENCH_MMAP, BENCH_MEMFD, BENCH_UDMABUF,
 * BENCH_HEAP, BENCH_RTE and BENCH_NULL (the loop alone) defined to 1.
 *
 * take() and give() are inlined into the loops, so that each contender is called
 * as its user would call it. Every result is checked, in every loop: a contender
 * that runs out of memory is fast.
 */
#ifndef BENCH_CONTENDER_H
#define BENCH_CONTENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef BENCH_MALLOC
#define BENCH_MALLOC	0
#endif
#ifndef BENCH_CALL
#define BENCH_CALL	0
#endif
#ifndef BENCH_INLINE
#define BENCH_INLINE	0
#endif
#ifndef BENCH_BULK
#define BENCH_BULK	0
#endif
#ifndef BENCH_MMAP
#define BENCH_MMAP	0
#endif
#ifndef BENCH_MEMFD
#define BENCH_MEMFD	0
#endif
#ifndef BENCH_UDMABUF
#define BENCH_UDMABUF	0
#endif
#ifndef BENCH_HEAP
#define BENCH_HEAP	0
#endif
#ifndef BENCH_RTE
#define BENCH_RTE	0
#endif
#ifndef BENCH_NULL
#define BENCH_NULL	0
#endif

#define UNLIKELY(x)	__builtin_expect(!!(x), 0)
#define INLINE		static inline __attribute__((always_inline))
#define BENCH_POOL	(BENCH_CALL || BENCH_INLINE || BENCH_BULK)

#if BENCH_POOL
#include "libmempool.h"
#if __has_include("libmempool_inline.h")
#include "libmempool_inline.h"
#define BENCH_HAS_INLINE 1
#endif

extern struct mempool *bench_pool;
#endif

#if BENCH_NULL
void *null_take(size_t size);
int null_give(void *ptr);
#endif

/* contender.c */
void contender_open(void);
const char *contender_name(void);
void contender_preallocate(size_t size, unsigned int count);
void *slow_take(size_t size);
int slow_give(void *ptr, size_t size);

INLINE void *take(size_t size)
{
#if BENCH_INLINE && BENCH_HAS_INLINE
	return mempool_alloc_inline(bench_pool, size);
#elif BENCH_POOL
	return mempool_alloc(bench_pool, size);
#elif BENCH_NULL
	return null_take(size);
#elif BENCH_MALLOC
	return malloc(size);
#else
	return slow_take(size);
#endif
}

/* 0 if it is well. */
INLINE int give(void *ptr, size_t size)
{
	(void)size;
#if BENCH_INLINE && BENCH_HAS_INLINE
	return mempool_release_inline(bench_pool, ptr);
#elif BENCH_POOL
	return mempool_release(bench_pool, ptr);
#elif BENCH_NULL
	return null_give(ptr);
#elif BENCH_MALLOC
	free(ptr);
	return 0;
#else
	return slow_give(ptr, size);
#endif
}

INLINE int take_many(size_t size, void **ptrs, unsigned int count)
{
#if BENCH_BULK
	return mempool_alloc_bulk(bench_pool, size, ptrs, count);
#else
	for (unsigned int i = 0; i < count; i++) {
		ptrs[i] = take(size);
		if (UNLIKELY(!ptrs[i]))
			return -1;
	}
	return 0;
#endif
}

INLINE int give_many(size_t size, void **ptrs, unsigned int count)
{
#if BENCH_BULK
	(void)size;
	return mempool_release_bulk(bench_pool, ptrs, count);
#else
	int bad = 0;

	for (unsigned int i = 0; i < count; i++)
		bad |= give(ptrs[i], size);
	return bad;
#endif
}

/* The compiler must not drop an allocation that nobody uses. */
INLINE void escape(void *ptr)
{
	__asm__ volatile("" : : "g"(ptr) : "memory");
}

#endif /* BENCH_CONTENDER_H */
