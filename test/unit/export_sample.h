// SPDX-License-Identifier: Apache-2.0
/*
 * export_sample.h - a report built by hand, with names as hostile as a program can make them.
 *
 * Runs in:    unit tests of export and serve
 * Threads:    one; the report points into static storage
 * Allocates:  never
 * Fails:      never
 */
#ifndef RTD_EXPORT_SAMPLE_H
#define RTD_EXPORT_SAMPLE_H

#include "analyze/analyze_report.h"
#include "ledger/ledger_handshake.h"

#include <stdio.h>
#include <string.h>

#define SAMPLE_HOSTILE "evil\"\\\n\x1b[31m</script><b>&\xff\xc0\xaf\xed\xa0\x80 \xe2\x80\xae end"

static const struct rtd_report_frame sample_frames[] = {
    {"leak_it(std::vector<int>&)", "src/leak.c", 42, "/usr/bin/server", "abcdef0123", 0x1234, true},
    {"main", "src/main.c", 7, "/usr/bin/server", "abcdef0123", 0x2345, false},
    {NULL, NULL, 0, "/lib/libc.so.6", "", 0x27249, false},
};

static const struct rtd_report_frame sample_hostile_frames[] = {
    {SAMPLE_HOSTILE, SAMPLE_HOSTILE, 9, SAMPLE_HOSTILE, "", 0xffffffffffffffff, false},
};

static const struct rtd_report_frame sample_unnamed_frames[] = {
    {NULL, NULL, 0, "/opt/lib/libstripped.so.2", "99", 0x1a2b, false},
};

#define SAMPLE_FIGURES(live, blocks, allocated, count)                                             \
    {                                                                                              \
        {live, (live) / 2, (live)*2}, {blocks, (blocks) / 2, (blocks)*2},                          \
            {allocated, (allocated) / 2, (allocated)*2},                                           \
        {                                                                                          \
            count, (count) / 2, (count)*2                                                          \
        }                                                                                          \
    }

static const struct rtd_report_site sample_sites[] = {
    {.id = 4001,
     .named_frame = 0,
     .function = "leak_it(std::vector<int>&)",
     .file = "src/leak.c",
     .module = "/usr/bin/server",
     .line = 42,
     .component = "server",
     .operation = "leak_it",
     .frame_count = 3,
     .frames = sample_frames,
     .figures = SAMPLE_FIGURES(50000000, 12345, 90000000, 23456),
     .samples_live = 100,
     .samples_total = 180,
     .first_seen_unix_ns = 1700000000123456789,
     .last_seen_unix_ns = 1700000100000000000},
    {.id = 17,
     .named_frame = 0,
     .function = SAMPLE_HOSTILE,
     .file = SAMPLE_HOSTILE,
     .module = SAMPLE_HOSTILE,
     .line = 9,
     .component = SAMPLE_HOSTILE,
     .operation = SAMPLE_HOSTILE,
     .frame_count = 1,
     .frames = sample_hostile_frames,
     .figures = SAMPLE_FIGURES(3000000, 300, 3000000, 300)},
    {.id = 18,
     .named_frame = 1,
     .module = "/opt/lib/libstripped.so.2",
     .component = "libstripped.so.2",
     .operation = "libstripped.so.2+0x1a2b",
     .frame_count = 1,
     .frames = sample_unnamed_frames,
     .truncated = true,
     .figures = SAMPLE_FIGURES(1000, 1, 18446744073709551615u / 4, 1)},
    {.id = 0,
     .named_frame = 0,
     .module = "?",
     .component = "?",
     .operation = "?",
     .figures = SAMPLE_FIGURES(0, 0, 77, 1)},
};

static const struct rtd_report_component sample_components[] = {
    {"server", SAMPLE_FIGURES(50000000, 12345, 90000000, 23456)},
    {SAMPLE_HOSTILE, SAMPLE_FIGURES(3000000, 300, 3000000, 300)},
    {"libstripped.so.2", SAMPLE_FIGURES(1000, 1, 1000, 1)},
};

static const struct rtd_report_operation sample_operations[] = {
    {"server", "leak_it", SAMPLE_FIGURES(50000000, 12345, 90000000, 23456)},
    {SAMPLE_HOSTILE, SAMPLE_HOSTILE, SAMPLE_FIGURES(3000000, 300, 3000000, 300)},
};

static const struct rtd_report_leak sample_leaks[] = {
    {.component = "server",
     .site = 4001,
     .site_ref = &sample_sites[0],
     .allocation_count = 12345,
     .total_size_bytes = 50000000,
     .average_size_bytes = 4050.2,
     .growth_rate = 12.5 * 1048576,
     .first_seen_unix_ns = 1700000000123456789,
     .last_seen_unix_ns = 1700000100000000000,
     .reason_count = 2,
     .reasons = {"high_growth_rate", "peak_growth"}},
    {.component = "without a site", .reason_count = 1, .reasons = {"large_live_size"}},
};

static const char *const sample_patterns[] = {"exponential growth in server " SAMPLE_HOSTILE};

static const struct rtd_report_recommendation sample_advice[] = {
    {"churn", "medium", "server allocates many short-lived blocks at leak.c:42"},
};

