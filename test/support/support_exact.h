// SPDX-License-Identifier: Apache-2.0
/*
 * support_exact.h - exact ledgers with known contents, written without an agent.
 *
 * Runs in:    tests, fuzz drivers
 * Threads:    none
 * Allocates:  one memfd and one mapping of the whole of it
 * Fails:      by abort(): a test that cannot be set up has failed
 */
#ifndef RTD_SUPPORT_EXACT_H
#define RTD_SUPPORT_EXACT_H

#include "ledger/ledger_create.h"
#include "ledger/ledger_exact.h"

struct rtd_support_exact {
    struct rtd_ledger_handle handle;
    struct rtd_ledger *whole; /* mapping of RTD_LEDGER_EXACT_BYTES */
    struct rtd_exact *exact;  /* in it */
};

/* What happens to a block: size in bytes, age at its death in units of RTD_LIFETIME_UNIT_MS. */
struct rtd_support_event {
    uint32_t block, site;
    uint64_t size;
    unsigned age_bucket;
    bool temporary;
};

struct rtd_support_exact *rtd_support_exact_new(void);
void rtd_support_exact_free(struct rtd_support_exact *made);

/* A site of (pcs outermost first, tag), by the agent's own writer. */
uint32_t rtd_support_exact_site(struct rtd_support_exact *made, const uint64_t *pcs, unsigned count,
                                uint32_t tag);

/* The thread of event->block allocates, or frees, a block of the site. */
void rtd_support_exact_birth(struct rtd_support_exact *made, const struct rtd_support_event *event);
void rtd_support_exact_death(struct rtd_support_exact *made, const struct rtd_support_event *event);

/* The process now holds most of all: what later changes is remembered as it is. */
void rtd_support_exact_peak(struct rtd_support_exact *made, uint64_t time_ms);

/* Puts a live block into the shadow. */
void rtd_support_exact_block(struct rtd_support_exact *made, uint64_t address, uint32_t site,
                             uint64_t size, uint64_t birth_ms);

/* Modules, tags, some stacks and `events` random events in several blocks of counters. */
void rtd_support_exact_fill(struct rtd_support_exact *made, uint64_t seed, unsigned events);

#endif
