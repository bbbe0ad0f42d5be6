// SPDX-License-Identifier: MIT OR GPL-2.0
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_device.h"

#define PAGE	4096u
#define POOL	7u	/* handle of the one block pool */

static int fake_alloc_one(struct fake *fake, uint64_t size, struct mempool_block *to)
{
	struct fake_block *b = fake->blocks;
	unsigned int i;

	if (fake->live >= fake->max_live)
		return -ENOMEM;
	for (i = 0; i < fake->nr; i++, b++)
		if (!b->live && b->size == size)
			break;
	if (i == fake->nr) {
		if (i == FAKE_MAX_BLOCKS || fake->next + size > fake->info.space_bytes)
			return -ENOMEM;
		*b = (struct fake_block) { .offset = fake->next, .size = size };
		fake->next = (fake->next + size + PAGE - 1) / PAGE * PAGE;
		fake->nr++;
	}
	b->live = true;
	fake->live++;
	*to = (struct mempool_block) {
		.offset = b->offset + fake->skew, .slab = b->offset, .tenure = fake->tenure,
		.flags = b->reused ? MEMPOOL_BLOCK_REUSED : 0,
	};
	b->reused = true;
	return 0;
}

static int fake_alloc(struct fake *fake, struct mempool_alloc *cmd)
{
	struct mempool_block *blocks = (void *)(uintptr_t)cmd->blocks;
	int ret = 0;

	cmd->done = 0;
	if (!cmd->count || cmd->count > fake->info.max_batch)
		return cmd->count ? -E2BIG : -EINVAL;
	while (!ret && cmd->done < cmd->count) {
		ret = fake_alloc_one(fake, mp_round(&fake->info, cmd->size), &blocks[cmd->done]);
		cmd->done += !ret;
	}
	if (cmd->done)
		ret = 0;
	if (fake->done >= 0)
		cmd->done = fake->done;
	return ret;
}

static int fake_release_one(struct fake *fake, uint64_t offset)
{
	unsigned int i;

	for (i = 0; i < fake->nr; i++)
		if (fake->blocks[i].live && fake->blocks[i].offset + fake->skew == offset)
			break;
	if (i == fake->nr) {
		fake->bad_releases++;
		return offset % PAGE ? -EINVAL : -ENOENT;
	}
	fake->blocks[i].live = false;
	fake->live--;
	return 0;
}

static int fake_release(struct fake *fake, struct mempool_release *cmd)
{
	const uint64_t *offsets = (void *)(uintptr_t)cmd->offsets;
	int ret = 0;

	cmd->done = 0;
	if (cmd->count > fake->info.max_batch)
		return -E2BIG;
	while (!ret && cmd->done < cmd->count) {
		ret = fake_release_one(fake, offsets[cmd->done]);
		cmd->done += !ret;
	}
	return ret;
}

static int fake_create(struct fake *fake, struct mempool_pool_create *cmd)
{
	cmd->pool = POOL;
	cmd->offset = fake->next;
	cmd->stride = (cmd->block_size + 63) / 64 * 64;
	fake->next += cmd->stride * cmd->nr_blocks;
	return cmd->nr_blocks <= 64 ? 0 : -ENOMEM;
}

static int fake_get(struct fake *fake, struct mempool_pool_batch *cmd)
{
	struct mempool_token *tokens = (void *)(uintptr_t)cmd->tokens;
	unsigned int i;

	cmd->done = 0;
	for (i = 0; i < 8 && cmd->done < cmd->count; i++)	/* a pool of eight */
		if (!fake->issued[i]) {
			fake->issued[i] = true;
			tokens[cmd->done++] = (struct mempool_token) { i, fake->generation[i] };
		}
	return cmd->done ? 0 : -ENOSPC;
}

