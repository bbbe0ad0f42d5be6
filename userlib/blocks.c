// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Block pools.
 *
 * Users name a block by its index, the kernel wants the generation too. The
 * handle keeps the generation of each block it got, in a word per block, so
 * that a block which somebody else has returned meanwhile is told apart.
 *
 * With a cache (poolcache.c) a block has been got by this handle while it lies
 * in the cache, too.
 *
 * Order: a word says "held" only after the kernel has handed the block out, and
 * no longer before the kernel has it back: afterwards the block may be another
 * thread's, whose word must not be overwritten.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

/* A generation that cannot be the block's: it takes 2^31 returns to get there. */
#define OTHER_GENERATION(word)	((uint32_t)(word) ^ 0x80000000u)

/* ---- open and close ---- */

static uint64_t words_bytes(uint64_t nr)
{
	return nr * sizeof(((struct mempool_blocks *)NULL)->words[0]);
}

static uint64_t pool_bytes(const struct mempool_blocks *blocks)
{
	return blocks->head.stride * blocks->nr;
}

/* All but the handle itself. What its session had is gone already if that is closed. */
static void let_go(struct mempool_blocks *blocks)
{
	mp_checked_blocks_exit(blocks);
	if (blocks->head.out)
		munmap(blocks->head.out, blocks->head.mask + UINT64_C(1));
	if (blocks->words)
		munmap((void *)blocks->words, words_bytes(blocks->nr));
	if (blocks->region && !blocks->head.pool->closed)
		mp_space_leave(blocks->head.pool, blocks->region);
}

static void free_blocks(struct mempool_blocks *blocks)
{
	let_go(blocks);
	free(blocks);
}

/*
 * What is left of the handle is of a session that is closed, and has no blocks: a call
 * on it is refused as after mempool_close().
 */
static void bury(struct mempool_blocks *blocks)
{
	static struct mp_graves graves;
	struct mempool *of = mp_closed_pool(blocks->head.pool->check);

	memset(blocks, 0, sizeof(*blocks));
	blocks->head.pool = of;
	mp_bury(&graves, blocks);
}

static struct mempool_blocks *alloc_blocks(struct mempool *pool, uint64_t block_size,
					   uint64_t stride, uint32_t nr, uint32_t handle)
{
	struct mempool_blocks *blocks = calloc(1, sizeof(*blocks));
	void *words;

	if (!blocks)
		return NULL;
	blocks->head.pool = pool;
	blocks->block_size = block_size;
	blocks->head.stride = stride;
	blocks->nr = nr;
	blocks->handle = handle;
	words = mp_zero_pages(words_bytes(nr));
	if (!words) {
		free_blocks(blocks);
		return NULL;
	}
	blocks->words = words;
	return blocks;
}

/* Map and populate a pool that the kernel has opened for us as @handle. */
static int attach(struct mempool_blocks **result, struct mempool *pool, uint32_t handle,
		  uint64_t offset, uint64_t block_size, uint64_t stride, uint32_t nr, bool private)
{
	struct mempool_blocks *blocks;
	int ret;

	if (!nr || stride < block_size || stride > UINT64_MAX / nr)
		return -EBADE;
	blocks = alloc_blocks(pool, block_size, stride, nr, handle);
	if (!blocks)
		return -ENOMEM;
	ret = mp_space_enter(pool, offset, pool_bytes(blocks), &blocks->region);
	if (!ret)
		ret = mp_populate(pool, blocks->region, offset, pool_bytes(blocks),
				  MP_TENURE_UNKNOWN);
	if (!ret) {
		blocks->head.base = mp_region_at(blocks->region, offset);
		if (pool->checked)
			ret = mp_checked_blocks_init(blocks, offset, private);
	}
	if (ret) {
		free_blocks(blocks);
		return ret == -EFAULT ? -ENOMEM : ret;
	}
	atomic_fetch_add(&pool->block_slots, pool_bytes(blocks) / MP_CHUNK + 2);
	*result = blocks;
	return 0;
}

static void forget_slots(struct mempool_blocks *blocks)
{
	atomic_fetch_sub(&blocks->head.pool->block_slots, pool_bytes(blocks) / MP_CHUNK + 2);
}

static int leave(struct mempool *pool, uint32_t handle)
{
	struct mempool_pool_close cmd = { .pool = handle };

	return mp_ioctl(pool, MEMPOOL_IOC_POOL_CLOSE, &cmd);
}

