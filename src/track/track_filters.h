// SPDX-License-Identifier: Apache-2.0
/*
 * track_filters.h - whether a filter of system calls is in force in any thread of a process.
 *
 * Runs in:    collector
 * Threads:    pure but for reading /proc
 * Allocates:  a list of threads, for the call
 * Fails:      towards "yes"
 */
#ifndef RTD_TRACK_FILTERS_H
#define RTD_TRACK_FILTERS_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Looks at /proc/TID/status of every thread: a thread may have a filter that the first one lacks.
 * True as well when the list of threads cannot be had. About 15 us for each thread, so for what an
 * operator asks and not for what is done each second (rtd_track_has_seccomp).
 */
bool rtd_track_any_seccomp(pid_t pid);

#endif
