// SPDX-License-Identifier: Apache-2.0
/*
 * agent_pool.h - keeps freed sampled blocks for the next samples of their size.
 *
 * Runs in:    agent (slow paths of malloc and free), any thread
 * Threads:    lock-free: a slot changes hands by an atomic exchange
 * Allocates:  never; holds at most RTD_POOL_CLASSES * RTD_POOL_SLOTS blocks of the program's
 *             allocator, each of at most RTD_POOL_SIZE_MAX bytes asked for
 * Fails:      by "none" and "not kept"
 *
 * Why keep: a marked block given back to the allocator is what the next malloc of that size gets
 * (thread caches are last in, first out). In a loop of malloc and free every free would then bear
 * the mark and pay for a look at the sample table: measured as 12 ns a pair instead of 1.5.
 *
 * Why not memalign() each time: glibc merges all its fast bins when the padded request is a large
 * one or the top is used up. Lua, whose collector frees a hundred thousand blocks at once, ran 3 %
 * more instructions for it. A block that bears the mark by chance costs a few plain mallocs.
 */
#ifndef RTD_AGENT_POOL_H
#define RTD_AGENT_POOL_H

#include "base/base_macros.h"

#include <stdatomic.h>
#include <stdbool.h>

enum {
    RTD_POOL_SIZE_MAX = 1032, /* glibc's thread cache goes as far */
    RTD_POOL_CLASSES = (RTD_POOL_SIZE_MAX + 8 + 15) / 16 + 1,
    RTD_POOL_SLOTS = 64,
    RTD_POOL_MEMBERS = 8192,
};

/* The blocks kept, by address: one look tells that a block is not among them. */
extern _Atomic(void *) rtd_pool_members[RTD_POOL_MEMBERS] __attribute__((visibility("hidden")));

static inline bool rtd_pool_holds(const void *p)
{
    return atomic_load_explicit(&rtd_pool_members[((uintptr_t)p >> 9) % RTD_POOL_MEMBERS],
                                memory_order_relaxed) == p;
}

/*
 * A marked block of at least size usable bytes, contents undefined; NULL if there is none and none
 * can be had ahead.
 */
void *rtd_pool_take(size_t size);

/* Takes over a marked block that was asked for with size bytes; false: the caller frees it. */
bool rtd_pool_keep(void *p, size_t size);

/*
 * For a block the program frees although it is kept here, that is, for a second time: gives it up
 * and returns true. The caller frees it once for each time, so that the program's mistake has
 * the consequences it has without the agent.
 */
bool rtd_pool_give_up(void *p);

#endif
