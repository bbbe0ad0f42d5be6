// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The library against a device that can be told what to answer: windows, what a
 * real device answers once in a lifetime or never, and errors half way.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "fake_device.h"

#define CHUNKS		64
#define OPEN_FLAGS(f)	(&(struct mempool_options) { .size = sizeof(struct mempool_options), \
			   .max_cached = -1, .max_cached_bytes = -1, .node = -1, .flags = (f) })

static int open_fake(struct mempool **pool, struct fake *fake, unsigned int flags)
{
	struct mp_device dev = fake_device(fake);

	return mp_open_on(pool, &dev, OPEN_FLAGS(flags));
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/*
 * Faults that writing to each page of @len bytes takes. AddressSanitizer's own
 * memory would be faulted in too.
 */
static __attribute__((no_sanitize("address"))) long touch_all(void *ptr, size_t len)
{
	volatile char *byte = ptr;
	long before = faults();
	size_t i;

	for (i = 0; i < len; i += 4096)
		byte[i] = 1;
	return faults() - before;
}

/* Run @fn in a child: its result, or -1 if it died. */
static int in_child(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(fn(arg));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

FIXTURE(pool) {
	struct fake *fake;
	struct mempool *pool;
};

FIXTURE_SETUP(pool)
{
	self->fake = calloc(1, sizeof(*self->fake));
	fake_init(self->fake, CHUNKS * MP_CHUNK);
	ASSERT_EQ(0, open_fake(&self->pool, self->fake, 0));
}

FIXTURE_TEARDOWN(pool)
{
	mempool_close(self->pool);
	EXPECT_TRUE(self->fake->closed);
	free(self->fake);
}

FIXTURE(windows) {
	struct fake *fake;
	struct mempool *pool;
};

FIXTURE_SETUP(windows)
{
	self->fake = calloc(1, sizeof(*self->fake));
	fake_init(self->fake, CHUNKS * MP_CHUNK);
	ASSERT_EQ(0, open_fake(&self->pool, self->fake, MP_OPEN_WINDOWS));
	ASSERT_EQ(NULL, self->pool->space.whole);
}

FIXTURE_TEARDOWN(windows)
{
	mempool_close(self->pool);
	free(self->fake);
}

/* ---- opening ----------------------------------------------------------------- */

static int open_with_info(void (*change)(struct mempool_info *info))
{
	struct fake *fake = calloc(1, sizeof(*fake));
	struct mempool *pool = NULL;
	int ret;

	fake_init(fake, CHUNKS * MP_CHUNK);
	change(&fake->info);
	ret = open_fake(&pool, fake, 0);
	if (ret && !fake->closed)
		ret = 1;
	free(fake);
	return ret;
}

static void no_tiers(struct mempool_info *info)
{
	info->nr_tiers = 0;
}

static void many_tiers(struct mempool_info *info)
{
	info->nr_tiers = MEMPOOL_MAX_TIERS + 1;
}

static void no_granularity(struct mempool_info *info)
{
	info->tiers[1].granularity = 0;
}

static void no_space(struct mempool_info *info)
{
	info->space_bytes = 0;
}

static void odd_space(struct mempool_info *info)
{
	info->space_bytes++;
}

static void other_chunks(struct mempool_info *info)
{
	info->chunk_size = 1 << 20;
}

static void no_batch(struct mempool_info *info)
{
	info->max_batch = 0;
}

static void odd_page(struct mempool_info *info)
{
	info->page_size = 5000;
}

TEST(open_refuses_a_device_without_tiers)
{
	EXPECT_EQ(-EBADE, open_with_info(no_tiers));
}

TEST(open_refuses_too_many_tiers)
{
	EXPECT_EQ(-EBADE, open_with_info(many_tiers));
}

TEST(open_refuses_a_tier_without_granularity)
{
	EXPECT_EQ(-EBADE, open_with_info(no_granularity));
}

TEST(open_refuses_an_empty_space)
{
	EXPECT_EQ(-EBADE, open_with_info(no_space));
}

TEST(open_refuses_half_chunks)
{
	EXPECT_EQ(-EBADE, open_with_info(odd_space));
}

TEST(open_refuses_other_chunks)
{
	EXPECT_EQ(-EBADE, open_with_info(other_chunks));
}

TEST(open_refuses_a_device_without_batches)
{
	EXPECT_EQ(-EBADE, open_with_info(no_batch));
}

TEST(open_refuses_an_odd_page_size)
{
	EXPECT_EQ(-EBADE, open_with_info(odd_page));
}

TEST(open_passes_the_errors_of_configure_on)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mp_device dev;
	struct mempool *pool;

	fake_init(fake, MP_CHUNK);
	fake->fail[MEMPOOL_NR_CONFIGURE] = EDQUOT;
	opts.min_bytes = 1;
	dev = fake_device(fake);
	EXPECT_EQ(-EDQUOT, mp_open_on(&pool, &dev, &opts));
	EXPECT_TRUE(fake->closed);
}

TEST(open_sends_only_the_options_that_differ)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mp_device dev;
	struct mempool *pool;

	fake_init(fake, MP_CHUNK);
	opts.max_cached = 0;
	opts.node = 0;
	dev = fake_device(fake);
	ASSERT_EQ(0, mp_open_on(&pool, &dev, &opts));
	EXPECT_EQ(MEMPOOL_CONFIGURE_MAX_CACHED | MEMPOOL_CONFIGURE_NODE, fake->conf.flags);
	mempool_close(pool);
}

