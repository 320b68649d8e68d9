// SPDX-License-Identifier: Apache-2.0
/*
 * manager_serve_test.c - answers of a manager without a server, and reports from several threads.
 *
 * Runs in:    unit tests
 * Threads:    the managers' own, and askers
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

#include "manager/manager_handle.h"
#include "riptide/riptide.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ORDERED = 200,
    ASKERS = 4,
    QUESTIONS = 10,
    RECORDERS = 2,
    RECORDS = 20000,
    LONG_PATH = 10 * 1024 * 1024
};

static struct riptide_manager *open_quiet(void (*change)(struct riptide_options *options))
{
    struct riptide_options options;
    int err = 0;

    riptide_options_init(&options);
    options.endpoints = 0;
    options.interval_ms = 10;
    if (change)
        change(&options);
    struct riptide_manager *const manager = riptide_manager_open(&options, &err);
    assert_int_equal(err, 0);
    assert_non_null(manager);
    return manager;
}

static const struct riptide_answer *ask(struct riptide_manager *manager, const char *path,
                                        unsigned status)
{
    const struct riptide_answer *answer = NULL;

    assert_int_equal(riptide_answer_get(manager, path, &answer), 0);
    assert_non_null(answer);
    assert_int_equal(answer->size, sizeof(*answer));
    assert_int_equal(answer->status, status);
    assert_non_null(answer->content_type);
    assert_int_equal(strlen(answer->body), answer->body_bytes);
    return answer;
}

static void expect(struct riptide_manager *manager, const char *path, unsigned status,
                   const char *part)
{
    const struct riptide_answer *const answer = ask(manager, path, status);

    if (!strstr(answer->body, part))
        fail_msg("%s: no %s in %s", path, part, answer->body);
    riptide_answer_free(answer);
}

static void every_path_of_the_server_is_answered(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);

    (void)state;
    assert_int_equal(
        riptide_record_bytes(manager, riptide_intern(manager, "extraction", "parse"), 4096), 0);
    expect(manager, "/", 200, "<html");
    expect(manager, "/metrics", 200, "riptide_memory_rss_bytes");
    expect(manager, "/metrics/memory", 200, "\"rss_mb\":");
    expect(manager, "/metrics/leaks", 200, "\"potential_leak_count\":");
    expect(manager, "/metrics/allocations", 200, "[\"extraction\",4096]");
    expect(manager, "/api/v1/report", 200, "\"schema\":\"riptide.report/1\"");
    expect(manager, "/healthz", 200, "ok");
    expect(manager, "/readyz", 200, "ready");
    expect(manager, "/style.css", 200, "{");
    expect(manager, "/page.js", 200, "");
    expect(manager, "/icon.svg", 200, "<svg");
    riptide_manager_close(manager);
}

static void a_path_that_is_unknown_is_answered_404(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);
    char *const path = malloc(LONG_PATH + 1);

    (void)state;
    expect(manager, "", 404, "not found");
    expect(manager, "metrics", 404, "not found");
    expect(manager, "/metrics/", 404, "not found");
    expect(manager, "/METRICS", 404, "not found");
    expect(manager, "/metrics/../healthz", 404, "not found");
    expect(manager, "/\xff\xfe", 404, "not found");
    assert_non_null(path);
    memset(path, '/', LONG_PATH);
    path[LONG_PATH] = '\0';
    expect(manager, path, 404, "not found");
    free(path);
    riptide_manager_close(manager);
}

static void what_stands_behind_a_path_is_left_out(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);

    (void)state;
    expect(manager, "/metrics/memory?pretty=1", 200, "\"rss_mb\":");
    expect(manager, "/healthz#top", 200, "ok");
    riptide_manager_close(manager);
}

static void without_a_path_or_a_place_for_the_answer_it_is_refused(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);
    const struct riptide_answer *answer = NULL;

    (void)state;
    assert_int_equal(riptide_answer_get(manager, NULL, &answer), -EINVAL);
    assert_int_equal(riptide_answer_get(manager, "/", NULL), -EINVAL);
    assert_null(answer);
    riptide_manager_close(manager);
}

static void turn_components_off(struct riptide_options *options)
{
    options->tracker = 0;
    options->leak_detector = 0;
    options->allocation_analyzer = 0;
}

static void a_component_that_is_off_has_no_endpoint_and_no_clean_up(void **state)
{
    struct riptide_manager *const manager = open_quiet(turn_components_off);

    (void)state;
    expect(manager, "/metrics/memory", 404, "not found");
    expect(manager, "/metrics/leaks", 404, "not found");
    expect(manager, "/metrics/allocations", 404, "not found");
    expect(manager, "/metrics", 200, "riptide_");
    assert_int_equal(riptide_cleanup_leaks(manager, 1), RIPTIDE_E_DISABLED);
    assert_int_equal(riptide_cleanup_allocations(manager, 1), RIPTIDE_E_DISABLED);
    riptide_manager_close(manager);
}

static void turn_exporters_off(struct riptide_options *options)
{
    options->exporters = 0;
}

static void without_exporters_prometheus_finds_nothing_and_the_rest_is_there(void **state)
{
    struct riptide_manager *const manager = open_quiet(turn_exporters_off);

    (void)state;
    expect(manager, "/metrics", 404, "not found");
    expect(manager, "/metrics?name=x", 404, "not found");
    expect(manager, "/metrics/memory", 200, "\"rss_mb\":");
    expect(manager, "/metrics/leaks", 200, "\"potential_leak_count\":");
    expect(manager, "/metrics/allocations", 200, "\"top_allocators\":");
    expect(manager, "/api/v1/report", 200, "\"schema\":\"riptide.report/1\"");
    riptide_manager_close(manager);
}

static void the_largest_allocations_have_the_alignment_that_was_recorded(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);
    struct riptide_allocation allocation = {
        .size = sizeof(allocation), .size_bytes = 3000, .alignment = 4096, .component = "pool"};
    const struct riptide_leak_analysis *out = NULL;

    (void)state;
    allocation.address = (void *)0x10000;
    assert_int_equal(riptide_record_allocation(manager, &allocation), 0);
    allocation.size_bytes = 2000;
    allocation.alignment = 64;
    allocation.address = NULL;
    assert_int_equal(riptide_record_allocation(manager, &allocation), 0);
    assert_int_equal(riptide_record_bytes(manager, riptide_intern(manager, "pool", ""), 1000), 0);
    assert_int_equal(riptide_analyze_leaks(manager, &out), 0);
    assert_int_equal(out->largest_count, 3);
    assert_int_equal(out->largest_allocations[0]->alignment, 4096);
    assert_int_equal(out->largest_allocations[1]->alignment, 64);
    assert_int_equal(out->largest_allocations[2]->alignment, 0);
    riptide_leaks_free(out);
    expect(manager, "/metrics/leaks", 200, "\"address\":\"0x10000\",\"alignment\":4096,");
    expect(manager, "/metrics/leaks", 200, "\"address\":null,\"alignment\":64,");
    expect(manager, "/metrics/leaks", 200, "\"address\":null,\"alignment\":null,");
    riptide_manager_close(manager);
}

/* ---- order ---- */

