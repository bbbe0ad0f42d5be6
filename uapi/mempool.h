/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * The contract between /dev/mempool and its users.
 *
 * Include it as "uapi/mempool.h": <linux/mempool.h> is another thing, the
 * kernel's own allocator of guaranteed elements.
 */
#ifndef _UAPI_MEMPOOL_H
#define _UAPI_MEMPOOL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: General format
 *
 * One open file description of /dev/mempool is a *session*: an owner of memory.
 * Its *offset space* is a flat file of mempool_info.space_bytes bytes. A session
 * maps it once, from offset 0, and finds a block at (mapping + block offset).
 * Touching an offset that the session does not own is SIGBUS.
 *
 * Every command is _IOWR() or _IOW() with the size of its structure in the
 * command number. A structure may grow: a caller's shorter one (not shorter
 * than the first version's) is filled with zeros, a longer one is accepted when
 * the bytes the kernel does not know are zero. The layout is the same for 32-
 * and 64-bit callers. Fields named @reserved must be zero, flags that are not
 * listed must be clear. A command that fails has changed nothing, except where
 * its description names a count of what was done.
 *
 * Sizes and offsets are in bytes.
 */

/**
 * DOC: Errors of all commands
 *
 * ========  ===================================================================
 * ENOTTY    no such command
 * EFAULT    a pointer does not lead to memory that can be read or written
 * E2BIG     bytes beyond the known structure are not zero, or a count is above
 *           mempool_info.max_batch
 * EINVAL    a value is not allowed: unknown flag, reserved field not zero, zero
 *           size or count, structure shorter than its first version, bad tiers,
 *           mode, threshold or name; an offset that is misaligned, inside a
 *           block, or beyond the offset space
 * EOVERFLOW a size cannot be rounded to its bucket, or count times size
 *           computed, in 64 bits
 * ENOMEM    the reserve (or the kernel's memory for tables) cannot serve it
 * EDQUOT    it would exceed the session's or the user's limit
 * ENOSPC    every block of the block pool is issued
 * ENOENT    the offset or index is not a block that the caller holds; there is
 *           no pool of this name
 * ERANGE    a block index is not below the pool's number of blocks
 * ESTALE    the block's generation has moved on: it was returned since
 * ENXIO     no such pool handle in this session
 * EBADF     the command changes state and the file was opened read-only
 * EBUSY     too late to configure, or others hold blocks of the pool
 * EALREADY  this session has the pool open already
 * EEXIST    the name is taken
 * ENAMETOOLONG the name has no end
 * EACCES    the pool's mode does not admit the caller
 * EPERM     only the pool's creator or root may do this
 * EMFILE    the session has MEMPOOL_MAX_HANDLES pools open
 * EINTR     a fatal signal arrived while waiting for memory
 * ========  ===================================================================
 *
 * open() adds: ENFILE, the module's max_sessions are open, or the user has as
 * many as are left and no CAP_SYS_RESOURCE.
 *
 * mmap() adds: EINVAL for a private mapping or a range outside the offset
 * space, EACCES for an executable one or, without write permission of the
 * file, for a writable one. mmap() of the status page must be read-only
 * (EACCES).
 */

#define MEMPOOL_IOC_TYPE	0xBE

/* Of this ABI, not of a device: they never change. */
#define MEMPOOL_BLOCK_ALIGN	64u		/* least alignment of any block */
#define MEMPOOL_CHUNK_SIZE	(2u << 20)	/* unit of ownership */
#define MEMPOOL_MAX_TIERS	16
#define MEMPOOL_NAME_LEN	32		/* with the terminating NUL */
#define MEMPOOL_MAX_HANDLES	256		/* block pools open in a session */
#define MEMPOOL_TIER_END	(~(__u64)0)	/* @below of the last tier */
#define MEMPOOL_NODE_ANY	(-1)

enum {
	MEMPOOL_NR_INFO,
	MEMPOOL_NR_CONFIGURE,
	MEMPOOL_NR_ALLOC,
	MEMPOOL_NR_RELEASE,
	MEMPOOL_NR_PREALLOCATE,
	MEMPOOL_NR_TRIM,
	MEMPOOL_NR_STATS,
	MEMPOOL_NR_POOL_CREATE = 0x10,
	MEMPOOL_NR_POOL_OPEN,
	MEMPOOL_NR_POOL_CLOSE,
	MEMPOOL_NR_POOL_REMOVE,
	MEMPOOL_NR_POOL_GET,
	MEMPOOL_NR_POOL_RETURN,
	MEMPOOL_NR_POOL_ADOPT,
	MEMPOOL_NR_POOL_COALESCE,
	MEMPOOL_NR_POOL_RESET,
	MEMPOOL_NR_POOL_STATS,
};

