// SPDX-License-Identifier: Apache-2.0
/*
 * exact_life.c - known lives of blocks: threads that end, forks, temporaries, ages, peaks.
 *
 * Runs in:    the observed program of a test: exact_life CASE [ARGUMENT]
 * Threads:    as the case says
 * Allocates:  blocks on accounts (exact_program.h)
 * Fails:      with status 3
 *
 * Prints what the test must find, as JSON.
 */
#include "exact_program.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SMALL_STACK_BYTES = 64 << 10,
    ALIVE_MAX = 2000,
    AGES = 4,
    PEAK_THREADS = 4,
    PIECES = 4000,
};

static const char *argument = "";

static void start_thread(pthread_t *thread, void *(*work)(void *), void *value)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, SMALL_STACK_BYTES);
    if (pthread_create(thread, &attributes, work, value) != 0)
        _exit(3);
    pthread_attr_destroy(&attributes);
}

#define PRINT(...)                                                                                 \
    do {                                                                                           \
        const struct exact_account *const list[] = {__VA_ARGS__};                                  \
        exact_print_accounts(list, sizeof list / sizeof list[0]);                                  \
    } while (0)

/* ---- threads by the thousands ---- */

EXACT_ALLOCATOR(brief_thread)

static void *be_brief(void *value)
{
    void *const first = brief_thread(100);
    void *const second = brief_thread(200 + (uintptr_t)value % 100);
    exact_release(first);
    return second;
}

static void case_many_threads(void)
{
    const unsigned count = (unsigned)strtoul(argument, NULL, 10);
    for (unsigned i = 0; i < count; i++) {
        pthread_t thread;
        void *block;
        start_thread(&thread, be_brief, (void *)(uintptr_t)i);
        pthread_join(thread, &block);
        /* Freed by another thread than its own, which is gone. */
        if (i % 4 != 0)
            exact_release(block);
    }
    exact_checkpoint("many");
    PRINT(&brief_thread_account);
}

/* ---- more threads at once than there are records ---- */

EXACT_ALLOCATOR(crowded_thread)
static pthread_barrier_t barrier;

static void *be_crowded(void *value)
{
    void *blocks[50];
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < 50; i++)
        blocks[i] = crowded_thread(32 + ((uintptr_t)value + i) % 400);
    for (unsigned i = 1; i < 50; i++)
        exact_release(blocks[i]);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    exact_release(blocks[0]);
    return NULL;
}

static void case_crowd(void)
{
    static pthread_t threads[ALIVE_MAX];
    const unsigned count = (unsigned)strtoul(argument, NULL, 10);
    if (count > ALIVE_MAX)
        _exit(3);
    pthread_barrier_init(&barrier, NULL, count + 1);
    for (unsigned i = 0; i < count; i++)
        start_thread(&threads[i], be_crowded, (void *)(uintptr_t)i);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    exact_checkpoint("crowded");
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    exact_checkpoint("gone");
    PRINT(&crowded_thread_account);
}

/* ---- fork: the child frees what its parent allocated ---- */

EXACT_ALLOCATOR(parent_block)
EXACT_ALLOCATOR(child_block)

static void case_fork(void)
{
    void *blocks[300];
    int status;
    for (unsigned i = 0; i < 300; i++)
        blocks[i] = parent_block(64 + i);
    const pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < 100; i++)
            free(blocks[i]);
        for (unsigned i = 0; i < 70; i++) {
            void *const p = child_block(1000 + i);
            if (i % 2 != 0)
                exact_release(p);
        }
        /* Unknown to the child's ledger, too: its realloc() is an unknown free and a birth. */
        free(realloc(blocks[100], 5000));
        exact_checkpoint("child");
        PRINT(&child_block_account);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        _exit(3);
    for (unsigned i = 0; i < 50; i++)
        exact_release(blocks[i]);
    exact_checkpoint("parent");
    PRINT(&parent_block_account);
}

/* ---- blocks that the agent never saw ---- */

EXACT_ALLOCATOR(seen_block)

static void case_foreign(void)
{
    void *(*early)(unsigned) = NULL;
    void *(*hidden_malloc)(size_t) = NULL;
    void (*hidden_free)(void *) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "exact_early_block");
    memcpy(&early, &symbol, sizeof symbol);
    void *const libc = dlopen("libc.so.6", RTLD_NOW);
    symbol = dlsym(libc, "malloc");
    memcpy(&hidden_malloc, &symbol, sizeof symbol);
    symbol = dlsym(libc, "free");
    memcpy(&hidden_free, &symbol, sizeof symbol);
    if (early == NULL || hidden_malloc == NULL || hidden_free == NULL)
        _exit(3);
    exact_checkpoint("before");
    for (unsigned i = 0; i < 40; i++)
        free(early(i)); /* from before the agent's start */
    for (unsigned i = 0; i < 25; i++)
        free(hidden_malloc(40)); /* behind the agent's back */
    void *const kept = seen_block(48);
    for (unsigned i = 0; i < 10; i++) {
        void *const p = seen_block(4000);
        exact_debit(p);
        hidden_free(p); /* its end is seen when the address comes again */
        void *const q = seen_block(4000);
        if (q != p)
            _exit(3);
        exact_release(q);
    }
    exact_checkpoint("foreign");
    exact_release(kept);
    PRINT(&seen_block_account);
}

