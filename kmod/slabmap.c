// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Slabmap: see slabmap.h.
 */
#include "slabmap.h"

#define MP_SLABMAP_BYTES	1024u	/* what allocators have in stock */
#define MP_FIRST_ROOM \
	((MP_SLABMAP_BYTES - sizeof(struct mp_slabmap) - MP_CHUNK_PAGES) / sizeof(struct mp_slab *))

static struct mp_slabmap *create(u16 room)
{
	struct mp_slabmap *map = mp_zalloc(sizeof(*map) + room * sizeof(map->slabs[0]) +
					   MP_CHUNK_PAGES * (room > U8_MAX ? 2 : 1));

	if (map)
		map->room = room;
	return map;
}

struct mp_slabmap *mp_slabmap_create(void)
{
	return create(MP_FIRST_ROOM);
}

static void set_number(struct mp_slabmap *map, u64 page, u32 number)
{
	void *numbers = map->slabs + map->room;

	if (mp_slabmap_wide(map))
		((u16 *)numbers)[page] = number;
	else
		((u8 *)numbers)[page] = number;
}

int mp_slabmap_get_run(struct mp_slabmap **map)
{
	struct mp_slabmap *old = *map, *new;
	u64 page;

	if (old->runs == old->room) {
		/* There are no more runs than pages. */
		new = create(MP_CHUNK_PAGES);
		if (!new)
			return -ENOMEM;
		new->runs = old->runs;
		memcpy(new->slabs, old->slabs, old->room * sizeof(old->slabs[0]));
		for (page = 0; page < MP_CHUNK_PAGES; page++)
			set_number(new, page, mp_slabmap_number(old, page));
		mp_free(old);
		*map = new;
	}
	(*map)->runs++;
	return 0;
}

void mp_slabmap_put_run(struct mp_slabmap *map)
{
	map->runs--;
}

void mp_slabmap_set(struct mp_slabmap *map, u64 first, u64 pages, struct mp_slab *slab)
{
	u32 number = mp_slabmap_number(map, first), i = 0;
	u64 page;

	if (slab) {
		while (map->slabs[i])
			i++;
		map->slabs[i] = slab;
		number = i + 1;
	} else if (number) {
		map->slabs[number - 1] = NULL;
		number = 0;
	}
	for (page = first; page < first + pages; page++)
		set_number(map, page, number);
}
