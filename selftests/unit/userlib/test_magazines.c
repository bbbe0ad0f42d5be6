// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What a thread's magazines are made of, under loads of all sizes: the arrays are
 * nobody's twice and none is lost, their bytes are what is counted and no more than
 * the cache may hold, and who needs room gets some.
 */
#include <stdlib.h>
#include <string.h>

#include "counted.h"

#define MOST	1500

struct array {
	void **from;
	unsigned int slots;
};

static int by_address(const void *a, const void *b)
{
	const struct array *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

/* Arrays are as long as powers of two. */
static unsigned int length_of(unsigned int slots)
{
	unsigned int length = 1;

	while (length < slots)
		length *= 2;
	return length;
}

static unsigned int arrays_of(struct mp_thread *t, struct array *arrays)
{
	unsigned int nr = 0, i;
	void **free;

	for (i = 0; i < MEMPOOL_NR_MAGAZINES; i++)
		if (t->cold[i].bottom)
			arrays[nr++] = (struct array) { t->cold[i].bottom,
							length_of(mp_magazine_slots(t, i)) };
	for (i = 0; i < MP_NR_ORDERS; i++)
		for (free = t->free_slots[i]; free && nr < MP_SLOTS; free = *free)
			arrays[nr++] = (struct array) { free, 1u << i };
	return nr;
}

/* NULL, or what is wrong with this thread's magazines. */
static const char *wrong_with(struct mempool *pool)
{
	static struct array arrays[MP_SLOTS];
	struct mp_thread *t = mp_thread_of(pool, false);
	unsigned int nr, i, sum = 0;
	uint64_t bytes = 0;

	if (!t)
		return NULL;
	nr = arrays_of(t, arrays);
	qsort(arrays, nr, sizeof(arrays[0]), by_address);
	for (i = 0; i < nr; i++) {
		if (arrays[i].from < t->slots ||
		    arrays[i].from + arrays[i].slots > t->slots + MP_SLOTS)
			return "an array lies elsewhere";
		if (i && arrays[i - 1].from + arrays[i - 1].slots > arrays[i].from)
			return "two arrays overlap";
		sum += arrays[i].slots;
	}
	if (sum != t->used_slots)
		return "an array is lost";
	for (i = 0; i < MP_FIRST_POOL; i++) {
		if (mp_magazine_slots(t, i) > MP_MAX_SLOTS)
			return "a magazine is too large";
		bytes += mp_magazine_slots(t, i) * (uint64_t)t->hot.sizes[i];
	}
	if (bytes != t->capacity || bytes > pool->cache.bytes)
		return "bytes";
	return NULL;
}

static size_t some_size(uint32_t *seed)
{
	static const size_t limits[] = { 4, 4000, 40000, 300000 };

	return 1 + next(seed) % limits[next(seed) % 4];
}

/* Blocks of one size mostly, released in order or not, one by one or all at once. */
static const char *use_some(struct mempool *pool, uint32_t *seed)
{
	static void *ptrs[MOST];
	size_t size = some_size(seed);
	unsigned int nr = 1 + next(seed) % (size < 5000 ? MOST : size < 50000 ? 200 : 20), i, j;
	bool bulk = next(seed) % 2, mixed = next(seed) % 2;
	void *ptr;

	for (i = 0; i < nr; i++) {
		ptrs[i] = mempool_alloc(pool, next(seed) % 8 ? size : some_size(seed));
		if (!ptrs[i])
			break;
	}
	nr = i;
	for (i = nr; mixed && i > 1; i--) {
		j = next(seed) % i;
		ptr = ptrs[j];
		ptrs[j] = ptrs[i - 1];
		ptrs[i - 1] = ptr;
	}
	if (bulk && mempool_release_bulk(pool, ptrs, nr))
		return "a bulk is refused";
	for (i = 0; !bulk && i < nr; i++)
		if (mempool_release(pool, ptrs[i]))
			return "a block is refused";
	if (next(seed) % 100 == 0)
		mempool_flush(pool);
	return NULL;
}

FIXTURE(magazines) {
	struct mempool *pool;
};

FIXTURE_VARIANT(magazines) {
	int64_t cache_bytes;
	uint64_t granularity;
};

FIXTURE_VARIANT_ADD(magazines, usual) { 2 * MIB, 0 };
FIXTURE_VARIANT_ADD(magazines, large) { 8 * MIB, 0 };
FIXTURE_VARIANT_ADD(magazines, small) { 300000, 0 };
FIXTURE_VARIANT_ADD(magazines, one_byte) { 1, 0 };
FIXTURE_VARIANT_ADD(magazines, of_all_there_is) { INT64_MAX, 0 };
FIXTURE_VARIANT_ADD(magazines, exact) { 2 * MIB, 1 };
FIXTURE_VARIANT_ADD(magazines, exact_and_large) { INT64_MAX, 1 };
FIXTURE_VARIANT_ADD(magazines, exact_and_small) { 4096, 1 };

FIXTURE_SETUP(magazines)
{
	struct mempool_option_tier tier = { UINT64_MAX, variant->granularity };
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;

	opts.cache_bytes = variant->cache_bytes;
	if (variant->granularity) {
		opts.tiers = &tier;
		opts.nr_tiers = 1;
	}
	ASSERT_EQ(0, open_counted(&self->pool, &opts));
}

FIXTURE_TEARDOWN(magazines)
{
	mempool_close(self->pool);
}

TEST_F(magazines, are_sound_whatever_is_allocated)
{
	const char *wrong = NULL;
	uint32_t seed = 1;
	int round;

	for (round = 0; !wrong && round < 1500; round++) {
		wrong = use_some(self->pool, &seed);
		if (!wrong)
			wrong = wrong_with(self->pool);
	}
	EXPECT_EQ(NULL, wrong) TH_LOG("round %d: %s", round, wrong);
	EXPECT_EQ(0, stats_of(self->pool).current_bytes);
}

TEST_F(magazines, the_smallest_blocks_have_their_own)
{
	size_t size;

	for (size = 1; size < 5; size++) {
		ASSERT_EQ(0, mempool_release(self->pool, mempool_alloc(self->pool, size)));
		ASSERT_EQ(NULL, wrong_with(self->pool));
	}
	mempool_flush(self->pool);
	ASSERT_EQ(0, mempool_release(self->pool, mempool_alloc(self->pool, 1000)));
	EXPECT_EQ(NULL, wrong_with(self->pool));
}

TEST_F(magazines, sizes_that_would_wrap_are_refused)
{
	EXPECT_EQ(NULL, mempool_alloc(self->pool, (size_t)1 << 61));
	EXPECT_EQ(NULL, mempool_alloc(self->pool, ((size_t)1 << 61) + 1));
	EXPECT_EQ(NULL, wrong_with(self->pool));
}

/* ---- room for who needs it --------------------------------------------------- */

FIXTURE(room) {
	struct mempool *pool;
};

FIXTURE_SETUP(room)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;

	opts.cache_bytes = 2 * MIB;
	ASSERT_EQ(0, open_counted(&self->pool, &opts));
}

