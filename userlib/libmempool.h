/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * libmempool: memory pools on /dev/mempool.
 *
 * A pool is one open session of the device: an owner of preallocated memory.
 * Blocks come from size classes ("buckets", mempool_alloc) or from a fixed set
 * of equal blocks (a "block pool", mempool_blocks_create), are mapped and
 * populated when the call returns, and are ordinary memory.
 *
 * Conventions, everywhere:
 * - functions that return int give 0 or a negative errno value and leave errno
 *   alone; functions that return a pointer give NULL and set errno; functions
 *   that return double give -1.0 and set errno;
 * - every function may be called from any thread at any time, but a handle must
 *   not be used while or after another thread closes it;
 * - close functions accept NULL; so does mempool_release();
 * - nothing here is async-signal-safe;
 * - through a handle inherited over fork(), calls that allocate, release or
 *   change state fail with EPERM; blocks stay readable and writable. A child
 *   that wants memory of its own opens its own pool. mempool_close() in the
 *   child frees the child's handle and takes nothing from the parent.
 *
 * Sizes are in bytes. Error values are those of uapi/mempool.h.
 */
#ifndef LIBMEMPOOL_H
#define LIBMEMPOOL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of this header. */
#define MEMPOOL_VERSION_MAJOR 0
#define MEMPOOL_VERSION_MINOR 1
#define MEMPOOL_VERSION_PATCH 0

struct mempool;
struct mempool_blocks;

/* mempool_version() - version of the library that runs, "major.minor.patch" */
const char *mempool_version(void);

/* ---- opening ---- */

#define MEMPOOL_DEVICE_DEFAULT "/dev/mempool"

/*
 * In place of a device's path "memfd:SIZE" (SIZE a multiple of
 * 2 MiB, in bytes or with K, M, G, T) means memory of this process' own, of which
 * no module knows: for tests, and where none may be loaded. It has no named block
 * pools, shares nothing with other processes and is not preallocated.
 */

/* mempool_options.flags */
#define MEMPOOL_OPEN_DONTFORK	(1u << 0)  /* children do not inherit the mapping */
#define MEMPOOL_OPEN_DUMP	(1u << 1)  /* blocks go into core dumps */
#define MEMPOOL_OPEN_READONLY	(1u << 2)  /* only to look into named pools */
#define MEMPOOL_OPEN_CHECK	(1u << 3)  /* checked mode: see below */
#define MEMPOOL_OPEN_CHECK_REPORT (1u << 4)  /* the same, errors do not end the program */

/*
 * Checked mode. Errors of the program are found when they are made, or soon
 * after, and the calls that made them are named on stderr. Then abort() is
 * called, or with _CHECK_REPORT the call gives its error as ever:
 * - releases of memory that is no block of this pool, of pointers into a block,
 *   of blocks released before; returns of block pools' blocks that are not held;
 * - writes to blocks after their release or beyond their end (bytes asked for, or
 *   mempool_usable_size() after a call of that): found when the block is
 *   released, when it leaves for the kernel (up to 256 blocks or 1 MiB, whichever
 *   is less, wait for that), when it is handed out again, at the latest at close;
 * - calls on a closed pool or block pool (the last eight of each).
 *
 * Released blocks are filled with 0xdb. There are no thread caches; that a
 * released block waits shows in peak_bytes and reuse_rate. MEMPOOL_CHECK in
 * the environment decides before the program, but not in set-user-ID ones: "0"
 * off, "report" as _CHECK_REPORT, all else on. Under AddressSanitizer and
 * Valgrind, which see blocks as they see those of malloc(), it is on unless "0".
 */

/* One step of the rounding rule: sizes below @below round up to @granularity. */
struct mempool_option_tier {
	uint64_t below;		/* UINT64_MAX in the last tier */
	uint64_t granularity;	/* 1 or a multiple of 64 */
};

/*
 * Options of mempool_open(). Zero-initialise, set @size, and set what differs
 * from the default: MEMPOOL_OPTIONS_INIT does the first two.
 */
