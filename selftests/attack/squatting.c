// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "An ordinary user takes others' names, gets into their pools, or makes himself
 * root."
 */
#include <sys/prctl.h>

#include "attack.h"

FIXTURE(two_users) {
	struct mp_session a, b, root;
};

FIXTURE_SETUP(two_users)
{
	ASSERT_EQ(0, mp_require("reserve=32M user_limit=16M fixed=ours:4096x8"));
	ASSERT_EQ(0, mp_session_open(&self->root));
	self->a.fd = mp_open_as(MP_USER_A, O_RDWR);
	self->b.fd = mp_open_as(MP_USER_B, O_RDWR);
	ASSERT_LE(0, self->a.fd);
	ASSERT_LE(0, self->b.fd);
}

FIXTURE_TEARDOWN(two_users)
{
	mp_session_close(&self->a);
	mp_session_close(&self->b);
	mp_session_close(&self->root);
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
	EXPECT_EQ(1, mp_sysfs_wait("chunks_owned", 1));
}

/* Squatting costs a chunk a name, so it ends, and other names stay free. */
TEST_F(two_users, names_run_out_for_the_squatter_alone)
{
	struct mempool_pool_create pool;
	char name[32];
	int i, ret = 0;

	for (i = 0; i < 300 && !ret; i++) {
		snprintf(name, sizeof(name), "squat-%d", i);
		ret = MP_AS(MP_USER_A, _test_pool_create(self->a.fd, name, 64, 1,
							 0600, MEMPOOL_POOL_KEEP, &pool));
	}
	EXPECT_EQ(-EDQUOT, ret);
	EXPECT_EQ(9, i);
	EXPECT_EQ(0, MP_AS(MP_USER_B, _test_pool_create(self->b.fd, "mine", 64, 1,
							0600, 0, &pool)));
	/* Root clears up. */
	while (i--) {
		snprintf(name, sizeof(name), "squat-%d", i);
		_test_pool_remove(self->root.fd, name);
	}
}

/* Who finds the name taken is told so, and never joins the squatter's pool. */
TEST_F(two_users, a_squatted_name_is_not_joined_by_mistake)
{
	struct mempool_pool_create pool;
	struct mempool_pool_open open;

	ASSERT_EQ(0, MP_AS(MP_USER_A, _test_pool_create(self->a.fd, "bank", 64, 1,
							0600, 0, &pool)));
	EXPECT_EQ(-EEXIST, MP_AS(MP_USER_B, _test_pool_create(self->b.fd, "bank", 64,
							      1, 0666, 0, &pool)));
	EXPECT_EQ(-EACCES, MP_AS(MP_USER_B, _test_pool_open(self->b.fd, "bank", &open)));
	EXPECT_EQ(-EPERM, MP_AS(MP_USER_B, _test_pool_remove(self->b.fd, "bank")));
}

TEST_F(two_users, a_refused_name_charges_nobody)
{
	struct mempool_pool_create pool;
	int i;

	ASSERT_EQ(0, MP_AS(MP_USER_A, _test_pool_create(self->a.fd, "bank", 64, 1,
							0600, 0, &pool)));
	for (i = 0; i < 200; i++)
		ASSERT_EQ(-EEXIST, MP_AS(MP_USER_B, _test_pool_create(self->b.fd,
					 "bank", 1 << 20, 8, 0600, 0, &pool)));
	EXPECT_EQ(0, MP_AS(MP_USER_B, _test_pool_create(self->b.fd, "b", 2 << 20, 8,
							0600, 0, &pool)));
}

