/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The reference datasets that fit works on
 */
#ifndef NIST_H
#define NIST_H

#include <stdbool.h>

#define NIST_MAX_PARAMETERS	9

/*
 * The model's value for the predictor variables @x under the parameters @b.
 * Where @grad is not NULL, the derivative by each parameter goes there. A value
 * that is not finite says that the model is not defined for these parameters.
 */
typedef double nist_model(const double *b, const double *x, double *grad);

struct nist_set {
	const char *name;
	nist_model *model;
	const double *data;		/* rows of y, x[0], ... */
	unsigned int observations;	/* rows */
	unsigned int variables;		/* x's in a row: 1 or 2 */
	unsigned int parameters;
	bool log_response;		/* the model is one of log(y) */
	/* From NIST's far start plain Levenberg-Marquardt ends in another valley. */
	bool start1_fails;
	double start[2][NIST_MAX_PARAMETERS];
	double certified[NIST_MAX_PARAMETERS];
	double certified_rss;		/* residual sum of squares */
};

extern const struct nist_set nist_sets[];
extern const unsigned int nist_set_count;

nist_model nist_exp_rise, nist_chwirut, nist_lanczos, nist_gauss, nist_danwood;
nist_model nist_misra1b, nist_misra1c, nist_misra1d, nist_quadratic_ratio;
nist_model nist_cubic_ratio, nist_nelson, nist_mgh17, nist_roszman1, nist_enso;
nist_model nist_mgh09, nist_rat42, nist_mgh10, nist_eckerle4, nist_rat43;
nist_model nist_bennett5;

#endif /* NIST_H */
