// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_series.h - live bytes per site over time, in bounded memory.
 *
 * Runs in:    collector or a program that links libriptide (adds), report (reads)
 * Threads:    one owner
 * Allocates:  the rows
 * Fails:      by a negative errno when memory is short; the series stays valid
 */
#ifndef RTD_ANALYZE_SERIES_H
#define RTD_ANALYZE_SERIES_H

#include "ledger/ledger_reader.h"

enum { RTD_SERIES_POINTS = 64, RTD_SERIES_ROWS = 512 };

/* One ledger site, by the pair that names it: its index may change from image to image. */
struct rtd_series_row {
    uint32_t stack, tag;
    float live_bytes[RTD_SERIES_POINTS]; /* estimate at times[i]; 0 before the site was seen */
};

/*
 * All zero is an empty series. Points are evenly decimated: when the 65th would come, every second
 * point is dropped and the spacing doubles. Rows are the sites that held most; the rest is not in
 * the series.
 */
struct rtd_site_series {
    uint32_t point_count, row_count;
    uint64_t spacing_ms;                  /* smallest distance between points; 0 = not begun */
    uint64_t times_ms[RTD_SERIES_POINTS]; /* on the image's clock */
    struct rtd_series_row *rows;          /* owned; at most RTD_SERIES_ROWS */
};

/* Adds a point from image when spacing allows; 0 (also when it does not) or -ENOMEM. */
int rtd_series_add(struct rtd_site_series *series, const struct rtd_image *image);

/* Frees the rows and leaves an empty series. */
void rtd_series_fini(struct rtd_site_series *series);

#endif
