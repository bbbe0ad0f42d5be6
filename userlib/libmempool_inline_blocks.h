/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The hot path of block pools, for inlining: the second half of libmempool_inline.h,
 * which includes it and says how it works. Not to be included alone.
 *
 * A byte for each block tells whether it is out. Blocks that are got together are
 * often neighbours, and come back together: the bytes of such a row are written, and
 * looked at, as if they were one.
 */
#ifndef LIBMEMPOOL_INLINE_BLOCKS_H
#define LIBMEMPOOL_INLINE_BLOCKS_H

#ifndef LIBMEMPOOL_INLINE_H
#error "include libmempool_inline.h"
#endif

#if defined(__SSE2__) && defined(__x86_64__) && defined(__LP64__) && !defined(MEMPOOL_NO_SIMD)
#define MEMPOOL_SIMD	1
#include <emmintrin.h>
#include <string.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Blocks at a time: as many as an integer has bits. */
#define MEMPOOL_MAX_COUNT	64

/*
 * What struct mempool_blocks begins with. @out has a byte for each block, 1 while
 * a user has it; there are @mask + 1, a power of two, those beyond the last block
 * being 0 for ever. @magazine is 0, always empty and always full, without a cache.
 */
struct mempool_blocks_head {
	struct mempool *pool;
	char *base;
	uint64_t stride;
	unsigned char *out;
	uint32_t mask;
	uint32_t magazine;
};

/*
 * Read once: for all the compiler knows, what is written later could be this. And
 * one by one: copied as a whole, it would go through memory.
 */
static inline MEMPOOL_ALWAYS struct mempool_blocks_head
mempool_read_head(const struct mempool_blocks *blocks)
{
	const struct mempool_blocks_head *b = (const struct mempool_blocks_head *)blocks;
	struct mempool_blocks_head head;

	head.pool = b->pool;
	head.base = b->base;
	head.stride = b->stride;
	head.out = b->out;
	head.mask = b->mask;
	head.magazine = b->magazine;
	return head;
}

#ifdef MEMPOOL_SIMD

/* ---- rows ---- */

/*
 * Indices, four at a time, that may be a row: each the one before and 1, or less 1.
 * @next is what the next four must be, @step how much more that is each time; all
 * bits of @so_far are set while they were.
 */
struct mempool_row {
	__m128i next;
	__m128i step;
	__m128i so_far;
};

/* Its ends say that it may be one: where they do not, the rest need not be looked at. */
static inline MEMPOOL_ALWAYS int
mempool_row_may_be(uint32_t first, uint32_t last, unsigned int count)
{
	return last - first == count - 1 || first - last == count - 1;
}

static inline MEMPOOL_ALWAYS void
mempool_row_begin(struct mempool_row *row, uint32_t first, uint32_t last)
{
	int by = last - first < first - last ? 1 : -1;

	row->next = _mm_add_epi32(_mm_set1_epi32((int)first),
				  _mm_setr_epi32(0, by, 2 * by, 3 * by));
	row->step = _mm_set1_epi32(4 * by);
	row->so_far = _mm_set1_epi32(-1);
}

static inline MEMPOOL_ALWAYS void mempool_row_add(struct mempool_row *row, __m128i four)
{
	row->so_far = _mm_and_si128(row->so_far, _mm_cmpeq_epi32(row->next, four));
	row->next = _mm_add_epi32(row->next, row->step);
}

/* It is one as far as it went. */
static inline MEMPOOL_ALWAYS int mempool_row_is_one(const struct mempool_row *row)
{
	return _mm_movemask_epi8(row->so_far) == 0xffff;
}

/* The bytes of a row of @count, four or a multiple, from its lowest on. */
static inline MEMPOOL_ALWAYS void
mempool_row_set(unsigned char *out, unsigned int count, int to)
{
	const __m128i bytes = _mm_set1_epi8((char)to);
	const int word = _mm_cvtsi128_si32(bytes);
	unsigned int i = 0;

	for (; i + 16 <= count; i += 16)
		_mm_storeu_si128((__m128i *)(out + i), bytes);
	for (; i < count; i += 4)
		memcpy(out + i, &word, sizeof(word));
}

static inline MEMPOOL_ALWAYS int
mempool_row_is_out(const unsigned char *out, unsigned int count)
{
	const __m128i ones = _mm_set1_epi8(1);
	__m128i all = ones;
	unsigned int i = 0;
	int word;

	for (; i + 16 <= count; i += 16)
		all = _mm_and_si128(all, _mm_loadu_si128((const __m128i *)(out + i)));
	for (; i < count; i += 4) {
		memcpy(&word, out + i, sizeof(word));
		all = _mm_and_si128(all, _mm_set1_epi32(word));
	}
	return _mm_movemask_epi8(_mm_cmpeq_epi8(all, ones)) == 0xffff;
}

