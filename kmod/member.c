// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Block pools: their names, and who has them open.
 *
 * A named pool's chunks are mapped through every member's inode. Joining sets
 * pointers in the member's slots; leaving clears them and follows the order of
 * mmap.c in the leaver's inode. Chunks leave the pool only when no member is
 * left, so that nobody can have them mapped then.
 */

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/kstrtox.h>
#include <linux/string.h>

#include "acquire.h"
#include "check.h"
#include "mmap.h"
#include "params.h"
#include "pool.h"
#include "sysfs.h"

#define MP_FIXED_MODE	0666u

LIST_HEAD(mp_pools);
DEFINE_MUTEX(mp_pools_lock);		/* mp_pools, names and membership of named pools */

/* ---- names and permissions ---- */

/* Is the caller the pool's creator, or root? */
bool mp_pool_is_ours(const struct mp_pool *pool)
{
	return uid_eq(current_euid(), pool->uid) || capable(CAP_SYS_ADMIN);
}

static bool mp_pool_admits(const struct mp_pool *pool)
{
	if (pool->mode & 0006)
		return true;
	if ((pool->mode & 0060) && in_egroup_p(pool->gid))
		return true;
	return mp_pool_is_ours(pool);
}

static struct mp_pool *mp_find_name(const char *name)
{
	struct mp_pool *pool;

	lockdep_assert_held(&mp_pools_lock);
	list_for_each_entry(pool, &mp_pools, list)
		if (!strcmp(pool->name, name))
			return pool;
	return NULL;
}

/* ---- the chunks of a named pool ---- */

/* Gives a pool that nobody can find or map any more back. */
static void mp_pool_destroy(struct mp_pool *pool)
{
	LIST_HEAD(chunks);
	u64 i;

	mp_sysfs_remove_pool(pool);
	for (i = 0; i < pool->nr_chunks; i++)
		list_add_tail(&pool->chunks[i]->list, &chunks);
	mp_arena_dispose(&chunks);
	mp_owner_put(&pool->owner);
}

static int mp_named_take_chunks(struct mp_pool *pool, int node, u64 nr)
{
	struct mp_chunk *chunk;
	LIST_HEAD(chunks);
	int err;

	if (nr > mp_arena.nr_chunks)
		return -ENOMEM;
	pool->chunks = kvcalloc(nr, sizeof(*pool->chunks), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pool->chunks)
		return -ENOMEM;
	err = mp_acquire(&pool->owner, nr, node, &chunks);
	if (err)
		return err;
	list_for_each_entry(chunk, &chunks, list)
		pool->chunks[pool->nr_chunks++] = chunk;
	return 0;
}

/* A pool with chunks and blocks, without a name or members. */
static struct mp_pool *mp_named_new(const struct mempool_pool_create *req, u64 pages, int node,
				    struct mp_user *user)
{
	struct mp_pool *pool = mp_pool_new(req, user);
	int err;

	if (!pool)
		return ERR_PTR(-ENOMEM);
	err = mp_named_take_chunks(pool, node, DIV_ROUND_UP_ULL(pages, MP_CHUNK_PAGES));
	if (!err)
		err = mp_pool_fill(pool, 0, req);
	if (err) {
		mp_pool_destroy(pool);
		return ERR_PTR(err);
	}
	return pool;
}

/* ---- handles ---- */

static int mp_handle_publish(struct mp_session *s, struct mp_handle *handle)
{
	int err;

	lockdep_assert_held(&s->lock);
	err = xa_alloc(&s->pools, &handle->id, handle, XA_LIMIT(0, MEMPOOL_MAX_HANDLES - 1),
		       GFP_KERNEL);
	if (err)
		return err == -EBUSY ? -EMFILE : err;
	handle->serial = ++s->last_handle;
	s->nr_pools++;
	return 0;
}

/* Member numbers are never 0 and never in use twice. */
static u32 mp_new_member(struct mp_pool *pool)
{
	const struct mp_handle *handle;
	bool taken;

	lockdep_assert_held(&pool->lock);
	do {
		taken = !++pool->last_member;
		list_for_each_entry(handle, &pool->members, members)
			taken |= handle->member == pool->last_member;
	} while (taken);
	return pool->last_member;
}