TEST_F(pool, default_options_send_no_configure)
{
	EXPECT_EQ(0, self->fake->calls[MEMPOOL_NR_CONFIGURE]);
}

TEST_F(pool, the_mapping_begins_at_a_multiple_of_a_chunk)
{
	EXPECT_EQ(0, (uintptr_t)self->pool->space.whole->addr % MP_CHUNK);
}

/* ---- batches and errors half way --------------------------------------------- */

TEST_F(pool, a_bulk_larger_than_a_batch_is_had_whole)
{
	void *ptrs[200];
	unsigned int i;

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 1000, ptrs, 200));
	for (i = 0; i < 200; i++)
		EXPECT_EQ(1024, mempool_usable_size(self->pool, ptrs[i]));
	EXPECT_EQ(200, self->fake->live);
}

TEST_F(pool, a_bulk_that_cannot_be_had_whole_gives_all_back)
{
	void *ptrs[200];

	self->fake->max_live = 150;
	EXPECT_EQ(-ENOMEM, mempool_alloc_bulk(self->pool, 1000, ptrs, 200));
	EXPECT_EQ(0, self->fake->live);
}

TEST_F(pool, release_bulk_goes_on_after_a_bad_pointer)
{
	void *ptrs[100], *bad;

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 1000, ptrs, 100));
	bad = ptrs[30];
	ASSERT_EQ(0, mempool_release(self->pool, bad));
	EXPECT_EQ(-ENOENT, mempool_release_bulk(self->pool, ptrs, 100));
	EXPECT_EQ(0, self->fake->live);
}

TEST_F(pool, release_bulk_returns_the_first_of_two_errors)
{
	void *ptrs[5];

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 1000, ptrs, 5));
	ptrs[1] = (char *)ptrs[1] + 1;
	ASSERT_EQ(0, mempool_release(self->pool, ptrs[3]));
	EXPECT_EQ(-EINVAL, mempool_release_bulk(self->pool, ptrs, 5));
	EXPECT_EQ(1, self->fake->live);
}

TEST_F(pool, a_refused_block_is_still_out)
{
	void *ptr = mempool_alloc(self->pool, 1000);

	self->fake->fail[MEMPOOL_NR_RELEASE] = EBADF;
	EXPECT_EQ(-EBADF, mempool_release(self->pool, ptr));
	EXPECT_EQ(1024, mempool_usable_size(self->pool, ptr));
}

TEST_F(pool, a_released_block_has_no_usable_size)
{
	void *ptr = mempool_alloc(self->pool, 1000);

	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr));
}

TEST_F(pool, a_pointer_from_elsewhere_is_sent_to_be_counted)
{
	int local;

	EXPECT_NE(0, mempool_release(self->pool, &local));
	EXPECT_EQ(1, self->fake->bad_releases);
}

