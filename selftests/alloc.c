// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit, with checkers
/*
 * ALLOC within one session: sizes and counts, and what a block is. Buckets and
 * statistics: bucket_semantics.c; memory that runs out: limits.c, reclaim.c.
 */
#include "mp_proc.h"

FIXTURE(mapped_session) {
	struct mp_session s;
	int fd;
	struct mempool_session_stats before, after;
};

FIXTURE_SETUP(mapped_session)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->fd = self->s.fd;
}

FIXTURE_TEARDOWN(mapped_session)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

#define alloc(size, count, flags) \
	_test_ioctl_alloc(self->fd, size, count, flags, blocks, &done)

/* ---- sizes and counts ----------------------------------------------------------- */

TEST_F(mapped_session, size_0_is_einval)
{
	EXPECT_EQ(-EINVAL, (int)_test_alloc_one(self->fd, 0));
}

TEST_F(mapped_session, size_1_is_served)
{
	test_alloc_one(self->fd, 1);
}

TEST_F(mapped_session, a_block_may_span_chunks)
{
	__u64 offset = test_alloc_one(self->fd, 5 * MP_CHUNK);
	unsigned char *p = self->s.base + offset;

	memset(p, 0x5a, 5 * MP_CHUNK);
	EXPECT_EQ(0, mp_count_not(p, 0x5a, 5 * MP_CHUNK));
}

TEST_F(mapped_session, a_size_that_cannot_be_rounded_is_eoverflow)
{
	EXPECT_EQ(-EOVERFLOW, (int)_test_alloc_one(self->fd, ~0ull));
	EXPECT_EQ(-EOVERFLOW, (int)_test_alloc_one(self->fd, ~0ull - 1000));
}

TEST_F(mapped_session, count_times_size_beyond_64_bits_is_eoverflow)
{
	struct mempool_block blocks[4];
	__u32 done;

	EXPECT_EQ(-EOVERFLOW, alloc(1ull << 62, 4, 0));
	EXPECT_EQ(-EOVERFLOW, alloc(1ull << 63, 2, 0));
}

TEST_F(mapped_session, sizes_beyond_the_reserve_are_refused)
{
	static const __u64 sizes[] = {
		(64ull << 20) + 1, 1ull << 31, 1ull << 32, (1ull << 32) + 1,
		1ull << 40, 1ull << 62, (1ull << 63) - 1, 1ull << 63,
	};
	size_t i;
	int ret;

	test_ioctl_stats(self->fd, &self->before);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ret = _test_alloc_one(self->fd, sizes[i]);
		EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT) {
			TH_LOG("size %llx: %d", sizes[i], ret);
		}
	}
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.owned_bytes, self->after.owned_bytes);
}

TEST_F(mapped_session, count_0_is_einval)
{
	struct mempool_block blocks[1];
	__u32 done;

	EXPECT_EQ(-EINVAL, alloc(100, 0, 0));
}

TEST_F(mapped_session, counts_above_max_batch_are_e2big)
{
	const __u32 max = self->s.info.max_batch;
	const __u32 counts[] = { max + 1, 1u << 31, ~0u };
	struct mempool_block blocks[1];
	__u32 done;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(counts); i++)
		EXPECT_EQ(-E2BIG, alloc(64, counts[i], 0));
}

TEST_F(mapped_session, max_batch_blocks_come_at_once)
{
	const __u32 n = self->s.info.max_batch;
	struct mempool_block *blocks = calloc(n, sizeof(*blocks));
	__u32 done;

	ASSERT_NE(NULL, blocks);
	ASSERT_EQ(0, alloc(64, n, 0));
	EXPECT_EQ(n, done);
}

TEST_F(mapped_session, waiting_is_reserved)
{
	struct mempool_block blocks[1];
	__u32 done;

	EXPECT_EQ(-EINVAL, alloc(100, 1, MEMPOOL_ALLOC_WAIT));
}

/* ---- what a block is ---------------------------------------------------------------- */

