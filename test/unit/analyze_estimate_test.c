// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_estimate_test.c - properties of estimates and their intervals.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  never
 * Fails:      by a failed assertion
 *
 * How often the intervals hold the truth is analyze_coverage_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_estimate.h"
#include "analyze/analyze_gamma.h"
#include "base/base_math.h"

#include <math.h>

static void near(double value, double expected, double tolerance)
{
    if (fabs(value - expected) > tolerance * fabs(expected))
        fail_msg("%.10g is not %.10g", value, expected);
}

static void gamma_cumulative_matches_published_values(void **state)
{
    (void)state;
    near(rtd_gamma_cumulative(1.0, 1.0), 0.6321205588, 1e-9);
    near(rtd_gamma_cumulative(0.5, 0.5), 0.6826894921, 1e-9);
    near(rtd_gamma_cumulative(10.0, 3.0), 0.0011024881, 1e-7);
    near(rtd_gamma_cumulative(10.0, 20.0), 0.9950045876, 1e-9);
    near(rtd_gamma_cumulative(300.0, 300.0), 0.5076777889, 1e-8);
    assert_true(rtd_gamma_cumulative(0.0, 1.0) == 1.0);
    assert_true(rtd_gamma_cumulative(2.0, 0.0) == 0.0);
}

static void equal_parts_give_the_chi_square_quantiles(void **state)
{
    (void)state;
    /* Half the chi-square quantiles with 2n degrees: the textbook limits of a Poisson mean. */
    const struct rtd_gamma ten = {10.0, 10.0}, one = {1.0, 1.0}, many = {2000.0, 2000.0};
    near(rtd_gamma_mixture_quantile(ten, ten, 0.025), 4.795389, 1e-4);
    near(rtd_gamma_mixture_quantile(ten, ten, 0.975), 17.084803, 1e-4);
    near(rtd_gamma_mixture_quantile(one, one, 0.025), 0.02531781, 1e-4);
    near(rtd_gamma_mixture_quantile(many, many, 0.975), 2088.603, 1e-4);
}

static void quantile_inverts_the_mixture(void **state)
{
    (void)state;
    for (double shape = 0.01; shape < 3000.0; shape *= 1.7) {
        for (double q = 0.025; q < 1.0; q += 0.19) {
            const struct rtd_gamma a = {shape, shape}, b = {shape + 1.0, shape + 1.0};
            const double x = rtd_gamma_mixture_quantile(a, b, q);
            const double back =
                0.5 * (rtd_gamma_cumulative(shape, x) + rtd_gamma_cumulative(shape + 1.0, x));
            if (x > 0.0 && fabs(back - q) > 2e-4)
                fail_msg("shape %g, q %g: %g has %g below", shape, q, x, back);
        }
    }
}

static void certain_samples_are_exact(void **state)
{
    (void)state;
    struct rtd_weight_sum sum = {0};
    rtd_weight_add(&sum, 1000.0, 1.0);
    rtd_weight_add(&sum, 24.0, 1.0);
    const struct rtd_estimate estimate = rtd_estimate_from(&sum);
    assert_int_equal(estimate.value, 1024);
    assert_int_equal(estimate.low, 1024);
    assert_int_equal(estimate.high, 1024);
}

static void nothing_seen_is_zero_with_an_upper_limit_of_some_weights(void **state)
{
    (void)state;
    struct rtd_weight_sum sum = {0};
    struct rtd_estimate estimate = rtd_estimate_from(&sum);
    assert_true(estimate.value == 0 && estimate.low == 0 && estimate.high == 0);
    rtd_weight_expect(&sum, 1000.0);
    estimate = rtd_estimate_from(&sum);
    assert_true(estimate.value == 0 && estimate.low == 0);
    assert_in_range(estimate.high, 3680, 3700);
}

static void interval_holds_the_value_and_never_less_than_was_seen(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int run = 0; run < 3000; run++) {
        struct rtd_weight_sum sum = {0};
        const double interval = 16384.0 * (double)(1u << (rtd_random_next(&random) % 8));
        const unsigned count = (unsigned)(rtd_random_next(&random) % 40);
        for (unsigned i = 0; i < count; i++) {
            const double size = floor(exp(rtd_random_unit(&random) * log(8388608.0)));
            rtd_weight_add(&sum, size, rtd_math_one_minus_exp_neg((size + 1.0) / interval));
        }
        const struct rtd_estimate estimate = rtd_estimate_from(&sum);
        assert_true(estimate.low <= estimate.value && estimate.value <= estimate.high);
        assert_true((double)estimate.low + 1.0 >= sum.certain);
    }
}