TEST_F(pool, a_reply_of_no_blocks_is_an_error)
{
	self->fake->done = 0;
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 1));
	EXPECT_EQ(EBADE, errno);
}

TEST_F(pool, a_reply_of_too_many_blocks_is_an_error)
{
	self->fake->done = 2;
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 1));
	EXPECT_EQ(EBADE, errno);
}

TEST_F(pool, a_block_where_none_can_be_is_given_back)
{
	self->fake->skew = 64;
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 1));
	EXPECT_EQ(EBADE, errno);
	EXPECT_EQ(0, self->fake->live);
}

TEST_F(pool, a_block_outside_the_space_is_given_back)
{
	self->fake->skew = CHUNKS * MP_CHUNK - 512;
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 1));
	EXPECT_EQ(EBADE, errno);
	EXPECT_EQ(0, self->fake->live);
}

TEST_F(pool, clear_releases_exactly_what_is_out)
{
	void *ptrs[300];
	unsigned int i;

	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 9000, ptrs, 300));
	for (i = 0; i < 300; i += 2)
		ASSERT_EQ(0, mempool_release(self->pool, ptrs[i]));
	EXPECT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(0, self->fake->live);
	EXPECT_EQ(0, self->fake->bad_releases);
}

TEST_F(pool, clear_releases_the_very_last_block)
{
	self->fake->next = CHUNKS * MP_CHUNK - 4096;
	ASSERT_NE(NULL, mempool_alloc(self->pool, 4096));
	EXPECT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(0, self->fake->live);
	self->fake->next = CHUNKS * MP_CHUNK - 1024;
	ASSERT_NE(NULL, mempool_alloc(self->pool, 1024));
	EXPECT_EQ(0, mempool_clear(self->pool));
	EXPECT_EQ(0, self->fake->live);
}

TEST_F(pool, functions_that_return_int_leave_errno_alone)
{
	errno = 77;
	EXPECT_NE(0, mempool_release(self->pool, &errno));
	EXPECT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(77, errno);
}

TEST_F(pool, preallocate_asks_the_device)
{
	EXPECT_EQ(0, mempool_preallocate(self->pool, 1000, 10));
	EXPECT_EQ(1, self->fake->calls[MEMPOOL_NR_PREALLOCATE]);
}

/* ---- buckets ----------------------------------------------------------------- */

TEST(more_buckets_than_ids_keep_their_sizes)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	struct mempool *pool;
	void *ptrs[600];
	unsigned int i;

	fake_init(fake, CHUNKS * MP_CHUNK);
	fake->info.nr_tiers = 1;
	fake->info.tiers[0] = (struct mempool_tier) { MEMPOOL_TIER_END, 1 };
	ASSERT_EQ(0, open_fake(&pool, fake, 0));
	for (i = 0; i < 600; i++) {
		ptrs[i] = mempool_alloc(pool, 1 + 3 * i);
		ASSERT_NE(NULL, ptrs[i]);
	}
	for (i = 0; i < 600; i++)
		EXPECT_EQ(1 + 3 * i, mempool_usable_size(pool, ptrs[i]));
	for (i = 0; i < 600; i++)
		EXPECT_EQ(0, mempool_release(pool, ptrs[i]));
	EXPECT_EQ(0, mempool_usable_size(pool, ptrs[599]));
	mempool_close(pool);
}

TEST_F(pool, rounding_is_that_of_the_tiers)
{
	EXPECT_EQ(9216, mempool_round_to_bucket(self->pool, 8500));
	EXPECT_EQ(92160, mempool_round_to_bucket(self->pool, 85000));
	EXPECT_EQ(1126400, mempool_round_to_bucket(self->pool, 1048576));
}

TEST_F(pool, rounding_sums_to_the_known_figure)
{
	unsigned long long sum = 0;
	unsigned int n;

	for (n = 0; n <= 400000; n++)
		sum += mempool_round_to_bucket(self->pool, n);
	EXPECT_EQ(96159662080ull, sum);
}

TEST_F(pool, rounding_beyond_the_largest_number_is_0)
{
	EXPECT_EQ(0, mempool_round_to_bucket(self->pool, SIZE_MAX));
}

