/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Extents: the free runs of a range of units.
 *
 * One structure serves twice: holes in a session's offset space (unit: 2 MiB
 * slot) and free runs in its chunks (unit: page). Runs are kept in address
 * order, neighbours always merged, and searched by size: every operation is
 * O(log n) in the number of free runs. The lowest run that fits is taken.
 *
 * What was taken or added can always be given back or removed: the node that
 * this may need is allocated beforehand. Invariant:
 *
 *	free runs + spare nodes == ranges added + runs outstanding
 *
 * Lengths are never 0. No locks here: the caller serialises.
 */
#ifndef MP_EXTENTS_H
#define MP_EXTENTS_H

#include "core.h"

struct mp_extent;

struct mp_extents {
	struct mp_extent *root;		/* balanced tree by start */
	struct mp_extent *spares;
	u64 free;			/* units in all free runs */
	u64 nr_runs;			/* free runs */
	u64 nr_spares;
	u64 nr_added;			/* ranges added and not removed */
	u64 nr_taken;			/* runs outstanding */
};

void mp_extents_init(struct mp_extents *ex);
void mp_extents_destroy(struct mp_extents *ex);

/*
 * Adds the range to the free ones: it must not overlap any, and end below
 * U64_MAX. 0 or -ENOMEM.
 */
int mp_extents_add(struct mp_extents *ex, u64 start, u64 len);

/* Removes a wholly free range as it was added. */
void mp_extents_remove(struct mp_extents *ex, u64 start, u64 len);

/* The lowest run of @len units. 0, -ENOSPC (no run is long enough), -ENOMEM. */
int mp_extents_take(struct mp_extents *ex, u64 len, u64 *start);

/* Exactly this range. 0, -ENOSPC (not wholly free), -ENOMEM. */
int mp_extents_take_at(struct mp_extents *ex, u64 start, u64 len);

/* Gives back a run as it was taken; merges with both neighbours. */
void mp_extents_give(struct mp_extents *ex, u64 start, u64 len);

/* Length of the longest free run, 0 when there is none. */
u64 mp_extents_longest(const struct mp_extents *ex);

/* Length of the free run that ends at @end (exclusive) or begins at @start. */
u64 mp_extents_ending_at(const struct mp_extents *ex, u64 end);
u64 mp_extents_starting_at(const struct mp_extents *ex, u64 start);

/* Start of the lowest free run of at least @len units, or U64_MAX. */
u64 mp_extents_find(const struct mp_extents *ex, u64 len);

/* The lowest free run that begins at or above @from: its start, or U64_MAX. */
u64 mp_extents_next(const struct mp_extents *ex, u64 from, u64 *len);

/* Checks order, merging, balance, sums and the invariant: for tests. */
bool mp_extents_valid(const struct mp_extents *ex);

#endif /* MP_EXTENTS_H */
