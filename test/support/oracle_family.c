// SPDX-License-Identifier: Apache-2.0
/*
 * oracle_family.c - see oracle_family.h.
 *
 * Runs in:    the observed program of a test
 * Threads:    any
 * Allocates:  never
 * Fails:      by aborting
 */
#include "oracle_family.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define CALLER __builtin_return_address(0)

enum { BOOT_BYTES = 1 << 16, PAGE_BYTES = 4096 };

void cfree(void *address);
void free_sized(void *address, size_t size);
void free_aligned_sized(void *address, size_t alignment, size_t size);

static struct {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    bool ready;
    bool resolving;
} real;

/* dlsym may allocate before the real functions are known: this feeds it. Never given back. */
static _Alignas(64) char boot_memory[BOOT_BYTES];
static size_t boot_used;

static void *boot_allocate(size_t size, size_t alignment)
{
    const size_t start = (boot_used + alignment - 1) & ~(alignment - 1);
    if (size > BOOT_BYTES || start > BOOT_BYTES - size)
        abort();
    boot_used = start + size;
    return boot_memory + start;
}

static bool is_boot(const void *address)
{
    const uintptr_t at = (uintptr_t)address;
    return at >= (uintptr_t)boot_memory && at < (uintptr_t)boot_memory + BOOT_BYTES;
}

void oracle_find(void *slot, void *handle, const char *name)
{
    /* A function pointer may not be converted from void * in ISO C; the bytes are the same. */
    void *const symbol = dlsym(handle, name);
    memcpy(slot, &symbol, sizeof symbol);
}

bool oracle_resolve(void)
{
    if (real.ready || real.resolving)
        return real.ready;
    real.resolving = true;
    oracle_find(&real.malloc, RTLD_NEXT, "malloc");
    oracle_find(&real.free, RTLD_NEXT, "free");
    oracle_find(&real.calloc, RTLD_NEXT, "calloc");
    oracle_find(&real.realloc, RTLD_NEXT, "realloc");
    oracle_find(&real.memalign, RTLD_NEXT, "memalign");
    oracle_find(&real.posix_memalign, RTLD_NEXT, "posix_memalign");
    oracle_find(&real.aligned_alloc, RTLD_NEXT, "aligned_alloc");
    oracle_find(&real.valloc, RTLD_NEXT, "valloc");
    oracle_find(&real.pvalloc, RTLD_NEXT, "pvalloc");
    oracle_settings();
    real.ready = true;
    return true;
}

static void *move_from_boot(void *address, size_t size, const void *caller)
{
    void *const fresh = real.ready ? real.malloc(size) : boot_allocate(size, 16);
    if (fresh != NULL && address != NULL) {
        const size_t left = (size_t)(boot_memory + BOOT_BYTES - (char *)address);
        memcpy(fresh, address, size < left ? size : left);
    }
    if (real.ready)
        oracle_birth(fresh, size, caller);
    return fresh;
}

static void *resize(void *address, size_t size, const void *caller)
{
    if (!oracle_resolve() || is_boot(address))
        return move_from_boot(address, size, caller);
    const struct oracle_block old = oracle_death(address);
    void *const fresh = real.realloc(address, size);
    if (fresh != NULL)
        oracle_birth(fresh, size, caller);
    else if (size != 0 && address != NULL)
        oracle_survival(&old);
    return fresh;
}

/* Not the public free(), which is the agent's: it would count twice. */
static void release(void *address)
{
    if (address == NULL || is_boot(address) || !oracle_resolve())
        return;
    oracle_death(address);
    real.free(address);
}

ORACLE_EXPORT void *malloc(size_t size)
{
    if (!oracle_resolve())
        return boot_allocate(size, 16);
    void *const address = real.malloc(size);
    oracle_birth(address, size, CALLER);
    return address;
}

ORACLE_EXPORT void free(void *address)
{
    release(address);
}

ORACLE_EXPORT void cfree(void *address)
{
    release(address);
}

ORACLE_EXPORT void free_sized(void *address, size_t size)
{
    (void)size;
    release(address);
}

ORACLE_EXPORT void free_aligned_sized(void *address, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    release(address);
}

ORACLE_EXPORT void *calloc(size_t count, size_t size)
{
    if (!oracle_resolve())
        return boot_allocate(count * size, 16);
    void *const address = real.calloc(count, size);
    oracle_birth(address, count * size, CALLER);
    return address;
}

ORACLE_EXPORT void *realloc(void *address, size_t size)
{
    return resize(address, size, CALLER);
}

ORACLE_EXPORT void *reallocarray(void *address, size_t count, size_t size)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return resize(address, bytes, CALLER);
}

ORACLE_EXPORT void *memalign(size_t alignment, size_t size)
{
    if (!oracle_resolve())
        return boot_allocate(size, alignment);
    void *const address = real.memalign(alignment, size);
    oracle_birth(address, size, CALLER);
    return address;
}

ORACLE_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    if (!oracle_resolve())
        return boot_allocate(size, alignment);
    void *const address = real.aligned_alloc(alignment, size);
    oracle_birth(address, size, CALLER);
    return address;
}

ORACLE_EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *address = NULL;
    if (!oracle_resolve()) {
        *out = boot_allocate(size, alignment);
        return 0;
    }
    const int error = real.posix_memalign(&address, alignment, size);
    if (error == 0) {
        oracle_birth(address, size, CALLER);
        *out = address;
    }
    return error;
}

ORACLE_EXPORT void *valloc(size_t size)
{
    if (!oracle_resolve())
        return boot_allocate(size, PAGE_BYTES);
    void *const address = real.valloc(size);
    oracle_birth(address, size, CALLER);
    return address;
}

ORACLE_EXPORT void *pvalloc(size_t size)
{
    if (!oracle_resolve())
        return boot_allocate(size, PAGE_BYTES);
    void *const address = real.pvalloc(size);
    oracle_birth(address, size, CALLER);
    return address;
}
