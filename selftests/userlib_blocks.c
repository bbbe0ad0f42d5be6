// SPDX-License-Identifier: MIT OR GPL-2.0
/* libmempool: block pools, private and named. */
// also: 32-bit
#include "mp_userlib.h"

#define NR	10

FIXTURE(blocks) {
	struct mempool *pool;
	struct mempool_blocks *blocks;
};

FIXTURE_SETUP(blocks)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
	ASSERT_EQ(0, mp_blocks_new(&self->blocks, self->pool, 1000, NR, NULL, 0));
}

FIXTURE_TEARDOWN(blocks)
{
	mempool_blocks_close(self->blocks);
	mempool_close(self->pool);
	EXPECT_TRUE(mp_settled());
}

/* Two sessions, the first of which has made the pool "shared". */
FIXTURE(shared) {
	struct mempool *pool[2];
	struct mempool_blocks *blocks[2];
};

FIXTURE_SETUP(shared)
{
	int i;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, mempool_open(&self->pool[i], NULL));
	ASSERT_EQ(0, mp_blocks_new(&self->blocks[0], self->pool[0], 4096, NR, "shared", 0666));
	ASSERT_EQ(0, mempool_blocks_open(&self->blocks[1], self->pool[1], "shared"));
}

FIXTURE_TEARDOWN(shared)
{
	int i;

	for (i = 0; i < 2; i++) {
		mempool_blocks_close(self->blocks[i]);
		mempool_close(self->pool[i]);
	}
	EXPECT_TRUE(mp_settled());
}

/* ---- creation ---------------------------------------------------------------- */

TEST_F(blocks, close_of_nothing_is_fine)
{
	mempool_blocks_close(NULL);
}

TEST_F(blocks, create_without_options_is_einval)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mempool_blocks_create(&other, self->pool, NULL));
}

TEST_F(blocks, create_with_short_options_is_einval)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *other;

	opts.block_size = opts.num_blocks = 10;
	opts.size--;
	EXPECT_EQ(-EINVAL, mempool_blocks_create(&other, self->pool, &opts));
}

TEST_F(blocks, create_with_an_unknown_flag_is_einval)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *other;

	opts.block_size = opts.num_blocks = 10;
	opts.flags = 2;
	EXPECT_EQ(-EINVAL, mempool_blocks_create(&other, self->pool, &opts));
}

TEST_F(blocks, create_with_a_threshold_above_100_is_einval)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *other;

	opts.block_size = opts.num_blocks = 10;
	opts.threshold = 101;
	EXPECT_EQ(-EINVAL, mempool_blocks_create(&other, self->pool, &opts));
}

TEST_F(blocks, create_with_a_threshold_below_default_is_einval)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *other;

	opts.block_size = opts.num_blocks = 10;
	opts.threshold = -2;
	EXPECT_EQ(-EINVAL, mempool_blocks_create(&other, self->pool, &opts));
}

TEST_F(blocks, create_of_no_blocks_is_einval)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mp_blocks_new(&other, self->pool, 1000, 0, NULL, 0));
}

TEST_F(blocks, create_of_empty_blocks_is_einval)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mp_blocks_new(&other, self->pool, 0, 10, NULL, 0));
}

TEST_F(blocks, create_with_a_mode_needs_a_name)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mp_blocks_new(&other, self->pool, 1000, 10, NULL, 0600));
}

TEST_F(blocks, create_with_an_odd_mode_is_einval)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mp_blocks_new(&other, self->pool, 1000, 10, "x", 0640));
}

TEST_F(blocks, create_with_an_empty_name_is_einval)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mp_blocks_new(&other, self->pool, 1000, 10, "", 0600));
}

TEST_F(blocks, create_with_a_bad_name_is_einval)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mp_blocks_new(&other, self->pool, 1000, 10, "a/b", 0600));
}

TEST_F(blocks, create_with_a_name_too_long_is_enametoolong)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-ENAMETOOLONG, mp_blocks_new(&other, self->pool, 1000, 10,
					       "a23456789012345678901234567890123", 0600));
}

TEST_F(blocks, create_beyond_the_reserve_is_refused)
{
	struct mempool_blocks *other;
	int ret = mp_blocks_new(&other, self->pool, 1 << 20, 100, NULL, 0);

	EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT);
}

