// SPDX-License-Identifier: MIT OR GPL-2.0
/* libmempool: no fault on first touch, and mappings that fit the process. */
// also: 32-bit, with checkers
#include "mp_userlib.h"

FIXTURE(mapped) {
	struct mempool *pool;
};

FIXTURE_VARIANT(mapped) {
	bool windows;
};

FIXTURE_VARIANT_ADD(mapped, whole) {
	.windows = false,
};

FIXTURE_VARIANT_ADD(mapped, in_windows) {
	.windows = true,
};

FIXTURE_SETUP(mapped)
{
	unsigned long long space;
	unsigned int nr;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
	space = mp_mappings(&nr);
	ASSERT_LT(0, space);
	if (!variant->windows)
		return;
	mempool_close(self->pool);
	ASSERT_EQ(0, mp_limit_addresses(space - (1 << 20)));
	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
	ASSERT_EQ(0, mp_mappings(&nr));
}

FIXTURE_TEARDOWN(mapped)
{
	mempool_close(self->pool);
	EXPECT_TRUE(mp_settled());
}

TEST_F(mapped, first_touch_of_a_bucket_takes_no_fault)
{
	int i;

	for (i = 0; i < 20; i++)
		EXPECT_EQ(0, mp_touch_all(mempool_alloc(self->pool, 900000), 900000));
}

TEST_F(mapped, first_touch_of_small_blocks_takes_no_fault)
{
	void *ptrs[1000];
	int i;

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 4000, ptrs, 1000));
	for (i = 0; i < 1000; i++)
		EXPECT_EQ(0, mp_touch_all(ptrs[i], 4000));
}

TEST_F(mapped, first_touch_of_a_block_pool_takes_no_fault)
{
	struct mempool_blocks *blocks;
	int i;

	ASSERT_EQ(0, mp_blocks_new(&blocks, self->pool, 100000, 50, NULL, 0));
	for (i = 0; i < 50; i++)
		EXPECT_EQ(0, mp_touch_all(mempool_block_at(blocks, i), 100000));
	mempool_blocks_close(blocks);
}

TEST_F(mapped, first_touch_of_a_named_pool_takes_no_fault)
{
	struct mempool_blocks *blocks, *joined;
	struct mempool *other;

	ASSERT_EQ(0, mp_blocks_new(&blocks, self->pool, 4096, 50, "touched", 0600));
	ASSERT_EQ(0, mempool_open(&other, NULL));
	ASSERT_EQ(0, mempool_blocks_open(&joined, other, "touched"));
	EXPECT_EQ(0, mp_touch_all(mempool_block_at(joined, 0), 50 * 4096));
	mempool_blocks_close(joined);
	mempool_close(other);
	mempool_blocks_close(blocks);
}

TEST_F(mapped, first_touch_takes_no_fault_when_a_chunk_has_gone_and_come)
{
	void *ptr;
	int i;

	for (i = 0; i < 10; i++) {
		ptr = mempool_alloc(self->pool, 3 << 20);
		ASSERT_NE(NULL, ptr);
		EXPECT_EQ(0, mp_touch_all(ptr, 3 << 20));
		ASSERT_EQ(0, mempool_release(self->pool, ptr));
		ASSERT_EQ(0, mempool_trim(self->pool));
	}
}

/* Another session takes the idle chunks that the first had populated. */
TEST_F(mapped, first_touch_takes_no_fault_when_others_took_the_chunk_meanwhile)
{
	struct mempool_stats stats;
	struct mempool *other;
	void *ptr, *theirs[100];
	int i, nr;

	ptr = mempool_alloc(self->pool, 3 << 20);
	ASSERT_NE(NULL, ptr);
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	ASSERT_EQ(0, mempool_open(&other, NULL));
	for (nr = 0; nr < 100; nr++) {
		theirs[nr] = mempool_alloc(other, 1 << 20);
		if (!theirs[nr])
			break;
	}
	stats = mp_stats(self->pool);
	EXPECT_LT(0, stats.reclaimed_chunks + (stats.owned_bytes == 0));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, mempool_release(other, theirs[i]));
	mempool_close(other);
	ptr = mempool_alloc(self->pool, 3 << 20);
	ASSERT_NE(NULL, ptr);
	EXPECT_EQ(0, mp_touch_all(ptr, 3 << 20));
}

