// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit, with checkers
/*
 * Arrays of a batch that are not there, from any point on: what was done is
 * reported, what was not is undone.
 */
#include "mp_proc.h"

#define BATCH	12		/* elements */

/* Two pages; the second can neither be read nor written. */
static unsigned char *broken_pages(void)
{
	unsigned char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + 4096, 4096, PROT_NONE))
		return NULL;
	return p;
}

FIXTURE(session_with_blocks) {
	int fd;
	unsigned char *end;	/* of readable memory */
	__u64 offsets[BATCH];
	struct mempool_session_stats before, after;
};

FIXTURE_SETUP(session_with_blocks)
{
	struct mempool_block blocks[BATCH];
	int i;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->end = broken_pages();
	ASSERT_NE(NULL, self->end);
	self->end += 4096;
	test_ioctl_alloc(self->fd, 3000, BATCH, 0, blocks);
	for (i = 0; i < BATCH; i++)
		self->offsets[i] = blocks[i].offset;
	test_ioctl_stats(self->fd, &self->before);
}

FIXTURE_TEARDOWN(session_with_blocks)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

/* For each k: element k is the first that lies in memory that is not there. */
TEST_F(session_with_blocks, alloc_into_memory_missing_from_k_is_undone)
{
	size_t size = sizeof(struct mempool_block);
	int k;

	for (k = 0; k < BATCH; k++) {
		ASSERT_EQ(-EFAULT,
			  _test_ioctl_alloc(self->fd, 5000, BATCH, 0,
					    (void *)(self->end - k * size),
					    NULL));
		test_ioctl_stats(self->fd, &self->after);
		ASSERT_EQ(self->before.currently_allocated,
			  self->after.currently_allocated);
		ASSERT_EQ(self->before.current_bytes,
			  self->after.current_bytes);
	}
}

TEST_F(session_with_blocks, alloc_with_an_element_half_there_is_undone)
{
	ASSERT_EQ(-EFAULT,
		  _test_ioctl_alloc(self->fd, 5000, 1, 0,
				    (void *)(self->end - 8), NULL));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.currently_allocated,
		  self->after.currently_allocated);
}

TEST_F(session_with_blocks, alloc_into_read_only_memory_is_undone)
{
	ASSERT_EQ(0, mprotect(self->end - 4096, 4096, PROT_READ));
	ASSERT_EQ(-EFAULT,
		  _test_ioctl_alloc(self->fd, 5000, 4, 0,
				    (void *)(self->end - 4096), NULL));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.currently_allocated,
		  self->after.currently_allocated);
}

TEST_F(session_with_blocks, alloc_into_kernel_addresses_is_undone)
{
	static const unsigned long long bad[] = {
		0, 0x0000800000000000, 0xffff888000001000, 0xffffffff81000000,
		0xffffffffffffffff, 0xffffffffffffffe8,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct mempool_alloc arg = {
			.size = 5000, .count = 2, .blocks = bad[i],
		};

		ASSERT_EQ(-EFAULT, mp_ioctl(self->fd, MEMPOOL_IOC_ALLOC, &arg));
	}
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.currently_allocated,
		  self->after.currently_allocated);
}

/* More than the reserve holds, if any of them stayed away. */
TEST_F(session_with_blocks, undone_blocks_can_be_had_again)
{
	int i;

	for (i = 0; i < 100; i++)
		ASSERT_EQ(-EFAULT, _test_ioctl_alloc(self->fd, 100000, BATCH, 0,
						     (void *)self->end, NULL));
	test_alloc_one(self->fd, 60u << 20);
}

TEST_F(session_with_blocks, release_stops_where_the_array_ends)
{
	__u32 done;
	int k;

	for (k = 0; k < BATCH; k++) {
		__u64 *at = (__u64 *)self->end - 1;

		/* One offset is there; two are asked for. */
		*at = self->offsets[k];
		ASSERT_EQ(-EFAULT, _test_ioctl_release(self->fd, at, 2, 0,
						       &done));
		ASSERT_EQ(1, done);
	}
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.currently_allocated - BATCH,
		  self->after.currently_allocated);
}

TEST_F(session_with_blocks, release_tells_how_many_came_before_the_fault)
{
	__u32 done = 0;
	int k;

	for (k = 1; k < 5; k++) {	/* 1 + 2 + 3 + 4 blocks */
		__u64 *at = (__u64 *)self->end - k;

		memcpy(at, self->offsets + k * (k - 1) / 2, k * sizeof(*at));
		ASSERT_EQ(-EFAULT, _test_ioctl_release(self->fd, at, BATCH, 0,
						       &done));
		ASSERT_EQ((__u32)k, done);
	}
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.releases + 10, self->after.releases);
}

TEST_F(session_with_blocks, release_keeps_what_came_after_the_fault)
{
	__u64 *at = (__u64 *)self->end - 5;

	memcpy(at, self->offsets, 5 * sizeof(*at));
	ASSERT_EQ(-EFAULT, _test_ioctl_release(self->fd, at, BATCH, 0, NULL));
	test_ioctl_release(self->fd, self->offsets + 5, BATCH - 5);
}

