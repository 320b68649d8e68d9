// SPDX-License-Identifier: Apache-2.0
/*
 * manager_analysis_test.c - the public analyses: what they take from a report, in which order, and
 * that they live on without it.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  reports and answers
 * Fails:      by a failed assertion
 */
#include "analyze_domain.h"
#include "analyze_image.h"

#include "manager/manager_analysis.h"
#include "manager/manager_handle.h"

#include <errno.h>

#define APP UINT64_C(0x550000000000)

enum { RECORDS, GPU, DOMAINS };

struct scene {
    struct made made;
    struct rtd_domain_record domains[DOMAINS];
    struct rtd_symbol_table *symbols;
};

/* For 400 seconds a heap block of 64 KiB and a record of 2 MiB stay behind each second. */
static void play(struct scene *scene, uint32_t heap_site)
{
    struct rtd_domain_record *records = &scene->domains[RECORDS];
    const uint32_t page =
        domain_site(records, domain_tag(records, "extraction", "parse_html"), 0x100);
    for (uint32_t second = 0; second < 400; second++) {
        domain_birth(records, page, 2 << 20, second * 1000, UINT64_C(0x10000000) + second);
        domain_tick(records, second);
        made_birth(&scene->made, heap_site, 65536, second * 1000, true);
        scene->made.image->clock_ms = (uint64_t)second * 1000 + 999;
        assert_int_equal(rtd_series_add(&scene->made.record->series, scene->made.image), 0);
    }
}

static void scene_init(struct scene *scene)
{
    const struct rtd_symbol_module given = {.path = "given names"};
    const struct rtd_symbol_frame frame = {.function = "parse_page", .file = "page.c", .line = 7};
    const uint64_t pcs[] = {APP + 0x101, 0};
    *scene = (struct scene){.made = made_new(1), .symbols = rtd_symbol_table_new(NULL)};
    assert_non_null(scene->symbols);
    assert_int_equal(rtd_symbol_table_add(scene->symbols, &given, 0x100, &frame, 1), 1);
    made_module(&scene->made, "", APP, 0);
    const uint32_t site = made_site(&scene->made, made_stack(&scene->made, 0, pcs),
                                    made_tag(&scene->made, "server", "listen"));
    domain_init(&scene->domains[RECORDS], "records");
    domain_init(&scene->domains[GPU], "gpu");
    play(scene, site);
    struct rtd_domain_record *gpu = &scene->domains[GPU];
    const uint32_t texture = domain_site(gpu, domain_tag(gpu, "textures", "load"), 0);
    domain_birth(gpu, texture, 3 << 20, 1000, 0x9000);
    gpu->image->samples[gpu->image->sample_count - 1].alignment_log = 9;
    domain_birth(gpu, texture, 2 << 20, 500, 0);
    scene->made.record->domain_count = DOMAINS;
    scene->made.record->domains = scene->domains;
}

static void scene_fini(struct scene *scene)
{
    for (unsigned i = 0; i < DOMAINS; i++)
        domain_fini(&scene->domains[i]);
    rtd_symbol_table_free(scene->symbols);
    made_free(&scene->made);
}

