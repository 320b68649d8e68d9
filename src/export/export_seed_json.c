// SPDX-License-Identifier: Apache-2.0
/*
 * export_seed_json.c - the three objects of the seed: memory, leaks, allocations.
 *
 * Runs in:    collector, report
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * Why so many nulls: a figure that is not known must never read as 0. A blind process has no leak
 * count and no efficiency; a process that was gone before the first look has no resident size.
 */
#include "export/export_human.h"
#include "export/export_parts.h"
#include "export/export_report.h"

static const char *const size_labels[RTD_SIZE_CLASSES] = {
    "tiny (<1KB)", "small (1KB-64KB)", "medium (64KB-1MB)", "large (1MB-16MB)", "huge (>16MB)"};

static const double bytes_per_mb = 1048576;

void rtd_export_put_estimate(struct rtd_json *json, const char *key, struct rtd_estimate estimate)
{
    rtd_json_object(json, key);
    rtd_json_uint(json, "value", estimate.value);
    rtd_json_uint(json, "low", estimate.low);
    rtd_json_uint(json, "high", estimate.high);
    rtd_json_end(json);
}

void rtd_export_put_figures(struct rtd_json *json, const struct rtd_report_figures *figures)
{
    rtd_export_put_estimate(json, "live_bytes", figures->live_bytes);
    rtd_export_put_estimate(json, "live_blocks", figures->live_blocks);
    rtd_export_put_estimate(json, "allocated_bytes", figures->allocated_bytes);
    rtd_export_put_estimate(json, "allocations", figures->allocations);
}

void rtd_export_put_time(struct rtd_json *json, const char *key, uint64_t unix_ns)
{
    const struct rtd_words time = rtd_human_time(unix_ns);

    rtd_json_string(json, key, time.text[0] ? time.text : NULL);
}

