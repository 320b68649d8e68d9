// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_allocations.c - size and lifetime distribution, efficiency score, recommendations.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the draft's arena
 * Fails:      by -ENOMEM
 *
 * efficiency_score is 1 when nothing was allocated, else the mean of those of these three shares
 * that are known, each 0 (bad) to 1:
 *
 *   - of all allocations, those that are not tiny and gone at once (site mean below 1 KiB, freed
 *     within 128 ms): such ones cost more to allocate than they are used;
 *   - of the anonymous resident memory, what live blocks explain: the rest is slack, fragmentation
 *     and what the allocator keeps (unknown without a snapshot);
 *   - 20 / the number of components that hold more than 1 % of the live bytes, at most 1.
 */
#include "analyze/analyze_draft.h"
#include "analyze/analyze_views.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const double MIB = 1048576.0;
static const double TINY_BYTES = 1024.0;
static const double FEW_COMPONENTS = 20.0;

/* A share of fewer allocations than this says nothing about the program. */
static const double LEAST_ALLOCATIONS = 1000.0;
enum { TOP_COUNT = 3, ADVICE_MAX = 2 + 2 * TOP_COUNT };

static double site_count_of(const struct rtd_image_site *site)
{
    return site->birth_count > 0.0 ? site->birth_count : 0.0;
}

/* Estimated allocations that were tiny and gone within the first lifetime bucket. */
static double fleeting_count(const struct rtd_image_site *site)
{
    uint64_t deaths = 0;
    if (site->birth_count <= 0.0 || site->birth_bytes / site->birth_count >= TINY_BYTES)
        return 0.0;
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++)
        deaths += site->lifetime[i];
    if (deaths == 0 || !(site->death_count > 0.0))
        return 0.0;
    return fmin(site->death_count * (double)site->lifetime[0] / (double)deaths, site->birth_count);
}

static double lasting_share(const struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    double all = 0.0, fleeting = 0.0;
    for (uint32_t i = 0; i < image->site_count; i++) {
        if (rtd_draft_is_own(draft, i))
            continue;
        all += site_count_of(&image->sites[i]);
        fleeting += fleeting_count(&image->sites[i]);
    }
    return all > 0.0 ? 1.0 - fleeting / all : 1.0;
}

/* Live bytes over anonymous resident memory; negative: unknown. */
static double used_share(const struct rtd_report_process *process)
{
    const struct rtd_memory_snapshot *memory = &process->memory;
    if (!memory->valid || memory->rss_bytes <= memory->shared_bytes)
        return -1.0;
    const double anonymous = (double)(memory->rss_bytes - memory->shared_bytes);
    return fmin(1.0, (double)process->totals.live_bytes.value / anonymous);
}

/*
 * What of the allocator is resident. One that counts no pages (glibc) has at most what it mapped,
 * and at most what is resident and anonymous. 0: not known.
 */
static double allocator_resident(const struct rtd_memory_snapshot *memory)
{
    const struct rtd_allocator_figures *figures = &memory->allocator;
    if (!figures->asked)
        return 0.0;
    if (figures->resident_bytes != RTD_ALLOCATOR_UNKNOWN)
        return (double)figures->resident_bytes;
    if (figures->active_bytes != RTD_ALLOCATOR_UNKNOWN)
        return (double)figures->active_bytes;
    if (figures->mapped_bytes == RTD_ALLOCATOR_UNKNOWN || !memory->valid ||
        memory->rss_bytes <= memory->shared_bytes)
        return 0.0;
    return fmin((double)figures->mapped_bytes, (double)(memory->rss_bytes - memory->shared_bytes));
}

double rtd_draft_fragmentation(const struct rtd_report_process *process)
{
    const uint64_t allocated = process->memory.allocator.allocated_bytes;
    const double resident = allocator_resident(&process->memory);
    const bool seen = rtd_report_sees_heap(process);
    if (!(resident > 0.0) || (!seen && allocated == RTD_ALLOCATOR_UNKNOWN))
        return -1.0;
    const double live = (double)(seen ? process->totals.live_bytes.value : allocated);
    return fmax(0.0, 1.0 - live / resident);
}

static double component_share(const struct rtd_draft *draft)
{
    const struct rtd_report_process *process = draft->process;
    double live = (double)process->totals.live_bytes.value, holders = 0.0;
    if (draft->own_component != RTD_DRAFT_NONE)
        live -= (double)process->components[draft->own_component].figures.live_bytes.value;
    for (uint32_t i = 0; i < process->component_count; i++) {
        const double held = (double)process->components[i].figures.live_bytes.value;
        holders += i != draft->own_component && held > live / 100.0;
    }
    return holders > FEW_COMPONENTS ? FEW_COMPONENTS / holders : 1.0;
}

