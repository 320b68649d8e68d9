// SPDX-License-Identifier: Apache-2.0
/*
 * export_prometheus_test.c - the exposition, judged by promtool and by its own rules.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  yes
 * Fails:      by an assertion; the judgement is skipped where promtool is not installed
 */
// clang-format off
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "../support/support_skip.h"
#include "export/export_report.h"
#include "export_sample.h"

#include <stdlib.h>
#include <unistd.h>

static char *page_of(const struct rtd_report *report)
{
    struct rtd_buffer buffer;
    size_t length = 0;

    rtd_buffer_init(&buffer);
    rtd_export_prometheus(&buffer, report);
    char *const text = rtd_buffer_take(&buffer, &length);
    assert_non_null(text);
    return text;
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static void page_has_the_promised_names(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const page = page_of(&sample.report);
    assert_contains(page, "\nriptide_memory_rss_bytes 67108864\n");
    assert_contains(page, "\nriptide_memory_heap_bytes 53001000\n");
    assert_contains(page, "\nriptide_memory_virtual_bytes 268435456\n");
    assert_contains(page, "\nriptide_leak_potential_count 2\n");
    assert_contains(page, "\nriptide_leak_suspects 2\n");
    assert_contains(page, "\nriptide_allocation_efficiency_score 0.75\n");
    assert_contains(page, "\nriptide_allocation_bytes_by_component{component=\"server\"} 50000000");
    assert_contains(page, "\nriptide_allocated_bytes_total{component=\"server\"} 90000000\n");
    assert_contains(page, "\nriptide_allocations_total{component=\"server\"} 23456\n");
    assert_contains(page, "\nriptide_losses_total{reason=\"samples_not_stored\"} 0\n");
    assert_contains(page, "\nriptide_sampling_interval_bytes 524288\n");
    assert_contains(page, "\nriptide_target_up 1\n");
    assert_contains(page, "\nriptide_processes 3\n");
    assert_contains(page, "riptide_build_info{version=\"");
    free(page);
}

static void labels_are_escaped(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const page = page_of(&sample.report);
    assert_contains(page, "component=\"evil\\\"\\\\\\n\x1b[31m</script><b>&\\\\xff\\\\xc0\\\\xaf");
    free(page);
}

/* Runs promtool on the page; its complaints into out. */
static int judge(const char *page, char *out, size_t size)
{
    char path[] = "/tmp/riptide-prometheus-XXXXXX", command[128];
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, page, strlen(page)), strlen(page));
    close(fd);
    snprintf(command, sizeof(command), "promtool check metrics < %s 2>&1", path);
    FILE *const pipe = popen(command, "r");
    assert_non_null(pipe);
    out[fread(out, 1, size - 1, pipe)] = '\0';
    const int status = pclose(pipe);
    unlink(path);
    return status;
}

static void promtool_complains_of_nothing_but_the_compatibility_name(void **state)
{
    char complaints[4096];
    struct sample sample;
    (void)state;

    if (system("command -v promtool >/dev/null 2>&1") != 0)
        rtd_support_skip("promtool is not installed");
    sample_init(&sample);
    for (unsigned i = 0; i < 2; i++) {
        char *const page = page_of(&sample.report);

        judge(page, complaints, sizeof(complaints));
        free(page);
        const char *line = complaints;
        while (*line) {
            const char *const end = line + strcspn(line, "\n");

            if (strncmp(line, "riptide_leak_potential_count ", 29) != 0)
                fail_msg("%.*s", (int)(end - line), line);
            line = *end ? end + 1 : end;
        }
        sample.report.target = &sample.processes[2];
    }
}

static void a_blind_target_has_no_heap_figures(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.report.target = &sample.processes[2];
    char *const page = page_of(&sample.report);
    assert_contains(page, "\nriptide_target_blind 1\n");
    assert_null(strstr(page, "heap_bytes"));
    assert_null(strstr(page, "riptide_leak_suspects"));
    assert_null(strstr(page, "riptide_memory_rss_bytes"));
    free(page);
}

enum { MANY = 150 };

struct many {
    char names[MANY][16];
    struct rtd_report_component components[MANY];
    struct rtd_report_site sites[MANY];
};

/* Component i was seen at second i + 1; live bytes fall with i, unless the last one jumps up. */
static void many_init(struct many *many, struct sample *sample, bool last_jumps)
{
    sample_init(sample);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(many->names[i], sizeof(many->names[i]), "part%03u", i);
        const uint64_t live = i == MANY - 1 && last_jumps ? 1000000 : MANY - i;
        many->components[i] =
            (struct rtd_report_component){many->names[i], SAMPLE_FIGURES(live, 1, 1000, 10)};
        many->sites[i] = (struct rtd_report_site){.component = many->names[i],
                                                  .first_seen_unix_ns = (i + 1) * 1000000000ull};
    }
    if (last_jumps) {
        const struct rtd_report_component jumped = many->components[MANY - 1];

        memmove(&many->components[1], &many->components[0], (MANY - 1) * sizeof(jumped));
        many->components[0] = jumped;
    }
    sample->processes[0].components = many->components;
    sample->processes[0].component_count = MANY;
    sample->processes[0].sites = many->sites;
    sample->processes[0].site_count = MANY;
}

static void components_beyond_a_hundred_are_summed_and_counters_never_fall(void **state)
{
    static struct many many;
    struct sample sample;
    (void)state;

    many_init(&many, &sample, false);
    char *page = page_of(&sample.report);
    assert_contains(page, "\nriptide_allocated_bytes_total{component=\"_other\"} 50000\n");
    assert_contains(page, "\nriptide_allocation_bytes_by_component{component=\"_other\"} 1275\n");
    assert_null(strstr(page, "part149"));
    free(page);
    many_init(&many, &sample, true);
    page = page_of(&sample.report);
    /* The gauge shows the newcomer; the counters keep their members, so none of them falls. */
    assert_contains(page, "riptide_allocation_bytes_by_component{component=\"part149\"} 1000000\n");
    assert_contains(page, "\nriptide_allocated_bytes_total{component=\"_other\"} 50000\n");
    assert_null(strstr(page, "riptide_allocated_bytes_total{component=\"part149\"}"));
    free(page);
}

static void a_component_called_other_is_no_second_series(void **state)
{
    static const struct rtd_report_component twice[] = {
        {"_other", SAMPLE_FIGURES(5, 1, 5, 1)},
    };
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.processes[0].components = twice;
    sample.processes[0].component_count = 1;
    char *const page = page_of(&sample.report);
    const char *const first = strstr(page, "bytes_by_component{component=\"_other\"} 5\n");
    assert_non_null(first);
    assert_null(strstr(first + 1, "bytes_by_component{"));
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_has_the_promised_names),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(promtool_complains_of_nothing_but_the_compatibility_name),
        cmocka_unit_test(a_blind_target_has_no_heap_figures),
        cmocka_unit_test(components_beyond_a_hundred_are_summed_and_counters_never_fall),
        cmocka_unit_test(a_component_called_other_is_no_second_series),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
