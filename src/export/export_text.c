// SPDX-License-Identifier: Apache-2.0
/*
 * export_text.c - the report for people: what runs, what it holds, where, and what is wrong.
 *
 * Runs in:    collector, report
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer; a module table allocates its rows
 * Fails:      remembered in the output buffer
 *
 * Why the gaps come first: a report that could not see everything must say so before it shows a
 * figure. A blind target gets no tables at all, an empty one would read as "no problem".
 */
#include "export/export_text.h"

#include "export/export_breakdown.h"
#include "export/export_forecast.h"
#include "export/export_human.h"
#include "export/export_limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    DEFAULT_TOP = 20,
    DEFAULT_WIDTH = 100,
    SMALLEST_WIDTH = 60,
    STACKS = 5,
    STACK_INNER = 10, /* frames shown from the naming one outwards */
    STACK_OUTER = 4,  /* and from the outermost inwards */
    CHILDREN = 20
};

/* Losses that change how figures must be read; thinning, for one, keeps them unbiased. */
static const struct {
    enum rtd_loss loss;
    const char *sentence;
} loss_sentences[] = {
    {RTD_LOSS_SAMPLES_NOT_STORED, "samples found no room in the live set: live figures are low"},
    {RTD_LOSS_STACKS_TRUNCATED, "stacks lack their outermost frames"},
    {RTD_LOSS_STACKS_NOT_TAKEN, "samples have no stack"},
    {RTD_LOSS_SITES_OVERFLOW, "samples went to the overflow site: the site table is full"},
    {RTD_LOSS_MODULES_OVERFLOW, "modules are not listed: their frames have no names"},
    {RTD_LOSS_TAGS_OVERFLOW, "tags are counted as \"other\": the tag table is full"},
    {RTD_LOSS_THREADS_OVERFLOW, "threads shared a block of counters: the thread table is full"},
    {RTD_LOSS_STALE_SAMPLES, "frees were not seen (the address was issued again)"},
    {RTD_LOSS_NESTED_SKIPPED, "allocations in signal handlers were not sampled"},
    {RTD_LOSS_UNMARKED, "samples could not be marked by the allocator and were given up"},
    {RTD_LOSS_GENERATIONS, "unloads of modules are not told apart: frames may be misnamed"},
    {RTD_LOSS_FORK_UNOBSERVED, "child processes were not observed"},
    {RTD_LOSS_MAPS_UNSEEN, "mappings came too fast and were not seen"},
};

void rtd_text_section(const struct rtd_text *text, const char *title)
{
    rtd_buffer_putc(text->out, '\n');
    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_puts(text->out, title);
    rtd_text_plain(text);
    rtd_buffer_putc(text->out, '\n');
}

static void put_warning(const struct rtd_text *text, const char *word, const char *sentence)
{
    rtd_text_style(text, RTD_STYLE_WARN);
    rtd_buffer_printf(text->out, "  %s: ", word);
    rtd_text_wrap(text, sentence, (unsigned)strlen(word) + 4);
    rtd_text_plain(text);
}

/* Target, fate and mode, then whatever limits the rest of the report. */
static void put_head(const struct rtd_text *text, const struct rtd_report *report)
{
    const struct rtd_report_process *const target = report->target;
    const struct rtd_process_meta *const meta = &target->meta;

    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_puts(text->out, "RipTide: ");
    rtd_text_fit(text, meta->command, text->width - 9, false);
    rtd_text_plain(text);
    rtd_buffer_printf(text->out, "\n  pid %u, %s after %s", (unsigned)meta->pid,
                      rtd_human_status(meta).text,
                      rtd_human_duration(target->duration_seconds).text);
    if (meta->started_unix_ns)
        rtd_buffer_printf(text->out, ", started %s", rtd_human_time(meta->started_unix_ns).text);
    rtd_buffer_printf(text->out, "\n  mode %s", rtd_human_mode_of(report));
    if (target->interval_bytes)
        rtd_buffer_printf(text->out, ", one sample per %s",
                          rtd_human_bytes(target->interval_bytes).text);
    rtd_buffer_printf(text->out, ", allocator ");
    rtd_text_clean(text, meta->allocator[0] ? meta->allocator : "other");
    if (report->process_count > 1)
        rtd_buffer_printf(text->out, ", %u process images", (unsigned)report->process_count);
    rtd_buffer_putc(text->out, '\n');
    if (!report->complete)
        put_warning(text, "INCOMPLETE",
                    report->note && report->note[0] ? report->note : "the recording was cut short");
    else if (report->note && report->note[0])
        put_warning(text, "NOTE", report->note);
    if (meta->status == RTD_PROCESS_BLIND)
        put_warning(text, "BLIND",
                    meta->blind_reason[0] ? meta->blind_reason
                                          : "the allocations of this program cannot be seen");
    else if (meta->blind_reason[0])
        put_warning(text, target->heap_unseen ? "HEAP NOT WATCHED" : "PARTLY BLIND",
                    meta->blind_reason);
}

