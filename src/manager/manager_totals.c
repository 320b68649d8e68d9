// SPDX-License-Identifier: Apache-2.0
/*
 * manager_totals.c - the sums of a tag over the cells of all threads, and of all tags.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; what threads record meanwhile may be in one sum and not yet in another
 * Allocates:  never
 * Fails:      never; sums saturate
 */
#include "manager/manager_totals.h"

#include <string.h>
#include <sys/mman.h>

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

enum { PAGE_BYTES = 4096, PAGES_AT_ONCE = 4096 };

static void add_bounded(uint64_t *sum, uint64_t value)
{
    if (__builtin_add_overflow(*sum, value, sum))
        *sum = UINT64_MAX;
}

static void add_cell(const struct rtd_cell *cell, struct rtd_tag_sum *sum)
{
    const uint32_t first = LOAD(cell->first), last = LOAD(cell->last);
    const uint64_t death_bytes = LOAD(cell->death_bytes), out_bytes = LOAD(cell->out_bytes);
    add_bounded(&sum->deaths, LOAD(cell->deaths));
    add_bounded(&sum->out_count, LOAD(cell->out_count));
    /* What left before what came: of one cell no more leaves than came. */
    atomic_signal_fence(memory_order_seq_cst);
    const uint64_t birth_bytes = LOAD(cell->birth_bytes), in_bytes = LOAD(cell->in_bytes);
    add_bounded(&sum->in_count, LOAD(cell->in_count));
    add_bounded(&sum->births, LOAD(cell->births));
    add_bounded(&sum->out_bytes, out_bytes);
    add_bounded(&sum->in_bytes, in_bytes);
    add_bounded(&sum->birth_bytes, birth_bytes);
    add_bounded(&sum->sized_live_bytes, in_bytes > out_bytes ? in_bytes - out_bytes : 0);
    /* A block may leave in another cell than it came in: modulo 2^64 until all are together. */
    sum->block_live_bytes += birth_bytes - death_bytes;
    add_bounded(&sum->temporary, LOAD(cell->temporary));
    sum->large += LOAD(cell->large);
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(sum->ages); i++)
        sum->ages[i] += LOAD(cell->ages[i]);
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(sum->size_class); i++)
        sum->size_class[i] += LOAD(cell->size_class[i]);
    if (LOAD(cell->max_size) > sum->max_size)
        sum->max_size = LOAD(cell->max_size);
    if (first != 0 && (sum->first == 0 || first < sum->first))
        sum->first = first;
    if (last > sum->last)
        sum->last = last;
}

uint64_t rtd_tag_sum_live_bytes(const struct rtd_tag_sum *sum)
{
    uint64_t live_bytes = sum->sized_live_bytes;
    add_bounded(&live_bytes, sum->block_live_bytes);
    return live_bytes;
}

uint64_t rtd_tag_sum_sized_blocks(const struct rtd_tag_sum *sum)
{
    /* Parts may be given back, and several at once: without a byte there is no block, and where
     * there are bytes there is one. */
    if (sum->sized_live_bytes == 0)
        return 0;
    return sum->in_count > sum->out_count ? sum->in_count - sum->out_count : 1;
}

uint64_t rtd_tag_sum_live_blocks(const struct rtd_tag_sum *sum)
{
    return rtd_tag_sum_sized_blocks(sum) +
           (sum->births > sum->deaths ? sum->births - sum->deaths : 0);
}

void rtd_records_sum(const struct rtd_records *records, uint32_t tag, struct rtd_tag_sum *sum)
{
    const struct rtd_cell *cells = records->slabs.cells;
    /* Acquire pairs with rtd_slabs_new_cell(): the links are there. */
    uint32_t index = atomic_load_explicit(&records->slabs.heads[tag], memory_order_acquire);
    memset(sum, 0, sizeof *sum);
    for (; index != RTD_CELL_NONE; index = cells[index].next)
        add_cell(&cells[index], sum);
    add_cell(&cells[tag], sum);
    /* Less than nothing: deaths of blocks whose births were not counted yet when they were summed.
     */
    if (sum->block_live_bytes > INT64_MAX)
        sum->block_live_bytes = 0;
    sum->death_bytes =
        sum->birth_bytes > sum->block_live_bytes ? sum->birth_bytes - sum->block_live_bytes : 0;
}

