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
 * address 0, so that one index serves; 0 = the region has no leaf. Sparse, and wiped by the kernel
 * in a child process, however it is made: no leaf means that the long way is taken, which knows
 * whether this process records at all, and so the short one need not ask.
 */
extern _Atomic uintptr_t rtd_shadow_leaf_of[RTD_SHADOW_REGION_COUNT]
    __attribute__((visibility("hidden")));

/*
 * Begins with an empty shadow: at start, and in a forked child, whose ledger is another one. Makes
 * one system call. Where the kernel cannot wipe the table, no leaf is ever given.
 */
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

/* Whether no block is there: a load and a comparison in one instruction, see rtd_shape_is(). */
static inline bool rtd_shadow_is_free(const _Atomic uint64_t *place)
{
    bool is_free;
    __asm__("cmpq $0, %1" : "=@cce"(is_free) : "m"(*place) : "cc");
    return is_free;
}

/* What a word says. */
struct rtd_shadow_block {
    uint64_t size;
    uint32_t site;
    uint32_t birth_units; /* of RTD_LIFETIME_UNIT_MS, low 24 bits */
};

/* The size in the word of a small block. */
static inline uint64_t rtd_shadow_size(uint64_t word)
{
    return word >> RTD_SHADOW_SIZE_SHIFT & RTD_SHADOW_SIZE_MASK;
}

/* Whether this is the word of a small block born in the tick that birth, header.shadow_birth, is
 * of. */
static inline bool rtd_shadow_is_young(uint64_t word, uint64_t birth)
{
    return (word ^ birth) >> RTD_SHADOW_BIRTH_SHIFT == 0;
}

static inline struct rtd_shadow_block rtd_shadow_decode(const _Atomic uint64_t *place,
                                                        uint64_t word)
{
    struct rtd_shadow_block block = {
        .size = rtd_shadow_size(word),
        .site = (uint32_t)((word & RTD_SHADOW_SITE_MASK) >> RTD_SHADOW_SITE_SHIFT),
        .birth_units = (uint32_t)(word >> RTD_SHADOW_BIRTH_SHIFT & RTD_SHADOW_BIRTH_MASK),
    };
    if (RTD_UNLIKELY((word & RTD_SHADOW_SMALL) == 0)) {
        const uint64_t large =
            atomic_load_explicit(place + RTD_SHADOW_SIZE_WORDS, memory_order_relaxed);
        /* Another block's word, after a free that we did not see: only the least size is known. */
        block.size = (large & RTD_SHADOW_USED) == 0 ? large >> RTD_SHADOW_SIZE_WORD_SHIFT
                                                    : RTD_SHADOW_SIZE_MASK + 1;
    }
    return block;
}

/*
 * The index of p's granule. *size becomes size and half as they stand in a word, less their shift:
 * the bit of p that tells the halves apart leaves by the carry, and one instruction takes it up.
 */
static inline uintptr_t rtd_shadow_index(uintptr_t p, uint64_t *size)
{
    __asm__("shrq %2, %0\n\tadcq %1, %1"
            : "+r"(p), "+r"(*size)
            : "i"(RTD_SHADOW_GRANULE_SHIFT)
            : "cc");
    return p;
}

static inline void rtd_shadow_set(_Atomic uint64_t *place, uintptr_t p,
                                  const struct rtd_shadow_block *block)
{
    uint64_t word = (uint64_t)block->birth_units << RTD_SHADOW_BIRTH_SHIFT | RTD_SHADOW_USED |
                    (uint64_t)block->site << RTD_SHADOW_SITE_SHIFT |
                    (uint64_t)(p >> 4 & 1) << RTD_SHADOW_HALF_SHIFT;
    if (RTD_UNLIKELY(block->size > RTD_SHADOW_SIZE_MASK))
        atomic_store_explicit(place + RTD_SHADOW_SIZE_WORDS,
                              block->size << RTD_SHADOW_SIZE_WORD_SHIFT, memory_order_relaxed);
    else
        word |= RTD_SHADOW_SMALL | block->size << RTD_SHADOW_SIZE_SHIFT;
    atomic_store_explicit(place, word, memory_order_relaxed);
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

RTD_STATIC_ASSERT(1 << RTD_SHADOW_GRANULE_SHIFT == 32 &&
                      RTD_SHADOW_SIZE_SHIFT == RTD_SHADOW_HALF_SHIFT + 1,
                  "the half bit is the last that the index shifts out");

#endif
