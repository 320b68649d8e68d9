// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_table_test.c - what the table of code addresses promises.
 *
 * Runs in:    test
 * Threads:    one
 * Allocates:  yes
 * Fails:      with the line of the broken promise
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "symbol/symbol_table.h"

static const uint8_t id_a[] = {1, 2, 3}, id_b[] = {1, 2, 4};
static const struct rtd_symbol_module module_a = {"/usr/lib/a.so", id_a, sizeof(id_a)};
static const struct rtd_symbol_module module_b = {"/usr/lib/a.so", id_b, sizeof(id_b)};
static const struct rtd_symbol_frame two_frames[] = {{"inner", "a.c", 7, true},
                                                     {"outer", "a.c", 20, false}};

static void an_unknown_address_is_not_an_empty_one(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    size_t count = 9;

    (void)state;
    assert_null(rtd_symbol_table_get(table, &module_a, 16, &count));
    assert_int_equal(count, 0);
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 16, NULL, 0), 1);
    assert_non_null(rtd_symbol_table_get(table, &module_a, 16, &count));
    assert_int_equal(count, 0);
    assert_null(rtd_symbol_table_get(table, &module_a, 17, &count));
    rtd_symbol_table_free(table);
}

static void frames_come_back_as_they_went_in(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    size_t count = 0;

    (void)state;
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 16, two_frames, 2), 1);
    const struct rtd_symbol_frame *frames = rtd_symbol_table_get(table, &module_a, 16, &count);
    assert_int_equal(count, 2);
    assert_string_equal(frames[0].function, "inner");
    assert_true(frames[0].inlined);
    assert_string_equal(frames[1].function, "outer");
    assert_int_equal(frames[1].line, 20);
    assert_false(frames[1].inlined);
    assert_ptr_equal(frames[0].file, frames[1].file);
    rtd_symbol_table_free(table);
}

static void modules_differ_by_build_id(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    size_t count = 0;

    (void)state;
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 16, two_frames, 2), 1);
    assert_null(rtd_symbol_table_get(table, &module_b, 16, &count));
    assert_int_equal(rtd_symbol_table_add(table, &module_b, 16, two_frames + 1, 1), 1);
    assert_string_equal(rtd_symbol_table_get(table, &module_b, 16, &count)->function, "outer");
    rtd_symbol_table_free(table);
}

static void the_first_answer_stays_unless_it_was_empty(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    size_t count = 0;

    (void)state;
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 1, NULL, 0), 1);
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 1, two_frames, 2), 1);
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 1, two_frames, 1), 0);
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 1, NULL, 0), 0);
    (void)rtd_symbol_table_get(table, &module_a, 1, &count);
    assert_int_equal(count, 2);
    rtd_symbol_table_free(table);
}

struct walk {
    uint64_t sum;
    unsigned seen, stop_after;
};

static int add_up(void *context, const struct rtd_symbol_entry *entry)
{
    struct walk *walk = context;

    walk->sum += entry->offset;
    walk->seen++;
    assert_string_equal(entry->module->path, "/usr/lib/a.so");
    return walk->stop_after == walk->seen ? 77 : 0;
}

static void a_walk_shows_each_entry_once_and_can_continue(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    struct walk walk = {0};

    (void)state;
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(
            rtd_symbol_table_add(table, &module_a, i, i == 3 ? NULL : two_frames, i == 3 ? 0 : 1),
            1);
    assert_int_equal(rtd_symbol_table_each(table, 0, add_up, &walk), 0);
    assert_int_equal(walk.sum, 55);
    const size_t known = rtd_symbol_table_count(table);
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 3, two_frames, 2), 1);
    walk = (struct walk){0};
    assert_int_equal(rtd_symbol_table_each(table, known, add_up, &walk), 0);
    assert_int_equal(walk.sum, 3);
    walk = (struct walk){0};
    assert_int_equal(rtd_symbol_table_each(table, 0, add_up, &walk), 0);
    assert_int_equal(walk.sum, 55);
    assert_int_equal(walk.seen, 10);
    walk = (struct walk){.stop_after = 4};
    assert_int_equal(rtd_symbol_table_each(table, 0, add_up, &walk), 77);
    assert_int_equal(walk.seen, 4);
    rtd_symbol_table_free(table);
}

