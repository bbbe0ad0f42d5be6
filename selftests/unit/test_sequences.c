// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Sequences on a block pool, as tables: fragmentation, efficiency and when the
 * automatic coalesce runs (threshold 20).
 */
#include "fixture.h"

enum op { END, GET, GET_ALL, EXHAUSTED, RET, TWICE, COALESCE, RESET };

struct step {
	enum op op;
	u32 arg;	/* GET: how many; RET, TWICE: index */
	u32 free;	/* blocks, after the step */
	u32 millis;	/* fragmentation in 1/1000 percent, rounded down */
	bool coalesced;	/* by itself */
};

struct sequence {
	u32 nr;
	struct step step[40];
};

static u32 millis(const struct mp_slab *slab)
{
	u64 free = mp_slab_free(slab);

	return free > 1 ? mp_slab_gaps(slab) * 100000 / (free - 1) : 0;
}

static void get(struct mp_slab *slab, u32 nr)
{
	bool reused;
	u32 index;

	while (nr--) {
		CHECK(!slab_take_one(slab, &index, &reused));
		slab_publish_one(slab, index);
	}
}

static void reset(struct mp_slab *slab)
{
	u32 i;

	for (i = mp_slab_next_live(slab, 0); i < slab->nr; i = mp_slab_next_live(slab, i))
		CHECK(!mp_slab_give_one(slab, i));
}

/* Does the step; returns whether the rule asked for a coalesce. */
static bool take_step(struct mp_slab *slab, const struct step *step)
{
	bool reused, asked = false;
	u32 index;

	switch (step->op) {
	case GET:
		get(slab, step->arg);
		break;
	case GET_ALL:
		get(slab, mp_slab_free(slab));
		break;
	case EXHAUSTED:
		CHECK(slab_take_one(slab, &index, &reused) == -ENOSPC);
		break;
	case RET:
		CHECK(!mp_slab_give_one(slab, step->arg));
		asked = mp_slab_fragmented(slab, MEMPOOL_DEFAULT_THRESHOLD);
		break;
	case TWICE:
		CHECK(mp_slab_give_one(slab, step->arg) == -ENOENT);
		break;
	case RESET:
		reset(slab);
		break;
	default:
		break;
	}
	if (asked || step->op == COALESCE)
		mp_slab_coalesce(slab);
	return asked;
}

static void play(const struct sequence *seq)
{
	struct mp_slab *slab = mp_slab_create(0, 1, 64, seq->nr);
	const struct step *step;

	CHECK(slab && slab->nr == seq->nr);
	for (step = seq->step; step->op; step++) {
		CHECK(take_step(slab, step) == step->coalesced);
		CHECK(mp_slab_free(slab) == step->free);
		CHECK(millis(slab) == step->millis);
		CHECK(mp_slab_valid(slab));
	}
	mp_slab_destroy(slab);
}

static const struct sequence of_20_gets_18_then_19_then_all = {
	20,
	{
		{ GET, 18, 2, 0, 0 },
		{ GET, 1, 1, 0, 0 },
		{ GET, 1, 0, 0, 0 },
		{ EXHAUSTED, 0, 0, 0, 0 },
	},
};

TEST(sequence_of_20_gets_18_then_19_then_all)
{
	play(&of_20_gets_18_then_19_then_all);
}

static const struct sequence of_10_returned_evens_first = {
	10,
	{
		{ GET_ALL, 0, 0, 0, 0 },
		{ RET, 0, 1, 0, 0 },
		{ RET, 2, 2, 100000, 1 },
		{ RET, 4, 3, 100000, 1 },
		{ RET, 6, 4, 100000, 1 },
		{ RET, 1, 5, 50000, 1 },
		{ RET, 3, 6, 20000, 0 },
		{ RET, 5, 7, 0, 0 },
		{ RET, 7, 8, 0, 0 },
		{ RET, 9, 9, 12500, 0 },
	},
};

TEST(sequence_of_10_returned_evens_first)
{
	play(&of_10_returned_evens_first);
}

static const struct sequence of_12_at_the_threshold_and_above = {
	12,
	{
		{ GET_ALL, 0, 0, 0, 0 },
		{ RET, 0, 1, 0, 0 },
		{ RET, 1, 2, 0, 0 },
		{ RET, 2, 3, 0, 0 },
		{ RET, 3, 4, 0, 0 },
		{ RET, 4, 5, 0, 0 },
		{ RET, 6, 6, 20000, 0 },
		{ RET, 11, 7, 33333, 1 },
		{ RET, 9, 8, 42857, 1 },
	},
};

