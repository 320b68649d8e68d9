// SPDX-License-Identifier: Apache-2.0
/*
 * manager_lock.h - a lock of four bytes, for tables of which there are many.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; not to be taken in a signal handler
 * Allocates:  never
 * Fails:      never; errno is preserved
 *
 * Why not pthread_mutex_t: one stands in each shard of a table, so its size counts, and the child
 * of a fork has to be able to put it back to "free", whoever held it.
 *
 * A thread sanitizer in the program sees the libc calls of an uninstrumented library, but not these
 * locks: it is told of them by the functions that it looks for (absent otherwise: a null test).
 *
 * States: 0 free, 1 held, 2 held and perhaps waited for. Only who finds it held makes a system
 * call.
 */
#ifndef RTD_MANAGER_LOCK_H
#define RTD_MANAGER_LOCK_H

#include "base/base_macros.h"

#include <stdatomic.h>

struct rtd_lock {
    _Atomic uint32_t state;
};

/* Of a thread sanitizer's run-time library; null without one. */
__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

/* The halves of the two functions below that wait and wake. */
void rtd_lock_wait(struct rtd_lock *lock);
void rtd_lock_wake(struct rtd_lock *lock);

/* Waits until the lock is free and holds it. */
static inline void rtd_lock_acquire(struct rtd_lock *lock)
{
    uint32_t expected = 0;
    /* Acquire pairs with the release of the holder before: what it wrote is visible. */
    if (RTD_UNLIKELY(!atomic_compare_exchange_strong_explicit(
            &lock->state, &expected, 1, memory_order_acquire, memory_order_relaxed)))
        rtd_lock_wait(lock);
    if (__tsan_acquire)
        __tsan_acquire(lock);
}

static inline void rtd_lock_release(struct rtd_lock *lock)
{
    if (__tsan_release)
        __tsan_release(lock);
    if (RTD_UNLIKELY(atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2))
        rtd_lock_wake(lock);
}

/* In the child of a fork, which has no other thread. */
static inline void rtd_lock_reset(struct rtd_lock *lock)
{
    atomic_store_explicit(&lock->state, 0, memory_order_relaxed);
}

#endif
