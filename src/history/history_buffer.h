// SPDX-License-Identifier: Apache-2.0
/*
 * history_buffer.h - little-endian bytes going out and coming in.
 *
 * Runs in:    collector (writer), report (reader)
 * Threads:    a buffer or a cursor belongs to one thread
 * Allocates:  a buffer grows on the heap; a cursor borrows
 * Fails:      by a flag that sticks: callers put or get everything, then ask once
 *
 * Why own encodings: a struct as the compiler lays it out has padding and the machine's byte order;
 * a recording is read by other builds on other machines.
 */
#ifndef RTD_HISTORY_BUFFER_H
#define RTD_HISTORY_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised it is empty. */
struct rtd_block_buffer {
    uint8_t *bytes; /* owned */
    size_t length, capacity;
    bool failed; /* memory was short: the contents are not to be used */
};

void rtd_block_buffer_fini(struct rtd_block_buffer *buffer);

/* Empties it but keeps the memory. */
void rtd_block_buffer_clear(struct rtd_block_buffer *buffer);

/* Makes room for size more bytes and returns where they go, NULL when memory is short. */
uint8_t *rtd_block_buffer_reserve(struct rtd_block_buffer *buffer, size_t size);

void rtd_block_buffer_put_bytes(struct rtd_block_buffer *buffer, const void *bytes, size_t size);
void rtd_block_buffer_put_u8(struct rtd_block_buffer *buffer, uint8_t value);
void rtd_block_buffer_put_u32(struct rtd_block_buffer *buffer, uint32_t value);
void rtd_block_buffer_put_u64(struct rtd_block_buffer *buffer, uint64_t value);

/* Seven bits a byte, lowest first, bit 7 set in all but the last: 1 to 10 bytes. */
void rtd_block_buffer_put_varint(struct rtd_block_buffer *buffer, uint64_t value);

/* The same of a signed number: 0, -1, 1, -2, ... become 0, 1, 2, 3, ... */
void rtd_block_buffer_put_signed(struct rtd_block_buffer *buffer, int64_t value);
void rtd_block_buffer_put_f64(struct rtd_block_buffer *buffer, double value);
void rtd_block_buffer_put_f32(struct rtd_block_buffer *buffer, float value);

/* Length as u32, then the bytes without a terminator; cut to most bytes. */
void rtd_block_buffer_put_text(struct rtd_block_buffer *buffer, const char *text, size_t most);

/* Overwrites four bytes that were put before. */
void rtd_block_buffer_patch_u32(struct rtd_block_buffer *buffer, size_t offset, uint32_t value);

/* Plain little-endian access to memory of the caller. */
void rtd_bytes_store_u32(uint8_t *at, uint32_t value);
void rtd_bytes_store_u64(uint8_t *at, uint64_t value);
uint32_t rtd_bytes_load_u32(const uint8_t *at);
uint64_t rtd_bytes_load_u64(const uint8_t *at);

/* What is left to read; borrowed bytes. */
struct rtd_cursor {
    const uint8_t *at;
    size_t left;
    bool failed; /* more was asked for than there is; every later answer is 0 */
};

uint8_t rtd_cursor_get_u8(struct rtd_cursor *cursor);
uint32_t rtd_cursor_get_u32(struct rtd_cursor *cursor);
uint64_t rtd_cursor_get_u64(struct rtd_cursor *cursor);
uint64_t rtd_cursor_get_varint(struct rtd_cursor *cursor);
int64_t rtd_cursor_get_signed(struct rtd_cursor *cursor);
double rtd_cursor_get_f64(struct rtd_cursor *cursor);
float rtd_cursor_get_f32(struct rtd_cursor *cursor);

/* Borrows the next size bytes, NULL when there are fewer. */
const uint8_t *rtd_cursor_get_bytes(struct rtd_cursor *cursor, size_t size);

/* A text into a field of size bytes: cut, terminated, clean UTF-8, zero behind. */
void rtd_cursor_get_text(struct rtd_cursor *cursor, char *out, size_t size);

/* True when count records of size bytes each can still follow; else the cursor has failed. */
bool rtd_cursor_expect(struct rtd_cursor *cursor, uint32_t count, size_t size);

#endif
