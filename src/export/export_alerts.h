// SPDX-License-Identifier: Apache-2.0
/*
 * export_alerts.h - the alerts that are in force, on the faces of a report.
 *
 * Runs in:    a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * Of a report whose maker watches for no alerts, neither face says anything.
 */
#ifndef RTD_EXPORT_ALERTS_H
#define RTD_EXPORT_ALERTS_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

/*
 * An array under key, as a member of the object that is open: of each alert "kind" ("pressure",
 * "growth"), "level" ("high", "critical"), "value", "threshold", "since", and "component", which is
 * null unless growth has one.
 */
void rtd_export_put_alerts(struct rtd_json *json, const char *key, const struct rtd_report *report);

/*
 * riptide_alert_active{kind, level}: 1 at the level that is in force, 0 at all others, so that each
 * series is always there.
 */
void rtd_export_alerts_prometheus(struct rtd_buffer *out, const struct rtd_report *report);

#endif
