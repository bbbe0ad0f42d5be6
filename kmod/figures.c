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
	u64 claimed_peak = mp_peek(claims->peak_bytes);
	u64 peak = mp_peek(counts->peak_bytes);

	*stats = (struct mempool_session_stats){
		.new_allocations = mp_add_saturating(mp_peek(counts->new_allocations),
						     mp_peek(claims->new_allocations)),
		.reused_allocations = mp_add_saturating(mp_peek(counts->reused_allocations),
							mp_peek(claims->reused_allocations)),
		.releases = mp_add_saturating(mp_peek(counts->releases),
					      mp_peek(claims->releases)),
		.bad_releases = mp_add_saturating(mp_peek(counts->bad_releases),
						  mp_peek(claims->bad_releases)),
		.current_bytes = mp_peek(counts->current_bytes),
		.peak_bytes = claimed_peak ? min(claimed_peak, peak) : peak,
		.footprint_bytes = mp_peek(counts->footprint_bytes),
		.peak_footprint_bytes = mp_peek(counts->peak_footprint_bytes),
		.cached_bytes = mp_peek(counts->cached_bytes),
		.heap_free_bytes = mp_peek(b->heap->pages.free) << MP_PAGE_SHIFT,
		.nr_slabs = mp_peek(counts->nr_slabs),
	};
	stats->total_allocations = mp_add_saturating(stats->new_allocations,
						     stats->reused_allocations);
	if (stats->total_allocations > stats->releases)
		stats->currently_allocated = stats->total_allocations - stats->releases;
}
