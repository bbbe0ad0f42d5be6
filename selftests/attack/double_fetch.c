// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "A structure that another thread changes during the call is checked in one
 * state and used in another."
 *
 * First where the change comes for certain after the first look: a structure lies
 * across two pages, of which userfaultfd withholds the second. Once the command
 * waits there it has read what is in the first page, which is changed then; a second
 * look would find what was never checked.
 *
 * Then by chance, wherever the command may be: a second thread flips a field between
 * a good value and a bad one. Every call does what one of the two asks for, and the
 * books of the session agree with what it said.
 */
#include "withheld.h"

/* ---- changed after the first look ---------------------------------------------------- */

FIXTURE(torn) {
	struct mp_session s;
	unsigned char *page;	/* withheld; the one before is not */
	struct call c;
	int uffd;
};

FIXTURE_SETUP(torn)
{
	ASSERT_EQ(0, mp_require("reserve=16M"));
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->uffd = withhold_last(&self->page, 2);
	ASSERT_LE(0, self->uffd);
}

FIXTURE_TEARDOWN(torn)
{
	close(self->uffd);
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

/* Where something of which @head bytes are in the first page begins. */
#define TORN(head)	((void *)(self->page - (head)))

#define UNTOLD	(~0ull)

/* How many blocks were told of, from the first on; -1: others as well. */
static int told(const struct mempool_block *blocks, int nr)
{
	int i, n = 0;

	while (n < nr && blocks[n].offset != UNTOLD)
		n++;
	for (i = n; i < nr; i++)
		if (blocks[i].offset != UNTOLD)
			return -1;
	return n;
}

TEST_F(torn, alloc_does_what_it_read_first)
{
	struct mempool_alloc *arg = TORN(offsetof(struct mempool_alloc, done));
	struct mempool_block blocks[8], others[8];
	struct mempool_session_stats st;

	memset(blocks, 0xff, sizeof(blocks));
	memset(others, 0xff, sizeof(others));
	arg->size = 4000;
	arg->count = 4;
	arg->blocks = mp_ptr(blocks);
	ASSERT_EQ(0, begin_call(&self->c, self->s.fd, MEMPOOL_IOC_ALLOC, arg));
	await_fault(self->uffd);
	arg->size = 100000;
	arg->count = 8;
	arg->blocks = mp_ptr(others);
	ASSERT_EQ(0, give_page(self->uffd, self->page, "", 1));
	EXPECT_EQ(0, end_call(&self->c));
	EXPECT_EQ(4, told(blocks, 8));
	EXPECT_EQ(0, told(others, 8));
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(4, st.currently_allocated);
	EXPECT_EQ(4 * 4096, st.current_bytes);
}

TEST_F(torn, release_does_what_it_read_first)
{
	struct mempool_release *arg = TORN(offsetof(struct mempool_release, done));
	struct mempool_session_stats st;
	__u64 offsets[4];
	int i;

	for (i = 0; i < 4; i++)
		offsets[i] = test_alloc_one(self->s.fd, 4000);
	arg->offsets = mp_ptr(offsets);
	arg->count = 1;
	ASSERT_EQ(0, begin_call(&self->c, self->s.fd, MEMPOOL_IOC_RELEASE, arg));
	await_fault(self->uffd);
	arg->offsets = mp_ptr(offsets + 1);
	arg->count = 3;
	ASSERT_EQ(0, give_page(self->uffd, self->page, "", 1));
	EXPECT_EQ(0, end_call(&self->c));
	EXPECT_EQ(1, arg->done);
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(3, st.currently_allocated);
	EXPECT_EQ(-ENOENT, _test_release_one(self->s.fd, offsets[0]));
}

TEST_F(torn, release_gives_back_the_offsets_it_read_first)
{
	__u64 had[3], *offsets = TORN(sizeof(*offsets));
	struct mempool_release arg = { .offsets = mp_ptr(offsets), .count = 2 };
	int i;

	for (i = 0; i < 3; i++)
		had[i] = test_alloc_one(self->s.fd, 4000);
	offsets[0] = had[0];
	ASSERT_EQ(0, begin_call(&self->c, self->s.fd, MEMPOOL_IOC_RELEASE, &arg));
	await_fault(self->uffd);
	offsets[0] = had[2];
	ASSERT_EQ(0, give_page(self->uffd, self->page, &had[1], sizeof(had[1])));
	EXPECT_EQ(0, end_call(&self->c));
	EXPECT_EQ(2, arg.done);
	EXPECT_EQ(-ENOENT, _test_release_one(self->s.fd, had[0]));
	EXPECT_EQ(0, _test_release_one(self->s.fd, had[2]));
}

TEST_F(torn, a_pool_is_made_as_it_was_read_first)
{
	struct mempool_pool_create *arg = TORN(offsetof(struct mempool_pool_create, pool));
	struct mempool_pool_stats st;

	arg->block_size = 4096;
	arg->nr_blocks = 8;
	arg->mode = 0600;
	strcpy(arg->name, "read-first");
	ASSERT_EQ(0, begin_call(&self->c, self->s.fd, MEMPOOL_IOC_POOL_CREATE, arg));
	await_fault(self->uffd);
	arg->block_size = ~0ull;
	arg->nr_blocks = 500;
	arg->mode = 0666;
	arg->flags = MEMPOOL_POOL_KEEP;
	strcpy(arg->name, "../../x/");
	ASSERT_EQ(0, give_page(self->uffd, self->page, "", 1));
	ASSERT_EQ(0, end_call(&self->c));
	EXPECT_EQ(0, access(MP_SYSFS "/pools/read-first", F_OK));
	ASSERT_EQ(0, _test_pool_stats(self->s.fd, arg->pool, &st));
	EXPECT_EQ(8, st.nr_blocks);
	EXPECT_EQ(0, _test_pool_close(self->s.fd, arg->pool));
	/* Not kept. */
	EXPECT_NE(0, access(MP_SYSFS "/pools/read-first", F_OK));
}

TEST_F(torn, tokens_are_returned_as_they_were_read_first)
{
	struct mempool_token had[3], *tokens = TORN(sizeof(*tokens));
	struct mempool_pool_batch arg = { .tokens = mp_ptr(tokens), .count = 2 };
	struct mempool_pool_create pool;

	ASSERT_EQ(0, _test_pool_create(self->s.fd, NULL, 4096, 8, 0, 0, &pool));
	ASSERT_EQ(0, _test_pool_batch(self->s.fd, MEMPOOL_IOC_POOL_GET, pool.pool, had, 3,
				      NULL, NULL));
	arg.pool = pool.pool;
	tokens[0] = had[0];
	ASSERT_EQ(0, begin_call(&self->c, self->s.fd, MEMPOOL_IOC_POOL_RETURN, &arg));
	await_fault(self->uffd);
	tokens[0] = had[2];
	ASSERT_EQ(0, give_page(self->uffd, self->page, &had[1], sizeof(had[1])));
	EXPECT_EQ(0, end_call(&self->c));
	EXPECT_EQ(2, arg.done);
	EXPECT_NE(0, _test_pool_return(self->s.fd, pool.pool, had[0]));
	EXPECT_EQ(0, _test_pool_return(self->s.fd, pool.pool, had[2]));
}

/* ---- changed at any time ------------------------------------------------------------- */

struct flipper {
	volatile void *field;
	size_t size;		/* 4 or 8 */
	__u64 value[2];
	atomic_bool begun, stop;
	pthread_t thread;
};

static void *flip(void *arg)
{
	struct flipper *f = arg;
	int i = 0;

	while (!atomic_load(&f->stop)) {
		if (f->size == 4)
			*(volatile __u32 *)f->field = f->value[i];
		else
			*(volatile __u64 *)f->field = f->value[i];
		i = !i;
		atomic_store(&f->begun, true);
	}
	return NULL;
}

static int flip_begin(struct flipper *f, volatile void *field, size_t size,
		      __u64 a, __u64 b)
{
	f->field = field;
	f->size = size;
	f->value[0] = a;
	f->value[1] = b;
	f->begun = false;
	f->stop = false;
	if (pthread_create(&f->thread, NULL, flip, f))
		return -EAGAIN;
	while (!atomic_load(&f->begun))
		sched_yield();
	return 0;
}

static void flip_end(struct flipper *f)
{
	atomic_store(&f->stop, true);
	pthread_join(f->thread, NULL);
}

FIXTURE(session) {
	struct mp_session s;
	struct flipper f;
	int rounds;
};

FIXTURE_SETUP(session)
{
	ASSERT_EQ(0, mp_require("reserve=16M"));
	ASSERT_EQ(0, mp_session_open(&self->s));
	self->rounds = mp_rounds(6000);
}

FIXTURE_TEARDOWN(session)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
}

