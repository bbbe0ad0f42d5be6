// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Checked mode, over the in-process device: what it finds, what it says, and
 * that it says nothing of a correct program. test_misuse.c has the results.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "internal.h"

#define MIB	(1u << 20)

FIXTURE(checked) {
	struct mempool *pool;
	struct mempool_options opts;
	int stderr_copy;
	int said;
	char text[4096];
};

FIXTURE_SETUP(checked)
{
	unsetenv("MEMPOOL_CHECK");
	self->opts = (struct mempool_options) MEMPOOL_OPTIONS_INIT;
	self->opts.device = "memfd:32M";
	self->opts.flags = MEMPOOL_OPEN_CHECK_REPORT;
	ASSERT_EQ(0, mempool_open(&self->pool, &self->opts));
	self->stderr_copy = dup(2);
	self->said = memfd_create("said", 0);
	ASSERT_EQ(2, dup2(self->said, 2));
}

FIXTURE_TEARDOWN(checked)
{
	mempool_close(self->pool);
	dup2(self->stderr_copy, 2);
	close(self->stderr_copy);
	close(self->said);
}

/* Has it said @what since it was last asked? */
static bool said(FIXTURE_DATA(checked) *self, const char *what)
{
	ssize_t n = pread(self->said, self->text, sizeof(self->text) - 1, 0);
	bool found;

	self->text[n > 0 ? n : 0] = 0;
	found = what ? strstr(self->text, what) != NULL : n > 0;
	if (ftruncate(self->said, 0) || lseek(self->said, 0, SEEK_SET))
		return false;
	return found;
}

/* As a program does that is not watched by any tool. */
static __attribute__((no_sanitize("address"), noinline)) void poke(void *ptr, size_t at)
{
	((volatile char *)ptr)[at] ^= 1;
}

static struct mempool_stats stats_of(struct mempool *pool)
{
	struct mempool_stats stats = { 0 };

	mempool_get_stats(pool, &stats, sizeof(stats));
	return stats;
}

/* ---- what it says ---------------------------------------------------------------- */

TEST_F(checked, the_second_release_is_named_with_the_first)
{
	void *ptr = mempool_alloc(self->pool, 1000);
	char line[64];

	mempool_release(self->pool, ptr);
	EXPECT_FALSE(said(self, NULL));
	mempool_release(self->pool, ptr);
	snprintf(line, sizeof(line), "mempool: mempool_release(%p): released before", ptr);
	EXPECT_TRUE(said(self, line));
	EXPECT_NE(NULL, strstr(self->text, "a block of 1000 bytes"));
	EXPECT_NE(NULL, strstr(self->text, "called by test_checked("));
	EXPECT_NE(NULL, strstr(self->text, "allocated by test_checked("));
	EXPECT_NE(NULL, strstr(self->text, "released by test_checked("));
}

static __attribute__((noinline)) void *its_return_address(void)
{
	return __builtin_return_address(0);
}

TEST_F(checked, the_address_said_is_the_callers)
{
	uintptr_t here, there;
	char *by;

	here = (uintptr_t)its_return_address();
	mempool_release(self->pool, (void *)(uintptr_t)64);
	ASSERT_TRUE(said(self, "called by"));
	by = strstr(self->text, " [0x");
	ASSERT_NE(NULL, by);
	there = strtoull(by + 2, NULL, 16);
	EXPECT_LE(here, there);
	EXPECT_LT(there - here, 4096);
}

TEST_F(checked, an_inlined_release_is_looked_at)
{
	void *ptr = mempool_alloc_inline(self->pool, 1000);

	EXPECT_EQ(0, mempool_release_inline(self->pool, ptr));
	EXPECT_EQ(-ENOENT, mempool_release_inline(self->pool, ptr));
	EXPECT_TRUE(said(self, "released before"));
}

TEST_F(checked, a_pointer_into_a_block_is_named_with_the_block)
{
	char *ptr = mempool_alloc(self->pool, 3 * MIB);

	EXPECT_EQ(-EINVAL, mempool_release(self->pool, ptr + 3000000));
	EXPECT_TRUE(said(self, "byte 3000000 of a live block of 3145728 bytes"));
	EXPECT_NE(NULL, strstr(self->text, "allocated by"));
	mempool_release(self->pool, ptr);
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, ptr + 8));
	EXPECT_TRUE(said(self, "byte 8 of a released block of 3145728 bytes"));
	EXPECT_NE(NULL, strstr(self->text, "released by"));
}

