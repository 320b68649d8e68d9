// SPDX-License-Identifier: Apache-2.0
/*
 * serve_http.c - routes, checks and answers on top of libmicrohttpd.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    one that waits for the first client, then a few of libmicrohttpd's, all with all
 *             signals blocked; they share the board
 * Allocates:  yes
 * Fails:      by a negative errno at start; a bad request costs its sender a 4xx
 *
 * A request is checked in this order: host, method, body, path. Paths are compared as they were
 * sent: nothing is decoded, so there is one spelling of each.
 *
 * Why the library comes last: see serve_library.h. A listening socket needs no library; it is
 * loaded when somebody knocks, and the first client waits the few milliseconds that this takes.
 *
 * Why several threads: a request that waits for a fresh report blocks its thread; health checks and
 * other clients go on meanwhile.
 */
#include "serve/serve_http.h"

#include "serve/serve_action.h"
#include "serve/serve_connections.h"
#include "serve/serve_host.h"
#include "serve/serve_library.h"
#include "serve/serve_publish.h"
#include "serve/serve_routes.h"
#include "serve/serve_socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    THREADS = 4,
    CONNECTIONS_MAX = 64,
    IDLE_SECONDS = 5,
    HEADER_BYTES = 8192,
    STACK_BYTES = 512 * 1024,
    TURN_AWAY_PAUSE_MS = 1000,
};

struct rtd_server {
    struct rtd_listener listener;
    struct rtd_board board;
    struct rtd_actions actions;
    uint32_t hidden_routes;
    void (*begin_thread)(void);
    int stop_fd; /* readable: the doorman shall end */
    pthread_t doorman;
    /* The doorman's while it lives, then of whoever joined it. NULL: nobody has come yet. */
    struct MHD_Daemon *daemon;
    bool is_shut;                       /* by rtd_server_shut() */
    struct rtd_connections connections; /* there if the daemon is */
};

#define JSON_TYPE RTD_ROUTE_JSON
RTD_STATIC_ASSERT((int)RTD_ROUTE_RENDERED <= (int)RTD_PUBLISH_ANSWERS,
                  "each rendered route has a place");

/*
 * nosniff and the content policy keep a hostile name from becoming code, no-store keeps figures of
 * a program out of caches, and the rest keeps other pages from framing or reading us.
 */
static void add_headers(struct MHD_Response *response, const char *type)
{
    static const char *const fixed[][2] = {
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cache-Control", "no-store"},
        {"Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'none'; "
                                    "form-action 'none'; frame-ancestors 'none'"},
    };

    rtd_mhd.add_response_header(response, "Content-Type", type);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(fixed); i++)
        rtd_mhd.add_response_header(response, fixed[i][0], fixed[i][1]);
}

/* Queues a text that lives as long as the program, with one more header if name is not NULL. */
static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *type, const char *text, const char *const extra[2])
{
    struct MHD_Response *const response = rtd_mhd.create_response_from_buffer(
        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);

    if (!response)
        return MHD_NO;
    add_headers(response, type);
    if (extra)
        rtd_mhd.add_response_header(response, extra[0], extra[1]);
    const enum MHD_Result result = rtd_mhd.queue_response(connection, status, response);
    rtd_mhd.destroy_response(response);
    return result;
}

/* A refusal also ends the connection: what follows on it is not worth reading. */
static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text)
{
    static const char *const close_header[2] = {"Connection", "close"};

    return answer_text(connection, status, JSON_TYPE, text, close_header);
}

/* The cached answer, made now if it is the first of its kind; NULL when memory is short. */
static struct MHD_Response *answer_locked(struct rtd_published *published, size_t route)
{
    struct rtd_buffer out;
    size_t length_bytes = 0;

    if (published->answers[route])
        return published->answers[route];
    rtd_buffer_init(&out);
    rtd_routes[route].render(&out, published->report);
    char *const text = rtd_buffer_take(&out, &length_bytes);
    if (!text)
        return NULL;
    struct MHD_Response *const response =
        rtd_mhd.create_response_from_buffer(length_bytes, text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
        return NULL;
    }
    add_headers(response, rtd_routes[route].type);
    published->answers[route] = response;
    return response;
}

