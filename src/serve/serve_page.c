// SPDX-License-Identifier: Apache-2.0
/*
 * serve_page.c - the first page, rendered on the server.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#include "serve/serve_page.h"

#include "analyze/analyze_views.h"

#include "export/export_human.h"

#include <stdio.h>
#include <string.h>

enum { SITES_MAX = 25, COMPONENTS_MAX = 15, PROCESSES_MAX = 25, CALLERS_MAX = 2 };

static void put(struct rtd_buffer *out, const char *markup)
{
    rtd_buffer_puts(out, markup);
}

/* Text from the target: never markup, never a control character, always UTF-8. */
static void put_text(struct rtd_buffer *out, const char *text)
{
    for (uint32_t code = rtd_utf8_next(&text); code; code = rtd_utf8_next(&text)) {
        const bool special =
            code == '<' || code == '>' || code == '&' || code == '"' || code == '\'';
        const bool hidden =
            code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x200E && code <= 0x200F) ||
            (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);

        if (special)
            rtd_buffer_printf(out, "&#%u;", (unsigned)code);
        else
            rtd_buffer_put_code(out, hidden ? RTD_UTF8_REPLACEMENT : code);
    }
}

static void put_cell(struct rtd_buffer *out, const struct rtd_words *words)
{
    put(out, "<td class=\"n\">");
    put_text(out, words->text);
    put(out, "</td>");
}

static void put_bytes_cell(struct rtd_buffer *out, uint64_t bytes)
{
    const struct rtd_words words = rtd_human_bytes(bytes);

    put_cell(out, &words);
}

static void put_count_cell(struct rtd_buffer *out, uint64_t count)
{
    const struct rtd_words words = rtd_human_count(count);

    put_cell(out, &words);
}

static void put_card(struct rtd_buffer *out, const char *name, const char *figure, const char *note)
{
    put(out, "<li><span>");
    put_text(out, name);
    put(out, "</span><b>");
    put_text(out, figure);
    put(out, "</b><span>");
    put_text(out, note);
    put(out, "</span></li>\n");
}

static void put_estimate_card(struct rtd_buffer *out, const char *name,
                              struct rtd_estimate estimate)
{
    const struct rtd_words value = rtd_human_bytes(estimate.value);
    const struct rtd_words range = rtd_human_range_bytes(estimate);

    put_card(out, name, value.text, range.text);
}

static void put_size_card(struct rtd_buffer *out, const char *name, uint64_t bytes,
                          const char *note)
{
    const struct rtd_words value = rtd_human_bytes(bytes);

    put_card(out, name, bytes ? value.text : "unknown", note);
}

static void put_warning(struct rtd_buffer *out, const char *head, const char *text)
{
    put(out, "<p class=\"warn\"><strong>");
    put_text(out, head);
    put(out, "</strong> ");
    put_text(out, text);
    put(out, "</p>\n");
}

