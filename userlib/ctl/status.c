// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl status: the reserve, allocations, named pools.
 */
#include <stdlib.h>

#include "ctl.h"

static void json_device(const struct device *d)
{
	size_t i;

	for (i = 0; i < DEVICE_ATTRIBUTES; i++)
		json_value(device_attributes[i].name, d->value[i]);
	json_open("chunks", '{');
	for (i = 0; i < STATES; i++)
		json_value(state_names[i], d->state[i]);
	json_close('}');
	json_double("reuse_rate", device_reuse(d));
}

static int status_json(const struct device *d, const struct pools *pools)
{
	json_open(NULL, '{');
	json_device(d);
	json_value("pools", (struct value){ pools->nr, true });
	json_close('}');
	return EXIT_OK;
}

/* ---- for people ---- */

static bool narrow(void)
{
	return opt.width && opt.width < 72;
}

static struct value chunk_bytes(struct value chunks)
{
	return (struct value){ chunks.number * CHUNK, chunks.known };
}

static void print_state(const struct device *d, int state, const char *color, const char *text)
{
	char number[24], bytes[16];

	printf("  %s%-9s%s %8s %7s  %s\n", d->state[state].number ? out_color(color) : "",
	       state_names[state], out_color("0"), out_number(number, d->state[state]),
	       out_bytes(bytes, chunk_bytes(d->state[state])), narrow() ? "" : text);
}

static void print_reserve(const struct device *d)
{
	char a[24], b[24], c[16];

	printf("%sreserve%s      %7s", out_color("1"), out_color("0"),
	       out_bytes(c, d->value[RESERVE_BYTES]));
	if (!narrow())
		printf(" in chunks of 2 MiB: %s huge, %s small",
		       out_number(a, d->value[CHUNKS_HUGE]), out_number(b, d->value[CHUNKS_SMALL]));
	putchar('\n');
	print_state(d, FREE, "32", "zero, nobody's");
	print_state(d, OWNED, "34", "of sessions and named pools");
	print_state(d, LEAVING, "33", "being taken out of page tables");
	print_state(d, PINNED, "31", "given back, but something still refers to them");
	print_state(d, CLEANING, "33", "waiting to be zeroed");
	print_state(d, RETIRED, "31", "had a memory error");
	printf("  %-9s %8s %7s  %s\n", "idle", out_number(a, d->value[CHUNKS_IDLE]),
	       out_bytes(c, chunk_bytes(d->value[CHUNKS_IDLE])),
	       narrow() ? "" : "owned, but no block issued");
	printf("  %-9s %8s %7s\n", "peak", out_number(a, d->value[CHUNKS_PEAK]),
	       out_bytes(c, chunk_bytes(d->value[CHUNKS_PEAK])));
}

static void print_figure(const char *name, struct value value, const char *warn)
{
	char number[24];

	printf("  %-18s %s%12s%s\n", name, value.number && warn ? out_color(warn) : "",
	       out_number(number, value), out_color("0"));
}

static void print_allocations(const struct device *d)
{
	struct value used = d->value[CURRENT_BYTES];
	double owned = (double)d->state[OWNED].number * CHUNK;
	char bytes[16];

	printf("%sallocations%s\n", out_color("1"), out_color("0"));
	print_figure("sessions", d->value[SESSIONS], NULL);
	print_figure("blocks held", d->value[CURRENTLY_ALLOCATED], NULL);
	printf("  %-18s %12s\n", "bytes held", out_bytes(bytes, used));
	printf("  %-18s %11.1f%%\n", "of owned chunks", owned ? used.number / owned * 100 : 0);
	print_figure("new", d->value[NEW_ALLOCATIONS], NULL);
	print_figure("reused", d->value[REUSED_ALLOCATIONS], NULL);
	printf("  %-18s %11.1f%%\n", "reuse rate", device_reuse(d) * 100);
	print_figure("failed, no memory", d->value[FAILED_NO_MEMORY], "31");
	print_figure("failed, limit", d->value[FAILED_LIMIT], "31");
	print_figure("bad releases", d->value[BAD_RELEASES], "33");
}

static void print_pools(const struct pools *pools)
{
	const struct pool *p;
	size_t i;

	if (!pools->nr)
		return;
	printf("%snamed pools%s\n", out_color("1"), out_color("0"));
	for (i = 0; i < pools->nr; i++) {
		p = &pools->pool[i];
		printf(narrow() ? "  %-18.18s %5.1f%% %5.1f%%\n" :
		       "  %-18.31s %5.1f%% issued, %.1f%% fragmented\n", p->name,
		       p->efficiency, p->fragmentation);
	}
}

int command_status(void)
{
	struct device d;
	struct pools pools;
	int code = EXIT_OK;

	if (opt.prometheus)
		return command_prometheus();
	device_read(&d);
	pools_read(&pools);
	if (opt.json) {
		code = status_json(&d, &pools);
	} else {
		print_reserve(&d);
		print_allocations(&d);
		print_pools(&pools);
	}
	pools_free(&pools);
	return code;
}
