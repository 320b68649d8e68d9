// SPDX-License-Identifier: Apache-2.0
/*
 * history_block.c - the frame of a recording.
 *
 * Runs in:    collector (writer), report (reader)
 * Threads:    no shared state
 * Allocates:  in the buffers it is given
 * Fails:      by a negative errno
 */
#include "history/history_block.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "analyze/analyze_input.h"

enum { COMPRESSION_LEVEL = 1, COMPRESSION_LEAST_BYTES = 128 };

static uint32_t crc_add(uint32_t crc, const uint8_t *bytes, size_t size)
{
    return (uint32_t)crc32_z(crc, bytes, size);
}

void rtd_file_header_encode(const struct rtd_file_header *header,
                            uint8_t out[RTD_FILE_HEADER_BYTES])
{
    memset(out, 0, RTD_FILE_HEADER_BYTES);
    memcpy(out, RTD_RECORDING_MAGIC, 8);
    rtd_bytes_store_u32(out + 8, header->version);
    rtd_bytes_store_u32(out + 12, RTD_FILE_HEADER_BYTES);
    rtd_bytes_store_u64(out + 16, header->session);
    rtd_bytes_store_u64(out + 24, header->created_unix_ns);
    rtd_bytes_store_u32(out + 60, crc_add(0, out, 60));
}

int rtd_file_header_decode(const uint8_t in[RTD_FILE_HEADER_BYTES], struct rtd_file_header *header)
{
    if (memcmp(in, RTD_RECORDING_MAGIC, 8) != 0) {
        return -EBADMSG;
    }
    header->version = rtd_bytes_load_u32(in + 8);
    if (rtd_bytes_load_u32(in + 60) != crc_add(0, in, 60)) {
        return -EBADMSG;
    }
    if (header->version == 0 || header->version > RTD_RECORDING_VERSION ||
        rtd_bytes_load_u32(in + 12) != RTD_FILE_HEADER_BYTES) {
        return -ENOTSUP;
    }
    header->session = rtd_bytes_load_u64(in + 16);
    header->created_unix_ns = rtd_bytes_load_u64(in + 24);
    return 0;
}

/* Puts the payload behind the space of the header, in the shorter of its two forms. */
static int append_payload(struct rtd_block_buffer *out, struct rtd_block_header *header,
                          const struct rtd_block_buffer *payload, void *context)
{
    if (payload->length >= COMPRESSION_LEAST_BYTES) {
        const size_t bound = ZSTD_compressBound(payload->length);
        uint8_t *const at = rtd_block_buffer_reserve(out, bound);
        if (at == NULL) {
            return -ENOMEM;
        }
        const size_t size = ZSTD_compressCCtx(context, at, bound, payload->bytes, payload->length,
                                              COMPRESSION_LEVEL);
        if (!ZSTD_isError(size) && size < payload->length - payload->length / 16) {
            header->flags |= RTD_BLOCK_ZSTD;
            header->stored_bytes = (uint32_t)size;
            out->length += size;
            return 0;
        }
    }
    header->stored_bytes = (uint32_t)payload->length;
    rtd_block_buffer_put_bytes(out, payload->bytes, payload->length);
    return out->failed ? -ENOMEM : 0;
}

int rtd_block_append(struct rtd_block_buffer *out, struct rtd_block_header *header,
                     const struct rtd_block_buffer *payload, void *context)
{
    const size_t start = out->length;

    if (payload->failed) {
        return -ENOMEM;
    }
    if (payload->length > rtd_block_plain_limit(header->type)) {
        return -EFBIG;
    }
    header->flags = 0;
    header->plain_bytes = (uint32_t)payload->length;
    if (rtd_block_buffer_reserve(out, RTD_BLOCK_HEADER_BYTES) == NULL) {
        return -ENOMEM;
    }
    out->length += RTD_BLOCK_HEADER_BYTES;
    const int error = append_payload(out, header, payload, context);
    if (error != 0) {
        return error;
    }
    uint8_t *const at = out->bytes + start;
    memset(at, 0, RTD_BLOCK_HEADER_BYTES);
    rtd_bytes_store_u32(at, RTD_BLOCK_MAGIC);
    rtd_bytes_store_u32(at + 4, header->type | (uint32_t)header->flags << 16);
    rtd_bytes_store_u32(at + 8, header->process);
    rtd_bytes_store_u32(at + 12, header->stored_bytes);
    rtd_bytes_store_u32(at + 16, header->plain_bytes);
    rtd_bytes_store_u32(at + 20, header->lost_writes);
    header->crc = rtd_block_crc(at, at + RTD_BLOCK_HEADER_BYTES, header->stored_bytes);
    rtd_bytes_store_u32(at + 28, header->crc);
    return 0;
}

int rtd_block_header_decode(const uint8_t in[RTD_BLOCK_HEADER_BYTES],
                            struct rtd_block_header *header)
{
    const uint32_t kind = rtd_bytes_load_u32(in + 4);

