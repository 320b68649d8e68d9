// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_threads.c - many threads, small stacks, coroutines, thread exits that allocate.
 *
 * Runs in:    the program under test
 * Threads:    up to 600 at once
 * Allocates:  its whole point
 * Fails:      through CHECK
 */
#include "gauntlet.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { LIVE_THREADS = 600, SMALL_STACK_BYTES = 16384 };

typedef void *(*thread_fn)(void *);

static pthread_t start_thread(thread_fn run, void *argument, size_t stack_bytes)
{
    pthread_attr_t attributes;
    pthread_t thread = 0;
    pthread_attr_init(&attributes);
    if (stack_bytes != 0)
        CHECK(pthread_attr_setstacksize(&attributes, stack_bytes) == 0);
    CHECK(pthread_create(&thread, &attributes, run, argument) == 0);
    pthread_attr_destroy(&attributes);
    return thread;
}

/* ---- 600 at once: each frees what its neighbour allocated ---- */

static pthread_barrier_t all_here;
static void *handed[LIVE_THREADS][8];

static void *live_thread(void *argument)
{
    const size_t self = (size_t)(uintptr_t)argument;
    gauntlet_churn(50, self);
    for (size_t i = 0; i < 8; i++)
        handed[self][i] = malloc(self + i + 1);
    pthread_barrier_wait(&all_here);
    for (size_t i = 0; i < 8; i++)
        free(handed[(self + 1) % LIVE_THREADS][i]);
    return NULL;
}

