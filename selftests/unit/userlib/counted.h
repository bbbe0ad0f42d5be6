/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * For the tests of what threads keep: sessions on an in-process device of 64 MiB
 * whose commands are counted. Includes what they all look into.
 */
#ifndef COUNTED_H
#define COUNTED_H

#include <string.h>

#include "kselftest_harness.h"

#include "thread.h"

#define MIB	(1u << 20)

static const struct mp_device_ops *real_ops;
static atomic_uint commands;

static int counted_ioctl(struct mp_device *dev, unsigned long cmd, void *arg)
{
	atomic_fetch_add(&commands, 1);
	return real_ops->ioctl(dev, cmd, arg);
}

/* @opts: NULL for defaults */
static int open_counted(struct mempool **pool, const struct mempool_options *opts)
{
	static const struct mempool_options defaults = MEMPOOL_OPTIONS_INIT;
	static struct mp_device_ops ops;
	struct mp_device dev;
	int ret = mp_device_open(&dev, "memfd:64M", false);

	if (ret)
		return ret;
	real_ops = dev.ops;
	ops = *dev.ops;
	ops.ioctl = counted_ioctl;
	dev.ops = &ops;
	return mp_open_on(pool, &dev, opts ? opts : &defaults);
}

static inline struct mempool_stats stats_of(struct mempool *pool)
{
	struct mempool_stats stats;

	memset(&stats, 0xff, sizeof(stats));
	mempool_get_stats(pool, &stats, sizeof(stats));
	return stats;
}

/* Bytes that the device counts as held: those in caches too. */
static inline uint64_t held_bytes(struct mempool *pool)
{
	struct mempool_session_stats stats = { 0 };

	mp_ioctl(pool, MEMPOOL_IOC_STATS, &stats);
	return stats.current_bytes;
}

static inline uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 8;
}

#endif /* COUNTED_H */
