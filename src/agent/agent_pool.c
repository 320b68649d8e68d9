// SPDX-License-Identifier: Apache-2.0
/*
 * agent_pool.c - see agent_pool.h.
 *
 * Runs in:    agent (slow paths of malloc and free), any thread
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      by "none" and "not kept"
 */
#include "agent/agent_pool.h"

#include "agent/agent_filter.h"
#include "agent/agent_mark.h"
#include "agent/agent_real.h"
#include "agent/agent_slack.h"

#include <stdatomic.h>

#include "agent/agent_only.h"

enum { AHEAD = 16, TRIES = 24, TRIES_BYTES = 8192 };

static _Atomic(void *) kept[RTD_POOL_CLASSES][RTD_POOL_SLOTS];

_Atomic(void *) rtd_pool_members[RTD_POOL_MEMBERS];

static _Atomic(void *) *member_of(const void *p)
{
    return &rtd_pool_members[((uintptr_t)p >> 9) % RTD_POOL_MEMBERS];
}

/* Classes are glibc's chunk sizes: a multiple of 16, at least 32, 8 bytes of it not usable. */
static unsigned pool_class(size_t size)
{
    return size <= 24 ? 2 : (unsigned)((size + 8 + 15) / 16);
}

static bool put(unsigned class, void *p)
{
    for (unsigned i = 0; i < RTD_POOL_SLOTS; i++) {
        void *empty = NULL;
        /* Release pairs with the acquire in rtd_pool_take(): the last owner is done with it. */
        if (atomic_load_explicit(&kept[class][i], memory_order_relaxed) == NULL &&
            atomic_compare_exchange_strong_explicit(&kept[class][i], &empty, p,
                                                    memory_order_release, memory_order_relaxed))
            return true;
    }
    return false;
}

bool rtd_pool_keep(void *p, size_t size)
{
    void *empty = NULL;
    if (size > RTD_POOL_SIZE_MAX ||
        !atomic_compare_exchange_strong_explicit(member_of(p), &empty, p, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    rtd_filter_add(p);
    if (put(pool_class(size), p))
        return true;
    rtd_filter_remove(p);
    atomic_store_explicit(member_of(p), NULL, memory_order_relaxed);
    return false;
}

static void *take(unsigned class)
{
    for (unsigned i = 0; i < RTD_POOL_SLOTS; i++) {
        if (atomic_load_explicit(&kept[class][i], memory_order_relaxed) == NULL)
            continue;
        void *const p = atomic_exchange_explicit(&kept[class][i], NULL, memory_order_acquire);
        if (p == NULL)
            continue;
        atomic_store_explicit(member_of(p), NULL, memory_order_relaxed);
        rtd_filter_remove(p);
        return p;
    }
    return NULL;
}

/*
 * A block that bears the mark by chance, as one in sixteen does: found by asking a few times, what
 * was asked in vain goes back in reverse order. NULL when chance was unkind.
 */
static void *find_by_chance(size_t usable)
{
    void *vain[TRIES];
    void *found = NULL;
    unsigned count = 0;
    while (found == NULL && count < TRIES && (count + 1) * usable <= TRIES_BYTES) {
        void *const p = rtd_real.malloc(usable);
        if (p == NULL)
            break;
        if (rtd_is_marked(p))
            found = p;
        else
            vain[count++] = p;
    }
    while (count > 0)
        rtd_real.free(vain[--count]);
    return found;
}

/* Several at a time: what makes a memalign() dear is paid once for them all. */
static void *take_ahead(unsigned class, size_t usable)
{
    for (unsigned i = 0; i < AHEAD; i++) {
        void *const p = rtd_real.memalign(rtd_mark_alignment(), usable);
        if (p == NULL)
            break;
        if (!rtd_pool_keep(p, usable)) {
            rtd_real.free(p);
            break;
        }
    }
    return take(class);
}

/* Only where it pays: other allocators give each block a page and merge nothing. */
static void *take_from_glibc(unsigned class)
{
    const size_t usable = class * (size_t)16 - 8;
    if (!rtd_real_is_glibc())
        return NULL;
    void *const p = find_by_chance(usable);
    return p != NULL ? p : take_ahead(class, usable);
}

void *rtd_pool_take(size_t size)
{
    if (size > RTD_POOL_SIZE_MAX)
        return NULL;
    const unsigned class = pool_class(size);
    void *p = take(class);
    if (p == NULL)
        p = take_from_glibc(class);
    if (p == NULL || rtd_real.malloc_usable_size(p) >= size)
        return p;
    /* A class spans 16 sizes, and another allocator may round within it. */
    rtd_slack_show(p);
    rtd_real.free(p);
    return NULL;
}

static bool withdraw(void *p)
{
    for (unsigned class = 0; class < RTD_POOL_CLASSES; class ++)
        for (unsigned i = 0; i < RTD_POOL_SLOTS; i++) {
            void *expected = p;
            if (atomic_compare_exchange_strong_explicit(&kept[class][i], &expected, NULL,
                                                        memory_order_acquire, memory_order_relaxed))
                return true;
        }
    return false;
}

bool rtd_pool_give_up(void *p)
{
    if (!rtd_pool_holds(p) || !withdraw(p))
        return false;
    rtd_filter_remove(p);
    atomic_store_explicit(member_of(p), NULL, memory_order_relaxed);
    return true;
}
