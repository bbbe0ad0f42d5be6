// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Slab against a model: one byte per block.
 */
#include "fixture.h"

#include <time.h>

enum { FREE, RESERVED, LIVE };

#define MOST	4200

struct model {
	struct mp_slab *slab;
	unsigned char state[MOST];
	unsigned char handed[MOST];	/* as the slab is to see it: see abort_fresh */
};

/* A slab of @nr blocks of 64 bytes at page 3. */
static struct mp_slab *make(u32 nr)
{
	return mp_slab_create(3, DIV_ROUND_UP(nr, 64u), 64, nr);
}

static u32 first(const struct model *m, int state)
{
	u32 i = 0;

	while (i < m->slab->nr && m->state[i] != state)
		i++;
	return i;
}

static bool agrees(const struct model *m)
{
	u32 i, free = 0, runs = 0, live = 0, reusable = 0;
	const struct mp_slab *slab = m->slab;
	u64 gaps;

	for (i = 0; i < slab->nr; i++) {
		bool is_free = m->state[i] == FREE, is_live;

		free += is_free;
		runs += is_free && (!i || m->state[i - 1] != FREE);
		live += m->state[i] == LIVE;
		reusable += is_free && m->handed[i];
		is_live = m->state[i] == LIVE;
		if (mp_slab_is_live(slab, i) != is_live)
			return false;
	}
	gaps = runs ? runs - 1 : 0;
	for (i = 0; i <= 100; i += 20)
		if (mp_slab_fragmented(slab, i) !=
		    (free > 1 && gaps * 100 > (u64)i * (free - 1)))
			return false;
	return mp_slab_valid(slab) && mp_slab_free(slab) == free && slab->runs == runs &&
	       mp_slab_gaps(slab) == gaps && slab->live_count == live &&
	       mp_slab_reusable(slab) == reusable &&
	       mp_slab_next_live(slab, 0) == first(m, LIVE);
}

/* The lowest free ones in a word, all handed out before or none. */
static void model_take(struct model *m)
{
	u32 lowest = first(m, FREE), most = 1 + random_below(random_chance(50) ? 70 : 3), nr, i;
	struct mp_bunch bunch = { .nr = 77 };
	int err = mp_slab_take(m->slab, most, &bunch);
	unsigned long bits = 0;

	CHECK(err == (lowest == m->slab->nr ? -ENOSPC : 0));
	if (err) {
		CHECK(bunch.nr == 77);
		return;
	}
	CHECK(mp_bunch_first(&bunch) == lowest && bunch.reused == m->handed[lowest]);
	for (i = lowest, nr = 0; i < m->slab->nr && nr < most && i / BITS_PER_LONG == lowest / BITS_PER_LONG; i++) {
		if (m->state[i] != FREE)
			continue;
		if (m->handed[i] != bunch.reused)
			break;
		bits |= 1ul << i % BITS_PER_LONG;
		m->state[i] = RESERVED;
		m->handed[i] = 1;
		nr++;
	}
	CHECK(bunch.nr == nr && bunch.bits == bits && bunch.word == lowest / BITS_PER_LONG);
}

/* A random block in this state, or nr. */
static u32 some(const struct model *m, int state)
{
	u32 from = random_below(m->slab->nr), i;

	for (i = 0; i < m->slab->nr; i++)
		if (m->state[(from + i) % m->slab->nr] == state)
			return (from + i) % m->slab->nr;
	return m->slab->nr;
}

/* Some neighbours of block @i in the same state, as a bunch. */
static struct mp_bunch around(const struct model *m, u32 i)
{
	struct mp_bunch bunch = bunch_of(i, random_chance(50));

	for (i++; random_chance(70) && i % BITS_PER_LONG && i < m->slab->nr; i++) {
		if (m->state[i] != m->state[i - 1])
			break;
		bunch.bits |= 1ul << i % BITS_PER_LONG;
		bunch.nr++;
	}
	return bunch;
}

static void set_states(struct model *m, const struct mp_bunch *bunch, int state)
{
	u32 i, from = mp_bunch_first(bunch);

	for (i = from; i < from + bunch->nr; i++)
		m->state[i] = state;
}

/* The last fresh ones are fresh again. */
static void model_undo(struct model *m)
{
	u32 i = some(m, RESERVED), end;
	struct mp_bunch bunch;

	if (i == m->slab->nr)
		return;
	bunch = around(m, i);
	set_states(m, &bunch, FREE);
	mp_slab_abort(m->slab, &bunch);
	end = i + bunch.nr;
	if (!bunch.reused && (end == m->slab->nr || !m->handed[end]))
		memset(m->handed + i, 0, bunch.nr);
}

