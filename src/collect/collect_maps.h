// SPDX-License-Identifier: Apache-2.0
/*
 * collect_maps.h - follows the mappings of one process: ring of events in, figures by site out.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop; _drain() may run while a report is being made, because what it
 *             changes is its own and reaches the record with _publish() only
 * Allocates:  the map of the process, from its first event on
 * Fails:      by counting: what the ring lost is in the ledger's losses, what made no sense in
 *             rtd_mappings.refused
 *
 * Events come late by a tick at most; a ring that overflowed meanwhile leaves ranges that are no
 * longer mapped. So now and then the map is compared with /proc/PID/maps. What was mapped unseen
 * stays unknown: the kernel does not say whose call it was.
 */
#ifndef RTD_COLLECT_MAPS_H
#define RTD_COLLECT_MAPS_H

#include "ledger/ledger_maps.h"
#include "track/track_maps.h"

#include <stdbool.h>
#include <sys/types.h>

enum { RTD_COLLECT_MOVES = 8 };

/* All zero is the state of a process that has mapped nothing yet. */
struct rtd_collect_maps {
    struct rtd_maps *maps;      /* owned; NULL before the first event */
    struct rtd_mappings counts; /* the counters of events; its sites are not used */
    uint64_t next;              /* ticket of the event to be read next */
    uint64_t waiting_ns;        /* since when that event is awaited; 0: it is not */
    uint64_t corrected_ns;      /* when the kernel was asked last; 0: never */
    uint64_t drift_ns;          /* first event since then; 0: none */
    bool lossy;                 /* events were lost since then */
    bool changed;               /* since _publish() */
    bool busy;                  /* so many events came that the next tick would be late */
    uint64_t mapped_bytes;      /* by all events so far, as far as they said */
    /* What kind was mapped where mremap() took it away, until its new place is known. */
    struct {
        uint64_t address;
        int kind;
    } moves[RTD_COLLECT_MOVES];
    unsigned move_count;
};

void rtd_collect_maps_fini(struct rtd_collect_maps *state);

/*
 * Reads the events that have come. last: the writer is dead, what is not there will not come.
 * Costs one load when there is nothing new.
 */
void rtd_collect_maps_drain(struct rtd_collect_maps *state, struct rtd_ledger *ledger,
                            uint64_t now_ns, bool last);

/*
 * Compares with what the kernel lists for the process, when that is due. After a _drain() of the
 * same moment, and only while the process runs the image that the ledger belongs to.
 */
void rtd_collect_maps_correct(struct rtd_collect_maps *state, const struct rtd_ledger *ledger,
                              pid_t pid, uint64_t now_ns);

/* True when the figures are others than those of the last _publish(). */
bool rtd_collect_maps_changed(const struct rtd_collect_maps *state);

/* Copies the figures into the record's *out, which owns them. 0 or -ENOMEM. */
int rtd_collect_maps_publish(struct rtd_collect_maps *state, struct rtd_mappings *out);

#endif
