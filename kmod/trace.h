/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Tracepoints: /sys/kernel/tracing/events/mempool/.
 *
 * They say what happened to chunks and blocks, and, when a request was refused,
 * which layer refused it and what there was. Ids are those of fdinfo and
 * debugfs. Off, each costs a jump that is not taken.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mempool

#if !defined(MP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MP_TRACE_H

#include <linux/tracepoint.h>

#include "arena.h"
#include "session.h"

#define mp_show_owner(kind)							\
	__print_symbolic(kind, { MP_OWNER_SESSION, "session" }, { MP_OWNER_POOL, "pool" })

#define mp_show_state(state)							\
	__print_symbolic(state,							\
			 { MP_CHUNK_FREE, "free" },				\
			 { MP_CHUNK_OWNED, "owned" },				\
			 { MP_CHUNK_LEAVING, "leaving" },			\
			 { MP_CHUNK_PINNED, "pinned" },				\
			 { MP_CHUNK_CLEANING, "cleaning" },			\
			 { MP_CHUNK_RETIRED, "retired" })

/* A chunk came to an owner, or went its way from one. */
DECLARE_EVENT_CLASS(mp_chunk,
	TP_PROTO(const struct mp_chunk *chunk, const struct mp_owner *owner, u8 state),
	TP_ARGS(chunk, owner, state),
	TP_STRUCT__entry(
		__field(unsigned long, chunk)
		__field(u64, id)
		__field(int, kind)
		__field(u8, state)
	),
	TP_fast_assign(
		__entry->chunk = mp_chunk_nr(chunk);
		__entry->id = owner->id;
		__entry->kind = owner->kind;
		__entry->state = state;
	),
	TP_printk("chunk=%lu %s=%llu state=%s", __entry->chunk, mp_show_owner(__entry->kind),
		  __entry->id, mp_show_state(__entry->state))
);

DEFINE_EVENT(mp_chunk, mp_chunk_acquire,
	TP_PROTO(const struct mp_chunk *chunk, const struct mp_owner *owner, u8 state),
	TP_ARGS(chunk, owner, state));

DEFINE_EVENT(mp_chunk, mp_chunk_give,
	TP_PROTO(const struct mp_chunk *chunk, const struct mp_owner *owner, u8 state),
	TP_ARGS(chunk, owner, state));

/* A pinned chunk was given fresh memory. */
DEFINE_EVENT(mp_chunk, mp_chunk_replace,
	TP_PROTO(const struct mp_chunk *chunk, const struct mp_owner *owner, u8 state),
	TP_ARGS(chunk, owner, state));

/* A request for chunks was refused; the counts are those of the arena then. */
TRACE_EVENT(mp_exhausted,
	TP_PROTO(const struct mp_owner *owner, unsigned long wanted, unsigned long missing,
		 int err),
	TP_ARGS(owner, wanted, missing, err),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(int, kind)
		__field(unsigned long, wanted)
		__field(unsigned long, missing)
		__field(unsigned long, charged)
		__field(unsigned long, limit)
		__field(unsigned long, user)
		__field(unsigned long, user_limit)
		__field(unsigned long, free)
		__field(unsigned long, owned)
		__field(unsigned long, pinned)
		__field(unsigned long, moving)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->id = owner->id;
		__entry->kind = owner->kind;
		__entry->wanted = wanted;
		__entry->missing = missing;
		__entry->charged = mp_peek(owner->owned) + mp_peek(owner->pinned);
		__entry->limit = mp_peek(owner->limit);
		__entry->user = owner->user ? mp_peek(owner->user->chunks) : 0;
		__entry->user_limit = owner->user ? mp_arena.user_limit : 0;
		__entry->free = mp_peek(mp_arena.nr[MP_CHUNK_FREE]);
		__entry->owned = mp_peek(mp_arena.nr[MP_CHUNK_OWNED]);
		__entry->pinned = mp_peek(mp_arena.nr[MP_CHUNK_PINNED]);
		__entry->moving = mp_peek(mp_arena.nr[MP_CHUNK_LEAVING]) +
				  mp_peek(mp_arena.nr[MP_CHUNK_CLEANING]);
		__entry->err = err;
	),
	TP_printk("%s=%llu wanted=%lu missing=%lu charged=%lu limit=%lu user=%lu user_limit=%lu free=%lu owned=%lu pinned=%lu moving=%lu error=%d",
		  mp_show_owner(__entry->kind), __entry->id, __entry->wanted, __entry->missing,
		  __entry->charged, __entry->limit, __entry->user, __entry->user_limit,
		  __entry->free, __entry->owned, __entry->pinned, __entry->moving, __entry->err)
);

/*
 * ALLOC: @done of @count blocks. What the session owns and has free, all together
 * and in the longest run, explains why it needed chunks. Session lock.
 */
TRACE_EVENT(mp_alloc,
	TP_PROTO(const struct mp_session *s, u64 size, u32 count, u32 done, int err),
	TP_ARGS(s, size, count, done, err),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, size)
		__field(u32, count)
		__field(u32, done)
		__field(u64, heap_free)
		__field(u64, heap_longest)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->id = s->owner.id;
		__entry->size = size;
		__entry->count = count;
		__entry->done = done;
		__entry->heap_free = s->heap.pages.free << PAGE_SHIFT;
		__entry->heap_longest = mp_extents_longest(&s->heap.pages) << PAGE_SHIFT;
		__entry->err = done ? 0 : err;
	),
	TP_printk("session=%llu size=%llu count=%u done=%u heap_free=%llu heap_longest=%llu error=%d",
		  __entry->id, __entry->size, __entry->count, __entry->done, __entry->heap_free,
		  __entry->heap_longest, __entry->err)
);

TRACE_EVENT(mp_release,
	TP_PROTO(const struct mp_session *s, u32 count, u32 done, int err),
	TP_ARGS(s, count, done, err),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, count)
		__field(u32, done)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->id = s->owner.id;
		__entry->count = count;
		__entry->done = done;
		__entry->err = err;
	),
	TP_printk("session=%llu count=%u done=%u error=%d", __entry->id, __entry->count,
		  __entry->done, __entry->err)
);

TRACE_EVENT(mp_coalesce,
	TP_PROTO(u64 pool, u32 free, u64 gaps, u64 ns),
	TP_ARGS(pool, free, gaps, ns),
	TP_STRUCT__entry(
		__field(u64, pool)
		__field(u32, free)
		__field(u64, gaps)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->pool = pool;
		__entry->free = free;
		__entry->gaps = gaps;
		__entry->ns = ns;
	),
	TP_printk("pool=%llu free=%u gaps=%llu ns=%llu", __entry->pool, __entry->free,
		  __entry->gaps, __entry->ns)
);

#endif /* MP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH kmod
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
