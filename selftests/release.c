// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * RELEASE, PREALLOCATE and TRIM within one session: what is refused, what that
 * leaves, and what goes back.
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

/* ---- RELEASE ------------------------------------------------------------------------ */

TEST_F(mapped_session, release_gives_the_block_back)
{
	test_ioctl_stats(self->fd, &self->before);
	test_release_one(self->fd, test_alloc_one(self->fd, 1000));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(0, self->after.currently_allocated);
	EXPECT_EQ(0, self->after.current_bytes);
	EXPECT_EQ(self->before.releases + 1, self->after.releases);
}

TEST_F(mapped_session, a_second_release_is_enoent)
{
	__u64 offset = test_alloc_one(self->fd, 1000);

	test_alloc_one(self->fd, 1000);		/* keeps the slab */
	test_release_one(self->fd, offset);
	EXPECT_EQ(-ENOENT, _test_release_one(self->fd, offset));
	EXPECT_EQ(-ENOENT, _test_release_one(self->fd, offset));
}

TEST_F(mapped_session, a_second_release_of_memory_that_went_back_is_enoent)
{
	__u64 offset = test_alloc_one(self->fd, 1000);

	test_release_one(self->fd, offset);
	ASSERT_EQ(MP_CHUNK, (unsigned long)_test_ioctl_trim(self->fd));
	EXPECT_EQ(-ENOENT, _test_release_one(self->fd, offset));
}

TEST_F(mapped_session, a_second_release_in_the_same_batch_is_enoent)
{
	__u64 twice[2];
	__u32 done;

	twice[0] = test_alloc_one(self->fd, 1000);
	twice[1] = twice[0];
	EXPECT_EQ(-ENOENT, _test_ioctl_release(self->fd, twice, 2, 0, &done));
	EXPECT_EQ(1, done);
}

TEST_F(mapped_session, misaligned_offsets_are_einval)
{
	__u64 offset = test_alloc_one(self->fd, 1000);
	int i;

	for (i = 1; i < (int)MEMPOOL_BLOCK_ALIGN; i++)
		ASSERT_EQ(-EINVAL, _test_release_one(self->fd, offset + i));
}

TEST_F(mapped_session, offsets_inside_a_block_are_einval)
{
	__u64 offset = test_alloc_one(self->fd, 5000);
	int i;

	for (i = 64; i < 5000; i += 64)
		ASSERT_EQ(-EINVAL, _test_release_one(self->fd, offset + i));
}

TEST_F(mapped_session, offsets_inside_a_large_block_are_einval)
{
	__u64 offset = test_alloc_one(self->fd, 3 * MP_CHUNK), i;

	for (i = 4096; i < 3 * MP_CHUNK; i += 512 * 1024)
		ASSERT_EQ(-EINVAL, _test_release_one(self->fd, offset + i));
}

/* The slab of a block of 5 KiB has 2 pages: the rest of the second is no block's. */
TEST_F(mapped_session, offsets_behind_a_slabs_last_block_are_enoent)
{
	struct mempool_block b;
	int i;

	test_ioctl_alloc(self->fd, 5000, 1, 0, &b);
	ASSERT_EQ(b.slab, b.offset);
	for (i = 5120; i < 8192; i += 64)
		ASSERT_EQ(-ENOENT, _test_release_one(self->fd, b.offset + i));
}

TEST_F(mapped_session, offsets_beyond_the_space_are_einval)
{
	const __u64 space = self->s.info.space_bytes;
	const __u64 bad[] = {
		space, space + 64, space + MP_CHUNK, 2 * space, 1ull << 40,
		1ull << 62, 1ull << 63, ~63ull,
	};
	size_t i;

	test_alloc_one(self->fd, 1000);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, _test_release_one(self->fd, bad[i])) {
			TH_LOG("offset %llx", bad[i]);
		}
	}
}

TEST_F(mapped_session, offsets_that_are_nobodys_are_enoent)
{
	__u64 offset, step = MP_CHUNK / 2;

	for (offset = 0; offset < self->s.info.space_bytes; offset += step)
		ASSERT_EQ(-ENOENT, _test_release_one(self->fd, offset));
}

TEST_F(mapped_session, another_sessions_offsets_are_enoent)
{
	struct mempool_block blocks[8];
	int other = open(MP_DEV, O_RDWR), i;

	ASSERT_LE(0, other);
	test_ioctl_alloc(other, 1000, 8, 0, blocks);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(-ENOENT, _test_release_one(self->fd,
						     blocks[i].offset));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(0, _test_release_one(other, blocks[i].offset));
	close(other);
}

TEST_F(mapped_session, a_pools_blocks_are_not_released_as_buckets)
{
	struct mempool_pool_create pool;
	struct mempool_token token;

	test_pool_create(self->fd, NULL, 4096, 8, 0, 0, &pool);
	test_pool_get(self->fd, pool.pool, &token);
	EXPECT_EQ(-ENOENT, _test_release_one(self->fd, pool.offset +
					     token.index * pool.stride));
}