static void model_publish(struct model *m)
{
	u32 i = some(m, RESERVED);
	struct mp_bunch bunch;

	if (i == m->slab->nr)
		return;
	bunch = around(m, i);
	mp_slab_publish(m->slab, &bunch);
	set_states(m, &bunch, LIVE);
}

/* Offsets, mostly of live blocks: all are given back up to the first bad one. */
static void model_give(struct model *m)
{
	u32 nr = 1 + random_below(20), i, index, given = 77, good, left = m->slab->issued;
	const u64 end = m->slab->pages + m->slab->start;
	int err = 0, got;
	u64 offsets[20];

	for (i = 0; i < nr; i++) {
		index = random_chance(95) ? some(m, LIVE) : random_below(m->slab->nr);
		offsets[i] = mp_slab_offset(m->slab, index);
		if (random_chance(2))
			offsets[i] += 32;
		if (random_chance(2))
			offsets[i] = (random_chance(50) ? end : 1) << MP_PAGE_SHIFT;
	}
	for (good = 0; good < nr && !err && (left || !good); good++) {
		if (offsets[good] >= end << MP_PAGE_SHIFT || offsets[good] < 3 << MP_PAGE_SHIFT)
			break;
		index = (offsets[good] - (3 << MP_PAGE_SHIFT)) / 64;
		if (offsets[good] % 64)
			err = -EINVAL;
		else if (index >= m->slab->nr || m->state[index] != LIVE)
			err = -ENOENT;
		if (err)
			break;
		m->state[index] = FREE;
		left--;
	}
	got = mp_slab_give_offsets(m->slab, offsets, nr, &given);
	CHECK(got == err && given == good);
}

static void model_give_live(struct model *m)
{
	u32 i, nr = m->slab->live_count;

	CHECK(mp_slab_give_live(m->slab) == nr);
	for (i = 0; i < m->slab->nr; i++)
		if (m->state[i] == LIVE)
			m->state[i] = FREE;
}

static void model_step(struct model *m)
{
	u32 i, nr = m->slab->nr;

	switch (random_below(9)) {
	case 0:
	case 1:
	case 2:
		model_take(m);
		break;
	case 3:
	case 4:
		model_publish(m);
		break;
	case 5:
		model_undo(m);
		break;
	case 6:
		model_give(m);
		break;
	case 7:
		i = random_chance(30) ? random_below(nr) : some(m, LIVE);
		if (i == nr)
			break;
		CHECK(mp_slab_give_one(m->slab, i) == (m->state[i] == LIVE ? 0 : -ENOENT));
		if (m->state[i] == LIVE)
			m->state[i] = FREE;
		break;
	default:
		if (random_chance(10))
			mp_slab_coalesce(m->slab);
		if (random_chance(3))
			model_give_live(m);
		break;
	}
}

/* Sizes at which the bitmap and its summary get another word. */
TEST(slab_equals_the_model)
{
	static const u32 sizes[] = { 1, 2, 3, 63, 64, 65, 128, 1000, 4096, 4097 };
	static struct model m;
	u32 i, step;

	FOR_EACH_SEED(s) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			memset(&m, 0, sizeof(m));
			m.slab = make(sizes[i]);
			CHECK(m.slab && m.slab->nr == sizes[i]);
			/* Large ones start nearly full: their far words matter too. */
			while (sizes[i] > 200 && mp_slab_free(m.slab) > 5)
				model_take(&m);
			for (step = 0; step < 600; step++) {
				model_step(&m);
				CHECK(agrees(&m));
			}
			mp_slab_destroy(m.slab);
		}
	}
}

TEST(slab_create_reports_no_memory)
{
	memory_fail_after(0);
	CHECK(!make(100));
	CHECK(memory_failed());
}

TEST(slab_is_one_allocation)
{
	struct mp_slab *slab = make(100000);

	CHECK(slab && memory.calls == 1);
	mp_slab_destroy(slab);
}

TEST(slab_holds_what_fits_and_no_more_than_asked)
{
	struct mp_slab *slab = mp_slab_create(0, 3, 3072, U32_MAX);

	CHECK(slab && slab->nr == 4);
	mp_slab_destroy(slab);
	slab = mp_slab_create(0, 3, 3072, 2);
	CHECK(slab && slab->nr == 2);
	mp_slab_destroy(slab);
	CHECK(!mp_slab_create(0, 1, 8192, U32_MAX));
}

