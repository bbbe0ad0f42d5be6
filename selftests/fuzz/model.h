/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the fuzzer believes of the device: sessions, blocks, block pools.
 *
 * Everything that uapi/mempool.h promises exactly is computed here: results,
 * counts, tokens, holders, handles, names and rights. What it leaves to the
 * device (where a block lies, which idle chunk moves) is only bounded.
 */
#ifndef MP_FUZZ_MODEL_H
#define MP_FUZZ_MODEL_H

#include "mp_proc.h"

#define SESSIONS	6
#define BLOCKS		96	/* held by a session at a time */
#define HANDLES		5	/* pools a session opens at a time */
#define POOLS		12
#define POOL_BLOCKS	48
#define NAMES		4

struct m_block {
	__u64 offset, size, stride;	/* size: what the bucket rounds to */
};

struct m_session {
	struct mp_session s;
	bool open, ro, started, marked;
	uid_t uid;
	__u64 granularity;		/* 0: the default tiers */
	struct m_block block[BLOCKS];
	int nr_blocks;
	__u64 allocations, releases, bad, bytes, peak;
	__u64 tenure;			/* the highest: chunks that came to it */
	struct m_pool *handle[HANDLES];
	__u64 at[HANDLES];		/* where that pool lies */
};

struct m_pool {
	bool used, named, keep;
	char name[MEMPOOL_NAME_LEN];
	uid_t uid;
	__u32 mode, nr, threshold;
	__u64 block_size, stride;
	__u32 generation[POOL_BLOCKS];
	struct m_session *holder[POOL_BLOCKS];
	__u64 gets, returns, bad, adopts, coalesces, automatic;
};

struct model {
	struct m_session session[SESSIONS];
	struct m_pool pool[POOLS];
	const char *prefix;	/* of pools' names */
	bool alone;		/* nobody else uses the device */
	unsigned long step;
	unsigned long handed_over;	/* chunks that came to a session or a named pool */
};

/* A disagreement ends the process; the caller counts on the status. */
#define MODEL_DIFFERS	99

