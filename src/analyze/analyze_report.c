// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_report.c - see analyze_report.h: one report from the records of all processes.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    a report is immutable once built
 * Allocates:  one arena per report, freed with it; a second one per process while it is built
 * Fails:      NULL when memory is short
 */
#include "analyze/analyze_report.h"

#include "analyze/analyze_draft.h"
#include "analyze/analyze_maps.h"
#include "analyze/analyze_views.h"

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

/* What a report is built with, whatever part of it. */
struct report_work {
    struct owned_report *owned;
    const struct rtd_report_input *input;
    struct rtd_thresholds thresholds;
};

/* All that the record's image tells; domain and plain as in rtd_draft. 0 or -ENOMEM. */
static int analyze_image(const struct report_work *work, const struct rtd_process_record *record,
                         const char *domain, bool plain, struct rtd_report_process *out)
{
    struct rtd_arena scratch = {0};
    struct rtd_draft draft = {
        .record = record,
        .symbols = work->input->symbols,
        .time_scale = work->input->time_scale > 0.0 ? work->input->time_scale : 1.0,
        .thresholds = &work->thresholds,
        .domain = domain,
        .plain = plain,
        .arena = &work->owned->arena,
        .scratch = &scratch,
        .process = out,
    };
    out->interval_bytes = record->image->exact ? 0 : record->image->interval_bytes;
    out->rejected = record->image->rejected;
    memcpy(out->losses, record->image->loss, sizeof out->losses);
    int result = rtd_draft_sites(&draft);
    if (result == 0)
        result = rtd_draft_owners(&draft);
    if (result == 0)
        result = rtd_draft_leaks(&draft);
    if (result == 0)
        result = rtd_draft_largest(&draft);
    if (result == 0)
        result = rtd_draft_allocations(&draft);
    if (result == 0)
        result = rtd_draft_mappings(&draft);
    rtd_arena_fini(&scratch);
    return result;
}

/*
 * Fills *out, but for its name. A domain is analyzed as the heap of a process of which nothing else
 * is known: no memory snapshot, since what the kernel says of resident pages is not about records.
 */
static int build_domain(const struct report_work *work, const struct rtd_process_record *process,
                        const struct rtd_domain_record *domain, bool plain,
                        struct rtd_report_domain *out)
{
    struct rtd_arena *const arena = &work->owned->arena;
    struct rtd_report_process *seen = rtd_arena_take(arena, sizeof *seen);
    struct rtd_process_record *record = calloc(1, sizeof *record);
    int result = seen && record ? 0 : -ENOMEM;
    if (result == 0) {
        record->meta = process->meta;
        record->image = domain->image;
        record->series = domain->series;
        seen->allocations.efficiency_score = 1.0;
        seen->allocations.fragmentation = -1.0;
        if (domain->image)
            result = analyze_image(work, record, out->name, plain, seen);
    }
    free(record);
    out->used_bytes = domain->used_bytes;
    out->reserved_bytes = domain->reserved_bytes;
    out->seen = seen;
    return result;
}

/* Names are labels of series: two that are equal, or one that is the heap's, would not do. */
static const char *unique_name(struct rtd_arena *arena, const struct rtd_report_domain *others,
                               uint32_t index, const char *name)
{
    bool taken = strcmp(name, RTD_VIEW_HEAP) == 0;
    for (uint32_t i = 0; i < index; i++)
        taken |= strcmp(others[i].name, name) == 0;
    return taken ? rtd_arena_format(arena, "%s#%u", name, index) : rtd_arena_intern(arena, name);
}

/* The same with an image that is there only meanwhile. */
static int build_borrowed(const struct report_work *work, const struct rtd_process_record *process,
                          uint32_t index, bool plain, struct rtd_report_domain *out)
{
    const struct rtd_domain_source *const source = work->input->domains;
    int result = source ? source->take(source->context, index) : 0;
    if (result == 0)
        result = build_domain(work, process, &process->domains[index], plain, out);
    if (source)
        source->drop(source->context, index);
    return result;
}

static int build_domains(const struct report_work *work, const struct rtd_process_record *record,
                         struct rtd_report_process *out)
{
    const uint32_t count =
        record->domain_count < RTD_DOMAIN_MAX ? record->domain_count : RTD_DOMAIN_MAX;
    struct rtd_report_domain *domains;
    int result = 0;
    if (!record->domains || count == 0)
        return 0;
    domains = rtd_arena_take_array(&work->owned->arena, count, sizeof *domains);
    if (!domains)
        return -ENOMEM;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        const bool plain = i == 0 && !rtd_report_sees_heap(out);
        domains[i].name = unique_name(&work->owned->arena, domains, i, record->domains[i].name);
        result = build_borrowed(work, record, i, plain, &domains[i]);
    }
    out->domains = domains;
    out->domain_count = count;
    return result;
}

static uint64_t heap_bytes(const struct rtd_report_process *process)
{
    const struct rtd_allocator_figures *allocator = &process->memory.allocator;
    if (!rtd_report_sees_heap(process) && allocator->asked &&
        allocator->allocated_bytes != RTD_ALLOCATOR_UNKNOWN)
        return allocator->allocated_bytes;
    return process->totals.live_bytes.value;
}

static int build_process(const struct report_work *work, const struct rtd_process_record *record,
                         struct rtd_report_process *out)
{
    int result = 0;
    out->meta = record->meta;
    out->duration_seconds = duration_seconds(record);
    out->memory = record->memory;
    out->allocations.efficiency_score = 1.0;
    out->heap_unseen = !record->image;
    if (record->image)
        result = analyze_image(work, record, NULL, true, out);
    out->memory.heap_bytes = heap_bytes(out);
    rtd_forecast_make(record, work->input->time_scale, &out->forecast);
    out->breakdown = record->breakdown;
    out->limits = record->limits;
    out->stalls = record->stalls;
    if (!out->heap_unseen)
        rtd_breakdown_split(&out->breakdown, out->totals.live_bytes.value, &out->memory.allocator);
    out->allocations.fragmentation = rtd_draft_fragmentation(out);
    return result < 0 ? result : build_domains(work, record, out);
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
    const struct report_work work = {
        .owned = owned,
        .input = input,
        .thresholds = input->thresholds ? *input->thresholds : rtd_thresholds_default(),
    };
    struct rtd_report_process *processes =
        rtd_arena_take_array(&owned->arena, input->process_count, sizeof *processes);
    int result = processes ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < input->process_count && result == 0; i++)
        result = build_process(&work, input->processes[i], &processes[i]);
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
    report->watches_alerts = input->alerts != NULL;
    if (input->alerts)
        report->alerts = *input->alerts;
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
