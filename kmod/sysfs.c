// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * sysfs: /sys/class/misc/mempool/ has the reserve's and all sessions' figures,
 * one value a file, and a directory for each named block pool. Documented in
 * uapi/sysfs-class-misc-mempool.
 */

#include <linux/device.h>
#include <linux/kobject.h>
#include <linux/math64.h>
#include <linux/sysfs.h>

#include "arena.h"
#include "mmap.h"
#include "pool.h"
#include "session.h"
#include "sysfs.h"

/* ---- the reserve ---- */

#define MP_ARENA_ATTR(_name, _value)						\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr,	\
			    char *buf)						\
{										\
	return sysfs_emit(buf, "%lu\n", (unsigned long)(_value));		\
}										\
static DEVICE_ATTR_RO(_name)

MP_ARENA_ATTR(reserve_bytes, mp_arena.nr_chunks * MEMPOOL_CHUNK_SIZE);
MP_ARENA_ATTR(chunks_total, mp_arena.nr_chunks);
MP_ARENA_ATTR(chunks_huge, mp_peek(mp_arena.nr_huge));
MP_ARENA_ATTR(chunks_small, mp_arena.nr_chunks - mp_peek(mp_arena.nr_huge));
MP_ARENA_ATTR(chunks_replaced, mp_peek(mp_arena.nr_replaced));
MP_ARENA_ATTR(chunks_peak, mp_peek(mp_arena.peak));
MP_ARENA_ATTR(pressure, mp_pressure());

/* "free owned leaving pinned cleaning retired" of one moment: they sum up. */
static ssize_t chunks_states_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	unsigned long nr[MP_CHUNK_STATES];

	spin_lock(&mp_arena.lock);
	memcpy(nr, mp_arena.nr, sizeof(nr));
	spin_unlock(&mp_arena.lock);
	return sysfs_emit(buf, "%lu %lu %lu %lu %lu %lu\n", nr[MP_CHUNK_FREE],
			  nr[MP_CHUNK_OWNED], nr[MP_CHUNK_LEAVING], nr[MP_CHUNK_PINNED],
			  nr[MP_CHUNK_CLEANING], nr[MP_CHUNK_RETIRED]);
}
static DEVICE_ATTR_RO(chunks_states);

MP_ARENA_ATTR(chunks_free, mp_peek(mp_arena.nr[MP_CHUNK_FREE]));
MP_ARENA_ATTR(chunks_owned, mp_peek(mp_arena.nr[MP_CHUNK_OWNED]));
MP_ARENA_ATTR(chunks_leaving, mp_peek(mp_arena.nr[MP_CHUNK_LEAVING]));
MP_ARENA_ATTR(chunks_pinned, mp_peek(mp_arena.nr[MP_CHUNK_PINNED]));
MP_ARENA_ATTR(chunks_cleaning, mp_peek(mp_arena.nr[MP_CHUNK_CLEANING]));
MP_ARENA_ATTR(chunks_retired, mp_peek(mp_arena.nr[MP_CHUNK_RETIRED]));

/* ---- all sessions ---- */

#define MP_TOTAL_ATTR(_name, _value)						\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr,	\
			    char *buf)						\
{										\
	struct mempool_session_stats sum;					\
	unsigned long nr;							\
	u64 nr_idle;								\
										\
	mp_sessions_totals(&sum, &nr, &nr_idle);				\
	return sysfs_emit(buf, "%llu\n", (u64)(_value));			\
}										\
static DEVICE_ATTR_RO(_name)

MP_TOTAL_ATTR(sessions, nr);
MP_TOTAL_ATTR(chunks_idle, nr_idle);
MP_TOTAL_ATTR(new_allocations, sum.new_allocations);
MP_TOTAL_ATTR(reused_allocations, sum.reused_allocations);
MP_TOTAL_ATTR(total_allocations, sum.total_allocations);
MP_TOTAL_ATTR(releases, sum.releases);
MP_TOTAL_ATTR(bad_releases, sum.bad_releases);
MP_TOTAL_ATTR(currently_allocated, sum.currently_allocated);
MP_TOTAL_ATTR(current_bytes, sum.current_bytes);
MP_TOTAL_ATTR(failed_no_memory, sum.failed_no_memory);
MP_TOTAL_ATTR(failed_limit, sum.failed_limit);
MP_TOTAL_ATTR(reclaimed_chunks, sum.reclaimed_chunks);

static ssize_t reuse_rate_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mempool_session_stats sum;
	unsigned long nr;
	u64 nr_idle, rate = 0;

	mp_sessions_totals(&sum, &nr, &nr_idle);
	if (sum.total_allocations)
		rate = mul_u64_u64_div_u64(sum.reused_allocations, 10000, sum.total_allocations);
	return sysfs_emit(buf, "%llu.%04llu\n", rate / 10000, rate % 10000);
}
static DEVICE_ATTR_RO(reuse_rate);

