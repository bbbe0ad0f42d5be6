// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * simulate - batches of pendulum simulations on a block pool
 *
 * A block pool is a fixed set of equal blocks addressed by index: what a program
 * wants that keeps so many runs in flight and records each of them. Here a run
 * is a double pendulum, dropped from a random position, and its block receives
 * the trajectory. The run ends when the lower arm has gone over the top or the
 * block is full, so runs end in no order, blocks come back in no order, and the
 * pool has to put them in order again: it coalesces by itself when the gaps
 * between its free blocks are more than the threshold.
 *
 * Two checks say that the memory is sound:
 * - a double pendulum without friction keeps its energy. It is computed again
 *   from every recorded state before the block is returned, so a block that
 *   anything else wrote into is found out;
 * - each trajectory must begin with the position that its run was dropped from.
 * And the pool must keep its promises: it can be driven until every block is
 * issued, then says ENOSPC; it coalesces; in the end every block is free.
 *
 * Exit status: 0 when all of this held, 1 when something did not, 2 for errors.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libmempool.h>

#define GRAVITY		9.81	/* m/s^2; arms of 1 m, bobs of 1 kg */
#define TIME_STEP	2e-3	/* s */
#define SLICE		64	/* steps that each run makes in turn */
#define REPORT_EVERY	12	/* rounds of slices */

/* What the integration itself may lose, as a part of the energy's scale. */
#define ENERGY_TOLERANCE 1e-6

static unsigned int broken;	/* promises, so far */

static void __attribute__((format(printf, 1, 2))) broke(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "simulate: BROKEN: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	broken++;
}

static void __attribute__((noreturn)) die(const char *what, int error)
{
	fprintf(stderr, "simulate: %s: %s\n", what, strerror(error));
	exit(2);
}

/* ---- the double pendulum ---- */

struct state {
	double angle[2];	/* from hanging straight down */
	double speed[2];	/* its derivative */
};

static struct state derivative(const struct state *s)
{
	double d = s->angle[0] - s->angle[1];
	double below = 3 - cos(2 * d);
	double w0 = s->speed[0] * s->speed[0], w1 = s->speed[1] * s->speed[1];

	return (struct state){
		.angle = { s->speed[0], s->speed[1] },
		.speed = {
			(-3 * GRAVITY * sin(s->angle[0]) -
			 GRAVITY * sin(s->angle[0] - 2 * s->angle[1]) -
			 2 * sin(d) * (w1 + w0 * cos(d))) / below,
			2 * sin(d) * (2 * w0 + 2 * GRAVITY * cos(s->angle[0]) +
				      w1 * cos(d)) / below,
		},
	};
}

static struct state advanced(const struct state *s, const struct state *slope, double h)
{
	struct state next = *s;

	for (int i = 0; i < 2; i++) {
		next.angle[i] += h * slope->angle[i];
		next.speed[i] += h * slope->speed[i];
	}
	return next;
}

/* One step of Runge and Kutta's method of order 4. */
static struct state step(const struct state *s)
{
	struct state k1 = derivative(s);
	struct state s2 = advanced(s, &k1, TIME_STEP / 2), k2 = derivative(&s2);
	struct state s3 = advanced(s, &k2, TIME_STEP / 2), k3 = derivative(&s3);
	struct state s4 = advanced(s, &k3, TIME_STEP), k4 = derivative(&s4);
	struct state sum;

	for (int i = 0; i < 2; i++) {
		sum.angle[i] = k1.angle[i] + 2 * k2.angle[i] + 2 * k3.angle[i] + k4.angle[i];
		sum.speed[i] = k1.speed[i] + 2 * k2.speed[i] + 2 * k3.speed[i] + k4.speed[i];
	}
	return advanced(s, &sum, TIME_STEP / 6);
}

static double energy(const struct state *s)
{
	double w0 = s->speed[0], w1 = s->speed[1];

	return w0 * w0 + w1 * w1 / 2 + w0 * w1 * cos(s->angle[0] - s->angle[1]) -
	       GRAVITY * (2 * cos(s->angle[0]) + cos(s->angle[1]));
}

/* ---- runs ---- */

struct run {
	bool active;
	unsigned int block;		/* index of the block that it writes to */
	struct state *trajectory;	/* the block itself */
	size_t recorded;		/* states in it */
	struct state start;
};

