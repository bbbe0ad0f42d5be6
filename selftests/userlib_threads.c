// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * libmempool from many threads: each marks its blocks at both ends and checks
 * the marks before it gives them back, or another does for it.
 */
// also: 32-bit
#include "mp_userlib.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS	4
#define ROUNDS	4000
#define LIVE	16

struct stage {
	struct mempool *pool;
	struct mempool_blocks *blocks;
	atomic_uintptr_t slots[LIVE];	/* blocks on their way to another thread */
	atomic_uint wrong;
	atomic_uint failed;
	atomic_uint serial;
};

struct worker {
	struct stage *stage;
	uint32_t seed;
};

struct mark {
	uint32_t serial;
	uint32_t size;
};

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 8;
}

static void put_mark(struct stage *s, void *ptr, uint32_t size)
{
	struct mark mark = { atomic_fetch_add(&s->serial, 1), size };

	memcpy(ptr, &mark, sizeof(mark));
	memcpy((char *)ptr + size - sizeof(mark), &mark, sizeof(mark));
}

static void check_mark(struct stage *s, void *ptr)
{
	struct mark head, tail;

	memcpy(&head, ptr, sizeof(head));
	memcpy(&tail, (char *)ptr + head.size - sizeof(tail), sizeof(tail));
	if (memcmp(&head, &tail, sizeof(head)) ||
	    mempool_usable_size(s->pool, ptr) != mempool_round_to_bucket(s->pool, head.size))
		s->wrong++;
}

static void give(struct stage *s, void *ptr)
{
	if (!ptr)
		return;
	check_mark(s, ptr);
	if (mempool_release(s->pool, ptr))
		s->failed++;
}

static void *churn(void *arg)
{
	struct worker *w = arg;
	struct stage *s = w->stage;
	void *mine[LIVE] = { NULL }, *ptr;
	uint32_t i, round, size, rounds = mp_rounds(ROUNDS);

	for (round = 0; round < rounds; round++) {
		size = 16 + next(&w->seed) % (round % 50 ? 20000 : 1500000);
		i = next(&w->seed) % LIVE;
		ptr = mempool_alloc(s->pool, size);
		if (ptr)
			put_mark(s, ptr, size);
		else if (errno != ENOMEM && errno != EDQUOT)
			s->failed++;
		if (round % 3) {
			give(s, mine[i]);
			mine[i] = ptr;
		} else {
			give(s, (void *)atomic_exchange(&s->slots[i], (uintptr_t)ptr));
		}
	}
	for (i = 0; i < LIVE; i++)
		give(s, mine[i]);
	return NULL;
}

static void *issue(void *arg)
{
	struct worker *w = arg;
	struct stage *s = w->stage;
	uint32_t round, mark, nr, rounds = mp_rounds(ROUNDS);
	unsigned int indices[8], i;
	uint32_t *ptrs[8];

	for (round = 0; round < rounds; round++) {
		nr = 1 + next(&w->seed) % 8;
		if (mempool_get_blocks(s->blocks, (void **)ptrs, indices, nr))
			continue;
		mark = atomic_fetch_add(&s->serial, 1);
		for (i = 0; i < nr; i++)
			ptrs[i][0] = ptrs[i][63] = mark;
		for (i = 0; i < nr; i++)
			if (ptrs[i][0] != mark || ptrs[i][63] != mark)
				s->wrong++;
		if (mempool_return_blocks(s->blocks, indices, nr))
			s->failed++;
	}
	return NULL;
}

static void *trim_and_look(void *arg)
{
	struct worker *w = arg;
	struct mempool_stats stats;
	int i;

	for (i = 0; i < 200; i++) {
		if (mempool_trim(w->stage->pool))
			w->stage->failed++;
		if (mempool_get_stats(w->stage->pool, &stats, sizeof(stats)))
			w->stage->failed++;
		sched_yield();
	}
	return NULL;
}

