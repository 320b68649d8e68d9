// SPDX-License-Identifier: Apache-2.0
/*
 * agent_sample.c - gives sampled blocks their mark, and forgets them.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    lock-free; no syscall
 * Allocates:  only what the program asked for
 * Fails:      never towards the program
 */
#include "agent/agent_sample.h"

#include "agent/agent_filter.h"
#include "agent/agent_frame.h"
#include "agent/agent_mark.h"
#include "agent/agent_pool.h"
#include "agent/agent_real.h"
#include "agent/agent_record.h"
#include "agent/agent_release.h"
#include "agent/agent_slack.h"

#include <errno.h>

#include "agent/agent_only.h"

/* Zeroing a block this large by hand may touch pages that the allocator leaves untouched. */
enum { LARGE_BYTES = 128 << 10, LARGE_ALIGNMENT = 64 << 10 };

static void record_or_count(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                            const void *block, size_t size, struct rtd_unwind_frame frame)
{
    if (block == NULL)
        return;
    if (rtd_is_marked(block))
        rtd_record_birth(ledger, state, block, size, frame);
    else
        rtd_loss_add(ledger, RTD_LOSS_UNMARKED, 1);
}

/* ---- allocation ---- */

/*
 * glibc cuts off what an aligned block leaves at its end and keeps a small rest in the thread's
 * cache, where it stands between a large block and the heap's top: the block could not grow in
 * place any more, and a program that grows one by realloc() in small steps would move it each time
 * (1 GB resident for 24 MB). The rest of a large alignment is nearly always too large for the
 * cache.
 */
static size_t alignment_for(size_t size)
{
    return size >= LARGE_BYTES ? (size_t)LARGE_ALIGNMENT : rtd_mark_alignment();
}

/* A marked block, or what the plain function gives when there is no room for a marked one. */
static void *marked_malloc(size_t size)
{
    const int saved = errno;
    void *p = rtd_pool_take(size);
    if (p == NULL)
        p = rtd_real.memalign(alignment_for(size), size);
    if (p != NULL) {
        rtd_slack_hide(p, size);
    } else {
        errno = saved;
        p = rtd_real.malloc(size);
    }
    if (p != NULL)
        errno = saved;
    return p;
}

void *rtd_sample_malloc(size_t size)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = rtd_record_enter(state, size, frame.sp);
    if (ledger == NULL)
        return rtd_route.malloc(size);
    void *const p = marked_malloc(size);
    record_or_count(ledger, state, p, size, frame);
    rtd_record_leave(ledger, state, size);
    return p;
}

/*
 * Zeroes without touching what is already zero: reading a page that was never written maps the
 * kernel's zero page, which costs no memory; writing it would.
 */
static void zero_by_reading(void *p, size_t size)
{
    unsigned char *const bytes = p;
    for (size_t at = 0; at < size; at += RTD_MARK_PAGE_BYTES) {
        const size_t length = size - at < RTD_MARK_PAGE_BYTES ? size - at : RTD_MARK_PAGE_BYTES;
        const uint64_t *const words = (const uint64_t *)(const void *)(bytes + at);
        uint64_t any = 0;
        for (size_t i = 0; i < length / sizeof *words; i++)
            any |= words[i];
        for (size_t i = length & ~(sizeof *words - 1); i < length; i++)
            any |= bytes[at + i];
        if (any != 0)
            __builtin_memset(bytes + at, 0, length);
    }
}

static void *marked_calloc(size_t count, size_t size)
{
    const size_t bytes = count * size; /* the hook checked the product */
    if (bytes >= LARGE_BYTES) {
        /* A large block is fresh from the kernel as a rule: marked by nature, and already zero. */
        void *const natural = rtd_real.calloc(count, size);
        if (natural == NULL || rtd_is_marked(natural))
            return natural;
        rtd_real.free(natural);
    }
    const int saved = errno;
    void *p = rtd_pool_take(bytes);
    if (p == NULL)
        p = rtd_real.memalign(alignment_for(bytes), bytes);
    errno = saved;
    if (p == NULL)
        return rtd_real.calloc(count, size);
    rtd_slack_hide(p, bytes);
    if (bytes >= LARGE_BYTES)
        zero_by_reading(p, bytes);
    else
        __builtin_memset(p, 0, bytes);
    return p;
}

void *rtd_sample_calloc(size_t count, size_t size)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = rtd_record_enter(state, count * size, frame.sp);
    if (ledger == NULL)
        return rtd_route.calloc(count, size);
    void *const p = marked_calloc(count, size);
    record_or_count(ledger, state, p, count * size, frame);
    rtd_record_leave(ledger, state, count * size);
    return p;
}

static size_t marked_alignment(size_t alignment)
{
    return alignment > rtd_mark_alignment() ? alignment : rtd_mark_alignment();
}

/*
 * Where a page-aligned block is refused, by lack of space or by a rule of the allocator, the call
 * is made as the program made it: it gets its own block, or its own error.
 */
void *rtd_sample_memalign(rtd_memalign_fn real, size_t alignment, size_t size)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = rtd_record_enter(state, size, frame.sp);
    if (ledger == NULL)
        return real(alignment, size);
    const int saved = errno;
    void *p = rtd_real.memalign(marked_alignment(alignment), size);
    if (p == NULL) {
        errno = saved;
        p = real(alignment, size);
    } else if (alignment < rtd_mark_alignment()) {
        rtd_slack_hide(p, size);
    }
    record_or_count(ledger, state, p, size, frame);
    rtd_record_leave(ledger, state, size);
    return p;
}

