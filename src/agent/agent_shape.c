// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape.c - the slow path: walk, put the stack into the trie, write its records.
 *
 * Runs in:    agent (exact mode), any thread, also inside signal handlers
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      with stack 0, and a loss counted
 *
 * The frames of a walk are too large for the program's stack, so each thread
 * has scratch memory of its own. state->guard tells that it is in use. A signal
 * handler that finds it so, and a thread without a block, takes a buffer of a common pool instead:
 * it must not touch the frames of what it interrupted, but its own stack is walked all the same.
 */
#include "agent/agent_shape.h"

#include "agent/agent_modules.h"
#include "agent/agent_shape_record.h"
#include "agent/agent_shape_walk.h"
#include "ledger/ledger_exact_writer.h"
#include "unwind/unwind_stack.h"

#include "agent/agent_only.h"

#define RELAXED memory_order_relaxed

enum { POOL_COUNT = 16, FLATTEN_EVERY = 8, SCRATCH_FRAMES = RTD_SHAPE_FRAME_MAX + 1 };

/* A step of the rule cache's counter that leaves the bits in its entries alone. Never the same
 * number twice in a line of processes: it only grows. */
#define LEDGER_GENERATION (UINT64_C(1) << 40)

_Alignas(64) struct rtd_shape_record rtd_shape_records[RTD_SHAPE_RECORD_COUNT];
_Atomic uint16_t rtd_shape_hints[1 << RTD_SHAPE_HINT_BITS];
_Alignas(64) struct rtd_shape_flat rtd_shape_flats[1 << RTD_SHAPE_FLAT_BITS];
_Alignas(64) _Atomic uint32_t rtd_shape_tags[RTD_SHAPE_RECORD_COUNT];

static struct rtd_shape_frame own_frames[RTD_THREAD_COUNT][SCRATCH_FRAMES];
static struct rtd_shape_frame pool_frames[POOL_COUNT][SCRATCH_FRAMES];
static _Atomic(struct rtd_thread_state *) pool_owners[POOL_COUNT];

/* ---- scratch memory ---- */

struct scratch {
    struct rtd_shape_frame *frames; /* NULL: none was left */
    uint32_t pool;                  /* 1 + its index, 0 = the thread's own */
};

/*
 * A slow path that a signal handler left by siglongjmp() leaves its guard behind. The stack pointer
 * of whoever comes later is above it, or the same when the same function calls again; that of a
 * handler is below it, or on another stack.
 */
static bool is_stale(const struct rtd_thread_state *state, uintptr_t sp)
{
    struct rtd_unwind_bounds then, now;
    return sp >= state->guard && rtd_unwind_stack_own(state->guard, &then) &&
           rtd_unwind_stack_own(sp, &now) && then.high == now.high;
}

static void take_from_pool(struct rtd_thread_state *state, struct scratch *scratch)
{
    const uint32_t hint = (uint32_t)((uintptr_t)state >> 12);

    for (uint32_t i = 0; i < POOL_COUNT; i++) {
        const uint32_t index = (hint + i) % POOL_COUNT;
        struct rtd_thread_state *owner = atomic_load_explicit(&pool_owners[index], RELAXED);
        if (owner == NULL &&
            atomic_compare_exchange_strong_explicit(&pool_owners[index], &owner, state,
                                                    memory_order_acquire, RELAXED)) {
            scratch->pool = index + 1;
            scratch->frames = pool_frames[index];
            return;
        }
    }
}

static struct scratch take_scratch(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                                   uintptr_t sp)
{
    struct scratch scratch = {.frames = NULL};

    if (state->guard != 0 && is_stale(state, sp)) {
        state->guard = 0;
        rtd_loss_add(ledger, RTD_LOSS_GUARD_STALE, 1);
    }
    if (state->guard == 0 && state->block < RTD_THREAD_COUNT) {
        state->guard = sp;
        atomic_signal_fence(memory_order_seq_cst);
        scratch.frames = own_frames[state->block];
        return scratch;
    }
    take_from_pool(state, &scratch);
    return scratch;
}

static void give_scratch(struct rtd_thread_state *state, const struct scratch *scratch)
{
    atomic_signal_fence(memory_order_seq_cst);
    if (scratch->pool == 0)
        state->guard = 0;
    else
        atomic_store_explicit(&pool_owners[scratch->pool - 1], NULL, memory_order_release);
}

void rtd_shape_begin(void)
{
    /* What this thread holds belongs to a slow path that a signal handler which forks interrupted:
     * it goes on in the child, too. */
    for (uint32_t i = 0; i < POOL_COUNT; i++)
        if (atomic_load_explicit(&pool_owners[i], RELAXED) != &rtd_thread_state)
            atomic_store_explicit(&pool_owners[i], NULL, RELAXED);
    /* Rules keep the low bits of the counter only, and stay; records keep all of it. */
    atomic_fetch_add(&rtd_unwind_cache_generation, LEDGER_GENERATION);
}

/* ---- bounds ---- */

/*
 * What the hot path knows of this stack. A thread that shares a block is never to take it, and
 * heights above the most that a key can hold are not for it.
 */
