// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_symbols.c - see analyze_symbols.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one at a time
 * Allocates:  for the length of the call
 * Fails:      by a negative errno
 */
#include "analyze/analyze_symbols.h"

#include "analyze/analyze_figures.h"
#include "analyze/analyze_place.h"

#include <errno.h>
#include <stdlib.h>

struct ranked_site {
    double live_bytes, allocated_bytes;
    uint32_t stack;
};

/* Addresses already asked for, so that shared callers are asked for once. */
struct request_list {
    struct rtd_symbol_request *requests;
    size_t count;
    uint64_t *seen; /* a hash table; 0: a free slot */
    size_t seen_count, seen_slots;
};

/* A power of two at first and always: most runs need the least, and untouched memory is cheap. */
enum { SEEN_SLOTS_LEAST = 2048, SEEN_SLOTS_MOST = 65536 };

static int compare_rank(const void *a, const void *b)
{
    const struct ranked_site *x = a, *y = b;
    if (x->live_bytes != y->live_bytes)
        return x->live_bytes > y->live_bytes ? -1 : 1;
    if (x->allocated_bytes != y->allocated_bytes)
        return x->allocated_bytes > y->allocated_bytes ? -1 : 1;
    return (x->stack > y->stack) - (x->stack < y->stack);
}

static struct ranked_site *rank_sites(const struct rtd_image *image)
{
    struct ranked_site *sites = calloc(image->site_count + 1u, sizeof *sites);
    if (!sites)
        return NULL;
    for (uint32_t i = 0; i < image->site_count; i++) {
        sites[i].stack = image->sites[i].stack;
        sites[i].allocated_bytes = image->sites[i].birth_bytes;
        if (image->exact)
            sites[i].live_bytes = (double)image->exact->counts[i].live_bytes;
    }
    for (uint32_t i = 0; i < image->sample_count && !image->exact; i++) {
        const struct rtd_image_sample *sample = &image->samples[i];
        sites[sample->site].live_bytes +=
            (double)sample->size / rtd_figures_probability(image, sample);
    }
    qsort(sites, image->site_count, sizeof *sites, compare_rank);
    return sites;
}

/* The slot that holds word, or the free one where it belongs. */
static uint64_t *seen_slot(const struct request_list *list, uint64_t word)
{
    size_t at = (size_t)((word * UINT64_C(0x9e3779b97f4a7c15)) >> 48) & (list->seen_slots - 1);
    while (list->seen[at] && list->seen[at] != word)
        at = (at + 1) & (list->seen_slots - 1);
    return &list->seen[at];
}

/*
 * Room for one more stack. Half full at most, so that looking for a free slot stays short and ends;
 * false when that cannot be had any more.
 */
static bool reserve_seen(struct request_list *list)
{
    const struct request_list before = *list;
    if (list->seen && list->seen_count + RTD_FRAME_MAX <= list->seen_slots / 2)
        return true;
    if (list->seen_slots == SEEN_SLOTS_MOST)
        return false;
    list->seen_slots = list->seen ? list->seen_slots * 2 : SEEN_SLOTS_LEAST;
    list->seen = calloc(list->seen_slots, sizeof *list->seen);
    if (!list->seen) {
        *list = before;
        return false;
    }
    for (size_t i = 0; i < before.seen_slots; i++) {
        if (before.seen[i])
            *seen_slot(list, before.seen[i]) = before.seen[i];
    }
    free(before.seen);
    return true;
}

/* True when (pc, generation) was not seen before. */
static bool mark_seen(struct request_list *list, uint64_t pc, uint32_t generation)
{
    const uint64_t word = (pc << 10 | (generation & 1023)) + 1;
    uint64_t *const slot = seen_slot(list, word);
    if (*slot)
        return false;
    *slot = word;
    list->seen_count++;
    return true;
}

static void request_stack(struct request_list *list, const struct rtd_process_record *record,
                          const struct rtd_image_stack *stack)
{
    for (uint32_t i = 0; i < stack->pc_count && list->count < RTD_ANALYZE_REQUESTS_MAX; i++) {
        if (!mark_seen(list, stack->pcs[i], stack->generation))
            continue;
        const struct rtd_image_module *module =
            rtd_image_module_at(record->image, stack->pcs[i] - 1, stack->generation);
        if (!module)
            continue;
        struct rtd_symbol_request *request = &list->requests[list->count++];
        rtd_place_key(module, &record->meta, &request->module);
        request->offset = rtd_place_offset(module, stack->pcs[i]);
        request->pid = record->meta.status == RTD_PROCESS_RUNNING ? (pid_t)record->meta.pid : 0;
    }
}

/* Mappings are few: a quarter of all requests at most leaves room for the heap. */
static void request_mappings(struct request_list *list, const struct rtd_process_record *record,
                             struct rtd_image_stack *stack)
{
    const struct rtd_mappings *const mappings = &record->mappings;
    for (uint32_t i = 0; i < mappings->site_count; i++) {
        if (list->count >= RTD_ANALYZE_REQUESTS_MAX / 4 || !reserve_seen(list))
            break;
        if (mappings->sites[i].stack == 0)
            continue;
        rtd_image_stack_get(record->image, mappings->sites[i].stack, stack);
        request_stack(list, record, stack);
    }
}

int rtd_analyze_resolve(struct rtd_symbol_resolver *resolver, struct rtd_symbol_table *table,
                        const struct rtd_process_record *record)
{
    struct request_list list = {0};
    struct ranked_site *sites = NULL;
    struct rtd_image_stack *stack = NULL;
    int result = -ENOMEM;
    if (!record->image)
        return 0;
    sites = rank_sites(record->image);
    stack = malloc(sizeof *stack);
    list.requests = calloc(RTD_ANALYZE_REQUESTS_MAX, sizeof *list.requests);
    if (!sites || !stack || !list.requests || !reserve_seen(&list))
        goto out;
    request_mappings(&list, record, stack);
    for (uint32_t i = 0; i < record->image->site_count; i++) {
        if (list.count >= RTD_ANALYZE_REQUESTS_MAX || !reserve_seen(&list))
            break;
        if (sites[i].stack == 0)
            continue;
        rtd_image_stack_get(record->image, sites[i].stack, stack);
        request_stack(&list, record, stack);
    }
    result =
        list.count ? rtd_symbol_resolver_resolve(resolver, table, list.requests, list.count) : 0;
out:
    free(list.seen);
    free(list.requests);
    free(stack);
    free(sites);
    return result;
}
