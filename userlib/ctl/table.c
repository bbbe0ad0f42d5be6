// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Columns that fit: in a narrow terminal the least important are left out, and
 * the one without a width of its own takes what is left.
 */
#include <string.h>

#include "ctl.h"

#define LEAST 8		/* of the column without a width */

static unsigned int full_width(const struct table *t)
{
	unsigned int i, width = 0;

	for (i = 0; i < t->nr; i++) {
		if (t->shown[i])
			width += (t->column[i].width ? t->column[i].width : LEAST) + 1;
	}
	return width ? width - 1 : 0;
}

static bool drop_one(struct table *t)
{
	unsigned int i, least = t->nr;

	for (i = 0; i < t->nr; i++) {
		if (t->shown[i] && (least == t->nr ||
				    t->column[i].importance < t->column[least].importance))
			least = i;
	}
	if (least == t->nr || t->column[least].importance >= 10)
		return false;
	t->shown[least] = false;
	return true;
}

/* Prints the titles. */
void table_begin(struct table *t, const struct column *column, unsigned int nr)
{
	const char *title[TABLE_MAX];
	unsigned int i;

	*t = (struct table){ .column = column, .nr = nr };
	for (i = 0; i < nr; i++) {
		t->shown[i] = true;
		title[i] = column[i].title;
	}
	while (opt.width && full_width(t) > opt.width && drop_one(t))
		;
	t->width = full_width(t);
	fputs(out_color("1"), stdout);
	table_row(t, title);
	fputs(out_color("0"), stdout);
}

/* Figures to the right, words to the left; never wider than the terminal. */
void table_row(const struct table *t, const char *const *cell)
{
	unsigned int left = opt.width ? opt.width : ~0u, i, width;
	const char *gap = "";
	int n;

	for (i = 0; i < t->nr; i++) {
		if (!t->shown[i] || left <= strlen(gap))
			continue;
		left -= strlen(gap);
		width = t->column[i].width;
		if (width)
			n = printf("%s%*.*s", gap, width < left ? (int)width : (int)left,
				   left > 1000 ? 1000 : (int)left, cell[i]);
		else
			n = printf("%s%.*s", gap, left > 1000 ? 1000 : (int)left, cell[i]);
		n -= strlen(gap);
		left = n > 0 && (unsigned int)n < left ? left - n : n > 0 ? 0 : left;
		gap = " ";
	}
	putchar('\n');
}
