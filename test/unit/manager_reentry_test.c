// SPDX-License-Identifier: Apache-2.0
/*
 * manager_reentry_test.c - what happens to the records in the middle of an image: an allocator that
 * records its own work, and clean-up between two steps.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  for the length of a test, through functions that call a test back
 * Fails:      by a failed assertion; a lock that is held over an allocation, by an alarm
 */
#include "manager/manager_handle.h"
#include "manager/manager_records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

/* So many that each shard of the tables has several. */
enum { STACKS = 160, OLD_SIZE = 100, NEW_SIZE = 7, DEADLOCK_SECONDS = 20 };

static struct riptide_manager manager;
/* Called by each allocation, with its number, counted from 0 on. */
static void (*on_allocation)(unsigned number);
static unsigned allocation_count;

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);

static void call_back(void)
{
    void (*const call)(unsigned) = on_allocation;
    on_allocation = NULL;
    if (call)
        call(allocation_count++);
    on_allocation = call;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    call_back();
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    call_back();
    return __real_realloc(memory, bytes);
}

/* Blocks of that size, each with a stack of its own. */
static void record_stacks(const char *prefix, uintptr_t base, uint64_t size)
{
    char name[32];
    const char *names[2] = {name, "main"};
    for (uintptr_t i = 0; i < STACKS; i++) {
        snprintf(name, sizeof name, "%s%u", prefix, (unsigned)i);
        const struct riptide_allocation allocation = {
            .size = sizeof allocation,
            .size_bytes = size,
            .address = (void *)(base + i * 16),
            .component = "c",
            .stack_trace = names,
            .stack_count = 2,
        };
        assert_int_equal(riptide_record_allocation(&manager, &allocation), 0);
    }
}

static void release_stacks(uintptr_t base)
{
    for (uintptr_t i = 0; i < STACKS; i++)
        assert_int_equal(riptide_release_block(&manager, (void *)(base + i * 16)), 0);
}

static void record_and_release(unsigned number)
{
    (void)number;
    record_stacks("own", 0x500000, 1);
    release_stacks(0x500000);
}

static void an_allocator_may_record_its_own_work_while_an_image_is_made(void **state)
{
    (void)state;
    struct rtd_image *image = rtd_image_new();
    manager.records = rtd_records_new(10 * MIB, NULL);
    assert_non_null(image);
    assert_non_null(manager.records);
    record_stacks("first", 0x100000, 10);
    (void)alarm(DEADLOCK_SECONDS);
    allocation_count = 0;
    on_allocation = record_and_release;
    assert_int_equal(rtd_records_image(manager.records, 0, image), 0);
    on_allocation = NULL;
    (void)alarm(0);
    assert_true(allocation_count > 4);
    rtd_image_free(image);
    rtd_records_free(manager.records);
}

static unsigned replace_at;

/* All old stacks go, and others take their places in the tables. */
static void replace_stacks(unsigned number)
{
    if (number != replace_at)
        return;
    assert_int_equal(rtd_records_cleanup(manager.records, UINT64_MAX, true, false), STACKS);
    record_stacks("new", 0x200000, NEW_SIZE);
}

static void no_block_is_listed_under_a_stack_whose_place_it_took(void **state)
{
    (void)state;
    unsigned steps = 1;
    for (replace_at = 0; replace_at < steps; replace_at++) {
        struct rtd_image *image = rtd_image_new();
        manager.records = rtd_records_new(10 * MIB, NULL);
        assert_non_null(image);
        assert_non_null(manager.records);
        record_stacks("old", 0x100000, OLD_SIZE);
        release_stacks(0x100000);
        allocation_count = 0;
        on_allocation = replace_stacks;
        assert_int_equal(rtd_records_image(manager.records, 0, image), 0);
        on_allocation = NULL;
        steps = allocation_count;
        for (uint32_t i = 0; i < image->sample_count; i++) {
            const struct rtd_image_site *site = &image->sites[image->samples[i].site];
            assert_int_equal(image->samples[i].size, NEW_SIZE);
            assert_true(site->stack == 0 || site->max_size == NEW_SIZE);
        }
        /* The next one is whole, with stacks under numbers that others had. */
        assert_int_equal(rtd_records_image(manager.records, 0, image), 0);
        assert_int_equal(image->sample_count, STACKS);
        for (uint32_t i = 0; i < image->sample_count; i++)
            assert_int_equal(image->sites[image->samples[i].site].max_size, NEW_SIZE);
        rtd_image_free(image);
        rtd_records_free(manager.records);
    }
    assert_true(steps > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocator_may_record_its_own_work_while_an_image_is_made),
        cmocka_unit_test(no_block_is_listed_under_a_stack_whose_place_it_took),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
