/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef MP_ACQUIRE_H
#define MP_ACQUIRE_H

#include <linux/list.h>

#include "owner.h"

int mp_acquire(struct mp_owner *owner, unsigned long nr, int node, struct list_head *chunks);

#endif /* MP_ACQUIRE_H */
