// SPDX-License-Identifier: Apache-2.0
/*
 * agent_count.c - the rarer halves of exact mode's counting: peaks, large blocks, ages.
 *
 * Runs in:    agent, any thread, also inside signal handlers
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      never
 */
#include "agent/agent_count.h"

#include "agent/agent_only.h"

#define RELAXED memory_order_relaxed

enum {
    /* What all threads together may keep when the heap is small: 1 KiB each up to 16 of them. */
    PENDING_BYTES = 16384,
    PENDING_MOST_BYTES = 1024,
    PENDING_LEAST_BYTES = 64,
    /* The peak is exact to 1/128 of itself, shared by the threads. With 1/1024, eight threads that
     * replaced small blocks met at the total at every other block. */
    TOLERANCE_SHIFT = 7,
};

/* Those that are gone count, too: what they had pending stays in their record until it is reused.
 */
static uint64_t pending_records(const struct rtd_header *header)
{
    const uint64_t seen = atomic_load_explicit(&header->threads_seen, RELAXED);
    return seen < RTD_EXACT_BLOCK_COUNT ? seen + (seen == 0) : RTD_EXACT_BLOCK_COUNT;
}

/* What a thread may keep to itself at this peak. */
static uint64_t hand_in_limit(const struct rtd_header *header, uint64_t peak_bytes)
{
    const uint64_t threads = pending_records(header);
    const uint64_t share = (peak_bytes >> TOLERANCE_SHIFT) / threads;
    uint64_t least = PENDING_BYTES / threads;
    least = least > PENDING_MOST_BYTES ? PENDING_MOST_BYTES : least;
    least = least < PENDING_LEAST_BYTES ? PENDING_LEAST_BYTES : least;
    return share > least ? share : least;
}

void rtd_count_share(struct rtd_ledger *ledger)
{
    struct rtd_exact_header *const header = &rtd_exact_of(ledger)->header;
    const int64_t peak = atomic_load_explicit(&header->peak_bytes, RELAXED);
    atomic_store_explicit(&header->hand_in_bytes,
                          hand_in_limit(&ledger->header, peak > 0 ? (uint64_t)peak : 0), RELAXED);
}

static int64_t limit_of(const struct rtd_exact_header *header)
{
    return (int64_t)atomic_load_explicit(&header->hand_in_bytes, RELAXED);
}

/* Before the epoch: a counter that is saved under it must not be older than the peak. */
static void begin_epoch(struct rtd_ledger *ledger, uint64_t peak_bytes)
{
    struct rtd_exact_header *const header = &rtd_exact_of(ledger)->header;
    atomic_store_explicit(&header->hand_in_bytes, hand_in_limit(&ledger->header, peak_bytes),
                          RELAXED);
    atomic_store_explicit(&header->peak_ms, atomic_load_explicit(&ledger->header.clock_ms, RELAXED),
                          RELAXED);
    atomic_fetch_add_explicit(&header->peak_epoch, 1, RELAXED);
}

/*
 * Only adds, so that a signal handler that hands in between two of them, or another thread of the
 * shared block, leaves the sum of what is handed in and what is not as it is.
 */
void rtd_count_hand_in(struct rtd_exact_thread *own)
{
    struct rtd_ledger *const ledger = rtd_agent.ledger;
    struct rtd_exact_header *const header = &rtd_exact_of(ledger)->header;
    const int64_t least = atomic_load_explicit(&own->least, RELAXED);
    const int64_t change = atomic_load_explicit(&own->net, RELAXED) - least / 2;
    atomic_fetch_sub_explicit(&own->net, change, RELAXED);
    const int64_t total = atomic_fetch_add_explicit(&header->live_bytes, change, RELAXED) + change;
    int64_t peak = atomic_load_explicit(&header->peak_bytes, RELAXED);
    while (total > peak)
        if (atomic_compare_exchange_weak_explicit(&header->peak_bytes, &peak, total, RELAXED,
                                                  RELAXED)) {
            begin_epoch(ledger, (uint64_t)total);
            break;
        }
    if (own != &rtd_exact_of(ledger)->threads[RTD_EXACT_SHARED_BLOCK]) {
        const int64_t wanted = -2 * limit_of(header);
        atomic_fetch_add_explicit(&own->net, (wanted - least) / 2, RELAXED);
        atomic_fetch_add_explicit(&own->least, wanted - least, RELAXED);
    }
}