static int copy_name(char to[MEMPOOL_NAME_LEN], const char *name)
{
	size_t len = strnlen(name, MEMPOOL_NAME_LEN);

	if (len == MEMPOOL_NAME_LEN)
		return -ENAMETOOLONG;
	if (!len)
		return -EINVAL;	/* to the kernel it would mean a private pool */
	memcpy(to, name, len + 1);
	return 0;
}

static int fill_create(struct mempool_pool_create *cmd, const struct mempool_blocks_options *from,
		       unsigned int *cache_blocks)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	int ret;

	if (!from || from->size < sizeof(opts))	/* of the first version */
		return -EINVAL;
	ret = mp_copy_options(&opts, sizeof(opts), from, from->size);
	if (ret)
		return ret;
	if (opts.threshold < -1 || opts.flags & ~MEMPOOL_BLOCKS_KEEP)
		return -EINVAL;
	if (opts.cache_blocks && opts.name)	/* see poolcache.c */
		return -EINVAL;
	*cache_blocks = opts.cache_blocks;
	cmd->block_size = opts.block_size;
	cmd->nr_blocks = opts.num_blocks;
	cmd->mode = opts.mode;
	if (opts.threshold >= 0) {
		cmd->threshold = opts.threshold;
		cmd->flags |= MEMPOOL_POOL_THRESHOLD;
	}
	if (opts.flags & MEMPOOL_BLOCKS_KEEP)
		cmd->flags |= MEMPOOL_POOL_KEEP;
	if (!opts.name)
		return 0;
	if (!opts.mode)
		cmd->mode = 0600;
	return copy_name(cmd->name, opts.name);
}

static int create(struct mempool_blocks **blocks, struct mempool *pool,
		  const struct mempool_blocks_options *opts)
{
	struct mempool_pool_create cmd = { 0 };
	unsigned int cache_blocks;
	int ret = fill_create(&cmd, opts, &cache_blocks);

	if (!ret)
		ret = mp_ioctl(pool, MEMPOOL_IOC_POOL_CREATE, &cmd);
	if (ret)
		return ret;
	ret = attach(blocks, pool, cmd.pool, cmd.offset, cmd.block_size, cmd.stride,
		     cmd.nr_blocks, !cmd.name[0]);
	if (!ret && cache_blocks) {
		ret = mp_pools_attach(*blocks, cache_blocks);
		if (ret) {
			forget_slots(*blocks);
			free_blocks(*blocks);
		}
	}
	if (!ret)
		return 0;
	if (cmd.flags & MEMPOOL_POOL_KEEP)
		mempool_blocks_remove(pool, cmd.name);
	leave(pool, cmd.pool);
	return ret;
}

MEMPOOL_API int mempool_blocks_create(struct mempool_blocks **blocks, struct mempool *pool,
				      const struct mempool_blocks_options *opts)
{
	int saved = errno, ret;

	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	ret = create(blocks, pool, opts);
	errno = saved;
	return ret;
}

static int open_named(struct mempool_blocks **blocks, struct mempool *pool, const char *name)
{
	struct mempool_pool_open cmd = { 0 };
	int ret = copy_name(cmd.name, name);

	if (!ret)
		ret = mp_ioctl(pool, MEMPOOL_IOC_POOL_OPEN, &cmd);
	if (ret)
		return ret;
	ret = attach(blocks, pool, cmd.pool, cmd.offset, cmd.block_size, cmd.stride,
		     cmd.nr_blocks, false);
	if (ret)
		leave(pool, cmd.pool);
	return ret;
}

MEMPOOL_API int mempool_blocks_open(struct mempool_blocks **blocks, struct mempool *pool,
				    const char *name)
{
	int saved = errno, ret;

	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	ret = open_named(blocks, pool, name);
	errno = saved;
	return ret;
}

MEMPOOL_API void mempool_blocks_close(struct mempool_blocks *blocks)
{
	int saved = errno;

	if (!blocks)
		return;
	if (!blocks->nr) {
		mp_refuse(blocks->head.pool, MP_CALL(__func__));
		return;
	}
	if (!mp_inherited(blocks->head.pool)) {
		mp_pools_detach(blocks);
		leave(blocks->head.pool, blocks->handle);
		forget_slots(blocks);
	}
	let_go(blocks);
	bury(blocks);
	errno = saved;
}