static void put_one_loss(const struct rtd_text *text, uint64_t count, const char *sentence)
{
    static const char sampled[] = "samples ";

    /* What is a sample elsewhere is every allocation in exact mode. */
    if (count && text->exact && strncmp(sentence, sampled, strlen(sampled)) == 0)
        rtd_buffer_printf(text->out, "  %s allocations %s\n", rtd_human_digits(count).text,
                          sentence + strlen(sampled));
    else if (count)
        rtd_buffer_printf(text->out, "  %s %s\n", rtd_human_digits(count).text, sentence);
}

static void put_losses(const struct rtd_text *text, const struct rtd_report *report)
{
    const struct rtd_report_process *const target = report->target;
    uint64_t sum =
        report->recording_lost_writes + target->rejected + target->missed_frees + target->untracked;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(loss_sentences); i++)
        sum += target->losses[loss_sentences[i].loss];
    if (sum == 0)
        return;
    rtd_text_section(text, "Not seen");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(loss_sentences); i++)
        put_one_loss(text, target->losses[loss_sentences[i].loss], loss_sentences[i].sentence);
    put_one_loss(text, report->recording_lost_writes, "writes to the recording failed");
    put_one_loss(text, target->missed_frees,
                 "frees were not seen: these addresses were issued again");
    put_one_loss(text, target->untracked,
                 "blocks found no room in the table of addresses and count as freed");
    put_one_loss(text, target->rejected, "records of the ledger were damaged and left out");
}

static void put_total(const struct rtd_text *text, const char *name, struct rtd_estimate bytes,
                      const struct rtd_estimate *count, const char *noun)
{
    rtd_buffer_printf(text->out, "  %-10s %9s  %16s", name, rtd_human_bytes(bytes.value).text,
                      rtd_human_range_bytes(bytes).text);
    if (count)
        rtd_buffer_printf(text->out, "   %s %s (%s..%s)", rtd_human_count(count->value).text, noun,
                          rtd_human_count(count->low).text, rtd_human_count(count->high).text);
    rtd_buffer_putc(text->out, '\n');
}

/* A figure that nothing was estimated in, to the last byte. */
static void put_exact(const struct rtd_text *text, const char *name, uint64_t bytes)
{
    rtd_buffer_printf(text->out, "  %-10s %9s  %20s B", name, rtd_human_bytes(bytes).text,
                      rtd_human_digits(bytes).text);
}

static void put_exact_totals(const struct rtd_text *text, const struct rtd_report_process *target)
{
    const struct rtd_report_figures *const totals = &target->totals;
    const struct rtd_report_counts *const counts = target->counts;

    rtd_text_section(text, "Heap, every allocation counted");
    put_exact(text, "live", totals->live_bytes.value);
    rtd_buffer_printf(text->out, "   %s blocks\n",
                      rtd_human_digits(totals->live_blocks.value).text);
    put_exact(text, "peak", target->peak_live_bytes.value);
    rtd_buffer_printf(text->out, "   at %.2f s\n", target->peak_seconds);
    put_exact(text, "allocated", totals->allocated_bytes.value);
    rtd_buffer_printf(text->out, "   %s allocations, %s of them temporary\n",
                      rtd_human_digits(totals->allocations.value).text,
                      rtd_human_digits(counts->temporary).text);
    put_exact(text, "freed", counts->freed_bytes);
    rtd_buffer_printf(text->out, "   %s frees", rtd_human_digits(counts->frees).text);
    if (target->unknown_frees)
        rtd_buffer_printf(text->out, ", and %s of blocks from before the start",
                          rtd_human_digits(target->unknown_frees).text);
    rtd_buffer_putc(text->out, '\n');
    if (target->site_count == 0)
        rtd_buffer_puts(text->out, "  No allocation was seen.\n");
}

