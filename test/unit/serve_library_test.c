// SPDX-License-Identifier: Apache-2.0
/*
 * serve_library_test.c - the HTTP library comes late, or not at all.
 *
 * Runs in:    unit tests
 * Threads:    the server's
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

#include "serve/serve_library.h"
#include "serve/serve_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connects to a port of this machine; -1 when that fails. */
static int connect_to(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void a_library_that_is_missing_is_an_error_and_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(rtd_serve_library_load("libriptide-has-no-such.so.0"), -ELIBACC);
    /* A library that exists and is another one. */
    assert_int_equal(rtd_serve_library_load("libc.so.6"), -ELIBACC);
    assert_null(rtd_mhd.start_daemon);
    assert_null(rtd_mhd.stop_daemon);
}

static void a_server_nobody_asks_loads_no_library(void **state)
{
    const struct rtd_server_options options = {.address = "127.0.0.1", .port = 0, .tries = 1};
    int error = 0;
    (void)state;

    struct rtd_server *const server = rtd_server_new(&options, &error);
    assert_non_null(server);
    assert_int_not_equal(rtd_server_port(server), 0);
    rtd_server_free(server);
    assert_null(rtd_mhd.start_daemon);
}

static void a_client_that_is_turned_away_reads_the_reason(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const struct rtd_server_options options = {.address = "127.0.0.1", .port = 0, .tries = 1};
    struct rtd_listener listener;
    char answer[1024];
    size_t length = 0;
    ssize_t got;
    (void)state;

    assert_int_equal(rtd_listener_open(&listener, &options), 0);
    rtd_listener_turn_away(&listener, "nobody is waiting yet");
    const int fd = connect_to(listener.port);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    rtd_listener_turn_away(&listener, "the reason");
    while ((got = read(fd, answer + length, sizeof(answer) - 1 - length)) > 0)
        length += (size_t)got;
    answer[length] = '\0';
    assert_int_equal(strncmp(answer, "HTTP/1.1 503 ", strlen("HTTP/1.1 503 ")), 0);
    assert_non_null(strstr(answer, "RipTide cannot serve HTTP: the reason\n"));
    close(fd);
    close(listener.fd);
}

static void the_first_client_is_served_by_the_library(void **state)
{
    static const char request[] =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const struct rtd_server_options options = {.address = "127.0.0.1", .port = 0, .tries = 1};
    char answer[2048];
    size_t length = 0;
    ssize_t got;
    int error = 0;
    (void)state;

    struct rtd_server *const server = rtd_server_new(&options, &error);
    assert_non_null(server);
    const int fd = connect_to(rtd_server_port(server));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    while ((got = read(fd, answer + length, sizeof(answer) - 1 - length)) > 0)
        length += (size_t)got;
    answer[length] = '\0';
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", strlen("HTTP/1.1 200 ")), 0);
    assert_non_null(rtd_mhd.start_daemon);
    close(fd);
    rtd_server_free(server);
}

int main(void)
{
    /* In this order: what was loaded once stays. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_library_that_is_missing_is_an_error_and_changes_nothing),
        cmocka_unit_test(a_server_nobody_asks_loads_no_library),
        cmocka_unit_test(a_client_that_is_turned_away_reads_the_reason),
        cmocka_unit_test(the_first_client_is_served_by_the_library),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
