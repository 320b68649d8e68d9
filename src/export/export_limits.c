// SPDX-License-Identifier: Apache-2.0
/*
 * export_limits.c - see export_limits.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#include "export/export_limits.h"

#include <inttypes.h>

#include "base/base_macros.h"
#include "export/export_human.h"
#include "export/export_parts.h"
#include "export/export_text.h"

static const char NOT_RECORDED[] = "limits are read while the process lives, and not recorded";

/* ---- JSON ---- */

static void put_limit(struct rtd_json *json, const char *key, const struct rtd_limit *limit)
{
    rtd_json_object(json, key);
    rtd_json_string(json, "kind", rtd_limit_kind_name(limit->kind));
    rtd_json_string(json, "path", limit->path[0] ? limit->path : NULL);
    rtd_json_uint(json, "limit_bytes", limit->limit_bytes);
    rtd_json_uint(json, "usage_bytes", limit->usage_bytes);
    rtd_json_double(json, "share", limit->share);
    rtd_json_end(json);
}

static void put_list(struct rtd_json *json, const struct rtd_limits *limits)
{
    const char *const reasons[] = {limits->cgroup_reason, limits->process_reason,
                                   limits->host_reason};

    rtd_json_array(json, "limits");
    for (uint32_t i = 0; i < limits->count; i++)
        put_limit(json, NULL, &limits->list[i]);
    rtd_json_end(json);
    if (limits->nearest >= 0)
        put_limit(json, "nearest_limit", &limits->list[limits->nearest]);
    else
        rtd_json_null(json, "nearest_limit");
    rtd_json_array(json, "limits_unavailable");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(reasons); i++) {
        if (reasons[i][0])
            rtd_json_string(json, NULL, reasons[i]);
    }
    rtd_json_end(json);
}

/* What the kernel did to the group, in the order of struct rtd_limit_events. */
static const char *const event_names[] = {"high", "max", "oom", "oom_kill"};

static void list_events(const struct rtd_limit_events *events, uint64_t out[4])
{
    out[0] = events->high;
    out[1] = events->max;
    out[2] = events->oom;
    out[3] = events->oom_kill;
}

static void put_events(struct rtd_json *json, const struct rtd_limit_events *events)
{
    uint64_t values[RTD_ARRAY_LENGTH(event_names)];

    list_events(events, values);
    rtd_json_object(json, "cgroup_events");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(event_names); i++)
        rtd_export_put_known(json, event_names[i], values[i] != RTD_LIMIT_UNKNOWN, values[i]);
    rtd_json_end(json);
}

static void put_stall(struct rtd_json *json, const char *key, const struct rtd_stall *stall)
{
    if (!stall->known) {
        rtd_json_null(json, key);
        return;
    }
    rtd_json_object(json, key);
    rtd_json_double(json, "share_10s", stall->share_10s);
    rtd_json_double(json, "share_60s", stall->share_60s);
    rtd_json_double(json, "share_300s", stall->share_300s);
    rtd_json_uint(json, "total_us", stall->total_us);
    rtd_json_end(json);
}

static void put_stalls(struct rtd_json *json, const char *key, const struct rtd_stalls *stalls)
{
    rtd_json_object(json, key);
    put_stall(json, "some", &stalls->some);
    put_stall(json, "full", &stalls->full);
    rtd_json_string(json, "unavailable", stalls->reason[0] ? stalls->reason : NULL);
    rtd_json_end(json);
}

void rtd_export_put_limits(struct rtd_json *json, const struct rtd_report_process *process)
{
    if (!process->limits.valid) {
        rtd_json_null(json, "limits");
        rtd_json_string(json, "limits_reason", process->memory.valid ? NOT_RECORDED : NULL);
        return;
    }
    put_list(json, &process->limits);
    put_events(json, &process->limits.events);
    rtd_json_object(json, "psi");
    put_stalls(json, "cgroup", &process->stalls.group);
    put_stalls(json, "host", &process->stalls.host);
    rtd_json_end(json);
}

/* ---- text ---- */

static void put_text_limit(const struct rtd_text *text, const struct rtd_limit *limit, bool nearest)
{
    rtd_buffer_printf(text->out, "    %-24s %9s  %5.1f %% used%s%s", rtd_human_limit(limit->kind),
                      rtd_human_bytes(limit->limit_bytes).text, limit->share * 100,
                      nearest ? ", the nearest" : "", limit->path[0] ? "  " : "");
    rtd_text_clean(text, limit->path);
    rtd_buffer_putc(text->out, '\n');
}

static void put_text_stalls(const struct rtd_text *text, const char *whose,
                            const struct rtd_stalls *stalls)
{
    if (!stalls->some.known) {
        rtd_buffer_printf(text->out, "    %-24s unknown: %s\n", whose, stalls->reason);
        return;
    }
    rtd_buffer_printf(text->out, "    %-24s %5.1f %% of 10 s, %.1f %% of 60 s, %.1f %% of 5 min\n",
                      whose, stalls->some.share_10s * 100, stalls->some.share_60s * 100,
                      stalls->some.share_300s * 100);
}

