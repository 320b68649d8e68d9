// SPDX-License-Identifier: Apache-2.0
/*
 * export_text_table.c - the tables of the text report, fitted to the width of the page.
 *
 * Runs in:    collector, report
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer; the rows of a table by module
 * Fails:      remembered in the output buffer
 *
 * Why the place is cut at its left and the function at its right: the end of a path and the begin
 * of a name are what people recognise.
 */
#include "export/export_human.h"
#include "export/export_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIGURE_COLUMNS = 47,    /* row number, live, interval, blocks, allocated */
    COMPONENT_COLUMNS = 14, /* in the table of sites */
    NAME_COLUMNS = 10,      /* of a function that are kept beside a long name of a file */
};

void rtd_text_style(const struct rtd_text *text, enum rtd_style style)
{
    static const char *const codes[] = {
        [RTD_STYLE_HEAD] = "\033[1m", [RTD_STYLE_WARN] = "\033[1;31m", [RTD_STYLE_DIM] = "\033[2m"};

    if (text->colour)
        rtd_buffer_puts(text->out, codes[style]);
}

void rtd_text_plain(const struct rtd_text *text)
{
    if (text->colour)
        rtd_buffer_puts(text->out, "\033[0m");
}

/* The next code point as it may be shown; 0 at the end. */
static uint32_t next_clean(const char **name)
{
    const uint32_t code = rtd_utf8_next(name);
    const bool control = (code > 0 && code < 0x20) || (code >= 0x7F && code < 0xA0);
    const bool direction = (code >= 0x200E && code <= 0x200F) ||
                           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);

    return control || direction ? '?' : code;
}

void rtd_text_clean(const struct rtd_text *text, const char *name)
{
    for (uint32_t code = next_clean(&name); code; code = next_clean(&name))
        rtd_buffer_put_code(text->out, code);
}

unsigned rtd_text_columns(const char *name)
{
    unsigned columns = 0;

    while (next_clean(&name))
        columns++;
    return columns;
}

void rtd_text_fit(const struct rtd_text *text, const char *name, unsigned columns, bool keep_end)
{
    unsigned length = rtd_text_columns(name);

    if (length <= columns) {
        rtd_text_clean(text, name);
        return;
    }
    const unsigned kept = columns > 2 ? columns - 2 : 0;
    if (keep_end) {
        for (; length > kept; length--)
            next_clean(&name);
        rtd_buffer_puts(text->out, "..");
        rtd_text_clean(text, name);
        return;
    }
    for (unsigned i = 0; i < kept; i++)
        rtd_buffer_put_code(text->out, next_clean(&name));
    rtd_buffer_puts(text->out, "..");
}

void rtd_text_pad(const struct rtd_text *text, const char *name, unsigned columns)
{
    rtd_text_fit(text, name, columns, false);
    for (unsigned i = rtd_text_columns(name); i < columns; i++)
        rtd_buffer_putc(text->out, ' ');
}

