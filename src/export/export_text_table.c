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
 * of a name are what people recognise. A path loses whole directories: half a name of one reads as
 * another. The full path stands in the stacks below the table.
 */
#include "export/export_human.h"
#include "export/export_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIGURE_COLUMNS = 43,    /* live, interval, blocks, allocated, and the blanks around them */
    EXACT_COLUMNS = 35,     /* live, blocks, allocated, allocations, and the blanks */
    COMPONENT_COLUMNS = 14, /* at most, in the table of sites */
    OWNER_COLUMNS = 20,     /* of components in the table of operations, at most */
    PLACE_COLUMNS = 34,     /* less room for places than this costs the column of components */
    NAME_COLUMNS = 10,      /* of a function that are kept beside a long name of a file */
    NAME_WITH_DIRECTORY_COLUMNS = 16, /* and beside the directory of the file */
    LAST_COLUMNS = 16,                /* of a row, also where that is too wide for the page */
    CALLERS_MAX = 3,
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

/* The longest end of path that begins with a whole directory or file and takes <= columns. */
static const char *path_end(const char *path, unsigned columns)
{
    const char *end = path;

    while (rtd_text_columns(end) > columns) {
        const char *const slash = strchr(end + 1, '/');

        if (!slash)
            return NULL;
        end = *end == '/' && end != path ? slash : slash + 1;
    }
    return end;
}

/* "dir/file.c" of a longer path. */
static const char *file_with_directory(const char *path)
{
    const char *const file = strrchr(path, '/');

    if (!file || file == path)
        return path;
    for (const char *at = file - 1; at > path; at--) {
        if (*at == '/')
            return at + 1;
    }
    return path;
}

/*
 * What is shown of the path when columns are not enough for all: with its directory if that leaves
 * a readable part of the function's name, else the file alone. *name_columns is cut to fit.
 */
static const char *fit_path(const char *path, unsigned columns, unsigned *name_columns)
{
    const char *const pair = file_with_directory(path);
    const unsigned pair_columns = rtd_text_columns(pair);
    const char *const slash = strrchr(path, '/');
    const char *const file = slash ? slash + 1 : path;
    const unsigned file_columns = rtd_text_columns(file);

    if (*name_columns + pair_columns <= columns)
        return path_end(path, columns - *name_columns);
    if (pair_columns + NAME_WITH_DIRECTORY_COLUMNS <= columns) {
        *name_columns = columns - pair_columns;
        return pair;
    }
    if (*name_columns + file_columns > columns)
        *name_columns = larger(columns > file_columns ? columns - file_columns : 0,
                               smaller(NAME_COLUMNS, *name_columns));
    return file;
}

