// SPDX-License-Identifier: Apache-2.0
/*
 * serve_http.h - the HTTP face: JSON endpoints, Prometheus, health, the first page.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    libmicrohttpd's own threads answer; they only borrow published answers
 * Allocates:  yes
 * Fails:      by a negative errno at start; a bad request costs its sender a 4xx
 */
#ifndef RTD_SERVE_HTTP_H
#define RTD_SERVE_HTTP_H

#include "analyze/analyze_report.h"
#include "serve/serve_action.h"

#include <stdbool.h>

struct rtd_server;

struct rtd_server_options {
    const char *address; /* numeric "127.0.0.1" or "[::1]"/"::1"; borrowed for the call */
    uint16_t port;
    unsigned tries; /* how many following ports may be tried if one is taken (1 = only this one) */
    uint32_t hidden_routes; /* bit n: rtd_routes[n] is answered 404 */
    /* NULL, or called in each thread of the server before it works, perhaps more than once. */
    void (*begin_thread)(void);
    /* Who may POST /actions/gc, and what that does; NULL: nobody. Copied; it fits, see there. */
    const char *action_token;
    rtd_action_run force_gc;
    void *action_context; /* borrowed for the life of the server */
};

/*
 * Listens at once; freed by rtd_server_free(). NULL with *err (e.g. -EADDRINUSE, -EADDRNOTAVAIL,
 * -EINVAL, -EACCES). Its threads block all signals: they are for the collector's loop.
 */
struct rtd_server *rtd_server_new(const struct rtd_server_options *options, int *err);

/* The port really in use. */
uint16_t rtd_server_port(const struct rtd_server *server);

/*
 * The collector's loop asks whether somebody wants an answer newer than max_age_ms; requests
 * wait (bounded, 2 s) for a fresh report when the published one is older than 1 s. Publishing
 * transfers the report to the server, which frees it when no request reads it any more.
 */
int rtd_server_wants_report_fd(
    const struct rtd_server *server); /* eventfd, readable = wanted; borrowed */
void rtd_server_publish(struct rtd_server *server, struct rtd_report *report);

/*
 * The first part of rtd_server_free(): sends waiting requests home and stops listening. A process
 * that is forked from then on cannot keep the port. NULL is allowed.
 */
void rtd_server_shut(struct rtd_server *server);

/*
 * Sends waiting requests home, ends the threads and closes the socket; answers under way are cut.
 * The last report goes with it, and the descriptor above. NULL is allowed.
 */
void rtd_server_free(struct rtd_server *server);

/*
 * In the child of a fork, instead of rtd_server_free(): closes the copies of its sockets, so that
 * neither the port nor a client of the parent is held. If nobody had come yet, it is freed and the
 * result is true; otherwise threads of the parent were at work on it, and it stays as it is. NULL
 * is allowed.
 */
bool rtd_server_abandon(struct rtd_server *server);

#endif
