// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_image.h - one module opened for questions: its file, its debug file, their index.
 *
 * Runs in:    symbol worker
 * Threads:    one
 * Allocates:  what libelf and libdw need
 * Fails:      with -ENOEXEC (no ELF file), -EBADMSG (another build id), -ENOMEM; a debug file that
 *             is not right is left aside
 */
#ifndef RTD_SYMBOL_IMAGE_H
#define RTD_SYMBOL_IMAGE_H

#include "symbol/symbol_dwarf.h"
#include "symbol/symbol_lookup.h"
#include "symbol/symbol_wire.h"

#include <stdbool.h>
#include <stdint.h>

struct rtd_symbol_image {
    int fds[RTD_SYMBOL_FILE_COUNT]; /* owned; -1 for none */
    Elf *elves[RTD_SYMBOL_FILE_COUNT];
    Dwarf *dwarf, *alt;
    struct rtd_symbol_dwarf *index; /* NULL: no debug information */
};

/* How to open a module; the build id is borrowed for the call, with length 0 every file fits. */
struct rtd_symbol_image_options {
    const uint8_t *build_id;
    size_t build_id_bytes;
    bool names_only; /* leave debug information aside */
};

/*
 * Opens a module from its descriptors, which become the image's, also on failure. 0 or negative
 * errno; the image is then empty.
 */
int rtd_symbol_image_open(struct rtd_symbol_image *image, const int fds[RTD_SYMBOL_FILE_COUNT],
                          const struct rtd_symbol_image_options *options);

/* Closes everything; an image that is all zero with descriptors -1 is allowed. */
void rtd_symbol_image_close(struct rtd_symbol_image *image);

/* Called once for each address; frames are borrowed for the call. */
typedef void (*rtd_symbol_image_callback)(void *context, uint32_t index,
                                          const struct rtd_symbol_frame *frames,
                                          size_t frame_count);

/*
 * Finds the frames of the matches (sorted by offset, otherwise fresh), debug information first,
 * then symbols.
 */
void rtd_symbol_image_frames(struct rtd_symbol_image *image, struct rtd_symbol_match *matches,
                             size_t count, rtd_symbol_image_callback callback, void *context);

#endif
