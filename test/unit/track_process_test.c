// SPDX-License-Identifier: Apache-2.0
/*
 * track_process_test.c - what /proc says about a process.
 *
 * Runs in:    tests
 * Threads:    one, and a second one that only waits
 * Allocates:  memory to be seen
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "track/track_file.h"
#include "track/track_process.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEEN_BYTES = 32 << 20 };

/* The pid of a child that has ended; a zombie if it is not yet waited for. */
static pid_t ended_child(bool wait_for_it)
{
    const pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_true(pid > 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | (wait_for_it ? 0 : WNOWAIT)), 0);
    return pid;
}

static void a_snapshot_of_the_caller_is_the_same_when_asked_again(void **state)
{
    (void)state;
    struct rtd_memory_snapshot whole, first, again;
    assert_int_equal(rtd_track_snapshot(getpid(), &whole), 0);
    assert_int_equal(rtd_track_snapshot_self(&first), 0);
    void *seen = mmap(NULL, SEEN_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(seen, MAP_FAILED);
    assert_int_equal(rtd_track_snapshot_self(&again), 0);
    munmap(seen, SEEN_BYTES);
    assert_true(first.valid && again.valid);
    assert_int_equal(first.limit_bytes, whole.limit_bytes);
    assert_int_equal(again.limit_bytes, whole.limit_bytes);
    assert_int_equal(again.limit_kind, whole.limit_kind);
    assert_in_range(again.rss_bytes - first.rss_bytes, SEEN_BYTES - (2 << 20),
                    SEEN_BYTES + (8 << 20));
    assert_true(again.pressure > first.pressure && again.pressure <= 1);
    assert_true(again.text_bytes > 0 && again.stack_bytes > 0 && again.threads >= 1);
}

static void a_snapshot_of_ourselves_is_true_bytes(void **state)
{
    (void)state;
    struct rtd_memory_snapshot before, after;
    assert_int_equal(rtd_track_snapshot(getpid(), &before), 0);
    void *seen = mmap(NULL, SEEN_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(seen, MAP_FAILED);
    assert_int_equal(rtd_track_snapshot(getpid(), &after), 0);
    assert_true(after.valid);
    assert_in_range(after.rss_bytes - before.rss_bytes, SEEN_BYTES - (2 << 20),
                    SEEN_BYTES + (8 << 20));
    assert_int_equal(after.resident_bytes, after.rss_bytes);
    assert_true(after.virtual_bytes >= before.virtual_bytes + SEEN_BYTES);
    assert_true(after.virtual_bytes > after.rss_bytes);
    assert_true(after.peak_rss_bytes >= after.rss_bytes);
    assert_true(after.peak_virtual_bytes >= SEEN_BYTES);
    assert_true(after.data_bytes >= SEEN_BYTES && after.text_bytes > 0 && after.stack_bytes > 0);
    assert_true(after.shared_bytes > 0 && after.shared_bytes < after.rss_bytes);
    assert_true(after.minor_faults > 0 && after.threads >= 1);
    assert_true(after.limit_bytes > SEEN_BYTES);
    assert_true(after.pressure > 0.0 && after.pressure <= 1.0);
    assert_in_range(after.time_unix_ns / 1000000000u, (uint64_t)time(NULL) - 5,
                    (uint64_t)time(NULL) + 5);
    munmap(seen, SEEN_BYTES);
}

static void a_glance_and_an_update_follow_and_keep_the_rest(void **state)
{
    (void)state;
    struct rtd_memory_snapshot before, glance, update;
    assert_int_equal(rtd_track_snapshot(getpid(), &before), 0);
    before.peak_rss_bytes = before.rss_bytes; /* whatever tests before this one have used */
    before.threads = 77;
    before.limit_bytes = UINT64_C(1) << 60;
    before.limit_kind = RTD_LIMIT_HOST;
    before.limit_others_bytes = 1 << 20;
    glance = update = before;
    void *seen = mmap(NULL, SEEN_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(seen, MAP_FAILED);
    assert_int_equal(rtd_track_glance(getpid(), &glance), 0);
    assert_int_equal(rtd_track_update(getpid(), &update), 0);
    assert_in_range(glance.rss_bytes - before.rss_bytes, SEEN_BYTES - (2 << 20),
                    SEEN_BYTES + (8 << 20));
    assert_int_equal(glance.peak_rss_bytes, glance.rss_bytes);
    assert_true(glance.valid && glance.time_unix_ns >= before.time_unix_ns);
    /* What it did not read. */
    assert_int_equal(glance.threads, 77);
    assert_int_equal(glance.limit_bytes, UINT64_C(1) << 60);
    assert_true(glance.pressure ==
                (double)(glance.rss_bytes + (1 << 20)) / (double)(UINT64_C(1) << 60));
    assert_int_equal(update.threads, 1);
    assert_true(update.minor_faults > before.minor_faults);
    assert_int_equal(update.limit_bytes, UINT64_C(1) << 60);
    munmap(seen, SEEN_BYTES);
}

static void a_failed_glance_or_update_changes_nothing(void **state)
{
    (void)state;
    struct rtd_memory_snapshot known;
    assert_int_equal(rtd_track_snapshot(getpid(), &known), 0);
    struct rtd_memory_snapshot glance = known, update = known;
    const pid_t pid = ended_child(false);
    assert_int_equal(rtd_track_glance(pid, &glance), -ESRCH);
    assert_int_equal(rtd_track_update(pid, &update), -ESRCH);
    assert_memory_equal(&glance, &known, sizeof known);
    assert_memory_equal(&update, &known, sizeof known);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_process_that_is_gone_is_esrch_everywhere(void **state)
{
    (void)state;
    const pid_t pid = ended_child(true);
    struct rtd_memory_snapshot snapshot;
    uint64_t start;
    char text[64];
    uint32_t tids[4];
    assert_int_equal(rtd_track_snapshot(pid, &snapshot), -ESRCH);
    assert_false(snapshot.valid);
    assert_int_equal(rtd_track_start_time(pid, &start), -ESRCH);
    assert_int_equal(rtd_track_command(pid, text, sizeof text), -ESRCH);
    assert_int_equal(rtd_track_executable(pid, text, sizeof text), -ESRCH);
    assert_int_equal(rtd_track_threads(pid, tids, 4), -ESRCH);
    assert_false(rtd_track_has_seccomp(pid));
}

static void a_zombie_has_no_memory_to_report_but_a_name(void **state)
{
    (void)state;
    const pid_t pid = ended_child(false);
    struct rtd_memory_snapshot snapshot;
    uint64_t start;
    char text[64];
    assert_int_equal(rtd_track_snapshot(pid, &snapshot), -ESRCH);
    assert_int_equal(rtd_track_start_time(pid, &start), 0);
    assert_int_equal(rtd_track_command(pid, text, sizeof text), 0);
    assert_true(strlen(text) > 0);
    waitpid(pid, NULL, 0);
}

static void a_name_with_brackets_and_blanks_does_not_shift_the_fields(void **state)
{
    (void)state;
    char old[16];
    uint64_t before, after;
    assert_int_equal(prctl(PR_GET_NAME, old), 0);
    assert_int_equal(rtd_track_start_time(getpid(), &before), 0);
    assert_int_equal(prctl(PR_SET_NAME, ") R 1 2 (x) 3"), 0);
    assert_int_equal(rtd_track_start_time(getpid(), &after), 0);
    prctl(PR_SET_NAME, old);
    assert_true(before > 0);
    assert_int_equal(before, after);
}

static void a_command_is_one_clean_line_cut_to_size(void **state)
{
    (void)state;
    char text[256], brief[8], executable[256];
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        /* The shell waits on the pipe, and goes with this program also when a check fails. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(gate[0], STDIN_FILENO);
        execl("/bin/sh", "sh", "-c", "read x", "a\nb\x1b[31m", "", "end", (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    /* Until the exec the command is our own. */
    text[0] = '\0';
    for (int i = 0; i < 2000 && strncmp(text, "sh ", 3) != 0; i++) {
        usleep(1000);
        (void)rtd_track_command(pid, text, sizeof text);
    }
    const int cut = rtd_track_command(pid, brief, sizeof brief);
    const int found = rtd_track_executable(pid, executable, sizeof executable);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(gate[0]);
    close(gate[1]);
    assert_string_equal(text, "sh -c read x a?b?[31m  end");
    assert_int_equal(cut, 0);
    assert_string_equal(brief, "sh -c r");
    assert_int_equal(found, 0);
    assert_true(executable[0] == '/');
}

static void *wait_for_end(void *argument)
{
    (void)pthread_mutex_lock(argument);
    (void)pthread_mutex_unlock(argument);
    return NULL;
}

static void threads_are_counted_also_beyond_the_room(void **state)
{
    (void)state;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[3];
    uint32_t tids[8] = {0}, few[2] = {0};
    pthread_mutex_lock(&gate);
    const int before = rtd_track_threads(getpid(), tids, 8);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_end, &gate), 0);
    assert_int_equal(rtd_track_threads(getpid(), tids, 8), before + 3);
    assert_int_equal(tids[0], getpid());
    assert_int_equal(rtd_track_threads(getpid(), few, 2), before + 3);
    assert_int_equal(few[1], tids[1]);
    assert_int_equal(rtd_track_threads(getpid(), NULL, 0), before + 3);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static void numbers_are_found_by_the_start_of_a_line(void **state)
{
    (void)state;
    uint64_t value = 7;
    const char *text = "VmPeak:\t 10 kB\nVmHWM:\t 20 kB\nx VmRSS: 3\nBad: y\n";
    assert_true(rtd_track_file_number(text, "VmHWM:", &value));
    assert_int_equal(value, 20);
    assert_false(rtd_track_file_number(text, "VmRSS:", &value));
    assert_false(rtd_track_file_number(text, "Bad:", &value));
    assert_false(rtd_track_file_number("", "VmHWM:", &value));
    assert_false(rtd_track_file_number("n 99999999999999999999999\n", "n", &value));
    assert_int_equal(value, 20);
}

static void the_nearest_limit_counts_with_what_others_use_of_it(void **state)
{
    (void)state;
    enum { HOST, GROUP, SPACE };
    struct rtd_memory_snapshot memory = {
        .rss_bytes = 100, .virtual_bytes = 700, .data_bytes = 300, .valid = true};
    struct rtd_limits limits = {
        .valid = true,
        .count = 3,
        .list = {[HOST] = {RTD_LIMIT_HOST, 1000, 500, 0.5, ""},
                 [GROUP] = {RTD_LIMIT_CGROUP_MAX, 400, 60, 0.15, "/a"},
                 [SPACE] = {RTD_LIMIT_ADDRESS_SPACE, 1000, 700, 0.7, ""}},
    };

    for (limits.nearest = HOST; limits.nearest <= SPACE; limits.nearest++) {
        const struct rtd_limit *const nearest = &limits.list[limits.nearest];
        rtd_track_take_limits(&memory, &limits);
        assert_int_equal(memory.limit_bytes, nearest->limit_bytes);
        assert_int_equal(memory.limit_kind, nearest->kind);
        assert_true(fabs(memory.pressure - nearest->share) < 1e-12);
    }
    assert_int_equal(memory.limit_others_bytes, 0);
    limits.nearest = GROUP;
    rtd_track_take_limits(&memory, &limits);
    assert_int_equal(memory.limit_others_bytes, -40);
    limits.nearest = -1;
    rtd_track_take_limits(&memory, &limits);
    assert_int_equal(memory.limit_bytes, 0);
    assert_true(memory.pressure == 0);
}

/* In a child: the limit would be that of all tests. */
static void address_space_that_is_limited_tightly_is_the_nearest_limit(void **state)
{
    (void)state;
    struct rtd_memory_snapshot now;
    assert_int_equal(rtd_track_snapshot(getpid(), &now), 0);
    const struct rlimit tight = {now.virtual_bytes * 10 / 9, now.virtual_bytes * 10 / 9};
    const pid_t pid = fork();
    if (pid == 0) {
        struct rtd_memory_snapshot self;
        const bool good =
            setrlimit(RLIMIT_AS, &tight) == 0 && rtd_track_snapshot(getpid(), &now) == 0 &&
            rtd_track_snapshot_self(&self) == 0 && now.limit_kind == RTD_LIMIT_ADDRESS_SPACE &&
            now.limit_bytes == tight.rlim_cur && fabs(now.pressure - 0.9) < 0.05 &&
            self.limit_kind == now.limit_kind;
        _exit(good ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_of_ourselves_is_true_bytes),
        cmocka_unit_test(a_snapshot_of_the_caller_is_the_same_when_asked_again),
        cmocka_unit_test(a_glance_and_an_update_follow_and_keep_the_rest),
        cmocka_unit_test(a_failed_glance_or_update_changes_nothing),
        cmocka_unit_test(a_process_that_is_gone_is_esrch_everywhere),
        cmocka_unit_test(a_zombie_has_no_memory_to_report_but_a_name),
        cmocka_unit_test(a_name_with_brackets_and_blanks_does_not_shift_the_fields),
        cmocka_unit_test(a_command_is_one_clean_line_cut_to_size),
        cmocka_unit_test(threads_are_counted_also_beyond_the_room),
        cmocka_unit_test(numbers_are_found_by_the_start_of_a_line),
        cmocka_unit_test(the_nearest_limit_counts_with_what_others_use_of_it),
        cmocka_unit_test(address_space_that_is_limited_tightly_is_the_nearest_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
