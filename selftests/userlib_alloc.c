// SPDX-License-Identifier: MIT OR GPL-2.0
/* libmempool: blocks of buckets and the session's statistics. */
// also: 32-bit
#include "mp_userlib.h"

FIXTURE(pool) {
	struct mempool *pool;
};

FIXTURE_SETUP(pool)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
}

FIXTURE_TEARDOWN(pool)
{
	mempool_close(self->pool);
	EXPECT_TRUE(mp_settled());
}

#define EXPECT_NULL_AND(err, call)		\
	do {					\
		errno = 0;			\
		EXPECT_EQ(NULL, call);		\
		EXPECT_EQ(err, errno);		\
	} while (0)

/* ---- alloc ------------------------------------------------------------------- */

TEST_F(pool, a_block_holds_its_whole_bucket)
{
	unsigned char *ptr = mempool_alloc(self->pool, 5000);
	size_t i;

	ASSERT_NE(NULL, ptr);
	memset(ptr, 0xa5, 5120);
	for (i = 0; i < 5120; i++)
		ASSERT_EQ(0xa5, ptr[i]);
}

TEST_F(pool, blocks_do_not_overlap)
{
	unsigned char *ptrs[64];
	int i, j;

	for (i = 0; i < 64; i++) {
		ptrs[i] = mempool_alloc(self->pool, 1024 * (1 + i % 7));
		ASSERT_NE(NULL, ptrs[i]);
		memset(ptrs[i], i, 1024 * (1 + i % 7));
	}
	for (i = 0; i < 64; i++)
		for (j = 0; j < 1024 * (1 + i % 7); j++)
			ASSERT_EQ(i, ptrs[i][j]);
}

TEST_F(pool, a_block_larger_than_a_chunk_is_contiguous)
{
	unsigned char *ptr = mempool_alloc(self->pool, 7 << 20);
	size_t i;

	ASSERT_NE(NULL, ptr);
	for (i = 0; i < 7 << 20; i += 4096)
		ptr[i] = i >> 12;
	for (i = 0; i < 7 << 20; i += 4096)
		ASSERT_EQ((unsigned char)(i >> 12), ptr[i]);
}

TEST_F(pool, blocks_are_aligned_to_64_bytes)
{
	int i;

	for (i = 1; i < 100; i++)
		EXPECT_EQ(0, (uintptr_t)mempool_alloc(self->pool, 77 * i) % 64);
}

TEST_F(pool, buckets_of_whole_pages_are_page_aligned)
{
	int i;

	for (i = 0; i < 10; i++)
		EXPECT_EQ(0, (uintptr_t)mempool_alloc(self->pool, 4096) % 4096);
}

TEST_F(pool, size_0_is_einval)
{
	EXPECT_NULL_AND(EINVAL, mempool_alloc(self->pool, 0));
}

TEST_F(pool, more_than_the_reserve_is_enomem)
{
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 100 << 20));
	EXPECT_TRUE(errno == ENOMEM || errno == EDQUOT);
}

TEST_F(pool, a_size_that_cannot_be_rounded_is_an_error)
{
	EXPECT_EQ(NULL, mempool_alloc(self->pool, SIZE_MAX));
	/* 32 bits: it can be rounded, but there is not so much memory. */
	EXPECT_EQ(sizeof(size_t) == 8 ? EOVERFLOW : ENOMEM, errno == EDQUOT ? ENOMEM : errno);
}

TEST_F(pool, the_whole_reserve_can_be_had_and_had_again)
{
	unsigned int round, first = 0, nr, i;
	void *ptrs[64];

	for (round = 0; round < 3; round++) {
		for (nr = 0; nr < 64; nr++) {
			ptrs[nr] = mempool_alloc(self->pool, 2 << 20);
			if (!ptrs[nr])
				break;
		}
		EXPECT_LT(20, nr);
		if (!round)
			first = nr;
		EXPECT_EQ(first, nr);
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	}
}

TEST_F(pool, zalloc_clears_what_the_last_user_left)
{
	unsigned char *ptr, *again;
	int i;

	ptr = mempool_alloc(self->pool, 3000);
	ASSERT_NE(NULL, ptr);
	memset(ptr, 0xff, 3000);
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	again = mempool_zalloc(self->pool, 3000);
	ASSERT_EQ(ptr, again);
	for (i = 0; i < 3000; i++)
		ASSERT_EQ(0, again[i]);
}

TEST_F(pool, zalloc_of_0_is_einval)
{
	EXPECT_NULL_AND(EINVAL, mempool_zalloc(self->pool, 0));
}