uint64_t rtd_records_memory_bytes(const struct rtd_records *records)
{
    unsigned char pages[PAGES_AT_ONCE];
    const size_t step = (size_t)PAGES_AT_ONCE * PAGE_BYTES;
    uint64_t bytes = 0;
    for (size_t at = 0; at < records->mapped_bytes; at += step) {
        const size_t left = records->mapped_bytes - at, part = left < step ? left : step;
        void *from = (void *)((uintptr_t)records + at);
        if (mincore(from, part, pages) != 0)
            continue;
        for (size_t i = 0; i < part / PAGE_BYTES; i++)
            bytes += (pages[i] & 1) ? PAGE_BYTES : 0;
    }
    return bytes;
}

void rtd_records_slab_sums(const struct rtd_records *records, struct rtd_slab_sums *out)
{
    const uint32_t used = atomic_load_explicit(&records->slabs.slabs_used, memory_order_acquire);
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < used; i++) {
        const struct rtd_slab *slab = &records->slabs.slabs[i];
        out->unknown_releases += LOAD(slab->unknown_releases);
        out->known_blocks += LOAD(slab->known_blocks);
        out->names_in_other += LOAD(slab->names_in_other);
        out->stacks_lost += LOAD(slab->stacks_lost);
        add_bounded(&out->over_released_bytes, LOAD(slab->over_released_bytes));
        for (unsigned domain = 0; domain < RTD_DOMAIN_COUNT; domain++) {
            out->untracked_blocks[domain] += LOAD(slab->untracked_blocks[domain]);
            add_bounded(&out->untracked_bytes[domain], LOAD(slab->untracked_bytes[domain]));
        }
    }
}

void rtd_records_totals(const struct rtd_records *records, struct riptide_record_totals *out)
{
    const uint32_t tags = atomic_load_explicit(&records->names.pair_count, memory_order_acquire);
    struct riptide_record_totals sums = {.size = out->size};
    struct rtd_slab_sums slabs;
    struct rtd_tag_sum sum;
    rtd_records_slab_sums(records, &slabs);
    for (uint32_t tag = 1; tag < tags; tag++) {
        rtd_records_sum(records, tag, &sum);
        sums.allocations += sum.in_count + sum.births;
        add_bounded(&sums.allocated_bytes, sum.in_bytes);
        add_bounded(&sums.allocated_bytes, sum.birth_bytes);
        sums.releases += sum.out_count + sum.deaths;
        add_bounded(&sums.released_bytes, sum.out_bytes);
        add_bounded(&sums.released_bytes, sum.death_bytes);
        add_bounded(&sums.live_bytes, rtd_tag_sum_live_bytes(&sum));
        sums.live_blocks += rtd_tag_sum_live_blocks(&sum);
    }
    for (unsigned domain = 0; domain < RTD_DOMAIN_COUNT; domain++) {
        sums.untracked_blocks += slabs.untracked_blocks[domain];
        add_bounded(&sums.untracked_bytes, slabs.untracked_bytes[domain]);
    }
    /* What was never tracked counts as gone in the cells, but nobody released it. */
    sums.releases -= sums.releases < sums.untracked_blocks ? sums.releases : sums.untracked_blocks;
    sums.released_bytes -=
        sums.released_bytes < sums.untracked_bytes ? sums.released_bytes : sums.untracked_bytes;
    sums.unknown_releases = slabs.unknown_releases;
    sums.over_released_bytes = slabs.over_released_bytes;
    sums.known_blocks = slabs.known_blocks;
    sums.names_in_other = slabs.names_in_other;
    sums.memory_bytes = rtd_records_memory_bytes(records);
    *out = sums;
}