static void mp_handle_enter(struct mp_handle *handle, struct mp_session *s, struct mp_pool *pool)
{
	handle->session = s;
	handle->pool = pool;
	mp_owner_get(&pool->owner);
	mutex_lock(&pool->lock);
	handle->member = mp_new_member(pool);
	list_add_tail(&handle->members, &pool->members);
	WRITE_ONCE(pool->nr_members, pool->nr_members + 1);
	mutex_unlock(&pool->lock);
}

static void mp_handle_exit(struct mp_handle *handle)
{
	struct mp_pool *pool = handle->pool;

	mutex_lock(&pool->lock);
	mp_pool_return_held(handle);
	list_del(&handle->members);
	WRITE_ONCE(pool->nr_members, pool->nr_members - 1);
	mutex_unlock(&pool->lock);
}

/**
 * mp_handle_lock_pool() - the pool behind a handle
 * @s: not locked; locked meanwhile, so that a pool found is one still open
 * @id: from the user
 * @handle: receives the session's membership; valid while the pool is locked
 *
 * The reference is for the unlocking: a mutex must outlive its mutex_unlock(), and
 * the handle may be closed by another thread as soon as that has let the lock go.
 *
 * Context: sleeps.
 * Return: the pool, locked, for mp_handle_unlock_pool(); -ENXIO or -EINTR as an
 * error pointer.
 */
struct mp_pool *mp_handle_lock_pool(struct mp_session *s, u32 id, struct mp_handle **handle)
{
	struct mp_pool *pool = ERR_PTR(-ENXIO);
	int err;

	err = mp_session_lock(s);
	if (err)
		return ERR_PTR(err);
	*handle = xa_load(&s->pools, id);
	if (*handle) {
		pool = (*handle)->pool;
		mp_owner_get(&pool->owner);
		mutex_lock(&pool->lock);
	}
	mutex_unlock(&s->lock);
	return pool;
}

/**
 * mp_handle_relock_pool() - the pool behind a handle that was had before
 * @s: not locked
 * @id: its number
 * @serial: of that very handle: another may have the number by now
 * @handle: receives the session's membership
 *
 * For what must be brought to its end: a fatal signal is no reason to give up.
 *
 * Context: sleeps.
 * Return: the pool, locked, for mp_handle_unlock_pool(); -ENXIO as an error pointer.
 */
struct mp_pool *mp_handle_relock_pool(struct mp_session *s, u32 id, u64 serial,
				      struct mp_handle **handle)
{
	struct mp_pool *pool = ERR_PTR(-ENXIO);

	mutex_lock(&s->lock);
	*handle = xa_load(&s->pools, id);
	if (*handle && (*handle)->serial == serial) {
		pool = (*handle)->pool;
		mp_owner_get(&pool->owner);
		mutex_lock(&pool->lock);
	}
	mutex_unlock(&s->lock);
	return pool;
}

/**
 * mp_handle_unlock_pool() - ends what mp_handle_lock_pool() began
 * @pool: locked; not to be touched afterwards
 *
 * Context: sleeps; no lock held but the pool's.
 */
void mp_handle_unlock_pool(struct mp_pool *pool)
{
	mutex_unlock(&pool->lock);
	mp_owner_put(&pool->owner);
}

/* ---- private pools ---- */

static int mp_private_take_pages(struct mp_session *s, u64 pages, u64 *start)
{
	int err;

	while ((err = mp_heap_take(&s->heap, pages, start)) == -ENOSPC) {
		err = mp_session_grow(s, pages, true);
		if (err)
			break;
	}
	return err;
}

/* Puts the pool into the session's heap and opens it there. */
static int mp_private_place(struct mp_session *s, struct mp_pool *pool,
			    const struct mempool_pool_create *req, u64 pages,
			    struct mp_handle *handle)
{
	int err;

