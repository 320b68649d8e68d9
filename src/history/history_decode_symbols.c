// SPDX-License-Identifier: Apache-2.0
/*
 * history_decode_symbols.c - the symbol blocks of a recording.
 *
 * Runs in:    report
 * Threads:    no shared state
 * Allocates:  in the symbol table, and one text buffer while a block is read
 * Fails:      -EBADMSG for a payload that is not what its type says, -ENOMEM
 */
#include "history/history_decode.h"

#include "history/history_block.h"
#include "ledger/ledger_validity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A block being read; texts keeps every string of the current entry, and the modules' for good. */
struct symbol_reading {
    struct rtd_symbol_table *table;
    struct rtd_cursor *in;
    uint32_t module_count;
    struct {
        char path[RTD_SYMBOL_PATH_MAX + 1];
        uint8_t build_id[RTD_SYMBOL_BUILD_ID_BYTES];
        uint32_t build_id_bytes;
    } modules[RTD_SYMBOL_BLOCK_MODULES];
    struct rtd_symbol_frame frames[RTD_SYMBOL_FRAMES];
    size_t text_at[RTD_SYMBOL_FRAMES][2];
    struct rtd_block_buffer texts;
};

static int read_module(struct symbol_reading *reading)
{
    if (reading->module_count == RTD_SYMBOL_BLOCK_MODULES) {
        return -EBADMSG;
    }
    const uint32_t index = reading->module_count;
    rtd_cursor_get_text(reading->in, reading->modules[index].path,
                        sizeof(reading->modules[index].path));
    const uint32_t size = rtd_cursor_get_u32(reading->in);
    const uint8_t *const build_id = rtd_cursor_get_bytes(reading->in, size);
    if (build_id == NULL || size > RTD_SYMBOL_BUILD_ID_BYTES) {
        return -EBADMSG;
    }
    memcpy(reading->modules[index].build_id, build_id, size);
    reading->modules[index].build_id_bytes = size;
    reading->module_count++;
    return 0;
}

/* Copies the next text behind those of the entry, terminated and clean; its place, or an error. */
static int read_text(struct symbol_reading *reading, size_t *place)
{
    const uint32_t length = rtd_cursor_get_u32(reading->in);

    if (length > RTD_SYMBOL_TEXT_MAX) {
        return -EBADMSG;
    }
    const uint8_t *const bytes = rtd_cursor_get_bytes(reading->in, length);
    if (bytes == NULL) {
        return -EBADMSG;
    }
    *place = reading->texts.length;
    rtd_block_buffer_put_bytes(&reading->texts, bytes, length);
    rtd_block_buffer_put_u8(&reading->texts, 0);
    if (reading->texts.failed) {
        return -ENOMEM;
    }
    (void)rtd_validity_clean_text((char *)reading->texts.bytes + *place, (size_t)length + 1);
    return 0;
}

static int read_frames(struct symbol_reading *reading, uint32_t count)
{
    rtd_block_buffer_clear(&reading->texts);
    for (uint32_t i = 0; i < count; i++) {
        int error = read_text(reading, &reading->text_at[i][0]);
        error = error != 0 ? error : read_text(reading, &reading->text_at[i][1]);
        if (error != 0) {
            return error;
        }
        reading->frames[i].line = rtd_cursor_get_u32(reading->in);
        reading->frames[i].inlined = rtd_cursor_get_u8(reading->in) != 0;
    }
    /* Only now, for the buffer moves while it grows. */
    for (uint32_t i = 0; i < count; i++) {
        reading->frames[i].function = (const char *)reading->texts.bytes + reading->text_at[i][0];
        reading->frames[i].file = (const char *)reading->texts.bytes + reading->text_at[i][1];
    }
    return reading->in->failed ? -EBADMSG : 0;
}

static int read_entry(struct symbol_reading *reading)
{
    const uint32_t index = rtd_cursor_get_u32(reading->in);
    const uint64_t offset = rtd_cursor_get_u64(reading->in);
    const uint32_t count = rtd_cursor_get_u32(reading->in);

    if (reading->in->failed || index >= reading->module_count || count > RTD_SYMBOL_FRAMES) {
        return -EBADMSG;
    }
    int error = read_frames(reading, count);
    if (error != 0) {
        return error;
    }
    const struct rtd_symbol_module module = {
        .path = reading->modules[index].path,
        .build_id = reading->modules[index].build_id,
        .build_id_bytes = reading->modules[index].build_id_bytes,
    };
    error = rtd_symbol_table_add(reading->table, &module, offset, reading->frames, count);
    return error == -ENOMEM ? error : 0;
}

int rtd_decode_symbols(struct rtd_symbol_table *table, struct rtd_cursor *in)
{
    struct symbol_reading *const reading = calloc(1, sizeof(*reading));
    int error = 0;

    if (reading == NULL) {
        return -ENOMEM;
    }
    reading->table = table;
    reading->in = in;
    while (error == 0 && in->left != 0) {
        switch (rtd_cursor_get_u8(in)) {
        case RTD_SYMBOL_MARK_MODULE:
            error = read_module(reading);
            break;
        case RTD_SYMBOL_MARK_ENTRY:
            error = read_entry(reading);
            break;
        default:
            error = -EBADMSG;
        }
    }
    rtd_block_buffer_fini(&reading->texts);
    free(reading);
    return error;
}
