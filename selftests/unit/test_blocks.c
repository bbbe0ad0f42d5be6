// SPDX-License-Identifier: MIT OR GPL-2.0
/* Blocks by index: holders, generations, tokens. */
#include "harness.h"

#include "blocks.h"

#define A	1u	/* members */
#define B	2u

static struct mp_blocks pool(u32 nr)
{
	struct mp_blocks b;

	CHECK(!mp_blocks_init(&b, 7, 1000, nr, 20));
	return b;
}

static struct mempool_token get(struct mp_blocks *b, u32 member)
{
	struct mempool_token token;

	CHECK(mp_blocks_get(b, member, &token, 1) == 1);
	return token;
}

static int find(struct mp_blocks *b, u32 index, u32 generation, u32 member)
{
	struct mempool_token token = { index, generation };
	u32 found;
	int err = mp_blocks_find(b, &token, member, &found);

	CHECK(err || found == index);
	return err;
}

TEST(blocks_lie_one_stride_apart)
{
	struct mp_blocks b = pool(5);

	CHECK(b.slab->stride == 1024);
	CHECK(b.slab->start == 7);
	CHECK(b.slab->pages == 2);
	CHECK(mp_blocks_stride(4096) == 4096);
	mp_blocks_destroy(&b);
}

TEST(blocks_are_issued_from_the_lowest_index_until_none_is_free)
{
	struct mp_blocks b = pool(3);
	struct mempool_token token;
	u32 i;

	for (i = 0; i < 3; i++)
		CHECK(get(&b, A).index == i);
	CHECK(mp_blocks_get(&b, A, &token, 1) == 0);
	CHECK(b.gets == 3);
	mp_blocks_destroy(&b);
}

/* Of 200 blocks every third is out: the others come, in order, up to the last. */
TEST(blocks_come_in_batches_as_they_would_one_by_one)
{
	struct mp_blocks b = pool(200);
	struct mempool_token tokens[200];
	u32 i, want = 0, nr;

	CHECK(mp_blocks_get(&b, A, tokens, 200) == 200);
	for (i = 0; i < 200; i++)
		if (i % 3)
			mp_blocks_return(&b, i);
	nr = mp_blocks_get(&b, B, tokens, 100);
	CHECK(nr == 100);
	nr += mp_blocks_get(&b, B, tokens + nr, 200);
	CHECK(nr == 133 && b.gets == 333);
	for (i = 0; i < nr; i++) {
		want += want % 3 == 0;
		CHECK(tokens[i].index == want && tokens[i].generation == 1);
		CHECK(!find(&b, want++, 1, B));
	}
	mp_blocks_destroy(&b);
}

TEST(a_token_is_its_holders_until_it_is_returned)
{
	struct mp_blocks b = pool(3);
	struct mempool_token token = get(&b, A);

	CHECK(!find(&b, token.index, token.generation, A));
	CHECK(!find(&b, token.index, token.generation, 0));
	CHECK(find(&b, token.index, token.generation, B) == -ENOENT);
	CHECK(mp_blocks_return(&b, token.index) == A);
	CHECK(find(&b, token.index, token.generation, A) == -ESTALE);
	CHECK(find(&b, token.index, token.generation + 1, A) == -ENOENT);
	mp_blocks_destroy(&b);
}

TEST(a_token_never_names_a_later_issue)
{
	struct mp_blocks b = pool(1);
	struct mempool_token old = get(&b, A), new;

	mp_blocks_return(&b, 0);
	new = get(&b, B);
	CHECK(new.index == old.index && new.generation != old.generation);
	CHECK(find(&b, old.index, old.generation, 0) == -ESTALE);
	CHECK(!find(&b, new.index, new.generation, B));
	mp_blocks_destroy(&b);
}

