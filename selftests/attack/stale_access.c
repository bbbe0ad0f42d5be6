// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "Memory that was given back can still be reached, by some path of the kernel
 * that is not a touch."
 *
 * A session gives its memory back, another one takes all there is and fills it
 * with a secret. Whoever then asks for the old address, by any call, gets an
 * error, or what was there before.
 */
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/user.h>

#include "attack.h"

#define SECRET	0xa5
#define OWN	0x11
#define CHUNKS	4

FIXTURE(memory_that_is_anothers) {
	struct mp_session a, b;
	unsigned char *p;		/* a's, until it was given back */
	__u64 offset;
	pid_t child;			/* shares a's mapping */
	int pipe[2];
};

static int sleep_for_ever(void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (pause())
		;
	return 0;
}

FIXTURE_SETUP(memory_that_is_anothers)
{
	ASSERT_EQ(0, mp_require("reserve=8M"));
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC | O_NONBLOCK));
	ASSERT_EQ(0, mp_session_of_chunks(&self->a));
	ASSERT_EQ(0, mp_session_of_chunks(&self->b));
	self->offset = test_alloc_one(self->a.fd, MP_CHUNK);
	self->p = self->a.base + self->offset;
	memset(self->p, OWN, MP_CHUNK);
	self->child = mp_spawn(0, sleep_for_ever, NULL);
}

FIXTURE_TEARDOWN(memory_that_is_anothers)
{
	mp_kill(self->child);
	mp_session_close(&self->a);
	mp_session_close(&self->b);
	close(self->pipe[0]);
	close(self->pipe[1]);
	EXPECT_TRUE(mp_settled());
}

/* From here on it is b's; @pinned chunks cannot be. */
#define hand_over(pinned)						\
	do {								\
		ASSERT_EQ(0, mp_give_all(&self->a));			\
		ASSERT_EQ(CHUNKS - (pinned), mp_take_all(&self->b, SECRET)); \
	} while (0)

/* Every byte of b's, wherever its blocks are. */
static size_t strange_bytes(struct mp_session *b, int chunks)
{
	size_t n = 0;
	int i;

	for (i = 0; i < chunks; i++)
		n += mp_count_not(b->base + (size_t)i * MP_CHUNK, SECRET,
				  MP_CHUNK);
	return n;
}

TEST_F(memory_that_is_anothers, is_not_read_by_process_vm_readv)
{
	unsigned char buf[64] = { 0 };
	struct iovec to = { buf, 64 }, from = { self->p, 64 };

	hand_over(0);
	EXPECT_EQ(-1, process_vm_readv(self->child, &to, 1, &from, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, mp_count_not(buf, 0, 64));
}

TEST_F(memory_that_is_anothers, is_not_written_by_process_vm_writev)
{
	unsigned char buf[64] = { 1 };
	struct iovec from = { buf, 64 }, to = { self->p, 64 };

	hand_over(0);
	EXPECT_EQ(-1, process_vm_writev(self->child, &from, 1, &to, 1, 0));
	EXPECT_EQ(0, strange_bytes(&self->b, CHUNKS));
}

TEST_F(memory_that_is_anothers, is_not_in_proc_mem)
{
	unsigned char buf[64] = { 0 };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", self->child);
	fd = open(path, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(64, pread(fd, buf, 64, (off_t)(uintptr_t)self->p));
	memset(buf, 0, 64);
	hand_over(0);
	EXPECT_EQ(-1, pread(fd, buf, 64, (off_t)(uintptr_t)self->p));
	EXPECT_EQ(-1, pwrite(fd, buf, 64, (off_t)(uintptr_t)self->p));
	EXPECT_EQ(0, mp_count_not(buf, 0, 64));
	EXPECT_EQ(0, strange_bytes(&self->b, CHUNKS));
	close(fd);
}

TEST_F(memory_that_is_anothers, is_not_peeked_by_ptrace)
{
	int status;

	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, self->child, 0, 0));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, self->child, 0, 0));
	ASSERT_EQ(self->child, waitpid(self->child, &status, 0));
	errno = 0;
	EXPECT_EQ(0x1111111111111111, ptrace(PTRACE_PEEKDATA, self->child, self->p, 0));
	hand_over(0);
	errno = 0;
	EXPECT_EQ(-1, ptrace(PTRACE_PEEKDATA, self->child, self->p, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, self->child, self->p, 0));
	EXPECT_EQ(0, strange_bytes(&self->b, CHUNKS));
}

