/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager_sized.h - the size and the alignment of a record in one word.
 *
 * Runs in:    a program that links libriptide
 * Threads:    pure functions
 * Allocates:  never
 * Fails:      never
 *
 * Tables of blocks are what most of the memory goes to: an alignment, a power of two, is kept as
 * one more than its logarithm in the byte that no size needs.
 */
#ifndef RTD_MANAGER_SIZED_H
#define RTD_MANAGER_SIZED_H

#include <stdint.h>

/* size_bytes is at most RTD_RECORDS_SIZE_LIMIT; alignment a power of two, or 0: not known. */
static inline uint64_t rtd_sized_of(uint64_t size_bytes, uint64_t alignment)
{
    const uint64_t power = alignment ? 1u + (unsigned)__builtin_ctzll(alignment) : 0;
    return size_bytes << 8 | power;
}

static inline uint64_t rtd_sized_bytes(uint64_t sized)
{
    return sized >> 8;
}

/* log2 + 1 of the alignment, 0: not known; as struct rtd_image_sample has it. */
static inline uint8_t rtd_sized_alignment_log(uint64_t sized)
{
    return (uint8_t)sized;
}

#endif
