// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "Joining, leaving, resetting and removing named pools against faults shows a
 * member, or one who left, memory that is not the pool's."
 *
 * A few chunks go to and fro between named pools and a session that is no
 * member. Members write the pools' mark, the stranger its own; members leave
 * under their own touches, are killed, and pools are removed and made anew.
 */
#include "attack.h"

#define MEMBERS		3
#define POOL_MARK	0x70
#define OTHER_MARK	0x33
#define BLOCKS		96	/* of 32 KiB: 3 MiB, 2 chunks */
#define BLOCK		32768

struct tally {
	atomic_long foreign, seen, joins, makes, gets, stale, resets, odd;
	atomic_long handed, after;
	atomic_bool stop;
};

struct member {
	struct tally *t;
	struct mp_session s;
	__u64 seed;
	int rounds;
	bool dies;
	atomic_ullong offset;	/* where a pool is, or was */
	atomic_bool stop;
};

static void *touch_pool(void *arg)
{
	struct member *m = arg;
	__u64 seed = m->seed ^ 0xabcdef, r;
	unsigned char seen;

	while (!atomic_load(&m->stop)) {
		r = mp_random(&seed);
		if (mp_touch(m->s.base + atomic_load(&m->offset) +
			     r % (BLOCKS * BLOCK), r & 1 ? POOL_MARK : -1, &seen))
			continue;
		atomic_fetch_add(&m->t->seen, 1);
		if (seen && seen != POOL_MARK)
			atomic_fetch_add(&m->t->foreign, 1);
	}
	return NULL;
}

static bool odd(struct member *m, int ret, int a, int b, int c, int d)
{
	if (ret >= 0 || ret == a || ret == b || ret == c || ret == d)
		return false;
	ksft_print_msg("odd result %d\n", ret);
	atomic_fetch_add(&m->t->odd, 1);
	return true;
}

/* Gets, writes and returns blocks; another's reset may come between. */
static void use(struct member *m, __u32 pool, __u64 offset, __u64 stride)
{
	struct mempool_token t[8];
	__u32 done = 0, i;
	int ret;

	ret = _test_pool_batch(m->s.fd, MEMPOOL_IOC_POOL_GET, pool, t, 8, &done, NULL);
	if (odd(m, ret, -ENOSPC, -ENOSPC, -ENOSPC, -ENOSPC) || ret)
		return;
	atomic_fetch_add(&m->t->gets, done);
	for (i = 0; i < done; i++)
		if (mp_touch(m->s.base + offset + t[i].index * stride, POOL_MARK, NULL))
			atomic_fetch_add(&m->t->odd, 1);
	if (mp_random(&m->seed) % 4 == 0)
		return;
	ret = _test_pool_batch(m->s.fd, MEMPOOL_IOC_POOL_RETURN, pool, t, done, NULL, NULL);
	odd(m, ret, -ESTALE, -ENOENT, -ENOENT, -ENOENT);
	if (ret == -ESTALE)
		atomic_fetch_add(&m->t->stale, 1);
}

static void disturb(struct member *m, __u32 pool)
{
	struct mempool_pool_stats st;
	long long ret;

	switch (mp_random(&m->seed) % 5) {
	case 0:
		ret = _test_pool_reset(m->s.fd, pool, MEMPOOL_RESET_FORCE);
		odd(m, ret, -EPERM, -EPERM, -EPERM, -EPERM);
		atomic_fetch_add(&m->t->resets, ret >= 0);
		break;
	case 1:
		ret = _test_pool_reset(m->s.fd, pool, 0);
		odd(m, ret, -EBUSY, -EBUSY, -EBUSY, -EBUSY);
		break;
	case 2:
		ret = _test_pool_remove(m->s.fd, "storm");
		odd(m, ret, -ENOENT, -EPERM, -EPERM, -EPERM);
		break;
	case 3:
		odd(m, _test_pool_coalesce(m->s.fd, pool, NULL), 0, 0, 0, 0);
		odd(m, _test_pool_stats(m->s.fd, pool, &st), 0, 0, 0, 0);
		break;
	}
}

/* Opens the pool, or makes it; its handle or -errno. */
static int join(struct member *m, __u64 *stride)
{
	struct mempool_pool_create create;
	struct mempool_pool_open open;
	int ret = _test_pool_open(m->s.fd, "storm", &open);

	if (!ret) {
		atomic_fetch_add(&m->t->joins, 1);
		atomic_store(&m->offset, open.offset);
		*stride = open.stride;
		return open.pool;
	}
	odd(m, ret, -ENOENT, -EALREADY, -ENOMEM, -ENOMEM);
	ret = _test_pool_create(m->s.fd, "storm", BLOCK, BLOCKS, 0666,
				mp_random(&m->seed) & MEMPOOL_POOL_KEEP, &create);
	if (ret) {
		odd(m, ret, -EEXIST, -ENOMEM, -ENOMEM, -ENOMEM);
		return ret;
	}
	atomic_fetch_add(&m->t->makes, 1);
	atomic_store(&m->offset, create.offset);
	*stride = create.stride;
	return create.pool;
}

