// SPDX-License-Identifier: Apache-2.0
/*
 * collect_pool.h - ledgers made in advance, so that an agent never waits for one.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop only
 * Allocates:  ledgers (memfd and mapping), at most RTD_POOL_SPARES beyond those handed out
 * Fails:      by a negative errno when no ledger can be made
 *
 * Why a pool: making and touching a ledger takes a millisecond or two, which a forking program
 * would feel at each fork. Most short-lived processes never take a sample; their ledgers come
 * back unused and are handed out again, so a fork storm makes no ledgers at all.
 */
#ifndef RTD_COLLECT_POOL_H
#define RTD_COLLECT_POOL_H

#include "ledger/ledger_create.h"

#include <stdbool.h>
#include <stdint.h>

enum { RTD_POOL_SPARES = 4, RTD_POOL_READY = 1 };

/* A ledger, and when its clock began. */
struct rtd_pool_ledger {
    struct rtd_ledger_handle handle;
    uint64_t born_ns; /* CLOCK_MONOTONIC at header.created_unix_ns */
};

struct rtd_pool {
    struct rtd_ledger_options options;
    struct rtd_pool_ledger spares[RTD_POOL_SPARES];
    unsigned spare_count;
    uint64_t made_count, reused_count, taken_count;
    struct rtd_header fresh; /* what the header of a new ledger holds */
};

/* Keeps a copy of options; makes no ledger yet. */
void rtd_pool_init(struct rtd_pool *pool, const struct rtd_ledger_options *options);
void rtd_pool_fini(struct rtd_pool *pool);

/* Makes spares until RTD_POOL_READY are there, at most one a call. 0 or a negative errno. */
int rtd_pool_refill(struct rtd_pool *pool);

/* Moves a fresh ledger into *out, which then owns it. 0 or a negative errno. */
int rtd_pool_take(struct rtd_pool *pool, struct rtd_pool_ledger *out);

/*
 * Takes a ledger back, of a process that is gone: unused ones become spares, others are closed.
 * *ledger is empty afterwards.
 */
void rtd_pool_give(struct rtd_pool *pool, struct rtd_pool_ledger *ledger);

/* Nanoseconds of CLOCK_MONOTONIC and CLOCK_REALTIME. */
uint64_t rtd_collect_now_ns(void);
uint64_t rtd_collect_unix_ns(void);

/* Processor time of the calling thread in nanoseconds: what work costs, whoever else runs. */
uint64_t rtd_collect_cpu_ns(void);

#endif
