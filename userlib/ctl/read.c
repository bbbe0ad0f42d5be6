// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Files of sysfs, procfs and debugfs, below the directory of --root.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

static const char *root = "";

void read_root(const char *dir)
{
	root = dir;
}

/* Valid until the next call. */
const char *read_path(const char *path)
{
	static char full[4096];

	if ((size_t)snprintf(full, sizeof(full), "%s%s", root, path) >= sizeof(full))
		fail(EXIT_ERROR, "path too long: %s", path);
	return full;
}

/* The whole of a file, freed by the caller; NULL and *@error when it cannot be read. */
char *read_file(const char *path, int *error)
{
	size_t len = 0, size = 4096;
	char *text = malloc(size);
	ssize_t n = -1;
	int fd;

	if (!text)
		fail(EXIT_ERROR, "out of memory");
	fd = open(read_path(path), O_RDONLY | O_CLOEXEC | O_NOCTTY);
	while (fd >= 0 && (n = read(fd, text + len, size - len - 1)) > 0) {
		len += n;
		if (size - len > 1)
			continue;
		size *= 2;
		text = realloc(text, size);
		if (!text)
			fail(EXIT_ERROR, "out of memory");
	}
	*error = n < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

/* Is @dir/@name a whole number? */
bool read_number(const char *dir, const char *name, uint64_t *value)
{
	char path[512], *text, *end;
	bool good;
	int error;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	text = read_file(path, &error);
	if (!text)
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	good = end != text && *text != '-' && !errno && (*end == '\n' || !*end);
	free(text);
	return good;
}

void read_need_module(void)
{
	if (access(read_path(SYSFS), F_OK))
		fail(EXIT_NO_MODULE, "the module is not loaded: there is no %s (modprobe mempool)",
		     SYSFS);
}

/* 0 or an errno value */
int read_write_file(const char *path, const char *text)
{
	int fd = open(read_path(path), O_WRONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		error = errno;
	close(fd);
	return error;
}
