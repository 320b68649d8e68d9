// SPDX-License-Identifier: Apache-2.0
/*
 * track_allocator_test.c - the allocator of this process is found, asked and made to release.
 *
 * Runs in:    tests
 * Threads:    one, and four that ask at once in one test
 * Allocates:  memory to be seen
 * Fails:      by a failed assertion
 *
 * What the figures of the other allocators mean is judged by test_allocators.py, behind each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../support/support_skip.h"
#include "base/base_macros.h"
#include "track/track_allocator.h"
#include "track/track_gc.h"
#include "track/track_process.h"
#include "track/track_symbols.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 48 << 20, ASKERS = 4 };

/* A sanitizer's malloc, or one that was preloaded, is none that this test knows the truth of. */
static bool is_glibc(void)
{
    Dl_info info;
    void *const address = dlsym(RTLD_DEFAULT, "malloc");
    return address && dladdr(address, &info) && strstr(info.dli_fname, "libc.so.6");
}

static void need_glibc(void)
{
    if (!is_glibc())
        rtd_support_skip("malloc() is not glibc's");
    struct rtd_allocator_figures figures;
    free(malloc(1));
    rtd_allocator_read(&figures);
    /* valgrind puts its own in place without a symbol. */
    if (figures.allocated_bytes == RTD_ALLOCATOR_UNKNOWN)
        rtd_support_skip(figures.unavailable);
}

static void the_allocator_that_serves_malloc_is_found(void **state)
{
    (void)state;
    need_glibc();
    struct rtd_allocator allocator;
    rtd_allocator_find(&allocator);
    assert_string_equal(allocator.name, "glibc");
    assert_int_equal(allocator.kind, RTD_ALLOCATOR_GLIBC);
    assert_ptr_equal(allocator.ask, dlsym(RTLD_DEFAULT, "mallinfo2"));
    assert_ptr_equal(allocator.release, dlsym(RTLD_DEFAULT, "malloc_trim"));
}

static void an_allocator_that_came_later_is_not_asked(void **state)
{
    (void)state;
    need_glibc();
    if (!dlopen("libmimalloc.so.2", RTLD_NOW | RTLD_GLOBAL))
        rtd_support_skip("libmimalloc.so.2 is not installed");
    static const char *const names[] = {"mallinfo2", "mi_collect"};
    const struct rtd_symbols_query query = {"malloc", "riptide_heap_ledger", 0, names, 2};
    const struct rtd_symbols_query other = {"mi_malloc", "riptide_heap_ledger", 0, names, 2};
    struct rtd_symbols_object object;
    uintptr_t addresses[2];
    assert_true(rtd_symbols_find(&query, &object, addresses));
    assert_string_equal(object.name, "libc.so.6");
    assert_true(addresses[0] >= object.start && addresses[0] < object.end);
    assert_int_equal(addresses[1], 0);
    assert_true(rtd_symbols_find(&other, &object, addresses));
    assert_int_equal(addresses[0], 0);
    assert_true(addresses[1] == (uintptr_t)dlsym(RTLD_DEFAULT, "mi_collect"));
}

static void an_object_of_ours_is_passed_over(void **state)
{
    (void)state;
    static const char *const names[] = {"malloc"};
    struct rtd_symbols_query query = {"malloc_trim", "riptide_heap_ledger", 0, names, 1};
    struct rtd_symbols_object object;
    uintptr_t address;
    assert_true(rtd_symbols_find(&query, &object, &address));
    const uintptr_t inside = object.start;
    query.skip_address = inside;
    assert_true(!rtd_symbols_find(&query, &object, &address) || object.start != inside);
    query.skip_address = 0;
    query.skip_marker = "malloc_trim";
    assert_false(rtd_symbols_find(&query, &object, &address));
    assert_string_equal(object.name, ""); /* the program itself */
    assert_true((uintptr_t)&an_object_of_ours_is_passed_over >= object.start &&
                (uintptr_t)&an_object_of_ours_is_passed_over < object.end);
    assert_int_equal(address, 0);
}

static void what_nobody_defines_is_not_found(void **state)
{
    (void)state;
    static const char *const names[] = {"malloc"};
    const struct rtd_symbols_query query = {"no_such_function_anywhere", "neither", 0, names, 1};
    struct rtd_symbols_object object;
    uintptr_t address = 1;
    assert_false(rtd_symbols_find(&query, &object, &address));
    assert_int_equal(address, 0);
}