struct simulation {
	struct mempool_blocks *blocks;
	size_t capacity;		/* states that fit in a block */
	struct run *runs;		/* as many as there are blocks */
	unsigned int slots;
	unsigned int wanted;		/* runs still to be started */
	unsigned int finished;
	double worst_energy;		/* largest error seen */
	uint64_t random;
};

/* xorshift64*, from 0 to 1: the same runs every time */
static double uniform(struct simulation *sim)
{
	sim->random ^= sim->random >> 12;
	sim->random ^= sim->random << 25;
	sim->random ^= sim->random >> 27;
	return (double)(sim->random * 0x2545f4914f6cdd1dULL >> 11) / 9007199254740992.0;
}

/* Take a block and drop a pendulum; false when the pool has no block left. */
static bool start_run(struct simulation *sim, struct run *run)
{
	struct state *block = mempool_get_block(sim->blocks, &run->block);

	if (!block) {
		if (errno != ENOSPC)
			die("mempool_get_block", errno);
		return false;
	}
	run->start = (struct state){
		.angle = { M_PI * (0.2 + 0.8 * uniform(sim)), M_PI * (0.2 + 0.8 * uniform(sim)) },
	};
	run->trajectory = block;
	run->trajectory[0] = run->start;
	run->recorded = 1;
	run->active = true;
	sim->wanted--;
	return true;
}

static bool run_ended(const struct simulation *sim, const struct run *run)
{
	const struct state *last = &run->trajectory[run->recorded - 1];

	return run->recorded == sim->capacity || fabs(last->angle[1]) > M_PI;
}

/* The trajectory, read back from the block, must be the one that was computed. */
static void check_run(struct simulation *sim, const struct run *run)
{
	double before = energy(&run->start), worst = 0;

	if (memcmp(&run->trajectory[0], &run->start, sizeof(run->start)))
		broke("block %u: the trajectory does not begin where its run did", run->block);
	for (size_t i = 0; i < run->recorded; i++) {
		double error = fabs(energy(&run->trajectory[i]) - before) / (3 * GRAVITY);

		if (!(error <= worst))
			worst = error;
	}
	if (!(worst <= ENERGY_TOLERANCE))
		broke("block %u: energy changed by %.2g of its scale", run->block, worst);
	if (!(worst <= sim->worst_energy))
		sim->worst_energy = worst;
}

static void end_run(struct simulation *sim, struct run *run)
{
	int err;

	check_run(sim, run);
	err = mempool_return_block(sim->blocks, run->block);
	if (err)
		die("mempool_return_block", -err);
	run->active = false;
	sim->finished++;
}

/* Each run in turn makes a slice of steps; those that end return their blocks. */
static void advance_all(struct simulation *sim)
{
	for (unsigned int i = 0; i < sim->slots; i++) {
		struct run *run = &sim->runs[i];

		for (int n = 0; run->active && n < SLICE; n++) {
			run->trajectory[run->recorded] = step(&run->trajectory[run->recorded - 1]);
			run->recorded++;
			if (run_ended(sim, run))
				end_run(sim, run);
		}
	}
}

/* ---- the pool, as it goes ---- */

static struct mempool_blocks_stats stats_of(struct mempool_blocks *blocks)
{
	struct mempool_blocks_stats stats;
	int err = mempool_blocks_get_stats(blocks, &stats, sizeof(stats));

	if (err)
		die("mempool_blocks_get_stats", -err);
	return stats;
}

static void report(const struct simulation *sim, unsigned int round)
{
	struct mempool_blocks_stats stats = stats_of(sim->blocks);

	printf("%6u %9u %8llu %11.1f %% %13.1f %% %15llu\n", round, sim->finished,
	       (unsigned long long)stats.issued, stats.efficiency, stats.fragmentation,
	       (unsigned long long)stats.auto_coalesces);
	fflush(stdout);
}

/* With a run in every slot, every block is issued, and there is none left. */
static void fill(struct simulation *sim)
{
	struct mempool_blocks_stats stats;

	for (unsigned int i = 0; i < sim->slots; i++) {
		if (!start_run(sim, &sim->runs[i])) {
			broke("the pool was exhausted after %u of %u blocks", i, sim->slots);
			return;
		}
	}
	if (mempool_get_block(sim->blocks, NULL))
		broke("a block was handed out twice: the pool had none left");
	else if (errno != ENOSPC)
		broke("an exhausted pool says: %s", strerror(errno));
	stats = stats_of(sim->blocks);
	if (stats.issued != sim->slots || stats.efficiency != 100.0)
		broke("%llu of %u blocks issued, efficiency %.1f %%",
		      (unsigned long long)stats.issued, sim->slots, stats.efficiency);
}