TEST(slab_index_finds_block_starts_only)
{
	struct mp_slab *slab = mp_slab_create(5, 3, 3072, U32_MAX);
	u64 start = 5 * MP_PAGE_SIZE, offset;
	u32 index;

	CHECK(slab);
	for (offset = start - 8192; offset < start + 5 * MP_PAGE_SIZE; offset++) {
		bool in = offset >= start && offset < start + 4 * 3072;
		bool is = in && !((offset - start) % 3072);

		CHECK(mp_slab_index(slab, offset, &index) ==
		      (is ? 0 : in || offset % 64 ? -EINVAL : -ENOENT));
		CHECK(!is || mp_slab_offset(slab, index) == offset);
	}
	CHECK(mp_slab_index(slab, U64_MAX, &index) == -EINVAL);
	mp_slab_destroy(slab);
}

/* 2 pages hold 2 blocks, and 2048 bytes that are no block's. */
TEST(slab_has_no_block_in_what_is_left_over)
{
	struct mp_slab *slab = mp_slab_create(5, 2, 3072, U32_MAX);
	u64 start = 5 * MP_PAGE_SIZE, offset;
	u32 index, given;

	CHECK(slab && slab->nr == 2);
	for (offset = start + 64; offset < start + 2 * 3072; offset += 64)
		CHECK(offset == start + 3072 ||
		      mp_slab_index(slab, offset, &index) == -EINVAL);
	for (; offset < start + 2 * MP_PAGE_SIZE; offset += 64) {
		CHECK(mp_slab_index(slab, offset, &index) == -ENOENT);
		CHECK(mp_slab_give_offsets(slab, &offset, 1, &given) == -ENOENT && !given);
	}
	mp_slab_destroy(slab);
}

/* Around multiples of the stride, in slabs of all sizes. */
TEST(slab_index_is_what_division_says)
{
	u32 index;
	int i, k;

	FOR_EACH_SEED(s) {
		for (i = 0; i < 2000; i++) {
			/* Sizes as they can be: all blocks together in 63 bits. */
			u64 stride = 64ull * (1 + random_below(1u << random_below(28)));
			struct mp_slab slab = {
				.start = random_below(1u << random_below(31)),
				.stride = stride,
				.reciprocal = U64_MAX / stride + 1,
				.nr = 1 + random_below(1u << random_below(30)),
			};

			for (k = 0; k < 20; k++) {
				u64 in = (u64)random_below(slab.nr + 2) * stride +
					 (random_chance(50) ? random_below(3) - 1 : 0);
				u64 offset = (slab.start << MP_PAGE_SHIFT) + in;
				bool none = in / stride >= slab.nr && !(in % 64);
				bool is = !(in % stride) && !none;

				CHECK(mp_slab_index(&slab, offset, &index) ==
				      (is ? 0 : none ? -ENOENT : -EINVAL));
				CHECK(!is || index == in / stride);
			}
		}
	}
}

TEST(slab_offsets_of_large_blocks_do_not_wrap)
{
	struct mp_slab *slab = mp_slab_create(1ull << 30, 1ull << 24, 1ull << 33, U32_MAX);
	u32 index;

	CHECK(slab && slab->nr == 8);
	CHECK(mp_slab_offset(slab, 7) == (1ull << 42) + (7ull << 33));
	CHECK(!mp_slab_index(slab, mp_slab_offset(slab, 7), &index) && index == 7);
	mp_slab_destroy(slab);
}

TEST(slab_reserved_block_cannot_be_given)
{
	struct mp_slab *slab = make(4);
	bool reused;
	u32 index;

	CHECK(slab && !slab_take_one(slab, &index, &reused));
	CHECK(mp_slab_give_one(slab, index) == -ENOENT);
	slab_publish_one(slab, index);
	CHECK(mp_slab_give_one(slab, index) == 0);
	CHECK(mp_slab_give_one(slab, index) == -ENOENT);
	mp_slab_destroy(slab);
}

TEST(slab_aborted_in_reverse_is_fresh_again)
{
	struct mp_slab *slab = make(8);
	bool reused;
	u32 index, i;

	CHECK(slab);
	for (i = 0; i < 3; i++)
		CHECK(!slab_take_one(slab, &index, &reused) && !reused);
	for (i = 3; i--;) {
		struct mp_bunch bunch = bunch_of(i, false);

		mp_slab_abort(slab, &bunch);
	}
	CHECK(slab->fresh == 0 && mp_slab_reusable(slab) == 0);
	mp_slab_destroy(slab);
}

