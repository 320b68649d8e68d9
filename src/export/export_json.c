// SPDX-License-Identifier: Apache-2.0
/*
 * export_json.c - riptide.report/1: the report as one JSON document.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * The target's own figures stand at the top level; "processes" lists every image with its totals,
 * the target's entry without "sites" (they are above) and the others' with the largest ones only,
 * so that a program with hundreds of children keeps a report of bounded size.
 */
#include "export/export_alerts.h"
#include "export/export_human.h"
#include "export/export_parts.h"
#include "export/export_report.h"

enum { CHILD_SITES_MAX = 100 };

/* The members that name a place, as it is in frame; the rest of frame is not looked at. */
static void put_place(struct rtd_json *json, const struct rtd_report_frame *frame)
{
    rtd_json_string(json, "function", frame->function);
    rtd_json_string(json, "file", frame->file);
    /* A line is null and never 0 when it is not known: editors would open line 0. */
    if (frame->line)
        rtd_json_uint(json, "line", frame->line);
    else
        rtd_json_null(json, "line");
    rtd_json_string(json, "module", frame->module);
}

static void put_frame(struct rtd_json *json, const struct rtd_report_frame *frame)
{
    rtd_json_object(json, NULL);
    put_place(json, frame);
    rtd_json_string(json, "build_id", frame->build_id);
    rtd_export_put_known(json, "offset", frame->offset != 0, frame->offset);
    rtd_json_bool(json, "inlined", frame->inlined);
    rtd_json_end(json);
}

void rtd_export_put_site_head(struct rtd_json *json, const struct rtd_report_site *site)
{
    const struct rtd_report_frame named = rtd_human_named(site);

    rtd_json_uint(json, "id", site->id);
    put_place(json, &named);
    rtd_json_string(json, "component", site->component);
    rtd_json_string(json, "operation", site->operation);
    rtd_json_array(json, "stack");
    for (uint32_t i = 0; i < site->frame_count; i++)
        put_frame(json, &site->frames[i]);
    rtd_json_end(json);
    rtd_json_bool(json, "truncated", site->truncated);
    rtd_export_put_figures(json, &site->figures);
}

static void put_peak(struct rtd_json *json, const struct rtd_report_counts *counts)
{
    rtd_json_object(json, "peak");
    rtd_json_uint(json, "live_bytes", counts->peak_bytes);
    rtd_json_uint(json, "live_blocks", counts->peak_blocks);
    rtd_json_end(json);
}

/* What exact mode counts besides: members of the open object. */
static void put_counts(struct rtd_json *json, const struct rtd_report_counts *counts)
{
    rtd_json_uint(json, "frees", counts->frees);
    rtd_json_uint(json, "freed_bytes", counts->freed_bytes);
    rtd_json_uint(json, "temporary", counts->temporary);
    rtd_json_uint(json, "max_size", counts->max_size);
    rtd_json_array(json, "lifetime");
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++)
        rtd_json_uint(json, NULL, counts->lifetime[i]);
    rtd_json_end(json);
}

/* A site with the contract's keys, then ours: how well it is founded and when it was seen. */
static void put_site(struct rtd_json *json, const struct rtd_report_site *site)
{
    rtd_json_object(json, NULL);
    rtd_export_put_site_head(json, site);
    if (site->counts) {
        put_counts(json, site->counts);
        put_peak(json, site->counts);
    }
    rtd_json_uint(json, "samples_live", site->samples_live);
    rtd_json_uint(json, "samples_total", site->samples_total);
    rtd_export_put_time(json, "first_seen", site->first_seen_unix_ns);
    rtd_export_put_time(json, "last_seen", site->last_seen_unix_ns);
    rtd_json_null(json, "verdict");
    rtd_json_end(json);
}

void rtd_export_put_sites(struct rtd_json *json, const struct rtd_report_process *process,
                          uint32_t most)
{
    rtd_json_array(json, "sites");
    for (uint32_t i = 0; i < process->site_count && i < most; i++)
        put_site(json, &process->sites[i]);
    rtd_json_end(json);
}

