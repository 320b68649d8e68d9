// SPDX-License-Identifier: Apache-2.0
/*
 * manager_alerts_test.c - every way into an episode, through it and out of it.
 *
 * Runs in:    tests
 * Threads:    one, and a reader in one test
 * Allocates:  the alerts
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "manager/manager_alerts.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { HEARD_MAX = 64, MB = 1 << 20 };

static const double UNKNOWN = (double)NAN;

/* What the callback heard, in order. */
struct heard {
    unsigned count;
    struct riptide_alert alerts[HEARD_MAX];
    char component[HEARD_MAX][64], reason[HEARD_MAX][256];
    struct rtd_manager_alerts *alerts_in_use; /* asked again from inside the callback */
    unsigned in_force[HEARD_MAX];             /* what it answered */
    unsigned feed_again;                      /* so many times */
};

static struct heard heard;

static struct rtd_alert_input input(double pressure, double growth)
{
    static uint64_t now_ns = 1000;
    now_ns += 1000;
    return (struct rtd_alert_input){
        .now_ns = now_ns,
        .pressure = pressure,
        .growth_mb_per_hour = growth,
        .component = "parser",
        .rss_bytes = 900ull * MB,
        .limit_bytes = 1000ull * MB,
    };
}

static void listen(const struct riptide_alert *alert, void *context)
{
    struct heard *const out = context;
    struct rtd_alert_list list;
    assert_true(out->count < HEARD_MAX);
    out->alerts[out->count] = *alert;
    snprintf(out->component[out->count], sizeof out->component[0], "%s", alert->component);
    snprintf(out->reason[out->count], sizeof out->reason[0], "%s", alert->reason);
    out->in_force[out->count] = rtd_manager_alerts_list(out->alerts_in_use, &list);
    out->count++;
    if (out->feed_again) {
        const struct rtd_alert_input same = input(alert->value, 0);
        out->feed_again--;
        rtd_manager_alerts_feed(out->alerts_in_use, &same);
    }
}

static int open_defaults(void **state)
{
    heard = (struct heard){0};
    heard.alerts_in_use = rtd_manager_alerts_new(NULL, listen, &heard, NULL);
    *state = heard.alerts_in_use;
    return *state ? 0 : -1;
}

static int close_all(void **state)
{
    rtd_manager_alerts_free(*state);
    return 0;
}

static unsigned feed(struct rtd_manager_alerts *alerts, double pressure, double growth)
{
    const struct rtd_alert_input now = input(pressure, growth);
    return rtd_manager_alerts_feed(alerts, &now);
}

static void assert_heard(unsigned index, uint32_t kind, uint32_t level, bool begins)
{
    assert_true(index < heard.count);
    assert_int_equal(heard.alerts[index].kind, kind);
    assert_int_equal(heard.alerts[index].level, level);
    assert_int_equal(heard.alerts[index].begins, begins);
}

static uint32_t level_in_force(struct rtd_manager_alerts *alerts, uint32_t kind)
{
    struct rtd_alert_list list;
    rtd_manager_alerts_list(alerts, &list);
    for (unsigned i = 0; i < list.count; i++)
        if (list.states[i].kind == kind)
            return list.states[i].level;
    return 0;
}

static void an_episode_is_told_once_and_its_end_once(void **state)
{
    for (unsigned i = 0; i < 5; i++)
        feed(*state, 0.75, 0);
    assert_int_equal(heard.count, 1);
    assert_heard(0, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_HIGH, true);
    assert_float_equal(heard.alerts[0].threshold, 0.7, 0);
    assert_float_equal(heard.alerts[0].value, 0.75, 0);
    for (unsigned i = 0; i < 5; i++)
        feed(*state, 0.3, 0);
    assert_int_equal(heard.count, 2);
    assert_heard(1, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_HIGH, false);
    assert_true(heard.alerts[1].since_ns == heard.alerts[0].timestamp_ns);
    assert_true(heard.alerts[1].timestamp_ns > heard.alerts[1].since_ns);
    feed(*state, 0.75, 0);
    assert_int_equal(heard.count, 3);
    assert_true(heard.alerts[2].since_ns == heard.alerts[2].timestamp_ns);
}

