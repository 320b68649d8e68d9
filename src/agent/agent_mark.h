// SPDX-License-Identifier: Apache-2.0
/*
 * agent_mark.h - how a sampled block is told from others: by the bits of its address.
 *
 * Runs in:    agent, any thread
 * Threads:    the mask is written once, when the real functions are resolved
 * Allocates:  never
 * Fails:      never
 *
 * A block is marked when (address & mask) == 0, that is when it stands at 0 or 16 modulo the mark's
 * alignment. Small sampled blocks get the mark from the program's own memalign(); glibc's mmapped
 * blocks stand at 16 modulo a page by nature, the large blocks of other allocators at 0. A block
 * that bears the mark by chance costs its free() one look at the sample table.
 *
 * glibc: 512. One block in 16 bears it by chance, but memalign(512, small) stays a small request,
 * and a large one would merge all of glibc's fast bins: with 4096 Lua ran 3 % more instructions.
 * Others: 4096, because they serve every size that is a multiple of 512 at such addresses.
 */
#ifndef RTD_AGENT_MARK_H
#define RTD_AGENT_MARK_H

#include "base/base_macros.h"

#include <stdbool.h>

enum {
    RTD_MARK_MASK_GLIBC = 0x1ef,
    RTD_MARK_MASK_OTHERS = 0xfef,
    RTD_MARK_PAGE_BYTES = 4096,
};

extern uint32_t rtd_mark_mask __attribute__((visibility("hidden")));

static inline bool rtd_is_marked(const void *p)
{
    return ((uint32_t)(uintptr_t)p & rtd_mark_mask) == 0;
}

/* The alignment that gives the mark. */
static inline size_t rtd_mark_alignment(void)
{
    return (rtd_mark_mask | 0x10) + 1;
}

#endif
