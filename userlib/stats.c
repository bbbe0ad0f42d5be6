// SPDX-License-Identifier: MIT OR GPL-2.0
/* Counters of sessions and block pools, in the public structures. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* To a caller whose structure may be longer than ours. */
static void copy_out(void *to, size_t to_size, const void *from, size_t from_size)
{
	memcpy(to, from, from_size);
	memset((char *)to + from_size, 0, to_size - from_size);
}

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0.0;
}

MEMPOOL_API int mempool_get_stats(struct mempool *pool, struct mempool_stats *stats, size_t size)
{
	struct mempool_session_stats from = { 0 };
	const struct mp_call *call = MP_CALL(__func__);
	struct mempool_stats to;
	uint64_t cached;
	int ret;

	if (pool->closed)
		return mp_refuse(pool, call);
	if (size < sizeof(to))	/* of the first version */
		return -EINVAL;
	mp_checked_flush(pool, call);
	cached = mp_cache_claim(pool);
	ret = mp_ask(pool, MEMPOOL_IOC_STATS, &from);
	to = (struct mempool_stats) {
		.new_allocations = from.new_allocations,
		.reused_allocations = from.reused_allocations,
		.total_allocations = from.total_allocations,
		.releases = from.releases,
		.bad_releases = from.bad_releases,
		.currently_allocated = from.currently_allocated,
		.current_bytes = from.current_bytes > cached ? from.current_bytes - cached : 0,
		.peak_bytes = from.peak_bytes,
		.footprint_bytes = from.footprint_bytes,
		.peak_footprint_bytes = from.peak_footprint_bytes,
		.cached_bytes = from.cached_bytes,
		.owned_bytes = from.owned_bytes,
		.pinned_bytes = from.pinned_bytes,
		.failed_no_memory = from.failed_no_memory,
		.failed_limit = from.failed_limit,
		.reclaimed_chunks = from.reclaimed_chunks,
		.reuse_rate = share(from.reused_allocations, from.total_allocations),
		.external_fragmentation = from.heap_free_bytes ?
			1.0 - share(from.heap_largest_free_bytes, from.heap_free_bytes) : 0.0,
	};

	if (!ret)
		copy_out(stats, size, &to, sizeof(to));
	return ret;
}

static int ask(struct mempool_blocks *blocks, const struct mp_call *call,
	       struct mempool_blocks_stats *to)
{
	struct mempool_pool_stats from = { .pool = blocks->handle };
	uint64_t steps;
	int ret;

	if (blocks->head.pool->closed)
		return mp_refuse(blocks->head.pool, call);
	ret = mp_ask(blocks->head.pool, MEMPOOL_IOC_POOL_STATS, &from);
	if (!ret && blocks->head.magazine && !mp_inherited(blocks->head.pool))
		mp_pools_correct(blocks, &from);
	steps = from.free > 1 ? from.free - 1 : 0;
	*to = (struct mempool_blocks_stats) {
		.block_size = from.block_size,
		.stride = from.stride,
		.num_blocks = from.nr_blocks,
		.issued = from.issued,
		.free = from.free,
		.held = from.held,
		.gaps = from.gaps,
		.gets = from.gets,
		.returns = from.returns,
		.bad_returns = from.bad_returns,
		.adopts = from.adopts,
		.coalesces = from.coalesces,
		.auto_coalesces = from.auto_coalesces,
		.coalesce_ns_last = from.coalesce_ns_last,
		.coalesce_ns_max = from.coalesce_ns_max,
		.members = from.members,
		.threshold = from.threshold,
		.fragmentation = 100.0 * share(from.gaps, steps),
		.efficiency = 100.0 * share(from.issued, from.nr_blocks),
		.free_list_disorder = 100.0 * share(from.disorder, steps),
	};
	return ret;
}

MEMPOOL_API int mempool_blocks_get_stats(struct mempool_blocks *blocks,
					 struct mempool_blocks_stats *stats, size_t size)
{
	struct mempool_blocks_stats now;
	int ret;

	if (size < sizeof(now))	/* of the first version */
		return -EINVAL;
	ret = ask(blocks, MP_CALL(__func__), &now);
	if (!ret)
		copy_out(stats, size, &now, sizeof(now));
	return ret;
}

static double minus_one(int err)
{
	errno = -err;
	return -1.0;
}

MEMPOOL_API double mempool_get_fragmentation(struct mempool_blocks *blocks)
{
	struct mempool_blocks_stats now;
	int ret = ask(blocks, MP_CALL(__func__), &now);

	return ret ? minus_one(ret) : now.fragmentation;
}

MEMPOOL_API double mempool_get_efficiency(struct mempool_blocks *blocks)
{
	struct mempool_blocks_stats now;
	int ret = ask(blocks, MP_CALL(__func__), &now);

	return ret ? minus_one(ret) : now.efficiency;
}

MEMPOOL_API int mempool_describe(struct mempool_blocks *blocks, char *buf, size_t len)
{
	struct mempool_blocks_stats now;
	int ret = ask(blocks, MP_CALL(__func__), &now);

	if (ret)
		return ret;
	return snprintf(buf, len,
			"%llu blocks of %llu bytes: %llu issued, %llu free, efficiency %.1f%%, fragmentation %.1f%%",
			(unsigned long long)now.num_blocks, (unsigned long long)now.block_size,
			(unsigned long long)now.issued, (unsigned long long)now.free,
			now.efficiency, now.fragmentation);
}
