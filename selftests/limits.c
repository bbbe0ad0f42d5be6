// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * What a session and a user may own, how many sessions may be open, and what a
 * refused request leaves behind. Each limit refuses at the number it names, not
 * before, and one user's limit is no other's.
 */
#include "mp_proc.h"

/* A session of user @uid whose blocks are whole chunks: fd or -errno. */
static int chunk_session(uid_t uid)
{
	int fd = mp_open_as(uid, O_RDWR);
	int ret = fd < 0 ? fd : _test_configure_granularity(fd, MP_CHUNK);

	return ret ?: fd;
}

/* Take chunks until it is refused: how many; the refusal in *@why. */
static int take(int fd, int *why)
{
	long long ret;
	int n = 0;

	while ((ret = _test_alloc_one(fd, MP_CHUNK)) >= 0)
		n++;
	*why = ret;
	return n;
}

/* Of a session's refusals for a limit, those for its user's. */
static long long refused_for_user(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return mp_proc_number(path, "mempool_failed_user_limit:");
}

/* ---- of a session ---------------------------------------------------------------- */

FIXTURE(module_with_session_limit) {
	int fd, why;
	struct mempool_session_stats st;
	struct mempool_block blocks[16];
	__u32 done;
};

FIXTURE_SETUP(module_with_session_limit)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE " session_limit=8M"));
	self->fd = chunk_session(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(module_with_session_limit)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_with_session_limit, info_tells_it)
{
	struct mempool_info info;

	ASSERT_EQ(0, mp_info(self->fd, &info));
	EXPECT_EQ(8u << 20, info.limit_bytes);
}

TEST_F(module_with_session_limit, a_session_gets_all_of_it_and_no_more)
{
	EXPECT_EQ(4, take(self->fd, &self->why));
	EXPECT_EQ(-EDQUOT, self->why);
}

TEST_F(module_with_session_limit, another_session_of_the_same_user_has_its_own)
{
	int other = chunk_session(0);

	ASSERT_EQ(4, take(self->fd, &self->why));
	EXPECT_EQ(4, take(other, &self->why));
	close(other);
}

TEST_F(module_with_session_limit, a_batch_ends_at_the_limit)
{
	ASSERT_EQ(0, _test_ioctl_alloc(self->fd, MP_CHUNK, 10, 0, self->blocks,
				       &self->done));
	EXPECT_EQ(4, self->done);
}

TEST_F(module_with_session_limit, a_large_request_is_edquot_and_takes_nothing)
{
	EXPECT_EQ(-EDQUOT, (int)_test_alloc_one(self->fd, 5 * MP_CHUNK));
	test_ioctl_stats(self->fd, &self->st);
	EXPECT_EQ(0, self->st.owned_bytes);
}

TEST_F(module_with_session_limit, a_refusal_is_counted)
{
	ASSERT_EQ(4, take(self->fd, &self->why));
	test_ioctl_stats(self->fd, &self->st);
	EXPECT_EQ(1, self->st.failed_limit);
	EXPECT_EQ(0, self->st.failed_no_memory);
	EXPECT_EQ(0, refused_for_user(self->fd));
}

TEST_F(module_with_session_limit, memory_given_back_can_be_had_again)
{
	ASSERT_EQ(4, take(self->fd, &self->why));
	ASSERT_EQ(0, _test_release_all(self->fd));
	EXPECT_EQ(4, take(self->fd, &self->why));
}

TEST_F(module_with_session_limit, private_pools_count)
{
	struct mempool_pool_create pool;

	test_pool_create(self->fd, NULL, MP_CHUNK, 3, 0, 0, &pool);
	EXPECT_EQ(1, take(self->fd, &self->why));
	EXPECT_EQ(-EDQUOT, _test_pool_create(self->fd, NULL, 64, 1, 0, 0,
					     &pool));
}

TEST_F(module_with_session_limit, it_may_be_lowered_but_not_raised)
{
	int fd = open(MP_DEV, O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, _test_configure(fd, MEMPOOL_CONFIGURE_LIMIT_BYTES,
					   10u << 20));
	ASSERT_EQ(0, _test_configure(fd, MEMPOOL_CONFIGURE_LIMIT_BYTES,
				     4u << 20));
	ASSERT_EQ(0, _test_configure_granularity(fd, MP_CHUNK));
	EXPECT_EQ(2, take(fd, &self->why));
	close(fd);
}