TEST_F(mapped_session, blocks_are_aligned)
{
	struct mempool_block blocks[16];
	__u64 size;
	int i;

	for (size = 1; size < 300000; size = size * 3 + 1) {
		test_ioctl_alloc(self->fd, size, 16, 0, blocks);
		for (i = 0; i < 16; i++)
			ASSERT_EQ(0, blocks[i].offset % MEMPOOL_BLOCK_ALIGN);
	}
}

TEST_F(mapped_session, page_aligned_blocks_start_a_page)
{
	struct mempool_block blocks[16];
	__u64 size;
	int i;

	for (size = 1; size < 300000; size = size * 3 + 1) {
		test_ioctl_alloc(self->fd, size, 16, MEMPOOL_ALLOC_PAGE_ALIGNED,
				 blocks);
		for (i = 0; i < 16; i++)
			ASSERT_EQ(0, blocks[i].offset % self->s.info.page_size);
	}
}

TEST_F(mapped_session, buckets_of_whole_pages_start_a_page)
{
	struct mempool_block blocks[16];
	int i;

	test_ioctl_alloc(self->fd, 4096, 16, 0, blocks);
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, blocks[i].offset % self->s.info.page_size);
	test_ioctl_alloc(self->fd, 20480, 16, 0, blocks);
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, blocks[i].offset % self->s.info.page_size);
}

TEST_F(mapped_session, blocks_stand_in_their_slab_in_steps_of_the_bucket)
{
	struct mempool_block blocks[32];
	int i;

	test_ioctl_alloc(self->fd, 3000, 32, 0, blocks);	/* 3072 */
	for (i = 0; i < 32; i++) {
		ASSERT_LE(blocks[i].slab, blocks[i].offset);
		ASSERT_EQ(0, (blocks[i].offset - blocks[i].slab) % 3072);
	}
}

TEST_F(mapped_session, page_aligned_blocks_stand_in_steps_of_pages)
{
	struct mempool_block blocks[32];
	int i;

	test_ioctl_alloc(self->fd, 5000, 32, MEMPOOL_ALLOC_PAGE_ALIGNED,
			 blocks);	/* 5120: two pages */
	for (i = 0; i < 32; i++)
		ASSERT_EQ(0, (blocks[i].offset - blocks[i].slab) % 8192);
}

/* Fill each of many live blocks of many sizes with its own byte. */
TEST_F(mapped_session, blocks_do_not_overlap)
{
	static const __u64 sizes[] = {
		1, 64, 1000, 1024, 1025, 4096, 5000, 9217, 10240, 50000,
		102400, 102401, 300000, 1u << 20, 3u << 20,
	};
	enum { ROUNDS = 5, N = ROUNDS * ARRAY_SIZE(sizes) };
	__u64 offset[N];
	unsigned int i;

	for (i = 0; i < N; i++) {
		offset[i] = test_alloc_one(self->fd,
					   sizes[i % ARRAY_SIZE(sizes)]);
		memset(self->s.base + offset[i], i + 1,
		       sizes[i % ARRAY_SIZE(sizes)]);
	}
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, mp_count_not(self->s.base + offset[i], i + 1,
					  sizes[i % ARRAY_SIZE(sizes)]));
}

TEST_F(mapped_session, blocks_lie_inside_the_offset_space)
{
	__u64 size;

	for (size = 1; size < 20u << 20; size = size * 5 + 3)
		ASSERT_LE(test_alloc_one(self->fd, size) + size,
			  self->s.info.space_bytes);
}

TEST_F(mapped_session, memory_never_used_is_zero)
{
	__u64 offset = test_alloc_one(self->fd, 3 * MP_CHUNK);

	EXPECT_EQ(0, mp_count_not(self->s.base + offset, 0, 3 * MP_CHUNK));
}

