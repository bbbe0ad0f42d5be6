// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Blocks that are got and returned many at a time, as rows of neighbours and not, with
 * mistakes among them: each bulk does what the same returns one after the other would,
 * told by a model of which blocks are out. Also built without SIMD, where there are no
 * rows, with the same results.
 */
#include "counted.h"

#define BLOCKS	1000u
#define MOST	MEMPOOL_MAX_COUNT

/* @out is the model, with what lies beyond the last block. */
FIXTURE(rows) {
	struct mempool *pool;
	struct mempool_blocks *blocks;
	unsigned char out[1024];
	uint32_t seed;
};

FIXTURE_SETUP(rows)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;

	opts.block_size = 1000;
	opts.num_blocks = BLOCKS;
	opts.cache_blocks = 512;
	ASSERT_EQ(0, open_counted(&self->pool, NULL));
	ASSERT_EQ(0, mempool_blocks_create(&self->blocks, self->pool, &opts));
	memset(self->out, 0, sizeof(self->out));
	self->seed = 1;
}

FIXTURE_TEARDOWN(rows)
{
	mempool_blocks_close(self->blocks);
	mempool_close(self->pool);
}

/* As one return after the other: the first error, the others go. */
static int return_in_model(FIXTURE_DATA(rows) *self, const unsigned int *indices, unsigned int count)
{
	unsigned int i;
	int first = 0, ret;

	for (i = 0; i < count; i++) {
		ret = indices[i] >= BLOCKS ? -ERANGE : self->out[indices[i]] ? 0 : -ENOENT;
		if (!ret)
			self->out[indices[i]] = 0;
		if (!first)
			first = ret;
	}
	return first;
}

static bool as_in_model(const FIXTURE_DATA(rows) *self)
{
	return !memcmp(self->out, self->blocks->head.out, sizeof(self->out));
}

/* @count blocks, none of which was out, at their addresses. */
static bool get(FIXTURE_DATA(rows) *self, unsigned int *indices, unsigned int count)
{
	const struct mempool_blocks_head *head = &self->blocks->head;
	void *ptrs[MOST];
	unsigned int i;

	if (mempool_get_blocks_inline(self->blocks, ptrs, indices, count))
		return false;
	for (i = 0; i < count; i++) {
		if (indices[i] >= BLOCKS || self->out[indices[i]] ||
		    ptrs[i] != head->base + indices[i] * head->stride)
			return false;
		self->out[indices[i]] = 1;
	}
	return as_in_model(self);
}

/* ---- what to return ---------------------------------------------------------- */

static void row(unsigned int *indices, unsigned int count, unsigned int from, int by)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		indices[i] = from + i * by;
}

/* From a block that is out on, if there is one. */
static unsigned int somewhere(FIXTURE_DATA(rows) *self)
{
	unsigned int at = next(&self->seed) % BLOCKS, i;

	for (i = 0; i < BLOCKS && !self->out[at]; i++)
		at = (at + 1) % BLOCKS;
	return at;
}

static unsigned int some(FIXTURE_DATA(rows) *self, unsigned int *indices)
{
	unsigned int count = 1 + next(&self->seed) % MOST, i;
	unsigned int kind = next(&self->seed) % 8;

	switch (kind) {
	case 0:
	case 1:
		row(indices, count, somewhere(self), kind ? 1 : -1);
		break;
	case 2:		/* as far as they are out, so that nothing is wrong with it */
		row(indices, count, somewhere(self), 1);
		for (i = 0; i < count && indices[i] < BLOCKS && self->out[indices[i]]; i++)
			;
		count = i ? i : 1;
		break;
	case 3:		/* always the same, or every second, or the other way round */
		row(indices, count, somewhere(self), next(&self->seed) % 3 * 2 - 2);
		break;
	case 4:		/* up and then down again */
		row(indices, count, somewhere(self), 1);
		for (i = count / 2; i < count; i++)
			indices[i] = indices[count - 1 - i];
		break;
	default:
		for (i = 0; i < count; i++)
			indices[i] = somewhere(self);
	}
	if (next(&self->seed) % 4 == 0)
		indices[next(&self->seed) % count] = next(&self->seed) % (BLOCKS + 50);
	return count;
}

/* ---- tests ------------------------------------------------------------------- */

