// SPDX-License-Identifier: Apache-2.0
/*
 * agent_filter.c - see agent_filter.h.
 *
 * Runs in:    agent (slow paths), any thread
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      towards "perhaps ours"
 */
#include "agent/agent_filter.h"

#include "agent/agent_only.h"

_Atomic uint8_t rtd_filter[1 << RTD_FILTER_BITS];

void rtd_filter_add(const void *p)
{
    _Atomic uint8_t *const place = rtd_filter_place(p);
    uint8_t count = atomic_load_explicit(place, memory_order_relaxed);
    while (count != RTD_FILTER_FULL &&
           !atomic_compare_exchange_weak_explicit(place, &count, (uint8_t)(count + 1),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void rtd_filter_remove(const void *p)
{
    _Atomic uint8_t *const place = rtd_filter_place(p);
    uint8_t count = atomic_load_explicit(place, memory_order_relaxed);
    while (count != RTD_FILTER_FULL && count != 0 &&
           !atomic_compare_exchange_weak_explicit(place, &count, (uint8_t)(count - 1),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}
