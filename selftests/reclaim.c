// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Memory that one session merely keeps and another one needs: it moves, but only
 * as much as is missing, only for requests that can be met, never below a
 * guaranteed minimum, from the session longest idle first.
 */
#include "mp_proc.h"

#define KEEP	8	/* chunks that a session keeps idle */

/* Sessions of users of their own, so that no user's limit is in the way. */
struct keeper {
	struct mp_session s;
	struct mempool_session_stats st;
};

static int keeper_open(struct keeper *k, uid_t uid, int min_chunks)
{
	struct mempool_configure arg = {
		.flags = MEMPOOL_CONFIGURE_TIERS |
			 MEMPOOL_CONFIGURE_MAX_CACHED |
			 MEMPOOL_CONFIGURE_MAX_CACHED_BYTES |
			 MEMPOOL_CONFIGURE_MIN_BYTES,
		.nr_tiers = 1,
		.tiers[0] = { MEMPOOL_TIER_END, MP_CHUNK },
		.max_cached = 1000,
		.max_cached_bytes = 1ull << 40,
		.min_bytes = (__u64)min_chunks * MP_CHUNK,
	};
	int ret;

	memset(k, 0, sizeof(*k));
	k->s.fd = mp_open_as(uid, O_RDWR);
	if (k->s.fd < 0)
		return k->s.fd;
	ret = mp_ioctl(k->s.fd, MEMPOOL_IOC_CONFIGURE, &arg);
	ret = ret ?: mp_info(k->s.fd, &k->s.info);
	return ret ?: mp_map(&k->s, PROT_READ | PROT_WRITE);
}

/* Take @n chunks as blocks of one chunk: how many. */
static int take(struct keeper *k, int n, __u64 *offsets)
{
	int i;

	for (i = 0; i < n; i++) {
		long long offset = _test_alloc_one(k->s.fd, MP_CHUNK);

		if (offset < 0)
			break;
		k->s.base[offset] = 1;
		if (offsets)
			offsets[i] = offset;
	}
	return i;
}

/* Take @n chunks, give them back, keep them idle. */
static int idle(struct keeper *k, int n)
{
	__u64 offsets[MP_CHUNKS];

	if (take(k, n, offsets) != n)
		return -ENOMEM;
	return _test_ioctl_release(k->s.fd, offsets, n, 0, NULL);
}

static long long owned(struct keeper *k)
{
	return _test_ioctl_stats(k->s.fd, &k->st) ? -1 :
	       (long long)(k->st.owned_bytes / MP_CHUNK);
}

FIXTURE(idle_session_and_another) {
	struct keeper idle, other, third;
};

FIXTURE_SETUP(idle_session_and_another)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, keeper_open(&self->idle, MP_USER_A, 0));
	ASSERT_EQ(0, keeper_open(&self->other, MP_USER_B, 0));
	ASSERT_EQ(0, keeper_open(&self->third, MP_USER_B + 1, 0));
	ASSERT_EQ(0, idle(&self->idle, KEEP));
	ASSERT_EQ(KEEP, owned(&self->idle));	/* it does keep them */
}

FIXTURE_TEARDOWN(idle_session_and_another)
{
	mp_session_close(&self->idle.s);
	mp_session_close(&self->other.s);
	mp_session_close(&self->third.s);
	EXPECT_TRUE(mp_settled());
}

TEST_F(idle_session_and_another, idle_chunks_are_counted)
{
	EXPECT_EQ(KEEP, mp_sysfs("chunks_idle"));
}

TEST_F(idle_session_and_another, all_of_the_reserve_can_be_had)
{
	EXPECT_EQ(MP_CHUNKS, take(&self->other, MP_CHUNKS, NULL));
	EXPECT_EQ(0, owned(&self->idle));
}

TEST_F(idle_session_and_another, nothing_is_taken_while_there_is_free_memory)
{
	ASSERT_EQ(MP_CHUNKS - KEEP, take(&self->other, MP_CHUNKS - KEEP, NULL));
	EXPECT_EQ(KEEP, owned(&self->idle));
}

