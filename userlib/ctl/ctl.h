/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * mempoolctl: what its parts share.
 *
 *	main.c		options, the table of commands
 *	read.c		files of sysfs, procfs and debugfs
 *	device.c	the reserve's figures and the named pools'
 *	sessions.c	open sessions: fdinfo, and debugfs for root
 *	out.c		terminal, sizes, JSON, XML
 *	table.c		columns that fit
 *	status.c pools.c top.c watch.c map.c map_svg.c trim.c prometheus.c suggest.c
 *
 * Nothing is cached between two readings, and a file that is not there is a
 * value that is not known: an older or newer module can be looked at, too.
 */
#ifndef MEMPOOLCTL_H
#define MEMPOOLCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SYSFS	"/sys/class/misc/mempool"
#define DEBUGFS	"/sys/kernel/debug/mempool"
#define CHUNK	(2ull << 20)

/* Exit codes, as mempoolctl(8) has them. */
enum {
	EXIT_OK,
	EXIT_ERROR,		/* something could not be read or written */
	EXIT_USAGE,
	EXIT_NO_MODULE,
	EXIT_NOT_PERMITTED,
};

struct options {
	bool json, svg, prometheus, color;
	unsigned int width;	/* of the terminal; 0: no limit */
	double delay;		/* seconds */
	long count;		/* refreshes; 0: no end, -1: not said */
};

extern struct options opt;

void fail(int code, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* ---- read.c ---- */

void read_root(const char *dir);
const char *read_path(const char *path);
char *read_file(const char *path, int *error);
bool read_number(const char *dir, const char *name, uint64_t *value);
void read_need_module(void);
int read_write_file(const char *path, const char *text);

/* ---- device.c ---- */

enum metric { GAUGE, COUNTER };

/* One attribute of sysfs. */
struct attribute {
	const char *name;
	enum metric metric;
	const char *prometheus;	/* NULL: not exported */
	const char *help;
};

struct value {
	uint64_t number;
	bool known;
};

enum {
	RESERVE_BYTES, CHUNKS_TOTAL, CHUNKS_HUGE, CHUNKS_SMALL, CHUNKS_IDLE, CHUNKS_REPLACED,
	CHUNKS_PEAK, PRESSURE, SESSIONS, NEW_ALLOCATIONS, REUSED_ALLOCATIONS, RELEASES,
	BAD_RELEASES, CURRENTLY_ALLOCATED, CURRENT_BYTES, FAILED_NO_MEMORY, FAILED_LIMIT,
	RECLAIMED_CHUNKS, DEVICE_ATTRIBUTES
};

enum { FREE, OWNED, LEAVING, PINNED, CLEANING, RETIRED, STATES };

struct device {
	struct value value[DEVICE_ATTRIBUTES];
	struct value state[STATES];	/* of one moment */
};

extern const struct attribute device_attributes[DEVICE_ATTRIBUTES];
extern const char *const state_names[STATES];

void device_read(struct device *d);
double device_reuse(const struct device *d);

enum {
	BLOCK_SIZE, STRIDE, NUM_BLOCKS, ISSUED, POOL_FREE, GETS, RETURNS, BAD_RETURNS, ADOPTS,
	COALESCES, AUTO_COALESCES, COALESCE_NS_LAST, COALESCE_NS_MAX, MEMBERS, THRESHOLD,
	CREATOR, KEEP, POOL_ATTRIBUTES
};

struct pool {
	char name[256];
	struct value value[POOL_ATTRIBUTES];
	double efficiency, fragmentation;	/* percent; negative: not known */
	unsigned int mode;
};

struct pools {
	struct pool *pool;
	size_t nr;
};

extern const struct attribute pool_attributes[POOL_ATTRIBUTES];

void pools_read(struct pools *pools);
void pools_free(struct pools *pools);

/* ---- sessions.c ---- */

struct session {
	uint64_t id;
	long pid;		/* who has it open; else who opened it */
	long last_pid;		/* counted last */
	unsigned int processes;	/* that have a descriptor; 0: seen in debugfs only */
	char command[32];
	struct value owned, pinned, allocated, peak, allocations, reused, failed, pools;
};

struct sessions {
	struct session *session;
	size_t nr;
	bool all;		/* debugfs was read: there are no others */
};

void sessions_read(struct sessions *sessions);
void sessions_free(struct sessions *sessions);
const struct session *sessions_find(const struct sessions *sessions, uint64_t id);

/* ---- out.c ---- */

void out_init(bool color_never);
unsigned int out_height(void);
const char *out_color(const char *code);
const char *out_bytes(char buf[16], struct value bytes);
const char *out_number(char buf[24], struct value number);
const char *out_clean(char *text);
void out_end(void);

/* A JSON writer: commas and escapes are its business. */
void json_open(const char *key, char bracket);
void json_close(char bracket);
void json_value(const char *key, struct value value);
void json_double(const char *key, double value);
void json_string(const char *key, const char *text);
void json_bool(const char *key, bool value);

/* ---- table.c ---- */

/* A column: @width 0 takes what is left. The least important are left out first. */
struct column {
	const char *title;
	unsigned int width;
	unsigned int importance;
};

#define TABLE_MAX 12

struct table {
	const struct column *column;
	unsigned int nr;
	bool shown[TABLE_MAX];
	unsigned int width;	/* the whole, as far as it is fixed */
};

void table_begin(struct table *t, const struct column *column, unsigned int nr);
void table_row(const struct table *t, const char *const *cell);

/* ---- commands: exit codes ---- */

int command_status(void);
int command_pools(void);
int command_top(void);
int command_watch(void);
int command_map(void);
int command_trim(void);
int command_prometheus(void);
int command_suggest(void);

/* ---- map.c and map_svg.c ---- */

struct chunk {
	int state;
	bool huge;
	int owner;		/* index into owners; -1: none */
	double used;		/* 0 to 1 */
};

struct map_owner {
	bool pool;
	uint64_t id;
	unsigned long chunks, huge;
	double used;
	char name[32];		/* of a named pool; empty: not known */
	char label[64];		/* for people */
};

struct map {
	struct chunk *chunk;
	size_t nr;
	struct map_owner *owner;
	size_t nr_owners;
	bool by_state;		/* debugfs was not readable: no order, no owners */
};

void map_svg(const struct map *map);

#endif
