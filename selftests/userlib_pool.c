// SPDX-License-Identifier: MIT OR GPL-2.0
/* libmempool: opening a session, its options, closing it. */
// also: 32-bit
#include "mp_userlib.h"

static int open_with(struct mempool **pool, const struct mempool_options *opts)
{
	*pool = NULL;
	return mempool_open(pool, opts);
}

FIXTURE(device) {
	struct mempool *pool;
	struct mempool_options opts;
};

FIXTURE_SETUP(device)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	unsetenv("MEMPOOL_DEVICE");
	self->opts = (struct mempool_options) MEMPOOL_OPTIONS_INIT;
	self->pool = NULL;
}

FIXTURE_TEARDOWN(device)
{
	mempool_close(self->pool);
	EXPECT_TRUE(mp_settled());
}

TEST(version_is_that_of_the_header)
{
	char want[32];

	snprintf(want, sizeof(want), "%d.%d.%d", MEMPOOL_VERSION_MAJOR,
		 MEMPOOL_VERSION_MINOR, MEMPOOL_VERSION_PATCH);
	EXPECT_STREQ(want, mempool_version());
}

TEST_F(device, opens_with_default_options)
{
	EXPECT_EQ(0, mempool_open(&self->pool, NULL));
	EXPECT_NE(NULL, mempool_alloc(self->pool, 1000));
}

TEST_F(device, opens_with_initialised_options)
{
	EXPECT_EQ(0, mempool_open(&self->pool, &self->opts));
}

TEST_F(device, close_of_nothing_is_fine)
{
	mempool_close(NULL);
}

TEST_F(device, close_gives_everything_back)
{
	struct mp_books books;

	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
	ASSERT_NE(NULL, mempool_alloc(self->pool, 10 << 20));
	mempool_close(self->pool);
	self->pool = NULL;
	EXPECT_TRUE(mp_settled_books(&books));
}

TEST_F(device, close_unmaps)
{
	unsigned int nr;

	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	mempool_close(self->pool);
	self->pool = NULL;
	mp_mappings(&nr);
	EXPECT_EQ(0, nr);
}

TEST_F(device, that_does_not_exist_is_enoent)
{
	self->opts.device = "/dev/no-such-device";
	EXPECT_EQ(-ENOENT, open_with(&self->pool, &self->opts));
}

TEST_F(device, of_another_kind_is_enotty)
{
	self->opts.device = "/dev/null";
	EXPECT_EQ(-ENOTTY, open_with(&self->pool, &self->opts));
}

TEST_F(device, is_named_by_the_environment)
{
	setenv("MEMPOOL_DEVICE", "/dev/no-such-device", 1);
	EXPECT_EQ(-ENOENT, open_with(&self->pool, NULL));
}

TEST_F(device, an_empty_environment_means_the_default)
{
	setenv("MEMPOOL_DEVICE", "", 1);
	EXPECT_EQ(0, open_with(&self->pool, NULL));
}

TEST_F(device, option_beats_environment)
{
	setenv("MEMPOOL_DEVICE", "/dev/no-such-device", 1);
	self->opts.device = MEMPOOL_DEVICE_DEFAULT;
	EXPECT_EQ(0, open_with(&self->pool, &self->opts));
}

TEST_F(device, open_leaves_errno_alone)
{
	self->opts.device = "/dev/no-such-device";
	errno = 77;
	open_with(&self->pool, &self->opts);
	EXPECT_EQ(77, errno);
}

static int open_as_stranger(void *arg)
{
	struct mempool *pool;

	CHECK(mempool_open(&pool, arg) == -EACCES);
	return 0;
}

TEST_F(device, without_permission_is_eacces)
{
	int status;

	ASSERT_EQ(0, chmod(MP_DEV, 0600));
	status = mp_run(MP_USER_A, open_as_stranger, NULL);
	chmod(MP_DEV, 0666);
	EXPECT_EQ(0, status);
}

TEST(more_sessions_than_allowed_are_enfile)
{
	struct mempool *one, *two;

	ASSERT_EQ(0, mp_require("reserve=8M max_sessions=1"));
	ASSERT_EQ(0, mempool_open(&one, NULL));
	EXPECT_EQ(-ENFILE, mempool_open(&two, NULL));
	mempool_close(one);
}

TEST_F(device, descriptor_is_closed_on_exec)
{
	int fd, found = 0;
	struct stat dev, st;

	ASSERT_EQ(0, stat(MP_DEV, &dev));
	ASSERT_EQ(0, mempool_open(&self->pool, NULL));
	for (fd = 3; fd < 100; fd++) {
		if (fstat(fd, &st) || st.st_rdev != dev.st_rdev || !S_ISCHR(st.st_mode))
			continue;
		found++;
		EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	}
	EXPECT_EQ(1, found);
}

/* ---- options ----------------------------------------------------------------- */

TEST_F(device, options_shorter_than_the_first_version_are_refused)
{
	self->opts.size--;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, longer_options_are_accepted_when_zero)
{
	struct {
		struct mempool_options opts;
		char tail[16];
	} longer = { .opts = self->opts };

	longer.opts.size = sizeof(longer);
	EXPECT_EQ(0, open_with(&self->pool, &longer.opts));
}

