// SPDX-License-Identifier: Apache-2.0
/*
 * track_cgroup.h - which control group a process is in.
 *
 * Runs in:    collector; a program that links libriptide, about itself
 * Threads:    pure
 * Allocates:  never
 * Fails:      by saying that there is no such group
 */
#ifndef RTD_TRACK_CGROUP_H
#define RTD_TRACK_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The path in the line of a /proc/PID/cgroup text whose controllers are or hold the one given with
 * commas around it (",memory,"; ",," is version 2), cut to size - 1 bytes. False without such a
 * line. All borrowed for the call.
 */
bool rtd_track_cgroup_path(const char *text, const char *controller, char *out, size_t size);

#endif
