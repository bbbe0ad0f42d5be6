// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Block pools with a cache, over the in-process device, whose commands are
 * counted: what is counted, who gets what back when, and that errors stay errors.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "counted.h"

#define BLOCKS	1000u

static struct mempool_blocks_stats blocks_stats(struct mempool_blocks *blocks)
{
	struct mempool_blocks_stats stats;

	memset(&stats, 0xff, sizeof(stats));
	mempool_blocks_get_stats(blocks, &stats, sizeof(stats));
	return stats;
}

/* Blocks that the device counts as issued: those in caches too. */
static uint64_t device_issued(struct mempool_blocks *blocks)
{
	struct mempool_pool_stats stats = { .pool = blocks->handle };

	mp_ioctl(blocks->head.pool, MEMPOOL_IOC_POOL_STATS, &stats);
	return stats.issued;
}

FIXTURE(pools) {
	struct mempool *pool;
	struct mempool_blocks *blocks;
	struct mempool_blocks_options opts;
};

FIXTURE_SETUP(pools)
{
	self->opts = (struct mempool_blocks_options) MEMPOOL_BLOCKS_OPTIONS_INIT;
	self->opts.block_size = 1000;
	self->opts.num_blocks = BLOCKS;
	self->opts.cache_blocks = 64;
	ASSERT_EQ(0, open_counted(&self->pool, NULL));
	ASSERT_EQ(0, mempool_blocks_create(&self->blocks, self->pool, &self->opts));
}

FIXTURE_TEARDOWN(pools)
{
	mempool_blocks_close(self->blocks);
	mempool_close(self->pool);
}

/* ---- no commands in the steady state ----------------------------------------- */

TEST_F(pools, a_warm_pair_sends_no_command)
{
	unsigned int before = 0, i, index;

	for (i = 0; i < 1000; i++) {
		if (i == 10)
			before = commands;
		ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
		ASSERT_EQ(0, mempool_return_block(self->blocks, index));
	}
	EXPECT_EQ(before, commands);
}

TEST_F(pools, warm_bulks_beyond_a_magazine_send_no_command)
{
	unsigned int before = 0, round, indices[500];

	for (round = 0; round < 30; round++) {
		if (round == 20)
			before = commands;
		ASSERT_EQ(0, mempool_get_blocks_inline(self->blocks, NULL, indices, 500));
		ASSERT_EQ(0, mempool_return_blocks_inline(self->blocks, indices, 500));
	}
	EXPECT_EQ(before, commands);
}

TEST_F(pools, without_a_cache_each_call_is_a_command)
{
	struct mempool_blocks *blocks;
	unsigned int before, index;

	self->opts.cache_blocks = 0;
	ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &self->opts));
	before = commands;
	ASSERT_EQ(0, mempool_get_blocks_inline(blocks, NULL, &index, 1));
	ASSERT_EQ(0, mempool_return_blocks_inline(blocks, &index, 1));
	EXPECT_EQ(before + 2, commands);
	mempool_blocks_close(blocks);
}

TEST_F(pools, a_named_pool_has_no_cache)
{
	struct mempool_blocks *blocks;

	self->opts.name = "name";
	EXPECT_EQ(-EINVAL, mempool_blocks_create(&blocks, self->pool, &self->opts));
}

/* ---- blocks ------------------------------------------------------------------ */

TEST_F(pools, blocks_are_apart_and_found_at_their_indices)
{
	unsigned int indices[BLOCKS], i;
	static unsigned char seen[BLOCKS];
	void *ptrs[BLOCKS];

	ASSERT_EQ(0, mempool_get_blocks_inline(self->blocks, ptrs, indices, 61));
	ASSERT_EQ(0, mempool_get_blocks_inline(self->blocks, ptrs + 61, indices + 61, 2));
	for (i = 63; i < 70; i++)
		ptrs[i] = mempool_get_block(self->blocks, &indices[i]);
	ASSERT_EQ(0, mempool_get_blocks(self->blocks, ptrs + 70, indices + 70, BLOCKS - 70));
	for (i = 0; i < BLOCKS; i++) {
		ASSERT_GT(BLOCKS, indices[i]);
		ASSERT_EQ(0, seen[indices[i]]++);
		ASSERT_EQ(mempool_block_at(self->blocks, indices[i]), ptrs[i]);
	}
	EXPECT_EQ(100.0, blocks_stats(self->blocks).efficiency);
}