/* Everything up to the first figure: identity, links, and what limits the rest. */
static void put_head(struct rtd_buffer *out, const struct rtd_report *report)
{
    const struct rtd_report_process *const target = report->target;
    const struct rtd_words status = rtd_human_status(&target->meta);
    const struct rtd_words duration = rtd_human_duration(target->duration_seconds);
    const struct rtd_words interval = rtd_human_bytes(target->interval_bytes);

    put(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
             "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<title>RipTide: ");
    put_text(out, target->meta.command);
    put(out,
        "</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n"
        "<link rel=\"icon\" type=\"image/svg+xml\" href=\"/icon.svg\">\n"
        "<script src=\"/page.js\" defer></script></head><body>\n"
        "<p id=\"lost\" class=\"warn\" role=\"status\" hidden><strong>No answer.</strong> The "
        "run has ended or RipTide cannot be reached; these are the last figures. The recording "
        "has them all: <code>riptide report FILE</code></p>\n"
        "<header><h1>RipTide <code>");
    put_text(out, target->meta.command);
    rtd_buffer_printf(out, "</code></h1>\n<p class=\"soft\">pid %u, %s, %s, mode %s",
                      (unsigned)target->meta.pid, status.text, duration.text,
                      rtd_human_mode_of(report));
    if (target->interval_bytes)
        rtd_buffer_printf(out, ", one sample per %s", interval.text);
    put(out, ", allocator ");
    put_text(out, target->meta.allocator[0] ? target->meta.allocator : "other");
    put(out, "</p>\n<nav aria-label=\"Data\"><a href=\"/metrics\">/metrics</a> "
             "<a href=\"/metrics/memory\">/metrics/memory</a> "
             "<a href=\"/metrics/leaks\">/metrics/leaks</a> "
             "<a href=\"/metrics/allocations\">/metrics/allocations</a> "
             "<a href=\"/api/v1/report\">/api/v1/report</a> <a href=\"/healthz\">/healthz</a> "
             "<a href=\"/readyz\">/readyz</a></nav></header>\n<main>\n");
    if (target->meta.status == RTD_PROCESS_BLIND)
        put_warning(out, "Blind.", target->meta.blind_reason);
    else if (target->heap_unseen)
        put_warning(out, "The heap is not watched.", target->meta.blind_reason);
    else if (target->meta.blind_reason[0])
        put_warning(out, "Partly blind.", target->meta.blind_reason);
    if (report->note && report->note[0])
        put_warning(out, report->complete ? "Note." : "Incomplete.", report->note);
}

/* The figures one looks at first; heap only where it is known. */
static void put_cards(struct rtd_buffer *out, const struct rtd_report_process *target)
{
    const struct rtd_memory_snapshot *const memory = &target->memory;
    const struct rtd_words peak = rtd_human_bytes(memory->peak_rss_bytes);
    struct rtd_buffer note;

    put(out, "<ul class=\"cards\">\n");
    if (!rtd_human_is_blind(target)) {
        put_estimate_card(out, "Live heap", target->totals.live_bytes);
        put_estimate_card(out, "Peak heap", target->peak_live_bytes);
        put_estimate_card(out, "Allocated since start", target->totals.allocated_bytes);
    }
    rtd_buffer_init(&note);
    if (memory->peak_rss_bytes)
        rtd_buffer_printf(&note, "peak %s", peak.text);
    put_size_card(out, "Resident", memory->valid ? memory->rss_bytes : 0, rtd_buffer_get(&note));
    rtd_buffer_fini(&note);
    put_size_card(out, "Virtual", memory->valid ? memory->virtual_bytes : 0, "");
    if (memory->valid && memory->limit_bytes) {
        const struct rtd_words limit = rtd_human_bytes(memory->limit_bytes);
        char used[32], of[192];

        snprintf(used, sizeof(used), "%.1f %%", memory->pressure * 100);
        snprintf(of, sizeof(of), "of %s (%s)", limit.text, rtd_human_limit(memory->limit_kind));
        put_card(out, "Use of the nearest limit", used, of);
    }
    put(out, "</ul>\n");
}

static void put_file(struct rtd_buffer *out, const struct rtd_report_frame *frame)
{
    if (!frame->file)
        return;
    put(out, " <span class=\"soft\"><code>");
    put_text(out, frame->file);
    if (frame->line)
        rtd_buffer_printf(out, ":%u", (unsigned)frame->line);
    put(out, "</code></span>");
}

static void put_place(struct rtd_buffer *out, const struct rtd_report_frame *frame)
{
    const struct rtd_words unnamed = rtd_human_place(frame->module, frame->offset);

    put(out, "<code>");
    put_text(out, frame->function ? frame->function : unnamed.text);
    put(out, "</code>");
    put_file(out, frame);
}

/* Where a named frame without a line is, so that it can be looked up elsewhere. */
static void put_module(struct rtd_buffer *out, const struct rtd_report_frame *frame)
{
    const struct rtd_words place = rtd_human_place(frame->module, frame->offset);

    if (!frame->function || frame->file)
        return;
    put(out, " <span class=\"soft\"><code>");
    put_text(out, place.text);
    put(out, "</code></span>");
}

