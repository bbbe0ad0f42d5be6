// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "Who asks for too much, often enough, takes from others what is theirs."
 *
 * Impossible requests in a loop, two who both want more than half, and users
 * who exhaust all they may, from many sessions at once.
 */
#include "attack.h"

/* ---- impossible requests ------------------------------------------------------------- */

struct nag {
	struct mp_session s;
	int rounds, odd;
};

static void *ask_for_too_much(void *arg)
{
	static const __u64 sizes[] = { 33ull << 21, 1ull << 40, 1ull << 62, 64ull << 20 };
	struct mempool_pool_create pool;
	struct nag *n = arg;
	int i, ret;

	for (i = 0; i < n->rounds; i++) {
		ret = _test_alloc_one(n->s.fd, sizes[i % 4]);
		n->odd += ret != -ENOMEM;
		ret = _test_pool_create(n->s.fd, i & 1 ? "huge" : NULL, 1 << 20,
					64, i & 1 ? 0600 : 0, 0, &pool);
		n->odd += ret != -ENOMEM;
	}
	return NULL;
}

TEST(impossible_requests_move_nobodys_idle_chunks)
{
	struct nag nags[2] = { 0 };
	struct mempool_session_stats st;
	struct mp_session victim;
	pthread_t threads[2];
	__u64 offset;
	int i;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_of_chunks(&victim));
	/* One held, and seven kept for reuse. */
	offset = test_alloc_one(victim.fd, MP_CHUNK);
	ASSERT_EQ(0, _test_ioctl_preallocate(victim.fd, MP_CHUNK, 7, NULL));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, mp_session_open(&nags[i].s));
		nags[i].rounds = mp_rounds(2000);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, ask_for_too_much,
					    &nags[i]));
	}
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, nags[i].odd);
		mp_session_close(&nags[i].s);
	}
	test_ioctl_stats(victim.fd, &st);
	EXPECT_EQ(0, st.reclaimed_chunks);
	EXPECT_EQ(8 * MP_CHUNK, st.owned_bytes);
	EXPECT_EQ(0, mp_poke(victim.base + offset, 1));
	mp_session_close(&victim);
	EXPECT_TRUE(mp_settled());
}

/* ---- two who want more than half each ------------------------------------------------ */

#define MIN	12		/* chunks guaranteed to each */
#define WANT	20		/* of MP_CHUNKS = 32 */

struct half {
	struct mp_session s;
	int rounds, below, refused, too_much;
	long long got;			/* not -ENOMEM */
	pthread_t thread;
};

static __u64 owned(int fd)
{
	struct mempool_session_stats st = { 0 };

	_test_ioctl_stats(fd, &st);
	return st.owned_bytes / MP_CHUNK;
}

static void *want_more_than_half(void *arg)
{
	struct mempool_block mine[WANT];
	struct half *h = arg;
	long long ret;
	__u32 done;
	int i;

	for (i = 0; i < h->rounds; i++) {
		done = 0;
		if (_test_ioctl_alloc(h->s.fd, MP_CHUNK, WANT, 0, mine, &done))
			h->refused++;
		h->below += done < MIN;
		_test_release_all(h->s.fd);
		h->below += owned(h->s.fd) < MIN;
		/* In one piece, into what is guaranteed to the other. */
		ret = _test_alloc_one(h->s.fd, (MP_CHUNKS - MIN + 1) * MP_CHUNK);
		if (ret != -ENOMEM) {
			h->too_much++;
			h->got = ret;
		}
		h->below += owned(h->s.fd) < MIN;
		_test_release_all(h->s.fd);
	}
	return NULL;
}

