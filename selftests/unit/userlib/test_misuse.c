// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What a program can do wrong with a pool, over the in-process device: each with
 * caches, without, and in checked mode, and each with its result. Whatever was
 * done, the pool goes on and no two blocks are the same. In a guest it is run
 * over the module, as userlib_misuse.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "libmempool_inline.h"

#define MIB	(1u << 20)

#ifndef MISUSE_DEVICE
#define MISUSE_DEVICE	"memfd:32M"
#define MISUSE_READY	true
#endif

FIXTURE(misuse) {
	struct mempool *pool;
	void *block;
};

FIXTURE_VARIANT(misuse) {
	unsigned int flags;
	int64_t cache_bytes;
};

FIXTURE_VARIANT_ADD(misuse, with_caches) {
	.cache_bytes = MIB,
};

FIXTURE_VARIANT_ADD(misuse, without) {
	.cache_bytes = 0,
};

FIXTURE_VARIANT_ADD(misuse, checked) {
	.flags = MEMPOOL_OPEN_CHECK_REPORT,
	.cache_bytes = MIB,
};

static int open_pool(struct mempool **pool, unsigned int flags, int64_t cache_bytes)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;

	opts.device = MISUSE_DEVICE;
	opts.flags = flags;
	opts.cache_bytes = cache_bytes;
	return mempool_open(pool, &opts);
}

FIXTURE_SETUP(misuse)
{
	ASSERT_TRUE(MISUSE_READY);
	if (variant->flags)
		unsetenv("MEMPOOL_CHECK");
	ASSERT_EQ(0, open_pool(&self->pool, variant->flags, variant->cache_bytes));
	/* What checked mode says is another test's matter. */
	if (variant->flags)
		ASSERT_NE(NULL, freopen("/dev/null", "w", stderr));
	self->block = mempool_alloc(self->pool, 4096);
	ASSERT_NE(NULL, self->block);
	memset(self->block, 1, 4096);
}

static bool distinct(struct mempool *pool)
{
	unsigned char *ptrs[64];
	unsigned int i, j;
	bool ok = true;

	for (i = 0; i < 64; i++) {
		ptrs[i] = mempool_alloc(pool, 4096);
		if (!ptrs[i])
			return false;
		memset(ptrs[i], i, 4096);
	}
	for (i = 0; i < 64; i++)
		for (j = 0; j < 4096; j++)
			ok &= ptrs[i][j] == i;
	for (i = 0; i < 64; i++)
		ok &= !mempool_release(pool, ptrs[i]);
	return ok;
}

FIXTURE_TEARDOWN(misuse)
{
	EXPECT_TRUE(distinct(self->pool));
	mempool_close(self->pool);
}

static struct mempool_stats stats_of(struct mempool *pool)
{
	struct mempool_stats stats = { 0 };

	mempool_get_stats(pool, &stats, sizeof(stats));
	return stats;
}

TEST_F(misuse, a_second_release_is_enoent)
{
	EXPECT_EQ(0, mempool_release(self->pool, self->block));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, self->block));
	EXPECT_EQ(1, stats_of(self->pool).bad_releases);
	EXPECT_EQ(1, stats_of(self->pool).releases);
}

TEST_F(misuse, a_second_release_by_the_inlined_call_is_enoent)
{
	EXPECT_EQ(0, mempool_release_inline(self->pool, self->block));
	EXPECT_EQ(-ENOENT, mempool_release_inline(self->pool, self->block));
	EXPECT_EQ(1, stats_of(self->pool).bad_releases);
}

TEST_F(misuse, a_second_release_in_bulk_is_enoent_and_the_rest_goes)
{
	void *ptrs[3] = { self->block, self->block, mempool_alloc(self->pool, 4096) };

	EXPECT_EQ(-ENOENT, mempool_release_bulk(self->pool, ptrs, 3));
	EXPECT_EQ(0, stats_of(self->pool).currently_allocated);
}

TEST_F(misuse, a_second_release_after_many_others_is_enoent)
{
	void *ptrs[32];
	unsigned int i;

	for (i = 0; i < 32; i++)
		ptrs[i] = mempool_alloc(self->pool, 4096);
	EXPECT_EQ(0, mempool_release(self->pool, self->block));
	for (i = 0; i < 32; i++)
		ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, self->block));
	EXPECT_EQ(1, stats_of(self->pool).bad_releases);
}

TEST_F(misuse, a_release_after_a_trim_is_enoent)
{
	EXPECT_EQ(0, mempool_release(self->pool, self->block));
	ASSERT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, self->block));
}

TEST_F(misuse, a_release_after_clear_is_enoent)
{
	ASSERT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, self->block));
}

