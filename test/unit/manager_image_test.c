// SPDX-License-Identifier: Apache-2.0
/*
 * manager_image_test.c - an image of records says what was recorded, in an order that does not
 * depend on threads, and a report can be made from it.
 *
 * Runs in:    unit tests
 * Threads:    starts its own; assertions are made by the first one only
 * Allocates:  for the length of a test
 * Fails:      by a failed assertion
 */
#include "analyze/analyze_report.h"
#include "manager/manager_handle.h"
#include "manager/manager_records.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unwind.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

struct stage {
    struct riptide_manager manager;
    struct rtd_image *image;
};

static void set_up(struct stage *stage, uint64_t limit_bytes)
{
    memset(stage, 0, sizeof *stage);
    stage->manager.records = rtd_records_new(limit_bytes, NULL);
    stage->image = rtd_image_new();
    assert_non_null(stage->manager.records);
    assert_non_null(stage->image);
}

static void tear_down(struct stage *stage)
{
    rtd_image_free(stage->image);
    rtd_records_free(stage->manager.records);
}

static const struct rtd_image *image_of(struct stage *stage)
{
    assert_int_equal(rtd_records_image(stage->manager.records, 0, stage->image), 0);
    return stage->image;
}

static struct riptide_record_totals totals_of(struct stage *stage)
{
    struct riptide_record_totals totals = {.size = sizeof totals};
    assert_int_equal(riptide_records_read(&stage->manager, &totals), 0);
    return totals;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The site of a tag with or without a stack; fails if there is not exactly one. */
static uint32_t site_of(const struct rtd_image *image, const char *component, bool with_stack)
{
    uint32_t found = 0;
    for (uint32_t i = 1; i < image->site_count; i++) {
        if (strcmp(image->tags[image->sites[i].tag].component, component) != 0 ||
            (image->sites[i].stack != 0) != with_stack)
            continue;
        assert_int_equal(found, 0);
        found = i;
    }
    assert_int_not_equal(found, 0);
    return found;
}

/* An allocation with names for a stack. */
static int record_named(struct stage *stage, const char *component, uint64_t size,
                        const void *address, const char *const *names, uint32_t count)
{
    const struct riptide_allocation allocation = {
        .size = sizeof allocation,
        .size_bytes = size,
        .address = address,
        .component = component,
        .operation = "op",
        .stack_trace = names,
        .stack_count = count,
    };
    return riptide_record_allocation(&stage->manager, &allocation);
}

/* ---- stacks ---- */

static void a_given_stack_comes_back_by_its_names(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const names[] = {"inner", "mid\377dle", "outer"};
    set_up(&stage, 10 * MIB);
    assert_int_equal(record_named(&stage, "c", 100, (void *)0x1000, names, 3), 0);
    assert_int_equal(record_named(&stage, "c", 100, (void *)0x2000, names, 3), 0);
    assert_int_equal(record_named(&stage, "c", 1, (void *)0x3000, names, 2), 0);
    const struct rtd_image *image = image_of(&stage);
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    assert_int_equal(rtd_records_symbols(stage.manager.records, table), 0);
    assert_int_equal(rtd_records_symbols(stage.manager.records, table), 0);
    uint32_t checked = 0;
    for (uint32_t i = 1; i < image->site_count; i++) {
        struct rtd_image_stack stack;
        if (image->sites[i].stack == 0 || image->sites[i].births != 2)
            continue;
        rtd_image_stack_get(image, image->sites[i].stack, &stack);
        assert_int_equal(stack.pc_count, 3);
        assert_false(stack.truncated);
        for (uint32_t j = 0; j < 3; j++) {
            const struct rtd_image_module *module =
                rtd_image_module_at(image, stack.pcs[j] - 1, stack.generation);
            assert_non_null(module);
            assert_string_equal(module->name, RTD_RECORDS_MODULE);
            const struct rtd_symbol_module key = {.path = module->name};
            size_t frame_count = 0;
            const struct rtd_symbol_frame *frames =
                rtd_symbol_table_get(table, &key, stack.pcs[j] - 1 - module->bias, &frame_count);
            assert_int_equal(frame_count, 1);
            assert_string_equal(frames->function, j == 1 ? "mid?dle" : names[j]);
        }
        assert_int_equal(image->exact->counts[i].live_bytes, 200);
        checked++;
    }
    assert_int_equal(checked, 1);
    rtd_symbol_table_free(table);
    tear_down(&stage);
}

static void a_given_stack_may_hold_nothing_and_be_too_long(void **state)
{
    (void)state;
    struct stage stage;
    const char *names[1000];
    set_up(&stage, 10 * MIB);
    for (unsigned i = 0; i < 1000; i++)
        names[i] = i % 3 == 0 ? NULL : i % 3 == 1 ? "same" : "";
    assert_int_equal(record_named(&stage, "c", 1, (void *)0x1000, names, 1000), 0);
    const struct rtd_image *image = image_of(&stage);
    struct rtd_image_stack stack;
    rtd_image_stack_get(image, image->sites[site_of(image, "c", true)].stack, &stack);
    assert_int_equal(stack.pc_count, 64);
    assert_true(stack.truncated);
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    const struct rtd_symbol_module key = {.path = RTD_RECORDS_MODULE};
    assert_int_equal(rtd_records_symbols(stage.manager.records, table), 0);
    for (uint32_t i = 0; i < 64; i++) {
        size_t count = 0;
        const struct rtd_symbol_frame *frame =
            rtd_symbol_table_get(table, &key, stack.pcs[i] - 1 - 0x1000, &count);
        assert_int_equal(count, 1);
        assert_string_equal(frame->function, i % 3 == 1 ? "same" : "?");
    }
    rtd_symbol_table_free(table);
    tear_down(&stage);
}

struct trace {
    uintptr_t pcs[RTD_FRAME_MAX];
    unsigned count;
};

static _Unwind_Reason_Code collect(struct _Unwind_Context *context, void *argument)
{
    struct trace *trace = argument;
    const uintptr_t pc = _Unwind_GetIP(context);
    if (pc != 0 && trace->count < RTD_FRAME_MAX)
        trace->pcs[trace->count++] = pc;
    return _URC_NO_REASON;
}

static __attribute__((noinline)) unsigned descend(struct stage *stage, unsigned depth,
                                                  struct trace *trace)
{
    unsigned result = depth;
    if (depth > 0) {
        result += descend(stage, depth - 1, trace);
    } else {
        _Unwind_Backtrace(collect, trace);
        const uint32_t tag = riptide_intern(&stage->manager, "captured", "op");
        (void)riptide_record_block(&stage->manager, tag, (void *)0x1000, 10, RIPTIDE_CAPTURE_STACK);
        const struct riptide_allocation allocation = {
            .size = sizeof allocation,
            .size_bytes = 10,
            .address = (void *)0x2000,
            .component = "allocation",
            .flags = RIPTIDE_CAPTURE_STACK,
        };
        (void)riptide_record_allocation(&stage->manager, &allocation);
    }
    /* Keeps the call above from being the last thing that is done. */
    __asm__ volatile("" : "+r"(result));
    return result;
}

static void a_captured_stack_is_the_one_that_libgcc_sees(void **state)
{
    (void)state;
    struct stage stage;
    static struct trace trace;
    set_up(&stage, 10 * MIB);
    (void)descend(&stage, 30, &trace);
    const struct rtd_image *image = image_of(&stage);
    for (int i = 0; i < 2; i++) {
        struct rtd_image_stack stack;
        const uint32_t site = site_of(image, i ? "allocation" : "captured", true);
        rtd_image_stack_get(image, image->sites[site].stack, &stack);
        assert_false(stack.truncated);
        /* The two calls stand at different places of the innermost function. */
        assert_int_equal(stack.pc_count, trace.count);
        assert_true(stack.pc_count > 30);
        assert_memory_equal(stack.pcs + 1, trace.pcs + 1, (stack.pc_count - 1) * sizeof(uintptr_t));
        const struct rtd_image_module *module =
            rtd_image_module_at(image, stack.pcs[0] - 1, stack.generation);
        assert_non_null(module);
        assert_string_equal(module->name, "");
    }
    tear_down(&stage);
}

static void stacks_without_room_are_counted_and_their_bytes_stay_with_the_tag(void **state)
{
    (void)state;
    enum { STACKS = 20000 };
    struct stage stage;
    char name[32];
    const char *names[2] = {name, "main"};
    set_up(&stage, MIB);
    for (uintptr_t i = 0; i < STACKS; i++) {
        snprintf(name, sizeof name, "function_%u", (unsigned)i % 500);
        const struct riptide_allocation allocation = {
            .size = sizeof allocation,
            .size_bytes = 10,
            .component = i % 2 ? "odd" : "even",
            .operation = i % 3 ? "x" : "y",
            .stack_trace = names,
            .stack_count = 1 + i % 2,
        };
        assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), 0);
    }
    const struct rtd_image *image = image_of(&stage);
    uint64_t live = 0, births = 0;
    for (uint32_t i = 0; i < image->site_count; i++) {
        live += image->exact->counts[i].live_bytes;
        births += image->sites[i].births;
    }
    assert_int_equal(live, 10 * STACKS);
    assert_int_equal(births, STACKS);
    assert_true(image->loss[RTD_LOSS_STACKS_NOT_TAKEN] > 0);
    assert_true(totals_of(&stage).memory_bytes <= MIB);
    tear_down(&stage);
}

