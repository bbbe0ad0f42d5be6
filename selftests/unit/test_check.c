// SPDX-License-Identifier: MIT OR GPL-2.0
/* What is refused of a command's structure, one thing at a time. */
#include "harness.h"

#include "check.h"

TEST(a_count_is_from_one_to_the_batch)
{
	CHECK(mp_check_count(0) == -EINVAL);
	CHECK(!mp_check_count(1));
	CHECK(!mp_check_count(MP_MAX_BATCH));
	CHECK(mp_check_count(MP_MAX_BATCH + 1) == -E2BIG);
	CHECK(mp_check_count(U32_MAX) == -E2BIG);
}

/* Each unknown bit alone, on a structure that is right otherwise. */
#define CHECK_FLAGS(_check, _struct, _good, _known)			\
	for (u32 bit = 1; bit; bit <<= 1) {				\
		struct _struct bad = _good;				\
		bad.flags |= bit;					\
		CHECK((bit & (_known)) || _check(&bad) == -EINVAL);	\
	}

TEST(alloc_refuses_what_is_wrong)
{
	const struct mempool_alloc good = { .size = 1, .count = 1 };
	struct mempool_alloc bad;

	CHECK(!mp_check_alloc(&good));
	CHECK_FLAGS(mp_check_alloc, mempool_alloc, good, 7);
	bad = good, bad.size = 0;
	CHECK(mp_check_alloc(&bad) == -EINVAL);
	bad = good, bad.count = 0;
	CHECK(mp_check_alloc(&bad) == -EINVAL);
	bad = good, bad.deadline = 1;
	CHECK(mp_check_alloc(&bad) == -EINVAL);
	bad = good, bad.reserved = 1;
	CHECK(mp_check_alloc(&bad) == -EINVAL);
	bad = good, bad.size = U64_MAX / 2, bad.count = 3;
	CHECK(mp_check_alloc(&bad) == -EOVERFLOW);
	bad = good, bad.count = MP_MAX_BATCH + 1;
	CHECK(mp_check_alloc(&bad) == -E2BIG);
}

TEST(release_refuses_what_is_wrong)
{
	const struct mempool_release good = { .count = 1 };
	struct mempool_release bad;

	CHECK(!mp_check_release(&good));
	CHECK_FLAGS(mp_check_release, mempool_release, good, 7);
	bad = good, bad.reserved = 1;
	CHECK(mp_check_release(&bad) == -EINVAL);
	bad = good, bad.claims.releases = 1;
	CHECK(mp_check_release(&bad) == -EINVAL);
	bad.flags = MEMPOOL_RELEASE_CLAIMS;
	CHECK(!mp_check_release(&bad));
	bad.claims.reserved = 1;
	CHECK(mp_check_release(&bad) == -EINVAL);
	bad = good, bad.count = 0;
	CHECK(mp_check_release(&bad) == -EINVAL);
	bad.flags = MEMPOOL_RELEASE_CLAIMS;
	CHECK(!mp_check_release(&bad));
	bad.flags = MEMPOOL_RELEASE_ALL;
	CHECK(!mp_check_release(&bad));
	bad.flags |= MEMPOOL_RELEASE_CLAIMS;
	CHECK(!mp_check_release(&bad));
	bad.flags |= MEMPOOL_RELEASE_CACHED;
	CHECK(mp_check_release(&bad) == -EINVAL);
	bad.flags = MEMPOOL_RELEASE_ALL, bad.count = 1;
	CHECK(mp_check_release(&bad) == -EINVAL);
	bad = good, bad.count = MP_MAX_BATCH + 1;
	CHECK(mp_check_release(&bad) == -E2BIG);
}

