// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Buckets: see bucket.h.
 *
 * A slab is in one of its bucket's three lists by the blocks it has issued. In
 * @partial and @empty those with blocks handed out before come first, so that
 * the slab to take from is found at a list's head.
 */
#include "bucket.h"

/*
 * A bucket's first slab is as small as can be. Each further one has about half
 * the bytes that the bucket has already, so that small populations stay small
 * and large ones need few tables. Its waste is at most 1/8; a block above 8 pages
 * wastes less than a page.
 */
#define MP_SLAB_MAX_BYTES	(256ull << 10)
#define MP_SLAB_WASTE_SHIFT	3

const struct mp_tiers mp_default_tiers = {
	.nr = 3,
	.tier = {
		{ .below = 10240, .granularity = 1024 },
		{ .below = 102400, .granularity = 10240 },
		{ .below = MEMPOOL_TIER_END, .granularity = 102400 },
	},
};

int mp_tiers_check(const struct mp_tiers *tiers)
{
	u64 before = 0;
	u32 i;

	if (!tiers->nr || tiers->nr > MEMPOOL_MAX_TIERS)
		return -EINVAL;
	for (i = 0; i < tiers->nr; i++) {
		const struct mempool_tier *tier = &tiers->tier[i];

		if (tier->below <= before || !tier->granularity)
			return -EINVAL;
		if (tier->granularity != 1 && tier->granularity % MEMPOOL_BLOCK_ALIGN)
			return -EINVAL;
		before = tier->below;
	}
	return before == MEMPOOL_TIER_END ? 0 : -EINVAL;
}

/* Rounds up to a multiple of @granularity. 0 or -EOVERFLOW. */
static int round_up_to(u64 size, u64 granularity, u64 *rounded)
{
	u64 rem;

	div64_u64_rem(size, granularity, &rem);
	if (check_add_overflow(size, rem ? granularity - rem : 0, rounded))
		return -EOVERFLOW;
	return 0;
}

int mp_round_to_bucket(const struct mp_tiers *tiers, u64 size, u64 *rounded)
{
	u32 i = 0;

	if (!size)
		return -EINVAL;
	while (i + 1 < tiers->nr && size >= tiers->tier[i].below)
		i++;
	return round_up_to(size, tiers->tier[i].granularity, rounded);
}

void mp_buckets_init(struct mp_buckets *b, struct mp_heap *heap, const struct mp_tiers *tiers)
{
	u32 i;

	memset(b, 0, sizeof(*b));
	b->heap = heap;
	b->tiers = *tiers;
	b->max_cached = MP_DEFAULT_MAX_CACHED;
	b->max_cached_bytes = MP_DEFAULT_MAX_CACHED_BYTES;
	for (i = 0; i < ARRAY_SIZE(b->hash); i++)
		INIT_HLIST_HEAD(&b->hash[i]);
}

void mp_buckets_set_tiers(struct mp_buckets *b, const struct mp_tiers *tiers)
{
	b->tiers = *tiers;
	b->recent.bucket = NULL;	/* found by the tiers before */
}

static u64 slab_bytes(const struct mp_slab *slab)
{
	return slab->pages << MP_PAGE_SHIFT;
}

/* The bucket's name: what @size is rounded to, and its storage. */
static int bucket_key(const struct mp_buckets *b, u64 size, u32 flags, u64 *rounded, u64 *stride)
{
	u64 align = flags & MP_TAKE_PAGE_ALIGNED ? MP_PAGE_SIZE : MEMPOOL_BLOCK_ALIGN;
	int err = mp_round_to_bucket(&b->tiers, size, rounded);

	return err ? err : round_up_to(*rounded, align, stride);
}

static struct hlist_head *bucket_chain(struct mp_buckets *b, u64 size, u64 stride)
{
	return &b->hash[hash_64(size + stride, MP_BUCKET_HASH_BITS)];
}

/* The bucket of this name, made if need be. NULL: no memory. */
static struct mp_bucket *named_bucket(struct mp_buckets *b, u64 size, u64 stride)
{
	struct hlist_head *chain = bucket_chain(b, size, stride);
	struct mp_bucket *bucket;

