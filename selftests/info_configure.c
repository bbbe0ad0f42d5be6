// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/* What INFO tells, and what CONFIGURE takes and refuses. */
#include "mp_proc.h"

FIXTURE(fresh_session) {
	int fd;
	struct mempool_info info;
	struct mempool_configure arg;
};

FIXTURE_SETUP(fresh_session)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
}

FIXTURE_TEARDOWN(fresh_session)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

/* ---- INFO -------------------------------------------------------------------- */

TEST_F(fresh_session, info_constants_are_those_of_the_header)
{
	EXPECT_EQ(MEMPOOL_CHUNK_SIZE, self->info.chunk_size);
	EXPECT_EQ(MEMPOOL_BLOCK_ALIGN, self->info.block_align);
}

TEST_F(fresh_session, info_page_size_is_the_machines)
{
	EXPECT_EQ((__u32)sysconf(_SC_PAGESIZE), self->info.page_size);
}

TEST_F(fresh_session, info_reserve_is_the_parameter)
{
	EXPECT_EQ(64u << 20, self->info.reserve_bytes);
}

TEST_F(fresh_session, info_reserve_is_the_one_in_sysfs)
{
	EXPECT_EQ(mp_sysfs("reserve_bytes"),
		  (long long)self->info.reserve_bytes);
}

TEST_F(fresh_session, offset_space_is_whole_chunks_and_holds_the_reserve)
{
	EXPECT_EQ(0, self->info.space_bytes % MEMPOOL_CHUNK_SIZE);
	EXPECT_LE(self->info.reserve_bytes, self->info.space_bytes);
}

TEST_F(fresh_session, status_page_lies_beyond_the_offset_space)
{
	EXPECT_LE(self->info.space_bytes, self->info.status_offset);
	EXPECT_EQ(0, self->info.status_offset % self->info.page_size);
}

TEST_F(fresh_session, features_are_the_listed_ones)
{
	EXPECT_EQ(0, self->info.features & ~(MEMPOOL_FEATURE_CLAIMS |
					     MEMPOOL_FEATURE_STATUS_PAGE |
					     MEMPOOL_FEATURE_HUGE |
					     MEMPOOL_FEATURE_NAMED_POOLS));
	EXPECT_NE(0, self->info.features & MEMPOOL_FEATURE_CLAIMS);
	EXPECT_NE(0, self->info.features & MEMPOOL_FEATURE_STATUS_PAGE);
	EXPECT_NE(0, self->info.features & MEMPOOL_FEATURE_NAMED_POOLS);
}

TEST_F(fresh_session, huge_feature_depends_on_the_kernel)
{
	EXPECT_EQ(mp_has_thp(),
		  !!(self->info.features & MEMPOOL_FEATURE_HUGE));
}

TEST_F(fresh_session, default_tiers_are_those_documented)
{
	static const struct mempool_tier tiers[MEMPOOL_MAX_TIERS] = {
		{ 10240, 1024 }, { 102400, 10240 }, { MEMPOOL_TIER_END, 102400 },
	};

	ASSERT_EQ(3, self->info.nr_tiers);
	EXPECT_EQ(0, memcmp(tiers, self->info.tiers, sizeof(tiers)));
}

TEST_F(fresh_session, default_caches_are_those_documented)
{
	EXPECT_EQ(10, self->info.max_cached);
	EXPECT_EQ(16u << 20, self->info.max_cached_bytes);
}

TEST_F(fresh_session, default_minimum_is_zero)
{
	EXPECT_EQ(0, self->info.min_bytes);
}

TEST_F(fresh_session, default_node_is_any)
{
	EXPECT_EQ(MEMPOOL_NODE_ANY, self->info.node);
}

TEST_F(fresh_session, default_limits_admit_the_reserve_and_no_more)
{
	EXPECT_EQ(self->info.reserve_bytes, self->info.limit_bytes);
	EXPECT_EQ(self->info.reserve_bytes, self->info.user_limit_bytes);
}

TEST_F(fresh_session, a_batch_is_more_than_one)
{
	EXPECT_LE(64, self->info.max_batch);
}

TEST_F(fresh_session, session_ids_are_unique)
{
	__u64 seen[16];
	int i, j;

	for (i = 0; i < 16; i++) {
		struct mempool_info info;
		int fd = open(MP_DEV, O_RDWR);

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, mp_info(fd, &info));
		seen[i] = info.session_id;
		ASSERT_NE(self->info.session_id, seen[i]);
		for (j = 0; j < i; j++)
			ASSERT_NE(seen[j], seen[i]);
		close(fd);
	}
}

