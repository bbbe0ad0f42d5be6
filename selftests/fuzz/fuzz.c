// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Random sequences of all commands against a model of the device.
 *
 * Each step is a function of the seed and its number alone, so any subset of
 * steps can be replayed: a sequence on which device and model disagree is shrunk
 * by leaving out parts as long as they still do.
 *
 *	fuzz				the short run of the test suite
 *	fuzz --seed N --steps K		that sequence, and its shrinking
 *	fuzz --seconds S		new seeds until then
 *
 * One process alone knows what is free and can demand success; several at once
 * must put up with ENOMEM, and all else is still exact. Some steps send bytes
 * that make no sense. What a sequence leaves behind is checked at its end.
 */
#include <stdatomic.h>

#include "model.h"

#define SHORT_SEEDS	6
#define SHORT_STEPS	2500
#define CROWD		3

/* ---- random numbers: of (seed, step), then a sequence -------------------------------- */

static __u64 state;

static __u64 next(void)
{
	state += 0x9e3779b97f4a7c15;
	__u64 z = state;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static __u64 below(__u64 n)
{
	return next() % n;
}

static bool one_in(__u64 n)
{
	return below(n) == 0;
}

/* ---- sessions ------------------------------------------------------------------------ */

static struct m_session *some_session(struct model *m)
{
	struct m_session *s = &m->session[below(SESSIONS)];

	return s->open ? s : NULL;
}

static void do_open(struct model *m)
{
	static const uid_t users[] = { 0, MP_USER_A, MP_USER_B };
	struct m_session *s = &m->session[below(SESSIONS)];
	int fd;

	if (s->open)
		return;
	memset(s, 0, sizeof(*s));
	s->uid = users[below(3)];
	s->ro = one_in(12);
	fd = mp_open_as(s->uid, s->ro ? O_RDONLY : O_RDWR);
	AGREE(m, fd >= 0);
	s->s.fd = fd;
	AGREE_EQ(m, 0, mp_info(fd, &s->s.info));
	AGREE_EQ(m, 0, mp_map(&s->s, s->ro ? PROT_READ : PROT_READ | PROT_WRITE));
	s->open = true;
}

static void do_close(struct model *m, struct m_session *s)
{
	int i;

	for (i = 0; i < s->nr_blocks; i++)
		if (!s->ro)
			m_check_mark(m, s, &s->block[i]);
	for (i = 0; i < HANDLES; i++)
		if (s->handle[i])
			m_leave(m, s, i);
	m->handed_over += s->tenure;
	s->open = false;
	mp_session_close(&s->s);
}

static void do_configure(struct model *m, struct m_session *s)
{
	static const __u64 granularity[] = { 1, 64, 4096, MP_CHUNK };
	__u64 g = granularity[below(4)];
	int ret, want = s->ro ? -EBADF : s->started ? -EBUSY : 0;

	switch (below(3)) {
	case 0:
		ret = _test_configure_granularity(s->s.fd, g);
		AGREE_EQ(m, want, ret);
		if (!ret)
			s->granularity = g;
		break;
	case 1:
		ret = _test_configure(s->s.fd, MEMPOOL_CONFIGURE_MAX_CACHED, below(20));
		AGREE_EQ(m, want, ret);
		break;
	case 2:
		ret = _test_configure(s->s.fd, MEMPOOL_CONFIGURE_LIMIT_BYTES, 1);
		AGREE_EQ(m, s->ro ? -EBADF : -EINVAL, ret);
		break;
	}
}

static void do_stats(struct model *m, struct m_session *s)
{
	struct mempool_session_stats st;
	int i, pools = 0;

	AGREE_EQ(m, 0, _test_ioctl_stats(s->s.fd, &st));
	for (i = 0; i < HANDLES; i++)
		pools += !!s->handle[i];
	AGREE_EQ(m, s->allocations, st.total_allocations);
	AGREE_EQ(m, s->releases, st.releases);
	AGREE_EQ(m, s->bad, st.bad_releases);
	AGREE_EQ(m, s->nr_blocks, st.currently_allocated);
	AGREE_EQ(m, s->bytes, st.current_bytes);
	AGREE_EQ(m, s->peak, st.peak_bytes);
	AGREE_EQ(m, pools, st.nr_pools);
	AGREE_EQ(m, s->s.info.session_id, st.session_id);
	AGREE_EQ(m, st.total_allocations, st.new_allocations + st.reused_allocations);
	AGREE(m, st.footprint_bytes >= st.current_bytes);
	AGREE(m, st.owned_bytes + st.pinned_bytes <= st.limit_bytes);
	AGREE(m, st.peak_footprint_bytes >= st.footprint_bytes);
	AGREE(m, st.heap_largest_free_bytes <= st.heap_free_bytes);
}

/* ---- blocks -------------------------------------------------------------------------- */

static __u64 some_size(void)
{
	static const __u64 scale[] = { 64, 4096, 40000, 300000, 3 << 20 };

	return 1 + below(scale[below(5)]);
}

static void take_block(struct model *m, struct m_session *s,
		       const struct mempool_block *b, __u64 size, __u32 flags)
{
	__u64 align = flags & MEMPOOL_ALLOC_PAGE_ALIGNED ? 4096 : MEMPOOL_BLOCK_ALIGN;
	struct m_block *mine = &s->block[s->nr_blocks];

	if (b->tenure > s->tenure)
		s->tenure = b->tenure;
	mine->offset = b->offset;
	mine->size = m_round(s, size);
	mine->stride = m_align(mine->size, align);
	AGREE_EQ(m, 0, b->offset % align);
	AGREE_EQ(m, 0, b->slab % 4096);
	AGREE_EQ(m, 0, (b->offset - b->slab) % mine->stride);
	AGREE_EQ(m, 0, b->reserved | (b->flags & ~MEMPOOL_BLOCK_REUSED));
	AGREE(m, b->offset + mine->stride <= s->s.info.space_bytes);
	AGREE(m, !m_overlaps(s, mine->offset, mine->stride));
	m_check_fresh(m, s, mine);
	if (flags & MEMPOOL_ALLOC_ZERO) {
		AGREE_EQ(m, 0, s->s.base[mine->offset]);
		AGREE_EQ(m, 0, s->s.base[mine->offset + mine->stride - 1]);
	}
	m_write_mark(s, mine);
	s->nr_blocks++;
	s->bytes += mine->size;
}

/* What may be refused: only what there is not. */
static void check_refusal(struct model *m, struct m_session *s, int ret, __u64 bytes)
{
	struct mp_books b;

	AGREE(m, ret == -ENOMEM || ret == -EDQUOT);
	if (ret == -EDQUOT || !m->alone)
		return;
	AGREE(m, mp_books_balance(&b));
	/* Twice as much, and a chunk at each end, serves any slab. */
	AGREE(m, (__u64)(b.free + b.cleaning + b.leaving) * MP_CHUNK <
	      m_align(2 * bytes, MP_CHUNK) + 2 * MP_CHUNK);
}

static void do_alloc(struct model *m, struct m_session *s)
{
	static const __u32 flag[] = { 0, 0, MEMPOOL_ALLOC_ZERO, MEMPOOL_ALLOC_PAGE_ALIGNED };
	struct mempool_block blocks[8];
	__u32 count = 1 + below(8), flags = flag[below(4)], done = 0, i;
	__u64 size = some_size();
	int ret;

	if (s->nr_blocks + count > BLOCKS)
		return;
	memset(blocks, 0xff, sizeof(blocks));
	ret = _test_ioctl_alloc(s->s.fd, size, count, flags, blocks, &done);
	if (s->ro) {
		AGREE_EQ(m, -EBADF, ret);
		return;
	}
	if (ret) {
		check_refusal(m, s, ret, m_align(m_round(s, size), 4096));
		AGREE_EQ(m, 0, done);
		return;
	}
	AGREE(m, done >= 1 && done <= count);
	AGREE(m, done == 8 || blocks[done].offset == ~0ull);
	for (i = 0; i < done; i++)
		take_block(m, s, &blocks[i], size, flags);
	s->started = true;
	s->allocations += done;
	if (s->bytes > s->peak)
		s->peak = s->bytes;
}

/* One of the caller's, or something that is not. */
static __u64 some_offset(struct m_session *s)
{
	const struct m_block *b;

	if (!s->nr_blocks || one_in(16))
		return next() >> below(64);
	b = &s->block[below(s->nr_blocks)];
	switch (below(16)) {
	case 0:
		return b->offset + 8;
	case 1:
		return b->offset + below(b->stride / 64) * 64;
	case 2:
		return b->offset + s->s.info.space_bytes;
	default:
		return b->offset;
	}
}

/* What becomes of an offset; 0: given back. EINVAL or ENOENT may be open. */
static int expect_release(struct model *m, struct m_session *s, __u64 offset, int *or)
{
	bool inside;
	int i = m_find(s, offset, &inside);

	*or = -EINVAL;
	if (i >= 0) {
		m_check_mark(m, s, &s->block[i]);
		m_forget(s, i);
		return 0;
	}
	if (inside || offset % 64 || offset >= s->s.info.space_bytes)
		return -EINVAL;
	return -ENOENT;		/* EINVAL inside a free block of a slab */
}

static void do_release(struct model *m, struct m_session *s)
{
	__u32 count = 1 + below(8), done = 77, i, good = 0;
	int ret, or = 0, want = 0;
	__u64 offsets[8];

	if (s->ro) {
		AGREE_EQ(m, -EBADF, _test_release_one(s->s.fd, 0));
		return;
	}
	for (i = 0; i < count; i++) {
		offsets[i] = some_offset(s);
		if (want)
			continue;
		want = expect_release(m, s, offsets[i], &or);
		good += !want;
	}
	ret = _test_ioctl_release(s->s.fd, offsets, count, 0, &done);
	AGREE(m, ret == want || (want && ret == or));
	AGREE_EQ(m, good, done);
	s->releases += good;
	s->bad += !!want;
}

static void do_release_all(struct model *m, struct m_session *s)
{
	__u32 done = 0;

	if (s->ro)
		return;
	AGREE_EQ(m, 0, _test_ioctl_release(s->s.fd, NULL, 0, MEMPOOL_RELEASE_ALL, &done));
	AGREE_EQ(m, s->nr_blocks, done);
	s->releases += done;
	s->nr_blocks = 0;
	s->bytes = 0;
}

static void do_claims(struct model *m, struct m_session *s)
{
	struct mempool_release arg = { .flags = MEMPOOL_RELEASE_CLAIMS };
	__u32 n = below(5);

	if (s->ro || n > s->allocations)
		return;
	/* As many in as out, so that what is held stays what it is. */
	arg.claims.new_allocations = n;
	arg.claims.releases = n;
	AGREE_EQ(m, 0, mp_ioctl(s->s.fd, MEMPOOL_IOC_RELEASE, &arg));
	s->allocations += n;
	s->releases += n;
}

static void do_preallocate(struct model *m, struct m_session *s)
{
	__u32 count = 1 + below(8), done = 0;
	int ret = _test_ioctl_preallocate(s->s.fd, some_size(), count, &done);

	if (s->ro) {
		AGREE_EQ(m, -EBADF, ret);
		return;
	}
	AGREE(m, ret == -ENOMEM || ret == -EDQUOT || (ret == 0 && done >= count));
	s->started |= done > 0;
}

static void do_trim(struct model *m, struct m_session *s)
{
	long long ret = _test_ioctl_trim(s->s.fd);
	struct mempool_session_stats st;

	if (s->ro) {
		AGREE_EQ(m, -EBADF, ret);
		return;
	}
	AGREE(m, ret >= 0 && ret % MP_CHUNK == 0);
	AGREE_EQ(m, 0, _test_ioctl_stats(s->s.fd, &st));
	AGREE_EQ(m, 0, st.cached_bytes);
}

static void do_look(struct model *m, struct m_session *s)
{
	if (s->nr_blocks)
		m_check_mark(m, s, &s->block[below(s->nr_blocks)]);
}

/* ---- block pools --------------------------------------------------------------------- */

static void some_name(struct model *m, char *name)
{
	snprintf(name, MEMPOOL_NAME_LEN, "%s%u", m->prefix, (unsigned int)below(NAMES));
}

static int lowest_handle(const struct m_session *s)
{
	int i;

	for (i = 0; i < HANDLES && s->handle[i]; i++)
		;
	return i;
}

static struct m_pool *unused_pool(struct model *m)
{
	int i;

	for (i = 0; i < POOLS; i++)
		if (!m->pool[i].used)
			return &m->pool[i];
	return NULL;
}

static void do_create(struct model *m, struct m_session *s)
{
	static const __u64 sizes[] = { 1, 64, 1000, 4096, 100000 };
	struct m_pool *p = unused_pool(m);
	struct mempool_pool_create arg;
	bool named = one_in(2);
	int ret, at = lowest_handle(s);

	if (!p || at == HANDLES)
		return;
	*p = (struct m_pool){
		.named = named, .uid = s->uid, .mode = named ? one_in(2) ? 0600 : 0666 : 0,
		.nr = 1 + below(POOL_BLOCKS), .block_size = sizes[below(5)],
		.threshold = one_in(3) ? below(101) : 20, .keep = named && one_in(3),
	};
	p->stride = m_align(p->block_size, 64);
	memset(&arg, 0, sizeof(arg));
	arg.block_size = p->block_size;
	arg.nr_blocks = p->nr;
	arg.threshold = p->threshold;
	arg.mode = p->mode;
	arg.flags = MEMPOOL_POOL_THRESHOLD | (p->keep ? MEMPOOL_POOL_KEEP : 0);
	if (named)
		some_name(m, arg.name);
	ret = MP_AS(s->uid, mp_ioctl(s->s.fd, MEMPOOL_IOC_POOL_CREATE, &arg));
	if (s->ro) {
		AGREE_EQ(m, -EBADF, ret);
		return;
	}
	if (named && m_find_pool(m, arg.name)) {
		AGREE_EQ(m, -EEXIST, ret);
		return;
	}
	if (ret) {
		check_refusal(m, s, ret, p->nr * p->stride);
		return;
	}
	AGREE_EQ(m, at, arg.pool);
	AGREE_EQ(m, p->stride, arg.stride);
	AGREE(m, !m_overlaps(s, arg.offset, p->nr * p->stride));
	if (named)
		m->handed_over += m_align(p->nr * p->stride, MP_CHUNK) / MP_CHUNK;
	strcpy(p->name, arg.name);
	p->used = true;
	s->handle[at] = p;
	s->at[at] = arg.offset;
	s->started = true;
}

static void do_pool_open(struct model *m, struct m_session *s)
{
	int i, ret, want = 0, at = lowest_handle(s);
	struct mempool_pool_open arg;
	char name[MEMPOOL_NAME_LEN];
	struct m_pool *p;

	some_name(m, name);
	p = m_find_pool(m, name);
	if (at == HANDLES)
		return;
	if (!p)
		want = -ENOENT;
	else if (!m_admits(p, s->uid))
		want = -EACCES;
	for (i = 0; i < HANDLES && p && !want; i++)
		if (s->handle[i] == p)
			want = -EALREADY;
	ret = MP_AS(s->uid, _test_pool_open(s->s.fd, name, &arg));
	AGREE_EQ(m, want, ret);
	if (ret)
		return;
	AGREE_EQ(m, at, arg.pool);
	AGREE_EQ(m, p->nr, arg.nr_blocks);
	AGREE_EQ(m, p->block_size, arg.block_size);
	AGREE_EQ(m, p->stride, arg.stride);
	AGREE_EQ(m, p->threshold, arg.threshold);
	AGREE(m, !m_overlaps(s, arg.offset, p->nr * p->stride));
	s->handle[at] = p;
	s->at[at] = arg.offset;
	s->started = true;
}

static int some_handle(void)
{
	return below(HANDLES);
}

static void do_pool_close(struct model *m, struct m_session *s)
{
	int h = some_handle();

	AGREE_EQ(m, s->handle[h] ? 0 : -ENXIO, _test_pool_close(s->s.fd, h));
	if (s->handle[h])
		m_leave(m, s, h);
}

static void do_remove(struct model *m, struct m_session *s)
{
	char name[MEMPOOL_NAME_LEN];
	struct m_pool *p;
	int ret;

	some_name(m, name);
	p = m_find_pool(m, name);
	ret = MP_AS(s->uid, _test_pool_remove(s->s.fd, name));
	if (s->ro) {
		AGREE_EQ(m, -EBADF, ret);
		return;
	}
	AGREE_EQ(m, !p ? -ENOENT : m_is_ours(p, s->uid) ? 0 : -EPERM, ret);
	if (ret)
		return;
	p->name[0] = '\0';
	if (!m_members(m, p))
		p->used = false;
}

static void do_get(struct model *m, struct m_session *s)
{
	struct mempool_token t[8];
	__u32 count = 1 + below(8), done = 0, i, want, next_free = 0;
	int ret, h = some_handle();
	struct m_pool *p = s->handle[h];

	ret = _test_pool_batch(s->s.fd, MEMPOOL_IOC_POOL_GET, h, t, count, &done, NULL);
	if (s->ro || !p) {
		AGREE_EQ(m, s->ro ? -EBADF : -ENXIO, ret);
		return;
	}
	want = m_free(p) < count ? m_free(p) : count;
	AGREE_EQ(m, want ? 0 : -ENOSPC, ret);
	AGREE_EQ(m, want, done);
	for (i = 0; i < done; i++) {
		while (p->holder[next_free])
			next_free++;
		AGREE_EQ(m, next_free, t[i].index);
		AGREE_EQ(m, p->generation[next_free], t[i].generation);
		p->holder[next_free] = s;
	}
	p->gets += done;
}

static struct mempool_token some_token(const struct m_pool *p)
{
	struct mempool_token t = { .index = below(p->nr) };

	if (one_in(20))
		t.index = next();
	t.generation = t.index < p->nr ? p->generation[t.index] : 0;
	if (one_in(12))
		t.generation += one_in(2) ? -1 : 1;
	return t;
}

static void do_return(struct model *m, struct m_session *s, bool adopt)
{
	unsigned long cmd = adopt ? MEMPOOL_IOC_POOL_ADOPT : MEMPOOL_IOC_POOL_RETURN;
	__u32 count = 1 + below(8), done = 0, coalesced = 0, i, good = 0;
	int ret, want = 0, h = some_handle();
	struct m_pool *p = s->handle[h];
	struct mempool_token t[8] = { 0 };
	bool fragmented = false;

	for (i = 0; i < count && p; i++)
		t[i] = some_token(p);
	ret = _test_pool_batch(s->s.fd, cmd, h, t, count, &done, &coalesced);
	if (s->ro || !p) {
		AGREE_EQ(m, s->ro ? -EBADF : -ENXIO, ret);
		return;
	}
	for (i = 0; i < count && !want; i++) {
		want = m_token(p, t[i], adopt ? NULL : s);
		if (want)
			break;
		if (adopt)
			p->holder[t[i].index] = s;
		else
			m_return(p, t[i].index);
		fragmented |= !adopt && m_fragmented(p);
		good++;
	}
	AGREE_EQ(m, want, ret);
	AGREE_EQ(m, good, done);
	AGREE_EQ(m, fragmented, coalesced);
	p->adopts += adopt ? good : 0;
	p->bad += !adopt && want;
	p->coalesces += fragmented;
	p->automatic += fragmented;
}

static void do_reset(struct model *m, struct m_session *s)
{
	int h = some_handle(), want = 0;
	bool force = one_in(3);
	struct m_pool *p = s->handle[h];
	long long ret;
	__u32 i, issued = 0;

	ret = MP_AS(s->uid, _test_pool_reset(s->s.fd, h, force ? MEMPOOL_RESET_FORCE : 0));
	if (s->ro || !p) {
		AGREE_EQ(m, s->ro ? -EBADF : -ENXIO, ret);
		return;
	}
	issued = p->nr - m_free(p);
	if (force && !m_is_ours(p, s->uid))
		want = -EPERM;
	else if (!force && m_held(p, s) != issued)
		want = -EBUSY;
	AGREE_EQ(m, want ? want : (int)issued, ret);
	for (i = 0; i < p->nr && !want; i++)
		if (p->holder[i])
			m_return(p, i);
}

static void do_coalesce(struct model *m, struct m_session *s)
{
	int h = some_handle();
	int ret = _test_pool_coalesce(s->s.fd, h, NULL);

	AGREE_EQ(m, s->ro ? -EBADF : s->handle[h] ? 0 : -ENXIO, ret);
	if (!ret)
		s->handle[h]->coalesces++;
}

static void do_pool_stats(struct model *m, struct m_session *s)
{
	int h = some_handle();
	struct m_pool *p = s->handle[h];
	struct mempool_pool_stats st;

	AGREE_EQ(m, p ? 0 : -ENXIO, _test_pool_stats(s->s.fd, h, &st));
	if (!p)
		return;
	AGREE_EQ(m, p->block_size, st.block_size);
	AGREE_EQ(m, p->nr, st.nr_blocks);
	AGREE_EQ(m, p->nr - m_free(p), st.issued);
	AGREE_EQ(m, m_free(p), st.free);
	AGREE_EQ(m, m_gaps(p), st.gaps);
	AGREE_EQ(m, p->gets, st.gets);
	AGREE_EQ(m, p->returns, st.returns);
	AGREE_EQ(m, p->bad, st.bad_returns);
	AGREE_EQ(m, p->adopts, st.adopts);
	AGREE_EQ(m, p->coalesces, st.coalesces);
	AGREE_EQ(m, p->automatic, st.auto_coalesces);
	AGREE_EQ(m, m_held(p, s), st.held);
	AGREE_EQ(m, m_members(m, p), st.members);
	AGREE_EQ(m, p->mode, st.mode);
	AGREE_EQ(m, 0, st.disorder);
}

/* Bytes at random, made wrong for certain: nothing may come of it. */
static void do_nonsense(struct model *m, struct m_session *s)
{
	unsigned char buf[512];
	unsigned int i, nr = below(0x20), size = below(400);
	int ret;

	for (i = 0; i < sizeof(buf); i++)
		buf[i] = one_in(3) ? next() : 0;
	/* Longer than any structure, and not zero there. */
	if (one_in(2)) {
		size = 448;
		memset(buf + 440, 0xff, 8);
		ret = mp_ioctl(s->s.fd, _IOC(_IOC_READ | _IOC_WRITE, MEMPOOL_IOC_TYPE,
					     nr, size), buf);
		AGREE(m, ret == -E2BIG || ret == -ENOTTY || ret == -EBADF);
	} else {
		ret = mp_ioctl(s->s.fd, _IOC(below(4), below(2) ? 0xbd : 0xbf, nr, size),
			       buf);
		AGREE_EQ(m, -ENOTTY, ret);
	}
}

/* ---- sequences ----------------------------------------------------------------------- */

static void do_step(struct model *m)
{
	struct m_session *s = some_session(m);
	unsigned int op = below(100);

	if (op < 12 || !s)
		do_open(m);
	else if (op < 14)
		do_close(m, s);
	else if (op < 18)
		do_configure(m, s);
	else if (op < 34)
		do_alloc(m, s);
	else if (op < 50)
		do_release(m, s);
	else if (op < 51)
		do_release_all(m, s);
	else if (op < 53)
		do_claims(m, s);
	else if (op < 55)
		do_preallocate(m, s);
	else if (op < 57)
		do_trim(m, s);
	else if (op < 60)
		do_look(m, s);
	else if (op < 64)
		do_create(m, s);
	else if (op < 68)
		do_pool_open(m, s);
	else if (op < 70)
		do_pool_close(m, s);
	else if (op < 71)
		do_remove(m, s);
	else if (op < 77)
		do_get(m, s);
	else if (op < 83)
		do_return(m, s, false);
	else if (op < 86)
		do_return(m, s, true);
	else if (op < 87)
		do_reset(m, s);
	else if (op < 88)
		do_coalesce(m, s);
	else if (op < 92)
		do_pool_stats(m, s);
	else if (op < 97)
		do_stats(m, s);
	else
		do_nonsense(m, s);
}

struct sequence {
	__u64 seed;
	unsigned int steps;
	bool *left_out;		/* or NULL */
	const char *prefix;
	bool alone;
};

static void end_sequence(struct model *m)
{
	char name[MEMPOOL_NAME_LEN];
	int i;

	for (i = 0; i < SESSIONS; i++)
		if (m->session[i].open) {
			do_stats(m, &m->session[i]);
			do_close(m, &m->session[i]);
		}
	i = open(MP_DEV, O_RDWR);
	for (m->step = 0; m->step < NAMES; m->step++) {
		snprintf(name, sizeof(name), "%s%lu", m->prefix, m->step);
		AGREE_EQ(m, m_find_pool(m, name) ? 0 : -ENOENT, _test_pool_remove(i, name));
	}
	close(i);
}

/* Of all sequences that came to their end. */
static struct totals {
	atomic_ulong commands, handed_over;
} *totals;

static void tell_totals(__u64 since_ms)
{
	ksft_print_msg("%lu commands, %lu chunks came to an owner, %llu ms\n",
		       totals->commands, totals->handed_over,
		       (unsigned long long)(mp_now_ms() - since_ms));
}

static int play(void *arg)
{
	static struct model m;
	struct sequence *q = arg;
	unsigned int i;

	m.prefix = q->prefix;
	m.alone = q->alone;
	for (i = 0; i < q->steps; i++) {
		if (q->left_out && q->left_out[i])
			continue;
		state = q->seed * 0xd1342543de82ef95 + i * 0x2545f4914f6cdd1dull;
		m.step = i;
		do_step(&m);
	}
	m.step = q->steps;
	end_sequence(&m);
	atomic_fetch_add(&totals->commands, mp_commands);
	atomic_fetch_add(&totals->handed_over, m.handed_over);
	return 0;
}

/* Names that a sequence which did not end has left. */
static void clean_up(const char *prefix)
{
	int i, fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	char name[MEMPOOL_NAME_LEN];

	for (i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "%s%d", prefix, i);
		_test_pool_remove(fd, name);
	}
	close(fd);
}