static void a_figure_at_its_threshold_is_no_alert(void **state)
{
    assert_int_equal(feed(*state, 0.7, 50), 0);
    assert_int_equal(feed(*state, nextafter(0.7, 1), nextafter(50, 51)), 2);
}

static void a_rise_to_critical_is_told_once_and_a_fall_to_high_is_not(void **state)
{
    feed(*state, 0.75, 0);
    feed(*state, 0.85, 0);
    feed(*state, 0.99, 0);
    assert_int_equal(heard.count, 2);
    assert_heard(1, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_CRITICAL, true);
    assert_float_equal(heard.alerts[1].threshold, 0.8, 0);
    assert_true(heard.alerts[1].since_ns == heard.alerts[0].since_ns);
    feed(*state, 0.72, 0);
    assert_int_equal(level_in_force(*state, RTD_ALERT_PRESSURE), RTD_ALERT_CRITICAL);
    feed(*state, 0.72, 0);
    assert_int_equal(level_in_force(*state, RTD_ALERT_PRESSURE), RTD_ALERT_HIGH);
    assert_int_equal(heard.count, 2);
    feed(*state, 0.81, 0);
    assert_int_equal(heard.count, 3);
    assert_heard(2, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_CRITICAL, true);
}

static void critical_at_once_is_one_alert(void **state)
{
    assert_int_equal(feed(*state, 0.9, 0), 1);
    assert_heard(0, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_CRITICAL, true);
    feed(*state, 0.1, 0);
    feed(*state, 0.1, 0);
    assert_int_equal(heard.count, 2);
    assert_heard(1, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_CRITICAL, false);
    assert_int_equal(heard.in_force[1], 0);
}

static void a_flapping_figure_is_one_episode(void **state)
{
    for (unsigned i = 0; i < 100; i++) {
        feed(*state, 0.71, 0);
        feed(*state, 0.68, 0); /* less, but more than 95 % of it */
        feed(*state, 0.68, 0);
        feed(*state, 0.68, 0);
    }
    assert_int_equal(heard.count, 1);
    for (unsigned i = 0; i < 100; i++) {
        feed(*state, 0.71, 0);
        feed(*state, 0.1, 0); /* once is not twice */
    }
    assert_int_equal(heard.count, 1);
    assert_int_equal(feed(*state, 0.1, 0), 1);
}

static void a_level_flaps_without_news_either(void **state)
{
    for (unsigned i = 0; i < 100; i++) {
        feed(*state, 0.81, 0);
        feed(*state, 0.79, 0);
        feed(*state, 0.72, 0);
    }
    assert_int_equal(heard.count, 1);
}

static void two_low_checks_must_be_low_for_the_same_level(void **state)
{
    feed(*state, 0.9, 0);
    feed(*state, 0.72, 0); /* low for critical only */
    feed(*state, 0.1, 0);  /* the second for critical, the first for high */
    assert_int_equal(heard.count, 1);
    assert_int_equal(level_in_force(*state, RTD_ALERT_PRESSURE), RTD_ALERT_HIGH);
    feed(*state, 0.1, 0);
    assert_int_equal(heard.count, 2);
    assert_heard(1, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_HIGH, false);
}

static void growth_names_the_component_and_has_one_level(void **state)
{
    assert_int_equal(feed(*state, 0, 60), 1);
    assert_heard(0, RIPTIDE_ALERT_GROWTH, RIPTIDE_LEVEL_HIGH, true);
    assert_string_equal(heard.component[0], "parser");
    assert_non_null(strstr(heard.reason[0], "parser"));
    assert_non_null(strstr(heard.reason[0], "60 MB per hour"));
    assert_int_equal(feed(*state, 0, 1e9), 0);
    feed(*state, 0, -1e9);
    assert_int_equal(feed(*state, 0, -3), 1);
    assert_heard(1, RIPTIDE_ALERT_GROWTH, RIPTIDE_LEVEL_HIGH, false);
    assert_float_equal(heard.alerts[1].value, -3, 0);
}

