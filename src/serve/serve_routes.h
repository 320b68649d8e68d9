// SPDX-License-Identifier: Apache-2.0
/*
 * serve_routes.h - which path is answered with what.
 *
 * Runs in:    collector; a program that links libriptide
 * Threads:    constant tables and pure functions
 * Allocates:  the growing output buffer only
 * Fails:      the buffer remembers that memory was short
 *
 * Why apart from the server: a program with a server of its own asks libriptide for the same
 * answers without any HTTP of ours.
 */
#ifndef RTD_SERVE_ROUTES_H
#define RTD_SERVE_ROUTES_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

#define RTD_ROUTE_JSON      "application/json; charset=utf-8"
#define RTD_ROUTE_NOT_FOUND "{\"error\":\"not found\"}\n"
/* Its text is true as soon as there is a report. */
#define RTD_ROUTE_READY "/readyz"

/* Exactly one of render and text is not NULL. */
struct rtd_route {
    const char *path, *type;
    void (*render)(struct rtd_buffer *out, const struct rtd_report *report); /* needs a target */
    const char *(*text)(void); /* static, the same whatever the report */
};

/* Those made from a report come first: RTD_ROUTE_RENDERED of them. */
enum {
    RTD_ROUTE_PAGE,
    RTD_ROUTE_PROMETHEUS,
    RTD_ROUTE_MEMORY,
    RTD_ROUTE_LEAKS,
    RTD_ROUTE_ALLOCATIONS,
    RTD_ROUTE_REPORT,
    RTD_ROUTE_RENDERED,
    RTD_ROUTE_COUNT = RTD_ROUTE_RENDERED + 5
};
extern const struct rtd_route rtd_routes[RTD_ROUTE_COUNT];

/* The route of a path, compared as it is: nothing is decoded. -ENOENT: none. */
int rtd_route_find(const char *path);

#endif
