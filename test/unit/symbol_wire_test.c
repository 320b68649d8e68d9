// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_wire_test.c - answers of a worker that may lie; names and paths as people read them.
 *
 * Runs in:    test
 * Threads:    one
 * Allocates:  yes
 * Fails:      with the line of the broken promise
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "symbol/symbol_name.h"
#include "symbol/symbol_wire.h"

static struct rtd_symbol_wire_answer answer;
static struct rtd_symbol_scratch scratch;

struct seen {
    unsigned records, frames;
    uint64_t text_bytes;
    uint32_t last_index;
};

static void look(void *context, uint32_t index, const struct rtd_symbol_frame *frames,
                 size_t frame_count)
{
    struct seen *seen = context;

    assert_true(index < 100);
    assert_true(frame_count <= RTD_SYMBOL_FRAMES);
    seen->records++;
    seen->last_index = index;
    for (size_t i = 0; i < frame_count; i++) {
        seen->frames++;
        seen->text_bytes += strlen(frames[i].function) + strlen(frames[i].file);
    }
}

static void a_record_survives_the_way(void **state)
{
    const struct rtd_symbol_frame frames[] = {{"a", "b.c", 3, true}, {"cd", "", 0, false}};
    struct seen seen = {0};

    (void)state;
    answer.bytes = 0;
    assert_int_equal(rtd_symbol_wire_append(&answer, 42, frames, 2), 0);
    assert_int_equal(rtd_symbol_wire_append(&answer, 43, NULL, 0), 0);
    assert_int_equal(rtd_symbol_wire_walk(&answer, 100, look, &seen), 0);
    assert_int_equal(seen.records, 2);
    assert_int_equal(seen.frames, 2);
    assert_int_equal(seen.text_bytes, 6);
    assert_int_equal(seen.last_index, 43);
}

static void a_full_part_says_so_and_a_huge_record_is_cut(void **state)
{
    struct rtd_symbol_frame frames[RTD_SYMBOL_FRAMES];
    static char text[9000];
    struct seen seen = {0};

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    for (size_t i = 0; i < RTD_SYMBOL_FRAMES; i++)
        frames[i] = (struct rtd_symbol_frame){text, text, 1, false};
    answer.bytes = 0;
    assert_int_equal(rtd_symbol_wire_append(&answer, 1, frames, RTD_SYMBOL_FRAMES), 0);
    assert_int_equal(rtd_symbol_wire_append(&answer, 2, frames, 1), -ENOSPC);
    assert_int_equal(rtd_symbol_wire_walk(&answer, 100, look, &seen), 0);
    assert_int_equal(seen.records, 1);
    assert_in_range(seen.frames, 6, RTD_SYMBOL_FRAMES - 1);
}

static void an_index_that_was_not_asked_is_refused(void **state)
{
    struct seen seen = {0};

    (void)state;
    answer.bytes = 0;
    assert_int_equal(rtd_symbol_wire_append(&answer, 5, NULL, 0), 0);
    assert_int_equal(rtd_symbol_wire_walk(&answer, 5, look, &seen), -EPROTO);
    answer.bytes = sizeof(answer.records) + 1;
    assert_int_equal(rtd_symbol_wire_walk(&answer, 5, look, &seen), -EPROTO);
    assert_int_equal(seen.records, 0);
}

static void a_lying_answer_is_never_read_beyond_its_end(void **state)
{
    const struct rtd_symbol_frame frames[] = {{"function", "file.c", 3, true},
                                              {"another", "other.c", 9, false}};
    struct rtd_symbol_wire_answer *copy = malloc(sizeof(*copy));

    (void)state;
    srandom(1);
    for (unsigned round = 0; round < 20000; round++) {
        struct seen seen = {0};

        answer.bytes = 0;
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(rtd_symbol_wire_append(&answer, i, frames, 2), 0);
        memcpy(copy, &answer, offsetof(struct rtd_symbol_wire_answer, records) + answer.bytes);
        for (unsigned i = 0; i < 1 + round % 4; i++)
            copy->records[(size_t)random() % answer.bytes] = (uint8_t)random();
        copy->bytes = answer.bytes - (uint32_t)random() % 8;
        (void)rtd_symbol_wire_walk(copy, 100, look, &seen);
        assert_true(seen.text_bytes <= 2 * (uint64_t)answer.bytes);
    }
    free(copy);
}

static const char *demangled(const char *name)
{
    scratch.used_bytes = 0;
    return rtd_symbol_name_demangle(&scratch, name);
}

static void names_of_three_languages_are_demangled(void **state)
{
    (void)state;
    assert_string_equal(demangled("_ZN3foo3barEiPKc"), "foo::bar(int, char const*)");
    assert_string_equal(demangled("_ZN4core3fmt9Formatter3pad17h05af221e174051e9E"),
                        "core::fmt::Formatter::pad");
    assert_string_equal(demangled("_RNvCs1234_7mycrate3foo"), "mycrate::foo");
    assert_string_equal(demangled("_Z3foov.part.0"), "foo() [clone .part.0]");
    assert_string_equal(demangled("plain_c"), "plain_c");
    assert_string_equal(demangled("_Znonsense"), "_Znonsense");
    assert_string_equal(demangled(""), "");
}

static void a_name_made_to_hurt_is_shown_as_it_is(void **state)
{
    static char name[100000];

    (void)state;
    memset(name, 'P', sizeof(name) - 1);
    memcpy(name, "_Z1f", 4);
    assert_ptr_equal(demangled(name), name);
    name[4000] = '\0';
    assert_true(strlen(demangled(name)) <= 4096);
    /* Each back reference doubles the result. */
    assert_true(strlen(demangled("_Z1fIiES_IS_S_ES0_IS0_S0_ES1_IS1_S1_ES2_IS2_S2_ES3_")) < 4096);
}

static const char *tidied(const char *directory, const char *path)
{
    scratch.used_bytes = 0;
    return rtd_symbol_path_tidy(&scratch, directory, path);
}

static void paths_are_joined_and_tidied(void **state)
{
    (void)state;
    assert_string_equal(tidied("/build/x", "../src/a.c"), "/build/src/a.c");
    assert_string_equal(tidied("/build/x", "/abs//./a.c"), "/abs/a.c");
    assert_string_equal(tidied("/a", "../../../b.c"), "/b.c");
    assert_string_equal(tidied(NULL, "../../b.c"), "../../b.c");
    assert_string_equal(tidied("", "a/../../b.c"), "../b.c");
    assert_string_equal(tidied("./malloc", "./malloc.c"), "malloc/malloc.c");
    assert_string_equal(tidied(NULL, ".."), "..");
    assert_string_equal(tidied("/", ".."), "/");
    assert_string_equal(tidied(NULL, ""), "");
    assert_string_equal(tidied(NULL, "a/..b/c..d/..."), "a/..b/c..d/...");
    scratch.used_bytes = sizeof(scratch.text) - 3;
    assert_string_equal(rtd_symbol_path_tidy(&scratch, "/long", "path"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_survives_the_way),
        cmocka_unit_test(a_full_part_says_so_and_a_huge_record_is_cut),
        cmocka_unit_test(an_index_that_was_not_asked_is_refused),
        cmocka_unit_test(a_lying_answer_is_never_read_beyond_its_end),
        cmocka_unit_test(names_of_three_languages_are_demangled),
        cmocka_unit_test(a_name_made_to_hurt_is_shown_as_it_is),
        cmocka_unit_test(paths_are_joined_and_tidied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
