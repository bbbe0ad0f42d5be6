// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Commands made of mutated bytes.
 *
 * Children of an ordinary user make calls: sensible ones of which some bits,
 * words or sizes have been changed, in an order that nobody intended. What
 * becomes of a call is not looked at; when the child has ended the parent judges
 * the device: nothing may be left, and whatever it hands out must be zero.
 *
 * Where the kernel has KCOV, an input that reaches code which none has reached
 * before is kept, and later ones are made from it.
 *
 *	raw					the short run of the test suite
 *	raw --seed N --children C --calls K	that one
 *	raw --seconds S				new seeds until then
 *
 * The kernel writes to whatever address the bytes name. So all that a call should
 * find lies at fixed addresses far from anything else, and a changed bit of such
 * an address leads nowhere.
 */
#include <dirent.h>

#include "mp_proc.h"

#define PARAMS		"reserve=32M user_limit=24M"
#define USABLE		(20u << 20)	/* of it, by one user */
#define SESSIONS	3		/* of a child, the last one read-only */
#define WORDS		64		/* longer than any structure */
#define KEPT		512		/* inputs, at most */

/* ---- random numbers ------------------------------------------------------------------ */

static __u64 state;

static __u64 next(void)
{
	__u64 z = state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static __u64 below(__u64 n)
{
	return next() % n;
}

static bool one_in(__u64 n)
{
	return below(n) == 0;
}

/* ---- memory that is only the calls' -------------------------------------------------- */

#define YARD		0x100000000000ull
#define YARD_SIZE	(1u << 20)	/* then a page to be read only, then nothing */
#define YARD_END	(YARD + YARD_SIZE)
#define ARG		YARD		/* the structure; 16 KiB is the longest there is */
#define BLOCKS		(YARD + (64 << 10))
#define OFFSETS		(YARD + (128 << 10))
#define TOKENS		(YARD + (192 << 10))
#define POOL		0x300000000000ull	/* the first session's; then every 1 << 40 */

static void *at(__u64 address)
{
	return (void *)(uintptr_t)address;
}

static int lay_out_yard(void)
{
	void *p = mmap(at(YARD), YARD_SIZE + 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != at(YARD))
		return -1;
	return mprotect(at(YARD_END), 4096, PROT_READ);
}

static int open_session(struct mp_session *s, unsigned int i)
{
	bool ro = i == SESSIONS - 1;
	int prot = ro ? PROT_READ : PROT_READ | PROT_WRITE;
	__u64 where = POOL + ((__u64)i << 40);

	memset(s, 0, sizeof(*s));
	s->fd = open(MP_DEV, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (s->fd < 0 || mp_info(s->fd, &s->info))
		return -1;
	s->base = mmap(at(where), s->info.space_bytes, prot,
		       MAP_SHARED | MAP_FIXED_NOREPLACE, s->fd, 0);
	return s->base == at(where) ? 0 : -1;
}

/* ---- coverage ------------------------------------------------------------------------ */

#define KCOV		"/sys/kernel/debug/kcov"
#define KCOV_INIT	_IOR('c', 1, unsigned long)
#define KCOV_ENABLE	_IO('c', 100)
#define TRACE_SIZE	(64u << 10)	/* places, in words */

/* An input: a command, where its structure lies and what is in it. */
struct input {
	__u32 cmd, place;
	union {
		__u64 word[WORDS];
		struct mempool_configure configure;
		struct mempool_alloc alloc;
		struct mempool_release release;
		struct mempool_preallocate preallocate;
		struct mempool_pool_create create;
		struct mempool_pool_open open;
		struct mempool_pool_close close;
		struct mempool_pool_remove remove;
		struct mempool_pool_batch batch;
		struct mempool_pool_op op;
		struct mempool_pool_stats stats;
	};
};

/* Shared by parent and children. Places are the low bits of addresses. */
static struct common {
	unsigned char seen[1 << 20];
	unsigned int places, kept, calls, call;
	struct input input[KEPT];
} *common;

static unsigned long *trace;	/* of this process, NULL without KCOV */

/* As root, who alone may open it; the kernel traces this thread from now on. */
static int trace_begin(void)
{
	int fd = open(KCOV, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (ioctl(fd, KCOV_INIT, (unsigned long)TRACE_SIZE))
		return -1;
	trace = mmap(NULL, TRACE_SIZE * sizeof(*trace), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (trace == MAP_FAILED)
		return -1;
	return ioctl(fd, KCOV_ENABLE, 0);
}

static void trace_clear(void)
{
	if (trace)
		__atomic_store_n(&trace[0], 0, __ATOMIC_RELAXED);
}

/* How many places the last call was the first to reach. */
static unsigned int trace_news(void)
{
	unsigned long i, n = trace ? __atomic_load_n(&trace[0], __ATOMIC_RELAXED) : 0;
	unsigned int news = 0;

	for (i = 1; i <= n && i < TRACE_SIZE; i++) {
		unsigned char *seen = &common->seen[trace[i] % sizeof(common->seen)];

		news += !*seen;
		*seen = 1;
	}
	common->places += news;
	return news;
}

static void keep(const struct input *in)
{
	unsigned int i = common->kept < KEPT ? common->kept++ : below(KEPT);

	common->input[i] = *in;
}

/* ---- inputs -------------------------------------------------------------------------- */

enum { AT_ARG, AT_EDGE, AT_READ_ONLY, AT_POOL, AT_NOWHERE, PLACES };

static const __u32 cmds[] = {
	MEMPOOL_IOC_INFO, MEMPOOL_IOC_CONFIGURE, MEMPOOL_IOC_ALLOC, MEMPOOL_IOC_RELEASE,
	MEMPOOL_IOC_PREALLOCATE, MEMPOOL_IOC_TRIM, MEMPOOL_IOC_STATS,
	MEMPOOL_IOC_POOL_CREATE, MEMPOOL_IOC_POOL_OPEN, MEMPOOL_IOC_POOL_CLOSE,
	MEMPOOL_IOC_POOL_REMOVE, MEMPOOL_IOC_POOL_GET, MEMPOOL_IOC_POOL_RETURN,
	MEMPOOL_IOC_POOL_ADOPT, MEMPOOL_IOC_POOL_COALESCE, MEMPOOL_IOC_POOL_RESET,
	MEMPOOL_IOC_POOL_STATS,
};

static __u64 some_size(void)
{
	static const __u64 scale[] = { 64, 4096, 40000, 300000, 5 << 20 };

	return 1 + below(scale[below(5)]);
}

static void some_name(char *name)
{
	snprintf(name, MEMPOOL_NAME_LEN, "raw%u", (unsigned int)below(3));
}

static void sensible_batch(struct input *in)
{
	in->batch.tokens = TOKENS;
	in->batch.pool = below(3);
	in->batch.count = 1 + below(8);
}

static void sensible_create(struct input *in)
{
	in->create.block_size = some_size();
	in->create.nr_blocks = 1 + below(20);
	if (one_in(2)) {
		some_name(in->create.name);
		in->create.mode = 0600;
		in->create.flags = one_in(2) ? MEMPOOL_POOL_KEEP : 0;
	}
}

static void sensible_configure(struct input *in)
{
	in->configure.flags = 1u << below(6);
	in->configure.min_bytes = in->configure.flags & MEMPOOL_CONFIGURE_MIN_BYTES ?
				  below(10) << 20 : 0;
	in->configure.limit_bytes = in->configure.flags & MEMPOOL_CONFIGURE_LIMIT_BYTES ?
				    below(20) << 20 : 0;
}

/* A call as a well-behaved program might make it. */
static void sensible(struct input *in)
{
	memset(in, 0, sizeof(*in));
	in->cmd = cmds[below(sizeof(cmds) / sizeof(cmds[0]))];
	switch (in->cmd) {
	case MEMPOOL_IOC_CONFIGURE:
		sensible_configure(in);
		break;
	case MEMPOOL_IOC_ALLOC:
		in->alloc.size = some_size();
		in->alloc.blocks = BLOCKS;
		in->alloc.count = 1 + below(16);
		in->alloc.flags = below(8);
		break;
	case MEMPOOL_IOC_RELEASE:
		in->release.offsets = OFFSETS + 8 * below(16);
		in->release.count = 1 + below(8);
		in->release.flags = below(2);
		break;
	case MEMPOOL_IOC_PREALLOCATE:
		in->preallocate.size = some_size();
		in->preallocate.count = 1 + below(8);
		break;
	case MEMPOOL_IOC_POOL_CREATE:
		sensible_create(in);
		break;
	case MEMPOOL_IOC_POOL_OPEN:
		some_name(in->open.name);
		break;
	case MEMPOOL_IOC_POOL_REMOVE:
		some_name(in->remove.name);
		break;
	case MEMPOOL_IOC_POOL_GET:
	case MEMPOOL_IOC_POOL_RETURN:
	case MEMPOOL_IOC_POOL_ADOPT:
		sensible_batch(in);
		break;
	default:	/* a handle comes first, if there is one */
		in->op.pool = below(3);
	}
}

static __u64 some_word(void)
{
	switch (below(8)) {
	case 0:
		return next();
	case 1:
		return 1ull << below(64);
	case 2:
		return YARD + below(YARD_SIZE + 8192);
	case 3:
		return POOL + (below(SESSIONS) << 40) + below(8) * 4096;
	case 4:
		return below(4) | below(4) << 32;
	case 5:
		return -below(3);
	case 6:
		return ~0ull << below(64);
	default:
		return 0;
	}
}

/* Another number, direction or size; never another type. */
static void mutate_command(struct input *in)
{
	unsigned int size = _IOC_SIZE(in->cmd), nr = _IOC_NR(in->cmd);

	switch (below(4)) {
	case 0:
		size = below(1 << _IOC_SIZEBITS);
		break;
	case 1:
		size += 8 * (below(9) - 4);
		break;
	case 2:
		nr = below(32);
		break;
	default:
		in->cmd ^= 1u << below(32);
	}
	in->cmd = _IOC(_IOC_DIR(in->cmd), MEMPOOL_IOC_TYPE, nr,
		       size & ((1 << _IOC_SIZEBITS) - 1));
}

static void mutate_bytes(struct input *in)
{
	unsigned int words = (_IOC_SIZE(in->cmd) + 7) / 8;
	__u64 *w = &in->word[below(words && words < WORDS ? words : WORDS)];

	switch (below(7)) {
	case 0:
		*w ^= 1ull << below(64);
		break;
	case 1:
		*w = some_word();
		break;
	case 2:
		*w += below(17) - 8;
		break;
	case 3:
		*w = in->word[below(WORDS)];
		break;
	case 4:
		((__u8 *)w)[below(8)] = next();
		break;
	case 5:
		((__u32 *)w)[below(2)] = below(4);
		break;
	default:
		((__u32 *)w)[below(2)] = some_word();
	}
}

static void make(struct input *in)
{
	unsigned int kept = common->kept, i;

	if (kept && one_in(3))
		*in = common->input[below(kept)];
	else
		sensible(in);
	for (i = below(5); i > 1; i--) {	/* two in five as they are */
		if (one_in(4))
			mutate_command(in);
		else
			mutate_bytes(in);
	}
	if (one_in(12))
		in->place = below(PLACES);
}

/* ---- calls --------------------------------------------------------------------------- */

/* Where the structure lies, filled in as far as it can be. */
static void *place(const struct input *in, const struct mp_session *s)
{
	unsigned int size = _IOC_SIZE(in->cmd), half = size / 2;

	switch (in->place) {
	case AT_EDGE:
		half = half < sizeof(in->word) ? half : sizeof(in->word);
		memcpy(at(YARD_END - half), in->word, half);
		return at(YARD_END - half);	/* the rest can only be read */
	case AT_READ_ONLY:
		return at(YARD_END);
	case AT_POOL:
		return s->base + in->word[0] % s->info.space_bytes;
	case AT_NOWHERE:
		return at(in->word[1]);
	default:
		memcpy(at(ARG), in->word, sizeof(in->word));
		return at(ARG);
	}
}

/* Blocks had are offsets to give back, now and then. */
static void learn(void)
{
	const struct mempool_block *b = at(BLOCKS);
	__u64 *offsets = at(OFFSETS);
	unsigned int i, to = below(16);

	for (i = 0; i < 16; i++)
		offsets[(to + i) % 32] = b[i].offset;
}

static void one_call(struct mp_session *s)
{
	struct input in;
	int ret;

	make(&in);
	trace_clear();
	ret = ioctl(s->fd, in.cmd, place(&in, s));
	if (trace_news())
		keep(&in);
	if (!ret && _IOC_NR(in.cmd) == MEMPOOL_NR_ALLOC)
		learn();
	if (one_in(16))
		mp_peek(s->base + below(s->info.space_bytes));
}

struct run {
	__u64 seed;
	unsigned int children, calls;
};

static int child(void *arg)
{
	const struct run *r = arg;
	struct mp_session s[SESSIONS];
	unsigned int i;

	CHECK(trace_begin() == 0);
	CHECK(mp_become(MP_USER_A) == 0);
	CHECK(lay_out_yard() == 0);
	for (i = 0; i < SESSIONS; i++)
		CHECK(open_session(&s[i], i) == 0);
	for (i = 0; i < r->calls; i++) {
		common->call = i;
		common->calls++;
		one_call(&s[below(SESSIONS)]);
	}
	return 0;
}

/* ---- the judge ----------------------------------------------------------------------- */

/* Pools that are kept, under whatever name came about. */
static void remove_pools(void)
{
	int fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	DIR *d = opendir(MP_SYSFS "/pools");
	char name[MEMPOOL_NAME_LEN];
	struct dirent *e;

	while (d && (e = readdir(d))) {
		snprintf(name, sizeof(name), "%.31s", e->d_name);
		if (name[0] != '.')
			_test_pool_remove(fd, name);
	}
	if (d)
		closedir(d);
	close(fd);
}

/* It serves, and what it hands out is zero. */
static bool serves(void)
{
	struct mp_session s;
	long long offset;
	bool good;

	if (mp_session_open(&s))
		return false;
	offset = _test_alloc_one(s.fd, USABLE);
	good = offset >= 0 && !mp_count_not(s.base + offset, 0, USABLE);
	/* The next one must find it zero again. */
	if (offset >= 0)
		memset(s.base + offset, 0x5a, USABLE);
	mp_session_close(&s);
	return good;
}

static bool judge(void)
{
	remove_pools();
	return mp_settled() && mp_sysfs("sessions") == 0 && serves() && mp_settled();
}

/* ---- runs ---------------------------------------------------------------------------- */

static bool run(const struct run *r, unsigned int at_once)
{
	pid_t pid[2];
	unsigned int c, i;
	int ret = 0;

	for (c = 0; c < r->children && !ret; c++) {
		for (i = 0; i < at_once; i++) {
			state = (r->seed * 1000003 + c) * 1000003 + i;
			pid[i] = mp_spawn(0, child, (void *)r);
		}
		for (i = 0; i < at_once; i++)
			ret |= mp_reap(pid[i]);
		if (!judge())
			ret = -1;
	}
	if (ret)
		ksft_print_msg("seed %llu, child %u, call %u: status %d\n",
			       (unsigned long long)r->seed, c - 1, common->call, ret);
	return !ret;
}

static bool has_kcov(void)
{
	return access(KCOV, F_OK) == 0;
}

static void forget(void)
{
	memset(common, 0, sizeof(*common));
}

static void tell(void)
{
	ksft_print_msg("%u calls, %u places reached, %u inputs kept\n", common->calls,
		       common->places, common->kept);
}

static void one_run(const char *name, const struct run *r, unsigned int at_once)
{
	bool good;

	forget();
	good = !mp_require(PARAMS) && run(r, at_once);
	tell();
	ksft_test_result(good && !has_kcov() == !common->places,
			 "%s, seed %llu\n", name, (unsigned long long)r->seed);
}

/* Inputs are kept from seed to seed. */
static int soak(struct run *r, unsigned int seconds)
{
	__u64 end = mp_now_ms() + seconds * 1000ull;
	bool good = !mp_require(PARAMS);

	ksft_print_header();
	ksft_set_plan(1);
	r->seed = time(NULL);
	printf("# seeds from %llu\n", (unsigned long long)r->seed);
	while (good && mp_now_ms() < end) {
		good = run(r, 1) && run(r, 2);
		r->seed++;
	}
	tell();
	ksft_test_result(good, "soak of %u s\n", seconds);
	ksft_finished();
}

int main(int argc, char **argv)
{
	struct run r = { .seed = 1, .children = 12, .calls = 1000 };
	unsigned int seconds = 0;
	int i;

	if (has_kcov())
		r.children = 20;
	for (i = 1; i + 1 < argc; i += 2) {
		unsigned long long n = strtoull(argv[i + 1], NULL, 0);

		if (!strcmp(argv[i], "--seed"))
			r.seed = n;
		else if (!strcmp(argv[i], "--children"))
			r.children = n;
		else if (!strcmp(argv[i], "--calls"))
			r.calls = n;
		else if (!strcmp(argv[i], "--seconds"))
			seconds = n;
		else
			break;
	}
	if (i < argc) {
		fprintf(stderr, "usage: raw [--seed N] [--children N] [--calls N] [--seconds S]\n");
		return KSFT_FAIL;
	}
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (common == MAP_FAILED)
		return KSFT_FAIL;
	if (seconds)
		return soak(&r, seconds);

	ksft_print_header();
	ksft_set_plan(2);
	one_run("one process", &r, 1);
	one_run("two at once", &r, 2);
	ksft_finished();
}
