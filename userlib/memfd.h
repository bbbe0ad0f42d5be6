/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The memory of an in-process device: a sparse file of this process' own, as
 * large as the offset space, of which at most the reserve is ever backed.
 *
 * As the module's reserve, memory that was taken stays: a chunk that is given
 * back keeps its memory for whoever takes the same slot next, until the reserve
 * is needed elsewhere or mp_memfd_drop() is called.
 *
 * No locks: the device's protects it.
 */
#ifndef MP_MEMFD_H
#define MP_MEMFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct mp_memfd - the file
 * @fd: or -1
 * @map: all of it, mapped
 * @space: its size
 * @nr_chunks: most that may have memory
 * @nr_used: chunks taken
 * @nr_kept: chunks given back that have memory still
 * @kept: by slot: is it one of these?
 * @hand: where to look next for one to give up
 */
struct mp_memfd {
	int fd;
	char *map;
	uint64_t space;
	uint64_t nr_chunks;
	uint64_t nr_used;
	uint64_t nr_kept;
	bool *kept;
	uint64_t hand;
};

int mp_memfd_init(struct mp_memfd *m, uint64_t nr_chunks, uint64_t space);
void mp_memfd_exit(struct mp_memfd *m);
int mp_memfd_take(struct mp_memfd *m, uint64_t slot);
void mp_memfd_give(struct mp_memfd *m, uint64_t slot);
void mp_memfd_drop(struct mp_memfd *m);
void *mp_memfd_map(struct mp_memfd *m, void *addr, size_t len, int prot, int flags,
		   uint64_t offset);

#endif /* MP_MEMFD_H */
