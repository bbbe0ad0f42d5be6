// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Checked mode: errors of the program with blocks of buckets are found, and the
 * call that made them is named. checked_blocks.c does the same for block pools.
 *
 * There are no thread caches, so that every call, also an inlined one, comes
 * here. For each place where a block can begin there is a note: who allocated
 * the block, how much he asked for, who released it. What lies between that and
 * the bucket's size is filled with SLACK, looked at when the block is released.
 *
 * A released block is filled with POISON and kept for a while; when it leaves, it
 * is looked at before the kernel has it back. What it held is still there when
 * the kernel hands the memory out again, as long as its chunk has not changed
 * hands: tenures tell. Then it is looked at once more.
 *
 * Under AddressSanitizer or Valgrind all of this is on by itself, and a block has
 * a zone behind it that nobody may touch.
 *
 * Lock: mp_checked.lock, around everything, with commands sent inside.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define POISON		0xdb
#define SLACK		0xca
#define ZONE		64u	/* behind a block, where a tool watches */
#define KEPT_BLOCKS	256u
#define KEPT_BYTES	((uint64_t)1 << 20)

enum state {
	NONE,		/* no block has begun here */
	LIVE,		/* one does, and is a user's */
	KEPT,		/* it is released, but the kernel does not know */
	GONE,		/* and has it back */
};

/**
 * struct note - of a place where a block can begin
 * @allocated_by: return address
 * @released_by: likewise
 * @size: bytes that the user asked for
 * @extent: bytes to where another block may begin
 * @state: of the block that begins here
 * @poisoned: the unit holds POISON and has not been handed out since
 */
struct note {
	const void *allocated_by;
	const void *released_by;
	uint64_t size;
	uint64_t extent;
	uint8_t state;
	uint8_t poisoned;
};

/* Of one slot; @tenure is the one that @poisoned is true for. */
struct page {
	uint64_t tenure;
	struct note notes[];
};

/**
 * struct mp_checked - a session's checks
 * @lock: see above
 * @go_on: report and return errors, do not abort
 * @tools: there is one to tell
 * @call: that is taking blocks
 * @pages: by slot, NULL where no block has been
 * @kept: released blocks on their way to the kernel, a ring
 * @first: of these
 * @nr_kept: of these
 * @kept_bytes: in them
 * @max_bytes: most of these
 */
struct mp_checked {
	pthread_mutex_t lock;
	bool go_on;
	bool tools;
	const struct mp_call *call;
	struct page **pages;
	void *kept[KEPT_BLOCKS];
	unsigned int first;
	unsigned int nr_kept;
	uint64_t kept_bytes;
	uint64_t max_bytes;
};

/* ---- filling and looking ----------------------------------------------------- */

void mp_poison(void *ptr, uint64_t len)
{
	memset(ptr, POISON, len);
}

/* The first of @len bytes that is not @byte, or @len. */
static uint64_t first_other(const unsigned char *from, unsigned char byte, uint64_t len)
{
	uint64_t i = 0;

	/* Equal to itself moved by one: all the same. */
	if (!len || (from[0] == byte && !memcmp(from, from + 1, len - 1)))
		return len;
	while (from[i] == byte)
		i++;
	return i;
}

/* What was released: the first byte written to since, or @len. Stays hidden. */
uint64_t mp_find_write(const void *ptr, uint64_t len, bool tools)
{
	uint64_t at;

	if (tools)
		mp_tools_show(ptr, len);
	at = first_other(ptr, POISON, len);
	if (tools)
		mp_tools_hide(ptr, len);
	return at;
}

/* ---- notes ------------------------------------------------------------------- */

static uint64_t unit_of(struct mempool *pool)
{
	return UINT64_C(1) << pool->track.shift;
}

/* The note of the place at @offset, NULL where no block can begin or has. */
static struct note *note_at(struct mempool *pool, uint64_t offset)
{
	struct page *page;

	if (offset >= pool->space.bytes || offset % unit_of(pool))
		return NULL;
	page = pool->checked->pages[offset / MP_CHUNK];
	return page ? &page->notes[offset % MP_CHUNK / unit_of(pool)] : NULL;
}

