// SPDX-License-Identifier: MIT OR GPL-2.0
/* The memory of one chunk: see pages.h. */

#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>

#include "arena.h"
#include "mmap.h"
#include "pages.h"

/*
 * Never movable, or a long-term pin would fail or migrate the page away; never
 * at the price of other users' memory.
 */
#define MP_GFP	(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY | __GFP_NOWARN)

static int mp_pages_alloc_single(struct mp_pages *pages, int node)
{
	unsigned int i;

	pages->single = kvzalloc_node(MP_CHUNK_PAGES * sizeof(*pages->single),
				      GFP_KERNEL | __GFP_NOWARN, node);
	if (!pages->single)
		return -ENOMEM;
	for (i = 0; i < MP_CHUNK_PAGES; i++) {
		pages->single[i] = alloc_pages_node(node, MP_GFP, 0);
		if (!pages->single[i])
			goto err_pages;
	}
	return 0;

err_pages:
	while (i--)
		__free_page(pages->single[i]);
	kvfree(pages->single);
	pages->single = NULL;
	return -ENOMEM;
}

/**
 * mp_pages_alloc() - takes zeroed memory for a chunk from the system
 * @pages: filled in
 * @node: NUMA node to prefer
 *
 * A compound page of that node, of another node, or single pages. A kernel without
 * huge pages gets single pages: it could not map a compound page by one entry, and
 * MADV_COLD on a part of one would never end, as split_folio() is empty there
 * and reports success (seen on Debian's 6.12 with PREEMPT_RT).
 *
 * Context: sleeps; no lock held.
 * Return: 0 or -ENOMEM.
 */
int mp_pages_alloc(struct mp_pages *pages, int node)
{
	*pages = (struct mp_pages){};
	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		return mp_pages_alloc_single(pages, node);
	pages->head = alloc_pages_node(node, MP_GFP | __GFP_COMP | __GFP_THISNODE, MP_CHUNK_ORDER);
	if (!pages->head)
		pages->head = alloc_pages_node(node, MP_GFP | __GFP_COMP, MP_CHUNK_ORDER);
	if (pages->head)
		return 0;
	return mp_pages_alloc_single(pages, node);
}

/**
 * mp_pages_adopt() - marks fresh memory as chunk @chunk_nr's
 * @pages: not yet reachable by anybody
 * @chunk_nr: place in the reserve
 */
void mp_pages_adopt(struct mp_pages *pages, unsigned long chunk_nr)
{
	unsigned int i;

	for (i = 0; i < mp_pages_nr_folios(pages); i++) {
		struct folio *folio = mp_pages_folio(pages, i);

		folio->mapping = mp_reserve_mapping();
		folio->index = chunk_nr * MP_CHUNK_PAGES + i;
	}
}

/**
 * mp_pages_free() - gives the memory back to the system
 * @pages: unmapped; emptied. Pages that somebody still refers to go back when
 *	that reference is dropped
 *
 * Memory with an error in it is not given back.
 *
 * Context: sleeps.
 * Return: pages given back, 0 or MP_CHUNK_PAGES.
 */
unsigned int mp_pages_free(struct mp_pages *pages)
{
	bool poisoned = mp_pages_poisoned(pages);
	unsigned int i;

	for (i = 0; i < mp_pages_nr_folios(pages); i++) {
		struct folio *folio = mp_pages_folio(pages, i);

		/* A memory error or a futex may be looking at the mapping. */
		folio_lock(folio);
		folio->mapping = NULL;
		folio_unlock(folio);
		if (!poisoned)
			folio_put(folio);
	}
	kvfree(pages->single);
	*pages = (struct mp_pages){};
	return poisoned ? 0 : MP_CHUNK_PAGES;
}

/**
 * mp_pages_zero() - clears the memory
 * @pages: ours alone
 *
 * Context: sleeps.
 */
void mp_pages_zero(const struct mp_pages *pages)
{
	unsigned int i;

	for (i = 0; i < MP_CHUNK_PAGES; i++) {
		clear_highpage(mp_pages_at(pages, i));
		if (!(i % 32))
			cond_resched();
	}
}

/* Has any page had a memory error? */
bool mp_pages_poisoned(const struct mp_pages *pages)
{
	unsigned int i;

	for (i = 0; i < MP_CHUNK_PAGES; i++)
		if (PageHWPoison(mp_pages_at(pages, i)))
			return true;
	return false;
}

/*
 * Does nobody but us refer to any page? Counts page tables, pins by any means,
 * and what another CPU's TLB flush still holds.
 */
bool mp_pages_ours_alone(const struct mp_pages *pages)
{
	unsigned int i;

	for (i = 0; i < mp_pages_nr_folios(pages); i++)
		if (folio_ref_count(mp_pages_folio(pages, i)) != 1)
			return false;
	return true;
}

/* Is any page in a page table? */
bool mp_pages_mapped(const struct mp_pages *pages)
{
	unsigned int i;

	for (i = 0; i < mp_pages_nr_folios(pages); i++)
		if (folio_mapped(mp_pages_folio(pages, i)))
			return true;
	return false;
}

/**
 * mp_pages_wait_unlocked() - waits for every fault that is under way
 * @pages: of a chunk whose right to be mapped was taken away before
 *
 * A fault handler that still saw the right holds the lock of its page until the
 * page table entry is there; one that comes later sees that the right is gone.
 *
 * Context: sleeps; no lock held.
 */
void mp_pages_wait_unlocked(const struct mp_pages *pages)
{
	unsigned int i;

	for (i = 0; i < mp_pages_nr_folios(pages); i++) {
		struct folio *folio = mp_pages_folio(pages, i);

		folio_lock(folio);
		folio_unlock(folio);
	}
}