/**
 * struct mempool_tier - one step of the rounding rule
 * @below: the tier serves sizes smaller than this; rising from tier to tier,
 *	MEMPOOL_TIER_END in the last one
 * @granularity: sizes are rounded up to a multiple of this; 1 (exact sizes)
 *	or a multiple of MEMPOOL_BLOCK_ALIGN
 *
 * A size belongs to the first tier with size < @below. The default tiers are
 * (10240, 1024), (102400, 10240), (END, 102400).
 */
struct mempool_tier {
	__u64 below;
	__u64 granularity;
};

/* mempool_info.features */
#define MEMPOOL_FEATURE_CLAIMS		(1ull << 0)	/* RELEASE takes claims */
#define MEMPOOL_FEATURE_STATUS_PAGE	(1ull << 1)	/* status_offset is valid */
#define MEMPOOL_FEATURE_HUGE		(1ull << 2)	/* 2 MiB mappings possible */
#define MEMPOOL_FEATURE_NAMED_POOLS	(1ull << 3)

/**
 * struct mempool_info - what this device and this session are
 * @features: MEMPOOL_FEATURE_* bits
 * @session_id: unique until the module is unloaded; also in fdinfo
 * @space_bytes: size of the offset space, a multiple of MEMPOOL_CHUNK_SIZE
 * @status_offset: mmap offset of struct mempool_status, one page
 * @reserve_bytes: memory preallocated when the module was loaded
 * @max_cached_bytes: see struct mempool_configure
 * @min_bytes: see struct mempool_configure
 * @limit_bytes: most that this session may own, pinned chunks included
 * @user_limit_bytes: most that all sessions of a user may own
 * @page_size: of this machine
 * @chunk_size: MEMPOOL_CHUNK_SIZE
 * @block_align: MEMPOOL_BLOCK_ALIGN
 * @max_batch: most blocks, offsets or indices in one command
 * @max_cached: see struct mempool_configure
 * @node: NUMA node preferred, or MEMPOOL_NODE_ANY
 * @nr_tiers: tiers in use
 * @reserved: zero
 * @tiers: the session's rounding rule; unused entries are zero
 */
struct mempool_info {
	__u64 features;
	__u64 session_id;
	__u64 space_bytes;
	__u64 status_offset;
	__u64 reserve_bytes;
	__u64 max_cached_bytes;
	__u64 min_bytes;
	__u64 limit_bytes;
	__u64 user_limit_bytes;
	__u32 page_size;
	__u32 chunk_size;
	__u32 block_align;
	__u32 max_batch;
	__u32 max_cached;
	__s32 node;
	__u32 nr_tiers;
	__u32 reserved;
	struct mempool_tier tiers[MEMPOOL_MAX_TIERS];
};
#define MEMPOOL_IOC_INFO	_IOR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_INFO, struct mempool_info)

/* mempool_configure.flags: which of the fields to set */
#define MEMPOOL_CONFIGURE_TIERS			(1u << 0)
#define MEMPOOL_CONFIGURE_MAX_CACHED		(1u << 1)
#define MEMPOOL_CONFIGURE_MAX_CACHED_BYTES	(1u << 2)
#define MEMPOOL_CONFIGURE_MIN_BYTES		(1u << 3)
#define MEMPOOL_CONFIGURE_LIMIT_BYTES		(1u << 4)
#define MEMPOOL_CONFIGURE_NODE			(1u << 5)

/**
 * struct mempool_configure - set options of this session
 * @flags: MEMPOOL_CONFIGURE_*; fields whose flag is clear must be zero
 * @nr_tiers: 1 to MEMPOOL_MAX_TIERS
 * @max_cached: free blocks kept per bucket for reuse (default 10); whole slabs
 *	above it go back to the session's heap, whole chunks to the reserve
 * @node: NUMA node whose chunks are taken first, or MEMPOOL_NODE_ANY (the
 *	node of the calling CPU first)
 * @max_cached_bytes: free memory kept in all buckets together (default 16 MiB)
 * @min_bytes: guaranteed minimum, rounded up to chunks: taken from the reserve
 *	by this command (ENOMEM, EDQUOT) and never taken back by others' requests
 * @limit_bytes: most that this session may own, rounded down to chunks; at least
 *	one chunk and not above mempool_info.limit_bytes of a fresh session (EINVAL)
 * @tiers: the first @nr_tiers entries are read, the others must be zero
 *
 * Only before the session's first allocation, pool or preallocation, one that is
 * under way included (EBUSY). Those that failed do not count.
 */
