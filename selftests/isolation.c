// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A session reaches only memory it owns, and never sees a byte that another one
 * left behind: not in memory given back, not through an old mapping, not while
 * memory changes hands under its touches.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "mp_proc.h"

#define SECRET	0xa5

FIXTURE(two_sessions) {
	struct mp_session a, b;
};

FIXTURE_SETUP(two_sessions)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->a));
	ASSERT_EQ(0, mp_session_open(&self->b));
}

FIXTURE_TEARDOWN(two_sessions)
{
	mp_session_close(&self->a);
	mp_session_close(&self->b);
	EXPECT_TRUE(mp_settled());
}

/* Everything there is, as blocks of one chunk: how many; offsets in @offsets. */
static int take_all(struct mp_session *s, __u64 *offsets, unsigned char value)
{
	long long ret;
	int n = 0;

	while (n < MP_CHUNKS) {
		ret = _test_alloc_one(s->fd, MP_CHUNK);
		if (ret < 0)
			break;
		offsets[n] = ret;
		if (value)
			memset(s->base + offsets[n], value, MP_CHUNK);
		n++;
	}
	return n;
}

/* One bucket is one chunk, so that blocks cover chunks exactly. */
static int whole_chunks(struct mp_session *s)
{
	return _test_configure_granularity(s->fd, MP_CHUNK);
}

/* How many bytes of all it can reach equal @value; each page's first 8. */
static size_t reachable(struct mp_session *s, unsigned char value)
{
	unsigned char seen;
	size_t hits = 0;
	__u64 i, j;

	for (i = 0; i < s->info.space_bytes; i += MP_CHUNK) {
		if (mp_peek(s->base + i))
			continue;
		for (j = 0; j < MP_CHUNK; j += 64)
			if (!mp_touch(s->base + i + j, -1, &seen))
				hits += seen == value;
	}
	return hits;
}

/* ---- memory of others ---------------------------------------------------------------- */

TEST_F(two_sessions, sessions_never_share_a_chunk)
{
	struct mempool_block a[10], b[10];
	int i;

	for (i = 0; i < 10; i++) {
		test_ioctl_alloc(self->a.fd, 1000, 1, 0, &a[i]);
		test_ioctl_alloc(self->b.fd, 1000, 1, 0, &b[i]);
		memset(self->a.base + a[i].offset, SECRET, 1000);
	}
	/* All of b's chunk is mapped by one touch of its block. */
	ASSERT_EQ(0, mp_poke(self->b.base + b[0].offset, 1));
	EXPECT_EQ(0, reachable(&self->b, SECRET));
}

TEST_F(two_sessions, another_sessions_memory_is_sigbus_at_every_offset)
{
	__u64 offsets[MP_CHUNKS], i;

	ASSERT_EQ(0, whole_chunks(&self->a));
	ASSERT_LE(MP_CHUNKS - 2, take_all(&self->a, offsets, SECRET));
	for (i = 0; i < self->b.info.space_bytes; i += MP_CHUNK / 2)
		ASSERT_EQ(SIGBUS, mp_peek(self->b.base + i));
}

TEST_F(two_sessions, one_offset_is_two_sessions_own_memory)
{
	__u64 a = test_alloc_one(self->a.fd, 1000);
	__u64 b = test_alloc_one(self->b.fd, 1000);

	memset(self->a.base + a, 1, 1000);
	memset(self->b.base + b, 2, 1000);
	EXPECT_EQ(0, mp_count_not(self->a.base + a, 1, 1000));
	EXPECT_EQ(0, mp_count_not(self->b.base + b, 2, 1000));
}

TEST_F(two_sessions, another_sessions_blocks_stay_held)
{
	struct mempool_session_stats st;
	__u64 a = test_alloc_one(self->a.fd, 1000), i;

	for (i = 0; i < self->b.info.space_bytes; i += 1024)
		_test_release_one(self->b.fd, i);
	_test_release_all(self->b.fd);
	_test_ioctl_trim(self->b.fd);
	test_ioctl_stats(self->a.fd, &st);
	EXPECT_EQ(1, st.currently_allocated);
	EXPECT_EQ(0, _test_release_one(self->a.fd, a));
}

