// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Heap against a model: one record per slot, one byte per page.
 */
#include "harness.h"

#define SLOTS	65u		/* one beyond a leaf */
#define PAGES	(SLOTS * MP_CHUNK_PAGES)
#define MOST	400

enum use { HOLE, FOREIGN, BOUND, UNBOUND };

struct run {
	u64 start;
	u64 len;
	struct mp_slab *slab;	/* not looked into: a mark */
	bool busy;
};

struct model {
	struct mp_heap heap;
	enum use use[SLOTS];
	u64 tenure[SLOTS];
	unsigned char taken[PAGES];
	struct run run[MOST], foreign[SLOTS];
	u32 nr_runs, nr_foreign;
	u64 tenures;
};

static char chunks[SLOTS + 2];

static bool page_free(const struct model *m, u64 page)
{
	return page < PAGES && m->use[page / MP_CHUNK_PAGES] == BOUND && !m->taken[page];
}

/* The lowest run of @pages free pages, if @first to @first + @nr were bound too. */
static u64 fit(const struct model *m, u64 pages, u64 first, u64 nr)
{
	u64 i, len = 0;

	for (i = 0; i < PAGES; i++) {
		u64 slot = i / MP_CHUNK_PAGES;
		bool free = (slot >= first && slot < first + nr) || page_free(m, i);

		len = free ? len + 1 : 0;
		if (len == pages)
			return i + 1 - pages;
	}
	return U64_MAX;
}

static bool holes(const struct model *m, u64 first, u64 nr)
{
	u64 i;

	for (i = first; i < first + nr; i++)
		if (i >= SLOTS || m->use[i] != HOLE)
			return false;
	return true;
}

/* The least number of neighbouring holes that would do, or 0. */
static u64 least_binding(const struct model *m, u64 pages)
{
	u64 nr, first;

	for (nr = 1; nr <= SLOTS; nr++)
		for (first = 0; first + nr <= SLOTS; first++)
			if (holes(m, first, nr) && fit(m, pages, first, nr) != U64_MAX)
				return nr;
	return 0;
}

static bool slot_busy(const struct model *m, u64 slot)
{
	u32 i;

	for (i = 0; i < m->nr_runs; i++)
		if (m->run[i].busy && m->run[i].start / MP_CHUNK_PAGES <= slot &&
		    (m->run[i].start + m->run[i].len - 1) / MP_CHUNK_PAGES >= slot)
			return true;
	return false;
}

static u64 slot_free(const struct model *m, u64 slot)
{
	u64 i, nr = 0;

	for (i = 0; i < MP_CHUNK_PAGES; i++)
		nr += page_free(m, slot * MP_CHUNK_PAGES + i);
	return nr;
}

static bool slot_agrees(const struct model *m, u64 i)
{
	const struct mp_slot *slot = mp_heap_slot(&m->heap, i);

	if (!slot)
		return m->use[i] == HOLE;
	if (slot->index != i || slot->free_pages != slot_free(m, i))
		return false;
	if (mp_slot_chunk(slot) != (m->use[i] == BOUND || m->use[i] == FOREIGN ?
				    &chunks[i] : NULL))
		return false;
	return m->use[i] != BOUND || (slot->tenure == m->tenure[i] &&
				      !!slot->busy == slot_busy(m, i));
}

static bool agrees(const struct model *m)
{
	const struct mp_slot *idle = mp_heap_idle_slot(&m->heap);
	u64 i, nr_idle = 0, nr_backed = 0, nr_free = 0;

	if (!mp_heap_valid(&m->heap))
		return false;
	for (i = 0; i < SLOTS; i++) {
		if (!slot_agrees(m, i))
			return false;
		nr_backed += m->use[i] == BOUND;
		nr_idle += m->use[i] == BOUND && !slot_busy(m, i);
		nr_free += m->use[i] == BOUND && slot_free(m, i) == MP_CHUNK_PAGES;
	}
	if (nr_backed != m->heap.nr_backed || nr_idle != m->heap.nr_idle)
		return false;
	if (!idle != !nr_idle)
		return false;
	return !idle || mp_slot_wholly_free(idle) == !!nr_free;
}

