// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The command table, and the only file that touches user memory.
 *
 * A command is carried out in three steps: its structure is copied in and
 * checked, it is executed, the structure is copied out. Only then does @finish
 * publish what the caller has been told of, or, if telling failed, undo it. No
 * lock is held across a copy: the user's buffer may itself be pool memory.
 */

#include <linux/fault-inject-usercopy.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "check.h"
#include "compat.h"
#include "ioctl.h"
#include "pool.h"
#include "session.h"

#define MP_SUB_BATCH	64		/* offsets or tokens copied in at a time */
#define MP_FEW		8		/* tokens that need no allocation to be reserved */

/**
 * struct mp_call - one command under way
 * @s: the session
 * @arg: its structure, from the user and back
 * @nr: what is to be published or undone: that many blocks, or one block pool
 * @serial: of the block pool's handle
 * @taken: ALLOC: the blocks
 * @tokens: POOL_GET: the blocks; in @few, or allocated, or NULL
 * @few: for up to MP_FEW of them
 */
struct mp_call {
	struct mp_session *s;
	union {
		struct mempool_info info;
		struct mempool_configure configure;
		struct mempool_alloc alloc;
		struct mempool_release release;
		struct mempool_preallocate preallocate;
		struct mempool_trim trim;
		struct mempool_session_stats stats;
		struct mempool_pool_create create;
		struct mempool_pool_open open;
		struct mempool_pool_close close;
		struct mempool_pool_remove remove;
		struct mempool_pool_batch batch;
		struct mempool_pool_op op;
		struct mempool_pool_stats pool_stats;
	} arg;
	u32 nr;
	u64 serial;
	union {
		struct mp_taken taken;
		struct {
			struct mempool_token *tokens;
			struct mempool_token few[MP_FEW];
		};
	};
};

/* Whole elements that could be copied in, up to the first that faults. */
static u32 mp_copy_some(void *to, const void __user *from, u32 nr, size_t size)
{
	return nr - DIV_ROUND_UP(copy_from_user(to, from, nr * size), size);
}

/* As mp_copy_some(). One alone has a size that the compiler knows: see mp_copy_arg(). */
static u32 mp_copy_offsets(u64 *to, const u64 __user *from, u32 nr)
{
	if (nr == 1)
		return !copy_from_user(to, from, sizeof(*to));
	return mp_copy_some(to, from, nr, sizeof(*to));
}

/* ---- session ---- */

static int mp_ioc_info(struct mp_call *call)
{
	mp_session_info(call->s, &call->arg.info);
	return 0;
}

static int mp_ioc_configure(struct mp_call *call)
{
	return mp_session_configure(call->s, &call->arg.configure);
}

static int mp_ioc_stats(struct mp_call *call)
{
	mp_session_stats(call->s, &call->arg.stats);
	return 0;
}

static int mp_ioc_trim(struct mp_call *call)
{
	struct mempool_trim *trim = &call->arg.trim;
	int err = mp_check_trim(trim);

	return err ? err : mp_session_trim(call->s, &trim->released_bytes);
}

/* ---- buckets ---- */

/* Returns where the next block goes, or NULL. */
static struct mempool_block __user *mp_put_alike(struct mempool_block __user *user,
						 const struct mp_alike *alike)
{
	const struct mempool_block *block = &alike->block;
	unsigned long bits = alike->bits;

	if (!user_write_access_begin(user, hweight_long(bits) * sizeof(*user)))
		return NULL;
	for (; bits; bits &= bits - 1, user++) {
		unsafe_put_user(block->offset + __ffs(bits) * alike->stride, &user->offset, fault);
		unsafe_put_user(block->slab, &user->slab, fault);
		unsafe_put_user(block->tenure, &user->tenure, fault);
		unsafe_put_user(block->flags, &user->flags, fault);
		unsafe_put_user(block->reserved, &user->reserved, fault);
	}
	user_write_access_end();
	return user;
fault:
	user_write_access_end();
	return NULL;
}

/* Tells the user of the blocks that are reserved. */
static int mp_put_blocks(const struct mp_call *call, struct mempool_block __user *user)
{
	const struct mp_taken *taken = &call->taken;
	struct mp_alike alike;
	unsigned long bits;
	u32 i;

	might_fault();
	if (should_fail_usercopy())
		return -EFAULT;
	for (i = 0; i < taken->nr; i++)
		for (bits = taken->tickets[i].bunch.bits; bits; ) {
			mp_buckets_describe(&call->s->buckets, &taken->tickets[i], &bits, &alike);
			user = mp_put_alike(user, &alike);
			if (!user)
				return -EFAULT;
		}
	return 0;
}

