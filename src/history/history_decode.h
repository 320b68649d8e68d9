// SPDX-License-Identifier: Apache-2.0
/*
 * history_decode.h - payloads of a recording's blocks, from bytes to memory.
 *
 * Runs in:    report
 * Threads:    no shared state
 * Allocates:  images, the rows of series, symbols
 * Fails:      -EBADMSG for a payload that is not what its type says, -ENOMEM
 *
 * A payload is hostile: its counts are compared with its length before anything is stored, and each
 * record passes the same checks as one from a live ledger (ledger_validity.h).
 */
#ifndef RTD_HISTORY_DECODE_H
#define RTD_HISTORY_DECODE_H

#include "analyze/analyze_input.h"
#include "history/history_buffer.h"

/* A process while its blocks come in. */
struct rtd_decode_process {
    struct rtd_process_record *record; /* owned */
    bool has_meta;
    uint64_t refused; /* records that failed the checks here */
};

/* Applies one payload of a process block; an unknown type is ignored. 0 or a negative errno. */
int rtd_decode_process_block(struct rtd_decode_process *process, uint16_t type,
                             struct rtd_cursor *in);

/* The types of exact mode, for a process with an image. */
int rtd_decode_exact_block(struct rtd_decode_process *process, uint16_t type,
                           struct rtd_cursor *in);

/* What values have behind the losses in exact mode. 0 or a negative errno. */
int rtd_decode_exact_values(struct rtd_image *image, struct rtd_cursor *in);

/* The exact part of rtd_decode_finish(). */
void rtd_decode_exact_finish(struct rtd_decode_process *process);

/* Applies a symbol block. 0 or a negative errno; what is beyond the table's limits is dropped. */
int rtd_decode_symbols(struct rtd_symbol_table *table, struct rtd_cursor *in);

/*
 * When all blocks are in: the checks that need more than one of them (tags of sites, clock, order
 * of modules). Blocks of one process may stand in any order in a rewritten file.
 */
void rtd_decode_finish(struct rtd_decode_process *process);

/* Frees a record and what it owns. NULL is allowed. */
void rtd_decode_record_free(struct rtd_process_record *record);

#endif
