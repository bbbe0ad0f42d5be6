// SPDX-License-Identifier: MIT OR GPL-2.0
/* Blocks of buckets: take, give back, and what keeps them ready. */
#include <string.h>

#include "internal.h"

/*
 * How many blocks may turn out not to be ours any more (another thread cleared
 * the pool, a memory error) before an allocation gives up.
 */
#define MAX_DROPS	16

static unsigned int batch_of(const struct mempool *pool, unsigned int count)
{
	unsigned int max = pool->info.max_batch < MP_BATCH ? pool->info.max_batch : MP_BATCH;

	return count < max ? count : max;
}

/*
 * Give back blocks of which mp_track_take() gave @ids. Refused ones are out
 * still; the others go. Returns the first error.
 */
static int give_blocks(struct mempool *pool, const uint64_t *offsets, const uint8_t *ids,
		       unsigned int count, uint32_t flags)
{
	unsigned int at = 0;
	int ret, first = 0;

	while (at < count) {
		struct mempool_release cmd = {
			.offsets = (uintptr_t)(offsets + at),
			.count = count - at,
			.flags = flags,
		};

		ret = mp_ioctl(pool, MEMPOOL_IOC_RELEASE, &cmd);
		at += cmd.done < count - at ? cmd.done : count - at;
		if (at == count)
			break;
		if (!ret)
			ret = -EBADE;	/* neither done nor refused */
		if (!first)
			first = ret;
		mp_track_put_back(pool, offsets[at], ids[at]);
		at++;
	}
	return first;
}

static int release_batch(struct mempool *pool, void *const *ptrs, unsigned int count)
{
	uint64_t offsets[MP_BATCH];
	uint8_t ids[MP_BATCH];
	unsigned int i, nr = 0;

	for (i = 0; i < count; i++) {
		if (!ptrs[i])
			continue;
		/* What is not ours at all is sent too, to be refused and counted. */
		if (mp_space_offset(pool, ptrs[i], &offsets[nr]))
			offsets[nr] = UINT64_MAX;
		ids[nr] = mp_track_take(pool, offsets[nr]);
		nr++;
	}
	return give_blocks(pool, offsets, ids, nr, 0);
}

/* Give back blocks of users. Goes through all of them; the first error. */
int mp_give(struct mempool *pool, void *const *ptrs, unsigned int count)
{
	unsigned int at, nr;
	int ret, first = 0;

	for (at = 0; at < count; at += nr) {
		nr = batch_of(pool, count - at);
		ret = release_batch(pool, ptrs + at, nr);
		if (!first)
			first = ret;
	}
	return first;
}

/* Give back free blocks out of a cache, which they leave for good. */
void mp_give_cached(struct mempool *pool, void *const *ptrs, unsigned int count)
{
	uint64_t offsets[MP_BATCH];
	uint8_t ids[MP_BATCH] = { 0 };
	unsigned int at, i, nr;

	for (at = 0; at < count; at += nr) {
		nr = batch_of(pool, count - at);
		for (i = 0; i < nr; i++) {
			mp_space_offset(pool, ptrs[at + i], &offsets[i]);
			mp_track_mark(pool, offsets[i], 0, 0);
		}
		give_blocks(pool, offsets, ids, nr, MEMPOOL_RELEASE_CACHED);
	}
}

/*
 * Make a block that the kernel has handed out usable: mapped, populated, tracked.
 * @id: its bucket's; with MP_ID_CACHED from the start if it is for a cache, or
 * mempool_clear() would take it for a user's and give it away under the cache.
 */
static int settle(struct mempool *pool, const struct mempool_block *block, uint64_t key,
		  unsigned int id, void **ptr)
{
	struct mp_region *region;
	int ret = mp_space_enter(pool, block->offset, key >> 1, &region);

	if (ret)
		return ret;
	ret = mp_populate(pool, region, block->offset, key >> 1, block->tenure);
	if (!ret && pool->checked)
		ret = mp_checked_settled(pool, block, key >> 1,
					 mp_region_at(region, block->offset));
	if (!ret)
		ret = mp_track_set(pool, block->offset, id, key);
	if (!ret)
		*ptr = mp_region_at(region, block->offset);
	mp_space_leave(pool, region);
	return ret;
}

