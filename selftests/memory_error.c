// SPDX-License-Identifier: MIT OR GPL-2.0
// kernels: 6.12 debug
/*
 * A page of a block goes bad (MADV_HWPOISON does what a machine check does): its
 * user gets SIGBUS, its chunk is retired when it is given back, all else goes on.
 * Debian's 6.1 cloud kernel has no CONFIG_MEMORY_FAILURE.
 */
#include "mp_proc.h"

#define POISON	100		/* MADV_HWPOISON */

FIXTURE(poisoned_block) {
	struct mp_session s;
	__u64 offset, other;
	unsigned char *p;
};

/* The advice is carried out in a child: it may be killed for it. */
static int poison(void *arg)
{
	/* EHWPOISON: done, but the huge page could not be split for it. */
	if (madvise(arg, 4096, POISON) && errno != EHWPOISON && errno != EBUSY)
		return errno;
	return 0;
}

FIXTURE_SETUP(poisoned_block)
{
	int ret;

	/* Each test retires a chunk: a module of its own. */
	if (mp_loaded())
		ASSERT_EQ(0, mp_unload());
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	self->other = test_alloc_one(self->s.fd, MP_CHUNK);
	memset(self->s.base + self->other, 0x42, MP_CHUNK);
	self->offset = test_alloc_one(self->s.fd, MP_CHUNK);
	self->p = self->s.base + self->offset;
	memset(self->p, 0x41, MP_CHUNK);
	ret = mp_run(0, poison, self->p + 7 * 4096);
	ASSERT_TRUE(ret == 0 || ret == -SIGBUS);
	/* So that the next touch goes through the fault handler. */
	ASSERT_EQ(0, madvise(self->p, MP_CHUNK, MADV_DONTNEED));
}

FIXTURE_TEARDOWN(poisoned_block)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
	EXPECT_EQ(0, mp_unload());
}

static int give_back(struct mp_session *s, __u64 offset)
{
	int ret = _test_release_one(s->fd, offset);
	long long trimmed = ret ?: _test_ioctl_trim(s->fd);

	return trimmed < 0 ? trimmed : 0;
}

TEST_F(poisoned_block, a_touch_of_the_bad_page_is_sigbus)
{
	EXPECT_EQ(SIGBUS, mp_peek(self->p + 7 * 4096));
}

TEST_F(poisoned_block, a_touch_of_the_bad_page_hurts_nothing_else)
{
	ASSERT_EQ(SIGBUS, mp_peek(self->p + 7 * 4096));
	EXPECT_EQ(0, mp_count_not(self->s.base + self->other, 0x42, MP_CHUNK));
	EXPECT_LE(0, _test_alloc_one(self->s.fd, MP_CHUNK));
}

static int peek_in_child(void *arg)
{
	return mp_peek(arg) == SIGBUS ? 0 : 1;
}

TEST_F(poisoned_block, another_process_gets_sigbus_too)
{
	EXPECT_EQ(0, mp_run(0, peek_in_child, self->p + 7 * 4096));
}

TEST_F(poisoned_block, its_chunk_is_retired_when_given_back)
{
	ASSERT_EQ(0, give_back(&self->s, self->offset));
	EXPECT_EQ(1, mp_sysfs_wait("chunks_retired", 1));
}

TEST_F(poisoned_block, its_chunk_is_retired_when_the_session_ends)
{
	mp_session_close(&self->s);
	EXPECT_EQ(1, mp_sysfs_wait("chunks_retired", 1));
}

TEST_F(poisoned_block, the_books_balance)
{
	struct mp_books b;

	ASSERT_EQ(0, give_back(&self->s, self->offset));
	ASSERT_EQ(1, mp_sysfs_wait("chunks_retired", 1));
	EXPECT_TRUE(mp_books_balance(&b));
}

TEST_F(poisoned_block, nobody_is_given_the_bad_chunk)
{
	long long offset;
	int n = 0;

	mp_session_close(&self->s);
	ASSERT_EQ(1, mp_sysfs_wait("chunks_retired", 1));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	while ((offset = _test_alloc_one(self->s.fd, MP_CHUNK)) >= 0) {
		memset(self->s.base + offset, 1, MP_CHUNK);
		n++;
	}
	EXPECT_EQ(MP_CHUNKS - 1, n);
}

TEST_HARNESS_MAIN
