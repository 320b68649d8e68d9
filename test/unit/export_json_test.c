// SPDX-License-Identifier: Apache-2.0
/*
 * export_json_test.c - the JSON contract, read back with an independent parser.
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

#include "export/export_report.h"
#include "export_sample.h"

#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

static json_t *parse_taken(struct rtd_buffer *buffer)
{
    json_error_t error;
    size_t length = 0;
    char *const text = rtd_buffer_take(buffer, &length);

    assert_non_null(text);
    json_t *const value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!value)
        fail_msg("%s at %d in %s", error.text, error.position, text);
    free(text);
    return value;
}

static json_t *report_of(const struct rtd_report *report)
{
    struct rtd_buffer buffer;

    rtd_buffer_init(&buffer);
    rtd_export_report_json(&buffer, report);
    return parse_taken(&buffer);
}

static void assert_keys(const json_t *object, const char *keys)
{
    char *const copy = strdup(keys);
    char *rest = NULL;

    assert_true(json_is_object(object));
    for (const char *key = strtok_r(copy, " ", &rest); key; key = strtok_r(NULL, " ", &rest)) {
        if (!json_object_get(object, key))
            fail_msg("key %s is missing", key);
    }
    free(copy);
}

static void assert_estimate(const json_t *object, const char *key)
{
    const json_t *const estimate = json_object_get(object, key);

    assert_int_equal(json_object_size(estimate), 3);
    assert_true(json_is_integer(json_object_get(estimate, "value")));
    assert_true(json_is_integer(json_object_get(estimate, "low")));
    assert_true(json_is_integer(json_object_get(estimate, "high")));
}

static void assert_figures(const json_t *object)
{
    assert_estimate(object, "live_bytes");
    assert_estimate(object, "live_blocks");
    assert_estimate(object, "allocated_bytes");
    assert_estimate(object, "allocations");
}

static void report_has_every_key_of_the_contract(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    json_t *const report = report_of(&sample.report);
    assert_keys(report, "schema riptide_version complete note target mode interval_bytes allocator "
                        "totals sites components operations memory leaks allocations losses "
                        "processes");
    assert_string_equal(json_string_value(json_object_get(report, "schema")), "riptide.report/1");
    const json_t *const target = json_object_get(report, "target");
    assert_keys(target, "pid command started duration_seconds status exit_code signal "
                        "blind_reason");
    assert_string_equal(json_string_value(json_object_get(target, "started")),
                        "2023-11-14T22:13:20.123Z");
    assert_string_equal(json_string_value(json_object_get(target, "status")), "running");
    assert_true(json_is_null(json_object_get(target, "exit_code")));
    assert_true(json_is_null(json_object_get(target, "signal")));
    assert_figures(json_object_get(report, "totals"));
    assert_estimate(json_object_get(report, "totals"), "peak_live_bytes");
    const json_t *const losses = json_object_get(report, "losses");
    assert_keys(losses, "samples_not_stored recording_lost_writes ledger_records_rejected");
    json_decref(report);
}

static json_int_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void exact_report_counts_frees_lifetimes_and_the_peak(void **state)
{
    struct exact_sample exact;
    (void)state;

    exact_sample_init(&exact);
    json_t *const report = report_of(&exact.sample.report);
    const json_t *const totals = json_object_get(report, "totals");
    const json_t *const site = json_array_get(json_object_get(report, "sites"), 1);
    assert_string_equal(json_string_value(json_object_get(report, "mode")), "exact");
    assert_int_equal(integer_of(report, "interval_bytes"), 0);
    assert_int_equal(integer_of(totals, "frees"), 44006);
    assert_int_equal(integer_of(totals, "unknown_frees"), 7);
    assert_keys(totals, "peak_live_bytes peak_seconds freed_bytes temporary lifetime");
    assert_int_equal(integer_of(json_object_get(report, "losses"), "missed_frees"), 3);
    assert_figures(site);
    assert_int_equal(integer_of(site, "frees"), 11001);
    assert_int_equal(integer_of(site, "freed_bytes"), 40000001);
    assert_int_equal(integer_of(site, "temporary"), 4500);
    assert_int_equal(integer_of(json_object_get(site, "peak"), "live_bytes"), 55000000);
    assert_int_equal(integer_of(json_object_get(site, "peak"), "live_blocks"), 5);
    assert_int_equal(json_array_size(json_object_get(site, "lifetime")), RTD_LIFETIME_BUCKETS);
    json_decref(report);
}

static void sites_carry_stack_place_and_exact_figures(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    json_t *const report = report_of(&sample.report);
    const json_t *const sites = json_object_get(report, "sites");
    assert_int_equal(json_array_size(sites), 4);
    const json_t *const site = json_array_get(sites, 0);
    assert_keys(site, "id function file line module component operation stack verdict");
    assert_figures(site);
    assert_true(json_is_null(json_object_get(site, "verdict")));
    assert_int_equal(json_integer_value(json_object_get(site, "line")), 42);
    const json_t *const frame = json_array_get(json_object_get(site, "stack"), 0);
    assert_keys(frame, "function file line module build_id offset inlined");
    assert_true(json_is_true(json_object_get(frame, "inlined")));
    const json_t *const unnamed = json_array_get(sites, 2);
    assert_true(json_is_null(json_object_get(unnamed, "function")));
    assert_true(json_is_null(json_object_get(unnamed, "file")));
    assert_true(json_is_null(json_object_get(unnamed, "line")));
    const json_t *const big = json_object_get(unnamed, "allocated_bytes");
    assert_true(json_integer_value(json_object_get(big, "value")) == 4611686018427387903);
    json_decref(report);
}

static void hostile_names_stay_text(void **state)
{
    struct sample sample;
    struct rtd_buffer buffer;
    (void)state;

    sample_init(&sample);
    rtd_buffer_init(&buffer);
    rtd_export_report_json(&buffer, &sample.report);
    assert_null(strstr(rtd_buffer_get(&buffer), "</script>"));
    assert_null(strchr(rtd_buffer_get(&buffer), '\x1b'));
    json_t *const report = parse_taken(&buffer);
    const json_t *const site = json_array_get(json_object_get(report, "sites"), 1);
    assert_string_equal(json_string_value(json_object_get(site, "function")),
                        "evil\"\\\n\x1b[31m</script><b>&\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd "
                        "\u202e end");
    json_decref(report);
}

static void processes_list_the_target_without_sites_and_children_with(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    json_t *const report = report_of(&sample.report);
    const json_t *const processes = json_object_get(report, "processes");
    assert_int_equal(json_array_size(processes), 3);
    for (size_t i = 0; i < 3; i++)
        assert_keys(json_array_get(processes, i),
                    "id pid parent_pid command kind status ended_by_exec exit_code signal "
                    "blind_reason started duration_seconds interval_bytes totals components "
                    "losses");
    const json_t *const child = json_array_get(processes, 1);
    assert_null(json_object_get(json_array_get(processes, 0), "sites"));
    assert_int_equal(json_array_size(json_object_get(child, "sites")), 4);
    assert_string_equal(json_string_value(json_object_get(child, "kind")), "fork");
    assert_string_equal(json_string_value(json_object_get(child, "status")), "killed");
    assert_int_equal(json_integer_value(json_object_get(child, "signal")), 9);
    assert_true(json_is_null(json_object_get(child, "exit_code")));
    const json_t *const blind = json_array_get(processes, 2);
    assert_string_equal(json_string_value(json_object_get(blind, "kind")), "unseen");
    assert_true(json_is_null(json_object_get(blind, "started")));
    assert_string_equal(json_string_value(json_object_get(blind, "blind_reason")),
                        "the program is statically linked");
    json_decref(report);
}

static void children_carry_at_most_a_hundred_sites(void **state)
{
    static struct rtd_report_site many[300];
    struct sample sample;
    (void)state;

    sample_init(&sample);
    for (size_t i = 0; i < 300; i++)
        many[i] = sample_sites[0];
    for (size_t i = 0; i < 2; i++) {
        sample.processes[i].sites = many;
        sample.processes[i].site_count = 300;
    }
    json_t *const report = report_of(&sample.report);
    const json_t *const child = json_array_get(json_object_get(report, "processes"), 1);
    assert_int_equal(json_array_size(json_object_get(child, "sites")), 100);
    assert_int_equal(json_array_size(json_object_get(report, "sites")), 300);
    json_decref(report);
}

static void an_image_replaced_by_exec_reads_as_exited(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.processes[1].meta.status = RTD_PROCESS_REPLACED;
    sample.processes[1].meta.signal = 0;
    json_t *const report = report_of(&sample.report);
    const json_t *const child = json_array_get(json_object_get(report, "processes"), 1);
    assert_string_equal(json_string_value(json_object_get(child, "status")), "exited");
    assert_true(json_is_true(json_object_get(child, "ended_by_exec")));
    json_decref(report);
}

static void memory_is_in_bytes_and_mebibytes(void **state)
{
    struct sample sample;
    struct rtd_buffer buffer;
    (void)state;

    sample_init(&sample);
    rtd_buffer_init(&buffer);
    rtd_export_memory_json(&buffer, &sample.processes[0]);
    json_t *const memory = parse_taken(&buffer);
    assert_keys(memory, "rss_mb heap_mb virtual_mb timestamp rss_bytes heap_bytes virtual_bytes "
                        "resident_bytes shared_bytes text_bytes data_bytes stack_bytes "
                        "peak_rss_bytes swap_bytes limit_bytes pressure pressure_level forecast "
                        "forecast_reason threads faults allocator limits limits_reason");
    assert_null(json_object_get(memory, "breakdown"));
    assert_true(fabs(json_number_value(json_object_get(memory, "rss_mb")) - 64) < 1e-9);
    assert_int_equal(json_integer_value(json_object_get(memory, "heap_bytes")), 53001000);
    assert_string_equal(json_string_value(json_object_get(memory, "timestamp")),
                        "2023-11-14T22:14:59.999Z");
    json_decref(memory);
}

static void unknown_figures_are_null_and_never_zero(void **state)
{
    struct sample sample;
    struct rtd_buffer buffer;
    (void)state;

    sample_init(&sample);
    rtd_buffer_init(&buffer);
    rtd_export_memory_json(&buffer, &sample.processes[2]);
    json_t *const memory = parse_taken(&buffer);
    const char *key;
    json_t *value;
    json_object_foreach(memory, key, value)
    {
        if (!json_is_null(value))
            fail_msg("%s is not null", key);
    }
    json_decref(memory);
    rtd_export_leaks_json(&buffer, &sample.processes[2]);
    json_t *const leaks = parse_taken(&buffer);
    assert_true(json_is_null(json_object_get(leaks, "potential_leak_count")));
    assert_string_equal(json_string_value(json_object_get(leaks, "blind_reason")),
                        "the program is statically linked");
    json_decref(leaks);
    rtd_export_allocations_json(&buffer, &sample.processes[2]);
    json_t *const allocations = parse_taken(&buffer);
    assert_true(json_is_null(json_object_get(allocations, "efficiency_score")));
    json_decref(allocations);
}

static void leaks_name_site_line_and_reasons(void **state)
{
    struct sample sample;
    struct rtd_buffer buffer;
    (void)state;

    sample_init(&sample);
    rtd_buffer_init(&buffer);
    rtd_export_leaks_json(&buffer, &sample.processes[0]);
    json_t *const leaks = parse_taken(&buffer);
    assert_keys(leaks, "potential_leak_count growth_rate_mb_per_hour highest_risk_component "
                       "potential_leaks suspicious_patterns");
    const json_t *const list = json_object_get(leaks, "potential_leaks");
    assert_int_equal(json_array_size(list), 2);
    const json_t *const leak = json_array_get(list, 0);
    assert_keys(leak, "component site function file line allocation_count total_size_bytes "
                      "average_size_bytes growth_rate first_seen last_seen reasons verdict");
    assert_int_equal(json_integer_value(json_object_get(leak, "site")), 4001);
    assert_int_equal(json_array_size(json_object_get(leak, "reasons")), 2);
    assert_true(json_is_null(json_object_get(json_array_get(list, 1), "site")));
    json_decref(leaks);
}

static void allocations_keep_the_seed_shapes(void **state)
{
    struct sample sample;
    struct rtd_buffer buffer;
    (void)state;

    sample_init(&sample);
    rtd_buffer_init(&buffer);
    rtd_export_allocations_json(&buffer, &sample.processes[0]);
    json_t *const allocations = parse_taken(&buffer);
    const json_t *const top = json_array_get(json_object_get(allocations, "top_allocators"), 0);
    assert_string_equal(json_string_value(json_array_get(top, 0)), "server");
    assert_int_equal(json_integer_value(json_array_get(top, 1)), 50000000);
    const json_t *const sizes = json_object_get(allocations, "distribution");
    assert_int_equal(json_integer_value(json_object_get(sizes, "tiny (<1KB)")), 20000);
    assert_int_equal(json_integer_value(json_object_get(sizes, "small (1KB-64KB)")), 3001);
    assert_int_equal(json_integer_value(json_object_get(sizes, "huge (>16MB)")), 6);
    const json_t *const lifetimes = json_object_get(allocations, "lifetimes");
    assert_int_equal(json_array_size(lifetimes), RTD_LIFETIME_BUCKETS);
    const json_t *const first = json_array_get(lifetimes, 0);
    assert_int_equal(json_integer_value(json_object_get(first, "below_ms")), RTD_LIFETIME_UNIT_MS);
    const json_t *const last = json_array_get(lifetimes, RTD_LIFETIME_BUCKETS - 1);
    assert_true(json_is_null(json_object_get(last, "below_ms")));
    assert_keys(json_array_get(json_object_get(allocations, "recommendations"), 0),
                "id severity text");
    json_decref(allocations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_has_every_key_of_the_contract),
        cmocka_unit_test(exact_report_counts_frees_lifetimes_and_the_peak),
        cmocka_unit_test(sites_carry_stack_place_and_exact_figures),
        cmocka_unit_test(hostile_names_stay_text),
        cmocka_unit_test(processes_list_the_target_without_sites_and_children_with),
        cmocka_unit_test(children_carry_at_most_a_hundred_sites),
        cmocka_unit_test(an_image_replaced_by_exec_reads_as_exited),
        cmocka_unit_test(memory_is_in_bytes_and_mebibytes),
        cmocka_unit_test(unknown_figures_are_null_and_never_zero),
        cmocka_unit_test(leaks_name_site_line_and_reasons),
        cmocka_unit_test(allocations_keep_the_seed_shapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
