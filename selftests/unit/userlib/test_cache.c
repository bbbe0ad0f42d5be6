// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Thread caches, over the in-process device, whose commands are counted: what is
 * counted, who gets what back when, and that errors stay errors.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "thread.h"

#define MIB	(1u << 20)

/* ---- a session whose commands are counted ------------------------------------ */

static const struct mp_device_ops *real_ops;
static atomic_uint commands;

static int counted_ioctl(struct mp_device *dev, unsigned long cmd, void *arg)
{
	atomic_fetch_add(&commands, 1);
	return real_ops->ioctl(dev, cmd, arg);
}

static int open_counted(struct mempool **pool, const struct mempool_options *opts)
{
	static const struct mempool_options defaults = MEMPOOL_OPTIONS_INIT;
	static struct mp_device_ops ops;
	struct mp_device dev;
	int ret = mp_device_open(&dev, "memfd:64M", false);

	if (ret)
		return ret;
	real_ops = dev.ops;
	ops = *dev.ops;
	ops.ioctl = counted_ioctl;
	dev.ops = &ops;
	return mp_open_on(pool, &dev, opts ? opts : &defaults);
}

static struct mempool_stats stats_of(struct mempool *pool)
{
	struct mempool_stats stats;

	memset(&stats, 0xff, sizeof(stats));
	mempool_get_stats(pool, &stats, sizeof(stats));
	return stats;
}

/* Bytes that the device counts as held: those in caches too. */
static uint64_t held_bytes(struct mempool *pool)
{
	struct mempool_session_stats stats = { 0 };

	mp_ioctl(pool, MEMPOOL_IOC_STATS, &stats);
	return stats.current_bytes;
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 8;
}

FIXTURE(cache) {
	struct mempool *pool;
	struct mempool_options opts;
};

FIXTURE_SETUP(cache)
{
	self->opts = (struct mempool_options) MEMPOOL_OPTIONS_INIT;
	self->opts.cache_bytes = 2 * MIB;
	ASSERT_EQ(0, open_counted(&self->pool, &self->opts));
}

FIXTURE_TEARDOWN(cache)
{
	mempool_close(self->pool);
}

/* ---- no commands in the steady state ----------------------------------------- */

TEST_F(cache, a_warm_pair_sends_no_command)
{
	unsigned int before, i;

	mempool_release(self->pool, mempool_alloc(self->pool, 4096));
	before = commands;
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, mempool_release(self->pool, mempool_alloc(self->pool, 4000)));
	EXPECT_EQ(before, commands);
}

TEST_F(cache, a_warm_burst_sends_no_command)
{
	unsigned int before = 0, i, round;
	void *ptrs[64];

	for (round = 0; round < 20; round++) {
		if (round == 15)
			before = commands;
		for (i = 0; i < 64; i++)
			ptrs[i] = mempool_alloc(self->pool, 1024);
		for (i = 0; i < 64; i++)
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	}
	EXPECT_EQ(before, commands);
}

TEST_F(cache, a_warm_inline_pair_sends_no_command)
{
	unsigned int before, i;

	mempool_release_inline(self->pool, mempool_alloc_inline(self->pool, 4096));
	before = commands;
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, mempool_release_inline(self->pool,
						    mempool_alloc_inline(self->pool, 4000)));
	EXPECT_EQ(before, commands);
	EXPECT_EQ(1001, stats_of(self->pool).total_allocations);
}

TEST_F(cache, a_warm_pair_of_exact_sizes_sends_no_command)
{
	struct mempool_option_tier tier = { UINT64_MAX, 1 };
	struct mempool *pool;
	unsigned int before, i;

	self->opts.tiers = &tier;
	self->opts.nr_tiers = 1;
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	mempool_release(pool, mempool_alloc(pool, 1001));
	before = commands;
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, mempool_release(pool, mempool_alloc(pool, 1001)));
	EXPECT_EQ(before, commands);
	EXPECT_EQ(1001, mempool_usable_size(pool, mempool_alloc(pool, 1001)));
	mempool_close(pool);
}

TEST_F(cache, a_warm_aligned_pair_sends_no_command)
{
	static const size_t alignments[] = { 1, 64, 1024, 4096 };
	static const size_t sizes[] = { 1, 1000, 5000, 65536 };
	unsigned int before = 0, i;

	for (i = 0; i < 16 * 100; i++) {
		size_t alignment = alignments[i / 4 % 4], size = sizes[i % 4];
		void *ptr = mempool_aligned_alloc(self->pool, alignment, size);

		ASSERT_NE(NULL, ptr);
		ASSERT_EQ(0, (uintptr_t)ptr % alignment);
		ASSERT_EQ(0, mempool_release(self->pool, ptr));
		if (i == 16)
			before = commands;
	}
	EXPECT_EQ(before, commands);
}

