// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * pipeline - a file goes from one process to another without a copy
 *
 * Two processes share a named block pool. The producer reads a file with O_DIRECT
 * straight into blocks, so the disk's controller writes where the data will stay.
 * It sends the consumer a token for each block through a pipe: 16 bytes, however
 * large the block. The consumer adopts the block, hashes the data where they lie,
 * returns the block, and tells the producer that it may take another one.
 *
 *	producer                  pool                   consumer
 *	get block  <------------- free
 *	read file into it         held by the producer
 *	token  ------------------ pipe ----------------> adopt
 *	                          held by the consumer   SHA-256
 *	                          free <---------------- return block
 *	may take one more  <----- pipe ----------------- credit
 *
 * Who holds a block is known to the kernel at every moment, so no process can
 * lose one by dying: see pipeline_crash.c, which is run by --crash.
 *
 * Output is that of sha256sum. Exit status: 0, 1 when a promise was broken, 2
 * for errors.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pipeline.h"

#define SECTOR 512	/* the least that O_DIRECT reads at once */

void die(const char *what, int error)
{
	fprintf(stderr, "pipeline[%d]: %s: %s\n", (int)getpid(), what, strerror(error));
	exit(2);
}

/* ---- sessions ---- */

static void open_session(struct member *member, const struct job *job)
{
	struct mempool_options options = MEMPOOL_OPTIONS_INIT;
	int err;

	options.device = job->device;
	err = mempool_open(&member->pool, &options);
	if (err)
		die(job->device ? job->device : "mempool_open", -err);
}

void create_pool(struct member *member, const struct job *job)
{
	struct mempool_blocks_options options = MEMPOOL_BLOCKS_OPTIONS_INIT;
	int err;

	open_session(member, job);
	options.name = job->name;
	options.mode = 0600;
	options.block_size = job->block_size;
	options.num_blocks = job->blocks;
	err = mempool_blocks_create(&member->blocks, member->pool, &options);
	if (err)
		die("mempool_blocks_create", -err);
}

void join_pool(struct member *member, const struct job *job)
{
	int err;

	open_session(member, job);
	err = mempool_blocks_open(&member->blocks, member->pool, job->name);
	if (err)
		die("mempool_blocks_open", -err);
}

/* The pool itself ends with its last member. */
void leave_pool(struct member *member)
{
	mempool_blocks_close(member->blocks);
	mempool_close(member->pool);
}

struct mempool_blocks_stats stats_of(const struct member *member)
{
	struct mempool_blocks_stats stats;
	int err = mempool_blocks_get_stats(member->blocks, &stats, sizeof(stats));

	if (err)
		die("mempool_blocks_get_stats", -err);
	return stats;
}

/* ---- pipes ---- */

/* False at the end of the pipe. */
bool read_or_end(int fd, void *buffer, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = read(fd, (char *)buffer + done, length - done);

		if (n < 0 && errno != EINTR)
			die("reading from a pipe", errno);
		if (n == 0)
			return false;
		if (n > 0)
			done += n;
	}
	return true;
}

void read_exactly(int fd, void *buffer, size_t length)
{
	if (!read_or_end(fd, buffer, length))
		die("the other process has ended early", EPIPE);
}

void write_exactly(int fd, const void *buffer, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = write(fd, (const char *)buffer + done, length - done);

		if (n < 0 && errno != EINTR)
			die("writing to a pipe", errno);
		if (n > 0)
			done += n;
	}
}

/* ---- the producer ---- */

/*
 * Fill a block from @offset of the file; how much there was. With O_DIRECT a
 * read of less than whole sectors can only be the file's end, and to go on from
 * there would be EINVAL.
 */
static size_t fill_block(int fd, char *block, off_t offset, const struct job *job)
{
	size_t have = 0;

	while (have < job->block_size) {
		ssize_t n = pread(fd, block + have, job->block_size - have, offset + have);

		if (n < 0 && errno != EINTR)
			die(job->file, errno);
		if (n == 0)
			break;
		if (n > 0)
			have += n;
		if (!job->buffered && have % SECTOR)
			break;
	}
	return have;
}

static int open_file(const struct job *job)
{
	int fd = open(job->file, O_RDONLY | O_CLOEXEC | (job->buffered ? 0 : O_DIRECT));

	if (fd < 0 && errno == EINVAL && !job->buffered)
		fprintf(stderr, "pipeline: no O_DIRECT on this file system: try --buffered\n");
	if (fd < 0)
		die(job->file, errno);
	return fd;
}

static void __attribute__((noreturn)) produce(const struct job *job, int data, int credit)
{
	int fd = open_file(job), err;
	struct message message;
	struct member self;
	unsigned int index;
	off_t offset = 0;
	char *block, one;

	/* The first credit says that the pool is there. */
	read_exactly(credit, &one, 1);
	join_pool(&self, job);
	for (;;) {
		block = mempool_get_block(self.blocks, &index);
		if (!block)
			die("mempool_get_block", errno);
		message.length = fill_block(fd, block, offset, job);
		if (!message.length)
			break;
		err = mempool_block_token(self.blocks, index, &message.token);
		if (err)
			die("mempool_block_token", -err);
		write_exactly(data, &message, sizeof(message));
		offset += message.length;
		if (message.length < job->block_size)
			break;
		read_exactly(credit, &one, 1);
	}
	/*
	 * A token is good while its sender holds the block: stay until the
	 * consumer has everything and closes its end.
	 */
	close(data);
	while (read_or_end(credit, &one, 1))
		;
	leave_pool(&self);
	exit(0);
}

