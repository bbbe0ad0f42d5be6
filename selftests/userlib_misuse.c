// SPDX-License-Identifier: MIT OR GPL-2.0
/* libmempool: what a program can do wrong, with its result, over the module. */
// also: 32-bit
#include "mp_test.h"

#define MISUSE_DEVICE	MP_DEV
#define MISUSE_READY	(mp_require(MP_RESERVE) == 0)

#include "unit/userlib/test_misuse.c"