/* Have notes for [offset, offset + len), and forget those of another tenure. */
static int prepare(struct mempool *pool, uint64_t offset, uint64_t len, uint64_t tenure)
{
	uint64_t slot, nr = MP_CHUNK / unit_of(pool), i;
	struct page *page;

	for (slot = offset / MP_CHUNK; slot * MP_CHUNK < offset + len; slot++) {
		page = pool->checked->pages[slot];
		if (!page) {
			page = calloc(1, sizeof(*page) + nr * sizeof(page->notes[0]));
			if (!page)
				return -ENOMEM;
			pool->checked->pages[slot] = page;
		}
		if (tenure > page->tenure) {
			for (i = 0; i < nr; i++)
				page->notes[i].poisoned = 0;
			page->tenure = tenure;
		}
	}
	return 0;
}

/*
 * The block that begins at or before @offset and reaches beyond it, live or not;
 * *@start is where.
 */
static struct note *block_around(struct mempool *pool, uint64_t offset, uint64_t *start)
{
	uint64_t at = offset - offset % unit_of(pool);
	struct note *note;

	for (;; at -= unit_of(pool)) {
		note = note_at(pool, at);
		if (!note)	/* to the slot's first unit */
			at -= at % MP_CHUNK;
		else if (note->state != NONE)
			break;
		if (!at)
			return NULL;
	}
	*start = at;
	return offset - at < note->extent ? note : NULL;
}

static void report_note(const struct note *note)
{
	if (note->allocated_by)
		mp_report_caller("allocated by", note->allocated_by);
	if (note->released_by && note->state != LIVE)
		mp_report_caller("released by", note->released_by);
}

static void report_write(struct mempool *pool, const struct mp_call *call, const char *ptr,
			 const struct note *note)
{
	mp_report(call, ptr, "found now: written to after its release (a block of %llu bytes)",
		  (unsigned long long)note->size);
	report_note(note);
	mp_report_end(pool->checked->go_on);
}

/* ---- taking ------------------------------------------------------------------ */

/*
 * What is left of released blocks in memory that is handed out again. alloc.c
 * calls this, for each block that mp_take() gets, with our lock held.
 */
int mp_checked_settled(struct mempool *pool, const struct mempool_block *block, uint64_t len,
		       const char *ptr)
{
	const struct mp_call *call = pool->checked->call;
	uint64_t unit = unit_of(pool), offset, start, at;
	int ret = prepare(pool, block->offset, len, block->tenure);
	struct note *note, *old;

	for (offset = block->offset; !ret && offset < block->offset + len; offset += unit) {
		note = note_at(pool, offset);
		if (note->poisoned) {
			at = mp_find_write(ptr + (offset - block->offset), unit,
					   pool->checked->tools);
			old = at < unit ? block_around(pool, offset + at, &start) : NULL;
			if (old)
				report_write(pool, call, ptr + (start - block->offset), old);
		}
		note->poisoned = 0;
		if (note->state != LIVE)
			note->state = NONE;
	}
	return ret;
}

/* A bucket for @size bytes and the zone, aligned as the one of @key is. */
static uint64_t key_with_zone(struct mempool *pool, uint64_t key, uint64_t size)
{
	uint64_t bucket = size <= UINT64_MAX - ZONE ? mp_round(&pool->info, size + ZONE) : 0;

	if (!bucket || bucket >> 63)
		return key;
	return mp_bucket_key(bucket, key & 1 || !((key >> 1) % pool->info.page_size));
}

static uint64_t extent_of(uint64_t key)
{
	return ((key >> 1) + MEMPOOL_BLOCK_ALIGN - 1) & -(uint64_t)MEMPOOL_BLOCK_ALIGN;
}

/* Say who has the block, and watch what he did not ask for. */
static void issue(struct mempool *pool, const struct mp_call *call, unsigned char *ptr,
		  uint64_t size, uint64_t extent)
{
	struct note *note;
	uint64_t offset;

	if (mp_space_offset(pool, ptr, &offset))
		return;
	note = note_at(pool, offset);
	*note = (struct note) {
		.allocated_by = call->caller, .size = size, .extent = extent, .state = LIVE,
	};
	if (pool->checked->tools)
		mp_tools_show(ptr, extent);
	memset(ptr + size, SLACK, extent - size);
	if (pool->checked->tools) {
		mp_tools_hide(ptr, extent);
		mp_tools_issue(ptr, size);
	}
}

