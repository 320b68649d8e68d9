// SPDX-License-Identifier: Apache-2.0
/*
 * manager_clock.h - when something was recorded: the records' own clock, and its stamps.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  never
 * Fails:      never; what is out of range is moved to the end that is nearest
 *
 * The clock is monotonic: a wall clock that is set forth or back bends no age and no series. Wall
 * times come in and go out by what the wall clock says at that moment, so after it was set right
 * all times of a report are right as well. Time that the machine sleeps does not count.
 *
 * Tables hold stamps of 32 bits: milliseconds for the first 24 days, quarters of a second (256 ms)
 * from then on, until they stay the same after 17 years. Stamps order as the times do.
 */
#ifndef RTD_MANAGER_CLOCK_H
#define RTD_MANAGER_CLOCK_H

#include "base/base_macros.h"

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define RTD_STAMP_FINE    (UINT32_C(1) << 31) /* stamps below this are milliseconds */
#define RTD_STAMP_UNIT_MS UINT64_C(256)       /* of those above */
#define RTD_STAMP_MAX     (UINT32_MAX - 1)    /* so that one more can be held beside 0 for none */

struct rtd_clock {
    uint64_t began_ns;               /* on the monotonic clock */
    _Atomic uint64_t origin_unix_ns; /* what the wall clock would have said then */
};

/* Begins at 0 now. */
void rtd_clock_start(struct rtd_clock *clock);

/* The wall time of its beginning by the wall clock of now; moves only when that one was set. */
uint64_t rtd_clock_origin(struct rtd_clock *clock);

/* Milliseconds from its beginning to a wall time, 0 for one before it. */
uint64_t rtd_clock_at_ms(struct rtd_clock *clock, uint64_t unix_ns);

static inline uint64_t rtd_clock_now_ms(const struct rtd_clock *clock)
{
    struct timespec now;
    /* The kernel's tick is fine enough for ages, and faster to read than the time itself. */
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return ((uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec - clock->began_ns) /
           1000000;
}

static inline uint32_t rtd_stamp_of(uint64_t ms)
{
    if (RTD_LIKELY(ms < RTD_STAMP_FINE))
        return (uint32_t)ms;
    const uint64_t units = (ms - RTD_STAMP_FINE) / RTD_STAMP_UNIT_MS;
    return units < RTD_STAMP_MAX - RTD_STAMP_FINE ? RTD_STAMP_FINE + (uint32_t)units
                                                  : RTD_STAMP_MAX;
}

/* The first millisecond of a stamp. */
static inline uint64_t rtd_stamp_ms(uint32_t stamp)
{
    return stamp < RTD_STAMP_FINE ? stamp
                                  : RTD_STAMP_FINE + (stamp - RTD_STAMP_FINE) * RTD_STAMP_UNIT_MS;
}

#endif
