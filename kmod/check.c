// SPDX-License-Identifier: MIT OR GPL-2.0
/* Check: is what the user asks for well formed? See check.h. */

#include "check.h"

int mp_check_count(u32 count)
{
	if (!count)
		return -EINVAL;
	return count > MP_MAX_BATCH ? -E2BIG : 0;
}

int mp_check_alloc(const struct mempool_alloc *alloc)
{
	const u32 known = MEMPOOL_ALLOC_ZERO | MEMPOOL_ALLOC_PAGE_ALIGNED | MEMPOOL_ALLOC_CACHED;
	u64 bytes;

	if ((alloc->flags & ~known) || alloc->deadline || alloc->reserved || !alloc->size)
		return -EINVAL;
	if (check_mul_overflow(alloc->size, (u64)alloc->count, &bytes))
		return -EOVERFLOW;
	return mp_check_count(alloc->count);
}

static bool mp_claims_clear(const struct mempool_claims *claims)
{
	return !(claims->new_allocations | claims->reused_allocations | claims->releases |
		 claims->bad_releases | claims->peak_bytes);
}

int mp_check_release(const struct mempool_release *release)
{
	const u32 known = MEMPOOL_RELEASE_CACHED | MEMPOOL_RELEASE_CLAIMS | MEMPOOL_RELEASE_ALL;

	if ((release->flags & ~known) || release->reserved || release->claims.reserved)
		return -EINVAL;
	if (!(release->flags & MEMPOOL_RELEASE_CLAIMS) && !mp_claims_clear(&release->claims))
		return -EINVAL;
	if (release->flags & MEMPOOL_RELEASE_ALL)
		return release->count || (release->flags & MEMPOOL_RELEASE_CACHED) ? -EINVAL : 0;
	if (!release->count)
		return release->flags & MEMPOOL_RELEASE_CLAIMS ? 0 : -EINVAL;
	return mp_check_count(release->count);
}

int mp_check_preallocate(const struct mempool_preallocate *req)
{
	u64 bytes;

	if ((req->flags & ~MEMPOOL_ALLOC_PAGE_ALIGNED) || req->reserved || !req->size ||
	    !req->count)
		return -EINVAL;
	/* No array comes with it: the count may be any. */
	return check_mul_overflow(req->size, (u64)req->count, &bytes) ? -EOVERFLOW : 0;
}

int mp_check_trim(const struct mempool_trim *trim)
{
	return trim->flags || trim->reserved ? -EINVAL : 0;
}

/* A field is set by its flag, or zero. */
static bool mp_conf_clear(const struct mempool_configure *conf, u32 flag, u64 value)
{
	return (conf->flags & flag) || !value;
}

static int mp_check_conf_tiers(const struct mempool_configure *conf, struct mp_tiers *tiers)
{
	if (conf->nr_tiers > MEMPOOL_MAX_TIERS)
		return -EINVAL;
	*tiers = (struct mp_tiers){ .nr = conf->nr_tiers };
	memcpy(tiers->tier, conf->tiers, conf->nr_tiers * sizeof(conf->tiers[0]));
	if (conf->nr_tiers < MEMPOOL_MAX_TIERS &&
	    memchr_inv(&conf->tiers[conf->nr_tiers], 0,
		       (MEMPOOL_MAX_TIERS - conf->nr_tiers) * sizeof(conf->tiers[0])))
		return -EINVAL;
	if (!(conf->flags & MEMPOOL_CONFIGURE_TIERS))
		return conf->nr_tiers ? -EINVAL : 0;
	return mp_tiers_check(tiers);
}

int mp_check_configure(const struct mempool_configure *conf, struct mp_tiers *tiers)
{
	const u32 known = MEMPOOL_CONFIGURE_TIERS | MEMPOOL_CONFIGURE_MAX_CACHED |
			  MEMPOOL_CONFIGURE_MAX_CACHED_BYTES | MEMPOOL_CONFIGURE_MIN_BYTES |
			  MEMPOOL_CONFIGURE_LIMIT_BYTES | MEMPOOL_CONFIGURE_NODE;

	if (!conf->flags || (conf->flags & ~known))
		return -EINVAL;
	if (!mp_conf_clear(conf, MEMPOOL_CONFIGURE_MAX_CACHED, conf->max_cached) ||
	    !mp_conf_clear(conf, MEMPOOL_CONFIGURE_MAX_CACHED_BYTES, conf->max_cached_bytes) ||
	    !mp_conf_clear(conf, MEMPOOL_CONFIGURE_MIN_BYTES, conf->min_bytes) ||
	    !mp_conf_clear(conf, MEMPOOL_CONFIGURE_LIMIT_BYTES, conf->limit_bytes) ||
	    !mp_conf_clear(conf, MEMPOOL_CONFIGURE_NODE, conf->node))
		return -EINVAL;
	return mp_check_conf_tiers(conf, tiers);
}

int mp_check_blocks(const struct mempool_pool_create *req, u64 *pages)
{
	u64 bytes;

	if (!req->block_size || !req->nr_blocks)
		return -EINVAL;
	if (req->flags & MEMPOOL_POOL_THRESHOLD ? req->threshold > 100 : req->threshold)
		return -EINVAL;
	if (req->block_size > U64_MAX - MEMPOOL_BLOCK_ALIGN ||
	    check_mul_overflow(ALIGN(req->block_size, (u64)MEMPOOL_BLOCK_ALIGN),
			       (u64)req->nr_blocks, &bytes) ||
	    bytes > U64_MAX - MEMPOOL_CHUNK_SIZE)
		return -EOVERFLOW;
	*pages = (bytes + MP_PAGE_SIZE - 1) >> MP_PAGE_SHIFT;
	return 0;
}

static bool mp_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

int mp_check_name(const char *name)
{
	const char *c;

	if (strnlen(name, MEMPOOL_NAME_LEN) == MEMPOOL_NAME_LEN)
		return -ENAMETOOLONG;
	if (!name[0] || name[0] == '.')
		return -EINVAL;
	for (c = name; *c; c++)
		if (!mp_name_char(*c))
			return -EINVAL;
	return 0;
}

int mp_check_create(const struct mempool_pool_create *req, u64 *pages)
{
	int err;

	if (req->reserved || (req->flags & ~(MEMPOOL_POOL_KEEP | MEMPOOL_POOL_THRESHOLD)))
		return -EINVAL;
	err = mp_check_blocks(req, pages);
	if (err)
		return err;
	if (!req->name[0])
		return memchr_inv(req->name, 0, sizeof(req->name)) || req->mode ||
		       (req->flags & MEMPOOL_POOL_KEEP) ? -EINVAL : 0;
	err = mp_check_name(req->name);
	if (err)
		return err;
	return mp_mode_valid(req->mode) ? 0 : -EINVAL;
}

int mp_check_batch(const struct mempool_pool_batch *batch)
{
	if (batch->flags || batch->reserved || batch->deadline)
		return -EINVAL;
	return mp_check_count(batch->count);
}