static bool send_kept(struct mempool *pool, const struct mp_call *call, unsigned int leave,
		      uint64_t leave_bytes);

/*
 * @count blocks of @size bytes out of the bucket of @key, or none. Kept blocks
 * and zones are done without before there is no memory.
 */
int mp_checked_take(struct mempool *pool, const struct mp_call *call, uint64_t key, uint64_t size,
		    void **ptrs, unsigned int count)
{
	struct mp_checked *checked = pool->checked;
	uint64_t use = checked->tools ? key_with_zone(pool, key, size) : key;
	unsigned int i;
	int ret;

	pthread_mutex_lock(&checked->lock);
	checked->call = call;
	for (;;) {
		ret = mp_take(pool, use, ptrs, count);
		if (ret != -ENOMEM && ret != -EDQUOT)
			break;
		if (!send_kept(pool, call, 0, 0)) {
			if (use == key)
				break;
			use = key;
		}
	}
	for (i = 0; !ret && i < count; i++)
		issue(pool, call, ptrs[i], size, extent_of(use));
	pthread_mutex_unlock(&checked->lock);
	return ret;
}

/* ---- giving back ------------------------------------------------------------- */

/* Released blocks to the kernel but for the last; false if there were none. */
static bool send_kept(struct mempool *pool, const struct mp_call *call, unsigned int leave,
		      uint64_t leave_bytes)
{
	struct mp_checked *checked = pool->checked;
	bool sent = false;

	while (checked->nr_kept > leave || checked->kept_bytes > leave_bytes) {
		void *ptr = checked->kept[checked->first];
		struct note *note;
		uint64_t offset = 0, i;

		checked->first = (checked->first + 1) % KEPT_BLOCKS;
		checked->nr_kept--;
		sent = true;
		mp_space_offset(pool, ptr, &offset);
		note = note_at(pool, offset);
		checked->kept_bytes -= note->extent;
		if (mp_find_write(ptr, note->extent, checked->tools) == note->extent)
			for (i = 0; i < note->extent; i += unit_of(pool))
				note_at(pool, offset + i)->poisoned = 1;
		else
			report_write(pool, call, ptr, note);
		note->state = GONE;
		mp_give(pool, &ptr, 1);
	}
	return sent;
}

/* Behind what the user has asked for: still as it was? */
static void look_behind(struct mempool *pool, const struct mp_call *call, const unsigned char *ptr,
			const struct note *note)
{
	uint64_t len = note->extent - note->size, at = first_other(ptr + note->size, SLACK, len);

	if (at == len)
		return;
	mp_report(call, ptr, "written to beyond its end (byte %llu of a block of %llu bytes)",
		  (unsigned long long)(note->size + at), (unsigned long long)note->size);
	report_note(note);
	mp_report_end(pool->checked->go_on);
}

static void retire(struct mempool *pool, const struct mp_call *call, unsigned char *ptr,
		   struct note *note)
{
	bool tools = pool->checked->tools;

	if (tools)
		mp_tools_show(ptr + note->size, note->extent - note->size);
	look_behind(pool, call, ptr, note);
	mp_poison(ptr, note->extent);
	if (tools)
		mp_tools_retire(ptr, note->extent);
	note->released_by = call->caller;
}

/* The kernel does not see the call, so it is told to count it. */
static void count_bad(struct mempool *pool)
{
	struct mempool_release cmd = {
		.flags = MEMPOOL_RELEASE_CLAIMS,
		.claims.bad_releases = 1,
	};

	mp_ioctl(pool, MEMPOOL_IOC_RELEASE, &cmd);
}

/* @ptr is not a live block's: say what it is. */
static int refuse(struct mempool *pool, const struct mp_call *call, const void *ptr,
		  uint64_t offset)
{
	struct note *note = offset == UINT64_MAX ? NULL : note_at(pool, offset);
	uint64_t start = offset;
	int ret = -ENOENT;

	if (note && note->state == NONE)
		note = NULL;
	if (note) {
		mp_report(call, ptr, "released before (a block of %llu bytes)",
			  (unsigned long long)note->size);
	} else if (offset == UINT64_MAX) {
		ret = -EINVAL;
		mp_report(call, ptr, "not memory of this pool");
	} else {
		note = block_around(pool, offset, &start);
		ret = note || offset % unit_of(pool) ? -EINVAL : -ENOENT;
		if (note)
			mp_report(call, ptr, "not the start, but byte %llu of a %s block of %llu bytes",
				  (unsigned long long)(offset - start),
				  note->state == LIVE ? "live" : "released",
				  (unsigned long long)note->size);
		else
			mp_report(call, ptr, "no block has begun here");
	}
	if (note)
		report_note(note);
	count_bad(pool);
	mp_report_end(pool->checked->go_on);
	return ret;
}

