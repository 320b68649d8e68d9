// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_domains_test.c - records beside the heap: judged like it, and never added to it.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  records and reports
 * Fails:      by a failed assertion
 */
#include "analyze_domain.h"
#include "analyze_image.h"

#include "analyze/analyze_views.h"

#define APP UINT64_C(0x550000000000)

enum { RECORDS, GPU, DOMAINS };

/* A process with the domains "records" and "gpu". */
struct scene {
    struct made made;
    struct rtd_domain_record domains[DOMAINS];
    struct rtd_thresholds thresholds;
    bool heap;
};

static void scene_init(struct scene *scene, bool heap)
{
    *scene = (struct scene){
        .made = made_new(4096), .thresholds = rtd_thresholds_default(), .heap = heap};
    made_module(&scene->made, "", APP, 0);
    domain_init(&scene->domains[RECORDS], "records");
    domain_init(&scene->domains[GPU], "gpu");
    scene->made.record->domain_count = DOMAINS;
    scene->made.record->domains = scene->domains;
}

static void scene_fini(struct scene *scene)
{
    for (unsigned i = 0; i < DOMAINS; i++)
        domain_fini(&scene->domains[i]);
    made_free(&scene->made);
}

static struct rtd_report *scene_report(struct scene *scene)
{
    struct rtd_process_record *record = scene->made.record;
    const struct rtd_process_record *const list[] = {record};
    const struct rtd_report_input input = {
        .process_count = 1, .processes = list, .thresholds = &scene->thresholds};
    record->image = scene->heap ? scene->made.image : NULL;
    struct rtd_report *report = rtd_report_new(&input);
    record->image = scene->made.image;
    assert_non_null(report);
    return report;
}

/* A heap site with a live block and one that is gone. */
static void fill_heap(struct scene *scene)
{
    const uint64_t pcs[] = {APP + 0x101, 0};
    const uint32_t site = made_site(&scene->made, made_stack(&scene->made, 0, pcs),
                                    made_tag(&scene->made, "server", "listen"));
    made_birth(&scene->made, site, 1 << 20, 10, true);
    made_birth(&scene->made, site, 1 << 20, 20, false);
}

static void a_domain_is_counted_like_an_exact_heap_and_is_in_no_sum_of_the_heap(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true);
    fill_heap(&scene);
    struct rtd_domain_record *gpu = &scene.domains[GPU];
    gpu->used_bytes = 4096;
    const uint32_t textures = domain_site(gpu, domain_tag(gpu, "textures", "load"), 0x100);
    const uint32_t meshes = domain_site(gpu, domain_tag(gpu, "meshes", "load"), 0);
    domain_birth(gpu, textures, 3000, 5, 0x1000);
    domain_birth(gpu, textures, 1000, 6, 0x2000);
    domain_birth(gpu, meshes, 7, 7, 0);
    domain_death(gpu, meshes, 7);
    struct rtd_report *report = scene_report(&scene);
    const struct rtd_report_process *target = report->target;
    assert_int_equal(target->totals.live_bytes.value, 1 << 20);
    assert_int_equal(target->component_count, 1);
    assert_int_equal(target->memory.heap_bytes, 1 << 20);
    assert_int_equal(target->domain_count, 2);
    assert_string_equal(target->domains[RECORDS].name, "records");
    assert_int_equal(target->domains[RECORDS].seen->totals.allocations.value, 0);
    const struct rtd_report_domain *out = &target->domains[GPU];
    assert_string_equal(out->name, "gpu");
    assert_int_equal(out->used_bytes, 4096);
    assert_true(out->reserved_bytes == RTD_UNKNOWN_BYTES);
    assert_int_equal(out->seen->totals.live_bytes.value, 4000);
    assert_int_equal(out->seen->totals.live_bytes.low, 4000);
    assert_int_equal(out->seen->totals.live_bytes.high, 4000);
    assert_int_equal(out->seen->totals.allocated_bytes.value, 4007);
    assert_int_equal(out->seen->totals.allocations.value, 3);
    assert_int_equal(out->seen->counts->freed_bytes, 7);
    assert_int_equal(out->seen->component_count, 2);
    assert_string_equal(out->seen->components[0].name, "textures");
    assert_int_equal(out->seen->components[0].figures.live_bytes.value, 4000);
    assert_string_equal(out->seen->operations[1].component, "meshes");
    rtd_report_free(report);
    scene_fini(&scene);
}