/* ---- population -------------------------------------------------------------- */

TEST_F(pool, the_first_touch_takes_no_fault)
{
	EXPECT_EQ(0, touch_all(mempool_alloc(self->pool, 1 << 20), 1 << 20));
}

TEST_F(pool, the_first_touch_takes_no_fault_on_an_old_kernel)
{
	self->pool->space.populate = -1;
	EXPECT_EQ(0, touch_all(mempool_alloc(self->pool, 1 << 20), 1 << 20));
}

TEST_F(pool, a_newer_tenure_populates_again)
{
	char *ptr = mempool_alloc(self->pool, 4096);

	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	ASSERT_EQ(0, madvise(ptr, 4096, MADV_DONTNEED));
	self->fake->tenure++;
	ASSERT_EQ(ptr, mempool_alloc(self->pool, 4096));
	EXPECT_EQ(0, touch_all(ptr, 4096));
}

TEST_F(pool, the_same_tenure_is_not_populated_again)
{
	char *ptr = mempool_alloc(self->pool, 4096);

	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	ASSERT_EQ(0, madvise(ptr, 4096, MADV_DONTNEED));
	ASSERT_EQ(ptr, mempool_alloc(self->pool, 4096));
	EXPECT_EQ(1, touch_all(ptr, 4096));
}

TEST_F(pool, memory_that_has_gone_is_asked_for_again)
{
	void *ptr;

	/* The first block lies beyond the end of the memory, the second does not. */
	ASSERT_EQ(0, ftruncate(self->fake->fd, MP_CHUNK));
	self->fake->next = MP_CHUNK;
	self->fake->blocks[0] = (struct fake_block) { .offset = MP_CHUNK, .size = 1024 };
	self->fake->blocks[1] = (struct fake_block) { .offset = 0, .size = 1024 };
	self->fake->nr = 2;
	self->fake->max_live = 2;
	self->fake->info.max_batch = 2;
	self->pool->info.max_batch = 2;
	ptr = NULL;
	EXPECT_EQ(-ENOMEM, mempool_alloc_bulk(self->pool, 1024, &ptr, 1));
	EXPECT_EQ(0, self->fake->live);
	self->fake->blocks[0].live = true;	/* as if somebody else had got it */
	ptr = mempool_alloc(self->pool, 1024);
	EXPECT_NE(NULL, ptr);
}

TEST_F(pool, a_bulk_replaces_blocks_that_have_gone)
{
	void *ptrs[3];
	unsigned int i;

	ASSERT_EQ(0, ftruncate(self->fake->fd, MP_CHUNK));
	/* In turn: good, gone, good, good; the gone one is then taken by others. */
	self->fake->blocks[0] = (struct fake_block) { .offset = 0, .size = 1024 };
	self->fake->blocks[1] = (struct fake_block) { .offset = 8192, .size = 1024 };
	self->fake->blocks[2] = (struct fake_block) { .offset = 4 * MP_CHUNK, .size = 1024 };
	self->fake->nr = 3;
	self->fake->next = 16384;
	EXPECT_EQ(-ENOMEM, mempool_alloc_bulk(self->pool, 1024, ptrs, 3));
	EXPECT_EQ(0, self->fake->live);
	self->fake->blocks[2].live = true;
	ASSERT_EQ(0, mempool_alloc_bulk(self->pool, 1024, ptrs, 3));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(1024, mempool_usable_size(self->pool, ptrs[i]));
}

TEST_F(pool, what_a_former_user_protected_is_writable_again)
{
	char *ptr = mempool_alloc(self->pool, 8192);

	ASSERT_EQ(0, mprotect(ptr + 4096, 4096, PROT_READ));
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	self->fake->tenure++;
	ASSERT_EQ(ptr, mempool_alloc(self->pool, 8192));
	ptr[4096] = 1;
}

TEST_F(pool, what_a_former_user_unmapped_is_mapped_again)
{
	char *ptr = mempool_alloc(self->pool, 8192);

	ASSERT_EQ(0, munmap(ptr + 4096, 4096));
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	self->fake->tenure++;
	ASSERT_EQ(ptr, mempool_alloc(self->pool, 8192));
	ptr[4096] = 1;
}