static void both_kinds_are_episodes_of_their_own(void **state)
{
    struct rtd_alert_list list;
    assert_int_equal(feed(*state, 0.9, 60), 2);
    assert_heard(0, RIPTIDE_ALERT_PRESSURE, RIPTIDE_LEVEL_CRITICAL, true);
    assert_heard(1, RIPTIDE_ALERT_GROWTH, RIPTIDE_LEVEL_HIGH, true);
    assert_string_equal(heard.component[0], "");
    assert_int_equal(rtd_manager_alerts_list(*state, &list), 2);
    assert_int_equal(list.states[0].kind, RTD_ALERT_PRESSURE);
    assert_int_equal(list.states[1].kind, RTD_ALERT_GROWTH);
    assert_string_equal(list.states[1].component, "parser");
    assert_float_equal(list.states[1].threshold, 50, 0);
    feed(*state, 0.9, 0);
    assert_int_equal(feed(*state, 0.9, 0), 1);
    assert_int_equal(rtd_manager_alerts_list(*state, &list), 1);
    assert_int_equal(list.states[0].kind, RTD_ALERT_PRESSURE);
}

static void figures_that_are_not_known_change_nothing(void **state)
{
    const double unknown[] = {UNKNOWN, HUGE_VAL, -HUGE_VAL};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(feed(*state, unknown[i], unknown[i]), 0);
    assert_int_equal(feed(*state, 0.9, 60), 2);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(feed(*state, unknown[i % 3], unknown[i % 3]), 0);
    assert_int_equal(level_in_force(*state, RTD_ALERT_PRESSURE), RTD_ALERT_CRITICAL);
    /* One low check before and one after what was not known are two in a row. */
    assert_int_equal(feed(*state, 0.1, 0), 0);
    assert_int_equal(feed(*state, UNKNOWN, UNKNOWN), 0);
    assert_int_equal(feed(*state, 0.1, 0), 2);
}

static void a_clock_that_steps_back_takes_the_beginning_along(void **state)
{
    struct rtd_alert_input now = input(0.9, 0);
    now.now_ns = 5000000;
    rtd_manager_alerts_feed(*state, &now);
    now.now_ns = 1000000;
    now.pressure = 0.1;
    rtd_manager_alerts_feed(*state, &now);
    now.now_ns = 2000000;
    rtd_manager_alerts_feed(*state, &now);
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard.alerts[1].since_ns, 1000000);
    assert_int_equal(heard.alerts[1].timestamp_ns, 2000000);
}

static void the_callback_may_ask_and_feed_again(void **state)
{
    heard.feed_again = 3;
    assert_int_equal(feed(*state, 0.9, 0), 1);
    assert_int_equal(heard.count, 1); /* the same figure again is no news */
    assert_int_equal(heard.feed_again, 2);
    assert_int_equal(heard.in_force[0], 1);
    heard.feed_again = 1;
    feed(*state, 0.1, 0);
    assert_int_equal(feed(*state, 0.1, 0), 1);
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard.in_force[1], 0);
}

static void without_a_callback_alerts_are_still_in_force(void **state)
{
    (void)state;
    struct rtd_manager_alerts *const quiet = rtd_manager_alerts_new(NULL, NULL, NULL, NULL);
    assert_int_equal(feed(quiet, 0.9, 60), 2);
    assert_int_equal(level_in_force(quiet, RTD_ALERT_GROWTH), RTD_ALERT_HIGH);
    rtd_manager_alerts_free(quiet);
    rtd_manager_alerts_free(NULL);
    struct rtd_alert_list list;
    assert_int_equal(rtd_manager_alerts_list(NULL, &list), 0);
}