static void views_begin_with_the_heap_or_with_what_stands_in_for_it(void **state)
{
    (void)state;
    struct rtd_report_view views[RTD_VIEW_MAX];
    char name[RTD_VIEW_NAME_BYTES];
    for (int heap = 0; heap < 2; heap++) {
        struct scene scene;
        scene_init(&scene, heap);
        fill_heap(&scene);
        struct rtd_report *report = scene_report(&scene);
        assert_int_equal(rtd_report_sees_heap(report->target), heap);
        assert_int_equal(rtd_report_views(report->target, views), DOMAINS + heap);
        assert_string_equal(views[0].domain, heap ? "heap" : "records");
        assert_string_equal(rtd_report_view_name(&views[0], "a", name), "a");
        assert_string_equal(rtd_report_view_name(&views[1], "a", name),
                            heap ? "records:a" : "gpu:a");
        rtd_report_free(report);
        scene_fini(&scene);
    }
}

/* For 400 seconds: the gpu's textures grow, one block a second, its meshes stay. */
static void play(struct scene *scene)
{
    struct rtd_domain_record *gpu = &scene->domains[GPU];
    struct rtd_domain_record *records = &scene->domains[RECORDS];
    const uint32_t textures = domain_site(gpu, domain_tag(gpu, "textures", "load"), 0x100);
    const uint32_t meshes = domain_site(gpu, domain_tag(gpu, "meshes", "load"), 0x200);
    const uint32_t pages = domain_site(records, domain_tag(records, "extraction", "page"), 0);
    domain_birth(gpu, meshes, 64 << 20, 1, 0x100000);
    for (uint32_t second = 0; second < 400; second++) {
        domain_birth(gpu, textures, 2 << 20, second * 1000, UINT64_C(0x10000000) + second);
        for (unsigned i = 0; i < 5; i++)
            domain_birth(records, pages, 4096, second * 1000,
                         UINT64_C(0x20000000) + second * 5 + i);
        domain_tick(gpu, second);
        domain_tick(records, second);
    }
}

static bool has_reason(const struct rtd_report_leak *leak, const char *reason)
{
    for (uint32_t i = 0; i < leak->reason_count; i++) {
        if (strcmp(leak->reasons[i], reason) == 0)
            return true;
    }
    return false;
}

static bool has_pattern(const struct rtd_report_leaks *leaks, const char *part)
{
    for (uint32_t i = 0; i < leaks->pattern_count; i++) {
        if (strstr(leaks->suspicious_patterns[i], part))
            return true;
    }
    return false;
}

static bool has_advice(const struct rtd_report_process *process, const char *id, const char *part)
{
    for (uint32_t i = 0; i < process->allocations.recommendation_count; i++) {
        if (strcmp(process->allocations.recommendations[i].id, id) == 0 &&
            strstr(process->allocations.recommendations[i].text, part))
            return true;
    }
    return false;
}

static void what_is_never_released_is_a_leak_of_its_domain(void **state)
{
    (void)state;
    struct scene scene;
    struct rtd_report_summary summary;
    scene_init(&scene, false);
    play(&scene);
    struct rtd_report *report = scene_report(&scene);
    const struct rtd_report_process *gpu = report->target->domains[GPU].seen;
    const struct rtd_report_process *records = report->target->domains[RECORDS].seen;
    assert_int_equal(report->target->leaks.potential_leak_count, 0);
    assert_int_equal(gpu->leaks.potential_leak_count, 1);
    const struct rtd_report_leak *leak = &gpu->leaks.potential_leaks[0];
    assert_string_equal(leak->component, "textures");
    assert_int_equal(leak->allocation_count, 400);
    assert_int_equal(leak->total_size_bytes, UINT64_C(400) * 2 << 20);
    assert_true(leak->growth_rate > 7100.0 * 1048576 && leak->growth_rate < 7300.0 * 1048576);
    assert_int_equal(leak->first_seen_unix_ns, DOMAIN_CREATED);
    assert_true(has_reason(leak, "high_growth_rate") && has_reason(leak, "large_live_size") &&
                has_reason(leak, "peak_growth"));
    assert_true(has_pattern(&gpu->leaks, "over 2 MB") == false);
    assert_true(has_pattern(&gpu->leaks, "Frequent large allocations"));
    assert_true(has_pattern(&gpu->leaks, "in gpu:textures with 5 or more"));
    assert_int_equal(records->leaks.potential_leak_count, 1);
    assert_true(has_reason(&records->leaks.potential_leaks[0], "small_allocation_accumulation"));
    rtd_report_summarize(report->target, &summary);
    assert_int_equal(summary.view_count, 2);
    assert_int_equal(summary.potential_leak_count, 2);
    assert_string_equal(summary.riskiest, "textures");
    assert_string_equal(summary.riskiest_view.domain, "gpu");
    /* Not added up. */
    assert_true(records->leaks.growth_rate_mb_per_hour > 60.0);
    assert_true(summary.growth_rate_mb_per_hour == gpu->leaks.growth_rate_mb_per_hour);
    assert_true(summary.distribution[1] == 2000.0 && summary.distribution[3] == 400.0 &&
                summary.distribution[4] == 1.0);
    rtd_report_free(report);
    scene_fini(&scene);
}

