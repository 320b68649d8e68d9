// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_estimate.h - unbiased estimates from Poisson samples, with 95 % intervals.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#ifndef RTD_ANALYZE_ESTIMATE_H
#define RTD_ANALYZE_ESTIMATE_H

#include <stdint.h>

/* value with its 95 % interval, in bytes or a count; exact figures have low = value = high. */
struct rtd_estimate {
    uint64_t value, low, high;
};

/*
 * Sums over samples of weight w = x / p (x = size or 1) from which an estimate is made. All zero is
 * the sum of no samples. A plain value: copied freely, owns nothing.
 */
struct rtd_weight_sum {
    double total;      /* sum of w */
    double variance;   /* sum of w^2 (1 - p) */
    double max_weight; /* largest w (1 - p), or what a kind not seen now would weigh */
    uint64_t samples;
    double certain; /* lower bound that is certain: sum of x itself */
    double spread;  /* sum of w^2 (1 - p)^2: its share of variance is the typical 1 - p */
    double doubt;   /* sum of -ln p: e^-doubt is how likely it is that nothing was missed */
};

/* Adds one sample: x in bytes (or 1), p = its probability in (0, 1]. */
void rtd_weight_add(struct rtd_weight_sum *sum, double x, double p);

/* Pools two disjoint sets of samples: into holds both afterwards. */
void rtd_weight_pool(struct rtd_weight_sum *into, const struct rtd_weight_sum *from);

/*
 * The sum of samples of which only total, variance and number are known. unit_weight is what a
 * sample that is far from certain weighs (the interval for bytes; 0 when that is not known).
 */
struct rtd_weight_sum rtd_weight_from_totals(double total, double variance, uint64_t samples,
                                             double unit_weight);

/* Allows for samples of this weight that the set could hold and does not show. */
void rtd_weight_expect(struct rtd_weight_sum *sum, double weight);

/*
 * For counts: where weights differ, the heaviest kinds are those that have not been sampled yet, so
 * allows for one of twice the heaviest weight, the more the weights differ. heaviest is the largest
 * weight seen, or HUGE_VAL when that is not known: then sqrt(variance), which it cannot exceed.
 */
void rtd_weight_expect_heavier(struct rtd_weight_sum *sum, double heaviest);

/*
 * Value and 95 % interval; low <= value <= high. Without a sample the value is 0 and the upper
 * limit 3.7 max_weight; exact when nothing can have been missed.
 */
struct rtd_estimate rtd_estimate_from(const struct rtd_weight_sum *sum);
struct rtd_estimate rtd_estimate_exact(uint64_t value);

#endif
