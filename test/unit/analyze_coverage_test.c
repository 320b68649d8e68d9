// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_coverage_test.c - how often the 95 % intervals hold the truth, by simulation.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  one array of sizes
 * Fails:      by a failed assertion; prints the table that docs/sampling.md shows
 *
 * A population of live blocks is fixed, then sampled again and again by the agent's own counting
 * down of random distances; every run gives one estimate from the samples and one from the totals
 * that the ledger keeps of births. The seeds are fixed: the table is the same on every machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_estimate.h"
#include "base/base_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCKS_MAX = 1 << 20,
    RUNS = 1000,
    WORK_MAX = 6000000,
    LEVELS = 6,
    MIXES = 6,
    INTERVALS = 4
};

enum figure { LIVE_BYTES, LIVE_BLOCKS, ALLOCATED_BYTES, ALLOCATIONS, FIGURES };

struct tally {
    double runs, covered, low_misses, high_misses, error, cells;
};

static const double EXPECTED_SAMPLES[LEVELS] = {1, 3, 10, 30, 100, 500};

static double draw_size(uint64_t *random, unsigned mix)
{
    const double u = rtd_random_unit(random);
    switch (mix) {
    case 0:
        return 200.0;
    case 1: /* 16 B .. 64 KiB, every octave alike */
        return floor(exp(log(16.0) + u * log(4096.0)));
    case 2: /* 16 B .. 8 MiB */
        return floor(exp(log(16.0) + u * log(524288.0)));
    case 3:
        return 262144.0;
    case 4: /* mostly small, a few large */
        return rtd_random_unit(random) < 0.98 ? floor(16.0 + 4000.0 * u) : 131072.0;
    default: /* 32 KiB .. 2 MiB */
        return floor(exp(log(32768.0) + u * log(64.0)));
    }
}

/* Blocks until they give that many samples on average; 0 when that takes too many. */
static unsigned make_blocks(double *sizes, uint64_t *random, unsigned mix, double interval,
                            double expected)
{
    unsigned count = 0;
    double sum = 0.0;
    while (sum < expected) {
        if (count == BLOCKS_MAX)
            return 0;
        sizes[count] = draw_size(random, mix);
        sum += rtd_math_one_minus_exp_neg((sizes[count++] + 1.0) / interval);
    }
    /* A first block that alone is more than asked for belongs to another level. */
    return sum < 1.7 * expected ? count : 0;
}

/* Walks the blocks as a thread that allocates them would. */
static void sample_blocks(const double *sizes, unsigned count, double interval, uint64_t *random,
                          struct rtd_weight_sum sums[2])
{
    double left = (double)rtd_random_distance(random, interval);
    for (unsigned i = 0; i < count; i++) {
        if (sizes[i] + 1.0 <= left) {
            left -= sizes[i] + 1.0;
            continue;
        }
        const double p = rtd_math_one_minus_exp_neg((sizes[i] + 1.0) / interval);
        rtd_weight_add(&sums[0], sizes[i], p);
        rtd_weight_add(&sums[1], 1.0, p);
        left = (double)rtd_random_distance(random, interval);
    }
}

static void score(struct tally *tally, const struct rtd_weight_sum *sum, double truth)
{
    const struct rtd_estimate estimate = rtd_estimate_from(sum);
    tally->runs++;
    tally->low_misses += truth < (double)estimate.low;
    tally->high_misses += truth > (double)estimate.high;
    tally->covered += truth >= (double)estimate.low && truth <= (double)estimate.high;
    tally->error += ((double)estimate.value - truth) / truth;
}

/* What a site's history of births (ten times what lives) makes an unseen block weigh. */
static void expect_from_births(const struct rtd_weight_sum *births, double interval, double out[2])
{
    out[0] =
        rtd_weight_from_totals(births[0].total, births[0].variance, births[0].samples, interval)
            .max_weight;
    out[1] = rtd_weight_from_totals(births[1].total, births[1].variance, births[1].samples, 0.0)
                 .max_weight;
}