TEST_F(pool, aligned_alloc_aligns)
{
	size_t alignment;
	int i;

	for (alignment = 1; alignment <= 4096; alignment *= 2)
		for (i = 1; i < 20; i++) {
			void *ptr = mempool_aligned_alloc(self->pool, alignment, 1000 * i);

			ASSERT_NE(NULL, ptr);
			EXPECT_EQ(0, (uintptr_t)ptr % alignment);
		}
}

TEST_F(pool, an_aligned_block_is_released_as_any)
{
	void *ptr = mempool_aligned_alloc(self->pool, 4096, 100);

	ASSERT_NE(NULL, ptr);
	EXPECT_EQ(1024, mempool_usable_size(self->pool, ptr));
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, ptr));
}

TEST_F(pool, alignment_0_is_einval)
{
	EXPECT_NULL_AND(EINVAL, mempool_aligned_alloc(self->pool, 0, 100));
}

TEST_F(pool, an_alignment_that_is_no_power_of_two_is_einval)
{
	EXPECT_NULL_AND(EINVAL, mempool_aligned_alloc(self->pool, 96, 100));
}

TEST_F(pool, an_alignment_above_a_page_is_einval)
{
	EXPECT_NULL_AND(EINVAL, mempool_aligned_alloc(self->pool, 8192, 100));
}

TEST_F(pool, bulk_gives_as_many_different_blocks)
{
	void *ptrs[500];
	int i, j;

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 2000, ptrs, 500));
	for (i = 0; i < 500; i++)
		for (j = 0; j < i; j++)
			ASSERT_NE(ptrs[i], ptrs[j]);
	EXPECT_EQ(500, mp_stats(self->pool).currently_allocated);
}

TEST_F(pool, bulk_of_none_is_fine)
{
	EXPECT_EQ(0, mempool_alloc_bulk(self->pool, 2000, NULL, 0));
}

TEST_F(pool, bulk_of_size_0_is_einval)
{
	void *ptr;

	EXPECT_EQ(-EINVAL, mempool_alloc_bulk(self->pool, 0, &ptr, 1));
}

TEST_F(pool, bulk_that_does_not_fit_takes_nothing)
{
	void *ptrs[100];
	int ret = mempool_alloc_bulk(self->pool, 1 << 20, ptrs, 100);

	EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT);
	EXPECT_EQ(0, mp_stats(self->pool).currently_allocated);
}

/* ---- release ----------------------------------------------------------------- */

TEST_F(pool, release_of_null_is_fine)
{
	EXPECT_EQ(0, mempool_release(self->pool, NULL));
}

TEST_F(pool, a_second_release_is_enoent)
{
	void *ptr = mempool_alloc(self->pool, 1000);

	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, ptr));
}

TEST_F(pool, an_interior_pointer_is_einval)
{
	char *ptr = mempool_alloc(self->pool, 5000);

	EXPECT_EQ(-EINVAL, mempool_release(self->pool, ptr + 1024));
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
}

TEST_F(pool, a_misaligned_pointer_is_einval)
{
	char *ptr = mempool_alloc(self->pool, 5000);

	EXPECT_EQ(-EINVAL, mempool_release(self->pool, ptr + 1));
}

TEST_F(pool, a_pointer_from_elsewhere_is_einval)
{
	int local;

	EXPECT_EQ(-EINVAL, mempool_release(self->pool, &local));
}

TEST_F(pool, another_pools_pointer_is_einval)
{
	struct mempool *other;
	void *ptr;

	ASSERT_EQ(0, mempool_open(&other, NULL));
	ptr = mempool_alloc(other, 1000);
	EXPECT_EQ(-EINVAL, mempool_release(self->pool, ptr));
	EXPECT_EQ(0, mempool_release(other, ptr));
	mempool_close(other);
}

TEST_F(pool, refused_releases_are_counted)
{
	char *ptr = mempool_alloc(self->pool, 5000);
	int local;

	mempool_release(self->pool, ptr + 64);
	mempool_release(self->pool, &local);
	mempool_release(self->pool, ptr);
	mempool_release(self->pool, ptr);
	EXPECT_EQ(3, mp_stats(self->pool).bad_releases);
	EXPECT_EQ(1, mp_stats(self->pool).releases);
}

TEST_F(pool, release_bulk_gives_all_back)
{
	void *ptrs[300];

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 2000, ptrs, 300));
	EXPECT_EQ(0, mempool_release_bulk(self->pool, ptrs, 300));
	EXPECT_EQ(0, mp_stats(self->pool).currently_allocated);
}