TEST_F(device, longer_options_are_refused_when_not_zero)
{
	struct {
		struct mempool_options opts;
		char tail[16];
	} longer = { .opts = self->opts, .tail[15] = 1 };

	longer.opts.size = sizeof(longer);
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &longer.opts));
}

TEST_F(device, an_unknown_flag_is_refused)
{
	self->opts.flags = 1u << 20;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, the_librarys_own_flag_is_refused)
{
	self->opts.flags = 1u << 31;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, a_node_below_any_is_refused)
{
	self->opts.node = -2;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, a_node_that_does_not_exist_is_refused)
{
	self->opts.node = 100000;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, max_cached_below_default_is_refused)
{
	self->opts.max_cached = -2;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, max_cached_beyond_32_bits_is_refused)
{
	self->opts.max_cached = 1ll << 32;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, max_cached_bytes_below_default_is_refused)
{
	self->opts.max_cached_bytes = -2;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, tiers_without_a_count_are_refused)
{
	struct mempool_option_tier tier = { UINT64_MAX, 64 };

	self->opts.tiers = &tier;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, a_count_without_tiers_is_refused)
{
	self->opts.nr_tiers = 1;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, too_many_tiers_are_refused)
{
	struct mempool_option_tier tiers[17] = { { UINT64_MAX, 64 } };

	self->opts.tiers = tiers;
	self->opts.nr_tiers = 17;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, tiers_that_do_not_rise_are_refused)
{
	struct mempool_option_tier tiers[2] = { { 1000, 64 }, { 1000, 64 } };

	self->opts.tiers = tiers;
	self->opts.nr_tiers = 2;
	EXPECT_EQ(-EINVAL, open_with(&self->pool, &self->opts));
}

TEST_F(device, own_tiers_are_the_rule)
{
	struct mempool_option_tier tiers[3] = {
		{ 5120, 1024 }, { 51200, 10240 }, { UINT64_MAX, 102400 },
	};

	self->opts.tiers = tiers;
	self->opts.nr_tiers = 3;
	ASSERT_EQ(0, open_with(&self->pool, &self->opts));
	EXPECT_EQ(1024, mempool_round_to_bucket(self->pool, 800));
	EXPECT_EQ(10240, mempool_round_to_bucket(self->pool, 8500));
	EXPECT_EQ(102400, mempool_round_to_bucket(self->pool, 85000));
}

TEST_F(device, exact_sizes_are_usable_to_the_byte)
{
	struct mempool_option_tier tier = { UINT64_MAX, 1 };

	self->opts.tiers = &tier;
	self->opts.nr_tiers = 1;
	ASSERT_EQ(0, open_with(&self->pool, &self->opts));
	EXPECT_EQ(1001, mempool_usable_size(self->pool, mempool_alloc(self->pool, 1001)));
}

TEST_F(device, min_bytes_is_owned_at_once)
{
	self->opts.min_bytes = 4 << 20;
	ASSERT_EQ(0, open_with(&self->pool, &self->opts));
	EXPECT_LE(4 << 20, mp_stats(self->pool).owned_bytes);
}

TEST_F(device, min_bytes_beyond_the_reserve_is_refused)
{
	int ret;

	self->opts.min_bytes = 1 << 30;
	ret = open_with(&self->pool, &self->opts);
	EXPECT_TRUE(ret == -ENOMEM || ret == -EDQUOT);
}

TEST_F(device, limit_bytes_limits)
{
	self->opts.limit_bytes = 4 << 20;
	ASSERT_EQ(0, open_with(&self->pool, &self->opts));
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 6 << 20));
	EXPECT_EQ(EDQUOT, errno);
}

TEST_F(device, a_readonly_session_cannot_allocate)
{
	self->opts.flags = MEMPOOL_OPEN_READONLY;
	ASSERT_EQ(0, open_with(&self->pool, &self->opts));
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 1000));
	EXPECT_EQ(EBADF, errno);
}

TEST_F(device, a_readonly_session_cannot_be_configured)
{
	self->opts.flags = MEMPOOL_OPEN_READONLY;
	self->opts.max_cached = 1;
	EXPECT_EQ(-EBADF, open_with(&self->pool, &self->opts));
}

/* The VmFlags of the mapping that blocks lie in, as smaps shows them. */
static bool mapping_has(const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool ours = false, has = false;
	unsigned long long low, high;
	char line[512];

	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%llx-%llx ", &low, &high) == 2)
			ours = strstr(line, "mempool") && strstr(line, " rw-s ");
		else if (ours && !strncmp(line, "VmFlags:", 8))
			has = strstr(line, flag);
	}
	if (smaps)
		fclose(smaps);
	return has;
}

TEST_F(device, blocks_are_not_in_core_dumps)
{
	ASSERT_EQ(0, open_with(&self->pool, NULL));
	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	EXPECT_TRUE(mapping_has(" dd"));
}

TEST_F(device, blocks_are_in_core_dumps_if_wanted)
{
	self->opts.flags = MEMPOOL_OPEN_DUMP;
	ASSERT_EQ(0, open_with(&self->pool, &self->opts));
	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	EXPECT_FALSE(mapping_has(" dd"));
}

TEST_HARNESS_MAIN
