// SPDX-License-Identifier: Apache-2.0
/*
 * collect_resolve.c - names for all processes of a run, within a limit of time.
 *
 * Runs in:    collector, `riptide report`, a program that links libriptide
 * Threads:    the caller's
 * Allocates:  what resolver and table need
 * Fails:      silently, see collect_resolve.h
 */
#include "collect/collect_resolve.h"

#include "analyze/analyze_symbols.h"
#include "collect/collect_pool.h"

void rtd_collect_resolve(struct rtd_symbol_resolver *resolver, struct rtd_symbol_table *table,
                         const struct rtd_process_record *const *records, uint32_t count,
                         uint32_t limit_ms)
{
    const uint64_t deadline_ns = rtd_collect_now_ns() + (uint64_t)limit_ms * 1000000u;

    if (!resolver || count == 0)
        return;
    const uint32_t root_pid = records[0]->meta.pid;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < count; i++) {
            const bool is_root = records[i]->meta.pid == root_pid;
            if (is_root != (round == 0) || !records[i]->image)
                continue;
            if (rtd_collect_now_ns() > deadline_ns)
                return;
            (void)rtd_analyze_resolve(resolver, table, records[i]);
        }
    }
}
