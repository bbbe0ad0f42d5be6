/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the core needs of the kernel, in user space: see kmod/core.h.
 *
 * Names and meanings are the kernel's, as far as the core uses them; written for
 * this project. A program that defines MP_TEST_HOOKS brings its own mp_zalloc(),
 * mp_free() and mp_warn(): the unit tests make allocations fail and see warnings.
 */
#ifndef MP_CORE_USER_H
#define MP_CORE_USER_H

#include <errno.h>
#include <limits.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#define U8_MAX		((u8)~0U)
#define U32_MAX		((u32)~0U)
#define U64_MAX		((u64)~0ULL)

/* Whatever the machine's page is: nothing maps what this core hands out by page. */
#define MP_PAGE_SHIFT	12

/* Memory */

#ifdef MP_TEST_HOOKS
void *mp_zalloc(size_t size);
void mp_free(void *p);
#else
#define mp_zalloc(size)	calloc(1, size)
#define mp_free(p)	free(p)
#endif

/* Arithmetic */

#define min_t(type, a, b) ({ type _a = (a); type _b = (b); _a < _b ? _a : _b; })
#define max_t(type, a, b) ({ type _a = (a); type _b = (b); _a > _b ? _a : _b; })
#define min(a, b)		min_t(__typeof__((a) + (b)), a, b)
#define max(a, b)		max_t(__typeof__((a) + (b)), a, b)
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define ALIGN(x, a)		(((x) + ((__typeof__(x))(a) - 1)) & ~((__typeof__(x))(a) - 1))
#define check_add_overflow(a, b, d)	__builtin_add_overflow(a, b, d)
#define check_mul_overflow(a, b, d)	__builtin_mul_overflow(a, b, d)

static inline u64 div_u64(u64 n, u32 d)
{
	return n / d;
}

static inline u64 div64_u64(u64 n, u64 d)
{
	return n / d;
}

static inline u64 div64_u64_rem(u64 n, u64 d, u64 *rem)
{
	*rem = n % d;
	return n / d;
}

/* The high half of the product. */
static inline u64 mp_mul_high(u64 a, u64 b)
{
#ifdef __SIZEOF_INT128__
	return (u64)((__uint128_t)a * b >> 64);
#else
	u64 low = (a & U32_MAX) * (b & U32_MAX);
	u64 middle = (a >> 32) * (b & U32_MAX) + (low >> 32);
	u64 other = (a & U32_MAX) * (b >> 32) + (middle & U32_MAX);

	return (a >> 32) * (b >> 32) + (middle >> 32) + (other >> 32);
#endif
}

/* The high @bits of the product with 2^64 by the golden ratio. */
static inline u32 hash_64(u64 value, unsigned int bits)
{
	return (value * 0x9e3779b97f4a7c15ull) >> (64 - bits);
}

/* Checks: what the kernel reports and goes on from, a program does not survive. */

#ifdef MP_TEST_HOOKS
void mp_warn(void);
#else
#define mp_warn()	abort()
#endif

#define WARN_ON_ONCE(bad) ({ bool _bad = !!(bad); if (_bad) mp_warn(); _bad; })

/* Memory order: as in the kernel, acquire and release pair by address. */

#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define mp_peek(x)		READ_ONCE(x)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)
/* Everything before the release of the value read is seen. */
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
/* Everything before is seen by who acquires @v. */
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)

/* Bits */

#define BITS_PER_LONG		((u32)(CHAR_BIT * sizeof(long)))
#define BITS_TO_LONGS(nr)	DIV_ROUND_UP(nr, BITS_PER_LONG)
#define __ffs(w)		((u32)__builtin_ctzl(w))

/* Bits that are set: for processors that may have no instruction for it. */
static inline u32 hweight_long(unsigned long w)
{
	const unsigned long ones = ~0ul / 255, pairs = ones * 0x33;

	if (!(w & (w - 1)))	/* mostly one bit or none */
		return !!w;
	w -= w >> 1 & ones * 0x55;
	w = (w & pairs) + (w >> 2 & pairs);
	w = (w + (w >> 4)) & ones * 0x0f;
	return (u32)(w * ones >> (BITS_PER_LONG - 8));
}

static inline bool test_bit(size_t nr, const unsigned long *map)
{
	return map[nr / BITS_PER_LONG] >> nr % BITS_PER_LONG & 1;
}

static inline void __set_bit(size_t nr, unsigned long *map)
{
	map[nr / BITS_PER_LONG] |= 1ul << nr % BITS_PER_LONG;
}

