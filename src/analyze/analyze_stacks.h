// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_stacks.h - stack ids as lists of report frames.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  what outlives it from the report's arena, the rest from the heap until _fini()
 * Fails:      by -ENOMEM
 *
 * Each return address is resolved once however many stacks share it: stacks form a trie, and the
 * frames near its root stand in most of them.
 */
#ifndef RTD_ANALYZE_STACKS_H
#define RTD_ANALYZE_STACKS_H

#include "analyze/analyze_arena.h"
#include "analyze/analyze_attribute.h"
#include "analyze/analyze_report.h"

struct rtd_place;
struct rtd_module_name;

struct rtd_stacks {
    const struct rtd_process_record *record;
    const struct rtd_symbol_table *symbols;
    struct rtd_arena *arena;
    struct rtd_module_name *modules; /* one per module of the image */
    struct rtd_place *places;        /* open-addressed by (pc, generation) */
    size_t place_slots, place_count;
    struct rtd_image_stack stack; /* scratch: too large for a call stack of its own */
    struct rtd_report_frame *frames;
    enum rtd_frame_kind *kinds;
    uint32_t frame_room;
};

/* One stack as the report shows it; frames are borrowed until the next _get() or _fini(). */
struct rtd_stack_view {
    const struct rtd_report_frame *frames; /* leaf first, without our hooks and the allocator */
    uint32_t frame_count;
    uint32_t named_frame;
    bool truncated;
    uint64_t hash; /* equal views have equal hashes */
};

/*
 * symbols may be NULL: then frames have offsets only. All three are borrowed until _fini(). 0 or
 * -ENOMEM; after a failure, too, _fini() is called.
 */
int rtd_stacks_init(struct rtd_stacks *stacks, const struct rtd_process_record *record,
                    const struct rtd_symbol_table *symbols, struct rtd_arena *arena);
void rtd_stacks_fini(struct rtd_stacks *stacks);

/*
 * The frames of a stack id of the record's image, 0 = no stack, which is an empty view. The strings
 * in them are the arena's and may be kept; the array is not. 0 or -ENOMEM.
 */
int rtd_stacks_get(struct rtd_stacks *stacks, uint32_t stack, struct rtd_stack_view *out);

/* Whether two views (or stored copies of frames) are the same places in the same order. */
bool rtd_stacks_equal(const struct rtd_report_frame *a, const struct rtd_report_frame *b,
                      uint32_t count);

#endif
