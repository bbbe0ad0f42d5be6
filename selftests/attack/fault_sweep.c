// SPDX-License-Identifier: MIT OR GPL-2.0
// kernels: debug
/*
 * "When the kernel's own memory runs out, or a copy from or to the user fails,
 * at the right moment, something is left behind."
 *
 * Every failure point of open, mmap, each command's success path and of loading
 * the module, one after the other: the kernel fails the n-th attempt of the call
 * to get memory or to copy, for n = 1, 2, ... until the call ends before that,
 * five times in a row: how many attempts there are changes with what the kernel's
 * caches hold.
 * A call that fails has changed nothing, and afterwards everything is free.
 */
#include "attack.h"

#define CHUNKS		4		/* of reserve=8M */
#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define MOST_POINTS	20000
#define BEYOND		5		/* points not reached in a row are beyond the last */

/* Let everything fail that can, and quietly. */
static int arm_kernel(void)
{
	static const char * const set[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_usercopy/verbose", "0" },
	};
	char path[128];
	unsigned int i;
	int ret = 0;

	for (i = 0; i < sizeof(set) / sizeof(set[0]) && !ret; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", set[i][0]);
		ret = mp_write_file(path, set[i][1]);
	}
	return ret;
}

static int fail_fd = -1;

/* From now on the @nth attempt of this thread fails; 0: none does. */
static void arm(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	/* What is armed may hit this very write. */
	while (pwrite(fail_fd, text, n, 0) != n)
		;
}

/* Disarms. Returns how many attempts were left: 0: it has struck in the call. */
static unsigned int disarm(void)
{
	char text[16] = "";
	ssize_t n = pread(fail_fd, text, sizeof(text) - 1, 0);
	/* Empty: the read itself was struck. */
	unsigned int left = n > 0 ? strtoul(text, NULL, 10) : 1;

	arm(0);
	return left;
}

/* ---- the calls ----------------------------------------------------------------------- */

struct state {
	struct mp_session s, other;
	struct mempool_block blocks[12];
	__u64 offsets[8];
	struct mempool_token tokens[12];
	struct mempool_pool_create pool;
	struct mempool_pool_open open;
	int pipe[CHUNKS][2];
	void *map;
};

typedef int (*state_fn)(struct state *st);

static int prepare_nothing(struct state *st)
{
	return 0;
}

static int prepare_blocks(struct state *st)
{
	int i, ret = _test_ioctl_alloc(st->s.fd, 300000, 8, 0, st->blocks, NULL);

	for (i = 0; i < 8; i++)
		st->offsets[i] = st->blocks[i].offset;
	return ret;
}

static int prepare_idle(struct state *st)
{
	int ret = prepare_blocks(st);

	return ret ?: _test_release_all(st->s.fd);
}

static int prepare_pool(struct state *st)
{
	return _test_pool_create(st->s.fd, "swept", 4096, 8, 0666, 0, &st->pool);
}

static int prepare_larger_pool(struct state *st)
{
	return _test_pool_create(st->s.fd, "swept", 4096, 16, 0666, 0, &st->pool);
}

/* The other session makes it and holds four blocks. */
static int prepare_others_pool(struct state *st)
{
	int ret = _test_pool_create(st->other.fd, "swept", 4096, 8, 0666, 0, &st->pool);

	return ret ?: _test_pool_batch(st->other.fd, MEMPOOL_IOC_POOL_GET, st->pool.pool,
				       st->tokens, 4, NULL, NULL);
}

static int prepare_membership(struct state *st)
{
	int ret = prepare_others_pool(st);

	return ret ?: _test_pool_open(st->s.fd, "swept", &st->open);
}

static int prepare_held(struct state *st)
{
	int ret = prepare_pool(st);

	return ret ?: _test_pool_batch(st->s.fd, MEMPOOL_IOC_POOL_GET, st->pool.pool,
				       st->tokens, 4, NULL, NULL);
}

/* A page of every chunk is in a pipe, and the chunk given back. */
static int prepare_pinned(struct state *st)
{
	struct iovec iov = { .iov_len = 4096 };
	int i, ret = _test_configure_granularity(st->s.fd, MP_CHUNK);
	long long offset;

	for (i = 0; i < CHUNKS && !ret; i++) {
		offset = _test_alloc_one(st->s.fd, MP_CHUNK);
		if (offset < 0)
			return offset;
		iov.iov_base = st->s.base + offset;
		if (pipe(st->pipe[i]) || vmsplice(st->pipe[i][1], &iov, 1, 0) != 4096)
			return -errno;
		ret = mp_give_all(&st->s);
	}
	return ret;
}

