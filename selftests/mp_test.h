/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the tests of the device share: the module, sysfs, the commands, and a
 * session with its mapping. mp_proc.h has processes, users and descriptors.
 *
 * Two kinds of helper: _test_ioctl_x() returns 0 or -errno and may be called
 * anywhere, also in threads; test_ioctl_x() asserts success and belongs into
 * the body of a test. Children of a test report through their exit status.
 *
 * The module stays loaded from test to test as long as they ask for the same
 * parameters; each fixture's teardown waits until every chunk is free again, so
 * that a test that leaves something behind is the one that fails.
 */
#ifndef MP_TEST_H
#define MP_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "uapi/mempool.h"

#define MP_DEV		"/dev/mempool"
#define MP_SYSFS	"/sys/class/misc/mempool"
#define MP_MODULE	"/sys/module/mempool"
#define MP_DEBUGFS	"/sys/kernel/debug/mempool"
#define MP_CHUNK	MEMPOOL_CHUNK_SIZE
#define MP_RESERVE	"reserve=64M"
#define MP_CHUNKS	32		/* of MP_RESERVE */

/* Seconds to wait for what must come: many, since machines may be slow. */
#ifndef MP_PATIENCE
#define MP_PATIENCE	120
#endif

static inline __u64 mp_ptr(const void *p)
{
	return (uintptr_t)p;
}

static inline void mp_sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	nanosleep(&ts, NULL);
}

static inline __u64 mp_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/*
 * A kernel with checkers takes five times as long for everything: where a loop is
 * there for its length, it gets a part of the rounds.
 */
static inline int mp_rounds(int n)
{
	bool slow = !access("/sys/kernel/debug/kmemleak", F_OK) ||
		    !access("/sys/kernel/debug/kcsan", F_OK);

	return slow ? 1 + n / 4 : n;
}

/* ---- files of one value ------------------------------------------------- */

/* Read a file without its final newline. Returns its length or -errno. */
static inline int mp_read_file(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, have = 0;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf + have, len - 1 - have)) > 0)
		have += n;
	if (n < 0)
		have = -errno;
	close(fd);
	if (have < 0)
		return have;
	if (have && buf[have - 1] == '\n')
		have--;
	buf[have] = '\0';
	return have;
}

static inline int mp_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static inline int mp_sysfs_text(const char *name, char *buf, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), MP_SYSFS "/%s", name);
	return mp_read_file(path, buf, len);
}

/* An attribute's number, or -errno; -EBADMSG when it is not one number. */
static inline long long mp_sysfs(const char *name)
{
	char buf[64], *end;
	int ret = mp_sysfs_text(name, buf, sizeof(buf));
	long long v;

	if (ret < 0)
		return ret;
	v = strtoll(buf, &end, 10);
	return end == buf || *end || v < 0 ? -EBADMSG : v;
}

/* Wait for an attribute to reach @value. Returns what it was last. */
static inline long long mp_sysfs_wait(const char *name, long long value)
{
	__u64 end = mp_now_ms() + MP_PATIENCE * 1000ull;
	long long v;

	while ((v = mp_sysfs(name)) != value && mp_now_ms() < end)
		mp_sleep_ms(5);
	return v;
}

/* ---- the books: each chunk is in exactly one of six states --------------- */

struct mp_books {
	long long total, free, owned, leaving, pinned, cleaning, retired;
};

/* All six of one moment: one file has them. */
static inline bool mp_books_read(struct mp_books *b)
{
	char buf[160];

	memset(b, 0, sizeof(*b));
	b->total = mp_sysfs("chunks_total");
	return mp_sysfs_text("chunks_states", buf, sizeof(buf)) > 0 &&
	       sscanf(buf, "%lld %lld %lld %lld %lld %lld", &b->free, &b->owned,
		      &b->leaving, &b->pinned, &b->cleaning, &b->retired) == 6;
}

/* Whether the six states sum to the reserve, now. */
static inline bool mp_books_balance(struct mp_books *b)
{
	return mp_books_read(b) && b->total > 0 &&
	       b->free + b->owned + b->leaving + b->pinned + b->cleaning +
	       b->retired == b->total;
}