MEMPOOL_API int mempool_blocks_remove(struct mempool *pool, const char *name)
{
	struct mempool_pool_remove cmd = { 0 };
	int ret;

	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	ret = copy_name(cmd.name, name);
	return ret ? ret : mp_ioctl(pool, MEMPOOL_IOC_POOL_REMOVE, &cmd);
}

/* ---- blocks ---- */

static int send_tokens(struct mempool_blocks *blocks, unsigned long command,
		       struct mempool_token *tokens, unsigned int count, unsigned int *done)
{
	struct mempool_pool_batch cmd = {
		.tokens = (uintptr_t)tokens,
		.pool = blocks->handle,
		.count = count,
	};
	int ret = mp_ioctl(blocks->head.pool, command, &cmd);

	*done = cmd.done < count ? cmd.done : count;
	return ret;
}

/* We hold the block no more if the word is still what we have seen. */
static void forget(struct mempool_blocks *blocks, uint32_t index, uint64_t word)
{
	atomic_compare_exchange_strong(&blocks->words[index], &word, (uint32_t)word + 1u);
}

/*
 * Give block @index back, past the cache. A block that this handle does not hold
 * is sent all the same, to be refused and counted, under a generation that cannot be right.
 */
int mp_past_return(struct mempool_blocks *blocks, uint32_t index)
{
	struct mempool_token token = { .index = index };
	uint64_t word = 0, after;
	unsigned int done;
	int ret;

	if (index < blocks->nr)
		word = atomic_load(&blocks->words[index]);
	after = (uint32_t)word + 1u;
	if (word & MP_HELD &&
	    atomic_compare_exchange_strong(&blocks->words[index], &word, after)) {
		token.generation = (uint32_t)word;
	} else {
		token.generation = OTHER_GENERATION(word);
		word = 0;
	}
	ret = send_tokens(blocks, MEMPOOL_IOC_POOL_RETURN, &token, 1, &done);
	if (ret == -ESTALE && !word)
		return -ENOENT;
	/* Refused for another reason than that it is not ours: ours still. */
	if (ret && word && ret != -ESTALE && ret != -ENOENT)
		atomic_compare_exchange_strong(&blocks->words[index], &after, word);
	return ret;
}

static int return_one(struct mempool_blocks *blocks, const struct mp_call *call, uint32_t index)
{
	return blocks->checked ? mp_checked_return(blocks, call, index) : mp_past_return(blocks, index);
}

static int return_all(struct mempool_blocks *blocks, const struct mp_call *call,
		      const unsigned int *indices, unsigned int count)
{
	unsigned int i;
	int ret, first = 0;

	for (i = 0; i < count; i++) {
		ret = return_one(blocks, call, indices[i]);
		if (!first)
			first = ret;
	}
	return first;
}

static unsigned int batch_of(const struct mempool_blocks *blocks, unsigned int count)
{
	uint32_t max = blocks->head.pool->info.max_batch;

	if (max > MP_BATCH)
		max = MP_BATCH;
	return count < max ? count : max;
}

/* Up to @count blocks, at least one, become this handle's. */
int mp_past_take(struct mempool_blocks *blocks, struct mempool_token *tokens,
		 unsigned int count, unsigned int *done)
{
	unsigned int i;
	int ret = send_tokens(blocks, MEMPOOL_IOC_POOL_GET, tokens, batch_of(blocks, count), done);

	if (ret)
		return ret;
	for (i = 0; i < *done; i++) {
		if (tokens[i].index >= blocks->nr)
			return -EBADE;
		atomic_store(&blocks->words[tokens[i].index], MP_HELD | tokens[i].generation);
	}
	return *done ? 0 : -EBADE;
}

/*
 * Give back what mp_past_take() took, and no user has. A block of which the
 * kernel says that it is not ours any more is none of our business.
 */
int mp_past_give(struct mempool_blocks *blocks, const uint32_t *indices, unsigned int count)
{
	struct mempool_token tokens[MP_BATCH];
	unsigned int i, at, nr, done;
	int ret, first = 0;

	for (at = 0; at < count; at += nr) {
		nr = batch_of(blocks, count - at);
		for (i = 0; i < nr; i++) {
			uint64_t word = atomic_load(&blocks->words[indices[at + i]]);

			tokens[i].index = indices[at + i];
			tokens[i].generation = (uint32_t)word;
			forget(blocks, indices[at + i], word);
		}
		for (i = 0; i < nr; i += done + 1) {
			ret = send_tokens(blocks, MEMPOOL_IOC_POOL_RETURN, tokens + i, nr - i,
					  &done);
			if (!ret)
				break;
			if (!first)
				first = ret;
		}
	}
	return first;
}

