// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_report_test.c - sites, components and totals of a report.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  records, tables and reports
 * Fails:      by a failed assertion
 */
#include "analyze_image.h"

#define APP UINT64_C(0x550000000000)
#define LIB UINT64_C(0x7f0000000000)
#define SO  UINT64_C(0x7f1000000000)

/* The program, a library of its own and libc. */
static struct made usual_process(void)
{
    struct made made = made_new(65536);
    made_module(&made, "", APP, 0);
    made_module(&made, "/opt/app/libimage.so", LIB, 0);
    made_module(&made, "/lib/libc.so.6", SO, 0);
    return made;
}

static void know(struct rtd_symbol_table *table, const char *path, uint64_t offset,
                 const struct rtd_symbol_frame *frames, size_t count, const char *name)
{
    uint8_t build_id[4];
    memset(build_id, (int)strlen(name), sizeof build_id);
    const struct rtd_symbol_module key = {path, build_id, sizeof build_id};
    assert_true(rtd_symbol_table_add(table, &key, offset, frames, count) >= 0);
}

static void check_estimate(struct rtd_estimate estimate)
{
    assert_true(estimate.low <= estimate.value && estimate.value <= estimate.high);
}

static void check_figures(const struct rtd_report_figures *figures)
{
    check_estimate(figures->live_bytes);
    check_estimate(figures->live_blocks);
    check_estimate(figures->allocated_bytes);
    check_estimate(figures->allocations);
    assert_true(figures->allocated_bytes.value >= figures->live_bytes.value);
    assert_true(figures->allocations.value >= figures->live_blocks.value);
}

/* Architecture, invariant 3, and the order within every interval. */
static void check_invariants(const struct rtd_report_process *process)
{
    uint64_t sites = 0, components = 0, operations = 0, site_blocks = 0, allocated = 0;
    for (uint32_t i = 0; i < process->site_count; i++) {
        check_figures(&process->sites[i].figures);
        sites += process->sites[i].figures.live_bytes.value;
        site_blocks += process->sites[i].figures.live_blocks.value;
        allocated += process->sites[i].figures.allocated_bytes.value;
        assert_non_null(process->sites[i].module);
        assert_non_null(process->sites[i].component);
        assert_non_null(process->sites[i].operation);
    }
    for (uint32_t i = 0; i < process->component_count; i++) {
        check_figures(&process->components[i].figures);
        components += process->components[i].figures.live_bytes.value;
    }
    for (uint32_t i = 0; i < process->operation_count; i++)
        operations += process->operations[i].figures.live_bytes.value;
    check_figures(&process->totals);
    check_estimate(process->peak_live_bytes);
    assert_int_equal(sites, process->totals.live_bytes.value);
    assert_int_equal(components, process->totals.live_bytes.value);
    assert_int_equal(operations, process->totals.live_bytes.value);
    assert_int_equal(site_blocks, process->totals.live_blocks.value);
    assert_int_equal(allocated, process->totals.allocated_bytes.value);
    assert_true(process->peak_live_bytes.value >= process->totals.live_bytes.value);
    assert_int_equal(process->memory.heap_bytes, process->totals.live_bytes.value);
}

static void sums_over_sites_components_and_operations_are_the_total(void **state)
{
    (void)state;
    uint64_t random = 5;
    for (int run = 0; run < 30; run++) {
        struct made made = usual_process();
        const uint32_t tags[] = {0, made_tag(&made, "extraction", "parse"), 1,
                                 made_tag(&made, "renderer", "")};
        for (unsigned i = 1; i < 20; i++) {
            const uint64_t pcs[] = {APP + 16 * (i / 3) + 1, APP + 0x801, 0};
            made_site(&made, made_stack(&made, 0, pcs), tags[i % 4]);
        }
        for (int i = 0; i < 3000; i++) {
            const uint64_t size =
                rtd_random_next(&random) % (1u << (rtd_random_next(&random) % 20));
            made_birth(&made, 1 + (uint32_t)(rtd_random_next(&random) % 19), size, (uint32_t)i,
                       rtd_random_next(&random) % 3 == 0);
        }
        made.image->peak_live_bytes = rtd_random_next(&random) % (UINT64_C(1) << 30);
        struct rtd_report *report = made_report(&made, NULL);
        check_invariants(report->target);
        assert_int_equal(report->target->site_count, 7);
        rtd_report_free(report);
        made_free(&made);
    }
}