TEST_F(pools, every_block_can_be_had_and_no_more)
{
	unsigned int indices[BLOCKS], index, i;

	for (i = 0; i < BLOCKS; i++)
		ASSERT_NE(NULL, mempool_get_block(self->blocks, &indices[i]));
	errno = 0;
	EXPECT_EQ(NULL, mempool_get_block(self->blocks, &index));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(0, mempool_return_blocks(self->blocks, indices, BLOCKS));
	EXPECT_EQ(BLOCKS, blocks_stats(self->blocks).free);
}

TEST_F(pools, bulk_is_all_or_nothing)
{
	static unsigned int indices[BLOCKS + 1];

	EXPECT_EQ(-ENOSPC, mempool_get_blocks(self->blocks, NULL, indices, BLOCKS + 1));
	EXPECT_EQ(0, blocks_stats(self->blocks).issued);
	EXPECT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, BLOCKS));
	EXPECT_EQ(BLOCKS, blocks_stats(self->blocks).issued);
}

TEST_F(pools, after_a_coalesce_the_lowest_come_first)
{
	unsigned int indices[100], index, i;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 100));
	for (i = 0; i < 100; i += 3)
		ASSERT_EQ(0, mempool_return_block(self->blocks, indices[i]));
	ASSERT_EQ(0, mempool_coalesce(self->blocks));
	EXPECT_EQ(0.0, blocks_stats(self->blocks).free_list_disorder);
	for (i = 0; i < 100; i += 3)
		if (indices[i] < indices[0])
			indices[0] = indices[i];
	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	EXPECT_EQ(indices[0], index);
}

/* ---- errors ------------------------------------------------------------------ */

TEST_F(pools, a_second_return_is_enoent_and_changes_nothing)
{
	unsigned int index;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	ASSERT_EQ(0, mempool_return_block(self->blocks, index));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, index));
	EXPECT_EQ(-ENOENT, mempool_return_blocks_inline(self->blocks, &index, 1));
	EXPECT_EQ(2, blocks_stats(self->blocks).bad_returns);
	EXPECT_EQ(1, blocks_stats(self->blocks).returns);
	EXPECT_EQ(BLOCKS, blocks_stats(self->blocks).free);
}

TEST_F(pools, one_that_comes_twice_in_a_bulk_is_enoent_the_others_go)
{
	unsigned int indices[8], again[9], i;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 8));
	memcpy(again, indices, sizeof(indices));
	again[8] = again[2];
	EXPECT_EQ(-ENOENT, mempool_return_blocks_inline(self->blocks, again, 9));
	EXPECT_EQ(1, blocks_stats(self->blocks).bad_returns);
	EXPECT_EQ(8, blocks_stats(self->blocks).returns);
	EXPECT_EQ(0, blocks_stats(self->blocks).issued);
	for (i = 0; i < BLOCKS; i++)
		ASSERT_NE(NULL, mempool_get_block(self->blocks, &again[0]));
}

