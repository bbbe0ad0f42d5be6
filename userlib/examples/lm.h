/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Nonlinear least squares by Levenberg and Marquardt
 */
#ifndef LM_H
#define LM_H

#include <stddef.h>

/* Where the working arrays come from: a memory pool, or malloc. */
struct lm_memory {
	void *(*alloc)(void *pool, size_t size);	/* NULL and errno on failure */
	void (*release)(void *pool, void *ptr);
	void *pool;
};

/*
 * Find b that makes the sum over i of (y[i] - model(b, x[i]))^2 least. Row i of
 * @x has @variables entries. The model gives its value and, where @grad is not
 * NULL, the derivative by each parameter; not finite means not defined there.
 */
struct lm_problem {
	double (*model)(const double *b, const double *x, double *grad);
	const double *x;
	const double *y;
	size_t observations;
	size_t variables;
	size_t parameters;
};

struct lm_result {
	double rss;			/* residual sum of squares at the end */
	unsigned int iterations;
};

/*
 * lm_fit() - improve the parameters @b until no step improves them
 *
 * Returns 0, -ENOMEM or another error of @memory, -EDOM when the model is not
 * defined at the start, or -ERANGE when the iterations did not come to rest.
 * All memory is released again, whatever the outcome.
 */
int lm_fit(const struct lm_problem *problem, double *b, struct lm_result *result,
	   const struct lm_memory *memory);

#endif /* LM_H */