static void sample_process_init(struct rtd_report_process *process)
{
    const struct rtd_report_process filled = {
        .meta = {.id = 0,
                 .pid = 4711,
                 .parent_pid = 1,
                 .kind = RTD_HELLO_EXEC,
                 .status = RTD_PROCESS_RUNNING,
                 .exit_code = -1,
                 .started_unix_ns = 1700000000123456789,
                 .command = "./server --port 80",
                 .executable = "/usr/bin/server",
                 .allocator = "glibc"},
        .duration_seconds = 100.25,
        .interval_bytes = 524288,
        .totals = SAMPLE_FIGURES(53001000, 12646, 93001000, 23757),
        .peak_live_bytes = {60000000, 50000000, 70000000},
        .site_count = RTD_ARRAY_LENGTH(sample_sites),
        .sites = sample_sites,
        .component_count = RTD_ARRAY_LENGTH(sample_components),
        .components = sample_components,
        .operation_count = RTD_ARRAY_LENGTH(sample_operations),
        .operations = sample_operations,
        .memory = {.time_unix_ns = 1700000099999000000,
                   .rss_bytes = 64u << 20,
                   .heap_bytes = 53001000,
                   .virtual_bytes = 256u << 20,
                   .resident_bytes = 64u << 20,
                   .shared_bytes = 4u << 20,
                   .text_bytes = 1u << 20,
                   .data_bytes = 70u << 20,
                   .stack_bytes = 132u << 10,
                   .peak_rss_bytes = 65u << 20,
                   .peak_virtual_bytes = 260u << 20,
                   .limit_bytes = 1u << 30,
                   .limit_kind = RTD_LIMIT_CGROUP_MAX,
                   .pressure = 0.0625,
                   .threads = 3,
                   .minor_faults = 1000,
                   .major_faults = 2,
                   .valid = true},
        .leaks = {.potential_leak_count = RTD_ARRAY_LENGTH(sample_leaks),
                  .growth_rate_mb_per_hour = 12.5,
                  .highest_risk_component = "server",
                  .potential_leaks = sample_leaks,
                  .pattern_count = 1,
                  .suspicious_patterns = sample_patterns},
        .allocations = {.efficiency_score = 0.75,
                        .recommendation_count = 1,
                        .recommendations = sample_advice,
                        .distribution = {20000.4, 3000.6, 700, 50, 6},
                        .lifetime = {5, 4, 3}},
    };

    *process = filled;
}

struct sample {
    struct rtd_report_process processes[3];
    struct rtd_report report;
};

/* The target, a forked child that was killed, and a child that nobody could see. */
static void sample_init(struct sample *sample)
{
    memset(sample, 0, sizeof(*sample));
    for (unsigned i = 0; i < 3; i++)
        sample_process_init(&sample->processes[i]);
    struct rtd_report_process *const child = &sample->processes[1];
    child->meta.id = 1;
    child->meta.pid = 4712;
    child->meta.parent_pid = 4711;
    child->meta.kind = RTD_HELLO_FORK;
    child->meta.status = RTD_PROCESS_KILLED;
    child->meta.signal = 9;
    child->meta.ended_unix_ns = 1700000050000000000;
    struct rtd_report_process *const blind = &sample->processes[2];
    memset(blind, 0, sizeof(*blind));
    blind->meta = (struct rtd_process_meta){.id = 2,
                                            .pid = 4713,
                                            .status = RTD_PROCESS_BLIND,
                                            .exit_code = -1,
                                            .command = "./static " SAMPLE_HOSTILE,
                                            .blind_reason = "the program is statically linked"};
    sample->report = (struct rtd_report){.mode = RTD_MODE_SAMPLE,
                                         .process_count = 3,
                                         .processes = sample->processes,
                                         .target = &sample->processes[0],
                                         .complete = true,
                                         .note = ""};
}

/* The same as exact mode would report it: no intervals, and counts at each site of the target. */
struct exact_sample {
    struct sample sample;
    struct rtd_report_site sites[RTD_ARRAY_LENGTH(sample_sites)];
    struct rtd_report_counts counts[RTD_ARRAY_LENGTH(sample_sites)], total;
};

static inline void sample_settle(struct rtd_estimate *estimate)
{
    estimate->low = estimate->high = estimate->value;
}

static inline void sample_settle_all(struct rtd_report_figures *figures)
{
    sample_settle(&figures->live_bytes);
    sample_settle(&figures->live_blocks);
    sample_settle(&figures->allocated_bytes);
    sample_settle(&figures->allocations);
}

static inline void exact_sample_init(struct exact_sample *exact)
{
    memset(exact, 0, sizeof(*exact));
    sample_init(&exact->sample);
    struct rtd_report_process *const target = &exact->sample.processes[0];
    memcpy(exact->sites, sample_sites, sizeof(exact->sites));
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(exact->sites); i++) {
        sample_settle_all(&exact->sites[i].figures);
        exact->counts[i] = (struct rtd_report_counts){
            .frees = 11000 + i,
            .freed_bytes = 40000000 + i,
            .temporary = 9000 / (i + 1),
            .peak_bytes = i == 1 ? 55000000 : 1000 * i,
            .peak_blocks = 5 * i,
            .max_size = 4096,
            .lifetime = {11000 + i},
        };
        exact->sites[i].counts = &exact->counts[i];
    }
    exact->total = (struct rtd_report_counts){.frees = 44006, .temporary = 18750};
    sample_settle_all(&target->totals);
    sample_settle(&target->peak_live_bytes);
    target->interval_bytes = 0;
    target->sites = exact->sites;
    target->counts = &exact->total;
    target->peak_seconds = 12.345;
    target->unknown_frees = 7;
    target->missed_frees = 3;
    exact->sample.report.mode = RTD_MODE_EXACT;
    exact->sample.report.process_count = 1;
}

#endif