int rtd_sample_posix_memalign(void **out, size_t alignment, size_t size)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = rtd_record_enter(state, size, frame.sp);
    if (ledger == NULL)
        return rtd_route.posix_memalign(out, alignment, size);
    int result = rtd_real.posix_memalign(out, marked_alignment(alignment), size);
    if (result != 0)
        result = rtd_real.posix_memalign(out, alignment, size);
    else if (alignment < rtd_mark_alignment())
        rtd_slack_hide(*out, size);
    if (result == 0)
        record_or_count(ledger, state, *out, size, frame);
    rtd_record_leave(ledger, state, size);
    return result;
}

void *rtd_sample_valloc(size_t size)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = rtd_record_enter(state, size, frame.sp);
    if (ledger == NULL)
        return rtd_route.valloc(size);
    void *const p = rtd_real.valloc(size);
    record_or_count(ledger, state, p, size, frame);
    rtd_record_leave(ledger, state, size);
    return p;
}

void *rtd_sample_pvalloc(size_t size)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = rtd_record_enter(state, size, frame.sp);
    if (ledger == NULL)
        return rtd_route.pvalloc(size);
    void *const p = rtd_real.pvalloc(size);
    record_or_count(ledger, state, p, size, frame);
    rtd_record_leave(ledger, state, size);
    return p;
}

/* ---- free and realloc ---- */

/*
 * Most blocks that come here bear the mark by chance, or because the allocator gave a sampled
 * block's place out again: the miss must stay a few nanoseconds.
 */
bool rtd_sample_forget(void *p)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    struct rtd_ledger *const ledger = rtd_record_ledger();
    struct rtd_sample_value value;
    if (p == NULL || ledger == NULL)
        return false;
    if (RTD_UNLIKELY(state->guard != 0))
        rtd_record_repair(ledger, state, (uintptr_t)__builtin_frame_address(0));
    if (RTD_LIKELY(!rtd_sample_take(ledger, (uintptr_t)p, &value))) {
        if (RTD_UNLIKELY(rtd_pool_give_up(p))) {
            rtd_slack_show(p);
            rtd_real.free(p);
        }
        return false;
    }
    rtd_filter_remove(p);
    rtd_record_death(ledger, state, &value);
    if (state->guard == 0)
        rtd_release_if_asked(ledger);
    return rtd_pool_keep(p, value.size);
}

/* Gives a block of `held` usable bytes a marked place of size bytes; NULL when there is none. */
static void *move_to_mark(void *p, size_t size, size_t held)
{
    const int saved = errno;
    void *const marked = rtd_real.memalign(alignment_for(size), size);
    errno = saved;
    if (marked == NULL)
        return NULL;
    rtd_slack_hide(marked, size);
    __builtin_memcpy(marked, p, held < size ? held : size);
    rtd_real.free(p);
    return marked;
}

/*
 * realloc() of a block that is to be sampled. One that bears the mark may grow in place and keep
 * it; one that does not has to move in any case, so it moves once, to a marked place. Lua and
 * others allocate by realloc(NULL, n).
 */
static void *marked_realloc(void *p, size_t size)
{
    if (p == NULL)
        return marked_malloc(size);
    if (size == 0)
        return rtd_real.realloc(p, size);
    const size_t held = rtd_real.malloc_usable_size(p);
    if (!rtd_is_marked(p)) {
        void *const moved = move_to_mark(p, size, held);
        return moved != NULL ? moved : rtd_real.realloc(p, size);
    }
    rtd_slack_show(p);
    void *const q = rtd_real.realloc(p, size);
    if (q == NULL || rtd_is_marked(q))
        return q;
    void *const moved = move_to_mark(q, size, held);
    return moved != NULL ? moved : q;
}

/*
 * A realloc is a free of the old block and an allocation of the new one. The old sample is taken
 * before the call, because another thread may be given the old address the moment it is free; it
 * is put back when the call fails, because the old block is then still live.
 */
void *rtd_sample_realloc(void *p, size_t size, int hit)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const sampling = hit ? rtd_record_enter(state, size, frame.sp) : NULL;
    struct rtd_ledger *const ledger = sampling != NULL ? sampling : rtd_record_ledger();
    struct rtd_sample_value old;
    if (ledger == NULL)
        return rtd_route.realloc(p, size);
    const bool is_old_marked = p != NULL && rtd_is_marked(p);
    const bool had_sample = is_old_marked && rtd_sample_take(ledger, (uintptr_t)p, &old);
    void *q;

    if (sampling != NULL) {
        q = marked_realloc(p, size);
    } else {
        if (is_old_marked)
            rtd_slack_show(p);
        q = rtd_real.realloc(p, size);
    }
    if (had_sample && q == NULL && size != 0) {
        (void)rtd_sample_insert(ledger, (uintptr_t)p, &old);
    } else if (had_sample) {
        rtd_filter_remove(p);
        rtd_record_death(ledger, state, &old);
    }
    if (sampling != NULL) {
        record_or_count(sampling, state, q, size, frame);
        rtd_record_leave(sampling, state, size);
    }
    return q;
}
