// SPDX-License-Identifier: Apache-2.0
/*
 * manager_allocations.c - riptide_analyze_allocations() and riptide_memory_breakdown(): who holds
 * what, how it was asked for, and what to do about it.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; the report is built under the manager's own lock
 * Allocates:  the answer, and working lists that are gone with it
 * Fails:      by a negative errno or an enum riptide_error
 */
#include "analyze/analyze_views.h"
#include "base/base_macros.h"
#include "manager/manager_analysis.h"
#include "manager/manager_handle.h"
#include "manager/manager_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const size_labels[] = {"tiny (<1KB)", "small (1KB-64KB)", "medium (64KB-1MB)",
                                          "large (1MB-16MB)", "huge (>16MB)"};

RTD_STATIC_ASSERT((int)RIPTIDE_SIZE_CLASSES == (int)RTD_SIZE_CLASSES, "one set of size classes");
RTD_STATIC_ASSERT(RTD_ARRAY_LENGTH(size_labels) == RIPTIDE_SIZE_CLASSES, "each has its label");

/* A component or an operation with where it is from. */
struct placed_component {
    const struct rtd_report_component *component;
    uint32_t view;
};

struct placed_operation {
    const struct rtd_report_operation *operation;
    uint32_t view;
};

struct allocation_work {
    struct rtd_arena *arena; /* of the answer */
    uint32_t view_count;
    struct rtd_report_view views[RTD_VIEW_MAX];
    struct riptide_allocation_analysis *out;
};

static int compare_components(const void *a, const void *b)
{
    const struct placed_component *const x = a, *const y = b;
    const uint64_t left = x->component->figures.live_bytes.value;
    const uint64_t right = y->component->figures.live_bytes.value;

    if (left != right)
        return left > right ? -1 : 1;
    const int order = strcmp(x->component->name, y->component->name);
    return order ? order : (x->view > y->view) - (x->view < y->view);
}

static int compare_operations(const void *a, const void *b)
{
    const struct placed_operation *const x = a, *const y = b;
    const uint64_t left = x->operation->figures.allocations.value;
    const uint64_t right = y->operation->figures.allocations.value;

    if (left != right)
        return left > right ? -1 : 1;
    int order = strcmp(x->operation->component, y->operation->component);
    if (order == 0)
        order = strcmp(x->operation->name, y->operation->name);
    return order ? order : (x->view > y->view) - (x->view < y->view);
}

/* Components of all views as parts, at most so many; NULL when memory is short. */
static const struct riptide_part *const *list_parts(struct rtd_arena *arena,
                                                    const struct rtd_report_view *views,
                                                    uint32_t view_count, uint32_t *count)
{
    const uint32_t most = *count;
    uint32_t all = 0, at = 0;
    void *elements;

    for (uint32_t v = 0; v < view_count; v++)
        all += views[v].seen->component_count;
    *count = all < most ? all : most;
    struct placed_component *const placed = rtd_arena_take_array(arena, all, sizeof(*placed));
    void *const list = rtd_manager_list_new(arena, *count, sizeof(struct riptide_part), &elements);
    if (!placed || !list)
        return NULL;
    for (uint32_t v = 0; v < view_count; v++) {
        for (uint32_t i = 0; i < views[v].seen->component_count; i++)
            placed[at++] = (struct placed_component){&views[v].seen->components[i], v};
    }
    qsort(placed, all, sizeof(*placed), compare_components);
    struct riptide_part *const parts = elements;
    for (uint32_t i = 0; i < *count; i++)
        parts[i] = (struct riptide_part){
            .name = rtd_arena_intern(arena, placed[i].component->name),
            .domain = rtd_arena_intern(arena, views[placed[i].view].domain),
            .bytes = placed[i].component->figures.live_bytes.value,
        };
    return list;
}

static struct riptide_operation describe_operation(const struct allocation_work *work,
                                                   const struct placed_operation *placed)
{
    const struct rtd_report_operation *const operation = placed->operation;
    const struct rtd_report_figures *const figures = &operation->figures;
    const uint64_t count = figures->allocations.value;

    return (struct riptide_operation){
        .component = rtd_arena_intern(work->arena, operation->component),
        .name = rtd_arena_intern(work->arena, operation->name),
        .domain = rtd_arena_intern(work->arena, work->views[placed->view].domain),
        .allocation_count = count,
        .allocated_bytes = figures->allocated_bytes.value,
        .live_count = figures->live_blocks.value,
        .live_bytes = figures->live_bytes.value,
        .average_size_bytes = count ? (double)figures->allocated_bytes.value / (double)count : 0.0,
    };
}

static int give_operations(struct allocation_work *work)
{
    uint32_t all = 0, at = 0;
    void *elements;

    for (uint32_t v = 0; v < work->view_count; v++)
        all += work->views[v].seen->operation_count;
    const uint32_t count = all < RTD_ANALYSIS_TOP ? all : (uint32_t)RTD_ANALYSIS_TOP;
    struct placed_operation *const placed = rtd_arena_take_array(work->arena, all, sizeof(*placed));
    work->out->operations =
        rtd_manager_list_new(work->arena, count, sizeof(struct riptide_operation), &elements);
    if (!placed || !work->out->operations)
        return -ENOMEM;
    for (uint32_t v = 0; v < work->view_count; v++) {
        const struct rtd_report_process *const seen = work->views[v].seen;

        for (uint32_t i = 0; i < seen->operation_count; i++)
            placed[at++] = (struct placed_operation){&seen->operations[i], v};
    }
    qsort(placed, all, sizeof(*placed), compare_operations);
    struct riptide_operation *const operations = elements;
    for (uint32_t i = 0; i < count; i++)
        operations[i] = describe_operation(work, &placed[i]);
    work->out->operation_count = count;
    return 0;
}

