/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Session: one open file description of /dev/mempool, an owner of memory.
 *
 * Its offset space and heap are the core's; here are the lock around them, the
 * chunks that come and go, and the figures.
 *
 * Order of locks: configuring -> session (never two at once; dropped before chunks are
 * acquired) -> list of pools -> pool -> arena. mmap_lock is outside the lock of a
 * page, which is outside a chunk's lock; .fault takes no mutex. None of these is
 * held across copies from and to user memory, zeroing, unmap_mapping_range() or
 * the allocation of pages. (mp_short_lock and mp_pinned_lock, outside of all, are:
 * see acquire.c.)
 */
#ifndef MP_SESSION_H
#define MP_SESSION_H

#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/xarray.h>

#include "arena.h"
#include "bucket.h"
#include "owner.h"

/**
 * struct mp_session - one open file
 * @owner: account; its reference count keeps the structure
 * @configuring: held throughout a CONFIGURE, which lets go of @lock while it acquires
 *	its minimum: two would undo each other's options
 * @lock: protects all below unless noted
 * @heap: the offset space; slots may be looked up without the lock
 * @buckets: size classes and their slabs
 * @freed: slots that can become holes again; lockless list, emptied under @lock
 * @pools: struct mp_handle by number
 * @inode: whose mapping all of this session's VMAs are in; immutable
 * @list: in the list of sessions, its lock
 * @min_chunks: never taken back by others' requests; read without lock too
 * @node: NUMA node preferred or NUMA_NO_NODE
 * @started: something was allocated: too late to configure
 * @under_way: commands that allocate and may yet fail; no time to configure either
 * @last_used: jiffies of the latest allocation or release; read without lock
 * @passed_over: round of reclaim in which it was looked at; list lock
 * @claims: what caches in user space reported
 * @failed_no_memory: allocations refused
 * @failed_session_limit: allocations refused
 * @failed_user_limit: allocations refused
 * @reclaimed: idle chunks that others took
 * @nr_pools: handles in @pools
 * @last_handle: serial number given to the latest
 * @pid: of the opener, in the initial namespace; immutable
 * @comm: of the opener; immutable
 */
struct mp_session {
	struct mp_owner owner;
	struct mutex configuring;
	struct mutex lock;
	struct mp_heap heap;
	struct mp_buckets buckets;
	struct llist_head freed;
	struct xarray pools;
	struct inode *inode;
	struct list_head list;
	unsigned long min_chunks;
	int node;
	bool started;
	unsigned int under_way;
	unsigned long last_used;
	unsigned long passed_over;
	struct mempool_claims claims;
	u64 failed_no_memory;
	u64 failed_session_limit;
	u64 failed_user_limit;
	u64 reclaimed;
	unsigned int nr_pools;
	u64 last_handle;
	pid_t pid;
	char comm[TASK_COMM_LEN];
};

#define MP_FEW_TICKETS	8

/**
 * struct mp_taken - blocks that a command has reserved
 * @tickets: for them: @few, or allocated when more came together
 * @nr: tickets
 * @room: for tickets
 * @few: enough for nearly every command
 */
struct mp_taken {
	struct mp_ticket *tickets;
	u32 nr;
	u32 room;
	struct mp_ticket few[MP_FEW_TICKETS];
};

/* What the module's parameters say about every session; set once at load. */
struct mp_session_defaults {
	struct mp_tiers tiers;
	unsigned long limit;		/* chunks; 0: none */
	unsigned long max_sessions;
	u64 nr_slots;
};

extern struct mp_session_defaults mp_session_defaults;

/* session.c: lifetime, options, figures */
struct mp_session *mp_session_open(void);
void mp_session_close(struct mp_session *s);
void mp_session_info(struct mp_session *s, struct mempool_info *info);
int mp_session_configure(struct mp_session *s, const struct mempool_configure *conf);
void mp_session_stats(struct mp_session *s, struct mempool_session_stats *stats);
void mp_session_claim(struct mp_session *s, const struct mempool_claims *claims);
void mp_sessions_totals(struct mempool_session_stats *sum, unsigned long *nr, u64 *nr_idle);
void mp_sessions_show(struct seq_file *m);

/* reclaim.c: idle chunks of other sessions */
unsigned long mp_sessions_idle(const struct mp_owner *except);
unsigned long mp_sessions_reclaim(const struct mp_owner *except, unsigned long nr);

extern struct list_head mp_sessions;
extern struct mutex mp_sessions_lock;

/* memory.c: blocks and the chunks behind them */
int mp_session_lock(struct mp_session *s);
void mp_session_unlock_and_hand_over(struct mp_session *s, struct list_head *chunks);
void mp_session_absorb_freed(struct mp_session *s);
int mp_session_grow(struct mp_session *s, u64 pages, bool move);
int mp_session_alloc(struct mp_session *s, const struct mempool_alloc *req,
		     struct mp_taken *taken, u32 *done);
void mp_session_publish(struct mp_session *s, struct mp_taken *taken, bool count);
void mp_session_abort(struct mp_session *s, struct mp_taken *taken);
int mp_session_release(struct mp_session *s, const u64 *offsets, u32 nr, bool count, u32 *done);
int mp_session_release_all(struct mp_session *s, u32 *done);
int mp_session_preallocate(struct mp_session *s, struct mempool_preallocate *req);
int mp_session_trim(struct mp_session *s, u64 *released);
void mp_session_detach_free(struct mp_session *s, struct list_head *chunks);
unsigned long mp_session_detach_idle(struct mp_session *s, unsigned long nr,
				     struct list_head *chunks);

static inline unsigned long mp_session_spare_idle(const struct mp_session *s)
{
	unsigned long backed = mp_peek(s->heap.nr_backed);
	unsigned long idle = mp_peek(s->heap.nr_idle);
	unsigned long floor = mp_peek(s->min_chunks);

	return backed > floor ? min(idle, backed - floor) : 0;
}

#endif /* MP_SESSION_H */
