// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_maps.h - the report's section on mappings, from the sites that the collector counted.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the draft's arenas
 * Fails:      by -ENOMEM
 */
#ifndef RTD_ANALYZE_MAPS_H
#define RTD_ANALYZE_MAPS_H

#include "analyze/analyze_draft.h"

/* Fills process->mappings. Needs no other step before it. 0 or -ENOMEM. */
int rtd_draft_mappings(struct rtd_draft *draft);

#endif