static int call_open(struct state *st)
{
	int fd = open(MP_DEV, O_RDWR);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int call_mmap(struct state *st)
{
	st->map = mmap(NULL, MP_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, st->s.fd, 0);
	return st->map == MAP_FAILED ? -errno : 0;
}

static int call_fault(struct state *st)
{
	return madvise(st->s.base + st->offsets[0], 4096, MADV_POPULATE_WRITE) ? -errno : 0;
}

static int call_info(struct state *st)
{
	return mp_info(st->s.fd, &st->s.info);
}

static int call_configure(struct state *st)
{
	return _test_configure(st->s.fd, MEMPOOL_CONFIGURE_MIN_BYTES, 2 * MP_CHUNK);
}

static int call_alloc(struct state *st)
{
	return _test_ioctl_alloc(st->s.fd, 300000, 8, MEMPOOL_ALLOC_ZERO, st->blocks, NULL);
}

/* Each has a slab of its own: what is reserved needs memory. */
static int call_alloc_many(struct state *st)
{
	return _test_ioctl_alloc(st->s.fd, 300000, 12, 0, st->blocks, NULL);
}

static int call_alloc_large(struct state *st)
{
	return _test_ioctl_alloc(st->s.fd, 3 * MP_CHUNK, 1, 0, st->blocks, NULL);
}

static int call_alloc_replacing(struct state *st)
{
	long long offset = _test_alloc_one(st->s.fd, MP_CHUNK);

	return offset < 0 ? offset : 0;
}

static int call_release(struct state *st)
{
	return _test_ioctl_release(st->s.fd, st->offsets, 8, 0, NULL);
}

static int call_release_all(struct state *st)
{
	return _test_release_all(st->s.fd);
}

static int call_preallocate(struct state *st)
{
	return _test_ioctl_preallocate(st->s.fd, 4096, 64, NULL);
}

static int call_trim(struct state *st)
{
	long long ret = _test_ioctl_trim(st->s.fd);

	return ret < 0 ? ret : 0;
}

static int call_stats(struct state *st)
{
	struct mempool_session_stats stats;

	return _test_ioctl_stats(st->s.fd, &stats);
}

static int call_create_private(struct state *st)
{
	return _test_pool_create(st->s.fd, NULL, 4096, 600, 0, 0, &st->pool);
}

/* Its tables fit into a page, so that no second attempt is made. */
static int call_create_small(struct state *st)
{
	return _test_pool_create(st->s.fd, NULL, 4096, 8, 0, 0, &st->pool);
}

static int call_create_named(struct state *st)
{
	return _test_pool_create(st->s.fd, "swept", 4096, 600, 0600, 0, &st->pool);
}

static int call_pool_open(struct state *st)
{
	return _test_pool_open(st->s.fd, "swept", &st->open);
}

static int call_pool_close(struct state *st)
{
	return _test_pool_close(st->s.fd, 0);
}

static int call_pool_remove(struct state *st)
{
	return _test_pool_remove(st->s.fd, "swept");
}

static int call_get(struct state *st)
{
	return _test_pool_batch(st->s.fd, MEMPOOL_IOC_POOL_GET, 0, st->tokens, 4, NULL, NULL);
}

static int call_get_many(struct state *st)
{
	return _test_pool_batch(st->s.fd, MEMPOOL_IOC_POOL_GET, 0, st->tokens, 12, NULL, NULL);
}

static int call_return(struct state *st)
{
	return _test_pool_batch(st->s.fd, MEMPOOL_IOC_POOL_RETURN, 0, st->tokens, 4, NULL,
				NULL);
}

static int call_adopt(struct state *st)
{
	return _test_pool_batch(st->s.fd, MEMPOOL_IOC_POOL_ADOPT, 0, st->tokens, 4, NULL, NULL);
}

static int call_coalesce(struct state *st)
{
	return _test_pool_coalesce(st->s.fd, 0, NULL);
}

static int call_reset(struct state *st)
{
	long long ret = _test_pool_reset(st->s.fd, 0, 0);

	return ret < 0 ? ret : 0;
}

static int call_pool_stats(struct state *st)
{
	struct mempool_pool_stats stats;

	return _test_pool_stats(st->s.fd, 0, &stats);
}

/* ---- the sweep ----------------------------------------------------------------------- */

FIXTURE(call) {
	struct state st;
};

/*
 * @undone: when it fails, the session has what it had before.
 * @params: of the module, more than the reserve
 */
FIXTURE_VARIANT(call) {
	state_fn prepare, call;
	bool undone;
	const char *params;
};

#define CALL(_name, _prepare, _undone, ...)				\
	FIXTURE_VARIANT_ADD(call, _name) {				\
		.prepare = _prepare, .call = call_##_name, .undone = _undone, \
		.params = "reserve=8M" __VA_ARGS__,			\
	}

CALL(open, prepare_nothing, true);
CALL(mmap, prepare_nothing, true);
CALL(fault, prepare_blocks, true);
CALL(info, prepare_nothing, true);
CALL(configure, prepare_nothing, true);
CALL(alloc, prepare_nothing, true);
CALL(alloc_many, prepare_nothing, true);
CALL(alloc_large, prepare_idle, true);
CALL(alloc_replacing, prepare_pinned, true, " spare=1");
CALL(release, prepare_blocks, false);
CALL(release_all, prepare_blocks, false);
CALL(preallocate, prepare_nothing, true);
CALL(trim, prepare_idle, true);
CALL(stats, prepare_blocks, true);
CALL(create_private, prepare_nothing, true);
CALL(create_small, prepare_nothing, true);
CALL(create_named, prepare_nothing, true);
CALL(pool_open, prepare_others_pool, true);
CALL(pool_close, prepare_held, true);
CALL(pool_remove, prepare_pool, true);
CALL(get, prepare_pool, true);
CALL(get_many, prepare_larger_pool, true);
CALL(return, prepare_held, false);
CALL(adopt, prepare_membership, false);
CALL(coalesce, prepare_held, false);
CALL(reset, prepare_held, false);
CALL(pool_stats, prepare_held, true);

FIXTURE_SETUP(call)
{
	ASSERT_EQ(0, mp_require(variant->params));
	ASSERT_EQ(0, arm_kernel());
	memset(self->st.pipe, -1, sizeof(self->st.pipe));
	fail_fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fail_fd);
}

