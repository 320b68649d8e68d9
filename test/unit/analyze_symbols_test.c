// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_symbols_test.c - the symbols a report needs are asked for and found.
 *
 * Runs in:    tests, with the resolver's worker as a forked child
 * Threads:    one
 * Allocates:  a record, a table, a resolver and a report
 * Fails:      by a failed assertion
 */
#include "analyze_image.h"

#include "analyze/analyze_symbols.h"

#include <dlfcn.h>
#include <unistd.h>

/* Not static: its name is what is looked for. */
void *analyze_symbols_test_place(size_t size);

__attribute__((noinline)) void *analyze_symbols_test_place(size_t size)
{
    void *block = malloc(size);
    return block ? block : malloc(1);
}

static struct made record_of_ourselves(void)
{
    Dl_info info;
    struct made made = made_new(65536);
    const uint64_t place = (uint64_t)(uintptr_t)analyze_symbols_test_place;
    assert_true(dladdr((void *)(uintptr_t)place, &info) != 0);
    made_module(&made, "", (uint64_t)(uintptr_t)info.dli_fbase, 0);
    made.image->modules[0].end = made.image->modules[0].start + (UINT64_C(1) << 24);
    made.image->modules[0].build_id_bytes = 0;
    const ssize_t got = readlink("/proc/self/exe", made.record->meta.executable,
                                 sizeof made.record->meta.executable - 1);
    assert_true(got > 0);
    made.record->meta.executable[got] = '\0';
    made.record->meta.pid = (uint32_t)getpid();
    const uint64_t pcs[] = {place + 5, 0x1234, 0};
    made_birth(&made, made_site(&made, made_stack(&made, 0, pcs), 0), 1u << 20, 1, true);
    return made;
}

static void the_report_names_the_function_and_asks_once(void **state)
{
    (void)state;
    struct made made = record_of_ourselves();
    struct rtd_symbol_table *table = rtd_symbol_table_new(NULL);
    struct rtd_symbol_resolver *resolver = rtd_symbol_resolver_new(NULL, NULL);
    assert_non_null(table);
    assert_non_null(resolver);
    assert_int_equal(rtd_analyze_resolve(resolver, table, made.record), 1);
    assert_int_equal(rtd_symbol_table_count(table), 1);
    assert_int_equal(rtd_analyze_resolve(resolver, table, made.record), 0);
    rtd_symbol_resolver_free(resolver);
    struct rtd_report *report = made_report(&made, table);
    assert_string_equal(report->target->sites[0].function, "analyze_symbols_test_place");
    assert_string_equal(report->target->sites[0].operation, "analyze_symbols_test_place");
    rtd_report_free(report);
    rtd_symbol_table_free(table);
    made_free(&made);
}

static void a_blind_process_needs_no_symbols(void **state)
{
    (void)state;
    struct made made = made_new(65536);
    struct rtd_image *const image = made.image;
    made.record->image = NULL;
    assert_int_equal(rtd_analyze_resolve(NULL, NULL, made.record), 0);
    made.record->image = image;
    /* Nor does one that allocated nothing. */
    assert_int_equal(rtd_analyze_resolve(NULL, NULL, made.record), 0);
    made_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_report_names_the_function_and_asks_once),
        cmocka_unit_test(a_blind_process_needs_no_symbols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
