/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Pages that userfaultfd withholds, so that a command stands still where it reads or
 * writes the user's memory, for as long as an attack takes.
 */
#ifndef MP_WITHHELD_H
#define MP_WITHHELD_H

#include <linux/userfaultfd.h>

#include "attack.h"

/* Withhold the page at @page, of a private mapping: a descriptor or -errno. */
static inline int withhold_at(unsigned char *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING,
		.range = { mp_ptr(page), 4096 },
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

/* The last of @nr fresh pages is withheld. */
static inline int withhold_last(unsigned char **page, unsigned int nr)
{
	unsigned char *p = mmap(NULL, nr * 4096, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*page = p + (nr - 1) * 4096;
	return withhold_at(*page);
}

static inline int withhold(unsigned char **page)
{
	return withhold_last(page, 1);
}

/* Wait until somebody asks for the page. */
static inline void await_fault(int uffd)
{
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		;
}

static inline int give_page(int uffd, unsigned char *page, const void *content, size_t len)
{
	static unsigned char full[4096];
	struct uffdio_copy copy = {
		.dst = mp_ptr(page), .src = mp_ptr(full), .len = 4096,
	};

	memset(full, 0, sizeof(full));
	memcpy(full, content, len);
	return ioctl(uffd, UFFDIO_COPY, &copy) ? -errno : 0;
}

/* ---- a command in a thread of its own ------------------------------------------------ */

struct call {
	int fd, ret;
	unsigned long cmd;
	void *arg;
	pthread_t thread;
};

static inline void *do_call(void *arg)
{
	struct call *c = arg;

	c->ret = mp_ioctl(c->fd, c->cmd, c->arg);
	return NULL;
}

static inline int begin_call(struct call *c, int fd, unsigned long cmd, void *arg)
{
	*c = (struct call){ .fd = fd, .cmd = cmd, .arg = arg };
	return pthread_create(&c->thread, NULL, do_call, c);
}

static inline int end_call(struct call *c)
{
	pthread_join(c->thread, NULL);
	return c->ret;
}

#endif /* MP_WITHHELD_H */
