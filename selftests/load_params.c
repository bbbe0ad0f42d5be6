// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The module's parameters: what loads, and what does not, with a line in the log
 * that names the parameter, and nothing left behind.
 */
#include "mp_proc.h"

/* The kernel's log from here on. */
static int log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	lseek(fd, 0, SEEK_END);
	return fd;
}

/* Whether a line of the module in the log since then has @word. */
static bool log_says(int fd, const char *word)
{
	char line[2048];
	bool found = false;
	ssize_t n;

	while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		if (strstr(line, "mempool") && strstr(line, word))
			found = true;
	}
	return found;
}

FIXTURE(no_module) {
	int log;
};

FIXTURE_SETUP(no_module)
{
	self->log = log_open();
	ASSERT_LE(0, self->log);
	if (mp_loaded())
		ASSERT_EQ(0, mp_unload());
}

FIXTURE_TEARDOWN(no_module)
{
	close(self->log);
	if (mp_loaded())
		EXPECT_EQ(0, mp_unload());
}

/* ---- what does not load ------------------------------------------------------------- */

struct bad {
	const char *param, *value;
	int error;	/* 0: EINVAL */
};

static const struct bad bad[] = {
	{ "reserve", "" },
	{ "reserve", "0" },
	{ "reserve", "-1" },
	{ "reserve", "-2M" },
	{ "reserve", "+2M" },
	{ "reserve", "x" },
	{ "reserve", "1" },
	{ "reserve", "1M" },
	{ "reserve", "3M" },
	{ "reserve", "2097153" },
	{ "reserve", "64MM" },
	{ "reserve", "64Mx" },
	{ "reserve", "64 M" },
	{ "reserve", "0x4000000" },
	{ "reserve", "64.5M" },
	{ "reserve", "M" },
	{ "reserve", "64Q" },
	{ "reserve", "18446744073709551615" },
	{ "reserve", "18446744073709551616" },
	{ "reserve", "99999999999999999999999999999999" },
	{ "reserve", "16777216T" },
	{ "reserve", "17T" },
	{ "reserve", "18014398509481986K" },
	{ "reserve", "1T", ENOMEM },
	{ "reserve", "16T", ENOMEM },
	{ "reserve", "64G", ENOMEM },
	{ "session_limit", "" },
	{ "session_limit", "-1" },
	{ "session_limit", "x" },
	{ "session_limit", "1" },
	{ "session_limit", "2Mx" },
	{ "session_limit", "18446744073709551616" },
	{ "user_limit", "" },
	{ "user_limit", "-1" },
	{ "user_limit", "x" },
	{ "user_limit", "4096" },
	{ "user_limit", "99999999999999T" },
	{ "max_sessions", "" },
	{ "max_sessions", "0" },
	{ "max_sessions", "-1" },
	{ "max_sessions", "x" },
	{ "max_sessions", "1.5" },
	{ "max_sessions", "99999999999999999999" },
	{ "spare", "" },
	{ "spare", "-1" },
	{ "spare", "x" },
	{ "spare", "1M" },
	{ "spare", "99999999999999999999" },
	{ "tiers", "x" },
	{ "tiers", "," },
	{ "tiers", "1024" },
	{ "tiers", ":" },
	{ "tiers", "max:" },
	{ "tiers", ":64" },
	{ "tiers", "max:0" },
	{ "tiers", "max:-64" },
	{ "tiers", "max:63" },
	{ "tiers", "max:96" },
	{ "tiers", "max:64," },
	{ "tiers", "max:64:64" },
	{ "tiers", "10K:1K" },
	{ "tiers", "10K:1K,10K:2K,max:4K" },
	{ "tiers", "10K:1K,5K:2K,max:4K" },
	{ "tiers", "0:64,max:64" },
	{ "tiers", "max:64,max:64" },
	{ "tiers", "max:64,10K:64" },
	{ "tiers", "1:64,2:64,3:64,4:64,5:64,6:64,7:64,8:64,9:64,10:64,11:64,12:64,13:64,14:64,15:64,16:64,max:64" },
	{ "tiers", "18446744073709551616:64,max:64" },
	{ "fixed", "x" },
	{ "fixed", "," },
	{ "fixed", ":" },
	{ "fixed", "a" },
	{ "fixed", "a:" },
	{ "fixed", "a:64" },
	{ "fixed", "a:64x" },
	{ "fixed", "a:x10" },
	{ "fixed", "a:64x10," },
	{ "fixed", ":64x10" },
	{ "fixed", "a:0x10" },
	{ "fixed", "a:64x0" },
	{ "fixed", "a:-64x10" },
	{ "fixed", "a:64x-10" },
	{ "fixed", "a:64x4294967296" },
	{ "fixed", "a:64x10:0777" },
	{ "fixed", "a:64x10:0" },
	{ "fixed", "a:64x10:0640" },
	{ "fixed", "a:64x10:rw" },
	{ "fixed", "a:64x10:0600:" },
	{ "fixed", "a/b:64x10" },
	{ "fixed", "..:64x10" },
	{ "fixed", ".a:64x10" },
	{ "fixed", "01234567890123456789012345678901:64x10" },
	{ "fixed", "a:18446744073709551680x1" },
	{ "fixed", "a:17179869185Gx1", },
	{ "fixed", "a:64x10,a:64x10" },
	{ "fixed", "a:1Gx1", ENOMEM },
	{ "fixed", "a:40Mx1,b:40Mx1", ENOMEM },
	{ "fixed", "a:8Ex8" },
	{ "fixed", "a:4194304Tx8", EOVERFLOW },
};

