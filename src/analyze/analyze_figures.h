// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_figures.h - the four figures of a site, as sums that can be pooled.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 *
 * Invariant: values are rounded once, at the ledger's sites, and only added afterwards; so the
 * sum over sites, the sum over components and the total are equal to the last byte. Intervals come
 * from the pooled sums.
 */
#ifndef RTD_ANALYZE_FIGURES_H
#define RTD_ANALYZE_FIGURES_H

#include "analyze/analyze_report.h"

/* All zero is the figures of nothing; copied freely, owns nothing. */
struct rtd_figures {
    struct rtd_weight_sum live_bytes, live_blocks, allocated_bytes, allocations;
    /* The rounded values, in the same order. */
    uint64_t live_bytes_value, live_blocks_value, allocated_bytes_value, allocations_value;
    bool exact; /* nothing was estimated: an image is all exact, or none of it */
};

/* The probability, in (0, 1], with which a live sample of this image was taken and kept. */
double rtd_figures_probability(const struct rtd_image *image,
                               const struct rtd_image_sample *sample);

/* Bytes a sample far from certain stands for: the interval at which live samples are kept. */
double rtd_figures_unit_bytes(const struct rtd_image *image);

/* Measures every site of image; out has image->site_count elements and is overwritten. */
void rtd_figures_measure(const struct rtd_image *image, struct rtd_figures *out);

/* Adds from to into. */
void rtd_figures_pool(struct rtd_figures *into, const struct rtd_figures *from);

/* The estimates. allocated >= live holds in value and in the upper limit. */
struct rtd_report_figures rtd_figures_finish(const struct rtd_figures *figures);

#endif
