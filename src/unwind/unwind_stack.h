// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_stack.h - how far the calling thread's stack may be read without a syscall.
 *
 * Runs in:    agent (slow path), any thread
 * Threads:    reads only the calling thread's own control block
 * Allocates:  never; no syscall, no lock; pthread_getattr_np() is called nowhere
 * Fails:      by returning narrow bounds: the rest of the page that holds sp
 */
#ifndef RTD_AGENT_UNWIND_STACK_H
#define RTD_AGENT_UNWIND_STACK_H

#include "unwind/unwind.h"

#include <stdbool.h>

/*
 * Called once at start-up in the first thread, before rtd_unwind_stack_bounds(). stack_limit_bytes
 * is RLIMIT_STACK as read at start (RLIM_INFINITY is capped inside).
 */
void rtd_unwind_stack_init(uintptr_t stack_limit_bytes);

/*
 * Readable bounds around sp for the calling thread: its own thread stack when sp lies in it (the
 * main stack up to __libc_stack_end, a pthread stack as its control block records it), else only
 * up to the end of the page that sp stands in (coroutines, signal stacks).
 */
struct rtd_unwind_bounds rtd_unwind_stack_bounds(uintptr_t sp);

/*
 * Whether sp stands on the calling thread's own stack or the main stack, and the range in which
 * any other sp would: from there up to high all memory is readable.
 */
bool rtd_unwind_stack_own(uintptr_t sp, struct rtd_unwind_bounds *bounds);

/* The calling thread's kernel thread id without a syscall; 0 when it cannot be read. */
uint32_t rtd_unwind_thread_id(void);

#endif
