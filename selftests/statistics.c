// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * What a session's counters say, their sums in sysfs, and claims: operations
 * that caches in user space served.
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

/* ---- statistics -------------------------------------------------------------------- */

TEST_F(session, new_and_reused_make_total)
{
	ASSERT_EQ(0, cycle(self->fd, 1000, 5));
	ASSERT_EQ(0, cycle(self->fd, 1000, 8));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(8, self->after.new_allocations);
	EXPECT_EQ(5, self->after.reused_allocations);
	EXPECT_EQ(13, self->after.total_allocations);
}

TEST_F(session, peak_does_not_fall)
{
	ASSERT_EQ(0, cycle(self->fd, 1000, 5));
	ASSERT_EQ(0, cycle(self->fd, 1000, 3));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(5 * 1024, self->after.peak_bytes);
}

TEST_F(session, sysfs_sums_over_sessions)
{
	static const char * const names[] = {
		"new_allocations", "reused_allocations", "total_allocations",
		"releases", "bad_releases",
	};
	static const long long delta[] = { 16, 10, 26, 26, 2 };
	long long before[5];
	int other = open(MP_DEV, O_RDWR), i;

	ASSERT_LE(0, other);
	for (i = 0; i < 5; i++)
		before[i] = mp_sysfs(names[i]);
	ASSERT_EQ(0, cycle(self->fd, 1000, 5));
	ASSERT_EQ(0, cycle(self->fd, 1000, 8));
	ASSERT_EQ(0, cycle(other, 1000, 5));
	ASSERT_EQ(0, cycle(other, 1000, 8));
	ASSERT_NE(0, _test_release_one(self->fd, 1));
	ASSERT_NE(0, _test_release_one(other, 1));
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(before[i] + delta[i], mp_sysfs(names[i])) {
			TH_LOG("%s", names[i]);
		}
	}
	close(other);
}

TEST_F(session, sysfs_sums_do_not_run_backwards_when_a_session_ends)
{
	int other = open(MP_DEV, O_RDWR);
	long long total, releases;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, cycle(other, 1000, 7));
	total = mp_sysfs("total_allocations");
	releases = mp_sysfs("releases");
	close(other);
	ASSERT_EQ(1, mp_sysfs_wait("sessions", 1));
	EXPECT_EQ(total, mp_sysfs("total_allocations"));
	EXPECT_EQ(releases, mp_sysfs("releases"));
}

TEST_F(session, sysfs_tells_what_is_held_now)
{
	struct mempool_block blocks[7];

	test_ioctl_alloc(self->fd, 1000, 7, 0, blocks);
	EXPECT_EQ(7, mp_sysfs("currently_allocated"));
}

TEST_F(session, reuse_rate_is_reused_by_total)
{
	char text[32], want[32];
	long long reused, total;

	ASSERT_EQ(0, cycle(self->fd, 1000, 5));
	ASSERT_EQ(0, cycle(self->fd, 1000, 5));
	reused = mp_sysfs("reused_allocations");
	total = mp_sysfs("total_allocations");
	ASSERT_LT(0, mp_sysfs_text("reuse_rate", text, sizeof(text)));
	snprintf(want, sizeof(want), "0.%04lld", reused * 10000 / total);
	EXPECT_STREQ(want, text);
}

/* ---- claims -------------------------------------------------------------------------- */

static int claim(int fd, const struct mempool_claims *claims)
{
	struct mempool_release arg = {
		.flags = MEMPOOL_RELEASE_CLAIMS,
		.claims = *claims,
	};

	return mp_ioctl(fd, MEMPOOL_IOC_RELEASE, &arg);
}

TEST_F(session, claims_are_added)
{
	static const struct mempool_claims c = {
		.new_allocations = 3, .reused_allocations = 1000,
		.releases = 900, .bad_releases = 4,
	};

	ASSERT_EQ(0, claim(self->fd, &c));
	ASSERT_EQ(0, claim(self->fd, &c));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(6, self->after.new_allocations);
	EXPECT_EQ(2000, self->after.reused_allocations);
	EXPECT_EQ(2006, self->after.total_allocations);
	EXPECT_EQ(1800, self->after.releases);
	EXPECT_EQ(8, self->after.bad_releases);
}

/* The sums in sysfs are at their end afterwards: this module is not used again. */
FIXTURE(session_of_a_module_of_its_own) {
	int fd;
};