/* Every page of a run has its slab, and the tenure is that of its slots. */
static bool run_agrees(const struct model *m, const struct run *run)
{
	u64 i, tenure = 0;

	for (i = run->start; i < run->start + run->len; i++) {
		u64 offset = (i << MP_PAGE_SHIFT) + random_below(MP_PAGE_SIZE);

		if (mp_heap_slab(&m->heap, offset) != run->slab)
			return false;
		tenure = max(tenure, m->tenure[i / MP_CHUNK_PAGES]);
	}
	return mp_heap_tenure(&m->heap, run->start << MP_PAGE_SHIFT,
			      run->len << MP_PAGE_SHIFT) == tenure;
}

static u64 random_slot(const struct model *m, enum use use)
{
	u64 from = random_below(SLOTS), i;

	for (i = 0; i < SLOTS; i++)
		if (m->use[(from + i) % SLOTS] == use)
			return (from + i) % SLOTS;
	return U64_MAX;
}

static void model_bind(struct model *m, u64 i, bool scarce)
{
	int err;

	memory_fail_after(scarce ? random_below(4) : -1);
	err = mp_heap_bind(&m->heap, i, &chunks[i]);
	if (memory_failed()) {
		CHECK(err == -ENOMEM);
		return;
	}
	CHECK(err == (i < SLOTS && m->use[i] == HOLE ? 0 : -ENOSPC));
	if (err)
		return;
	m->use[i] = BOUND;
	m->tenure[i] = ++m->tenures;
}

static void model_unbind(struct model *m)
{
	struct mp_slot *slot = mp_heap_idle_slot(&m->heap);

	if (!slot || !mp_slot_wholly_free(slot))
		return;
	CHECK(mp_heap_unbind(&m->heap, slot->index) == &chunks[slot->index]);
	m->use[slot->index] = UNBOUND;
}

/* One slot that was unbound, or all of a run of them. */
static void model_give_slots(struct model *m)
{
	u64 i = random_slot(m, UNBOUND), nr = 1, k;

	if (i == U64_MAX)
		return;
	while (random_chance(80) && i + nr < SLOTS && m->use[i + nr] == UNBOUND)
		nr++;
	mp_heap_give_slots(&m->heap, i, nr);
	for (k = i; k < i + nr; k++)
		m->use[k] = HOLE;
}

static void model_foreign(struct model *m, bool scarce)
{
	u64 nr = 1 + random_below(5), first, i, want = U64_MAX;
	int err;

	for (i = SLOTS; i--;)
		if (holes(m, i, nr))
			want = i;
	memory_fail_after(scarce ? random_below(2) : -1);
	err = mp_heap_take_slots(&m->heap, nr, &first);
	if (memory_failed()) {
		CHECK(err == -ENOMEM);
		return;
	}
	CHECK(err == (want == U64_MAX ? -ENOSPC : 0));
	if (err)
		return;
	CHECK(first == want);
	m->foreign[m->nr_foreign++] = (struct run){ .start = first, .len = nr };
	for (i = first; i < first + nr; i++) {
		mp_slot_set_chunk(mp_heap_slot(&m->heap, i), &chunks[i]);
		m->use[i] = FOREIGN;
	}
}

static void model_foreign_end(struct model *m)
{
	struct run *run;
	u64 i;

	if (!m->nr_foreign)
		return;
	run = &m->foreign[random_below(m->nr_foreign)];
	for (i = run->start; i < run->start + run->len; i++) {
		mp_slot_set_chunk(mp_heap_slot(&m->heap, i), NULL);
		m->use[i] = HOLE;
	}
	mp_heap_give_slots(&m->heap, run->start, run->len);
	*run = m->foreign[--m->nr_foreign];
}

