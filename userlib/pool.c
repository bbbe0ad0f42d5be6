// SPDX-License-Identifier: MIT OR GPL-2.0
/* A session: options, open, close. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/*
 * Copy options of a caller who may have been built with another version of the
 * header: fields he does not know stay at their defaults in @to, fields that we
 * do not know must be zero.
 */
int mp_copy_options(void *to, size_t to_size, const void *from, size_t from_size)
{
	const unsigned char *byte = from;
	size_t i;

	for (i = to_size; i < from_size; i++)
		if (byte[i])
			return -EINVAL;
	memcpy(to, from, from_size < to_size ? from_size : to_size);
	return 0;
}

static int copy_tiers(struct mempool_configure *conf, const struct mempool_options *opts)
{
	unsigned int i;

	if (!opts->nr_tiers)
		return opts->tiers ? -EINVAL : 0;
	if (!opts->tiers || opts->nr_tiers > MEMPOOL_MAX_TIERS)
		return -EINVAL;
	for (i = 0; i < opts->nr_tiers; i++) {
		conf->tiers[i].below = opts->tiers[i].below;
		conf->tiers[i].granularity = opts->tiers[i].granularity;
	}
	conf->nr_tiers = opts->nr_tiers;
	conf->flags |= MEMPOOL_CONFIGURE_TIERS;
	return 0;
}

static int copy_limits(struct mempool_configure *conf, const struct mempool_options *opts)
{
	if (opts->max_cached < -1 || opts->max_cached > UINT32_MAX ||
	    opts->max_cached_bytes < -1 || opts->node < -1 || opts->cache_bytes < -1)
		return -EINVAL;
	if (opts->max_cached >= 0) {
		conf->max_cached = (uint32_t)opts->max_cached;
		conf->flags |= MEMPOOL_CONFIGURE_MAX_CACHED;
	}
	if (opts->max_cached_bytes >= 0) {
		conf->max_cached_bytes = (uint64_t)opts->max_cached_bytes;
		conf->flags |= MEMPOOL_CONFIGURE_MAX_CACHED_BYTES;
	}
	if (opts->min_bytes) {
		conf->min_bytes = opts->min_bytes;
		conf->flags |= MEMPOOL_CONFIGURE_MIN_BYTES;
	}
	if (opts->limit_bytes) {
		conf->limit_bytes = opts->limit_bytes;
		conf->flags |= MEMPOOL_CONFIGURE_LIMIT_BYTES;
	}
	if (opts->node >= 0) {
		conf->node = opts->node;
		conf->flags |= MEMPOOL_CONFIGURE_NODE;
	}
	return 0;
}

static int configure(struct mempool *pool, const struct mempool_options *opts)
{
	struct mempool_configure conf = { 0 };
	int ret = copy_tiers(&conf, opts);

	if (!ret)
		ret = copy_limits(&conf, opts);
	if (ret || !conf.flags)
		return ret;
	return mp_ioctl(pool, MEMPOOL_IOC_CONFIGURE, &conf);
}

/* Answers that the rest of the library divides by, shifts by or walks through. */
static int get_info(struct mempool *pool)
{
	struct mempool_info *info = &pool->info;
	unsigned int i;
	int ret = mp_ioctl(pool, MEMPOOL_IOC_INFO, info);

	if (ret)
		return ret;
	if (info->chunk_size != MEMPOOL_CHUNK_SIZE || !info->space_bytes ||
	    info->space_bytes % MP_CHUNK || !info->max_batch || !info->page_size ||
	    MP_CHUNK % info->page_size || !info->nr_tiers || info->nr_tiers > MEMPOOL_MAX_TIERS)
		return -EBADE;
	for (i = 0; i < info->nr_tiers; i++)
		if (!info->tiers[i].granularity)
			return -EBADE;
	return 0;
}

static int make_mark(struct mempool *pool)
{
	size_t len = pool->info.page_size;
	void *page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, len, MADV_WIPEONFORK)) {
		ret = -errno;
		munmap(page, len);
		return ret;
	}
	pool->mark = page;
	atomic_store(pool->mark, 1);
	return 0;
}

/* A thread's share when nobody says: with 32 threads, all of the reserve. */
static uint64_t cache_bytes(const struct mempool *pool, const struct mempool_options *opts)
{
	uint64_t bytes = pool->info.reserve_bytes / 32;

	if (pool->checked)
		return 0;
	if (opts->cache_bytes >= 0)
		return opts->cache_bytes;
	if (bytes < 256 << 10)
		bytes = 256 << 10;
	return bytes < 32 << 20 ? bytes : 32 << 20;
}

