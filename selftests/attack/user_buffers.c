// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "A command whose structure lies where the command itself takes memory away,
 * or where somebody makes the kernel wait, harms others or deadlocks."
 *
 * Structures and arrays inside blocks that the command gives back, inside
 * another session's memory that comes and goes, and in pages that userfaultfd
 * withholds.
 */
#include "withheld.h"

FIXTURE(session_with_a_chunk) {
	struct mp_session s;
	__u64 offset;
	unsigned char *p;
};

FIXTURE_SETUP(session_with_a_chunk)
{
	ASSERT_EQ(0, mp_require("reserve=16M"));
	ASSERT_EQ(0, mp_session_of_chunks(&self->s));
	self->offset = test_alloc_one(self->s.fd, MP_CHUNK);
	self->p = self->s.base + self->offset;
}

FIXTURE_TEARDOWN(session_with_a_chunk)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* ---- in the pool's own memory -------------------------------------------------------- */

TEST_F(session_with_a_chunk, release_of_the_chunk_that_holds_the_structure)
{
	struct mempool_release *arg = (void *)self->p;
	struct mempool_session_stats st;
	int ret;

	*arg = (struct mempool_release){ .offsets = mp_ptr(arg + 1), .count = 1 };
	*(__u64 *)(arg + 1) = self->offset;
	ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_RELEASE, arg);
	EXPECT_TRUE(ret == 0 || ret == -EFAULT);
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(0, st.currently_allocated);
	EXPECT_EQ(1, st.releases);
}

TEST_F(session_with_a_chunk, release_of_all_under_the_structure)
{
	struct mempool_release *arg = (void *)self->p;
	struct mempool_session_stats st;
	int ret;

	*arg = (struct mempool_release){ .flags = MEMPOOL_RELEASE_ALL };
	ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_RELEASE, arg);
	EXPECT_TRUE(ret == 0 || ret == -EFAULT);
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(0, st.currently_allocated);
}

/* Idle memory can still be touched; the trim takes it while its answer is due. */
TEST_F(session_with_a_chunk, trim_of_the_chunk_that_holds_the_structure)
{
	struct mempool_trim *arg = (void *)self->p;
	int ret;

	ASSERT_EQ(0, mp_peek(self->p));
	ASSERT_EQ(0, _test_release_one(self->s.fd, self->offset));
	if (mp_poke(self->p, 0))
		SKIP(return, "nothing is kept");
	memset(arg, 0, sizeof(*arg));
	ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_TRIM, arg);
	EXPECT_EQ(-EFAULT, ret);
	EXPECT_EQ(0, mp_sysfs_wait("chunks_owned", 0));
}

TEST_F(session_with_a_chunk, blocks_are_told_inside_themselves)
{
	struct mempool_alloc *arg;
	int i;

	/* What is to be had next is known: the lowest free place. */
	ASSERT_EQ(0, _test_release_one(self->s.fd, self->offset));
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, mp_poke(self->p, 0));
		arg = (void *)self->p;
		*arg = (struct mempool_alloc){
			.size = MP_CHUNK,
			.count = 1,
			.flags = MEMPOOL_ALLOC_ZERO,
			.blocks = mp_ptr(self->p + 4096),
		};
		ASSERT_EQ(0, mp_ioctl(self->s.fd, MEMPOOL_IOC_ALLOC, arg));
		/* Cleared before it was told, so what was told is there. */
		ASSERT_EQ(1, arg->done);
		ASSERT_EQ(self->offset, *(__u64 *)(self->p + 4096));
		ASSERT_EQ(0, _test_release_one(self->s.fd, self->offset));
	}
}

TEST_F(session_with_a_chunk, pools_are_closed_through_their_own_memory)
{
	struct mempool_pool_create pool;
	struct mempool_pool_close *arg;
	struct mempool_pool_batch *batch;
	struct mempool_token *tokens;
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, _test_pool_create(self->s.fd, i & 1 ? "own" : NULL,
					       4096, 64, i & 1 ? 0600 : 0, 0, &pool));
		batch = (void *)(self->s.base + pool.offset);
		tokens = (void *)(self->s.base + pool.offset + 8192);
		*batch = (struct mempool_pool_batch){
			.tokens = mp_ptr(tokens), .pool = pool.pool, .count = 8,
		};
		ASSERT_EQ(0, mp_ioctl(self->s.fd, MEMPOOL_IOC_POOL_GET, batch));
		ASSERT_EQ(0, mp_ioctl(self->s.fd, MEMPOOL_IOC_POOL_RETURN, batch));
		ASSERT_EQ(8, batch->done);
		arg = (void *)(self->s.base + pool.offset);
		*arg = (struct mempool_pool_close){ .pool = pool.pool };
		ASSERT_EQ(0, mp_ioctl(self->s.fd, MEMPOOL_IOC_POOL_CLOSE, arg));
	}
}

