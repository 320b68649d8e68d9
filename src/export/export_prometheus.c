// SPDX-License-Identifier: Apache-2.0
/*
 * export_prometheus.c - the target's figures as Prometheus text 0.0.4.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer and two short arrays when there are many components
 * Fails:      remembered in the output buffer
 *
 * A figure that is not known is absent, never 0. Components are capped at COMPONENTS_MAX and the
 * rest is one series, component="_other". Gauges keep the largest; counters keep those seen first:
 * whoever is in stays in, so that no series ever runs backwards (a component that overtook another
 * would otherwise take its past out of "_other"). Worst case: 3 x 101 component series, one for
 * each loss, about 50 others; each domain adds as many component series, and four.
 *
 * Where the heap is not watched, the families by component are those of the domain "records", under
 * their plain names. All domains have families of their own; none of them is in a heap figure.
 */
#include "analyze/analyze_views.h"
#include "export/export_alerts.h"
#include "export/export_breakdown.h"
#include "export/export_forecast.h"
#include "export/export_human.h"
#include "export/export_limits.h"
#include "export/export_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { COMPONENTS_MAX = 100 };

/* The two comment lines that open each family. */
static void put_family(struct rtd_buffer *out, const char *name, const char *type, const char *help)
{
    rtd_buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/*
 * Between the quotes of a label three characters are special, and the text must be UTF-8. A wrong
 * byte is spelled out, so that two different names never become the same series: Prometheus
 * refuses a whole page for that.
 */
static void put_label(struct rtd_buffer *out, const char *text)
{
    while (*text) {
        const char *const start = text;
        const uint32_t code = rtd_utf8_next(&text);

        if (code == RTD_UTF8_REPLACEMENT && text - start == 1)
            rtd_buffer_printf(out, "\\\\x%02x", (unsigned)(unsigned char)*start);
        else if (code == '\n')
            rtd_buffer_puts(out, "\\n");
        else if (code == '"' || code == '\\')
            rtd_buffer_printf(out, "\\%c", (char)code);
        else
            rtd_buffer_put_code(out, code);
    }
}

static void put_uint(struct rtd_buffer *out, const char *name, const char *help, uint64_t value)
{
    put_family(out, name, "gauge", help);
    rtd_buffer_printf(out, "%s %" PRIu64 "\n", name, value);
}

/* A gauge that is left out as a whole when the figure is not finite. */
static void put_double(struct rtd_buffer *out, const char *name, const char *help, double value)
{
    const size_t before = out->length_bytes;

    put_family(out, name, "gauge", help);
    rtd_buffer_printf(out, "%s ", name);
    if (rtd_buffer_put_double(out, value)) {
        rtd_buffer_putc(out, '\n');
    } else if (!rtd_buffer_failed(out)) {
        out->length_bytes = before;
        out->data[before] = '\0';
    }
}

static void put_labelled(struct rtd_buffer *out, const char *name, const char *label,
                         const char *label_value, uint64_t value)
{
    rtd_buffer_printf(out, "%s{%s=\"", name, label);
    put_label(out, label_value);
    rtd_buffer_printf(out, "\"} %" PRIu64 "\n", value);
}

struct size_gauge {
    const char *name, *help;
    uint64_t bytes;
};

/* What /proc says; sizes that are 0 were not readable, a live process has some of each. */
static void put_memory(struct rtd_buffer *out, const struct rtd_memory_snapshot *memory)
{
    const struct size_gauge gauges[] = {
        {"riptide_memory_rss_bytes", "Resident memory of the target.", memory->rss_bytes},
        {"riptide_memory_virtual_bytes", "Virtual memory of the target.", memory->virtual_bytes},
        {"riptide_memory_resident_bytes", "Resident memory, by its other name.",
         memory->resident_bytes},
        {"riptide_memory_text_bytes", "Program text.", memory->text_bytes},
        {"riptide_memory_data_bytes", "Data segment, heap and anonymous mappings.",
         memory->data_bytes},
        {"riptide_memory_stack_bytes", "Stack of the main thread.", memory->stack_bytes},
        {"riptide_memory_peak_rss_bytes", "Highest resident memory so far.",
         memory->peak_rss_bytes},
        {"riptide_memory_peak_virtual_bytes", "Highest virtual memory so far.",
         memory->peak_virtual_bytes},
        {"riptide_memory_limit_bytes", "Nearest limit: control group or physical memory.",
         memory->limit_bytes},
    };

    if (!memory->valid)
        return;
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(gauges); i++) {
        if (gauges[i].bytes)
            put_uint(out, gauges[i].name, gauges[i].help, gauges[i].bytes);
    }
    put_uint(out, "riptide_memory_shared_bytes", "Resident memory shared with files or processes.",
             memory->shared_bytes);
    put_uint(out, "riptide_memory_swap_bytes", "Memory of the target in swap.", memory->swap_bytes);
    if (memory->limit_bytes)
        put_double(out, "riptide_memory_pressure_ratio", "Memory in use over its limit, 0 to 1.",
                   memory->pressure);
    if (memory->threads)
        put_uint(out, "riptide_target_threads", "Threads of the target.", memory->threads);
    put_family(out, "riptide_page_faults_total", "counter", "Page faults of the target.");
    put_labelled(out, "riptide_page_faults_total", "type", "major", memory->major_faults);
    put_labelled(out, "riptide_page_faults_total", "type", "minor", memory->minor_faults);
}

