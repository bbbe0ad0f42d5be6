// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Whatever a program asks the kernel to do with its mapping, the data stay and
 * no touch is a SIGBUS: each advice, and other calls on ranges, on a whole chunk
 * and on one page of it. An advice may be refused; that is its documented errno.
 */
#include "mp_proc.h"

#include <linux/userfaultfd.h>

FIXTURE(block_with_data) {
	struct mp_session s;
	unsigned char *p;
};

FIXTURE_SETUP(block_with_data)
{
	size_t i;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->p = self->s.base + test_alloc_one(self->s.fd, 2 * MP_CHUNK);
	for (i = 0; i < 2 * MP_CHUNK; i += 64)
		self->p[i] = i / 64 % 251 + 1;
}

FIXTURE_TEARDOWN(block_with_data)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* Whether all is as the fixture wrote it and can be written. */
static int data_intact(unsigned char *p)
{
	unsigned char seen;
	size_t i;
	int sig;

	for (i = 0; i < 2 * MP_CHUNK; i += 64) {
		sig = mp_touch(p + i, i / 64 % 251 + 1, &seen);
		if (sig)
			return -sig;
		if (seen != i / 64 % 251 + 1)
			return i + 1;
	}
	return 0;
}

struct advice {
	const char *name;
	int code, error;	/* the only errno allowed, 0: must succeed */
};

/*
 * Codes as in the kernel's headers, so that old headers do. Not here: HWPOISON
 * and SOFT_OFFLINE (memory_error.c).
 */
static const struct advice advices[] = {
	{ "NORMAL", 0, 0 }, { "RANDOM", 1, 0 }, { "SEQUENTIAL", 2, 0 },
	{ "WILLNEED", 3, 0 }, { "DONTNEED", 4, 0 }, { "FREE", 8, EINVAL },
	{ "REMOVE", 9, -1 }, { "DONTFORK", 10, 0 }, { "DOFORK", 11, -1 },
	{ "MERGEABLE", 12, -1 }, { "UNMERGEABLE", 13, -1 },
	{ "HUGEPAGE", 14, -1 }, { "NOHUGEPAGE", 15, -1 },
	{ "DONTDUMP", 16, 0 }, { "DODUMP", 17, -1 },
	{ "WIPEONFORK", 18, EINVAL }, { "KEEPONFORK", 19, -1 },
	{ "COLD", 20, -1 }, { "PAGEOUT", 21, -1 },
	{ "POPULATE_READ", 22, 0 }, { "POPULATE_WRITE", 23, 0 },
	{ "DONTNEED_LOCKED", 24, 0 }, { "COLLAPSE", 25, -1 },
};

#define FOR_EACH_ADVICE(a) \
	for (a = advices; a < advices + ARRAY_SIZE(advices); a++)

TEST_F(block_with_data, every_advice_on_chunks_keeps_the_data)
{
	const struct advice *a;

	FOR_EACH_ADVICE(a) {
		madvise(self->p, 2 * MP_CHUNK, a->code);
		ASSERT_EQ(0, data_intact(self->p)) {
			TH_LOG("%s", a->name);
		}
	}
}

TEST_F(block_with_data, every_advice_on_a_page_keeps_the_data)
{
	const struct advice *a;

	FOR_EACH_ADVICE(a) {
		madvise(self->p + 5 * 4096, 4096, a->code);
		ASSERT_EQ(0, data_intact(self->p)) {
			TH_LOG("%s", a->name);
		}
	}
}

TEST_F(block_with_data, every_advice_on_all_of_the_space_keeps_the_data)
{
	const struct advice *a;

	FOR_EACH_ADVICE(a) {
		madvise(self->s.base, self->s.info.space_bytes, a->code);
		ASSERT_EQ(0, data_intact(self->p)) {
			TH_LOG("%s", a->name);
		}
	}
}

TEST_F(block_with_data, advices_give_their_documented_result)
{
	const struct advice *a;
	int err;

	FOR_EACH_ADVICE(a) {
		if (a->error < 0)
			continue;
		err = madvise(self->p, MP_CHUNK, a->code) ? errno : 0;
		EXPECT_EQ(a->error, err) {
			TH_LOG("%s", a->name);
		}
	}
}

TEST_F(block_with_data, pages_cannot_be_punched_out_of_the_file)
{
	/* MADV_REMOVE is fallocate() on the file. */
	EXPECT_EQ(-1, madvise(self->p, MP_CHUNK, 9));
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_F(block_with_data, memory_after_any_advice_goes_back_clean)
{
	const struct advice *a;

	FOR_EACH_ADVICE(a) {
		__u64 offset = test_alloc_one(self->s.fd, MP_CHUNK);

		memset(self->s.base + offset, 1, MP_CHUNK);
		madvise(self->s.base + offset, MP_CHUNK, a->code);
		test_release_one(self->s.fd, offset);
	}
	ASSERT_LE(0, _test_ioctl_trim(self->s.fd));
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
}

TEST_F(block_with_data, dontneed_gives_nothing_back)
{
	struct mempool_session_stats st;

	ASSERT_EQ(0, madvise(self->p, 2 * MP_CHUNK, MADV_DONTNEED));
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(2 * MP_CHUNK, st.current_bytes - st.current_bytes % MP_CHUNK);
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_F(block_with_data, mlock_keeps_the_data_and_the_memory_comes_free)
{
	ASSERT_EQ(0, mlock(self->p, MP_CHUNK));
	EXPECT_EQ(0, data_intact(self->p));
	test_release_one(self->s.fd, self->p - self->s.base);
	ASSERT_LE(0, _test_ioctl_trim(self->s.fd));
	EXPECT_EQ(SIGBUS, mp_peek(self->p));
}

TEST_F(block_with_data, mlockall_keeps_the_data)
{
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_EQ(0, data_intact(self->p));
	EXPECT_EQ(0, munlockall());
}

TEST_F(block_with_data, msync_succeeds_and_keeps_the_data)
{
	EXPECT_EQ(0, msync(self->p, MP_CHUNK, MS_SYNC));
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_F(block_with_data, mbind_keeps_the_data)
{
	unsigned long nodes = 1;

	syscall(SYS_mbind, self->p, MP_CHUNK, 2 /* BIND */, &nodes, 8,
		2 /* MOVE */);
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_F(block_with_data, migrate_pages_keeps_the_data)
{
	unsigned long from = 1, to = 1;

	syscall(SYS_migrate_pages, 0, 8, &from, &to);
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_F(block_with_data, remap_file_pages_keeps_the_data)
{
	syscall(SYS_remap_file_pages, self->p, 4096, 0,
		(self->p - self->s.base) / 4096, 0);
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_F(block_with_data, userfaultfd_refuses_the_mapping)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	reg.range.start = mp_ptr(self->p);
	reg.range.len = MP_CHUNK;
	EXPECT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, data_intact(self->p));
	close(fd);
}

TEST_F(block_with_data, dropped_caches_keep_the_data)
{
	ASSERT_EQ(0, mp_write_file("/proc/sys/vm/drop_caches", "3"));
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_F(block_with_data, compaction_keeps_the_data)
{
	ASSERT_EQ(0, mp_write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_EQ(0, data_intact(self->p));
}

TEST_HARNESS_MAIN
