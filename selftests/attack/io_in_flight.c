// SPDX-License-Identifier: MIT OR GPL-2.0
// guest: --disk 64M
// modules: fuse
/*
 * "A transfer that was under way when its memory was given back ends in the
 * next owner's memory."
 *
 * Threads read from a disk without a cache into blocks, and write them out,
 * while others give these blocks back and another session takes the memory. A file
 * system in user space answers a read when its memory has long been given back.
 */
#include "silent.h"

#define DISK	"/dev/nvme0n1"
#define DATA	0x33		/* what is on the disk */
#define SECRET	0xa5
#define DISK_LEN	(8u << 20)

struct transfers {
	struct mp_session a, b;
	atomic_ullong offset;		/* of a's block now */
	atomic_bool stop;
	atomic_long done, refused, foreign;
	int disk;
};

FIXTURE(disk) {
	struct transfers *t;
};

FIXTURE_SETUP(disk)
{
	struct transfers *t = mp_shared(sizeof(*t));
	unsigned char *buf = aligned_alloc(4096, DISK_LEN);

	ASSERT_NE(NULL, t);
	self->t = t;
	ASSERT_EQ(0, mp_require("reserve=8M"));
	ASSERT_EQ(0, mp_session_of_chunks(&t->a));
	ASSERT_EQ(0, mp_session_of_chunks(&t->b));
	t->disk = open(DISK, O_RDWR | O_DIRECT);
	ASSERT_LE(0, t->disk);
	memset(buf, DATA, DISK_LEN);
	ASSERT_EQ((ssize_t)DISK_LEN, pwrite(t->disk, buf, DISK_LEN, 0));
	free(buf);
}

FIXTURE_TEARDOWN(disk)
{
	close(self->t->disk);
	mp_session_close(&self->t->a);
	mp_session_close(&self->t->b);
	EXPECT_TRUE(mp_settled());
}

static void count(struct transfers *t, ssize_t n)
{
	atomic_fetch_add(n > 0 ? &t->done : &t->refused, 1);
}

static void *read_in(void *arg)
{
	struct transfers *t = arg;

	while (!atomic_load(&t->stop))
		count(t, pread(t->disk, t->a.base + atomic_load(&t->offset),
			       256 << 10, 0));
	return NULL;
}

/* What is written out is of a's: its mark, the disk's data or zero. */
static void *write_out(void *arg)
{
	unsigned char *buf = aligned_alloc(4096, 4096);
	struct transfers *t = arg;
	int i;

	while (!atomic_load(&t->stop)) {
		count(t, pwrite(t->disk, t->a.base + atomic_load(&t->offset) +
				MP_CHUNK / 2, 64 << 10, DISK_LEN / 2));
		if (pread(t->disk, buf, 4096, DISK_LEN / 2) != 4096)
			continue;
		for (i = 0; i < 4096; i += 511)
			if (buf[i] == SECRET)
				atomic_fetch_add(&t->foreign, 1);
	}
	free(buf);
	return NULL;
}

/* The block goes from a to b and back: how many bytes b found changed. */
static size_t hand_over(struct transfers *t)
{
	long long had[4], offset = _test_alloc_one(t->a.fd, MP_CHUNK);
	size_t strange = 0;
	int i, n = 0;

	if (offset < 0)
		return 0;
	atomic_store(&t->offset, offset);
	mp_touch(t->a.base + offset, 0x11, NULL);
	mp_sleep_ms(2);
	mp_give_all(&t->a);
	for (i = 0; i < 4; i++) {
		had[n] = _test_alloc_one(t->b.fd, MP_CHUNK);
		if (had[n] >= 0)
			memset(t->b.base + had[n++], SECRET, MP_CHUNK);
	}
	mp_sleep_ms(1);
	for (i = 0; i < n; i++)
		strange += mp_count_not(t->b.base + had[i], SECRET, MP_CHUNK);
	mp_give_all(&t->b);
	return strange;
}

TEST_F(disk, transfers_end_where_they_began)
{
	struct transfers *t = self->t;
	int i, n = mp_rounds(120);
	pthread_t threads[3];
	size_t strange = 0;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    i ? read_in : write_out, t));
	for (i = 0; i < n; i++)
		strange += hand_over(t);
	atomic_store(&t->stop, true);
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ksft_print_msg("%ld transfers, %ld refused\n", t->done, t->refused);
	EXPECT_EQ(0, strange);
	EXPECT_EQ(0, t->foreign);
	EXPECT_LT(0, t->done);
	EXPECT_LT(0, t->refused);
}

/* Fill all that there is with the secret; how many chunks. */
static int take_and_fill(struct mp_session *s, long long *had)
{
	int n = 0;

	while (n < 4 && (had[n] = _test_alloc_one(s->fd, MP_CHUNK)) >= 0)
		memset(s->base + had[n++], SECRET, MP_CHUNK);
	return n;
}

TEST(an_answer_that_comes_late_reaches_nobody_else)
{
	aio_context_t ctx = 0;
	struct mp_session a, b;
	struct mp_silent file;
	long long had[4], offset;
	int i, n;

	ASSERT_EQ(0, mp_require("reserve=8M"));
	ASSERT_TRUE(mp_silent_start(&file));
	ASSERT_EQ(0, mp_session_of_chunks(&a));
	ASSERT_EQ(0, mp_session_of_chunks(&b));
	offset = test_alloc_one(a.fd, MP_CHUNK);
	ASSERT_EQ(0, mp_silent_begin(&ctx, IOCB_CMD_PREAD, a.base + offset, 64 << 10));
	ASSERT_TRUE(mp_silent_asked(&file, 1));
	ASSERT_EQ(0, mp_give_all(&a));
	n = take_and_fill(&b, had);
	EXPECT_EQ(3, n);

	file.shared->value = DATA;
	atomic_store(&file.shared->answer, true);
	EXPECT_EQ(64 << 10, mp_silent_end(ctx));
	for (i = 0; i < n; i++)
		EXPECT_EQ(0, mp_count_not(b.base + had[i], SECRET, MP_CHUNK));
	EXPECT_EQ(0, mp_sysfs_wait("chunks_pinned", 0));
	offset = test_alloc_one(b.fd, MP_CHUNK);
	EXPECT_EQ(0, mp_count_not(b.base + offset, 0, MP_CHUNK));
	mp_silent_stop(&file);
	mp_session_close(&a);
	mp_session_close(&b);
	EXPECT_TRUE(mp_settled());
}

TEST_HARNESS_MAIN
