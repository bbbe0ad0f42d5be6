// SPDX-License-Identifier: MIT OR GPL-2.0
/* Blocks: a fixed number of equal blocks, addressed by index. See blocks.h. */

#include "blocks.h"

int mp_blocks_init(struct mp_blocks *b, u64 start, u64 block_size, u32 nr, u32 threshold)
{
	u64 stride = mp_blocks_stride(block_size);
	u64 pages = (stride * nr + MP_PAGE_SIZE - 1) >> MP_PAGE_SHIFT;

	*b = (struct mp_blocks){ .block_size = block_size, .threshold = threshold };
	b->issues = mp_zalloc(nr * sizeof(*b->issues));
	if (!b->issues)
		return -ENOMEM;
	b->slab = mp_slab_create(start, pages, stride, nr);
	if (!b->slab) {
		mp_free(b->issues);
		b->issues = NULL;
		return -ENOMEM;
	}
	return 0;
}

void mp_blocks_destroy(struct mp_blocks *b)
{
	if (b->slab)
		mp_slab_destroy(b->slab);
	mp_free(b->issues);
	b->slab = NULL;
	b->issues = NULL;
}

u32 mp_blocks_get(struct mp_blocks *b, u32 member, struct mempool_token *tokens, u32 most)
{
	struct mp_bunch bunch;
	u32 nr = 0, index;

	while (nr < most && !mp_slab_take(b->slab, most - nr, &bunch)) {
		mp_slab_publish(b->slab, &bunch);
		for (; bunch.bits; bunch.bits &= bunch.bits - 1) {
			index = mp_bunch_first(&bunch);
			b->issues[index].holder = member;
			tokens[nr].index = index;
			tokens[nr++].generation = b->issues[index].generation;
		}
	}
	b->gets += nr;
	return nr;
}

int mp_blocks_find(const struct mp_blocks *b, const struct mempool_token *token, u32 member,
		   u32 *index)
{
	const struct mp_issue *issue;

	if (token->index >= b->slab->nr)
		return -ERANGE;
	*index = array_index_nospec(token->index, b->slab->nr);
	issue = &b->issues[*index];
	if (issue->generation != token->generation)
		return -ESTALE;
	if (!issue->holder || (member && issue->holder != member))
		return -ENOENT;
	return 0;
}

u32 mp_blocks_return(struct mp_blocks *b, u32 index)
{
	u32 holder = b->issues[index].holder;

	mp_slab_give_one(b->slab, index);
	b->issues[index].holder = 0;
	b->issues[index].generation++;
	b->returns++;
	return holder;
}

void mp_blocks_unget(struct mp_blocks *b, u32 index)
{
	mp_blocks_return(b, index);
	b->gets--;
	b->returns--;
}

u32 mp_blocks_adopt(struct mp_blocks *b, u32 index, u32 member)
{
	u32 holder = b->issues[index].holder;

	b->issues[index].holder = member;
	b->adopts++;
	return holder;
}

u32 mp_blocks_next_held(const struct mp_blocks *b, u32 member, u32 from)
{
	u32 index = mp_slab_next_live(b->slab, from);

	while (member && index < b->slab->nr && b->issues[index].holder != member) {
		index = mp_slab_next_live(b->slab, index + 1);
		mp_relax();
	}
	return index;
}

void mp_blocks_coalesced(struct mp_blocks *b, u64 ns, bool automatic)
{
	b->coalesces++;
	b->auto_coalesces += automatic;
	b->coalesce_ns_last = ns;
	b->coalesce_ns_max = max(b->coalesce_ns_max, ns);
}

void mp_blocks_read_stats(const struct mp_blocks *b, struct mempool_pool_stats *stats)
{
	*stats = (struct mempool_pool_stats){
		.block_size = b->block_size,
		.stride = b->slab->stride,
		.nr_blocks = b->slab->nr,
		.issued = b->slab->issued,
		.free = mp_slab_free(b->slab),
		.gaps = mp_slab_gaps(b->slab),
		.gets = b->gets,
		.returns = b->returns,
		.bad_returns = b->bad_returns,
		.adopts = b->adopts,
		.coalesces = b->coalesces,
		.auto_coalesces = b->auto_coalesces,
		.coalesce_ns_last = b->coalesce_ns_last,
		.coalesce_ns_max = b->coalesce_ns_max,
		.threshold = b->threshold,
	};
}
