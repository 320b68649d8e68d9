// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_cursor.h - reads little fields from bytes that may be malformed.
 *
 * Runs in:    agent (slow path), tests, fuzzers
 * Threads:    no state beyond the caller's cursor
 * Allocates:  never
 * Fails:      sticky: a read past the end sets `bad`, gives 0, and parks the cursor at the end
 */
#ifndef RTD_AGENT_UNWIND_CURSOR_H
#define RTD_AGENT_UNWIND_CURSOR_H

#include <stdbool.h>

#include "base/base_macros.h"

struct rtd_unwind_cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

/* Pointer encodings of .eh_frame (DW_EH_PE_*), low nibble = format, 0x70 = what it is relative to.
 */
enum {
    RTD_UNWIND_PE_ABSPTR = 0x00,
    RTD_UNWIND_PE_UDATA2 = 0x02,
    RTD_UNWIND_PE_UDATA4 = 0x03,
    RTD_UNWIND_PE_UDATA8 = 0x04,
    RTD_UNWIND_PE_SDATA2 = 0x0a,
    RTD_UNWIND_PE_SDATA4 = 0x0b,
    RTD_UNWIND_PE_SDATA8 = 0x0c,
    RTD_UNWIND_PE_PCREL = 0x10,
    RTD_UNWIND_PE_DATAREL = 0x30,
    RTD_UNWIND_PE_ALIGNED = 0x50,
    RTD_UNWIND_PE_OMIT = 0xff,
};

/* An unsigned little-endian field of 1, 2, 4 or 8 bytes. */
uint64_t rtd_unwind_cursor_fixed(struct rtd_unwind_cursor *cursor, unsigned size_bytes);

/* LEB128 numbers; more than 64 bits of value is malformed. */
uint64_t rtd_unwind_cursor_uleb(struct rtd_unwind_cursor *cursor);
int64_t rtd_unwind_cursor_sleb(struct rtd_unwind_cursor *cursor);

/* Moves forward by size_bytes, or fails at the end. */
void rtd_unwind_cursor_skip(struct rtd_unwind_cursor *cursor, uint64_t size_bytes);

/* A pointer in the given encoding; indirect and unknown encodings fail. */
uintptr_t rtd_unwind_cursor_pointer(struct rtd_unwind_cursor *cursor, uint8_t encoding);

#endif