/* ---- figures ---- */

static void what_is_live_of_records_by_size_is_shared_out_by_what_they_recorded(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const a[] = {"a"}, *const b[] = {"b"};
    set_up(&stage, 10 * MIB);
    for (int i = 0; i < 3; i++)
        assert_int_equal(record_named(&stage, "c", 100, NULL, a, 1), 0);
    assert_int_equal(record_named(&stage, "c", 101, NULL, b, 1), 0);
    assert_int_equal(riptide_record_deallocation(&stage.manager, "c", 200), 0);
    const struct rtd_image *image = image_of(&stage);
    uint64_t live = 0, freed = 0, blocks = 0;
    for (uint32_t i = 1; i < image->site_count; i++) {
        const struct rtd_image_count *count = &image->exact->counts[i];
        live += count->live_bytes;
        freed += count->freed_bytes;
        blocks += count->live_blocks;
        assert_int_equal(count->allocated_bytes, count->live_bytes + count->freed_bytes);
        if (count->allocated_bytes == 300)
            assert_in_range(count->live_bytes, 150, 151);
        else if (count->allocated_bytes != 0)
            assert_int_equal(count->allocated_bytes, 101);
        else
            assert_int_equal(count->live_bytes, 0);
    }
    assert_int_equal(live, 201);
    assert_int_equal(freed, 200);
    assert_int_equal(blocks, 3);
    tear_down(&stage);
}

