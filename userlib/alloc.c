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
		       unsigned int count)
{
	unsigned int at = 0;
	int ret, first = 0;

	while (at < count) {
		struct mempool_release cmd = {
			.offsets = (uintptr_t)(offsets + at),
			.count = count - at,
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
	return give_blocks(pool, offsets, ids, nr);
}

static int release_blocks(struct mempool *pool, void *const *ptrs, unsigned int count)
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

/* Make a block that the kernel has handed out usable: mapped, populated, tracked. */
static int settle(struct mempool *pool, const struct mempool_block *block, uint64_t key,
		  void **ptr)
{
	struct mp_region *region;
	int ret = mp_space_enter(pool, block->offset, key >> 1, &region);

	if (ret)
		return ret;
	ret = mp_populate(pool, region, block->offset, key >> 1, block->tenure);
	if (!ret)
		ret = mp_track_set(pool, block->offset, mp_track_id(pool, key), key);
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
		give_blocks(pool, &offset, &none, 1);
}

/*
 * Take up to @count blocks, at least one. Adds the usable ones to *@nr, the
 * others to *@dropped.
 */
static int take_batch(struct mempool *pool, uint64_t key, void **ptrs, unsigned int count,
		      unsigned int *nr, unsigned int *dropped)
{
	struct mempool_block blocks[MP_BATCH];
	struct mempool_alloc cmd = {
		.size = key >> 1,
		.blocks = (uintptr_t)blocks,
		.count = batch_of(pool, count),
		.flags = key & 1 ? MEMPOOL_ALLOC_PAGE_ALIGNED : 0,
	};
	int ret = mp_ioctl(pool, MEMPOOL_IOC_ALLOC, &cmd), failed = 0;
	unsigned int i, got = 0;

	if (ret)
		return ret;
	if (!cmd.done || cmd.done > cmd.count)
		return -EBADE;
	for (i = 0; i < cmd.done; i++) {
		ret = settle(pool, &blocks[i], key, &ptrs[got]);
		if (!ret) {
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

/* All of @count blocks of the bucket, or none. */
static int take_blocks(struct mempool *pool, uint64_t key, void **ptrs, unsigned int count)
{
	unsigned int nr = 0, dropped = 0;
	int ret = 0;

	while (!ret && nr < count) {
		ret = take_batch(pool, key, ptrs + nr, count - nr, &nr, &dropped);
		if (!ret && dropped > MAX_DROPS)
			ret = -ENOMEM;
	}
	if (ret)
		release_blocks(pool, ptrs, nr);
	return ret;
}

/* The key of the bucket that serves @size. */
static int bucket_for(const struct mempool *pool, size_t size, uint64_t *key)
{
	uint64_t bucket = mp_round(&pool->info, size);

	if (mp_inherited(pool))
		return -EPERM;
	if (!size)
		return -EINVAL;
	if (!bucket || bucket >> 63)
		return -EOVERFLOW;
	*key = mp_bucket_key(bucket, false);
	return 0;
}

static void *take_one(struct mempool *pool, uint64_t key)
{
	void *ptr;
	int ret = take_blocks(pool, key, &ptr, 1);

	return ret ? mp_null(ret) : ptr;
}

MEMPOOL_API void *mempool_alloc(struct mempool *pool, size_t size)
{
	uint64_t key;
	int ret = bucket_for(pool, size, &key);

	return ret ? mp_null(ret) : take_one(pool, key);
}

MEMPOOL_API void *mempool_zalloc(struct mempool *pool, size_t size)
{
	void *ptr = mempool_alloc(pool, size);

	return ptr ? memset(ptr, 0, size) : NULL;
}

/*
 * Blocks of a slab lie at multiples of the bucket's size, rounded up to
 * MEMPOOL_BLOCK_ALIGN, from a page border on; if that aligns them well enough
 * there is no need for a page each.
 */
MEMPOOL_API void *mempool_aligned_alloc(struct mempool *pool, size_t alignment, size_t size)
{
	uint64_t key, stride;
	int ret = bucket_for(pool, size, &key);

	if (ret)
		return mp_null(ret);
	if (!alignment || alignment & (alignment - 1) || alignment > pool->info.page_size)
		return mp_null(-EINVAL);
	stride = ((key >> 1) + MEMPOOL_BLOCK_ALIGN - 1) & -(uint64_t)MEMPOOL_BLOCK_ALIGN;
	if (stride % alignment)
		key |= 1;
	return take_one(pool, key);
}

MEMPOOL_API int mempool_alloc_bulk(struct mempool *pool, size_t size, void **ptrs,
				   unsigned int count)
{
	uint64_t key;
	int ret = bucket_for(pool, size, &key);

	return ret ? ret : take_blocks(pool, key, ptrs, count);
}

MEMPOOL_API int mempool_release(struct mempool *pool, void *ptr)
{
	return mempool_release_bulk(pool, &ptr, 1);
}

MEMPOOL_API int mempool_release_bulk(struct mempool *pool, void *const *ptrs, unsigned int count)
{
	return mp_inherited(pool) ? -EPERM : release_blocks(pool, ptrs, count);
}

MEMPOOL_API size_t mempool_usable_size(struct mempool *pool, const void *ptr)
{
	uint64_t offset;

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
		return -EPERM;
	ret = mp_ioctl(pool, MEMPOOL_IOC_PREALLOCATE, &cmd);
	if (!ret)
		ret = mp_ioctl(pool, MEMPOOL_IOC_STATS, &stats);
	if (!ret)
		mp_populate_owned(pool, stats.owned_bytes / MP_CHUNK);
	return ret;
}

MEMPOOL_API int mempool_trim(struct mempool *pool)
{
	struct mempool_trim cmd = { 0 };

	if (mp_inherited(pool))
		return -EPERM;
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
	uint64_t offset, offsets[MP_BATCH];
	unsigned int nr = 0, max = batch_of(pool, MP_BATCH);
	uint8_t ids[MP_BATCH];
	int ret, first = 0;

	if (mp_inherited(pool))
		return -EPERM;
	for (offset = 0; offset < end || nr; offset += unit) {
		offset = offset < end ? mp_track_next(pool, offset, end) : end;
		if (offset < end) {
			ids[nr] = mp_track_take(pool, offset);
			offsets[nr] = offset;
			nr += ids[nr] != 0;	/* else another thread was faster */
		}
		if (nr < max && offset < end)
			continue;
		ret = give_blocks(pool, offsets, ids, nr);
		if (!first)
			first = ret;
		nr = 0;
	}
	ret = mempool_trim(pool);
	return first ? first : ret;
}

MEMPOOL_API int mempool_flush(struct mempool *pool)
{
	return mp_inherited(pool) ? -EPERM : 0;
}