struct mempool_configure {
	__u32 flags;
	__u32 nr_tiers;
	__u32 max_cached;
	__s32 node;
	__u64 max_cached_bytes;
	__u64 min_bytes;
	__u64 limit_bytes;
	struct mempool_tier tiers[MEMPOOL_MAX_TIERS];
};
#define MEMPOOL_IOC_CONFIGURE \
	_IOW(MEMPOOL_IOC_TYPE, MEMPOOL_NR_CONFIGURE, struct mempool_configure)

/* mempool_block.flags */
#define MEMPOOL_BLOCK_REUSED	(1u << 0)	/* handed out before by this session */

/**
 * struct mempool_block - one block of a bucket
 * @offset: its place in the offset space, a multiple of MEMPOOL_BLOCK_ALIGN
 * @slab: where the slab it was cut from begins: (@offset - @slab) is a multiple
 *	of the bucket's size rounded up to MEMPOOL_BLOCK_ALIGN (to the page size
 *	with MEMPOOL_ALLOC_PAGE_ALIGNED)
 * @tenure: rises whenever a chunk is bound to this session's offset space.
 *	Memory that was populated after a reply with this tenure or a higher one
 *	is still populated; memory last populated before is to be populated
 *	again (MADV_POPULATE_WRITE)
 * @flags: MEMPOOL_BLOCK_*
 * @reserved: zero
 */
struct mempool_block {
	__u64 offset;
	__u64 slab;
	__u64 tenure;
	__u32 flags;
	__u32 reserved;
};

/* mempool_alloc.flags */
#define MEMPOOL_ALLOC_ZERO		(1u << 0)	/* contents are zero */
#define MEMPOOL_ALLOC_PAGE_ALIGNED	(1u << 1)	/* each block starts a page */
#define MEMPOOL_ALLOC_CACHED		(1u << 2)	/* for a cache: see claims */
#define MEMPOOL_ALLOC_WAIT		(1u << 31)	/* reserved: EINVAL */

/**
 * struct mempool_alloc - take blocks of one bucket
 * @size: bytes wanted in each block, rounded up to the bucket
 * @blocks: user pointer to struct mempool_block[@count], written
 * @deadline: reserved for an absolute CLOCK_MONOTONIC time, must be zero
 * @count: 1 to max_batch
 * @flags: MEMPOOL_ALLOC_*
 * @done: (out) blocks handed out, 1 to @count. Fewer than @count when the
 *	reserve or a limit ended the batch; with MEMPOOL_ALLOC_CACHED also when the
 *	rest would not have filled the chunk that it needed
 * @reserved: must be zero
 *
 * ENOMEM or EDQUOT only when not one block could be had. If the result cannot
 * be written (EFAULT), every block has gone back.
 */
struct mempool_alloc {
	__u64 size;
	__u64 blocks;
	__u64 deadline;
	__u32 count;
	__u32 flags;
	__u32 done;
	__u32 reserved;
};
#define MEMPOOL_IOC_ALLOC	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_ALLOC, struct mempool_alloc)

/**
 * struct mempool_claims - operations that caches in user space served
 * @new_allocations: allocations served by blocks without MEMPOOL_BLOCK_REUSED
 *	that no user of the cache had before
 * @reused_allocations: allocations served by blocks used before
 * @releases: releases into a cache
 * @bad_releases: releases refused
 * @peak_bytes: most bytes (of rounded sizes) held at once, as far as known;
 *	not added but compared with what was claimed before
 * @reserved: must be zero
 *
 * Added to the session's statistics, saturating; nothing else depends on them.
 */
struct mempool_claims {
	__u64 new_allocations;
	__u64 reused_allocations;
	__u64 releases;
	__u64 bad_releases;
	__u64 peak_bytes;
	__u64 reserved;
};

/* mempool_release.flags */
#define MEMPOOL_RELEASE_CACHED	(1u << 0)	/* out of a cache: not counted as releases */
#define MEMPOOL_RELEASE_CLAIMS	(1u << 1)	/* @claims is valid */
#define MEMPOOL_RELEASE_ALL	(1u << 2)	/* every block of every bucket; @count 0. They count
						 * as releases: not with MEMPOOL_RELEASE_CACHED
						 */

