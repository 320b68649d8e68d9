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

#include "agent/unwind.h"

/*
 * __builtin_frame_address(0) makes the compiler keep a frame pointer in the using function; below
 * it the x86-64 ABI has the caller's frame pointer and the return address.
 */
#define RTD_CALLER_FRAME()                                                                         \
    ((struct rtd_unwind_frame){                                                                    \
        .pc = ((const uintptr_t *)__builtin_frame_address(0))[1],                                  \
        .sp = (uintptr_t)__builtin_frame_address(0) + 2 * sizeof(uintptr_t),                       \
        .fp = ((const uintptr_t *)__builtin_frame_address(0))[0],                                  \
    })

#endif
