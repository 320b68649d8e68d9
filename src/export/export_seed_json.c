// SPDX-License-Identifier: Apache-2.0
/*
 * export_seed_json.c - the three objects of the seed: memory, leaks, allocations.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * Why so many nulls: a figure that is not known must never read as 0. A blind process has no leak
 * count and no efficiency; a process that was gone before the first look has no resident size.
 *
 * Of a process with domains, leaks and allocations speak of all that is seen (analyze_views.h):
 * lists go by domain, heap first, and so may be in no order as a whole. top_allocators alone is in
 * order of bytes, as riptide_analyze_allocations() has it.
 */
#include "analyze/analyze_views.h"
#include "export/export_breakdown.h"
#include "export/export_forecast.h"
#include "export/export_human.h"
#include "export/export_limits.h"
#include "export/export_parts.h"
#include "export/export_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

/* What the answers about one process are made from. */
struct seen {
    const struct rtd_report_process *process;
    uint32_t view_count;
    struct rtd_report_view views[RTD_VIEW_MAX];
    struct rtd_report_summary summary;
};

static void look_at(const struct rtd_report_process *process, struct seen *out)
{
    out->process = process;
    out->view_count = rtd_report_views(process, out->views);
    rtd_report_summarize(process, &out->summary);
}

/* Where there is but the heap, nobody needs to be told. */
static void put_domain(struct rtd_json *json, const struct seen *seen,
                       const struct rtd_report_view *view)
{
    if (seen->process->domain_count)
        rtd_json_string(json, "domain", view->domain);
}

/* The open object's start: whose it is. seen NULL: of the heap alone. */
static void put_operation(struct rtd_json *json, const struct seen *seen,
                          const struct rtd_report_view *view,
                          const struct rtd_report_operation *operation)
{
    rtd_json_object(json, NULL);
    if (seen)
        put_domain(json, seen, view);
    rtd_json_string(json, "component", operation->component);
    rtd_json_string(json, "name", operation->name);
    rtd_export_put_figures(json, &operation->figures);
    rtd_json_end(json);
}

void rtd_export_put_operations(struct rtd_json *json, const char *key,
                               const struct rtd_report_process *process)
{
    rtd_json_array(json, key);
    for (uint32_t i = 0; i < process->operation_count; i++)
        put_operation(json, NULL, NULL, &process->operations[i]);
    rtd_json_end(json);
}

static void put_all_operations(struct rtd_json *json, const struct seen *seen)
{
    rtd_json_array(json, "operations");
    for (uint32_t v = 0; v < seen->view_count; v++) {
        const struct rtd_report_process *const part = seen->views[v].seen;

        for (uint32_t i = 0; i < part->operation_count; i++)
            put_operation(json, seen, &seen->views[v], &part->operations[i]);
    }
    rtd_json_end(json);
}

void rtd_export_put_known(struct rtd_json *json, const char *key, bool known, uint64_t value)
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
    rtd_export_put_known(json, key, bytes != 0, bytes);
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

/* What the allocator of a process says of itself, where it was asked. */
static void put_allocator(struct rtd_json *json, const struct rtd_allocator_figures *figures)
{
    const struct {
        const char *key;
        uint64_t bytes;
    } members[] = {
        {"allocated_bytes", figures->allocated_bytes}, {"active_bytes", figures->active_bytes},
        {"metadata_bytes", figures->metadata_bytes},   {"resident_bytes", figures->resident_bytes},
        {"mapped_bytes", figures->mapped_bytes},       {"retained_bytes", figures->retained_bytes},
    };

    if (!figures->asked)
        return;
    rtd_json_object(json, "allocator_stats");
    rtd_json_string(json, "name", figures->name);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(members); i++)
        rtd_export_put_known(json, members[i].key, members[i].bytes != RTD_ALLOCATOR_UNKNOWN,
                             members[i].bytes);
    rtd_json_string(json, "unavailable",
                    figures->unavailable && figures->unavailable[0] ? figures->unavailable : NULL);
    rtd_json_end(json);
}