TEST_F(misuse, a_pointer_into_a_block_is_einval)
{
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, (char *)self->block + 1));
	EXPECT_EQ(-EINVAL, mempool_release_inline(self->pool, (char *)self->block + 64));
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, (char *)self->block + 1024));
	EXPECT_EQ(3, stats_of(self->pool).bad_releases);
	EXPECT_EQ(0, mempool_release(self->pool, self->block));
}

TEST_F(misuse, memory_of_others_is_einval)
{
	char local[64], *heap = malloc(4096);

	EXPECT_EQ(-EINVAL, mempool_release(self->pool, local));
	EXPECT_EQ(-EINVAL, mempool_release_inline(self->pool, heap));
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, (void *)(uintptr_t)64));
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, (void *)UINTPTR_MAX));
	EXPECT_EQ(4, stats_of(self->pool).bad_releases);
	free(heap);
}

TEST_F(misuse, another_pools_block_is_einval_and_stays_its)
{
	struct mempool *other;
	void *theirs;

	ASSERT_EQ(0, open_pool(&other, variant->flags, variant->cache_bytes));
	theirs = mempool_alloc(other, 4096);
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, theirs));
	EXPECT_EQ(-EINVAL, mempool_release_inline(self->pool, theirs));
	EXPECT_EQ(0, mempool_release(other, theirs));
	mempool_close(other);
}

TEST_F(misuse, memory_where_no_block_was_is_enoent)
{
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, (char *)self->block + 8 * MIB));
}

/* ---- other threads ------------------------------------------------------------ */

static void *release_it(void *arg)
{
	FIXTURE_DATA(misuse) *self = arg;

	return (void *)(intptr_t)mempool_release(self->pool, self->block);
}

static void *use_then_release(void *arg)
{
	FIXTURE_DATA(misuse) *self = arg;

	mempool_release(self->pool, mempool_alloc(self->pool, 4096));
	return release_it(arg);
}

static intptr_t in_thread(void *(*fn)(void *), void *arg)
{
	void *result = (void *)-1000;
	pthread_t thread;

	if (!pthread_create(&thread, NULL, fn, arg))
		pthread_join(thread, &result);
	return (intptr_t)result;
}

TEST_F(misuse, a_thread_that_has_no_cache_may_release)
{
	EXPECT_EQ(0, in_thread(release_it, self));
	EXPECT_EQ(0, stats_of(self->pool).currently_allocated);
	EXPECT_EQ(0, stats_of(self->pool).bad_releases);
}

TEST_F(misuse, another_thread_may_release)
{
	EXPECT_EQ(0, in_thread(use_then_release, self));
	EXPECT_EQ(0, stats_of(self->pool).currently_allocated);
}

TEST_F(misuse, a_second_release_by_another_thread_is_enoent)
{
	EXPECT_EQ(0, mempool_release(self->pool, self->block));
	EXPECT_EQ(-ENOENT, in_thread(release_it, self));
	EXPECT_EQ(-ENOENT, in_thread(use_then_release, self));
	EXPECT_EQ(2, stats_of(self->pool).bad_releases);
}

TEST_F(misuse, a_second_release_after_the_first_ones_thread_has_ended_is_enoent)
{
	EXPECT_EQ(0, in_thread(use_then_release, self));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, self->block));
}

/* ---- after close, and in a child ------------------------------------------------ */

TEST_F(misuse, a_closed_pool_refuses_all_calls)
{
	struct mempool_stats stats;
	struct mempool *pool;
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	void *ptr, *ptrs[2];

	opts.block_size = opts.num_blocks = 8;
	ASSERT_EQ(0, open_pool(&pool, variant->flags, variant->cache_bytes));
	ptr = mempool_alloc(pool, 4096);
	mempool_release(pool, mempool_alloc(pool, 4096));
	mempool_close(pool);
	EXPECT_EQ(-EPERM, mempool_release(pool, ptr));
	EXPECT_EQ(-EPERM, mempool_release_inline(pool, ptr));
	ptrs[0] = ptr;
	EXPECT_EQ(-EPERM, mempool_release_bulk(pool, ptrs, 1));
	EXPECT_EQ(NULL, mempool_alloc(pool, 4096));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(NULL, mempool_alloc_inline(pool, 4096));
	EXPECT_EQ(NULL, mempool_aligned_alloc(pool, 64, 4096));
	EXPECT_EQ(-EPERM, mempool_alloc_bulk(pool, 4096, ptrs, 2));
	EXPECT_EQ(-EPERM, mempool_trim(pool));
	EXPECT_EQ(-EPERM, mempool_clear(pool));
	EXPECT_EQ(-EPERM, mempool_flush(pool));
	EXPECT_EQ(-EPERM, mempool_preallocate(pool, 4096, 1));
	EXPECT_EQ(-EPERM, mempool_get_stats(pool, &stats, sizeof(stats)));
	EXPECT_EQ(-EPERM, mempool_blocks_create(&blocks, pool, &opts));
	EXPECT_EQ(-EPERM, mempool_blocks_open(&blocks, pool, "name"));
	EXPECT_EQ(-EPERM, mempool_blocks_remove(pool, "name"));
	EXPECT_EQ(0, mempool_usable_size(pool, ptr));
	EXPECT_EQ(4096, mempool_round_to_bucket(pool, 4000));
	mempool_close(pool);
}