static __u64 held(int fd)
{
	struct mempool_session_stats st = { 0 };

	_test_ioctl_stats(fd, &st);
	return st.currently_allocated;
}

TEST_F(session, alloc_uses_the_size_it_checked)
{
	struct mempool_block blocks[4];
	struct mempool_alloc arg;
	int i, good = 0, bad = 0, ret;

	memset(&arg, 0, sizeof(arg));
	ASSERT_EQ(0, flip_begin(&self->f, &arg.size, 8, 4000, ~0ull));
	/* On, until both values were met. */
	for (i = 0; i < self->rounds || !good || !bad; i++) {
		arg.blocks = mp_ptr(blocks);
		arg.count = 4;
		ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_ALLOC, &arg);
		ASSERT_TRUE(ret == 0 || ret == -EOVERFLOW);
		ret ? bad++ : good++;
		if (!ret)
			ASSERT_EQ(0, _test_release_all(self->s.fd));
	}
	flip_end(&self->f);
	EXPECT_EQ(0, held(self->s.fd));
	ksft_print_msg("%d served, %d refused\n", good, bad);
}

/*
 * No more blocks are written than there were when the count was checked, and room
 * made for; so few that they need no allocation, and many.
 */
TEST_F(session, alloc_uses_the_count_it_checked)
{
	static struct mempool_block blocks[501];
	struct mempool_alloc arg;
	int i, j, ret;

	memset(&arg, 0, sizeof(arg));
	ASSERT_EQ(0, flip_begin(&self->f, &arg.count, 4, 4, 500));
	for (i = 0; i < self->rounds / 4; i++) {
		memset(blocks, 0xff, sizeof(blocks));
		arg.size = 4000;
		arg.blocks = mp_ptr(blocks);
		ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_ALLOC, &arg);
		ASSERT_EQ(0, ret);
		for (j = 0; blocks[j].offset != ~0ull; j++)
			;
		ASSERT_TRUE(j == 4 || j == 500);
		ASSERT_EQ(j, held(self->s.fd));
		ASSERT_EQ(0, _test_release_all(self->s.fd));
	}
	flip_end(&self->f);
}

