// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl top: sessions by size. On a terminal it refreshes until q is
 * pressed; elsewhere it prints once, or as often as --count says.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "ctl.h"

/* ---- one picture ---- */

static void session_json(const struct session *s)
{
	json_open(NULL, '{');
	json_value("session", (struct value){ s->id, true });
	json_value("pid", (struct value){ s->pid, true });
	json_string("command", s->command);
	json_value("processes", (struct value){ s->processes, true });
	json_value("owned_bytes", s->owned);
	json_value("pinned_bytes", s->pinned);
	json_value("allocated_bytes", s->allocated);
	json_value("peak_bytes", s->peak);
	json_value("allocations", s->allocations);
	json_value("reused", s->reused);
	json_value("failed", s->failed);
	json_value("pools", s->pools);
	json_close('}');
}

static void sessions_json(const struct sessions *sessions)
{
	size_t i;

	json_open(NULL, '{');
	json_bool("complete", sessions->all);
	json_open("sessions", '[');
	for (i = 0; i < sessions->nr; i++)
		session_json(&sessions->session[i]);
	json_close(']');
	json_close('}');
}

static void session_row(const struct table *t, const struct session *s)
{
	char pid[24], id[24], owned[16], held[16], peak[16], pinned[16], reuse[16] = "-";
	char allocations[24], failed[24], pools[24], command[64];
	const char *const cell[] = { pid, id, owned, held, peak, pinned, allocations, reuse, failed,
		pools, command };

	snprintf(pid, sizeof(pid), "%ld", s->pid);
	out_number(id, (struct value){ s->id, true });
	out_bytes(owned, s->owned);
	out_bytes(held, s->allocated);
	out_bytes(peak, s->peak);
	out_bytes(pinned, s->pinned);
	out_number(allocations, s->allocations);
	out_number(failed, s->failed);
	out_number(pools, s->pools);
	if (s->allocations.known && s->allocations.number)
		snprintf(reuse, sizeof(reuse), "%.1f",
			 100.0 * s->reused.number / s->allocations.number);
	if (s->processes > 1)
		snprintf(command, sizeof(command), "%s (%u processes)", s->command, s->processes);
	else if (!s->processes)
		snprintf(command, sizeof(command), "%s (no descriptor)", s->command);
	else
		snprintf(command, sizeof(command), "%s", s->command);
	table_row(t, cell);
}

/* At most @rows lines of sessions; 0: all. */
static void sessions_table(const struct sessions *sessions, unsigned int rows)
{
	static const struct column columns[] = {
		{ "PID", 7, 10 }, { "SESSION", 7, 7 }, { "OWNED", 6, 10 }, { "HELD", 6, 9 },
		{ "PEAK", 6, 5 }, { "PINNED", 6, 4 }, { "ALLOCATIONS", 12, 3 },
		{ "REUSE%", 6, 6 }, { "FAILED", 6, 2 }, { "POOLS", 5, 8 }, { "COMMAND", 0, 10 },
	};
	struct table t;
	size_t i;

	table_begin(&t, columns, sizeof(columns) / sizeof(columns[0]));
	for (i = 0; i < sessions->nr && (!rows || i < rows); i++)
		session_row(&t, &sessions->session[i]);
}

static void print_summary(const struct device *d, const struct sessions *sessions)
{
	char line[256], free[24], total[24], pinned[24], open[24];
	int width = opt.width ? (int)opt.width : 255;

	snprintf(line, sizeof(line),
		 "%s sessions%s; chunks: %s of %s free, %s pinned; reuse %.1f %%",
		 out_number(open, d->value[SESSIONS]),
		 sessions->all ? "" : " (of other users' only what root sees)",
		 out_number(free, d->state[FREE]), out_number(total, d->value[CHUNKS_TOTAL]),
		 out_number(pinned, d->state[PINNED]), device_reuse(d) * 100);
	printf("%.*s\n", width, line);
}

static void print_once(unsigned int rows)
{
	struct sessions sessions;
	struct device d;

	device_read(&d);
	sessions_read(&sessions);
	if (opt.json) {
		sessions_json(&sessions);
	} else {
		print_summary(&d, &sessions);
		sessions_table(&sessions, rows);
	}
	sessions_free(&sessions);
}

/* ---- live ---- */

static struct termios saved;
static volatile sig_atomic_t ended;

static void on_signal(int sig)
{
	(void)sig;
	ended = 1;
}

/* Also when the module goes away meanwhile: fail() ends in exit(). */
static void screen_leave(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
}

static void screen_enter(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct termios raw;

	if (!tcgetattr(STDIN_FILENO, &saved)) {
		raw = saved;
		raw.c_lflag &= ~(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
		atexit(screen_leave);
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	fputs("\033[?1049h\033[?25l", stdout);
}

/* Until the next refresh, q or a signal. */
static void wait_for_key(void)
{
	struct pollfd fd = { STDIN_FILENO, POLLIN, 0 };
	char key;

	if (poll(&fd, 1, (int)(opt.delay * 1000)) > 0 &&
	    (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q'))
		ended = 1;
}

static int top_live(void)
{
	unsigned int height;
	long i;

	screen_enter();
	for (i = 0; !ended && (opt.count < 0 || i < opt.count); i++) {
		height = out_height();
		fputs("\033[H\033[J", stdout);
		print_once(height > 3 ? height - 3 : 1);
		out_end();
		wait_for_key();
	}
	return EXIT_OK;
}

int command_top(void)
{
	long i, count = opt.count < 0 ? 1 : opt.count;

	if (!opt.json && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO))
		return top_live();
	for (i = 0; i < count; i++) {
		if (i)
			poll(NULL, 0, (int)(opt.delay * 1000));
		print_once(0);
		out_end();
	}
	return EXIT_OK;
}
