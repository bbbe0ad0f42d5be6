// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * Block pools: what can be made, where it lies, tokens and generations, batches,
 * thresholds, handles.
 */
#include "mp_proc.h"

FIXTURE(mapped_session) {
	struct mp_session s;
	int fd;
	struct mempool_pool_create pool;
	struct mempool_pool_stats st;
	struct mempool_token t[32];
};

FIXTURE_SETUP(mapped_session)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->fd = self->s.fd;
}

FIXTURE_TEARDOWN(mapped_session)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

#define create(size, n) \
	_test_pool_create(self->fd, NULL, size, n, 0, 0, &self->pool)
#define get(count, done) \
	_test_pool_batch(self->fd, MEMPOOL_IOC_POOL_GET, self->pool.pool, \
			 self->t, count, done, NULL)
#define give(count, done) \
	_test_pool_batch(self->fd, MEMPOOL_IOC_POOL_RETURN, self->pool.pool, \
			 self->t, count, done, NULL)
#define stats() \
	ASSERT_EQ(0, _test_pool_stats(self->fd, self->pool.pool, &self->st))

/* ---- creation -------------------------------------------------------------------- */

TEST_F(mapped_session, no_blocks_is_einval)
{
	EXPECT_EQ(-EINVAL, create(4096, 0));
}

TEST_F(mapped_session, blocks_of_no_bytes_is_einval)
{
	EXPECT_EQ(-EINVAL, create(0, 10));
}

TEST_F(mapped_session, size_times_count_beyond_64_bits_is_eoverflow)
{
	EXPECT_EQ(-EOVERFLOW, create(1ull << 62, 4));
	EXPECT_EQ(-EOVERFLOW, create(~0ull, 1));
	EXPECT_EQ(-EOVERFLOW, create(1ull << 33, ~0u));
}

TEST_F(mapped_session, more_than_the_reserve_is_refused)
{
	static const struct {
		__u64 size;
		__u32 n;
	} big[] = {
		{ 4096, 1u << 20 }, { 1ull << 40, 1 }, { 64, ~0u },
		{ (64u << 20) + 1, 1 }, { 1ull << 62, 1 },
	};
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(big); i++) {
		ret = create(big[i].size, big[i].n);
		EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT) {
			TH_LOG("%llu x %u: %d", big[i].size, big[i].n, ret);
		}
	}
	EXPECT_EQ(0, mp_sysfs("chunks_owned"));
}

TEST_F(mapped_session, a_private_pool_has_no_mode)
{
	EXPECT_EQ(-EINVAL, _test_pool_create(self->fd, NULL, 64, 1, 0600, 0,
					     &self->pool));
}

TEST_F(mapped_session, a_private_pool_cannot_be_kept)
{
	EXPECT_EQ(-EINVAL, _test_pool_create(self->fd, NULL, 64, 1, 0,
					     MEMPOOL_POOL_KEEP, &self->pool));
}

static int create_threshold(int fd, __u32 percent, __u32 flags,
			    struct mempool_pool_create *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->block_size = 4096;
	arg->nr_blocks = 20;
	arg->threshold = percent;
	arg->flags = flags;
	return mp_ioctl(fd, MEMPOOL_IOC_POOL_CREATE, arg);
}

TEST_F(mapped_session, thresholds_above_100_are_einval)
{
	EXPECT_EQ(-EINVAL, create_threshold(self->fd, 101,
					    MEMPOOL_POOL_THRESHOLD,
					    &self->pool));
	EXPECT_EQ(-EINVAL, create_threshold(self->fd, ~0u,
					    MEMPOOL_POOL_THRESHOLD,
					    &self->pool));
}

TEST_F(mapped_session, a_threshold_without_its_flag_is_einval)
{
	EXPECT_EQ(-EINVAL, create_threshold(self->fd, 30, 0, &self->pool));
}

TEST_F(mapped_session, the_default_threshold_is_20)
{
	ASSERT_EQ(0, create(4096, 20));
	stats();
	EXPECT_EQ(MEMPOOL_DEFAULT_THRESHOLD, self->st.threshold);
}

