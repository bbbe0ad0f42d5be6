// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempool - a preallocated memory pool, handed out through /dev/mempool.
 *
 * The table of contents. From the bottom:
 *
 *	pages.c		the memory of one 2 MiB chunk
 *	owner.c		who chunks belong to, and the users they are charged to
 *	arena.c		the reserve's chunks: states, the free lists, cleaning
 *	pinned.c	chunks that somebody still refers to
 *	mmap.c		page tables: .fault, and the way out of them
 *	acquire.c	how a request for chunks is met
 *	reclaim.c	idle chunks of other sessions
 *
 *	extents.c	free runs			(the core: also in user space)
 *	slab.c		a run of pages cut into blocks	(core)
 *	slabmap.c	which slab lies over a page	(core)
 *	heap.c		page runs in an offset space	(core)
 *	bucket.c	size classes			(core)
 *	blocks.c	blocks by index, holders and generations (core)
 *	check.c		is a command well formed?	(core)
 *	figures.c	what a session's counters add up to (core)
 *
 *	session.c	one open file: lifetime, options, figures
 *	memory.c	a session's blocks, and chunks that come and go
 *	pool.c		block pools
 *	member.c	their names and members
 *	ioctl.c		the commands
 *	sysfs.c		figures for everybody
 *	debugfs.c	lists for root
 *	trace.h		tracepoints
 *
 *	params.c	the module's parameters
 *	compat.h	what differs between kernels
 *	core.h		what the core has of the kernel, or of user space
 *
 * Here: the device, init and exit in order.
 */

#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "arena.h"
#include "ioctl.h"
#include "mmap.h"
#include "params.h"
#include "pool.h"
#include "session.h"
#include "sysfs.h"

/* The offset space of a session, in reserves: room for holes to fall in. */
#define MP_SPACE_FACTOR	4

/* ---- the device ---- */

static int mp_open(struct inode *inode, struct file *file)
{
	struct mp_session *s = mp_session_open();

	if (IS_ERR(s))
		return PTR_ERR(s);
	file->private_data = s;
	file->f_mapping = s->inode->i_mapping;
	return nonseekable_open(inode, file);
}

static int mp_release(struct inode *inode, struct file *file)
{
	mp_session_close(file->private_data);
	return 0;
}

static void mp_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct mp_session *s = file->private_data;
	struct mempool_session_stats stats;

	mp_session_stats(s, &stats);
	seq_printf(m, "mempool_session:\t%llu\n", stats.session_id);
	seq_printf(m, "mempool_owned_bytes:\t%llu\n", stats.owned_bytes);
	seq_printf(m, "mempool_pinned_bytes:\t%llu\n", stats.pinned_bytes);
	seq_printf(m, "mempool_allocated_bytes:\t%llu\n", stats.current_bytes);
	seq_printf(m, "mempool_peak_bytes:\t%llu\n", stats.peak_bytes);
	seq_printf(m, "mempool_allocations:\t%llu\n", stats.total_allocations);
	seq_printf(m, "mempool_reused:\t%llu\n", stats.reused_allocations);
	seq_printf(m, "mempool_failed:\t%llu\n", stats.failed_no_memory + stats.failed_limit);
	seq_printf(m, "mempool_failed_memory:\t%llu\n", stats.failed_no_memory);
	seq_printf(m, "mempool_failed_limit:\t%llu\n", stats.failed_limit);
	seq_printf(m, "mempool_failed_user_limit:\t%llu\n", mp_peek(s->failed_user_limit));
	seq_printf(m, "mempool_pools:\t%llu\n", stats.nr_pools);
}

static const struct file_operations mp_fops = {
	.owner = THIS_MODULE,
	.open = mp_open,
	.release = mp_release,
	.unlocked_ioctl = mp_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = mp_mmap,
	.get_unmapped_area = mp_get_area,
	.fsync = noop_fsync,
	.show_fdinfo = mp_show_fdinfo,
};

static struct miscdevice mp_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "mempool",
	.fops = &mp_fops,
	.mode = 0600,
	.groups = mp_device_groups,
};

/* ---- load and unload ---- */

static void mp_set_defaults(const struct mp_params *params)
{
	mp_session_defaults.tiers = params->tiers;
	mp_session_defaults.limit = params->session_limit / MEMPOOL_CHUNK_SIZE;
	mp_session_defaults.max_sessions = params->max_sessions;
	mp_session_defaults.nr_slots = params->reserve / MEMPOOL_CHUNK_SIZE * MP_SPACE_FACTOR;
}

static int __init mp_init(void)
{
	struct mp_params params;
	int err;

	err = mp_params_parse(&params);
	if (err)
		return err;
	mp_set_defaults(&params);

	err = mp_mmap_init(params.reserve * MP_SPACE_FACTOR);
	if (err)
		return err;
	err = mp_arena_init(params.reserve, params.user_limit / MEMPOOL_CHUNK_SIZE, params.spare);
	if (err)
		goto err_mmap;
	err = mp_pools_make_fixed(params.fixed);
	if (err)
		goto err_pools;
	err = misc_register(&mp_device);
	if (err)
		goto err_pools;
	/* From here on there may be sessions: nothing may fail. */
	mp_sysfs_init(mp_device.this_device);
	mp_debugfs_init();
	pr_info("%llu MiB in %lu huge and %lu small chunks\n", params.reserve >> 20,
		mp_arena.nr_huge, mp_arena.nr_chunks - mp_arena.nr_huge);
	return 0;

err_pools:
	mp_pools_exit();
	mp_arena_exit();
err_mmap:
	mp_mmap_exit();
	return err;
}

static void __exit mp_exit(void)
{
	mp_debugfs_exit();
	mp_sysfs_exit();
	misc_deregister(&mp_device);
	mp_pools_exit();
	mp_arena_exit();
	mp_mmap_exit();
}

module_init(mp_init);
module_exit(mp_exit);
MODULE_AUTHOR("The mempool developers");
MODULE_DESCRIPTION("Preallocated memory pool for user space");
MODULE_LICENSE("Dual MIT/GPL");