static u64 random_pages(void)
{
	switch (random_below(3)) {
	case 0:
		return 1 + random_below(20);
	case 1:
		return 1 + random_below(MP_CHUNK_PAGES + 100);
	default:
		return 1 + random_below(5 * MP_CHUNK_PAGES);
	}
}

static void model_take(struct model *m, bool scarce)
{
	static struct mp_slab marks[MOST];
	struct run run = { .len = random_pages() };
	u64 want = fit(m, run.len, 0, 0);
	int err;

	if (m->nr_runs == MOST)
		return;
	memory_fail_after(scarce ? 0 : -1);
	err = mp_heap_take(&m->heap, run.len, &run.start);
	if (memory_failed()) {
		CHECK(err == -ENOMEM);
		return;
	}
	CHECK(err == (want == U64_MAX ? -ENOSPC : 0));
	if (err)
		return;
	CHECK(run.start == want);
	run.slab = &marks[random_below(MOST)];
	mp_heap_set_slab(&m->heap, run.start, run.len, run.slab);
	memset(m->taken + run.start, 1, run.len);
	m->run[m->nr_runs++] = run;
}

static void model_give(struct model *m)
{
	u32 i = m->nr_runs ? random_below(m->nr_runs) : 0;
	struct run *run = &m->run[i];

	if (!m->nr_runs)
		return;
	CHECK(run_agrees(m, run));
	if (run->busy)
		mp_heap_put_busy(&m->heap, run->start, run->len);
	mp_heap_set_slab(&m->heap, run->start, run->len, NULL);
	mp_heap_give(&m->heap, run->start, run->len);
	memset(m->taken + run->start, 0, run->len);
	*run = m->run[--m->nr_runs];
}

static void model_busy(struct model *m)
{
	struct run *run = &m->run[m->nr_runs ? random_below(m->nr_runs) : 0];

	if (!m->nr_runs)
		return;
	if (run->busy)
		mp_heap_put_busy(&m->heap, run->start, run->len);
	else
		mp_heap_get_busy(&m->heap, run->start, run->len);
	run->busy = !run->busy;
}

static void model_plan(struct model *m)
{
	u64 pages = random_pages(), first = 0, nr = 77, least;
	int err = mp_heap_plan(&m->heap, pages, &first, &nr);

	if (fit(m, pages, 0, 0) != U64_MAX) {
		CHECK(!err && !nr);
		return;
	}
	least = least_binding(m, pages);
	CHECK(err == (least ? 0 : -ENOSPC));
	CHECK(nr == least);
	if (err)
		return;
	CHECK(holes(m, first, nr) && fit(m, pages, first, nr) != U64_MAX);
	while (nr-- && random_chance(95))
		model_bind(m, first + nr, false);
}

static void model_step(struct model *m, bool scarce)
{
	switch (random_below(16)) {
	case 0:
		model_bind(m, random_below(SLOTS + 2), scarce);
		break;
	case 1:
	case 2:
		model_unbind(m);
		break;
	case 3:
	case 4:
		model_give_slots(m);
		break;
	case 5:
		model_foreign(m, scarce);
		break;
	case 6:
		model_foreign_end(m);
		break;
	case 7:
	case 8:
		model_plan(m);
		break;
	case 9:
	case 10:
	case 11:
		model_take(m, scarce);
		break;
	case 12:
	case 13:
		model_busy(m);
		break;
	default:
		model_give(m);
		break;
	}
}

static void random_operations(unsigned int scarce_percent)
{
	static struct model m;
	int i;

	FOR_EACH_SEED(s) {
		memset(&m, 0, sizeof(m));
		CHECK(!mp_heap_init(&m.heap, SLOTS));
		for (i = 0; i < 700; i++) {
			model_step(&m, random_chance(scarce_percent));
			CHECK(agrees(&m));
		}
		while (m.nr_runs)
			model_give(&m);
		CHECK(agrees(&m) && m.heap.nr_idle == m.heap.nr_backed);
		mp_heap_destroy(&m.heap);
	}
}

