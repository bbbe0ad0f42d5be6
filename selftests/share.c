// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Sessions shared between processes: fork, exec, dup, descriptors sent over a
 * socket. A session belongs to its open file, and ends with the last reference
 * to it, a mapping included.
 */
#include <sys/ptrace.h>

#include "mp_proc.h"

FIXTURE(session_with_a_block) {
	struct mp_session s;
	unsigned char *p;
	__u64 offset;
	struct mp_link link;
};

FIXTURE_SETUP(session_with_a_block)
{
	ASSERT_EQ(0, mp_link_open(&self->link));
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->offset = test_alloc_one(self->s.fd, 1000);
	self->p = self->s.base + self->offset;
	strcpy((char *)self->p, "parent");
}

FIXTURE_TEARDOWN(session_with_a_block)
{
	mp_session_close(&self->s);
	mp_link_close(&self->link);
	EXPECT_TRUE(mp_settled());
}

/* Run @body in a child; a CHECK() that fails is its exit status. */
#define IN_CHILD(pid, body)						\
	do {								\
		fflush(stdout);						\
		fflush(stderr);						\
		pid = fork();						\
		if (!pid) {						\
			body						\
			_exit(0);					\
		}							\
	} while (0)

/* ---- fork ------------------------------------------------------------------------ */

TEST_F(session_with_a_block, a_child_sees_the_parents_blocks)
{
	pid_t pid;

	IN_CHILD(pid, CHECK(!strcmp((char *)self->p, "parent")););
	EXPECT_EQ(0, mp_reap(pid));
}

TEST_F(session_with_a_block, a_childs_writes_are_the_parents)
{
	pid_t pid;

	IN_CHILD(pid, strcpy((char *)self->p, "child"););
	ASSERT_EQ(0, mp_reap(pid));
	EXPECT_STREQ("child", (char *)self->p);
}

TEST_F(session_with_a_block, a_child_that_unmaps_takes_nothing_away)
{
	pid_t pid;

	IN_CHILD(pid, mp_session_close(&self->s););
	ASSERT_EQ(0, mp_reap(pid));
	EXPECT_STREQ("parent", (char *)self->p);
}

TEST_F(session_with_a_block, a_child_that_unmaps_a_page_takes_nothing_away)
{
	pid_t pid;

	IN_CHILD(pid, CHECK(!munmap(self->s.base + 4096, 4096)););
	ASSERT_EQ(0, mp_reap(pid));
	EXPECT_EQ(0, mp_poke(self->s.base + 4096, 1));
}

TEST_F(session_with_a_block, a_block_released_by_the_child_is_gone)
{
	pid_t pid;

	IN_CHILD(pid, CHECK(!_test_release_one(self->s.fd, self->offset)););
	ASSERT_EQ(0, mp_reap(pid));
	EXPECT_EQ(-ENOENT, _test_release_one(self->s.fd, self->offset));
}

TEST_F(session_with_a_block, memory_given_back_is_out_of_the_childs_reach)
{
	pid_t pid;

	IN_CHILD(pid, {
		CHECK(mp_peek(self->p) == 0);
		CHECK(mp_step(self->link.theirs));
		CHECK(mp_await(self->link.theirs));
		CHECK(mp_peek(self->p) == SIGBUS);
	});
	ASSERT_TRUE(mp_await(self->link.ours));
	test_release_one(self->s.fd, self->offset);
	ASSERT_LE(0, _test_ioctl_trim(self->s.fd));
	ASSERT_TRUE(mp_step(self->link.ours));
	EXPECT_EQ(0, mp_reap(pid));
}

/* Even a child that has closed the descriptor keeps the session by its mapping. */
TEST_F(session_with_a_block, a_childs_mapping_keeps_the_session)
{
	pid_t pid;

	IN_CHILD(pid, {
		close(self->s.fd);
		CHECK(mp_step(self->link.theirs));
		CHECK(mp_await(self->link.theirs));
		CHECK(!strcmp((char *)self->p, "parent"));
	});
	ASSERT_TRUE(mp_await(self->link.ours));
	mp_session_close(&self->s);
	EXPECT_EQ(1, mp_sysfs("sessions"));
	EXPECT_EQ(1, mp_sysfs("chunks_owned"));
	ASSERT_TRUE(mp_step(self->link.ours));
	ASSERT_EQ(0, mp_reap(pid));
	EXPECT_EQ(0, mp_sysfs_wait("sessions", 0));
}

TEST_F(session_with_a_block, with_dontfork_the_child_has_no_mapping)
{
	pid_t pid;

	ASSERT_EQ(0, madvise(self->s.base, self->s.info.space_bytes,
			     MADV_DONTFORK));
	IN_CHILD(pid, CHECK(mp_peek(self->p) == SIGSEGV););
	EXPECT_EQ(0, mp_reap(pid));
}

