// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_counts.c - see analyze_counts.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_counts.h"

/* The doubles are for what judges trends; the values are what is shown, to the last byte. */
static struct rtd_weight_sum certain_sum(uint64_t value, uint64_t count)
{
    const double total = (double)value;
    return (struct rtd_weight_sum){.total = total, .certain = total, .samples = count};
}

void rtd_counts_measure(const struct rtd_image *image, uint32_t site, struct rtd_figures *out)
{
    const struct rtd_image_count *count = &image->exact->counts[site];
    const uint64_t births = image->sites[site].births;
    *out = (struct rtd_figures){
        .live_bytes = certain_sum(count->live_bytes, count->live_blocks),
        .live_blocks = certain_sum(count->live_blocks, count->live_blocks),
        .allocated_bytes = certain_sum(count->allocated_bytes, births),
        .allocations = certain_sum(births, births),
        .live_bytes_value = count->live_bytes,
        .live_blocks_value = count->live_blocks,
        .allocated_bytes_value = count->allocated_bytes,
        .allocations_value = births,
        .exact = true,
    };
}

void rtd_counts_add(struct rtd_report_counts *into, const struct rtd_image *image, uint32_t site)
{
    const struct rtd_image_count *count = &image->exact->counts[site];
    into->frees += image->sites[site].deaths;
    into->freed_bytes += count->freed_bytes;
    into->temporary += count->temporary;
    into->peak_bytes += count->peak_bytes;
    into->peak_blocks += count->peak_blocks;
    if (image->sites[site].max_size > into->max_size)
        into->max_size = image->sites[site].max_size;
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++)
        into->lifetime[i] += rtd_image_lifetime(image, site, i);
}