static void blocks_recorded_without_a_stack_have_none_in_common(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, false);
    play(&scene);
    struct rtd_report *report = scene_report(&scene);
    assert_false(
        has_pattern(&report->target->domains[RECORDS].seen->leaks, "Repeated allocations"));
    rtd_report_free(report);
    scene_fini(&scene);
}

static void sentences_name_the_domain_unless_it_stands_in_for_the_heap(void **state)
{
    (void)state;
    for (int heap = 0; heap < 2; heap++) {
        struct scene scene;
        scene_init(&scene, heap);
        fill_heap(&scene);
        play(&scene);
        scene.thresholds.hot_component_bytes = 1000;
        struct rtd_report *report = scene_report(&scene);
        assert_true(
            has_advice(report->target->domains[GPU].seen, "large_component", "gpu:textures holds"));
        const struct rtd_report_process *records = report->target->domains[RECORDS].seen;
        assert_true(has_advice(records, "small_allocations",
                               heap ? "allocations of records are" : "allocations are"));
        assert_int_equal(has_advice(records, "large_component", "records:extraction"), heap);
        rtd_report_free(report);
        scene_fini(&scene);
    }
}

/* Whether the gpu's or the records' part of a report says something. */
struct sign {
    unsigned domain;
    const char *reason, *pattern, *advice;
};

static bool shows(const struct rtd_report *report, const struct sign *sign)
{
    const struct rtd_report_process *seen = report->target->domains[sign->domain].seen;
    if (sign->pattern)
        return has_pattern(&seen->leaks, sign->pattern);
    if (sign->advice)
        return has_advice(seen, sign->advice, "");
    for (uint32_t i = 0; i < seen->leaks.potential_leak_count; i++) {
        if (has_reason(&seen->leaks.potential_leaks[i], sign->reason))
            return true;
    }
    return false;
}

static void assert_limit(struct scene *scene, const struct sign *sign, bool expected)
{
    struct rtd_report *report = scene_report(scene);
    if (shows(report, sign) != expected)
        fail_msg("%s%s%s %s", sign->reason ? sign->reason : "", sign->pattern ? sign->pattern : "",
                 sign->advice ? sign->advice : "", expected ? "is missing" : "is there");
    rtd_report_free(report);
    scene->thresholds = rtd_thresholds_default();
}

static void each_criterion_of_a_leak_follows_its_threshold(void **state)
{
    (void)state;
    static const struct sign growth = {GPU, "high_growth_rate", NULL, NULL};
    static const struct sign large = {GPU, "large_live_size", NULL, NULL};
    static const struct sign many = {RECORDS, "small_allocation_accumulation", NULL, NULL};
    static const struct sign peak = {GPU, "peak_growth", NULL, NULL};
    struct scene scene;
    scene_init(&scene, false);
    play(&scene);
    struct rtd_thresholds *limits = &scene.thresholds;
    assert_limit(&scene, &growth, true);
    limits->growth_rate_mb_per_hour = 8000.0;
    assert_limit(&scene, &growth, false);
    assert_limit(&scene, &large, true);
    limits->large_live_bytes = UINT64_C(801) << 20;
    assert_limit(&scene, &large, false);
    limits->recent_seconds = 0.5;
    assert_limit(&scene, &large, false);
    assert_limit(&scene, &many, true);
    limits->accumulation_count = 2000;
    assert_limit(&scene, &many, false);
    limits->accumulation_bytes = 2000 * 4096;
    assert_limit(&scene, &many, false);
    assert_limit(&scene, &peak, true);
    limits->peak_factor = 1000.0;
    assert_limit(&scene, &peak, false);
    scene_fini(&scene);
}

