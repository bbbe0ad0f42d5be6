/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Figures: what a session's counters add up to.
 *
 * Buckets count what reached them; claims are what caches in user space served
 * beyond that. Sums saturate: claims are the user's word, and a sum must not run
 * backwards.
 */
#ifndef MP_FIGURES_H
#define MP_FIGURES_H

#include "bucket.h"

static inline u64 mp_add_saturating(u64 a, u64 b)
{
	return b > U64_MAX - a ? U64_MAX : a + b;
}

/* Takes over more claims; their peak is compared, not added. */
void mp_claims_add(struct mempool_claims *sum, const struct mempool_claims *more);

/*
 * Counters of @b together with @claims. Fields that neither knows are zero. Each
 * figure is read once, so this may run without the lock that serialises @b:
 * together they may be of slightly different moments then.
 */
void mp_figures_read(const struct mp_buckets *b, const struct mempool_claims *claims,
		     struct mempool_session_stats *stats);

#endif /* MP_FIGURES_H */