static void what_was_handed_out_stays_in_place(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    size_t count = 0;

    (void)state;
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 1, two_frames, 2), 1);
    const struct rtd_symbol_frame *first = rtd_symbol_table_get(table, &module_a, 1, &count);
    for (unsigned i = 2; i < 50000; i++) {
        char name[32];
        const struct rtd_symbol_frame frame = {name, "b.c", i, false};

        (void)snprintf(name, sizeof(name), "function_%u", i);
        assert_int_equal(rtd_symbol_table_add(table, &module_a, i, &frame, 1), 1);
    }
    assert_ptr_equal(first, rtd_symbol_table_get(table, &module_a, 1, &count));
    assert_string_equal(first->function, "inner");
    assert_string_equal(rtd_symbol_table_get(table, &module_a, 31337, &count)->function,
                        "function_31337");
    rtd_symbol_table_free(table);
}

static void beyond_the_limit_is_refused_and_counted(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    size_t count = 0;
    int result = 1;

    (void)state;
    for (size_t i = 0; i <= RTD_SYMBOL_TABLE_ENTRIES && result == 1; i++)
        result = rtd_symbol_table_add(table, &module_a, i, NULL, 0);
    assert_int_equal(result, -ENOSPC);
    assert_int_equal(rtd_symbol_table_overflow_count(table), 1);
    assert_int_equal(rtd_symbol_table_count(table), RTD_SYMBOL_TABLE_ENTRIES);
    assert_true(rtd_symbol_table_bytes(table) <= RTD_SYMBOL_TABLE_BYTES);
    assert_non_null(rtd_symbol_table_get(table, &module_a, 12345, &count));
    rtd_symbol_table_free(table);
}

static void texts_beyond_the_byte_limit_are_refused_and_counted(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    char *name = malloc(8001);
    int result = 1;

    (void)state;
    memset(name, 'x', 8000);
    name[8000] = '\0';
    for (unsigned i = 0; i < 100000 && result == 1; i++) {
        const struct rtd_symbol_frame frame = {name, "", 0, false};

        (void)snprintf(name, 16, "%u", i);
        name[strlen(name)] = 'y';
        result = rtd_symbol_table_add(table, &module_a, i, &frame, 1);
    }
    assert_int_equal(result, -ENOSPC);
    assert_true(rtd_symbol_table_bytes(table) <= RTD_SYMBOL_TABLE_BYTES);
    free(name);
    rtd_symbol_table_free(table);
}

static void bad_arguments_are_refused(void **state)
{
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    const struct rtd_symbol_module no_path = {NULL, NULL, 0};
    const struct rtd_symbol_module long_id = {"/x", id_a, RTD_SYMBOL_BUILD_ID_BYTES + 1};
    struct rtd_symbol_frame many[RTD_SYMBOL_FRAMES + 5];
    size_t count = 0;

    (void)state;
    assert_int_equal(rtd_symbol_table_add(table, &no_path, 1, NULL, 0), -EINVAL);
    assert_int_equal(rtd_symbol_table_add(table, &long_id, 1, NULL, 0), -EINVAL);
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 1, NULL, 1), -EINVAL);
    for (size_t i = 0; i < RTD_SYMBOL_FRAMES + 5; i++)
        many[i] = (struct rtd_symbol_frame){NULL, NULL, 1, false};
    assert_int_equal(rtd_symbol_table_add(table, &module_a, 1, many, RTD_SYMBOL_FRAMES + 5), 1);
    assert_string_equal(rtd_symbol_table_get(table, &module_a, 1, &count)->file, "");
    assert_int_equal(count, RTD_SYMBOL_FRAMES);
    rtd_symbol_table_free(table);
    rtd_symbol_table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_address_is_not_an_empty_one),
        cmocka_unit_test(frames_come_back_as_they_went_in),
        cmocka_unit_test(modules_differ_by_build_id),
        cmocka_unit_test(the_first_answer_stays_unless_it_was_empty),
        cmocka_unit_test(a_walk_shows_each_entry_once_and_can_continue),
        cmocka_unit_test(what_was_handed_out_stays_in_place),
        cmocka_unit_test(beyond_the_limit_is_refused_and_counted),
        cmocka_unit_test(texts_beyond_the_byte_limit_are_refused_and_counted),
        cmocka_unit_test(bad_arguments_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