/*
 * A service opens, then loads: for 400 seconds `large` grows from 60 MiB to 68, `doubled` from 1 to
 * 7, `trickle` from nothing to 4, and `stairs` from one block to five.
 */
static void load_late(struct rtd_domain_record *records)
{
    const uint32_t large = domain_site(records, domain_tag(records, "large", "load"), 0x100);
    const uint32_t doubled = domain_site(records, domain_tag(records, "doubled", "load"), 0x200);
    const uint32_t trickle = domain_site(records, domain_tag(records, "trickle", "load"), 0x300);
    const uint32_t stairs = domain_site(records, domain_tag(records, "stairs", "load"), 0x400);
    domain_tick(records, 0);
    domain_birth(records, large, 60 << 20, 1000, 0x100000);
    domain_birth(records, doubled, 1 << 20, 1000, 0x200000);
    for (uint32_t second = 1; second < 400; second++) {
        domain_birth(records, large, (8 << 20) / 400, second * 1000, 0);
        domain_birth(records, doubled, (6 << 20) / 400, second * 1000, 0);
        domain_birth(records, trickle, (4 << 20) / 400, second * 1000, 0);
        if (second % 80 == 1)
            domain_birth(records, stairs, 1 << 20, second * 1000, 0x300000 + second);
        domain_tick(records, second);
    }
}

static void a_peak_by_itself_takes_a_level_that_doubled(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, false);
    load_late(&scene.domains[RECORDS]);
    struct rtd_report *report = scene_report(&scene);
    const struct rtd_report_leaks *leaks = &report->target->domains[RECORDS].seen->leaks;
    assert_int_equal(leaks->potential_leak_count, 4);
    for (uint32_t i = 0; i < leaks->potential_leak_count; i++) {
        const struct rtd_report_leak *leak = &leaks->potential_leaks[i];
        assert_true(has_reason(leak, "high_growth_rate"));
        assert_int_equal(has_reason(leak, "peak_growth"), strcmp(leak->component, "large") != 0);
    }
    rtd_report_free(report);
    scene.thresholds.growth_rate_mb_per_hour = 1000.0;
    scene.thresholds.large_live_bytes = UINT64_C(1) << 30;
    report = scene_report(&scene);
    leaks = &report->target->domains[RECORDS].seen->leaks;
    assert_int_equal(leaks->potential_leak_count, 1);
    assert_string_equal(leaks->potential_leaks[0].component, "doubled");
    assert_true(has_reason(&leaks->potential_leaks[0], "peak_growth"));
    rtd_report_free(report);
    scene_fini(&scene);
}

static void each_pattern_and_advice_follows_its_threshold(void **state)
{
    (void)state;
    static const struct sign large = {GPU, NULL, "Frequent large", NULL};
    static const struct sign repeated = {GPU, NULL, "Repeated", NULL};
    static const struct sign small = {RECORDS, NULL, NULL, "small_allocations"};
    static const struct sign huge = {GPU, NULL, NULL, "huge_allocations"};
    static const struct sign hot = {GPU, NULL, NULL, "large_component"};
    static const struct sign busy = {RECORDS, NULL, NULL, "busy_operation"};
    static const struct sign tiny = {RECORDS, NULL, NULL, "many_small_allocations"};
    struct scene scene;
    scene_init(&scene, false);
    play(&scene);
    struct rtd_thresholds *limits = &scene.thresholds;
    assert_limit(&scene, &large, true);
    limits->frequent_large_bytes = 2 << 20;
    assert_limit(&scene, &large, false);
    limits->frequent_large_count = 400;
    assert_limit(&scene, &large, false);
    assert_limit(&scene, &repeated, true);
    limits->repeated_stack_count = 401;
    assert_limit(&scene, &repeated, false);
    assert_limit(&scene, &small, true);
    limits->small_share = 1.0;
    assert_limit(&scene, &small, false);
    assert_limit(&scene, &huge, false);
    limits->huge_share = 0.001;
    assert_limit(&scene, &huge, true);
    assert_limit(&scene, &hot, true);
    limits->hot_component_bytes = UINT64_C(1) << 30;
    assert_limit(&scene, &hot, false);
    assert_limit(&scene, &busy, false);
    limits->frequent_operation_count = 1999;
    assert_limit(&scene, &busy, true);
    limits->small_pattern_count = 1999;
    assert_limit(&scene, &tiny, false);
    domain_birth(
        &scene.domains[RECORDS],
        domain_site(&scene.domains[RECORDS], domain_tag(&scene.domains[RECORDS], "tiny", "t"), 0),
        8, 0, 0);
    limits->small_pattern_count = 0;
    assert_limit(&scene, &tiny, true);
    scene_fini(&scene);
}

