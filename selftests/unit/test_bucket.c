// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Buckets against a model: every cell of 64 bytes, every block held, all counts,
 * and the least that a cache of max_cached blocks per bucket would reuse.
 */
#include "fixture.h"

#define SLOTS	6u
#define CELLS	(SLOTS * MEMPOOL_CHUNK_SIZE / MEMPOOL_BLOCK_ALIGN)
#define MOST	2000
#define CLASSES	64

struct block {
	u64 offset;
	u64 size;		/* rounded */
	const struct mp_bucket *bucket;
};

struct pending {
	u64 size;		/* rounded */
	struct mp_ticket ticket;
};

struct class {
	u64 size;
	u64 stride;
	u64 cached;		/* what the plain cache would hold */
};

struct model {
	struct session s;
	unsigned char cell[CELLS];
	struct block live[MOST];
	struct pending pending[8];
	struct class class[CLASSES];
	u32 nr_live, nr_pending, nr_classes;
	struct mp_bucket_counts want;
	bool judge_reuse;	/* the limit in bytes does not bite */
};

static struct class *class_of(struct model *m, const struct mp_bucket *bucket)
{
	u32 i;

	for (i = 0; i < m->nr_classes; i++)
		if (m->class[i].size == bucket->size && m->class[i].stride == bucket->stride)
			return &m->class[i];
	CHECK(m->nr_classes < CLASSES);
	m->class[i] = (struct class){ bucket->size, bucket->stride, 0 };
	m->nr_classes++;
	return &m->class[i];
}

static void class_return(struct model *m, struct class *class)
{
	if (class->cached < m->s.buckets.max_cached)
		class->cached++;
}

/* Marks the block's cells; they must have been in the other state. */
static void mark(struct model *m, u64 offset, u64 size, bool used)
{
	u64 i, first = offset / MEMPOOL_BLOCK_ALIGN;
	u64 nr = DIV_ROUND_UP(size, MEMPOOL_BLOCK_ALIGN);

	CHECK(first + nr <= CELLS);
	for (i = first; i < first + nr; i++) {
		CHECK(m->cell[i] != used);
		m->cell[i] = used;
	}
}

static bool agrees(const struct model *m)
{
	struct mp_bucket_counts got = *m->s.counts, want = m->want;

	want.footprint_bytes = got.footprint_bytes;
	want.peak_footprint_bytes = got.peak_footprint_bytes;
	want.cached_bytes = got.cached_bytes;
	want.nr_slabs = got.nr_slabs;
	return !memcmp(&got, &want, sizeof(got)) && mp_buckets_valid(&m->s.buckets);
}

static u64 random_size(void)
{
	static const u64 some[] = { 1, 1000, 1024, 1025, 3000, 4096, 5000, 9000, 20000, 100000 };

	if (random_chance(3))
		return 1 + random_below(1500000);
	return some[random_below(ARRAY_SIZE(some))];
}

/* The first block of what is left of a ticket. */
static u64 offset_of(const struct mp_slab *slab, const struct mp_bunch *bunch)
{
	return mp_slab_offset(slab, mp_bunch_first(bunch));
}

/* Every block that was sold again, seen or not, is the model's to judge. */
static void check_block(struct model *m, const struct mp_slab *slab, u64 offset, bool reused)
{
	struct class *class = class_of(m, slab->bucket);
	u64 i;

	CHECK(offset % MEMPOOL_BLOCK_ALIGN == 0);
	if (class->stride % MP_PAGE_SIZE == 0)
		CHECK(offset % MP_PAGE_SIZE == 0);
	CHECK((offset - (slab->start << MP_PAGE_SHIFT)) % class->stride == 0);
	for (i = offset / MEMPOOL_CHUNK_SIZE;
	     i <= (offset + class->size - 1) / MEMPOOL_CHUNK_SIZE; i++) {
		CHECK(mp_slot_chunk(mp_heap_slot(&m->s.heap, i)));
		CHECK(mp_heap_slot(&m->s.heap, i)->busy);
	}
	if (m->judge_reuse && class->cached)
		CHECK(reused);
	if (class->cached)
		class->cached--;
}

/* What the user is told of each block, in order. */
static void check_description(struct model *m, const struct mp_ticket *ticket)
{
	const struct mp_slab *slab = ticket->slab;
	struct mp_bunch bunch = ticket->bunch;
	unsigned long bits = bunch.bits;
	struct mp_alike alike;

	while (bits) {
		mp_buckets_describe(&m->s.buckets, ticket, &bits, &alike);
		CHECK(alike.block.slab == slab->start << MP_PAGE_SHIFT);
		CHECK(alike.block.flags == (bunch.reused ? MEMPOOL_BLOCK_REUSED : 0));
		CHECK(!alike.block.reserved && alike.bits);
		for (; alike.bits; alike.bits &= alike.bits - 1, bunch.bits &= bunch.bits - 1) {
			u64 offset = alike.block.offset + __ffs(alike.bits) * alike.stride;

			CHECK(offset == offset_of(slab, &bunch));
			CHECK(alike.block.tenure ==
			      mp_heap_tenure(&m->s.heap, offset, slab->stride));
		}
	}
	CHECK(!bunch.bits);
}

static void model_publish(struct model *m, struct pending *p)
{
	struct mp_bunch bunch = p->ticket.bunch;
	bool count = random_chance(70);

	mp_buckets_publish(&m->s.buckets, &p->ticket, count);
	if (count && bunch.reused)
		m->want.reused_allocations += bunch.nr;
	else if (count)
		m->want.new_allocations += bunch.nr;
	m->want.current_blocks += bunch.nr;
	m->want.current_bytes += bunch.nr * p->size;
	m->want.peak_bytes = max(m->want.peak_bytes, m->want.current_bytes);
	for (; bunch.bits; bunch.bits &= bunch.bits - 1)
		m->live[m->nr_live++] = (struct block){
			offset_of(p->ticket.slab, &bunch), p->size, p->ticket.slab->bucket
		};
}

