/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Slabmap: which slab lies over each page of a chunk.
 *
 * A number for each page, and what the numbers stand for: 1 KiB for a chunk with
 * up to 63 runs of pages taken, 5 KiB for one that has been cut into more. (A
 * pointer for each page took 4 KiB, 0.2 % of the memory managed.)
 *
 * No locks here: the caller serialises.
 */
#ifndef MP_SLABMAP_H
#define MP_SLABMAP_H

#include "core.h"

struct mp_slab;

struct mp_slabmap {
	u16 room;			/* of slabs[] */
	u16 runs;			/* taken: as many slabs there may be */
	struct mp_slab *slabs[];	/* by number - 1; NULL: the number is free */
	/*
	 * Behind them the number of each page's slab, 0 for none: of one byte each,
	 * or of two where there is room for more than 255.
	 */
};

/* An empty one; ends with mp_free(). NULL: no memory. */
struct mp_slabmap *mp_slabmap_create(void);

/*
 * One run of pages more may have a slab, or one less. The first may have to
 * replace *@map: 0 or -ENOMEM.
 */
int mp_slabmap_get_run(struct mp_slabmap **map);
void mp_slabmap_put_run(struct mp_slabmap *map);

/* A slab (NULL: none) lies over @pages pages, those of a run, from @first on. */
void mp_slabmap_set(struct mp_slabmap *map, u64 first, u64 pages, struct mp_slab *slab);

static inline bool mp_slabmap_wide(const struct mp_slabmap *map)
{
	return map->room > U8_MAX;
}

static inline u32 mp_slabmap_number(const struct mp_slabmap *map, u64 page)
{
	const void *numbers = map->slabs + map->room;

	return mp_slabmap_wide(map) ? ((const u16 *)numbers)[page] : ((const u8 *)numbers)[page];
}

static inline struct mp_slab *mp_slabmap_slab(const struct mp_slabmap *map, u64 page)
{
	u32 number = mp_slabmap_number(map, page);

	return number ? map->slabs[number - 1] : NULL;
}

#endif /* MP_SLABMAP_H */
