// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_create_test.c - the collector's half of a ledger.
 *
 * Runs in:    tests
 * Threads:    one, and one more that must not be reclaimed
 * Allocates:  ledgers
 * Fails:      by cmocka assertions
 */
#include "ledger/ledger_create.h"
#include "ledger/ledger_reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static const struct rtd_ledger_options usual = {
    .mode = RTD_MODE_SAMPLE, .interval_bytes = 512 << 10, .seed = 3, .session = 4};

static struct rtd_ledger_handle created(void)
{
    struct rtd_ledger_handle handle;

    assert_int_equal(rtd_ledger_create(&usual, &handle), 0);
    return handle;
}

static void created_ledger_is_readable_and_empty(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();
    struct rtd_image *const image = rtd_image_new();

    rtd_ledger_assign(handle.ledger, 123, 456);
    rtd_ledger_tick(handle.ledger, 789);
    assert_int_equal(rtd_image_read(image, handle.ledger), 0);
    assert_int_equal(image->rejected, 0);
    assert_int_equal(image->interval_bytes, 512 << 10);
    assert_int_equal(image->session, 4);
    assert_int_equal(image->target_pid, 123);
    assert_int_equal(image->target_start, 456);
    assert_int_equal(image->clock_ms, 789);
    assert_int_equal(image->sample_count, 0);
    assert_int_equal(image->site_count, 1);
    assert_true(image->created_unix_ns > UINT64_C(1600000000000000000));
    rtd_image_free(image);
    rtd_ledger_close(&handle);
    assert_int_equal(handle.fd, -1);
    rtd_ledger_close(&handle);
}

