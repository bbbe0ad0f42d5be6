// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The in-process device, "memfd:SIZE": the module's core over a memfd.
 *
 * For unit tests of programs that use the library, for machines where no module
 * may be loaded, and to measure the library at native speed. It answers the same
 * commands with the same errors, but it is one process' own: named block pools
 * are refused (EOPNOTSUPP), nothing survives a crash, nobody is kept from
 * anybody, and memory is taken from the system when a chunk is first used. It is
 * kept as the module's reserve is, until a trim. It is never chosen unless asked
 * for.
 *
 * One lock serialises everything; the offset space is the memfd's.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "blocks.h"
#include "check.h"
#include "figures.h"
#include "internal.h"
#include "memfd.h"

/* As the module: room in the offset space for holes to fall in. */
#define SPACE_FACTOR	4
#define ME		1u	/* the only member of every block pool */

/**
 * struct inproc - one session
 * @lock: protects all below
 * @memory: the offset space, and what is behind it
 * @nr_chunks: most chunks used at a time
 * @limit: the same, as configured
 * @min_chunks: guaranteed minimum
 * @node: as configured; not used
 * @started: too late to configure
 * @heap: the offset space; its chunks are anonymous: any pointer will do
 * @buckets: size classes
 * @claims: what caches served
 * @failed: allocations refused
 * @pools: block pools by handle
 * @nr_pools: of these
 */
struct inproc {
	pthread_mutex_t lock;
	struct mp_memfd memory;
	u64 nr_chunks;
	u64 limit;
	u64 min_chunks;
	int node;
	bool started;
	struct mp_heap heap;
	struct mp_buckets buckets;
	struct mempool_claims claims;
	u64 failed_no_memory;
	u64 failed_limit;
	struct mp_blocks *pools[MEMPOOL_MAX_HANDLES];
	u32 nr_pools;
};

/* ---- chunks ---- */

static int chunk_bind(struct inproc *in, u64 slot)
{
	int ret = mp_memfd_take(&in->memory, slot);

	if (ret)
		return ret;
	ret = mp_heap_bind(&in->heap, slot, in);
	if (ret)
		mp_memfd_give(&in->memory, slot);
	return ret;
}

static void chunk_unbind(struct inproc *in, u64 slot)
{
	mp_buckets_vacate(&in->buckets, slot);
	mp_heap_unbind(&in->heap, slot);
	mp_memfd_give(&in->memory, slot);
	mp_heap_give_slots(&in->heap, slot, 1);
}

/* Gives idle chunks back as long as more than @keep are used. */
static u64 give_idle(struct inproc *in, u64 keep)
{
	struct mp_slot *slot;
	u64 given = 0;

	while (in->heap.nr_backed > keep && (slot = mp_heap_idle_slot(&in->heap))) {
		chunk_unbind(in, slot->index);
		given++;
	}
	return given;
}

static void give_free(struct inproc *in)
{
	struct mp_slot *slot;

	while (in->heap.nr_backed > in->min_chunks &&
	       (slot = mp_heap_idle_slot(&in->heap)) && mp_slot_wholly_free(slot))
		chunk_unbind(in, slot->index);
}

static int bind_all(struct inproc *in, u64 first, u64 nr)
{
	int ret = 0;

	while (!ret && nr--)
		ret = chunk_bind(in, first++);
	return ret;
}

/* Makes a free run of @pages pages; @move: idle chunks may go for it. */
static int grow(struct inproc *in, u64 pages, bool move)
{
	u64 first, nr, room;
	int ret;

	for (;;) {
		ret = mp_heap_plan(&in->heap, pages, &first, &nr);
		if (ret || !nr)
			return ret == -ENOSPC ? -ENOMEM : ret;
		room = in->limit - in->heap.nr_backed;
		if (nr <= room)
			return bind_all(in, first, nr);
		if (!move || nr > room + in->heap.nr_idle)
			return in->limit < in->nr_chunks ? -EDQUOT : -ENOMEM;
		give_idle(in, in->limit - nr);
	}
}

