// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * Named block pools: names, members, blocks that go from one session to another,
 * and reset. Users, modes and lifetime: pool_lifetime.c.
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

/* ---- names ----------------------------------------------------------------------- */

static int create_name(int fd, const char *name, size_t len)
{
	struct mempool_pool_create arg = {
		.block_size = 64, .nr_blocks = 1, .mode = 0600,
	};
	int ret;

	memcpy(arg.name, name, len);
	ret = mp_ioctl(fd, MEMPOOL_IOC_POOL_CREATE, &arg);
	if (!ret)
		_test_pool_close(fd, arg.pool);
	return ret;
}

TEST_F(two_sessions, good_names_are_taken)
{
	static const char * const good[] = {
		"a", "Z", "0", "_", "-", "a.b", "a..", "_.", "-.-", "A-Za-z0-9",
		"0123456789012345678901234567890",	/* 31 */
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, create_name(self->a.fd, good[i],
					 strlen(good[i]))) {
			TH_LOG("%s", good[i]);
		}
	}
}

TEST_F(two_sessions, bad_names_are_einval)
{
	static const char * const bad[] = {
		".", "..", ".a", "a/b", "/", "a b", " ", "a\n", "\n", "a\t",
		"\x01", "a\x7f", "\xc3\xa4", "a*", "a:b", "a,b", "a=b", "a+b",
		"a%s", "a\\", "~a", "a!", "'", "\"",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, create_name(self->a.fd, bad[i],
					       strlen(bad[i]))) {
			TH_LOG("<%s>", bad[i]);
		}
	}
}

TEST_F(two_sessions, a_name_without_end_is_enametoolong)
{
	char name[MEMPOOL_NAME_LEN];
	struct mempool_pool_remove rm;

	memset(name, 'a', sizeof(name));
	memset(&rm, 'a', sizeof(rm));
	EXPECT_EQ(-ENAMETOOLONG, create_name(self->a.fd, name, sizeof(name)));
	EXPECT_EQ(-ENAMETOOLONG, mp_ioctl(self->a.fd, MEMPOOL_IOC_POOL_REMOVE,
					  &rm));
	memset(&self->joined, 0, sizeof(self->joined));
	memset(self->joined.name, 'a', sizeof(name));
	EXPECT_EQ(-ENAMETOOLONG, mp_ioctl(self->a.fd, MEMPOOL_IOC_POOL_OPEN,
					  &self->joined));
}

TEST_F(two_sessions, a_name_that_is_taken_is_eexist)
{
	ASSERT_EQ(0, make(0600, 0));
	EXPECT_EQ(-EEXIST, _test_pool_create(self->b.fd, NAME, 64, 1, 0600, 0,
					     &self->made));
}

TEST_F(two_sessions, names_differ_in_case)
{
	ASSERT_EQ(0, make(0600, 0));
	EXPECT_EQ(0, create_name(self->b.fd, "Frames", 6));
}

TEST_F(two_sessions, a_name_that_is_not_there_is_enoent)
{
	EXPECT_EQ(-ENOENT, join());
	EXPECT_EQ(-ENOENT, _test_pool_remove(self->b.fd, NAME));
}

TEST_F(two_sessions, an_empty_name_cannot_be_opened)
{
	EXPECT_EQ(-EINVAL, _test_pool_open(self->b.fd, "", &self->joined));
	EXPECT_EQ(-EINVAL, _test_pool_remove(self->b.fd, ""));
}

TEST_F(two_sessions, other_modes_are_einval)
{
	__u32 mode;

	for (mode = 0; mode < 010000; mode++) {
		if (mode == 0600 || mode == 0660 || mode == 0666)
			continue;
		ASSERT_EQ(-EINVAL, make(mode, 0)) {
			TH_LOG("mode %o", mode);
		}
	}
}

/* ---- members --------------------------------------------------------------------- */

TEST_F(two_sessions, open_tells_what_create_told)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	EXPECT_EQ(4096, self->joined.block_size);
	EXPECT_EQ(self->made.stride, self->joined.stride);
	EXPECT_EQ(10, self->joined.nr_blocks);
	EXPECT_EQ(MEMPOOL_DEFAULT_THRESHOLD, self->joined.threshold);
}

TEST_F(two_sessions, members_see_the_same_memory)
{
	unsigned char *at_a, *at_b;

	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	at_a = self->a.base + self->made.offset;
	at_b = self->b.base + self->joined.offset;
	strcpy((char *)at_a, "written by a");
	EXPECT_STREQ("written by a", (char *)at_b);
	strcpy((char *)at_b + 4096, "written by b");
	EXPECT_STREQ("written by b", (char *)at_a + 4096);
}

