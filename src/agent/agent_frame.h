// SPDX-License-Identifier: Apache-2.0
/*
 * agent_frame.h - the caller's frame of the function that uses it, where unwinding begins.
 *
 * Runs in:    agent (slow paths)
 * Threads:    stateless
 * Allocates:  never
 * Fails:      never
 */
#ifndef RTD_AGENT_FRAME_H
#define RTD_AGENT_FRAME_H

#include "unwind/unwind.h"

/*
 * __builtin_frame_address(0) makes the compiler keep a frame pointer in the using function; below
 * it the x86-64 ABI has the caller's frame pointer and the return address.
 */
#define RTD_CALLER_FRAME() RTD_FRAME_ABOVE((const uintptr_t *)__builtin_frame_address(0))

/* The same by the frame address of the function in question. */
#define RTD_FRAME_ABOVE(base)                                                                      \
    ((struct rtd_unwind_frame){                                                                    \
        .pc = (base)[1],                                                                           \
        .sp = (uintptr_t)((base) + 2),                                                             \
        .fp = (base)[0],                                                                           \
    })

#endif