TEST_F(fresh_session, dup_is_the_same_session)
{
	struct mempool_info info;
	int fd = dup(self->fd);

	ASSERT_EQ(0, mp_info(fd, &info));
	EXPECT_EQ(self->info.session_id, info.session_id);
	close(fd);
}

/* ---- CONFIGURE: what it takes ---------------------------------------------------- */

static int configure(FIXTURE_DATA(fresh_session) *self)
{
	return mp_ioctl(self->fd, MEMPOOL_IOC_CONFIGURE, &self->arg);
}

TEST_F(fresh_session, tiers_are_taken)
{
	static const struct mempool_tier tiers[MEMPOOL_MAX_TIERS] = {
		{ 5120, 1024 }, { 51200, 10240 }, { MEMPOOL_TIER_END, 102400 },
	};

	self->arg.flags = MEMPOOL_CONFIGURE_TIERS;
	self->arg.nr_tiers = 3;
	memcpy(self->arg.tiers, tiers, sizeof(tiers));
	ASSERT_EQ(0, configure(self));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	ASSERT_EQ(3, self->info.nr_tiers);
	EXPECT_EQ(0, memcmp(tiers, self->info.tiers, sizeof(tiers)));
}

TEST_F(fresh_session, sixteen_tiers_are_taken)
{
	int i;

	self->arg.flags = MEMPOOL_CONFIGURE_TIERS;
	self->arg.nr_tiers = MEMPOOL_MAX_TIERS;
	for (i = 0; i < MEMPOOL_MAX_TIERS; i++) {
		self->arg.tiers[i].below = 1000 * (i + 1);
		self->arg.tiers[i].granularity = 64 * (i + 1);
	}
	self->arg.tiers[15].below = MEMPOOL_TIER_END;
	ASSERT_EQ(0, configure(self));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	EXPECT_EQ(0, memcmp(self->arg.tiers, self->info.tiers,
			    sizeof(self->arg.tiers)));
}

TEST_F(fresh_session, max_cached_is_taken)
{
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MAX_CACHED, 3));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	EXPECT_EQ(3, self->info.max_cached);
}

TEST_F(fresh_session, max_cached_bytes_is_taken)
{
	ASSERT_EQ(0, _test_configure(self->fd,
				     MEMPOOL_CONFIGURE_MAX_CACHED_BYTES,
				     12345678));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	EXPECT_EQ(12345678, self->info.max_cached_bytes);
}

TEST_F(fresh_session, limit_is_taken)
{
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_LIMIT_BYTES,
				     8u << 20));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	EXPECT_EQ(8u << 20, self->info.limit_bytes);
}

TEST_F(fresh_session, node_is_taken)
{
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_NODE, 0));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	EXPECT_EQ(0, self->info.node);
}

TEST_F(fresh_session, minimum_is_rounded_up_to_chunks)
{
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MIN_BYTES, 1));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	EXPECT_EQ(MEMPOOL_CHUNK_SIZE, self->info.min_bytes);
}

TEST_F(fresh_session, minimum_is_taken_from_the_reserve_at_once)
{
	struct mempool_session_stats st;

	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MIN_BYTES,
				     3 * MP_CHUNK));
	test_ioctl_stats(self->fd, &st);
	EXPECT_EQ(3 * MP_CHUNK, st.owned_bytes);
	EXPECT_EQ(3, mp_sysfs("chunks_owned"));
}

TEST_F(fresh_session, options_may_be_set_one_by_one)
{
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MAX_CACHED, 3));
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_LIMIT_BYTES,
				     8u << 20));
	ASSERT_EQ(0, mp_info(self->fd, &self->info));
	EXPECT_EQ(3, self->info.max_cached);
	EXPECT_EQ(8u << 20, self->info.limit_bytes);
}

TEST_F(fresh_session, options_are_this_sessions_alone)
{
	struct mempool_info info;
	int fd;

	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MAX_CACHED, 3));
	fd = open(MP_DEV, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mp_info(fd, &info));
	EXPECT_EQ(10, info.max_cached);
	close(fd);
}

/* ---- CONFIGURE: what it refuses ---------------------------------------------------- */

struct bad_tiers {
	const char *why;
	__u32 nr;
	struct mempool_tier tiers[3];
};

#define END	MEMPOOL_TIER_END

