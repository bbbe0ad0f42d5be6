// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * hold BYTES COUNT [POOL SIZE BLOCKS ISSUED]: hold so many blocks, and blocks of a
 * named pool, until killed. Says "ready" once it does and the module has been told
 * what the thread's cache has served.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libmempool.h>

static int die(const char *what, int err)
{
	fprintf(stderr, "hold: %s: %s\n", what, strerror(err));
	return 1;
}

static int hold_pool(struct mempool *pool, char **argv)
{
	struct mempool_blocks_options options = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;
	int err, i;

	options.name = argv[0];
	options.mode = 0660;
	options.flags = MEMPOOL_BLOCKS_KEEP;
	options.block_size = strtoul(argv[1], NULL, 10);
	options.num_blocks = strtoul(argv[2], NULL, 10);
	err = mempool_blocks_create(&blocks, pool, &options);
	for (i = 0; !err && i < atoi(argv[3]); i++)
		err = mempool_get_block(blocks, NULL) ? 0 : -1;
	return err;
}

int main(int argc, char **argv)
{
	struct mempool *pool;
	int err, i;

	if (argc != 3 && argc != 7)
		return 2;
	err = mempool_open(&pool, NULL);
	if (err)
		return die("mempool_open", -err);
	for (i = 0; i < atoi(argv[2]); i++) {
		if (!mempool_alloc(pool, strtoul(argv[1], NULL, 10)))
			return die("mempool_alloc", errno);
	}
	if (argc == 7)
		err = hold_pool(pool, argv + 3);
	if (err)
		return die("named pool", -err);
	err = mempool_flush(pool);
	if (err)
		return die("mempool_flush", -err);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
