// SPDX-License-Identifier: Apache-2.0
/*
 * agent_raise.c - see agent_raise.h.
 *
 * Runs in:    agent, any thread
 * Threads:    the saved pointers are written once
 * Allocates:  what the program asked for
 * Fails:      as the real function does
 */
#include "agent/agent_raise.h"

#include "agent/agent_real.h"
#include "ledger/ledger_exact.h"

#include <stdatomic.h>

#include "agent/agent_only.h"

enum { LEAST_BYTES = 1 << RTD_SHADOW_GRANULE_SHIFT };

static struct rtd_real behind;

static size_t raised(size_t size)
{
    return size < LEAST_BYTES ? LEAST_BYTES : size;
}

static void *raise_malloc(size_t size)
{
    return behind.malloc(raised(size));
}

static void *raise_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes >= LEAST_BYTES)
        return behind.calloc(count, size);
    return behind.calloc(1, LEAST_BYTES);
}

/* Size 0 keeps its meaning: some free the block then. */
static void *raise_realloc(void *p, size_t size)
{
    return behind.realloc(p, size != 0 || p == NULL ? raised(size) : 0);
}

/* What becomes of an alignment that is none may depend on the size. */
static void *raise_memalign(size_t alignment, size_t size)
{
    const bool is_alignment = alignment != 0 && (alignment & (alignment - 1)) == 0;
    return behind.memalign(alignment, is_alignment ? raised(size) : size);
}

static void *raise_aligned_alloc(size_t alignment, size_t size)
{
    /* The size stays a multiple of the alignment where the allocator insists on it. */
    const bool fits = alignment != 0 && LEAST_BYTES % alignment == 0;
    return behind.aligned_alloc(alignment, fits ? raised(size) : size);
}

static int raise_posix_memalign(void **out, size_t alignment, size_t size)
{
    return behind.posix_memalign(out, alignment, raised(size));
}

/* A small block may be raised, or be from before: an allocator that believes a size must not get
 * one. */
static void raise_free_sized(void *p, size_t size)
{
    if (size < LEAST_BYTES)
        behind.free(p);
    else
        behind.free_sized(p, size);
}

static void raise_free_aligned_sized(void *p, size_t alignment, size_t size)
{
    if (size < LEAST_BYTES)
        behind.free(p);
    else
        behind.free_aligned_sized(p, alignment, size);
}

void rtd_raise_begin(void)
{
    if (rtd_real.malloc == raise_malloc)
        return;
    behind = rtd_real;
    /* Other threads may be running: who is led here finds what is behind. */
    atomic_thread_fence(memory_order_release);
    rtd_real.malloc = raise_malloc;
    rtd_real.calloc = raise_calloc;
    rtd_real.realloc = raise_realloc;
    rtd_real.memalign = raise_memalign;
    rtd_real.aligned_alloc = raise_aligned_alloc;
    rtd_real.posix_memalign = raise_posix_memalign;
    rtd_real.free_sized = raise_free_sized;
    rtd_real.free_aligned_sized = raise_free_aligned_sized;
}
