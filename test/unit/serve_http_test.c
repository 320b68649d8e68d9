// SPDX-License-Identifier: Apache-2.0
/*
 * serve_http_test.c - the server over real sockets, with clients that behave and clients that do
 * not.
 *
 * Runs in:    unit tests
 * Threads:    the server's, a publisher that stands for the collector's loop, many clients
 * Allocates:  yes
 * Fails:      by an assertion
 */
// clang-format off
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "../support/support_skip.h"
#include "serve/serve_http.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 64 * 1024, CHILDREN = 3000, CLIENTS = 100 };

/* A server with a publisher that behaves as the collector: a report whenever one is wanted. */
struct fixture {
    struct rtd_server *server;
    pthread_t publisher;
    int stop_fd;
    unsigned children, published;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A report of blind processes: the smallest input that analysis takes. Pid 1000 + number. */
static struct rtd_report *make_report(unsigned number, unsigned children)
{
    struct rtd_process_record *const records = calloc(children + 1, sizeof(*records));
    const struct rtd_process_record **const list = calloc(children + 1, sizeof(*list));

    assert_non_null(records);
    assert_non_null(list);
    for (unsigned i = 0; i <= children; i++) {
        struct rtd_process_meta *const meta = &records[i].meta;

        meta->id = i;
        meta->pid = i ? 100000 + i : 1000 + number;
        meta->status = RTD_PROCESS_BLIND;
        meta->exit_code = -1;
        snprintf(meta->command, sizeof(meta->command), "program <%u>", i);
        snprintf(meta->blind_reason, sizeof(meta->blind_reason), "made by a test");
        list[i] = &records[i];
    }
    struct rtd_symbol_table *const symbols = rtd_symbol_table_new(NULL);
    const struct rtd_report_input input = {.process_count = children + 1,
                                           .processes = list,
                                           .symbols = symbols,
                                           .complete = true,
                                           .note = "",
                                           .time_scale = 1};
    struct rtd_report *const report = rtd_report_new(&input);
    assert_non_null(report);
    rtd_symbol_table_free(symbols);
    free(list);
    free(records);
    return report;
}

static void *publisher_main(void *argument)
{
    struct fixture *const fixture = argument;

    for (;;) {
        struct pollfd fds[2] = {
            {.fd = rtd_server_wants_report_fd(fixture->server), .events = POLLIN},
            {.fd = fixture->stop_fd, .events = POLLIN}};

        poll(fds, 2, -1);
        if (fds[1].revents)
            return NULL;
        if (fds[0].revents)
            rtd_server_publish(fixture->server,
                               make_report(++fixture->published, fixture->children));
    }
}

static struct rtd_server *start(const char *address, uint16_t port, unsigned tries, int *err)
{
    const struct rtd_server_options options = {.address = address, .port = port, .tries = tries};

    return rtd_server_new(&options, err);
}

static int setup_with(void **state, unsigned children)
{
    struct fixture *const fixture = calloc(1, sizeof(*fixture));
    int err = 0;

    fixture->children = children;
    fixture->server = start("127.0.0.1", 0, 1, &err);
    assert_non_null(fixture->server);
    fixture->stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(pthread_create(&fixture->publisher, NULL, publisher_main, fixture), 0);
    *state = fixture;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, 0);
}

static int setup_large(void **state)
{
    return setup_with(state, CHILDREN);
}

static int teardown(void **state)
{
    struct fixture *const fixture = *state;

    eventfd_write(fixture->stop_fd, 1);
    pthread_join(fixture->publisher, NULL);
    rtd_server_free(fixture->server);
    close(fixture->stop_fd);
    free(fixture);
    return 0;
}

