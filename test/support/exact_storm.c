// SPDX-License-Identifier: Apache-2.0
/*
 * exact_storm.c - random use of the whole malloc family by many threads, with stops to compare at.
 *
 * Runs in:    the observed program of a test: exact_storm THREADS EVENTS STOPS SEED
 * Threads:    THREADS, which stop together; each repeats its own sequence for the same seed
 * Allocates:  what a storm allocates: about 3 KiB a block held, up to 1,000 blocks a thread
 * Fails:      with status 1 when a block does not hold what was written to it
 *
 * A block goes through a mailbox of another thread as often as it is freed by its own. Calls that
 * must fail (no memory, wrong alignment, overflow) are part of the storm: they count for nothing.
 */
#include "exact_program.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    THREADS_MAX = 64,
    SLOT_COUNT = 256,
    MAILBOX_SLOTS = 64,
    HUGE_SLOTS = 4,
    GIANT_THREADS = 4,
    PAGE_BYTES = 4096,
    STACK_BYTES = 256 << 10,
    CALLS_DEEP_MAX = 48,
};

struct block {
    unsigned char *address;
    size_t size_bytes;
};

struct worker {
    pthread_t thread;
    uint64_t random;
    uint64_t events;
    uint32_t number;
    struct block slots[SLOT_COUNT];
    void *huge[HUGE_SLOTS]; /* never touched: address space only */
    _Atomic(unsigned char *) mailbox[MAILBOX_SLOTS];
};

static struct worker workers[THREADS_MAX];
static pthread_barrier_t barrier;
static uint32_t thread_count, stop_count;
static uint64_t events_a_stop;

static uint64_t below(struct worker *worker, uint64_t limit)
{
    return exact_random(&worker->random) % limit;
}

static size_t random_size(struct worker *worker)
{
    const uint64_t kind = below(worker, 1000);
    if (kind < 700)
        return below(worker, 256);
    if (kind < 950)
        return below(worker, 4096);
    if (kind < 998)
        return below(worker, 64 << 10);
    return below(worker, 3 << 20);
}

static void corrupt(const char *what)
{
    exact_say("%s\n", what);
    _exit(1);
}

/* The size in the first bytes, its complement at the end: enough to see an overlap. */
static void fill(unsigned char *p, size_t size)
{
    if (size >= sizeof size) {
        memcpy(p, &size, sizeof size);
        p[size - 1] = (unsigned char)~size;
    }
}

static void check(const struct block *block)
{
    size_t size;
    if (block->size_bytes <= sizeof size)
        return;
    memcpy(&size, block->address, sizeof size);
    if (block->address[block->size_bytes - 1] != (unsigned char)~block->size_bytes ||
        size != block->size_bytes)
        corrupt("a block was overwritten");
}

/* ---- allocation, each way in a function of its own ---- */

typedef void *allocate_fn(struct worker *, size_t);

static EXACT_NOINLINE void *by_malloc(struct worker *worker, size_t size)
{
    (void)worker;
    return malloc(size);
}

static EXACT_NOINLINE void *by_calloc(struct worker *worker, size_t size)
{
    const size_t count = 1 + below(worker, 8);
    unsigned char *const p = calloc(count, size / count + 1);
    if (p != NULL && (p[0] != 0 || p[size / count] != 0))
        corrupt("calloc() gave a dirty block");
    return p;
}

static EXACT_NOINLINE void *by_realloc(struct worker *worker, size_t size)
{
    void *p = NULL;
    for (uint64_t steps = below(worker, 6); steps > 0; steps--) {
        void *const q = realloc(p, 1 + size / (steps + 1));
        p = q != NULL ? q : p;
    }
    void *const q = realloc(p, size + 1);
    return q != NULL ? q : p;
}

static EXACT_NOINLINE void *by_reallocarray(struct worker *worker, size_t size)
{
    void *const p = reallocarray(NULL, 3, 1 + below(worker, 100));
    void *const q = reallocarray(p, 2, size / 2 + 1);
    /* cppcheck-suppress memleak ; one of them is returned */
    return q != NULL ? q : p;
}

