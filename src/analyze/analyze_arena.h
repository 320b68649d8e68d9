// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_arena.h - memory that is freed all at once, with strings kept once each.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  blocks from the heap, growing
 * Fails:      returns NULL when memory is short and remembers it in `failed`
 *
 * Why: a report is thousands of small arrays and strings with one lifetime, rebuilt every second.
 */
#ifndef RTD_ANALYZE_ARENA_H
#define RTD_ANALYZE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rtd_arena_block;

struct rtd_arena {
    struct rtd_arena_block *blocks;
    const char **strings; /* open-addressed table of what rtd_arena_intern() keeps */
    size_t string_slots, string_count;
    bool failed; /* some request was refused since the start */
};

/* All zero is an empty arena; this frees everything in it and makes it empty again. */
void rtd_arena_fini(struct rtd_arena *arena);

/* bytes of zeroed memory, aligned for any type, valid until _fini(); NULL when memory is short. */
void *rtd_arena_take(struct rtd_arena *arena, size_t bytes);

/* The same for count elements; overflow counts as short memory. */
void *rtd_arena_take_array(struct rtd_arena *arena, size_t count, size_t bytes);

/*
 * The arena's own copy of text; equal texts give equal pointers. NULL gives NULL; when memory is
 * short the result is "" and `failed` is set, so that no caller needs a check of its own.
 */
const char *rtd_arena_intern(struct rtd_arena *arena, const char *text);

/* Interned result of a format, cut at 1023 bytes. */
const char *rtd_arena_format(struct rtd_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