/* ---- four at a time ---- */

/*
 * @count blocks, four or a multiple, from @from on, go out to a user. @may_be_row is
 * a constant, so that what looks at rows falls away for others. Strides are below 4 GiB
 * where there is a cache.
 */
static inline MEMPOOL_ALWAYS void
mempool_issue_fours(const struct mempool_blocks_head *b, void **from, void **ptrs,
		    unsigned int *indices, unsigned int count, int may_be_row)
{
	const __m128i base = _mm_set1_epi64x((long long)(uintptr_t)b->base);
	const __m128i stride = _mm_set1_epi64x((long long)b->stride);
	uint32_t first = (uint32_t)(uintptr_t)from[0];
	uint32_t last = (uint32_t)(uintptr_t)from[count - 1];
	unsigned char *out = b->out;
	struct mempool_row row;
	unsigned int i;

	mempool_row_begin(&row, first, last);
#pragma GCC unroll 8
	for (i = 0; i < count; i += 4) {
		__m128i one = _mm_loadu_si128((const __m128i *)(from + i));
		__m128i two = _mm_loadu_si128((const __m128i *)(from + i + 2));
		__m128i four = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(one),
							       _mm_castsi128_ps(two), 0x88));

		if (ptrs) {
			_mm_storeu_si128((__m128i *)(ptrs + i),
					 _mm_add_epi64(base, _mm_mul_epu32(one, stride)));
			_mm_storeu_si128((__m128i *)(ptrs + i + 2),
					 _mm_add_epi64(base, _mm_mul_epu32(two, stride)));
		}
		if (indices)
			_mm_storeu_si128((__m128i *)(indices + i), four);
		mempool_row_add(&row, four);
	}
	if (may_be_row && mempool_row_is_one(&row)) {
		mempool_row_set(out + (first < last ? first : last), count, 1);
		return;
	}
#pragma GCC unroll 8
	for (i = 0; i < count; i++)
		out[(uint32_t)(uintptr_t)from[i]] = 1;
}

/*
 * Put @count indices, four or a multiple, into a magazine. All of their bits together;
 * if they are a row, @lowest is its lowest.
 */
static inline MEMPOOL_ALWAYS uint32_t
mempool_put_fours(void **to, const unsigned int *indices, unsigned int count, int may_be_row,
		  int64_t *lowest)
{
	uint32_t first = indices[0], last = indices[count - 1];
	const __m128i zero = _mm_setzero_si128();
	__m128i bits = zero;
	struct mempool_row row;
	unsigned int i;

	mempool_row_begin(&row, first, last);
#pragma GCC unroll 8
	for (i = 0; i < count; i += 4) {
		__m128i four = _mm_loadu_si128((const __m128i *)(indices + i));

		bits = _mm_or_si128(bits, four);
		_mm_storeu_si128((__m128i *)(to + i), _mm_unpacklo_epi32(four, zero));
		_mm_storeu_si128((__m128i *)(to + i + 2), _mm_unpackhi_epi32(four, zero));
		mempool_row_add(&row, four);
	}
	if (may_be_row && mempool_row_is_one(&row))
		*lowest = first < last ? first : last;
	bits = _mm_or_si128(bits, _mm_unpackhi_epi64(bits, bits));
	bits = _mm_or_si128(bits, _mm_shuffle_epi32(bits, 1));
	return (uint32_t)_mm_cvtsi128_si32(bits);
}

#endif /* MEMPOOL_SIMD */

/* ---- any number ---- */

/* @count blocks, from @from on, go out to a user. */
static inline MEMPOOL_ALWAYS void
mempool_issue(const struct mempool_blocks_head *b, void **from, void **ptrs,
	      unsigned int *indices, unsigned int count)
{
	unsigned int i = 0;
#ifdef MEMPOOL_SIMD
	const unsigned int fours = count & ~3u;

	if (fours > 4 && mempool_row_may_be((uint32_t)(uintptr_t)from[0],
					    (uint32_t)(uintptr_t)from[fours - 1], fours))
		mempool_issue_fours(b, from, ptrs, indices, fours, 1);
	else if (fours)
		mempool_issue_fours(b, from, ptrs, indices, fours, 0);
	i = fours;
#endif
	for (; i < count; i++) {
		uint32_t index = (uint32_t)(uintptr_t)from[i];

		b->out[index] = 1;
		if (ptrs)
			ptrs[i] = b->base + index * b->stride;
		if (indices)
			indices[i] = index;
	}
}

/*
 * Put @count indices into a magazine: all of their bits together. The first @nr of
 * them are a row from @lowest on, unless that is below 0.
 */
