// SPDX-License-Identifier: Apache-2.0
/*
 * manager_handle.h - what a `struct riptide_manager` is made of, for the files of this room.
 *
 * Runs in:    a program that links libriptide
 * Threads:    fields are set while it opens and read by all; the exceptions say what guards them
 * Allocates:  never
 * Fails:      not applicable
 */
#ifndef RTD_MANAGER_HANDLE_H
#define RTD_MANAGER_HANDLE_H

#include "analyze/analyze_report.h"
#include "riptide/riptide.h"

#include <stdatomic.h>
#include <string.h>

struct rtd_records;
struct rtd_manager_alerts;
struct rtd_manager_loop;

struct riptide_manager {
    _Atomic uint32_t forked;        /* set in the child of a fork: every function refuses */
    struct riptide_options options; /* listen_address and thresholds point into the manager */
    struct riptide_thresholds thresholds;
    char listen_address[64];
    struct rtd_records *records;       /* owned; never NULL */
    struct rtd_manager_alerts *alerts; /* owned; NULL: off */
    struct rtd_manager_loop *loop;     /* owned */
    struct riptide_manager *next;      /* in the list of open ones; guarded by its lock */
};

/*
 * A report of now, heap and records with names, owned by the caller (rtd_report_free()). Any
 * thread; one at a time works, others wait. 0 or an error.
 */
int rtd_manager_report(struct riptide_manager *manager, struct rtd_report **out);

/* 0, -EINVAL for NULL, or RIPTIDE_E_FORKED: what every public function asks first. */
static inline int rtd_manager_check(const struct riptide_manager *manager)
{
    if (!manager)
        return -22;
    return atomic_load_explicit(&manager->forked, memory_order_relaxed) ? RIPTIDE_E_FORKED : 0;
}

/*
 * Hands a filled struct over to a caller whose idea of it may be older or newer: `out` begins with
 * a size that the caller set, `filled` is `bytes` long. What the caller has no room for is left
 * out, and what it has beyond is left alone. 0, or -EINVAL when out is NULL or says no size.
 */
static inline int rtd_manager_give(void *out, const void *filled, size_t bytes)
{
    size_t size = 0;

    if (!out)
        return -22;
    memcpy(&size, out, sizeof(size));
    if (size < sizeof(size))
        return -22;
    const size_t given = size < bytes ? size : bytes;
    memcpy((char *)out + sizeof(size), (const char *)filled + sizeof(size), given - sizeof(size));
    return 0;
}

#endif
