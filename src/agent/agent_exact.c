// SPDX-License-Identifier: Apache-2.0
/*
 * agent_exact.c - exact mode: every allocation and every free, with its site.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    a thread writes its own counters; a shadow word belongs to the owner of its block
 * Allocates:  what the program asked for
 * Fails:      as the real function does; errno is the real function's
 *
 * The hooks reach these functions by a tail jump, so the frame above is the program's own call.
 * A realloc() is a free of the old block and an allocation of the new one, also in place.
 */
#include "agent/agent_exact.h"

#include "agent/agent_count.h"
#include "agent/agent_frame.h"
#include "agent/agent_mark.h"
#include "agent/agent_raise.h"
#include "agent/agent_real.h"
#include "agent/agent_release.h"
#include "agent/agent_shadow.h"
#include "agent/agent_shape.h"
#include "agent/agent_state.h"
#include "unwind/unwind_stack.h"

#include "agent/agent_only.h"

enum { HAND_IN_FIRST_BYTES = 1024 };

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

#define RARE   __attribute__((noinline, cold))
#define INLINE static inline __attribute__((always_inline))

/* ---- who records where ---- */

/*
 * What a thread's `ready` is compared with: 1 where there is no ledger (the page reads 0), so that
 * one comparison serves, and no thread is ever set up for 1.
 */
INLINE uint32_t ready_now(void)
{
    return atomic_load_explicit(&rtd_agent.page->ready, memory_order_relaxed) + 1;
}

INLINE bool is_set_up(const struct rtd_thread_state *state)
{
    return RTD_LIKELY(ready_now() == state->ready);
}

/* A thread that found no record of its own stays on the rare path: is_set_up() is never true. */
static bool is_sharing(const struct rtd_thread_state *state)
{
    return state->ready == ~ready_now();
}

static RARE bool set_up_thread(struct rtd_thread_state *state)
{
    if (atomic_load_explicit(&rtd_agent.page->ready, memory_order_acquire) == 0)
        return false;
    struct rtd_ledger *const ledger = rtd_agent.ledger;
    struct rtd_exact *const exact = rtd_exact_of(ledger);
    const uint32_t tid = rtd_unwind_thread_id();
    atomic_fetch_add_explicit(&ledger->header.threads_seen, 1, memory_order_relaxed);
    const uint32_t block = rtd_thread_claim(ledger, tid, tid);
    const bool has_own = block < RTD_THREAD_COUNT;
    state->block = has_own ? block : RTD_EXACT_SHARED_BLOCK;
    state->counters = has_own ? exact->counters[block] : NULL;
    state->own = &exact->threads[state->block];
    state->guard = 0;
    state->last = 0;
    state->stack_span = 0;
    state->stack_high = 0;
    state->ready = has_own ? ready_now() : ~ready_now();
    rtd_count_share(ledger);
    /* What a thread that is gone left pending. */
    rtd_count_hand_in(state->own);
    return true;
}

bool rtd_exact_may_record(struct rtd_thread_state *state)
{
    return is_set_up(state) || is_sharing(state) || set_up_thread(state);
}

static uint32_t clock_ms(void)
{
    return (uint32_t)LOAD(rtd_agent.ledger->header.clock_ms);
}

static uint32_t units_now(void)
{
    return (uint32_t)(LOAD(rtd_agent.ledger->header.shadow_birth) >> RTD_SHADOW_BIRTH_SHIFT &
                      RTD_SHADOW_BIRTH_MASK);
}

/* The counter of a site that is given as it stands in a shadow word. */
INLINE struct rtd_exact_counter *counter_in(struct rtd_exact_counter *counters, uint64_t site)
{
    void *const at = (char *)counters + site * (sizeof *counters >> RTD_SHADOW_SITE_SHIFT);
    return at;
}

/* ---- births ---- */

/* The first block of a region. NULL: no leaf is left, and the block is counted as untracked. */
static RARE _Atomic uint64_t *claim_word(const struct rtd_thread_state *state, uintptr_t p,
                                         uint32_t site, size_t size)
{
    struct rtd_exact *const exact = rtd_exact_of(rtd_agent.ledger);
    _Atomic uint64_t *const word = rtd_shadow_claim(exact, p) ? rtd_shadow_word(p) : NULL;
    if (word == NULL) {
        rtd_count_event(&state->own->untracked);
        rtd_count_death(state, site, size, is_sharing(state));
    }
    return word;
}

