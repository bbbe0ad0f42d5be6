/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the library's files share. Nothing here is seen by users.
 *
 *	pool.c		a session: open, close, options
 *	device.c	where commands go: the character device
 *	inproc.c	or the module's core, over memory of this process: memfd.c
 *	bucket.c	the rounding rule
 *	alloc.c		blocks of buckets: take, give back
 *	thread.h	free blocks kept by threads, and between them: cache.c, claims.c,
 *			recall.c, poolcache.c, thread.c, magazine.c, depot.c, remote.c
 *	track.c		which blocks are out, and how large they are
 *	space.c		offsets and addresses: the mapping
 *	populate.c	page tables filled before a block is handed out
 *	blocks.c	block pools, past their caches
 *	stats.c		counters
 *	checked.c	checked mode: what a program does wrong with blocks of buckets
 *	checked_blocks.c  and with those of block pools
 *	report.c	what checked mode says
 *	tools.c		AddressSanitizer and Valgrind
 *
 * Internal functions return 0 or -errno and leave errno alone.
 *
 * Locks: mp_space.lock (the list of windows; not taken when the offset space is
 * mapped whole) and mp_track.lock (registration of a bucket) are leaves: nothing
 * else is taken inside, and no command is sent, but mp_space.lock is held over
 * mmap() and munmap().
 */
#ifndef MP_INTERNAL_H
#define MP_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "uapi/mempool.h"
#include "libmempool.h"
#include "libmempool_inline.h"

#define MEMPOOL_API	__attribute__((visibility("default")))

#define MP_CHUNK	((uint64_t)MEMPOOL_CHUNK_SIZE)
#define MP_BATCH	64u	/* blocks in one command: what fits on a stack */

/* ---- device.c ---- */

struct mp_device;

/**
 * struct mp_device_ops - one kind of device
 * @ioctl: a command of uapi/mempool.h; 0 or -errno
 * @map: mmap() of the offset space; MAP_FAILED and errno
 * @close: end the session; also called through a handle inherited over fork()
 */
struct mp_device_ops {
	int (*ioctl)(struct mp_device *dev, unsigned long cmd, void *arg);
	void *(*map)(struct mp_device *dev, void *addr, size_t len, int prot, int flags,
		     uint64_t offset);
	void (*close)(struct mp_device *dev);
};

struct mp_device {
	const struct mp_device_ops *ops;
	void *priv;	/* the device's own */
	int fd;		/* or -1 */
};

int mp_device_open(struct mp_device *dev, const char *name, bool readonly);
int mp_inproc_open(struct mp_device *dev, const char *size);

/* ---- space.c ---- */

/**
 * struct mp_region - a mapped piece of the offset space
 * @addr: where, aligned to MP_CHUNK
 * @first: first slot of MP_CHUNK bytes
 * @nr: slots
 * @pins: users that need it to stay; under mp_space.lock
 * @populated: for each slot, 1 + the tenure with which it was populated; 0: never
 */
struct mp_region {
	char *addr;
	uint64_t first;
	uint64_t nr;
	unsigned int pins;
	atomic_uint_least64_t populated[];
};

/**
 * struct mp_space - a session's offset space in this process
 * @bytes: its size
 * @prot: PROT_* of its mappings
 * @advice: MADV_* that each mapping is given, -1 for none
 * @populate: MADV_POPULATE_*, -1 when this kernel has none
 * @whole: the one region, or NULL: windows on demand
 * @lock: the windows
 * @windows: sorted by address; a slot may lie in several
 * @nr_windows: how many
 * @max_windows: room in @windows
 * @hint: for each slot, a window that holds it or NULL
 */
struct mp_space {
	uint64_t bytes;
	int prot;
	int advice[2];
	int populate;
	struct mp_region *whole;
	pthread_mutex_t lock;
	struct mp_region **windows;
	size_t nr_windows;
	size_t max_windows;
	struct mp_region **hint;
};

int mp_space_init(struct mempool *pool, bool windows);
void mp_space_exit(struct mempool *pool);
int mp_space_enter(struct mempool *pool, uint64_t offset, uint64_t len, struct mp_region **region);
void mp_space_leave(struct mempool *pool, struct mp_region *region);
int mp_space_offset(struct mempool *pool, const void *ptr, uint64_t *offset);
void mp_space_trim(struct mempool *pool);
int mp_space_map_at(struct mempool *pool, char *addr, uint64_t offset, size_t len);

