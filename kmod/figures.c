// SPDX-License-Identifier: MIT OR GPL-2.0
/* Figures: what a session's counters add up to. See figures.h. */

#include "figures.h"

void mp_claims_add(struct mempool_claims *sum, const struct mempool_claims *more)
{
	sum->new_allocations = mp_add_saturating(sum->new_allocations, more->new_allocations);
	sum->reused_allocations = mp_add_saturating(sum->reused_allocations,
						    more->reused_allocations);
	sum->releases = mp_add_saturating(sum->releases, more->releases);
	sum->bad_releases = mp_add_saturating(sum->bad_releases, more->bad_releases);
	sum->peak_bytes = max(sum->peak_bytes, more->peak_bytes);
}

void mp_figures_read(const struct mp_buckets *b, const struct mempool_claims *claims,
		     struct mempool_session_stats *stats)
{
	const struct mp_bucket_counts *counts = &b->counts;
	u64 claimed_peak = READ_ONCE(claims->peak_bytes);
	u64 peak = READ_ONCE(counts->peak_bytes);

	*stats = (struct mempool_session_stats){
		.new_allocations = mp_add_saturating(READ_ONCE(counts->new_allocations),
						     READ_ONCE(claims->new_allocations)),
		.reused_allocations = mp_add_saturating(READ_ONCE(counts->reused_allocations),
							READ_ONCE(claims->reused_allocations)),
		.releases = mp_add_saturating(READ_ONCE(counts->releases),
					      READ_ONCE(claims->releases)),
		.bad_releases = mp_add_saturating(READ_ONCE(counts->bad_releases),
						  READ_ONCE(claims->bad_releases)),
		.current_bytes = READ_ONCE(counts->current_bytes),
		.peak_bytes = claimed_peak ? min(claimed_peak, peak) : peak,
		.footprint_bytes = READ_ONCE(counts->footprint_bytes),
		.peak_footprint_bytes = READ_ONCE(counts->peak_footprint_bytes),
		.cached_bytes = READ_ONCE(counts->cached_bytes),
		.heap_free_bytes = READ_ONCE(b->heap->pages.free) << MP_PAGE_SHIFT,
		.nr_slabs = READ_ONCE(counts->nr_slabs),
	};
	stats->total_allocations = mp_add_saturating(stats->new_allocations,
						     stats->reused_allocations);
	if (stats->total_allocations > stats->releases)
		stats->currently_allocated = stats->total_allocations - stats->releases;
}