static void put_totals(const struct rtd_text *text, const struct rtd_report_process *target)
{
    const struct rtd_report_figures *const totals = &target->totals;

    if (target->counts) {
        put_exact_totals(text, target);
        return;
    }

    rtd_text_section(text, "Heap, with 95 % intervals");
    put_total(text, "live", totals->live_bytes, &totals->live_blocks, "blocks");
    put_total(text, "peak", target->peak_live_bytes, NULL, "");
    put_total(text, "allocated", totals->allocated_bytes, &totals->allocations, "allocations");
    if (target->site_count == 0) {
        rtd_buffer_puts(text->out, "  ");
        rtd_text_wrap(text,
                      "No allocation was sampled: the program allocated little for this interval. "
                      "--interval BYTES makes it smaller.",
                      2);
    }
}

static void put_table(const struct rtd_text *text, const struct rtd_report_process *target,
                      enum rtd_report_by by)
{
    switch (by) {
    case RTD_BY_COMPONENT:
        rtd_text_section(text, "By component, most live bytes first");
        rtd_text_table_components(text, target);
        break;
    case RTD_BY_OPERATION:
        rtd_text_section(text, "By operation, most live bytes first");
        rtd_text_table_operations(text, target);
        break;
    case RTD_BY_MODULE:
        rtd_text_section(text, "By module of the naming frame, most live bytes first");
        rtd_text_table_modules(text, target);
        break;
    case RTD_BY_SITE:
    default:
        rtd_text_section(text, "By site, most live bytes first");
        rtd_text_table_sites(text, target);
        break;
    }
}

/* One frame a line, in full: here a place must be complete enough to be pasted elsewhere. */
static void put_frame(const struct rtd_text *text, const struct rtd_report_frame *frame, bool named)
{
    rtd_buffer_puts(text->out, named ? "    > " : "      ");
    rtd_text_place(text, frame, 0);
    if (frame->function && !frame->file) {
        const struct rtd_words unnamed = rtd_human_place(frame->module, frame->offset);

        rtd_buffer_puts(text->out, "  ");
        rtd_text_clean(text, unnamed.text);
    }
    rtd_buffer_puts(text->out, frame->inlined ? " (inlined)\n" : "\n");
}

/* A deep stack is shown by its two ends: who allocated, and on whose behalf. */
static void put_stack(const struct rtd_text *text, const struct rtd_report_site *site)
{
    const uint32_t inner =
        site->named_frame < site->frame_count ? site->named_frame + STACK_INNER : STACK_INNER;
    const uint32_t hidden =
        site->frame_count > inner + STACK_OUTER + 1 ? site->frame_count - inner - STACK_OUTER : 0;

    for (uint32_t i = 0; i < site->frame_count; i++) {
        if (hidden > 0 && i == inner) {
            rtd_buffer_printf(text->out, "      ... %u more frames (--json has all)\n", hidden);
            i += hidden;
        }
        put_frame(text, &site->frames[i], i == site->named_frame);
    }
    if (site->frame_count == 0)
        rtd_buffer_puts(text->out, "      (no stack)\n");
    if (site->truncated)
        rtd_buffer_puts(text->out, "      ... (outer frames are missing)\n");
}

static void put_stacks(const struct rtd_text *text, const struct rtd_report_process *target)
{
    const uint32_t count = target->site_count < STACKS ? target->site_count : STACKS;

    if (count == 0)
        return;
    rtd_text_section(text, "Stacks of the largest sites, innermost frame first");
    for (uint32_t i = 0; i < count && i < text->top; i++) {
        const struct rtd_report_site *const site = &target->sites[i];

        rtd_buffer_printf(text->out, "  #%u  %s live in %s blocks, site %u, ", (unsigned)i + 1,
                          rtd_human_bytes(site->figures.live_bytes.value).text,
                          rtd_human_count(site->figures.live_blocks.value).text,
                          (unsigned)site->id);
        rtd_text_fit(text, site->component, 20, false);
        rtd_buffer_puts(text->out, " / ");
        rtd_text_fit(text, site->operation, 28, false);
        rtd_buffer_putc(text->out, '\n');
        put_stack(text, site);
    }
}

/* Most programs map nothing by themselves. */
static void put_mappings(const struct rtd_text *text, const struct rtd_report_process *target)
{
    if (target->mappings.site_count == 0)
        return;
    rtd_text_section(text, "Mappings by mmap, mremap and brk, beside the heap, most bytes first");
    rtd_text_table_mappings(text, target);
}

