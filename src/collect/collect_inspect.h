// SPDX-License-Identifier: Apache-2.0
/*
 * collect_inspect.h - can this program be observed, and if not, why, in words.
 *
 * Runs in:    collector, `riptide run` before the start, `riptide doctor`
 * Threads:    no state
 * Allocates:  what rtd_symbol_elf_inspect() needs while it runs
 * Fails:      by a negative errno when the file cannot be looked at
 *
 * Why before the start: a static or privileged program ignores what is preloaded without a word,
 * and a program built with a sanitizer dies of it. Both must be said and not found out.
 */
#ifndef RTD_COLLECT_INSPECT_H
#define RTD_COLLECT_INSPECT_H

#include "symbol/symbol_elf.h"

#include <stdbool.h>

enum { RTD_CHECK_MAX = 12, RTD_CHECK_TEXT_BYTES = 512 };

/* The id of the check that fails when the kernel could not start the program either. */
#define RTD_CHECK_INTERPRETER "interpreter"

enum rtd_check_result { RTD_CHECK_OK, RTD_CHECK_WARN, RTD_CHECK_FAIL };

struct rtd_check {
    const char *id; /* stable snake_case name */
    enum rtd_check_result result;
    char text[RTD_CHECK_TEXT_BYTES];   /* what was found, one clause */
    char remedy[RTD_CHECK_TEXT_BYTES]; /* "" when there is nothing to do */
};

struct rtd_program_checks {
    char path[PATH_MAX]; /* the program that is really loaded: a script's interpreter */
    struct rtd_symbol_elf elf;
    unsigned count;
    struct rtd_check checks[RTD_CHECK_MAX];
    const struct rtd_check *failed; /* the first that forbids observation, or NULL; points inside */
    const struct rtd_check *warned; /* the first that limits it, or NULL; points inside */
};

/*
 * Looks at path, following scripts to their interpreter, and fills *out, which must stay where it
 * is. Returns 0, or a negative errno when path (or an interpreter) cannot be opened; out->path then
 * names the file.
 */
int rtd_collect_check_program(const char *path, struct rtd_program_checks *out);

#endif