/*
 * A block that could not be settled goes back, but one on broken memory stays
 * out for good: it would only be handed out again.
 */
static void drop(struct mempool *pool, uint64_t offset, int why)
{
	uint8_t none = 0;

	if (why != -EHWPOISON)
		give_blocks(pool, &offset, &none, 1, 0);
}

/*
 * Take up to @count blocks, at least one. Adds the usable ones to *@nr, the
 * others to *@dropped. With @reused they are for a cache.
 */
static int take_batch(struct mempool *pool, uint64_t key, void **ptrs, bool *reused,
		      unsigned int count, unsigned int *nr, unsigned int *dropped)
{
	struct mempool_block blocks[MP_BATCH];
	struct mempool_alloc cmd = {
		.size = key >> 1,
		.blocks = (uintptr_t)blocks,
		.count = batch_of(pool, count),
		.flags = (key & 1 ? MEMPOOL_ALLOC_PAGE_ALIGNED : 0) |
			 (reused ? MEMPOOL_ALLOC_CACHED : 0),
	};
	int ret = mp_ioctl(pool, MEMPOOL_IOC_ALLOC, &cmd), failed = 0;
	unsigned int i, id, got = 0;

	if (ret)
		return ret;
	if (!cmd.done || cmd.done > cmd.count)
		return -EBADE;
	id = mp_track_id(pool, key) | (reused ? MP_ID_CACHED : 0);
	for (i = 0; i < cmd.done; i++) {
		ret = settle(pool, &blocks[i], key, id, &ptrs[got]);
		if (!ret) {
			if (reused)
				reused[got] = blocks[i].flags & MEMPOOL_BLOCK_REUSED;
			got++;
			continue;
		}
		drop(pool, blocks[i].offset, ret);
		++*dropped;
		if (ret != -EFAULT && ret != -EHWPOISON)
			failed = ret;
	}
	*nr += got;
	return failed;
}

/* Blocks for a cache, at least one: their number is in *@nr. */
int mp_take_cached(struct mempool *pool, uint64_t key, void **ptrs, bool *reused,
		   unsigned int count, unsigned int *nr)
{
	unsigned int dropped = 0;
	int ret = 0;

	*nr = 0;
	while (!ret && !*nr) {
		ret = take_batch(pool, key, ptrs, reused, count, nr, &dropped);
		if (!ret && dropped > MAX_DROPS)
			ret = -ENOMEM;
	}
	return *nr ? 0 : ret;
}

/* All of @count blocks of the bucket for users, or none. */
int mp_take(struct mempool *pool, uint64_t key, void **ptrs, unsigned int count)
{
	unsigned int nr = 0, dropped = 0;
	struct mp_retry retry = { 0 };
	int ret = 0;

	while (!ret && nr < count) {
		ret = take_batch(pool, key, ptrs + nr, NULL, count - nr, &nr, &dropped);
		if ((ret == -ENOMEM || ret == -EDQUOT) && mp_cache_retry(pool, &retry))
			ret = 0;
		else if (!ret && dropped > MAX_DROPS)
			ret = -ENOMEM;
	}
	if (ret)
		mp_give(pool, ptrs, nr);
	return ret;
}

/* The key of the bucket that serves @size. */
static int bucket_for(const struct mempool *pool, const struct mp_call *call, size_t size,
		      uint64_t *key)
{
	uint64_t bucket;

	if (mp_inherited(pool))
		return mp_refuse(pool, call);
	if (!size)
		return -EINVAL;
	bucket = mp_round(&pool->info, size);
	if (!bucket || bucket >> 63)
		return -EOVERFLOW;
	*key = mp_bucket_key(bucket, false);
	return 0;
}

/* @count blocks past the caches. */
static int take(struct mempool *pool, const struct mp_call *call, uint64_t key, size_t size,
		void **ptrs, unsigned int count)
{
	int ret;

	if (pool->checked)
		return mp_checked_take(pool, call, key, size, ptrs, count);
	ret = mp_take(pool, key, ptrs, count);
	if (!ret)
		mp_cache_account(pool, (key >> 1) * count);
	return ret;
}