TEST_F(module_with_session_limit, a_refused_session_goes_on_with_what_it_has)
{
	struct mempool_block b;
	int fd = open(MP_DEV, O_RDWR), i;

	/* A chunk of small blocks; the limit is met by large ones. */
	test_ioctl_alloc(fd, 1000, 1, 0, &b);
	while (_test_alloc_one(fd, 1 << 20) >= 0)
		;
	for (i = 0; i < 100; i++)
		test_alloc_one(fd, 1000);
	close(fd);
}

/* ---- of a user -------------------------------------------------------------------- */

FIXTURE(module_with_user_limit) {
	int a1, a2, b, why;
};

FIXTURE_SETUP(module_with_user_limit)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE " user_limit=8M"));
	self->a1 = chunk_session(MP_USER_A);
	self->a2 = chunk_session(MP_USER_A);
	self->b = chunk_session(MP_USER_B);
	ASSERT_LE(0, self->b);
}

FIXTURE_TEARDOWN(module_with_user_limit)
{
	_test_pool_remove(self->a1, "kept");
	close(self->a1);
	close(self->a2);
	close(self->b);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_with_user_limit, info_tells_it)
{
	struct mempool_info info;

	ASSERT_EQ(0, mp_info(self->a1, &info));
	EXPECT_EQ(8u << 20, info.user_limit_bytes);
}

TEST_F(module_with_user_limit, all_sessions_of_a_user_count)
{
	test_alloc_one(self->a1, 3 * MP_CHUNK);
	EXPECT_EQ(1, take(self->a2, &self->why));
	EXPECT_EQ(-EDQUOT, self->why);
}

TEST_F(module_with_user_limit, a_refusal_is_counted_as_the_users)
{
	struct mempool_session_stats st;

	ASSERT_EQ(4, take(self->a1, &self->why));
	test_ioctl_stats(self->a1, &st);
	EXPECT_EQ(1, st.failed_limit);
	EXPECT_EQ(1, refused_for_user(self->a1));
	EXPECT_EQ(0, refused_for_user(self->a2));
}

TEST_F(module_with_user_limit, another_user_proceeds)
{
	ASSERT_EQ(4, take(self->a1, &self->why));
	EXPECT_EQ(4, take(self->b, &self->why));
}

TEST_F(module_with_user_limit, idle_chunks_of_ones_own_other_session_count)
{
	ASSERT_EQ(0, _test_release_one(self->a1,
				       test_alloc_one(self->a1, MP_CHUNK)));
	EXPECT_LE(3, take(self->a2, &self->why));
	EXPECT_EQ(-EDQUOT, self->why);
}

TEST_F(module_with_user_limit, a_session_that_ends_makes_room)
{
	ASSERT_EQ(4, take(self->a1, &self->why));
	close(self->a1);
	self->a1 = -1;
	EXPECT_EQ(4, take(self->a2, &self->why));
}

TEST_F(module_with_user_limit, a_minimum_counts)
{
	int fd = mp_open_as(MP_USER_A, O_RDWR);

	ASSERT_EQ(0, _test_configure(fd, MEMPOOL_CONFIGURE_MIN_BYTES,
				     3 * MP_CHUNK));
	EXPECT_EQ(1, take(self->a1, &self->why));
	close(fd);
}

TEST_F(module_with_user_limit, a_minimum_beyond_it_is_edquot)
{
	int fd = mp_open_as(MP_USER_A, O_RDWR);

	EXPECT_EQ(-EDQUOT, _test_configure(fd, MEMPOOL_CONFIGURE_MIN_BYTES,
					   5 * MP_CHUNK));
	close(fd);
}

TEST_F(module_with_user_limit, named_pools_count_for_their_maker)
{
	struct mempool_pool_create pool;

	ASSERT_EQ(0, MP_AS(MP_USER_A,
			   _test_pool_create(self->a1, "kept", MP_CHUNK, 3,
					     0666, MEMPOOL_POOL_KEEP, &pool)));
	EXPECT_EQ(1, take(self->a2, &self->why));
	EXPECT_EQ(4, take(self->b, &self->why));
}

TEST_F(module_with_user_limit, kept_pools_count_without_any_member)
{
	struct mempool_pool_create pool;

	ASSERT_EQ(0, MP_AS(MP_USER_A,
			   _test_pool_create(self->a1, "kept", MP_CHUNK, 3,
					     0666, MEMPOOL_POOL_KEEP, &pool)));
	ASSERT_EQ(0, _test_pool_close(self->a1, pool.pool));
	EXPECT_EQ(1, take(self->a2, &self->why));
}

