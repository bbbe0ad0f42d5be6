// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Heap: see heap.h.
 */
#include "heap.h"

static u64 slot_of(u64 page)
{
	return div_u64(page, MP_CHUNK_PAGES);
}

int mp_heap_init(struct mp_heap *heap, u64 nr_slots)
{
	int err;

	memset(heap, 0, sizeof(*heap));
	INIT_LIST_HEAD(&heap->idle);
	mp_extents_init(&heap->holes);
	mp_extents_init(&heap->pages);
	heap->leaves = mp_zalloc(div_u64(nr_slots + MP_LEAF_SLOTS - 1, MP_LEAF_SLOTS) *
				 sizeof(*heap->leaves));
	if (!heap->leaves)
		return -ENOMEM;
	err = mp_extents_add(&heap->holes, 0, nr_slots);
	if (!err)
		heap->nr_slots = nr_slots;
	return err;
}

void mp_heap_destroy(struct mp_heap *heap)
{
	u64 leaf, i, nr = div_u64(heap->nr_slots + MP_LEAF_SLOTS - 1, MP_LEAF_SLOTS);

	for (leaf = 0; leaf < nr; leaf++) {
		for (i = 0; heap->leaves[leaf] && i < MP_LEAF_SLOTS; i++)
			mp_free(heap->leaves[leaf][i].map);
		mp_free(heap->leaves[leaf]);
	}
	mp_free(heap->leaves);
	mp_extents_destroy(&heap->pages);
	mp_extents_destroy(&heap->holes);
}

struct mp_slot *mp_heap_slot(const struct mp_heap *heap, u64 index)
{
	struct mp_slot *leaf;

	if (index >= heap->nr_slots)
		return NULL;
	/* It comes from the user, and what it leads to is a pointer. */
	index = array_index_nospec((unsigned long)index, (unsigned long)heap->nr_slots);
	/* Pairs with the release in make_leaf(): a leaf seen is initialised. */
	leaf = smp_load_acquire(&heap->leaves[div_u64(index, MP_LEAF_SLOTS)]);
	return leaf ? &leaf[index % MP_LEAF_SLOTS] : NULL;
}

/* The slot, with its leaf made if need be; NULL: no memory. */
static struct mp_slot *make_leaf(struct mp_heap *heap, u64 index)
{
	u64 nr = div_u64(index, MP_LEAF_SLOTS), i;
	struct mp_slot *leaf;

	if (heap->leaves[nr])
		return &heap->leaves[nr][index % MP_LEAF_SLOTS];
	leaf = mp_zalloc(MP_LEAF_SLOTS * sizeof(*leaf));
	if (!leaf)
		return NULL;
	for (i = 0; i < MP_LEAF_SLOTS; i++)
		leaf[i].index = nr * MP_LEAF_SLOTS + i;
	/* Pairs with the acquire in mp_heap_slot(). */
	smp_store_release(&heap->leaves[nr], leaf);
	return &leaf[index % MP_LEAF_SLOTS];
}

int mp_heap_take_slots(struct mp_heap *heap, u64 nr, u64 *first)
{
	int err = mp_extents_take(&heap->holes, nr, first);
	u64 i;

	if (err)
		return err;
	for (i = 0; i < nr; i++) {
		if (make_leaf(heap, *first + i))
			continue;
		mp_extents_give(&heap->holes, *first, nr);
		return -ENOMEM;
	}
	return 0;
}

void mp_heap_give_slots(struct mp_heap *heap, u64 first, u64 nr)
{
	struct mp_slot *slot;
	u64 i;

	/* Slots that were bound have a map of slabs, and were taken singly. */
	if (!mp_heap_slot(heap, first)->map) {
		mp_extents_give(&heap->holes, first, nr);
		return;
	}
	for (i = first; i < first + nr; i++) {
		slot = mp_heap_slot(heap, i);
		mp_free(slot->map);
		slot->map = NULL;
		mp_extents_give(&heap->holes, i, 1);
	}
}

/*
 * How many slots of the run of holes [@hole, @hole + @len) are to be bound for a
 * run of @pages, together with the free pages that touch it; *@first: the lowest
 * of them. 0: it is too small.
 */
static u64 plan_hole(const struct mp_heap *heap, u64 hole, u64 len, u64 pages, u64 *first)
{
	u64 below = mp_extents_ending_at(&heap->pages, hole * MP_CHUNK_PAGES);
	u64 above = mp_extents_starting_at(&heap->pages, (hole + len) * MP_CHUNK_PAGES);
	u64 up = slot_of(pages - below + MP_CHUNK_PAGES - 1);
	u64 down = slot_of(pages - above + MP_CHUNK_PAGES - 1);

	*first = hole;
	if (up <= len && up <= down)
		return up;
	*first = hole + len - min(down, len);
	if (down <= len)
		return down;
	return below + len * MP_CHUNK_PAGES + above >= pages ? len : 0;
}

