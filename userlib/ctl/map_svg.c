// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The picture of the reserve as SVG. A cell is a chunk: its frame says huge
 * (whole) or small (dashed), its filling how much of it is in use and by whom.
 */
#include "ctl.h"

#define CELL	14
#define ROW	64	/* cells */
#define LINE	18	/* of text */

static const char *const state_fill[STATES] = {
	"#eeeeee", "#4878cf", "#f0c000", "#d03030", "#f0c000", "#202020",
};

static const char *const owner_fill[] = {
	"#4878cf", "#6acc65", "#b47cc7", "#c4ad66", "#77bedb", "#d65f5f", "#92c6ff", "#97f0aa",
};

static const char *fill_of(const struct chunk *c)
{
	if (c->state != OWNED || c->owner < 0)
		return state_fill[c->state];
	return owner_fill[c->owner % (sizeof(owner_fill) / sizeof(owner_fill[0]))];
}

static void svg_text(const char *text)
{
	const char *c;

	for (c = text; *c; c++) {
		switch (*c) {
		case '&':
			fputs("&amp;", stdout);
			break;
		case '<':
			fputs("&lt;", stdout);
			break;
		case '>':
			fputs("&gt;", stdout);
			break;
		default:
			putchar(*c);
		}
	}
}

static void svg_chunk(const struct chunk *c, size_t i)
{
	unsigned int x = i % ROW * CELL, y = i / ROW * CELL, size = CELL - 2, full;

	full = c->state == OWNED ? (unsigned int)(c->used * size + 0.5) : size;
	if (full)
		printf("<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\"/>\n", x,
		       y + size - full, size, full, fill_of(c));
	printf("<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"none\" stroke=\"%s\"%s/>\n",
	       x, y, size, size, c->state == FREE ? "#bbbbbb" : fill_of(c),
	       c->huge ? "" : " stroke-dasharray=\"2 2\"");
}

static void svg_legend_line(unsigned int y, const char *fill, const char *text, unsigned long nr)
{
	printf("<rect x=\"0\" y=\"%u\" width=\"12\" height=\"12\" fill=\"%s\" stroke=\"#bbbbbb\"/>\n",
	       y, fill);
	printf("<text x=\"20\" y=\"%u\">", y + 11);
	svg_text(text);
	printf(": %lu</text>\n", nr);
}

/* Who owns a chunk says more than that it is owned. */
static bool in_legend(const struct map *map, const unsigned long *nr, size_t state)
{
	return nr[state] && (state != OWNED || map->by_state);
}

static void svg_legend(const struct map *map, const unsigned long *nr, unsigned int y)
{
	size_t i;

	for (i = 0; i < STATES; i++) {
		if (in_legend(map, nr, i)) {
			svg_legend_line(y, state_fill[i], state_names[i], nr[i]);
			y += LINE;
		}
	}
	for (i = 0; i < map->nr_owners; i++, y += LINE)
		svg_legend_line(y, owner_fill[i % (sizeof(owner_fill) / sizeof(owner_fill[0]))],
				map->owner[i].label, map->owner[i].chunks);
}

void map_svg(const struct map *map)
{
	unsigned int top = (map->nr + ROW - 1) / ROW * CELL + 8, lines = map->nr_owners;
	unsigned long nr[STATES] = { 0 };
	unsigned int height;
	size_t i;

	for (i = 0; i < map->nr; i++)
		nr[map->chunk[i].state]++;
	for (i = 0; i < STATES; i++)
		lines += in_legend(map, nr, i);
	height = top + lines * LINE;
	printf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-4 -4 %u %u\" "
	       "font-family=\"sans-serif\" font-size=\"12\">\n", ROW * CELL + 8, height + 8);
	printf("<rect x=\"-4\" y=\"-4\" width=\"%u\" height=\"%u\" fill=\"#ffffff\"/>\n",
	       ROW * CELL + 8, height + 8);
	for (i = 0; i < map->nr; i++)
		svg_chunk(&map->chunk[i], i);
	svg_legend(map, nr, top);
	puts("</svg>");
}
