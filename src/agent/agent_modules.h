// SPDX-License-Identifier: Apache-2.0
/*
 * agent_modules.h - keeps the ledger's module table: which object held an address, and when.
 *
 * Runs in:    agent (slow path, and after dlclose)
 * Threads:    lock-free; two threads may append the same module twice, readers do not mind
 * Allocates:  never; the only libc call is the lock-free _dl_find_object()
 * Fails:      by leaving an address without a module; counted when the table is full
 */
#ifndef RTD_AGENT_MODULES_H
#define RTD_AGENT_MODULES_H

#include "ledger/ledger_writer.h"

/* Makes sure that the module of this return address stands in the table. */
void rtd_modules_note(struct rtd_ledger *ledger, uintptr_t pc);

/* After a dlclose(): begins a new generation if a noted module is gone. */
void rtd_modules_closed(struct rtd_ledger *ledger);

#endif