static int give_recommendations(struct allocation_work *work)
{
    uint32_t count = 0, at = 0;
    void *elements;

    for (uint32_t v = 0; v < work->view_count; v++)
        count += work->views[v].seen->allocations.recommendation_count;
    work->out->recommendations =
        rtd_manager_list_new(work->arena, count, sizeof(struct riptide_recommendation), &elements);
    if (!work->out->recommendations)
        return -ENOMEM;
    struct riptide_recommendation *const advice = elements;
    for (uint32_t v = 0; v < work->view_count; v++) {
        const struct rtd_report_allocations *const part = &work->views[v].seen->allocations;

        for (uint32_t i = 0; i < part->recommendation_count; i++)
            advice[at++] = (struct riptide_recommendation){
                .id = rtd_arena_intern(work->arena, part->recommendations[i].id),
                .severity = rtd_arena_intern(work->arena, part->recommendations[i].severity),
                .text = rtd_arena_intern(work->arena, part->recommendations[i].text),
            };
    }
    work->out->recommendation_count = count;
    return 0;
}

static int fill_allocations(struct allocation_work *work, const struct rtd_report_process *target)
{
    struct rtd_report_summary summary;
    uint32_t parts = RTD_ANALYSIS_TOP;
    int result;

    work->view_count = rtd_report_views(target, work->views);
    rtd_report_summarize(target, &summary);
    work->out->efficiency_score = summary.efficiency_score;
    work->out->fragmentation = summary.fragmentation;
    for (unsigned i = 0; i < RIPTIDE_SIZE_CLASSES; i++) {
        const double count = summary.distribution[i];

        work->out->distribution[i].count =
            count > 0.0 && count < 9e18 ? (uint64_t)(count + 0.5) : 0;
    }
    work->out->top_allocators = list_parts(work->arena, work->views, work->view_count, &parts);
    work->out->allocator_count = work->out->top_allocators ? parts : 0;
    result = give_operations(work);
    if (result == 0)
        result = give_recommendations(work);
    /* Strings that could not be kept are empty: nothing of this may be shown. */
    return work->arena->failed ? -ENOMEM : result;
}

int rtd_manager_allocations_new(const struct rtd_report *report,
                                const struct riptide_allocation_analysis **out)
{
    struct allocation_work work = {0};
    int result = 0;

    *out = NULL;
    work.out = rtd_manager_answer_new(sizeof(*work.out), &work.arena);
    if (!work.out)
        return -ENOMEM;
    work.out->efficiency_score = 1.0;
    work.out->fragmentation = -1.0;
    for (unsigned i = 0; i < RIPTIDE_SIZE_CLASSES; i++)
        work.out->distribution[i].label = size_labels[i];
    if (report->target)
        result = fill_allocations(&work, report->target);
    if (result < 0)
        riptide_allocations_free(work.out);
    else
        *out = work.out;
    return result;
}

int rtd_manager_parts_new(const struct rtd_report *report, const struct riptide_parts **out)
{
    struct rtd_report_view views[RTD_VIEW_MAX];
    struct rtd_arena *arena;
    uint32_t count = UINT32_MAX;

    *out = NULL;
    struct riptide_parts *const made = rtd_manager_answer_new(sizeof(*made), &arena);
    if (!made)
        return -ENOMEM;
    const uint32_t view_count = report->target ? rtd_report_views(report->target, views) : 0;
    made->parts = list_parts(arena, views, view_count, &count);
    made->count = count;
    if (!made->parts || arena->failed) {
        riptide_parts_free(made);
        return -ENOMEM;
    }
    *out = made;
    return 0;
}

int riptide_analyze_allocations(struct riptide_manager *manager,
                                const struct riptide_allocation_analysis **out)
{
    struct rtd_report *report = NULL;
    int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    if (!out)
        return -EINVAL;
    *out = NULL;
    if (!manager->options.allocation_analyzer)
        return RIPTIDE_E_DISABLED;
    struct rtd_manager_visit visit;
    rtd_manager_enter(&visit);
    result = rtd_manager_report(manager, &report);
    if (result >= 0)
        result = rtd_manager_allocations_new(report, out);
    rtd_report_free(report);
    rtd_manager_leave(&visit);
    return result < 0 ? result : 0;
}

int riptide_memory_breakdown(struct riptide_manager *manager, const struct riptide_parts **out)
{
    struct rtd_report *report = NULL;
    int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    if (!out)
        return -EINVAL;
    *out = NULL;
    if (!manager->options.tracker)
        return RIPTIDE_E_DISABLED;
    struct rtd_manager_visit visit;
    rtd_manager_enter(&visit);
    result = rtd_manager_report_make(manager, RTD_WISH_WAIT, &report);
    if (result >= 0)
        result = rtd_manager_parts_new(report, out);
    rtd_report_free(report);
    rtd_manager_leave(&visit);
    return result < 0 ? result : 0;
}

void riptide_allocations_free(const struct riptide_allocation_analysis *analysis)
{
    rtd_manager_answer_free(analysis);
}

void riptide_parts_free(const struct riptide_parts *parts)
{
    rtd_manager_answer_free(parts);
}