static void thinned_samples_do_not_outgrow_what_was_allocated(void **state)
{
    (void)state;
    struct made made = usual_process();
    const uint64_t pcs[] = {APP + 1, 0};
    const uint32_t site = made_site(&made, made_stack(&made, 0, pcs), 0);
    for (int i = 0; i < 100; i++)
        made_birth(&made, site, 1000, 1, true);
    /* Kept at four times the interval: the 100 survivors now say four times as much. */
    for (uint32_t i = 0; i < made.image->sample_count; i++)
        made.image->samples[i].interval *= 4;
    made.image->storage_shift = 2;
    struct rtd_report *report = made_report(&made, NULL);
    check_invariants(report->target);
    const struct rtd_report_figures *figures = &report->target->sites[0].figures;
    assert_int_equal(figures->allocated_bytes.value, figures->live_bytes.value);
    rtd_report_free(report);
    made_free(&made);
}

static void a_site_without_live_samples_may_still_hold_something(void **state)
{
    (void)state;
    struct made made = usual_process();
    const uint64_t pcs[] = {APP + 1, 0}, other[] = {APP + 9, 0};
    const uint32_t small = made_site(&made, made_stack(&made, 0, pcs), 0);
    const uint32_t huge = made_site(&made, made_stack(&made, 0, other), 0);
    for (int i = 0; i < 50; i++) {
        made_birth(&made, small, 100, 1, false);
        made_birth(&made, huge, 64u << 20, 1, false);
    }
    struct rtd_report *report = made_report(&made, NULL);
    /* Huge blocks cannot be missed; of small ones a few intervals can. */
    assert_int_equal(report->target->sites[0].figures.live_bytes.high, 0);
    assert_int_equal(report->target->sites[1].figures.live_bytes.value, 0);
    assert_in_range(report->target->sites[1].figures.live_bytes.high, 3 * 65536, 4 * 65536);
    rtd_report_free(report);
    made_free(&made);
}

/* Blocks that could not be missed at birth can be once the live samples were thinned. */
static void a_site_that_was_thinned_away_is_not_shown_as_surely_empty(void **state)
{
    (void)state;
    struct made made = usual_process();
    const uint64_t pcs[] = {APP + 1, 0}, other[] = {APP + 9, 0};
    const uint32_t gone = made_site(&made, made_stack(&made, 0, pcs), 0);
    const uint32_t seen = made_site(&made, made_stack(&made, 0, other), 0);
    for (int i = 0; i < 10; i++)
        made_birth(&made, gone, 64u << 20, 1, false);
    made_birth(&made, seen, 1000, 1, true);
    /* A survivor of a crowd that is gone: the storage interval itself has come down again. */
    for (uint32_t i = 0; i < made.image->sample_count; i++)
        made.image->samples[i].interval = 64u << 20;
    made.image->loss[RTD_LOSS_SAMPLES_THINNED] = 1000;
    struct rtd_report *report = made_report(&made, NULL);
    check_invariants(report->target);
    for (uint32_t i = 0; i < report->target->site_count; i++)
        assert_true(report->target->sites[i].figures.live_bytes.high > 0);
    rtd_report_free(report);
    made_free(&made);
}

static void the_caller_of_the_runtime_names_the_site(void **state)
{
    (void)state;
    struct made made = usual_process();
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    const uint64_t pcs[] = {SO + 0x101, LIB + 0x201, APP + 0x301, 0};
    const struct rtd_symbol_frame strdup_frame = {"strdup", "", 0, false};
    const struct rtd_symbol_frame image_frames[] = {
        {"std::vector<int>::push_back(int&&)", "/usr/include/c++/12/bits/stl_vector.h", 1, true},
        {"decode_row", "/src/row.cc", 42, true},
        {"decode", "/src/image.cc", 77, false}};
    const uint32_t site = made_site(&made, made_stack(&made, 0, pcs), 0);
    know(table, "/lib/libc.so.6", 0x100, &strdup_frame, 1, "/lib/libc.so.6");
    know(table, "/opt/app/libimage.so", 0x200, image_frames, 3, "/opt/app/libimage.so");
    made_birth(&made, site, 4096, 10, true);
    struct rtd_report *report = made_report(&made, table);
    /* The table may go: the report owns its strings. */
    rtd_symbol_table_free(table);
    const struct rtd_report_site *found = &report->target->sites[0];
    assert_int_equal(found->frame_count, 5);
    assert_int_equal(found->named_frame, 2);
    assert_string_equal(found->function, "decode_row");
    assert_string_equal(found->file, "/src/row.cc");
    assert_int_equal(found->line, 42);
    assert_string_equal(found->component, "libimage.so");
    assert_string_equal(found->operation, "decode_row");
    assert_string_equal(found->frames[0].function, "strdup");
    assert_string_equal(found->frames[4].module, "/opt/app/server");
    assert_string_equal(found->frames[0].build_id, "0e0e0e0e");
    assert_null(found->frames[4].function);
    assert_int_equal(found->frames[4].offset, 0x300);
    rtd_report_free(report);
    made_free(&made);
}

