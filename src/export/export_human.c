// SPDX-License-Identifier: Apache-2.0
/*
 * export_human.c - figures, times and states in words.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions
 * Allocates:  never
 * Fails:      never
 */
#include "export/export_human.h"

#include "analyze/analyze_views.h"
#include "ledger/ledger_handshake.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const byte_units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

/* The unit in which bytes reads as less than 1000. */
static unsigned unit_of(uint64_t bytes, double *scale)
{
    unsigned unit = 0;

    *scale = 1;
    while (unit + 1 < RTD_ARRAY_LENGTH(byte_units) && (double)bytes / *scale >= 999.5) {
        *scale *= 1024;
        unit++;
    }
    return unit;
}

/* Three significant digits. */
static void put_short(char *out, size_t size, double value)
{
    const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

    snprintf(out, size, "%.*f", decimals, value);
}

struct rtd_words rtd_human_bytes(uint64_t bytes)
{
    struct rtd_words words;
    char figure[32];
    double scale;
    const unsigned unit = unit_of(bytes, &scale);

    if (unit == 0)
        snprintf(figure, sizeof(figure), "%" PRIu64, bytes);
    else
        put_short(figure, sizeof(figure), (double)bytes / scale);
    snprintf(words.text, sizeof(words.text), "%s %s", figure, byte_units[unit]);
    return words;
}

struct rtd_words rtd_human_about_bytes(struct rtd_estimate estimate)
{
    struct rtd_words words = rtd_human_bytes(estimate.value);

    if (estimate.value == 0 && estimate.high > 0)
        snprintf(words.text, sizeof(words.text), "<%.80s", rtd_human_bytes(estimate.high).text);
    return words;
}

struct rtd_words rtd_human_range_bytes(struct rtd_estimate estimate)
{
    struct rtd_words words;
    char low[32], high[32];
    double scale;

    if (estimate.low == estimate.value && estimate.high == estimate.value) {
        snprintf(words.text, sizeof(words.text), "exact");
        return words;
    }
    const unsigned unit = unit_of(estimate.high, &scale);
    if (unit == 0) {
        snprintf(words.text, sizeof(words.text), "%" PRIu64 "..%" PRIu64 " B", estimate.low,
                 estimate.high);
        return words;
    }
    if (estimate.low == 0)
        snprintf(low, sizeof(low), "0");
    else
        put_short(low, sizeof(low), (double)estimate.low / scale);
    put_short(high, sizeof(high), (double)estimate.high / scale);
    snprintf(words.text, sizeof(words.text), "%s..%s %s", low, high, byte_units[unit]);
    return words;
}

struct rtd_words rtd_human_digits(uint64_t count)
{
    struct rtd_words words;
    char digits[32];
    size_t used = 0;
    const int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            words.text[used++] = ',';
        words.text[used++] = digits[i];
    }
    words.text[used] = '\0';
    return words;
}

struct rtd_words rtd_human_count(uint64_t count)
{
    static const char suffixes[] = {'k', 'M', 'G', 'T', 'P', 'E'};
    struct rtd_words words;
    char figure[32];
    double scaled = (double)count / 1000;
    unsigned suffix = 0;

    if (count < 10000)
        return rtd_human_digits(count);
    while (scaled >= 999.5 && suffix + 1 < RTD_ARRAY_LENGTH(suffixes)) {
        scaled /= 1000;
        suffix++;
    }
    put_short(figure, sizeof(figure), scaled);
    snprintf(words.text, sizeof(words.text), "%s%c", figure, suffixes[suffix]);
    return words;
}

struct rtd_words rtd_human_duration(double seconds)
{
    struct rtd_words words;
    const double bounded = seconds > 0 && seconds < 1e12 ? seconds : 0;
    const uint64_t whole = (uint64_t)bounded;

    if (whole < 120)
        snprintf(words.text, sizeof(words.text), "%.*f s", bounded < 10 ? 2 : 1, bounded);
    else if (whole < 7200)
        snprintf(words.text, sizeof(words.text), "%" PRIu64 " min %" PRIu64 " s", whole / 60,
                 whole % 60);
    else if (whole < 172800)
        snprintf(words.text, sizeof(words.text), "%" PRIu64 " h %" PRIu64 " min", whole / 3600,
                 whole / 60 % 60);
    else
        snprintf(words.text, sizeof(words.text), "%" PRIu64 " d %" PRIu64 " h", whole / 86400,
                 whole / 3600 % 24);
    return words;
}

