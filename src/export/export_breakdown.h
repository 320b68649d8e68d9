// SPDX-License-Identifier: Apache-2.0
/*
 * export_breakdown.h - resident memory by what it is used for, on every face.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#ifndef RTD_EXPORT_BREAKDOWN_H
#define RTD_EXPORT_BREAKDOWN_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

/*
 * Members of the open object, none when no breakdown was made: "breakdown" (name, bytes, parts of
 * each class, in a fixed order; they add up to "breakdown_rss_bytes"), "breakdown_timestamp",
 * "breakdown_cost_ns". Parts of live_heap are components, scaled to what is resident.
 */
void rtd_export_put_breakdown(struct rtd_json *json, const struct rtd_report_process *process);

struct rtd_text;

/* Lines of the text report, with the largest parts of each class. */
void rtd_text_breakdown(const struct rtd_text *text, const struct rtd_report_process *process);

/* riptide_memory_breakdown_bytes{class="..."}. */
void rtd_export_prometheus_breakdown(struct rtd_buffer *out,
                                     const struct rtd_report_process *process);

#endif
