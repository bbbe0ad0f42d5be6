// SPDX-License-Identifier: MIT OR GPL-2.0
// also: 32-bit, with checkers
/*
 * What holds for every command: its number, the size of its structure, pointers
 * that lead nowhere, fields and flags that must be zero, files opened read-only.
 * Each test runs once for each command.
 */
#include "mp_proc.h"

#define POOL_NAME	"ioctl_abi"
#define TAIL		64

struct must_be_zero {
	unsigned short offset, len;
};

#define ZERO(type, member) \
	{ offsetof(struct type, member), sizeof(((struct type *)0)->member) }

/*
 * @changes: the command changes state, so it needs a file open for writing;
 * @undoes: it takes back what it did when the answer cannot be written
 */
struct command {
	unsigned long cmd;
	bool changes, undoes;
	int flags;		/* offset of the flags */
	__u32 known;		/* flags that are listed */
	struct must_be_zero zero[3];
};

static const struct command cmd_info = {
	.cmd = MEMPOOL_IOC_INFO,
};

static const struct command cmd_configure = {
	.cmd = MEMPOOL_IOC_CONFIGURE, .changes = true,
	.flags = offsetof(struct mempool_configure, flags), .known = 0x3f,
};

static const struct command cmd_alloc = {
	.cmd = MEMPOOL_IOC_ALLOC,
	.changes = true, .undoes = true,
	.flags = offsetof(struct mempool_alloc, flags),
	.known = MEMPOOL_ALLOC_ZERO | MEMPOOL_ALLOC_PAGE_ALIGNED |
		 MEMPOOL_ALLOC_CACHED,
	.zero = { ZERO(mempool_alloc, deadline), ZERO(mempool_alloc, reserved) },
};

static const struct command cmd_release = {
	.cmd = MEMPOOL_IOC_RELEASE,
	.changes = true,
	.flags = offsetof(struct mempool_release, flags),
	.known = MEMPOOL_RELEASE_CACHED | MEMPOOL_RELEASE_CLAIMS |
		 MEMPOOL_RELEASE_ALL,
	/* Without MEMPOOL_RELEASE_CLAIMS the claims must be zero as well. */
	.zero = { ZERO(mempool_release, reserved),
		  ZERO(mempool_release, claims) },
};

static const struct command cmd_preallocate = {
	.cmd = MEMPOOL_IOC_PREALLOCATE,
	.changes = true,
	.flags = offsetof(struct mempool_preallocate, flags),
	.known = MEMPOOL_ALLOC_PAGE_ALIGNED,
	.zero = { ZERO(mempool_preallocate, reserved) },
};

static const struct command cmd_trim = {
	.cmd = MEMPOOL_IOC_TRIM,
	.changes = true,
	.flags = offsetof(struct mempool_trim, flags),
	.zero = { ZERO(mempool_trim, reserved) },
};

static const struct command cmd_stats = {
	.cmd = MEMPOOL_IOC_STATS,
};

static const struct command cmd_pool_create = {
	.cmd = MEMPOOL_IOC_POOL_CREATE,
	.changes = true, .undoes = true,
	.flags = offsetof(struct mempool_pool_create, flags),
	.known = MEMPOOL_POOL_KEEP | MEMPOOL_POOL_THRESHOLD,
	.zero = { ZERO(mempool_pool_create, reserved) },
};

static const struct command cmd_pool_open = {
	.cmd = MEMPOOL_IOC_POOL_OPEN,
	.undoes = true, .flags = offsetof(struct mempool_pool_open, flags),
};

static const struct command cmd_pool_close = {
	.cmd = MEMPOOL_IOC_POOL_CLOSE,
	.zero = { ZERO(mempool_pool_close, reserved) },
};

static const struct command cmd_pool_remove = {
	.cmd = MEMPOOL_IOC_POOL_REMOVE, .changes = true,
};

static const struct command cmd_pool_get = {
	.cmd = MEMPOOL_IOC_POOL_GET,
	.changes = true, .undoes = true,
	.flags = offsetof(struct mempool_pool_batch, flags),
	.zero = { ZERO(mempool_pool_batch, deadline),
		  ZERO(mempool_pool_batch, reserved) },
};