TEST(preallocate_and_trim_refuse_what_is_wrong)
{
	const struct mempool_preallocate good = { .size = 1, .count = 1 };
	const struct mempool_trim trim = { };
	struct mempool_preallocate bad;
	struct mempool_trim bad_trim = { .reserved = 1 };

	CHECK(!mp_check_preallocate(&good));
	CHECK_FLAGS(mp_check_preallocate, mempool_preallocate, good, MEMPOOL_ALLOC_PAGE_ALIGNED);
	bad = good, bad.size = 0;
	CHECK(mp_check_preallocate(&bad) == -EINVAL);
	bad = good, bad.reserved = 1;
	CHECK(mp_check_preallocate(&bad) == -EINVAL);
	bad = good, bad.count = 0;
	CHECK(mp_check_preallocate(&bad) == -EINVAL);
	bad = good, bad.count = U32_MAX;
	CHECK(!mp_check_preallocate(&bad));
	bad = good, bad.size = U64_MAX;
	CHECK(!mp_check_preallocate(&bad));
	bad.count = 2;
	CHECK(mp_check_preallocate(&bad) == -EOVERFLOW);
	CHECK(!mp_check_trim(&trim));
	CHECK_FLAGS(mp_check_trim, mempool_trim, trim, 0);
	CHECK(mp_check_trim(&bad_trim) == -EINVAL);
}

TEST(configure_takes_a_field_only_with_its_flag)
{
	struct mp_tiers tiers;
	struct mempool_configure conf = { };

	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf.flags = MEMPOOL_CONFIGURE_MAX_CACHED;
	CHECK(!mp_check_configure(&conf, &tiers));
	conf.max_cached_bytes = 1;
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf = (struct mempool_configure){ .flags = MEMPOOL_CONFIGURE_NODE, .min_bytes = 1 };
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf = (struct mempool_configure){ .flags = MEMPOOL_CONFIGURE_NODE, .limit_bytes = 1 };
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf = (struct mempool_configure){ .flags = MEMPOOL_CONFIGURE_MIN_BYTES, .node = 1 };
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf = (struct mempool_configure){ .flags = MEMPOOL_CONFIGURE_NODE, .max_cached = 1 };
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf = (struct mempool_configure){ .flags = 1u << 6 };
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
}

TEST(configure_checks_tiers)
{
	struct mempool_configure conf = { .flags = MEMPOOL_CONFIGURE_TIERS, .nr_tiers = 1 };
	struct mp_tiers tiers;
	u32 i;

	conf.tiers[0] = (struct mempool_tier){ MEMPOOL_TIER_END, 64 };
	CHECK(!mp_check_configure(&conf, &tiers));
	CHECK(tiers.nr == 1 && tiers.tier[0].granularity == 64);
	conf.tiers[0].granularity = 63;
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf.tiers[0].granularity = 64;
	conf.tiers[1].below = 1;
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf.tiers[1].below = 0;
	conf.nr_tiers = MEMPOOL_MAX_TIERS + 1;
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf.nr_tiers = 1;
	conf.flags = MEMPOOL_CONFIGURE_MAX_CACHED;
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf.flags = MEMPOOL_CONFIGURE_TIERS;
	conf.nr_tiers = MEMPOOL_MAX_TIERS;
	for (i = 0; i < MEMPOOL_MAX_TIERS; i++)
		conf.tiers[i] = (struct mempool_tier){ (i + 1) * 1024, 64 };
	CHECK(mp_check_configure(&conf, &tiers) == -EINVAL);
	conf.tiers[MEMPOOL_MAX_TIERS - 1].below = MEMPOOL_TIER_END;
	CHECK(!mp_check_configure(&conf, &tiers));
}

