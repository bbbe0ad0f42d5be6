// SPDX-License-Identifier: MIT OR GPL-2.0
/* libmempool: what a forked child may do with a handle of its parent's. */
// also: 32-bit
#include "mp_userlib.h"

FIXTURE(parent) {
	struct mempool *pool;
	struct mempool_blocks *blocks;
	unsigned char *ptr;
	unsigned char *block;
	unsigned int index;
};

FIXTURE_SETUP(parent)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
	ASSERT_EQ(0, mp_blocks_new(&self->blocks, self->pool, 4096, 8, "ours", 0600));
	self->ptr = mempool_alloc(self->pool, 4096);
	ASSERT_NE(NULL, self->ptr);
	self->block = mempool_get_block(self->blocks, &self->index);
	ASSERT_NE(NULL, self->block);
	/* What the cache has counted is told: a child cannot do that. */
	ASSERT_EQ(0, mempool_flush(self->pool));
	self->ptr[0] = self->block[0] = 1;
}

FIXTURE_TEARDOWN(parent)
{
	mempool_blocks_close(self->blocks);
	mempool_close(self->pool);
	EXPECT_TRUE(mp_settled());
}

static int bucket_calls(void *arg)
{
	FIXTURE_DATA(parent) *self = arg;
	void *ptrs[2];

	CHECK(!mempool_alloc(self->pool, 1000) && errno == EPERM);
	CHECK(!mempool_zalloc(self->pool, 1000) && errno == EPERM);
	CHECK(!mempool_aligned_alloc(self->pool, 4096, 1000) && errno == EPERM);
	CHECK(mempool_alloc_bulk(self->pool, 1000, ptrs, 2) == -EPERM);
	CHECK(mempool_release(self->pool, self->ptr) == -EPERM);
	ptrs[0] = self->ptr;
	CHECK(mempool_release_bulk(self->pool, ptrs, 1) == -EPERM);
	CHECK(mempool_preallocate(self->pool, 1000, 2) == -EPERM);
	CHECK(mempool_trim(self->pool) == -EPERM);
	CHECK(mempool_clear(self->pool) == -EPERM);
	CHECK(mempool_flush(self->pool) == -EPERM);
	return 0;
}

TEST_F(parent, the_child_cannot_allocate_or_release)
{
	EXPECT_EQ(0, mp_run(0, bucket_calls, self));
	EXPECT_EQ(1, mp_stats(self->pool).total_allocations);
	EXPECT_EQ(0, mp_stats(self->pool).bad_releases);
}

static int block_calls(void *arg)
{
	FIXTURE_DATA(parent) *self = arg;
	struct mempool_blocks *other;
	unsigned int index;

	CHECK(!mempool_get_block(self->blocks, NULL) && errno == EPERM);
	CHECK(mempool_get_blocks(self->blocks, NULL, &index, 1) == -EPERM);
	CHECK(mempool_return_block(self->blocks, self->index) == -EPERM);
	CHECK(mempool_return_blocks(self->blocks, &self->index, 1) == -EPERM);
	CHECK(mempool_adopt_block(self->blocks, 0) == -EPERM);
	CHECK(mempool_coalesce(self->blocks) == -EPERM);
	CHECK(mempool_reset(self->blocks) == -EPERM);
	CHECK(mp_blocks_new(&other, self->pool, 64, 1, NULL, 0) == -EPERM);
	CHECK(mempool_blocks_open(&other, self->pool, "ours") == -EPERM);
	CHECK(mempool_blocks_remove(self->pool, "ours") == -EPERM);
	return 0;
}

TEST_F(parent, the_child_cannot_change_block_pools)
{
	EXPECT_EQ(0, mp_run(0, block_calls, self));
	EXPECT_EQ(1, mp_blocks_stats(self->blocks).issued);
	EXPECT_EQ(0, mp_blocks_stats(self->blocks).coalesces);
}