static double efficiency_score(const struct rtd_draft *draft)
{
    const struct rtd_report_process *process = draft->process;
    if (process->totals.allocations.value == 0)
        return 1.0;
    double sum = lasting_share(draft) + component_share(draft);
    double terms = 2.0;
    const double used = used_share(process);
    if (used >= 0.0) {
        sum += used;
        terms += 1.0;
    }
    return fmin(1.0, fmax(0.0, sum / terms));
}

/* "function (file:line)", "function" or the operation, for a sentence. */
static const char *place_of(struct rtd_arena *arena, const struct rtd_report_site *site)
{
    const char *name = site->function ? site->function : site->operation;
    if (site->file)
        return rtd_arena_format(arena, "%s (%s:%u)", name, site->file, site->line);
    return name;
}

struct advice_list {
    struct rtd_draft *draft;
    struct rtd_report_recommendation *items;
    uint32_t count;
};

static void advise(struct advice_list *list, const char *id, const char *severity, const char *text)
{
    list->items[list->count++] = (struct rtd_report_recommendation){id, severity, text};
}

/* By the mean of a site that has allocated. */
static bool is_small(const struct rtd_image_site *site)
{
    return site->birth_bytes < 65536.0 * site->birth_count;
}

static bool is_huge(const struct rtd_image_site *site)
{
    return site->birth_bytes >= 16.0 * MIB * site->birth_count;
}

/* The site that made most allocations of the kind, or NULL. */
static const struct rtd_report_site *busiest_site(const struct rtd_draft *draft, bool huge)
{
    const struct rtd_image *image = draft->record->image;
    const struct rtd_report_site *best = NULL;
    double most = 0.0;
    for (uint32_t i = 0; i < image->site_count; i++) {
        const struct rtd_image_site *site = &image->sites[i];
        if (draft->site_of[i] == RTD_DRAFT_NONE || rtd_draft_is_own(draft, i) ||
            !(site->birth_count > most))
            continue;
        if (huge ? is_huge(site) : is_small(site)) {
            most = site->birth_count;
            best = &draft->process->sites[draft->site_of[i]];
        }
    }
    return best;
}

/* Advice about a share of all allocations, with the place that made most of them; advice.text
 * completes the sentence. */
static void advise_on_share(struct advice_list *list, struct rtd_report_recommendation advice,
                            double share, const struct rtd_report_site *site)
{
    const struct rtd_draft *const draft = list->draft;
    struct rtd_arena *const arena = draft->arena;
    const bool named = draft->domain && !draft->plain;
    advise(list, advice.id, advice.severity,
           rtd_arena_format(arena, "%.0f %% of the allocations%s%s are %s%s%s", 100.0 * share,
                            named ? " of " : "", named ? draft->domain : "", advice.text,
                            site ? ", first at " : "", site ? place_of(arena, site) : ""));
}

/* Allocations by size as advice sees them. */
struct size_counts {
    double all, small, huge;
};

/* Classes are counted for the whole process: the library's own go out by the means of its sites. */
static struct size_counts count_sizes(const struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    const double *count = image->size_class_count;
    struct size_counts sizes = {0.0, count[0] + count[1], count[RTD_SIZE_CLASSES - 1]};
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++)
        sizes.all += count[i];
    for (uint32_t i = 0; i < image->site_count; i++) {
        const struct rtd_image_site *site = &image->sites[i];
        if (!rtd_draft_is_own(draft, i))
            continue;
        sizes.all -= site_count_of(site);
        sizes.small -= is_small(site) ? site_count_of(site) : 0.0;
        sizes.huge -= is_huge(site) ? site_count_of(site) : 0.0;
    }
    /* Estimates of parts may exceed that of the whole. */
    sizes.small = fmax(sizes.small, 0.0);
    sizes.huge = fmax(sizes.huge, 0.0);
    sizes.all = fmax(sizes.all, sizes.small + sizes.huge);
    return sizes;
}

static void advise_on_sizes(struct advice_list *list)
{
    const struct rtd_draft *draft = list->draft;
    const struct size_counts sizes = count_sizes(draft);
    const double all = sizes.all;
    if (!(all > 0.0))
        return;
    const double small = sizes.small / all, huge = sizes.huge / all;
    if (small > draft->thresholds->small_share && all >= LEAST_ALLOCATIONS)
        advise_on_share(list,
                        (struct rtd_report_recommendation){"small_allocations", "info",
                                                           "below 64 KiB: consider object pools"},
                        small, busiest_site(draft, false));
    if (huge > draft->thresholds->huge_share)
        advise_on_share(list,
                        (struct rtd_report_recommendation){
                            "huge_allocations", "warning",
                            "of 16 MiB and more: consider streaming or working in chunks"},
                        huge, busiest_site(draft, true));
}

/* The largest site of a component by live bytes: sites are in that order already. */
static const struct rtd_report_site *largest_site(const struct rtd_draft *draft, uint32_t component)
{
    const struct rtd_image *image = draft->record->image;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < image->site_count; i++) {
        if (draft->component_of[i] == component && draft->site_of[i] < best)
            best = draft->site_of[i];
    }
    return best == UINT32_MAX ? NULL : &draft->process->sites[best];
}