static void pooling_equals_adding_to_one_sum(void **state)
{
    (void)state;
    struct rtd_weight_sum all = {0}, even = {0}, odd = {0};
    for (int i = 1; i < 60; i++) {
        const double size = 37.0 * i * i;
        const double p = rtd_math_one_minus_exp_neg(size / 65536.0);
        rtd_weight_add(&all, size, p);
        rtd_weight_add(i % 2 ? &odd : &even, size, p);
    }
    rtd_weight_pool(&even, &odd);
    const struct rtd_estimate a = rtd_estimate_from(&all), b = rtd_estimate_from(&even);
    assert_int_equal(a.value, b.value);
    assert_in_range(a.low + 1, b.low, b.low + 2);
    assert_in_range(a.high + 1, b.high, b.high + 2);
}

static void totals_alone_give_nearly_the_same_interval(void **state)
{
    (void)state;
    struct rtd_weight_sum sum = {0};
    const double p = rtd_math_one_minus_exp_neg(201.0 / 524288.0);
    for (int i = 0; i < 20; i++)
        rtd_weight_add(&sum, 200.0, p);
    const struct rtd_weight_sum known =
        rtd_weight_from_totals(sum.total, sum.variance, sum.samples, 524288.0);
    const struct rtd_estimate a = rtd_estimate_from(&sum), b = rtd_estimate_from(&known);
    assert_int_equal(a.value, b.value);
    near((double)b.low, (double)a.low, 0.02);
    near((double)b.high, (double)a.high, 0.02);
}

static void totals_from_a_smaller_interval_are_not_taken_for_certain(void **state)
{
    (void)state;
    struct rtd_weight_sum sum = {0};
    const double p = rtd_math_one_minus_exp_neg(201.0 / 524288.0);
    for (int i = 0; i < 20; i++)
        rtd_weight_add(&sum, 200.0, p);
    const struct rtd_weight_sum known =
        rtd_weight_from_totals(sum.total, sum.variance, sum.samples, 8 * 524288.0);
    const struct rtd_estimate a = rtd_estimate_from(&sum), b = rtd_estimate_from(&known);
    near((double)b.low, (double)a.low, 0.02);
    near((double)b.high, (double)a.high, 0.02);
}

static void counts_of_unequal_weights_allow_for_heavier_ones(void **state)
{
    (void)state;
    struct rtd_weight_sum equal = {0}, mixed = {0};
    for (int i = 0; i < 10; i++) {
        rtd_weight_add(&equal, 1.0, 0.001);
        rtd_weight_add(&mixed, 1.0, 0.0001 * (double)(1 << i));
    }
    const struct rtd_estimate before[] = {rtd_estimate_from(&equal), rtd_estimate_from(&mixed)};
    rtd_weight_expect_heavier(&equal, equal.max_weight);
    rtd_weight_expect_heavier(&mixed, mixed.max_weight);
    const struct rtd_estimate after[] = {rtd_estimate_from(&equal), rtd_estimate_from(&mixed)};
    assert_int_equal(after[0].high, before[0].high);
    assert_true((double)after[1].high > 1.1 * (double)before[1].high);
    assert_int_equal(after[1].low, before[1].low);
    assert_int_equal(after[1].value, before[1].value);
}

static void unusable_totals_do_no_harm(void **state)
{
    (void)state;
    const double bad[] = {-1.0, (double)NAN, (double)INFINITY, 0.0, 1e300};
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned j = 0; j < 5; j++) {
            const struct rtd_weight_sum sum = rtd_weight_from_totals(bad[i], bad[j], 7, 1000.0);
            const struct rtd_estimate estimate = rtd_estimate_from(&sum);
            assert_true(estimate.low <= estimate.value && estimate.value <= estimate.high);
        }
    }
}

static void one_sample_is_uncertain_and_many_are_not(void **state)
{
    (void)state;
    const double p = rtd_math_one_minus_exp_neg(101.0 / 524288.0);
    struct rtd_weight_sum one = {0}, many = {0};
    rtd_weight_add(&one, 100.0, p);
    for (int i = 0; i < 10000; i++)
        rtd_weight_add(&many, 100.0, p);
    const struct rtd_estimate a = rtd_estimate_from(&one), b = rtd_estimate_from(&many);
    assert_true(a.low < a.value / 10 && a.high > 4 * a.value);
    near((double)b.high / (double)b.value, 1.0196, 0.002);
    near((double)b.low / (double)b.value, 0.9806, 0.002);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gamma_cumulative_matches_published_values),
        cmocka_unit_test(equal_parts_give_the_chi_square_quantiles),
        cmocka_unit_test(quantile_inverts_the_mixture),
        cmocka_unit_test(certain_samples_are_exact),
        cmocka_unit_test(nothing_seen_is_zero_with_an_upper_limit_of_some_weights),
        cmocka_unit_test(interval_holds_the_value_and_never_less_than_was_seen),
        cmocka_unit_test(pooling_equals_adding_to_one_sum),
        cmocka_unit_test(totals_alone_give_nearly_the_same_interval),
        cmocka_unit_test(totals_from_a_smaller_interval_are_not_taken_for_certain),
        cmocka_unit_test(counts_of_unequal_weights_allow_for_heavier_ones),
        cmocka_unit_test(unusable_totals_do_no_harm),
        cmocka_unit_test(one_sample_is_uncertain_and_many_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