	hlist_for_each_entry(bucket, chain, hash)
		if (bucket->size == size && bucket->stride == stride)
			return bucket;
	bucket = mp_zalloc(sizeof(*bucket));
	if (!bucket)
		return NULL;
	bucket->size = size;
	bucket->stride = stride;
	bucket->keep = b->max_cached;
	INIT_LIST_HEAD(&bucket->partial);
	INIT_LIST_HEAD(&bucket->empty);
	INIT_LIST_HEAD(&bucket->full);
	hlist_add_head(&bucket->hash, chain);
	return bucket;
}

/*
 * The bucket that serves a request, made if need be: mostly the one that served the
 * request before. 0, -EINVAL, -EOVERFLOW, -ENOMEM.
 */
static int get_bucket(struct mp_buckets *b, u64 size, u32 flags, struct mp_bucket **bucket)
{
	struct mp_recent *recent = &b->recent;
	u64 rounded, stride;
	int err;

	if (!recent->bucket || recent->size != size || recent->flags != flags) {
		err = bucket_key(b, size, flags, &rounded, &stride);
		if (err)
			return err;
		*recent = (struct mp_recent){ size, flags, named_bucket(b, rounded, stride) };
	}
	*bucket = recent->bucket;
	return *bucket ? 0 : -ENOMEM;
}

/* A bucket without slabs is forgotten. */
static void put_bucket(struct mp_buckets *b, struct mp_bucket *bucket)
{
	if (bucket->nr_slabs)
		return;
	if (b->recent.bucket == bucket)
		b->recent.bucket = NULL;
	hlist_del(&bucket->hash);
	mp_free(bucket);
}

/* Pages that hold @bytes. */
static u64 pages_of(u64 bytes)
{
	return (bytes >> MP_PAGE_SHIFT) + !!(bytes & (MP_PAGE_SIZE - 1));
}

static bool wasteful(u64 pages, u64 stride)
{
	u64 bytes = pages << MP_PAGE_SHIFT, waste;

	div64_u64_rem(bytes, stride, &waste);
	return waste > bytes >> MP_SLAB_WASTE_SHIFT;
}

/* Pages of a slab of about @bytes; 0: of the least slab, whatever its waste. */
static u64 slab_pages(u64 stride, u64 bytes)
{
	u64 blocks = max_t(u64, 1, div64_u64(min(bytes, MP_SLAB_MAX_BYTES), stride));
	u64 pages = pages_of(blocks * stride);

	if (bytes && stride >> MP_PAGE_SHIFT < 1 << MP_SLAB_WASTE_SHIFT)
		while (wasteful(pages, stride))
			pages++;
	return pages;
}

/*
 * Pages for a slab of @pages: rather fewer, out of what is free, than to ask for
 * another chunk. 0, -ENOSPC, -ENOMEM.
 */
static int take_pages(struct mp_buckets *b, u64 stride, u64 *pages, u64 *start)
{
	u64 least = slab_pages(stride, 0), fit = mp_extents_longest(&b->heap->pages);

	if (fit < *pages && fit >= least) {
		while (fit > least && wasteful(fit, stride))
			fit--;
		*pages = fit;
	}
	return mp_heap_take(b->heap, *pages, start);
}

static void add_slab(struct mp_buckets *b, struct mp_bucket *bucket, struct mp_slab *slab)
{
	struct mp_bucket_counts *c = &b->counts;

	slab->bucket = bucket;
	list_add_tail(&slab->list, &bucket->empty);
	mp_heap_set_slab(b->heap, slab->start, slab->pages, slab);
	bucket->nr_slabs++;
	bucket->nr_blocks += slab->nr;
	c->nr_slabs++;
	c->cached_bytes += slab_bytes(slab);
	c->footprint_bytes += slab_bytes(slab);
	c->peak_footprint_bytes = max(c->peak_footprint_bytes, c->footprint_bytes);
}

/* Makes a slab of about @bytes. 0, -ENOSPC with *@pages, -ENOMEM. */
static int grow(struct mp_buckets *b, struct mp_bucket *bucket, u64 bytes, u64 *pages)
{
	u64 want = slab_pages(bucket->stride, bytes), start;
	struct mp_slab *slab;
	int err;

	*pages = want;
	err = take_pages(b, bucket->stride, &want, &start);
	if (err)
		return err;
	slab = mp_slab_create(start, want, bucket->stride, U32_MAX);
	if (!slab) {
		mp_heap_give(b->heap, start, want);
		return -ENOMEM;
	}
	add_slab(b, bucket, slab);
	return 0;
}

