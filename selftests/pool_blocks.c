// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit
/*
 * Private block pools: get, return, fragmentation, coalescing, reset. The
 * sequences are tables; a random one is compared with a model.
 */
#include "mp_proc.h"

#define POOL_MAX	64

/* A pool and what the test knows of it. */
struct pool {
	int fd;
	__u32 handle, n;
	struct mempool_token token[POOL_MAX];	/* the last one of each index */
	bool held[POOL_MAX];
};

static int pool_make(struct pool *p, int fd, __u32 n)
{
	struct mempool_pool_create arg;
	int ret = _test_pool_create(fd, NULL, 4096, n, 0, 0, &arg);

	memset(p, 0, sizeof(*p));
	p->fd = fd;
	p->handle = arg.pool;
	p->n = n;
	return ret;
}

/* Take a block: its index, or -errno. */
static int pool_get(struct pool *p)
{
	struct mempool_token t;
	int ret = _test_pool_get(p->fd, p->handle, &t);

	if (ret)
		return ret;
	if (t.index >= p->n || p->held[t.index])
		return -EPROTO;		/* not ours to give */
	p->token[t.index] = t;
	p->held[t.index] = true;
	return t.index;
}

/*
 * Return block @index, free or not, by its present generation: 0 or -errno.
 * Whether an automatic coalesce ran is in *@coalesced.
 */
static int pool_return(struct pool *p, int index, __u32 *coalesced)
{
	struct mempool_token t = { .index = index };
	int ret;

	if (index >= 0 && index < (int)p->n) {
		t = p->token[index];
		t.index = index;
	}
	ret = _test_pool_batch(p->fd, MEMPOOL_IOC_POOL_RETURN, p->handle, &t, 1,
			       NULL, coalesced);
	if (!ret) {
		p->held[index] = false;
		p->token[index].generation++;
	}
	return ret;
}

/* The model: free blocks and gaps between them. */
static void pool_model(const struct pool *p, __u64 *nr_free, __u64 *gaps)
{
	int i, last = -1;

	*nr_free = 0;
	*gaps = 0;
	for (i = 0; i < (int)p->n; i++) {
		if (p->held[i])
			continue;
		if (last >= 0 && last != i - 1)
			++*gaps;
		last = i;
		++*nr_free;
	}
}

FIXTURE(session) {
	int fd;
	struct pool p;
	struct mempool_pool_stats st;
	__u32 c;
};

FIXTURE_SETUP(session)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(session)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

/* ---- sequences ------------------------------------------------------------------ */

enum op { DONE, GETS, RET, COALESCE, RESET };

/*
 * GETS: @arg blocks, the last one with result @result; RET: index @arg. After
 * the step: @frag percent of fragmentation in thousandths (-1: not looked at),
 * @issued blocks; @coalesced: an automatic coalesce has run.
 */
struct step {
	enum op op;
	int arg, result;
	int frag, issued;
	bool coalesced;
};

static const struct step gets_to_the_last[] = {
	{ GETS, 18, 0, 0, 18, 0 },
	{ GETS, 1, 0, 0, 19, 0 },
	{ GETS, 1, 0, 0, 20, 0 },
	{ GETS, 1, -ENOSPC, 0, 20, 0 },
	{ 0 }
};

static const struct step holes_at_every_second[] = {
	{ GETS, 10, 0, 0, 10, 0 },
	{ RET, 0, 0, 0, 9, 0 },
	{ RET, 2, 0, 100000, 8, 1 },
	{ RET, 4, 0, 100000, 7, 1 },
	{ RET, 6, 0, 100000, 6, 1 },
	{ RET, 1, 0, 50000, 5, 1 },
	{ RET, 3, 0, 20000, 4, 0 },
	{ RET, 5, 0, 0, 3, 0 },
	{ RET, 7, 0, 0, 2, 0 },
	{ RET, 9, 0, 12500, 1, 0 },
	{ 0 }
};

