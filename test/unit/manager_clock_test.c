// SPDX-License-Identifier: Apache-2.0
/*
 * manager_clock_test.c - times of records in services that run for years, and under wall clocks
 * that are set forth and back.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  for the length of a test
 * Fails:      by a failed assertion
 *
 * The program has a clock_gettime() of its own, which passes time as fast as a test wants.
 */
#include "analyze/analyze_series.h"
#include "manager/manager_clock.h"
#include "manager/manager_handle.h"
#include "manager/manager_records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MIB       (UINT64_C(1) << 20)
#define SECOND_NS UINT64_C(1000000000)
#define DAY_MS    UINT64_C(86400000)
#define DAY_NS    (86400 * SECOND_NS)
#define TODAY_NS  (UINT64_C(1700000000) * SECOND_NS)

static uint64_t monotonic_ns, wall_ns;

int clock_gettime(clockid_t which, struct timespec *out)
{
    const bool is_wall = which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE;
    const uint64_t ns = is_wall ? wall_ns : monotonic_ns;
    *out = (struct timespec){(time_t)(ns / SECOND_NS), (long)(ns % SECOND_NS)};
    return 0;
}

static void pass(uint64_t ns)
{
    monotonic_ns += ns;
    wall_ns += ns;
}

struct stage {
    struct riptide_manager manager;
    struct rtd_image *image;
};

static void set_up(struct stage *stage, uint64_t unix_ns)
{
    memset(stage, 0, sizeof *stage);
    monotonic_ns = 5 * SECOND_NS;
    wall_ns = unix_ns;
    stage->manager.records = rtd_records_new(10 * MIB, NULL);
    stage->image = rtd_image_new();
    assert_non_null(stage->manager.records);
    assert_non_null(stage->image);
}

static void tear_down(struct stage *stage)
{
    rtd_image_free(stage->image);
    rtd_records_free(stage->manager.records);
}

static const struct rtd_image *image_of(struct stage *stage)
{
    assert_int_equal(rtd_records_image(stage->manager.records, 0, stage->image), 0);
    return stage->image;
}

/* Records with a stack of one function of the component's name. */
static void record(struct stage *stage, const char *component, uintptr_t address, uint64_t unix_ns)
{
    const struct riptide_allocation allocation = {
        .size = sizeof allocation,
        .timestamp_ns = unix_ns,
        .size_bytes = 100,
        .address = (void *)address,
        .component = component,
        .operation = "op",
        .stack_trace = &component,
        .stack_count = 1,
    };
    assert_int_equal(riptide_record_allocation(&stage->manager, &allocation), 0);
}

static void release(struct stage *stage, uintptr_t address)
{
    assert_int_equal(riptide_release_block(&stage->manager, (void *)address), 0);
}

static const struct rtd_image_sample *sample_at(const struct rtd_image *image, uintptr_t address)
{
    for (uint32_t i = 0; i < image->sample_count; i++) {
        if (image->samples[i].address == address)
            return &image->samples[i];
    }
    assert_non_null(NULL);
    abort();
}

/* The site with the component's stack. */
static const struct rtd_image_site *site_of(const struct rtd_image *image, const char *component)
{
    for (uint32_t i = 1; i < image->site_count; i++) {
        if (image->sites[i].stack != 0 &&
            strcmp(image->tags[image->sites[i].tag].component, component) == 0)
            return &image->sites[i];
    }
    assert_non_null(NULL);
    abort();
}

static uint64_t unix_of(const struct rtd_image *image, uint64_t ms)
{
    return image->created_unix_ns + ms * 1000000;
}

/* ---- stamps ---- */

static void stamps_order_as_times_do_and_end_after_seventeen_years(void **state)
{
    (void)state;
    static const uint64_t times[] = {
        0,           1,           999,          24 * DAY_MS,   RTD_STAMP_FINE - 1, RTD_STAMP_FINE,
        25 * DAY_MS, 50 * DAY_MS, 400 * DAY_MS, 6000 * DAY_MS, 7000 * DAY_MS,      UINT64_MAX};
    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++) {
        const uint32_t stamp = rtd_stamp_of(times[i]);
        const uint64_t back = rtd_stamp_ms(stamp);
        assert_true(back <= times[i]);
        assert_int_equal(rtd_stamp_of(back), stamp);
        if (times[i] < RTD_STAMP_FINE)
            assert_int_equal(back, times[i]);
        else if (times[i] <= 6000 * DAY_MS)
            assert_true(times[i] - back < RTD_STAMP_UNIT_MS);
        else
            assert_int_equal(stamp, RTD_STAMP_MAX);
        assert_true(i == 0 || stamp >= rtd_stamp_of(times[i - 1]));
    }
    assert_true(rtd_stamp_ms(RTD_STAMP_MAX) > 17 * 365 * DAY_MS);
}