TEST_F(pool, a_neighbours_protection_stays)
{
	char *ptr = mempool_alloc(self->pool, 4096), *other = mempool_alloc(self->pool, 4096);
	char *third;

	other[0] = 5;
	ASSERT_EQ(0, mprotect(other, 4096, PROT_READ));
	self->fake->tenure++;
	third = mempool_alloc(self->pool, 4096);
	ASSERT_NE(NULL, third);
	third[0] = ptr[0] = 1;
	/* Not writable still: a system call that would write there says so. */
	EXPECT_EQ(-1, pread(self->fake->fd, other, 1, 0));
	EXPECT_EQ(EFAULT, errno);
}

static bool split(const char *start)
{
	unsigned long low, high;
	bool found = false;
	char line[256];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &low, &high) == 2 && low <= (uintptr_t)start &&
		    (uintptr_t)start + MP_CHUNK <= high)
			found = true;
	fclose(maps);
	return !found;
}

TEST_F(pool, a_split_slot_is_mapped_anew_when_its_chunk_is_new)
{
	char *ptr = mempool_alloc(self->pool, 4096), *slot = self->pool->space.whole->addr;

	/* Memory of a memfd is not huge here: the slot takes 512 faults. */
	self->pool->info.features |= MEMPOOL_FEATURE_HUGE;
	ASSERT_EQ(0, mprotect(ptr, 4096, PROT_NONE));
	ASSERT_EQ(0, madvise(ptr, 4096, MADV_DONTDUMP));
	/* There and back; other flags differ in between, so that it stays split. */
	ASSERT_EQ(0, mprotect(ptr, 4096, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, madvise(ptr, 4096, MADV_RANDOM));
	ASSERT_TRUE(split(slot));
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	ASSERT_EQ(0, madvise(slot, MP_CHUNK, MADV_DONTNEED));
	self->fake->tenure++;
	ASSERT_EQ(ptr, mempool_alloc(self->pool, 4096));
	EXPECT_FALSE(split(slot));
}

/* ---- windows ----------------------------------------------------------------- */

TEST_F(windows, begin_at_a_multiple_of_a_chunk)
{
	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	EXPECT_EQ(0, (uintptr_t)self->pool->space.windows[0]->addr % MP_CHUNK);
}

TEST_F(windows, a_block_across_a_border_is_contiguous)
{
	uint64_t at = 8 * MP_CHUNK - 4096;
	char *ptr, seen[8192];

	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	self->fake->next = at;
	ptr = mempool_alloc(self->pool, 100000);
	ASSERT_NE(NULL, ptr);
	memset(ptr, 'x', 8192);
	ASSERT_EQ(8192, pread(self->fake->fd, seen, 8192, at));
	EXPECT_EQ(0, memcmp(seen, ptr, 8192));
}

TEST_F(windows, a_block_across_a_border_is_released_by_its_address)
{
	void *ptr;

	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	self->fake->next = 8 * MP_CHUNK - 4096;
	ptr = mempool_alloc(self->pool, 100000);
	ASSERT_NE(NULL, ptr);
	EXPECT_EQ(102400, mempool_usable_size(self->pool, ptr));
	EXPECT_EQ(0, mempool_release(self->pool, ptr));
	EXPECT_EQ(1, self->fake->live);
}

TEST_F(windows, the_first_touch_takes_no_fault_in_a_second_window)
{
	void *ptr;

	self->fake->next = 7 * MP_CHUNK;
	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	self->fake->next = 8 * MP_CHUNK - 4096;
	ptr = mempool_alloc(self->pool, 100000);
	EXPECT_EQ(0, touch_all(ptr, 8192));
}

TEST_F(windows, trim_unmaps_those_without_blocks)
{
	void *ptr = mempool_alloc(self->pool, 1000);

	ASSERT_EQ(1, self->pool->space.nr_windows);
	ASSERT_EQ(0, mempool_release(self->pool, ptr));
	ASSERT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(0, self->pool->space.nr_windows);
}

TEST_F(windows, trim_keeps_those_with_blocks)
{
	char *ptr = mempool_alloc(self->pool, 1000);

	ASSERT_EQ(0, mempool_trim(self->pool));
	ptr[0] = 1;
	EXPECT_EQ(1, self->pool->space.nr_windows);
}

TEST_F(windows, trim_keeps_those_of_block_pools)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;

	opts.block_size = 4096;
	opts.num_blocks = 8;
	ASSERT_EQ(0, mempool_blocks_create(&blocks, self->pool, &opts));
	ASSERT_EQ(0, mempool_trim(self->pool));
	*(char *)mempool_block_at(blocks, 7) = 1;
	mempool_blocks_close(blocks);
	ASSERT_EQ(0, mempool_trim(self->pool));
	EXPECT_EQ(0, self->pool->space.nr_windows);
}

