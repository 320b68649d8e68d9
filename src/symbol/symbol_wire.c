// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_wire.c - the packets between the resolver and its worker.
 *
 * Runs in:    collector, symbol worker
 * Threads:    no state
 * Allocates:  never
 * Fails:      see the header
 */
#include "symbol/symbol_wire.h"

#include <errno.h>
#include <string.h>

struct record_head {
    uint32_t index, frame_count;
};

/* Lengths count the terminating zero, so that texts can be used where they lie. */
struct frame_head {
    uint32_t line, inlined, function_bytes, file_bytes;
};

static uint32_t text_bytes(const char *text)
{
    return (uint32_t)strnlen(text, RTD_SYMBOL_WIRE_TEXT_BYTES - 1) + 1;
}

static size_t frame_bytes(const struct rtd_symbol_frame *frame)
{
    return sizeof(struct frame_head) + text_bytes(frame->function) + text_bytes(frame->file);
}

static uint8_t *put_text(uint8_t *to, const char *text, uint32_t bytes)
{
    memcpy(to, text, bytes - 1);
    to[bytes - 1] = '\0';
    return to + bytes;
}

int rtd_symbol_wire_append(struct rtd_symbol_wire_answer *answer, uint32_t index,
                           const struct rtd_symbol_frame *frames, size_t frame_count)
{
    size_t bytes = sizeof(struct record_head), fitting = 0;

    while (fitting < frame_count && fitting < RTD_SYMBOL_FRAMES &&
           bytes + frame_bytes(&frames[fitting]) <= sizeof(answer->records))
        bytes += frame_bytes(&frames[fitting++]);
    if (bytes > sizeof(answer->records) - answer->bytes)
        return -ENOSPC;

    uint8_t *to = answer->records + answer->bytes;
    const struct record_head head = {index, (uint32_t)fitting};
    memcpy(to, &head, sizeof(head));
    to += sizeof(head);
    for (size_t i = 0; i < fitting; i++) {
        const struct frame_head frame = {frames[i].line, frames[i].inlined,
                                         text_bytes(frames[i].function),
                                         text_bytes(frames[i].file)};

        memcpy(to, &frame, sizeof(frame));
        to = put_text(to + sizeof(frame), frames[i].function, frame.function_bytes);
        to = put_text(to, frames[i].file, frame.file_bytes);
    }
    answer->bytes += (uint32_t)bytes;
    return 0;
}

/* Takes a text of `bytes` out of the records; NULL when that is not what is there. */
static const char *take_text(uint8_t **at, const uint8_t *end, uint32_t bytes)
{
    char *text = (char *)*at;

    if (bytes == 0 || bytes > RTD_SYMBOL_WIRE_TEXT_BYTES || bytes > (size_t)(end - *at) ||
        text[bytes - 1] != '\0')
        return NULL;
    *at += bytes;
    return text;
}

static int take_frame(uint8_t **at, const uint8_t *end, struct rtd_symbol_frame *out)
{
    struct frame_head head;

    if ((size_t)(end - *at) < sizeof(head))
        return -EPROTO;
    memcpy(&head, *at, sizeof(head));
    *at += sizeof(head);
    out->function = take_text(at, end, head.function_bytes);
    if (!out->function)
        return -EPROTO;
    out->file = take_text(at, end, head.file_bytes);
    out->line = head.line;
    out->inlined = head.inlined == 1;
    return out->file && head.inlined <= 1 ? 0 : -EPROTO;
}

int rtd_symbol_wire_walk(struct rtd_symbol_wire_answer *answer, uint32_t index_count,
                         rtd_symbol_wire_callback callback, void *context)
{
    struct rtd_symbol_frame frames[RTD_SYMBOL_FRAMES];

    if (answer->bytes > sizeof(answer->records))
        return -EPROTO;
    uint8_t *at = answer->records;
    const uint8_t *const end = at + answer->bytes;
    while (at < end) {
        struct record_head head;

        if ((size_t)(end - at) < sizeof(head))
            return -EPROTO;
        memcpy(&head, at, sizeof(head));
        at += sizeof(head);
        if (head.index >= index_count || head.frame_count > RTD_SYMBOL_FRAMES)
            return -EPROTO;
        for (uint32_t i = 0; i < head.frame_count; i++)
            if (take_frame(&at, end, &frames[i]) < 0)
                return -EPROTO;
        callback(context, head.index, frames, head.frame_count);
    }
    return 0;
}