static int run_alone(struct sequence *q)
{
	int ret;

	q->prefix = "fuzz";
	q->alone = true;
	ret = mp_run(0, play, q);
	clean_up(q->prefix);
	return mp_settled() ? ret : MODEL_DIFFERS;
}

/* Leaves out ever smaller parts as long as it still fails. Returns what is left. */
static unsigned int shrink(struct sequence *q)
{
	unsigned int part, from, i, left = q->steps;
	bool *had = malloc(q->steps);

	q->left_out = calloc(q->steps, 1);
	for (part = q->steps / 2; part; part /= 2)
		for (from = 0; from < q->steps; from += part) {
			memcpy(had, q->left_out, q->steps);
			for (i = from; i < from + part && i < q->steps; i++)
				q->left_out[i] = true;
			if (!memcmp(had, q->left_out, q->steps))
				continue;
			if (run_alone(q) == 0)
				memcpy(q->left_out, had, q->steps);
		}
	for (i = 0; i < q->steps; i++)
		left -= q->left_out[i];
	free(had);
	return left;
}

static void tell_shrunk(struct sequence *q)
{
	unsigned int i;

	printf("# shrunk to %u steps:", shrink(q));
	for (i = 0; i < q->steps; i++)
		if (!q->left_out[i])
			printf(" %u", i);
	printf("\n# the last of them differs as follows\n");
	run_alone(q);
}

