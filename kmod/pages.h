/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The memory of one chunk: an order-9 compound page or 512 single pages.
 *
 * Each page carries the mapping of one inode of the module and an index that is
 * a constant of the chunk: process-shared futexes key on both, the fault code
 * compares the index with i_size before it maps 2 MiB, and a memory error
 * follows the mapping. The allocator leaves the last user's values there.
 */
#ifndef MP_PAGES_H
#define MP_PAGES_H

#include <linux/mm.h>

#include "core.h"

/**
 * struct mp_pages - the memory of a chunk
 * @head: the compound page, or NULL
 * @single: MP_CHUNK_PAGES pages, or NULL
 */
struct mp_pages {
	struct page *head;
	struct page **single;
};

/* The page at @index, 0 to MP_CHUNK_PAGES - 1. */
static inline struct page *mp_pages_at(const struct mp_pages *pages, unsigned int index)
{
	return pages->head ? pages->head + index : pages->single[index];
}

/* Folios are what is locked and counted: 1 of a compound page, else 512. */
static inline unsigned int mp_pages_nr_folios(const struct mp_pages *pages)
{
	return pages->head ? 1 : MP_CHUNK_PAGES;
}

static inline struct folio *mp_pages_folio(const struct mp_pages *pages, unsigned int nr)
{
	return page_folio(mp_pages_at(pages, nr));
}

int mp_pages_alloc(struct mp_pages *pages, int node);
void mp_pages_adopt(struct mp_pages *pages, unsigned long chunk_nr);
unsigned int mp_pages_free(struct mp_pages *pages);
void mp_pages_zero(const struct mp_pages *pages);

bool mp_pages_poisoned(const struct mp_pages *pages);
bool mp_pages_ours_alone(const struct mp_pages *pages);
bool mp_pages_mapped(const struct mp_pages *pages);
void mp_pages_wait_unlocked(const struct mp_pages *pages);

#endif /* MP_PAGES_H */
