/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A file whose file system is a process (FUSE) that takes requests to read and to
 * write and answers none of them, until it is told to or killed. The memory of a
 * transfer without a cache is in use all that time.
 *
 * The transfers are asynchronous, so that nobody sleeps beyond the reach of
 * signals; but who has begun one ends only after the server has.
 */
#ifndef MP_SILENT_H
#define MP_SILENT_H

#include <linux/aio_abi.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mount.h>

#include "attack.h"

#define MP_SILENT_PATH	"/tmp/silent"
#define MP_SILENT_LEN	(1u << 20)
#define MP_SILENT_MOST	64		/* transfers at a time */

struct mp_silent_shared {
	atomic_bool ready;
	atomic_bool answer;		/* from now on, reads with ... */
	unsigned char value;		/* ... these bytes */
	atomic_uint asked;		/* reads and writes so far */
};

struct mp_silent {
	struct mp_silent_shared *shared;
	pid_t server;
};

/* ---- the server ---------------------------------------------------------------------- */

/* Requests that wait for an answer. */
struct mp_silent_queue {
	struct { __u64 unique; __u32 len; } read[MP_SILENT_MOST];
	unsigned int nr;
};

static inline void mp_silent_reply(int fd, __u64 unique, int error, const void *data,
				   size_t len)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + len, .error = error, .unique = unique,
	};
	struct iovec iov[2] = { { &out, sizeof(out) }, { (void *)data, len } };

	/* ENOENT: the request was given up meanwhile. */
	CHECK(writev(fd, iov, 2) == (ssize_t)out.len || errno == ENOENT);
}

static inline void mp_silent_init(int fd, const struct fuse_in_header *in,
				  const struct fuse_init_in *init)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = init->minor < FUSE_KERNEL_MINOR_VERSION ?
			init->minor : FUSE_KERNEL_MINOR_VERSION,
		.flags = FUSE_ASYNC_READ | FUSE_ASYNC_DIO,
		.max_background = MP_SILENT_MOST,
		.congestion_threshold = MP_SILENT_MOST,
		.max_write = 128 << 10,
	};

	mp_silent_reply(fd, in->unique, 0, &out, sizeof(out));
}

static inline void mp_silent_serve(int fd, const void *request, struct mp_silent_shared *shared,
				   struct mp_silent_queue *queue)
{
	const struct fuse_in_header *in = request;
	const struct fuse_attr_out attr = {
		.attr_valid = 1000,
		.attr = {
			.ino = 1, .size = MP_SILENT_LEN, .mode = S_IFREG | 0666, .nlink = 1,
			.blksize = 4096,
		},
	};
	const struct fuse_open_out opened = { .fh = 1 };

	switch (in->opcode) {
	case FUSE_INIT:
		mp_silent_init(fd, in, (const void *)(in + 1));
		break;
	case FUSE_GETATTR:
		mp_silent_reply(fd, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		mp_silent_reply(fd, in->unique, 0, &opened, sizeof(opened));
		break;
	case FUSE_READ:
		CHECK(queue->nr < MP_SILENT_MOST);
		queue->read[queue->nr].unique = in->unique;
		queue->read[queue->nr++].len = ((const struct fuse_read_in *)(in + 1))->size;
		atomic_fetch_add(&shared->asked, 1);
		break;
	case FUSE_WRITE:
		atomic_fetch_add(&shared->asked, 1);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		mp_silent_reply(fd, in->unique, -ENOSYS, NULL, 0);
	}
}

static inline void mp_silent_answer(int fd, const struct mp_silent_shared *shared,
				    struct mp_silent_queue *queue)
{
	static unsigned char data[MP_SILENT_LEN];

	memset(data, shared->value, sizeof(data));
	while (queue->nr) {
		queue->nr--;
		mp_silent_reply(fd, queue->read[queue->nr].unique, 0, data,
				queue->read[queue->nr].len);
	}
}

/* Debian 12's cloud kernel has it as a module, which the guest is given. */
static inline int mp_silent_device(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), ko;