static ssize_t trim_store(struct device *dev, struct device_attribute *attr, const char *buf,
			  size_t count)
{
	unsigned int value;

	if (kstrtouint(buf, 10, &value) || value != 1)
		return -EINVAL;
	mp_sessions_reclaim(NULL, ULONG_MAX);
	return count;
}
static DEVICE_ATTR_WO(trim);

static struct attribute *mp_device_attrs[] = {
	&dev_attr_reserve_bytes.attr,
	&dev_attr_chunks_total.attr,
	&dev_attr_chunks_huge.attr,
	&dev_attr_chunks_small.attr,
	&dev_attr_chunks_states.attr,
	&dev_attr_chunks_free.attr,
	&dev_attr_chunks_owned.attr,
	&dev_attr_chunks_leaving.attr,
	&dev_attr_chunks_pinned.attr,
	&dev_attr_chunks_cleaning.attr,
	&dev_attr_chunks_retired.attr,
	&dev_attr_chunks_idle.attr,
	&dev_attr_chunks_replaced.attr,
	&dev_attr_chunks_peak.attr,
	&dev_attr_pressure.attr,
	&dev_attr_sessions.attr,
	&dev_attr_new_allocations.attr,
	&dev_attr_reused_allocations.attr,
	&dev_attr_total_allocations.attr,
	&dev_attr_releases.attr,
	&dev_attr_bad_releases.attr,
	&dev_attr_currently_allocated.attr,
	&dev_attr_current_bytes.attr,
	&dev_attr_failed_no_memory.attr,
	&dev_attr_failed_limit.attr,
	&dev_attr_reclaimed_chunks.attr,
	&dev_attr_reuse_rate.attr,
	&dev_attr_trim.attr,
	NULL,
};

static const struct attribute_group mp_device_group = {
	.attrs = mp_device_attrs,
};

const struct attribute_group *mp_device_groups[] = {
	&mp_device_group,
	NULL,
};

/* ---- named block pools ---- */

static struct kobject *mp_pools_kobj;	/* .../pools, mp_pools_lock */

struct mp_pool_attr {
	struct attribute attr;
	int (*show)(char *buf, const struct mp_pool *pool,
		    const struct mempool_pool_stats *stats);
};

#define MP_POOL_ATTR(_name, _format, ...)					\
static int _name##_pool_show(char *buf, const struct mp_pool *pool,		\
			     const struct mempool_pool_stats *stats)		\
{										\
	return sysfs_emit(buf, _format "\n", __VA_ARGS__);			\
}										\
static struct mp_pool_attr mp_pool_attr_##_name = {				\
	.attr = { .name = __stringify(_name), .mode = 0444 },			\
	.show = _name##_pool_show,						\
}

/* Percent with one decimal, rounded down. */
static u64 mp_permille(u64 part, u64 whole)
{
	return whole ? mul_u64_u64_div_u64(part, 1000, whole) : 0;
}

static u64 mp_fragmentation(const struct mempool_pool_stats *stats)
{
	return stats->free > 1 ? mp_permille(stats->gaps, stats->free - 1) : 0;
}

MP_POOL_ATTR(block_size, "%llu", stats->block_size);
MP_POOL_ATTR(stride, "%llu", stats->stride);
MP_POOL_ATTR(num_blocks, "%llu", stats->nr_blocks);
MP_POOL_ATTR(issued, "%llu", stats->issued);
MP_POOL_ATTR(free, "%llu", stats->free);
MP_POOL_ATTR(efficiency, "%llu.%llu", mp_permille(stats->issued, stats->nr_blocks) / 10,
	     mp_permille(stats->issued, stats->nr_blocks) % 10);
MP_POOL_ATTR(fragmentation, "%llu.%llu", mp_fragmentation(stats) / 10,
	     mp_fragmentation(stats) % 10);
MP_POOL_ATTR(gets, "%llu", stats->gets);
MP_POOL_ATTR(returns, "%llu", stats->returns);
MP_POOL_ATTR(bad_returns, "%llu", stats->bad_returns);
MP_POOL_ATTR(adopts, "%llu", stats->adopts);
MP_POOL_ATTR(coalesces, "%llu", stats->coalesces);
MP_POOL_ATTR(auto_coalesces, "%llu", stats->auto_coalesces);
MP_POOL_ATTR(coalesce_ns_last, "%llu", stats->coalesce_ns_last);
MP_POOL_ATTR(coalesce_ns_max, "%llu", stats->coalesce_ns_max);
MP_POOL_ATTR(members, "%u", stats->members);
MP_POOL_ATTR(threshold, "%u", stats->threshold);
MP_POOL_ATTR(mode, "%04o", stats->mode);
MP_POOL_ATTR(creator, "%u", from_kuid_munged(&init_user_ns, pool->uid));
MP_POOL_ATTR(keep, "%d", pool->fixed || (stats->flags & MEMPOOL_POOL_KEEP));

