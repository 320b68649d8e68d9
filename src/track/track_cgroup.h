// SPDX-License-Identifier: Apache-2.0
/*
 * track_cgroup.h - the memory limit that applies to a process.
 *
 * Runs in:    collector (and later inside a program that links libriptide)
 * Threads:    no state
 * Allocates:  file descriptors for the length of a call; no heap
 * Fails:      by a negative errno; -ENOENT when no control group limits the process
 */
#ifndef RTD_TRACK_CGROUP_H
#define RTD_TRACK_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rtd_track_limit {
    uint64_t limit_bytes; /* may be more than the machine has */
    uint64_t usage_bytes; /* of the group that has the limit, without inactive file cache */
};

/*
 * The tightest memory limit between the process's own group and the root (version 2, else 1).
 * 0, -ENOENT when nothing limits it, or another negative errno.
 */
int rtd_track_cgroup_limit(pid_t pid, struct rtd_track_limit *out);

/*
 * The same below mount, which stands for /sys/fs/cgroup, for a /proc/PID/cgroup text: both borrowed
 * for the call. So a test needs no control group of its own.
 */
int rtd_track_cgroup_limit_at(const char *mount, const char *cgroup_text,
                              struct rtd_track_limit *out);

/*
 * The path in the line of a /proc/PID/cgroup text whose controllers are or hold the one given with
 * commas around it (",memory,"; ",," is version 2), cut to size - 1 bytes. False without such a
 * line. All borrowed for the call.
 */
bool rtd_track_cgroup_path(const char *text, const char *controller, char *out, size_t size);

#endif
