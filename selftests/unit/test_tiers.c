// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The rounding rule: points, classes, sums, and its edges in 64 bits.
 */
#include "harness.h"

struct point {
	u64 size;
	u64 rounded;
};

static const struct point points[] = {
	{ 1, 1024 }, { 2, 1024 }, { 511, 1024 }, { 512, 1024 }, { 800, 1024 },
	{ 1000, 1024 }, { 1023, 1024 }, { 1024, 1024 }, { 1025, 2048 }, { 1100, 2048 },
	{ 1535, 2048 }, { 1536, 2048 }, { 2047, 2048 }, { 2048, 2048 }, { 2049, 3072 },
	{ 4000, 4096 }, { 4095, 4096 }, { 4096, 4096 }, { 4097, 5120 }, { 5000, 5120 },
	{ 5120, 5120 }, { 8192, 8192 }, { 8500, 9216 }, { 9215, 9216 }, { 9216, 9216 },
	{ 9217, 10240 }, { 9500, 10240 }, { 10000, 10240 }, { 10239, 10240 },
	{ 10240, 10240 }, { 10241, 20480 }, { 10242, 20480 }, { 15000, 20480 },
	{ 15360, 20480 }, { 20479, 20480 }, { 20480, 20480 }, { 20481, 30720 },
	{ 50000, 51200 }, { 51200, 51200 }, { 51201, 61440 }, { 80000, 81920 },
	{ 81920, 81920 }, { 81921, 92160 }, { 85000, 92160 }, { 92160, 92160 },
	{ 92161, 102400 }, { 95000, 102400 }, { 99999, 102400 }, { 100000, 102400 },
	{ 102399, 102400 }, { 102400, 102400 }, { 102401, 204800 }, { 150000, 204800 },
	{ 204799, 204800 }, { 204800, 204800 }, { 204801, 307200 }, { 307200, 307200 },
	{ 307201, 409600 }, { 500000, 512000 }, { 512000, 512000 }, { 512001, 614400 },
	{ 1000000, 1024000 }, { 1048576, 1126400 }, { 4194304, 4198400 },
	{ 10485760, 10547200 }, { 2147483647, 2147532800 }, { 2147483648, 2147532800 },
	{ 4294967295, 4295065600 }, { 4294967296, 4295065600 },
	{ 1099511627776, 1099511705600 }, { 9223372036854775807, 9223372036854784000u },
};

static const u64 classes[] = {
	1024, 2048, 3072, 4096, 5120, 6144, 7168, 8192, 9216, 10240,
	20480, 30720, 40960, 51200, 61440, 71680, 81920, 92160, 102400,
	204800, 307200, 409600, 512000, 614400, 716800, 819200, 921600, 1024000, 1126400,
};

TEST(rounding_points)
{
	u64 rounded;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(points); i++) {
		CHECK(!mp_round_to_bucket(&mp_default_tiers, points[i].size, &rounded));
		CHECK(rounded == points[i].rounded);
	}
}

/* The sum over 0 to 400000, where 0 would add nothing. */
TEST(rounding_sum_to_400000)
{
	u64 n, rounded, sum = 0;

	for (n = 1; n <= 400000; n++) {
		CHECK(!mp_round_to_bucket(&mp_default_tiers, n, &rounded));
		CHECK(rounded >= n);
		sum += rounded;
	}
	CHECK(sum == 96159662080);
}

TEST(rounding_classes_to_1_mib)
{
	u64 n, rounded, before = 0;
	u32 nr = 0;

	for (n = 1; n <= 1 << 20; n++) {
		CHECK(!mp_round_to_bucket(&mp_default_tiers, n, &rounded));
		if (rounded == before)
			continue;
		CHECK(nr < ARRAY_SIZE(classes) && rounded == classes[nr]);
		before = rounded;
		nr++;
	}
	CHECK(nr == 29 && nr == ARRAY_SIZE(classes));
}

TEST(rounding_a_class_is_its_own_class)
{
	u64 rounded;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(classes); i++) {
		CHECK(!mp_round_to_bucket(&mp_default_tiers, classes[i], &rounded));
		CHECK(rounded == classes[i]);
	}
}

TEST(rounding_of_no_bytes_is_refused)
{
	u64 rounded = 5;

	CHECK(mp_round_to_bucket(&mp_default_tiers, 0, &rounded) == -EINVAL);
	CHECK(rounded == 5);
}

