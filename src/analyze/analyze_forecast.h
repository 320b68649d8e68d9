// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_forecast.h - when a growing process reaches its limit.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  working memory for the length of a call
 * Fails:      never: what cannot be told is no forecast, with its reason
 *
 * The slope is the median of the slopes between all pairs of points (H. Theil, 1950; P. K. Sen,
 * "Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968), which a few
 * outliers do not move. Its 95 % interval is Sen's: of the N sorted slopes those with the ranks
 * (N -+ 1.96 sqrt(V)) / 2, where V = n (n - 1) (2 n + 5) / 18 is the variance of Kendall's score.
 * That is for points that are independent, and memory is not: so V is multiplied by
 * (1 + r) / (1 - r), where r is the correlation of neighbouring residuals, if positive (the
 * variance of a mean of a first-order autoregressive series).
 *
 * Looked at is the last three quarters of the time that is known, since a start-up is no trend.
 * From the present use on, the limit is reached after (limit - use) / slope; the interval is that
 * of the slope. It is a forecast if growth is certain (the interval lies above 0), for a straight
 * line: for the future of a program that changes its ways nobody vouches. Where the nearest limit
 * is one of address space there is no forecast: what is known over time is resident memory.
 */
#ifndef RTD_ANALYZE_FORECAST_H
#define RTD_ANALYZE_FORECAST_H

#include "analyze/analyze_input.h"

enum {
    RTD_FORECAST_POINTS = 150, /* looked at, evenly chosen */
    RTD_FORECAST_LEAST = 12,   /* points below which nothing is said */
    RTD_FORECAST_SECONDS = 20, /* and the time they must span, in scaled seconds */
};

/* Further away than this nothing is said: 30 days. */
#define RTD_FORECAST_HORIZON_SECONDS 2592000.0

struct rtd_forecast {
    bool known;
    /* Until the limit, in seconds of the clock; low is the soonest. high may be infinite. */
    double seconds, low_seconds, high_seconds;
    double bytes_per_second, low_bytes_per_second, high_bytes_per_second; /* also when not known */
    uint64_t limit_bytes;
    const char *reason; /* static; why nothing is known, "" if it is */
};

/* The slope of a series with its interval. */
struct rtd_slope {
    double value, low, high; /* bytes a second */
};

/*
 * seconds: increasing. False when there are fewer than RTD_FORECAST_LEAST points, or more than
 * RTD_FORECAST_POINTS, or memory is short. The arrays are borrowed for the call.
 */
bool rtd_forecast_slope(const double *seconds, const double *bytes, uint32_t count,
                        struct rtd_slope *out);

/*
 * From the points of a process, until its resident bytes have used up what the limit leaves.
 * time_scale: as in struct rtd_report_input, it scales only how long must have been watched.
 */
void rtd_forecast_make(const struct rtd_process_record *record, double time_scale,
                       struct rtd_forecast *out);

#endif
