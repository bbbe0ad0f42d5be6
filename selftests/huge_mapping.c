// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Chunks are mapped 2 MiB at a time, also when their memory was page cache before
 * the module was loaded, and 4 KiB at a time only where a program asked for it.
 * Without CONFIG_TRANSPARENT_HUGEPAGE there are only single pages: advice on part
 * of a larger one does not end there.
 */
#include <sys/mount.h>

#include "mp_proc.h"

#define BIG	(4 * MP_CHUNK)

/* Let nearly all of the machine's memory be page cache once. */
static int churn_memory(void)
{
	static char buf[1 << 20];
	char dir[] = "/tmp/churn.XXXXXX", path[64];
	long long avail = mp_proc_number("/proc/meminfo", "MemAvailable:");
	int fd, mb;

	if (avail < 0 || !mkdtemp(dir) ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=100%"))
		return -errno;
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	for (mb = 0; mb < avail / 1024 * 8 / 10; mb++)
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			break;
	close(fd);
	if (umount2(dir, 0) || rmdir(dir))
		return -errno;
	mp_write_file("/proc/sys/vm/compact_memory", "1");
	return mb > 100 ? 0 : -ENOMEM;
}

/* kB mapped by huge entries, of all mappings of the device. */
static long long huge_kb(void)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	long long kb = 0, v;
	bool ours = false;
	char line[512];

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			ours = strstr(line, MP_DEV) != NULL;
		if (ours && sscanf(line, "FilePmdMapped: %lld", &v) == 1)
			kb += v;
	}
	fclose(f);
	return kb;
}

/* One byte of each page written: how many page faults that took. */
static long touch_faults(unsigned char *p, size_t len)
{
	long before = mp_faults();
	size_t i;

	for (i = 0; i < len; i += 4096)
		p[i] = 1;
	return mp_faults() - before;
}

FIXTURE(big_block) {
	struct mp_session s;
	unsigned char *p;
};

FIXTURE_SETUP(big_block)
{
	if (!mp_has_thp())
		SKIP(return, "no CONFIG_TRANSPARENT_HUGEPAGE");
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	self->p = self->s.base + test_alloc_one(self->s.fd, BIG);
}

FIXTURE_TEARDOWN(big_block)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

TEST_F(big_block, mappings_are_aligned)
{
	EXPECT_EQ(0, (uintptr_t)self->s.base % MP_CHUNK);
}

TEST_F(big_block, one_fault_maps_a_chunk)
{
	EXPECT_EQ(BIG / MP_CHUNK, (unsigned long)touch_faults(self->p, BIG));
}

TEST_F(big_block, a_read_fault_maps_it_writable)
{
	long before;

	ASSERT_EQ(0, mp_peek(self->p));
	before = mp_faults();
	self->p[4096] = 1;
	EXPECT_EQ(before, mp_faults());
}

TEST_F(big_block, smaps_shows_huge_entries)
{
	memset(self->p, 1, BIG);
	EXPECT_EQ(BIG / 1024, (unsigned long)huge_kb());
}

TEST_F(big_block, populating_takes_no_faults_afterwards)
{
	ASSERT_EQ(0, madvise(self->p, BIG, 23 /* POPULATE_WRITE */));
	EXPECT_EQ(BIG / 1024, (unsigned long)huge_kb());
	EXPECT_EQ(0, touch_faults(self->p, BIG));
}

TEST_F(big_block, a_chunk_split_by_mprotect_is_huge_again_when_mapped_anew)
{
	void *p;

	memset(self->p, 1, BIG);
	ASSERT_EQ(0, mprotect(self->p + 4096, 4096, PROT_READ));
	ASSERT_EQ(0, mprotect(self->p + 4096, 4096, PROT_READ | PROT_WRITE));
	ASSERT_LT(huge_kb(), (long long)(BIG / 1024));
	p = mmap(self->p, MP_CHUNK, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, self->s.fd, self->p - self->s.base);
	ASSERT_EQ((void *)self->p, p);
	EXPECT_EQ(1, touch_faults(self->p, MP_CHUNK));
	EXPECT_EQ(BIG / 1024, (unsigned long)huge_kb());
}

TEST_F(big_block, a_child_maps_huge_as_well)
{
	pid_t pid;

	memset(self->p, 1, BIG);
	pid = fork();
	if (!pid) {
		CHECK(touch_faults(self->p, BIG) < 2 * (long)(BIG / MP_CHUNK));
		CHECK(huge_kb() == BIG / 1024);
		_exit(0);
	}
	EXPECT_EQ(0, mp_reap(pid));
}