struct mempool_options {
	size_t size;			/* sizeof(struct mempool_options) */
	const char *device;		/* NULL: $MEMPOOL_DEVICE or MEMPOOL_DEVICE_DEFAULT */
	unsigned int flags;		/* MEMPOOL_OPEN_* */
	unsigned int nr_tiers;		/* 0: the module's tiers */
	const struct mempool_option_tier *tiers;
	int64_t max_cached;		/* free blocks kept per bucket; -1: default (10) */
	int64_t max_cached_bytes;	/* free bytes kept in all; -1: default (16 MiB) */
	uint64_t min_bytes;		/* guaranteed minimum; 0: none */
	uint64_t limit_bytes;		/* most this pool may own; 0: the module's limit */
	int node;			/* NUMA node preferred; -1: the caller's */
	int64_t cache_bytes;		/* most a thread keeps; 0: none, -1: 1/32 of the reserve, <= 32 MiB */
};
/* Every field, in order: C++ compilers warn of what is left out. */
#define MEMPOOL_OPTIONS_INIT \
	{ sizeof(struct mempool_options), NULL, 0, 0, NULL, -1, -1, 0, 0, -1, -1 }

/*
 * mempool_open() - open a session
 * @pool: receives the handle; freed by mempool_close()
 * @opts: NULL for defaults
 *
 * Errors: ENOENT or ENXIO (no device), ENOTTY (another kind of device), EACCES,
 * ENFILE (the module's max_sessions), EINVAL (an option), ENOMEM or EDQUOT
 * (min_bytes cannot be guaranteed, or no address space).
 */
int mempool_open(struct mempool **pool, const struct mempool_options *opts);

/*
 * mempool_close() - end a session
 *
 * Every block of the pool and of its private block pools goes back to the
 * reserve; pointers to them are dead. Block pool handles opened on it must be
 * closed before. No other thread may be in a call on it; that others have used it
 * does not matter. Afterwards calls on it, but for block pools', fail with EPERM
 * as in a forked child until eight more pools have been closed.
 */
void mempool_close(struct mempool *pool);

/* ---- buckets ---- */

/*
 * mempool_alloc() - a block of at least @size bytes
 *
 * Aligned to 64 bytes, to a page when the bucket is a multiple of the page
 * size. Contents are undefined but never another owner's. The first touch takes
 * no fault. Released by mempool_release().
 *
 * Errors: EINVAL (@size 0), EOVERFLOW, ENOMEM, EDQUOT, EPERM (after fork).
 */
void *mempool_alloc(struct mempool *pool, size_t size);

/* mempool_zalloc() - the same, @size bytes zero */
void *mempool_zalloc(struct mempool *pool, size_t size);

/*
 * mempool_aligned_alloc() - the same, aligned to @alignment, a power of two not
 * above the page size (EINVAL)
 */
void *mempool_aligned_alloc(struct mempool *pool, size_t alignment, size_t size);

/*
 * mempool_alloc_bulk() - @count blocks of @size bytes, all or none
 * @ptrs: receives @count pointers
 */
int mempool_alloc_bulk(struct mempool *pool, size_t size, void **ptrs, unsigned int count);

/*
 * mempool_release() - give a block back
 *
 * Errors: EINVAL (not the start of a block, or outside the pool), ENOENT (not
 * a live block of this pool: released before, for instance), EPERM. An error
 * changes nothing and is counted as bad_releases. NULL is 0.
 */
int mempool_release(struct mempool *pool, void *ptr);

/*
 * mempool_release_bulk() - give @count blocks back
 *
 * Goes through all of them and returns the first error.
 */
int mempool_release_bulk(struct mempool *pool, void *const *ptrs, unsigned int count);

/*
 * mempool_round_to_bucket() - the bucket that serves @size
 *
 * 0 when @size is 0 or cannot be rounded.
 */
size_t mempool_round_to_bucket(const struct mempool *pool, size_t size);

/*
 * mempool_usable_size() - bytes usable at @ptr, the block's bucket; 0 if @ptr is
 * not a live block of @pool
 */
size_t mempool_usable_size(struct mempool *pool, const void *ptr);

/*
 * mempool_preallocate() - have at least @count free blocks of the bucket of
 * @size ready and populated; a hint, except within min_bytes
 *
 * Also a cache for a thread, if this one has none: the first to need it gets it.
 *
 * On failure those that could be had stay. Errors: EINVAL (0), EOVERFLOW,
 * ENOMEM, EDQUOT, EPERM.
 */
int mempool_preallocate(struct mempool *pool, size_t size, unsigned int count);

/* mempool_trim() - merge free memory and give idle chunks back to the reserve */
int mempool_trim(struct mempool *pool);

/*
 * mempool_clear() - release every block of every bucket and give all memory back
 *
 * A block that another thread is allocating meanwhile is released as well or
 * stays allocated: nobody can tell which. No other thread may be releasing.
 */
int mempool_clear(struct mempool *pool);