/* Another thread may just be getting it: only who has a block says what becomes of it. */
TEST_F(pools, a_wrong_return_writes_nothing)
{
	unsigned int held[2], twice[3], i;
	unsigned char *out = self->blocks->head.out;

	for (i = 0; i < 2; i++)
		ASSERT_NE(NULL, mempool_get_block(self->blocks, &held[i]));
	ASSERT_EQ(0, mempool_return_block(self->blocks, held[1]));
	twice[0] = held[1];
	twice[1] = twice[2] = (held[1] + 1) % BLOCKS;
	ASSERT_EQ(0, mprotect(out, 1, PROT_READ));
	EXPECT_EQ(-ENOENT, mempool_return_blocks_inline(self->blocks, &held[1], 1));
	EXPECT_EQ(-ENOENT, mempool_return_blocks_inline(self->blocks, twice, 3));
	ASSERT_EQ(0, mprotect(out, 1, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, mempool_return_blocks_inline(self->blocks, &held[0], 1));
}

TEST_F(pools, indices_beyond_the_pool_are_erange)
{
	unsigned int indices[5];

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 5));
	EXPECT_EQ(-ERANGE, mempool_return_block(self->blocks, BLOCKS));
	EXPECT_EQ(-ERANGE, mempool_return_block(self->blocks, 1023));
	EXPECT_EQ(-ERANGE, mempool_return_block(self->blocks, 1024));
	EXPECT_EQ(-ERANGE, mempool_return_block(self->blocks, -1u));
	indices[3] = -1u;
	EXPECT_EQ(-ERANGE, mempool_return_blocks_inline(self->blocks, indices, 5));
	EXPECT_EQ(4, blocks_stats(self->blocks).returns);
	EXPECT_EQ(5, blocks_stats(self->blocks).bad_returns);
}

TEST_F(pools, never_issued_is_enoent)
{
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, BLOCKS - 1));
}

TEST_F(pools, there_are_no_tokens)
{
	unsigned int index;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	EXPECT_EQ(-EOPNOTSUPP, mempool_block_token(self->blocks, index, &token));
	EXPECT_EQ(-EOPNOTSUPP, mempool_adopt_block(self->blocks, index));
}

TEST_F(pools, nowhere_to_put_blocks_is_einval_when_warm)
{
	unsigned int index;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	EXPECT_EQ(-EINVAL, mempool_get_blocks_inline(self->blocks, NULL, NULL, 1));
}

/* ---- statistics -------------------------------------------------------------- */

TEST_F(pools, one_threads_statistics_are_exact)
{
	unsigned int live[300], nr = 0, step, i, part, bad = 0;
	uint64_t gets = 0, returns = 0;
	struct mempool_blocks_stats s;
	uint32_t seed = 1;

	for (step = 0; step < 20000; step++) {
		seed = seed * 1103515245u + 12345u;
		part = 1 + (seed >> 8) % 40;
		if ((seed >> 20) % 2 && nr + part <= 300) {
			ASSERT_EQ(0, mempool_get_blocks_inline(self->blocks, NULL, live + nr, part));
			nr += part;
			gets += part;
		} else if (part <= nr) {
			nr -= part;
			ASSERT_EQ(0, mempool_return_blocks_inline(self->blocks, live + nr, part));
			returns += part;
		}
		if (step % 500)
			continue;
		bad += !mempool_return_block(self->blocks, BLOCKS - 1 - step % 7);
		if (step % 1000 == 500)
			mempool_flush(self->pool);
		s = blocks_stats(self->blocks);
		ASSERT_EQ(gets, s.gets);
		ASSERT_EQ(returns, s.returns);
		ASSERT_EQ(nr, s.issued);
		ASSERT_EQ(nr, s.held);
		ASSERT_EQ(BLOCKS - nr, s.free);
		ASSERT_EQ(step / 500 + 1, s.bad_returns);
	}
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, mempool_return_block(self->blocks, live[i]));
	EXPECT_EQ(0, bad);
	EXPECT_EQ(0.0, mempool_get_efficiency(self->blocks));
	EXPECT_EQ(0.0, mempool_get_fragmentation(self->blocks));
}

