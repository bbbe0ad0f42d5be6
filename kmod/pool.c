// SPDX-License-Identifier: MIT OR GPL-2.0
/* Block pools: the blocks. Names and membership are in member.c. */

#include <linux/ktime.h>
#include <linux/mm.h>

#include "pool.h"
#include "trace.h"

/* ---- making and freeing ---- */

static void mp_pool_free(struct mp_owner *owner)
{
	struct mp_pool *pool = container_of(owner, struct mp_pool, owner);

	mp_blocks_destroy(&pool->blocks);
	kvfree(pool->chunks);
	kfree(pool);
}

/**
 * mp_pool_new() - a pool without blocks and members
 * @req: checked
 * @user: charged with its chunks; the reference is taken over. NULL: nobody
 *
 * Context: sleeps.
 * Return: the pool, ended by mp_owner_put(); NULL when out of memory.
 */
struct mp_pool *mp_pool_new(const struct mempool_pool_create *req, struct mp_user *user)
{
	struct mp_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL_ACCOUNT);

	if (!pool) {
		mp_user_put(user);
		return NULL;
	}
	mp_owner_init(&pool->owner, MP_OWNER_POOL, user, mp_pool_free);
	mutex_init(&pool->lock);
	INIT_LIST_HEAD(&pool->members);
	INIT_LIST_HEAD(&pool->list);
	pool->mode = req->mode;
	pool->flags = req->flags & MEMPOOL_POOL_KEEP;
	strscpy(pool->name, req->name, sizeof(pool->name));
	pool->uid = current_euid();
	pool->gid = current_egid();
	return pool;
}

/**
 * mp_pool_fill() - cuts a pool's pages into blocks
 * @pool: new
 * @start: page number of its first page: see struct mp_pool
 * @req: checked
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM.
 */
int mp_pool_fill(struct mp_pool *pool, u64 start, const struct mempool_pool_create *req)
{
	u32 threshold = req->flags & MEMPOOL_POOL_THRESHOLD ? req->threshold
							    : MEMPOOL_DEFAULT_THRESHOLD;

	return mp_blocks_init(&pool->blocks, start, req->block_size, req->nr_blocks, threshold);
}

/* ---- blocks ---- */

/**
 * mp_pool_return_held() - returns what a leaving member holds
 * @handle: its pool is locked
 */
void mp_pool_return_held(struct mp_handle *handle)
{
	struct mp_blocks *blocks = &handle->pool->blocks;
	u32 index = 0;

	lockdep_assert_held(&handle->pool->lock);
	for (; handle->held; handle->held--) {
		index = mp_blocks_next_held(blocks, handle->member, index);
		if (WARN_ON_ONCE(index >= blocks->slab->nr))
			break;
		mp_blocks_return(blocks, index++);
		cond_resched();
	}
}

/*
 * The free set is a bitmap, always in address order and merged: what is left of
 * a coalesce is to take stock of it, and to begin the search at its front.
 */
static u64 mp_pool_coalesce_locked(struct mp_pool *pool, bool automatic)
{
	struct mp_slab *slab = pool->blocks.slab;
	u64 begin = ktime_get_ns(), ns;

	lockdep_assert_held(&pool->lock);
	mp_slab_coalesce(slab);
	ns = ktime_get_ns() - begin;
	mp_blocks_coalesced(&pool->blocks, ns, automatic);
	trace_mp_coalesce(pool->owner.id, mp_slab_free(slab), mp_slab_gaps(slab), ns);
	return ns;
}

/**
 * mp_pool_get() - hands out free blocks, lowest index first
 * @s: not locked
 * @id: handle
 * @tokens: receives what names them
 * @nr: most
 * @done: receives how many
 * @serial: receives the handle's, for mp_pool_unget()
 *
 * Context: sleeps.
 * Return: 0 when *@done > 0; -ENXIO, -ENOSPC, -EINTR.
 */
int mp_pool_get(struct mp_session *s, u32 id, struct mempool_token *tokens, u32 nr, u32 *done,
		u64 *serial)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	*serial = handle->serial;
	*done = mp_blocks_get(&pool->blocks, handle->member, tokens, nr);
	handle->held += *done;
	mp_handle_unlock_pool(pool);
	return *done ? 0 : -ENOSPC;
}

/**
 * mp_pool_unget() - takes back blocks whose tokens could not be written
 * @s: not locked
 * @id: handle
 * @serial: from mp_pool_get(): another thread may have closed that handle
 * @tokens: from mp_pool_get()
 * @nr: how many
 *
 * Blocks that another thread has returned or adopted meanwhile are left alone.
 *
 * Context: sleeps; a fatal signal does not end it.
 */
void mp_pool_unget(struct mp_session *s, u32 id, u64 serial, const struct mempool_token *tokens,
		   u32 nr)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_relock_pool(s, id, serial, &handle);
	u32 i, index;

	if (IS_ERR(pool))
		return;
	for (i = 0; i < nr; i++) {
		if (mp_blocks_find(&pool->blocks, &tokens[i], handle->member, &index))
			continue;
		mp_blocks_unget(&pool->blocks, index);
		handle->held--;
	}
	mp_handle_unlock_pool(pool);
}