FIXTURE_TEARDOWN(call)
{
	close(fail_fd);
	EXPECT_TRUE(mp_settled());
}

static void empty_pipes(struct state *st)
{
	int i;

	for (i = 0; i < CHUNKS; i++) {
		close(st->pipe[i][0]);
		close(st->pipe[i][1]);
		st->pipe[i][0] = -1;
		st->pipe[i][1] = -1;
	}
}

static bool same_holdings(const struct mempool_session_stats *a,
			  const struct mempool_session_stats *b)
{
	return a->currently_allocated == b->currently_allocated &&
	       a->current_bytes == b->current_bytes && a->nr_pools == b->nr_pools &&
	       a->min_bytes == b->min_bytes && a->releases == b->releases;
}

TEST_F(call, leaves_nothing_behind_wherever_it_fails)
{
	struct mempool_session_stats before, after;
	unsigned int n, quiet = 0, failed = 0;
	struct state *st = &self->st;
	int ret = 0;

	for (n = 1; quiet < BEYOND; n++) {
		ASSERT_LT(n, MOST_POINTS);
		ASSERT_EQ(0, mp_session_open(&st->s));
		ASSERT_EQ(0, mp_session_open(&st->other));
		st->map = MAP_FAILED;
		ASSERT_EQ(0, variant->prepare(st));
		test_ioctl_stats(st->s.fd, &before);

		arm(n);
		ret = variant->call(st);
		quiet = disarm() ? quiet + 1 : 0;

		test_ioctl_stats(st->s.fd, &after);
		failed += !!ret;
		if (ret && variant->undone && !same_holdings(&before, &after)) {
			TH_LOG("point %u: %d", n, ret);
			EXPECT_TRUE(same_holdings(&before, &after));
		}
		if (ret)
			ASSERT_TRUE(ret == -ENOMEM || ret == -EFAULT || ret == -ENFILE);
		if (st->map != MAP_FAILED)
			munmap(st->map, MP_CHUNK);
		empty_pipes(st);
		mp_session_close(&st->s);
		mp_session_close(&st->other);
		ASSERT_TRUE(mp_settled());
	}
	/* Where nothing is hit any more it succeeds. */
	EXPECT_EQ(0, ret);
	ksft_print_msg("%u points, %u of them made it fail\n", n - 1 - quiet,
		       failed);
}