static int threads_600_live(void)
{
    pthread_t threads[LIVE_THREADS];
    pthread_barrier_init(&all_here, NULL, LIVE_THREADS);
    for (size_t i = 0; i < LIVE_THREADS; i++)
        threads[i] = start_thread(live_thread, (void *)i, SMALL_STACK_BYTES);
    for (size_t i = 0; i < LIVE_THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return 0;
}

static void *short_thread(void *argument)
{
    void *const p = malloc((uintptr_t)argument % 200 + 1);
    gauntlet_touch(p);
    free(p);
    return malloc(16);
}

static int threads_10000_created(void)
{
    for (size_t i = 0; i < 10000; i += 8) {
        pthread_t threads[8];
        for (size_t k = 0; k < 8; k++)
            threads[k] = start_thread(short_thread, (void *)(i + k), 0);
        for (size_t k = 0; k < 8; k++) {
            void *result = NULL;
            CHECK(pthread_join(threads[k], &result) == 0 && result != NULL);
            free(result);
        }
    }
    return 0;
}

/* ---- a ring through which blocks change their thread ---- */

enum { RING = 256, PASSED = 40000 };
static _Atomic(unsigned char *) ring[RING];

static void *producer(void *argument)
{
    uint64_t seed = 9;
    (void)argument;
    for (unsigned i = 0; i < PASSED; i++) {
        const size_t size = 2 + gauntlet_random(&seed) % 700;
        unsigned char *const p = malloc(size);
        p[0] = (unsigned char)(size % 251);
        p[1] = (unsigned char)i;
        while (atomic_load(&ring[i % RING]) != NULL)
            sched_yield();
        atomic_store(&ring[i % RING], p);
    }
    return NULL;
}

static int cross_thread_frees(void)
{
    const pthread_t other = start_thread(producer, NULL, 0);
    unsigned long sum = 0;
    for (unsigned i = 0; i < PASSED; i++) {
        unsigned char *p;
        while ((p = atomic_load(&ring[i % RING])) == NULL)
            sched_yield();
        CHECK(p[1] == (unsigned char)i);
        sum += p[0];
        atomic_store(&ring[i % RING], NULL);
        free(i % 16 == 0 ? realloc(p, 900) : p);
    }
    pthread_join(other, NULL);
    printf("sum %lu\n", sum);
    return 0;
}

/* ---- thread exits ---- */

static pthread_key_t key;
static atomic_uint destructor_runs;

/* Sets the key again, so that it runs PTHREAD_DESTRUCTOR_ITERATIONS times. */
static void allocating_destructor(void *value)
{
    atomic_fetch_add(&destructor_runs, 1);
    free(value);
    gauntlet_churn(20, 1);
    pthread_setspecific(key, malloc(33));
}

static void *thread_with_key(void *argument)
{
    pthread_setspecific(key, malloc(32));
    gauntlet_churn(20, (uintptr_t)argument);
    if ((uintptr_t)argument % 2 == 0)
        pthread_exit(NULL);
    return NULL;
}

static int tls_destructors_allocate(void)
{
    CHECK(pthread_key_create(&key, allocating_destructor) == 0);
    for (size_t i = 0; i < 200; i++)
        pthread_join(start_thread(thread_with_key, (void *)i, 0), NULL);
    printf("destructors ran %u times\n", atomic_load(&destructor_runs));
    return 0;
}

static void free_it(void *p)
{
    free(p);
    gauntlet_churn(5, 2);
}

static void *cancelled_thread(void *argument)
{
    (void)argument;
    void *const p = malloc(100);
    pthread_cleanup_push(free_it, p);
    for (;;) {
        gauntlet_churn(10, 7);
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static int cancelled_threads_free(void)
{
    for (int i = 0; i < 100; i++) {
        const pthread_t thread = start_thread(cancelled_thread, NULL, 0);
        void *result = NULL;
        CHECK(pthread_cancel(thread) == 0);
        CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    }
    return 0;
}

/* ---- stacks ---- */

static void *recurse_in_small_stack(void *argument)
{
    const uintptr_t depth = (uintptr_t)argument;
    void *const p = malloc(depth + 1);
    if (depth > 0)
        recurse_in_small_stack((void *)(depth - 1));
    gauntlet_touch(p);
    free(p);
    return NULL;
}

static int small_stacks(void)
{
    for (int i = 0; i < 100; i++)
        pthread_join(start_thread(recurse_in_small_stack, (void *)40, SMALL_STACK_BYTES), NULL);
    return 0;
}

/* Fills its stack below the frame with a pattern, allocates, and finds the deepest word changed. */
static long paint_and_call(size_t size)
{
    enum { PAINT_BYTES = 12288, FILL = 0x5b };
    unsigned char *const here = __builtin_frame_address(0);
    unsigned char *const low = here - PAINT_BYTES;
    volatile unsigned char *at;
    for (at = low; at < here - 256; at++)
        *at = FILL;
    void *const p = malloc(size);
    gauntlet_touch(p);
    for (at = low; at < here - 256 && *at == FILL; at++)
        ;
    free(p);
    return (long)((uintptr_t)here - (uintptr_t)at);
}

static void *measure_stack(void *argument)
{
    long *const deepest = argument;
    for (int i = 0; i < 64; i++) {
        const long depth = paint_and_call(100 + (size_t)i * 50);
        deepest[0] = depth > deepest[0] ? depth : deepest[0];
        if (i >= 32)
            deepest[1] = depth > deepest[1] ? depth : deepest[1];
    }
    return NULL;
}

static int stack_use(void)
{
    long deepest[2] = {0};
    pthread_join(start_thread(measure_stack, deepest, 65536), NULL);
    gauntlet_figure("stack_cold_bytes", deepest[0]);
    gauntlet_figure("stack_warm_bytes", deepest[1]);
    return 0;
}

/* ---- coroutines on stacks that no thread owns ---- */

enum { COROUTINES = 64, TURNS = 60 };
static ucontext_t scheduler, coroutines[COROUTINES];
static unsigned long coroutine_sum;

static void coroutine(int self)
{
    void *held = NULL;
    for (int turn = 0; turn < TURNS; turn++) {
        free(held);
        held = malloc((size_t)(self * 7 + turn) + 1);
        gauntlet_churn(3, (uint64_t)self + (uint64_t)turn);
        coroutine_sum += (unsigned long)self;
        swapcontext(&coroutines[self], &scheduler);
    }
    free(held);
}

static void run_coroutines(bool heap_stacks)
{
    void *stacks[COROUTINES];
    for (int i = 0; i < COROUTINES; i++) {
        stacks[i] = heap_stacks ? malloc(SMALL_STACK_BYTES)
                                : mmap(NULL, SMALL_STACK_BYTES, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        getcontext(&coroutines[i]);
        coroutines[i].uc_stack.ss_sp = stacks[i];
        coroutines[i].uc_stack.ss_size = SMALL_STACK_BYTES;
        coroutines[i].uc_link = &scheduler;
        makecontext(&coroutines[i], (void (*)(void))coroutine, 1, i);
    }
    for (int turn = 0; turn <= TURNS; turn++)
        for (int i = 0; i < COROUTINES; i++)
            swapcontext(&scheduler, &coroutines[i]);
    for (int i = 0; i < COROUTINES; i++) {
        if (heap_stacks)
            free(stacks[i]);
        else
            munmap(stacks[i], SMALL_STACK_BYTES);
    }
}

static void *coroutine_thread(void *argument)
{
    run_coroutines(*(const bool *)argument);
    return NULL;
}

static int coroutines_on_small_stacks(void)
{
    bool heap_stacks = false;
    run_coroutines(false);
    run_coroutines(true);
    pthread_join(start_thread(coroutine_thread, &heap_stacks, 0), NULL);
    heap_stacks = true;
    pthread_join(start_thread(coroutine_thread, &heap_stacks, 0), NULL);
    printf("sum %lu\n", coroutine_sum);
    return 0;
}

static void *endless_churn(void *argument)
{
    for (;;)
        gauntlet_churn(1000, (uintptr_t)argument);
    return NULL;
}

static int exit_while_threads_allocate(void)
{
    for (size_t i = 0; i < 4; i++)
        start_thread(endless_churn, (void *)i, 0);
    gauntlet_churn(2000, 8);
    return 37;
}

const struct gauntlet_case gauntlet_thread_cases[] = {
    {"threads_600_live", threads_600_live},
    {"threads_10000_created", threads_10000_created},
    {"cross_thread_frees", cross_thread_frees},
    {"tls_destructors_allocate", tls_destructors_allocate},
    {"cancelled_threads_free", cancelled_threads_free},
    {"small_stacks", small_stacks},
    {"stack_use", stack_use},
    {"coroutines_on_small_stacks", coroutines_on_small_stacks},
    {"exit_while_threads_allocate", exit_while_threads_allocate},
    {NULL, NULL},
};
