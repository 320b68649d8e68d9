// SPDX-License-Identifier: Apache-2.0
/*
 * agent_filter.h - "surely not one of ours", from one byte that stays in the first-level cache.
 *
 * Runs in:    agent, any thread
 * Threads:    lock-free counters
 * Allocates:  never
 * Fails:      towards "perhaps ours": a counter that reached its end stays there
 *
 * Counts the sampled and the kept blocks whose addresses hash to a place. One block in sixteen
 * bears glibc's mark by chance; looking each up in the ledger's 256 KiB of buckets cost python3 110
 * ns of cache misses a time, 4 % of its run. Samples that thinning removes stay counted, and so do
 * those of a parent in its forked child: both only cost a look.
 */
#ifndef RTD_AGENT_FILTER_H
#define RTD_AGENT_FILTER_H

#include "base/base_macros.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { RTD_FILTER_BITS = 13, RTD_FILTER_FULL = 255 };

extern _Atomic uint8_t rtd_filter[1 << RTD_FILTER_BITS] __attribute__((visibility("hidden")));

static inline _Atomic uint8_t *rtd_filter_place(const void *p)
{
    const uint64_t hash = ((uintptr_t)p >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    return &rtd_filter[hash >> (64 - RTD_FILTER_BITS)];
}

static inline bool rtd_filter_may_hold(const void *p)
{
    return atomic_load_explicit(rtd_filter_place(p), memory_order_relaxed) != 0;
}

/* Before p is handed to the program, or kept. */
void rtd_filter_add(const void *p);

/* After p was taken out of where it was. */
void rtd_filter_remove(const void *p);

#endif