static int mp_ioc_alloc(struct mp_call *call)
{
	struct mempool_alloc *alloc = &call->arg.alloc;
	int err = mp_check_alloc(alloc);

	if (!err)
		err = mp_session_alloc(call->s, alloc, &call->taken, &call->nr);
	if (err)
		return err;
	alloc->done = call->nr;
	return mp_put_blocks(call, u64_to_user_ptr(alloc->blocks));
}

static void mp_ioc_alloc_finish(struct mp_call *call, bool told)
{
	bool count = !(call->arg.alloc.flags & MEMPOOL_ALLOC_CACHED);

	if (told)
		mp_session_publish(call->s, &call->taken, count);
	else if (call->nr)
		mp_session_abort(call->s, &call->taken);
}

static int mp_release_offsets(struct mp_session *s, struct mempool_release *release)
{
	const u64 __user *user = u64_to_user_ptr(release->offsets);
	bool count = !(release->flags & MEMPOOL_RELEASE_CACHED);
	u64 offsets[MP_SUB_BATCH] __uninitialized;
	u32 nr;
	int err = 0;

	while (!err && release->done < release->count) {
		nr = min_t(u32, release->count - release->done, MP_SUB_BATCH);
		nr = mp_copy_offsets(offsets, user + release->done, nr);
		if (!nr)
			return -EFAULT;
		err = mp_session_release(s, offsets, nr, count, &release->done);
	}
	return err;
}

static int mp_ioc_release(struct mp_call *call)
{
	struct mempool_release *release = &call->arg.release;
	int err;

	release->done = 0;
	err = mp_check_release(release);
	if (err)
		return err;
	if (release->flags & MEMPOOL_RELEASE_CLAIMS)
		mp_session_claim(call->s, &release->claims);
	if (release->flags & MEMPOOL_RELEASE_ALL)
		return mp_session_release_all(call->s, &release->done);
	return mp_release_offsets(call->s, release);
}

static int mp_ioc_preallocate(struct mp_call *call)
{
	struct mempool_preallocate *req = &call->arg.preallocate;
	int err = mp_check_preallocate(req);

	req->done = 0;
	return err ? err : mp_session_preallocate(call->s, req);
}

/* ---- block pools ---- */

static int mp_ioc_create(struct mp_call *call)
{
	int err = mp_pool_create(call->s, &call->arg.create, &call->serial);

	call->nr = !err;
	return err;
}

static void mp_ioc_create_finish(struct mp_call *call, bool told)
{
	if (told)
		mp_pool_created(call->s, call->arg.create.pool, call->serial);
	else if (call->nr)
		mp_pool_undo(call->s, call->arg.create.pool, call->serial);
}

static int mp_ioc_open(struct mp_call *call)
{
	int err = mp_pool_open(call->s, &call->arg.open, &call->serial);

	call->nr = !err;
	return err;
}

static void mp_ioc_open_finish(struct mp_call *call, bool told)
{
	if (!told && call->nr)
		mp_pool_undo(call->s, call->arg.open.pool, call->serial);
}

static int mp_ioc_close(struct mp_call *call)
{
	return call->arg.close.reserved ? -EINVAL : mp_pool_close(call->s, call->arg.close.pool);
}

static int mp_ioc_remove(struct mp_call *call)
{
	return mp_pool_remove(call->arg.remove.name);
}

static int mp_begin_batch(struct mempool_pool_batch *batch)
{
	batch->done = 0;
	batch->coalesced = 0;
	return mp_check_batch(batch);
}

