// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_worker_test.c - a worker that is killed, stopped, tempted or fed with damaged files.
 *
 * Runs in:    test; needs a C compiler and binutils at run time, otherwise it is skipped
 * Threads:    one
 * Allocates:  yes
 * Fails:      with the line of the broken promise
 */
#include "../support/support_skip.h"
#include "../support/support_symbol.h"
#include "symbol/symbol_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_worker_of_its_own_image_answers_the_same(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer =
        rtd_support_answer_start(&(struct rtd_symbol_options){.exec_worker = true});

    rtd_support_ask_path(&answer, built->path, built->inlined_call);
    rtd_support_assert_inline_chain(&answer);
    rtd_support_answer_finish(&answer);
}

static void a_worker_killed_in_mid_question_costs_only_its_module(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);

    rtd_support_ask_path(&answer, built->path, built->inlined_call);
    const pid_t worker = rtd_symbol_resolver_worker_pid(answer.resolver);
    assert_int_equal(kill(worker, SIGSTOP), 0);
    const pid_t killer = fork();
    if (killer == 0) {
        (void)usleep(50000);
        _exit(kill(worker, SIGKILL) != 0);
    }
    rtd_support_ask_path(&answer, built->stripped, built->mangled_call);
    assert_int_equal(answer.count, 0);
    assert_int_equal(answer.stats->modules_failed, 1);
    assert_int_equal(answer.stats->timeouts, 0);
    assert_int_equal(waitpid(killer, NULL, 0), killer);
    rtd_support_ask_path(&answer, built->path, built->mangled_call);
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.stats->worker_starts, 2);
    rtd_support_answer_finish(&answer);
}

static void a_signal_for_the_whole_service_does_not_end_the_worker(void **state)
{
    const struct rtd_support_program *const built = *state;
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    struct rtd_support_answer answer = rtd_support_answer_start(NULL);

    rtd_support_ask_path(&answer, built->path, built->mangled_call);
    const pid_t worker = rtd_symbol_resolver_worker_pid(answer.resolver);
    assert_int_equal(getsid(worker), worker);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        assert_int_equal(kill(worker, signals[i]), 0);
    rtd_support_ask_path(&answer, built->path, built->inlined_call);
    rtd_support_assert_inline_chain(&answer);
    assert_int_equal(answer.stats->worker_starts, 1);
    rtd_support_answer_finish(&answer);
}

static void a_worker_that_hangs_is_ended_in_time(void **state)
{
    const struct rtd_support_program *const built = *state;
    struct rtd_support_answer answer =
        rtd_support_answer_start(&(struct rtd_symbol_options){.module_timeout_ms = 2000});

    rtd_support_ask_path(&answer, built->path, built->inlined_call);
    rtd_support_answer_finish(&answer);
    answer = rtd_support_answer_start(&(struct rtd_symbol_options){.module_timeout_ms = 100});
    rtd_support_ask_path(&answer, built->stripped, built->inlined_call);
    assert_int_equal(kill(rtd_symbol_resolver_worker_pid(answer.resolver), SIGSTOP), 0);
    rtd_support_ask_path(&answer, built->path, built->mangled_call);
    assert_int_equal(answer.count, 0);
    assert_int_equal(answer.stats->timeouts, 1);
    assert_int_equal(rtd_symbol_resolver_worker_pid(answer.resolver), 0);
    rtd_support_answer_finish(&answer);
}

static void a_question_the_worker_may_not_ask_ends_it(void **state)
{
    int status = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            if (rtd_symbol_confine() != 1)
                _exit(RTD_SUPPORT_SKIPPED);
            if (i == 0)
                _exit(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1);
            _exit(socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? 2 : 3);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == RTD_SUPPORT_SKIPPED)
            rtd_support_skip("no system call filter in this build or this kernel");
        if (i == 0)
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        else
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    }
}

static uint64_t next_random(uint64_t *random_state)
{
    *random_state = *random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *random_state >> 33;
}

/* Writes a damaged copy: bits turned over, sometimes cut short. */
static void write_damaged(const char *path, const uint8_t *whole, size_t bytes, uint64_t *seed)
{
    uint8_t *copy = malloc(bytes);
    size_t kept = bytes;

    assert_non_null(copy);
    memcpy(copy, whole, bytes);
    for (uint64_t i = next_random(seed) % 24; i > 0; i--)
        copy[next_random(seed) % bytes] ^= (uint8_t)(1U << next_random(seed) % 8);
    /* The headers decide where everything is, so they are hit more often than their share. */
    for (uint64_t i = next_random(seed) % 3; i > 0; i--)
        copy[next_random(seed) % 64] = (uint8_t)next_random(seed);
    if (next_random(seed) % 8 == 0)
        kept = next_random(seed) % bytes;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, copy, kept), kept);
    (void)close(fd);
    free(copy);
}

static void damaged_files_never_take_the_caller_down(void **state)
{
    const struct rtd_support_program *const built = *state;
    static uint8_t whole[256 * 1024];
    struct rtd_support_answer answer =
        rtd_support_answer_start(&(struct rtd_symbol_options){.module_timeout_ms = 500});
    uint64_t seed = 20240229, resolved = 0;

    FILE *file = fopen(built->path, "rb");
    assert_non_null(file);
    const size_t bytes = fread(whole, 1, sizeof(whole), file);
    (void)fclose(file);
    assert_in_range(bytes, 4096, sizeof(whole) - 1);
    for (unsigned i = 0; i < 3000; i++) {
        char path[700];

        /* More names than the worker keeps files open, so that none is taken for an old one. */
        (void)snprintf(path, sizeof(path), "%s/damaged-%u-%u", built->directory, i % 40, i);
        write_damaged(path, whole, bytes, &seed);
        rtd_support_ask_path(&answer, path, i % 2 ? built->inlined_call : built->mangled_call);
        resolved += answer.count > 0;
        for (size_t k = 0; k < answer.count; k++)
            assert_true(strlen(answer.frames[k].function) < 4096);
        if (i >= 40) {
            (void)snprintf(path, sizeof(path), "%s/damaged-%u-%u", built->directory, i % 40,
                           i - 40);
            (void)unlink(path);
        }
        if (answer.stats->modules_failed >= 3) {
            rtd_support_answer_finish(&answer);
            answer =
                rtd_support_answer_start(&(struct rtd_symbol_options){.module_timeout_ms = 500});
        }
    }
    /* Some damage is where it does not matter, some is where it does. */
    assert_in_range(resolved, 300, 2950);
    rtd_support_answer_finish(&answer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_of_its_own_image_answers_the_same),
        cmocka_unit_test(a_worker_killed_in_mid_question_costs_only_its_module),
        cmocka_unit_test(a_signal_for_the_whole_service_does_not_end_the_worker),
        cmocka_unit_test(a_worker_that_hangs_is_ended_in_time),
        cmocka_unit_test(a_question_the_worker_may_not_ask_ends_it),
        cmocka_unit_test(damaged_files_never_take_the_caller_down),
    };

    if (argc > 1 && strcmp(argv[1], RTD_SYMBOL_WORKER_ARGUMENT) == 0)
        return rtd_symbol_worker_main(RTD_SYMBOL_WORKER_FD);
    if (!rtd_support_has_tools())
        return rtd_support_skip_program("no C compiler or no binutils");
    return cmocka_run_group_tests(tests, rtd_support_program_make, rtd_support_program_remove);
}
