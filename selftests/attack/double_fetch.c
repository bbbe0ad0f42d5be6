// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "A structure that another thread changes during the call is checked in one
 * state and used in another."
 *
 * A second thread flips a field between a good value and a bad one. Every call
 * does what one of the two asks for, and the books of the session agree with
 * what it said.
 */
#include "attack.h"

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
