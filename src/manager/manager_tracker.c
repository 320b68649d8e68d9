// SPDX-License-Identifier: Apache-2.0
/*
 * manager_tracker.c - the memory tracker of riptide.h: snapshot, allocator figures, force GC.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; nothing is shared but what the rooms below keep
 * Allocates:  file descriptors for the length of a call
 * Fails:      by a negative errno or an enum riptide_error
 */
#include "base/base_macros.h"
#include "manager/manager_handle.h"
#include "manager/manager_loop.h"
#include "track/track_allocator.h"
#include "track/track_gc.h"
#include "track/track_process.h"

#include <errno.h>
#include <string.h>

RTD_STATIC_ASSERT(RTD_ALLOCATOR_UNKNOWN == RIPTIDE_UNAVAILABLE, "one number for 'not known'");

/* What a public function asks first: an open manager with its tracker on, and somewhere to put the
 * answer. */
static int check(const struct riptide_manager *manager, const void *out)
{
    size_t size;
    const int result = rtd_manager_check(manager);
    if (result < 0)
        return result;
    if (!out)
        return -EINVAL;
    /* Before anything is done that the answer would be about. */
    memcpy(&size, out, sizeof size);
    if (size < sizeof size)
        return -EINVAL;
    return manager->options.tracker ? 0 : RIPTIDE_E_DISABLED;
}

/* Our own process is there: when the kernel shows nothing of it, it shows nothing of anybody. */
static int unavailable_if_missing(int result)
{
    return result == -ESRCH || result == -ENOENT ? RIPTIDE_E_UNAVAILABLE : result;
}

/* The live heap if it is watched, else what the allocator says, not asked at any price. */
static uint64_t heap_bytes(struct riptide_manager *manager)
{
    struct rtd_allocator_figures figures;
    const uint64_t live_bytes = rtd_manager_heap_bytes(manager);
    if (live_bytes != RIPTIDE_UNAVAILABLE)
        return live_bytes;
    rtd_allocator_glance(&figures);
    return figures.allocated_bytes;
}

int riptide_snapshot_read(struct riptide_manager *manager, struct riptide_memory_snapshot *out)
{
    struct rtd_memory_snapshot now;
    int result = check(manager, out);
    if (result < 0)
        return result;
    result = rtd_track_snapshot_self(&now);
    if (result < 0)
        return unavailable_if_missing(result);
    const struct riptide_memory_snapshot filled = {
        .size = sizeof filled,
        .timestamp_ns = now.time_unix_ns,
        .rss_bytes = now.rss_bytes,
        .heap_bytes = heap_bytes(manager),
        .virtual_bytes = now.virtual_bytes,
        .resident_bytes = now.resident_bytes,
        .shared_bytes = now.shared_bytes,
        .text_bytes = now.text_bytes,
        .data_bytes = now.data_bytes,
        .stack_bytes = now.stack_bytes,
        .peak_rss_bytes = now.peak_rss_bytes,
        .swap_bytes = now.swap_bytes,
        .limit_bytes = now.limit_bytes,
        .pressure = now.pressure,
    };
    return rtd_manager_give(out, &filled, sizeof filled);
}

int riptide_allocator_read(struct riptide_manager *manager, struct riptide_allocator_stats *out)
{
    struct rtd_allocator_figures now;
    const int result = check(manager, out);
    if (result < 0)
        return result;
    rtd_allocator_read(&now);
    const struct riptide_allocator_stats filled = {
        .size = sizeof filled,
        .allocator = now.name,
        .allocated_bytes = now.allocated_bytes,
        .active_bytes = now.active_bytes,
        .metadata_bytes = now.metadata_bytes,
        .resident_bytes = now.resident_bytes,
        .mapped_bytes = now.mapped_bytes,
        .retained_bytes = now.retained_bytes,
        .unavailable = now.unavailable,
    };
    return rtd_manager_give(out, &filled, sizeof filled);
}

int riptide_force_gc(struct riptide_manager *manager, struct riptide_gc_result *out)
{
    struct rtd_gc_result done;
    int result = check(manager, out);
    if (result < 0)
        return result;
    result = rtd_track_gc(&done);
    if (result == -ENOSYS)
        return RIPTIDE_E_UNAVAILABLE;
    if (result < 0)
        return unavailable_if_missing(result);
    const struct riptide_gc_result filled = {
        .size = sizeof filled,
        .before_bytes = done.before_bytes,
        .after_bytes = done.after_bytes,
        .freed_bytes = done.freed_bytes,
        .duration_ns = done.duration_ns,
        .action = done.action,
    };
    return rtd_manager_give(out, &filled, sizeof filled);
}

int riptide_memory_pressure(struct riptide_manager *manager, double *pressure)
{
    struct rtd_memory_snapshot now;
    int result = rtd_manager_check(manager);
    if (result < 0)
        return result;
    if (!pressure)
        return -EINVAL;
    /* The seed has it at its leak detector; either component that is on will do. */
    if (!manager->options.tracker && !manager->options.leak_detector)
        return RIPTIDE_E_DISABLED;
    result = rtd_track_snapshot_self(&now);
    if (result < 0)
        return unavailable_if_missing(result);
    *pressure = now.pressure;
    return 0;
}
