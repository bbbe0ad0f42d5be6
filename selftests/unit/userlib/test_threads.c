// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Caches of several threads, over the in-process device, whose commands are counted:
 * what they hand to each other, give back at their end, and share or do not share.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "counted.h"

FIXTURE(threads) {
	struct mempool *pool;
	struct mempool_options opts;
};

FIXTURE_SETUP(threads)
{
	self->opts = (struct mempool_options) MEMPOOL_OPTIONS_INIT;
	self->opts.cache_bytes = 2 * MIB;
	ASSERT_EQ(0, open_counted(&self->pool, &self->opts));
}

FIXTURE_TEARDOWN(threads)
{
	mempool_close(self->pool);
}

struct job {
	struct mempool *pool;
	pthread_barrier_t *barrier;
	atomic_uintptr_t *ring;
	atomic_uint *wrong;
	unsigned int nr;
	uint32_t seed;
};

static void *use_a_little(void *arg)
{
	struct job *job = arg;
	void *a = mempool_alloc(job->pool, 1000), *b = mempool_alloc(job->pool, 20000);

	if (mempool_release(job->pool, a) || mempool_release(job->pool, b))
		atomic_fetch_add(job->wrong, 1);
	return NULL;
}

TEST_F(threads, threads_one_after_another_leave_nothing)
{
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .wrong = &wrong };
	pthread_t thread;
	int i;

	for (i = 0; i < 10000; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, use_a_little, &job));
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, held_bytes(self->pool));
	EXPECT_EQ(20000, stats_of(self->pool).total_allocations);
	EXPECT_EQ(20000, stats_of(self->pool).releases);
}

static void *cache_of_this_thread(void *arg)
{
	struct job *job = arg;

	use_a_little(job);
	return mempool_thread_1;
}

/* To map one costs more than most short threads do with it. */
TEST_F(threads, the_cache_of_an_ended_thread_serves_the_next)
{
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .wrong = &wrong };
	unsigned char resident;
	void *cache, *first;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, cache_of_this_thread, &job));
	pthread_join(thread, &first);
	ASSERT_EQ(0, mincore((void *)((uintptr_t)first & -4096), 4096, &resident));
	ASSERT_EQ(0, pthread_create(&thread, NULL, cache_of_this_thread, &job));
	pthread_join(thread, &cache);
	EXPECT_EQ(first, cache);
	EXPECT_EQ(0, wrong);
}

/* Whose first block would else wait for the memory of the cache. */
TEST_F(threads, preallocation_makes_a_cache_for_the_thread_that_comes)
{
	unsigned int before = mp_threads_spare();
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .wrong = &wrong };
	pthread_t thread;
	void *cache;

	ASSERT_EQ(0, before);
	ASSERT_EQ(0, mempool_preallocate(self->pool, 4096, 10));
	ASSERT_EQ(0, mempool_preallocate(self->pool, 4096, 20));
	EXPECT_EQ(1, mp_threads_spare());
	ASSERT_EQ(0, pthread_create(&thread, NULL, cache_of_this_thread, &job));
	pthread_join(thread, &cache);
	EXPECT_EQ(1, mp_threads_spare());
	EXPECT_NE(NULL, mempool_alloc(self->pool, 1));
	EXPECT_EQ(0, mp_threads_spare());
	ASSERT_EQ(0, mempool_preallocate(self->pool, 4096, 30));	/* has one already */
	EXPECT_EQ(0, mp_threads_spare());
	EXPECT_EQ(0, wrong);
}