TEST_F(cache, an_aligned_block_again_and_again_takes_no_more_memory)
{
	struct mempool_stats stats;
	unsigned int i;

	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, mempool_release(self->pool,
					     mempool_aligned_alloc(self->pool, 4096, 5000)));
	stats = stats_of(self->pool);
	EXPECT_EQ(1, stats.new_allocations);
	EXPECT_EQ(999, stats.reused_allocations);
	EXPECT_GE(2 * MP_CHUNK, stats.owned_bytes);
}

TEST_F(cache, every_alignment_is_kept_among_blocks_of_all_kinds)
{
	unsigned int i, round;
	void *ptrs[200];
	uint32_t seed = 1;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < 200; i++) {
			size_t alignment = 1u << next(&seed) % 13;
			size_t size = 1 + next(&seed) % (i % 2 ? 300 : 20000);

			ptrs[i] = i % 3 ? mempool_aligned_alloc(self->pool, alignment, size) :
				  mempool_alloc(self->pool, size);
			ASSERT_NE(NULL, ptrs[i]);
			ASSERT_LE(size, mempool_usable_size(self->pool, ptrs[i]));
			if (i % 3)
				ASSERT_EQ(0, (uintptr_t)ptrs[i] % alignment);
		}
		ASSERT_EQ(0, mempool_release_bulk(self->pool, ptrs, 200));
	}
	EXPECT_EQ(0, stats_of(self->pool).current_bytes);
}

TEST_F(cache, with_caches_off_each_call_is_a_command)
{
	struct mempool *pool;
	unsigned int before;

	self->opts.cache_bytes = 0;
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	mempool_release(pool, mempool_alloc(pool, 1000));
	before = commands;
	mempool_release(pool, mempool_alloc(pool, 1000));
	EXPECT_EQ(before + 2, commands);
	mempool_close(pool);
}

TEST_F(cache, a_negative_size_of_caches_is_refused)
{
	struct mempool *pool;

	self->opts.cache_bytes = -2;
	EXPECT_EQ(-EINVAL, open_counted(&pool, &self->opts));
}

/* ---- buckets ----------------------------------------------------------------- */

TEST_F(cache, every_size_gets_its_bucket_twice)
{
	size_t size, round;
	void *ptr;

	for (round = 0; round < 2; round++)
		for (size = 1; size < 130000; size += 97) {
			ptr = mempool_alloc(self->pool, size);
			ASSERT_NE(NULL, ptr);
			ASSERT_EQ(mempool_round_to_bucket(self->pool, size),
				  mempool_usable_size(self->pool, ptr));
			ASSERT_EQ(0, mempool_release(self->pool, ptr));
		}
}

TEST_F(cache, tiers_whose_borders_lie_within_a_unit_are_kept_apart)
{
	struct mempool_option_tier tiers[2] = { { 5000, 1024 }, { UINT64_MAX, 4096 } };
	struct mempool *pool;
	size_t size, round;
	void *ptr;

	self->opts.tiers = tiers;
	self->opts.nr_tiers = 2;
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	for (round = 0; round < 2; round++)
		for (size = 4000; size < 9000; size++) {
			ptr = mempool_alloc(pool, size);
			ASSERT_EQ(mempool_round_to_bucket(pool, size),
				  mempool_usable_size(pool, ptr));
			ASSERT_EQ(0, mempool_release(pool, ptr));
		}
	mempool_close(pool);
}

TEST_F(cache, more_buckets_than_ids_work)
{
	struct mempool_option_tier tier = { UINT64_MAX, 64 };
	struct mempool *pool;
	void *ptrs[300];
	int i;

	self->opts.tiers = &tier;
	self->opts.nr_tiers = 1;
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	for (i = 0; i < 300; i++)
		ptrs[i] = mempool_alloc(pool, 64 + 64 * i);
	for (i = 0; i < 300; i++)
		EXPECT_EQ(64 + 64 * i, mempool_usable_size(pool, ptrs[i]));
	for (i = 0; i < 300; i++)
		EXPECT_EQ(0, mempool_release(pool, ptrs[i]));
	EXPECT_EQ(300, stats_of(pool).releases);
	EXPECT_EQ(0, stats_of(pool).currently_allocated);
	mempool_close(pool);
}

/* ---- statistics -------------------------------------------------------------- */

