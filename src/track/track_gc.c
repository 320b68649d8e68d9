// SPDX-License-Identifier: Apache-2.0
/*
 * track_gc.c - see track_gc.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no state
 * Allocates:  a file descriptor for the length of a call
 * Fails:      by a negative errno
 */
#include "track/track_gc.h"

#include "track/track_process.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

typedef int (*jemalloc_control)(const char *name, void *old, size_t *old_size, void *new_value,
                                size_t new_size);
typedef int (*glibc_trim)(size_t pad);
typedef void (*tcmalloc_release)(void);
typedef void (*mimalloc_collect)(bool force);

/* jemalloc 5's number for "all arenas". */
enum { ALL_ARENAS = 4096 };

static int purge(jemalloc_control control)
{
    char name[64];
    unsigned arena_count = 0;
    size_t size = sizeof arena_count;
    /* What this thread has freed and kept goes back to the arenas first; a thread without a cache
     * of its own is no failure. */
    (void)control("thread.tcache.flush", NULL, NULL, NULL, 0);
    snprintf(name, sizeof name, "arena.%d.purge", (int)ALL_ARENAS);
    int result = control(name, NULL, NULL, NULL, 0);
    if (result == 0)
        return 0;
    /* Before version 5, the number of arenas stood for all of them. */
    if (control("arenas.narenas", &arena_count, &size, NULL, 0) == 0) {
        snprintf(name, sizeof name, "arena.%u.purge", arena_count);
        result = control(name, NULL, NULL, NULL, 0);
    }
    return -result;
}

static int release(const struct rtd_allocator *allocator, const char **action)
{
    if (!allocator->release)
        return -ENOSYS;
    switch (allocator->kind) {
    case RTD_ALLOCATOR_GLIBC:
        *action = "malloc_trim(0)";
        (void)((glibc_trim)allocator->release)(0);
        return 0;
    case RTD_ALLOCATOR_JEMALLOC:
        *action = "mallctl thread.tcache.flush and arena.<all>.purge";
        return purge((jemalloc_control)allocator->release);
    case RTD_ALLOCATOR_TCMALLOC:
        *action = "MallocExtension_ReleaseFreeMemory()";
        ((tcmalloc_release)allocator->release)();
        return 0;
    case RTD_ALLOCATOR_MIMALLOC:
        *action = "mi_collect(true)";
        ((mimalloc_collect)allocator->release)(true);
        return 0;
    case RTD_ALLOCATOR_OTHER:
        break;
    }
    return -ENOSYS;
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int rtd_track_gc(struct rtd_gc_result *out)
{
    struct rtd_memory_snapshot before = {0}, after = {0};
    struct rtd_allocator allocator;
    *out = (struct rtd_gc_result){.action = ""};
    rtd_allocator_find(&allocator);
    int result = rtd_track_glance(getpid(), &before);
    if (result < 0)
        return result;
    const uint64_t begin_ns = monotonic_ns();
    result = release(&allocator, &out->action);
    if (result < 0)
        return result;
    out->duration_ns = monotonic_ns() - begin_ns;
    result = rtd_track_glance(getpid(), &after);
    if (result < 0)
        return result;
    out->before_bytes = before.rss_bytes;
    out->after_bytes = after.rss_bytes;
    if (after.rss_bytes < before.rss_bytes)
        out->freed_bytes = before.rss_bytes - after.rss_bytes;
    return 0;
}
