// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_image.h - finds the CFI program that covers one pc inside a mapped object.
 *
 * Runs in:    agent (slow path, first sight of a pc), tests, fuzzers
 * Threads:    no state; the object must stay mapped during the call
 * Allocates:  never; no lock, no syscall
 * Fails:      with -ENOENT (nothing covers the pc) or -EBADMSG (malformed); reads only the image
 *
 * Why an image and not the whole object: between the segments of an object there may be holes that
 * fault, so every read is confined to the one readable segment that holds .eh_frame_hdr.
 */
#ifndef RTD_AGENT_UNWIND_IMAGE_H
#define RTD_AGENT_UNWIND_IMAGE_H

#include <stdbool.h>

#include "base/base_macros.h"

/* Readable bytes [low, high) with an .eh_frame_hdr at header. Borrowed, never written. */
struct rtd_unwind_image {
    const uint8_t *low;
    const uint8_t *high;
    const uint8_t *header;
};

/* The two instruction sequences that describe one function, and how to read them. */
struct rtd_unwind_program {
    const uint8_t *initial; /* the CIE's instructions: [initial, initial_end) */
    const uint8_t *initial_end;
    const uint8_t *body; /* the FDE's instructions: [body, body_end) */
    const uint8_t *body_end;
    uintptr_t pc_begin; /* the function's first byte */
    uint8_t code_align;
    int8_t data_align;
    uint8_t pointer_encoding; /* DW_EH_PE_* of DW_CFA_set_loc operands */
    bool is_signal_frame;     /* augmentation 'S' */
};

/*
 * Finds the loaded object that holds pc and the segment with its unwind tables. Returns 0, or
 * -ENOENT when pc lies in no object or the object has no tables. Any thread, also in a signal
 * handler: the only call is _dl_find_object(), which is lock-free.
 */
int rtd_unwind_image_find(uintptr_t pc, struct rtd_unwind_image *image);

/* Finds the function that covers pc in image's tables. Returns 0, -ENOENT or -EBADMSG. */
int rtd_unwind_image_lookup(const struct rtd_unwind_image *image, uintptr_t pc,
                            struct rtd_unwind_program *program);

#endif
