// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Process-shared synchronisation inside blocks: futexes find each other across
 * fork, and across sessions that have the same named pool open at different
 * offsets.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>

#include "mp_proc.h"

#define NAME	"shared"

struct shared {
	pthread_mutex_t mutex;
	sem_t full, empty;
	__u32 word;
	int value, sum;
};

FIXTURE(named_pool) {
	struct mp_session s;
	struct mempool_pool_create pool;
	struct shared *sh;
};

FIXTURE_SETUP(named_pool)
{
	pthread_mutexattr_t attr;

	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	/* Not where another session will see it. */
	test_alloc_one(self->s.fd, 5 * MP_CHUNK);
	test_pool_create(self->s.fd, NAME, 4096, 4, 0600, 0, &self->pool);
	self->sh = (void *)(self->s.base + self->pool.offset + 4096);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&self->sh->mutex, &attr);
	ASSERT_EQ(0, sem_init(&self->sh->full, 1, 0));
	ASSERT_EQ(0, sem_init(&self->sh->empty, 1, 1));
}

FIXTURE_TEARDOWN(named_pool)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

static long futex(__u32 *word, int op, __u32 value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* A session of its own, joined to the pool: where the shared data lie in it. */
static struct shared *join(struct mp_session *s)
{
	struct mempool_pool_open joined;

	CHECK(mp_session_open(s) == 0);
	CHECK(_test_pool_open(s->fd, NAME, &joined) == 0);
	return (void *)(s->base + joined.offset + 4096);
}

static int wait_for_7(void *arg)
{
	struct mp_session s;
	struct shared *sh = join(&s);

	while (__atomic_load_n(&sh->word, __ATOMIC_ACQUIRE) != 7)
		CHECK(futex(&sh->word, FUTEX_WAIT, 0) == 0 || errno == EAGAIN ||
		      errno == EINTR);
	return 0;
}

TEST_F(named_pool, a_futex_wakes_a_waiter_in_another_session)
{
	pid_t pid = mp_spawn(0, wait_for_7, NULL);
	__u64 end = mp_now_ms() + MP_PATIENCE * 1000ull;

	/* Somebody must really be woken, or keys differ. */
	while (futex(&self->sh->word, FUTEX_WAKE, 1) == 0 && mp_now_ms() < end)
		mp_sleep_ms(1);
	ASSERT_LT(mp_now_ms(), end);
	__atomic_store_n(&self->sh->word, 7, __ATOMIC_RELEASE);
	ASSERT_LE(0, futex(&self->sh->word, FUTEX_WAKE, 1));
	EXPECT_EQ(0, mp_reap(pid));
}

#define LAPS	2000

static int add_under_mutex(void *arg)
{
	struct mp_session s;
	struct shared *sh = join(&s);
	int i, v;

	for (i = 0; i < LAPS; i++) {
		CHECK(pthread_mutex_lock(&sh->mutex) == 0);
		v = *(volatile int *)&sh->value;
		if (i % 64 == 0)
			sched_yield();
		*(volatile int *)&sh->value = v + 1;
		CHECK(pthread_mutex_unlock(&sh->mutex) == 0);
	}
	return 0;
}

TEST_F(named_pool, a_mutex_excludes_across_sessions)
{
	pid_t pid[3];
	int i;

	for (i = 0; i < 3; i++)
		pid[i] = mp_spawn(0, add_under_mutex, NULL);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, mp_reap(pid[i]));
	EXPECT_EQ(3 * LAPS, self->sh->value);
}

static int consume(void *arg)
{
	struct mp_session s;
	struct shared *sh = join(&s);
	int i;

	for (i = 0; i < LAPS; i++) {
		while (sem_wait(&sh->full))
			CHECK(errno == EINTR);
		sh->sum += sh->value;
		CHECK(sem_post(&sh->empty) == 0);
	}
	return 0;
}

TEST_F(named_pool, semaphores_pass_values_across_sessions)
{
	pid_t pid = mp_spawn(0, consume, NULL);
	int i;

	for (i = 1; i <= LAPS; i++) {
		ASSERT_EQ(0, sem_wait(&self->sh->empty));
		self->sh->value = i;
		ASSERT_EQ(0, sem_post(&self->sh->full));
	}
	ASSERT_EQ(0, mp_reap(pid));
	EXPECT_EQ(LAPS * (LAPS + 1) / 2, self->sh->sum);
}

TEST_F(named_pool, semaphores_work_across_fork_in_a_bucket)
{
	struct shared *sh = (void *)(self->s.base +
				     test_alloc_one(self->s.fd, sizeof(*sh)));
	pid_t pid;

	ASSERT_EQ(0, sem_init(&sh->full, 1, 0));
	pid = fork();
	if (!pid) {
		while (sem_wait(&sh->full))
			CHECK(errno == EINTR);
		_exit(0);
	}
	mp_sleep_ms(50);
	ASSERT_EQ(0, sem_post(&sh->full));
	EXPECT_EQ(0, mp_reap(pid));
}

/* Chunks are interchangeable, but their futexes must not be. */
TEST_F(named_pool, a_futex_in_another_chunk_is_another_futex)
{
	__u32 *other = (void *)(self->s.base +
				test_alloc_one(self->s.fd, 3 * MP_CHUNK));
	pid_t pid = mp_spawn(0, wait_for_7, NULL);
	int i;

	for (i = 0; i < 300; i++) {
		ASSERT_EQ(0, futex(other + i % 3 * (MP_CHUNK / 4) +
				   ((unsigned long)&self->sh->word -
				    (unsigned long)self->s.base) %
				   MP_CHUNK / 4, FUTEX_WAKE, 10));
		mp_sleep_ms(1);
	}
	__atomic_store_n(&self->sh->word, 7, __ATOMIC_RELEASE);
	futex(&self->sh->word, FUTEX_WAKE, 1);
	EXPECT_EQ(0, mp_reap(pid));
}

TEST_HARNESS_MAIN