static u32 nr_reserved(const struct model *m)
{
	u32 i, nr = 0;

	for (i = 0; i < m->nr_pending; i++)
		nr += m->pending[i].ticket.bunch.nr;
	return nr;
}

static void model_take(struct model *m, bool scarce)
{
	u32 flags = random_chance(10) ? MP_TAKE_PAGE_ALIGNED : 0;
	u32 most = 1 + (random_chance(40) ? random_below(100) : 0);
	u64 size = random_size(), pages = 0;
	struct mp_bucket_counts before = *m->s.counts;
	unsigned long blocks = memory.blocks;
	struct mp_bunch bunch;
	struct pending p;
	int err;

	if (m->nr_live + nr_reserved(m) + BITS_PER_LONG >= MOST ||
	    m->nr_pending == ARRAY_SIZE(m->pending))
		return;
	memory_fail_after(scarce ? random_below(3) : -1);
	err = mp_buckets_take(&m->s.buckets, size, flags, most, &p.ticket, &pages);
	if (memory_failed()) {
		CHECK(err == -ENOMEM && memory.blocks == blocks);
		CHECK(!memcmp(&before, m->s.counts, sizeof(before)));
		return;
	}
	if (err == -ENOSPC) {
		CHECK(memory.blocks == blocks);
		CHECK(mp_extents_longest(&m->s.heap.pages) < pages);
		err = session_bind(&m->s, pages);
		if (!err)
			err = mp_buckets_take(&m->s.buckets, size, flags, most, &p.ticket, &pages);
	}
	CHECK(!err || err == -ENOMEM);
	if (err)
		return;
	bunch = p.ticket.bunch;
	CHECK(bunch.nr && bunch.nr <= most && bunch.nr == hweight_long(bunch.bits));
	CHECK(!mp_round_to_bucket(&m->s.buckets.tiers, size, &p.size));
	CHECK(p.size == p.ticket.slab->bucket->size);
	check_description(m, &p.ticket);
	for (; bunch.bits; bunch.bits &= bunch.bits - 1) {
		mark(m, offset_of(p.ticket.slab, &bunch), p.size, true);
		check_block(m, p.ticket.slab, offset_of(p.ticket.slab, &bunch), bunch.reused);
	}
	m->pending[m->nr_pending++] = p;
}

/* The blocks go back, and could not be given by their offsets before. */
static void model_abort(struct model *m, struct pending *p)
{
	struct mp_bunch bunch = p->ticket.bunch;

	for (; bunch.bits; bunch.bits &= bunch.bits - 1) {
		u64 offset = offset_of(p->ticket.slab, &bunch);

		CHECK(session_give(&m->s, offset) == -ENOENT);
		m->want.bad_releases++;
		mark(m, offset, p->size, false);
		if (bunch.reused)
			class_return(m, class_of(m, p->ticket.slab->bucket));
	}
	mp_buckets_abort(&m->s.buckets, &p->ticket);
}

/* The user gets blocks taken earlier, or, sometimes, never hears of them. */
static void model_settle(struct model *m)
{
	struct pending *p = &m->pending[m->nr_pending ? random_below(m->nr_pending) : 0];

	if (!m->nr_pending)
		return;
	if (random_chance(80))
		model_publish(m, p);
	else
		model_abort(m, p);
	*p = m->pending[--m->nr_pending];
}

/* A batch of live blocks, sometimes with one that is not in the middle. */
static void model_give(struct model *m)
{
	u32 nr = 1 + (random_chance(40) ? random_below(40) : 0), bad, done = 0, i;
	bool count = random_chance(70);
	u64 offsets[41];
	int err;

	nr = min(nr, m->nr_live);
	bad = random_chance(20) ? random_below(nr + 1) : nr;
	if (!nr)
		return;
	for (i = 0; i < nr; i++) {
		struct block *b = &m->live[random_below(m->nr_live)];

		offsets[i] = b->offset;
		if (i >= bad)	/* will not come to it */
			continue;
		class_return(m, class_of(m, b->bucket));
		mark(m, b->offset, b->size, false);
		m->want.releases += count;
		m->want.current_blocks--;
		m->want.current_bytes -= b->size;
		*b = m->live[--m->nr_live];
	}
	if (bad < nr)
		offsets[bad] = bad ? offsets[random_below(bad)] : U64_MAX;
	err = mp_buckets_give(&m->s.buckets, offsets, nr, count, &done);
	CHECK(done == bad && err == (bad == nr ? 0 : bad ? -ENOENT : -EINVAL));
	m->want.bad_releases += !!err;
}

static bool is_live(const struct model *m, u64 offset)
{
	u32 i;

	for (i = 0; i < m->nr_live; i++)
		if (m->live[i].offset == offset)
			return true;
	return false;
}

static void model_give_bad(struct model *m)
{
	u64 offset = random_below(SLOTS * MEMPOOL_CHUNK_SIZE + MEMPOOL_CHUNK_SIZE / 8);
	const struct mp_slab *slab;
	u32 index;
	int err = -ENOENT;

	if (random_chance(90))
		offset &= ~(u64)(MEMPOOL_BLOCK_ALIGN - 1);
	if (random_chance(30))
		offset &= ~(u64)(MP_PAGE_SIZE - 1);
	if (is_live(m, offset))
		return;
	slab = mp_heap_slab(&m->s.heap, offset);
	if (offset % MEMPOOL_BLOCK_ALIGN || offset >= SLOTS * MEMPOOL_CHUNK_SIZE ||
	    (slab && mp_slab_index(slab, offset, &index) == -EINVAL))
		err = -EINVAL;
	CHECK(session_give(&m->s, offset) == err);
	m->want.bad_releases++;
}

static void forget_cached(struct model *m)
{
	u32 i;

	for (i = 0; i < m->nr_classes; i++)
		m->class[i].cached = 0;
}

