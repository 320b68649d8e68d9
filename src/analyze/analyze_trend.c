// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_trend.c - see analyze_trend.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_trend.h"

#include <math.h>
#include <stdlib.h>

enum {
    PARTS = 4,
    EIGHTHS = 8,
    LEAST_POINTS = 8,
    PAIRS_MAX = RTD_TREND_POINTS * RTD_TREND_POINTS / 2
};

static const double LEAST_SECONDS = 10.0;
static const double LEAST_GROWTH_BYTES = 64.0 * 1024.0;
static const double LEAST_GROWTH_SHARE = 0.02;
/* Of the peak: what is less is nothing. */
static const double LEAST_LEVEL = 1.0 / 16.0;
/* Fewer samples, or blocks, double by chance. */
static const double LEAST_SAMPLES = 8.0;
static const double ERRORS_WINDOW = 3.0, ERRORS_LATE = 2.0;

bool rtd_trend_window(const double *seconds, uint32_t point_count, uint32_t *start,
                      uint32_t *middle)
{
    if (point_count < LEAST_POINTS)
        return false;
    const double last = seconds[point_count - 1], span = last - seconds[0];
    if (!(span >= LEAST_SECONDS))
        return false;
    uint32_t i = 0;
    while (seconds[i] < seconds[0] + span / 4.0)
        i++;
    *start = i;
    while (seconds[i] < seconds[*start] + (last - seconds[*start]) / 2.0)
        i++;
    *middle = i;
    return *start + LEAST_POINTS - 2 <= point_count && *middle > *start &&
           *middle < point_count - 1;
}

/* The least value in each of four equal stretches of time from start on; false: one is empty. */
static bool find_floors(const struct rtd_trend_input *input, uint32_t start, double floors[PARTS])
{
    const double begin = input->seconds[start];
    const double span = input->seconds[input->point_count - 1] - begin;
    for (int part = 0; part < PARTS; part++)
        floors[part] = -1.0;
    for (uint32_t i = start; i < input->point_count; i++) {
        int part = (int)((double)PARTS * (input->seconds[i] - begin) / span);
        if (part >= PARTS)
            part = PARTS - 1;
        if (floors[part] < 0.0 || input->bytes[i] < floors[part])
            floors[part] = input->bytes[i];
    }
    for (int part = 0; part < PARTS; part++) {
        if (floors[part] < 0.0)
            return false;
    }
    return true;
}

static bool floors_rise(const struct rtd_trend_input *input, uint32_t start)
{
    double floors[PARTS];
    if (!find_floors(input, start, floors))
        return false;
    const double pace = (floors[3] - floors[0]) / (PARTS - 1);
    /* One sample more or less in between is no fall. */
    return pace > 0.0 && floors[1] >= floors[0] - input->weight &&
           floors[2] >= floors[1] - input->weight && floors[3] - floors[2] >= 0.25 * pace;
}

/* Growth between two points against its sampling noise: what came and what went in between. */
static bool grows_beyond_noise(const struct rtd_trend_input *input, uint32_t from, double born,
                               double errors)
{
    const double before = input->bytes[from], after = input->bytes[input->point_count - 1];
    const double stayed = after > born ? after - born : 0.0;
    const double gone = before > stayed ? before - stayed : 0.0;
    const double growth = after - before;
    return growth > 0.0 && growth >= errors * sqrt(input->weight * (born + gone));
}

