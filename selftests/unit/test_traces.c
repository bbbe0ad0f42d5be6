// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Known loads and their figures: how much is reused, how much memory is used,
 * and what the tables cost.
 */
#include "fixture.h"

struct trace {
	u32 max_cached;
	u64 max_cached_bytes;
	const struct mp_tiers *tiers;
	u32 largest;
};

static const struct trace L1 = { 10, MP_DEFAULT_MAX_CACHED_BYTES, &mp_default_tiers, 4096 };
static const struct trace L1off = { 10, MP_DEFAULT_MAX_CACHED_BYTES, &exact_tiers, 4096 };
static const struct trace L2 = { 2, MP_DEFAULT_MAX_CACHED_BYTES, &mp_default_tiers, 4096 };

struct outcome {
	struct mp_bucket_counts counts;
	u64 live;
	u64 peak_exact;		/* most bytes asked for and held at once */
	u64 least_new;		/* by a cache of the same buckets without limit */
};

struct block {
	u64 offset;
	u64 size;
};

static u32 lcg;

static u32 lcg_next(void)
{
	lcg = (lcg * 1103515245u + 12345) & 0x7fffffff;
	return lcg >> 16;
}

/* A cache without limit allocates anew only when all of a size are held. */
struct unlimited {
	u64 size;
	u64 held;
	u64 most;
};

static struct unlimited *unlimited_of(struct unlimited *u, u64 size)
{
	while (u->size && u->size != size)
		u++;
	u->size = size;
	return u;
}

static void trace_alloc(struct session *s, const struct trace *t, struct block *b,
			struct unlimited *u)
{
	u32 hi = lcg_next(), lo = lcg_next();
	u64 rounded;

	b->size = 1 + (hi * 32768ull + lo) % t->largest;
	b->offset = session_alloc(s, b->size);
	CHECK(!mp_round_to_bucket(t->tiers, b->size, &rounded));
	u = unlimited_of(u, rounded);
	u->held++;
	u->most = max(u->most, u->held);
}

static void trace_give(struct session *s, const struct trace *t, const struct block *b,
		       struct unlimited *u)
{
	u64 rounded;

	CHECK(!session_give(s, b->offset));
	CHECK(!mp_round_to_bucket(t->tiers, b->size, &rounded));
	unlimited_of(u, rounded)->held--;
}

/* 2000 steps from seed 1. */
static struct outcome run(const struct trace *t)
{
	static struct unlimited unlimited[2000];
	static struct block live[2000];
	struct outcome out = { .live = 0 };
	struct session s;
	u64 bytes = 0;
	u32 step, i;

	memset(unlimited, 0, sizeof(unlimited));
	session_open(&s, 64, t->tiers);
	s.buckets.max_cached = t->max_cached;
	s.buckets.max_cached_bytes = t->max_cached_bytes;
	lcg = 1;
	for (step = 0; step < 2000; step++) {
		if (lcg_next() % 100 < 50 || !out.live) {
			trace_alloc(&s, t, &live[out.live], unlimited);
			bytes += live[out.live++].size;
			out.peak_exact = max(out.peak_exact, bytes);
		} else {
			i = lcg_next() % out.live;
			trace_give(&s, t, &live[i], unlimited);
			bytes -= live[i].size;
			memmove(&live[i], &live[i + 1], (--out.live - i) * sizeof(*live));
		}
	}
	for (i = 0; i < ARRAY_SIZE(unlimited); i++)
		out.least_new += unlimited[i].most;
	out.counts = *s.counts;
	test_note("new %llu reused %llu peak footprint %llu", s.counts->new_allocations,
		  s.counts->reused_allocations, s.counts->peak_footprint_bytes);
	CHECK(mp_buckets_valid(&s.buckets));
	session_close(&s);
	return out;
}

TEST(trace_L1_reuses_931_or_more)
{
	struct outcome out = run(&L1);

	CHECK(out.counts.reused_allocations >= 931);
	CHECK(out.counts.new_allocations + out.counts.reused_allocations == 1019);
	CHECK(out.counts.releases == 981);
}

TEST(trace_L1_figures_that_depend_on_no_policy)
{
	struct outcome out = run(&L1);

	CHECK(out.live == 38 && out.counts.current_blocks == 38);
	CHECK(out.peak_exact == 159212 && out.counts.peak_bytes == 189440);
}

TEST(trace_L1off_reuses_114_of_1019)
{
	struct outcome out = run(&L1off);

	CHECK(out.counts.reused_allocations == 114 && out.counts.new_allocations == 905);
	CHECK(out.live == 38 && out.counts.peak_bytes == 159212);
}

