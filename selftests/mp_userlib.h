/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the tests of the library share. */
#ifndef MP_USERLIB_H
#define MP_USERLIB_H

#include "mp_proc.h"

#include "libmempool.h"

/* Write one byte to each page of @len bytes: the faults that took. */
static inline long mp_touch_all(void *ptr, size_t len)
{
	volatile char *byte = ptr;
	long before = mp_faults();
	size_t i;

	for (i = 0; i < len; i += 4096)
		byte[i] = 1;
	return mp_faults() - before;
}

static inline struct mempool_stats mp_stats(struct mempool *pool)
{
	struct mempool_stats stats = { 0 };

	if (mempool_get_stats(pool, &stats, sizeof(stats)))
		memset(&stats, 0xff, sizeof(stats));
	return stats;
}

static inline struct mempool_blocks_stats mp_blocks_stats(struct mempool_blocks *blocks)
{
	struct mempool_blocks_stats stats = { 0 };

	if (mempool_blocks_get_stats(blocks, &stats, sizeof(stats)))
		memset(&stats, 0xff, sizeof(stats));
	return stats;
}

/* A block pool; @name NULL for a private one. */
static inline int mp_blocks_new(struct mempool_blocks **blocks, struct mempool *pool,
				size_t block_size, unsigned int nr, const char *name,
				unsigned int mode)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;

	opts.block_size = block_size;
	opts.num_blocks = nr;
	opts.name = name;
	opts.mode = mode;
	return mempool_blocks_create(blocks, pool, &opts);
}

/* The largest mapping of the device in this process, and how many there are. */
static inline unsigned long long mp_mappings(unsigned int *nr)
{
	unsigned long long low, high, largest = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	*nr = 0;
	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "mempool") || sscanf(line, "%llx-%llx", &low, &high) != 2)
			continue;
		++*nr;
		if (high - low > largest)
			largest = high - low;
	}
	if (maps)
		fclose(maps);
	return largest;
}

/* Leave this process @bytes of addresses more. */
static inline int mp_limit_addresses(size_t bytes)
{
	FILE *statm = fopen("/proc/self/statm", "re");
	struct rlimit limit;
	unsigned long pages;
	int n;

	if (!statm)
		return -errno;
	n = fscanf(statm, "%lu", &pages);
	fclose(statm);
	if (n != 1 || getrlimit(RLIMIT_AS, &limit))
		return -EIO;
	limit.rlim_cur = pages * sysconf(_SC_PAGESIZE) + bytes;
	return setrlimit(RLIMIT_AS, &limit) ? -errno : 0;
}

#endif /* MP_USERLIB_H */