static void remember_stack(struct rtd_thread_state *state, const struct rtd_unwind_bounds *own)
{
    const uint64_t steps = (own->high - own->low) >> RTD_SHAPE_STEP_SHIFT;
    const uint32_t most = steps < RTD_SHAPE_STEP_COUNT ? (uint32_t)steps : RTD_SHAPE_STEP_COUNT;

    /* The span last: a handler in between sees a short one and comes here. */
    state->stack_span = 0;
    atomic_signal_fence(memory_order_seq_cst);
    state->stack_high = own->high;
    atomic_signal_fence(memory_order_seq_cst);
    state->stack_span = state->block < RTD_THREAD_COUNT ? most : 0;
}

/* Bounds of a walk from sp; true when sp stands on the thread's own stack, where records hold. */
static bool find_bounds(struct rtd_thread_state *state, uintptr_t sp,
                        struct rtd_unwind_bounds *bounds)
{
    struct rtd_unwind_bounds own;

    if (!rtd_unwind_stack_own(sp, &own)) {
        *bounds = rtd_unwind_stack_bounds(sp);
        return false;
    }
    *bounds = (struct rtd_unwind_bounds){.low = sp, .high = own.high};
    remember_stack(state, &own);
    return own.high % 8 == 0;
}

/*
 * The height of sp on the thread's own stack, 0 when it is not there. Also remembers the stack: a
 * thread whose stacks are all known from others never walks, and were it not remembered here, the
 * hot path would never be taken.
 */
static uint64_t own_height(struct rtd_thread_state *state, uintptr_t sp)
{
    const uint64_t height = state->stack_high - sp;
    struct rtd_unwind_bounds own;

    if (RTD_LIKELY(height >> RTD_SHAPE_STEP_SHIFT < state->stack_span))
        return height;
    if (!rtd_unwind_stack_own(sp, &own) || own.high % 8 != 0)
        return 0;
    remember_stack(state, &own);
    return own.high - sp;
}

/* ---- the trie ---- */

/* A run was left out: so are the ones inside it, which would need a link to it. */
static bool write_run(struct rtd_shape_trace *trace, unsigned begin, unsigned end, uint32_t node)
{
    const struct rtd_shape_run run = {.begin = begin, .end = end, .node = node, .leaf = 0};
    return rtd_shape_record_write(trace, &run, &trace->link);
}

/* Puts the frames of a trace below what it is linked to. Returns the stack's id, 0 = none. */
static uint32_t insert_trace(struct rtd_ledger *ledger, struct rtd_shape_trace *trace)
{
    struct rtd_exact *const exact = rtd_exact_of(ledger);
    unsigned end = trace->count;
    uint32_t node = trace->link.node;

    if (trace->link.depth == 0)
        node = rtd_node_root(atomic_load_explicit(&ledger->header.generation, RELAXED),
                             trace->end != RTD_UNWIND_COMPLETE);
    for (unsigned i = trace->count; i-- > 0;) {
        bool added;
        node = rtd_exact_node_insert(exact, node, trace->frames[i].pc, &added);
        if (node == RTD_NONE)
            return 0;
        if (added)
            rtd_modules_note(ledger, trace->frames[i].pc);
        const bool begins = i == 0 || (trace->frames[i].use & RTD_SHAPE_BEGINS) != 0;
        if (trace->is_cacheable && begins) {
            trace->is_cacheable = write_run(trace, i, end, node);
            end = i;
        }
    }
    return node;
}

static void count_miss(struct rtd_ledger *ledger, const struct rtd_thread_state *state)
{
    struct rtd_exact *const exact = rtd_exact_of(ledger);
    _Atomic uint64_t *const misses =
        &exact->threads[state->block < RTD_THREAD_COUNT ? state->block : RTD_EXACT_SHARED_BLOCK]
             .stack_misses;

    if (state->block < RTD_THREAD_COUNT)
        atomic_store_explicit(misses, atomic_load_explicit(misses, RELAXED) + 1, RELAXED);
    else
        atomic_fetch_add_explicit(misses, 1, RELAXED);
}

/* Walks. *leaf: index and id of the leaf's record; depth 0 when none was written. */
static uint32_t take_stack(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                           const struct rtd_unwind_frame *frame, struct rtd_shape_link *leaf)
{
    const struct scratch scratch = take_scratch(ledger, state, frame->sp);
    uint32_t stack = 0;

    leaf->depth = 0;
    count_miss(ledger, state);
    if (scratch.frames == NULL) {
        rtd_loss_add(ledger, RTD_LOSS_NESTED_SKIPPED, 1);
    } else {
        struct rtd_unwind_bounds bounds;
        const bool is_own = find_bounds(state, frame->sp, &bounds);
        struct rtd_shape_trace trace = {
            .frames = scratch.frames, .is_cacheable = is_own, .high = bounds.high};
        rtd_shape_walk(&trace, *frame, bounds);
        if (trace.link.depth == 0 && trace.end != RTD_UNWIND_COMPLETE)
            rtd_loss_add(ledger, RTD_LOSS_STACKS_TRUNCATED, 1);
        stack = insert_trace(ledger, &trace);
        if (trace.is_cacheable && stack != 0)
            *leaf = trace.link;
        give_scratch(state, &scratch);
    }
    if (stack == 0)
        rtd_loss_add(ledger, RTD_LOSS_STACKS_NOT_TAKEN, 1);
    return stack;
}