static void unnamed_code_is_named_by_module_and_offset(void **state)
{
    (void)state;
    struct made made = usual_process();
    const uint64_t pcs[] = {SO + 0x101, LIB + 0x201, 0}, lost[] = {UINT64_C(0x1234567), 0};
    const uint32_t site = made_site(&made, made_stack(&made, 0, pcs), 0);
    const uint32_t nowhere = made_site(&made, made_stack(&made, 1, lost), 0);
    const uint32_t no_stack = made_site(&made, 0, 0);
    made_birth(&made, site, 4u << 20, 10, true);
    made_birth(&made, nowhere, 3u << 20, 10, true);
    made_birth(&made, no_stack, 2u << 20, 10, true);
    struct rtd_report *report = made_report(&made, NULL);
    const struct rtd_report_site *sites = report->target->sites;
    assert_string_equal(sites[0].component, "libimage.so");
    assert_string_equal(sites[0].operation, "libimage.so+0x200");
    assert_string_equal(sites[1].module, "?");
    assert_string_equal(sites[1].component, "unknown");
    assert_true(sites[1].truncated);
    assert_int_equal(sites[2].frame_count, 0);
    assert_int_equal(sites[2].named_frame, 0);
    assert_int_equal(sites[2].id, 0);
    assert_string_equal(sites[2].component, "unknown");
    rtd_report_free(report);
    made_free(&made);
}

static void hooks_and_allocators_are_left_out_of_the_stack(void **state)
{
    (void)state;
    struct made made = made_new(65536);
    made_module(&made, "", APP, 0);
    made_module(&made, "/opt/strange/fastalloc.so", LIB, 0);
    made_module(&made, "/build/libriptide-agent.so", SO, 0);
    made.image->allocator_module_start = LIB;
    const uint64_t pcs[] = {SO + 1, LIB + 1, APP + 0x31, 0};
    made_birth(&made, made_site(&made, made_stack(&made, 0, pcs), 0), 1u << 20, 1, true);
    struct rtd_report *report = made_report(&made, NULL);
    assert_int_equal(report->target->sites[0].frame_count, 1);
    assert_string_equal(report->target->sites[0].component, "server");
    rtd_report_free(report);
    made_free(&made);
}

static void a_program_with_its_own_malloc_keeps_its_frames(void **state)
{
    (void)state;
    struct made made = usual_process();
    made.image->allocator_module_start = APP;
    const uint64_t pcs[] = {APP + 0x31, APP + 0x51, 0};
    made_birth(&made, made_site(&made, made_stack(&made, 0, pcs), 0), 1u << 20, 1, true);
    struct rtd_report *report = made_report(&made, NULL);
    assert_int_equal(report->target->sites[0].frame_count, 2);
    rtd_report_free(report);
    made_free(&made);
}

static void equal_stacks_of_two_generations_are_one_site(void **state)
{
    (void)state;
    struct made made = made_new(65536);
    made_module(&made, "", APP, 0);
    made_module(&made, "/opt/plugin.so", LIB, 0);
    made_module(&made, "/opt/plugin.so", SO, 1);
    const uint64_t first[] = {LIB + 0x11, APP + 1, 0}, second[] = {SO + 0x11, APP + 1, 0};
    const uint32_t old_stack = made_stack(&made, 0, first);
    const uint32_t new_stack = made_stack(&made, 2, second);
    made_birth(&made, made_site(&made, new_stack, 0), 2u << 20, 500, true);
    made_birth(&made, made_site(&made, old_stack, 0), 1u << 20, 100, true);
    struct rtd_report *report = made_report(&made, NULL);
    assert_int_equal(report->target->site_count, 1);
    assert_int_equal(report->target->sites[0].id, old_stack);
    assert_int_equal(report->target->sites[0].samples_live, 2);
    check_invariants(report->target);
    rtd_report_free(report);
    made_free(&made);
}

