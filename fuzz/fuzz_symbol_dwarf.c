// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_symbol_dwarf.c - the worker's side on arbitrary files, without the process around it.
 *
 * Runs in:    fuzzer
 * Threads:    one
 * Allocates:  a memory file, and what libelf and libdw need
 * Fails:      by crashing; a finding inside libelf or libdw costs RipTide one module, so only those
 *             in our own frames are ours to repair
 *
 * The first eight bytes are the address that is asked, the rest is the file.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symbol/symbol_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void look(void *context, uint32_t index, const struct rtd_symbol_frame *frames,
                 size_t frame_count)
{
    size_t *text_bytes = context;

    (void)index;
    for (size_t i = 0; i < frame_count; i++)
        *text_bytes += strlen(frames[i].function) + strlen(frames[i].file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct rtd_symbol_image_options options = {.names_only = false};
    struct rtd_symbol_match matches[2] = {{.index = 0}, {.index = 1}};
    struct rtd_symbol_image image;
    uint64_t address;
    size_t text_bytes = 0;

    if (bytes < sizeof(address) || elf_version(EV_CURRENT) == EV_NONE)
        return 0;
    memcpy(&address, data, sizeof(address));
    const int fds[RTD_SYMBOL_FILE_COUNT] = {memfd_create("elf", MFD_CLOEXEC), -1, -1};
    if (fds[0] < 0)
        return 0;
    const size_t file_bytes = bytes - sizeof(address);
    if (write(fds[0], data + sizeof(address), file_bytes) != (ssize_t)file_bytes) {
        (void)close(fds[0]);
        return 0;
    }
    if (rtd_symbol_image_open(&image, fds, &options) == 0) {
        matches[0].offset = address;
        matches[1].offset = address < UINT64_MAX - 64 ? address + 64 : address;
        rtd_symbol_image_frames(&image, matches, 2, look, &text_bytes);
        rtd_symbol_image_close(&image);
    }
    return 0;
}
