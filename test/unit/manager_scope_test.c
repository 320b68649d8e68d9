// SPDX-License-Identifier: Apache-2.0
/*
 * manager_scope_test.c - scopes in a program with libriptide and without an agent.
 *
 * Runs in:    the unit tests
 * Threads:    two in one test
 * Allocates:  no
 * Fails:      by a failed assertion
 */
#include "manager/manager_scope.h"

#include "riptide/tags.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static char component[RTD_TAG_NAME_BYTES], operation[RTD_TAG_NAME_BYTES];

static void scope_is_in_force_until_its_block_ends(void **state)
{
    (void)state;
    assert_int_equal(rtd_scope_get(), 0);
    {
        RIPTIDE_SCOPE("extraction", "parse_html");
        const uint32_t outer = rtd_scope_get();
        assert_int_equal(rtd_scope_names(outer, component, operation), 0);
        assert_string_equal(component, "extraction");
        assert_string_equal(operation, "parse_html");
        {
            RIPTIDE_SCOPE("renderer", "draw");
            assert_int_not_equal(rtd_scope_get(), outer);
        }
        assert_int_equal(rtd_scope_get(), outer);
    }
    assert_int_equal(rtd_scope_get(), 0);
}

static void same_names_have_the_same_tag(void **state)
{
    (void)state;
    const uint32_t tag = riptide_scope_tag("same", "names");
    assert_true(tag >= RTD_TAG_FIRST);
    assert_int_equal(riptide_scope_tag("same", "names"), tag);
    assert_int_not_equal(riptide_scope_tag("same", "name"), tag);
    assert_int_not_equal(riptide_scope_tag("samen", "ames"), tag);
}

static void names_may_be_null_empty_long_or_no_text(void **state)
{
    char long_name[200];
    (void)state;
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    /* A character of two bytes would be cut in its middle. */
    memcpy(long_name + RTD_TAG_NAME_BYTES - 2, "\xc3\xa9", 2);

    const uint32_t none = riptide_scope_tag(NULL, NULL);
    assert_int_equal(rtd_scope_names(none, component, operation), 0);
    assert_string_equal(component, "");
    assert_int_equal(riptide_scope_tag("", ""), none);

    const uint32_t cut = riptide_scope_tag(long_name, "\xff\xfe\n");
    assert_int_equal(rtd_scope_names(cut, component, operation), 0);
    assert_int_equal(strlen(component), RTD_TAG_NAME_BYTES - 2);
    assert_string_equal(operation, "\xff\xfe\n");
}

static void tag_travels_with_its_task(void **state)
{
    struct riptide_scope here;
    (void)state;
    uint32_t captured;
    {
        RIPTIDE_SCOPE("task", "begin");
        captured = riptide_scope_capture();
        assert_int_equal(rtd_scope_get(), captured);
    }
    RIPTIDE_SCOPE("scheduler", "run");
    const uint32_t scheduler = rtd_scope_get();
    riptide_scope_adopt(captured, &here);
    assert_int_equal(rtd_scope_get(), captured);
    riptide_scope_restore(&here);
    assert_int_equal(rtd_scope_get(), scheduler);
}

static void *other_thread(void *argument)
{
    struct riptide_scope scope;
    uint32_t *const seen = argument;
    seen[0] = rtd_scope_get();
    riptide_scope_push(&scope, riptide_scope_tag("thread", "other"));
    seen[1] = rtd_scope_get();
    return NULL;
}

static void scope_belongs_to_its_thread(void **state)
{
    uint32_t seen[2] = {99, 99};
    pthread_t thread;
    (void)state;
    RIPTIDE_SCOPE("thread", "this");
    const uint32_t own = rtd_scope_get();
    assert_int_equal(pthread_create(&thread, NULL, other_thread, seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(seen[0], 0);
    assert_int_not_equal(seen[1], own);
    assert_int_equal(rtd_scope_get(), own);
}

static void tag_that_is_none_counts_as_other(void **state)
{
    struct riptide_scope scope;
    (void)state;
    riptide_scope_push(&scope, UINT32_MAX);
    assert_int_equal(rtd_scope_get(), RTD_TAG_OTHER);
    riptide_scope_pop(&scope);
    assert_int_equal(rtd_scope_names(0, component, operation), -ENOENT);
    assert_int_equal(rtd_scope_names(RTD_TAG_COUNT, component, operation), -ENOENT);
    assert_int_equal(rtd_scope_names(RTD_TAG_COUNT - 1, component, operation), -ENOENT);
    assert_int_equal(rtd_scope_names(RTD_TAG_OTHER, component, operation), 0);
    assert_string_equal(component, "other");
    assert_string_equal(operation, "");
}

/* Last: it fills the table of this process. */
static void names_beyond_the_table_are_other(void **state)
{
    char name[16];
    uint32_t tag = 0;
    (void)state;
    for (int i = 0; i < RTD_TAG_COUNT; i++) {
        (void)snprintf(name, sizeof name, "c%d", i);
        tag = riptide_scope_tag(name, "many");
    }
    assert_int_equal(tag, RTD_TAG_OTHER);
    assert_true(riptide_scope_tag("c0", "many") >= RTD_TAG_FIRST);
    assert_int_equal(rtd_scope_names(RTD_TAG_COUNT - 1, component, operation), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scope_is_in_force_until_its_block_ends),
        cmocka_unit_test(same_names_have_the_same_tag),
        cmocka_unit_test(names_may_be_null_empty_long_or_no_text),
        cmocka_unit_test(tag_travels_with_its_task),
        cmocka_unit_test(scope_belongs_to_its_thread),
        cmocka_unit_test(tag_that_is_none_counts_as_other),
        cmocka_unit_test(names_beyond_the_table_are_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
