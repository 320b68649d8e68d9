// SPDX-License-Identifier: Apache-2.0
/*
 * manager_open_test.c - opening, closing and forking with managers.
 *
 * Runs in:    unit tests
 * Threads:    the managers' own
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

#include "riptide/riptide.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CYCLES = 1000, MANAGERS = 3 };

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define RTD_SANITIZES_THREADS true
#else
#define RTD_SANITIZES_THREADS false
#endif

/* Off what needs a port, so that tests do not depend on what else runs. */
static struct riptide_options quiet_options(void)
{
    struct riptide_options options;

    riptide_options_init(&options);
    options.endpoints = 0;
    return options;
}

static struct riptide_manager *open_or_fail(const struct riptide_options *options)
{
    int err = 1;
    struct riptide_manager *const manager = riptide_manager_open(options, &err);

    assert_int_equal(err, 0);
    assert_non_null(manager);
    return manager;
}

static unsigned entries_of(const char *folder)
{
    unsigned count = 0;
    DIR *const directory = opendir(folder);

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* A listening socket on a port of the kernel's choice. */
static int take_port(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void options_are_initialised_to_the_documented_defaults(void **state)
{
    struct riptide_options o;
    struct riptide_thresholds t;

    (void)state;
    riptide_options_init(NULL);
    riptide_thresholds_init(NULL);
    memset(&o, 0xff, sizeof(o));
    memset(&t, 0xff, sizeof(t));
    riptide_options_init(&o);
    riptide_thresholds_init(&t);
    assert_int_equal(o.size, sizeof(o));
    assert_int_equal(o.tracker + o.leak_detector + o.allocation_analyzer, 3);
    assert_int_equal(o.endpoints + o.exporters + o.alerts + o.cleanup, 4);
    assert_int_equal(o.heap, RIPTIDE_HEAP_AUTO);
    assert_int_equal(o.port, 8080);
    assert_int_equal(o.port_tries, 16);
    assert_int_equal(o.interval_ms, 1000);
    assert_int_equal(o.memory_limit_bytes, 10 * 1048576);
    assert_int_equal(o.cleanup_interval_seconds, 3600);
    assert_int_equal(o.retention_seconds, 86400);
    assert_true(o.time_scale == 1);
    assert_null(o.listen_address);
    assert_null(o.thresholds);
    assert_int_equal(t.size, sizeof(t));
    assert_true(t.growth_rate_mb_per_hour == 10);
    assert_int_equal(t.large_live_bytes, 50 * 1048576);
    assert_int_equal(t.accumulation_count, 1000);
    assert_int_equal(t.frequent_large_count, 5);
    assert_true(t.pressure_high == 0.7 && t.pressure_alert == 0.8);
    assert_true(t.growth_alert_mb_per_hour == 50);
}

static void refuse(const struct riptide_options *options, const char *what)
{
    int err = 0;
    struct riptide_manager *const manager = riptide_manager_open(options, &err);

    if (manager || err != -EINVAL)
        fail_msg("%s was not refused: %d", what, err);
    assert_null(riptide_manager_open(options, NULL));
}

#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        struct riptide_options refused = quiet_options();                                          \
        refused.field = (value);                                                                   \
        refuse(&refused, #field " = " #value);                                                     \
    } while (0)

static void an_option_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    REFUSED(size, 0);
    REFUSED(size, sizeof(size_t) - 1);
    REFUSED(tracker, 2);
    REFUSED(leak_detector, UINT32_MAX);
    REFUSED(allocation_analyzer, 2);
    REFUSED(endpoints, 2);
    REFUSED(exporters, 2);
    REFUSED(alerts, 2);
    REFUSED(cleanup, 2);
    REFUSED(heap, 4);
    REFUSED(heap_interval_bytes, UINT64_MAX);
    REFUSED(port_tries, 0);
    REFUSED(interval_ms, 9);
    REFUSED(memory_limit_bytes, 1048575);
    REFUSED(memory_limit_bytes, (UINT64_C(1) << 40) + 1);
    REFUSED(cleanup_interval_seconds, 0);
    REFUSED(retention_seconds, 0);
    REFUSED(time_scale, 0);
    REFUSED(time_scale, -1);
    REFUSED(time_scale, (double)NAN);
    REFUSED(time_scale, (double)INFINITY);
    REFUSED(listen_address, "");
    REFUSED(listen_address,
            "a name that is much longer than any numeric address of whatever family can be");

    struct riptide_options exact = quiet_options();
    exact.heap = RIPTIDE_HEAP_EXACT;
    exact.heap_interval_bytes = 65536;
    refuse(&exact, "an interval in exact mode");

    struct riptide_options named = quiet_options();
    named.endpoints = 1;
    named.port = 0;
    named.listen_address = "localhost";
    refuse(&named, "an address that is not numeric");
}

static void refuse_thresholds(const struct riptide_thresholds *thresholds, const char *what)
{
    struct riptide_options options = quiet_options();

    options.thresholds = thresholds;
    refuse(&options, what);
}

#define REFUSED_THRESHOLD(field, value)                                                            \
    do {                                                                                           \
        struct riptide_thresholds refused;                                                         \
        riptide_thresholds_init(&refused);                                                         \
        refused.field = (value);                                                                   \
        refuse_thresholds(&refused, #field " = " #value);                                          \
    } while (0)

static void a_threshold_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    REFUSED_THRESHOLD(size, 0);
    REFUSED_THRESHOLD(growth_rate_mb_per_hour, (double)NAN);
    REFUSED_THRESHOLD(recent_seconds, -1);
    REFUSED_THRESHOLD(peak_factor, (double)INFINITY);
    REFUSED_THRESHOLD(small_share, 1.5);
    REFUSED_THRESHOLD(huge_share, -0.1);
    REFUSED_THRESHOLD(pressure_high, 0.9);
    REFUSED_THRESHOLD(pressure_alert, 1.1);
    REFUSED_THRESHOLD(growth_alert_mb_per_hour, (double)NAN);
}

static void a_caller_of_another_version_is_understood(void **state)
{
    struct {
        struct riptide_options known;
        uint64_t unknown;
    } newer = {.known = quiet_options()};
    struct riptide_options older = quiet_options();

    (void)state;
    /* What lies behind the size that it says is not looked at. */
    older.size = offsetof(struct riptide_options, time_scale);
    older.time_scale = -1;
    riptide_manager_close(open_or_fail(&older));

    newer.known.size = sizeof(newer);
    riptide_manager_close(open_or_fail(&newer.known));
    newer.unknown = 1;
    refuse(&newer.known, "an option that this version does not know");
}

static void half_a_pointer_at_the_end_of_the_options_is_not_followed(void **state)
{
    struct riptide_options cut = quiet_options();

    (void)state;
    cut.listen_address = "127.0.0.1";
    for (size_t bytes = 1; bytes < sizeof(void *); bytes++) {
        cut.size = offsetof(struct riptide_options, listen_address) + bytes;
        riptide_manager_close(open_or_fail(&cut));
        cut.size = offsetof(struct riptide_options, thresholds) + bytes;
        riptide_manager_close(open_or_fail(&cut));
    }
}

static void without_a_manager_every_function_says_so(void **state)
{
    struct riptide_heap_state heap = {.size = sizeof(heap)};
    const struct riptide_answer *answer = NULL;

    (void)state;
    riptide_manager_close(NULL);
    riptide_answer_free(NULL);
    assert_int_equal(riptide_manager_port(NULL), -EINVAL);
    assert_int_equal(riptide_heap_read(NULL, &heap), -EINVAL);
    assert_int_equal(riptide_answer_get(NULL, "/", &answer), -EINVAL);
}

static void without_endpoints_there_is_no_port(void **state)
{
    const struct riptide_options options = quiet_options();
    struct riptide_manager *const manager = open_or_fail(&options);

    (void)state;
    assert_int_equal(riptide_manager_port(manager), 0);
    riptide_manager_close(manager);
}

static void a_port_in_use_is_refused_or_passed_over_as_asked(void **state)
{
    struct riptide_options options;
    uint16_t port = 0;
    int err = 0;
    const int fd = take_port(&port);

    (void)state;
    riptide_options_init(&options);
    options.port = port;
    options.port_tries = 1;
    assert_null(riptide_manager_open(&options, &err));
    assert_int_equal(err, -EADDRINUSE);
    options.port_tries = 16;
    struct riptide_manager *const manager = open_or_fail(&options);
    assert_int_not_equal(riptide_manager_port(manager), port);
    assert_in_range(riptide_manager_port(manager), port + 1, port + 15);
    riptide_manager_close(manager);
    close(fd);
}

static void several_managers_have_a_port_each(void **state)
{
    struct riptide_manager *managers[MANAGERS];
    int ports[MANAGERS];

    (void)state;
    for (unsigned i = 0; i < MANAGERS; i++) {
        managers[i] = open_or_fail(NULL);
        ports[i] = riptide_manager_port(managers[i]);
        assert_true(ports[i] > 0);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(ports[i], ports[k]);
    }
    for (unsigned i = 0; i < MANAGERS; i++)
        riptide_manager_close(managers[i]);
}

static void without_an_agent_the_heap_is_not_seen_and_says_why(void **state)
{
    struct riptide_options options = quiet_options();
    struct riptide_heap_state heap = {.size = sizeof(heap)};
    struct riptide_manager *manager = open_or_fail(&options);

    (void)state;
    assert_int_equal(riptide_heap_read(manager, &heap), 0);
    assert_int_equal(heap.mode, RIPTIDE_HEAP_OFF);
    assert_int_equal(heap.joined, 0);
    assert_non_null(strstr(heap.reason, "riptide-heap"));
    assert_int_equal(riptide_heap_read(manager, NULL), -EINVAL);
    heap.size = 0;
    assert_int_equal(riptide_heap_read(manager, &heap), -EINVAL);
    riptide_manager_close(manager);

    options.heap = RIPTIDE_HEAP_OFF;
    manager = open_or_fail(&options);
    heap.size = sizeof(heap);
    assert_int_equal(riptide_heap_read(manager, &heap), 0);
    assert_non_null(strstr(heap.reason, "options"));
    riptide_manager_close(manager);
}

/* Every thread but the caller's: our name, or the server's, and every signal blocked. */
static void its_threads_take_no_signal(void **state)
{
    struct riptide_manager *const manager = open_or_fail(NULL);
    DIR *const tasks = opendir("/proc/self/task");
    unsigned seen = 0;

    (void)state;
    for (const struct dirent *entry; (entry = readdir(tasks));) {
        char path[300], line[256];
        unsigned long long blocked = 0;
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        FILE *const file = fopen(path, "re");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file))
            (void)sscanf(line, "SigBlk: %llx", &blocked);
        fclose(file);
        /* All but KILL and STOP, which cannot be, and two of the C library's own. */
        assert_true((blocked | 0x1800040100ULL) >= 0xfffffffe7ffbfeffULL);
        assert_int_equal(blocked & (1U << (SIGTERM - 1)), 1U << (SIGTERM - 1));
        seen++;
    }
    closedir(tasks);
    assert_true(seen >= 1);
    riptide_manager_close(manager);
}