static int fake_return(struct fake *fake, struct mempool_pool_batch *cmd)
{
	struct mempool_token *token = (void *)(uintptr_t)cmd->tokens;

	cmd->done = 0;
	if (token->index >= 8)
		return -ERANGE;
	if (token->generation != fake->generation[token->index])
		return -ESTALE;
	if (!fake->issued[token->index])
		return -ENOENT;
	fake->issued[token->index] = false;
	fake->generation[token->index]++;
	cmd->done = 1;
	return 0;
}

static int fake_reset(struct fake *fake)
{
	unsigned int i;

	for (i = 0; i < 8; i++) {
		fake->generation[i] += fake->issued[i];
		fake->issued[i] = false;
	}
	return 0;
}

static int fake_stats(struct fake *fake, struct mempool_session_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->currently_allocated = fake->live;
	stats->bad_releases = fake->bad_releases;
	stats->owned_bytes = fake->info.space_bytes;
	stats->heap_free_bytes = 400;
	stats->heap_largest_free_bytes = 100;
	stats->total_allocations = 8;
	stats->reused_allocations = 6;
	return 0;
}

static int fake_ioctl(struct mp_device *dev, unsigned long command, void *arg)
{
	struct fake *fake = dev->priv;
	unsigned int nr = _IOC_NR(command);

	fake->calls[nr]++;
	if (fake->fail[nr])
		return -fake->fail[nr];
	switch (command) {
	case MEMPOOL_IOC_INFO:
		memcpy(arg, &fake->info, sizeof(fake->info));
		return 0;
	case MEMPOOL_IOC_CONFIGURE:
		memcpy(&fake->conf, arg, sizeof(fake->conf));
		return 0;
	case MEMPOOL_IOC_ALLOC:
		return fake_alloc(fake, arg);
	case MEMPOOL_IOC_RELEASE:
		return fake_release(fake, arg);
	case MEMPOOL_IOC_STATS:
		return fake_stats(fake, arg);
	case MEMPOOL_IOC_POOL_CREATE:
		return fake_create(fake, arg);
	case MEMPOOL_IOC_POOL_GET:
		return fake_get(fake, arg);
	case MEMPOOL_IOC_POOL_RETURN:
		return fake_return(fake, arg);
	case MEMPOOL_IOC_POOL_RESET:
		return fake_reset(fake);
	case MEMPOOL_IOC_TRIM:
	case MEMPOOL_IOC_PREALLOCATE:
	case MEMPOOL_IOC_POOL_CLOSE:
		return 0;
	}
	return -ENOTTY;
}

static void *fake_map(struct mp_device *dev, void *addr, size_t len, int prot, int flags,
		      uint64_t offset)
{
	struct fake *fake = dev->priv;

	return mmap(addr, len, prot, flags, fake->fd, offset);
}

static void fake_close(struct mp_device *dev)
{
	struct fake *fake = dev->priv;

	fake->closed = true;
	close(fake->fd);
}

static const struct mp_device_ops fake_ops = {
	.ioctl = fake_ioctl,
	.map = fake_map,
	.close = fake_close,
};

void fake_init(struct fake *fake, uint64_t space_bytes)
{
	memset(fake, 0, sizeof(*fake));
	fake->info = (struct mempool_info) {
		.space_bytes = space_bytes,
		.page_size = PAGE,
		.chunk_size = MEMPOOL_CHUNK_SIZE,
		.block_align = MEMPOOL_BLOCK_ALIGN,
		.max_batch = 64,
		.nr_tiers = 3,
		.tiers = { { 10240, 1024 }, { 102400, 10240 }, { MEMPOOL_TIER_END, 102400 } },
	};
	fake->tenure = 1;
	fake->max_live = FAKE_MAX_BLOCKS;
	fake->done = -1;
	fake->fd = memfd_create("fake", MFD_CLOEXEC);
	if (fake->fd < 0 || ftruncate(fake->fd, space_bytes))
		_exit(99);
}

struct mp_device fake_device(struct fake *fake)
{
	return (struct mp_device) { .ops = &fake_ops, .priv = fake, .fd = fake->fd };
}
