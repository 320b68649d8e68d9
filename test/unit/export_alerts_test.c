// SPDX-License-Identifier: Apache-2.0
/*
 * export_alerts_test.c - alerts in force, on the faces of a report.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  yes
 * Fails:      by an assertion
 */
// clang-format off
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "export/export_alerts.h"
#include "export/export_report.h"

#include <stdlib.h>
#include <string.h>

static const struct rtd_alert_list BOTH = {
    .count = 2,
    .states = {{RTD_ALERT_PRESSURE, RTD_ALERT_CRITICAL, 0.875, 0.75, 1500000000000000000u, ""},
               {RTD_ALERT_GROWTH, RTD_ALERT_HIGH, 64, 50, 1500000000000000000u, "a\"b"}},
};

typedef void (*face)(struct rtd_buffer *out, const struct rtd_report *report);

/* A report without a process, as each face shows it. */
static char *shown(face show, const struct rtd_alert_list *alerts)
{
    struct rtd_buffer buffer;
    size_t length = 0;
    const struct rtd_report_input input = {.complete = true, .alerts = alerts};
    struct rtd_report *const report = rtd_report_new(&input);
    assert_non_null(report);
    rtd_buffer_init(&buffer);
    show(&buffer, report);
    rtd_report_free(report);
    char *const text = rtd_buffer_take(&buffer, &length);
    assert_non_null(text);
    return text;
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static void the_report_lists_what_is_in_force(void **state)
{
    (void)state;
    char *const text = shown(rtd_export_report_json, &BOTH);
    assert_contains(text, "\"alerts\":[{\"kind\":\"pressure\",\"level\":\"critical\","
                          "\"value\":0.875,\"threshold\":0.75,\"since\":\"2017-07-14T02:40:00");
    assert_contains(text, "\"component\":null}");
    assert_contains(text, "\"kind\":\"growth\",\"level\":\"high\",\"value\":64,");
    assert_contains(text, "\"component\":\"a\\\"b\"}");
    free(text);
}

static void the_exposition_has_every_series_whatever_is_in_force(void **state)
{
    (void)state;
    static const struct rtd_alert_list none = {0};
    char *text = shown(rtd_export_prometheus, &BOTH);
    assert_contains(text, "riptide_alert_active{kind=\"pressure\",level=\"high\"} 0\n");
    assert_contains(text, "riptide_alert_active{kind=\"pressure\",level=\"critical\"} 1\n");
    assert_contains(text, "riptide_alert_active{kind=\"growth\",level=\"high\"} 1\n");
    free(text);
    text = shown(rtd_export_prometheus, &none);
    assert_contains(text, "riptide_alert_active{kind=\"pressure\",level=\"critical\"} 0\n");
    assert_contains(text, "riptide_alert_active{kind=\"growth\",level=\"high\"} 0\n");
    free(text);
    text = shown(rtd_export_report_json, &none);
    assert_contains(text, "\"alerts\":[]");
    free(text);
}

static void where_nobody_watches_nothing_is_said(void **state)
{
    (void)state;
    static const face faces[] = {rtd_export_prometheus, rtd_export_report_json};
    for (unsigned i = 0; i < 2; i++) {
        char *const text = shown(faces[i], NULL);
        assert_null(strstr(text, "alert"));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_report_lists_what_is_in_force),
        cmocka_unit_test(the_exposition_has_every_series_whatever_is_in_force),
        cmocka_unit_test(where_nobody_watches_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
