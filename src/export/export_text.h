// SPDX-License-Identifier: Apache-2.0
/*
 * export_text.h - what the parts of the text report share: fitting, cleaning, colour, tables.
 *
 * Runs in:    collector, report
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer; a module table allocates its rows
 * Fails:      remembered in the output buffer
 *
 * Names come from a stranger's program and go to somebody's terminal: control characters (also the
 * 8-bit ones) and the marks that turn the writing direction are shown as '?'.
 */
#ifndef RTD_EXPORT_TEXT_H
#define RTD_EXPORT_TEXT_H

#include "export/export_report.h"

enum rtd_style { RTD_STYLE_HEAD, RTD_STYLE_WARN, RTD_STYLE_DIM };

struct rtd_text {
    struct rtd_buffer *out; /* borrowed */
    unsigned width;         /* columns of the page */
    unsigned top;           /* rows of a table */
    bool exact;             /* nothing is estimated: no intervals are shown */
    bool colour;
};

/* A heading with a blank line in front. */
void rtd_text_section(const struct rtd_text *text, const char *title);

/* A section for each domain; nothing when there is none. */
void rtd_text_domains(const struct rtd_text *text, const struct rtd_report_process *process);

/* The lines of leaks and patterns, and those of advice, without heading; nothing if none. */
void rtd_text_findings(const struct rtd_text *text, const struct rtd_report_process *process);

/* What only exact mode can tell: the sites at the peak, and those of temporary allocations. */
void rtd_text_counts(const struct rtd_text *text, const struct rtd_report_process *process);

/* Begin and end a style; both write nothing without colour. Styles do not nest. */
void rtd_text_style(const struct rtd_text *text, enum rtd_style style);
void rtd_text_plain(const struct rtd_text *text);

/* Name, harmless for a terminal. */
void rtd_text_clean(const struct rtd_text *text, const char *name);

/*
 * The same, cut to columns with ".." (at the left when keep_end). _pad() cuts at the right and also
 * fills up with blanks. A column is a code point: wide characters are not known to be two.
 */
void rtd_text_fit(const struct rtd_text *text, const char *name, unsigned columns, bool keep_end);
void rtd_text_pad(const struct rtd_text *text, const char *name, unsigned columns);

/* Columns that name takes when clean. */
unsigned rtd_text_columns(const char *name);

/*
 * The place of a frame, of which build id and inlining are not looked at:
 * "function  path/file.c:LINE" or "module+0xoffset", cut to columns; 0 = in full. The path loses
 * leading directories first.
 */
void rtd_text_place(const struct rtd_text *text, const struct rtd_report_frame *place,
                    unsigned columns);

/*
 * Breaks sentence between words at the width and ends the line. Further lines begin with indent
 * blanks; the first is taken to stand at that column already.
 */
void rtd_text_wrap(const struct rtd_text *text, const char *sentence, unsigned indent);

/* The place that names a site, with its callers ("a < b") if it has no file; 0 = in full. */
void rtd_text_site(const struct rtd_text *text, const struct rtd_report_site *site,
                   unsigned columns);

/* The tables of --by; text->top rows, and a line saying how many more there are. */
void rtd_text_table_sites(const struct rtd_text *text, const struct rtd_report_process *process);
void rtd_text_table_components(const struct rtd_text *text,
                               const struct rtd_report_process *process);
void rtd_text_table_operations(const struct rtd_text *text,
                               const struct rtd_report_process *process);
void rtd_text_table_modules(const struct rtd_text *text, const struct rtd_report_process *process);

/* The ten places that hold most mapped bytes, and the sums. */
void rtd_text_table_mappings(const struct rtd_text *text, const struct rtd_report_process *process);

#endif
