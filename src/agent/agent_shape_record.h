// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape_record.h - writes the records of agent_shape.h from what a walk noted.
 *
 * Runs in:    agent (slow path of exact mode), any thread, also inside signal handlers
 * Threads:    a record has one writer at a time; who comes second leaves it alone
 * Allocates:  never
 * Fails:      by not writing: the stack is then walked again
 */
#ifndef RTD_AGENT_SHAPE_RECORD_H
#define RTD_AGENT_SHAPE_RECORD_H

#include "agent/agent_shape_walk.h"

/* Frames [begin, end) of a trace as one run. */
struct rtd_shape_run {
    unsigned begin, end;
    uint32_t node; /* of the trie: the stack that ends in frames[begin] */
    uint64_t leaf; /* as in a record */
};

/*
 * Writes the record of a run that goes on in *link (link->depth 0: that ends
 * the stack), and lets *link name it. False when it could not be written; *link is then void.
 */
bool rtd_shape_record_write(const struct rtd_shape_trace *trace, const struct rtd_shape_run *run,
                            struct rtd_shape_link *link);

/* Replaces the leaf word of a record that still is id's. */
bool rtd_shape_record_set_leaf(struct rtd_shape_record *record, uint64_t id, uint64_t leaf);

/*
 * Takes the words of the runs that a record is linked to into the record itself, as long as they
 * fit. Links to it no longer hold: to be used for leaves, which nothing is linked to.
 */
void rtd_shape_record_gather(struct rtd_shape_record *record, uint64_t id);

/* Copies a record that has none of RTD_SHAPE_LONG to where the hot path looks. */
void rtd_shape_record_flatten(const struct rtd_shape_record *record, uint64_t id, uintptr_t sp);

#endif
