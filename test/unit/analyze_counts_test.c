// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_counts_test.c - reports of exact mode: nothing is estimated, and everything adds up.
 *
 * Runs in:    tests
 * Threads:    none
 * Allocates:  yes
 * Fails:      by cmocka assertions
 */
#include "../support/support_exact.h"
#include "analyze/analyze_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct exact_case {
    struct rtd_support_exact *made;
    struct rtd_process_record record;
};

static struct exact_case *new_case(void)
{
    struct exact_case *const test = calloc(1, sizeof(*test));

    assert_non_null(test);
    test->made = rtd_support_exact_new();
    test->record.meta.pid = 7;
    test->record.meta.status = RTD_PROCESS_RUNNING;
    test->record.image = rtd_image_new();
    return test;
}

static void free_case(struct exact_case *test)
{
    rtd_series_fini(&test->record.series);
    rtd_image_free(test->record.image);
    rtd_support_exact_free(test->made);
    free(test);
}

static void read_ledger(struct exact_case *test)
{
    assert_int_equal(
        rtd_image_read_sparse(test->record.image, test->made->handle.ledger, test->made->handle.fd),
        0);
}

static struct rtd_report *new_report(const struct exact_case *test)
{
    const struct rtd_process_record *const records[] = {&test->record};
    const struct rtd_report_input input = {
        .process_count = 1, .processes = records, .complete = true, .note = "", .time_scale = 1};
    struct rtd_report *const report = rtd_report_new(&input);

    assert_non_null(report);
    return report;
}

static void assert_exact(struct rtd_estimate estimate, uint64_t value)
{
    assert_true(estimate.value == value);
    assert_true(estimate.low == value);
    assert_true(estimate.high == value);
}

static void assert_adds_up(const struct rtd_report_process *process)
{
    uint64_t live = 0, blocks = 0, bytes = 0, allocations = 0, peak = 0, frees = 0;
    uint64_t owned = 0, owned_allocations = 0;

    for (uint32_t i = 0; i < process->site_count; i++) {
        const struct rtd_report_site *const site = &process->sites[i];
        assert_exact(site->figures.live_bytes, site->figures.live_bytes.value);
        live += site->figures.live_bytes.value;
        blocks += site->figures.live_blocks.value;
        bytes += site->figures.allocated_bytes.value;
        allocations += site->figures.allocations.value;
        peak += site->counts->peak_bytes;
        frees += site->counts->frees;
        uint64_t deaths = 0;
        for (unsigned k = 0; k < RTD_LIFETIME_BUCKETS; k++) {
            deaths += site->counts->lifetime[k];
        }
        assert_int_equal(deaths, site->counts->frees);
    }
    for (uint32_t i = 0; i < process->component_count; i++) {
        owned += process->components[i].figures.live_bytes.value;
        owned_allocations += process->components[i].figures.allocations.value;
    }
    assert_exact(process->totals.live_bytes, live);
    assert_exact(process->totals.live_blocks, blocks);
    assert_exact(process->totals.allocated_bytes, bytes);
    assert_exact(process->totals.allocations, allocations);
    assert_exact(process->peak_live_bytes, peak);
    assert_int_equal(owned, live);
    assert_int_equal(owned_allocations, allocations);
    assert_int_equal(process->counts->frees, frees);
}

static void sites_and_components_add_up_to_the_totals_without_an_interval(void **state)
{
    (void)state;
    struct exact_case *const test = new_case();

    for (uint64_t i = 0; i < 4; i++) {
        rtd_support_exact_fill(test->made, i, 500);
        read_ledger(test);
        struct rtd_report *const report = new_report(test);
        assert_int_equal(report->mode, RTD_MODE_EXACT);
        assert_int_equal(report->target->interval_bytes, 0);
        assert_true(report->target->site_count > 20);
        assert_adds_up(report->target);
        rtd_report_free(report);
    }
    free_case(test);
}

static void sums_beyond_a_double_are_reported_to_the_byte(void **state)
{
    (void)state;
    struct exact_case *const test = new_case();
    const uint64_t pcs[] = {0x555500000100, 0x555500000200};
    const uint32_t site = rtd_support_exact_site(test->made, pcs, 2, RTD_TAG_NONE);
    struct rtd_exact_counter *const counter = &test->made->exact->counters[0][site];

    atomic_store(&counter->allocations, 3);
    atomic_store(&counter->allocated_bytes, (UINT64_C(1) << 57) + 3);
    read_ledger(test);
    struct rtd_report *const report = new_report(test);
    assert_exact(report->target->totals.allocated_bytes, (UINT64_C(1) << 57) + 3);
    assert_exact(report->target->totals.live_bytes, (UINT64_C(1) << 57) + 3);
    assert_exact(report->target->peak_live_bytes, (UINT64_C(1) << 57) + 3);
    rtd_report_free(report);
    free_case(test);
}

