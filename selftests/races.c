// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Commands that race: each block is released once, each last chunk is had once,
 * each name is taken once, and whatever is closed or killed meanwhile, the books
 * balance.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "mp_proc.h"

#define THREADS	16

FIXTURE(shared_session) {
	struct mp_session s;
};

FIXTURE_SETUP(shared_session)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
}

FIXTURE_TEARDOWN(shared_session)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/*
 * @nr threads do the same thing at the same moment, again and again. @act is
 * called with the number of the round and counts its successes itself.
 */
struct race {
	void (*act)(struct race *r, int round);
	int fd, rounds;
	__u32 pool;
	pthread_barrier_t start, end;
	__u64 *offsets;
	struct mempool_token *tokens;
	atomic_int won, wrong, winner;
	const int *fds;
};

static void *racer(void *arg)
{
	struct race *r = arg;
	int i;

	for (i = 0; i < r->rounds; i++) {
		pthread_barrier_wait(&r->start);
		r->act(r, i);
		pthread_barrier_wait(&r->end);
	}
	return NULL;
}

/* Run it; @after, in the main thread, sees each round's result. */
static int run_race(struct race *r, int nr, int (*after)(struct race *, int))
{
	pthread_t thread[THREADS];
	int i, ret = 0;

	pthread_barrier_init(&r->start, NULL, nr + 1);
	pthread_barrier_init(&r->end, NULL, nr + 1);
	for (i = 0; i < nr; i++)
		if (pthread_create(&thread[i], NULL, racer, r))
			return -1;
	for (i = 0; i < r->rounds; i++) {
		r->won = 0;
		pthread_barrier_wait(&r->start);
		pthread_barrier_wait(&r->end);
		if (after(r, i) && !ret)
			ret = i + 1;
	}
	for (i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
	return ret;
}

static int exactly_one(struct race *r, int round)
{
	return r->won != 1;
}

/* ---- one block, many releases ------------------------------------------------------- */

static void release_the_block(struct race *r, int round)
{
	int ret = _test_release_one(r->fd, r->offsets[round]);

	r->won += !ret;
	r->wrong += ret && ret != -ENOENT;
}

TEST_F(shared_session, of_16_releases_of_a_block_one_succeeds)
{
	enum { ROUNDS = 200 };
	struct race r = { .act = release_the_block, .rounds = ROUNDS };
	__u64 offsets[ROUNDS];
	int i;

	for (i = 0; i < ROUNDS; i++)
		offsets[i] = test_alloc_one(self->s.fd, 1000);
	r.fd = self->s.fd;
	r.offsets = offsets;
	EXPECT_EQ(0, run_race(&r, THREADS, exactly_one));
	EXPECT_EQ(0, r.wrong);
}

static void return_the_block(struct race *r, int round)
{
	int ret = _test_pool_return(r->fd, r->pool, r->tokens[round]);

	r->won += !ret;
	r->wrong += ret && ret != -ESTALE;
}

TEST_F(shared_session, of_16_returns_of_a_token_one_succeeds)
{
	enum { ROUNDS = 200 };
	struct race r = { .act = return_the_block, .rounds = ROUNDS };
	struct mempool_token tokens[ROUNDS];
	struct mempool_pool_create pool;

	test_pool_create(self->s.fd, NULL, 64, ROUNDS, 0, 0, &pool);
	ASSERT_EQ(0, _test_pool_batch(self->s.fd, MEMPOOL_IOC_POOL_GET,
				      pool.pool, tokens, ROUNDS, NULL, NULL));
	r.fd = self->s.fd;
	r.pool = pool.pool;
	r.tokens = tokens;
	EXPECT_EQ(0, run_race(&r, THREADS, exactly_one));
	EXPECT_EQ(0, r.wrong);
}

/* ---- one chunk, many requests -------------------------------------------------------- */

static void take_the_last_chunk(struct race *r, int round)
{
	static atomic_uint next;
	int fd = r->fds[next++ % THREADS];
	int ret = _test_alloc_one(fd, MP_CHUNK);

	r->won += ret == 0 || ret > 0;
	r->wrong += ret < 0 && ret != -ENOMEM;
}

static int one_and_give_it_back(struct race *r, int round)
{
	int won = r->won, i;

	for (i = 0; i < THREADS; i++) {
		_test_release_all(r->fds[i]);
		_test_ioctl_trim(r->fds[i]);
	}
	return won != 1;
}

TEST_F(shared_session, the_last_chunk_is_had_once)
{
	struct race r = { .act = take_the_last_chunk, .rounds = 40 };
	int fds[THREADS], i;

	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	test_alloc_one(self->s.fd, (MP_CHUNKS - 1) * MP_CHUNK);
	for (i = 0; i < THREADS; i++) {
		/* Users of their own: only the reserve is short. */
		fds[i] = mp_open_as(MP_USER_A + i, O_RDWR);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, _test_configure_granularity(fds[i], MP_CHUNK));
	}
	r.fds = fds;
	EXPECT_EQ(0, run_race(&r, THREADS, one_and_give_it_back));
	EXPECT_EQ(0, r.wrong);
	for (i = 0; i < THREADS; i++)
		close(fds[i]);
}

