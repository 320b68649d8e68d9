// SPDX-License-Identifier: Apache-2.0
/*
 * export_domains_test.c - domains and the allocator's figures on every face of a report.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  reports and texts
 * Fails:      by a failed assertion
 */
#include "analyze_domain.h"
#include "analyze_image.h"

#include "export/export_report.h"

#include <jansson.h>

#define APP_PC  UINT64_C(0x550000000100)
#define HOSTILE "g\"\\\n\x1b[31m"

enum { RECORDS, GPU, DOMAINS };

struct scene {
    struct made made;
    struct rtd_domain_record domains[DOMAINS];
    struct rtd_report *report;
};

/* "records" with two components, "gpu" with one whose name is hostile; the gpu states its use. */
static void scene_init(struct scene *scene, bool heap, bool domains)
{
    *scene = (struct scene){.made = made_new(4096)};
    struct rtd_process_record *record = scene->made.record;
    const uint64_t pcs[] = {APP_PC, 0};
    made_module(&scene->made, "", APP_PC - 0x100, 0);
    const uint32_t site = made_site(&scene->made, made_stack(&scene->made, 0, pcs),
                                    made_tag(&scene->made, "server", "listen"));
    made_birth(&scene->made, site, 1 << 20, 10, true);
    domain_init(&scene->domains[RECORDS], "records");
    domain_init(&scene->domains[GPU], "gpu");
    struct rtd_domain_record *records = &scene->domains[RECORDS], *gpu = &scene->domains[GPU];
    const uint32_t page =
        domain_site(records, domain_tag(records, "extraction", "parse_html"), 0x100);
    domain_birth(records, page, 1000, 1, 0x7000);
    records->image->samples[0].alignment_log = 13;
    domain_birth(records, page, 24, 2, 0);
    domain_birth(records, domain_site(records, domain_tag(records, "render", "draw"), 0), 100, 3,
                 0x8000);
    domain_birth(gpu, domain_site(gpu, domain_tag(gpu, HOSTILE, "load"), 0), 5000, 4, 0x9000);
    gpu->used_bytes = 4500;
    gpu->reserved_bytes = 8192;
    record->domain_count = domains ? DOMAINS : 0;
    record->domains = domains ? scene->domains : NULL;
    record->memory.allocator = (struct rtd_allocator_figures){
        .asked = domains,
        .name = "glibc",
        .allocated_bytes = 2 << 20,
        .active_bytes = RTD_ALLOCATOR_UNKNOWN,
        .metadata_bytes = RTD_ALLOCATOR_UNKNOWN,
        .resident_bytes = RTD_ALLOCATOR_UNKNOWN,
        .mapped_bytes = 4 << 20,
        .retained_bytes = 0,
        .unavailable = "glibc does not count these",
    };
    record->image = heap ? scene->made.image : NULL;
    if (!heap)
        strcpy(record->meta.blind_reason, "nobody asked for it");
    scene->report = made_report(&scene->made, NULL);
    record->image = scene->made.image;
}

static void scene_fini(struct scene *scene)
{
    rtd_report_free(scene->report);
    for (unsigned i = 0; i < DOMAINS; i++)
        domain_fini(&scene->domains[i]);
    made_free(&scene->made);
}

static char *text_of(const struct rtd_report *report,
                     void (*render)(struct rtd_buffer *, const struct rtd_report *))
{
    struct rtd_buffer buffer;
    size_t length;
    rtd_buffer_init(&buffer);
    render(&buffer, report);
    char *const text = rtd_buffer_take(&buffer, &length);
    assert_non_null(text);
    return text;
}

static json_t *json_of(const struct rtd_report *report,
                       void (*render)(struct rtd_buffer *, const struct rtd_report *))
{
    json_error_t error;
    char *const text = text_of(report, render);
    json_t *const value = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!value)
        fail_msg("%s at %d in %s", error.text, error.position, text);
    free(text);
    return value;
}

