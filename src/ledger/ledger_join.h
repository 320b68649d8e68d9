// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_join.h - what libriptide asks of the agent in its own process, if there is one.
 *
 * Runs in:    a program that links libriptide (asks); agent, preloaded or linked (answers)
 * Threads:    any, unless it says otherwise
 * Allocates:  never
 * Fails:      by a negative errno; without an agent every function here is null
 *
 * The references are weak, so that libriptide works without an agent. They lead to the agent whose
 * malloc() is the process's: both are found by the same order of search. With an agent linked
 * statically into the program, libriptide must be linked into it as well, or named when it is
 * linked: only then does the linker export these functions from it.
 */
#ifndef RTD_LEDGER_JOIN_H
#define RTD_LEDGER_JOIN_H

#include <stdint.h>

/* The agent defines it before it includes this. */
#ifndef RTD_JOIN
#define RTD_JOIN __attribute__((weak, visibility("default")))
#endif

/*
 * Begins to record the heap into a fresh ledger of rtd_ledger_create(). The descriptor stays the
 * caller's and may be closed afterwards. Threads that run take part from their next allocation
 * in exact mode, from within the next 16 KiB that each allocates in sampling mode. What they
 * allocated before is unknown to the ledger. Returns 0, or
 *
 *   -EALREADY    this process records already, a collector's ledger or one adopted before:
 *                riptide_heap_ledger() says which. An adopted ledger is the one until the end.
 *   -EOPNOTSUPP  the program's malloc() is not this agent's, or its allocator cannot be observed;
 *                the header's agent_reason says why, where it could be written
 *   -EBUSY       another thread is just doing it
 *   -EAGAIN      too early: the agent's constructor has not run
 *   -EINVAL      no ledger, or one that was used before
 *   -EPROTO      a ledger of another version
 *   others       of mmap()
 *
 * In the child of a fork, which does not record, it may be called again with a ledger of the same
 * mode as the parent's; then the parent's is no longer mapped in the child.
 */
int riptide_heap_adopt(int ledger_fd) RTD_JOIN;

/*
 * The ledger that this process records into, mapped whole (rtd_ledger_bytes() of its mode) until
 * the end of the process; NULL if none. In exact mode it is sparse: reading a page that was never
 * written makes it one that costs memory.
 */
const void *riptide_heap_ledger(void) RTD_JOIN;

/*
 * As riptide_tag_intern() and riptide_tag_swap(), which libriptide forwards here. Tags are those of
 * the ledger, and stay the same when recording begins later.
 */
uint32_t riptide_agent_tag_intern(const char *component, const char *operation) RTD_JOIN;
uint32_t riptide_agent_tag_swap(uint32_t tag) RTD_JOIN;

/* Where the tag in force lies from the thread pointer: the same for every thread, never 0. */
int64_t riptide_agent_tag_offset(void) RTD_JOIN;

/* The tag in force on this thread; 0 = none. */
uint32_t riptide_agent_tag_get(void) RTD_JOIN;

/*
 * Copies the names of a tag into two buffers of 60 bytes each (RTD_TAG_NAME_BYTES). Returns 0, or
 * -ENOENT for 0 and for tags that were never given out; tag 1 is "other".
 */
int riptide_agent_tag_names(uint32_t tag, char *component, char *operation) RTD_JOIN;

#endif