static void take_the_minimum(struct race *r, int round)
{
	int fd = open(MP_DEV, O_RDWR), ret;

	ret = _test_configure(fd, MEMPOOL_CONFIGURE_MIN_BYTES,
			      20 * MP_CHUNK);
	r->wrong += ret && ret != -ENOMEM && ret != -EDQUOT;
	if (ret)
		close(fd);
	else
		r->winner = fd;
	r->won += !ret;
}

static int one_minimum(struct race *r, int round)
{
	int won = r->won;

	close(r->winner);
	return won != 1;
}

TEST_F(shared_session, a_minimum_for_one_is_had_once)
{
	struct race r = { .act = take_the_minimum, .rounds = 20 };

	EXPECT_EQ(0, run_race(&r, 4, one_minimum));
	EXPECT_EQ(0, r.wrong);
}

/* ---- one name, many creators ----------------------------------------------------------- */

static void create_the_pool(struct race *r, int round)
{
	static atomic_uint next;
	struct mempool_pool_create pool;
	int ret = _test_pool_create(r->fds[next++ % THREADS], "raced", 64, 10,
				    0600, MEMPOOL_POOL_KEEP, &pool);

	r->won += !ret;
	r->wrong += ret && ret != -EEXIST;
}

static int one_pool(struct race *r, int round)
{
	int won = r->won, i;
	__u32 h;

	_test_pool_remove(r->fds[0], "raced");
	for (i = 0; i < THREADS; i++)
		for (h = 0; h < 4; h++)
			_test_pool_close(r->fds[i], h);
	return won != 1;
}

TEST_F(shared_session, a_name_is_taken_once)
{
	struct race r = { .act = create_the_pool, .rounds = 50 };
	int fds[THREADS], i;

	for (i = 0; i < THREADS; i++)
		fds[i] = open(MP_DEV, O_RDWR);
	r.fds = fds;
	EXPECT_EQ(0, run_race(&r, THREADS, one_pool));
	EXPECT_EQ(0, r.wrong);
	for (i = 0; i < THREADS; i++)
		close(fds[i]);
}

static void close_the_pool(struct race *r, int round)
{
	int ret = _test_pool_close(r->fd, r->pool);

	r->won += !ret;
	r->wrong += ret && ret != -ENXIO;
}

static int one_close_and_anew(struct race *r, int round)
{
	struct mempool_pool_create pool;
	int won = r->won;

	if (_test_pool_create(r->fd, NULL, 4096, 10, 0, 0, &pool))
		return 1;
	r->pool = pool.pool;
	return won != 1;
}

TEST_F(shared_session, of_16_closes_of_a_handle_one_succeeds)
{
	struct race r = { .act = close_the_pool, .rounds = 100 };

	r.fd = self->s.fd;
	one_close_and_anew(&r, 0);
	EXPECT_EQ(0, run_race(&r, THREADS, one_close_and_anew));
	EXPECT_EQ(0, r.wrong);
}

/* ---- a named pool, joined and left while its blocks go round ----------------------------- */

struct storm {
	atomic_bool stop;
	atomic_long done;
	int seed;
};

static void *member(void *arg)
{
	struct storm *st = arg;
	struct mempool_pool_open joined;
	struct mempool_token t;
	struct mp_session s;
	int n = 0;

	while (!st->stop) {
		if (mp_session_open(&s))
			break;
		if (!_test_pool_open(s.fd, "storm", &joined)) {
			while (!st->stop &&
			       !_test_pool_get(s.fd, joined.pool, &t)) {
				mp_poke(s.base + joined.offset +
					t.index * joined.stride, 1);
				if (++n % 5 == 4)
					break;	/* leave with it */
				if (_test_pool_return(s.fd, joined.pool, t))
					abort();
			}
			if (n % 2)
				_test_pool_close(s.fd, joined.pool);
		}
		mp_session_close(&s);
		st->done++;
	}
	return NULL;
}