TEST_F(idle_session_and_another, only_what_is_missing_is_taken)
{
	ASSERT_EQ(MP_CHUNKS - KEEP + 3,
		  take(&self->other, MP_CHUNKS - KEEP + 3, NULL));
	EXPECT_EQ(KEEP - 3, owned(&self->idle));
	EXPECT_EQ(3, self->idle.st.reclaimed_chunks);
}

TEST_F(idle_session_and_another, one_large_request_takes_what_is_missing)
{
	ASSERT_LE(0, _test_alloc_one(self->other.s.fd,
				     (MP_CHUNKS - KEEP + 3) * MP_CHUNK));
	EXPECT_EQ(KEEP - 3, owned(&self->idle));
}

TEST_F(idle_session_and_another, blocks_that_are_held_are_never_taken)
{
	__u64 held[2];

	ASSERT_EQ(2, take(&self->idle, 2, held));
	self->idle.s.base[held[0]] = 42;
	EXPECT_EQ(MP_CHUNKS - 2, take(&self->other, MP_CHUNKS, NULL));
	EXPECT_EQ(2, owned(&self->idle));
	EXPECT_EQ(42, self->idle.s.base[held[0]]);
}

TEST_F(idle_session_and_another, requests_that_cannot_be_met_move_nothing)
{
	int i, ret;

	ASSERT_EQ(10, take(&self->third, 10, NULL));
	for (i = 0; i < 100; i++) {
		ret = _test_alloc_one(self->other.s.fd,
				      (MP_CHUNKS - 9) * MP_CHUNK);
		ASSERT_EQ(-ENOMEM, ret);
	}
	EXPECT_EQ(KEEP, owned(&self->idle));
	EXPECT_EQ(0, self->idle.st.reclaimed_chunks);
}

TEST_F(idle_session_and_another, absurd_requests_move_nothing)
{
	int i, ret;

	for (i = 20; i < 63; i++) {
		ret = _test_alloc_one(self->other.s.fd, 1ull << i);
		if (!ret)
			continue;
	}
	ASSERT_LE(0, _test_release_all(self->other.s.fd));
	ASSERT_LE(0, _test_ioctl_trim(self->other.s.fd));
	for (i = 0; i < 100; i++)
		ASSERT_GT(0, _test_alloc_one(self->other.s.fd, 1ull << 40));
	EXPECT_EQ(0, self->idle.st.reclaimed_chunks);
}

TEST_F(idle_session_and_another, requests_beyond_the_callers_limit_move_nothing)
{
	struct keeper k;

	ASSERT_EQ(0, keeper_open(&k, MP_USER_B + 2, 0));
	ASSERT_EQ(0, _test_configure(k.s.fd, MEMPOOL_CONFIGURE_LIMIT_BYTES,
				     4 * MP_CHUNK));
	ASSERT_EQ(MP_CHUNKS - KEEP,
		  take(&self->third, MP_CHUNKS - KEEP, NULL));
	EXPECT_EQ(-EDQUOT, (int)_test_alloc_one(k.s.fd, 5 * MP_CHUNK));
	EXPECT_EQ(KEEP, owned(&self->idle));
	mp_session_close(&k.s);
}

TEST_F(idle_session_and_another, the_longest_idle_session_gives_first)
{
	mp_sleep_ms(100);
	ASSERT_EQ(0, idle(&self->third, KEEP));
	ASSERT_EQ(KEEP, owned(&self->third));
	ASSERT_EQ(MP_CHUNKS - 2 * KEEP + 5,
		  take(&self->other, MP_CHUNKS - 2 * KEEP + 5, NULL));
	EXPECT_EQ(KEEP - 5, owned(&self->idle));
	EXPECT_EQ(KEEP, owned(&self->third));
}

TEST_F(idle_session_and_another, a_session_used_again_is_not_the_longest_idle)
{
	__u64 one[1];

	mp_sleep_ms(100);
	ASSERT_EQ(0, idle(&self->third, KEEP));
	mp_sleep_ms(100);
	ASSERT_EQ(1, take(&self->idle, 1, one));
	test_release_one(self->idle.s.fd, one[0]);
	ASSERT_EQ(MP_CHUNKS - 2 * KEEP + 5,
		  take(&self->other, MP_CHUNKS - 2 * KEEP + 5, NULL));
	EXPECT_EQ(KEEP, owned(&self->idle));
	EXPECT_EQ(KEEP - 5, owned(&self->third));
}