static int dial(const struct rtd_server *server)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(rtd_server_port(server)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Reads until the other side closes; at most ANSWER_BYTES are kept. */
static size_t hear(int fd, char *out)
{
    size_t kept = 0, all = 0;
    char chunk[16384];
    ssize_t got;

    while ((got = recv(fd, chunk, sizeof(chunk), 0)) > 0) {
        const size_t part =
            (size_t)got < ANSWER_BYTES - 1 - kept ? (size_t)got : ANSWER_BYTES - 1 - kept;

        memcpy(out + kept, chunk, part);
        kept += part;
        all += (size_t)got;
    }
    out[kept] = '\0';
    return all;
}

/* One request on a connection of its own; the status. */
static int ask(const struct rtd_server *server, const char *request, char *out)
{
    const int fd = dial(server);
    int status = 0;

    say(fd, request);
    hear(fd, out);
    close(fd);
    (void)sscanf(out, "HTTP/1.%*d %d", &status);
    return status;
}

static int get(const struct rtd_server *server, const char *path, char *out)
{
    char request[512];

    snprintf(request, sizeof(request),
             "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    return ask(server, request, out);
}

static char answer[ANSWER_BYTES];

static void assert_answer_has(const char *part)
{
    if (!strstr(answer, part))
        fail_msg("\"%s\" is missing in:\n%s", part, answer);
}

static void every_route_answers_with_its_type_and_the_safety_headers(void **state)
{
    static const char *const routes[][3] = {
        {"/", "text/html; charset=utf-8", "program &#60;0&#62;"},
        {"/style.css", "text/css; charset=utf-8", "prefers-color-scheme"},
        {"/icon.svg", "image/svg+xml", "<svg"},
        {"/page.js", "text/javascript; charset=utf-8", "DOMParser"},
        {"/metrics", "text/plain; version=0.0.4; charset=utf-8", "riptide_target_blind 1"},
        {"/metrics?x=1", "text/plain; version=0.0.4; charset=utf-8", "riptide_build_info"},
        {"/metrics/memory", "application/json; charset=utf-8", "\"rss_mb\":"},
        {"/metrics/leaks", "application/json; charset=utf-8", "\"potential_leak_count\":"},
        {"/metrics/allocations", "application/json; charset=utf-8", "\"top_allocators\":"},
        {"/api/v1/report", "application/json; charset=utf-8", "\"schema\":\"riptide.report/1\""},
        {"/healthz", "text/plain; charset=utf-8", "ok"},
        {"/readyz", "text/plain; charset=utf-8", "ready"},
    };
    struct fixture *const fixture = *state;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(routes); i++) {
        assert_int_equal(get(fixture->server, routes[i][0], answer), 200);
        assert_answer_has(routes[i][1]);
        assert_answer_has(routes[i][2]);
        assert_answer_has("X-Content-Type-Options: nosniff");
        assert_answer_has("Cache-Control: no-store");
        assert_answer_has("Content-Security-Policy: default-src 'self'");
        assert_answer_has("frame-ancestors 'none'");
    }
}

static void unknown_paths_are_not_found_and_escapes_are_not_decoded(void **state)
{
    static const char *const paths[] = {"/nothing",        "/metrics/", "/%6detrics",
                                        "/metrics%00x",    "//metrics", "/metrics%2fmemory",
                                        "/../etc/passwd",  "/<script>", "/metrics/memory/x",
                                        "/api/v1/reports", "/METRICS"};
    struct fixture *const fixture = *state;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(paths); i++) {
        assert_int_equal(get(fixture->server, paths[i], answer), 404);
        assert_null(strstr(answer, "<script>"));
    }
}

static void head_answers_without_a_body(void **state)
{
    struct fixture *const fixture = *state;

    assert_int_equal(ask(fixture->server,
                         "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                         answer),
                     200);
    assert_answer_has("Content-Length: ");
    assert_null(strstr(answer, "riptide_"));
}

static void other_methods_are_refused_with_allow(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"};
    struct fixture *const fixture = *state;
    char request[256];

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(methods); i++) {
        snprintf(request, sizeof(request),
                 "%s /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                 methods[i]);
        assert_int_equal(ask(fixture->server, request, answer), 405);
        assert_answer_has("Allow: GET, HEAD");
    }
    snprintf(request, sizeof(request),
             "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_int_equal(ask(fixture->server, request, answer), 405);
}

static void foreign_hosts_are_refused_on_every_path(void **state)
{
    static const char *const heads[] = {
        "Host: evil.example\r\n",
        "Host: localhost.evil.example:8080\r\n",
        "Host: \r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nHost: localhost\r\n",
    };
    static const char *const paths[] = {"/", "/metrics", "/healthz", "/nothing"};
    struct fixture *const fixture = *state;
    char request[256];

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(heads); i++) {
        for (size_t j = 0; j < RTD_ARRAY_LENGTH(paths); j++) {
            snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n",
                     paths[j], heads[i]);
            const int status = ask(fixture->server, request, answer);
            assert_true(status == 403 || status == 400);
        }
    }
    assert_int_equal(ask(fixture->server, "GET /metrics HTTP/1.0\r\n\r\n", answer), 403);
    snprintf(request, sizeof(request),
             "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n\r\n",
             rtd_server_port(fixture->server));
    assert_int_equal(ask(fixture->server, request, answer), 200);
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;

    for (text = strstr(text, part); text; text = strstr(text + 1, part))
        count++;
    return count;
}