	if (fd >= 0)
		return fd;
	ko = open("/lib/modules/fuse.ko", O_RDONLY | O_CLOEXEC);
	if (ko < 0 || syscall(SYS_finit_module, ko, "", 0))
		return -1;
	close(ko);
	return open("/dev/fuse", O_RDWR | O_CLOEXEC);
}

static inline int mp_silent_server(void *arg)
{
	struct mp_silent_shared *shared = arg;
	static struct mp_silent_queue queue;
	static __u64 request[(256 << 10) / 8];
	char options[128];
	struct pollfd p;

	close(open(MP_SILENT_PATH, O_CREAT | O_CLOEXEC, 0600));
	p.fd = mp_silent_device();
	p.events = POLLIN;
	CHECK(p.fd >= 0);
	/* The root of a file system may be a file. */
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=100666,user_id=0,group_id=0,allow_other", p.fd);
	CHECK(!mount("silent", MP_SILENT_PATH, "fuse", 0, options));
	atomic_store(&shared->ready, true);
	for (;;) {
		if (poll(&p, 1, 10) > 0 && read(p.fd, request, sizeof(request)) > 0)
			mp_silent_serve(p.fd, request, shared, &queue);
		if (atomic_load(&shared->answer))
			mp_silent_answer(p.fd, shared, &queue);
	}
	return 0;
}

/* ---- whoever uses the file ----------------------------------------------------------- */

static inline bool mp_silent_start(struct mp_silent *f)
{
	__u64 end = mp_now_ms() + MP_PATIENCE * 1000ull;

	f->shared = mp_shared(sizeof(*f->shared));
	if (!f->shared)
		return false;
	f->server = mp_spawn(0, mp_silent_server, f->shared);
	while (!atomic_load(&f->shared->ready) && mp_now_ms() < end &&
	       !waitpid(f->server, NULL, WNOHANG))
		mp_sleep_ms(2);
	return atomic_load(&f->shared->ready);
}

/* All that was begun ends, unanswered. */
static inline void mp_silent_stop(struct mp_silent *f)
{
	mp_kill(f->server);
	umount2(MP_SILENT_PATH, MNT_DETACH);
	munmap(f->shared, sizeof(*f->shared));
}

/* Wait until the server was asked @nr times. */
static inline bool mp_silent_asked(struct mp_silent *f, unsigned int nr)
{
	__u64 end = mp_now_ms() + MP_PATIENCE * 1000ull;

	while (atomic_load(&f->shared->asked) < nr && mp_now_ms() < end)
		mp_sleep_ms(2);
	return atomic_load(&f->shared->asked) >= nr;
}

/* Begin a transfer of the file's first @len bytes to or from @p: 0 or -errno. */
static inline int mp_silent_begin(aio_context_t *ctx, unsigned int opcode, void *p, size_t len)
{
	int fd = open(MP_SILENT_PATH, O_RDWR | O_DIRECT | O_CLOEXEC), ret = 0;
	struct stat st;
	struct iocb cb = {
		.aio_lio_opcode = opcode, .aio_fildes = fd,
		.aio_buf = mp_ptr(p), .aio_nbytes = len,
	}, *cbs = &cb;

	/* A write beyond the end as far as it is known would wait. */
	if (fd < 0 || fstat(fd, &st) ||
	    (!*ctx && syscall(SYS_io_setup, MP_SILENT_MOST, ctx)) ||
	    syscall(SYS_io_submit, *ctx, 1, &cbs) != 1)
		ret = -errno;
	close(fd);
	return ret;
}

/* Wait for the end of one: how many bytes, or -errno. */
static inline long long mp_silent_end(aio_context_t ctx)
{
	struct timespec patience = { MP_PATIENCE, 0 };
	struct io_event event;

	if (syscall(SYS_io_getevents, ctx, 1, 1, &event, &patience) != 1)
		return -ETIME;
	return event.res;
}

#endif /* MP_SILENT_H */
