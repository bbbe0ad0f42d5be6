// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Checked mode for block pools: returns of blocks that are not held, and writes
 * to blocks that are free.
 *
 * What a private pool's free blocks hold is ours to look at. Those of a named
 * pool may be another process' by the time we look, so there only returns are
 * watched.
 *
 * Lock: mp_checked_blocks.lock, around a return as a whole.
 */
#include <stdlib.h>

#include "internal.h"

/* Of one block; @free: poisoned by us, and not got since. */
struct note {
	const void *got_by;
	const void *returned_by;
	bool free;
};

struct mp_checked_blocks {
	pthread_mutex_t lock;
	bool private;
	bool tools;
	struct note notes[];
};

static void *block_at(const struct mempool_blocks *blocks, uint32_t index)
{
	return blocks->head.base + index * blocks->head.stride;
}

static uint64_t all_bytes(const struct mempool_blocks *blocks)
{
	return blocks->head.stride * blocks->nr;
}

/* @offset: where block 0 lies; @blocks is complete. */
int mp_checked_blocks_init(struct mempool_blocks *blocks, uint64_t offset, bool private)
{
	struct mp_checked_blocks *checked;

	checked = calloc(1, sizeof(*checked) + blocks->nr * sizeof(checked->notes[0]));
	if (!checked)
		return -ENOMEM;
	checked->private = private;
	checked->tools = private && mp_checked_tools(blocks->head.pool);
	mp_checked_forget(blocks->head.pool, offset, all_bytes(blocks));
	if (checked->tools)
		mp_tools_hide(blocks->head.base, all_bytes(blocks));
	blocks->checked = checked;
	return -pthread_mutex_init(&checked->lock, NULL);
}

void mp_checked_blocks_exit(struct mempool_blocks *blocks)
{
	struct mp_checked_blocks *checked = blocks->checked;
	uint32_t i;

	if (!checked)
		return;
	if (blocks->head.pool->closed)	/* and the memory with it */
		checked->tools = false;
	for (i = 0; checked->tools && i < blocks->nr; i++)
		if (blocks->words[i] & MP_HELD)
			mp_tools_retire(block_at(blocks, i), 0);
	if (checked->tools)
		mp_tools_show(blocks->head.base, all_bytes(blocks));
	free(checked);
	blocks->checked = NULL;
}

static void report_note(const struct note *note)
{
	if (note->got_by)
		mp_report_caller("got by", note->got_by);
	if (note->returned_by)
		mp_report_caller("returned by", note->returned_by);
}

/* Block @index has become the caller's. */
void mp_checked_got(struct mempool_blocks *blocks, const struct mp_call *call, uint32_t index)
{
	struct mp_checked_blocks *checked = blocks->checked;
	struct note *note = &checked->notes[index];
	void *ptr = block_at(blocks, index);
	bool held;

	pthread_mutex_lock(&checked->lock);
	held = note->got_by && !note->returned_by;	/* adopted from ourselves */
	if (note->free &&
	    mp_find_write(ptr, blocks->head.stride, checked->tools) < blocks->head.stride) {
		mp_report(call, ptr, "found now: block %u was written to after its return", index);
		report_note(note);
		mp_report_end(mp_checked_goes_on(blocks->head.pool));
	}
	note->free = false;
	note->got_by = call->caller;
	note->returned_by = NULL;
	if (checked->tools && !held)
		mp_tools_issue(ptr, blocks->block_size);
	pthread_mutex_unlock(&checked->lock);
}

/* While it is ours still. */
static void retire(struct mempool_blocks *blocks, uint32_t index)
{
	struct mp_checked_blocks *checked = blocks->checked;
	void *ptr = block_at(blocks, index);

	if (!checked->private)
		return;
	if (checked->tools)
		mp_tools_show(ptr, blocks->head.stride);
	mp_poison(ptr, blocks->head.stride);
	if (checked->tools)
		mp_tools_retire(ptr, blocks->head.stride);
	checked->notes[index].free = true;
}

static void report_return(struct mempool_blocks *blocks, const struct mp_call *call,
			  uint32_t index, int ret)
{
	const struct note *note = &blocks->checked->notes[index];

	if (index >= blocks->nr)
		mp_report(call, blocks, "there is no block %u, they are %u", index, blocks->nr);
	else if (ret == -ESTALE)
		mp_report(call, blocks, "block %u has been another's since it was got", index);
	else
		mp_report(call, blocks, "block %u is not held%s", index,
			  note->returned_by ? ": returned before" : "");
	if (index < blocks->nr)
		report_note(note);
	mp_report_end(mp_checked_goes_on(blocks->head.pool));
}

int mp_checked_return(struct mempool_blocks *blocks, const struct mp_call *call, uint32_t index)
{
	struct mp_checked_blocks *checked = blocks->checked;
	int ret;

	pthread_mutex_lock(&checked->lock);
	if (index < blocks->nr && blocks->words[index] & MP_HELD)
		retire(blocks, index);
	ret = mp_past_return(blocks, index);
	if (ret == -ERANGE || ret == -ENOENT || ret == -ESTALE)
		report_return(blocks, call, index, ret);
	else if (!ret)
		checked->notes[index].returned_by = call->caller;
	pthread_mutex_unlock(&checked->lock);
	return ret;
}

/* After a reset: what is not held is free. */
void mp_checked_reset(struct mempool_blocks *blocks, const struct mp_call *call)
{
	struct mp_checked_blocks *checked = blocks->checked;
	uint32_t i;

	pthread_mutex_lock(&checked->lock);
	for (i = 0; i < blocks->nr; i++) {
		struct note *note = &checked->notes[i];

		if (blocks->words[i] & MP_HELD || !note->got_by || note->returned_by)
			continue;
		note->returned_by = call->caller;
		if (checked->tools)
			mp_tools_retire(block_at(blocks, i), blocks->head.stride);
	}
	pthread_mutex_unlock(&checked->lock);
}
