// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_rules.c - see fuzz_rules.h.
 *
 * Runs in:    fuzz targets
 * Threads:    one
 * Allocates:  never
 * Fails:      never
 */
#include "fuzz_rules.h"

#include "unwind/unwind.h"
#include "unwind/unwind_cache.h"

#include <stdatomic.h>
#include <string.h>

#define FIRST_PC   UINT64_C(0x100000000000)
#define PC_SPACING UINT64_C(0x140)

uint64_t rtd_fuzz_next(struct rtd_fuzz_source *source)
{
    uint64_t word = 0;
    const size_t count = source->left < sizeof word ? source->left : sizeof word;
    memcpy(&word, source->at, count);
    source->at += count;
    source->left -= count;
    source->state = (source->state ^ word) * UINT64_C(0xd1342543de82ef95) + 1;
    return source->state ^ source->state >> 32;
}

uint64_t rtd_fuzz_below(struct rtd_fuzz_source *source, uint64_t limit)
{
    return rtd_fuzz_next(source) % limit;
}

static struct rtd_unwind_rule rules[RTD_FUZZ_RULE_COUNT];

uintptr_t rtd_fuzz_pc(size_t index)
{
    return FIRST_PC + index * PC_SPACING;
}

static int32_t words(struct rtd_fuzz_source *source, int32_t low, int32_t high)
{
    return (low + (int32_t)rtd_fuzz_below(source, (uint64_t)high - (uint64_t)low + 1)) * 8;
}

static struct rtd_unwind_rule random_rule(struct rtd_fuzz_source *source)
{
    static const enum rtd_unwind_kind kinds[] = {
        RTD_UNWIND_KIND_RSP,    RTD_UNWIND_KIND_RSP, RTD_UNWIND_KIND_RSP,
        RTD_UNWIND_KIND_RBP,    RTD_UNWIND_KIND_RBP, RTD_UNWIND_KIND_DEREF,
        RTD_UNWIND_KIND_SIGNAL, RTD_UNWIND_KIND_END, RTD_UNWIND_KIND_NONE};
    struct rtd_unwind_rule rule = {
        .kind = kinds[rtd_fuzz_below(source, sizeof kinds / sizeof kinds[0])]};
    switch (rule.kind) {
    case RTD_UNWIND_KIND_RSP:
        rule.cfa_offset_bytes =
            rtd_fuzz_below(source, 20) == 0 ? words(source, 1, 1 << 16) : words(source, 1, 8);
        break;
    case RTD_UNWIND_KIND_RBP:
        rule.cfa_offset_bytes = words(source, 0, 6);
        break;
    case RTD_UNWIND_KIND_DEREF:
        rule.cfa_offset_bytes = words(source, -4, 4);
        rule.rbp_offset_bytes =
            rtd_fuzz_below(source, 2) ? RTD_UNWIND_RBP_AT_RBP : RTD_UNWIND_RBP_LOST;
        return rule;
    case RTD_UNWIND_KIND_EMPTY:
    case RTD_UNWIND_KIND_RSP_WIDE:
    case RTD_UNWIND_KIND_SIGNAL:
    case RTD_UNWIND_KIND_END:
    case RTD_UNWIND_KIND_NONE:
    default:
        return rule;
    }
    rule.rbp_offset_bytes = rtd_fuzz_below(source, 6) == 0   ? RTD_UNWIND_RBP_LOST
                            : rtd_fuzz_below(source, 2) == 0 ? words(source, -5, -1)
                                                             : RTD_UNWIND_RBP_SAME;
    return rule;
}

void rtd_fuzz_plant_rules(struct rtd_fuzz_source *source)
{
    rtd_unwind_flush();
    const uint64_t generation = atomic_load(&rtd_unwind_cache_generation);
    for (size_t i = 0; i < RTD_FUZZ_RULE_COUNT; i++) {
        const uintptr_t pc = rtd_fuzz_pc(i);
        rules[i] = random_rule(source);
        atomic_store(&rtd_unwind_cache_places[pc & RTD_UNWIND_PLACE_MASK],
                     rtd_unwind_rule_pack(&rules[i]) | rtd_unwind_cache_head(pc, generation));
    }
}

const struct rtd_unwind_rule *rtd_fuzz_rule_of(uintptr_t key)
{
    static const struct rtd_unwind_rule none = {.kind = RTD_UNWIND_KIND_NONE};
    const uintptr_t index = (key - FIRST_PC) / PC_SPACING;
    return key >= FIRST_PC && index < RTD_FUZZ_RULE_COUNT && rtd_fuzz_pc(index) == key
               ? &rules[index]
               : &none;
}

uintptr_t rtd_fuzz_word(struct rtd_fuzz_source *source, const uintptr_t *stack, size_t count)
{
    switch (rtd_fuzz_below(source, 8)) {
    case 0:
    case 1:
    case 2:
    case 3:
        return rtd_fuzz_pc(rtd_fuzz_below(source, RTD_FUZZ_RULE_COUNT));
    case 4:
        return rtd_fuzz_pc(rtd_fuzz_below(source, RTD_FUZZ_RULE_COUNT)) -
               1; /* right for an interrupted frame */
    case 5:
        return (uintptr_t)&stack[rtd_fuzz_below(source, count)];
    case 6:
        return rtd_fuzz_below(source, 3);
    default:
        return rtd_fuzz_next(source) >> rtd_fuzz_below(source, 64);
    }
}
