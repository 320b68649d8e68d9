// SPDX-License-Identifier: Apache-2.0
/*
 * export_text_test.c - the essentials of the report for people.
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

#include "export/export_human.h"
#include "export/export_report.h"
#include "export_sample.h"

#include <stdlib.h>

static char *text_of(const struct rtd_report *report, const struct rtd_text_options *options)
{
    struct rtd_buffer buffer;
    size_t length = 0;

    rtd_buffer_init(&buffer);
    rtd_export_text(&buffer, report, options);
    char *const text = rtd_buffer_take(&buffer, &length);
    assert_non_null(text);
    return text;
}

static char *plain_text_of(const struct rtd_report *report)
{
    const struct rtd_text_options options = {0};

    return text_of(report, &options);
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static void report_names_target_figures_and_lines(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const text = plain_text_of(&sample.report);
    assert_contains(text, "RipTide: ./server --port 80\n");
    assert_contains(text, "pid 4711, running after 100.2 s");
    assert_contains(text, "mode sample, one sample per 512 KiB, allocator glibc");
    assert_contains(text, "live        50.5 MiB");
    assert_contains(text, "leak_it(std::vector<int>&)  src/leak.c:42");
    assert_contains(text, "main  src/main.c:7");
    assert_contains(text, "libstripped.so.2+0x1a2b");
    assert_contains(text, "because: high growth rate, peak growth");
    assert_contains(text, "killed by signal 9 (SIGKILL)");
    assert_contains(text, "blind: the program is statically linked");
    assert_contains(text, "resident    64.0 MiB");
    free(text);
}

static void exact_report_has_no_intervals_but_peak_and_temporary_allocations(void **state)
{
    struct exact_sample exact;
    (void)state;

    exact_sample_init(&exact);
    char *const text = plain_text_of(&exact.sample.report);
    assert_contains(text, "mode exact, allocator glibc");
    assert_contains(text, "Heap, every allocation counted");
    assert_contains(text, "53,001,000 B   12,646 blocks");
    assert_contains(text, "23,757 allocations, 18,750 of them temporary");
    assert_contains(text, "44,006 frees, and 7 of blocks from before the start");
    assert_contains(text, "peak: 60,000,000 bytes at 12.35 s");
    assert_contains(text, " 1  52.5 MiB        5   92 %");
    assert_contains(text, "Temporary allocations");
    assert_contains(text, " 1     9,000    23.5k   38 %  leak_it(std::vector<int>&)");
    assert_contains(text, "3 frees were not seen");
    assert_null(strstr(text, "interval"));
    free(text);
}

static void report_is_safe_for_a_terminal(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const text = plain_text_of(&sample.report);
    for (const char *c = text; *c; c++)
        assert_true((unsigned char)*c >= 0x20 || *c == '\n');
    assert_null(strstr(text, "\u202e"));
    free(text);
}

static void assert_tables_keep_to(unsigned width)
{
    struct rtd_text_options options = {.width = width};
    struct sample sample;

    sample_init(&sample);
    for (int by = RTD_BY_SITE; by <= RTD_BY_MODULE; by++) {
        options.by = (enum rtd_report_by)by;
        char *const text = text_of(&sample.report, &options);
        const char *row = strstr(text, "95 % interval blocks");

        assert_non_null(row);
        for (row = strchr(row, '\n') + 1; *row != '\n'; row = strchr(row, '\n') + 1) {
            unsigned columns = 0;
            const char *end = row;

            while (rtd_utf8_next(&end) != '\n')
                columns++;
            if (columns > width)
                fail_msg("%u columns: %.*s", columns, (int)(end - row), row);
        }
        free(text);
    }
}

static void tables_keep_to_the_width(void **state)
{
    (void)state;
    assert_tables_keep_to(120);
    assert_tables_keep_to(100);
    assert_tables_keep_to(80);
}

/* The text report of one site, which is all that the table holds. */
static char *text_of_site(const struct rtd_report_site *site, unsigned width)
{
    const struct rtd_text_options options = {.width = width};
    struct sample sample;

    sample_init(&sample);
    sample.processes[0].sites = site;
    sample.processes[0].site_count = 1;
    return text_of(&sample.report, &options);
}

static void a_site_without_a_file_shows_its_callers(void **state)
{
    static const struct rtd_report_frame frames[] = {
        {"zmalloc", NULL, 0, "/usr/bin/server", "", 0x10, false},
        {"zmalloc", NULL, 0, "/usr/bin/server", "", 0x18, false},
        {"createObject", NULL, 0, "/usr/bin/server", "", 0x20, false},
        {NULL, NULL, 0, "/usr/bin/server", "", 0x30, false},
        {"main", NULL, 0, "/usr/bin/server", "", 0x40, false},
        {"__libc_start_main", NULL, 0, "/lib/libc.so.6", "", 0x50, false},
    };
    struct rtd_report_site site = {.function = "zmalloc",
                                   .module = "/usr/bin/server",
                                   .component = "server",
                                   .operation = "zmalloc",
                                   .frame_count = RTD_ARRAY_LENGTH(frames),
                                   .frames = frames};
    (void)state;

    char *text = text_of_site(&site, 100);
    assert_contains(text, "  server     zmalloc < createObject < main\n");
    free(text);
    site.function = "zmalloc";
    site.file = "zmalloc.c";
    site.line = 3;
    text = text_of_site(&site, 100);
    assert_contains(text, "  server     zmalloc  zmalloc.c:3\n");
    free(text);
}