TEST_F(windows, an_address_between_windows_is_refused)
{
	char *ptr = mempool_alloc(self->pool, 1000);

	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr + 8 * MP_CHUNK));
	EXPECT_EQ(0, mempool_usable_size(self->pool, ptr - MP_CHUNK));
}

/* Leave this process @bytes of addresses more. */
static void limit_addresses(size_t bytes)
{
	unsigned long pages;
	FILE *statm = fopen("/proc/self/statm", "r");
	struct rlimit limit;

	if (fscanf(statm, "%lu", &pages) != 1)
		_exit(98);
	fclose(statm);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = pages * 4096 + bytes;
	setrlimit(RLIMIT_AS, &limit);
}

TEST_F(windows, make_room_for_each_other)
{
	void *ptr;
	unsigned int i;

	limit_addresses(24 << 20);
	for (i = 0; i < CHUNKS; i++) {
		self->fake->next = i * MP_CHUNK;
		self->fake->nr = 0;
		ptr = mempool_alloc(self->pool, 1000);
		ASSERT_NE(NULL, ptr);
		ASSERT_EQ(0, mempool_release(self->pool, ptr));
	}
}

TEST_F(windows, a_block_without_room_for_its_window_is_given_back)
{
	limit_addresses(24 << 20);
	EXPECT_EQ(NULL, mempool_alloc(self->pool, 100 << 20));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, self->fake->live);
}

TEST(without_room_for_the_whole_there_are_windows)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	struct mempool *pool;

	fake_init(fake, 512 * MP_CHUNK);
	limit_addresses(64 << 20);
	ASSERT_EQ(0, open_fake(&pool, fake, 0));
	EXPECT_EQ(NULL, pool->space.whole);
	EXPECT_NE(NULL, mempool_alloc(pool, 1000));
	mempool_close(pool);
}

/* ---- block pools ------------------------------------------------------------- */

FIXTURE(blocks) {
	struct fake *fake;
	struct mempool *pool;
	struct mempool_blocks *blocks;
};

FIXTURE_SETUP(blocks)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;

	self->fake = calloc(1, sizeof(*self->fake));
	fake_init(self->fake, 4 * MP_CHUNK);
	ASSERT_EQ(0, open_fake(&self->pool, self->fake, 0));
	opts.block_size = 100;
	opts.num_blocks = 8;
	ASSERT_EQ(0, mempool_blocks_create(&self->blocks, self->pool, &opts));
}

FIXTURE_TEARDOWN(blocks)
{
	mempool_blocks_close(self->blocks);
	mempool_close(self->pool);
	free(self->fake);
}

TEST_F(blocks, a_get_that_cannot_be_had_whole_gives_all_back)
{
	unsigned int indices[9], i;

	EXPECT_EQ(-ENOSPC, mempool_get_blocks(self->blocks, NULL, indices, 9));
	for (i = 0; i < 8; i++)
		EXPECT_FALSE(self->fake->issued[i]);
}

TEST_F(blocks, a_get_into_pointers_alone_gives_all_back_too)
{
	unsigned int i;
	void *ptrs[9];

	EXPECT_EQ(-ENOSPC, mempool_get_blocks(self->blocks, ptrs, NULL, 9));
	for (i = 0; i < 8; i++)
		EXPECT_FALSE(self->fake->issued[i]);
}

