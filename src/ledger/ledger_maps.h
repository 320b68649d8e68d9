// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_maps.h - the ring of mapping events: mmap(), munmap(), mremap() and the program break.
 *
 * Runs in:    agent (writer), collector (reader)
 * Threads:    any number of writers, lock-free, also in signal handlers; one reader
 * Allocates:  never; no syscall, no lock, no libc call
 * Fails:      a writer that is a whole ring late drops its event, which the reader counts
 *
 * A writer takes a ticket, which orders its event among all others, and publishes the event into
 * the entry of that ticket later:
 *
 *     ticket n --CAS sequence: older -> BUSY | n + 1--> fields --sequence = n + 1--> published
 *
 * Whoever takes from the address space (munmap, mremap) takes the ticket before the call, whoever
 * adds to it takes it afterwards: so when one thread is given an address that another has just
 * unmapped, the events stand in that order however late either is published. An entry that holds a
 * newer event, or that another writer is busy with, is left alone.
 */
#ifndef RTD_LEDGER_MAPS_H
#define RTD_LEDGER_MAPS_H

#include "ledger/ledger_layout.h"

#include <stdbool.h>

/* In rtd_map_event.sequence: the entry is being written. */
#define RTD_MAP_BUSY (UINT64_C(1) << 63)

/* In rtd_map_event.flags: the program break; and a REMOVE that is the first half of a MOVE. */
#define RTD_MAP_BREAK  (UINT64_C(1) << 63)
#define RTD_MAP_MOVING (UINT64_C(1) << 62)

/* An event as the writer hands it over and the reader gets it. */
struct rtd_map_value {
    uint32_t kind; /* enum rtd_map_kind */
    uint32_t stack, tag, time_ms;
    uint64_t address, length;
    uint64_t old_address, old_length;
    uint64_t flags;
};

/* Takes the next place in the order of events. Every ticket is to be published. */
uint64_t rtd_map_ticket(struct rtd_ledger *ledger);

/* Publishes the event of that ticket; false when it was too late and is dropped. */
bool rtd_map_publish(struct rtd_ledger *ledger, uint64_t ticket, const struct rtd_map_value *event);

enum rtd_map_read {
    RTD_MAP_READ_DONE = 0,    /* *out holds the event */
    RTD_MAP_READ_PENDING = 1, /* its writer is not done yet, or never will be */
    RTD_MAP_READ_LOST = 2,    /* overwritten by a later one */
};

/* Tickets taken so far. */
uint64_t rtd_map_count(const struct rtd_ledger *ledger);

/* Copies the event of that ticket, unchecked; torn copies count as lost. */
enum rtd_map_read rtd_map_read(const struct rtd_ledger *ledger, uint64_t ticket,
                               struct rtd_map_value *out);

#endif
