// SPDX-License-Identifier: Apache-2.0
/*
 * collect_query.h - asks a running collector for a report: the other half of `riptide report PID`.
 *
 * Runs in:    `riptide report`
 * Threads:    no shared state
 * Allocates:  the answer
 * Fails:      by a negative errno: -ESRCH no such process, -ENOTCONN nobody observes it, -EACCES
 *             another user's, -ETIMEDOUT, -EPROTO
 *
 * The collector is found through the process itself: the name of the socket stands in its
 * environment, or an ancestor is its collector. The pid of `riptide run` works too: the socket's
 * name holds it.
 */
#ifndef RTD_COLLECT_QUERY_H
#define RTD_COLLECT_QUERY_H

#include "collect/collect_socket.h"

/*
 * Sends *query (magic, version and pid are filled in) to the collector of pid and waits for the
 * text, which the caller frees. *length_bytes without the terminating NUL byte.
 */
int rtd_collect_ask(pid_t pid, struct rtd_query *query, char **answer, size_t *length_bytes);

/*
 * The same of the collector whose socket has that name; query->pid as the caller set it. Both
 * return 0, or 1 when an action that was asked for was not done and the text says why.
 */
int rtd_collect_ask_at(const char *name, struct rtd_query *query, char **answer,
                       size_t *length_bytes);

#endif