/* What the allocator says of itself; what it does not tell has no series. */
static void put_allocator(struct rtd_buffer *out, const struct rtd_report_process *target)
{
    const struct rtd_allocator_figures *const figures = &target->memory.allocator;
    const struct size_gauge gauges[] = {
        {"riptide_allocator_allocated_bytes", "In blocks that are allocated.",
         figures->allocated_bytes},
        {"riptide_allocator_active_bytes", "In pages that hold such blocks.",
         figures->active_bytes},
        {"riptide_allocator_metadata_bytes", "The allocator's own.", figures->metadata_bytes},
        {"riptide_allocator_resident_bytes", "The allocator's physical memory.",
         figures->resident_bytes},
        {"riptide_allocator_mapped_bytes", "Address space that the allocator uses.",
         figures->mapped_bytes},
        {"riptide_allocator_retained_bytes", "Kept for reuse.", figures->retained_bytes},
    };

    if (!figures->asked)
        return;
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(gauges); i++) {
        if (gauges[i].bytes != RTD_ALLOCATOR_UNKNOWN)
            put_uint(out, gauges[i].name, gauges[i].help, gauges[i].bytes);
    }
    if (target->allocations.fragmentation >= 0.0)
        put_double(out, "riptide_allocator_fragmentation_ratio",
                   "Share of the allocator's resident memory in no live block, 0 to 1.",
                   target->allocations.fragmentation);
    if (!rtd_report_sees_heap(target) && figures->allocated_bytes != RTD_ALLOCATOR_UNKNOWN)
        put_uint(out, "riptide_memory_heap_bytes", "Live heap, as the allocator says.",
                 figures->allocated_bytes);
}

/* What the agent's samples say; never called for a blind target. */
static void put_heap(struct rtd_buffer *out, const struct rtd_report_process *target)
{
    const struct rtd_estimate live = target->totals.live_bytes;

    put_uint(out, "riptide_memory_heap_bytes", "Live heap: asked for and not freed (estimate).",
             live.value);
    put_uint(out, "riptide_memory_heap_low_bytes", "Lower end of the 95 % interval of the heap.",
             live.low);
    put_uint(out, "riptide_memory_heap_high_bytes", "Upper end of the 95 % interval of the heap.",
             live.high);
    put_uint(out, "riptide_memory_heap_peak_bytes", "Highest live heap so far (estimate).",
             target->peak_live_bytes.value);
    put_uint(out, "riptide_memory_heap_blocks", "Live heap blocks (estimate).",
             target->totals.live_blocks.value);
    put_uint(out, "riptide_mapped_bytes", "Address space mapped by the program itself, now.",
             target->mappings.figures.live_bytes.value);
}

