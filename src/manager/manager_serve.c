// SPDX-License-Identifier: Apache-2.0
/*
 * manager_serve.c - the endpoints of a manager, and the same answers without a server.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  a report and its answer
 * Fails:      by a negative errno or enum riptide_error
 */
#include "manager/manager_serve.h"

#include "export/export_gc.h"
#include "manager/manager_loop.h"
#include "serve/serve_library.h"
#include "serve/serve_routes.h"
#include "track/track_gc.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_OK = 200, STATUS_NOT_FOUND = 404, STATUS_FAILED = 500 };

/* The answer that is handed out, in one block with its body. */
struct answer {
    struct riptide_answer shown;
    char body[];
};

/* ---- the server ---- */

/* Where the loader looks, but for its cache: enough to tell without loading anything. */
static bool is_installed(const char *name)
{
    Dl_serinfo head, *paths = NULL;
    char path[4096];
    bool found = false;
    void *const self = dlopen(NULL, RTLD_NOW);

    if (!self)
        return false;
    if (dlinfo(self, RTLD_DI_SERINFOSIZE, &head) == 0)
        paths = malloc(head.dls_size);
    if (paths) {
        *paths = head;
        const bool known = dlinfo(self, RTLD_DI_SERINFOSIZE, paths) == 0 &&
                           dlinfo(self, RTLD_DI_SERINFO, paths) == 0;
        for (unsigned i = 0; known && !found && i < paths->dls_cnt; i++) {
            (void)snprintf(path, sizeof(path), "%s/%s", paths->dls_serpath[i].dls_name, name);
            found = access(path, R_OK) == 0;
        }
        free(paths);
    }
    dlclose(self);
    return found;
}

uint32_t rtd_manager_hidden_routes(const struct riptide_options *options)
{
    uint32_t hidden = 0;

    if (!options->exporters)
        hidden |= UINT32_C(1) << RTD_ROUTE_PROMETHEUS;
    if (!options->tracker)
        hidden |= UINT32_C(1) << RTD_ROUTE_MEMORY;
    if (!options->leak_detector)
        hidden |= UINT32_C(1) << RTD_ROUTE_LEAKS;
    if (!options->allocation_analyzer)
        hidden |= UINT32_C(1) << RTD_ROUTE_ALLOCATIONS;
    return hidden;
}

static void begin_thread(void)
{
    struct rtd_manager_visit visit;

    rtd_manager_enter(&visit);
}

/* In a thread of the server; the program is this one, by number or without. */
static int force_gc(void *context, uint32_t pid, char **text, size_t *length_bytes)
{
    struct rtd_allocator_figures allocator;
    struct rtd_gc_outcome told = {.status = "done", .pid = (uint32_t)getpid()};
    struct rtd_gc_result done = {0};
    char line[512];

    (void)context;
    if (pid != 0 && pid != told.pid)
        return -ESRCH;
    const int result = rtd_track_gc(&done);
    rtd_allocator_glance(&allocator);
    told.allocator = allocator.name;
    if (result < 0) {
        told.status = result == -ENOSYS ? "unsupported" : "failed";
        told.reason = result == -ENOSYS ? "the allocator offers nothing of the kind"
                                        : "the allocator refused";
    } else {
        told.action = done.action;
        told.before_known = told.after_known = true;
        told.before_bytes = done.before_bytes;
        told.after_bytes = done.after_bytes;
        told.duration_ns = done.duration_ns;
    }
    *length_bytes = (size_t)rtd_export_gc_json(line, sizeof(line), &told);
    *text = strdup(line);
    return *text ? 0 : -ENOMEM;
}

int rtd_manager_server_check(void)
{
    /* Loaded when the first client comes; only where it does not lie in plain sight, now. */
    return is_installed(RTD_SERVE_LIBRARY_NAME) ||
                   rtd_serve_library_load(RTD_SERVE_LIBRARY_NAME) == 0
               ? 0
               : RIPTIDE_E_NO_HTTP;
}

int rtd_manager_server_open(const struct riptide_options *options, struct rtd_server **out)
{
    const struct rtd_server_options wish = {
        .address = options->listen_address,
        .port = options->port,
        .tries = options->port == 0 ? 1 : options->port_tries,
        .hidden_routes = rtd_manager_hidden_routes(options),
        .begin_thread = begin_thread,
        .action_token = options->action_token,
        .force_gc = force_gc,
    };
    int error = 0;

    *out = rtd_server_new(&wish, &error);
    return *out ? 0 : error;
}

int riptide_manager_port(const struct riptide_manager *manager)
{
    const int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    return manager->loop->server ? rtd_server_port(manager->loop->server) : 0;
}

/* ---- answers for another server ---- */

static int give(unsigned status, const char *type, const char *body, size_t bytes,
                const struct riptide_answer **out)
{
    struct answer *const answer = malloc(sizeof(*answer) + bytes + 1);

    if (!answer)
        return -ENOMEM;
    memcpy(answer->body, body, bytes);
    answer->body[bytes] = '\0';
    answer->shown = (struct riptide_answer){
        .size = sizeof(answer->shown),
        .status = status,
        .content_type = type,
        .body = answer->body,
        .body_bytes = bytes,
    };
    *out = &answer->shown;
    return 0;
}

static int give_rendered(const struct rtd_route *route, const struct rtd_report *report,
                         const struct riptide_answer **out)
{
    static const char failed[] = "{\"error\":\"the report could not be written\"}\n";
    struct rtd_buffer buffer;
    size_t bytes = 0;

    rtd_buffer_init(&buffer);
    if (report->target)
        route->render(&buffer, report);
    char *const text = report->target ? rtd_buffer_take(&buffer, &bytes) : NULL;
    const int result = text ? give(STATUS_OK, route->type, text, bytes, out)
                            : give(STATUS_FAILED, RTD_ROUTE_JSON, failed, sizeof(failed) - 1, out);
    free(text);
    rtd_buffer_fini(&buffer);
    return result;
}

static int find_route(const struct riptide_manager *manager, const char *path)
{
    char plain[64];
    /* A server hands the path over with or without what stands behind it. */
    const size_t length = strcspn(path, "?#");

    if (length >= sizeof(plain))
        return -ENOENT;
    memcpy(plain, path, length);
    plain[length] = '\0';
    const int route = rtd_route_find(plain);
    const uint32_t hidden = rtd_manager_hidden_routes(&manager->options);
    return route >= 0 && (hidden & (UINT32_C(1) << route)) ? -ENOENT : route;
}

int riptide_answer_get(struct riptide_manager *manager, const char *path,
                       const struct riptide_answer **out)
{
    struct rtd_manager_visit visit;
    struct rtd_report *report = NULL;
    int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    if (!path || !out)
        return -EINVAL;
    *out = NULL;
    rtd_manager_enter(&visit);
    const int found = find_route(manager, path);
    const struct rtd_route *const route = found < 0 ? NULL : &rtd_routes[found];
    if (!route) {
        result = give(STATUS_NOT_FOUND, RTD_ROUTE_JSON, RTD_ROUTE_NOT_FOUND,
                      sizeof(RTD_ROUTE_NOT_FOUND) - 1, out);
    } else if (route->text) {
        const char *const text = route->text();
        result = give(STATUS_OK, route->type, text, strlen(text), out);
    } else {
        result = rtd_manager_report(manager, &report);
        if (result == 0)
            result = give_rendered(route, report, out);
        rtd_report_free(report);
    }
    rtd_manager_leave(&visit);
    return result;
}

void riptide_answer_free(const struct riptide_answer *answer)
{
    free((void *)(uintptr_t)answer);
}
