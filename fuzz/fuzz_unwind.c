// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_unwind.c - the unwinder on corrupted tables, and on stacks and registers of any content.
 *
 * Runs in:    a fuzzing engine, or fuzz_driver
 * Threads:    one
 * Allocates:  a copy of libc's unwind tables, and a stack; each of its exact size, so that a
 *             sanitizer sees the first byte read beyond it
 * Fails:      by a crash, or by an abort where a result is wrong
 *
 * Tables: bytes of the copy are overwritten, and rules looked up in it. What comes out must be a
 * rule; and once the bytes are put back, the very rules of the original.
 * Stacks: rules are planted for made-up addresses, and a walk over random words is compared with a
 * plain one that knows nothing of caches, packed words or lazy registers.
 */
#include "fuzz_rules.h"
#include "unwind/unwind.h"
#include "unwind/unwind_cache.h"
#include "unwind/unwind_cfi.h"

#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum {
    MUTATIONS_MAX = 16,
    LOOKUPS = 40,
    WORD_COUNT = 96,
    FRAMES_MAX = 40,
    WALKS = 6,
};

#define PC_LIMIT     (UINT64_C(1) << RTD_UNWIND_PC_BITS)
#define STEP_MAX     (UINT64_C(1) << 20)
#define UNKNOWN_SLOT UINTPTR_MAX

/* ---- tables ---- */

static struct rtd_unwind_image original, copy;
static uint8_t *copied;

static size_t image_bytes(void)
{
    return (size_t)(original.high - original.low);
}

static bool copy_tables(void)
{
    if (copied != NULL)
        return true;
    if (rtd_unwind_image_find((uintptr_t)&lsearch, &original) != 0)
        return false;
    copied = malloc(image_bytes());
    if (copied == NULL)
        return false;
    memcpy(copied, original.low, image_bytes());
    copy = (struct rtd_unwind_image){copied, copied + image_bytes(),
                                     copied + (original.header - original.low)};
    return true;
}

static void look_up(const struct rtd_unwind_image *image, uintptr_t pc,
                    struct rtd_unwind_rule *rule)
{
    struct rtd_unwind_program program;
    *rule = (struct rtd_unwind_rule){.kind = RTD_UNWIND_KIND_NONE};
    if (rtd_unwind_image_lookup(image, pc, &program) == 0)
        rtd_unwind_cfi_run(image, &program, pc, rule);
}

static bool is_rule(const struct rtd_unwind_rule *rule)
{
    const uint64_t word = rtd_unwind_rule_pack(rule);
    const enum rtd_unwind_kind kind = rtd_unwind_entry_kind(word);
    const bool moves = kind != RTD_UNWIND_KIND_RSP || rtd_unwind_entry_cfa_words(word) > 0;
    return kind != RTD_UNWIND_KIND_EMPTY && moves && (word & RTD_UNWIND_KEY_MASK) == 0;
}

/* An address in or near the functions that the tables describe. */
static uintptr_t some_pc(struct rtd_fuzz_source *source)
{
    static const uintptr_t reach = 512 << 10;
    const uintptr_t middle = (uintptr_t)&lsearch;
    return middle - reach / 2 + rtd_fuzz_below(source, reach);
}

static void compare_restored(struct rtd_fuzz_source *source)
{
    const uintptr_t moved = (uintptr_t)copy.header - (uintptr_t)original.header;
    for (int i = 0; i < LOOKUPS; i++) {
        struct rtd_unwind_rule ours, theirs;
        const uintptr_t pc = some_pc(source);
        look_up(&original, pc, &theirs);
        look_up(&copy, pc + moved, &ours);
        if (ours.kind != theirs.kind || (ours.kind == RTD_UNWIND_KIND_RSP &&
                                         (ours.cfa_offset_bytes != theirs.cfa_offset_bytes ||
                                          ours.rbp_offset_bytes != theirs.rbp_offset_bytes)))
            abort();
    }
}