static void check_rarely(struct riptide_options *options)
{
    options->interval_ms = 3600000;
}

/* The number-th record of a set in which everything differs from the one before. */
static void record_one(struct riptide_manager *manager, int gpu, unsigned number)
{
    char component[16], operation[16], inner[16], outer[16];
    const char *const stack[] = {inner, outer, "main"};
    snprintf(component, sizeof(component), "c%u", number * 7 % 5);
    snprintf(operation, sizeof(operation), "o%u", number * 5 % 3);
    snprintf(inner, sizeof(inner), "inner%u", number * 11 % 13);
    snprintf(outer, sizeof(outer), "outer%u", number * 3 % 4);
    const struct riptide_allocation allocation = {
        .size = sizeof(allocation),
        .timestamp_ns = 1, /* all at the opening: what is left of times is one for all */
        .size_bytes = 1000 + number % 40,
        .alignment = UINT64_C(1) << number % 7,
        .address = number % 3 ? (void *)(uintptr_t)(4096 + number * 64) : NULL,
        .tag = number % 4 ? 0 : riptide_domain_intern(manager, gpu, component, operation),
        .component = component,
        .operation = operation,
        .stack_trace = stack,
        .stack_count = number % 5 ? 3 : 0,
    };
    assert_int_equal(riptide_record_allocation(manager, &allocation), 0);
}

