// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_report.c - see analyze_report.h: one report from the records of all processes.
 *
 * Runs in:    collector, report
 * Threads:    a report is immutable once built
 * Allocates:  one arena per report, freed with it; a second one per process while it is built
 * Fails:      NULL when memory is short
 */
#include "analyze/analyze_report.h"

#include "analyze/analyze_draft.h"
#include "analyze/analyze_maps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The report as it is handed out, first, with the memory that it lives in. */
struct owned_report {
    struct rtd_report report;
    struct rtd_arena arena;
};

static double duration_seconds(const struct rtd_process_record *record)
{
    const uint64_t started = record->meta.started_unix_ns;
    uint64_t ended = record->meta.ended_unix_ns;
    if (ended == 0 && record->image)
        ended = record->image->created_unix_ns + record->image->clock_ms * 1000000u;
    if (ended < record->memory.time_unix_ns && record->meta.ended_unix_ns == 0)
        ended = record->memory.time_unix_ns;
    return ended > started ? (double)(ended - started) / 1e9 : 0.0;
}

static int build_process(struct owned_report *owned, const struct rtd_report_input *input,
                         const struct rtd_process_record *record, struct rtd_report_process *out)
{
    struct rtd_arena scratch = {0};
    int result = 0;
    out->meta = record->meta;
    out->duration_seconds = duration_seconds(record);
    out->memory = record->memory;
    out->allocations.efficiency_score = 1.0;
    if (record->image) {
        struct rtd_draft draft = {
            .record = record,
            .symbols = input->symbols,
            .time_scale = input->time_scale > 0.0 ? input->time_scale : 1.0,
            .arena = &owned->arena,
            .scratch = &scratch,
            .process = out,
        };
        out->interval_bytes = record->image->exact ? 0 : record->image->interval_bytes;
        out->rejected = record->image->rejected;
        memcpy(out->losses, record->image->loss, sizeof out->losses);
        result = rtd_draft_sites(&draft);
        if (result == 0)
            result = rtd_draft_owners(&draft);
        if (result == 0)
            result = rtd_draft_leaks(&draft);
        if (result == 0)
            result = rtd_draft_allocations(&draft);
        if (result == 0)
            result = rtd_draft_mappings(&draft);
    }
    out->memory.heap_bytes = out->totals.live_bytes.value;
    rtd_arena_fini(&scratch);
    return result;
}

/* The newest image of the process that was run: an exec keeps its pid and takes a new id. */
static const struct rtd_report_process *find_target(const struct rtd_report_process *processes,
                                                    uint32_t count)
{
    const struct rtd_report_process *target = count ? &processes[0] : NULL;
    for (uint32_t i = 1; i < count; i++) {
        if (processes[i].meta.pid == target->meta.pid)
            target = &processes[i];
    }
    return target;
}

struct rtd_report *rtd_report_new(const struct rtd_report_input *input)
{
    struct owned_report *owned = calloc(1, sizeof *owned);
    if (!owned)
        return NULL;
    struct rtd_report *report = &owned->report;
    struct rtd_report_process *processes =
        rtd_arena_take_array(&owned->arena, input->process_count, sizeof *processes);
    int result = processes ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < input->process_count && result == 0; i++)
        result = build_process(owned, input, input->processes[i], &processes[i]);
    report->note = rtd_arena_intern(&owned->arena, input->note ? input->note : "");
    if (result < 0 || owned->arena.failed) {
        rtd_report_free(report);
        return NULL;
    }
    report->mode = RTD_MODE_SAMPLE;
    report->process_count = input->process_count;
    report->processes = processes;
    report->target = find_target(processes, input->process_count);
    report->complete = input->complete;
    report->recording_lost_writes = input->lost_writes;
    for (uint32_t i = 0; i < input->process_count; i++) {
        if (input->processes[i]->image && input->processes[i]->image->mode) {
            report->mode = input->processes[i]->image->mode;
            break;
        }
    }
    return report;
}

void rtd_report_free(struct rtd_report *report)
{
    if (!report)
        return;
    /* The report is the first member of what was allocated. */
    struct owned_report *owned = (struct owned_report *)report;
    rtd_arena_fini(&owned->arena);
    free(owned);
}
