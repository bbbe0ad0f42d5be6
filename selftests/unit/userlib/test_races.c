// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What may go on at the same time, under ThreadSanitizer, which ends the program
 * at the first pair of accesses that nothing orders: threads come and go, others
 * trim, ask for statistics, open and close block pools and sessions.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "libmempool_inline.h"

#define ROUNDS	150

FIXTURE(races) {
	struct mempool *pool;
	atomic_bool stop;
	atomic_uint failed;
};

static int open_pool(struct mempool **pool)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;

	opts.device = "memfd:32M";
	opts.cache_bytes = 1 << 20;
	return mempool_open(pool, &opts);
}

FIXTURE_SETUP(races)
{
	ASSERT_EQ(0, open_pool(&self->pool));
}

FIXTURE_TEARDOWN(races)
{
	struct mempool_stats stats;

	EXPECT_EQ(0, self->failed);
	EXPECT_EQ(0, mempool_flush(self->pool));
	EXPECT_EQ(0, mempool_get_stats(self->pool, &stats, sizeof(stats)));
	EXPECT_EQ(stats.total_allocations, stats.releases);
	EXPECT_EQ(0, stats.currently_allocated);
	mempool_close(self->pool);
}

static bool burst(struct mempool *pool, unsigned int nr, size_t size)
{
	unsigned int i, wrong = 0;
	char *ptrs[64];

	for (i = 0; i < nr; i++) {
		ptrs[i] = mempool_alloc_inline(pool, size);
		if (ptrs[i])
			ptrs[i][0] = ptrs[i][size - 1] = i;
	}
	for (i = 0; i < nr; i++) {
		wrong += ptrs[i] && (ptrs[i][0] != i || ptrs[i][size - 1] != i);
		wrong += mempool_release_inline(pool, ptrs[i]) != 0;
	}
	return !wrong;
}

static void *use_until_told(void *arg)
{
	FIXTURE_DATA(races) *self = arg;

	while (!self->stop)
		self->failed += !burst(self->pool, 40, 2000);
	return NULL;
}

static void *trim_until_told(void *arg)
{
	FIXTURE_DATA(races) *self = arg;
	struct mempool_stats stats;

	while (!self->stop) {
		self->failed += mempool_trim(self->pool) != 0;
		self->failed += mempool_get_stats(self->pool, &stats, sizeof(stats)) != 0;
		self->failed += stats.releases > stats.total_allocations;
	}
	return NULL;
}

static void *use_once(void *arg)
{
	FIXTURE_DATA(races) *self = arg;

	self->failed += !burst(self->pool, 20, 1000);
	return NULL;
}

static void end(pthread_t *threads, FIXTURE_DATA(races) *self)
{
	self->stop = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
}

TEST_F(races, threads_come_and_go_while_others_use_and_trim)
{
	pthread_t threads[2], thread;
	int i;

	ASSERT_EQ(0, pthread_create(&threads[0], NULL, use_until_told, self));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, trim_until_told, self));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, use_once, self));
		pthread_join(thread, NULL);
	}
	end(threads, self);
}

static void *flush_until_told(void *arg)
{
	FIXTURE_DATA(races) *self = arg;

	while (!self->stop) {
		self->failed += !burst(self->pool, 1, 2000);
		self->failed += mempool_flush(self->pool) != 0;
	}
	return NULL;
}

TEST_F(races, block_pools_come_and_go_while_others_trim)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	unsigned int indices[64];
	pthread_t threads[2];
	int i;

	opts.block_size = 1000;
	opts.num_blocks = 64;
	opts.cache_blocks = 8;
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, flush_until_told, self));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, trim_until_told, self));
	for (i = 0; i < 6 * ROUNDS; i++) {
		ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &opts));
		ASSERT_EQ(0, mempool_get_blocks(blocks, NULL, indices, 64));
		EXPECT_EQ(0, mempool_return_blocks(blocks, indices, 64));
		mempool_blocks_close(blocks);
	}
	end(threads, self);
}

