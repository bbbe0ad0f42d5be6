// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The character device behind a session. Everything else in the library sends
 * its commands through struct mp_device_ops, so another kind of device is a
 * table of three functions and a line in mp_device_open().
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define INPROC	"memfd:"	/* the in-process device: inproc.c */

static int chardev_ioctl(struct mp_device *dev, unsigned long cmd, void *arg)
{
	int saved = errno, ret = ioctl(dev->fd, cmd, arg);

	if (ret < 0) {
		ret = -errno;
		errno = saved;
	} else if (ret > 0) {
		ret = -EBADE;	/* no command of the contract returns a number */
	}
	mp_tools_answered(cmd, arg);
	return ret;
}

static void *chardev_map(struct mp_device *dev, void *addr, size_t len, int prot, int flags,
			 uint64_t offset)
{
	return mmap(addr, len, prot, flags, dev->fd, (off_t)offset);
}

static void chardev_close(struct mp_device *dev)
{
	int saved = errno;

	close(dev->fd);
	errno = saved;
}

static const struct mp_device_ops chardev_ops = {
	.ioctl = chardev_ioctl,
	.map = chardev_map,
	.close = chardev_close,
};

/* The descriptor is close-on-exec: what runs in our place owns none of our memory. */
int mp_device_open(struct mp_device *dev, const char *name, bool readonly)
{
	int saved = errno, ret = 0;

	if (!strncmp(name, INPROC, strlen(INPROC)))
		return mp_inproc_open(dev, name + strlen(INPROC));
	dev->ops = &chardev_ops;
	dev->priv = NULL;
	dev->fd = open(name, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (dev->fd < 0) {
		ret = -errno;
		errno = saved;
	}
	return ret;
}
