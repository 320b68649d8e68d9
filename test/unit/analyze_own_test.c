// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_own_test.c - what the library has itself on a heap: counted, but nobody's problem.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  records and reports
 * Fails:      by a failed assertion
 */
#include "analyze_domain.h"

#include <stdlib.h>

enum { SECONDS = 100 };

/* The image that domains are tested with serves as an exact heap here. */
struct scene {
    struct rtd_domain_record heap;
    struct rtd_process_record *record;
    uint32_t own, program;
    uintptr_t next;
};

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){.next = 0x100000, .record = calloc(1, sizeof *scene->record)};
    assert_non_null(scene->record);
    domain_init(&scene->heap, "heap");
    scene->record->meta.pid = 100;
    scene->record->meta.status = RTD_PROCESS_RUNNING;
    scene->own = domain_site(&scene->heap, domain_tag(&scene->heap, "riptide", "manager"), 0x100);
    scene->program = domain_site(&scene->heap, domain_tag(&scene->heap, "app", "work"), 0x200);
}

static void scene_fini(struct scene *scene)
{
    domain_fini(&scene->heap);
    free(scene->record);
}

static void allocate(struct scene *scene, uint32_t site, uint64_t size, uint32_t second)
{
    domain_birth(&scene->heap, site, size, second * 1000, scene->next);
    scene->next += 16;
}

static struct rtd_report *report_of(struct scene *scene)
{
    const struct rtd_process_record *const list[] = {scene->record};
    const struct rtd_report_input input = {.process_count = 1, .processes = list};
    scene->record->image = scene->heap.image;
    scene->record->series = scene->heap.series;
    struct rtd_report *report = rtd_report_new(&input);
    assert_non_null(report);
    return report;
}

/*
 * Meets every criterion with `site`: it grows, holds more than 100 MiB and allocates very often,
 * mostly little and now and then a lot.
 */
static void misbehave(struct scene *scene, uint32_t site)
{
    for (uint32_t second = 0; second < SECONDS; second++) {
        for (uint32_t i = 0; i < 150; i++)
            allocate(scene, site, 100, second);
        allocate(scene, site, UINT64_C(2) << 20, second);
        allocate(scene, scene->program, 70000, 0);
        domain_tick(&scene->heap, second);
    }
}

static void the_library_on_the_heap_is_counted_and_is_nobodys_problem(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    misbehave(&scene, scene.own);
    struct rtd_report *report = report_of(&scene);
    const struct rtd_report_process *target = report->target;
    assert_int_equal(target->component_count, 2);
    assert_string_equal(target->components[0].name, "riptide");
    assert_int_equal(target->totals.live_blocks.value, SECONDS * 152);
    assert_int_equal(target->site_count, 2);
    for (uint32_t i = 0; i < target->leaks.potential_leak_count; i++)
        assert_string_equal(target->leaks.potential_leaks[i].component, "app");
    assert_int_equal(target->leaks.pattern_count, 0);
    assert_int_equal(target->leaks.largest_count, 20);
    for (uint32_t i = 0; i < target->leaks.largest_count; i++)
        assert_string_equal(target->leaks.largest[i].component, "app");
    if (target->allocations.recommendation_count != 0)
        fail_msg("%s", target->allocations.recommendations[0].text);
    assert_true(target->allocations.efficiency_score == 1.0);
    rtd_report_free(report);
    scene_fini(&scene);
}

static void the_same_under_another_name_is_a_problem(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    strcpy(scene.heap.image->tags[scene.heap.image->sites[scene.own].tag].component, "service");
    misbehave(&scene, scene.own);
    struct rtd_report *report = report_of(&scene);
    const struct rtd_report_process *target = report->target;
    assert_true(target->leaks.potential_leak_count > 0);
    assert_string_equal(target->leaks.potential_leaks[0].component, "service");
    assert_true(target->leaks.pattern_count > 0);
    assert_string_equal(target->leaks.largest[0].component, "service");
    assert_int_equal(target->allocations.recommendation_count, 3);
    rtd_report_free(report);
    scene_fini(&scene);
}

static void what_the_library_does_at_once_has_no_say_in_the_score(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    for (uint32_t i = 0; i < 100; i++) {
        allocate(&scene, scene.own, 16, 1);
        domain_death(&scene.heap, scene.own, 16);
        scene.heap.image->sites[scene.own].lifetime[0]++;
        allocate(&scene, scene.program, 70000, 1);
    }
    domain_tick(&scene.heap, 1);
    struct rtd_report *report = report_of(&scene);
    assert_true(report->target->allocations.efficiency_score == 1.0);
    rtd_report_free(report);
    scene_fini(&scene);
}

static void the_library_is_none_of_the_components_that_memory_is_spread_over(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    for (uint32_t i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "part%u", i);
        const uint32_t tag = domain_tag(&scene.heap, name, "work");
        allocate(&scene, domain_site(&scene.heap, tag, 0x300 + i), 70000, 1);
    }
    allocate(&scene, scene.own, 70000, 1);
    domain_tick(&scene.heap, 1);
    struct rtd_report *report = report_of(&scene);
    assert_int_equal(report->target->component_count, 21);
    assert_true(report->target->allocations.efficiency_score == 1.0);
    rtd_report_free(report);
    scene_fini(&scene);
}

static void a_program_that_is_called_so_itself_is_left_out_of_nothing(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    /* Without a tag: the component is called after the executable. */
    strcpy(scene.record->meta.executable, "/usr/bin/riptide");
    scene.heap.image->sites[scene.program].tag = 0;
    scene.heap.image->modules[0].name[0] = '\0';
    misbehave(&scene, scene.program);
    allocate(&scene, scene.own, 500, SECONDS);
    struct rtd_report *report = report_of(&scene);
    assert_int_equal(report->target->component_count, 1);
    assert_string_equal(report->target->components[0].name, "riptide");
    assert_int_equal(report->target->leaks.potential_leak_count, 1);
    assert_int_equal(report->target->leaks.largest_count, 20);
    rtd_report_free(report);
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_library_on_the_heap_is_counted_and_is_nobodys_problem),
        cmocka_unit_test(the_same_under_another_name_is_a_problem),
        cmocka_unit_test(what_the_library_does_at_once_has_no_say_in_the_score),
        cmocka_unit_test(the_library_is_none_of_the_components_that_memory_is_spread_over),
        cmocka_unit_test(a_program_that_is_called_so_itself_is_left_out_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
