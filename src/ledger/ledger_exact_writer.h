// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_exact_writer.h - puts stacks and sites into the exact part of a ledger.
 *
 * Runs in:    agent (slow paths), any thread, also inside signal handlers; tests
 * Threads:    any number of writers at once, lock-free; a reader in another process
 * Allocates:  never; no syscall, no lock
 * Fails:      by a "none" result after a bounded number of probes; the caller counts the loss
 */
#ifndef RTD_LEDGER_EXACT_WRITER_H
#define RTD_LEDGER_EXACT_WRITER_H

#include "ledger/ledger_exact.h"
#include "ledger/ledger_writer.h"

/*
 * Finds or adds the child pc of parent in the exact trie; ids below RTD_ROOT_COUNT are roots, see
 * rtd_node_root(). Ids from RTD_ROOT_COUNT on are given out in turn, one for each (parent, pc).
 * Sets *added when the node is new. RTD_NONE when a table is full or pc is no address of the
 * program. exact lies in a mapping of RTD_LEDGER_EXACT_BYTES.
 */
uint32_t rtd_exact_node_insert(struct rtd_exact *exact, uint32_t parent, uint64_t pc, bool *added);

/*
 * Finds or adds the site of (stack, tag): 1 .. RTD_EXACT_SITE_COUNT - 1. RTD_SITE_OVERFLOW, and a
 * loss counted, when the table is full. now_ms: header.clock_ms, kept when the site is new.
 * An id whose key is 0 in site_keys[] was given up: two threads met at the same new site.
 */
uint32_t rtd_exact_site_insert(struct rtd_ledger *ledger, uint32_t stack, uint32_t tag,
                               uint32_t now_ms);

#endif
