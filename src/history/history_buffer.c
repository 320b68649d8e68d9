// SPDX-License-Identifier: Apache-2.0
/*
 * history_buffer.c - little-endian bytes going out and coming in.
 *
 * Runs in:    collector (writer), report (reader)
 * Threads:    a buffer or a cursor belongs to one thread
 * Allocates:  a buffer grows on the heap by halves; a cursor borrows
 * Fails:      by a flag that sticks
 */
#include "history/history_buffer.h"

#include "ledger/ledger_validity.h"

#include <stdlib.h>
#include <string.h>

void rtd_block_buffer_fini(struct rtd_block_buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct rtd_block_buffer){0};
}

void rtd_block_buffer_clear(struct rtd_block_buffer *buffer)
{
    buffer->length = 0;
    buffer->failed = false;
}

uint8_t *rtd_block_buffer_reserve(struct rtd_block_buffer *buffer, size_t size)
{
    if (buffer->failed || size > SIZE_MAX / 4 - buffer->length) {
        buffer->failed = true;
        return NULL;
    }
    if (buffer->capacity - buffer->length < size) {
        const size_t needed = buffer->length + size;
        size_t capacity = buffer->capacity + buffer->capacity / 2;
        capacity = capacity < needed ? needed : capacity;
        capacity = capacity < 4096 ? 4096 : capacity;
        uint8_t *const bytes = realloc(buffer->bytes, capacity);
        if (bytes == NULL) {
            buffer->failed = true;
            return NULL;
        }
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    return buffer->bytes + buffer->length;
}

void rtd_block_buffer_put_bytes(struct rtd_block_buffer *buffer, const void *bytes, size_t size)
{
    uint8_t *const at = rtd_block_buffer_reserve(buffer, size);

    if (at != NULL && size != 0) {
        memcpy(at, bytes, size);
        buffer->length += size;
    }
}

void rtd_bytes_store_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

void rtd_bytes_store_u64(uint8_t *at, uint64_t value)
{
    rtd_bytes_store_u32(at, (uint32_t)value);
    rtd_bytes_store_u32(at + 4, (uint32_t)(value >> 32));
}

uint32_t rtd_bytes_load_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint64_t rtd_bytes_load_u64(const uint8_t *at)
{
    return rtd_bytes_load_u32(at) | (uint64_t)rtd_bytes_load_u32(at + 4) << 32;
}

void rtd_block_buffer_put_u8(struct rtd_block_buffer *buffer, uint8_t value)
{
    rtd_block_buffer_put_bytes(buffer, &value, 1);
}

void rtd_block_buffer_put_u32(struct rtd_block_buffer *buffer, uint32_t value)
{
    uint8_t *const at = rtd_block_buffer_reserve(buffer, 4);

    if (at != NULL) {
        rtd_bytes_store_u32(at, value);
        buffer->length += 4;
    }
}

void rtd_block_buffer_put_u64(struct rtd_block_buffer *buffer, uint64_t value)
{
    uint8_t *const at = rtd_block_buffer_reserve(buffer, 8);

    if (at != NULL) {
        rtd_bytes_store_u64(at, value);
        buffer->length += 8;
    }
}

void rtd_block_buffer_put_varint(struct rtd_block_buffer *buffer, uint64_t value)
{
    uint8_t *const at = rtd_block_buffer_reserve(buffer, 10);
    size_t size = 0;

    if (at == NULL) {
        return;
    }
    for (; value >= 0x80; value >>= 7) {
        at[size++] = (uint8_t)(value | 0x80);
    }
    at[size++] = (uint8_t)value;
    buffer->length += size;
}

void rtd_block_buffer_put_signed(struct rtd_block_buffer *buffer, int64_t value)
{
    const uint64_t sign = value < 0 ? UINT64_MAX : 0;

    rtd_block_buffer_put_varint(buffer, (uint64_t)value << 1 ^ sign);
}

void rtd_block_buffer_put_f64(struct rtd_block_buffer *buffer, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    rtd_block_buffer_put_u64(buffer, bits);
}

void rtd_block_buffer_put_f32(struct rtd_block_buffer *buffer, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    rtd_block_buffer_put_u32(buffer, bits);
}

void rtd_block_buffer_put_text(struct rtd_block_buffer *buffer, const char *text, size_t most)
{
    const size_t length = strnlen(text, most);

    rtd_block_buffer_put_u32(buffer, (uint32_t)length);
    rtd_block_buffer_put_bytes(buffer, text, length);
}

void rtd_block_buffer_patch_u32(struct rtd_block_buffer *buffer, size_t offset, uint32_t value)
{
    if (!buffer->failed) {
        rtd_bytes_store_u32(buffer->bytes + offset, value);
    }
}

const uint8_t *rtd_cursor_get_bytes(struct rtd_cursor *cursor, size_t size)
{
    if (cursor->failed || size > cursor->left) {
        cursor->failed = true;
        cursor->left = 0;
        return NULL;
    }
    const uint8_t *const at = cursor->at;
    cursor->at += size;
    cursor->left -= size;
    return at;
}

uint8_t rtd_cursor_get_u8(struct rtd_cursor *cursor)
{
    const uint8_t *const at = rtd_cursor_get_bytes(cursor, 1);
    return at == NULL ? 0 : *at;
}

uint32_t rtd_cursor_get_u32(struct rtd_cursor *cursor)
{
    const uint8_t *const at = rtd_cursor_get_bytes(cursor, 4);
    return at == NULL ? 0 : rtd_bytes_load_u32(at);
}

uint64_t rtd_cursor_get_u64(struct rtd_cursor *cursor)
{
    const uint8_t *const at = rtd_cursor_get_bytes(cursor, 8);
    return at == NULL ? 0 : rtd_bytes_load_u64(at);
}

uint64_t rtd_cursor_get_varint(struct rtd_cursor *cursor)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t byte = rtd_cursor_get_u8(cursor);
        /* Of the tenth byte only one bit fits. */
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    cursor->failed = true;
    cursor->left = 0;
    return 0;
}

int64_t rtd_cursor_get_signed(struct rtd_cursor *cursor)
{
    const uint64_t value = rtd_cursor_get_varint(cursor);

    return (int64_t)(value >> 1 ^ ((value & 1) != 0 ? UINT64_MAX : 0));
}

double rtd_cursor_get_f64(struct rtd_cursor *cursor)
{
    const uint64_t bits = rtd_cursor_get_u64(cursor);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

float rtd_cursor_get_f32(struct rtd_cursor *cursor)
{
    const uint32_t bits = rtd_cursor_get_u32(cursor);
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

void rtd_cursor_get_text(struct rtd_cursor *cursor, char *out, size_t size)
{
    const size_t length = rtd_cursor_get_u32(cursor);
    const uint8_t *const bytes = rtd_cursor_get_bytes(cursor, length);
    const size_t kept = length < size - 1 ? length : size - 1;

    memset(out, 0, size);
    if (bytes != NULL) {
        memcpy(out, bytes, kept);
        (void)rtd_validity_clean_text(out, size);
    }
}

bool rtd_cursor_expect(struct rtd_cursor *cursor, uint32_t count, size_t size)
{
    if (cursor->failed || count > cursor->left / size) {
        cursor->failed = true;
        cursor->left = 0;
        return false;
    }
    return true;
}