static void simulate(struct simulation *sim)
{
	unsigned int round = 0, total = sim->wanted;
	struct mempool_blocks_stats stats;

	printf("%6s %9s %8s %13s %15s %15s\n", "round", "runs done", "issued", "efficiency",
	       "fragmentation", "auto-coalesces");
	fill(sim);
	report(sim, round);
	while (sim->finished < total) {
		advance_all(sim);
		if (++round % REPORT_EVERY == 0 || sim->finished == total)
			report(sim, round);
		for (unsigned int i = 0; i < sim->slots && sim->wanted; i++) {
			if (!sim->runs[i].active && !start_run(sim, &sim->runs[i]))
				broke("no block for slot %u, though its own was returned", i);
		}
	}

	stats = stats_of(sim->blocks);
	if (stats.issued || stats.free != sim->slots)
		broke("%llu blocks issued and %llu free at the end",
		      (unsigned long long)stats.issued, (unsigned long long)stats.free);
	if (stats.gets != total || stats.returns != total)
		broke("%u runs, but %llu gets and %llu returns", total,
		      (unsigned long long)stats.gets, (unsigned long long)stats.returns);
	if (!stats.auto_coalesces)
		broke("no auto-coalesce was seen");
	printf("longest coalesce: %llu ns\n", (unsigned long long)stats.coalesce_ns_max);
}

static void usage(FILE *to)
{
	fputs("usage: simulate [-d DEVICE] [-b BLOCKS] [-n RUNS]\n"
	      "Double pendulums, each with a block of a private block pool for its trajectory.\n"
	      "  -d, --device=DEVICE  device node (default: $MEMPOOL_DEVICE, then\n"
	      "                       " MEMPOOL_DEVICE_DEFAULT ")\n"
	      "  -b, --blocks=BLOCKS  blocks of 64 KiB in the pool, 8 or more (default 40)\n"
	      "  -n, --runs=RUNS      simulations, at least BLOCKS (default 400)\n"
	      "  -h, --help           this text\n", to);
}

/* A number from @low to @high, or an end with status 2. */
static unsigned int number(const char *text, const char *what, long low, long high)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || end == text || value < low || value > high) {
		fprintf(stderr, "simulate: %s: wants a number from %ld to %ld\n", what, low, high);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "blocks", required_argument, NULL, 'b' },
		{ "runs", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct mempool_options opts = MEMPOOL_OPTIONS_INIT;
	struct mempool_blocks_options shape = MEMPOOL_BLOCKS_OPTIONS_INIT;
	struct simulation sim = { .slots = 40, .wanted = 400, .random = 20 };
	struct mempool *pool;
	char line[256];
	int c, err;

	while ((c = getopt_long(argc, argv, "d:b:n:h", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			opts.device = optarg;
			break;
		case 'b':
			sim.slots = number(optarg, "--blocks", 8, 100000);
			break;
		case 'n':
			sim.wanted = number(optarg, "--runs", 8, 100000000);
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc || sim.wanted < sim.slots) {
		usage(stderr);
		return 2;
	}

	shape.block_size = 64 * 1024;
	shape.num_blocks = sim.slots;
	sim.capacity = shape.block_size / sizeof(struct state);
	sim.runs = calloc(sim.slots, sizeof(*sim.runs));
	if (!sim.runs)
		die("runs", errno);
	err = mempool_open(&pool, &opts);
	if (err)
		die(opts.device ? opts.device : "mempool_open", -err);
	err = mempool_blocks_create(&sim.blocks, pool, &shape);
	if (err)
		die("mempool_blocks_create", -err);

	simulate(&sim);
	printf("energy kept within %.1e of its scale in %u runs\n", sim.worst_energy,
	       sim.finished);
	if (mempool_describe(sim.blocks, line, sizeof(line)) >= 0)
		printf("%s\n", line);

	mempool_blocks_close(sim.blocks);
	mempool_close(pool);
	free(sim.runs);
	if (broken)
		printf("simulate: %u promises broken\n", broken);
	else
		printf("simulate: every promise kept\n");
	return broken ? 1 : 0;
}
