// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A session's steps: see fixture.h.
 */
#include "fixture.h"

const struct mp_tiers exact_tiers = { 1, { { MEMPOOL_TIER_END, 1 } } };

void session_open(struct session *s, u64 nr_slots, const struct mp_tiers *tiers)
{
	CHECK(!mp_heap_init(&s->heap, nr_slots));
	mp_buckets_init(&s->buckets, &s->heap, tiers);
	s->counts = &s->buckets.counts;
	s->chunks = nr_slots;
}

void session_close(struct session *s)
{
	mp_buckets_destroy(&s->buckets);
	CHECK(mp_buckets_valid(&s->buckets));
	CHECK(s->heap.pages.free == s->heap.nr_backed * MP_CHUNK_PAGES);
	CHECK(mp_heap_valid(&s->heap) && s->heap.nr_idle == s->heap.nr_backed);
	mp_heap_destroy(&s->heap);
}

int session_bind(struct session *s, u64 pages)
{
	static char chunk;
	u64 first, nr, i;

	if (mp_heap_plan(&s->heap, pages, &first, &nr) || nr > s->chunks)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		if (mp_heap_bind(&s->heap, first + i, &chunk))
			return -ENOMEM;
		s->chunks--;
	}
	return 0;
}

u64 ticket_offset(const struct mp_ticket *ticket)
{
	CHECK(ticket->bunch.nr == 1);
	return mp_slab_offset(ticket->slab, mp_bunch_first(&ticket->bunch));
}

int session_give(struct session *s, u64 offset)
{
	u32 done = 0;
	int err = mp_buckets_give(&s->buckets, &offset, 1, true, &done);

	CHECK(done == !err);
	return err;
}

struct mp_bunch bunch_of(u32 index, bool reused)
{
	return (struct mp_bunch){
		.bits = 1ul << index % BITS_PER_LONG,
		.word = index / BITS_PER_LONG,
		.nr = 1,
		.reused = reused,
	};
}

int slab_take_one(struct mp_slab *slab, u32 *index, bool *reused)
{
	struct mp_bunch bunch;
	int err = mp_slab_take(slab, 1, &bunch);

	if (err)
		return err;
	CHECK(bunch.nr == 1 && hweight_long(bunch.bits) == 1);
	*index = mp_bunch_first(&bunch);
	*reused = bunch.reused;
	return 0;
}

void slab_publish_one(struct mp_slab *slab, u32 index)
{
	struct mp_bunch bunch = bunch_of(index, false);

	mp_slab_publish(slab, &bunch);
}

int session_take(struct session *s, u64 size, u32 flags, struct mp_ticket *ticket)
{
	u64 pages = 0;
	int err;

	while ((err = mp_buckets_take(&s->buckets, size, flags, 1, ticket,
				      &pages)) == -ENOSPC) {
		err = session_bind(s, pages);
		if (err)
			break;
	}
	return err;
}

u64 session_alloc(struct session *s, u64 size)
{
	struct mp_ticket ticket;

	CHECK(!session_take(s, size, 0, &ticket));
	mp_buckets_publish(&s->buckets, &ticket, true);
	return ticket_offset(&ticket);
}

int session_prepare(struct session *s, u64 size, u32 flags, u32 count, u32 *ready)
{
	u64 pages = 0;
	int err;

	for (;;) {
		err = mp_buckets_prepare(&s->buckets, size, flags, count, ready, &pages);
		if (err == -ENOSPC)
			err = session_bind(s, pages);
		else if (err != -EAGAIN)
			return err;
		if (err && err != -EAGAIN)
			return err;
	}
}

u64 session_shrink(struct session *s)
{
	struct mp_slot *slot;
	u64 nr = 0;

	while ((slot = mp_heap_idle_slot(&s->heap)) && mp_slot_wholly_free(slot)) {
		u64 index = slot->index;

		mp_heap_unbind(&s->heap, index);
		mp_heap_give_slots(&s->heap, index, 1);
		s->chunks++;
		nr++;
	}
	return nr;
}