/* Leaves out the values of a key, each a number or a flat object. */
static void leave_out(char *text, const char *key)
{
    for (char *at = text; (at = strstr(at, key)) != NULL;) {
        at += strlen(key);
        const char *const rest = at + strcspn(at, *at == '{' ? "}" : ",}");
        memmove(at, rest, strlen(rest) + 1);
    }
}

/* Overwrites times of day, and leaves out the peak's: what was held when somebody looked. */
static void hide_times(char *text)
{
    /* "2026-11-23T10:36:44.123Z" */
    for (char *at = text; (at = strstr(at, "Z\"")) != NULL; at++) {
        if (at - text > 23 && at[-24] == '"' && at[-19] == '-')
            memset(at - 23, '0', 23);
    }
    leave_out(text, "\"peak_seconds\":");
    leave_out(text, "\"peak\":");
}

/* The report's domains after those records in that order, but for its times. */
static char *domains_after(bool backwards)
{
    struct riptide_manager *const manager = open_quiet(check_rarely);
    const int gpu = riptide_domain_open(manager, "gpu");

    for (unsigned i = 0; i < ORDERED; i++)
        record_one(manager, gpu, backwards ? ORDERED - 1 - i : i);
    const struct riptide_answer *const answer = ask(manager, "/api/v1/report", 200);
    const char *const domains = strstr(answer->body, "\"domains\":[{\"name\":\"records\",\"used");
    assert_non_null(domains);
    const char *const end = strstr(domains, ",\"losses\":");
    assert_non_null(end);
    char *const text = strndup(domains, (size_t)(end - domains));
    assert_non_null(text);
    hide_times(text);
    riptide_answer_free(answer);
    riptide_manager_close(manager);
    return text;
}

static void the_same_records_in_another_order_make_the_same_report(void **state)
{
    char *const forwards = domains_after(false), *const backwards = domains_after(true);

    (void)state;
    assert_non_null(strstr(forwards, "\"function\":\"inner12\""));
    assert_non_null(strstr(forwards, "\"offset\":null"));
    assert_non_null(strstr(forwards, "\"alignment\":64"));
    assert_string_equal(forwards, backwards);
    free(forwards);
    free(backwards);
}

static void a_clean_up_asks_for_a_time_and_keeps_what_is_live(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);
    struct riptide_record_totals totals = {.size = sizeof(totals)};
    static char block[64];
    const double none[] = {0, -1, -0.0};

    (void)state;
    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(riptide_cleanup_leaks(manager, none[i]), -EINVAL);
        assert_int_equal(riptide_cleanup_allocations(manager, none[i]), -EINVAL);
    }
    assert_int_equal(riptide_cleanup_leaks(NULL, 1), -EINVAL);
    const uint32_t tag = riptide_intern(manager, "cache", "fill");
    assert_int_equal(riptide_record_block(manager, tag, block, sizeof(block), 0), 0);
    assert_int_equal(riptide_record_bytes(manager, tag, 100), 0);
    assert_true(riptide_cleanup_leaks(manager, 1e-9) >= 0);
    assert_true(riptide_cleanup_allocations(manager, 1e-9) >= 0);
    assert_int_equal(riptide_cleanup_leaks(manager, 1e300), 0);
    assert_int_equal(riptide_records_read(manager, &totals), 0);
    assert_int_equal(totals.live_bytes, sizeof(block) + 100);
    assert_int_equal(riptide_release_block(manager, block), 0);
    riptide_manager_close(manager);
}

/* The report is of the moment it is asked for, not of the last interval. */
static void a_report_holds_what_was_recorded_just_before(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);
    const uint32_t tag = riptide_intern(manager, "a", "b");

    (void)state;
    for (unsigned i = 1; i <= 5; i++) {
        struct rtd_report *report = NULL;
        assert_int_equal(riptide_record_bytes(manager, tag, 10), 0);
        assert_int_equal(rtd_manager_report(manager, &report), 0);
        assert_int_equal(report->target->domain_count, 1);
        assert_string_equal(report->target->domains[0].name, "records");
        assert_int_equal(report->target->domains[0].seen->totals.live_bytes.value, 10 * i);
        rtd_report_free(report);
    }
    riptide_manager_close(manager);
}

