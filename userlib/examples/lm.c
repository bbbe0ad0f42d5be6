// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Nonlinear least squares by Levenberg and Marquardt
 *
 * Each iteration makes the residuals r and the Jacobian J at the present
 * parameters b, and solves the damped normal equations
 *
 *	(J'J + lambda D'D) step = J'r,	D = the lengths of J's columns,
 *
 * for a step. If the step lowers the sum of squares it is taken and lambda
 * falls; otherwise lambda rises and the step gets shorter. Dividing each column
 * by its length first makes the matrix well scaled, however different the units
 * of the parameters are.
 *
 * Working arrays live as long as the iteration, or the attempt, that needs them:
 * this is a program that allocates and releases in a loop.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "lm.h"

#define MAX_ITERATIONS	500
#define LAMBDA_START	1e-3
#define LAMBDA_MAX	1e10
#define LAMBDA_FALL	10
#define LAMBDA_RISE	3
/* At rest: each parameter would change by less than this part of itself. */
#define STEP_TOLERANCE	1e-13
/*
 * Close to the end the sum of squares is flat and only its rounding error is
 * seen to change, while the steps still improve the parameters: so many steps
 * that raise the sum by no more than this part of it are taken, and no more.
 */
#define LEVEL_TOLERANCE	1e-14
#define LEVEL_STEPS	10
/* How much of a step to go to see the bend, and how large that may be. */
#define PROBE		0.1
#define BEND_MAX	0.375

static double *new_array(const struct lm_memory *memory, size_t entries)
{
	return memory->alloc(memory->pool, entries * sizeof(double));
}

static void drop_array(const struct lm_memory *memory, double *array)
{
	if (array)
		memory->release(memory->pool, array);
}

/* Residuals at @b, and the Jacobian where @jacobian is not NULL; the sum of squares. */
static double evaluate(const struct lm_problem *pb, const double *b, double *residuals,
		       double *jacobian)
{
	double sum = 0;

	for (size_t i = 0; i < pb->observations; i++) {
		double *row = jacobian ? jacobian + i * pb->parameters : NULL;

		residuals[i] = pb->y[i] - pb->model(b, pb->x + i * pb->variables, row);
		sum += residuals[i] * residuals[i];
	}
	return isfinite(sum) ? sum : INFINITY;
}

/*
 * The normal equations with columns scaled to length 1: @normal = J'J and
 * @gradient = J'r of the scaled J; @scale receives the lengths.
 */
static void form_normal_equations(const struct lm_problem *pb, const double *jacobian,
				  const double *residuals, double *normal,
				  double *gradient, double *scale)
{
	size_t p = pb->parameters;

	memset(normal, 0, p * p * sizeof(*normal));
	memset(gradient, 0, p * sizeof(*gradient));
	for (size_t i = 0; i < pb->observations; i++) {
		const double *row = jacobian + i * p;

		for (size_t j = 0; j < p; j++) {
			for (size_t k = 0; k <= j; k++)
				normal[j * p + k] += row[j] * row[k];
			gradient[j] += row[j] * residuals[i];
		}
	}
	for (size_t j = 0; j < p; j++)
		scale[j] = normal[j * p + j] > 0 ? sqrt(normal[j * p + j]) : 1;
	for (size_t j = 0; j < p; j++) {
		for (size_t k = 0; k <= j; k++)
			normal[j * p + k] /= scale[j] * scale[k];
		gradient[j] /= scale[j];
	}
}

/*
 * Cholesky's factor of normal + lambda. False where the matrix is not positive
 * definite to working precision.
 */
static bool factorise(const double *normal, double lambda, size_t p, double *factor)
{
	for (size_t j = 0; j < p; j++) {
		for (size_t k = 0; k <= j; k++) {
			double sum = normal[j * p + k] + (j == k ? lambda : 0);

			for (size_t m = 0; m < k; m++)
				sum -= factor[j * p + m] * factor[k * p + m];
			if (j > k)
				factor[j * p + k] = sum / factor[k * p + k];
			else if (sum > DBL_EPSILON / 4)
				factor[j * p + j] = sqrt(sum);
			else
				return false;
		}
	}
	return true;
}

/* Solve factor factor' v = v. */
static void substitute(const double *factor, size_t p, double *v)
{
	for (size_t j = 0; j < p; j++) {
		for (size_t m = 0; m < j; m++)
			v[j] -= factor[j * p + m] * v[m];
		v[j] /= factor[j * p + j];
	}
	for (size_t j = p; j-- > 0;) {
		for (size_t m = j + 1; m < p; m++)
			v[j] -= factor[m * p + j] * v[m];
		v[j] /= factor[j * p + j];
	}
}

static double length(const double *v, size_t p)
{
	double sum = 0;

	for (size_t j = 0; j < p; j++)
		sum += v[j] * v[j];
	return sqrt(sum);
}

enum outcome { IMPROVED, LEVEL, REJECTED, AT_REST };

/* What an iteration knows about the place where it is. */
struct place {
	const double *residuals;
	const double *jacobian;
	const double *normal;	/* scaled, as are the next */
	const double *gradient;
	const double *scale;
};

