// SPDX-License-Identifier: Apache-2.0
/*
 * export_domains.c - memory that the program records itself: in the JSON report, in the text.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * Each domain stands for itself and is in no sum of the heap.
 */
#include "analyze/analyze_views.h"
#include "export/export_human.h"
#include "export/export_parts.h"
#include "export/export_text.h"

enum { ROWS = 10, LEAST_ROOM = 20, FIGURE_COLUMNS = 44 };

static void put_domain(struct rtd_json *json, const struct rtd_report_domain *domain)
{
    rtd_json_object(json, NULL);
    rtd_json_string(json, "name", domain->name);
    rtd_export_put_known(json, "used_bytes", domain->used_bytes != RTD_UNKNOWN_BYTES,
                         domain->used_bytes);
    rtd_export_put_known(json, "reserved_bytes", domain->reserved_bytes != RTD_UNKNOWN_BYTES,
                         domain->reserved_bytes);
    rtd_export_put_totals(json, domain->seen);
    rtd_export_put_sites(json, domain->seen, UINT32_MAX);
    rtd_export_put_components(json, domain->seen);
    rtd_export_put_operations(json, "operations", domain->seen);
    rtd_export_put_leaks(json, "leaks", domain->seen);
    rtd_export_put_allocations(json, "allocations", domain->seen);
    rtd_json_end(json);
}

void rtd_export_put_domains(struct rtd_json *json, const char *key,
                            const struct rtd_report_process *process)
{
    rtd_json_array(json, key);
    for (uint32_t i = 0; i < process->domain_count; i++)
        put_domain(json, &process->domains[i]);
    rtd_json_end(json);
}

static void put_row(const struct rtd_text *text, const struct rtd_report_component *component)
{
    const struct rtd_report_figures *const figures = &component->figures;
    const unsigned room = text->width > FIGURE_COLUMNS + LEAST_ROOM ? text->width - FIGURE_COLUMNS
                                                                    : (unsigned)LEAST_ROOM;

    rtd_buffer_printf(text->out, "  %9s %8s  %9s %8s  ",
                      rtd_human_bytes(figures->live_bytes.value).text,
                      rtd_human_count(figures->live_blocks.value).text,
                      rtd_human_bytes(figures->allocated_bytes.value).text,
                      rtd_human_count(figures->allocations.value).text);
    rtd_text_fit(text, component->name, room, false);
    rtd_buffer_putc(text->out, '\n');
}

static void put_components(const struct rtd_text *text, const struct rtd_report_process *seen)
{
    const uint32_t most = text->top < ROWS ? text->top : (uint32_t)ROWS;

    if (seen->component_count == 0)
        return;
    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_printf(text->out, "  %9s %8s  %9s %8s  %s\n", "live", "blocks", "recorded",
                      "records", "component");
    rtd_text_plain(text);
    for (uint32_t i = 0; i < seen->component_count && i < most; i++)
        put_row(text, &seen->components[i]);
    if (seen->component_count > most)
        rtd_buffer_printf(text->out, "  ... and %u more (--json lists all)\n",
                          (unsigned)(seen->component_count - most));
}

/* The sums, and what the program states beside them. */
static void put_sums(const struct rtd_text *text, const struct rtd_report_domain *domain)
{
    const struct rtd_report_figures *const totals = &domain->seen->totals;

    rtd_buffer_printf(text->out, "  %s live in %s blocks; %s by %s records so far\n",
                      rtd_human_bytes(totals->live_bytes.value).text,
                      rtd_human_count(totals->live_blocks.value).text,
                      rtd_human_bytes(totals->allocated_bytes.value).text,
                      rtd_human_count(totals->allocations.value).text);
    if (domain->used_bytes != RTD_UNKNOWN_BYTES)
        rtd_buffer_printf(text->out, "  %s in use, as the program states",
                          rtd_human_bytes(domain->used_bytes).text);
    if (domain->used_bytes != RTD_UNKNOWN_BYTES && domain->reserved_bytes != RTD_UNKNOWN_BYTES)
        rtd_buffer_printf(text->out, ", of %s reserved",
                          rtd_human_bytes(domain->reserved_bytes).text);
    else if (domain->reserved_bytes != RTD_UNKNOWN_BYTES)
        rtd_buffer_printf(text->out, "  %s reserved, as the program states",
                          rtd_human_bytes(domain->reserved_bytes).text);
    if (domain->used_bytes != RTD_UNKNOWN_BYTES || domain->reserved_bytes != RTD_UNKNOWN_BYTES)
        rtd_buffer_putc(text->out, '\n');
}

void rtd_text_domains(const struct rtd_text *text, const struct rtd_report_process *process)
{
    for (uint32_t i = 0; i < process->domain_count; i++) {
        const struct rtd_report_domain *const domain = &process->domains[i];

        rtd_text_section(text, "Recorded by the program itself, beside the heap");
        rtd_buffer_puts(text->out, "  domain ");
        rtd_text_clean(text, domain->name);
        rtd_buffer_putc(text->out, '\n');
        put_sums(text, domain);
        put_components(text, domain->seen);
        rtd_text_findings(text, domain->seen);
    }
}