TEST_F(blocks, more_pools_than_a_session_may_open_are_emfile)
{
	struct mempool_blocks *more[MEMPOOL_MAX_HANDLES];
	int i, ret = 0;

	for (i = 0; i < MEMPOOL_MAX_HANDLES && !ret; i++)
		ret = mp_blocks_new(&more[i], self->pool, 64, 1, NULL, 0);
	EXPECT_EQ(-EMFILE, ret);
	EXPECT_EQ(MEMPOOL_MAX_HANDLES, i);
	for (i -= 2; i >= 0; i--)
		mempool_blocks_close(more[i]);
}

TEST_F(blocks, closing_makes_room_for_another)
{
	struct mempool_blocks *big;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, mp_blocks_new(&big, self->pool, 1 << 20, 40, NULL, 0));
		mempool_blocks_close(big);
	}
}

/* ---- get and return ---------------------------------------------------------- */

TEST_F(blocks, get_gives_the_address_of_its_index)
{
	unsigned int index;
	void *ptr = mempool_get_block(self->blocks, &index);

	ASSERT_NE(NULL, ptr);
	EXPECT_EQ(ptr, mempool_block_at(self->blocks, index));
}

TEST_F(blocks, get_does_not_need_to_tell_the_index)
{
	EXPECT_NE(NULL, mempool_get_block(self->blocks, NULL));
}

TEST_F(blocks, blocks_do_not_overlap)
{
	unsigned char *ptrs[NR];
	int i;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, (void **)ptrs, NULL, NR));
	for (i = 0; i < NR; i++)
		memset(ptrs[i], i, 1000);
	for (i = 0; i < NR; i++)
		EXPECT_EQ(0, mp_count_not(ptrs[i], i, 1000));
}

TEST_F(blocks, when_all_are_issued_get_is_enospc)
{
	unsigned int indices[NR];

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, NR));
	EXPECT_EQ(NULL, mempool_get_block(self->blocks, NULL));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(NR, mp_blocks_stats(self->blocks).issued);
}

TEST_F(blocks, get_of_more_than_there_are_takes_none)
{
	unsigned int indices[NR + 1];

	EXPECT_EQ(-ENOSPC, mempool_get_blocks(self->blocks, NULL, indices, NR + 1));
	EXPECT_EQ(0, mp_blocks_stats(self->blocks).issued);
}

TEST_F(blocks, get_into_nothing_is_einval)
{
	EXPECT_EQ(-EINVAL, mempool_get_blocks(self->blocks, NULL, NULL, 1));
}

TEST_F(blocks, a_returned_block_is_had_again)
{
	unsigned int indices[NR], index;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, NR));
	ASSERT_EQ(0, mempool_return_block(self->blocks, 4));
	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	EXPECT_EQ(4, index);
}

TEST_F(blocks, a_second_return_is_enoent_as_often_as_you_like)
{
	unsigned int index;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	ASSERT_EQ(0, mempool_return_block(self->blocks, index));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, index));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, index));
	EXPECT_EQ(0, mp_blocks_stats(self->blocks).issued);
}

TEST_F(blocks, return_of_a_block_never_had_is_enoent)
{
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, 3));
}

TEST_F(blocks, return_of_no_block_is_erange)
{
	EXPECT_EQ(-ERANGE, mempool_return_block(self->blocks, -1));
	EXPECT_EQ(-ERANGE, mempool_return_block(self->blocks, NR));
	EXPECT_EQ(-ERANGE, mempool_return_block(self->blocks, 100));
}

TEST_F(blocks, refused_returns_are_counted)
{
	mempool_return_block(self->blocks, 3);
	mempool_return_block(self->blocks, NR);
	EXPECT_EQ(2, mp_blocks_stats(self->blocks).bad_returns);
}

TEST_F(blocks, return_of_many_goes_on_after_an_error)
{
	unsigned int indices[NR];

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, NR));
	indices[3] = 77;
	indices[5] = indices[4];
	EXPECT_EQ(-ERANGE, mempool_return_blocks(self->blocks, indices, NR));
	EXPECT_EQ(2, mp_blocks_stats(self->blocks).issued);
}

/* ---- addresses --------------------------------------------------------------- */

TEST_F(blocks, block_at_knows_issued_and_free_blocks_alike)
{
	char *first = mempool_block_at(self->blocks, 0);

	ASSERT_NE(NULL, first);
	EXPECT_EQ(first + 9 * mp_blocks_stats(self->blocks).stride,
		  mempool_block_at(self->blocks, 9));
}

TEST_F(blocks, block_at_beyond_the_end_is_erange)
{
	EXPECT_EQ(NULL, mempool_block_at(self->blocks, NR));
	EXPECT_EQ(ERANGE, errno);
}