TEST_F(cache, one_threads_statistics_are_exact)
{
	uint64_t allocs = 0, releases = 0, current = 0, peak = 0;
	struct { void *ptr; size_t size; } live[200] = { 0 };
	uint32_t seed = 1, i, step;
	struct mempool_stats stats;

	for (step = 0; step < 50000; step++) {
		i = next(&seed) % 200;
		if (live[i].ptr) {
			ASSERT_EQ(0, mempool_release(self->pool, live[i].ptr));
			releases++;
			current -= live[i].size;
			live[i].ptr = NULL;
			continue;
		}
		live[i].size = 1 + next(&seed) % (step % 100 ? 30000 : 1500000);
		live[i].ptr = mempool_alloc(self->pool, live[i].size);
		if (!live[i].ptr)
			continue;
		live[i].size = mempool_round_to_bucket(self->pool, live[i].size);
		allocs++;
		current += live[i].size;
		if (current > peak)
			peak = current;
		if (step % 1000)
			continue;
		stats = stats_of(self->pool);
		ASSERT_EQ(allocs, stats.total_allocations);
		ASSERT_EQ(releases, stats.releases);
		ASSERT_EQ(allocs - releases, stats.currently_allocated);
		ASSERT_EQ(current, stats.current_bytes);
		ASSERT_EQ(peak, stats.peak_bytes);
	}
	EXPECT_EQ(0, mempool_flush(self->pool));
	stats = stats_of(self->pool);
	EXPECT_EQ(allocs, stats.total_allocations);
	EXPECT_EQ(allocs, stats.new_allocations + stats.reused_allocations);
	EXPECT_EQ(peak, stats.peak_bytes);
	EXPECT_EQ(0, stats.bad_releases);
}

TEST_F(cache, a_fresh_block_counts_as_new_when_it_is_used)
{
	void *ptrs[20];
	int i;

	for (i = 0; i < 10; i++)
		mempool_release(self->pool, mempool_alloc(self->pool, 8 * (95 + i)));
	EXPECT_EQ(1, stats_of(self->pool).new_allocations);
	EXPECT_EQ(9, stats_of(self->pool).reused_allocations);
	for (i = 0; i < 20; i++)
		ptrs[i] = mempool_alloc(self->pool, 800);
	EXPECT_EQ(20, stats_of(self->pool).new_allocations);
	EXPECT_EQ(10, stats_of(self->pool).reused_allocations);
	mempool_release_bulk(self->pool, ptrs, 20);
}

TEST_F(cache, clear_leaves_what_is_on_its_way_into_a_cache)
{
	uint64_t key = mp_bucket_key(4096, false), offset;
	void *blocks[8];
	bool reused[8];
	unsigned int nr;

	ASSERT_EQ(0, mp_take_cached(self->pool, key, blocks, reused, 8, &nr));
	ASSERT_LT(0, nr);
	ASSERT_EQ(0, mp_space_offset(self->pool, blocks[0], &offset));
	EXPECT_TRUE(mp_track_look(self->pool, offset) & MP_ID_CACHED);
	EXPECT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(nr * 4096, held_bytes(self->pool));
	mp_give_cached(self->pool, blocks, nr);
	EXPECT_EQ(0, held_bytes(self->pool));
	EXPECT_EQ(0, stats_of(self->pool).bad_releases);
}

TEST_F(cache, clear_keeps_the_peak_exact)
{
	int i;

	for (i = 0; i < 10; i++)
		ASSERT_NE(NULL, mempool_alloc(self->pool, 1024));
	ASSERT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(0, stats_of(self->pool).owned_bytes);
	for (i = 0; i < 10; i++)
		ASSERT_NE(NULL, mempool_alloc(self->pool, 1024));
	EXPECT_EQ(10240, stats_of(self->pool).peak_bytes);
	EXPECT_EQ(10240, stats_of(self->pool).current_bytes);
}

/* ---- bad releases ------------------------------------------------------------ */

TEST_F(cache, a_second_release_is_enoent)
{
	void *ptr = mempool_alloc(self->pool, 1000);

	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, ptr));
	EXPECT_EQ(-ENOENT, mempool_release_inline(self->pool, ptr));
	EXPECT_EQ(2, stats_of(self->pool).bad_releases);
	EXPECT_EQ(1, stats_of(self->pool).releases);
}

TEST_F(cache, a_second_release_in_bulk_is_enoent)
{
	void *ptr = mempool_alloc(self->pool, 1000), *ptrs[3] = { ptr, ptr, NULL };

	EXPECT_EQ(-ENOENT, mempool_release_bulk(self->pool, ptrs, 3));
}

TEST_F(cache, interior_and_misaligned_pointers_are_einval)
{
	char *ptr = mempool_alloc(self->pool, 5000);

	EXPECT_EQ(-EINVAL, mempool_release(self->pool, ptr + 1024));
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, ptr + 1));
	EXPECT_EQ(-EINVAL, mempool_release_inline(self->pool, ptr + 64));
	EXPECT_EQ(3, stats_of(self->pool).bad_releases);
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
}

TEST_F(cache, pointers_from_elsewhere_are_einval)
{
	int local;

	EXPECT_EQ(-EINVAL, mempool_release(self->pool, &local));
	mempool_release(self->pool, mempool_alloc(self->pool, 1000));
	EXPECT_EQ(-EINVAL, mempool_release_inline(self->pool, &local));
	EXPECT_EQ(0, mempool_release_inline(self->pool, NULL));
}

