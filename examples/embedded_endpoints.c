// SPDX-License-Identifier: Apache-2.0
/*
 * embedded_endpoints.c - a service that has an HTTP server already, and answers for RipTide on it.
 *
 * Runs in:    a process of its own
 * Threads:    main serves; the manager has one in the background, and no server
 * Allocates:  an answer per request
 * Fails:      by exit status 1 when it cannot listen; a bad request costs its sender a 4xx
 *
 * The server is as small as one can be: one request a connection, one connection at a time. What
 * matters is answer_for_riptide(): whatever path the program does not know itself goes to
 * riptide_answer_get(). The manager's own endpoints are off. Ends when its standard input ends.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <riptide/riptide.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 4096, BACKLOG = 16, CLIENT_SECONDS = 2, CACHED_PAGES = 64 };
enum { PAGE_BYTES = 32 * 1024 };

struct service {
    struct riptide_manager *manager;
    uint32_t page_tag;
    char *pages[CACHED_PAGES];
    unsigned served;
};

static void send_all(int client, const char *bytes, size_t count)
{
    while (count > 0) {
        const ssize_t sent = send(client, bytes, count, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        bytes += sent;
        count -= (size_t)sent;
    }
}

static void answer(int client, unsigned status, const char *type, const char *body)
{
    char head[256];
    const size_t body_bytes = strlen(body);
    const int length = snprintf(head, sizeof head,
                                "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                                "Connection: close\r\n\r\n",
                                status, status == 200 ? "OK" : "Error", type, body_bytes);

    send_all(client, head, (size_t)length);
    send_all(client, body, body_bytes);
}

/* The program's own work: a page, which stays in its cache. */
static void answer_page(struct service *service, int client)
{
    RIPTIDE_SCOPE("cache", "store_page");
    char **const slot = &service->pages[service->served++ % CACHED_PAGES];

    riptide_release_block(service->manager, *slot);
    free(*slot);
    *slot = malloc(PAGE_BYTES);
    if (!*slot) {
        answer(client, 503, "text/plain", "out of memory\n");
        return;
    }
    snprintf(*slot, PAGE_BYTES, "page %u\n", service->served);
    riptide_record_block(service->manager, service->page_tag, *slot, PAGE_BYTES, 0);
    answer(client, 200, "text/plain", *slot);
}

/* "/metrics", "/metrics/memory", "/metrics/leaks", ...: as the manager's own endpoints would. */
static void answer_for_riptide(struct service *service, int client, const char *path)
{
    const struct riptide_answer *told = NULL;
    const int error = riptide_answer_get(service->manager, path, &told);

    if (error < 0) {
        answer(client, 500, "text/plain", riptide_strerror(error));
        return;
    }
    answer(client, told->status, told->content_type, told->body);
    riptide_answer_free(told);
}

/* Reads up to the end of the request's head; the path, in request, or NULL. */
static const char *read_path(int client, char request[REQUEST_BYTES])
{
    size_t used = 0;

    do {
        const ssize_t got = recv(client, request + used, REQUEST_BYTES - 1 - used, 0);
        if (got <= 0)
            return NULL;
        used += (size_t)got;
        request[used] = '\0';
    } while (!strstr(request, "\r\n\r\n") && used < REQUEST_BYTES - 1);
    if (strncmp(request, "GET ", 4) != 0)
        return NULL;
    char *const path = request + 4;
    path[strcspn(path, " \r\n")] = '\0';
    return path;
}

static void serve_client(struct service *service, int client)
{
    char request[REQUEST_BYTES];
    /* A client that says nothing must not keep the others waiting for long. */
    const struct timeval patience = {.tv_sec = CLIENT_SECONDS};

    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const char *const path = read_path(client, request);
    if (!path)
        answer(client, 400, "text/plain", "only GET\n");
    else if (strcmp(path, "/page") == 0)
        answer_page(service, client);
    else
        answer_for_riptide(service, client, path);
}

/* A listening socket of this machine alone, with the port that the kernel chose; or -1. */
static int listen_somewhere(unsigned *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0) {
        perror("embedded_endpoints: cannot listen");
        return -1;
    }
    *port = ntohs(address.sin_port);
    return listener;
}

static void serve(struct service *service, int listener)
{
    struct pollfd waiting[] = {{.fd = listener, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    char ignored[64];

    for (;;) {
        if (poll(waiting, 2, -1) < 0)
            continue;
        if (waiting[1].revents && read(0, ignored, sizeof ignored) <= 0)
            return;
        const int client = waiting[0].revents ? accept(listener, NULL, NULL) : -1;
        if (client < 0)
            continue;
        serve_client(service, client);
        close(client);
    }
}

int main(void)
{
    int error = 0;
    unsigned port = 0;
    struct service service = {0};
    struct riptide_options options;

    riptide_options_init(&options);
    options.endpoints = 0;
    service.manager = riptide_manager_open(&options, &error);
    if (!service.manager) {
        fprintf(stderr, "embedded_endpoints: no manager: %s\n", riptide_strerror(error));
        return 1;
    }
    service.page_tag = riptide_intern(service.manager, "cache", "store_page");
    const int listener = listen_somewhere(&port);
    if (listener >= 0) {
        printf("Listening on http://127.0.0.1:%u\n", port);
        fflush(stdout);
        serve(&service, listener);
        close(listener);
    }
    riptide_manager_close(service.manager);
    for (size_t i = 0; i < CACHED_PAGES; i++)
        free(service.pages[i]);
    return listener < 0;
}
