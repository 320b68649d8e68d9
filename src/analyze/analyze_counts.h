// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_counts.h - what exact mode counted at a site, for the report.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#ifndef RTD_ANALYZE_COUNTS_H
#define RTD_ANALYZE_COUNTS_H

#include "analyze/analyze_figures.h"

/* The four figures of a ledger site of an exact image: nothing about them is uncertain. */
void rtd_counts_measure(const struct rtd_image *image, uint32_t site, struct rtd_figures *out);

/* Adds a ledger site of an exact image to into. */
void rtd_counts_add(struct rtd_report_counts *into, const struct rtd_image *image, uint32_t site);

#endif