TEST_F(blocks, a_block_that_others_returned_is_stale_once)
{
	unsigned int index;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	self->fake->generation[index]++;
	EXPECT_EQ(-ESTALE, mempool_return_block(self->blocks, index));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, index));
}

TEST_F(blocks, a_block_never_had_is_not_held_whatever_its_generation)
{
	self->fake->generation[3] = 17;
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, 3));
	self->fake->issued[3] = true;
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, 3));
	EXPECT_TRUE(self->fake->issued[3]);
}

TEST_F(blocks, a_block_is_still_held_when_its_return_fails)
{
	unsigned int index;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	self->fake->fail[MEMPOOL_NR_POOL_RETURN] = EFAULT;
	EXPECT_EQ(-EFAULT, mempool_return_block(self->blocks, index));
	self->fake->fail[MEMPOOL_NR_POOL_RETURN] = 0;
	EXPECT_EQ(0, mempool_block_token(self->blocks, index, &token));
	EXPECT_EQ(0, mempool_return_block(self->blocks, index));
}

TEST_F(blocks, after_a_reset_nothing_is_held)
{
	unsigned int index;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	ASSERT_EQ(0, mempool_reset(self->blocks));
	EXPECT_EQ(-ENOENT, mempool_block_token(self->blocks, index, &token));
	EXPECT_EQ(-ENOENT, mempool_return_block(self->blocks, index));
}

TEST_F(blocks, after_a_reset_that_fails_all_is_held)
{
	unsigned int index;
	uint64_t token;

	ASSERT_NE(NULL, mempool_get_block(self->blocks, &index));
	self->fake->fail[MEMPOOL_NR_POOL_RESET] = EBUSY;
	ASSERT_EQ(-EBUSY, mempool_reset(self->blocks));
	EXPECT_EQ(0, mempool_block_token(self->blocks, index, &token));
	EXPECT_EQ(0, mempool_return_block(self->blocks, index));
}

TEST_F(blocks, the_gap_after_a_block_is_in_no_block)
{
	unsigned int index;
	char *block = mempool_block_at(self->blocks, 2);

	EXPECT_EQ(0, mempool_block_index(self->blocks, block + 99, &index));
	EXPECT_EQ(2, index);
	EXPECT_EQ(-EINVAL, mempool_block_index(self->blocks, block + 100, &index));
}

TEST_F(pool, a_block_pool_that_cannot_be_mapped_is_left)
{
	struct mempool_blocks_options opts = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct mempool_blocks *blocks;

	ASSERT_EQ(0, ftruncate(self->fake->fd, 0));
	opts.block_size = 100;
	opts.num_blocks = 8;
	EXPECT_EQ(-ENOMEM, mempool_blocks_create(&blocks, self->pool, &opts));
	EXPECT_EQ(1, self->fake->calls[MEMPOOL_NR_POOL_CLOSE]);
}

/* ---- fork -------------------------------------------------------------------- */

static int child_close(void *arg)
{
	struct mempool *pool = arg;
	void *base = pool->space.whole->addr;
	char *mine;

	/* The mapping was not inherited, and something else is there by now. */
	mine = mmap(base, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (mine == MAP_FAILED)
		return 1;
	mempool_close(pool);
	*mine = 1;
	return 0;
}

TEST(closing_a_mapping_that_was_not_inherited_unmaps_nothing)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	struct mempool *pool;

	fake_init(fake, MP_CHUNK);
	ASSERT_EQ(0, open_fake(&pool, fake, MEMPOOL_OPEN_DONTFORK));
	EXPECT_EQ(0, in_child(child_close, pool));
	mempool_close(pool);
}

static int child_locked(void *arg)
{
	struct mempool *pool = arg;

	alarm(60);
	return mempool_usable_size(pool, pool->space.windows[0]->addr) == 1024 ? 0 : 1;
}

TEST_F(windows, a_lock_held_at_fork_does_not_hold_up_the_child)
{
	int status;

	ASSERT_NE(NULL, mempool_alloc(self->pool, 1000));
	pthread_mutex_lock(&self->pool->space.lock);
	status = in_child(child_locked, self->pool);
	pthread_mutex_unlock(&self->pool->space.lock);
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