/* ---- session ---- */

static int do_info(struct inproc *in, void *arg)
{
	const struct mp_tiers *tiers = &in->buckets.tiers;
	struct mempool_info *info = arg;

	*info = (struct mempool_info){
		.features = MEMPOOL_FEATURE_CLAIMS | MEMPOOL_FEATURE_STATUS_PAGE,
		.session_id = (uintptr_t)in,
		.space_bytes = in->memory.space,
		.status_offset = in->memory.space,
		.reserve_bytes = in->nr_chunks * MEMPOOL_CHUNK_SIZE,
		.max_cached_bytes = in->buckets.max_cached_bytes,
		.min_bytes = in->min_chunks * MEMPOOL_CHUNK_SIZE,
		.limit_bytes = in->limit * MEMPOOL_CHUNK_SIZE,
		.user_limit_bytes = in->nr_chunks * MEMPOOL_CHUNK_SIZE,
		.page_size = MP_PAGE_SIZE,
		.chunk_size = MEMPOOL_CHUNK_SIZE,
		.block_align = MEMPOOL_BLOCK_ALIGN,
		.max_batch = MP_MAX_BATCH,
		.max_cached = in->buckets.max_cached,
		.node = in->node,
		.nr_tiers = tiers->nr,
	};
	memcpy(info->tiers, tiers->tier, sizeof(info->tiers));
	return 0;
}

static int set_min(struct inproc *in, u64 bytes)
{
	u64 chunks = bytes / MEMPOOL_CHUNK_SIZE + !!(bytes % MEMPOOL_CHUNK_SIZE);
	int ret = 0;

	if (chunks > in->nr_chunks)
		return -ENOMEM;
	if (chunks > in->heap.nr_backed)
		ret = grow(in, chunks * MP_CHUNK_PAGES, false);
	if (!ret)
		in->min_chunks = chunks;
	give_free(in);
	return ret;
}

static int do_configure(struct inproc *in, void *arg)
{
	const struct mempool_configure *conf = arg;
	u64 old_limit = in->limit;
	struct mp_tiers tiers;
	int ret = mp_check_configure(conf, &tiers);

	if (ret)
		return ret;
	if (in->started)
		return -EBUSY;
	if ((conf->flags & MEMPOOL_CONFIGURE_NODE) && conf->node < MEMPOOL_NODE_ANY)
		return -EINVAL;
	if (conf->flags & MEMPOOL_CONFIGURE_LIMIT_BYTES) {
		if (conf->limit_bytes < MEMPOOL_CHUNK_SIZE ||
		    conf->limit_bytes / MEMPOOL_CHUNK_SIZE > in->nr_chunks)
			return -EINVAL;
		in->limit = conf->limit_bytes / MEMPOOL_CHUNK_SIZE;
	}
	if (conf->flags & MEMPOOL_CONFIGURE_MIN_BYTES)
		ret = set_min(in, conf->min_bytes);
	if (ret) {
		in->limit = old_limit;
		return ret;
	}
	if (conf->flags & MEMPOOL_CONFIGURE_NODE)
		in->node = conf->node;
	if (conf->flags & MEMPOOL_CONFIGURE_TIERS)
		mp_buckets_set_tiers(&in->buckets, &tiers);
	if (conf->flags & MEMPOOL_CONFIGURE_MAX_CACHED)
		in->buckets.max_cached = conf->max_cached;
	if (conf->flags & MEMPOOL_CONFIGURE_MAX_CACHED_BYTES)
		in->buckets.max_cached_bytes = conf->max_cached_bytes;
	return 0;
}

static int do_stats(struct inproc *in, void *arg)
{
	struct mempool_session_stats *stats = arg;

	mp_figures_read(&in->buckets, &in->claims, stats);
	stats->session_id = (uintptr_t)in;
	stats->owned_bytes = in->heap.nr_backed * MEMPOOL_CHUNK_SIZE;
	stats->min_bytes = in->min_chunks * MEMPOOL_CHUNK_SIZE;
	stats->limit_bytes = in->limit * MEMPOOL_CHUNK_SIZE;
	stats->heap_largest_free_bytes = mp_extents_longest(&in->heap.pages) << MP_PAGE_SHIFT;
	stats->failed_no_memory = in->failed_no_memory;
	stats->failed_limit = in->failed_limit;
	stats->nr_pools = in->nr_pools;
	return 0;
}

