// SPDX-License-Identifier: Apache-2.0
/*
 * agent_tags.h - the process's component and operation names, with a ledger or without.
 *
 * Runs in:    agent, any thread
 * Threads:    lock-free
 * Allocates:  never
 * Fails:      see agent_tags.c
 */
#ifndef RTD_AGENT_TAGS_H
#define RTD_AGENT_TAGS_H

#include "ledger/ledger_layout.h"

/* Lets the program's scopes find the tag in force. Once, in the constructor. */
void rtd_tags_begin(void);

/*
 * Gives a ledger all names known so far. Before the ledger is published, and once more after it:
 * who adds a name meanwhile either finds the ledger or is found here.
 */
void rtd_tags_publish(struct rtd_ledger *ledger);

#endif