static void a_long_path_loses_whole_directories(void **state)
{
    struct rtd_report_site site = {.function = "extract_text",
                                   .file = "/home/somebody/project/examples/demo_service.c",
                                   .module = "/usr/bin/server",
                                   .component = "demo_service",
                                   .operation = "extract_text",
                                   .line = 144};
    (void)state;

    char *text = text_of_site(&site, 140);
    assert_contains(text, "extract_text  /home/somebody/project/examples/demo_service.c:144\n");
    free(text);
    text = text_of_site(&site, 110);
    assert_contains(text, "extract_text  project/examples/demo_service.c:144\n");
    free(text);
    text = text_of_site(&site, 100);
    assert_contains(text, "extract_text  examples/demo_service.c:144\n");
    free(text);
    text = text_of_site(&site, 80);
    assert_contains(text, "extract_text  demo_service.c:144\n");
    free(text);
}

static void colours_come_only_when_asked_for(void **state)
{
    const struct rtd_text_options options = {.colour = true};
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const text = text_of(&sample.report, &options);
    assert_contains(text, "\033[1m");
    free(text);
}

static void losses_are_named_only_when_there_are_any(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.processes[0].losses[RTD_LOSS_SAMPLES_THINNED] = 99;
    char *text = plain_text_of(&sample.report);
    assert_null(strstr(text, "Not seen"));
    free(text);
    sample.processes[0].losses[RTD_LOSS_SAMPLES_NOT_STORED] = 12345;
    text = plain_text_of(&sample.report);
    assert_contains(text, "Not seen\n  12,345 samples found no room");
    free(text);
}

static void a_blind_target_never_reads_as_clean(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.report.target = &sample.processes[2];
    char *const text = plain_text_of(&sample.report);
    const char *const blind = strstr(text, "BLIND: the program is statically linked");
    assert_non_null(blind);
    assert_null(strstr(text, "No component met"));
    assert_null(strstr(text, "Heap, with"));
    free(text);
}

static void an_incomplete_recording_says_so_first(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.report.complete = false;
    sample.report.note = "the recording ends at byte 4096";
    char *const text = plain_text_of(&sample.report);
    const char *const note = strstr(text, "INCOMPLETE: the recording ends at byte 4096");
    assert_non_null(note);
    assert_true(note < strstr(text, "Heap, with"));
    free(text);
}

static void a_program_too_small_to_be_sampled_is_told_so(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.processes[0].site_count = 0;
    char *const text = plain_text_of(&sample.report);
    assert_contains(text, "No allocation was sampled");
    free(text);
}

static void top_limits_the_rows_and_counts_the_rest(void **state)
{
    const struct rtd_text_options options = {.top = 1};
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const text = text_of(&sample.report, &options);
    assert_contains(text, "... and 3 more sites");
    free(text);
}

static void figures_read_with_three_digits_and_the_right_unit(void **state)
{
    (void)state;
    assert_string_equal(rtd_human_bytes(0).text, "0 B");
    assert_string_equal(rtd_human_bytes(999).text, "999 B");
    assert_string_equal(rtd_human_bytes(1000).text, "0.98 KiB");
    assert_string_equal(rtd_human_bytes(1048576).text, "1.00 MiB");
    assert_string_equal(rtd_human_bytes(UINT64_MAX).text, "16.0 EiB");
    assert_string_equal(rtd_human_about_bytes(rtd_estimate_exact(0)).text, "0 B");
    assert_string_equal(rtd_human_about_bytes((struct rtd_estimate){0, 0, 999}).text, "<999 B");
    assert_string_equal(rtd_human_about_bytes((struct rtd_estimate){5, 0, 999}).text, "5 B");
    assert_string_equal(rtd_human_count(9999).text, "9,999");
    assert_string_equal(rtd_human_count(12345).text, "12.3k");
    assert_string_equal(rtd_human_digits(1234567).text, "1,234,567");
    assert_string_equal(rtd_human_duration(0.5).text, "0.50 s");
    assert_string_equal(rtd_human_duration(192).text, "3 min 12 s");
    assert_string_equal(rtd_human_duration(-1).text, "0.00 s");
    assert_string_equal(rtd_human_time(0).text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_names_target_figures_and_lines),
        cmocka_unit_test(exact_report_has_no_intervals_but_peak_and_temporary_allocations),
        cmocka_unit_test(report_is_safe_for_a_terminal),
        cmocka_unit_test(tables_keep_to_the_width),
        cmocka_unit_test(a_site_without_a_file_shows_its_callers),
        cmocka_unit_test(a_long_path_loses_whole_directories),
        cmocka_unit_test(colours_come_only_when_asked_for),
        cmocka_unit_test(losses_are_named_only_when_there_are_any),
        cmocka_unit_test(a_blind_target_never_reads_as_clean),
        cmocka_unit_test(an_incomplete_recording_says_so_first),
        cmocka_unit_test(a_program_too_small_to_be_sampled_is_told_so),
        cmocka_unit_test(top_limits_the_rows_and_counts_the_rest),
        cmocka_unit_test(figures_read_with_three_digits_and_the_right_unit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
