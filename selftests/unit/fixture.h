/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A heap with buckets, and the steps that the module's session takes around
 * them: binding chunks when there is no room.
 */
#ifndef UNIT_FIXTURE_H
#define UNIT_FIXTURE_H

#include "harness.h"

struct session {
	struct mp_heap heap;
	struct mp_buckets buckets;
	struct mp_bucket_counts *counts;
	u64 chunks;			/* to be had */
};

extern const struct mp_tiers exact_tiers;

void session_open(struct session *s, u64 nr_slots, const struct mp_tiers *tiers);

/* All tables freed. */
void session_close(struct session *s);

/* Binds what a run of @pages needs. 0, -ENOMEM (no chunks left, no room). */
int session_bind(struct session *s, u64 pages);

/* mp_buckets_take(), chunks bound as needed. */
int session_take(struct session *s, u64 size, u32 flags, struct mp_ticket *ticket);

/* Takes and publishes; the block's offset, or fails the test. */
u64 session_alloc(struct session *s, u64 size);

/* mp_buckets_prepare() until done. */
int session_prepare(struct session *s, u64 size, u32 flags, u32 count, u32 *ready);

/* Gives up every slot that is wholly free; returns how many. */
u64 session_shrink(struct session *s);

#endif /* UNIT_FIXTURE_H */
