/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Block pools: a fixed number of equal blocks, addressed by index.
 *
 * A private pool is one slab in its session's heap. A named pool owns its
 * chunks; each member session sees them at slots of its own. Every issued block
 * has a holder, a member, and a generation, which rises by one whenever the
 * block is returned: a token (index, generation) can never be taken for a later
 * issue of the same block.
 *
 * Order of locks: session -> mp_pools_lock (names and membership) -> pool.
 */
#ifndef MP_POOL_H
#define MP_POOL_H

#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/mutex.h>

#include "blocks.h"
#include "owner.h"
#include "session.h"

/**
 * struct mp_pool - a block pool
 * @owner: of the chunks of a named pool; its reference count keeps the structure
 * @lock: protects @blocks, @members
 * @blocks: page 0 is the pool's first for a named one, the session heap's page
 *	for a private one
 * @members: struct mp_handle
 * @name: empty: private; immutable, as all below unless noted
 * @mode: of a named pool
 * @flags: MEMPOOL_POOL_KEEP
 * @fixed: made by the module's parameter, lives as long as the module
 * @uid: creator
 * @gid: creator's group
 * @chunks: of a named pool
 * @nr_chunks: of these
 * @list: in the list of names while it has one; mp_pools_lock
 * @nr_members: mp_pools_lock
 * @last_member: number given to the latest member; mp_pools_lock
 * @ready: creation is complete, others may open it; mp_pools_lock
 * @kobj: its directory in sysfs, if @in_sysfs; mp_pools_lock
 * @in_sysfs: see @kobj
 */
struct mp_pool {
	struct mp_owner owner;
	struct mutex lock;
	struct mp_blocks blocks;
	struct list_head members;

	char name[MEMPOOL_NAME_LEN];
	u32 mode;
	u32 flags;
	bool fixed;
	kuid_t uid;
	kgid_t gid;
	struct mp_chunk **chunks;
	u64 nr_chunks;

	struct list_head list;
	u32 nr_members;
	u32 last_member;
	bool ready;
	bool in_sysfs;
	struct kobject kobj;
};

/**
 * struct mp_handle - a session's membership of a pool
 * @pool: with a reference
 * @session: whose
 * @members: in the pool's list, pool lock
 * @id: number in the session, session lock
 * @serial: tells it from handles that have the same @id later; immutable
 * @member: number in the pool, never 0; immutable
 * @held: blocks that this member holds; pool lock
 * @start: page number in the session's space where the pool begins; immutable
 */
struct mp_handle {
	struct mp_pool *pool;
	struct mp_session *session;
	struct list_head members;
	u32 id;
	u64 serial;
	u32 member;
	u64 held;
	u64 start;
};

/* pool.c: making pools, and their blocks */
struct mp_pool *mp_pool_new(const struct mempool_pool_create *req, struct mp_user *user);
int mp_pool_fill(struct mp_pool *pool, u64 start, const struct mempool_pool_create *req);
void mp_pool_return_held(struct mp_handle *handle);
int mp_pool_get(struct mp_session *s, u32 id, struct mempool_token *tokens, u32 nr, u32 *done,
		u64 *serial);
void mp_pool_unget(struct mp_session *s, u32 id, u64 serial, const struct mempool_token *tokens,
		   u32 nr);
int mp_pool_return(struct mp_session *s, u32 id, const struct mempool_token *tokens, u32 nr,
		   u32 *done, u32 *coalesced);
int mp_pool_adopt(struct mp_session *s, u32 id, const struct mempool_token *tokens, u32 nr,
		  u32 *done);
int mp_pool_coalesce(struct mp_session *s, u32 id, u64 *ns);
int mp_pool_reset(struct mp_session *s, u32 id, bool force, u64 *returned);
int mp_pool_stats(struct mp_session *s, u32 id, struct mempool_pool_stats *stats);
void mp_pool_read_stats(struct mp_pool *pool, struct mempool_pool_stats *stats);

/* member.c: names, and who has a pool open */
int mp_pool_create(struct mp_session *s, struct mempool_pool_create *req, u64 *serial);
void mp_pool_created(struct mp_session *s, u32 id, u64 serial);
int mp_pool_open(struct mp_session *s, struct mempool_pool_open *req, u64 *serial);
void mp_pool_undo(struct mp_session *s, u32 id, u64 serial);
int mp_pool_close(struct mp_session *s, u32 id);
int mp_pool_remove(const char *name);
void mp_session_leave_pools(struct mp_session *s);
struct mp_pool *mp_handle_lock_pool(struct mp_session *s, u32 id, struct mp_handle **handle);
struct mp_pool *mp_handle_relock_pool(struct mp_session *s, u32 id, u64 serial,
				      struct mp_handle **handle);
void mp_handle_unlock_pool(struct mp_pool *pool);
bool mp_pool_is_ours(const struct mp_pool *pool);
int mp_pools_make_fixed(const char *spec);
void mp_pools_exit(void);

extern struct list_head mp_pools;
extern struct mutex mp_pools_lock;

#endif /* MP_POOL_H */