TEST_F(misuse, a_closed_block_pool_refuses_all_calls)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks_stats stats;
	struct mempool_blocks *blocks;
	unsigned int index, got;
	uint64_t token;
	char text[8];
	void *ptr;

	opts.block_size = opts.num_blocks = 100;
	if (variant->cache_bytes)
		opts.cache_blocks = 16;
	ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &opts));
	ptr = mempool_get_block(blocks, &index);
	ASSERT_NE(NULL, ptr);
	mempool_blocks_close(blocks);
	EXPECT_EQ(-EPERM, mempool_return_block(blocks, index));
	EXPECT_EQ(-EPERM, mempool_return_blocks(blocks, &index, 1));
	EXPECT_EQ(-EPERM, mempool_return_blocks_inline(blocks, &index, 1));
	errno = 0;
	EXPECT_EQ(NULL, mempool_get_block(blocks, &got));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-EPERM, mempool_get_blocks(blocks, NULL, &got, 1));
	EXPECT_EQ(-EPERM, mempool_get_blocks_inline(blocks, NULL, &got, 1));
	errno = 0;
	EXPECT_EQ(NULL, mempool_block_at(blocks, index));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-EPERM, mempool_block_index(blocks, ptr, &got));
	EXPECT_EQ(-EPERM, mempool_block_token(blocks, index, &token));
	EXPECT_EQ(-EPERM, mempool_adopt_block(blocks, 0));
	EXPECT_EQ(-EPERM, mempool_coalesce(blocks));
	EXPECT_EQ(-EPERM, mempool_reset(blocks));
	EXPECT_EQ(-EPERM, mempool_blocks_get_stats(blocks, &stats, sizeof(stats)));
	EXPECT_EQ(-EPERM, mempool_describe(blocks, text, sizeof(text)));
	EXPECT_EQ(-1.0, mempool_get_fragmentation(blocks));
	EXPECT_EQ(-1.0, mempool_get_efficiency(blocks));
	mempool_blocks_close(blocks);
}

/* The wrong order, and its handle says so. */
TEST_F(misuse, a_block_pool_may_be_closed_after_its_pool)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	struct mempool *pool;
	unsigned int index;

	opts.block_size = opts.num_blocks = 100;
	if (variant->cache_bytes)
		opts.cache_blocks = 16;
	ASSERT_EQ(0, open_pool(&pool, variant->flags, variant->cache_bytes));
	ASSERT_EQ(0, mempool_blocks_create(&blocks, pool, &opts));
	ASSERT_NE(NULL, mempool_get_block(blocks, &index));
	mempool_close(pool);
	EXPECT_EQ(-EPERM, mempool_return_block(blocks, index));
	EXPECT_EQ(NULL, mempool_get_block(blocks, &index));
	mempool_blocks_close(blocks);
	EXPECT_EQ(-EPERM, mempool_return_block(blocks, index));
	mempool_blocks_close(blocks);
}

static void *use_closed(void *arg)
{
	pthread_barrier_t **barriers = ((void **)arg)[1];
	struct mempool *pool = ((void **)arg)[0];
	void *ptrs[32], *ptr;
	intptr_t ret;
	int i;

	for (i = 0; i < 32; i++)
		ptrs[i] = mempool_alloc(pool, 1024);
	for (i = 0; i < 32; i++)
		mempool_release(pool, ptrs[i]);
	pthread_barrier_wait(barriers[0]);
	pthread_barrier_wait(barriers[1]);	/* it is closed */
	ret = mempool_alloc_inline(pool, 1024) ? 1 : 0;
	ret |= mempool_release_inline(pool, ptrs[0]) == -EPERM ? 0 : 2;
	if (open_pool(&pool, 0, MIB))
		return (void *)4;
	ptr = mempool_alloc_inline(pool, 1024);
	ret |= ptr && !mempool_release_inline(pool, ptr) ? 0 : 8;
	mempool_close(pool);
	return (void *)ret;
}

