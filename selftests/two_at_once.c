// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Two commands at once, at every distance from each other: a request and memory on its
 * way back, requests that are refused, CONFIGURE and whatever is under way.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "mp_proc.h"

FIXTURE(two_at_once) {
	struct mp_session s;
};

FIXTURE_SETUP(two_at_once)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
}

FIXTURE_TEARDOWN(two_at_once)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

struct pair {
	void (*one)(struct pair *p);
	void (*other)(struct pair *p);	/* in a thread of its own */
	bool (*before)(struct pair *p);	/* each round */
	bool (*after)(struct pair *p);
	int rounds, fd, fd2, ret, ret2;
	bool by_close;
	atomic_int started;
	pthread_barrier_t end;
};

static void *other_side(void *arg)
{
	struct pair *p = arg;
	int i;

	for (i = 0; i < p->rounds; i++) {
		while (p->started == i)	/* awake: a barrier would have it come late */
			sched_yield();
		p->other(p);
		pthread_barrier_wait(&p->end);
	}
	return NULL;
}

/* Returns in how many rounds something was wrong. */
static int run_pair(struct pair *p)
{
	volatile int delay;
	pthread_t thread;
	int i, wrong = 0;

	pthread_barrier_init(&p->end, NULL, 2);
	if (pthread_create(&thread, NULL, other_side, p))
		return -1;
	for (i = 0; i < p->rounds; i++) {
		wrong += !p->before(p);
		p->started++;
		for (delay = i % 64 * 50; delay; delay--)
			;
		p->one(p);
		pthread_barrier_wait(&p->end);
		wrong += !p->after(p);
	}
	pthread_join(thread, NULL);
	return wrong;
}