TEST(heap_equals_the_model)
{
	random_operations(0);
}

TEST(heap_survives_failed_allocations)
{
	random_operations(30);
}

TEST(heap_init_reports_no_memory)
{
	struct mp_heap heap;
	long i;

	for (i = 0; i < 2; i++) {
		memory_fail_after(i);
		CHECK(mp_heap_init(&heap, SLOTS) == -ENOMEM);
		CHECK(memory_failed());
		mp_heap_destroy(&heap);
		CHECK(!memory.blocks);
	}
	CHECK(!mp_heap_init(&heap, SLOTS));
	mp_heap_destroy(&heap);
}

TEST(heap_take_slots_without_a_leaf_takes_none)
{
	struct mp_heap heap;
	u64 first;
	long i;

	CHECK(!mp_heap_init(&heap, SLOTS));
	for (i = 0; i < 3; i++) {
		memory_fail_after(i);
		CHECK(mp_heap_take_slots(&heap, SLOTS, &first) == -ENOMEM);
		CHECK(memory_failed() && heap.holes.free == SLOTS && mp_heap_valid(&heap));
	}
	CHECK(!mp_heap_take_slots(&heap, SLOTS, &first) && first == 0);
	mp_heap_destroy(&heap);
}

TEST(heap_bind_fails_cleanly_at_every_allocation)
{
	struct mp_heap heap;
	unsigned long blocks;
	long i;

	CHECK(!mp_heap_init(&heap, SLOTS));
	for (i = 0; ; i++) {
		blocks = memory.blocks;
		memory_fail_after(i);
		if (!mp_heap_bind(&heap, 3, &chunks[3]))
			break;
		CHECK(memory_failed() && mp_heap_valid(&heap) && !heap.nr_backed);
		/* A leaf made on the way stays. */
		CHECK(memory.blocks <= blocks + 1 && heap.holes.free == SLOTS);
	}
	CHECK(!memory_failed() && heap.nr_backed == 1);
	mp_heap_destroy(&heap);
}

TEST(heap_makes_leaves_for_its_slots_only)
{
	struct mp_heap heap;
	u64 first;

	CHECK(!mp_heap_init(&heap, 3 * MP_LEAF_SLOTS));
	CHECK(!mp_heap_take_slots(&heap, MP_LEAF_SLOTS, &first) && first == 0);
	CHECK(mp_heap_slot(&heap, MP_LEAF_SLOTS - 1) && !mp_heap_slot(&heap, MP_LEAF_SLOTS));
	mp_heap_destroy(&heap);
}

TEST(heap_unbind_of_a_slot_in_use_warns_and_changes_nothing)
{
	struct mp_heap heap;
	u64 start;

	CHECK(!mp_heap_init(&heap, 4));
	CHECK(!mp_heap_bind(&heap, 0, &chunks[0]));
	mp_heap_get_busy(&heap, 0, 1);
	CHECK(!mp_heap_unbind(&heap, 0) && warnings() == 1);
	mp_heap_put_busy(&heap, 0, 1);
	CHECK(!mp_heap_take(&heap, 1, &start));
	CHECK(!mp_heap_unbind(&heap, 0) && warnings() == 1);
	CHECK(mp_heap_valid(&heap) && mp_slot_chunk(mp_heap_slot(&heap, 0)) == &chunks[0]);
	mp_heap_destroy(&heap);
}

TEST(heap_beyond_the_space_is_nothing)
{
	struct mp_heap heap;
	u64 first, nr;

	CHECK(!mp_heap_init(&heap, 64));
	CHECK(!mp_heap_slot(&heap, 0) && !mp_heap_slot(&heap, 64) && !mp_heap_slot(&heap, U64_MAX));
	CHECK(!mp_heap_slab(&heap, 64ull * MEMPOOL_CHUNK_SIZE) && !mp_heap_slab(&heap, U64_MAX));
	CHECK(mp_heap_bind(&heap, 64, &chunks[0]) == -ENOSPC);
	CHECK(mp_heap_plan(&heap, 64 * MP_CHUNK_PAGES + 1, &first, &nr) == -ENOSPC);
	CHECK(mp_heap_plan(&heap, U64_MAX, &first, &nr) == -ENOSPC);
	CHECK(!mp_heap_plan(&heap, 64 * MP_CHUNK_PAGES, &first, &nr) && nr == 64);
	mp_heap_destroy(&heap);
}