int mp_heap_plan(const struct mp_heap *heap, u64 pages, u64 *first, u64 *nr)
{
	u64 hole, len, at, need, least = U64_MAX;

	*nr = 0;
	if (mp_extents_find(&heap->pages, pages) != U64_MAX)
		return 0;
	if (pages > heap->nr_slots * MP_CHUNK_PAGES)
		return -ENOSPC;
	/* The fewest chunks; one is as few as it gets. */
	for (hole = mp_extents_next(&heap->holes, 0, &len); hole != U64_MAX && least > 1;
	     hole = mp_extents_next(&heap->holes, hole + len, &len)) {
		need = plan_hole(heap, hole, len, pages, &at);
		if (!need || need >= least)
			continue;
		least = need;
		*first = at;
		*nr = need;
	}
	return *nr ? 0 : -ENOSPC;
}

int mp_heap_bind(struct mp_heap *heap, u64 index, void *chunk)
{
	struct mp_slot *slot;
	int err = mp_extents_take_at(&heap->holes, index, 1);

	if (err)
		return err;
	slot = make_leaf(heap, index);
	if (!slot)
		goto err_hole;
	slot->map = mp_slabmap_create();
	if (!slot->map)
		goto err_hole;
	if (mp_extents_add(&heap->pages, index * MP_CHUNK_PAGES, MP_CHUNK_PAGES))
		goto err_map;
	slot->busy = 0;
	slot->free_pages = MP_CHUNK_PAGES;
	slot->tenure = ++heap->tenure;
	list_add(&slot->idle, &heap->idle);
	heap->nr_idle++;
	heap->nr_backed++;
	mp_slot_set_chunk(slot, chunk);
	return 0;

err_map:
	mp_free(slot->map);
	slot->map = NULL;
err_hole:
	mp_extents_give(&heap->holes, index, 1);
	return -ENOMEM;
}

void *mp_heap_unbind(struct mp_heap *heap, u64 index)
{
	struct mp_slot *slot = mp_heap_slot(heap, index);
	void *chunk = mp_slot_chunk(slot);

	if (WARN_ON_ONCE(slot->busy || !mp_slot_wholly_free(slot)))
		return NULL;
	mp_slot_set_chunk(slot, NULL);
	mp_extents_remove(&heap->pages, index * MP_CHUNK_PAGES, MP_CHUNK_PAGES);
	list_del_init(&slot->idle);
	slot->free_pages = 0;
	heap->nr_idle--;
	heap->nr_backed--;
	return chunk;
}

/* Pages of the slot over @page from there on, at most @left. */
static u64 pages_here(u64 page, u64 left)
{
	return min_t(u64, left, MP_CHUNK_PAGES - page % MP_CHUNK_PAGES);
}

/* Lists an idle slot where it belongs: wholly free ones in front. */
static void list_idle(struct mp_heap *heap, struct mp_slot *slot)
{
	if (mp_slot_wholly_free(slot))
		list_add(&slot->idle, &heap->idle);
	else
		list_add_tail(&slot->idle, &heap->idle);
}

/* The pages left (@take) or joined the free runs. */
static void count_pages(struct mp_heap *heap, u64 start, u64 pages, bool take)
{
	u64 n;

	for (; pages; start += n, pages -= n) {
		struct mp_slot *slot = mp_heap_slot(heap, slot_of(start));
		bool was_free = mp_slot_wholly_free(slot);

		n = pages_here(start, pages);
		slot->free_pages += take ? -n : n;
		if (slot->busy || was_free == mp_slot_wholly_free(slot))
			continue;
		list_del(&slot->idle);
		list_idle(heap, slot);
	}
}

/* The maps of the slots below @end, from that of @start on, count a run less. */
static void put_runs(struct mp_heap *heap, u64 start, u64 end)
{
	for (; start < end; start += pages_here(start, end - start))
		mp_slabmap_put_run(mp_heap_slot(heap, slot_of(start))->map);
}

/* They count one more. 0 or -ENOMEM. */
static int get_runs(struct mp_heap *heap, u64 start, u64 end)
{
	u64 page;

	for (page = start; page < end; page += pages_here(page, end - page)) {
		if (!mp_slabmap_get_run(&mp_heap_slot(heap, slot_of(page))->map))
			continue;
		put_runs(heap, start, page);
		return -ENOMEM;
	}
	return 0;
}