/* One block, out of the caches if there are any. */
static void *take_one(struct mempool *pool, const struct mp_call *call, uint64_t key, size_t size)
{
	void *ptr;
	int ret;

	if (pool->cache.bytes)
		return mp_cache_alloc(pool, key);
	ret = take(pool, call, key, size, &ptr, 1);
	return ret ? mp_null(ret) : ptr;
}

static __attribute__((noinline)) void *slow_alloc(struct mempool *pool, size_t size,
						  const char *name, const void *caller)
{
	struct mp_call call = { name, caller };
	void *ptr = mp_cache_alloc_odd(pool, size);
	uint64_t key;
	int ret;

	if (ptr)
		return ptr;
	ret = bucket_for(pool, &call, size, &key);
	if (ret)
		return mp_null(ret);
	return take_one(pool, &call, key, size);
}

MEMPOOL_API void *mempool_alloc(struct mempool *pool, size_t size)
{
	void *ptr;

	return MEMPOOL_UNLIKELY(!mempool_try_alloc(pool, size, &ptr)) ?
	       slow_alloc(pool, size, __func__, __builtin_return_address(0)) : ptr;
}

MEMPOOL_API void *mempool_zalloc(struct mempool *pool, size_t size)
{
	void *ptr;

	if (MEMPOOL_UNLIKELY(!mempool_try_alloc(pool, size, &ptr)))
		ptr = slow_alloc(pool, size, __func__, __builtin_return_address(0));
	return ptr ? memset(ptr, 0, size) : NULL;
}

/*
 * Blocks of a slab lie at multiples of the bucket's size, rounded up to
 * MEMPOOL_BLOCK_ALIGN, from a page border on; if that aligns them well enough
 * there is no need for a page each. Caches tell the two kinds apart, as the
 * kernel does: in a magazine all are of one bucket, and aligned alike.
 */
MEMPOOL_API void *mempool_aligned_alloc(struct mempool *pool, size_t alignment, size_t size)
{
	const struct mp_call *call = MP_CALL(__func__);
	uint64_t key, stride;
	int ret = bucket_for(pool, call, size, &key);

	if (ret)
		return mp_null(ret);
	if (!alignment || alignment & (alignment - 1) || alignment > pool->info.page_size)
		return mp_null(-EINVAL);
	stride = ((key >> 1) + MEMPOOL_BLOCK_ALIGN - 1) & -(uint64_t)MEMPOOL_BLOCK_ALIGN;
	if (stride % alignment || pool->checked)	/* whose bucket may be another */
		key |= 1;
	return take_one(pool, call, key, size);
}

/* A magazine at a time out of the caches; a refill is a batch. */
static int take_cached(struct mempool *pool, uint64_t key, size_t size, void **ptrs,
		       unsigned int count)
{
	int saved = errno, err = 0;
	unsigned int nr = 0;

	while (nr < count && !err) {
		nr += mp_cache_alloc_many(pool, size, ptrs + nr, count - nr);
		if (nr == count)
			break;
		ptrs[nr] = mp_cache_alloc(pool, key);
		if (ptrs[nr])
			nr++;
		else
			err = -errno;
	}
	errno = saved;
	if (err)
		mempool_release_bulk(pool, ptrs, nr);
	return err;
}

MEMPOOL_API int mempool_alloc_bulk(struct mempool *pool, size_t size, void **ptrs,
				   unsigned int count)
{
	const struct mp_call *call = MP_CALL(__func__);
	uint64_t key;
	int ret = bucket_for(pool, call, size, &key);

	if (ret)
		return ret;
	if (key >> 1 <= pool->cache.max_block)
		return take_cached(pool, key, size, ptrs, count);
	return take(pool, call, key, size, ptrs, count);
}

static __attribute__((noinline)) int slow_release(struct mempool *pool, void *ptr,
						  const void *caller)
{
	struct mp_call call = { "mempool_release", caller };

	if (mp_remote_release(pool, ptr))
		return 0;
	if (mp_inherited(pool))
		return mp_refuse(pool, &call);
	if (!ptr || mp_cache_release_odd(pool, ptr))
		return 0;
	if (pool->checked)
		return mp_checked_give(pool, &call, &ptr, 1);
	return pool->cache.bytes ? mp_cache_release(pool, ptr) : mp_give(pool, &ptr, 1);
}

