// SPDX-License-Identifier: Apache-2.0
/*
 * agent_hooks.c - the exported malloc family: fast paths only.
 *
 * Runs in:    agent, any thread, before any constructor and after any destructor
 * Threads:    no shared state but the pointers of rtd_route
 * Allocates:  what the program asked for
 * Fails:      as the real function does; errno is the real function's
 *
 * The not-sampled path is a countdown and a jump; test/integration/test_agent_binary.py counts its
 * instructions. C++ operators reach malloc through libstdc++ and are not interposed themselves:
 * that would count each block twice.
 */
#include "agent/agent_filter.h"
#include "agent/agent_mark.h"
#include "agent/agent_real.h"
#include "agent/agent_sample.h"
#include "agent/agent_slack.h"
#include "agent/agent_state.h"

#include <malloc.h>
#include <stdlib.h>

#include "agent/agent_only.h"

/*
 * Counts size + 1 bytes down; true when this allocation is to be sampled. One instruction, so that
 * no signal handler falls between its load and its store.
 */
static inline __attribute__((always_inline)) bool count_down(size_t size)
{
    bool is_below;
    __asm__("subq %2, %0"
            : "+m"(rtd_thread_state.left), "=@ccb"(is_below)
            : "r"((uint64_t)size + 1)
            : "cc");
    return RTD_UNLIKELY(is_below);
}

RTD_EXPORT void *malloc(size_t size)
{
    if (count_down(size))
        return rtd_sample_malloc(size);
    return rtd_route.malloc(size);
}

/*
 * False for a block that bears the mark by chance, as most do that come here: no sample, not kept
 * by the pool, nothing hidden in its slack.
 */
static inline bool concerns_us(const void *p)
{
    return rtd_filter_may_hold(p) ||
           atomic_load_explicit(&rtd_slack_in_use, memory_order_relaxed) ||
           rtd_thread_state.guard != 0;
}

static __attribute__((noinline)) void free_ours(void *p)
{
    if (rtd_sample_forget(p))
        return;
    rtd_slack_show(p);
    rtd_route.free(p);
}

static __attribute__((noinline)) void free_marked(void *p)
{
    if (p == NULL)
        return; /* free(NULL) does nothing */
    if (concerns_us(p))
        free_ours(p);
    else
        rtd_route.free(p);
}

RTD_EXPORT void free(void *p)
{
    if (RTD_UNLIKELY(rtd_is_marked(p)))
        free_marked(p);
    else
        rtd_route.free(p);
}

RTD_EXPORT void cfree(void *p);
RTD_EXPORT void cfree(void *p)
{
    free(p);
}

RTD_EXPORT void free_sized(void *p, size_t size);
RTD_EXPORT void free_sized(void *p, size_t size)
{
    if (RTD_UNLIKELY(rtd_is_marked(p))) {
        if (rtd_sample_forget(p))
            return;
        rtd_slack_show(p);
    }
    rtd_route.free_sized(p, size);
}

RTD_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size);
RTD_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    if (RTD_UNLIKELY(rtd_is_marked(p))) {
        if (rtd_sample_forget(p))
            return;
        rtd_slack_show(p);
    }
    rtd_route.free_aligned_sized(p, alignment, size);
}

RTD_EXPORT void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (RTD_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return rtd_route.calloc(count, size);
    if (count_down(bytes))
        return rtd_sample_calloc(count, size);
    return rtd_route.calloc(count, size);
}

RTD_EXPORT void *realloc(void *p, size_t size)
{
    if (count_down(size))
        return rtd_sample_realloc(p, size, 1);
    if (RTD_UNLIKELY(rtd_is_marked(p)) && p != NULL && concerns_us(p))
        return rtd_sample_realloc(p, size, 0);
    return rtd_route.realloc(p, size);
}

RTD_EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (RTD_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return rtd_route.reallocarray(p, count, size);
    if (count_down(bytes))
        return rtd_sample_realloc(p, bytes, 1);
    if (RTD_UNLIKELY(rtd_is_marked(p)) && p != NULL && concerns_us(p))
        return rtd_sample_realloc(p, bytes, 0);
    /* Not the real reallocarray(): glibc's calls realloc() through its PLT, which would count
     * these bytes twice. */
    return rtd_route.realloc(p, bytes);
}

/* An alignment that the real function may refuse must reach it unchanged. */
static inline int is_power_of_two(size_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

RTD_EXPORT void *memalign(size_t alignment, size_t size)
{
    if (is_power_of_two(alignment) && count_down(size))
        return rtd_sample_memalign(rtd_route.memalign, alignment, size);
    return rtd_route.memalign(alignment, size);
}

RTD_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    if (is_power_of_two(alignment) && count_down(size))
        return rtd_sample_memalign(rtd_route.aligned_alloc, alignment, size);
    return rtd_route.aligned_alloc(alignment, size);
}

RTD_EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (is_power_of_two(alignment) && alignment % sizeof(void *) == 0 && count_down(size))
        return rtd_sample_posix_memalign(out, alignment, size);
    return rtd_route.posix_memalign(out, alignment, size);
}

RTD_EXPORT void *valloc(size_t size)
{
    if (count_down(size))
        return rtd_sample_valloc(size);
    return rtd_route.valloc(size);
}

RTD_EXPORT void *pvalloc(size_t size)
{
    if (count_down(size))
        return rtd_sample_pvalloc(size);
    return rtd_route.pvalloc(size);
}

RTD_EXPORT size_t malloc_usable_size(void *p)
{
    if (RTD_UNLIKELY(rtd_is_marked(p)))
        return rtd_slack_usable(p);
    return rtd_route.malloc_usable_size(p);
}
