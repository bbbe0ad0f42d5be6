// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Blocks that one thread takes and another releases, over the in-process device, whose
 * commands are counted: they go back to the first, on a way that is bounded, counted
 * and given up when others need the memory.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "counted.h"

#define NR	300

FIXTURE(remote) {
	struct mempool *pool;
	struct mempool_options opts;
};

FIXTURE_SETUP(remote)
{
	self->opts = (struct mempool_options) MEMPOOL_OPTIONS_INIT;
	self->opts.cache_bytes = 8 * MIB;
	ASSERT_EQ(0, open_counted(&self->pool, &self->opts));
}

FIXTURE_TEARDOWN(remote)
{
	mempool_close(self->pool);
}

/* A thread that does what it is told, one thing after the other. */
struct worker {
	pthread_t thread;
	pthread_barrier_t turn;
	void (*what)(struct worker *w);	/* NULL: end */
	struct mempool *pool;
	size_t size;
	unsigned int nr;
	unsigned int bad;
	int result;
	void *ptrs[NR];
};

static void *work(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		pthread_barrier_wait(&w->turn);
		if (!w->what)
			return NULL;
		w->what(w);
		pthread_barrier_wait(&w->turn);
	}
}

static void begin(struct worker *w, struct mempool *pool)
{
	w->pool = pool;
	pthread_barrier_init(&w->turn, NULL, 2);
	if (pthread_create(&w->thread, NULL, work, w))
		abort();
}

static void tell(struct worker *w, void (*what)(struct worker *w), size_t size, unsigned int nr)
{
	w->what = what;
	w->size = size;
	w->nr = nr;
	pthread_barrier_wait(&w->turn);
	pthread_barrier_wait(&w->turn);
}

static void end(struct worker *w)
{
	w->what = NULL;
	pthread_barrier_wait(&w->turn);
	pthread_join(w->thread, NULL);
	pthread_barrier_destroy(&w->turn);
}

static void take(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < w->nr; i++) {
		w->ptrs[i] = mempool_alloc(w->pool, w->size);
		w->bad += !w->ptrs[i];
	}
}

static void release(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < w->nr; i++)
		w->bad += mempool_release(w->pool, w->ptrs[i]) != 0;
}

static void release_in_bulk(struct worker *w)
{
	w->bad += mempool_release_bulk(w->pool, w->ptrs, w->nr) != 0;
}

static void release_twice(struct worker *w)
{
	w->result = mempool_release(w->pool, w->ptrs[0]);
	if (!w->result)
		w->result = mempool_release(w->pool, w->ptrs[0]);
}

static void one_operation(struct worker *w)
{
	mempool_release(w->pool, mempool_alloc(w->pool, w->size));
}

static bool among(const void *ptr, void *const *ptrs, unsigned int nr)
{
	while (nr--)
		if (ptrs[nr] == ptr)
			return true;
	return false;
}

static uint64_t in_inboxes(struct mempool *pool)
{
	unsigned int number, id;
	uint64_t nr = 0;

	for (number = 0; number < MP_NR_NUMBERS; number++)
		for (id = 0; pool->cache.inboxes[number] && id < MP_FIRST_POOL; id++)
			nr += pool->cache.inboxes[number]->depots[id].nr;
	return nr;
}

/* Free blocks that this thread has. */
static unsigned int kept(struct mempool *pool, const void *like)
{
	struct mp_thread *t = mp_thread_of(pool, true);

	return mp_magazine_count(t, mp_track_look(pool, (uintptr_t)like - t->hot.base) &
				 ~MP_ID_CACHED);
}

/*
 * What this thread takes, the worker releases, and this thread gets it again, after
 * what it has. False: not all of it, or the device was asked.
 */
static bool come_back(struct mempool *pool, void (*how)(struct worker *w), size_t size,
		      unsigned int nr)
{
	static struct worker w;
	void *again[NR];
	unsigned int i, before, back = 0;

	w = (struct worker) { 0 };
	begin(&w, pool);
	tell(&w, one_operation, 200000, 1);	/* a cache, without blocks of the size */
	for (i = 0; i < nr; i++)
		w.ptrs[i] = mempool_alloc(pool, size);
	back = kept(pool, w.ptrs[0]);
	tell(&w, how, size, nr);
	before = commands;
	end(&w);
	for (i = 0; i < nr; i++) {
		again[i] = mempool_alloc(pool, size);
		back += among(again[i], w.ptrs, nr);
	}
	mempool_release_bulk(pool, again, nr);
	/* The thread's end takes some: its other blocks, and the counters. */
	return !w.bad && commands <= before + 3 && back >= nr;
}

