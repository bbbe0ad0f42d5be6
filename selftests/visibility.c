// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Who holds what, for everybody and for root: sysfs, fdinfo, debugfs. Every
 * documented file is there and no other, holds one value, and says the truth.
 */
#include <dirent.h>

#include "mp_proc.h"

FIXTURE(session_and_a_named_pool) {
	struct mp_session s;
	struct mempool_pool_create pool;
	struct mempool_token t;
};

FIXTURE_SETUP(session_and_a_named_pool)
{
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	test_pool_create(self->s.fd, "seen", 5000, 20, 0660,
			 MEMPOOL_POOL_KEEP, &self->pool);
	test_pool_get(self->s.fd, self->pool.pool, &self->t);
}

FIXTURE_TEARDOWN(session_and_a_named_pool)
{
	_test_pool_remove(self->s.fd, "seen");
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* ---- sysfs -------------------------------------------------------------------------- */

enum kind { NUMBER, SIX_NUMBERS, FRACTION, WRITE_ONLY };

struct attribute {
	const char *name;
	enum kind kind;
};

static const struct attribute device_attributes[] = {
	{ "reserve_bytes", NUMBER }, { "chunks_total", NUMBER },
	{ "chunks_huge", NUMBER }, { "chunks_small", NUMBER },
	{ "chunks_states", SIX_NUMBERS }, { "chunks_free", NUMBER },
	{ "chunks_owned", NUMBER }, { "chunks_leaving", NUMBER },
	{ "chunks_pinned", NUMBER }, { "chunks_cleaning", NUMBER },
	{ "chunks_retired", NUMBER }, { "chunks_idle", NUMBER },
	{ "chunks_replaced", NUMBER }, { "chunks_peak", NUMBER },
	{ "pressure", NUMBER }, { "sessions", NUMBER },
	{ "new_allocations", NUMBER }, { "reused_allocations", NUMBER },
	{ "total_allocations", NUMBER }, { "releases", NUMBER },
	{ "bad_releases", NUMBER }, { "currently_allocated", NUMBER },
	{ "current_bytes", NUMBER }, { "failed_no_memory", NUMBER },
	{ "failed_limit", NUMBER }, { "reclaimed_chunks", NUMBER },
	{ "reuse_rate", FRACTION }, { "trim", WRITE_ONLY },
};

/* What the driver core puts beside them. */
static const char *const core_entries[] = {
	"dev", "uevent", "subsystem", "power", "pools",
};

static const struct attribute pool_attributes[] = {
	{ "block_size", NUMBER }, { "stride", NUMBER },
	{ "num_blocks", NUMBER }, { "issued", NUMBER }, { "free", NUMBER },
	{ "efficiency", FRACTION }, { "fragmentation", FRACTION },
	{ "gets", NUMBER }, { "returns", NUMBER }, { "bad_returns", NUMBER },
	{ "adopts", NUMBER }, { "coalesces", NUMBER },
	{ "auto_coalesces", NUMBER }, { "coalesce_ns_last", NUMBER },
	{ "coalesce_ns_max", NUMBER }, { "members", NUMBER },
	{ "threshold", NUMBER }, { "mode", NUMBER }, { "creator", NUMBER },
	{ "keep", NUMBER },
};

static bool listed(const char *name, const struct attribute *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(list[i].name, name))
			return true;
	return false;
}

static bool looks_like(const char *text, enum kind kind)
{
	static const char *const formats[] = {
		[NUMBER] = "%llu%n",
		[SIX_NUMBERS] = "%llu %llu %llu %llu %llu %llu%n",
		[FRACTION] = "%llu.%llu%n",
	};
	unsigned long long v[6];
	int end = -1;

	switch (kind) {
	case NUMBER:
		sscanf(text, formats[kind], v, &end);
		break;
	case FRACTION:
		sscanf(text, formats[kind], v, v + 1, &end);
		break;
	case SIX_NUMBERS:
		sscanf(text, formats[kind], v, v + 1, v + 2, v + 3, v + 4,
		       v + 5, &end);
		break;
	case WRITE_ONLY:
		break;
	}
	return end >= 0 && !text[end];
}

