// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_sites.c - the ledger's sites (stack, tag) merged into one report site a stack.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the draft's arenas
 * Fails:      by -ENOMEM
 *
 * Two stack ids are one site when they show the same places: the same module loaded twice, or the
 * same call after an unrelated dlclose(). The id of the one seen first names both, so that it stays
 * the same for as long as the recording grows.
 *
 * What a program records itself often has no stack. Such sites of a domain are told apart by their
 * tags, which is all that is known of them; in a heap they are one, "no stack".
 */
#include "analyze/analyze_draft.h"

#include "analyze/analyze_counts.h"
#include "analyze/analyze_stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What `riptide run` begins with unless an interval is given. */
static const double ADAPTING_FROM_BYTES = 512 * 1024;

/* A site being merged. */
struct site_draft {
    struct rtd_report_site site;
    struct rtd_figures figures;
    struct rtd_report_counts *counts; /* in exact mode */
    struct rtd_draft_names names;
    uint64_t hash;
    uint32_t tag; /* what tells it from others that look the same; 0 as a rule */
    uint64_t first_ms, last_ms;
    /* The ledger site whose tag names the component: most live bytes, then allocated bytes. */
    uint32_t owner;
};

struct site_merge {
    struct rtd_draft *draft;
    struct site_draft *sites;
    uint32_t count;
    uint32_t *slots; /* open-addressed by hash: index + 1 */
    uint32_t slot_count;
    uint32_t *samples_live; /* per ledger site */
};

static bool is_unused(const struct rtd_image_site *site, uint32_t samples_live)
{
    return site->births == 0 && site->deaths == 0 && samples_live == 0;
}

/* The merged site with these frames (and tag), or a fresh one. NULL when memory is short. */
static struct site_draft *find_site(struct site_merge *merge, const struct rtd_stack_view *view,
                                    uint32_t tag)
{
    const uint64_t hash = view->hash ^ (uint64_t)tag * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> 7) & (merge->slot_count - 1);
    for (; merge->slots[at]; at = (at + 1) & (merge->slot_count - 1)) {
        struct site_draft *known = &merge->sites[merge->slots[at] - 1];
        if (known->hash == hash && known->tag == tag &&
            known->site.frame_count == view->frame_count &&
            known->site.truncated == view->truncated &&
            rtd_stacks_equal(known->site.frames, view->frames, view->frame_count))
            return known;
    }
    struct rtd_report_frame *frames =
        rtd_arena_take_array(merge->draft->arena, view->frame_count, sizeof *frames);
    if (!frames)
        return NULL;
    if (view->frame_count)
        memcpy(frames, view->frames, view->frame_count * sizeof *frames);
    struct rtd_report_counts *counts = NULL;
    if (merge->draft->record->image->exact) {
        counts = rtd_arena_take_array(merge->draft->arena, 1, sizeof *counts);
        if (!counts)
            return NULL;
    }
    struct site_draft *fresh = &merge->sites[merge->count++];
    merge->slots[at] = merge->count;
    *fresh =
        (struct site_draft){.hash = hash, .tag = tag, .owner = RTD_DRAFT_NONE, .counts = counts};
    fresh->site.counts = counts;
    fresh->site.frames = frames;
    fresh->site.frame_count = view->frame_count;
    fresh->site.named_frame = view->named_frame;
    fresh->site.truncated = view->truncated;
    return fresh;
}

/*
 * By default the module of the naming frame is the component and its function the operation. The
 * program itself goes by the name it was started by: its file may serve several programs.
 */
struct rtd_draft_names rtd_draft_name_site(struct rtd_arena *arena,
                                           const struct rtd_process_meta *meta,
                                           struct rtd_report_site *site)
{
    struct rtd_draft_names names = {"unknown", "unknown"};
    site->module = "?";
    if (site->named_frame < site->frame_count) {
        const struct rtd_report_frame *frame = &site->frames[site->named_frame];
        const char *base = meta->program[0] && strcmp(frame->module, meta->executable) == 0
                               ? meta->program
                               : rtd_attribute_basename(frame->module);
        site->function = frame->function;
        site->file = frame->file;
        site->line = frame->line;
        site->module = frame->module;
        if (strcmp(base, "?") != 0)
            names.component = base;
        names.operation = frame->function ? frame->function
                                          : rtd_arena_format(arena, "%s+0x%llx", base,
                                                             (unsigned long long)frame->offset);
    }
    names.component = rtd_arena_intern(arena, names.component);
    names.operation = rtd_arena_intern(arena, names.operation);
    return names;
}