TEST_F(shared_session, members_come_and_go_and_every_block_comes_back)
{
	struct mempool_pool_create pool;
	struct mempool_pool_stats stats;
	struct storm st = { 0 };
	pthread_t thread[4];
	int i;

	test_pool_create(self->s.fd, "storm", 65536, 20, 0600, 0, &pool);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, member, &st));
	for (i = 0; i < 500 && st.done < 400; i++)
		mp_sleep_ms(20);
	st.stop = true;
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	ksft_print_msg("%ld memberships\n", (long)st.done);
	test_pool_stats(self->s.fd, pool.pool, &stats);
	EXPECT_EQ(0, stats.issued);
	EXPECT_EQ(1, stats.members);
	EXPECT_LT(10, st.done);
}

/* ---- everything at once, and then the end -------------------------------------------------- */

static unsigned int next_random(unsigned int *x)
{
	*x = *x * 1103515245 + 12345;
	return *x >> 16 & 0x7fff;
}

/* One session; threads allocate, release, map, trim; one closes under them. */
struct closing {
	int fd;
	void *base;
	size_t space;
	atomic_bool stop;
};

static void *use_the_session(void *arg)
{
	struct closing *c = arg;
	unsigned int x = (unsigned long)pthread_self() >> 12;
	long long offset[16];
	int n = 0;

	while (!c->stop) {
		switch (next_random(&x) % 6) {
		case 0:
		case 1:
			if (n == 16)
				break;
			offset[n] = _test_alloc_one(c->fd, 1 +
						    next_random(&x) * 30);
			if (offset[n] >= 0) {
				mp_poke((unsigned char *)c->base + offset[n],
					1);
				n++;
			}
			break;
		case 2:
		case 3:
			if (n)
				_test_release_one(c->fd, offset[--n]);
			break;
		case 4:
			_test_ioctl_trim(c->fd);
			break;
		case 5:
			mp_peek((unsigned char *)c->base +
				(size_t)next_random(&x) * 4096 % c->space);
			break;
		}
	}
	return NULL;
}

TEST_F(shared_session, close_under_running_commands_keeps_the_books)
{
	struct mp_books b;
	int round, i;

	for (round = 0; round < 20; round++) {
		struct closing c = { 0 };
		struct mp_session s;
		pthread_t thread[4];

		ASSERT_EQ(0, mp_session_open(&s));
		c.fd = s.fd;
		c.base = s.base;
		c.space = s.info.space_bytes;
		for (i = 0; i < 4; i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL,
						    use_the_session, &c));
		mp_sleep_ms(20);
		close(s.fd);	/* commands now get EBADF, or run on */
		s.fd = -1;
		mp_sleep_ms(5);
		ASSERT_TRUE(mp_books_balance(&b));
		c.stop = true;
		for (i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		mp_session_close(&s);
		ASSERT_TRUE(mp_books_balance(&b));
	}
}

/* Sessions that together want more than there is, each all of it at times. */
static void *hungry(void *arg)
{
	struct storm *st = arg;
	unsigned int x = st->seed * 7919 + 1;
	struct mp_session s;
	int fd = mp_session_open(&s) ? -1 : s.fd;

	while (!st->stop && fd >= 0) {
		long long offset;
		int n = 0;

		while (n < (int)(next_random(&x) % MP_CHUNKS)) {
			offset = _test_alloc_one(fd, MP_CHUNK *
						 (1 + next_random(&x) % 3) / 2);
			if (offset < 0)
				break;
			if (mp_poke(s.base + offset, 1))
				abort();
			n++;
		}
		if (next_random(&x) % 2)
			_test_release_all(fd);
		else
			_test_ioctl_trim(fd);
		if (next_random(&x) % 4 == 0)
			_test_release_all(fd);
		st->done++;
	}
	mp_session_close(&s);
	return NULL;
}

TEST_F(shared_session, sessions_that_want_more_than_there_is_keep_the_books)
{
	struct storm st[4] = { { 0 } };
	pthread_t thread[4];
	struct mp_books b;
	int i, bad = 0;

	for (i = 0; i < 4; i++) {
		st[i].seed = i;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, hungry, &st[i]));
	}
	for (i = 0; i < 500; i++) {
		bad += !mp_books_balance(&b);
		mp_sleep_ms(5);
	}
	for (i = 0; i < 4; i++)
		st[i].stop = true;
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, bad);
	for (i = 0; i < 4; i++)
		EXPECT_LT(0, st[i].done);
}

TEST_HARNESS_MAIN
