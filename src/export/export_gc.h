// SPDX-License-Identifier: Apache-2.0
/*
 * export_gc.h - what a forced release of free memory did, as JSON.
 *
 * Runs in:    collector; a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      like snprintf()
 */
#ifndef RTD_EXPORT_GC_H
#define RTD_EXPORT_GC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings are constants of ours that need no escaping, or NULL: not known, or nothing to say. */
struct rtd_gc_outcome {
    const char *action, *allocator; /* what was called, of which allocator */
    const char *status, *reason;    /* "done", ...; why it is not */
    uint32_t pid;
    bool before_known, after_known;
    uint64_t before_bytes, after_bytes; /* resident */
    uint64_t duration_ns;               /* of the call; told when there is an action */
};

/*
 * One object and a line feed, which riptide gc --json, POST /actions/gc of the collector and of the
 * library share: action, allocator, pid, before_bytes, after_bytes, freed_bytes (only when done),
 * duration_ms, status, reason. Returns what snprintf() would.
 */
int rtd_export_gc_json(char *out, size_t size, const struct rtd_gc_outcome *outcome);

#endif