static void its_descriptors_are_closed_on_exec(void **state)
{
    bool before[256] = {false};
    struct riptide_manager *manager = NULL;

    (void)state;
    for (int fd = 0; fd < 256; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    manager = open_or_fail(NULL);
    for (int fd = 0; fd < 256; fd++) {
        const int flags = fcntl(fd, F_GETFD);
        if (!before[fd] && flags >= 0)
            assert_int_equal(flags & FD_CLOEXEC, FD_CLOEXEC);
    }
    riptide_manager_close(manager);
}

static void opening_and_closing_leaves_nothing_behind(void **state)
{
    struct riptide_options options;

    (void)state;
    riptide_options_init(&options);
    riptide_manager_close(open_or_fail(&options));
    const unsigned descriptors = entries_of("/proc/self/fd");
    const unsigned threads = entries_of("/proc/self/task");
    for (unsigned i = 0; i < CYCLES; i++)
        riptide_manager_close(open_or_fail(&options));
    assert_int_equal(entries_of("/proc/self/fd"), descriptors);
    assert_int_equal(entries_of("/proc/self/task"), threads);
}

/* Each descriptor in turn is the one that cannot be had any more. */
static void without_descriptors_it_is_refused_and_leaves_nothing_behind(void **state)
{
    struct rlimit before, limit;
    struct riptide_options options;
    unsigned refused = 0;
    bool opened = false;

    (void)state;
    riptide_options_init(&options);
    const unsigned descriptors = entries_of("/proc/self/fd");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (rlim_t spare = 0; !opened; spare++) {
        int err = 0;
        limit = before;
        limit.rlim_cur = spare;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        struct riptide_manager *const manager = riptide_manager_open(&options, &err);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_true(manager ? err == 0 : err < 0);
        opened = manager != NULL;
        refused += !opened;
        riptide_manager_close(manager);
        assert_int_equal(entries_of("/proc/self/fd"), descriptors);
    }
    assert_true(refused >= 3);
}

/* What the child of a fork finds; its exit status is the number of the first thing that is wrong.
 */
static int child_of_fork(struct riptide_manager *manager, uint32_t tag)
{
    const struct riptide_answer *answer = NULL;
    struct riptide_heap_state heap = {.size = sizeof(heap)};
    struct riptide_record_totals totals = {.size = sizeof(totals)};
    struct riptide_options options = quiet_options();

    if (riptide_manager_port(manager) != RIPTIDE_E_FORKED)
        return 1;
    if (riptide_heap_read(manager, &heap) != RIPTIDE_E_FORKED)
        return 2;
    if (riptide_answer_get(manager, "/metrics", &answer) != RIPTIDE_E_FORKED || answer)
        return 3;
    if (riptide_record_bytes(manager, tag, 1) != RIPTIDE_E_FORKED)
        return 4;
    if (riptide_records_read(manager, &totals) != RIPTIDE_E_FORKED)
        return 5;
    riptide_manager_close(manager);
    /* ThreadSanitizer forbids a thread in the child of a process that had some. */
    struct riptide_manager *const own =
        RTD_SANITIZES_THREADS ? NULL : riptide_manager_open(&options, NULL);
    if (!own)
        return RTD_SANITIZES_THREADS ? 0 : 6;
    if (riptide_record_bytes(own, riptide_intern(own, "child", "of"), 7) != 0 ||
        riptide_records_read(own, &totals) != 0 || totals.live_bytes != 7)
        return 7;
    riptide_manager_close(own);
    return 0;
}

static void the_child_of_a_fork_has_a_closed_copy_and_may_open_its_own(void **state)
{
    struct riptide_manager *const manager = open_or_fail(NULL);
    struct riptide_manager *const second = open_or_fail(NULL);
    const uint32_t tag = riptide_intern(manager, "parent", "of");
    struct riptide_record_totals totals = {.size = sizeof(totals)};

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        int status = 0;
        assert_int_equal(riptide_record_bytes(manager, tag, 100), 0);
        fflush(NULL);
        const pid_t pid = fork();
        if (pid == 0)
            _exit(child_of_fork(manager, tag));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(riptide_records_read(manager, &totals), 0);
    assert_int_equal(totals.live_bytes, 2000);
    riptide_manager_close(second);
    riptide_manager_close(manager);
}

static void the_port_is_free_when_the_parent_closes_though_a_child_lives(void **state)
{
    struct riptide_options options;
    int pipes[2], begun[2];
    char byte = 0;

    (void)state;
    riptide_options_init(&options);
    options.port = 0;
    struct riptide_manager *manager = open_or_fail(&options);
    options.port = (uint16_t)riptide_manager_port(manager);
    options.port_tries = 1;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(pipe2(begun, O_CLOEXEC), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        close(pipes[1]);
        (void)!write(begun[1], &byte, 1);
        (void)!read(pipes[0], &byte, 1);
        _exit(0);
    }
    /* The child lets go of the port as soon as it runs at all. */
    assert_int_equal(read(begun[0], &byte, 1), 1);
    riptide_manager_close(manager);
    manager = open_or_fail(&options);
    assert_int_equal(riptide_manager_port(manager), options.port);
    riptide_manager_close(manager);
    close(pipes[1]);
    close(pipes[0]);
    close(begun[0]);
    close(begun[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void every_error_has_a_text(void **state)
{
    const char *const forked = riptide_strerror(RIPTIDE_E_FORKED);

    (void)state;
    for (int error = RIPTIDE_E_FORKED; error >= RIPTIDE_E_NO_HTTP; error--) {
        assert_non_null(riptide_strerror(error));
        assert_string_not_equal(riptide_strerror(error), "unknown error");
    }
    assert_string_not_equal(forked, riptide_strerror(RIPTIDE_E_DISABLED));
    assert_string_equal(riptide_strerror(-EINVAL), riptide_strerror(EINVAL));
    assert_string_equal(riptide_strerror(-EINVAL), "Invalid argument");
    assert_string_equal(riptide_strerror(INT_MIN), "unknown error");
    assert_string_equal(riptide_strerror(INT_MAX), "unknown error");
    assert_string_equal(riptide_strerror(-5000), "unknown error");
    assert_string_equal(riptide_version(), RTD_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_initialised_to_the_documented_defaults),
        cmocka_unit_test(an_option_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_threshold_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_caller_of_another_version_is_understood),
        cmocka_unit_test(half_a_pointer_at_the_end_of_the_options_is_not_followed),
        cmocka_unit_test(without_a_manager_every_function_says_so),
        cmocka_unit_test(without_endpoints_there_is_no_port),
        cmocka_unit_test(a_port_in_use_is_refused_or_passed_over_as_asked),
        cmocka_unit_test(several_managers_have_a_port_each),
        cmocka_unit_test(without_an_agent_the_heap_is_not_seen_and_says_why),
        cmocka_unit_test(its_threads_take_no_signal),
        cmocka_unit_test(its_descriptors_are_closed_on_exec),
        cmocka_unit_test(opening_and_closing_leaves_nothing_behind),
        cmocka_unit_test(without_descriptors_it_is_refused_and_leaves_nothing_behind),
        cmocka_unit_test(the_child_of_a_fork_has_a_closed_copy_and_may_open_its_own),
        cmocka_unit_test(the_port_is_free_when_the_parent_closes_though_a_child_lives),
        cmocka_unit_test(every_error_has_a_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