TEST_F(pool, release_bulk_skips_null)
{
	void *ptrs[3] = { NULL, mempool_alloc(self->pool, 10), NULL };

	EXPECT_EQ(0, mempool_release_bulk(self->pool, ptrs, 3));
}

TEST_F(pool, release_bulk_goes_on_after_an_error)
{
	void *ptrs[200], *twice;

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 2000, ptrs, 200));
	twice = ptrs[7];
	ptrs[8] = twice;
	ptrs[150] = (char *)ptrs[150] + 64;
	EXPECT_EQ(-ENOENT, mempool_release_bulk(self->pool, ptrs, 200));
	EXPECT_EQ(2, mp_stats(self->pool).currently_allocated);
}

/* ---- sizes ------------------------------------------------------------------- */

TEST_F(pool, round_to_bucket_knows_the_default_tiers)
{
	static const size_t points[][2] = {
		{ 1, 1024 }, { 1024, 1024 }, { 1025, 2048 }, { 1100, 2048 }, { 8500, 9216 },
		{ 9216, 9216 }, { 9217, 10240 }, { 10240, 10240 }, { 10241, 20480 },
		{ 50000, 51200 }, { 85000, 92160 }, { 95000, 102400 }, { 102400, 102400 },
		{ 102401, 204800 }, { 500000, 512000 }, { 1048576, 1126400 },
	};
	size_t i;

	for (i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		EXPECT_EQ(points[i][1], mempool_round_to_bucket(self->pool, points[i][0]));
}

TEST_F(pool, round_to_bucket_of_0_is_0)
{
	EXPECT_EQ(0, mempool_round_to_bucket(self->pool, 0));
}

TEST_F(pool, round_to_bucket_of_too_much_is_0)
{
	EXPECT_EQ(0, mempool_round_to_bucket(self->pool, SIZE_MAX));
}

TEST_F(pool, usable_size_is_the_bucket)
{
	EXPECT_EQ(51200, mempool_usable_size(self->pool, mempool_alloc(self->pool, 50000)));
}

TEST_F(pool, usable_size_of_anything_else_is_0)
{
	char *ptr = mempool_alloc(self->pool, 5000);
	int local;

	EXPECT_EQ(0, mempool_usable_size(self->pool, NULL));
	EXPECT_EQ(0, mempool_usable_size(self->pool, &local));
	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr + 1));
	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr + 1024));
	mempool_release(self->pool, ptr);
	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr));
}

TEST_F(pool, usable_size_is_that_of_the_new_block_at_an_old_place)
{
	void *ptrs[20];
	int i;

	for (i = 0; i < 20; i++)
		ptrs[i] = mempool_alloc(self->pool, 1000);
	for (i = 0; i < 20; i++)
		mempool_release(self->pool, ptrs[i]);
	ASSERT_EQ(0, mempool_trim(self->pool));
	for (i = 0; i < 20; i++)
		EXPECT_EQ(20480, mempool_usable_size(self->pool,
						     mempool_alloc(self->pool, 20000)));
}

/* ---- ready, trim, clear ------------------------------------------------------ */

TEST_F(pool, preallocated_blocks_are_had_without_a_fault)
{
	long before;
	int i;

	/* The thread's cache is made at its first operation. */
	ASSERT_EQ(0, mempool_release(self->pool, mempool_alloc(self->pool, 1000)));
	ASSERT_EQ(0, mempool_preallocate(self->pool, 1 << 20, 8));
	before = mp_faults();
	for (i = 0; i < 8; i++)
		ASSERT_NE(NULL, mempool_alloc(self->pool, 1 << 20));
	/* The library's own tables may take one each. */
	EXPECT_GE(before + 8, mp_faults());
}

TEST_F(pool, preallocation_is_not_an_allocation)
{
	struct mempool_stats stats;

	ASSERT_EQ(0, mempool_preallocate(self->pool, 1000, 100));
	stats = mp_stats(self->pool);
	EXPECT_EQ(0, stats.total_allocations);
	EXPECT_EQ(0, stats.peak_bytes);
	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	EXPECT_EQ(1, mp_stats(self->pool).new_allocations);
}

TEST_F(pool, preallocation_of_none_is_einval)
{
	EXPECT_EQ(-EINVAL, mempool_preallocate(self->pool, 1000, 0));
}

TEST_F(pool, preallocation_of_size_0_is_einval)
{
	EXPECT_EQ(-EINVAL, mempool_preallocate(self->pool, 0, 1));
}

TEST_F(pool, preallocation_beyond_the_reserve_is_refused)
{
	int ret = mempool_preallocate(self->pool, 1 << 20, 500);

	EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT);
}