/* Without a file, the callers tell what the site is for; the C library's starters do not. */
static void put_callers(struct rtd_buffer *out, const struct rtd_report_site *site)
{
    for (unsigned n = 1; n <= CALLERS_MAX; n++) {
        const struct rtd_report_frame *const caller = rtd_human_caller(site, n);

        if (!caller)
            return;
        put(out, " <span class=\"soft\">&lt; <code>");
        put_text(out, caller->function);
        put(out, "</code></span>");
    }
}

/* The same site may stand in several tables, so the table tells their opened stacks apart. */
static void put_site_place(struct rtd_buffer *out, const struct rtd_report_site *site,
                           const char *table)
{
    const struct rtd_report_frame named = rtd_human_named(site);

    put_place(out, &named);
    put_callers(out, site);
    if (site->frame_count < 2)
        return;
    rtd_buffer_printf(out, "<details id=\"%s-%u\"><summary>stack of %u</summary><ol>", table,
                      (unsigned)site->id, (unsigned)site->frame_count);
    for (uint32_t i = 0; i < site->frame_count; i++) {
        put(out, "<li>");
        put_place(out, &site->frames[i]);
        put_module(out, &site->frames[i]);
        put(out, site->frames[i].inlined ? " inlined</li>" : "</li>");
    }
    put(out, "</ol></details>");
}

/* The share is of the live heap; a meter needs neither script nor style. */
static void put_sites(struct rtd_buffer *out, const struct rtd_report_process *target)
{
    const uint64_t total = target->totals.live_bytes.value;

    put(out, "<h2>Top sites by live bytes</h2>\n");
    if (target->site_count == 0) {
        put(out, "<p>No allocation was sampled yet.</p>\n");
        return;
    }
    put(out, "<div class=\"scroll\" id=\"sites\"><table><thead><tr><th class=\"n\">Live</th>"
             "<th class=\"n\">95 % interval</th><th>Share</th><th class=\"n\">Blocks</th>"
             "<th class=\"n\">Allocated</th><th>Component</th><th>Where</th></tr></thead>"
             "<tbody>\n");
    for (uint32_t i = 0; i < target->site_count && i < SITES_MAX; i++) {
        const struct rtd_report_site *const site = &target->sites[i];
        const struct rtd_words range = rtd_human_range_bytes(site->figures.live_bytes);
        const double share =
            total ? (double)site->figures.live_bytes.value / (double)total * 100 : 0;

        put(out, "<tr>");
        put_bytes_cell(out, site->figures.live_bytes.value);
        put_cell(out, &range);
        rtd_buffer_printf(out, "<td><meter max=\"100\" value=\"%u\">%u %%</meter></td>",
                          (unsigned)share, (unsigned)share);
        put_count_cell(out, site->figures.live_blocks.value);
        put_bytes_cell(out, site->figures.allocated_bytes.value);
        put(out, "<td>");
        put_text(out, site->component);
        put(out, "</td><td class=\"wide\">");
        put_site_place(out, site, "site");
        put(out, "</td></tr>\n");
    }
    put(out, "</tbody></table></div>\n");
}

/* The components of the heap, or of a domain, which says so; each table has an id of its own. */
static void put_components(struct rtd_buffer *out, const struct rtd_report_view *view,
                           unsigned number)
{
    const struct rtd_report_process *const seen = view->seen;

    if (seen->component_count == 0)
        return;
    put(out, "<h2>Components");
    if (strcmp(view->domain, RTD_VIEW_HEAP) != 0) {
        put(out, " of the domain ");
        put_text(out, view->domain);
    }
    put(out, "</h2>\n<div class=\"scroll\" id=\"components");
    if (number)
        rtd_buffer_printf(out, "-%u", number);
    put(out, "\"><table><thead><tr><th>Component</th>"
             "<th class=\"n\">Live</th><th class=\"n\">Blocks</th><th class=\"n\">Allocated</th>"
             "<th class=\"n\">Allocations</th></tr></thead><tbody>\n");
    for (uint32_t i = 0; i < seen->component_count && i < COMPONENTS_MAX; i++) {
        const struct rtd_report_component *const component = &seen->components[i];

        put(out, "<tr><td>");
        put_text(out, component->name);
        put(out, "</td>");
        put_bytes_cell(out, component->figures.live_bytes.value);
        put_count_cell(out, component->figures.live_blocks.value);
        put_bytes_cell(out, component->figures.allocated_bytes.value);
        put_count_cell(out, component->figures.allocations.value);
        put(out, "</tr>\n");
    }
    put(out, "</tbody></table></div>\n");
}

