// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * libmempool: what becomes of free blocks in threads when threads and processes
 * end, are killed, are stopped, fork, or when others need the memory.
 */
#include "mp_userlib.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

#include "libmempool_inline.h"

#define MIB	(1u << 20)
#define SHARE	(8ll * MIB)	/* what a thread may keep */
#define SIZE	16384u
#define NR	((unsigned int)(SHARE / SIZE))

FIXTURE(caches) {
	struct mempool *pool;
	struct mempool_options opts;
	struct mp_link link;
};

FIXTURE_SETUP(caches)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	unsetenv("MEMPOOL_CHECK");
	self->opts = (struct mempool_options) MEMPOOL_OPTIONS_INIT;
	self->opts.cache_bytes = SHARE;
	self->opts.max_cached = 0;
	ASSERT_EQ(0, mempool_open(&self->pool, &self->opts));
	ASSERT_EQ(0, mp_link_open(&self->link));
}

FIXTURE_TEARDOWN(caches)
{
	mp_link_close(&self->link);
	mempool_close(self->pool);
	EXPECT_TRUE(mp_settled());
}

/* Leave this thread's cache full, and that between threads. */
static bool fill(struct mempool *pool)
{
	static __thread void *ptrs[2 * NR];
	unsigned int i;

	for (i = 0; i < 2 * NR; i++) {
		ptrs[i] = mempool_alloc_inline(pool, SIZE);
		if (!ptrs[i])
			return false;
	}
	for (i = 0; i < 2 * NR; i++)
		if (mempool_release_inline(pool, ptrs[i]))
			return false;
	return true;
}

/* Bytes of blocks that process @pid holds, those in caches included. */
static long long held(pid_t pid)
{
	char dir[64], path[512];
	struct dirent *entry;
	long long bytes = -1, n;
	DIR *fds;

	snprintf(dir, sizeof(dir), "/proc/%d/fdinfo", (int)pid);
	fds = opendir(dir);
	while (fds && (entry = readdir(fds))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		n = mp_proc_number(path, "mempool_allocated_bytes:");
		if (n > bytes)
			bytes = n;
	}
	if (fds)
		closedir(fds);
	return bytes;
}

/* ---- ends ---------------------------------------------------------------------------- */

static void *fill_thread(void *pool)
{
	return fill(pool) ? NULL : pool;
}

static void *fill_and_stay(void *arg)
{
	struct mp_link *link = ((void **)arg)[1];

	if (fill(((void **)arg)[0]))
		mp_step(link->theirs);
	pause();
	return NULL;
}

TEST_F(caches, a_thread_that_ends_leaves_nothing_in_its_cache)
{
	pthread_t thread;
	void *failed;

	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_thread, self->pool));
	pthread_join(thread, &failed);
	ASSERT_EQ(NULL, failed);
	EXPECT_EQ(4 * NR, mp_stats(self->pool).total_allocations + mp_stats(self->pool).releases);
	ASSERT_EQ(0, mempool_flush(self->pool));
	EXPECT_EQ(0, held(getpid()));
}

static int full_caches(void *arg)
{
	FIXTURE_DATA(caches) *self = arg;
	struct mempool *pool;
	pthread_t threads[3];
	void *args[2];
	int i;

	mempool_close(self->pool);
	CHECK(mempool_open(&pool, &self->opts) == 0);
	args[0] = pool;
	args[1] = &self->link;
	for (i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, fill_and_stay, args) == 0);
	pause();
	return 0;
}

TEST_F(caches, a_process_killed_with_full_caches_loses_nothing)
{
	pid_t pid = mp_spawn(0, full_caches, self);
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_TRUE(mp_await(self->link.ours));
	EXPECT_LE(SHARE, held(pid));
	EXPECT_EQ(-SIGKILL, mp_kill(pid));
	/* The teardown finds all of the reserve free. */
}

static int fill_and_exit(void *arg)
{
	FIXTURE_DATA(caches) *self = arg;
	struct mempool *pool;

	mempool_close(self->pool);
	CHECK(mempool_open(&pool, &self->opts) == 0);
	CHECK(fill(pool));
	return 0;
}