/* Gives a slab back to the heap, of which no block is issued. */
static void dissolve(struct mp_buckets *b, struct mp_slab *slab)
{
	struct mp_bucket *bucket = slab->bucket;

	list_del(&slab->list);
	bucket->nr_slabs--;
	bucket->nr_blocks -= slab->nr;
	bucket->nr_reusable -= mp_slab_reusable(slab);
	b->counts.nr_slabs--;
	b->counts.cached_bytes -= slab_bytes(slab);
	b->counts.footprint_bytes -= slab_bytes(slab);
	mp_heap_set_slab(b->heap, slab->start, slab->pages, NULL);
	mp_heap_give(b->heap, slab->start, slab->pages);
	mp_slab_destroy(slab);
}

/* Puts the slab into the list that its blocks call for. */
static void place(struct mp_slab *slab)
{
	struct mp_bucket *bucket = slab->bucket;
	struct list_head *list = &bucket->partial;

	if (!slab->issued)
		list = &bucket->empty;
	else if (!mp_slab_free(slab))
		list = &bucket->full;
	if (mp_slab_reusable(slab))
		list_move(&slab->list, list);
	else
		list_move_tail(&slab->list, list);
}

/* The slab to take from: partly used first, but reusable blocks before fresh. */
static struct mp_slab *usable(struct mp_bucket *bucket)
{
	struct mp_slab *partial, *empty;

	partial = list_first_entry_or_null(&bucket->partial, struct mp_slab, list);
	empty = list_first_entry_or_null(&bucket->empty, struct mp_slab, list);
	if (!partial || (empty && !mp_slab_reusable(partial) && mp_slab_reusable(empty)))
		return empty;
	return partial;
}

/*
 * Bytes of the next slab of a bucket that has no free block, @most being asked for:
 * together they are likely to come back together.
 */
static u64 next_slab_bytes(const struct mp_bucket *bucket, u32 most)
{
	u64 asked = most > 1 ? most * min(bucket->stride, MP_SLAB_MAX_BYTES) : 0;

	return max(asked, bucket->nr_blocks * bucket->stride / 2);
}

static void take_blocks(struct mp_buckets *b, struct mp_slab *slab, u32 most,
			struct mp_ticket *ticket)
{
	struct mp_bucket *bucket = slab->bucket;
	struct mp_bunch *bunch = &ticket->bunch;
	bool first = !slab->issued;

	ticket->slab = slab;
	mp_slab_take(slab, most, bunch);
	bucket->nr_issued += bunch->nr;
	if (bunch->reused)
		bucket->nr_reusable -= bunch->nr;
	if (first) {
		b->counts.cached_bytes -= slab_bytes(slab);
		mp_heap_get_busy(b->heap, slab->start, slab->pages);
	}
	if (first || !mp_slab_free(slab) || (bunch->reused && !mp_slab_reusable(slab)))
		place(slab);
}

int mp_buckets_take(struct mp_buckets *b, u64 size, u32 flags, u32 most,
		    struct mp_ticket *ticket, u64 *pages)
{
	struct mp_bucket *bucket;
	int err = get_bucket(b, size, flags, &bucket);

	if (err)
		return err;
	if (bucket->nr_issued == bucket->nr_blocks) {
		err = grow(b, bucket, next_slab_bytes(bucket, most), pages);
		if (err) {
			put_bucket(b, bucket);
			return err;
		}
	}
	take_blocks(b, usable(bucket), most, ticket);
	return 0;
}