static void model_give_back(struct model *m)
{
	struct mp_slot *slot = mp_heap_idle_slot(&m->s.heap);

	forget_cached(m);
	if (random_chance(50)) {
		mp_buckets_trim(&m->s.buckets);
		CHECK(!m->s.counts->cached_bytes);
		CHECK(m->s.counts->footprint_bytes || !m->s.counts->nr_slabs);
	} else if (slot) {
		mp_buckets_vacate(&m->s.buckets, slot->index);
		CHECK(mp_slot_wholly_free(slot));
		session_shrink(&m->s);
	}
}

static void model_prepare(struct model *m, bool scarce)
{
	u32 count = 1 + random_below(40), ready = 0;
	u64 size = random_size();
	int err;

	memory_fail_after(scarce ? random_below(5) : -1);
	err = session_prepare(&m->s, size, 0, count, &ready);
	CHECK(!err || err == -ENOMEM);
	CHECK(!!err == (ready < count));
	memory_fail_after(-1);
}

static void model_give_all(struct model *m)
{
	u64 nr = m->nr_live;
	u32 i;

	CHECK(mp_buckets_give_all(&m->s.buckets) == nr);
	for (i = 0; i < nr; i++)
		mark(m, m->live[i].offset, m->live[i].size, false);
	m->nr_live = 0;
	m->want.releases += nr;
	m->want.current_blocks = 0;
	m->want.current_bytes = 0;
	forget_cached(m);
}

static void model_step(struct model *m, bool scarce)
{
	switch (random_below(400)) {
	case 0 ... 149:
		model_take(m, scarce);
		break;
	case 150 ... 259:
		model_settle(m);
		break;
	case 260 ... 369:
		model_give(m);
		break;
	case 370 ... 389:
		model_give_bad(m);
		break;
	case 390 ... 395:
		model_prepare(m, scarce);
		break;
	case 396 ... 398:
		model_give_back(m);
		break;
	default:
		model_give_all(m);
		break;
	}
}

static void random_operations(u32 scarce_percent, u32 max_cached, u64 max_cached_bytes)
{
	static struct model m;
	int i;

	FOR_EACH_SEED(seed) {
		memset(&m, 0, sizeof(m));
		session_open(&m.s, SLOTS, &mp_default_tiers);
		m.s.buckets.max_cached = max_cached;
		m.s.buckets.max_cached_bytes = max_cached_bytes;
		m.judge_reuse = max_cached_bytes > SLOTS * MEMPOOL_CHUNK_SIZE;
		for (i = 0; i < 4000; i++) {
			model_step(&m, random_chance(scarce_percent));
			CHECK(agrees(&m));
		}
		while (m.nr_pending)
			model_settle(&m);
		while (m.nr_live)
			model_give(&m);
		mp_buckets_trim(&m.s.buckets);
		CHECK(agrees(&m) && !m.s.counts->footprint_bytes);
		CHECK(session_shrink(&m.s) && m.s.chunks == SLOTS);
		session_close(&m.s);
	}
}

TEST(bucket_equals_the_model)
{
	random_operations(0, MP_DEFAULT_MAX_CACHED, U64_MAX);
}

TEST(bucket_equals_the_model_with_little_cache)
{
	random_operations(0, 1, 100000);
}

TEST(bucket_survives_failed_allocations)
{
	random_operations(30, MP_DEFAULT_MAX_CACHED, U64_MAX);
}

/* Each allocation of a first take fails in turn; the next attempt succeeds. */
TEST(bucket_first_take_fails_cleanly_at_every_allocation)
{
	struct session s;
	struct mp_ticket ticket;
	unsigned long blocks;
	u64 pages, offset;
	long i;

	session_open(&s, 4, &mp_default_tiers);
	CHECK(!session_bind(&s, 1));
	blocks = memory.blocks;
	for (i = 0; ; i++) {
		memory_fail_after(i);
		if (!mp_buckets_take(&s.buckets, 5000, 0, 1, &ticket, &pages))
			break;
		CHECK(memory_failed() && memory.blocks == blocks);
		CHECK(mp_buckets_valid(&s.buckets));
	}
	CHECK(i == 3);
	memory_fail_after(-1);
	mp_buckets_publish(&s.buckets, &ticket, true);
	offset = ticket_offset(&ticket);
	CHECK(!session_give(&s, offset));
	session_close(&s);
}

TEST(bucket_giving_back_never_allocates)
{
	struct session s;
	u64 offset[300];
	unsigned long calls;
	u32 i;

	session_open(&s, 8, &mp_default_tiers);
	for (i = 0; i < 300; i++)
		offset[i] = session_alloc(&s, 1 + i * 100);
	calls = memory.calls;
	for (i = 0; i < 300; i++)
		CHECK(!session_give(&s, offset[i * 7 % 300]));
	mp_buckets_trim(&s.buckets);
	session_shrink(&s);
	CHECK(memory.calls == calls && !s.heap.nr_backed);
	session_close(&s);
}

TEST(bucket_says_how_many_pages_it_needs)
{
	struct session s;
	struct mp_ticket ticket;
	u64 pages = 0;

	session_open(&s, 4, &mp_default_tiers);
	CHECK(mp_buckets_take(&s.buckets, 1, 0, 1, &ticket, &pages) == -ENOSPC && pages == 1);
	CHECK(mp_buckets_take(&s.buckets, 1048576, 0, 1, &ticket, &pages) == -ENOSPC);
	CHECK(pages == 1126400 / MP_PAGE_SIZE);
	CHECK(!s.counts->nr_slabs && mp_buckets_valid(&s.buckets));
	session_close(&s);
}

