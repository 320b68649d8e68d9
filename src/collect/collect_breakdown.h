// SPDX-License-Identifier: Apache-2.0
/*
 * collect_breakdown.h - when the resident memory of a live process is classified anew.
 *
 * Runs in:    collector
 * Threads:    the collector's loop, which alone feeds the map of mappings
 * Allocates:  addresses for the length of a call
 * Fails:      by leaving the older breakdown in place
 *
 * The kernel walks page tables for smaps, so a breakdown is made for reports only, and the next no
 * sooner than two seconds later and than a thousand times what the last one cost: 0.1 % of a core
 * at most.
 */
#ifndef RTD_COLLECT_BREAKDOWN_H
#define RTD_COLLECT_BREAKDOWN_H

#include "collect/collect_process.h"

/* Renews record.breakdown if that is due. The image must be up to date. */
void rtd_collect_breakdown(struct rtd_collect_process *process, uint64_t now_ns);

#endif
