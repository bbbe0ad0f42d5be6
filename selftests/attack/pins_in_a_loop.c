// SPDX-License-Identifier: MIT OR GPL-2.0
// modules: fuse
/*
 * "Who pins one page of every chunk and gives the chunk back, again and again,
 * takes the machine's memory, or everybody's."
 *
 * Buffers registered with io_uring, pages in the queues of sockets and in pipes,
 * and transfers to and from a file whose file system never answers.
 */
#include <linux/io_uring.h>

#include "silent.h"

#define LIMIT	8	/* chunks a user may own */

struct pinner {
	int (*pin)(void *p);
	struct mp_link link;
};

static int in_a_ring(void *p)
{
	struct io_uring_params params = { 0 };
	struct iovec iov = { p, 4096 };
	int fd = syscall(SYS_io_uring_setup, 2, &params);

	if (fd < 0 || syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1))
		return -errno;
	return 0;
}

static int in_a_socket(void *p)
{
	struct iovec iov = { p, 4096 };
	int fds[2], sv[2], size = 1 << 20;

	if (pipe(fds) || socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		return -errno;
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (vmsplice(fds[1], &iov, 1, 0) != 4096 ||
	    splice(fds[0], NULL, sv[0], NULL, 4096, 0) != 4096)
		return -errno;
	return 0;
}

static int in_a_silent_file(unsigned int opcode, void *p)
{
	static aio_context_t ctx;

	return mp_silent_begin(&ctx, opcode, p, 4096);
}

static int in_a_silent_read(void *p)
{
	return in_a_silent_file(IOCB_CMD_PREAD, p);
}

static int in_a_silent_write(void *p)
{
	return in_a_silent_file(IOCB_CMD_PWRITE, p);
}

/* As an ordinary user: until it is refused, then a thousand times more. */
static int pin_and_give(void *arg)
{
	struct pinner *w = arg;
	struct mp_session s;
	long long offset;
	int i, ret, pinned = 0;

	CHECK(mp_session_of_chunks(&s) == 0);
	for (i = 0; i < 1000; i++) {
		offset = _test_alloc_one(s.fd, MP_CHUNK);
		if (offset < 0) {
			CHECK(offset == -EDQUOT);
			continue;
		}
		CHECK(pinned < LIMIT);
		ret = w->pin(s.base + offset);
		if (ret) {
			CHECK(ret == -EOPNOTSUPP);
			pinned = ret;
			break;
		}
		pinned++;
		CHECK(mp_give_all(&s) == 0);
	}
	CHECK(mp_tell(w->link.theirs, &pinned, sizeof(pinned)));
	while (pause())
		;
	return 0;
}

FIXTURE(pinner) {
	struct pinner w;
	struct mp_silent file;
	long long free;
	pid_t pid;
	int pinned;
};

FIXTURE_VARIANT(pinner) {
	int (*pin)(void *p);
	bool copies, silent;
};

/* A socket may copy: then nothing is pinned, and nothing lost. */
FIXTURE_VARIANT_ADD(pinner, io_uring) { .pin = in_a_ring };
FIXTURE_VARIANT_ADD(pinner, socket) { .pin = in_a_socket, .copies = true };
FIXTURE_VARIANT_ADD(pinner, silent_read) { .pin = in_a_silent_read, .silent = true };
FIXTURE_VARIANT_ADD(pinner, silent_write) { .pin = in_a_silent_write, .silent = true };

FIXTURE_SETUP(pinner)
{
	struct rlimit locked = { 64 << 20, 64 << 20 };

	ASSERT_EQ(0, mp_require("reserve=64M user_limit=16M"));
	/* A buffer is charged with all of its chunk. */
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &locked));
	self->w.pin = variant->pin;
	if (variant->silent)
		ASSERT_TRUE(mp_silent_start(&self->file));
	ASSERT_EQ(0, mp_link_open(&self->w.link));
	self->free = mp_proc_number("/proc/meminfo", "MemAvailable:");
	self->pid = mp_spawn(MP_USER_A, pin_and_give, &self->w);
	close(self->w.link.theirs);
	self->w.link.theirs = -1;
	ASSERT_TRUE(mp_hear(self->w.link.ours, &self->pinned, sizeof(int)));
	if (self->pinned == -EOPNOTSUPP) {
		mp_kill(self->pid);	/* no teardown follows */
		SKIP(return, "this kernel pins no mapping of a file this way");
	}
}

FIXTURE_TEARDOWN(pinner)
{
	if (variant->silent)
		mp_silent_stop(&self->file);
	mp_kill(self->pid);
	mp_link_close(&self->w.link);
	EXPECT_TRUE(mp_settled());
}

