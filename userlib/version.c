// SPDX-License-Identifier: MIT OR GPL-2.0
/* Which library a program runs with; the header says which it was built for. */
#include "internal.h"

#define STR_(x)	#x
#define STR(x)	STR_(x)

MEMPOOL_API const char *mempool_version(void)
{
	return STR(MEMPOOL_VERSION_MAJOR) "." STR(MEMPOOL_VERSION_MINOR) "."
	       STR(MEMPOOL_VERSION_PATCH);
}