static void render_memory(struct rtd_buffer *out, const struct rtd_report *report)
{
    rtd_export_memory_json(out, report->target);
}

static void render_leaks(struct rtd_buffer *out, const struct rtd_report *report)
{
    rtd_export_leaks_json(out, report->target);
}

static void render_allocations(struct rtd_buffer *out, const struct rtd_report *report)
{
    rtd_export_allocations_json(out, report->target);
}

static void render_text(struct rtd_buffer *out, const struct rtd_report *report)
{
    const struct rtd_text_options options = {0};
    rtd_export_text(out, report, &options);
}

/* The JSON of what lies at the path ("a.b.0.c"), as one line; compared as such. */
static void assert_at(json_t *root, const char *path, const char *expected)
{
    char copy[256], *rest = NULL;
    json_t *at = root;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *key = strtok_r(copy, ".", &rest); key && at; key = strtok_r(NULL, ".", &rest))
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10))
                               : json_object_get(at, key);
    if (!at)
        fail_msg("%s is missing", path);
    char *const text = json_dumps(at, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(text, expected);
    free(text);
}

static void the_report_lists_each_domain_with_all_that_is_known(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true, true);
    json_t *const json = json_of(scene.report, rtd_export_report_json);
    assert_at(json, "mode", "\"sample\"");
    assert_int_equal(json_array_size(json_object_get(json, "components")), 1);
    assert_int_equal(json_array_size(json_object_get(json, "domains")), 2);
    assert_at(json, "domains.0.name", "\"records\"");
    assert_at(json, "domains.0.used_bytes", "null");
    assert_at(json, "domains.0.totals.live_bytes", "{\"value\":1124,\"low\":1124,\"high\":1124}");
    assert_at(json, "domains.0.components.0.name", "\"extraction\"");
    assert_at(json, "domains.0.operations.1.name", "\"draw\"");
    assert_at(json, "domains.0.sites.0.component", "\"extraction\"");
    assert_at(json, "domains.0.leaks.potential_leak_count", "0");
    assert_at(json, "domains.0.leaks.largest_allocations.0.address", "\"0x7000\"");
    assert_at(json, "domains.0.leaks.largest_allocations.0.alignment", "4096");
    assert_at(json, "domains.0.leaks.largest_allocations.1.alignment", "null");
    assert_at(json, "domains.0.leaks.largest_allocations.0.timestamp",
              "\"2023-11-14T22:13:20.001Z\"");
    assert_at(json, "domains.0.allocations.top_allocators.0", "[\"extraction\",1024]");
    assert_at(json, "domains.1.name", "\"gpu\"");
    assert_at(json, "domains.1.used_bytes", "4500");
    assert_at(json, "domains.1.reserved_bytes", "8192");
    assert_at(json, "domains.1.totals.frees", "0");
    json_decref(json);
    scene_fini(&scene);
}

static void a_report_without_domains_says_so_and_changes_nothing_else(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true, false);
    json_t *json = json_of(scene.report, rtd_export_report_json);
    assert_at(json, "domains", "[]");
    assert_null(json_object_get(json_object_get(json, "memory"), "domains"));
    assert_null(json_object_get(json_object_get(json, "memory"), "allocator_stats"));
    assert_at(json, "allocations.top_allocators", "[[\"server\",1048576]]");
    assert_at(json, "allocations.fragmentation", "null");
    assert_null(json_object_get(
        json_array_get(json_object_get(json_object_get(json, "allocations"), "operations"), 0),
        "domain"));
    json_decref(json);
    char *const page = text_of(scene.report, rtd_export_prometheus);
    assert_null(strstr(page, "domain"));
    assert_null(strstr(page, "riptide_allocator_"));
    free(page);
    scene_fini(&scene);
}

