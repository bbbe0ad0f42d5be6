// SPDX-License-Identifier: MIT OR GPL-2.0
/* What counters and claims add up to. */
#include "harness.h"

#include "figures.h"

TEST(sums_saturate)
{
	CHECK(mp_add_saturating(1, 2) == 3);
	CHECK(mp_add_saturating(U64_MAX, 1) == U64_MAX);
	CHECK(mp_add_saturating(U64_MAX - 1, 1) == U64_MAX);
	CHECK(mp_add_saturating(U64_MAX, U64_MAX) == U64_MAX);
}

TEST(claims_add_up_but_for_the_peak)
{
	struct mempool_claims sum = { 1, 2, 3, 4, 50, 0 };
	const struct mempool_claims more = { 10, 20, 30, U64_MAX, 40, 0 };

	mp_claims_add(&sum, &more);
	CHECK(sum.new_allocations == 11 && sum.reused_allocations == 22);
	CHECK(sum.releases == 33 && sum.bad_releases == U64_MAX);
	CHECK(sum.peak_bytes == 50);
}

TEST(figures_are_counters_and_claims_together)
{
	struct mp_heap heap;
	struct mp_buckets b;
	struct mempool_claims claims = {
		.new_allocations = 5, .reused_allocations = 7, .releases = 2, .peak_bytes = 900,
	};
	struct mempool_session_stats stats;

	CHECK(!mp_heap_init(&heap, 4));
	mp_buckets_init(&b, &heap, &mp_default_tiers);
	b.counts.new_allocations = 10;
	b.counts.reused_allocations = 20;
	b.counts.releases = 3;
	b.counts.peak_bytes = 1000;
	mp_figures_read(&b, &claims, &stats);
	CHECK(stats.new_allocations == 15 && stats.reused_allocations == 27);
	CHECK(stats.total_allocations == 42 && stats.releases == 5);
	CHECK(stats.currently_allocated == 37);
	CHECK(stats.peak_bytes == 900);

	claims.peak_bytes = 2000;	/* more than there ever was */
	claims.releases = 1000;
	mp_figures_read(&b, &claims, &stats);
	CHECK(stats.peak_bytes == 1000);
	CHECK(!stats.currently_allocated);

	claims.peak_bytes = 0;
	mp_figures_read(&b, &claims, &stats);
	CHECK(stats.peak_bytes == 1000);
	mp_buckets_destroy(&b);
	mp_heap_destroy(&heap);
}