TEST_F(threads, a_child_does_not_use_what_its_parents_threads_have_left)
{
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .wrong = &wrong };
	struct mempool *own;
	pthread_t thread;
	int status;
	void *left;
	pid_t pid;

	ASSERT_EQ(0, pthread_create(&thread, NULL, cache_of_this_thread, &job));
	pthread_join(thread, &left);
	pid = fork();
	if (!pid) {
		if (open_counted(&own, NULL))
			_exit(2);
		job.pool = own;
		if (pthread_create(&thread, NULL, cache_of_this_thread, &job))
			_exit(3);
		pthread_join(thread, NULL);
		_exit(wrong ? 1 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* They are in the processor's caches still. */
TEST_F(threads, a_burst_has_the_blocks_of_the_one_before)
{
	unsigned int i, round, again = 0;
	void *ptrs[64], *was[64] = { NULL };

	for (round = 0; round < 20; round++) {
		for (i = 0; i < 64; i++) {
			ptrs[i] = mempool_alloc(self->pool, 20000);
			ASSERT_NE(NULL, ptrs[i]);
		}
		for (i = 0, again = 0; i < 64 * 64; i++)
			again += ptrs[i / 64] == was[i % 64];
		memcpy(was, ptrs, sizeof(was));
		for (i = 0; i < 64; i++)
			ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	}
	EXPECT_LE(60, again);
}

#define RING	64

static void *produce(void *arg)
{
	struct job *job = arg;
	unsigned int i;
	uintptr_t none;
	uint32_t *ptr;

	for (i = 0; i < job->nr; i++) {
		ptr = mempool_alloc(job->pool, 4096);
		if (!ptr) {
			atomic_fetch_add(job->wrong, 1);
			break;
		}
		ptr[0] = ptr[1023] = i;
		do
			none = 0;
		while (!atomic_compare_exchange_weak(&job->ring[i % RING], &none, (uintptr_t)ptr) &&
		       !sched_yield());
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct job *job = arg;
	unsigned int i;
	uint32_t *ptr;

	for (i = 0; i < job->nr; i++) {
		while (!(ptr = (uint32_t *)atomic_exchange(&job->ring[i % RING], 0)))
			sched_yield();
		if (ptr[0] != i || ptr[1023] != i || mempool_release(job->pool, ptr))
			atomic_fetch_add(job->wrong, 1);
	}
	return NULL;
}

TEST_F(threads, blocks_that_change_threads_come_back_through_the_depot)
{
	static atomic_uintptr_t ring[RING];
	atomic_uint wrong = 0;
	struct job job = { .pool = self->pool, .ring = ring, .wrong = &wrong, .nr = 20000 };
	struct mempool_stats stats;
	unsigned int before;
	pthread_t a, b;

	before = commands;
	pthread_create(&a, NULL, produce, &job);
	pthread_create(&b, NULL, consume, &job);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_GT(before + 200, commands);
	stats = stats_of(self->pool);
	EXPECT_EQ(20000, stats.total_allocations);
	EXPECT_EQ(20000, stats.releases);
	EXPECT_EQ(0, stats.current_bytes);
	EXPECT_LE(4096, stats.peak_bytes);
	EXPECT_EQ(0, stats.bad_releases);
}

/* What one thread allocates, another gives back, all of it at a time. */
struct tide {
	struct mempool *pool;
	pthread_barrier_t turn;
	unsigned int rounds, nr;
	size_t size;
	void *ptrs[1536];
	unsigned int wrong;
	uint64_t between;	/* bytes in the depot when all are back */
};

static void *ebb(void *arg)
{
	struct tide *tide = arg;
	unsigned int i, round;

	for (round = 0; round < tide->rounds; round++) {
		pthread_barrier_wait(&tide->turn);
		for (i = 0; i < tide->nr; i++)
			tide->wrong += mempool_release(tide->pool, tide->ptrs[i]) != 0;
		tide->between = tide->pool->cache.depot_bytes;
		pthread_barrier_wait(&tide->turn);
	}
	pthread_barrier_wait(&tide->turn);	/* a thread's end is a command */
	return NULL;
}

static unsigned int commands_of_tide(struct tide *tide, unsigned int warm)
{
	unsigned int i, round, before = 0;
	pthread_t thread;

	pthread_barrier_init(&tide->turn, NULL, 2);
	pthread_create(&thread, NULL, ebb, tide);
	for (round = 0; round < tide->rounds; round++) {
		if (round == warm)
			before = commands;
		for (i = 0; i < tide->nr; i++) {
			tide->ptrs[i] = mempool_alloc(tide->pool, tide->size);
			tide->wrong += !tide->ptrs[i];
		}
		pthread_barrier_wait(&tide->turn);
		pthread_barrier_wait(&tide->turn);
	}
	i = commands - before;
	pthread_barrier_wait(&tide->turn);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&tide->turn);
	return i;
}

/* 6 MiB, of which a thread may keep 2 and the depot 8. */
TEST_F(threads, many_blocks_that_change_threads_send_no_command)
{
	static struct tide tide = { .rounds = 12, .nr = 1536, .size = 4096 };

	tide.pool = self->pool;
	EXPECT_EQ(0, commands_of_tide(&tide, 4));
	EXPECT_EQ(0, tide.wrong);
}

TEST_F(threads, a_thread_that_only_gives_back_keeps_little)
{
	static struct tide tide = { .rounds = 1, .nr = 50, .size = 102400 };

	self->opts.cache_bytes = 8 * MIB;	/* that much it might keep */
	ASSERT_EQ(0, open_counted(&tide.pool, &self->opts));
	commands_of_tide(&tide, 0);
	mempool_close(tide.pool);
	EXPECT_EQ(0, tide.wrong);
	EXPECT_LE(50 * 102400 - MIB, tide.between);
}

struct giver {
	struct mempool *pool;
	void *ptrs[24];
	unsigned int slots;
	bool wrong;
};

static void *take_24(void *arg)
{
	struct giver *g = arg;
	unsigned int i;

	for (i = 0; i < 24; i++)
		g->ptrs[i] = mempool_alloc(g->pool, 512000);
	return NULL;
}

static void *only_give_back(void *arg)
{
	struct giver *g = arg;
	unsigned int i, id = mp_track_look(g->pool, (char *)g->ptrs[0] -
					   g->pool->space.whole->addr);

	for (i = 0; i < 24; i++)
		g->wrong |= mempool_release(g->pool, g->ptrs[i]) != 0;
	g->slots = mp_magazine_slots(mp_thread_of(g->pool, false), id);
	return NULL;
}

/* Or it would go to the depot, and wait for its lock, for each one or two of them. */
TEST_F(threads, a_thread_that_only_gives_back_keeps_a_few_large_blocks)
{
	struct giver g = { .wrong = false };
	pthread_t thread;

	self->opts.cache_bytes = 16 * MIB;
	ASSERT_EQ(0, open_counted(&g.pool, &self->opts));
	/* The one that took them has ended, so they stay with this one. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_24, &g));
	pthread_join(thread, NULL);
	ASSERT_EQ(0, pthread_create(&thread, NULL, only_give_back, &g));
	pthread_join(thread, NULL);
	EXPECT_FALSE(g.wrong);
	EXPECT_EQ(8, g.slots);
	mempool_close(g.pool);
}

static void *churn(void *arg)
{
	struct job *job = arg;
	void *live[32] = { NULL };
	uint32_t i, step, size;

	for (step = 0; step < job->nr; step++) {
		i = next(&job->seed) % 32;
		if (live[i]) {
			memcpy(&size, live[i], 4);
			if (((char *)live[i])[size - 1] != (char)size)
				atomic_fetch_add(job->wrong, 1);
			/* Half of them are released by another thread. */
			if (step & 1)
				live[i] = (void *)atomic_exchange(&job->ring[i], (uintptr_t)live[i]);
			if (live[i] && mempool_release(job->pool, live[i]))
				atomic_fetch_add(job->wrong, 1);
		}
		size = 8 + next(&job->seed) % (step % 64 ? 12000 : 900000);
		live[i] = mempool_alloc(job->pool, size);
		if (live[i]) {
			memcpy(live[i], &size, 4);
			((char *)live[i])[size - 1] = size;
		}
		if (step % 5000 == 4999)
			mempool_trim(job->pool);
	}
	for (i = 0; i < 32; i++)
		if (live[i] && mempool_release(job->pool, live[i]))
			atomic_fetch_add(job->wrong, 1);
	return NULL;
}