TEST_F(remote, blocks_go_back_to_the_thread_that_took_them)
{
	EXPECT_TRUE(come_back(self->pool, release, 4096, NR));
	EXPECT_TRUE(come_back(self->pool, release_in_bulk, 4096, NR));
	EXPECT_TRUE(come_back(self->pool, release, 300000, 9));
	EXPECT_EQ(0, stats_of(self->pool).bad_releases);
}

static uintptr_t line_of(const struct mempool_thread *t, const void *ptr)
{
	return (uintptr_t)&t->places[((uintptr_t)ptr - t->base) >> MEMPOOL_UNIT_SHIFT] / 64;
}

/* How many of the blocks that two threads have are told of in lines that both write. */
static unsigned int shared_lines(struct mempool *pool, void *const a[NR], void *const b[NR])
{
	const struct mempool_thread *t = &mp_thread_of(pool, true)->hot;
	unsigned int i, k, shared = 0;

	for (i = 0; i < NR; i++) {
		for (k = 0; k < NR && line_of(t, a[i]) != line_of(t, b[k]); k++)
			;
		shared += k < NR;
	}
	return shared;
}

/* Release each block, which the other thread took, and take one of this thread's. */
static void replace(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < w->nr; i++) {
		w->bad += mempool_release(w->pool, w->ptrs[i]) != 0;
		w->ptrs[i] = mempool_alloc(w->pool, w->size);
		w->bad += !w->ptrs[i];
	}
}

/*
 * Two threads that exchange half of their blocks again and again, as in Larson's
 * benchmark, still write to lines of their own.
 */
TEST_F(remote, threads_that_exchange_their_blocks_keep_to_lines_of_their_own)
{
	static struct worker a, b;
	unsigned int i, round;
	uint32_t seed = 1;
	void *ptr;

	begin(&a, self->pool);
	begin(&b, self->pool);
	tell(&a, take, 1024, NR);
	tell(&b, take, 1024, NR);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < NR; i++) {
			if (next(&seed) % 2)
				continue;
			ptr = a.ptrs[i];
			a.ptrs[i] = b.ptrs[i];
			b.ptrs[i] = ptr;
		}
		tell(&a, replace, 1024, NR);
		tell(&b, replace, 1024, NR);
	}
	EXPECT_GE(NR / 8, shared_lines(self->pool, a.ptrs, b.ptrs));
	tell(&a, release, 1024, NR);
	tell(&b, release, 1024, NR);
	EXPECT_EQ(0, a.bad + b.bad);
	end(&a);
	end(&b);
	EXPECT_EQ(0, stats_of(self->pool).current_bytes);
}

/* Wherever they are: with the thread that released them, or waiting for this one. */
TEST_F(remote, blocks_on_their_way_are_free_and_counted_once)
{
	static struct worker w;
	struct mempool_stats stats;
	unsigned int nr;

	begin(&w, self->pool);
	for (nr = 0; nr < NR; nr++)
		w.ptrs[nr] = mempool_alloc(self->pool, 4096);
	EXPECT_EQ(NR * 4096, stats_of(self->pool).current_bytes);
	for (nr = 0; nr < NR; nr += 100) {
		tell(&w, release, 4096, 100);
		memmove(w.ptrs, w.ptrs + 100, (NR - 100) * sizeof(w.ptrs[0]));
		stats = stats_of(self->pool);
		EXPECT_EQ((NR - 100 - nr) * 4096, stats.current_bytes);
		EXPECT_EQ(NR, stats.total_allocations);
		EXPECT_EQ(nr + 100, stats.releases);
	}
	EXPECT_LT(0, in_inboxes(self->pool));
	EXPECT_LT(in_inboxes(self->pool), NR);	/* some have not been delivered */
	end(&w);
	EXPECT_EQ(MIB / 4096, in_inboxes(self->pool));	/* and the rest in the depot */
	EXPECT_EQ(NR, stats_of(self->pool).releases);
	EXPECT_EQ(0, stats_of(self->pool).current_bytes);
	EXPECT_EQ(0, w.bad);
	EXPECT_EQ(0, mempool_flush(self->pool));
	EXPECT_EQ(0, in_inboxes(self->pool));
	EXPECT_EQ(0, held_bytes(self->pool));
}