static int be_a_member(void *arg)
{
	struct member *m = arg;
	int i, j, pool, n;
	pthread_t thread;
	__u64 stride;

	CHECK(mp_session_open(&m->s) == 0);
	CHECK(pthread_create(&thread, NULL, touch_pool, m) == 0);
	for (i = 0; i < m->rounds; i++) {
		pool = join(m, &stride);
		if (pool < 0)
			continue;
		n = mp_random(&m->seed) % 8;
		for (j = 0; j < n; j++) {
			use(m, pool, m->offset, stride);
			disturb(m, pool);
		}
		if (m->dies && i == m->rounds / 2)
			kill(getpid(), SIGKILL);
		odd(m, _test_pool_close(m->s.fd, pool), 0, 0, 0, 0);
		/* What others go on to write there is no business of ours. */
		atomic_fetch_add(&m->t->after, !mp_peek(m->s.base + m->offset));
	}
	atomic_store(&m->stop, true);
	pthread_join(thread, NULL);
	return 0;
}

/* Takes what the pools leave, marks it, gives it back. */
static int be_a_stranger(void *arg)
{
	struct tally *t = arg;
	struct mp_session s;
	long long offset;
	size_t i;

	CHECK(mp_session_of_chunks(&s) == 0);
	while (!atomic_load(&t->stop)) {
		offset = _test_alloc_one(s.fd, MP_CHUNK);
		if (offset < 0) {
			mp_give_all(&s);
			continue;
		}
		atomic_fetch_add(&t->handed, 1);
		for (i = 0; i < MP_CHUNK; i += 4096) {
			if (s.base[offset + i] && s.base[offset + i] != OTHER_MARK)
				atomic_fetch_add(&t->foreign, 1);
			s.base[offset + i] = OTHER_MARK;
		}
		for (i = 0; i < MP_CHUNK; i += 4096)
			if (s.base[offset + i] != OTHER_MARK)
				atomic_fetch_add(&t->foreign, 1);
	}
	return 0;
}

FIXTURE(pools_that_come_and_go) {
	struct tally *t;
};

FIXTURE_SETUP(pools_that_come_and_go)
{
	self->t = mp_shared(sizeof(*self->t));
	ASSERT_NE(NULL, self->t);
	ASSERT_EQ(0, mp_require("reserve=8M"));
}

FIXTURE_TEARDOWN(pools_that_come_and_go)
{
	struct mp_session s;

	if (!mp_session_open(&s)) {
		_test_pool_remove(s.fd, "storm");
		mp_session_close(&s);
	}
	EXPECT_TRUE(mp_settled());
}

TEST_F(pools_that_come_and_go, show_nobody_a_foreign_byte)
{
	int i, nr, ret, lives = mp_rounds(8);
	struct tally *t = self->t;
	pid_t stranger, pid[MEMBERS];
	static struct member m;

	stranger = mp_spawn(0, be_a_stranger, t);
	for (nr = 0; nr < lives; nr++) {
		for (i = 0; i < MEMBERS; i++) {
			m = (struct member){
				.t = t,
				.seed = 0x9e3779b97f4a7c15 * (nr * MEMBERS + i + 1),
				.rounds = 25,
				.dies = i == nr % MEMBERS,
			};
			pid[i] = mp_spawn(i ? MP_USER_A : 0, be_a_member, &m);
		}
		for (i = 0; i < MEMBERS; i++) {
			ret = mp_reap(pid[i]);
			EXPECT_TRUE(ret == 0 || ret == -SIGKILL);
		}
	}
	atomic_store(&t->stop, true);
	EXPECT_EQ(0, mp_reap(stranger));
	ksft_print_msg("joins %ld, made %ld, blocks %ld, stale %ld, resets %ld, touched %ld, stranger's chunks %ld\n",
		       t->joins, t->makes, t->gets, t->stale, t->resets, t->seen,
		       t->handed);
	EXPECT_EQ(0, t->foreign);
	EXPECT_EQ(0, t->after);
	EXPECT_EQ(0, t->odd);
	EXPECT_LT(0, t->joins);
	EXPECT_LT(0, t->makes);
	EXPECT_LT(0, t->seen);
	EXPECT_LT(0, t->handed);
}

TEST_HARNESS_MAIN
