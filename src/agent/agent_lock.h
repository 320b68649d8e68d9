// SPDX-License-Identifier: Apache-2.0
/*
 * agent_lock.h - the agent's large and mostly untouched memory stays untouched.
 *
 * Runs in:    agent
 * Threads:    rtd_lock_keep_sparse() in the constructor; the hook of mlockall() in any thread
 * Allocates:  never
 * Fails:      never; a kernel that refuses leaves things as they were
 */
#ifndef RTD_AGENT_LOCK_H
#define RTD_AGENT_LOCK_H

/* Asks the kernel for no huge pages in the agent's tables, of which few words are ever used. */
void rtd_lock_keep_sparse(void);

#endif
