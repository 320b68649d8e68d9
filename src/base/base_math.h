// SPDX-License-Identifier: Apache-2.0
/*
 * base_math.h - logarithm, exponential and random numbers without libm.
 *
 * Runs in:    agent (slow path), collector, tests
 * Threads:    pure functions; a random state belongs to one thread
 * Allocates:  never
 * Fails:      never
 *
 * Why not libm: the agent may depend on libc alone, and log() may be an IFUNC whose resolution
 * takes the dynamic loader's lock.
 */
#ifndef RTD_BASE_MATH_H
#define RTD_BASE_MATH_H

#include <stdint.h>

/* Natural logarithm of a finite x > 0; relative error below 1e-12. */
double rtd_math_log(double x);

/* 1 - exp(-x) for x >= 0; relative error below 1e-12, also for tiny x. */
double rtd_math_one_minus_exp_neg(double x);

/* Next 64 random bits of a splitmix64 sequence; any seed is good. */
uint64_t rtd_random_next(uint64_t *state);

/* Uniform in (0, 1]: never 0, so its logarithm is finite. */
double rtd_random_unit(uint64_t *state);

/*
 * Geometric distance in bytes to the next sample of a Poisson process with the given mean.
 * Counting each allocation as size + 1 bytes, the one that needs more than is left is hit:
 * its probability is 1 - exp(-(size + 1) / mean), whatever was counted down before.
 */
uint64_t rtd_random_distance(uint64_t *state, double mean_bytes);

#endif