    *header = (struct rtd_block_header){
        .type = (uint16_t)kind,
        .flags = (uint16_t)(kind >> 16),
        .process = rtd_bytes_load_u32(in + 8),
        .stored_bytes = rtd_bytes_load_u32(in + 12),
        .plain_bytes = rtd_bytes_load_u32(in + 16),
        .lost_writes = rtd_bytes_load_u32(in + 20),
        .crc = rtd_bytes_load_u32(in + 28),
    };
    if (rtd_bytes_load_u32(in) != RTD_BLOCK_MAGIC || header->stored_bytes > RTD_BLOCK_STORED_MAX ||
        header->stored_bytes > header->plain_bytes ||
        header->plain_bytes > rtd_block_plain_limit(header->type)) {
        return -EBADMSG;
    }
    return 0;
}

uint32_t rtd_block_crc(const uint8_t header[RTD_BLOCK_HEADER_BYTES], const uint8_t *stored,
                       size_t stored_bytes)
{
    return crc_add(crc_add(0, header, 28), stored, stored_bytes);
}

uint32_t rtd_block_plain_limit(uint16_t type)
{
    switch (type) {
    case RTD_BLOCK_META:
    case RTD_BLOCK_VALUES:
    case RTD_BLOCK_FINISH:
        return 16 << 10;
    case RTD_BLOCK_MODULES:
    case RTD_BLOCK_TAGS:
    case RTD_BLOCK_MEMORY:
    case RTD_BLOCK_SERIES:
        return 1 << 20;
    case RTD_BLOCK_NODES:
    case RTD_BLOCK_STATE:
        return 4 << 20;
    case RTD_BLOCK_MAPS:
        return 16 << 20;
    case RTD_BLOCK_EXACT_NODES:
        return 48 << 20;
    case RTD_BLOCK_EXACT_STATE:
    case RTD_BLOCK_EXACT_DELTA:
        return 64 << 20;
    case RTD_BLOCK_EXACT_BLOCKS:
        return 1 << 20;
    case RTD_BLOCK_SYMBOLS:
        return RTD_BLOCK_SYMBOL_MAX;
    default:
        return RTD_BLOCK_PLAIN_MAX;
    }
}

RTD_STATIC_ASSERT(RTD_SITE_COUNT * 160 + RTD_SAMPLE_CAPACITY * 32 + 64 <= 4 << 20, "state");
RTD_STATIC_ASSERT(RTD_NODE_COUNT * 12 + 4 <= 4 << 20, "nodes");
/* The longest varints: 4 bytes for 28 bits, 7 for the 48 of a signed difference of addresses. */
RTD_STATIC_ASSERT(RTD_EXACT_NODE_COUNT * 15 + 4 <= 48 << 20, "exact nodes");
RTD_STATIC_ASSERT(RTD_EXACT_SITE_COUNT *RTD_EXACT_ROW_MAX + 8 <= 64 << 20, "exact state");
RTD_STATIC_ASSERT(RTD_SAMPLE_CAPACITY * 30 + 12 <= 1 << 20, "exact blocks");
RTD_STATIC_ASSERT(RTD_MODULE_COUNT * 400 <= 1 << 20, "modules");
RTD_STATIC_ASSERT(RTD_SERIES_ROWS *(8 + 4 * RTD_SERIES_POINTS) + 1024 <= 1 << 20, "series");
RTD_STATIC_ASSERT(RTD_POINT_MAX * 24 + 256 <= 1 << 20, "memory and points");

bool rtd_block_replaces(uint16_t type)
{
    switch (type) {
    case RTD_BLOCK_META:
    case RTD_BLOCK_VALUES:
    case RTD_BLOCK_STATE:
    case RTD_BLOCK_MEMORY:
    case RTD_BLOCK_SERIES:
    case RTD_BLOCK_MAPS:
    case RTD_BLOCK_EXACT_STATE:
    case RTD_BLOCK_EXACT_BLOCKS:
        return true;
    default:
        return false;
    }
}

const uint8_t *rtd_block_payload(const struct rtd_block_header *header, const uint8_t *stored,
                                 struct rtd_block_buffer *scratch, int *err)
{
    *err = -EBADMSG;
    if ((header->flags & ~RTD_BLOCK_ZSTD) != 0) {
        return NULL;
    }
    if ((header->flags & RTD_BLOCK_ZSTD) == 0) {
        return header->stored_bytes == header->plain_bytes ? stored : NULL;
    }
    /* The frame's own idea of its size is compared first: no memory for a lie. */
    if (ZSTD_getFrameContentSize(stored, header->stored_bytes) != header->plain_bytes) {
        return NULL;
    }
    rtd_block_buffer_clear(scratch);
    uint8_t *const at = rtd_block_buffer_reserve(scratch, header->plain_bytes);
    if (at == NULL) {
        *err = -ENOMEM;
        return NULL;
    }
    const size_t size = ZSTD_decompress(at, header->plain_bytes, stored, header->stored_bytes);
    return size == header->plain_bytes ? at : NULL;
}
