// SPDX-License-Identifier: Apache-2.0
/*
 * agent_count.h - exact mode: what happened at a site, counted by the thread it happened in.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    a block of counters has one writer, its thread, which adds without a lock prefix;
 *             the shared block, for threads without a record of their own, is added to atomically
 * Allocates:  never
 * Fails:      never
 *
 * An add is one instruction, so that a signal handler that allocates cannot fall between its load
 * and its store. How the peak is kept: ledger_exact.h.
 */
#ifndef RTD_AGENT_COUNT_H
#define RTD_AGENT_COUNT_H

#include "agent/agent_state.h"

#include <stdbool.h>

/* From here on an allocation is counted by size class. */
enum { RTD_COUNT_LARGE_BYTES = 1024 };

/* After one more thread was counted in header.threads_seen: lowers what each may keep to itself. */
void rtd_count_share(struct rtd_ledger *ledger);

/* Adds the pending change of a block to the total, and sees whether that is a new peak. */
void rtd_count_hand_in(struct rtd_exact_thread *own);

/* A death of a block of at least one RTD_LIFETIME_UNIT_MS. is_shared: see rtd_count_birth(). */
void rtd_count_age(const struct rtd_thread_state *state, uint32_t site, uint32_t age_units,
                   bool is_shared);

static inline void rtd_count_add(_Atomic uint64_t *counter, uint64_t n)
{
    __asm__("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
}

/* Changes what the thread has not handed in; true when that is to be done, because it grew. */
static inline bool rtd_count_grow(struct rtd_exact_thread *own, uint64_t bytes)
{
    bool is_above;
    __asm__("addq %2, %0" : "+m"(own->net), "=@ccg"(is_above) : "er"(bytes) : "cc");
    return is_above;
}

/* The same when it shrinks. */
static inline bool rtd_count_shrink(struct rtd_exact_thread *own, uint64_t bytes)
{
    bool is_below;
    __asm__("subq %1, %0" : "+m"(own->net) : "er"(bytes) : "cc");
    __asm__("cmpq %2, %1"
            : "=@ccl"(is_below)
            : "m"(own->net), "r"(atomic_load_explicit(&own->least, memory_order_relaxed))
            : "cc");
    return is_below;
}

/* For rare counters of a thread: right for the shared block too. */
static inline void rtd_count_event(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* A load and a comparison, which a compiler makes two instructions of when the load is atomic. */
static inline bool rtd_count_is_equal(const _Atomic uint32_t *word, uint32_t value)
{
    bool is_equal;
    __asm__("cmpl %2, %1" : "=@cce"(is_equal) : "m"(*word), "r"(value) : "cc");
    return is_equal;
}

/* Whether a counter has kept what it was at the last peak; if not, it must before it changes. */
static inline bool rtd_count_is_saved(const struct rtd_exact *exact,
                                      const struct rtd_exact_counter *counter)
{
    return rtd_count_is_equal(&counter->peak_epoch, atomic_load_explicit(&exact->header.peak_epoch,
                                                                         memory_order_relaxed));
}

/* Whether the site has not seen a size like this, which is below 4 GiB. */
static inline bool rtd_count_is_largest(const struct rtd_exact_counter *counter, uint64_t size)
{
    bool is_above;
    __asm__("cmpl %k2, %1" : "=@ccb"(is_above) : "m"(counter->max_size), "r"(size) : "cc");
    return is_above;
}

/* What the thread did at this site, wherever it counts. */
static inline struct rtd_exact_counter *rtd_count_of(const struct rtd_thread_state *state,
                                                     uint32_t site)
{
    return &rtd_exact_of(rtd_agent.ledger)->counters[state->block][site];
}

/* An allocation or a free of any kind. is_shared: the thread has no counters of its own. */
void rtd_count_birth(const struct rtd_thread_state *state, uint32_t site, uint64_t size,
                     bool is_shared);
void rtd_count_death(const struct rtd_thread_state *state, uint32_t site, uint64_t size,
                     bool is_shared);

/* The block just counted as freed was this thread's last allocation. */
static inline void rtd_count_temporary(struct rtd_exact_counter *counter, bool is_shared)
{
    if (is_shared)
        rtd_count_event(&counter->temporary);
    else
        rtd_count_add(&counter->temporary, 1);
}

#endif
