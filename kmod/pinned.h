/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef MP_PINNED_H
#define MP_PINNED_H

#include "arena.h"

void mp_pinned_init(void);
void mp_pinned_stop(void);
void mp_pinned_add(struct mp_chunk *chunk);
unsigned long mp_pinned_free_exiles(bool all);

void mp_arena_look_at_pinned(bool all);
bool mp_arena_replace_pinned(void);

#endif /* MP_PINNED_H */