TEST(bucket_refuses_sizes_that_are_none)
{
	struct session s;
	struct mp_ticket ticket;
	u64 pages;
	u32 ready;

	session_open(&s, 4, &exact_tiers);
	CHECK(mp_buckets_take(&s.buckets, 0, 0, 1, &ticket, &pages) == -EINVAL);
	CHECK(mp_buckets_take(&s.buckets, U64_MAX, 0, 1, &ticket, &pages) == -EOVERFLOW);
	CHECK(mp_buckets_take(&s.buckets, U64_MAX - 62, 0, 1, &ticket, &pages) == -EOVERFLOW);
	CHECK(mp_buckets_take(&s.buckets, U64_MAX - 4094, MP_TAKE_PAGE_ALIGNED, 1, &ticket,
			      &pages) == -EOVERFLOW);
	CHECK(mp_buckets_prepare(&s.buckets, 0, 0, 1, &ready, &pages) == -EINVAL && !ready);
	/* The largest storage there is: refused for want of space alone. */
	CHECK(mp_buckets_take(&s.buckets, U64_MAX - 63, 0, 1, &ticket, &pages) == -ENOSPC);
	CHECK(pages == 1ull << 52);
	CHECK(session_bind(&s, pages) == -ENOMEM);
	CHECK(!memory_failed() && mp_buckets_valid(&s.buckets));
	session_close(&s);
}

/* Bad offsets around one block of 1024 in a page of four, and a pool's slab. */
TEST(bucket_tells_misplaced_offsets_from_foreign_ones)
{
	struct session s;
	struct mp_slab *pool;
	u64 offset, start, space = 4ull * MEMPOOL_CHUNK_SIZE;

	session_open(&s, 4, &mp_default_tiers);
	offset = session_alloc(&s, 1024);
	CHECK(!mp_heap_take(&s.heap, 2, &start));
	pool = mp_slab_create(start, 2, 4096, 2);
	mp_heap_set_slab(&s.heap, start, 2, pool);
	CHECK(session_give(&s, offset + 1) == -EINVAL);
	CHECK(session_give(&s, offset + 64) == -EINVAL);
	CHECK(session_give(&s, offset + 1024) == -ENOENT);
	CHECK(session_give(&s, start << MP_PAGE_SHIFT) == -ENOENT);
	CHECK(session_give(&s, (start << MP_PAGE_SHIFT) + 64) == -ENOENT);
	CHECK(session_give(&s, (start << MP_PAGE_SHIFT) + 8) == -EINVAL);
	CHECK(session_give(&s, space - 64) == -ENOENT);
	CHECK(session_give(&s, space) == -EINVAL);
	CHECK(session_give(&s, -64ull) == -EINVAL);
	CHECK(s.counts->bad_releases == 9 && s.counts->releases == 0);
	mp_buckets_vacate(&s.buckets, 0);
	CHECK(!session_give(&s, offset));
	CHECK(session_give(&s, offset) == -ENOENT);
	mp_heap_set_slab(&s.heap, start, 2, NULL);
	mp_heap_give(&s.heap, start, 2);
	mp_slab_destroy(pool);
	session_close(&s);
}

TEST(bucket_page_aligned_blocks_start_a_page_each)
{
	struct session s;
	struct mp_ticket ticket;
	u32 i;

	session_open(&s, 4, &mp_default_tiers);
	for (i = 0; i < 50; i++) {
		CHECK(!session_take(&s, 1000, MP_TAKE_PAGE_ALIGNED, &ticket));
		mp_buckets_publish(&s.buckets, &ticket, true);
		CHECK(ticket_offset(&ticket) % MP_PAGE_SIZE == 0);
	}
	CHECK(s.counts->current_bytes == 50 * 1024);
	session_close(&s);
}

/* 4096 is its own storage, aligned or not: one bucket. */
TEST(bucket_of_whole_pages_is_the_same_when_aligned)
{
	struct session s;
	struct mp_ticket a, b;

	session_open(&s, 4, &mp_default_tiers);
	CHECK(!session_take(&s, 4096, 0, &a));
	CHECK(!session_take(&s, 4096, MP_TAKE_PAGE_ALIGNED, &b));
	CHECK(a.slab->bucket == b.slab->bucket);
	CHECK(!session_take(&s, 1024, 0, &a));
	CHECK(!session_take(&s, 1024, MP_TAKE_PAGE_ALIGNED, &b));
	CHECK(a.slab->bucket != b.slab->bucket);
	session_close(&s);
}

TEST(bucket_exact_sizes_do_not_share)
{
	struct session s;
	u64 a;

	session_open(&s, 4, &exact_tiers);
	a = session_alloc(&s, 100);
	CHECK(!session_give(&s, a));
	session_alloc(&s, 101);
	CHECK(s.counts->new_allocations == 2 && s.counts->reused_allocations == 0);
	CHECK(session_alloc(&s, 100) == a && s.counts->reused_allocations == 1);
	session_close(&s);
}

/* Blocks of @size so many that a slab of full size is among them. */
static u32 fill(struct session *s, u64 size, u64 *offset, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		offset[i] = session_alloc(s, size);
	return nr;
}

TEST(bucket_keeps_as_many_free_blocks_as_max_cached)
{
	static u64 offset[2000];
	struct session s;
	u32 i, nr;

	session_open(&s, 8, &mp_default_tiers);
	nr = fill(&s, 4096, offset, 500);
	for (i = 0; i < nr; i++)
		CHECK(!session_give(&s, offset[i]));
	for (i = 0; i < MP_DEFAULT_MAX_CACHED; i++)
		session_alloc(&s, 4096);
	CHECK(s.counts->reused_allocations == MP_DEFAULT_MAX_CACHED);
	session_close(&s);
}

/* 500 blocks of a page come in some ten slabs; with all free only one stays. */
TEST(bucket_dissolves_slabs_beyond_max_cached)
{
	static u64 offset[500];
	struct session s;
	u32 i, nr;

	session_open(&s, 8, &mp_default_tiers);
	s.buckets.max_cached = 1;
	nr = fill(&s, 4096, offset, 500);
	CHECK(s.counts->nr_slabs > 8);
	for (i = nr; i--;)
		CHECK(!session_give(&s, offset[i]));
	CHECK(s.counts->nr_slabs == 1 && s.counts->cached_bytes == s.counts->footprint_bytes);
	session_close(&s);
}

TEST(bucket_with_max_cached_0_keeps_nothing)
{
	struct session s;

	session_open(&s, 4, &mp_default_tiers);
	s.buckets.max_cached = 0;
	CHECK(!session_give(&s, session_alloc(&s, 1)));
	CHECK(!s.counts->footprint_bytes && session_shrink(&s) == 1);
	session_close(&s);
}

