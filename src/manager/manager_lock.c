// SPDX-License-Identifier: Apache-2.0
/*
 * manager_lock.c - the rare halves of a lock: waiting and waking.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  never
 * Fails:      never; errno is preserved
 */
#include "manager/manager_lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The tables hold a lock for some tens of nanoseconds, so it is mostly free again before that. */
enum { SPINS = 100 };

static void call_futex(struct rtd_lock *lock, int operation, uint32_t value)
{
    const int saved = errno;
    (void)syscall(SYS_futex, &lock->state, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
    errno = saved;
}

void rtd_lock_wait(struct rtd_lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t expected = 0;
        if (atomic_load_explicit(&lock->state, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&lock->state, &expected, 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
    }
    /* Whoever comes from here leaves a 2 behind, since others may still wait. */
    while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
        call_futex(lock, FUTEX_WAIT, 2);
}

void rtd_lock_wake(struct rtd_lock *lock)
{
    call_futex(lock, FUTEX_WAKE, 1);
}
