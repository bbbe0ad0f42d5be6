// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl pools: the named block pools.
 */
#include "ctl.h"

static void pool_json(const struct pool *p)
{
	char mode[8];
	size_t i;

	snprintf(mode, sizeof(mode), "%04o", p->mode & 07777);
	json_open(NULL, '{');
	json_string("name", p->name);
	json_string("mode", mode);
	for (i = 0; i < POOL_ATTRIBUTES; i++)
		json_value(pool_attributes[i].name, p->value[i]);
	json_double("efficiency", p->efficiency);
	json_double("fragmentation", p->fragmentation);
	json_close('}');
}

static void pool_row(const struct table *t, const struct pool *p)
{
	char size[16], blocks[24], issued[24], members[24], coalesces[24], creator[24];
	char efficiency[16], fragmentation[16], mode[8];
	const char *const cell[] = { size, blocks, issued, efficiency, fragmentation, members,
		coalesces, mode, creator, p->name };

	out_bytes(size, p->value[BLOCK_SIZE]);
	out_number(blocks, p->value[NUM_BLOCKS]);
	out_number(issued, p->value[ISSUED]);
	out_number(members, p->value[MEMBERS]);
	out_number(coalesces, p->value[COALESCES]);
	out_number(creator, p->value[CREATOR]);
	snprintf(efficiency, sizeof(efficiency), "%.1f%%", p->efficiency);
	snprintf(fragmentation, sizeof(fragmentation), "%.1f%%", p->fragmentation);
	snprintf(mode, sizeof(mode), "%04o", p->mode & 07777);
	table_row(t, cell);
}

static void pools_table(const struct pools *pools)
{
	static const struct column columns[] = {
		{ "SIZE", 7, 9 }, { "BLOCKS", 8, 8 }, { "ISSUED", 8, 10 },
		{ "EFFIC", 6, 7 }, { "FRAGM", 6, 6 }, { "MEMBERS", 7, 5 },
		{ "COALESCES", 9, 2 }, { "MODE", 4, 3 }, { "CREATOR", 7, 1 },
		{ "NAME", 0, 10 },
	};
	struct table t;
	size_t i;

	table_begin(&t, columns, sizeof(columns) / sizeof(columns[0]));
	for (i = 0; i < pools->nr; i++)
		pool_row(&t, &pools->pool[i]);
}

int command_pools(void)
{
	struct pools pools;
	size_t i;

	pools_read(&pools);
	if (opt.json) {
		json_open(NULL, '[');
		for (i = 0; i < pools.nr; i++)
			pool_json(&pools.pool[i]);
		json_close(']');
	} else if (pools.nr) {
		pools_table(&pools);
	} else {
		puts("no named block pools");
	}
	pools_free(&pools);
	return EXIT_OK;
}
