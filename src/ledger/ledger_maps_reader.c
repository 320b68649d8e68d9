// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_maps_reader.c - reads the ring of mapping events, see ledger_maps.h.
 *
 * Runs in:    collector, tests
 * Threads:    one reader beside any number of writers
 * Allocates:  never
 * Fails:      by saying that an event is not there; what is there is hostile and copied once
 */
#include "ledger/ledger_maps.h"

uint64_t rtd_map_count(const struct rtd_ledger *ledger)
{
    return atomic_load_explicit(&ledger->header.map_events, memory_order_relaxed);
}

static void copy_event(struct rtd_map_value *out, const struct rtd_map_event *entry)
{
    out->kind = __atomic_load_n(&entry->kind, __ATOMIC_RELAXED);
    out->stack = __atomic_load_n(&entry->stack, __ATOMIC_RELAXED);
    out->tag = __atomic_load_n(&entry->tag, __ATOMIC_RELAXED);
    out->time_ms = __atomic_load_n(&entry->time_ms, __ATOMIC_RELAXED);
    out->address = __atomic_load_n(&entry->address, __ATOMIC_RELAXED);
    out->length = __atomic_load_n(&entry->length, __ATOMIC_RELAXED);
    out->old_address = __atomic_load_n(&entry->old_address, __ATOMIC_RELAXED);
    out->old_length = __atomic_load_n(&entry->old_length, __ATOMIC_RELAXED);
    out->flags = __atomic_load_n(&entry->flags, __ATOMIC_RELAXED);
}

enum rtd_map_read rtd_map_read(const struct rtd_ledger *ledger, uint64_t ticket,
                               struct rtd_map_value *out)
{
    const struct rtd_map_event *const entry = &ledger->maps[ticket % RTD_MAP_COUNT];
    /* Pairs with the release in rtd_map_publish(). */
    const uint64_t sequence = atomic_load_explicit(&entry->sequence, memory_order_acquire);

    if (sequence != ticket + 1)
        return (sequence & ~RTD_MAP_BUSY) > ticket + 1 ? RTD_MAP_READ_LOST : RTD_MAP_READ_PENDING;
    copy_event(out, entry);
    /* Pairs with the fence in rtd_map_publish(): a field of a later event shows its mark, too. */
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&entry->sequence, memory_order_relaxed) != sequence)
        return RTD_MAP_READ_LOST;
    return RTD_MAP_READ_DONE;
}
