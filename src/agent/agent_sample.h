// SPDX-License-Identifier: Apache-2.0
/*
 * agent_sample.h - the slow paths of sampling mode.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    lock-free
 * Allocates:  only what the program asked for, from the program's own allocator
 * Fails:      never towards the program: whatever goes wrong is counted and passed through
 *
 * agent_mark.h says how a sampled block is told from others.
 */
#ifndef RTD_AGENT_SAMPLE_H
#define RTD_AGENT_SAMPLE_H

#include "base/base_macros.h"

#include <stdbool.h>

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