TEST_F(module_with_user_limit, pools_of_others_do_not_count)
{
	struct mempool_pool_create pool;
	struct mempool_pool_open joined;

	ASSERT_EQ(0, MP_AS(MP_USER_B,
			   _test_pool_create(self->b, "kept", MP_CHUNK, 3,
					     0666, 0, &pool)));
	ASSERT_EQ(0, MP_AS(MP_USER_A, _test_pool_open(self->a1, "kept",
						      &joined)));
	EXPECT_EQ(4, take(self->a1, &self->why));
}

/* In a loop, as an ordinary user, and gone: nothing stays charged. */
static int reserve_and_leave(void *arg)
{
	int i, why;

	for (i = 0; i < 300; i++) {
		int fd = open(MP_DEV, O_RDWR);

		CHECK(fd >= 0);
		CHECK(_test_configure_granularity(fd, MP_CHUNK) == 0);
		CHECK(take(fd, &why) == 4);
		CHECK(why == -EDQUOT);
		close(fd);
	}
	return 0;
}

TEST_F(module_with_user_limit, sessions_in_a_loop_leave_nothing_charged)
{
	EXPECT_EQ(0, mp_run(MP_USER_A, reserve_and_leave, NULL));
}

/* ---- of the machine ------------------------------------------------------------------ */

FIXTURE(module_with_5_sessions) {
	int fd[5];
};

FIXTURE_SETUP(module_with_5_sessions)
{
	int i;

	ASSERT_EQ(0, mp_require(MP_RESERVE " max_sessions=5"));
	ASSERT_EQ(0, mp_sysfs_wait("sessions", 0));
	for (i = 0; i < 5; i++) {
		self->fd[i] = open(MP_DEV, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, self->fd[i]);
	}
}

FIXTURE_TEARDOWN(module_with_5_sessions)
{
	int i;

	for (i = 0; i < 5; i++)
		close(self->fd[i]);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_with_5_sessions, one_more_is_enfile)
{
	EXPECT_EQ(-1, open(MP_DEV, O_RDWR));
	EXPECT_EQ(ENFILE, errno);
}

TEST_F(module_with_5_sessions, one_that_ends_makes_room)
{
	close(self->fd[2]);
	self->fd[2] = open(MP_DEV, O_RDWR);
	EXPECT_LE(0, self->fd[2]);
}

TEST_F(module_with_5_sessions, a_duplicate_is_no_session)
{
	int fd = dup(self->fd[0]);

	ASSERT_LE(0, fd);
	close(self->fd[4]);
	self->fd[4] = open(MP_DEV, O_RDWR);
	EXPECT_LE(0, self->fd[4]);
	close(fd);
}

/* ---- the reserve ------------------------------------------------------------------------ */

FIXTURE(module_without_limits) {
	int a, b, why;
	struct mempool_session_stats st;
	struct mempool_block blocks[64];
	__u32 done;
};

FIXTURE_SETUP(module_without_limits)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->a = chunk_session(MP_USER_A);
	self->b = chunk_session(MP_USER_B);
	ASSERT_LE(0, self->a);
	ASSERT_LE(0, self->b);
}

FIXTURE_TEARDOWN(module_without_limits)
{
	close(self->a);
	close(self->b);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_without_limits, one_session_can_have_all_of_it)
{
	EXPECT_EQ(MP_CHUNKS, take(self->a, &self->why));
}

TEST_F(module_without_limits, one_block_can_be_all_of_it)
{
	EXPECT_LE(0, _test_alloc_one(self->a, MP_CHUNKS * MP_CHUNK));
}

TEST_F(module_without_limits, used_up_it_is_enomem)
{
	test_alloc_one(self->a, (MP_CHUNKS - 1) * MP_CHUNK);
	ASSERT_EQ(1, take(self->b, &self->why));
	EXPECT_EQ(-ENOMEM, self->why);
}

TEST_F(module_without_limits, a_batch_ends_with_it)
{
	test_alloc_one(self->a, (MP_CHUNKS - 3) * MP_CHUNK);
	ASSERT_EQ(0, _test_ioctl_alloc(self->b, MP_CHUNK, 10, 0, self->blocks,
				       &self->done));
	EXPECT_EQ(3, self->done);
}

