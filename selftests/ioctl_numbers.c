// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit, with checkers
/* Numbers that are no command, and what commands leave in the caller's memory. */
#include "mp_proc.h"

static unsigned char arg[16384];

/* ---- numbers --------------------------------------------------------------- */

FIXTURE(open_device) {
	int fd;
};

FIXTURE_SETUP(open_device)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(open_device)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

static bool known_nr(unsigned int nr)
{
	return nr <= MEMPOOL_NR_STATS || (nr >= MEMPOOL_NR_POOL_CREATE &&
					  nr <= MEMPOOL_NR_POOL_STATS);
}

TEST_F(open_device, unknown_numbers_are_enotty)
{
	static const unsigned int sizes[] = { 0, 1, 8, 64, 512, 16383 };
	unsigned int nr, dir, i;

	for (nr = 0; nr < 256; nr++) {
		if (known_nr(nr))
			continue;
		for (dir = 0; dir < 4; dir++)
			for (i = 0; i < ARRAY_SIZE(sizes); i++)
				ASSERT_EQ(-ENOTTY,
					  mp_ioctl(self->fd,
						   _IOC(dir, MEMPOOL_IOC_TYPE,
							nr, sizes[i]), arg));
	}
}

TEST_F(open_device, other_types_are_enotty)
{
	static const unsigned int types[] = { 0x01, 'm', 0xBD, 0xBF, 0xFF };
	unsigned int i, nr;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		for (nr = 0; nr < 32; nr++)
			ASSERT_EQ(-ENOTTY,
				  mp_ioctl(self->fd,
					   _IOC(_IOC_READ | _IOC_WRITE,
						types[i], 0x40 + nr, 64),
					   arg));
}

/* ---- what comes out --------------------------------------------------------- */

TEST_F(open_device, info_leaves_no_byte_of_the_caller)
{
	struct mempool_info a, b;

	memset(&a, 0xaa, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_INFO, &a));
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_INFO, &b));
	EXPECT_EQ(0, memcmp(&a, &b, sizeof(a)));
}

TEST_F(open_device, info_reserved_is_zero)
{
	struct mempool_info a;

	memset(&a, 0xaa, sizeof(a));
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_INFO, &a));
	EXPECT_EQ(0, a.reserved);
}

TEST_F(open_device, stats_leave_no_byte_of_the_caller)
{
	struct mempool_session_stats a, b;

	memset(&a, 0xaa, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_STATS, &a));
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_STATS, &b));
	EXPECT_EQ(0, memcmp(&a, &b, sizeof(a)));
}

TEST_F(open_device, blocks_have_zero_reserved_and_only_known_flags)
{
	struct mempool_block blocks[8];
	int i;

	memset(blocks, 0xaa, sizeof(blocks));
	test_ioctl_alloc(self->fd, 1000, 8, 0, blocks);
	for (i = 0; i < 8; i++) {
		EXPECT_EQ(0, blocks[i].reserved);
		EXPECT_EQ(0, blocks[i].flags & ~MEMPOOL_BLOCK_REUSED);
	}
}

TEST_F(open_device, alloc_writes_no_more_blocks_than_asked)
{
	struct mempool_block blocks[3];

	memset(blocks, 0xaa, sizeof(blocks));
	test_ioctl_alloc(self->fd, 1000, 2, 0, blocks);
	EXPECT_EQ(0, mp_count_not(&blocks[2], 0xaa, sizeof(blocks[2])));
}

TEST_F(open_device, pool_stats_leave_no_byte_of_the_caller)
{
	struct mempool_pool_stats a, b;
	struct mempool_pool_create pool;

	test_pool_create(self->fd, NULL, 64, 10, 0, 0, &pool);
	memset(&a, 0xaa, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	a.pool = pool.pool;
	b.pool = pool.pool;
	a.flags = 0;
	b.flags = 0;
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_POOL_STATS, &a));
	ASSERT_EQ(0, mp_ioctl(self->fd, MEMPOOL_IOC_POOL_STATS, &b));
	EXPECT_EQ(0, memcmp(&a, &b, sizeof(a)));
}

TEST_HARNESS_MAIN