static void the_seeds_objects_begin_with_the_heap_and_name_domains(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true, true);
    json_t *json = json_of(scene.report, render_allocations);
    assert_at(json, "top_allocators",
              "[[\"server\",1048576],[\"gpu:g\\\"\\\\\\n\\u001B[31m\",5000],"
              "[\"records:extraction\",1024],[\"records:render\",100]]");
    assert_at(json, "operations.0.domain", "\"heap\"");
    assert_at(json, "operations.1.domain", "\"records\"");
    assert_at(json, "operations.3.domain", "\"gpu\"");
    assert_at(json, "distribution.tiny (<1KB)", "0");
    json_decref(json);
    json = json_of(scene.report, render_leaks);
    assert_at(json, "potential_leak_count", "0");
    assert_at(json, "largest_allocations.0.domain", "\"heap\"");
    assert_at(json, "largest_allocations.0.alignment", "null");
    assert_at(json, "largest_allocations.1.alignment", "4096");
    assert_at(json, "largest_allocations.1.domain", "\"records\"");
    assert_at(json, "largest_allocations.1.operation", "\"parse_html\"");
    json_decref(json);
    json = json_of(scene.report, render_memory);
    assert_at(json, "heap_bytes", "1048576");
    json_decref(json);
    scene_fini(&scene);
}

static void without_a_heap_the_records_take_its_place(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, false, true);
    json_t *json = json_of(scene.report, render_allocations);
    assert_at(json, "top_allocators.0.1", "5000");
    assert_at(json, "top_allocators.1", "[\"extraction\",1024]");
    assert_at(json, "distribution.tiny (<1KB)", "3");
    assert_at(json, "distribution.small (1KB-64KB)", "1");
    assert_true(json_is_number(json_object_get(json, "efficiency_score")));
    json_decref(json);
    json = json_of(scene.report, render_leaks);
    assert_at(json, "potential_leak_count", "0");
    assert_at(json, "growth_rate_mb_per_hour", "0");
    assert_at(json, "highest_risk_component", "null");
    assert_at(json, "largest_allocations.0.domain", "\"records\"");
    json_decref(json);
    json = json_of(scene.report, rtd_export_report_json);
    assert_at(json, "mode", "\"off\"");
    assert_at(json, "target.status", "\"running\"");
    assert_at(json, "target.blind_reason", "\"nobody asked for it\"");
    assert_at(json, "target.partly_blind", "null");
    assert_at(json, "leaks.blind_reason", "\"nobody asked for it\"");
    json_decref(json);
    scene_fini(&scene);
}

static void the_allocators_figures_are_null_with_a_reason_where_unknown(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, false, true);
    json_t *const json = json_of(scene.report, render_memory);
    assert_at(json, "heap_bytes", "2097152");
    assert_at(json, "allocator_stats.name", "\"glibc\"");
    assert_at(json, "allocator_stats.allocated_bytes", "2097152");
    assert_at(json, "allocator_stats.active_bytes", "null");
    assert_at(json, "allocator_stats.retained_bytes", "0");
    assert_at(json, "allocator_stats.unavailable", "\"glibc does not count these\"");
    assert_at(json, "domains.0",
              "{\"name\":\"records\",\"live_bytes\":1124,\"used_bytes\":null,"
              "\"reserved_bytes\":null}");
    assert_at(json, "domains.1.reserved_bytes", "8192");
    json_decref(json);
    char *const page = text_of(scene.report, rtd_export_prometheus);
    assert_non_null(strstr(page, "\nriptide_allocator_allocated_bytes 2097152\n"));
    assert_non_null(strstr(page, "\nriptide_allocator_retained_bytes 0\n"));
    assert_null(strstr(page, "riptide_allocator_active_bytes"));
    assert_non_null(strstr(page, "\nriptide_memory_heap_bytes 2097152\n"));
    free(page);
    scene_fini(&scene);
}