static void an_image_lists_the_largest_blocks_first_with_and_without_address(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, 10 * MIB);
    const uint32_t tag = riptide_intern(&stage.manager, "a", "b");
    for (uintptr_t i = 1; i <= 50; i++)
        riptide_record_block(&stage.manager, tag, (void *)(i * 4096), i * 10, 0);
    riptide_record_bytes(&stage.manager, tag, 495);
    riptide_record_bytes(&stage.manager, tag, 1000);
    riptide_release_bytes(&stage.manager, tag, 1000);
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(image->sample_count, 51);
    assert_int_equal(image->samples[0].size, 500);
    assert_int_equal(image->samples[0].address, 50 * 4096);
    assert_int_equal(image->samples[1].size, 495);
    assert_int_equal(image->samples[1].address, 0);
    assert_int_equal(image->samples[50].size, 10);
    assert_true(image->exact->block_share == 1.0);
    for (uint32_t i = 0; i < image->sample_count; i++)
        assert_string_equal(image->tags[image->sites[image->samples[i].site].tag].component, "a");
    tear_down(&stage);
}

static void an_alignment_stays_with_its_block_with_and_without_address(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const names[] = {"load", "main"};
    struct riptide_allocation allocation = {
        .size = sizeof allocation, .component = "c", .operation = "op", .stack_trace = names};
    set_up(&stage, 10 * MIB);
    /* Every power of two, by address and by size in turn; no two of a size. */
    for (unsigned power = 0; power < 64; power++) {
        allocation.alignment = UINT64_C(1) << power;
        allocation.size_bytes = 1000 + power;
        allocation.address = power % 4 < 2 ? (void *)(uintptr_t)(16 + power * 16) : NULL;
        allocation.stack_count = power % 2 ? 2 : 0;
        assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), 0);
    }
    allocation.alignment = 0;
    allocation.size_bytes = RTD_RECORDS_SIZE_LIMIT;
    assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), 0);
    /* The 20 last ones by size alone are listed, this one being among them. */
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(image->sample_count, 32 + 20);
    assert_int_equal(image->samples[0].size, RTD_RECORDS_SIZE_LIMIT);
    assert_int_equal(image->samples[0].alignment_log, 0);
    for (uint32_t i = 1; i < image->sample_count; i++)
        assert_int_equal(image->samples[i].alignment_log, image->samples[i].size - 1000 + 1);
    assert_int_equal(totals_of(&stage).live_bytes,
                     RTD_RECORDS_SIZE_LIMIT + 64 * 1000 + 64 * 63 / 2);
    for (unsigned power = 0; power < 64; power++) {
        if (power % 4 < 2)
            riptide_release_block(&stage.manager, (void *)(uintptr_t)(16 + power * 16));
        else
            riptide_record_deallocation(&stage.manager, "c", 1000 + power);
    }
    assert_int_equal(totals_of(&stage).live_bytes, RTD_RECORDS_SIZE_LIMIT);
    assert_int_equal(image_of(&stage)->sample_count, 1);
    tear_down(&stage);
}

