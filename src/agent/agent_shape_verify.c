// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape_verify.c - whether a record, and those it is linked to, are what is on the stack.
 *
 * Runs in:    agent (exact mode), any thread, also inside signal handlers
 * Threads:    reads the calling thread's stack and the records; no lock
 * Allocates:  never
 * Fails:      towards "no"
 */
#include "agent/agent_shape.h"

#include "agent/agent_only.h"

static uintptr_t load_word(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static unsigned group_words(uint64_t place, unsigned shift)
{
    return (unsigned)(place >> shift & RTD_SHAPE_GROUPS_MASK) * 4;
}

/* The relative words of a record, which come after first plain ones. */
static bool verify_relative(const struct rtd_shape_record *record, uint64_t id, unsigned first,
                            unsigned count, uintptr_t sp)
{
    uint64_t different = 0;

    for (unsigned i = first; i < first + count && i < RTD_SHAPE_WORD_COUNT; i++) {
        const uint64_t value = atomic_load_explicit(&record->values[i], memory_order_acquire);
        const size_t offset = atomic_load_explicit(&record->offsets[i], memory_order_acquire);
        /* Before it is used as an offset. */
        if (atomic_load_explicit(&record->id, memory_order_acquire) != id)
            return false;
        different |= value ^ (load_word(sp + offset * sizeof(uintptr_t)) - sp);
    }
    return different == 0;
}

bool rtd_shape_verify(const struct rtd_shape_record *record, uint64_t id, uintptr_t sp,
                      uintptr_t fp)
{
    uint64_t place = atomic_load_explicit(&record->place, memory_order_acquire);

    if ((place & RTD_SHAPE_NEEDS_FP) != 0 &&
        (int64_t)atomic_load_explicit(&record->entry, memory_order_acquire) >> 32 !=
            (int64_t)(fp - sp))
        return false;
    for (;;) {
        const uint64_t link = atomic_load_explicit(&record->link, memory_order_acquire);
        const uint64_t link_id = atomic_load_explicit(&record->link_id, memory_order_acquire);
        const unsigned plain = group_words(place, RTD_SHAPE_PLAIN_SHIFT);
        const unsigned relative = group_words(place, RTD_SHAPE_RELATIVE_SHIFT);
        if (!rtd_shape_verify_plain(record, id, place, sp) ||
            (RTD_UNLIKELY(relative != 0) && !verify_relative(record, id, plain, relative, sp)) ||
            /* After all other loads: what they saw is of this version. */
            atomic_load_explicit(&record->id, memory_order_acquire) != id)
            return false;
        if ((place & RTD_SHAPE_LINKED) == 0)
            return true;
        sp += (uint32_t)link;
        record = &rtd_shape_records[(link >> 32) % RTD_SHAPE_RECORD_COUNT];
        id = link_id;
        place = atomic_load_explicit(&record->place, memory_order_acquire);
    }
}
