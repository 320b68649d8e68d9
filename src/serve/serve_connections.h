// SPDX-License-Identifier: Apache-2.0
/*
 * serve_connections.h - ends connections that take too long.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the HTTP threads enter and leave; one sweeper, asleep while nobody is connected
 * Allocates:  one entry a connection
 * Fails:      by a negative errno at start; without memory a connection is not watched
 *
 * Why: the HTTP library's timeout counts from the last byte, so a client that sends one byte every
 * four seconds would hold a connection for ever, and sixty-four of them the whole server.
 */
#ifndef RTD_SERVE_CONNECTIONS_H
#define RTD_SERVE_CONNECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* How long a client may take to send a whole header, and to take in a whole answer. */
enum { RTD_HEADER_MS = 5000, RTD_ANSWER_MS = 60000 };

struct rtd_connection {
    struct rtd_connection *previous, *next;
    int fd;            /* borrowed: the HTTP library closes it after leave */
    uint64_t since_ms; /* of the present state */
    bool answering;    /* the header is complete */
};

/* In the caller's storage, which must not move: the sweeper holds its address. */
struct rtd_connections {
    pthread_mutex_t lock; /* guards the list and what is in it */
    pthread_cond_t changed;
    struct rtd_connection *first;
    bool stopping;
    pthread_t sweeper;
};

/* Starts the sweeper; 0 or a negative errno. */
int rtd_connections_init(struct rtd_connections *connections);

/* Ends the sweeper; all connections must have left. */
void rtd_connections_fini(struct rtd_connections *connections);

/*
 * Begin and end of a connection, in any thread. The entry is ours and valid from one to the other;
 * NULL when memory is short, which the functions below take as "not watched".
 */
struct rtd_connection *rtd_connections_enter(struct rtd_connections *connections, int fd);
void rtd_connections_leave(struct rtd_connections *connections, struct rtd_connection *connection);

/* The header has come (true) or the answer has gone (false): the clock starts anew. */
void rtd_connections_mark(struct rtd_connections *connections, struct rtd_connection *connection,
                          bool answering);

#endif