TEST_F(two_sessions, opening_twice_is_ealready)
{
	ASSERT_EQ(0, make(0600, 0));
	EXPECT_EQ(-EALREADY, _test_pool_open(self->a.fd, NAME, &self->joined));
	ASSERT_EQ(0, join());
	EXPECT_EQ(-EALREADY, join());
}

TEST_F(two_sessions, who_leaves_loses_sight_of_it)
{
	unsigned char *p;

	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	p = self->b.base + self->joined.offset;
	ASSERT_EQ(0, mp_poke(p, 1));
	ASSERT_EQ(0, _test_pool_close(self->b.fd, self->joined.pool));
	EXPECT_EQ(SIGBUS, mp_peek(p));
}

TEST_F(two_sessions, who_stays_keeps_it)
{
	unsigned char *p;

	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	p = self->b.base + self->joined.offset;
	strcpy((char *)p, "stays");
	ASSERT_EQ(0, _test_pool_close(self->a.fd, self->made.pool));
	EXPECT_STREQ("stays", (char *)p);
	EXPECT_EQ(0, _test_pool_get(self->b.fd, self->joined.pool, &self->t));
}

TEST_F(two_sessions, who_never_joined_sees_nothing)
{
	__u64 offset;

	ASSERT_EQ(0, make(0666, 0));
	memset(self->a.base + self->made.offset, 0xcc, 40960);
	for (offset = 0; offset < self->b.info.space_bytes; offset += MP_CHUNK)
		ASSERT_EQ(SIGBUS, mp_peek(self->b.base + offset));
}

TEST_F(two_sessions, members_are_counted)
{
	ASSERT_EQ(0, make(0600, 0));
	test_pool_stats(self->a.fd, self->made.pool, &self->st);
	ASSERT_EQ(1, self->st.members);
	ASSERT_EQ(0, join());
	test_pool_stats(self->a.fd, self->made.pool, &self->st);
	EXPECT_EQ(2, self->st.members);
}

TEST_F(two_sessions, what_each_holds_is_counted)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->a.fd, self->made.pool, &self->t);
	test_pool_get(self->a.fd, self->made.pool, &self->t);
	test_pool_get(self->b.fd, self->joined.pool, &self->t);
	test_pool_stats(self->b.fd, self->joined.pool, &self->st);
	EXPECT_EQ(1, self->st.held);
	EXPECT_EQ(3, self->st.issued);
}

/* ---- blocks that change hands ------------------------------------------------------ */

TEST_F(two_sessions, anothers_block_cannot_be_returned)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->a.fd, self->made.pool, &self->t);
	EXPECT_EQ(-ENOENT, _test_pool_return(self->b.fd, self->joined.pool,
					     self->t));
	test_pool_return(self->a.fd, self->made.pool, self->t);
}

TEST_F(two_sessions, an_adopted_block_is_the_adopters)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->a.fd, self->made.pool, &self->t);
	ASSERT_EQ(0, _test_pool_adopt(self->b.fd, self->joined.pool, self->t));
	EXPECT_EQ(-ENOENT, _test_pool_return(self->a.fd, self->made.pool,
					     self->t));
	EXPECT_EQ(0, _test_pool_return(self->b.fd, self->joined.pool,
				       self->t));
}

TEST_F(two_sessions, adoption_keeps_the_generation)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->a.fd, self->made.pool, &self->t);
	ASSERT_EQ(0, _test_pool_adopt(self->b.fd, self->joined.pool, self->t));
	EXPECT_EQ(0, _test_pool_adopt(self->a.fd, self->made.pool, self->t));
}

TEST_F(two_sessions, a_free_block_cannot_be_adopted)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->a.fd, self->made.pool, &self->t);
	test_pool_return(self->a.fd, self->made.pool, self->t);
	self->t.generation++;
	EXPECT_EQ(-ENOENT, _test_pool_adopt(self->b.fd, self->joined.pool,
					    self->t));
}

TEST_F(two_sessions, leaving_returns_what_was_held)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->b.fd, self->joined.pool, &self->t);
	ASSERT_EQ(0, _test_pool_close(self->b.fd, self->joined.pool));
	test_pool_stats(self->a.fd, self->made.pool, &self->st);
	EXPECT_EQ(0, self->st.issued);
}