/* ---- loading ------------------------------------------------------------------------- */

FIXTURE(load) {
	int ko;
};

FIXTURE_VARIANT(load) {
	const char *params;
};

FIXTURE_VARIANT_ADD(load, one_chunk) { .params = "reserve=2M" };
FIXTURE_VARIANT_ADD(load, pools) { .params = "reserve=8M fixed=a:4096x8,b:100x5:0600" };
FIXTURE_VARIANT_ADD(load, options) {
	.params = "reserve=4M tiers=4K:64,max:4K session_limit=2M user_limit=2M spare=1",
};

FIXTURE_SETUP(load)
{
	if (mp_loaded())
		ASSERT_EQ(0, mp_unload());
	ASSERT_EQ(0, arm_kernel());
	fail_fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fail_fd);
	self->ko = open(mp_ko(), O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->ko);
}

FIXTURE_TEARDOWN(load)
{
	close(fail_fd);
	close(self->ko);
	if (mp_loaded())
		EXPECT_EQ(0, mp_unload());
}

static int load_failing(int ko, const char *params, unsigned int n, unsigned int *left)
{
	int ret;

	arm(n);
	ret = syscall(SYS_finit_module, ko, params, 0) ? -errno : 0;
	*left = disarm();
	return ret;
}

#define NEVER	(1u << 20)

/* How many points a load has; with a bad parameter: before the module's own. */
static unsigned int points(int ko, const char *params)
{
	unsigned int left;

	load_failing(ko, params, NEVER, &left);
	return NEVER - left;
}

/*
 * A load and an unload take a second in emulation, and a chunk of single pages has
 * 512 points: about so many loads, evenly spread, unless the environment says
 * MEMPOOL_SWEEP=all.
 */
#define LOADS	50

static unsigned int load_stride(unsigned int nr)
{
	const char *sweep = getenv("MEMPOOL_SWEEP");

	return nr <= LOADS || (sweep && !strcmp(sweep, "all")) ? 1 : nr / LOADS;
}

TEST_F(load, leaves_nothing_behind_wherever_it_fails)
{
	unsigned int begin, end, n, left = 0, failed = 0, loads = 0, stride;
	struct mp_session s;
	int ret = 0;

	end = points(self->ko, variant->params);
	ASSERT_EQ(0, mp_unload());
	begin = points(self->ko, "reserve=none");
	ASSERT_LT(begin, end);
	stride = load_stride(end - begin);
	/* A little earlier, in case the loader needs fewer now. */
	begin = begin > 16 ? begin - 16 : 1;
	for (n = begin + end % stride; !left; n += stride) {
		ASSERT_LT(n, begin + MOST_POINTS);
		ret = load_failing(self->ko, variant->params, n, &left);
		failed += !!ret;
		loads++;
		if (ret) {
			ASSERT_FALSE(mp_loaded());
			continue;
		}
		ASSERT_EQ(0, mp_make_node());
		ASSERT_TRUE(mp_session_open(&s) == 0);
		mp_session_close(&s);
		ASSERT_EQ(0, mp_unload());
	}
	EXPECT_EQ(0, ret);
	EXPECT_LT(0, failed);
	ksft_print_msg("points %u to %u (%u at first) in steps of %u: %u loads, %u failed\n",
		       begin, n - stride, end, stride, loads, failed);
}

/* ---- memory that ends ---------------------------------------------------------------- */

/*
 * Each sweep above fails one attempt, after which another kind is tried. From here on
 * all fail for this process once it has had @pages, of which a chunk in one piece would
 * need 512: it is given single ones, until there are no more.
 */
static int fail_self = -1;	/* whether this process is one of those that fail */

static int arm_pages(unsigned int pages)
{
	char path[128], space[16];
	const char * const set[][2] = {
		{ "task-filter", "Y" }, { "interval", "1" }, { "times", "-1" },
		{ "probability", "100" }, { "space", space },
	};
	unsigned int i;
	int ret = 0;

	snprintf(space, sizeof(space), "%u", pages);
	for (i = 0; i < sizeof(set) / sizeof(set[0]) && !ret; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/fail_page_alloc/%s", set[i][0]);
		ret = mp_write_file(path, set[i][1]);
	}
	if (!ret && fail_self < 0)
		fail_self = open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC);
	return ret ?: fail_self < 0 ? -errno : 0;
}

