// SPDX-License-Identifier: Apache-2.0
/*
 * serve_socket.h - the listening socket.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    no shared state
 * Allocates:  a descriptor, close-on-exec from birth
 * Fails:      by a negative errno
 *
 * Why we open it and not the HTTP library: the watched program is started while we listen, and
 * must never inherit the socket.
 */
#ifndef RTD_SERVE_SOCKET_H
#define RTD_SERVE_SOCKET_H

#include "serve/serve_http.h"

struct rtd_listener {
    int fd;
    uint16_t port;
    char address[64]; /* numeric, without brackets */
};

/* Listens; the caller closes fd. 0, or -EINVAL (not a numeric address), -EADDRINUSE, ... */
int rtd_listener_open(struct rtd_listener *listener, const struct rtd_server_options *options);

/*
 * Accepts one connection that is waiting and answers it with 503 and the reason (a line of text).
 * Waits at most a second for the client's request; does nothing when nobody is waiting.
 */
void rtd_listener_turn_away(const struct rtd_listener *listener, const char *reason);

#endif
