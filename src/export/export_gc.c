// SPDX-License-Identifier: Apache-2.0
/*
 * export_gc.c - see export_gc.h.
 *
 * Runs in:    collector; a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      like snprintf()
 */
#include "export/export_gc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WORD_BYTES = 32 };

static void put_number(char out[WORD_BYTES], bool known, uint64_t number)
{
    (void)snprintf(out, WORD_BYTES, known ? "%" PRIu64 : "null", number);
}

int rtd_export_gc_json(char *out, size_t size, const struct rtd_gc_outcome *outcome)
{
    const bool done = strcmp(outcome->status, "done") == 0;
    const bool both_known = outcome->before_known && outcome->after_known;
    const uint64_t freed = outcome->before_bytes > outcome->after_bytes
                               ? outcome->before_bytes - outcome->after_bytes
                               : 0;
    const char *const action = outcome->action, *const allocator = outcome->allocator;
    const char *const reason = outcome->reason;
    char before[WORD_BYTES], after[WORD_BYTES], less[WORD_BYTES], duration[WORD_BYTES] = "null";

    put_number(before, outcome->before_known, outcome->before_bytes);
    put_number(after, outcome->after_known, outcome->after_bytes);
    put_number(less, both_known && done, freed);
    if (action)
        (void)snprintf(duration, sizeof(duration), "%.3f", (double)outcome->duration_ns / 1e6);
    return snprintf(out, size,
                    "{\"action\":%s%s%s,\"allocator\":%s%s%s,\"pid\":%" PRIu32
                    ",\"before_bytes\":%s,\"after_bytes\":%s,\"freed_bytes\":%s,"
                    "\"duration_ms\":%s,\"status\":\"%s\",\"reason\":%s%s%s}\n",
                    action ? "\"" : "", action ? action : "null", action ? "\"" : "",
                    allocator ? "\"" : "", allocator ? allocator : "null", allocator ? "\"" : "",
                    outcome->pid, before, after, less, duration, outcome->status,
                    reason ? "\"" : "", reason ? reason : "null", reason ? "\"" : "");
}
