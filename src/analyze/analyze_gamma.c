// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_gamma.c - see analyze_gamma.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_gamma.h"

#include <math.h>

enum { TERMS_MAX = 2000, STEPS_MAX = 100 };

/* Beyond this shape the Wilson-Hilferty approximation is closer than 1e-5 of the value. */
static const double LARGE_SHAPE = 500.0;

/* What a gamma distribution of one shape needs at every point; shape 0 is the constant 0. */
struct shaped {
    double shape, scale, log_factorial; /* ln Gamma(shape + 1) */
};

/* The distribution function and the density at one point: they share the costly factor. */
struct at_point {
    double below, density;
};

static struct shaped shape_with_scale(double shape, double scale)
{
    int sign;
    return (struct shaped){shape, scale, shape > 0.0 ? lgamma_r(shape + 1.0, &sign) : 0.0};
}

static double series(double shape, double x)
{
    double term = 1.0, sum = 1.0;
    for (int n = 1; n < TERMS_MAX && term > sum * 1e-13; n++) {
        term *= x / (shape + n);
        sum += term;
    }
    return sum;
}

/* Lentz's continued fraction for the complement, which converges fast where the series does not. */
static double fraction(double shape, double x)
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
        if (fabs(factor - 1.0) < 1e-13)
            break;
    }
    return h;
}

static struct at_point evaluate(const struct shaped *gamma, double value)
{
    const double shape = gamma->shape, x = value / gamma->scale;
    if (shape <= 0.0)
        return (struct at_point){1.0, 0.0};
    if (x <= 0.0)
        return (struct at_point){0.0, 0.0};
    const double factor = exp(shape * log(x) - x - gamma->log_factorial);
    const double below =
        x < shape + 1.0 ? factor * series(shape, x) : 1.0 - factor * shape * fraction(shape, x);
    return (struct at_point){below, factor * shape / value};
}

double rtd_gamma_cumulative(double shape, double x)
{
    const struct shaped gamma = shape_with_scale(shape, 1.0);
    return evaluate(&gamma, x).below;
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

static struct shaped shape_of(struct rtd_gamma gamma)
{
    if (!(gamma.mean > 0.0) || !(gamma.variance > 0.0))
        return shape_with_scale(0.0, 1.0);
    return shape_with_scale(gamma.mean * gamma.mean / gamma.variance, gamma.variance / gamma.mean);
}

static double wilson_hilferty(const struct shaped *gamma, double q)
{
    if (gamma->shape <= 0.0)
        return 0.0;
    const double ninth = 1.0 / (9.0 * gamma->shape);
    const double root = 1.0 - ninth + normal_quantile(q) * sqrt(ninth);
    return root > 0.0 ? gamma->shape * gamma->scale * root * root * root : 0.0;
}

static struct at_point evaluate_mixture(const struct shaped pair[2], double x)
{
    const struct at_point a = evaluate(&pair[0], x), b = evaluate(&pair[1], x);
    return (struct at_point){0.5 * (a.below + b.below), 0.5 * (a.density + b.density)};
}

/* A value that is above the quantile for every q that is asked for. */
static double upper_end(const struct shaped pair[2])
{
    double high = 0.0;
    for (int i = 0; i < 2; i++) {
        const double limit = pair[i].scale * (pair[i].shape + 10.0 * sqrt(pair[i].shape) + 30.0);
        if (pair[i].shape > 0.0 && limit > high)
            high = limit;
    }
    return high;
}

double rtd_gamma_mixture_quantile(struct rtd_gamma first, struct rtd_gamma second, double q)
{
    const struct shaped pair[2] = {shape_of(first), shape_of(second)};
    double x = 0.5 * (wilson_hilferty(&pair[0], q) + wilson_hilferty(&pair[1], q));
    if (pair[0].shape > LARGE_SHAPE && pair[1].shape > LARGE_SHAPE)
        return x;
    double low = 0.0, high = upper_end(pair);
    if (high <= 0.0 || evaluate_mixture(pair, high * 1e-12).below >= q)
        return 0.0;
    /* Newton's steps, kept inside a bracket that every evaluation narrows. */
    for (int n = 0; n < STEPS_MAX && high - low > high * 1e-6; n++) {
        if (!(x > low && x < high))
            x = 0.5 * (low + high);
        const struct at_point at = evaluate_mixture(pair, x);
        if (at.below > q)
            high = x;
        else
            low = x;
        const double move = (at.below - q) / at.density;
        /* The error after a step is about its square. */
        if (fabs(move) < x * 1e-3)
            return x - move;
        x -= move;
    }
    return 0.5 * (low + high);
}