TEST_F(two_sessions, leaving_does_not_return_what_was_adopted)
{
	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->b.fd, self->joined.pool, &self->t);
	ASSERT_EQ(0, _test_pool_adopt(self->a.fd, self->made.pool, self->t));
	ASSERT_EQ(0, _test_pool_close(self->b.fd, self->joined.pool));
	EXPECT_EQ(0, _test_pool_return(self->a.fd, self->made.pool, self->t));
}

struct holder {
	int sock;
};

static int hold_a_block(void *arg)
{
	struct holder *h = arg;
	struct mempool_pool_open joined;
	struct mempool_token t;
	int fd = open(MP_DEV, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(_test_pool_open(fd, NAME, &joined) == 0);
	CHECK(_test_pool_get(fd, joined.pool, &t) == 0);
	CHECK(mp_tell(h->sock, &t, sizeof(t)));
	for (;;)
		pause();
}

TEST_F(two_sessions, a_killed_holders_block_is_returned)
{
	struct mp_link link;
	struct holder h;
	pid_t pid;

	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, mp_link_open(&link));
	h.sock = link.theirs;
	pid = mp_spawn(0, hold_a_block, &h);
	ASSERT_TRUE(mp_hear(link.ours, &self->t, sizeof(self->t)));
	ASSERT_EQ(-SIGKILL, mp_kill(pid));
	test_pool_stats(self->a.fd, self->made.pool, &self->st);
	EXPECT_EQ(0, self->st.issued);
	EXPECT_EQ(1, self->st.members);
	mp_link_close(&link);
}

/* A token in a pipe whose sender was killed, after the block was issued anew. */
TEST_F(two_sessions, a_dead_producers_token_is_estale)
{
	struct mempool_token again;
	struct mp_link link;
	struct holder h;
	pid_t pid;

	ASSERT_EQ(0, make(0600, 0));
	ASSERT_EQ(0, join());
	ASSERT_EQ(0, mp_link_open(&link));
	h.sock = link.theirs;
	pid = mp_spawn(0, hold_a_block, &h);
	ASSERT_TRUE(mp_hear(link.ours, &self->t, sizeof(self->t)));
	ASSERT_EQ(-SIGKILL, mp_kill(pid));
	test_pool_get(self->b.fd, self->joined.pool, &again);
	ASSERT_EQ(self->t.index, again.index);	/* else it shows nothing */
	EXPECT_EQ(-ESTALE, _test_pool_adopt(self->a.fd, self->made.pool,
					    self->t));
	EXPECT_EQ(0, _test_pool_return(self->b.fd, self->joined.pool, again));
	mp_link_close(&link);
}

/* ---- reset ------------------------------------------------------------------------ */

TEST_F(two_sessions, reset_is_ebusy_while_another_holds_a_block)
{
	ASSERT_EQ(0, make(0666, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->b.fd, self->joined.pool, &self->t);
	EXPECT_EQ(-EBUSY, (int)_test_pool_reset(self->a.fd, self->made.pool, 0));
	test_pool_stats(self->a.fd, self->made.pool, &self->st);
	EXPECT_EQ(1, self->st.issued);
}

TEST_F(two_sessions, reset_of_own_blocks_is_done)
{
	ASSERT_EQ(0, make(0666, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->b.fd, self->joined.pool, &self->t);
	EXPECT_EQ(1, _test_pool_reset(self->b.fd, self->joined.pool, 0));
}

TEST_F(two_sessions, reset_can_be_forced_by_the_creator)
{
	ASSERT_EQ(0, make(0666, 0));
	ASSERT_EQ(0, join());
	test_pool_get(self->b.fd, self->joined.pool, &self->t);
	ASSERT_EQ(1, _test_pool_reset(self->a.fd, self->made.pool,
				      MEMPOOL_RESET_FORCE));
	EXPECT_EQ(-ESTALE, _test_pool_return(self->b.fd, self->joined.pool,
					     self->t));
}

TEST_F(two_sessions, reset_cannot_be_forced_by_another_user)
{
	int fd;

	ASSERT_EQ(0, make(0666, 0));
	test_pool_get(self->a.fd, self->made.pool, &self->t);
	fd = mp_open_as(MP_USER_A, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, MP_AS(MP_USER_A, _test_pool_open(fd, NAME, &self->joined)));
	EXPECT_EQ(-EPERM, MP_AS(MP_USER_A,
			     _test_pool_reset(fd, self->joined.pool,
					      MEMPOOL_RESET_FORCE)));
	close(fd);
}

TEST_HARNESS_MAIN