TEST_F(session_and_a_named_pool, every_attribute_holds_one_value)
{
	const struct attribute *a;
	char text[256];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(device_attributes); i++) {
		a = &device_attributes[i];
		if (a->kind == WRITE_ONLY)
			continue;
		ASSERT_LT(0, mp_sysfs_text(a->name, text, sizeof(text))) {
			TH_LOG("%s", a->name);
		}
		EXPECT_TRUE(looks_like(text, a->kind)) {
			TH_LOG("%s: '%s'", a->name, text);
		}
	}
}

TEST_F(session_and_a_named_pool, every_attribute_of_a_pool_holds_one_value)
{
	const struct attribute *a;
	char name[64], text[256];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pool_attributes); i++) {
		a = &pool_attributes[i];
		snprintf(name, sizeof(name), "pools/seen/%s", a->name);
		ASSERT_LT(0, mp_sysfs_text(name, text, sizeof(text))) {
			TH_LOG("%s", name);
		}
		EXPECT_TRUE(looks_like(text, a->kind)) {
			TH_LOG("%s: '%s'", name, text);
		}
	}
}

TEST_F(session_and_a_named_pool, there_is_no_other_attribute)
{
	DIR *d = opendir(MP_SYSFS "/");
	struct dirent *e;
	size_t i;

	ASSERT_NE(NULL, d);
	while ((e = readdir(d))) {
		bool known = e->d_name[0] == '.' ||
			     listed(e->d_name, device_attributes,
				    ARRAY_SIZE(device_attributes));

		for (i = 0; i < ARRAY_SIZE(core_entries); i++)
			known |= !strcmp(core_entries[i], e->d_name);
		EXPECT_TRUE(known) {
			TH_LOG("%s", e->d_name);
		}
	}
	closedir(d);
}

TEST_F(session_and_a_named_pool, there_is_no_other_attribute_of_a_pool)
{
	DIR *d = opendir(MP_SYSFS "/pools/seen");
	struct dirent *e;

	ASSERT_NE(NULL, d);
	while ((e = readdir(d)))
		EXPECT_TRUE(e->d_name[0] == '.' ||
			    listed(e->d_name, pool_attributes,
				   ARRAY_SIZE(pool_attributes)));
	closedir(d);
}

TEST_F(session_and_a_named_pool, attributes_cannot_be_written_but_trim)
{
	char path[128];
	struct stat st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(device_attributes); i++) {
		snprintf(path, sizeof(path), MP_SYSFS "/%s",
			 device_attributes[i].name);
		ASSERT_EQ(0, stat(path, &st));
		EXPECT_EQ(device_attributes[i].kind == WRITE_ONLY ? 0200 : 0444,
			  st.st_mode & 07777) {
			TH_LOG("%s", path);
		}
	}
}

TEST_F(session_and_a_named_pool, the_states_one_by_one_are_those_of_one_moment)
{
	struct mp_books b;

	ASSERT_TRUE(mp_books_balance(&b));
	EXPECT_EQ(b.free, mp_sysfs("chunks_free"));
	EXPECT_EQ(b.owned, mp_sysfs("chunks_owned"));
	EXPECT_EQ(b.leaving, mp_sysfs("chunks_leaving"));
	EXPECT_EQ(b.pinned, mp_sysfs("chunks_pinned"));
	EXPECT_EQ(b.cleaning, mp_sysfs("chunks_cleaning"));
	EXPECT_EQ(b.retired, mp_sysfs("chunks_retired"));
}

TEST_F(session_and_a_named_pool, chunks_huge_and_small_are_all)
{
	EXPECT_EQ(mp_sysfs("chunks_total"),
		  mp_sysfs("chunks_huge") + mp_sysfs("chunks_small"));
	EXPECT_EQ(MP_CHUNKS, mp_sysfs("chunks_total"));
	EXPECT_EQ(64 << 20, mp_sysfs("reserve_bytes"));
}

