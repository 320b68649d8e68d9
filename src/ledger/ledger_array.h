// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_array.h - arrays of an image, which grow and go as a whole.
 *
 * Runs in:    collector, report, tests, a program that links libriptide
 * Threads:    no shared state
 * Allocates:  small arrays from the heap, large ones as mappings
 * Fails:      by NULL
 *
 * Why not the heap for all: in a service that looks at itself images come and go, and an allocator
 * keeps in each thread's arena much of what it once had. Why not a mapping for all: a run may leave
 * hundreds of images, mostly small ones, and the kernel limits the number of mappings.
 */
#ifndef RTD_LEDGER_ARRAY_H
#define RTD_LEDGER_ARRAY_H

#include <stddef.h>

/*
 * The array with new_bytes (> 0, more than before), what is added all zero. `array` of old_bytes is
 * of this function, or NULL of 0, and no longer valid. NULL when memory is short: then it still is.
 */
void *rtd_array_grow(void *array, size_t old_bytes, size_t new_bytes);

/* bytes: as it was last grown to. NULL is allowed. */
void rtd_array_free(void *array, size_t bytes);

#endif