TEST_F(caches, a_process_that_exits_with_full_caches_loses_nothing)
{
	EXPECT_EQ(0, mp_run(0, fill_and_exit, self));
}

static void *use_a_little(void *pool)
{
	void *ptrs[4];
	unsigned int i;

	for (i = 0; i < 4; i++)
		ptrs[i] = mempool_alloc_inline(pool, 1000 + i * 1024);
	for (i = 0; i < 4; i++)
		if (mempool_release_inline(pool, ptrs[i]))
			return pool;
	return NULL;
}

TEST_F(caches, a_thousand_threads_one_after_another_leave_nothing)
{
	long long before = 0, pages;
	pthread_attr_t attr;
	pthread_t thread;
	void *failed;
	int i;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, pthread_create(&thread, &attr, use_a_little, self->pool));
		pthread_join(thread, &failed);
		ASSERT_EQ(NULL, failed);
		if (i == 100)
			before = mp_proc_number("/proc/self/status", "VmData:");
	}
	pages = mp_proc_number("/proc/self/status", "VmData:") - before;
	EXPECT_GE(1024, pages);
	EXPECT_EQ(4000, mp_stats(self->pool).total_allocations);
	EXPECT_EQ(4000, mp_stats(self->pool).releases);
	ASSERT_EQ(0, mempool_flush(self->pool));
	EXPECT_EQ(0, held(getpid()));
}

/* ---- stops ---------------------------------------------------------------------------- */

static int fill_and_stop(void *arg)
{
	FIXTURE_DATA(caches) *self = arg;
	struct mempool *pool;

	mempool_close(self->pool);	/* held() looks at all descriptors */
	CHECK(mempool_open(&pool, &self->opts) == 0);
	CHECK(fill(pool));
	raise(SIGSTOP);
	return 0;
}

static long long held_when_stopped(FIXTURE_DATA(caches) *self)
{
	pid_t pid = mp_spawn(0, fill_and_stop, self);
	long long bytes = -1;
	int status;

	if (waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status))
		bytes = held(pid);
	mp_kill(pid);
	return bytes;
}

TEST_F(caches, a_stopped_process_keeps_its_threads_share_and_the_common_one)
{
	long long bytes = held_when_stopped(self);

	EXPECT_LT(SHARE / 4, bytes);
	EXPECT_GE(2 * SHARE, bytes);
}

TEST_F(caches, a_stopped_process_without_caches_keeps_nothing)
{
	self->opts.cache_bytes = 0;
	EXPECT_EQ(0, held_when_stopped(self));
}

/* ---- when memory is short ---------------------------------------------------------------- */

static int refill_when_told(void *arg)
{
	FIXTURE_DATA(caches) *self = arg;
	struct mempool *pool;
	void *ptr;

	mempool_close(self->pool);
	CHECK(mempool_open(&pool, &self->opts) == 0);
	CHECK(fill(pool));
	CHECK(mp_step(self->link.theirs));
	CHECK(mp_await(self->link.theirs));
	ptr = mempool_alloc(pool, 1000);	/* of this there is none */
	CHECK(ptr || errno == ENOMEM);
	CHECK(mempool_release(pool, ptr) == 0);
	CHECK(mp_step(self->link.theirs));
	pause();
	return 0;
}

TEST_F(caches, a_running_process_gives_its_caches_back_within_one_refill)
{
	pid_t pid = mp_spawn(0, refill_when_told, self);
	long long before, after;

	ASSERT_TRUE(mp_await(self->link.ours));
	before = held(pid);
	EXPECT_LT(SHARE / 4, before);
	while (mempool_alloc(self->pool, 2 * MIB))
		;
	ASSERT_EQ(ENOMEM, errno);
	EXPECT_EQ(before, held(pid));	/* it has not run */
	ASSERT_TRUE(mp_step(self->link.ours));
	ASSERT_TRUE(mp_await(self->link.ours));
	after = held(pid);
	EXPECT_GE(256 << 10, after);
	EXPECT_NE(NULL, mempool_alloc(self->pool, 2 * MIB));
	mp_kill(pid);
}