TEST_F(cache, a_block_in_a_cache_has_no_usable_size)
{
	void *ptr = mempool_alloc(self->pool, 1000);

	ASSERT_EQ(1024, mempool_usable_size(self->pool, ptr));
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr));
}

TEST_F(cache, sizes_0_and_too_large_are_errors_when_warm)
{
	mempool_release(self->pool, mempool_alloc(self->pool, 1000));
	errno = 0;
	EXPECT_EQ(NULL, mempool_alloc_inline(self->pool, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, mempool_alloc_inline(self->pool, SIZE_MAX));
	EXPECT_EQ(EOVERFLOW, errno);
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* Nor do those for our own tables, one page of which is for each chunk. */
TEST_F(cache, preallocated_blocks_wait_for_no_pages)
{
	enum { BLOCKS = 48 * 256 };	/* 24 chunks */
	static void *ptrs[BLOCKS];
	long before;
	int i;

	memset(ptrs, 1, sizeof(ptrs));
	ASSERT_EQ(0, mempool_preallocate(self->pool, 4096, BLOCKS));
	ptrs[0] = mempool_alloc(self->pool, 4096);	/* makes this thread's cache */
	before = faults();
	for (i = 1; i < BLOCKS; i++)
		ptrs[i] = mempool_alloc(self->pool, 4096);
	EXPECT_GT(24, faults() - before);	/* magazines grow, too */
	ASSERT_NE(NULL, ptrs[BLOCKS - 1]);
}

/* ---- bounds, and giving back ------------------------------------------------- */

TEST_F(cache, keeps_no_more_than_it_may)
{
	static const size_t sizes[] = { 1024, 4096, 10240, 20480, 102400, 512000, 1024000 };
	void *ptrs[40];
	unsigned int i, j, nr;

	for (i = 0; i < 7; i++) {
		nr = sizes[i] > 100000 ? 10 : 40;
		for (j = 0; j < nr; j++) {
			ptrs[j] = mempool_alloc(self->pool, sizes[i]);
			ASSERT_NE(NULL, ptrs[j]);
		}
		for (j = 0; j < nr; j++)
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[j]));
	}
	/* This thread's share and the depot's, an eighth of the reserve. */
	EXPECT_GE((2 + 8) * MIB, held_bytes(self->pool));
	EXPECT_LT(0, held_bytes(self->pool));
	EXPECT_EQ(0, stats_of(self->pool).current_bytes);
}

/* Larger than a thread's cache, but not than what may lie between threads. */
TEST_F(cache, a_warm_burst_of_large_blocks_sends_no_command)
{
	unsigned int before = 0, i, round;
	void *ptrs[8];

	for (round = 0; round < 20; round++) {
		if (round == 15)
			before = commands;
		for (i = 0; i < 8; i++)
			ptrs[i] = mempool_alloc(self->pool, 1000000);
		for (i = 0; i < 8; i++)
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	}
	EXPECT_EQ(before, commands);
}

/* One slot is enough for it. */
TEST_F(cache, a_warm_pair_of_a_block_as_large_as_the_cache_sends_no_command)
{
	unsigned int before, i;
	struct mempool *pool;

	self->opts.cache_bytes = mempool_round_to_bucket(self->pool, MIB);
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	ASSERT_EQ(0, mempool_release(pool, mempool_alloc(pool, MIB)));
	before = commands;
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, mempool_release(pool, mempool_alloc(pool, MIB)));
	EXPECT_EQ(before, commands);
	mempool_close(pool);
}

TEST_F(cache, flush_gives_all_back)
{
	mempool_release(self->pool, mempool_alloc(self->pool, 1000));
	ASSERT_LT(0, held_bytes(self->pool));
	EXPECT_EQ(0, mempool_flush(self->pool));
	EXPECT_EQ(0, held_bytes(self->pool));
}

TEST_F(cache, trim_gives_the_chunks_back)
{
	mempool_release(self->pool, mempool_alloc(self->pool, 1000));
	EXPECT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(0, stats_of(self->pool).owned_bytes);
}

TEST_F(cache, memory_in_caches_is_no_reason_for_enomem)
{
	void *ptrs[64], *small[512];
	unsigned int i, nr;

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 4096, small, 512));
	for (nr = 0; nr < 64; nr++) {
		ptrs[nr] = mempool_alloc(self->pool, 2000000);
		if (!ptrs[nr])
			break;
	}
	ASSERT_LT(20, nr);
	/* 2 MiB of small blocks, most of them now in the cache. */
	ASSERT_EQ(0, mempool_release_bulk(self->pool, small, 512));
	EXPECT_NE(NULL, mempool_alloc(self->pool, 1500000));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
}

