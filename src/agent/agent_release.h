// SPDX-License-Identifier: Apache-2.0
/*
 * agent_release.h - makes the program's allocator give free memory back when an operator asks.
 *
 * Runs in:    agent (slow paths, on the way out), any thread
 * Threads:    one thread claims a request; see ledger_request.h
 * Allocates:  never itself; the allocator may do as it likes
 * Fails:      by leaving the request where it is, or by saying so in the ledger
 *
 * Where it is looked at: where a slow path ends that is rare anyway (a sampled allocation or free,
 * in exact mode one that is not plain), so that the paths that are not rare pay nothing. There this
 * thread has made no call of the allocator that has not returned, and holds nothing of the agent's.
 *
 * Where it is left to another moment or thread:
 *   - inside another slow path (`guard`), which a signal handler or the allocator itself entered;
 *   - below a frame of the allocator's own, which may hold its locks (a library that is not libc);
 *   - on a stack that is not the thread's own (coroutines, signal stacks) or is nearly used up;
 *   - in the child of a vfork(), which shares memory and ledger with its parent;
 *   - in the child of a fork() that has no ledger of its own;
 *   - under a filter of system calls, which may kill who makes the ones that this takes.
 */
#ifndef RTD_AGENT_RELEASE_H
#define RTD_AGENT_RELEASE_H

#include "agent/agent_state.h"
#include "ledger/ledger_request.h"

/* Finds the allocator's function; before the agent records. */
void rtd_release_begin(void);

/* Serves the pending request if this is the place. errno is preserved. */
void rtd_release_serve(struct rtd_ledger *ledger);

/* At the end of a slow path, with nothing held. */
static inline void rtd_release_if_asked(struct rtd_ledger *ledger)
{
    if (RTD_UNLIKELY(rtd_request_is_pending(&ledger->header)))
        rtd_release_serve(ledger);
}

#endif