/**
 * struct mempool_release - give blocks back
 * @offsets: user pointer to __u64[@count], read
 * @count: at most max_batch; 0 only with MEMPOOL_RELEASE_CLAIMS or _ALL
 * @flags: MEMPOOL_RELEASE_*
 * @done: (out) blocks given back, also when the command fails
 * @reserved: must be zero
 * @claims: counters, zero without MEMPOOL_RELEASE_CLAIMS; taken over before
 *	the first block is looked at
 *
 * Stops at the first offset that is not a block of the caller: EINVAL when it
 * is misaligned, inside a block or beyond the offset space, ENOENT otherwise.
 * That offset changes nothing but the count of bad releases; those before it
 * are given back. EFAULT in the middle of @offsets works alike; if this
 * structure itself cannot be written, @done is not known.
 */
struct mempool_release {
	__u64 offsets;
	__u32 count;
	__u32 flags;
	__u32 done;
	__u32 reserved;
	struct mempool_claims claims;
};
#define MEMPOOL_IOC_RELEASE	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_RELEASE, struct mempool_release)

/**
 * struct mempool_preallocate - make blocks of a bucket ready
 * @size: bytes, rounded up to the bucket
 * @count: free blocks wanted in the bucket, at least
 * @flags: MEMPOOL_ALLOC_PAGE_ALIGNED or 0
 * @done: (out) free blocks now in the bucket, @count or more; fewer on failure
 * @reserved: must be zero
 *
 * A hint: blocks stay ready until another session needs the memory, unless
 * they lie within the guaranteed minimum. Raises what max_cached and
 * max_cached_bytes keep, so that the blocks are not given back at once.
 */
struct mempool_preallocate {
	__u64 size;
	__u32 count;
	__u32 flags;
	__u32 done;
	__u32 reserved;
};
#define MEMPOOL_IOC_PREALLOCATE \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_PREALLOCATE, struct mempool_preallocate)

/**
 * struct mempool_trim - give the caller's idle memory back
 * @flags: must be zero
 * @reserved: must be zero
 * @released_bytes: (out) whole chunks that went back to the reserve
 *
 * Free slabs are dissolved, free runs are merged with their neighbours, and
 * wholly free chunks above the guaranteed minimum go back.
 */
struct mempool_trim {
	__u32 flags;
	__u32 reserved;
	__u64 released_bytes;
};
#define MEMPOOL_IOC_TRIM	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_TRIM, struct mempool_trim)

/**
 * struct mempool_session_stats - this session's counters
 * @session_id: as in struct mempool_info
 * @new_allocations: served by memory that had to be taken from the reserve or
 *	had never been handed out as a block of its slab
 * @reused_allocations: served by blocks handed out before and given back
 * @total_allocations: @new_allocations + @reused_allocations
 * @releases: blocks given back
 * @bad_releases: releases refused
 * @currently_allocated: blocks now held
 * @current_bytes: their rounded sizes; blocks in a cache count as held
 * @peak_bytes: highest sum of rounded sizes held at once. Exact with one
 *	thread or with caches off; otherwise never below the truth and above it
 *	by at most the bytes cached
 * @footprint_bytes: the session's slabs, free blocks included
 * @peak_footprint_bytes: highest @footprint_bytes
 * @cached_bytes: slabs of which no block is held
 * @owned_bytes: chunks of the reserve that the session holds, those of its
 *	private block pools included
 * @pinned_bytes: chunks given back that something still refers to
 * @min_bytes: guaranteed minimum
 * @limit_bytes: most that @owned_bytes + @pinned_bytes may be
 * @heap_free_bytes: free runs inside the session's chunks, outside slabs
 * @heap_largest_free_bytes: the largest of them; external fragmentation is
 *	1 - @heap_largest_free_bytes / @heap_free_bytes
 * @failed_no_memory: allocations refused with ENOMEM
 * @failed_limit: allocations refused with EDQUOT
 * @reclaimed_chunks: idle chunks that other sessions' requests took away
 * @nr_slabs: slabs
 * @nr_pools: block pools open
 */
