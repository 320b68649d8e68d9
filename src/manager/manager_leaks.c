// SPDX-License-Identifier: Apache-2.0
/*
 * manager_leaks.c - riptide_analyze_leaks(): the seed's LeakAnalysis from a report.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; the report is built under the manager's own lock
 * Allocates:  the answer, and working lists that are gone with it
 * Fails:      by a negative errno or an enum riptide_error
 */
#include "analyze/analyze_attribute.h"
#include "analyze/analyze_views.h"
#include "base/base_macros.h"
#include "manager/manager_analysis.h"
#include "manager/manager_handle.h"
#include "manager/manager_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An entry of the report with where it is from; views are in the order in which they are shown. */
struct placed_leak {
    const struct rtd_report_leak *leak;
    uint32_t view;
};

struct placed_block {
    const struct rtd_report_block *block;
    uint32_t view;
};

struct leak_work {
    struct rtd_arena *arena; /* of the answer */
    uint32_t view_count;
    struct rtd_report_view views[RTD_VIEW_MAX];
    struct riptide_leak_analysis *out;
};

static int compare_leaks(const void *a, const void *b)
{
    const struct placed_leak *const x = a, *const y = b;

    if (x->leak->total_size_bytes != y->leak->total_size_bytes)
        return x->leak->total_size_bytes > y->leak->total_size_bytes ? -1 : 1;
    if (x->leak->growth_rate > y->leak->growth_rate || x->leak->growth_rate < y->leak->growth_rate)
        return x->leak->growth_rate > y->leak->growth_rate ? -1 : 1;
    if (x->view != y->view)
        return x->view < y->view ? -1 : 1;
    return strcmp(x->leak->component, y->leak->component);
}

static int compare_blocks(const void *a, const void *b)
{
    const struct placed_block *const x = a, *const y = b;

    if (x->block->size_bytes != y->block->size_bytes)
        return x->block->size_bytes > y->block->size_bytes ? -1 : 1;
    if (x->block->born_unix_ns != y->block->born_unix_ns)
        return x->block->born_unix_ns < y->block->born_unix_ns ? -1 : 1;
    if (x->view != y->view)
        return x->view < y->view ? -1 : 1;
    if (x->block->address != y->block->address)
        return x->block->address < y->block->address ? -1 : 1;
    /* Neighbours in one view's list, which is in order. */
    return (x->block > y->block) - (x->block < y->block);
}

static struct riptide_leak describe_leak(const struct leak_work *work,
                                         const struct placed_leak *placed)
{
    const struct rtd_report_leak *const leak = placed->leak;
    const struct rtd_report_site *const site = leak->site_ref;
    const uint32_t reasons = leak->reason_count < RTD_ARRAY_LENGTH(leak->reasons)
                                 ? leak->reason_count
                                 : (uint32_t)RTD_ARRAY_LENGTH(leak->reasons);
    const char **const names = rtd_arena_take_array(work->arena, reasons, sizeof(*names));

    for (uint32_t i = 0; names && i < reasons; i++)
        names[i] = rtd_arena_intern(work->arena, leak->reasons[i]);
    return (struct riptide_leak){
        .component = rtd_arena_intern(work->arena, leak->component),
        .domain = rtd_arena_intern(work->arena, work->views[placed->view].domain),
        .allocation_count = leak->allocation_count,
        .total_size_bytes = leak->total_size_bytes,
        .average_size_bytes = leak->average_size_bytes,
        .growth_rate = leak->growth_rate,
        .first_seen_ns = leak->first_seen_unix_ns,
        .last_seen_ns = leak->last_seen_unix_ns,
        .reason_count = reasons,
        .reasons = names,
        .function = site ? rtd_arena_intern(work->arena, site->function) : NULL,
        .file = site ? rtd_arena_intern(work->arena, site->file) : NULL,
        .line = site ? site->line : 0,
    };
}

static int give_leaks(struct leak_work *work)
{
    uint32_t count = 0, at = 0;
    void *elements;

    for (uint32_t v = 0; v < work->view_count; v++)
        count += work->views[v].seen->leaks.potential_leak_count;
    struct placed_leak *const placed = rtd_arena_take_array(work->arena, count, sizeof(*placed));
    work->out->potential_leaks =
        rtd_manager_list_new(work->arena, count, sizeof(struct riptide_leak), &elements);
    if (!placed || !work->out->potential_leaks)
        return -ENOMEM;
    for (uint32_t v = 0; v < work->view_count; v++) {
        const struct rtd_report_leaks *const leaks = &work->views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->potential_leak_count; i++)
            placed[at++] = (struct placed_leak){&leaks->potential_leaks[i], v};
    }
    qsort(placed, count, sizeof(*placed), compare_leaks);
    struct riptide_leak *const leaks = elements;
    for (uint32_t i = 0; i < count; i++)
        leaks[i] = describe_leak(work, &placed[i]);
    work->out->potential_leak_count = count;
    return 0;
}

/* "parse_html", or "module+0x1a2b" where the function is not known. */
static const char *frame_name(struct rtd_arena *arena, const struct rtd_report_frame *frame)
{
    if (frame->function)
        return rtd_arena_intern(arena, frame->function);
    return rtd_arena_format(arena, "%s+0x%llx", rtd_attribute_basename(frame->module),
                            (unsigned long long)frame->offset);
}