static void an_alignment_that_is_no_power_of_two_is_refused(void **state)
{
    (void)state;
    struct stage stage;
    static const uint64_t odd[] = {3, 6, 24, (UINT64_C(1) << 63) + 1, UINT64_MAX};
    set_up(&stage, 10 * MIB);
    struct riptide_allocation allocation = {
        .size = sizeof allocation, .size_bytes = 10, .component = "c"};
    for (unsigned i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        allocation.alignment = odd[i];
        allocation.address = i % 2 ? (void *)0x1000 : NULL;
        assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), -EINVAL);
    }
    assert_int_equal(totals_of(&stage).allocations, 0);
    tear_down(&stage);
}

static void what_a_component_gave_back_is_listed_no_longer(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const names[] = {"load", "main"};
    set_up(&stage, 10 * MIB);
    record_named(&stage, "c", 500, NULL, names, 2);
    record_named(&stage, "c", 300, NULL, names, 2);
    record_named(&stage, "c", 300, NULL, names, 1);
    riptide_record_deallocation(&stage.manager, "c", 500);
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(image->sample_count, 2);
    assert_int_equal(image->samples[0].size, 300);
    assert_int_not_equal(image->sites[image->samples[0].site].stack, 0);
    assert_int_not_equal(image->samples[0].site, image->samples[1].site);
    /* More than is live of the account is not listed, whoever gave it back. */
    riptide_record_deallocation(&stage.manager, "c", 299);
    assert_int_equal(image_of(&stage)->sample_count, 1);
    tear_down(&stage);
}

static void more_blocks_than_fit_are_listed_in_part_with_the_largest(void **state)
{
    (void)state;
    enum { MANY = 60000 };
    struct stage stage;
    set_up(&stage, 10 * MIB);
    const uint32_t tag = riptide_intern(&stage.manager, "a", "b");
    for (uintptr_t i = 1; i <= MANY; i++)
        riptide_record_block(&stage.manager, tag, (void *)(i * 16), i, 0);
    const struct rtd_image *image = image_of(&stage);
    assert_in_range(image->sample_count, MANY / 4, RTD_SAMPLE_CAPACITY);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(image->samples[i].size, MANY - i);
    assert_true(image->exact->block_share == (double)image->sample_count / (double)MANY);
    tear_down(&stage);
}