static inline char *mp_region_at(const struct mp_region *region, uint64_t offset)
{
	return region->addr + (offset - region->first * MP_CHUNK);
}

/* ---- populate.c ---- */

#define MP_TENURE_UNKNOWN	UINT64_MAX	/* populate in any case */

int mp_populate(struct mempool *pool, struct mp_region *region, uint64_t offset, uint64_t len,
		uint64_t tenure);
void mp_populate_owned(struct mempool *pool, uint64_t nr);
int mp_populate_probe(void *page, size_t len, bool readonly);

/* ---- track.c ---- */

#define MP_NR_IDS	128
#define MP_ID_CACHED	0x80u	/* beside an id: the block is free in a cache */
#define MP_ID_OTHER	127	/* bucket without an id: its key is in @keys */
#define MP_HASH_SIZE	512

/**
 * struct mp_track - which blocks of buckets are out
 * @shift: log2 of the unit; every block begins at a multiple of it
 * @units: units in the offset space
 * @places: for each unit a struct mempool_place: of a block that is out or free
 *	in a cache, else 0. Written by whoever holds the block. Zero pages until
 *	used
 * @used: for each slot, 1 if a block ever began there
 * @keys: for each slot 0 or the address of an array that has, for each unit with
 *	MP_ID_OTHER, the bucket's key. Made on demand, freed at close
 * @lock: registration of buckets
 * @nr_ids: ids given, counted from 1
 * @key_of: by id; those who count what threads keep read it without the lock
 * @hash: key to id, open addressing; published by the store to @key
 *
 * A bucket's key is (size << 1 | page-aligned).
 */
struct mp_track {
	unsigned int shift;
	uint64_t units;
	atomic_uint_least16_t *places;
	atomic_uint_least8_t *used;
	atomic_uintptr_t *keys;
	pthread_mutex_t lock;
	unsigned int nr_ids;
	atomic_uint_least64_t key_of[MP_NR_IDS];
	struct {
		_Atomic uint64_t key;
		unsigned int id;
	} hash[MP_HASH_SIZE];
};

static inline uint64_t mp_bucket_key(uint64_t size, bool page_aligned)
{
	return size << 1 | page_aligned;
}

void *mp_zero_pages(uint64_t len);
int mp_track_init(struct mempool *pool);
void mp_track_prepare(struct mempool *pool, uint64_t slot);
void mp_track_exit(struct mempool *pool);
unsigned int mp_track_id(struct mempool *pool, uint64_t key);
int mp_track_set(struct mempool *pool, uint64_t offset, unsigned int id, uint64_t key);
unsigned int mp_track_take(struct mempool *pool, uint64_t offset);
void mp_track_put_back(struct mempool *pool, uint64_t offset, unsigned int id);
uint64_t mp_track_key(struct mempool *pool, uint64_t offset);
unsigned int mp_track_look(struct mempool *pool, uint64_t offset);
void mp_track_mark(struct mempool *pool, uint64_t offset, unsigned int id, unsigned int number);
uint64_t mp_track_next(struct mempool *pool, uint64_t offset, uint64_t end);

/* ---- alloc.c ---- */

int mp_take(struct mempool *pool, uint64_t key, void **ptrs, unsigned int count);
int mp_take_cached(struct mempool *pool, uint64_t key, void **ptrs, bool *reused,
		   unsigned int count, unsigned int *nr);
int mp_give(struct mempool *pool, void *const *ptrs, unsigned int count);
void mp_give_cached(struct mempool *pool, void *const *ptrs, unsigned int count);

/* ---- thread.h: cache.c, poolcache.c and what they are made of ---- */

/**
 * struct mp_depot - free blocks of one kind between threads
 * @blocks: NULL until there is a use for it
 * @nr: blocks
 * @room: for how many
 * @max: most that it may have room for
 */
struct mp_depot {
	void **blocks;
	unsigned int nr;
	unsigned int room;
	unsigned int max;
};

#define MP_NR_BUCKET_IDS	128	/* ids from here on are block pools' */
#define MP_NR_NUMBERS		256	/* of threads, and 0; see struct mempool_place */