TEST_F(idle_session_and_another, a_kept_minimum_is_never_taken)
{
	struct keeper k;

	ASSERT_EQ(0, keeper_open(&k, MP_USER_B + 2, 4));
	ASSERT_EQ(4, owned(&k));
	EXPECT_EQ(MP_CHUNKS - 4, take(&self->other, MP_CHUNKS, NULL));
	EXPECT_EQ(4, owned(&k));
	EXPECT_EQ(4, take(&k, 5, NULL));
	mp_session_close(&k.s);
}

TEST_F(idle_session_and_another, idle_chunks_above_the_minimum_are_taken)
{
	struct keeper k;

	ASSERT_EQ(0, keeper_open(&k, MP_USER_B + 2, 4));
	ASSERT_EQ(0, idle(&k, 10));
	ASSERT_EQ(10, owned(&k));
	EXPECT_EQ(MP_CHUNKS - 4, take(&self->other, MP_CHUNKS, NULL));
	EXPECT_EQ(4, owned(&k));
	mp_session_close(&k.s);
}

TEST_F(idle_session_and_another, preallocated_blocks_may_be_taken)
{
	ASSERT_EQ(0, _test_ioctl_preallocate(self->third.s.fd, MP_CHUNK, 6,
					     NULL));
	ASSERT_EQ(6, owned(&self->third));
	EXPECT_EQ(MP_CHUNKS, take(&self->other, MP_CHUNKS, NULL));
}

TEST_F(idle_session_and_another, ones_own_idle_chunks_serve_other_sizes)
{
	/* The rest is another's; the idle chunks are cached for one chunk. */
	ASSERT_EQ(MP_CHUNKS - KEEP,
		  take(&self->other, MP_CHUNKS - KEEP, NULL));
	EXPECT_LE(0, _test_alloc_one(self->idle.s.fd, KEEP * MP_CHUNK));
}

TEST_F(idle_session_and_another, a_reclaimed_session_goes_on)
{
	ASSERT_EQ(MP_CHUNKS, take(&self->other, MP_CHUNKS, NULL));
	ASSERT_EQ(-ENOMEM, (int)_test_alloc_one(self->idle.s.fd, MP_CHUNK));
	ASSERT_EQ(0, _test_release_all(self->other.s.fd));
	EXPECT_EQ(KEEP, take(&self->idle, KEEP, NULL));
}

TEST_F(idle_session_and_another, reclaimed_memory_is_zero)
{
	__u64 offsets[MP_CHUNKS];
	int i;

	ASSERT_EQ(MP_CHUNKS, take(&self->other, MP_CHUNKS, offsets));
	for (i = 0; i < MP_CHUNKS; i++)
		ASSERT_EQ(0, mp_count_not(self->other.s.base + offsets[i] + 1,
					  0, MP_CHUNK - 1));
}

TEST_F(idle_session_and_another, pressure_rises_when_idle_chunks_are_needed)
{
	long long before;

	ASSERT_EQ(MP_CHUNKS - KEEP,
		  take(&self->other, MP_CHUNKS - KEEP, NULL));
	before = mp_sysfs("pressure");
	ASSERT_EQ(1, take(&self->other, 1, NULL));
	EXPECT_LT(before, mp_sysfs("pressure"));
}

TEST_F(idle_session_and_another, trim_in_sysfs_takes_all_idle_chunks)
{
	ASSERT_EQ(0, mp_write_file(MP_SYSFS "/trim", "1"));
	EXPECT_EQ(0, owned(&self->idle));
}

TEST_F(idle_session_and_another, trim_in_sysfs_leaves_minima)
{
	struct keeper k;

	ASSERT_EQ(0, keeper_open(&k, MP_USER_B + 2, 4));
	ASSERT_EQ(0, mp_write_file(MP_SYSFS "/trim", "1\n"));
	EXPECT_EQ(4, owned(&k));
	mp_session_close(&k.s);
}

TEST_HARNESS_MAIN
