// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What AddressSanitizer and Valgrind are told, so that they see blocks as they
 * see those of malloc().
 *
 * Both are found at run time. AddressSanitizer's functions are weak symbols, to
 * be had in a program that was built with it. Valgrind's requests are a few
 * instructions that do nothing outside of it; they come from its headers, which
 * are used if they are there when the library is built (Debian: valgrind) and
 * whose licence is BSD's.
 *
 * Memory of ours is mapped and hence accessible to both until it is hidden. It
 * must not stay hidden when it is unmapped: who comes next there knows nothing
 * of us.
 */
#include "internal.h"

#if __has_include("valgrind/memcheck.h")
#include "valgrind/memcheck.h"
#else
static inline void no_request(const void *ptr, uint64_t len)
{
	(void)ptr;
	(void)len;
}

#define RUNNING_ON_VALGRIND			0
#define VALGRIND_MALLOCLIKE_BLOCK(ptr, size, ...)	no_request(ptr, size)
#define VALGRIND_FREELIKE_BLOCK(ptr, ...)	no_request(ptr, 0)
#define VALGRIND_MAKE_MEM_DEFINED(ptr, size)	no_request(ptr, size)
#define VALGRIND_MAKE_MEM_NOACCESS(ptr, size)	no_request(ptr, size)
#define VALGRIND_PRINTF_BACKTRACE(...)		no_request(NULL, 0)
#endif

#define WEAK	__attribute__((weak, visibility("default")))

void __asan_poison_memory_region(const volatile void *addr, size_t size) WEAK;
void __asan_unpoison_memory_region(const volatile void *addr, size_t size) WEAK;
void __sanitizer_print_stack_trace(void) WEAK;

bool mp_tools_present(void)
{
	return __asan_poison_memory_region || RUNNING_ON_VALGRIND;
}

/* Nobody but us is to touch it. */
void mp_tools_hide(const void *ptr, uint64_t len)
{
	if (__asan_poison_memory_region)
		__asan_poison_memory_region(ptr, len);
	VALGRIND_MAKE_MEM_NOACCESS(ptr, len);
}

/* Ordinary memory with something in it. */
void mp_tools_show(const void *ptr, uint64_t len)
{
	if (__asan_unpoison_memory_region)
		__asan_unpoison_memory_region(ptr, len);
	VALGRIND_MAKE_MEM_DEFINED(ptr, len);
}

/* @size bytes at @ptr are a user's from now on, with nothing in them yet. */
void mp_tools_issue(const void *ptr, uint64_t size)
{
	if (__asan_unpoison_memory_region)
		__asan_unpoison_memory_region(ptr, size);
	VALGRIND_MALLOCLIKE_BLOCK(ptr, size, 0, 0);
}

/* They are no more: @len bytes are hidden. */
void mp_tools_retire(const void *ptr, uint64_t len)
{
	VALGRIND_FREELIKE_BLOCK(ptr, 0);
	mp_tools_hide(ptr, len);
}

/* Valgrind does not know what the device has written at addresses in @arg. */
void mp_tools_answered(unsigned long cmd, const void *arg)
{
	const struct mempool_alloc *alloc = arg;
	const struct mempool_pool_batch *batch = arg;

	if (cmd == MEMPOOL_IOC_ALLOC)
		VALGRIND_MAKE_MEM_DEFINED((void *)(uintptr_t)alloc->blocks,
					  alloc->done * sizeof(struct mempool_block));
	else if (cmd == MEMPOOL_IOC_POOL_GET)
		VALGRIND_MAKE_MEM_DEFINED((void *)(uintptr_t)batch->tokens,
					  batch->done * sizeof(struct mempool_token));
}

/* Who has called us, in full, where a tool can tell. */
void mp_tools_trace(void)
{
	if (__sanitizer_print_stack_trace)
		__sanitizer_print_stack_trace();
	VALGRIND_PRINTF_BACKTRACE("mempool: the call above\n");
}
