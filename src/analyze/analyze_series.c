// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_series.c - see analyze_series.h.
 *
 * Runs in:    collector or a program that links libriptide (adds), report (reads)
 * Threads:    one owner
 * Allocates:  the rows, and one array for the length of a call
 * Fails:      by -ENOMEM; the series stays valid
 */
#include "analyze/analyze_series.h"

#include "analyze/analyze_figures.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SPACING_MS = 100, TABLE_SLOTS = 2048, NO_ROW = 0xffff };

static size_t hash_key(uint32_t stack, uint32_t tag)
{
    const uint64_t mixed = (((uint64_t)tag << 32) | stack) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 40) & (TABLE_SLOTS - 1);
}

static void fill_table(const struct rtd_site_series *series, uint16_t table[TABLE_SLOTS])
{
    memset(table, 0xff, TABLE_SLOTS * sizeof table[0]);
    for (uint32_t i = 0; i < series->row_count; i++) {
        size_t at = hash_key(series->rows[i].stack, series->rows[i].tag);
        while (table[at] != NO_ROW)
            at = (at + 1) & (TABLE_SLOTS - 1);
        table[at] = (uint16_t)i;
    }
}

static uint32_t find_row(const struct rtd_site_series *series, const uint16_t table[TABLE_SLOTS],
                         const struct rtd_image_site *site)
{
    size_t at = hash_key(site->stack, site->tag);
    for (; table[at] != NO_ROW; at = (at + 1) & (TABLE_SLOTS - 1)) {
        const struct rtd_series_row *row = &series->rows[table[at]];
        if (row->stack == site->stack && row->tag == site->tag)
            return table[at];
    }
    return NO_ROW;
}

/* Every second point goes; the spacing becomes what the points that stay really have. */
static void decimate(struct rtd_site_series *series)
{
    const uint32_t kept = (series->point_count + 1) / 2;
    for (uint32_t i = 0; i < kept; i++)
        series->times_ms[i] = series->times_ms[2 * i];
    for (uint32_t r = 0; r < series->row_count; r++) {
        float *live_bytes = series->rows[r].live_bytes;
        for (uint32_t i = 0; i < kept; i++)
            live_bytes[i] = live_bytes[2 * i];
        memset(live_bytes + kept, 0, (RTD_SERIES_POINTS - kept) * sizeof live_bytes[0]);
    }
    series->point_count = kept;
    series->spacing_ms *= 2;
    const uint64_t real_ms = (series->times_ms[kept - 1] - series->times_ms[0]) / (kept - 1);
    /* A little less than the real distance, so that a tick that comes early is not lost. */
    if (series->spacing_ms < real_ms - real_ms / 64)
        series->spacing_ms = real_ms - real_ms / 64;
}

static float row_peak(const struct rtd_series_row *row, uint32_t point_count)
{
    float peak = 0.0F;
    for (uint32_t i = 0; i < point_count; i++) {
        if (row->live_bytes[i] > peak)
            peak = row->live_bytes[i];
    }
    return peak;
}

/* The row that never held more than any other, remembered between newcomers. */
struct least_row {
    struct rtd_series_row *row;
    float peak;
};

static struct least_row find_least(const struct rtd_site_series *series)
{
    struct least_row least = {&series->rows[0], row_peak(&series->rows[0], series->point_count)};
    for (uint32_t i = 1; i < series->row_count; i++) {
        const float peak = row_peak(&series->rows[i], series->point_count);
        if (peak < least.peak)
            least = (struct least_row){&series->rows[i], peak};
    }
    return least;
}

/* The row of a site that has none yet: a free one, or that of the site that never held more. */
static struct rtd_series_row *new_row(struct rtd_site_series *series, struct least_row *least,
                                      double live_bytes)
{
    if (series->row_count < RTD_SERIES_ROWS)
        return &series->rows[series->row_count++];
    if (!least->row)
        *least = find_least(series);
    if (live_bytes <= (double)least->peak)
        return NULL;
    struct rtd_series_row *row = least->row;
    least->row = NULL;
    return row;
}

static void add_point(struct rtd_site_series *series, const struct rtd_image *image,
                      const double *live_bytes)
{
    uint16_t table[TABLE_SLOTS];
    const uint32_t point = series->point_count;
    fill_table(series, table);
    series->times_ms[point] = image->clock_ms;
    /* Known sites first, so that a newcomer is compared with what the others hold now. */
    for (uint32_t i = 0; i < image->site_count; i++) {
        const uint32_t row = find_row(series, table, &image->sites[i]);
        if (row != NO_ROW)
            series->rows[row].live_bytes[point] = (float)live_bytes[i];
    }
    series->point_count = point + 1;
    struct least_row least = {0};
    for (uint32_t i = 0; i < image->site_count; i++) {
        const struct rtd_image_site *site = &image->sites[i];
        if (live_bytes[i] <= 0.0 || find_row(series, table, site) != NO_ROW)
            continue;
        struct rtd_series_row *row = new_row(series, &least, live_bytes[i]);
        if (!row)
            continue;
        *row = (struct rtd_series_row){.stack = site->stack, .tag = site->tag};
        row->live_bytes[point] = (float)live_bytes[i];
    }
}

int rtd_series_add(struct rtd_site_series *series, const struct rtd_image *image)
{
    const uint64_t now_ms = image->clock_ms;
    if (series->spacing_ms == 0)
        series->spacing_ms = FIRST_SPACING_MS;
    if (series->point_count == RTD_SERIES_POINTS &&
        now_ms >= series->times_ms[RTD_SERIES_POINTS - 1] + series->spacing_ms)
        decimate(series);
    if (series->point_count > 0 &&
        now_ms < series->times_ms[series->point_count - 1] + series->spacing_ms)
        return 0;
    if (series->point_count == RTD_SERIES_POINTS)
        return 0;
    if (!series->rows) {
        series->rows = calloc(RTD_SERIES_ROWS, sizeof *series->rows);
        if (!series->rows)
            return -ENOMEM;
    }
    double *live_bytes = calloc(image->site_count, sizeof *live_bytes);
    if (!live_bytes)
        return -ENOMEM;
    for (uint32_t i = 0; image->exact && i < image->site_count; i++)
        live_bytes[i] = (double)image->exact->counts[i].live_bytes;
    for (uint32_t i = 0; !image->exact && i < image->sample_count; i++) {
        const struct rtd_image_sample *sample = &image->samples[i];
        live_bytes[sample->site] += (double)sample->size / rtd_figures_probability(image, sample);
    }
    add_point(series, image, live_bytes);
    free(live_bytes);
    return 0;
}

void rtd_series_fini(struct rtd_site_series *series)
{
    free(series->rows);
    *series = (struct rtd_site_series){0};
}
