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
#include "agent/agent_shadow.h"
#include "agent/agent_shape.h"
#include "agent/agent_state.h"
#include "unwind/unwind_stack.h"

#include "agent/agent_only.h"

enum { HAND_IN_FIRST_BYTES = 1024 };

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
    state->counters = exact->counters[state->block];
    state->own = &exact->threads[state->block];
    state->guard = 0;
    state->last = 0;
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

INLINE uint64_t clock_ms(void)
{
    return atomic_load_explicit(&rtd_agent.ledger->header.clock_ms, memory_order_relaxed);
}

INLINE uint32_t units_of(uint64_t ms)
{
    return (uint32_t)(ms / RTD_LIFETIME_UNIT_MS) & (uint32_t)RTD_SHADOW_BIRTH_MASK;
}

INLINE int64_t load_net(const struct rtd_exact_thread *own)
{
    return atomic_load_explicit(&own->net, memory_order_relaxed);
}

/* ---- births ---- */

/* base: the frame address of the function that the hook led to; above it stands the program's. */

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

/* Every birth that is not plain: see plain_birth(). */
static __attribute__((noinline)) void *any_birth_at(void *block, size_t size, uintptr_t pc,
                                                    uintptr_t sp, uintptr_t fp)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = {.pc = pc, .sp = sp, .fp = fp};
    const uintptr_t p = (uintptr_t)block;
    if (block == NULL || !rtd_exact_may_record(state))
        return block;
    const uint64_t now_ms = clock_ms();
    const uint32_t site = rtd_shape_site(rtd_agent.ledger, state, &frame);
    _Atomic uint64_t *word = rtd_shadow_word(p);

    /* First: the peak must not hold two blocks at one address. */
    if (word != NULL && atomic_load_explicit(word, memory_order_relaxed) != 0)
        count_missed_free(state, p);
    rtd_count_birth(state, site, size, is_sharing(state));
    atomic_store_explicit(&state->counters[site].last_ms, (uint32_t)now_ms, memory_order_relaxed);
    state->last = p;
    if (word == NULL) {
        word = claim_word(state, p, site, size);
        if (word == NULL)
            return block;
    }
    const struct rtd_shadow_block value = {size, site, units_of(now_ms)};
    rtd_shadow_set(word, p, &value);
    return block;
}

/* By value: the compiler makes it a jump, after which the frame of the caller is no more. */
INLINE void *any_birth(void *block, size_t size, const uintptr_t *base)
{
    const struct rtd_unwind_frame frame = RTD_FRAME_ABOVE(base);
    return any_birth_at(block, size, frame.pc, frame.sp, frame.fp);
}

/*
 * The same for the many births of which nothing is to be said but that they happened: a thread that
 * is set up, a known stack, a place in the shadow that is free, a size below 1 KiB that the site
 * has seen the like of, no peak since the site's last change, and not much pending. It asks for all
 * of it first and then only counts, so that it makes no call and needs few registers.
 */
INLINE bool plain_birth(uintptr_t p, size_t size, const uintptr_t *base)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_FRAME_ABOVE(base);
    uint32_t site;
    if (!is_set_up(state) || !rtd_shape_find_site(state, &frame, &site))
        return false;
    const struct rtd_exact *const exact = rtd_exact_of(rtd_agent.ledger);
    struct rtd_exact_counter *const counter = &state->counters[site];
    struct rtd_exact_thread *const own = state->own;
    const uintptr_t leaf = rtd_shadow_leaf(p);
    const int64_t net = load_net(own) + (int64_t)size;
    if (RTD_UNLIKELY(leaf == 0 || size >= RTD_COUNT_LARGE_BYTES || net > rtd_count_limit(exact) ||
                     size > atomic_load_explicit(&counter->max_size, memory_order_relaxed) ||
                     !rtd_count_is_saved(exact, counter)))
        return false;
    _Atomic uint64_t *const word = rtd_shadow_word_in(leaf, p);
    if (RTD_UNLIKELY(atomic_load_explicit(word, memory_order_relaxed) != 0))
        return false;
    const uint64_t now_ms = clock_ms();
    rtd_count_add(&counter->allocations, 1);
    rtd_count_add(&counter->allocated_bytes, size);
    atomic_store_explicit(&counter->last_ms, (uint32_t)now_ms, memory_order_relaxed);
    rtd_count_change(own, (int64_t)size);
    state->last = p;
    rtd_shadow_set_small(word, p, size, site, units_of(now_ms));
    return true;
}

