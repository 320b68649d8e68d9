// SPDX-License-Identifier: Apache-2.0
/*
 * manager_tracker_test.c - the tracker of riptide.h through its public functions.
 *
 * Runs in:    tests
 * Threads:    one, and the manager's
 * Allocates:  a manager, and memory to be seen
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "manager/manager_handle.h"
#include "riptide/riptide.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEN_BYTES = 64 << 20, MB = 1 << 20 };

static void quiet_options(struct riptide_options *options)
{
    riptide_options_init(options);
    options->endpoints = 0;
    options->heap = RIPTIDE_HEAP_OFF;
}

static int open_manager(void **state)
{
    struct riptide_options options;
    quiet_options(&options);
    *state = riptide_manager_open(&options, NULL);
    return *state ? 0 : -1;
}

static int close_manager(void **state)
{
    riptide_manager_close(*state);
    return 0;
}

static bool is_known(uint64_t bytes)
{
    return bytes != RIPTIDE_UNAVAILABLE;
}

/*
 * The manager's own thread may give an arena back just in between (128 MiB of address space), so
 * the growth of virtual memory must be seen at one of several looks, and everything else at each.
 */
static bool virtual_memory_follows(struct riptide_manager *manager)
{
    struct riptide_memory_snapshot before = {.size = sizeof before}, after = before;
    assert_int_equal(riptide_snapshot_read(manager, &before), 0);
    char *const seen = mmap(NULL, SEEN_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(seen, MAP_FAILED);
    assert_int_equal(riptide_snapshot_read(manager, &after), 0);
    munmap(seen, SEEN_BYTES);
    assert_in_range(after.rss_bytes - before.rss_bytes, SEEN_BYTES - 2 * MB, SEEN_BYTES + 8 * MB);
    assert_true(after.resident_bytes == after.rss_bytes);
    assert_true(after.peak_rss_bytes >= after.rss_bytes);
    assert_true(after.shared_bytes > 0 && after.shared_bytes < after.rss_bytes);
    assert_true(after.text_bytes > 0 && after.stack_bytes > 0);
    assert_true(after.limit_bytes >= after.rss_bytes);
    assert_true(after.pressure > 0 && after.pressure <= 1);
    assert_true(after.timestamp_ns >= before.timestamp_ns);
    assert_int_equal(after.size, sizeof after);
    return after.virtual_bytes >= before.virtual_bytes + SEEN_BYTES &&
           after.data_bytes >= before.data_bytes + SEEN_BYTES;
}

static void a_snapshot_moves_with_what_is_mapped_and_touched(void **state)
{
    unsigned follows = 0;
    for (unsigned i = 0; i < 10; i++)
        follows += virtual_memory_follows(*state);
    assert_true(follows > 0);
}

static void an_unwatched_heap_is_what_the_allocator_says(void **state)
{
    struct riptide_memory_snapshot snapshot = {.size = sizeof snapshot};
    struct riptide_allocator_stats stats = {.size = sizeof stats};
    assert_int_equal(riptide_snapshot_read(*state, &snapshot), 0);
    assert_int_equal(riptide_allocator_read(*state, &stats), 0);
    assert_int_equal(is_known(snapshot.heap_bytes), is_known(stats.allocated_bytes));
    if (is_known(stats.allocated_bytes))
        assert_in_range(snapshot.heap_bytes, 1, stats.mapped_bytes + 8 * MB);
}

static void allocator_figures_move_with_an_allocation(void **state)
{
    struct riptide_allocator_stats before = {.size = sizeof before}, after = before;
    assert_int_equal(riptide_allocator_read(*state, &before), 0);
    char *const block = malloc(SEEN_BYTES);
    assert_non_null(block);
    assert_int_equal(riptide_allocator_read(*state, &after), 0);
    free(block);
    assert_non_null(after.allocator);
    assert_non_null(after.unavailable);
    /* The manager's thread allocates meanwhile. */
    if (is_known(before.allocated_bytes))
        assert_in_range(after.allocated_bytes - before.allocated_bytes, SEEN_BYTES - MB,
                        SEEN_BYTES + 16 * MB);
    else
        assert_true(after.unavailable[0] != '\0');
}

static void a_forced_release_tells_what_it_did_or_that_it_cannot(void **state)
{
    struct riptide_gc_result result = {.size = sizeof result};
    const int error = riptide_force_gc(*state, &result);
    if (error == RIPTIDE_E_UNAVAILABLE)
        return; /* a sanitizer's malloc offers nothing of the kind */
    assert_int_equal(error, 0);
    assert_true(result.before_bytes > 0 && result.after_bytes > 0);
    assert_true(
        result.freed_bytes ==
        (result.before_bytes > result.after_bytes ? result.before_bytes - result.after_bytes : 0));
    assert_true(result.action[0] != '\0');
}

static void pressure_is_that_of_the_snapshot(void **state)
{
    struct riptide_memory_snapshot snapshot = {.size = sizeof snapshot};
    double pressure = -1;
    assert_int_equal(riptide_memory_pressure(*state, &pressure), 0);
    assert_int_equal(riptide_snapshot_read(*state, &snapshot), 0);
    assert_true(pressure >= 0 && pressure <= 1);
    assert_float_equal(pressure, snapshot.pressure, 0.05);
}

static void bad_arguments_are_refused(void **state)
{
    struct riptide_memory_snapshot snapshot = {.size = 0};
    struct riptide_allocator_stats stats = {.size = 7};
    struct riptide_gc_result result = {.size = sizeof result};
    double pressure;
    assert_int_equal(riptide_snapshot_read(NULL, &snapshot), -EINVAL);
    assert_int_equal(riptide_allocator_read(NULL, &stats), -EINVAL);
    assert_int_equal(riptide_force_gc(NULL, &result), -EINVAL);
    assert_int_equal(riptide_memory_pressure(NULL, &pressure), -EINVAL);
    assert_int_equal(riptide_snapshot_read(*state, NULL), -EINVAL);
    assert_int_equal(riptide_allocator_read(*state, NULL), -EINVAL);
    assert_int_equal(riptide_force_gc(*state, NULL), -EINVAL);
    assert_int_equal(riptide_memory_pressure(*state, NULL), -EINVAL);
    assert_int_equal(riptide_snapshot_read(*state, &snapshot), -EINVAL);
    assert_int_equal(riptide_allocator_read(*state, &stats), -EINVAL);
    result.size = 0;
    assert_int_equal(riptide_force_gc(*state, &result), -EINVAL);
}

static void callers_of_another_version_get_what_they_know(void **state)
{
    struct {
        struct riptide_memory_snapshot known;
        char beyond[64];
    } newer;
    memset(&newer, 'x', sizeof newer);
    newer.known.size = sizeof newer;
    assert_int_equal(riptide_snapshot_read(*state, &newer.known), 0);
    assert_true(newer.known.limit_bytes > 0 && newer.beyond[0] == 'x' && newer.beyond[63] == 'x');
    memset(&newer, 'x', sizeof newer);
    newer.known.size = offsetof(struct riptide_memory_snapshot, heap_bytes);
    assert_int_equal(riptide_snapshot_read(*state, &newer.known), 0);
    assert_true(newer.known.rss_bytes > 0);
    assert_int_equal(newer.known.heap_bytes, UINT64_C(0x7878787878787878));
}

static void a_tracker_that_is_off_says_so(void **state)
{
    (void)state;
    struct riptide_options options;
    struct riptide_memory_snapshot snapshot = {.size = sizeof snapshot};
    struct riptide_allocator_stats stats = {.size = sizeof stats};
    struct riptide_gc_result result = {.size = sizeof result};
    double pressure;
    quiet_options(&options);
    options.tracker = 0;
    struct riptide_manager *manager = riptide_manager_open(&options, NULL);
    assert_non_null(manager);
    assert_int_equal(riptide_snapshot_read(manager, &snapshot), RIPTIDE_E_DISABLED);
    assert_int_equal(riptide_allocator_read(manager, &stats), RIPTIDE_E_DISABLED);
    assert_int_equal(riptide_force_gc(manager, &result), RIPTIDE_E_DISABLED);
    assert_int_equal(riptide_memory_pressure(manager, &pressure), 0); /* the leak detector's, too */
    riptide_manager_close(manager);
    options.leak_detector = 0;
    manager = riptide_manager_open(&options, NULL);
    assert_non_null(manager);
    assert_int_equal(riptide_memory_pressure(manager, &pressure), RIPTIDE_E_DISABLED);
    riptide_manager_close(manager);
}

static void the_child_of_a_fork_is_refused(void **state)
{
    const pid_t child = fork();
    if (child == 0) {
        struct riptide_memory_snapshot snapshot = {.size = sizeof snapshot};
        struct riptide_allocator_stats stats = {.size = sizeof stats};
        struct riptide_gc_result result = {.size = sizeof result};
        double pressure;
        _exit(riptide_snapshot_read(*state, &snapshot) == RIPTIDE_E_FORKED &&
                      riptide_allocator_read(*state, &stats) == RIPTIDE_E_FORKED &&
                      riptide_force_gc(*state, &result) == RIPTIDE_E_FORKED &&
                      riptide_memory_pressure(*state, &pressure) == RIPTIDE_E_FORKED
                  ? 0
                  : 1);
    }
    int status = -1;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
}

/* What the callback heard and found when it asked; the lock guards all of it. */
struct heard {
    pthread_mutex_t lock;
    struct riptide_manager *manager;
    unsigned count;
    uint32_t kind, level;
    int snapshot_error, answer_error;
    bool is_shown;
};

static void ask_from_inside(const struct riptide_alert *alert, void *context)
{
    struct heard *const heard = context;
    struct riptide_memory_snapshot snapshot = {.size = sizeof snapshot};
    const struct riptide_answer *answer = NULL;
    /* The manager's thread may be faster than riptide_manager_open() is back. */
    pthread_mutex_lock(&heard->lock);
    heard->count++;
    heard->kind = alert->kind;
    heard->level = alert->level;
    heard->snapshot_error = riptide_snapshot_read(heard->manager, &snapshot);
    heard->answer_error = riptide_answer_get(heard->manager, "/metrics", &answer);
    heard->is_shown = answer && strstr(answer->body, "riptide_alert_active{kind=\"pressure\","
                                                     "level=\"critical\"} 1\n");
    riptide_answer_free(answer);
    pthread_mutex_unlock(&heard->lock);
}

static bool has_heard(struct heard *heard)
{
    pthread_mutex_lock(&heard->lock);
    const bool result = heard->count > 0;
    pthread_mutex_unlock(&heard->lock);
    return result;
}

static void an_alert_is_heard_once_and_shown_at_the_endpoints(void **state)
{
    (void)state;
    struct heard heard = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct riptide_options options;
    struct riptide_thresholds thresholds;
    quiet_options(&options);
    riptide_thresholds_init(&thresholds);
    thresholds.pressure_high = 1e-9;
    thresholds.pressure_alert = 1e-8;
    options.thresholds = &thresholds;
    options.interval_ms = 10;
    options.on_alert = ask_from_inside;
    options.alert_context = &heard;
    pthread_mutex_lock(&heard.lock);
    heard.manager = riptide_manager_open(&options, NULL);
    pthread_mutex_unlock(&heard.lock);
    assert_non_null(heard.manager);
    /* The runner's patience is the limit. After it, a few more checks that must say nothing. */
    while (!has_heard(&heard))
        usleep(1000);
    usleep(100000);
    riptide_manager_close(heard.manager);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.kind, RIPTIDE_ALERT_PRESSURE);
    assert_int_equal(heard.level, RIPTIDE_LEVEL_CRITICAL);
    assert_int_equal(heard.snapshot_error, 0);
    assert_int_equal(heard.answer_error, 0);
    assert_true(heard.is_shown);
}

#define TRACKER_TEST(name) cmocka_unit_test_setup_teardown(name, open_manager, close_manager)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRACKER_TEST(a_snapshot_moves_with_what_is_mapped_and_touched),
        TRACKER_TEST(an_unwatched_heap_is_what_the_allocator_says),
        TRACKER_TEST(allocator_figures_move_with_an_allocation),
        TRACKER_TEST(a_forced_release_tells_what_it_did_or_that_it_cannot),
        TRACKER_TEST(pressure_is_that_of_the_snapshot),
        TRACKER_TEST(bad_arguments_are_refused),
        TRACKER_TEST(callers_of_another_version_get_what_they_know),
        cmocka_unit_test(a_tracker_that_is_off_says_so),
        TRACKER_TEST(the_child_of_a_fork_is_refused),
        cmocka_unit_test(an_alert_is_heard_once_and_shown_at_the_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