static EXACT_NOINLINE void *by_aligned(struct worker *worker, size_t size)
{
    const size_t alignment = (size_t)16 << below(worker, 10);
    void *p = NULL;
    switch (below(worker, 5)) {
    case 0:
        return aligned_alloc(alignment, (size / alignment + 1) * alignment);
    case 1:
        return posix_memalign(&p, alignment, size + 1) == 0 ? p : NULL;
    case 2:
        return memalign(alignment, size + 1);
    case 3:
        return valloc(size + 1);
    default:
        return pvalloc(size + 1);
    }
}

/* A copy that libc allocates. */
static EXACT_NOINLINE void *by_strdup(struct worker *worker, size_t size)
{
    char text[256];
    (void)worker;
    memset(text, 'x', sizeof text);
    text[size % sizeof text] = '\0';
    return strdup(text);
}

/* Freed at once, which is the most frequent fate of a block. */
static EXACT_NOINLINE void *by_temporary(struct worker *worker, size_t size)
{
    for (uint64_t n = below(worker, 4); n > 0; n--)
        free(malloc(size));
    return malloc(size);
}

static void must_fail(const void *p)
{
    if (p != NULL)
        corrupt("a call did not fail");
}

static EXACT_NOINLINE void expect_failures(struct worker *worker, struct block *block)
{
    void *p = NULL;
    /* Volatile: the compiler warns of such sizes when it sees them. */
    const volatile size_t impossible = SIZE_MAX / 2 - below(worker, 1 << 20);
    must_fail(malloc(impossible));
    must_fail(calloc(impossible, 16));
    must_fail(reallocarray(NULL, impossible, 16));
    if (posix_memalign(&p, 3, 64) != EINVAL || posix_memalign(&p, 64, impossible) != ENOMEM)
        corrupt("posix_memalign() did not fail");
    if (block->address != NULL)
        must_fail(realloc(block->address, impossible));
    free(NULL);
}

/* More than 4 GiB of address space that nobody touches; a refusal is all right, too. */
static EXACT_NOINLINE void change_huge(struct worker *worker)
{
    void **const place = &worker->huge[below(worker, HUGE_SLOTS)];
    free(*place);
    *place = NULL;
    /* Few at a time: the shadow has room for 128 GiB of addresses in all. */
    if (place == worker->huge && worker->number < GIANT_THREADS)
        *place = calloc(((uint64_t)4 << 10) + below(worker, 512), 1 << 20);
    else
        *place = malloc(((size_t)1 << 20) + below(worker, 64 << 20));
}

/* ---- stacks of many shapes ---- */

static void *descend_left(struct worker *worker, allocate_fn *leaf, size_t size, unsigned depth);

static EXACT_NOINLINE void *descend_right(struct worker *worker, allocate_fn *leaf, size_t size,
                                          unsigned depth)
{
    void *p;
    if ((depth & 31) == 0)
        p = leaf(worker, size);
    else
        p = depth & 64 ? descend_left(worker, leaf, size, depth - 1)
                       : descend_right(worker, leaf, size, depth - 1);
    EXACT_KEEP_FRAME();
    return p;
}

static EXACT_NOINLINE void *descend_left(struct worker *worker, allocate_fn *leaf, size_t size,
                                         unsigned depth)
{
    /* A frame whose size the tables do not know. */
    volatile unsigned char *const room = __builtin_alloca(64 * (1 + depth % 4));
    room[0] = 1;
    void *const p =
        (depth & 31) == 0 ? leaf(worker, size) : descend_right(worker, leaf, size, depth - 1);
    EXACT_KEEP_FRAME();
    return p;
}

static void *allocate(struct worker *worker, size_t *size)
{
    static allocate_fn *const ways[] = {by_malloc,  by_malloc,  by_malloc,
                                        by_calloc,  by_realloc, by_reallocarray,
                                        by_aligned, by_strdup,  by_temporary};
    allocate_fn *const way = ways[below(worker, sizeof ways / sizeof ways[0])];
    unsigned depth = (unsigned)below(worker, 6) | (unsigned)(below(worker, 2) << 6);
    if (below(worker, 200) == 0)
        depth = (unsigned)below(worker, 32) | 64;
    void *const p = descend_right(worker, way, *size, depth);
    *size = p == NULL ? 0 : malloc_usable_size(p);
    return p;
}