static const struct command cmd_pool_return = {
	.cmd = MEMPOOL_IOC_POOL_RETURN,
	.changes = true,
	.flags = offsetof(struct mempool_pool_batch, flags),
	.zero = { ZERO(mempool_pool_batch, deadline),
		  ZERO(mempool_pool_batch, reserved) },
};

static const struct command cmd_pool_adopt = {
	.cmd = MEMPOOL_IOC_POOL_ADOPT,
	.changes = true,
	.flags = offsetof(struct mempool_pool_batch, flags),
	.zero = { ZERO(mempool_pool_batch, deadline),
		  ZERO(mempool_pool_batch, reserved) },
};

static const struct command cmd_pool_coalesce = {
	.cmd = MEMPOOL_IOC_POOL_COALESCE,
	.changes = true,
	.flags = offsetof(struct mempool_pool_op, flags),
};

static const struct command cmd_pool_reset = {
	.cmd = MEMPOOL_IOC_POOL_RESET,
	.changes = true,
	.flags = offsetof(struct mempool_pool_op, flags),
	.known = MEMPOOL_RESET_FORCE,
};

static const struct command cmd_pool_stats = {
	.cmd = MEMPOOL_IOC_POOL_STATS,
	.flags = offsetof(struct mempool_pool_stats, flags),
};

/* What a command works on. */
struct subject {
	const struct command *c;
	int other;	/* a session that holds the named pool */
	int fd;		/* the session that is tested */
	__u32 pool;	/* a private pool of it */
	struct mempool_token token;	/* a block of that pool, held */
	struct mempool_token tokens[2];
	struct mempool_block blocks[2];
	__u64 offset;	/* of a block of a bucket, held */
};

static void subject_make(struct __test_metadata *_metadata, struct subject *s,
			 const struct command *c)
{
	struct mempool_pool_create arg;

	s->c = c;
	s->other = -1;
	s->fd = -1;
	ASSERT_EQ(0, mp_require(MP_RESERVE));
	s->other = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, s->other);
	test_pool_create(s->other, POOL_NAME, 4096, 8, 0666, MEMPOOL_POOL_KEEP,
			 &arg);
	s->fd = open(MP_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, s->fd);
	if (c->cmd == MEMPOOL_IOC_CONFIGURE)
		return;		/* it wants a session that has done nothing */
	test_pool_create(s->fd, NULL, 4096, 8, 0, 0, &arg);
	s->pool = arg.pool;
	test_pool_get(s->fd, s->pool, &s->token);
	s->offset = test_alloc_one(s->fd, 1000);
}

static void subject_end(struct __test_metadata *_metadata, struct subject *s)
{
	_test_pool_remove(s->other, POOL_NAME);
	close(s->fd);
	close(s->other);
	EXPECT_TRUE(mp_settled());
}

