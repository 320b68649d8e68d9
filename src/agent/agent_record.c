// SPDX-License-Identifier: Apache-2.0
/*
 * agent_record.c - thread set-up, the bracket around a slow path, stacks, births and deaths.
 *
 * Runs in:    agent (slow paths), any thread, also inside signal handlers
 * Threads:    lock-free; no syscall
 * Allocates:  never
 * Fails:      by counting the loss in the ledger
 *
 * A slow path is bracketed by enter and leave. Between them `left` is muted, so an allocation by a
 * signal handler on this thread passes through without disturbing the draw: freezing the countdown
 * is what keeps the estimate unbiased.
 */
#include "agent/agent_record.h"

#include "agent/agent_filter.h"
#include "agent/agent_modules.h"
#include "agent/agent_release.h"
#include "agent/agent_state.h"
#include "base/base_math.h"
#include "unwind/unwind_stack.h"

#include "agent/agent_only.h"

#define RELAXED memory_order_relaxed

enum {
    SCRATCH_COUNT = 16,
    TICK_SAMPLES_MAX = 100, /* per tick of the clock word: about 1,000 a second */
    INTERVAL_MAX = 4 << 20, /* bytes; adaptation stops here */
    THIN_ABOVE = RTD_SAMPLE_CAPACITY / 4 * 3,
    RELAX_BELOW = RTD_SAMPLE_CAPACITY / 8,
    ROOM_ATTEMPTS = 4,      /* another thread may be faster, but hardly that often */
    SAME_CALLER_BYTES = 64, /* from the caller's frame down to that of rtd_sample_forget() */
};

__thread struct rtd_thread_state rtd_thread_state;

/* Return addresses of stacks being taken: 2 KiB each would not fit the agent's stack budget. */
static uintptr_t scratch_pcs[SCRATCH_COUNT][RTD_FRAME_MAX];
static _Atomic uint32_t scratch_taken[SCRATCH_COUNT];

struct rtd_ledger *rtd_record_ledger(void)
{
    /* Acquire pairs with the release in agent_start.c: the ledger is mapped and checked, and its
     * mode known. */
    if (rtd_agent.page == NULL ||
        atomic_load_explicit(&rtd_agent.page->ready, memory_order_acquire) == 0 ||
        rtd_agent.is_exact)
        return NULL;
    return rtd_agent.ledger;
}

static void draw(struct rtd_ledger *ledger, struct rtd_thread_state *state)
{
    uint64_t interval = atomic_load_explicit(&ledger->header.interval_bytes, RELAXED);
    if (interval == 0 || interval > UINT32_MAX)
        interval = INTERVAL_MAX;
    state->interval = (uint32_t)interval;
    state->drawn = rtd_random_distance(&state->random, (double)interval);
    state->left = state->drawn;
}

static struct rtd_thread *own_block(struct rtd_ledger *ledger, const struct rtd_thread_state *state)
{
    return state->block < RTD_THREAD_COUNT ? &ledger->threads[state->block] : NULL;
}

/* A plain add: the block has a single writer. */
static void bump(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, RELAXED) + n, RELAXED);
}

/* Prepares this thread for the ledger in use: first allocation of a thread, or of a forked child.
 */
static void set_up_thread(struct rtd_ledger *ledger, struct rtd_thread_state *state)
{
    state->tid = rtd_unwind_thread_id();
    /* Hashed: states that are a few steps apart would give threads the same distances, shifted. By
     * number and not by tid: a seed given twice samples a single thread alike. */
    uint64_t start =
        ledger->header.seed ^ atomic_fetch_add_explicit(&ledger->header.threads_seen, 1, RELAXED);
    state->random = rtd_random_next(&start);
    state->block = rtd_thread_claim(ledger, state->tid, state->tid);
    state->guard = 0;
    state->scratch = 0;
    state->ready = atomic_load_explicit(&rtd_agent.page->ready, RELAXED);
    draw(ledger, state);
}

static void release_scratch(struct rtd_thread_state *state)
{
    if (state->scratch != 0)
        atomic_store_explicit(&scratch_taken[state->scratch - 1], 0, memory_order_release);
    state->scratch = 0;
}

void rtd_record_forked(void)
{
    for (uint32_t i = 0; i < SCRATCH_COUNT; i++)
        if (i + 1 != rtd_thread_state.scratch)
            atomic_store_explicit(&scratch_taken[i], 0, RELAXED);
}

static void drop_stale_guard(struct rtd_ledger *ledger, struct rtd_thread_state *state)
{
    release_scratch(state);
    state->guard = 0;
    state->drawn = RTD_LEFT_GUARDED;
    rtd_loss_add(ledger, RTD_LOSS_GUARD_STALE, 1);
}