static int start(struct mempool *pool, const struct mempool_options *opts)
{
	bool readonly = opts->flags & MEMPOOL_OPEN_READONLY;
	int ret;

	pool->dontfork = opts->flags & MEMPOOL_OPEN_DONTFORK;
	pool->space.prot = readonly ? PROT_READ : PROT_READ | PROT_WRITE;
	pool->space.advice[0] = opts->flags & MEMPOOL_OPEN_DUMP ? -1 : MADV_DONTDUMP;
	pool->space.advice[1] = pool->dontfork ? MADV_DONTFORK : -1;

	ret = configure(pool, opts);
	if (!ret)
		ret = get_info(pool);
	if (!ret)
		ret = make_mark(pool);
	if (ret)
		return ret;
	pool->space.populate = mp_populate_probe(pool->mark, pool->info.page_size, readonly);
	ret = mp_track_init(pool);
	if (!ret)
		ret = mp_space_init(pool, opts->flags & MP_OPEN_WINDOWS);
	if (!ret)
		ret = mp_checked_init(pool, opts->flags);
	return ret ? ret : mp_cache_init(pool, cache_bytes(pool, opts));
}

static int refuse_command(struct mp_device *dev, unsigned long cmd, void *arg)
{
	(void)dev;
	(void)cmd;
	(void)arg;
	return -EPERM;
}

static const struct mp_device_ops closed_ops = { .ioctl = refuse_command };
static struct mp_graves graves;
static _Atomic uint32_t no_mark;

/* A closed pool that is nobody's, for block pools that are closed. @check: theirs */
struct mempool *mp_closed_pool(unsigned int check)
{
#define CLOSED(_check)	{ .dev = { .ops = &closed_ops }, .mark = &no_mark, .closed = true, \
			  .check = _check }
	static struct mempool quiet = CLOSED(0), strict = CLOSED(MEMPOOL_OPEN_CHECK),
		lenient = CLOSED(MEMPOOL_OPEN_CHECK | MEMPOOL_OPEN_CHECK_REPORT);

	if (!check)
		return &quiet;
	return check & MEMPOOL_OPEN_CHECK_REPORT ? &lenient : &strict;
}

static void bury(struct mempool *pool)
{
	struct mempool_info info = pool->info;
	unsigned int check = pool->check;

	memset(pool, 0, sizeof(*pool));
	pool->info = info;	/* mempool_round_to_bucket() */
	pool->check = check;
	pool->dev.ops = &closed_ops;
	pool->mark = &no_mark;
	pool->closed = true;
	mp_bury(&graves, pool);
}

/* Works on half a session, and in a forked child. */
static void end(struct mempool *pool)
{
	mp_cache_exit(pool);
	mp_checked_exit(pool);
	mp_space_exit(pool);
	mp_track_exit(pool);
	if (pool->mark)
		munmap(pool->mark, pool->info.page_size);
	pool->dev.ops->close(&pool->dev);
}

int mp_open_on(struct mempool **result, struct mp_device *dev, const struct mempool_options *opts)
{
	struct mempool *pool = calloc(1, sizeof(*pool));
	int ret;

	if (!pool) {
		dev->ops->close(dev);
		return -ENOMEM;
	}
	pool->dev = *dev;
	ret = start(pool, opts);
	if (ret) {
		end(pool);
		free(pool);
		return ret;
	}
	*result = pool;
	return 0;
}

static const char *device_name(const struct mempool_options *opts)
{
	const char *name = opts->device;

	if (!name)
		name = secure_getenv("MEMPOOL_DEVICE");
	return name && *name ? name : MEMPOOL_DEVICE_DEFAULT;
}

#define OPEN_FLAGS	(MEMPOOL_OPEN_DONTFORK | MEMPOOL_OPEN_DUMP | MEMPOOL_OPEN_READONLY | \
			 MEMPOOL_OPEN_CHECK | MEMPOOL_OPEN_CHECK_REPORT)

static int open_pool(struct mempool **pool, const struct mempool_options *from)
{
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mp_device dev;
	int ret = 0;

	if (from) {
		if (from->size < sizeof(opts))	/* of the first version */
			return -EINVAL;
		ret = mp_copy_options(&opts, sizeof(opts), from, from->size);
	}
	if (!ret && opts.flags & ~OPEN_FLAGS)
		ret = -EINVAL;
	if (!ret)
		ret = mp_device_open(&dev, device_name(&opts), opts.flags & MEMPOOL_OPEN_READONLY);
	if (ret)
		return ret;
	return mp_open_on(pool, &dev, &opts);
}

MEMPOOL_API int mempool_open(struct mempool **pool, const struct mempool_options *opts)
{
	int saved = errno, ret = open_pool(pool, opts);

	errno = saved;
	return ret;
}

MEMPOOL_API void mempool_close(struct mempool *pool)
{
	int saved = errno;

	if (pool && pool->closed) {
		mp_report_refused(pool, MP_CALL(__func__));
	} else if (pool) {
		end(pool);
		bury(pool);
	}
	errno = saved;
}