static int test_alone(__u64 seed, unsigned int steps)
{
	struct sequence q = { .seed = seed, .steps = steps };
	int ret = run_alone(&q);

	if (ret) {
		printf("# seed %llu, %u steps: status %d\n",
		       (unsigned long long)seed, steps, ret);
		tell_shrunk(&q);
	}
	return ret;
}

/* Several at once, each with a model and names of its own. */
static int test_crowd(__u64 seed, unsigned int steps)
{
	static const char * const prefix[CROWD] = { "x", "y", "z" };
	struct sequence q[CROWD];
	pid_t pid[CROWD];
	int i, ret, bad = 0;

	for (i = 0; i < CROWD; i++) {
		q[i] = (struct sequence){
			.seed = seed + i, .steps = steps, .prefix = prefix[i],
		};
		pid[i] = mp_spawn(0, play, &q[i]);
	}
	for (i = 0; i < CROWD; i++) {
		ret = mp_reap(pid[i]);
		if (ret)
			printf("# one of %d, seed %llu, %u steps: status %d\n", CROWD,
			       (unsigned long long)q[i].seed, steps, ret);
		bad |= ret;
		clean_up(prefix[i]);
	}
	return mp_settled() ? bad : MODEL_DIFFERS;
}

/* ---- the run ------------------------------------------------------------------------- */

