// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The reserve's figures and the named pools', out of sysfs. The tables are the
 * one place where attributes are named: JSON and Prometheus go through them.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

const struct attribute device_attributes[DEVICE_ATTRIBUTES] = {
	[RESERVE_BYTES] = { "reserve_bytes", GAUGE, "mempool_reserve_bytes",
		"Memory preallocated when the module was loaded." },
	[CHUNKS_TOTAL] = { "chunks_total", GAUGE, NULL, NULL },
	[CHUNKS_HUGE] = { "chunks_huge", GAUGE, "mempool_chunks_huge",
		"Chunks that are one compound page of 2 MiB." },
	[CHUNKS_SMALL] = { "chunks_small", GAUGE, "mempool_chunks_small",
		"Chunks made of single pages." },
	[CHUNKS_IDLE] = { "chunks_idle", GAUGE, "mempool_chunks_idle",
		"Chunks of sessions in which no block is issued, above their minima." },
	[CHUNKS_REPLACED] = { "chunks_replaced", GAUGE, "mempool_chunks_replaced",
		"Pinned chunks that were given fresh memory: taken beyond the reserve." },
	[CHUNKS_PEAK] = { "chunks_peak", GAUGE, "mempool_chunks_peak",
		"Most chunks ever owned, leaving or pinned at once." },
	[PRESSURE] = { "pressure", COUNTER, "mempool_pressure_total",
		"Requests that found too few free chunks." },
	[SESSIONS] = { "sessions", GAUGE, "mempool_sessions", "Open sessions." },
	[NEW_ALLOCATIONS] = { "new_allocations", COUNTER, "mempool_new_allocations_total",
		"Allocations served by memory not handed out before." },
	[REUSED_ALLOCATIONS] = { "reused_allocations", COUNTER,
		"mempool_reused_allocations_total",
		"Allocations served by blocks handed out before and given back." },
	[RELEASES] = { "releases", COUNTER, "mempool_releases_total", "Blocks given back." },
	[BAD_RELEASES] = { "bad_releases", COUNTER, "mempool_bad_releases_total",
		"Releases refused." },
	[CURRENTLY_ALLOCATED] = { "currently_allocated", GAUGE, "mempool_allocated_blocks",
		"Blocks held now." },
	[CURRENT_BYTES] = { "current_bytes", GAUGE, "mempool_allocated_bytes",
		"Rounded sizes of the blocks held now." },
	[FAILED_NO_MEMORY] = { "failed_no_memory", COUNTER, "mempool_failed_no_memory_total",
		"Allocations refused because the reserve was exhausted." },
	[FAILED_LIMIT] = { "failed_limit", COUNTER, "mempool_failed_limit_total",
		"Allocations refused by a limit." },
	[RECLAIMED_CHUNKS] = { "reclaimed_chunks", COUNTER, "mempool_reclaimed_chunks_total",
		"Idle chunks that requests of other sessions took." },
};

const char *const state_names[STATES] = {
	"free", "owned", "leaving", "pinned", "cleaning", "retired",
};

const struct attribute pool_attributes[POOL_ATTRIBUTES] = {
	[BLOCK_SIZE] = { "block_size", GAUGE, "mempool_pool_block_size_bytes",
		"Bytes of each block." },
	[STRIDE] = { "stride", GAUGE, NULL, NULL },
	[NUM_BLOCKS] = { "num_blocks", GAUGE, "mempool_pool_blocks", "Blocks in the pool." },
	[ISSUED] = { "issued", GAUGE, "mempool_pool_issued_blocks", "Blocks issued now." },
	[POOL_FREE] = { "free", GAUGE, "mempool_pool_free_blocks", "Blocks free now." },
	[GETS] = { "gets", COUNTER, "mempool_pool_gets_total", "Blocks handed out." },
	[RETURNS] = { "returns", COUNTER, "mempool_pool_returns_total", "Blocks returned." },
	[BAD_RETURNS] = { "bad_returns", COUNTER, "mempool_pool_bad_returns_total",
		"Returns refused." },
	[ADOPTS] = { "adopts", COUNTER, "mempool_pool_adopts_total",
		"Blocks whose holder changed." },
	[COALESCES] = { "coalesces", COUNTER, "mempool_pool_coalesces_total",
		"Coalesces, automatic ones included." },
	[AUTO_COALESCES] = { "auto_coalesces", COUNTER, "mempool_pool_auto_coalesces_total",
		"Coalesces that a return caused." },
	[COALESCE_NS_LAST] = { "coalesce_ns_last", GAUGE, NULL, NULL },
	[COALESCE_NS_MAX] = { "coalesce_ns_max", GAUGE, NULL, NULL },
	[MEMBERS] = { "members", GAUGE, "mempool_pool_members",
		"Sessions that have the pool open." },
	[THRESHOLD] = { "threshold", GAUGE, NULL, NULL },
	[CREATOR] = { "creator", GAUGE, NULL, NULL },
	[KEEP] = { "keep", GAUGE, NULL, NULL },
};