/* ---- wall clocks that are set ---- */

static void a_wall_clock_that_is_set_bends_no_series_and_no_age(void **state)
{
    (void)state;
    static const int64_t steps_s[] = {-3600, 3600, 50 * 86400, 1000000000};
    for (unsigned i = 0; i < sizeof steps_s / sizeof steps_s[0]; i++) {
        struct stage stage;
        struct rtd_site_series series = {0};
        set_up(&stage, TODAY_NS);
        pass(10 * SECOND_NS);
        record(&stage, "old", 0x1000, 0);
        assert_int_equal(rtd_series_add(&series, image_of(&stage)), 0);
        wall_ns += (uint64_t)steps_s[i] * SECOND_NS;
        pass(10 * SECOND_NS);
        record(&stage, "new", 0x2000, 0);
        const struct rtd_image *image = image_of(&stage);
        assert_int_equal(image->clock_ms, 20000);
        assert_int_equal(rtd_series_add(&series, image), 0);
        assert_int_equal(series.point_count, 2);
        assert_int_equal(sample_at(image, 0x1000)->birth_ms, 10000);
        assert_int_equal(sample_at(image, 0x2000)->birth_ms, 20000);
        /* Wall times are by the clock as it is now. */
        assert_int_equal(unix_of(image, site_of(image, "new")->last_ms), wall_ns);
        assert_int_equal(unix_of(image, site_of(image, "old")->last_ms), wall_ns - 10 * SECOND_NS);
        pass(300000000);
        release(&stage, 0x2000);
        assert_int_equal(site_of(image_of(&stage), "new")->lifetime[2], 1);
        rtd_series_fini(&series);
        tear_down(&stage);
    }
}

static void clean_up_goes_by_age_whatever_the_wall_clock_did(void **state)
{
    (void)state;
    struct stage stage;
    static const int64_t steps_s[] = {-40000, 40000, 1000000000};
    for (unsigned i = 0; i < sizeof steps_s / sizeof steps_s[0]; i++) {
        set_up(&stage, TODAY_NS);
        pass(100 * SECOND_NS);
        record(&stage, "old", 0x1000, 0);
        record(&stage, "old", 0, 0);
        release(&stage, 0x1000);
        wall_ns += (uint64_t)steps_s[i] * SECOND_NS;
        pass(100 * SECOND_NS);
        record(&stage, "new", 0x2000, 0);
        record(&stage, "new", 0, 0);
        release(&stage, 0x2000);
        struct rtd_records *records = stage.manager.records;
        assert_int_equal(rtd_records_cleanup(records, wall_ns - 150 * SECOND_NS, true, true), 0);
        assert_int_equal(rtd_records_cleanup(records, wall_ns - 50 * SECOND_NS, true, true), 2);
        assert_int_equal(image_of(&stage)->sample_count, 1);
        tear_down(&stage);
    }
}

static void a_time_is_the_same_in_every_report_while_nobody_sets_the_clock(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, TODAY_NS);
    const uint64_t created = image_of(&stage)->created_unix_ns;
    /* The two clocks are read one after the other, and a tick may come in between. */
    for (int i = 0; i < 100; i++) {
        pass(SECOND_NS);
        wall_ns += i % 2 ? 4000000 : (uint64_t)-4000000;
        assert_int_equal(image_of(&stage)->created_unix_ns, created);
    }
    tear_down(&stage);
}

/* ---- years ---- */

static void ages_stay_right_for_years(void **state)
{
    (void)state;
    static const uint64_t days[] = {24, 25, 49, 50, 51, 60, 100, 400, 3000, 6000};
    struct stage stage;
    set_up(&stage, TODAY_NS);
    record(&stage, "first", 0x1000, 0);
    record(&stage, "first", 0, 0);
    for (unsigned i = 0; i < sizeof days / sizeof days[0]; i++) {
        const uint64_t due_ns = TODAY_NS + days[i] * DAY_NS;
        pass(due_ns - wall_ns);
        record(&stage, "again", 0x2000, 0);
        const struct rtd_image *image = image_of(&stage);
        assert_int_equal(image->clock_ms, days[i] * DAY_MS);
        assert_in_range(sample_at(image, 0x2000)->birth_ms, image->clock_ms - 255, image->clock_ms);
        assert_in_range(site_of(image, "again")->last_ms, image->clock_ms - 255, image->clock_ms);
        assert_in_range(site_of(image, "again")->first_ms, 24 * DAY_MS - 255, 24 * DAY_MS);
        assert_int_equal(sample_at(image, 0x1000)->birth_ms, 0);
        assert_int_equal(site_of(image, "first")->last_ms, 0);
        pass(SECOND_NS);
        release(&stage, 0x2000);
        image = image_of(&stage);
        /* A second is seven units, a quarter more or less. */
        assert_int_equal(
            site_of(image, "again")->lifetime[3] + site_of(image, "again")->lifetime[4], i + 1);
    }
    release(&stage, 0x1000);
    assert_int_equal(site_of(image_of(&stage), "first")->lifetime[RTD_LIFETIME_BUCKETS - 1], 1);
    tear_down(&stage);
}