TEST_F(fresh_session, bad_tiers_are_einval)
{
	static const struct bad_tiers bad[] = {
		{ "none", 0, { { END, 1024 } } },
		{ "too many", MEMPOOL_MAX_TIERS + 1, { { END, 1024 } } },
		{ "2^32-1", ~0u, { { END, 1024 } } },
		{ "no last one", 1, { { 10240, 1024 } } },
		{ "last one twice", 2, { { END, 1024 }, { END, 2048 } } },
		{ "equal", 3, { { 100, 64 }, { 100, 64 }, { END, 64 } } },
		{ "falling", 3, { { 200, 64 }, { 100, 64 }, { END, 64 } } },
		{ "below 0", 2, { { 0, 64 }, { END, 64 } } },
		{ "granularity 0", 1, { { END, 0 } } },
		{ "granularity 2", 1, { { END, 2 } } },
		{ "granularity 63", 1, { { END, 63 } } },
		{ "granularity 65", 1, { { END, 65 } } },
		{ "granularity 96", 1, { { END, 96 } } },
		{ "granularity 2^64-1", 1, { { END, ~0ull } } },
		{ "beyond the count", 1, { { END, 64 }, { 0, 64 } } },
	};
	struct mempool_info info;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&self->arg, 0, sizeof(self->arg));
		self->arg.flags = MEMPOOL_CONFIGURE_TIERS;
		self->arg.nr_tiers = bad[i].nr;
		memcpy(self->arg.tiers, bad[i].tiers, sizeof(bad[i].tiers));
		EXPECT_EQ(-EINVAL, configure(self)) {
			TH_LOG("%s", bad[i].why);
		}
	}
	ASSERT_EQ(0, mp_info(self->fd, &info));
	EXPECT_EQ(0, memcmp(&info, &self->info, sizeof(info)));
}

TEST_F(fresh_session, a_value_without_its_flag_is_einval)
{
	struct mempool_configure *arg = &self->arg;
	int i;

	for (i = 0; i < 7; i++) {
		memset(arg, 0, sizeof(*arg));
		switch (i) {
		case 0:
			arg->nr_tiers = 1;
			break;
		case 1:
			arg->max_cached = 1;
			break;
		case 2:
			arg->node = MEMPOOL_NODE_ANY;
			break;
		case 3:
			arg->max_cached_bytes = 1;
			break;
		case 4:
			arg->min_bytes = 1;
			break;
		case 5:
			arg->limit_bytes = MP_CHUNK;
			break;
		case 6:
			arg->tiers[15].granularity = 64;
			break;
		}
		EXPECT_EQ(-EINVAL, configure(self)) {
			TH_LOG("field %d", i);
		}
	}
}

TEST_F(fresh_session, a_node_that_is_not_there_is_einval)
{
	EXPECT_EQ(-EINVAL, _test_configure(self->fd, MEMPOOL_CONFIGURE_NODE,
					   1023));
	EXPECT_EQ(-EINVAL, _test_configure(self->fd, MEMPOOL_CONFIGURE_NODE,
					   0x7fffffff));
	EXPECT_EQ(-EINVAL, _test_configure(self->fd, MEMPOOL_CONFIGURE_NODE,
					   -2));
}

TEST_F(fresh_session, a_limit_above_the_modules_is_einval)
{
	EXPECT_EQ(-EINVAL,
		  _test_configure(self->fd, MEMPOOL_CONFIGURE_LIMIT_BYTES,
				  self->info.limit_bytes + MP_CHUNK));
	EXPECT_EQ(-EINVAL,
		  _test_configure(self->fd, MEMPOOL_CONFIGURE_LIMIT_BYTES,
				  ~0ull));
}

TEST_F(fresh_session, a_minimum_above_the_limit_is_edquot)
{
	self->arg.flags = MEMPOOL_CONFIGURE_LIMIT_BYTES |
			  MEMPOOL_CONFIGURE_MIN_BYTES;
	self->arg.limit_bytes = 2 * MP_CHUNK;
	self->arg.min_bytes = 3 * MP_CHUNK;
	EXPECT_EQ(-EDQUOT, configure(self));
}

TEST_F(fresh_session, a_refused_minimum_leaves_the_other_options_alone)
{
	struct mempool_info info;

	self->arg.flags = MEMPOOL_CONFIGURE_LIMIT_BYTES |
			  MEMPOOL_CONFIGURE_MIN_BYTES |
			  MEMPOOL_CONFIGURE_MAX_CACHED;
	self->arg.limit_bytes = 2 * MP_CHUNK;
	self->arg.min_bytes = 3 * MP_CHUNK;
	self->arg.max_cached = 99;
	ASSERT_NE(0, configure(self));
	ASSERT_EQ(0, mp_info(self->fd, &info));
	EXPECT_EQ(0, memcmp(&info, &self->info, sizeof(info)));
}

TEST_F(fresh_session, a_minimum_beyond_all_is_refused)
{
	int ret = _test_configure(self->fd, MEMPOOL_CONFIGURE_MIN_BYTES, ~0ull);

	EXPECT_TRUE(ret == -EDQUOT || ret == -EOVERFLOW || ret == -ENOMEM);
	EXPECT_EQ(0, mp_sysfs("chunks_owned"));
}