static enum MHD_Result answer_route(struct rtd_server *server, struct MHD_Connection *connection,
                                    size_t route)
{
    static const char *const later[2] = {"Retry-After", "1"};
    enum MHD_Result result = MHD_NO;
    struct rtd_published *const published = rtd_board_borrow(&server->board, true);

    if (!published)
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, JSON_TYPE,
                           "{\"error\":\"there is no report yet\"}\n", later);
    pthread_mutex_lock(&published->lock);
    struct MHD_Response *const response =
        published->report->target ? answer_locked(published, route) : NULL;
    /* The library counts references itself: the answer outlives the report if need be. */
    if (response)
        result = rtd_mhd.queue_response(connection, MHD_HTTP_OK, response);
    pthread_mutex_unlock(&published->lock);
    rtd_board_release(&server->board, published);
    if (!response)
        return refuse(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
                      "{\"error\":\"the report could not be written\"}\n");
    return result;
}

/* Never waits: readiness is asked for often, and by machines. The first question makes a report. */
static enum MHD_Result answer_ready(struct rtd_server *server, struct MHD_Connection *connection)
{
    struct rtd_published *const published = rtd_board_borrow(&server->board, false);

    if (!published)
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8",
                           "no report yet\n", NULL);
    rtd_board_release(&server->board, published);
    return answer_text(connection, MHD_HTTP_OK, "text/plain; charset=utf-8", "ready\n", NULL);
}

static enum MHD_Result answer_path(struct rtd_server *server, struct MHD_Connection *connection,
                                   const char *path)
{
    const int route = rtd_route_find(path);

    if (route < 0 || (server->hidden_routes & (UINT32_C(1) << route)))
        return answer_text(connection, MHD_HTTP_NOT_FOUND, JSON_TYPE, RTD_ROUTE_NOT_FOUND, NULL);
    if (rtd_routes[route].render)
        return answer_route(server, connection, (size_t)route);
    if (strcmp(path, RTD_ROUTE_READY) == 0)
        return answer_ready(server, connection);
    return answer_text(connection, MHD_HTTP_OK, rtd_routes[route].type, rtd_routes[route].text(),
                       NULL);
}

/* All Host headers of a request: there must be exactly one. */
struct hosts {
    const char *last;
    unsigned count;
};

static enum MHD_Result collect_host(void *context, enum MHD_ValueKind kind, const char *key,
                                    const char *value)
{
    struct hosts *const hosts = context;

    (void)kind;
    if (key && strcasecmp(key, MHD_HTTP_HEADER_HOST) == 0) {
        hosts->last = value;
        hosts->count++;
    }
    return MHD_YES;
}

static bool host_allowed(const struct rtd_server *server, struct MHD_Connection *connection)
{
    struct hosts hosts = {0};

    rtd_mhd.get_connection_values(connection, MHD_HEADER_KIND, collect_host, &hosts);
    return hosts.count == 1 && hosts.last &&
           rtd_serve_host_allowed(hosts.last, server->listener.address);
}

/* Says whether a body is announced, in either way. */
static bool has_body(struct MHD_Connection *connection)
{
    const char *const length = rtd_mhd.lookup_connection_value(connection, MHD_HEADER_KIND,
                                                               MHD_HTTP_HEADER_CONTENT_LENGTH);

    return (length && strspn(length, "0") != strlen(length)) ||
           rtd_mhd.lookup_connection_value(connection, MHD_HEADER_KIND,
                                           MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

/* Our entry for a connection, NULL if memory was short when it came. */
static struct rtd_connection *watched(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *const info =
        rtd_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

static bool is_action(const char *path)
{
    return strcmp(path, RTD_ACTION_GC_PATH) == 0;
}

/* The part of refused() that is about actions: method and token. */
static bool action_refused(const struct rtd_server *server, struct MHD_Connection *connection,
                           const char *method, enum MHD_Result *result)
{
    static const char *const allow[2] = {"Allow", "POST"};
    static const char *const scheme[2] = {"WWW-Authenticate", "Bearer realm=\"riptide\""};
    const char *text = NULL;

    if (strcmp(method, "POST") != 0) {
        *result = answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, JSON_TYPE,
                              "{\"error\":\"method not allowed\"}\n", allow);
        return true;
    }
    const unsigned status = rtd_action_refusal(
        &server->actions,
        rtd_mhd.lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION),
        &text);
    if (status != 0)
        *result = answer_text(connection, status, JSON_TYPE, text,
                              status == MHD_HTTP_UNAUTHORIZED ? scheme : NULL);
    return status != 0;
}

/* Waits in this thread for the target: other clients have the other threads. */
static enum MHD_Result answer_action(struct rtd_server *server, struct MHD_Connection *connection)
{
    const char *text = NULL;
    char *made = NULL;
    const unsigned status = rtd_action_perform(
        &server->actions, rtd_mhd.lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "pid"),
        &made, &text);

    if (!made)
        return answer_text(connection, status, JSON_TYPE, text, NULL);
    struct MHD_Response *const response =
        rtd_mhd.create_response_from_buffer(strlen(made), made, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(made);
        return MHD_NO;
    }
    add_headers(response, JSON_TYPE);
    const enum MHD_Result result = rtd_mhd.queue_response(connection, status, response);
    rtd_mhd.destroy_response(response);
    return result;
}