/* "high_growth_rate" reads as "high growth rate", and breaks where a line must. */
static void put_reason(struct rtd_buffer *out, const char *reason)
{
    for (; *reason; reason++)
        rtd_buffer_putc(out, *reason == '_' ? ' ' : *reason);
}

/* Sites of two domains may have one number: the view's makes the ids on the page differ. */
static void put_leak(struct rtd_buffer *out, const struct rtd_report_view *view, unsigned number,
                     const struct rtd_report_leak *leak)
{
    char name[RTD_VIEW_NAME_BYTES], table[24] = "leak";

    if (number)
        snprintf(table, sizeof(table), "leak-%u", number);
    put(out, "<tr><td>");
    put_text(out, rtd_report_view_name(view, leak->component, name));
    put(out, "</td>");
    put_bytes_cell(out, leak->total_size_bytes);
    put_count_cell(out, leak->allocation_count);
    rtd_buffer_printf(out, "<td class=\"n\">%.1f MB/h</td><td class=\"wide\">",
                      leak->growth_rate / 1048576);
    if (leak->site_ref)
        put_site_place(out, leak->site_ref, table);
    put(out, "</td><td>");
    for (uint32_t i = 0; i < leak->reason_count && i < RTD_ARRAY_LENGTH(leak->reasons); i++) {
        put(out, i ? ", " : "");
        put_reason(out, leak->reasons[i]);
    }
    put(out, "</td></tr>\n");
}

/* Potential leaks stand above the sites: they are what somebody must act on. */
static void put_leaks(struct rtd_buffer *out, const struct rtd_report_view *views, unsigned count)
{
    bool any = false;

    put(out, "<h2>Potential leaks</h2>\n");
    for (unsigned v = 0; v < count; v++)
        any |= views[v].seen->leaks.potential_leak_count != 0;
    put(out, any ? "<div class=\"scroll\" id=\"leaks\"><table><thead><tr><th>Component</th>"
                   "<th class=\"n\">Live</th><th class=\"n\">Blocks</th><th "
                   "class=\"n\">Growth</th><th>Where</th><th>Reasons</th></tr></thead><tbody>\n"
                 : "<p>No component meets a leak criterion so far.</p>\n");
    for (unsigned v = 0; v < count; v++) {
        const struct rtd_report_leaks *const leaks = &views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->potential_leak_count; i++)
            put_leak(out, &views[v], v, &leaks->potential_leaks[i]);
    }
    put(out, any ? "</tbody></table></div>\n" : "");
    for (unsigned v = 0; v < count; v++) {
        const struct rtd_report_leaks *const leaks = &views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->pattern_count; i++) {
            put(out, "<p>Pattern: ");
            put_text(out, leaks->suspicious_patterns[i]);
            put(out, "</p>\n");
        }
    }
}

static void put_advice(struct rtd_buffer *out, const struct rtd_report_process *target,
                       const struct rtd_report_view *views, unsigned count)
{
    struct rtd_report_summary summary;

    rtd_report_summarize(target, &summary);
    rtd_buffer_printf(out, "<h2>Allocation</h2>\n<p>Efficiency score %.2f of 1.</p>\n<ul>\n",
                      summary.efficiency_score);
    for (unsigned v = 0; v < count; v++) {
        const struct rtd_report_allocations *const part = &views[v].seen->allocations;

        for (uint32_t i = 0; i < part->recommendation_count; i++) {
            put(out, "<li><strong>");
            put_text(out, part->recommendations[i].severity);
            put(out, "</strong>: ");
            put_text(out, part->recommendations[i].text);
            put(out, "</li>\n");
        }
    }
    put(out, "</ul>\n");
}

