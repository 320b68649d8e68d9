// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_array.c - arrays of an image, which grow and go as a whole.
 *
 * Runs in:    collector, report, tests, a program that links libriptide
 * Threads:    no shared state
 * Allocates:  see the header
 * Fails:      by NULL
 */
#include "ledger/ledger_array.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAPPED_BYTES = 64 << 10 };

static bool is_mapped(size_t bytes)
{
    return bytes >= MAPPED_BYTES;
}

static void *map(size_t bytes)
{
    void *const array =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return array == MAP_FAILED ? NULL : array;
}

static void *remap(void *array, size_t old_bytes, size_t new_bytes)
{
    void *const grown = mremap(array, old_bytes, new_bytes, MREMAP_MAYMOVE);

    return grown == MAP_FAILED ? NULL : grown;
}

/* From the heap, or from the heap to a mapping. */
static void *grow_small(void *array, size_t old_bytes, size_t new_bytes)
{
    char *const grown = is_mapped(new_bytes) ? map(new_bytes) : calloc(1, new_bytes);

    if (grown && array) {
        memcpy(grown, array, old_bytes);
        free(array);
    }
    return grown;
}

void *rtd_array_grow(void *array, size_t old_bytes, size_t new_bytes)
{
    return array && is_mapped(old_bytes) ? remap(array, old_bytes, new_bytes)
                                         : grow_small(array, old_bytes, new_bytes);
}

void rtd_array_free(void *array, size_t bytes)
{
    if (array && is_mapped(bytes))
        (void)munmap(array, bytes);
    else
        free(array);
}
