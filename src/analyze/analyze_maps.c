// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_maps.c - mappings by site: merged where they look the same, named as heap sites are.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the draft's arenas
 * Fails:      by -ENOMEM
 *
 * Two sites are one entry when stack, kind and owner are the same. Sums are of integers, so the
 * entries add up to the total to the byte; only peaks do not add up, because those of different
 * sites are of different moments: a merged entry shows the larger of its sites' peaks, or what it
 * holds now if that is more.
 */
#include "analyze/analyze_maps.h"

#include "analyze/analyze_stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An entry being merged. */
struct mapping_draft {
    struct rtd_report_mapping mapping;
    struct rtd_mapping_figures figures;
    uint64_t hash;
    uint32_t first_ms, last_ms;
};

struct mapping_merge {
    struct rtd_draft *draft;
    struct mapping_draft *entries;
    uint32_t count;
    uint32_t *slots, slot_count; /* open-addressed by hash: index + 1 */
};

static void add_figures(struct rtd_mapping_figures *into, const struct rtd_mapping_figures *from)
{
    into->live_bytes += from->live_bytes;
    into->live_count += from->live_count;
    into->total_bytes += from->total_bytes;
    into->calls += from->calls;
    if (into->peak_bytes < from->peak_bytes)
        into->peak_bytes = from->peak_bytes;
    if (into->peak_bytes < into->live_bytes)
        into->peak_bytes = into->live_bytes;
}

static bool is_same(const struct mapping_draft *known, const struct mapping_draft *fresh,
                    const struct rtd_stack_view *view)
{
    const struct rtd_report_site *const a = &known->mapping.site;
    const struct rtd_report_site *const b = &fresh->mapping.site;

    return known->hash == fresh->hash && known->mapping.kind == fresh->mapping.kind &&
           a->frame_count == view->frame_count && a->truncated == view->truncated &&
           a->component == b->component && a->operation == b->operation &&
           rtd_stacks_equal(a->frames, view->frames, view->frame_count);
}

/* Names one site of the record; its frames are borrowed from view until it is kept. */
static struct mapping_draft describe(struct rtd_draft *draft, const struct rtd_mapping_site *site,
                                     const struct rtd_stack_view *view)
{
    const struct rtd_image *const image = draft->record->image;
    const uint32_t tag = site->tag < image->tag_count ? site->tag : (uint32_t)RTD_TAG_OTHER;
    struct mapping_draft out = {.hash = view->hash ^ (uint64_t)site->kind << 40};
    struct rtd_report_site *const place = &out.mapping.site;

    place->id = site->stack;
    place->frames = view->frames;
    place->frame_count = view->frame_count;
    place->named_frame = view->named_frame;
    place->truncated = view->truncated;
    out.mapping.kind = rtd_mapping_kind_name(site->kind);
    const struct rtd_draft_names own =
        rtd_draft_name_site(draft->arena, &draft->record->meta, place);
    const struct rtd_draft_names names =
        rtd_draft_names_of(draft->arena, &own, &image->tags[tag], tag);
    place->component = names.component;
    place->operation = names.operation;
    out.hash ^= (uint64_t)(uintptr_t)names.component * 31 + (uint64_t)(uintptr_t)names.operation;
    out.first_ms = site->first_ms;
    out.last_ms = site->last_ms;
    return out;
}

/* The entry that fresh belongs to, made of it when there is none. NULL when memory is short. */
static struct mapping_draft *find_entry(struct mapping_merge *merge, struct mapping_draft fresh,
                                        const struct rtd_stack_view *view)
{
    uint32_t at = (uint32_t)(fresh.hash >> 7) & (merge->slot_count - 1);

    for (; merge->slots[at]; at = (at + 1) & (merge->slot_count - 1)) {
        struct mapping_draft *const known = &merge->entries[merge->slots[at] - 1];
        if (is_same(known, &fresh, view))
            return known;
    }
    struct rtd_report_frame *const frames =
        rtd_arena_take_array(merge->draft->arena, view->frame_count, sizeof *frames);
    if (!frames)
        return NULL;
    if (view->frame_count)
        memcpy(frames, view->frames, view->frame_count * sizeof *frames);
    fresh.mapping.site.frames = frames;
    merge->entries[merge->count] = fresh;
    merge->slots[at] = ++merge->count;
    return &merge->entries[merge->count - 1];
}