int mp_heap_take(struct mp_heap *heap, u64 pages, u64 *start)
{
	int err = mp_extents_take(&heap->pages, pages, start);

	if (err)
		return err;
	err = get_runs(heap, *start, *start + pages);
	if (err)
		mp_extents_give(&heap->pages, *start, pages);
	else
		count_pages(heap, *start, pages, true);
	return err;
}

void mp_heap_give(struct mp_heap *heap, u64 start, u64 pages)
{
	mp_extents_give(&heap->pages, start, pages);
	put_runs(heap, start, start + pages);
	count_pages(heap, start, pages, false);
}

void mp_heap_set_slab(struct mp_heap *heap, u64 start, u64 pages, struct mp_slab *slab)
{
	u64 n;

	for (; pages; start += n, pages -= n) {
		n = pages_here(start, pages);
		mp_slabmap_set(mp_heap_slot(heap, slot_of(start))->map, start % MP_CHUNK_PAGES, n,
			       slab);
	}
}

struct mp_slab *mp_heap_slab(const struct mp_heap *heap, u64 offset)
{
	u64 page = offset >> MP_PAGE_SHIFT;
	struct mp_slot *slot = mp_heap_slot(heap, slot_of(page));

	return slot && slot->map ? mp_slabmap_slab(slot->map, page % MP_CHUNK_PAGES) : NULL;
}

void mp_heap_get_busy(struct mp_heap *heap, u64 start, u64 pages)
{
	u64 i;

	for (i = slot_of(start); i <= slot_of(start + pages - 1); i++) {
		struct mp_slot *slot = mp_heap_slot(heap, i);

		if (slot->busy++)
			continue;
		list_del_init(&slot->idle);
		heap->nr_idle--;
	}
}

void mp_heap_put_busy(struct mp_heap *heap, u64 start, u64 pages)
{
	u64 i;

	for (i = slot_of(start); i <= slot_of(start + pages - 1); i++) {
		struct mp_slot *slot = mp_heap_slot(heap, i);

		if (--slot->busy)
			continue;
		list_idle(heap, slot);
		heap->nr_idle++;
	}
}

struct mp_slot *mp_heap_idle_slot(const struct mp_heap *heap)
{
	if (list_empty(&heap->idle))
		return NULL;
	return list_first_entry(&heap->idle, struct mp_slot, idle);
}

u64 mp_heap_tenure(const struct mp_heap *heap, u64 offset, u64 len)
{
	u64 i, last = slot_of((offset + len - 1) >> MP_PAGE_SHIFT), tenure = 0;

	for (i = slot_of(offset >> MP_PAGE_SHIFT); i <= last; i++) {
		struct mp_slot *slot = mp_heap_slot(heap, i);

		if (slot)
			tenure = max(tenure, slot->tenure);
	}
	return tenure;
}

/* The free runs against the slots' counts and tables; holes against chunks. */
static bool slots_valid(const struct mp_heap *heap)
{
	u64 run, len = 0, hole, holes = 0, i, backed = 0;

	run = mp_extents_next(&heap->pages, 0, &len);
	hole = mp_extents_next(&heap->holes, 0, &holes);
	for (i = 0; i < heap->nr_slots; i++) {
		const struct mp_slot *slot = mp_heap_slot(heap, i);
		u64 end = (i + 1) * MP_CHUNK_PAGES, nr = 0;

		while (run < end) {
			if (mp_heap_slab(heap, run << MP_PAGE_SHIFT))
				return false;
			nr++;
			run++;
			if (!--len)
				run = mp_extents_next(&heap->pages, run, &len);
		}
		if (nr != (slot ? slot->free_pages : 0))
			return false;
		backed += slot && slot->map && slot->chunk;
		if (i == hole) {
			if (slot && (slot->map || slot->chunk))
				return false;
			hole++;
			if (!--holes)
				hole = mp_extents_next(&heap->holes, hole, &holes);
		}
	}
	return backed == heap->nr_backed;
}

bool mp_heap_valid(const struct mp_heap *heap)
{
	const struct mp_slot *slot;
	bool in_front = true;
	u64 idle = 0;

	list_for_each_entry(slot, &heap->idle, idle) {
		if (slot->busy || !slot->map || !slot->chunk)
			return false;
		if (mp_slot_wholly_free(slot) && !in_front)
			return false;
		in_front = mp_slot_wholly_free(slot);
		idle++;
	}
	return idle == heap->nr_idle && mp_extents_valid(&heap->holes) &&
	       mp_extents_valid(&heap->pages) && slots_valid(heap);
}