/* Put an argument that must succeed into @arg. */
static void fill(struct subject *s, void *arg)
{
	struct mempool_configure *configure = arg;
	struct mempool_alloc *alloc = arg;
	struct mempool_release *release = arg;
	struct mempool_preallocate *preallocate = arg;
	struct mempool_pool_create *create = arg;
	struct mempool_pool_open *popen = arg;
	struct mempool_pool_remove *premove = arg;
	struct mempool_pool_batch *batch = arg;
	struct mempool_pool_stats *pstats = arg;

	memset(arg, 0, _IOC_SIZE(s->c->cmd));
	switch (_IOC_NR(s->c->cmd)) {
	case MEMPOOL_NR_CONFIGURE:
		configure->flags = MEMPOOL_CONFIGURE_MAX_CACHED;
		configure->max_cached = 7;
		break;
	case MEMPOOL_NR_ALLOC:
		alloc->size = 5000;
		alloc->count = 2;
		alloc->blocks = mp_ptr(s->blocks);
		break;
	case MEMPOOL_NR_RELEASE:
		release->count = 1;
		release->offsets = mp_ptr(&s->offset);
		break;
	case MEMPOOL_NR_PREALLOCATE:
		preallocate->size = 5000;
		preallocate->count = 3;
		break;
	case MEMPOOL_NR_POOL_CREATE:
		create->block_size = 4096;
		create->nr_blocks = 8;
		break;
	case MEMPOOL_NR_POOL_OPEN:
		strcpy(popen->name, POOL_NAME);
		break;
	case MEMPOOL_NR_POOL_REMOVE:
		strcpy(premove->name, POOL_NAME);
		break;
	case MEMPOOL_NR_POOL_GET:
	case MEMPOOL_NR_POOL_RETURN:
	case MEMPOOL_NR_POOL_ADOPT:
		s->tokens[0] = s->token;
		batch->pool = s->pool;
		batch->count = 1;
		batch->tokens = mp_ptr(s->tokens);
		break;
	case MEMPOOL_NR_POOL_CLOSE:
	case MEMPOOL_NR_POOL_COALESCE:
	case MEMPOOL_NR_POOL_RESET:
	case MEMPOOL_NR_POOL_STATS:
		pstats->pool = s->pool;	/* the first field of all */
		break;
	}
}

/* All that a command could have changed. */
struct state {
	struct mempool_session_stats stats;
	struct mempool_pool_stats pool;
	struct mempool_info info;
};

static void look(struct subject *s, struct state *st)
{
	memset(st, 0, sizeof(*st));
	_test_ioctl_stats(s->fd, &st->stats);
	_test_pool_stats(s->fd, s->pool, &st->pool);
	mp_info(s->fd, &st->info);
}

/* A command like @cmd with another size in its number. */
static unsigned long resized(unsigned long cmd, size_t size)
{
	return _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
}

#define ARG_MAX_BYTES	(1u << 14)
static union {
	unsigned char bytes[ARG_MAX_BYTES];
	__u64 align;
} arg;

/* A fixture whose variants are commands. */
#define COMMAND_FIXTURE(name)						\
	FIXTURE(name) {							\
		struct subject s;					\
	};								\
	FIXTURE_VARIANT(name) {						\
		const struct command *c;				\
	};								\
	FIXTURE_SETUP(name)						\
	{								\
		subject_make(_metadata, &self->s, variant->c);		\
	}								\
	FIXTURE_TEARDOWN(name)						\
	{								\
		subject_end(_metadata, &self->s);			\
	}

