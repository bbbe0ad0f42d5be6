// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl --prometheus: the text exposition format, for node_exporter's
 * textfile collector. What is not known is left out. Names of pools need no
 * escapes: letters, digits and "._-" are all the module admits, and anything
 * else is left out, too.
 */
#include <inttypes.h>
#include <string.h>

#include "ctl.h"

static void family(const char *name, const char *help, enum metric metric)
{
	printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name,
	       metric == COUNTER ? "counter" : "gauge");
}

static void device_metrics(const struct device *d)
{
	const struct attribute *a;
	size_t i;

	for (i = 0; i < DEVICE_ATTRIBUTES; i++) {
		a = &device_attributes[i];
		if (!a->prometheus || !d->value[i].known)
			continue;
		family(a->prometheus, a->help, a->metric);
		printf("%s %" PRIu64 "\n", a->prometheus, d->value[i].number);
	}
	if (!d->state[FREE].known)
		return;
	family("mempool_chunks", "Chunks of 2 MiB by state; they sum to the reserve.", GAUGE);
	for (i = 0; i < STATES; i++) {
		if (d->state[i].known)
			printf("mempool_chunks{state=\"%s\"} %" PRIu64 "\n", state_names[i],
			       d->state[i].number);
	}
}

static bool plain(const char *name)
{
	return !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")];
}

static void pool_metric(const struct pools *pools, int which)
{
	const struct attribute *a = &pool_attributes[which];
	const struct pool *p;

	if (!a->prometheus)
		return;
	family(a->prometheus, a->help, a->metric);
	for (p = pools->pool; p < pools->pool + pools->nr; p++) {
		if (p->value[which].known && plain(p->name))
			printf("%s{pool=\"%s\"} %" PRIu64 "\n", a->prometheus, p->name,
			       p->value[which].number);
	}
}

static void pool_ratio(const struct pools *pools, const char *name, const char *help, bool gaps)
{
	const struct pool *p;
	double percent;

	family(name, help, GAUGE);
	for (p = pools->pool; p < pools->pool + pools->nr; p++) {
		percent = gaps ? p->fragmentation : p->efficiency;
		if (percent >= 0 && plain(p->name))
			printf("%s{pool=\"%s\"} %.3f\n", name, p->name, percent / 100);
	}
}

int command_prometheus(void)
{
	struct device d;
	struct pools pools;
	int i;

	device_read(&d);
	pools_read(&pools);
	device_metrics(&d);
	if (pools.nr) {
		for (i = 0; i < POOL_ATTRIBUTES; i++)
			pool_metric(&pools, i);
		pool_ratio(&pools, "mempool_pool_efficiency_ratio", "Issued blocks of all.", false);
		pool_ratio(&pools, "mempool_pool_fragmentation_ratio",
			   "Gaps between free blocks.", true);
	}
	pools_free(&pools);
	return EXIT_OK;
}
