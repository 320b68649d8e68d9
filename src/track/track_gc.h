// SPDX-License-Identifier: Apache-2.0
/*
 * track_gc.h - makes the allocator of this process give free memory back to the kernel.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; several at once only repeat each other's work
 * Allocates:  a file descriptor for the length of a call; the allocator may do as it likes
 * Fails:      by a negative errno; -ENOSYS when the allocator offers nothing of the kind
 */
#ifndef RTD_TRACK_GC_H
#define RTD_TRACK_GC_H

#include <stdint.h>

struct rtd_gc_result {
    uint64_t before_bytes, after_bytes; /* resident set, as /proc/self/statm counts */
    uint64_t freed_bytes;               /* 0 when it did not shrink */
    uint64_t duration_ns;               /* of the allocator's call alone */
    const char *action;                 /* what was called; static */
};

/*
 * Releases now. What is free in the caches of other threads stays there with every allocator.
 * mimalloc 2.0 gives back whole free segments (32 MB) of the calling thread and of threads that
 * have ended; free pages of segments in use it gives back by itself, later. May take milliseconds,
 * with the allocator's locks held. 0, -ENOSYS, or the errno of an allocator that refused.
 */
int rtd_track_gc(struct rtd_gc_result *out);

#endif