TEST(bucket_keeps_no_more_than_max_cached_bytes)
{
	u64 offset[8];
	struct session s;
	u32 i;

	session_open(&s, 8, &mp_default_tiers);
	s.buckets.max_cached_bytes = 3 * 204800;
	for (i = 0; i < 8; i++)
		offset[i] = session_alloc(&s, 204800);
	for (i = 0; i < 8; i++)
		CHECK(!session_give(&s, offset[i]));
	CHECK(s.counts->cached_bytes == 3 * 204800);
	session_close(&s);
}

TEST(bucket_prefers_partly_used_slabs)
{
	static u64 offset[100];
	struct session s;
	u64 used;

	session_open(&s, 8, &mp_default_tiers);
	fill(&s, 1024, offset, 100);
	/* Slabs of 4, 4, ... blocks. The first is emptied, the second opened. */
	CHECK(!session_give(&s, offset[0]));
	CHECK(!session_give(&s, offset[1]));
	CHECK(!session_give(&s, offset[2]));
	CHECK(!session_give(&s, offset[3]));
	CHECK(s.counts->cached_bytes == MP_PAGE_SIZE);
	CHECK(!session_give(&s, offset[5]));
	used = session_alloc(&s, 1024);
	CHECK(used == offset[5] && s.counts->cached_bytes == MP_PAGE_SIZE);
	session_close(&s);
}

/* A block handed out before comes first, even out of a slab not in use. */
TEST(bucket_prefers_reusable_blocks_to_fresh_ones)
{
	struct session s;
	u64 a, b;
	u32 ready;

	session_open(&s, 8, &mp_default_tiers);
	a = session_alloc(&s, 4096);
	CHECK(!session_prepare(&s, 4096, 0, 8, &ready) && ready >= 8);
	b = session_alloc(&s, 4096);
	CHECK(!session_give(&s, a));
	CHECK(s.counts->cached_bytes && a != b);
	CHECK(session_alloc(&s, 4096) == a);
	CHECK(s.counts->reused_allocations == 1);
	session_close(&s);
}

TEST(bucket_without_slabs_is_forgotten)
{
	struct session s;
	unsigned long blocks;
	u32 size;

	session_open(&s, 4, &exact_tiers);
	s.buckets.max_cached = 0;
	CHECK(!session_bind(&s, 1));
	blocks = memory.blocks;
	for (size = 1; size < 3000; size += 7)
		CHECK(!session_give(&s, session_alloc(&s, size)));
	CHECK(memory.blocks == blocks);
	session_close(&s);
}

TEST(bucket_many_exact_sizes_live_at_once)
{
	static u64 offset[3000];
	struct session s;
	u32 i;

	session_open(&s, 64, &exact_tiers);
	for (i = 0; i < 3000; i++)
		offset[i] = session_alloc(&s, i + 1);
	CHECK(mp_buckets_valid(&s.buckets));
	for (i = 0; i < 3000; i++)
		CHECK(!session_give(&s, offset[i]));
	for (i = 0; i < 3000; i++)
		session_alloc(&s, i + 1);
	CHECK(s.counts->new_allocations == 3000 && s.counts->reused_allocations == 3000);
	CHECK(mp_buckets_valid(&s.buckets));
	session_close(&s);
}

/*
 * A slab wastes at most an eighth; from 8 pages a block, less than a page. (The
 * first, and those that fill small runs, may waste more.)
 */
TEST(bucket_slabs_waste_little)
{
	static u64 offset[300];
	struct session s;
	u64 size, waste;
	u32 i;

	for (size = 64; size <= 60000; size += size < 9000 ? 448 : 2624) {
		session_open(&s, 20, &exact_tiers);
		CHECK(!session_bind(&s, 20 * MP_CHUNK_PAGES));
		fill(&s, size, offset, 300);
		for (i = 64; i < 300; i++) {
			const struct mp_slab *slab = mp_heap_slab(&s.heap, offset[i]);
			u64 bytes = slab->pages << MP_PAGE_SHIFT;

			waste = bytes - slab->nr * slab->stride;
			CHECK(waste * 8 <= bytes);
			CHECK(size < 8 * MP_PAGE_SIZE || waste < MP_PAGE_SIZE);
		}
		session_close(&s);
	}
}

/* 7168 of 8192 bytes is an eighth wasted: two pages do, where three would not. */
TEST(bucket_slab_may_waste_an_eighth)
{
	struct session s;

	session_open(&s, 4, &mp_default_tiers);
	session_alloc(&s, 7168);
	session_alloc(&s, 7168);
	CHECK(s.counts->footprint_bytes == 4 * MP_PAGE_SIZE);
	session_close(&s);
}

TEST(bucket_first_slab_is_as_small_as_can_be)
{
	struct session s;
	u64 size;

	for (size = 1024; size < 200000; size += 1024) {
		u64 rounded;

		session_open(&s, 64, &mp_default_tiers);
		session_alloc(&s, size);
		CHECK(!mp_round_to_bucket(&mp_default_tiers, size, &rounded));
		CHECK(s.counts->footprint_bytes == ALIGN(rounded, MP_PAGE_SIZE));
		session_close(&s);
	}
}

/* With chunks all in use, small free runs serve before another is asked for. */
TEST(bucket_uses_small_runs_before_another_chunk)
{
	struct session s;
	struct mp_ticket ticket;
	u64 pages;
	u32 nr = 0;

	session_open(&s, 1, &mp_default_tiers);
	while (!session_take(&s, 3072, 0, &ticket)) {
		mp_buckets_publish(&s.buckets, &ticket, true);
		nr++;
	}
	/* 682 would fit without a page border in the way. */
	CHECK(nr >= 676 && !s.heap.pages.free);
	CHECK(mp_buckets_take(&s.buckets, 3072, 0, 1, &ticket, &pages) == -ENOSPC);
	session_close(&s);
}

