// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_symbol_elf.c - the bounded ELF reader on arbitrary files.
 *
 * Runs in:    fuzzer
 * Threads:    one
 * Allocates:  a memory file
 * Fails:      by crashing, which is the finding
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symbol/symbol_elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct rtd_symbol_elf elf;
    const int fd = memfd_create("elf", MFD_CLOEXEC);
    char path[64];

    if (fd < 0)
        return 0;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (write(fd, data, bytes) == (ssize_t)bytes && rtd_symbol_elf_inspect(path, &elf) == 0) {
        if (elf.build_id_bytes > RTD_SYMBOL_BUILD_ID_BYTES ||
            strlen(elf.build_id_hex) != 2 * elf.build_id_bytes ||
            !memchr(elf.interpreter, 0, sizeof(elf.interpreter)))
            abort();
    }
    (void)close(fd);
    return 0;
}