	err = mp_private_take_pages(s, pages, &handle->start);
	if (err)
		return err;
	err = mp_pool_fill(pool, handle->start, req);
	if (err)
		goto err_pages;
	mp_handle_enter(handle, s, pool);
	err = mp_handle_publish(s, handle);
	if (err)
		goto err_enter;
	mp_heap_get_busy(&s->heap, handle->start, pages);
	return 0;

err_enter:
	mp_handle_exit(handle);
	mp_owner_put(&pool->owner);
err_pages:
	mp_heap_give(&s->heap, handle->start, pages);
	return err;
}

/* What the creator is told; under the session's lock, before another closes it. */
static void mp_describe_handle(const struct mp_handle *handle, struct mempool_pool_create *req,
			       u64 *serial)
{
	*serial = handle->serial;
	req->pool = handle->id;
	req->offset = handle->start << PAGE_SHIFT;
	req->stride = handle->pool->blocks.slab->stride;
}

static int mp_private_create(struct mp_session *s, struct mempool_pool_create *req, u64 pages,
			     struct mp_handle *handle, u64 *serial)
{
	struct mp_pool *pool;
	LIST_HEAD(chunks);
	int err;

	pool = mp_pool_new(req, NULL);
	if (!pool)
		return -ENOMEM;
	err = mp_session_lock(s);
	if (!err) {
		err = mp_private_place(s, pool, req, pages, handle);
		if (!err)
			mp_describe_handle(handle, req, serial);
		mp_session_detach_free(s, &chunks);
		mp_session_unlock_and_hand_over(s, &chunks);
	}
	mp_owner_put(&pool->owner);
	return err;
}

static void mp_private_leave(struct mp_handle *handle)
{
	struct mp_session *s = handle->session;
	struct mp_pool *pool = handle->pool;
	LIST_HEAD(chunks);

	mp_handle_exit(handle);
	mutex_lock(&s->lock);
	mp_heap_put_busy(&s->heap, handle->start, pool->blocks.slab->pages);
	mp_heap_give(&s->heap, handle->start, pool->blocks.slab->pages);
	mp_session_detach_free(s, &chunks);
	mp_session_unlock_and_hand_over(s, &chunks);
	mp_owner_put(&pool->owner);
}

/* ---- joining and leaving a named pool ---- */

/* Slots, right to map, number in the session: in this order, undone if not all. */
static int mp_named_join(struct mp_session *s, struct mp_pool *pool, struct mp_handle *handle)
{
	u64 first, i;
	int err;

	lockdep_assert_held(&s->lock);
	lockdep_assert_held(&mp_pools_lock);
	mp_session_absorb_freed(s);
	err = mp_heap_take_slots(&s->heap, pool->nr_chunks, &first);
	if (err)
		return err == -ENOSPC ? -ENOMEM : err;
	handle->start = first * MP_CHUNK_PAGES;
	mp_handle_enter(handle, s, pool);
	err = mp_handle_publish(s, handle);
	if (err) {
		mp_handle_exit(handle);
		mp_owner_put(&pool->owner);
		mp_heap_give_slots(&s->heap, first, pool->nr_chunks);
		return err;
	}
	for (i = 0; i < pool->nr_chunks; i++)
		mp_slot_set_chunk(mp_heap_slot(&s->heap, first + i), pool->chunks[i]);
	return 0;
}

/* Must the pool go when its last member has left? */
static bool mp_named_is_over(const struct mp_pool *pool)
{
	bool kept = pool->fixed || (pool->flags & MEMPOOL_POOL_KEEP);

	lockdep_assert_held(&mp_pools_lock);
	return !pool->nr_members && (list_empty(&pool->list) || !kept || !pool->ready);
}

