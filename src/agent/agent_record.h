// SPDX-License-Identifier: Apache-2.0
/*
 * agent_record.h - what sampling writes to the ledger, and the bracket around a slow path.
 *
 * Runs in:    agent (slow paths), any thread, also inside signal handlers
 * Threads:    lock-free; a thread state belongs to its thread
 * Allocates:  never
 * Fails:      by counting the loss in the ledger
 */
#ifndef RTD_AGENT_RECORD_H
#define RTD_AGENT_RECORD_H

#include "agent/agent_state.h"
#include "unwind/unwind.h"

/*
 * The ledger to sample into, or NULL: no ledger yet, none any more, a child without one, or one of
 * exact mode, where nothing is sampled.
 */
struct rtd_ledger *rtd_record_ledger(void);

/*
 * Called when the countdown borrowed. Returns the ledger when this allocation is to be sampled
 * (rtd_record_leave() must follow), NULL when it is to be passed through. sp: the caller's stack.
 */
struct rtd_ledger *rtd_record_enter(struct rtd_thread_state *state, size_t size, uintptr_t sp);

/* Draws the next distance. size: what the sampled allocation asked for. */
void rtd_record_leave(struct rtd_ledger *ledger, struct rtd_thread_state *state, size_t size);

/* Between enter and leave: lists the marked block with its stack and tag. */
void rtd_record_birth(struct rtd_ledger *ledger, struct rtd_thread_state *state, const void *block,
                      size_t size, struct rtd_unwind_frame frame);

/*
 * Id of the stack that frame begins, 0 when it could not be taken (counted). The caller has muted
 * this thread: state->guard is set.
 */
uint32_t rtd_record_stack(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                          struct rtd_unwind_frame frame);

/* Counts the end of a sample that was taken out of the table. */
void rtd_record_death(struct rtd_ledger *ledger, const struct rtd_thread_state *state,
                      const struct rtd_sample_value *value);

/* In the child of a fork: takes back what the parent's other threads held. */
void rtd_record_forked(void);

/* Repairs a guard that was left behind by a longjmp out of a slow path. sp: the current stack. */
void rtd_record_repair(struct rtd_ledger *ledger, struct rtd_thread_state *state, uintptr_t sp);

#endif
