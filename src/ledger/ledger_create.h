// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_create.h - makes a ledger: a sealed, pre-touched memfd.
 *
 * Runs in:    collector
 * Threads:    any, no shared state
 * Allocates:  one memfd and one shared mapping of its first RTD_LEDGER_BYTES
 * Fails:      by a negative errno; nothing is left behind
 */
#ifndef RTD_LEDGER_CREATE_H
#define RTD_LEDGER_CREATE_H

#include "ledger/ledger_layout.h"

#include <stdbool.h>

struct rtd_ledger_options {
    uint32_t mode;           /* enum rtd_mode */
    uint64_t interval_bytes; /* first sampling interval */
    bool interval_fixed;
    uint64_t seed;
    uint64_t session;
};

struct rtd_ledger_handle {
    int fd;                    /* owned; -1 = none */
    struct rtd_ledger *ledger; /* shared mapping of RTD_LEDGER_BYTES, owned; NULL = none */
};

/*
 * Creates the memfd (close-on-exec, sealed against shrinking, growing and further seals), allocates
 * every page by fallocate() so that the target never causes an allocation (the kernel clears a
 * page at its first use, by whichever side), and writes the collector's half of the header. What
 * exact mode has behind them (ledger_exact.h) stays sparse and is not mapped here: a page of it
 * costs memory when the target first writes it. Returns 0 or a negative errno.
 */
int rtd_ledger_create(const struct rtd_ledger_options *options, struct rtd_ledger_handle *out);

/* Names the target before the hand-over. pid and start time as the collector sees them. */
void rtd_ledger_assign(struct rtd_ledger *ledger, uint32_t pid, uint64_t start_time);

/* Sets the clock word: called by the collector at each tick. */
void rtd_ledger_tick(struct rtd_ledger *ledger, uint64_t clock_ms);

/*
 * Adapts header.interval_bytes from the samples taken since the last call (no effect when fixed):
 * aims at 150..400 samples a second within 16 KiB .. 4 MiB, by factors of 2.
 */
void rtd_ledger_adapt(struct rtd_ledger *ledger, uint64_t samples, uint64_t elapsed_ms);

/* Frees the blocks of threads that are gone (tid not in tids[]), folding their totals. */
unsigned rtd_ledger_reclaim_threads(struct rtd_ledger *ledger, const uint32_t *tids,
                                    unsigned count);

/* Unmaps and closes; tolerates an empty handle. */
void rtd_ledger_close(struct rtd_ledger_handle *handle);

#endif