static struct riptide_block describe_block(const struct leak_work *work,
                                           const struct placed_block *placed)
{
    const struct rtd_report_block *const block = placed->block;
    const uint32_t frames = block->site ? block->site->frame_count : 0;
    const char **const stack = rtd_arena_take_array(work->arena, frames, sizeof(*stack));

    for (uint32_t i = 0; stack && i < frames; i++)
        stack[i] = frame_name(work->arena, &block->site->frames[i]);
    return (struct riptide_block){
        .component = rtd_arena_intern(work->arena, block->component),
        .operation = rtd_arena_intern(work->arena, block->operation),
        .domain = rtd_arena_intern(work->arena, work->views[placed->view].domain),
        .size_bytes = block->size_bytes,
        .timestamp_ns = block->born_unix_ns,
        .address = (const void *)(uintptr_t)block->address,
        .stack_count = frames,
        .stack_trace = stack,
        .alignment = block->alignment,
    };
}

static int give_blocks(struct leak_work *work)
{
    struct placed_block placed[RTD_VIEW_MAX * RTD_LARGEST_MAX];
    uint32_t count = 0;
    void *elements;

    for (uint32_t v = 0; v < work->view_count; v++) {
        const struct rtd_report_leaks *const leaks = &work->views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->largest_count && i < RTD_LARGEST_MAX; i++)
            placed[count++] = (struct placed_block){&leaks->largest[i], v};
    }
    if (count > 1)
        qsort(placed, count, sizeof(placed[0]), compare_blocks);
    if (count > RTD_ANALYSIS_TOP)
        count = RTD_ANALYSIS_TOP;
    work->out->largest_allocations =
        rtd_manager_list_new(work->arena, count, sizeof(struct riptide_block), &elements);
    if (!work->out->largest_allocations)
        return -ENOMEM;
    struct riptide_block *const blocks = elements;
    for (uint32_t i = 0; i < count; i++)
        blocks[i] = describe_block(work, &placed[i]);
    work->out->largest_count = count;
    return 0;
}

static int give_patterns(struct leak_work *work)
{
    uint32_t count = 0, at = 0;

    for (uint32_t v = 0; v < work->view_count; v++)
        count += work->views[v].seen->leaks.pattern_count;
    const char **const patterns = rtd_arena_take_array(work->arena, count, sizeof(*patterns));
    if (!patterns)
        return -ENOMEM;
    for (uint32_t v = 0; v < work->view_count; v++) {
        const struct rtd_report_leaks *const leaks = &work->views[v].seen->leaks;

        for (uint32_t i = 0; i < leaks->pattern_count; i++)
            patterns[at++] = rtd_arena_intern(work->arena, leaks->suspicious_patterns[i]);
    }
    work->out->suspicious_patterns = patterns;
    work->out->pattern_count = count;
    return 0;
}

static int fill_leaks(struct leak_work *work, const struct rtd_report_process *target)
{
    struct rtd_report_summary summary;
    char name[RTD_VIEW_NAME_BYTES];
    int result;

    work->view_count = rtd_report_views(target, work->views);
    rtd_report_summarize(target, &summary);
    work->out->growth_rate_mb_per_hour = summary.growth_rate_mb_per_hour;
    if (summary.riskiest)
        work->out->highest_risk_component = rtd_arena_intern(
            work->arena, rtd_report_view_name(&summary.riskiest_view, summary.riskiest, name));
    result = give_leaks(work);
    if (result == 0)
        result = give_blocks(work);
    if (result == 0)
        result = give_patterns(work);
    /* Strings that could not be kept are empty: nothing of this may be shown. */
    return work->arena->failed ? -ENOMEM : result;
}

int rtd_manager_leaks_new(const struct rtd_report *report, const struct riptide_leak_analysis **out)
{
    struct leak_work work = {0};
    int result = 0;

    *out = NULL;
    work.out = rtd_manager_answer_new(sizeof(*work.out), &work.arena);
    if (!work.out)
        return -ENOMEM;
    if (report->target)
        result = fill_leaks(&work, report->target);
    if (result < 0)
        riptide_leaks_free(work.out);
    else
        *out = work.out;
    return result;
}

int riptide_analyze_leaks(struct riptide_manager *manager, const struct riptide_leak_analysis **out)
{
    struct rtd_report *report = NULL;
    int result = rtd_manager_check(manager);

    if (result < 0)
        return result;
    if (!out)
        return -EINVAL;
    *out = NULL;
    if (!manager->options.leak_detector)
        return RIPTIDE_E_DISABLED;
    struct rtd_manager_visit visit;
    rtd_manager_enter(&visit);
    result = rtd_manager_report(manager, &report);
    if (result >= 0)
        result = rtd_manager_leaks_new(report, out);
    rtd_report_free(report);
    rtd_manager_leave(&visit);
    return result < 0 ? result : 0;
}

void riptide_leaks_free(const struct riptide_leak_analysis *analysis)
{
    rtd_manager_answer_free(analysis);
}
