// SPDX-License-Identifier: Apache-2.0
/*
 * serve_http.h - the HTTP face: JSON endpoints, Prometheus, health, the first page.
 *
 * Runs in:    collector
 * Threads:    libmicrohttpd's own threads answer; they only borrow published answers
 * Allocates:  yes
 * Fails:      by a negative errno at start; a bad request costs its sender a 4xx
 */
#ifndef RTD_SERVE_HTTP_H
#define RTD_SERVE_HTTP_H

#include "analyze/analyze_report.h"

struct rtd_server;

struct rtd_server_options {
    const char *address; /* numeric "127.0.0.1" or "[::1]"/"::1"; borrowed for the call */
    uint16_t port;
    unsigned tries; /* how many following ports may be tried if one is taken (1 = only this one) */
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
 * Sends waiting requests home, ends the threads and closes the socket; answers under way are cut.
 * The last report goes with it, and the descriptor above. NULL is allowed.
 */
void rtd_server_free(struct rtd_server *server);

#endif
