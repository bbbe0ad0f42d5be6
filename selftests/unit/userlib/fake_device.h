/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A device for tests of the library: answers its commands out of a table, over
 * a memfd, and does what a real one does once in a lifetime when told to.
 */
#ifndef FAKE_DEVICE_H
#define FAKE_DEVICE_H

#include "internal.h"

#define FAKE_MAX_BLOCKS	4096

struct fake_block {
	uint64_t offset;
	uint64_t size;
	bool live;
	bool reused;
};

/**
 * struct fake - the device and what it is told to do
 * @info: answer to INFO, to be changed before a session is opened
 * @fd: the memory
 * @tenure: of the next block
 * @next: where the next new block begins
 * @blocks: all that ever were, @nr of them
 * @max_live: ENOMEM above this
 * @live: blocks out
 * @calls: by command number
 * @fail: errno for every command of this number, or 0
 * @done: if not negative, what ALLOC says it has done
 * @skew: added to each offset that ALLOC gives
 * @generation: of the blocks of the one block pool
 * @issued: which of them are out
 * @conf: what CONFIGURE was told last
 */
struct fake {
	struct mempool_info info;
	int fd;
	uint64_t tenure;
	uint64_t next;
	struct fake_block blocks[FAKE_MAX_BLOCKS];
	unsigned int nr;
	unsigned int max_live;
	unsigned int live;
	unsigned int calls[256];
	int fail[256];
	int done;
	uint64_t skew;
	uint64_t bad_releases;
	uint32_t generation[64];
	bool issued[64];
	struct mempool_configure conf;
	bool closed;
};

void fake_init(struct fake *fake, uint64_t space_bytes);
struct mp_device fake_device(struct fake *fake);

#endif /* FAKE_DEVICE_H */