static void run_cell(struct tally *tallies, const double *sizes, unsigned count, double interval,
                     uint64_t *random)
{
    struct rtd_weight_sum births[2] = {{0}};
    double truth = 0.0, unseen[2];
    for (unsigned i = 0; i < count; i++)
        truth += sizes[i];
    for (int i = 0; i < 10; i++)
        sample_blocks(sizes, count, interval, random, births);
    expect_from_births(births, interval, unseen);
    unsigned runs = WORK_MAX / count;
    for (runs = runs < RUNS ? runs : RUNS; runs > 0; runs--) {
        struct rtd_weight_sum sums[2] = {{0}};
        sample_blocks(sizes, count, interval, random, sums);
        const struct rtd_weight_sum bytes =
            rtd_weight_from_totals(sums[0].total, sums[0].variance, sums[0].samples, interval);
        struct rtd_weight_sum blocks =
            rtd_weight_from_totals(sums[1].total, sums[1].variance, sums[1].samples, 0.0);
        rtd_weight_expect_heavier(&blocks, HUGE_VAL);
        if (sums[0].samples > 0) {
            score(&tallies[ALLOCATED_BYTES], &bytes, truth);
            score(&tallies[ALLOCATIONS], &blocks, (double)count);
        }
        rtd_weight_expect(&sums[0], unseen[0]);
        rtd_weight_expect(&sums[1], unseen[1]);
        rtd_weight_expect_heavier(&sums[1], sums[1].max_weight);
        score(&tallies[LIVE_BYTES], &sums[0], truth);
        score(&tallies[LIVE_BLOCKS], &sums[1], (double)count);
    }
}

static void measure(struct tally table[LEVELS][FIGURES])
{
    static const double intervals[INTERVALS] = {16384, 65536, 524288, 1048576};
    double *sizes = malloc(BLOCKS_MAX * sizeof *sizes);
    uint64_t random = 20240607;
    assert_non_null(sizes);
    for (unsigned level = 0; level < LEVELS; level++) {
        for (unsigned mix = 0; mix < MIXES; mix++) {
            for (unsigned i = 0; i < INTERVALS; i++) {
                const unsigned count =
                    make_blocks(sizes, &random, mix, intervals[i], EXPECTED_SAMPLES[level]);
                if (count == 0 || WORK_MAX / count < 100)
                    continue;
                run_cell(table[level], sizes, count, intervals[i], &random);
            }
        }
    }
    free(sizes);
}

static void print_row(const char *name, const struct tally *tally)
{
    print_message("  %-15s %6.0f runs  covered %5.1f %%  too high %4.1f %%  too low %4.1f %%  "
                  "bias %+5.2f %%\n",
                  name, tally->runs, 100.0 * tally->covered / tally->runs,
                  100.0 * tally->low_misses / tally->runs, 100.0 * tally->high_misses / tally->runs,
                  100.0 * tally->error / tally->runs);
}

static void intervals_of_bytes_hold_the_truth_95_times_in_100(void **state)
{
    (void)state;
    static const char *const names[FIGURES] = {"live bytes", "live blocks", "allocated bytes",
                                               "allocations"};
    struct tally table[LEVELS][FIGURES];
    memset(table, 0, sizeof table);
    measure(table);
    for (unsigned level = 0; level < LEVELS; level++) {
        print_message("about %.0f samples:\n", EXPECTED_SAMPLES[level]);
        for (unsigned i = 0; i < FIGURES; i++)
            print_row(names[i], &table[level][i]);
        const struct tally *bytes = &table[level][LIVE_BYTES];
        const double covered = bytes->covered / bytes->runs;
        /* With a handful of samples no interval can come nearer than a step of the count. */
        assert_true(covered >= 0.93 && covered <= (level < 2 ? 0.99 : 0.97));
        assert_true(fabs(bytes->error / bytes->runs) < 0.01);
        if (level >= 2) {
            const double born =
                table[level][ALLOCATED_BYTES].covered / table[level][ALLOCATED_BYTES].runs;
            assert_true(born >= 0.93 && born <= 0.97);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_of_bytes_hold_the_truth_95_times_in_100),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
