// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * Buckets: which size a request is rounded to, how much is served by memory used
 * before, and what is kept. The traces come from a generator that anyone can
 * rewrite; figures that do not depend on which block is taken are known exactly,
 * reuse may be better than that of a pool that keeps max_cached single blocks.
 */
#include "mp_proc.h"

FIXTURE(session) {
	int fd;
	struct mempool_session_stats before, after;
};

FIXTURE_SETUP(session)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(session)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

/* ---- rounding -------------------------------------------------------------- */

/* What a block of @size counts for: its bucket; or -errno. */
static long long bucket_of(int fd, __u64 size)
{
	struct mempool_session_stats before, after;
	long long offset;

	_test_ioctl_stats(fd, &before);
	offset = _test_alloc_one(fd, size);
	if (offset < 0)
		return offset;
	_test_ioctl_stats(fd, &after);
	_test_release_one(fd, offset);
	return after.current_bytes - before.current_bytes;
}

TEST_F(session, sizes_are_rounded_up_to_their_bucket)
{
	static const __u32 points[][2] = {
		{ 1, 1024 }, { 2, 1024 }, { 511, 1024 }, { 800, 1024 },
		{ 1023, 1024 }, { 1024, 1024 }, { 1025, 2048 }, { 1100, 2048 },
		{ 2047, 2048 }, { 2048, 2048 }, { 2049, 3072 }, { 4096, 4096 },
		{ 4097, 5120 }, { 8192, 8192 }, { 8500, 9216 }, { 9216, 9216 },
		{ 9217, 10240 }, { 10239, 10240 }, { 10240, 10240 },
		{ 10241, 20480 }, { 15000, 20480 }, { 20480, 20480 },
		{ 20481, 30720 }, { 50000, 51200 }, { 51201, 61440 },
		{ 81921, 92160 }, { 85000, 92160 }, { 95000, 102400 },
		{ 102399, 102400 }, { 102400, 102400 }, { 102401, 204800 },
		{ 204800, 204800 }, { 204801, 307200 }, { 500000, 512000 },
		{ 1000000, 1024000 }, { 1048576, 1126400 },
		{ 4194304, 4198400 }, { 10485760, 10547200 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(points); i++) {
		EXPECT_EQ(points[i][1], bucket_of(self->fd, points[i][0])) {
			TH_LOG("size %u", points[i][0]);
		}
	}
}

TEST_F(session, there_are_29_buckets_up_to_a_mebibyte)
{
	long long last = 0, b;
	int size, buckets = 0;

	for (size = 1; size <= 1 << 20; size = last + 1) {
		b = bucket_of(self->fd, size);
		ASSERT_LE(size, b);
		ASSERT_LT(last, b);
		last = b;
		buckets++;
	}
	EXPECT_EQ(29, buckets);
	EXPECT_EQ(1126400, last);
}

TEST_F(session, other_tiers_round_otherwise)
{
	struct mempool_configure arg = {
		.flags = MEMPOOL_CONFIGURE_TIERS,
		.nr_tiers = 3,
		.tiers = { { 5120, 1024 }, { 51200, 10240 },
			   { MEMPOOL_TIER_END, 102400 } },
	};

	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_CONFIGURE, &arg));
	EXPECT_EQ(1024, bucket_of(self->fd, 800));
	EXPECT_EQ(10240, bucket_of(self->fd, 8500));
	EXPECT_EQ(102400, bucket_of(self->fd, 85000));
}

TEST_F(session, granularity_1_keeps_exact_sizes)
{
	ASSERT_EQ(0, _test_configure_granularity(self->fd, 1));
	EXPECT_EQ(1, bucket_of(self->fd, 1));
	EXPECT_EQ(63, bucket_of(self->fd, 63));
	EXPECT_EQ(1000, bucket_of(self->fd, 1000));
	EXPECT_EQ(123457, bucket_of(self->fd, 123457));
}

TEST_F(session, exact_sizes_are_buckets_of_their_own)
{
	struct mempool_block a, b;

	ASSERT_EQ(0, _test_configure_granularity(self->fd, 1));
	test_ioctl_alloc(self->fd, 1000, 1, 0, &a);
	test_release_one(self->fd, a.offset);
	test_ioctl_alloc(self->fd, 1001, 1, 0, &b);
	EXPECT_EQ(0, b.flags);
}

TEST_F(session, sizes_of_one_bucket_share_blocks)
{
	struct mempool_block a, b;

	test_ioctl_alloc(self->fd, 1000, 1, 0, &a);
	test_release_one(self->fd, a.offset);
	test_ioctl_alloc(self->fd, 1, 1, 0, &b);
	EXPECT_EQ(a.offset, b.offset);
}

/* ---- traces ------------------------------------------------------------------- */

#define TRACE_STEPS	2000