void rtd_export_put_operations(struct rtd_json *json, const char *key,
                               const struct rtd_report_process *process)
{
    rtd_json_array(json, key);
    for (uint32_t i = 0; i < process->operation_count; i++) {
        const struct rtd_report_operation *const operation = &process->operations[i];

        rtd_json_object(json, NULL);
        rtd_json_string(json, "component", operation->component);
        rtd_json_string(json, "name", operation->name);
        rtd_export_put_figures(json, &operation->figures);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

/* The figure, or null. */
static void put_known_uint(struct rtd_json *json, const char *key, bool known, uint64_t value)
{
    if (known)
        rtd_json_uint(json, key, value);
    else
        rtd_json_null(json, key);
}

static void put_known_mb(struct rtd_json *json, const char *key, bool known, uint64_t bytes)
{
    if (known)
        rtd_json_double(json, key, (double)bytes / bytes_per_mb);
    else
        rtd_json_null(json, key);
}

/* A live address space has pages of each of these kinds: 0 means that it could not be read. */
static void put_size(struct rtd_json *json, const char *key, uint64_t bytes)
{
    put_known_uint(json, key, bytes != 0, bytes);
}

static void put_faults(struct rtd_json *json, const struct rtd_memory_snapshot *memory)
{
    if (!memory->valid) {
        rtd_json_null(json, "faults");
        return;
    }
    rtd_json_object(json, "faults");
    rtd_json_uint(json, "minor", memory->minor_faults);
    rtd_json_uint(json, "major", memory->major_faults);
    rtd_json_end(json);
}

/* Pressure is a ratio to the limit and means nothing without one. */
static void put_limit(struct rtd_json *json, const struct rtd_memory_snapshot *memory)
{
    const bool known = memory->valid && memory->limit_bytes != 0;

    put_known_uint(json, "limit_bytes", known, memory->limit_bytes);
    rtd_json_string(json, "limit_kind",
                    !known                    ? NULL
                    : memory->limit_is_cgroup ? "cgroup"
                                              : "physical");
    if (known)
        rtd_json_double(json, "pressure", memory->pressure);
    else
        rtd_json_null(json, "pressure");
}

void rtd_export_put_memory(struct rtd_json *json, const char *key,
                           const struct rtd_report_process *process)
{
    static const struct rtd_memory_snapshot nothing;
    const struct rtd_memory_snapshot *const memory =
        process->memory.valid ? &process->memory : &nothing;
    const bool heap_known = !rtd_human_is_blind(process);
    const uint64_t heap_bytes = process->totals.live_bytes.value;

    rtd_json_object(json, key);
    put_known_mb(json, "rss_mb", memory->rss_bytes != 0, memory->rss_bytes);
    put_known_mb(json, "heap_mb", heap_known, heap_bytes);
    put_known_mb(json, "virtual_mb", memory->virtual_bytes != 0, memory->virtual_bytes);
    rtd_export_put_time(json, "timestamp", memory->time_unix_ns);
    put_size(json, "rss_bytes", memory->rss_bytes);
    put_known_uint(json, "heap_bytes", heap_known, heap_bytes);
    put_size(json, "virtual_bytes", memory->virtual_bytes);
    put_size(json, "resident_bytes", memory->resident_bytes);
    put_known_uint(json, "shared_bytes", memory->valid, memory->shared_bytes);
    put_size(json, "text_bytes", memory->text_bytes);
    put_size(json, "data_bytes", memory->data_bytes);
    put_size(json, "stack_bytes", memory->stack_bytes);
    put_size(json, "peak_rss_bytes", memory->peak_rss_bytes);
    put_size(json, "peak_virtual_bytes", memory->peak_virtual_bytes);
    put_known_uint(json, "swap_bytes", memory->valid, memory->swap_bytes);
    put_limit(json, memory);
    put_known_uint(json, "threads", memory->threads != 0, memory->threads);
    put_faults(json, memory);
    rtd_json_string(json, "allocator", process->meta.allocator[0] ? process->meta.allocator : NULL);
    rtd_json_end(json);
}

/* The seed's LeakInfo. A leak whose component has no sampled site left has no place. */
static void put_leak(struct rtd_json *json, const struct rtd_report_leak *leak)
{
    const struct rtd_report_site *const site = leak->site_ref;

    rtd_json_object(json, NULL);
    rtd_json_string(json, "component", leak->component);
    put_known_uint(json, "site", site != NULL, leak->site);
    rtd_json_string(json, "function", site ? site->function : NULL);
    rtd_json_string(json, "file", site ? site->file : NULL);
    put_known_uint(json, "line", site && site->line != 0, site ? site->line : 0);
    rtd_json_uint(json, "allocation_count", leak->allocation_count);
    rtd_json_uint(json, "total_size_bytes", leak->total_size_bytes);
    rtd_json_double(json, "average_size_bytes", leak->average_size_bytes);
    rtd_json_double(json, "growth_rate", leak->growth_rate);
    rtd_export_put_time(json, "first_seen", leak->first_seen_unix_ns);
    rtd_export_put_time(json, "last_seen", leak->last_seen_unix_ns);
    rtd_json_array(json, "reasons");
    for (uint32_t i = 0; i < leak->reason_count && i < RTD_ARRAY_LENGTH(leak->reasons); i++)
        rtd_json_string(json, NULL, leak->reasons[i]);
    rtd_json_end(json);
    rtd_json_null(json, "verdict");
    rtd_json_end(json);
}

/* Says in each object that stands alone why its figures are missing. */
static void put_blindness(struct rtd_json *json, const struct rtd_report_process *process)
{
    const bool blind = process->meta.status == RTD_PROCESS_BLIND;

    rtd_json_string(json, "blind_reason", blind ? process->meta.blind_reason : NULL);
}

void rtd_export_put_leaks(struct rtd_json *json, const char *key,
                          const struct rtd_report_process *process)
{
    const struct rtd_report_leaks *const leaks = &process->leaks;
    const bool blind = rtd_human_is_blind(process);

    rtd_json_object(json, key);
    put_known_uint(json, "potential_leak_count", !blind, leaks->potential_leak_count);
    if (blind)
        rtd_json_null(json, "growth_rate_mb_per_hour");
    else
        rtd_json_double(json, "growth_rate_mb_per_hour", leaks->growth_rate_mb_per_hour);
    rtd_json_string(json, "highest_risk_component", leaks->highest_risk_component);
    rtd_json_array(json, "potential_leaks");
    for (uint32_t i = 0; i < leaks->potential_leak_count; i++)
        put_leak(json, &leaks->potential_leaks[i]);
    rtd_json_end(json);
    rtd_json_array(json, "suspicious_patterns");
    for (uint32_t i = 0; i < leaks->pattern_count; i++)
        rtd_json_string(json, NULL, leaks->suspicious_patterns[i]);
    rtd_json_end(json);
    put_blindness(json, process);
    rtd_json_end(json);
}

/* Ages double from the ledger's unit; the last bucket is open. */
static void put_lifetimes(struct rtd_json *json, const struct rtd_report_allocations *allocations)
{
    rtd_json_array(json, "lifetimes");
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++) {
        rtd_json_object(json, NULL);
        put_known_uint(json, "below_ms", i + 1 < RTD_LIFETIME_BUCKETS,
                       (uint64_t)RTD_LIFETIME_UNIT_MS << i);
        rtd_json_uint(json, "sampled_frees", allocations->lifetime[i]);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

/* The labels are the seed's, to the letter; the counts are estimates, rounded. */
static void put_distribution(struct rtd_json *json,
                             const struct rtd_report_allocations *allocations)
{
    rtd_json_object(json, "distribution");
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++) {
        const double count = allocations->distribution[i];

        rtd_json_uint(json, size_labels[i],
                      count > 0 && count < 9e18 ? (uint64_t)(count + 0.5) : 0);
    }
    rtd_json_end(json);
}

static void put_recommendations(struct rtd_json *json,
                                const struct rtd_report_allocations *allocations)
{
    rtd_json_array(json, "recommendations");
    for (uint32_t i = 0; i < allocations->recommendation_count; i++) {
        const struct rtd_report_recommendation *const advice = &allocations->recommendations[i];

        rtd_json_object(json, NULL);
        rtd_json_string(json, "id", advice->id);
        rtd_json_string(json, "severity", advice->severity);
        rtd_json_string(json, "text", advice->text);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

void rtd_export_put_allocations(struct rtd_json *json, const char *key,
                                const struct rtd_report_process *process)
{
    const struct rtd_report_allocations *const allocations = &process->allocations;

    rtd_json_object(json, key);
    rtd_json_array(json, "top_allocators");
    for (uint32_t i = 0; i < process->component_count; i++) {
        rtd_json_array(json, NULL);
        rtd_json_string(json, NULL, process->components[i].name);
        rtd_json_uint(json, NULL, process->components[i].figures.live_bytes.value);
        rtd_json_end(json);
    }
    rtd_json_end(json);
    if (rtd_human_is_blind(process))
        rtd_json_null(json, "efficiency_score");
    else
        rtd_json_double(json, "efficiency_score", allocations->efficiency_score);
    put_recommendations(json, allocations);
    put_distribution(json, allocations);
    rtd_export_put_operations(json, "operations", process);
    put_lifetimes(json, allocations);
    put_blindness(json, process);
    rtd_json_end(json);
}

void rtd_export_memory_json(struct rtd_buffer *out, const struct rtd_report_process *process)
{
    struct rtd_json json;

    rtd_json_init(&json, out);
    rtd_export_put_memory(&json, NULL, process);
    rtd_buffer_putc(out, '\n');
}

void rtd_export_leaks_json(struct rtd_buffer *out, const struct rtd_report_process *process)
{
    struct rtd_json json;

    rtd_json_init(&json, out);
    rtd_export_put_leaks(&json, NULL, process);
    rtd_buffer_putc(out, '\n');
}

void rtd_export_allocations_json(struct rtd_buffer *out, const struct rtd_report_process *process)
{
    struct rtd_json json;

    rtd_json_init(&json, out);
    rtd_export_put_allocations(&json, NULL, process);
    rtd_buffer_putc(out, '\n');
}
