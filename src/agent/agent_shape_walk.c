// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape_walk.c - see agent_shape_walk.h.
 *
 * Runs in:    agent (slow path of exact mode), any thread, also inside signal handlers
 * Threads:    reads the calling thread's stack, the rule cache and the records; no lock
 * Allocates:  never
 * Fails:      by ending early, with a reason
 *
 * The same steps as rtd_unwind_walk(), with the same checks; a unit test holds the two together.
 */
#include "agent/agent_shape_walk.h"

#include "unwind/unwind_cache.h"
#include "unwind/unwind_step.h"

#include "agent/agent_only.h"

#define PC_LIMIT (UINT64_C(1) << RTD_UNWIND_PC_BITS)

/* Words of a run, less what its link and the padding of two kinds may need. */
enum { RUN_WORDS_MAX = RTD_SHAPE_WORD_COUNT - 1 - 3 - 3 };
#define RUN_REACH_MAX (UINT64_C(0xffff) * 8)

/* The run that the walk is in. */
struct run {
    uintptr_t sp;
    unsigned words;
};

static uintptr_t load_word(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static bool is_anchor(uintptr_t high, uintptr_t sp, uintptr_t cfa)
{
    return ((high - sp) ^ (high - cfa)) >> RTD_SHAPE_ANCHOR_SHIFT != 0;
}

/* ---- looking for a run that is known ---- */

/* Whether this record holds for the frame in *walk; fills *link. */
static bool probe_record(struct rtd_shape_trace *trace, const struct rtd_unwind_walk *walk,
                         const struct rtd_shape_record *record)
{
    struct rtd_shape_link *const link = &trace->link;
    const uint64_t id = atomic_load_explicit(&record->id, memory_order_acquire);
    const uint64_t place = atomic_load_explicit(&record->place, memory_order_acquire);

    if ((id & 1) != 0 || (uint32_t)place != trace->high - walk->sp ||
        atomic_load_explicit(&record->pc, memory_order_acquire) != walk->key ||
        atomic_load_explicit(&record->stamp, memory_order_acquire) != trace->stamp)
        return false;
    const bool needs_fp = (place & RTD_SHAPE_NEEDS_FP) != 0;
    uintptr_t fp = 0;
    const uint32_t depth = (uint32_t)(place >> RTD_SHAPE_DEPTH_SHIFT);
    const uint32_t node = (uint32_t)atomic_load_explicit(&record->entry, memory_order_acquire);
    if (depth > RTD_SHAPE_DEPTH_MAX - RTD_SHAPE_FRAME_MAX ||
        (needs_fp && !rtd_unwind_step_fp(walk, &fp)) || !rtd_shape_verify(record, id, walk->sp, fp))
        return false;
    *link = (struct rtd_shape_link){
        .id = id,
        .index = (uint32_t)(record - rtd_shape_records),
        .node = node,
        .depth = depth,
        .needs_fp = needs_fp,
    };
    return true;
}

/* Looks for a record of a frame that the walk has just left. Not inlined: saves stack in steps. */
static __attribute__((noinline)) bool probe(struct rtd_shape_trace *trace,
                                            const struct rtd_unwind_walk *after,
                                            const struct rtd_shape_frame *frame)
{
    const struct rtd_shape_set set = rtd_shape_set_of(frame->pc, trace->high - frame->sp);
    struct rtd_unwind_walk walk = *after;

    walk.sp = frame->sp;
    walk.key = frame->pc;
    walk.fp_slot = frame->fp_slot;
    for (unsigned ways = rtd_shape_ways(&set); ways != 0; ways &= ways - 1)
        if (probe_record(trace, &walk, &set.records[__builtin_ctz(ways)]))
            return true;
    return false;
}

/* ---- the walk ---- */

/* Where a realigned frame keeps its CFA: what does not fit is too far away for a record, too. */
static uint32_t cfa_slot_of(uintptr_t sp, uintptr_t slot)
{
    return slot - sp < UINT32_MAX / 2 ? (uint32_t)(slot - sp) | 1 : UINT32_MAX;
}

/* What the rule in walk->entry used and set; the frame's own values are still those before. */
static void note_use(struct rtd_shape_frame *frame, const struct rtd_unwind_walk *walk,
                     uintptr_t fp_before)
{
    const uint64_t entry = walk->entry;

    switch (rtd_unwind_entry_kind(entry)) {
    case RTD_UNWIND_KIND_RSP:
        frame->use |= rtd_unwind_entry_rbp_words(entry) != 0 ? RTD_SHAPE_SETS_FP : 0;
        break;
    case RTD_UNWIND_KIND_RSP_WIDE:
        frame->use |= rtd_unwind_entry_wide_rbp_words(entry) != 0 ? RTD_SHAPE_SETS_FP : 0;
        break;
    case RTD_UNWIND_KIND_RBP:
        frame->use |= RTD_SHAPE_USES_FP;
        frame->use |= rtd_unwind_entry_rbp_words(entry) != 0 ? RTD_SHAPE_SETS_FP : 0;
        break;
    case RTD_UNWIND_KIND_DEREF:
        frame->use |= RTD_SHAPE_USES_FP | RTD_SHAPE_SETS_FP;
        frame->cfa_slot = cfa_slot_of(
            frame->sp, fp_before + (uint64_t)rtd_unwind_entry_signed_cfa_words(entry) * 8);
        break;
    case RTD_UNWIND_KIND_EMPTY:
    case RTD_UNWIND_KIND_SIGNAL:
    case RTD_UNWIND_KIND_END:
    case RTD_UNWIND_KIND_NONE:
    default:
        break;
    }
}

/* One step, with its uses noted in the frame it leaves. */
static enum rtd_unwind_step step(struct rtd_unwind_walk *walk, struct rtd_shape_frame *frame)
{
    const uint64_t entry = atomic_load_explicit(
        &rtd_unwind_cache_places[walk->key & RTD_UNWIND_PLACE_MASK], memory_order_relaxed);
    const uint64_t wanted = (walk->generation & RTD_UNWIND_GEN_MASK) << RTD_UNWIND_GEN_SHIFT |
                            (uint64_t)RTD_UNWIND_KIND_RSP << RTD_UNWIND_KIND_SHIFT;

    if (RTD_LIKELY(((entry & RTD_UNWIND_HEAD_MASK) ^ walk->key >> RTD_UNWIND_PLACE_BITS) ==
                   wanted)) {
        const uintptr_t cfa = walk->sp + rtd_unwind_entry_cfa_words(entry) * 8;
        const int64_t rbp_words = rtd_unwind_entry_rbp_words(entry);
        if (RTD_UNLIKELY(cfa > walk->bounds.high))
            return RTD_UNWIND_STEP_BOUNDS;
        if (rbp_words != 0) {
            walk->fp_slot = cfa + (uint64_t)rbp_words * 8;
            frame->use |= RTD_SHAPE_SETS_FP;
        }
        walk->sp = cfa;
        return RTD_UNWIND_STEP_CALL;
    }
    uintptr_t fp = 0;
    (void)rtd_unwind_step_fp(walk, &fp);
    const enum rtd_unwind_step result = rtd_unwind_step(walk, entry);
    if (result == RTD_UNWIND_STEP_CALL)
        note_use(frame, walk, fp);
    return result;
}

/* Whether a run begins with this frame; sp is the one behind it. */
static void place_in_run(struct run *run, struct rtd_shape_frame *frame, uintptr_t cfa, bool begins)
{
    const unsigned words = 1u + ((frame->use & RTD_SHAPE_USES_FP) != 0) + (frame->cfa_slot != 0);

    if (begins || run->words + words > RUN_WORDS_MAX || cfa - run->sp > RUN_REACH_MAX) {
        frame->use |= RTD_SHAPE_BEGINS;
        *run = (struct run){.sp = frame->sp, .words = 0};
    }
    run->words += words;
}

static enum rtd_unwind_end end_of(enum rtd_unwind_step step)
{
    if (step == RTD_UNWIND_STEP_COMPLETE)
        return RTD_UNWIND_COMPLETE;
    return step == RTD_UNWIND_STEP_NO_RULE ? RTD_UNWIND_NO_RULE : RTD_UNWIND_BOUNDS;
}

static bool is_good_start(const struct rtd_unwind_frame *start, struct rtd_shape_trace *trace,
                          const struct rtd_unwind_bounds *bounds)
{
    trace->end = RTD_UNWIND_BOUNDS;
    if (start->pc - 1 >= PC_LIMIT - 1)
        trace->end = RTD_UNWIND_NO_RULE;
    else if ((start->sp & 7) == 0 && start->sp >= bounds->low && start->sp <= bounds->high &&
             bounds->low > RTD_UNWIND_LOST_SLOT)
        return true;
    trace->is_cacheable = false;
    return false;
}

/* Takes the step from frames[index]; true when the walk is over. */
static bool advance(struct rtd_shape_trace *trace, struct rtd_unwind_walk *walk, struct run *run,
                    unsigned index)
{
    struct rtd_shape_frame *const frame = &trace->frames[index];
    const enum rtd_unwind_step result = step(walk, frame);

    if (result > RTD_UNWIND_STEP_SIGNAL) {
        trace->end = end_of(result);
        trace->is_cacheable &= result != RTD_UNWIND_STEP_BOUNDS;
        return true;
    }
    if (result == RTD_UNWIND_STEP_SIGNAL)
        trace->is_cacheable = false;
    if (trace->is_cacheable) {
        const bool anchor = is_anchor(trace->high, frame->sp, walk->sp);
        if (anchor && index > 0 && probe(trace, walk, frame)) {
            trace->count = index;
            return true;
        }
        place_in_run(run, frame, walk->sp, anchor);
    }
    if (result == RTD_UNWIND_STEP_CALL) {
        frame->use |= RTD_SHAPE_READS_PC;
        walk->key = load_word(walk->sp - 8);
    }
    const uintptr_t pc = result == RTD_UNWIND_STEP_CALL ? walk->key : walk->key - 1;
    frame[1] = (struct rtd_shape_frame){.pc = pc, .sp = walk->sp, .fp_slot = walk->fp_slot};
    if (RTD_UNLIKELY(pc - 1 >= PC_LIMIT - 2)) {
        /* A zero where a return address should be is how hand-made stacks end. */
        trace->end = pc == 0 ? RTD_UNWIND_COMPLETE : RTD_UNWIND_NO_RULE;
        return true;
    }
    return false;
}

void rtd_shape_walk(struct rtd_shape_trace *trace, struct rtd_unwind_frame start,
                    struct rtd_unwind_bounds bounds)
{
    struct rtd_unwind_walk walk = {
        .bounds = bounds, .sp = start.sp, .key = start.pc, .fp_value = start.fp};
    struct run run = {.sp = start.sp};

    trace->stamp = rtd_shape_stamp();
    walk.generation = trace->stamp;
    trace->link.depth = 0;
    trace->fp = start.fp;
    trace->frames[0] = (struct rtd_shape_frame){.pc = start.pc, .sp = start.sp};
    trace->count = 1;
    if (!is_good_start(&start, trace, &bounds))
        return;
    while (!advance(trace, &walk, &run, trace->count - 1)) {
        if (trace->count == RTD_SHAPE_FRAME_MAX) {
            trace->end = RTD_UNWIND_DEPTH;
            return;
        }
        trace->count++;
    }
}