/* The last class below 2^64 and what is above it. */
TEST(rounding_overflows_where_64_bits_end)
{
	u64 top = U64_MAX / 102400 * 102400, rounded;

	CHECK(!mp_round_to_bucket(&mp_default_tiers, top, &rounded) && rounded == top);
	CHECK(!mp_round_to_bucket(&mp_default_tiers, top - 1, &rounded) && rounded == top);
	CHECK(mp_round_to_bucket(&mp_default_tiers, top + 1, &rounded) == -EOVERFLOW);
	CHECK(mp_round_to_bucket(&mp_default_tiers, U64_MAX, &rounded) == -EOVERFLOW);
}

/* Powers of two and their neighbours, up to 2^63, against plain arithmetic. */
TEST(rounding_around_powers_of_two)
{
	u64 rounded, size, want;
	int bit, d;

	for (bit = 17; bit < 64; bit++) {
		for (d = -1; d <= 1; d++) {
			size = (1ull << bit) + d;
			want = (size / 102400 + !!(size % 102400)) * 102400;
			CHECK(!mp_round_to_bucket(&mp_default_tiers, size, &rounded));
			CHECK(rounded == want);
		}
	}
}

TEST(rounding_follows_other_tiers)
{
	static const struct mp_tiers tiers = {
		.nr = 3,
		.tier = { { 5120, 1024 }, { 51200, 10240 }, { MEMPOOL_TIER_END, 102400 } },
	};
	static const struct point other[] = {
		{ 800, 1024 }, { 5119, 5120 }, { 5120, 10240 }, { 8500, 10240 },
		{ 51199, 51200 }, { 51200, 102400 }, { 85000, 102400 },
	};
	u64 rounded;
	u32 i;

	CHECK(!mp_tiers_check(&tiers));
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		CHECK(!mp_round_to_bucket(&tiers, other[i].size, &rounded));
		CHECK(rounded == other[i].rounded);
	}
}

TEST(rounding_with_granularity_1_is_exact)
{
	static const struct mp_tiers exact = { 1, { { MEMPOOL_TIER_END, 1 } } };
	static const u64 sizes[] = { 1, 63, 64, 65, 4097, 1ull << 40, U64_MAX - 1, U64_MAX };
	u64 rounded;
	u32 i;

	CHECK(!mp_tiers_check(&exact));
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		CHECK(!mp_round_to_bucket(&exact, sizes[i], &rounded) && rounded == sizes[i]);
}

static bool refused(struct mp_tiers tiers)
{
	return mp_tiers_check(&tiers) == -EINVAL;
}

TEST(tiers_check_takes_the_default_and_16_tiers)
{
	struct mp_tiers most = { .nr = MEMPOOL_MAX_TIERS };
	u32 i;

	for (i = 0; i < most.nr; i++)
		most.tier[i] = (struct mempool_tier){ 1000 * (i + 1), 64 * (i + 1) };
	CHECK(refused(most));
	most.tier[i - 1].below = MEMPOOL_TIER_END;
	CHECK(!mp_tiers_check(&most));
	CHECK(!mp_tiers_check(&mp_default_tiers));
}

TEST(tiers_check_refuses_a_wrong_number)
{
	CHECK(refused((struct mp_tiers){ 0, { { MEMPOOL_TIER_END, 64 } } }));
	CHECK(refused((struct mp_tiers){ MEMPOOL_MAX_TIERS + 1, { { MEMPOOL_TIER_END, 64 } } }));
}

TEST(tiers_check_refuses_borders_that_do_not_rise)
{
	CHECK(refused((struct mp_tiers){ 2, { { 0, 64 }, { MEMPOOL_TIER_END, 64 } } }));
	CHECK(refused((struct mp_tiers){ 3, { { 9, 64 }, { 9, 64 }, { MEMPOOL_TIER_END, 64 } } }));
	CHECK(refused((struct mp_tiers){ 3, { { 9, 64 }, { 8, 64 }, { MEMPOOL_TIER_END, 64 } } }));
	CHECK(refused((struct mp_tiers){
		2, { { MEMPOOL_TIER_END, 64 }, { MEMPOOL_TIER_END, 64 } }
	}));
}

TEST(tiers_check_refuses_an_open_end)
{
	CHECK(refused((struct mp_tiers){ 1, { { MEMPOOL_TIER_END - 1, 64 } } }));
}

TEST(tiers_check_refuses_granularities)
{
	static const u64 bad[] = { 0, 2, 32, 63, 65, 100, MEMPOOL_TIER_END };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(refused((struct mp_tiers){ 1, { { MEMPOOL_TIER_END, bad[i] } } }));
}
