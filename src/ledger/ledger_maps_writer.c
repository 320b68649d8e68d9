// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_maps_writer.c - tickets and events, see ledger_maps.h.
 *
 * Runs in:    agent, tests
 * Threads:    any number of writers at once, lock-free
 * Allocates:  never
 * Fails:      by dropping the event
 */
#include "ledger/ledger_maps.h"

#define RELAXED memory_order_relaxed

uint64_t rtd_map_ticket(struct rtd_ledger *ledger)
{
    return atomic_fetch_add_explicit(&ledger->header.map_events, 1, RELAXED);
}

/* Claims the entry, unless it holds something newer or somebody else writes it. */
static bool claim(_Atomic uint64_t *sequence, uint64_t ticket)
{
    uint64_t seen = atomic_load_explicit(sequence, RELAXED);

    /* One comparison for both: a busy entry's word is larger than any ticket. */
    while (seen <= ticket) {
        if (atomic_compare_exchange_weak_explicit(sequence, &seen, RTD_MAP_BUSY | (ticket + 1),
                                                  RELAXED, RELAXED))
            return true;
    }
    return false;
}

bool rtd_map_publish(struct rtd_ledger *ledger, uint64_t ticket, const struct rtd_map_value *event)
{
    struct rtd_map_event *const entry = &ledger->maps[ticket % RTD_MAP_COUNT];

    if (!claim(&entry->sequence, ticket))
        return false;
    /* Pairs with the fence in rtd_map_read(): who sees a field also sees that it is busy. */
    atomic_thread_fence(memory_order_release);
    __atomic_store_n(&entry->kind, event->kind, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->stack, event->stack, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->tag, event->tag, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->time_ms, event->time_ms, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->address, event->address, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->length, event->length, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->old_address, event->old_address, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->old_length, event->old_length, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->flags, event->flags, __ATOMIC_RELAXED);
    /* Pairs with the acquire in rtd_map_read(): all fields are there. */
    atomic_store_explicit(&entry->sequence, ticket + 1, memory_order_release);
    return true;
}
