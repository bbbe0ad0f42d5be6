/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the hostile programs share: marks, random numbers that can be had again,
 * and counts that processes report into.
 *
 * Every attack is bounded by operations, never by time: a slow machine takes
 * longer and does the same.
 */
#ifndef MP_ATTACK_H
#define MP_ATTACK_H

#include <pthread.h>
#include <stdatomic.h>

#include "mp_proc.h"

/* xorshift; a state of 0 stays 0. */
static inline __u64 mp_random(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 11;
}

/* Memory that all processes of an attack share. */
static inline void *mp_shared(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A session whose blocks are whole chunks, each the only one of its slab. */
static inline int mp_session_of_chunks(struct mp_session *s)
{
	int ret = mp_session_open(s);

	return ret ?: _test_configure_granularity(s->fd, MP_CHUNK);
}

/* Take chunks until there are no more, and fill them; how many. */
static inline int mp_take_all(struct mp_session *s, unsigned char value)
{
	long long offset;
	int n = 0;

	while ((offset = _test_alloc_one(s->fd, MP_CHUNK)) >= 0) {
		memset(s->base + offset, value, MP_CHUNK);
		n++;
	}
	return n;
}

/* Give everything back, kept memory too. 0 or -errno. */
static inline int mp_give_all(struct mp_session *s)
{
	int ret = _test_release_all(s->fd);
	long long trimmed = ret ?: _test_ioctl_trim(s->fd);

	return trimmed < 0 ? trimmed : 0;
}

#endif /* MP_ATTACK_H */
