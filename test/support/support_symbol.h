// SPDX-License-Identifier: Apache-2.0
/*
 * support_symbol.h - a program with known addresses, and a resolver that is asked about it.
 *
 * Runs in:    unit tests of src/symbol; needs a C compiler and binutils at run time
 * Threads:    one
 * Allocates:  yes
 * Fails:      by an assertion of cmocka, in the test that called
 */
#ifndef RTD_SUPPORT_SYMBOL_H
#define RTD_SUPPORT_SYMBOL_H

#include "symbol/symbol_resolver.h"

#include <stdbool.h>

/* What the group's state points to: valid from the group's setup to its teardown. */
struct rtd_support_program {
    char directory[512]; /* everything a test makes goes here */
    char path[600];      /* built with debug information, of program.c beside it */
    char stripped[600];  /* the same without symbols */
    /* Offsets inside calls of leaf(): in inner() in middle() in outer(), inlined; in foo::bar(int).
     */
    uint64_t inlined_call, mangled_call;
};

/* Whether this machine has the tools; their versions go to stderr. */
bool rtd_support_has_tools(void);

/* Setup and teardown of a cmocka group: *state becomes a struct rtd_support_program. */
int rtd_support_program_make(void **state);
int rtd_support_program_remove(void **state);

/* Runs a shell command that is formatted first; the value of system(). */
int rtd_support_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A resolver, a table, and what the last question was answered: frames live as long as the table.
 */
struct rtd_support_answer {
    struct rtd_symbol_resolver *resolver;
    struct rtd_symbol_table *table;
    const struct rtd_symbol_frame *frames;
    size_t count;
    const struct rtd_symbol_stats *stats;
};

/* options may be NULL, as for rtd_symbol_resolver_new(). Ended by the function below. */
struct rtd_support_answer rtd_support_answer_start(const struct rtd_symbol_options *options);

/* Frees both, and asserts that no worker stays behind, not even as a zombie. */
void rtd_support_answer_finish(struct rtd_support_answer *answer);

/* Asks one question; the second form knows the module by its path alone. */
void rtd_support_ask(struct rtd_support_answer *answer, const struct rtd_symbol_request *request);
void rtd_support_ask_path(struct rtd_support_answer *answer, const char *path, uint64_t offset);

/* The answer for inlined_call: three frames, with their functions and lines. */
void rtd_support_assert_inline_chain(const struct rtd_support_answer *answer);

#endif