/* Blocks 0 and 2 free: 100 % of one step. Returns automatic coalesces. */
static long long coalesces_of_one_hole(int fd,
				       struct mempool_pool_create *pool)
{
	struct mempool_pool_stats st;
	struct mempool_token t[20];
	int ret;

	ret = _test_pool_batch(fd, MEMPOOL_IOC_POOL_GET, pool->pool, t, 20,
			       NULL, NULL);
	ret = ret ?: _test_pool_return(fd, pool->pool, t[0]);
	ret = ret ?: _test_pool_return(fd, pool->pool, t[2]);
	ret = ret ?: _test_pool_stats(fd, pool->pool, &st);
	return ret ?: (long long)st.auto_coalesces;
}

TEST_F(mapped_session, threshold_100_never_coalesces)
{
	ASSERT_EQ(0, create_threshold(self->fd, 100, MEMPOOL_POOL_THRESHOLD,
				      &self->pool));
	EXPECT_EQ(0, coalesces_of_one_hole(self->fd, &self->pool));
}

TEST_F(mapped_session, threshold_99_coalesces_at_100)
{
	ASSERT_EQ(0, create_threshold(self->fd, 99, MEMPOOL_POOL_THRESHOLD,
				      &self->pool));
	EXPECT_EQ(1, coalesces_of_one_hole(self->fd, &self->pool));
}

TEST_F(mapped_session, threshold_0_coalesces_at_the_first_gap)
{
	struct mempool_token t[20];
	__u32 c = 0;

	ASSERT_EQ(0, create_threshold(self->fd, 0, MEMPOOL_POOL_THRESHOLD,
				      &self->pool));
	ASSERT_EQ(0, _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_GET,
				      self->pool.pool, t, 20, NULL, NULL));
	ASSERT_EQ(0, _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_RETURN,
				      self->pool.pool, t, 10, NULL, &c));
	EXPECT_EQ(0, c);	/* 0 ... 9: no gap */
	ASSERT_EQ(0, _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_RETURN,
				      self->pool.pool, t + 12, 1, NULL, &c));
	EXPECT_EQ(1, c);
}

TEST_F(mapped_session, stride_is_the_block_size_rounded_up_to_64)
{
	static const __u64 sizes[][2] = {
		{ 1, 64 }, { 63, 64 }, { 64, 64 }, { 65, 128 }, { 1000, 1024 },
		{ 4095, 4096 }, { 4096, 4096 }, { 4097, 4160 },
		{ 10000, 10048 }, { 3u << 20, 3u << 20 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, create(sizes[i][0], 3));
		EXPECT_EQ(sizes[i][1], self->pool.stride);
		stats();
		EXPECT_EQ(sizes[i][0], self->st.block_size);
		EXPECT_EQ(sizes[i][1], self->st.stride);
	}
}

TEST_F(mapped_session, blocks_of_whole_pages_start_a_page)
{
	ASSERT_EQ(0, create(100, 3));
	ASSERT_EQ(0, create(8192, 10));
	EXPECT_EQ(0, self->pool.offset % 4096);
}

TEST_F(mapped_session, all_blocks_are_usable_memory)
{
	unsigned char *p;
	__u32 i;

	ASSERT_EQ(0, create(100000, 50));	/* 4.8 MB: three chunks */
	p = self->s.base + self->pool.offset;
	for (i = 0; i < 50; i++)
		memset(p + i * self->pool.stride, i + 1, 100000);
	for (i = 0; i < 50; i++)
		ASSERT_EQ(0, mp_count_not(p + i * self->pool.stride, i + 1,
					  100000));
}

TEST_F(mapped_session, a_fresh_pool_is_zero)
{
	ASSERT_EQ(0, create(1u << 20, 5));
	EXPECT_EQ(0, mp_count_not(self->s.base + self->pool.offset, 0,
				  5u << 20));
}

TEST_F(mapped_session, a_fresh_pool_has_every_block_free)
{
	ASSERT_EQ(0, create(64, 1000));
	stats();
	EXPECT_EQ(1000, self->st.free);
	EXPECT_EQ(0, self->st.issued);
	EXPECT_EQ(0, self->st.held);
	EXPECT_EQ(0, self->st.gaps);
	EXPECT_EQ(1, self->st.members);
	EXPECT_EQ(0, self->st.mode);
}