TEST_F(memory_that_is_anothers, is_not_spliced_or_written_out)
{
	struct iovec iov = { self->p, 4096 };
	unsigned char vec;

	hand_over(0);
	EXPECT_EQ(-1, vmsplice(self->pipe[1], &iov, 1, SPLICE_F_NONBLOCK));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, write(self->pipe[1], self->p, 4096));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(4096, write(self->pipe[1], self->b.base, 4096));
	EXPECT_EQ(-1, read(self->pipe[0], self->p, 4096));
	EXPECT_EQ(-1, syscall(SYS_futex, self->p, FUTEX_WAKE, 1, NULL, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, mincore(self->p, 4096, &vec));
}

TEST_F(memory_that_is_anothers, in_a_pipe_it_is_what_it_was)
{
	unsigned char buf[4096];
	struct iovec iov = { self->p + 4096, 4096 };
	int second[2];

	ASSERT_EQ(4096, vmsplice(self->pipe[1], &iov, 1, SPLICE_F_NONBLOCK));
	ASSERT_EQ(0, pipe2(second, O_CLOEXEC | O_NONBLOCK));
	hand_over(1);
	/* The reference goes on to a second pipe, twice. */
	ASSERT_EQ(4096, tee(self->pipe[0], second[1], 4096, 0));
	ASSERT_EQ(4096, read(self->pipe[0], buf, 4096));
	EXPECT_EQ(0, mp_count_not(buf, OWN, 4096));
	EXPECT_EQ(-ENOMEM, _test_alloc_one(self->b.fd, MP_CHUNK));
	ASSERT_EQ(4096, read(second[0], buf, 4096));
	EXPECT_EQ(0, mp_count_not(buf, OWN, 4096));
	close(second[0]);
	close(second[1]);
}

/* ---- mappings in odd shapes -------------------------------------------------------- */

TEST_F(memory_that_is_anothers, is_not_seen_through_a_window_moved_by_mremap)
{
	unsigned char *to = mmap(NULL, 2 * MP_CHUNK, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *page;

	page = mremap(self->p + 4096, 4096, 4096,
		      MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(to, page);
	ASSERT_EQ(OWN, *page);
	/* May be refused; if not, it is zapped as well. */
	mremap(self->p + 8192, 4096, 4096,
	       MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to + 4096);
	hand_over(0);
	EXPECT_EQ(SIGBUS, mp_peek(page));
	EXPECT_NE(0, mp_peek(to + 4096));
	EXPECT_NE(0, mp_peek(self->p + 8192));
	munmap(to, 2 * MP_CHUNK);
}

TEST_F(memory_that_is_anothers, is_not_seen_through_remap_file_pages)
{
	unsigned char *q = self->p + 3 * MP_CHUNK;

	/* The page at q shows that of p. */
	ASSERT_EQ(0, syscall(SYS_remap_file_pages, q, 4096, 0,
			     (self->offset + 4096) / 4096, 0));
	ASSERT_EQ(0, mp_peek(q));
	ASSERT_EQ(OWN, *q);
	hand_over(0);
	EXPECT_EQ(SIGBUS, mp_peek(q));
}

TEST_F(memory_that_is_anothers, cannot_be_watched_by_userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { mp_ptr(self->p), MP_CHUNK },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), mode;

	if (fd < 0 && errno == ENOSYS)
		SKIP(return, "no userfaultfd");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	for (mode = 1; mode < 8; mode++) {
		reg.mode = mode;
		EXPECT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
	}
	close(fd);
}

/* The file behind a mapping, opened again, is a session of its own. */
TEST_F(memory_that_is_anothers, is_not_reached_through_map_files)
{
	struct mp_session s = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
		 (unsigned long)(uintptr_t)self->b.base,
		 (unsigned long)(uintptr_t)self->b.base +
		 (unsigned long)self->b.info.space_bytes);
	hand_over(0);
	s.fd = open(path, O_RDWR);
	if (s.fd < 0 && errno == ENOENT)
		SKIP(return, "no map_files");
	ASSERT_LE(0, s.fd);
	ASSERT_EQ(0, mp_info(s.fd, &s.info));
	EXPECT_NE(self->b.info.session_id, s.info.session_id);
	ASSERT_EQ(0, mp_map(&s, PROT_READ | PROT_WRITE));
	EXPECT_EQ(SIGBUS, mp_peek(s.base));
	mp_session_close(&s);
}

