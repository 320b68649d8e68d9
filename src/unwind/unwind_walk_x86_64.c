// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_walk_x86_64.c - follows cached rules from frame to frame.
 *
 * Runs in:    agent (slow path of malloc), any thread, also inside signal handlers
 * Threads:    reads the calling thread's stack and the shared rule cache; no lock
 * Allocates:  never
 * Fails:      by stopping: every load lies inside the caller's bounds, every step moves up
 *
 * The chain of dependent work per frame is: mask the pc, load the entry, shift, load the next pc
 * at CFA - 8. Everything else (comparing the tag, the bounds, rbp) hangs beside that chain. So:
 *
 *   - the place in the cache is the low bits of the pc, not a product of it;
 *   - the CFA offset is the top of the entry, one shift away;
 *   - rbp is not loaded at every frame, only the slot of its last save is remembered; most stacks
 *     never need its value.
 *
 * Invariants: sp is a multiple of 8, low <= sp <= high, and grows by 8 .. 1 MiB with every frame.
 */
#include <stdatomic.h>

#include "unwind/unwind.h"
#include "unwind/unwind_cache.h"
#include "unwind/unwind_step.h"

#define MAX_FRAME_BYTES (UINT64_C(1) << 20)
#define PC_LIMIT        (UINT64_C(1) << RTD_UNWIND_PC_BITS)
#define LOST_SLOT       RTD_UNWIND_LOST_SLOT

/* Offsets of rbp, rsp and rip in the ucontext that the kernel leaves at rsp. */
enum { UCONTEXT_RBP_BYTES = 120, UCONTEXT_RSP_BYTES = 160, UCONTEXT_RIP_BYTES = 168 };

