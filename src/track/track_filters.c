// SPDX-License-Identifier: Apache-2.0
/*
 * track_filters.c - filters of system calls in a process: see track_filters.h.
 *
 * Runs in:    collector
 * Threads:    pure but for reading /proc
 * Allocates:  a list of threads, for the call
 * Fails:      towards "yes"
 */
#include "track/track_filters.h"

#include "track/track_process.h"

#include <stdlib.h>

/* Threads that may come between counting them and listing them. */
enum { NEW_THREADS = 64 };

bool rtd_track_any_seccomp(pid_t pid)
{
    uint32_t first;
    const int count = rtd_track_threads(pid, &first, 1);
    if (count < 0)
        return true;
    const unsigned room = (unsigned)count + NEW_THREADS;
    uint32_t *const tids = malloc(room * sizeof *tids);
    const int listed = tids ? rtd_track_threads(pid, tids, room) : -1;
    bool any = listed < 0 || (unsigned)listed > room;
    for (int i = 0; i < listed && !any; i++)
        any = rtd_track_has_seccomp((pid_t)tids[i]);
    free(tids);
    return any;
}
