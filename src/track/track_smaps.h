// SPDX-License-Identifier: Apache-2.0
/*
 * track_smaps.h - the mappings of a process with what each holds in memory: /proc/PID/smaps.
 *
 * Runs in:    collector, a program that links libriptide
 * Threads:    any; works in the caller's storage and on its own stack
 * Allocates:  never
 * Fails:      by a negative errno; what was delivered before stays delivered and counted
 *
 * The file is read in pieces through one fixed buffer, and each mapping is handed over as soon as
 * the next one begins: 65,000 mappings need no more memory than one. The kernel makes the text
 * while it is read, so the list is no snapshot of a program that maps and unmaps meanwhile.
 */
#ifndef RTD_TRACK_SMAPS_H
#define RTD_TRACK_SMAPS_H

#include <stdbool.h>
#include <stdint.h>

enum { RTD_SMAPS_NAME_BYTES = 256 };

/* One mapping. Bytes, all of them; a figure the kernel does not give is 0. */
struct rtd_smaps_area {
    uint64_t start, end;
    char permissions[5]; /* as in "rw-p" */
    uint64_t inode;      /* 0: no file */
    uint64_t rss_bytes, pss_bytes, anonymous_bytes, swap_bytes, locked_bytes;
    uint64_t anon_huge_bytes, shmem_huge_bytes, file_huge_bytes;
    uint64_t private_bytes, shared_bytes;
    char name[RTD_SMAPS_NAME_BYTES]; /* cut when longer; "" for none */
};

/* What a reading came to, also when it failed half-way. */
struct rtd_smaps_summary {
    uint64_t areas, rss_bytes, pss_bytes;
    uint64_t cost_ns; /* from opening to closing, by the monotonic clock */
};

/* area is borrowed for the call. A negative errno ends the reading and is its result. */
typedef int (*rtd_smaps_visit)(void *context, const struct rtd_smaps_area *area);

/*
 * Visits every mapping listed at path (/proc/PID/smaps) in its order. Returns 0 when the list was
 * read to its end; -ESRCH when the process is gone, was seen to die in the middle of the list, or
 * has no memory any more (an empty list); -EACCES when it may not be looked at; -EBADMSG when the
 * text is no such list. *summary is always filled.
 */
int rtd_smaps_read(const char *path, rtd_smaps_visit visit, void *context,
                   struct rtd_smaps_summary *summary);

#endif