TEST_F(remote, a_block_on_its_way_is_not_released_again)
{
	static struct worker w;
	void *ptr = mempool_alloc(self->pool, 1024);

	begin(&w, self->pool);
	w.ptrs[0] = ptr;
	tell(&w, release_twice, 1024, 1);
	EXPECT_EQ(-ENOENT, w.result);
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, ptr));
	end(&w);
	EXPECT_EQ(-ENOENT, mempool_release(self->pool, ptr));
	EXPECT_EQ(3, stats_of(self->pool).bad_releases);
	EXPECT_EQ(1, stats_of(self->pool).releases);
}

/* What waits for a thread that needs none is bounded; the rest is for who comes first. */
TEST_F(remote, a_thread_that_takes_no_more_does_not_keep_what_others_release)
{
	static struct worker w;
	unsigned int before, i;

	begin(&w, self->pool);
	for (i = 0; i < NR; i++)
		w.ptrs[i] = mempool_alloc(self->pool, 20000);	/* 20 KiB: 51 in 1 MiB */
	tell(&w, release, 20000, NR);
	EXPECT_EQ(0, w.bad);
	EXPECT_EQ(MIB / 20480, in_inboxes(self->pool));
	before = commands;
	tell(&w, take, 20000, NR - 2 * (MIB / 20480) - 1);	/* as many are in its outbox */
	EXPECT_EQ(before, commands);
	tell(&w, release, 20000, w.nr);
	end(&w);
}

/* A thread releases 1 MiB of each of up to 9 sizes, which this one took and does not fetch. */
static void leave_unread(struct mempool *pool, unsigned int nr_sizes)
{
	static const size_t sizes[] = { 4096, 5120, 6144, 7168, 8192, 9216, 10240, 20480, 30720 };
	static void *ptrs[9][NR];
	static struct worker w;
	unsigned int i, k, nr;

	begin(&w, pool);
	for (k = 0; k < nr_sizes; k++)
		for (i = 0; i < MIB / sizes[k] + 1; i++)
			ptrs[k][i] = mempool_alloc(pool, sizes[k]);
	for (k = 0; k < nr_sizes; k++) {
		nr = MIB / sizes[k] + 1;
		memcpy(w.ptrs, ptrs[k], nr * sizeof(w.ptrs[0]));
		tell(&w, release, sizes[k], nr);
	}
	end(&w);
}

TEST_F(remote, others_take_what_a_thread_does_not_fetch_for_long)
{
	static struct worker w;
	unsigned int before;

	leave_unread(self->pool, 7);
	begin(&w, self->pool);
	tell(&w, one_operation, 100000, 1);
	EXPECT_LT(1000, in_inboxes(self->pool));
	before = commands;
	tell(&w, take, 4096, 200);
	EXPECT_EQ(before, commands);
	tell(&w, release, 4096, 200);
	EXPECT_EQ(0, w.bad);
	end(&w);
}

/* Of 9 MiB 8 are all that may lie between threads, and then nothing would find room. */
TEST_F(remote, what_is_not_fetched_does_not_keep_others_from_exchanging)
{
	static struct worker a, b;
	unsigned int round, before = 0;

	leave_unread(self->pool, 9);
	begin(&a, self->pool);
	begin(&b, self->pool);
	for (round = 0; round < 40; round++) {
		if (round == 20)
			before = commands;
		tell(&a, take, 30720, 100);
		memcpy(b.ptrs, a.ptrs, sizeof(a.ptrs));
		tell(&b, release, 30720, 100);
	}
	EXPECT_EQ(before, commands);
	EXPECT_EQ(0, a.bad + b.bad);
	end(&a);
	end(&b);
}

