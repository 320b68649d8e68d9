// SPDX-License-Identifier: Apache-2.0
/*
 * history_block.h - the frame of a recording: file header, block headers, checksums, compression.
 *
 * Runs in:    collector (writer), report (reader)
 * Threads:    no shared state
 * Allocates:  in the buffers it is given
 * Fails:      by a negative errno; -EBADMSG for bytes that are not what they should be
 *
 * docs/recording-format.md has the bytes and is normative.
 */
#ifndef RTD_HISTORY_BLOCK_H
#define RTD_HISTORY_BLOCK_H

#include "history/history_buffer.h"

#define RTD_RECORDING_MAGIC   "RIPTIDE1"
#define RTD_RECORDING_VERSION 2u                   /* 1 had types up to 10 and is read as well */
#define RTD_BLOCK_MAGIC       UINT32_C(0x4b425452) /* "RTBK" in file order */

enum {
    RTD_FILE_HEADER_BYTES = 64,
    RTD_BLOCK_HEADER_BYTES = 32,
    RTD_BLOCK_STORED_MAX = 256 << 20,
    RTD_BLOCK_PLAIN_MAX = 512 << 20,
    RTD_BLOCK_SYMBOL_TARGET = 4 << 20, /* a writer begins a new symbol block beyond this */
    RTD_BLOCK_SYMBOL_MAX = 32 << 20,
    RTD_SYMBOL_TEXT_MAX = 64 << 10,
    RTD_RECORDING_PROCESSES = 1 << 16,
};

enum rtd_block_type {
    RTD_BLOCK_META = 1,          /* replaces */
    RTD_BLOCK_MODULES = 2,       /* adds */
    RTD_BLOCK_TAGS = 3,          /* adds */
    RTD_BLOCK_NODES = 4,         /* adds */
    RTD_BLOCK_VALUES = 5,        /* replaces */
    RTD_BLOCK_STATE = 6,         /* replaces */
    RTD_BLOCK_MEMORY = 7,        /* replaces */
    RTD_BLOCK_SERIES = 8,        /* replaces */
    RTD_BLOCK_SYMBOLS = 9,       /* adds; process 0 */
    RTD_BLOCK_FINISH = 10,       /* process 0 */
    RTD_BLOCK_MAPS = 11,         /* replaces */
    RTD_BLOCK_EXACT_NODES = 12,  /* adds */
    RTD_BLOCK_EXACT_STATE = 13,  /* replaces, also all of type 14 before it */
    RTD_BLOCK_EXACT_DELTA = 14,  /* adds */
    RTD_BLOCK_EXACT_BLOCKS = 15, /* replaces */
    RTD_BLOCK_TYPES = 16,
};

enum { RTD_BLOCK_ZSTD = 1 }; /* flags */

enum { RTD_EXACT_VALUES = 4 }; /* figures that values have behind the losses in exact mode */

/* Entries of a symbol block, and how many modules one block may name. */
enum {
    RTD_SYMBOL_MARK_MODULE = 1,
    RTD_SYMBOL_MARK_ENTRY = 2,
    RTD_SYMBOL_BLOCK_MODULES = 256,
    RTD_SYMBOL_PATH_MAX = 4096,
};

/* Most bytes of a site's row in types 13 and 14: 5 + 13 fields of 10 and 16 of 5. */
enum { RTD_EXACT_ROW_MAX = 5 + 13 * 10 + 16 * 5 };

struct rtd_block_header {
    uint16_t type, flags;
    uint32_t process;
    uint32_t stored_bytes, plain_bytes;
    uint32_t lost_writes; /* by the writer, up to this block */
    uint32_t crc;
};

struct rtd_file_header {
    uint32_t version;
    uint64_t session, created_unix_ns;
};

void rtd_file_header_encode(const struct rtd_file_header *header,
                            uint8_t out[RTD_FILE_HEADER_BYTES]);

/* 0, -EBADMSG when it is not a recording, -ENOTSUP when a newer program made it. */
int rtd_file_header_decode(const uint8_t in[RTD_FILE_HEADER_BYTES], struct rtd_file_header *header);

/*
 * Appends one block to out: header with checksum, payload compressed when that helps. context is a
 * ZSTD_CCtx; lengths and flags of header are filled in. 0, -ENOMEM, -EFBIG.
 */
int rtd_block_append(struct rtd_block_buffer *out, struct rtd_block_header *header,
                     const struct rtd_block_buffer *payload, void *context);

/* Checks magic and lengths: 0 or -EBADMSG. The checksum needs the payload: rtd_block_crc(). */
int rtd_block_header_decode(const uint8_t in[RTD_BLOCK_HEADER_BYTES],
                            struct rtd_block_header *header);

/* Checksum of a block: its header up to the checksum, then the payload as stored. */
uint32_t rtd_block_crc(const uint8_t header[RTD_BLOCK_HEADER_BYTES], const uint8_t *stored,
                       size_t stored_bytes);

/* Most plain bytes that a block of this type may have. */
uint32_t rtd_block_plain_limit(uint16_t type);

/* True when a later block of this type and process replaces an earlier one. */
bool rtd_block_replaces(uint16_t type);

/*
 * The plain payload: stored itself or decompressed into scratch (replacing its contents); borrowed
 * from either. NULL with *err -EBADMSG or -ENOMEM.
 */
const uint8_t *rtd_block_payload(const struct rtd_block_header *header, const uint8_t *stored,
                                 struct rtd_block_buffer *scratch, int *err);

#endif
