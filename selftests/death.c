// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A process is killed at any point of whatever it does: the books balance at
 * once, and all it had is free again.
 */
#include "mp_proc.h"

#include <pthread.h>

#define KILLS	200

static unsigned int next_random(unsigned int *x)
{
	*x = *x * 1103515245 + 12345;
	return *x >> 16 & 0x7fff;
}

/* Everything a session can do, for ever. */
static void *live(void *arg)
{
	struct mp_session *s = arg;
	unsigned int x = getpid() * 2654435761u + (unsigned long)pthread_self();
	struct mempool_block blocks[32];
	struct mempool_pool_create made;
	struct mempool_pool_open joined;
	struct mempool_token t[8];
	__u64 held[256];
	int n = 0, i;
	__u32 done;

	for (;;) {
		switch (next_random(&x) % 10) {
		case 0 ... 3:
			if (n > 224)
				break;
			if (_test_ioctl_alloc(s->fd, 1 + next_random(&x) * 8,
					      1 + next_random(&x) % 32,
					      next_random(&x) % 4, blocks,
					      &done))
				break;
			for (i = 0; i < (int)done; i++) {
				held[n] = blocks[i].offset;
				mp_poke(s->base + held[n++], 1);
			}
			break;
		case 4 ... 5:
			i = n / 2;
			_test_ioctl_release(s->fd, held + i, n - i, 0, NULL);
			n = i;
			break;
		case 6:
			_test_ioctl_trim(s->fd);
			break;
		case 7:
			if (_test_pool_create(s->fd, NULL, 5000, 200, 0, 0,
					      &made))
				break;
			_test_pool_batch(s->fd, MEMPOOL_IOC_POOL_GET,
					 made.pool, t, 8, NULL, NULL);
			mp_poke(s->base + made.offset + 3 * made.stride, 1);
			if (next_random(&x) % 2)
				_test_pool_close(s->fd, made.pool);
			break;
		case 8:
			if (_test_pool_open(s->fd, "common", &joined) == 0) {
				_test_pool_batch(s->fd, MEMPOOL_IOC_POOL_GET,
						 joined.pool, t, 4, NULL, NULL);
				mp_poke(s->base + joined.offset, 1);
				if (next_random(&x) % 4 == 0)
					_test_pool_close(s->fd, joined.pool);
			}
			break;
		case 9:
			munmap(s->base + (next_random(&x) % 64) * 4096, 4096);
			break;
		}
	}
	return NULL;
}

static int live_and_be_killed(void *arg)
{
	struct mp_session s;
	pthread_t thread;

	for (;;) {
		CHECK(mp_session_open(&s) == 0);
		CHECK(pthread_create(&thread, NULL, live, &s) == 0);
		live(&s);
	}
}

FIXTURE(module_with_a_common_pool) {
	int fd;
	struct mempool_pool_create pool;
};

FIXTURE_SETUP(module_with_a_common_pool)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	test_pool_create(self->fd, "common", 4096, 400, 0666, 0, &self->pool);
}

FIXTURE_TEARDOWN(module_with_a_common_pool)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

/* Free again but for the common pool's one chunk; the time it took in ms. */
static long wait_free(void)
{
	__u64 start = mp_now_ms();

	if (mp_sysfs_wait("chunks_free", MP_CHUNKS - 1) != MP_CHUNKS - 1)
		return -1;
	return mp_now_ms() - start;
}

TEST_F(module_with_a_common_pool, many_kills_lose_nothing)
{
	struct mempool_pool_stats st;
	long ms, slowest = 0;
	unsigned int x = 1;
	struct mp_books b;
	pid_t pid;
	int i, kills = mp_rounds(KILLS) / 10 * 10;

	for (i = 0; i < kills; i++) {
		pid = mp_spawn(MP_USER_A, live_and_be_killed, NULL);
		mp_sleep_ms(1 + next_random(&x) % 30);
		ASSERT_EQ(-SIGKILL, mp_kill(pid)) {
			TH_LOG("kill %d", i);
		}
		ASSERT_TRUE(mp_books_balance(&b)) {
			TH_LOG("kill %d", i);
		}
		if (i % 10 == 9) {
			ms = wait_free();
			ASSERT_LE(0, ms) {
				TH_LOG("kill %d", i);
			}
			slowest = ms > slowest ? ms : slowest;
		}
	}
	ksft_print_msg("free after at most %ld ms\n", slowest);
	test_pool_stats(self->fd, self->pool.pool, &st);
	EXPECT_EQ(0, st.issued);
	EXPECT_EQ(1, st.members);
}

TEST_F(module_with_a_common_pool, four_at_a_time_killed_lose_nothing)
{
	unsigned int x = 7;
	struct mp_books b;
	pid_t pid[4];
	int i, j;

	for (i = 0; i < 15; i++) {
		for (j = 0; j < 4; j++)
			pid[j] = mp_spawn(MP_USER_A + j, live_and_be_killed,
					  NULL);
		mp_sleep_ms(10 + next_random(&x) % 50);
		for (j = 0; j < 4; j++)
			kill(pid[j], SIGKILL);
		for (j = 0; j < 4; j++)
			ASSERT_EQ(-SIGKILL, mp_reap(pid[j]));
		ASSERT_TRUE(mp_books_balance(&b));
	}
	EXPECT_LE(0, wait_free());
}

/* A monitor that reads smaps may be the one that ends the session. */
TEST_F(module_with_a_common_pool, killed_while_smaps_is_read_loses_nothing)
{
	char path[64], buf[4096];
	struct mp_books b;
	pid_t pid, reader;
	int i, fd;

	for (i = 0; i < 20; i++) {
		pid = mp_spawn(MP_USER_A, live_and_be_killed, NULL);
		snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
		reader = fork();
		if (!reader)
			for (;;) {
				fd = open(path, O_RDONLY);
				while (fd >= 0 && read(fd, buf, sizeof(buf)) > 0)
					;
				close(fd);
			}
		mp_sleep_ms(20);
		ASSERT_EQ(-SIGKILL, mp_kill(pid));
		ASSERT_TRUE(mp_books_balance(&b));
		mp_kill(reader);
	}
	EXPECT_LE(0, wait_free());
}

/* Signals that do not kill interrupt nothing half way. */
static void on_alarm(int sig)
{
}

TEST_F(module_with_a_common_pool, commands_under_a_storm_of_signals_are_whole)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } };
	struct sigaction sa = { .sa_handler = on_alarm };
	struct mempool_session_stats st;
	struct mempool_block blocks[64];
	__u64 offsets[64];
	__u32 done;
	int i, j;

	sigaction(SIGALRM, &sa, NULL);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	for (i = 0; i < 300; i++) {
		ASSERT_EQ(0, _test_ioctl_alloc(self->fd, 100000, 64,
					       MEMPOOL_ALLOC_ZERO * (i & 1),
					       blocks, &done));
		ASSERT_EQ(64, done);
		for (j = 0; j < 64; j++)
			offsets[j] = blocks[j].offset;
		ASSERT_EQ(0, _test_ioctl_release(self->fd, offsets, 64, 0,
						 &done));
		if (i % 8 == 0)
			ASSERT_LE(0, _test_ioctl_trim(self->fd));
	}
	often = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &often, NULL);
	test_ioctl_stats(self->fd, &st);
	EXPECT_EQ(300 * 64, st.total_allocations);
	EXPECT_EQ(300 * 64, st.releases);
	EXPECT_EQ(0, st.currently_allocated);
}

TEST_HARNESS_MAIN
