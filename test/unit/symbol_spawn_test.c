// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_spawn_test.c - a program that is started without the caller hearing of it again.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  descriptors
 * Fails:      by an assertion
 */
// clang-format off
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "symbol/symbol_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THERE = 3, PATIENCE_MS = 20000 };

static volatile sig_atomic_t heard;

static void on_signal(int signal)
{
    (void)signal;
    heard = heard + 1;
}

/* Runs a line of shell whose descriptor 3 is the writing end of a pipe; the reading end. */
static int start_shell(const char *line, int *pid, int *pidfd)
{
    char shell[] = "sh", option[] = "-c", text[200], variable[] = "GIVEN=yes";
    char *const arguments[] = {shell, option, text, NULL};
    char *const environment[] = {variable, NULL};
    int pipes[2];

    strncpy(text, line, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    const struct rtd_symbol_program program = {
        .path = "/bin/sh",
        .arguments = arguments,
        .environment = environment,
        .fd = pipes[1],
        .fd_there = THERE,
    };
    *pid = rtd_symbol_spawn(&program, pidfd);
    assert_true(*pid > 0);
    close(pipes[1]);
    return pipes[0];
}

/* What comes through the pipe until its other end is closed. */
static void read_all(int fd, char *out, size_t size)
{
    size_t used = 0;

    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
        const ssize_t got = read(fd, out + used, size - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    out[used] = '\0';
    close(fd);
}

static void the_program_gets_its_descriptor_and_nothing_but_its_environment(void **state)
{
    char text[256];
    int pid = 0, pidfd = -1;
    const int fd = start_shell("echo \"$GIVEN $HOME\" >&3", &pid, &pidfd);

    (void)state;
    read_all(fd, text, sizeof(text));
    assert_string_equal(text, "yes \n");
    rtd_symbol_spawn_end(pidfd);
}

static void the_caller_hears_of_no_child(void **state)
{
    char text[256];
    int pid = 0, pidfd = -1;

    (void)state;
    heard = 0;
    signal(SIGCHLD, on_signal);
    const int fd = start_shell("echo $PPID >&3", &pid, &pidfd);
    read_all(fd, text, sizeof(text));
    rtd_symbol_spawn_end(pidfd);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(heard, 0);
    signal(SIGCHLD, SIG_DFL);
}

/* As process 1 of a container does. */
static void a_caller_that_takes_orphans_in_keeps_no_zombie(void **state)
{
    char text[256];
    int pid = 0, pidfd = -1;

    (void)state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    const int fd = start_shell("echo here >&3; exec sleep 600", &pid, &pidfd);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    if (pidfd >= 0) {
        rtd_symbol_spawn_end(pidfd);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    read_all(fd, text, sizeof(text));
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void a_program_that_cannot_be_run_is_an_error(void **state)
{
    char name[] = "nothing";
    char *const arguments[] = {name, NULL};
    char *const environment[] = {NULL};
    struct rtd_symbol_program program = {.path = "/nonexistent/program",
                                         .arguments = arguments,
                                         .environment = environment,
                                         .fd = 0,
                                         .fd_there = THERE};
    int pidfd = 0;

    (void)state;
    assert_int_equal(rtd_symbol_spawn(&program, &pidfd), -ENOENT);
    assert_int_equal(pidfd, -1);
    program.path = "/etc/passwd";
    assert_int_equal(rtd_symbol_spawn(&program, &pidfd), -EACCES);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

static void the_callers_signals_are_as_they_were(void **state)
{
    sigset_t before, after;
    char text[256];
    int pid = 0, pidfd = -1;

    (void)state;
    signal(SIGUSR1, on_signal);
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &before), 0);
    const int fd = start_shell("exec grep SigBlk /proc/self/status >&3", &pid, &pidfd);
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &after), 0);
    for (int signal = 1; signal < SIGRTMIN; signal++)
        assert_int_equal(sigismember(&before, signal), sigismember(&after, signal));
    read_all(fd, text, sizeof(text));
    assert_non_null(strstr(text, "SigBlk:\t0000000000000000"));
    rtd_symbol_spawn_end(pidfd);
    /* The handler is still the caller's. */
    heard = 0;
    raise(SIGUSR1);
    assert_int_equal(heard, 1);
    signal(SIGUSR1, SIG_DFL);
}

static void what_runs_can_be_ended(void **state)
{
    char text[256];
    int pid = 0, pidfd = -1;
    const int fd = start_shell("exec sleep 600", &pid, &pidfd);

    (void)state;
    if (pidfd < 0) {
        /* A kernel before 5.3: the end of its socket is all that ends it. */
        (void)kill(pid, SIGKILL);
    }
    rtd_symbol_spawn_end(pidfd);
    read_all(fd, text, sizeof(text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_program_gets_its_descriptor_and_nothing_but_its_environment),
        cmocka_unit_test(the_caller_hears_of_no_child),
        cmocka_unit_test(a_caller_that_takes_orphans_in_keeps_no_zombie),
        cmocka_unit_test(a_program_that_cannot_be_run_is_an_error),
        cmocka_unit_test(the_callers_signals_are_as_they_were),
        cmocka_unit_test(what_runs_can_be_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
