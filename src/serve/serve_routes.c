// SPDX-License-Identifier: Apache-2.0
/*
 * serve_routes.c - which path is answered with what.
 *
 * Runs in:    collector; a program that links libriptide
 * Threads:    constant tables and pure functions
 * Allocates:  the growing output buffer only
 * Fails:      the buffer remembers that memory was short
 */
#include "serve/serve_routes.h"

#include "base/base_macros.h"
#include "export/export_report.h"
#include "serve/serve_page.h"

#include <errno.h>
#include <string.h>

static void render_memory(struct rtd_buffer *out, const struct rtd_report *report)
{
    rtd_export_memory_json(out, report->target);
}

static void render_leaks(struct rtd_buffer *out, const struct rtd_report *report)
{
    rtd_export_leaks_json(out, report->target);
}

static void render_allocations(struct rtd_buffer *out, const struct rtd_report *report)
{
    rtd_export_allocations_json(out, report->target);
}

static const char *health_text(void)
{
    return "ok\n";
}

static const char *ready_text(void)
{
    return "ready\n";
}

#define TEXT_TYPE "text/plain; charset=utf-8"

const struct rtd_route rtd_routes[RTD_ROUTE_COUNT] = {
    [RTD_ROUTE_PAGE] = {"/", "text/html; charset=utf-8", rtd_serve_page_put, NULL},
    [RTD_ROUTE_PROMETHEUS] = {"/metrics", "text/plain; version=0.0.4; charset=utf-8",
                              rtd_export_prometheus, NULL},
    [RTD_ROUTE_MEMORY] = {"/metrics/memory", RTD_ROUTE_JSON, render_memory, NULL},
    [RTD_ROUTE_LEAKS] = {"/metrics/leaks", RTD_ROUTE_JSON, render_leaks, NULL},
    [RTD_ROUTE_ALLOCATIONS] = {"/metrics/allocations", RTD_ROUTE_JSON, render_allocations, NULL},
    [RTD_ROUTE_REPORT] = {"/api/v1/report", RTD_ROUTE_JSON, rtd_export_report_json, NULL},
    [RTD_ROUTE_RENDERED] = {"/healthz", TEXT_TYPE, NULL, health_text},
    [RTD_ROUTE_RENDERED + 1] = {RTD_ROUTE_READY, TEXT_TYPE, NULL, ready_text},
    [RTD_ROUTE_RENDERED + 2] = {"/style.css", "text/css; charset=utf-8", NULL,
                                rtd_serve_page_style},
    [RTD_ROUTE_RENDERED + 3] = {"/icon.svg", "image/svg+xml", NULL, rtd_serve_page_icon},
    [RTD_ROUTE_RENDERED + 4] = {"/page.js", "text/javascript; charset=utf-8", NULL,
                                rtd_serve_page_script},
};

int rtd_route_find(const char *path)
{
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(rtd_routes); i++) {
        if (strcmp(path, rtd_routes[i].path) == 0)
            return (int)i;
    }
    return -ENOENT;
}