/* Wait until all that is not retired is free. What it was last is in @b. */
static inline bool mp_settled_books(struct mp_books *b)
{
	__u64 end = mp_now_ms() + MP_PATIENCE * 1000ull;

	do {
		if (!mp_books_balance(b))
			return false;
		if (b->free + b->retired == b->total)
			return true;
		mp_sleep_ms(5);
	} while (mp_now_ms() < end);
	return false;
}

/* The same with a line that says what is not free. For teardowns. */
static inline bool mp_settled(void)
{
	struct mp_books b;

	if (mp_settled_books(&b))
		return true;
	ksft_print_msg("left: total %lld free %lld owned %lld leaving %lld pinned %lld cleaning %lld retired %lld sessions %lld\n",
		       b.total, b.free, b.owned, b.leaving, b.pinned,
		       b.cleaning, b.retired, mp_sysfs("sessions"));
	return false;
}

/* ---- the module ---------------------------------------------------------- */

static inline const char *mp_ko(void)
{
	const char *path = getenv("MEMPOOL_KO");

	return path ? path : "/lib/modules/mempool.ko";
}

static inline bool mp_loaded(void)
{
	return access(MP_MODULE "/initstate", F_OK) == 0;
}

/*
 * The node, when no devtmpfs made it, and open to all users: their rights are
 * what many tests are about, and a real machine has a udev rule for the node.
 */
static inline int mp_make_node(void)
{
	unsigned int major, minor;
	char buf[32];
	int ret = mp_sysfs_text("dev", buf, sizeof(buf));

	if (ret < 0)
		return ret;
	if (sscanf(buf, "%u:%u", &major, &minor) != 2)
		return -EBADMSG;
	if (access(MP_DEV, F_OK) &&
	    mknod(MP_DEV, S_IFCHR | 0600, makedev(major, minor)))
		return -errno;
	return chmod(MP_DEV, 0666) ? -errno : 0;
}

/* Load the module: 0 or -errno of finit_module(). */
static inline int mp_load(const char *params)
{
	int fd = open(mp_ko(), O_RDONLY | O_CLOEXEC), ret = 0;

	if (fd < 0) {
		ret = -errno;
		ksft_print_msg("%s: %s\n", mp_ko(), strerror(errno));
		return ret;
	}
	if (syscall(SYS_finit_module, fd, params, 0))
		ret = -errno;
	close(fd);
	return ret ?: mp_make_node();
}

/* Unload it at once: 0 or -errno of delete_module(). */
static inline int mp_unload_now(void)
{
	return syscall(SYS_delete_module, "mempool", O_NONBLOCK) ? -errno : 0;
}

/*
 * Unload it; the last close of a file may still be on its way, in a process
 * that has just ended, so "in use" is worth another try.
 */
static inline int mp_unload(void)
{
	__u64 end = mp_now_ms() + MP_PATIENCE * 1000ull;
	int ret;

	while ((ret = mp_unload_now()) == -EAGAIN && mp_now_ms() < end)
		mp_sleep_ms(10);
	return ret;
}

/*
 * A test program leaves no module behind. This runs when the harness exits (its
 * tests end with _exit() or a signal), and a failure becomes the exit status.
 */
static pid_t mp_main_pid;

static void mp_leave(void)
{
	int ret;

	if (getpid() != mp_main_pid || !mp_loaded())
		return;
	ret = mp_unload();
	if (!ret)
		return;
	printf("# the module cannot be unloaded: %s\n", strerror(-ret));
	fflush(stdout);
	_exit(KSFT_FAIL);
}

static void __attribute__((constructor)) mp_leave_at_exit(void)
{
	mp_main_pid = getpid();
	atexit(mp_leave);
}

/* Which load this is: the inode of the device's folder is new every time. */
#define MP_LOADED_AS	"/tmp/mempool-loaded-as"

