// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_draft.h - one process's report while it is being built.
 *
 * Runs in:    collector, report
 * Threads:    one owner
 * Allocates:  results from the report's arena, working memory from a second one
 * Fails:      by -ENOMEM
 *
 * The steps, in order: rtd_draft_sites, rtd_draft_owners, rtd_draft_leaks, rtd_draft_allocations.
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

/* What a site is called where no tag says otherwise. */
struct rtd_draft_names {
    const char *component, *operation;
};

struct rtd_draft {
    const struct rtd_process_record *record; /* with an image */
    const struct rtd_symbol_table *symbols;
    double time_scale;
    struct rtd_arena *arena;   /* of the report */
    struct rtd_arena *scratch; /* until the process is done */
    struct rtd_report_process *process;
    /* One element per ledger site. */
    struct rtd_figures *figures;
    uint32_t *site_of, *component_of, *operation_of;
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

/* Fills components and operations and their _of arrays. 0 or -ENOMEM. */
int rtd_draft_owners(struct rtd_draft *draft);

/* Fills leaks. 0 or -ENOMEM. */
int rtd_draft_leaks(struct rtd_draft *draft);

/* Fills allocations. 0 or -ENOMEM. */
int rtd_draft_allocations(struct rtd_draft *draft);

#endif