TEST_F(cache, a_bulk_of_several_sizes_finds_each_its_bucket)
{
	void *ptrs[30];
	int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 30; i++) {
			ptrs[i] = mempool_alloc(self->pool, 1000 << i % 3);
			ASSERT_EQ(1024 << i % 3, mempool_usable_size(self->pool, ptrs[i]));
		}
		ASSERT_EQ(0, mempool_release_bulk(self->pool, ptrs, 30));
	}
	EXPECT_EQ(0, stats_of(self->pool).current_bytes);
}

TEST_F(cache, bulk_is_all_or_nothing)
{
	void **ptrs = calloc(100000, sizeof(*ptrs));

	EXPECT_EQ(-ENOMEM, mempool_alloc_bulk(self->pool, 1024, ptrs, 100000));
	EXPECT_EQ(0, stats_of(self->pool).currently_allocated);
	EXPECT_EQ(0, mempool_alloc_bulk(self->pool, 1024, ptrs, 10000));
	EXPECT_EQ(10000, stats_of(self->pool).currently_allocated);
	EXPECT_EQ(0, mempool_release_bulk(self->pool, ptrs, 10000));
	free(ptrs);
}

/* ---- threads ----------------------------------------------------------------- */

struct job {
	struct mempool *pool;
	pthread_barrier_t *barrier;
	atomic_uintptr_t *ring;
	atomic_uint *wrong;
	unsigned int nr;
	uint32_t seed;
};

static void *use_a_little(void *arg)
{
	struct job *job = arg;
	void *a = mempool_alloc(job->pool, 1000), *b = mempool_alloc(job->pool, 20000);

	if (mempool_release(job->pool, a) || mempool_release(job->pool, b))
		atomic_fetch_add(job->wrong, 1);
	return NULL;
}

TEST_F(cache, threads_one_after_another_leave_nothing)
{
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .wrong = &wrong };
	pthread_t thread;
	int i;

	for (i = 0; i < 10000; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, use_a_little, &job));
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, held_bytes(self->pool));
	EXPECT_EQ(20000, stats_of(self->pool).total_allocations);
	EXPECT_EQ(20000, stats_of(self->pool).releases);
}

static void *cache_of_this_thread(void *arg)
{
	struct job *job = arg;

	use_a_little(job);
	return mempool_thread_1;
}

/* To map one costs more than most short threads do with it. */
TEST_F(cache, the_cache_of_an_ended_thread_serves_the_next)
{
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .wrong = &wrong };
	unsigned char resident;
	void *cache, *first;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, cache_of_this_thread, &job));
	pthread_join(thread, &first);
	ASSERT_EQ(0, mincore((void *)((uintptr_t)first & -4096), 4096, &resident));
	ASSERT_EQ(0, pthread_create(&thread, NULL, cache_of_this_thread, &job));
	pthread_join(thread, &cache);
	EXPECT_EQ(first, cache);
	EXPECT_EQ(0, wrong);
}