TEST_F(session_and_a_named_pool, the_pools_figures_are_those_of_the_command)
{
	struct mempool_pool_stats st;
	char text[64];

	test_pool_stats(self->s.fd, self->pool.pool, &st);
	EXPECT_EQ(5000, mp_sysfs("pools/seen/block_size"));
	EXPECT_EQ((long long)st.stride, mp_sysfs("pools/seen/stride"));
	EXPECT_EQ(20, mp_sysfs("pools/seen/num_blocks"));
	EXPECT_EQ(1, mp_sysfs("pools/seen/issued"));
	EXPECT_EQ(19, mp_sysfs("pools/seen/free"));
	EXPECT_EQ(1, mp_sysfs("pools/seen/gets"));
	EXPECT_EQ(1, mp_sysfs("pools/seen/members"));
	EXPECT_EQ(20, mp_sysfs("pools/seen/threshold"));
	EXPECT_EQ(1, mp_sysfs("pools/seen/keep"));
	ASSERT_LT(0, mp_sysfs_text("pools/seen/mode", text, sizeof(text)));
	EXPECT_STREQ("0660", text);
	ASSERT_LT(0, mp_sysfs_text("pools/seen/efficiency", text,
				   sizeof(text)));
	EXPECT_STREQ("5.0", text);
	ASSERT_LT(0, mp_sysfs_text("pools/seen/fragmentation", text,
				   sizeof(text)));
	EXPECT_STREQ("0.0", text);
}

TEST_F(session_and_a_named_pool, a_pools_creator_is_told)
{
	struct mempool_pool_create pool;
	int fd = mp_open_as(MP_USER_A, O_RDWR);

	ASSERT_EQ(0, MP_AS(MP_USER_A, _test_pool_create(fd, "theirs", 64, 1,
							0600, 0, &pool)));
	EXPECT_EQ(MP_USER_A, mp_sysfs("pools/theirs/creator"));
	EXPECT_EQ(0, mp_sysfs("pools/seen/creator"));
	close(fd);
}

TEST_F(session_and_a_named_pool, a_removed_pool_has_no_folder)
{
	ASSERT_EQ(0, access(MP_SYSFS "/pools/seen", F_OK));
	ASSERT_EQ(0, _test_pool_remove(self->s.fd, "seen"));
	EXPECT_NE(0, access(MP_SYSFS "/pools/seen", F_OK));
}

TEST_F(session_and_a_named_pool, a_private_pool_has_no_folder)
{
	struct mempool_pool_create pool;
	struct dirent *e;
	int n = 0;
	DIR *d;

	test_pool_create(self->s.fd, NULL, 64, 1, 0, 0, &pool);
	d = opendir(MP_SYSFS "/pools");
	ASSERT_NE(NULL, d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	EXPECT_EQ(1, n);
}

TEST_F(session_and_a_named_pool, trim_takes_1_and_nothing_else)
{
	static const char *const bad_texts[] = {
		"0", "2", "-1", "x", "1x", "11", "1 1", " ", "\n", "1\n\n",
		"18446744073709551617", "4294967297", "1\n1",
	};
	char huge[5000];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad_texts); i++) {
		EXPECT_EQ(-EINVAL, mp_write_file(MP_SYSFS "/trim",
						 bad_texts[i])) {
			TH_LOG("'%s'", bad_texts[i]);
		}
	}
	memset(huge, '1', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	EXPECT_GT(0, mp_write_file(MP_SYSFS "/trim", huge));
	EXPECT_EQ(0, mp_write_file(MP_SYSFS "/trim", "1"));
	EXPECT_EQ(0, mp_write_file(MP_SYSFS "/trim", "1\n"));
}

TEST_F(session_and_a_named_pool, trim_is_roots)
{
	EXPECT_EQ(-EACCES, MP_AS(MP_USER_A,
				 mp_write_file(MP_SYSFS "/trim", "1")));
}

/* ---- fdinfo --------------------------------------------------------------------------- */

static long long fdinfo(int pid, int fd, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	return mp_proc_number(path, key);
}

TEST_F(session_and_a_named_pool, fdinfo_tells_the_session)
{
	EXPECT_EQ((long long)self->s.info.session_id,
		  fdinfo(getpid(), self->s.fd, "mempool_session:"));
}

TEST_F(session_and_a_named_pool, fdinfo_tells_what_it_has)
{
	test_alloc_one(self->s.fd, 1000);
	EXPECT_EQ((long long)MP_CHUNK,
		  fdinfo(getpid(), self->s.fd, "mempool_owned_bytes:"));
	EXPECT_EQ(1024, fdinfo(getpid(), self->s.fd,
			       "mempool_allocated_bytes:"));
	EXPECT_EQ(0, fdinfo(getpid(), self->s.fd, "mempool_pinned_bytes:"));
	EXPECT_EQ(1, fdinfo(getpid(), self->s.fd, "mempool_pools:"));
}

