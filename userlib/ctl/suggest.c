// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl suggest: the line for /etc/modprobe.d/mempool.conf that what was
 * seen since the module was loaded calls for. Reasons are comments above it;
 * a parameter that nothing speaks against is left as it is.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define PARAMETERS "/sys/module/mempool/parameters/"

/* A quarter more than the peak; twice the reserve when it was not enough. */
static uint64_t suggest_reserve(const struct device *d)
{
	uint64_t total = d->value[CHUNKS_TOTAL].number, peak = d->value[CHUNKS_PEAK].number;
	uint64_t failed = d->value[FAILED_NO_MEMORY].number, chunks = peak + (peak + 3) / 4;

	if (failed) {
		printf("# %" PRIu64 " allocations failed for want of memory: the peak of %" PRIu64
		       " of %" PRIu64 " chunks\n# is less than was wanted\n", failed, peak, total);
		chunks = 2 * total;
	} else {
		printf("# at most %" PRIu64 " of %" PRIu64
		       " chunks of 2 MiB were in use: that and a quarter more\n", peak, total);
	}
	return chunks ? chunks : 1;
}

static void copy_parameter(const char *name, const char *unset)
{
	char path[128], *text;
	int error;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	text = read_file(path, &error);
	if (text)
		text[strcspn(text, "\n")] = '\0';
	if (text && *text && strcmp(text, unset))
		printf(" %s=%s", name, out_clean(text));
	free(text);
}

static void print_fixed(const struct pools *pools)
{
	const char *before = " fixed=";
	const struct pool *p;

	for (p = pools->pool; p < pools->pool + pools->nr; p++) {
		if (!p->value[KEEP].number)
			continue;
		printf("%s%s:%" PRIu64 "x%" PRIu64 ":%04o", before, p->name,
		       p->value[BLOCK_SIZE].number, p->value[NUM_BLOCKS].number, p->mode);
		before = ",";
	}
}

static void print_remarks(const struct device *d)
{
	if (d->value[FAILED_LIMIT].number)
		printf("# %" PRIu64 " allocations failed at session_limit=, user_limit= or a limit of\n"
		       "# the program's own: raise it if they were meant to succeed\n",
		       d->value[FAILED_LIMIT].number);
	if (d->state[PINNED].number)
		printf("# %" PRIu64 " chunks are pinned: spare=%" PRIu64
		       " would replace them with fresh memory\n", d->state[PINNED].number,
		       d->state[PINNED].number);
	if (d->value[CHUNKS_SMALL].number)
		printf("# %" PRIu64 " chunks are small: load the module earlier at boot\n",
		       d->value[CHUNKS_SMALL].number);
}

int command_suggest(void)
{
	struct device d;
	struct pools pools;
	uint64_t chunks;

	device_read(&d);
	pools_read(&pools);
	if (!d.value[CHUNKS_PEAK].known || !d.value[CHUNKS_TOTAL].known)
		fail(EXIT_ERROR, "this module does not tell its peak");
	chunks = suggest_reserve(&d);
	print_remarks(&d);
	printf("options mempool reserve=%" PRIu64 "M", chunks * 2);
	print_fixed(&pools);
	copy_parameter("tiers", "");
	copy_parameter("session_limit", "0");
	copy_parameter("user_limit", "0");
	copy_parameter("max_sessions", "1024");
	copy_parameter("spare", "0");
	putchar('\n');
	pools_free(&pools);
	return EXIT_OK;
}