static void the_largest_blocks_are_twenty_by_size_then_age_then_address(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true);
    fill_heap(&scene);
    struct rtd_domain_record *gpu = &scene.domains[GPU];
    const uint32_t site = domain_site(gpu, domain_tag(gpu, "textures", "load"), 0x100);
    for (uint32_t i = 0; i < 40; i++)
        domain_birth(gpu, site, 100 + i, 7, 0x1000 + i);
    domain_birth(gpu, site, 500, 9, 0x30);
    domain_birth(gpu, site, 500, 8, 0x50);
    domain_birth(gpu, site, 500, 8, 0x40);
    gpu->image->samples[gpu->image->sample_count - 1].alignment_log = 64;
    gpu->image->samples[gpu->image->sample_count - 2].alignment_log = 1;
    struct rtd_report *report = scene_report(&scene);
    const struct rtd_report_leaks *leaks = &report->target->domains[GPU].seen->leaks;
    assert_int_equal(leaks->largest_count, RTD_LARGEST_MAX);
    assert_int_equal(leaks->largest[0].address, 0x40);
    assert_int_equal(leaks->largest[1].address, 0x50);
    assert_int_equal(leaks->largest[2].address, 0x30);
    assert_int_equal(leaks->largest[0].alignment, UINT64_C(1) << 63);
    assert_int_equal(leaks->largest[1].alignment, 1);
    assert_int_equal(leaks->largest[2].alignment, 0);
    for (uint32_t i = 3; i < RTD_LARGEST_MAX; i++)
        assert_int_equal(leaks->largest[i].size_bytes, 139 - (i - 3));
    assert_string_equal(leaks->largest[0].component, "textures");
    assert_string_equal(leaks->largest[0].operation, "load");
    assert_int_equal(leaks->largest[0].born_unix_ns, DOMAIN_CREATED + 8000000);
    assert_ptr_equal(leaks->largest[0].site, &report->target->domains[GPU].seen->sites[0]);
    assert_int_equal(report->target->leaks.largest_count, 1);
    assert_int_equal(report->target->leaks.largest[0].size_bytes, 1 << 20);
    assert_string_equal(report->target->leaks.largest[0].component, "server");
    rtd_report_free(report);
    scene_fini(&scene);
}

/* The id of "a/x" without a stack, its tag entered as the first or the second one. */
static uint32_t id_of_a(bool is_first)
{
    struct scene scene;
    scene_init(&scene, false);
    struct rtd_domain_record *records = &scene.domains[RECORDS];
    if (!is_first)
        (void)domain_tag(records, "b", "x");
    const uint32_t a = domain_tag(records, "a", "x");
    domain_birth(records, domain_site(records, a, 0), 100, 1, 0);
    struct rtd_report *report = scene_report(&scene);
    const uint32_t id = report->target->domains[RECORDS].seen->sites[0].id;
    rtd_report_free(report);
    scene_fini(&scene);
    return id;
}

static void a_site_without_a_stack_is_numbered_by_its_names(void **state)
{
    (void)state;
    assert_int_equal(id_of_a(true), id_of_a(false));
}

static void records_without_a_stack_are_one_site_a_tag(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, false);
    struct rtd_domain_record *records = &scene.domains[RECORDS];
    const uint32_t a = domain_tag(records, "a", "x"), b = domain_tag(records, "b", "x");
    domain_birth(records, domain_site(records, a, 0), 100, 1, 0);
    domain_birth(records, domain_site(records, b, 0), 50, 2, 0);
    domain_birth(records, domain_site(records, a, 0x100), 10, 3, 0x1000);
    domain_birth(records, domain_site(records, b, 0x100), 5, 4, 0x2000);
    struct rtd_report *report = scene_report(&scene);
    const struct rtd_report_process *seen = report->target->domains[RECORDS].seen;
    assert_int_equal(seen->site_count, 3);
    assert_true(seen->sites[0].id >= RTD_SITE_OF_TAG);
    assert_string_equal(seen->sites[0].component, "a");
    assert_true(seen->sites[1].id >= RTD_SITE_OF_TAG);
    assert_int_not_equal(seen->sites[0].id, seen->sites[1].id);
    assert_string_equal(seen->sites[1].component, "b");
    assert_int_equal(seen->sites[2].id, RTD_ROOT_COUNT + 0x100);
    assert_int_equal(seen->sites[2].figures.live_bytes.value, 15);
    rtd_report_free(report);
    scene_fini(&scene);
}