static void times_are_taken_as_they_are_given(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, 10 * MIB);
    const uint64_t now = now_ns();
    struct riptide_allocation allocation = {.size = sizeof allocation,
                                            .size_bytes = 10,
                                            .component = "c",
                                            .timestamp_ns = now + UINT64_C(9000000000)};
    assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), 0);
    allocation.timestamp_ns = now + UINT64_C(3000000000);
    assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), 0);
    allocation.timestamp_ns = 1; /* long before the manager was opened */
    allocation.address = (void *)0x1000;
    allocation.component = "past";
    assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), 0);
    allocation.timestamp_ns = UINT64_MAX;
    allocation.address = (void *)0x2000;
    allocation.component = "future";
    assert_int_equal(riptide_record_allocation(&stage.manager, &allocation), 0);
    assert_int_equal(riptide_release_block(&stage.manager, (void *)0x1000), 0);
    assert_int_equal(riptide_release_block(&stage.manager, (void *)0x2000), 0);
    const struct rtd_image *image = image_of(&stage);
    const struct rtd_image_site *site = &image->sites[site_of(image, "c", false)];
    assert_in_range(site->first_ms, 2900, 3100);
    assert_in_range(site->last_ms, 8900, 9100);
    assert_int_equal(image->sites[site_of(image, "past", false)].first_ms, 0);
    assert_int_equal(totals_of(&stage).live_bytes, 20);
    tear_down(&stage);
}

static void a_block_freed_at_once_is_temporary_and_has_an_age(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, 10 * MIB);
    const uint32_t tag = riptide_intern(&stage.manager, "a", "b");
    struct riptide_allocation old = {
        .size = sizeof old, .size_bytes = 10, .tag = tag, .address = (void *)0x1000};
    riptide_record_block(&stage.manager, tag, (void *)0x3000, 2 * MIB, 0);
    riptide_release_block(&stage.manager, (void *)0x3000);
    riptide_record_block(&stage.manager, tag, (void *)0x4000, 10, 0);
    riptide_record_allocation(&stage.manager, &old);
    riptide_release_block(&stage.manager, (void *)0x4000);
    riptide_record_bytes(&stage.manager, tag, 70);
    riptide_release_bytes(&stage.manager, tag, 70);
    const struct rtd_image *image = image_of(&stage);
    const uint32_t site = site_of(image, "a", false);
    assert_int_equal(image->exact->counts[site].temporary, 1);
    assert_int_equal(image->sites[site].deaths, 3);
    assert_int_equal(image->sites[site].large_births, 1);
    assert_int_equal(image->sites[site].max_size, 2 * MIB);
    uint64_t ages = 0;
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++)
        ages += rtd_image_lifetime(image, site, i);
    /* What was taken back by size has none. */
    assert_int_equal(ages, 2);
    assert_true(image->size_class_count[0] == 3.0 && image->size_class_count[3] == 1.0);
    tear_down(&stage);
}

static void the_most_that_an_image_saw_is_remembered(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const names[] = {"load", "main"};
    set_up(&stage, 10 * MIB);
    record_named(&stage, "a", 700, (void *)0x1000, names, 2);
    record_named(&stage, "b", 300, NULL, NULL, 0);
    assert_int_equal(image_of(&stage)->peak_live_bytes, 1000);
    riptide_release_block(&stage.manager, (void *)0x1000);
    record_named(&stage, "b", 100, NULL, NULL, 0);
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(image->peak_live_bytes, 1000);
    assert_int_equal(image->exact->counts[site_of(image, "a", true)].peak_bytes, 700);
    assert_int_equal(image->exact->counts[site_of(image, "a", true)].live_bytes, 0);
    assert_int_equal(image->exact->counts[site_of(image, "b", false)].peak_bytes, 300);
    assert_int_equal(image->exact->counts[site_of(image, "b", false)].peak_blocks, 1);
    tear_down(&stage);
}

/* ---- order ---- */