TEST(an_index_beyond_the_pool_is_erange)
{
	struct mp_blocks b = pool(5);

	CHECK(find(&b, 5, 0, 0) == -ERANGE);
	CHECK(find(&b, 100, 0, 0) == -ERANGE);
	CHECK(find(&b, U32_MAX, 0, 0) == -ERANGE);
	CHECK(find(&b, 4, 0, 0) == -ENOENT);
	mp_blocks_destroy(&b);
}

TEST(adopting_moves_the_holder_and_keeps_the_generation)
{
	struct mp_blocks b = pool(3);
	struct mempool_token token = get(&b, A);

	CHECK(mp_blocks_adopt(&b, token.index, B) == A);
	CHECK(find(&b, token.index, token.generation, A) == -ENOENT);
	CHECK(!find(&b, token.index, token.generation, B));
	CHECK(b.adopts == 1);
	CHECK(mp_blocks_return(&b, token.index) == B);
	mp_blocks_destroy(&b);
}

TEST(what_was_not_told_is_not_counted)
{
	struct mp_blocks b = pool(3);
	struct mempool_token token = get(&b, A);

	mp_blocks_unget(&b, token.index);
	CHECK(!b.gets && !b.returns);
	CHECK(mp_slab_free(b.slab) == 3);
	CHECK(find(&b, token.index, token.generation, 0) == -ESTALE);
	mp_blocks_destroy(&b);
}

TEST(the_blocks_of_a_member_are_found_in_order)
{
	struct mp_blocks b = pool(200);
	u32 i, index = 0, found = 0;

	for (i = 0; i < 200; i++)
		get(&b, i % 3 ? A : B);
	while ((index = mp_blocks_next_held(&b, B, index)) < 200) {
		CHECK(index == 3 * found);
		found++;
		index++;
	}
	CHECK(found == 67);
	CHECK(mp_blocks_next_held(&b, 0, 1) == 1);
	CHECK(mp_blocks_next_held(&b, 9, 0) == 200);
	mp_blocks_destroy(&b);
}

TEST(coalesces_are_counted_and_timed)
{
	struct mp_blocks b = pool(3);
	struct mempool_pool_stats st;

	mp_blocks_coalesced(&b, 30, true);
	mp_blocks_coalesced(&b, 20, false);
	mp_blocks_read_stats(&b, &st);
	CHECK(st.coalesces == 2 && st.auto_coalesces == 1);
	CHECK(st.coalesce_ns_last == 20 && st.coalesce_ns_max == 30);
	mp_blocks_destroy(&b);
}

TEST(statistics_say_the_state)
{
	struct mp_blocks b = pool(10);
	struct mempool_pool_stats st;
	u32 i;

	for (i = 0; i < 10; i++)
		get(&b, A);
	for (i = 0; i < 10; i += 2)
		mp_blocks_return(&b, i);
	b.bad_returns = 3;
	mp_blocks_read_stats(&b, &st);
	CHECK(st.block_size == 1000 && st.stride == 1024 && st.nr_blocks == 10);
	CHECK(st.issued == 5 && st.free == 5 && st.gaps == 4);
	CHECK(st.gets == 10 && st.returns == 5 && st.bad_returns == 3);
	CHECK(st.threshold == 20 && !st.disorder);
	mp_blocks_destroy(&b);
}

TEST(blocks_without_memory_are_refused_and_leave_nothing)
{
	struct mp_blocks b;
	long nr;

	for (nr = 0; nr < 2; nr++) {
		memory_fail_after(nr);
		CHECK(mp_blocks_init(&b, 0, 64, 1000, 20) == -ENOMEM);
		CHECK(memory_failed());
		CHECK(!memory.blocks);
	}
	CHECK(!mp_blocks_init(&b, 0, 64, 1000, 20));
	mp_blocks_destroy(&b);
}

TEST(a_million_blocks_cost_less_than_nine_bytes_each)
{
	struct mp_blocks b;

	CHECK(!mp_blocks_init(&b, 0, 64, 1000000, 20));
	CHECK(memory.bytes <= 9u * 1000000);
	mp_blocks_destroy(&b);
}
