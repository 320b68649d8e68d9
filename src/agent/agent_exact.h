// SPDX-License-Identifier: Apache-2.0
/*
 * agent_exact.h - exact mode: the functions that the hooks lead to instead of the allocator's.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    see agent_count.h and agent_shadow.h
 * Allocates:  what the program asked for
 * Fails:      as the real function does; errno is the real function's
 */
#ifndef RTD_AGENT_EXACT_H
#define RTD_AGENT_EXACT_H

#include "agent/agent_state.h"
#include "ledger/ledger_exact.h"

#include <stdbool.h>

/*
 * Fills the agent's half of an empty exact ledger and leads rtd_route here. In the constructor,
 * and in the child handler of fork(); ready is published after it.
 */
void rtd_exact_begin(struct rtd_ledger *ledger);

/* Sets the calling thread up for the ledger in use, if it is not. False: pass through. */
bool rtd_exact_may_record(struct rtd_thread_state *state);

#endif