TEST_F(threads, many_threads_keep_their_marks_and_the_books)
{
	static atomic_uintptr_t ring[32];
	atomic_uint wrong = 0;
	struct job jobs[4];
	struct mempool_stats stats;
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++) {
		jobs[i] = (struct job) { .pool = self->pool, .ring = ring, .wrong = &wrong,
					 .nr = 20000, .seed = i + 1 };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn, &jobs[i]));
	}
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < 32; i++)
		EXPECT_EQ(0, mempool_release(self->pool, (void *)atomic_load(&ring[i])));
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, mempool_flush(self->pool));
	stats = stats_of(self->pool);
	EXPECT_EQ(stats.total_allocations, stats.releases);
	EXPECT_EQ(0, stats.bad_releases);
	EXPECT_EQ(0, held_bytes(self->pool));
}

static void *fill_and_wait(void *arg)
{
	struct job *job = arg;
	void *ptrs[256];

	mempool_alloc_bulk(job->pool, 4096, ptrs, 256);
	mempool_release_bulk(job->pool, ptrs, 256);
	pthread_barrier_wait(job->barrier);
	pthread_barrier_wait(job->barrier);
	/* At its next operation. */
	mempool_release(job->pool, mempool_alloc(job->pool, 4096));
	pthread_barrier_wait(job->barrier);
	pthread_barrier_wait(job->barrier);
	return NULL;
}

