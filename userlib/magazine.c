// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Magazines: blocks of one kind, a bucket's or a block pool's, that one thread
 * has ready. What happens when one is empty or full or is to be given up.
 *
 * Fresh blocks, which no user had yet, lie at the bottom of a magazine, below
 * its lim: so each is counted when it is first used, and no sooner.
 *
 * All functions are the owner's, but for mp_magazine_recall(), mp_magazine_look()
 * and mp_magazine_count().
 */
#include <string.h>

#include "thread.h"

/* ---- looked at by others ----------------------------------------------------- */

#define LOOKS	100

/*
 * Now there are @nr blocks from @bottom on, and @more have come in. Who looks
 * meanwhile sees that @changes is odd, or has changed, and looks again (a sequence
 * counter: what is stored in between is stored with release, and loaded with acquire).
 */
static void set(struct mp_thread *t, unsigned int id, void **bottom, unsigned int nr, int more)
{
	struct mp_cold *c = &t->cold[id];

	__atomic_store_n(&c->changes, c->changes + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&c->bottom, bottom, __ATOMIC_RELEASE);
	__atomic_store_n(&c->net, c->net + more, __ATOMIC_RELEASE);
	__atomic_store_n(&t->hot.tops[id], bottom ? bottom + nr : NULL, __ATOMIC_RELEASE);
	__atomic_store_n(&c->changes, c->changes + 1, __ATOMIC_RELEASE);
}

/*
 * A magazine as it was at one moment, another thread's too. False, and nothing, if it
 * is being changed all the time, its thread having been interrupted there.
 */
bool mp_magazine_look(struct mp_thread *t, unsigned int id, struct mp_look *look)
{
	struct mp_cold *c = &t->cold[id];
	unsigned int looks, before;
	void **top;

	for (looks = 0; looks < LOOKS; looks++) {
		before = __atomic_load_n(&c->changes, __ATOMIC_ACQUIRE);
		look->bottom = __atomic_load_n(&c->bottom, __ATOMIC_ACQUIRE);
		look->net = __atomic_load_n(&c->net, __ATOMIC_ACQUIRE);
		top = __atomic_load_n(&t->hot.tops[id], __ATOMIC_ACQUIRE);
		look->nr = look->bottom ? top - look->bottom : 0;
		if (!(before & 1) && __atomic_load_n(&c->changes, __ATOMIC_RELAXED) == before)
			return true;
	}
	*look = (struct mp_look) { 0 };
	return false;
}

unsigned int mp_magazine_count(struct mp_thread *t, unsigned int id)
{
	struct mp_look look;

	mp_magazine_look(t, id, &look);
	return look.nr;
}

void mp_magazine_set_lim(struct mp_thread *t, unsigned int id)
{
	struct mp_cold *c = &t->cold[id];

	__atomic_store_n(&t->hot.lims[id], c->bottom + c->fresh, __ATOMIC_RELAXED);
}

void mp_magazine_set_top(struct mp_thread *t, unsigned int id, void **top)
{
	__atomic_store_n(&t->hot.tops[id], top, __ATOMIC_RELAXED);
}

/* Send the owner into the slow path when it next takes a block. Any thread. */
void mp_magazine_recall(struct mp_thread *t, unsigned int id)
{
	__atomic_store_n(&t->hot.lims[id], MP_NOTHING, __ATOMIC_RELAXED);
}

/* ---- what they are made of --------------------------------------------------- */

/* Arrays of as many, or more: lengths are powers of two. */
static unsigned int order_of(unsigned int slots)
{
	unsigned int order = 0;

	while (1u << order < slots)
		order++;
	return order;
}

/* An array for a magazine, or NULL. */
static void **get_slots(struct mp_thread *t, unsigned int slots)
{
	unsigned int order = order_of(slots);
	void **array = t->free_slots[order];

	if (array) {
		t->free_slots[order] = *array;
		return array;
	}
	if (MP_SLOTS - t->used_slots < 1u << order)
		return NULL;
	array = t->slots + t->used_slots;
	t->used_slots += 1u << order;
	return array;
}

static void put_slots(struct mp_thread *t, void **array, unsigned int slots)
{
	unsigned int order = order_of(slots);

	*array = t->free_slots[order];
	t->free_slots[order] = array;
}

/* Have a magazine of @slots, as many as it has blocks at least. */
bool mp_magazine_resize(struct mp_thread *t, unsigned int id, unsigned int slots)
{
	struct mp_cold *c = &t->cold[id];
	unsigned int old = mp_magazine_slots(t, id);
	unsigned int nr = old ? t->hot.tops[id] - c->bottom : 0;
	void **bottom = get_slots(t, slots), **before = c->bottom;

	if (!bottom)
		return false;
	if (nr)
		memcpy(bottom, before, nr * sizeof(bottom[0]));
	t->hot.ends[id] = bottom + slots;
	set(t, id, bottom, nr, 0);
	mp_magazine_set_lim(t, id);
	if (old)
		put_slots(t, before, old);
	return true;
}