/* ---- in another session's memory, which comes and goes ------------------------------ */

struct restless {
	struct mp_session s;
	atomic_ullong offset;
	atomic_bool stop;
};

static void *come_and_go(void *arg)
{
	struct restless *r = arg;
	long long offset;
	int i;

	while (!atomic_load(&r->stop)) {
		offset = _test_alloc_one(r->s.fd, MP_CHUNK);
		if (offset < 0)
			continue;
		atomic_store(&r->offset, offset);
		for (i = 0; i < 100; i++)
			sched_yield();
		mp_give_all(&r->s);
	}
	return NULL;
}

static int command_at(struct mp_session *s, void *p, int i)
{
	static const __u32 cmds[] = { MEMPOOL_IOC_INFO, MEMPOOL_IOC_STATS,
		MEMPOOL_IOC_ALLOC, MEMPOOL_IOC_RELEASE, MEMPOOL_IOC_TRIM,
		MEMPOOL_IOC_PREALLOCATE };
	struct mempool_alloc alloc = {
		.size = 4096, .count = 8, .blocks = mp_ptr(p) + 4096,
	};
	__u32 cmd = cmds[i % 6];
	int zero = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	/* Written through the kernel: the memory may go under the write. */
	if (cmd == MEMPOOL_IOC_ALLOC)
		pwrite(zero, &alloc, sizeof(alloc), (off_t)(uintptr_t)p);
	close(zero);
	return mp_ioctl(s->fd, cmd, p);
}

TEST_F(session_with_a_chunk, structures_in_memory_that_goes_are_efault)
{
	static struct restless r;
	int i, ret, n = mp_rounds(1500), faults = 0, good = 0;
	struct mempool_session_stats st;
	pthread_t thread;

	ASSERT_EQ(0, mp_session_of_chunks(&r.s));
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_and_go, &r));
	for (i = 0; i < n; i++) {
		ret = command_at(&self->s, r.s.base + atomic_load(&r.offset), i);
		faults += ret == -EFAULT;
		good += ret == 0;
		if (i % 6 == 2)
			ASSERT_EQ(0, _test_release_all(self->s.fd));
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	ksft_print_msg("%d done, %d faults\n", good, faults);
	EXPECT_LT(0, good);
	EXPECT_LT(0, faults);
	ASSERT_EQ(0, _test_release_all(self->s.fd));
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(0, st.currently_allocated);
	mp_session_close(&r.s);
}

/* ---- in pages that userfaultfd withholds --------------------------------------------- */

FIXTURE(withheld_page) {
	struct mp_session s;
	unsigned char *page;
	int uffd;
};

FIXTURE_SETUP(withheld_page)
{
	ASSERT_EQ(0, mp_require("reserve=16M"));
	ASSERT_EQ(0, mp_session_of_chunks(&self->s));
	self->uffd = withhold(&self->page);
	if (self->uffd == -ENOSYS)
		SKIP(return, "no userfaultfd");
	ASSERT_LE(0, self->uffd);
}

FIXTURE_TEARDOWN(withheld_page)
{
	close(self->uffd);
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* Everything that others, and the session's other threads, may want to do. */
static bool all_proceed(struct mp_session *s)
{
	struct mempool_session_stats st;
	struct mp_session other;
	bool ok = true;
	char buf[4096];
	int n;

	ok &= mp_session_of_chunks(&other) == 0;
	n = mp_take_all(&other, 1);
	ok &= n >= 4;
	mp_session_close(&other);
	ok &= _test_ioctl_stats(s->fd, &st) == 0;
	ok &= _test_alloc_one(s->fd, MP_CHUNK) >= 0;
	ok &= _test_ioctl_trim(s->fd) >= 0;
	ok &= mp_read_file(MP_DEBUGFS "/sessions", buf, sizeof(buf)) > 0;
	ok &= mp_sysfs("sessions") >= 1;
	return ok;
}

TEST_F(withheld_page, a_release_that_waits_for_its_offsets_holds_nobody_up)
{
	__u64 offset = test_alloc_one(self->s.fd, MP_CHUNK);
	struct mempool_release arg = {
		.offsets = mp_ptr(self->page), .count = 1,
	};
	struct call c;

	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_RELEASE, &arg));
	await_fault(self->uffd);
	EXPECT_TRUE(all_proceed(&self->s));
	ASSERT_EQ(0, give_page(self->uffd, self->page, &offset, sizeof(offset)));
	EXPECT_EQ(0, end_call(&c));
	EXPECT_EQ(1, arg.done);
}

