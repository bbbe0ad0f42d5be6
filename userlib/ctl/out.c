// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What goes to standard output: its width and colours, figures for people, JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl.h"

/* ---- the terminal ---- */

/* Looked at anew for each picture: windows change. */
static void find_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	opt.width = columns ? strtoul(columns, NULL, 10) : 0;
	if (isatty(STDOUT_FILENO) && !opt.width) {
		opt.width = 80;
		if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
			opt.width = size.ws_col;
	}
}

unsigned int out_height(void)
{
	struct winsize size;

	find_width();
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_row)
		return size.ws_row;
	return 24;
}

void out_init(bool color_never)
{
	const char *term = getenv("TERM"), *never = getenv("NO_COLOR");

	find_width();
	opt.color = isatty(STDOUT_FILENO) && !color_never && !(never && *never) && term &&
		    strcmp(term, "dumb");
}

/* An SGR sequence, or nothing. */
const char *out_color(const char *code)
{
	static char buf[4][24];
	static unsigned int turn;
	char *b = buf[turn++ % 4];

	if (!opt.color)
		return "";
	snprintf(b, sizeof(buf[0]), "\033[%sm", code);
	return b;
}

/*
 * A process may call itself anything: nothing that a terminal obeys gets
 * through, in place.
 */
const char *out_clean(char *text)
{
	char *c;

	for (c = text; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	return text;
}

/* What could not be written must not look like success; a reader who left knows. */
void out_end(void)
{
	if (fflush(stdout) || ferror(stdout)) {
		if (errno != EPIPE)
			fprintf(stderr, "mempoolctl: standard output: %s\n", strerror(errno));
		_exit(EXIT_ERROR);
	}
}

/* ---- figures ---- */

const char *out_number(char buf[24], struct value number)
{
	if (number.known)
		snprintf(buf, 24, "%" PRIu64, number.number);
	else
		strcpy(buf, "-");
	return buf;
}

/* Binary units, at most four digits: 512, 1.5K, 64M. */
const char *out_bytes(char buf[16], struct value bytes)
{
	static const char unit[] = " KMGTPE";
	double x = bytes.number;
	int i = 0;

	while (x >= 1023.95 && unit[i + 1]) {
		x /= 1024;
		i++;
	}
	if (!bytes.known)
		strcpy(buf, "-");
	else if (!i)
		snprintf(buf, 16, "%.0f", x);
	else if (x < 99.95 && x != (unsigned int)x)
		snprintf(buf, 16, "%.1f%c", x, unit[i]);
	else
		snprintf(buf, 16, "%.0f%c", x, unit[i]);
	return buf;
}

/* ---- JSON ---- */

static bool json_first = true;
static int json_depth;

static void json_text(const char *text)
{
	const unsigned char *c;

	putchar('"');
	for (c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < ' ' || *c > '~')
			printf("\\u%04x", *c);
		else
			putchar(*c);
	}
	putchar('"');
}

static void json_key(const char *key)
{
	if (!json_first)
		putchar(',');
	if (json_depth)
		printf("\n%*s", json_depth * 2, "");
	json_first = false;
	if (key) {
		json_text(key);
		fputs(": ", stdout);
	}
}

void json_open(const char *key, char bracket)
{
	json_key(key);
	putchar(bracket);
	json_first = true;
	json_depth++;
}

void json_close(char bracket)
{
	json_depth--;
	if (!json_first)
		printf("\n%*s", json_depth * 2, "");
	putchar(bracket);
	json_first = false;
	if (!json_depth) {
		putchar('\n');
		json_first = true;
	}
}

void json_value(const char *key, struct value value)
{
	json_key(key);
	if (value.known)
		printf("%" PRIu64, value.number);
	else
		fputs("null", stdout);
}

void json_double(const char *key, double value)
{
	json_key(key);
	if (value >= 0)
		printf("%.4f", value);
	else
		fputs("null", stdout);
}

void json_string(const char *key, const char *text)
{
	json_key(key);
	json_text(text);
}

void json_bool(const char *key, bool value)
{
	json_key(key);
	fputs(value ? "true" : "false", stdout);
}
