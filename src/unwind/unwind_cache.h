// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_cache.h - the rules of all pcs seen so far, shared by all threads without a lock.
 *
 * Runs in:    agent (slow path), any thread, also inside signal handlers
 * Threads:    lock-free; an entry is one atomic word (unwind_rule.h), racing fills agree
 * Allocates:  never; 128 KiB of zero pages, touched as pcs are seen
 * Fails:      never; a pc without a usable rule gives an entry of kind NONE
 *
 * A pc has four possible places, (pc & 0x3fff) ^ way, within 32 bytes of each other. The walk
 * itself looks at way 0 only and comes here for everything else.
 *
 * Flush: the generation counter is part of every entry. rtd_unwind_flush() first raises it, so
 * that no older entry matches any more, then empties the places. A fill that computed its rule
 * before the flush publishes, if at all, under the old generation.
 */
#ifndef RTD_AGENT_UNWIND_CACHE_H
#define RTD_AGENT_UNWIND_CACHE_H

#include <stdatomic.h>

#include "unwind/unwind_rule.h"

/* Hidden by name: -fvisibility does not cover declarations, and a GOT load per walk would be left.
 */
#pragma GCC visibility push(hidden)
extern _Atomic uint64_t rtd_unwind_cache_places[1U << RTD_UNWIND_PLACE_BITS];
extern _Atomic uint64_t rtd_unwind_cache_generation;
#pragma GCC visibility pop

/* Tag and generation of a key; the way is added to it, and for way 0 nothing is. */
static inline uint64_t rtd_unwind_cache_head(uintptr_t key, uint64_t generation)
{
    return key >> RTD_UNWIND_PLACE_BITS | (generation & RTD_UNWIND_GEN_MASK)
                                              << RTD_UNWIND_GEN_SHIFT;
}

/*
 * The entry for a key, which is a return address, or for an interrupted frame its pc + 1; the
 * rule is looked up at key - 1. Reads the object's tables when the key is new. The key must be
 * below 2^47. generation is the counter as loaded when the walk began.
 */
uint64_t rtd_unwind_cache_find(uintptr_t key, uint64_t generation);

#endif