static void the_tag_with_most_live_bytes_names_a_shared_stack(void **state)
{
    (void)state;
    struct made made = usual_process();
    const uint64_t pcs[] = {APP + 1, 0};
    const uint32_t stack = made_stack(&made, 0, pcs);
    const uint32_t extraction = made_tag(&made, "extraction", "parse_html");
    const uint32_t cache = made_tag(&made, "cache", "");
    made_birth(&made, made_site(&made, stack, extraction), 4u << 20, 1, true);
    made_birth(&made, made_site(&made, stack, cache), 8u << 20, 1, true);
    made_birth(&made, made_site(&made, stack, 0), 1u << 20, 1, true);
    struct rtd_report *report = made_report(&made, NULL);
    const struct rtd_report_process *process = report->target;
    assert_int_equal(process->site_count, 1);
    assert_string_equal(process->sites[0].component, "cache");
    assert_string_equal(process->sites[0].operation, "server+0x0");
    assert_int_equal(process->component_count, 3);
    assert_string_equal(process->components[0].name, "cache");
    assert_string_equal(process->components[1].name, "extraction");
    assert_string_equal(process->components[2].name, "server");
    assert_int_equal(process->components[1].figures.live_bytes.value, 4u << 20);
    check_invariants(process);
    rtd_report_free(report);
    made_free(&made);
}

static void an_empty_image_and_a_blind_process_give_an_empty_report(void **state)
{
    (void)state;
    struct made made = made_new(524288), blind = made_new(524288);
    struct rtd_image *const hidden = blind.image;
    blind.record->image = NULL;
    blind.record->meta.status = RTD_PROCESS_BLIND;
    blind.record->meta.pid = 200;
    strcpy(blind.record->meta.blind_reason, "statically linked");
    const struct rtd_process_record *const list[] = {made.record, blind.record};
    const struct rtd_report_input input = {
        .process_count = 2, .processes = list, .note = NULL, .time_scale = 0.0};
    struct rtd_report *report = rtd_report_new(&input);
    assert_non_null(report);
    for (uint32_t i = 0; i < 2; i++) {
        check_invariants(&report->processes[i]);
        assert_int_equal(report->processes[i].site_count, 0);
        assert_int_equal(report->processes[i].leaks.potential_leak_count, 0);
        assert_true(report->processes[i].allocations.efficiency_score == 1.0);
    }
    assert_string_equal(report->processes[1].meta.blind_reason, "statically linked");
    assert_string_equal(report->note, "");
    assert_int_equal(report->mode, RTD_MODE_SAMPLE);
    rtd_report_free(report);
    blind.record->image = hidden;
    made_free(&made);
    made_free(&blind);
}

static void nothing_sampled_is_not_nothing_allocated(void **state)
{
    (void)state;
    struct made made = made_new(1 << 16);
    made.image->interval_fixed = true;
    struct rtd_report *report = made_report(&made, NULL);
    assert_int_equal(report->target->totals.allocated_bytes.value, 0);
    assert_in_range(report->target->totals.allocated_bytes.high, 3 << 16, 4 << 16);
    assert_in_range(report->target->totals.live_bytes.high, 3 << 16, 4 << 16);
    assert_in_range(report->target->peak_live_bytes.high, 3 << 16, 4 << 16);
    assert_in_range(report->target->totals.allocations.high, 3 << 16, 4 << 16);
    rtd_report_free(report);
    made.image->interval_fixed = false;
    report = made_report(&made, NULL);
    assert_in_range(report->target->totals.allocated_bytes.high, 3 << 19, 4 << 19);
    rtd_report_free(report);
    made_free(&made);
}

static void no_process_at_all_is_a_report_without_target(void **state)
{
    (void)state;
    const struct rtd_report_input input = {.note = "nothing was recorded"};
    struct rtd_report *report = rtd_report_new(&input);
    assert_non_null(report);
    assert_null(report->target);
    assert_string_equal(report->note, "nothing was recorded");
    rtd_report_free(report);
    rtd_report_free(NULL);
}