TEST_F(mapped_session, a_block_handed_out_again_is_marked_reused)
{
	struct mempool_block first, second;

	test_ioctl_alloc(self->fd, 1000, 1, 0, &first);
	test_release_one(self->fd, first.offset);
	test_ioctl_alloc(self->fd, 1000, 1, 0, &second);
	EXPECT_EQ(0, first.flags);
	EXPECT_EQ(MEMPOOL_BLOCK_REUSED, second.flags);
}

TEST_F(mapped_session, blocks_used_before_come_before_fresh_ones)
{
	struct mempool_block blocks[8], again;

	test_ioctl_alloc(self->fd, 1000, 8, 0, blocks);
	test_release_one(self->fd, blocks[5].offset);
	test_ioctl_alloc(self->fd, 1000, 1, 0, &again);
	EXPECT_EQ(blocks[5].offset, again.offset);
}

#define MANY	1000

/* Take MANY blocks and give every second back: holes in all slabs. */
static int make_holes(int fd, struct mempool_block *blocks, __u64 *holes)
{
	__u32 done;
	int i, ret = _test_ioctl_alloc(fd, 1000, MANY, 0, blocks, &done);

	if (ret || done != MANY)
		return -ENOMEM;
	for (i = 0; i < MANY / 2; i++)
		holes[i] = blocks[2 * i].offset;
	ret = _test_ioctl_release(fd, holes, MANY / 2, 0, &done);
	return ret || done != MANY / 2 ? -EINVAL : 0;
}

static int by_offset(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return (x > y) - (x < y);
}

TEST_F(mapped_session, a_batch_fills_the_holes_of_many_slabs)
{
	static struct mempool_block blocks[MANY];
	static __u64 holes[MANY / 2], got[MANY / 2];
	int i;

	ASSERT_EQ(0, make_holes(self->fd, blocks, holes));
	test_ioctl_alloc(self->fd, 1000, MANY / 2, 0, blocks);
	for (i = 0; i < MANY / 2; i++) {
		EXPECT_EQ(MEMPOOL_BLOCK_REUSED, (int)blocks[i].flags);
		got[i] = blocks[i].offset;
	}
	qsort(holes, MANY / 2, sizeof(*holes), by_offset);
	qsort(got, MANY / 2, sizeof(*got), by_offset);
	EXPECT_EQ(0, memcmp(holes, got, sizeof(got)));
}

/* The same blocks can be had, in the same order, as if nobody had asked before. */
TEST_F(mapped_session, a_batch_from_many_slabs_is_undone)
{
	static struct mempool_block blocks[MANY], again[MANY];
	static __u64 holes[MANY / 2];
	__u32 done;
	int i;

	ASSERT_EQ(0, make_holes(self->fd, blocks, holes));
	test_ioctl_stats(self->fd, &self->before);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(-EFAULT, _test_ioctl_alloc(self->fd, 1000, MANY / 2 + i,
						     MEMPOOL_ALLOC_ZERO, NULL, &done));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.current_bytes, self->after.current_bytes);
	EXPECT_EQ(self->before.total_allocations, self->after.total_allocations);
	test_ioctl_alloc(self->fd, 1000, MANY / 2, 0, again);
	for (i = 0; i < MANY / 2; i++)
		EXPECT_EQ(MEMPOOL_BLOCK_REUSED, (int)again[i].flags);
}

TEST_F(mapped_session, zero_clears_a_used_block)
{
	struct mempool_block a, b;

	test_ioctl_alloc(self->fd, 9000, 1, 0, &a);
	memset(self->s.base + a.offset, 0xee, 9000);
	test_release_one(self->fd, a.offset);
	test_ioctl_alloc(self->fd, 9000, 1, MEMPOOL_ALLOC_ZERO, &b);
	ASSERT_EQ(a.offset, b.offset);	/* else this test shows nothing */
	EXPECT_EQ(0, mp_count_not(self->s.base + b.offset, 0, 9000));
}