/* Blocks whose place could not be told are nobody's. */
TEST_F(session, alloc_tells_or_takes_back)
{
	static struct mempool_block blocks[4];
	struct mempool_alloc arg;
	int i, ret, good = 0;

	memset(&arg, 0, sizeof(arg));
	ASSERT_EQ(0, flip_begin(&self->f, &arg.blocks, 8, mp_ptr(blocks),
				0xffff888000000000));
	for (i = 0; i < self->rounds || !good; i++) {
		arg.size = 4000;
		arg.count = 4;
		ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_ALLOC, &arg);
		ASSERT_TRUE(ret == 0 || ret == -EFAULT);
		good += !ret;
		ASSERT_EQ(ret ? 0 : 4, held(self->s.fd));
		ASSERT_EQ(0, _test_release_all(self->s.fd));
	}
	flip_end(&self->f);
}

TEST_F(session, release_counts_what_it_gave_back)
{
	__u64 before, offsets[2] = { 0 };
	struct mempool_release arg;
	struct mempool_block blocks[2];
	int i, ret;

	ASSERT_EQ(0, flip_begin(&self->f, &offsets[1], 8, 0, 64));
	for (i = 0; i < self->rounds; i++) {
		ASSERT_EQ(0, _test_ioctl_alloc(self->s.fd, 4000, 2, 0, blocks, NULL));
		offsets[0] = blocks[0].offset;
		self->f.value[0] = blocks[1].offset;
		self->f.value[1] = blocks[1].offset + 64;
		before = held(self->s.fd);
		arg = (struct mempool_release){
			.offsets = mp_ptr(offsets), .count = 2,
		};
		ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_RELEASE, &arg);
		ASSERT_TRUE(ret == 0 || ret == -EINVAL || ret == -ENOENT);
		ASSERT_EQ(before - arg.done, held(self->s.fd));
		ASSERT_EQ(ret == 0, arg.done == 2);
		ASSERT_EQ(0, _test_release_all(self->s.fd));
	}
	flip_end(&self->f);
}

