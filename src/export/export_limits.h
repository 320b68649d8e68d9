// SPDX-License-Identifier: Apache-2.0
/*
 * export_limits.h - the limits of memory and the time lost waiting for it, on every face.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#ifndef RTD_EXPORT_LIMITS_H
#define RTD_EXPORT_LIMITS_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

/*
 * Members of the open object: "limits" (kind, path, limit_bytes, usage_bytes, share of each),
 * "nearest_limit" (the one of them with the highest share), "limits_unavailable" (sentences),
 * "cgroup_events" and "psi". Where limits were never read (a recording), but memory was: "limits"
 * is null and "limits_reason" says why, and the rest is missing; without memory both are null.
 */
void rtd_export_put_limits(struct rtd_json *json, const struct rtd_report_process *process);

struct rtd_text;

/* Lines of the text report. */
void rtd_text_limits(const struct rtd_text *text, const struct rtd_report_process *process);

/*
 * riptide_memory_limit_ratio{limit}, the nearest of each kind; riptide_memory_cgroup_events_total;
 * riptide_memory_pressure_stall_ratio{scope,kind,window},
 * riptide_memory_pressure_stall_seconds_total{scope,kind}. What is not known has no series.
 */
void rtd_export_prometheus_limits(struct rtd_buffer *out, const struct rtd_report_process *process);

#endif
