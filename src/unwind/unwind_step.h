// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_step.h - one step of a walk, for walks that look at more than return addresses.
 *
 * Runs in:    agent (slow path), any thread, also inside signal handlers
 * Threads:    reads the calling thread's stack and the shared rule cache; no lock
 * Allocates:  never
 * Fails:      by an enum value that ends the walk
 */
#ifndef RTD_AGENT_UNWIND_STEP_H
#define RTD_AGENT_UNWIND_STEP_H

#include "unwind/unwind.h"

/* A place of rbp that no check of a slot lets pass: its value is not known. */
#define RTD_UNWIND_LOST_SLOT 1

/* What a step moves. */
struct rtd_unwind_walk {
    struct rtd_unwind_bounds bounds;
    uintptr_t sp;
    uintptr_t key;      /* the cache's key of the frame at sp: pc, or pc + 1 when interrupted */
    uintptr_t fp_slot;  /* where the frame's rbp is saved; 0 = fp_value is it */
    uintptr_t fp_value; /* rbp while no frame has saved it */
    uint64_t generation;
    uint64_t entry; /* the rule that the last step followed */
};

enum rtd_unwind_step {
    RTD_UNWIND_STEP_CALL,   /* sp is the CFA, the next pc lies below it */
    RTD_UNWIND_STEP_SIGNAL, /* sp and key are those of the interrupted frame */
    RTD_UNWIND_STEP_COMPLETE,
    RTD_UNWIND_STEP_NO_RULE,
    RTD_UNWIND_STEP_BOUNDS,
};

/*
 * Moves from the frame in *walk to its caller. first: what stands at the key's own place in the
 * rule cache, which may be another pc's. On an ending step *walk is as before but for its entry.
 */
__attribute__((noinline, visibility("hidden"))) enum rtd_unwind_step
rtd_unwind_step(struct rtd_unwind_walk *walk, uint64_t first);

/* The rbp of the frame in *walk; false when it is not known. */
__attribute__((visibility("hidden"))) bool rtd_unwind_step_fp(const struct rtd_unwind_walk *walk,
                                                              uintptr_t *fp);

#endif
