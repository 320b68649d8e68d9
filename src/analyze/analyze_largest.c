// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_largest.c - the largest of the live blocks that are known one by one.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the draft's arena
 * Fails:      by -ENOMEM
 */
#include "analyze/analyze_draft.h"

#include <errno.h>

/* By size, then the older one, then the address: the same blocks, the same order. */
static bool comes_before(const struct rtd_image_sample *a, const struct rtd_image_sample *b)
{
    if (a->size != b->size)
        return a->size > b->size;
    if (a->birth_ms != b->birth_ms)
        return a->birth_ms < b->birth_ms;
    return a->address < b->address;
}

/* The largest samples, in order; returns how many. */
static uint32_t find_largest(const struct rtd_draft *draft,
                             const struct rtd_image_sample *top[RTD_LARGEST_MAX])
{
    const struct rtd_image *image = draft->record->image;
    uint32_t found = 0;
    for (uint32_t i = 0; i < image->sample_count; i++) {
        const struct rtd_image_sample *sample = &image->samples[i];
        uint32_t at = found;
        if (draft->site_of[sample->site] == RTD_DRAFT_NONE || rtd_draft_is_own(draft, sample->site))
            continue;
        while (at > 0 && comes_before(sample, top[at - 1]))
            at--;
        if (at >= RTD_LARGEST_MAX)
            continue;
        for (uint32_t j = found < RTD_LARGEST_MAX ? found++ : found - 1; j > at; j--)
            top[j] = top[j - 1];
        top[at] = sample;
    }
    return found;
}

int rtd_draft_largest(struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    const struct rtd_image_sample *top[RTD_LARGEST_MAX];
    struct rtd_report_process *process = draft->process;
    const uint32_t count = find_largest(draft, top);
    struct rtd_report_block *blocks = rtd_arena_take_array(draft->arena, count, sizeof *blocks);
    if (!blocks)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t site = top[i]->site, power = top[i]->alignment_log;
        blocks[i] = (struct rtd_report_block){
            .address = top[i]->address,
            .size_bytes = top[i]->size,
            .born_unix_ns = image->created_unix_ns + top[i]->birth_ms * 1000000u,
            .alignment = power ? UINT64_C(1) << (power - 1) % 64 : 0,
            .thread = top[i]->thread,
            .component = process->components[draft->component_of[site]].name,
            .operation = process->operations[draft->operation_of[site]].name,
            .site = &process->sites[draft->site_of[site]],
        };
    }
    process->leaks.largest = blocks;
    process->leaks.largest_count = count;
    return 0;
}
