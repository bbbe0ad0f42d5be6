// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Which blocks are out, and of which bucket: two bytes for each place where a
 * block can begin, written by the thread that takes or gives back the block. So
 * a pointer leads to its bucket without a question to the kernel, and a stale
 * one to nothing.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "internal.h"

/*
 * A slab begins with a page, so every block at a multiple of all bucket sizes'
 * common power of 2; with the usual tiers that is MEMPOOL_UNIT_SHIFT.
 */
static unsigned int unit_shift(const struct mempool_info *info)
{
	uint64_t bits = UINT64_C(1) << MEMPOOL_UNIT_SHIFT;
	unsigned int i, shift = 0;

	for (i = 0; i < info->nr_tiers; i++)
		bits |= info->tiers[i].granularity;
	while (!(bits >> shift & 1))
		shift++;
	return (1u << shift) < MEMPOOL_BLOCK_ALIGN ? 6 : shift;
}

/* Memory that costs nothing until it is written. NULL: no room for it. */
void *mp_zero_pages(uint64_t len)
{
	int saved = errno;
	void *pages;

	if (len > SIZE_MAX)
		return NULL;
	pages = mmap(NULL, len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	errno = saved;
	return pages == MAP_FAILED ? NULL : pages;
}

/* What a place reads as: the id, and whether the block is out or in a cache. */
union place {
	struct mempool_place part;
	uint_least16_t word;
};

static uint_least16_t place(unsigned int id, unsigned int number)
{
	union place place = { .part = { id, number } };

	return place.word;
}

static unsigned int id_of(uint_least16_t word)
{
	union place place = { .word = word };

	return place.part.id && !place.part.out ? place.part.id | MP_ID_CACHED : place.part.id;
}

int mp_track_init(struct mempool *pool)
{
	struct mp_track *track = &pool->track;
	uint64_t nr_slots = pool->info.space_bytes / MP_CHUNK;

	track->shift = unit_shift(&pool->info);
	track->units = pool->info.space_bytes >> track->shift;
	track->places = mp_zero_pages(track->units * sizeof(track->places[0]));
	track->used = calloc(nr_slots, sizeof(track->used[0]));
	track->keys = calloc(nr_slots, sizeof(track->keys[0]));
	if (!track->places || !track->used || !track->keys)
		return -ENOMEM;
	return -pthread_mutex_init(&track->lock, NULL);
}

/*
 * Blocks are about to begin in this slot: the table's pages for it are there then, and
 * no allocation waits for them, as it would for any page when memory is short. Adding
 * 0 is harmless to whoever else writes.
 */
void mp_track_prepare(struct mempool *pool, uint64_t slot)
{
	struct mp_track *track = &pool->track;
	uint64_t units = MP_CHUNK >> track->shift, at;
	uint64_t step = pool->info.page_size / sizeof(track->places[0]);

	for (at = slot * units; at < (slot + 1) * units; at += step)
		atomic_fetch_add(&track->places[at], 0);
}

void mp_track_exit(struct mempool *pool)
{
	struct mp_track *track = &pool->track;
	uint64_t i, nr_slots = pool->info.space_bytes / MP_CHUNK;

	for (i = 0; track->keys && i < nr_slots; i++)
		free((void *)atomic_load(&track->keys[i]));
	free(track->keys);
	free(track->used);
	if (track->places)
		munmap(track->places, track->units * sizeof(track->places[0]));
}

/* Where @key is in the hash table, or the empty place where it would go. */
static unsigned int hash_find(struct mp_track *track, uint64_t key)
{
	unsigned int at = (key * 0x9e3779b97f4a7c15u) >> 55;	/* 9 bits */
	uint64_t found;

	for (;;) {
		found = atomic_load_explicit(&track->hash[at].key, memory_order_acquire);
		if (found == key || !found)
			return at;
		at = (at + 1) % MP_HASH_SIZE;
	}
}

/* The id of a bucket, given on first use. The table is never more than half full. */
unsigned int mp_track_id(struct mempool *pool, uint64_t key)
{
	struct mp_track *track = &pool->track;
	unsigned int at = hash_find(track, key);

	if (atomic_load_explicit(&track->hash[at].key, memory_order_relaxed))
		return track->hash[at].id;
	pthread_mutex_lock(&track->lock);
	at = hash_find(track, key);
	if (!atomic_load_explicit(&track->hash[at].key, memory_order_relaxed)) {
		if (track->nr_ids == MP_ID_OTHER - 1) {
			pthread_mutex_unlock(&track->lock);
			return MP_ID_OTHER;
		}
		track->hash[at].id = ++track->nr_ids;
		track->key_of[track->nr_ids] = key;
		atomic_store_explicit(&track->hash[at].key, key, memory_order_release);
	}
	pthread_mutex_unlock(&track->lock);
	return track->hash[at].id;
}

/* The slot's array of keys; two threads may make one at a time, one is kept. */
static uint64_t *slot_keys(struct mp_track *track, uint64_t slot)
{
	uintptr_t keys = atomic_load(&track->keys[slot]);
	uint64_t *made;

	if (keys)
		return (uint64_t *)keys;
	made = calloc(MP_CHUNK >> track->shift, sizeof(made[0]));
	if (made && atomic_compare_exchange_strong(&track->keys[slot], &keys, (uintptr_t)made))
		return made;
	free(made);
	return (uint64_t *)keys;
}

static uint64_t *key_at(struct mp_track *track, uint64_t *keys, uint64_t offset)
{
	return &keys[offset % MP_CHUNK >> track->shift];
}

/*
 * A block of the bucket is out, or with MP_ID_CACHED in a cache, and ours until we
 * tell anybody. -EBADE: the device gave an offset where no block can be; -ENOMEM.
 */
int mp_track_set(struct mempool *pool, uint64_t offset, unsigned int id, uint64_t key)
{
	struct mp_track *track = &pool->track;
	uint64_t slot = offset / MP_CHUNK, *keys;

	if (offset & ((UINT64_C(1) << track->shift) - 1) || offset >> track->shift >= track->units)
		return -EBADE;
	if (id == MP_ID_OTHER) {
		keys = slot_keys(track, slot);
		if (!keys)
			return -ENOMEM;
		*key_at(track, keys, offset) = key;
	}
	if (!atomic_load_explicit(&track->used[slot], memory_order_relaxed))
		atomic_store_explicit(&track->used[slot], 1, memory_order_relaxed);
	atomic_store_explicit(&track->places[offset >> track->shift],
			      id & MP_ID_CACHED ? place(id & ~MP_ID_CACHED, 0) :
						  place(id, MEMPOOL_NO_THREAD),
			      memory_order_release);
	return 0;
}

static atomic_uint_least16_t *place_at(struct mp_track *track, uint64_t offset)
{
	if (offset & ((UINT64_C(1) << track->shift) - 1) || offset >> track->shift >= track->units)
		return NULL;
	return &track->places[offset >> track->shift];
}

/*
 * A block is about to be given back: before the kernel knows, for afterwards it
 * may be somebody else's. Returns its id, 0 if no block of ours begins there. Only
 * what has been seen to be out is taken: by now it may lie in a cache.
 */
unsigned int mp_track_take(struct mempool *pool, uint64_t offset)
{
	atomic_uint_least16_t *at = place_at(&pool->track, offset);
	uint_least16_t word = at ? atomic_load_explicit(at, memory_order_relaxed) : 0;
	unsigned int id = id_of(word);

	if (!id || id & MP_ID_CACHED)
		return 0;
	return atomic_compare_exchange_strong(at, &word, 0) ? id : 0;
}

/* The id of a place, with MP_ID_CACHED; 0 also where no block can begin. */
unsigned int mp_track_look(struct mempool *pool, uint64_t offset)
{
	atomic_uint_least16_t *at = place_at(&pool->track, offset);

	return at ? id_of(atomic_load_explicit(at, memory_order_relaxed)) : 0;
}

/*
 * For a block that the caller has, of the thread with the number: from a cache to a
 * user, and with number 0 back. @id: 0 if it is to be none any more.
 */
void mp_track_mark(struct mempool *pool, uint64_t offset, unsigned int id, unsigned int number)
{
	atomic_store_explicit(place_at(&pool->track, offset), place(id, number),
			      memory_order_relaxed);
}

/* The kernel has refused it: it is out still. */
void mp_track_put_back(struct mempool *pool, uint64_t offset, unsigned int id)
{
	uint_least16_t none = 0;

	if (id)
		atomic_compare_exchange_strong(place_at(&pool->track, offset), &none,
					       place(id, MEMPOOL_NO_THREAD));
}

/* The bucket of the block that begins at @offset, 0 if none does. */
uint64_t mp_track_key(struct mempool *pool, uint64_t offset)
{
	struct mp_track *track = &pool->track;
	atomic_uint_least16_t *at = place_at(track, offset);
	unsigned int id = at ? id_of(atomic_load_explicit(at, memory_order_acquire)) : 0;
	uint64_t *keys;

	if (id & MP_ID_CACHED)
		return 0;
	if (id != MP_ID_OTHER)
		return track->key_of[id];
	keys = (uint64_t *)atomic_load(&track->keys[offset / MP_CHUNK]);
	return *key_at(track, keys, offset);
}

/* The first block that is out and begins in [offset, end), or @end. */
uint64_t mp_track_next(struct mempool *pool, uint64_t offset, uint64_t end)
{
	struct mp_track *track = &pool->track;
	uint64_t unit = UINT64_C(1) << track->shift;
	unsigned int id;

	while (offset < end) {
		if (!atomic_load_explicit(&track->used[offset / MP_CHUNK], memory_order_relaxed)) {
			offset = (offset / MP_CHUNK + 1) * MP_CHUNK;
			continue;
		}
		id = mp_track_look(pool, offset);
		if (id && !(id & MP_ID_CACHED))
			return offset;
		offset += unit;
	}
	return end;
}