FIXTURE_SETUP(session_of_a_module_of_its_own)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE " max_sessions=7"));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(session_of_a_module_of_its_own)
{
	close(self->fd);
	EXPECT_EQ(0, mp_unload());
}

TEST_F(session_of_a_module_of_its_own, claims_saturate)
{
	static const struct mempool_claims c = {
		.new_allocations = ~0ull, .reused_allocations = ~0ull,
		.releases = ~0ull, .bad_releases = ~0ull, .peak_bytes = ~0ull,
	};
	struct mempool_session_stats st;

	ASSERT_EQ(0, claim(self->fd, &c));
	ASSERT_EQ(0, claim(self->fd, &c));
	test_ioctl_stats(self->fd, &st);
	EXPECT_EQ(~0ull, st.reused_allocations);
	EXPECT_EQ(~0ull, st.total_allocations);
	EXPECT_EQ(~0ull, st.releases);
	EXPECT_EQ(~0ull, st.bad_releases);
}

TEST_F(session_of_a_module_of_its_own, sums_of_claims_saturate)
{
	static const struct mempool_claims c = {
		.reused_allocations = ~0ull, .releases = ~0ull,
	};
	int other = open(MP_DEV, O_RDWR);
	char text[32];

	ASSERT_LE(0, other);
	ASSERT_EQ(0, claim(self->fd, &c));
	ASSERT_EQ(0, claim(other, &c));
	close(other);
	ASSERT_EQ(1, mp_sysfs_wait("sessions", 1));
	ASSERT_LT(0, mp_sysfs_text("releases", text, sizeof(text)));
	EXPECT_STREQ("18446744073709551615", text);
	ASSERT_LT(0, mp_sysfs_text("total_allocations", text, sizeof(text)));
	EXPECT_STREQ("18446744073709551615", text);
	ASSERT_LT(0, mp_sysfs_text("reuse_rate", text, sizeof(text)));
	EXPECT_STREQ("1.0000", text);
}

/* 10 blocks in a cache: the peak is what the cache's user says, up to these. */
static int cache_10_blocks(int fd)
{
	struct mempool_block blocks[10];

	return _test_ioctl_alloc(fd, 1000, 10, MEMPOOL_ALLOC_CACHED, blocks,
				 NULL);
}

TEST_F(session, a_claimed_peak_counts_what_the_cache_handed_out)
{
	static const struct mempool_claims high = { .peak_bytes = 3072 };
	static const struct mempool_claims low = { .peak_bytes = 5 };

	ASSERT_EQ(0, cache_10_blocks(self->fd));
	ASSERT_EQ(0, claim(self->fd, &high));
	ASSERT_EQ(0, claim(self->fd, &low));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(3072, self->after.peak_bytes);
}

TEST_F(session, a_claimed_peak_is_no_more_than_the_session_ever_had)
{
	static const struct mempool_claims c = { .peak_bytes = 1 << 30 };

	ASSERT_EQ(0, cache_10_blocks(self->fd));
	ASSERT_EQ(0, claim(self->fd, &c));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(10240, self->after.peak_bytes);
}

TEST_F(session, claims_change_nothing_but_counters)
{
	static const struct mempool_claims c = { .releases = 1000000 };
	__u64 offset = test_alloc_one(self->fd, 1000);

	ASSERT_EQ(0, claim(self->fd, &c));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(1024, self->after.current_bytes);
	EXPECT_EQ(0, _test_release_one(self->fd, offset));
}

TEST_F(session, blocks_for_a_cache_are_not_counted_as_allocations)
{
	struct mempool_block blocks[32];

	test_ioctl_alloc(self->fd, 1000, 32, MEMPOOL_ALLOC_CACHED, blocks);
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(0, self->after.total_allocations);
	EXPECT_EQ(32 * 1024, self->after.current_bytes);
}

TEST_F(session, blocks_out_of_a_cache_are_not_counted_as_releases)
{
	struct mempool_block b;

	test_ioctl_alloc(self->fd, 1000, 1, MEMPOOL_ALLOC_CACHED, &b);
	ASSERT_EQ(0, _test_ioctl_release(self->fd, &b.offset, 1,
					 MEMPOOL_RELEASE_CACHED, NULL));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(0, self->after.releases);
	EXPECT_EQ(0, self->after.currently_allocated);
}

TEST_HARNESS_MAIN