/* What is mapped is the only way in: the file can be neither read nor grown. */
TEST_F(memory_that_is_anothers, has_no_door_but_the_mapping)
{
	char buf[16] = { 0 };
	off_t at = 0;

	hand_over(0);
	EXPECT_GT(0, read(self->a.fd, buf, 16));
	EXPECT_GT(0, write(self->a.fd, buf, 16));
	EXPECT_GT(0, pread(self->a.fd, buf, 16, 0));
	EXPECT_GT(0, sendfile(self->pipe[1], self->a.fd, &at, 16));
	EXPECT_GT(0, splice(self->a.fd, NULL, self->pipe[1], NULL, 16, 0));
	EXPECT_GT(0, copy_file_range(self->a.fd, NULL, self->b.fd, NULL, 16, 0));
	EXPECT_GT(0, ftruncate(self->a.fd, 1 << 20));
	EXPECT_GT(0, ftruncate(self->a.fd, 0));
	EXPECT_GT(0, fallocate(self->a.fd, 0, 0, 1 << 20));
	EXPECT_GT(0, lseek(self->a.fd, 0, SEEK_END));
	EXPECT_EQ(0, mp_count_not(buf, 0, 16));
	EXPECT_EQ(0, strange_bytes(&self->b, CHUNKS));
}

/* ---- io_uring ------------------------------------------------------------------------ */

struct ring {
	int fd;
	unsigned char *sq, *cq;
	struct io_uring_params params;
	struct io_uring_sqe *sqe;
};

static int ring_open(struct ring *r)
{
	struct io_uring_params *p = &r->params;

	memset(r, 0, sizeof(*r));
	r->fd = syscall(SYS_io_uring_setup, 4, p);
	if (r->fd < 0)
		return -errno;
	r->sq = mmap(NULL, p->sq_off.array + p->sq_entries * 4,
		     PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->cq = mmap(NULL, p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe),
		     PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqe = mmap(NULL, p->sq_entries * sizeof(*r->sqe),
		      PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->sq == MAP_FAILED || r->cq == MAP_FAILED ||
	       r->sqe == MAP_FAILED ? -errno : 0;
}

/* The mappings keep a ring, and its buffers, as the descriptor does. */
static void ring_close(struct ring *r)
{
	const struct io_uring_params *p = &r->params;

	munmap(r->sq, p->sq_off.array + p->sq_entries * 4);
	munmap(r->cq, p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe));
	munmap(r->sqe, p->sq_entries * sizeof(*r->sqe));
	close(r->fd);
}

static int ring_register(struct ring *r, void *p, size_t len)
{
	struct iovec iov = { p, len };

	return syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS,
		       &iov, 1) < 0 ? -errno : 0;
}

/* Hand one operation on the registered buffer to the kernel. */
static int ring_submit(struct ring *r, int op, int fd, void *p, unsigned int len)
{
	unsigned int *tail = (void *)(r->sq + r->params.sq_off.tail);
	unsigned int mask = *(unsigned int *)(r->sq + r->params.sq_off.ring_mask);
	unsigned int *array = (void *)(r->sq + r->params.sq_off.array);
	unsigned int i = *tail & mask;

	r->sqe[i] = (struct io_uring_sqe){
		.opcode = op, .fd = fd, .addr = mp_ptr(p), .len = len,
	};
	array[i] = i;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) < 0 ? -errno : 0;
}

