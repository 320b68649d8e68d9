// SPDX-License-Identifier: Apache-2.0
/*
 * reentrant_alloc.c - an allocator that a signal handler may re-enter anywhere.
 *
 * Runs in:    the program under test, preloaded, alone or behind the agent
 * Threads:    any; one atomic add is all the state there is
 * Allocates:  from one sparse mapping, never given back
 * Fails:      NULL at the end of the mapping; a free of what is not live aborts
 *
 * Why: with glibc's malloc no legal handler can interrupt the agent in the middle of its slow path,
 * because that is in the middle of malloc. With this one every instruction of the agent may be
 * interrupted by a handler that allocates, frees or jumps away.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_BYTES ((size_t)1 << 35)
#define LIVE        UINT64_C(0x4c4956454c495645)
#define DEAD        UINT64_C(0x4445414444454144)

struct head {
    uint64_t size;
    _Atomic uint64_t state;
};

static _Atomic uintptr_t arena;
static _Atomic size_t used;

void *memalign(size_t alignment, size_t size);
void *valloc(size_t size);
void *pvalloc(size_t size);
size_t malloc_usable_size(void *p);

static uintptr_t arena_start(void)
{
    uintptr_t now = atomic_load(&arena);
    if (now != 0)
        return now;
    void *const fresh = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED)
        return 0;
    if (!atomic_compare_exchange_strong(&arena, &now, (uintptr_t)fresh)) {
        munmap(fresh, ARENA_BYTES);
        return now;
    }
    return (uintptr_t)fresh;
}

static struct head *head_of(void *p)
{
    return (struct head *)p - 1;
}

void *memalign(size_t alignment, size_t size)
{
    const uintptr_t start = arena_start();
    if (alignment < 16)
        alignment = 16;
    if (start == 0 || size > ARENA_BYTES / 4 || alignment > ARENA_BYTES / 4) {
        errno = ENOMEM;
        return NULL;
    }
    const size_t space = (size + alignment + sizeof(struct head) + 15) & ~(size_t)15;
    const size_t at = atomic_fetch_add(&used, space);
    if (at + space > ARENA_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    void *const p = (void *)((start + at + sizeof(struct head) + alignment - 1) & ~(alignment - 1));
    head_of(p)->size = size;
    atomic_store(&head_of(p)->state, LIVE);
    return p;
}

void *malloc(size_t size)
{
    return memalign(16, size);
}

void free(void *p)
{
    if (p != NULL && atomic_exchange(&head_of(p)->state, DEAD) != LIVE)
        abort();
}

void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        bytes = SIZE_MAX;
    return malloc(bytes); /* the mapping is zero and nothing is used twice */
}

void *realloc(void *p, size_t size)
{
    void *const q = malloc(size);
    if (q != NULL && p != NULL) {
        memcpy(q, p, head_of(p)->size < size ? head_of(p)->size : size);
        free(p);
    }
    return q;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    const int saved = errno;
    void *const p = memalign(alignment, size);
    errno = saved;
    if (p == NULL)
        return ENOMEM;
    *out = p;
    return 0;
}

void *valloc(size_t size)
{
    return memalign(4096, size);
}

void *pvalloc(size_t size)
{
    return memalign(4096, (size + 4095) & ~(size_t)4095);
}

size_t malloc_usable_size(void *p)
{
    return p != NULL ? head_of(p)->size : 0;
}