TEST_F(mapped, a_block_is_one_piece_wherever_it_lies)
{
	unsigned char *ptrs[40];
	int i, nr;

	for (nr = 0; nr < 40; nr++) {
		ptrs[nr] = mempool_alloc(self->pool, 1100000);
		if (!ptrs[nr])
			break;
		memset(ptrs[nr], nr, 1100000);
	}
	EXPECT_LT(30, nr);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(0, mp_count_not(ptrs[i], i, 1100000));
}

TEST_F(mapped, blocks_in_overlapping_windows_are_released_each_once)
{
	unsigned char *ptrs[40];
	int i, nr;

	for (nr = 0; nr < 40; nr++) {
		ptrs[nr] = mempool_alloc(self->pool, 1100000);
		if (!ptrs[nr])
			break;
	}
	for (i = 0; i < nr; i++)
		EXPECT_EQ(0, mempool_release(self->pool, ptrs[i]));
	EXPECT_EQ(0, mp_stats(self->pool).currently_allocated);
}

TEST_F(mapped, more_than_the_addresses_in_turn)
{
	void *ptr;
	int i;

	for (i = 0; i < 100; i++) {
		ptr = mempool_alloc(self->pool, 20 << 20);
		ASSERT_NE(NULL, ptr);
		*(volatile char *)ptr = 1;
		ASSERT_EQ(0, mempool_release(self->pool, ptr));
	}
}

TEST_F(mapped, trim_keeps_blocks_in_place)
{
	unsigned char *ptr = mempool_alloc(self->pool, 10000);

	ASSERT_NE(NULL, ptr);
	ptr[9999] = 42;
	ASSERT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(42, ptr[9999]);
}

/* ---- without addresses ------------------------------------------------------- */

TEST(open_without_any_addresses_is_enomem)
{
	struct mempool *pool;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_limit_addresses(0));
	EXPECT_EQ(-ENOMEM, mempool_open(&pool, NULL));
}

TEST(a_block_without_room_is_enomem_and_stays_in_the_reserve)
{
	struct mempool *pool;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_limit_addresses(12 << 20));
	ASSERT_EQ(0, mempool_open(&pool, NULL));
	EXPECT_EQ(NULL, mempool_alloc(pool, 40 << 20));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, mp_stats(pool).currently_allocated);
	EXPECT_NE(NULL, mempool_alloc(pool, 4 << 10));
	mempool_close(pool);
}

/* ---- huge mappings ----------------------------------------------------------- */

/* Is all of it mapped 2 MiB at a time? */
static bool mapped_huge(void *ptr)
{
	unsigned long long low, high;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long size = 0, huge = 0;
	bool ours = false;
	char line[512];

	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%llx-%llx ", &low, &high) == 2)
			ours = low <= (uintptr_t)ptr && (uintptr_t)ptr < high;
		if (ours && !strncmp(line, "Rss:", 4))
			size = strtoul(line + 4, NULL, 10);
		if (ours && !strncmp(line, "FilePmdMapped:", 14))
			huge = strtoul(line + 14, NULL, 10);
	}
	if (smaps)
		fclose(smaps);
	return size && size == huge;
}

FIXTURE(huge) {
	struct mempool *pool;
};

FIXTURE_SETUP(huge)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
}

FIXTURE_TEARDOWN(huge)
{
	mempool_close(self->pool);
	EXPECT_TRUE(mp_settled());
}

TEST_F(huge, blocks_are_mapped_by_2_mib)
{
	void *ptr = mempool_alloc(self->pool, 4 << 20);

	if (!mp_has_thp() || mp_sysfs("chunks_small"))
		SKIP(return, "no transparent huge pages here");
	ASSERT_NE(NULL, ptr);
	EXPECT_TRUE(mapped_huge(ptr));
}

TEST_F(huge, a_split_chunk_is_mapped_by_2_mib_again)
{
	char *ptr = mempool_alloc(self->pool, 2000000);

	if (!mp_has_thp() || mp_sysfs("chunks_small"))
		SKIP(return, "no transparent huge pages here");
	ASSERT_NE(NULL, ptr);
	ASSERT_EQ(0, mprotect(ptr, 4096, PROT_READ));
	ASSERT_EQ(0, mprotect(ptr, 4096, PROT_READ | PROT_WRITE));
	*ptr = 1;
	EXPECT_FALSE(mapped_huge(ptr));
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	ASSERT_EQ(0, mempool_trim(self->pool));
	ASSERT_EQ(ptr, mempool_alloc(self->pool, 2000000));
	EXPECT_TRUE(mapped_huge(ptr));
}

TEST_HARNESS_MAIN
