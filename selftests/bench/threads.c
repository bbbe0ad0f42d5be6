// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Two threads: each with blocks of its own, and blocks that one takes and the other
 * gives back.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "worker.h"

#define RING	1024
#define BATCH	32

/* One producer, one consumer; each looks at the other's end only when it must. */
struct ring {
	_Alignas(128) atomic_ulong head;
	_Alignas(128) atomic_ulong tail;
	_Alignas(128) void *slot[RING];
};

static struct ring ring;

/* Blocks in flight, at most. */
static unsigned long room_for(size_t size)
{
	return size < 1 << 20 ? RING : 64;
}

/* Waiting must not take the processor from the other thread for long. */
static void relax(unsigned int *spins)
{
	if (++*spins % 1000)
		__builtin_ia32_pause();
	else
		sched_yield();
}

static void put(void **ptr, unsigned long nr, unsigned long size)
{
	unsigned long head = atomic_load_explicit(&ring.head, memory_order_relaxed);
	unsigned int spins = 0;

	while (head + nr - atomic_load_explicit(&ring.tail, memory_order_acquire) > size)
		relax(&spins);
	for (unsigned long i = 0; i < nr; i++)
		ring.slot[(head + i) % RING] = ptr[i];
	atomic_store_explicit(&ring.head, head + nr, memory_order_release);
}

static void get(void **ptr, unsigned long nr)
{
	unsigned long tail = atomic_load_explicit(&ring.tail, memory_order_relaxed);
	unsigned int spins = 0;

	while (atomic_load_explicit(&ring.head, memory_order_acquire) - tail < nr)
		relax(&spins);
	for (unsigned long i = 0; i < nr; i++)
		ptr[i] = ring.slot[(tail + i) % RING];
	atomic_store_explicit(&ring.tail, tail + nr, memory_order_release);
}

struct side {
	const struct request *r;
	long n;
	int bad;
	int (*work)(struct side *s, int nr);
	int nr;
};

static int produce(struct side *s)
{
	size_t size = s->r->size;
	unsigned long batch = s->r->a, room = room_for(size);
	void *ptr[BATCH];

	for (long i = 0; i < s->n; i++) {
		if (UNLIKELY(take_many(size, ptr, batch)))
			return -1;
		put(ptr, batch, room);
	}
	return 0;
}

static int consume(struct side *s)
{
	size_t size = s->r->size;
	unsigned long batch = s->r->a;
	void *ptr[BATCH];
	int bad = 0;

	for (long i = 0; i < s->n; i++) {
		get(ptr, batch);
		bad |= give_many(size, ptr, batch);
	}
	return bad;
}

/* Nothing is handed over: what they share, if anything, is the allocator's. */
static int pairs(struct side *s, int nr)
{
	(void)nr;
	return pair(s->r, s->n);
}

static int pass(struct side *s, int nr)
{
	return nr ? consume(s) : produce(s);
}

/*
 * As in Larson's server: each thread replaces random ones of its blocks, of
 * random sizes, and now and then they change places.
 */
#define HELD	1000

static struct {
	void *ptr;
	size_t size;
} held[2][HELD];

static int replace(struct side *s, int nr)
{
	static int turn[2];
	struct lcg g = { 7 + nr + 2 * turn[nr] };
	int mine = (nr + turn[nr]++) % 2;

	for (long i = 0; i < s->n; i++) {
		unsigned int slot = lcg_next(&g) % HELD;

		if (held[mine][slot].ptr &&
		    UNLIKELY(give(held[mine][slot].ptr, held[mine][slot].size)))
			return -1;
		held[mine][slot].size = 1 + (lcg_next(&g) * 32768ull + lcg_next(&g)) % s->r->size;
		held[mine][slot].ptr = take(held[mine][slot].size);
		if (UNLIKELY(!held[mine][slot].ptr))
			return -1;
		*(char *)held[mine][slot].ptr = 1;
	}
	return 0;
}

/* As in xmalloc-test: both take batches, put them into a common place and give back others'. */
struct batch {
	struct batch *next;
	void *ptr[BATCH];
};

static struct batch *batches;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int exchange(struct side *s, int nr)
{
	struct batch *b, **last;

	(void)nr;
	for (long i = 0; i < s->n; i++) {
		b = malloc(sizeof(*b));
		if (!b || UNLIKELY(take_many(s->r->size, b->ptr, BATCH)))
			return -1;
		pthread_mutex_lock(&lock);
		for (last = &batches; *last; last = &(*last)->next)
			;
		b->next = NULL;
		*last = b;
		b = batches;
		batches = b->next;
		pthread_mutex_unlock(&lock);
		if (give_many(s->r->size, b->ptr, BATCH))
			return -1;
		free(b);
	}
	return 0;
}

static pthread_barrier_t start, end;
static struct side other;

static void *second(void *arg)
{
	for (;;) {
		pthread_barrier_wait(&start);
		other.bad = other.work(&other, 1);
		pthread_barrier_wait(&end);
	}
	return arg;
}

static int (*work)(struct side *s, int nr);

static int both(const struct request *r, long n)
{
	static pthread_t thread;
	struct side one = { r, n, 0, work, 0 };
	int bad;

	if (!thread) {
		pthread_barrier_init(&start, NULL, 2);
		pthread_barrier_init(&end, NULL, 2);
		if (pthread_create(&thread, NULL, second, NULL))
			return -1;
	}
	other = one;
	pthread_barrier_wait(&start);
	bad = work(&one, 0);
	if (bad && work == pass)
		_exit(1);	/* the other would wait for ever */
	pthread_barrier_wait(&end);
	return bad || other.bad;
}

/*
 * What is in flight and what lies in caches between threads grows for a while:
 * each contender does as much before its clock runs, @n turns.
 */
static int settled(const struct request *r, int (*what)(struct side *s, int nr), long n,
		   double unit)
{
	static bool warm;

	work = what;
	if (!warm && both(r, n))
		return fail("wrong result");
	warm = true;
	return measure(r, both, unit);
}

/* @a: how many blocks are handed over at a time */
static int test_xthread(const struct request *r)
{
	if (r->a < 1 || r->a > BATCH)
		return fail("batch of %ld", r->a);
	return settled(r, pass, 16 * room_for(r->size) / r->a, r->a);
}

static int test_pair_both(const struct request *r)
{
	return settled(r, pairs, 1000, 1);
}

static int test_larson(const struct request *r)
{
	return settled(r, replace, 50 * HELD, 2);
}

static int test_xmalloc(const struct request *r)
{
	return settled(r, exchange, 1000, 2 * BATCH);
}

const struct test thread_tests[] = {
	{ "pair-both", test_pair_both },
	{ "xthread", test_xthread },
	{ "larson", test_larson },
	{ "xmalloc", test_xmalloc },
	{ NULL, NULL }
};
