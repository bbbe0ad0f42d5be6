/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The hot path of mempool_alloc() and mempool_release() for inlining.
 *
 * mempool_alloc_inline() and mempool_release_inline() do what the calls do, with
 * the same results, about twice as fast: most of the cost is the call itself.
 * The structures below are laid out by the library that runs; they are part of
 * its ABI under the version in the name of mempool_thread_1. Not to be touched.
 *
 * How it works. Each thread has a magazine of free blocks for each bucket that
 * it uses. To allocate is to take the topmost, to release to put one on top: no
 * lock, no atomic read-modify-write, no division, and the block itself is not
 * touched. One byte for each place where a block can begin tells its bucket
 * while it is out. Everything unusual falls out of a comparison into a call:
 * another pool than last time, an empty or full magazine, a pointer that is not
 * a block that is out (its byte leads to a magazine that is always empty and
 * always full), the first use of a fresh block and a new peak (both are
 * counted), and a forked child, in whose copy all of this reads as zero.
 */
#ifndef LIBMEMPOOL_INLINE_H
#define LIBMEMPOOL_INLINE_H

#include "libmempool.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Free blocks of one bucket: blocks lie below @top, those below @lim need the
 * slow path (there are none, they are fresh, or somebody wants them back), and
 * @end is where there is no more room. @allocs counts; @size is the bucket's.
 */
struct mempool_magazine {
	void **top;
	void **lim;
	void **end;
	uint64_t allocs;
	uint64_t size;
};

/*
 * One thread's cache of one pool. @base and @units are the mapping's, the unit
 * being 1 << @shift bytes; @ids has a byte for each unit, @buckets one for each
 * @nr_sizes classes of sizes; @room is what may be allocated before the peak.
 */
struct mempool_thread {
	struct mempool *pool;
	uintptr_t base;
	uintptr_t units;
	unsigned char *ids;
	const unsigned char *buckets;
	size_t nr_sizes;
	unsigned int shift;
	int64_t room;
	struct mempool_magazine magazines[256];
};

/* Of this thread; never NULL. The bit that says "free, in a cache". */
extern __thread struct mempool_thread *mempool_thread_1
	__attribute__((tls_model("initial-exec")));
#define MEMPOOL_ID_CACHED	0x80u

#define MEMPOOL_UNLIKELY(x)	__builtin_expect(!!(x), 0)

/* Where @ptr lies, in units; beyond all units when it is misaligned. */
static inline uintptr_t mempool_unit_of(const struct mempool_thread *t, const void *ptr)
{
	uintptr_t offset = (uintptr_t)ptr - t->base;

	return offset >> t->shift | offset << (-t->shift % (sizeof(offset) * 8));
}

/* NULL: only a call can tell. */
static inline void *mempool_try_alloc(struct mempool *pool, size_t size)
{
	struct mempool_thread *t = mempool_thread_1;
	size_t units = (size - 1) >> t->shift;
	struct mempool_magazine *m;
	unsigned char id;
	int64_t room;
	void **top;
	void *ptr;

	if (MEMPOOL_UNLIKELY(t->pool != pool || units >= t->nr_sizes))
		return NULL;
	id = __atomic_load_n(&t->buckets[units], __ATOMIC_RELAXED);
	m = &t->magazines[id];
	top = m->top;
	room = t->room - (int64_t)m->size;
	if (MEMPOOL_UNLIKELY(top <= __atomic_load_n(&m->lim, __ATOMIC_RELAXED) || room < 0))
		return NULL;
	ptr = top[-1];
	__atomic_store_n(&m->top, top - 1, __ATOMIC_RELAXED);
	__atomic_store_n(&m->allocs, m->allocs + 1, __ATOMIC_RELAXED);
	t->room = room;
	__atomic_store_n(&t->ids[((uintptr_t)ptr - t->base) >> t->shift], id, __ATOMIC_RELAXED);
	return ptr;
}

/* 0: only a call can tell. */
static inline int mempool_try_release(struct mempool *pool, void *ptr)
{
	struct mempool_thread *t = mempool_thread_1;
	uintptr_t unit = mempool_unit_of(t, ptr);
	struct mempool_magazine *m;
	unsigned char id;
	void **top;

	if (MEMPOOL_UNLIKELY(t->pool != pool || unit >= t->units))
		return 0;
	id = __atomic_load_n(&t->ids[unit], __ATOMIC_RELAXED);
	m = &t->magazines[id];
	top = m->top;
	if (MEMPOOL_UNLIKELY(top >= m->end))
		return 0;
	*top = ptr;
	__atomic_store_n(&m->top, top + 1, __ATOMIC_RELAXED);
	t->room += (int64_t)m->size;
	__atomic_store_n(&t->ids[unit], id | MEMPOOL_ID_CACHED, __ATOMIC_RELAXED);
	return 1;
}

/* mempool_alloc_inline() - as mempool_alloc() */
static inline void *mempool_alloc_inline(struct mempool *pool, size_t size)
{
	void *ptr = mempool_try_alloc(pool, size);

	return MEMPOOL_UNLIKELY(!ptr) ? mempool_alloc(pool, size) : ptr;
}

/* mempool_release_inline() - as mempool_release() */
static inline int mempool_release_inline(struct mempool *pool, void *ptr)
{
	return MEMPOOL_UNLIKELY(!mempool_try_release(pool, ptr)) ? mempool_release(pool, ptr) : 0;
}

#ifdef __cplusplus
}
#endif

#endif /* LIBMEMPOOL_INLINE_H */
