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

#include <errno.h>
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

/*
 * Size 0 keeps its meaning: some allocators free the block then. Those that give one of no bytes
 * for it (mimalloc; jemalloc with zero_realloc:alloc) would give the least they have, so it is
 * asked to grow before anyone is told of it. Only where there is no memory for that it stays as it
 * is, and may share its granule.
 */
static void *raise_realloc(void *p, size_t size)
{
    if (p == NULL || size != 0)
        return behind.realloc(p, raised(size));
    void *const least = behind.realloc(p, 0);
    if (least == NULL)
        return NULL;
    const int saved = errno;
    void *const grown = behind.realloc(least, LEAST_BYTES);
    errno = saved;
    return grown != NULL ? grown : least;
}

/* What becomes of an alignment that is none may depend on the size (mimalloc: memalign(0, 10)). */
static bool is_alignment(size_t alignment)
{
    return alignment != 0 && (alignment & (alignment - 1)) == 0;
}

static void *raise_memalign(size_t alignment, size_t size)
{
    return behind.memalign(alignment, is_alignment(alignment) ? raised(size) : size);
}

/* Some allocators refuse a size that is no multiple of the alignment: what was one stays one. */
static void *raise_aligned_alloc(size_t alignment, size_t size)
{
    if (!is_alignment(alignment))
        return behind.aligned_alloc(alignment, size);
    /* Of one above LEAST_BYTES no size below is a multiple but 0. */
    const bool is_none = size == 0 && alignment > LEAST_BYTES;
    return behind.aligned_alloc(alignment, is_none ? alignment : raised(size));
}

static int raise_posix_memalign(void **out, size_t alignment, size_t size)
{
    return behind.posix_memalign(out, alignment, raised(size));
}

static void *raise_valloc(size_t size)
{
    return behind.valloc(raised(size));
}

static void *raise_pvalloc(size_t size)
{
    return behind.pvalloc(raised(size));
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
    rtd_real.valloc = raise_valloc;
    rtd_real.pvalloc = raise_pvalloc;
    rtd_real.free_sized = raise_free_sized;
    rtd_real.free_aligned_sized = raise_free_aligned_sized;
}