void rtd_export_put_components(struct rtd_json *json, const struct rtd_report_process *process)
{
    rtd_json_array(json, "components");
    for (uint32_t i = 0; i < process->component_count; i++) {
        rtd_json_object(json, NULL);
        rtd_json_string(json, "name", process->components[i].name);
        rtd_export_put_figures(json, &process->components[i].figures);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

void rtd_export_put_totals(struct rtd_json *json, const struct rtd_report_process *process)
{
    rtd_json_object(json, "totals");
    rtd_export_put_figures(json, &process->totals);
    rtd_export_put_estimate(json, "peak_live_bytes", process->peak_live_bytes);
    if (process->counts) {
        rtd_json_double(json, "peak_seconds", process->peak_seconds);
        put_counts(json, process->counts);
        rtd_json_uint(json, "unknown_frees", process->unknown_frees);
    }
    rtd_json_end(json);
}

/* The losses that belong to one process; the object stays open. */
static void open_losses(struct rtd_json *json, const struct rtd_report_process *process)
{
    rtd_json_object(json, "losses");
    for (unsigned i = 0; i < RTD_LOSS_COUNT; i++) {
        const char *const name = rtd_loss_name(i);

        if (name)
            rtd_json_uint(json, name, process->losses[i]);
    }
    if (process->counts) {
        rtd_json_uint(json, "missed_frees", process->missed_frees);
        rtd_json_uint(json, "untracked", process->untracked);
    }
    rtd_json_uint(json, "ledger_records_rejected", process->rejected);
}

/* How the process fares or ended: members of the open object. */
static void put_fate(struct rtd_json *json, const struct rtd_report_process *process)
{
    const struct rtd_process_meta *const meta = &process->meta;
    const bool blind = rtd_human_lacks_heap(process);

    rtd_export_put_time(json, "started", meta->started_unix_ns);
    rtd_json_double(json, "duration_seconds", process->duration_seconds);
    rtd_json_string(json, "status", rtd_human_status_name(meta->status));
    if (meta->status != RTD_PROCESS_KILLED && meta->exit_code >= 0)
        rtd_json_int(json, "exit_code", meta->exit_code);
    else
        rtd_json_null(json, "exit_code");
    if (meta->signal > 0)
        rtd_json_int(json, "signal", meta->signal);
    else
        rtd_json_null(json, "signal");
    rtd_json_string(json, "blind_reason", blind ? meta->blind_reason : NULL);
    rtd_json_string(json, "partly_blind",
                    !blind && meta->blind_reason[0] ? meta->blind_reason : NULL);
}

static void put_target(struct rtd_json *json, const struct rtd_report_process *target)
{
    rtd_json_object(json, "target");
    rtd_json_uint(json, "pid", target->meta.pid);
    rtd_json_string(json, "command", target->meta.command);
    rtd_json_string(json, "executable", target->meta.executable);
    put_fate(json, target);
    rtd_json_end(json);
}

/*
 * One image. An image that ended by exec reads as exited, and the flag says why. The sites of the
 * target stand on the top level already.
 */
static void put_process(struct rtd_json *json, const struct rtd_report_process *process,
                        const struct rtd_report_process *target)
{
    const struct rtd_process_meta *const meta = &process->meta;

    rtd_json_object(json, NULL);
    rtd_json_uint(json, "id", meta->id);
    rtd_json_uint(json, "pid", meta->pid);
    rtd_json_uint(json, "parent_pid", meta->parent_pid);
    rtd_json_string(json, "command", meta->command);
    rtd_json_string(json, "kind", rtd_human_kind_name(meta->kind));
    rtd_json_bool(json, "ended_by_exec", meta->status == RTD_PROCESS_REPLACED);
    put_fate(json, process);
    rtd_json_uint(json, "interval_bytes", process->interval_bytes);
    rtd_export_put_totals(json, process);
    if (process != target)
        rtd_export_put_sites(json, process, CHILD_SITES_MAX);
    if (process != target)
        rtd_export_put_mappings(json, "mappings", process, CHILD_SITES_MAX);
    rtd_export_put_components(json, process);
    open_losses(json, process);
    rtd_json_end(json);
    rtd_json_end(json);
}

/* Everything at the top level that is about the target. */
static void put_target_figures(struct rtd_json *json, const struct rtd_report *report)
{
    const struct rtd_report_process *const target = report->target;

    put_target(json, target);
    rtd_json_string(json, "mode", rtd_human_mode_of(report));
    rtd_json_uint(json, "interval_bytes", target->interval_bytes);
    rtd_json_string(json, "allocator",
                    target->meta.allocator[0] ? target->meta.allocator : "other");
    rtd_export_put_totals(json, target);
    rtd_export_put_sites(json, target, UINT32_MAX);
    rtd_export_put_components(json, target);
    rtd_export_put_operations(json, "operations", target);
    rtd_export_put_mappings(json, "mappings", target, UINT32_MAX);
    rtd_export_put_memory(json, "memory", target);
    rtd_export_put_leaks(json, "leaks", target);
    rtd_export_put_allocations(json, "allocations", target);
    rtd_export_put_domains(json, "domains", target);
    open_losses(json, target);
    rtd_json_uint(json, "recording_lost_writes", report->recording_lost_writes);
    rtd_json_end(json);
}

void rtd_export_report_json(struct rtd_buffer *out, const struct rtd_report *report)
{
    struct rtd_json json;

    rtd_json_init(&json, out);
    rtd_json_object(&json, NULL);
    rtd_json_string(&json, "schema", "riptide.report/1");
    rtd_json_string(&json, "riptide_version", RTD_VERSION);
    rtd_json_bool(&json, "complete", report->complete);
    rtd_json_string(&json, "note", report->note && report->note[0] ? report->note : NULL);
    if (report->target)
        put_target_figures(&json, report);
    else
        rtd_json_null(&json, "target");
    rtd_export_put_alerts(&json, "alerts", report);
    rtd_json_array(&json, "processes");
    for (uint32_t i = 0; i < report->process_count; i++)
        put_process(&json, &report->processes[i], report->target);
    rtd_json_end(&json);
    rtd_json_end(&json);
    rtd_buffer_putc(out, '\n');
}