TEST(the_shape_of_a_pool_is_checked)
{
	struct mempool_pool_create req = { .block_size = 1000, .nr_blocks = 5 };
	u64 pages;

	CHECK(!mp_check_create(&req, &pages) && pages == 2);
	req.block_size = 0;
	CHECK(mp_check_create(&req, &pages) == -EINVAL);
	req.block_size = 1000, req.nr_blocks = 0;
	CHECK(mp_check_create(&req, &pages) == -EINVAL);
	req.nr_blocks = 5, req.threshold = 30;
	CHECK(mp_check_create(&req, &pages) == -EINVAL);
	req.flags = MEMPOOL_POOL_THRESHOLD;
	CHECK(!mp_check_create(&req, &pages));
	req.threshold = 101;
	CHECK(mp_check_create(&req, &pages) == -EINVAL);
	req.threshold = 100;
	CHECK(!mp_check_create(&req, &pages));
	req.flags = 4;
	CHECK(mp_check_create(&req, &pages) == -EINVAL);
	req.flags = 0, req.threshold = 0, req.reserved = 1;
	CHECK(mp_check_create(&req, &pages) == -EINVAL);
}

TEST(a_pool_whose_bytes_do_not_fit_is_eoverflow)
{
	static const u64 sizes[] = { U64_MAX, U64_MAX - 63, U64_MAX / 2, 1ull << 62 };
	struct mempool_pool_create req = { .nr_blocks = 5 };
	u64 pages;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		req.block_size = sizes[i];
		CHECK(mp_check_create(&req, &pages) == -EOVERFLOW);
	}
	req.block_size = U64_MAX - 127, req.nr_blocks = 1;
	CHECK(mp_check_create(&req, &pages) == -EOVERFLOW);
}

static int named(const char *name, size_t len, u32 mode, u32 flags)
{
	struct mempool_pool_create req = {
		.block_size = 64, .nr_blocks = 1, .mode = mode, .flags = flags,
	};
	u64 pages;

	memcpy(req.name, name, len);
	return mp_check_create(&req, &pages);
}

TEST(names_are_of_the_portable_characters)
{
	CHECK(!named("A-z_0.9", 7, 0600, 0));
	CHECK(!named("-", 1, 0660, 0));
	CHECK(named(".", 1, 0600, 0) == -EINVAL);
	CHECK(named("..", 2, 0600, 0) == -EINVAL);
	CHECK(named(".hidden", 7, 0600, 0) == -EINVAL);
	CHECK(named("a/b", 3, 0600, 0) == -EINVAL);
	CHECK(named("a b", 3, 0600, 0) == -EINVAL);
	CHECK(named("a\n", 2, 0600, 0) == -EINVAL);
	CHECK(named("a\xe4", 2, 0600, 0) == -EINVAL);
	CHECK(named("\0b", 2, 0, 0) == -EINVAL);
	CHECK(!named("0123456789012345678901234567890", 31, 0666, 0));
	CHECK(named("01234567890123456789012345678901", 32, 0666, 0) == -ENAMETOOLONG);
	CHECK(mp_check_name("") == -EINVAL);
}

TEST(modes_are_pairs_and_only_for_names)
{
	u32 mode;

	for (mode = 0; mode < 01000; mode++)
		CHECK(named("n", 1, mode, 0) ==
		      (mode == 0600 || mode == 0660 || mode == 0666 ? 0 : -EINVAL));
	CHECK(named("", 0, 0600, 0) == -EINVAL);
	CHECK(named("", 0, 0, MEMPOOL_POOL_KEEP) == -EINVAL);
	CHECK(!named("n", 1, 0600, MEMPOOL_POOL_KEEP));
}

TEST(a_batch_refuses_what_is_wrong)
{
	const struct mempool_pool_batch good = { .count = 1 };
	struct mempool_pool_batch bad;

	CHECK(!mp_check_batch(&good));
	CHECK_FLAGS(mp_check_batch, mempool_pool_batch, good, 0);
	bad = good, bad.deadline = 1;
	CHECK(mp_check_batch(&bad) == -EINVAL);
	bad = good, bad.reserved = 1;
	CHECK(mp_check_batch(&bad) == -EINVAL);
	bad = good, bad.count = 0;
	CHECK(mp_check_batch(&bad) == -EINVAL);
}