FIXTURE(threads) {
	struct stage stage;
};

FIXTURE_VARIANT(threads) {
	bool windows;
};

FIXTURE_VARIANT_ADD(threads, mapped_whole) {
	.windows = false,
};

FIXTURE_VARIANT_ADD(threads, in_windows) {
	.windows = true,
};

FIXTURE_SETUP(threads)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	if (variant->windows) {
		struct mempool *whole;
		unsigned int nr;
		unsigned long long space;

		/* Stacks, and less than the space. */
		ASSERT_EQ(0, mempool_open(&whole, NULL));
		space = mp_mappings(&nr);
		mempool_close(whole);
		ASSERT_EQ(0, mp_limit_addresses(space - (1 << 20)));
	}
	ASSERT_EQ(0, mempool_open(&self->stage.pool, NULL));
	ASSERT_EQ(0, mp_blocks_new(&self->stage.blocks, self->stage.pool, 256, 20, NULL, 0));
}

FIXTURE_TEARDOWN(threads)
{
	mempool_blocks_close(self->stage.blocks);
	mempool_close(self->stage.pool);
	EXPECT_TRUE(mp_settled());
}

static int run(struct stage *stage, void *(*fn)(void *), void *(*other)(void *))
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	pthread_attr_t attr;
	int i, ret = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker) { stage, 1 + i };
		ret |= pthread_create(&threads[i], &attr, i ? fn : other, &workers[i]);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return ret;
}

TEST_F(threads, buckets_keep_their_marks)
{
	struct mempool_stats stats;
	unsigned int i;

	ASSERT_EQ(0, run(&self->stage, churn, churn));
	for (i = 0; i < LIVE; i++)
		give(&self->stage, (void *)atomic_load(&self->stage.slots[i]));
	EXPECT_EQ(0, self->stage.wrong);
	EXPECT_EQ(0, self->stage.failed);
	stats = mp_stats(self->stage.pool);
	EXPECT_EQ(stats.total_allocations, stats.releases);
	EXPECT_EQ(0, stats.currently_allocated);
	EXPECT_EQ(0, stats.bad_releases);
}

TEST_F(threads, buckets_keep_their_marks_while_one_trims)
{
	unsigned int i;

	ASSERT_EQ(0, run(&self->stage, churn, trim_and_look));
	for (i = 0; i < LIVE; i++)
		give(&self->stage, (void *)atomic_load(&self->stage.slots[i]));
	EXPECT_EQ(0, self->stage.wrong);
	EXPECT_EQ(0, self->stage.failed);
	EXPECT_EQ(0, mp_stats(self->stage.pool).currently_allocated);
}

TEST_F(threads, block_pools_keep_their_marks)
{
	struct mempool_blocks_stats stats;

	ASSERT_EQ(0, run(&self->stage, issue, issue));
	EXPECT_EQ(0, self->stage.wrong);
	EXPECT_EQ(0, self->stage.failed);
	stats = mp_blocks_stats(self->stage.blocks);
	EXPECT_EQ(stats.gets, stats.returns);
	EXPECT_EQ(0, stats.issued);
	EXPECT_EQ(0, stats.bad_returns);
}

static void *open_and_close(void *arg)
{
	struct worker *w = arg;
	struct mempool *pool;
	int i;

	for (i = 0; i < 50; i++) {
		if (mempool_open(&pool, NULL)) {
			w->stage->failed++;
			continue;
		}
		if (!mempool_alloc(pool, 1000))
			w->stage->failed++;
		mempool_close(pool);
	}
	return NULL;
}

TEST_F(threads, sessions_come_and_go)
{
	if (variant->windows)
		return;		/* four spaces are not what the limit is for */
	ASSERT_EQ(0, run(&self->stage, open_and_close, open_and_close));
	EXPECT_EQ(0, self->stage.failed);
}

TEST_HARNESS_MAIN
