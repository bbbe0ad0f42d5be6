// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl watch: one line of figures per interval, as vmstat does it. Rates
 * are differences between two readings over the time that has really passed.
 */
#include <time.h>

#include "ctl.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

struct rates {
	double allocations, failed, reuse;	/* per second, per second, 0 to 1 */
};

static double grown(const struct device *d, const struct device *before, int which)
{
	return (double)(d->value[which].number - before->value[which].number);
}

static struct rates rates_of(const struct device *d, const struct device *before, double seconds)
{
	double reused = grown(d, before, REUSED_ALLOCATIONS);
	double all = grown(d, before, NEW_ALLOCATIONS) + reused;
	double failed = grown(d, before, FAILED_NO_MEMORY) + grown(d, before, FAILED_LIMIT);

	return (struct rates){ all / seconds, failed / seconds, all ? reused / all : 0 };
}

static void row_json(const struct device *d, const struct rates *r)
{
	int i;

	json_open(NULL, '{');
	for (i = 0; i < STATES; i++)
		json_value(state_names[i], d->state[i]);
	json_value("idle", d->value[CHUNKS_IDLE]);
	json_value("sessions", d->value[SESSIONS]);
	json_double("allocations_per_second", r->allocations);
	json_double("reuse_rate", r->reuse);
	json_double("failed_per_second", r->failed);
	json_close('}');
}

static void row_text(const struct table *t, const struct device *d, const struct rates *r)
{
	char n[6][24], allocations[32], reuse[16], failed[32];
	const char *const cell[] = {
		out_number(n[0], d->state[FREE]), out_number(n[1], d->state[OWNED]),
		out_number(n[2], d->value[CHUNKS_IDLE]), out_number(n[3], d->state[CLEANING]),
		out_number(n[4], d->state[PINNED]), out_number(n[5], d->value[SESSIONS]),
		allocations, reuse, failed,
	};

	snprintf(allocations, sizeof(allocations), "%.0f", r->allocations);
	snprintf(reuse, sizeof(reuse), "%.1f", r->reuse * 100);
	snprintf(failed, sizeof(failed), "%.0f", r->failed);
	table_row(t, cell);
}

int command_watch(void)
{
	static const struct column columns[] = {
		{ "FREE", 7, 10 }, { "OWNED", 7, 9 }, { "IDLE", 6, 5 }, { "CLEAN", 6, 3 },
		{ "PINNED", 6, 6 }, { "SESS", 5, 4 }, { "ALLOC/s", 9, 8 }, { "REUSE%", 6, 7 },
		{ "FAIL/s", 7, 6 },
	};
	struct device d[2];
	struct rates rates;
	double then, delay = opt.delay;
	struct table t;
	long i;

	device_read(&d[0]);
	then = now();
	if (!opt.json)
		table_begin(&t, columns, sizeof(columns) / sizeof(columns[0]));
	for (i = 0; opt.count < 0 || i < opt.count; i++) {
		out_end();
		nanosleep(&(struct timespec){ (time_t)delay,
			(long)((delay - (time_t)delay) * 1e9) }, NULL);
		device_read(&d[(i + 1) % 2]);
		rates = rates_of(&d[(i + 1) % 2], &d[i % 2], now() - then);
		then = now();
		if (opt.json)
			row_json(&d[(i + 1) % 2], &rates);
		else
			row_text(&t, &d[(i + 1) % 2], &rates);
	}
	return EXIT_OK;
}
