// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_shape.c - the stack cache of exact mode on stacks of any content, against plain walks.
 *
 * Runs in:    a fuzzing engine, or fuzz_driver
 * Threads:    one
 * Allocates:  one sparse ledger
 * Fails:      by a crash, or by an abort where a stack is not the one that a walk finds
 *
 * The words lie on the thread's own stack, where the cache works, under rules that no compiler
 * would write. After each look-up one word changes: what the cache knew is then right, or must be
 * seen to be wrong. Does nothing under a sanitizer, which forbids such reads.
 */
#include "../test/support/support_shape.h"
#include "fuzz_rules.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define IS_INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_INSTRUMENTED 1
#endif
#endif
#ifndef IS_INSTRUMENTED
#define IS_INSTRUMENTED 0
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum {
    WORD_COUNT = 96,
    STARTS = 4,
    CHANGES = 12,
    INPUTS_A_LEDGER = 200, /* then the trie is emptied: full, it gives no stack */
};

static void check(const struct rtd_unwind_frame *frame)
{
    if (!support_shape_check(frame))
        abort();
}

static void change_and_check(struct rtd_fuzz_source *source, uintptr_t *stack)
{
    struct rtd_unwind_frame frame = {.pc = rtd_fuzz_pc(rtd_fuzz_below(source, RTD_FUZZ_RULE_COUNT)),
                                     .sp =
                                         (uintptr_t)&stack[rtd_fuzz_below(source, WORD_COUNT / 2)],
                                     .fp = (uintptr_t)&stack[rtd_fuzz_below(source, WORD_COUNT)]};
    for (int i = 0; i < CHANGES; i++) {
        check(&frame);
        check(&frame);
        const uintptr_t fp = frame.fp;
        uintptr_t *const word = &stack[rtd_fuzz_below(source, WORD_COUNT)];
        const uintptr_t before = *word;
        if (rtd_fuzz_below(source, 8) == 0)
            frame.fp = rtd_fuzz_word(source, stack, WORD_COUNT);
        else
            *word = rtd_fuzz_word(source, stack, WORD_COUNT);
        check(&frame);
        /* Back, as a stack comes again; or it stays. */
        if (rtd_fuzz_below(source, 2) == 0) {
            *word = before;
            frame.fp = fp;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static unsigned inputs;
    struct rtd_fuzz_source source = {data, bytes, 1};
    uintptr_t stack[WORD_COUNT];

    if (IS_INSTRUMENTED)
        return 0;
    if (inputs++ % INPUTS_A_LEDGER == 0) {
        if (!support_shape_init())
            return 0;
        support_shape_thread(0);
    }
    rtd_fuzz_plant_rules(&source);
    for (int i = 0; i < STARTS; i++) {
        for (size_t j = 0; j < WORD_COUNT; j++)
            stack[j] = rtd_fuzz_word(&source, stack, WORD_COUNT);
        change_and_check(&source, stack);
    }
    return 0;
}