static inline void __clear_bit(size_t nr, unsigned long *map)
{
	map[nr / BITS_PER_LONG] &= ~(1ul << nr % BITS_PER_LONG);
}

static inline void bitmap_set(unsigned long *map, size_t start, size_t nr)
{
	while (nr--)
		__set_bit(start++, map);
}

/* The first set bit not below @from, or @size. */
static inline size_t find_next_bit(const unsigned long *map, size_t size, size_t from)
{
	size_t word = from / BITS_PER_LONG;
	unsigned long bits;

	if (from >= size)
		return size;
	bits = map[word] & ~0ul << from % BITS_PER_LONG;
	while (!bits) {
		if (++word >= BITS_TO_LONGS(size))
			return size;
		bits = map[word];
	}
	return min_t(size_t, size, word * BITS_PER_LONG + __ffs(bits));
}

/* What the processor must not be led past by a guess: nothing to do here. */
#define array_index_nospec(index, size)	((void)(size), (index))

/* The first byte that is not @c, or NULL. */
static inline const void *memchr_inv(const void *start, int c, size_t len)
{
	const unsigned char *p = start;

	for (; len; p++, len--)
		if (*p != (unsigned char)c)
			return p;
	return NULL;
}

/* Lists */

#define container_of(ptr, type, member)	((type *)((char *)(ptr) - offsetof(type, member)))

struct list_head {
	struct list_head *next, *prev;
};

static inline void INIT_LIST_HEAD(struct list_head *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool list_empty(const struct list_head *head)
{
	return head->next == head;
}

static inline void list_insert_between(struct list_head *node, struct list_head *prev,
				       struct list_head *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void list_add(struct list_head *node, struct list_head *head)
{
	list_insert_between(node, head, head->next);
}

static inline void list_add_tail(struct list_head *node, struct list_head *head)
{
	list_insert_between(node, head->prev, head);
}

static inline void list_del(struct list_head *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
}

static inline void list_del_init(struct list_head *node)
{
	list_del(node);
	INIT_LIST_HEAD(node);
}

static inline void list_move(struct list_head *node, struct list_head *head)
{
	list_del(node);
	list_add(node, head);
}

static inline void list_move_tail(struct list_head *node, struct list_head *head)
{
	list_del(node);
	list_add_tail(node, head);
}

#define list_entry(ptr, type, member)	container_of(ptr, type, member)
#define list_first_entry(head, type, member) \
	list_entry((head)->next, type, member)
#define list_first_entry_or_null(head, type, member) \
	(list_empty(head) ? NULL : list_first_entry(head, type, member))
#define list_next_entry(pos, member) \
	list_entry((pos)->member.next, __typeof__(*(pos)), member)
#define list_for_each_entry(pos, head, member)					\
	for (pos = list_first_entry(head, __typeof__(*(pos)), member);		\
	     &pos->member != (head); pos = list_next_entry(pos, member))
#define list_for_each_entry_safe(pos, n, head, member)				\
	for (pos = list_first_entry(head, __typeof__(*(pos)), member),		\
	     n = list_next_entry(pos, member);					\
	     &pos->member != (head); pos = n, n = list_next_entry(n, member))

struct hlist_node {
	struct hlist_node *next, **pprev;
};

struct hlist_head {
	struct hlist_node *first;
};

static inline void INIT_HLIST_HEAD(struct hlist_head *head)
{
	head->first = NULL;
}

static inline void hlist_add_head(struct hlist_node *node, struct hlist_head *head)
{
	node->next = head->first;
	node->pprev = &head->first;
	if (node->next)
		node->next->pprev = &node->next;
	head->first = node;
}

static inline void hlist_del(struct hlist_node *node)
{
	*node->pprev = node->next;
	if (node->next)
		node->next->pprev = node->pprev;
}

#define hlist_entry_safe(ptr, type, member) ({					\
	struct hlist_node *_ptr = (ptr);					\
	_ptr ? container_of(_ptr, type, member) : NULL; })
#define hlist_for_each_entry(pos, head, member)					\
	for (pos = hlist_entry_safe((head)->first, __typeof__(*(pos)), member);	\
	     pos; pos = hlist_entry_safe((pos)->member.next, __typeof__(*(pos)), member))
#define hlist_for_each_entry_safe(pos, n, head, member)				\
	for (pos = hlist_entry_safe((head)->first, __typeof__(*(pos)), member);	\
	     pos && ({ n = (pos)->member.next; 1; });				\
	     pos = hlist_entry_safe(n, __typeof__(*(pos)), member))

struct llist_node {
	struct llist_node *next;
};

#endif /* MP_CORE_USER_H */