/* The address is issued again: what freed it did not pass here. */
static RARE void count_missed_free(const struct rtd_thread_state *state, uintptr_t p)
{
    struct rtd_shadow_block old;
    if (!rtd_shadow_take(p, &old))
        return;
    rtd_count_event(&state->own->missed_frees);
    rtd_count_death(state, old.site, old.size, is_sharing(state));
}

/* Every birth that is not plain: see birth(). site: RTD_NONE = of a time when nothing was recorded.
 * Returns the block. */
static __attribute__((noinline)) void *record_birth(void *block, size_t size, uint32_t site)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const uintptr_t p = (uintptr_t)block;
    if (block == NULL || site == RTD_NONE || !rtd_exact_may_record(state)) {
        /* In a child without a ledger: the stacks that the parent knew are not looked for. */
        state->stack_span = 0;
        return block;
    }
    _Atomic uint64_t *word = rtd_shadow_word(p);

    /* First: the peak must not hold two blocks at one address. */
    if (word != NULL && atomic_load_explicit(word, memory_order_relaxed) != 0)
        count_missed_free(state, p);
    rtd_count_birth(state, site, size, is_sharing(state));
    atomic_store_explicit(&rtd_count_of(state, site)->last_ms, clock_ms(), memory_order_relaxed);
    state->last = p;
    if (word == NULL) {
        word = claim_word(state, p, site, size);
        if (word == NULL)
            return block;
    }
    const struct rtd_shadow_block value = {size, site, units_now()};
    rtd_shadow_set(word, p, &value);
    rtd_release_if_asked(rtd_agent.ledger);
    return block;
}

static RARE void *hand_in(void *block)
{
    rtd_count_hand_in(rtd_thread_state.own);
    rtd_release_if_asked(rtd_agent.ledger);
    return block;
}

/*
 * The same for the many births of which nothing is to be said but that they happened: a place in
 * the shadow that is free, a size below 1 KiB that the site has seen the like of, and no peak since
 * the site's last change. It asks for all of it first and then only counts, so that it makes no
 * call and needs few registers. site: as rtd_shape_find_site() found it.
 */
INLINE void *birth(void *block, size_t size, uint32_t site)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    struct rtd_ledger *const ledger = rtd_agent.ledger;
    struct rtd_exact_counter *const counter = counter_in(state->counters, site);
    const uintptr_t p = (uintptr_t)block;
    const uintptr_t leaf = rtd_shadow_leaf(p);
    uint64_t word = size;
    _Atomic uint64_t *const place = (_Atomic uint64_t *)leaf + rtd_shadow_index(p, &word);
    if (RTD_UNLIKELY(leaf == 0 || size >= RTD_COUNT_LARGE_BYTES || !rtd_shadow_is_free(place) ||
                     rtd_count_is_largest(counter, size) ||
                     !rtd_count_is_saved(rtd_exact_of(ledger), counter)))
        return record_birth(block, size, site >> RTD_SHADOW_SITE_SHIFT);
    rtd_count_add(&counter->allocations, 1);
    rtd_count_add(&counter->allocated_bytes, size);
    atomic_store_explicit(&counter->last_ms, (uint32_t)LOAD(ledger->header.clock_ms),
                          memory_order_relaxed);
    state->last = p;
    word = word << RTD_SHADOW_HALF_SHIFT | site | LOAD(ledger->header.shadow_birth);
    atomic_store_explicit(place, word, memory_order_relaxed);
    if (RTD_UNLIKELY(rtd_count_grow(state->own, size)))
        return hand_in(block);
    return block;
}

/* Where a call comes from that the hot path does not know; RTD_NONE when nothing is recorded. */
static __attribute__((noinline)) uint32_t any_site(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = {.pc = pc, .sp = sp, .fp = fp};
    if (!rtd_exact_may_record(state))
        return RTD_NONE;
    return rtd_shape_site(rtd_agent.ledger, state, &frame);
}

