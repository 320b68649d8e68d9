// SPDX-License-Identifier: Apache-2.0
/*
 * serve_connections.c - ends connections that take too long.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the HTTP threads enter and leave; one sweeper
 * Allocates:  one entry a connection
 * Fails:      by a negative errno at start
 */
#include "serve/serve_connections.h"

#include "serve/serve_publish.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { SWEEP_MS = 500 };

/* The socket is only shut down: closing it is up to the HTTP library, which still polls it. */
static void sweep_locked(const struct rtd_connections *connections)
{
    const uint64_t now_ms = rtd_board_now_ms();

    for (const struct rtd_connection *c = connections->first; c; c = c->next) {
        if (now_ms > c->since_ms + (c->answering ? RTD_ANSWER_MS : RTD_HEADER_MS))
            shutdown(c->fd, SHUT_RDWR);
    }
}

static void *sweeper_main(void *argument)
{
    struct rtd_connections *const connections = argument;

    pthread_mutex_lock(&connections->lock);
    while (!connections->stopping) {
        const uint64_t until_ms = rtd_board_now_ms() + SWEEP_MS;
        const struct timespec until = {(time_t)(until_ms / 1000),
                                       (long)(until_ms % 1000 * 1000000)};

        if (!connections->first)
            pthread_cond_wait(&connections->changed, &connections->lock);
        else
            pthread_cond_timedwait(&connections->changed, &connections->lock, &until);
        sweep_locked(connections);
    }
    pthread_mutex_unlock(&connections->lock);
    return NULL;
}

int rtd_connections_init(struct rtd_connections *connections)
{
    pthread_condattr_t attributes;

    *connections = (struct rtd_connections){0};
    pthread_mutex_init(&connections->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&connections->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    const int error = pthread_create(&connections->sweeper, NULL, sweeper_main, connections);
    if (error) {
        pthread_cond_destroy(&connections->changed);
        pthread_mutex_destroy(&connections->lock);
    }
    return -error;
}

void rtd_connections_fini(struct rtd_connections *connections)
{
    pthread_mutex_lock(&connections->lock);
    connections->stopping = true;
    pthread_cond_signal(&connections->changed);
    pthread_mutex_unlock(&connections->lock);
    pthread_join(connections->sweeper, NULL);
    pthread_cond_destroy(&connections->changed);
    pthread_mutex_destroy(&connections->lock);
}

struct rtd_connection *rtd_connections_enter(struct rtd_connections *connections, int fd)
{
    struct rtd_connection *const connection = calloc(1, sizeof(*connection));

    if (!connection)
        return NULL;
    connection->fd = fd;
    connection->since_ms = rtd_board_now_ms();
    pthread_mutex_lock(&connections->lock);
    connection->next = connections->first;
    if (connection->next)
        connection->next->previous = connection;
    else
        pthread_cond_signal(&connections->changed);
    connections->first = connection;
    pthread_mutex_unlock(&connections->lock);
    return connection;
}

void rtd_connections_leave(struct rtd_connections *connections, struct rtd_connection *connection)
{
    if (!connection)
        return;
    pthread_mutex_lock(&connections->lock);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        connections->first = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    pthread_mutex_unlock(&connections->lock);
    free(connection);
}

void rtd_connections_mark(struct rtd_connections *connections, struct rtd_connection *connection,
                          bool answering)
{
    if (!connection)
        return;
    pthread_mutex_lock(&connections->lock);
    connection->answering = answering;
    connection->since_ms = rtd_board_now_ms();
    pthread_mutex_unlock(&connections->lock);
}
