/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the pipeline's processes have in common
 */
#ifndef PIPELINE_H
#define PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <libmempool.h>

#include "sha256.h"

/* What was asked for on the command line. */
struct job {
	const char *file;
	const char *device;		/* NULL: the library's default */
	size_t block_size;
	unsigned int blocks;
	bool buffered;			/* no O_DIRECT */
	char name[32];			/* of the block pool */
};

/* A process's own session of the device, and the named block pool in it. */
struct member {
	struct mempool *pool;
	struct mempool_blocks *blocks;
};

/*
 * What goes through the data pipe: one block, filled. The token names the block
 * and this one issue of it, so it is good for nothing once the block has been
 * returned. Smaller than PIPE_BUF: never torn.
 */
struct message {
	uint64_t token;
	uint64_t length;		/* bytes of the file in it */
};

/* The producer, seen from the consumer. */
struct producer {
	pid_t pid;
	int data;			/* read end: messages */
	int credit;			/* write end: a byte for each block it may take */
};

/* pipeline.c; all of them end the process with status 2 on an error */
void die(const char *what, int error) __attribute__((noreturn));
void create_pool(struct member *member, const struct job *job);
void join_pool(struct member *member, const struct job *job);
void leave_pool(struct member *member);
struct mempool_blocks_stats stats_of(const struct member *member);
void start_producer(struct producer *producer, const struct job *job);
void give_credit(const struct producer *producer, unsigned int blocks);
bool next_message(const struct producer *producer, struct message *message);
void *adopt(const struct member *member, const struct message *message);
void give_back(const struct member *member, const struct message *message);
void read_exactly(int fd, void *buffer, size_t length);
void write_exactly(int fd, const void *buffer, size_t length);
bool read_or_end(int fd, void *buffer, size_t length);

/* pipeline_crash.c: the run whose producer is killed; an exit status */
int crash_run(const struct job *job);

#endif /* PIPELINE_H */
