// SPDX-License-Identifier: Apache-2.0
/*
 * track_pressure.h - how much time is lost waiting for memory (pressure stall information).
 *
 * Runs in:    collector; a program that links libriptide, about itself
 * Threads:    no state
 * Allocates:  file descriptors for the length of a call; no heap
 * Fails:      never as a whole: what cannot be read is missing, with its reason in words
 *
 * "some" is the share of time in which at least one task waited for memory, "full" that in which
 * all did: see the kernel's Documentation/accounting/psi.rst.
 */
#ifndef RTD_TRACK_PRESSURE_H
#define RTD_TRACK_PRESSURE_H

#include "track/track_limits.h"

enum { RTD_STALL_REASON_BYTES = 96 };

/* Shares are 0..1 over the last 10, 60 and 300 seconds. */
struct rtd_stall {
    bool known;
    double share_10s, share_60s, share_300s;
    uint64_t total_us; /* since the group was made, or the machine started */
};

/* One memory.pressure file. */
struct rtd_stalls {
    struct rtd_stall some, full;
    char reason[RTD_STALL_REASON_BYTES]; /* why nothing is known; "" if something is */
};

struct rtd_pressure {
    bool valid; /* was read, whatever came of it */
    struct rtd_stalls group, host;
};

/* Fills *out for pid: its control group's (version 2) and the host's. roots NULL: the system's. */
void rtd_track_pressure(pid_t pid, const struct rtd_limit_roots *roots, struct rtd_pressure *out);

/*
 * Reads the text of a pressure file; lines that are not understood are left out. False, and a
 * reason, when none was. Borrowed for the call; independent of the locale.
 */
bool rtd_track_pressure_parse(const char *text, struct rtd_stalls *out);

/* What a negative errno from reading a pressure file means, as a constant. */
const char *rtd_track_pressure_reason(int error);

#endif