/* What each domain holds, beside the heap: a process without any has no such member. */
static void put_holdings(struct rtd_json *json, const struct rtd_report_process *process)
{
    if (process->domain_count == 0)
        return;
    rtd_json_array(json, "domains");
    for (uint32_t i = 0; i < process->domain_count; i++) {
        const struct rtd_report_domain *const domain = &process->domains[i];

        rtd_json_object(json, NULL);
        rtd_json_string(json, "name", domain->name);
        rtd_json_uint(json, "live_bytes", domain->seen->totals.live_bytes.value);
        rtd_export_put_known(json, "used_bytes", domain->used_bytes != RTD_UNKNOWN_BYTES,
                             domain->used_bytes);
        rtd_export_put_known(json, "reserved_bytes", domain->reserved_bytes != RTD_UNKNOWN_BYTES,
                             domain->reserved_bytes);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

/* Pressure is a ratio to the limit and means nothing without one. */
static void put_limit(struct rtd_json *json, const struct rtd_memory_snapshot *memory)
{
    const bool known = memory->valid && memory->limit_bytes != 0;

    rtd_export_put_known(json, "limit_bytes", known, memory->limit_bytes);
    rtd_json_string(json, "limit_kind", known ? rtd_limit_kind_name(memory->limit_kind) : NULL);
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
    const struct rtd_allocator_figures *const allocator = &process->memory.allocator;
    const bool heap_known =
        !rtd_human_is_blind(process) ||
        (allocator->asked && allocator->allocated_bytes != RTD_ALLOCATOR_UNKNOWN);
    const uint64_t heap_bytes =
        rtd_human_is_blind(process) ? allocator->allocated_bytes : process->totals.live_bytes.value;

    rtd_json_object(json, key);
    put_known_mb(json, "rss_mb", memory->rss_bytes != 0, memory->rss_bytes);
    put_known_mb(json, "heap_mb", heap_known, heap_bytes);
    put_known_mb(json, "virtual_mb", memory->virtual_bytes != 0, memory->virtual_bytes);
    rtd_export_put_time(json, "timestamp", memory->time_unix_ns);
    put_size(json, "rss_bytes", memory->rss_bytes);
    rtd_export_put_known(json, "heap_bytes", heap_known, heap_bytes);
    put_size(json, "virtual_bytes", memory->virtual_bytes);
    put_size(json, "resident_bytes", memory->resident_bytes);
    rtd_export_put_known(json, "shared_bytes", memory->valid, memory->shared_bytes);
    put_size(json, "text_bytes", memory->text_bytes);
    put_size(json, "data_bytes", memory->data_bytes);
    put_size(json, "stack_bytes", memory->stack_bytes);
    put_size(json, "peak_rss_bytes", memory->peak_rss_bytes);
    put_size(json, "peak_virtual_bytes", memory->peak_virtual_bytes);
    rtd_export_put_known(json, "swap_bytes", memory->valid, memory->swap_bytes);
    put_limit(json, memory);
    rtd_export_put_forecast(json, process);
    rtd_export_put_known(json, "threads", memory->threads != 0, memory->threads);
    put_faults(json, memory);
    rtd_json_string(json, "allocator", process->meta.allocator[0] ? process->meta.allocator : NULL);
    put_allocator(json, allocator);
    put_holdings(json, process);
    rtd_export_put_limits(json, process);
    rtd_export_put_breakdown(json, process);
    rtd_json_end(json);
}

/* The seed's LeakInfo. A leak whose component has no sampled site left has no place. */
static void put_leak(struct rtd_json *json, const struct seen *seen,
                     const struct rtd_report_view *view, const struct rtd_report_leak *leak)
{
    const struct rtd_report_site *const site = leak->site_ref;

    rtd_json_object(json, NULL);
    put_domain(json, seen, view);
    rtd_json_string(json, "component", leak->component);
    rtd_export_put_known(json, "site", site != NULL, leak->site);
    rtd_json_string(json, "function", site ? site->function : NULL);
    rtd_json_string(json, "file", site ? site->file : NULL);
    rtd_export_put_known(json, "line", site && site->line != 0, site ? site->line : 0);
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

/* The address is text: numbers beyond 2^53 do not survive common readers. */
static void put_block(struct rtd_json *json, const struct seen *seen,
                      const struct rtd_report_view *view, const struct rtd_report_block *block)
{
    char address[24];

    snprintf(address, sizeof(address), "0x%" PRIx64, block->address);
    rtd_json_object(json, NULL);
    put_domain(json, seen, view);
    rtd_json_string(json, "component", block->component);
    rtd_json_string(json, "operation", block->operation);
    rtd_json_uint(json, "size_bytes", block->size_bytes);
    rtd_json_string(json, "address", block->address ? address : NULL);
    rtd_export_put_known(json, "alignment", block->alignment != 0, block->alignment);
    rtd_export_put_time(json, "timestamp", block->born_unix_ns);
    rtd_export_put_known(json, "thread", block->thread != 0, block->thread);
    rtd_export_put_known(json, "site", block->site != NULL, block->site ? block->site->id : 0);
    rtd_json_end(json);
}

/* Says in each object that stands alone why its figures are missing. */
static void put_blindness(struct rtd_json *json, const struct rtd_report_process *process)
{
    rtd_json_string(json, "blind_reason",
                    rtd_human_lacks_heap(process) ? process->meta.blind_reason : NULL);
}

static void put_leak_summary(struct rtd_json *json, const struct seen *seen)
{
    const struct rtd_report_summary *const summary = &seen->summary;
    char name[RTD_VIEW_NAME_BYTES];

    rtd_export_put_known(json, "potential_leak_count", seen->view_count != 0,
                         summary->potential_leak_count);
    if (seen->view_count == 0)
        rtd_json_null(json, "growth_rate_mb_per_hour");
    else
        rtd_json_double(json, "growth_rate_mb_per_hour", summary->growth_rate_mb_per_hour);
    rtd_json_string(json, "highest_risk_component",
                    summary->riskiest
                        ? rtd_report_view_name(&summary->riskiest_view, summary->riskiest, name)
                        : NULL);
}

void rtd_export_put_leaks(struct rtd_json *json, const char *key,
                          const struct rtd_report_process *process)
{
    struct seen seen;

    look_at(process, &seen);
    rtd_json_object(json, key);
    put_leak_summary(json, &seen);
    rtd_json_array(json, "potential_leaks");
    for (uint32_t v = 0; v < seen.view_count; v++) {
        const struct rtd_report_leaks *const leaks = &seen.views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->potential_leak_count; i++)
            put_leak(json, &seen, &seen.views[v], &leaks->potential_leaks[i]);
    }
    rtd_json_end(json);
    rtd_json_array(json, "suspicious_patterns");
    for (uint32_t v = 0; v < seen.view_count; v++) {
        const struct rtd_report_leaks *const leaks = &seen.views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->pattern_count; i++)
            rtd_json_string(json, NULL, leaks->suspicious_patterns[i]);
    }
    rtd_json_end(json);
    rtd_json_array(json, "largest_allocations");
    for (uint32_t v = 0; v < seen.view_count; v++) {
        const struct rtd_report_leaks *const leaks = &seen.views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->largest_count; i++)
            put_block(json, &seen, &seen.views[v], &leaks->largest[i]);
    }
    rtd_json_end(json);
    put_blindness(json, process);
    rtd_json_end(json);
}