TEST_F(cache, a_child_does_not_use_what_its_parents_threads_have_left)
{
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .wrong = &wrong };
	struct mempool *own;
	pthread_t thread;
	int status;
	void *left;
	pid_t pid;

	ASSERT_EQ(0, pthread_create(&thread, NULL, cache_of_this_thread, &job));
	pthread_join(thread, &left);
	pid = fork();
	if (!pid) {
		if (open_counted(&own, NULL))
			_exit(2);
		job.pool = own;
		if (pthread_create(&thread, NULL, cache_of_this_thread, &job))
			_exit(3);
		pthread_join(thread, NULL);
		_exit(wrong ? 1 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* They are in the processor's caches still. */
TEST_F(cache, a_burst_has_the_blocks_of_the_one_before)
{
	unsigned int i, round, again = 0;
	void *ptrs[64], *was[64] = { NULL };

	for (round = 0; round < 20; round++) {
		for (i = 0; i < 64; i++) {
			ptrs[i] = mempool_alloc(self->pool, 20000);
			ASSERT_NE(NULL, ptrs[i]);
		}
		for (i = 0, again = 0; i < 64 * 64; i++)
			again += ptrs[i / 64] == was[i % 64];
		memcpy(was, ptrs, sizeof(was));
		for (i = 0; i < 64; i++)
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	}
	EXPECT_LE(60, again);
}

#define RING	64

static void *produce(void *arg)
{
	struct job *job = arg;
	unsigned int i;
	uintptr_t none;
	uint32_t *ptr;

	for (i = 0; i < job->nr; i++) {
		ptr = mempool_alloc(job->pool, 4096);
		if (!ptr) {
			atomic_fetch_add(job->wrong, 1);
			break;
		}
		ptr[0] = ptr[1023] = i;
		do
			none = 0;
		while (!atomic_compare_exchange_weak(&job->ring[i % RING], &none, (uintptr_t)ptr) &&
		       !sched_yield());
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct job *job = arg;
	unsigned int i;
	uint32_t *ptr;

	for (i = 0; i < job->nr; i++) {
		while (!(ptr = (uint32_t *)atomic_exchange(&job->ring[i % RING], 0)))
			sched_yield();
		if (ptr[0] != i || ptr[1023] != i || mempool_release(job->pool, ptr))
			atomic_fetch_add(job->wrong, 1);
	}
	return NULL;
}

TEST_F(cache, blocks_that_change_threads_come_back_through_the_depot)
{
	static atomic_uintptr_t ring[RING];
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .ring = ring, .wrong = &wrong, .nr = 20000 };
	struct mempool_stats stats;
	unsigned int before;
	pthread_t a, b;

	before = commands;
	pthread_create(&a, NULL, produce, &job);
	pthread_create(&b, NULL, consume, &job);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_GT(before + 200, commands);
	stats = stats_of(self->pool);
	EXPECT_EQ(20000, stats.total_allocations);
	EXPECT_EQ(20000, stats.releases);
	EXPECT_EQ(0, stats.current_bytes);
	EXPECT_LE(4096, stats.peak_bytes);
	EXPECT_EQ(0, stats.bad_releases);
}

/* What one thread allocates, another gives back, all of it at a time. */
struct tide {
	struct mempool *pool;
	pthread_barrier_t turn;
	unsigned int rounds, nr;
	size_t size;
	void *ptrs[1536];
	unsigned int wrong;
	uint64_t between;	/* bytes in the depot when all are back */
};

static void *ebb(void *arg)
{
	struct tide *tide = arg;
	unsigned int i, round;

	for (round = 0; round < tide->rounds; round++) {
		pthread_barrier_wait(&tide->turn);
		for (i = 0; i < tide->nr; i++)
			tide->wrong += mempool_release(tide->pool, tide->ptrs[i]) != 0;
		tide->between = tide->pool->cache.depot_bytes;
		pthread_barrier_wait(&tide->turn);
	}
	pthread_barrier_wait(&tide->turn);	/* a thread's end is a command */
	return NULL;
}

static unsigned int commands_of_tide(struct tide *tide, unsigned int warm)
{
	unsigned int i, round, before = 0;
	pthread_t thread;

	pthread_barrier_init(&tide->turn, NULL, 2);
	pthread_create(&thread, NULL, ebb, tide);
	for (round = 0; round < tide->rounds; round++) {
		if (round == warm)
			before = commands;
		for (i = 0; i < tide->nr; i++) {
			tide->ptrs[i] = mempool_alloc(tide->pool, tide->size);
			tide->wrong += !tide->ptrs[i];
		}
		pthread_barrier_wait(&tide->turn);
		pthread_barrier_wait(&tide->turn);
	}
	i = commands - before;
	pthread_barrier_wait(&tide->turn);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&tide->turn);
	return i;
}

/* 6 MiB, of which a thread may keep 2 and the depot 8. */
TEST_F(cache, many_blocks_that_change_threads_send_no_command)
{
	static struct tide tide = { .rounds = 12, .nr = 1536, .size = 4096 };

	tide.pool = self->pool;
	EXPECT_EQ(0, commands_of_tide(&tide, 4));
	EXPECT_EQ(0, tide.wrong);
}

TEST_F(cache, a_thread_that_only_gives_back_keeps_little)
{
	static struct tide tide = { .rounds = 1, .nr = 50, .size = 102400 };

	self->opts.cache_bytes = 8 * MIB;	/* that much it might keep */
	ASSERT_EQ(0, open_counted(&tide.pool, &self->opts));
	commands_of_tide(&tide, 0);
	mempool_close(tide.pool);
	EXPECT_EQ(0, tide.wrong);
	EXPECT_LE(50 * 102400 - MIB, tide.between);
}

struct giver {
	struct mempool *pool;
	void *ptrs[24];
	unsigned int slots;
	bool wrong;
};

static void *only_give_back(void *arg)
{
	struct giver *g = arg;
	unsigned int i, id = mp_track_look(g->pool, (char *)g->ptrs[0] -
					   g->pool->space.whole->addr);

	for (i = 0; i < 24; i++)
		g->wrong |= mempool_release(g->pool, g->ptrs[i]) != 0;
	g->slots = mp_magazine_slots(mp_thread_of(g->pool, false), id);
	return NULL;
}

/* Or it would go to the depot, and wait for its lock, for each one or two of them. */
TEST_F(cache, a_thread_that_only_gives_back_keeps_a_few_large_blocks)
{
	struct giver g = { .wrong = false };
	pthread_t thread;
	unsigned int i;

	self->opts.cache_bytes = 16 * MIB;
	ASSERT_EQ(0, open_counted(&g.pool, &self->opts));
	for (i = 0; i < 24; i++)
		g.ptrs[i] = mempool_alloc(g.pool, 512000);
	ASSERT_EQ(0, pthread_create(&thread, NULL, only_give_back, &g));
	pthread_join(thread, NULL);
	EXPECT_FALSE(g.wrong);
	EXPECT_EQ(8, g.slots);
	mempool_close(g.pool);
}

static void *churn(void *arg)
{
	struct job *job = arg;
	void *live[32] = { NULL };
	uint32_t i, step, size;

	for (step = 0; step < job->nr; step++) {
		i = next(&job->seed) % 32;
		if (live[i]) {
			memcpy(&size, live[i], 4);
			if (((char *)live[i])[size - 1] != (char)size)
				atomic_fetch_add(job->wrong, 1);
			/* Half of them are released by another thread. */
			if (step & 1)
				live[i] = (void *)atomic_exchange(&job->ring[i], (uintptr_t)live[i]);
			if (live[i] && mempool_release(job->pool, live[i]))
				atomic_fetch_add(job->wrong, 1);
		}
		size = 8 + next(&job->seed) % (step % 64 ? 12000 : 900000);
		live[i] = mempool_alloc(job->pool, size);
		if (live[i]) {
			memcpy(live[i], &size, 4);
			((char *)live[i])[size - 1] = size;
		}
		if (step % 5000 == 4999)
			mempool_trim(job->pool);
	}
	for (i = 0; i < 32; i++)
		if (live[i] && mempool_release(job->pool, live[i]))
			atomic_fetch_add(job->wrong, 1);
	return NULL;
}

TEST_F(cache, many_threads_keep_their_marks_and_the_books)
{
	static atomic_uintptr_t ring[32];
	atomic_uint wrong = 0;
	struct job jobs[4];
	struct mempool_stats stats;
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++) {
		jobs[i] = (struct job) { .pool = self->pool, .ring = ring, .wrong = &wrong,
					 .nr = 20000, .seed = i + 1 };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn, &jobs[i]));
	}
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < 32; i++)
		EXPECT_EQ(0, mempool_release(self->pool, (void *)atomic_load(&ring[i])));
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, mempool_flush(self->pool));
	stats = stats_of(self->pool);
	EXPECT_EQ(stats.total_allocations, stats.releases);
	EXPECT_EQ(0, stats.bad_releases);
	EXPECT_EQ(0, held_bytes(self->pool));
}