FIXTURE_TEARDOWN(room)
{
	mempool_close(self->pool);
}

static void bursts(struct mempool *pool, size_t size, unsigned int nr)
{
	unsigned int round, i;
	void *ptrs[64];

	for (round = 0; round < 200; round++) {
		for (i = 0; i < nr; i++)
			ptrs[i] = mempool_alloc(pool, size);
		for (i = 0; i < nr; i++)
			mempool_release(pool, ptrs[i]);
	}
}

static uint64_t bytes_for(struct mempool *pool, size_t size)
{
	struct mp_thread *t = mp_thread_of(pool, false);
	unsigned int id = mp_track_id(pool, mempool_round_to_bucket(pool, size) << 1);

	return mp_magazine_slots(t, id) * (uint64_t)t->hot.sizes[id];
}

/* Bursts of one size have taken all; then there are none any more, but of another size. */
TEST_F(room, comes_from_what_is_not_used_any_more)
{
	bursts(self->pool, 20000, 64);
	ASSERT_LT(MIB, bytes_for(self->pool, 20000));
	bursts(self->pool, 33000, 30);
	EXPECT_LE(bytes_for(self->pool, 20000), 2 * bytes_for(self->pool, 33000));
	EXPECT_EQ(NULL, wrong_with(self->pool));
}

TEST_HARNESS_MAIN