/**
 * struct mp_inbox - blocks of one thread that others have released
 * @of: the thread's cache; NULL: that has ended, and what is of this number stays with
 *	those who release it. Written under the global lock and depot_lock
 * @allocs: of that cache, at the last delivery; depot_lock, and so the rest
 * @unread: deliveries while that stayed the same, of which the first is not counted
 * @depots: by id
 */
struct mp_inbox {
	struct mp_thread *of;
	uint64_t allocs;
	unsigned int unread;
	struct mp_depot depots[MP_NR_BUCKET_IDS];
};

#define MP_MAX_CACHED_POOLS	(MEMPOOL_NR_MAGAZINES - 128)

/**
 * struct mp_cache - what a session's threads keep ready
 * @ready: there may be caches
 * @bytes: most a thread may keep of buckets; 0: nothing
 * @max_block: largest block kept
 * @status: the device's page, or NULL
 * @threads: caches of this session; the global lock
 * @had_threads: there has been one; the global lock
 * @shared: there has been another
 * @answering: threads that are giving blocks back because others need them
 * @answers: how often that was done
 * @bad: releases refused to threads without a cache, not claimed yet
 * @pools_lock: protects @pools, and a block pool in it from being closed
 * @pools: by id, those with a cache, or NULL
 * @serial: of the block pool that last got a cache; @pools_lock
 * @depot_lock: protects @depots, what is in @inboxes, @depot_bytes
 * @depots: by id
 * @inboxes: by number, made when a thread first has it, until the session ends: the
 *	pointers and @nr_numbers are written under the global lock, read without
 * @nr_numbers: numbers given, counted from 1
 * @depot_bytes: of buckets, in all depots and inboxes
 * @depot_max: most that may be
 */
struct mp_cache {
	bool ready;
	uint64_t bytes;
	uint64_t max_block;
	const struct mempool_status *status;
	struct mp_thread *threads;
	bool had_threads;
	atomic_bool shared;
	atomic_uint answering;
	atomic_uint answers;
	atomic_uint_least64_t bad;
	pthread_mutex_t pools_lock;
	struct mempool_blocks *pools[MP_MAX_CACHED_POOLS];
	uint64_t serial;
	pthread_mutex_t depot_lock;
	struct mp_depot depots[MEMPOOL_NR_MAGAZINES];
	struct mp_inbox *inboxes[MP_NR_NUMBERS];
	unsigned int nr_numbers;
	uint64_t depot_bytes;
	uint64_t depot_max;
};

void mp_threads_prepare(struct mempool *pool);
int mp_cache_init(struct mempool *pool, uint64_t bytes);
void mp_cache_exit(struct mempool *pool);
void *mp_cache_alloc(struct mempool *pool, uint64_t key);
int mp_cache_release(struct mempool *pool, void *ptr);
unsigned int mp_cache_alloc_many(struct mempool *pool, size_t size, void **ptrs,
				 unsigned int count);
unsigned int mp_cache_release_many(struct mempool *pool, void *const *ptrs, unsigned int count);
/**
 * struct mp_retry - of one call, to begin with all zero
 * @tries: so far
 * @waits: those for an answer to end
 * @first: the cache's @answers at the first
 * @answers: and at the last
 */
struct mp_retry {
	unsigned int tries;
	unsigned int waits;
	unsigned int first;
	unsigned int answers;
};

bool mp_remote_release(struct mempool *pool, void *ptr);
bool mp_cache_retry(struct mempool *pool, struct mp_retry *retry);
int mp_cache_flush(struct mempool *pool, bool recall);
void mp_cache_account(struct mempool *pool, int64_t bytes);
uint64_t mp_cache_claim(struct mempool *pool);
void *mp_cache_alloc_odd(struct mempool *pool, size_t size);
bool mp_cache_release_odd(struct mempool *pool, void *ptr);

int mp_pools_attach(struct mempool_blocks *blocks, unsigned int cache_blocks);
void mp_pools_detach(struct mempool_blocks *blocks);
int mp_pools_get(struct mempool_blocks *blocks, void **ptrs, unsigned int *indices,
		 unsigned int count);
