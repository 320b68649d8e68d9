// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_gamma.c - see analyze_gamma.h.
 *
 * Runs in:    collector, report
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_gamma.h"

#include <math.h>
#include <stdbool.h>

enum { TERMS_MAX = 2000, STEPS_MAX = 100 };

/* Beyond this shape the Wilson-Hilferty approximation is closer than 1e-5 of the value. */
static const double LARGE_SHAPE = 500.0;

/* x^shape e^-x / Gamma(shape + 1): the density's factor, and the step from shape to shape + 1. */
static double power_term(double shape, double x)
{
    int sign;
    return exp(shape * log(x) - x - lgamma_r(shape + 1.0, &sign));
}

static double cumulative_by_series(double shape, double x)
{
    double term = 1.0, sum = 1.0;
    for (int n = 1; n < TERMS_MAX && term > sum * 1e-14; n++) {
        term *= x / (shape + n);
        sum += term;
    }
    return sum * power_term(shape, x);
}

/* 1 - P by Lentz's continued fraction, which converges fast where the series does not. */
static double complement_by_fraction(double shape, double x)
{
    double b = x + 1.0 - shape;
    double c = 1e300, d = 1.0 / b, h = d;
    for (int n = 1; n < TERMS_MAX; n++) {
        const double a = -n * (n - shape);
        b += 2.0;
        d = a * d + b;
        c = b + a / c;
        if (fabs(d) < 1e-300)
            d = 1e-300;
        if (fabs(c) < 1e-300)
            c = 1e-300;
        d = 1.0 / d;
        const double factor = d * c;
        h *= factor;
        if (fabs(factor - 1.0) < 1e-14)
            break;
    }
    return h * shape * power_term(shape, x);
}

double rtd_gamma_cumulative(double shape, double x)
{
    if (shape <= 0.0)
        return 1.0;
    if (x <= 0.0)
        return 0.0;
    if (x < shape + 1.0)
        return cumulative_by_series(shape, x);
    return 1.0 - complement_by_fraction(shape, x);
}

/* Standard normal quantile (Acklam's central and tail fits), good to 1e-9. */
static double normal_quantile(double q)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    const double tail = q < 0.5 ? q : 1.0 - q;
    if (tail < 0.02425) {
        const double t = sqrt(-2.0 * log(tail));
        const double x = (((((c[0] * t + c[1]) * t + c[2]) * t + c[3]) * t + c[4]) * t + c[5]) /
                         ((((d[0] * t + d[1]) * t + d[2]) * t + d[3]) * t + 1.0);
        return q < 0.5 ? x : -x;
    }
    const double u = q - 0.5, r = u * u;
    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * u /
           (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1.0);
}

/* A gamma distribution ready for evaluation; shape 0 is the constant 0. */
struct shaped {
    double shape, scale;
};

static struct shaped shape_of(struct rtd_gamma gamma)
{
    if (!(gamma.mean > 0.0) || !(gamma.variance > 0.0))
        return (struct shaped){0.0, 1.0};
    return (struct shaped){gamma.mean * gamma.mean / gamma.variance, gamma.variance / gamma.mean};
}

static double wilson_hilferty(struct shaped gamma, double q)
{
    if (gamma.shape <= 0.0)
        return 0.0;
    const double ninth = 1.0 / (9.0 * gamma.shape);
    const double root = 1.0 - ninth + normal_quantile(q) * sqrt(ninth);
    return root > 0.0 ? gamma.shape * gamma.scale * root * root * root : 0.0;
}

static double density(struct shaped gamma, double x)
{
    if (gamma.shape <= 0.0)
        return 0.0;
    return gamma.shape * power_term(gamma.shape, x / gamma.scale) / x;
}

static double mixture_cumulative(const struct shaped pair[2], double x)
{
    return 0.5 * (rtd_gamma_cumulative(pair[0].shape, x / pair[0].scale) +
                  rtd_gamma_cumulative(pair[1].shape, x / pair[1].scale));
}

double rtd_gamma_mixture_quantile(struct rtd_gamma first, struct rtd_gamma second, double q)
{
    const struct shaped pair[2] = {shape_of(first), shape_of(second)};
    double x = 0.5 * (wilson_hilferty(pair[0], q) + wilson_hilferty(pair[1], q));
    if (pair[0].shape > LARGE_SHAPE && pair[1].shape > LARGE_SHAPE)
        return x;
    double low = 0.0, high = 0.0;
    for (int i = 0; i < 2; i++) {
        const double limit = pair[i].scale * (pair[i].shape + 10.0 * sqrt(pair[i].shape) + 30.0);
        if (pair[i].shape > 0.0 && limit > high)
            high = limit;
    }
    if (high <= 0.0 || mixture_cumulative(pair, high * 1e-12) >= q)
        return 0.0;
    /* Newton's steps, kept inside a bracket that every evaluation narrows. */
    for (int n = 0; n < STEPS_MAX && high - low > high * 1e-6; n++) {
        if (!(x > low && x < high))
            x = 0.5 * (low + high);
        const double excess = mixture_cumulative(pair, x) - q;
        if (excess > 0.0)
            high = x;
        else
            low = x;
        const double move = excess / (0.5 * (density(pair[0], x) + density(pair[1], x)));
        if (fabs(move) < x * 1e-6)
            return x - move;
        x -= move;
    }
    return 0.5 * (low + high);
}