static inline MEMPOOL_ALWAYS uint32_t
mempool_put(void **to, const unsigned int *indices, unsigned int count, int64_t *lowest,
	    unsigned int *nr)
{
	uint32_t bits = 0;
	unsigned int i;

	*lowest = -1;
	*nr = 0;
#ifdef MEMPOOL_SIMD
	*nr = count & ~3u;
	if (*nr > 4 && mempool_row_may_be(indices[0], indices[*nr - 1], *nr))
		bits = mempool_put_fours(to, indices, *nr, 1, lowest);
	else if (*nr)
		bits = mempool_put_fours(to, indices, *nr, 0, lowest);
#endif
	for (i = *nr; i < count; i++) {
		bits |= indices[i];
		to[i] = (void *)(uintptr_t)indices[i];
	}
	return bits;
}

/* @nr blocks from @lowest on come back: how many of them, all or none. */
static inline MEMPOOL_ALWAYS unsigned int
mempool_unmark_row(unsigned char *out, int64_t lowest, unsigned int nr)
{
#ifdef MEMPOOL_SIMD
	if (lowest >= 0 && mempool_row_is_out(out + lowest, nr)) {
		mempool_row_set(out + lowest, nr, 0);
		return nr;
	}
#else
	(void)out;
	(void)lowest;
	(void)nr;
#endif
	return 0;
}

/* As mempool_get_blocks(), or 0: only a call can tell. */
static inline MEMPOOL_ALWAYS int
mempool_try_get_blocks(struct mempool_blocks *blocks, void **ptrs,
		       unsigned int *indices, unsigned int count)
{
	const struct mempool_blocks_head b = mempool_read_head(blocks);
	struct mempool_thread *t = mempool_thread_1;
	void **top;

	if (MEMPOOL_UNLIKELY(MEMPOOL_GET(t->session) != b.pool))
		return 0;
	top = t->tops[b.magazine];
	if (MEMPOOL_UNLIKELY(count > MEMPOOL_MAX_COUNT ||
			     (uintptr_t)top - count * sizeof(*top) <
			     (uintptr_t)MEMPOOL_GET(t->lims[b.magazine]) || !(ptrs || indices)))
		return 0;
	top -= count;
	mempool_issue(&b, top, ptrs, indices, count);
	MEMPOOL_SET(t->tops[b.magazine], top);
	MEMPOOL_SET(t->gets[b.magazine], t->gets[b.magazine] + count);
	return 1;
}

/*
 * As mempool_return_blocks(), or 0: only a call can tell. One that is not out, or
 * comes twice, is found when those before it are in already: they go out again.
 * Nothing is written of a block that was not out: it may be another thread's.
 */
static inline MEMPOOL_ALWAYS int
mempool_try_return_blocks(struct mempool_blocks *blocks,
			  const unsigned int *indices, unsigned int count)
{
	const struct mempool_blocks_head b = mempool_read_head(blocks);
	struct mempool_thread *t = mempool_thread_1;
	unsigned char *out = b.out;
	unsigned int nr, i;
	int64_t lowest;
	void **top;

	if (MEMPOOL_UNLIKELY(MEMPOOL_GET(t->session) != b.pool))
		return 0;
	top = t->tops[b.magazine];
	if (MEMPOOL_UNLIKELY(count > MEMPOOL_MAX_COUNT || (uintptr_t)t->ends[b.magazine] -
			     (uintptr_t)top < count * sizeof(*top)))
		return 0;
	if (MEMPOOL_UNLIKELY(mempool_put(top, indices, count, &lowest, &nr) > b.mask))
		return 0;
#pragma GCC unroll 8
	for (i = mempool_unmark_row(out, lowest, nr); i < count; i++) {
		if (MEMPOOL_UNLIKELY(!out[indices[i]])) {
			while (i--)
				out[indices[i]] = 1;
			return 0;
		}
		out[indices[i]] = 0;
	}
	MEMPOOL_SET(t->tops[b.magazine], top + count);
	return 1;
}

/* mempool_get_blocks_inline() - as mempool_get_blocks() */
static inline MEMPOOL_ALWAYS int
mempool_get_blocks_inline(struct mempool_blocks *blocks, void **ptrs,
			  unsigned int *indices, unsigned int count)
{
	return MEMPOOL_UNLIKELY(!mempool_try_get_blocks(blocks, ptrs, indices, count)) ?
		mempool_get_blocks(blocks, ptrs, indices, count) : 0;
}

/* mempool_return_blocks_inline() - as mempool_return_blocks() */
static inline MEMPOOL_ALWAYS int
mempool_return_blocks_inline(struct mempool_blocks *blocks,
			     const unsigned int *indices, unsigned int count)
{
	return MEMPOOL_UNLIKELY(!mempool_try_return_blocks(blocks, indices, count)) ?
		mempool_return_blocks(blocks, indices, count) : 0;
}

#ifdef __cplusplus
}
#endif

#endif /* LIBMEMPOOL_INLINE_BLOCKS_H */
