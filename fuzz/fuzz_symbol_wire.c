// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_symbol_wire.c - the resolver's reading of what a worker that was taken over might send.
 *
 * Runs in:    fuzzer
 * Threads:    one
 * Allocates:  a copy of exactly the packet's size, so that a sanitizer sees one byte too many
 * Fails:      by crashing, which is the finding
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "symbol/symbol_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void look(void *context, uint32_t index, const struct rtd_symbol_frame *frames,
                 size_t frame_count)
{
    size_t *text_bytes = context;

    if (index >= 1000 || frame_count > RTD_SYMBOL_FRAMES)
        abort();
    for (size_t i = 0; i < frame_count; i++)
        *text_bytes += strlen(frames[i].function) + strlen(frames[i].file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const size_t head_bytes = offsetof(struct rtd_symbol_wire_answer, records);
    size_t text_bytes = 0;

    if (bytes > RTD_SYMBOL_WIRE_BYTES)
        return 0;
    struct rtd_symbol_wire_answer *answer = calloc(1, head_bytes + bytes);
    if (!answer)
        return 0;
    memcpy(answer->records, data, bytes);
    answer->bytes = (uint32_t)bytes;
    (void)rtd_symbol_wire_walk(answer, 1000, look, &text_bytes);
    free(answer);
    return 0;
}