enum { ORDER_THREADS = 4, ORDER_RECORDS = 64 };

struct part {
    struct stage *stage;
    unsigned number, threads;
};

static void *record_part(void *context)
{
    const struct part *part = context;
    for (unsigned i = part->number; i < ORDER_RECORDS; i += part->threads) {
        char component[16], function[16];
        const char *names[2] = {function, "main"};
        snprintf(component, sizeof component, "c%u", i * 7 % 5);
        snprintf(function, sizeof function, "f%u", i * 11 % 6);
        (void)record_named(part->stage, component, 100, i % 2 ? (void *)(uintptr_t)(i * 16) : NULL,
                           names, i % 3);
    }
    return NULL;
}

/* Everything of an image that an answer is made from, as text. */
static char *describe(struct stage *stage)
{
    const struct rtd_image *image = image_of(stage);
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    size_t size = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(rtd_records_symbols(stage->manager.records, table), 0);
    for (uint32_t i = 1; i < image->site_count; i++) {
        const struct rtd_image_site *site = &image->sites[i];
        const struct rtd_symbol_module key = {.path = RTD_RECORDS_MODULE};
        struct rtd_image_stack stack = {0};
        if (site->births == 0)
            continue;
        fprintf(out, "%u %s/%s %lu %lu:", site->stack, image->tags[site->tag].component,
                image->tags[site->tag].operation, (unsigned long)site->births,
                (unsigned long)image->exact->counts[i].live_bytes);
        if (site->stack != 0)
            rtd_image_stack_get(image, site->stack, &stack);
        for (uint32_t j = 0; j < stack.pc_count; j++) {
            size_t count = 0;
            fprintf(out, " %s",
                    rtd_symbol_table_get(table, &key, stack.pcs[j] - 1 - 0x1000, &count)->function);
        }
        fputc('\n', out);
    }
    fclose(out);
    rtd_symbol_table_free(table);
    return text;
}

static char *record_with_threads(unsigned threads)
{
    struct stage stage;
    set_up(&stage, 10 * MIB);
    struct part parts[ORDER_THREADS];
    pthread_t ids[ORDER_THREADS];
    for (unsigned i = 0; i < threads; i++) {
        /* In another order of threads each time. */
        parts[i] = (struct part){&stage, (i + 1) % threads, threads};
        assert_int_equal(pthread_create(&ids[i], NULL, record_part, &parts[i]), 0);
        if (threads != ORDER_THREADS)
            pthread_join(ids[i], NULL);
    }
    for (unsigned i = 0; i < threads && threads == ORDER_THREADS; i++)
        pthread_join(ids[i], NULL);
    char *text = describe(&stage);
    tear_down(&stage);
    return text;
}

static void the_same_records_make_the_same_image_whoever_records_them(void **state)
{
    (void)state;
    char *alone = record_with_threads(1);
    assert_true(strlen(alone) > 200);
    for (unsigned threads = 2; threads <= ORDER_THREADS; threads++) {
        char *shared = record_with_threads(threads);
        assert_string_equal(shared, alone);
        free(shared);
    }
    free(alone);
}

static void stacks_and_tags_keep_their_numbers_from_image_to_image(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const one[] = {"x", "y"}, *const two[] = {"a", "b"};
    set_up(&stage, 10 * MIB);
    record_named(&stage, "m", 1, (void *)0x1000, one, 2);
    const struct rtd_image *image = image_of(&stage);
    const struct rtd_image_site before = image->sites[site_of(image, "m", true)];
    /* These come before it in every order. */
    record_named(&stage, "a", 1, (void *)0x2000, two, 2);
    record_named(&stage, "a", 1, (void *)0x3000, one, 2);
    image = image_of(&stage);
    const struct rtd_image_site after = image->sites[site_of(image, "m", true)];
    assert_int_equal(after.stack, before.stack);
    assert_int_equal(after.tag, before.tag);
    tear_down(&stage);
}

/* ---- reports ---- */