TEST_F(session, release_uses_the_count_it_checked)
{
	static __u64 offsets[2048];
	struct mempool_release arg;
	int i, ret;

	memset(&arg, 0, sizeof(arg));
	ASSERT_EQ(0, flip_begin(&self->f, &arg.count, 4, 1, 1u << 30));
	for (i = 0; i < self->rounds; i++) {
		arg.offsets = mp_ptr(offsets);
		arg.flags = 0;
		offsets[0] = test_alloc_one(self->s.fd, 4000);
		ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_RELEASE, &arg);
		ASSERT_TRUE(ret == 0 || ret == -E2BIG);
		ASSERT_EQ(ret ? 1 : 0, held(self->s.fd));
		ASSERT_EQ(0, _test_release_all(self->s.fd));
	}
	flip_end(&self->f);
}

/* ---- block pools --------------------------------------------------------------------- */

TEST_F(session, a_pool_is_made_with_the_name_that_was_checked)
{
	static union {
		struct mempool_pool_create arg;
		__u64 word[sizeof(struct mempool_pool_create) / 8];
	} u;
	const unsigned int at = offsetof(struct mempool_pool_create, name) / 8;
	char path[128];
	__u64 good, bad;
	int i, ret, made = 0;

	memcpy(&good, "squash-1", 8);
	memcpy(&bad, "../../x/", 8);
	ASSERT_EQ(0, flip_begin(&self->f, &u.word[at], 8, good, bad));
	for (i = 0; i < self->rounds / 10 || !made; i++) {
		u.arg.block_size = 4096;
		u.arg.nr_blocks = 8;
		u.arg.mode = 0600;
		u.arg.flags = 0;
		u.arg.pool = 0;
		u.arg.threshold = 0;
		ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_POOL_CREATE, &u.arg);
		ASSERT_TRUE(ret == 0 || ret == -EINVAL);
		if (ret)
			continue;
		made++;
		snprintf(path, sizeof(path), MP_SYSFS "/pools/squash-1");
		ASSERT_EQ(0, access(path, F_OK));
		ASSERT_EQ(0, _test_pool_close(self->s.fd, u.arg.pool));
	}
	flip_end(&self->f);
}

TEST_F(session, a_pool_has_the_shape_that_was_checked)
{
	static struct mempool_pool_create arg;
	struct mempool_pool_stats st;
	int i, ret;

	ASSERT_EQ(0, flip_begin(&self->f, &arg.nr_blocks, 4, 8, ~0u));
	for (i = 0; i < self->rounds / 10; i++) {
		arg.block_size = 4096;
		ret = mp_ioctl(self->s.fd, MEMPOOL_IOC_POOL_CREATE, &arg);
		ASSERT_TRUE(ret == 0 || ret == -ENOMEM);
		if (ret)
			continue;
		ASSERT_EQ(0, _test_pool_stats(self->s.fd, arg.pool, &st));
		ASSERT_EQ(8, st.nr_blocks);
		ASSERT_EQ(0, _test_pool_close(self->s.fd, arg.pool));
	}
	flip_end(&self->f);
}

/* A token that changes while it is returned is one of the two it was. */
TEST_F(session, a_token_is_returned_as_it_was_checked)
{
	struct mempool_pool_create pool;
	struct mempool_token token[2], t;
	struct mempool_pool_stats st;
	__u64 held_before;
	int i, ret;

	ASSERT_EQ(0, _test_pool_create(self->s.fd, NULL, 4096, 8, 0, 0, &pool));
	ASSERT_EQ(0, _test_pool_get(self->s.fd, pool.pool, &token[0]));
	ASSERT_EQ(0, flip_begin(&self->f, &token[0].index, 4, 0, 0x80000007));
	for (i = 0; i < self->rounds; i++) {
		ASSERT_EQ(0, _test_pool_get(self->s.fd, pool.pool, &t));
		ASSERT_EQ(0, _test_pool_stats(self->s.fd, pool.pool, &st));
		held_before = st.held;
		token[0].generation = t.generation;
		ret = _test_pool_batch(self->s.fd, MEMPOOL_IOC_POOL_RETURN,
				       pool.pool, token, 1, NULL, NULL);
		ASSERT_TRUE(ret == 0 || ret == -ERANGE || ret == -ESTALE ||
			    ret == -ENOENT);
		ASSERT_EQ(0, _test_pool_stats(self->s.fd, pool.pool, &st));
		ASSERT_EQ(held_before - !ret, st.held);
		ASSERT_EQ(st.issued, st.held);
		ASSERT_LE(0, _test_pool_reset(self->s.fd, pool.pool, 0));
	}
	flip_end(&self->f);
}

TEST_HARNESS_MAIN
