// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Opening the contender, and those that are system calls anyway.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "worker.h"

static void __attribute__((noreturn, unused)) give_up(const char *what)
{
	printf("fail %s\n", what);
	exit(0);
}

static size_t __attribute__((unused)) pages(size_t size)
{
	return (size + 4095) & ~(size_t)4095;
}

#if BENCH_POOL

struct mempool *bench_pool;

static long long option(const char *name, long long otherwise)
{
	const char *value = getenv(name);

	return value ? atoll(value) : otherwise;
}

/* BENCH_EXACT: no buckets; BENCH_MIN: bytes that are had before the start. */
static struct mempool *open_pool(void)
{
	static const struct mempool_option_tier exact = { UINT64_MAX, 1 };
	struct mempool_options o = MEMPOOL_OPTIONS_INIT;
	struct mempool *pool;

	o.device = getenv("BENCH_DEVICE");
	o.max_cached = option("BENCH_MAX_CACHED", -1);
	o.max_cached_bytes = option("BENCH_MAX_CACHED_BYTES", -1);
	o.min_bytes = option("BENCH_MIN", 0);
#if BENCH_HAS_CACHE_BYTES
	o.cache_bytes = option("BENCH_CACHE_BYTES", -1);
#endif
	if (getenv("BENCH_EXACT")) {
		o.tiers = &exact;
		o.nr_tiers = 1;
	}
	if (mempool_open(&pool, &o))
		give_up("cannot open the pool");
	return pool;
}

/* The first one is used; BENCH_SESSIONS more or less stand beside it. */
void contender_open(void)
{
	long long others = option("BENCH_SESSIONS", 1) - 1;

	bench_pool = open_pool();
	while (others-- > 0) {
		struct mempool *other = open_pool();

		if (!mempool_alloc(other, 4096))
			give_up("cannot allocate in another session");
	}
}

const char *contender_name(void)
{
	static char name[100];
	const char *device = getenv("BENCH_DEVICE");

	snprintf(name, sizeof(name), "libmempool %s on %s", mempool_version(),
		 device ? device : MEMPOOL_DEVICE_DEFAULT);
	return name;
}

/* With BENCH_MIN, the blocks too. */
void contender_preallocate(size_t size, unsigned int count)
{
	if (getenv("BENCH_MIN") && mempool_preallocate(bench_pool, size, count))
		give_up("cannot preallocate");
}

#else

void contender_preallocate(size_t size, unsigned int count)
{
	(void)size;
	(void)count;
}

#endif

#if BENCH_MALLOC

void contender_open(void)
{
}

/* The library that malloc() comes from. */
const char *contender_name(void)
{
	Dl_info info;

	if (!dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) || !info.dli_fname)
		return "unknown";
	return info.dli_fname;
}

#elif BENCH_NULL

/* All of the block is there: a first touch of it would be the longest time of all. */
void contender_open(void)
{
	size_t size = 16 << 20;

	memset(null_take(size), 0, size);
}

const char *contender_name(void)
{
	return "null";
}

#elif BENCH_MMAP

void contender_open(void)
{
}

const char *contender_name(void)
{
	return "mmap";
}

void *slow_take(size_t size)
{
	void *ptr = mmap(NULL, pages(size), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return ptr == MAP_FAILED ? NULL : ptr;
}

int slow_give(void *ptr, size_t size)
{
	return munmap(ptr, pages(size));
}

#elif BENCH_MEMFD || BENCH_UDMABUF || BENCH_HEAP

#if BENCH_UDMABUF || BENCH_HEAP
#include <linux/types.h>

struct udmabuf_create {
	__u32 memfd, flags;
	__u64 offset, size;
};
#define UDMABUF_CREATE	_IOW('u', 0x42, struct udmabuf_create)

struct heap_data {
	__u64 len;
	__u32 fd, fd_flags;
	__u64 heap_flags;
};
#define HEAP_ALLOC	_IOWR('H', 0, struct heap_data)

static int device = -1;
#endif

/* A file with @size bytes of memory. */
static int make_file(size_t size)
{
#if BENCH_HEAP
	struct heap_data data = { .len = size, .fd_flags = O_RDWR | O_CLOEXEC };

	return ioctl(device, HEAP_ALLOC, &data) ? -1 : (int)data.fd;
#else
	int fd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
#if BENCH_UDMABUF
	struct udmabuf_create create = { .memfd = fd, .size = size };
	int memfd = fd;

	fd = fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) ? -1 :
		ioctl(device, UDMABUF_CREATE, &create);
	close(memfd);
#endif
	return fd;
#endif
}

void contender_open(void)
{
#if BENCH_HEAP
	device = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	if (device < 0)
		give_up("no dma-buf system heap");
#elif BENCH_UDMABUF
	device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	if (device < 0)
		give_up("no udmabuf");
#endif
}

const char *contender_name(void)
{
	return BENCH_HEAP ? "dma-buf system heap" : BENCH_UDMABUF ? "udmabuf" : "memfd";
}

void *slow_take(size_t size)
{
	int fd = make_file(pages(size));
	void *ptr;

	if (fd < 0)
		return NULL;
	ptr = mmap(NULL, pages(size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);	/* the mapping keeps it */
	return ptr == MAP_FAILED ? NULL : ptr;
}

int slow_give(void *ptr, size_t size)
{
	return munmap(ptr, pages(size));
}

#endif