static void domains_that_are_opened_later_are_reported(void **state)
{
    struct riptide_manager *const manager = open_quiet(NULL);
    struct rtd_report *report = NULL;

    (void)state;
    expect(manager, "/api/v1/report", 200, "\"records\"");
    const int gpu = riptide_domain_open(manager, "gpu");
    assert_true(gpu > 0);
    assert_int_equal(
        riptide_record_bytes(manager, riptide_domain_intern(manager, gpu, "textures", "load"), 77),
        0);
    assert_int_equal(riptide_domain_set(manager, gpu, 77, 1000), 0);
    assert_int_equal(rtd_manager_report(manager, &report), 0);
    assert_int_equal(report->target->domain_count, 2);
    assert_string_equal(report->target->domains[1].name, "gpu");
    assert_int_equal(report->target->domains[1].used_bytes, 77);
    assert_int_equal(report->target->domains[1].reserved_bytes, 1000);
    assert_int_equal(report->target->domains[1].seen->totals.live_bytes.value, 77);
    rtd_report_free(report);
    riptide_manager_close(manager);
}

static struct riptide_manager *shared;
static atomic_bool failed;

static void *asker_main(void *context)
{
    static const char *const paths[] = {"/metrics", "/metrics/leaks", "/api/v1/report"};
    const size_t which = (size_t)(uintptr_t)context;

    for (unsigned i = 0; i < QUESTIONS; i++) {
        const struct riptide_answer *answer = NULL;
        if (riptide_answer_get(shared, paths[(which + i) % 3], &answer) != 0 ||
            answer->status != 200)
            failed = true;
        riptide_answer_free(answer);
    }
    return NULL;
}

static void *recorder_main(void *context)
{
    const uint32_t tag = riptide_intern(shared, "worker", (const char *)context);

    for (unsigned i = 0; i < RECORDS; i++) {
        if (riptide_record_bytes(shared, tag, 16) != 0)
            failed = true;
    }
    return NULL;
}

static void answers_are_given_to_many_at_once_while_records_go_on(void **state)
{
    pthread_t askers[ASKERS], recorders[RECORDERS];
    struct riptide_record_totals totals = {.size = sizeof(totals)};
    static const char *const names[RECORDERS] = {"one", "two"};

    (void)state;
    shared = open_quiet(NULL);
    for (uintptr_t i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&askers[i], NULL, asker_main, (void *)i), 0);
    for (unsigned i = 0; i < RECORDERS; i++)
        assert_int_equal(
            pthread_create(&recorders[i], NULL, recorder_main, (void *)(uintptr_t)names[i]), 0);
    for (unsigned i = 0; i < ASKERS; i++)
        pthread_join(askers[i], NULL);
    for (unsigned i = 0; i < RECORDERS; i++)
        pthread_join(recorders[i], NULL);
    assert_false(failed);
    assert_int_equal(riptide_records_read(shared, &totals), 0);
    assert_int_equal(totals.live_bytes, RECORDERS * RECORDS * 16);
    riptide_manager_close(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_of_the_server_is_answered),
        cmocka_unit_test(a_path_that_is_unknown_is_answered_404),
        cmocka_unit_test(what_stands_behind_a_path_is_left_out),
        cmocka_unit_test(without_a_path_or_a_place_for_the_answer_it_is_refused),
        cmocka_unit_test(a_component_that_is_off_has_no_endpoint_and_no_clean_up),
        cmocka_unit_test(without_exporters_prometheus_finds_nothing_and_the_rest_is_there),
        cmocka_unit_test(the_largest_allocations_have_the_alignment_that_was_recorded),
        cmocka_unit_test(the_same_records_in_another_order_make_the_same_report),
        cmocka_unit_test(a_clean_up_asks_for_a_time_and_keeps_what_is_live),
        cmocka_unit_test(a_report_holds_what_was_recorded_just_before),
        cmocka_unit_test(domains_that_are_opened_later_are_reported),
        cmocka_unit_test(answers_are_given_to_many_at_once_while_records_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
