// SPDX-License-Identifier: Apache-2.0
/*
 * manager_totals.h - the sums of a tag over the cells of all threads, and of all tags.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; what threads record meanwhile may be in one sum and not yet in another
 * Allocates:  never
 * Fails:      never; sums of bytes saturate
 */
#ifndef RTD_MANAGER_TOTALS_H
#define RTD_MANAGER_TOTALS_H

#include "manager/manager_record_state.h"

/* As the fields of struct rtd_cell. */
struct rtd_tag_sum {
    uint64_t in_bytes, in_count, out_bytes, out_count;
    uint64_t births, birth_bytes, deaths, death_bytes;
    uint64_t sized_live_bytes, block_live_bytes; /* right where the sums of bytes saturate, too */
    uint64_t temporary, max_size, large;
    uint64_t size_class[4];
    uint32_t first, last; /* stamps; first + 1, 0: nothing was recorded */
    uint64_t ages[RTD_LIFETIME_BUCKETS - 1];
};

/* As the counters of struct rtd_slab. */
struct rtd_slab_sums {
    uint64_t unknown_releases, known_blocks, over_released_bytes, names_in_other, stacks_lost;
    uint64_t untracked_blocks[RTD_DOMAIN_COUNT], untracked_bytes[RTD_DOMAIN_COUNT];
};

/* Of a tag that there is. */
void rtd_records_sum(const struct rtd_records *records, uint32_t tag, struct rtd_tag_sum *sum);
void rtd_records_slab_sums(const struct rtd_records *records, struct rtd_slab_sums *out);

/* Live, by address and by size; live blocks of those by size; never negative. */
uint64_t rtd_tag_sum_live_bytes(const struct rtd_tag_sum *sum);
uint64_t rtd_tag_sum_live_blocks(const struct rtd_tag_sum *sum);
uint64_t rtd_tag_sum_sized_blocks(const struct rtd_tag_sum *sum);

/* What the tables take of physical memory now. */
uint64_t rtd_records_memory_bytes(const struct rtd_records *records);

#endif