static void mp_named_leave(struct mp_handle *handle)
{
	struct mp_session *s = handle->session;
	struct mp_pool *pool = handle->pool;
	u64 first = handle->start / MP_CHUNK_PAGES, i;
	bool over;

	mutex_lock(&s->lock);
	for (i = 0; i < pool->nr_chunks; i++)
		mp_slot_set_chunk(mp_heap_slot(&s->heap, first + i), NULL);
	mutex_unlock(&s->lock);
	mp_session_unmap_range(s, first, pool->chunks, pool->nr_chunks);
	mutex_lock(&s->lock);
	mp_heap_give_slots(&s->heap, first, pool->nr_chunks);
	mutex_unlock(&s->lock);

	/* Before the lock of all pools: there may be millions. */
	mutex_lock(&pool->lock);
	mp_pool_return_held(handle);
	mutex_unlock(&pool->lock);

	mutex_lock(&mp_pools_lock);
	mp_handle_exit(handle);
	over = mp_named_is_over(pool);
	if (over) {
		/* Under the lock: the name's next pool has a directory too. */
		list_del_init(&pool->list);
		mp_sysfs_remove_pool(pool);
	}
	mutex_unlock(&mp_pools_lock);
	if (over)
		mp_pool_destroy(pool);
	mp_owner_put(&pool->owner);
}

static void mp_handle_leave(struct mp_handle *handle)
{
	if (handle->pool->name[0])
		mp_named_leave(handle);
	else
		mp_private_leave(handle);
	kfree(handle);
}

/* ---- the commands ---- */

static int mp_named_create(struct mp_session *s, struct mempool_pool_create *req, u64 pages,
			   struct mp_handle *handle, u64 *serial)
{
	struct mp_user *user = mp_user_get(current_euid());
	struct mp_pool *pool;
	int err;

	if (!user)
		return -ENOMEM;
	pool = mp_named_new(req, pages, s->node, user);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	err = mp_session_lock(s);
	if (err)
		goto err_pool;
	mutex_lock(&mp_pools_lock);
	err = mp_find_name(pool->name) ? -EEXIST : mp_named_join(s, pool, handle);
	if (!err) {
		list_add_tail(&pool->list, &mp_pools);
		mp_describe_handle(handle, req, serial);
	}
	mutex_unlock(&mp_pools_lock);
	mutex_unlock(&s->lock);
	if (!err)
		return 0;

err_pool:
	mp_pool_destroy(pool);
	return err;
}

static bool mp_name_taken(const char *name)
{
	bool taken;

	mutex_lock(&mp_pools_lock);
	taken = mp_find_name(name);
	mutex_unlock(&mp_pools_lock);
	return taken;
}

/**
 * mp_pool_create() - makes a block pool and opens it
 * @s: not locked
 * @req: from the user; receives handle, offset and stride
 * @serial: receives the handle's, for mp_pool_created() and mp_pool_undo()
 *
 * A named pool can be opened by others after mp_pool_created().
 *
 * Context: sleeps.
 * Return: 0 or an error as in uapi/mempool.h.
 */
int mp_pool_create(struct mp_session *s, struct mempool_pool_create *req, u64 *serial)
{
	struct mp_handle *handle;
	u64 pages;
	int err;

	err = mp_check_create(req, &pages);
	if (!err && req->name[0] && mp_name_taken(req->name))
		err = -EEXIST;
	if (err)
		return err;
	handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	if (!handle)
		return -ENOMEM;
	if (req->name[0])
		err = mp_named_create(s, req, pages, handle, serial);
	else
		err = mp_private_create(s, req, pages, handle, serial);
	if (err)
		kfree(handle);
	return err;
}

/* The creator knows of its pool: others may open it now. */
void mp_pool_created(struct mp_session *s, u32 id, u64 serial)
{
	struct mp_handle *handle;
	struct mp_pool *pool = mp_handle_relock_pool(s, id, serial, &handle);

	if (IS_ERR(pool))
		return;
	/* Beyond the lock as well, which comes after that of all pools. */
	mp_owner_get(&pool->owner);
	mp_handle_unlock_pool(pool);

	mutex_lock(&mp_pools_lock);
	if (!list_empty(&pool->list)) {
		pool->ready = true;
		mp_sysfs_add_pool(pool);
	}
	mutex_unlock(&mp_pools_lock);
	mp_owner_put(&pool->owner);
}