static int give_one(struct mempool *pool, const struct mp_call *call, void *ptr)
{
	struct mp_checked *checked = pool->checked;
	struct note *note;
	uint64_t offset;

	if (mp_space_offset(pool, ptr, &offset))
		return refuse(pool, call, ptr, UINT64_MAX);
	note = note_at(pool, offset);
	if (!note || note->state != LIVE)
		return refuse(pool, call, ptr, offset);
	retire(pool, call, ptr, note);
	if (checked->nr_kept == KEPT_BLOCKS)
		send_kept(pool, call, KEPT_BLOCKS - 1, UINT64_MAX);
	note->state = KEPT;
	checked->kept[(checked->first + checked->nr_kept++) % KEPT_BLOCKS] = ptr;
	checked->kept_bytes += note->extent;
	send_kept(pool, call, KEPT_BLOCKS, checked->max_bytes);
	return 0;
}

/* Goes through all of them; the first error. */
int mp_checked_give(struct mempool *pool, const struct mp_call *call, void *const *ptrs,
		    unsigned int count)
{
	unsigned int i;
	int ret, first = 0;

	pthread_mutex_lock(&pool->checked->lock);
	for (i = 0; i < count; i++) {
		ret = ptrs[i] ? give_one(pool, call, ptrs[i]) : 0;
		if (!first)
			first = ret;
	}
	pthread_mutex_unlock(&pool->checked->lock);
	return first;
}

/* All that is released goes to the kernel: before it is asked how things stand. */
void mp_checked_flush(struct mempool *pool, const struct mp_call *call)
{
	if (!pool->checked || mp_inherited(pool))
		return;
	pthread_mutex_lock(&pool->checked->lock);
	send_kept(pool, call, 0, 0);
	pthread_mutex_unlock(&pool->checked->lock);
}

/* mempool_clear(): the user has no block any more; the kernel is told by others. */
void mp_checked_clear(struct mempool *pool, const struct mp_call *call)
{
	uint64_t offset = 0, end = pool->space.bytes;
	struct mp_region *region;
	struct note *note;

	if (!pool->checked)
		return;
	mp_checked_flush(pool, call);
	pthread_mutex_lock(&pool->checked->lock);
	for (; (offset = mp_track_next(pool, offset, end)) < end; offset += unit_of(pool)) {
		note = note_at(pool, offset);
		if (!note || note->state != LIVE ||
		    mp_space_enter(pool, offset, note->extent, &region))
			continue;
		retire(pool, call, (void *)mp_region_at(region, offset), note);
		mp_space_leave(pool, region);
		note->state = GONE;
	}
	pthread_mutex_unlock(&pool->checked->lock);
}

/* ---- the rest ---------------------------------------------------------------- */

/*
 * A child's copy of the lock may be held by a thread that it does not have; it
 * changes nothing.
 */
static void lock(struct mempool *pool)
{
	if (!mp_inherited(pool))
		pthread_mutex_lock(&pool->checked->lock);
}

static void unlock(struct mempool *pool)
{
	if (!mp_inherited(pool))
		pthread_mutex_unlock(&pool->checked->lock);
}

/* Who asks how much he may use, uses it: the bucket, less the zone. */
uint64_t mp_checked_usable(struct mempool *pool, const void *ptr)
{
	uint64_t offset, size = 0, usable;
	struct note *note;

	if (!ptr || mp_space_offset(pool, ptr, &offset))
		return 0;
	lock(pool);
	note = note_at(pool, offset);
	if (note && note->state == LIVE) {
		size = note->size;
		usable = mp_round(&pool->info, size);
		if (usable > size && usable <= note->extent) {
			if (pool->checked->tools)
				mp_tools_show((const char *)ptr + size, usable - size);
			note->size = size = usable;
		}
	}
	unlock(pool);
	return size;
}