static void leaks_of_all_domains_come_the_largest_first_and_outlive_the_report(void **state)
{
    (void)state;
    const struct riptide_leak_analysis *out;
    struct scene scene;
    scene_init(&scene);
    struct rtd_report *report = made_report(&scene.made, scene.symbols);
    assert_int_equal(rtd_manager_leaks_new(report, &out), 0);
    rtd_report_free(report);
    scene_fini(&scene);
    assert_int_equal(out->size, sizeof *out);
    assert_int_equal(out->potential_leak_count, 2);
    const struct riptide_leak *leak = out->potential_leaks[0];
    assert_string_equal(leak->component, "extraction");
    assert_string_equal(leak->domain, "records");
    assert_int_equal(leak->allocation_count, 400);
    assert_int_equal(leak->total_size_bytes, UINT64_C(400) * 2 << 20);
    assert_true(leak->average_size_bytes == 2 << 20);
    assert_true(leak->growth_rate > 0.0);
    assert_int_equal(leak->first_seen_ns, DOMAIN_CREATED);
    assert_int_equal(leak->last_seen_ns, DOMAIN_CREATED + UINT64_C(399000000000));
    assert_string_equal(leak->function, "parse_page");
    assert_string_equal(leak->file, "page.c");
    assert_int_equal(leak->line, 7);
    assert_true(leak->reason_count >= 2);
    assert_string_equal(leak->reasons[0], "high_growth_rate");
    assert_string_equal(out->potential_leaks[1]->domain, "heap");
    assert_string_equal(out->potential_leaks[1]->component, "server");
    assert_null(out->potential_leaks[1]->function);
    assert_true(out->growth_rate_mb_per_hour > 7000.0);
    assert_string_equal(out->highest_risk_component, "records:extraction");
    assert_true(out->pattern_count > 0);
    riptide_leaks_free(out);
}

static void the_largest_allocations_are_twenty_of_all_domains_with_their_stacks(void **state)
{
    (void)state;
    const struct riptide_leak_analysis *out;
    struct scene scene;
    scene_init(&scene);
    struct rtd_report *report = made_report(&scene.made, scene.symbols);
    assert_int_equal(rtd_manager_leaks_new(report, &out), 0);
    rtd_report_free(report);
    scene_fini(&scene);
    assert_int_equal(out->largest_count, 20);
    const struct riptide_block *block = out->largest_allocations[0];
    assert_string_equal(block->domain, "gpu");
    assert_string_equal(block->component, "textures");
    assert_int_equal(block->size_bytes, 3 << 20);
    assert_ptr_equal(block->address, (void *)0x9000);
    assert_int_equal(block->alignment, 256);
    assert_int_equal(block->stack_count, 0);
    for (uint32_t i = 1; i < 20; i++) {
        block = out->largest_allocations[i];
        assert_string_equal(block->domain, "records");
        assert_string_equal(block->operation, "parse_html");
        assert_int_equal(block->timestamp_ns, DOMAIN_CREATED + (i - 1) * UINT64_C(1000000000));
        assert_int_equal(block->alignment, 0);
        assert_int_equal(block->stack_count, 1);
        assert_string_equal(block->stack_trace[0], "parse_page");
    }
    riptide_leaks_free(out);
}

static void components_of_all_domains_are_parts_in_order_of_size_then_name(void **state)
{
    (void)state;
    const struct riptide_parts *out;
    struct scene scene;
    scene_init(&scene);
    struct rtd_domain_record *gpu = &scene.domains[GPU];
    domain_birth(gpu, domain_site(gpu, domain_tag(gpu, "b", ""), 0), 5, 1, 0);
    domain_birth(gpu, domain_site(gpu, domain_tag(gpu, "a", ""), 0), 5, 1, 0);
    struct rtd_report *report = made_report(&scene.made, NULL);
    assert_int_equal(rtd_manager_parts_new(report, &out), 0);
    rtd_report_free(report);
    scene_fini(&scene);
    static const struct riptide_part expected[] = {
        {"extraction", "records", UINT64_C(400) * 2 << 20},
        {"server", "heap", UINT64_C(400) * 65536},
        {"textures", "gpu", 5 << 20},
        {"a", "gpu", 5},
        {"b", "gpu", 5},
    };
    assert_int_equal(out->count, 5);
    for (uint32_t i = 0; i < out->count; i++) {
        assert_string_equal(out->parts[i]->name, expected[i].name);
        assert_string_equal(out->parts[i]->domain, expected[i].domain);
        assert_int_equal(out->parts[i]->bytes, expected[i].bytes);
    }
    riptide_parts_free(out);
}