static int look(void *arg)
{
	FIXTURE_DATA(parent) *self = arg;
	unsigned int index;

	CHECK(mempool_usable_size(self->pool, self->ptr) == 4096);
	CHECK(mempool_round_to_bucket(self->pool, 1) == 1024);
	CHECK(mempool_block_at(self->blocks, self->index) == self->block);
	CHECK(mempool_block_index(self->blocks, self->block, &index) == 0);
	CHECK(mp_stats(self->pool).currently_allocated == 1);
	CHECK(mp_blocks_stats(self->blocks).issued == 1);
	return 0;
}

TEST_F(parent, the_child_can_look)
{
	EXPECT_EQ(0, mp_run(0, look, self));
}

static int write_blocks(void *arg)
{
	FIXTURE_DATA(parent) *self = arg;

	CHECK(self->ptr[0] == 1 && self->block[0] == 1);
	self->ptr[0] = self->block[0] = 2;
	return 0;
}

TEST_F(parent, the_child_can_read_and_write_blocks)
{
	EXPECT_EQ(0, mp_run(0, write_blocks, self));
	EXPECT_EQ(2, self->ptr[0]);
	EXPECT_EQ(2, self->block[0]);
}

static int close_all(void *arg)
{
	FIXTURE_DATA(parent) *self = arg;

	mempool_blocks_close(self->blocks);
	mempool_close(self->pool);
	return 0;
}

TEST_F(parent, the_childs_close_takes_nothing_from_the_parent)
{
	EXPECT_EQ(0, mp_run(0, close_all, self));
	EXPECT_EQ(1, mp_blocks_stats(self->blocks).issued);
	self->ptr[4095] = 3;
	EXPECT_EQ(0, mempool_return_block(self->blocks, self->index));
	EXPECT_EQ(0, mempool_release(self->pool, self->ptr));
}

static int own_pool(void *arg)
{
	struct mempool *mine;
	void *ptr;

	CHECK(mempool_open(&mine, NULL) == 0);
	ptr = mempool_alloc(mine, 1000);
	CHECK(ptr);
	CHECK(mempool_release(mine, ptr) == 0);
	mempool_close(mine);
	return bucket_calls(arg);
}

TEST_F(parent, the_child_can_open_a_pool_of_its_own)
{
	EXPECT_EQ(0, mp_run(0, own_pool, self));
}

static int have_child(void *arg)
{
	return mp_run(0, bucket_calls, arg);
}

TEST_F(parent, the_grandchild_is_refused_too)
{
	EXPECT_EQ(0, mp_run(0, have_child, self));
}

TEST_F(parent, the_parent_goes_on)
{
	void *ptr;

	EXPECT_EQ(0, mp_run(0, bucket_calls, self));
	ptr = mempool_alloc(self->pool, 1000);
	EXPECT_NE(NULL, ptr);
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
}

static int touch(void *ptr)
{
	return mp_peek(ptr);
}

TEST_F(parent, with_dontfork_the_child_has_no_mapping)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mempool *pool;
	void *ptr;

	opts.flags = MEMPOOL_OPEN_DONTFORK;
	ASSERT_EQ(0, mempool_open(&pool, &opts));
	ptr = mempool_alloc(pool, 4096);
	ASSERT_NE(NULL, ptr);
	EXPECT_EQ(SIGSEGV, mp_run(0, touch, ptr));
	EXPECT_EQ(0, mp_run(0, touch, self->ptr));
	mempool_close(pool);
}

static int sleep_without_descriptor(void *arg)
{
	mempool_close(arg);
	pause();	/* until killed */
	return 0;
}

TEST_F(parent, with_dontfork_a_daemon_keeps_nothing_alive)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mempool *pool;
	long long owned = mp_sysfs("chunks_owned");
	pid_t pid;

	opts.flags = MEMPOOL_OPEN_DONTFORK;
	ASSERT_EQ(0, mempool_open(&pool, &opts));
	ASSERT_NE(NULL, mempool_alloc(pool, 6 << 20));
	pid = mp_spawn(0, sleep_without_descriptor, pool);
	ASSERT_LT(0, pid);
	mempool_close(pool);
	EXPECT_EQ(owned, mp_sysfs_wait("chunks_owned", owned));
	mp_kill(pid);
}

TEST_HARNESS_MAIN
