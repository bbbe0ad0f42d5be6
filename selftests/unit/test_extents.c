// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Extents against a model: one byte per unit.
 */
#include "harness.h"

#define UNITS	600

enum { ABSENT, FREE, TAKEN };

struct range {
	u64 start;
	u64 len;
};

struct model {
	struct mp_extents ex;
	unsigned char unit[UNITS];
	struct range added[UNITS], taken[UNITS];
	unsigned int nr_added, nr_taken;
};

static void paint(struct model *m, struct range r, int state)
{
	memset(m->unit + r.start, state, r.len);
}

/* Are all units of the range inside and in this state? */
static bool all(const struct model *m, struct range r, int state)
{
	u64 i;

	for (i = r.start; i < r.start + r.len; i++)
		if (i >= UNITS || m->unit[i] != state)
			return false;
	return true;
}

/* Length of the free run of units from @start on. */
static u64 run_from(const struct model *m, u64 start)
{
	u64 len = 0;

	while (start + len < UNITS && m->unit[start + len] == FREE)
		len++;
	return len;
}

static u64 lowest_fit(const struct model *m, u64 len)
{
	u64 i;

	for (i = 0; i < UNITS; i += run_from(m, i) + 1)
		if (run_from(m, i) >= len)
			return i;
	return U64_MAX;
}

/* The same runs, in the same order, and the same answers about them. */
static bool agrees(const struct model *m)
{
	u64 i = 0, len = 0, longest = 0, run, free = 0, at = random_below(UNITS + 1);
	u64 want = 1 + random_below(40);

	if (!mp_extents_valid(&m->ex))
		return false;
	for (run = mp_extents_next(&m->ex, 0, &len); run != U64_MAX;
	     run = mp_extents_next(&m->ex, run + len, &len)) {
		for (; i < run; i++)
			if (m->unit[i] == FREE)
				return false;
		if (run_from(m, i) != len)
			return false;
		if (mp_extents_starting_at(&m->ex, i) != len ||
		    mp_extents_ending_at(&m->ex, i + len) != len)
			return false;
		longest = max(longest, len);
		free += len;
		i += len;
	}
	for (; i < UNITS; i++)
		if (m->unit[i] == FREE)
			return false;
	if (!mp_extents_starting_at(&m->ex, at) != (!run_from(m, at) ||
						    (at && m->unit[at - 1] == FREE)))
		return false;
	if (!mp_extents_ending_at(&m->ex, at) != (!at || m->unit[at - 1] != FREE ||
						  run_from(m, at)))
		return false;
	return longest == mp_extents_longest(&m->ex) && free == m->ex.free &&
	       mp_extents_find(&m->ex, want) == lowest_fit(m, want);
}

static struct range random_range(unsigned int longest)
{
	struct range r;

	r.len = 1 + random_below(longest);
	r.start = random_below(UNITS - r.len + 1);
	return r;
}

static void model_add(struct model *m, int err)
{
	struct range r = random_range(100);

	if (!all(m, r, ABSENT))
		return;
	CHECK(mp_extents_add(&m->ex, r.start, r.len) == (err && memory_failed() ? err : 0));
	if (err)
		return;
	m->added[m->nr_added++] = r;
	paint(m, r, FREE);
}

static void model_remove(struct model *m)
{
	unsigned int i = m->nr_added ? random_below(m->nr_added) : 0;
	struct range r = m->added[i];

	if (!m->nr_added || !all(m, r, FREE))
		return;
	mp_extents_remove(&m->ex, r.start, r.len);
	paint(m, r, ABSENT);
	m->added[i] = m->added[--m->nr_added];
}

static void model_take(struct model *m, int err)
{
	struct range r = { .start = 12345, .len = 1 + random_below(30) };
	u64 fit = lowest_fit(m, r.len);
	int got = mp_extents_take(&m->ex, r.len, &r.start);

	CHECK(got == (fit == U64_MAX ? -ENOSPC : err));
	CHECK(r.start == (got ? 12345 : fit));
	if (got)
		return;
	m->taken[m->nr_taken++] = r;
	paint(m, r, TAKEN);
}