TEST_F(pools, fragmentation_counts_what_lies_in_caches)
{
	unsigned int indices[BLOCKS], i;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, BLOCKS));
	ASSERT_EQ(0, mempool_return_block(self->blocks, 1));
	ASSERT_EQ(0, mempool_return_block(self->blocks, 2));
	EXPECT_EQ(0.0, mempool_get_fragmentation(self->blocks));
	ASSERT_EQ(0, mempool_return_block(self->blocks, 7));
	EXPECT_EQ(50.0, mempool_get_fragmentation(self->blocks));
	for (i = 0; i < 20; i++)
		mempool_return_block(self->blocks, i);
	EXPECT_EQ(0.0, mempool_get_fragmentation(self->blocks));
}

TEST_F(pools, disorder_is_seen_in_a_cache)
{
	unsigned int indices[4];

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 4));
	ASSERT_EQ(0, mempool_coalesce(self->blocks));
	EXPECT_EQ(0.0, blocks_stats(self->blocks).free_list_disorder);
	ASSERT_EQ(0, mempool_return_block(self->blocks, 0));
	ASSERT_EQ(0, mempool_return_block(self->blocks, 3));
	EXPECT_LT(0.0, blocks_stats(self->blocks).free_list_disorder);
}

/* ---- the whole pool ---------------------------------------------------------- */

TEST_F(pools, flush_gives_all_back)
{
	unsigned int index;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	ASSERT_LT(1, device_issued(self->blocks));
	EXPECT_EQ(0, mempool_flush(self->pool));
	EXPECT_EQ(1, device_issued(self->blocks));
	EXPECT_EQ(0, mempool_return_block(self->blocks, index));
}

TEST_F(pools, reset_returns_every_block)
{
	unsigned int indices[300];

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 300));
	ASSERT_EQ(0, mempool_return_blocks(self->blocks, indices, 50));
	EXPECT_EQ(0, mempool_reset(self->blocks));
	EXPECT_EQ(0, blocks_stats(self->blocks).issued);
	EXPECT_EQ(300, blocks_stats(self->blocks).returns);
	EXPECT_EQ(0, device_issued(self->blocks));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, indices[100]));
}

TEST_F(pools, more_pools_than_ids_work)
{
	struct mempool_blocks *many[100];
	unsigned int i, index;

	self->opts.num_blocks = 10;
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, mempool_blocks_create(&many[i], self->pool, &self->opts));
	for (i = 0; i < 100; i++) {
		ASSERT_NE(NULL, mempool_get_block(many[i], &index));
		ASSERT_EQ(0, mempool_return_block(many[i], index));
		EXPECT_EQ(1, blocks_stats(many[i]).gets);
	}
	for (i = 0; i < 100; i++)
		mempool_blocks_close(many[i]);
}

TEST_F(pools, an_id_is_used_again)
{
	struct mempool_blocks *blocks;
	unsigned int i, indices[10];

	self->opts.num_blocks = 10;
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &self->opts));
		ASSERT_NE(0, blocks->head.magazine);
		ASSERT_EQ(0, mempool_get_blocks(blocks, NULL, indices, 10));
		ASSERT_EQ(0, mempool_return_blocks(blocks, indices, 9));
		ASSERT_EQ(10, blocks_stats(blocks).gets);
		ASSERT_EQ(1, blocks_stats(blocks).issued);
		mempool_blocks_close(blocks);
	}
}

/* ---- threads ----------------------------------------------------------------- */

struct job {
	struct mempool *pool;
	struct mempool_blocks *blocks;
	pthread_barrier_t barrier;
	atomic_uint owner[BLOCKS];
	atomic_uint wrong;
};