TEST_F(remote, blocks_of_a_thread_that_has_ended_stay_where_they_are_released)
{
	static struct worker w;
	unsigned int i, before;

	begin(&w, self->pool);
	tell(&w, take, 4096, 200);
	end(&w);
	EXPECT_EQ(0, mempool_release_bulk(self->pool, w.ptrs, 200));
	EXPECT_EQ(0, in_inboxes(self->pool));
	EXPECT_EQ(200, kept(self->pool, w.ptrs[0]));
	before = commands;
	for (i = 0; i < 200; i++)
		EXPECT_TRUE(among(mempool_alloc(self->pool, 4096), w.ptrs, 200));
	EXPECT_EQ(before, commands);
}

/* 62 MiB of 64 are asked for, and 5 of them wait in an inbox and the depot. */
TEST_F(remote, blocks_on_their_way_are_called_back_when_memory_is_short)
{
	static struct worker w;
	void *large;
	unsigned int i;

	begin(&w, self->pool);
	for (i = 0; i < 260; i++)	/* delivered in five times 52 */
		w.ptrs[i] = mempool_alloc(self->pool, 20480);
	tell(&w, release, 20480, 260);
	EXPECT_LT(0, in_inboxes(self->pool));
	large = mempool_alloc(self->pool, 62 * MIB);
	EXPECT_NE(NULL, large);
	EXPECT_EQ(0, in_inboxes(self->pool));
	EXPECT_EQ(0, mempool_release(self->pool, large));
	end(&w);
	EXPECT_EQ(0, w.bad);
}

static void see_outbox(struct worker *w)
{
	w->result = mp_thread_of(w->pool, true)->nr_outbox;
}

/* Others' blocks are all that it has, so only their release makes it answer. */
TEST_F(remote, an_outbox_is_emptied_when_its_thread_is_asked)
{
	static struct worker w;
	unsigned int i;

	begin(&w, self->pool);
	for (i = 0; i < 20; i++)
		w.ptrs[i] = mempool_alloc(self->pool, 20480);
	tell(&w, release, 20480, 10);
	tell(&w, see_outbox, 0, 0);
	EXPECT_EQ(10, w.result);
	EXPECT_EQ(0, mempool_trim(self->pool));
	memmove(w.ptrs, w.ptrs + 10, 10 * sizeof(w.ptrs[0]));
	tell(&w, release, 20480, 1);
	tell(&w, see_outbox, 0, 0);
	EXPECT_EQ(1, w.result);	/* that one */
	end(&w);
	for (i = 1; i < 10; i++)
		EXPECT_EQ(0, mempool_release(self->pool, w.ptrs[i]));
}

/* Take blocks until the magazine is empty. */
static void empty_magazine(struct worker *w)
{
	unsigned int i;

	for (i = 0; !i || kept(w->pool, w->ptrs[0]); i++)
		w->ptrs[i] = mempool_alloc(w->pool, w->size);
	w->nr = i;
}

/* Nothing that its magazines have would make it look up. */
TEST_F(remote, an_outbox_is_emptied_by_a_thread_that_has_all_it_needs)
{
	static struct worker w;
	void *ours[10], *own[NR];
	unsigned int i, nr;

	for (i = 0; i < 10; i++)
		ours[i] = mempool_alloc(self->pool, 20480);
	begin(&w, self->pool);
	tell(&w, empty_magazine, 1024, 0);
	nr = w.nr;
	memcpy(own, w.ptrs, sizeof(own));
	memcpy(w.ptrs, ours, sizeof(ours));
	tell(&w, release, 20480, 10);
	EXPECT_EQ(0, mempool_trim(self->pool));
	memcpy(w.ptrs, own, sizeof(own));
	tell(&w, release, 1024, nr);
	tell(&w, one_operation, 1024, 0);
	tell(&w, see_outbox, 0, 0);
	EXPECT_EQ(0, w.result);
	end(&w);
	EXPECT_EQ(0, w.bad);
}

static void release_and_end(struct worker *w)
{
	release(w);
	pthread_barrier_wait(&w->turn);
	usleep(3000);	/* the other is waiting by now, or will not have to */
	pthread_exit(NULL);
}

