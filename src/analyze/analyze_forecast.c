// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_forecast.c - see analyze_forecast.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  the slopes of all pairs, 90 KB, for the length of a call
 * Fails:      never: what cannot be told is no forecast, with its reason
 */
#include "analyze/analyze_forecast.h"

#include <math.h>
#include <stdlib.h>

/* The 97.5 % point of the normal distribution. */
#define NORMAL_95 1.959964

/* Neighbours so alike that nothing is known of their noise. */
#define CORRELATION_MOST 0.98

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *sorted, size_t count)
{
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* The slopes of all pairs, sorted; their number. */
static size_t all_slopes(const double *seconds, const double *bytes, uint32_t count, double *slopes)
{
    size_t made = 0;

    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = i + 1; j < count; j++) {
            const double slope = (bytes[j] - bytes[i]) / (seconds[j] - seconds[i]);
            if (isfinite(slope))
                slopes[made++] = slope;
        }
    }
    qsort(slopes, made, sizeof(*slopes), compare_doubles);
    return made;
}

/* Of neighbouring residuals about the line; 0 when they are all the same. */
static double neighbour_correlation(const double *seconds, const double *bytes, uint32_t count,
                                    double slope)
{
    double mean = 0, square = 0, product = 0, before = 0;

    for (uint32_t i = 0; i < count; i++)
        mean += (bytes[i] - slope * seconds[i]) / count;
    for (uint32_t i = 0; i < count; i++) {
        const double residual = bytes[i] - slope * seconds[i] - mean;
        square += residual * residual;
        if (i > 0)
            product += residual * before;
        before = residual;
    }
    return square > 0 ? product / square : 0;
}

bool rtd_forecast_slope(const double *seconds, const double *bytes, uint32_t count,
                        struct rtd_slope *out)
{
    if (count < RTD_FORECAST_LEAST || count > RTD_FORECAST_POINTS)
        return false;
    double *const slopes = malloc((size_t)count * (count - 1) / 2 * sizeof(*slopes));
    if (!slopes)
        return false;
    const size_t made = all_slopes(seconds, bytes, count, slopes);
    if (made >= RTD_FORECAST_LEAST) {
        const double n = count;
        out->value = median_of(slopes, made);
        const double r = fmin(fmax(neighbour_correlation(seconds, bytes, count, out->value), 0),
                              CORRELATION_MOST);
        const double variance = n * (n - 1) * (2 * n + 5) / 18 * (1 + r) / (1 - r);
        const double half = NORMAL_95 * sqrt(variance) / 2, middle = (double)made / 2;
        const double last = (double)made - 1;
        out->low = slopes[(size_t)fmin(fmax(floor(middle - half), 0), last)];
        out->high = slopes[(size_t)fmin(fmax(ceil(middle + half), 0), last)];
    }
    free(slopes);
    return made >= RTD_FORECAST_LEAST;
}

/* The points after the warm-up, evenly thinned, time strictly growing; their number. */
static uint32_t choose_points(const struct rtd_process_record *record, double *seconds,
                              double *bytes)
{
    const uint32_t count = record->point_count;
    const struct rtd_process_point *const points = record->points;
    uint32_t begin = 0, made = 0;

    if (count < 2)
        return 0;
    const uint64_t first_ms = points[0].time_ms, last_ms = points[count - 1].time_ms;
    if (last_ms <= first_ms)
        return 0;
    while (points[begin].time_ms < first_ms + (last_ms - first_ms) / 4 && begin + 1 < count)
        begin++;
    const uint32_t step = (count - begin + RTD_FORECAST_POINTS - 1) / RTD_FORECAST_POINTS;
    /* Backwards from the newest, which is never left out. */
    for (uint32_t i = begin + (count - 1 - begin) % step; i < count; i += step) {
        const double at = (double)points[i].time_ms / 1e3;
        if (points[i].rss_bytes == 0 || (made > 0 && at <= seconds[made - 1]))
            continue;
        seconds[made] = at;
        bytes[made++] = (double)points[i].rss_bytes;
    }
    return made;
}

static void reach(double room_bytes, const struct rtd_slope *slope, struct rtd_forecast *out)
{
    if (slope->low <= 0) {
        out->reason = slope->high <= 0 ? "resident memory does not grow"
                                       : "growth is not certain: its 95 % interval holds 0";
        return;
    }
    out->seconds = room_bytes / slope->value;
    out->low_seconds = room_bytes / slope->high;
    out->high_seconds = room_bytes / slope->low;
    if (out->low_seconds > RTD_FORECAST_HORIZON_SECONDS) {
        out->reason = "at this pace the limit is more than 30 days away";
        return;
    }
    out->known = true;
    out->reason = "";
}

void rtd_forecast_make(const struct rtd_process_record *record, double time_scale,
                       struct rtd_forecast *out)
{
    const struct rtd_memory_snapshot *const memory = &record->memory;
    double seconds[RTD_FORECAST_POINTS + 1], bytes[RTD_FORECAST_POINTS + 1];
    const double scale = time_scale > 0 ? time_scale : 1;
    struct rtd_slope slope;

    *out = (struct rtd_forecast){.reason = "no limit is known"};
    if (!memory->valid || memory->limit_bytes == 0)
        return;
    out->limit_bytes = memory->limit_bytes;
    if (record->meta.ended_unix_ns != 0) {
        out->reason = "the process has ended";
        return;
    }
    if (memory->limit_kind == RTD_LIMIT_ADDRESS_SPACE || memory->limit_kind == RTD_LIMIT_DATA) {
        out->reason = "the nearest limit counts address space, and known over time is what is "
                      "resident";
        return;
    }
    const uint32_t count = choose_points(record, seconds, bytes);
    out->reason = "it has not been watched for long enough";
    if (count < RTD_FORECAST_LEAST ||
        (seconds[count - 1] - seconds[0]) * scale < RTD_FORECAST_SECONDS ||
        !rtd_forecast_slope(seconds, bytes, count, &slope))
        return;
    out->bytes_per_second = slope.value;
    out->low_bytes_per_second = slope.low;
    out->high_bytes_per_second = slope.high;
    const double used = memory->pressure * (double)memory->limit_bytes;
    reach(fmax((double)memory->limit_bytes - used, 0), &slope, out);
}
