// SPDX-License-Identifier: Apache-2.0
/*
 * export_alerts.c - see export_alerts.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#include "export/export_alerts.h"

#include "base/base_macros.h"
#include "export/export_parts.h"

/* What there is to be in force, with its names on every face. */
static const struct series {
    uint32_t kind, level;
    const char *kind_name, *level_name;
} ALL[] = {
    {RTD_ALERT_PRESSURE, RTD_ALERT_HIGH, "pressure", "high"},
    {RTD_ALERT_PRESSURE, RTD_ALERT_CRITICAL, "pressure", "critical"},
    {RTD_ALERT_GROWTH, RTD_ALERT_HIGH, "growth", "high"},
};

/* The alert that is in force at one of them, or NULL. */
static const struct rtd_alert_state *find(const struct rtd_report *report,
                                          const struct series *series)
{
    for (unsigned i = 0; i < report->alerts.count; i++) {
        const struct rtd_alert_state *const state = &report->alerts.states[i];

        if (state->kind == series->kind && state->level == series->level)
            return state;
    }
    return NULL;
}

void rtd_export_put_alerts(struct rtd_json *json, const char *key, const struct rtd_report *report)
{
    if (!report->watches_alerts)
        return;
    rtd_json_array(json, key);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(ALL); i++) {
        const struct rtd_alert_state *const state = find(report, &ALL[i]);

        if (!state)
            continue;
        rtd_json_object(json, NULL);
        rtd_json_string(json, "kind", ALL[i].kind_name);
        rtd_json_string(json, "level", ALL[i].level_name);
        rtd_json_double(json, "value", state->value);
        rtd_json_double(json, "threshold", state->threshold);
        rtd_export_put_time(json, "since", state->since_ns);
        rtd_json_string(json, "component", state->component[0] ? state->component : NULL);
        rtd_json_end(json);
    }
    rtd_json_end(json);
}

void rtd_export_alerts_prometheus(struct rtd_buffer *out, const struct rtd_report *report)
{
    if (!report->watches_alerts)
        return;
    rtd_buffer_puts(out, "# HELP riptide_alert_active Whether an alert is in force at this level.\n"
                         "# TYPE riptide_alert_active gauge\n");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(ALL); i++)
        rtd_buffer_printf(out, "riptide_alert_active{kind=\"%s\",level=\"%s\"} %d\n",
                          ALL[i].kind_name, ALL[i].level_name, find(report, &ALL[i]) ? 1 : 0);
}
