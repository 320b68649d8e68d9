// SPDX-License-Identifier: Apache-2.0
/*
 * manager_clock.c - see manager_clock.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  never
 * Fails:      never
 */
#include "manager/manager_clock.h"

#define SECOND_NS UINT64_C(1000000000)

static uint64_t read_ns(clockid_t which)
{
    struct timespec now;
    (void)clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

void rtd_clock_start(struct rtd_clock *clock)
{
    clock->began_ns = read_ns(CLOCK_MONOTONIC_COARSE);
    atomic_store_explicit(&clock->origin_unix_ns, read_ns(CLOCK_REALTIME_COARSE),
                          memory_order_relaxed);
}

uint64_t rtd_clock_origin(struct rtd_clock *clock)
{
    const uint64_t passed_ns = read_ns(CLOCK_MONOTONIC_COARSE) - clock->began_ns;
    const uint64_t unix_ns = read_ns(CLOCK_REALTIME_COARSE);
    const uint64_t fresh = unix_ns > passed_ns ? unix_ns - passed_ns : 0;
    const uint64_t kept = atomic_load_explicit(&clock->origin_unix_ns, memory_order_relaxed);
    const uint64_t apart = fresh > kept ? fresh - kept : kept - fresh;
    /* A tick between the two readings is no reason that a block's time differs between reports. */
    if (apart < SECOND_NS)
        return kept;
    atomic_store_explicit(&clock->origin_unix_ns, fresh, memory_order_relaxed);
    return fresh;
}

uint64_t rtd_clock_at_ms(struct rtd_clock *clock, uint64_t unix_ns)
{
    const uint64_t origin = rtd_clock_origin(clock);
    return unix_ns > origin ? (unix_ns - origin) / 1000000 : 0;
}