/* base: the frame address of the function that the hook led to; above it stands the program's. */
INLINE void *any_birth(void *block, size_t size, const uintptr_t *base)
{
    const struct rtd_unwind_frame frame = RTD_FRAME_ABOVE(base);
    return record_birth(block, size, any_site(frame.pc, frame.sp, frame.fp));
}

/* Whether the hot path knows where a call comes from. *site: as in a shadow word. */
INLINE bool find_site(const uintptr_t *base, uint32_t *site)
{
    const struct rtd_unwind_frame frame = RTD_FRAME_ABOVE(base);
    return RTD_LIKELY(rtd_shape_find_site(&rtd_thread_state, &frame, site));
}

/* ---- deaths ---- */

static void record_death(struct rtd_thread_state *state, uintptr_t p,
                         const struct rtd_shadow_block *block)
{
    const uint32_t now = units_now();
    const bool is_shared = is_sharing(state);

    rtd_count_death(state, block->site, block->size, is_shared);
    if (state->last == p) {
        state->last = 0;
        rtd_count_temporary(rtd_count_of(state, block->site), is_shared);
    }
    if (now != block->birth_units)
        rtd_count_age(state, block->site,
                      (now - block->birth_units) & (uint32_t)RTD_SHADOW_BIRTH_MASK, is_shared);
}

/* Of blocks from before the start, and of pointers that never were ours. */
static void count_unknown_free(const struct rtd_thread_state *state, uintptr_t p)
{
    if (p != 0)
        rtd_count_event(&state->own->unknown_frees);
}

/* Every death that is not plain. */
static __attribute__((noinline)) void any_death(uintptr_t p)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    struct rtd_shadow_block block;
    if (!rtd_exact_may_record(state))
        return;
    if (rtd_shadow_take(p, &block))
        record_death(state, p, &block);
    else
        count_unknown_free(state, p);
    rtd_release_if_asked(rtd_agent.ledger);
}

enum death { DEATH_OTHER, DEATH_COUNTED, DEATH_TO_HAND_IN };

/*
 * As birth(): the death of a young, small block of a site that did not change since the last peak.
 * word: the block's; *place: it, which is cleared, or anything else when that is done already.
 */
INLINE enum death count_plain(uintptr_t p, uint64_t word, _Atomic uint64_t *place)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    struct rtd_ledger *const ledger = rtd_agent.ledger;
    struct rtd_exact_counter *const counter =
        counter_in(state->counters, word & RTD_SHADOW_SITE_MASK);
    if (RTD_UNLIKELY(!rtd_shadow_is_young(word, LOAD(ledger->header.shadow_birth)) ||
                     !rtd_count_is_saved(rtd_exact_of(ledger), counter)))
        return DEATH_OTHER;
    const uint64_t size = rtd_shadow_size(word);
    atomic_store_explicit(place, 0, memory_order_relaxed);
    rtd_count_add(&counter->frees, 1);
    rtd_count_add(&counter->freed_bytes, size);
    if (state->last == p) {
        state->last = 0;
        rtd_count_add(&counter->temporary, 1);
    }
    return RTD_LIKELY(!rtd_count_shrink(state->own, size)) ? DEATH_COUNTED : DEATH_TO_HAND_IN;
}

INLINE enum death plain_death(uintptr_t p)
{
    const uintptr_t leaf = rtd_shadow_leaf(p);
    if (RTD_UNLIKELY(leaf == 0 || rtd_thread_state.counters == NULL))
        return DEATH_OTHER;
    _Atomic uint64_t *const place = rtd_shadow_word_in(leaf, p);
    return count_plain(p, atomic_load_explicit(place, memory_order_relaxed), place);
}

static __attribute__((noinline)) void end_death(uintptr_t p, enum death death)
{
    if (death == DEATH_TO_HAND_IN)
        rtd_count_hand_in(rtd_thread_state.own);
    else
        any_death(p);
}