static void clean_up_after_months_drops_what_is_old_and_keeps_what_is_not(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, TODAY_NS);
    pass(70 * DAY_NS);
    record(&stage, "old", 0x1000, 0);
    record(&stage, "old", 0, 0);
    release(&stage, 0x1000);
    pass(2 * DAY_NS);
    record(&stage, "new", 0x2000, 0);
    record(&stage, "new", 0, 0);
    release(&stage, 0x2000);
    pass(SECOND_NS);
    struct rtd_records *records = stage.manager.records;
    assert_int_equal(rtd_records_cleanup(records, wall_ns - 3 * DAY_NS, true, true), 0);
    assert_int_equal(rtd_records_cleanup(records, wall_ns - DAY_NS, true, true), 2);
    assert_int_equal(image_of(&stage)->sample_count, 1);
    (void)site_of(stage.image, "new");
    tear_down(&stage);
}

static void after_twenty_years_times_stand_still_and_nothing_turns_round(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, TODAY_NS);
    pass(20 * 365 * DAY_NS);
    record(&stage, "c", 0x1000, 0);
    pass(40 * DAY_NS);
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(image->clock_ms, (20 * 365 + 40) * DAY_MS);
    assert_int_equal(sample_at(image, 0x1000)->birth_ms, rtd_stamp_ms(RTD_STAMP_MAX));
    assert_int_equal(site_of(image, "c")->first_ms, site_of(image, "c")->last_ms);
    release(&stage, 0x1000);
    assert_int_equal(rtd_records_cleanup(stage.manager.records, wall_ns - DAY_NS, true, true), 0);
    tear_down(&stage);
}

/* ---- stated times ---- */

static void stated_times_that_no_clock_shows_are_moved_to_the_nearest_that_one_does(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, TODAY_NS);
    pass(10 * SECOND_NS);
    record(&stage, "past", 0x1000, 5);
    record(&stage, "soon", 0x2000, wall_ns + 60 * DAY_NS);
    record(&stage, "never", 0x3000, UINT64_MAX / 2);
    record(&stage, "ever", 0x4000, UINT64_MAX);
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(unix_of(image, sample_at(image, 0x1000)->birth_ms), TODAY_NS);
    assert_in_range(sample_at(image, 0x2000)->birth_ms, 60 * DAY_MS + 10000 - 255,
                    60 * DAY_MS + 10000);
    assert_int_equal(sample_at(image, 0x3000)->birth_ms, rtd_stamp_ms(RTD_STAMP_MAX));
    assert_int_equal(sample_at(image, 0x4000)->birth_ms, rtd_stamp_ms(RTD_STAMP_MAX));
    assert_int_equal(site_of(image, "ever")->last_ms, rtd_stamp_ms(RTD_STAMP_MAX));
    release(&stage, 0x4000);
    assert_int_equal(site_of(image_of(&stage), "ever")->lifetime[0], 1);
    tear_down(&stage);
}

static void a_stated_time_comes_back_as_it_was_stated(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, TODAY_NS);
    pass(100 * SECOND_NS);
    /* A board without a battery: its clock is set after the manager was opened. */
    wall_ns += 1000 * DAY_NS;
    const uint64_t stated = wall_ns - 30 * SECOND_NS;
    record(&stage, "c", 0x1000, stated);
    record(&stage, "c", 0, stated);
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(image->sample_count, 2);
    assert_int_equal(unix_of(image, image->samples[0].birth_ms), stated);
    assert_int_equal(unix_of(image, image->samples[1].birth_ms), stated);
    tear_down(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamps_order_as_times_do_and_end_after_seventeen_years),
        cmocka_unit_test(a_wall_clock_that_is_set_bends_no_series_and_no_age),
        cmocka_unit_test(clean_up_goes_by_age_whatever_the_wall_clock_did),
        cmocka_unit_test(a_time_is_the_same_in_every_report_while_nobody_sets_the_clock),
        cmocka_unit_test(ages_stay_right_for_years),
        cmocka_unit_test(clean_up_after_months_drops_what_is_old_and_keeps_what_is_not),
        cmocka_unit_test(after_twenty_years_times_stand_still_and_nothing_turns_round),
        cmocka_unit_test(stated_times_that_no_clock_shows_are_moved_to_the_nearest_that_one_does),
        cmocka_unit_test(a_stated_time_comes_back_as_it_was_stated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