TEST_F(session_with_a_block, a_killed_parents_session_is_its_childs)
{
	pid_t parent;
	char text[8];

	mp_session_close(&self->s);
	IN_CHILD(parent, {
		CHECK(mp_session_open(&self->s) == 0);
		self->offset = _test_alloc_one(self->s.fd, 1000);
		self->p = self->s.base + self->offset;
		strcpy((char *)self->p, "orphan");
		if (!fork()) {
			CHECK(mp_await(self->link.theirs));
			CHECK(mp_tell(self->link.theirs, self->p, 7));
			CHECK(_test_release_one(self->s.fd,
						self->offset) == 0);
			CHECK(mp_step(self->link.theirs));
			_exit(0);
		}
		CHECK(mp_step(self->link.theirs));
		for (;;)
			pause();
	});
	ASSERT_TRUE(mp_await(self->link.ours));
	ASSERT_EQ(-SIGKILL, mp_kill(parent));
	ASSERT_TRUE(mp_step(self->link.ours));
	ASSERT_TRUE(mp_hear(self->link.ours, text, 7));
	EXPECT_STREQ("orphan", text);
	EXPECT_TRUE(mp_await(self->link.ours));
}

TEST_F(session_with_a_block, many_forks_leave_the_books_alone)
{
	struct mp_books b;
	pid_t pid;
	int i;

	for (i = 0; i < 50; i++) {
		IN_CHILD(pid, {
			self->p[i] = i;
			munmap(self->s.base + 4096 * i, 4096);
		});
		ASSERT_EQ(0, mp_reap(pid));
	}
	EXPECT_TRUE(mp_books_balance(&b));
	EXPECT_EQ(1, b.owned);
}

/* ---- exec -------------------------------------------------------------------------- */

/* A program that tells that it runs, and waits: this very one. */
static int exec_wait(int sock, int keep)
{
	char a[16], b[16];

	snprintf(a, sizeof(a), "%d", sock);
	snprintf(b, sizeof(b), "%d", keep);
	fcntl(sock, F_SETFD, 0);
	execl("/proc/self/exe", "share", "--wait", a, b, NULL);
	return 1;
}

static void __attribute__((constructor)) waiting_program(int argc, char **argv)
{
	struct mempool_info info = { 0 };
	int sock, fd;

	if (argc != 4 || strcmp(argv[1], "--wait"))
		return;
	sock = atoi(argv[2]);
	fd = atoi(argv[3]);
	if (fd >= 0)
		mp_info(fd, &info);
	if (!mp_tell(sock, &info.session_id, sizeof(info.session_id)) ||
	    !mp_await(sock))
		_exit(1);
	_exit(0);
}

TEST_F(session_with_a_block, exec_ends_a_close_on_exec_session)
{
	__u64 id;
	pid_t pid;

	mp_session_close(&self->s);
	IN_CHILD(pid, {
		CHECK(mp_session_open(&self->s) == 0);
		CHECK(_test_alloc_one(self->s.fd, 1000) >= 0);
		exec_wait(self->link.theirs, -1);
	});
	ASSERT_TRUE(mp_hear(self->link.ours, &id, sizeof(id)));
	EXPECT_EQ(0, mp_sysfs_wait("sessions", 0));
	ASSERT_TRUE(mp_step(self->link.ours));
	ASSERT_EQ(0, mp_reap(pid));
}

TEST_F(session_with_a_block, an_inherited_descriptor_is_the_same_session_after_exec)
{
	__u64 id;
	pid_t pid;

	IN_CHILD(pid, {
		fcntl(self->s.fd, F_SETFD, 0);
		exec_wait(self->link.theirs, self->s.fd);
	});
	ASSERT_TRUE(mp_hear(self->link.ours, &id, sizeof(id)));
	EXPECT_EQ(self->s.info.session_id, id);
	ASSERT_TRUE(mp_step(self->link.ours));
	ASSERT_EQ(0, mp_reap(pid));
}

/* ---- debuggers --------------------------------------------------------------------- */

TEST_F(session_with_a_block, a_debugger_reads_and_writes_a_block)
{
	unsigned long word = 0x1234567890abcdefull;
	pid_t pid;

	memcpy(self->p, &word, sizeof(word));
	IN_CHILD(pid, {
		CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
		raise(SIGSTOP);
		CHECK(*(unsigned long *)self->p == 42);
	});
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	errno = 0;
	EXPECT_EQ(word, (unsigned long)ptrace(PTRACE_PEEKDATA, pid, self->p,
					      NULL));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, self->p, 42));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	EXPECT_EQ(0, mp_reap(pid));
}

static void fill_pattern(unsigned char *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (i * 37 + 11) ^ 0x5a;
}

