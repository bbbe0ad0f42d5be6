// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The producer is killed half way
 *
 * What a crash could do to a ring of blocks in plain shared memory: the blocks
 * that the dead process held are never free again, and the tokens that it has
 * left in the pipe name blocks that are another's by now. Here
 * 1. the consumer takes half of the file, adopts one block more and keeps it;
 * 2. the producer fills every other block, sends the tokens, and is killed;
 * 3. the kernel has returned its blocks: only the one adopted is still issued,
 *    and its data are intact;
 * 4. a third process, the outsider, gets every free block and writes to it;
 * 5. now the consumer reads the dead producer's tokens. Each names a block that
 *    is issued, but by another issue: adopting it is refused with ESTALE;
 * 6. the outsider's own token of such a block is accepted, so the refusal was
 *    for the token's age and nothing else; and the outsider still holds the
 *    rest, with its data intact;
 * 7. in the end every block is free.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pipeline.h"

#define OUTSIDERS_BYTE 0xa5

static unsigned int broken;	/* promises, so far */

/* One line of the report: a promise, and whether it was kept. */
static void __attribute__((format(printf, 2, 3))) promise(bool kept, const char *format, ...)
{
	va_list args;

	printf("%s", kept ? "kept:   " : "BROKEN: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	if (!kept)
		broken++;
}

static bool all_bytes_are(const unsigned char *block, size_t length, unsigned char byte)
{
	return block[0] == byte && !memcmp(block, block + 1, length - 1);
}

/* ---- the third process ---- */

struct outsider {
	pid_t pid;
	int talk;			/* both ways */
};

/*
 * Told to begin: take every free block, mark it, tell how many and their tokens.
 * Told to go on: all but the first, which the consumer has adopted meanwhile,
 * must still be its own. The exit status says so.
 */
static void __attribute__((noreturn)) be_outsider(const struct job *job, int talk)
{
	uint64_t tokens[1024];
	struct member self;
	unsigned int count = 0, index;
	int status = 0;
	void *block;
	char go;

	read_exactly(talk, &go, 1);
	join_pool(&self, job);
	while ((block = mempool_get_block(self.blocks, &index))) {
		memset(block, OUTSIDERS_BYTE, job->block_size);
		if (mempool_block_token(self.blocks, index, &tokens[count]))
			exit(1);
		count++;
	}
	if (errno != ENOSPC)
		die("mempool_get_block", errno);
	write_exactly(talk, &count, sizeof(count));
	write_exactly(talk, tokens, count * sizeof(*tokens));

	read_exactly(talk, &go, 1);
	for (unsigned int i = 1; i < count; i++) {
		index = mempool_token_index(tokens[i]);
		block = mempool_block_at(self.blocks, index);
		if (!block || !all_bytes_are(block, job->block_size, OUTSIDERS_BYTE) ||
		    mempool_return_block(self.blocks, index))
			status = 1;
	}
	leave_pool(&self);
	exit(status);
}

static void start_outsider(struct outsider *outsider, const struct job *job)
{
	int talk[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk))
		die("socketpair", errno);
	fflush(NULL);
	outsider->pid = fork();
	if (outsider->pid < 0)
		die("fork", errno);
	if (outsider->pid == 0) {
		close(talk[0]);
		be_outsider(job, talk[1]);
	}
	close(talk[1]);
	outsider->talk = talk[0];
}

/* ---- the consumer's side, step by step ---- */

/* Blocks that the file fills, the last one perhaps in part. */
static unsigned long long blocks_of_file(const struct job *job)
{
	int fd = open(job->file, O_RDONLY | O_CLOEXEC);
	off_t size;

	if (fd < 0)
		die(job->file, errno);
	size = lseek(fd, 0, SEEK_END);
	if (size < 0)
		die(job->file, errno);
	close(fd);
	return (size + job->block_size - 1) / job->block_size;
}

static void consume_half(const struct member *self, const struct producer *producer,
			 unsigned long long half)
{
	struct message message;

	for (unsigned long long i = 0; i < half; i++) {
		if (!next_message(producer, &message))
			die("the producer has ended early", EPIPE);
		adopt(self, &message);
		give_back(self, &message);
		give_credit(producer, 1);
	}
}

/* The producer has sent what it may send: so many tokens are in the pipe. */
static void wait_for_messages(const struct producer *producer, unsigned int count)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	int bytes;

	do {
		nanosleep(&moment, NULL);
		if (ioctl(producer->data, FIONREAD, &bytes))
			die("FIONREAD", errno);
		if (waitpid(producer->pid, NULL, WNOHANG))
			die("the producer has ended early", EPIPE);
	} while (bytes < (int)(count * sizeof(struct message)));
}