/* Ages double from the ledger's unit; the last bucket is open. */
static void put_lifetimes(struct rtd_json *json, const struct rtd_report_summary *summary)
{
    rtd_json_array(json, "lifetimes");
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++) {
        rtd_json_object(json, NULL);
        rtd_export_put_known(json, "below_ms", i + 1 < RTD_LIFETIME_BUCKETS,
                             (uint64_t)RTD_LIFETIME_UNIT_MS << i);
        rtd_json_uint(json, "sampled_frees", summary->lifetime[i]);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

/* The labels are the seed's, to the letter; the counts are estimates, rounded. */
static void put_distribution(struct rtd_json *json, const struct rtd_report_summary *summary)
{
    rtd_json_object(json, "distribution");
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++) {
        const double count = summary->distribution[i];

        rtd_json_uint(json, size_labels[i],
                      count > 0 && count < 9e18 ? (uint64_t)(count + 0.5) : 0);
    }
    rtd_json_end(json);
}

static void put_recommendations(struct rtd_json *json, const struct seen *seen)
{
    rtd_json_array(json, "recommendations");
    for (uint32_t v = 0; v < seen->view_count; v++) {
        const struct rtd_report_allocations *const part = &seen->views[v].seen->allocations;

        for (uint32_t i = 0; i < part->recommendation_count; i++) {
            rtd_json_object(json, NULL);
            put_domain(json, seen, &seen->views[v]);
            rtd_json_string(json, "id", part->recommendations[i].id);
            rtd_json_string(json, "severity", part->recommendations[i].severity);
            rtd_json_string(json, "text", part->recommendations[i].text);
            rtd_json_end(json);
        }
    }
    rtd_json_end(json);
}

/* The seed's pairs of name and live bytes. */
/* Whether a holds more than b; else by name. NULL holds nothing. */
static bool component_first(const struct rtd_report_component *a,
                            const struct rtd_report_component *b)
{
    if (!a || !b)
        return a != NULL;
    if (a->figures.live_bytes.value != b->figures.live_bytes.value)
        return a->figures.live_bytes.value > b->figures.live_bytes.value;
    return strcmp(a->name, b->name) < 0;
}

/* The largest first, wherever it is: each view has its own in that order, and they are merged. */
static void put_top_allocators(struct rtd_json *json, const struct seen *seen)
{
    uint32_t next[RTD_VIEW_MAX] = {0};
    char name[RTD_VIEW_NAME_BYTES];

    rtd_json_array(json, "top_allocators");
    for (;;) {
        const struct rtd_report_component *first = NULL;
        uint32_t from = 0;

        for (uint32_t v = 0; v < seen->view_count; v++) {
            const struct rtd_report_process *const part = seen->views[v].seen;
            const struct rtd_report_component *const head =
                next[v] < part->component_count ? &part->components[next[v]] : NULL;

            if (component_first(head, first)) {
                first = head;
                from = v;
            }
        }
        if (!first)
            break;
        next[from]++;
        rtd_json_array(json, NULL);
        rtd_json_string(json, NULL, rtd_report_view_name(&seen->views[from], first->name, name));
        rtd_json_uint(json, NULL, first->figures.live_bytes.value);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

void rtd_export_put_allocations(struct rtd_json *json, const char *key,
                                const struct rtd_report_process *process)
{
    struct seen seen;

    look_at(process, &seen);
    rtd_json_object(json, key);
    put_top_allocators(json, &seen);
    if (seen.view_count == 0)
        rtd_json_null(json, "efficiency_score");
    else
        rtd_json_double(json, "efficiency_score", seen.summary.efficiency_score);
    if (seen.summary.fragmentation < 0.0)
        rtd_json_null(json, "fragmentation");
    else
        rtd_json_double(json, "fragmentation", seen.summary.fragmentation);
    put_recommendations(json, &seen);
    put_distribution(json, &seen.summary);
    put_all_operations(json, &seen);
    put_lifetimes(json, &seen.summary);
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
