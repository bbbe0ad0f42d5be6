// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The driver: starts the contenders, asks them in turn, adds up.
 *
 *	driver [--rounds N] [--samples N] [--ms X] [--where NAME] PLAN >RESULTS
 *
 * A plan has lines
 *
 *	contender NAME ROLE PATTERN [VARIABLE=VALUE]... COMMAND
 *	row BENCHMARK SIZE THREADS TEST A B FLAGS CONTENDER...
 *
 * ROLE is peer, tuned (a peer with options of its own), ours, or floor. PATTERN
 * occurs in what the worker says it is. FLAGS: v, verify first; f, a process for
 * each sample; 1, one sample in each round; -, none.
 *
 * For each row and round all contenders are started afresh, on one and the same
 * processor if the row has one thread, and asked in turn for one sample; who is
 * first changes each time. A contender's figure is the median over rounds of
 * the median of the round's samples, its ratio the median over rounds of the
 * ratio, in that round, to the peer whose figure is best.
 * Results are lines "benchmark size threads contender metric median min max runs
 * where", separated by tabs, on the standard output; progress is on the other.
 * Status 1 if anything failed.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONTENDERS	64
#define MAX_ROWS	400
#define IN_ROW		24
#define METRICS		8
#define ROUNDS		32
#define SAMPLES		64
#define PATIENCE	600	/* seconds for one answer */

enum role { PEER, TUNED, OURS, FLOOR };

struct contender {
	char *name;
	enum role role;
	char *pattern;
	char *words[20];	/* VARIABLE=VALUE..., COMMAND, NULL */
};

/* One contender's figures in a row; NaN where there is none. */
struct entry {
	struct contender *who;
	double value[METRICS][ROUNDS];
	double sample[METRICS][SAMPLES];
	int nr[METRICS];
	bool failed;
	pid_t pid;
	FILE *to, *from;
};

struct row {
	char *benchmark, *size, *threads, *test, *a, *b, *flags;
	struct entry *entry;
	int nr;
	char *metric[METRICS];
	int metrics;
};

static struct contender contenders[MAX_CONTENDERS];
static struct row rows[MAX_ROWS];
static int nr_contenders, nr_rows, failures;
static int rounds = 5, samples = 5;
static double ms = 2.5;
static const char *where = "native";
static bool terminal;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("driver: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(2);
}

/* ---- the plan ---- */

static struct contender *find(const char *name)
{
	for (int i = 0; i < nr_contenders; i++)
		if (!strcmp(contenders[i].name, name))
			return &contenders[i];
	die("no contender %s", name);
}

static void add_contender(char **word, int nr)
{
	static const char *const roles[] = { "peer", "tuned", "ours", "floor" };
	struct contender *c = &contenders[nr_contenders++];
	int i;

	if (nr < 4 || nr > 20 || nr_contenders > MAX_CONTENDERS - 1)
		die("bad contender");
	c->name = word[0];
	c->pattern = word[2];
	for (i = 0; strcmp(word[1], roles[i]);)
		if (++i > FLOOR)
			die("bad role %s", word[1]);
	c->role = i;
	memcpy(c->words, word + 3, (nr - 3) * sizeof(*word));
}

static void add_row(char **word, int nr)
{
	struct row *row = &rows[nr_rows++];
	int i;

	if (nr < 8 || nr > 7 + IN_ROW || nr_rows > MAX_ROWS - 1)
		die("bad row");
	memcpy(&row->benchmark, word, 7 * sizeof(*word));
	row->nr = nr - 7;
	row->entry = calloc(row->nr, sizeof(*row->entry));
	if (!row->entry)
		die("no memory");
	for (i = 0; i < row->nr; i++) {
		row->entry[i].who = find(word[7 + i]);
		for (int m = 0; m < METRICS; m++)
			for (int r = 0; r < ROUNDS; r++)
				row->entry[i].value[m][r] = __builtin_nan("");
	}
}

static void read_plan(const char *name)
{
	FILE *f = fopen(name, "r");
	char line[2000], *word[40], *text;
	int nr;

	if (!f)
		die("cannot read %s", name);
	while (fgets(line, sizeof(line), f)) {
		text = strdup(line);
		nr = 0;
		for (text = strtok(text, " \n"); text && nr < 40; text = strtok(NULL, " \n"))
			word[nr++] = text;
		if (!nr || *word[0] == '#')
			continue;
		if (!strcmp(word[0], "contender"))
			add_contender(word + 1, nr - 1);
		else if (!strcmp(word[0], "row"))
			add_row(word + 1, nr - 1);
		else
			die("what is %s?", word[0]);
	}
	fclose(f);
}

/* ---- workers ---- */

