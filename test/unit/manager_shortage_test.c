// SPDX-License-Identifier: Apache-2.0
/*
 * manager_shortage_test.c - reports and answers when memory is short: for every allocation that
 * they make, the one that fails is noticed, and nothing is left behind.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  reports and answers, through a calloc() that refuses on demand
 * Fails:      by a failed assertion; what is left behind, under a leak checker
 */
#include "analyze_domain.h"
#include "analyze_image.h"

#include "manager/manager_analysis.h"

#include <errno.h>

enum { DOMAINS = 2, COMPONENTS = 300, SECONDS = 60, PROBES_MAX = 1000 };

/* The allocation that is refused, counted down; 0: none is. */
static unsigned refuse;

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

void *__wrap_calloc(size_t count, size_t bytes)
{
    if (refuse > 0 && --refuse == 0)
        return NULL;
    return __real_calloc(count, bytes);
}

struct scene {
    struct made made;
    struct rtd_domain_record domains[DOMAINS];
};

/* Enough of everything that each table and string has to grow. */
static void scene_init(struct scene *scene)
{
    const uint64_t pcs[] = {UINT64_C(0x550000000101), 0};
    char name[48];
    *scene = (struct scene){.made = made_new(4096)};
    made_module(&scene->made, "", UINT64_C(0x550000000000), 0);
    const uint32_t site = made_site(&scene->made, made_stack(&scene->made, 0, pcs), 0);
    domain_init(&scene->domains[0], "records");
    domain_init(&scene->domains[1], "gpu");
    for (uint32_t i = 0; i < COMPONENTS; i++) {
        struct rtd_domain_record *domain = &scene->domains[i % DOMAINS];
        snprintf(name, sizeof name, "a component with a long name, %u", i);
        const uint32_t index =
            domain_site(domain, domain_tag(domain, name, "operation"), (i + 1) * 16);
        for (uint32_t second = 0; second < SECONDS; second++)
            domain_birth(domain, index, 100000, second * 10000, (uint64_t)i * 1000 + second + 1);
    }
    for (uint32_t second = 0; second < SECONDS; second++) {
        made_birth(&scene->made, site, 65536, second * 10000, true);
        domain_tick(&scene->domains[0], second * 10);
        domain_tick(&scene->domains[1], second * 10);
    }
    scene->made.record->domain_count = DOMAINS;
    scene->made.record->domains = scene->domains;
}

static void scene_fini(struct scene *scene)
{
    for (unsigned i = 0; i < DOMAINS; i++)
        domain_fini(&scene->domains[i]);
    made_free(&scene->made);
}

static struct rtd_report *report_of(const struct scene *scene)
{
    const struct rtd_process_record *const list[] = {scene->made.record};
    const struct rtd_report_input input = {.process_count = 1, .processes = list};
    return rtd_report_new(&input);
}

static void a_report_is_complete_or_not_made(void **state)
{
    (void)state;
    struct scene scene;
    struct rtd_report *report = NULL;
    unsigned probe = 0, left = 0;
    scene_init(&scene);
    while (left == 0) {
        assert_true(++probe < PROBES_MAX);
        refuse = probe;
        report = report_of(&scene);
        left = refuse;
        refuse = 0;
        /* Nothing was refused exactly when the report was made. */
        assert_int_equal(report != NULL, left > 0);
    }
    assert_true(probe > 10);
    assert_int_equal(report->target->domains[0].seen->component_count, COMPONENTS / DOMAINS);
    rtd_report_free(report);
    scene_fini(&scene);
}

/* An answer that is made in one way, and freed. */
static int make_leaks(const struct rtd_report *report, const void **answer)
{
    const struct riptide_leak_analysis *out;
    const int result = rtd_manager_leaks_new(report, &out);
    *answer = out;
    riptide_leaks_free(out);
    return result;
}

static int make_allocations(const struct rtd_report *report, const void **answer)
{
    const struct riptide_allocation_analysis *out;
    const int result = rtd_manager_allocations_new(report, &out);
    *answer = out;
    riptide_allocations_free(out);
    return result;
}

static int make_parts(const struct rtd_report *report, const void **answer)
{
    const struct riptide_parts *out;
    const int result = rtd_manager_parts_new(report, &out);
    *answer = out;
    riptide_parts_free(out);
    return result;
}

static void an_answer_is_complete_or_an_error(void **state)
{
    (void)state;
    static int (*const makers[])(const struct rtd_report *,
                                 const void **) = {make_leaks, make_allocations, make_parts};
    struct scene scene;
    scene_init(&scene);
    struct rtd_report *report = report_of(&scene);
    assert_non_null(report);
    for (unsigned i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        unsigned probe = 0, left = 0;
        while (left == 0) {
            const void *answer;
            assert_true(++probe < PROBES_MAX);
            refuse = probe;
            const int result = makers[i](report, &answer);
            left = refuse;
            refuse = 0;
            assert_int_equal(result, left > 0 ? 0 : -ENOMEM);
            assert_int_equal(answer != NULL, left > 0);
        }
        assert_true(probe > 2);
    }
    rtd_report_free(report);
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_is_complete_or_not_made),
        cmocka_unit_test(an_answer_is_complete_or_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
