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

#include "agent/agent_real.h"
#include "agent/agent_slack.h"

#include <stdatomic.h>

#include "agent/agent_only.h"

enum { MEMBER_COUNT = 1024 };

static _Atomic(void *) kept[RTD_POOL_CLASSES][RTD_POOL_SLOTS];

/* The kept blocks again, by address: one look tells that a block is not among them. */
static _Atomic(void *) members[MEMBER_COUNT];

static _Atomic(void *) *member_of(const void *p)
{
    return &members[((uintptr_t)p >> 12) % MEMBER_COUNT];
}

static unsigned pool_class(size_t size)
{
    return (unsigned)((size + 15) / 16);
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

void *rtd_pool_take(size_t size)
{
    if (size > RTD_POOL_SIZE_MAX)
        return NULL;
    const unsigned class = pool_class(size);
    for (unsigned i = 0; i < RTD_POOL_SLOTS; i++) {
        if (atomic_load_explicit(&kept[class][i], memory_order_relaxed) == NULL)
            continue;
        void *const p = atomic_exchange_explicit(&kept[class][i], NULL, memory_order_acquire);
        if (p == NULL)
            continue;
        atomic_store_explicit(member_of(p), NULL, memory_order_relaxed);
        /* A class spans 16 sizes, and an allocator may round within it. */
        if (rtd_real.malloc_usable_size(p) >= size)
            return p;
        if (!rtd_pool_keep(p, size)) {
            rtd_slack_show(p);
            rtd_real.free(p);
        }
        return NULL;
    }
    return NULL;
}

bool rtd_pool_keep(void *p, size_t size)
{
    void *empty = NULL;
    if (size > RTD_POOL_SIZE_MAX ||
        !atomic_compare_exchange_strong_explicit(member_of(p), &empty, p, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    if (put(pool_class(size), p))
        return true;
    atomic_store_explicit(member_of(p), NULL, memory_order_relaxed);
    return false;
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
    if (RTD_LIKELY(atomic_load_explicit(member_of(p), memory_order_relaxed) != p))
        return false;
    if (!withdraw(p))
        return false;
    atomic_store_explicit(member_of(p), NULL, memory_order_relaxed);
    return true;
}