struct mempool_session_stats {
	__u64 session_id;
	__u64 new_allocations;
	__u64 reused_allocations;
	__u64 total_allocations;
	__u64 releases;
	__u64 bad_releases;
	__u64 currently_allocated;
	__u64 current_bytes;
	__u64 peak_bytes;
	__u64 footprint_bytes;
	__u64 peak_footprint_bytes;
	__u64 cached_bytes;
	__u64 owned_bytes;
	__u64 pinned_bytes;
	__u64 min_bytes;
	__u64 limit_bytes;
	__u64 heap_free_bytes;
	__u64 heap_largest_free_bytes;
	__u64 failed_no_memory;
	__u64 failed_limit;
	__u64 reclaimed_chunks;
	__u64 nr_slabs;
	__u64 nr_pools;
};
#define MEMPOOL_IOC_STATS \
	_IOR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_STATS, struct mempool_session_stats)

/* mempool_pool_create.flags */
#define MEMPOOL_POOL_KEEP	(1u << 0)	/* outlives its members: see POOL_REMOVE */
#define MEMPOOL_POOL_THRESHOLD	(1u << 1)	/* @threshold is valid */

#define MEMPOOL_DEFAULT_THRESHOLD	20

/**
 * struct mempool_pool_create - make a block pool and open it
 * @block_size: bytes of each block
 * @nr_blocks: number of blocks, at least 1
 * @threshold: with MEMPOOL_POOL_THRESHOLD, percent of fragmentation above which
 *	a return coalesces, 0 to 100; default 20
 * @mode: of a named pool: 0600, 0660 or 0666; 0 for a private one
 * @flags: MEMPOOL_POOL_*; KEEP only for a named pool
 * @name: NUL-terminated [A-Za-z0-9_-][A-Za-z0-9._-]*; empty for a private pool
 * @pool: (out) handle in this session
 * @reserved: must be zero
 * @offset: (out) block i lies at @offset + i * @stride
 * @stride: (out) @block_size rounded up to MEMPOOL_BLOCK_ALIGN; page-aligned
 *	when @block_size is a multiple of the page size
 *
 * A private pool is the session's own; a named one owns its chunks, charged to
 * the user who made it, and is shared by the sessions that open it. It lives
 * until the last of them has left, or, with KEEP, until POOL_REMOVE.
 */
struct mempool_pool_create {
	__u64 block_size;
	__u32 nr_blocks;
	__u32 threshold;
	__u32 mode;
	__u32 flags;
	char name[MEMPOOL_NAME_LEN];
	__u32 pool;
	__u32 reserved;
	__u64 offset;
	__u64 stride;
};
#define MEMPOOL_IOC_POOL_CREATE \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_CREATE, struct mempool_pool_create)

/**
 * struct mempool_pool_open - join a named block pool
 * @name: NUL-terminated
 * @flags: must be zero
 * @pool: (out) handle in this session
 * @block_size: (out)
 * @offset: (out) where the pool lies in this session's offset space
 * @stride: (out)
 * @nr_blocks: (out)
 * @threshold: (out)
 *
 * A session opened read-only may join a pool that its user may read and see
 * its blocks, but not get or return any.
 */
struct mempool_pool_open {
	char name[MEMPOOL_NAME_LEN];
	__u32 flags;
	__u32 pool;
	__u64 block_size;
	__u64 offset;
	__u64 stride;
	__u32 nr_blocks;
	__u32 threshold;
};
#define MEMPOOL_IOC_POOL_OPEN \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_OPEN, struct mempool_pool_open)

/**
 * struct mempool_pool_close - leave a block pool
 * @pool: handle
 * @reserved: must be zero
 *
 * Blocks the session holds are returned; the session's mapping of the pool ends.
 */
struct mempool_pool_close {
	__u32 pool;
	__u32 reserved;
};
#define MEMPOOL_IOC_POOL_CLOSE \
	_IOW(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_CLOSE, struct mempool_pool_close)

/**
 * struct mempool_pool_remove - take a pool's name away
 * @name: NUL-terminated
 *
 * For the user who made the pool and for root (EPERM); not for pools of the
 * module parameter fixed= (EPERM). Members keep what they have; the memory goes
 * back when the last of them leaves.
 */
struct mempool_pool_remove {
	char name[MEMPOOL_NAME_LEN];
};
#define MEMPOOL_IOC_POOL_REMOVE \
	_IOW(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_REMOVE, struct mempool_pool_remove)

/**
 * struct mempool_token - names one issue of one block
 * @index: 0 to nr_blocks - 1
 * @generation: rises by 1 (and wraps) each time the block is returned
 */
struct mempool_token {
	__u32 index;
	__u32 generation;
};