/* Blocks that nobody has been told of cannot be released by guessing. */
TEST_F(withheld_page, blocks_not_yet_told_are_nobodys)
{
	struct mempool_alloc arg = {
		.size = MP_CHUNK, .count = 1, .blocks = mp_ptr(self->page),
	};
	struct mempool_session_stats st;
	struct call c;
	__u64 offset;

	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_ALLOC, &arg));
	await_fault(self->uffd);
	for (offset = 0; offset < self->s.info.space_bytes; offset += MP_CHUNK)
		EXPECT_EQ(-ENOENT, _test_release_one(self->s.fd, offset));
	EXPECT_EQ(0, _test_release_all(self->s.fd));
	EXPECT_EQ(0, _test_ioctl_trim(self->s.fd));
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(0, st.currently_allocated);
	EXPECT_TRUE(all_proceed(&self->s));
	ASSERT_EQ(0, give_page(self->uffd, self->page, "", 1));
	ASSERT_EQ(0, end_call(&c));
	offset = *(__u64 *)self->page;
	EXPECT_EQ(0, mp_poke(self->s.base + offset, 1));
	EXPECT_EQ(0, _test_release_one(self->s.fd, offset));
}

TEST_F(withheld_page, a_pool_closed_before_its_blocks_are_told_stays_closed)
{
	struct mempool_pool_batch arg = {
		.tokens = mp_ptr(self->page), .count = 4,
	};
	struct mempool_pool_create pool;
	struct call c;

	ASSERT_EQ(0, _test_pool_create(self->s.fd, "held", 4096, 8, 0600, 0, &pool));
	arg.pool = pool.pool;
	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_POOL_GET, &arg));
	await_fault(self->uffd);
	EXPECT_EQ(0, _test_pool_close(self->s.fd, pool.pool));
	EXPECT_EQ(0, mp_sysfs_wait("chunks_owned", 0));
	EXPECT_TRUE(all_proceed(&self->s));
	ASSERT_EQ(0, give_page(self->uffd, self->page, "", 1));
	EXPECT_EQ(0, end_call(&c));
	EXPECT_EQ(-ENXIO, _test_pool_return(self->s.fd, pool.pool,
					    *(struct mempool_token *)self->page));
}

/* The page goes for good: what waits for it faults. */
static int take_page_away(int uffd, unsigned char *page)
{
	struct uffdio_range range = { mp_ptr(page), 4096 };

	return munmap(page, 4096) || ioctl(uffd, UFFDIO_WAKE, &range) ? -errno : 0;
}

/* Tokens that cannot be told after all: the blocks are free again, and no others. */
TEST_F(withheld_page, blocks_that_cannot_be_told_go_back)
{
	struct mempool_pool_batch arg = {
		.tokens = mp_ptr(self->page), .count = 4,
	};
	struct mempool_token first = { 0 }, t;
	struct mempool_pool_create pool;
	struct mempool_pool_stats st;
	struct call c;

	ASSERT_EQ(0, _test_pool_create(self->s.fd, NULL, 4096, 8, 0, 0, &pool));
	arg.pool = pool.pool;
	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_POOL_GET, &arg));
	await_fault(self->uffd);
	/* One of the four is returned by guessing, and is somebody's again. */
	ASSERT_EQ(0, _test_pool_return(self->s.fd, pool.pool, first));
	ASSERT_EQ(0, _test_pool_get(self->s.fd, pool.pool, &t));
	ASSERT_EQ(first.index, t.index);
	ASSERT_EQ(0, take_page_away(self->uffd, self->page));
	EXPECT_EQ(-EFAULT, end_call(&c));
	ASSERT_EQ(0, _test_pool_stats(self->s.fd, pool.pool, &st));
	EXPECT_EQ(1, st.held);
	EXPECT_EQ(1, st.issued);
	EXPECT_EQ(0, _test_pool_return(self->s.fd, pool.pool, t));
}

