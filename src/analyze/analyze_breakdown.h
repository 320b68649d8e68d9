// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_breakdown.h - the resident memory of a process, each page of it in exactly one class.
 *
 * Runs in:    collector, a program that links libriptide
 * Threads:    _take: who may touch the map it is given; _split is pure
 * Allocates:  a table of names for the call of _take; a breakdown is a plain value
 * Fails:      by a negative errno, with the breakdown unchanged
 *
 * Invariants: the classes add up to rss_bytes, which is the sum of Rss in smaps; the parts of a
 * class add up to no more than the class.
 *
 * A mapping goes to one class as a whole, by the first of these that holds:
 *   its name ([stack], [vdso], our own files, shared memory, [heap], a file);
 *   anonymous, not mapped by the program, directly behind a module's data, at most 256 KiB unless
 *   the module is the first one listed, or our agent: that module (its .bss; an estimate);
 *   anonymous, behind a guard of up to 64 KiB: the stack of a thread (an estimate);
 *   anonymous, and a call of the program mapped its first or last page: anonymous mappings;
 *   a live block that is known one by one lies in it, or glibc's arenas begin there, or it is
 *   made of whole huge pages as jemalloc maps them: pages of the allocator, as [heap] is;
 *   what is left is the residual: nothing shows whose it is.
 *
 * Pages of the allocator, H bytes, are split in this order, each capped at what is left:
 *   live     = live bytes of the heap as the report has them
 *   metadata = as the allocator says, 0 if it was not asked
 *   slack    = allocated as the allocator says - live, 0 if it was not asked
 *   free     = the rest: free and retained, and whatever the two above do not tell
 * Live bytes that were never touched are not resident, so live is an upper bound within H.
 */
#ifndef RTD_ANALYZE_BREAKDOWN_H
#define RTD_ANALYZE_BREAKDOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "track/track_allocator.h"
#include "track/track_maps.h"

enum rtd_breakdown_class {
    RTD_BREAKDOWN_LIVE,
    RTD_BREAKDOWN_FREE,
    RTD_BREAKDOWN_SLACK,
    RTD_BREAKDOWN_METADATA,
    RTD_BREAKDOWN_ANONYMOUS,
    RTD_BREAKDOWN_STACKS,
    RTD_BREAKDOWN_MODULES,
    RTD_BREAKDOWN_FILES,
    RTD_BREAKDOWN_SHARED,
    RTD_BREAKDOWN_RIPTIDE,
    RTD_BREAKDOWN_KERNEL,
    RTD_BREAKDOWN_RESIDUAL,
    RTD_BREAKDOWN_CLASSES
};

enum { RTD_BREAKDOWN_PARTS = 48, RTD_BREAKDOWN_NAME_BYTES = 128 };

struct rtd_breakdown_part {
    uint32_t class_index; /* enum rtd_breakdown_class */
    uint64_t bytes;
    char name[RTD_BREAKDOWN_NAME_BYTES];
};

/* All zero: never taken. */
struct rtd_breakdown {
    bool valid;
    bool split;        /* false: allocator_bytes are all in RTD_BREAKDOWN_FREE */
    bool is_asked;     /* the allocator told metadata or slack; else they are in _FREE */
    uint64_t taken_ns; /* monotonic */
    uint64_t taken_unix_ns, cost_ns, areas;
    uint64_t rss_bytes, allocator_bytes, anon_huge_bytes, swap_bytes;
    uint64_t bytes[RTD_BREAKDOWN_CLASSES];
    uint32_t part_count;
    struct rtd_breakdown_part parts[RTD_BREAKDOWN_PARTS]; /* the largest first */
};

/* What is known beside the list of the kernel; all borrowed for the call. */
struct rtd_breakdown_known {
    struct rtd_maps *maps;  /* what the program mapped itself; NULL: not known */
    const uint64_t *blocks; /* addresses of live blocks, in rising order */
    size_t block_count;
    bool is_glibc;    /* arenas begin at multiples of 64 MiB */
    bool is_jemalloc; /* whole huge pages are its own */
};

/* Reads the smaps at path. 0, or the errors of rtd_smaps_read(), or -ENOMEM. */
int rtd_breakdown_take(const char *path, const struct rtd_breakdown_known *known,
                       struct rtd_breakdown *out);

/* Splits the allocator's pages; may be called again with newer figures. */
void rtd_breakdown_split(struct rtd_breakdown *breakdown, uint64_t live_bytes,
                         const struct rtd_allocator_figures *allocator);

/* Stable snake_case name of a class. */
const char *rtd_breakdown_class_name(uint32_t class_index);

#endif
