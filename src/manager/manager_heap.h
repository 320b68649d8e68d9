// SPDX-License-Identifier: Apache-2.0
/*
 * manager_heap.h - how a manager gets to see the heap of its own process.
 *
 * Runs in:    a program that links libriptide
 * Threads:    _open and _close in the thread that opens and closes; _keep in the manager's own
 * Allocates:  one ledger a process, for as long as the process lives
 * Fails:      by seeing nothing, with a reason
 *
 * Whose ledger? The agent in the process, if there is one, records into exactly one:
 *
 *   a collector's   `riptide run` watches. We are shown the ledger and only read it ("joined").
 *   ours            The first manager made it and gave it to the agent. It outlives the manager,
 *                   for the agent writes into it until the process ends. One manager at a time
 *                   keeps it: ticks its clock, adapts its interval, follows its mappings. When
 *                   that one closes, another takes over; the others only read.
 */
#ifndef RTD_MANAGER_HEAP_H
#define RTD_MANAGER_HEAP_H

#include "collect/collect_process.h"
#include "manager/manager_handle.h"

enum { RTD_HEAP_REASON_BYTES = 200 };

/* All zero and mode OFF before _open and after _close. Constant in between, but for keeps. */
struct rtd_manager_heap {
    uint32_t mode;                      /* enum riptide_heap_mode: OFF, SAMPLE or EXACT */
    bool joined;                        /* a collector keeps the ledger */
    bool is_own;                        /* the ledger is the one of this library */
    bool keeps;                         /* this manager keeps it; the manager's thread only */
    char reason[RTD_HEAP_REASON_BYTES]; /* why mode is OFF, or another than asked for; or "" */
};

/* Finds or begins a ledger as the options say and lends it to the process. */
void rtd_manager_heap_open(struct rtd_manager_heap *heap, const struct riptide_options *options,
                           struct rtd_collect_process *process);

/* Takes the ledger from the process again, and leaves its keeping to the next. */
void rtd_manager_heap_close(struct rtd_manager_heap *heap, struct rtd_collect_process *process);

/*
 * True when this manager keeps the ledger, from now on if nobody did. The manager's thread, with
 * the lock held that guards what a tick changes in the process.
 */
bool rtd_manager_heap_keep(struct rtd_manager_heap *heap, struct rtd_collect_process *process);

/*
 * Another value than before when other threads than this one allocated or freed in between, as far
 * as the ledger shows it without being read: in sampling mode, what came to a sample; in exact
 * mode, all but what left each thread's balance and its counts of 1 KiB and more as they were.
 */
uint64_t rtd_manager_heap_print(const struct rtd_manager_heap *heap,
                                const struct rtd_collect_process *process);

/* Around a fork: the child has no ledger, its agent passes through. */
void rtd_manager_heap_before_fork(void);
void rtd_manager_heap_after_fork(bool is_child);

#endif