int mp_pools_return(struct mempool_blocks *blocks, const unsigned int *indices,
		    unsigned int count);
void mp_pools_flush(struct mempool_blocks *blocks);
int mp_pools_reset(struct mempool_blocks *blocks);
void mp_pools_correct(struct mempool_blocks *blocks, struct mempool_pool_stats *stats);

/* ---- report.c ---- */

/**
 * struct mp_call - of a public function, for messages
 * @name: the function's
 * @caller: return address
 */
struct mp_call {
	const char *name;
	const void *caller;
};

/* Of the public function that this is in. */
#define MP_CALL(name)	(&(struct mp_call){ name, __builtin_return_address(0) })

void mp_report(const struct mp_call *call, const void *ptr, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void mp_report_caller(const char *what, const void *caller);
void mp_report_end(bool go_on);

/* ---- tools.c ---- */

bool mp_tools_present(void);
void mp_tools_hide(const void *ptr, uint64_t len);
void mp_tools_show(const void *ptr, uint64_t len);
void mp_tools_issue(const void *ptr, uint64_t size);
void mp_tools_retire(const void *ptr, uint64_t len);
void mp_tools_answered(unsigned long cmd, const void *arg);
void mp_tools_trace(void);

/* ---- checked.c ---- */

struct mp_checked;

int mp_checked_init(struct mempool *pool, unsigned int flags);
void mp_checked_exit(struct mempool *pool);
int mp_checked_settled(struct mempool *pool, const struct mempool_block *block, uint64_t len,
		       const char *ptr);
int mp_checked_take(struct mempool *pool, const struct mp_call *call, uint64_t key, uint64_t size,
		    void **ptrs, unsigned int count);
int mp_checked_give(struct mempool *pool, const struct mp_call *call, void *const *ptrs,
		    unsigned int count);
void mp_checked_flush(struct mempool *pool, const struct mp_call *call);
void mp_checked_clear(struct mempool *pool, const struct mp_call *call);
void mp_checked_forget(struct mempool *pool, uint64_t offset, uint64_t len);
uint64_t mp_checked_usable(struct mempool *pool, const void *ptr);
bool mp_checked_tools(const struct mempool *pool);
bool mp_checked_goes_on(const struct mempool *pool);
void mp_report_refused(const struct mempool *pool, const struct mp_call *call);
void mp_poison(void *ptr, uint64_t len);
uint64_t mp_find_write(const void *ptr, uint64_t len, bool tools);

/* ---- checked_blocks.c ---- */

struct mp_checked_blocks;

int mp_checked_blocks_init(struct mempool_blocks *blocks, uint64_t offset, bool private);
void mp_checked_blocks_exit(struct mempool_blocks *blocks);
void mp_checked_got(struct mempool_blocks *blocks, const struct mp_call *call, uint32_t index);
int mp_checked_return(struct mempool_blocks *blocks, const struct mp_call *call, uint32_t index);
void mp_checked_reset(struct mempool_blocks *blocks, const struct mp_call *call);

/* ---- pool.c ---- */

/**
 * struct mempool - a session
 * @dev: where commands go
 * @info: what the device answered at open
 * @mark: a page that reads 1 in the process that opened the session and 0 in
 *	its children (MADV_WIPEONFORK)
 * @dontfork: children do not have the mapping
 * @space: offsets and addresses
 * @track: blocks out
 * @block_slots: slots that block pools lie in, at most
 * @cache: free blocks kept by threads
 * @check: MEMPOOL_OPEN_CHECK and _CHECK_REPORT, as they are in force
 * @checked: NULL unless in checked mode
 * @closed: this is only what is left of a handle
 */
struct mempool {
	struct mp_device dev;
	struct mempool_info info;
	_Atomic uint32_t *mark;
	bool dontfork;
	struct mp_space space;
	struct mp_track track;
	_Atomic uint64_t block_slots;
	struct mp_cache cache;
	unsigned int check;
	struct mp_checked *checked;
	bool closed;
};

/* mempool_options.flags, for tests: map windows although the whole would fit */
#define MP_OPEN_WINDOWS	(1u << 31)

#define MP_NR_CLOSED	8

/*
 * What is left of the handles closed last, so that a call on one is refused and finds
 * nobody's memory. No lock: a child may be forked at any time.
 */
struct mp_graves {
	void *_Atomic handles[MP_NR_CLOSED];
	atomic_uint next;
};

/* @handle, from malloc(), stays until so many more have come. */
static inline void mp_bury(struct mp_graves *graves, void *handle)
{
	unsigned int at = atomic_fetch_add(&graves->next, 1) % MP_NR_CLOSED;

	free(atomic_exchange(&graves->handles[at], handle));
}

struct mempool *mp_closed_pool(unsigned int check);

/* Take over @dev, also on failure, and open a session on it. */
int mp_open_on(struct mempool **pool, struct mp_device *dev, const struct mempool_options *opts);
int mp_copy_options(void *to, size_t to_size, const void *from, size_t from_size);

/* Inherited over fork(), or closed: a handle through which nothing is changed. */
static inline bool mp_inherited(const struct mempool *pool)
{
	return !atomic_load_explicit(pool->mark, memory_order_relaxed);
}

/* The answer to calls on such a handle, and on one that is closed. */
static inline int mp_refuse(const struct mempool *pool, const struct mp_call *call)
{
	mp_report_refused(pool, call);
	return -EPERM;
}

static inline int mp_ioctl(struct mempool *pool, unsigned long cmd, void *arg)
{
	return pool->dev.ops->ioctl(&pool->dev, cmd, arg);
}

/*
 * A command that changes nothing, which forked children may send too; but not to an
 * in-process device, of which they have a copy, locked perhaps.
 */
static inline int mp_ask(struct mempool *pool, unsigned long cmd, void *arg)
{
	return mp_inherited(pool) && pool->dev.fd < 0 ? -EPERM : mp_ioctl(pool, cmd, arg);
}

/* Result of a function that returns a pointer. */
static inline void *mp_null(int err)
{
	errno = -err;
	return NULL;
}

/* ---- bucket.c ---- */

uint64_t mp_round(const struct mempool_info *info, uint64_t size);

/* ---- blocks.c ---- */

/*
 * One word for each block of a pool: the generation under which this handle got
 * it (low half) and, while it holds the block, MP_HELD.
 */
#define MP_HELD		(UINT64_C(1) << 32)
#define MP_RESETTING	(UINT64_C(1) << 33)	/* held when a reset began */

/**
 * struct mempool_blocks - a block pool, open
 * @head: what libmempool_inline.h knows
 * @region: pinned
 * @words: one for each block
 * @block_size: bytes
 * @nr: blocks
 * @handle: the session's number for it
 * @serial: tells it from others that had its id in threads' caches
 * @max_slots: of a thread's magazine for it
 * @filled, @drained: blocks that came into caches from the kernel, and went back
 * @gets, @net: of threads that have ended; the global lock
 * @bad: returns refused without asking the kernel
 * @waiting: threads in calls that wait for blocks in others' caches
 * @checked: NULL unless in checked mode
 */
struct mempool_blocks {
	struct mempool_blocks_head head;
	struct mp_region *region;
	_Atomic uint64_t *words;
	uint64_t block_size;
	uint32_t nr;
	uint32_t handle;
	struct mp_checked_blocks *checked;
	uint64_t serial;
	unsigned int max_slots;
	_Atomic uint64_t filled, drained;
	uint64_t gets, net;
	_Atomic uint64_t bad;
	atomic_uint waiting;
};

static inline void *mp_block_address(const struct mempool_blocks *blocks, uint32_t index)
{
	return blocks->head.base + index * blocks->head.stride;
}

static inline uint32_t mp_block_index(const struct mempool_blocks *blocks, const void *ptr)
{
	return ((const char *)ptr - blocks->head.base) / blocks->head.stride;
}

/* Past the caches. */
int mp_past_get(struct mempool_blocks *blocks, const struct mp_call *call, void **ptrs,
		unsigned int *indices, unsigned int count);
int mp_past_return(struct mempool_blocks *blocks, uint32_t index);
int mp_past_take(struct mempool_blocks *blocks, struct mempool_token *tokens,
		 unsigned int count, unsigned int *done);
int mp_past_give(struct mempool_blocks *blocks, const uint32_t *indices, unsigned int count);

#endif /* MP_INTERNAL_H */