TEST(two_who_want_more_than_half_keep_their_minima)
{
	struct mempool_session_stats st;
	static struct half h[2];
	int i;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, mp_session_of_chunks(&h[i].s));
		ASSERT_EQ(0, _test_configure(h[i].s.fd, MEMPOOL_CONFIGURE_MIN_BYTES,
					     MIN * MP_CHUNK));
		/* Each keeps all it had, as long as the other does not want it. */
		ASSERT_EQ(0, _test_configure(h[i].s.fd, MEMPOOL_CONFIGURE_MAX_CACHED,
					     MP_CHUNKS));
		ASSERT_EQ(0, _test_configure(h[i].s.fd,
					     MEMPOOL_CONFIGURE_MAX_CACHED_BYTES,
					     MP_CHUNKS * MP_CHUNK));
		h[i].rounds = mp_rounds(60);
	}
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&h[i].thread, NULL,
					    want_more_than_half, &h[i]));
	/* A minimum ends with its session. */
	for (i = 0; i < 2; i++)
		pthread_join(h[i].thread, NULL);
	for (i = 0; i < 2; i++) {
		test_ioctl_stats(h[i].s.fd, &st);
		ksft_print_msg("%d rounds: %d below, %d refused, %llu chunks lost to the other\n",
			       h[i].rounds, h[i].below, h[i].refused,
			       (unsigned long long)st.reclaimed_chunks);
		EXPECT_EQ(0, h[i].below);
		EXPECT_EQ(0, h[i].refused);
		EXPECT_EQ(0, h[i].too_much) {
			TH_LOG("got %lld", h[i].got);
		}
		/* At most what both want of the eight that are nobody's. */
		EXPECT_GE((__u64)h[i].rounds * (WANT - MIN), st.reclaimed_chunks);
		mp_session_close(&h[i].s);
	}
	EXPECT_TRUE(mp_settled());
}

/* ---- a user who takes all he may ------------------------------------------------------ */

struct crowd {
	atomic_int ready, full, stop;
	int limit;
};

/* One of many sessions of a user: takes what it can, gives, takes again. */
static int take_all_i_may(void *arg)
{
	struct crowd *c = arg;
	struct mp_session s;
	long long ret;
	int i;

	CHECK(mp_session_of_chunks(&s) == 0);
	atomic_fetch_add(&c->ready, 1);
	while (!atomic_load(&c->stop)) {
		for (i = 0; (ret = _test_alloc_one(s.fd, MP_CHUNK)) >= 0; i++)
			CHECK(i < c->limit);
		CHECK(ret == -EDQUOT);
		atomic_fetch_add(&c->full, 1);
		CHECK(mp_give_all(&s) == 0);
	}
	return 0;
}

static int work_beside(void *arg)
{
	struct crowd *c = arg;
	int i, j, n = mp_rounds(40);
	struct mp_session s;
	long long offset[4];

	CHECK(mp_session_of_chunks(&s) == 0);
	for (i = 0; i < n; i++) {
		for (j = 0; j < 4; j++) {
			offset[j] = _test_alloc_one(s.fd, MP_CHUNK);
			CHECK(offset[j] >= 0);
			CHECK(mp_touch(s.base + offset[j], 9, NULL) == 0);
		}
		CHECK(mp_give_all(&s) == 0);
	}
	CHECK(atomic_load(&c->full) > 0);
	return 0;
}

/* Whether a child has ended; it stays to be reaped. */
static bool ended(pid_t pid)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
	       info.si_pid == pid;
}

static void crowd_against_one(struct __test_metadata *_metadata, const char *params,
			      int sessions, int limit, int most)
{
	struct crowd *c = mp_shared(sizeof(*c));
	pid_t pid[8];
	int i, over = 0;
	pid_t other;
	struct mp_books b;

	ASSERT_NE(NULL, c);
	c->limit = limit;
	ASSERT_EQ(0, mp_require(params));
	for (i = 0; i < sessions; i++)
		pid[i] = mp_spawn(MP_USER_A, take_all_i_may, c);
	while (atomic_load(&c->ready) < sessions || !atomic_load(&c->full))
		mp_sleep_ms(5);
	other = mp_spawn(MP_USER_B, work_beside, c);
	while (!ended(other)) {
		ASSERT_TRUE(mp_books_balance(&b));
		over += b.owned + b.leaving + b.pinned > most + 4;
		mp_sleep_ms(2);
	}
	EXPECT_EQ(0, mp_reap(other));
	atomic_store(&c->stop, 1);
	for (i = 0; i < sessions; i++)
		EXPECT_EQ(0, mp_reap(pid[i]));
	EXPECT_EQ(0, over);
	EXPECT_TRUE(mp_settled());
}

TEST(a_user_of_many_sessions_has_his_limit_and_others_proceed)
{
	crowd_against_one(_metadata, "reserve=32M user_limit=16M", 6, 8, 8);
}

TEST(a_session_has_its_limit_and_others_proceed)
{
	crowd_against_one(_metadata, "reserve=32M session_limit=12M", 2, 6, 12);
}

TEST_HARNESS_MAIN
