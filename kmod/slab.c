// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Slab: see slab.h.
 *
 * The summary has one bit per word of the free bitmap, so that the lowest free
 * block of a million is found in a few cache lines; the runs of free blocks are
 * counted as they change, by looking at both neighbours.
 */
#include "slab.h"

#define MP_WORDS_AT_ONCE	1024u	/* of a bitmap: of 64 Ki blocks */

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

/*
 * Runs of free blocks that there are more with the bunch free than without: its own,
 * less those that it joins to others.
 */
static u32 runs_of(const struct mp_slab *slab, const struct mp_bunch *bunch)
{
	const unsigned long *at = &slab->free[bunch->word], bits = bunch->bits;
	unsigned long others = *at & ~bits;
	unsigned long below = others << 1, above = others >> 1;	/* free neighbours */
	const u32 last = BITS_PER_LONG - 1;

	if ((bits & 1) && bunch->word)
		below |= at[-1] >> last;
	if (bits >> last && (bunch->word + 1) * BITS_PER_LONG < slab->nr)
		above |= at[1] << last;
	return hweight_long(bits & ~(bits << 1) & ~below) -
	       hweight_long(bits & ~(bits >> 1) & above);
}

/* Chooses the lowest of the free blocks in the bunch's word, at most @most. */
static void choose(struct mp_bunch *bunch, unsigned long free, u32 most)
{
	unsigned long rest = free & (free - 1);
	u32 nr = 1;

	if (most >= BITS_PER_LONG) {
		rest = 0;
		nr = hweight_long(free);
	}
	for (; nr < most && rest; nr++)
		rest &= rest - 1;
	bunch->bits = free ^ rest;
	bunch->nr = nr;
}

int mp_slab_take(struct mp_slab *slab, u32 most, struct mp_bunch *bunch)
{
	u32 word = slab->hint, reusable = mp_slab_reusable(slab);

	if (slab->issued == slab->nr)
		return -ENOSPC;
	if (!slab->free[word])
		word = find_next_bit(slab->summary, BITS_TO_LONGS((size_t)slab->nr), word);
	bunch->word = word;
	bunch->reused = reusable;
	choose(bunch, slab->free[word], reusable ? min(most, reusable) : most);
	if (!slab->bucket)
		slab->runs -= runs_of(slab, bunch);
	slab->free[word] &= ~bunch->bits;
	if (!slab->free[word])
		__clear_bit(word, slab->summary);
	slab->hint = word;
	slab->issued += bunch->nr;
	if (!reusable)
		slab->fresh += bunch->nr;	/* all beyond it are free: these came next */
	return 0;
}

void mp_slab_publish(struct mp_slab *slab, const struct mp_bunch *bunch)
{
	slab->live[bunch->word] |= bunch->bits;
	slab->live_count += bunch->nr;
}

static void put_back(struct mp_slab *slab, const struct mp_bunch *bunch)
{
	if (!slab->bucket)
		slab->runs += runs_of(slab, bunch);
	slab->free[bunch->word] |= bunch->bits;
	__set_bit(bunch->word, slab->summary);
	slab->hint = min(slab->hint, bunch->word);
	slab->issued -= bunch->nr;
}

void mp_slab_abort(struct mp_slab *slab, const struct mp_bunch *bunch)
{
	put_back(slab, bunch);
	if (!bunch->reused && mp_bunch_first(bunch) + bunch->nr == slab->fresh)
		slab->fresh -= bunch->nr;
}

void mp_slab_give(struct mp_slab *slab, const struct mp_bunch *bunch)
{
	slab->live[bunch->word] &= ~bunch->bits;
	slab->live_count -= bunch->nr;
	put_back(slab, bunch);
}

int mp_slab_give_one(struct mp_slab *slab, u32 index)
{
	struct mp_bunch one = {
		.bits = 1ul << index % BITS_PER_LONG,
		.word = index / BITS_PER_LONG,
		.nr = 1,
	};

	if (!mp_slab_is_live(slab, index))
		return -ENOENT;
	mp_slab_give(slab, &one);
	return 0;
}

/* Gives back the live blocks of a word but those that are to stay. */
static void give_all_but(struct mp_slab *slab, u32 word, unsigned long stay)
{
	struct mp_bunch bunch = { .bits = slab->live[word] & ~stay, .word = word };

	bunch.nr = hweight_long(bunch.bits);
	if (bunch.nr)
		mp_slab_give(slab, &bunch);
}

int mp_slab_give_offsets(struct mp_slab *slab, const u64 *offsets, u32 nr, u32 *given)
{
	u64 start = slab->start << MP_PAGE_SHIFT, len = slab->pages << MP_PAGE_SHIFT;
	u32 most = min(nr, max(slab->issued, 1u)), word = 0, index, i;
	unsigned long stay = slab->live[word], bit;
	int err = 0;

	for (i = 0; i < most; i++, stay &= ~bit) {
		err = mp_slab_index(slab, offsets[i], &index);
		if (err)
			break;
		if (index / BITS_PER_LONG != word) {
			give_all_but(slab, word, stay);
			word = index / BITS_PER_LONG;
			stay = slab->live[word];
		}
		bit = 1ul << index % BITS_PER_LONG;
		if (!(stay & bit)) {
			err = -ENOENT;
			break;
		}
	}
	give_all_but(slab, word, stay);
	*given = i;
	return err && offsets[i] - start >= len ? 0 : err;
}

u32 mp_slab_give_live(struct mp_slab *slab)
{
	size_t words = BITS_TO_LONGS((size_t)slab->nr), w;
	u32 nr = slab->live_count;

	for (w = 0; w < words; w++)
		give_all_but(slab, w, 0);
	return nr;
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
		if (w % MP_WORDS_AT_ONCE == MP_WORDS_AT_ONCE - 1)
			mp_relax();
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
	       live <= slab->issued && slab->fresh <= slab->nr &&
	       slab->runs == (slab->bucket ? 1 : runs);
}