/* Called before this process has a session: the producer opens its own. */
void start_producer(struct producer *producer, const struct job *job)
{
	int data[2], credit[2];

	if (pipe2(data, O_CLOEXEC) || pipe2(credit, O_CLOEXEC))
		die("pipe2", errno);
	fflush(NULL);
	producer->pid = fork();
	if (producer->pid < 0)
		die("fork", errno);
	if (producer->pid == 0) {
		close(data[0]);
		close(credit[1]);
		produce(job, data[1], credit[0]);
	}
	close(data[1]);
	close(credit[0]);
	producer->data = data[0];
	producer->credit = credit[1];
}

/* ---- the consumer ---- */

/* A producer that has ended does not read its credits; its status will tell. */
void give_credit(const struct producer *producer, unsigned int blocks)
{
	for (; blocks; blocks--) {
		if (write(producer->credit, "+", 1) != 1 && errno != EPIPE)
			die("credit", errno);
	}
}

bool next_message(const struct producer *producer, struct message *message)
{
	return read_or_end(producer->data, message, sizeof(*message));
}

/* Become the holder of the message's block; where its data lie. */
void *adopt(const struct member *member, const struct message *message)
{
	int err = mempool_adopt_block(member->blocks, message->token);
	void *block;

	if (err)
		die("mempool_adopt_block", -err);
	block = mempool_block_at(member->blocks, mempool_token_index(message->token));
	if (!block)
		die("mempool_block_at", errno);
	return block;
}

void give_back(const struct member *member, const struct message *message)
{
	int err = mempool_return_block(member->blocks, mempool_token_index(message->token));

	if (err)
		die("mempool_return_block", -err);
}

static int whole_run(const struct job *job, bool verbose)
{
	unsigned char digest[SHA256_BYTES];
	unsigned long long messages = 0, bytes = 0;
	struct mempool_blocks_stats stats;
	struct producer producer;
	struct message message;
	struct sha256 hash;
	struct member self;
	int status;

	start_producer(&producer, job);
	create_pool(&self, job);
	give_credit(&producer, job->blocks);
	sha256_init(&hash);
	while (next_message(&producer, &message)) {
		sha256_update(&hash, adopt(&self, &message), message.length);
		give_back(&self, &message);
		give_credit(&producer, 1);
		messages++;
		bytes += message.length;
	}
	close(producer.credit);
	if (waitpid(producer.pid, &status, 0) < 0)
		die("waitpid", errno);
	if (WIFSIGNALED(status))
		fprintf(stderr, "pipeline: the producer was killed\n");
	if (status)
		return 2;	/* if it has ended by itself, it has said why */

	sha256_final(&hash, digest);
	for (int i = 0; i < SHA256_BYTES; i++)
		printf("%02x", digest[i]);
	printf("  %s\n", job->file);

	stats = stats_of(&self);
	if (verbose)
		fprintf(stderr, "pipeline: %llu bytes in %llu messages%s; %llu blocks adopted, "
			"%llu of %llu free\n", bytes, messages,
			job->buffered ? "" : " by O_DIRECT", (unsigned long long)stats.adopts,
			(unsigned long long)stats.free, (unsigned long long)stats.num_blocks);
	leave_pool(&self);
	if (stats.issued || stats.adopts != messages) {
		fprintf(stderr, "pipeline: BROKEN: %llu blocks not free, %llu of %llu adopted\n",
			(unsigned long long)stats.issued, (unsigned long long)stats.adopts,
			messages);
		return 1;
	}
	return 0;
}

static void usage(FILE *to)
{
	fputs("usage: pipeline [options] FILE\n"
	      "SHA-256 of a file or disk, read by one process and hashed by another where the\n"
	      "data lie: in blocks of a named pool that both share.\n"
	      "  -c, --crash             kill the producer half way, and show that nothing is\n"
	      "                          lost and that its last tokens are worthless\n"
	      "  -s, --block-size=BYTES  multiple of 4096 (default 262144)\n"
	      "  -b, --blocks=COUNT      blocks in the pool, 2 to 1024 (default 8)\n"
	      "      --buffered          read through the page cache, not by O_DIRECT\n"
	      "  -d, --device=DEVICE     device node (default: $MEMPOOL_DEVICE, then\n"
	      "                          " MEMPOOL_DEVICE_DEFAULT ")\n"
	      "  -v, --verbose           say what was done\n"
	      "  -h, --help              this text\n", to);
}

/* A number from @low to @high and a multiple of @step, or an end with status 2. */
static unsigned long number(const char *text, const char *what, unsigned long low,
			    unsigned long high, unsigned long step)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value < low || value > high || value % step) {
		fprintf(stderr, "pipeline: %s: wants a multiple of %lu from %lu to %lu\n", what,
			step, low, high);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "crash", no_argument, NULL, 'c' },
		{ "block-size", required_argument, NULL, 's' },
		{ "blocks", required_argument, NULL, 'b' },
		{ "buffered", no_argument, NULL, 'B' },
		{ "device", required_argument, NULL, 'd' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct job job = { .block_size = 256 * 1024, .blocks = 8 };
	bool crash = false, verbose = false;
	int c;

	while ((c = getopt_long(argc, argv, "cs:b:d:vh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			crash = true;
			break;
		case 's':
			job.block_size = number(optarg, "--block-size", 4096, 1UL << 30, 4096);
			break;
		case 'b':
			job.blocks = number(optarg, "--blocks", 2, 1024, 1);
			break;
		case 'B':
			job.buffered = true;
			break;
		case 'd':
			job.device = optarg;
			break;
		case 'v':
			verbose = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind != argc - 1) {
		usage(stderr);
		return 2;
	}
	job.file = argv[optind];
	snprintf(job.name, sizeof(job.name), "pipeline.%d", (int)getpid());
	signal(SIGPIPE, SIG_IGN);
	return crash ? crash_run(&job) : whole_run(&job, verbose);
}
