// SPDX-License-Identifier: MIT OR GPL-2.0
// guest: --disk 64M
/*
 * Blocks are ordinary memory for the kernel's own I/O: reads by other processes,
 * O_DIRECT, io_uring; and what these refer to stays pinned while they do.
 */
#include <linux/io_uring.h>

#include "mp_proc.h"

#define DISK	"/dev/nvme0n1"

FIXTURE(block_of_a_chunk) {
	struct mp_session s;
	__u64 offset;
	unsigned char *p;
};

FIXTURE_SETUP(block_of_a_chunk)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	self->offset = test_alloc_one(self->s.fd, MP_CHUNK);
	self->p = self->s.base + self->offset;
}

FIXTURE_TEARDOWN(block_of_a_chunk)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

static int give_back(struct mp_session *s, __u64 offset)
{
	int ret = _test_release_one(s->fd, offset);
	long long trimmed = ret ?: _test_ioctl_trim(s->fd);

	return trimmed < 0 ? trimmed : 0;
}

/* ---- other processes, the disk ---------------------------------------------------------- */

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