struct recall {
	struct mempool_blocks *blocks;
	atomic_bool stop;
	atomic_uint failed;
};

static void *coalesce_until_told(void *arg)
{
	struct recall *recall = arg;

	while (!recall->stop)
		recall->failed += mempool_coalesce(recall->blocks) != 0;
	return NULL;
}

TEST_F(races, blocks_are_called_back_while_their_magazine_grows)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct recall recall = { 0 };
	unsigned int indices[64];
	pthread_t thread;
	int i;

	opts.block_size = 1000;
	opts.num_blocks = 256;
	opts.cache_blocks = 64;
	ASSERT_EQ(0, mempool_blocks_create(&recall.blocks, self->pool, &opts));
	ASSERT_EQ(0, pthread_create(&thread, NULL, coalesce_until_told, &recall));
	for (i = 0; i < 6 * ROUNDS; i++) {
		ASSERT_EQ(0, mempool_get_blocks(recall.blocks, NULL, indices, 64));
		EXPECT_EQ(0, mempool_return_blocks(recall.blocks, indices, 64));
	}
	recall.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, recall.failed);
	mempool_blocks_close(recall.blocks);
}

static void *sessions_until_told(void *arg)
{
	FIXTURE_DATA(races) *self = arg;
	struct mempool *pool;

	while (!self->stop) {
		if (open_pool(&pool)) {
			self->failed++;
			continue;
		}
		self->failed += !burst(pool, 20, 1000);
		self->failed += !burst(self->pool, 20, 1000);
		mempool_close(pool);
	}
	return NULL;
}

TEST_F(races, sessions_come_and_go_while_others_do)
{
	pthread_t other, thread;
	struct mempool *pool;
	int i;

	ASSERT_EQ(0, pthread_create(&other, NULL, sessions_until_told, self));
	for (i = 0; i < ROUNDS / 5; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, use_once, self));
		ASSERT_EQ(0, open_pool(&pool));
		EXPECT_TRUE(burst(pool, 20, 3000));
		mempool_close(pool);
		pthread_join(thread, NULL);
	}
	self->stop = true;
	pthread_join(other, NULL);
}

FIXTURE(orphans) {
	struct mempool *pools[2];
	pthread_barrier_t barrier;
	unsigned int failed;
};

FIXTURE_SETUP(orphans)
{
	ASSERT_EQ(0, pthread_barrier_init(&self->barrier, NULL, 2));
	self->failed = 0;
}

FIXTURE_TEARDOWN(orphans)
{
	pthread_barrier_destroy(&self->barrier);
}

static void *use_one_then_the_other(void *arg)
{
	FIXTURE_DATA(orphans) *self = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&self->barrier);
		self->failed += !burst(self->pools[0], 1, 1000);
		pthread_barrier_wait(&self->barrier);
		usleep(i % 10 * 20);
		self->failed += !burst(self->pools[1], 1, 1000);
		pthread_barrier_wait(&self->barrier);
	}
	return NULL;
}

TEST_F(orphans, a_session_ends_while_who_used_it_turns_to_another)
{
	pthread_t thread;
	unsigned int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, use_one_then_the_other, self));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, open_pool(&self->pools[0]));
		ASSERT_EQ(0, open_pool(&self->pools[1]));
		pthread_barrier_wait(&self->barrier);
		pthread_barrier_wait(&self->barrier);
		mempool_close(self->pools[0]);
		pthread_barrier_wait(&self->barrier);
		mempool_close(self->pools[1]);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, self->failed);
}

static void *use_large(void *arg)
{
	FIXTURE_DATA(races) *self = arg;
	int i;

	for (i = 0; i < ROUNDS; i++)
		burst(self->pool, 30, 400000);	/* more than there is, in all */
	return NULL;
}

TEST_F(races, all_run_out_of_memory_together)
{
	pthread_t threads[3];
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, use_large, self));
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

TEST_HARNESS_MAIN
