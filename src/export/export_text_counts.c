// SPDX-License-Identifier: Apache-2.0
/*
 * export_text_counts.c - the part of the text report that only exact mode has.
 *
 * Runs in:    collector, report
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer
 * Fails:      remembered in the output buffer
 */
#include "export/export_human.h"
#include "export/export_text.h"

enum { COUNTS_TOP = 10, FIGURES = 32, SMALLEST_PLACE = 24 };

typedef uint64_t (*rank_function)(const struct rtd_report_site *site);

static uint64_t peak_of(const struct rtd_report_site *site)
{
    return site->counts->peak_bytes;
}

static uint64_t temporary_of(const struct rtd_report_site *site)
{
    return site->counts->temporary;
}

/* The sites with the largest ranks, in order; how many of them have any. */
static uint32_t find_top(const struct rtd_report_process *process, rank_function rank,
                         const struct rtd_report_site **top, uint32_t most)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < process->site_count; i++) {
        const struct rtd_report_site *const site = &process->sites[i];
        uint32_t at = count;
        if (rank(site) == 0)
            continue;
        for (; at > 0 && rank(site) > rank(top[at - 1]); at--) {
            if (at < most)
                top[at] = top[at - 1];
        }
        if (at < most)
            top[at] = site;
        count += count < most;
    }
    return count;
}

static void put_place(const struct rtd_text *text, const struct rtd_report_site *site)
{
    rtd_text_site(text, site,
                  text->width > FIGURES + SMALLEST_PLACE ? text->width - FIGURES : SMALLEST_PLACE);
    rtd_buffer_putc(text->out, '\n');
}

static unsigned percent(uint64_t part, uint64_t whole)
{
    return whole ? (unsigned)((double)part * 100.0 / (double)whole + 0.5) : 0;
}

static void put_peak(const struct rtd_text *text, const struct rtd_report_process *process)
{
    const struct rtd_report_site *top[COUNTS_TOP];
    const uint32_t count = find_top(process, peak_of, top, COUNTS_TOP);

    if (count == 0)
        return;
    rtd_buffer_printf(text->out, "\npeak: %s bytes at %.2f s\n",
                      rtd_human_digits(process->peak_live_bytes.value).text, process->peak_seconds);
    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_printf(text->out, "%2s %9s %8s %6s  %s\n", "#", "at peak", "blocks", "share",
                      "function, place");
    rtd_text_plain(text);
    for (uint32_t i = 0; i < count && i < text->top; i++) {
        const struct rtd_report_counts *const counts = top[i]->counts;
        rtd_buffer_printf(text->out, "%2u %9s %8s %4u %%  ", (unsigned)i + 1,
                          rtd_human_bytes(counts->peak_bytes).text,
                          rtd_human_count(counts->peak_blocks).text,
                          percent(counts->peak_bytes, process->peak_live_bytes.value));
        put_place(text, top[i]);
    }
}

static void put_temporary(const struct rtd_text *text, const struct rtd_report_process *process)
{
    const struct rtd_report_site *top[COUNTS_TOP];
    const uint32_t count = find_top(process, temporary_of, top, COUNTS_TOP);

    rtd_text_section(text, "Temporary allocations: freed before the same thread allocated again");
    if (count == 0) {
        rtd_buffer_puts(text->out, "  none\n");
        return;
    }
    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_printf(text->out, "%2s %9s %8s %6s  %s\n", "#", "temporary", "of", "share",
                      "function, place");
    rtd_text_plain(text);
    for (uint32_t i = 0; i < count && i < text->top; i++) {
        const uint64_t temporary = top[i]->counts->temporary;
        const uint64_t allocations = top[i]->figures.allocations.value;
        rtd_buffer_printf(text->out, "%2u %9s %8s %4u %%  ", (unsigned)i + 1,
                          rtd_human_count(temporary).text, rtd_human_count(allocations).text,
                          percent(temporary, allocations));
        put_place(text, top[i]);
    }
}

void rtd_text_counts(const struct rtd_text *text, const struct rtd_report_process *process)
{
    put_peak(text, process);
    put_temporary(text, process);
}