TEST_F(pool, trim_gives_idle_chunks_back)
{
	void *ptr = mempool_alloc(self->pool, 10 << 20);

	ASSERT_NE(NULL, ptr);
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(0, mp_stats(self->pool).owned_bytes);
}

TEST_F(pool, trim_leaves_blocks_alone)
{
	unsigned char *ptr = mempool_alloc(self->pool, 3000);

	memset(ptr, 0x5a, 3000);
	ASSERT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(0x5a, ptr[2999]);
}

TEST_F(pool, clear_releases_every_block)
{
	void *ptrs[300];

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 2000, ptrs, 300));
	ASSERT_NE(NULL, mempool_alloc(self->pool, 5 << 20));
	EXPECT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(0, mp_stats(self->pool).currently_allocated);
	EXPECT_EQ(0, mp_stats(self->pool).owned_bytes);
	EXPECT_EQ(301, mp_stats(self->pool).releases);
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, ptrs[0]));
}

TEST_F(pool, clear_leaves_block_pools_alone)
{
	struct mempool_blocks *blocks;
	unsigned char *ptr;

	ASSERT_EQ(0, mp_blocks_new(&blocks, self->pool, 4096, 10, NULL, 0));
	ptr = mempool_get_block(blocks, NULL);
	ASSERT_NE(NULL, ptr);
	ptr[0] = 7;
	EXPECT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(7, ptr[0]);
	EXPECT_EQ(1, mp_blocks_stats(blocks).issued);
	mempool_blocks_close(blocks);
}

TEST_F(pool, flush_is_fine)
{
	EXPECT_EQ(0, mempool_flush(self->pool));
}

/* ---- statistics -------------------------------------------------------------- */

TEST_F(pool, statistics_follow_a_known_sequence)
{
	struct mempool_stats stats;
	void *a, *b;

	a = mempool_alloc(self->pool, 800);
	b = mempool_alloc(self->pool, 1000);
	mempool_release(self->pool, a);
	a = mempool_alloc(self->pool, 900);
	mempool_release(self->pool, a);
	mempool_release(self->pool, b);
	b = mempool_alloc(self->pool, 1);
	stats = mp_stats(self->pool);
	EXPECT_EQ(4, stats.total_allocations);
	EXPECT_EQ(2, stats.new_allocations);
	EXPECT_EQ(2, stats.reused_allocations);
	EXPECT_EQ(3, stats.releases);
	EXPECT_EQ(1, stats.currently_allocated);
	EXPECT_EQ(1024, stats.current_bytes);
	EXPECT_EQ(2048, stats.peak_bytes);
	EXPECT_EQ(0.5, stats.reuse_rate);
}

TEST_F(pool, ten_near_sizes_reuse_nine_times)
{
	int i;

	for (i = 95; i <= 105; i++)
		if (i != 100)
			mempool_release(self->pool, mempool_alloc(self->pool, 8 * i));
	EXPECT_EQ(0.9, mp_stats(self->pool).reuse_rate);
}

TEST_F(pool, statistics_of_no_known_size_are_refused)
{
	struct mempool_stats stats;

	memset(&stats, 0xee, sizeof(stats));
	EXPECT_EQ(-EINVAL, mempool_get_stats(self->pool, &stats, 0));
	EXPECT_EQ(-EINVAL, mempool_get_stats(self->pool, &stats, 8));
	EXPECT_EQ(-EINVAL, mempool_get_stats(self->pool, &stats, sizeof(stats) - 1));
	EXPECT_EQ(0xeeeeeeeeeeeeeeeeull, stats.new_allocations);
}

TEST_F(pool, statistics_are_zero_where_unknown)
{
	struct {
		struct mempool_stats stats;
		uint64_t later;
	} longer = { .later = 5 };

	EXPECT_EQ(0, mempool_get_stats(self->pool, &longer.stats, sizeof(longer)));
	EXPECT_EQ(0, longer.later);
}

TEST_F(pool, failures_are_counted)
{
	mempool_alloc(self->pool, 100 << 20);
	EXPECT_EQ(1, mp_stats(self->pool).failed_no_memory + mp_stats(self->pool).failed_limit);
}

TEST_F(pool, functions_that_return_int_leave_errno_alone)
{
	struct mempool_stats stats;

	errno = 77;
	mempool_release(self->pool, &errno);
	mempool_preallocate(self->pool, 0, 0);
	mempool_trim(self->pool);
	mempool_clear(self->pool);
	mempool_get_stats(self->pool, &stats, sizeof(stats));
	EXPECT_EQ(77, errno);
}

TEST_HARNESS_MAIN