/* What is concluded from all that is seen, heap and domains. */
static void put_conclusions(struct rtd_buffer *out, const struct rtd_report_summary *summary)
{
    put_double(out, "riptide_allocation_efficiency_score", "Use of the allocator, 0 to 1.",
               summary->efficiency_score);
    put_uint(out, "riptide_leak_suspects", "Components that meet a leak criterion.",
             summary->potential_leak_count);
    put_uint(out, "riptide_leak_potential_count",
             "Same as riptide_leak_suspects, under the name of the first design.",
             summary->potential_leak_count);
    put_double(out, "riptide_leak_growth_bytes_per_second",
               "Growth of the components that meet a leak criterion; of heap and records the "
               "larger.",
               summary->growth_rate_mb_per_hour * 1048576 / 3600);
}

/* Which of three figures of a component a family shows. */
enum component_figure { LIVE_BYTES, ALLOCATED_BYTES, ALLOCATIONS };

static uint64_t figure_of(const struct rtd_report_component *component, enum component_figure which)
{
    switch (which) {
    case ALLOCATED_BYTES:
        return component->figures.allocated_bytes.value;
    case ALLOCATIONS:
        return component->figures.allocations.value;
    case LIVE_BYTES:
    default:
        return component->figures.live_bytes.value;
    }
}

struct seen_component {
    const struct rtd_report_component *component;
    uint64_t first_seen_unix_ns;
};

static int by_name(const void *left, const void *right)
{
    const struct seen_component *const a = left, *const b = right;

    return strcmp(a->component->name, b->component->name);
}

static int by_first_seen(const void *left, const void *right)
{
    const struct seen_component *const a = left, *const b = right;

    if (a->first_seen_unix_ns != b->first_seen_unix_ns)
        return a->first_seen_unix_ns < b->first_seen_unix_ns ? -1 : 1;
    return by_name(left, right);
}

/* Notes for each component (sorted by name) when the first of its sites was seen. */
static void find_first_seen(const struct rtd_report_process *target, struct seen_component *seen)
{
    for (uint32_t i = 0; i < target->site_count; i++) {
        const struct rtd_report_site *const site = &target->sites[i];
        const struct rtd_report_component name = {.name = site->component};
        const struct seen_component key = {.component = &name};
        struct seen_component *const found =
            bsearch(&key, seen, target->component_count, sizeof(*seen), by_name);

        if (found && site->first_seen_unix_ns < found->first_seen_unix_ns)
            found->first_seen_unix_ns = site->first_seen_unix_ns;
    }
}

/* The components with the ones to be shown in front; caller frees; NULL when memory is short. */
static struct seen_component *order_components(const struct rtd_report_process *target, bool by_age)
{
    struct seen_component *const seen = calloc(target->component_count, sizeof(*seen));

    if (!seen)
        return NULL;
    for (uint32_t i = 0; i < target->component_count; i++)
        seen[i] = (struct seen_component){&target->components[i], UINT64_MAX};
    if (by_age && target->component_count > COMPONENTS_MAX) {
        qsort(seen, target->component_count, sizeof(*seen), by_name);
        find_first_seen(target, seen);
        qsort(seen, target->component_count, sizeof(*seen), by_first_seen);
    }
    return seen;
}

/* A family of series with a component, and which figure it shows. */
struct component_family {
    const char *name, *help;
    enum component_figure which;
};

static void put_component(struct rtd_buffer *out, const char *family, const char *domain,
                          const char *component, uint64_t value)
{
    rtd_buffer_printf(out, "%s{", family);
    if (domain) {
        rtd_buffer_puts(out, "domain=\"");
        put_label(out, domain);
        rtd_buffer_puts(out, "\",");
    }
    rtd_buffer_puts(out, "component=\"");
    put_label(out, component);
    rtd_buffer_printf(out, "\"} %" PRIu64 "\n", value);
}

