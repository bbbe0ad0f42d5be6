// SPDX-License-Identifier: MIT OR GPL-2.0
/* The memory of an in-process device: see memfd.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memfd.h"
#include "uapi/mempool.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define CHUNK	((uint64_t)MEMPOOL_CHUNK_SIZE)
#define PAGE	4096

static char *chunk_at(const struct mp_memfd *m, uint64_t slot)
{
	return m->map + slot * CHUNK;
}

/* The slot's memory, of which there is some, back to the system. */
static void forget(struct mp_memfd *m, uint64_t slot)
{
	m->kept[slot] = false;
	m->nr_kept--;
	madvise(chunk_at(m, slot), CHUNK, MADV_REMOVE);
}

/* One of the chunks that are kept goes, so that another can have memory. */
static void forget_one(struct mp_memfd *m)
{
	while (!m->kept[m->hand])
		m->hand = (m->hand + 1) % (m->space / CHUNK);
	forget(m, m->hand);
}

/*
 * Memory for a slot, one huge page where the system can. A file's hole is not
 * collapsed, but one page of it is enough: the kernel then clears the huge page
 * at once, where 512 pages filled before would each be taken, cleared, copied
 * and freed (three to six times as long).
 */
int mp_memfd_take(struct mp_memfd *m, uint64_t slot)
{
	char *addr = chunk_at(m, slot);

	if (m->kept[slot]) {
		m->kept[slot] = false;
		m->nr_kept--;
	} else {
		if (m->nr_kept && m->nr_used + m->nr_kept >= m->nr_chunks)
			forget_one(m);
		if (madvise(addr, PAGE, MADV_POPULATE_WRITE) && errno == ENOMEM)
			return -ENOMEM;
		madvise(addr, CHUNK, MADV_COLLAPSE);
		if (madvise(addr, CHUNK, MADV_POPULATE_WRITE) && errno == ENOMEM) {
			madvise(addr, CHUNK, MADV_REMOVE);
			return -ENOMEM;
		}
	}
	m->nr_used++;
	return 0;
}

/* The slot is free; its memory stays, as it is. */
void mp_memfd_give(struct mp_memfd *m, uint64_t slot)
{
	m->nr_used--;
	m->kept[slot] = true;
	m->nr_kept++;
}

/* What is kept goes back to the system. */
void mp_memfd_drop(struct mp_memfd *m)
{
	while (m->nr_kept)
		forget_one(m);
}

/* An address that chunks can be mapped to whole; [*@addr, +@len) is reserved. */
static int reserve_aligned(size_t len, char **addr)
{
	size_t room = len + CHUNK, head;
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -1;
	head = -(uintptr_t)p % CHUNK;
	if (head)
		munmap(p, head);
	munmap(p + head + len, room - head - len);
	*addr = p + head;
	return 0;
}

/* As mmap() of the file; huge pages fit where the kernel may choose the address. */
void *mp_memfd_map(struct mp_memfd *m, void *addr, size_t len, int prot, int flags,
		   uint64_t offset)
{
	char *aligned;

	if (!addr && len >= CHUNK && !reserve_aligned(len, &aligned)) {
		addr = aligned;
		flags |= MAP_FIXED;
	}
	return mmap(addr, len, prot, flags, m->fd, (off_t)offset);
}

/* -errno: mp_memfd_exit() all the same. */
int mp_memfd_init(struct mp_memfd *m, uint64_t nr_chunks, uint64_t space)
{
	char *map;

	*m = (struct mp_memfd){ .fd = -1, .nr_chunks = nr_chunks, .space = space };
	m->kept = calloc(space / CHUNK, sizeof(m->kept[0]));
	if (!m->kept || space > SIZE_MAX / 2)
		return -ENOMEM;
	m->fd = memfd_create("mempool", MFD_CLOEXEC);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)space))
		return -errno;
	map = mp_memfd_map(m, NULL, space, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	if (map == MAP_FAILED)
		return -errno;
	m->map = map;
	return 0;
}

/* Also of one that was never initialised: all zero. */
void mp_memfd_exit(struct mp_memfd *m)
{
	if (!m->kept)
		return;
	if (m->map)
		munmap(m->map, m->space);
	if (m->fd >= 0)
		close(m->fd);
	free(m->kept);
}
