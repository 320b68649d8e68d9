// SPDX-License-Identifier: Apache-2.0
/*
 * manager_loop_test.c - what a manager does by itself.
 *
 * Runs in:    unit tests
 * Threads:    the managers' own, and some that open and close
 * Allocates:  yes
 * Fails:      by an assertion; what does not happen at all ends in the test's time limit
 */
// clang-format off
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "manager/manager_alerts.h"
#include "manager/manager_loop.h"
#include "riptide/riptide.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OPENERS = 4, CYCLES = 25, POLL_MS = 5, CHECKS_MORE = 20 };

static struct riptide_options quiet_options(void)
{
    struct riptide_options options;

    riptide_options_init(&options);
    options.endpoints = 0;
    options.interval_ms = 10;
    return options;
}

static struct riptide_manager *open_or_fail(const struct riptide_options *options)
{
    int err = 0;
    struct riptide_manager *const manager = riptide_manager_open(options, &err);

    assert_int_equal(err, 0);
    assert_non_null(manager);
    return manager;
}

static void pause_ms(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

/* ---- alerts ---- */

static _Atomic(struct riptide_manager *) alerted;
static atomic_uint begun, ended, wrong;

static void on_alert(const struct riptide_alert *alert, void *context)
{
    char name[16] = "";
    struct riptide_manager *manager = NULL;
    const struct riptide_answer *answer = NULL;
    double pressure = -1;

    if (context != &alerted || alert->kind != RIPTIDE_ALERT_PRESSURE)
        return;
    /* The opener may not have been given it yet. */
    while (!(manager = atomic_load(&alerted)))
        pause_ms(1);
    if (pthread_getname_np(pthread_self(), name, sizeof(name)) != 0 || strcmp(name, "riptide") != 0)
        wrong++;
    if (riptide_answer_get(manager, "/metrics/memory", &answer) != 0 || answer->status != 200)
        wrong++;
    riptide_answer_free(answer);
    if (riptide_memory_pressure(manager, &pressure) != 0 || pressure < 0 ||
        alert->level != RIPTIDE_LEVEL_CRITICAL || alert->rss_bytes == 0)
        wrong++;
    if (alert->begins)
        begun++;
    else
        ended++;
}

static void an_alert_is_heard_once_and_its_hearer_may_ask_the_manager(void **state)
{
    struct riptide_options options = quiet_options();
    struct riptide_thresholds thresholds;

    (void)state;
    riptide_thresholds_init(&thresholds);
    /* Whatever uses memory at all is above these. */
    thresholds.pressure_high = 0;
    thresholds.pressure_alert = 0;
    options.thresholds = &thresholds;
    options.on_alert = on_alert;
    options.alert_context = &alerted;
    struct riptide_manager *const manager = open_or_fail(&options);
    atomic_store(&alerted, manager);
    while (begun == 0)
        pause_ms(POLL_MS);
    for (unsigned i = 0; i < CHECKS_MORE; i++)
        pause_ms(options.interval_ms);
    riptide_manager_close(manager);
    assert_int_equal(wrong, 0);
    assert_int_equal(begun, 1);
    assert_int_equal(ended, 0);
}

/* ---- growth ---- */

/* Two passes in a row that begin from now on and find nothing to look at. */
static uint32_t looks_when_calm(const struct rtd_manager_loop *loop)
{
    const uint32_t skips = atomic_load(&loop->growth_skips);

    while (atomic_load(&loop->growth_skips) - skips < 2)
        pause_ms(POLL_MS);
    return atomic_load(&loop->growth_looks);
}

static void growth_is_looked_at_only_when_something_was_recorded(void **state)
{
    struct riptide_options options = quiet_options();
    static char block[16];

    (void)state;
    struct riptide_manager *const manager = open_or_fail(&options);
    const struct rtd_manager_loop *const loop = manager->loop;
    const uint32_t looks = looks_when_calm(loop);
    assert_true(looks > 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(looks_when_calm(loop), looks);
    const uint32_t tag = riptide_intern(manager, "cache", "fill");
    assert_int_equal(riptide_record_block(manager, tag, block, sizeof(block), 0), 0);
    const uint32_t more = looks_when_calm(loop);
    assert_true(more > looks);
    assert_int_equal(riptide_release_block(manager, block), 0);
    assert_true(looks_when_calm(loop) > more);
    riptide_manager_close(manager);
}

static bool is_growth_in_force(const struct riptide_manager *manager)
{
    struct rtd_alert_list list;
    const unsigned count = rtd_manager_alerts_list(manager->alerts, &list);

    return count > 0 && list.states[count - 1].kind == RTD_ALERT_GROWTH;
}

/* Else its end would never be told. */
static void growth_is_looked_at_while_an_alert_of_it_is_in_force(void **state)
{
    const struct riptide_options options = quiet_options();
    const struct rtd_alert_input grows = {
        .growth_mb_per_hour = 1e6,
        .pressure = (double)NAN,
        .component = "cache",
        .rss_bytes = RIPTIDE_UNAVAILABLE,
        .limit_bytes = RIPTIDE_UNAVAILABLE,
    };

    (void)state;
    struct riptide_manager *const manager = open_or_fail(&options);
    (void)looks_when_calm(manager->loop);
    assert_int_equal(rtd_manager_alerts_feed(manager->alerts, &grows), 1);
    while (is_growth_in_force(manager))
        pause_ms(POLL_MS);
    riptide_manager_close(manager);
}

/* ---- clean-up ---- */

static unsigned sites_with_stack(struct riptide_manager *manager)
{
    struct rtd_report *report = NULL;
    unsigned count = 0;

    assert_int_equal(rtd_manager_report(manager, &report), 0);
    const struct rtd_report_process *const seen = report->target->domains[0].seen;
    for (uint32_t i = 0; i < seen->site_count; i++)
        count += seen->sites[i].frame_count > 0;
    rtd_report_free(report);
    return count;
}

static void places_where_nothing_lives_any_more_go_by_themselves(void **state)
{
    struct riptide_options options = quiet_options();
    struct riptide_record_totals totals = {.size = sizeof(totals)};
    static char gone[10], kept[20];

    (void)state;
    options.cleanup = 0;
    struct riptide_manager *manager = open_or_fail(&options);
    const char *const names[] = {"inner", "outer"};
    const struct riptide_allocation allocation = {.size = sizeof(allocation),
                                                  .size_bytes = sizeof(gone),
                                                  .address = gone,
                                                  .component = "cache",
                                                  .operation = "fill",
                                                  .stack_trace = names,
                                                  .stack_count = 2};
    assert_int_equal(riptide_record_allocation(manager, &allocation), 0);
    assert_int_equal(riptide_release_block(manager, gone), 0);
    assert_int_equal(sites_with_stack(manager), 1);
    riptide_manager_close(manager);

    /* An hour is a tenth of a second, and so is a day of detail nearly. */
    options.cleanup = 1;
    options.time_scale = 36000;
    options.retention_seconds = 3600;
    manager = open_or_fail(&options);
    assert_int_equal(riptide_record_allocation(manager, &allocation), 0);
    assert_int_equal(riptide_record_block(manager, riptide_intern(manager, "cache", "keep"), kept,
                                          sizeof(kept), 0),
                     0);
    assert_int_equal(riptide_release_block(manager, gone), 0);
    while (sites_with_stack(manager) > 0)
        pause_ms(POLL_MS);
    assert_int_equal(riptide_records_read(manager, &totals), 0);
    assert_int_equal(totals.allocations, 2);
    assert_int_equal(totals.live_bytes, sizeof(kept));
    assert_int_equal(riptide_release_block(manager, kept), 0);
    riptide_manager_close(manager);
}

/* ---- the thread ---- */

static void a_long_interval_keeps_nobody_waiting(void **state)
{
    struct riptide_options options = quiet_options();

    (void)state;
    options.interval_ms = UINT32_MAX;
    struct riptide_manager *const manager = open_or_fail(&options);
    pause_ms(POLL_MS);
    riptide_manager_close(manager);
}

static void *opener_main(void *context)
{
    const struct riptide_options options = quiet_options();
    uintptr_t failures = 0;

    (void)context;
    for (unsigned i = 0; i < CYCLES; i++) {
        struct riptide_manager *const manager = riptide_manager_open(&options, NULL);
        const uint32_t tag = riptide_intern(manager, "a", "b");
        struct riptide_record_totals totals = {.size = sizeof(totals)};
        if (riptide_record_bytes(manager, tag, i) != 0 ||
            riptide_records_read(manager, &totals) != 0 || totals.live_bytes != i)
            failures++;
        riptide_manager_close(manager);
    }
    return (void *)failures;
}

static void managers_are_opened_and_closed_by_many_threads(void **state)
{
    pthread_t threads[OPENERS];

    (void)state;
    for (unsigned i = 0; i < OPENERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, opener_main, NULL), 0);
    for (unsigned i = 0; i < OPENERS; i++) {
        void *failures = NULL;
        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
}

/* Points of the series are taken by the thread itself: nobody asks here. */
static void the_series_grows_without_anybody_asking(void **state)
{
    const struct riptide_options options = quiet_options();
    struct riptide_manager *const manager = open_or_fail(&options);
    struct rtd_manager_loop *const loop = manager->loop;
    uint32_t points = 0;

    (void)state;
    while (points < 3) {
        pause_ms(POLL_MS);
        pthread_mutex_lock(&loop->lock);
        points = loop->process->record.point_count;
        pthread_mutex_unlock(&loop->lock);
    }
    riptide_manager_close(manager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alert_is_heard_once_and_its_hearer_may_ask_the_manager),
        cmocka_unit_test(growth_is_looked_at_only_when_something_was_recorded),
        cmocka_unit_test(growth_is_looked_at_while_an_alert_of_it_is_in_force),
        cmocka_unit_test(places_where_nothing_lives_any_more_go_by_themselves),
        cmocka_unit_test(a_long_interval_keeps_nobody_waiting),
        cmocka_unit_test(managers_are_opened_and_closed_by_many_threads),
        cmocka_unit_test(the_series_grows_without_anybody_asking),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