TEST(chunks_are_huge_where_the_kernel_has_huge_pages)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	EXPECT_EQ(mp_has_thp(), mp_sysfs("chunks_huge") > 0);
}

FIXTURE(module_loaded_after_churn) {
	struct mp_session s;
	unsigned char *p;
	size_t len;
};

FIXTURE_SETUP(module_loaded_after_churn)
{
	if (!mp_has_thp())
		SKIP(return, "no CONFIG_TRANSPARENT_HUGEPAGE");
	if (mp_loaded())
		ASSERT_EQ(0, mp_unload());
	ASSERT_EQ(0, churn_memory());
	ASSERT_EQ(0, mp_require("reserve=128M"));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	self->len = 128 << 20;
	self->p = self->s.base + test_alloc_one(self->s.fd, self->len);
}

FIXTURE_TEARDOWN(module_loaded_after_churn)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_loaded_after_churn, every_huge_chunk_takes_one_fault)
{
	long long huge = mp_sysfs("chunks_huge");
	long faults = touch_faults(self->p, self->len);

	ksft_print_msg("%lld of 64 chunks huge, %ld faults\n", huge, faults);
	ASSERT_LT(32, huge);
	EXPECT_EQ(huge + 512 * (64 - huge), faults);
	EXPECT_EQ(huge * 2048, huge_kb());
}

/*
 * A machine whose memory is in pieces: every sixteenth page of nearly all of it is
 * held while the module is loaded. It loads with small chunks, which work. (Pieces
 * of one page would leave the kernel without stacks.)
 */
FIXTURE(module_loaded_in_fragmented_memory) {
	struct mp_session s;
	unsigned char *p;
};

/* Much more than what stays whole; the debug kernel has 600 MiB to spare. */
#define FRAGMENTED	(152u << 20)
#define PIECE		(16 * 4096u)

static int load_fragmented(void)
{
	unsigned char *p;
	size_t len, i;
	int ret;

	/* Whole chunks must not be left, so the kernel must keep little back. */
	mp_write_file("/proc/sys/vm/drop_caches", "3");
	mp_write_file("/proc/sys/vm/min_free_kbytes", "4096");
	len = mp_proc_number("/proc/meminfo", "MemFree:") * 1024 - (48 << 20);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || (mp_has_thp() && madvise(p, len, MADV_NOHUGEPAGE)))
		return -errno;
	/* Locked pages of a kernel told so are not moved to make room. */
	mp_write_file("/proc/sys/vm/compact_unevictable_allowed", "0");
	if (mlock(p, len))
		return -errno;
	for (i = 0; i + PIECE <= len; i += PIECE)
		if (madvise(p + i, PIECE - 4096, 24 /* DONTNEED_LOCKED */))
			return -errno;
	ret = mp_require("reserve=160M");
	munmap(p, len);
	mp_write_file("/proc/sys/vm/compact_unevictable_allowed", "1");
	return ret;
}

FIXTURE_SETUP(module_loaded_in_fragmented_memory)
{
	if (mp_loaded())
		ASSERT_EQ(0, mp_unload());
	ASSERT_EQ(0, load_fragmented());
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->p = self->s.base + test_alloc_one(self->s.fd, FRAGMENTED);
}

FIXTURE_TEARDOWN(module_loaded_in_fragmented_memory)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

TEST_F(module_loaded_in_fragmented_memory, small_chunks_hold_data)
{
	size_t i;

	ksft_print_msg("%lld huge, %lld small\n", mp_sysfs("chunks_huge"),
		       mp_sysfs("chunks_small"));
	ASSERT_LT(0, mp_sysfs("chunks_small"));
	for (i = 0; i < FRAGMENTED; i += 4096)
		*(__u64 *)(self->p + i) = i ^ 0x5555;
	for (i = 0; i < FRAGMENTED; i += 4096)
		ASSERT_EQ(i ^ 0x5555, *(__u64 *)(self->p + i));
}

TEST_F(module_loaded_in_fragmented_memory, small_chunks_come_back_clean)
{
	struct mp_session b;
	__u64 offset;

	ASSERT_LT(0, mp_sysfs("chunks_small"));
	memset(self->p, 0xa5, FRAGMENTED);
	mp_session_close(&self->s);
	ASSERT_EQ(0, mp_session_open(&b));
	offset = test_alloc_one(b.fd, FRAGMENTED);
	EXPECT_EQ(0, mp_count_not(b.base + offset, 0, FRAGMENTED));
	mp_session_close(&b);
}

TEST_HARNESS_MAIN