/* Up to @count blocks, at least one; their number is added to *@nr. */
static int get_batch(struct mempool_blocks *blocks, const struct mp_call *call, void **ptrs,
		     unsigned int *indices, unsigned int count, unsigned int *nr)
{
	struct mempool_token tokens[MP_BATCH];
	unsigned int i, done;
	int ret = mp_past_take(blocks, tokens, count, &done);

	if (ret)
		return ret;
	for (i = 0; i < done; i++, ++*nr) {
		if (blocks->checked)
			mp_checked_got(blocks, call, tokens[i].index);
		if (ptrs)
			ptrs[*nr] = mp_block_address(blocks, tokens[i].index);
		if (indices)
			indices[*nr] = tokens[i].index;
	}
	return 0;
}

/* All or none of @count blocks, past the cache. @call: NULL where nothing is checked. */
int mp_past_get(struct mempool_blocks *blocks, const struct mp_call *call, void **ptrs,
		unsigned int *indices, unsigned int count)
{
	unsigned int i, nr = 0;
	int ret = 0;

	while (!ret && nr < count)
		ret = get_batch(blocks, call, ptrs, indices, count - nr, &nr);
	for (i = 0; ret && i < nr; i++)
		return_one(blocks, call, indices ? indices[i] : mp_block_index(blocks, ptrs[i]));
	return ret;
}

static __attribute__((noinline)) int slow_get(struct mempool_blocks *blocks,
					      const char *name, const void *caller, void **ptrs,
					      unsigned int *indices, unsigned int count)
{
	struct mp_call call = { name, caller };

	if (mp_inherited(blocks->head.pool))
		return mp_refuse(blocks->head.pool, &call);
	if (!ptrs && !indices)
		return -EINVAL;
	return blocks->head.magazine ? mp_pools_get(blocks, ptrs, indices, count) :
		mp_past_get(blocks, &call, ptrs, indices, count);
}

MEMPOOL_API int mempool_get_blocks(struct mempool_blocks *blocks, void **ptrs,
				   unsigned int *indices, unsigned int count)
{
	return MEMPOOL_UNLIKELY(!mempool_try_get_blocks(blocks, ptrs, indices, count)) ?
		slow_get(blocks, __func__, __builtin_return_address(0), ptrs, indices, count) : 0;
}

MEMPOOL_API void *mempool_get_block(struct mempool_blocks *blocks, unsigned int *index)
{
	void *ptr;
	int ret = 0;

	if (MEMPOOL_UNLIKELY(!mempool_try_get_blocks(blocks, &ptr, index, 1)))
		ret = slow_get(blocks, __func__, __builtin_return_address(0), &ptr, index, 1);
	return ret ? mp_null(ret) : ptr;
}

static __attribute__((noinline)) int slow_return(struct mempool_blocks *blocks,
						 const char *name, const void *caller,
						 const unsigned int *indices, unsigned int count)
{
	struct mp_call call = { name, caller };

	if (mp_inherited(blocks->head.pool))
		return mp_refuse(blocks->head.pool, &call);
	return blocks->head.magazine ? mp_pools_return(blocks, indices, count) :
		return_all(blocks, &call, indices, count);
}

MEMPOOL_API int mempool_return_block(struct mempool_blocks *blocks, unsigned int index)
{
	return MEMPOOL_UNLIKELY(!mempool_try_return_blocks(blocks, &index, 1)) ?
		slow_return(blocks, __func__, __builtin_return_address(0), &index, 1) : 0;
}

MEMPOOL_API int mempool_return_blocks(struct mempool_blocks *blocks, const unsigned int *indices,
				      unsigned int count)
{
	return MEMPOOL_UNLIKELY(!mempool_try_return_blocks(blocks, indices, count)) ?
		slow_return(blocks, __func__, __builtin_return_address(0), indices, count) : 0;
}