/* ---- temporaries ---- */

EXACT_ALLOCATOR(temporary_block)
EXACT_ALLOCATOR(nested_block)
EXACT_ALLOCATOR(lasting_block)
EXACT_ALLOCATOR(resized_block)

static void case_temporary(void)
{
    for (unsigned i = 0; i < 1000; i++)
        exact_release(temporary_block(50));
    for (unsigned i = 0; i < 500; i++) {
        void *const outer = lasting_block(60);
        void *const inner = nested_block(70);
        /* No allocation between the inner block's birth and its end: temporary. The outer is not.
         */
        exact_release(outer);
        exact_release(inner);
    }
    for (unsigned i = 0; i < 200; i++) {
        void *const p = resized_block(80);
        exact_debit(p);
        /* The first one ends before the next begins; the new one is freed at once, too. */
        void *const q = realloc(p, 3000);
        free(q);
    }
    exact_say("{\"temporary_block\": 1000, \"lasting_block\": 0, \"nested_block\": 500, "
              "\"resized_block\": 200, \"case_temporary\": 200}\n");
}

/* ---- ages ---- */

EXACT_ALLOCATOR(aging_block)

static uint64_t now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void case_ages(void)
{
    static const unsigned pauses_ms[AGES] = {0, 700, 1500, 3000};
    uint64_t born_ms[AGES], died_ms[AGES];
    void *blocks[AGES][100];
    for (unsigned i = 0; i < AGES; i++) {
        born_ms[i] = now_ms();
        for (unsigned j = 0; j < 100; j++)
            blocks[i][j] = aging_block(64 + 100 * i);
    }
    for (unsigned i = 0; i < AGES; i++) {
        const uint64_t due_ms = born_ms[0] + pauses_ms[i];
        while (now_ms() < due_ms)
            usleep(1000);
        for (unsigned j = 0; j < 100; j++)
            exact_release(blocks[i][j]);
        died_ms[i] = now_ms();
    }
    exact_say("{\"ages_ms\": [%u, %u, %u, %u]}\n", (unsigned)(died_ms[0] - born_ms[0]),
              (unsigned)(died_ms[1] - born_ms[1]), (unsigned)(died_ms[2] - born_ms[2]),
              (unsigned)(died_ms[3] - born_ms[3]));
}

/* ---- peaks ---- */

EXACT_ALLOCATOR(base_block)
EXACT_ALLOCATOR(first_spike)
EXACT_ALLOCATOR(second_spike)
EXACT_ALLOCATOR(after_block)

static void *spike(void *value)
{
    static void *pieces[PEAK_THREADS][PIECES];
    void **const mine = pieces[(uintptr_t)value];
    for (unsigned i = 0; i < PIECES; i++)
        mine[i] = first_spike(300);
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < PIECES; i++)
        exact_release(mine[i]);
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < PIECES; i++)
        mine[i] = second_spike(500);
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < PIECES; i++)
        exact_release(mine[i]);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void case_peak(void)
{
    pthread_t threads[PEAK_THREADS];
    void *base[1000];
    const unsigned count = strcmp(argument, "threads") == 0 ? PEAK_THREADS : 1;
    pthread_barrier_init(&barrier, NULL, count);
    for (unsigned i = 0; i < 1000; i++)
        base[i] = base_block(2000);
    if (count == 1)
        spike(NULL);
    for (uintptr_t i = 0; count > 1 && i < count; i++)
        start_thread(&threads[i], spike, (void *)i);
    for (unsigned i = 0; count > 1 && i < count; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 900; i++)
        exact_release(base[i]);
    for (unsigned i = 0; i < 500; i++)
        base[i] = after_block(100);
    exact_checkpoint("after");
    exact_say("{\"base_block\": 2000000, \"first_spike\": 0, \"second_spike\": %u, "
              "\"after_block\": 0}\n",
              count * PIECES * 500);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"many_threads", case_many_threads},
    {"crowd", case_crowd},
    {"fork", case_fork},
    {"foreign", case_foreign},
    {"temporary", case_temporary},
    {"ages", case_ages},
    {"peak", case_peak},
};

int main(int argc, char **argv)
{
    if (argc > 2)
        argument = argv[2];
    for (size_t i = 0; argc > 1 && i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            cases[i].run();
            return 0;
        }
    }
    return 2;
}
