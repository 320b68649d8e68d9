// SPDX-License-Identifier: Apache-2.0
/*
 * support_shape.h - a ledger for the stack cache of exact mode, and what a walk says to compare.
 *
 * Runs in:    test processes
 * Threads:    the ledger is shared, all else is per thread
 * Allocates:  one sparse mapping
 * Fails:      check functions return false, after a line on stderr
 */
#ifndef RTD_TEST_SUPPORT_SHAPE_H
#define RTD_TEST_SUPPORT_SHAPE_H

#include "agent/agent_shape.h"

/* The ledger that support_shape_init() made. */
extern struct rtd_ledger *support_shape_ledger;

/* Maps a ledger and forgets all records; call again for an empty one. False: no memory. */
bool support_shape_init(void);

/* Gives the calling thread its block in the ledger. */
void support_shape_thread(uint32_t block);

/* The frame of the function that uses it, at this very instruction. */
#define SUPPORT_CAPTURE(frame)                                                                     \
    __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2"                       \
                     : "=r"((frame).pc), "=r"((frame).sp), "=r"((frame).fp))

/* Looks the frame up and compares the stack of its site with what rtd_unwind_walk() says. */
bool support_shape_check(const struct rtd_unwind_frame *frame);

/* The same, and with what libgcc says, whose frames from the second on must be those. */
bool support_shape_check_libgcc(const struct rtd_unwind_frame *frame);

uint64_t support_shape_misses(uint32_t block);
uint64_t support_shape_loss(enum rtd_loss loss);

#endif