static const struct step exactly_the_threshold_from_below[] = {
	{ GETS, 12, 0, 0, 12, 0 },
	{ RET, 0, 0, 0, 11, 0 },
	{ RET, 1, 0, 0, 10, 0 },
	{ RET, 2, 0, 0, 9, 0 },
	{ RET, 3, 0, 0, 8, 0 },
	{ RET, 4, 0, 0, 7, 0 },
	{ RET, 6, 0, 20000, 6, 0 },
	{ RET, 11, 0, 33333, 5, 1 },
	{ RET, 9, 0, 42857, 4, 1 },
	{ 0 }
};

static const struct step exactly_the_threshold_from_above[] = {
	{ GETS, 8, 0, 0, 8, 0 },
	{ RET, 7, 0, 0, 7, 0 },
	{ RET, 5, 0, 100000, 6, 1 },
	{ RET, 4, 0, 50000, 5, 1 },
	{ RET, 3, 0, 33333, 4, 1 },
	{ RET, 2, 0, 25000, 3, 1 },
	{ RET, 1, 0, 20000, 2, 0 },
	{ 0 }
};

static const struct step scattered[] = {
	{ GETS, 20, 0, 0, 20, 0 },
	{ RET, 9, 0, 0, 19, 0 },
	{ RET, 2, 0, 100000, 18, 1 },
	{ RET, 7, 0, 100000, 17, 1 },
	{ RET, 1, 0, 66666, 16, 1 },
	{ RET, 5, 0, 75000, 15, 1 },
	{ COALESCE, 0, 0, 75000, 15, 0 },
	{ GETS, 5, 0, 0, 20, 0 },
	{ GETS, 1, -ENOSPC, 0, 20, 0 },
	{ 0 }
};

static const struct step out_of_range[] = {
	{ RET, -1, -ERANGE, 0, 0, 0 },
	{ RET, 5, -ERANGE, 0, 0, 0 },
	{ RET, 100, -ERANGE, 0, 0, 0 },
	{ GETS, 5, 0, 0, 5, 0 },
	{ RET, 4, 0, 0, 4, 0 },
	{ RET, -1, -ERANGE, 0, 4, 0 },
	{ 0 }
};

static const struct step returned_twice[] = {
	{ GETS, 5, 0, 0, 5, 0 },
	{ RET, 3, 0, 0, 4, 0 },
	{ RET, 3, -ENOENT, 0, 4, 0 },
	{ RET, 3, -ENOENT, 0, 4, 0 },
	{ 0 }
};

static const struct step never_issued[] = {
	{ RET, 0, -ENOENT, 0, 0, 0 },
	{ RET, 4, -ENOENT, 0, 0, 0 },
	{ 0 }
};

static const struct step exhausted_and_one_back[] = {
	{ GETS, 3, 0, 0, 3, 0 },
	{ GETS, 1, -ENOSPC, 0, 3, 0 },
	{ RET, 1, 0, 0, 2, 0 },
	{ GETS, 1, 0, 0, 3, 0 },
	{ GETS, 1, -ENOSPC, 0, 3, 0 },
	{ 0 }
};

static const struct step reset_with_holes[] = {
	{ GETS, 6, 0, 0, 6, 0 },
	{ RET, 0, 0, 0, 5, 0 },
	{ RET, 2, 0, 100000, 4, 1 },
	{ RET, 4, 0, 100000, 3, 1 },
	{ RESET, 0, 3, 0, 0, 0 },
	{ GETS, 6, 0, 0, 6, 0 },
	{ 0 }
};

static const struct step one_block_alone[] = {
	{ GETS, 1, 0, 0, 1, 0 },
	{ GETS, 1, -ENOSPC, 0, 1, 0 },
	{ RET, 0, 0, 0, 0, 0 },
	{ GETS, 1, 0, 0, 1, 0 },
	{ 0 }
};

FIXTURE(sequence) {
	int fd;
	struct pool p;
};

FIXTURE_VARIANT(sequence) {
	__u32 n;
	const struct step *steps;
};

