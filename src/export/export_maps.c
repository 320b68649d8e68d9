// SPDX-License-Identifier: Apache-2.0
/*
 * export_maps.c - the mappings of a program: the object of the JSON report, the table of the text.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * A domain of its own: its entries carry "domain" and are in no sum of the heap.
 */
#include "export/export_human.h"
#include "export/export_parts.h"
#include "export/export_text.h"

#include <string.h>

enum {
    ROWS = 10,
    FIGURE_COLUMNS = 52, /* live, pieces, peak, mapped, kind, and the blanks around them */
    LEAST_PLACE_COLUMNS = 16
};

static void put_site(struct rtd_json *json, const struct rtd_report_mapping *mapping)
{
    rtd_json_object(json, NULL);
    rtd_json_string(json, "domain", "mappings");
    rtd_json_string(json, "kind", mapping->kind);
    rtd_export_put_site_head(json, &mapping->site);
    rtd_export_put_estimate(json, "peak_live_bytes", mapping->peak_live_bytes);
    rtd_export_put_time(json, "first_seen", mapping->site.first_seen_unix_ns);
    rtd_export_put_time(json, "last_seen", mapping->site.last_seen_unix_ns);
    rtd_json_end(json);
}

void rtd_export_put_mappings(struct rtd_json *json, const char *key,
                             const struct rtd_report_process *process, uint32_t most)
{
    const struct rtd_report_mappings *const mappings = &process->mappings;

    rtd_json_object(json, key);
    rtd_json_string(json, "domain", "mappings");
    rtd_export_put_figures(json, &mappings->figures);
    rtd_export_put_estimate(json, "peak_live_bytes", mappings->peak_live_bytes);
    rtd_json_uint(json, "events", mappings->events);
    rtd_json_uint(json, "unseen_events", mappings->unseen_events);
    rtd_json_uint(json, "corrected_bytes", mappings->corrected_bytes);
    rtd_json_uint(json, "unlisted_bytes", mappings->unlisted_bytes);
    rtd_json_array(json, "sites");
    for (uint32_t i = 0; i < mappings->site_count && i < most; i++)
        put_site(json, &mappings->sites[i]);
    rtd_json_end(json);
    rtd_json_end(json);
}

/* "shared_file" reads as "shared file". */
static void put_kind(const struct rtd_text *text, const char *kind)
{
    char words[16];
    size_t i = 0;

    for (; kind[i] && i + 1 < sizeof(words); i++)
        words[i] = kind[i] == '_' ? ' ' : kind[i];
    words[i] = '\0';
    rtd_text_pad(text, words, 11);
}

static void put_row(const struct rtd_text *text, const struct rtd_report_mapping *mapping)
{
    const struct rtd_report_figures *const figures = &mapping->site.figures;
    const unsigned room = text->width > FIGURE_COLUMNS + LEAST_PLACE_COLUMNS
                              ? text->width - FIGURE_COLUMNS
                              : (unsigned)LEAST_PLACE_COLUMNS;

    rtd_buffer_printf(text->out, "  %9s %6s  %9s  %9s  ",
                      rtd_human_bytes(figures->live_bytes.value).text,
                      rtd_human_count(figures->live_blocks.value).text,
                      rtd_human_bytes(mapping->peak_live_bytes.value).text,
                      rtd_human_bytes(figures->allocated_bytes.value).text);
    put_kind(text, mapping->kind);
    rtd_buffer_puts(text->out, "  ");
    rtd_text_site(text, &mapping->site, room);
    rtd_buffer_putc(text->out, '\n');
}

void rtd_text_table_mappings(const struct rtd_text *text, const struct rtd_report_process *process)
{
    const struct rtd_report_mappings *const mappings = &process->mappings;
    const uint32_t rows = text->top < ROWS ? text->top : (uint32_t)ROWS;

    rtd_buffer_printf(text->out, "  %s mapped in %s pieces, at most %s; %s by %s calls so far\n",
                      rtd_human_bytes(mappings->figures.live_bytes.value).text,
                      rtd_human_count(mappings->figures.live_blocks.value).text,
                      rtd_human_bytes(mappings->peak_live_bytes.value).text,
                      rtd_human_bytes(mappings->figures.allocated_bytes.value).text,
                      rtd_human_count(mappings->figures.allocations.value).text);
    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_printf(text->out, "  %9s %6s  %9s  %9s  %-11s  %s\n", "now", "pieces", "peak",
                      "mapped", "kind", "function, place");
    rtd_text_plain(text);
    for (uint32_t i = 0; i < mappings->site_count && i < rows; i++)
        put_row(text, &mappings->sites[i]);
    if (mappings->site_count > rows)
        rtd_buffer_printf(text->out, "  ... and %u more (--json lists all)\n",
                          (unsigned)(mappings->site_count - rows));
}
