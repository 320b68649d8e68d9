// SPDX-License-Identifier: Apache-2.0
/*
 * collect_breakdown.c - see collect_breakdown.h.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  addresses for the length of a call
 * Fails:      by leaving the older breakdown in place
 */
#include "collect/collect_breakdown.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SPACING_NS = UINT64_C(2000000000);
enum { COST_SHARE_INVERSE = 1000 };

static int compare_addresses(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool is_due(const struct rtd_breakdown *last, uint64_t now_ns)
{
    const uint64_t age_ns = now_ns > last->taken_ns ? now_ns - last->taken_ns : 0;
    return !last->valid || (age_ns >= SPACING_NS && age_ns / COST_SHARE_INVERSE >= last->cost_ns);
}

void rtd_collect_breakdown(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_process_record *const record = &process->record;
    const struct rtd_image *const image = record->image;
    char path[64];

    if (!image || process->ending || !is_due(&record->breakdown, now_ns))
        return;
    uint64_t *const blocks = malloc(((size_t)image->sample_count + 1) * sizeof(*blocks));
    if (!blocks)
        return;
    for (uint32_t i = 0; i < image->sample_count; i++)
        blocks[i] = image->samples[i].address;
    qsort(blocks, image->sample_count, sizeof(*blocks), compare_addresses);
    const struct rtd_breakdown_known known = {
        .maps = process->maps.maps,
        .blocks = blocks,
        .block_count = image->sample_count,
        .is_glibc = strcmp(record->meta.allocator, "glibc") == 0,
        .is_jemalloc = strcmp(record->meta.allocator, "jemalloc") == 0,
    };
    (void)snprintf(path, sizeof(path), "/proc/%u/smaps", record->meta.pid);
    (void)rtd_breakdown_take(path, &known, &record->breakdown);
    free(blocks);
}
