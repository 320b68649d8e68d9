// SPDX-License-Identifier: Apache-2.0
/*
 * agent_sample.h - the slow paths of sampling mode.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    lock-free
 * Allocates:  only what the program asked for, from the program's own allocator
 * Fails:      never towards the program: whatever goes wrong is counted and passed through
 *
 * A sampled block is marked by its address alone: (address & RTD_MARK_MASK) == 0, that is 0 or 16
 * modulo 4096. Small blocks get the mark from the program's own memalign(4096, n); glibc's mmapped
 * blocks stand at 16 modulo a page anyway, the large blocks of other allocators at 0. A block that
 * bears the mark by chance costs its free() one look at the sample table.
 */
#ifndef RTD_AGENT_SAMPLE_H
#define RTD_AGENT_SAMPLE_H

#include "base/base_macros.h"

#include <stdbool.h>

enum { RTD_MARK_ALIGNMENT = 4096, RTD_MARK_MASK = 0xfef };

/* The real memalign() or aligned_alloc(). */
typedef void *(*rtd_memalign_fn)(size_t alignment, size_t size);

/* Entered when the thread's countdown borrowed; left was already reduced by size + 1. */
void *rtd_sample_malloc(size_t size);
void *rtd_sample_calloc(size_t count, size_t size);
void *rtd_sample_memalign(rtd_memalign_fn real, size_t alignment, size_t size);
int rtd_sample_posix_memalign(void **out, size_t alignment, size_t size);
void *rtd_sample_valloc(size_t size);
void *rtd_sample_pvalloc(size_t size);

/* Entered when the countdown borrowed (hit) or the old block bears the mark. */
void *rtd_sample_realloc(void *p, size_t size, int hit);

/*
 * Forgets the sample of a block about to be freed, if there is one. p bears the mark or is NULL.
 * True when the agent keeps the block for the next sample: the caller must not free it.
 */
bool rtd_sample_forget(void *p);

#endif
