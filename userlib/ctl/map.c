// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl map: a picture of the reserve. debugfs lists the chunks, for root;
 * others see how many are in which state, without order and owners.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define CHUNK_PAGES 512.0

static void *grow(void *array, size_t nr, size_t size)
{
	/* At powers of two. */
	if (!(nr & (nr - 1)))
		array = realloc(array, (nr ? 2 * nr : 1) * size);
	if (!array)
		fail(EXIT_ERROR, "out of memory");
	return array;
}

/* ---- reading ---- */

static int owner_get(struct map *map, bool pool, uint64_t id)
{
	size_t i;

	for (i = 0; i < map->nr_owners; i++) {
		if (map->owner[i].pool == pool && map->owner[i].id == id)
			return i;
	}
	map->owner = grow(map->owner, map->nr_owners, sizeof(*map->owner));
	map->owner[map->nr_owners] = (struct map_owner){ .pool = pool, .id = id };
	return map->nr_owners++;
}

static int state_of(const char *name)
{
	int i;

	for (i = 0; i < STATES; i++) {
		if (!strcmp(state_names[i], name))
			return i;
	}
	return -1;
}

static void chunk_of_line(struct map *map, const char *line)
{
	char state[16], pages[16], kind[16], name[32] = "";
	struct chunk c = { .owner = -1 };
	unsigned long long nr, id;
	struct map_owner *o;
	unsigned int used;
	int node;

	/* An older module gives no names. */
	if (sscanf(line, "%llu %15s %15s %d %15s %llu %u %31s", &nr, state, pages, &node, kind,
		   &id, &used, name) < 7)
		return;
	c.state = state_of(state);
	if (c.state < 0)
		return;
	c.huge = !strcmp(pages, "huge");
	c.used = used < CHUNK_PAGES ? used / CHUNK_PAGES : 1;
	if (strcmp(kind, "-")) {
		c.owner = owner_get(map, !strcmp(kind, "pool"), id);
		o = &map->owner[c.owner];
		if (o->pool)
			snprintf(o->name, sizeof(o->name), "%s", out_clean(name));
		o->chunks++;
		o->huge += c.huge;
		o->used += c.used;
	}
	map->chunk = grow(map->chunk, map->nr, sizeof(*map->chunk));
	map->chunk[map->nr++] = c;
}

static void label_owners(struct map *map)
{
	const struct session *s;
	struct sessions sessions;
	struct map_owner *o;

	sessions_read(&sessions);
	for (o = map->owner; o < map->owner + map->nr_owners; o++) {
		s = o->pool ? NULL : sessions_find(&sessions, o->id);
		if (s)
			snprintf(o->label, sizeof(o->label), "session %" PRIu64 ": %s, pid %ld",
				 o->id, s->command, s->pid);
		else if (*o->name)
			snprintf(o->label, sizeof(o->label), "named pool %s", o->name);
		else
			snprintf(o->label, sizeof(o->label), "%s %" PRIu64,
				 o->pool ? "named pool" : "session", o->id);
	}
	sessions_free(&sessions);
}

static void map_of_states(struct map *map)
{
	struct device d;
	uint64_t i;
	int state;

	device_read(&d);
	map->by_state = true;
	for (state = 0; state < STATES; state++) {
		for (i = 0; i < d.state[state].number; i++) {
			map->chunk = grow(map->chunk, map->nr, sizeof(*map->chunk));
			map->chunk[map->nr++] = (struct chunk){ state, true, -1, 1 };
		}
	}
}

static void map_read(struct map *map)
{
	char *line, *rest, *text;
	int error;

	*map = (struct map){ 0 };
	read_need_module();
	text = read_file(DEBUGFS "/chunks", &error);
	for (rest = text; rest && (line = strsep(&rest, "\n"));)
		chunk_of_line(map, line);
	free(text);
	if (map->nr)
		label_owners(map);
	else
		map_of_states(map);
}

/* ---- printing ---- */

static const char state_char[STATES] = { '.', '#', '>', '!', '~', 'x' };
static const char *const state_color[STATES] = { "2", "34", "33", "31", "33", "31;7" };
static const char *const owner_color[] = { "34", "32", "36", "35", "33", "94", "92", "96" };

/* Owners are letters; a small one is a chunk less than half full. */
static char chunk_char(const struct chunk *c)
{
	if (c->state != OWNED || c->owner < 0)
		return state_char[c->state];
	return (c->used < 0.5 ? 'a' : 'A') + c->owner % 26;
}

static const char *chunk_color(const struct chunk *c)
{
	if (c->state != OWNED || c->owner < 0)
		return state_color[c->state];
	return owner_color[c->owner % (sizeof(owner_color) / sizeof(owner_color[0]))];
}

static void print_chunks(const struct map *map)
{
	size_t line = opt.width ? opt.width : 80, i;
	const struct chunk *c;

	if (line > 128)
		line = 128;
	for (i = 0; i < map->nr; i++) {
		c = &map->chunk[i];
		printf("%s%s%c%s", out_color(chunk_color(c)),
		       !map->by_state && !c->huge ? out_color("4") : "", chunk_char(c),
		       out_color("0"));
		if ((i + 1) % line == 0 || i + 1 == map->nr)
			putchar('\n');
	}
}

static void print_legend(const struct map *map)
{
	unsigned long nr[STATES] = { 0 };
	const struct map_owner *o;
	char line[160];
	size_t i;

	for (i = 0; i < map->nr; i++)
		nr[map->chunk[i].state]++;
	for (i = 0; i < STATES; i++) {
		if (nr[i] && (i != OWNED || map->by_state))
			printf("%s%c%s  %lu %s\n", out_color(state_color[i]), state_char[i],
			       out_color("0"), nr[i], state_names[i]);
	}
	for (i = 0; i < map->nr_owners; i++) {
		o = &map->owner[i];
		snprintf(line, sizeof(line), "%c  %s: %lu chunks (%lu huge), %.0f %% in use",
			 (char)('A' + i % 26), o->label, o->chunks, o->huge,
			 o->used / o->chunks * 100);
		printf("%.*s\n", opt.width ? (int)opt.width : 160, line);
	}
	if (map->by_state)
		puts("by state: root sees order and owners");
}

static void map_json(const struct map *map)
{
	const struct map_owner *o;
	const struct chunk *c;

	json_open(NULL, '{');
	json_bool("by_state", map->by_state);
	json_open("chunks", '[');
	for (c = map->chunk; c < map->chunk + map->nr; c++) {
		o = c->owner < 0 ? NULL : &map->owner[c->owner];
		json_open(NULL, '{');
		json_string("state", state_names[c->state]);
		if (!map->by_state) {
			json_bool("huge", c->huge);
			json_double("used", c->used);
			json_string("owner", !o ? "" : o->pool ? "pool" : "session");
			json_value("id", (struct value){ o ? o->id : 0, o });
			json_string("pool", o ? o->name : "");
		}
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

int command_map(void)
{
	struct map map;

	map_read(&map);
	if (opt.json) {
		map_json(&map);
	} else if (opt.svg) {
		map_svg(&map);
	} else {
		print_chunks(&map);
		print_legend(&map);
	}
	free(map.chunk);
	free(map.owner);
	return EXIT_OK;
}
