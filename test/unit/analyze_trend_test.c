// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_trend_test.c - which series count as growth.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  never
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_trend.h"
#include "base/base_math.h"

#include <math.h>
#include <string.h>

enum { POINTS = 60 };

static const double MIB = 1048576.0;

typedef double (*shape)(double share);

/* Judges shape over a minute; what is there at the end was born when the level rose to it. */
static struct rtd_trend judge(shape level, double weight)
{
    double seconds[POINTS], bytes[POINTS];
    uint32_t start, middle;
    for (int i = 0; i < POINTS; i++) {
        seconds[i] = 3.0 + 60.0 * i / (POINTS - 1);
        bytes[i] = level((double)i / (POINTS - 1));
    }
    assert_true(rtd_trend_window(seconds, POINTS, &start, &middle));
    struct rtd_trend_input input = {
        .point_count = POINTS, .seconds = seconds, .bytes = bytes, .weight = weight};
    input.born_window = fmax(0.0, bytes[POINTS - 1] - bytes[start]);
    input.born_late = fmax(0.0, bytes[POINTS - 1] - bytes[middle]);
    return rtd_trend_of(&input);
}

static double leak(double t)
{
    return 60.0 * MIB * t;
}
static double leak_on_base(double t)
{
    return (100.0 + 60.0 * t) * MIB;
}
static double late_leak(double t)
{
    return (t < 0.5 ? 10.0 : 10.0 + 80.0 * (t - 0.5)) * MIB;
}
static double plateau(double t)
{
    return 24.0 * MIB * fmin(1.0, t * 3.0);
}
static double settling(double t)
{
    return 24.0 * MIB * (1.0 - exp(-8.0 * t));
}
static double startup(double t)
{
    return t < 0.05 ? 0.0 : 80.0 * MIB;
}
static double flat(double t)
{
    (void)t;
    return 50.0 * MIB;
}
static double sawtooth_fast(double t)
{
    return 40.0 * MIB * fmod(t * 7.3, 1.0);
}
static double sawtooth_slow(double t)
{
    return 40.0 * MIB * fmod(t * 1.9, 1.0);
}
static double shrinking(double t)
{
    return (80.0 - 60.0 * t) * MIB;
}
static double rising_sawtooth(double t)
{
    return (80.0 * t + 6.0 * fmod(t * 10.0, 1.0)) * MIB;
}
static double crumbs(double t)
{
    return 32768.0 * t;
}

static double loads_then_creeps(double t)
{
    return t < 0.005 ? 0.0 : (60.0 + 4.0 * t) * MIB;
}
static double late_leak_from_nothing(double t)
{
    return fmax(0.0, t - 0.2) * 60.0 * MIB;
}
static double level_that_doubles(double t)
{
    return t < 0.005 ? 0.0 : (10.0 + 50.0 * t) * MIB;
}
static double crumb_then_leak(double t)
{
    return 1000.0 + fmax(0.0, t - 0.3) * 60.0 * MIB;
}
static double idle_then_level(double t)
{
    return t < 0.2 ? 0.0 : (10.0 + 62.5 * (t - 0.2)) * MIB;
}
static double load_that_takes_long(double t)
{
    return (10.0 * fmin(1.0, t * 5.0) + 50.0 * fmax(0.0, t - 0.2)) * MIB;
}

static void a_leak_grows_at_its_rate(void **state)
{
    (void)state;
    const struct rtd_trend trend = judge(leak, 524288.0);
    assert_true(trend.growing && trend.doubled);
    assert_true(fabs(trend.bytes_per_hour / (3600.0 * MIB) - 1.0) < 0.01);
}

static void a_leak_on_a_large_base_grows_but_has_not_doubled(void **state)
{
    (void)state;
    const struct rtd_trend trend = judge(leak_on_base, 524288.0);
    assert_true(trend.growing && !trend.doubled);
}

static void what_was_loaded_after_an_empty_start_has_not_doubled(void **state)
{
    (void)state;
    const struct rtd_trend trend = judge(loads_then_creeps, 0.0);
    assert_true(trend.growing && !trend.doubled && !trend.from_level);
}

