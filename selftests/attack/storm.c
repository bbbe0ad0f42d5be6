// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * "Under a storm of hand-overs somebody sees a byte of somebody else's."
 *
 * Processes with threads that take and give chunks, touch all of the offset
 * space, move, cut, protect and advise their mapping, read it through the
 * kernel, fork and are killed, while the same few chunks go from one to the
 * other. Each process writes its own mark; any other byte but zero is foreign.
 */
#include <sys/prctl.h>

#include "attack.h"

#define PROCESSES	3
#define TAKERS		2
#define TOUCHERS	2
#define MARKS		254

/* What the processes tell; in shared memory. */
struct tally {
	atomic_long foreign, lost, seen_own, refused, handed, pipes, forks;
	atomic_int mark;
};

struct life {
	struct tally *tally;
	struct mp_session s;
	unsigned char mark;
	unsigned char *window;		/* what the mapper plays with */
	__u64 seed;
	int cycles, death;		/* cycles of each taker; killed at one */
	atomic_int takers;
};

struct worker {
	struct life *life;
	__u64 seed;
};

static void check_byte(struct life *l, unsigned char c)
{
	if (c == l->mark)
		atomic_fetch_add(&l->tally->seen_own, 1);
	else if (c)
		atomic_fetch_add(&l->tally->foreign, 1);
}

/* The owner of a chunk finds in it what it wrote. */
static void hold(struct life *l, unsigned char *p, __u64 *seed)
{
	size_t i, step = 4096 * (1 + mp_random(seed) % 64);

	for (i = 0; i < MP_CHUNK; i += step) {
		check_byte(l, p[i]);
		p[i] = l->mark;
		p[i + 4095] = l->mark;
	}
	sched_yield();
	for (i = 0; i < MP_CHUNK; i += step)
		if (p[i] != l->mark || p[i + 4095] != l->mark)
			atomic_fetch_add(&l->tally->lost, 1);
}

static void *take_and_give(void *arg)
{
	struct worker *w = arg;
	struct life *l = w->life;
	long long offset;
	int i;

	for (i = 0; i < l->cycles; i++) {
		offset = _test_alloc_one(l->s.fd, MP_CHUNK);
		if (offset < 0) {
			atomic_fetch_add(&l->tally->refused, 1);
			continue;
		}
		hold(l, l->s.base + offset, &w->seed);
		if (i == l->death)
			kill(getpid(), SIGKILL);
		CHECK(_test_release_one(l->s.fd, offset) == 0);
		if (mp_random(&w->seed) % 4 == 0)
			CHECK(_test_ioctl_trim(l->s.fd) >= 0);
		atomic_fetch_add(&l->tally->handed, 1);
	}
	atomic_fetch_sub(&l->takers, 1);
	return NULL;
}

/* Of the offset space: mostly where blocks are, now and then all of it. */
static __u64 reach(const struct life *l, __u64 r)
{
	return l->s.info.space_bytes / ((r >> 2) % 4 ? 4 : 1);
}

/* Touches everything, its own or not, through both mappings. */
static void *touch(void *arg)
{
	struct worker *w = arg;
	struct life *l = w->life;
	unsigned char *p, seen;
	__u64 r;

	while (atomic_load(&l->takers)) {
		r = mp_random(&w->seed);
		p = (r & 1 ? l->s.base : l->window) + (r >> 8) % reach(l, r);
		if (!mp_touch(p, r & 2 ? l->mark : -1, &seen))
			check_byte(l, seen);
	}
	return NULL;
}

/* A page goes into a pipe, by reference, and is read back later. */
static void through_pipe(struct life *l, unsigned char *p, __u64 *seed)
{
	struct iovec iov = { p, 4096 };
	unsigned char buf[4096];
	int fds[2], i;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return;
	if (vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) == 4096) {
		for (i = mp_random(seed) % 8; i; i--)
			sched_yield();
		if (read(fds[0], buf, 4096) == 4096)
			for (i = 0; i < 4096; i += 4095)
				check_byte(l, buf[i]);
		atomic_fetch_add(&l->tally->pipes, 1);
	}
	close(fds[0]);
	close(fds[1]);
}

static void through_kernel(struct life *l, unsigned char *p)
{
	unsigned char buf[64];
	struct iovec to = { buf, 64 }, from = { p, 64 };

	if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 64)
		check_byte(l, buf[0]);
}

/* A child touches what it inherited; the parent's other threads go on. */
static void in_a_child(struct life *l, unsigned char *p)
{
	unsigned char seen;
	int status;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!mp_touch(p, l->mark, &seen))
			check_byte(l, seen);
		munmap(l->window, l->s.info.space_bytes / 2);
		if (!mp_touch(p, l->mark, &seen))
			check_byte(l, seen);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	atomic_fetch_add(&l->tally->forks, 1);
}

static void renew(struct life *l)
{
	mmap(l->window, l->s.info.space_bytes, PROT_READ | PROT_WRITE,
	     MAP_SHARED | MAP_FIXED, l->s.fd, 0);
}

