// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_trend.h - whether live bytes really grow, and how fast.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never: what cannot be judged does not grow
 *
 * A leak is what still grows when everything that starts up has started. So the first quarter of
 * what is known is warm-up and is not looked at; the rest, the window, is cut into four parts, and
 * growth counts only if
 *
 *   - the least that was held rises from part to part, in the last one at no less than a quarter
 *     of the average pace (a cache that fills and then stays does not),
 *   - the increase over the window is three standard errors of its sampling noise, and that over
 *     its second half two,
 *   - it is at least 64 KiB and 2 % of the level it began at,
 *   - no drop took back a third of the swing, unless the level is now well above where it dropped
 *     from (a saw-tooth comes back to the same height).
 *
 * Doubling is judged by what has a life of its own: from the first point on at which anything was
 * held, eight points and ten seconds at least. Its first quarter is warm-up again. It has doubled
 * when the least it held in the last quarter is twice the least in the second, and it is within 5 %
 * of its peak. Whatever grows from nothing at an even pace has trebled by that measure, however
 * slow it is, so that `from_level` tells it from a level that has doubled: half of the least in the
 * second quarter was there within the first sixteenth already, by eight samples and blocks and a
 * sixteenth of the peak at least.
 *
 * Objects that live on are the same samples before and after, and their noise cancels: only what
 * came and what went in between has a say in the standard error.
 */
#ifndef RTD_ANALYZE_TREND_H
#define RTD_ANALYZE_TREND_H

#include "analyze/analyze_series.h"

#include <stdbool.h>

/* The last point may be one more than the series holds: the image itself. */
enum { RTD_TREND_POINTS = RTD_SERIES_POINTS + 1 };

/* Live bytes of one site or component over time; the arrays are borrowed for the call. */
struct rtd_trend_input {
    uint32_t point_count;  /* at most RTD_TREND_POINTS */
    const double *seconds; /* scaled, increasing */
    const double *bytes;   /* live at that time, estimated */
    double weight;         /* what a sample of these bytes stands for; 0 = exact */
    double block_bytes;    /* the mean size of a block; 0 = not known */
    double born_window;    /* live bytes born in the window */
    double born_late;      /* of these, in its second half */
    double peak_factor;    /* from which factor on `doubled` is said; 0 is 2 */
};

struct rtd_trend {
    bool growing;
    bool doubled;    /* or times peak_factor, as described above */
    bool from_level; /* and what has doubled is a level that stood, not a growth from nothing */
    double bytes_per_hour; /* median slope over the window; 0 unless growing */
};

/* Indices where the window and its second half begin, for the given times; false: too short. */
bool rtd_trend_window(const double *seconds, uint32_t point_count, uint32_t *start,
                      uint32_t *middle);

/* The verdict as described above; all zero when there is too little to judge. */
struct rtd_trend rtd_trend_of(const struct rtd_trend_input *input);

/* True when live bytes doubled over three successive eighths of the time at least. */
bool rtd_trend_is_exponential(const struct rtd_trend_input *input);

#endif