static void bind(struct mp_heap *heap, u64 first, u64 nr)
{
	for (; nr--; first++)
		CHECK(!mp_heap_bind(heap, first, &chunks[first]));
}

/* A block of just over half a chunk must not cost a chunk each. */
TEST(heap_runs_cross_chunk_borders)
{
	struct mp_heap heap;
	u64 pages = 1126400 / MP_PAGE_SIZE, start, nr = 0;

	CHECK(!mp_heap_init(&heap, 64));
	bind(&heap, 0, 11);
	while (!mp_heap_take(&heap, pages, &start))
		nr++;
	CHECK(nr == 11ull * MEMPOOL_CHUNK_SIZE / 1126400);
	mp_heap_destroy(&heap);
}

/* A chunk cut into single pages, each with a slab, needs a larger map on the way. */
TEST(heap_tells_the_slab_of_each_page_however_many_there_are)
{
	static struct mp_slab slab[MP_CHUNK_PAGES];
	struct mp_heap heap;
	u64 start, page;
	int fail;

	CHECK(!mp_heap_init(&heap, 4));
	bind(&heap, 0, 2);
	for (page = 0; page < MP_CHUNK_PAGES; page++) {
		for (fail = 0;; fail++) {	/* each of its allocations in turn */
			memory_fail_after(fail);
			if (!mp_heap_take(&heap, 1, &start))
				break;
			CHECK(memory_failed() && mp_heap_valid(&heap));
			CHECK(heap.pages.free == 2 * MP_CHUNK_PAGES - page);
		}
		memory_fail_after(-1);
		CHECK(start == page);
		mp_heap_set_slab(&heap, start, 1, &slab[page]);
	}
	for (page = 0; page < MP_CHUNK_PAGES; page++)
		CHECK(mp_heap_slab(&heap, page << MP_PAGE_SHIFT) == &slab[page]);
	for (page = 0; page < MP_CHUNK_PAGES; page += 2) {
		mp_heap_set_slab(&heap, page, 1, NULL);
		mp_heap_give(&heap, page, 1);
	}
	for (page = 0; page < MP_CHUNK_PAGES; page++)
		CHECK(mp_heap_slab(&heap, page << MP_PAGE_SHIFT) ==
		      (page & 1 ? &slab[page] : NULL));
	mp_heap_destroy(&heap);
}

TEST(heap_plan_uses_the_free_pages_around_a_hole)
{
	struct mp_heap heap;
	u64 start, first, nr;

	CHECK(!mp_heap_init(&heap, 8));
	bind(&heap, 0, 1);
	bind(&heap, 5, 1);
	CHECK(!mp_heap_take(&heap, 12, &start) && start == 0);
	/* 500 free, four holes, a chunk free, two holes. */
	CHECK(!mp_heap_plan(&heap, 2 * MP_CHUNK_PAGES, &first, &nr));
	CHECK(first == 4 && nr == 1);
	CHECK(!mp_heap_plan(&heap, 500 + 2 * MP_CHUNK_PAGES, &first, &nr));
	CHECK(first == 1 && nr == 2);
	CHECK(!mp_heap_plan(&heap, 500 + 5 * MP_CHUNK_PAGES, &first, &nr));
	CHECK(first == 1 && nr == 4);
	CHECK(mp_heap_plan(&heap, 501 + 7 * MP_CHUNK_PAGES, &first, &nr) == -ENOSPC);
	mp_heap_destroy(&heap);
}

