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

/* One block: where it is, and whether its offset is taken back. */
u64 ticket_offset(const struct mp_ticket *ticket);
int session_give(struct session *s, u64 offset);

/* mp_buckets_take() of one block, chunks bound as needed. */
int session_take(struct session *s, u64 size, u32 flags, struct mp_ticket *ticket);

/* Takes and publishes; the block's offset, or fails the test. */
u64 session_alloc(struct session *s, u64 size);

/* mp_buckets_prepare() until done. */
int session_prepare(struct session *s, u64 size, u32 flags, u32 count, u32 *ready);

/* One block of a slab, as a bunch; one taken, by its index. */
struct mp_bunch bunch_of(u32 index, bool reused);
int slab_take_one(struct mp_slab *slab, u32 *index, bool *reused);
void slab_publish_one(struct mp_slab *slab, u32 index);

/* Gives up every slot that is wholly free; returns how many. */
u64 session_shrink(struct session *s);

#endif /* UNIT_FIXTURE_H */