TEST_F(threads, trim_calls_other_threads_blocks_back)
{
	pthread_barrier_t barrier;
	struct job job = { .pool = self->pool, .barrier = &barrier };
	pthread_t thread;
	uint64_t held;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, fill_and_wait, &job);
	pthread_barrier_wait(&barrier);
	ASSERT_EQ(0, mempool_trim(self->pool));
	held = held_bytes(self->pool);
	EXPECT_LT(100 * 4096, held);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	EXPECT_GT(20 * 4096, held_bytes(self->pool));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, held_bytes(self->pool));
}

static void *outlive(void *arg)
{
	struct job *job = arg;
	struct mempool *other;

	mempool_release(job->pool, mempool_alloc(job->pool, 1000));
	pthread_barrier_wait(job->barrier);
	/* The session is closed by the other thread here. */
	pthread_barrier_wait(job->barrier);
	if (open_counted(&other, NULL))
		return (void *)1;
	if (mempool_release(other, mempool_alloc(other, 1000)))
		return (void *)2;
	mempool_close(other);
	return NULL;
}

struct moving {
	struct mempool *pool;
	struct mp_thread *t;
	pthread_barrier_t barrier;
};

static void *change_a_magazine(void *arg)
{
	struct moving *m = arg;
	unsigned int id = mp_track_id(m->pool, mp_bucket_key(1024, false));

	mempool_release(m->pool, mempool_alloc(m->pool, 1024));
	m->t = mp_thread_of(m->pool, false);
	pthread_barrier_wait(&m->barrier);
	pthread_barrier_wait(&m->barrier);
	/* As if it were interrupted in the middle of it, with blocks in no array. */
	m->t->cold[id].changes++;
	m->t->hot.tops[id] += 5;
	pthread_barrier_wait(&m->barrier);
	pthread_barrier_wait(&m->barrier);
	m->t->hot.tops[id] -= 5;
	m->t->cold[id].changes++;
	return NULL;
}

struct one {
	struct mempool *pool;
	size_t size;
	void *ptr;
};

static void *take_one(void *arg)
{
	struct one *one = arg;

	one->ptr = mempool_alloc(one->pool, one->size);
	return NULL;
}

static uintptr_t line_of(struct mempool *pool, const void *ptr)
{
	const struct mempool_thread *t = &mp_thread_of(pool, true)->hot;

	return (uintptr_t)&t->places[((uintptr_t)ptr - t->base) >> pool->track.shift] / 64;
}