/* A bucket that would like a large slab makes do with the last page there is. */
TEST(bucket_uses_the_last_page_before_another_chunk)
{
	static u64 offset[100];
	struct session s;
	struct mp_ticket ticket;
	u64 pages, start;

	session_open(&s, 1, &mp_default_tiers);
	fill(&s, 4096, offset, 100);
	while (s.counts->current_blocks * MP_PAGE_SIZE < s.counts->footprint_bytes)
		session_alloc(&s, 4096);
	CHECK(!mp_heap_take(&s.heap, s.heap.pages.free - 1, &start));
	CHECK(!mp_buckets_take(&s.buckets, 4096, 0, 1, &ticket, &pages));
	CHECK(!s.heap.pages.free);
	CHECK(mp_buckets_take(&s.buckets, 4096, 0, 1, &ticket, &pages) == -ENOSPC && pages > 1);
	mp_buckets_destroy(&s.buckets);
	mp_heap_destroy(&s.heap);
}

/* Two pages hold 2 blocks of 3072, with a quarter wasted: one page at a time. */
TEST(bucket_uses_the_last_pages_though_they_waste)
{
	static u64 offset[100];
	struct session s;
	struct mp_ticket ticket;
	u64 pages, start;

	session_open(&s, 1, &mp_default_tiers);
	fill(&s, 3072, offset, 100);
	while (mp_heap_slab(&s.heap, offset[0])->bucket->nr_issued !=
	       mp_heap_slab(&s.heap, offset[0])->bucket->nr_blocks)
		session_alloc(&s, 3072);
	CHECK(!mp_heap_take(&s.heap, s.heap.pages.free - 2, &start));
	CHECK(!mp_buckets_take(&s.buckets, 3072, 0, 1, &ticket, &pages));
	CHECK(s.heap.pages.free == 1);
	CHECK(!mp_buckets_take(&s.buckets, 3072, 0, 1, &ticket, &pages));
	CHECK(s.heap.pages.free == 0);
	mp_buckets_destroy(&s.buckets);
	mp_heap_destroy(&s.heap);
}

TEST(bucket_prepare_makes_blocks_ready)
{
	struct session s;
	u32 ready, i;
	u64 footprint;

	session_open(&s, 8, &mp_default_tiers);
	CHECK(!session_prepare(&s, 5000, 0, 700, &ready) && ready >= 700);
	footprint = s.counts->footprint_bytes;
	CHECK(s.counts->cached_bytes == footprint && !s.counts->current_blocks);
	for (i = 0; i < 700; i++)
		session_alloc(&s, 5000);
	CHECK(s.counts->footprint_bytes == footprint);
	CHECK(s.counts->new_allocations == 700);
	session_close(&s);
}

/* Blocks made ready stay when they come back, although max_cached is 10. */
TEST(bucket_prepare_raises_what_is_kept)
{
	static u64 offset[700];
	struct session s;
	u64 footprint;
	u32 ready, i;

	session_open(&s, 8, &mp_default_tiers);
	s.buckets.max_cached_bytes = 100000;
	CHECK(!session_prepare(&s, 5000, 0, 700, &ready));
	footprint = s.counts->footprint_bytes;
	fill(&s, 5000, offset, 700);
	for (i = 0; i < 700; i++)
		CHECK(!session_give(&s, offset[i]));
	CHECK(s.counts->footprint_bytes == footprint);
	mp_buckets_trim(&s.buckets);
	CHECK(!s.counts->footprint_bytes && !s.buckets.prepared_bytes);
	session_close(&s);
}

TEST(bucket_prepare_reports_what_is_ready_when_it_fails)
{
	struct session s;
	u32 ready = 99;

	session_open(&s, 1, &mp_default_tiers);
	CHECK(session_prepare(&s, 102400, 0, 21, &ready) == -ENOMEM);
	CHECK(ready == 20 && s.counts->nr_slabs);
	CHECK(!session_prepare(&s, 102400, 0, 20, &ready) && ready == 20);
	session_close(&s);
	session_open(&s, 1, &mp_default_tiers);
	CHECK(session_prepare(&s, 1ull << 62, 0, U32_MAX, &ready) == -ENOMEM && !ready);
	memory_fail_after(0);
	CHECK(session_prepare(&s, 1, 0, 1, &ready) == -ENOMEM && memory_failed());
	session_close(&s);
}

TEST(bucket_aborted_fresh_block_is_fresh_again)
{
	struct session s;
	struct mp_ticket a, b;

	session_open(&s, 4, &mp_default_tiers);
	CHECK(!session_take(&s, 1, 0, &a) && !session_take(&s, 1, 0, &b));
	mp_buckets_abort(&s.buckets, &b);
	mp_buckets_abort(&s.buckets, &a);
	session_alloc(&s, 1);
	session_alloc(&s, 1);
	CHECK(s.counts->new_allocations == 2);
	session_close(&s);
}

TEST(bucket_abort_keeps_a_reused_block_reusable)
{
	struct session s;
	struct mp_ticket ticket;
	u64 a;

	session_open(&s, 4, &mp_default_tiers);
	a = session_alloc(&s, 1);
	CHECK(!session_give(&s, a));
	CHECK(!session_take(&s, 1, 0, &ticket) && ticket.bunch.reused);
	mp_buckets_abort(&s.buckets, &ticket);
	CHECK(session_alloc(&s, 1) == a && s.counts->reused_allocations == 1);
	session_close(&s);
}

TEST(bucket_uncounted_operations_move_only_what_is_held)
{
	struct session s;
	struct mp_ticket ticket;
	u64 offset;
	u32 done = 0;

	session_open(&s, 4, &mp_default_tiers);
	CHECK(!session_take(&s, 1, 0, &ticket));
	mp_buckets_publish(&s.buckets, &ticket, false);
	CHECK(s.counts->current_blocks == 1 && s.counts->peak_bytes == 1024);
	CHECK(!s.counts->new_allocations && !s.counts->reused_allocations);
	offset = ticket_offset(&ticket);
	CHECK(!mp_buckets_give(&s.buckets, &offset, 1, false, &done) && done == 1);
	CHECK(!s.counts->current_blocks && !s.counts->releases);
	session_close(&s);
}