static void ledger_cannot_be_resized_or_unsealed_by_anybody(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();
    struct stat status;

    assert_int_equal(ftruncate(handle.fd, 4096), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(handle.fd, 2 * (off_t)RTD_LEDGER_BYTES), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(handle.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fstat(handle.fd, &status), 0);
    assert_int_equal(status.st_size, RTD_LEDGER_BYTES);
    assert_true(fcntl(handle.fd, F_GETFD) & FD_CLOEXEC);
    rtd_ledger_close(&handle);
}

static void every_page_is_there_before_the_hand_over(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();
    struct stat status;

    assert_int_equal(fstat(handle.fd, &status), 0);
    assert_true((size_t)status.st_blocks * 512 >= RTD_LEDGER_BYTES);
    rtd_ledger_close(&handle);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *const directory = opendir("/proc/self/fd");

    assert_non_null(directory);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

static void wrong_options_leave_nothing_behind(void **state)
{
    (void)state;
    struct rtd_ledger_options options = usual;
    struct rtd_ledger_handle handle;
    const unsigned before = open_descriptors();

    options.mode = 7;
    assert_int_equal(rtd_ledger_create(&options, &handle), -EINVAL);
    options = usual;
    options.interval_bytes = 0;
    assert_int_equal(rtd_ledger_create(&options, &handle), -EINVAL);
    assert_null(handle.ledger);
    assert_int_equal(handle.fd, -1);
    assert_int_equal(open_descriptors(), before);
}

static void a_limit_on_file_sizes_is_an_error_and_no_signal(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle;
    struct rlimit before;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit tight = {4096, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const int error = rtd_ledger_create(&usual, &handle);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(error, -EFBIG);
    assert_null(handle.ledger);
}

static uint64_t interval_of(const struct rtd_ledger_handle *handle)
{
    return atomic_load(&handle->ledger->header.interval_bytes);
}

static void interval_is_raised_at_once_and_lowered_after_three_quiet_seconds(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();

    rtd_ledger_adapt(handle.ledger, 1500, 1000);
    assert_int_equal(interval_of(&handle), 2048 << 10);
    rtd_ledger_adapt(handle.ledger, 100000, 1000);
    assert_int_equal(interval_of(&handle), 4096 << 10);
    rtd_ledger_adapt(handle.ledger, 100000, 1000);
    assert_int_equal(interval_of(&handle), 4096 << 10);
    for (unsigned i = 0; i < 2; i++) {
        rtd_ledger_adapt(handle.ledger, 10, 1000);
        assert_int_equal(interval_of(&handle), 4096 << 10);
    }
    rtd_ledger_adapt(handle.ledger, 10, 1000);
    assert_int_equal(interval_of(&handle), 2048 << 10);
    rtd_ledger_adapt(handle.ledger, 10, 1000);
    assert_int_equal(interval_of(&handle), 2048 << 10);
    rtd_ledger_close(&handle);
}

static void interval_stays_while_the_rate_is_in_the_aim(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();

    for (uint64_t i = 0; i < 100; i++) {
        rtd_ledger_adapt(handle.ledger, 150 + 5 * i / 2, 1000);
        rtd_ledger_adapt(handle.ledger, 0, 0);
    }
    assert_int_equal(interval_of(&handle), 512 << 10);
    rtd_ledger_close(&handle);
}

static void interval_settles_for_every_steady_load(void **state)
{
    (void)state;
    for (uint64_t load = 1000; load < UINT64_C(1) << 36; load = load * 3 / 2) {
        struct rtd_ledger_handle handle = created();
        uint64_t last = 0;
        unsigned changes = 0;
        for (unsigned second = 0; second < 60; second++) {
            rtd_ledger_adapt(handle.ledger, load / interval_of(&handle), 1000);
            changes += second >= 30 && interval_of(&handle) != last;
            last = interval_of(&handle);
        }
        assert_int_equal(changes, 0);
        assert_in_range(last, 16 << 10, 4 << 20);
        rtd_ledger_close(&handle);
    }
}

static void a_given_interval_is_kept(void **state)
{
    (void)state;
    struct rtd_ledger_options options = usual;
    struct rtd_ledger_handle handle;

    options.interval_fixed = true;
    options.interval_bytes = 100;
    assert_int_equal(rtd_ledger_create(&options, &handle), 0);
    rtd_ledger_adapt(handle.ledger, 1000000, 1000);
    assert_int_equal(interval_of(&handle), 100);
    rtd_ledger_close(&handle);
}

static void set_thread(struct rtd_ledger *ledger, unsigned index, uint32_t tid)
{
    atomic_store(&ledger->threads[index].state, 1);
    atomic_store(&ledger->threads[index].tid, tid);
    atomic_store(&ledger->threads[index].allocated_bytes, 1000 + index);
    atomic_store(&ledger->threads[index].sampled, 1);
}

static void blocks_of_gone_threads_are_freed_and_their_totals_kept(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();
    struct rtd_image *const image = rtd_image_new();
    const uint32_t alive[] = {12};

    set_thread(handle.ledger, 3, 11);
    set_thread(handle.ledger, 4, 12);
    set_thread(handle.ledger, 5, 0); /* claimed this moment */
    assert_int_equal(rtd_image_read(image, handle.ledger), 0);
    const uint64_t before = image->counted_bytes;
    assert_int_equal(rtd_ledger_reclaim_threads(handle.ledger, alive, 1), 1);
    assert_int_equal(atomic_load(&handle.ledger->threads[3].state), 0);
    assert_int_equal(atomic_load(&handle.ledger->threads[3].allocated_bytes), 0);
    assert_int_equal(atomic_load(&handle.ledger->threads[4].state), 1);
    assert_int_equal(atomic_load(&handle.ledger->threads[5].state), 1);
    assert_int_equal(atomic_load(&handle.ledger->header.retired_threads), 1);
    assert_int_equal(atomic_load(&handle.ledger->header.retired_sampled), 1);
    assert_int_equal(rtd_image_read(image, handle.ledger), 0);
    assert_int_equal(image->counted_bytes, before);
    rtd_image_free(image);
    rtd_ledger_close(&handle);
}

static void a_thread_younger_than_the_list_keeps_its_block(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();
    const uint32_t tid = (uint32_t)syscall(SYS_gettid);

    rtd_ledger_assign(handle.ledger, (uint32_t)getpid(), 1);
    set_thread(handle.ledger, 0, tid);
    assert_int_equal(rtd_ledger_reclaim_threads(handle.ledger, NULL, 0), 0);
    assert_int_equal(atomic_load(&handle.ledger->threads[0].state), 1);
    rtd_ledger_close(&handle);
}

static void threads_of_another_pid_namespace_are_left_alone(void **state)
{
    (void)state;
    struct rtd_ledger_handle handle = created();

    rtd_ledger_assign(handle.ledger, (uint32_t)getpid(), 1);
    handle.ledger->header.agent_pid = 1;
    atomic_store(&handle.ledger->header.agent_state, RTD_AGENT_READY);
    set_thread(handle.ledger, 0, 2);
    assert_int_equal(rtd_ledger_reclaim_threads(handle.ledger, NULL, 0), 0);
    rtd_ledger_close(&handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(created_ledger_is_readable_and_empty),
        cmocka_unit_test(ledger_cannot_be_resized_or_unsealed_by_anybody),
        cmocka_unit_test(every_page_is_there_before_the_hand_over),
        cmocka_unit_test(wrong_options_leave_nothing_behind),
        cmocka_unit_test(a_limit_on_file_sizes_is_an_error_and_no_signal),
        cmocka_unit_test(interval_is_raised_at_once_and_lowered_after_three_quiet_seconds),
        cmocka_unit_test(interval_stays_while_the_rate_is_in_the_aim),
        cmocka_unit_test(interval_settles_for_every_steady_load),
        cmocka_unit_test(a_given_interval_is_kept),
        cmocka_unit_test(blocks_of_gone_threads_are_freed_and_their_totals_kept),
        cmocka_unit_test(a_thread_younger_than_the_list_keeps_its_block),
        cmocka_unit_test(threads_of_another_pid_namespace_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
