// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "A session that changes hands in the middle of its work, whose sender is
 * killed, loses memory or keeps it for ever."
 */
#include "attack.h"

FIXTURE(passed_session) {
	struct mp_link link;
};

FIXTURE_SETUP(passed_session)
{
	ASSERT_EQ(0, mp_require("reserve=16M"));
	ASSERT_EQ(0, mp_link_open(&self->link));
}

FIXTURE_TEARDOWN(passed_session)
{
	mp_link_close(&self->link);
	EXPECT_TRUE(mp_settled());
}

static void *work_for_ever(void *arg)
{
	struct mp_session *s = arg;
	long long offset;

	for (;;) {
		offset = _test_alloc_one(s->fd, MP_CHUNK);
		if (offset < 0)
			continue;
		memset(s->base + offset, 7, MP_CHUNK);
		_test_release_one(s->fd, offset);
		_test_ioctl_trim(s->fd);
	}
	return NULL;
}

/* Works in two threads, passes the descriptor and waits for its end. */
static int pass_on(void *arg)
{
	struct mp_link *link = arg;
	struct mp_session s;
	pthread_t threads[2];
	long long offset;
	int i;

	CHECK(mp_session_of_chunks(&s) == 0);
	offset = _test_alloc_one(s.fd, MP_CHUNK);
	CHECK(offset >= 0);
	memset(s.base + offset, 0x5a, MP_CHUNK);
	for (i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, work_for_ever, &s) == 0);
	CHECK(mp_send_fd(link->theirs, s.fd));
	CHECK(mp_tell(link->theirs, &offset, sizeof(offset)));
	for (;;)
		pause();
}

TEST_F(passed_session, goes_on_when_its_sender_is_killed)
{
	int i, n = mp_rounds(40);
	struct mp_session s;
	struct mp_books b;
	long long offset;
	pid_t pid;

	for (i = 0; i < n; i++) {
		pid = mp_spawn(0, pass_on, &self->link);
		s.fd = mp_recv_fd(self->link.ours);
		ASSERT_LE(0, s.fd);
		ASSERT_TRUE(mp_hear(self->link.ours, &offset, sizeof(offset)));
		ASSERT_EQ(0, mp_info(s.fd, &s.info));
		ASSERT_EQ(0, mp_map(&s, PROT_READ | PROT_WRITE));
		ASSERT_EQ(-SIGKILL, mp_kill(pid));
		/* What it held it holds, and it still works. */
		ASSERT_EQ(0, mp_count_not(s.base + offset, 0x5a, MP_CHUNK));
		ASSERT_EQ(0, _test_release_one(s.fd, offset));
		ASSERT_EQ(0, _test_release_all(s.fd));
		ASSERT_LE(0, _test_alloc_one(s.fd, MP_CHUNK));
		mp_session_close(&s);
		ASSERT_TRUE(mp_books_balance(&b));
	}
}

/* A descriptor that only its own socket's queue refers to, in a circle. */
TEST_F(passed_session, in_a_circle_of_sockets_comes_back)
{
	struct mp_session s;
	struct mp_link l;
	int i;

	for (i = 0; i < 6; i++) {
		ASSERT_EQ(0, mp_session_of_chunks(&s));
		ASSERT_LE(0, _test_alloc_one(s.fd, MP_CHUNK));
		ASSERT_EQ(0, mp_link_open(&l));
		ASSERT_TRUE(mp_send_fd(l.ours, s.fd));
		ASSERT_TRUE(mp_send_fd(l.ours, l.theirs));
		ASSERT_TRUE(mp_send_fd(l.theirs, l.ours));
		mp_session_close(&s);
		mp_link_close(&l);
	}
	/* The kernel looks for circles when the next socket is closed. */
	ASSERT_EQ(0, mp_link_open(&l));
	mp_link_close(&l);
	EXPECT_TRUE(mp_settled());
}

TEST_HARNESS_MAIN