/* ---- what others left behind ------------------------------------------------------------ */

struct leaver {
	int how;
};

/* Fill all memory, leave it some way. */
static int fill_and_leave(void *arg)
{
	struct leaver *l = arg;
	__u64 offsets[MP_CHUNKS];
	struct mp_session s;
	int n;

	CHECK(mp_session_open(&s) == 0);
	CHECK(whole_chunks(&s) == 0);
	n = take_all(&s, offsets, SECRET);
	CHECK(n >= MP_CHUNKS - 2);
	switch (l->how) {
	case 0:
		return 0;		/* exit with all held */
	case 1:
		CHECK(_test_ioctl_release(s.fd, offsets, n, 0, NULL) == 0);
		return 0;
	case 2:
		kill(getpid(), SIGKILL);
		break;
	case 3:
		CHECK(_test_release_all(s.fd) == 0);
		_test_ioctl_trim(s.fd);
		mp_session_close(&s);
		return 0;
	}
	return 1;
}

FIXTURE(after_a_user_of_all_memory) {
	struct mp_session s;
};

FIXTURE_VARIANT(after_a_user_of_all_memory) {
	int how;
};

FIXTURE_VARIANT_ADD(after_a_user_of_all_memory, exited) { .how = 0 };
FIXTURE_VARIANT_ADD(after_a_user_of_all_memory, released_and_exited) { .how = 1 };
FIXTURE_VARIANT_ADD(after_a_user_of_all_memory, was_killed) { .how = 2 };
FIXTURE_VARIANT_ADD(after_a_user_of_all_memory, trimmed_and_closed) { .how = 3 };

FIXTURE_SETUP(after_a_user_of_all_memory)
{
	struct leaver l = { variant->how };

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(variant->how == 2 ? -SIGKILL : 0,
		  mp_run(0, fill_and_leave, &l));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, whole_chunks(&self->s));
}

FIXTURE_TEARDOWN(after_a_user_of_all_memory)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

TEST_F(after_a_user_of_all_memory, all_memory_is_zero)
{
	__u64 offsets[MP_CHUNKS];
	int n, i;

	n = take_all(&self->s, offsets, 0);
	ASSERT_EQ(MP_CHUNKS, n);
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, mp_count_not(self->s.base + offsets[i], 0,
					  MP_CHUNK));
}

TEST_F(after_a_user_of_all_memory, block_pools_are_zero)
{
	struct mempool_pool_create pool;

	test_pool_create(self->s.fd, NULL, 4096, 512 * (MP_CHUNKS - 1), 0, 0,
			 &pool);
	EXPECT_EQ(0, mp_count_not(self->s.base + pool.offset, 0,
				  (MP_CHUNKS - 1) * MP_CHUNK));
}

TEST_F(two_sessions, a_named_pools_contents_end_with_it)
{
	__u64 offsets[MP_CHUNKS];
	struct mempool_pool_create pool;
	int n, i;

	test_pool_create(self->a.fd, "leaky", 4096, 4096, 0600, 0, &pool);
	memset(self->a.base + pool.offset, SECRET, 4096 * 4096);
	ASSERT_EQ(0, _test_pool_close(self->a.fd, pool.pool));
	ASSERT_EQ(0, whole_chunks(&self->b));
	n = take_all(&self->b, offsets, 0);
	ASSERT_EQ(MP_CHUNKS, n);
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, mp_count_not(self->b.base + offsets[i], 0,
					  MP_CHUNK));
}

/* ---- memory given back while it is mapped ------------------------------------------------- */

TEST_F(two_sessions, memory_given_back_cannot_be_touched_when_it_is_anothers)
{
	__u64 mine[MP_CHUNKS], theirs[MP_CHUNKS];
	int n, i;

	ASSERT_EQ(0, whole_chunks(&self->a));
	ASSERT_EQ(0, whole_chunks(&self->b));
	n = take_all(&self->a, mine, 1);	/* mapped by touching */
	ASSERT_EQ(MP_CHUNKS, n);
	ASSERT_EQ(0, _test_ioctl_release(self->a.fd, mine, n, 0, NULL));
	ASSERT_LE(0, _test_ioctl_trim(self->a.fd));
	ASSERT_EQ(n, take_all(&self->b, theirs, SECRET));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(SIGBUS, mp_peek(self->a.base + mine[i]));
		ASSERT_EQ(SIGBUS, mp_poke(self->a.base + mine[i] + 4096, 1));
	}
}