TEST_F(mapped_session, a_refused_release_is_counted_and_changes_nothing)
{
	__u64 offset = test_alloc_one(self->fd, 1000);

	test_ioctl_stats(self->fd, &self->before);
	ASSERT_EQ(-EINVAL, _test_release_one(self->fd, offset + 1));
	ASSERT_EQ(-EINVAL, _test_release_one(self->fd, offset + 64));
	ASSERT_EQ(-EINVAL, _test_release_one(self->fd, ~63ull));
	ASSERT_EQ(-ENOENT, _test_release_one(self->fd, offset + MP_CHUNK));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.bad_releases + 4, self->after.bad_releases);
	self->after.bad_releases = self->before.bad_releases;
	EXPECT_EQ(0, memcmp(&self->before, &self->after,
			    sizeof(self->before)));
}

/* The entry at each position in turn is bad: those before it are done. */
TEST_F(mapped_session, a_batch_stops_at_its_bad_entry)
{
	struct mempool_block blocks[9];
	__u64 offsets[9];
	__u32 done;
	int k, i;

	for (k = 0; k < 9; k++) {
		test_ioctl_alloc(self->fd, 1000, 9, 0, blocks);
		for (i = 0; i < 9; i++)
			offsets[i] = blocks[i].offset;
		offsets[k] += 64;
		ASSERT_EQ(-EINVAL, _test_ioctl_release(self->fd, offsets, 9, 0,
						       &done));
		ASSERT_EQ((__u32)k, done);
		offsets[k] -= 64;
		/* Exactly these are still held. */
		test_ioctl_release(self->fd, offsets + k, 9 - k);
		test_ioctl_stats(self->fd, &self->after);
		ASSERT_EQ(0, self->after.currently_allocated);
	}
}

TEST_F(mapped_session, release_of_0_is_einval)
{
	EXPECT_EQ(-EINVAL, _test_ioctl_release(self->fd, NULL, 0, 0, NULL));
}

TEST_F(mapped_session, releases_above_max_batch_are_e2big)
{
	__u64 offset = test_alloc_one(self->fd, 1000);
	__u32 done = 0;

	EXPECT_EQ(-E2BIG, _test_ioctl_release(self->fd, &offset,
					      self->s.info.max_batch + 1, 0,
					      &done));
	EXPECT_EQ(-E2BIG, _test_ioctl_release(self->fd, &offset, ~0u, 0,
					      &done));
	test_release_one(self->fd, offset);
}

TEST_F(mapped_session, release_all_takes_every_bucket)
{
	struct mempool_release arg = { .flags = MEMPOOL_RELEASE_ALL };
	struct mempool_block blocks[20];

	test_ioctl_alloc(self->fd, 100, 20, 0, blocks);
	test_ioctl_alloc(self->fd, 5000, 20, 0, blocks);
	test_alloc_one(self->fd, 3 * MP_CHUNK);
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_RELEASE, &arg));
	EXPECT_EQ(41, arg.done);
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(0, self->after.currently_allocated);
}

TEST_F(mapped_session, release_all_leaves_block_pools_alone)
{
	struct mempool_pool_create pool;
	struct mempool_pool_stats st;
	struct mempool_token token;

	test_pool_create(self->fd, NULL, 4096, 8, 0, 0, &pool);
	test_pool_get(self->fd, pool.pool, &token);
	ASSERT_EQ(0, _test_release_all(self->fd));
	test_pool_stats(self->fd, pool.pool, &st);
	EXPECT_EQ(1, st.issued);
}

TEST_F(mapped_session, release_all_takes_no_offsets)
{
	__u64 offset = test_alloc_one(self->fd, 1000);

	EXPECT_EQ(-EINVAL, _test_ioctl_release(self->fd, &offset, 1,
					       MEMPOOL_RELEASE_ALL, NULL));
}

TEST_F(mapped_session, release_all_is_not_out_of_a_cache)
{
	test_alloc_one(self->fd, 1000);
	EXPECT_EQ(-EINVAL, _test_ioctl_release(self->fd, NULL, 0,
					       MEMPOOL_RELEASE_ALL |
					       MEMPOOL_RELEASE_CACHED, NULL));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(1, self->after.currently_allocated);
}

/* ---- PREALLOCATE and TRIM --------------------------------------------------------- */

TEST_F(mapped_session, preallocated_blocks_take_no_more_memory)
{
	struct mempool_block blocks[100];
	__u32 done;

	ASSERT_EQ(0, _test_ioctl_preallocate(self->fd, 50000, 100, &done));
	ASSERT_LE(100, done);
	test_ioctl_stats(self->fd, &self->before);
	test_ioctl_alloc(self->fd, 50000, 100, 0, blocks);
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.owned_bytes, self->after.owned_bytes);
	EXPECT_EQ(self->before.footprint_bytes, self->after.footprint_bytes);
}

/* 500 of a chunk's 512 blocks are taken, and 64 more asked for. */
static int alloc_64_more(int fd, __u32 flags, __u32 *done)
{
	struct mempool_block blocks[500];

	return _test_ioctl_alloc(fd, 4096, 500, 0, blocks, NULL) ?:
		_test_ioctl_alloc(fd, 4096, 64, flags, blocks, done);
}

