/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Arena: the reserve's chunks and the state of each.
 *
 * A chunk is 2 MiB: one order-9 compound page where the machine could give it,
 * 512 single pages where it could not. At every moment it is in one state:
 *
 *	free      zero, ours alone, on its node's list
 *	owned     of one session or named pool, which alone may map it
 *	leaving   owner cleared, being taken out of page tables
 *	pinned    somebody still refers to a page of it; looked at again later
 *	cleaning  ours alone, waiting to be zeroed or being zeroed
 *	retired   a page of it had a memory error; never used again
 *
 *	free + owned + leaving + pinned + cleaning + retired == total
 *
 *	free -> owned -> leaving -> cleaning -> free
 *	                    |  ^        ^
 *	                    |  +-pinned-+
 *	                    +-> retired
 *
 * mp_arena.lock protects states, lists and all counts; it is held for tables
 * only. mp_chunk.lock, which nests inside it, protects which pages a chunk has
 * and whose it is: .fault takes its page reference under it.
 */
#ifndef MP_ARENA_H
#define MP_ARENA_H

#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "core.h"
#include "owner.h"
#include "pages.h"

#define MP_CHUNK_ORDER	(21 - PAGE_SHIFT)

enum mp_chunk_state {
	MP_CHUNK_FREE,
	MP_CHUNK_OWNED,
	MP_CHUNK_LEAVING,
	MP_CHUNK_PINNED,
	MP_CHUNK_CLEANING,
	MP_CHUNK_RETIRED,
	MP_CHUNK_STATES,
};

/**
 * struct mp_chunk - 2 MiB of the reserve
 * @lock: protects @pages and @owner for .fault
 * @state: written under the arena's lock
 * @looks: how often a pinned chunk was looked at; arena lock
 * @node: NUMA node of its memory; changes with @pages
 * @pages: its memory
 * @owner: who may map it; NULL unless owned. Written under @lock
 * @charged: whose account it is on: @owner, or who gave it back; arena lock
 * @list: node's free list, dirty list or pinned list; arena lock. While owned,
 *	leaving or being cleaned: private to who moves it
 * @slot: while owned: its slot number in the owner's space; the owner's lock
 * @next_look: jiffies; arena lock
 */
struct mp_chunk {
	spinlock_t lock;
	u8 state;
	u8 looks;
	int node;
	struct mp_pages pages;
	struct mp_owner *owner;
	struct mp_owner *charged;
	struct list_head list;
	u64 slot;
	unsigned long next_look;
};

/**
 * struct mp_arena - the reserve
 * @lock: see the file comment
 * @chunks: table of @nr_chunks, immutable after load
 * @nr_chunks: chunks in the reserve
 * @nr_huge: of them, compound; arena lock
 * @nr: chunks by state
 * @peak: most chunks ever owned, leaving or pinned at once
 * @free: lists of free chunks by node
 * @dirty: chunks in state cleaning that nobody zeroes yet
 * @pinned: chunks in state pinned
 * @exiles: pinned memory that was replaced by fresh
 * @nr_replaced: of these
 * @user_limit: most chunks charged to a user; 0: none
 * @spare: most pinned chunks replaced at a time
 * @events: rises when a chunk became free, or stopped moving
 * @wait: woken with @events
 */
struct mp_arena {
	spinlock_t lock;
	struct mp_chunk *chunks;
	unsigned long nr_chunks;
	unsigned long nr_huge;
	unsigned long nr[MP_CHUNK_STATES];
	unsigned long peak;
	struct list_head *free;
	struct list_head dirty;
	struct list_head pinned;
	struct list_head exiles;
	unsigned long nr_replaced;
	unsigned long user_limit;
	unsigned long spare;
	unsigned long events;
	wait_queue_head_t wait;
};

extern struct mp_arena mp_arena;
extern struct workqueue_struct *mp_workers;

int mp_arena_init(u64 reserve, unsigned long user_limit, unsigned long spare);
void mp_arena_exit(void);

/* Charging and the free lists: see acquire.c for how a request is met. */
void mp_arena_set_limit(struct mp_owner *owner, unsigned long limit);
int mp_arena_charge(struct mp_owner *owner, unsigned long nr);
void mp_arena_uncharge(struct mp_owner *owner, unsigned long nr);
void mp_uncharge_user(struct mp_owner *owner, unsigned long nr);
void mp_chunk_to_free(struct mp_chunk *chunk);
unsigned long mp_arena_take_all(struct mp_owner *owner, unsigned long nr, int node,
				struct list_head *chunks);
unsigned long mp_arena_take_some(struct mp_owner *owner, unsigned long nr, int node,
				 struct list_head *chunks);
void mp_arena_return_clean(struct list_head *chunks);
void mp_arena_dispose(struct list_head *chunks);
void mp_arena_grant(struct mp_chunk *chunk, struct mp_owner *owner, struct list_head *chunks);

/* The way out of ownership: see mmap.c for the order. */
void mp_chunk_leave(struct mp_chunk *chunk);
void mp_chunk_settle(struct mp_chunk *chunk);

/* What can be done when chunks are short. */
struct mp_chunk *mp_arena_claim_dirty(void);
bool mp_chunk_clean(struct mp_chunk *chunk);
unsigned long mp_arena_coming(unsigned long *events);

/* For .fault. */
struct page *mp_chunk_get_page(struct mp_chunk *chunk, const struct mp_owner *session,
			       unsigned int index);
bool mp_chunk_has_page(struct mp_chunk *chunk, const struct mp_owner *session,
		       unsigned int index, const struct page *page);

static inline unsigned long mp_chunk_nr(const struct mp_chunk *chunk)
{
	return chunk - mp_arena.chunks;
}

static inline bool mp_chunk_is_huge(const struct mp_chunk *chunk)
{
	return chunk->pages.head;
}

#endif /* MP_ARENA_H */