static void advise_on_holders(struct advice_list *list)
{
    struct rtd_draft *draft = list->draft;
    const struct rtd_report_process *process = draft->process;
    uint32_t looked_at = 0;
    for (uint32_t i = 0; i < process->component_count && looked_at < TOP_COUNT; i++) {
        const struct rtd_report_component *component = &process->components[i];
        looked_at += i != draft->own_component;
        if (i == draft->own_component ||
            component->figures.live_bytes.value <= draft->thresholds->hot_component_bytes)
            continue;
        const struct rtd_report_site *site = largest_site(draft, i);
        advise(list, "large_component", "warning",
               rtd_arena_format(
                   draft->arena, "%s holds %.1f MB live: consider freeing earlier or a bound%s%s",
                   rtd_draft_spoken(draft, component->name),
                   (double)component->figures.live_bytes.value / MIB,
                   site ? ", most of it from " : "", site ? place_of(draft->arena, site) : ""));
    }
}

/* Indices of the operations with most allocations, at most TOP_COUNT, in order. */
static uint32_t busiest_operations(const struct rtd_draft *draft, uint32_t top[TOP_COUNT])
{
    const struct rtd_report_process *process = draft->process;
    const char *own = draft->own_component != RTD_DRAFT_NONE ? RTD_OWN_COMPONENT : NULL;
    uint32_t found = 0;
    for (uint32_t i = 0; i < process->operation_count; i++) {
        const uint64_t count = process->operations[i].figures.allocations.value;
        uint32_t at = found;
        while (at > 0 && count > process->operations[top[at - 1]].figures.allocations.value)
            at--;
        if (at >= TOP_COUNT || (own && strcmp(process->operations[i].component, own) == 0))
            continue;
        const uint32_t last = found < TOP_COUNT ? found++ : TOP_COUNT - 1;
        for (uint32_t j = last; j > at; j--)
            top[j] = top[j - 1];
        top[at] = i;
    }
    return found;
}

static double mean_size(const struct rtd_report_figures *figures)
{
    const uint64_t count = figures->allocations.value;
    return count ? (double)figures->allocated_bytes.value / (double)count : 0.0;
}

static void advise_on_operations(struct advice_list *list)
{
    struct rtd_draft *draft = list->draft;
    const struct rtd_report_process *process = draft->process;
    uint32_t top[TOP_COUNT];
    const uint32_t found = busiest_operations(draft, top);
    for (uint32_t i = 0; i < found; i++) {
        const struct rtd_report_operation *operation = &process->operations[top[i]];
        const uint64_t count = operation->figures.allocations.value;
        if (count <= draft->thresholds->frequent_operation_count)
            continue;
        advise(list, "busy_operation", "info",
               rtd_arena_format(draft->arena,
                                "%s in %s made about %llu allocations of %.0f bytes on average: "
                                "consider batching or reuse",
                                operation->name, rtd_draft_spoken(draft, operation->component),
                                (unsigned long long)count, mean_size(&operation->figures)));
    }
}

static void advise_on_small_components(struct advice_list *list)
{
    struct rtd_draft *draft = list->draft;
    for (uint32_t i = 0; i < draft->process->component_count; i++) {
        const struct rtd_report_component *component = &draft->process->components[i];
        const uint64_t count = component->figures.allocations.value;
        const double mean = mean_size(&component->figures);
        if (i == draft->own_component || count <= draft->thresholds->small_pattern_count ||
            mean >= TINY_BYTES)
            continue;
        advise(list, "many_small_allocations", "info",
               rtd_arena_format(draft->arena,
                                "%s made about %llu allocations of only %.0f bytes on average: "
                                "consider a pool or allocating ahead",
                                rtd_draft_spoken(draft, component->name), (unsigned long long)count,
                                mean));
    }
}

int rtd_draft_allocations(struct rtd_draft *draft)
{
    struct rtd_report_allocations *out = &draft->process->allocations;
    const struct rtd_image *image = draft->record->image;
    const size_t room = (size_t)ADVICE_MAX + draft->process->component_count;
    struct advice_list list = {.draft = draft};
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++)
        out->distribution[i] = image->size_class_count[i];
    for (uint32_t i = 0; i < image->site_count; i++) {
        for (unsigned j = 0; j < RTD_LIFETIME_BUCKETS; j++)
            out->lifetime[j] += rtd_image_lifetime(image, i, j);
    }
    out->efficiency_score = efficiency_score(draft);
    list.items = rtd_arena_take_array(draft->arena, room, sizeof *list.items);
    if (!list.items)
        return -ENOMEM;
    advise_on_sizes(&list);
    advise_on_holders(&list);
    advise_on_operations(&list);
    advise_on_small_components(&list);
    out->recommendations = list.items;
    out->recommendation_count = list.count;
    return draft->arena->failed ? -ENOMEM : 0;
}
