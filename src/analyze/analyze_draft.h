// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_draft.h - one process's report while it is being built.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  results from the report's arena, working memory from a second one
 * Fails:      by -ENOMEM
 *
 * The steps, in order: rtd_draft_sites, rtd_draft_owners, rtd_draft_leaks, rtd_draft_largest,
 * rtd_draft_allocations.
 *
 *     ledger sites (stack, tag) --site_of--> report sites (stack)
 *                 |-----------component_of--> components, --operation_of--> operations
 */
#ifndef RTD_ANALYZE_DRAFT_H
#define RTD_ANALYZE_DRAFT_H

#include "analyze/analyze_arena.h"
#include "analyze/analyze_figures.h"

/* No entry: a ledger site that never saw a sample. */
#define RTD_DRAFT_NONE UINT32_MAX

/*
 * The component under which the library tags what it has itself on the heap of its program. It
 * stands in totals, sites and components like any other, since every byte stands somewhere; it is
 * no leak, no advice and none of the largest blocks, because nobody can act on it.
 */
#define RTD_OWN_COMPONENT "riptide"

/* What a site is called where no tag says otherwise. */
struct rtd_draft_names {
    const char *component, *operation;
};

struct rtd_draft {
    const struct rtd_process_record *record; /* with an image */
    const struct rtd_symbol_table *symbols;
    double time_scale;
    const struct rtd_thresholds *thresholds;
    const char *domain;        /* its name; NULL: the heap */
    bool plain;                /* sentences need not name the domain */
    struct rtd_arena *arena;   /* of the report */
    struct rtd_arena *scratch; /* until the process is done */
    struct rtd_report_process *process;
    /* One element per ledger site. */
    struct rtd_figures *figures;
    uint32_t *site_of, *component_of, *operation_of;
    uint32_t own_component;        /* the library's; RTD_DRAFT_NONE: none is */
    struct rtd_draft_names *names; /* per report site */
    /* Pooled figures of each component, in the order of process->components. */
    struct rtd_figures *component_figures;
    struct rtd_figures total;
};

/*
 * Fills function, file, line and module of a site from its frames and says what it is called where
 * no tag says otherwise. Interned in arena.
 */
struct rtd_draft_names rtd_draft_name_site(struct rtd_arena *arena,
                                           const struct rtd_process_meta *meta,
                                           struct rtd_report_site *site);

/* The names under a tag: the tag's own, where it has any, before the site's. Interned in arena. */
struct rtd_draft_names rtd_draft_names_of(struct rtd_arena *arena,
                                          const struct rtd_draft_names *names,
                                          const struct rtd_image_tag *tag, uint32_t tag_id);

/* Fills sites, totals, peak and site_of; measures figures. 0 or -ENOMEM. */
int rtd_draft_sites(struct rtd_draft *draft);

/* Fills components and operations, their _of arrays, and own_component. 0 or -ENOMEM. */
int rtd_draft_owners(struct rtd_draft *draft);

/* Whether a ledger site is the library's own. */
static inline bool rtd_draft_is_own(const struct rtd_draft *draft, uint32_t site)
{
    return draft->own_component != RTD_DRAFT_NONE &&
           draft->component_of[site] == draft->own_component;
}

/* What a component is called in a sentence: "DOMAIN:component" where it needs to be. */
const char *rtd_draft_spoken(const struct rtd_draft *draft, const char *component);

/* Fills leaks, but for the largest blocks. 0 or -ENOMEM. */
int rtd_draft_leaks(struct rtd_draft *draft);

/* Fills the largest blocks. 0 or -ENOMEM. */
int rtd_draft_largest(struct rtd_draft *draft);

/* Fills allocations, but for the fragmentation. 0 or -ENOMEM. */
int rtd_draft_allocations(struct rtd_draft *draft);

/*
 * The share of the allocator's resident bytes that no live block explains, 0..1, from totals and
 * memory of a process; negative when the allocator was not asked or does not tell.
 */
double rtd_draft_fragmentation(const struct rtd_report_process *process);

#endif