static unsigned larger(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

void rtd_text_place(const struct rtd_text *text, const struct rtd_text_place *place,
                    unsigned columns)
{
    const struct rtd_words unnamed = rtd_human_place(place->module, place->offset);
    const char *const name = place->function ? place->function : unnamed.text;
    char line[16] = "";
    unsigned name_columns = rtd_text_columns(name);

    if (!place->file) {
        rtd_text_fit(text, name, columns ? columns : name_columns, false);
        return;
    }
    if (place->line)
        snprintf(line, sizeof(line), ":%u", (unsigned)place->line);
    unsigned file_columns = rtd_text_columns(place->file);
    const unsigned line_columns = (unsigned)strlen(line);
    if (columns && name_columns + 2 + file_columns + line_columns > columns) {
        const char *const slash = strrchr(place->file, '/');
        const unsigned whole = file_columns + line_columns;
        const unsigned base =
            (slash ? 2 + rtd_text_columns(slash + 1) : file_columns) + line_columns;
        const unsigned most = columns > NAME_COLUMNS + 2 ? columns - NAME_COLUMNS - 2 : 0;
        unsigned for_place = columns > name_columns + 2 ? columns - name_columns - 2 : 0;

        /* Half of the room for the path if it needs it; more only for the name of the file. */
        for_place = larger(for_place, smaller(whole, columns / 2));
        for_place = larger(for_place, smaller(base, most));
        file_columns = for_place > line_columns ? for_place - line_columns : 0;
        name_columns = columns - for_place - 2;
    }
    rtd_text_fit(text, name, name_columns, false);
    rtd_buffer_puts(text->out, "  ");
    rtd_text_fit(text, place->file, file_columns, true);
    rtd_buffer_puts(text->out, line);
}

/* One word of a sentence; a blank is ASCII, so no character crosses its end. */
static unsigned word_columns(const char *word, const char *end)
{
    unsigned columns = 0;

    for (; word < end; columns++)
        next_clean(&word);
    return columns;
}

void rtd_text_wrap(const struct rtd_text *text, const char *sentence, unsigned indent)
{
    unsigned column = indent;
    bool begun = false;

    while (*sentence) {
        const char *const end = sentence + strcspn(sentence, " ");
        const unsigned columns = word_columns(sentence, end);

        if (begun && column + 1 + columns > text->width) {
            rtd_buffer_printf(text->out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (begun) {
            rtd_buffer_putc(text->out, ' ');
            column++;
        }
        while (sentence < end)
            rtd_buffer_put_code(text->out, next_clean(&sentence));
        column += columns;
        begun = true;
        sentence += strspn(sentence, " ");
    }
    rtd_buffer_putc(text->out, '\n');
}

struct rtd_text_place rtd_text_place_of(const struct rtd_report_site *site)
{
    const uint32_t index = site->named_frame < site->frame_count ? site->named_frame : 0;
    const struct rtd_text_place place = {
        .function = site->function,
        .file = site->file,
        .module = site->module,
        .line = site->line,
        .offset = site->frame_count ? site->frames[index].offset : 0,
    };

    return place;
}

/* The figures of every table stand in the same columns, so that reports can be compared. */
static void put_heading(const struct rtd_text *text, const char *last_columns)
{
    rtd_text_style(text, RTD_STYLE_HEAD);
    rtd_buffer_printf(text->out, "%3s %8s %14s %7s %9s  %s\n", "#", "live", "95 % interval",
                      "blocks", "allocated", last_columns);
    rtd_text_plain(text);
}

static void put_figures(const struct rtd_text *text, uint32_t row,
                        const struct rtd_report_figures *figures)
{
    rtd_buffer_printf(text->out, "%3u %8s %14s %7s %9s  ", (unsigned)row + 1,
                      rtd_human_bytes(figures->live_bytes.value).text,
                      rtd_human_range_bytes(figures->live_bytes).text,
                      rtd_human_count(figures->live_blocks.value).text,
                      rtd_human_bytes(figures->allocated_bytes.value).text);
}

static uint32_t shown_rows(const struct rtd_text *text, uint32_t count)
{
    return count < text->top ? count : text->top;
}

static void put_more(const struct rtd_text *text, uint32_t count, const char *noun)
{
    if (count > text->top)
        rtd_buffer_printf(text->out, "    ... and %u more %s (--top N, --json)\n",
                          (unsigned)(count - text->top), noun);
}

/* Columns left for the last of the table's cells. */
static unsigned columns_after(const struct rtd_text *text, unsigned used)
{
    return text->width > used + 30 ? text->width - used : 30;
}

void rtd_text_table_sites(const struct rtd_text *text, const struct rtd_report_process *process)
{
    const unsigned room = columns_after(text, FIGURE_COLUMNS + COMPONENT_COLUMNS + 3);

    put_heading(text, "component       function, place");
    for (uint32_t i = 0; i < shown_rows(text, process->site_count); i++) {
        const struct rtd_report_site *const site = &process->sites[i];
        const struct rtd_text_place place = rtd_text_place_of(site);

        put_figures(text, i, &site->figures);
        rtd_text_pad(text, site->component, COMPONENT_COLUMNS);
        rtd_buffer_puts(text->out, "  ");
        if (site->frame_count || site->function)
            rtd_text_place(text, &place, room);
        else
            rtd_buffer_puts(text->out, "(no stack)");
        rtd_buffer_putc(text->out, '\n');
    }
    put_more(text, process->site_count, "sites");
}

void rtd_text_table_components(const struct rtd_text *text,
                               const struct rtd_report_process *process)
{
    put_heading(text, "component");
    for (uint32_t i = 0; i < shown_rows(text, process->component_count); i++) {
        put_figures(text, i, &process->components[i].figures);
        rtd_text_fit(text, process->components[i].name, columns_after(text, FIGURE_COLUMNS + 1),
                     false);
        rtd_buffer_putc(text->out, '\n');
    }
    put_more(text, process->component_count, "components");
}

void rtd_text_table_operations(const struct rtd_text *text,
                               const struct rtd_report_process *process)
{
    const unsigned room = columns_after(text, FIGURE_COLUMNS + 20 + 3);

    put_heading(text, "component             operation");
    for (uint32_t i = 0; i < shown_rows(text, process->operation_count); i++) {
        const struct rtd_report_operation *const operation = &process->operations[i];

        put_figures(text, i, &operation->figures);
        rtd_text_pad(text, operation->component, 20);
        rtd_buffer_puts(text->out, "  ");
        rtd_text_fit(text, operation->name, room, false);
        rtd_buffer_putc(text->out, '\n');
    }
    put_more(text, process->operation_count, "operations");
}

/* A row of the table by module; spread holds squared half-widths until all sites are in. */
struct module_row {
    const char *module;
    struct rtd_report_figures figures;
    double below, above;
};

static int rows_by_module(const void *left, const void *right)
{
    const struct module_row *const a = left, *const b = right;

    return strcmp(a->module, b->module);
}

static int rows_by_live(const void *left, const void *right)
{
    const struct module_row *const a = left, *const b = right;
    const uint64_t live_a = a->figures.live_bytes.value, live_b = b->figures.live_bytes.value;

    if (live_a != live_b)
        return live_a > live_b ? -1 : 1;
    return strcmp(a->module, b->module);
}

static void merge_row(struct module_row *into, const struct module_row *from)
{
    into->figures.live_bytes.value += from->figures.live_bytes.value;
    into->figures.live_blocks.value += from->figures.live_blocks.value;
    into->figures.allocated_bytes.value += from->figures.allocated_bytes.value;
    into->below += from->below;
    into->above += from->above;
}

/* Sites are sampled independently of each other, so the squares of their half-widths add up. */
static void finish_row(struct module_row *row)
{
    struct rtd_estimate *const live = &row->figures.live_bytes;
    const double low = (double)live->value - sqrt(row->below);

    live->low = low > 0 ? (uint64_t)low : 0;
    live->high = live->value + (uint64_t)sqrt(row->above);
}

/* Merges neighbours of the same module; returns how many rows are left, most live first. */
static uint32_t group_rows(struct module_row *rows, uint32_t count)
{
    uint32_t groups = 0;

    qsort(rows, count, sizeof(*rows), rows_by_module);
    for (uint32_t i = 0; i < count; i++) {
        if (groups && strcmp(rows[groups - 1].module, rows[i].module) == 0)
            merge_row(&rows[groups - 1], &rows[i]);
        else
            rows[groups++] = rows[i];
    }
    for (uint32_t i = 0; i < groups; i++)
        finish_row(&rows[i]);
    qsort(rows, groups, sizeof(*rows), rows_by_live);
    return groups;
}

void rtd_text_table_modules(const struct rtd_text *text, const struct rtd_report_process *process)
{
    struct module_row *const rows = calloc((size_t)process->site_count + 1, sizeof(*rows));

    if (!rows) {
        text->out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < process->site_count; i++) {
        const struct rtd_report_site *const site = &process->sites[i];
        const struct rtd_estimate live = site->figures.live_bytes;
        const double below = (double)(live.value - live.low);
        const double above = (double)(live.high - live.value);

        rows[i] = (struct module_row){site->module, site->figures, below * below, above * above};
    }
    const uint32_t groups = group_rows(rows, process->site_count);
    put_heading(text, "module");
    for (uint32_t i = 0; i < shown_rows(text, groups); i++) {
        put_figures(text, i, &rows[i].figures);
        rtd_text_fit(text, rows[i].module, columns_after(text, FIGURE_COLUMNS + 1), true);
        rtd_buffer_putc(text->out, '\n');
    }
    put_more(text, groups, "modules");
    free(rows);
}