/* ---- the storm ---- */

static void post(struct worker *worker, unsigned char *p)
{
    struct worker *const other = &workers[below(worker, thread_count)];
    /* What lay in the box was another thread's as a rule: freed here. */
    free(atomic_exchange_explicit(&other->mailbox[below(worker, MAILBOX_SLOTS)], p,
                                  memory_order_acq_rel));
}

static void collect(struct worker *worker)
{
    free(atomic_exchange_explicit(&worker->mailbox[below(worker, MAILBOX_SLOTS)], NULL,
                                  memory_order_acq_rel));
}

static void grow(struct worker *worker, struct block *block)
{
    const size_t size = random_size(worker);
    unsigned char *const p = realloc(block->address, size);
    if (p == NULL && size != 0)
        return;
    block->address = p;
    block->size_bytes = size;
    if (p != NULL)
        fill(p, size);
}

static void drop(struct worker *worker, struct block *block)
{
    if (block->address == NULL)
        return;
    check(block);
    if (below(worker, 2) == 0)
        post(worker, block->address);
    else
        free(block->address);
    block->address = NULL;
    block->size_bytes = 0;
}

static void one_event(struct worker *worker)
{
    struct block *const block = &worker->slots[below(worker, SLOT_COUNT)];
    const uint64_t kind = below(worker, 10000);
    if (kind < 4) {
        change_huge(worker);
    } else if (kind < 20) {
        expect_failures(worker, block);
    } else if (kind < 1500) {
        grow(worker, block);
    } else if (kind < 2000) {
        collect(worker);
    } else if (block->address != NULL) {
        drop(worker, block);
    } else {
        size_t size = random_size(worker);
        block->address = allocate(worker, &size);
        block->size_bytes = size;
        if (block->address != NULL)
            fill(block->address, size);
    }
}

static void *work(void *argument)
{
    struct worker *const worker = argument;
    char name[32];
    for (uint32_t stop = 0; stop < stop_count; stop++) {
        for (uint64_t i = 0; i < events_a_stop; i++)
            one_event(worker);
        pthread_barrier_wait(&barrier);
        if (worker->number == 0) {
            snprintf(name, sizeof name, "%u", stop);
            exact_checkpoint(name);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void empty(struct worker *worker)
{
    for (size_t i = 0; i < SLOT_COUNT; i++)
        free(worker->slots[i].address);
    for (size_t i = 0; i < HUGE_SLOTS; i++)
        free(worker->huge[i]);
    for (size_t i = 0; i < MAILBOX_SLOTS; i++)
        free(worker->mailbox[i]);
}

int main(int argc, char **argv)
{
    pthread_attr_t attributes;
    if (argc != 5)
        return 2;
    thread_count = (uint32_t)strtoul(argv[1], NULL, 10);
    stop_count = (uint32_t)strtoul(argv[3], NULL, 10);
    if (thread_count == 0 || thread_count > THREADS_MAX || stop_count == 0)
        return 2;
    events_a_stop = strtoull(argv[2], NULL, 10) / thread_count / stop_count;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_barrier_init(&barrier, NULL, thread_count);
    for (uint32_t i = 0; i < thread_count; i++) {
        workers[i].number = i;
        workers[i].random = strtoull(argv[4], NULL, 10) * 1000003 + i;
        if (pthread_create(&workers[i].thread, &attributes, work, &workers[i]) != 0)
            return 3;
    }
    for (uint32_t i = 0; i < thread_count; i++)
        pthread_join(workers[i].thread, NULL);
    exact_checkpoint("joined");
    for (uint32_t i = 0; i < thread_count; i++)
        empty(&workers[i]);
    exact_checkpoint("empty");
    return 0;
}
