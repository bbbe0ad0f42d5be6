// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "A signal that arrives while a command waits for memory makes it fail half
 * way, leaks what it had, or leaves a process that cannot be killed."
 *
 * Processes compete for more memory than there is, so that each waits for the
 * others' chunks to be cleaned, for their locks and for its turn, while signals
 * arrive all the time, some of them deadly.
 */
#include "attack.h"

#define PROCESSES	4

struct counts {
	atomic_long served, refused, signals, odd;
};

static struct counts *counts;

static void on_signal(int sig)
{
	atomic_fetch_add(&counts->signals, 1);
}

/* One round: what a command may say is success or that there is no more. */
static void compete(struct mp_session *s)
{
	struct mempool_block blocks[3];
	__u32 done = 0;
	int ret = _test_ioctl_alloc(s->fd, MP_CHUNK, 3, 0, blocks, &done);

	if (ret == 0)
		atomic_fetch_add(&counts->served, 1);
	else if (ret == -ENOMEM)
		atomic_fetch_add(&counts->refused, 1);
	else
		atomic_fetch_add(&counts->odd, 1);
	if (!ret)
		memset(s->base + blocks[0].offset, 1, MP_CHUNK / 4);
	if (mp_give_all(s))
		atomic_fetch_add(&counts->odd, 1);
}

static int compete_for_ever(void *arg)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct itimerval often = { { 0, 100 }, { 0, 100 } };
	int i, rounds = *(int *)arg;
	struct mp_session s;

	CHECK(mp_session_of_chunks(&s) == 0);
	CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
	CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (i = 0; i < rounds; i++)
		compete(&s);
	return 0;
}

FIXTURE(four_who_compete) {
	pid_t pid[PROCESSES];
	int rounds;
};

FIXTURE_SETUP(four_who_compete)
{
	int i;

	counts = mp_shared(sizeof(*counts));
	ASSERT_NE(NULL, counts);
	self->rounds = mp_rounds(150);
	/* Six chunks: two get what they want, two wait or are refused. */
	ASSERT_EQ(0, mp_require("reserve=12M"));
	for (i = 0; i < PROCESSES; i++)
		self->pid[i] = mp_spawn(0, compete_for_ever, &self->rounds);
}

FIXTURE_TEARDOWN(four_who_compete)
{
	EXPECT_TRUE(mp_settled());
}

TEST_F(four_who_compete, signals_make_no_command_fail)
{
	int i;

	for (i = 0; i < PROCESSES; i++)
		EXPECT_EQ(0, mp_reap(self->pid[i]));
	ksft_print_msg("%ld served, %ld refused, %ld signals\n", counts->served,
		       counts->refused, counts->signals);
	EXPECT_EQ(0, counts->odd);
	EXPECT_LT(0, counts->served);
	EXPECT_LT(self->rounds, counts->signals);
}

/* Killed anywhere, each ends, and its successor finds all in order. */
TEST_F(four_who_compete, the_killed_end_and_leave_nothing)
{
	int i, victim, n = mp_rounds(60), rounds = 1 << 30;
	__u64 seed = 88172645463325252;
	struct mp_books b;

	for (i = 0; i < PROCESSES; i++)
		mp_reap(self->pid[i]);
	for (i = 0; i < PROCESSES; i++)
		self->pid[i] = mp_spawn(0, compete_for_ever, &rounds);
	for (i = 0; i < n; i++) {
		victim = i % PROCESSES;
		usleep(mp_random(&seed) % 8000);
		ASSERT_EQ(-SIGKILL, mp_kill(self->pid[victim]));
		ASSERT_TRUE(mp_books_balance(&b));
		self->pid[victim] = mp_spawn(0, compete_for_ever, &rounds);
	}
	for (i = 0; i < PROCESSES; i++)
		ASSERT_EQ(-SIGKILL, mp_kill(self->pid[i]));
	EXPECT_EQ(0, counts->odd);
}

TEST_HARNESS_MAIN