/* "high_growth_rate" reads as "high growth rate". */
static void put_reason(const struct rtd_text *text, const char *reason)
{
    for (; *reason; reason++)
        rtd_buffer_putc(text->out, *reason == '_' ? ' ' : *reason);
}

/* Component and growth, the line to look at, and why it is listed. */
static void put_leak(const struct rtd_text *text, const struct rtd_report_leak *leak)
{
    rtd_buffer_puts(text->out, "  ");
    rtd_text_style(text, RTD_STYLE_WARN);
    rtd_text_clean(text, leak->component);
    rtd_text_plain(text);
    rtd_buffer_printf(text->out, ": %s live in %s blocks, growing %.1f MB/h\n",
                      rtd_human_bytes(leak->total_size_bytes).text,
                      rtd_human_count(leak->allocation_count).text, leak->growth_rate / 1048576);
    if (leak->site_ref) {
        rtd_buffer_puts(text->out, "    at ");
        rtd_text_site(text, leak->site_ref, 0);
        rtd_buffer_printf(text->out, "  (site %u)\n", (unsigned)leak->site);
    }
    rtd_buffer_puts(text->out, "    because: ");
    for (uint32_t i = 0; i < leak->reason_count && i < RTD_ARRAY_LENGTH(leak->reasons); i++) {
        rtd_buffer_puts(text->out, i ? ", " : "");
        put_reason(text, leak->reasons[i]);
    }
    rtd_buffer_putc(text->out, '\n');
}

static void put_found_leaks(const struct rtd_text *text, const struct rtd_report_leaks *leaks)
{
    for (uint32_t i = 0; i < leaks->potential_leak_count; i++)
        put_leak(text, &leaks->potential_leaks[i]);
    for (uint32_t i = 0; i < leaks->pattern_count; i++) {
        rtd_buffer_puts(text->out, "  pattern: ");
        rtd_text_wrap(text, leaks->suspicious_patterns[i], 11);
    }
}

static void put_leaks(const struct rtd_text *text, const struct rtd_report_process *target)
{
    const struct rtd_report_leaks *const leaks = &target->leaks;

    rtd_text_section(text, "Potential leaks");
    if (leaks->potential_leak_count == 0)
        rtd_buffer_printf(text->out, "  No component met a leak criterion in %s.\n",
                          rtd_human_duration(target->duration_seconds).text);
    put_found_leaks(text, leaks);
}

static void put_recommendations(const struct rtd_text *text,
                                const struct rtd_report_allocations *allocations)
{
    for (uint32_t i = 0; i < allocations->recommendation_count; i++) {
        const struct rtd_report_recommendation *const advice = &allocations->recommendations[i];
        const int used = (int)rtd_text_columns(advice->severity);

        rtd_buffer_puts(text->out, "  ");
        rtd_text_clean(text, advice->severity);
        rtd_buffer_puts(text->out, ": ");
        rtd_text_wrap(text, advice->text, (unsigned)used + 4);
    }
}

static void put_advice(const struct rtd_text *text, const struct rtd_report_process *target)
{
    const struct rtd_report_allocations *const allocations = &target->allocations;

    rtd_text_section(text, "Allocation");
    rtd_buffer_printf(text->out, "  efficiency score %.2f of 1\n", allocations->efficiency_score);
    put_recommendations(text, allocations);
}

void rtd_text_findings(const struct rtd_text *text, const struct rtd_report_process *process)
{
    put_found_leaks(text, &process->leaks);
    put_recommendations(text, &process->allocations);
}

static void put_size(const struct rtd_text *text, const char *name, uint64_t bytes)
{
    if (bytes)
        rtd_buffer_printf(text->out, "  %-10s %9s\n", name, rtd_human_bytes(bytes).text);
    else
        rtd_buffer_printf(text->out, "  %-10s   unknown\n", name);
}

