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

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* All figures in true bytes. heap_bytes is not from /proc: the caller fills it from the ledger. */
struct rtd_memory_snapshot {
    uint64_t time_unix_ns;
    uint64_t rss_bytes, heap_bytes, virtual_bytes, resident_bytes, shared_bytes, text_bytes,
        data_bytes, stack_bytes;
    uint64_t peak_rss_bytes, swap_bytes, peak_virtual_bytes;
    uint64_t limit_bytes; /* nearest limit of memory: cgroup up the tree, else physical memory */
    bool limit_is_cgroup;
    double pressure; /* rss (or cgroup usage) / limit, 0..1 */
    uint32_t threads;
    uint64_t minor_faults, major_faults;
    bool valid;
};

/* Fills *out for pid. Constant cost: statm, status, stat; never smaps. 0 or a negative errno. */
int rtd_track_snapshot(pid_t pid, struct rtd_memory_snapshot *out);

/* Start time (field 22 of /proc/PID/stat, clock ticks): with the pid it names one process. 0 or
 * -errno. */
int rtd_track_start_time(pid_t pid, uint64_t *start_time);

/* Command line with spaces between arguments, cut to size - 1 bytes, always terminated, control
 * characters replaced; 0 or -errno. */
int rtd_track_command(pid_t pid, char *out, size_t size);

/* Thread ids of pid into tids (at most max); returns how many there are or a negative errno. */
int rtd_track_threads(pid_t pid, uint32_t *tids, unsigned max);

/* True when /proc/PID/status says that a seccomp filter is in force. */
bool rtd_track_has_seccomp(pid_t pid);

/* True when pid has a handler of its own for a signal (1..64). */
bool rtd_track_catches(pid_t pid, int signal);

/* The name the kernel has for pid (the file it was started as, cut to 15 bytes); 0 or -errno. */
int rtd_track_program(pid_t pid, char *out, size_t size);

/* The target of /proc/PID/exe into out; 0 or -errno. */
int rtd_track_executable(pid_t pid, char *out, size_t size);

#endif