static const char *const good[] = {
	"reserve=2M", "reserve=2097152", "reserve=2048K", "reserve=64m",
	"reserve=2M session_limit=2M", "reserve=2M session_limit=0",
	"reserve=4M user_limit=1G", "reserve=2M max_sessions=1",
	"reserve=2M spare=0", "reserve=2M spare=5",
	"reserve=2M tiers=max:1", "reserve=2M tiers=max:64",
	"reserve=2M tiers=5K:1K,50K:10K,max:100K",
	"reserve=2M tiers=1:64,2:64,3:64,4:64,5:64,6:64,7:64,8:64,9:64,10:64,11:64,12:64,13:64,14:64,15:64,max:64",
	"reserve=2M fixed=a:64x10", "reserve=2M fixed=a:2Mx1:0600",
	"reserve=8M fixed=a:64x10,b.c:1Kx5:0660,-_:4Kx1:0666",
};

/* One number per case, so that each is a test of its own in the output. */
static void check_bad(struct __test_metadata *_metadata, int log,
		      const char *param)
{
	char params[512];
	size_t i;
	int ret, seen = 0;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		if (strcmp(bad[i].param, param))
			continue;
		snprintf(params, sizeof(params), "%s%s=%s",
			 strcmp(param, "reserve") ? MP_RESERVE " " : "",
			 param, bad[i].value);
		log_says(log, "");
		ret = mp_load(params);
		EXPECT_TRUE(ret == -EINVAL || (ret && ret == -bad[i].error)) {
			TH_LOG("'%s': %d", params, ret);
		}
		EXPECT_TRUE(log_says(log, param)) {
			TH_LOG("'%s': not named in the log", params);
		}
		EXPECT_FALSE(mp_loaded());
		if (mp_loaded())
			mp_unload();
		seen++;
	}
	EXPECT_LT(0, seen);
}

TEST_F(no_module, bad_reserve_does_not_load)
{
	check_bad(_metadata, self->log, "reserve");
}

TEST_F(no_module, bad_session_limit_does_not_load)
{
	check_bad(_metadata, self->log, "session_limit");
}

TEST_F(no_module, bad_user_limit_does_not_load)
{
	check_bad(_metadata, self->log, "user_limit");
}

TEST_F(no_module, bad_max_sessions_does_not_load)
{
	check_bad(_metadata, self->log, "max_sessions");
}

TEST_F(no_module, bad_spare_does_not_load)
{
	check_bad(_metadata, self->log, "spare");
}

TEST_F(no_module, bad_tiers_do_not_load)
{
	check_bad(_metadata, self->log, "tiers");
}

TEST_F(no_module, bad_fixed_pools_do_not_load)
{
	check_bad(_metadata, self->log, "fixed");
}

TEST_F(no_module, a_refused_load_leaves_no_device)
{
	ASSERT_NE(0, mp_load("reserve=0"));
	EXPECT_NE(0, access(MP_SYSFS, F_OK));
	EXPECT_NE(0, access(MP_DEBUGFS, F_OK));
}