/*
 * Called when the countdown borrowed. Returns the ledger when this allocation is to be sampled,
 * NULL when it is to be passed through.
 */
struct rtd_ledger *rtd_record_enter(struct rtd_thread_state *state, size_t size, uintptr_t sp)
{
    struct rtd_ledger *const ledger = rtd_record_ledger();
    if (ledger == NULL) {
        state->left = rtd_agent.left_unrecorded;
        return NULL;
    }
    if (state->ready != atomic_load_explicit(&rtd_agent.page->ready, RELAXED)) {
        set_up_thread(ledger, state);
        if (!__builtin_sub_overflow(state->left, (uint64_t)size + 1, &state->left))
            return NULL;
    }
    if (state->guard != 0)
        drop_stale_guard(ledger, state);
    state->guard = sp;
    state->drawn -= state->left; /* modulo 2^64: left was reduced below zero */
    state->left = RTD_LEFT_GUARDED;
    /* A signal handler that interrupts from here on sees the mute. */
    atomic_signal_fence(memory_order_seq_cst);
    return ledger;
}

void rtd_record_leave(struct rtd_ledger *ledger, struct rtd_thread_state *state, size_t size)
{
    struct rtd_thread *const block = own_block(ledger, state);
    if (block != NULL) {
        /* A size beyond all address space was refused by the allocator. */
        if (size >> RTD_PC_BITS == 0)
            bump(&block->allocated_bytes, state->drawn);
        bump(&block->slow_mallocs, 1);
    }
    rtd_release_if_asked(ledger);
    atomic_signal_fence(memory_order_seq_cst);
    state->guard = 0;
    draw(ledger, state);
}

/* ---- stacks ---- */

static uint32_t claim_scratch(uint32_t hint)
{
    for (uint32_t i = 0; i < SCRATCH_COUNT; i++) {
        const uint32_t index = (hint + i) % SCRATCH_COUNT;
        if (atomic_load_explicit(&scratch_taken[index], RELAXED) == 0 &&
            atomic_exchange_explicit(&scratch_taken[index], 1, memory_order_acquire) == 0)
            return index;
    }
    return RTD_NONE;
}

static uint32_t insert_stack(struct rtd_ledger *ledger, const uintptr_t *pcs, unsigned count,
                             bool truncated)
{
    const uint32_t generation = atomic_load_explicit(&ledger->header.generation, RELAXED);
    uint32_t node = rtd_node_root(generation, truncated);
    while (count-- > 0) {
        bool added;
        node = rtd_node_insert(ledger, node, pcs[count], &added);
        if (node == RTD_NONE)
            return 0;
        if (added)
            rtd_modules_note(ledger, pcs[count]);
    }
    return node;
}

uint32_t rtd_record_stack(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                          struct rtd_unwind_frame frame)
{
    const uint32_t index = claim_scratch(state->tid);
    uint32_t stack = 0;
    if (index != RTD_NONE) {
        enum rtd_unwind_end end;
        state->scratch = index + 1;
        const unsigned count = rtd_unwind_walk(frame, rtd_unwind_stack_bounds(frame.sp),
                                               scratch_pcs[index], RTD_FRAME_MAX, &end);
        stack = insert_stack(ledger, scratch_pcs[index], count, end != RTD_UNWIND_COMPLETE);
        if (end != RTD_UNWIND_COMPLETE)
            rtd_loss_add(ledger, RTD_LOSS_STACKS_TRUNCATED, 1);
        release_scratch(state);
    }
    if (stack == 0)
        rtd_loss_add(ledger, RTD_LOSS_STACKS_NOT_TAKEN, 1);
    return stack;
}

/* ---- recording ---- */

/*
 * Brakes at once when a burst brings too many samples within one tick of the collector's clock
 * word; the collector itself adapts slowly in both directions.
 */
static void limit_rate(struct rtd_header *header)
{
    const uint64_t clock = atomic_load_explicit(&header->clock_ms, RELAXED);
    if (atomic_load_explicit(&header->tick_clock, RELAXED) != clock) {
        atomic_store_explicit(&header->tick_clock, clock, RELAXED);
        atomic_store_explicit(&header->tick_samples, 0, RELAXED);
    }
    const uint64_t samples = atomic_fetch_add_explicit(&header->tick_samples, 1, RELAXED);
    if (header->interval_fixed != 0 || samples < TICK_SAMPLES_MAX)
        return;
    uint64_t interval = atomic_load_explicit(&header->interval_bytes, RELAXED);
    if (interval < INTERVAL_MAX)
        atomic_compare_exchange_strong_explicit(&header->interval_bytes, &interval, interval * 2,
                                                RELAXED, RELAXED);
    atomic_store_explicit(&header->tick_samples, 0, RELAXED);
}

