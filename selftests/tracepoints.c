// SPDX-License-Identifier: MIT OR GPL-2.0
// guest: --smp 1
/*
 * The tracepoints say what happened to chunks and blocks and, when a request
 * was refused, which limit it was and what there was.
 *
 * On one processor: switching events on patches __schedule() too (names of
 * tasks are recorded), and an emulated second processor was seen to spin for
 * ever on the breakpoint that stands there meanwhile.
 */
#include <regex.h>
#include <sys/mount.h>

#include "mp_proc.h"

#define TRACING	"/sys/kernel/tracing"
#define EVENTS	TRACING "/events/mempool/enable"

FIXTURE(traced_session) {
	int fd;
	unsigned long long id;
};

FIXTURE_SETUP(traced_session)
{
	struct mempool_info info;

	if (access(TRACING "/trace", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	ASSERT_EQ(0, mp_require(MP_RESERVE " session_limit=4M"));
	/* Opening it to truncate empties the buffer. */
	close(open(TRACING "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
	ASSERT_EQ(0, mp_write_file(EVENTS, "1"));
	self->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mp_info(self->fd, &info));
	self->id = info.session_id;
}

FIXTURE_TEARDOWN(traced_session)
{
	if (self->fd >= 0)
		close(self->fd);
	mp_write_file(EVENTS, "0");
	EXPECT_TRUE(mp_settled());
}

/* Lines of the trace that match @pattern, an extended regular expression. */
static int traced(const char *pattern)
{
	char line[1024];
	regex_t re;
	int n = 0;
	FILE *f;

	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB))
		return -1;
	f = fopen(TRACING "/trace", "r");
	while (f && fgets(line, sizeof(line), f))
		n += !regexec(&re, line, 0, NULL, 0);
	if (f)
		fclose(f);
	regfree(&re);
	return n;
}

TEST_F(traced_session, an_allocation_is_traced_with_size_and_count)
{
	struct mempool_block blocks[3];
	char want[128];

	test_ioctl_alloc(self->fd, 1000, 3, 0, blocks);
	snprintf(want, sizeof(want), "mp_alloc: session=%llu size=1000 count=3 done=3 .*error=0",
		 self->id);
	EXPECT_EQ(1, traced(want));
}

TEST_F(traced_session, a_release_is_traced_with_its_error)
{
	test_release_one(self->fd, test_alloc_one(self->fd, 1000));
	EXPECT_EQ(1, traced("mp_release: .*count=1 done=1 error=0"));
	EXPECT_EQ(-ENOENT, _test_release_one(self->fd, 0));
	EXPECT_EQ(1, traced("mp_release: .*count=1 done=0 error=-2"));
}

TEST_F(traced_session, a_chunk_is_traced_with_its_owner_in_and_out)
{
	char want[128];

	test_alloc_one(self->fd, 1000);
	snprintf(want, sizeof(want), "mp_chunk_acquire: chunk=[0-9]+ session=%llu state=owned",
		 self->id);
	EXPECT_EQ(1, traced(want));
	close(self->fd);
	self->fd = -1;
	snprintf(want, sizeof(want), "mp_chunk_give: chunk=[0-9]+ session=%llu state=cleaning",
		 self->id);
	EXPECT_EQ(1, traced(want));
}

TEST_F(traced_session, a_refused_request_says_which_limit_and_what_there_was)
{
	test_alloc_one(self->fd, 1000);
	EXPECT_EQ(-EDQUOT, (int)_test_alloc_one(self->fd, 7 << 20));
	EXPECT_EQ(1, traced("mp_exhausted: .* wanted=3 missing=3 charged=1 limit=2 user=1 user_limit=[0-9]+ free=31 owned=1 .*error=-122"));
	EXPECT_EQ(1, traced("mp_alloc: .* size=7340032 count=1 done=0 heap_free=[1-9][0-9]+ heap_longest=[1-9][0-9]+ error=-122"));
}

TEST_F(traced_session, a_refused_request_is_counted_by_its_cause)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	EXPECT_EQ(-EDQUOT, (int)_test_alloc_one(self->fd, 7 << 20));
	EXPECT_EQ(-ENOMEM, (int)_test_alloc_one(self->fd, 1 << 30));
	EXPECT_EQ(-ENOMEM, (int)_test_alloc_one(self->fd, 1 << 30));
	EXPECT_EQ(1, mp_proc_number(path, "mempool_failed_limit:"));
	EXPECT_EQ(2, mp_proc_number(path, "mempool_failed_memory:"));
	EXPECT_EQ(3, mp_proc_number(path, "mempool_failed:"));
}

TEST_F(traced_session, a_coalesce_is_traced_with_what_it_found)
{
	struct mempool_pool_create pool;
	__u64 ns;

	test_pool_create(self->fd, "", 4096, 10, 0, 0, &pool);
	ASSERT_EQ(0, _test_pool_coalesce(self->fd, pool.pool, &ns));
	EXPECT_EQ(1, traced("mp_coalesce: pool=[0-9]+ free=10 gaps=0 ns=[0-9]+"));
}

TEST_F(traced_session, switched_off_nothing_is_traced)
{
	ASSERT_EQ(0, mp_write_file(EVENTS, "0"));
	test_release_one(self->fd, test_alloc_one(self->fd, 1000));
	EXPECT_EQ(0, traced("mp_(alloc|release|chunk)"));
}

TEST_HARNESS_MAIN