static int merge_sites(struct mapping_merge *merge, struct rtd_stacks *stacks)
{
    const struct rtd_mappings *const mappings = &merge->draft->record->mappings;

    for (uint32_t i = 0; i < mappings->site_count; i++) {
        const struct rtd_mapping_site *const site = &mappings->sites[i];
        struct rtd_stack_view view;
        const int result = rtd_stacks_get(stacks, site->stack, &view);
        if (result < 0)
            return result;
        struct mapping_draft *const entry =
            find_entry(merge, describe(merge->draft, site, &view), &view);
        if (!entry)
            return -ENOMEM;
        add_figures(&entry->figures, &site->figures);
        if (site->first_ms < entry->first_ms)
            entry->first_ms = site->first_ms;
        if (site->last_ms > entry->last_ms)
            entry->last_ms = site->last_ms;
    }
    return 0;
}

static struct rtd_report_figures exact_figures(const struct rtd_mapping_figures *figures)
{
    return (struct rtd_report_figures){
        .live_bytes = rtd_estimate_exact(figures->live_bytes),
        .live_blocks = rtd_estimate_exact(figures->live_count),
        .allocated_bytes = rtd_estimate_exact(figures->total_bytes),
        .allocations = rtd_estimate_exact(figures->calls),
    };
}

static void finish_entry(const struct rtd_image *image, struct mapping_draft *entry)
{
    struct rtd_report_site *const site = &entry->mapping.site;

    site->figures = exact_figures(&entry->figures);
    site->samples_live = entry->figures.live_count;
    site->samples_total = entry->figures.calls;
    site->first_seen_unix_ns = image->created_unix_ns + (uint64_t)entry->first_ms * 1000000u;
    site->last_seen_unix_ns = image->created_unix_ns + (uint64_t)entry->last_ms * 1000000u;
    entry->mapping.peak_live_bytes = rtd_estimate_exact(entry->figures.peak_bytes);
}

static int compare_mappings(const void *a, const void *b)
{
    const struct rtd_report_mapping *const x = a, *const y = b;
    const struct rtd_report_figures *const f = &x->site.figures, *const g = &y->site.figures;

    if (f->live_bytes.value != g->live_bytes.value)
        return f->live_bytes.value > g->live_bytes.value ? -1 : 1;
    if (f->allocated_bytes.value != g->allocated_bytes.value)
        return f->allocated_bytes.value > g->allocated_bytes.value ? -1 : 1;
    if (x->site.id != y->site.id)
        return x->site.id > y->site.id ? 1 : -1;
    return strcmp(x->kind, y->kind);
}

static int publish(struct mapping_merge *merge)
{
    struct rtd_draft *const draft = merge->draft;
    struct rtd_report_mappings *const out = &draft->process->mappings;
    struct rtd_report_mapping *const sites =
        rtd_arena_take_array(draft->arena, merge->count, sizeof *sites);

    if (!sites)
        return -ENOMEM;
    for (uint32_t i = 0; i < merge->count; i++) {
        finish_entry(draft->record->image, &merge->entries[i]);
        sites[i] = merge->entries[i].mapping;
    }
    qsort(sites, merge->count, sizeof *sites, compare_mappings);
    out->sites = sites;
    out->site_count = merge->count;
    return draft->arena->failed ? -ENOMEM : 0;
}

int rtd_draft_mappings(struct rtd_draft *draft)
{
    const struct rtd_mappings *const mappings = &draft->record->mappings;
    struct rtd_report_mappings *const out = &draft->process->mappings;
    const uint32_t count = mappings->site_count;
    struct mapping_merge merge = {.draft = draft, .slot_count = 64};
    struct rtd_stacks stacks;

    out->figures = exact_figures(&mappings->total);
    out->peak_live_bytes = rtd_estimate_exact(mappings->total.peak_bytes);
    out->events = mappings->events;
    out->unseen_events = mappings->unseen;
    out->corrected_bytes = mappings->corrected_bytes;
    out->unlisted_bytes = mappings->unlisted_bytes;
    if (count == 0)
        return 0;
    while (merge.slot_count < count * 2)
        merge.slot_count *= 2;
    merge.entries = rtd_arena_take_array(draft->scratch, count, sizeof *merge.entries);
    merge.slots = rtd_arena_take_array(draft->scratch, merge.slot_count, sizeof *merge.slots);
    if (draft->scratch->failed)
        return -ENOMEM;
    int result = rtd_stacks_init(&stacks, draft->record, draft->symbols, draft->arena);
    if (result == 0)
        result = merge_sites(&merge, &stacks);
    rtd_stacks_fini(&stacks);
    return result < 0 ? result : publish(&merge);
}
