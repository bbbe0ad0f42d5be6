// SPDX-License-Identifier: MIT OR GPL-2.0
// guest: --disk 64M
/*
 * Blocks are ordinary memory for the kernel's own I/O, and a page that some I/O
 * still refers to is not handed on: its chunk is pinned, charged to who gave it
 * back, and free once the reference has gone.
 */
#include <linux/io_uring.h>

#include "mp_proc.h"

#define DISK	"/dev/nvme0n1"
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

/* ---- other ways to refer to a page ----------------------------------------------------- */

TEST_F(block_of_a_chunk, another_process_can_read_a_block)
{
	char buf[64] = "";
	struct iovec to = { buf, 64 }, from = { self->p, 64 };
	pid_t pid;

	strcpy((char *)self->p, "read by the parent");
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(64, process_vm_readv(pid, &to, 1, &from, 1, 0));
	EXPECT_STREQ("read by the parent", buf);
	mp_kill(pid);
}

TEST_F(block_of_a_chunk, another_process_can_write_a_block)
{
	char buf[64] = "written by the parent";
	struct iovec from = { buf, 64 }, to = { self->p, 64 };
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(64, process_vm_writev(pid, &from, 1, &to, 1, 0));
	EXPECT_STREQ("written by the parent", (char *)self->p);
	mp_kill(pid);
}

TEST_F(block_of_a_chunk, proc_mem_reads_a_block)
{
	int fd = open("/proc/self/mem", O_RDONLY);
	char buf[64] = "";

	strcpy((char *)self->p, "through proc");
	ASSERT_LE(0, fd);
	EXPECT_EQ(64, pread(fd, buf, 64, (off_t)(uintptr_t)self->p));
	EXPECT_STREQ("through proc", buf);
	close(fd);
}

TEST_F(block_of_a_chunk, direct_io_reads_and_writes_a_block)
{
	int fd = open(DISK, O_RDWR | O_DIRECT);
	size_t i;

	ASSERT_LE(0, fd);
	for (i = 0; i < MP_CHUNK; i++)
		self->p[i] = i * 7 + i / 4096;
	ASSERT_EQ((ssize_t)MP_CHUNK, pwrite(fd, self->p, MP_CHUNK, 0));
	memset(self->p, 0, MP_CHUNK);
	ASSERT_EQ((ssize_t)MP_CHUNK, pread(fd, self->p, MP_CHUNK, 0));
	for (i = 0; i < MP_CHUNK; i++)
		ASSERT_EQ((unsigned char)(i * 7 + i / 4096), self->p[i]);
	close(fd);
}

TEST_F(block_of_a_chunk, direct_io_needs_no_touch_before)
{
	int fd = open(DISK, O_RDWR | O_DIRECT);
	__u64 offset = test_alloc_one(self->s.fd, MP_CHUNK);

	ASSERT_LE(0, fd);
	EXPECT_EQ((ssize_t)MP_CHUNK, pread(fd, self->s.base + offset, MP_CHUNK,
					   0));
	close(fd);
}

TEST_F(block_of_a_chunk, direct_io_into_memory_given_back_is_efault)
{
	int fd = open(DISK, O_RDWR | O_DIRECT);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	EXPECT_EQ(-1, pread(fd, self->p, 4096, 0));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
}

/* ---- io_uring ----------------------------------------------------------------------------- */

static int uring_open(struct io_uring_params *params)
{
	memset(params, 0, sizeof(*params));
	return syscall(__NR_io_uring_setup, 4, params);
}

static int uring_register(int fd, void *p, size_t len)
{
	struct iovec iov = { p, len };

	return syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS,
		       &iov, 1) ? -errno : 0;
}

/* One request, submitted and waited for: its result or -errno. */
static int uring_one(int fd, const struct io_uring_params *p,
		     const struct io_uring_sqe *sqe)
{
	size_t sq_len = p->sq_off.array + p->sq_entries * sizeof(__u32);
	size_t cq_len = p->cq_off.cqes +
			p->cq_entries * sizeof(struct io_uring_cqe);
	char *sq = mmap(NULL, sq_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, cq_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqes;
	__u32 tail, head;
	int res;

	sqes = mmap(NULL, p->sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED)
		return -errno;
	tail = *(__u32 *)(sq + p->sq_off.tail);
	sqes[0] = *sqe;
	((__u32 *)(sq + p->sq_off.array))[tail & (p->sq_entries - 1)] = 0;
	__atomic_store_n((__u32 *)(sq + p->sq_off.tail), tail + 1,
			 __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL,
		    0) < 0)
		return -errno;
	head = *(__u32 *)(cq + p->cq_off.head);
	res = ((struct io_uring_cqe *)(cq + p->cq_off.cqes))
	      [head & (p->cq_entries - 1)].res;
	__atomic_store_n((__u32 *)(cq + p->cq_off.head), head + 1,
			 __ATOMIC_RELEASE);
	return res;
}

TEST_F(block_of_a_chunk, io_uring_reads_into_a_block)
{
	struct io_uring_params params;
	int disk = open(DISK, O_RDWR | O_DIRECT), fd = uring_open(&params);
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ, .fd = disk,
		.addr = mp_ptr(self->p), .len = 65536,
	};

	ASSERT_LE(0, fd);
	memset(self->p, 0x6b, 65536);
	ASSERT_EQ(65536, pwrite(disk, self->p, 65536, 0));
	memset(self->p, 0, 65536);
	EXPECT_EQ(65536, uring_one(fd, &params, &sqe));
	EXPECT_EQ(0, mp_count_not(self->p, 0x6b, 65536));
	close(fd);
	close(disk);
}

/*
 * Linux before 6.3 refuses buffers in any file but shmem and hugetlb. What is
 * claimed is that a refusal leaves no reference behind.
 */
TEST_F(block_of_a_chunk, a_registered_buffer_pins_until_its_ring_is_closed)
{
	struct io_uring_params params;
	int fd = uring_open(&params), ret;

	ASSERT_LE(0, fd);
	self->p[0] = 1;
	ret = uring_register(fd, self->p, 65536);
	if (ret == -EOPNOTSUPP) {
		ASSERT_EQ(0, give_back(&self->s, self->offset));
		EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
		close(fd);
		return;
	}
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	EXPECT_EQ(1, mp_sysfs_wait("chunks_pinned", 1));
	close(fd);
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
}

TEST_F(block_of_a_chunk, reads_by_others_pin_nothing_for_long)
{
	struct iovec to, from = { self->p, MP_CHUNK };
	char *buf = malloc(MP_CHUNK);
	pid_t pid, reader;
	int i;

	ASSERT_NE(NULL, buf);
	to = (struct iovec){ buf, MP_CHUNK };
	pid = getpid();
	reader = fork();
	if (!reader)
		for (;;)
			process_vm_readv(pid, &to, 1, &from, 1, 0);
	for (i = 0; i < 50; i++) {
		self->p[0] = 1;
		ASSERT_EQ(0, give_back(&self->s, self->offset));
		self->offset = test_alloc_one(self->s.fd, MP_CHUNK);
		self->p = self->s.base + self->offset;
	}
	mp_kill(reader);
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
	EXPECT_EQ(0, mp_sysfs("chunks_replaced"));
}

TEST_HARNESS_MAIN