TEST(heap_gives_up_wholly_free_slots_first)
{
	struct mp_heap heap;
	u64 start;

	CHECK(!mp_heap_init(&heap, 8));
	bind(&heap, 0, 3);
	CHECK(!mp_heap_take(&heap, MP_CHUNK_PAGES + 1, &start) && start == 0);
	CHECK(mp_heap_idle_slot(&heap)->index == 2 && heap.nr_idle == 3);
	mp_heap_get_busy(&heap, 2 * MP_CHUNK_PAGES, 1);
	CHECK(mp_heap_idle_slot(&heap)->index != 2 && heap.nr_idle == 2);
	mp_heap_put_busy(&heap, 2 * MP_CHUNK_PAGES, 1);
	CHECK(mp_heap_idle_slot(&heap)->index == 2 && heap.nr_idle == 3);
	mp_heap_destroy(&heap);
}

TEST(heap_tenure_rises_with_every_binding)
{
	struct mp_heap heap;

	CHECK(!mp_heap_init(&heap, 8));
	bind(&heap, 4, 1);
	bind(&heap, 2, 1);
	CHECK(mp_heap_tenure(&heap, 4ull * MEMPOOL_CHUNK_SIZE, 1) == 1);
	CHECK(mp_heap_unbind(&heap, 4) == &chunks[4]);
	mp_heap_give_slots(&heap, 4, 1);
	bind(&heap, 4, 1);
	CHECK(mp_heap_tenure(&heap, 4ull * MEMPOOL_CHUNK_SIZE, 1) == 3);
	CHECK(mp_heap_tenure(&heap, 2ull * MEMPOOL_CHUNK_SIZE, MEMPOOL_CHUNK_SIZE) == 2);
	CHECK(mp_heap_tenure(&heap, 2ull * MEMPOOL_CHUNK_SIZE,
			     2ull * MEMPOOL_CHUNK_SIZE + 1) == 3);
	mp_heap_destroy(&heap);
}

/* A slot keeps its chunk until the last step; a reader sees one or none. */
TEST(heap_unbound_slot_is_no_hole_yet)
{
	struct mp_heap heap;

	CHECK(!mp_heap_init(&heap, 8));
	bind(&heap, 0, 1);
	CHECK(mp_heap_unbind(&heap, 0) == &chunks[0]);
	CHECK(!mp_slot_chunk(mp_heap_slot(&heap, 0)));
	CHECK(mp_heap_bind(&heap, 0, &chunks[0]) == -ENOSPC);
	mp_heap_give_slots(&heap, 0, 1);
	bind(&heap, 0, 1);
	mp_heap_destroy(&heap);
}

/* The checker is no use if it says yes to everything. */
#define SEES(change, back)			\
	do {						\
		change;					\
		CHECK(!mp_heap_valid(&heap));		\
		back;					\
		CHECK(mp_heap_valid(&heap));		\
	} while (0)

TEST(heap_valid_sees_what_is_wrong)
{
	struct mp_heap heap;
	struct mp_slot *slot, *other;
	struct mp_slab slab;
	u64 start;

	CHECK(!mp_heap_init(&heap, 8));
	bind(&heap, 0, 2);
	CHECK(!mp_heap_take(&heap, 10, &start));
	slot = mp_heap_slot(&heap, 0);
	other = mp_heap_slot(&heap, 5);
	SEES(heap.nr_idle++, heap.nr_idle--);
	SEES(heap.nr_backed++, heap.nr_backed--);
	SEES(slot->busy++, slot->busy--);
	SEES(slot->free_pages++, slot->free_pages--);
	SEES(heap.pages.free++, heap.pages.free--);
	SEES(heap.holes.free++, heap.holes.free--);
	SEES(list_move(&slot->idle, &heap.idle), list_move_tail(&slot->idle, &heap.idle));
	SEES(mp_slabmap_set(slot->map, 20, 1, &slab), mp_slabmap_set(slot->map, 20, 1, NULL));
	SEES(other->chunk = &chunks[5], other->chunk = NULL);
	mp_heap_destroy(&heap);
}