TEST_F(two_users, the_modules_names_are_the_modules)
{
	struct mempool_pool_create pool;
	struct mempool_pool_open open;

	EXPECT_EQ(-EEXIST, MP_AS(MP_USER_A, _test_pool_create(self->a.fd, "ours", 64, 1,
							      0600, 0, &pool)));
	EXPECT_EQ(-EPERM, MP_AS(MP_USER_A, _test_pool_remove(self->a.fd, "ours")));
	ASSERT_EQ(0, MP_AS(MP_USER_A, _test_pool_open(self->a.fd, "ours", &open)));
	EXPECT_EQ(-EPERM, MP_AS(MP_USER_A, _test_pool_reset(self->a.fd, open.pool,
							    MEMPOOL_RESET_FORCE)));
}

/*
 * A session of root's in a user's hands gives him no right of root's: what
 * counts is who asks.
 */
TEST_F(two_users, a_session_of_roots_lends_no_rights)
{
	struct mempool_pool_create pool;
	struct mempool_pool_open open;

	ASSERT_EQ(0, MP_AS(MP_USER_B, _test_pool_create(self->b.fd, "b", 64, 1, 0600,
							0, &pool)));
	EXPECT_EQ(-EACCES, MP_AS(MP_USER_A, _test_pool_open(self->root.fd, "b", &open)));
	EXPECT_EQ(-EPERM, MP_AS(MP_USER_A, _test_pool_remove(self->root.fd, "b")));
}

/* Named pools made through somebody else's session are one's own. */
TEST_F(two_users, a_session_of_roots_lends_no_quota)
{
	struct mempool_pool_create pool;
	char name[32];
	int i, ret = 0;

	for (i = 0; i < 20 && !ret; i++) {
		snprintf(name, sizeof(name), "q%d", i);
		ret = MP_AS(MP_USER_A, _test_pool_create(self->root.fd, name, 64, 1,
							 0600, 0, &pool));
	}
	EXPECT_EQ(-EDQUOT, ret);
	EXPECT_EQ(9, i);
}

/* ---- root of a namespace of one's own ------------------------------------------------ */

/* Become uid 0 of a new user namespace. */
static int become_a_little_root(void)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %d 1", getuid());
	/* Who has changed his uid does not own his /proc files until then. */
	prctl(PR_SET_DUMPABLE, 1);
	if (unshare(CLONE_NEWUSER))
		return -errno;
	mp_write_file("/proc/self/setgroups", "deny");
	return mp_write_file("/proc/self/uid_map", map);
}

static int try_as_little_root(void *arg)
{
	struct mempool_pool_create pool;
	struct mempool_pool_open open;
	struct mp_session s;
	int i, fd = *(int *)arg, ret = become_a_little_root();
	char name[32];

	if (ret == -EPERM || ret == -ENOSPC || ret == -EINVAL)
		return 77;
	CHECK(ret == 0);
	CHECK(geteuid() == 0);
	CHECK(_test_pool_remove(fd, "b") == -EPERM);
	CHECK(_test_pool_open(fd, "b", &open) == -EACCES);
	CHECK(_test_pool_remove(fd, "ours") == -EPERM);
	CHECK(access(MP_DEBUGFS "/sessions", R_OK) != 0);
	CHECK(mp_write_file(MP_SYSFS "/trim", "1") < 0);
	/* And the limit is that of the user behind. */
	CHECK(mp_session_open(&s) == 0);
	for (i = 0; i < 20 && !ret; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		ret = _test_pool_create(s.fd, name, 64, 1, 0600, 0, &pool);
	}
	CHECK(ret == -EDQUOT);
	CHECK(i == 9);
	return 0;
}

TEST_F(two_users, root_of_a_namespace_is_an_ordinary_user)
{
	struct mempool_pool_create pool;
	int ret;

	ASSERT_EQ(0, MP_AS(MP_USER_B, _test_pool_create(self->b.fd, "b", 64, 1, 0600,
							0, &pool)));
	ret = mp_run(MP_USER_A, try_as_little_root, &self->a.fd);
	if (ret == 77)
		SKIP(return, "no user namespaces for ordinary users");
	EXPECT_EQ(0, ret);
}

TEST_HARNESS_MAIN
