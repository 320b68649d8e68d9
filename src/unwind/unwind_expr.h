// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_expr.h - evaluates a DWARF expression as far as it is "register + constant".
 *
 * Runs in:    agent (slow path, first sight of a pc), tests, fuzzers
 * Threads:    no state
 * Allocates:  never
 * Fails:      with -ENOTSUP: anything that is not of that form is not followed
 *
 * Why symbolically: a rule is cached by pc, and at one pc the expressions of real code (the lazy
 * PLT, realigned frames, the signal return) are all of the form reg + c or *(reg + c).
 */
#ifndef RTD_AGENT_UNWIND_EXPR_H
#define RTD_AGENT_UNWIND_EXPR_H

#include <stdbool.h>

#include "base/base_macros.h"

/* DWARF register numbers of x86-64. */
enum {
    RTD_UNWIND_REG_RBP = 6,
    RTD_UNWIND_REG_RSP = 7,
    RTD_UNWIND_REG_RIP = 16,
    RTD_UNWIND_REG_NONE = 0xff, /* a plain constant */
};

/* The value reg + offset, or what memory holds at that address. */
struct rtd_unwind_linear {
    int64_t offset;
    uint8_t reg;
    bool is_deref;
};

/*
 * Evaluates the block at expression (a ULEB128 size, then operations), never reading at or past
 * end. pc is the constant that rip stands for. Returns 0, -EBADMSG or -ENOTSUP.
 */
int rtd_unwind_expr_eval(const uint8_t *expression, const uint8_t *end, uintptr_t pc,
                         struct rtd_unwind_linear *result);

#endif