static void allocations_list_twenty_owners_and_operations_of_all_domains(void **state)
{
    (void)state;
    const struct riptide_allocation_analysis *out;
    char name[8];
    struct scene scene;
    scene_init(&scene);
    struct rtd_domain_record *gpu = &scene.domains[GPU];
    for (uint32_t i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "c%02u", i);
        const uint32_t site = domain_site(gpu, domain_tag(gpu, name, "op"), 0);
        for (uint32_t j = 0; j < 1000 + i; j++)
            domain_birth(gpu, site, 1, 1, 0);
    }
    struct rtd_report *report = made_report(&scene.made, NULL);
    assert_int_equal(rtd_manager_allocations_new(report, &out), 0);
    rtd_report_free(report);
    scene_fini(&scene);
    assert_int_equal(out->size, sizeof *out);
    assert_int_equal(out->allocator_count, 20);
    assert_string_equal(out->top_allocators[3]->name, "c29");
    assert_int_equal(out->operation_count, 20);
    assert_string_equal(out->operations[0]->component, "c29");
    assert_string_equal(out->operations[0]->name, "op");
    assert_string_equal(out->operations[0]->domain, "gpu");
    assert_int_equal(out->operations[0]->allocation_count, 1029);
    assert_int_equal(out->operations[0]->live_bytes, 1029);
    assert_true(out->operations[0]->average_size_bytes == 1.0);
    assert_string_equal(out->distribution[0].label, "tiny (<1KB)");
    assert_string_equal(out->distribution[4].label, "huge (>16MB)");
    assert_true(out->efficiency_score > 0.0 && out->efficiency_score <= 1.0);
    assert_true(out->fragmentation < 0.0);
    assert_true(out->recommendation_count >= 2);
    assert_string_equal(out->recommendations[0]->id, "large_component");
    assert_non_null(strstr(out->recommendations[0]->text, "records:extraction"));
    riptide_allocations_free(out);
}

static void a_process_without_a_watched_heap_is_judged_by_its_records(void **state)
{
    (void)state;
    const struct riptide_allocation_analysis *allocations;
    const struct riptide_leak_analysis *leaks;
    struct scene scene;
    scene_init(&scene);
    scene.made.record->image = NULL;
    struct rtd_report *report = made_report(&scene.made, NULL);
    assert_int_equal(rtd_manager_allocations_new(report, &allocations), 0);
    assert_int_equal(rtd_manager_leaks_new(report, &leaks), 0);
    rtd_report_free(report);
    scene_fini(&scene);
    assert_int_equal(allocations->allocator_count, 2);
    assert_int_equal(allocations->distribution[3].count, 402);
    assert_int_equal(leaks->potential_leak_count, 1);
    assert_string_equal(leaks->highest_risk_component, "extraction");
    riptide_allocations_free(allocations);
    riptide_leaks_free(leaks);
}

/* All that an answer says, for comparison. */
static void describe(const struct riptide_leak_analysis *answer, char *out, size_t size)
{
    size_t used = 0;
    for (uint32_t i = 0; i < answer->potential_leak_count; i++)
        used += (size_t)snprintf(
            out + used, size - used, "%s %s %.17g\n", answer->potential_leaks[i]->domain,
            answer->potential_leaks[i]->component, answer->potential_leaks[i]->growth_rate);
    for (uint32_t i = 0; i < answer->largest_count; i++)
        used += (size_t)snprintf(out + used, size - used, "%p\n",
                                 answer->largest_allocations[i]->address);
    for (uint32_t i = 0; i < answer->pattern_count; i++)
        used += (size_t)snprintf(out + used, size - used, "%s\n", answer->suspicious_patterns[i]);
    assert_true(used < size);
}

static void the_same_records_give_the_same_answer(void **state)
{
    (void)state;
    static char texts[2][8192];
    for (int i = 0; i < 2; i++) {
        const struct riptide_leak_analysis *out;
        struct scene scene;
        scene_init(&scene);
        struct rtd_report *report = made_report(&scene.made, scene.symbols);
        assert_int_equal(rtd_manager_leaks_new(report, &out), 0);
        describe(out, texts[i], sizeof texts[i]);
        riptide_leaks_free(out);
        rtd_report_free(report);
        scene_fini(&scene);
    }
    assert_string_equal(texts[0], texts[1]);
}