/*
 * mempool_flush() - caches back to the pool
 *
 * The calling thread's blocks and those between threads go back; what all
 * threads have counted is taken over, so that statistics are exact while no
 * other thread is in a call. mempool_trim() also asks other threads for their
 * blocks, which they give back at their next call.
 */
int mempool_flush(struct mempool *pool);

struct mempool_stats {
	uint64_t new_allocations;	/* from memory never handed out before */
	uint64_t reused_allocations;	/* from blocks released before */
	uint64_t total_allocations;	/* the two together */
	uint64_t releases;
	uint64_t bad_releases;
	uint64_t currently_allocated;	/* blocks */
	uint64_t current_bytes;		/* their rounded sizes */
	uint64_t peak_bytes;		/* highest current_bytes */
	uint64_t footprint_bytes;	/* slabs, free blocks included */
	uint64_t peak_footprint_bytes;
	uint64_t cached_bytes;		/* slabs with no block held */
	uint64_t owned_bytes;		/* chunks of the reserve */
	uint64_t pinned_bytes;		/* given back, but still referred to */
	uint64_t failed_no_memory;	/* allocations refused with ENOMEM */
	uint64_t failed_limit;		/* allocations refused with EDQUOT */
	uint64_t reclaimed_chunks;	/* idle chunks taken by others' requests */
	double reuse_rate;		/* reused / total, 0 when total is 0 */
	double external_fragmentation;	/* 1 - largest free run / free bytes */
};

/*
 * mempool_get_stats() - counters of this pool
 * @size: sizeof(*stats) as the caller knows it
 *
 * Through an inherited handle too, but not of an in-process device.
 * Errors: EINVAL (@size is of no version of the structure), EPERM.
 */
int mempool_get_stats(struct mempool *pool, struct mempool_stats *stats, size_t size);

/* ---- block pools ---- */

/* mempool_blocks_options.flags */
#define MEMPOOL_BLOCKS_KEEP	(1u << 0)  /* a named pool outlives its members */

struct mempool_blocks_options {
	size_t size;			/* sizeof(struct mempool_blocks_options) */
	size_t block_size;
	unsigned int num_blocks;
	int threshold;			/* percent; -1: default (20) */
	const char *name;		/* NULL: private */
	unsigned int mode;		/* named: 0600, 0660, 0666; 0 means 0600 */
	unsigned int flags;		/* MEMPOOL_BLOCKS_* */
	unsigned int cache_blocks;	/* private: most a thread keeps ready; 0: none */
};
#define MEMPOOL_BLOCKS_OPTIONS_INIT \
	{ sizeof(struct mempool_blocks_options), 0, 0, -1, NULL, 0, 0, 0 }

/*
 * mempool_blocks_create() - @num_blocks blocks of @block_size bytes
 * @blocks: receives the handle; ended by mempool_blocks_close() before @pool is
 *
 * With @cache_blocks each thread keeps up to so many free blocks, rounded down
 * to a power of two not above 512, and up to 16 times as many lie between
 * threads: to get and return them then takes no command. Only a private pool has
 * that (EINVAL with a name): to other members a block in a cache would be held,
 * and its generation would not change when it is issued anew. Auto-coalescing
 * looks when a cache gives blocks back; mempool_coalesce(), mempool_reset() and
 * mempool_flush() empty the calling thread's. Reset and close such a pool while
 * no other thread is in a call on it.
 *
 * Errors: EINVAL, EOVERFLOW, ENOMEM, EDQUOT, EEXIST (name taken), ENAMETOOLONG,
 * EMFILE, EPERM.
 */
int mempool_blocks_create(struct mempool_blocks **blocks, struct mempool *pool,
			  const struct mempool_blocks_options *opts);

/*
 * mempool_blocks_open() - join the named block pool @name
 *
 * Errors: ENOENT, EACCES, EALREADY (open in this pool), EMFILE, EPERM.
 */
int mempool_blocks_open(struct mempool_blocks **blocks, struct mempool *pool, const char *name);

/*
 * mempool_blocks_close() - leave; blocks still held are returned. NULL is fine
 *
 * Before the pool is closed. Calls on the handle are refused (EPERM) afterwards, until
 * eight more block pools have been closed.
 */
void mempool_blocks_close(struct mempool_blocks *blocks);

/*
 * mempool_blocks_remove() - take a named pool's name away
 *
 * Errors: ENOENT, EPERM (neither creator nor root).
 */