static int mp_ioc_get(struct mp_call *call)
{
	struct mempool_pool_batch *batch = &call->arg.batch;
	struct mempool_token *tokens;
	int err;

	err = mp_begin_batch(batch);
	if (err)
		return err;
	/* Room for them: it costs a command of one block no allocation. */
	tokens = batch->count <= MP_FEW ? call->few :
		 kvmalloc_array(batch->count, sizeof(*tokens), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	call->tokens = tokens;
	if (!tokens)
		return -ENOMEM;
	err = mp_pool_get(call->s, batch->pool, tokens, batch->count, &call->nr,
			  &call->serial);
	if (err)
		return err;
	batch->done = call->nr;
	if (copy_to_user(u64_to_user_ptr(batch->tokens), tokens, call->nr * sizeof(*tokens)))
		return -EFAULT;
	return 0;
}

static void mp_ioc_get_finish(struct mp_call *call, bool told)
{
	if (!told && call->nr)
		mp_pool_unget(call->s, call->arg.batch.pool, call->serial, call->tokens,
			      call->nr);
	if (call->tokens != call->few)
		kvfree(call->tokens);
}

typedef int mp_tokens_fn(struct mp_session *s, struct mempool_pool_batch *batch,
			 const struct mempool_token *tokens, u32 nr);

static int mp_return_tokens(struct mp_session *s, struct mempool_pool_batch *batch,
			    const struct mempool_token *tokens, u32 nr)
{
	return mp_pool_return(s, batch->pool, tokens, nr, &batch->done, &batch->coalesced);
}

static int mp_adopt_tokens(struct mp_session *s, struct mempool_pool_batch *batch,
			   const struct mempool_token *tokens, u32 nr)
{
	return mp_pool_adopt(s, batch->pool, tokens, nr, &batch->done);
}

/* Copies tokens in and hands them on, a few at a time. */
static int mp_for_tokens(struct mp_call *call, mp_tokens_fn *fn)
{
	struct mempool_pool_batch *batch = &call->arg.batch;
	const struct mempool_token __user *user = u64_to_user_ptr(batch->tokens);
	struct mempool_token tokens[MP_SUB_BATCH] __uninitialized;
	u32 nr;
	int err;

	err = mp_begin_batch(batch);
	while (!err && batch->done < batch->count) {
		nr = min_t(u32, batch->count - batch->done, MP_SUB_BATCH);
		nr = mp_copy_some(tokens, user + batch->done, nr, sizeof(*tokens));
		if (!nr)
			return -EFAULT;
		err = fn(call->s, batch, tokens, nr);
	}
	return err;
}

static int mp_ioc_return(struct mp_call *call)
{
	return mp_for_tokens(call, mp_return_tokens);
}

static int mp_ioc_adopt(struct mp_call *call)
{
	return mp_for_tokens(call, mp_adopt_tokens);
}

static int mp_ioc_coalesce(struct mp_call *call)
{
	struct mempool_pool_op *op = &call->arg.op;

	return op->flags ? -EINVAL : mp_pool_coalesce(call->s, op->pool, &op->result);
}

static int mp_ioc_reset(struct mp_call *call)
{
	struct mempool_pool_op *op = &call->arg.op;

	if (op->flags & ~MEMPOOL_RESET_FORCE)
		return -EINVAL;
	return mp_pool_reset(call->s, op->pool, op->flags & MEMPOOL_RESET_FORCE, &op->result);
}

static int mp_ioc_pool_stats(struct mp_call *call)
{
	struct mempool_pool_stats *stats = &call->arg.pool_stats;

	return stats->flags ? -EINVAL : mp_pool_stats(call->s, stats->pool, stats);
}

/* ---- the table ---- */

/**
 * struct mp_command - how to carry out one command
 * @cmd: as this version defines it
 * @size: of its structure now
 * @min_size: of its first version
 * @answer: where the 8 bytes are that it changes; 0: it may change any
 * @changes_state: needs a file opened for writing
 * @partial: the structure is copied out also when it fails
 * @execute: 0 or a negative errno
 * @finish: @told: the caller has been told of success. Called whenever @execute
 *	was; may be NULL
 */
struct mp_command {
	unsigned int cmd;
	unsigned int size;
	unsigned int min_size;
	unsigned int answer;
	bool changes_state;
	bool partial;
	int (*execute)(struct mp_call *call);
	void (*finish)(struct mp_call *call, bool told);
};

#define MP_COMMAND(_nr, _struct, _last, _execute, ...)				\
	[MEMPOOL_NR_##_nr] = {							\
		.cmd = MEMPOOL_IOC_##_nr,					\
		.size = sizeof(struct _struct),					\
		.min_size = offsetofend(struct _struct, _last),			\
		.execute = _execute,						\
		__VA_ARGS__							\
	}

#define MP_W	.changes_state = true

static const struct mp_command mp_commands[] = {
	MP_COMMAND(INFO, mempool_info, tiers, mp_ioc_info),
	MP_COMMAND(CONFIGURE, mempool_configure, tiers, mp_ioc_configure, MP_W),
	MP_COMMAND(ALLOC, mempool_alloc, reserved, mp_ioc_alloc, MP_W,
		   .answer = offsetof(struct mempool_alloc, done),
		   .finish = mp_ioc_alloc_finish),
	MP_COMMAND(RELEASE, mempool_release, claims, mp_ioc_release, MP_W, .partial = true,
		   .answer = offsetof(struct mempool_release, done)),
	MP_COMMAND(PREALLOCATE, mempool_preallocate, reserved, mp_ioc_preallocate, MP_W,
		   .partial = true),
	MP_COMMAND(TRIM, mempool_trim, released_bytes, mp_ioc_trim, MP_W),
	MP_COMMAND(STATS, mempool_session_stats, nr_pools, mp_ioc_stats),
	MP_COMMAND(POOL_CREATE, mempool_pool_create, stride, mp_ioc_create, MP_W,
		   .finish = mp_ioc_create_finish),
	MP_COMMAND(POOL_OPEN, mempool_pool_open, threshold, mp_ioc_open,
		   .finish = mp_ioc_open_finish),
	MP_COMMAND(POOL_CLOSE, mempool_pool_close, reserved, mp_ioc_close),
	MP_COMMAND(POOL_REMOVE, mempool_pool_remove, name, mp_ioc_remove, MP_W),
	MP_COMMAND(POOL_GET, mempool_pool_batch, reserved, mp_ioc_get, MP_W,
		   .finish = mp_ioc_get_finish),
	MP_COMMAND(POOL_RETURN, mempool_pool_batch, reserved, mp_ioc_return, MP_W,
		   .partial = true),
	MP_COMMAND(POOL_ADOPT, mempool_pool_batch, reserved, mp_ioc_adopt, MP_W,
		   .partial = true),
	MP_COMMAND(POOL_COALESCE, mempool_pool_op, result, mp_ioc_coalesce, MP_W),
	MP_COMMAND(POOL_RESET, mempool_pool_op, result, mp_ioc_reset, MP_W),
	MP_COMMAND(POOL_STATS, mempool_pool_stats, reserved, mp_ioc_pool_stats),
};

/* By type, number and direction: the size may be another version's. */
static const struct mp_command *mp_find_command(unsigned int cmd)
{
	const struct mp_command *command;
	unsigned int nr = _IOC_NR(cmd);

	if (_IOC_TYPE(cmd) != MEMPOOL_IOC_TYPE || nr >= ARRAY_SIZE(mp_commands))
		return NULL;
	command = &mp_commands[array_index_nospec(nr, ARRAY_SIZE(mp_commands))];
	if (!command->execute || _IOC_DIR(cmd) != _IOC_DIR(command->cmd))
		return NULL;
	return command;
}

/* Not what is written before it is read; @arg is mp_copy_in()'s. */
static void mp_call_init(struct mp_call *call, struct mp_session *s)
{
	call->s = s;
	call->nr = 0;
	call->serial = 0;
	call->tokens = NULL;
}

/*
 * Of the commands that are often sent the compiler knows that they fit: then the kernel
 * does not look at what @arg lies in, which takes as long as to copy it.
 */
static unsigned long mp_copy_arg(struct mp_call *call, size_t size, const void __user *user)
{
	switch (size) {
	case sizeof(call->arg.alloc):
		return copy_from_user(&call->arg, user, sizeof(call->arg.alloc));
	case sizeof(call->arg.release):
		return copy_from_user(&call->arg, user, sizeof(call->arg.release));
	default:
		return copy_from_user(&call->arg, user, size);
	}
}

static int mp_copy_in(struct mp_call *call, const struct mp_command *command,
		      unsigned int cmd, const void __user *user)
{
	if (_IOC_SIZE(cmd) < command->min_size)
		return -EINVAL;
	if (!(_IOC_DIR(cmd) & _IOC_WRITE)) {
		memset(&call->arg, 0, command->size);
		return 0;
	}
	if (_IOC_SIZE(cmd) != command->size)
		return copy_struct_from_user(&call->arg, command->size, user, _IOC_SIZE(cmd));
	return mp_copy_arg(call, command->size, user) ? -EFAULT : 0;
}

static int mp_put_answer(const struct mp_call *call, const struct mp_command *command,
			 void __user *user)
{
	const u64 *answer = (const void *)&call->arg + command->answer;

	return should_fail_usercopy() ? -EFAULT :
	       put_user(*answer, (u64 __user *)(user + command->answer));
}

/* What the caller's structure has beyond ours reads as zero. */
static int mp_copy_out(const struct mp_call *call, const struct mp_command *command,
		       unsigned int cmd, void __user *user)
{
	unsigned int size = min(_IOC_SIZE(cmd), command->size);
	unsigned int rest = _IOC_SIZE(cmd) - size;
	int err;

	if (!(_IOC_DIR(cmd) & _IOC_READ))
		return 0;
	if (command->answer)
		err = mp_put_answer(call, command, user);
	else
		err = copy_to_user(user, &call->arg, size) ? -EFAULT : 0;
	if (!err && rest && clear_user(user + size, rest))
		err = -EFAULT;
	return err;
}

/**
 * mp_ioctl() - carries out a command of uapi/mempool.h
 * @file: the session
 * @cmd: command
 * @arg: user address of its structure
 *
 * Context: sleeps.
 * Return: 0 or a negative errno of the table there.
 */
long mp_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct mp_command *command = mp_find_command(cmd);
	void __user *user = (void __user *)arg;
	int err, copy_err = 0;
	struct mp_call call __uninitialized;

	if (!command)
		return -ENOTTY;
	if (command->changes_state && !(file->f_mode & FMODE_WRITE))
		return -EBADF;
	mp_call_init(&call, file->private_data);
	err = mp_copy_in(&call, command, cmd, user);
	if (err)
		return err;
	err = command->execute(&call);
	if (!err || command->partial)
		copy_err = mp_copy_out(&call, command, cmd, user);
	if (!err)
		err = copy_err;
	if (command->finish)
		command->finish(&call, !err);
	return err;
}