struct rtd_draft_names rtd_draft_names_of(struct rtd_arena *arena,
                                          const struct rtd_draft_names *names,
                                          const struct rtd_image_tag *tag, uint32_t tag_id)
{
    struct rtd_draft_names out = *names;
    if (tag_id != RTD_TAG_NONE) {
        /* A component without a name would be a blank in every table: the default names it. */
        if (tag->component[0])
            out.component = rtd_arena_intern(arena, tag->component);
        if (tag->operation[0])
            out.operation = rtd_arena_intern(arena, tag->operation);
    }
    return out;
}

static bool owns_more(const struct rtd_figures *a, const struct rtd_figures *b)
{
    if (a->live_bytes_value != b->live_bytes_value)
        return a->live_bytes_value > b->live_bytes_value;
    return a->allocated_bytes_value > b->allocated_bytes_value;
}

/* By its names: numbers of tags depend on which thread came first. */
static uint32_t id_of_tag(const struct rtd_image_tag *tag)
{
    const char *const names[] = {tag->component, tag->operation};
    uint32_t hash = UINT32_C(0x811c9dc5);
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(names); i++) {
        /* The zero at the end as well: where one name ends is part of it. */
        const char *at = names[i];
        do
            hash = (hash ^ (unsigned char)*at) * UINT32_C(0x01000193);
        while (*at++ != '\0');
    }
    return RTD_SITE_OF_TAG | hash;
}

static void add_ledger_site(struct site_merge *merge, struct site_draft *into, uint32_t index)
{
    const struct rtd_image_site *site = &merge->draft->record->image->sites[index];
    const struct rtd_figures *figures = &merge->draft->figures[index];
    const bool fresh = into->owner == RTD_DRAFT_NONE;
    rtd_figures_pool(&into->figures, figures);
    into->site.samples_live += merge->samples_live[index];
    into->site.samples_total += site->births;
    if (into->counts)
        rtd_counts_add(into->counts, merge->draft->record->image, index);
    if (fresh || site->first_ms < into->first_ms ||
        (site->first_ms == into->first_ms && !into->tag && site->stack < into->site.id)) {
        into->first_ms = site->first_ms;
        into->site.id =
            into->tag ? id_of_tag(&merge->draft->record->image->tags[into->tag]) : site->stack;
    }
    if (fresh || site->last_ms > into->last_ms)
        into->last_ms = site->last_ms;
    if (fresh || owns_more(figures, &merge->draft->figures[into->owner]))
        into->owner = index;
}

/* Sends every used ledger site to its merged site. */
static int merge_sites(struct site_merge *merge)
{
    struct rtd_draft *draft = merge->draft;
    const struct rtd_image *image = draft->record->image;
    struct rtd_stacks stacks;
    int result = rtd_stacks_init(&stacks, draft->record, draft->symbols, draft->arena);
    for (uint32_t i = 0; i < image->site_count && result == 0; i++) {
        draft->site_of[i] = RTD_DRAFT_NONE;
        if (is_unused(&image->sites[i], merge->samples_live[i]))
            continue;
        struct rtd_stack_view view;
        result = rtd_stacks_get(&stacks, image->sites[i].stack, &view);
        if (result < 0)
            break;
        const bool by_tag = draft->domain && view.frame_count == 0;
        struct site_draft *site = find_site(merge, &view, by_tag ? image->sites[i].tag : 0);
        if (!site) {
            result = -ENOMEM;
            break;
        }
        add_ledger_site(merge, site, i);
        draft->site_of[i] = (uint32_t)(site - merge->sites);
    }
    rtd_stacks_fini(&stacks);
    return result;
}

