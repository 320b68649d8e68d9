// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_estimate.c - see analyze_estimate.h; docs/sampling.md has the mathematics.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 *
 * What was seen is certain; only the rest, R = sum of w (1 - p), is random. It behaves like c times
 * a Poisson count, with c = V / R the typical weight of what can be missed and k = R / c the count
 * that stands behind it. The limits are those of that count, by gamma quantiles with the mid-P
 * correction: the usual ones always cover at least 95 %, and with few samples far more than that.
 */
#include "analyze/analyze_estimate.h"

#include "analyze/analyze_gamma.h"

#include <math.h>
#include <stdbool.h>

static const double TAIL = 0.025;

/*
 * -ln TAIL. Beyond this much doubt, less than a tail's share of cases miss nothing; and this many
 * samples are seen in none at all as rarely. (mid-P would say 3.0: no gain there, and a mean just
 * above that limit would be missed in 5 % of the cases instead of 2.5.)
 */
static const double DOUBT_MAX = 3.688879454113936;

/* Weights whose relative variance is above a quarter count as entirely mixed. */
static const double MIXED_SLOPE = 4.0;

/* The largest figure that is still an integer in a double, and far beyond any address space. */
static const double FIGURE_MAX = 9007199254740992.0;

static uint64_t to_figure(double x)
{
    if (!(x > 0.0))
        return 0;
    return x >= FIGURE_MAX ? (uint64_t)FIGURE_MAX : (uint64_t)x;
}

void rtd_weight_expect(struct rtd_weight_sum *sum, double weight)
{
    if (weight > sum->max_weight)
        sum->max_weight = weight;
}

void rtd_weight_add(struct rtd_weight_sum *sum, double x, double p)
{
    const double weight = x / p;
    const double missed = weight * (1.0 - p);
    sum->total += weight;
    sum->variance += weight * missed;
    sum->spread += missed * missed;
    sum->certain += x;
    sum->samples++;
    sum->doubt -= log(p);
    rtd_weight_expect(sum, missed);
}

void rtd_weight_pool(struct rtd_weight_sum *into, const struct rtd_weight_sum *from)
{
    into->total += from->total;
    into->variance += from->variance;
    into->spread += from->spread;
    into->certain += from->certain;
    into->samples += from->samples;
    into->doubt += from->doubt;
    rtd_weight_expect(into, from->max_weight);
}

void rtd_weight_expect_heavier(struct rtd_weight_sum *sum, double heaviest)
{
    const double seen = sum->total - sum->certain;
    if (sum->samples == 0 || !(sum->variance > 0.0) || !(seen > 0.0))
        return;
    /* Of equal weights the mean is the typical one; how far it lies below tells how they differ. */
    const double mean = sum->total / (double)sum->samples, typical = sum->variance / seen;
    const double mixed = fmin(1.0, MIXED_SLOPE * (typical / mean - 1.0));
    const double expected = 2.0 * fmin(heaviest, sqrt(sum->variance));
    if (mixed > 0.0 && expected > sum->max_weight)
        sum->max_weight += mixed * (expected - sum->max_weight);
}

struct rtd_weight_sum rtd_weight_from_totals(double total, double variance, uint64_t samples,
                                             double unit_weight)
{
    struct rtd_weight_sum sum = {.total = total, .samples = samples};
    if (samples == 0 || !(total > 0.0) || !(variance > 0.0)) {
        sum.certain = sum.total;
        return sum;
    }
    /* V / total is the typical weight unless samples that are nearly certain dilute the total. */
    const double diluted = variance / total, number = (double)samples;
    /* Samples that were drawn with a smaller interval than the present one weigh less than it. */
    const double weight = fmax(diluted, fmin(unit_weight, total / number));
    const double random = fmin(total, variance / weight);
    const double count = random / weight;
    sum.variance = variance;
    sum.max_weight = weight * fmin(1.0, count);
    sum.certain = total - random;
    sum.spread = variance * fmin(1.0, count);
    sum.doubt = count < number ? -number * log(1.0 - count / number) : DOUBT_MAX + 1.0;
    return sum;
}

struct rtd_estimate rtd_estimate_from(const struct rtd_weight_sum *sum)
{
    const uint64_t value = to_figure(sum->total + 0.5);
    const double seen = sum->total - sum->certain;
    const bool random = sum->variance > 0.0 && seen > 0.0;
    const struct rtd_gamma middle = {random ? seen : 0.0, random ? sum->variance : 0.0};
    const double weight = random ? middle.variance / middle.mean : 0.0;
    struct rtd_estimate out = {value, to_figure(sum->certain), value};
    if (random && sum->doubt > DOUBT_MAX) {
        const double step = weight * fmin(1.0, sum->spread / sum->variance);
        const struct rtd_gamma above = {middle.mean + step, middle.variance + step * weight};
        out.low = to_figure(sum->certain + rtd_gamma_mixture_quantile(middle, above, TAIL));
    }
    if (!random) {
        out.high = to_figure(ceil(sum->certain + DOUBT_MAX * sum->max_weight));
    } else if (sum->max_weight > 0.0) {
        const double step = sum->max_weight;
        const struct rtd_gamma above = {middle.mean + step,
                                        middle.variance + step * fmax(step, weight)};
        out.high =
            to_figure(ceil(sum->certain + rtd_gamma_mixture_quantile(middle, above, 1.0 - TAIL)));
    }
    if (out.low > value)
        out.low = value;
    if (out.high < value)
        out.high = value;
    return out;
}

struct rtd_estimate rtd_estimate_exact(uint64_t value)
{
    return (struct rtd_estimate){value, value, value};
}