TEST_F(checked, foreign_memory_is_called_so)
{
	int local;

	mempool_release(self->pool, &local);
	EXPECT_TRUE(said(self, "not memory of this pool"));
}

TEST_F(checked, a_place_without_a_block_is_called_so)
{
	char *ptr = mempool_alloc(self->pool, 1000);

	mempool_release(self->pool, ptr + 8 * MIB);
	EXPECT_TRUE(said(self, "no block has begun here"));
}

TEST_F(checked, a_closed_pool_is_called_so)
{
	struct mempool_blocks *blocks;
	struct mempool_stats stats;
	struct mempool *pool;
	void *ptr;

	ASSERT_EQ(0, mempool_open(&pool, &self->opts));
	ptr = mempool_alloc(pool, 1000);
	mempool_close(pool);
	EXPECT_FALSE(said(self, NULL));
	EXPECT_EQ(-EPERM, mempool_release(pool, ptr));
	EXPECT_TRUE(said(self, "the pool is closed"));
	EXPECT_EQ(NULL, mempool_alloc(pool, 1));
	EXPECT_TRUE(said(self, "the pool is closed"));
	mempool_close(pool);
	EXPECT_TRUE(said(self, "mempool_close"));
	EXPECT_EQ(-EPERM, mempool_preallocate(pool, 1, 1));
	EXPECT_TRUE(said(self, "mempool_preallocate"));
	EXPECT_EQ(-EPERM, mempool_get_stats(pool, &stats, sizeof(stats)));
	EXPECT_TRUE(said(self, "mempool_get_stats"));
	EXPECT_EQ(-EPERM, mempool_blocks_create(&blocks, pool, NULL));
	EXPECT_TRUE(said(self, "mempool_blocks_create"));
	EXPECT_EQ(-EPERM, mempool_blocks_open(&blocks, pool, "name"));
	EXPECT_TRUE(said(self, "mempool_blocks_open"));
	EXPECT_EQ(-EPERM, mempool_blocks_remove(pool, "name"));
	EXPECT_TRUE(said(self, "mempool_blocks_remove"));
}

TEST_F(checked, a_closed_block_pool_is_called_so)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks_stats stats;
	struct mempool_blocks *blocks;
	unsigned int index;

	opts.block_size = opts.num_blocks = 100;
	ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &opts));
	ASSERT_NE(NULL, mempool_get_block(blocks, &index));
	mempool_blocks_close(blocks);
	EXPECT_FALSE(said(self, NULL));
	EXPECT_EQ(-EPERM, mempool_return_block(blocks, index));
	EXPECT_TRUE(said(self, "the pool is closed"));
	EXPECT_EQ(-EPERM, mempool_reset(blocks));
	EXPECT_TRUE(said(self, "mempool_reset"));
	EXPECT_EQ(-EPERM, mempool_blocks_get_stats(blocks, &stats, sizeof(stats)));
	EXPECT_TRUE(said(self, "mempool_blocks_get_stats"));
	EXPECT_EQ(NULL, mempool_block_at(blocks, index));
	EXPECT_TRUE(said(self, "mempool_block_at"));
	mempool_blocks_close(blocks);
	EXPECT_TRUE(said(self, "mempool_blocks_close"));
}

TEST_F(checked, a_report_leaves_errno_alone)
{
	int null = open("/dev/null", O_RDONLY), err = dup(STDERR_FILENO);

	dup2(null, STDERR_FILENO);	/* each write fails */
	errno = ENOTTY;
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, &null));
	EXPECT_EQ(ENOTTY, errno);
	dup2(err, STDERR_FILENO);
	close(null);
	close(err);
}

/* ---- writes ------------------------------------------------------------------------ */

TEST_F(checked, a_write_after_release_is_found_when_the_block_leaves)
{
	void *ptr = mempool_alloc(self->pool, 5000);

	mempool_release(self->pool, ptr);
	poke(ptr, 4999);
	EXPECT_FALSE(said(self, NULL));
	mempool_flush(self->pool);
	EXPECT_TRUE(said(self, "written to after its release (a block of 5000 bytes)"));
	EXPECT_NE(NULL, strstr(self->text, "released by"));
}

TEST_F(checked, a_write_after_release_is_found_by_later_releases)
{
	void *ptr = mempool_alloc(self->pool, 5000), *other;
	unsigned int i;

	mempool_release(self->pool, ptr);
	poke(ptr, 0);
	for (i = 0; i < 300; i++) {
		other = mempool_alloc(self->pool, 1000);
		mempool_release(self->pool, other);
	}
	EXPECT_TRUE(said(self, "written to after its release (a block of 5000 bytes)"));
}

