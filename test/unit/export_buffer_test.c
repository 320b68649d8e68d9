// SPDX-License-Identifier: Apache-2.0
/*
 * export_buffer_test.c - the growing buffer, UTF-8 repair and the JSON writer.
 *
 * Runs in:    unit tests
 * Threads:    one
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

#include "../support/support_skip.h"
#include "export/export_buffer.h"

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void buffer_grows_without_losing_a_byte(void **state)
{
    struct rtd_buffer buffer;
    size_t length = 0;
    (void)state;

    rtd_buffer_init(&buffer);
    for (unsigned i = 0; i < 100000; i++)
        rtd_buffer_putc(&buffer, (char)('a' + i % 26));
    char *const text = rtd_buffer_take(&buffer, &length);
    assert_int_equal(length, 100000);
    assert_int_equal(strlen(text), 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(text[i], 'a' + i % 26);
    free(text);
}

static void formatted_text_may_be_longer_than_the_scratch_area(void **state)
{
    struct rtd_buffer buffer;
    (void)state;

    rtd_buffer_init(&buffer);
    rtd_buffer_printf(&buffer, "%5000d|%s", 7, "end");
    assert_int_equal(buffer.length_bytes, 5004);
    assert_string_equal(rtd_buffer_get(&buffer) + 4999, "7|end");
    rtd_buffer_fini(&buffer);
}

static void an_empty_buffer_gives_an_empty_text(void **state)
{
    struct rtd_buffer buffer;
    size_t length = 9;
    (void)state;

    rtd_buffer_init(&buffer);
    assert_string_equal(rtd_buffer_get(&buffer), "");
    char *const text = rtd_buffer_take(&buffer, &length);
    assert_non_null(text);
    assert_int_equal(length, 0);
    free(text);
}

static void impossible_sizes_fail_and_stay_failed(void **state)
{
    struct rtd_buffer buffer;
    size_t length = 0;
    (void)state;

    rtd_buffer_init(&buffer);
    rtd_buffer_append(&buffer, "x", SIZE_MAX / 2);
    assert_true(rtd_buffer_failed(&buffer));
    rtd_buffer_puts(&buffer, "more");
    assert_null(rtd_buffer_take(&buffer, &length));
}

static unsigned count_replacements(const char *text)
{
    unsigned count = 0;

    for (uint32_t code = rtd_utf8_next(&text); code; code = rtd_utf8_next(&text))
        count += code == RTD_UTF8_REPLACEMENT;
    return count;
}

static void wrong_utf8_becomes_replacement_characters(void **state)
{
    const char *text = "\xf0\x9f\x8c\x8a";
    (void)state;

    assert_int_equal(rtd_utf8_next(&text), 0x1F30A);
    assert_int_equal(count_replacements("plain \xc3\xa9 \xe2\x82\xac"), 0);
    assert_int_equal(count_replacements("\xff"), 1);
    assert_int_equal(count_replacements("\xc0\xaf"), 2);         /* overlong */
    assert_int_equal(count_replacements("\xed\xa0\x80"), 3);     /* surrogate */
    assert_int_equal(count_replacements("\xf4\x90\x80\x80"), 4); /* beyond U+10FFFF */
    assert_int_equal(count_replacements("\xe2\x82"), 2);         /* cut by the end */
    assert_int_equal(count_replacements("\xe2\x41\x42"), 1);     /* the letters survive */
}

static void assert_double(double value, const char *expected)
{
    struct rtd_buffer buffer;

    rtd_buffer_init(&buffer);
    assert_true(rtd_buffer_put_double(&buffer, value));
    assert_string_equal(rtd_buffer_get(&buffer), expected);
    rtd_buffer_fini(&buffer);
}

static void numbers_are_short_and_read_back_the_same(void **state)
{
    (void)state;
    assert_double(0.1, "0.1");
    assert_double(64, "64");
    assert_double(-1.5e300, "-1.5e+300");
    assert_double(1.0 / 3, "0.3333333333333333");
}

/* Makes and sets a locale with a decimal comma, because none may be installed. */
static bool set_made_locale(const char *folder)
{
    char command[600];

    (void)snprintf(command, sizeof(command),
                   "cd '%s' && printf 'LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \"\"\n"
                   "grouping -1\nEND LC_NUMERIC\n' >comma.src && "
                   "localedef --force --inputfile=./comma.src ./comma >comma.log 2>&1; "
                   "test -s comma/LC_NUMERIC",
                   folder);
    return system(command) == 0 && setenv("LOCPATH", folder, 1) == 0 &&
           setlocale(LC_NUMERIC, "comma") != NULL;
}

static bool set_comma_locale(const char *folder)
{
    return setlocale(LC_NUMERIC, "de_DE.UTF-8") || setlocale(LC_NUMERIC, "fr_FR.UTF-8") ||
           set_made_locale(folder);
}

static void numbers_keep_the_point_in_every_locale(void **state)
{
    const char *const parent = getenv("TMPDIR");
    char folder[256], command[300];
    (void)state;

    (void)snprintf(folder, sizeof(folder), "%s/export-XXXXXX", parent ? parent : P_tmpdir);
    assert_non_null(mkdtemp(folder));
    const bool is_set = set_comma_locale(folder);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    if (!is_set)
        rtd_support_skip("no locale with a decimal comma, and localedef made none");
    assert_string_equal(localeconv()->decimal_point, ",");
    assert_double(12.75, "12.75");
    setlocale(LC_NUMERIC, "C");
}

static void json_writer_places_commas_and_closes_what_it_opened(void **state)
{
    struct rtd_buffer buffer;
    struct rtd_json json;
    (void)state;

    rtd_buffer_init(&buffer);
    rtd_json_init(&json, &buffer);
    rtd_json_object(&json, NULL);
    rtd_json_uint(&json, "u", INT64_MAX - UINT64_C(1));
    rtd_json_uint(&json, "cut", UINT64_MAX);
    rtd_json_int(&json, "i", INT64_MIN);
    rtd_json_array(&json, "a");
    rtd_json_bool(&json, NULL, true);
    rtd_json_object(&json, NULL);
    rtd_json_end(&json);
    rtd_json_null(&json, NULL);
    rtd_json_end(&json);
    rtd_json_string(&json, "s", "q\"b\\n\n\x01\x7f</a<!-<b");
    rtd_json_double(&json, "nan", (double)NAN);
    rtd_json_double(&json, "inf", (double)INFINITY);
    rtd_json_string(&json, "none", NULL);
    rtd_json_end(&json);
    assert_string_equal(
        rtd_buffer_get(&buffer),
        "{\"u\":9223372036854775806,\"cut\":9223372036854775807,\"i\":-9223372036854775808,\"a\":["
        "true,{},null],"
        "\"s\":\"q\\\"b\\\\n\\n\\u0001\\u007f\\u003c/a\\u003c!-<b\",\"nan\":null,\"inf\":null,"
        "\"none\":null}");
    rtd_buffer_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_grows_without_losing_a_byte),
        cmocka_unit_test(formatted_text_may_be_longer_than_the_scratch_area),
        cmocka_unit_test(an_empty_buffer_gives_an_empty_text),
        cmocka_unit_test(impossible_sizes_fail_and_stay_failed),
        cmocka_unit_test(wrong_utf8_becomes_replacement_characters),
        cmocka_unit_test(numbers_are_short_and_read_back_the_same),
        cmocka_unit_test(numbers_keep_the_point_in_every_locale),
        cmocka_unit_test(json_writer_places_commas_and_closes_what_it_opened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
