// SPDX-License-Identifier: MIT OR GPL-2.0
// kernels: 6.12 debug
/*
 * A memory error in a chunk that is free, as a scrubber finds most of them: the
 * chunk is retired when its turn comes, and nobody is given it.
 */
#include "mp_proc.h"

#define OFFLINE	"/sys/devices/system/memory/hard_offline_page"
#define BAD	7		/* page of the chunk */

/* The physical address behind @p, for root; 0: none. */
static __u64 physical(const void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / 4096 * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	return entry >> 63 ? (entry & ((1ull << 55) - 1)) * 4096 : 0;
}

FIXTURE(free_chunk_gone_bad) {
	struct mp_session s;
};

FIXTURE_SETUP(free_chunk_gone_bad)
{
	char address[32];
	__u64 offset;
	int ret;

	/* Each test retires a chunk: a module of its own. */
	if (mp_loaded())
		ASSERT_EQ(0, mp_unload());
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	ASSERT_EQ(0, mp_session_open(&self->s));
	ASSERT_EQ(0, _test_configure_granularity(self->s.fd, MP_CHUNK));
	offset = test_alloc_one(self->s.fd, MP_CHUNK);
	self->s.base[offset + BAD * 4096] = 1;
	ret = snprintf(address, sizeof(address), "0x%llx",
		       (unsigned long long)physical(self->s.base + offset + BAD * 4096));
	ASSERT_LT(4, ret);
	test_release_one(self->s.fd, offset);
	ASSERT_LT(0, _test_ioctl_trim(self->s.fd));
	ASSERT_EQ(MP_CHUNKS, mp_sysfs_wait("chunks_free", MP_CHUNKS));

	/* EBUSY or EIO: what the kernel cannot mend itself; the page is marked. */
	ret = mp_write_file(OFFLINE, address);
	ASSERT_TRUE(!ret || ret == -EBUSY || ret == -EIO);
}

FIXTURE_TEARDOWN(free_chunk_gone_bad)
{
	mp_session_close(&self->s);
	EXPECT_TRUE(mp_settled());
	EXPECT_EQ(0, mp_unload());
}

TEST_F(free_chunk_gone_bad, nobody_is_given_it)
{
	long long offset;
	int n = 0;

	while ((offset = _test_alloc_one(self->s.fd, MP_CHUNK)) >= 0) {
		ASSERT_EQ(0, mp_poke(self->s.base + offset + BAD * 4096, 1));
		n++;
	}
	EXPECT_EQ(-ENOMEM, (int)offset);
	EXPECT_EQ(MP_CHUNKS - 1, n);
	EXPECT_EQ(1, mp_sysfs("chunks_retired"));
}

TEST_F(free_chunk_gone_bad, a_request_for_all_but_it_is_met)
{
	EXPECT_LE(0, _test_alloc_one(self->s.fd, (MP_CHUNKS - 1ull) * MP_CHUNK));
}

TEST_F(free_chunk_gone_bad, the_account_is_right_afterwards)
{
	struct mempool_session_stats st;
	struct mp_books b;

	EXPECT_EQ(-ENOMEM, (int)_test_alloc_one(self->s.fd, (__u64)MP_CHUNKS * MP_CHUNK));
	test_ioctl_stats(self->s.fd, &st);
	EXPECT_EQ(0, st.owned_bytes);
	ASSERT_TRUE(mp_books_balance(&b));
	EXPECT_EQ(1, b.retired);
}

TEST_HARNESS_MAIN
