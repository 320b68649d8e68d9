// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_forecast_test.c - when a growing process reaches its limit.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  a process record
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_forecast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

enum { POINTS = 100, SERIES = 1000 };

static uint64_t seed = 0x9e3779b97f4a7c15u;

static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(2 * 3.141592653589793 * uniform());
}

/* How many of SERIES intervals hold the slope, with noise whose neighbours are alike by r. */
static unsigned coverage(double slope, double noise, double r)
{
    double seconds[POINTS], bytes[POINTS];
    unsigned held = 0;

    for (int series = 0; series < SERIES; series++) {
        double error = normal();
        for (int i = 0; i < POINTS; i++) {
            error = r * error + sqrt(1 - r * r) * normal();
            seconds[i] = i;
            bytes[i] = 1e8 + slope * i + noise * error;
        }
        struct rtd_slope found;
        assert_true(rtd_forecast_slope(seconds, bytes, POINTS, &found));
        assert_true(found.low <= found.value && found.value <= found.high);
        held += found.low <= slope && slope <= found.high;
    }
    return held;
}

static void the_interval_holds_the_slope_as_often_as_it_says(void **state)
{
    (void)state;
    const unsigned independent = coverage(1e4, 1e5, 0);
    assert_in_range(independent, 930, 975);
    /* Alike neighbours are estimated from the series itself, which is a little too sure. */
    assert_in_range(coverage(1e4, 1e5, 0.5), 900, 985);
}

static struct rtd_process_record *a_process(double bytes_per_second, double noise)
{
    struct rtd_process_record *const record = calloc(1, sizeof(*record));
    assert_non_null(record);
    record->memory.valid = true;
    record->memory.limit_bytes = 1000 * MIB;
    record->point_count = 200;
    for (uint32_t i = 0; i < record->point_count; i++) {
        record->points[i].time_ms = 1000 * i;
        record->points[i].rss_bytes =
            (uint64_t)(100.0 * MIB + bytes_per_second * i + noise * normal());
    }
    record->memory.rss_bytes = record->points[199].rss_bytes;
    record->memory.pressure = (double)record->memory.rss_bytes / (1000.0 * MIB);
    return record;
}

static void a_growing_process_reaches_its_limit_in_time(void **state)
{
    struct rtd_process_record *const record = a_process(1.0 * MIB, 1e5);
    struct rtd_forecast forecast;
    (void)state;

    rtd_forecast_make(record, 1, &forecast);
    assert_true(forecast.known);
    const double truth = (1000 - 299) / 1.0;
    assert_true(forecast.low_seconds <= forecast.seconds);
    assert_true(forecast.seconds <= forecast.high_seconds);
    assert_true(fabs(forecast.seconds - truth) < 5);
    assert_string_equal(forecast.reason, "");
    free(record);
}

/* No forecast for that record, for this reason. Frees it. */
static void assert_none(struct rtd_process_record *record, const char *reason)
{
    struct rtd_forecast forecast;
    rtd_forecast_make(record, 1, &forecast);
    assert_false(forecast.known);
    assert_non_null(strstr(forecast.reason, reason));
    free(record);
}

static void what_does_not_grow_has_no_forecast(void **state)
{
    (void)state;
    assert_none(a_process(-1e5, 1e4), "does not grow");

    struct rtd_process_record *const flat = a_process(0, 0);
    assert_none(flat, "does not grow");

    struct rtd_process_record *const saw = a_process(0, 0);
    for (uint32_t i = 0; i < saw->point_count; i++)
        saw->points[i].rss_bytes = 100 * MIB + i % 40 * MIB;
    assert_none(saw, "not certain");

    /* All growth is in the start: the rest of the time is what counts. */
    struct rtd_process_record *const start = a_process(0, 1e5);
    for (uint32_t i = 0; i < 40; i++)
        start->points[i].rss_bytes = (i + 1) * 2 * MIB;
    struct rtd_forecast forecast;
    rtd_forecast_make(start, 1, &forecast);
    assert_true(!forecast.known || forecast.low_seconds > 3600);
    free(start);
}

static void what_is_not_known_is_said(void **state)
{
    struct rtd_process_record *record = a_process(1.0 * MIB, 0);
    (void)state;

    record->memory.limit_bytes = 0;
    assert_none(record, "no limit");
    record = a_process(1.0 * MIB, 0);
    record->point_count = 5;
    assert_none(record, "long enough");
    record = a_process(1.0 * MIB, 0);
    record->meta.ended_unix_ns = 1;
    assert_none(record, "has ended");
    record = a_process(1.0, 0);
    assert_none(record, "30 days");
}

static void clocks_that_step_and_points_without_a_figure_do_no_harm(void **state)
{
    struct rtd_process_record *record = a_process(1.0 * MIB, 0);
    struct rtd_forecast forecast;
    (void)state;

    for (uint32_t i = 100; i < 110; i++)
        record->points[i].time_ms = 0;
    record->points[120].rss_bytes = 0;
    rtd_forecast_make(record, 1, &forecast);
    assert_true(forecast.known && isfinite(forecast.high_seconds));
    for (uint32_t i = 0; i < record->point_count; i++)
        record->points[i].time_ms = 7;
    assert_none(record, "long enough");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_interval_holds_the_slope_as_often_as_it_says),
        cmocka_unit_test(a_growing_process_reaches_its_limit_in_time),
        cmocka_unit_test(what_does_not_grow_has_no_forecast),
        cmocka_unit_test(what_is_not_known_is_said),
        cmocka_unit_test(clocks_that_step_and_points_without_a_figure_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