TEST_F(no_module, a_refused_load_is_no_obstacle_to_the_next)
{
	ASSERT_NE(0, mp_load("reserve=64M fixed=a:40Mx1,b:40Mx1"));
	ASSERT_EQ(0, mp_load("reserve=64M fixed=a:20Mx1,b:40Mx1"));
}

/* ---- what loads ------------------------------------------------------------------------ */

TEST_F(no_module, good_parameters_load)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, mp_load(good[i])) {
			TH_LOG("'%s'", good[i]);
		}
		EXPECT_EQ(0, mp_unload());
	}
}

TEST_F(no_module, without_parameters_it_loads)
{
	EXPECT_EQ(0, mp_load(""));
}

TEST_F(no_module, the_node_is_roots_alone)
{
	struct stat st;

	/* devtmpfs's own, before anybody else touches it. */
	unlink(MP_DEV);
	ASSERT_EQ(0, syscall(SYS_finit_module, open(mp_ko(), O_RDONLY),
			     "reserve=2M", 0));
	ASSERT_EQ(0, stat(MP_DEV, &st));
	EXPECT_EQ(S_IFCHR | 0600, st.st_mode);
	EXPECT_EQ(0, st.st_uid);
}

TEST_F(no_module, tiers_are_every_sessions)
{
	struct mempool_info info;
	int fd;

	ASSERT_EQ(0, mp_load("reserve=2M tiers=5K:1K,50K:10K,max:100K"));
	fd = open(MP_DEV, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mp_info(fd, &info));
	EXPECT_EQ(3, info.nr_tiers);
	EXPECT_EQ(5120, info.tiers[0].below);
	EXPECT_EQ(1024, info.tiers[0].granularity);
	EXPECT_EQ(51200, info.tiers[1].below);
	EXPECT_EQ(MEMPOOL_TIER_END, info.tiers[2].below);
	EXPECT_EQ(102400, info.tiers[2].granularity);
	close(fd);
}

/* ---- more than the machine has ------------------------------------------------------------ */

static long long free_kb(void)
{
	return mp_proc_number("/proc/meminfo", "MemFree:");
}

TEST_F(no_module, a_reserve_of_all_free_memory_does_not_load)
{
	char params[64];

	snprintf(params, sizeof(params), "reserve=%lldM",
		 mp_proc_number("/proc/meminfo", "MemAvailable:") / 1024 &
		 ~1ll);
	EXPECT_EQ(-ENOMEM, mp_load(params));
	EXPECT_TRUE(log_says(self->log, "reserve"));
}

TEST_F(no_module, a_reserve_of_all_memory_does_not_load)
{
	char params[64];

	snprintf(params, sizeof(params), "reserve=%lldM",
		 mp_proc_number("/proc/meminfo", "MemTotal:") / 1024 & ~1ll);
	EXPECT_EQ(-ENOMEM, mp_load(params));
}

TEST_F(no_module, refused_reserves_take_no_memory)
{
	long long before = free_kb();
	char params[64];
	int i;

	snprintf(params, sizeof(params), "reserve=%lldM",
		 mp_proc_number("/proc/meminfo", "MemTotal:") / 1024 & ~1ll);
	for (i = 0; i < 20; i++)
		ASSERT_EQ(-ENOMEM, mp_load(params));
	ksft_print_msg("MemFree %lld kB, then %lld kB\n", before, free_kb());
	EXPECT_LT(before - free_kb(), 64 << 10);
}

TEST_F(no_module, most_of_the_machine_loads)
{
	char params[64];

	mp_write_file("/proc/sys/vm/drop_caches", "3");
	snprintf(params, sizeof(params), "reserve=%lldM",
		 (mp_proc_number("/proc/meminfo", "MemAvailable:") / 1024 -
		  mp_proc_number("/proc/meminfo", "MemTotal:") / 1024 / 16 -
		  100) & ~1ll);
	ASSERT_EQ(0, mp_load(params));
	ksft_print_msg("%s: %lld huge, %lld small\n", params,
		       mp_sysfs("chunks_huge"), mp_sysfs("chunks_small"));
}

TEST_HARNESS_MAIN