static void each_known_figure_moves_with_what_is_allocated(void **state)
{
    (void)state;
    need_glibc();
    struct rtd_allocator_figures before, during, after;
    rtd_allocator_read(&before);
    char *const block = malloc(BLOCK_BYTES);
    assert_non_null(block);
    rtd_allocator_read(&during);
    free(block);
    rtd_allocator_read(&after);
    assert_true(before.asked);
    assert_string_equal(during.name, "glibc");
    assert_in_range(during.allocated_bytes - before.allocated_bytes, BLOCK_BYTES,
                    BLOCK_BYTES + 8192);
    assert_in_range(during.mapped_bytes - before.mapped_bytes, BLOCK_BYTES, BLOCK_BYTES + 8192);
    assert_int_equal(during.retained_bytes, during.mapped_bytes - during.allocated_bytes);
    assert_int_equal(after.allocated_bytes, before.allocated_bytes);
}

static void a_figure_that_is_not_known_is_not_zero_and_has_a_reason(void **state)
{
    (void)state;
    struct rtd_allocator_figures figures;
    rtd_allocator_read(&figures);
    const uint64_t all[] = {figures.allocated_bytes, figures.active_bytes, figures.metadata_bytes,
                            figures.resident_bytes,  figures.mapped_bytes, figures.retained_bytes};
    bool is_complete = true;
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(all); i++)
        is_complete = is_complete && all[i] != RTD_ALLOCATOR_UNKNOWN;
    assert_int_equal(is_complete, figures.unavailable[0] == '\0');
    if (is_glibc())
        assert_true(figures.active_bytes == RTD_ALLOCATOR_UNKNOWN &&
                    figures.metadata_bytes == RTD_ALLOCATOR_UNKNOWN &&
                    figures.resident_bytes == RTD_ALLOCATOR_UNKNOWN);
}

static void a_snapshot_from_proc_has_asked_no_allocator(void **state)
{
    (void)state;
    struct rtd_memory_snapshot snapshot;
    assert_int_equal(rtd_track_snapshot(getpid(), &snapshot), 0);
    assert_false(snapshot.allocator.asked);
}

/* Asks ten thousand times; NULL if every answer made sense. */
static void *ask_on(void *context)
{
    for (unsigned i = 0; i < 10000; i++) {
        struct rtd_allocator_figures figures;
        rtd_allocator_glance(&figures);
        if (!figures.asked || !figures.name || !figures.unavailable ||
            (strcmp(figures.name, "glibc") == 0 &&
             figures.allocated_bytes != RTD_ALLOCATOR_UNKNOWN &&
             figures.mapped_bytes - figures.retained_bytes != figures.allocated_bytes))
            return context;
    }
    return NULL;
}

static void a_glance_is_whole_whoever_asks_meanwhile(void **state)
{
    (void)state;
    pthread_t threads[ASKERS];
    void *wrong;
    for (unsigned i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_on, threads), 0);
    /* So that the figures differ from one time to the next. */
    for (unsigned i = 0; i < 2000; i++)
        free(malloc(BLOCK_BYTES + 4096 * i));
    for (unsigned i = 0; i < ASKERS; i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

static uint64_t resident_bytes(void)
{
    unsigned long long size, resident;
    FILE *const file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%llu %llu", &size, &resident), 2);
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void a_forced_release_says_by_how_much_the_process_shrank(void **state)
{
    (void)state;
    need_glibc();
    enum { COUNT = 3000, PIECE_BYTES = 16384 };
    static char *pieces[COUNT], *between[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        pieces[i] = memset(malloc(PIECE_BYTES), 1, PIECE_BYTES);
        between[i] = malloc(40);
    }
    for (unsigned i = 0; i < COUNT; i++)
        free(pieces[i]);
    struct rtd_gc_result result;
    const uint64_t before_bytes = resident_bytes();
    assert_int_equal(rtd_track_gc(&result), 0);
    const uint64_t after_bytes = resident_bytes();
    assert_in_range(before_bytes - after_bytes, 20 << 20, COUNT * PIECE_BYTES);
    assert_string_equal(result.action, "malloc_trim(0)");
    assert_in_range(result.freed_bytes, before_bytes - after_bytes - (1 << 20),
                    before_bytes - after_bytes + (1 << 20));
    assert_int_equal(result.before_bytes - result.after_bytes, result.freed_bytes);
    assert_true(result.duration_ns > 0);
    for (unsigned i = 0; i < COUNT; i++)
        free(between[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_allocator_that_serves_malloc_is_found),
        cmocka_unit_test(an_object_of_ours_is_passed_over),
        cmocka_unit_test(what_nobody_defines_is_not_found),
        cmocka_unit_test(each_known_figure_moves_with_what_is_allocated),
        cmocka_unit_test(a_figure_that_is_not_known_is_not_zero_and_has_a_reason),
        cmocka_unit_test(a_snapshot_from_proc_has_asked_no_allocator),
        cmocka_unit_test(a_glance_is_whole_whoever_asks_meanwhile),
        cmocka_unit_test(a_forced_release_says_by_how_much_the_process_shrank),
        /* Last: the library stays. */
        cmocka_unit_test(an_allocator_that_came_later_is_not_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
