// SPDX-License-Identifier: Apache-2.0
/*
 * export_forecast.h - how close the limit is, and when it is reached, on every face.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#ifndef RTD_EXPORT_FORECAST_H
#define RTD_EXPORT_FORECAST_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

/*
 * Members of the open object: "pressure_level" ("normal", "high" from 0.7 on, "alert" from 0.8 on,
 * null without a limit), "forecast" (null, or seconds and slope with their intervals and a
 * sentence) and "forecast_reason" (why it is null, else null).
 */
void rtd_export_put_forecast(struct rtd_json *json, const struct rtd_report_process *process);

/* A line of the text report. */
void rtd_export_text_forecast(struct rtd_buffer *out, const struct rtd_report_process *process);

/* The gauges riptide_memory_limit_reached_seconds{bound="estimate|low|high"}, if it is known. */
void rtd_export_prometheus_forecast(struct rtd_buffer *out,
                                    const struct rtd_report_process *process);

#endif