/*
 * The result of one system call that is short of memory. Nothing else may need any
 * meanwhile: a page fault would be tried again for ever.
 */
#define WHILE_MEMORY_ENDS(call)						\
	({								\
		long __ret;						\
									\
		if (pwrite(fail_self, "1", 1, 0) != 1)			\
			abort();					\
		__ret = (call) < 0 ? -errno : 0;			\
		if (pwrite(fail_self, "0", 1, 0) != 1)			\
			abort();					\
		__ret;							\
	})

#define WORTH	400	/* pages that a test gets before memory ends */

TEST(a_pinned_chunk_whose_replacement_cannot_be_had_stays_pinned)
{
	const int rounds = 50;		/* times WORTH: 80 MB */
	struct state st = { 0 };
	struct mempool_alloc arg;
	long long free_kb;
	int i;

	ASSERT_EQ(0, mp_require("reserve=8M spare=1"));
	ASSERT_EQ(0, arm_kernel());
	ASSERT_EQ(0, mp_session_open(&st.s));
	ASSERT_EQ(0, prepare_pinned(&st));
	free_kb = mp_proc_number("/proc/meminfo", "MemFree:");
	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(0, arm_pages(WORTH));
		arg = (struct mempool_alloc){
			.size = MP_CHUNK, .count = 1, .blocks = mp_ptr(st.blocks),
		};
		ASSERT_EQ(-ENOMEM, WHILE_MEMORY_ENDS(ioctl(st.s.fd, MEMPOOL_IOC_ALLOC, &arg)));
	}
	free_kb -= mp_proc_number("/proc/meminfo", "MemFree:");
	EXPECT_LT(free_kb, rounds * WORTH * 4 / 2);
	EXPECT_EQ(CHUNKS, mp_sysfs("chunks_pinned"));
	EXPECT_EQ(0, mp_sysfs("chunks_replaced"));
	/* With memory it is replaced. */
	EXPECT_LE(0, _test_alloc_one(st.s.fd, MP_CHUNK));
	EXPECT_EQ(1, mp_sysfs("chunks_replaced"));
	empty_pipes(&st);
	mp_session_close(&st.s);
	EXPECT_TRUE(mp_settled());
}

/* Did the module say @word since the last look at the log? */
static bool logged(int log, const char *word)
{
	char line[2048];
	bool found = false;
	ssize_t n;

	while ((n = read(log, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		found |= strstr(line, "mempool") && strstr(line, word);
	}
	return found;
}

/* Pages that loading takes before the module has begun with its own. */
static unsigned int pages_of_a_load(int ko)
{
	const unsigned int many = 1 << 20;
	char left[32];

	if (arm_pages(many) ||
	    WHILE_MEMORY_ENDS(syscall(SYS_finit_module, ko, "reserve=none", 0)) != -EINVAL ||
	    mp_read_file("/sys/kernel/debug/fail_page_alloc/space", left, sizeof(left)) < 0)
		return 0;
	return many - strtoul(left, NULL, 0);
}

TEST(a_reserve_that_cannot_be_filled_is_given_back)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int i, ko = open(mp_ko(), O_RDONLY | O_CLOEXEC);
	unsigned int before, ended = 0;

	ASSERT_LE(0, log);
	ASSERT_LE(0, ko);
	if (mp_loaded())
		ASSERT_EQ(0, mp_unload());
	ASSERT_EQ(0, arm_kernel());
	/* Twice: the first one fills the kernel's caches. */
	pages_of_a_load(ko);
	before = pages_of_a_load(ko);
	ASSERT_LT(0, before);
	logged(log, "");
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, arm_pages(before + WORTH - 100 * i));
		ASSERT_EQ(-ENOMEM, WHILE_MEMORY_ENDS(syscall(SYS_finit_module, ko,
							     "reserve=8M", 0)));
		ASSERT_FALSE(mp_loaded());
		ended += logged(log, "memory ended after 0 of 8 MiB");
	}
	/* Loading takes a few more or less each time. */
	EXPECT_LT(0, ended);
	ksft_print_msg("%u pages before the module's own, ended there %u times\n", before,
		       ended);
	close(log);
	close(ko);
	ASSERT_EQ(0, mp_load("reserve=8M"));
	EXPECT_EQ(CHUNKS, mp_sysfs("chunks_free"));
	EXPECT_EQ(0, mp_unload());
}

TEST_HARNESS_MAIN