static int do_trim(struct inproc *in, void *arg)
{
	struct mempool_trim *trim = arg;
	int ret = mp_check_trim(trim);

	if (ret)
		return ret;
	mp_buckets_trim(&in->buckets);
	trim->released_bytes = give_idle(in, in->min_chunks) * MEMPOOL_CHUNK_SIZE;
	mp_memfd_drop(&in->memory);
	return 0;
}

/* ---- buckets ---- */

static int take_flags(u32 flags)
{
	return flags & MEMPOOL_ALLOC_PAGE_ALIGNED ? MP_TAKE_PAGE_ALIGNED : 0;
}

/* Reserves some of the blocks asked for, at most @most. */
static int take(struct inproc *in, const struct mempool_alloc *req, u32 most,
		struct mp_ticket *ticket)
{
	u64 pages;
	int ret;

	while ((ret = mp_buckets_take(&in->buckets, req->size, take_flags(req->flags), most,
				      ticket, &pages)) == -ENOSPC) {
		if (most < req->count && !mp_worth_a_chunk(req, most))
			break;
		ret = grow(in, pages, true);
		if (ret)
			break;
	}
	return ret;
}

static void count_failure(struct inproc *in, int ret)
{
	in->failed_no_memory += ret == -ENOMEM;
	in->failed_limit += ret == -EDQUOT;
}

/* Tells of the ticket's blocks; returns where the next one goes. */
static struct mempool_block *tell(const struct inproc *in, const struct mp_ticket *ticket,
				  struct mempool_block *block)
{
	unsigned long bits = ticket->bunch.bits;
	struct mp_alike alike;

	while (bits) {
		mp_buckets_describe(&in->buckets, ticket, &bits, &alike);
		for (; alike.bits; alike.bits &= alike.bits - 1) {
			*block = alike.block;
			block++->offset += __ffs(alike.bits) * alike.stride;
		}
	}
	return block;
}

static int do_alloc(struct inproc *in, void *arg)
{
	struct mempool_alloc *alloc = arg;
	struct mempool_block *block = (void *)(uintptr_t)alloc->blocks, *next;
	struct mp_ticket ticket;
	int ret = mp_check_alloc(alloc);

	if (ret)
		return ret;
	for (alloc->done = 0; alloc->done < alloc->count; alloc->done += ticket.bunch.nr) {
		ret = take(in, alloc, alloc->count - alloc->done, &ticket);
		if (ret)
			break;
		mp_buckets_publish(&in->buckets, &ticket,
				   !(alloc->flags & MEMPOOL_ALLOC_CACHED));
		next = tell(in, &ticket, block);
		for (; block < next; block++)
			if (alloc->flags & MEMPOOL_ALLOC_ZERO)
				memset(in->memory.map + block->offset, 0, ticket.slab->stride);
		in->started = true;
	}
	if (!alloc->done)
		count_failure(in, ret);
	return alloc->done ? 0 : ret;
}

static int do_release(struct inproc *in, void *arg)
{
	struct mempool_release *release = arg;
	const u64 *offsets = (void *)(uintptr_t)release->offsets;
	int ret = mp_check_release(release);

	if (ret)
		return ret;
	if (release->flags & MEMPOOL_RELEASE_CLAIMS)
		mp_claims_add(&in->claims, &release->claims);
	release->done = 0;
	if (release->flags & MEMPOOL_RELEASE_ALL)
		release->done = (u32)mp_buckets_give_all(&in->buckets);
	else
		ret = mp_buckets_give(&in->buckets, offsets, release->count,
				      !(release->flags & MEMPOOL_RELEASE_CACHED),
				      &release->done);
	give_free(in);
	return ret;
}