/* All blocks of a slab inside of one chunk have its tenure. */
void mp_buckets_describe(const struct mp_buckets *b, const struct mp_ticket *ticket,
			 unsigned long *bits, struct mp_alike *alike)
{
	const struct mp_slab *slab = ticket->slab;
	u64 bit0 = mp_slab_offset(slab, ticket->bunch.word * BITS_PER_LONG);
	u64 first = bit0 + __ffs(*bits) * slab->stride;

	alike->block = (struct mempool_block){
		.offset = bit0,
		.slab = slab->start << MP_PAGE_SHIFT,
		.tenure = mp_heap_tenure(b->heap, first, slab->stride),
		.flags = ticket->bunch.reused ? MEMPOOL_BLOCK_REUSED : 0,
	};
	alike->stride = slab->stride;
	alike->bits = mp_heap_one_slot(slab->start, slab->pages) ? *bits : *bits & -*bits;
	*bits ^= alike->bits;
}

void mp_buckets_publish(struct mp_buckets *b, const struct mp_ticket *ticket, bool count)
{
	const struct mp_bunch *bunch = &ticket->bunch;
	struct mp_bucket_counts *c = &b->counts;

	mp_slab_publish(ticket->slab, bunch);
	if (count && bunch->reused)
		c->reused_allocations += bunch->nr;
	else if (count)
		c->new_allocations += bunch->nr;
	c->current_blocks += bunch->nr;
	c->current_bytes += bunch->nr * ticket->slab->bucket->size;
	c->peak_bytes = max(c->peak_bytes, c->current_bytes);
}

/* A slab of which no block is issued any more: is it to be kept? */
static bool worth_keeping(const struct mp_buckets *b, const struct mp_slab *slab)
{
	u64 others = slab->bucket->nr_reusable - mp_slab_reusable(slab);

	return others < slab->bucket->keep &&
	       b->counts.cached_bytes <= max(b->max_cached_bytes, b->prepared_bytes);
}

/*
 * After blocks of a slab went back: what its bucket knows of it, and where it belongs
 * now. It had @free blocks before, @reusable of them handed out before. It may be gone
 * afterwards, the bucket stays.
 */
static void settle(struct mp_buckets *b, struct mp_slab *slab, u32 free, u32 reusable)
{
	struct mp_bucket *bucket = slab->bucket;

	bucket->nr_issued -= mp_slab_free(slab) - free;
	bucket->nr_reusable += mp_slab_reusable(slab) - reusable;
	if (slab->issued) {
		if (!free || (!reusable && mp_slab_reusable(slab)))
			place(slab);
		return;
	}
	mp_heap_put_busy(b->heap, slab->start, slab->pages);
	b->counts.cached_bytes += slab_bytes(slab);
	if (worth_keeping(b, slab))
		place(slab);
	else
		dissolve(b, slab);
}

void mp_buckets_abort(struct mp_buckets *b, const struct mp_ticket *ticket)
{
	struct mp_slab *slab = ticket->slab;
	struct mp_bucket *bucket = slab->bucket;
	u32 free = mp_slab_free(slab), reusable = mp_slab_reusable(slab);

	mp_slab_abort(slab, &ticket->bunch);
	settle(b, slab, free, reusable);
	put_bucket(b, bucket);
}

static void count_given(struct mp_buckets *b, const struct mp_bucket *bucket, u32 nr, bool count)
{
	struct mp_bucket_counts *c = &b->counts;

	if (count)
		c->releases += nr;
	c->current_blocks -= nr;
	c->current_bytes -= nr * bucket->size;
}

/* The bucket's slab over @offset. 0, -EINVAL, -ENOENT as mp_buckets_give(). */
static int find_slab(const struct mp_buckets *b, u64 offset, struct mp_slab **slab)
{
	if (offset % MEMPOOL_BLOCK_ALIGN ||
	    offset >> MP_PAGE_SHIFT >= b->heap->nr_slots * MP_CHUNK_PAGES)
		return -EINVAL;
	*slab = mp_heap_slab(b->heap, offset);
	return *slab && (*slab)->bucket ? 0 : -ENOENT;
}

/*
 * Gives back the blocks at the first of the offsets, as long as they are in one slab;
 * *@given: how many. 0, or why the next one is refused.
 */
static int give_run(struct mp_buckets *b, const u64 *offsets, u32 nr, bool count, u32 *given)
{
	struct mp_bucket *bucket;
	struct mp_slab *slab;
	u32 free, reusable;
	int err = find_slab(b, offsets[0], &slab);

	*given = 0;
	if (err)
		return err;
	bucket = slab->bucket;
	free = mp_slab_free(slab);
	reusable = mp_slab_reusable(slab);
	err = mp_slab_give_offsets(slab, offsets, nr, given);
	if (*given) {
		count_given(b, bucket, *given, count);
		settle(b, slab, free, reusable);
		put_bucket(b, bucket);
	}
	return err;
}