TEST_F(rows, bulks_do_what_single_returns_would)
{
	unsigned int indices[MOST], count, round, nr_out, i, fine = 0, wrong = 0;
	int ret;

	for (round = 0; round < 20000; round++) {
		for (nr_out = 0, i = 0; i < BLOCKS; i++)
			nr_out += self->out[i];
		count = 1 + next(&self->seed) % MOST;
		if (nr_out + count <= BLOCKS && next(&self->seed) % 2)
			ASSERT_TRUE(get(self, indices, count));
		count = some(self, indices);
		ret = return_in_model(self, indices, count);
		ASSERT_EQ(ret, mempool_return_blocks_inline(self->blocks, indices, count));
		ASSERT_TRUE(as_in_model(self));
		fine += !ret;
		wrong += !!ret;
	}
	EXPECT_LT(1000, fine);
	EXPECT_LT(1000, wrong);
}

/* Each number of blocks, up and down, from each place in a line of the table on. */
TEST_F(rows, rows_of_any_length_come_back)
{
	unsigned int all[BLOCKS], indices[MOST], count, from;
	int by;

	for (count = 1; count <= MOST; count++) {
		for (from = 128; from < 128 + 16; from++) {
			for (by = -1; by <= 1; by += 2) {
				ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, all, BLOCKS));
				memset(self->out, 1, BLOCKS);
				row(indices, count, from, by);
				ASSERT_EQ(0, mempool_return_blocks(self->blocks, indices, count));
				ASSERT_EQ(0, return_in_model(self, indices, count));
				ASSERT_TRUE(as_in_model(self));
				ASSERT_TRUE(get(self, indices, count));
				ASSERT_EQ(0, mempool_return_blocks(self->blocks, all, BLOCKS));
			}
		}
	}
}

/* One in a row is not out: whichever, it alone is refused. */
TEST_F(rows, one_that_is_not_out_is_found_in_a_row)
{
	unsigned int all[BLOCKS], indices[MOST], count, missing;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, all, BLOCKS));
	memset(self->out, 1, BLOCKS);
	for (count = 8; count <= MOST; count += 4) {
		for (missing = 0; missing < count; missing++) {
			row(indices, count, 300, 1);
			ASSERT_EQ(0, mempool_return_block(self->blocks, 300 + missing));
			ASSERT_EQ(-ENOENT, mempool_return_blocks_inline(self->blocks, indices,
									count));
			memset(self->out + 300, 0, count);
			ASSERT_TRUE(as_in_model(self));
			ASSERT_TRUE(get(self, indices, count));
		}
	}
}

/* There is a byte, but no block; and what would be before the first byte, or wraps. */
TEST_F(rows, rows_beyond_the_pool_are_erange)
{
	static const struct {
		unsigned int from;
		int by;
	} ends[] = { { BLOCKS - 4, 1 }, { BLOCKS + 7, -1 }, { 1020, 1 }, { 1023, -1 },
		     { 3, -1 }, { -4u, 1 }, { -1u, -1 } };
	unsigned int all[BLOCKS], indices[MOST], i;

	ASSERT_EQ(0, mempool_get_blocks(self->blocks, NULL, all, BLOCKS));
	memset(self->out, 1, BLOCKS);
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		row(indices, 8, ends[i].from, ends[i].by);
		EXPECT_EQ(return_in_model(self, indices, 8),
			  mempool_return_blocks_inline(self->blocks, indices, 8));
		EXPECT_TRUE(as_in_model(self));
	}
}

#ifdef MEMPOOL_SIMD

static int64_t lowest_of(const unsigned int *indices, unsigned int count)
{
	void *slots[MOST];
	unsigned int nr;
	int64_t lowest;

	mempool_put(slots, indices, count, &lowest, &nr);
	return lowest;
}

TEST(a_row_is_told_from_what_is_none)
{
	unsigned int indices[MOST], i;

	row(indices, MOST, 100, 1);
	EXPECT_EQ(100, lowest_of(indices, MOST));
	row(indices, MOST, 100, -1);
	EXPECT_EQ(100 - MOST + 1, lowest_of(indices, MOST));
	row(indices, MOST, 100, 2);
	EXPECT_GT(0, lowest_of(indices, MOST));
	row(indices, MOST, 100, 0);
	EXPECT_GT(0, lowest_of(indices, MOST));
	for (i = 0; i < MOST; i++) {
		row(indices, MOST, 100, 1);
		indices[i] ^= 256;
		EXPECT_GT(0, lowest_of(indices, MOST));
	}
}

#endif

TEST_HARNESS_MAIN
