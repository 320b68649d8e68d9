// SPDX-License-Identifier: Apache-2.0
/*
 * support_ledger.h - ledgers and process records with known contents, made without a target.
 *
 * Runs in:    tests, fuzz drivers
 * Threads:    none
 * Allocates:  yes
 * Fails:      by abort(): a test that cannot be set up has failed
 */
#ifndef RTD_SUPPORT_LEDGER_H
#define RTD_SUPPORT_LEDGER_H

#include "analyze/analyze_input.h"
#include "ledger/ledger_create.h"

#include <stdio.h>

/* A ledger in plain memory with a valid header; free() it. */
struct rtd_ledger *rtd_support_ledger_new(void);

/* Adds modules, tags, threads, stacks, sites and samples through the agent's own writer. */
void rtd_support_ledger_fill(struct rtd_ledger *ledger, uint64_t seed, unsigned events);

/* A record of what the ledger holds, with memory figures, points and series; free it below. */
struct rtd_process_record *rtd_support_record_new(const struct rtd_ledger *ledger, uint32_t id);
void rtd_support_record_free(struct rtd_process_record *record);

/* Some symbols, in two modules, also an address without any. */
struct rtd_symbol_table *rtd_support_symbols_new(void);

/* 0 when both images hold the same; else a message on stderr and 1. */
int rtd_support_images_differ(const struct rtd_image *a, const struct rtd_image *b);

#endif