#define PARAMS	"reserve=32M user_limit=24M"

static int short_run(void)
{
	__u64 begin = mp_now_ms();
	unsigned int i;

	ksft_print_header();
	ksft_set_plan(SHORT_SEEDS + 2);
	for (i = 1; i <= SHORT_SEEDS; i++)
		ksft_test_result(!mp_require(PARAMS) && !test_alone(i, mp_rounds(SHORT_STEPS)),
				 "alone, seed %u\n", i);
	for (i = 100; i < 102; i++)
		ksft_test_result(!mp_require(PARAMS) && !test_crowd(i, mp_rounds(SHORT_STEPS)),
				 "three at once, seeds from %u\n", i);
	tell_totals(begin);
	ksft_finished();
}

static int soak(unsigned int seconds)
{
	__u64 begin = mp_now_ms(), end = begin + seconds * 1000ull;
	__u64 seed = time(NULL), steps = 0;
	int bad = 0;

	ksft_print_header();
	ksft_set_plan(1);
	printf("# seeds from %llu\n", (unsigned long long)seed);
	while (!bad && mp_now_ms() < end) {
		bad = mp_require(PARAMS) || test_alone(seed++, SHORT_STEPS) ||
		      test_crowd(seed, SHORT_STEPS);
		seed += CROWD;
		steps += (1 + CROWD) * SHORT_STEPS;
	}
	printf("# %llu steps\n", (unsigned long long)steps);
	tell_totals(begin);
	ksft_test_result(!bad, "soak of %u s\n", seconds);
	ksft_finished();
}

static int replay(__u64 seed, unsigned int steps)
{
	ksft_print_header();
	ksft_set_plan(1);
	ksft_test_result(!mp_require(PARAMS) && !test_alone(seed, steps),
			 "seed %llu, %u steps\n", (unsigned long long)seed, steps);
	ksft_finished();
}

int main(int argc, char **argv)
{
	unsigned int steps = SHORT_STEPS, seconds = 0;
	__u64 seed = 0;
	int i;

	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--steps"))
			steps = strtoul(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--seconds"))
			seconds = strtoul(argv[i + 1], NULL, 0);
		else
			break;
	}
	if (i < argc) {
		fprintf(stderr, "usage: fuzz [--seed N --steps K | --seconds S]\n");
		return KSFT_FAIL;
	}
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		return KSFT_FAIL;
	if (seconds)
		return soak(seconds);
	return seed ? replay(seed, steps) : short_run();
}