static void finish_site(struct rtd_draft *draft, struct site_draft *merged)
{
    const struct rtd_image *image = draft->record->image;
    struct rtd_report_site *site = &merged->site;
    merged->names = rtd_draft_name_site(draft->arena, &draft->record->meta, site);
    const uint32_t tag = image->sites[merged->owner].tag;
    const struct rtd_draft_names names =
        rtd_draft_names_of(draft->arena, &merged->names, &image->tags[tag], tag);
    site->component = names.component;
    site->operation = names.operation;
    site->figures = rtd_figures_finish(&merged->figures);
    site->first_seen_unix_ns = image->created_unix_ns + merged->first_ms * 1000000u;
    site->last_seen_unix_ns = image->created_unix_ns + merged->last_ms * 1000000u;
}

static int compare_sites(const void *a, const void *b)
{
    const struct rtd_report_site *x = &(*(const struct site_draft *const *)a)->site;
    const struct rtd_report_site *y = &(*(const struct site_draft *const *)b)->site;
    const struct rtd_report_figures *f = &x->figures, *g = &y->figures;
    if (f->live_bytes.value != g->live_bytes.value)
        return f->live_bytes.value > g->live_bytes.value ? -1 : 1;
    if (f->allocated_bytes.value != g->allocated_bytes.value)
        return f->allocated_bytes.value > g->allocated_bytes.value ? -1 : 1;
    /* Ids follow the order in which threads came; names do not. */
    const int component = strcmp(x->component, y->component);
    const int operation = component ? component : strcmp(x->operation, y->operation);
    if (operation)
        return operation;
    return (x->id > y->id) - (x->id < y->id);
}

/* Sorts the merged sites into the report and redirects site_of to the new order. */
static int publish_sites(struct site_merge *merge)
{
    struct rtd_draft *draft = merge->draft;
    const uint32_t count = merge->count;
    struct rtd_report_site *sites = rtd_arena_take_array(draft->arena, count, sizeof *sites);
    struct site_draft **order = rtd_arena_take_array(draft->scratch, count, sizeof(void *));
    uint32_t *position = rtd_arena_take_array(draft->scratch, count, sizeof *position);
    draft->names = rtd_arena_take_array(draft->scratch, count, sizeof *draft->names);
    if (!sites || !order || !position || !draft->names)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        finish_site(draft, &merge->sites[i]);
        order[i] = &merge->sites[i];
    }
    qsort(order, count, sizeof(void *), compare_sites);
    for (uint32_t i = 0; i < count; i++) {
        sites[i] = order[i]->site;
        draft->names[i] = order[i]->names;
        position[order[i] - merge->sites] = i;
    }
    for (uint32_t i = 0; i < draft->record->image->site_count; i++) {
        if (draft->site_of[i] != RTD_DRAFT_NONE)
            draft->site_of[i] = position[draft->site_of[i]];
    }
    draft->process->sites = sites;
    draft->process->site_count = count;
    return draft->arena->failed ? -ENOMEM : 0;
}

/*
 * The agent keeps the peak as one number; its interval is that of a live total of that size, made
 * of samples that weigh what the live (or else the allocated) ones weigh now.
 */
static struct rtd_estimate estimate_peak(const struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    const struct rtd_weight_sum *live = &draft->total.live_bytes;
    const struct rtd_weight_sum *made = live->total > 0.0 ? live : &draft->total.allocated_bytes;
    const struct rtd_estimate now = draft->process->totals.live_bytes;
    const double peak = (double)image->peak_live_bytes;
    if (image->exact)
        return rtd_estimate_exact(image->peak_live_bytes > now.value ? image->peak_live_bytes
                                                                     : now.value);
    struct rtd_weight_sum sum = {.total = peak, .certain = peak};
    /* A peak beyond what was ever allocated is a broken ledger's. */
    if (peak <= (double)now.value || peak > 0x1p53)
        return now;
    if (made->total > 0.0 && made->variance > 0.0) {
        const double samples = (double)made->samples * peak / made->total;
        sum = rtd_weight_from_totals(peak, made->variance * peak / made->total,
                                     (uint64_t)samples + 1, rtd_figures_unit_bytes(image));
    }
    struct rtd_estimate out = rtd_estimate_from(&sum);
    if (out.high < now.high)
        out.high = now.high;
    if (out.low < now.low)
        out.low = now.low;
    return out;
}

