// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_heap.c - what each function of the malloc family promises its caller.
 *
 * Runs in:    the program under test
 * Threads:    one
 * Allocates:  its whole point
 * Fails:      through CHECK
 */
#include "gauntlet.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200 };

static void check_errno_kept(size_t size)
{
    void *placed = NULL;
    errno = EILSEQ;
    void *p = malloc(size);
    CHECK(p != NULL && errno == EILSEQ);
    void *const doubled = realloc(p, size * 2);
    CHECK(doubled != NULL && errno == EILSEQ);
    void *const tripled = reallocarray(doubled, 3, size);
    CHECK(tripled != NULL && errno == EILSEQ);
    free(tripled);
    p = calloc(2, size);
    CHECK(p != NULL && errno == EILSEQ);
    free(p);
    p = memalign(64, size);
    CHECK(p != NULL && errno == EILSEQ);
    free(p);
    p = aligned_alloc(32, size);
    CHECK(p != NULL && errno == EILSEQ);
    free(p);
    p = valloc(size);
    CHECK(p != NULL && errno == EILSEQ);
    free(p);
    CHECK(posix_memalign(&placed, 128, size) == 0 && errno == EILSEQ);
    CHECK(malloc_usable_size(placed) >= size && errno == EILSEQ);
    free(placed);
    free(NULL);
    CHECK(errno == EILSEQ);
}

static int errno_kept_on_success(void)
{
    for (int i = 0; i < ROUNDS; i++)
        for (size_t size = 8; size <= 600000; size *= 4)
            check_errno_kept(size);
    return 0;
}

static void check_enomem(const void *p)
{
    CHECK(p == NULL && errno == ENOMEM);
    errno = 0;
}

static int huge_sizes_fail(void)
{
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4095, SIZE_MAX / 2 + 1,
                            SIZE_MAX / 2 - 4096};
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const size_t size = gauntlet_hide(sizes[i]);
            errno = 0;
            check_enomem(malloc(size));
            check_enomem(calloc(1, size));
            check_enomem(realloc(NULL, size));
            check_enomem(memalign(64, size));
            check_enomem(aligned_alloc(64, size));
            check_enomem(valloc(size));
            check_enomem(pvalloc(size));
        }
    return 0;
}

/* The same address; the compiler does not know that a failed realloc() leaves the block alone. */
static void *same(void *p)
{
    return (void *)gauntlet_hide((uintptr_t)p);
}

static int overflows_fail(void)
{
    void *const block = malloc(40);
    memset(block, 7, 40);
    for (int round = 0; round < ROUNDS; round++) {
        errno = 0;
        check_enomem(calloc(gauntlet_hide(SIZE_MAX / 2), 3));
        check_enomem(calloc(gauntlet_hide(SIZE_MAX), gauntlet_hide(SIZE_MAX)));
        check_enomem(calloc(gauntlet_hide((size_t)1 << 33), gauntlet_hide((size_t)1 << 33)));
        check_enomem(reallocarray(NULL, gauntlet_hide(SIZE_MAX / 4), 5));
        check_enomem(reallocarray(same(block), gauntlet_hide(SIZE_MAX / 4), 5));
    }
    for (int i = 0; i < 40; i++)
        CHECK(((unsigned char *)block)[i] == 7);
    free(block);
    return 0;
}

static int failing_realloc_keeps_the_block(void)
{
    for (size_t size = 1; size < 3000000; size = size * 3 + 1) {
        unsigned char *const p = malloc(size);
        memset(p, 0xa5, size);
        for (int i = 0; i < 20; i++) {
            errno = 0;
            check_enomem(realloc(same(p), gauntlet_hide(SIZE_MAX / 2 + 7)));
        }
        for (size_t i = 0; i < size; i += 97)
            CHECK(p[i] == 0xa5);
        free(p);
    }
    return 0;
}

static int posix_memalign_errors(void)
{
    static char token;
    const size_t bad[] = {0, 1, 2, 3, 4, 7, 9, 12, 24, 100, 4097};
    for (int round = 0; round < ROUNDS; round++) {
        void *out = &token;
        errno = ERANGE;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            CHECK(posix_memalign(&out, gauntlet_hide(bad[i]), 100) == EINVAL && out == &token);
        CHECK(posix_memalign(&out, 64, gauntlet_hide(SIZE_MAX / 2 + 1)) == ENOMEM);
        CHECK(posix_memalign(&out, gauntlet_hide((size_t)1 << 62), 100) == ENOMEM);
        CHECK(out == &token);
        CHECK(posix_memalign(&out, 64, 0) == 0);
        free(out);
    }
    return 0;
}

