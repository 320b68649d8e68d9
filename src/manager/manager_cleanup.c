// SPDX-License-Identifier: Apache-2.0
/*
 * manager_cleanup.c - the seed's two clean-ups of old detail, by hand.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  never
 * Fails:      by a negative errno or enum riptide_error
 *
 * The seed keeps a store in each of its two components; here the records have one. What the leak
 * detector looks back on are places where nothing is live any more; what the analyzer looks back
 * on is the list of single records by size. Each function drops its own part.
 */
#include "collect/collect_pool.h"
#include "manager/manager_handle.h"
#include "manager/manager_records.h"

#include <errno.h>
#include <math.h>

static int clean(struct riptide_manager *manager, double retention_hours, bool sites, bool history)
{
    const uint64_t now_ns = rtd_collect_unix_ns();
    const double age_ns = retention_hours * 3600e9 / manager->options.time_scale;

    if (!isfinite(retention_hours) || retention_hours <= 0)
        return -EINVAL;
    /* Nothing is older than 1970. */
    if (age_ns >= (double)now_ns)
        return 0;
    return rtd_records_cleanup(manager->records, now_ns - (uint64_t)age_ns, sites, history);
}

int riptide_cleanup_leaks(struct riptide_manager *manager, double retention_hours)
{
    const int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    if (!manager->options.leak_detector)
        return RIPTIDE_E_DISABLED;
    return clean(manager, retention_hours, true, false);
}

int riptide_cleanup_allocations(struct riptide_manager *manager, double retention_hours)
{
    const int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    if (!manager->options.allocation_analyzer)
        return RIPTIDE_E_DISABLED;
    return clean(manager, retention_hours, false, true);
}
