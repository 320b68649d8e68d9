// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_symbols.h - asks for the symbols that a report of one process will need.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one at a time, as the resolver
 * Allocates:  for the length of the call
 * Fails:      by a negative errno
 */
#ifndef RTD_ANALYZE_SYMBOLS_H
#define RTD_ANALYZE_SYMBOLS_H

#include "analyze/analyze_input.h"
#include "symbol/symbol_resolver.h"

/* Addresses asked for in one call at most; the sites that hold most come first. */
enum { RTD_ANALYZE_REQUESTS_MAX = 20000 };

/*
 * Resolves the frames of record's stacks into table; addresses that the table knows cost nothing.
 * A running process is also asked for its files by its pid. Returns the number of addresses that
 * got frames, 0 for a blind process, or -ENOMEM, -EINVAL.
 */
int rtd_analyze_resolve(struct rtd_symbol_resolver *resolver, struct rtd_symbol_table *table,
                        const struct rtd_process_record *record);

#endif