static uintptr_t load_word(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static bool is_readable(const struct rtd_unwind_walk *walk, uintptr_t address)
{
    return (address & 7) == 0 && address >= walk->bounds.low && address < walk->bounds.high &&
           walk->bounds.high - address >= sizeof(uintptr_t);
}

/* Whether sp may become cfa: upwards, in bounds and not too far. */
static bool is_next(const struct rtd_unwind_walk *walk, uintptr_t cfa)
{
    return (cfa & 7) == 0 && cfa > walk->sp && cfa <= walk->bounds.high &&
           cfa - walk->sp <= MAX_FRAME_BYTES;
}

bool rtd_unwind_step_fp(const struct rtd_unwind_walk *walk, uintptr_t *fp)
{
    if (walk->fp_slot == 0) {
        *fp = walk->fp_value;
        return true;
    }
    if (!is_readable(walk, walk->fp_slot)) {
        return false;
    }
    *fp = load_word(walk->fp_slot);
    return true;
}

static enum rtd_unwind_step move_to(struct rtd_unwind_walk *walk, uintptr_t cfa, int64_t rbp_words,
                                    int64_t lost_words)
{
    if (!is_next(walk, cfa)) {
        return RTD_UNWIND_STEP_BOUNDS;
    }
    if (rbp_words == lost_words) {
        walk->fp_slot = LOST_SLOT;
    } else if (rbp_words != 0) {
        walk->fp_slot = cfa + (uint64_t)rbp_words * 8;
    }
    walk->sp = cfa;
    return RTD_UNWIND_STEP_CALL;
}

static enum rtd_unwind_step step_rbp(struct rtd_unwind_walk *walk, uint64_t entry)
{
    uintptr_t fp;

    if (!rtd_unwind_step_fp(walk, &fp)) {
        return RTD_UNWIND_STEP_BOUNDS;
    }
    return move_to(walk, fp + rtd_unwind_entry_cfa_words(entry) * 8,
                   rtd_unwind_entry_rbp_words(entry), RTD_UNWIND_RBP_LOST_WORDS);
}

/* A frame that aligned its stack: gcc keeps the CFA in memory below rbp, the old rbp at rbp. */
static enum rtd_unwind_step step_deref(struct rtd_unwind_walk *walk, uint64_t entry)
{
    uintptr_t fp;

    if (!rtd_unwind_step_fp(walk, &fp)) {
        return RTD_UNWIND_STEP_BOUNDS;
    }
    const uintptr_t slot = fp + (uint64_t)rtd_unwind_entry_signed_cfa_words(entry) * 8;
    if (!is_readable(walk, slot) || slot < walk->sp) {
        return RTD_UNWIND_STEP_BOUNDS;
    }
    const enum rtd_unwind_step step = move_to(walk, load_word(slot), 0, RTD_UNWIND_RBP_LOST_WORDS);
    walk->fp_slot = rtd_unwind_entry_rbp_words(entry) == RTD_UNWIND_RBP_AT_RBP / 8 ? fp : LOST_SLOT;
    return step;
}

static enum rtd_unwind_step step_signal(struct rtd_unwind_walk *walk)
{
    if (!is_readable(walk, walk->sp + UCONTEXT_RIP_BYTES)) {
        return RTD_UNWIND_STEP_BOUNDS;
    }
    const uintptr_t sp = load_word(walk->sp + UCONTEXT_RSP_BYTES);
    const uintptr_t pc = load_word(walk->sp + UCONTEXT_RIP_BYTES);
    if (!is_next(walk, sp)) {
        return RTD_UNWIND_STEP_BOUNDS;
    }
    walk->fp_slot = walk->sp + UCONTEXT_RBP_BYTES;
    walk->sp = sp;
    walk->key = pc + 1;
    return RTD_UNWIND_STEP_SIGNAL;
}

/* Every step but the most frequent one. */
enum rtd_unwind_step rtd_unwind_step(struct rtd_unwind_walk *walk, uint64_t first)
{
    const bool is_here =
        (first & RTD_UNWIND_KEY_MASK) == rtd_unwind_cache_head(walk->key, walk->generation) &&
        rtd_unwind_entry_kind(first) != RTD_UNWIND_KIND_EMPTY;
    const uint64_t entry = is_here ? first : rtd_unwind_cache_find(walk->key, walk->generation);

    walk->entry = entry;
    switch (rtd_unwind_entry_kind(entry)) {
    case RTD_UNWIND_KIND_RSP:
        return move_to(walk, walk->sp + rtd_unwind_entry_cfa_words(entry) * 8,
                       rtd_unwind_entry_rbp_words(entry), RTD_UNWIND_RBP_LOST_WORDS);
    case RTD_UNWIND_KIND_RSP_WIDE:
        return move_to(walk, walk->sp + rtd_unwind_entry_wide_cfa_words(entry) * 8,
                       rtd_unwind_entry_wide_rbp_words(entry), RTD_UNWIND_WIDE_RBP_LOST_WORDS);
    case RTD_UNWIND_KIND_RBP:
        return step_rbp(walk, entry);
    case RTD_UNWIND_KIND_DEREF:
        return step_deref(walk, entry);
    case RTD_UNWIND_KIND_SIGNAL:
        return step_signal(walk);
    case RTD_UNWIND_KIND_END:
        return RTD_UNWIND_STEP_COMPLETE;
    case RTD_UNWIND_KIND_EMPTY:
    case RTD_UNWIND_KIND_NONE:
    default:
        return RTD_UNWIND_STEP_NO_RULE;
    }
}

static enum rtd_unwind_end end_of(enum rtd_unwind_step step)
{
    if (step == RTD_UNWIND_STEP_COMPLETE) {
        return RTD_UNWIND_COMPLETE;
    }
    return step == RTD_UNWIND_STEP_NO_RULE ? RTD_UNWIND_NO_RULE : RTD_UNWIND_BOUNDS;
}

/*
 * The CFA of a frame that keeps a frame pointer, or 0 when the rare step must look at it: rbp still
 * in its register, lost, out of bounds. Slots 0 and LOST_SLOT are below any low.
 */
static inline uintptr_t frame_pointer_cfa(uint64_t entry, uintptr_t fp_slot, uintptr_t sp,
                                          struct rtd_unwind_bounds bounds)
{
    if (fp_slot < bounds.low || fp_slot >= bounds.high || bounds.high - fp_slot < 8 ||
        rtd_unwind_entry_rbp_words(entry) == RTD_UNWIND_RBP_LOST_WORDS) {
        return 0;
    }
    const uintptr_t cfa = load_word(fp_slot) + rtd_unwind_entry_cfa_words(entry) * 8;
    const uintptr_t grown = cfa - sp;
    const bool is_good = (grown & 7) == 0 && grown - 8 <= MAX_FRAME_BYTES - 8 && cfa <= bounds.high;
    return is_good ? cfa : 0;
}

/* Whether a walk may begin here; sets *end when not. */
static bool is_good_start(const struct rtd_unwind_frame *start,
                          const struct rtd_unwind_bounds *bounds, enum rtd_unwind_end *end)
{
    if (start->pc - 1 >= PC_LIMIT - 1) {
        *end = RTD_UNWIND_NO_RULE;
        return false;
    }
    if ((start->sp & 7) != 0 || start->sp < bounds->low || start->sp > bounds->high ||
        bounds->low <= LOST_SLOT) {
        *end = RTD_UNWIND_BOUNDS;
        return false;
    }
    return true;
}

unsigned rtd_unwind_walk(struct rtd_unwind_frame start, struct rtd_unwind_bounds bounds,
                         uintptr_t *pcs, unsigned max, enum rtd_unwind_end *end)
{
    /* Pairs with the increment in rtd_unwind_flush(): a walk after a flush sees no older rule. */
    const uint64_t generation = atomic_load(&rtd_unwind_cache_generation);
    const uint64_t wanted = (generation & RTD_UNWIND_GEN_MASK) << RTD_UNWIND_GEN_SHIFT;
    const uint64_t wanted_rsp = wanted | (uint64_t)RTD_UNWIND_KIND_RSP << RTD_UNWIND_KIND_SHIFT;
    const uint64_t wanted_rbp = wanted | (uint64_t)RTD_UNWIND_KIND_RBP << RTD_UNWIND_KIND_SHIFT;
    struct rtd_unwind_walk walk = {
        .bounds = bounds, .fp_value = start.fp, .generation = generation};
    uintptr_t sp = start.sp;
    uintptr_t key = start.pc;
    uintptr_t fp_slot = 0;
    unsigned count = 0;

    *end = RTD_UNWIND_DEPTH;
    if (max == 0) {
        return 0;
    }
    pcs[count++] = start.pc;
    if (!is_good_start(&start, &bounds, end)) {
        return count;
    }

    for (;;) {
        const uint64_t entry = atomic_load_explicit(
            &rtd_unwind_cache_places[key & RTD_UNWIND_PLACE_MASK], memory_order_relaxed);
        /* key has 47 bits, so the tag that is taken out leaves the other fields alone. */
        const uint64_t rest = (entry & RTD_UNWIND_HEAD_MASK) ^ key >> RTD_UNWIND_PLACE_BITS;
        uintptr_t cfa = 0;
        uintptr_t pc;

        if (RTD_LIKELY(rest == wanted_rsp)) {
            cfa = sp + rtd_unwind_entry_cfa_words(entry) * 8;
            if (RTD_UNLIKELY(cfa > bounds.high)) {
                *end = RTD_UNWIND_BOUNDS;
                return count;
            }
        } else if (rest == wanted_rbp) {
            cfa = frame_pointer_cfa(entry, fp_slot, sp, bounds);
        }

        if (RTD_LIKELY(cfa != 0)) {
            const int64_t rbp_words = rtd_unwind_entry_rbp_words(entry);
            fp_slot = rbp_words != 0 ? cfa + (uint64_t)rbp_words * 8 : fp_slot;
            sp = cfa;
            pc = load_word(cfa - 8);
            key = pc;
        } else {
            walk.sp = sp;
            walk.key = key;
            walk.fp_slot = fp_slot;
            const enum rtd_unwind_step step = rtd_unwind_step(&walk, entry);
            if (step > RTD_UNWIND_STEP_SIGNAL) {
                *end = end_of(step);
                return count;
            }
            sp = walk.sp;
            fp_slot = walk.fp_slot;
            pc = step == RTD_UNWIND_STEP_CALL ? load_word(sp - 8) : walk.key - 1;
            key = step == RTD_UNWIND_STEP_CALL ? pc : walk.key;
        }

        if (RTD_UNLIKELY(pc - 1 >= PC_LIMIT - 2)) {
            /* A zero where a return address should be is how hand-made stacks end. */
            *end = pc == 0 ? RTD_UNWIND_COMPLETE : RTD_UNWIND_NO_RULE;
            return count;
        }
        if (RTD_UNLIKELY(count == max)) {
            return count;
        }
        pcs[count++] = pc;
    }
}