/* Get some, see that nobody else has them, return them. */
static void *churn(void *arg)
{
	struct job *job = arg;
	unsigned int indices[48], i, nr, round;

	for (round = 0; round < 20000; round++) {
		nr = 1 + round % 48;
		if (mempool_get_blocks_inline(job->blocks, NULL, indices, nr)) {
			atomic_fetch_add(&job->wrong, 1);
			continue;
		}
		for (i = 0; i < nr; i++)
			atomic_fetch_add(&job->wrong, atomic_fetch_add(&job->owner[indices[i]], 1));
		for (i = 0; i < nr; i++)
			atomic_fetch_sub(&job->owner[indices[i]], 1);
		if (mempool_return_blocks_inline(job->blocks, indices, nr))
			atomic_fetch_add(&job->wrong, 1);
		if (round % 5000 == 4999)
			mempool_trim(job->pool);
	}
	return NULL;
}

TEST_F(pools, no_block_is_two_threads)
{
	static struct job job;
	pthread_t threads[4];
	int i;

	job.pool = self->pool;
	job.blocks = self->blocks;
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn, &job));
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, job.wrong);
	EXPECT_EQ(blocks_stats(self->blocks).gets, blocks_stats(self->blocks).returns);
	EXPECT_LT(4 * 20000 * 20, blocks_stats(self->blocks).gets);
	EXPECT_EQ(0, blocks_stats(self->blocks).issued);
	EXPECT_EQ(0, blocks_stats(self->blocks).bad_returns);
	EXPECT_EQ(0, mempool_flush(self->pool));
	EXPECT_EQ(0, device_issued(self->blocks));
}

static void *use_and_wait(void *arg)
{
	struct job *job = arg;
	unsigned int indices[40];

	if (mempool_get_blocks(job->blocks, NULL, indices, 40) ||
	    mempool_return_blocks(job->blocks, indices, 40))
		atomic_fetch_add(&job->wrong, 1);
	pthread_barrier_wait(&job->barrier);
	pthread_barrier_wait(&job->barrier);
	/* What was its magazine's pool may be closed by now. */
	mempool_release(job->pool, mempool_alloc(job->pool, 1000));
	mempool_trim(job->pool);
	return NULL;
}

TEST_F(pools, a_pool_may_be_closed_that_other_threads_have_blocks_of)
{
	struct job job = { .pool = self->pool };
	struct mempool_blocks *other;
	unsigned int indices[10];
	pthread_t thread;
	uint32_t id;

	self->opts.num_blocks = 200;
	ASSERT_EQ(0, mempool_blocks_create(&job.blocks, self->pool, &self->opts));
	id = job.blocks->head.magazine;
	pthread_barrier_init(&job.barrier, NULL, 2);
	ASSERT_EQ(0, pthread_create(&thread, NULL, use_and_wait, &job));
	pthread_barrier_wait(&job.barrier);
	mempool_blocks_close(job.blocks);
	self->opts.num_blocks = 10;
	ASSERT_EQ(0, mempool_blocks_create(&other, self->pool, &self->opts));
	EXPECT_NE(id, other->head.magazine);
	EXPECT_EQ(0, mempool_get_blocks(other, NULL, indices, 10));
	pthread_barrier_wait(&job.barrier);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, job.wrong);
	EXPECT_EQ(10, device_issued(other));
	mempool_blocks_close(other);
	ASSERT_EQ(0, mempool_blocks_create(&other, self->pool, &self->opts));
	EXPECT_EQ(id, other->head.magazine);
	mempool_blocks_close(other);
}

TEST_F(pools, a_thread_that_ends_leaves_its_blocks_and_its_counters)
{
	struct job job = { .pool = self->pool, .blocks = self->blocks };
	pthread_t thread;

	pthread_barrier_init(&job.barrier, NULL, 1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, use_and_wait, &job));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, device_issued(self->blocks));
	EXPECT_EQ(40, blocks_stats(self->blocks).gets);
	EXPECT_EQ(40, blocks_stats(self->blocks).returns);
}

static void *keep_asking(void *arg)
{
	struct job *job = arg;
	unsigned int index;

	pthread_barrier_wait(&job->barrier);
	while (!atomic_load(&job->wrong))
		if (mempool_get_block(job->blocks, &index))
			mempool_return_block(job->blocks, index);
	return NULL;
}