#define ADD(fixture, command)						\
	FIXTURE_VARIANT_ADD(fixture, command) { .c = &cmd_##command }

/* ---- every command --------------------------------------------------------- */

COMMAND_FIXTURE(command);
ADD(command, info);
ADD(command, configure);
ADD(command, alloc);
ADD(command, release);
ADD(command, preallocate);
ADD(command, trim);
ADD(command, stats);
ADD(command, pool_create);
ADD(command, pool_open);
ADD(command, pool_close);
ADD(command, pool_remove);
ADD(command, pool_get);
ADD(command, pool_return);
ADD(command, pool_adopt);
ADD(command, pool_coalesce);
ADD(command, pool_reset);
ADD(command, pool_stats);

TEST_F(command, exact_size_is_accepted)
{
	fill(&self->s, &arg);
	EXPECT_EQ(0, mp_ioctl(self->s.fd, variant->c->cmd, &arg));
}

TEST_F(command, every_shorter_size_is_einval)
{
	unsigned long cmd = variant->c->cmd;
	struct state before, after;
	size_t size;

	look(&self->s, &before);
	for (size = 0; size < _IOC_SIZE(cmd); size++) {
		fill(&self->s, &arg);
		ASSERT_EQ(-EINVAL, mp_ioctl(self->s.fd, resized(cmd, size),
					    &arg)) {
			TH_LOG("size %zu", size);
		}
	}
	look(&self->s, &after);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

TEST_F(command, longer_with_a_zero_tail_is_accepted)
{
	size_t size = _IOC_SIZE(variant->c->cmd);

	fill(&self->s, &arg);
	ASSERT_EQ(0, mp_ioctl(self->s.fd,
			      resized(variant->c->cmd, size + TAIL), &arg));
	EXPECT_EQ(0, mp_count_not(arg.bytes + size, 0, TAIL));
}

TEST_F(command, longest_size_is_accepted)
{
	fill(&self->s, &arg);
	EXPECT_EQ(0, mp_ioctl(self->s.fd,
			      resized(variant->c->cmd, ARG_MAX_BYTES - 1),
			      &arg));
}

TEST_F(command, other_directions_are_enotty)
{
	unsigned long cmd = variant->c->cmd;
	unsigned int dir;

	fill(&self->s, &arg);
	for (dir = 0; dir < 4; dir++) {
		if (dir == _IOC_DIR(cmd))
			continue;
		EXPECT_EQ(-ENOTTY, mp_ioctl(self->s.fd,
					    _IOC(dir, MEMPOOL_IOC_TYPE,
						 _IOC_NR(cmd), _IOC_SIZE(cmd)),
					    &arg));
	}
}

TEST_F(command, pointer_to_nowhere_is_efault)
{
	static const unsigned long long nowhere[] = {
		0, 1, 4095, 0x00007ffffffff000, 0x0000800000000000,
		0x8000000000000000, 0xffff888000001000, 0xffffffff81000000,
		0xfffffffffffff000, 0xffffffffffffffff,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(nowhere); i++) {
		if (nowhere[i] > ~0ul)
			continue;
		EXPECT_EQ(-EFAULT, mp_ioctl(self->s.fd, variant->c->cmd,
					    (void *)(uintptr_t)nowhere[i])) {
			TH_LOG("pointer %llx", nowhere[i]);
		}
	}
}

/* The structure's last byte, last 8 bytes ... all but its first are missing. */
TEST_F(command, structure_partly_unmapped_is_efault)
{
	size_t size = _IOC_SIZE(variant->c->cmd), missing;
	struct state before, after;
	unsigned char *end;

	end = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, end);
	end += 4096;
	ASSERT_EQ(0, mprotect(end, 4096, PROT_NONE));
	look(&self->s, &before);
	for (missing = 1; missing < size; missing += 7) {
		fill(&self->s, &arg);
		memcpy(end - (size - missing), &arg, size - missing);
		ASSERT_EQ(-EFAULT, mp_ioctl(self->s.fd, variant->c->cmd,
					    end - (size - missing)));
	}
	look(&self->s, &after);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

TEST_F(command, changing_state_needs_a_file_open_for_writing)
{
	struct mempool_pool_open popen;
	int fd = open(MP_DEV, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	if (variant->c != &cmd_pool_open) {
		test_pool_open(fd, POOL_NAME, &popen);
		self->s.pool = popen.pool;
	}
	fill(&self->s, &arg);
	EXPECT_EQ(variant->c->changes ? -EBADF : 0,
		  mp_ioctl(fd, variant->c->cmd, &arg));
	close(fd);
}

/* ---- commands whose structure the kernel reads ------------------------------ */

COMMAND_FIXTURE(reading_command);
ADD(reading_command, configure);
ADD(reading_command, alloc);
ADD(reading_command, release);
ADD(reading_command, preallocate);
ADD(reading_command, trim);
ADD(reading_command, pool_create);
ADD(reading_command, pool_open);
ADD(reading_command, pool_close);
ADD(reading_command, pool_remove);
ADD(reading_command, pool_get);
ADD(reading_command, pool_return);
ADD(reading_command, pool_adopt);
ADD(reading_command, pool_coalesce);
ADD(reading_command, pool_reset);
ADD(reading_command, pool_stats);

TEST_F(reading_command, longer_with_any_tail_is_e2big)
{
	size_t size = _IOC_SIZE(variant->c->cmd), i;
	struct state before, after;

	look(&self->s, &before);
	for (i = 0; i < TAIL; i++) {
		fill(&self->s, &arg);
		arg.bytes[size + i] = 1;
		ASSERT_EQ(-E2BIG, mp_ioctl(self->s.fd,
					   resized(variant->c->cmd,
						   size + TAIL), &arg));
		arg.bytes[size + i] = 0;
	}
	look(&self->s, &after);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

/* ---- commands that answer ---------------------------------------------------- */

COMMAND_FIXTURE(answering_command);
ADD(answering_command, info);
ADD(answering_command, alloc);
ADD(answering_command, release);
ADD(answering_command, preallocate);
ADD(answering_command, trim);
ADD(answering_command, stats);
ADD(answering_command, pool_create);
ADD(answering_command, pool_open);
ADD(answering_command, pool_get);
ADD(answering_command, pool_return);
ADD(answering_command, pool_adopt);
ADD(answering_command, pool_coalesce);
ADD(answering_command, pool_reset);
ADD(answering_command, pool_stats);

TEST_F(answering_command, answer_into_read_only_memory_is_efault)
{
	struct state before, after;
	unsigned char *page;

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	fill(&self->s, page);
	ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
	look(&self->s, &before);
	EXPECT_EQ(-EFAULT, mp_ioctl(self->s.fd, variant->c->cmd, page));
	look(&self->s, &after);
	if (variant->c->undoes) {
		EXPECT_EQ(before.stats.currently_allocated,
			  after.stats.currently_allocated);
		EXPECT_EQ(before.stats.nr_pools, after.stats.nr_pools);
		EXPECT_EQ(before.pool.issued, after.pool.issued);
	}
}

/* ---- commands with flags ------------------------------------------------------ */

COMMAND_FIXTURE(flagged_command);
ADD(flagged_command, configure);
ADD(flagged_command, alloc);
ADD(flagged_command, release);
ADD(flagged_command, preallocate);
ADD(flagged_command, trim);
ADD(flagged_command, pool_create);
ADD(flagged_command, pool_open);
ADD(flagged_command, pool_get);
ADD(flagged_command, pool_return);
ADD(flagged_command, pool_adopt);
ADD(flagged_command, pool_coalesce);
ADD(flagged_command, pool_reset);
ADD(flagged_command, pool_stats);

TEST_F(flagged_command, every_unknown_flag_is_einval)
{
	const struct command *c = variant->c;
	struct state before, after;
	__u32 flags;
	int bit;

	look(&self->s, &before);
	for (bit = 0; bit < 32; bit++) {
		if (c->known & (1u << bit))
			continue;
		fill(&self->s, &arg);
		memcpy(&flags, arg.bytes + c->flags, sizeof(flags));
		flags |= 1u << bit;
		memcpy(arg.bytes + c->flags, &flags, sizeof(flags));
		EXPECT_EQ(-EINVAL, mp_ioctl(self->s.fd, c->cmd, &arg)) {
			TH_LOG("flag 1 << %d", bit);
		}
	}
	look(&self->s, &after);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

/* ---- commands with fields that must be zero ----------------------------------- */

COMMAND_FIXTURE(reserving_command);
ADD(reserving_command, alloc);
ADD(reserving_command, release);
ADD(reserving_command, preallocate);
ADD(reserving_command, trim);
ADD(reserving_command, pool_create);
ADD(reserving_command, pool_close);
ADD(reserving_command, pool_get);
ADD(reserving_command, pool_return);
ADD(reserving_command, pool_adopt);

TEST_F(reserving_command, every_bit_of_reserved_fields_is_einval)
{
	const struct must_be_zero *z = variant->c->zero;
	struct state before, after;
	unsigned int bit;

	look(&self->s, &before);
	for (; z->len; z++) {
		for (bit = 0; bit < 8u * z->len; bit++) {
			fill(&self->s, &arg);
			arg.bytes[z->offset + bit / 8] = 1 << bit % 8;
			ASSERT_EQ(-EINVAL, mp_ioctl(self->s.fd,
						    variant->c->cmd, &arg)) {
				TH_LOG("byte %u bit %u",
				       z->offset + bit / 8, bit % 8);
			}
		}
	}
	look(&self->s, &after);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

TEST_HARNESS_MAIN