static void what_grows_from_nothing_has_doubled_but_no_level_has(void **state)
{
    (void)state;
    const shape shapes[] = {leak, late_leak_from_nothing, crumb_then_leak, load_that_takes_long};
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const struct rtd_trend trend = judge(shapes[i], 0.0);
        assert_true(trend.growing && trend.doubled);
        if (trend.from_level)
            fail_msg("shape %u was taken for a level", i);
    }
}

static void a_level_that_stood_and_doubled_is_told(void **state)
{
    (void)state;
    assert_true(judge(level_that_doubles, 0.0).from_level);
    assert_true(judge(level_that_doubles, 524288.0).from_level);
    assert_true(judge(late_leak, 524288.0).from_level);
    assert_true(judge(idle_then_level, 524288.0).from_level);
}

static void a_level_of_a_few_samples_is_none(void **state)
{
    (void)state;
    assert_true(judge(level_that_doubles, MIB).from_level);
    const struct rtd_trend trend = judge(level_that_doubles, 2.0 * MIB);
    assert_true(trend.growing && trend.doubled && !trend.from_level);
}

static void a_level_of_a_few_blocks_is_none(void **state)
{
    (void)state;
    double seconds[POINTS], bytes[POINTS];
    for (int i = 0; i < POINTS; i++) {
        seconds[i] = i;
        bytes[i] = (1 + i / 12) * MIB;
    }
    struct rtd_trend_input input = {.point_count = POINTS, .seconds = seconds, .bytes = bytes};
    input.block_bytes = MIB / 16.0;
    assert_true(rtd_trend_of(&input).from_level);
    input.block_bytes = MIB;
    const struct rtd_trend trend = rtd_trend_of(&input);
    assert_true(trend.growing && trend.doubled && !trend.from_level);
}

static void a_short_life_has_not_doubled(void **state)
{
    (void)state;
    static const struct life {
        uint32_t point_count, born;
        double spacing_seconds;
        bool doubled;
    } lives[] = {{12, 8, 10.0, false}, {40, 30, 1.0, false}, {40, 30, 2.0, true}};
    double seconds[POINTS], bytes[POINTS];
    for (unsigned life = 0; life < sizeof lives / sizeof lives[0]; life++) {
        for (uint32_t i = 0; i < lives[life].point_count; i++) {
            seconds[i] = i * lives[life].spacing_seconds;
            bytes[i] = i < lives[life].born ? 0.0 : (i - lives[life].born + 1) * 10.0 * MIB;
        }
        const struct rtd_trend_input input = {
            .point_count = lives[life].point_count, .seconds = seconds, .bytes = bytes};
        const struct rtd_trend trend = rtd_trend_of(&input);
        if (!trend.growing || trend.doubled != lives[life].doubled)
            fail_msg("life %u: %d %d", life, trend.growing, trend.doubled);
    }
}

static void a_leak_that_begins_late_is_found(void **state)
{
    (void)state;
    assert_true(judge(late_leak, 524288.0).growing);
}

static void a_leak_under_a_sawtooth_is_found(void **state)
{
    (void)state;
    assert_true(judge(rising_sawtooth, 524288.0).growing);
}

static void steady_programs_do_not_grow(void **state)
{
    (void)state;
    const shape shapes[] = {plateau,       settling,      startup,   flat,
                            sawtooth_fast, sawtooth_slow, shrinking, crumbs};
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (judge(shapes[i], 524288.0).growing || judge(shapes[i], 0.0).growing)
            fail_msg("shape %u was taken for growth", i);
    }
}

static void growth_of_a_few_samples_is_noise(void **state)
{
    (void)state;
    assert_true(judge(leak, 60.0 * MIB / 40.0).growing);
    assert_false(judge(leak, 60.0 * MIB / 6.0).growing);
}