/* Answers a request that must not go on; false when there is nothing wrong with it. */
static bool refused(const struct rtd_server *server, struct MHD_Connection *connection,
                    const char *path, const char *method, enum MHD_Result *result)
{
    static const char *const allow[2] = {"Allow", "GET, HEAD"};

    if (!host_allowed(server, connection))
        *result = refuse(connection, MHD_HTTP_FORBIDDEN, "{\"error\":\"unknown host\"}\n");
    else if (is_action(path) && action_refused(server, connection, method, result))
        return true;
    else if (!is_action(path) && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        *result = answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, JSON_TYPE,
                              "{\"error\":\"method not allowed\"}\n", allow);
    else if (has_body(connection))
        *result = refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE,
                         "{\"error\":\"a body is not accepted\"}\n");
    else
        return false;
    return true;
}

/*
 * libmicrohttpd's access handler. The first call comes with the header: an answer given there ends
 * the connection, which is right for a refusal. The second comes with the end of the request: an
 * answer given there keeps the connection.
 */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload_data,
                              size_t *upload_data_size, void **request_context)
{
    struct rtd_server *const server = context;
    enum MHD_Result result = MHD_YES;

    (void)version;
    (void)upload_data;
    if (!*request_context) {
        *request_context = server;
        rtd_connections_mark(&server->connections, watched(connection), true);
        (void)refused(server, connection, url, method, &result);
        return result;
    }
    if (*upload_data_size) {
        *upload_data_size = 0;
        return MHD_YES;
    }
    return is_action(url) ? answer_action(server, connection)
                          : answer_path(server, connection, url);
}

static void handle_completed(void *context, struct MHD_Connection *connection,
                             void **request_context, enum MHD_RequestTerminationCode code)
{
    struct rtd_server *const server = context;

    (void)code;
    *request_context = NULL;
    rtd_connections_mark(&server->connections, watched(connection), false);
}

static void handle_connection(void *context, struct MHD_Connection *connection,
                              void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    struct rtd_server *const server = context;

    /* The library does not tell when a thread of its own begins. */
    if (server->begin_thread)
        server->begin_thread();
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *const info =
            rtd_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        *socket_context = rtd_connections_enter(&server->connections, info->connect_fd);
    } else {
        rtd_connections_leave(&server->connections, *socket_context);
        *socket_context = NULL;
    }
}

/* Leaves the path as it was sent. */
static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

static int start_daemon(struct rtd_server *server)
{
    errno = 0;
    server->daemon = rtd_mhd.start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD, server->listener.port, NULL, NULL, handle, server,
        MHD_OPTION_LISTEN_SOCKET, server->listener.fd, MHD_OPTION_THREAD_POOL_SIZE,
        (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, handle_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        handle_connection, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!server->daemon)
        return errno ? -errno : -ENOMEM;
    return 0;
}

static int start_threads(struct rtd_server *server)
{
    int result = rtd_serve_library_load(RTD_SERVE_LIBRARY_NAME);

    if (result == 0)
        result = rtd_connections_init(&server->connections);
    if (result < 0)
        return result;
    result = start_daemon(server);
    if (result < 0)
        rtd_connections_fini(&server->connections);
    return result;
}

