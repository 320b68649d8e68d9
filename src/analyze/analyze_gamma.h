// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_gamma.h - the gamma distribution, for intervals around few samples.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#ifndef RTD_ANALYZE_GAMMA_H
#define RTD_ANALYZE_GAMMA_H

/* Regularized lower incomplete gamma function P(shape, x); 1 when shape is 0. */
double rtd_gamma_cumulative(double shape, double x);

/* A gamma distribution by its mean and variance; variance 0 is the constant mean. */
struct rtd_gamma {
    double mean, variance;
};

/*
 * The x >= 0 that the even mixture of two gamma distributions exceeds with probability 1 - q. With
 * n and n + 1 as means and variances it is the mid-P limit of a Poisson mean of which n events
 * were seen. The relative error is below 1e-4.
 */
double rtd_gamma_mixture_quantile(struct rtd_gamma first, struct rtd_gamma second, double q);

#endif