/* The components of one process, or of a domain that is seen as one; domain NULL: no such label. */
static void put_component_series(struct rtd_buffer *out, const struct component_family *family,
                                 const struct rtd_report_process *seen_process, const char *domain)
{
    const uint32_t count = seen_process->component_count;
    const uint32_t shown = count < COMPONENTS_MAX ? count : COMPONENTS_MAX;
    uint64_t other = 0;

    if (count == 0)
        return;
    struct seen_component *const seen = order_components(seen_process, family->which != LIVE_BYTES);
    if (!seen) {
        out->failed = true;
        return;
    }
    qsort(seen, shown, sizeof(*seen), by_name);
    bool rest = count > shown;
    for (uint32_t i = 0; i < count; i++) {
        const struct rtd_report_component *const component = seen[i].component;

        /* A component that is really called so joins the rest: a series must be unique. */
        if (i < shown && strcmp(component->name, "_other") != 0) {
            put_component(out, family->name, domain, component->name,
                          figure_of(component, family->which));
        } else {
            other += figure_of(component, family->which);
            rest = true;
        }
    }
    if (rest)
        put_component(out, family->name, domain, "_other", other);
    free(seen);
}

static void put_component_family(struct rtd_buffer *out, const struct component_family *family)
{
    put_family(out, family->name, family->which == LIVE_BYTES ? "gauge" : "counter", family->help);
}

/* Of the heap, or of what stands in for it. */
static void put_components(struct rtd_buffer *out, const struct rtd_report_view *view)
{
    const bool heap = strcmp(view->domain, RTD_VIEW_HEAP) == 0;
    const struct component_family families[] = {
        {"riptide_allocation_bytes_by_component",
         heap ? "Live heap bytes by component (estimate)." : "Live recorded bytes by component.",
         LIVE_BYTES},
        {"riptide_allocated_bytes_total",
         heap ? "Bytes allocated since the start by component (estimate)."
              : "Bytes recorded since the start by component.",
         ALLOCATED_BYTES},
        {"riptide_allocations_total",
         heap ? "Allocations since the start by component (estimate)."
              : "Allocations recorded since the start by component.",
         ALLOCATIONS},
    };

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(families); i++) {
        put_component_family(out, &families[i]);
        put_component_series(out, &families[i], view->seen, NULL);
    }
}

typedef uint64_t (*domain_figure)(const struct rtd_report_domain *domain);

static uint64_t domain_blocks(const struct rtd_report_domain *domain)
{
    return domain->seen->totals.live_blocks.value;
}

static uint64_t domain_used(const struct rtd_report_domain *domain)
{
    return domain->used_bytes;
}

static uint64_t domain_reserved(const struct rtd_report_domain *domain)
{
    return domain->reserved_bytes;
}

static uint64_t domain_suspects(const struct rtd_report_domain *domain)
{
    return domain->seen->leaks.potential_leak_count;
}

/* A gauge with one series a domain, without those that are not known. */
static void put_domain_gauge(struct rtd_buffer *out, const struct rtd_report_process *target,
                             const struct component_family *family, domain_figure figure)
{
    put_component_family(out, family);
    for (uint32_t i = 0; i < target->domain_count; i++) {
        const uint64_t value = figure(&target->domains[i]);

        if (value != RTD_UNKNOWN_BYTES)
            put_labelled(out, family->name, "domain", target->domains[i].name, value);
    }
}

static void put_domains(struct rtd_buffer *out, const struct rtd_report_process *target)
{
    static const struct component_family families[] = {
        {"riptide_domain_live_bytes", "Live recorded bytes by domain and component.", LIVE_BYTES},
        {"riptide_domain_allocated_bytes_total",
         "Bytes recorded since the start by domain and component.", ALLOCATED_BYTES},
        {"riptide_domain_allocations_total",
         "Allocations recorded since the start by domain and component.", ALLOCATIONS},
    };
    static const struct {
        struct component_family family;
        domain_figure figure;
    } gauges[] = {
        {{"riptide_domain_live_blocks", "Live recorded blocks by domain.", LIVE_BYTES},
         domain_blocks},
        {{"riptide_domain_used_bytes", "What a domain holds, as the program states.", LIVE_BYTES},
         domain_used},
        {{"riptide_domain_reserved_bytes", "Reserved for a domain, as the program states.",
          LIVE_BYTES},
         domain_reserved},
        {{"riptide_domain_leak_suspects", "Components of a domain that meet a leak criterion.",
          LIVE_BYTES},
         domain_suspects},
    };

    if (target->domain_count == 0)
        return;
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(families); i++) {
        put_component_family(out, &families[i]);
        for (uint32_t d = 0; d < target->domain_count; d++)
            put_component_series(out, &families[i], target->domains[d].seen,
                                 target->domains[d].name);
    }
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(gauges); i++)
        put_domain_gauge(out, target, &gauges[i].family, gauges[i].figure);
}