static void model_take_at(struct model *m, int err)
{
	struct range r = random_range(20);
	int got = mp_extents_take_at(&m->ex, r.start, r.len);

	CHECK(got == (all(m, r, FREE) ? err : -ENOSPC));
	if (got)
		return;
	m->taken[m->nr_taken++] = r;
	paint(m, r, TAKEN);
}

static void model_give(struct model *m)
{
	unsigned int i = m->nr_taken ? random_below(m->nr_taken) : 0;
	struct range r = m->taken[i];

	if (!m->nr_taken)
		return;
	mp_extents_give(&m->ex, r.start, r.len);
	paint(m, r, FREE);
	m->taken[i] = m->taken[--m->nr_taken];
}

/* One random operation; in @scarce ones the allocation it may need fails. */
static void model_step(struct model *m, bool scarce)
{
	int err = scarce ? -ENOMEM : 0;

	memory_fail_after(scarce ? 0 : -1);
	switch (random_below(8)) {
	case 0:
		model_add(m, err);
		break;
	case 1:
		model_remove(m);
		break;
	case 2:
	case 3:
		model_take(m, err);
		break;
	case 4:
	case 5:
		model_take_at(m, err);
		break;
	default:
		model_give(m);
		break;
	}
	memory_fail_after(-1);
}

static void random_operations(unsigned int scarce_percent)
{
	static struct model m;
	int i;

	FOR_EACH_SEED(s) {
		memset(&m, 0, sizeof(m));
		mp_extents_init(&m.ex);
		for (i = 0; i < 6000; i++) {
			model_step(&m, random_chance(scarce_percent));
			CHECK(agrees(&m));
		}
		while (m.nr_taken)
			model_give(&m);
		while (m.nr_added) {
			model_remove(&m);
			CHECK(agrees(&m));
		}
		CHECK(!m.ex.nr_runs && !m.ex.nr_spares);
		mp_extents_destroy(&m.ex);
	}
}

TEST(extents_equal_the_model)
{
	random_operations(0);
}

TEST(extents_survive_failed_allocations)
{
	random_operations(30);
}

TEST(extents_empty_have_no_runs)
{
	struct mp_extents ex;
	u64 start = 0, len = 0;

	mp_extents_init(&ex);
	CHECK(mp_extents_valid(&ex));
	CHECK(mp_extents_longest(&ex) == 0);
	CHECK(mp_extents_find(&ex, 1) == U64_MAX);
	CHECK(mp_extents_next(&ex, 0, &len) == U64_MAX);
	CHECK(mp_extents_take(&ex, 1, &start) == -ENOSPC);
	CHECK(mp_extents_take_at(&ex, 0, 1) == -ENOSPC);
	CHECK(mp_extents_ending_at(&ex, 0) == 0);
	CHECK(mp_extents_starting_at(&ex, 0) == 0);
	mp_extents_destroy(&ex);
}

TEST(extents_take_the_lowest_run_that_fits)
{
	struct mp_extents ex;
	u64 start;

	mp_extents_init(&ex);
	CHECK(!mp_extents_add(&ex, 0, 2));
	CHECK(!mp_extents_add(&ex, 10, 5));
	CHECK(!mp_extents_add(&ex, 20, 9));
	CHECK(!mp_extents_take(&ex, 3, &start) && start == 10);
	CHECK(!mp_extents_take(&ex, 3, &start) && start == 20);
	CHECK(!mp_extents_take(&ex, 1, &start) && start == 0);
	mp_extents_destroy(&ex);
}

TEST(extents_refuse_a_range_that_is_not_wholly_free)
{
	struct mp_extents ex;

	mp_extents_init(&ex);
	CHECK(!mp_extents_add(&ex, 100, 10));
	CHECK(mp_extents_take_at(&ex, 99, 2) == -ENOSPC);
	CHECK(mp_extents_take_at(&ex, 109, 2) == -ENOSPC);
	CHECK(mp_extents_take_at(&ex, 110, 1) == -ENOSPC);
	CHECK(mp_extents_take_at(&ex, 105, U64_MAX) == -ENOSPC);
	CHECK(ex.free == 10 && mp_extents_valid(&ex));
	mp_extents_destroy(&ex);
}