static void save_peak(struct rtd_exact_counter *counter)
{
    const struct rtd_exact *const exact = rtd_exact_of(rtd_agent.ledger);
    const uint32_t epoch = atomic_load_explicit(&exact->header.peak_epoch, RELAXED);
    const uint64_t bytes = atomic_load_explicit(&counter->allocated_bytes, RELAXED) -
                           atomic_load_explicit(&counter->freed_bytes, RELAXED);
    const int64_t blocks = (int64_t)(atomic_load_explicit(&counter->allocations, RELAXED) -
                                     atomic_load_explicit(&counter->frees, RELAXED));
    const int64_t bounded = blocks > INT32_MAX   ? INT32_MAX
                            : blocks < INT32_MIN ? INT32_MIN
                                                 : blocks;
    atomic_store_explicit(&counter->peak_bytes, (int64_t)bytes, RELAXED);
    atomic_store_explicit(&counter->peak_blocks, (int32_t)bounded, RELAXED);
    /* Release: who reads the epoch finds the values that belong to it. */
    atomic_store_explicit(&counter->peak_epoch, epoch, memory_order_release);
}

static void raise_max_size(struct rtd_exact_counter *counter, uint64_t size)
{
    const uint32_t value = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    uint32_t seen = atomic_load_explicit(&counter->max_size, RELAXED);
    while (seen < value && !atomic_compare_exchange_weak_explicit(&counter->max_size, &seen, value,
                                                                  RELAXED, RELAXED))
        ;
}

static unsigned size_class(uint64_t size)
{
    return (unsigned)(size >= RTD_COUNT_LARGE_BYTES) + (size >= 65536) + (size >= 1048576) +
           (size >= 16777216);
}

static struct rtd_exact_lifetime *lifetime_of(const struct rtd_thread_state *state, uint32_t site)
{
    return &rtd_exact_of(rtd_agent.ledger)->lifetimes[state->block][site];
}

/* Of 1 KiB and more: by size class, and those above 1 MiB by site. */
static void count_large(const struct rtd_thread_state *state, uint32_t site, uint64_t size)
{
    rtd_count_event(&state->own->size_class[size_class(size)]);
    if (size > 1048576)
        atomic_fetch_add_explicit(&lifetime_of(state, site)->large, 1, RELAXED);
}

void rtd_count_age(const struct rtd_thread_state *state, uint32_t site, uint32_t age_units,
                   bool is_shared)
{
    /* Bucket 0 is counted by nobody: see agent_count.h. deaths[] begins with bucket 1. */
    const unsigned place = 31u - (unsigned)__builtin_clz(age_units | 1);
    const unsigned last = RTD_LIFETIME_BUCKETS - 2;
    _Atomic uint32_t *const deaths = &lifetime_of(state, site)->deaths[place < last ? place : last];
    if (is_shared)
        atomic_fetch_add_explicit(deaths, 1, RELAXED);
    else
        __asm__("addl $1, %0" : "+m"(*deaths) : : "cc");
}

static void add(_Atomic uint64_t *counter, uint64_t n, bool is_shared)
{
    if (is_shared)
        atomic_fetch_add_explicit(counter, n, RELAXED);
    else
        rtd_count_add(counter, n);
}

static struct rtd_exact_counter *prepare(const struct rtd_thread_state *state, uint32_t site)
{
    struct rtd_exact_counter *const counter = rtd_count_of(state, site);
    if (!rtd_count_is_saved(rtd_exact_of(rtd_agent.ledger), counter))
        save_peak(counter);
    return counter;
}

static void change_net(const struct rtd_thread_state *state, int64_t bytes, bool is_shared)
{
    struct rtd_exact_thread *const own = state->own;
    if (!is_shared) {
        if (bytes < 0 ? rtd_count_shrink(own, (uint64_t)-bytes)
                      : rtd_count_grow(own, (uint64_t)bytes))
            rtd_count_hand_in(own);
        return;
    }
    const int64_t limit = limit_of(&rtd_exact_of(rtd_agent.ledger)->header);
    const int64_t pending = atomic_fetch_add_explicit(&own->net, bytes, RELAXED) + bytes;
    if (pending > limit || pending < -limit)
        rtd_count_hand_in(own);
}

void rtd_count_birth(const struct rtd_thread_state *state, uint32_t site, uint64_t size,
                     bool is_shared)
{
    struct rtd_exact_counter *const counter = prepare(state, site);
    add(&counter->allocations, 1, is_shared);
    add(&counter->allocated_bytes, size, is_shared);
    raise_max_size(counter, size);
    if (size >= RTD_COUNT_LARGE_BYTES)
        count_large(state, site, size);
    change_net(state, (int64_t)size, is_shared);
}

void rtd_count_death(const struct rtd_thread_state *state, uint32_t site, uint64_t size,
                     bool is_shared)
{
    struct rtd_exact_counter *const counter = prepare(state, site);
    add(&counter->frees, 1, is_shared);
    add(&counter->freed_bytes, size, is_shared);
    change_net(state, -(int64_t)size, is_shared);
}