#define SEQUENCE(name, count) \
	FIXTURE_VARIANT_ADD(sequence, name) { .n = count, .steps = name }

SEQUENCE(gets_to_the_last, 20);
SEQUENCE(holes_at_every_second, 10);
SEQUENCE(exactly_the_threshold_from_below, 12);
SEQUENCE(exactly_the_threshold_from_above, 8);
SEQUENCE(scattered, 20);
SEQUENCE(out_of_range, 5);
SEQUENCE(returned_twice, 5);
SEQUENCE(never_issued, 5);
SEQUENCE(exhausted_and_one_back, 3);
SEQUENCE(reset_with_holes, 6);
SEQUENCE(one_block_alone, 1);

FIXTURE_SETUP(sequence)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, pool_make(&self->p, self->fd, variant->n));
}

FIXTURE_TEARDOWN(sequence)
{
	close(self->fd);
	EXPECT_TRUE(mp_settled());
}

/* Run one step: its result; whether it coalesced in *@c. */
static int run_step(struct pool *p, const struct step *s, __u32 *c)
{
	int ret = 0, i;

	*c = 0;
	switch (s->op) {
	case GETS:
		for (i = 0; i < s->arg && ret >= 0; i++)
			ret = pool_get(p);
		return ret < 0 ? ret : 0;
	case RET:
		return pool_return(p, s->arg, c);
	case COALESCE:
		return _test_pool_coalesce(p->fd, p->handle, NULL);
	case RESET:
		ret = _test_pool_reset(p->fd, p->handle, 0);
		for (i = 0; i < (int)p->n; i++) {
			p->token[i].generation += p->held[i];
			p->held[i] = false;
		}
		return ret;
	case DONE:
		break;
	}
	return -EPROTO;
}

TEST_F(sequence, goes_as_tabulated)
{
	struct mempool_pool_stats st, before;
	const struct step *s;
	__u64 nr_free, gaps;
	__u32 c;
	int i;

	for (s = variant->steps, i = 0; s->op != DONE; s++, i++) {
		test_pool_stats(self->fd, self->p.handle, &before);
		ASSERT_EQ(s->result, run_step(&self->p, s, &c)) {
			TH_LOG("step %d", i);
		}
		test_pool_stats(self->fd, self->p.handle, &st);
		pool_model(&self->p, &nr_free, &gaps);
		ASSERT_EQ(s->issued, (int)st.issued) {
			TH_LOG("step %d", i);
		}
		ASSERT_EQ(nr_free, st.free);
		ASSERT_EQ(gaps, st.gaps);
		ASSERT_EQ(s->frag, (int)(st.free < 2 ? 0 :
			  st.gaps * 100000 / (st.free - 1))) {
			TH_LOG("step %d", i);
		}
		ASSERT_EQ(s->coalesced, c) {
			TH_LOG("step %d", i);
		}
		ASSERT_EQ(before.auto_coalesces + s->coalesced,
			  st.auto_coalesces);
		ASSERT_EQ(before.coalesces + s->coalesced +
			  (s->op == COALESCE), st.coalesces);
		ASSERT_EQ(0, st.disorder);
	}
}

TEST_F(session, five_gets_after_a_coalesce_give_the_five_free_blocks)
{
	static const int holes[] = { 9, 2, 7, 1, 5 };
	int i, seen = 0;

	ASSERT_EQ(0, pool_make(&self->p, self->fd, 20));
	for (i = 0; i < 20; i++)
		ASSERT_LE(0, pool_get(&self->p));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, pool_return(&self->p, holes[i], &self->c));
	ASSERT_EQ(0, _test_pool_coalesce(self->fd, self->p.handle, NULL));
	for (i = 0; i < 5; i++)
		seen |= 1 << pool_get(&self->p);
	EXPECT_EQ(1 << 9 | 1 << 2 | 1 << 7 | 1 << 1 | 1 << 5, seen);
}