static void play(struct life *l, __u64 *seed)
{
	__u64 r = mp_random(seed), space = l->s.info.space_bytes;
	size_t len = r & 1 ? MP_CHUNK : 4096;
	__u64 from = (r >> 8) % (reach(l, r >> 5) / len) * len;
	unsigned char *p = l->window + from;
	static const int advice[] = { MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_WRITE, MADV_POPULATE_READ, MADV_WILLNEED };

	switch ((r >> 1) % 10) {
	case 0:		/* to another place of the window */
		mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		       l->window + (from + space / 2) % space);
		break;
	case 1:
		munmap(p, len);
		break;
	case 2:
		mmap(p, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		     l->s.fd, (off_t)((from + MP_CHUNK) % space));
		break;
	case 3:
		mprotect(p, len, (r >> 4) & 1 ? PROT_READ : PROT_NONE);
		break;
	case 4:
	case 5:
		madvise(p, len, advice[(r >> 5) % 6]);
		break;
	case 6:
		through_pipe(l, p, seed);
		break;
	case 7:
		through_kernel(l, p);
		break;
	case 8:
		if ((r >> 5) % 8 == 0)
			in_a_child(l, p);
		break;
	case 9:
		renew(l);
		break;
	}
}

static void *map_about(void *arg)
{
	struct worker *w = arg;

	while (atomic_load(&w->life->takers))
		play(w->life, &w->seed);
	return NULL;
}

static void start(struct life *l, void *(*fn)(void *), pthread_t *thread)
{
	struct worker *w = malloc(sizeof(*w));

	CHECK(w);
	w->life = l;
	w->seed = mp_random(&l->seed) | 1;
	CHECK(pthread_create(thread, NULL, fn, w) == 0);
}

/* One process, from its session's beginning to its end. */
static int live(void *arg)
{
	pthread_t threads[TAKERS + TOUCHERS + 1];
	struct life *l = arg;
	int i, n = 0;

	CHECK(mp_session_of_chunks(&l->s) == 0);
	/* Every second one keeps nothing idle. */
	if (l->mark & 1)
		CHECK(_test_configure(l->s.fd, MEMPOOL_CONFIGURE_MAX_CACHED, 0) == 0);
	l->window = mmap(NULL, l->s.info.space_bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED, l->s.fd, 0);
	CHECK(l->window != MAP_FAILED);
	atomic_store(&l->takers, TAKERS);
	for (i = 0; i < TAKERS; i++)
		start(l, take_and_give, &threads[n++]);
	for (i = 0; i < TOUCHERS; i++)
		start(l, touch, &threads[n++]);
	start(l, map_about, &threads[n++]);
	while (n)
		pthread_join(threads[--n], NULL);
	return 0;
}

static pid_t begin_life(struct tally *tally, int nr, int cycles)
{
	static struct life l;

	l = (struct life){
		.tally = tally,
		.mark = 1 + atomic_fetch_add(&tally->mark, 1) % MARKS,
		.seed = 0x9e3779b97f4a7c15 * (nr + 1),
		.cycles = cycles,
		.death = nr % 2 ? cycles / 2 : -1,
	};
	return mp_spawn(0, live, &l);
}

/* @lives processes, PROCESSES at a time; how many ended as they should. */
static int rage(struct tally *tally, int lives, int cycles)
{
	int nr, alive = 0, good = 0, status;

	for (nr = 0; nr < lives || alive; ) {
		if (nr < lives && alive < PROCESSES) {
			begin_life(tally, nr++, cycles);
			alive++;
			continue;
		}
		if (wait(&status) < 0)
			break;
		alive--;
		if (WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL :
		    WEXITSTATUS(status) == 0)
			good++;
		else
			ksft_print_msg("a process ended with %x\n", status);
	}
	return good;
}

FIXTURE(storm) {
	struct tally *tally;
	int lives, good;
};

FIXTURE_VARIANT(storm) {
	const char *params;
};

/* Two chunks fewer than takers: they take them from each other. */
FIXTURE_VARIANT_ADD(storm, over_4_chunks) { .params = "reserve=8M" };
FIXTURE_VARIANT_ADD(storm, with_spare_memory) { .params = "reserve=8M spare=2" };

FIXTURE_SETUP(storm)
{
	self->tally = mp_shared(sizeof(*self->tally));
	ASSERT_NE(NULL, self->tally);
	ASSERT_EQ(0, mp_require(variant->params));
	self->lives = mp_rounds(12);
	self->good = rage(self->tally, self->lives, mp_rounds(100));
	ksft_print_msg("handed over %ld, refused %ld, own seen %ld, through pipes %ld, forks %ld\n",
		       self->tally->handed, self->tally->refused,
		       self->tally->seen_own, self->tally->pipes,
		       self->tally->forks);
}

FIXTURE_TEARDOWN(storm)
{
	EXPECT_TRUE(mp_settled());
}

TEST_F(storm, shows_nobody_a_foreign_byte)
{
	EXPECT_EQ(self->lives, self->good);
	EXPECT_EQ(0, self->tally->foreign);
	EXPECT_EQ(0, self->tally->lost);
	/* It was a storm: chunks moved, and the touches met memory. */
	EXPECT_LT(self->lives * 5, self->tally->handed);
	EXPECT_LT(100, self->tally->seen_own);
}

TEST_HARNESS_MAIN
