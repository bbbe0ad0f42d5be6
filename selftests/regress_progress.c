// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Requests and pinned chunks make progress by themselves: nobody waits for a time
 * limit, is forgotten, or undoes another's work for ever; and what a name stands
 * for in sysfs is the pool of that name.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "mp_proc.h"

#define LONG	600	/* seconds, for slow machines: what hangs does so for ever */

/* A session whose blocks of a chunk stay cached when they are released. */
static int keeper_open(struct mp_session *s)
{
	struct mempool_configure arg = {
		.flags = MEMPOOL_CONFIGURE_TIERS | MEMPOOL_CONFIGURE_MAX_CACHED |
			 MEMPOOL_CONFIGURE_MAX_CACHED_BYTES,
		.nr_tiers = 1,
		.tiers[0] = { MEMPOOL_TIER_END, MP_CHUNK },
		.max_cached = 1000,
		.max_cached_bytes = 1ull << 40,
	};
	int ret = mp_session_open(s);

	return ret ?: mp_ioctl(s->fd, MEMPOOL_IOC_CONFIGURE, &arg);
}

/* Take @n chunks one by one: how many were had. */
static int take(struct mp_session *s, int n, __u64 *offsets)
{
	int i;

	for (i = 0; i < n; i++) {
		long long offset = _test_alloc_one(s->fd, MP_CHUNK);

		if (offset < 0)
			break;
		offsets[i] = offset;
	}
	return i;
}

FIXTURE(three_sessions) {
	struct mp_session a, b, c;
	__u64 offsets[MP_CHUNKS];
};

FIXTURE_SETUP(three_sessions)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, keeper_open(&self->a));
	ASSERT_EQ(0, keeper_open(&self->b));
	ASSERT_EQ(0, keeper_open(&self->c));
}

FIXTURE_TEARDOWN(three_sessions)
{
	mp_session_close(&self->a);
	mp_session_close(&self->b);
	mp_session_close(&self->c);
	EXPECT_TRUE(mp_settled());
}

/* ---- a request that free and idle chunks meet together ------------------------------- */

/*
 * One chunk is free and one is idle elsewhere; @ms: how long it took to get both
 * as one block. A request that slept until its time limit took a second.
 */
static int take_free_and_idle(struct mp_session *idle, struct mp_session *s, __u64 *ms)
{
	__u64 two[2], begin;
	long long offset;
	int ret;

	if (take(idle, 1, two) != 1)
		return -ENOMEM;
	ret = _test_release_one(idle->fd, two[0]);
	if (ret)
		return ret;
	begin = mp_now_ms();
	offset = _test_alloc_one(s->fd, 2 * MP_CHUNK);
	*ms = mp_now_ms() - begin;
	if (offset < 0)
		return offset;
	ret = _test_release_one(s->fd, offset);
	return ret ?: _test_ioctl_trim(s->fd) < 0 ? -EIO : 0;
}

TEST_F_TIMEOUT(three_sessions, a_request_does_not_wait_for_what_it_has_already, LONG)
{
	__u64 ms, least = ~0ull;
	int i;

	ASSERT_EQ(MP_CHUNKS - 2, take(&self->c, MP_CHUNKS - 2, self->offsets));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(2, mp_sysfs_wait("chunks_free", 2));
		ASSERT_EQ(0, take_free_and_idle(&self->a, &self->b, &ms));
		least = ms < least ? ms : least;
	}
	TH_LOG("at least %llu ms", (unsigned long long)least);
	EXPECT_GT(900, least);
}

/* ---- a request that cannot be met, with memory of one's own to move ------------------- */

TEST_F(three_sessions, an_impossible_request_beside_ones_own_idle_chunk_takes_nothing)
{
	struct mempool_session_stats st;
	struct mp_session small;
	__u64 one;

	/* Its idle chunk is mostly free: a large block would begin in it. */
	ASSERT_EQ(0, mp_session_open(&small));
	one = test_alloc_one(small.fd, 1000);
	test_release_one(small.fd, one);
	ASSERT_EQ(MP_CHUNKS - 2, take(&self->c, MP_CHUNKS - 2, self->offsets));
	ASSERT_EQ(1, take(&self->a, 1, &one));
	test_release_one(self->a.fd, one);
	ASSERT_EQ(2, mp_sysfs("chunks_idle"));

	EXPECT_EQ(-ENOMEM, (int)_test_alloc_one(small.fd, MP_CHUNK * 5 / 2));
	mp_session_close(&small);
	test_ioctl_stats(self->a.fd, &st);
	EXPECT_EQ(0, st.reclaimed_chunks);
	EXPECT_EQ(MP_CHUNK, st.owned_bytes);
}

TEST_F(three_sessions, idle_chunks_of_ones_own_and_of_others_meet_a_request)
{
	__u64 two[2];

	ASSERT_EQ(MP_CHUNKS - 3, take(&self->c, MP_CHUNKS - 3, self->offsets));
	ASSERT_EQ(1, take(&self->a, 1, two));
	test_release_one(self->a.fd, two[0]);
	ASSERT_EQ(2, take(&self->b, 2, two));
	test_ioctl_release(self->b.fd, two, 2);
	EXPECT_LE(0, _test_alloc_one(self->b.fd, 3 * MP_CHUNK));
}