static int do_preallocate(struct inproc *in, void *arg)
{
	struct mempool_preallocate *req = arg;
	int ret = mp_check_preallocate(req);
	u64 pages;

	if (ret)
		return ret;
	do {
		ret = mp_buckets_prepare(&in->buckets, req->size, take_flags(req->flags),
					 req->count, &req->done, &pages);
		if (ret == -ENOSPC) {
			ret = grow(in, pages, false);
			ret = ret ? ret : -EAGAIN;
		}
	} while (ret == -EAGAIN);
	in->started |= req->done > 0;
	count_failure(in, ret);
	return ret;
}

/* ---- block pools ---- */

static struct mp_blocks *find_pool(struct inproc *in, u32 handle)
{
	return handle < MEMPOOL_MAX_HANDLES ? in->pools[handle] : NULL;
}

static int take_pages(struct inproc *in, u64 pages, u64 *start)
{
	int ret;

	while ((ret = mp_heap_take(&in->heap, pages, start)) == -ENOSPC) {
		ret = grow(in, pages, true);
		if (ret)
			break;
	}
	return ret;
}

static int place_pool(struct inproc *in, struct mp_blocks *b, u64 pages,
		      const struct mempool_pool_create *req)
{
	u32 threshold = req->flags & MEMPOOL_POOL_THRESHOLD ? req->threshold
							    : MEMPOOL_DEFAULT_THRESHOLD;
	u64 start;
	int ret = take_pages(in, pages, &start);

	if (ret)
		return ret;
	ret = mp_blocks_init(b, start, req->block_size, req->nr_blocks, threshold);
	if (ret)
		mp_heap_give(&in->heap, start, pages);
	else
		mp_heap_get_busy(&in->heap, start, pages);
	return ret;
}

static int do_pool_create(struct inproc *in, void *arg)
{
	struct mempool_pool_create *req = arg;
	struct mp_blocks *b;
	u32 handle = 0;
	u64 pages;
	int ret = mp_check_create(req, &pages);

	if (ret)
		return ret;
	if (req->name[0])
		return -EOPNOTSUPP;
	while (handle < MEMPOOL_MAX_HANDLES && in->pools[handle])
		handle++;
	if (handle == MEMPOOL_MAX_HANDLES)
		return -EMFILE;
	b = calloc(1, sizeof(*b));
	ret = b ? place_pool(in, b, pages, req) : -ENOMEM;
	give_free(in);
	if (ret) {
		free(b);
		return ret;
	}
	in->pools[handle] = b;
	in->nr_pools++;
	in->started = true;
	req->pool = handle;
	req->offset = b->slab->start << MP_PAGE_SHIFT;
	req->stride = b->slab->stride;
	return 0;
}

static int no_names(struct inproc *in, void *arg)
{
	(void)in;
	(void)arg;
	return -EOPNOTSUPP;
}

static void free_pool(struct inproc *in, u32 handle)
{
	struct mp_blocks *b = in->pools[handle];

	mp_heap_put_busy(&in->heap, b->slab->start, b->slab->pages);
	mp_heap_give(&in->heap, b->slab->start, b->slab->pages);
	mp_blocks_destroy(b);
	free(b);
	in->pools[handle] = NULL;
	in->nr_pools--;
}

static int do_pool_close(struct inproc *in, void *arg)
{
	struct mempool_pool_close *close = arg;

	if (close->reserved)
		return -EINVAL;
	if (!find_pool(in, close->pool))
		return -ENXIO;
	free_pool(in, close->pool);
	give_free(in);
	return 0;
}

static int begin_batch(struct inproc *in, struct mempool_pool_batch *batch, struct mp_blocks **b)
{
	int ret;

	batch->done = 0;
	batch->coalesced = 0;
	ret = mp_check_batch(batch);
	*b = find_pool(in, batch->pool);
	return ret ? ret : *b ? 0 : -ENXIO;
}