static inline void mp_identity(char *buf, size_t len, const char *params)
{
	struct stat st;

	if (stat(MP_SYSFS "/", &st))
		st.st_ino = 0;
	snprintf(buf, len, "%llu %s", (unsigned long long)st.st_ino, params);
}

/* See to it that the module is loaded with @params: 0 or -errno. */
static inline int mp_require(const char *params)
{
	char want[512], have[512] = "";
	FILE *f;
	int ret;

	mp_identity(want, sizeof(want), params);
	if (mp_loaded()) {
		mp_read_file(MP_LOADED_AS, have, sizeof(have));
		if (!strcmp(want, have))
			return 0;
		ret = mp_unload();
		if (ret)
			return ret;
	}
	ret = mp_load(params);
	if (ret)
		return ret;
	mp_identity(want, sizeof(want), params);
	f = fopen(MP_LOADED_AS, "w");
	if (!f)
		return -errno;
	fprintf(f, "%s\n", want);
	return fclose(f) ? -errno : 0;
}

/* ---- a session with its mapping ------------------------------------------ */

struct mp_session {
	int fd;
	unsigned char *base;	/* NULL when not mapped */
	struct mempool_info info;
};

/* Commands that this process has made, for who wants to tell. */
static unsigned long mp_commands;

static inline int mp_ioctl(int fd, unsigned long cmd, void *arg)
{
	__atomic_fetch_add(&mp_commands, 1, __ATOMIC_RELAXED);
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static inline int mp_info(int fd, struct mempool_info *info)
{
	return mp_ioctl(fd, MEMPOOL_IOC_INFO, info);
}

static inline int mp_map(struct mp_session *s, int prot)
{
	void *p = MAP_FAILED;

	if (s->info.space_bytes <= SIZE_MAX)
		p = mmap(NULL, (size_t)s->info.space_bytes, prot, MAP_SHARED,
			 s->fd, 0);
	s->base = p == MAP_FAILED ? NULL : p;
	return s->base ? 0 : -errno;
}

static inline void mp_unmap(struct mp_session *s)
{
	if (s->base)
		munmap(s->base, (size_t)s->info.space_bytes);
	s->base = NULL;
}

/* Open and map: 0 or -errno. @flags as of open(). */
static inline int mp_session_open_as(struct mp_session *s, int flags)
{
	int ret;

	memset(s, 0, sizeof(*s));
	s->fd = open(MP_DEV, flags | O_CLOEXEC);
	if (s->fd < 0)
		return -errno;
	ret = mp_info(s->fd, &s->info);
	return ret ?: mp_map(s, (flags & O_ACCMODE) == O_RDONLY ?
			     PROT_READ : PROT_READ | PROT_WRITE);
}

static inline int mp_session_open(struct mp_session *s)
{
	return mp_session_open_as(s, O_RDWR);
}

static inline void mp_session_close(struct mp_session *s)
{
	mp_unmap(s);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* ---- the commands -------------------------------------------------------- */

/* 0 or -errno; the number of blocks had is in *@done if not NULL. */
static inline int _test_ioctl_alloc(int fd, __u64 size, __u32 count,
				    __u32 flags, struct mempool_block *blocks,
				    __u32 *done)
{
	struct mempool_alloc arg = {
		.size = size,
		.blocks = mp_ptr(blocks),
		.count = count,
		.flags = flags,
	};
	int ret = mp_ioctl(fd, MEMPOOL_IOC_ALLOC, &arg);

	if (done)
		*done = arg.done;
	return ret;
}

/* One block: its offset, or -errno. */
static inline long long _test_alloc_one(int fd, __u64 size)
{
	struct mempool_block block;
	int ret = _test_ioctl_alloc(fd, size, 1, 0, &block, NULL);

	return ret ?: (long long)block.offset;
}

static inline int _test_ioctl_release(int fd, const __u64 *offsets, __u32 count,
				      __u32 flags, __u32 *done)
{
	struct mempool_release arg = {
		.offsets = mp_ptr(offsets),
		.count = count,
		.flags = flags,
	};
	int ret = mp_ioctl(fd, MEMPOOL_IOC_RELEASE, &arg);

	if (done)
		*done = arg.done;
	return ret;
}

static inline int _test_release_one(int fd, __u64 offset)
{
	return _test_ioctl_release(fd, &offset, 1, 0, NULL);
}

static inline int _test_release_all(int fd)
{
	return _test_ioctl_release(fd, NULL, 0, MEMPOOL_RELEASE_ALL, NULL);
}

static inline int _test_ioctl_preallocate(int fd, __u64 size, __u32 count,
					  __u32 *done)
{
	struct mempool_preallocate arg = { .size = size, .count = count };
	int ret = mp_ioctl(fd, MEMPOOL_IOC_PREALLOCATE, &arg);

	if (done)
		*done = arg.done;
	return ret;
}

/* Bytes that went back, or -errno. */
static inline long long _test_ioctl_trim(int fd)
{
	struct mempool_trim arg = { 0 };
	int ret = mp_ioctl(fd, MEMPOOL_IOC_TRIM, &arg);

	return ret ?: (long long)arg.released_bytes;
}

static inline int _test_ioctl_stats(int fd, struct mempool_session_stats *st)
{
	return mp_ioctl(fd, MEMPOOL_IOC_STATS, st);
}

static inline int _test_configure(int fd, __u32 flag, __u64 value)
{
	struct mempool_configure arg = { .flags = flag };

	switch (flag) {
	case MEMPOOL_CONFIGURE_MAX_CACHED:
		arg.max_cached = value;
		break;
	case MEMPOOL_CONFIGURE_MAX_CACHED_BYTES:
		arg.max_cached_bytes = value;
		break;
	case MEMPOOL_CONFIGURE_MIN_BYTES:
		arg.min_bytes = value;
		break;
	case MEMPOOL_CONFIGURE_LIMIT_BYTES:
		arg.limit_bytes = value;
		break;
	case MEMPOOL_CONFIGURE_NODE:
		arg.node = value;
		break;
	}
	return mp_ioctl(fd, MEMPOOL_IOC_CONFIGURE, &arg);
}

/* One tier for all sizes. */
static inline int _test_configure_granularity(int fd, __u64 granularity)
{
	struct mempool_configure arg = {
		.flags = MEMPOOL_CONFIGURE_TIERS,
		.nr_tiers = 1,
		.tiers[0] = { MEMPOOL_TIER_END, granularity },
	};

	return mp_ioctl(fd, MEMPOOL_IOC_CONFIGURE, &arg);
}

/* Make a block pool; @name NULL for a private one. Results are in @arg. */
static inline int _test_pool_create(int fd, const char *name, __u64 block_size,
				    __u32 nr_blocks, __u32 mode, __u32 flags,
				    struct mempool_pool_create *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->block_size = block_size;
	arg->nr_blocks = nr_blocks;
	arg->mode = mode;
	arg->flags = flags;
	if (name)
		strncpy(arg->name, name, sizeof(arg->name));
	return mp_ioctl(fd, MEMPOOL_IOC_POOL_CREATE, arg);
}

static inline int _test_pool_open(int fd, const char *name,
				  struct mempool_pool_open *arg)
{
	memset(arg, 0, sizeof(*arg));
	strncpy(arg->name, name, sizeof(arg->name));
	return mp_ioctl(fd, MEMPOOL_IOC_POOL_OPEN, arg);
}

static inline int _test_pool_close(int fd, __u32 pool)
{
	struct mempool_pool_close arg = { .pool = pool };

	return mp_ioctl(fd, MEMPOOL_IOC_POOL_CLOSE, &arg);
}

static inline int _test_pool_remove(int fd, const char *name)
{
	struct mempool_pool_remove arg = { 0 };

	strncpy(arg.name, name, sizeof(arg.name));
	return mp_ioctl(fd, MEMPOOL_IOC_POOL_REMOVE, &arg);
}

/* GET, RETURN or ADOPT of @count tokens. *@done and *@coalesced may be NULL. */
static inline int _test_pool_batch(int fd, unsigned long cmd, __u32 pool,
				   struct mempool_token *tokens, __u32 count,
				   __u32 *done, __u32 *coalesced)
{
	struct mempool_pool_batch arg = {
		.tokens = mp_ptr(tokens),
		.pool = pool,
		.count = count,
	};
	int ret = mp_ioctl(fd, cmd, &arg);

	if (done)
		*done = arg.done;
	if (coalesced)
		*coalesced = arg.coalesced;
	return ret;
}

static inline int _test_pool_get(int fd, __u32 pool, struct mempool_token *t)
{
	return _test_pool_batch(fd, MEMPOOL_IOC_POOL_GET, pool, t, 1, NULL,
				NULL);
}

static inline int _test_pool_return(int fd, __u32 pool, struct mempool_token t)
{
	return _test_pool_batch(fd, MEMPOOL_IOC_POOL_RETURN, pool, &t, 1, NULL,
				NULL);
}

static inline int _test_pool_adopt(int fd, __u32 pool, struct mempool_token t)
{
	return _test_pool_batch(fd, MEMPOOL_IOC_POOL_ADOPT, pool, &t, 1, NULL,
				NULL);
}

static inline int _test_pool_coalesce(int fd, __u32 pool, __u64 *ns)
{
	struct mempool_pool_op arg = { .pool = pool };
	int ret = mp_ioctl(fd, MEMPOOL_IOC_POOL_COALESCE, &arg);

	if (ns)
		*ns = arg.result;
	return ret;
}

/* Blocks returned by the reset, or -errno. */
static inline long long _test_pool_reset(int fd, __u32 pool, __u32 flags)
{
	struct mempool_pool_op arg = { .pool = pool, .flags = flags };
	int ret = mp_ioctl(fd, MEMPOOL_IOC_POOL_RESET, &arg);

	return ret ?: (long long)arg.result;
}

static inline int _test_pool_stats(int fd, __u32 pool,
				   struct mempool_pool_stats *st)
{
	memset(st, 0, sizeof(*st));
	st->pool = pool;
	return mp_ioctl(fd, MEMPOOL_IOC_POOL_STATS, st);
}

/* The same, where failure ends the test. */
#define test_ioctl_alloc(fd, size, count, flags, blocks)		\
	do {								\
		__u32 __done;						\
									\
		ASSERT_EQ(0, _test_ioctl_alloc(fd, size, count, flags,	\
					       blocks, &__done));	\
		ASSERT_EQ((__u32)(count), __done);			\
	} while (0)

#define test_alloc_one(fd, size)					\
	({								\
		long long __off = _test_alloc_one(fd, size);		\
									\
		ASSERT_LE(0, __off);					\
		(__u64)__off;						\
	})

#define test_ioctl_release(fd, offsets, count)				\
	do {								\
		__u32 __done;						\
									\
		ASSERT_EQ(0, _test_ioctl_release(fd, offsets, count, 0,	\
						 &__done));		\
		ASSERT_EQ((__u32)(count), __done);			\
	} while (0)

#define test_release_one(fd, offset)					\
	ASSERT_EQ(0, _test_release_one(fd, offset))

#define test_ioctl_stats(fd, st)					\
	ASSERT_EQ(0, _test_ioctl_stats(fd, st))

#define test_pool_create(fd, name, size, n, mode, flags, arg)		\
	ASSERT_EQ(0, _test_pool_create(fd, name, size, n, mode, flags, arg))

#define test_pool_open(fd, name, arg)					\
	ASSERT_EQ(0, _test_pool_open(fd, name, arg))

#define test_pool_get(fd, pool, token)					\
	ASSERT_EQ(0, _test_pool_get(fd, pool, token))

#define test_pool_return(fd, pool, token)				\
	ASSERT_EQ(0, _test_pool_return(fd, pool, token))

#define test_pool_stats(fd, pool, st)					\
	ASSERT_EQ(0, _test_pool_stats(fd, pool, st))

#endif /* MP_TEST_H */
