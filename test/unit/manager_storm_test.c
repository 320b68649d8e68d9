// SPDX-License-Identifier: Apache-2.0
/*
 * manager_storm_test.c - records while images are made, signals come and clean-up runs.
 *
 * Runs in:    unit tests, also under a thread sanitizer
 * Threads:    starts its own; assertions are made by the first one only
 * Allocates:  for the length of a test
 * Fails:      by a failed assertion
 */
#include "manager/manager_handle.h"
#include "manager/manager_records.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

enum { STORM_THREADS = 6, STORM_ROUNDS = 6000, STORM_BLOCKS = 64, LEAST_IMAGES = 20 };

struct storm {
    struct riptide_manager manager;
    _Atomic uint32_t running;
    _Atomic uint64_t live_bytes, failures;
};

struct thread {
    struct storm *storm;
    uint32_t number;
};

static void record_one(struct storm *storm, uint32_t number, uint32_t i)
{
    char component[16], function[24];
    const char *names[3] = {function, "middle", "main"};
    const uint32_t slot = i % STORM_BLOCKS;
    const uint64_t size = 1 + i * 37 % 5000;
    void *address = (void *)(uintptr_t)(0x10000 + (number * STORM_BLOCKS + slot) * 16);
    snprintf(component, sizeof component, "c%u", i % 5);
    snprintf(function, sizeof function, "f%u", i % 40);
    const struct riptide_allocation allocation = {
        .size = sizeof allocation,
        .size_bytes = size,
        .address = i % 3 ? address : NULL,
        .component = component,
        .operation = "op",
        .flags = i % 4 == 1 ? RIPTIDE_CAPTURE_STACK : 0,
        .stack_trace = names,
        .stack_count = i % 4 == 2 ? 3 : 0,
    };
    /* What was recorded at this address before is a whole round ago. */
    int failed = riptide_record_allocation(&storm->manager, &allocation) != 0;
    if (i % 3)
        failed |= riptide_release_block(&storm->manager, address) != 0;
    else if (i % 2)
        failed |= riptide_record_deallocation(&storm->manager, component, size) != 0;
    else
        atomic_fetch_add(&storm->live_bytes, size);
    atomic_fetch_add(&storm->failures, (uint64_t)failed);
}

static void *blow(void *context)
{
    const struct thread *thread = context;
    for (uint32_t i = 0; i < STORM_ROUNDS; i++)
        record_one(thread->storm, thread->number, i);
    atomic_fetch_sub(&thread->storm->running, 1);
    return NULL;
}

/* Each image is sound in itself, whatever happens meanwhile. */
static void check_image(const struct rtd_image *image)
{
    for (uint32_t i = 0; i < image->site_count; i++) {
        const struct rtd_image_count *count = &image->exact->counts[i];
        assert_true(count->live_bytes <= count->allocated_bytes);
        assert_int_equal(count->live_bytes + count->freed_bytes, count->allocated_bytes);
        assert_true(image->sites[i].tag < image->tag_count);
        if (image->sites[i].stack != 0) {
            struct rtd_image_stack stack;
            rtd_image_stack_get(image, image->sites[i].stack, &stack);
            assert_true(stack.pc_count > 0);
        }
    }
    for (uint32_t i = 0; i < image->sample_count; i++)
        assert_true(image->samples[i].site < image->site_count && image->samples[i].site != 0);
}