static struct attribute *mp_pool_attrs[] = {
	&mp_pool_attr_block_size.attr,
	&mp_pool_attr_stride.attr,
	&mp_pool_attr_num_blocks.attr,
	&mp_pool_attr_issued.attr,
	&mp_pool_attr_free.attr,
	&mp_pool_attr_efficiency.attr,
	&mp_pool_attr_fragmentation.attr,
	&mp_pool_attr_gets.attr,
	&mp_pool_attr_returns.attr,
	&mp_pool_attr_bad_returns.attr,
	&mp_pool_attr_adopts.attr,
	&mp_pool_attr_coalesces.attr,
	&mp_pool_attr_auto_coalesces.attr,
	&mp_pool_attr_coalesce_ns_last.attr,
	&mp_pool_attr_coalesce_ns_max.attr,
	&mp_pool_attr_members.attr,
	&mp_pool_attr_threshold.attr,
	&mp_pool_attr_mode.attr,
	&mp_pool_attr_creator.attr,
	&mp_pool_attr_keep.attr,
	NULL,
};
ATTRIBUTE_GROUPS(mp_pool);

static ssize_t mp_pool_attr_show(struct kobject *kobj, struct attribute *attr, char *buf)
{
	const struct mp_pool_attr *pool_attr = container_of(attr, struct mp_pool_attr, attr);
	struct mp_pool *pool = container_of(kobj, struct mp_pool, kobj);
	struct mempool_pool_stats stats;

	mp_pool_read_stats(pool, &stats);
	return pool_attr->show(buf, pool, &stats);
}

static void mp_pool_kobj_release(struct kobject *kobj)
{
	mp_owner_put(&container_of(kobj, struct mp_pool, kobj)->owner);
}

static const struct sysfs_ops mp_pool_sysfs_ops = {
	.show = mp_pool_attr_show,
};

static const struct kobj_type mp_pool_ktype = {
	.release = mp_pool_kobj_release,
	.sysfs_ops = &mp_pool_sysfs_ops,
	.default_groups = mp_pool_groups,
};

/**
 * mp_sysfs_add_pool() - gives a pool its directory
 * @pool: named and ready; mp_pools_lock is held
 *
 * A pool without one works as well: failure is only said in the log.
 */
void mp_sysfs_add_pool(struct mp_pool *pool)
{
	lockdep_assert_held(&mp_pools_lock);
	if (!mp_pools_kobj || pool->in_sysfs)
		return;
	mp_owner_get(&pool->owner);
	if (kobject_init_and_add(&pool->kobj, &mp_pool_ktype, mp_pools_kobj, "%s", pool->name)) {
		pr_warn_once("no directory in sysfs for a block pool\n");
		kobject_put(&pool->kobj);
		return;
	}
	pool->in_sysfs = true;
}

/**
 * mp_sysfs_remove_pool() - takes it away; waits for its readers
 * @pool: its lock, which they take, is not held. Either mp_pools_lock is held or
 *	nobody else can find the pool
 */
void mp_sysfs_remove_pool(struct mp_pool *pool)
{
	if (!pool->in_sysfs)
		return;
	pool->in_sysfs = false;
	kobject_del(&pool->kobj);
	kobject_put(&pool->kobj);
}

/**
 * mp_sysfs_init() - makes the directory of named pools, and theirs
 * @device: of /dev/mempool
 *
 * Pools without directories work as well: failure is only said in the log.
 *
 * Context: sleeps.
 */
void mp_sysfs_init(struct device *device)
{
	struct mp_pool *pool;

	mutex_lock(&mp_pools_lock);
	mp_pools_kobj = kobject_create_and_add("pools", &device->kobj);
	if (!mp_pools_kobj)
		pr_warn("no directory in sysfs for block pools\n");
	list_for_each_entry(pool, &mp_pools, list)
		if (pool->ready)
			mp_sysfs_add_pool(pool);
	mutex_unlock(&mp_pools_lock);
}

/* No session is left: nobody makes or removes pools. */
void mp_sysfs_exit(void)
{
	struct mp_pool *pool;

	list_for_each_entry(pool, &mp_pools, list)
		mp_sysfs_remove_pool(pool);
	kobject_put(mp_pools_kobj);
	mp_pools_kobj = NULL;
}
