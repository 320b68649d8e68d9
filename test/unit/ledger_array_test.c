// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_array_test.c - arrays that move from the heap to mappings of their own as they grow.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  some megabytes, and an address space that is refused
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger/ledger_array.h"

#include <string.h>

static const size_t SIZES[] = {1, 100, 4096, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 1 << 24};

enum { SIZE_COUNT = sizeof(SIZES) / sizeof(SIZES[0]) };

static void assert_all(const unsigned char *bytes, size_t from, size_t to, unsigned char value)
{
    for (size_t i = from; i < to; i++)
        assert_int_equal(bytes[i], value);
}

static void what_was_there_stays_and_what_is_added_is_zero(void **state)
{
    unsigned char *array = NULL;
    size_t had = 0;
    (void)state;

    for (unsigned i = 0; i < SIZE_COUNT; i++) {
        array = rtd_array_grow(array, had, SIZES[i]);
        assert_non_null(array);
        assert_all(array, 0, had, 0xa5);
        assert_all(array, had, SIZES[i], 0);
        memset(array, 0xa5, SIZES[i]);
        had = SIZES[i];
    }
    rtd_array_free(array, had);
}

static void an_array_of_any_size_can_be_made_at_once_and_freed(void **state)
{
    (void)state;
    rtd_array_free(NULL, 0);
    for (unsigned i = 0; i < SIZE_COUNT; i++) {
        unsigned char *const array = rtd_array_grow(NULL, 0, SIZES[i]);
        assert_non_null(array);
        assert_all(array, 0, SIZES[i], 0);
        rtd_array_free(array, SIZES[i]);
    }
}

static void what_is_refused_leaves_the_array_as_it_was(void **state)
{
    const size_t sizes[] = {100, 1 << 20};
    (void)state;

    for (unsigned i = 0; i < 2; i++) {
        unsigned char *const array = rtd_array_grow(NULL, 0, sizes[i]);
        assert_non_null(array);
        memset(array, 0x5a, sizes[i]);
        assert_null(rtd_array_grow(array, sizes[i], (size_t)1 << 60));
        assert_all(array, 0, sizes[i], 0x5a);
        rtd_array_free(array, sizes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_there_stays_and_what_is_added_is_zero),
        cmocka_unit_test(an_array_of_any_size_can_be_made_at_once_and_freed),
        cmocka_unit_test(what_is_refused_leaves_the_array_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