int mempool_blocks_remove(struct mempool *pool, const char *name);

/*
 * mempool_get_block() - take a free block
 * @index: receives its index; may be NULL
 *
 * Errors: ENOSPC (every block is issued), EPERM, EBADF (opened read-only).
 */
void *mempool_get_block(struct mempool_blocks *blocks, unsigned int *index);

/*
 * mempool_return_block() - give block @index back
 *
 * Errors: ERANGE, ENOENT (not issued to this pool), ESTALE, EPERM, EBADF.
 */
int mempool_return_block(struct mempool_blocks *blocks, unsigned int index);

/*
 * mempool_get_blocks() - take @count blocks, all or none
 * @ptrs: receives pointers; may be NULL
 * @indices: receives indices; may be NULL, but not both
 */
int mempool_get_blocks(struct mempool_blocks *blocks, void **ptrs, unsigned int *indices,
		       unsigned int count);

/*
 * mempool_return_blocks() - give @count blocks back
 *
 * Goes through all of them and returns the first error.
 */
int mempool_return_blocks(struct mempool_blocks *blocks, const unsigned int *indices,
			  unsigned int count);

/*
 * mempool_block_at() - address of block @index, issued or not
 *
 * NULL and ERANGE when there is no such block.
 */
void *mempool_block_at(struct mempool_blocks *blocks, unsigned int index);

/*
 * mempool_block_index() - index of the block that contains @ptr
 *
 * Errors: EINVAL when @ptr is in no block.
 */
int mempool_block_index(struct mempool_blocks *blocks, const void *ptr, unsigned int *index);

/*
 * mempool_block_token() - what to send to another process that shares the pool
 * @token: receives index and generation of block @index, held by the caller
 *
 * Errors: ERANGE, ENOENT (not held through this handle), EOPNOTSUPP (a pool with
 * a cache).
 */
int mempool_block_token(struct mempool_blocks *blocks, unsigned int index, uint64_t *token);

/*
 * mempool_adopt_block() - become the holder of the block that @token names
 *
 * The block is then returned by this process, or when it dies.
 * Errors: ERANGE, ESTALE (it was returned since), ENOENT (free), EPERM, EBADF,
 * EOPNOTSUPP (a pool with a cache).
 */
int mempool_adopt_block(struct mempool_blocks *blocks, uint64_t token);

/* mempool_token_index() - the index within a token */
static inline unsigned int mempool_token_index(uint64_t token)
{
	return (unsigned int)token;
}

/* mempool_coalesce() - put the free blocks in address order, merged; counted */
int mempool_coalesce(struct mempool_blocks *blocks);

/*
 * mempool_reset() - return every block
 *
 * Errors: EBUSY when another session holds a block.
 */
int mempool_reset(struct mempool_blocks *blocks);

/* mempool_get_fragmentation() - gaps between free blocks, percent 0 to 100 */
double mempool_get_fragmentation(struct mempool_blocks *blocks);

/* mempool_get_efficiency() - blocks issued, percent 0 to 100 */
double mempool_get_efficiency(struct mempool_blocks *blocks);

struct mempool_blocks_stats {
	uint64_t block_size;
	uint64_t stride;		/* from one block to the next */
	uint64_t num_blocks;
	uint64_t issued;
	uint64_t free;
	uint64_t held;			/* issued to this pool */
	uint64_t gaps;			/* between neighbouring free blocks */
	uint64_t gets;
	uint64_t returns;
	uint64_t bad_returns;
	uint64_t adopts;
	uint64_t coalesces;		/* automatic ones included */
	uint64_t auto_coalesces;
	uint64_t coalesce_ns_last;
	uint64_t coalesce_ns_max;
	uint64_t members;		/* sessions that have it open */
	uint64_t threshold;		/* percent */
	double fragmentation;		/* percent */
	double efficiency;		/* percent */
	double free_list_disorder;	/* percent */
};

/* mempool_blocks_get_stats() - likewise of a block pool */
int mempool_blocks_get_stats(struct mempool_blocks *blocks, struct mempool_blocks_stats *stats,
			     size_t size);

/*
 * mempool_describe() - one line: block size, counts, efficiency, fragmentation
 * @buf: receives at most @len bytes with the NUL; may be NULL when @len is 0
 *
 * Returns the length of the whole line as snprintf() does, or -errno.
 */
int mempool_describe(struct mempool_blocks *blocks, char *buf, size_t len);

#ifdef __cplusplus
}
#endif

#endif /* LIBMEMPOOL_H */