struct trace {
	__u32 granularity;	/* 0: the default tiers */
	__u32 max_cached;
	__u64 max_cached_bytes;
};

struct outcome {
	struct mempool_session_stats st;
	__u64 live, true_peak;
};

static __u32 lcg(__u32 *x)
{
	*x = (*x * 1103515245u + 12345u) & 0x7fffffff;
	return *x >> 16;
}

/* Run the trace in a session of its own, which stays open: its fd or -errno. */
static int run_trace(const struct trace *t, struct outcome *o)
{
	struct mempool_configure arg = {
		.flags = MEMPOOL_CONFIGURE_MAX_CACHED,
		.max_cached = t->max_cached,
	};
	static struct {
		__u64 offset;
		__u32 size;
	} live[TRACE_STEPS];
	__u32 x = 1, r, hi, lo, n, i;
	__u64 bytes = 0;
	long long ret;
	int fd, step;

	if (t->granularity) {
		arg.flags |= MEMPOOL_CONFIGURE_TIERS;
		arg.nr_tiers = 1;
		arg.tiers[0].below = MEMPOOL_TIER_END;
		arg.tiers[0].granularity = t->granularity;
	}
	if (t->max_cached_bytes) {
		arg.flags |= MEMPOOL_CONFIGURE_MAX_CACHED_BYTES;
		arg.max_cached_bytes = t->max_cached_bytes;
	}
	memset(o, 0, sizeof(*o));
	fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ret = mp_ioctl(fd, MEMPOOL_IOC_CONFIGURE, &arg);
	for (step = 0; step < TRACE_STEPS && ret >= 0; step++) {
		r = lcg(&x);
		if (r % 100 < 50 || !o->live) {
			hi = lcg(&x);
			lo = lcg(&x);
			n = 1 + (hi * 32768 + lo) % 4096;
			ret = _test_alloc_one(fd, n);
			live[o->live].offset = ret;
			live[o->live++].size = n;
			bytes += n;
			if (bytes > o->true_peak)
				o->true_peak = bytes;
		} else {
			i = lcg(&x) % o->live;
			ret = _test_release_one(fd, live[i].offset);
			bytes -= live[i].size;
			memmove(live + i, live + i + 1,
				(--o->live - i) * sizeof(*live));
		}
	}
	if (ret >= 0)
		ret = _test_ioctl_stats(fd, &o->st);
	if (ret >= 0)
		return fd;
	close(fd);
	return ret;
}

/* One trace and its figures. */
FIXTURE(trace) {
	struct outcome o;
	int fd;
};

FIXTURE_VARIANT(trace) {
	struct trace t;
	__u64 reused, peak;	/* at least; exactly */
};

FIXTURE_VARIANT_ADD(trace, L1) {
	.t = { .max_cached = 10 }, .reused = 931, .peak = 189440,
};

FIXTURE_VARIANT_ADD(trace, L1off) {
	.t = { .granularity = 1, .max_cached = 10 },
	.reused = 114, .peak = 159212,
};

FIXTURE_VARIANT_ADD(trace, L2) {
	.t = { .max_cached = 2 }, .reused = 712, .peak = 189440,
};

FIXTURE_SETUP(trace)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = run_trace(&variant->t, &self->o);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(trace)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

TEST_F(trace, generator_gives_the_known_figures)
{
	EXPECT_EQ(38, self->o.live);
	EXPECT_EQ(159212, self->o.true_peak);
}

TEST_F(trace, all_allocations_are_counted)
{
	EXPECT_EQ(1019, self->o.st.total_allocations);
	EXPECT_EQ(1019, self->o.st.new_allocations +
			self->o.st.reused_allocations);
}

TEST_F(trace, reuse_is_no_worse_than_with_single_blocks)
{
	ksft_print_msg("new %llu reused %llu\n", self->o.st.new_allocations,
		       self->o.st.reused_allocations);
	EXPECT_LE(variant->reused, self->o.st.reused_allocations);
}

TEST_F(trace, all_releases_are_counted)
{
	EXPECT_EQ(1019 - 38, self->o.st.releases);
	EXPECT_EQ(0, self->o.st.bad_releases);
}

TEST_F(trace, held_at_the_end_is_what_was_not_released)
{
	EXPECT_EQ(38, self->o.st.currently_allocated);
}

TEST_F(trace, peak_is_the_highest_sum_of_rounded_sizes)
{
	EXPECT_EQ(variant->peak, self->o.st.peak_bytes);
}

TEST_F(trace, footprint_holds_what_is_held)
{
	EXPECT_LE(self->o.st.current_bytes, self->o.st.footprint_bytes);
	EXPECT_LE(self->o.st.footprint_bytes,
		  self->o.st.peak_footprint_bytes);
	EXPECT_LE(self->o.st.peak_bytes, self->o.st.peak_footprint_bytes);
}