TEST_F(blocks, block_index_is_that_of_any_byte)
{
	char *ptr = mempool_block_at(self->blocks, 6);
	unsigned int index = 99;

	EXPECT_EQ(0, mempool_block_index(self->blocks, ptr + 999, &index));
	EXPECT_EQ(6, index);
}

TEST_F(blocks, block_index_of_other_memory_is_einval)
{
	char *first = mempool_block_at(self->blocks, 0), *last;
	unsigned int index;

	last = mempool_block_at(self->blocks, NR - 1);
	EXPECT_EQ(-EINVAL, mempool_block_index(self->blocks, first - 1, &index));
	EXPECT_EQ(-EINVAL, mempool_block_index(self->blocks, first + 1000, &index));
	EXPECT_EQ(-EINVAL, mempool_block_index(self->blocks, last + 1024, &index));
	EXPECT_EQ(-EINVAL, mempool_block_index(self->blocks, &index, &index));
}

TEST_F(blocks, a_blocks_pointer_is_not_a_buckets)
{
	void *ptr = mempool_get_block(self->blocks, NULL);

	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr));
	EXPECT_NE(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(1, mp_blocks_stats(self->blocks).issued);
}

/* ---- fragmentation, coalesce, reset ------------------------------------------ */

TEST_F(blocks, fragmentation_follows_the_formula)
{
	static const struct {
		unsigned int index;
		double fragmentation;
		bool coalesced;
	} steps[] = {
		{ 0, 0, 0 }, { 2, 100, 1 }, { 4, 100, 1 }, { 6, 100, 1 }, { 1, 50, 1 },
		{ 3, 20, 0 }, { 5, 0, 0 }, { 7, 0, 0 }, { 9, 12.5, 0 },
	};
	unsigned int indices[NR], i;
	uint64_t coalesces = 0;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, NR));
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		ASSERT_EQ(0, mempool_return_block(self->blocks, steps[i].index));
		EXPECT_EQ(steps[i].fragmentation, mempool_get_fragmentation(self->blocks));
		coalesces += steps[i].coalesced;
		EXPECT_EQ(coalesces, mp_blocks_stats(self->blocks).auto_coalesces);
	}
}

TEST_F(blocks, efficiency_is_the_issued_share)
{
	unsigned int indices[NR];

	EXPECT_EQ(0.0, mempool_get_efficiency(self->blocks));
	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 9));
	EXPECT_EQ(90.0, mempool_get_efficiency(self->blocks));
	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 1));
	EXPECT_EQ(100.0, mempool_get_efficiency(self->blocks));
}

TEST_F(blocks, coalesce_counts_itself)
{
	EXPECT_EQ(0, mempool_coalesce(self->blocks));
	EXPECT_EQ(1, mp_blocks_stats(self->blocks).coalesces);
	EXPECT_EQ(0, mp_blocks_stats(self->blocks).auto_coalesces);
	EXPECT_EQ(0.0, mp_blocks_stats(self->blocks).free_list_disorder);
}

TEST_F(blocks, reset_returns_all)
{
	unsigned int indices[NR], i;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, NR));
	EXPECT_EQ(0, mempool_reset(self->blocks));
	EXPECT_EQ(0, mp_blocks_stats(self->blocks).issued);
	for (i = 0; i < NR; i++)
		EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, i));
}

TEST_F(blocks, after_a_reset_blocks_come_and_go)
{
	unsigned int indices[NR];

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, NR));
	ASSERT_EQ(0, mempool_reset(self->blocks));
	EXPECT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, NR));
	EXPECT_EQ(0, mempool_return_blocks(self->blocks, indices, NR));
}

TEST_F(blocks, describe_tells_all_in_one_line)
{
	unsigned int indices[NR];
	char line[200];
	int len;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, indices, 4));
	len = mempool_describe(self->blocks, line, sizeof(line));
	EXPECT_EQ(len, strlen(line));
	EXPECT_EQ(NULL, strchr(line, '\n'));
	EXPECT_NE(NULL, strstr(line, "1000 bytes"));
	EXPECT_NE(NULL, strstr(line, "4 issued"));
	EXPECT_NE(NULL, strstr(line, "efficiency 40.0%"));
}

TEST_F(blocks, describe_cuts_a_line_that_is_too_long)
{
	char whole[200], line[200] = "untouched";
	int len = mempool_describe(self->blocks, whole, sizeof(whole));

	EXPECT_EQ(len, mempool_describe(self->blocks, NULL, 0));
	EXPECT_EQ(len, mempool_describe(self->blocks, line, 6));
	EXPECT_EQ(5, strlen(line));
	EXPECT_EQ(0, strncmp(line, whole, 5));
}

