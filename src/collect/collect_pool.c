// SPDX-License-Identifier: Apache-2.0
/*
 * collect_pool.c - ledgers made in advance, so that an agent never waits for one.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop only
 * Allocates:  ledgers, see collect_pool.h
 * Fails:      by a negative errno
 */
#include "collect/collect_pool.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = {0, 0};

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t rtd_collect_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t rtd_collect_unix_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t rtd_collect_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void rtd_pool_init(struct rtd_pool *pool, const struct rtd_ledger_options *options)
{
    memset(pool, 0, sizeof(*pool));
    pool->options = *options;
}

void rtd_pool_fini(struct rtd_pool *pool)
{
    while (pool->spare_count > 0)
        rtd_ledger_close(&pool->spares[--pool->spare_count].handle);
}

enum { UNUSED_MODULES = 2 };

static int make_ledger(struct rtd_pool *pool, struct rtd_pool_ledger *out)
{
    memset(out, 0, sizeof(*out));
    out->handle.fd = -1;
    const int result = rtd_ledger_create(&pool->options, &out->handle);

    if (result < 0)
        return result;
    out->born_ns = rtd_collect_now_ns();
    if (pool->made_count++ == 0)
        memcpy((void *)&pool->fresh, (const void *)&out->handle.ledger->header,
               sizeof(pool->fresh));
    return 0;
}

int rtd_pool_refill(struct rtd_pool *pool)
{
    if (pool->spare_count >= RTD_POOL_READY)
        return 0;
    const int result = make_ledger(pool, &pool->spares[pool->spare_count]);

    if (result < 0)
        return result;
    pool->spare_count++;
    return 0;
}

int rtd_pool_take(struct rtd_pool *pool, struct rtd_pool_ledger *out)
{
    pool->taken_count++;
    if (pool->spare_count == 0)
        return make_ledger(pool, out);
    *out = pool->spares[--pool->spare_count];
    return 0;
}

/* Relaxed: the writer of these words is dead. */
static bool ledger_unused(const struct rtd_pool *pool, const struct rtd_ledger *ledger)
{
    const struct rtd_header *h = &ledger->header;
    const struct rtd_header *fresh = &pool->fresh;

    /* What exact mode counted lies elsewhere, and no process counts nothing. */
    return pool->options.mode == RTD_MODE_SAMPLE &&
           atomic_load_explicit(&h->samples, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&h->module_count, memory_order_relaxed) <= UNUSED_MODULES &&
           atomic_load_explicit(&h->node_count, memory_order_relaxed) == fresh->node_count &&
           atomic_load_explicit(&h->site_count, memory_order_relaxed) == fresh->site_count &&
           atomic_load_explicit(&h->tag_count, memory_order_relaxed) == fresh->tag_count &&
           atomic_load_explicit(&h->live_samples, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&h->map_events, memory_order_relaxed) == 0;
}

/* Puts the agent's half of the header and the thread blocks back to what a new ledger has. */
static void reset_ledger(struct rtd_pool *pool, struct rtd_ledger *ledger)
{
    struct rtd_header *h = &ledger->header;
    const size_t agent_half = offsetof(struct rtd_header, agent_state);

    /* The agent notes its allocator's module at once; a process of samples has more. */
    memset((void *)ledger->modules, 0, UNUSED_MODULES * sizeof(ledger->modules[0]));
    memcpy((char *)h + agent_half, (const char *)&pool->fresh + agent_half,
           sizeof(*h) - agent_half);
    for (unsigned i = 0; i < RTD_THREAD_COUNT; i++) {
        if (atomic_load_explicit(&ledger->threads[i].state, memory_order_relaxed) != 0 ||
            atomic_load_explicit(&ledger->threads[i].tid, memory_order_relaxed) != 0)
            memset((void *)&ledger->threads[i], 0, sizeof(ledger->threads[i]));
    }
    atomic_store_explicit(&h->interval_bytes, pool->options.interval_bytes, memory_order_relaxed);
    atomic_store_explicit(&h->no_handshake, 0, memory_order_relaxed);
    h->seed = pool->options.seed;
    rtd_ledger_assign(ledger, 0, 0);
    pool->reused_count++;
}

void rtd_pool_give(struct rtd_pool *pool, struct rtd_pool_ledger *ledger)
{
    if (!ledger->handle.ledger)
        return;
    if (pool->spare_count < RTD_POOL_SPARES && ledger->handle.fd >= 0 &&
        ledger_unused(pool, ledger->handle.ledger)) {
        reset_ledger(pool, ledger->handle.ledger);
        pool->spares[pool->spare_count++] = *ledger;
    } else {
        rtd_ledger_close(&ledger->handle);
    }
    memset(ledger, 0, sizeof(*ledger));
    ledger->handle.fd = -1;
}