static void a_site_says_what_it_held_at_the_peak_and_how_its_blocks_went(void **state)
{
    (void)state;
    struct exact_case *const test = new_case();
    const uint64_t pcs[] = {0x555500000100, 0x555500000200};
    const uint32_t site = rtd_support_exact_site(test->made, pcs, 2, RTD_TAG_NONE);
    const struct rtd_support_event event = {
        .block = 1, .site = site, .size = 1000, .age_bucket = 5, .temporary = true};

    for (unsigned i = 0; i < 3; i++) {
        rtd_support_exact_birth(test->made, &event);
    }
    rtd_support_exact_peak(test->made, 1500);
    rtd_support_exact_death(test->made, &event);
    test->record.meta.started_unix_ns = test->made->handle.ledger->header.created_unix_ns;
    read_ledger(test);
    struct rtd_report *const report = new_report(test);
    const struct rtd_report_site *const shown = &report->target->sites[0];
    assert_int_equal(shown->counts->peak_bytes, 3000);
    assert_int_equal(shown->counts->peak_blocks, 3);
    assert_int_equal(shown->counts->temporary, 1);
    assert_int_equal(shown->counts->lifetime[5], 1);
    assert_int_equal(shown->counts->max_size, 1000);
    assert_int_equal(shown->samples_live, 2);
    assert_exact(report->target->peak_live_bytes, 3000);
    assert_true(report->target->peak_seconds > 1.49 && report->target->peak_seconds < 1.51);
    rtd_report_free(report);
    free_case(test);
}

/* 300 s with a block a second that stays, beside a site that frees what it makes. */
static void grow(struct exact_case *test, uint32_t leak, uint32_t busy)
{
    for (uint64_t second = 1; second <= 300; second++) {
        const struct rtd_support_event kept = {.block = 1, .site = leak, .size = 256 << 10};
        const struct rtd_support_event gone = {.block = 2, .site = busy, .size = 4 << 20};
        rtd_support_exact_birth(test->made, &kept);
        rtd_support_exact_birth(test->made, &gone);
        rtd_support_exact_death(test->made, &gone);
        rtd_support_exact_block(test->made, UINT64_C(0x7f0000000000) + (second << 18), leak,
                                256 << 10, second * 1000);
        rtd_ledger_tick(test->made->whole, second * 1000);
        read_ledger(test);
        assert_int_equal(rtd_series_add(&test->record.series, test->record.image), 0);
    }
}

static void growth_is_found_from_counted_bytes_and_walked_blocks(void **state)
{
    (void)state;
    struct exact_case *const test = new_case();
    const uint64_t pcs[] = {0x555500000100, 0x555500000200};
    const uint64_t others[] = {0x555500000100, 0x555500000300};

    const uint32_t leak = rtd_support_exact_site(test->made, pcs, 2, RTD_TAG_NONE);
    const uint32_t busy = rtd_support_exact_site(test->made, others, 2, RTD_TAG_NONE);
    rtd_ledger_tick(test->made->whole, 0);
    grow(test, leak, busy);
    assert_int_equal(rtd_image_blocks_read(test->record.image, test->made->handle.fd), 0);
    struct rtd_report *const report = new_report(test);
    const struct rtd_report_leaks *const leaks = &report->target->leaks;
    assert_int_equal(leaks->potential_leak_count, 1);
    assert_int_equal(leaks->potential_leaks[0].allocation_count, 300);
    assert_int_equal(leaks->potential_leaks[0].total_size_bytes, UINT64_C(300) << 18);
    assert_int_equal(leaks->potential_leaks[0].site, test->record.image->sites[leak].stack);
    assert_true(leaks->potential_leaks[0].growth_rate > 800e6);
    assert_true(leaks->potential_leaks[0].growth_rate < 1000e6);
    assert_int_equal(leaks->pattern_count, 1); /* five and more fresh blocks of one stack */
    rtd_report_free(report);
    free_case(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sites_and_components_add_up_to_the_totals_without_an_interval),
        cmocka_unit_test(sums_beyond_a_double_are_reported_to_the_byte),
        cmocka_unit_test(a_site_says_what_it_held_at_the_peak_and_how_its_blocks_went),
        cmocka_unit_test(growth_is_found_from_counted_bytes_and_walked_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