TEST_F(session, bucketing_gives_five_times_the_reuse)
{
	static const struct trace on = { .max_cached = 10 };
	static const struct trace off = { .granularity = 1, .max_cached = 10 };
	struct outcome with, without;
	int fd;

	fd = run_trace(&on, &with);
	ASSERT_LE(0, fd);
	close(fd);
	fd = run_trace(&off, &without);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_LE(5 * without.st.reused_allocations,
		  with.st.reused_allocations);
}

TEST_F(session, bucketing_lowers_the_peak_footprint_by_an_eighth)
{
	static const struct trace on = { .max_cached = 10 };
	static const struct trace off = { .granularity = 1,
					  .max_cached = 1000000,
					  .max_cached_bytes = 1ull << 40 };
	struct outcome with, without;
	int fd;

	fd = run_trace(&on, &with);
	ASSERT_LE(0, fd);
	close(fd);
	fd = run_trace(&off, &without);
	ASSERT_LE(0, fd);
	close(fd);
	ksft_print_msg("on %llu off %llu\n", with.st.peak_footprint_bytes,
		       without.st.peak_footprint_bytes);
	EXPECT_LE(8 * with.st.peak_footprint_bytes,
		  7 * without.st.peak_footprint_bytes);
}

TEST_F(session, similar_sizes_are_served_by_one_block)
{
	int i;

	for (i = 95; i < 105; i++)
		test_release_one(self->fd, test_alloc_one(self->fd, i * 8));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(1, self->after.new_allocations);
	EXPECT_EQ(9, self->after.reused_allocations);
}

/* ---- what is kept ---------------------------------------------------------------- */

/* Take and give back @n blocks of @size. */
static int cycle(int fd, __u64 size, __u32 n)
{
	struct mempool_block *blocks = calloc(n, sizeof(*blocks));
	__u64 *offsets = calloc(n, sizeof(*offsets));
	__u32 i, done;
	int ret;

	ret = _test_ioctl_alloc(fd, size, n, 0, blocks, &done);
	for (i = 0; i < n; i++)
		offsets[i] = blocks[i].offset;
	ret = ret ?: _test_ioctl_release(fd, offsets, n, 0, &done);
	free(blocks);
	free(offsets);
	return ret;
}

TEST_F(session, no_more_than_max_cached_chunks_are_kept)
{
	/* Each block is a chunk and a bit: 3 chunks at least for 2 blocks. */
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MAX_CACHED, 2));
	ASSERT_EQ(0, cycle(self->fd, 3 << 20, 10));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_LE(self->after.cached_bytes, 2 * 3174400);
	EXPECT_LE(self->after.owned_bytes, 5 * MP_CHUNK);
}

TEST_F(session, no_more_than_max_cached_bytes_are_kept)
{
	int i;

	for (i = 1; i <= 9; i++)	/* 9 buckets, 10 blocks of 1 ... 9 MiB */
		ASSERT_EQ(0, cycle(self->fd, i << 19, 8));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_LE(self->after.cached_bytes, 16u << 20);
}

TEST_F(session, max_cached_0_keeps_nothing)
{
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MAX_CACHED, 0));
	ASSERT_EQ(0, cycle(self->fd, 50000, 100));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(0, self->after.cached_bytes);
	EXPECT_EQ(0, self->after.owned_bytes);
}

/* ---- the heap below -------------------------------------------------------------- */

/*
 * 400 blocks of a page; all but the first 20 go back in an order that leaves
 * holes everywhere. What is then free in the one chunk that stays is one run, so
 * nothing of it is fragmented.
 */
TEST_F(session, trim_merges_what_a_churned_heap_has_free)
{
	struct mempool_block blocks[400];
	int i;

	test_ioctl_alloc(self->fd, 4096, 400, 0, blocks);
	for (i = 20; i < 400; i += 2)
		test_release_one(self->fd, blocks[i].offset);
	for (i = 21; i < 400; i += 2)
		test_release_one(self->fd, blocks[i].offset);
	ASSERT_LE(0, _test_ioctl_trim(self->fd));
	test_ioctl_stats(self->fd, &self->after);
	ASSERT_LT(0, self->after.heap_free_bytes);
	ksft_print_msg("free %llu largest %llu\n", self->after.heap_free_bytes,
		       self->after.heap_largest_free_bytes);
	EXPECT_LE(9 * self->after.heap_free_bytes,
		  10 * self->after.heap_largest_free_bytes);
}

TEST_F(session, a_mebibyte_block_wastes_no_half_chunk)
{
	int i;

	for (i = 0; i < 12; i++)	/* 12 * 1126400 = 6.4 chunks */
		test_alloc_one(self->fd, 1 << 20);
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_LE(self->after.owned_bytes, 7 * MP_CHUNK);
}

TEST_HARNESS_MAIN