static void the_target_is_the_newest_image_of_the_first_pid(void **state)
{
    (void)state;
    struct made made[3] = {made_new(1), made_new(1), made_new(1)};
    const struct rtd_process_record *list[3];
    for (uint32_t i = 0; i < 3; i++) {
        made[i].record->meta.id = i;
        made[i].record->meta.pid = i == 1 ? 555 : 100;
        list[i] = made[i].record;
    }
    const struct rtd_report_input input = {.process_count = 3, .processes = list};
    struct rtd_report *report = rtd_report_new(&input);
    assert_non_null(report);
    assert_ptr_equal(report->target, &report->processes[2]);
    rtd_report_free(report);
    for (uint32_t i = 0; i < 3; i++)
        made_free(&made[i]);
}

static void the_peak_is_never_below_what_lives_and_has_an_interval(void **state)
{
    (void)state;
    struct made made = usual_process();
    const uint64_t pcs[] = {APP + 1, 0};
    const uint32_t site = made_site(&made, made_stack(&made, 0, pcs), 0);
    for (int i = 0; i < 100; i++)
        made_birth(&made, site, 100, 1, i < 50);
    made.image->peak_live_bytes = 100 * 65536;
    struct rtd_report *report = made_report(&made, NULL);
    const struct rtd_estimate peak = report->target->peak_live_bytes;
    assert_int_equal(peak.value, 100 * 65536);
    assert_in_range(peak.low, 78 * 65536, 86 * 65536);
    assert_in_range(peak.high, 116 * 65536, 124 * 65536);
    rtd_report_free(report);
    made.image->peak_live_bytes = 1;
    report = made_report(&made, NULL);
    assert_int_equal(report->target->peak_live_bytes.value,
                     report->target->totals.live_bytes.value);
    rtd_report_free(report);
    made_free(&made);
}

static void recommendations_name_place_and_figures(void **state)
{
    (void)state;
    struct made made = usual_process();
    const uint64_t pcs[] = {APP + 1, 0}, other[] = {APP + 9, 0};
    const uint32_t small = made_site(&made, made_stack(&made, 0, pcs), 0);
    const uint32_t huge =
        made_site(&made, made_stack(&made, 0, other), made_tag(&made, "store", "load"));
    for (int i = 0; i < 500; i++)
        made_birth(&made, small, 100, 1, false);
    for (int i = 0; i < 5; i++)
        made_birth(&made, huge, 32u << 20, 1, true);
    made.image->size_class_count[0] = 80000.0;
    made.image->size_class_count[4] = 6000.0;
    struct rtd_report *report = made_report(&made, NULL);
    const struct rtd_report_allocations *found = &report->target->allocations;
    static const char *const ids[] = {"small_allocations", "huge_allocations", "large_component",
                                      "busy_operation", "many_small_allocations"};
    assert_int_equal(found->recommendation_count, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_string_equal(found->recommendations[i].id, ids[i]);
    assert_non_null(strstr(found->recommendations[2].text, "store holds 160.0 MB"));
    assert_non_null(strstr(found->recommendations[1].text, "first at load"));
    assert_true(found->efficiency_score > 0.0 && found->efficiency_score < 0.6);
    rtd_report_free(report);
    made_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_over_sites_components_and_operations_are_the_total),
        cmocka_unit_test(thinned_samples_do_not_outgrow_what_was_allocated),
        cmocka_unit_test(a_site_without_live_samples_may_still_hold_something),
        cmocka_unit_test(a_site_that_was_thinned_away_is_not_shown_as_surely_empty),
        cmocka_unit_test(the_caller_of_the_runtime_names_the_site),
        cmocka_unit_test(unnamed_code_is_named_by_module_and_offset),
        cmocka_unit_test(hooks_and_allocators_are_left_out_of_the_stack),
        cmocka_unit_test(a_program_with_its_own_malloc_keeps_its_frames),
        cmocka_unit_test(equal_stacks_of_two_generations_are_one_site),
        cmocka_unit_test(the_tag_with_most_live_bytes_names_a_shared_stack),
        cmocka_unit_test(an_empty_image_and_a_blind_process_give_an_empty_report),
        cmocka_unit_test(nothing_sampled_is_not_nothing_allocated),
        cmocka_unit_test(no_process_at_all_is_a_report_without_target),
        cmocka_unit_test(the_target_is_the_newest_image_of_the_first_pid),
        cmocka_unit_test(the_peak_is_never_below_what_lives_and_has_an_interval),
        cmocka_unit_test(recommendations_name_place_and_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