/* Whether the file holds the pattern. */
static bool holds_pattern(const char *path)
{
	unsigned char want[512];
	bool found = false;
	struct stat st;
	void *p;
	int fd = open(path, O_RDONLY);

	fill_pattern(want, sizeof(want));
	if (fd >= 0 && !fstat(fd, &st) && st.st_size) {
		p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p != MAP_FAILED) {
			found = memmem(p, st.st_size, want, sizeof(want));
			munmap(p, st.st_size);
		}
	}
	close(fd);
	return found;
}

#define CORE	"/tmp/core-of-a-test"

/* A child that dumps core, the kinds of memory in @filter; the dump is CORE. */
static int dump_core(const char *filter)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	pid_t pid;
	int ret;

	mp_write_file("/proc/sys/kernel/core_pattern", CORE);
	IN_CHILD(pid, {
		CHECK(setrlimit(RLIMIT_CORE, &all) == 0);
		CHECK(mp_write_file("/proc/self/coredump_filter", filter) == 0);
		signal(SIGABRT, SIG_DFL);
		abort();
	});
	ret = mp_reap(pid);
	mp_write_file("/proc/sys/kernel/core_pattern", "/dev/null");
	return ret;
}

TEST_F(session_with_a_block, a_core_dump_of_shared_mappings_holds_a_block)
{
	fill_pattern(self->p, 512);
	ASSERT_EQ(-SIGABRT, dump_core("0x3f"));
	EXPECT_TRUE(holds_pattern(CORE));
	unlink(CORE);
}

TEST_F(session_with_a_block, with_dontdump_a_core_dump_holds_no_block)
{
	fill_pattern(self->p, 512);
	ASSERT_EQ(0, madvise(self->s.base, self->s.info.space_bytes,
			     MADV_DONTDUMP));
	ASSERT_EQ(-SIGABRT, dump_core("0x3f"));
	ASSERT_EQ(0, access(CORE, R_OK));
	EXPECT_FALSE(holds_pattern(CORE));
	unlink(CORE);
}

/* ---- dup and SCM_RIGHTS ---------------------------------------------------------------- */

TEST_F(session_with_a_block, a_duplicate_keeps_the_session)
{
	int fd = dup(self->s.fd);

	ASSERT_LE(0, fd);
	mp_session_close(&self->s);
	EXPECT_EQ(0, _test_release_one(fd, self->offset));
	close(fd);
	EXPECT_EQ(0, mp_sysfs_wait("sessions", 0));
}

TEST_F(session_with_a_block, a_mapping_keeps_the_session_without_descriptor)
{
	close(self->s.fd);
	self->s.fd = -1;
	EXPECT_STREQ("parent", (char *)self->p);
	EXPECT_EQ(1, mp_sysfs("sessions"));
}

TEST_F(session_with_a_block, a_received_descriptor_is_the_same_session)
{
	struct mempool_info info;
	int fd;

	ASSERT_TRUE(mp_send_fd(self->link.theirs, self->s.fd));
	fd = mp_recv_fd(self->link.ours);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mp_info(fd, &info));
	EXPECT_EQ(self->s.info.session_id, info.session_id);
	close(fd);
}

TEST_F(session_with_a_block, a_session_lives_in_its_receiver_when_the_sender_has_gone)
{
	struct mp_session s = { 0 };
	__u64 offset;
	pid_t pid;

	IN_CHILD(pid, {
		struct mp_session mine;
		long long off;

		CHECK(mp_session_open(&mine) == 0);
		off = _test_alloc_one(mine.fd, 1000);
		CHECK(off >= 0);
		strcpy((char *)mine.base + off, "sent");
		CHECK(mp_send_fd(self->link.theirs, mine.fd));
		CHECK(mp_tell(self->link.theirs, &off, sizeof(off)));
	});
	s.fd = mp_recv_fd(self->link.ours);
	ASSERT_LE(0, s.fd);
	ASSERT_TRUE(mp_hear(self->link.ours, &offset, sizeof(offset)));
	ASSERT_EQ(0, mp_reap(pid));
	ASSERT_EQ(0, mp_info(s.fd, &s.info));
	ASSERT_EQ(0, mp_map(&s, PROT_READ | PROT_WRITE));
	EXPECT_STREQ("sent", (char *)s.base + offset);
	EXPECT_EQ(0, _test_release_one(s.fd, offset));
	mp_session_close(&s);
}

TEST_F(session_with_a_block, a_descriptor_nobody_received_ends_with_its_socket)
{
	struct mp_link link;
	int fd = open(MP_DEV, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mp_link_open(&link));
	test_alloc_one(fd, 1000);
	ASSERT_TRUE(mp_send_fd(link.theirs, fd));
	close(fd);
	EXPECT_EQ(2, mp_sysfs("sessions"));
	mp_link_close(&link);
	EXPECT_EQ(1, mp_sysfs_wait("sessions", 1));
}

TEST_HARNESS_MAIN
