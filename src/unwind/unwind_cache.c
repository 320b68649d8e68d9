// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_cache.c - finds, computes and publishes the rule of one pc.
 *
 * Runs in:    agent (slow path), any thread, also inside signal handlers
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      never; kind NONE stands for "no usable rule"
 */
#include "unwind/unwind_cache.h"

#include "unwind/unwind.h"
#include "unwind/unwind_cfi.h"

enum { WAYS = 4 };

_Alignas(64) _Atomic uint64_t rtd_unwind_cache_places[1U << RTD_UNWIND_PLACE_BITS];
_Atomic uint64_t rtd_unwind_cache_generation;

/* Chooses the victim among four full ways; a lost update only repeats a choice. */
static _Atomic unsigned victim_turn;

static bool is_multiple_of_word(int32_t bytes)
{
    return (bytes & 7) == 0;
}

static uint64_t pack_wide(int32_t cfa_words, int32_t rbp_words)
{
    const bool is_lost = rbp_words <= RTD_UNWIND_WIDE_RBP_LOST_WORDS || rbp_words > 7;
    const int32_t rbp = is_lost ? RTD_UNWIND_WIDE_RBP_LOST_WORDS : rbp_words;

    return (uint64_t)RTD_UNWIND_KIND_RSP_WIDE << RTD_UNWIND_KIND_SHIFT |
           ((uint64_t)(uint32_t)rbp & 15) << 43 | (uint64_t)cfa_words << 47;
}

uint64_t rtd_unwind_rule_pack(const struct rtd_unwind_rule *rule)
{
    const uint64_t none = (uint64_t)RTD_UNWIND_KIND_NONE << RTD_UNWIND_KIND_SHIFT;
    const uint64_t kind = (uint64_t)rule->kind << RTD_UNWIND_KIND_SHIFT;
    const int32_t cfa_words = rule->cfa_offset_bytes / 8;
    int32_t rbp_words = rule->rbp_offset_bytes / 8;

    if (rule->kind == RTD_UNWIND_KIND_END || rule->kind == RTD_UNWIND_KIND_SIGNAL) {
        return kind;
    }
    if (!is_multiple_of_word(rule->cfa_offset_bytes)) {
        return none;
    }
    if (!is_multiple_of_word(rule->rbp_offset_bytes) || rbp_words <= RTD_UNWIND_RBP_LOST_WORDS ||
        rbp_words > 127) {
        rbp_words = RTD_UNWIND_RBP_LOST_WORDS;
    }

    if (rule->kind == RTD_UNWIND_KIND_RSP) {
        if (cfa_words < 1 || cfa_words >= 1 << 17) {
            return none;
        }
        /* A lost rbp goes the wide way so that the hot kind need not test for it. */
        if (cfa_words >= 1 << 13 || rbp_words == RTD_UNWIND_RBP_LOST_WORDS) {
            return pack_wide(cfa_words, rbp_words);
        }
    } else if (rule->kind == RTD_UNWIND_KIND_RBP) {
        if (cfa_words < 0 || cfa_words >= 1 << 13) {
            return none;
        }
    } else if (rule->kind != RTD_UNWIND_KIND_DEREF || cfa_words < -(1 << 12) ||
               cfa_words >= 1 << 12) {
        return none;
    }
    return kind | ((uint64_t)(uint32_t)rbp_words & 255) << 43 | (uint64_t)(int64_t)cfa_words << 51;
}

static uint64_t compute(const struct rtd_unwind_image *image, uintptr_t pc)
{
    struct rtd_unwind_program program;
    struct rtd_unwind_rule rule = {.kind = RTD_UNWIND_KIND_NONE};

    if (rtd_unwind_image_lookup(image, pc, &program) == 0) {
        rtd_unwind_cfi_run(image, &program, pc, &rule);
    }
    return rtd_unwind_rule_pack(&rule);
}

static bool is_vacant(uint64_t entry, uint64_t generation)
{
    return rtd_unwind_entry_kind(entry) == RTD_UNWIND_KIND_EMPTY ||
           ((entry >> RTD_UNWIND_GEN_SHIFT ^ generation) & RTD_UNWIND_GEN_MASK) != 0;
}

static void publish(uintptr_t key, uint64_t generation, uint64_t entry)
{
    const uintptr_t base = key & RTD_UNWIND_PLACE_MASK;
    unsigned way = 0;

    while (way < WAYS && !is_vacant(atomic_load_explicit(&rtd_unwind_cache_places[base ^ way],
                                                         memory_order_relaxed),
                                    generation)) {
        way++;
    }
    if (way == WAYS) {
        way = atomic_load_explicit(&victim_turn, memory_order_relaxed) % WAYS;
        atomic_store_explicit(&victim_turn, way + 1, memory_order_relaxed);
    }

    _Atomic uint64_t *const place = &rtd_unwind_cache_places[base ^ way];
    uint64_t word = entry | (uint64_t)way << RTD_UNWIND_WAY_SHIFT;
    /*
     * The generation in the word has five bits; the full counter is compared on both sides of the
     * store so that an entry cannot be taken for one of 32 flushes later. Sequentially consistent,
     * like the increment in rtd_unwind_flush(): either this load sees the flush, or the flush's
     * clearing comes after this store and removes the entry.
     */
    if (atomic_load(&rtd_unwind_cache_generation) != generation) {
        return;
    }
    atomic_store(place, word);
    if (atomic_load(&rtd_unwind_cache_generation) != generation) {
        atomic_compare_exchange_strong(place, &word, 0);
    }
}

/* Looks at the four ways; 0 when the key is in none. */
static uint64_t probe(uintptr_t key, uint64_t wanted)
{
    const uintptr_t base = key & RTD_UNWIND_PLACE_MASK;

    for (unsigned way = 0; way < WAYS; way++) {
        const uint64_t entry =
            atomic_load_explicit(&rtd_unwind_cache_places[base ^ way], memory_order_relaxed);
        if ((entry & RTD_UNWIND_KEY_MASK) == (wanted | (uint64_t)way << RTD_UNWIND_WAY_SHIFT) &&
            rtd_unwind_entry_kind(entry) != RTD_UNWIND_KIND_EMPTY) {
            return entry;
        }
    }
    return 0;
}

uint64_t rtd_unwind_cache_find(uintptr_t key, uint64_t generation)
{
    const uint64_t wanted = rtd_unwind_cache_head(key, generation);
    uint64_t entry = probe(key, wanted);

    if (entry != 0) {
        return entry;
    }

    struct rtd_unwind_image image;
    if (rtd_unwind_image_find(key - 1, &image) < 0) {
        /* Not remembered: a later dlopen() may map an object here, and it does not flush. */
        return (uint64_t)RTD_UNWIND_KIND_NONE << RTD_UNWIND_KIND_SHIFT;
    }
    entry = wanted | compute(&image, key - 1);
    publish(key, generation, entry);
    return entry;
}

void rtd_unwind_flush(void)
{
    /* Pairs with the loads in publish() and at the start of a walk. */
    atomic_fetch_add(&rtd_unwind_cache_generation, 1);
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(rtd_unwind_cache_places); i++) {
        if (atomic_load_explicit(&rtd_unwind_cache_places[i], memory_order_relaxed) != 0) {
            atomic_store(&rtd_unwind_cache_places[i], 0);
        }
    }
}