static bool mp_session_has_open(struct mp_session *s, const struct mp_pool *pool)
{
	struct mp_handle *handle;
	unsigned long id;

	lockdep_assert_held(&s->lock);
	xa_for_each(&s->pools, id, handle)
		if (handle->pool == pool)
			return true;
	return false;
}

static int mp_open_name(struct mp_session *s, const char *name, struct mp_handle *handle)
{
	struct mp_pool *pool = mp_find_name(name);

	if (!pool || !pool->ready)
		return -ENOENT;
	if (!mp_pool_admits(pool))
		return -EACCES;
	if (mp_session_has_open(s, pool))
		return -EALREADY;
	return mp_named_join(s, pool, handle);
}

/**
 * mp_pool_open() - joins a named pool
 * @s: not locked
 * @req: from the user; receives handle and shape
 * @serial: receives the handle's, for mp_pool_undo()
 *
 * Context: sleeps.
 * Return: 0 or an error as in uapi/mempool.h.
 */
int mp_pool_open(struct mp_session *s, struct mempool_pool_open *req, u64 *serial)
{
	struct mp_handle *handle;
	struct mp_pool *pool;
	int err;

	err = req->flags ? -EINVAL : mp_check_name(req->name);
	if (err)
		return err;
	handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	if (!handle)
		return -ENOMEM;
	err = mp_session_lock(s);
	if (err)
		goto err_handle;
	mutex_lock(&mp_pools_lock);
	err = mp_open_name(s, req->name, handle);
	mutex_unlock(&mp_pools_lock);
	if (!err) {
		pool = handle->pool;
		*serial = handle->serial;
		req->pool = handle->id;
		req->offset = handle->start << PAGE_SHIFT;
		req->stride = pool->blocks.slab->stride;
		req->block_size = pool->blocks.block_size;
		req->nr_blocks = pool->blocks.slab->nr;
		req->threshold = pool->blocks.threshold;
	}
	mutex_unlock(&s->lock);
	if (!err)
		return 0;

err_handle:
	kfree(handle);
	return err;
}

/**
 * mp_pool_close() - leaves a pool; blocks held are returned
 * @s: not locked
 * @id: handle
 *
 * Context: sleeps.
 * Return: 0, -ENXIO, -EINTR.
 */
int mp_pool_close(struct mp_session *s, u32 id)
{
	struct mp_handle *handle;
	int err;

	err = mp_session_lock(s);
	if (err)
		return err;
	handle = xa_erase(&s->pools, id);
	if (handle) {
		s->nr_pools--;
		s->started = true;	/* until now there was the pool to tell */
	}
	mutex_unlock(&s->lock);
	if (!handle)
		return -ENXIO;
	mp_handle_leave(handle);
	return 0;
}

/**
 * mp_pool_undo() - leaves a pool whose handle could not be told
 * @s: not locked
 * @id: handle
 * @serial: of that handle: another thread may have closed it by guessing
 *
 * Context: sleeps; a fatal signal does not end it.
 */
void mp_pool_undo(struct mp_session *s, u32 id, u64 serial)
{
	struct mp_handle *handle;

	mutex_lock(&s->lock);
	handle = xa_load(&s->pools, id);
	if (handle && handle->serial == serial) {
		xa_erase(&s->pools, id);
		s->nr_pools--;
	} else {
		handle = NULL;
	}
	mutex_unlock(&s->lock);
	if (handle)
		mp_handle_leave(handle);
}

/* The session ends: leaves all its pools. */
void mp_session_leave_pools(struct mp_session *s)
{
	struct mp_handle *handle;
	unsigned long id;

	xa_for_each(&s->pools, id, handle) {
		xa_erase(&s->pools, id);
		mp_handle_leave(handle);
	}
}

static int mp_unname(struct mp_pool *pool)
{
	if (!pool || !pool->ready)
		return -ENOENT;
	if (pool->fixed || !mp_pool_is_ours(pool))
		return -EPERM;
	list_del_init(&pool->list);
	return 0;
}

