// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_views.h - heap and domains of a process side by side, for answers that speak of both.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  never
 * Fails:      never
 *
 * The heap comes first where it is seen. Where it is not, the domain "records" takes its place: its
 * components go by their plain names. All others are called "DOMAIN:component" in plain lists.
 * Nothing of a domain is ever added to a figure of a heap that is seen, and no growth to another
 * domain's: bytes may stand in several, a pool's in its own and in that of what it lies in.
 */
#ifndef RTD_ANALYZE_VIEWS_H
#define RTD_ANALYZE_VIEWS_H

#include "analyze/analyze_report.h"

enum {
    RTD_VIEW_MAX = RTD_DOMAIN_MAX + 1,
    RTD_VIEW_NAME_BYTES = 2 * RTD_MODULE_NAME_BYTES,
};

/* What the heap is called where domains have names. */
#define RTD_VIEW_HEAP "heap"

/* The heap or one domain; pointers are the report's. */
struct rtd_report_view {
    const char *domain; /* RTD_VIEW_HEAP or the domain's name */
    bool plain;         /* components need no "DOMAIN:" in front */
    const struct rtd_report_process *seen;
};

/* True unless nothing is known of the process's heap: figures must not be read as zero then. */
bool rtd_report_sees_heap(const struct rtd_report_process *process);

/* Fills views in the order in which they are shown and returns how many there are. */
uint32_t rtd_report_views(const struct rtd_report_process *process,
                          struct rtd_report_view views[RTD_VIEW_MAX]);

/* The name of a component in a plain list: itself, or made in buffer (cut to fit). */
const char *rtd_report_view_name(const struct rtd_report_view *view, const char *component,
                                 char buffer[RTD_VIEW_NAME_BYTES]);

/* What is said of a process in one figure each. */
struct rtd_report_summary {
    uint32_t view_count;                  /* 0: nothing is known, the rest means nothing */
    uint32_t potential_leak_count;        /* of all views */
    double growth_rate_mb_per_hour;       /* sum over those of the view where it is largest */
    const char *riskiest;                 /* the component that grows fastest; NULL if none */
    struct rtd_report_view riskiest_view; /* where it is */
    /* Of the heap where it is seen, else of all domains: a mean by allocations, and sums. */
    double efficiency_score;
    double fragmentation; /* negative: not known */
    double distribution[RTD_SIZE_CLASSES];
    uint64_t lifetime[RTD_LIFETIME_BUCKETS];
};

void rtd_report_summarize(const struct rtd_report_process *process, struct rtd_report_summary *out);

#endif
