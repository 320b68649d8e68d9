// SPDX-License-Identifier: Apache-2.0
/*
 * export_report.h - a report as JSON, text and Prometheus exposition.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the growing output buffer only
 * Fails:      the buffer remembers that memory was short; check rtd_buffer_failed()
 */
#ifndef RTD_EXPORT_REPORT_H
#define RTD_EXPORT_REPORT_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

/*
 * All of these append to out, which they borrow like the report; a report without a target is legal
 * (nothing was recorded) and gives a document without the target's part.
 */

/* riptide.report/1, the contract of `riptide report --json` and GET /api/v1/report. */
void rtd_export_report_json(struct rtd_buffer *out, const struct rtd_report *report);

/* The three seed objects: /metrics/memory, /metrics/leaks, /metrics/allocations. */
void rtd_export_memory_json(struct rtd_buffer *out, const struct rtd_report_process *process);
void rtd_export_leaks_json(struct rtd_buffer *out, const struct rtd_report_process *process);
void rtd_export_allocations_json(struct rtd_buffer *out, const struct rtd_report_process *process);

/* Prometheus text 0.0.4. */
void rtd_export_prometheus(struct rtd_buffer *out, const struct rtd_report *report);

/* What a row of the table is. */
enum rtd_report_by { RTD_BY_SITE, RTD_BY_COMPONENT, RTD_BY_OPERATION, RTD_BY_MODULE };

struct rtd_text_options {
    enum rtd_report_by by;
    unsigned top;   /* how many rows, 0 = 20 */
    bool colour;    /* with ANSI escapes: only for a terminal */
    unsigned width; /* columns, 0 = 100; less than can be read is raised to the least */
};

/* The report for people: names are cleaned for a terminal, and cut to fit the width. */
void rtd_export_text(struct rtd_buffer *out, const struct rtd_report *report,
                     const struct rtd_text_options *options);

#endif