TEST_F(withheld_page, blocks_of_a_closed_pool_cannot_go_back)
{
	struct mempool_pool_batch arg = {
		.tokens = mp_ptr(self->page), .count = 4,
	};
	struct mempool_pool_create pool, second;
	struct mempool_pool_stats st;
	struct call c;

	ASSERT_EQ(0, _test_pool_create(self->s.fd, NULL, 4096, 8, 0, 0, &pool));
	arg.pool = pool.pool;
	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_POOL_GET, &arg));
	await_fault(self->uffd);
	ASSERT_EQ(0, _test_pool_close(self->s.fd, pool.pool));
	/* Another pool has the handle now. */
	ASSERT_EQ(0, _test_pool_create(self->s.fd, NULL, 4096, 8, 0, 0, &second));
	ASSERT_EQ(pool.pool, second.pool);
	ASSERT_EQ(0, take_page_away(self->uffd, self->page));
	EXPECT_EQ(-EFAULT, end_call(&c));
	ASSERT_EQ(0, _test_pool_stats(self->s.fd, second.pool, &st));
	EXPECT_EQ(0, st.issued);
	EXPECT_EQ(8, st.free);
}

/* From now on the page can be read and not written; or written again. */
static int withhold_writes(int uffd, unsigned char *page, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { mp_ptr(page), 4096 },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

FIXTURE(read_only_page) {
	struct mp_session s;
	unsigned char *page;
	int uffd;
};

FIXTURE_SETUP(read_only_page)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };

	ASSERT_EQ(0, mp_require("reserve=16M"));
	ASSERT_EQ(0, mp_session_of_chunks(&self->s));
	self->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (self->uffd < 0 && errno == ENOSYS)
		SKIP(return, "no userfaultfd");
	ASSERT_LE(0, self->uffd);
	self->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = mp_ptr(self->page);
	reg.range.len = 4096;
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_REGISTER, &reg));
}

FIXTURE_TEARDOWN(read_only_page)
{
	close(self->uffd);
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* A pool whose creator has not been told of it cannot be opened or removed. */
TEST_F(read_only_page, a_pool_not_yet_told_is_not_there)
{
	struct mempool_pool_create *arg = (void *)self->page, other_arg;
	struct mempool_pool_open open;
	struct mp_session other;
	struct call c;

	*arg = (struct mempool_pool_create){
		.block_size = 4096, .nr_blocks = 8, .mode = 0666, .name = "early",
	};
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, true));
	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_POOL_CREATE, arg));
	await_fault(self->uffd);
	ASSERT_EQ(0, mp_session_open(&other));
	EXPECT_EQ(-ENOENT, _test_pool_open(other.fd, "early", &open));
	EXPECT_EQ(-ENOENT, _test_pool_remove(other.fd, "early"));
	EXPECT_EQ(-EEXIST, _test_pool_create(other.fd, "early", 64, 1, 0600, 0,
					     &other_arg));
	EXPECT_TRUE(all_proceed(&self->s));
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, false));
	EXPECT_EQ(0, end_call(&c));
	EXPECT_EQ(0, _test_pool_open(other.fd, "early", &open));
	mp_session_close(&other);
}

/* Closed by guessing before it was told: it does not come back to life. */
TEST_F(read_only_page, a_pool_closed_before_it_was_told_stays_closed)
{
	struct mempool_pool_create *arg = (void *)self->page;
	struct mempool_pool_open open;
	struct call c;

	*arg = (struct mempool_pool_create){
		.block_size = 4096, .nr_blocks = 8, .mode = 0666, .name = "early",
		.flags = MEMPOOL_POOL_KEEP,
	};
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, true));
	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_POOL_CREATE, arg));
	await_fault(self->uffd);
	ASSERT_EQ(0, _test_pool_close(self->s.fd, 0));
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, false));
	EXPECT_EQ(0, end_call(&c));
	EXPECT_EQ(-ENOENT, _test_pool_open(self->s.fd, "early", &open));
	EXPECT_EQ(0, mp_sysfs_wait("chunks_owned", 0));
}

