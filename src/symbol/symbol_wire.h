// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_wire.h - the packets between the resolver and its worker.
 *
 * Runs in:    collector, symbol worker
 * Threads:    no state
 * Allocates:  never
 * Fails:      reading: with -EPROTO on anything that is not exactly in form
 *
 * One packet of a SOCK_SEQPACKET socket is one message, so nothing has to be reassembled. A
 * question is a header, offsets and up to three descriptors; the answer is any number of packets
 * of records and then one that says "done". Both sides are the same binary, so the byte order is
 * the machine's; but the worker may have been taken over by a file it read, so the resolver checks
 * an answer as it would check a stranger's.
 *
 *     answer record:  index u32 | frames u32 | frames x { line u32 | inlined u32 |
 *                     function bytes u32 | file bytes u32 | function | file }
 */
#ifndef RTD_SYMBOL_WIRE_H
#define RTD_SYMBOL_WIRE_H

#include "symbol/symbol_table.h"

#include <stddef.h>
#include <stdint.h>

enum {
    RTD_SYMBOL_WIRE_OFFSETS = 2048,
    RTD_SYMBOL_WIRE_BYTES = 64 * 1024,
    RTD_SYMBOL_WIRE_TEXT_BYTES = 4096, /* longest function or file */
    RTD_SYMBOL_WIRE_MAGIC = 0x52545359,
};

/* The descriptors that come with a question, in this order; a bit in `files` for each. */
enum rtd_symbol_wire_file {
    RTD_SYMBOL_FILE_MAIN,  /* what was mapped */
    RTD_SYMBOL_FILE_DEBUG, /* its separate debug file */
    RTD_SYMBOL_FILE_ALT,   /* what several debug files share */
    RTD_SYMBOL_FILE_COUNT
};

enum rtd_symbol_wire_kind { RTD_SYMBOL_WIRE_PART = 1, RTD_SYMBOL_WIRE_DONE = 2 };

struct rtd_symbol_wire_question {
    uint32_t magic, sequence;
    uint32_t offset_count;
    uint32_t files;
    uint32_t build_id_bytes;
    uint32_t names_only; /* 1: symbols, no debug information */
    uint8_t build_id[RTD_SYMBOL_BUILD_ID_BYTES];
    uint64_t offsets[RTD_SYMBOL_WIRE_OFFSETS];
};

struct rtd_symbol_wire_answer {
    uint32_t magic, sequence;
    uint32_t kind;
    int32_t status;    /* of "done": 0 or negative errno for the module as a whole */
    uint32_t filtered; /* of "done": 1 when the system call filter is in force */
    uint32_t bytes;    /* of records */
    uint8_t records[RTD_SYMBOL_WIRE_BYTES];
};

/*
 * Appends a record to a part; outer frames that do not fit in a whole part are cut. -ENOSPC when
 * the part has to be sent first.
 */
int rtd_symbol_wire_append(struct rtd_symbol_wire_answer *answer, uint32_t index,
                           const struct rtd_symbol_frame *frames, size_t frame_count);

/* Called for each record; frames and texts are borrowed for the call. */
typedef void (*rtd_symbol_wire_callback)(void *context, uint32_t index,
                                         const struct rtd_symbol_frame *frames, size_t frame_count);

/*
 * Checks and walks the records of a part; every index is below
 * index_count. Returns 0, or -EPROTO, then some records may have been shown.
 */
int rtd_symbol_wire_walk(struct rtd_symbol_wire_answer *answer, uint32_t index_count,
                         rtd_symbol_wire_callback callback, void *context);

#endif
