// SPDX-License-Identifier: Apache-2.0
/*
 * cli_report.c - riptide report: a recording, or a process under a running collector.
 *
 * Runs in:    command line
 * Threads:    one
 * Allocates:  the recording, the report, its text
 * Fails:      exit status 1: nothing could be shown; 2: no recording, no such process, wrong usage
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli_commands.h"
#include "cli/cli_output.h"
#include "collect/collect_query.h"
#include "collect/collect_resolve.h"
#include "collect/collect_say.h"
#include "history/history_recording.h"

enum { OPTION_JSON = 1, OPTION_BY, OPTION_TOP, OPTION_TIME_SCALE };

enum { TOP_MAX = 100000, RESOLVE_MS = 15000, DIAG_BYTES = 512, PID_LIMIT = 1 << 22 };

const struct rtd_cli_option rtd_cli_report_options[] = {
    {OPTION_JSON, 0, "json", NULL, "print the report as JSON (riptide.report/1)", NULL},
    {OPTION_BY, 0, "by", "WHAT", "group by site, component, operation or module",
     "site component operation module"},
    {OPTION_TOP, 0, "top", "N", "show N rows (20)", NULL},
    {OPTION_TIME_SCALE, 0, "time-scale", "N", "count one second as N in rates and ages", NULL},
    {0},
};

struct report_wish {
    const char *source;
    bool json;
    enum rtd_report_by by;
    uint64_t top;
    double time_scale; /* 0: not given */
};

static bool parse_by(const char *text, enum rtd_report_by *by)
{
    static const char *const names[] = {"site", "component", "operation", "module"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *by = (enum rtd_report_by)i;
            return true;
        }
    }
    return false;
}

static int say_output_failed(int error)
{
    rtd_collect_say("the report cannot be written: %s", strerror(-error));
    return 1;
}

static int print_report(const struct rtd_report *report, const struct report_wish *wish)
{
    const struct rtd_text_options options = {
        .by = wish->by,
        .top = (unsigned)wish->top,
        .colour = rtd_cli_colour(STDOUT_FILENO),
        .width = rtd_cli_width(STDOUT_FILENO),
    };
    struct rtd_buffer out;

    rtd_buffer_init(&out);
    if (wish->json)
        rtd_export_report_json(&out, report);
    else
        rtd_export_text(&out, report, &options);
    const int result = rtd_cli_flush(STDOUT_FILENO, &out);
    return result < 0 ? say_output_failed(result) : 0;
}

/*
 * A recording that was finished carries its names. One that was cut short does not: they are looked
 * for on this machine, in files with the same build id.
 */
static void name_sites(struct rtd_recording *recording)
{
    const struct rtd_symbol_options options = {.exec_worker = true};
    int error = 0;

    if (recording->complete || !recording->symbols)
        return;
    struct rtd_symbol_resolver *const resolver = rtd_symbol_resolver_new(&options, &error);
    rtd_collect_resolve(resolver, recording->symbols,
                        (const struct rtd_process_record *const *)recording->processes,
                        recording->process_count, RESOLVE_MS);
    rtd_symbol_resolver_free(resolver);
}

static void describe_gap(const struct rtd_recording *recording, char *note, size_t size)
{
    note[0] = '\0';
    if (recording->damage_offset >= 0)
        (void)snprintf(note, size, "the recording is damaged at byte %lld: %.200s",
                       (long long)recording->damage_offset, recording->damage);
    else if (!recording->complete)
        (void)snprintf(note, size,
                       "the collector is still writing, or was killed before the "
                       "program ended: this is the last state it wrote");
}