/* ---- named pools ------------------------------------------------------------- */

TEST_F(shared, members_see_the_same_bytes)
{
	unsigned char *ours, *theirs;
	unsigned int index;

	ours = mempool_get_block(self->blocks[0], &index);
	ASSERT_NE(NULL, ours);
	theirs = mempool_block_at(self->blocks[1], index);
	memset(ours, 0x77, 4096);
	EXPECT_NE(ours, theirs);
	EXPECT_EQ(0, mp_count_not(theirs, 0x77, 4096));
}

TEST_F(shared, members_know_each_others_pool)
{
	struct mempool_blocks_stats stats = mp_blocks_stats(self->blocks[1]);

	EXPECT_EQ(4096, stats.block_size);
	EXPECT_EQ(NR, stats.num_blocks);
	EXPECT_EQ(2, stats.members);
}

TEST_F(shared, a_token_makes_another_the_holder)
{
	unsigned int index;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks[0], &index));
	ASSERT_EQ(0, mempool_block_token(self->blocks[0], index, &token));
	EXPECT_EQ(index, mempool_token_index(token));
	ASSERT_EQ(0, mempool_adopt_block(self->blocks[1], token));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks[0], index));
	EXPECT_EQ(0, mempool_return_block(self->blocks[1], index));
}

TEST_F(shared, a_token_of_a_returned_block_is_stale)
{
	unsigned int index;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks[0], &index));
	ASSERT_EQ(0, mempool_block_token(self->blocks[0], index, &token));
	ASSERT_EQ(0, mempool_return_block(self->blocks[0], index));
	EXPECT_EQ(-ESTALE, mempool_adopt_block(self->blocks[1], token));
}

TEST_F(shared, a_token_is_stale_even_when_the_block_is_issued_again)
{
	unsigned int index, again;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks[0], &index));
	ASSERT_EQ(0, mempool_block_token(self->blocks[0], index, &token));
	ASSERT_EQ(0, mempool_return_block(self->blocks[0], index));
	ASSERT_NE(NULL, mempool_get_block(self->blocks[0], &again));
	ASSERT_EQ(index, again);
	EXPECT_EQ(-ESTALE, mempool_adopt_block(self->blocks[1], token));
}

TEST_F(shared, a_token_of_no_block_is_erange)
{
	EXPECT_EQ(-ERANGE, mempool_adopt_block(self->blocks[0], NR));
}

TEST_F(shared, a_token_of_a_free_block_is_enoent)
{
	EXPECT_EQ(-ENOENT, mempool_adopt_block(self->blocks[0], 5));
}

TEST_F(shared, only_a_held_block_has_a_token)
{
	unsigned int index;
	uint64_t token;

	EXPECT_EQ(-ERANGE, mempool_block_token(self->blocks[0], NR, &token));
	EXPECT_EQ(-ENOENT, mempool_block_token(self->blocks[0], 0, &token));
	ASSERT_NE(NULL, mempool_get_block(self->blocks[0], &index));
	EXPECT_EQ(-ENOENT, mempool_block_token(self->blocks[1], index, &token));
	ASSERT_EQ(0, mempool_return_block(self->blocks[0], index));
	EXPECT_EQ(-ENOENT, mempool_block_token(self->blocks[0], index, &token));
}

TEST_F(shared, another_members_block_cannot_be_returned)
{
	unsigned int index;

	ASSERT_NE(NULL, mempool_get_block(self->blocks[0], &index));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks[1], index));
	EXPECT_EQ(0, mempool_return_block(self->blocks[0], index));
}

TEST_F(shared, reset_is_ebusy_while_another_holds_a_block)
{
	unsigned int index;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks[0], &index));
	ASSERT_NE(NULL, mempool_get_block(self->blocks[1], NULL));
	EXPECT_EQ(-EBUSY, mempool_reset(self->blocks[0]));
	EXPECT_EQ(0, mempool_block_token(self->blocks[0], index, &token));
	EXPECT_EQ(0, mempool_return_block(self->blocks[0], index));
}

TEST_F(shared, a_leavers_blocks_are_returned)
{
	ASSERT_NE(NULL, mempool_get_block(self->blocks[1], NULL));
	mempool_blocks_close(self->blocks[1]);
	self->blocks[1] = NULL;
	EXPECT_EQ(0, mp_blocks_stats(self->blocks[0]).issued);
}