TEST_F(mapped_session, zero_clears_the_whole_bucket)
{
	struct mempool_block a, b;

	test_ioctl_alloc(self->fd, 9216, 1, 0, &a);
	memset(self->s.base + a.offset, 0xee, 9216);
	test_release_one(self->fd, a.offset);
	test_ioctl_alloc(self->fd, 8500, 1, MEMPOOL_ALLOC_ZERO, &b);
	ASSERT_EQ(a.offset, b.offset);
	EXPECT_EQ(0, mp_count_not(self->s.base + b.offset, 0, 9216));
}

TEST_F(mapped_session, zero_leaves_the_neighbours_alone)
{
	struct mempool_block b[3];

	test_ioctl_alloc(self->fd, 1000, 3, 0, b);
	memset(self->s.base + b[0].offset, 0xa0, 1024);
	memset(self->s.base + b[1].offset, 0xa1, 1024);
	memset(self->s.base + b[2].offset, 0xa2, 1024);
	test_release_one(self->fd, b[1].offset);
	test_ioctl_alloc(self->fd, 1000, 1, MEMPOOL_ALLOC_ZERO, &b[1]);
	EXPECT_EQ(0, mp_count_not(self->s.base + b[0].offset, 0xa0, 1024));
	EXPECT_EQ(0, mp_count_not(self->s.base + b[2].offset, 0xa2, 1024));
}

/* ---- tenure ---------------------------------------------------------------------- */

TEST_F(mapped_session, tenure_stays_while_no_chunk_is_bound)
{
	struct mempool_block a, b;

	test_ioctl_alloc(self->fd, 1000, 1, 0, &a);
	test_ioctl_alloc(self->fd, 2000, 1, 0, &b);
	EXPECT_EQ(1, mp_sysfs("chunks_owned"));
	EXPECT_EQ(a.tenure, b.tenure);
}

TEST_F(mapped_session, tenure_rises_when_a_chunk_is_bound)
{
	struct mempool_block a, b;

	test_ioctl_alloc(self->fd, 1000, 1, 0, &a);
	test_ioctl_alloc(self->fd, MP_CHUNK, 1, 0, &b);
	EXPECT_LT(a.tenure, b.tenure);
}

TEST_F(mapped_session, tenure_rises_when_a_chunk_comes_back)
{
	struct mempool_block a, b;

	test_ioctl_alloc(self->fd, 1000, 1, 0, &a);
	test_release_one(self->fd, a.offset);
	ASSERT_EQ(MP_CHUNK, (unsigned long)_test_ioctl_trim(self->fd));
	test_ioctl_alloc(self->fd, 1000, 1, 0, &b);
	EXPECT_LT(a.tenure, b.tenure);
}

/* A touch after populating at a tenure that has not moved makes no fault. */
TEST_F(mapped_session, memory_populated_at_a_tenure_stays_populated)
{
	struct mempool_block b[2];
	long faults;

	test_ioctl_alloc(self->fd, 100000, 1, 0, &b[0]);
	memset(self->s.base + b[0].offset, 1, 100000);
	test_release_one(self->fd, b[0].offset);
	test_ioctl_alloc(self->fd, 100000, 1, 0, &b[1]);
	ASSERT_EQ(b[0].tenure, b[1].tenure);
	ASSERT_EQ(b[0].offset, b[1].offset);
	faults = mp_faults();
	memset(self->s.base + b[1].offset, 2, 100000);
	EXPECT_EQ(faults, mp_faults());
}

static __attribute__((noinline)) void touch(volatile unsigned char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += 4096)
		p[i] = 1;
}

TEST_F(mapped_session, populate_makes_the_first_touch_free_of_faults)
{
	const size_t size = 3 * MP_CHUNK;
	__u64 offset = test_alloc_one(self->fd, size);
	unsigned char here[1];
	long faults;

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
	ASSERT_EQ(0, offset % 4096);
	ASSERT_EQ(0, madvise(self->s.base + offset, size, MADV_POPULATE_WRITE));
	touch(here, sizeof(here));	/* its code is there now */
	faults = mp_faults();
	touch(self->s.base + offset, size);
	EXPECT_EQ(faults, mp_faults());
}

TEST_HARNESS_MAIN
