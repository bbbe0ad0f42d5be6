// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl - see what /dev/mempool does and who holds what: mempoolctl(8)
 *
 * Reads sysfs, the fdinfo of processes and, for root, debugfs. Never opens the
 * device.
 */
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../libmempool.h"
#include "ctl.h"

struct options opt = { .delay = 1, .count = -1 };

void fail(int code, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("mempoolctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(code);
}

/* ---- commands ---- */

enum { TAKES_JSON = 1, TAKES_SVG = 2, TAKES_PROMETHEUS = 4, TAKES_TIME = 8 };

static const struct command {
	const char *name;
	int (*run)(void);
	unsigned int takes;
	const char *help;
} commands[] = {
	{ "status", command_status, TAKES_JSON | TAKES_PROMETHEUS,
		"the reserve, allocations, named pools (what is run without a command)" },
	{ "top", command_top, TAKES_JSON | TAKES_TIME,
		"who holds how much, live; q ends it" },
	{ "map", command_map, TAKES_JSON | TAKES_SVG,
		"a picture of the reserve: each chunk by owner and how full" },
	{ "pools", command_pools, TAKES_JSON, "the named block pools" },
	{ "watch", command_watch, TAKES_JSON | TAKES_TIME, "one line of figures per interval" },
	{ "trim", command_trim, 0, "give idle chunks back to the reserve (root)" },
	{ "suggest", command_suggest, 0,
		"module parameters that the observed peaks call for" },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < NR_COMMANDS; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	fail(EXIT_USAGE, "unknown command '%s' (mempoolctl --help lists them)", name);
}

static void print_help(void)
{
	size_t i;

	puts("usage: mempoolctl [COMMAND] [OPTION...]\n\nCommands:");
	for (i = 0; i < NR_COMMANDS; i++)
		printf("  %-9s %s\n", commands[i].name, commands[i].help);
	puts("\nOptions:\n"
	     "  --json         machine-readable (status, top, map, pools, watch)\n"
	     "  --prometheus   text exposition format (status)\n"
	     "  --svg          a picture for a page (map)\n"
	     "  -d, --delay S  seconds between refreshes, default 1 (top, watch)\n"
	     "  -n, --count N  refreshes (top, watch; default: until it is ended, once\n"
	     "                 for top when the output is no terminal)\n"
	     "  --no-color     no colours; they are used on a terminal only\n"
	     "  --root DIR     read DIR/sys and DIR/proc\n"
	     "  -h, --help     this\n"
	     "  --version      version\n\n"
	     "Exit codes: 0 done, 1 something could not be read or written, 2 wrong usage,\n"
	     "3 the module is not loaded, 4 not permitted.");
}

/* ---- options ---- */

enum { JSON = 256, PROMETHEUS, SVG, NO_COLOR, ROOT, VERSION };

static const struct option long_options[] = {
	{ "json", no_argument, NULL, JSON },
	{ "prometheus", no_argument, NULL, PROMETHEUS },
	{ "svg", no_argument, NULL, SVG },
	{ "delay", required_argument, NULL, 'd' },
	{ "count", required_argument, NULL, 'n' },
	{ "no-color", no_argument, NULL, NO_COLOR },
	{ "root", required_argument, NULL, ROOT },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, VERSION },
	{ 0 }
};

static double parse_delay(const char *text)
{
	char *end;
	double delay = strtod(text, &end);

	if (end == text || *end || !isfinite(delay) || delay < 0.05 || delay > 86400)
		fail(EXIT_USAGE, "--delay: '%s' is not a number of seconds from 0.05 to 86400",
		     text);
	return delay;
}

static long parse_count(const char *text)
{
	char *end;
	long count = strtol(text, &end, 10);

	if (end == text || *end || count < 1 || count > 1000000000)
		fail(EXIT_USAGE, "--count: '%s' is not a positive number", text);
	return count;
}

static unsigned int parse_options(int argc, char **argv, bool *color_never)
{
	unsigned int given = 0;
	int c;

	while ((c = getopt_long(argc, argv, "d:n:h", long_options, NULL)) != -1) {
		switch (c) {
		case JSON:
			opt.json = true;
			given |= TAKES_JSON;
			break;
		case PROMETHEUS:
			opt.prometheus = true;
			given |= TAKES_PROMETHEUS;
			break;
		case SVG:
			opt.svg = true;
			given |= TAKES_SVG;
			break;
		case 'd':
			opt.delay = parse_delay(optarg);
			given |= TAKES_TIME;
			break;
		case 'n':
			opt.count = parse_count(optarg);
			given |= TAKES_TIME;
			break;
		case NO_COLOR:
			*color_never = true;
			break;
		case ROOT:
			read_root(optarg);
			break;
		case 'h':
			print_help();
			out_end();
			exit(EXIT_OK);
		case VERSION:
			printf("mempoolctl %d.%d.%d\n", MEMPOOL_VERSION_MAJOR,
			       MEMPOOL_VERSION_MINOR, MEMPOOL_VERSION_PATCH);
			out_end();
			exit(EXIT_OK);
		default:
			fputs("mempoolctl --help lists the options\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	return given;
}

static void check_options(const struct command *command, unsigned int given)
{
	if (given & ~command->takes)
		fail(EXIT_USAGE, "an option that '%s' does not know", command->name);
	if (opt.json + opt.svg + opt.prometheus > 1)
		fail(EXIT_USAGE, "--json, --svg and --prometheus exclude each other");
}

int main(int argc, char **argv)
{
	const struct command *command = &commands[0];
	bool color_never = false;
	unsigned int given;
	int code;

	signal(SIGPIPE, SIG_IGN);	/* out_end() says so in its own way */
	given = parse_options(argc, argv, &color_never);
	if (optind < argc)
		command = find_command(argv[optind++]);
	if (optind < argc)
		fail(EXIT_USAGE, "too many words: '%s'", argv[optind]);
	check_options(command, given);
	out_init(color_never);
	code = command->run();
	out_end();
	return code;
}
