// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Page tables are filled before a block is handed out, so that its user's first
 * touch takes no fault.
 *
 * Ownership goes by chunks: a block's slots are wholly its session's, and are
 * populated whole, once for each tenure. Any thread may do it, at the same time
 * as others; the worst is that it is done twice.
 *
 * A slot in which the user has changed the protection of a part, or unmapped
 * one, stays split: the kernel maps it 4 KiB at a time for ever. It is mapped
 * anew when it is next populated with nothing in it: see repair_slot().
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "internal.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

/*
 * The advice that populates, -1 if this kernel (before 5.14) has none. Asked
 * once, of ordinary memory: of ours, EINVAL may mean that the user has
 * protected a part of it.
 */
int mp_populate_probe(void *page, size_t len, bool readonly)
{
	int saved = errno, advice = readonly ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;

	if (madvise(page, len, advice))
		advice = -1;
	errno = saved;
	return advice;
}

static int advise(void *addr, size_t len, int advice)
{
	int saved = errno, ret = 0;

	if (madvise(addr, len, advice))
		ret = -errno;
	errno = saved;
	return ret;
}

/* Faults this thread has taken, those inside system calls included. */
static long faults_taken(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_minflt;
}

/* Does one mapping hold all of [start, start + len)? True when we cannot know. */
static bool mapped_in_one(const char *start, size_t len)
{
	unsigned long long low, high, want = (uintptr_t)start;
	FILE *maps = fopen("/proc/self/maps", "re");
	bool one = true;
	char *line = NULL;
	size_t room = 0;

	if (!maps)
		return true;
	while (getline(&line, &room, maps) > 0)
		if (sscanf(line, "%llx-%llx", &low, &high) == 2 && want < high) {
			one = low <= want && want + len <= high;
			break;
		}
	free(line);
	fclose(maps);
	return one;
}

/*
 * Map a slot anew if it is split. Only for a slot of which we have just faulted
 * in every single page: its chunk had been unbound, so no block in it is in use
 * and nobody's protection gets lost.
 */
static int repair_slot(struct mempool *pool, struct mp_region *region, uint64_t slot)
{
	char *addr = mp_region_at(region, slot * MP_CHUNK);
	int saved = errno, ret = 0;

	if (!mapped_in_one(addr, MP_CHUNK)) {
		ret = mp_space_map_at(pool, addr, slot * MP_CHUNK, MP_CHUNK);
		if (!ret)
			ret = advise(addr, MP_CHUNK, pool->space.populate);
	}
	errno = saved;
	return ret;
}

static int populate_slot(struct mempool *pool, struct mp_region *region, uint64_t slot)
{
	bool huge = pool->info.features & MEMPOOL_FEATURE_HUGE;
	long pages = MP_CHUNK / pool->info.page_size, before = 0;
	int ret;

	if (huge)
		before = faults_taken();
	ret = advise(mp_region_at(region, slot * MP_CHUNK), MP_CHUNK, pool->space.populate);
	if (!ret && huge && faults_taken() - before >= pages)
		ret = repair_slot(pool, region, slot);
	return ret;
}

/*
 * The slot could not be populated whole: somebody has protected or unmapped a
 * part of it. Within the new block that can only be a block's former user, who
 * did not undo it: the block's own pages are mapped anew.
 */
static int populate_pages(struct mempool *pool, struct mp_region *region, uint64_t offset,
			  uint64_t len)
{
	uint64_t page = pool->info.page_size;
	uint64_t start = offset - offset % page;
	uint64_t end = offset + len + page - 1;
	char *addr = mp_region_at(region, start);
	int ret;

	end -= end % page;
	ret = advise(addr, end - start, pool->space.populate);
	if (ret != -EINVAL && ret != -ENOMEM)
		return ret;
	ret = mp_space_map_at(pool, addr, start, end - start);
	return ret ? ret : advise(addr, end - start, pool->space.populate);
}

/* Without MADV_POPULATE_WRITE. Adding 0 is harmless to whoever else writes. */
static void touch_pages(struct mempool *pool, char *addr, uint64_t len)
{
	uint64_t i;

	for (i = 0; i < len; i += pool->info.page_size)
		atomic_fetch_add((_Atomic char *)addr + i, 0);
	atomic_fetch_add((_Atomic char *)addr + len - 1, 0);
}

static void raise_populated(_Atomic uint64_t *populated, uint64_t to)
{
	uint64_t old = atomic_load_explicit(populated, memory_order_relaxed);

	while (old < to && !atomic_compare_exchange_weak(populated, &old, to))
		;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Populate the slots of [offset, offset + len), in @region, that were last
 * populated before @tenure. -EFAULT: a chunk is not ours any more. -EHWPOISON:
 * a page of it is broken.
 */
int mp_populate(struct mempool *pool, struct mp_region *region, uint64_t offset, uint64_t len,
		uint64_t tenure)
{
	uint64_t slot, start, end = offset + len;
	int ret;

	if (pool->space.populate < 0) {
		if (pool->space.prot & PROT_WRITE)
			touch_pages(pool, mp_region_at(region, offset), len);
		return 0;
	}
	for (slot = offset / MP_CHUNK; slot * MP_CHUNK < end; slot++) {
		_Atomic uint64_t *populated = &region->populated[slot - region->first];

		if (atomic_load_explicit(populated, memory_order_relaxed) > tenure)
			continue;
		ret = populate_slot(pool, region, slot);
		if (!ret && tenure != MP_TENURE_UNKNOWN)
			raise_populated(populated, tenure + 1);
		if (ret == -EINVAL || ret == -ENOMEM) {
			start = slot * MP_CHUNK > offset ? slot * MP_CHUNK : offset;
			ret = populate_pages(pool, region, start,
					     min_u64(end, (slot + 1) * MP_CHUNK) - start);
		}
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * Populate the @nr slots that the session owns, and what we keep about them, wherever
 * they are: the kernel fills the offset space from below, so few are asked in vain. A
 * hint; windows are made when a block needs them.
 */
void mp_populate_owned(struct mempool *pool, uint64_t nr)
{
	struct mp_region *whole = pool->space.whole;
	uint64_t slot;
	int ret;

	if (!whole || pool->space.populate < 0)
		return;
	nr += atomic_load(&pool->block_slots);
	for (slot = 0; slot < whole->nr && nr; slot++) {
		ret = advise(whole->addr + slot * MP_CHUNK, MP_CHUNK, pool->space.populate);
		if (ret == -EFAULT)
			continue;
		mp_track_prepare(pool, slot);
		nr--;
	}
}