static void fuzz_tables(struct rtd_fuzz_source *source)
{
    size_t places[MUTATIONS_MAX];
    const size_t count = 1 + rtd_fuzz_below(source, MUTATIONS_MAX);
    const uintptr_t moved = (uintptr_t)copy.header - (uintptr_t)original.header;

    for (size_t i = 0; i < count; i++) {
        /* Half of them in the header and its table, which lead to everything else. */
        const size_t first = (size_t)(copy.header - copy.low);
        const size_t rest = image_bytes() - first;
        places[i] = rtd_fuzz_below(source, 2)
                        ? first + rtd_fuzz_below(source, rest < 4096 ? rest : 4096)
                        : rtd_fuzz_below(source, image_bytes());
        copied[places[i]] = (uint8_t)rtd_fuzz_next(source);
    }
    for (int i = 0; i < LOOKUPS; i++) {
        struct rtd_unwind_rule rule;
        look_up(&copy, some_pc(source) + moved, &rule);
        if (!is_rule(&rule))
            abort();
    }
    for (size_t i = 0; i < count; i++)
        copied[places[i]] = original.low[places[i]];
    compare_restored(source);
}

/* ---- stacks ---- */

/* The plain walk. */
struct plain {
    struct rtd_unwind_bounds bounds;
    uintptr_t sp, fp;
    uintptr_t fp_slot; /* where the frame's rbp lies; 0: in fp; UNKNOWN_SLOT: nowhere */
};

static bool read_word(const struct plain *walk, uintptr_t address, uintptr_t *word)
{
    if (address % 8 != 0 || address < walk->bounds.low || address >= walk->bounds.high ||
        walk->bounds.high - address < 8)
        return false;
    memcpy(word, (const void *)address, sizeof *word);
    return true;
}

static bool read_fp(const struct plain *walk, uintptr_t *fp)
{
    *fp = walk->fp;
    return walk->fp_slot == 0 ||
           (walk->fp_slot != UNKNOWN_SLOT && read_word(walk, walk->fp_slot, fp));
}

/* Finds the caller's frame; false: out of bounds. *pc: of the interrupted frame, else unchanged. */
static bool plain_step(struct plain *walk, const struct rtd_unwind_rule *rule, uintptr_t *pc)
{
    uintptr_t fp = 0, cfa = 0, slot = walk->fp_slot;
    if (rule->kind == RTD_UNWIND_KIND_RSP) {
        cfa = walk->sp + (uintptr_t)rule->cfa_offset_bytes;
    } else if (rule->kind == RTD_UNWIND_KIND_SIGNAL) {
        if (!read_word(walk, walk->sp + 168, pc) || !read_word(walk, walk->sp + 160, &cfa))
            return false;
        slot = walk->sp + 120;
    } else {
        if (!read_fp(walk, &fp))
            return false;
        cfa = fp + (uintptr_t)(intptr_t)rule->cfa_offset_bytes;
        if (rule->kind == RTD_UNWIND_KIND_DEREF) {
            if (cfa < walk->sp || !read_word(walk, cfa, &cfa))
                return false;
            slot = rule->rbp_offset_bytes == RTD_UNWIND_RBP_AT_RBP ? fp : UNKNOWN_SLOT;
        }
    }
    if (cfa % 8 != 0 || cfa <= walk->sp || cfa > walk->bounds.high || cfa - walk->sp > STEP_MAX)
        return false;
    if (rule->kind == RTD_UNWIND_KIND_RSP || rule->kind == RTD_UNWIND_KIND_RBP) {
        /* A frame of 64 KiB keeps few bits for the slot: what does not fit is lost. */
        const bool is_wide = rule->kind == RTD_UNWIND_KIND_RSP && rule->cfa_offset_bytes >= 1 << 16;
        if (rule->rbp_offset_bytes == RTD_UNWIND_RBP_LOST ||
            (is_wide && rule->rbp_offset_bytes / 8 <= RTD_UNWIND_WIDE_RBP_LOST_WORDS))
            slot = UNKNOWN_SLOT;
        else if (rule->rbp_offset_bytes != RTD_UNWIND_RBP_SAME)
            slot = cfa + (uintptr_t)(intptr_t)rule->rbp_offset_bytes;
    }
    walk->sp = cfa;
    walk->fp_slot = slot;
    return true;
}