TEST_F(session_and_a_named_pool, fdinfo_of_two_processes_tells_one_session)
{
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	EXPECT_EQ((long long)self->s.info.session_id,
		  fdinfo(pid, self->s.fd, "mempool_session:"));
	mp_kill(pid);
}

/* ---- debugfs ---------------------------------------------------------------------------- */

/* Lines of @file whose fields @at and @at + 1 are @a and @b; NULL: any. */
static int count_lines(const char *file, int at, const char *a, const char *b)
{
	char line[512], *field[10] = { NULL };
	FILE *f = fopen(file, "r");
	int n = 0, i;

	if (!f)
		return -1;
	if (!fgets(line, sizeof(line), f)) {	/* the names of the fields */
		fclose(f);
		return -2;
	}
	while (fgets(line, sizeof(line), f)) {
		char *rest = line;

		for (i = 0; i < 10; i++)
			field[i] = strsep(&rest, "\n ");
		n += (!a || (field[at] && !strcmp(field[at], a))) &&
		     (!b || (field[at + 1] && !strcmp(field[at + 1], b)));
	}
	fclose(f);
	return n;
}

TEST_F(session_and_a_named_pool, debugfs_has_a_line_for_each_session)
{
	int other = open(MP_DEV, O_RDWR);
	char pid[16];

	ASSERT_LE(0, other);
	snprintf(pid, sizeof(pid), "%d", getpid());
	EXPECT_EQ(2, count_lines(MP_DEBUGFS "/sessions", 1, pid, "0"));
	close(other);
}

TEST_F(session_and_a_named_pool, debugfs_shows_sessions_without_descriptor)
{
	char pid[16];

	close(self->s.fd);
	snprintf(pid, sizeof(pid), "%d", getpid());
	EXPECT_EQ(1, count_lines(MP_DEBUGFS "/sessions", 1, pid, "0"));
	mp_unmap(&self->s);
	self->s.fd = open(MP_DEV, O_RDWR);
}

TEST_F(session_and_a_named_pool, debugfs_has_a_line_for_each_chunk)
{
	EXPECT_EQ(MP_CHUNKS, count_lines(MP_DEBUGFS "/chunks", 0, NULL, NULL));
}

TEST_F(session_and_a_named_pool, debugfs_tells_whose_each_chunk_is)
{
	char id[32];

	test_alloc_one(self->s.fd, 3 * MP_CHUNK - 500000);
	snprintf(id, sizeof(id), "%llu", self->s.info.session_id);
	EXPECT_EQ(3, count_lines(MP_DEBUGFS "/chunks", 4, "session", id));
	EXPECT_EQ(1, count_lines(MP_DEBUGFS "/chunks", 4, "pool", NULL));
}

TEST_F(session_and_a_named_pool, debugfs_is_roots)
{
	struct stat st;

	ASSERT_EQ(0, stat(MP_DEBUGFS "/sessions", &st));
	EXPECT_EQ(0400, st.st_mode & 07777);
	ASSERT_EQ(0, stat(MP_DEBUGFS "/chunks", &st));
	EXPECT_EQ(0400, st.st_mode & 07777);
}

/* ---- addresses ----------------------------------------------------------------------------- */

static bool has_address(const char *path)
{
	char buf[65536];
	int n = mp_read_file(path, buf, sizeof(buf)), i, digits = 0;

	for (i = 0; i < n; i++) {
		digits = isxdigit((unsigned char)buf[i]) ? digits + 1 : 0;
		if (digits == 16 && !strncmp(buf + i - 15, "ffff", 4))
			return true;
	}
	return false;
}

TEST_F(session_and_a_named_pool, no_file_tells_a_kernel_address)
{
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(device_attributes); i++) {
		snprintf(path, sizeof(path), MP_SYSFS "/%s",
			 device_attributes[i].name);
		EXPECT_FALSE(has_address(path));
	}
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->s.fd);
	EXPECT_FALSE(has_address(path));
	EXPECT_FALSE(has_address(MP_DEBUGFS "/sessions"));
	EXPECT_FALSE(has_address(MP_DEBUGFS "/chunks"));
}

TEST_HARNESS_MAIN