TEST(trace_L2_reuses_712_or_more)
{
	struct outcome out = run(&L2);

	CHECK(out.counts.reused_allocations >= 712);
	CHECK(out.counts.new_allocations + out.counts.reused_allocations == 1019);
	CHECK(out.live == 38 && out.counts.peak_bytes == 189440);
}

TEST(trace_buckets_reuse_5_times_as_much_as_exact_sizes)
{
	u64 on = run(&L1).counts.reused_allocations;
	u64 off = run(&L1off).counts.reused_allocations;

	CHECK(on >= 5 * off);
}

/* 1838156: bytes that exact sizes cost when every size has its own blocks. */
TEST(trace_buckets_need_an_eighth_less_memory)
{
	u64 on = run(&L1).counts.peak_footprint_bytes;
	u64 off = run(&L1off).counts.peak_footprint_bytes;

	CHECK(on * 8 <= off * 7 && on * 8 <= 1838156 * 7);
}

/* Without limits nothing is ever allocated anew that a cache could hold. */
TEST(trace_reuse_is_the_most_possible_without_limits)
{
	static const u32 largest[] = { 4096, 131072, 1048576 };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(largest); i++) {
		struct trace t = { U32_MAX, U64_MAX, &mp_default_tiers, largest[i] };
		struct outcome out = run(&t);

		CHECK(out.counts.new_allocations == out.least_new);
	}
}

/* Ten sizes around 800 bytes, each taken and given back. */
TEST(trace_similar_sizes_are_reused_9_times_of_10)
{
	struct session s;
	u32 i;

	session_open(&s, 4, &mp_default_tiers);
	for (i = 0; i < 10; i++)
		CHECK(!session_give(&s, session_alloc(&s, (95 + i) * 8)));
	CHECK(s.counts->reused_allocations == 9 && s.counts->new_allocations == 1);
	session_close(&s);
}

/*
 * After a churn of all classes up to 1 MiB and the release of all but the oldest
 * tenth, a trim merges what is free: as the survivors lie low, the largest free
 * run is more than nine tenths of what is free.
 */
TEST(trace_trim_merges_what_is_free)
{
	static u64 offset[400];
	struct session s;
	u64 largest, free;
	u32 i, keep = ARRAY_SIZE(offset) / 10;

	FOR_EACH_SEED(seed) {
		session_open(&s, 256, &mp_default_tiers);
		for (i = 0; i < ARRAY_SIZE(offset); i++)
			offset[i] = session_alloc(&s, 1 + random_below(1 << 20));
		for (i = 0; i < 4000; i++) {
			u32 victim = keep + random_below(ARRAY_SIZE(offset) - keep);

			CHECK(!session_give(&s, offset[victim]));
			offset[victim] = session_alloc(&s, 1 + random_below(1 << 20));
		}
		for (i = keep; i < ARRAY_SIZE(offset); i++)
			CHECK(!session_give(&s, offset[i]));
		mp_buckets_trim(&s.buckets);
		largest = mp_extents_longest(&s.heap.pages);
		free = s.heap.pages.free;
		test_note("free %llu largest %llu", free, largest);
		CHECK(largest * 10 >= free * 9 && mp_buckets_valid(&s.buckets));
		session_close(&s);
	}
}

/* Bytes of tables per million bytes of chunks, @mib of blocks of @size held. */
static u64 overhead(u64 mib, u64 size)
{
	struct session s;
	u64 ppm;

	session_open(&s, 2 * mib, &mp_default_tiers);
	while (s.counts->current_bytes < mib << 20)
		session_alloc(&s, size ? size : 1 + random_below(random_below(1 << 20) + 1));
	ppm = memory.bytes * 1000000 / (s.heap.nr_backed * MEMPOOL_CHUNK_SIZE);
	test_note("%llu MiB of %llu bytes each: %llu ppm, %llu slabs", mib, size, ppm,
		  s.counts->nr_slabs);
	session_close(&s);
	return ppm;
}

TEST(overhead_of_one_class_is_at_most_half_a_percent)
{
	static const u64 size[] = { 1024, 2048, 3072, 4096, 9216, 20480, 102400, 1126400 };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(size); i++)
		CHECK(overhead(64, size[i]) <= 5000);
}

TEST(overhead_of_mixed_sizes_is_at_most_half_a_percent)
{
	FOR_EACH_SEED(s)
		CHECK(overhead(64, 0) <= 5000);
}