static void put_losses(struct rtd_buffer *out, const struct rtd_report *report)
{
    bool any = false;

    for (unsigned i = 0; i < RTD_LOSS_COUNT; i++) {
        const uint64_t count = report->target->losses[i];
        const struct rtd_words digits = rtd_human_digits(count);

        /* Thinning is no loss of truth: estimates stay unbiased. */
        if (count == 0 || i == RTD_LOSS_SAMPLES_THINNED || !rtd_loss_name(i))
            continue;
        put(out, any ? ", " : "<h2>Not seen</h2>\n<p>");
        put_text(out, rtd_loss_name(i));
        rtd_buffer_printf(out, " %s", digits.text);
        any = true;
    }
    put(out, any ? "</p>\n" : "");
}

/* Heap and domains; of a target of which nothing is seen, nothing. */
static void put_seen(struct rtd_buffer *out, const struct rtd_report *report)
{
    const struct rtd_report_process *const target = report->target;
    struct rtd_report_view views[RTD_VIEW_MAX];
    const unsigned count = rtd_report_views(target, views);
    bool any = false;

    if (count == 0)
        return;
    if (rtd_report_sees_heap(target))
        put_losses(out, report);
    put_leaks(out, views, count);
    if (rtd_report_sees_heap(target))
        put_sites(out, target);
    for (unsigned v = 0; v < count; v++) {
        put_components(out, &views[v], v);
        any |= views[v].seen->site_count != 0;
    }
    if (any)
        put_advice(out, target, views, count);
}

/* Other images of the run; a child that cannot be seen says why. */
static void put_processes(struct rtd_buffer *out, const struct rtd_report *report)
{
    uint32_t shown = 0;

    if (report->process_count < 2)
        return;
    put(out,
        "<h2>Other process images</h2>\n<div class=\"scroll\" id=\"processes\"><table><thead><tr>"
        "<th class=\"n\">Pid</th><th class=\"n\">Live</th><th class=\"n\">Allocated</th>"
        "<th>Status</th><th>Command</th></tr></thead><tbody>\n");
    for (uint32_t i = 0; i < report->process_count && shown < PROCESSES_MAX; i++) {
        const struct rtd_report_process *const process = &report->processes[i];
        const struct rtd_words status = rtd_human_status(&process->meta);

        if (process == report->target)
            continue;
        rtd_buffer_printf(out, "<tr><td class=\"n\">%u</td>", (unsigned)process->meta.pid);
        if (rtd_human_is_blind(process)) {
            put(out, "<td class=\"n\">unknown</td><td class=\"n\">unknown</td>");
        } else {
            const struct rtd_words live = rtd_human_about_bytes(process->totals.live_bytes);
            const struct rtd_words made = rtd_human_about_bytes(process->totals.allocated_bytes);

            put_cell(out, &live);
            put_cell(out, &made);
        }
        put(out, "<td>");
        put_text(out, status.text);
        if (process->meta.status == RTD_PROCESS_BLIND) {
            put(out, ": ");
            put_text(out, process->meta.blind_reason);
        }
        put(out, "</td><td class=\"wide\"><code>");
        put_text(out, process->meta.command);
        put(out, "</code></td></tr>\n");
        shown++;
    }
    put(out, "</tbody></table></div>\n");
}

void rtd_serve_page_put(struct rtd_buffer *out, const struct rtd_report *report)
{
    const struct rtd_words time = rtd_human_time(report->target->memory.time_unix_ns);

    put_head(out, report);
    put_cards(out, report->target);
    put_seen(out, report);
    put_processes(out, report);
    put(out, "</main>\n<footer>RipTide " RTD_VERSION);
    if (time.text[0])
        rtd_buffer_printf(out, ", memory read at %s", time.text);
    put(out, ". The figures are renewed every five seconds.</footer>\n</body></html>\n");
}