TEST_F(checked, a_write_after_release_is_found_when_the_block_is_issued_again)
{
	void *ptr = mempool_alloc(self->pool, 5000), *again;

	mempool_release(self->pool, ptr);
	mempool_flush(self->pool);
	poke(ptr, 100);
	EXPECT_FALSE(said(self, NULL));
	again = mempool_alloc(self->pool, 5000);
	ASSERT_EQ(ptr, again);
	EXPECT_TRUE(said(self, "mempool_alloc"));
	EXPECT_NE(NULL, strstr(self->text, "written to after its release"));
}

TEST_F(checked, a_write_after_release_is_found_at_close)
{
	struct mempool *pool;
	void *ptr;

	ASSERT_EQ(0, mempool_open(&pool, &self->opts));
	ptr = mempool_alloc(pool, 5000);
	mempool_release(pool, ptr);
	poke(ptr, 1);
	mempool_close(pool);
	EXPECT_TRUE(said(self, "mempool_close"));
}

TEST_F(checked, a_write_beyond_the_end_is_found_at_the_release)
{
	void *ptr = mempool_alloc(self->pool, 1001);

	poke(ptr, 1001);
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_TRUE(said(self, "beyond its end (byte 1001 of a block of 1001 bytes)"));
}

TEST_F(checked, who_asks_for_the_usable_size_may_use_it)
{
	unsigned char *ptr = mempool_alloc(self->pool, 1001);

	ASSERT_EQ(1024, mempool_usable_size(self->pool, ptr));
	memset(ptr, 1, 1024);
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_FALSE(said(self, NULL));
}

TEST_F(checked, a_write_to_a_returned_block_is_found)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	unsigned int index, again;
	void *ptr;

	opts.block_size = 1000;
	opts.num_blocks = 1;
	ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &opts));
	ptr = mempool_get_block(blocks, &index);
	ASSERT_NE(NULL, ptr);
	EXPECT_EQ(0, mempool_return_block(blocks, index));
	poke(ptr, 999);
	EXPECT_NE(NULL, mempool_get_block(blocks, &again));
	EXPECT_TRUE(said(self, "block 0 was written to after its return"));
	EXPECT_NE(NULL, strstr(self->text, "returned by test_checked("));
	EXPECT_EQ(0, mempool_return_block(blocks, again));
	EXPECT_EQ(-ENOENT, mempool_return_block(blocks, again));
	EXPECT_TRUE(said(self, "mempool_return_block"));
	EXPECT_NE(NULL, strstr(self->text, "block 0 is not held: returned before"));
	EXPECT_EQ(-ERANGE, mempool_return_block(blocks, 1));
	EXPECT_TRUE(said(self, "there is no block 1"));
	mempool_blocks_close(blocks);
}

/* ---- a correct program --------------------------------------------------------------- */

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 8;
}

TEST_F(checked, a_correct_program_hears_nothing)
{
	unsigned char *ptrs[40] = { NULL };
	uint32_t seed = 1, sizes[40], i, round;
	struct mempool_stats stats;

	for (round = 0; round < 5000; round++) {
		i = next(&seed) % 40;
		if (ptrs[i]) {
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
			ptrs[i] = NULL;
		} else {
			sizes[i] = 1 + next(&seed) % (round % 20 ? 9000 : 3000000);
			ptrs[i] = round % 3 ? mempool_alloc(self->pool, sizes[i]) :
				  mempool_aligned_alloc(self->pool, 4096, sizes[i]);
			if (ptrs[i])
				memset(ptrs[i], i, sizes[i]);
		}
		if (round % 100 == 0)
			ASSERT_EQ(0, mempool_trim(self->pool));
	}
	for (i = 0; i < 40; i++)
		ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	stats = stats_of(self->pool);
	EXPECT_EQ(stats.total_allocations, stats.releases);
	EXPECT_EQ(0, stats.currently_allocated);
	EXPECT_EQ(0, stats.bad_releases);
	EXPECT_FALSE(said(self, NULL));
}

