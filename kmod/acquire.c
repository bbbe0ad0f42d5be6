// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * How a request for chunks is met.
 *
 * Nearly always from the free lists alone. When they fall short, one
 * request at a time (mp_short_lock) goes through these, in this order, until it
 * has enough:
 *
 *	1. count first: free, leaving and cleaning chunks and other sessions' idle
 *	   ones; if pinned chunks are needed too, look at them again and replace
 *	   some. If the sum cannot meet the request: ENOMEM, and nobody has lost
 *	   anything;
 *	2. zero a chunk that waits for it;
 *	3. take idle chunks of other sessions, only as many as are missing, the
 *	   longest idle session first;
 *	4. wait for chunks that others are handing over or zeroing.
 *
 * Order of locks: mp_short_lock; then mp_pinned_lock (pinned.c), or the sessions'
 * list and a session's mutex. No session's mutex is held by the caller.
 */

#include <linux/mutex.h>
#include <linux/sched/signal.h>

#include "acquire.h"
#include "arena.h"
#include "mmap.h"
#include "pinned.h"
#include "session.h"
#include "trace.h"

static DEFINE_MUTEX(mp_short_lock);

struct mp_request {
	struct mp_owner *owner;
	unsigned long missing;
	int node;
	struct list_head *chunks;
	unsigned long events;		/* of the arena, when last counted */
};

/* Idle chunks first: one that is handed over in between is then counted twice, not never. */
static unsigned long mp_within_reach(struct mp_request *req, unsigned long *coming)
{
	unsigned long idle = mp_sessions_idle(req->owner);

	*coming = mp_arena_coming(&req->events);
	return *coming + idle;
}

/* Step 1. @coming: what needs no session's idle chunks. */
static bool mp_request_possible(struct mp_request *req, unsigned long *coming)
{
	if (mp_within_reach(req, coming) >= req->missing)
		return true;
	mp_arena_look_at_pinned(true);
	while (mp_within_reach(req, coming) < req->missing)
		if (!mp_arena_replace_pinned())
			break;
	/* Anew: a pin may have ended, which left nothing to replace. */
	return mp_within_reach(req, coming) >= req->missing;
}

/* Step 2. */
static bool mp_request_clean_one(struct mp_request *req)
{
	struct mp_chunk *chunk = mp_arena_claim_dirty();

	if (!chunk)
		return false;
	if (mp_chunk_clean(chunk)) {
		mp_arena_grant(chunk, req->owner, req->chunks);
		req->missing--;
	}
	return true;
}

/*
 * Step 4. The time limit only guards against a missed count, unless too little is
 * coming: then an idle chunk was put to use again before it could be taken, and
 * no event tells when it is idle again.
 */
static void mp_request_wait(struct mp_request *req, bool coming)
{
	wait_event_killable_timeout(mp_arena.wait,
				    READ_ONCE(mp_arena.events) != req->events,
				    coming ? HZ : 1);
}

static int mp_request_step(struct mp_request *req)
{
	unsigned long coming, taken;

	if (fatal_signal_pending(current))
		return -EINTR;
	if (!mp_request_possible(req, &coming))
		return -ENOMEM;
	taken = mp_arena_take_some(req->owner, req->missing, req->node, req->chunks);
	req->missing -= taken;
	coming -= min(coming, taken);	/* they have come */
	if (!req->missing || mp_request_clean_one(req))
		return 0;
	if (coming < req->missing &&
	    mp_sessions_reclaim(req->owner, req->missing - coming))
		return 0;
	mp_request_wait(req, coming >= req->missing);
	return 0;
}

static int mp_acquire_short(struct mp_request *req)
{
	int err;

	mp_raise_pressure();
	if (mutex_lock_killable(&mp_short_lock)) {
		mp_arena_return_clean(req->chunks);
		return -EINTR;
	}
	do {
		err = mp_request_step(req);
	} while (!err && req->missing);
	/* Before the next request counts: of two that are too large together one is met. */
	if (err)
		mp_arena_return_clean(req->chunks);
	mutex_unlock(&mp_short_lock);
	return err;
}

/**
 * mp_acquire() - takes chunks for an owner, all or none
 * @owner: session or named pool; charged with them
 * @nr: how many
 * @node: NUMA node whose chunks come first, or NUMA_NO_NODE
 * @chunks: they are added here, zeroed, in state owned
 *
 * Context: sleeps; the caller holds no mutex of a session or pool.
 * Return: 0; -EDQUOT; -ENOMEM; -EINTR when a fatal signal came.
 */
int mp_acquire(struct mp_owner *owner, unsigned long nr, int node, struct list_head *chunks)
{
	LIST_HEAD(taken);
	struct mp_request req = {
		.owner = owner, .missing = nr, .node = node, .chunks = &taken,
	};
	int err;

	err = mp_arena_charge(owner, nr);
	if (err) {
		trace_mp_exhausted(owner, nr, nr, err);
		return err;
	}
	req.missing -= mp_arena_take_all(owner, nr, node, &taken);
	if (req.missing)
		err = mp_acquire_short(&req);
	if (err) {
		trace_mp_exhausted(owner, nr, req.missing, err);
		mp_arena_uncharge(owner, req.missing);
		return err;
	}
	list_splice_tail(&taken, chunks);
	return 0;
}