static void failed(const struct row *row, struct entry *e, const char *why)
{
	failures++;
	e->failed = true;
	fprintf(stderr, "%sFAILED %s %s %s: %s\n", terminal ? "\r\033[K" : "", row->benchmark,
		row->size, e->who->name, why);
	printf("%s\t%s\t%s\t%s\tfailed\t1\t1\t1\t1\t%s\n", row->benchmark, row->size,
	       row->threads, e->who->name, where);
	fflush(stdout);
}

/* The answer's line without its end, or NULL. */
static char *listen_to(struct entry *e, char *line, size_t size)
{
	struct pollfd p = { .fd = fileno(e->from), .events = POLLIN };

	if (poll(&p, 1, PATIENCE * 1000) <= 0 || !fgets(line, size, e->from))
		return NULL;
	line[strcspn(line, "\n")] = 0;
	return line;
}

/*
 * All on the first processor, where DPDK stays in any case. Left to themselves, some
 * would run on one that another machine's work makes slow.
 */
static void pin(void)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
}

static void child(const struct row *row, const struct contender *c, int in, int out)
{
	char *argv[2] = { 0 };
	int i;

	if (!strcmp(row->threads, "1"))
		pin();
	dup2(in, 0);
	dup2(out, 1);
	for (i = 3; i < 200; i++)
		close(i);
	for (i = 0; c->words[i + 1]; i++)
		putenv(c->words[i]);
	argv[0] = c->words[i];
	execv(argv[0], argv);
	printf("fail cannot run %s: %s\n", argv[0], strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void stop(struct entry *e)
{
	if (!e->pid)
		return;
	fclose(e->to);
	fclose(e->from);
	kill(e->pid, SIGKILL);
	waitpid(e->pid, NULL, 0);
	e->pid = 0;
}

static void start(const struct row *row, struct entry *e)
{
	int to[2], from[2];
	char line[1000];

	if (pipe(to) || pipe(from))
		die("no pipe");
	fflush(stdout);
	e->pid = fork();
	if (e->pid < 0)
		die("no process");
	if (!e->pid)
		child(row, e->who, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	e->to = fdopen(to[1], "w");
	e->from = fdopen(from[0], "r");
	if (!listen_to(e, line, sizeof(line)))
		strcpy(line, "fail died at the start");
	if (strncmp(line, "ready ", 6) || !strstr(line, e->who->pattern)) {
		failed(row, e, line);
		stop(e);
	}
}

/* One request; figures go into @e->sample. */
static void ask(struct row *row, struct entry *e, const char *test, double length)
{
	char line[1000], *metric, *value;
	int m;

	fprintf(e->to, "%s %s %s %s %g\n", test, row->size, row->a, row->b, length);
	fflush(e->to);
	if (!listen_to(e, line, sizeof(line)))
		strcpy(line, "fail no answer");
	if (strncmp(line, "ok", 2)) {
		failed(row, e, line);
		stop(e);
		return;
	}
	strtok(line, " ");
	while ((metric = strtok(NULL, " ")) && (value = strtok(NULL, " "))) {
		for (m = 0; m < row->metrics && strcmp(row->metric[m], metric); m++)
			;
		if (m == METRICS)
			die("too many metrics");
		if (m == row->metrics)
			row->metric[row->metrics++] = strdup(metric);
		if (e->nr[m] < SAMPLES)
			e->sample[m][e->nr[m]++] = atof(value);
	}
}

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int nr)
{
	qsort(v, nr, sizeof(*v), compare);
	return nr % 2 ? v[nr / 2] : (v[nr / 2 - 1] + v[nr / 2]) / 2;
}

/* Those of @v that are numbers, sorted, into @to. */
static int numbers(double *to, const double *v)
{
	int nr = 0;

	for (int r = 0; r < rounds; r++)
		if (v[r] == v[r])
			to[nr++] = v[r];
	qsort(to, nr, sizeof(*to), compare);
	return nr;
}

static void print(const struct row *row, const struct entry *e, const char *metric,
		  const char *kind, const double *v)
{
	double sorted[ROUNDS];
	int nr = numbers(sorted, v);

	if (nr)
		printf("%s\t%s\t%s\t%s\t%s%s\t%.6g\t%.6g\t%.6g\t%d\t%s\n", row->benchmark,
		       row->size, row->threads, e->who->name, kind, metric, median(sorted, nr),
		       sorted[0], sorted[nr - 1], nr, where);
}

/* The fastest whose role is not above @worst. */
static const struct entry *best_of(const struct row *row, int m, enum role worst)
{
	const struct entry *best = NULL;
	double sorted[ROUNDS], lowest = 0, value;

	for (int i = 0; i < row->nr; i++) {
		int nr = numbers(sorted, row->entry[i].value[m]);

		if (!nr || row->entry[i].failed || row->entry[i].who->role > worst)
			continue;
		value = median(sorted, nr);
		if (!best || value < lowest) {
			best = &row->entry[i];
			lowest = value;
		}
	}
	return best;
}

static void compare_with(const struct row *row, int m, const struct entry *best,
			 const char *what)
{
	double ratio[ROUNDS], difference[ROUNDS];

	for (int i = 0; best && i < row->nr; i++) {
		const struct entry *e = &row->entry[i];

		for (int r = 0; r < rounds; r++) {
			ratio[r] = e->value[m][r] / best->value[m][r];
			difference[r] = e->value[m][r] - best->value[m][r];
		}
		print(row, e, row->metric[m], what, ratio);
		if (!strcmp(row->benchmark, "statistics"))
			print(row, e, row->metric[m], "more-", difference);
	}
}

static bool is_time(const char *metric)
{
	return !strcmp(metric, "ns") || *metric == 'p' || !strcmp(metric, "max");
}

static void report(const struct row *row)
{
	for (int m = 0; m < row->metrics; m++) {
		for (int i = 0; i < row->nr; i++)
			print(row, &row->entry[i], row->metric[m], "", row->entry[i].value[m]);
		if (!is_time(row->metric[m]))
			continue;
		compare_with(row, m, best_of(row, m, PEER), "ratio-");
		for (int i = 0; i < row->nr; i++)
			if (row->entry[i].who->role == TUNED) {
				compare_with(row, m, best_of(row, m, TUNED), "ratio-tuned-");
				break;
			}
	}
}

/* ---- the run ---- */

static void run_row(struct row *row, int round)
{
	bool each = strchr(row->flags, 'f'), verify = strchr(row->flags, 'v') && !round;
	int turns = strchr(row->flags, '1') ? 1 : samples, s, i;

	for (i = 0; i < row->nr; i++) {
		struct entry *e = &row->entry[i];

		memset(e->nr, 0, sizeof(e->nr));
		if (e->failed)
			continue;
		if (!each || verify)
			start(row, e);
		if (verify && e->pid)
			ask(row, e, "verify", 0);
		if (each)
			stop(e);
	}
	for (s = 0; s < turns; s++)
		for (i = 0; i < row->nr; i++) {
			struct entry *e = &row->entry[(i + s + round) % row->nr];

			if (each && !e->failed)
				start(row, e);
			if (e->pid)
				ask(row, e, row->test, ms);
			if (each)
				stop(e);
		}
	for (i = 0; i < row->nr; i++) {
		struct entry *e = &row->entry[i];

		stop(e);
		for (int m = 0; m < row->metrics; m++)
			if (e->nr[m])
				e->value[m][round] = median(e->sample[m], e->nr[m]);
	}
}

static void progress(int round, int row, time_t since)
{
	int done = round * nr_rows + row, all = rounds * nr_rows;
	long took = time(NULL) - since;
	static int last = -1;

	if (!terminal && done * 20 / all == last)
		return;
	last = done * 20 / all;
	fprintf(stderr, "%s%s: %d of %d, %ld s", terminal ? "\r\033[K" : "", where, done, all,
		took);
	if (done > all / 20)
		fprintf(stderr, ", about %ld s to go", took * (all - done) / done);
	fprintf(stderr, " (%s %s)%s", rows[row].benchmark, rows[row].size, terminal ? "" : "\n");
}

static void options(int argc, char **argv)
{
	int i;

	for (i = 1; i + 2 < argc; i += 2) {
		if (!strcmp(argv[i], "--rounds"))
			rounds = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--samples"))
			samples = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--ms"))
			ms = atof(argv[i + 1]);
		else if (!strcmp(argv[i], "--where"))
			where = argv[i + 1];
		else
			die("no option %s", argv[i]);
	}
	if (i + 1 != argc || rounds < 1 || rounds > ROUNDS || samples < 1 || samples > SAMPLES)
		die("usage: driver [--rounds N] [--samples N] [--ms X] [--where NAME] PLAN");
	read_plan(argv[i]);
}

int main(int argc, char **argv)
{
	time_t since = time(NULL);
	int round, row;

	options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	terminal = isatty(2) && getenv("TERM") && strcmp(getenv("TERM"), "dumb");
	for (round = 0; round < rounds; round++)
		for (row = 0; row < nr_rows; row++) {
			progress(round, row, since);
			run_row(&rows[row], round);
		}
	for (row = 0; row < nr_rows; row++)
		report(&rows[row]);
	fprintf(stderr, "%s%s: %d rows, %d rounds, %ld s, %d failed\n", terminal ? "\r\033[K" : "",
		where, nr_rows, rounds, (long)(time(NULL) - since), failures);
	return failures ? 1 : 0;
}