static unsigned plain_walk(struct rtd_unwind_frame start, struct rtd_unwind_bounds bounds,
                           uintptr_t *pcs, enum rtd_unwind_end *end)
{
    struct plain walk = {bounds, start.sp, start.fp, 0};
    uintptr_t key = start.pc;
    unsigned count = 0;

    pcs[count++] = start.pc;
    *end = RTD_UNWIND_NO_RULE;
    if (start.pc == 0 || start.pc >= PC_LIMIT)
        return count;
    *end = RTD_UNWIND_BOUNDS;
    if (start.sp % 8 != 0 || start.sp < bounds.low || start.sp > bounds.high)
        return count;
    for (;;) {
        const struct rtd_unwind_rule *const rule = rtd_fuzz_rule_of(key);
        uintptr_t pc = 0;
        *end = rule->kind == RTD_UNWIND_KIND_END ? RTD_UNWIND_COMPLETE : RTD_UNWIND_NO_RULE;
        if (rule->kind == RTD_UNWIND_KIND_END || rule->kind == RTD_UNWIND_KIND_NONE)
            return count;
        *end = RTD_UNWIND_BOUNDS;
        if (!plain_step(&walk, rule, &pc))
            return count;
        const bool is_call = rule->kind != RTD_UNWIND_KIND_SIGNAL;
        if (is_call && !read_word(&walk, walk.sp - 8, &pc))
            abort();
        *end = pc == 0 ? RTD_UNWIND_COMPLETE : RTD_UNWIND_NO_RULE;
        if (pc == 0 || pc >= PC_LIMIT - 1)
            return count;
        *end = RTD_UNWIND_DEPTH;
        if (count == FRAMES_MAX)
            return count;
        pcs[count++] = pc;
        key = is_call ? pc : pc + 1;
    }
}

static void compare_walks(struct rtd_fuzz_source *source, const uintptr_t *stack)
{
    uintptr_t ours[FRAMES_MAX], theirs[FRAMES_MAX];
    enum rtd_unwind_end our_end, their_end;
    const struct rtd_unwind_bounds bounds = {(uintptr_t)stack, (uintptr_t)(stack + WORD_COUNT)};
    const struct rtd_unwind_frame start = {
        .pc = rtd_fuzz_below(source, 8) == 0
                  ? rtd_fuzz_word(source, stack, WORD_COUNT)
                  : rtd_fuzz_pc(rtd_fuzz_below(source, RTD_FUZZ_RULE_COUNT)),
        .sp = rtd_fuzz_below(source, 16) == 0
                  ? rtd_fuzz_word(source, stack, WORD_COUNT)
                  : (uintptr_t)&stack[rtd_fuzz_below(source, WORD_COUNT / 2)],
        .fp = rtd_fuzz_below(source, 2) == 0 ? (uintptr_t)&stack[rtd_fuzz_below(source, WORD_COUNT)]
                                             : rtd_fuzz_word(source, stack, WORD_COUNT)};
    const unsigned our_count = rtd_unwind_walk(start, bounds, ours, FRAMES_MAX, &our_end);
    const unsigned their_count = plain_walk(start, bounds, theirs, &their_end);
    if (our_count != their_count || our_end != their_end ||
        memcmp(ours, theirs, our_count * sizeof ours[0]) != 0)
        abort();
}

static void fuzz_stack(struct rtd_fuzz_source *source)
{
    uintptr_t *const stack = malloc(WORD_COUNT * sizeof *stack);
    if (stack == NULL)
        return;
    rtd_fuzz_plant_rules(source);
    for (int i = 0; i < WALKS; i++) {
        for (size_t j = 0; j < WORD_COUNT; j++)
            stack[j] = rtd_fuzz_word(source, stack, WORD_COUNT);
        compare_walks(source, stack);
    }
    free(stack);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct rtd_fuzz_source source = {data, bytes, 1};
    if (copy_tables())
        fuzz_tables(&source);
    for (int i = 0; i < 8; i++)
        fuzz_stack(&source);
    return 0;
}
