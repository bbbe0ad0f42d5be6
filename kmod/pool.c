// SPDX-License-Identifier: MIT OR GPL-2.0
/* Block pools: the blocks. Names and membership are in member.c. */

#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/nospec.h>

#include "pool.h"
#include "trace.h"

/* ---- making and freeing ---- */

static u64 mp_pool_stride(u64 block_size)
{
	return ALIGN(block_size, MEMPOOL_BLOCK_ALIGN);
}

/**
 * mp_pool_check() - is a pool of this shape possible?
 * @req: name and mode are not looked at
 * @pages: receives the pages its blocks take
 *
 * Return: 0, -EINVAL, -EOVERFLOW.
 */
int mp_pool_check(const struct mempool_pool_create *req, u64 *pages)
{
	u64 bytes;

	if (!req->block_size || !req->nr_blocks)
		return -EINVAL;
	if (req->flags & MEMPOOL_POOL_THRESHOLD ? req->threshold > 100 : req->threshold)
		return -EINVAL;
	if (req->block_size > U64_MAX - MEMPOOL_BLOCK_ALIGN ||
	    check_mul_overflow(mp_pool_stride(req->block_size), (u64)req->nr_blocks, &bytes) ||
	    bytes > U64_MAX - MEMPOOL_CHUNK_SIZE)
		return -EOVERFLOW;
	*pages = DIV_ROUND_UP_ULL(bytes, PAGE_SIZE);
	return 0;
}

static void mp_pool_free(struct mp_owner *owner)
{
	struct mp_pool *pool = container_of(owner, struct mp_pool, owner);

	if (pool->slab)
		mp_slab_destroy(pool->slab);
	kvfree(pool->issues);
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
	pool->block_size = req->block_size;
	pool->threshold = req->flags & MEMPOOL_POOL_THRESHOLD ? req->threshold
							      : MEMPOOL_DEFAULT_THRESHOLD;
	pool->mode = req->mode;
	pool->flags = req->flags & MEMPOOL_POOL_KEEP;
	strscpy(pool->name, req->name, sizeof(pool->name));
	pool->uid = current_euid();
	pool->gid = current_egid();
	pool->nr_chunks = 0;
	return pool;
}

/**
 * mp_pool_fill() - cuts a pool's pages into blocks
 * @pool: new
 * @start: page number of its first page: see struct mp_pool
 * @nr_blocks: checked
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM.
 */
int mp_pool_fill(struct mp_pool *pool, u64 start, u32 nr_blocks)
{
	u64 stride = mp_pool_stride(pool->block_size);
	u64 pages = DIV_ROUND_UP_ULL(stride * nr_blocks, PAGE_SIZE);

	pool->issues = kvcalloc(nr_blocks, sizeof(*pool->issues),
				GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pool->issues)
		return -ENOMEM;
	pool->slab = mp_slab_create(start, pages, stride, nr_blocks);
	return pool->slab ? 0 : -ENOMEM;
}

/* ---- blocks ---- */

/* Ends one issue. */
static void mp_pool_return_block(struct mp_pool *pool, struct mp_handle *holder, u32 index)
{
	lockdep_assert_held(&pool->lock);
	mp_slab_give(pool->slab, index);
	pool->issues[index].holder = 0;
	pool->issues[index].generation++;
	pool->counts.returns++;
	if (holder)
		holder->held--;
}

/**
 * mp_pool_return_held() - returns what a leaving member holds
 * @handle: its pool is locked
 */
void mp_pool_return_held(struct mp_handle *handle)
{
	struct mp_pool *pool = handle->pool;
	u32 index = 0;

	lockdep_assert_held(&pool->lock);
	while (handle->held) {
		index = mp_slab_next_live(pool->slab, index);
		if (WARN_ON_ONCE(index >= pool->slab->nr))
			break;
		if (pool->issues[index].holder == handle->member)
			mp_pool_return_block(pool, handle, index);
		index++;
	}
}

/*
 * The free set is a bitmap, always in address order and merged: what is left of
 * a coalesce is to take stock of it, and to begin the search at its front.
 */
static u64 mp_pool_coalesce_locked(struct mp_pool *pool)
{
	u64 begin = ktime_get_ns(), ns;

	lockdep_assert_held(&pool->lock);
	mp_slab_coalesce(pool->slab);
	ns = ktime_get_ns() - begin;
	pool->counts.coalesces++;
	trace_mp_coalesce(pool->owner.id, mp_slab_free(pool->slab), mp_slab_gaps(pool->slab), ns);
	pool->counts.coalesce_ns_last = ns;
	pool->counts.coalesce_ns_max = max(pool->counts.coalesce_ns_max, ns);
	return ns;
}

/**
 * mp_pool_get() - hands out free blocks, lowest index first
 * @s: not locked
 * @id: handle
 * @tokens: receives what names them
 * @nr: most
 * @done: receives how many
 *
 * Context: sleeps.
 * Return: 0 when *@done > 0; -ENXIO, -ENOSPC, -EINTR.
 */
