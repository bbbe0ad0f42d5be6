// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A page that something still refers to is not handed on when it is given back:
 * its chunk is pinned, charged to who gave it back, and free once the reference
 * has gone. A pipe is what refers to it here; other ways: ordinary_io.c.
 */
#include "mp_proc.h"

#define SECRET	0xa5

FIXTURE(block_of_a_chunk) {
	struct mp_session s;
	__u64 offset;
	unsigned char *p;
	int pipe[2];
};

FIXTURE_SETUP(block_of_a_chunk)
{
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC | O_NONBLOCK));
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	self->offset = test_alloc_one(self->s.fd, MP_CHUNK);
	self->p = self->s.base + self->offset;
}

FIXTURE_TEARDOWN(block_of_a_chunk)
{
	mp_session_close(&self->s);
	close(self->pipe[0]);
	close(self->pipe[1]);
	EXPECT_TRUE(mp_settled());
}

/* Put @len bytes at @p into the pipe by reference. */
static int splice_in(int fd, void *p, size_t len)
{
	struct iovec iov = { p, len };

	return vmsplice(fd, &iov, 1, SPLICE_F_NONBLOCK) == (ssize_t)len ?
	       0 : -errno;
}

static int give_back(struct mp_session *s, __u64 offset)
{
	int ret = _test_release_one(s->fd, offset);
	long long trimmed = ret ?: _test_ioctl_trim(s->fd);

	return trimmed < 0 ? trimmed : 0;
}

/* Take all that can be had, fill it; how many chunks. */
static int take_all(struct mp_session *s, unsigned char value)
{
	long long offset;
	int n = 0;

	_test_configure_granularity(s->fd, MP_CHUNK);
	while ((offset = _test_alloc_one(s->fd, MP_CHUNK)) >= 0) {
		memset(s->base + offset, value, MP_CHUNK);
		n++;
	}
	return n;
}

/* ---- vmsplice ----------------------------------------------------------------------- */

TEST_F(block_of_a_chunk, a_page_in_a_pipe_pins_its_chunk)
{
	self->p[0] = 1;
	ASSERT_EQ(0, splice_in(self->pipe[1], self->p, 4096));
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	EXPECT_EQ(1, mp_sysfs_wait("chunks_pinned", 1));
}

TEST_F(block_of_a_chunk, any_page_pins_its_chunk)
{
	self->p[0] = 1;
	ASSERT_EQ(0, splice_in(self->pipe[1], self->p + 300 * 4096, 4096));
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	EXPECT_EQ(1, mp_sysfs_wait("chunks_pinned", 1));
}

TEST_F(block_of_a_chunk, a_pinned_chunk_comes_free_with_its_last_reference)
{
	char buf[4096];

	ASSERT_EQ(0, splice_in(self->pipe[1], self->p, 4096));
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	ASSERT_EQ(1, mp_sysfs_wait("chunks_pinned", 1));
	ASSERT_EQ(4096, read(self->pipe[0], buf, 4096));
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
	EXPECT_TRUE(mp_settled());
}

TEST_F(block_of_a_chunk, the_next_owners_data_never_appear_in_the_pipe)
{
	unsigned char buf[4096];
	struct mp_session b;

	memset(self->p, 1, MP_CHUNK);
	ASSERT_EQ(0, splice_in(self->pipe[1], self->p, 4096));
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	ASSERT_EQ(0, mp_session_open(&b));
	ASSERT_EQ(MP_CHUNKS - 1, take_all(&b, SECRET));
	ASSERT_EQ(4096, read(self->pipe[0], buf, 4096));
	EXPECT_EQ(0, mp_count_not(buf, 1, 4096));
	mp_session_close(&b);
}

TEST_F(block_of_a_chunk, a_pinned_chunk_is_cleaned_before_it_is_handed_on)
{
	struct mp_session b;
	char buf[4096];
	long long offset;
	int i;

	memset(self->p, SECRET, MP_CHUNK);
	ASSERT_EQ(0, splice_in(self->pipe[1], self->p, 4096));
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	ASSERT_EQ(1, mp_sysfs_wait("chunks_pinned", 1));
	ASSERT_EQ(4096, read(self->pipe[0], buf, 4096));
	ASSERT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
	ASSERT_EQ(0, mp_session_open(&b));
	ASSERT_EQ(0, _test_configure_granularity(b.fd, MP_CHUNK));
	for (i = 0; i < MP_CHUNKS; i++) {
		offset = _test_alloc_one(b.fd, MP_CHUNK);
		ASSERT_LE(0, offset);
		ASSERT_EQ(0, mp_count_not(b.base + offset, 0, MP_CHUNK));
	}
	mp_session_close(&b);
}

