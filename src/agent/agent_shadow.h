// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shadow.h - exact mode: from the address of a block to its site, size and birth.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    no lock and no atomic read-modify-write: a word belongs to whoever owns the block,
 *             and the allocator already orders one owner after the other
 * Allocates:  never; pages of the ledger's sparse file are touched as the heap grows
 * Fails:      by "no word" when all leaves are in use; the caller counts the block as untracked
 *
 * Layout and encoding: ledger_exact.h.
 */
#ifndef RTD_AGENT_SHADOW_H
#define RTD_AGENT_SHADOW_H

#include "ledger/ledger_exact.h"

#include <stdbool.h>

/*
 * By region of the address space: where the region's leaf would begin if the shadow began at
 * address 0, so that one index serves; 0 = the region has no leaf. Sparse.
 */
extern _Atomic uintptr_t rtd_shadow_leaf_of[RTD_SHADOW_REGION_COUNT]
    __attribute__((visibility("hidden")));

/* Begins with an empty shadow: at start, and in a forked child, whose ledger is another one. */
void rtd_shadow_begin(void);

/* Gives the region of p a leaf; false when there is none left. */
bool rtd_shadow_claim(struct rtd_exact *exact, uintptr_t p);

/* The leaf of p's region, 0: it never held a block that we saw. */
static inline uintptr_t rtd_shadow_leaf(uintptr_t p)
{
    return atomic_load_explicit(
        &rtd_shadow_leaf_of[p >> RTD_SHADOW_REGION_BITS & (RTD_SHADOW_REGION_COUNT - 1)],
        memory_order_relaxed);
}

/* The word of the block at p in a leaf that is there. */
static inline _Atomic uint64_t *rtd_shadow_word_in(uintptr_t leaf, uintptr_t p)
{
    return (_Atomic uint64_t *)(leaf + (p >> RTD_SHADOW_GRANULE_SHIFT) * sizeof(uint64_t));
}

/* The word of the block at p, or NULL without a leaf. */
static inline _Atomic uint64_t *rtd_shadow_word(uintptr_t p)
{
    const uintptr_t leaf = rtd_shadow_leaf(p);
    return RTD_LIKELY(leaf != 0) ? rtd_shadow_word_in(leaf, p) : NULL;
}

/* What a word says. */
struct rtd_shadow_block {
    uint64_t size;
    uint32_t site;
    uint32_t birth_units; /* of RTD_LIFETIME_UNIT_MS, low 24 bits */
};

static inline struct rtd_shadow_block rtd_shadow_decode(const _Atomic uint64_t *place,
                                                        uint64_t word)
{
    struct rtd_shadow_block block = {
        .size = word >> RTD_SHADOW_SIZE_SHIFT,
        .site = (uint32_t)word & (RTD_EXACT_SITE_COUNT - 1),
        .birth_units = (uint32_t)(word >> RTD_SHADOW_BIRTH_SHIFT & RTD_SHADOW_BIRTH_MASK),
    };
    if (RTD_UNLIKELY(block.size == RTD_SHADOW_SIZE_LARGE)) {
        const uint64_t large =
            atomic_load_explicit(place + RTD_SHADOW_SIZE_WORDS, memory_order_relaxed);
        /* Another block's word, after a free that we did not see: only the least size is known. */
        if ((large & RTD_SHADOW_USED) == 0)
            block.size = large >> RTD_SHADOW_BIRTH_SHIFT;
    }
    return block;
}

/* size < RTD_SHADOW_SIZE_LARGE. */
static inline void rtd_shadow_set_small(_Atomic uint64_t *place, uintptr_t p, uint64_t size,
                                        uint32_t site, uint32_t birth_units)
{
    const uint64_t half = (p & 16) << 14;
    atomic_store_explicit(place,
                          site | half | RTD_SHADOW_USED |
                              (uint64_t)birth_units << RTD_SHADOW_BIRTH_SHIFT |
                              size << RTD_SHADOW_SIZE_SHIFT,
                          memory_order_relaxed);
}

static inline void rtd_shadow_set(_Atomic uint64_t *place, uintptr_t p,
                                  const struct rtd_shadow_block *block)
{
    uint64_t size = block->size;
    if (RTD_UNLIKELY(size >= RTD_SHADOW_SIZE_LARGE)) {
        atomic_store_explicit(place + RTD_SHADOW_SIZE_WORDS, size << RTD_SHADOW_BIRTH_SHIFT,
                              memory_order_relaxed);
        size = RTD_SHADOW_SIZE_LARGE;
    }
    rtd_shadow_set_small(place, p, size, block->site, block->birth_units);
}

/*
 * Takes the block at p out: before the real free, because the address may be another thread's the
 * moment after. False: nothing is known of p.
 */
static inline bool rtd_shadow_take(uintptr_t p, struct rtd_shadow_block *block)
{
    _Atomic uint64_t *const place = rtd_shadow_word(p);
    if (RTD_UNLIKELY(place == NULL))
        return false;
    const uint64_t word = atomic_load_explicit(place, memory_order_relaxed);
    if (RTD_UNLIKELY((word & RTD_SHADOW_USED) == 0))
        return false;
    *block = rtd_shadow_decode(place, word);
    atomic_store_explicit(place, 0, memory_order_relaxed);
    return true;
}

RTD_STATIC_ASSERT(RTD_SHADOW_HALF == 16 << 14, "the half bit");

#endif