/* Each writes to the table for each block that it takes or gives back. */
TEST_F(threads, blocks_of_two_threads_do_not_share_a_cache_line_of_the_table)
{
	static const size_t sizes[] = { 1, 1025, 2049, 4000, 5000, 10000, 100000 };
	struct one one = { .pool = self->pool };
	unsigned int i;
	pthread_t thread;
	void *ptr;

	for (i = 0; i < 7; i++) {
		ptr = mempool_alloc(self->pool, sizes[i]);
		one.size = sizes[i];
		ASSERT_EQ(0, pthread_create(&thread, NULL, take_one, &one));
		pthread_join(thread, NULL);
		ASSERT_NE(NULL, one.ptr);
		EXPECT_NE(line_of(self->pool, ptr), line_of(self->pool, one.ptr));
	}
}

TEST_F(threads, a_magazine_that_is_being_changed_is_not_counted)
{
	struct moving m = { .pool = self->pool };
	pthread_t thread;

	pthread_barrier_init(&m.barrier, NULL, 2);
	ASSERT_EQ(0, pthread_create(&thread, NULL, change_a_magazine, &m));
	pthread_barrier_wait(&m.barrier);
	EXPECT_EQ(1, stats_of(self->pool).releases);
	pthread_barrier_wait(&m.barrier);
	pthread_barrier_wait(&m.barrier);
	EXPECT_EQ(1, stats_of(self->pool).releases);
	pthread_barrier_wait(&m.barrier);
	pthread_join(thread, NULL);
	EXPECT_EQ(1, stats_of(self->pool).releases);
	pthread_barrier_destroy(&m.barrier);
}

TEST_F(threads, a_thread_outlives_the_session_it_had_a_cache_of)
{
	pthread_barrier_t barrier;
	struct job job = { .barrier = &barrier };
	pthread_t thread;
	void *result;

	ASSERT_EQ(0, open_counted(&job.pool, &self->opts));
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, outlive, &job);
	pthread_barrier_wait(&barrier);
	mempool_close(job.pool);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, &result);
	EXPECT_EQ(NULL, result);
}

TEST_F(threads, one_thread_uses_many_sessions_in_turn)
{
	struct mempool *pools[5];
	void *ptrs[5];
	int i, round;

	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, open_counted(&pools[i], &self->opts));
	for (round = 0; round < 100; round++) {
		for (i = 0; i < 5; i++)
			ptrs[i] = mempool_alloc_inline(pools[i], 1000 + 1000 * i);
		for (i = 0; i < 5; i++)
			ASSERT_EQ(-EINVAL, mempool_release_inline(pools[i], ptrs[(i + 1) % 5]));
		for (i = 0; i < 5; i++)
			ASSERT_EQ(0, mempool_release_inline(pools[i], ptrs[i]));
	}
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(100, stats_of(pools[i]).releases);
		mempool_close(pools[i]);
	}
}

TEST(opening_and_closing_again_and_again_keeps_one_cache)
{
	struct mempool *pool;
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, open_counted(&pool, NULL));
		ASSERT_EQ(0, mempool_release(pool, mempool_alloc(pool, 1000)));
		mempool_close(pool);
	}
}

/* ---- fork -------------------------------------------------------------------- */

static int child(struct mempool *pool, void *ptr)
{
	struct mempool *own;
	void *mine;

	if (mempool_alloc_inline(pool, 1000) || errno != EPERM)
		return 1;
	if (mempool_alloc(pool, 1000) || errno != EPERM)
		return 2;
	if (mempool_release_inline(pool, ptr) != -EPERM || mempool_release(pool, ptr) != -EPERM)
		return 3;
	if (mempool_flush(pool) != -EPERM || mempool_usable_size(pool, ptr) != 1024)
		return 4;
	if (open_counted(&own, NULL))
		return 5;
	mine = mempool_alloc_inline(own, 1000);
	if (!mine || mempool_release_inline(own, mine))
		return 6;
	mempool_close(own);
	mempool_close(pool);
	return 0;
}

TEST_F(threads, a_child_is_refused_and_has_caches_of_its_own)
{
	void *ptr = mempool_alloc(self->pool, 1000);
	int status;
	pid_t pid;

	mempool_release(self->pool, mempool_alloc(self->pool, 1000));
	pid = fork();
	if (!pid)
		_exit(child(self->pool, ptr));
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(0, stats_of(self->pool).bad_releases);
}

TEST_HARNESS_MAIN