void rtd_text_limits(const struct rtd_text *text, const struct rtd_report_process *process)
{
    const struct rtd_limits *const limits = &process->limits;
    const char *const reasons[] = {limits->cgroup_reason, limits->process_reason,
                                   limits->host_reason};

    if (!limits->valid) {
        rtd_buffer_printf(text->out, "  limits     unknown: %s\n", NOT_RECORDED);
        return;
    }
    rtd_buffer_puts(text->out, "  limits that apply\n");
    for (uint32_t i = 0; i < limits->count; i++)
        put_text_limit(text, &limits->list[i], limits->nearest == (int32_t)i);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(reasons); i++) {
        if (reasons[i][0])
            rtd_buffer_printf(text->out, "    not known: %s\n", reasons[i]);
    }
    rtd_buffer_puts(text->out, "  time lost waiting for memory\n");
    put_text_stalls(text, "control group", &process->stalls.group);
    put_text_stalls(text, "host", &process->stalls.host);
}

/* ---- Prometheus ---- */

static void put_gauge_limits(struct rtd_buffer *out, const struct rtd_limits *limits)
{
    double shares[RTD_LIMIT_KINDS];

    for (uint32_t kind = 0; kind < RTD_LIMIT_KINDS; kind++)
        shares[kind] = -1;
    for (uint32_t i = 0; i < limits->count; i++) {
        const struct rtd_limit *const limit = &limits->list[i];
        if (limit->kind < RTD_LIMIT_KINDS && limit->share > shares[limit->kind])
            shares[limit->kind] = limit->share;
    }
    if (limits->count == 0)
        return;
    rtd_buffer_puts(out, "# HELP riptide_memory_limit_ratio What counts against a limit over the "
                         "limit, the nearest of each kind.\n"
                         "# TYPE riptide_memory_limit_ratio gauge\n");
    for (uint32_t kind = 0; kind < RTD_LIMIT_KINDS; kind++) {
        if (shares[kind] < 0)
            continue;
        rtd_buffer_printf(out, "riptide_memory_limit_ratio{limit=\"%s\"} ",
                          rtd_limit_kind_name(kind));
        (void)rtd_buffer_put_double(out, shares[kind]);
        rtd_buffer_putc(out, '\n');
    }
}

static void put_event_counters(struct rtd_buffer *out, const struct rtd_limit_events *events)
{
    uint64_t values[RTD_ARRAY_LENGTH(event_names)];
    bool begun = false;

    list_events(events, values);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(event_names); i++) {
        if (values[i] == RTD_LIMIT_UNKNOWN)
            continue;
        if (!begun)
            rtd_buffer_puts(out, "# HELP riptide_memory_cgroup_events_total What the kernel did to "
                                 "the target's control group.\n"
                                 "# TYPE riptide_memory_cgroup_events_total counter\n");
        begun = true;
        rtd_buffer_printf(out, "riptide_memory_cgroup_events_total{event=\"%s\"} %" PRIu64 "\n",
                          event_names[i], values[i]);
    }
}

/* The four lines of pressure that there may be, by scope and kind. */
struct stall_row {
    const char *scope, *kind;
    const struct rtd_stall *stall;
};

static void put_stall_ratios(struct rtd_buffer *out, const struct stall_row *row)
{
    const struct {
        const char *window;
        double share;
    } windows[] = {{"10s", row->stall->share_10s},
                   {"60s", row->stall->share_60s},
                   {"300s", row->stall->share_300s}};

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(windows); i++) {
        rtd_buffer_printf(
            out, "riptide_memory_pressure_stall_ratio{scope=\"%s\",kind=\"%s\",window=\"%s\"} ",
            row->scope, row->kind, windows[i].window);
        (void)rtd_buffer_put_double(out, windows[i].share);
        rtd_buffer_putc(out, '\n');
    }
}

static void put_stall_series(struct rtd_buffer *out, const struct rtd_pressure *stalls)
{
    const struct stall_row rows[] = {{"cgroup", "some", &stalls->group.some},
                                     {"cgroup", "full", &stalls->group.full},
                                     {"host", "some", &stalls->host.some},
                                     {"host", "full", &stalls->host.full}};
    bool any = false;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(rows); i++)
        any = any || rows[i].stall->known;
    if (!any)
        return;
    rtd_buffer_puts(out,
                    "# HELP riptide_memory_pressure_stall_ratio Share of time lost waiting for "
                    "memory, by some or by all tasks.\n"
                    "# TYPE riptide_memory_pressure_stall_ratio gauge\n");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(rows); i++) {
        if (rows[i].stall->known)
            put_stall_ratios(out, &rows[i]);
    }
    rtd_buffer_puts(out, "# HELP riptide_memory_pressure_stall_seconds_total Time lost waiting for "
                         "memory.\n"
                         "# TYPE riptide_memory_pressure_stall_seconds_total counter\n");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(rows); i++) {
        if (!rows[i].stall->known)
            continue;
        rtd_buffer_printf(out,
                          "riptide_memory_pressure_stall_seconds_total{scope=\"%s\",kind=\"%s\"} ",
                          rows[i].scope, rows[i].kind);
        (void)rtd_buffer_put_double(out, (double)rows[i].stall->total_us / 1e6);
        rtd_buffer_putc(out, '\n');
    }
}

void rtd_export_prometheus_limits(struct rtd_buffer *out, const struct rtd_report_process *process)
{
    if (!process->limits.valid)
        return;
    put_gauge_limits(out, &process->limits);
    put_event_counters(out, &process->limits.events);
    put_stall_series(out, &process->stalls);
}