TEST(slab_blocks_handed_out_before_come_first)
{
	struct mp_slab *slab = make(200);
	bool reused;
	u32 index, i;

	CHECK(slab);
	for (i = 0; i < 130; i++) {
		CHECK(!slab_take_one(slab, &index, &reused) && index == i && !reused);
		slab_publish_one(slab, index);
	}
	CHECK(!mp_slab_give_one(slab, 129) && !mp_slab_give_one(slab, 3));
	CHECK(!slab_take_one(slab, &index, &reused) && index == 3 && reused);
	CHECK(!slab_take_one(slab, &index, &reused) && index == 129 && reused);
	CHECK(!slab_take_one(slab, &index, &reused) && index == 130 && !reused);
	mp_slab_destroy(slab);
}

/* Also on the real thing: coalesce repairs what it counts. */
TEST(slab_coalesce_counts_anew)
{
	struct mp_slab *slab = make(300);
	bool reused;
	u32 index, i;

	CHECK(slab);
	for (i = 0; i < 300; i++) {
		CHECK(!slab_take_one(slab, &index, &reused));
		slab_publish_one(slab, i);
	}
	for (i = 63; i < 300; i += 2)
		CHECK(!mp_slab_give_one(slab, i));
	slab->runs = 0;
	slab->hint = 4;
	memset(slab->summary, 0xff, sizeof(long));
	CHECK(!mp_slab_valid(slab));
	mp_slab_coalesce(slab);
	CHECK(mp_slab_valid(slab) && slab->runs == 119 && slab->hint == 0);
	mp_slab_destroy(slab);
}

/*
 * A million blocks, every second one free: no memory is taken. How long it takes
 * is noted, not judged: this may be an instrumented build on a busy machine.
 */
TEST(slab_coalesce_of_a_million_blocks_takes_no_memory)
{
	struct mp_slab *slab = make(1000000);
	struct timespec from, to;
	unsigned long calls;
	bool reused;
	u32 index, i;

	CHECK(slab && slab->nr == 1000000);
	for (i = 0; i < slab->nr; i++) {
		CHECK(!slab_take_one(slab, &index, &reused) && index == i);
		slab_publish_one(slab, i);
	}
	CHECK(slab_take_one(slab, &index, &reused) == -ENOSPC);
	for (i = 0; i < slab->nr; i += 2)
		CHECK(!mp_slab_give_one(slab, i));
	calls = memory.calls;
	clock_gettime(CLOCK_MONOTONIC, &from);
	mp_slab_coalesce(slab);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CHECK(memory.calls == calls && slab->runs == 500000);
	test_note("%lld ns", (to.tv_sec - from.tv_sec) * 1000000000ll + to.tv_nsec - from.tv_nsec);
	mp_slab_destroy(slab);
}

TEST(slab_fragmentation_is_exact_with_4_billion_blocks)
{
	struct mp_slab slab = { .nr = U32_MAX, .issued = 0, .runs = 1u << 31 };

	/* 2^31 - 1 gaps of 2^32 - 2: 50 percent exactly. */
	CHECK(mp_slab_fragmented(&slab, 49));
	CHECK(!mp_slab_fragmented(&slab, 50));
}

/* The checker is no use if it says yes to everything. */
TEST(slab_valid_sees_what_is_wrong)
{
	struct mp_slab *slab = make(100), was;
	bool reused;
	u32 index, i;

	CHECK(slab);
	for (i = 0; i < 70; i++)
		CHECK(!slab_take_one(slab, &index, &reused));
	slab_publish_one(slab, 69);
	was = *slab;
	CHECK(mp_slab_valid(slab));
	slab->issued--;
	CHECK(!mp_slab_valid(slab));
	*slab = was;
	slab->runs++;
	CHECK(!mp_slab_valid(slab));
	*slab = was;
	slab->live_count++;
	CHECK(!mp_slab_valid(slab));
	*slab = was;
	slab->hint = 2;
	CHECK(!mp_slab_valid(slab));
	*slab = was;
	slab->fresh = 69;
	CHECK(!mp_slab_valid(slab));
	*slab = was;
	slab->fresh = 101;
	CHECK(!mp_slab_valid(slab));
	*slab = was;
	__set_bit(0, slab->summary);
	CHECK(!mp_slab_valid(slab));
	__clear_bit(0, slab->summary);
	__set_bit(99, slab->live);
	CHECK(!mp_slab_valid(slab));
	__clear_bit(99, slab->live);
	CHECK(mp_slab_valid(slab));
	mp_slab_destroy(slab);
}
