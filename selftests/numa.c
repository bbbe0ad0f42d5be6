// SPDX-License-Identifier: MIT OR GPL-2.0
// guest: --numa --mem 1G
/*
 * Two nodes: chunks come from the node asked for, the reserve lies on both, and
 * automatic NUMA balancing leaves resident blocks alone.
 */
#include <pthread.h>

#include "mp_proc.h"

FIXTURE(machine_with_two_nodes) {
	struct mp_session s;
};

FIXTURE_SETUP(machine_with_two_nodes)
{
	ASSERT_EQ(0, access("/sys/devices/system/node/node1", F_OK));
	ASSERT_EQ(0, mp_require("reserve=128M"));
	ASSERT_EQ(0, mp_session_open(&self->s));
}

FIXTURE_TEARDOWN(machine_with_two_nodes)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* The node of the page at @p, or -errno. */
static int node_of(void *p)
{
	int status = -1000;

	*(volatile char *)p;
	if (syscall(SYS_move_pages, 0, 1ul, &p, NULL, &status, 0))
		return -errno;
	return status;
}

/* How many chunks of a block of @n lie on each node. */
static int count_nodes(struct mp_session *s, int n, int nodes[2])
{
	long long offset;
	int i, node;

	nodes[0] = 0;
	nodes[1] = 0;
	offset = _test_alloc_one(s->fd, n * MP_CHUNK);
	if (offset < 0)
		return offset;
	memset(s->base + offset, 1, n * MP_CHUNK);
	for (i = 0; i < n; i++) {
		node = node_of(s->base + offset + i * MP_CHUNK);
		if (node < 0 || node > 1)
			return node < 0 ? node : -EPROTO;
		nodes[node]++;
	}
	return 0;
}

static int configure(struct mp_session *s, int node)
{
	return _test_configure_granularity(s->fd, MP_CHUNK) ?:
	       _test_configure(s->fd, MEMPOOL_CONFIGURE_NODE, node);
}

TEST_F(machine_with_two_nodes, reserve_lies_on_both)
{
	int nodes[2];

	ASSERT_EQ(0, configure(&self->s, MEMPOOL_NODE_ANY));
	ASSERT_EQ(0, count_nodes(&self->s, 64, nodes));
	ksft_print_msg("%d and %d chunks\n", nodes[0], nodes[1]);
	EXPECT_LT(16, nodes[0]);
	EXPECT_LT(16, nodes[1]);
}

TEST_F(machine_with_two_nodes, node_0_is_preferred_when_asked_for)
{
	int nodes[2];

	ASSERT_EQ(0, configure(&self->s, 0));
	ASSERT_EQ(0, count_nodes(&self->s, 8, nodes));
	EXPECT_EQ(8, nodes[0]);
}

TEST_F(machine_with_two_nodes, node_1_is_preferred_when_asked_for)
{
	int nodes[2];

	ASSERT_EQ(0, configure(&self->s, 1));
	ASSERT_EQ(0, count_nodes(&self->s, 8, nodes));
	EXPECT_EQ(8, nodes[1]);
}

TEST_F(machine_with_two_nodes, the_other_node_serves_when_one_is_used_up)
{
	int nodes[2];

	ASSERT_EQ(0, configure(&self->s, 1));
	ASSERT_EQ(0, count_nodes(&self->s, 60, nodes));
	EXPECT_LT(0, nodes[0]);
}

static int local_chunks(void *arg)
{
	int cpu = *(int *)arg, nodes[2];
	struct mp_session s;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
	CHECK(mp_session_open(&s) == 0);
	CHECK(configure(&s, MEMPOOL_NODE_ANY) == 0);
	CHECK(count_nodes(&s, 8, nodes) == 0);
	CHECK(nodes[cpu] == 8);
	return 0;
}

TEST_F(machine_with_two_nodes, without_a_node_the_callers_is_preferred)
{
	int cpu;

	for (cpu = 0; cpu < 2; cpu++)
		EXPECT_EQ(0, mp_run(0, local_chunks, &cpu));
}

/* Read all of @len bytes until @seconds have passed: page faults it took. */
static long read_for(volatile unsigned char *p, size_t len, int seconds)
{
	__u64 end = mp_now_ms() + seconds * 1000ull;
	long before = mp_faults();
	size_t i;

	while (mp_now_ms() < end)
		for (i = 0; i < len; i += 4096)
			p[i];
	return mp_faults() - before;
}

static __attribute__((noreturn)) void *sleep_for_ever(void *arg)
{
	for (;;)
		pause();
}

/*
 * How many seconds it takes until balancing makes ordinary memory fault. With a
 * second thread: memory on the node of a process's only one is left alone.
 */
static int seconds_to_first_hint(size_t len)
{
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;
	int s;

	if (p == MAP_FAILED || madvise(p, len, MADV_NOHUGEPAGE) ||
	    pthread_create(&thread, NULL, sleep_for_ever, NULL))
		return 120;
	memset(p, 1, len);
	for (s = 1; s < 120; s++)
		if (read_for(p, len, 1) > 64)
			break;
	munmap(p, len);
	return s;
}

TEST_F(machine_with_two_nodes, balancing_makes_no_hint_faults_in_blocks)
{
	const size_t len = 64 << 20;
	__u64 offset;
	int seconds;
	long faults;

	if (access("/proc/sys/kernel/numa_balancing", F_OK))
		SKIP(return, "no CONFIG_NUMA_BALANCING");
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	offset = test_alloc_one(self->s.fd, len);
	memset(self->s.base + offset, 1, len);
	/* It is at work: else the silence below shows nothing. */
	seconds = seconds_to_first_hint(len);
	ASSERT_LT(seconds, 120);
	faults = read_for(self->s.base + offset, len, 3 * seconds + 5);
	ksft_print_msg("first hint after %d s; %ld faults in %d s\n", seconds,
		       faults, 3 * seconds + 5);
	/* 32 chunks would fault 32 times a scan; this program a few times. */
	EXPECT_GT(16, faults);
}

TEST_HARNESS_MAIN
