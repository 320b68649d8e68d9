// SPDX-License-Identifier: Apache-2.0
/*
 * track_process.h - one process's memory, as /proc tells it.
 *
 * Runs in:    collector (and later inside a program that links libriptide)
 * Threads:    no shared state
 * Allocates:  file descriptors only for the length of a call; no heap
 * Fails:      by a negative errno (-ESRCH: the process is gone); missing single figures are marked
 */
#ifndef RTD_TRACK_PROCESS_H
#define RTD_TRACK_PROCESS_H

#include "track/track_allocator.h"
#include "track/track_limits.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * All figures in true bytes; what the kernel does not tell (a kernel without swap, say) is 0.
 * heap_bytes is not from /proc: the caller fills it from the ledger. rss_bytes and resident_bytes
 * are one figure under the two names that the interfaces ask for.
 */
struct rtd_memory_snapshot {
    uint64_t time_unix_ns; /* when it was read */
    uint64_t rss_bytes, heap_bytes, virtual_bytes, resident_bytes, shared_bytes, text_bytes,
        data_bytes, stack_bytes;
    uint64_t peak_rss_bytes, swap_bytes, peak_virtual_bytes;
    /*
     * The nearest limit of all that apply (track_limits.h), 0: none is known. What counts against
     * it is a figure of this process plus what others use, which may be negative: pages that are
     * resident here may be charged elsewhere. pressure = used / limit, cut to 0..1.
     */
    uint64_t limit_bytes;
    uint32_t limit_kind; /* enum rtd_limit_kind */
    int64_t limit_others_bytes;
    double pressure;
    uint32_t threads;
    uint64_t minor_faults, major_faults; /* since the process began */
    bool valid;                          /* false: never read, or reading failed half-way */
    /* Of a process that asked its own allocator (a manager's); not asked everywhere else. */
    struct rtd_allocator_figures allocator;
};

/*
 * Fills *out for pid. Constant cost: statm, status, stat and the files of its limits; never smaps,
 * which walks page tables with the target's memory map locked. 0 or a negative errno; -ESRCH also
 * for a zombie, whose memory is gone. Without success out->valid is false.
 */
int rtd_track_snapshot(pid_t pid, struct rtd_memory_snapshot *out);

/*
 * rtd_track_snapshot() of the calling process. Which limit is nearest and what others use of it is
 * believed for a second, which is most of the cost.
 */
int rtd_track_snapshot_self(struct rtd_memory_snapshot *out);

/*
 * Brings a snapshot up to date, also one of zeroes, but for the limit, which is most of the cost
 * and hardly ever changes; the pressure follows the process's own share in it.
 * 0, or a negative errno; then nothing is changed.
 */
int rtd_track_update(pid_t pid, struct rtd_memory_snapshot *out);

/*
 * The same as far as one small file tells, at a tenth of the cost: time, resident, virtual and
 * shared bytes, and peaks that are exceeded.
 */
int rtd_track_glance(pid_t pid, struct rtd_memory_snapshot *out);

/* Takes the nearest of the limits, and the pressure from it, into a snapshot of the same time. */
void rtd_track_take_limits(struct rtd_memory_snapshot *out, const struct rtd_limits *limits);

/* Start time (field 22 of /proc/PID/stat, clock ticks): with the pid it names one process. 0 or
 * -errno. */
int rtd_track_start_time(pid_t pid, uint64_t *start_time);

/* Command line with spaces between arguments, cut to size - 1 bytes, always terminated, control
 * characters replaced; 0 or -errno. */
int rtd_track_command(pid_t pid, char *out, size_t size);

/*
 * Thread ids of pid into tids (at most max); returns how many there are, which may be more than
 * max, or a negative errno. Threads that begin or end meanwhile may be missed.
 */
int rtd_track_threads(pid_t pid, uint32_t *tids, unsigned max);

/* True when /proc/PID/status says that a seccomp filter is in force; false when pid is gone. */
bool rtd_track_has_seccomp(pid_t pid);

/* True when pid has a handler of its own for a signal (1..64); false when pid is gone. */
bool rtd_track_catches(pid_t pid, int signal);

/* The name the kernel has for pid (the file it was started as, cut to 15 bytes); 0 or -errno. */
int rtd_track_program(pid_t pid, char *out, size_t size);

/*
 * The target of /proc/PID/exe into out, cut to size - 1 bytes; 0 or -errno. " (deleted)" stands
 * behind a path whose file is gone. -EACCES for a process that may not be traced.
 */
int rtd_track_executable(pid_t pid, char *out, size_t size);

#endif