/* Before the real free: see rtd_shadow_take(). */
INLINE void death(const void *p)
{
    const enum death death = plain_death((uintptr_t)p);
    if (RTD_UNLIKELY(death != DEATH_COUNTED))
        end_death((uintptr_t)p, death);
}

/* ---- what the hooks lead to ---- */

/* Of a stack that the hot path does not know. */
static __attribute__((noinline)) void *malloc_anywhere(size_t size, uintptr_t pc, uintptr_t sp,
                                                       uintptr_t fp)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = {.pc = pc, .sp = sp, .fp = fp};
    if (!rtd_exact_may_record(state))
        return rtd_real.malloc(size);
    const uint32_t site = rtd_shape_site_slow(rtd_agent.ledger, state, &frame);
    void *const block = rtd_real.malloc(size);
    if (RTD_UNLIKELY(state->counters == NULL))
        return record_birth(block, size, site);
    return birth(block, size, site << RTD_SHADOW_SITE_SHIFT);
}

/* The site first: what is needed of it after the call is one number. */
static void *exact_malloc(size_t size)
{
    uint32_t site;
    if (!find_site(__builtin_frame_address(0), &site)) {
        const uintptr_t *const base = __builtin_frame_address(0);
        return malloc_anywhere(size, base[1], (uintptr_t)(base + 2), base[0]);
    }
    return birth(rtd_real.malloc(size), size, site);
}

/* A product that overflows gives NULL, which is not recorded. */
static void *exact_calloc(size_t count, size_t size)
{
    const uintptr_t *const base = __builtin_frame_address(0);
    uint32_t site;
    if (!find_site(base, &site))
        return any_birth(rtd_real.calloc(count, size), count * size, base);
    return birth(rtd_real.calloc(count, size), count * size, site);
}

static __attribute__((noinline)) void free_any(void *p)
{
    any_death((uintptr_t)p);
    rtd_real.free(p);
}

static RARE void free_and_hand_in(void *p)
{
    rtd_count_hand_in(rtd_thread_state.own);
    rtd_real.free(p);
}

static void exact_free(void *p)
{
    const enum death death = plain_death((uintptr_t)p);
    if (RTD_LIKELY(death == DEATH_COUNTED))
        rtd_real.free(p);
    else if (death == DEATH_TO_HAND_IN)
        free_and_hand_in(p);
    else
        free_any(p);
}

static void exact_free_sized(void *p, size_t size)
{
    death(p);
    rtd_real.free_sized(p, size);
}

static void exact_free_aligned_sized(void *p, size_t alignment, size_t size)
{
    death(p);
    rtd_real.free_aligned_sized(p, alignment, size);
}

/*
 * The old block leaves the shadow before the call, because another thread may be given its address
 * the moment after; it comes back when the call fails, because it is then still live.
 */
static __attribute__((noinline)) void *resize_any(void *p, size_t size)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    struct rtd_shadow_block old;
    if (!rtd_exact_may_record(state))
        return rtd_real.realloc(p, size);
    const bool was_known = p != NULL && rtd_shadow_take((uintptr_t)p, &old);
    void *const q = rtd_real.realloc(p, size);

    if (RTD_UNLIKELY(q == NULL && size != 0)) {
        if (was_known)
            rtd_shadow_set(rtd_shadow_word((uintptr_t)p), (uintptr_t)p, &old);
    } else if (was_known) {
        record_death(state, (uintptr_t)p, &old);
    } else {
        count_unknown_free(state, (uintptr_t)p);
    }
    return q;
}

/* The same of a small block. place: its word's. */
INLINE void *resize_small(void *p, size_t size, _Atomic uint64_t *place, uint64_t word)
{
    _Atomic uint64_t cleared = 0;
    atomic_store_explicit(place, 0, memory_order_relaxed);
    void *const q = rtd_real.realloc(p, size);
    if (RTD_UNLIKELY(q == NULL && size != 0)) {
        atomic_store_explicit(place, word, memory_order_relaxed);
        return NULL;
    }
    const enum death death = count_plain((uintptr_t)p, word, &cleared);
    if (RTD_UNLIKELY(death == DEATH_TO_HAND_IN))
        rtd_count_hand_in(rtd_thread_state.own);
    if (RTD_UNLIKELY(death == DEATH_OTHER)) {
        const struct rtd_shadow_block old = rtd_shadow_decode(place, word);
        record_death(&rtd_thread_state, (uintptr_t)p, &old);
    }
    return q;
}