TEST_F(fresh_session, a_minimum_that_others_hold_is_enomem)
{
	int fd = open(MP_DEV, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, _test_configure(fd, MEMPOOL_CONFIGURE_MIN_BYTES,
				     (MP_CHUNKS - 2) * MP_CHUNK));
	/* As another user, so that only the reserve can be in the way. */
	close(self->fd);
	ASSERT_EQ(0, seteuid(MP_USER_A));
	self->fd = open(MP_DEV, O_RDWR);
	ASSERT_EQ(0, seteuid(0));
	EXPECT_EQ(-ENOMEM, _test_configure(self->fd,
					   MEMPOOL_CONFIGURE_MIN_BYTES,
					   3 * MP_CHUNK));
	close(fd);
}

static int configure_late(int fd)
{
	return _test_configure(fd, MEMPOOL_CONFIGURE_MAX_CACHED, 3);
}

TEST_F(fresh_session, after_an_allocation_it_is_too_late)
{
	test_alloc_one(self->fd, 100);
	EXPECT_EQ(-EBUSY, configure_late(self->fd));
}

TEST_F(fresh_session, after_all_was_released_it_is_still_too_late)
{
	test_release_one(self->fd, test_alloc_one(self->fd, 100));
	EXPECT_EQ(-EBUSY, configure_late(self->fd));
}

TEST_F(fresh_session, after_a_preallocation_it_is_too_late)
{
	ASSERT_EQ(0, _test_ioctl_preallocate(self->fd, 100, 1, NULL));
	EXPECT_EQ(-EBUSY, configure_late(self->fd));
}

TEST_F(fresh_session, after_a_block_pool_it_is_too_late)
{
	struct mempool_pool_create pool;

	test_pool_create(self->fd, NULL, 64, 1, 0, 0, &pool);
	EXPECT_EQ(-EBUSY, configure_late(self->fd));
}

TEST_F(fresh_session, after_a_closed_block_pool_it_is_still_too_late)
{
	struct mempool_pool_create pool;

	test_pool_create(self->fd, NULL, 64, 1, 0, 0, &pool);
	ASSERT_EQ(0, _test_pool_close(self->fd, pool.pool));
	EXPECT_EQ(-EBUSY, configure_late(self->fd));
}

TEST_F(fresh_session, after_part_of_a_preallocation_it_is_too_late)
{
	__u32 done;

	ASSERT_EQ(-ENOMEM, _test_ioctl_preallocate(self->fd, 30u << 20, 3, &done));
	ASSERT_LT(0, done);
	EXPECT_EQ(-EBUSY, configure_late(self->fd));
}

TEST_F(fresh_session, after_a_failed_allocation_it_is_not_too_late)
{
	ASSERT_EQ(-EINVAL, (int)_test_alloc_one(self->fd, 0));
	ASSERT_EQ(-ENOMEM, (int)_test_alloc_one(self->fd, 65u << 20));
	EXPECT_EQ(0, configure_late(self->fd));
}

TEST_F(fresh_session, after_a_failed_preallocation_it_is_not_too_late)
{
	ASSERT_EQ(-EOVERFLOW, _test_ioctl_preallocate(self->fd, ~0ull, 1, NULL));
	ASSERT_EQ(-ENOMEM, _test_ioctl_preallocate(self->fd, 65u << 20, 1, NULL));
	EXPECT_EQ(0, configure_late(self->fd));
}

/* What it had taken goes by the tiers that come after it. */
TEST_F(fresh_session, after_an_allocation_that_could_not_be_told_it_is_not_too_late)
{
	struct mempool_session_stats st;

	ASSERT_EQ(-EFAULT, _test_ioctl_alloc(self->fd, 1000, 2, 0, NULL, NULL));
	ASSERT_EQ(0, _test_configure_granularity(self->fd, 1));
	test_alloc_one(self->fd, 1000);
	test_ioctl_stats(self->fd, &st);
	EXPECT_EQ(1000, st.current_bytes);
	EXPECT_EQ(1, st.nr_slabs);
}

TEST_F(fresh_session, after_a_block_pool_that_could_not_be_told_it_is_not_too_late)
{
	struct mempool_pool_create *arg = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, arg);
	arg->block_size = 64;
	arg->nr_blocks = 1;
	ASSERT_EQ(0, mprotect(arg, 4096, PROT_READ));
	ASSERT_EQ(-EFAULT, mp_ioctl(self->fd, MEMPOOL_IOC_POOL_CREATE, arg));
	EXPECT_EQ(0, configure_late(self->fd));
	munmap(arg, 4096);
}

TEST_HARNESS_MAIN