static void a_report_of_nothing_gives_empty_answers(void **state)
{
    (void)state;
    const struct riptide_allocation_analysis *allocations;
    const struct riptide_leak_analysis *leaks;
    const struct riptide_parts *parts;
    const struct rtd_report_input input = {0};
    struct rtd_report *report = rtd_report_new(&input);
    assert_non_null(report);
    assert_int_equal(rtd_manager_leaks_new(report, &leaks), 0);
    assert_int_equal(rtd_manager_allocations_new(report, &allocations), 0);
    assert_int_equal(rtd_manager_parts_new(report, &parts), 0);
    assert_int_equal(leaks->potential_leak_count + leaks->largest_count + leaks->pattern_count, 0);
    assert_null(leaks->highest_risk_component);
    assert_true(allocations->efficiency_score == 1.0);
    assert_true(allocations->fragmentation < 0.0);
    assert_string_equal(allocations->distribution[1].label, "small (1KB-64KB)");
    assert_int_equal(parts->count, 0);
    riptide_leaks_free(leaks);
    riptide_allocations_free(allocations);
    riptide_parts_free(parts);
    rtd_report_free(report);
}

static void nothing_is_freed_as_nothing(void **state)
{
    (void)state;
    riptide_leaks_free(NULL);
    riptide_allocations_free(NULL);
    riptide_parts_free(NULL);
}

static void bad_arguments_and_components_that_are_off_are_refused(void **state)
{
    (void)state;
    const struct riptide_allocation_analysis *allocations;
    const struct riptide_leak_analysis *leaks;
    const struct riptide_parts *parts;
    /* Refused before anything else of it is looked at. */
    struct riptide_manager manager = {0};
    assert_int_equal(riptide_analyze_leaks(NULL, &leaks), -EINVAL);
    assert_int_equal(riptide_analyze_allocations(NULL, &allocations), -EINVAL);
    assert_int_equal(riptide_memory_breakdown(NULL, &parts), -EINVAL);
    assert_int_equal(riptide_analyze_leaks(&manager, NULL), -EINVAL);
    assert_int_equal(riptide_analyze_allocations(&manager, NULL), -EINVAL);
    assert_int_equal(riptide_memory_breakdown(&manager, NULL), -EINVAL);
    assert_int_equal(riptide_analyze_leaks(&manager, &leaks), RIPTIDE_E_DISABLED);
    assert_null(leaks);
    assert_int_equal(riptide_analyze_allocations(&manager, &allocations), RIPTIDE_E_DISABLED);
    assert_null(allocations);
    assert_int_equal(riptide_memory_breakdown(&manager, &parts), RIPTIDE_E_DISABLED);
    assert_null(parts);
    manager.forked = 1;
    assert_int_equal(riptide_analyze_leaks(&manager, &leaks), RIPTIDE_E_FORKED);
    assert_int_equal(riptide_analyze_allocations(&manager, &allocations), RIPTIDE_E_FORKED);
    assert_int_equal(riptide_memory_breakdown(&manager, &parts), RIPTIDE_E_FORKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaks_of_all_domains_come_the_largest_first_and_outlive_the_report),
        cmocka_unit_test(the_largest_allocations_are_twenty_of_all_domains_with_their_stacks),
        cmocka_unit_test(components_of_all_domains_are_parts_in_order_of_size_then_name),
        cmocka_unit_test(allocations_list_twenty_owners_and_operations_of_all_domains),
        cmocka_unit_test(a_process_without_a_watched_heap_is_judged_by_its_records),
        cmocka_unit_test(the_same_records_give_the_same_answer),
        cmocka_unit_test(a_report_of_nothing_gives_empty_answers),
        cmocka_unit_test(nothing_is_freed_as_nothing),
        cmocka_unit_test(bad_arguments_and_components_that_are_off_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
