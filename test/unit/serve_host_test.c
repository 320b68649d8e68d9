// SPDX-License-Identifier: Apache-2.0
/*
 * serve_host_test.c - which Host headers are ours.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  never
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
#include "base/base_macros.h"
#include "serve/serve_host.h"

#include <string.h>
#include <unistd.h>

static void loopback_names_are_ours_with_and_without_port(void **state)
{
    static const char *const ours[] = {"localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1",
                                       "[::1]",     "[::1]:8080",     "localhost:"};
    (void)state;

    for (size_t i = 0; i + 1 < RTD_ARRAY_LENGTH(ours); i++)
        assert_true(rtd_serve_host_allowed(ours[i], "127.0.0.1"));
    assert_false(rtd_serve_host_allowed(ours[RTD_ARRAY_LENGTH(ours) - 1], "127.0.0.1"));
}

static void foreign_names_are_refused(void **state)
{
    static const char *const foreign[] = {
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost:80@evil.example",
        "localhost:123456",
        "localhost:8080x",
        "[::1",
        "[::1]x",
        "[localhost]",
        "::1",
        "192.168.1.5",
        "[2001:db8::1]",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "localhost/",
        " localhost",
        "a-name-of-more-than-sixty-three-characters-is-never-one-of-ours-at-all",
    };
    (void)state;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(foreign); i++) {
        if (rtd_serve_host_allowed(foreign[i], "127.0.0.1"))
            fail_msg("accepted: %s", foreign[i]);
    }
}

static void the_bound_address_is_ours(void **state)
{
    (void)state;
    assert_true(rtd_serve_host_allowed("192.168.1.5:8080", "192.168.1.5"));
    assert_false(rtd_serve_host_allowed("192.168.1.6:8080", "192.168.1.5"));
    assert_true(rtd_serve_host_allowed("[2001:db8:0::1]:80", "2001:db8::1"));
}

static void listening_everywhere_accepts_addresses_but_no_names(void **state)
{
    (void)state;
    assert_true(rtd_serve_host_allowed("10.0.0.7:8080", "0.0.0.0"));
    assert_true(rtd_serve_host_allowed("10.0.0.7:8080", "::"));
    assert_false(rtd_serve_host_allowed("evil.example", "0.0.0.0"));
}

static void the_name_of_the_machine_is_ours_beyond_loopback(void **state)
{
    char name[60] = "";
    (void)state;

    if (gethostname(name, sizeof(name) - 1) < 0 || !name[0] || strcmp(name, "localhost") == 0)
        rtd_support_skip("this machine has no name of its own");
    assert_true(rtd_serve_host_allowed(name, "0.0.0.0"));
    assert_true(rtd_serve_host_allowed(name, "192.168.1.5"));
    assert_false(rtd_serve_host_allowed(name, "127.0.0.1"));
    assert_false(rtd_serve_host_allowed(name, "::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_names_are_ours_with_and_without_port),
        cmocka_unit_test(foreign_names_are_refused),
        cmocka_unit_test(the_bound_address_is_ours),
        cmocka_unit_test(listening_everywhere_accepts_addresses_but_no_names),
        cmocka_unit_test(the_name_of_the_machine_is_ours_beyond_loopback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