static void images_made_while_threads_record_are_sound(void **state)
{
    (void)state;
    struct storm storm = {.running = STORM_THREADS};
    struct thread threads[STORM_THREADS];
    pthread_t ids[STORM_THREADS];
    struct rtd_image *image = rtd_image_new();
    struct riptide_record_totals totals = {.size = sizeof totals};
    storm.manager.records = rtd_records_new(2 * MIB, NULL);
    assert_non_null(storm.manager.records);
    assert_non_null(image);
    for (uint32_t i = 0; i < STORM_THREADS; i++) {
        threads[i] = (struct thread){&storm, i};
        assert_int_equal(pthread_create(&ids[i], NULL, blow, &threads[i]), 0);
    }
    for (uint32_t images = 0; images < LEAST_IMAGES || atomic_load(&storm.running) != 0; images++) {
        assert_int_equal(rtd_records_image(storm.manager.records, 0, image), 0);
        check_image(image);
        assert_int_equal(riptide_records_read(&storm.manager, &totals), 0);
        if (images % 4 == 3)
            assert_true(rtd_records_cleanup(storm.manager.records,
                                            image->created_unix_ns + image->clock_ms * 1000000u,
                                            true, images % 8 == 3) >= 0);
    }
    for (uint32_t i = 0; i < STORM_THREADS; i++)
        pthread_join(ids[i], NULL);
    assert_int_equal(atomic_load(&storm.failures), 0);
    assert_int_equal(riptide_records_read(&storm.manager, &totals), 0);
    assert_int_equal(totals.allocations, STORM_THREADS * STORM_ROUNDS);
    assert_int_equal(totals.live_bytes, atomic_load(&storm.live_bytes));
    assert_int_equal(totals.over_released_bytes, 0);
    assert_int_equal(totals.known_blocks, 0);
    assert_int_equal(rtd_records_image(storm.manager.records, 0, image), 0);
    uint64_t live = 0;
    for (uint32_t i = 0; i < image->site_count; i++)
        live += image->exact->counts[i].live_bytes;
    assert_int_equal(live, totals.live_bytes);
    rtd_image_free(image);
    rtd_records_free(storm.manager.records);
}

/* ---- signals ---- */

static struct riptide_manager *signalled;
static uint32_t signal_tag, other_tag;
static _Atomic uint64_t signal_records;
static _Atomic int signal_stop;

static void record_in_handler(int number)
{
    (void)number;
    /* One tag that the thread was just busy with, and one that it has never used. */
    riptide_record_bytes(signalled, signal_tag, 3);
    riptide_record_bytes(signalled, other_tag, 3);
    riptide_release_bytes(signalled, signal_tag, 1);
    atomic_fetch_add_explicit(&signal_records, 1, memory_order_relaxed);
}

static void *send_signals(void *context)
{
    const pthread_t target = *(const pthread_t *)context;
    while (!atomic_load(&signal_stop))
        pthread_kill(target, SIGUSR1);
    return NULL;
}

static void a_signal_handler_may_record_and_nothing_is_lost(void **state)
{
    (void)state;
    enum { LEAST_SIGNALS = 500, MOST_ROUNDS = 1000000000 };
    struct riptide_manager manager = {.records = rtd_records_new(MIB, NULL)};
    struct riptide_record_totals totals = {.size = sizeof totals};
    struct sigaction action = {.sa_handler = record_in_handler};
    struct sigaction before;
    pthread_t sender, self = pthread_self();
    uint64_t rounds = 0;
    signalled = &manager;
    signal_tag = riptide_intern(&manager, "both", "of them");
    other_tag = riptide_intern(&manager, "handler", "alone");
    riptide_record_bytes(&manager, signal_tag, 2);
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(pthread_create(&sender, NULL, send_signals, &self), 0);
    while (atomic_load_explicit(&signal_records, memory_order_relaxed) < LEAST_SIGNALS &&
           rounds < MOST_ROUNDS) {
        riptide_record_bytes(&manager, signal_tag, 2);
        rounds++;
    }
    atomic_store(&signal_stop, 1);
    pthread_join(sender, NULL);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    const uint64_t signals = atomic_load(&signal_records);
    assert_true(signals >= LEAST_SIGNALS);
    assert_int_equal(riptide_records_read(&manager, &totals), 0);
    assert_int_equal(totals.allocations, 1 + rounds + 2 * signals);
    assert_int_equal(totals.allocated_bytes, 2 * (1 + rounds) + 6 * signals);
    assert_int_equal(totals.released_bytes, signals);
    assert_int_equal(totals.releases, signals);
    rtd_records_free(manager.records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_made_while_threads_record_are_sound),
        cmocka_unit_test(a_signal_handler_may_record_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