void rtd_text_place(const struct rtd_text *text, const struct rtd_report_frame *place,
                    unsigned columns)
{
    const struct rtd_words unnamed = rtd_human_place(place->module, place->offset);
    const char *const name = place->function ? place->function : unnamed.text;
    const char *file = place->file;
    char line[16] = "";
    unsigned name_columns = rtd_text_columns(name);

    if (!file) {
        rtd_text_fit(text, name, columns ? columns : name_columns, false);
        return;
    }
    if (place->line)
        snprintf(line, sizeof(line), ":%u", (unsigned)place->line);
    unsigned file_columns = rtd_text_columns(file);
    const unsigned besides = 2 + (unsigned)strlen(line);
    if (columns && name_columns + file_columns + besides > columns) {
        const unsigned room = columns > besides ? columns - besides : 0;

        file = fit_path(file, room, &name_columns);
        file_columns = room > name_columns ? room - name_columns : 0;
    }
    rtd_text_fit(text, name, name_columns, false);
    rtd_buffer_puts(text->out, "  ");
    rtd_text_fit(text, file, file_columns, true);
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

/* The frame's name, in the storage of unnamed if it has none. */
static const char *name_of(const struct rtd_report_frame *frame, struct rtd_words *unnamed)
{
    if (frame->function)
        return frame->function;
    *unnamed = rtd_human_place(frame->module, frame->offset);
    return unnamed->text;
}

/* "zmalloc < createObject < ...": a name without a line tells little, least of all a wrapper's. */
static void put_callers(const struct rtd_text *text, const struct rtd_report_site *site,
                        const struct rtd_report_frame *caller, unsigned columns)
{
    struct rtd_words unnamed;
    const char *const name = name_of(&site->frames[site->named_frame], &unnamed);
    unsigned name_columns = rtd_text_columns(name);
    unsigned caller_columns = rtd_text_columns(caller->function);

    if (columns && name_columns + 3 + caller_columns > columns) {
        const unsigned left = columns > name_columns + 3 ? columns - name_columns - 3 : 0;

        caller_columns = smaller(caller_columns, larger(left, columns / 2));
        name_columns = columns - 3 - caller_columns;
    }
    rtd_text_fit(text, name, name_columns, false);
    rtd_buffer_puts(text->out, " < ");
    rtd_text_fit(text, caller->function, caller_columns, false);
    unsigned used = name_columns + 3 + caller_columns;
    for (unsigned n = 2; n <= CALLERS_MAX; n++) {
        const struct rtd_report_frame *const next = rtd_human_caller(site, n);

        used += next ? 3 + rtd_text_columns(next->function) : 0;
        if (!next || (columns && used > columns))
            break;
        rtd_buffer_puts(text->out, " < ");
        rtd_text_clean(text, next->function);
    }
}

void rtd_text_site(const struct rtd_text *text, const struct rtd_report_site *site,
                   unsigned columns)
{
    const struct rtd_report_frame *const caller = rtd_human_caller(site, 1);
    const struct rtd_report_frame place = rtd_human_named(site);

    if (site->frame_count == 0 && !site->function)
        rtd_buffer_puts(text->out, "(no stack)");
    else if (caller)
        put_callers(text, site, caller, columns);
    else
        rtd_text_place(text, &place, columns);
}

/* Of the row numbers; the same in all tables, so that reports can be compared. */
static int number_columns(const struct rtd_text *text)
{
    return text->top < 100 ? 2 : text->top < 1000 ? 3 : 6;
}

static void put_heading(const struct rtd_text *text, const char *last_columns)
{
    rtd_text_style(text, RTD_STYLE_HEAD);
    if (text->exact)
        rtd_buffer_printf(text->out, "%*s %8s %6s %9s %6s  %s\n", number_columns(text), "#", "live",
                          "blocks", "allocated", "allocs", last_columns);
    else
        rtd_buffer_printf(text->out, "%*s %8s %14s %6s %9s  %s\n", number_columns(text), "#",
                          "live", "95 % interval", "blocks", "allocated", last_columns);
    rtd_text_plain(text);
}

static void put_figures(const struct rtd_text *text, uint32_t row,
                        const struct rtd_report_figures *figures)
{
    const struct rtd_words live = rtd_human_bytes(figures->live_bytes.value);
    const struct rtd_words blocks = rtd_human_count(figures->live_blocks.value);
    const struct rtd_words allocated = rtd_human_bytes(figures->allocated_bytes.value);

    rtd_buffer_printf(text->out, "%*u %8s ", number_columns(text), (unsigned)row + 1, live.text);
    if (text->exact)
        rtd_buffer_printf(text->out, "%6s %9s %6s  ", blocks.text, allocated.text,
                          rtd_human_count(figures->allocations.value).text);
    else
        rtd_buffer_printf(text->out, "%14s %6s %9s  ",
                          rtd_human_range_bytes(figures->live_bytes).text, blocks.text,
                          allocated.text);
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

/* Columns left for the last of the table's cells, when others take used. */
static unsigned columns_after(const struct rtd_text *text, unsigned used)
{
    const unsigned taken =
        (unsigned)number_columns(text) + (text->exact ? EXACT_COLUMNS : FIGURE_COLUMNS) + used;

    return text->width > taken + LAST_COLUMNS ? text->width - taken : LAST_COLUMNS;
}

/* As wide as the rows need; 0 where a place would not be readable beside it. */
static unsigned component_columns(const struct rtd_text *text,
                                  const struct rtd_report_process *process)
{
    unsigned columns = (unsigned)strlen("component");

    for (uint32_t i = 0; i < shown_rows(text, process->site_count); i++)
        columns = larger(columns, rtd_text_columns(process->sites[i].component));
    columns = smaller(columns, COMPONENT_COLUMNS);
    return columns_after(text, columns + 2) >= PLACE_COLUMNS ? columns : 0;
}

void rtd_text_table_sites(const struct rtd_text *text, const struct rtd_report_process *process)
{
    const unsigned columns = component_columns(text, process);
    const unsigned room = columns_after(text, columns ? columns + 2 : 0);
    char heading[64];

    snprintf(heading, sizeof(heading), "%-*s%sfunction, place", (int)columns,
             columns ? "component" : "", columns ? "  " : "");
    put_heading(text, heading);
    for (uint32_t i = 0; i < shown_rows(text, process->site_count); i++) {
        const struct rtd_report_site *const site = &process->sites[i];

        put_figures(text, i, &site->figures);
        if (columns) {
            rtd_text_pad(text, site->component, columns);
            rtd_buffer_puts(text->out, "  ");
        }
        rtd_text_site(text, site, room);
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
        rtd_text_fit(text, process->components[i].name, columns_after(text, 0), false);
        rtd_buffer_putc(text->out, '\n');
    }
    put_more(text, process->component_count, "components");
}

void rtd_text_table_operations(const struct rtd_text *text,
                               const struct rtd_report_process *process)
{
    const unsigned columns = smaller(columns_after(text, 2) / 2, OWNER_COLUMNS);
    const unsigned room = columns_after(text, columns + 2);
    char heading[64];

    snprintf(heading, sizeof(heading), "%-*s  operation", (int)columns, "component");
    put_heading(text, heading);
    for (uint32_t i = 0; i < shown_rows(text, process->operation_count); i++) {
        const struct rtd_report_operation *const operation = &process->operations[i];

        put_figures(text, i, &operation->figures);
        rtd_text_pad(text, operation->component, columns);
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
    into->figures.allocations.value += from->figures.allocations.value;
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
        rtd_text_fit(text, rows[i].module, columns_after(text, 0), true);
        rtd_buffer_putc(text->out, '\n');
    }
    put_more(text, groups, "modules");
    free(rows);
}
