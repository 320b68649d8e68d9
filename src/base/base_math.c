// SPDX-License-Identifier: Apache-2.0
/*
 * base_math.c - see base_math.h for where this runs and why it exists.
 *
 * Runs in:    agent (slow path), collector, tests
 * Threads:    pure functions
 * Allocates:  never
 * Fails:      never
 */
#include "base/base_math.h"

#include <string.h>

static double from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t to_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ln 2 in two parts, so that e * ln 2 keeps its low bits. */
static const double LN2_HIGH = 6.93147180369123816490e-01;
static const double LN2_LOW = 1.90821492927058770002e-10;

double rtd_math_log(double x)
{
    /* x = m * 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh((m - 1) / (m + 1)). */
    const uint64_t bits = to_bits(x);
    int exponent = (int)((bits >> 52) & 0x7ff) - 1023;
    double mantissa = from_bits((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
    if (mantissa > 1.4142135623730951) {
        mantissa *= 0.5;
        exponent++;
    }
    const double s = (mantissa - 1.0) / (mantissa + 1.0);
    const double s2 = s * s;
    double series = 0.0;
    for (int k = 21; k >= 1; k -= 2)
        series = series * s2 + 1.0 / k;
    return (double)exponent * LN2_HIGH + (2.0 * s * series + (double)exponent * LN2_LOW);
}

/* exp(-r) - 1 for 0 <= r <= ln 2, by its Taylor series: 18 terms leave less than 1e-18. */
static double expm1_neg_small(double r)
{
    double sum = 0.0;
    for (int k = 18; k >= 1; k--)
        sum = (-r / k) * (1.0 + sum);
    return sum;
}

double rtd_math_one_minus_exp_neg(double x)
{
    if (x > 700.0)
        return 1.0;
    /* exp(-x) = 2^-n * exp(-r), so 1 - exp(-x) = 1 - 2^-n - 2^-n * expm1(-r). */
    const int n = (int)(x / LN2_HIGH);
    const double r = (x - n * LN2_HIGH) - n * LN2_LOW;
    const double scale = from_bits((uint64_t)(1023 - n) << 52);
    return (1.0 - scale) - scale * expm1_neg_small(r);
}

uint64_t rtd_random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

double rtd_random_unit(uint64_t *state)
{
    return ((double)(rtd_random_next(state) >> 11) + 1.0) * 0x1p-53;
}

uint64_t rtd_random_distance(uint64_t *state, double mean_bytes)
{
    const double distance = -rtd_math_log(rtd_random_unit(state)) * mean_bytes;
    return distance >= 9.0e15 ? (uint64_t)9e15 : (uint64_t)distance;
}
