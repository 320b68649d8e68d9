// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_early_test.c - a worker that is started before there is a question.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  a resolver, in processes that are made for it
 * Fails:      by an assertion, or by SIGALRM when a worker stays behind
 */
// clang-format off
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "symbol/symbol_resolver.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 60 };

/* Runs in a process of its own: starts a resolver, tells its worker's pid and dies of SIGKILL. */
_Noreturn static void die_with_worker(int out)
{
    const struct rtd_symbol_options options = {.early_worker = true};
    const struct rtd_symbol_resolver *const resolver = rtd_symbol_resolver_new(&options, NULL);
    const pid_t worker = resolver ? rtd_symbol_resolver_worker_pid(resolver) : 0;

    if (write(out, &worker, sizeof(worker)) == (ssize_t)sizeof(worker))
        (void)raise(SIGKILL);
    _exit(1);
}

static void an_unasked_worker_ends_with_its_collector(void **state)
{
    int fds[2], status = 0;
    pid_t worker = 0;
    (void)state;

    /* The orphaned worker becomes our child, so its end can be waited for. */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_int_equal(pipe(fds), 0);
    const pid_t collector = fork();
    assert_true(collector >= 0);
    if (collector == 0)
        die_with_worker(fds[1]);
    assert_int_equal(read(fds[0], &worker, sizeof(worker)), sizeof(worker));
    assert_true(worker > 0);
    assert_int_equal(waitpid(collector, &status, 0), collector);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    (void)alarm(PATIENCE_SECONDS);
    assert_int_equal(waitpid(worker, &status, 0), worker);
    (void)alarm(0);
    close(fds[0]);
    close(fds[1]);
}

static void an_unasked_worker_ends_with_its_resolver(void **state)
{
    const struct rtd_symbol_options options = {.early_worker = true};
    (void)state;

    struct rtd_symbol_resolver *const resolver = rtd_symbol_resolver_new(&options, NULL);
    assert_non_null(resolver);
    const pid_t worker = rtd_symbol_resolver_worker_pid(resolver);
    assert_true(worker > 0);
    assert_int_equal(kill(worker, 0), 0);
    rtd_symbol_resolver_free(resolver);
    assert_int_not_equal(kill(worker, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unasked_worker_ends_with_its_collector),
        cmocka_unit_test(an_unasked_worker_ends_with_its_resolver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
