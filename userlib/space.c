// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Offsets and addresses.
 *
 * The offset space is mapped whole, once, when the process has room for it: an
 * address is then base + offset, and no lock is ever taken here. Otherwise (32
 * bits, RLIMIT_AS) it is mapped in windows on demand. A block that crosses the
 * border of two windows gets one of its own that holds it whole, so a slot may
 * be mapped in several windows: several addresses, the same memory. A window
 * stays until its room is needed or mempool_trim() is called, and goes only
 * when no block that is out begins in it and no block pool lies in it.
 *
 * Every mapping begins at a multiple of MP_CHUNK, which the kernel does not see
 * to by itself for 32-bit processes: huge pages need it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

#define WINDOW_SLOTS	8	/* mapped at once where there is room */

/* Map [offset, offset + len) at @addr, over what is there. */
int mp_space_map_at(struct mempool *pool, char *addr, uint64_t offset, size_t len)
{
	struct mp_space *space = &pool->space;
	int saved = errno, ret = 0;
	unsigned int i;

	if (pool->dev.ops->map(&pool->dev, addr, len, space->prot, MAP_SHARED | MAP_FIXED,
			       offset) == MAP_FAILED)
		ret = -errno;
	for (i = 0; !ret && i < 2; i++)
		if (space->advice[i] >= 0 && madvise(addr, len, space->advice[i]))
			ret = -errno;
	errno = saved;
	return ret;
}

/* Reserve more than enough addresses, map what is wanted, give back the rest. */
static int map_aligned(struct mempool *pool, uint64_t first, uint64_t nr, char **addr)
{
	size_t chunk = MP_CHUNK, len = nr * chunk, head;
	int saved = errno, ret;
	char *raw;

	if (nr > SIZE_MAX / chunk - 1)
		return -ENOMEM;
	raw = mmap(NULL, len + chunk, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED) {
		ret = -errno;
		errno = saved;
		return ret;
	}
	head = -(uintptr_t)raw % chunk;
	ret = mp_space_map_at(pool, raw + head, first * MP_CHUNK, len);
	if (ret) {
		munmap(raw, len + chunk);
		return ret;
	}
	if (head)
		munmap(raw, head);
	munmap(raw + head + len, chunk - head);
	*addr = raw + head;
	return 0;
}

static int region_new(struct mempool *pool, uint64_t first, uint64_t nr, struct mp_region **result)
{
	struct mp_region *region = calloc(1, sizeof(*region) + nr * sizeof(region->populated[0]));
	int ret;

	if (!region)
		return -ENOMEM;
	region->first = first;
	region->nr = nr;
	ret = map_aligned(pool, first, nr, &region->addr);
	if (ret) {
		free(region);
		return ret;
	}
	*result = region;
	return 0;
}

/*
 * In a child to which the mapping was not passed on (MADV_DONTFORK), something
 * else may lie at these addresses by now.
 */
static void region_free(struct mempool *pool, struct mp_region *region)
{
	if (!(pool->dontfork && mp_inherited(pool)))
		munmap(region->addr, region->nr * MP_CHUNK);
	free(region);
}

int mp_space_init(struct mempool *pool, bool windows)
{
	struct mp_space *space = &pool->space;
	int ret;

	space->bytes = pool->info.space_bytes;
	/* Leave a 32-bit program most of its addresses. */
	if (!windows && space->bytes <= SIZE_MAX / 4) {
		ret = region_new(pool, 0, space->bytes / MP_CHUNK, &space->whole);
		if (ret != -ENOMEM)
			return ret;
	}
	space->hint = calloc(space->bytes / MP_CHUNK, sizeof(space->hint[0]));
	if (!space->hint)
		return -ENOMEM;
	return -pthread_mutex_init(&space->lock, NULL);
}

void mp_space_exit(struct mempool *pool)
{
	struct mp_space *space = &pool->space;
	size_t i;

	if (space->whole)
		region_free(pool, space->whole);
	for (i = 0; i < space->nr_windows; i++)
		region_free(pool, space->windows[i]);
	free(space->windows);
	free(space->hint);
}

/*
 * The lock of a forked child's copy may be held by a thread that the child does
 * not have; nothing changes its windows, so it needs none.
 */
static void lock_windows(struct mempool *pool)
{
	if (!mp_inherited(pool))
		pthread_mutex_lock(&pool->space.lock);
}

static void unlock_windows(struct mempool *pool)
{
	if (!mp_inherited(pool))
		pthread_mutex_unlock(&pool->space.lock);
}