INLINE void *birth(void *block, size_t size, const uintptr_t *base)
{
    if (RTD_LIKELY(plain_birth((uintptr_t)block, size, base)))
        return block;
    return any_birth(block, size, base);
}

/* ---- deaths ---- */

static void record_death(struct rtd_thread_state *state, uintptr_t p,
                         const struct rtd_shadow_block *block)
{
    const uint32_t now = units_of(clock_ms());
    const bool is_shared = is_sharing(state);

    rtd_count_death(state, block->site, block->size, is_shared);
    if (state->last == p) {
        state->last = 0;
        rtd_count_temporary(&state->counters[block->site], is_shared);
    }
    if (now != block->birth_units)
        rtd_count_age(state, block->site,
                      (now - block->birth_units) & (uint32_t)RTD_SHADOW_BIRTH_MASK);
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
}

/* As plain_birth(): a young block below 1 MiB of a site that did not change since the last peak. */
INLINE bool plain_death(uintptr_t p)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const uintptr_t leaf = rtd_shadow_leaf(p);
    if (!is_set_up(state) || RTD_UNLIKELY(leaf == 0))
        return false;
    _Atomic uint64_t *const place = rtd_shadow_word_in(leaf, p);
    const uint64_t word = atomic_load_explicit(place, memory_order_relaxed);
    const uint64_t size = word >> RTD_SHADOW_SIZE_SHIFT;
    const uint64_t site = word & (RTD_EXACT_SITE_COUNT - 1);
    const struct rtd_exact *const exact = rtd_exact_of(rtd_agent.ledger);
    struct rtd_exact_counter *const counter = &state->counters[site];
    struct rtd_exact_thread *const own = state->own;
    const int64_t net = load_net(own) - (int64_t)size;
    const uint32_t birth_units = (uint32_t)(word >> RTD_SHADOW_BIRTH_SHIFT & RTD_SHADOW_BIRTH_MASK);
    if (RTD_UNLIKELY((word & RTD_SHADOW_USED) == 0 || size == RTD_SHADOW_SIZE_LARGE ||
                     birth_units != units_of(clock_ms()) || net < -rtd_count_limit(exact) ||
                     !rtd_count_is_saved(exact, counter)))
        return false;
    atomic_store_explicit(place, 0, memory_order_relaxed);
    rtd_count_add(&counter->frees, 1);
    rtd_count_add(&counter->freed_bytes, size);
    rtd_count_change(own, -(int64_t)size);
    if (state->last == p) {
        state->last = 0;
        rtd_count_add(&counter->temporary, 1);
    }
    return true;
}

/* Before the real free: see rtd_shadow_take(). */
INLINE void death(const void *p)
{
    if (RTD_UNLIKELY(!plain_death((uintptr_t)p)))
        any_death((uintptr_t)p);
}

/* ---- what the hooks lead to ---- */

static void *exact_malloc(size_t size)
{
    return birth(rtd_real.malloc(size), size, __builtin_frame_address(0));
}

/* A product that overflows gives NULL, which is not recorded. */
static void *exact_calloc(size_t count, size_t size)
{
    return birth(rtd_real.calloc(count, size), count * size, __builtin_frame_address(0));
}

static __attribute__((noinline)) void free_any(void *p)
{
    any_death((uintptr_t)p);
    rtd_real.free(p);
}

static void exact_free(void *p)
{
    if (RTD_LIKELY(plain_death((uintptr_t)p)))
        rtd_real.free(p);
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
INLINE void *resize(void *p, size_t size, const uintptr_t *base)
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
        return NULL;
    }
    if (was_known)
        record_death(state, (uintptr_t)p, &old);
    else
        count_unknown_free(state, (uintptr_t)p);
    return birth(q, size, base);
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
    /* Id 0 is the overflow site. */
    atomic_store_explicit(&header->site_count, 1, memory_order_relaxed);
    rtd_shadow_begin();
    rtd_shape_begin();
    if (!rtd_real_is_glibc())
        rtd_raise_begin();
    lead_hooks_here();
}