/**
 * struct mempool_pool_batch - get, return or adopt blocks
 * @tokens: user pointer to struct mempool_token[@count]: written by GET, read
 *	by RETURN and ADOPT
 * @deadline: reserved, must be zero
 * @pool: handle
 * @count: 1 to max_batch
 * @flags: must be zero
 * @done: (out) blocks dealt with, also when the command fails
 * @coalesced: (out) automatic coalesces that this RETURN caused
 * @reserved: must be zero
 *
 * GET hands out free blocks, fewer than @count when the pool is exhausted and
 * ENOSPC when it was so before; if they cannot be written, all have gone back.
 * RETURN and ADOPT stop at the first token that is refused: ERANGE, ESTALE,
 * ENOENT (the block is free or, for RETURN, another session's). ADOPT makes the
 * caller the holder, whoever held the block before.
 */
struct mempool_pool_batch {
	__u64 tokens;
	__u64 deadline;
	__u32 pool;
	__u32 count;
	__u32 flags;
	__u32 done;
	__u32 coalesced;
	__u32 reserved;
};
#define MEMPOOL_IOC_POOL_GET \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_GET, struct mempool_pool_batch)
#define MEMPOOL_IOC_POOL_RETURN \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_RETURN, struct mempool_pool_batch)
#define MEMPOOL_IOC_POOL_ADOPT \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_ADOPT, struct mempool_pool_batch)

/* mempool_pool_op.flags */
#define MEMPOOL_RESET_FORCE	(1u << 0)	/* also blocks that others hold */

/**
 * struct mempool_pool_op - coalesce or reset a block pool
 * @pool: handle
 * @flags: MEMPOOL_RESET_FORCE for RESET (the creator or root: EPERM), else zero
 * @result: (out) COALESCE: nanoseconds it took; RESET: blocks it returned
 *
 * RESET returns every issued block, those of other sessions only with FORCE
 * (EBUSY); contents are kept.
 */
struct mempool_pool_op {
	__u32 pool;
	__u32 flags;
	__u64 result;
};
#define MEMPOOL_IOC_POOL_COALESCE \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_COALESCE, struct mempool_pool_op)
#define MEMPOOL_IOC_POOL_RESET \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_RESET, struct mempool_pool_op)

/**
 * struct mempool_pool_stats - a block pool's state and counters
 * @pool: (in) handle
 * @flags: (in) must be zero; (out) MEMPOOL_POOL_KEEP if set at creation
 * @block_size: bytes
 * @stride: bytes
 * @nr_blocks: blocks
 * @issued: blocks issued; @issued / @nr_blocks is the efficiency
 * @free: blocks free
 * @gaps: neighbouring free blocks (in index order) that do not touch;
 *	fragmentation is 0 when @free is 0 or 1, else @gaps / (@free - 1)
 * @disorder: steps in the order in which free blocks would be handed out that
 *	do not go to the next higher free index. Zero: the kernel hands out the
 *	lowest free index; caches in user space add their own
 * @gets: blocks handed out
 * @returns: blocks returned
 * @bad_returns: tokens refused
 * @adopts: blocks adopted
 * @coalesces: coalesces, automatic ones included
 * @auto_coalesces: automatic ones
 * @coalesce_ns_last: nanoseconds that the last coalesce took
 * @coalesce_ns_max: the longest
 * @held: blocks issued to this session
 * @members: sessions that have the pool open
 * @threshold: percent
 * @mode: 0600, 0660, 0666; 0 for a private pool
 * @reserved: zero
 */
struct mempool_pool_stats {
	__u32 pool;
	__u32 flags;
	__u64 block_size;
	__u64 stride;
	__u64 nr_blocks;
	__u64 issued;
	__u64 free;
	__u64 gaps;
	__u64 disorder;
	__u64 gets;
	__u64 returns;
	__u64 bad_returns;
	__u64 adopts;
	__u64 coalesces;
	__u64 auto_coalesces;
	__u64 coalesce_ns_last;
	__u64 coalesce_ns_max;
	__u64 held;
	__u32 members;
	__u32 threshold;
	__u32 mode;
	__u32 reserved;
};
#define MEMPOOL_IOC_POOL_STATS \
	_IOWR(MEMPOOL_IOC_TYPE, MEMPOOL_NR_POOL_STATS, struct mempool_pool_stats)

/**
 * struct mempool_status - the read-only page at mempool_info.status_offset
 * @pressure: rises whenever a request found too little free memory: a hint to
 *	give cached blocks back
 * @reserved: zero
 */
struct mempool_status {
	__u32 pressure;
	__u32 reserved[15];
};

#endif /* _UAPI_MEMPOOL_H */