TEST_F(mapped_session, a_million_blocks_coalesce)
{
	__u64 ns = 0;

	ASSERT_EQ(0, create(32, 900000));	/* 55 of 64 MiB */
	ASSERT_EQ(0, _test_pool_coalesce(self->fd, self->pool.pool, &ns));
	ksft_print_msg("coalescing 900000 blocks: %llu ns\n", ns);
	stats();
	EXPECT_EQ(1, self->st.coalesces);
	EXPECT_EQ(ns, self->st.coalesce_ns_last);
	EXPECT_EQ(ns, self->st.coalesce_ns_max);
}

TEST_F(mapped_session, a_pool_counts_as_owned)
{
	struct mempool_session_stats st;

	ASSERT_EQ(0, create(1u << 20, 7));
	test_ioctl_stats(self->fd, &st);
	EXPECT_EQ(4 * MP_CHUNK, st.owned_bytes);
	EXPECT_EQ(1, st.nr_pools);
}

/* ---- tokens --------------------------------------------------------------------------- */

TEST_F(mapped_session, indices_beyond_the_pool_are_erange)
{
	static const __u32 bad[] = { 10, 11, 64, 1u << 31, ~0u };
	size_t i;

	ASSERT_EQ(0, create(64, 10));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct mempool_token t = { .index = bad[i] };

		EXPECT_EQ(-ERANGE, _test_pool_return(self->fd,
						     self->pool.pool, t));
		EXPECT_EQ(-ERANGE, _test_pool_adopt(self->fd,
						    self->pool.pool, t));
	}
}

TEST_F(mapped_session, generation_rises_by_one_at_each_return)
{
	__u32 first, i;

	ASSERT_EQ(0, create(64, 1));
	ASSERT_EQ(0, get(1, NULL));
	first = self->t[0].generation;
	for (i = 1; i < 10; i++) {
		ASSERT_EQ(0, give(1, NULL));
		ASSERT_EQ(0, get(1, NULL));
		ASSERT_EQ(first + i, self->t[0].generation);
	}
}

TEST_F(mapped_session, a_token_of_an_earlier_issue_is_estale)
{
	struct mempool_token old;

	ASSERT_EQ(0, create(64, 1));
	ASSERT_EQ(0, get(1, NULL));
	old = self->t[0];
	ASSERT_EQ(0, give(1, NULL));
	ASSERT_EQ(0, get(1, NULL));
	EXPECT_EQ(-ESTALE, _test_pool_return(self->fd, self->pool.pool, old));
	EXPECT_EQ(-ESTALE, _test_pool_adopt(self->fd, self->pool.pool, old));
}

TEST_F(mapped_session, a_token_returned_before_is_estale)
{
	ASSERT_EQ(0, create(64, 1));
	ASSERT_EQ(0, get(1, NULL));
	ASSERT_EQ(0, give(1, NULL));
	EXPECT_EQ(-ESTALE, give(1, NULL));
}

TEST_F(mapped_session, a_free_block_by_its_present_generation_is_enoent)
{
	ASSERT_EQ(0, create(64, 1));
	ASSERT_EQ(0, get(1, NULL));
	ASSERT_EQ(0, give(1, NULL));
	self->t[0].generation++;
	EXPECT_EQ(-ENOENT, give(1, NULL));
}

TEST_F(mapped_session, a_token_from_the_future_is_refused)
{
	ASSERT_EQ(0, create(64, 1));
	ASSERT_EQ(0, get(1, NULL));
	self->t[0].generation++;
	EXPECT_EQ(-ESTALE, give(1, NULL));
	stats();
	EXPECT_EQ(1, self->st.issued);
}

