// SPDX-License-Identifier: Apache-2.0
/*
 * collect_process.h - one observed process image: its ledger, its record, what is due for it.
 *
 * Runs in:    collector; a program that links libriptide, about itself
 * Threads:    the collector's loop; while a report is being made (collect_reporter.h) `record` is
 *             read by that thread and the loop leaves it alone
 * Allocates:  the record, an image of the ledger, the series
 * Fails:      by a negative errno or NULL; a process without an image is reported as blind
 *
 * A process image is what one execve() made. States: handed over -> recording -> ending (its
 * death or its next image was seen) -> ended (ledger read a last time and given back). Everything
 * between is only postponed, never lost: a ledger does not change after its writer is dead.
 */
#ifndef RTD_COLLECT_PROCESS_H
#define RTD_COLLECT_PROCESS_H

#include "analyze/analyze_input.h"
#include "collect/collect_maps.h"
#include "collect/collect_pool.h"

#include <stdbool.h>

struct rtd_collect_process {
    struct rtd_process_record record;
    struct rtd_pool_ledger ledger; /* empty when never handed over or given back */
    int pidfd;                     /* -1: none */
    uint64_t start_time;           /* with the pid, which process it is */

    /* Seen by the loop, carried out when the record is free. */
    bool
        borrowed; /* another collector keeps the ledger: it is read, and nothing in it is written */
    bool ending;
    bool replaced;     /* ends by an execve() */
    bool status_known; /* exit_code and signal were told by the kernel */
    int pending_exit_code, pending_signal;

    /* What the ledger said when the image was read; equal again: nothing to read. */
    uint64_t print_samples, print_live, print_shift, print_modules;
    bool image_read;
    uint64_t read_ns;      /* when that was */
    uint64_t read_cost_ns; /* how long it took */

    struct rtd_collect_maps maps;

    uint64_t hello_ns; /* when the ledger was handed over, or the process was first seen */
    uint64_t address_limit_bytes; /* RLIMIT_AS at that moment; 0 = none, or not known */
    uint64_t adapt_ns, adapt_samples;
    uint64_t point_ns, point_spacing_ns; /* when the next point is due, and how far apart */
    uint64_t figures_ns;                 /* until when a glance is enough */
    uint64_t check_ns, look_ns, reclaim_ns, list_ns, series_ns;
    char *other_path; /* owned; the executable it was seen to run without a hello, or NULL */
    uint64_t other_ns;
    bool allocator_named;
    bool recorded; /* stands in the recording */
    bool changed;  /* since it was last recorded */
};

/* A new process of that pid. The caller frees. NULL when memory is short. */
struct rtd_collect_process *rtd_process_new(uint32_t id, pid_t pid);

/* Closes pidfd, gives the ledger back to the pool, frees the record. NULL is allowed. */
void rtd_process_free(struct rtd_collect_process *process, struct rtd_pool *pool);

/* The parent of a live process, as the kernel says; 0 when that is not known. */
pid_t rtd_process_parent(pid_t pid);

/* Fills command, executable and start of the record from /proc, as far as it still can. */
void rtd_process_describe(struct rtd_collect_process *process);

/* Ticks the ledger's clock. Safe also while a report is being made. */
void rtd_process_tick(const struct rtd_collect_process *process, uint64_t now_ns);

/* Adapts the ledger's sampling interval, once a second at most. Safe like _tick. */
void rtd_process_adapt(struct rtd_collect_process *process, uint64_t now_ns);

/* Follows what the process maps, at each tick and when it has ended. Safe like _tick. */
void rtd_process_maps(struct rtd_collect_process *process, uint64_t now_ns);

/* True when the process is worth a report of its own: it was sampled, or it mapped much. */
bool rtd_process_matters(const struct rtd_collect_process *process);

/* True when the agent took samples in this process. */
bool rtd_process_sampled(const struct rtd_collect_process *process);

/* Brings the image up to date if the ledger changed. 0 or a negative errno. */
int rtd_process_refresh(struct rtd_collect_process *process, uint64_t now_ns);

/* The same for a report: whatever it costs, and in exact mode with the ages of live blocks. */
int rtd_process_examine(struct rtd_collect_process *process, uint64_t now_ns);

/* Takes a memory snapshot and a point of the coarse series when one is due (or `force`). */
void rtd_process_point(struct rtd_collect_process *process, uint64_t now_ns, bool force);

/* Adds a point to the series per site when one is due; reads the ledger for it. */
void rtd_process_series(struct rtd_collect_process *process, uint64_t now_ns);

/* Marks the process blind, in words; what it said before stays. */
void rtd_process_blind(struct rtd_collect_process *process, const char *reason);

/* Last read of the ledger, status, and the ledger back to the pool. */
void rtd_process_end(struct rtd_collect_process *process, struct rtd_pool *pool, uint64_t now_ns);

#endif
