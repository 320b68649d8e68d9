// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_series_test.c - the bounded series of live bytes per site.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  an image and a series
 * Fails:      by a failed assertion
 */
#include "analyze_image.h"

/* Sets the live blocks of the image: count[i] blocks of one byte less than 4 KiB at site i + 1. */
static void set_live(struct made *made, const uint32_t *count, uint32_t sites)
{
    made->image->sample_count = 0;
    for (uint32_t i = 0; i < sites; i++) {
        for (uint32_t j = 0; j < count[i]; j++) {
            struct rtd_image_sample *sample = &made->image->samples[made->image->sample_count++];
            sample->size = 4096;
            sample->interval = 1;
            sample->site = i + 1;
        }
    }
}

static void points_stay_even_and_span_the_whole_time(void **state)
{
    (void)state;
    struct made made = made_new(1);
    struct rtd_site_series *series = &made.record->series;
    made_site(&made, RTD_ROOT_COUNT + 7, 0);
    for (uint32_t tick = 0; tick < 5000; tick++) {
        const uint32_t count = tick / 10;
        made.image->clock_ms = 500 + tick * 1000;
        set_live(&made, &count, 1);
        assert_int_equal(rtd_series_add(series, made.image), 0);
        assert_true(series->point_count <= RTD_SERIES_POINTS);
        if (tick == 200)
            assert_true(series->point_count >= RTD_SERIES_POINTS / 2);
    }
    assert_int_equal(series->times_ms[0], 500);
    assert_true(series->point_count >= RTD_SERIES_POINTS / 2);
    const uint64_t step = series->times_ms[1] - series->times_ms[0];
    for (uint32_t i = 1; i < series->point_count; i++)
        assert_in_range(series->times_ms[i] - series->times_ms[i - 1], step - step / 16 - 1000,
                        step + step / 16 + 1000);
    assert_true(series->times_ms[series->point_count - 1] + 2 * step >= made.image->clock_ms);
    for (uint32_t i = 0; i < series->point_count; i++) {
        const double tick = (double)(series->times_ms[i] - 500) / 1000.0;
        const double expected = 4096.0 * (double)(uint32_t)(tick / 10.0);
        assert_true((double)series->rows[0].live_bytes[i] == expected);
    }
    made_free(&made);
}

static void a_site_that_comes_late_was_zero_before(void **state)
{
    (void)state;
    struct made made = made_new(1);
    struct rtd_site_series *series = &made.record->series;
    made_site(&made, RTD_ROOT_COUNT + 1, 0);
    made_site(&made, RTD_ROOT_COUNT + 2, 3);
    for (uint32_t tick = 0; tick < 10; tick++) {
        const uint32_t count[] = {5, tick < 6 ? 0 : tick};
        made.image->clock_ms = tick * 1000;
        set_live(&made, count, 2);
        assert_int_equal(rtd_series_add(series, made.image), 0);
    }
    assert_int_equal(series->row_count, 2);
    assert_int_equal(series->rows[1].tag, 3);
    assert_true(series->rows[1].live_bytes[5] == 0.0F);
    assert_true(series->rows[1].live_bytes[6] == 6.0F * 4096.0F);
    made_free(&made);
}

static void the_sites_that_held_most_keep_their_rows(void **state)
{
    (void)state;
    enum { SITES = RTD_SERIES_ROWS + 20 };
    struct made made = made_new(1);
    struct rtd_site_series *series = &made.record->series;
    struct rtd_image_site *sites = calloc(SITES + 1, sizeof *sites);
    struct rtd_image_site *const few = made.image->sites;
    uint32_t count[SITES];
    assert_non_null(sites);
    made.image->sites = sites;
    made.image->site_count = SITES + 1;
    for (uint32_t i = 0; i < SITES; i++) {
        sites[i + 1].stack = RTD_ROOT_COUNT + i;
        /* The last twenty are larger than any before, site 3 is the smallest of all. */
        count[i] = i == 3 ? 1 : i < RTD_SERIES_ROWS ? 2 + i % 50 : 0;
    }
    set_live(&made, count, SITES);
    assert_int_equal(rtd_series_add(series, made.image), 0);
    for (uint32_t i = RTD_SERIES_ROWS; i < SITES; i++)
        count[i] = 70;
    made.image->clock_ms = 5000;
    set_live(&made, count, SITES);
    assert_int_equal(rtd_series_add(series, made.image), 0);
    assert_int_equal(series->row_count, RTD_SERIES_ROWS);
    uint32_t large = 0;
    for (uint32_t i = 0; i < series->row_count; i++) {
        assert_true(series->rows[i].stack != RTD_ROOT_COUNT + 3);
        large += series->rows[i].live_bytes[1] == 70.0F * 4096.0F;
    }
    assert_int_equal(large, 20);
    made.image->sites = few;
    free(sites);
    made_free(&made);
}

static void a_clock_that_stands_or_goes_back_adds_nothing(void **state)
{
    (void)state;
    struct made made = made_new(1);
    struct rtd_site_series *series = &made.record->series;
    made.image->clock_ms = 10000;
    for (int i = 0; i < 3; i++)
        assert_int_equal(rtd_series_add(series, made.image), 0);
    made.image->clock_ms = 5000;
    assert_int_equal(rtd_series_add(series, made.image), 0);
    assert_int_equal(series->point_count, 1);
    made_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_stay_even_and_span_the_whole_time),
        cmocka_unit_test(a_site_that_comes_late_was_zero_before),
        cmocka_unit_test(the_sites_that_held_most_keep_their_rows),
        cmocka_unit_test(a_clock_that_stands_or_goes_back_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