/* What odd alignments give differs between allocators: printed, to be the same as native. */
static int odd_alignments(void)
{
    const size_t alignments[] = {0, 1, 2, 3, 5, 8, 16, 24, 48, 1000, 4095, 4096, 65536, 1 << 22};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++)
        for (size_t size = 1; size <= 100000; size *= 10) {
            const size_t alignment = gauntlet_hide(alignments[i]);
            errno = 0;
            void *const a = aligned_alloc(alignment, size);
            printf("aligned_alloc(%zu, %zu) %s errno %d\n", alignment, size, a ? "ok" : "NULL",
                   errno);
            errno = 0;
            void *const b = memalign(alignment, size);
            printf("memalign(%zu, %zu) %s errno %d\n", alignment, size, b ? "ok" : "NULL", errno);
            if (a != NULL)
                memset(a, 1, size);
            if (b != NULL)
                memset(b, 2, size);
            free(a);
            free(b);
        }
    return 0;
}

static int zero_sizes(void)
{
    enum { COUNT = 64 };
    void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = i % 4 == 0   ? malloc(gauntlet_hide(0))
                    : i % 4 == 1 ? calloc(gauntlet_hide(0), 8)
                    : i % 4 == 2 ? realloc(NULL, gauntlet_hide(0))
                                 : memalign(64, gauntlet_hide(0));
        CHECK(blocks[i] != NULL);
        for (int j = 0; j < i; j++)
            CHECK(blocks[i] != blocks[j]);
    }
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
    for (int i = 0; i < ROUNDS; i++) {
        void *const p = malloc(100 + (size_t)i);
        errno = ERANGE;
        void *const q = realloc(p, gauntlet_hide(0));
        printf("%d%d ", q == NULL, errno);
        if (q != NULL)
            free(q);
    }
    puts("");
    return 0;
}

static bool is_aligned(const void *p, size_t alignment)
{
    return (uintptr_t)p % alignment == 0;
}

static int alignment_of_every_function(void)
{
    for (size_t size = 1; size < 300000; size = size * 2 + 1)
        for (size_t alignment = 8; alignment <= 65536; alignment *= 2) {
            void *p = malloc(size);
            CHECK(is_aligned(p, size >= 16 ? 16 : 8));
            void *const larger = realloc(p, size + 1);
            CHECK(is_aligned(larger, 16));
            void *const tripled = realloc(larger, size * 3);
            CHECK(is_aligned(tripled, 16));
            free(tripled);
            p = memalign(alignment, size);
            CHECK(is_aligned(p, alignment));
            free(p);
            p = aligned_alloc(alignment, size);
            CHECK(is_aligned(p, alignment));
            free(p);
            CHECK(posix_memalign(&p, alignment, size) == 0 && is_aligned(p, alignment));
            free(p);
            p = valloc(size);
            CHECK(is_aligned(p, 4096));
            free(p);
        }
    return 0;
}

static int usable_size_is_writable(void)
{
    enum { COUNT = 64 };
    unsigned char *blocks[COUNT];
    for (size_t base = 1; base < 200000; base = base * 2 + 3) {
        for (int i = 0; i < COUNT; i++) {
            const size_t size = base + (size_t)i;
            blocks[i] = i % 2 ? malloc(size) : calloc(1, size);
            const size_t usable = malloc_usable_size(blocks[i]);
            CHECK(usable >= size);
            memset(blocks[i], i, usable);
        }
        for (int i = 0; i < COUNT; i++) {
            const size_t usable = malloc_usable_size(blocks[i]);
            CHECK(blocks[i][0] == i && blocks[i][usable - 1] == i);
            free(blocks[i]);
        }
    }
    CHECK(malloc_usable_size(NULL) == 0);
    return 0;
}

/* Programs keep accounts with it: what a block added when it came it must take when it goes,
 * however many blocks came in between; and they shrink what has too much room. */