TEST_F(mapped_session, a_cache_takes_no_chunk_for_a_few_blocks)
{
	struct mempool_block blocks[64];
	__u32 done;

	ASSERT_EQ(0, alloc_64_more(self->fd, MEMPOOL_ALLOC_CACHED, &done));
	EXPECT_EQ(12, done);
	test_ioctl_stats(self->fd, &self->before);
	EXPECT_EQ(MP_CHUNK, self->before.owned_bytes);
	ASSERT_EQ(0, _test_ioctl_alloc(self->fd, 4096, 64, MEMPOOL_ALLOC_CACHED, blocks, &done));
	EXPECT_EQ(64, done);	/* there was not one */
}

TEST_F(mapped_session, a_user_gets_all_blocks_that_can_be_had)
{
	__u32 done;

	ASSERT_EQ(0, alloc_64_more(self->fd, 0, &done));
	EXPECT_EQ(64, done);
}

TEST_F(mapped_session, a_cache_takes_chunks_that_its_blocks_fill)
{
	struct mempool_block blocks[8];
	__u32 done;

	ASSERT_EQ(0, _test_ioctl_alloc(self->fd, 1 << 20, 8, MEMPOOL_ALLOC_CACHED, blocks, &done));
	EXPECT_LE(7, done);
}

TEST_F(mapped_session, preallocated_blocks_are_not_allocated)
{
	ASSERT_EQ(0, _test_ioctl_preallocate(self->fd, 50000, 100, NULL));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(0, self->after.total_allocations);
	EXPECT_EQ(0, self->after.currently_allocated);
}

TEST_F(mapped_session, preallocating_more_than_max_cached_keeps_it_ready)
{
	struct mempool_block blocks[100];
	__u64 offsets[100];
	int i;

	ASSERT_EQ(0, _test_ioctl_preallocate(self->fd, 102400, 100, NULL));
	test_ioctl_stats(self->fd, &self->before);
	test_ioctl_alloc(self->fd, 102400, 100, 0, blocks);
	for (i = 0; i < 100; i++)
		offsets[i] = blocks[i].offset;
	test_ioctl_release(self->fd, offsets, 100);
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.owned_bytes, self->after.owned_bytes);
}

TEST_F(mapped_session, preallocating_the_impossible_is_refused)
{
	int ret = _test_ioctl_preallocate(self->fd, 32u << 20, 3, NULL);

	EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT);
	EXPECT_EQ(-EINVAL, _test_ioctl_preallocate(self->fd, 0, 1, NULL));
	EXPECT_EQ(-EINVAL, _test_ioctl_preallocate(self->fd, 100, 0, NULL));
	EXPECT_EQ(-EOVERFLOW, _test_ioctl_preallocate(self->fd, ~0ull, 1, NULL));
	EXPECT_EQ(-EOVERFLOW, _test_ioctl_preallocate(self->fd, 1ull << 62, 4, NULL));
	ret = _test_ioctl_preallocate(self->fd, 64, ~0u, NULL);
	EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT);
}

/* More than a command that brings its blocks with it may ask for. */
TEST_F(mapped_session, any_number_of_blocks_can_be_preallocated)
{
	const __u32 count = 8 * MP_CHUNK / 1024;
	__u32 done = 0, i;

	ASSERT_EQ(0, _test_ioctl_preallocate(self->fd, 1024, count, &done));
	EXPECT_EQ(count, done);
	test_ioctl_stats(self->fd, &self->before);
	EXPECT_EQ(8 * MP_CHUNK, self->before.owned_bytes);
	for (i = 0; i < count; i++)
		test_alloc_one(self->fd, 1024);
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(8 * MP_CHUNK, self->after.owned_bytes);
}

TEST_F(mapped_session, trim_gives_idle_chunks_back)
{
	test_release_one(self->fd, test_alloc_one(self->fd, 1000));
	test_ioctl_stats(self->fd, &self->before);
	ASSERT_EQ(MP_CHUNK, self->before.owned_bytes);
	EXPECT_EQ((long long)MP_CHUNK, _test_ioctl_trim(self->fd));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(0, self->after.owned_bytes);
}

TEST_F(mapped_session, trim_takes_nothing_that_is_held)
{
	__u64 offset = test_alloc_one(self->fd, 1000);

	self->s.base[offset] = 77;
	EXPECT_EQ(0, _test_ioctl_trim(self->fd));
	EXPECT_EQ(77, self->s.base[offset]);
}

TEST_F(mapped_session, trim_keeps_the_minimum)
{
	ASSERT_EQ(0, _test_configure(self->fd, MEMPOOL_CONFIGURE_MIN_BYTES,
				     2 * MP_CHUNK));
	test_release_one(self->fd, test_alloc_one(self->fd, 5 * MP_CHUNK));
	_test_ioctl_trim(self->fd);
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(2 * MP_CHUNK, self->after.owned_bytes);
}

TEST_HARNESS_MAIN
