/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef MP_PARAMS_H
#define MP_PARAMS_H

#include "bucket.h"

/**
 * struct mp_params - the module's parameters, checked
 * @reserve: bytes, a multiple of MEMPOOL_CHUNK_SIZE
 * @tiers: rounding rule of sessions that do not configure their own
 * @session_limit: bytes; 0: none
 * @user_limit: bytes; 0: none
 * @max_sessions: at least 1
 * @spare: chunks
 * @fixed: pools to make; possibly empty, checked when they are made
 */
struct mp_params {
	u64 reserve;
	struct mp_tiers tiers;
	u64 session_limit;
	u64 user_limit;
	unsigned long max_sessions;
	unsigned long spare;
	const char *fixed;
};

int mp_params_parse(struct mp_params *params);
int mp_parse_bytes(const char *text, u64 *bytes);

#endif /* MP_PARAMS_H */
