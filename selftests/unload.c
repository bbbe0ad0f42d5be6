// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Loading and unloading: not while somebody uses the device, always when nobody
 * does, also under readers of sysfs, and without a page lost over many cycles.
 */
#include <dirent.h>

#include "mp_proc.h"

FIXTURE(loaded_module) {
	struct mp_session s;
};

FIXTURE_SETUP(loaded_module)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
}

FIXTURE_TEARDOWN(loaded_module)
{
	mp_session_close(&self->s);
}

TEST_F(loaded_module, stays_while_a_file_is_open)
{
	mp_unmap(&self->s);
	EXPECT_EQ(-EWOULDBLOCK, mp_unload_now());
	EXPECT_EQ(1, mp_sysfs("sessions"));
}

TEST_F(loaded_module, stays_while_it_is_mapped)
{
	__u64 offset = test_alloc_one(self->s.fd, 1000);

	close(self->s.fd);
	self->s.fd = -1;
	EXPECT_EQ(-EWOULDBLOCK, mp_unload_now());
	EXPECT_EQ(0, mp_poke(self->s.base + offset, 1));
}

TEST_F(loaded_module, stays_while_the_status_page_is_mapped)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->s.fd,
		       self->s.info.status_offset);

	ASSERT_NE(MAP_FAILED, p);
	mp_session_close(&self->s);
	EXPECT_EQ(-EWOULDBLOCK, mp_unload_now());
	munmap(p, 4096);
}

TEST_F(loaded_module, goes_when_the_last_user_has_gone)
{
	mp_session_close(&self->s);
	EXPECT_EQ(0, mp_unload());
	EXPECT_FALSE(mp_loaded());
}

TEST_F(loaded_module, goes_with_a_kept_pool)
{
	struct mempool_pool_create pool;

	test_pool_create(self->s.fd, "kept", 4096, 100, 0600,
			 MEMPOOL_POOL_KEEP, &pool);
	mp_session_close(&self->s);
	EXPECT_EQ(0, mp_unload());
}

TEST_F(loaded_module, goes_right_after_a_kill)
{
	pid_t pid;

	mp_session_close(&self->s);
	pid = fork();
	if (!pid) {
		CHECK(mp_session_open(&self->s) == 0);
		memset(self->s.base + _test_alloc_one(self->s.fd, 50u << 20), 1,
		       50u << 20);
		raise(SIGKILL);
	}
	ASSERT_EQ(-SIGKILL, mp_reap(pid));
	EXPECT_EQ(0, mp_unload());	/* with 25 chunks to be zeroed */
}

/* The pipe's page is the machine's own then, with what was written to it. */
TEST_F(loaded_module, goes_with_a_page_in_a_pipe)
{
	char text[32] = "", want[32] = "still in the pipe";
	struct iovec iov;
	int p[2];

	ASSERT_EQ(0, pipe(p));
	iov.iov_base = self->s.base + test_alloc_one(self->s.fd, 4096);
	iov.iov_len = sizeof(want);
	memcpy(iov.iov_base, want, sizeof(want));
	ASSERT_EQ((ssize_t)sizeof(want), vmsplice(p[1], &iov, 1, 0));
	mp_session_close(&self->s);
	ASSERT_EQ(0, mp_unload());
	ASSERT_EQ((ssize_t)sizeof(text), read(p[0], text, sizeof(text)));
	EXPECT_STREQ(want, text);
	close(p[0]);
	close(p[1]);
	EXPECT_EQ(0, mp_require(MP_RESERVE));
}

TEST_F(loaded_module, takes_its_files_with_it)
{
	mp_session_close(&self->s);
	ASSERT_EQ(0, mp_unload());
	EXPECT_NE(0, access(MP_SYSFS, F_OK));
	EXPECT_NE(0, access(MP_DEBUGFS, F_OK));
	EXPECT_EQ(-1, open(MP_DEV, O_RDWR));
}

TEST_F(loaded_module, an_open_sysfs_file_does_not_keep_it)
{
	int fd = open(MP_SYSFS "/chunks_free", O_RDONLY);
	char buf[32];

	ASSERT_LE(0, fd);
	mp_session_close(&self->s);
	EXPECT_EQ(0, mp_unload());
	EXPECT_EQ(-1, read(fd, buf, sizeof(buf)));
	EXPECT_EQ(ENODEV, errno);
	close(fd);
}

/* ---- races with unloading ------------------------------------------------------------ */