/*
 * Along @step the residuals are no straight lines. Measure how they bend, their
 * second derivative along the step, and let the step follow it, unless it is so
 * large that it means nothing. In narrow curved valleys this saves most of the
 * iterations (Transtrum and Sethna's geodesic acceleration). @trial,
 * @trial_residuals and @bend are room to work in.
 */
static void follow_bend(const struct lm_problem *pb, const struct place *at, const double *b,
			const double *factor, double *step, double *trial,
			double *trial_residuals, double *bend)
{
	size_t p = pb->parameters;

	for (size_t j = 0; j < p; j++) {
		trial[j] = b[j] + PROBE * step[j] / at->scale[j];
		bend[j] = 0;
	}
	evaluate(pb, trial, trial_residuals, NULL);
	for (size_t i = 0; i < pb->observations; i++) {
		const double *row = at->jacobian + i * p;
		double second = (at->residuals[i] - trial_residuals[i]) / PROBE;

		for (size_t j = 0; j < p; j++)
			second -= row[j] * step[j] / at->scale[j];
		for (size_t j = 0; j < p; j++)
			bend[j] -= row[j] / at->scale[j] * second * 2 / PROBE;
	}
	substitute(factor, p, bend);
	if (length(bend, p) <= BEND_MAX * length(step, p)) {
		for (size_t j = 0; j < p; j++)
			step[j] += bend[j] / 2;
	}
}

/* One lambda: solve, and try the parameters that the step leads to. */
static int attempt(const struct lm_problem *pb, const struct place *at, double lambda,
		   double *b, double *rss, const struct lm_memory *memory)
{
	size_t p = pb->parameters;
	double *factor = new_array(memory, p * p);
	double *step = new_array(memory, p);
	double *bend = new_array(memory, p);
	double *trial = new_array(memory, p);
	double *residuals = new_array(memory, pb->observations);
	int outcome = REJECTED;
	double sum;

	if (!factor || !step || !bend || !trial || !residuals) {
		outcome = -errno;
		goto out;
	}
	if (!factorise(at->normal, lambda, p, factor))
		goto out;
	memcpy(step, at->gradient, p * sizeof(*step));
	substitute(factor, p, step);
	follow_bend(pb, at, b, factor, step, trial, residuals, bend);

	outcome = AT_REST;
	for (size_t j = 0; j < p; j++) {
		step[j] /= at->scale[j];
		trial[j] = b[j] + step[j];
		if (!(fabs(step[j]) <= STEP_TOLERANCE * fabs(b[j])))
			outcome = REJECTED;
	}
	sum = evaluate(pb, trial, residuals, NULL);
	if (sum < *rss) {
		memcpy(b, trial, p * sizeof(*b));
		*rss = sum;
		outcome = IMPROVED;
	} else if (outcome == REJECTED && sum <= *rss * (1 + LEVEL_TOLERANCE)) {
		memcpy(b, trial, p * sizeof(*b));
		outcome = LEVEL;
	}
out:
	drop_array(memory, residuals);
	drop_array(memory, trial);
	drop_array(memory, bend);
	drop_array(memory, step);
	drop_array(memory, factor);
	return outcome;
}

/* One iteration: linearise at @b, then raise lambda until a step improves. */
static int iterate(const struct lm_problem *pb, double *b, double *rss, double *lambda,
		   const struct lm_memory *memory)
{
	size_t n = pb->observations, p = pb->parameters;
	double *residuals = new_array(memory, n);
	double *jacobian = new_array(memory, n * p);
	double *normal = new_array(memory, p * p);
	double *gradient = new_array(memory, p);
	double *scale = new_array(memory, p);
	const struct place at = { residuals, jacobian, normal, gradient, scale };
	int outcome;

	if (!residuals || !jacobian || !normal || !gradient || !scale) {
		outcome = -errno;
		goto out;
	}
	*rss = evaluate(pb, b, residuals, jacobian);
	if (isinf(*rss)) {
		outcome = -EDOM;
		goto out;
	}
	form_normal_equations(pb, jacobian, residuals, normal, gradient, scale);
	do {
		outcome = attempt(pb, &at, *lambda, b, rss, memory);
		if (outcome == IMPROVED || outcome == LEVEL) {
			*lambda /= LAMBDA_FALL;
		} else if (outcome == REJECTED) {
			*lambda *= LAMBDA_RISE;
			if (*lambda > LAMBDA_MAX)
				outcome = AT_REST;
		}
	} while (outcome == REJECTED);
out:
	drop_array(memory, scale);
	drop_array(memory, gradient);
	drop_array(memory, normal);
	drop_array(memory, jacobian);
	drop_array(memory, residuals);
	return outcome;
}

int lm_fit(const struct lm_problem *pb, double *b, struct lm_result *result,
	   const struct lm_memory *memory)
{
	double lambda = LAMBDA_START;
	unsigned int level = 0;

	for (unsigned int i = 1; i <= MAX_ITERATIONS; i++) {
		int outcome = iterate(pb, b, &result->rss, &lambda, memory);

		result->iterations = i;
		if (outcome < 0)
			return outcome;
		if (outcome == LEVEL)
			level++;
		if (outcome == AT_REST || level == LEVEL_STEPS)
			return 0;
	}
	return -ERANGE;
}