TEST(sequence_of_12_at_the_threshold_and_above)
{
	play(&of_12_at_the_threshold_and_above);
}

static const struct sequence of_8_down_to_the_threshold = {
	8,
	{
		{ GET_ALL, 0, 0, 0, 0 },
		{ RET, 7, 1, 0, 0 },
		{ RET, 5, 2, 100000, 1 },
		{ RET, 4, 3, 50000, 1 },
		{ RET, 3, 4, 33333, 1 },
		{ RET, 2, 5, 25000, 1 },
		{ RET, 1, 6, 20000, 0 },
	},
};

TEST(sequence_of_8_down_to_the_threshold)
{
	play(&of_8_down_to_the_threshold);
}

static const struct sequence of_20_with_five_returned_and_taken_again = {
	20,
	{
		{ GET_ALL, 0, 0, 0, 0 },
		{ RET, 9, 1, 0, 0 },
		{ RET, 2, 2, 100000, 1 },
		{ RET, 7, 3, 100000, 1 },
		{ RET, 1, 4, 66666, 1 },
		{ RET, 5, 5, 75000, 1 },
		{ COALESCE, 0, 5, 75000, 0 },
		{ GET, 5, 0, 0, 0 },
		{ EXHAUSTED, 0, 0, 0, 0 },
		/* The five were 1, 2, 5, 7, 9: so these are live again. */
		{ RET, 1, 1, 0, 0 },
		{ RET, 2, 2, 0, 0 },
		{ RET, 5, 3, 50000, 1 },
		{ RET, 7, 4, 66666, 1 },
		{ RET, 9, 5, 75000, 1 },
	},
};

TEST(sequence_of_20_with_five_returned_and_taken_again)
{
	play(&of_20_with_five_returned_and_taken_again);
}

static const struct sequence of_5_with_a_second_return = {
	5,
	{
		{ GET, 1, 4, 0, 0 },
		{ RET, 0, 5, 0, 0 },
		{ TWICE, 0, 5, 0, 0 },
		{ TWICE, 0, 5, 0, 0 },
		{ TWICE, 3, 5, 0, 0 },
	},
};

TEST(sequence_of_5_with_a_second_return)
{
	play(&of_5_with_a_second_return);
}

static const struct sequence of_3_exhausted_twice = {
	3,
	{
		{ GET, 3, 0, 0, 0 },
		{ EXHAUSTED, 0, 0, 0, 0 },
		{ RET, 1, 1, 0, 0 },
		{ GET, 1, 0, 0, 0 },
		{ EXHAUSTED, 0, 0, 0, 0 },
		{ RET, 1, 1, 0, 0 },
	},
};

TEST(sequence_of_3_exhausted_twice)
{
	play(&of_3_exhausted_twice);
}

static const struct sequence of_6_with_a_reset = {
	6,
	{
		{ GET_ALL, 0, 0, 0, 0 },
		{ RET, 0, 1, 0, 0 },
		{ RET, 2, 2, 100000, 1 },
		{ RET, 4, 3, 100000, 1 },
		{ RESET, 0, 6, 0, 0 },
	},
};

TEST(sequence_of_6_with_a_reset)
{
	play(&of_6_with_a_reset);
}

TEST(sequence_single_free_block_is_not_fragmented)
{
	u32 nr, i;

	for (nr = 1; nr <= 64; nr++) {
		struct mp_slab *slab = mp_slab_create(0, 1, 64, nr);

		CHECK(slab);
		get(slab, nr);
		CHECK(!millis(slab) && !mp_slab_fragmented(slab, 0));
		for (i = 0; i < nr; i++) {
			CHECK(!mp_slab_give_one(slab, i));
			CHECK(!millis(slab) && !mp_slab_fragmented(slab, 0));
			get(slab, 1);
		}
		mp_slab_destroy(slab);
	}
}

/* Whatever the order of returns, the pool can be driven to its last block. */
TEST(sequence_reaches_100_percent_after_any_churn)
{
	FOR_EACH_SEED(s) {
		struct mp_slab *slab = mp_slab_create(0, 10, 64, 640);
		u32 i, index;

		CHECK(slab);
		for (i = 0; i < 20000; i++) {
			index = mp_slab_next_live(slab, random_below(slab->nr));
			if (random_chance(50) && index < slab->nr)
				CHECK(!mp_slab_give_one(slab, index));
			else if (mp_slab_free(slab))
				get(slab, 1);
		}
		get(slab, mp_slab_free(slab));
		CHECK(slab->live_count == 640 && mp_slab_valid(slab));
		mp_slab_destroy(slab);
	}
}