#define AGREE(m, cond)							\
	do {								\
		if (!(cond)) {						\
			printf("# step %lu: %s:%d: %s\n", (m)->step,	\
			       __FILE__, __LINE__, #cond);		\
			fflush(stdout);					\
			_exit(MODEL_DIFFERS);				\
		}							\
	} while (0)

#define AGREE_EQ(m, want, have)						\
	do {								\
		long long __w = (long long)(want), __h = (long long)(have); \
									\
		if (__w != __h) {					\
			printf("# step %lu: %s:%d: %s is %lld, not %lld\n", \
			       (m)->step, __FILE__, __LINE__, #have, __h, __w); \
			fflush(stdout);					\
			_exit(MODEL_DIFFERS);				\
		}							\
	} while (0)

/* ---- sizes --------------------------------------------------------------------------- */

static inline __u64 m_round(const struct m_session *s, __u64 size)
{
	__u64 g = s->granularity;

	if (!g)
		g = size < 10240 ? 1024 : size < 102400 ? 10240 : 102400;
	return (size + g - 1) / g * g;
}

static inline __u64 m_align(__u64 size, __u64 to)
{
	return (size + to - 1) / to * to;
}

/* ---- blocks -------------------------------------------------------------------------- */

/* Does [offset, offset + len) touch anything that the session holds? */
static inline bool m_overlaps(const struct m_session *s, __u64 offset, __u64 len)
{
	int i;

	for (i = 0; i < s->nr_blocks; i++)
		if (offset < s->block[i].offset + s->block[i].stride &&
		    s->block[i].offset < offset + len)
			return true;
	for (i = 0; i < HANDLES; i++)
		if (s->handle[i] && s->at[i] < offset + len &&
		    offset < s->at[i] + s->handle[i]->nr * s->handle[i]->stride)
			return true;
	return false;
}

/* The block that begins at @offset, or -1; *@inside: within one. */
static inline int m_find(const struct m_session *s, __u64 offset, bool *inside)
{
	int i;

	*inside = false;
	for (i = 0; i < s->nr_blocks; i++) {
		if (s->block[i].offset == offset)
			return i;
		if (offset > s->block[i].offset &&
		    offset < s->block[i].offset + s->block[i].stride)
			*inside = true;
	}
	return -1;
}

/* A mark that tells whose block it is and which. */
static inline __u64 m_mark(const struct m_session *s, __u64 offset)
{
	return 0x4d00000000000000 ^ s->s.info.session_id << 40 ^ offset;
}

/* First and last word: the session's own mark, of any block, or zero. */
static inline void m_check_fresh(struct model *m, struct m_session *s,
				 const struct m_block *b)
{
	const unsigned char *p = s->s.base + b->offset;
	const __u64 mine = m_mark(s, 0) >> 40;
	__u64 first = *(__u64 *)p;
	__u64 last = *(__u64 *)(p + b->stride - 8);

	AGREE(m, first == 0 || first >> 40 == mine);
	AGREE(m, last == 0 || last >> 40 == mine);
}

static inline void m_write_mark(struct m_session *s, const struct m_block *b)
{
	unsigned char *p = s->s.base + b->offset;

	*(__u64 *)p = m_mark(s, b->offset);
	*(__u64 *)(p + b->stride - 8) = m_mark(s, b->offset);
}

static inline void m_check_mark(struct model *m, struct m_session *s,
				const struct m_block *b)
{
	const unsigned char *p = s->s.base + b->offset;

	AGREE_EQ(m, m_mark(s, b->offset), *(__u64 *)p);
	AGREE_EQ(m, m_mark(s, b->offset), *(__u64 *)(p + b->stride - 8));
}

static inline void m_forget(struct m_session *s, int i)
{
	s->bytes -= s->block[i].size;
	s->block[i] = s->block[--s->nr_blocks];
}

/* ---- pools --------------------------------------------------------------------------- */

static inline __u32 m_free(const struct m_pool *p)
{
	__u32 i, n = 0;

	for (i = 0; i < p->nr; i++)
		n += !p->holder[i];
	return n;
}

/* Neighbouring free blocks that do not touch. */
static inline __u32 m_gaps(const struct m_pool *p)
{
	__u32 i, gaps = 0;
	int last = -1;

	for (i = 0; i < p->nr; i++) {
		if (p->holder[i])
			continue;
		gaps += last >= 0 && i != (__u32)last + 1;
		last = i;
	}
	return gaps;
}

static inline bool m_fragmented(const struct m_pool *p)
{
	__u32 f = m_free(p);

	return f > 1 && (__u64)m_gaps(p) * 100 > (__u64)p->threshold * (f - 1);
}

static inline int m_members(const struct model *m, const struct m_pool *p)
{
	int i, j, n = 0;

	for (i = 0; i < SESSIONS; i++)
		for (j = 0; j < HANDLES; j++)
			n += m->session[i].open && m->session[i].handle[j] == p;
	return n;
}

static inline __u32 m_held(const struct m_pool *p, const struct m_session *s)
{
	__u32 i, n = 0;

	for (i = 0; i < p->nr; i++)
		n += p->holder[i] == s;
	return n;
}

static inline struct m_pool *m_find_pool(struct model *m, const char *name)
{
	int i;

	for (i = 0; i < POOLS; i++)
		if (m->pool[i].used && m->pool[i].name[0] &&
		    !strcmp(m->pool[i].name, name))
			return &m->pool[i];
	return NULL;
}

static inline bool m_is_ours(const struct m_pool *p, uid_t uid)
{
	return uid == 0 || p->uid == uid;
}

static inline bool m_admits(const struct m_pool *p, uid_t uid)
{
	return p->mode == 0666 || m_is_ours(p, uid);
}

/* Why a token is refused, or 0. @s: must be its holder; NULL: anybody. */
static inline int m_token(const struct m_pool *p, struct mempool_token t,
			  const struct m_session *s)
{
	if (t.index >= p->nr)
		return -ERANGE;
	if (p->generation[t.index] != t.generation)
		return -ESTALE;
	if (!p->holder[t.index] || (s && p->holder[t.index] != s))
		return -ENOENT;
	return 0;
}

static inline void m_return(struct m_pool *p, __u32 i)
{
	p->holder[i] = NULL;
	p->generation[i]++;
	p->returns++;
}

/* A member leaves; the pool ends when nothing keeps it. */
static inline void m_leave(struct model *m, struct m_session *s, int handle)
{
	struct m_pool *p = s->handle[handle];
	__u32 i;

	for (i = 0; i < p->nr; i++)
		if (p->holder[i] == s)
			m_return(p, i);
	s->handle[handle] = NULL;
	if (!m_members(m, p) && !(p->named && p->keep && p->name[0]))
		p->used = false;
}

#endif /* MP_FUZZ_MODEL_H */