TEST_F(checked, a_block_pool_over_released_blocks_is_no_write_after_release)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	void *ptrs[16], *ptr;
	unsigned int i, j;

	self->opts.limit_bytes = 2 * MIB;
	self->opts.max_cached = 0;
	mempool_close(self->pool);
	ASSERT_EQ(0, mempool_open(&self->pool, &self->opts));
	ASSERT_NE(NULL, mempool_alloc(self->pool, 100000));	/* keeps the chunk ours */
	opts.block_size = MIB / 2;
	opts.num_blocks = 2;
	for (i = 0; i < 10; i++) {
		for (j = 0; j < 16; j++)
			ptrs[j] = mempool_alloc(self->pool, 100000);
		for (j = 0; j < 16; j++)
			mempool_release(self->pool, ptrs[j]);
		mempool_flush(self->pool);
		ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &opts));
		for (j = 0; j < 2; j++) {
			ptr = mempool_get_block(blocks, NULL);
			memset(ptr, 1, MIB / 2);
		}
		mempool_blocks_close(blocks);
	}
	EXPECT_FALSE(said(self, NULL));
}

TEST_F(checked, a_block_that_waits_is_no_reason_for_enomem)
{
	void *ptr, *last = NULL;

	while ((ptr = mempool_alloc(self->pool, 400000)))
		last = ptr;
	ASSERT_EQ(ENOMEM, errno);
	ASSERT_EQ(0, mempool_release(self->pool, last));
	EXPECT_EQ(last, mempool_alloc(self->pool, 400000));
	EXPECT_FALSE(said(self, NULL));
}

static void *churn(void *arg)
{
	struct mempool *pool = arg;
	uint32_t seed = (uintptr_t)&seed, i;
	void *ptrs[8] = { NULL };

	for (i = 0; i < 2000; i++) {
		uint32_t at = next(&seed) % 8, size = 1 + next(&seed) % 9000;

		mempool_release_inline(pool, ptrs[at]);
		ptrs[at] = mempool_alloc_inline(pool, size);
		if (ptrs[at])
			memset(ptrs[at], i, size);
	}
	for (i = 0; i < 8; i++)
		mempool_release(pool, ptrs[i]);
	return NULL;
}

TEST_F(checked, correct_threads_hear_nothing)
{
	pthread_t threads[4];
	unsigned int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn, self->pool));
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, stats_of(self->pool).currently_allocated);
	EXPECT_FALSE(said(self, NULL));
}

/* ---- who decides ----------------------------------------------------------------------- */

TEST_F(checked, by_default_an_error_ends_the_program)
{
	struct mempool *pool;
	int status;
	void *ptr;
	pid_t pid;

	self->opts.flags = MEMPOOL_OPEN_CHECK;
	ASSERT_EQ(0, mempool_open(&pool, &self->opts));
	ptr = mempool_alloc(pool, 1000);
	mempool_release(pool, ptr);
	mempool_close(pool);
	pid = fork();
	if (!pid) {
		if (mempool_open(&pool, &self->opts))
			_exit(1);
		ptr = mempool_alloc(pool, 1000);
		mempool_release(pool, ptr);
		mempool_release(pool, ptr);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGABRT, WTERMSIG(status));
	EXPECT_TRUE(said(self, "released before"));
}

TEST_F(checked, the_environment_decides_before_the_program)
{
	struct mempool *pool;
	void *ptr;

	setenv("MEMPOOL_CHECK", "0", 1);
	ASSERT_EQ(0, mempool_open(&pool, &self->opts));
	EXPECT_EQ(NULL, pool->checked);
	mempool_close(pool);
	setenv("MEMPOOL_CHECK", "1", 1);
	self->opts.flags = 0;
	ASSERT_EQ(0, mempool_open(&pool, &self->opts));
	EXPECT_EQ(MEMPOOL_OPEN_CHECK, pool->check);
	EXPECT_NE(NULL, pool->checked);
	mempool_close(pool);
	setenv("MEMPOOL_CHECK", "report", 1);
	ASSERT_EQ(0, mempool_open(&pool, &self->opts));
	ptr = mempool_alloc(pool, 1000);
	mempool_release(pool, ptr);
	EXPECT_EQ(-ENOENT, mempool_release(pool, ptr));
	EXPECT_TRUE(said(self, "released before"));
	mempool_close(pool);
}

TEST_F(checked, without_a_word_it_is_on_under_a_tool_only)
{
	struct mempool *pool;

	self->opts.flags = 0;
	ASSERT_EQ(0, mempool_open(&pool, &self->opts));
#ifdef __SANITIZE_ADDRESS__
	EXPECT_NE(NULL, pool->checked);
#else
	EXPECT_EQ(NULL, pool->checked);
#endif
	mempool_close(pool);
}

TEST_HARNESS_MAIN