int mp_pool_get(struct mp_session *s, u32 id, struct mempool_token *tokens, u32 nr, u32 *done)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);
	bool reused;
	u32 index;

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	for (*done = 0; *done < nr; (*done)++) {
		if (mp_slab_take(pool->slab, &index, &reused))
			break;
		mp_slab_publish(pool->slab, index);
		pool->issues[index].holder = handle->member;
		tokens[*done] = (struct mempool_token){ index, pool->issues[index].generation };
		handle->held++;
		pool->counts.gets++;
	}
	mutex_unlock(&pool->lock);
	return *done ? 0 : -ENOSPC;
}

/* Why @token does not name an issue that is @member's (0: anybody's); or 0. */
static int mp_pool_check_token(const struct mp_pool *pool, const struct mempool_token *token,
			       u32 member, u32 *index)
{
	const struct mp_issue *issue;

	if (token->index >= pool->slab->nr)
		return -ERANGE;
	*index = array_index_nospec(token->index, pool->slab->nr);
	issue = &pool->issues[*index];
	if (issue->generation != token->generation)
		return -ESTALE;
	if (!issue->holder || (member && issue->holder != member))
		return -ENOENT;
	return 0;
}

/**
 * mp_pool_unget() - takes back blocks whose tokens could not be written
 * @s: not locked
 * @id: handle
 * @tokens: from mp_pool_get()
 * @nr: how many
 *
 * Blocks that another thread has returned or adopted meanwhile are left alone.
 */
void mp_pool_unget(struct mp_session *s, u32 id, const struct mempool_token *tokens, u32 nr)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_lock_pool(s, id, &handle);
	u32 i, index;

	if (IS_ERR(pool))
		return;
	for (i = 0; i < nr; i++) {
		if (mp_pool_check_token(pool, &tokens[i], handle->member, &index))
			continue;
		mp_pool_return_block(pool, handle, index);
		pool->counts.gets--;
		pool->counts.returns--;
	}
	mutex_unlock(&pool->lock);
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
	bool fragmented = false;
	u32 i, index;
	int err = 0;

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	for (i = 0; i < nr; i++) {
		err = mp_pool_check_token(pool, &tokens[i], handle->member, &index);
		if (err) {
			pool->counts.bad_returns++;
			break;
		}
		mp_pool_return_block(pool, handle, index);
		fragmented |= mp_slab_fragmented(pool->slab, pool->threshold);
	}
	if (fragmented) {
		mp_pool_coalesce_locked(pool);
		pool->counts.auto_coalesces++;
		(*coalesced)++;
	}
	mutex_unlock(&pool->lock);
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
		err = mp_pool_check_token(pool, &tokens[i], 0, &index);
		if (err)
			break;
		from = mp_pool_member(pool, pool->issues[index].holder);
		from->held--;
		handle->held++;
		pool->issues[index].holder = handle->member;
		pool->counts.adopts++;
	}
	mutex_unlock(&pool->lock);
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
	*ns = mp_pool_coalesce_locked(pool);
	mutex_unlock(&pool->lock);
	return 0;
}

static u64 mp_pool_return_all(struct mp_pool *pool)
{
	struct mp_handle *handle;
	u64 returned = 0;
	u32 index = 0;

	while ((index = mp_slab_next_live(pool->slab, index)) < pool->slab->nr) {
		mp_pool_return_block(pool, NULL, index++);
		returned++;
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
	else if (!force && pool->slab->issued != handle->held)
		err = -EBUSY;
	else
		*returned = mp_pool_return_all(pool);
	mutex_unlock(&pool->lock);
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
	const struct mp_pool_counts *counts = &pool->counts;
	const struct mp_slab *slab;

	mutex_lock(&pool->lock);
	slab = pool->slab;
	*stats = (struct mempool_pool_stats){
		.flags = pool->flags,
		.block_size = pool->block_size,
		.stride = slab->stride,
		.nr_blocks = slab->nr,
		.issued = slab->issued,
		.free = mp_slab_free(slab),
		.gaps = mp_slab_gaps(slab),
		.gets = counts->gets,
		.returns = counts->returns,
		.bad_returns = counts->bad_returns,
		.adopts = counts->adopts,
		.coalesces = counts->coalesces,
		.auto_coalesces = counts->auto_coalesces,
		.coalesce_ns_last = counts->coalesce_ns_last,
		.coalesce_ns_max = counts->coalesce_ns_max,
		.members = READ_ONCE(pool->nr_members),
		.threshold = pool->threshold,
		.mode = pool->mode,
	};
	mutex_unlock(&pool->lock);
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
	mutex_unlock(&pool->lock);

	mp_pool_read_stats(pool, stats);
	mp_owner_put(&pool->owner);
	stats->pool = id;
	stats->held = held;
	return 0;
}