MEMPOOL_API int mempool_release(struct mempool *pool, void *ptr)
{
	return MEMPOOL_UNLIKELY(!mempool_try_release(pool, ptr)) ?
	       slow_release(pool, ptr, __builtin_return_address(0)) : 0;
}

MEMPOOL_API int mempool_release_bulk(struct mempool *pool, void *const *ptrs, unsigned int count)
{
	unsigned int nr = 0;
	int ret, first = 0;

	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	if (pool->checked)
		return mp_checked_give(pool, MP_CALL(__func__), ptrs, count);
	if (!pool->cache.bytes)
		return mp_give(pool, ptrs, count);
	for (;;) {
		nr += mp_cache_release_many(pool, ptrs + nr, count - nr);
		while (nr < count && mp_remote_release(pool, ptrs[nr]))
			nr++;
		if (nr == count)
			return first;
		ret = mempool_release(pool, ptrs[nr++]);
		if (MEMPOOL_UNLIKELY(ret && !first))
			first = ret;
	}
}

MEMPOOL_API size_t mempool_usable_size(struct mempool *pool, const void *ptr)
{
	uint64_t offset;

	if (pool->checked)
		return mp_checked_usable(pool, ptr);
	if (!ptr || mp_space_offset(pool, ptr, &offset))
		return 0;
	return mp_track_key(pool, offset) >> 1;
}

/*
 * The command does not say where the blocks are, and to take and give them back
 * would falsify the statistics: so all that the session owns is populated.
 */
MEMPOOL_API int mempool_preallocate(struct mempool *pool, size_t size, unsigned int count)
{
	struct mempool_preallocate cmd = { .size = size, .count = count };
	struct mempool_session_stats stats;
	int ret;

	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	ret = mp_ioctl(pool, MEMPOOL_IOC_PREALLOCATE, &cmd);
	if (!ret)
		ret = mp_ioctl(pool, MEMPOOL_IOC_STATS, &stats);
	if (!ret)
		mp_populate_owned(pool, stats.owned_bytes / MP_CHUNK);
	if (!ret)
		mp_threads_prepare(pool);
	return ret;
}

MEMPOOL_API int mempool_trim(struct mempool *pool)
{
	struct mempool_trim cmd = { 0 };

	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	mp_checked_flush(pool, MP_CALL(__func__));
	mp_cache_flush(pool, true);
	mp_space_trim(pool);
	return mp_ioctl(pool, MEMPOOL_IOC_TRIM, &cmd);
}

/*
 * What is released are the blocks that are tracked, not "all" by the kernel's
 * lights: a block that another thread is just being handed stays its own.
 */
MEMPOOL_API int mempool_clear(struct mempool *pool)
{
	uint64_t unit = UINT64_C(1) << pool->track.shift, end = pool->space.bytes;
	uint64_t offset, offsets[MP_BATCH], bytes = 0, size;
	unsigned int nr = 0, max = batch_of(pool, MP_BATCH);
	uint8_t ids[MP_BATCH];
	int ret, first = 0;

	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	mp_checked_clear(pool, MP_CALL(__func__));
	for (offset = 0; offset < end || nr; offset += unit) {
		offset = offset < end ? mp_track_next(pool, offset, end) : end;
		if (offset < end) {
			size = mp_track_key(pool, offset) >> 1;
			ids[nr] = mp_track_take(pool, offset);
			offsets[nr] = offset;
			if (ids[nr]) {	/* else another thread was faster */
				bytes += size;
				nr++;
			}
		}
		if (nr < max && offset < end)
			continue;
		ret = give_blocks(pool, offsets, ids, nr, 0);
		if (!first)
			first = ret;
		nr = 0;
	}
	mp_cache_account(pool, -(int64_t)bytes);
	ret = mempool_trim(pool);
	return first ? first : ret;
}

MEMPOOL_API int mempool_flush(struct mempool *pool)
{
	if (mp_inherited(pool))
		return mp_refuse(pool, MP_CALL(__func__));
	mp_checked_flush(pool, MP_CALL(__func__));
	return mp_cache_flush(pool, false);
}
