// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The library on the in-process device: the same behaviour as with the module,
 * and clear refusals of what it does not give.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "internal.h"

#define MIB	(1u << 20)

FIXTURE(inproc) {
	struct mempool *pool;
};

static int open_with(struct mempool **pool, const char *device)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;

	opts.device = device;
	return mempool_open(pool, &opts);
}

FIXTURE_SETUP(inproc)
{
	ASSERT_EQ(0, open_with(&self->pool, "memfd:16M"));
}

FIXTURE_TEARDOWN(inproc)
{
	mempool_close(self->pool);
}

TEST(sizes_that_are_no_multiple_of_a_chunk_are_einval)
{
	static const char *const bad[] = {
		"memfd:", "memfd:0", "memfd:-2M", "memfd:3M", "memfd:2MB", "memfd:2X", "memfd: 2M",
		"memfd:99999999T", "memfd:18446744073709551616",
	};
	struct mempool *pool = NULL;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EXPECT_EQ(-EINVAL, open_with(&pool, bad[i])) {
			TH_LOG("%s", bad[i]);
		}
	}
}

TEST(it_is_never_chosen_unasked)
{
	struct mempool *pool = NULL;

	unsetenv("MEMPOOL_DEVICE");
	EXPECT_NE(0, open_with(&pool, "/nonexistent"));
	EXPECT_EQ(NULL, pool);
}

TEST_F(inproc, a_block_holds_what_is_written)
{
	char *p = mempool_alloc(self->pool, 100000);

	ASSERT_NE(NULL, p);
	memset(p, 0x5a, 100000);
	EXPECT_EQ(0x5a, p[99999]);
	EXPECT_EQ(102400, mempool_usable_size(self->pool, p));
	EXPECT_EQ(0, mempool_release(self->pool, p));
}

TEST_F(inproc, a_second_release_is_enoent)
{
	void *p = mempool_alloc(self->pool, 5000);

	ASSERT_EQ(0, mempool_release(self->pool, p));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, p));
}

TEST_F(inproc, zeroed_memory_is_zero_after_use)
{
	size_t i;
	char *p = mempool_alloc(self->pool, 65536);

	memset(p, 0xff, 65536);
	mempool_release(self->pool, p);
	p = mempool_zalloc(self->pool, 65536);
	ASSERT_NE(NULL, p);
	for (i = 0; i < 65536 && !p[i]; i++)
		;
	EXPECT_EQ(65536, i);
}

TEST_F(inproc, the_reserve_is_a_limit_and_comes_back_whole)
{
	void *blocks[17];
	unsigned int n = 0, round;

	for (round = 0; round < 3; round++) {
		/* 16 MiB; a bucket of 1 MiB takes 1126400 bytes. */
		while ((blocks[n] = mempool_alloc(self->pool, MIB)))
			n++;
		EXPECT_EQ(ENOMEM, errno);
		EXPECT_LE(14, n);
		while (n)
			ASSERT_EQ(0, mempool_release(self->pool, blocks[--n]));
		ASSERT_EQ(0, mempool_trim(self->pool));
	}
}

TEST_F(inproc, idle_memory_of_one_bucket_serves_another)
{
	void *small[64], *large;
	unsigned int i;

	for (i = 0; i < 64; i++)
		ASSERT_NE(NULL, small[i] = mempool_alloc(self->pool, 200000));
	for (i = 0; i < 64; i++)
		ASSERT_EQ(0, mempool_release(self->pool, small[i]));
	large = mempool_alloc(self->pool, 15 * MIB);
	ASSERT_NE(NULL, large);
	memset(large, 1, 15 * MIB);
	EXPECT_EQ(0, mempool_release(self->pool, large));
}

/* What the device's file has of memory, KiB; -1: it was not found. */
static long backed_kib(void)
{
	char path[40], name[40];
	struct stat st;
	ssize_t len;
	int fd;

	for (fd = 3; fd < 200; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, name, sizeof(name) - 1);
		if (len > 0 && !strncmp(name, "/memfd:mempool", 14) && !fstat(fd, &st))
			return st.st_blocks / 2;
	}
	return -1;
}

TEST_F(inproc, memory_once_taken_stays_until_a_trim)
{
	char *p = mempool_alloc(self->pool, 7 * MIB);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mempool_release(self->pool, p));
	EXPECT_LE(8 * 1024, backed_kib());
	ASSERT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(0, backed_kib());
}

TEST_F(inproc, no_more_memory_is_taken_than_the_reserve)
{
	void *run, *wall[3];
	unsigned int i;

	/* Each run is too long for the hole that the one before has left below a wall. */
	for (i = 0; i < 3; i++) {
		run = mempool_alloc(self->pool, (2 * i + 3) * MIB);
		ASSERT_NE(NULL, run);
		memset(run, 1, (2 * i + 3) * MIB);
		wall[i] = mempool_alloc(self->pool, MIB);
		ASSERT_NE(NULL, wall[i]);
		EXPECT_LE(2 * 1024, backed_kib());
		EXPECT_GE(16 * 1024, backed_kib());
		ASSERT_EQ(0, mempool_release(self->pool, run));
	}
}

