/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The core's only door to the kernel.
 *
 * extents, slab, heap and bucket are plain data structures: no locks, no user
 * memory, no page tables. They include this header, their own, and nothing
 * else, so that the same files compile in user space, where core_user.h stands
 * for the kernel: in the unit tests and in the library's in-process device.
 */
#ifndef MP_CORE_H
#define MP_CORE_H

#ifdef __KERNEL__

#include <asm/barrier.h>
#include <linux/align.h>
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/cache.h>
#include <linux/errno.h>
#include <linux/hash.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/types.h>

#define MP_PAGE_SHIFT	PAGE_SHIFT

/* Tables of a session are charged to the memory cgroup of who makes them grow. */
#define mp_zalloc(size)	kvzalloc(size, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)
#define mp_free(p)	kvfree(p)

/* The high half of a product. */
#define mp_mul_high(a, b)	mul_u64_u64_shr(a, b, 64)

/*
 * A figure read without the lock that its writers hold: to be shown, or a hint that
 * is verified under the lock. The writers' plain stores are meant to race with it.
 */
#define mp_peek(x)	data_race(READ_ONCE(x))

/* In loops over all of a session's memory: no spinlock is ever held in the core. */
#define mp_relax()	cond_resched()

#else
#include "core_user.h"
#define mp_relax()	((void)0)
#endif

#include "uapi/mempool.h"

#define MP_PAGE_SIZE		(1ul << MP_PAGE_SHIFT)
#define MP_CHUNK_PAGES		(MEMPOOL_CHUNK_SIZE >> MP_PAGE_SHIFT)

#endif /* MP_CORE_H */
