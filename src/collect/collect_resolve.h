// SPDX-License-Identifier: Apache-2.0
/*
 * collect_resolve.h - names for all processes of a run, within a limit of time.
 *
 * Runs in:    collector, `riptide report`, a program that links libriptide
 * Threads:    the caller's; resolver and table belong to it for the call
 * Allocates:  what resolver and table need
 * Fails:      silently: an address without a name is reported as module and offset
 */
#ifndef RTD_COLLECT_RESOLVE_H
#define RTD_COLLECT_RESOLVE_H

#include "analyze/analyze_input.h"
#include "symbol/symbol_resolver.h"

/*
 * Resolves what the records' stacks need, the program that was run (pid of id 0) first. No new
 * process is begun after limit_ms. resolver may be NULL: nothing happens.
 */
void rtd_collect_resolve(struct rtd_symbol_resolver *resolver, struct rtd_symbol_table *table,
                         const struct rtd_process_record *const *records, uint32_t count,
                         uint32_t limit_ms);

#endif