/* Not instrumented: the sanitizer's own tables would take faults. */
__attribute__((no_sanitize_address, noinline)) static void touch(volatile char *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += 4096)
		p[i] = 1;
}

TEST_F(inproc, the_first_touch_takes_no_fault)
{
	struct rusage before, after;
	char *p = mempool_alloc(self->pool, MIB);

	ASSERT_NE(NULL, p);
	getrusage(RUSAGE_SELF, &before);
	touch(p, MIB);
	getrusage(RUSAGE_SELF, &after);
	EXPECT_EQ(before.ru_minflt, after.ru_minflt);
}

TEST_F(inproc, statistics_count_new_and_reused)
{
	struct mempool_stats st;
	int i;

	for (i = 0; i < 10; i++)
		mempool_release(self->pool, mempool_alloc(self->pool, (95 + i) * 8));
	ASSERT_EQ(0, mempool_flush(self->pool));
	ASSERT_EQ(0, mempool_get_stats(self->pool, &st, sizeof(st)));
	EXPECT_EQ(1, st.new_allocations);
	EXPECT_EQ(9, st.reused_allocations);
	EXPECT_EQ(10, st.releases);
	EXPECT_EQ(0, st.currently_allocated);
}

TEST_F(inproc, block_pools_work_and_coalesce)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks_stats st;
	struct mempool_blocks *blocks;
	unsigned int i, index[10];

	opts.block_size = 4096;
	opts.num_blocks = 10;
	ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &opts));
	for (i = 0; i < 10; i++)
		ASSERT_NE(NULL, mempool_get_block(blocks, &index[i]));
	EXPECT_EQ(NULL, mempool_get_block(blocks, NULL));
	EXPECT_EQ(ENOSPC, errno);
	for (i = 0; i < 10; i += 2)
		EXPECT_EQ(0, mempool_return_block(blocks, i));
	ASSERT_EQ(0, mempool_blocks_get_stats(blocks, &st, sizeof(st)));
	EXPECT_EQ(4, st.gaps);
	EXPECT_EQ(4, st.auto_coalesces);
	EXPECT_EQ(-ENOENT, mempool_return_block(blocks, 0));
	EXPECT_EQ(0, mempool_reset(blocks));
	EXPECT_EQ(0.0, mempool_get_efficiency(blocks));
	mempool_blocks_close(blocks);
}

TEST_F(inproc, named_pools_are_refused)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;

	opts.block_size = 4096;
	opts.num_blocks = 10;
	opts.name = "shared";
	EXPECT_EQ(-EOPNOTSUPP, mempool_blocks_create(&blocks, self->pool, &opts));
	EXPECT_EQ(-EOPNOTSUPP, mempool_blocks_open(&blocks, self->pool, "shared"));
	EXPECT_EQ(-EOPNOTSUPP, mempool_blocks_remove(self->pool, "shared"));
}

TEST(options_are_checked_like_the_modules)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mempool *pool;

	opts.device = "memfd:4M";
	opts.min_bytes = 6 * MIB;
	EXPECT_EQ(-ENOMEM, mempool_open(&pool, &opts));
	opts.min_bytes = 2 * MIB;
	opts.limit_bytes = 2 * MIB;
	ASSERT_EQ(0, mempool_open(&pool, &opts));
	EXPECT_EQ(NULL, mempool_alloc(pool, 3 * MIB));
	EXPECT_EQ(EDQUOT, errno);
	mempool_close(pool);
}

/* ---- configured until something was had -------------------------------------------- */

TEST(a_failed_preallocation_leaves_time_to_configure)
{
	struct mempool_configure conf = { .flags = MEMPOOL_CONFIGURE_MAX_CACHED, .max_cached = 3 };
	struct mempool_preallocate req = { .size = 16 << 20, .count = 1 };
	struct mp_device dev;

	ASSERT_EQ(0, mp_device_open(&dev, "memfd:8M", false));
	EXPECT_EQ(0, dev.ops->ioctl(&dev, MEMPOOL_IOC_CONFIGURE, &conf));
	EXPECT_EQ(-ENOMEM, dev.ops->ioctl(&dev, MEMPOOL_IOC_PREALLOCATE, &req));
	EXPECT_EQ(0, dev.ops->ioctl(&dev, MEMPOOL_IOC_CONFIGURE, &conf));
	req.size = 1;
	req.count = 1;
	EXPECT_EQ(0, dev.ops->ioctl(&dev, MEMPOOL_IOC_PREALLOCATE, &req));
	EXPECT_EQ(-EBUSY, dev.ops->ioctl(&dev, MEMPOOL_IOC_CONFIGURE, &conf));
	dev.ops->close(&dev);
}

TEST_HARNESS_MAIN