int mp_buckets_give(struct mp_buckets *b, const u64 *offsets, u32 nr, bool count, u32 *done)
{
	u32 given, i;
	int err = 0;

	for (i = 0; i < nr && !err; i += given)
		err = give_run(b, offsets + i, nr - i, count, &given);
	if (err)
		b->counts.bad_releases++;
	*done += i;
	return err;
}

/* Gives the slab's live blocks back; it may be gone afterwards. */
static u32 give_slab(struct mp_buckets *b, struct mp_slab *slab)
{
	u32 free = mp_slab_free(slab), reusable = mp_slab_reusable(slab);
	u32 nr = mp_slab_give_live(slab);

	if (nr) {
		count_given(b, slab->bucket, nr, true);
		settle(b, slab, free, reusable);
	}
	mp_relax();
	return nr;
}

u64 mp_buckets_give_all(struct mp_buckets *b)
{
	struct mp_bucket *bucket;
	struct mp_slab *slab, *next;
	struct hlist_node *tmp;
	u64 nr = 0;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(b->hash); i++) {
		hlist_for_each_entry_safe(bucket, tmp, &b->hash[i], hash) {
			list_for_each_entry_safe(slab, next, &bucket->full, list)
				nr += give_slab(b, slab);
			list_for_each_entry_safe(slab, next, &bucket->partial, list)
				nr += give_slab(b, slab);
			put_bucket(b, bucket);
		}
	}
	return nr;
}

int mp_buckets_prepare(struct mp_buckets *b, u64 size, u32 flags, u32 count, u32 *ready,
		       u64 *pages)
{
	struct mp_bucket *bucket;
	int err = get_bucket(b, size, flags, &bucket);
	u64 free;

	*ready = 0;
	if (err)
		return err;
	free = bucket->nr_blocks - bucket->nr_issued;
	if (free < count) {
		err = grow(b, bucket, (count - free) * min(bucket->stride, MP_SLAB_MAX_BYTES),
			   pages);
		free = bucket->nr_blocks - bucket->nr_issued;
	}
	*ready = min_t(u64, free, U32_MAX);
	if (free >= count) {
		bucket->keep = max_t(u64, bucket->keep, count);
		b->prepared_bytes = max(b->prepared_bytes, b->counts.cached_bytes);
	} else if (!err) {
		err = -EAGAIN;
	}
	put_bucket(b, bucket);
	return err;
}

void mp_buckets_trim(struct mp_buckets *b)
{
	struct mp_bucket *bucket;
	struct mp_slab *slab, *next;
	struct hlist_node *tmp;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(b->hash); i++) {
		hlist_for_each_entry_safe(bucket, tmp, &b->hash[i], hash) {
			list_for_each_entry_safe(slab, next, &bucket->empty, list)
				dissolve(b, slab);
			put_bucket(b, bucket);
			mp_relax();
		}
	}
	b->prepared_bytes = 0;
}

void mp_buckets_vacate(struct mp_buckets *b, u64 index)
{
	const struct mp_slot *slot = mp_heap_slot(b->heap, index);
	u64 page = index * MP_CHUNK_PAGES, end = page + MP_CHUNK_PAGES, next;

	for (; page < end && !mp_slot_wholly_free(slot); page = next) {
		struct mp_slab *slab = mp_heap_slab(b->heap, page << MP_PAGE_SHIFT);
		struct mp_bucket *bucket;

		next = slab ? slab->start + slab->pages : page + 1;
		if (!slab || !slab->bucket || slab->issued)
			continue;
		bucket = slab->bucket;
		dissolve(b, slab);
		put_bucket(b, bucket);
	}
}

/* Forgets a list of slabs, blocks issued or not. */
static void destroy_slabs(struct mp_buckets *b, struct list_head *list)
{
	struct mp_slab *slab, *next;

	list_for_each_entry_safe(slab, next, list, list) {
		if (slab->issued)
			mp_heap_put_busy(b->heap, slab->start, slab->pages);
		mp_heap_set_slab(b->heap, slab->start, slab->pages, NULL);
		mp_heap_give(b->heap, slab->start, slab->pages);
		mp_slab_destroy(slab);
	}
}