static int report_file(const struct report_wish *wish)
{
    int error = 0;
    char diag[DIAG_BYTES] = "", note[DIAG_BYTES];
    struct rtd_recording *const recording =
        rtd_recording_open(wish->source, &error, diag, sizeof(diag));

    if (!recording) {
        if (diag[0])
            rtd_collect_say("%s", diag);
        else
            rtd_collect_say("%s: %s", wish->source, strerror(-error));
        return RTD_EXIT_USAGE;
    }
    if (recording->damage_offset >= 0)
        rtd_collect_say("%s: damaged at byte %lld (%s); what stands before it is shown",
                        wish->source, (long long)recording->damage_offset, recording->damage);
    int result = 1;
    struct rtd_report *report = NULL;
    if (recording->process_count == 0) {
        rtd_collect_say("%s: the recording holds no process", wish->source);
        goto out;
    }
    name_sites(recording);
    describe_gap(recording, note, sizeof(note));
    const struct rtd_report_input input = {
        .process_count = recording->process_count,
        .processes = (const struct rtd_process_record *const *)recording->processes,
        .symbols = recording->symbols,
        .complete =
            recording->complete &&
                    recording->damage_offset<0, .note = note, .lost_writes = recording->lost_writes,
                                             .time_scale = wish->time_scale> 0
                ? wish->time_scale
                : 1,
    };
    report = rtd_report_new(&input);
    if (report)
        result = print_report(report, wish);
    else
        rtd_collect_say("%s: not enough memory for the report", wish->source);
out:
    rtd_report_free(report);
    rtd_recording_close(recording);
    return result;
}

static int report_process(const struct report_wish *wish, pid_t pid)
{
    struct rtd_query query = {
        .format = wish->json ? RTD_QUERY_JSON : RTD_QUERY_TEXT,
        .by = wish->by,
        .top = (uint32_t)wish->top,
        .colour = rtd_cli_colour(STDOUT_FILENO),
        .width = rtd_cli_width(STDOUT_FILENO),
        .time_scale = wish->time_scale,
    };
    char *text = NULL;
    size_t length_bytes = 0;
    int result = rtd_collect_ask(pid, &query, &text, &length_bytes);

    if (result == -ESRCH && query.pid == 0)
        rtd_collect_say("%s: no such process, and no such file", wish->source);
    else if (result == -ESRCH)
        rtd_collect_say("process %s is not in the run that its collector observes", wish->source);
    else if (result == -ENOTCONN)
        rtd_collect_say("process %s runs under no riptide; start it with riptide run",
                        wish->source);
    else if (result < 0)
        rtd_collect_say("process %s cannot be reported: %s", wish->source, strerror(-result));
    if (result < 0)
        return RTD_EXIT_USAGE;
    result = rtd_collect_write_all(STDOUT_FILENO, text, length_bytes);
    free(text);
    return result < 0 ? say_output_failed(result) : 0;
}

static int report(const struct rtd_cli_command *command, const struct report_wish *wish)
{
    struct stat info;
    uint64_t pid = 0;

    if (!wish->source)
        return rtd_cli_usage(command, "name a recording or a process");
    if (rtd_cli_parse_number(wish->source, 1, PID_LIMIT, &pid) && stat(wish->source, &info) < 0)
        return report_process(wish, (pid_t)pid);
    return report_file(wish);
}

static int take_option(const struct rtd_cli_command *command, int id, const char *value,
                       struct report_wish *wish)
{
    switch (id) {
    case RTD_CLI_ARGUMENT:
        if (wish->source)
            return rtd_cli_usage(command, "one recording or process at a time");
        wish->source = value;
        return 0;
    case OPTION_JSON:
        wish->json = true;
        return 0;
    case OPTION_BY:
        if (parse_by(value, &wish->by))
            return 0;
        return rtd_cli_usage(command, "--by %.100s: site, component, operation or module", value);
    case OPTION_TOP:
        if (rtd_cli_parse_number(value, 1, TOP_MAX, &wish->top))
            return 0;
        return rtd_cli_usage(command, "--top %.100s: a number from 1 to %d", value, TOP_MAX);
    case OPTION_TIME_SCALE:
        if (rtd_cli_parse_factor(value, &wish->time_scale))
            return 0;
        return rtd_cli_usage(command, "--time-scale %.100s: a number above 0", value);
    default:
        return RTD_EXIT_USAGE;
    }
}

int rtd_cli_report(const struct rtd_cli_command *command, int argc, char **argv)
{
    struct report_wish wish = {.by = RTD_BY_SITE};
    struct rtd_cli_parser parser;

    rtd_cli_parser_init(&parser, command, argc, argv);
    for (;;) {
        const int id = rtd_cli_next(&parser);
        if (id == RTD_CLI_END)
            return report(command, &wish);
        if (id == RTD_CLI_HELP)
            return 0;
        const int result = take_option(command, id, parser.value, &wish);
        if (result != 0)
            return result;
    }
}
