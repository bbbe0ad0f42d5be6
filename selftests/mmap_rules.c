// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What may be mapped, and how: ranges, protections, growth, moves, the status
 * page. Every refusal leaves no mapping behind.
 */
#include "mp_proc.h"

FIXTURE(mapped_session) {
	struct mp_session s;
	int fd;
	__u64 space;
	unsigned char *block;	/* one block of three chunks */
	volatile struct mempool_status *status;
};

FIXTURE_SETUP(mapped_session)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->fd = self->s.fd;
	self->space = self->s.info.space_bytes;
	ASSERT_EQ(0, _test_configure_granularity(self->fd, MP_CHUNK));
	self->block = self->s.base + test_alloc_one(self->fd, 3 * MP_CHUNK);
	self->status = mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd,
			    self->s.info.status_offset);
	ASSERT_NE(MAP_FAILED, (void *)self->status);
}

FIXTURE_TEARDOWN(mapped_session)
{
	munmap((void *)self->status, 4096);
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* Map and unmap: 0 or -errno. */
static int try_map(int fd, __u64 len, int prot, int flags, __u64 offset)
{
	long p = syscall(SYS_mmap, NULL, len, prot, flags, fd, offset);

	if (p == -1)
		return -errno;
	munmap((void *)p, len);
	return 0;
}

#define RW	(PROT_READ | PROT_WRITE)

/* ---- ranges ---------------------------------------------------------------------- */

TEST_F(mapped_session, the_whole_space_can_be_mapped)
{
	EXPECT_EQ(0, try_map(self->fd, self->space, RW, MAP_SHARED, 0));
}

TEST_F(mapped_session, a_part_can_be_mapped)
{
	EXPECT_EQ(0, try_map(self->fd, MP_CHUNK, RW, MAP_SHARED,
			     self->space - MP_CHUNK));
	EXPECT_EQ(0, try_map(self->fd, 4096, RW, MAP_SHARED,
			     self->space - 4096));
}

TEST_F(mapped_session, a_window_shows_the_same_memory)
{
	__u64 offset = self->block - self->s.base;
	unsigned char *w;

	w = mmap(NULL, 8192, RW, MAP_SHARED, self->fd, offset + MP_CHUNK);
	ASSERT_NE(MAP_FAILED, w);
	strcpy((char *)self->block + MP_CHUNK + 4096, "through the window");
	EXPECT_STREQ("through the window", (char *)w + 4096);
	munmap(w, 8192);
}

TEST_F(mapped_session, ranges_outside_the_space_are_einval)
{
	const __u64 status = self->s.info.status_offset;
	const struct {
		__u64 len, offset;
	} bad[] = {
		{ 8192, self->space - 4096 },		/* one page too many */
		{ self->space, 4096 },
		{ self->space + 4096, 0 },
		{ MP_CHUNK, self->space },		/* right behind */
		{ 8192, status },
		{ 8192, status - 4096 },
		{ 4096, status + 4096 },
		{ 4096, 2 * status + 4096 },
		{ 4096, 1ull << 40 },
		{ 4096, 1ull << 62 },
		{ 1ull << 46, 0 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, try_map(self->fd, bad[i].len, PROT_READ,
					   MAP_SHARED, bad[i].offset)) {
			TH_LOG("len %llx offset %llx", bad[i].len,
			       bad[i].offset);
		}
	}
}

/* The kernel's own checks come first for these; no mapping is what counts. */
TEST_F(mapped_session, ranges_that_wrap_around_are_refused)
{
	static const struct {
		__u64 len, offset;
	} bad[] = {
		{ 4096, (1ull << 63) - 4096 },
		{ 8192, (1ull << 63) - 4096 },
		{ 4096, -4096ull },
		{ 8192, -4096ull },
		{ 1ull << 47, 1ull << 62 },
		{ -4096ull, 4096 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_GT(0, try_map(self->fd, bad[i].len, PROT_READ,
				     MAP_SHARED, bad[i].offset)) {
			TH_LOG("len %llx offset %llx", bad[i].len,
			       bad[i].offset);
		}
	}
}

TEST_F(mapped_session, no_length_is_einval)
{
	EXPECT_EQ(-EINVAL, try_map(self->fd, 0, RW, MAP_SHARED, 0));
}

TEST_F(mapped_session, an_offset_inside_a_page_is_einval)
{
	EXPECT_EQ(-EINVAL, try_map(self->fd, 4096, RW, MAP_SHARED, 64));
}

/* ---- protections -------------------------------------------------------------------- */

TEST_F(mapped_session, private_mappings_are_einval)
{
	EXPECT_EQ(-EINVAL, try_map(self->fd, MP_CHUNK, RW, MAP_PRIVATE, 0));
	EXPECT_EQ(-EINVAL, try_map(self->fd, MP_CHUNK, PROT_READ, MAP_PRIVATE,
				   0));
}

TEST_F(mapped_session, executable_mappings_are_eacces)
{
	EXPECT_EQ(-EACCES, try_map(self->fd, MP_CHUNK, PROT_READ | PROT_EXEC,
				   MAP_SHARED, 0));
	EXPECT_EQ(-EACCES, try_map(self->fd, MP_CHUNK, RW | PROT_EXEC,
				   MAP_SHARED, 0));
}

TEST_F(mapped_session, mappings_cannot_become_executable)
{
	EXPECT_EQ(-1, mprotect(self->block, 4096, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(mapped_session, read_only_files_cannot_be_mapped_writable)
{
	int fd = open(MP_DEV, O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, try_map(fd, MP_CHUNK, RW, MAP_SHARED, 0));
	EXPECT_EQ(-EACCES, try_map(fd, MP_CHUNK, PROT_WRITE, MAP_SHARED, 0));
	close(fd);
}

TEST_F(mapped_session, read_only_files_can_be_mapped_for_reading)
{
	int fd = open(MP_DEV, O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, try_map(fd, MP_CHUNK, PROT_READ, MAP_SHARED, 0));
	close(fd);
}

TEST_F(mapped_session, mappings_of_read_only_files_cannot_become_writable)
{
	int fd = open(MP_DEV, O_RDONLY);
	void *p;

	ASSERT_LE(0, fd);
	p = mmap(NULL, MP_CHUNK, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, mprotect(p, 4096, RW));
	EXPECT_EQ(EACCES, errno);
	munmap(p, MP_CHUNK);
	close(fd);
}

TEST_F(mapped_session, a_read_only_mapping_of_a_writable_file_can_be_written_later)
{
	unsigned char *p;

	p = mmap(NULL, MP_CHUNK, PROT_READ, MAP_SHARED, self->fd,
		 self->block - self->s.base);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(SIGSEGV, mp_poke(p, 1));
	ASSERT_EQ(0, mprotect(p, 4096, RW));
	EXPECT_EQ(0, mp_poke(p, 1));
	munmap(p, MP_CHUNK);
}

/* ---- what a touch finds --------------------------------------------------------------- */

TEST_F(mapped_session, memory_not_owned_is_sigbus)
{
	__u64 offset, owned = self->block - self->s.base;

	for (offset = 0; offset < self->space; offset += MP_CHUNK) {
		if (offset >= owned && offset < owned + 3 * MP_CHUNK)
			continue;
		ASSERT_EQ(SIGBUS, mp_peek(self->s.base + offset));
		ASSERT_EQ(SIGBUS, mp_poke(self->s.base + offset, 1));
	}
}

TEST_F(mapped_session, memory_given_back_is_sigbus)
{
	memset(self->block, 1, 3 * MP_CHUNK);
	test_release_one(self->fd, self->block - self->s.base);
	ASSERT_EQ(3 * MP_CHUNK, (unsigned long)_test_ioctl_trim(self->fd));
	EXPECT_EQ(SIGBUS, mp_peek(self->block));
	EXPECT_EQ(SIGBUS, mp_peek(self->block + MP_CHUNK));
	EXPECT_EQ(SIGBUS, mp_poke(self->block + 3 * MP_CHUNK - 1, 1));
}

TEST_F(mapped_session, memory_not_owned_cannot_be_populated)
{
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
	test_release_one(self->fd, self->block - self->s.base);
	ASSERT_LE(0, _test_ioctl_trim(self->fd));
	EXPECT_EQ(-1, madvise(self->block, MP_CHUNK, MADV_POPULATE_WRITE));
	EXPECT_EQ(EFAULT, errno);
}

/* The other process's access fails; nobody is signalled. */
TEST_F(mapped_session, memory_not_owned_is_efault_for_system_calls)
{
	int p[2];

	ASSERT_EQ(0, pipe(p));
	test_release_one(self->fd, self->block - self->s.base);
	ASSERT_LE(0, _test_ioctl_trim(self->fd));
	EXPECT_EQ(-1, write(p[1], self->block, 100));
	EXPECT_EQ(EFAULT, errno);
	close(p[0]);
	close(p[1]);
}

/* ---- growth, moves, holes ----------------------------------------------------------------- */

TEST_F(mapped_session, mappings_do_not_grow)
{
	unsigned char *p;

	p = mmap(NULL, MP_CHUNK, RW, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(MAP_FAILED, mremap(p, MP_CHUNK, 2 * MP_CHUNK,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	munmap(p, MP_CHUNK);
}

TEST_F(mapped_session, the_whole_mapping_does_not_grow)
{
	EXPECT_EQ(MAP_FAILED, mremap(self->s.base, self->space,
				     self->space + MP_CHUNK, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(mapped_session, a_moved_mapping_shows_the_same_memory)
{
	__u64 offset = self->block - self->s.base;
	unsigned char *from, *to, *at;

	from = mmap(NULL, 3 * MP_CHUNK, RW, MAP_SHARED, self->fd, offset);
	ASSERT_NE(MAP_FAILED, from);
	memset(from, 0x3c, 3 * MP_CHUNK);
	at = mmap(NULL, 4 * MP_CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		  -1, 0);
	ASSERT_NE(MAP_FAILED, at);
	to = mremap(from, 3 * MP_CHUNK, 3 * MP_CHUNK,
		    MREMAP_MAYMOVE | MREMAP_FIXED, at + 4096);
	ASSERT_EQ(at + 4096, to);
	EXPECT_EQ(0, mp_count_not(to, 0x3c, 3 * MP_CHUNK));
	munmap(at, 4 * MP_CHUNK);
}

TEST_F(mapped_session, a_moved_mapping_is_zapped_like_any)
{
	__u64 offset = self->block - self->s.base;
	unsigned char *from, *to;

	from = mmap(NULL, MP_CHUNK, RW, MAP_SHARED, self->fd, offset);
	ASSERT_NE(MAP_FAILED, from);
	to = mmap(NULL, MP_CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		  0);
	to = mremap(from, MP_CHUNK, MP_CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED,
		    to);
	ASSERT_NE(MAP_FAILED, to);
	memset(to, 1, MP_CHUNK);
	test_release_one(self->fd, offset);
	ASSERT_LE(0, _test_ioctl_trim(self->fd));
	EXPECT_EQ(SIGBUS, mp_peek(to));
	munmap(to, MP_CHUNK);
}

TEST_F(mapped_session, a_hole_in_the_mapping_leaves_the_rest)
{
	memset(self->block, 0x21, 3 * MP_CHUNK);
	ASSERT_EQ(0, munmap(self->block + MP_CHUNK + 4096, 4096));
	EXPECT_EQ(SIGSEGV, mp_peek(self->block + MP_CHUNK + 4096));
	EXPECT_EQ(0, mp_count_not(self->block, 0x21, MP_CHUNK + 4096));
	EXPECT_EQ(0, mp_count_not(self->block + MP_CHUNK + 8192, 0x21,
				  2 * MP_CHUNK - 8192));
}

TEST_F(mapped_session, a_hole_in_the_mapping_keeps_the_books)
{
	memset(self->block, 0x21, 3 * MP_CHUNK);
	ASSERT_EQ(0, munmap(self->block + 4096, 4096));
	test_release_one(self->fd, self->block - self->s.base);
	ASSERT_EQ(3 * MP_CHUNK, (unsigned long)_test_ioctl_trim(self->fd));
	EXPECT_EQ(SIGBUS, mp_peek(self->block));
	munmap(self->block, 3 * MP_CHUNK);
	EXPECT_TRUE(mp_settled());
}

TEST_F(mapped_session, mprotect_of_a_page_leaves_the_data)
{
	memset(self->block, 0x22, MP_CHUNK);
	ASSERT_EQ(0, mprotect(self->block + 4096, 4096, PROT_NONE));
	EXPECT_EQ(SIGSEGV, mp_peek(self->block + 4096));
	ASSERT_EQ(0, mprotect(self->block + 4096, 4096, RW));
	EXPECT_EQ(0, mp_count_not(self->block, 0x22, MP_CHUNK));
}

/* ---- the status page ------------------------------------------------------------------------ */

TEST_F(mapped_session, the_status_page_can_be_read)
{
	int i;

	for (i = 0; i < 15; i++)
		EXPECT_EQ(0, self->status->reserved[i]);
}

TEST_F(mapped_session, the_status_page_tells_the_pressure_in_sysfs)
{
	EXPECT_EQ(mp_sysfs("pressure"), self->status->pressure);
}

TEST_F(mapped_session, pressure_rises_when_memory_is_short)
{
	__u32 before = self->status->pressure;
	int other = mp_open_as(MP_USER_A, O_RDWR);

	ASSERT_EQ(0, _test_configure_granularity(other, MP_CHUNK));
	test_alloc_one(other, (MP_CHUNKS - 3) * MP_CHUNK);
	EXPECT_EQ(before, self->status->pressure);
	ASSERT_EQ(-ENOMEM, (int)_test_alloc_one(self->fd, MP_CHUNK));
	EXPECT_LT(before, self->status->pressure);
	close(other);
}

TEST_F(mapped_session, the_status_page_cannot_be_written)
{
	EXPECT_EQ(-EACCES, try_map(self->fd, 4096, RW, MAP_SHARED,
				   self->s.info.status_offset));
	EXPECT_EQ(SIGSEGV, mp_poke((void *)self->status, 1));
	EXPECT_EQ(-1, mprotect((void *)self->status, 4096, RW));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(mapped_session, the_status_page_holds_nothing_else)
{
	const unsigned char *p = (const void *)self->status;

	EXPECT_EQ(0, mp_count_not(p + sizeof(struct mempool_status), 0,
				  4096 - sizeof(struct mempool_status)));
}

TEST_HARNESS_MAIN
