// SPDX-License-Identifier: Apache-2.0
/*
 * serve_socket.c - the listening socket.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    no shared state
 * Allocates:  a descriptor, close-on-exec from birth
 * Fails:      by a negative errno
 */
#include "serve/serve_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 128, TURN_AWAY_MS = 1000, TURN_AWAY_BYTES = 512 };

/* Either family's socket address. */
union any_address {
    struct sockaddr plain;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int parse_options(struct rtd_listener *listener, const char *text, union any_address *out)
{
    const size_t length = strlen(text);
    const bool bracketed = length > 2 && text[0] == '[' && text[length - 1] == ']';
    const size_t name_bytes = length - (bracketed ? 2 : 0);

    if (name_bytes == 0 || name_bytes >= sizeof(listener->address))
        return -EINVAL;
    memcpy(listener->address, text + bracketed, name_bytes);
    listener->address[name_bytes] = '\0';
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET6, listener->address, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        return 0;
    }
    if (!bracketed && inet_pton(AF_INET, listener->address, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        return 0;
    }
    return -EINVAL;
}

static socklen_t size_of(const union any_address *address)
{
    return address->plain.sa_family == AF_INET6 ? sizeof(address->v6) : sizeof(address->v4);
}

/* The port lies at the same place in both families; kept in network order. */
static in_port_t *port_of(union any_address *address)
{
    return address->plain.sa_family == AF_INET6 ? &address->v6.sin6_port : &address->v4.sin_port;
}

/* A listening descriptor or a negative errno. */
static int try_listen(union any_address *address)
{
    const int yes = 1;
    int result;
    const int fd =
        socket(address->plain.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);

    if (fd < 0)
        return -errno;
    socklen_t size = size_of(address);
    /* Only lets the port be taken while old connections linger; a listener in use is respected. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
        bind(fd, &address->plain, size) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, &address->plain, &size) < 0) {
        result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

int rtd_listener_open(struct rtd_listener *listener, const struct rtd_server_options *options)
{
    union any_address address;
    const unsigned tries = options->tries ? options->tries : 1;
    int result = parse_options(listener, options->address, &address);

    if (result < 0)
        return result;
    for (unsigned i = 0; i < tries && options->port + i <= UINT16_MAX; i++) {
        *port_of(&address) = htons((uint16_t)(options->port + i));
        result = try_listen(&address);
        if (result != -EADDRINUSE)
            break;
    }
    if (result < 0)
        return result;
    listener->fd = result;
    listener->port = ntohs(*port_of(&address));
    return 0;
}

void rtd_listener_turn_away(const struct rtd_listener *listener, const char *reason)
{
    char text[TURN_AWAY_BYTES];
    const int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    if (fd < 0)
        return;
    const int length = snprintf(text, sizeof(text),
                                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n"
                                "Connection: close\r\n\r\nRipTide cannot serve HTTP: %.300s\n",
                                reason);
    (void)send(fd, text, (size_t)length, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    /* A request that is not read before closing would reset the connection under the answer. */
    if (poll(&ready, 1, TURN_AWAY_MS) > 0)
        (void)!read(fd, text, sizeof(text));
    close(fd);
}