static int usable_size_is_stable(void)
{
    enum { COUNT = 30000 };
    static void *blocks[COUNT];
    size_t held = 0;
    size_t excess = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const size_t size = 1 + i % 1500;
        blocks[i] = i % 3 ? malloc(size) : calloc(1, size);
        held += malloc_usable_size(blocks[i]);
        excess += malloc_usable_size(blocks[i]) - size;
    }
    for (size_t i = 0; i < COUNT; i++) {
        held -= malloc_usable_size(blocks[i]);
        free(blocks[i]);
    }
    CHECK(held == 0);
    gauntlet_figure("usable_excess_bytes", (long)(excess / COUNT));
    return 0;
}

static bool is_zero(const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static int calloc_is_zeroed(void)
{
    const size_t sizes[] = {1, 24, 100, 1000, 1024, 5000, 70000, 131072, 200000, 3000000};
    for (int round = 0; round < 30; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            void *const dirty = malloc(sizes[i]);
            memset(dirty, 0xff, sizes[i]);
            gauntlet_touch(dirty);
            free(dirty);
            unsigned char *const p = calloc(sizes[i], 1);
            CHECK(is_zero(p, sizes[i]));
            memset(p, 0xee, malloc_usable_size(p));
            free(p);
        }
    return 0;
}

/* The mmap threshold is raised by freeing a large mapping: from then on large blocks are recycled,
 * so that a large calloc() may be dirty and lies anywhere. */
static int large_recycled_calloc_is_zeroed(void)
{
    free(malloc(gauntlet_hide(30 << 20)));
    uint64_t seed = 5;
    for (int i = 0; i < 40; i++) {
        const size_t size = 140000 + gauntlet_random(&seed) % 2000000;
        unsigned char *const dirty = malloc(size);
        memset(dirty, 0xff, size);
        void *const hole = malloc(100);
        gauntlet_touch(dirty);
        free(dirty);
        unsigned char *const p = calloc(1, size);
        CHECK(is_zero(p, size));
        free(p);
        free(hole);
    }
    return 0;
}

static int realloc_keeps_content(void)
{
    uint64_t seed = 11;
    unsigned char *p = NULL;
    size_t size = 0;
    for (int i = 0; i < 3000; i++) {
        const unsigned shift = gauntlet_random(&seed) % 20;
        const size_t next = 1 + (gauntlet_random(&seed) & (((size_t)2 << shift) - 1));
        p = i % 2 ? realloc(p, next) : reallocarray(p, next, 1);
        const size_t kept = size < next ? size : next;
        for (size_t k = 0; k < kept; k += kept / 32 + 1)
            CHECK(p[k] == (unsigned char)(k * 31));
        for (size_t k = 0; k < next; k++)
            p[k] = (unsigned char)(k * 31);
        size = next;
    }
    free(p);
    return 0;
}

static int double_free_small(void)
{
    void *const p = malloc(24);
    gauntlet_touch(p);
    void *const again = (void *)gauntlet_hide((uintptr_t)p);
    free(p);
    free(again);
    return 0;
}

static int double_free_large(void)
{
    void *const keep = malloc(5000);
    void *const p = malloc(5000);
    void *const wall = malloc(5000);
    gauntlet_touch(wall);
    void *const again = (void *)gauntlet_hide((uintptr_t)p);
    free(p);
    free(again);
    free(keep);
    return 0;
}

static int free_of_no_block(void)
{
    _Alignas(4096) static char bytes[8192];
    memset(bytes, 0x41, sizeof bytes);
    free((void *)gauntlet_hide((uintptr_t)bytes + 4096));
    return 0;
}

const struct gauntlet_case gauntlet_heap_cases[] = {
    {"errno_kept_on_success", errno_kept_on_success},
    {"huge_sizes_fail", huge_sizes_fail},
    {"overflows_fail", overflows_fail},
    {"failing_realloc_keeps_the_block", failing_realloc_keeps_the_block},
    {"posix_memalign_errors", posix_memalign_errors},
    {"odd_alignments", odd_alignments},
    {"zero_sizes", zero_sizes},
    {"alignment_of_every_function", alignment_of_every_function},
    {"usable_size_is_writable", usable_size_is_writable},
    {"usable_size_is_stable", usable_size_is_stable},
    {"calloc_is_zeroed", calloc_is_zeroed},
    {"large_recycled_calloc_is_zeroed", large_recycled_calloc_is_zeroed},
    {"realloc_keeps_content", realloc_keeps_content},
    {"double_free_small", double_free_small},
    {"double_free_large", double_free_large},
    {"free_of_no_block", free_of_no_block},
    {NULL, NULL},
};