/* ---- pinned chunks are looked at again whatever else looks at them -------------------- */

struct looker {
	int fd;
	atomic_bool stop;
};

/* Requests that cannot be met: each looks at all pinned chunks. */
static void *look(void *arg)
{
	struct looker *l = arg;

	while (!atomic_load(&l->stop))
		if (_test_alloc_one(l->fd, (__u64)MP_CHUNKS * MP_CHUNK) != -ENOMEM)
			return l;
	return NULL;
}

TEST_F_TIMEOUT(three_sessions, a_pinned_chunk_is_not_forgotten_while_others_look_at_it, LONG)
{
	struct looker l = { .fd = self->b.fd };
	struct iovec iov = { NULL, 4096 };
	__u64 offset;
	void *bad;
	pthread_t thread;
	int pipe[2];

	ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
	ASSERT_EQ(1, take(&self->a, 1, &offset));
	iov.iov_base = self->a.base + offset;
	ASSERT_EQ(4096, vmsplice(pipe[1], &iov, 1, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, look, &l));
	ASSERT_EQ(0, _test_release_one(self->a.fd, offset));
	ASSERT_LT(0, _test_ioctl_trim(self->a.fd));
	mp_sleep_ms(5000);
	atomic_store(&l.stop, true);
	ASSERT_EQ(0, pthread_join(thread, &bad));
	EXPECT_EQ(NULL, bad);
	EXPECT_EQ(1, mp_sysfs("chunks_pinned"));
	close(pipe[0]);
	close(pipe[1]);
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
}

/* ---- preallocations that want the same memory ---------------------------------------- */

#define ROUNDS	10

static int preallocate(void *arg)
{
	int *sock = arg, i, ret;
	struct mp_session s;

	CHECK(mp_step(*sock) && mp_await(*sock));
	for (i = 0; i < ROUNDS; i++) {
		CHECK(keeper_open(&s) == 0);
		ret = _test_ioctl_preallocate(s.fd, MP_CHUNK, MP_CHUNKS * 5 / 8, NULL);
		CHECK(!ret || ret == -ENOMEM);
		mp_session_close(&s);
	}
	return 0;
}

TEST_F_TIMEOUT(three_sessions, preallocations_that_take_from_each_other_end, LONG)
{
	struct mp_link l;
	pid_t pid[2];
	int i;

	ASSERT_EQ(0, mp_link_open(&l));
	pid[0] = mp_spawn(0, preallocate, &l.ours);
	pid[1] = mp_spawn(0, preallocate, &l.theirs);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, mp_reap(pid[i]));
	mp_link_close(&l);
}

/* ---- one name after another ---------------------------------------------------------- */

#define NAME	"again"

/* Make the pool of this name again and again; what sysfs has is this one. */
static int make_and_close(void *arg)
{
	struct mempool_pool_create made;
	struct mp_session s;
	char threshold[16];
	int i, ret, mine = *(int *)arg, n;

	CHECK(mp_session_open(&s) == 0);
	for (i = 0; i < 300; i++) {
		memset(&made, 0, sizeof(made));
		made.block_size = 64;
		made.nr_blocks = 1;
		made.mode = 0666;
		made.flags = MEMPOOL_POOL_THRESHOLD;
		made.threshold = mine;
		memcpy(made.name, NAME, sizeof(NAME));
		ret = mp_ioctl(s.fd, MEMPOOL_IOC_POOL_CREATE, &made);
		if (ret == -EEXIST)
			continue;
		CHECK(!ret);
		n = mp_sysfs_text("pools/" NAME "/threshold", threshold, sizeof(threshold));
		CHECK(n > 0 && atoi(threshold) == mine);
		CHECK(_test_pool_close(s.fd, made.pool) == 0);
	}
	mp_session_close(&s);
	return 0;
}

TEST_F_TIMEOUT(three_sessions, a_pool_whose_name_was_in_use_has_its_directory, LONG)
{
	static int threshold[2] = { 11, 22 };
	pid_t pid[2];
	int i;

	for (i = 0; i < 2; i++)
		pid[i] = mp_spawn(0, make_and_close, &threshold[i]);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, mp_reap(pid[i]));
}

/* ---- what root reads ------------------------------------------------------------------ */

static int count_lines(const char *path)
{
	FILE *f = fopen(path, "r");
	int c, n = 0;

	if (!f)
		return -errno;
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static int name_it(void *arg)
{
	struct mp_session s;
	int lines;

	CHECK(prctl(PR_SET_NAME, "a\n1 1 0 1 1 1") == 0);
	CHECK((lines = count_lines(MP_DEBUGFS "/sessions")) > 0);
	CHECK(mp_session_open(&s) == 0);
	CHECK(count_lines(MP_DEBUGFS "/sessions") == lines + 1);
	return 0;
}

TEST_F(three_sessions, a_process_named_like_a_session_is_one_line)
{
	EXPECT_EQ(0, mp_run(0, name_it, NULL));
}

TEST_HARNESS_MAIN
