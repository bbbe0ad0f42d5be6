// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Slab: see slab.h.
 *
 * The summary has one bit per word of the free bitmap, so that the lowest free
 * block of a million is found in a few cache lines; the runs of free blocks are
 * counted as they change, by looking at both neighbours.
 */
#include "slab.h"

struct mp_slab *mp_slab_create(u64 start, u64 pages, u64 stride, u32 nr)
{
	u64 fit = div64_u64(pages << MP_PAGE_SHIFT, stride);
	size_t words, swords;
	struct mp_slab *slab;

	nr = min_t(u64, nr, fit);
	if (!nr)
		return NULL;
	words = BITS_TO_LONGS((size_t)nr);
	swords = BITS_TO_LONGS(words);
	slab = mp_zalloc(sizeof(*slab) + (2 * words + swords) * sizeof(long));
	if (!slab)
		return NULL;
	slab->start = start;
	slab->pages = pages;
	slab->stride = stride;
	slab->reciprocal = div64_u64(U64_MAX, stride) + 1;
	slab->nr = nr;
	slab->free = (unsigned long *)(slab + 1);
	slab->live = slab->free + words;
	slab->summary = slab->live + words;
	INIT_LIST_HEAD(&slab->list);
	bitmap_set(slab->free, 0, nr);
	mp_slab_coalesce(slab);
	return slab;
}

void mp_slab_destroy(struct mp_slab *slab)
{
	mp_free(slab);
}

/* Free neighbours of @index in index order: 0, 1 or 2. */
static u32 free_neighbours(const struct mp_slab *slab, u32 index)
{
	u32 n = 0;

	if (index)
		n += test_bit(index - 1, slab->free);
	if (index + 1 < slab->nr)
		n += test_bit(index + 1, slab->free);
	return n;
}

int mp_slab_take(struct mp_slab *slab, u32 *index, bool *reused)
{
	u32 word, i;

	if (slab->issued == slab->nr)
		return -ENOSPC;
	word = find_next_bit(slab->summary, BITS_TO_LONGS((size_t)slab->nr), slab->hint);
	i = word * BITS_PER_LONG + __ffs(slab->free[word]);
	__clear_bit(i, slab->free);
	if (!slab->free[word])
		__clear_bit(word, slab->summary);
	slab->hint = word;
	slab->runs += free_neighbours(slab, i) - 1;
	slab->issued++;
	*reused = i < slab->fresh;
	if (!*reused)
		slab->fresh = i + 1;
	*index = i;
	return 0;
}

void mp_slab_publish(struct mp_slab *slab, u32 index)
{
	__set_bit(index, slab->live);
	slab->live_count++;
}

void mp_slab_abort(struct mp_slab *slab, u32 index)
{
	u32 word = index / BITS_PER_LONG;

	slab->runs += 1 - free_neighbours(slab, index);
	__set_bit(index, slab->free);
	__set_bit(word, slab->summary);
	slab->hint = min(slab->hint, word);
	slab->issued--;
}

void mp_slab_abort_fresh(struct mp_slab *slab, u32 index)
{
	mp_slab_abort(slab, index);
	if (index + 1 == slab->fresh)
		slab->fresh = index;
}

int mp_slab_give(struct mp_slab *slab, u32 index)
{
	if (!test_bit(index, slab->live))
		return -ENOENT;
	__clear_bit(index, slab->live);
	slab->live_count--;
	mp_slab_abort(slab, index);
	return 0;
}

int mp_slab_index(const struct mp_slab *slab, u64 offset, u32 *index)
{
	u64 in = offset - (slab->start << MP_PAGE_SHIFT);
	/* Exact for multiples of the stride; nothing else passes the test below. */
	u64 i = mp_mul_high(in, slab->reciprocal);

	if (i * slab->stride != in || i >= slab->nr)
		return -EINVAL;
	*index = i;
	return 0;
}

u32 mp_slab_next_live(const struct mp_slab *slab, u32 from)
{
	return find_next_bit(slab->live, slab->nr, from);
}

u64 mp_slab_gaps(const struct mp_slab *slab)
{
	return slab->runs ? slab->runs - 1 : 0;
}

bool mp_slab_fragmented(const struct mp_slab *slab, u32 threshold)
{
	u64 free = mp_slab_free(slab);

	return free > 1 && mp_slab_gaps(slab) * 100 > threshold * (free - 1);
}

void mp_slab_coalesce(struct mp_slab *slab)
{
	size_t words = BITS_TO_LONGS((size_t)slab->nr), w;
	unsigned long before = 0;	/* the block before this word is free */
	u32 runs = 0;

	slab->hint = words;
	for (w = 0; w < words; w++) {
		unsigned long free = slab->free[w];

		runs += hweight_long(free & ~(free << 1 | before));
		before = free >> (BITS_PER_LONG - 1);
		if (free)
			__set_bit(w, slab->summary);
		else
			__clear_bit(w, slab->summary);
		if (free && slab->hint == words)
			slab->hint = w;
	}
	slab->runs = runs;
}

bool mp_slab_valid(const struct mp_slab *slab)
{
	size_t words = BITS_TO_LONGS((size_t)slab->nr), w;
	u32 i, free = 0, live = 0, runs = 0;
	bool before = false;

	for (i = 0; i < slab->nr; i++) {
		bool is_free = test_bit(i, slab->free);

		if (is_free && test_bit(i, slab->live))
			return false;
		if (i >= slab->fresh && !is_free)
			return false;
		free += is_free;
		live += test_bit(i, slab->live);
		runs += is_free && !before;
		before = is_free;
	}
	for (w = 0; w < words; w++)
		if (test_bit(w, slab->summary) != !!slab->free[w] ||
		    (w < slab->hint && slab->free[w]))
			return false;
	return free + slab->issued == slab->nr && live == slab->live_count &&
	       live <= slab->issued && runs == slab->runs && slab->fresh <= slab->nr;
}