/* The kernel's view, read while the process lived: it also counts what is not heap. */
static void put_memory(const struct rtd_text *text, const struct rtd_report_process *target)
{
    const struct rtd_memory_snapshot *const memory = &target->memory;

    rtd_text_section(text, "Memory of the process");
    if (!memory->valid) {
        rtd_buffer_puts(text->out, "  unknown: the process was gone before it could be read\n");
        return;
    }
    rtd_buffer_printf(text->out, "  read at %s\n", rtd_human_time(memory->time_unix_ns).text);
    put_size(text, "resident", memory->rss_bytes);
    put_size(text, "peak", memory->peak_rss_bytes);
    put_size(text, "virtual", memory->virtual_bytes);
    rtd_buffer_printf(text->out, "  %-10s %9s\n", "shared",
                      rtd_human_bytes(memory->shared_bytes).text);
    put_size(text, "data", memory->data_bytes);
    put_size(text, "stack", memory->stack_bytes);
    put_size(text, "text", memory->text_bytes);
    rtd_buffer_printf(text->out, "  %-10s %9s\n", "swap", rtd_human_bytes(memory->swap_bytes).text);
    put_size(text, "limit", memory->limit_bytes);
    if (memory->limit_bytes)
        rtd_buffer_printf(text->out, "  %-10s %7.1f %%  of the limit (%s)\n", "pressure",
                          memory->pressure * 100, rtd_human_limit(memory->limit_kind));
    rtd_export_text_forecast(text->out, target);
    rtd_buffer_printf(text->out, "  %-10s %9u\n", "threads", (unsigned)memory->threads);
    rtd_text_limits(text, target);
    rtd_text_breakdown(text, target);
}

/* A row for another image; what a blind one holds is unknown, not nothing. */
static void put_process(const struct rtd_text *text, const struct rtd_report_process *process)
{
    const struct rtd_process_meta *const meta = &process->meta;

    if (rtd_human_is_blind(process))
        rtd_buffer_printf(text->out, "  %8u  %9s %10s  ", (unsigned)meta->pid, "-", "-");
    else
        rtd_buffer_printf(text->out, "  %8u  %9s %10s  ", (unsigned)meta->pid,
                          rtd_human_about_bytes(process->totals.live_bytes).text,
                          rtd_human_about_bytes(process->totals.allocated_bytes).text);
    rtd_text_pad(text, rtd_human_status(meta).text, 29);
    rtd_buffer_puts(text->out, "  ");
    rtd_text_fit(text, meta->command, text->width - 56, false);
    rtd_buffer_putc(text->out, '\n');
    if (meta->status == RTD_PROCESS_BLIND && meta->blind_reason[0]) {
        rtd_buffer_puts(text->out, "            blind: ");
        rtd_text_wrap(text, meta->blind_reason, 19);
    }
}

static void put_processes(const struct rtd_text *text, const struct rtd_report *report)
{
    uint32_t shown = 0;

    if (report->process_count < 2)
        return;
    rtd_text_section(text, "Other process images");
    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_printf(text->out, "  %8s  %9s %10s  %-29s  %s\n", "pid", "live", "allocated",
                      "status", "command");
    rtd_text_plain(text);
    for (uint32_t i = 0; i < report->process_count; i++) {
        if (&report->processes[i] == report->target)
            continue;
        if (shown < CHILDREN)
            put_process(text, &report->processes[i]);
        shown++;
    }
    if (shown > CHILDREN)
        rtd_buffer_printf(text->out, "  ... and %u more (--json lists all)\n",
                          (unsigned)(shown - CHILDREN));
}

void rtd_export_text(struct rtd_buffer *out, const struct rtd_report *report,
                     const struct rtd_text_options *options)
{
    const struct rtd_text text = {
        .out = out,
        .exact = report->target && report->target->counts,
        .width = options->width == 0               ? DEFAULT_WIDTH
                 : options->width < SMALLEST_WIDTH ? SMALLEST_WIDTH
                                                   : options->width,
        .top = options->top ? options->top : DEFAULT_TOP,
        .colour = options->colour,
    };

    if (!report->target) {
        rtd_buffer_puts(out, "RipTide: INCOMPLETE: no process was recorded\n");
        return;
    }
    put_head(&text, report);
    if (!rtd_human_is_blind(report->target)) {
        put_totals(&text, report->target);
        put_losses(&text, report);
        if (report->target->site_count) {
            put_table(&text, report->target, options->by);
            if (options->by == RTD_BY_SITE)
                put_stacks(&text, report->target);
            if (text.exact)
                rtd_text_counts(&text, report->target);
            if (options->by != RTD_BY_COMPONENT)
                put_table(&text, report->target, RTD_BY_COMPONENT);
        }
        put_mappings(&text, report->target);
        put_leaks(&text, report->target);
        if (report->target->site_count)
            put_advice(&text, report->target);
    }
    rtd_text_domains(&text, report->target);
    put_memory(&text, report->target);
    put_processes(&text, report);
}