TEST_F(mapped_session, refused_tokens_are_counted_and_change_nothing)
{
	struct mempool_pool_stats before;

	ASSERT_EQ(0, create(64, 4));
	ASSERT_EQ(0, get(2, NULL));
	stats();
	before = self->st;
	self->t[2] = self->t[0];
	self->t[2].generation += 5;
	ASSERT_EQ(-ESTALE, _test_pool_return(self->fd, self->pool.pool,
					     self->t[2]));
	self->t[2].index = 77;
	ASSERT_EQ(-ERANGE, _test_pool_return(self->fd, self->pool.pool,
					     self->t[2]));
	stats();
	EXPECT_EQ(before.bad_returns + 2, self->st.bad_returns);
	self->st.bad_returns = before.bad_returns;
	EXPECT_EQ(0, memcmp(&before, &self->st, sizeof(before)));
}

TEST_F(mapped_session, reset_makes_tokens_stale)
{
	ASSERT_EQ(0, create(64, 4));
	ASSERT_EQ(0, get(3, NULL));
	ASSERT_EQ(3, _test_pool_reset(self->fd, self->pool.pool, 0));
	EXPECT_EQ(-ESTALE, give(1, NULL));
}

TEST_F(mapped_session, reset_keeps_contents)
{
	unsigned char *p;

	ASSERT_EQ(0, create(4096, 4));
	ASSERT_EQ(0, get(1, NULL));
	p = self->s.base + self->pool.offset +
	    self->t[0].index * self->pool.stride;
	memset(p, 0x77, 4096);
	ASSERT_EQ(1, _test_pool_reset(self->fd, self->pool.pool, 0));
	EXPECT_EQ(0, mp_count_not(p, 0x77, 4096));
}

/* ---- batches --------------------------------------------------------------------------- */

TEST_F(mapped_session, get_gives_fewer_when_the_pool_runs_out)
{
	__u32 done;

	ASSERT_EQ(0, create(64, 10));
	ASSERT_EQ(0, get(7, &done));
	ASSERT_EQ(7, done);
	EXPECT_EQ(0, get(7, &done));
	EXPECT_EQ(3, done);
}

TEST_F(mapped_session, get_of_an_exhausted_pool_is_enospc)
{
	__u32 done = 99;

	ASSERT_EQ(0, create(64, 10));
	ASSERT_EQ(0, get(10, NULL));
	EXPECT_EQ(-ENOSPC, get(7, &done));
	EXPECT_EQ(0, done);
}

TEST_F(mapped_session, a_batch_of_returns_stops_at_its_bad_entry)
{
	struct mempool_token good;
	__u32 done;
	int k;

	ASSERT_EQ(0, create(64, 8));
	for (k = 0; k < 8; k++) {
		ASSERT_EQ(0, get(8, NULL));
		good = self->t[k];
		self->t[k].index = 8;
		ASSERT_EQ(-ERANGE, give(8, &done));
		ASSERT_EQ((__u32)k, done);
		self->t[k] = good;
		ASSERT_EQ(0, _test_pool_batch(self->fd,
					      MEMPOOL_IOC_POOL_RETURN,
					      self->pool.pool, self->t + k,
					      8 - k, &done, NULL));
		stats();
		ASSERT_EQ(8, self->st.free);
	}
}

TEST_F(mapped_session, the_same_token_twice_in_a_batch_is_refused)
{
	__u32 done;

	ASSERT_EQ(0, create(64, 8));
	ASSERT_EQ(0, get(1, NULL));
	self->t[1] = self->t[0];
	EXPECT_EQ(-ESTALE, give(2, &done));
	EXPECT_EQ(1, done);
}

TEST_F(mapped_session, a_batch_of_0_is_einval)
{
	ASSERT_EQ(0, create(64, 8));
	EXPECT_EQ(-EINVAL, get(0, NULL));
	EXPECT_EQ(-EINVAL, give(0, NULL));
}

TEST_F(mapped_session, batches_above_max_batch_are_e2big)
{
	const __u32 max = self->s.info.max_batch;

	ASSERT_EQ(0, create(64, 8));
	EXPECT_EQ(-E2BIG, get(max + 1, NULL));
	EXPECT_EQ(-E2BIG, get(~0u, NULL));
	EXPECT_EQ(-E2BIG, give(max + 1, NULL));
	stats();
	EXPECT_EQ(8, self->st.free);
}

/* ---- handles ------------------------------------------------------------------------------ */