/**
 * mp_pool_return() - returns blocks, up to the first token that is refused
 * @s: not locked
 * @id: handle
 * @tokens: from the user
 * @nr: how many
 * @done: raised by the number returned
 * @coalesced: raised when they caused a coalesce: at most one for all of them
 *
 * Context: sleeps.
 * Return: 0; -ENXIO, -EINTR; -ERANGE, -ESTALE, -ENOENT for the token after the
 * last one returned.
 */
int mp_pool_return(struct mp_session *s, u32 id, const struct mempool_token *tokens, u32 nr,
		   u32 *done, u32 *coalesced)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);
	struct mp_blocks *blocks;
	bool fragmented = false;
	u32 i, index;
	int err = 0;

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	blocks = &pool->blocks;
	for (i = 0; i < nr; i++) {
		err = mp_blocks_find(blocks, &tokens[i], handle->member, &index);
		if (err) {
			blocks->bad_returns++;
			break;
		}
		mp_blocks_return(blocks, index);
		handle->held--;
		fragmented |= mp_slab_fragmented(blocks->slab, blocks->threshold);
	}
	if (fragmented) {
		mp_pool_coalesce_locked(pool, true);
		(*coalesced)++;
	}
	mp_handle_unlock_pool(pool);
	*done += i;
	return err;
}

static struct mp_handle *mp_pool_member(const struct mp_pool *pool, u32 member)
{
	struct mp_handle *handle;

	lockdep_assert_held(&pool->lock);
	list_for_each_entry(handle, &pool->members, members)
		if (handle->member == member)
			return handle;
	return NULL;
}

/**
 * mp_pool_adopt() - makes the caller the holder of issued blocks
 * @s: not locked
 * @id: handle
 * @tokens: from the user
 * @nr: how many
 * @done: raised by the number adopted
 *
 * Context: sleeps.
 * Return: as mp_pool_return().
 */
int mp_pool_adopt(struct mp_session *s, u32 id, const struct mempool_token *tokens, u32 nr,
		  u32 *done)
{
	struct mp_handle *handle, *from;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);
	u32 i, index;
	int err = 0;

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	for (i = 0; i < nr; i++) {
		err = mp_blocks_find(&pool->blocks, &tokens[i], 0, &index);
		if (err)
			break;
		from = mp_pool_member(pool, mp_blocks_adopt(&pool->blocks, index, handle->member));
		from->held--;
		handle->held++;
	}
	mp_handle_unlock_pool(pool);
	*done += i;
	return err;
}

/* Return: 0 and the time it took; -ENXIO, -EINTR. */
int mp_pool_coalesce(struct mp_session *s, u32 id, u64 *ns)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	*ns = mp_pool_coalesce_locked(pool, false);
	mp_handle_unlock_pool(pool);
	return 0;
}

static u64 mp_pool_return_all(struct mp_pool *pool)
{
	struct mp_blocks *blocks = &pool->blocks;
	struct mp_handle *handle;
	u64 returned = 0;
	u32 index = 0;

	while ((index = mp_blocks_next_held(blocks, 0, index)) < blocks->slab->nr) {
		mp_blocks_return(blocks, index++);
		returned++;
		cond_resched();
	}
	list_for_each_entry(handle, &pool->members, members)
		handle->held = 0;
	return returned;
}

/**
 * mp_pool_reset() - returns every issued block
 * @s: not locked
 * @id: handle
 * @force: also those that other members hold
 * @returned: receives how many
 *
 * Context: sleeps.
 * Return: 0; -ENXIO, -EINTR; -EBUSY: others hold some; -EPERM: @force is for the
 * creator and root.
 */
int mp_pool_reset(struct mp_session *s, u32 id, bool force, u64 *returned)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);
	int err = 0;

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	if (force && !mp_pool_is_ours(pool))
		err = -EPERM;
	else if (!force && pool->blocks.slab->issued != handle->held)
		err = -EBUSY;
	else
		*returned = mp_pool_return_all(pool);
	mp_handle_unlock_pool(pool);
	return err;
}

/* ---- figures ---- */

/**
 * mp_pool_read_stats() - a pool's state and counters
 * @pool: locked here
 * @stats: filled in, but for what depends on a session
 */
void mp_pool_read_stats(struct mp_pool *pool, struct mempool_pool_stats *stats)
{
	mutex_lock(&pool->lock);
	mp_blocks_read_stats(&pool->blocks, stats);
	mutex_unlock(&pool->lock);
	stats->flags = pool->flags;
	stats->members = mp_peek(pool->nr_members);
	stats->mode = pool->mode;
}

/* The same through a session's handle. Return: 0, -ENXIO, -EINTR. */
int mp_pool_stats(struct mp_session *s, u32 id, struct mempool_pool_stats *stats)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);
	u64 held;

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	held = handle->held;
	mp_owner_get(&pool->owner);
	mp_handle_unlock_pool(pool);

	mp_pool_read_stats(pool, stats);
	mp_owner_put(&pool->owner);
	stats->pool = id;
	stats->held = held;
	return 0;
}