TEST_F(block_of_a_chunk, a_request_looks_at_pinned_chunks_again)
{
	struct mp_session b;
	char buf[4096];
	int i;

	ASSERT_EQ(0, mp_session_open(&b));
	/* Let the chunk be looked at again only after long. */
	ASSERT_EQ(0, splice_in(self->pipe[1], self->p, 4096));
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	for (i = 0; i < 200; i++)
		mp_sleep_ms(10);
	ASSERT_EQ(1, mp_sysfs("chunks_pinned"));
	ASSERT_EQ(4096, read(self->pipe[0], buf, 4096));
	EXPECT_EQ(MP_CHUNKS, take_all(&b, 1));
	mp_session_close(&b);
}

TEST_F(block_of_a_chunk, a_pinned_chunk_stays_charged_to_its_session)
{
	struct mempool_session_stats st;

	ASSERT_EQ(0, splice_in(self->pipe[1], self->p, 4096));
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	ASSERT_EQ(1, mp_sysfs_wait("chunks_pinned", 1));
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(MP_CHUNK, st.pinned_bytes);
}

TEST_F(block_of_a_chunk, a_pin_outlives_its_session_in_the_books)
{
	struct mp_books b;

	ASSERT_EQ(0, splice_in(self->pipe[1], self->p, 4096));
	mp_session_close(&self->s);
	EXPECT_EQ(1, mp_sysfs_wait("chunks_pinned", 1));
	EXPECT_TRUE(mp_books_balance(&b));
	EXPECT_EQ(0, mp_sysfs("sessions"));
}

/*
 * One page of every chunk pinned and given back, in a loop, by an ordinary user:
 * it ends at that user's limit, takes nothing from the machine, and another user
 * proceeds.
 */
static int pin_in_a_loop(void *arg)
{
	int *sock = arg, n, p[2];
	struct mp_session s;
	long long offset;

	CHECK(mp_session_open(&s) == 0);
	CHECK(_test_configure_granularity(s.fd, MP_CHUNK) == 0);
	for (n = 0; n < 1000; n++) {
		offset = _test_alloc_one(s.fd, MP_CHUNK);
		if (offset < 0)
			break;
		CHECK(pipe(p) == 0);
		CHECK(splice_in(p[1], s.base + offset, 4096) == 0);
		CHECK(give_back(&s, offset) == 0);
	}
	CHECK(offset == -EDQUOT);
	CHECK(mp_tell(*sock, &n, sizeof(n)));
	CHECK(mp_await(*sock));
	return 0;
}

FIXTURE(module_with_user_limit) {
	struct mp_link link;
};

FIXTURE_SETUP(module_with_user_limit)
{
	ASSERT_EQ(0, mp_link_open(&self->link));
	ASSERT_EQ(0, mp_require(MP_RESERVE " user_limit=32M"));
}

FIXTURE_TEARDOWN(module_with_user_limit)
{
	mp_link_close(&self->link);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_with_user_limit, pins_in_a_loop_end_at_the_users_limit)
{
	pid_t pid = mp_spawn(MP_USER_A, pin_in_a_loop, &self->link.theirs);
	int n = 0;

	ASSERT_TRUE(mp_hear(self->link.ours, &n, sizeof(n)));
	EXPECT_EQ(16, n);
	EXPECT_EQ(16, mp_sysfs_wait("chunks_pinned", 16));
	ASSERT_TRUE(mp_step(self->link.ours));
	EXPECT_EQ(0, mp_reap(pid));
}

TEST_F(module_with_user_limit, pins_in_a_loop_take_nothing_from_the_machine)
{
	long long before = mp_proc_number("/proc/meminfo", "MemFree:"), after;
	pid_t pid = mp_spawn(MP_USER_A, pin_in_a_loop, &self->link.theirs);
	int n;

	ASSERT_TRUE(mp_hear(self->link.ours, &n, sizeof(n)));
	after = mp_proc_number("/proc/meminfo", "MemFree:");
	ksft_print_msg("MemFree %lld kB, then %lld kB\n", before, after);
	/* 16 replaced chunks would be 32 MiB; the child itself needs a little. */
	EXPECT_LT(before - after, 12 << 10);
	EXPECT_EQ(0, mp_sysfs("chunks_replaced"));
	ASSERT_TRUE(mp_step(self->link.ours));
	EXPECT_EQ(0, mp_reap(pid));
}

static int take_half(void *arg)
{
	struct mp_session s;

	CHECK(mp_session_open(&s) == 0);
	CHECK(take_all(&s, 1) == 16);
	return 0;
}