static void thresholds_are_the_callers(void **state)
{
    (void)state;
    const struct riptide_thresholds odd = {
        .size = sizeof odd,
        .pressure_high = 0.9, /* above the one for critical */
        .pressure_alert = 0.5,
        .growth_alert_mb_per_hour = 0,
    };
    struct rtd_manager_alerts *alerts = rtd_manager_alerts_new(&odd, NULL, NULL, NULL);
    assert_int_equal(feed(alerts, 0.6, 0.001), 2);
    assert_int_equal(level_in_force(alerts, RTD_ALERT_PRESSURE), RTD_ALERT_CRITICAL);
    feed(alerts, 0.2, 0);
    assert_int_equal(feed(alerts, 0.2, 0), 2);
    rtd_manager_alerts_free(alerts);
    const struct riptide_thresholds never = {
        .size = sizeof never,
        .pressure_high = UNKNOWN,
        .pressure_alert = HUGE_VAL,
        .growth_alert_mb_per_hour = UNKNOWN,
    };
    alerts = rtd_manager_alerts_new(&never, NULL, NULL, NULL);
    assert_int_equal(feed(alerts, 1, 1e300), 0);
    rtd_manager_alerts_free(alerts);
}

static void huge_figures_and_long_names_are_said_in_one_sentence(void **state)
{
    char name[5000];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    struct rtd_alert_input now = input(1e300, 1e300);
    now.component = name;
    now.rss_bytes = RIPTIDE_UNAVAILABLE;
    assert_int_equal(rtd_manager_alerts_feed(*state, &now), 2);
    assert_int_equal(strlen(heard.component[1]), 59);
    assert_null(strstr(heard.reason[0], "resident"));
    assert_true(heard.reason[1][strlen(heard.reason[1]) - 1] == '.');
    now = input(0.9, 60);
    now.component = NULL;
    assert_int_equal(rtd_manager_alerts_feed(*state, &now), 0);
}

struct reader {
    struct rtd_manager_alerts *alerts;
    _Atomic bool stop;
};

static void *read_on(void *context)
{
    struct reader *const reader = context;
    while (!atomic_load(&reader->stop)) {
        struct rtd_alert_list list;
        rtd_manager_alerts_list(reader->alerts, &list);
        for (unsigned i = 0; i < list.count; i++)
            if (list.states[i].level == 0 || list.states[i].threshold <= 0)
                return reader;
    }
    return NULL;
}

static void another_thread_may_ask_meanwhile(void **state)
{
    (void)state;
    pthread_t thread;
    void *wrong;
    struct reader reader = {.alerts = rtd_manager_alerts_new(NULL, NULL, NULL, NULL)};
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (unsigned i = 0; i < 20000; i++)
        feed(reader.alerts, (i / 3) % 2 ? 0.9 : 0.1, (i / 4) % 2 ? 60 : 0);
    atomic_store(&reader.stop, true);
    pthread_join(thread, &wrong);
    assert_null(wrong);
    rtd_manager_alerts_free(reader.alerts);
}

#define ALERTS_TEST(name) cmocka_unit_test_setup_teardown(name, open_defaults, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALERTS_TEST(an_episode_is_told_once_and_its_end_once),
        ALERTS_TEST(a_figure_at_its_threshold_is_no_alert),
        ALERTS_TEST(a_rise_to_critical_is_told_once_and_a_fall_to_high_is_not),
        ALERTS_TEST(critical_at_once_is_one_alert),
        ALERTS_TEST(a_flapping_figure_is_one_episode),
        ALERTS_TEST(a_level_flaps_without_news_either),
        ALERTS_TEST(two_low_checks_must_be_low_for_the_same_level),
        ALERTS_TEST(growth_names_the_component_and_has_one_level),
        ALERTS_TEST(both_kinds_are_episodes_of_their_own),
        ALERTS_TEST(figures_that_are_not_known_change_nothing),
        ALERTS_TEST(a_clock_that_steps_back_takes_the_beginning_along),
        ALERTS_TEST(the_callback_may_ask_and_feed_again),
        ALERTS_TEST(without_a_callback_alerts_are_still_in_force),
        ALERTS_TEST(thresholds_are_the_callers),
        ALERTS_TEST(huge_figures_and_long_names_are_said_in_one_sentence),
        ALERTS_TEST(another_thread_may_ask_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