TEST_F(session, efficiency_is_95_with_19_of_20_issued)
{
	int i;

	ASSERT_EQ(0, pool_make(&self->p, self->fd, 20));
	for (i = 0; i < 19; i++)
		ASSERT_LE(0, pool_get(&self->p));
	test_pool_stats(self->fd, self->p.handle, &self->st);
	EXPECT_EQ(950, self->st.issued * 1000 / self->st.nr_blocks);
}

TEST_F(session, every_block_can_be_issued)
{
	bool seen[POOL_MAX] = { false };
	int i, index;

	ASSERT_EQ(0, pool_make(&self->p, self->fd, POOL_MAX));
	for (i = 0; i < POOL_MAX; i++) {
		index = pool_get(&self->p);
		ASSERT_LE(0, index);
		ASSERT_FALSE(seen[index]);
		seen[index] = true;
	}
	EXPECT_EQ(-ENOSPC, pool_get(&self->p));
}

TEST_F(session, the_lowest_free_index_comes_first)
{
	int i;

	ASSERT_EQ(0, pool_make(&self->p, self->fd, 10));
	for (i = 0; i < 10; i++)
		ASSERT_EQ(i, pool_get(&self->p));
	ASSERT_EQ(0, pool_return(&self->p, 7, &self->c));
	ASSERT_EQ(0, pool_return(&self->p, 3, &self->c));
	EXPECT_EQ(3, pool_get(&self->p));
	EXPECT_EQ(7, pool_get(&self->p));
}

TEST_F(session, random_operations_agree_with_the_model)
{
	__u64 nr_free, gaps, over;
	unsigned int x = 12345;
	__u32 c;
	int i, index, ret;

	ASSERT_EQ(0, pool_make(&self->p, self->fd, POOL_MAX));
	for (i = 0; i < 3000; i++) {
		x = x * 1103515245 + 12345;
		index = x >> 16 & (POOL_MAX - 1);
		c = 0;
		if (x >> 30 & 1) {
			pool_model(&self->p, &nr_free, &gaps);
			ret = pool_get(&self->p);
			ASSERT_EQ(nr_free ? 0 : -ENOSPC, ret < 0 ? ret : 0);
		} else {
			ret = self->p.held[index] ? 0 : -ENOENT;
			ASSERT_EQ(ret, pool_return(&self->p, index, &c));
			pool_model(&self->p, &nr_free, &gaps);
			over = nr_free > 1 && gaps * 100 > 20 * (nr_free - 1);
			ASSERT_EQ(!ret && over, c);
		}
		pool_model(&self->p, &nr_free, &gaps);
		test_pool_stats(self->fd, self->p.handle, &self->st);
		ASSERT_EQ(nr_free, self->st.free);
		ASSERT_EQ(gaps, self->st.gaps);
	}
}

TEST_F(session, a_batch_coalesces_once_when_it_is_done)
{
	static const int holes[] = { 9, 2, 7, 1, 5 };
	struct mempool_token t[5];
	int i;

	ASSERT_EQ(0, pool_make(&self->p, self->fd, 20));
	for (i = 0; i < 20; i++)
		ASSERT_LE(0, pool_get(&self->p));
	for (i = 0; i < 5; i++)
		t[i] = self->p.token[holes[i]];
	ASSERT_EQ(0, _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_RETURN,
				      self->p.handle, t, 5, NULL, &self->c));
	EXPECT_EQ(1, self->c);
}

TEST_F(session, a_batch_that_makes_no_gap_does_not_coalesce)
{
	static const int order[] = { 9, 8, 7 };
	struct mempool_token t[3];
	int i;

	ASSERT_EQ(0, pool_make(&self->p, self->fd, 20));
	for (i = 0; i < 20; i++)
		ASSERT_LE(0, pool_get(&self->p));
	for (i = 0; i < 3; i++)
		t[i] = self->p.token[order[i]];
	ASSERT_EQ(0, _test_pool_batch(self->fd, MEMPOOL_IOC_POOL_RETURN,
				      self->p.handle, t, 3, NULL, &self->c));
	EXPECT_EQ(0, self->c);
}

TEST_HARNESS_MAIN