INLINE void *resize(void *p, size_t size, const uintptr_t *base)
{
    const uintptr_t leaf = rtd_shadow_leaf((uintptr_t)p);
    const bool is_ours = leaf != 0 && rtd_thread_state.counters != NULL;
    _Atomic uint64_t *const place = is_ours ? rtd_shadow_word_in(leaf, (uintptr_t)p) : NULL;
    const uint64_t word = is_ours ? atomic_load_explicit(place, memory_order_relaxed) : 0;
    uint32_t site;
    const bool is_small = RTD_LIKELY((word & RTD_SHADOW_SMALL) != 0);
    void *const q = is_small ? resize_small(p, size, place, word) : resize_any(p, size);
    if (!find_site(base, &site))
        return any_birth(q, size, base);
    return birth(q, size, site);
}

static void *exact_realloc(void *p, size_t size)
{
    return resize(p, size, __builtin_frame_address(0));
}

/* Not the real reallocarray(): glibc's calls realloc() through its PLT, which would count twice. */
static void *exact_reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (RTD_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return rtd_real.reallocarray(p, count, size);
    return resize(p, bytes, __builtin_frame_address(0));
}

static void *exact_memalign(size_t alignment, size_t size)
{
    return any_birth(rtd_real.memalign(alignment, size), size, __builtin_frame_address(0));
}

static void *exact_aligned_alloc(size_t alignment, size_t size)
{
    return any_birth(rtd_real.aligned_alloc(alignment, size), size, __builtin_frame_address(0));
}

static int exact_posix_memalign(void **out, size_t alignment, size_t size)
{
    const int result = rtd_real.posix_memalign(out, alignment, size);
    if (result == 0)
        (void)any_birth(*out, size, __builtin_frame_address(0));
    return result;
}

static void *exact_valloc(size_t size)
{
    return any_birth(rtd_real.valloc(size), size, __builtin_frame_address(0));
}

static void *exact_pvalloc(size_t size)
{
    return any_birth(rtd_real.pvalloc(size), size, __builtin_frame_address(0));
}

/* ---- beginning ---- */

static void lead_hooks_here(void)
{
    rtd_route.malloc = exact_malloc;
    rtd_route.free = exact_free;
    rtd_route.calloc = exact_calloc;
    rtd_route.realloc = exact_realloc;
    rtd_route.reallocarray = exact_reallocarray;
    rtd_route.memalign = exact_memalign;
    rtd_route.aligned_alloc = exact_aligned_alloc;
    rtd_route.posix_memalign = exact_posix_memalign;
    rtd_route.valloc = exact_valloc;
    rtd_route.pvalloc = exact_pvalloc;
    rtd_route.free_sized = exact_free_sized;
    rtd_route.free_aligned_sized = exact_free_aligned_sized;
    /* Nothing is marked: every free takes the short way through its hook. */
    rtd_mark_mask = UINT32_MAX;
}

void rtd_exact_begin(struct rtd_ledger *ledger)
{
    struct rtd_exact_header *const header = &rtd_exact_of(ledger)->header;
    atomic_store_explicit(&header->peak_epoch, 1, memory_order_relaxed);
    atomic_store_explicit(&header->hand_in_bytes, HAND_IN_FIRST_BYTES, memory_order_relaxed);
    /* Whoever made this ledger may not have ticked it yet. */
    const uint64_t clock = atomic_load_explicit(&ledger->header.clock_ms, memory_order_relaxed);
    atomic_store_explicit(&ledger->header.shadow_birth, rtd_shadow_birth_at(clock),
                          memory_order_relaxed);
    /* Id 0 is the overflow site. */
    atomic_store_explicit(&header->site_count, 1, memory_order_relaxed);
    rtd_shadow_begin();
    rtd_shape_begin();
    if (!rtd_real_is_glibc())
        rtd_raise_begin();
    lead_hooks_here();
}
