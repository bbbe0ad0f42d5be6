// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The layout of the interface, the same on every machine and for 32- and
 * 64-bit callers. Made by "layout make", compiled for several machines.
 */
#include <stddef.h>
#include "uapi/mempool.h"

#define SIZE(s, n) \
	_Static_assert(sizeof(struct s) == (n), "size of " #s)
#define FIELD(s, f, n) \
	_Static_assert(offsetof(struct s, f) == (n), "place of " #s "." #f)
#define IOCTL(c, n) \
	_Static_assert((c) == (n), "number of " #c)

SIZE(mempool_tier, 16);
FIELD(mempool_tier, below, 0);
FIELD(mempool_tier, granularity, 8);

SIZE(mempool_info, 360);
FIELD(mempool_info, features, 0);
FIELD(mempool_info, session_id, 8);
FIELD(mempool_info, space_bytes, 16);
FIELD(mempool_info, status_offset, 24);
FIELD(mempool_info, reserve_bytes, 32);
FIELD(mempool_info, max_cached_bytes, 40);
FIELD(mempool_info, min_bytes, 48);
FIELD(mempool_info, limit_bytes, 56);
FIELD(mempool_info, user_limit_bytes, 64);
FIELD(mempool_info, page_size, 72);
FIELD(mempool_info, chunk_size, 76);
FIELD(mempool_info, block_align, 80);
FIELD(mempool_info, max_batch, 84);
FIELD(mempool_info, max_cached, 88);
FIELD(mempool_info, node, 92);
FIELD(mempool_info, nr_tiers, 96);
FIELD(mempool_info, reserved, 100);
FIELD(mempool_info, tiers, 104);

SIZE(mempool_configure, 296);
FIELD(mempool_configure, flags, 0);
FIELD(mempool_configure, nr_tiers, 4);
FIELD(mempool_configure, max_cached, 8);
FIELD(mempool_configure, node, 12);
FIELD(mempool_configure, max_cached_bytes, 16);
FIELD(mempool_configure, min_bytes, 24);
FIELD(mempool_configure, limit_bytes, 32);
FIELD(mempool_configure, tiers, 40);
IOCTL(MEMPOOL_IOC_CONFIGURE, 0x4128be01);

SIZE(mempool_block, 32);
FIELD(mempool_block, offset, 0);
FIELD(mempool_block, slab, 8);
FIELD(mempool_block, tenure, 16);
FIELD(mempool_block, flags, 24);
FIELD(mempool_block, reserved, 28);

SIZE(mempool_alloc, 40);
FIELD(mempool_alloc, size, 0);
FIELD(mempool_alloc, blocks, 8);
FIELD(mempool_alloc, deadline, 16);
FIELD(mempool_alloc, count, 24);
FIELD(mempool_alloc, flags, 28);
FIELD(mempool_alloc, done, 32);
FIELD(mempool_alloc, reserved, 36);

SIZE(mempool_claims, 48);
FIELD(mempool_claims, new_allocations, 0);
FIELD(mempool_claims, reused_allocations, 8);
FIELD(mempool_claims, releases, 16);
FIELD(mempool_claims, bad_releases, 24);
FIELD(mempool_claims, peak_bytes, 32);
FIELD(mempool_claims, reserved, 40);

SIZE(mempool_release, 72);
FIELD(mempool_release, offsets, 0);
FIELD(mempool_release, count, 8);
FIELD(mempool_release, flags, 12);
FIELD(mempool_release, done, 16);
FIELD(mempool_release, reserved, 20);
FIELD(mempool_release, claims, 24);

SIZE(mempool_preallocate, 24);
FIELD(mempool_preallocate, size, 0);
FIELD(mempool_preallocate, count, 8);
FIELD(mempool_preallocate, flags, 12);
FIELD(mempool_preallocate, done, 16);
FIELD(mempool_preallocate, reserved, 20);
IOCTL(MEMPOOL_IOC_PREALLOCATE, 0xc018be04);

SIZE(mempool_trim, 16);
FIELD(mempool_trim, flags, 0);
FIELD(mempool_trim, reserved, 4);
FIELD(mempool_trim, released_bytes, 8);

SIZE(mempool_session_stats, 184);
FIELD(mempool_session_stats, session_id, 0);
FIELD(mempool_session_stats, new_allocations, 8);
FIELD(mempool_session_stats, reused_allocations, 16);
FIELD(mempool_session_stats, total_allocations, 24);
FIELD(mempool_session_stats, releases, 32);
FIELD(mempool_session_stats, bad_releases, 40);
FIELD(mempool_session_stats, currently_allocated, 48);
FIELD(mempool_session_stats, current_bytes, 56);
FIELD(mempool_session_stats, peak_bytes, 64);
FIELD(mempool_session_stats, footprint_bytes, 72);
FIELD(mempool_session_stats, peak_footprint_bytes, 80);
FIELD(mempool_session_stats, cached_bytes, 88);
FIELD(mempool_session_stats, owned_bytes, 96);
FIELD(mempool_session_stats, pinned_bytes, 104);
FIELD(mempool_session_stats, min_bytes, 112);
FIELD(mempool_session_stats, limit_bytes, 120);
FIELD(mempool_session_stats, heap_free_bytes, 128);
FIELD(mempool_session_stats, heap_largest_free_bytes, 136);
FIELD(mempool_session_stats, failed_no_memory, 144);
FIELD(mempool_session_stats, failed_limit, 152);
FIELD(mempool_session_stats, reclaimed_chunks, 160);
FIELD(mempool_session_stats, nr_slabs, 168);
FIELD(mempool_session_stats, nr_pools, 176);
IOCTL(MEMPOOL_IOC_STATS, 0x80b8be06);

SIZE(mempool_pool_create, 80);
FIELD(mempool_pool_create, block_size, 0);
FIELD(mempool_pool_create, nr_blocks, 8);
FIELD(mempool_pool_create, threshold, 12);
FIELD(mempool_pool_create, mode, 16);
FIELD(mempool_pool_create, flags, 20);
FIELD(mempool_pool_create, name, 24);
FIELD(mempool_pool_create, pool, 56);
FIELD(mempool_pool_create, reserved, 60);
FIELD(mempool_pool_create, offset, 64);
FIELD(mempool_pool_create, stride, 72);
IOCTL(MEMPOOL_IOC_POOL_CREATE, 0xc050be10);

SIZE(mempool_pool_open, 72);
FIELD(mempool_pool_open, name, 0);
FIELD(mempool_pool_open, flags, 32);
FIELD(mempool_pool_open, pool, 36);
FIELD(mempool_pool_open, block_size, 40);
FIELD(mempool_pool_open, offset, 48);
FIELD(mempool_pool_open, stride, 56);
FIELD(mempool_pool_open, nr_blocks, 64);
FIELD(mempool_pool_open, threshold, 68);
IOCTL(MEMPOOL_IOC_POOL_OPEN, 0xc048be11);

SIZE(mempool_pool_close, 8);
FIELD(mempool_pool_close, pool, 0);
FIELD(mempool_pool_close, reserved, 4);
IOCTL(MEMPOOL_IOC_POOL_CLOSE, 0x4008be12);

SIZE(mempool_pool_remove, 32);
FIELD(mempool_pool_remove, name, 0);
IOCTL(MEMPOOL_IOC_POOL_REMOVE, 0x4020be13);

SIZE(mempool_token, 8);
FIELD(mempool_token, index, 0);
FIELD(mempool_token, generation, 4);

SIZE(mempool_pool_batch, 40);
FIELD(mempool_pool_batch, tokens, 0);
FIELD(mempool_pool_batch, deadline, 8);
FIELD(mempool_pool_batch, pool, 16);
FIELD(mempool_pool_batch, count, 20);
FIELD(mempool_pool_batch, flags, 24);
FIELD(mempool_pool_batch, done, 28);
FIELD(mempool_pool_batch, coalesced, 32);
FIELD(mempool_pool_batch, reserved, 36);
IOCTL(MEMPOOL_IOC_POOL_GET, 0xc028be14);
IOCTL(MEMPOOL_IOC_POOL_RETURN, 0xc028be15);
IOCTL(MEMPOOL_IOC_POOL_ADOPT, 0xc028be16);

SIZE(mempool_pool_op, 16);
FIELD(mempool_pool_op, pool, 0);
FIELD(mempool_pool_op, flags, 4);
FIELD(mempool_pool_op, result, 8);
IOCTL(MEMPOOL_IOC_POOL_COALESCE, 0xc010be17);
IOCTL(MEMPOOL_IOC_POOL_RESET, 0xc010be18);

SIZE(mempool_pool_stats, 152);
FIELD(mempool_pool_stats, pool, 0);
FIELD(mempool_pool_stats, flags, 4);
FIELD(mempool_pool_stats, block_size, 8);
FIELD(mempool_pool_stats, stride, 16);
FIELD(mempool_pool_stats, nr_blocks, 24);
FIELD(mempool_pool_stats, issued, 32);
FIELD(mempool_pool_stats, free, 40);
FIELD(mempool_pool_stats, gaps, 48);
FIELD(mempool_pool_stats, disorder, 56);
FIELD(mempool_pool_stats, gets, 64);
FIELD(mempool_pool_stats, returns, 72);
FIELD(mempool_pool_stats, bad_returns, 80);
FIELD(mempool_pool_stats, adopts, 88);
FIELD(mempool_pool_stats, coalesces, 96);
FIELD(mempool_pool_stats, auto_coalesces, 104);
FIELD(mempool_pool_stats, coalesce_ns_last, 112);
FIELD(mempool_pool_stats, coalesce_ns_max, 120);
FIELD(mempool_pool_stats, held, 128);
FIELD(mempool_pool_stats, members, 136);
FIELD(mempool_pool_stats, threshold, 140);
FIELD(mempool_pool_stats, mode, 144);
FIELD(mempool_pool_stats, reserved, 148);
IOCTL(MEMPOOL_IOC_POOL_STATS, 0xc098be19);

SIZE(mempool_status, 64);
FIELD(mempool_status, pressure, 0);
FIELD(mempool_status, reserved, 4);
