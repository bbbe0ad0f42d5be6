/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The hot path of allocation and release, for inlining.
 *
 * mempool_alloc_inline(), mempool_release_inline(), mempool_get_blocks_inline()
 * and mempool_return_blocks_inline() do what the calls do, with the same results,
 * about twice as fast: most of the cost is the call itself. The structures below
 * are laid out by the library that runs; they are part of its ABI under the
 * version in the name of mempool_thread_1. Not to be touched. Those for block pools
 * are in libmempool_inline_blocks.h.
 *
 * How it works. Each thread has a magazine of free blocks for each bucket and for
 * each block pool with a cache that it uses. To allocate is to take the topmost,
 * to release to put one on top: no lock, no atomic read-modify-write, no
 * division, and the block itself is not touched. Two bytes for each place where
 * a block can begin tell its bucket and whether it is out, one byte the same of
 * each block of a block pool. Everything unusual falls out of a
 * comparison into a call: another pool than last time, an empty or full
 * magazine, what is not a block that this thread took, the first use of a fresh
 * block and a new peak (both are counted), and a forked child, in whose copy all
 * of this reads as zero.
 *
 * The bucket of a place is not written on the way, only whether it is out: a
 * release that read what the allocation has just written would have to wait for
 * it before it knew the magazine.
 */
#ifndef LIBMEMPOOL_INLINE_H
#define LIBMEMPOOL_INLINE_H

#include "libmempool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Ids of buckets are below 128; those above are block pools'. */
#define MEMPOOL_NR_MAGAZINES	192
/* Sizes and places are told apart by units of 1 KiB; of other pools, by a call. */
#define MEMPOOL_UNIT_SHIFT	10
#define MEMPOOL_NR_SIZES	16384
/* The number of no thread in particular. */
#define MEMPOOL_NO_THREAD	255

/*
 * Where a block can begin: @id, of its bucket, 0 if none begins here; @out, while a
 * user has it, the number of the thread that took it, MEMPOOL_NO_THREAD if it came
 * past the caches; else 0.
 */
struct mempool_place {
	unsigned char id;
	unsigned char out;
};

/*
 * One thread's cache of one pool.
 *
 * @pool: NULL also where units are not MEMPOOL_UNIT_SHIFT; @session: in any case
 * @base: address of unit 0; @units: how many there are
 * @places: an element for each unit; @places_at_0: address of the one that
 *	address 0 would have
 * @room: bytes that may be allocated before the peak
 * @allocs: blocks of buckets allocated, ever
 * @number: this thread's, of 1 to 254; MEMPOOL_NO_THREAD if all are given
 *
 * Magazines, by id: blocks lie below @tops; those below @lims need the slow path
 * (there are none, they are fresh, or somebody wants them back; UINTPTR_MAX: all
 * of them); at @ends there is no more room. A block is an address, or in block
 * pools an index. @gets counts those of block pools; @sizes are the buckets'.
 *
 * @buckets: id by (size - 1) >> MEMPOOL_UNIT_SHIFT; 0: the slow path knows
 */
struct mempool_thread {
	struct mempool *pool;
	struct mempool *session;
	uintptr_t base;
	uintptr_t units;
	struct mempool_place *places;
	uintptr_t places_at_0;
	int64_t room;
	uint64_t allocs;
	unsigned char number;
	void **tops[MEMPOOL_NR_MAGAZINES];
	void **lims[MEMPOOL_NR_MAGAZINES];
	void **ends[MEMPOOL_NR_MAGAZINES];
	int64_t sizes[MEMPOOL_NR_MAGAZINES];
	uint64_t gets[MEMPOOL_NR_MAGAZINES];
	unsigned char buckets[MEMPOOL_NR_SIZES];
};

/* Of this thread; never NULL. */
extern __thread struct mempool_thread *mempool_thread_1
	__attribute__((tls_model("initial-exec")));

#define MEMPOOL_UNLIKELY(x)	__builtin_expect(!!(x), 0)
#define MEMPOOL_ALWAYS		__attribute__((always_inline))

/*
 * Words that one thread writes and others may read, for the statistics, or the
 * other way round (@lims). Said to be atomic they cost several instructions more;
 * only a checker of threads needs to be told.
 */
