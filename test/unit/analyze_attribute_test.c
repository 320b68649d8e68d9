// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_attribute_test.c - which frames name a site.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  never
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_attribute.h"
#include "base/base_macros.h"

static enum rtd_frame_kind kind_of(const char *module, const char *function, const char *file)
{
    return rtd_attribute_frame(rtd_attribute_module(module), function, file);
}

static void modules_are_known_by_their_file_name(void **state)
{
    (void)state;
    assert_int_equal(rtd_attribute_module("/usr/lib/x86_64-linux-gnu/libc.so.6"),
                     RTD_FRAME_RUNTIME);
    assert_int_equal(rtd_attribute_module("/lib64/ld-linux-x86-64.so.2"), RTD_FRAME_RUNTIME);
    assert_int_equal(rtd_attribute_module("/usr/lib/libstdc++.so.6.0.30"), RTD_FRAME_RUNTIME);
    assert_int_equal(rtd_attribute_module("/usr/lib/libjemalloc.so.2"), RTD_FRAME_ALLOCATOR);
    assert_int_equal(rtd_attribute_module("/opt/riptide/libriptide-agent.so"), RTD_FRAME_AGENT);
    assert_int_equal(rtd_attribute_module("/usr/bin/redis-server"), RTD_FRAME_PROGRAM);
    assert_int_equal(rtd_attribute_module("/usr/lib/libcrypto.so.3"), RTD_FRAME_PROGRAM);
    assert_int_equal(rtd_attribute_module("?"), RTD_FRAME_PROGRAM);
}

static void library_code_in_the_program_is_runtime(void **state)
{
    static const char *const functions[] = {
        "operator new(unsigned long)",
        "operator new[](unsigned long, std::nothrow_t const&)",
        "std::vector<int, std::allocator<int> >::push_back(int const&)",
        "void std::vector<int, std::allocator<int> >::_M_realloc_insert<int>(int&&)",
        "std::basic_ostream<char>& std::operator<< <std::char_traits<char> >(char const*)",
        "__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)",
        "alloc::vec::Vec<T,A>::reserve",
        "<alloc::vec::Vec<T> as core::iter::traits::collect::FromIterator<T>>::from_iter",
        "<T as alloc::slice::hack::ConvertVec>::to_vec",
        "<str as alloc::string::ToString>::to_string",
        "__rust_alloc",
        "hashbrown::raw::RawTable<T,A>::reserve_rehash",
    };
    (void)state;
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(functions); i++) {
        if (kind_of("/opt/app", functions[i], NULL) != RTD_FRAME_RUNTIME)
            fail_msg("%s should be runtime", functions[i]);
    }
    assert_int_equal(kind_of("/opt/app", "grow", "/usr/include/c++/12/bits/vector.tcc"),
                     RTD_FRAME_RUNTIME);
    assert_int_equal(kind_of("/opt/app", "map", "/rustc/90b35a/library/core/src/option.rs"),
                     RTD_FRAME_RUNTIME);
}

static void the_programs_own_code_names(void **state)
{
    static const char *const functions[] = {
        "main",
        "load(std::string const&)",
        "void load<std::vector<int> >(std::vector<int>&)",
        "app::Cache::insert(std::pair<int, int>)",
        "app::operator+(app::Text const&, app::Text const&)",
        "app::Pool::operator new(unsigned long)",
        "(anonymous namespace)::fill(int)",
        "<app::Parser as core::str::FromStr>::from_str",
        "<app::List<T> as core::clone::Clone>::clone",
        "stdio_open",
        "allocate",
        "malloc_wrapper",
        "mi_create",
    };
    (void)state;
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(functions); i++) {
        if (kind_of("/opt/app", functions[i], "/src/app.cc") != RTD_FRAME_PROGRAM)
            fail_msg("%s should be the program", functions[i]);
    }
    assert_int_equal(kind_of("/opt/app", NULL, NULL), RTD_FRAME_PROGRAM);
    /* Without inlined frames, as split DWARF has none, only the line is the library's. */
    assert_int_equal(kind_of("/opt/app", "app::fill()", "/usr/include/c++/12/bits/vector.tcc"),
                     RTD_FRAME_PROGRAM);
    assert_int_equal(kind_of("/opt/app", "main", "/usr/include/c++/12/bits/vector.tcc"),
                     RTD_FRAME_PROGRAM);
}

static void allocators_are_known_by_function_too(void **state)
{
    static const char *const functions[] = {"malloc",    "calloc",         "__libc_malloc",
                                            "je_malloc", "posix_memalign", "_int_malloc",
                                            "tc_malloc", "aligned_alloc"};
    (void)state;
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(functions); i++)
        assert_int_equal(kind_of("/lib/libc.so.6", functions[i], NULL), RTD_FRAME_ALLOCATOR);
    assert_int_equal(kind_of("/lib/libc.so.6", "strdup", NULL), RTD_FRAME_RUNTIME);
}

static void unfinished_names_do_no_harm(void **state)
{
    static const char *const names[] = {"", "<", "(", "operator", "a<b<c", ")))>>", " ", "<x as "};
    (void)state;
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(names); i++)
        (void)kind_of(names[i], names[i], names[i]);
    assert_string_equal(rtd_attribute_basename("/"), "/");
    assert_string_equal(rtd_attribute_basename("/a/b"), "b");
}

static void leading_hooks_and_allocators_go_but_never_the_whole_stack(void **state)
{
    const enum rtd_frame_kind usual[] = {RTD_FRAME_AGENT, RTD_FRAME_ALLOCATOR, RTD_FRAME_RUNTIME,
                                         RTD_FRAME_PROGRAM, RTD_FRAME_ALLOCATOR};
    const enum rtd_frame_kind only[] = {RTD_FRAME_AGENT, RTD_FRAME_ALLOCATOR};
    (void)state;
    assert_int_equal(rtd_attribute_leading(usual, 5), 2);
    assert_int_equal(rtd_attribute_named(usual, 5), 3);
    assert_int_equal(rtd_attribute_leading(only, 2), 0);
    assert_int_equal(rtd_attribute_named(only, 2), 0);
    assert_int_equal(rtd_attribute_named(only, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_are_known_by_their_file_name),
        cmocka_unit_test(library_code_in_the_program_is_runtime),
        cmocka_unit_test(the_programs_own_code_names),
        cmocka_unit_test(allocators_are_known_by_function_too),
        cmocka_unit_test(unfinished_names_do_no_harm),
        cmocka_unit_test(leading_hooks_and_allocators_go_but_never_the_whole_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