TEST_F(module_with_user_limit, another_user_proceeds_beside_pins)
{
	pid_t pid = mp_spawn(MP_USER_A, pin_in_a_loop, &self->link.theirs);
	int n;

	ASSERT_TRUE(mp_hear(self->link.ours, &n, sizeof(n)));
	EXPECT_EQ(0, mp_run(MP_USER_B, take_half, NULL));
	ASSERT_TRUE(mp_step(self->link.ours));
	EXPECT_EQ(0, mp_reap(pid));
}

FIXTURE(module_with_session_limit) {
	struct mp_session s;
	int pipe[2];
};

FIXTURE_SETUP(module_with_session_limit)
{
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC | O_NONBLOCK));
	ASSERT_EQ(0, mp_require(MP_RESERVE " session_limit=8M"));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
}

FIXTURE_TEARDOWN(module_with_session_limit)
{
	mp_session_close(&self->s);
	close(self->pipe[0]);
	close(self->pipe[1]);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_with_session_limit, pinned_chunks_count_in_it)
{
	__u64 offset;
	int i;

	for (i = 0; i < 3; i++) {
		offset = test_alloc_one(self->s.fd, MP_CHUNK);
		ASSERT_EQ(0, splice_in(self->pipe[1], self->s.base + offset,
				       4096));
		ASSERT_EQ(0, give_back(&self->s, offset));
	}
	ASSERT_EQ(3, mp_sysfs_wait("chunks_pinned", 3));
	EXPECT_EQ(1, take_all(&self->s, 1));
}

/* ---- spare= -------------------------------------------------------------------------- */

FIXTURE(module_with_2_spare_chunks) {
	struct mp_session s;
	int pipe[2];
};

FIXTURE_SETUP(module_with_2_spare_chunks)
{
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC | O_NONBLOCK));
	ASSERT_EQ(0, mp_require(MP_RESERVE " spare=2"));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
}

FIXTURE_TEARDOWN(module_with_2_spare_chunks)
{
	mp_session_close(&self->s);
	close(self->pipe[0]);
	close(self->pipe[1]);
	EXPECT_TRUE(mp_settled());
}

/* Pin @n chunks at once and give them back. */
static int pin_some(struct mp_session *s, int pipe, int n)
{
	__u64 offset[8];
	int i, ret = 0;

	for (i = 0; i < n; i++)
		offset[i] = _test_alloc_one(s->fd, MP_CHUNK);
	for (i = 0; i < n && !ret; i++) {
		memset(s->base + offset[i], SECRET, MP_CHUNK);
		ret = splice_in(pipe, s->base + offset[i], 4096);
	}
	for (i = 0; i < n && !ret; i++)
		ret = _test_release_one(s->fd, offset[i]);
	if (!ret)
		ret = _test_ioctl_trim(s->fd) < 0;
	return ret;
}

TEST_F(module_with_2_spare_chunks, pinned_chunks_are_replaced_when_memory_is_short)
{
	struct mp_session b;

	ASSERT_EQ(0, pin_some(&self->s, self->pipe[1], 2));
	ASSERT_EQ(0, mp_session_open(&b));
	EXPECT_LE(MP_CHUNKS - 2, take_all(&b, 1));
	EXPECT_GE(2, mp_sysfs("chunks_replaced"));
	mp_session_close(&b);
}

TEST_F(module_with_2_spare_chunks, no_more_than_spare_are_replaced)
{
	long long before = mp_proc_number("/proc/meminfo", "MemFree:"), after;
	struct mp_session b;
	int i, n;

	ASSERT_EQ(0, mp_session_open(&b));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pin_some(&self->s, self->pipe[1], 4));
		mp_sleep_ms(300);
	}
	n = take_all(&b, 1);
	after = mp_proc_number("/proc/meminfo", "MemFree:");
	ksft_print_msg("16 pinned, %d had, MemFree %lld kB then %lld kB\n", n,
		       before, after);
	EXPECT_GE(MP_CHUNKS - 16 + 2, n);
	EXPECT_LT(before - after, 12 << 10);
	mp_session_close(&b);
}

TEST_F(module_with_2_spare_chunks, a_replaced_chunk_is_zero)
{
	struct mp_session b;
	long long offset;

	ASSERT_EQ(0, pin_some(&self->s, self->pipe[1], 2));
	ASSERT_EQ(0, mp_session_open(&b));
	ASSERT_EQ(0, _test_configure_granularity(b.fd, MP_CHUNK));
	while ((offset = _test_alloc_one(b.fd, MP_CHUNK)) >= 0)
		ASSERT_EQ(0, mp_count_not(b.base + offset, 0, MP_CHUNK));
	mp_session_close(&b);
}

TEST_HARNESS_MAIN
