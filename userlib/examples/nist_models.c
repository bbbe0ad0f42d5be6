// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The models of the reference datasets, with their derivatives
 *
 * Parameters are numbered from 0 here and from 1 in NIST's text. A wrong
 * derivative moves the point where a fit comes to rest (a constant factor does
 * not, and does no harm), so the certified parameters check these formulas too.
 */
#include <math.h>
#include <stddef.h>

#include "nist.h"

#define PI 3.141592653589793238462643383279

/* Misra1a, BoxBOD: b0 (1 - exp(-b1 x)) */
double nist_exp_rise(const double *b, const double *x, double *grad)
{
	double e = exp(-b[1] * x[0]);

	if (grad) {
		grad[0] = 1 - e;
		grad[1] = b[0] * x[0] * e;
	}
	return b[0] * (1 - e);
}

/* Chwirut1, Chwirut2: exp(-b0 x) / (b1 + b2 x) */
double nist_chwirut(const double *b, const double *x, double *grad)
{
	double d = b[1] + b[2] * x[0];
	double f = exp(-b[0] * x[0]) / d;

	if (grad) {
		grad[0] = -x[0] * f;
		grad[1] = -f / d;
		grad[2] = -x[0] * f / d;
	}
	return f;
}

/* Lanczos1, 2, 3: b0 exp(-b1 x) + b2 exp(-b3 x) + b4 exp(-b5 x) */
double nist_lanczos(const double *b, const double *x, double *grad)
{
	double f = 0;

	for (unsigned int j = 0; j < 6; j += 2) {
		double e = exp(-b[j + 1] * x[0]);

		if (grad) {
			grad[j] = e;
			grad[j + 1] = -b[j] * x[0] * e;
		}
		f += b[j] * e;
	}
	return f;
}

/*
 * Gauss1, 2, 3: b0 exp(-b1 x) + b2 exp(-(x - b3)^2 / b4^2)
 *                             + b5 exp(-(x - b6)^2 / b7^2)
 */
double nist_gauss(const double *b, const double *x, double *grad)
{
	double e = exp(-b[1] * x[0]);
	double f = b[0] * e;

	if (grad) {
		grad[0] = e;
		grad[1] = -b[0] * x[0] * e;
	}
	for (unsigned int j = 2; j < 8; j += 3) {
		double u = (x[0] - b[j + 1]) / b[j + 2];
		double g = exp(-u * u);

		if (grad) {
			grad[j] = g;
			grad[j + 1] = 2 * b[j] * g * u / b[j + 2];
			grad[j + 2] = 2 * b[j] * g * u * u / b[j + 2];
		}
		f += b[j] * g;
	}
	return f;
}

/* DanWood: b0 x^b1 */
double nist_danwood(const double *b, const double *x, double *grad)
{
	double power = pow(x[0], b[1]);

	if (grad) {
		grad[0] = power;
		grad[1] = b[0] * power * log(x[0]);
	}
	return b[0] * power;
}

/* Misra1b: b0 (1 - (1 + b1 x / 2)^-2) */
double nist_misra1b(const double *b, const double *x, double *grad)
{
	double u = 1 + b[1] * x[0] / 2;

	if (grad) {
		grad[0] = 1 - 1 / (u * u);
		grad[1] = b[0] * x[0] / (u * u * u);
	}
	return b[0] * (1 - 1 / (u * u));
}

/* Misra1c: b0 (1 - (1 + 2 b1 x)^-0.5) */
double nist_misra1c(const double *b, const double *x, double *grad)
{
	double u = 1 + 2 * b[1] * x[0];
	double root = sqrt(u);

	if (grad) {
		grad[0] = 1 - 1 / root;
		grad[1] = b[0] * x[0] / (u * root);
	}
	return b[0] * (1 - 1 / root);
}

/* Misra1d: b0 b1 x / (1 + b1 x) */
double nist_misra1d(const double *b, const double *x, double *grad)
{
	double u = 1 + b[1] * x[0];

	if (grad) {
		grad[0] = b[1] * x[0] / u;
		grad[1] = b[0] * x[0] / (u * u);
	}
	return b[0] * b[1] * x[0] / u;
}

/*
 * (b0 + b1 x + ... + b[degree] x^degree) /
 * (1 + b[degree + 1] x + ... + b[2 degree] x^degree)
 */
static double ratio(const double *b, double x, unsigned int degree, double *grad)
{
	double above = 0, below = 0;

	for (unsigned int j = degree; j > 0; j--) {
		above = (above + b[j]) * x;
		below = (below + b[degree + j]) * x;
	}
	above += b[0];
	below += 1;

	if (grad) {
		double power = 1 / below;

		grad[0] = power;
		for (unsigned int j = 1; j <= degree; j++) {
			power *= x;
			grad[j] = power;
			grad[degree + j] = -power * above / below;
		}
	}
	return above / below;
}

/* Kirby2 */
double nist_quadratic_ratio(const double *b, const double *x, double *grad)
{
	return ratio(b, x[0], 2, grad);
}

/* Thurber, Hahn1 */
double nist_cubic_ratio(const double *b, const double *x, double *grad)
{
	return ratio(b, x[0], 3, grad);
}