/* Another client is another try. */
static void turn_away(const struct rtd_server *server, int error)
{
    rtd_listener_turn_away(&server->listener, error == -ELIBACC
                                                  ? "the library " RTD_SERVE_LIBRARY_NAME
                                                    " cannot be loaded (Debian: libmicrohttpd12)"
                                                  : strerrordesc_np(-error));
}

/* Waits at the listening socket for the first client, starts the HTTP library for it and ends. */
static void *doorman_main(void *context)
{
    struct rtd_server *const server = context;

    if (server->begin_thread)
        server->begin_thread();
    for (;;) {
        struct pollfd ready[2] = {{.fd = server->listener.fd, .events = POLLIN},
                                  {.fd = server->stop_fd, .events = POLLIN}};

        if (poll(ready, 2, -1) < 0)
            continue;
        if (ready[1].revents)
            return NULL;
        const int result = start_threads(server);
        if (result == 0)
            return NULL;
        turn_away(server, result);
        /* Without a descriptor to spare the client is still there: not again at once. */
        (void)poll(&ready[1], 1, TURN_AWAY_PAUSE_MS);
    }
}

/* Its threads must not take signals that are meant for the collector's loop. */
static int start_doorman(struct rtd_server *server)
{
    sigset_t all, before;

    server->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (server->stop_fd < 0)
        return -errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&server->doorman, NULL, doorman_main, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        close(server->stop_fd);
    return -error;
}

struct rtd_server *rtd_server_new(const struct rtd_server_options *options, int *err)
{
    struct rtd_server *const server = calloc(1, sizeof(*server));
    int result = server ? rtd_board_init(&server->board) : -ENOMEM;

    if (result < 0)
        goto out;
    result = rtd_actions_init(&server->actions, options->action_token, options->force_gc,
                              options->action_context);
    if (result < 0) {
        rtd_board_fini(&server->board);
        goto out;
    }
    server->hidden_routes = options->hidden_routes;
    server->begin_thread = options->begin_thread;
    result = rtd_listener_open(&server->listener, options);
    if (result == 0) {
        result = start_doorman(server);
        if (result < 0)
            close(server->listener.fd);
    }
    if (result < 0)
        rtd_board_fini(&server->board);

out:
    if (result < 0) {
        free(server);
        if (err)
            *err = result;
        return NULL;
    }
    return server;
}

uint16_t rtd_server_port(const struct rtd_server *server)
{
    return server->listener.port;
}

int rtd_server_wants_report_fd(const struct rtd_server *server)
{
    return server->board.wanted_fd;
}

void rtd_server_publish(struct rtd_server *server, struct rtd_report *report)
{
    rtd_board_publish(&server->board, report);
}

void rtd_server_shut(struct rtd_server *server)
{
    const uint64_t one = 1;

    if (!server || server->is_shut)
        return;
    rtd_board_stop(&server->board);
    /* Cannot fail: the counter is far from its limit. */
    (void)!write(server->stop_fd, &one, sizeof(one));
    (void)pthread_join(server->doorman, NULL);
    /* A copy of the descriptor would keep a socket listening that is only closed. */
    (void)shutdown(server->listener.fd, SHUT_RDWR);
    server->is_shut = true;
}

void rtd_server_free(struct rtd_server *server)
{
    if (!server)
        return;
    rtd_server_shut(server);
    close(server->stop_fd);
    if (server->daemon) {
        /* Also closes the listening socket, which was handed over. */
        rtd_mhd.stop_daemon(server->daemon);
        rtd_connections_fini(&server->connections);
    } else {
        close(server->listener.fd);
    }
    rtd_board_fini(&server->board);
    free(server);
}

bool rtd_server_abandon(struct rtd_server *server)
{
    if (!server)
        return true;
    close(server->listener.fd);
    close(server->stop_fd);
    /* Whoever changed the list when the process was copied left it whole from first to last. */
    for (const struct rtd_connection *c = server->connections.first; c; c = c->next)
        close(c->fd);
    if (server->daemon) {
        close(server->board.wanted_fd);
        return false;
    }
    rtd_board_fini(&server->board);
    free(server);
    return true;
}