struct rtd_words rtd_human_time(uint64_t unix_ns)
{
    struct rtd_words words = {""};
    const time_t seconds = (time_t)(unix_ns / 1000000000);
    struct tm parts;

    if (unix_ns == 0 || !gmtime_r(&seconds, &parts))
        return words;
    const size_t used = strftime(words.text, sizeof(words.text), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(words.text + used, sizeof(words.text) - used, ".%03uZ",
             (unsigned)(unix_ns / 1000000 % 1000));
    return words;
}

struct rtd_words rtd_human_status(const struct rtd_process_meta *meta)
{
    struct rtd_words words;
    const char *const signal_name = sigabbrev_np(meta->signal);

    if (meta->status == RTD_PROCESS_KILLED && signal_name)
        snprintf(words.text, sizeof(words.text), "killed by signal %d (SIG%s)", (int)meta->signal,
                 signal_name);
    else if (meta->status == RTD_PROCESS_KILLED)
        snprintf(words.text, sizeof(words.text), "killed by signal %d", (int)meta->signal);
    else if (meta->status == RTD_PROCESS_EXITED && meta->exit_code >= 0)
        snprintf(words.text, sizeof(words.text), "exited with status %d", (int)meta->exit_code);
    else if (meta->status == RTD_PROCESS_REPLACED)
        snprintf(words.text, sizeof(words.text), "became another program");
    else
        snprintf(words.text, sizeof(words.text), "%s", rtd_human_status_name(meta->status));
    return words;
}

struct rtd_words rtd_human_place(const char *module, uint64_t offset)
{
    struct rtd_words words;
    const char *const slash = strrchr(module, '/');

    snprintf(words.text, sizeof(words.text), "%.64s+0x%" PRIx64, slash ? slash + 1 : module,
             offset);
    return words;
}

static bool in_c_library(const struct rtd_report_frame *frame)
{
    const char *const slash = strrchr(frame->module, '/');

    return strncmp(slash ? slash + 1 : frame->module, "libc.so", 7) == 0;
}

struct rtd_report_frame rtd_human_named(const struct rtd_report_site *site)
{
    const uint32_t index = site->named_frame < site->frame_count ? site->named_frame : 0;

    return (struct rtd_report_frame){
        .function = site->function,
        .file = site->file,
        .line = site->line,
        .module = site->module,
        .offset = site->frame_count ? site->frames[index].offset : 0,
    };
}

const struct rtd_report_frame *rtd_human_caller(const struct rtd_report_site *site, unsigned n)
{
    const char *last = site->function;

    if (site->file)
        return NULL;
    for (uint32_t i = site->named_frame + 1; i < site->frame_count; i++) {
        const struct rtd_report_frame *const frame = &site->frames[i];

        if (in_c_library(frame))
            return NULL;
        if (!frame->function || (last && strcmp(frame->function, last) == 0))
            continue;
        if (--n == 0)
            return frame;
        last = frame->function;
    }
    return NULL;
}

const char *rtd_human_status_name(uint32_t status)
{
    switch (status) {
    case RTD_PROCESS_EXITED:
    case RTD_PROCESS_REPLACED:
        return "exited";
    case RTD_PROCESS_KILLED:
        return "killed";
    case RTD_PROCESS_BLIND:
        return "blind";
    default:
        return "running";
    }
}

const char *rtd_human_mode_name(uint32_t mode)
{
    return mode == RTD_MODE_EXACT ? "exact" : "sample";
}

const char *rtd_human_kind_name(uint32_t kind)
{
    switch (kind) {
    case RTD_HELLO_EXEC:
        return "exec";
    case RTD_HELLO_FORK:
        return "fork";
    default:
        return "unseen";
    }
}

const char *rtd_human_mode_of(const struct rtd_report *report)
{
    const struct rtd_report_process *const target = report->target;

    return target && target->heap_unseen && target->domain_count
               ? "off"
               : rtd_human_mode_name(report->mode);
}

bool rtd_human_is_blind(const struct rtd_report_process *process)
{
    return !rtd_report_sees_heap(process);
}

bool rtd_human_lacks_heap(const struct rtd_report_process *process)
{
    return process->meta.status == RTD_PROCESS_BLIND ||
           (process->heap_unseen && process->meta.blind_reason[0] != '\0');
}

const char *rtd_human_limit(uint32_t kind)
{
    static const char *const words[RTD_LIMIT_KINDS] = {
        "control group, maximum",
        "control group, high",
        "control group, swap",
        "address space",
        "data",
        "host",
    };
    return kind < RTD_LIMIT_KINDS ? words[kind] : "unknown";
}