TEST_F(session_with_blocks, release_from_kernel_addresses_changes_nothing)
{
	static const unsigned long long bad[] = {
		0, 0x0000800000000000, 0xffff888000001000, 0xffffffff81000000,
		0xffffffffffffffff, 0xfffffffffffffff8,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct mempool_release arg = { .count = 3, .offsets = bad[i] };

		ASSERT_EQ(-EFAULT,
			  mp_ioctl(self->fd, MEMPOOL_IOC_RELEASE, &arg));
		ASSERT_EQ(0, arg.done);
	}
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.currently_allocated,
		  self->after.currently_allocated);
}

/* The array lies in a block of the pool itself, which is faulted in meanwhile. */
TEST_F(session_with_blocks, arrays_may_lie_in_the_pool)
{
	struct mempool_block *blocks;
	struct mempool_info info;
	unsigned char *base;

	ASSERT_EQ(0, mp_info(self->fd, &info));
	base = mmap(NULL, info.space_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		    self->fd, 0);
	ASSERT_NE(MAP_FAILED, base);
	blocks = (void *)(base + self->offsets[0]);
	ASSERT_EQ(0, _test_ioctl_alloc(self->fd, 2000, 4, 0, blocks, NULL));
	EXPECT_NE(blocks[0].offset, blocks[1].offset);
	munmap(base, info.space_bytes);
}

/* The array lies in a block that the same command gives back. */
TEST_F(session_with_blocks, release_of_the_block_that_holds_the_array)
{
	struct mempool_info info;
	unsigned char *base;
	__u64 *array;
	__u32 done;
	int ret;

	ASSERT_EQ(0, mp_info(self->fd, &info));
	base = mmap(NULL, info.space_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		    self->fd, 0);
	ASSERT_NE(MAP_FAILED, base);
	array = (void *)(base + self->offsets[0]);
	memcpy(array, self->offsets, sizeof(self->offsets));
	ret = _test_ioctl_release(self->fd, array, BATCH, 0, &done);
	EXPECT_TRUE((ret == 0 && done == BATCH) ||
		    (ret == -EFAULT && done < BATCH));
	test_ioctl_stats(self->fd, &self->after);
	EXPECT_EQ(self->before.currently_allocated - done,
		  self->after.currently_allocated);
	munmap(base, info.space_bytes);
}

/* ---- block pools ------------------------------------------------------------ */

FIXTURE(private_pool) {
	int fd;
	__u32 pool;
	unsigned char *end;
	struct mempool_token tokens[BATCH];	/* held */
	struct mempool_pool_stats before, after;
};

FIXTURE_SETUP(private_pool)
{
	struct mempool_pool_create arg;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->end = broken_pages();
	ASSERT_NE(NULL, self->end);
	self->end += 4096;
	test_pool_create(self->fd, NULL, 256, 100, 0, 0, &arg);
	self->pool = arg.pool;
	ASSERT_EQ(0, _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_GET,
				      self->pool, self->tokens, BATCH, NULL,
				      NULL));
	test_pool_stats(self->fd, self->pool, &self->before);
}

FIXTURE_TEARDOWN(private_pool)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

TEST_F(private_pool, get_into_memory_missing_from_k_is_undone)
{
	int k;

	for (k = 0; k < BATCH; k++) {
		struct mempool_token *at = (void *)(self->end -
						    k * sizeof(*at));

		ASSERT_EQ(-EFAULT,
			  _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_GET,
					   self->pool, at, BATCH, NULL, NULL));
		test_pool_stats(self->fd, self->pool, &self->after);
		ASSERT_EQ(self->before.issued, self->after.issued);
	}
}

TEST_F(private_pool, return_tells_how_many_came_before_the_fault)
{
	__u32 done = 0;
	int k;

	for (k = 1; k < 5; k++) {
		struct mempool_token *at = (void *)(self->end -
						    k * sizeof(*at));

		memcpy(at, self->tokens + k * (k - 1) / 2, k * sizeof(*at));
		ASSERT_EQ(-EFAULT,
			  _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_RETURN,
					   self->pool, at, BATCH, &done, NULL));
		ASSERT_EQ((__u32)k, done);
	}
	test_pool_stats(self->fd, self->pool, &self->after);
	EXPECT_EQ(self->before.issued - 10, self->after.issued);
}

TEST_F(private_pool, adopt_tells_how_many_came_before_the_fault)
{
	struct mempool_token *at = (void *)(self->end - 3 * sizeof(*at));
	__u32 done = 0;

	memcpy(at, self->tokens, 3 * sizeof(*at));
	ASSERT_EQ(-EFAULT, _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_ADOPT,
					    self->pool, at, BATCH, &done,
					    NULL));
	EXPECT_EQ(3, done);
}

TEST_HARNESS_MAIN