static int do_pool_get(struct inproc *in, void *arg)
{
	struct mempool_pool_batch *batch = arg;
	struct mempool_token *tokens = (void *)(uintptr_t)batch->tokens;
	struct mp_blocks *b;
	int ret = begin_batch(in, batch, &b);

	if (ret)
		return ret;
	batch->done = mp_blocks_get(b, ME, tokens, batch->count);
	return batch->done ? 0 : -ENOSPC;
}

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

static u64 coalesce(struct mp_blocks *b, bool automatic)
{
	u64 ns, begin = now_ns();

	mp_slab_coalesce(b->slab);
	ns = now_ns() - begin;
	mp_blocks_coalesced(b, ns, automatic);
	return ns;
}

static int do_pool_return(struct inproc *in, void *arg)
{
	struct mempool_pool_batch *batch = arg;
	const struct mempool_token *tokens = (void *)(uintptr_t)batch->tokens;
	bool fragmented = false;
	struct mp_blocks *b;
	u32 index;
	int ret = begin_batch(in, batch, &b);

	while (!ret && batch->done < batch->count) {
		ret = mp_blocks_find(b, &tokens[batch->done], ME, &index);
		if (ret) {
			b->bad_returns++;
			break;
		}
		mp_blocks_return(b, index);
		fragmented |= mp_slab_fragmented(b->slab, b->threshold);
		batch->done++;
	}
	if (fragmented) {
		coalesce(b, true);
		batch->coalesced = 1;
	}
	return ret;
}

static int do_pool_adopt(struct inproc *in, void *arg)
{
	struct mempool_pool_batch *batch = arg;
	const struct mempool_token *tokens = (void *)(uintptr_t)batch->tokens;
	struct mp_blocks *b;
	u32 index;
	int ret = begin_batch(in, batch, &b);

	while (!ret && batch->done < batch->count) {
		ret = mp_blocks_find(b, &tokens[batch->done], 0, &index);
		if (!ret) {
			mp_blocks_adopt(b, index, ME);
			batch->done++;
		}
	}
	return ret;
}

static int do_pool_coalesce(struct inproc *in, void *arg)
{
	struct mempool_pool_op *op = arg;
	struct mp_blocks *b = find_pool(in, op->pool);

	if (op->flags)
		return -EINVAL;
	if (!b)
		return -ENXIO;
	op->result = coalesce(b, false);
	return 0;
}

static int do_pool_reset(struct inproc *in, void *arg)
{
	struct mempool_pool_op *op = arg;
	struct mp_blocks *b = find_pool(in, op->pool);
	u32 index = 0;

	if (op->flags & ~MEMPOOL_RESET_FORCE)
		return -EINVAL;
	if (!b)
		return -ENXIO;
	for (op->result = 0; (index = mp_blocks_next_held(b, 0, index)) < b->slab->nr; op->result++)
		mp_blocks_return(b, index++);
	return 0;
}

static int do_pool_stats(struct inproc *in, void *arg)
{
	struct mempool_pool_stats *stats = arg;
	u32 handle = stats->pool;
	struct mp_blocks *b = find_pool(in, handle);

	if (stats->flags)
		return -EINVAL;
	if (!b)
		return -ENXIO;
	mp_blocks_read_stats(b, stats);
	stats->pool = handle;
	stats->held = stats->issued;
	stats->members = 1;
	return 0;
}

/* ---- the device ---- */

typedef int command(struct inproc *in, void *arg);

static command *const commands[] = {
	[MEMPOOL_NR_INFO] = do_info,
	[MEMPOOL_NR_CONFIGURE] = do_configure,
	[MEMPOOL_NR_ALLOC] = do_alloc,
	[MEMPOOL_NR_RELEASE] = do_release,
	[MEMPOOL_NR_PREALLOCATE] = do_preallocate,
	[MEMPOOL_NR_TRIM] = do_trim,
	[MEMPOOL_NR_STATS] = do_stats,
	[MEMPOOL_NR_POOL_CREATE] = do_pool_create,
	[MEMPOOL_NR_POOL_OPEN] = no_names,
	[MEMPOOL_NR_POOL_CLOSE] = do_pool_close,
	[MEMPOOL_NR_POOL_REMOVE] = no_names,
	[MEMPOOL_NR_POOL_GET] = do_pool_get,
	[MEMPOOL_NR_POOL_RETURN] = do_pool_return,
	[MEMPOOL_NR_POOL_ADOPT] = do_pool_adopt,
	[MEMPOOL_NR_POOL_COALESCE] = do_pool_coalesce,
	[MEMPOOL_NR_POOL_RESET] = do_pool_reset,
	[MEMPOOL_NR_POOL_STATS] = do_pool_stats,
};