/* Every sample line of a page is one series, and its family was announced before, once. */
static void assert_page_is_sound(const char *page)
{
    for (const char *line = page; *line; line = strchr(line, '\n') + 1) {
        const size_t length = strcspn(line, *line == '#' ? "\n" : " ");
        char copy[1024];
        assert_true(length < sizeof copy - 1);
        snprintf(copy, sizeof copy, "\n%.*s%s", (int)length, line, *line == '#' ? "\n" : " ");
        if (line != page && strstr(line, copy))
            fail_msg("twice: %s", copy);
    }
}

static void prometheus_has_families_by_domain_beside_those_of_the_heap(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, true, true);
    char *const page = text_of(scene.report, rtd_export_prometheus);
    static const char *const lines[] = {
        "riptide_allocation_bytes_by_component{component=\"server\"} 1048576\n",
        "riptide_domain_live_bytes{domain=\"records\",component=\"extraction\"} 1024\n",
        "riptide_domain_live_bytes{domain=\"gpu\",component=\"g\\\"\\\\\\n\x1b[31m\"} 5000\n",
        "riptide_domain_allocated_bytes_total{domain=\"records\",component=\"render\"} 100\n",
        "riptide_domain_allocations_total{domain=\"records\",component=\"extraction\"} 2\n",
        "riptide_domain_live_blocks{domain=\"records\"} 3\n",
        "riptide_domain_used_bytes{domain=\"gpu\"} 4500\n",
        "riptide_domain_reserved_bytes{domain=\"gpu\"} 8192\n",
        "riptide_domain_leak_suspects{domain=\"gpu\"} 0\n",
        "riptide_memory_heap_bytes 1048576\n",
        "riptide_leak_potential_count 0\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!strstr(page, lines[i]))
            fail_msg("%s is missing", lines[i]);
    }
    assert_null(strstr(page, "by_component{component=\"extraction\"}"));
    assert_null(strstr(page, "riptide_domain_used_bytes{domain=\"records\"}"));
    assert_page_is_sound(page);
    free(page);
    scene_fini(&scene);
}

static void without_a_heap_prometheus_shows_records_under_the_seeds_names(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, false, true);
    char *const page = text_of(scene.report, rtd_export_prometheus);
    assert_non_null(
        strstr(page, "\nriptide_allocation_bytes_by_component{component=\"extraction\"} 1024\n"));
    assert_non_null(strstr(page, "mode=\"off\""));
    assert_non_null(strstr(page, "\nriptide_leak_suspects 0\n"));
    assert_null(strstr(page, "riptide_memory_heap_low_bytes"));
    assert_page_is_sound(page);
    free(page);
    scene_fini(&scene);
}

static void the_text_has_a_section_for_each_domain(void **state)
{
    (void)state;
    struct scene scene;
    for (int heap = 0; heap < 2; heap++) {
        scene_init(&scene, heap, true);
        char *const text = text_of(scene.report, render_text);
        assert_non_null(strstr(text, "domain records\n"));
        assert_non_null(strstr(text, "1.10 KiB live in 3 blocks"));
        assert_non_null(strstr(text, "  extraction\n"));
        assert_non_null(strstr(text, "4.39 KiB in use, as the program states, of 8.00 KiB"));
        assert_null(strchr(text, '\x1b'));
        free(text);
        scene_fini(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_report_lists_each_domain_with_all_that_is_known),
        cmocka_unit_test(a_report_without_domains_says_so_and_changes_nothing_else),
        cmocka_unit_test(the_seeds_objects_begin_with_the_heap_and_name_domains),
        cmocka_unit_test(without_a_heap_the_records_take_its_place),
        cmocka_unit_test(the_allocators_figures_are_null_with_a_reason_where_unknown),
        cmocka_unit_test(prometheus_has_families_by_domain_beside_those_of_the_heap),
        cmocka_unit_test(without_a_heap_prometheus_shows_records_under_the_seeds_names),
        cmocka_unit_test(the_text_has_a_section_for_each_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