static void *fill_and_wait(void *arg)
{
	struct job *job = arg;
	void *ptrs[256];

	mempool_alloc_bulk(job->pool, 4096, ptrs, 256);
	mempool_release_bulk(job->pool, ptrs, 256);
	pthread_barrier_wait(job->barrier);
	pthread_barrier_wait(job->barrier);
	/* At its next operation. */
	mempool_release(job->pool, mempool_alloc(job->pool, 4096));
	pthread_barrier_wait(job->barrier);
	pthread_barrier_wait(job->barrier);
	return NULL;
}

TEST_F(cache, trim_calls_other_threads_blocks_back)
{
	pthread_barrier_t barrier;
	struct job job = { .pool = self->pool, .barrier = &barrier };
	pthread_t thread;
	uint64_t held;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, fill_and_wait, &job);
	pthread_barrier_wait(&barrier);
	ASSERT_EQ(0, mempool_trim(self->pool));
	held = held_bytes(self->pool);
	EXPECT_LT(100 * 4096, held);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	EXPECT_GT(20 * 4096, held_bytes(self->pool));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, held_bytes(self->pool));
}

static void *outlive(void *arg)
{
	struct job *job = arg;
	struct mempool *other;

	mempool_release(job->pool, mempool_alloc(job->pool, 1000));
	pthread_barrier_wait(job->barrier);
	/* The session is closed by the other thread here. */
	pthread_barrier_wait(job->barrier);
	if (open_counted(&other, NULL))
		return (void *)1;
	if (mempool_release(other, mempool_alloc(other, 1000)))
		return (void *)2;
	mempool_close(other);
	return NULL;
}

struct moving {
	struct mempool *pool;
	struct mp_thread *t;
	pthread_barrier_t barrier;
};

static void *change_a_magazine(void *arg)
{
	struct moving *m = arg;
	unsigned int id = mp_track_id(m->pool, mp_bucket_key(1024, false));

	mempool_release(m->pool, mempool_alloc(m->pool, 1024));
	m->t = mp_thread_of(m->pool, false);
	pthread_barrier_wait(&m->barrier);
	pthread_barrier_wait(&m->barrier);
	/* As if it were interrupted in the middle of it, with blocks in no array. */
	m->t->cold[id].changes++;
	m->t->hot.tops[id] += 5;
	pthread_barrier_wait(&m->barrier);
	pthread_barrier_wait(&m->barrier);
	m->t->hot.tops[id] -= 5;
	m->t->cold[id].changes++;
	return NULL;
}

struct one {
	struct mempool *pool;
	size_t size;
	void *ptr;
};