static void less_than_ten_seconds_are_no_window(void **state)
{
    (void)state;
    double seconds[POINTS];
    uint32_t start, middle;
    for (int i = 0; i < POINTS; i++)
        seconds[i] = 9.9 * i / (POINTS - 1);
    assert_false(rtd_trend_window(seconds, POINTS, &start, &middle));
    assert_false(rtd_trend_window(seconds, 3, &start, &middle));
}

static void doubling_again_and_again_is_exponential(void **state)
{
    (void)state;
    double seconds[POINTS], bytes[POINTS];
    const struct rtd_trend_input input = {
        .point_count = POINTS, .seconds = seconds, .bytes = bytes, .weight = 65536.0};
    for (int i = 0; i < POINTS; i++) {
        seconds[i] = i;
        bytes[i] = MIB * exp2(10.0 * i / (POINTS - 1));
    }
    assert_true(rtd_trend_is_exponential(&input));
    for (int i = 0; i < POINTS; i++)
        bytes[i] = leak_on_base((double)i / (POINTS - 1));
    assert_false(rtd_trend_is_exponential(&input));
}

/*
 * A queue in equilibrium, sampled: objects come and go at random and the level wanders. Each point
 * is a Poisson count of samples that share what lived on since the point before.
 */
static void churn_in_equilibrium_is_rarely_growth(void **state)
{
    (void)state;
    enum { RUNS = 2000, SLOTS = 400 };
    uint64_t random = 99;
    int alarms = 0;
    for (int run = 0; run < RUNS; run++) {
        double seconds[POINTS], bytes[POINTS];
        uint32_t live[SLOTS] = {0}, start, middle;
        /* From run to run the objects live for 0.5 to 50 points. */
        const double stay = exp(-1.0 / exp(rtd_random_unit(&random) * log(100.0) - 0.7));
        for (int i = -200; i < POINTS; i++) {
            double level = 0.0;
            for (int slot = 0; slot < SLOTS; slot++) {
                if (live[slot] && rtd_random_unit(&random) > stay)
                    live[slot] = 0;
                if (!live[slot] && rtd_random_unit(&random) > 1.0 - (1.0 - stay) * 0.15)
                    live[slot] = (uint32_t)(i + 300);
                level += live[slot] != 0;
            }
            if (i >= 0) {
                seconds[i] = i;
                bytes[i] = level * 524288.0;
            }
        }
        assert_true(rtd_trend_window(seconds, POINTS, &start, &middle));
        struct rtd_trend_input input = {
            .point_count = POINTS, .seconds = seconds, .bytes = bytes, .weight = 524288.0};
        for (int slot = 0; slot < SLOTS; slot++) {
            input.born_window += live[slot] > start + 300 ? 524288.0 : 0.0;
            input.born_late += live[slot] > middle + 300 ? 524288.0 : 0.0;
        }
        alarms += rtd_trend_of(&input).growing;
    }
    print_message("false alarms over steady churn: %d of %d\n", alarms, (int)RUNS);
    assert_true(alarms <= RUNS / 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leak_grows_at_its_rate),
        cmocka_unit_test(a_leak_on_a_large_base_grows_but_has_not_doubled),
        cmocka_unit_test(what_was_loaded_after_an_empty_start_has_not_doubled),
        cmocka_unit_test(what_grows_from_nothing_has_doubled_but_no_level_has),
        cmocka_unit_test(a_level_that_stood_and_doubled_is_told),
        cmocka_unit_test(a_level_of_a_few_samples_is_none),
        cmocka_unit_test(a_level_of_a_few_blocks_is_none),
        cmocka_unit_test(a_short_life_has_not_doubled),
        cmocka_unit_test(a_leak_that_begins_late_is_found),
        cmocka_unit_test(a_leak_under_a_sawtooth_is_found),
        cmocka_unit_test(steady_programs_do_not_grow),
        cmocka_unit_test(growth_of_a_few_samples_is_noise),
        cmocka_unit_test(less_than_ten_seconds_are_no_window),
        cmocka_unit_test(doubling_again_and_again_is_exponential),
        cmocka_unit_test(churn_in_equilibrium_is_rarely_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