TEST_F(module_without_limits, a_refusal_is_counted)
{
	test_alloc_one(self->a, (MP_CHUNKS - 1) * MP_CHUNK);
	ASSERT_EQ(1, take(self->b, &self->why));
	test_ioctl_stats(self->b, &self->st);
	EXPECT_EQ(1, self->st.failed_no_memory);
	EXPECT_EQ(0, self->st.failed_limit);
}

TEST_F(module_without_limits, a_refused_request_leaves_no_more_owned)
{
	test_alloc_one(self->a, (MP_CHUNKS - 3) * MP_CHUNK);
	ASSERT_EQ(-ENOMEM, (int)_test_alloc_one(self->b, 4 * MP_CHUNK));
	test_ioctl_stats(self->b, &self->st);
	EXPECT_EQ(0, self->st.owned_bytes);
	EXPECT_EQ(3, mp_sysfs("chunks_free"));
}

TEST_F(module_without_limits, blocks_of_many_chunks_never_want_for_neighbours)
{
	__u64 offsets[MP_CHUNKS];
	int i;

	/* Every second chunk of the reserve is held. */
	for (i = 0; i < MP_CHUNKS; i++)
		offsets[i] = test_alloc_one(self->a, MP_CHUNK);
	for (i = 0; i < MP_CHUNKS; i += 2)
		test_release_one(self->a, offsets[i]);
	ASSERT_LE(0, _test_ioctl_trim(self->a));
	EXPECT_LE(0, _test_alloc_one(self->b, MP_CHUNKS / 2 * MP_CHUNK));
}

TEST_F(module_without_limits, offsets_do_not_run_out)
{
	__u64 small;
	int i;

	/* A hole of one chunk stays behind each time: 4 times the space. */
	small = test_alloc_one(self->a, MP_CHUNK);
	for (i = 0; i < 8 * MP_CHUNKS; i++) {
		__u64 big = test_alloc_one(self->a, 20 * MP_CHUNK);
		__u64 next = test_alloc_one(self->a, MP_CHUNK);

		test_release_one(self->a, small);
		test_release_one(self->a, big);
		ASSERT_LE(0, _test_ioctl_trim(self->a));
		small = next;
	}
}

TEST_F(module_without_limits, peak_tells_the_most_in_use)
{
	long long before = mp_sysfs("chunks_peak");

	ASSERT_EQ(MP_CHUNKS, take(self->a, &self->why));
	ASSERT_EQ(0, _test_release_all(self->a));
	ASSERT_LE(0, _test_ioctl_trim(self->a));
	EXPECT_LE(before, MP_CHUNKS);
	EXPECT_EQ(MP_CHUNKS, mp_sysfs("chunks_peak"));
}

FIXTURE(module_with_8_sessions) {
	int fd[9], n;
};

FIXTURE_SETUP(module_with_8_sessions)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE " max_sessions=8"));
	ASSERT_EQ(0, mp_sysfs_wait("sessions", 0));
	self->n = 0;
}

FIXTURE_TEARDOWN(module_with_8_sessions)
{
	while (self->n)
		close(self->fd[--self->n]);
	EXPECT_TRUE(mp_settled());
}

/* How many sessions the user gets before he is refused with ENFILE; else -1. */
static int open_as_many(FIXTURE_DATA(module_with_8_sessions) *self, uid_t uid)
{
	int fd, before = self->n;

	while (self->n < 9) {
		fd = mp_open_as(uid, O_RDWR);
		if (fd < 0)
			return fd == -ENFILE ? self->n - before : -1;
		self->fd[self->n++] = fd;
	}
	return -1;
}

TEST_F(module_with_8_sessions, a_user_alone_gets_half)
{
	EXPECT_EQ(4, open_as_many(self, MP_USER_A));
}

TEST_F(module_with_8_sessions, a_user_leaves_half_to_the_next)
{
	ASSERT_EQ(4, open_as_many(self, MP_USER_A));
	EXPECT_EQ(2, open_as_many(self, MP_USER_B));
}

TEST_F(module_with_8_sessions, root_gets_all)
{
	EXPECT_EQ(8, open_as_many(self, 0));
}

TEST_F(module_with_8_sessions, a_session_that_ends_makes_room_for_its_user)
{
	ASSERT_EQ(4, open_as_many(self, MP_USER_A));
	close(self->fd[--self->n]);
	EXPECT_EQ(1, open_as_many(self, MP_USER_A));
}

TEST_HARNESS_MAIN