/* Nelson, for log(y): b0 - b1 x0 exp(-b2 x1) */
double nist_nelson(const double *b, const double *x, double *grad)
{
	double e = x[0] * exp(-b[2] * x[1]);

	if (grad) {
		grad[0] = 1;
		grad[1] = -e;
		grad[2] = b[1] * x[1] * e;
	}
	return b[0] - b[1] * e;
}

/* MGH17: b0 + b1 exp(-b3 x) + b2 exp(-b4 x) */
double nist_mgh17(const double *b, const double *x, double *grad)
{
	double e1 = exp(-b[3] * x[0]);
	double e2 = exp(-b[4] * x[0]);

	if (grad) {
		grad[0] = 1;
		grad[1] = e1;
		grad[2] = e2;
		grad[3] = -b[1] * x[0] * e1;
		grad[4] = -b[2] * x[0] * e2;
	}
	return b[0] + b[1] * e1 + b[2] * e2;
}

/* Roszman1: b0 - b1 x - arctan(b2 / (x - b3)) / pi */
double nist_roszman1(const double *b, const double *x, double *grad)
{
	double u = x[0] - b[3];
	double d = PI * (u * u + b[2] * b[2]);

	if (grad) {
		grad[0] = 1;
		grad[1] = -x[0];
		grad[2] = -u / d;
		grad[3] = -b[2] / d;
	}
	return b[0] - b[1] * x[0] - atan(b[2] / u) / PI;
}

/*
 * ENSO: b0 + b1 cos(2 pi x / 12) + b2 sin(2 pi x / 12)
 *          + b4 cos(2 pi x / b3) + b5 sin(2 pi x / b3)
 *          + b7 cos(2 pi x / b6) + b8 sin(2 pi x / b6)
 */
double nist_enso(const double *b, const double *x, double *grad)
{
	double year = 2 * PI * x[0] / 12;
	double f = b[0] + b[1] * cos(year) + b[2] * sin(year);

	if (grad) {
		grad[0] = 1;
		grad[1] = cos(year);
		grad[2] = sin(year);
	}
	for (unsigned int j = 3; j < 9; j += 3) {
		double u = 2 * PI * x[0] / b[j];
		double c = cos(u), s = sin(u);

		if (grad) {
			grad[j] = (b[j + 1] * s - b[j + 2] * c) * u / b[j];
			grad[j + 1] = c;
			grad[j + 2] = s;
		}
		f += b[j + 1] * c + b[j + 2] * s;
	}
	return f;
}

/* MGH09: b0 (x^2 + x b1) / (x^2 + x b2 + b3) */
double nist_mgh09(const double *b, const double *x, double *grad)
{
	double above = x[0] * (x[0] + b[1]);
	double below = x[0] * (x[0] + b[2]) + b[3];
	double f = b[0] * above / below;

	if (grad) {
		grad[0] = above / below;
		grad[1] = b[0] * x[0] / below;
		grad[2] = -f * x[0] / below;
		grad[3] = -f / below;
	}
	return f;
}

/* Rat42: b0 / (1 + exp(b1 - b2 x)) */
double nist_rat42(const double *b, const double *x, double *grad)
{
	double e = exp(b[1] - b[2] * x[0]);
	double f = b[0] / (1 + e);

	if (grad) {
		grad[0] = 1 / (1 + e);
		grad[1] = -f * e / (1 + e);
		grad[2] = f * x[0] * e / (1 + e);
	}
	return f;
}

/* MGH10: b0 exp(b1 / (x + b2)) */
double nist_mgh10(const double *b, const double *x, double *grad)
{
	double u = x[0] + b[2];
	double e = exp(b[1] / u);

	if (grad) {
		grad[0] = e;
		grad[1] = b[0] * e / u;
		grad[2] = -b[0] * e * b[1] / (u * u);
	}
	return b[0] * e;
}

/* Eckerle4: (b0 / b1) exp(-((x - b2) / b1)^2 / 2) */
double nist_eckerle4(const double *b, const double *x, double *grad)
{
	double u = (x[0] - b[2]) / b[1];
	double e = exp(-0.5 * u * u) / b[1];

	if (grad) {
		grad[0] = e;
		grad[1] = b[0] * e * (u * u - 1) / b[1];
		grad[2] = b[0] * e * u / b[1];
	}
	return b[0] * e;
}

/* Rat43: b0 / (1 + exp(b1 - b2 x))^(1 / b3) */
double nist_rat43(const double *b, const double *x, double *grad)
{
	double e = exp(b[1] - b[2] * x[0]);
	double root = pow(1 + e, -1 / b[3]);

	if (grad) {
		double slope = b[0] * root * e / ((1 + e) * b[3]);

		grad[0] = root;
		grad[1] = -slope;
		grad[2] = slope * x[0];
		grad[3] = b[0] * root * log1p(e) / (b[3] * b[3]);
	}
	return b[0] * root;
}

/* Bennett5: b0 (b1 + x)^(-1 / b2) */
double nist_bennett5(const double *b, const double *x, double *grad)
{
	double u = b[1] + x[0];
	double power = pow(u, -1 / b[2]);

	if (grad) {
		grad[0] = power;
		grad[1] = -b[0] * power / (u * b[2]);
		grad[2] = b[0] * power * log(u) / (b[2] * b[2]);
	}
	return b[0] * power;
}