TEST(extents_remove_of_a_range_in_use_warns_and_changes_nothing)
{
	struct mp_extents ex;

	mp_extents_init(&ex);
	CHECK(!mp_extents_add(&ex, 0, 10));
	CHECK(!mp_extents_take_at(&ex, 4, 1));
	mp_extents_remove(&ex, 0, 10);
	CHECK(warnings() == 1);
	CHECK(ex.free == 9 && mp_extents_valid(&ex));
	mp_extents_destroy(&ex);
}

TEST(extents_merge_with_both_neighbours)
{
	struct mp_extents ex;

	mp_extents_init(&ex);
	CHECK(!mp_extents_add(&ex, 0, 30));
	CHECK(!mp_extents_take_at(&ex, 10, 10));
	CHECK(ex.nr_runs == 2);
	mp_extents_give(&ex, 10, 10);
	CHECK(ex.nr_runs == 1 && mp_extents_longest(&ex) == 30);
	mp_extents_destroy(&ex);
}

/* Every second unit taken in a range of 2^17, in falling, rising, mixed order. */
TEST(extents_stay_balanced_with_65536_runs)
{
	enum { RUNS = 1 << 16 };
	struct mp_extents ex;
	u32 order, i;

	for (order = 0; order < 3; order++) {
		mp_extents_init(&ex);
		CHECK(!mp_extents_add(&ex, 0, 2 * RUNS));
		for (i = 0; i < RUNS; i++) {
			u32 at = order == 0 ? i : order == 1 ? RUNS - 1 - i : i * 40503 % RUNS;

			CHECK(!mp_extents_take_at(&ex, 2 * at, 1));
		}
		CHECK(ex.nr_runs == RUNS && mp_extents_valid(&ex));
		CHECK(mp_extents_find(&ex, 2) == U64_MAX);
		mp_extents_give(&ex, 2 * (RUNS - 1), 1);
		CHECK(mp_extents_find(&ex, 2) == 2 * RUNS - 3);
		for (i = 0; i < RUNS - 1; i++)
			mp_extents_give(&ex, 2 * i, 1);
		CHECK(ex.nr_runs == 1 && mp_extents_valid(&ex));
		mp_extents_destroy(&ex);
	}
}

/* After any taking, all giving back and removing goes without an allocation. */
TEST(extents_give_and_remove_never_allocate)
{
	struct mp_extents ex;
	unsigned long calls;
	u64 i;

	mp_extents_init(&ex);
	for (i = 0; i < 8; i++)
		CHECK(!mp_extents_add(&ex, i * 16, 16));
	for (i = 0; i < 128; i += 2)
		CHECK(!mp_extents_take_at(&ex, i, 1));
	calls = memory.calls;
	for (i = 0; i < 128; i += 2)
		mp_extents_give(&ex, i, 1);
	for (i = 1; i < 8; i += 2) {
		mp_extents_remove(&ex, i * 16, 16);
		CHECK(mp_extents_valid(&ex));
	}
	CHECK(memory.calls == calls && ex.free == 64);
	mp_extents_destroy(&ex);
}

TEST(extents_work_near_the_end_of_64_bits)
{
	struct mp_extents ex;
	u64 start;

	mp_extents_init(&ex);
	CHECK(!mp_extents_add(&ex, U64_MAX - 10, 9));
	CHECK(mp_extents_valid(&ex));
	CHECK(!mp_extents_take(&ex, 9, &start) && start == U64_MAX - 10);
	mp_extents_give(&ex, start, 9);
	CHECK(mp_extents_ending_at(&ex, U64_MAX - 1) == 9);
	mp_extents_destroy(&ex);
}

/* The checker is no use if it says yes to everything. */
TEST(extents_valid_sees_wrong_sums)
{
	struct mp_extents ex, was;

	mp_extents_init(&ex);
	CHECK(!mp_extents_add(&ex, 0, 10));
	CHECK(!mp_extents_take_at(&ex, 4, 1));
	was = ex;
	ex.free++;
	CHECK(!mp_extents_valid(&ex));
	ex = was;
	ex.nr_runs++;
	ex.nr_taken++;
	CHECK(!mp_extents_valid(&ex));
	ex = was;
	ex.nr_spares++;
	ex.nr_taken++;
	CHECK(!mp_extents_valid(&ex));
	ex = was;
	ex.nr_added++;
	CHECK(!mp_extents_valid(&ex));
	ex = was;
	CHECK(mp_extents_valid(&ex));
	mp_extents_destroy(&ex);
}