#if defined(__SANITIZE_THREAD__)
#define MEMPOOL_THREADS_CHECKED	1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MEMPOOL_THREADS_CHECKED	1
#endif
#endif
#ifdef MEMPOOL_THREADS_CHECKED
#define MEMPOOL_GET(word)	__atomic_load_n(&(word), __ATOMIC_RELAXED)
#define MEMPOOL_SET(word, to)	__atomic_store_n(&(word), to, __ATOMIC_RELAXED)
#else
#define MEMPOOL_GET(word)	(word)
#define MEMPOOL_SET(word, to)	((void)((word) = (to)))
#endif

/*
 * A block for @size, units being 1 << @shift, into *@ptr. 0: only a call can tell.
 */
static inline MEMPOOL_ALWAYS int
mempool_pop(struct mempool_thread *t, size_t size, unsigned int shift,
	    void **ptr)
{
	size_t units = (size - 1) >> shift;
	unsigned int id;
	void **top;

	if (MEMPOOL_UNLIKELY(units >= MEMPOOL_NR_SIZES))
		return 0;
	id = t->buckets[units];
	top = t->tops[id];
	if (MEMPOOL_UNLIKELY(top <= MEMPOOL_GET(t->lims[id])))
		return 0;
	t->room -= t->sizes[id];
	if (MEMPOOL_UNLIKELY(t->room < 0)) {
		t->room += t->sizes[id];
		return 0;
	}
	*ptr = top[-1];
	if (!*ptr)
		__builtin_unreachable();	/* spares the caller's test */
	MEMPOOL_SET(t->tops[id], top - 1);
	MEMPOOL_SET(t->allocs, t->allocs + 1);
	((struct mempool_place *)(t->places_at_0 +
		((uintptr_t)*ptr >> shift) * sizeof(struct mempool_place)))->out = t->number;
	return 1;
}

/*
 * Take @ptr back, if it begins one of @units units of 1 << @shift bytes (a
 * misaligned one lies beyond all). 0: only a call can tell.
 */
static inline MEMPOOL_ALWAYS int
mempool_push(struct mempool_thread *t, void *ptr, uintptr_t units,
	     unsigned int shift)
{
	uintptr_t offset = (uintptr_t)ptr - t->base;
	uintptr_t unit = offset >> shift | offset << (-shift % (sizeof(offset) * 8));
	struct mempool_place *place;
	unsigned int id;
	void **top;

	if (MEMPOOL_UNLIKELY(unit >= units))
		return 0;
	place = &t->places[unit];
	id = place->id;
	top = t->tops[id];
	if (MEMPOOL_UNLIKELY(place->out != t->number || top >= t->ends[id]))
		return 0;
	*top = ptr;
	MEMPOOL_SET(t->tops[id], top + 1);
	t->room += t->sizes[id];
	place->out = 0;
	return 1;
}

/* As mempool_alloc(), or 0: only a call can tell. */
static inline MEMPOOL_ALWAYS int
mempool_try_alloc(struct mempool *pool, size_t size, void **ptr)
{
	struct mempool_thread *t = mempool_thread_1;

	if (MEMPOOL_UNLIKELY(MEMPOOL_GET(t->pool) != pool))
		return 0;
	return mempool_pop(t, size, MEMPOOL_UNIT_SHIFT, ptr);
}

/* As mempool_release(), or 0: only a call can tell. */
static inline MEMPOOL_ALWAYS int
mempool_try_release(struct mempool *pool, void *ptr)
{
	struct mempool_thread *t = mempool_thread_1;

	if (MEMPOOL_UNLIKELY(MEMPOOL_GET(t->pool) != pool))
		return 0;
	return mempool_push(t, ptr, t->units, MEMPOOL_UNIT_SHIFT);
}

/* mempool_alloc_inline() - as mempool_alloc() */
static inline void *mempool_alloc_inline(struct mempool *pool, size_t size)
{
	void *ptr;

	return MEMPOOL_UNLIKELY(!mempool_try_alloc(pool, size, &ptr)) ?
		mempool_alloc(pool, size) : ptr;
}

/* mempool_release_inline() - as mempool_release() */
static inline int mempool_release_inline(struct mempool *pool, void *ptr)
{
	return MEMPOOL_UNLIKELY(!mempool_try_release(pool, ptr)) ? mempool_release(pool, ptr) : 0;
}

#ifdef __cplusplus
}
#endif

#include "libmempool_inline_blocks.h"

#endif /* LIBMEMPOOL_INLINE_H */
