// SPDX-License-Identifier: Apache-2.0
/*
 * track_allocator.h - which allocator serves this process, and what it says about itself.
 *
 * Runs in:    a program that links libriptide; the process it asks is its own
 * Threads:    any, at any time
 * Allocates:  never; the allocator that is asked may
 * Fails:      figure by figure: RTD_ALLOCATOR_UNKNOWN and a reason, never 0 for what is not known
 *
 * The allocator is the one whose malloc() comes first in the order in which the loader looks, our
 * own agent passed over: what the agent's hooks call. Its functions are taken from that very
 * object, so that a second allocator which some plugin brought along is not asked by mistake. They
 * are found in the object's tables and, for an allocator that is linked into the program and
 * exports nothing, through weak references.
 *
 * The six figures have the meaning that jemalloc gave them. Where another allocator counts
 * differently, this is how its figures are made of what it tells:
 *
 *                glibc 2.33+          jemalloc          tcmalloc (gperftools)         mimalloc
 *                (mallinfo2)          (mallctl)         (GetNumericProperty)    (mi_process_info)
 *   allocated    uordblks + hblkhd    stats.allocated   current_allocated_bytes         -
 *   active       -                    stats.active      heap_size - free - unmapped     -
 *   metadata     -                    stats.metadata    physical + unmapped - heap_size -
 *   resident     -                    stats.resident    physical                        -
 *   mapped       arena + hblkhd       stats.mapped      physical + unmapped     current_commit
 *   retained     fordblks             stats.retained    heap_size - allocated           -
 *
 *   (tcmalloc: free = pageheap_free_bytes, unmapped = pageheap_unmapped_bytes, physical =
 *   total_physical_bytes = heap_size + its own structures - unmapped.)
 *
 *   allocated  With glibc, blocks with their headers and rounding, and those that lie in the
 *              threads' caches (tcache): free, but glibc does not count them; at most 240 KB a
 *              thread. With tcmalloc, blocks with the rounding to size classes.
 *   active     Whole pages that hold allocated blocks or blocks in caches.
 *   resident   As the allocator counts: pages that it got and did not give back, touched or not.
 *   mapped     jemalloc: without retained. mimalloc: what it may touch (committed).
 *   retained   glibc and tcmalloc: free and part of mapped, whether its pages were given back or
 *              not; at glibc the free end of the main arena, which alone shrinks by itself, is in
 *              it. jemalloc: address space without pages, kept for reuse, not part of mapped.
 *
 *   glibc does not know which of its pages hold blocks or are resident, and its own structures
 *   lie between the blocks and are not counted apart. The mimalloc that distributions build
 *   counts no blocks. Both is said in `unavailable`.
 */
#ifndef RTD_TRACK_ALLOCATOR_H
#define RTD_TRACK_ALLOCATOR_H

#include <stdbool.h>
#include <stdint.h>

#define RTD_ALLOCATOR_UNKNOWN UINT64_MAX

struct rtd_allocator_figures {
    bool asked;       /* false: nobody asked, and nothing else here means anything */
    const char *name; /* "glibc", "jemalloc", "tcmalloc", "mimalloc" or "other"; static */
    uint64_t allocated_bytes, active_bytes, metadata_bytes, resident_bytes, mapped_bytes,
        retained_bytes;      /* RTD_ALLOCATOR_UNKNOWN: see unavailable */
    const char *unavailable; /* why a figure is not known, "" if all are; static */
};

enum rtd_allocator_kind {
    RTD_ALLOCATOR_OTHER,
    RTD_ALLOCATOR_GLIBC,
    RTD_ALLOCATOR_JEMALLOC,
    RTD_ALLOCATOR_TCMALLOC,
    RTD_ALLOCATOR_MIMALLOC,
};

/* Any function: it is called through its own type. */
typedef void (*rtd_allocator_function)(void);

/*
 * The functions of the allocator in use, NULL where it has none. They stay valid as long as the
 * process lives: what served malloc() at the start is never unloaded.
 */
struct rtd_allocator {
    enum rtd_allocator_kind kind;
    const char *name; /* as in the figures */
    /* mallinfo2, mallctl, MallocExtension_GetNumericProperty, mi_process_info: cast to call */
    rtd_allocator_function ask;
    /* malloc_trim, mallctl, MallocExtension_ReleaseFreeMemory, mi_collect */
    rtd_allocator_function release;
};

/* Finds the allocator; the first call reads the loader's tables, some 10 microseconds. */
void rtd_allocator_find(struct rtd_allocator *out);

/*
 * Asks it. Takes its locks, one after the other. glibc walks its free blocks under them, up to a
 * microsecond each: some 0.4 s were measured with 500,000 free blocks. The others take 1 to 30
 * microseconds, whatever they hold.
 */
void rtd_allocator_read(struct rtd_allocator_figures *out);

/*
 * The same for whoever looks often: the figures of the last time while they are younger than a
 * hundred times what asking took, so that it never takes more than a hundredth of the time. When it
 * took more than 10 ms of processor time, it is a thousand times, and the figures are unknown in
 * between: they would be too old. One thread asks, the others have the older figures meanwhile. No
 * lock but the allocator's.
 */
void rtd_allocator_glance(struct rtd_allocator_figures *out);

#endif
