// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shadow.c - gives 64 MiB of addresses at a time their part of the shadow.
 *
 * Runs in:    agent, any thread; rtd_shadow_begin() alone
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      by false
 */
#include "agent/agent_shadow.h"

#include "base/base_syscall.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "agent/agent_only.h"

/* A number of whole pages of its own. */
_Alignas(RTD_HEADER_BYTES) _Atomic uintptr_t rtd_shadow_leaf_of[RTD_SHADOW_REGION_COUNT];
RTD_STATIC_ASSERT(sizeof rtd_shadow_leaf_of % RTD_HEADER_BYTES == 0, "pages");

/* Regions that have a leaf, so that a child need not search two million for them. */
static uint32_t claimed_regions[RTD_SHADOW_LEAF_COUNT];
static _Atomic uint32_t claimed_count;
static bool is_wiped_in_children;

void rtd_shadow_begin(void)
{
    is_wiped_in_children = rtd_syscall(SYS_madvise, (long)rtd_shadow_leaf_of,
                                       sizeof rtd_shadow_leaf_of, MADV_WIPEONFORK, 0, 0, 0) == 0;
    uint32_t count = atomic_load_explicit(&claimed_count, memory_order_relaxed);
    if (count > RTD_SHADOW_LEAF_COUNT)
        count = RTD_SHADOW_LEAF_COUNT;
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&rtd_shadow_leaf_of[claimed_regions[i]], 0, memory_order_relaxed);
    atomic_store_explicit(&claimed_count, 0, memory_order_relaxed);
}

bool rtd_shadow_claim(struct rtd_exact *exact, uintptr_t p)
{
    const uintptr_t region = p >> RTD_SHADOW_REGION_BITS;
    if (region >= RTD_SHADOW_REGION_COUNT || !is_wiped_in_children ||
        atomic_load_explicit(&claimed_count, memory_order_relaxed) >= RTD_SHADOW_LEAF_COUNT)
        return false;
    const uint32_t leaf = atomic_fetch_add_explicit(&claimed_count, 1, memory_order_relaxed);
    if (leaf >= RTD_SHADOW_LEAF_COUNT)
        return false;
    const uintptr_t begin = (uintptr_t)exact->shadow[leaf] -
                            region * RTD_SHADOW_LEAF_WORDS * sizeof(exact->shadow[leaf][0]);
    uintptr_t none = 0;
    /* Where malloc() returns NULL there is no place for a block. */
    if (region == 0)
        atomic_store_explicit(&exact->shadow[leaf][0], RTD_SHADOW_NO_BLOCK, memory_order_relaxed);
    claimed_regions[leaf] = (uint32_t)region;
    /* A leaf that loses to another thread's for the same region is never used. */
    if (atomic_compare_exchange_strong_explicit(&rtd_shadow_leaf_of[region], &none, begin,
                                                memory_order_relaxed, memory_order_relaxed))
        atomic_store_explicit(&exact->leaf_regions[leaf], region + 1, memory_order_release);
    atomic_fetch_add_explicit(&exact->header.leaf_count, 1, memory_order_relaxed);
    return true;
}