static bool is_sawtooth(const struct rtd_trend_input *input)
{
    double top = input->bytes[0], bottom = input->bytes[0], drop = 0.0, dropped_from = 0.0;
    double highest = input->bytes[0];
    for (uint32_t i = 1; i < input->point_count; i++) {
        const double value = input->bytes[i];
        if (value > top)
            top = value;
        if (value < bottom)
            bottom = value;
        if (highest - value > drop) {
            drop = highest - value;
            dropped_from = highest;
        }
        if (value > highest)
            highest = value;
    }
    const double now = input->bytes[input->point_count - 1];
    return drop > (top - bottom) / 3.0 && drop > 3.0 * input->weight && now < 1.25 * dropped_from;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Theil-Sen: the median of the slopes between all pairs; a third of the points may be wild. */
static double median_slope(const struct rtd_trend_input *input, uint32_t start)
{
    double slopes[PAIRS_MAX];
    size_t count = 0;
    for (uint32_t i = start; i < input->point_count; i++) {
        for (uint32_t j = i + 1; j < input->point_count; j++) {
            const double span = input->seconds[j] - input->seconds[i];
            if (span > 0.0)
                slopes[count++] = (input->bytes[j] - input->bytes[i]) / span;
        }
    }
    if (count == 0)
        return 0.0;
    qsort(slopes, count, sizeof slopes[0], compare_doubles);
    return (slopes[count / 2] + slopes[(count - 1) / 2]) / 2.0;
}

/*
 * Judges by the component's own life: many a program opens first and loads later, and whatever is
 * compared with nothing has doubled.
 */
static void judge_doubling(const struct rtd_trend_input *input, struct rtd_trend *out)
{
    const double factor = input->peak_factor > 0.0 ? input->peak_factor : 2.0;
    const double *seconds = input->seconds, *bytes = input->bytes;
    const uint32_t last = input->point_count - 1;
    uint32_t born = 0;
    while (born < last && bytes[born] <= 0.0)
        born++;
    const double span = seconds[last] - seconds[born];
    double floors[PARTS], top = 0.0, early = 0.0;
    if (last - born + 1 < LEAST_POINTS || span < LEAST_SECONDS || !find_floors(input, born, floors))
        return;
    for (uint32_t i = born; i <= last; i++) {
        top = fmax(top, bytes[i]);
        if (seconds[i] <= seconds[born] + span / 16.0)
            early = bytes[i];
    }
    out->doubled = floors[3] >= factor * floors[1] && bytes[last] >= 0.95 * top;
    out->from_level = out->doubled && early >= 0.5 * floors[1] && early >= LEAST_LEVEL * top &&
                      early >= LEAST_SAMPLES * fmax(input->weight, input->block_bytes);
}

struct rtd_trend rtd_trend_of(const struct rtd_trend_input *input)
{
    struct rtd_trend out = {0};
    uint32_t start, middle;
    if (!rtd_trend_window(input->seconds, input->point_count, &start, &middle))
        return out;
    const double before = input->bytes[start];
    const double growth = input->bytes[input->point_count - 1] - before;
    if (growth < LEAST_GROWTH_BYTES || growth < LEAST_GROWTH_SHARE * before)
        return out;
    if (!floors_rise(input, start) || is_sawtooth(input) ||
        !grows_beyond_noise(input, start, input->born_window, ERRORS_WINDOW) ||
        !grows_beyond_noise(input, middle, input->born_late, ERRORS_LATE))
        return out;
    out.bytes_per_hour = median_slope(input, start) * 3600.0;
    out.growing = out.bytes_per_hour > 0.0;
    if (out.growing)
        judge_doubling(input, &out);
    return out;
}

bool rtd_trend_is_exponential(const struct rtd_trend_input *input)
{
    double level[EIGHTHS] = {0};
    if (input->point_count < LEAST_POINTS)
        return false;
    const double begin = input->seconds[0];
    const double span = input->seconds[input->point_count - 1] - begin;
    if (!(span >= LEAST_SECONDS))
        return false;
    /* The last value in each eighth. */
    for (uint32_t i = 0; i < input->point_count; i++) {
        const int eighth = (int)((double)EIGHTHS * (input->seconds[i] - begin) / span);
        level[eighth < EIGHTHS ? eighth : EIGHTHS - 1] = input->bytes[i];
    }
    int doublings = 0;
    for (int i = EIGHTHS - 1; i > 0 && doublings < 3; i--) {
        if (level[i - 1] < LEAST_SAMPLES * input->weight || level[i - 1] <= 0.0 ||
            level[i] < 2.0 * level[i - 1])
            break;
        doublings++;
    }
    return doublings >= 3;
}
