// SPDX-License-Identifier: Apache-2.0
/*
 * collect_join.h - asks the collector that watches this process for a look at its own ledger.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no shared state
 * Allocates:  the ledger's descriptor and a mapping that can only be read
 * Fails:      by a negative errno; nothing is left behind
 *
 * Why by the socket: the agent closed its descriptor when it had mapped the ledger, and an exact
 * ledger cannot be read without one (ledger_reader.h).
 */
#ifndef RTD_COLLECT_JOIN_H
#define RTD_COLLECT_JOIN_H

#include "ledger/ledger_create.h"

/*
 * Finds the collector by RIPTIDE_SOCKET of the environment and waits a second for it at most. The
 * caller closes *out by rtd_ledger_close(). 0, -ENOTCONN (no such variable), -ESRCH (the collector
 * has no ledger for this process), or another negative errno.
 */
int rtd_collect_join(struct rtd_ledger_handle *out);

#endif