static int inproc_ioctl(struct mp_device *dev, unsigned long cmd, void *arg)
{
	struct inproc *in = dev->priv;
	unsigned int nr = _IOC_NR(cmd);
	int saved = errno, ret;

	if (nr >= ARRAY_SIZE(commands) || !commands[nr])
		return -ENOTTY;
	pthread_mutex_lock(&in->lock);
	ret = commands[nr](in, arg);
	pthread_mutex_unlock(&in->lock);
	errno = saved;
	return ret;
}

static void *inproc_map(struct mp_device *dev, void *addr, size_t len, int prot, int flags,
			uint64_t offset)
{
	struct inproc *in = dev->priv;

	if (offset == in->memory.space)
		return mmap(addr, len, prot, flags | MAP_ANONYMOUS, -1, 0);
	return mp_memfd_map(&in->memory, addr, len, prot, flags, offset);
}

static void inproc_close(struct mp_device *dev)
{
	struct inproc *in = dev->priv;
	int saved = errno;
	u32 i;

	for (i = 0; i < MEMPOOL_MAX_HANDLES; i++)
		if (in->pools[i])
			free_pool(in, i);
	mp_buckets_destroy(&in->buckets);
	mp_heap_destroy(&in->heap);
	mp_memfd_exit(&in->memory);
	pthread_mutex_destroy(&in->lock);
	free(in);
	errno = saved;
}

static const struct mp_device_ops inproc_ops = {
	.ioctl = inproc_ioctl,
	.map = inproc_map,
	.close = inproc_close,
};

/* "64M": a positive multiple of MEMPOOL_CHUNK_SIZE. */
static int parse_size(const char *text, u64 *bytes)
{
	static const char units[] = "kmgt";
	const char *unit;
	unsigned int shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*bytes = strtoull(text, &end, 10);
	if (*end) {
		unit = strchr(units, *end++ | 0x20);
		if (!unit || *end)
			return -EINVAL;
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (errno || *bytes > (UINT64_C(1) << 44) >> shift)
		return -EINVAL;
	*bytes <<= shift;
	return *bytes && !(*bytes % MEMPOOL_CHUNK_SIZE) ? 0 : -EINVAL;
}

static int inproc_init(struct inproc *in, u64 bytes)
{
	in->node = MEMPOOL_NODE_ANY;
	in->nr_chunks = bytes / MEMPOOL_CHUNK_SIZE;
	in->limit = in->nr_chunks;
	pthread_mutex_init(&in->lock, NULL);
	mp_buckets_init(&in->buckets, &in->heap, &mp_default_tiers);
	if (mp_heap_init(&in->heap, in->nr_chunks * SPACE_FACTOR))
		return -ENOMEM;
	return mp_memfd_init(&in->memory, in->nr_chunks, bytes * SPACE_FACTOR);
}

/* Opens "memfd:@size". 0 or -errno; leaves errno alone. */
int mp_inproc_open(struct mp_device *dev, const char *size)
{
	int saved = errno, ret;
	u64 bytes;

	ret = parse_size(size, &bytes);
	dev->ops = &inproc_ops;
	dev->fd = -1;
	dev->priv = ret ? NULL : calloc(1, sizeof(struct inproc));
	if (!ret && !dev->priv)
		ret = -ENOMEM;
	if (!ret) {
		ret = inproc_init(dev->priv, bytes);
		if (ret)
			inproc_close(dev);
	}
	errno = saved;
	return ret;
}