/* Sessions of users of their own: only the reserve is short. */
static int open_exact(uid_t uid)
{
	int fd = mp_open_as(uid, O_RDWR);

	if (fd >= 0 && _test_configure_granularity(fd, MP_CHUNK)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* ---- idle memory on its way back, and a request for it --------------------------------- */

#define GIVEN	8	/* chunks: kept idle by one, and no more is there for the other */

static bool keep_idle(struct pair *p)
{
	if (p->fd < 0)
		p->fd = open_exact(MP_USER_A);
	return !_test_ioctl_preallocate(p->fd, MP_CHUNK, GIVEN, NULL);
}

static void give_idle(struct pair *p)
{
	if (p->by_close) {
		close(p->fd);
		p->fd = -1;
	} else {
		_test_ioctl_trim(p->fd);
	}
}

static void take_given(struct pair *p)
{
	p->ret2 = _test_alloc_one(p->fd2, GIVEN * MP_CHUNK) < 0;
}

static bool had_it(struct pair *p)
{
	return !p->ret2 && !_test_release_all(p->fd2) &&
	       _test_ioctl_trim(p->fd2) == (long long)GIVEN * MP_CHUNK;
}

static int hand_over(int fd, bool by_close)
{
	struct pair p = {
		.before = keep_idle, .one = give_idle, .other = take_given, .after = had_it,
		.rounds = mp_rounds(300), .fd = -1, .by_close = by_close,
	};
	int wrong;

	p.fd2 = open_exact(MP_USER_B);
	if (_test_configure_granularity(fd, MP_CHUNK) ||
	    _test_alloc_one(fd, (MP_CHUNKS - GIVEN) * MP_CHUNK) < 0)
		return -1;
	wrong = run_pair(&p);
	if (!by_close)
		close(p.fd);
	close(p.fd2);
	return wrong;
}

TEST_F(two_at_once, a_trim_hides_no_memory_from_a_request)
{
	EXPECT_EQ(0, hand_over(self->s.fd, false));
}

TEST_F(two_at_once, a_close_hides_no_idle_memory_from_a_request)
{
	EXPECT_EQ(0, hand_over(self->s.fd, true));
}

/* ---- requests that find too little, each of which is counted ---------------------------- */

#define REFUSALS	2000

static bool nothing(struct pair *p)
{
	return true;
}

static int ask_in_vain(int fd)
{
	int i, wrong = 0;

	for (i = 0; i < REFUSALS; i++)
		wrong += _test_alloc_one(fd, 2 * MP_CHUNK) != -ENOMEM;
	return wrong;
}

static void ask_in_vain_one(struct pair *p)
{
	p->ret += ask_in_vain(p->fd);
}

static void ask_in_vain_other(struct pair *p)
{
	p->ret2 += ask_in_vain(p->fd2);
}

TEST_F(two_at_once, pressure_rises_with_each_request_that_finds_too_little)
{
	struct pair p = {
		.before = nothing, .one = ask_in_vain_one, .other = ask_in_vain_other,
		.after = nothing, .rounds = mp_rounds(5),
	};
	long long before;

	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	test_alloc_one(self->s.fd, (MP_CHUNKS - 1) * MP_CHUNK);
	p.fd = open_exact(MP_USER_A);
	p.fd2 = open_exact(MP_USER_B);
	before = mp_sysfs("pressure");
	ASSERT_EQ(0, run_pair(&p));
	EXPECT_EQ(0, p.ret + p.ret2);
	EXPECT_EQ(before + p.rounds * 2 * REFUSALS, mp_sysfs("pressure"));
	close(p.fd);
	close(p.fd2);
}

/* ---- CONFIGURE while something else is under way ---------------------------------------- */

#define BATCH	8
#define SIZE	2000000	/* 2048000 by the default tiers, a chunk by those set here */

static bool open_fresh(struct pair *p)
{
	p->fd = mp_open_as(MP_USER_A, O_RDWR);
	return p->fd >= 0;
}

static void set_tiers(struct pair *p)
{
	p->ret = _test_configure_granularity(p->fd, MP_CHUNK);
}

static void take_batch(struct pair *p)
{
	struct mempool_block blocks[BATCH];
	__u32 done;

	p->ret2 = _test_ioctl_alloc(p->fd, SIZE, BATCH, 0, blocks, &done);
	if (!p->ret2 && done != BATCH)
		p->ret2 = -ENOMEM;
}

static bool all_of_the_same_tiers(struct pair *p)
{
	struct mempool_session_stats st;
	__u64 size = p->ret ? 2048000 : MP_CHUNK;
	int ret = _test_ioctl_stats(p->fd, &st);

	close(p->fd);
	return !ret && !p->ret2 && (!p->ret || p->ret == -EBUSY) &&
	       st.current_bytes == BATCH * size;
}

TEST_F(two_at_once, tiers_do_not_change_in_the_middle_of_a_batch)
{
	struct pair p = {
		.before = open_fresh, .one = set_tiers, .other = take_batch,
		.after = all_of_the_same_tiers, .rounds = mp_rounds(200),
	};

	EXPECT_EQ(0, run_pair(&p));
}

static void set_limit(struct pair *p)
{
	p->ret = _test_configure(p->fd, MEMPOOL_CONFIGURE_LIMIT_BYTES, 16 * MP_CHUNK);
}

/* A minimum that there is no memory for. */
static void fail_to_configure(struct pair *p)
{
	struct mempool_configure arg = {
		.flags = MEMPOOL_CONFIGURE_LIMIT_BYTES | MEMPOOL_CONFIGURE_MIN_BYTES,
		.limit_bytes = 8 * MP_CHUNK,
		.min_bytes = 8 * MP_CHUNK,
	};

	p->ret2 = mp_ioctl(p->fd, MEMPOOL_IOC_CONFIGURE, &arg);
}

static bool limit_was_set(struct pair *p)
{
	struct mempool_info info;
	int ret = mp_info(p->fd, &info);

	close(p->fd);
	return !ret && !p->ret && p->ret2 == -ENOMEM && info.limit_bytes == 16 * MP_CHUNK;
}

TEST_F(two_at_once, a_configure_that_fails_leaves_anothers_options_alone)
{
	struct pair p = {
		.before = open_fresh, .one = set_limit, .other = fail_to_configure,
		.after = limit_was_set, .rounds = mp_rounds(1000),
	};

	test_alloc_one(self->s.fd, (MP_CHUNKS - 2) * MP_CHUNK - MP_CHUNK / 2);
	EXPECT_EQ(0, run_pair(&p));
}

TEST_HARNESS_MAIN
