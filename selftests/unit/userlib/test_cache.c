// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * One thread's cache, over the in-process device, whose commands are counted: what is
 * counted, who gets what back when, and that errors stay errors.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "counted.h"

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

/*
 * Twice as many slots would be too many bytes: there are as many more as there is room
 * for. And what has come in excess goes, but not so much of it that it has to come back.
 */
TEST_F(cache, a_warm_burst_that_fits_stays_on_the_hot_path)
{
	uint64_t size = mempool_round_to_bucket(self->pool, 40000);
	unsigned int nr = 2 * MIB / size * 3 / 4, round, i, slow = 0;
	void *ptrs[64];

	ASSERT_LT(32, nr);
	ASSERT_GE(64, nr);
	for (round = 0; round < 20; round++) {
		if (round == 10)
			slow = 0;
		for (i = 0; i < nr; i++) {
			if (mempool_try_alloc(self->pool, size, &ptrs[i]))
				continue;
			ASSERT_NE(NULL, ptrs[i] = mempool_alloc(self->pool, size));
			slow++;
		}
		for (i = 0; i < nr; i++) {
			if (mempool_try_release(self->pool, ptrs[i]))
				continue;
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
			slow++;
		}
	}
	EXPECT_EQ(0, slow);
	EXPECT_GE(2 * MIB, mp_thread_of(self->pool, false)->capacity);
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

/* Refills ask for more than there is, but not for another chunk. */
TEST_F(cache, prepared_blocks_take_no_more_memory)
{
	struct mempool_stats stats;
	unsigned int i;

	ASSERT_EQ(0, mempool_preallocate(self->pool, 4096, 512));
	for (i = 0; i < 512; i++)
		ASSERT_NE(NULL, mempool_alloc(self->pool, 4096));
	stats = stats_of(self->pool);
	EXPECT_EQ(2 * MIB, stats.owned_bytes);
	EXPECT_EQ(512, stats.total_allocations);
	while (i++ < 520)
		ASSERT_NE(NULL, mempool_alloc(self->pool, 4096));
	EXPECT_EQ(4 * MIB, stats_of(self->pool).owned_bytes);
}

TEST_HARNESS_MAIN