TEST_F(two_sessions, writes_through_an_old_mapping_reach_nobody)
{
	__u64 mine[MP_CHUNKS], theirs[MP_CHUNKS];
	int n, i;

	ASSERT_EQ(0, whole_chunks(&self->a));
	ASSERT_EQ(0, whole_chunks(&self->b));
	n = take_all(&self->a, mine, 1);
	ASSERT_EQ(0, _test_ioctl_release(self->a.fd, mine, n, 0, NULL));
	ASSERT_LE(0, _test_ioctl_trim(self->a.fd));
	ASSERT_EQ(n, take_all(&self->b, theirs, 7));
	for (i = 0; i < n; i++)
		mp_poke(self->a.base + mine[i], SECRET);
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, mp_count_not(self->b.base + theirs[i], 7,
					  MP_CHUNK));
}

TEST_F(two_sessions, reclaimed_memory_is_out_of_the_old_owners_reach)
{
	__u64 mine[MP_CHUNKS], theirs[MP_CHUNKS];
	int n, i;

	ASSERT_EQ(0, _test_configure(self->a.fd,
				     MEMPOOL_CONFIGURE_MAX_CACHED, 1000));
	/* Idle in a's caches, still mapped by it; b's request takes it. */
	for (n = 0; n < 8; n++) {
		mine[n] = test_alloc_one(self->a.fd, 1 << 20);
		memset(self->a.base + mine[n], SECRET, 1 << 20);
	}
	ASSERT_EQ(0, _test_ioctl_release(self->a.fd, mine, n, 0, NULL));
	ASSERT_EQ(0, whole_chunks(&self->b));
	ASSERT_EQ(MP_CHUNKS, take_all(&self->b, theirs, 7));
	for (i = 0; i < n; i++)
		ASSERT_EQ(SIGBUS, mp_peek(self->a.base + mine[i]));
	EXPECT_EQ(0, reachable(&self->b, SECRET));
}

/* ---- while it changes hands ---------------------------------------------------------------- */

#define ROUNDS	250

/* Few chunks, so that they change hands often. */
FIXTURE(two_sessions_and_4_chunks) {
	struct mp_session a, b;
};

FIXTURE_SETUP(two_sessions_and_4_chunks)
{
	ASSERT_EQ(0, mp_require("reserve=8M"));
	ASSERT_EQ(0, mp_session_open(&self->a));
	ASSERT_EQ(0, mp_session_open(&self->b));
}

FIXTURE_TEARDOWN(two_sessions_and_4_chunks)
{
	mp_session_close(&self->a);
	mp_session_close(&self->b);
	EXPECT_TRUE(mp_settled());
}

struct toucher {
	struct mp_session *s;
	atomic_ulong foreign, touches;
	atomic_bool stop;
};

/* Read and write all of the session's space, whoever owns it at the moment. */
static void *touch_all(void *arg)
{
	struct toucher *t = arg;
	unsigned char seen = 0;
	__u64 i;

	while (!t->stop)
		for (i = 0; i < 4 * MP_CHUNK && !t->stop; i += MP_CHUNK / 4) {
			if (mp_touch(t->s->base + i + 8, -1, &seen))
				continue;
			t->touches++;
			t->foreign += seen == SECRET;
		}
	return NULL;
}

/*
 * Now and then the blocks are kept until one has been touched: on a busy machine the
 * touchers may not get the processor in all the rounds else.
 */
static void let_touch(struct toucher *t, int round, int blocks)
{
	unsigned long before = t->touches;

	while (blocks && round % 16 == 0 && t->touches == before)
		sched_yield();
}

/*
 * a's threads touch everything; a takes and gives chunks back, b takes them,
 * writes its secret, gives them back. a must never read the secret.
 */