TEST_F(misuse, a_pool_may_be_closed_while_other_threads_have_full_caches)
{
	pthread_barrier_t full, closed, *barriers[2] = { &full, &closed };
	struct mempool *pool;
	void *args[2] = { NULL, barriers }, *result;
	pthread_t thread;

	ASSERT_EQ(0, open_pool(&pool, variant->flags, variant->cache_bytes));
	args[0] = pool;
	pthread_barrier_init(&full, NULL, 2);
	pthread_barrier_init(&closed, NULL, 2);
	ASSERT_EQ(0, pthread_create(&thread, NULL, use_closed, args));
	pthread_barrier_wait(&full);
	mempool_close(pool);
	pthread_barrier_wait(&closed);
	pthread_join(thread, &result);
	EXPECT_EQ(NULL, result);
	pthread_barrier_destroy(&full);
	pthread_barrier_destroy(&closed);
}

TEST_F(misuse, a_child_is_refused_and_the_parents_block_stays)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(mempool_release(self->pool, self->block) != -EPERM ||
		      mempool_release_inline(self->pool, self->block) != -EPERM ||
		      mempool_alloc_inline(self->pool, 4096) || errno != EPERM);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mempool_release(self->pool, self->block));
}

/* Of that it has a copy, which another thread may just have locked. */
TEST_F(misuse, a_child_gets_statistics_but_of_an_in_process_device)
{
	int want = strncmp(MISUSE_DEVICE, "memfd:", 6) ? 0 : -EPERM, status;
	struct mempool_stats stats;
	pid_t pid = fork();

	if (!pid)
		_exit(mempool_get_stats(self->pool, &stats, sizeof(stats)) != want);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(misuse, statistics_of_no_known_size_are_refused)
{
	struct {
		struct mempool_stats stats;
		uint64_t later;
	} longer = { .later = 1 };

	EXPECT_EQ(-EINVAL, mempool_get_stats(self->pool, &longer.stats, 0));
	EXPECT_EQ(-EINVAL, mempool_get_stats(self->pool, &longer.stats,
					     sizeof(longer.stats) - 1));
	EXPECT_EQ(0, mempool_get_stats(self->pool, &longer.stats, sizeof(longer)));
	EXPECT_EQ(1, longer.stats.currently_allocated);
	EXPECT_EQ(0, longer.later);
}

/* ---- block pools ----------------------------------------------------------------- */

static int new_blocks(struct mempool_blocks **blocks, struct mempool *pool)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;

	opts.block_size = 1000;
	opts.num_blocks = 8;
	return mempool_blocks_create(blocks, pool, &opts);
}

TEST_F(misuse, bad_returns_are_refused)
{
	struct mempool_blocks_stats stats;
	struct mempool_blocks *blocks;
	unsigned int index, twice[2];

	EXPECT_EQ(-EINVAL, mempool_blocks_get_stats(NULL, &stats, sizeof(stats) - 1));

	ASSERT_EQ(0, new_blocks(&blocks, self->pool));
	ASSERT_NE(NULL, mempool_get_block(blocks, &index));
	EXPECT_EQ(-ENOENT, mempool_return_block(blocks, (index + 1) % 8));
	EXPECT_EQ(-ERANGE, mempool_return_block(blocks, 8));
	EXPECT_EQ(-ERANGE, mempool_return_block(blocks, UINT32_MAX));
	EXPECT_EQ(0, mempool_return_block(blocks, index));
	EXPECT_EQ(-ENOENT, mempool_return_block(blocks, index));
	ASSERT_NE(NULL, mempool_get_block(blocks, &index));
	twice[0] = twice[1] = index;
	EXPECT_EQ(-ENOENT, mempool_return_blocks(blocks, twice, 2));
	ASSERT_EQ(0, mempool_blocks_get_stats(blocks, &stats, sizeof(stats)));
	EXPECT_EQ(0, stats.held);
	EXPECT_EQ(2, stats.returns);
	mempool_blocks_close(blocks);
}

TEST_F(misuse, a_return_after_a_reset_is_refused)
{
	struct mempool_blocks *blocks;
	unsigned int index;

	ASSERT_EQ(0, new_blocks(&blocks, self->pool));
	ASSERT_NE(NULL, mempool_get_block(blocks, &index));
	ASSERT_EQ(0, mempool_reset(blocks));
	EXPECT_EQ(-ENOENT, mempool_return_block(blocks, index));
	mempool_blocks_close(blocks);
}

TEST_HARNESS_MAIN