static void a_report_of_records_adds_up_to_their_totals(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const names[] = {"load", "main"};
    set_up(&stage, 10 * MIB);
    for (uintptr_t i = 1; i <= 300; i++) {
        char component[16];
        snprintf(component, sizeof component, "part%u", (unsigned)i % 7);
        record_named(&stage, component, i, i % 2 ? (void *)(i * 16) : NULL, names, i % 3 ? 2 : 0);
        if (i % 5 == 0)
            riptide_record_deallocation(&stage.manager, component, i / 2);
        if (i % 9 == 1)
            riptide_release_block(&stage.manager, (void *)(i * 16));
    }
    struct rtd_process_record *record = calloc(1, sizeof *record);
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    assert_non_null(record);
    (void)image_of(&stage);
    assert_int_equal(rtd_records_symbols(stage.manager.records, table), 0);
    record->image = stage.image;
    record->meta.pid = 1;
    record->meta.status = RTD_PROCESS_RUNNING;
    record->meta.started_unix_ns = stage.image->created_unix_ns;
    const struct rtd_process_record *const records[] = {record};
    const struct rtd_report_input input = {
        .process_count = 1, .processes = records, .symbols = table, .complete = true};
    struct rtd_report *report = rtd_report_new(&input);
    assert_non_null(report);
    const struct rtd_report_process *process = report->target;
    const struct riptide_record_totals totals = totals_of(&stage);
    uint64_t live = 0, allocations = 0, blocks = 0;
    for (uint32_t i = 0; i < process->component_count; i++) {
        live += process->components[i].figures.live_bytes.value;
        blocks += process->components[i].figures.live_blocks.value;
        allocations += process->components[i].figures.allocations.value;
    }
    assert_int_equal(process->component_count, 7);
    assert_int_equal(live, totals.live_bytes);
    assert_int_equal(blocks, totals.live_blocks);
    assert_int_equal(allocations, totals.allocations);
    assert_int_equal(process->totals.live_bytes.value, totals.live_bytes);
    assert_int_equal(process->totals.allocated_bytes.value, totals.allocated_bytes);
    assert_int_equal(process->counts->freed_bytes, totals.released_bytes);
    bool named = false;
    for (uint32_t i = 0; i < process->site_count; i++)
        named = named ||
                (process->sites[i].function && strcmp(process->sites[i].function, "load") == 0);
    assert_true(named);
    rtd_report_free(report);
    rtd_symbol_table_free(table);
    free(record);
    tear_down(&stage);
}

/* ---- clean-up ---- */

static void clean_up_drops_dead_stacks_and_no_figure(void **state)
{
    (void)state;
    struct stage stage;
    static const char *const live[] = {"lives", "main"}, *const dead[] = {"dies", "main"};
    set_up(&stage, 10 * MIB);
    record_named(&stage, "c", 10, (void *)0x1000, dead, 2);
    record_named(&stage, "c", 20, (void *)0x2000, live, 2);
    record_named(&stage, "c", 40, NULL, dead, 1);
    riptide_release_block(&stage.manager, (void *)0x1000);
    const struct riptide_record_totals before = totals_of(&stage);
    assert_int_equal(rtd_records_cleanup(stage.manager.records, 0, true, true), 0);
    const uint64_t later = now_ns() + UINT64_C(1000000000);
    assert_int_equal(rtd_records_cleanup(stage.manager.records, later, true, false), 2);
    assert_int_equal(rtd_records_cleanup(stage.manager.records, later, true, false), 0);
    const struct riptide_record_totals after = totals_of(&stage);
    assert_int_equal(after.live_bytes, before.live_bytes);
    assert_int_equal(after.allocations, before.allocations);
    const struct rtd_image *image = image_of(&stage);
    assert_int_equal(image->exact->counts[site_of(image, "c", true)].live_bytes, 20);
    assert_int_equal(image->exact->counts[site_of(image, "c", false)].live_bytes, 40);
    assert_int_equal(image->exact->counts[site_of(image, "c", false)].allocated_bytes, 50);
    /* The block that lives finds its stack where it was moved to. */
    assert_int_equal(riptide_release_block(&stage.manager, (void *)0x2000), 0);
    assert_int_equal(rtd_records_cleanup(stage.manager.records, later, true, false), 1);
    assert_int_equal(totals_of(&stage).live_bytes, 40);
    tear_down(&stage);
}

