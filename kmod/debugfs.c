// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * debugfs: /sys/kernel/debug/mempool/ lists sessions and chunks, a line each,
 * for root. Ids are those of fdinfo; there are no addresses.
 */

#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "arena.h"
#include "pool.h"
#include "session.h"
#include "sysfs.h"

static struct dentry *mp_debugfs;

static int sessions_show(struct seq_file *m, void *unused)
{
	mp_sessions_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(sessions);

static const char *const mp_state_names[MP_CHUNK_STATES] = {
	[MP_CHUNK_FREE] = "free",
	[MP_CHUNK_OWNED] = "owned",
	[MP_CHUNK_LEAVING] = "leaving",
	[MP_CHUNK_PINNED] = "pinned",
	[MP_CHUNK_CLEANING] = "cleaning",
	[MP_CHUNK_RETIRED] = "retired",
};

/* Pages in slabs; a chunk on its way to a slot has none. */
static unsigned int mp_used_pages(const struct mp_chunk *chunk)
{
	const struct mp_session *s;
	const struct mp_slot *slot;

	lockdep_assert_held(&mp_arena.lock);
	if (chunk->state != MP_CHUNK_OWNED)
		return 0;
	if (chunk->charged->kind == MP_OWNER_POOL)
		return MP_CHUNK_PAGES;
	s = container_of(chunk->charged, struct mp_session, owner);
	slot = mp_heap_slot(&s->heap, chunk->slot);
	if (!slot || mp_slot_chunk(slot) != chunk)
		return 0;
	return MP_CHUNK_PAGES - mp_peek(slot->free_pages);
}

/* A pool outlives its chunks, and has its name before the first of them. */
static const char *mp_owner_name(const struct mp_owner *owner)
{
	if (!owner || owner->kind != MP_OWNER_POOL)
		return "-";
	return container_of(owner, struct mp_pool, owner)->name;
}

static int chunks_show(struct seq_file *m, void *unused)
{
	char name[MEMPOOL_NAME_LEN];
	const char *state, *kind;
	unsigned int used;
	unsigned long i;
	bool huge;
	int node;
	u64 id;

	seq_puts(m, "chunk state pages node owner id used_pages name\n");
	for (i = 0; i < mp_arena.nr_chunks; i++) {
		const struct mp_chunk *chunk = &mp_arena.chunks[i];

		spin_lock(&mp_arena.lock);
		state = mp_state_names[chunk->state];
		huge = mp_chunk_is_huge(chunk);
		node = chunk->node;
		kind = !chunk->charged ? "-" :
		       chunk->charged->kind == MP_OWNER_POOL ? "pool" : "session";
		id = chunk->charged ? chunk->charged->id : 0;
		used = mp_used_pages(chunk);
		strscpy(name, mp_owner_name(chunk->charged), sizeof(name));
		spin_unlock(&mp_arena.lock);
		seq_printf(m, "%lu %s %s %d %s %llu %u %s\n", i, state, huge ? "huge" : "small",
			   node, kind, id, used, name);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(chunks);

void mp_debugfs_init(void)
{
	mp_debugfs = debugfs_create_dir("mempool", NULL);
	debugfs_create_file("sessions", 0400, mp_debugfs, NULL, &sessions_fops);
	debugfs_create_file("chunks", 0400, mp_debugfs, NULL, &chunks_fops);
}

void mp_debugfs_exit(void)
{
	debugfs_remove_recursive(mp_debugfs);
}
