// SPDX-License-Identifier: MIT OR GPL-2.0
/* The rounding rule: which bucket serves a size. The kernel applies the same. */
#include "internal.h"

static const struct mempool_tier *tier_of(const struct mempool_info *info, uint64_t size)
{
	const struct mempool_tier *tier = info->tiers;
	const struct mempool_tier *last = tier + info->nr_tiers - 1;

	while (tier < last && size >= tier->below)
		tier++;
	return tier;
}

/* 0 when @size is 0 or cannot be rounded up in 64 bits. */
uint64_t mp_round(const struct mempool_info *info, uint64_t size)
{
	uint64_t granularity = tier_of(info, size)->granularity;
	uint64_t over = size % granularity;

	if (!over)
		return size;
	return size <= UINT64_MAX - (granularity - over) ? size + (granularity - over) : 0;
}

MEMPOOL_API size_t mempool_round_to_bucket(const struct mempool *pool, size_t size)
{
	uint64_t bucket = mp_round(&pool->info, size);

	return bucket <= SIZE_MAX ? (size_t)bucket : 0;
}