/* Interval of the live set: the sampling interval, doubled as often as the table was thinned. */
static uint32_t storage_interval(const struct rtd_ledger *ledger, uint32_t interval)
{
    uint32_t shift = atomic_load_explicit(&ledger->header.storage_shift, RELAXED);
    while (shift-- > 0 && interval <= UINT32_MAX / 4)
        interval *= 2;
    return interval;
}

static void store(struct rtd_ledger *ledger, struct rtd_thread_state *state, const void *block,
                  struct rtd_sample_value *value)
{
    const uint32_t drawn = value->interval;
    value->interval = storage_interval(ledger, drawn);
    if (value->interval != drawn) {
        const double size = (double)value->size + 1.0;
        if (rtd_random_unit(&state->random) * rtd_math_one_minus_exp_neg(size / drawn) >
            rtd_math_one_minus_exp_neg(size / value->interval)) {
            rtd_loss_add(ledger, RTD_LOSS_SAMPLES_THINNED, 1);
            return;
        }
    }
    enum rtd_sample_result result = rtd_sample_insert(ledger, (uintptr_t)block, value);
    for (int attempt = 0; result == RTD_SAMPLE_FULL && attempt < ROOM_ATTEMPTS; attempt++) {
        rtd_sample_make_room(ledger, (uintptr_t)block, &state->random);
        result = rtd_sample_insert(ledger, (uintptr_t)block, value);
    }
    if (result == RTD_SAMPLE_STORED)
        rtd_filter_add(block);
    else if (result == RTD_SAMPLE_REPLACED)
        rtd_loss_add(ledger, RTD_LOSS_STALE_SAMPLES, 1);
    else if (result == RTD_SAMPLE_FULL)
        rtd_loss_add(ledger, RTD_LOSS_SAMPLES_NOT_STORED, 1);
    const uint32_t live = atomic_load_explicit(&ledger->header.live_samples, RELAXED);
    if (live > THIN_ABOVE)
        rtd_sample_thin(ledger, &state->random);
    else if (live < RELAX_BELOW && value->interval != drawn) {
        uint32_t shift = atomic_load_explicit(&ledger->header.storage_shift, RELAXED);
        if (shift > 0)
            atomic_compare_exchange_strong_explicit(&ledger->header.storage_shift, &shift,
                                                    shift - 1, RELAXED, RELAXED);
    }
}

void rtd_record_birth(struct rtd_ledger *ledger, struct rtd_thread_state *state, const void *block,
                      size_t size, struct rtd_unwind_frame frame)
{
    const uint32_t now_ms = (uint32_t)atomic_load_explicit(&ledger->header.clock_ms, RELAXED);
    const uint32_t site =
        rtd_site_insert(ledger, rtd_record_stack(ledger, state, frame), state->tag);
    const struct rtd_site_event event = {size, state->interval, now_ms, 0};
    struct rtd_sample_value value = {size, state->interval, site, state->tid, now_ms};

    rtd_site_birth(ledger, site, &event);
    store(ledger, state, block, &value);
    atomic_fetch_add_explicit(&ledger->header.samples, 1, RELAXED);
    if (state->block < RTD_THREAD_COUNT)
        bump(&ledger->threads[state->block].sampled, 1);
    limit_rate(&ledger->header);
}

/*
 * A slow path that a signal handler left by siglongjmp() leaves its guard and the mute behind. Its
 * stack pointer then lies below the one of whoever runs on that stack later, or at the same height
 * when the same function calls again. What the slow path itself calls (an allocator whose realloc()
 * uses the public free()) and what interrupts it runs deeper than its frame. A handler on a signal
 * stack of its own runs on another stack and says nothing about the guard.
 */
void rtd_record_repair(struct rtd_ledger *ledger, struct rtd_thread_state *state, uintptr_t sp)
{
    if (state->guard >= sp + SAME_CALLER_BYTES ||
        rtd_unwind_stack_bounds(state->guard).high != rtd_unwind_stack_bounds(sp).high)
        return;
    drop_stale_guard(ledger, state);
    draw(ledger, state);
}

void rtd_record_death(struct rtd_ledger *ledger, const struct rtd_thread_state *state,
                      const struct rtd_sample_value *value)
{
    const uint32_t now_ms = (uint32_t)atomic_load_explicit(&ledger->header.clock_ms, RELAXED);
    const struct rtd_site_event event = {value->size, value->interval, now_ms,
                                         now_ms - value->birth_ms};
    rtd_site_death(ledger, value->site, &event);
    /* A thread that never allocated under this ledger has no block of its own in it. */
    if (state->ready == atomic_load_explicit(&rtd_agent.page->ready, RELAXED) &&
        state->block < RTD_THREAD_COUNT)
        bump(&ledger->threads[state->block].sampled_frees, 1);
}