void mp_buckets_destroy(struct mp_buckets *b)
{
	struct mp_bucket *bucket;
	struct hlist_node *tmp;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(b->hash); i++) {
		hlist_for_each_entry_safe(bucket, tmp, &b->hash[i], hash) {
			destroy_slabs(b, &bucket->partial);
			destroy_slabs(b, &bucket->empty);
			destroy_slabs(b, &bucket->full);
			hlist_del(&bucket->hash);
			mp_free(bucket);
		}
	}
	b->recent.bucket = NULL;
	memset(&b->counts, 0, sizeof(b->counts));
}

/* What a bucket's slabs add up to. */
struct mp_sums {
	u64 slabs;
	u64 blocks;
	u64 issued;
	u64 live;
	u64 reusable;
	u64 cached_bytes;
	u64 bytes;
};

static bool slab_fits(const struct mp_buckets *b, const struct mp_slab *slab,
		      const struct mp_bucket *bucket, const struct list_head *list)
{
	bool empty = !slab->issued, full = slab->issued == slab->nr;
	u64 i;

	for (i = 0; i < slab->pages; i++)
		if (mp_heap_slab(b->heap, (slab->start + i) << MP_PAGE_SHIFT) != slab)
			return false;
	return slab->bucket == bucket && slab->stride == bucket->stride &&
	       empty == (list == &bucket->empty) && full == (list == &bucket->full) &&
	       mp_slab_valid(slab);
}

/* Adds up a list; in it, slabs with reusable blocks come first. */
static bool list_valid(const struct mp_buckets *b, const struct mp_bucket *bucket,
		       const struct list_head *list, struct mp_sums *s)
{
	const struct mp_slab *slab;
	bool in_front = true;

	list_for_each_entry(slab, list, list) {
		if (!slab_fits(b, slab, bucket, list))
			return false;
		if (mp_slab_reusable(slab) && !in_front)
			return false;
		in_front = mp_slab_reusable(slab);
		s->slabs++;
		s->blocks += slab->nr;
		s->issued += slab->issued;
		s->live += slab->live_count;
		s->reusable += mp_slab_reusable(slab);
		s->bytes += slab_bytes(slab);
		s->cached_bytes += slab->issued ? 0 : slab_bytes(slab);
	}
	return true;
}

/* Checks one bucket and adds it to the session's sums. */
static bool bucket_valid(const struct mp_buckets *b, const struct mp_bucket *bucket,
			 struct mp_bucket_counts *c)
{
	struct mp_sums s = { 0 };

	if (!list_valid(b, bucket, &bucket->partial, &s) ||
	    !list_valid(b, bucket, &bucket->empty, &s) ||
	    !list_valid(b, bucket, &bucket->full, &s))
		return false;
	c->nr_slabs += s.slabs;
	c->current_blocks += s.live;
	c->current_bytes += s.live * bucket->size;
	c->cached_bytes += s.cached_bytes;
	c->footprint_bytes += s.bytes;
	return s.slabs && s.slabs == bucket->nr_slabs && s.blocks == bucket->nr_blocks &&
	       s.issued == bucket->nr_issued && s.reusable == bucket->nr_reusable;
}

bool mp_buckets_valid(const struct mp_buckets *b)
{
	const struct mp_bucket_counts *is = &b->counts;
	struct mp_bucket_counts sum = { 0 };
	const struct mp_bucket *bucket;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(b->hash); i++)
		hlist_for_each_entry(bucket, &b->hash[i], hash)
			if (!bucket_valid(b, bucket, &sum))
				return false;
	return sum.nr_slabs == is->nr_slabs && sum.current_blocks == is->current_blocks &&
	       sum.current_bytes == is->current_bytes && sum.cached_bytes == is->cached_bytes &&
	       sum.footprint_bytes == is->footprint_bytes &&
	       is->peak_bytes >= is->current_bytes &&
	       is->peak_footprint_bytes >= is->footprint_bytes && mp_heap_valid(b->heap);
}