/**
 * mp_pool_remove() - takes a pool's name away
 * @name: from the user
 *
 * Context: sleeps.
 * Return: 0, -EINVAL, -ENAMETOOLONG, -ENOENT, -EPERM.
 */
int mp_pool_remove(const char *name)
{
	struct mp_pool *pool;
	bool over = false;
	int err;

	err = mp_check_name(name);
	if (err)
		return err;
	mutex_lock(&mp_pools_lock);
	pool = mp_find_name(name);
	err = mp_unname(pool);
	if (!err) {
		over = mp_named_is_over(pool);
		mp_sysfs_remove_pool(pool);
	}
	mutex_unlock(&mp_pools_lock);
	if (over)
		mp_pool_destroy(pool);
	return err;
}

/* ---- pools of the module's parameter ---- */

/* name:sizexcount[:mode] */
static int mp_parse_fixed(char *spec, struct mempool_pool_create *req)
{
	char *name = strsep(&spec, ":"), *count = strsep(&spec, ":"), *size;

	*req = (struct mempool_pool_create){ .mode = MP_FIXED_MODE };
	size = count ? strsep(&count, "x") : NULL;
	if (!count || strscpy(req->name, name, sizeof(req->name)) < 0 || mp_check_name(req->name))
		return -EINVAL;
	if (mp_parse_bytes(size, &req->block_size) || kstrtou32(count, 10, &req->nr_blocks))
		return -EINVAL;
	if (spec && (kstrtou32(spec, 8, &req->mode) || !mp_mode_valid(req->mode)))
		return -EINVAL;
	return 0;
}

static int mp_make_fixed(char *spec)
{
	struct mempool_pool_create req;
	struct mp_pool *pool;
	u64 pages;
	int err;

	err = mp_parse_fixed(spec, &req);
	if (!err)
		err = mp_check_create(&req, &pages);
	if (!err && mp_name_taken(req.name))
		err = -EEXIST;
	if (err)
		return err;
	pool = mp_named_new(&req, pages, NUMA_NO_NODE, NULL);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	pool->fixed = true;
	pool->ready = true;
	pool->uid = GLOBAL_ROOT_UID;
	pool->gid = GLOBAL_ROOT_GID;
	mutex_lock(&mp_pools_lock);
	list_add_tail(&pool->list, &mp_pools);
	mutex_unlock(&mp_pools_lock);
	return 0;
}

static const char *mp_fixed_reason(int err)
{
	switch (err) {
	case -EEXIST:
		return "the name is given twice";
	case -ENOMEM:
		return "the reserve is too small";
	case -EOVERFLOW:
		return "size times count is too large";
	default:
		return "expected name:sizexcount[:mode]";
	}
}

/**
 * mp_pools_make_fixed() - makes the pools of the parameter fixed=
 * @spec: name:sizexcount[:mode][,...]
 *
 * Context: sleeps.
 * Return: 0 or a negative errno, said in the log; mp_pools_exit() undoes.
 */
int mp_pools_make_fixed(const char *spec)
{
	char *copy, *rest, *one;
	char shown[64];
	int err = 0;

	if (!*spec)
		return 0;
	copy = kstrdup(spec, GFP_KERNEL);
	rest = copy;
	if (!copy)
		return -ENOMEM;
	while (!err && (one = strsep(&rest, ","))) {
		strscpy(shown, one, sizeof(shown));
		err = mp_make_fixed(one);
		if (err)
			pr_err("fixed=: '%s': %s\n", shown, mp_fixed_reason(err));
	}
	kfree(copy);
	/* To insmod and modprobe EEXIST says that the module is loaded already. */
	return err == -EEXIST ? -EINVAL : err;
}

/* Unload: no session is left, only pools that were kept. */
void mp_pools_exit(void)
{
	struct mp_pool *pool, *next;

	list_for_each_entry_safe(pool, next, &mp_pools, list) {
		list_del_init(&pool->list);
		mp_pool_destroy(pool);
	}
}
