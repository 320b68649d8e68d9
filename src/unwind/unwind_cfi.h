// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_cfi.h - runs a CFI program up to one pc and reduces the row to a rule.
 *
 * Runs in:    agent (slow path, first sight of a pc), tests, fuzzers
 * Threads:    no state
 * Allocates:  never; no call, no lock; a few hundred bytes of stack
 * Fails:      by the rule NONE: whatever is malformed, unusual or too long is not followed
 */
#ifndef RTD_AGENT_UNWIND_CFI_H
#define RTD_AGENT_UNWIND_CFI_H

#include "unwind/unwind_image.h"
#include "unwind/unwind_rule.h"

/*
 * Instructions run for one pc. gcc writes one for every pushed argument, so a function of thousands
 * of calls has many: more than 4096 stand before the end of c_common_nodes_and_builtins() of cc1.
 */
#define RTD_UNWIND_CFI_MAX_OPS 65535

/* Nested DW_CFA_remember_state; compilers use one. */
#define RTD_UNWIND_CFI_MAX_DEPTH 2

/*
 * The rule in force at pc, which must lie in the program's function. For a call frame pc is the
 * return address minus one, for an interrupted frame the pc itself. The image bounds every read
 * of an expression. Time is bounded by RTD_UNWIND_CFI_MAX_OPS.
 */
void rtd_unwind_cfi_run(const struct rtd_unwind_image *image,
                        const struct rtd_unwind_program *program, uintptr_t pc,
                        struct rtd_unwind_rule *rule);

#endif
