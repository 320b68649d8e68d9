// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_rules.h - rules of any kind for made-up addresses, and stacks of words that lead to them.
 *
 * Runs in:    fuzz targets
 * Threads:    one
 * Allocates:  never
 * Fails:      never
 */
#ifndef FUZZ_RULES_H
#define FUZZ_RULES_H

#include "unwind/unwind_rule.h"

enum { RTD_FUZZ_RULE_COUNT = 24 };

/* The input as a sequence of numbers, which goes on where the input ends. Bytes are borrowed. */
struct rtd_fuzz_source {
    const uint8_t *at;
    size_t left;
    uint64_t state;
};

uint64_t rtd_fuzz_next(struct rtd_fuzz_source *source);

/* A number below limit, which is not 0. */
uint64_t rtd_fuzz_below(struct rtd_fuzz_source *source, uint64_t limit);

/* Empties the unwinder's cache of rules and plants new ones for the addresses below. */
void rtd_fuzz_plant_rules(struct rtd_fuzz_source *source);

/* The address that rule number index was planted for. */
uintptr_t rtd_fuzz_pc(size_t index);

/* The rule of an address; kind NONE where none was planted. Valid until the next planting. */
const struct rtd_unwind_rule *rtd_fuzz_rule_of(uintptr_t key);

/* A word for a stack of count words: an address with a rule, one of the stack, or anything. */
uintptr_t rtd_fuzz_word(struct rtd_fuzz_source *source, const uintptr_t *stack, size_t count);

#endif
