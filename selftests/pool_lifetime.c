// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * Named block pools: who may open and remove them, how long they live, and
 * the pools of the module parameter fixed=.
 */
#include "mp_proc.h"

#define NAME	"frames"

FIXTURE(two_sessions) {
	struct mp_session a, b;
	struct mempool_pool_create made;
	struct mempool_pool_open joined;
	struct mempool_pool_stats st;
	struct mempool_token t;
};

FIXTURE_SETUP(two_sessions)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->a));
	ASSERT_EQ(0, mp_session_open(&self->b));
}

FIXTURE_TEARDOWN(two_sessions)
{
	_test_pool_remove(self->a.fd, NAME);
	mp_session_close(&self->a);
	mp_session_close(&self->b);
	EXPECT_TRUE(mp_settled());
}

#define make(mode, flags) \
	_test_pool_create(self->a.fd, NAME, 4096, 10, mode, flags, &self->made)
#define join() _test_pool_open(self->b.fd, NAME, &self->joined)

/* ---- users and modes --------------------------------------------------------------- */

/* What opening gives user @uid. */
static int try_open(uid_t uid, int flags)
{
	struct mempool_pool_open joined;
	int fd = mp_open_as(uid, flags), ret;

	if (fd < 0)
		return fd;
	ret = MP_AS(uid, _test_pool_open(fd, NAME, &joined));
	close(fd);
	return ret;
}

/* A pool of user A, kept. */
static int make_as_a(__u32 mode)
{
	struct mempool_pool_create made;
	int fd = mp_open_as(MP_USER_A, O_RDWR), ret;

	ret = MP_AS(MP_USER_A, _test_pool_create(fd, NAME, 4096, 10, mode,
					      MEMPOOL_POOL_KEEP, &made));
	close(fd);
	return ret;
}

TEST_F(two_sessions, mode_0600_admits_its_user_alone)
{
	ASSERT_EQ(0, make_as_a(0600));
	EXPECT_EQ(0, try_open(MP_USER_A, O_RDWR));
	EXPECT_EQ(-EACCES, try_open(MP_USER_B, O_RDWR));
	EXPECT_EQ(-EACCES, try_open(MP_USER_B, O_RDONLY));
}

TEST_F(two_sessions, mode_0660_admits_the_group)
{
	gid_t group = MP_USER_A;
	int ret;

	ASSERT_EQ(0, make_as_a(0660));
	EXPECT_EQ(-EACCES, try_open(MP_USER_B, O_RDWR));
	ASSERT_EQ(0, setgroups(1, &group));
	ret = try_open(MP_USER_B, O_RDWR);
	ASSERT_EQ(0, setgroups(0, NULL));
	EXPECT_EQ(0, ret);
}

TEST_F(two_sessions, mode_0666_admits_all)
{
	ASSERT_EQ(0, make_as_a(0666));
	EXPECT_EQ(0, try_open(MP_USER_B, O_RDWR));
}

TEST_F(two_sessions, root_may_open_any)
{
	ASSERT_EQ(0, make_as_a(0600));
	EXPECT_EQ(0, join());
}

TEST_F(two_sessions, a_read_only_member_can_read)
{
	struct mp_session ro;

	ASSERT_EQ(0, make(0600, 0));
	strcpy((char *)self->a.base + self->made.offset, "to be read");
	ASSERT_EQ(0, mp_session_open_as(&ro, O_RDONLY));
	test_pool_open(ro.fd, NAME, &self->joined);
	EXPECT_STREQ("to be read", (char *)ro.base + self->joined.offset);
	mp_session_close(&ro);
}

TEST_F(two_sessions, a_read_only_member_cannot_write)
{
	struct mp_session ro;
	unsigned char *p;

	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, mp_session_open_as(&ro, O_RDONLY));
	test_pool_open(ro.fd, NAME, &self->joined);
	p = ro.base + self->joined.offset;
	EXPECT_EQ(0, mp_peek(p));
	EXPECT_EQ(SIGSEGV, mp_poke(p, 1));
	EXPECT_EQ(-1, mprotect(p, 4096, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	mp_session_close(&ro);
}

TEST_F(two_sessions, a_read_only_member_gets_no_blocks)
{
	struct mp_session ro;

	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, mp_session_open_as(&ro, O_RDONLY));
	test_pool_open(ro.fd, NAME, &self->joined);
	EXPECT_EQ(-EBADF, _test_pool_get(ro.fd, self->joined.pool, &self->t));
	mp_session_close(&ro);
}

/* ---- lifetime ----------------------------------------------------------------------- */

TEST_F(two_sessions, a_pool_ends_with_its_last_member)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	ASSERT_EQ(0, _test_pool_close(self->a.fd, self->made.pool));
	ASSERT_EQ(0, _test_pool_close(self->b.fd, self->joined.pool));
	EXPECT_EQ(-ENOENT, join());
	EXPECT_TRUE(mp_settled());
}

TEST_F(two_sessions, a_kept_pool_outlives_its_members)
{
	ASSERT_EQ(0, make(0600, MEMPOOL_POOL_KEEP));
	strcpy((char *)self->a.base + self->made.offset, "kept");
	mp_session_close(&self->a);
	ASSERT_EQ(0, mp_session_open(&self->a));
	ASSERT_EQ(0, join());
	EXPECT_STREQ("kept", (char *)self->b.base + self->joined.offset);
}

TEST_F(two_sessions, a_kept_pool_says_so)
{
	ASSERT_EQ(0, make(0600, MEMPOOL_POOL_KEEP));
	test_pool_stats(self->a.fd, self->made.pool, &self->st);
	EXPECT_EQ(MEMPOOL_POOL_KEEP, self->st.flags);
}