TEST_F(pools, blocks_in_a_running_threads_cache_are_no_reason_for_enospc)
{
	struct job job = { .pool = self->pool };
	unsigned int indices[99];
	pthread_t thread;
	int ret;

	self->opts.num_blocks = 100;
	ASSERT_EQ(0, mempool_blocks_create(&job.blocks, self->pool, &self->opts));
	pthread_barrier_init(&job.barrier, NULL, 2);
	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_asking, &job));
	pthread_barrier_wait(&job.barrier);
	while (blocks_stats(job.blocks).gets < 100)
		sched_yield();
	do	/* the other thread must get to run */
		ret = mempool_get_blocks(job.blocks, NULL, indices, 98);
	while (ret == -ENOSPC);
	EXPECT_EQ(0, ret);
	atomic_store(&job.wrong, 1);
	pthread_join(thread, NULL);
	mempool_blocks_close(job.blocks);
}

static void *leave_in_the_depot(void *arg)
{
	struct job *job = arg;
	unsigned int indices[BLOCKS];

	if (mempool_get_blocks(job->blocks, NULL, indices, BLOCKS) ||
	    mempool_return_blocks(job->blocks, indices, BLOCKS))
		atomic_fetch_add(&job->wrong, 1);
	return NULL;
}

TEST_F(pools, blocks_between_threads_are_no_reason_for_enospc_without_a_magazine)
{
	struct job job = { .pool = self->pool, .blocks = self->blocks };
	struct mp_thread *t = mp_thread_of(self->pool, true);
	unsigned int indices[BLOCKS];
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, leave_in_the_depot, &job));
	pthread_join(thread, NULL);
	ASSERT_EQ(0, job.wrong);
	ASSERT_LT(0, mp_depot_count(self->pool, self->blocks->head.magazine));
	t->used_slots = MP_SLOTS;	/* other magazines have them all */
	EXPECT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, BLOCKS));
	EXPECT_EQ(0, mempool_return_blocks(self->blocks, indices, BLOCKS));
	EXPECT_EQ(BLOCKS, blocks_stats(self->blocks).free);
}

static void *take_one(void *arg)
{
	struct job *job = arg;
	unsigned int index = 0;

	mempool_get_block(job->blocks, &index);
	return (void *)(uintptr_t)index;
}

/* As long as there are blocks enough: see first_slots(). */
TEST_F(pools, blocks_of_two_threads_do_not_share_a_cache_line_of_the_table)
{
	struct job job = { .pool = self->pool };
	unsigned int index;
	pthread_t thread;
	void *other;

	self->opts.num_blocks = 2048;
	self->opts.cache_blocks = 128;
	ASSERT_EQ(0, mempool_blocks_create(&job.blocks, self->pool, &self->opts));
	ASSERT_NE(NULL, mempool_get_block(job.blocks, &index));
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_one, &job));
	pthread_join(thread, &other);
	EXPECT_NE((uintptr_t)(job.blocks->head.out + index) / 64,
		  (uintptr_t)(job.blocks->head.out + (uintptr_t)other) / 64);
	mempool_blocks_close(job.blocks);
}

/* ---- fork -------------------------------------------------------------------- */

TEST_F(pools, a_child_is_refused)
{
	unsigned int index, more;
	int status;
	pid_t pid;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	pid = fork();
	if (!pid)
		_exit(mempool_get_blocks_inline(self->blocks, NULL, &more, 1) != -EPERM ||
		      mempool_return_blocks_inline(self->blocks, &index, 1) != -EPERM ||
		      mempool_get_block(self->blocks, &more) || errno != EPERM ||
		      mempool_return_block(self->blocks, index) != -EPERM);
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mempool_return_block(self->blocks, index));
}

TEST_HARNESS_MAIN
