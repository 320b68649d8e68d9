// SPDX-License-Identifier: Apache-2.0
/*
 * support_skip.h - a test that cannot run here says why.
 *
 * Runs in:    unit tests
 * Threads:    the one that runs the test
 * Allocates:  never
 * Fails:      never: the test counts as skipped
 *
 * cmocka's own skip() is silent. tools/run_tests reads the line printed here, so a test calls this
 * and nothing else; a program that skips as a whole prints the same line and exits 77.
 */
#ifndef RTD_SUPPORT_SKIP_H
#define RTD_SUPPORT_SKIP_H

/* cmocka.h wants these, and in front of it. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>

/* Exit status of a program that was skipped, as Meson understands it. */
#define RTD_SUPPORT_SKIPPED 77

/* Ends the current test as skipped; does not return. `why` completes "skipped: ". */
static inline void rtd_support_skip(const char *why)
{
    print_message("skipped: %s\n", why);
    skip();
}

/* For main(): says why the whole program is skipped; returns the exit status. */
static inline int rtd_support_skip_program(const char *why)
{
    printf("skipped: %s\n", why);
    return RTD_SUPPORT_SKIPPED;
}

#endif