TEST_F(shared, the_name_is_taken)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EEXIST, mp_blocks_new(&other, self->pool[1], 64, 1, "shared", 0600));
}

TEST_F(shared, opening_twice_is_ealready)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EALREADY, mempool_blocks_open(&other, self->pool[1], "shared"));
}

TEST_F(shared, opening_what_does_not_exist_is_enoent)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-ENOENT, mempool_blocks_open(&other, self->pool[1], "other"));
}

TEST_F(shared, opening_a_name_too_long_is_enametoolong)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-ENAMETOOLONG, mempool_blocks_open(&other, self->pool[1],
						     "a23456789012345678901234567890123"));
}

TEST_F(shared, opening_an_empty_name_is_einval)
{
	struct mempool_blocks *other;

	EXPECT_EQ(-EINVAL, mempool_blocks_open(&other, self->pool[1], ""));
}

TEST_F(shared, a_removed_name_is_gone_and_members_stay)
{
	struct mempool_blocks *other;

	EXPECT_EQ(0, mempool_blocks_remove(self->pool[0], "shared"));
	EXPECT_EQ(-ENOENT, mempool_blocks_remove(self->pool[0], "shared"));
	EXPECT_EQ(-ENOENT, mempool_blocks_open(&other, self->pool[0], "shared"));
	EXPECT_NE(NULL, mempool_get_block(self->blocks[1], NULL));
}

TEST_F(shared, a_kept_pool_outlives_its_members)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *kept;

	opts.block_size = 64;
	opts.num_blocks = 3;
	opts.name = "kept";
	opts.flags = MEMPOOL_BLOCKS_KEEP;
	ASSERT_EQ(0, mempool_blocks_create(&kept, self->pool[0], &opts));
	mempool_blocks_close(kept);
	ASSERT_EQ(0, mempool_blocks_open(&kept, self->pool[1], "kept"));
	EXPECT_EQ(3, mp_blocks_stats(kept).num_blocks);
	mempool_blocks_close(kept);
	EXPECT_EQ(0, mempool_blocks_remove(self->pool[0], "kept"));
}

static int stranger(void *arg)
{
	struct mempool_blocks *blocks;
	struct mempool *pool;

	CHECK(mempool_open(&pool, NULL) == 0);
	CHECK(mempool_blocks_open(&blocks, pool, "private") == -EACCES);
	CHECK(mempool_blocks_remove(pool, "private") == -EPERM);
	CHECK(mempool_blocks_open(&blocks, pool, "shared") == 0);
	mempool_blocks_close(blocks);
	mempool_close(pool);
	return 0;
}

TEST_F(shared, a_mode_keeps_strangers_out)
{
	struct mempool_blocks *private;

	/* Mode 0 means 0600. */
	ASSERT_EQ(0, mp_blocks_new(&private, self->pool[0], 64, 1, "private", 0));
	EXPECT_EQ(0, mp_run(MP_USER_A, stranger, NULL));
	mempool_blocks_close(private);
}

TEST_F(shared, a_readonly_session_looks_on)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	unsigned int index;
	unsigned char *ptr;
	struct mempool *pool;

	opts.flags = MEMPOOL_OPEN_READONLY;
	ASSERT_EQ(0, mempool_open(&pool, &opts));
	ASSERT_EQ(0, mempool_blocks_open(&blocks, pool, "shared"));
	ptr = mempool_get_block(self->blocks[0], &index);
	ASSERT_NE(NULL, ptr);
	ptr[5] = 99;
	EXPECT_EQ(99, ((unsigned char *)mempool_block_at(blocks, index))[5]);
	EXPECT_EQ(SIGSEGV, mp_poke(mempool_block_at(blocks, index), 1));
	EXPECT_EQ(NULL, mempool_get_block(blocks, NULL));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-EBADF, mempool_return_block(blocks, index));
	mempool_blocks_close(blocks);
	mempool_close(pool);
}

TEST_F(blocks, statistics_of_no_known_size_are_refused)
{
	struct mempool_blocks_stats stats;

	memset(&stats, 0xee, sizeof(stats));
	EXPECT_EQ(-EINVAL, mempool_blocks_get_stats(self->blocks, &stats, 16));
	EXPECT_EQ(-EINVAL, mempool_blocks_get_stats(self->blocks, &stats, sizeof(stats) - 1));
	EXPECT_EQ(0xeeeeeeeeeeeeeeeeull, stats.block_size);
}

TEST_HARNESS_MAIN