/* Why there is no such block: none at all is in a closed block pool. */
static int none_such(const struct mempool_blocks *blocks, const struct mp_call *call, int why)
{
	return blocks->nr ? why : mp_refuse(blocks->head.pool, call);
}

MEMPOOL_API void *mempool_block_at(struct mempool_blocks *blocks, unsigned int index)
{
	return index < blocks->nr ? mp_block_address(blocks, index) :
		mp_null(none_such(blocks, MP_CALL(__func__), -ERANGE));
}

MEMPOOL_API int mempool_block_index(struct mempool_blocks *blocks, const void *ptr,
				    unsigned int *index)
{
	uint64_t within = (uintptr_t)ptr - (uintptr_t)blocks->head.base;

	if ((uintptr_t)ptr < (uintptr_t)blocks->head.base || within >= pool_bytes(blocks) ||
	    within % blocks->head.stride >= blocks->block_size)
		return none_such(blocks, MP_CALL(__func__), -EINVAL);
	*index = within / blocks->head.stride;
	return 0;
}

/* ---- tokens ---- */

MEMPOOL_API int mempool_block_token(struct mempool_blocks *blocks, unsigned int index,
				    uint64_t *token)
{
	uint64_t word;

	if (index >= blocks->nr)
		return none_such(blocks, MP_CALL(__func__), -ERANGE);
	if (blocks->head.magazine)
		return -EOPNOTSUPP;	/* see poolcache.c */
	word = atomic_load(&blocks->words[index]);
	if (!(word & MP_HELD))
		return -ENOENT;
	*token = word << 32 | index;
	return 0;
}

MEMPOOL_API int mempool_adopt_block(struct mempool_blocks *blocks, uint64_t token)
{
	struct mempool_token one = { .index = (uint32_t)token, .generation = token >> 32 };
	unsigned int done;
	int ret;

	if (mp_inherited(blocks->head.pool))
		return mp_refuse(blocks->head.pool, MP_CALL(__func__));
	if (blocks->head.magazine)
		return -EOPNOTSUPP;
	ret = send_tokens(blocks, MEMPOOL_IOC_POOL_ADOPT, &one, 1, &done);
	if (!ret && one.index >= blocks->nr)
		return -EBADE;
	if (!ret)
		atomic_store(&blocks->words[one.index], MP_HELD | one.generation);
	if (!ret && blocks->checked)
		mp_checked_got(blocks, MP_CALL(__func__), one.index);
	return ret;
}

/* ---- the whole pool ---- */

static int operate(struct mempool_blocks *blocks, unsigned long command)
{
	struct mempool_pool_op cmd = { .pool = blocks->handle };

	return mp_ioctl(blocks->head.pool, command, &cmd);
}

MEMPOOL_API int mempool_coalesce(struct mempool_blocks *blocks)
{
	if (mp_inherited(blocks->head.pool))
		return mp_refuse(blocks->head.pool, MP_CALL(__func__));
	if (blocks->head.magazine)
		mp_pools_flush(blocks);
	return operate(blocks, MEMPOOL_IOC_POOL_COALESCE);
}

/*
 * Words are marked first: one that is still marked afterwards is a block that
 * the reset returned, an unmarked one was handed out since.
 */
MEMPOOL_API int mempool_reset(struct mempool_blocks *blocks)
{
	uint64_t word;
	uint32_t i;
	int ret;

	if (mp_inherited(blocks->head.pool))
		return mp_refuse(blocks->head.pool, MP_CALL(__func__));
	if (blocks->head.magazine)
		return mp_pools_reset(blocks);
	for (i = 0; i < blocks->nr; i++) {
		word = atomic_load_explicit(&blocks->words[i], memory_order_relaxed);
		if (word & MP_HELD)
			atomic_compare_exchange_strong(&blocks->words[i], &word,
						       word | MP_RESETTING);
	}
	ret = operate(blocks, MEMPOOL_IOC_POOL_RESET);
	for (i = 0; i < blocks->nr; i++) {
		word = atomic_load_explicit(&blocks->words[i], memory_order_relaxed);
		if (!(word & MP_RESETTING))
			continue;
		if (!ret)
			forget(blocks, i, word);
		else
			atomic_compare_exchange_strong(&blocks->words[i], &word,
						       word & ~MP_RESETTING);
	}
	if (!ret && blocks->checked)
		mp_checked_reset(blocks, MP_CALL(__func__));
	return ret;
}