TEST_F(pinner, takes_no_more_than_its_user_may)
{
	long long now = mp_proc_number("/proc/meminfo", "MemAvailable:");

	ksft_print_msg("%d pinned, MemAvailable %lld kB, then %lld kB\n",
		       self->pinned, self->free, now);
	EXPECT_GE(LIMIT, mp_sysfs("chunks_pinned"));
	EXPECT_TRUE(variant->copies || mp_sysfs("chunks_pinned") == LIMIT);
	if (variant->silent)
		EXPECT_TRUE(mp_silent_asked(&self->file, LIMIT));
	EXPECT_EQ(0, mp_sysfs("chunks_replaced"));
	/* Less than four chunks: it is the process itself, its rings or sockets. */
	EXPECT_LT(self->free - now, 8 << 10);
}

static int take_the_rest(void *arg)
{
	struct mp_session s;

	CHECK(mp_session_of_chunks(&s) == 0);
	CHECK(mp_take_all(&s, 3) == LIMIT);
	CHECK(mp_give_all(&s) == 0);
	CHECK(mp_take_all(&s, 4) == LIMIT);
	return 0;
}

TEST_F(pinner, leaves_others_what_is_theirs)
{
	EXPECT_EQ(0, mp_run(MP_USER_B, take_the_rest, NULL));
}

/* Whoever began the transfers lives on, and so does the session. */
TEST(a_server_that_dies_gives_all_chunks_back)
{
	struct pinner w = { .pin = in_a_silent_read };
	struct mp_silent file;
	int pinned = 0;
	pid_t pid;

	ASSERT_EQ(0, mp_require("reserve=64M user_limit=16M"));
	ASSERT_TRUE(mp_silent_start(&file));
	ASSERT_EQ(0, mp_link_open(&w.link));
	pid = mp_spawn(MP_USER_A, pin_and_give, &w);
	close(w.link.theirs);
	ASSERT_TRUE(mp_hear(w.link.ours, &pinned, sizeof(pinned)));
	EXPECT_EQ(LIMIT, pinned);
	EXPECT_EQ(LIMIT, mp_sysfs("chunks_pinned"));
	mp_silent_stop(&file);
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
	EXPECT_EQ(1, mp_sysfs("sessions"));
	/* The user may have them again. */
	EXPECT_EQ(0, mp_run(MP_USER_A, take_the_rest, NULL));
	mp_kill(pid);
	w.link.theirs = -1;
	mp_link_close(&w.link);
	EXPECT_TRUE(mp_settled());
}

static int pin_all(void *arg)
{
	const struct mp_link *link = arg;
	struct mp_session s;
	long long offset;
	int pinned, fds[2];

	CHECK(mp_session_of_chunks(&s) == 0);
	for (pinned = 0; pinned < 64; pinned++) {
		struct iovec iov;

		offset = _test_alloc_one(s.fd, MP_CHUNK);
		if (offset == -ENOMEM)
			break;
		CHECK(offset >= 0 && !pipe(fds));
		iov = (struct iovec){ s.base + offset, 4096 };
		CHECK(vmsplice(fds[1], &iov, 1, 0) == 4096);
		CHECK(mp_give_all(&s) == 0);
	}
	CHECK(mp_tell(link->theirs, &pinned, sizeof(pinned)));
	while (pause())
		;
	return 0;
}

/* Where no limit is set all of the reserve can be pinned, and spare= more. */
TEST(without_a_limit_spare_is_the_bound)
{
	struct mp_session other;
	struct mp_link link;
	int pinned;
	pid_t pid;

	ASSERT_EQ(0, mp_require("reserve=64M spare=2"));
	ASSERT_EQ(0, mp_link_open(&link));
	pid = mp_spawn(MP_USER_A, pin_all, &link);
	close(link.theirs);
	ASSERT_TRUE(mp_hear(link.ours, &pinned, sizeof(pinned)));
	EXPECT_EQ(32 + 2, pinned);
	EXPECT_EQ(2, mp_sysfs("chunks_replaced"));
	ASSERT_EQ(0, mp_session_of_chunks(&other));
	EXPECT_EQ(-ENOMEM, _test_alloc_one(other.fd, MP_CHUNK));
	mp_kill(pid);
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
	EXPECT_LE(0, _test_alloc_one(other.fd, MP_CHUNK));
	mp_session_close(&other);
	link.theirs = -1;
	mp_link_close(&link);
	EXPECT_TRUE(mp_settled());
}

TEST_HARNESS_MAIN
