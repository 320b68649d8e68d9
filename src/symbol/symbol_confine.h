// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_confine.h - takes everything from a process that a parser does not need.
 *
 * Runs in:    symbol worker
 * Threads:    before any other thread exists
 * Allocates:  never
 * Fails:      never; what the kernel does not offer is told by the result
 */
#ifndef RTD_SYMBOL_CONFINE_H
#define RTD_SYMBOL_CONFINE_H

/*
 * Own session, no new privileges, tight resource limits, and a system call filter that allows
 * memory, reading and the socket; it cannot be undone. Returns 1 when the filter is in force, 0
 * when only the rest is (kernel without seccomp, or a build with a sanitizer, which needs more
 * system calls).
 */
int rtd_symbol_confine(void);

#endif