/* Is the block's data what the file has at its @number-th block? */
static bool same_as_file(const struct job *job, const void *block, unsigned long long number)
{
	char *copy = malloc(job->block_size);
	int fd = open(job->file, O_RDONLY | O_CLOEXEC);
	bool same;

	if (!copy || fd < 0)
		die(job->file, errno);
	same = pread(fd, copy, job->block_size, number * job->block_size) ==
	       (ssize_t)job->block_size && !memcmp(copy, block, job->block_size);
	close(fd);
	free(copy);
	return same;
}

/*
 * The kernel returns a dead process's blocks when its last file is closed, which
 * is before its parent hears of its end. A debugger or a reader of its /proc
 * files may delay that a little.
 */
static void wait_for_issued(const struct member *self, unsigned int issued)
{
	const struct timespec moment = { .tv_nsec = 10000000 };

	for (int i = 0; i < 3000 && stats_of(self).issued != issued; i++)
		nanosleep(&moment, NULL);
}

/* How many of the tokens in the dead producer's pipe are refused as stale. */
static unsigned int refused_tokens(const struct member *self, const struct producer *producer,
				   unsigned int *seen)
{
	struct message message;
	unsigned int stale = 0;

	for (*seen = 0; next_message(producer, &message); ++*seen) {
		int err = mempool_adopt_block(self->blocks, message.token);

		if (err == -ESTALE)
			stale++;
		else
			printf("block %u: %s\n", mempool_token_index(message.token),
			       err ? strerror(-err) : "adopted");
	}
	return stale;
}

/* Step 4 to 6. */
static void try_stale_tokens(const struct member *self, const struct job *job,
			     const struct producer *producer, const struct outsider *outsider)
{
	unsigned int issued, seen, stale;
	struct message theirs;
	uint64_t tokens[1024];
	void *block;
	int status;

	write_exactly(outsider->talk, "!", 1);
	read_exactly(outsider->talk, &issued, sizeof(issued));
	read_exactly(outsider->talk, tokens, issued * sizeof(*tokens));
	promise(issued == job->blocks - 1,
		"another process gets each of the %u blocks that were free (%u)",
		job->blocks - 1, issued);
	if (!issued)
		return;

	stale = refused_tokens(self, producer, &seen);
	promise(stale == job->blocks - 1 && stale == seen,
		"each of the %u tokens of the dead is refused with ESTALE (%u of %u)",
		job->blocks - 1, stale, seen);

	theirs = (struct message){ .token = tokens[0], .length = job->block_size };
	block = adopt(self, &theirs);
	promise(all_bytes_are(block, job->block_size, OUTSIDERS_BYTE),
		"a fresh token of the same block is accepted");
	give_back(self, &theirs);

	write_exactly(outsider->talk, "!", 1);
	if (waitpid(outsider->pid, &status, 0) < 0)
		die("waitpid", errno);
	promise(status == 0, "the other process still held the rest, its data intact");
}

int crash_run(const struct job *job)
{
	unsigned long long half = blocks_of_file(job) / 2;
	struct outsider outsider;
	struct producer producer;
	struct message kept;
	struct member self;
	void *block;

	if (blocks_of_file(job) < half + job->blocks + 1) {
		fprintf(stderr, "pipeline: %s fills %llu blocks of %zu bytes: too few to stop half way with %u blocks under way\n",
			job->file, blocks_of_file(job), job->block_size, job->blocks);
		return 2;
	}

	/* All processes begin without a session, so each will have its own. */
	start_outsider(&outsider, job);
	start_producer(&producer, job);
	create_pool(&self, job);
	give_credit(&producer, job->blocks);

	consume_half(&self, &producer, half);
	if (!next_message(&producer, &kept))
		die("the producer has ended early", EPIPE);
	block = adopt(&self, &kept);
	wait_for_messages(&producer, job->blocks - 1);
	promise(stats_of(&self).issued == job->blocks,
		"half way, all %u blocks are issued: 1 adopted, %u with tokens in the pipe",
		job->blocks, job->blocks - 1);

	kill(producer.pid, SIGKILL);
	if (waitpid(producer.pid, NULL, 0) < 0)
		die("waitpid", errno);
	wait_for_issued(&self, 1);
	promise(stats_of(&self).issued == 1 && stats_of(&self).held == 1,
		"the producer was killed: its %u blocks are free again", job->blocks - 1);
	promise(same_as_file(job, block, half), "the block adopted before is intact");

	try_stale_tokens(&self, job, &producer, &outsider);
	give_back(&self, &kept);
	wait_for_issued(&self, 0);
	promise(stats_of(&self).free == job->blocks, "in the end all %u blocks are free",
		job->blocks);
	leave_pool(&self);
	return broken ? 1 : 0;
}
