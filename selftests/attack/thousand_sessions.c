// SPDX-License-Identifier: MIT OR GPL-2.0
// guest: --mem 4G
/*
 * "A thousand sessions at once lose memory, or see each other's."
 *
 * With memory for all, and with a reserve of 64 chunks, where all but 64 are
 * refused and lose nothing.
 */
#include "attack.h"

#define SESSIONS	1000

static int fds[SESSIONS];

static int open_all(void)
{
	struct rlimit files = { SESSIONS + 100, SESSIONS + 100 };
	int i;

	if (setrlimit(RLIMIT_NOFILE, &files))
		return -errno;
	for (i = 0; i < SESSIONS; i++) {
		fds[i] = open(MP_DEV, O_RDWR | O_CLOEXEC);
		if (fds[i] < 0)
			return -errno;
	}
	return 0;
}

static void close_all(void)
{
	int i;

	for (i = 0; i < SESSIONS; i++)
		close(fds[i]);
}

/* The block's first and last page; NULL when it cannot be mapped. */
static __u64 *map_block(int i, long long offset)
{
	void *p = mmap(NULL, MP_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED,
		       fds[i], offset);

	return p == MAP_FAILED ? NULL : p;
}

static void sign(__u64 *p, int i)
{
	p[0] = i + 1;
	p[MP_CHUNK / 8 - 1] = ~(__u64)i;
}

static bool is_signed(const __u64 *p, int i)
{
	return p[0] == (__u64)i + 1 && p[MP_CHUNK / 8 - 1] == ~(__u64)i;
}

static int zero_refusals(int *refused)
{
	int i, others = 0;
	long long ret;

	for (i = 0; i < SESSIONS; i++) {
		ret = _test_alloc_one(fds[i], MP_CHUNK);
		if (ret == -ENOMEM)
			(*refused)++;
		else if (ret < 0)
			others++;
	}
	return others;
}

TEST(with_memory_for_all_each_has_its_own)
{
	static long long offset[SESSIONS];
	static __u64 *p[SESSIONS];
	int i, wrong = 0;

	ASSERT_EQ(0, mp_require("reserve=2G"));
	ASSERT_EQ(0, open_all());
	for (i = 0; i < SESSIONS; i++) {
		ASSERT_EQ(0, _test_configure_granularity(fds[i], MP_CHUNK));
		offset[i] = _test_alloc_one(fds[i], MP_CHUNK);
		ASSERT_LE(0, offset[i]);
		p[i] = map_block(i, offset[i]);
		ASSERT_NE(NULL, p[i]);
		ASSERT_EQ(0, p[i][0]);
		sign(p[i], i);
	}
	for (i = 0; i < SESSIONS; i++)
		wrong += !is_signed(p[i], i);
	EXPECT_EQ(0, wrong);
	for (i = 0; i < SESSIONS; i++)
		munmap(p[i], MP_CHUNK);
	close_all();
	EXPECT_TRUE(mp_settled());
}

TEST(with_64_chunks_936_are_refused_and_lose_nothing)
{
	int i, refused = 0, again = 0;
	struct mempool_session_stats st;
	struct mp_books b;

	ASSERT_EQ(0, mp_require("reserve=128M"));
	ASSERT_EQ(0, open_all());
	for (i = 0; i < SESSIONS; i++)
		ASSERT_EQ(0, _test_configure_granularity(fds[i], MP_CHUNK));
	EXPECT_EQ(0, zero_refusals(&refused));
	EXPECT_EQ(SESSIONS - 64, refused);
	/* Asked again, each is told the same, and the 64 keep theirs. */
	EXPECT_EQ(0, zero_refusals(&again));
	EXPECT_EQ(SESSIONS, again);
	for (i = 0; i < SESSIONS; i++) {
		ASSERT_EQ(0, _test_ioctl_stats(fds[i], &st));
		ASSERT_EQ(i < 64, st.currently_allocated);
		ASSERT_EQ(i < 64 ? MP_CHUNK : 0, st.owned_bytes);
		ASSERT_EQ(0, st.reclaimed_chunks);
	}
	EXPECT_TRUE(mp_books_balance(&b));
	EXPECT_EQ(64, b.owned);
	/* One that gives makes room for one that was refused. */
	ASSERT_EQ(0, _test_release_all(fds[0]));
	EXPECT_LE(0, _test_alloc_one(fds[SESSIONS - 1], MP_CHUNK));
	close_all();
	EXPECT_TRUE(mp_settled());
}

TEST_HARNESS_MAIN
