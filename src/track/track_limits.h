// SPDX-License-Identifier: Apache-2.0
/*
 * track_limits.h - every limit of memory that applies to a process, and which one is nearest.
 *
 * Runs in:    collector; a program that links libriptide, about itself
 * Threads:    no state
 * Allocates:  file descriptors for the length of a call; no heap
 * Fails:      never as a whole: what cannot be read is missing, with its reason in words
 *
 * Small files only, a few for each level of the control group: the cost does not depend on the
 * size of the process. What counts against a limit, and its share of it:
 *
 *   group's maximum, high   usage - inactive file cache, which the kernel gives up first
 *   group's swap            swap in use (version 1: memory and swap together)
 *   RLIMIT_AS               virtual bytes
 *   RLIMIT_DATA             private writable bytes
 *   host                    MemTotal - MemAvailable of MemTotal
 *
 *   share = usage / limit, cut to 0..1; the nearest limit is the one with the highest share.
 *
 * Limits of swap are listed but are never the nearest: full swap alone refuses and kills nobody.
 */
#ifndef RTD_TRACK_LIMITS_H
#define RTD_TRACK_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum rtd_limit_kind {
    RTD_LIMIT_CGROUP_MAX,  /* beyond it the kernel kills in the group */
    RTD_LIMIT_CGROUP_HIGH, /* beyond it the group is slowed down; version 2 only */
    RTD_LIMIT_CGROUP_SWAP,
    RTD_LIMIT_ADDRESS_SPACE, /* RLIMIT_AS: allocations fail */
    RTD_LIMIT_DATA,          /* RLIMIT_DATA: allocations fail */
    RTD_LIMIT_HOST,
    RTD_LIMIT_KINDS
};

enum { RTD_LIMIT_MAX = 16, RTD_LIMIT_PATH_BYTES = 128, RTD_LIMIT_REASON_BYTES = 128 };

struct rtd_limit {
    uint32_t kind; /* enum rtd_limit_kind */
    uint64_t limit_bytes, usage_bytes;
    double share;
    /* Of the control group, "/" for the topmost, its beginning cut to ".."; else "". */
    char path[RTD_LIMIT_PATH_BYTES];
};

/* Since the group was made: what the kernel did to it. RTD_LIMIT_UNKNOWN: not told. */
struct rtd_limit_events {
    uint64_t high, max, oom, oom_kill;
};

#define RTD_LIMIT_UNKNOWN UINT64_MAX

struct rtd_limits {
    bool valid;        /* was read, whatever came of it */
    uint64_t taken_ns; /* the caller's clock */
    uint32_t count;
    int32_t nearest;  /* into list; -1: none is known */
    uint32_t dropped; /* further ones, all with lower shares, for which there was no room */
    struct rtd_limit list[RTD_LIMIT_MAX];
    struct rtd_limit_events events; /* of the process's own group */
    /* Why limits of that sort are missing; "" when they are all there. */
    char cgroup_reason[RTD_LIMIT_REASON_BYTES];
    char process_reason[RTD_LIMIT_REASON_BYTES];
    char host_reason[RTD_LIMIT_REASON_BYTES];
};

/* Where the files are, for tests; borrowed. */
struct rtd_limit_roots {
    const char *proc;   /* NULL: "/proc" */
    const char *cgroup; /* NULL: "/sys/fs/cgroup" */
};

/* Fills *out for pid. roots NULL: the system's. taken_ns is left 0 for the caller to fill. */
void rtd_track_limits(pid_t pid, const struct rtd_limit_roots *roots, struct rtd_limits *out);

/* "cgroup_max", "rlimit_as", ...: a constant, for every number. */
const char *rtd_limit_kind_name(uint32_t kind);

#endif
