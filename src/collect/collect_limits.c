// SPDX-License-Identifier: Apache-2.0
/*
 * collect_limits.c - see collect_limits.h.
 *
 * Runs in:    collector; a program that links libriptide
 * Threads:    the collector's loop
 * Allocates:  file descriptors for the length of a call
 * Fails:      by leaving what was known
 */
#include "collect/collect_limits.h"

/* A control group's use is also that of others in it, which nothing else here follows. */
static const uint64_t SPACING_NS = UINT64_C(10000000000), GROUP_SPACING_NS = UINT64_C(1000000000);

/* Again when the age of the process has doubled: a short life is told to its end, too. */
static bool is_due(const struct rtd_collect_process *process, uint64_t now_ns)
{
    const struct rtd_limits *const limits = &process->record.limits;

    const bool in_group = process->record.memory.limit_kind <= RTD_LIMIT_CGROUP_HIGH;
    const uint64_t spacing_ns = in_group ? GROUP_SPACING_NS : SPACING_NS;

    if (!limits->valid || now_ns - limits->taken_ns >= spacing_ns)
        return true;
    return now_ns - process->hello_ns >= 2 * (limits->taken_ns - process->hello_ns);
}

void rtd_collect_limits(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_process_record *const record = &process->record;
    const pid_t pid = (pid_t)record->meta.pid;
    struct rtd_limits limits;

    if (process->ending || !is_due(process, now_ns))
        return;
    rtd_track_limits(pid, NULL, &limits);
    limits.taken_ns = now_ns;
    /* A process that died in between has no limits any more: what was true before stays. */
    if (record->limits.valid && limits.process_reason[0])
        return;
    record->limits = limits;
    rtd_track_take_limits(&record->memory, &limits);
    rtd_track_pressure(pid, NULL, &record->stalls);
}