static void clean_up_makes_room_for_new_stacks(void **state)
{
    (void)state;
    struct stage stage;
    char name[32];
    const char *names[3] = {name, "b", "main"};
    set_up(&stage, MIB);
    for (int round = 0; round < 5; round++) {
        for (uintptr_t i = 0; i < 250; i++) {
            snprintf(name, sizeof name, "f%u", (unsigned)(i + (unsigned)round % 2 * 100));
            record_named(&stage, "c", 5, (void *)(0x1000 + i * 16), names, 1 + (uint32_t)i % 3);
            if (i % 10 != 0 || round > 0)
                riptide_release_block(&stage.manager, (void *)(0x1000 + i * 16));
        }
        assert_true(
            rtd_records_cleanup(stage.manager.records, now_ns() + 1000000000u, true, false) > 150);
        /* Those that live kept their stacks. */
        const struct rtd_image *image = image_of(&stage);
        uint64_t with_stack = 0;
        for (uint32_t i = 1; i < image->site_count; i++)
            with_stack += image->sites[i].stack ? image->exact->counts[i].live_blocks : 0;
        assert_int_equal(with_stack, round == 0 ? 25 : 0);
        assert_int_equal(image->loss[RTD_LOSS_STACKS_NOT_TAKEN], 0);
    }
    tear_down(&stage);
}

static void clean_up_of_history_hides_old_records_by_size(void **state)
{
    (void)state;
    struct stage stage;
    set_up(&stage, 10 * MIB);
    const uint32_t tag = riptide_intern(&stage.manager, "a", "b");
    riptide_record_bytes(&stage.manager, tag, 10);
    riptide_record_bytes(&stage.manager, tag, 20);
    assert_int_equal(image_of(&stage)->sample_count, 2);
    const uint64_t later = now_ns() + UINT64_C(1000000000);
    assert_int_equal(rtd_records_cleanup(stage.manager.records, later, false, true), 2);
    assert_int_equal(rtd_records_cleanup(stage.manager.records, later, false, true), 0);
    assert_int_equal(image_of(&stage)->sample_count, 0);
    assert_int_equal(totals_of(&stage).live_bytes, 30);
    tear_down(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_given_stack_comes_back_by_its_names),
        cmocka_unit_test(a_given_stack_may_hold_nothing_and_be_too_long),
        cmocka_unit_test(a_captured_stack_is_the_one_that_libgcc_sees),
        cmocka_unit_test(stacks_without_room_are_counted_and_their_bytes_stay_with_the_tag),
        cmocka_unit_test(what_is_live_of_records_by_size_is_shared_out_by_what_they_recorded),
        cmocka_unit_test(an_image_lists_the_largest_blocks_first_with_and_without_address),
        cmocka_unit_test(an_alignment_stays_with_its_block_with_and_without_address),
        cmocka_unit_test(an_alignment_that_is_no_power_of_two_is_refused),
        cmocka_unit_test(what_a_component_gave_back_is_listed_no_longer),
        cmocka_unit_test(more_blocks_than_fit_are_listed_in_part_with_the_largest),
        cmocka_unit_test(times_are_taken_as_they_are_given),
        cmocka_unit_test(a_block_freed_at_once_is_temporary_and_has_an_age),
        cmocka_unit_test(the_most_that_an_image_saw_is_remembered),
        cmocka_unit_test(the_same_records_make_the_same_image_whoever_records_them),
        cmocka_unit_test(stacks_and_tags_keep_their_numbers_from_image_to_image),
        cmocka_unit_test(a_report_of_records_adds_up_to_their_totals),
        cmocka_unit_test(clean_up_drops_dead_stacks_and_no_figure),
        cmocka_unit_test(clean_up_makes_room_for_new_stacks),
        cmocka_unit_test(clean_up_of_history_hides_old_records_by_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
