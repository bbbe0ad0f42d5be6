// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * commands COUNT TIMES: take COUNT blocks with one command of the in-process device
 * and give them back with another, TIMES over. What that takes is the core's, and a
 * little of the device. The script "instructions" counts it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

#define MOST	64

static struct mp_device dev;

static void must(int right)
{
	if (!right)
		abort();
}

static void pair(unsigned int count)
{
	struct mempool_block blocks[MOST];
	uint64_t offsets[MOST];
	struct mempool_alloc alloc = {
		.size = 4096, .blocks = (uintptr_t)blocks, .count = count,
	};
	struct mempool_release release = { .offsets = (uintptr_t)offsets, .count = count };
	unsigned int i;

	must(!dev.ops->ioctl(&dev, MEMPOOL_IOC_ALLOC, &alloc) && alloc.done == count);
	for (i = 0; i < count; i++)
		offsets[i] = blocks[i].offset;
	must(!dev.ops->ioctl(&dev, MEMPOOL_IOC_RELEASE, &release) && release.done == count);
}

int main(int argc, char **argv)
{
	long count = argc == 3 ? atol(argv[1]) : 0, times = argc == 3 ? atol(argv[2]) : 0;

	if (count < 1 || count > MOST) {
		fprintf(stderr, "usage: commands COUNT TIMES\n");
		return 2;
	}
	must(!mp_inproc_open(&dev, "64M"));
	while (times--)
		pair(count);
	return 0;
}