/* A slab across a border makes both slots busy, and both idle again. */
TEST(bucket_slab_over_two_chunks_keeps_both_busy)
{
	struct session s;
	u64 a, b;

	session_open(&s, 4, &mp_default_tiers);
	a = session_alloc(&s, 1126400);
	CHECK(!session_bind(&s, 2 * MP_CHUNK_PAGES - 1126400 / MP_PAGE_SIZE));
	b = session_alloc(&s, 1126400);
	CHECK(b / MEMPOOL_CHUNK_SIZE == 0 && (b + 1126400) / MEMPOOL_CHUNK_SIZE == 1);
	CHECK(!session_give(&s, a) && s.heap.nr_idle == 0);
	CHECK(!session_give(&s, b) && s.heap.nr_idle == 2);
	mp_buckets_vacate(&s.buckets, 1);
	CHECK(session_shrink(&s) == 1 && s.counts->nr_slabs == 1);
	session_close(&s);
}

TEST(bucket_vacate_leaves_the_next_slot_alone)
{
	struct session s;
	u64 start, offset;

	session_open(&s, 2, &mp_default_tiers);
	CHECK(!session_bind(&s, 2 * MP_CHUNK_PAGES));
	CHECK(!mp_heap_take(&s.heap, MP_CHUNK_PAGES, &start) && start == 0);
	offset = session_alloc(&s, 4096);
	CHECK(offset == MEMPOOL_CHUNK_SIZE && !session_give(&s, offset));
	mp_buckets_vacate(&s.buckets, 0);
	CHECK(mp_heap_slab(&s.heap, offset));
	mp_buckets_vacate(&s.buckets, 1);
	CHECK(!mp_heap_slab(&s.heap, offset));
	mp_heap_give(&s.heap, start, MP_CHUNK_PAGES);
	session_close(&s);
}

TEST(bucket_give_all_leaves_reserved_blocks)
{
	struct session s;
	struct mp_ticket ticket;
	u32 i;

	session_open(&s, 4, &mp_default_tiers);
	for (i = 0; i < 100; i++)
		session_alloc(&s, 1 + i * 300);
	CHECK(!session_take(&s, 1, 0, &ticket));
	CHECK(mp_buckets_give_all(&s.buckets) == 100 && s.counts->releases == 100);
	CHECK(!s.counts->current_blocks && mp_buckets_valid(&s.buckets));
	mp_buckets_publish(&s.buckets, &ticket, true);
	CHECK(mp_buckets_give_all(&s.buckets) == 1);
	session_close(&s);
}

TEST(bucket_destroy_forgets_blocks_that_are_held)
{
	struct session s;
	struct mp_ticket ticket;
	u32 i;

	session_open(&s, 8, &mp_default_tiers);
	for (i = 0; i < 100; i++)
		session_alloc(&s, 1 + i * 1000);
	CHECK(!session_take(&s, 1, 0, &ticket));
	session_close(&s);
}

/* ---- batches ---- */

#define TWINS	400

/* Two sessions in the same state: one takes and gives in batches, one block by block. */
struct twins {
	struct session batched, single;
	u64 offset[TWINS];
	u32 nr;
};

/* As many as there are: a batch makes larger slabs, and would differ from then on. */
static void twins_take(struct twins *t)
{
	u64 size = random_size(), pages = 0;
	u32 count = 1 + random_below(70), ready, nr = 0, i;
	struct mp_ticket ticket, one;
	struct mp_bunch bunch;

	if (t->nr + count > TWINS || session_prepare(&t->single, size, 0, 1, &ready))
		return;
	CHECK(!session_prepare(&t->batched, size, 0, 1, &i) && ready == i);
	count = min(count, ready);
	for (; nr < count; nr += ticket.bunch.nr) {
		CHECK(!mp_buckets_take(&t->batched.buckets, size, 0, count - nr, &ticket, &pages));
		for (bunch = ticket.bunch; bunch.bits; bunch.bits &= bunch.bits - 1) {
			CHECK(!session_take(&t->single, size, 0, &one));
			CHECK(ticket_offset(&one) == offset_of(ticket.slab, &bunch));
			CHECK(one.bunch.reused == bunch.reused);
			mp_buckets_publish(&t->single.buckets, &one, true);
			t->offset[t->nr++] = ticket_offset(&one);
		}
		mp_buckets_publish(&t->batched.buckets, &ticket, true);
	}
}

/* Neighbours in the list, or not; now and then offsets that are bad in some way. */
static void twins_give(struct twins *t)
{
	u32 nr = 1 + random_below(100), from, i, done = 0, good = 0;
	int err, want = 0;
	u64 offsets[100];

	if (!t->nr)
		return;
	from = random_below(t->nr);
	for (i = 0; i < nr; i++) {
		if (random_chance(20))
			from = random_below(t->nr);
		offsets[i] = t->offset[from++ % t->nr];
		if (random_chance(2))
			offsets[i] += random_below(3) * 64 - 64;
		if (i && random_chance(2))
			offsets[i] = offsets[i - 1] + random_below(2) * 64;
		if (random_chance(1))
			offsets[i] = random_below(SLOTS * MEMPOOL_CHUNK_SIZE + 4096);
	}
	while (!want && good < nr)
		want = session_give(&t->single, offsets[good++]);
	good -= !!want;
	err = mp_buckets_give(&t->batched.buckets, offsets, nr, true, &done);
	CHECK(err == want && done == good);
	while (good--)
		for (i = 0; i < t->nr; i++)
			if (t->offset[i] == offsets[good])
				t->offset[i] = t->offset[--t->nr];
}