/*
 * Without a sample there is no site to tell what was missed, and "0, exact" would be a lie. Every
 * block takes size + 1 of the way to the next sample, so bytes and blocks have the same limit. An
 * interval that adapts began with the default and may have come down since.
 */
static void expect_unseen(const struct rtd_image *image, struct rtd_figures *total)
{
    double interval = (double)image->interval_bytes;
    if (image->exact)
        return;
    if (!image->interval_fixed && interval < ADAPTING_FROM_BYTES)
        interval = ADAPTING_FROM_BYTES;
    rtd_weight_expect(&total->live_bytes, interval);
    rtd_weight_expect(&total->live_blocks, interval);
    rtd_weight_expect(&total->allocated_bytes, interval);
    rtd_weight_expect(&total->allocations, interval);
}

/* How many blocks stand behind each site's live figures. */
static void count_live(const struct rtd_image *image, uint32_t *samples_live)
{
    for (uint32_t i = 0; image->exact && i < image->site_count; i++) {
        const uint64_t blocks = image->exact->counts[i].live_blocks;
        samples_live[i] = blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
    }
    for (uint32_t i = 0; !image->exact && i < image->sample_count; i++)
        samples_live[image->samples[i].site]++;
}

/* What only exact mode knows of a process. */
static int describe_counts(struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    const uint64_t began_unix_ns = draft->record->meta.started_unix_ns;
    const uint64_t peak_unix_ns = image->created_unix_ns + image->peak_ms * 1000000u;
    struct rtd_report_process *out = draft->process;
    if (!image->exact)
        return 0;
    struct rtd_report_counts *counts = rtd_arena_take_array(draft->arena, 1, sizeof *counts);
    if (!counts)
        return -ENOMEM;
    for (uint32_t i = 0; i < image->site_count; i++)
        rtd_counts_add(counts, image, i);
    out->counts = counts;
    out->peak_seconds =
        peak_unix_ns > began_unix_ns ? (double)(peak_unix_ns - began_unix_ns) / 1e9 : 0.0;
    out->unknown_frees = image->exact->unknown_frees;
    out->missed_frees = image->exact->missed_frees;
    out->untracked = image->exact->untracked;
    return 0;
}

int rtd_draft_sites(struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    const uint32_t count = image->site_count;
    struct site_merge merge = {.draft = draft, .slot_count = 64};
    while (merge.slot_count < count * 2)
        merge.slot_count *= 2;
    merge.sites = rtd_arena_take_array(draft->scratch, count, sizeof *merge.sites);
    merge.slots = rtd_arena_take_array(draft->scratch, merge.slot_count, sizeof *merge.slots);
    merge.samples_live = rtd_arena_take_array(draft->scratch, count, sizeof *merge.samples_live);
    draft->figures = rtd_arena_take_array(draft->scratch, count, sizeof *draft->figures);
    draft->site_of = rtd_arena_take_array(draft->scratch, count, sizeof *draft->site_of);
    if (draft->scratch->failed)
        return -ENOMEM;
    rtd_figures_measure(image, draft->figures);
    count_live(image, merge.samples_live);
    int result = merge_sites(&merge);
    if (result == 0)
        result = publish_sites(&merge);
    if (result < 0)
        return result;
    for (uint32_t i = 0; i < count; i++) {
        if (draft->site_of[i] != RTD_DRAFT_NONE)
            rtd_figures_pool(&draft->total, &draft->figures[i]);
    }
    if (draft->total.allocated_bytes.samples == 0)
        expect_unseen(image, &draft->total);
    draft->process->totals = rtd_figures_finish(&draft->total);
    draft->process->peak_live_bytes = estimate_peak(draft);
    return describe_counts(draft);
}