struct other {
	struct mempool *pool;
	atomic_bool filled, stop;
};

static void *fill_and_go_on(void *arg)
{
	struct other *other = arg;
	void *failed = fill(other->pool) ? NULL : other;

	other->filled = true;
	while (!other->stop) {
		mempool_release_inline(other->pool, mempool_alloc_inline(other->pool, SIZE));
		sched_yield();
	}
	return failed;
}

TEST_F(caches, blocks_in_another_threads_cache_are_no_reason_for_enomem)
{
	struct other other = { .pool = self->pool };
	pthread_t thread;
	unsigned int nr;
	void *failed;

	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_and_go_on, &other));
	while (!other.filled)
		mp_sleep_ms(1);
	EXPECT_LT(SHARE / 4, held(getpid()));
	/* All but what the other is at: its cache alone had more. */
	for (nr = 0; nr < MP_CHUNKS - 4; nr++)
		if (!mempool_alloc(self->pool, 2 * MIB))
			break;
	EXPECT_EQ(MP_CHUNKS - 4, nr);
	other.stop = true;
	pthread_join(thread, &failed);
	EXPECT_EQ(NULL, failed);
}

/* ---- fork and signals ------------------------------------------------------------------------ */

static int child_of_full(void *arg)
{
	FIXTURE_DATA(caches) *self = arg;
	struct mempool *mine;

	CHECK(!mempool_alloc_inline(self->pool, SIZE) && errno == EPERM);
	CHECK(mempool_open(&mine, &self->opts) == 0);
	CHECK(fill(mine));
	CHECK(!mempool_alloc_inline(self->pool, SIZE) && errno == EPERM);
	mempool_close(mine);
	mempool_close(self->pool);
	return 0;
}

TEST_F(caches, a_child_of_a_process_with_full_caches_has_none_of_them)
{
	unsigned char *ptrs[NR];
	unsigned int i, wrong = 0;

	ASSERT_TRUE(fill(self->pool));
	EXPECT_EQ(0, mp_run(0, child_of_full, self));
	for (i = 0; i < NR; i++) {
		ptrs[i] = mempool_alloc_inline(self->pool, SIZE);
		ASSERT_NE(NULL, ptrs[i]);
		memset(ptrs[i], i, SIZE);
	}
	for (i = 0; i < NR; i++) {
		wrong += mp_count_not(ptrs[i], i, SIZE) != 0;
		EXPECT_EQ(0, mempool_release_inline(self->pool, ptrs[i]));
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(3 * NR, mp_stats(self->pool).releases);
	EXPECT_EQ(0, mp_stats(self->pool).bad_releases);
}

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	signals++;
}

/* A handler must not call the library; one that does not may come at any time. */
TEST_F(caches, signals_on_the_way_change_nothing)
{
	struct itimerval every = { { 0, 200 }, { 0, 200 } }, never = { { 0 } };
	unsigned int i, wrong = 0, pairs = 0;
	void *ptrs[8] = { NULL };

	signal(SIGALRM, count_signal);
	setitimer(ITIMER_REAL, &every, NULL);
	while (signals < 500) {
		for (i = 0; i < 8; i++) {
			ptrs[i] = mempool_alloc_inline(self->pool, SIZE);
			*(void **)ptrs[i] = ptrs[i];
		}
		for (i = 0; i < 8; i++) {
			wrong += *(void **)ptrs[i] != ptrs[i];
			wrong += mempool_release_inline(self->pool, ptrs[i]) != 0;
		}
		pairs += 8;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(pairs, mp_stats(self->pool).total_allocations);
	EXPECT_EQ(pairs, mp_stats(self->pool).releases);
	EXPECT_EQ(0, mp_stats(self->pool).currently_allocated);
}

TEST_HARNESS_MAIN