/* Read all files below @dir, for ever. */
static void read_all(const char *dir, int depth)
{
	struct dirent *e;
	char path[512], buf[4096];
	DIR *d = opendir(dir);
	int fd;

	if (!d)
		return;
	while ((e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] == '.' || e->d_type == DT_LNK)
			continue;
		if (e->d_type == DT_DIR && depth < 3) {
			read_all(path, depth + 1);
			continue;
		}
		fd = open(path, O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	closedir(d);
}

static __attribute__((noreturn)) int read_for_ever(void *arg)
{
	for (;;) {
		read_all(MP_SYSFS "/", 0);
		read_all(MP_DEBUGFS, 0);
		mp_sleep_ms(1);
	}
}

static __attribute__((noreturn)) int trim_for_ever(void *arg)
{
	for (;;) {
		mp_write_file(MP_SYSFS "/trim", "1");
		mp_sleep_ms(1);
	}
}

static __attribute__((noreturn)) int open_for_ever(void *arg)
{
	struct mempool_pool_create pool;

	for (;;) {
		int fd = open(MP_DEV, O_RDWR);

		mp_sleep_ms(1);
		if (fd < 0)
			continue;
		_test_alloc_one(fd, 100000);
		_test_pool_create(fd, "racing", 4096, 10, 0600, 0, &pool);
		close(fd);
	}
}

TEST_F(loaded_module, readers_and_openers_race_unloading)
{
	int i, cycles = mp_rounds(25), loads = 0, unloads = 0;
	pid_t pid[5];

	mp_session_close(&self->s);
	ASSERT_EQ(0, mp_unload());
	for (i = 0; i < 3; i++)
		pid[i] = mp_spawn(0, read_for_ever, NULL);
	pid[3] = mp_spawn(0, trim_for_ever, NULL);
	pid[4] = mp_spawn(0, open_for_ever, NULL);
	for (i = 0; i < cycles; i++) {
		loads += !mp_load("reserve=8M fixed=a:4Kx100,b:64x10");
		mp_sleep_ms(20);
		unloads += !mp_unload();
	}
	for (i = 0; i < 5; i++)
		EXPECT_EQ(-SIGKILL, mp_kill(pid[i]));
	ksft_print_msg("%d loads, %d unloads\n", loads, unloads);
	EXPECT_EQ(cycles, loads);
	EXPECT_EQ(cycles, unloads);
}

/* A named pool's directory comes and goes under its readers. */
TEST_F(loaded_module, readers_race_pools_that_come_and_go)
{
	struct mempool_pool_create pool;
	int i, rounds = mp_rounds(300);
	pid_t pid[2];

	for (i = 0; i < 2; i++)
		pid[i] = mp_spawn(0, read_for_ever, NULL);
	for (i = 0; i < rounds; i++) {
		test_pool_create(self->s.fd, "fleeting", 4096, 10, 0600, 0,
				 &pool);
		ASSERT_EQ(0, _test_pool_close(self->s.fd, pool.pool));
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(-SIGKILL, mp_kill(pid[i]));
	EXPECT_EQ(0, mp_sysfs_wait("chunks_owned", 0));
}

/* ---- cycles ----------------------------------------------------------------------------- */

/*
 * Free pages, those in per-CPU lists included, after caches and fragments are
 * gone: MemFree alone differs by tens of MiB at random.
 */
static long long free_pages(void)
{
	long long pages = 0, v;
	char line[256];
	FILE *f;

	sync();
	mp_write_file("/proc/sys/vm/drop_caches", "3");
	mp_write_file("/proc/sys/vm/compact_memory", "1");
	mp_sleep_ms(200);
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " pages free %lld", &v) == 1 ||
		    sscanf(line, " count: %lld", &v) == 1)
			pages += v;
	fclose(f);
	return pages;
}

static int use_a_little(void)
{
	struct mempool_pool_create pool;
	struct mp_session s;
	long long offset;

	if (mp_session_open(&s))
		return -1;
	offset = _test_alloc_one(s.fd, 3u << 20);
	if (offset < 0)
		return -1;
	memset(s.base + offset, 1, 3u << 20);
	if (_test_pool_create(s.fd, "cycle", 4096, 100, 0600,
			      MEMPOOL_POOL_KEEP, &pool))
		return -1;
	mp_session_close(&s);
	return 0;
}

static int cycle(int n)
{
	int i, ret = 0;

	for (i = 0; i < n && !ret; i++) {
		ret = mp_load("reserve=16M fixed=a:4Kx100");
		if (!ret)
			ret = use_a_little();
		if (!ret)
			ret = mp_unload();
	}
	return ret;
}

TEST_F(loaded_module, a_hundred_cycles_lose_no_memory)
{
	long long before, after;

	mp_session_close(&self->s);
	ASSERT_EQ(0, mp_unload());
	ASSERT_EQ(0, cycle(5));		/* caches of the kernel fill up */
	/* It counts objects, where this counts pages: one of these cycles is enough. */
	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		SKIP(return, "the checkers of this kernel keep memory");
	before = free_pages();
	ASSERT_LT(0, before);
	ASSERT_EQ(0, cycle(mp_rounds(100)));
	after = free_pages();
	ksft_print_msg("free pages %lld, then %lld\n", before, after);
	EXPECT_GE(before + 1024, after);
	EXPECT_LE(before - 64, after);
}

TEST_HARNESS_MAIN
