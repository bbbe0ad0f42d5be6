/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Check: is what the user asks for well formed?
 *
 * Pure functions of a command's structure: 0, or the errno of the first thing
 * that is wrong, by the table in uapi/mempool.h. What depends on state (limits,
 * handles, names taken) is checked where that state is.
 */
#ifndef MP_CHECK_H
#define MP_CHECK_H

#include "bucket.h"

#define MP_MAX_BATCH	1024u		/* blocks, offsets or tokens in one command */

/* 1 to MP_MAX_BATCH. */
int mp_check_count(u32 count);

int mp_check_alloc(const struct mempool_alloc *alloc);
int mp_check_release(const struct mempool_release *release);
int mp_check_preallocate(const struct mempool_preallocate *req);
int mp_check_trim(const struct mempool_trim *trim);

/* @tiers: receives them if they are to be set. */
int mp_check_configure(const struct mempool_configure *conf, struct mp_tiers *tiers);

/* Shape of a block pool. @pages: receives what its blocks take. */
int mp_check_blocks(const struct mempool_pool_create *req, u64 *pages);

/* NUL-terminated [A-Za-z0-9_-][A-Za-z0-9._-]* */
int mp_check_name(const char *name);

/* All of CREATE: flags, shape, name and mode. */
int mp_check_create(const struct mempool_pool_create *req, u64 *pages);
int mp_check_batch(const struct mempool_pool_batch *batch);

static inline bool mp_mode_valid(u32 mode)
{
	return mode == 0600 || mode == 0660 || mode == 0666;
}

#endif /* MP_CHECK_H */