static uint32_t insert_site(struct rtd_ledger *ledger, uint32_t stack, uint32_t tag)
{
    const uint64_t now_ms = atomic_load_explicit(&ledger->header.clock_ms, RELAXED);
    return rtd_exact_site_insert(ledger, stack, tag, (uint32_t)now_ms);
}

static uint64_t leaf_word(uint32_t site, uint32_t tag)
{
    return RTD_SHAPE_LEAF_USED | (uint64_t)tag << 32 | site;
}

/* ---- entries ---- */

/* Looks at all ways, and along links. The record of the caller's stack, or NULL; *id: verified. */
static struct rtd_shape_record *find(struct rtd_thread_state *state,
                                     const struct rtd_unwind_frame *frame, uint64_t *id)
{
    const uint64_t height = own_height(state, frame->sp);
    if (height == 0)
        return NULL;
    const uint64_t stamp = rtd_shape_stamp();
    const struct rtd_shape_set set = rtd_shape_set_of(frame->pc, height);
    for (unsigned ways = rtd_shape_ways(&set); ways != 0; ways &= ways - 1) {
        struct rtd_shape_record *const record = set.records + __builtin_ctz(ways);
        *id = atomic_load_explicit(&record->id, memory_order_acquire);
        if (atomic_load_explicit(&record->pc, memory_order_acquire) == frame->pc &&
            (uint32_t)atomic_load_explicit(&record->place, memory_order_acquire) == height &&
            atomic_load_explicit(&record->stamp, memory_order_acquire) == stamp && (*id & 1) == 0 &&
            rtd_shape_verify(record, *id, frame->sp, frame->fp))
            return record;
    }
    return NULL;
}

/* Makes the next lookup of a stack that was found again faster, at times. */
static void improve(struct rtd_shape_record *record, uint64_t id, uint64_t place, uintptr_t sp)
{
    if ((place & (RTD_SHAPE_LINKED | RTD_SHAPE_GATHERED)) == RTD_SHAPE_LINKED) {
        rtd_shape_record_gather(record, id);
    } else if ((place & RTD_SHAPE_LONG) == 0) {
        const uint32_t hits = atomic_load_explicit(&record->hits, RELAXED);
        atomic_store_explicit(&record->hits, hits + 1, RELAXED);
        /* Not each time: two stacks with one place would drive each other out. */
        if (hits % FLATTEN_EVERY == 0)
            rtd_shape_record_flatten(record, id, sp);
    }
}

/* The site of a record that find() gave; false when it is being rewritten. */
static bool site_of(struct rtd_ledger *ledger, struct rtd_shape_record *record, uint64_t id,
                    uintptr_t sp, uint32_t *site)
{
    const uint32_t tag = rtd_thread_state.tag;
    const uint64_t place = atomic_load_explicit(&record->place, memory_order_acquire);
    const uint64_t leaf = atomic_load_explicit(&record->leaf, memory_order_acquire);
    const uint32_t stack = (uint32_t)atomic_load_explicit(&record->entry, memory_order_acquire);

    if (RTD_UNLIKELY(atomic_load_explicit(&record->id, memory_order_relaxed) != id))
        return false;
    *site = (uint32_t)leaf;
    if (RTD_UNLIKELY(leaf >> 32 != (RTD_SHAPE_LEAF_USED >> 32 | tag))) {
        *site = insert_site(ledger, stack, tag);
        (void)rtd_shape_record_set_leaf(record, id, leaf_word(*site, tag));
    }
    improve(record, id, place, sp);
    return true;
}

uint32_t rtd_shape_site_slow(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                             const struct rtd_unwind_frame *frame)
{
    const uint32_t tag = state->tag;
    uint64_t id;
    uint32_t site;
    struct rtd_shape_record *const record = find(state, frame, &id);
    if (record != NULL && site_of(ledger, record, id, frame->sp, &site))
        return site;

    struct rtd_shape_link leaf;
    const uint32_t stack = take_stack(ledger, state, frame, &leaf);
    site = insert_site(ledger, stack, tag);
    if (leaf.depth != 0)
        (void)rtd_shape_record_set_leaf(&rtd_shape_records[leaf.index], leaf.id,
                                        leaf_word(site, tag));
    return site;
}

uint32_t rtd_shape_stack(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                         const struct rtd_unwind_frame *frame)
{
    uint64_t id;
    const struct rtd_shape_record *const record = find(state, frame, &id);

    if (record != NULL) {
        const uint32_t stack = (uint32_t)atomic_load_explicit(&record->entry, memory_order_acquire);
        if (atomic_load_explicit(&record->id, memory_order_acquire) == id)
            return stack;
    }
    struct rtd_shape_link leaf;
    return take_stack(ledger, state, frame, &leaf);
}
