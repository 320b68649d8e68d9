// SPDX-License-Identifier: Apache-2.0
/*
 * unwind.h - walks the calling thread's stack by its .eh_frame rules.
 *
 * Runs in:    agent (slow path of malloc), any thread, also inside signal handlers
 * Threads:    lock-free; the rule cache is shared by all threads
 * Allocates:  never; no syscall, no lock, at most a few hundred bytes of stack
 * Fails:      by returning fewer frames with a reason; never faults, never guesses a frame
 */
#ifndef RTD_AGENT_UNWIND_H
#define RTD_AGENT_UNWIND_H

#include "base/base_macros.h"

/* A frame about to be walked: values as they are right after its call instruction returned. */
struct rtd_unwind_frame {
    uintptr_t pc; /* the return address into this frame */
    uintptr_t sp; /* the stack pointer after the return */
    uintptr_t fp; /* the frame-pointer register (rbp), whatever it holds */
};

/* Memory that is known to be readable around sp: [low, high). */
struct rtd_unwind_bounds {
    uintptr_t low;
    uintptr_t high;
};

enum rtd_unwind_end {
    RTD_UNWIND_COMPLETE = 0, /* reached the outermost frame */
    RTD_UNWIND_DEPTH = 1,    /* max frames taken */
    RTD_UNWIND_NO_RULE = 2,  /* no usable unwind information for a pc */
    RTD_UNWIND_BOUNDS = 3, /* the next frame lies outside the bounds, or the stack does not grow */
};

/*
 * Stores return addresses, leaf first: pcs[0] = start.pc. Returns how many (>= 1 when max >= 1)
 * and sets *end. A result that does not end in RTD_UNWIND_COMPLETE is a correct prefix.
 */
unsigned rtd_unwind_walk(struct rtd_unwind_frame start, struct rtd_unwind_bounds bounds,
                         uintptr_t *pcs, unsigned max, enum rtd_unwind_end *end);

/* Forgets every cached rule; called after a dlclose(). Any thread, any time. */
void rtd_unwind_flush(void);

#endif