/* The handle closed by guess and taken by another pool meanwhile. */
TEST_F(read_only_page, a_handle_reused_before_it_was_told_stays_its_new_pools)
{
	struct mempool_pool_create *arg = (void *)self->page, second;
	struct mempool_pool_stats st;
	struct call c;

	*arg = (struct mempool_pool_create){ .block_size = 4096, .nr_blocks = 8 };
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, true));
	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_POOL_CREATE, arg));
	await_fault(self->uffd);
	ASSERT_EQ(0, _test_pool_close(self->s.fd, 0));
	ASSERT_EQ(0, _test_pool_create(self->s.fd, NULL, 64, 3, 0, 0, &second));
	ASSERT_EQ(0, second.pool);
	/* The answer to the first cannot be written: it is undone. */
	ASSERT_EQ(0, mprotect(self->page, 4096, PROT_READ));
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, false));
	EXPECT_EQ(-EFAULT, end_call(&c));
	ASSERT_EQ(0, _test_pool_stats(self->s.fd, second.pool, &st));
	EXPECT_EQ(3, st.nr_blocks);
}

TEST_F(read_only_page, a_release_whose_answer_waits_holds_nobody_up)
{
	struct mempool_release *arg = (void *)self->page;
	__u64 offset = test_alloc_one(self->s.fd, MP_CHUNK);
	struct call c;

	*arg = (struct mempool_release){ .offsets = mp_ptr(&offset), .count = 1 };
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, true));
	ASSERT_EQ(0, begin_call(&c, self->s.fd, MEMPOOL_IOC_RELEASE, arg));
	await_fault(self->uffd);
	EXPECT_TRUE(all_proceed(&self->s));
	ASSERT_EQ(0, withhold_writes(self->uffd, self->page, false));
	EXPECT_EQ(0, end_call(&c));
	EXPECT_EQ(1, arg->done);
}

/* ---- killed while waiting for one ---------------------------------------------------- */

struct killed_wait {
	unsigned long cmd;
	struct mp_link link;
};

/* Waits for a page that nobody gives, and is killed there. */
static int wait_to_be_killed(void *arg)
{
	static union {
		struct mempool_alloc alloc;
		struct mempool_release release;
		struct mempool_pool_batch batch;
	} u;
	struct killed_wait *w = arg;
	struct mempool_pool_create pool;
	unsigned char *page;
	struct mp_session s;
	struct call c;
	int uffd = withhold(&page);

	CHECK(uffd >= 0);
	CHECK(mp_session_of_chunks(&s) == 0);
	CHECK(_test_alloc_one(s.fd, MP_CHUNK) >= 0);
	CHECK(_test_pool_create(s.fd, NULL, 4096, 8, 0, 0, &pool) == 0);
	if (w->cmd == MEMPOOL_IOC_ALLOC)
		u.alloc = (struct mempool_alloc){
			.size = MP_CHUNK, .count = 2, .blocks = mp_ptr(page) };
	else if (w->cmd == MEMPOOL_IOC_RELEASE)
		u.release = (struct mempool_release){
			.offsets = mp_ptr(page), .count = 2 };
	else
		u.batch = (struct mempool_pool_batch){
			.tokens = mp_ptr(page), .count = 2, .pool = pool.pool };
	CHECK(begin_call(&c, s.fd, w->cmd, &u) == 0);
	await_fault(uffd);
	mp_step(w->link.theirs);
	while (pause())
		;
	return 0;
}

TEST_F(withheld_page, killed_in_the_wait_everything_comes_back)
{
	static const unsigned long cmds[] = { MEMPOOL_IOC_ALLOC,
		MEMPOOL_IOC_RELEASE, MEMPOOL_IOC_POOL_GET,
		MEMPOOL_IOC_POOL_RETURN, MEMPOOL_IOC_POOL_ADOPT };
	struct killed_wait w;
	unsigned int i;
	pid_t pid;

	ASSERT_EQ(0, mp_link_open(&w.link));
	for (i = 0; i < 5; i++) {
		w.cmd = cmds[i];
		pid = mp_spawn(0, wait_to_be_killed, &w);
		ASSERT_TRUE(mp_await(w.link.ours));
		ASSERT_EQ(-SIGKILL, mp_kill(pid));
		EXPECT_TRUE(mp_settled());
	}
	mp_link_close(&w.link);
}

TEST_HARNESS_MAIN