TEST_F(two_sessions_and_4_chunks, touches_during_hand_over_never_see_the_next_owners_data)
{
	struct toucher t = { .s = &self->a };
	__u64 mine[MP_CHUNKS], theirs[MP_CHUNKS];
	pthread_t thread[2];
	int round, i, n, rounds = mp_rounds(ROUNDS);

	ASSERT_EQ(0, whole_chunks(&self->a));
	ASSERT_EQ(0, whole_chunks(&self->b));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, touch_all, &t));
	for (round = 0; round < rounds; round++) {
		n = 0;
		for (i = 0; i < 3; i++) {
			mine[n] = _test_alloc_one(self->a.fd, MP_CHUNK);
			n += (long long)mine[n] >= 0;
		}
		let_touch(&t, round, n);
		_test_ioctl_release(self->a.fd, mine, n, 0, NULL);
		_test_ioctl_trim(self->a.fd);
		n = take_all(&self->b, theirs, SECRET);
		_test_ioctl_release(self->b.fd, theirs, n, 0, NULL);
		_test_ioctl_trim(self->b.fd);
	}
	t.stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	ksft_print_msg("%lu touches\n", (unsigned long)t.touches);
	EXPECT_EQ(0, t.foreign);
	EXPECT_LT(0, t.touches);
}

/* The same with a toucher that writes: what b reads must be its own. */
static void *poke_all(void *arg)
{
	struct toucher *t = arg;
	__u64 i;

	while (!t->stop)
		for (i = 0; i < 4 * MP_CHUNK && !t->stop; i += MP_CHUNK / 4)
			t->touches += !mp_poke(t->s->base + i + 8, SECRET);
	return NULL;
}

TEST_F(two_sessions_and_4_chunks, writes_during_hand_over_never_reach_the_next_owner)
{
	struct toucher t = { .s = &self->a };
	__u64 mine[MP_CHUNKS], theirs[MP_CHUNKS];
	size_t foreign = 0;
	pthread_t thread;
	int round, i, j, n, rounds = mp_rounds(ROUNDS);

	ASSERT_EQ(0, whole_chunks(&self->a));
	ASSERT_EQ(0, whole_chunks(&self->b));
	ASSERT_EQ(0, pthread_create(&thread, NULL, poke_all, &t));
	for (round = 0; round < rounds; round++) {
		n = 0;
		for (i = 0; i < 3; i++) {
			mine[n] = _test_alloc_one(self->a.fd, MP_CHUNK);
			n += (long long)mine[n] >= 0;
		}
		let_touch(&t, round, n);
		_test_ioctl_release(self->a.fd, mine, n, 0, NULL);
		_test_ioctl_trim(self->a.fd);
		n = take_all(&self->b, theirs, 0);
		for (i = 0; i < n; i++)
			for (j = 8; j < (int)MP_CHUNK; j += MP_CHUNK / 4)
				foreign += self->b.base[theirs[i] + j] != 0;
		_test_ioctl_release(self->b.fd, theirs, n, 0, NULL);
		_test_ioctl_trim(self->b.fd);
	}
	t.stop = true;
	pthread_join(thread, NULL);
	ksft_print_msg("%lu touches\n", (unsigned long)t.touches);
	EXPECT_EQ(0, foreign);
	EXPECT_LT(0, t.touches);
}

/* A stranger that touches offsets it does not own makes no chunk look pinned. */
TEST_F(two_sessions_and_4_chunks, a_strangers_touches_pin_nothing)
{
	struct toucher t = { .s = &self->b };
	__u64 mine[MP_CHUNKS];
	pthread_t thread;
	int round, n, rounds = mp_rounds(ROUNDS);

	ASSERT_EQ(0, whole_chunks(&self->a));
	ASSERT_EQ(0, pthread_create(&thread, NULL, poke_all, &t));
	for (round = 0; round < rounds; round++) {
		n = take_all(&self->a, mine, 1);
		_test_ioctl_release(self->a.fd, mine, n, 0, NULL);
		ASSERT_LE(0, _test_ioctl_trim(self->a.fd));
		ASSERT_EQ(0, mp_sysfs("chunks_pinned"));
	}
	t.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, t.touches);
}

TEST_HARNESS_MAIN