/* Without its magazine; what was in it is somebody else's by now, or gone. */
void mp_magazine_drop(struct mp_thread *t, unsigned int id)
{
	struct mp_cold *c = &t->cold[id];
	unsigned int slots = mp_magazine_slots(t, id);
	void **bottom = c->bottom;

	mp_magazine_recall(t, id);
	t->hot.ends[id] = NULL;
	c->fresh = 0;
	c->filled = false;
	c->emptied = false;
	set(t, id, NULL, 0, 0);
	put_slots(t, bottom, slots);
}

/* ---- empty, full, given up --------------------------------------------------- */

static void give(struct mempool *pool, unsigned int id, void **blocks, unsigned int nr)
{
	if (!nr)
		return;
	if (id < MP_FIRST_POOL)
		mp_give_cached(pool, blocks, nr);
	else
		mp_pools_give_cached(pool, id, blocks, nr);
}

/*
 * Take @nr blocks out of a magazine: used ones from below, which were used longest
 * ago, to the depot as far as it has room (unless @home), the rest to the kernel.
 * What is above stays in the processor's caches: with the newest given away, a
 * burst of as many blocks as the magazine has slots goes through half as many
 * again.
 */
void mp_magazine_drain(struct mempool *pool, struct mp_thread *t, unsigned int id,
		       unsigned int nr, bool home)
{
	struct mp_cold *c = &t->cold[id];
	void **top = t->hot.tops[id], **from = c->bottom + c->fresh;
	unsigned int used = top - from, kept = 0, fresh;

	if (!nr)
		return;
	if (used > nr)
		used = nr;
	fresh = nr - used;
	if (!home && used)
		kept = mp_depot_put(pool, id, from, used);
	give(pool, id, from + kept, used - kept);
	if (!home && kept < used && id < MP_FIRST_POOL)	/* no room for it */
		mp_depot_empty_unread(pool);
	give(pool, id, from - fresh, fresh);
	memmove(from - fresh, from + used, (top - from - used) * sizeof(*from));
	c->fresh -= fresh;
	set(t, id, c->bottom, top - nr - c->bottom, -(int)nr);
	mp_magazine_set_lim(t, id);
}

/* Have one of fewer slots, what is too much going to the depot. False: it stays. */
bool mp_magazine_shrink(struct mempool *pool, struct mp_thread *t, unsigned int id,
			unsigned int slots)
{
	unsigned int nr = t->hot.tops[id] - t->cold[id].bottom;

	if (nr > slots)
		mp_magazine_drain(pool, t, id, nr - slots, false);
	return mp_magazine_resize(t, id, slots);
}

/* Give a magazine up; @home: its blocks go to the kernel. */
void mp_magazine_give_up(struct mempool *pool, struct mp_thread *t, unsigned int id, bool home)
{
	mp_magazine_drain(pool, t, id, t->hot.tops[id] - t->cold[id].bottom, home);
	if (id < MP_FIRST_POOL)
		t->capacity -= mp_magazine_slots(t, id) * (uint64_t)t->hot.sizes[id];
	mp_magazine_drop(t, id);
}

/* All blocks to the kernel; magazines begin small again. */
void mp_magazines_give_up(struct mempool *pool, struct mp_thread *t)
{
	unsigned int id;

	mp_remote_give_up(pool, t);
	for (id = 1; id < MEMPOOL_NR_MAGAZINES; id++)
		if (t->cold[id].bottom)
			mp_magazine_give_up(pool, t, id, true);
}

/* @nr blocks have been put above the bottom, where there were none. */
void mp_magazine_filled(struct mp_thread *t, unsigned int id, unsigned int nr)
{
	struct mp_cold *c = &t->cold[id];

	c->filled = true;
	set(t, id, c->bottom, nr, nr);
	mp_magazine_set_lim(t, id);
}

/* Fill an empty magazine by half out of the depot. False: there is nothing. */
bool mp_magazine_refill(struct mempool *pool, struct mp_thread *t, unsigned int id)
{
	unsigned int want = (mp_magazine_slots(t, id) + 1) / 2;
	unsigned int nr = mp_depot_get_own(pool, t->hot.number, id, t->cold[id].bottom, want);

	if (nr)
		mp_magazine_filled(t, id, nr);
	return nr;
}
