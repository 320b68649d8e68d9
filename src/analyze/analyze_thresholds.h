// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_thresholds.h - from where on a figure is a reason, a pattern or advice.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    plain values
 * Allocates:  never
 * Fails:      not applicable
 *
 * The defaults are the seed's. Each is a limit that must be exceeded, unless its line says more.
 */
#ifndef RTD_ANALYZE_THRESHOLDS_H
#define RTD_ANALYZE_THRESHOLDS_H

#include <stdint.h>

/* The fields of riptide_thresholds that analysis looks at, under the same names. */
struct rtd_thresholds {
    double growth_rate_mb_per_hour; /* high_growth_rate */
    uint64_t large_live_bytes;      /* large_live_size... */
    double recent_seconds;          /* ...and allocated in at most that time */
    uint64_t accumulation_count;    /* small_allocation_accumulation... */
    uint64_t accumulation_bytes;
    double peak_factor;            /* peak_growth: at least so many times what it was */
    uint64_t frequent_large_bytes; /* pattern: blocks of more than this... */
    uint32_t frequent_large_count; /* ...more than so many */
    uint32_t repeated_stack_count; /* pattern: at least so many blocks of one stack */
    double small_share;            /* advice: share of allocations below 64 KiB */
    double huge_share;             /* advice: share of those of 16 MiB and more */
    uint64_t hot_component_bytes;
    uint64_t frequent_operation_count;
    uint64_t small_pattern_count;
};

/* By value: no storage to own. */
static inline struct rtd_thresholds rtd_thresholds_default(void)
{
    return (struct rtd_thresholds){
        .growth_rate_mb_per_hour = 10.0,
        .large_live_bytes = UINT64_C(50) << 20,
        .recent_seconds = 60.0,
        .accumulation_count = 1000,
        .accumulation_bytes = UINT64_C(1) << 20,
        .peak_factor = 2.0,
        .frequent_large_bytes = UINT64_C(1) << 20,
        .frequent_large_count = 5,
        .repeated_stack_count = 5,
        .small_share = 0.8,
        .huge_share = 0.05,
        .hot_component_bytes = UINT64_C(100) << 20,
        .frequent_operation_count = 10000,
        .small_pattern_count = 5000,
    };
}

#endif