static void domains_that_are_called_the_same_are_told_apart(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true);
    strcpy(scene.domains[RECORDS].name, "heap");
    strcpy(scene.domains[GPU].name, "heap#0");
    struct rtd_report *report = scene_report(&scene);
    assert_string_equal(report->target->domains[0].name, "heap#0");
    assert_string_equal(report->target->domains[1].name, "heap#0#1");
    rtd_report_free(report);
    scene_fini(&scene);
}

static void fragmentation_is_what_no_live_block_explains_of_the_allocators_pages(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true);
    fill_heap(&scene);
    struct rtd_memory_snapshot *memory = &scene.made.record->memory;
    struct rtd_report *report = scene_report(&scene);
    assert_true(report->target->allocations.fragmentation < 0.0);
    rtd_report_free(report);
    memory->allocator = (struct rtd_allocator_figures){
        .asked = true,
        .name = "jemalloc",
        .allocated_bytes = 3 << 20,
        .active_bytes = RTD_ALLOCATOR_UNKNOWN,
        .metadata_bytes = RTD_ALLOCATOR_UNKNOWN,
        .resident_bytes = 4 << 20,
        .mapped_bytes = 16 << 20,
        .retained_bytes = RTD_ALLOCATOR_UNKNOWN,
        .unavailable = "",
    };
    report = scene_report(&scene);
    assert_true(report->target->allocations.fragmentation == 0.75);
    rtd_report_free(report);
    scene.heap = false;
    report = scene_report(&scene);
    assert_true(report->target->allocations.fragmentation == 0.25);
    assert_int_equal(report->target->memory.heap_bytes, 3 << 20);
    rtd_report_free(report);
    memory->allocator.resident_bytes = RTD_ALLOCATOR_UNKNOWN;
    report = scene_report(&scene);
    assert_true(report->target->allocations.fragmentation < 0.0);
    rtd_report_free(report);
    *memory = (struct rtd_memory_snapshot){.valid = true,
                                           .rss_bytes = 10 << 20,
                                           .shared_bytes = 4 << 20,
                                           .allocator = memory->allocator};
    report = scene_report(&scene);
    assert_true(report->target->allocations.fragmentation == 0.5);
    rtd_report_free(report);
    scene_fini(&scene);
}

static void a_domain_without_an_image_is_an_empty_one(void **state)
{
    (void)state;
    struct scene scene;
    struct rtd_report_summary summary;
    scene_init(&scene, false);
    domain_fini(&scene.domains[RECORDS]);
    scene.domains[RECORDS].image = NULL;
    struct rtd_report *report = scene_report(&scene);
    assert_int_equal(report->target->domain_count, 2);
    assert_int_equal(report->target->domains[RECORDS].seen->site_count, 0);
    rtd_report_summarize(report->target, &summary);
    assert_true(summary.efficiency_score == 1.0);
    rtd_report_free(report);
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_domain_is_counted_like_an_exact_heap_and_is_in_no_sum_of_the_heap),
        cmocka_unit_test(views_begin_with_the_heap_or_with_what_stands_in_for_it),
        cmocka_unit_test(what_is_never_released_is_a_leak_of_its_domain),
        cmocka_unit_test(blocks_recorded_without_a_stack_have_none_in_common),
        cmocka_unit_test(sentences_name_the_domain_unless_it_stands_in_for_the_heap),
        cmocka_unit_test(each_criterion_of_a_leak_follows_its_threshold),
        cmocka_unit_test(a_peak_by_itself_takes_a_level_that_doubled),
        cmocka_unit_test(each_pattern_and_advice_follows_its_threshold),
        cmocka_unit_test(the_largest_blocks_are_twenty_by_size_then_age_then_address),
        cmocka_unit_test(a_site_without_a_stack_is_numbered_by_its_names),
        cmocka_unit_test(records_without_a_stack_are_one_site_a_tag),
        cmocka_unit_test(domains_that_are_called_the_same_are_told_apart),
        cmocka_unit_test(fragmentation_is_what_no_live_block_explains_of_the_allocators_pages),
        cmocka_unit_test(a_domain_without_an_image_is_an_empty_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