/* Place in the list of the first window that begins above @addr. */
static size_t window_after(const struct mp_space *space, uintptr_t addr)
{
	size_t low = 0, high = space->nr_windows;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if ((uintptr_t)space->windows[mid]->addr <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int window_insert(struct mp_space *space, struct mp_region *window)
{
	struct mp_region **list = space->windows;
	size_t max = space->max_windows, at;
	uint64_t i;

	if (space->nr_windows == max) {
		max = max ? 2 * max : 16;
		list = realloc(list, max * sizeof(list[0]));
		if (!list)
			return -ENOMEM;
		space->windows = list;
		space->max_windows = max;
	}
	at = window_after(space, (uintptr_t)window->addr);
	memmove(&list[at + 1], &list[at], (space->nr_windows - at) * sizeof(list[0]));
	list[at] = window;
	space->nr_windows++;
	for (i = 0; i < window->nr; i++)
		space->hint[window->first + i] = window;
	return 0;
}

static bool window_idle(struct mempool *pool, const struct mp_region *window)
{
	uint64_t start = window->first * MP_CHUNK, end = start + window->nr * MP_CHUNK;

	return !window->pins && mp_track_next(pool, start, end) == end;
}

/* Unmap the windows that nobody needs. True if there was one. */
static bool drop_idle_windows(struct mempool *pool)
{
	struct mp_space *space = &pool->space;
	size_t i, kept = 0, before = space->nr_windows;
	uint64_t slot;

	for (i = 0; i < before; i++) {
		struct mp_region *window = space->windows[i];

		if (!window_idle(pool, window)) {
			space->windows[kept++] = window;
			continue;
		}
		for (slot = window->first; slot < window->first + window->nr; slot++)
			if (space->hint[slot] == window)
				space->hint[slot] = NULL;
		region_free(pool, window);
	}
	space->nr_windows = kept;
	return kept < before;
}

/* A new window for slots @first to @last, larger than needed if there is room. */
static int window_new(struct mempool *pool, uint64_t first, uint64_t last,
		      struct mp_region **window)
{
	uint64_t nr_slots = pool->space.bytes / MP_CHUNK;
	uint64_t low = first - first % WINDOW_SLOTS;
	uint64_t high = last - last % WINDOW_SLOTS + WINDOW_SLOTS;
	int ret;

	if (high > nr_slots)
		high = nr_slots;
	ret = region_new(pool, low, high - low, window);
	if (ret == -ENOMEM)
		ret = region_new(pool, first, last + 1 - first, window);
	if (ret == -ENOMEM && drop_idle_windows(pool))
		ret = region_new(pool, first, last + 1 - first, window);
	if (ret)
		return ret;
	ret = window_insert(&pool->space, *window);
	if (ret)
		region_free(pool, *window);
	return ret;
}

static bool window_holds(const struct mp_region *window, uint64_t first, uint64_t last)
{
	return window && window->first <= first && last < window->first + window->nr;
}

/* The hint is right unless blocks that cross borders have left several. */
static struct mp_region *window_find(const struct mp_space *space, uint64_t first, uint64_t last)
{
	size_t i;

	if (window_holds(space->hint[first], first, last))
		return space->hint[first];
	if (window_holds(space->hint[last], first, last))
		return space->hint[last];
	for (i = 0; i < space->nr_windows; i++)
		if (window_holds(space->windows[i], first, last))
			return space->windows[i];
	return NULL;
}

/*
 * Find or make the region that maps [offset, offset + len), and keep it there
 * until mp_space_leave(). -ENOMEM: no room for a window.
 */
int mp_space_enter(struct mempool *pool, uint64_t offset, uint64_t len, struct mp_region **region)
{
	struct mp_space *space = &pool->space;
	uint64_t first = offset / MP_CHUNK, last;
	int ret = 0;

	if (!len || offset >= space->bytes || len > space->bytes - offset)
		return -EBADE;
	if (space->whole) {
		*region = space->whole;
		return 0;
	}
	last = (offset + len - 1) / MP_CHUNK;
	lock_windows(pool);
	*region = window_find(space, first, last);
	if (!*region)
		ret = window_new(pool, first, last, region);
	if (!ret)
		(*region)->pins++;
	unlock_windows(pool);
	return ret;
}

void mp_space_leave(struct mempool *pool, struct mp_region *region)
{
	if (pool->space.whole)
		return;
	lock_windows(pool);
	region->pins--;
	unlock_windows(pool);
}

/* -EINVAL: not an address of this session's memory. */
int mp_space_offset(struct mempool *pool, const void *ptr, uint64_t *offset)
{
	struct mp_space *space = &pool->space;
	struct mp_region *region = space->whole;
	uintptr_t addr = (uintptr_t)ptr, within;
	size_t at;

	if (!region) {
		lock_windows(pool);
		at = window_after(space, addr);
		region = at ? space->windows[at - 1] : NULL;
	}
	within = region ? addr - (uintptr_t)region->addr : 0;
	if (region && within < region->nr * MP_CHUNK)
		*offset = region->first * MP_CHUNK + within;
	else
		region = NULL;
	if (!space->whole)
		unlock_windows(pool);
	return region ? 0 : -EINVAL;
}

void mp_space_trim(struct mempool *pool)
{
	if (pool->space.whole)
		return;
	lock_windows(pool);
	drop_idle_windows(pool);
	unlock_windows(pool);
}