static void *take_one(void *arg)
{
	struct one *one = arg;

	one->ptr = mempool_alloc(one->pool, one->size);
	return NULL;
}

static uintptr_t line_of(struct mempool *pool, const void *ptr)
{
	const struct mempool_thread *t = &mp_thread_of(pool, true)->hot;

	return (uintptr_t)&t->places[((uintptr_t)ptr - t->base) >> pool->track.shift] / 64;
}

/* Each writes to the table for each block that it takes or gives back. */
TEST_F(cache, blocks_of_two_threads_do_not_share_a_cache_line_of_the_table)
{
	static const size_t sizes[] = { 1, 1025, 2049, 4000, 5000, 10000, 100000 };
	struct one one = { .pool = self->pool };
	unsigned int i;
	pthread_t thread;
	void *ptr;

	for (i = 0; i < 7; i++) {
		ptr = mempool_alloc(self->pool, sizes[i]);
		one.size = sizes[i];
		ASSERT_EQ(0, pthread_create(&thread, NULL, take_one, &one));
		pthread_join(thread, NULL);
		ASSERT_NE(NULL, one.ptr);
		EXPECT_NE(line_of(self->pool, ptr), line_of(self->pool, one.ptr));
	}
}

TEST_F(cache, a_magazine_that_is_being_changed_is_not_counted)
{
	struct moving m = { .pool = self->pool };
	pthread_t thread;

	pthread_barrier_init(&m.barrier, NULL, 2);
	ASSERT_EQ(0, pthread_create(&thread, NULL, change_a_magazine, &m));
	pthread_barrier_wait(&m.barrier);
	EXPECT_EQ(1, stats_of(self->pool).releases);
	pthread_barrier_wait(&m.barrier);
	pthread_barrier_wait(&m.barrier);
	EXPECT_EQ(1, stats_of(self->pool).releases);
	pthread_barrier_wait(&m.barrier);
	pthread_join(thread, NULL);
	EXPECT_EQ(1, stats_of(self->pool).releases);
	pthread_barrier_destroy(&m.barrier);
}

TEST_F(cache, a_thread_outlives_the_session_it_had_a_cache_of)
{
	pthread_barrier_t barrier;
	struct job job = { .barrier = &barrier };
	pthread_t thread;
	void *result;

	ASSERT_EQ(0, open_counted(&job.pool, &self->opts));
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, outlive, &job);
	pthread_barrier_wait(&barrier);
	mempool_close(job.pool);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, &result);
	EXPECT_EQ(NULL, result);
}

TEST_F(cache, one_thread_uses_many_sessions_in_turn)
{
	struct mempool *pools[5];
	void *ptrs[5];
	int i, round;

	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, open_counted(&pools[i], &self->opts));
	for (round = 0; round < 100; round++) {
		for (i = 0; i < 5; i++)
			ptrs[i] = mempool_alloc_inline(pools[i], 1000 + 1000 * i);
		for (i = 0; i < 5; i++)
			ASSERT_EQ(-EINVAL, mempool_release_inline(pools[i], ptrs[(i + 1) % 5]));
		for (i = 0; i < 5; i++)
			ASSERT_EQ(0, mempool_release_inline(pools[i], ptrs[i]));
	}
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(100, stats_of(pools[i]).releases);
		mempool_close(pools[i]);
	}
}

TEST(opening_and_closing_again_and_again_keeps_one_cache)
{
	struct mempool *pool;
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, open_counted(&pool, NULL));
		ASSERT_EQ(0, mempool_release(pool, mempool_alloc(pool, 1000)));
		mempool_close(pool);
	}
}

/* ---- fork -------------------------------------------------------------------- */

static int child(struct mempool *pool, void *ptr)
{
	struct mempool *own;
	void *mine;

	if (mempool_alloc_inline(pool, 1000) || errno != EPERM)
		return 1;
	if (mempool_alloc(pool, 1000) || errno != EPERM)
		return 2;
	if (mempool_release_inline(pool, ptr) != -EPERM || mempool_release(pool, ptr) != -EPERM)
		return 3;
	if (mempool_flush(pool) != -EPERM || mempool_usable_size(pool, ptr) != 1024)
		return 4;
	if (open_counted(&own, NULL))
		return 5;
	mine = mempool_alloc_inline(own, 1000);
	if (!mine || mempool_release_inline(own, mine))
		return 6;
	mempool_close(own);
	mempool_close(pool);
	return 0;
}

TEST_F(cache, a_child_is_refused_and_has_caches_of_its_own)
{
	void *ptr = mempool_alloc(self->pool, 1000);
	int status;
	pid_t pid;

	mempool_release(self->pool, mempool_alloc(self->pool, 1000));
	pid = fork();
	if (!pid)
		_exit(child(self->pool, ptr));
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(0, stats_of(self->pool).bad_releases);
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