/* A block pool lies there now: what was released there is gone. */
void mp_checked_forget(struct mempool *pool, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;
	struct note *note;

	pthread_mutex_lock(&pool->checked->lock);
	for (; offset < end; offset += unit_of(pool)) {
		note = note_at(pool, offset);
		if (note)
			note->poisoned = note->state = 0;
	}
	pthread_mutex_unlock(&pool->checked->lock);
}

bool mp_checked_tools(const struct mempool *pool)
{
	return pool->checked->tools;
}

bool mp_checked_goes_on(const struct mempool *pool)
{
	return pool->checked->go_on;
}

/* A call through a handle that was closed, or inherited over fork(). */
void mp_report_refused(const struct mempool *pool, const struct mp_call *call)
{
	if (!pool->closed || !pool->check)
		return;
	mp_report(call, pool, "the pool is closed");
	mp_report_end(pool->check & MEMPOOL_OPEN_CHECK_REPORT);
}

/* The environment's word goes before the program's, but not in a set-user-ID one. */
static unsigned int wanted(unsigned int flags)
{
	const char *env = secure_getenv("MEMPOOL_CHECK");

	if (env && !strcmp(env, "0"))
		return 0;
	if (env && !strcmp(env, "report"))
		return MEMPOOL_OPEN_CHECK | MEMPOOL_OPEN_CHECK_REPORT;
	if (env && *env)
		return MEMPOOL_OPEN_CHECK;
	if (flags & MEMPOOL_OPEN_CHECK_REPORT)
		flags |= MEMPOOL_OPEN_CHECK;
	else if (mp_tools_present())
		flags |= MEMPOOL_OPEN_CHECK;
	return flags & (MEMPOOL_OPEN_CHECK | MEMPOOL_OPEN_CHECK_REPORT);
}

/* Set checked mode up if it is wanted: MEMPOOL_OPEN_* in @flags. */
int mp_checked_init(struct mempool *pool, unsigned int flags)
{
	struct mp_checked *checked;

	if (flags & MEMPOOL_OPEN_READONLY)
		return 0;
	pool->check = wanted(flags);
	if (!pool->check)
		return 0;
	checked = calloc(1, sizeof(*checked));
	if (!checked)
		return -ENOMEM;
	checked->pages = calloc(pool->space.bytes / MP_CHUNK, sizeof(checked->pages[0]));
	if (!checked->pages) {
		free(checked);
		return -ENOMEM;
	}
	/* Addresses of windows come and go: there is nothing to tell a tool. */
	checked->tools = mp_tools_present() && pool->space.whole;
	checked->go_on = pool->check & MEMPOOL_OPEN_CHECK_REPORT;
	checked->max_bytes = pool->info.reserve_bytes / 64 < KEPT_BYTES ?
			     pool->info.reserve_bytes / 64 : KEPT_BYTES;
	pool->checked = checked;
	return -pthread_mutex_init(&checked->lock, NULL);
}

/* Live blocks of the slot end with the session; nothing of it stays hidden. */
static void show_slot(struct mempool *pool, uint64_t slot, const struct page *page)
{
	const char *addr = mp_region_at(pool->space.whole, slot * MP_CHUNK);
	uint64_t i;

	for (i = 0; i < MP_CHUNK / unit_of(pool); i++)
		if (page->notes[i].state == LIVE)
			mp_tools_retire(addr + i * unit_of(pool), 0);
	mp_tools_show(addr, MP_CHUNK);
}

/* Before the memory is unmapped; also of a half-made session and in a child. */
void mp_checked_exit(struct mempool *pool)
{
	static const struct mp_call call = { "mempool_close", NULL };
	struct mp_checked *checked = pool->checked;
	uint64_t slot;

	if (!checked)
		return;
	mp_checked_flush(pool, &call);
	for (slot = 0; slot < pool->space.bytes / MP_CHUNK; slot++) {
		if (!checked->pages[slot])
			continue;
		if (checked->tools)
			show_slot(pool, slot, checked->pages[slot]);
		free(checked->pages[slot]);
	}
	free(checked->pages);
	free(checked);
	pool->checked = NULL;
}