TEST_F(two_sessions, a_removed_name_can_be_taken_again)
{
	ASSERT_EQ(0, make(0600, MEMPOOL_POOL_KEEP));
	ASSERT_EQ(0, _test_pool_remove(self->a.fd, NAME));
	EXPECT_EQ(-ENOENT, join());
	EXPECT_EQ(0, _test_pool_create(self->b.fd, NAME, 64, 1, 0600, 0,
				       &self->made));
}

TEST_F(two_sessions, members_keep_a_removed_pool)
{
	unsigned char *p;

	ASSERT_EQ(0, make(0600, MEMPOOL_POOL_KEEP));
	p = self->a.base + self->made.offset;
	strcpy((char *)p, "mine");
	ASSERT_EQ(0, _test_pool_remove(self->a.fd, NAME));
	EXPECT_STREQ("mine", (char *)p);
	EXPECT_EQ(0, _test_pool_get(self->a.fd, self->made.pool, &self->t));
}

TEST_F(two_sessions, a_removed_pools_memory_goes_back_with_the_last_member)
{
	ASSERT_EQ(0, make(0600, MEMPOOL_POOL_KEEP));
	ASSERT_EQ(0, _test_pool_remove(self->a.fd, NAME));
	EXPECT_EQ(1, mp_sysfs("chunks_owned"));
	ASSERT_EQ(0, _test_pool_close(self->a.fd, self->made.pool));
	EXPECT_TRUE(mp_settled());
}

TEST_F(two_sessions, a_pool_may_be_removed_by_its_creator_and_root_alone)
{
	int b = mp_open_as(MP_USER_B, O_RDWR), a = mp_open_as(MP_USER_A, O_RDWR);

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(0, make_as_a(0666));
	EXPECT_EQ(-EPERM, MP_AS(MP_USER_B, _test_pool_remove(b, NAME)));
	EXPECT_EQ(0, MP_AS(MP_USER_A, _test_pool_remove(a, NAME)));
	ASSERT_EQ(0, make_as_a(0600));
	EXPECT_EQ(0, _test_pool_remove(self->a.fd, NAME));
	close(a);
	close(b);
}

/* ---- pools of the module parameter fixed= --------------------------------------------- */

FIXTURE(module_with_fixed_pools) {
	struct mp_session s;
	struct mempool_pool_open joined;
	struct mempool_pool_stats st;
	struct mempool_token t;
};

FIXTURE_SETUP(module_with_fixed_pools)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE
				" fixed=small:64x1000,big:1Mx5:0600,all:4Kx3:0666"));
	ASSERT_EQ(0, mp_session_open(&self->s));
}

FIXTURE_TEARDOWN(module_with_fixed_pools)
{
	struct mp_books b;

	mp_session_close(&self->s);
	ASSERT_EQ(0, mp_sysfs_wait("sessions", 0));
	EXPECT_TRUE(mp_books_balance(&b));
	EXPECT_EQ(5, b.owned);
}

#define open_fixed(name) _test_pool_open(self->s.fd, name, &self->joined)

TEST_F(module_with_fixed_pools, are_there_from_the_start)
{
	ASSERT_EQ(0, open_fixed("small"));
	EXPECT_EQ(64, self->joined.block_size);
	EXPECT_EQ(1000, self->joined.nr_blocks);
	ASSERT_EQ(0, open_fixed("big"));
	EXPECT_EQ(1u << 20, self->joined.block_size);
	EXPECT_EQ(5, self->joined.nr_blocks);
}

TEST_F(module_with_fixed_pools, serve_blocks)
{
	ASSERT_EQ(0, open_fixed("big"));
	test_pool_get(self->s.fd, self->joined.pool, &self->t);
	memset(self->s.base + self->joined.offset +
	       self->t.index * self->joined.stride, 1, 1u << 20);
	EXPECT_EQ(0, _test_pool_return(self->s.fd, self->joined.pool,
				       self->t));
}

TEST_F(module_with_fixed_pools, outlive_their_members)
{
	ASSERT_EQ(0, open_fixed("small"));
	ASSERT_EQ(0, _test_pool_close(self->s.fd, self->joined.pool));
	EXPECT_EQ(0, open_fixed("small"));
}

TEST_F(module_with_fixed_pools, cannot_be_removed)
{
	EXPECT_EQ(-EPERM, _test_pool_remove(self->s.fd, "small"));
	EXPECT_EQ(0, open_fixed("small"));
}

TEST_F(module_with_fixed_pools, are_for_all_by_default)
{
	int fd = mp_open_as(MP_USER_A, O_RDWR);

	EXPECT_EQ(0, MP_AS(MP_USER_A, _test_pool_open(fd, "small",
						      &self->joined)));
	close(fd);
}

TEST_F(module_with_fixed_pools, are_roots_with_mode_0600)
{
	int fd = mp_open_as(MP_USER_A, O_RDWR);

	EXPECT_EQ(-EACCES, MP_AS(MP_USER_A, _test_pool_open(fd, "big",
							    &self->joined)));
	close(fd);
}

TEST_F(module_with_fixed_pools, return_what_a_session_held_when_it_ends)
{
	ASSERT_EQ(0, open_fixed("small"));
	test_pool_get(self->s.fd, self->joined.pool, &self->t);
	mp_session_close(&self->s);
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, open_fixed("small"));
	test_pool_stats(self->s.fd, self->joined.pool, &self->st);
	EXPECT_EQ(0, self->st.issued);
}

TEST_F(module_with_fixed_pools, are_charged_to_nobody)
{
	struct mempool_session_stats st;

	ASSERT_EQ(0, open_fixed("big"));
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(0, st.owned_bytes);
}

TEST_HARNESS_MAIN
