// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_views.c - see analyze_views.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_views.h"

#include <stdio.h>

bool rtd_report_sees_heap(const struct rtd_report_process *process)
{
    /* An agent that went blind half-way has figures up to there, and they are worth showing. */
    return !process->heap_unseen &&
           (process->meta.status != RTD_PROCESS_BLIND || process->site_count != 0);
}

uint32_t rtd_report_views(const struct rtd_report_process *process,
                          struct rtd_report_view views[RTD_VIEW_MAX])
{
    const bool heap = rtd_report_sees_heap(process);
    uint32_t count = 0;
    if (heap)
        views[count++] = (struct rtd_report_view){RTD_VIEW_HEAP, true, process};
    for (uint32_t i = 0; i < process->domain_count && count < RTD_VIEW_MAX; i++) {
        const struct rtd_report_domain *domain = &process->domains[i];
        views[count++] = (struct rtd_report_view){domain->name, i == 0 && !heap, domain->seen};
    }
    return count;
}

const char *rtd_report_view_name(const struct rtd_report_view *view, const char *component,
                                 char buffer[RTD_VIEW_NAME_BYTES])
{
    if (view->plain)
        return component;
    snprintf(buffer, RTD_VIEW_NAME_BYTES, "%s:%s", view->domain, component);
    return buffer;
}

static void add_leaks(struct rtd_report_summary *out, const struct rtd_report_view *view,
                      double *fastest)
{
    const struct rtd_report_leaks *leaks = &view->seen->leaks;
    out->potential_leak_count += leaks->potential_leak_count;
    /* Not the sum of both: what an arena hands out was allocated on the heap before. */
    if (leaks->growth_rate_mb_per_hour > out->growth_rate_mb_per_hour)
        out->growth_rate_mb_per_hour = leaks->growth_rate_mb_per_hour;
    for (uint32_t i = 0; i < leaks->potential_leak_count; i++) {
        if (leaks->potential_leaks[i].growth_rate <= *fastest)
            continue;
        *fastest = leaks->potential_leaks[i].growth_rate;
        out->riskiest = leaks->potential_leaks[i].component;
        out->riskiest_view = *view;
    }
}

static void add_sizes(struct rtd_report_summary *out,
                      const struct rtd_report_allocations *allocations)
{
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++)
        out->distribution[i] += allocations->distribution[i];
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++)
        out->lifetime[i] += allocations->lifetime[i];
}

void rtd_report_summarize(const struct rtd_report_process *process, struct rtd_report_summary *out)
{
    struct rtd_report_view views[RTD_VIEW_MAX] = {0};
    const bool heap = rtd_report_sees_heap(process);
    double weight = 0.0, weighted = 0.0, fastest = 0.0;
    *out = (struct rtd_report_summary){.view_count = rtd_report_views(process, views)};
    for (uint32_t i = 0; i < out->view_count && views[i].seen; i++) {
        const struct rtd_report_process *seen = views[i].seen;
        const double allocations = (double)seen->totals.allocations.value;
        add_leaks(out, &views[i], &fastest);
        if (heap && i > 0)
            continue;
        add_sizes(out, &seen->allocations);
        weight += allocations;
        weighted += allocations * seen->allocations.efficiency_score;
    }
    out->fragmentation = process->allocations.fragmentation;
    out->efficiency_score = heap           ? process->allocations.efficiency_score
                            : weight > 0.0 ? weighted / weight
                                           : 1.0;
}
