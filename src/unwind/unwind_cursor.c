// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_cursor.c - bounded reads of fixed fields, LEB128 numbers and encoded pointers.
 *
 * Runs in:    agent (slow path), tests, fuzzers
 * Threads:    no state beyond the caller's cursor
 * Allocates:  never
 * Fails:      sticky, see unwind_cursor.h
 *
 * Why byte loops: the fields are unaligned, and memcpy() is an indirect function of libc that must
 * not be resolved from inside somebody else's malloc.
 */
#include "unwind/unwind_cursor.h"

static void fail(struct rtd_unwind_cursor *cursor)
{
    cursor->bad = true;
    cursor->at = cursor->end;
}

static uint8_t take_byte(struct rtd_unwind_cursor *cursor)
{
    if (cursor->at >= cursor->end) {
        fail(cursor);
        return 0;
    }
    return *cursor->at++;
}

uint64_t rtd_unwind_cursor_fixed(struct rtd_unwind_cursor *cursor, unsigned size_bytes)
{
    if ((uint64_t)(cursor->end - cursor->at) < size_bytes) {
        fail(cursor);
        return 0;
    }

    uint64_t value = 0;
    for (unsigned i = 0; i < size_bytes; i++) {
        value |= (uint64_t)cursor->at[i] << (8 * i);
    }
    cursor->at += size_bytes;
    return value;
}

uint64_t rtd_unwind_cursor_uleb(struct rtd_unwind_cursor *cursor)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t byte = take_byte(cursor);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    fail(cursor);
    return 0;
}

int64_t rtd_unwind_cursor_sleb(struct rtd_unwind_cursor *cursor)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64;) {
        const uint8_t byte = take_byte(cursor);
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if ((byte & 0x80) == 0) {
            if ((byte & 0x40) != 0 && shift < 64) {
                value |= ~UINT64_C(0) << shift;
            }
            return (int64_t)value;
        }
    }
    fail(cursor);
    return 0;
}

void rtd_unwind_cursor_skip(struct rtd_unwind_cursor *cursor, uint64_t size_bytes)
{
    if ((uint64_t)(cursor->end - cursor->at) < size_bytes) {
        fail(cursor);
        return;
    }
    cursor->at += size_bytes;
}

uintptr_t rtd_unwind_cursor_pointer(struct rtd_unwind_cursor *cursor, uint8_t encoding)
{
    const uintptr_t here = (uintptr_t)cursor->at;
    uint64_t value = 0;

    switch (encoding & 0x0f) {
    case RTD_UNWIND_PE_ABSPTR:
    case RTD_UNWIND_PE_UDATA8:
    case RTD_UNWIND_PE_SDATA8:
        value = rtd_unwind_cursor_fixed(cursor, 8);
        break;
    case RTD_UNWIND_PE_UDATA2:
        value = rtd_unwind_cursor_fixed(cursor, 2);
        break;
    case RTD_UNWIND_PE_UDATA4:
        value = rtd_unwind_cursor_fixed(cursor, 4);
        break;
    case RTD_UNWIND_PE_SDATA2:
        value = (uint64_t)(int64_t)(int16_t)rtd_unwind_cursor_fixed(cursor, 2);
        break;
    case RTD_UNWIND_PE_SDATA4:
        value = (uint64_t)(int64_t)(int32_t)rtd_unwind_cursor_fixed(cursor, 4);
        break;
    default:
        fail(cursor);
        return 0;
    }

    if ((encoding & 0xf0) == RTD_UNWIND_PE_PCREL) {
        return (uintptr_t)value + here;
    }
    if ((encoding & 0xf0) != RTD_UNWIND_PE_ABSPTR) {
        fail(cursor);
        return 0;
    }
    return (uintptr_t)value;
}
