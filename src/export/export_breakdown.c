// SPDX-License-Identifier: Apache-2.0
/*
 * export_breakdown.c - see export_breakdown.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#include "export/export_breakdown.h"

#include <inttypes.h>

#include "export/export_human.h"
#include "export/export_parts.h"
#include "export/export_text.h"

enum { COMPONENTS_MAX = 20, TEXT_PARTS_MAX = 3 };

static void put_part(struct rtd_json *json, const char *name, uint64_t bytes)
{
    rtd_json_object(json, NULL);
    rtd_json_string(json, "name", name);
    rtd_json_uint(json, "bytes", bytes);
    rtd_json_end(json);
}

/* Live bytes that were never touched are not resident: each component takes its share of that. */
static void put_components(struct rtd_json *json, const struct rtd_report_process *process)
{
    const uint64_t resident = process->breakdown.bytes[RTD_BREAKDOWN_LIVE];
    const uint64_t live = process->totals.live_bytes.value;

    for (uint32_t i = 0; i < process->component_count && i < COMPONENTS_MAX && live; i++) {
        const struct rtd_report_component *const component = &process->components[i];
        const double share = (double)component->figures.live_bytes.value / (double)live;
        put_part(json, component->name, (uint64_t)(share * (double)resident));
    }
}

static void put_class(struct rtd_json *json, const struct rtd_report_process *process,
                      uint32_t class_index)
{
    const struct rtd_breakdown *const breakdown = &process->breakdown;

    rtd_json_object(json, NULL);
    rtd_json_string(json, "name", rtd_breakdown_class_name(class_index));
    rtd_json_uint(json, "bytes", breakdown->bytes[class_index]);
    rtd_json_array(json, "parts");
    if (class_index == RTD_BREAKDOWN_LIVE)
        put_components(json, process);
    for (uint32_t i = 0; i < breakdown->part_count; i++) {
        if (breakdown->parts[i].class_index == class_index)
            put_part(json, breakdown->parts[i].name, breakdown->parts[i].bytes);
    }
    rtd_json_end(json);
    rtd_json_end(json);
}

void rtd_export_put_breakdown(struct rtd_json *json, const struct rtd_report_process *process)
{
    const struct rtd_breakdown *const breakdown = &process->breakdown;

    if (!breakdown->valid)
        return;
    rtd_json_array(json, "breakdown");
    for (uint32_t i = 0; i < RTD_BREAKDOWN_CLASSES; i++)
        put_class(json, process, i);
    rtd_json_end(json);
    rtd_json_uint(json, "breakdown_rss_bytes", breakdown->rss_bytes);
    rtd_export_put_time(json, "breakdown_timestamp", breakdown->taken_unix_ns);
    rtd_json_uint(json, "breakdown_cost_ns", breakdown->cost_ns);
}

static void put_text_parts(const struct rtd_text *text, const struct rtd_breakdown *breakdown,
                           uint32_t class_index)
{
    unsigned shown = 0;

    for (uint32_t i = 0; i < breakdown->part_count && shown < TEXT_PARTS_MAX; i++) {
        const struct rtd_breakdown_part *const part = &breakdown->parts[i];
        if (part->class_index != class_index)
            continue;
        rtd_buffer_puts(text->out, shown++ ? ", " : "  ");
        rtd_text_clean(text, part->name);
        rtd_buffer_printf(text->out, " %s", rtd_human_bytes(part->bytes).text);
    }
}

void rtd_text_breakdown(const struct rtd_text *text, const struct rtd_report_process *process)
{
    struct rtd_buffer *const out = text->out;
    const struct rtd_breakdown *const breakdown = &process->breakdown;

    if (!breakdown->valid)
        return;
    rtd_buffer_printf(out, "  resident memory explained, %s at %s\n",
                      rtd_human_bytes(breakdown->rss_bytes).text,
                      rtd_human_time(breakdown->taken_unix_ns).text);
    for (uint32_t i = 0; i < RTD_BREAKDOWN_CLASSES; i++) {
        if (breakdown->bytes[i] == 0 && i != RTD_BREAKDOWN_RESIDUAL)
            continue;
        rtd_buffer_printf(out, "    %-28s %9s", rtd_breakdown_class_name(i),
                          rtd_human_bytes(breakdown->bytes[i]).text);
        put_text_parts(text, breakdown, i);
        rtd_buffer_putc(out, '\n');
    }
}

void rtd_export_prometheus_breakdown(struct rtd_buffer *out,
                                     const struct rtd_report_process *process)
{
    const struct rtd_breakdown *const breakdown = &process->breakdown;

    if (!breakdown->valid)
        return;
    rtd_buffer_puts(out, "# HELP riptide_memory_breakdown_bytes Resident memory by what it is used "
                         "for, each page once.\n"
                         "# TYPE riptide_memory_breakdown_bytes gauge\n");
    for (uint32_t i = 0; i < RTD_BREAKDOWN_CLASSES; i++)
        rtd_buffer_printf(out, "riptide_memory_breakdown_bytes{class=\"%s\"} %" PRIu64 "\n",
                          rtd_breakdown_class_name(i), breakdown->bytes[i]);
}