/* Wait for one result. */
static int ring_result(struct ring *r)
{
	unsigned int *head = (void *)(r->cq + r->params.cq_off.head);
	unsigned int *tail = (void *)(r->cq + r->params.cq_off.tail);
	unsigned int mask = *(unsigned int *)(r->cq + r->params.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(r->cq + r->params.cq_off.cqes);
	int res;

	while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == *head)
		syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS,
			NULL, 0);
	res = cqes[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

TEST_F(memory_that_is_anothers, is_not_written_by_a_registered_buffer)
{
	unsigned char buf[4096];
	struct ring r;
	int ret = ring_open(&r);

	if (ret == -ENOSYS)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, ret);
	ret = ring_register(&r, self->p, MP_CHUNK);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "this kernel registers no mapping of a file");
	ASSERT_EQ(0, ret);
	/* A read that waits in the kernel while its memory is given back. */
	ASSERT_EQ(0, ring_submit(&r, IORING_OP_READ_FIXED, self->pipe[0],
				 self->p + 8192, 4096));
	hand_over(1);
	memset(buf, 0x77, sizeof(buf));
	ASSERT_EQ(4096, write(self->pipe[1], buf, 4096));
	ret = ring_result(&r);
	if (ret == -EAGAIN) {	/* the pipe does not wait */
		ASSERT_EQ(0, ring_submit(&r, IORING_OP_READ_FIXED, self->pipe[0],
					 self->p + 8192, 4096));
		ret = ring_result(&r);
	}
	ASSERT_EQ(4096, ret);
	EXPECT_EQ(0, strange_bytes(&self->b, CHUNKS - 1));
	/* It went where the buffer was, and that can still be read there. */
	ASSERT_EQ(0, ring_submit(&r, IORING_OP_WRITE_FIXED, self->pipe[1],
				 self->p + 8192, 4096));
	ASSERT_EQ(4096, ring_result(&r));
	ASSERT_EQ(4096, read(self->pipe[0], buf, 4096));
	EXPECT_EQ(0, mp_count_not(buf, 0x77, 4096));
	EXPECT_EQ(-ENOMEM, _test_alloc_one(self->b.fd, MP_CHUNK));
	ring_close(&r);
}

TEST_F(memory_that_is_anothers, cannot_be_registered)
{
	struct ring r;
	int ret = ring_open(&r);

	if (ret == -ENOSYS)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, ret);
	hand_over(0);
	EXPECT_EQ(-EFAULT, ring_register(&r, self->p, MP_CHUNK));
	ring_close(&r);
}

/* ---- core dumps ---------------------------------------------------------------------- */

/* Shares a's and b's file but maps a's alone, and dies. */
static int dump_core(void *arg)
{
	struct mp_session *b = arg;
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	CHECK(setrlimit(RLIMIT_CORE, &unlimited) == 0);
	CHECK(mp_write_file("/proc/self/coredump_filter", "0xff") == 0);
	munmap(b->base, b->info.space_bytes);
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* Whether a page full of the secret is in the file; -1 when there is none. */
static int core_has_secret(const char *path, unsigned char value)
{
	static unsigned char page[4096];
	int fd = open(path, O_RDONLY), found = 0;

	if (fd < 0)
		return -1;
	while (read(fd, page, sizeof(page)) > 0)
		if (!mp_count_not(page, value, sizeof(page)))
			found = 1;
	close(fd);
	return found;
}

TEST_F(memory_that_is_anothers, is_not_in_a_core_dump)
{
	static const char *core = "/tmp/attack-core";
	int ret;

	ASSERT_EQ(0, mp_write_file("/proc/sys/kernel/core_pattern", core));
	/* While it was its own it was in there: the test can tell. */
	ret = mp_run(0, dump_core, &self->b);
	EXPECT_EQ(-SIGABRT, ret);
	EXPECT_EQ(1, core_has_secret(core, OWN));
	unlink(core);
	hand_over(0);
	ret = mp_run(0, dump_core, &self->b);
	EXPECT_EQ(-SIGABRT, ret);
	EXPECT_EQ(0, core_has_secret(core, SECRET));
	unlink(core);
	mp_write_file("/proc/sys/kernel/core_pattern", "/dev/null");
}

TEST_HARNESS_MAIN