/* What it had not delivered comes to who waits for it, as memory. */
TEST_F(remote, a_thread_that_ends_answers_who_waits_for_its_blocks)
{
	static struct worker w;
	struct mempool *pool;
	unsigned int i, nr;
	void *ptrs[20], *large;

	self->opts.cache_bytes = 64 * MIB;
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	for (nr = 0; nr < 20 && (ptrs[nr] = mempool_alloc(pool, 4 * MIB)); nr++)
		;
	ASSERT_LT(3, nr);
	begin(&w, pool);
	tell(&w, one_operation, 1024, 0);
	memcpy(w.ptrs, ptrs, 3 * sizeof(ptrs[0]));
	tell(&w, release_and_end, 0, 3);
	large = mempool_alloc(pool, 8 * MIB);
	EXPECT_NE(NULL, large);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.bad);
	for (i = 3; i < nr; i++)
		EXPECT_EQ(0, mempool_release(pool, ptrs[i]));
	EXPECT_EQ(0, mempool_release(pool, large));
	mempool_close(pool);
}

static void release_without_a_cache(struct worker *w)
{
	w->pool->cache.ready = false;	/* as if there were no memory for one */
	w->result = mempool_release(w->pool, w->ptrs[0]);
	w->pool->cache.ready = true;
}

TEST_F(remote, a_thread_without_a_cache_releases_no_block_twice)
{
	static struct worker w;
	void *ptr = mempool_alloc(self->pool, 1024);

	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	begin(&w, self->pool);
	w.ptrs[0] = ptr;
	tell(&w, release_without_a_cache, 0, 0);
	end(&w);
	EXPECT_EQ(-ENOENT, w.result);
	EXPECT_EQ(1, stats_of(self->pool).bad_releases);
	EXPECT_EQ(1, stats_of(self->pool).releases);
}

/* 32 KiB are all that a thread may keep, what it has not delivered among them. */
TEST_F(remote, what_waits_to_be_delivered_counts_as_kept)
{
	static struct worker w;
	struct mempool *pool;
	unsigned int i;

	self->opts.cache_bytes = 32 * 1024;
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	begin(&w, pool);
	for (i = 0; i < 100; i++)
		w.ptrs[i] = mempool_alloc(pool, 1024);
	tell(&w, release, 1024, 100);
	tell(&w, see_outbox, 0, 0);
	EXPECT_GE(32, w.result);
	end(&w);
	EXPECT_EQ(0, w.bad);
	mempool_close(pool);
}

/* A quarter of 16 MiB: two blocks, where eight would wait if they were smaller. */
TEST_F(remote, large_blocks_do_not_wait_with_a_sleeper)
{
	static struct worker w;
	struct mempool *pool;
	unsigned int i;

	self->opts.cache_bytes = 16 * MIB;
	ASSERT_EQ(0, open_counted(&pool, &self->opts));
	begin(&w, pool);
	for (i = 0; i < 7; i++)
		w.ptrs[i] = mempool_alloc(pool, 2 * MIB);
	tell(&w, release, 0, 7);
	tell(&w, see_outbox, 0, 0);
	EXPECT_EQ(1, w.result);
	EXPECT_GE(2, in_inboxes(pool));
	end(&w);
	EXPECT_EQ(0, w.bad);
	mempool_close(pool);
}

#define MANY	300

static pthread_barrier_t all_there;

static void *numbered(void *arg)
{
	struct worker *w = arg;

	w->ptrs[0] = mempool_alloc(w->pool, 1024);
	w->bad = !w->ptrs[0];
	w->result = mempool_thread_1->number;
	pthread_barrier_wait(&all_there);
	return NULL;
}

/* Those beyond the last number share it, and keep what they release. */
TEST_F(remote, there_may_be_more_threads_than_numbers)
{
	static struct worker w[MANY];
	unsigned int i, without = 0;

	pthread_barrier_init(&all_there, NULL, MANY);
	for (i = 0; i < MANY; i++) {
		w[i].pool = self->pool;
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, numbered, &w[i]));
	}
	for (i = 0; i < MANY; i++)
		pthread_join(w[i].thread, NULL);
	for (i = 0; i < MANY; i++) {
		EXPECT_EQ(0, w[i].bad);
		EXPECT_LT(0, w[i].result);
		without += w[i].result == MEMPOOL_NO_THREAD;
		EXPECT_EQ(0, mempool_release(self->pool, w[i].ptrs[0]));
	}
	EXPECT_EQ(MANY - 254, without);
	EXPECT_EQ(MANY, stats_of(self->pool).releases);
	pthread_barrier_destroy(&all_there);
}

TEST_HARNESS_MAIN