/* Rejected records are a gauge: each reading of the ledger counts them anew. */
static void put_losses(struct rtd_buffer *out, const struct rtd_report *report)
{
    put_family(out, "riptide_losses_total", "counter", "What RipTide could not record, by reason.");
    for (unsigned i = 0; i < RTD_LOSS_COUNT; i++) {
        const char *const name = rtd_loss_name(i);

        if (name)
            put_labelled(out, "riptide_losses_total", "reason", name, report->target->losses[i]);
    }
    put_labelled(out, "riptide_losses_total", "reason", "recording_lost_writes",
                 report->recording_lost_writes);
    put_uint(out, "riptide_ledger_records_rejected",
             "Records that the checks refused in the newest reading of the ledger.",
             report->target->rejected);
}

/* Labels that name the target stand on one series and not on every one. */
static void put_identity(struct rtd_buffer *out, const struct rtd_report *report)
{
    const struct rtd_report_process *const target = report->target;
    const struct rtd_process_meta *const meta = &target->meta;

    put_family(out, "riptide_target_info", "gauge", "Identity of the target.");
    rtd_buffer_printf(out, "riptide_target_info{allocator=\"");
    put_label(out, meta->allocator[0] ? meta->allocator : "other");
    rtd_buffer_printf(out, "\",mode=\"%s\",pid=\"%" PRIu32 "\"} 1\n", rtd_human_mode_of(report),
                      meta->pid);
    put_uint(out, "riptide_target_up", "1 while the target runs.",
             meta->ended_unix_ns == 0 &&
                 (meta->status == RTD_PROCESS_RUNNING || meta->status == RTD_PROCESS_BLIND));
    put_uint(out, "riptide_target_blind", "1 when the target's allocations cannot be seen.",
             meta->status == RTD_PROCESS_BLIND);
    const uint64_t started_unix_ms = meta->started_unix_ns / 1000000;
    if (started_unix_ms)
        put_double(out, "riptide_target_start_time_seconds", "Start of the target, Unix time.",
                   (double)started_unix_ms / 1000);
    if (target->interval_bytes)
        put_uint(out, "riptide_sampling_interval_bytes", "Mean distance between two samples.",
                 target->interval_bytes);
}

/* What heap and domains add up to, in one figure each and by component. */
static void put_seen(struct rtd_buffer *out, const struct rtd_report_process *target)
{
    struct rtd_report_view views[RTD_VIEW_MAX];
    struct rtd_report_summary summary;

    if (rtd_report_views(target, views) == 0)
        return;
    rtd_report_summarize(target, &summary);
    put_conclusions(out, &summary);
    put_components(out, &views[0]);
    put_domains(out, target);
}

void rtd_export_prometheus(struct rtd_buffer *out, const struct rtd_report *report)
{
    put_family(out, "riptide_build_info", "gauge", "Version of RipTide.");
    rtd_buffer_printf(out, "riptide_build_info{version=\"%s\"} 1\n", RTD_VERSION);
    put_uint(out, "riptide_processes", "Process images seen since the start.",
             report->process_count);
    rtd_export_alerts_prometheus(out, report);
    if (!report->target)
        return;
    put_identity(out, report);
    put_memory(out, &report->target->memory);
    rtd_export_prometheus_forecast(out, report->target);
    rtd_export_prometheus_limits(out, report->target);
    rtd_export_prometheus_breakdown(out, report->target);
    put_allocator(out, report->target);
    if (rtd_report_sees_heap(report->target))
        put_heap(out, report->target);
    put_seen(out, report->target);
    put_losses(out, report);
}