TEST(bucket_batches_equal_one_by_one)
{
	static struct twins t;
	int i;

	FOR_EACH_SEED(seed) {
		t.nr = 0;
		session_open(&t.batched, SLOTS, &mp_default_tiers);
		session_open(&t.single, SLOTS, &mp_default_tiers);
		for (i = 0; i < 3000; i++) {
			if (random_chance(50))
				twins_take(&t);
			else
				twins_give(&t);
			CHECK(!memcmp(t.batched.counts, t.single.counts,
				      sizeof(*t.batched.counts)));
			CHECK(session_shrink(&t.batched) == session_shrink(&t.single));
		}
		CHECK(mp_buckets_valid(&t.batched.buckets));
		CHECK(mp_buckets_valid(&t.single.buckets));
		session_close(&t.batched);
		session_close(&t.single);
	}
}

/* Take @count blocks of 4096 in batches; how many slabs that made. */
static u64 slabs_of_batch(struct session *s, u32 count)
{
	u64 before = s->counts->nr_slabs, pages;
	struct mp_ticket ticket;
	u32 nr = 0;

	for (; nr < count; nr += ticket.bunch.nr) {
		CHECK(!mp_buckets_take(&s->buckets, 4096, 0, count - nr, &ticket, &pages));
		mp_buckets_publish(&s->buckets, &ticket, true);
	}
	return s->counts->nr_slabs - before;
}

TEST(bucket_a_batch_makes_one_slab_and_no_more_than_it_needs)
{
	struct session s;

	session_open(&s, 1, &mp_default_tiers);
	CHECK(!session_bind(&s, 1));
	CHECK(slabs_of_batch(&s, 40) == 1);
	CHECK(s.counts->footprint_bytes == 40 * 4096);
	CHECK(slabs_of_batch(&s, 64) == 1);
	CHECK(s.counts->footprint_bytes == 104 * 4096);
	session_close(&s);
}

/* The bucket that served the request before may be gone, or another's. */
TEST(bucket_finds_the_right_bucket_after_any_other)
{
	struct session s;
	struct mp_ticket a, b;

	session_open(&s, 4, &mp_default_tiers);
	s.buckets.max_cached = 0;
	CHECK(!session_take(&s, 1000, 0, &a) && a.slab->bucket->stride == 1024);
	CHECK(!session_take(&s, 1000, MP_TAKE_PAGE_ALIGNED, &b) && b.slab->bucket->stride == 4096);
	mp_buckets_abort(&s.buckets, &b);
	mp_buckets_abort(&s.buckets, &a);
	CHECK(!s.counts->nr_slabs && !s.buckets.recent.bucket);
	CHECK(!session_take(&s, 1000, MP_TAKE_PAGE_ALIGNED, &b) && b.slab->bucket->stride == 4096);
	CHECK(!session_take(&s, 1000, 0, &a) && a.slab->bucket->stride == 1024);
	CHECK(!session_take(&s, 3000, 0, &b) && b.slab->bucket->stride == 3072);
	CHECK(mp_buckets_valid(&s.buckets));
	session_close(&s);
}

TEST(bucket_of_the_tiers_before_serves_no_request_after_them)
{
	struct session s;
	u64 offset;

	session_open(&s, 4, &mp_default_tiers);
	offset = session_alloc(&s, 1000);
	CHECK(s.counts->current_bytes == 1024);
	mp_buckets_set_tiers(&s.buckets, &exact_tiers);
	session_alloc(&s, 1000);
	CHECK(s.counts->current_bytes == 1024 + 1000);
	CHECK(!session_give(&s, offset));
	CHECK(s.counts->current_bytes == 1000 && mp_buckets_valid(&s.buckets));
	session_close(&s);
}

/* The checker is no use if it says yes to everything. */
#define SEES(change, back)				\
	do {						\
		change;					\
		CHECK(!mp_buckets_valid(&s.buckets));	\
		back;					\
		CHECK(mp_buckets_valid(&s.buckets));	\
	} while (0)

TEST(bucket_valid_sees_what_is_wrong)
{
	struct session s;
	struct mp_slab *slab, *other;
	struct mp_bucket *bucket;
	u64 start, offset;

	session_open(&s, 4, &mp_default_tiers);
	offset = session_alloc(&s, 1024);
	slab = mp_heap_slab(&s.heap, offset);
	bucket = slab->bucket;
	start = slab->start;
	SEES(s.counts->nr_slabs++, s.counts->nr_slabs--);
	SEES(s.counts->current_blocks++, s.counts->current_blocks--);
	SEES(s.counts->current_bytes++, s.counts->current_bytes--);
	SEES(s.counts->cached_bytes++, s.counts->cached_bytes--);
	SEES(s.counts->footprint_bytes++, s.counts->footprint_bytes--);
	SEES(s.counts->peak_bytes--, s.counts->peak_bytes++);
	SEES(s.counts->peak_footprint_bytes--, s.counts->peak_footprint_bytes++);
	SEES(bucket->nr_slabs++, bucket->nr_slabs--);
	SEES(bucket->nr_blocks++, bucket->nr_blocks--);
	SEES(bucket->nr_issued++, bucket->nr_issued--);
	SEES(bucket->nr_reusable++, bucket->nr_reusable--);
	SEES(bucket->stride++, bucket->stride--);
	SEES(slab->bucket = NULL, slab->bucket = bucket);
	SEES(slab->runs++, slab->runs--);
	SEES(mp_heap_set_slab(&s.heap, start, 1, NULL), mp_heap_set_slab(&s.heap, start, 1, slab));
	SEES(list_move(&slab->list, &bucket->full), list_move(&slab->list, &bucket->partial));
	SEES(list_move(&slab->list, &bucket->empty), list_move(&slab->list, &bucket->partial));
	SEES(s.heap.nr_idle++, s.heap.nr_idle--);
	/* Two slabs with blocks free: the one with reusable blocks in front. */
	while (s.counts->nr_slabs < 2)
		session_alloc(&s, 1024);
	CHECK(!session_give(&s, offset));
	other = list_entry(bucket->partial.prev, struct mp_slab, list);
	CHECK(other != slab && !mp_slab_reusable(other));
	SEES(list_move(&other->list, &bucket->partial),
	     list_move_tail(&other->list, &bucket->partial));
	session_close(&s);
}