TEST_F(mapped_session, a_handle_that_is_not_open_is_enxio)
{
	static const __u32 bad[] = { 5, 255, 256, 1u << 31, ~0u };
	struct mempool_pool_stats st;
	struct mempool_token t = { 0 };
	size_t i;

	ASSERT_EQ(0, create(64, 8));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		if (bad[i] == self->pool.pool)
			continue;
		EXPECT_EQ(-ENXIO, _test_pool_get(self->fd, bad[i], &t));
		EXPECT_EQ(-ENXIO, _test_pool_return(self->fd, bad[i], t));
		EXPECT_EQ(-ENXIO, _test_pool_adopt(self->fd, bad[i], t));
		EXPECT_EQ(-ENXIO, _test_pool_coalesce(self->fd, bad[i], NULL));
		EXPECT_EQ(-ENXIO, (int)_test_pool_reset(self->fd, bad[i], 0));
		EXPECT_EQ(-ENXIO, _test_pool_stats(self->fd, bad[i], &st));
		EXPECT_EQ(-ENXIO, _test_pool_close(self->fd, bad[i]));
	}
}

TEST_F(mapped_session, a_handle_is_its_sessions_own)
{
	int other = open(MP_DEV, O_RDWR);
	struct mempool_token t;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, create(64, 8));
	EXPECT_EQ(-ENXIO, _test_pool_get(other, self->pool.pool, &t));
	close(other);
}

TEST_F(mapped_session, a_closed_handle_is_enxio)
{
	struct mempool_token t;

	ASSERT_EQ(0, create(64, 8));
	ASSERT_EQ(0, _test_pool_close(self->fd, self->pool.pool));
	EXPECT_EQ(-ENXIO, _test_pool_get(self->fd, self->pool.pool, &t));
	EXPECT_EQ(-ENXIO, _test_pool_close(self->fd, self->pool.pool));
}

TEST_F(mapped_session, a_closed_pools_memory_is_out_of_reach)
{
	unsigned char *p;

	ASSERT_EQ(0, create(MP_CHUNK, 2));
	p = self->s.base + self->pool.offset;
	memset(p, 0x99, 2 * MP_CHUNK);
	ASSERT_EQ(0, _test_pool_close(self->fd, self->pool.pool));
	ASSERT_LE(0, _test_ioctl_trim(self->fd));
	EXPECT_EQ(SIGBUS, mp_peek(p));
	EXPECT_EQ(SIGBUS, mp_peek(p + MP_CHUNK));
}

TEST_F(mapped_session, as_many_pools_as_max_handles_can_be_open)
{
	int i, ret = 0;

	for (i = 0; i < MEMPOOL_MAX_HANDLES && !ret; i++)
		ret = create(64, 1);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(-EMFILE, create(64, 1));
}

TEST_F(mapped_session, a_named_pool_beyond_max_handles_is_refused_and_gone)
{
	struct mempool_pool_open open;
	struct mp_session other;
	int i, ret = 0;

	ASSERT_EQ(0, mp_session_open(&other));
	ASSERT_EQ(0, _test_pool_create(other.fd, "others", 64, 1, 0600, 0, &self->pool));
	for (i = 0; i < MEMPOOL_MAX_HANDLES && !ret; i++)
		ret = create(64, 1);
	ASSERT_EQ(0, ret);
	EXPECT_EQ(-EMFILE, _test_pool_create(self->fd, "own", 64, 1, 0600, 0, &self->pool));
	EXPECT_EQ(-ENOENT, _test_pool_open(other.fd, "own", &open));
	EXPECT_EQ(-EMFILE, _test_pool_open(self->fd, "others", &open));
	/* It was not left half joined: with a handle free it can be. */
	ASSERT_EQ(0, _test_pool_close(self->fd, 0));
	EXPECT_EQ(0, _test_pool_open(self->fd, "others", &open));
	mp_session_close(&other);
}

TEST_F(mapped_session, a_handle_can_be_had_again_after_a_close)
{
	int i;

	for (i = 0; i < 3 * MEMPOOL_MAX_HANDLES; i++) {
		ASSERT_EQ(0, create(64, 1));
		ASSERT_EQ(0, _test_pool_close(self->fd, self->pool.pool));
	}
}

TEST_HARNESS_MAIN