static void read_table(const char *dir, const struct attribute *table, size_t nr,
		       struct value *value)
{
	size_t i;

	for (i = 0; i < nr; i++)
		value[i].known = read_number(dir, table[i].name, &value[i].number);
}

/* The six figures of one moment are in one file. */
static void read_states(struct value state[STATES])
{
	char *text, *rest, *end;
	int error, i;

	text = read_file(SYSFS "/chunks_states", &error);
	for (i = 0, rest = text; i < STATES && text; i++, rest = end) {
		state[i].number = strtoull(rest, &end, 10);
		state[i].known = end != rest;
	}
	free(text);
}

void device_read(struct device *d)
{
	read_need_module();
	memset(d, 0, sizeof(*d));
	read_table(SYSFS, device_attributes, DEVICE_ATTRIBUTES, d->value);
	read_states(d->state);
}

/* 0 to 1; 0 when there was no allocation */
double device_reuse(const struct device *d)
{
	double reused = d->value[REUSED_ALLOCATIONS].number;
	double total = reused + d->value[NEW_ALLOCATIONS].number;

	return total ? reused / total : 0;
}

/* ---- named pools ---- */

static double read_percent(const char *dir, const char *name)
{
	char path[512], *text;
	double value = -1;
	int error;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	text = read_file(path, &error);
	if (text && *text >= '0' && *text <= '9')
		value = strtod(text, NULL);
	free(text);
	return value;
}

static unsigned int read_mode(const char *dir)
{
	char path[512], *text;
	unsigned int mode = 0;
	int error;

	snprintf(path, sizeof(path), "%s/mode", dir);
	text = read_file(path, &error);
	if (text)
		mode = strtoul(text, NULL, 8);
	free(text);
	return mode;
}

/* A pool that goes while it is read has no num_blocks, and is left out. */
static bool pool_read(struct pool *pool, const char *name)
{
	char dir[320];

	memset(pool, 0, sizeof(*pool));
	snprintf(pool->name, sizeof(pool->name), "%s", name);
	snprintf(dir, sizeof(dir), "%s/pools/%s", SYSFS, name);
	read_table(dir, pool_attributes, POOL_ATTRIBUTES, pool->value);
	pool->efficiency = read_percent(dir, "efficiency");
	pool->fragmentation = read_percent(dir, "fragmentation");
	pool->mode = read_mode(dir);
	return pool->value[NUM_BLOCKS].known;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct pool *)a)->name, ((const struct pool *)b)->name);
}

void pools_read(struct pools *pools)
{
	struct dirent *entry;
	DIR *dir;

	read_need_module();
	*pools = (struct pools){ 0 };
	dir = opendir(read_path(SYSFS "/pools"));
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		pools->pool = realloc(pools->pool, (pools->nr + 1) * sizeof(*pools->pool));
		if (!pools->pool)
			fail(EXIT_ERROR, "out of memory");
		if (pool_read(&pools->pool[pools->nr], entry->d_name))
			pools->nr++;
	}
	if (dir)
		closedir(dir);
	if (pools->nr)
		qsort(pools->pool, pools->nr, sizeof(*pools->pool), by_name);
}

void pools_free(struct pools *pools)
{
	free(pools->pool);
}