static void a_body_is_refused_and_never_read_as_a_request(void **state)
{
    static const char *const requests[] = {
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 61\r\n\r\n"
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\nx",
    };
    struct fixture *const fixture = *state;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(requests); i++) {
        assert_int_equal(ask(fixture->server, requests[i], answer), 413);
        assert_int_equal(count_of(answer, "HTTP/1.1 "), 1);
    }
}

static void a_connection_serves_many_requests(void **state)
{
    struct fixture *const fixture = *state;
    const int fd = dial(fixture->server);

    for (unsigned i = 0; i < 3; i++)
        say(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    say(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    hear(fd, answer);
    close(fd);
    assert_int_equal(count_of(answer, "HTTP/1.1 200"), 4);
}

static void a_huge_header_is_refused_and_others_are_served(void **state)
{
    struct fixture *const fixture = *state;
    const int fd = dial(fixture->server);
    char line[1024];
    int status = 0;

    memset(line, 'a', sizeof(line));
    memcpy(line, "X-Long: ", 8);
    memcpy(line + sizeof(line) - 3, "\r\n", 3);
    say(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n");
    for (unsigned i = 0; i < 64; i++)
        say(fd, line);
    say(fd, "\r\n");
    hear(fd, answer);
    close(fd);
    /* The server may also have cut the line before the refusal could be read. */
    (void)sscanf(answer, "HTTP/1.1 %d", &status);
    assert_true(status == 0 || (status >= 400 && status < 500));
    assert_int_equal(get(fixture->server, "/healthz", answer), 200);
}

static void a_client_that_drips_bytes_is_cut_off(void **state)
{
    struct fixture *const fixture = *state;
    const int fd = dial(fixture->server);
    const uint64_t begun = now_ms();
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    say(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n");
    while (now_ms() - begun < 12000) {
        if (poll(&wait, 1, 500) > 0)
            break;
        say(fd, "X");
    }
    assert_true(now_ms() - begun < 9000);
    assert_int_equal(get(fixture->server, "/healthz", answer), 200);
    close(fd);
}

static void *client_main(void *argument)
{
    static const char *const paths[] = {"/", "/metrics", "/metrics/leaks", "/api/v1/report"};
    static _Atomic unsigned number;
    char *const out = malloc(ANSWER_BYTES);
    const struct fixture *const fixture = argument;
    const intptr_t status = get(fixture->server, paths[number++ % 4], out);

    free(out);
    return (void *)status;
}

static void a_hundred_clients_at_once_are_all_served(void **state)
{
    pthread_t clients[CLIENTS];
    const uint64_t begun = now_ms();

    for (unsigned i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&clients[i], NULL, client_main, *state), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        void *status = NULL;

        pthread_join(clients[i], &status);
        assert_int_equal((intptr_t)status, 200);
    }
    assert_true(now_ms() - begun < 10000);
}

static void a_client_that_hangs_up_does_no_harm(void **state)
{
    struct fixture *const fixture = *state;
    char little[64];

    signal(SIGPIPE, SIG_DFL);
    for (unsigned i = 0; i < 20; i++) {
        const struct linger reset = {1, 0};
        const int fd = dial(fixture->server);

        say(fd, "GET /api/v1/report HTTP/1.1\r\nHost: localhost\r\n\r\n");
        (void)!recv(fd, little, sizeof(little), 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
    }
    const int fd = dial(fixture->server);
    say(fd, "GET /api/v1/report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_true(hear(fd, answer) > 1000000);
    close(fd);
}

static void an_old_report_is_replaced_before_the_answer(void **state)
{
    struct fixture *const fixture = *state;

    assert_int_equal(get(fixture->server, "/api/v1/report", answer), 200);
    assert_answer_has("\"pid\":1001,");
    assert_int_equal(get(fixture->server, "/api/v1/report", answer), 200);
    assert_answer_has("\"pid\":1001,");
    usleep(1100000);
    assert_int_equal(get(fixture->server, "/api/v1/report", answer), 200);
    assert_answer_has("\"pid\":1002,");
}

static void without_a_report_the_wait_is_bounded_and_readiness_says_so(void **state)
{
    int err = 0;
    struct rtd_server *const server = start("127.0.0.1", 0, 1, &err);
    const uint64_t begun = now_ms();
    (void)state;

    assert_non_null(server);
    struct pollfd wanted = {.fd = rtd_server_wants_report_fd(server), .events = POLLIN};
    assert_int_equal(get(server, "/healthz", answer), 200);
    assert_int_equal(poll(&wanted, 1, 0), 0);
    assert_int_equal(get(server, "/readyz", answer), 503);
    assert_int_equal(poll(&wanted, 1, 0), 1);
    assert_int_equal(get(server, "/metrics", answer), 503);
    assert_answer_has("Retry-After: 1");
    assert_true(now_ms() - begun >= 1900 && now_ms() - begun < 4000);
    /* A second request does not wait again for a collector that does not answer. */
    const uint64_t again = now_ms();
    assert_int_equal(get(server, "/metrics", answer), 503);
    assert_true(now_ms() - again < 1000);
    assert_int_equal(poll(&wanted, 1, 0), 1);
    rtd_server_publish(server, make_report(1, 0));
    assert_int_equal(poll(&wanted, 1, 0), 0);
    assert_int_equal(get(server, "/readyz", answer), 200);
    rtd_server_free(server);
}

static void no_descriptor_outlives_an_exec(void **state)
{
    struct fixture *const fixture = *state;
    const int client = dial(fixture->server);
    DIR *const directory = opendir("/proc/self/fd");
    unsigned sockets = 0;

    say(client, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    (void)!recv(client, answer, sizeof(answer), 0);
    assert_non_null(directory);
    for (const struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        const int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd <= 2)
            continue;
        char path[64], target[256] = "";
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void)!readlink(path, target, sizeof(target) - 1);
        const bool ours = strstr(target, "socket") || strstr(target, "anon_inode");
        sockets += strstr(target, "socket") != NULL;
        if (ours && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
            fail_msg("%d %s is not close-on-exec", fd, target);
    }
    closedir(directory);
    close(client);
    assert_true(sockets >= 3);
}

static void ports_are_taken_tried_and_refused_as_told(void **state)
{
    struct fixture *const fixture = *state;
    const uint16_t port = rtd_server_port(fixture->server);
    int err = 0;

    assert_true(port != 0);
    assert_null(start("127.0.0.1", port, 1, &err));
    assert_int_equal(err, -EADDRINUSE);
    struct rtd_server *const next = start("127.0.0.1", port, 50, &err);
    assert_non_null(next);
    assert_true(rtd_server_port(next) > port);
    rtd_server_free(next);
    assert_null(start("localhost", 0, 1, &err));
    assert_int_equal(err, -EINVAL);
    assert_null(start("", 0, 1, &err));
    assert_int_equal(err, -EINVAL);
    assert_null(start("192.0.2.1", 0, 1, &err));
    assert_int_equal(err, -EADDRNOTAVAIL);
}

static void ipv6_loopback_works_with_and_without_brackets(void **state)
{
    int err = 0;
    (void)state;

    for (unsigned i = 0; i < 2; i++) {
        struct rtd_server *const server = start(i ? "[::1]" : "::1", 0, 1, &err);

        if (!server && (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT))
            rtd_support_skip("no IPv6 loopback here");
        assert_non_null(server);
        const struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                             .sin6_port = htons(rtd_server_port(server)),
                                             .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        say(fd, "GET /healthz HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n");
        hear(fd, answer);
        close(fd);
        assert_answer_has("HTTP/1.1 200");
        rtd_server_free(server);
    }
}

static void freeing_the_server_ends_waiting_requests(void **state)
{
    int err = 0;
    struct rtd_server *const server = start("127.0.0.1", 0, 1, &err);
    (void)state;

    assert_non_null(server);
    const int fd = dial(server);
    say(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    usleep(100000);
    const uint64_t begun = now_ms();
    rtd_server_free(server);
    assert_true(now_ms() - begun < 1000);
    close(fd);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(every_route_answers_with_its_type_and_the_safety_headers),
        WITH_SERVER(unknown_paths_are_not_found_and_escapes_are_not_decoded),
        WITH_SERVER(head_answers_without_a_body),
        WITH_SERVER(other_methods_are_refused_with_allow),
        WITH_SERVER(foreign_hosts_are_refused_on_every_path),
        WITH_SERVER(a_body_is_refused_and_never_read_as_a_request),
        WITH_SERVER(a_connection_serves_many_requests),
        WITH_SERVER(a_huge_header_is_refused_and_others_are_served),
        WITH_SERVER(a_client_that_drips_bytes_is_cut_off),
        WITH_SERVER(a_hundred_clients_at_once_are_all_served),
        cmocka_unit_test_setup_teardown(a_client_that_hangs_up_does_no_harm, setup_large, teardown),
        WITH_SERVER(an_old_report_is_replaced_before_the_answer),
        cmocka_unit_test(without_a_report_the_wait_is_bounded_and_readiness_says_so),
        WITH_SERVER(no_descriptor_outlives_an_exec),
        WITH_SERVER(ports_are_taken_tried_and_refused_as_told),
        cmocka_unit_test(ipv6_loopback_works_with_and_without_brackets),
        cmocka_unit_test(freeing_the_server_ends_waiting_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
