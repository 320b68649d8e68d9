// SPDX-License-Identifier: Apache-2.0
/*
 * exact_limits.c - what comes near the limits of exact mode: forks, sites, addresses.
 *
 * Runs in:    the observed program of a test: exact_limits CASE
 * Threads:    as the case says
 * Allocates:  blocks on accounts (exact_program.h), and much address space
 * Fails:      with status 3
 *
 * Prints what the test must find, as JSON.
 */
#include "exact_program.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRINT(...)                                                                                 \
    do {                                                                                           \
        const struct exact_account *const list[] = {__VA_ARGS__};                                  \
        exact_print_accounts(list, sizeof list / sizeof list[0]);                                  \
    } while (0)

/* ---- children that share the ledger's memory but are no part of the process ---- */

EXACT_ALLOCATOR(before_clones)

static void churn(unsigned rounds)
{
    void *blocks[16] = {0};
    for (unsigned i = 0; i < rounds; i++) {
        void **const place = &blocks[i % 16];
        if (*place != NULL)
            exact_release(*place);
        *place = before_clones(40 + i % 900);
    }
    for (unsigned i = 0; i < 16; i++)
        if (blocks[i] != NULL)
            exact_release(blocks[i]);
}

/* A child that no handler of fork() knows of, and whose counting would go to its parent. */
static void raw_child(void)
{
    int status;
    const long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        churn(2000);
        syscall(SYS_exit_group, 0);
    }
    if (pid < 0 || waitpid((pid_t)pid, &status, 0) != pid || status != 0)
        _exit(3);
}

static void case_clones(void)
{
    void *const kept = before_clones(333);
    for (unsigned i = 0; i < 10; i++) {
        churn(500);
        raw_child();
    }
    exact_checkpoint("cloned");
    exact_release(kept);
    PRINT(&before_clones_account);
}

/* ---- forks of a busy process ---- */

EXACT_ALLOCATOR(busy_block)
static volatile int is_over;

static void *be_busy(void *value)
{
    uint64_t random = (uintptr_t)value;
    void *blocks[64] = {0};
    while (!is_over) {
        void **const place = &blocks[exact_random(&random) % 64];
        if (*place != NULL)
            exact_release(*place);
        *place = busy_block(16 + exact_random(&random) % 2000);
    }
    for (unsigned i = 0; i < 64; i++)
        if (blocks[i] != NULL)
            exact_release(blocks[i]);
    return NULL;
}

static void case_fork_storm(void)
{
    enum { BUSY = 6, FORKS = 40 };
    pthread_t threads[BUSY];
    int status;
    for (uintptr_t i = 0; i < BUSY; i++)
        if (pthread_create(&threads[i], NULL, be_busy, (void *)(i + 1)) != 0)
            _exit(3);
    for (unsigned i = 0; i < FORKS; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            for (unsigned n = 0; n < 500; n++)
                exact_release(busy_block(16 + n));
            _exit(0);
        }
        if (waitpid(pid, &status, 0) != pid || status != 0)
            _exit(3);
    }
    is_over = 1;
    for (unsigned i = 0; i < BUSY; i++)
        pthread_join(threads[i], NULL);
    exact_checkpoint("stormed");
    PRINT(&busy_block_account);
}

/* ---- more sites than there is room for ---- */

static void *turn_right(unsigned pattern, unsigned depth);

static EXACT_NOINLINE void *turn_left(unsigned pattern, unsigned depth)
{
    void *p;
    if (depth == 0)
        p = malloc(48);
    else
        p = pattern & 1 ? turn_right(pattern >> 1, depth - 1) : turn_left(pattern >> 1, depth - 1);
    EXACT_KEEP_FRAME();
    return p;
}

static EXACT_NOINLINE void *turn_right(unsigned pattern, unsigned depth)
{
    void *p;
    if (depth == 0)
        p = malloc(80);
    else
        p = pattern & 1 ? turn_right(pattern >> 1, depth - 1) : turn_left(pattern >> 1, depth - 1);
    EXACT_KEEP_FRAME();
    return p;
}

static void case_many_sites(void)
{
    enum { SITES = 300000, LEVELS = 19 };
    for (unsigned i = 0; i < SITES; i++) {
        void *const p = turn_left(i, LEVELS);
        if (i % 3 != 0)
            free(p);
    }
    exact_checkpoint("sites");
}

/* ---- more address space than the shadow has room for ---- */

static void case_address_space(void)
{
    enum { PLACES = 2200 };
    static void *places[PLACES];
    unsigned count = 0;
    /* Never touched: each lies in a stretch of 64 MiB of its own. */
    while (count < PLACES && (places[count] = malloc((size_t)66 << 20)) != NULL)
        count++;
    exact_checkpoint("full");
    for (unsigned i = 0; i < count; i++)
        free(places[i]);
    exact_checkpoint("freed");
    exact_say("{\"places\": %u}\n", count);
}

/* ---- large blocks that begin where a stretch of 64 MiB ends ---- */

static void case_region_end(void)
{
    enum { GRANULE = 32, HEAD = 8, TRIES = 4 };
    const uintptr_t region = (uintptr_t)64 << 20;
    void *blocks[2 * TRIES], *between[TRIES];
    /* All in the heap of brk(), one behind the other. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    for (unsigned i = 0; i < TRIES; i++) {
        between[i] = malloc(GRANULE - HEAD);
        const uintptr_t start = (uintptr_t)between[i] + GRANULE;
        const uintptr_t end = (start + 2 * GRANULE + region) / region * region;
        const uintptr_t wanted = end - GRANULE * (1 + i % 2) + (i / 2) * 16;
        /* A chunk has HEAD bytes more than were asked for, and the wanted one follows it. */
        blocks[2 * i] = malloc(wanted - start - HEAD);
        blocks[2 * i + 1] = malloc(((size_t)1 << 20) + 1000 * i);
        if ((uintptr_t)blocks[2 * i + 1] != wanted)
            _exit(3);
    }
    exact_checkpoint("placed");
    blocks[1] = realloc(blocks[1], (size_t)3 << 20);
    for (unsigned i = 0; i < TRIES; i++)
        free(blocks[2 * i]);
    exact_checkpoint("gaps");
    for (unsigned i = 0; i < TRIES; i++)
        free(blocks[2 * i + 1]);
    for (unsigned i = 0; i < TRIES; i++)
        free(between[i]);
    exact_checkpoint("none");
}

/* ---- all memory locked: the program's, and not the ledger's ---- */

static unsigned resident_pages(void *start, size_t bytes)
{
    static unsigned char pages[4096];
    unsigned count = 0;
    if (bytes / 4096 > sizeof pages || mincore(start, bytes, pages) != 0)
        _exit(3);
    for (size_t i = 0; i < bytes / 4096; i++)
        count += pages[i] & 1;
    return count;
}

static void case_locked(void)
{
    const size_t bytes = (size_t)8 << 20;
    void *const before =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int result = mlockall(MCL_CURRENT | MCL_FUTURE);
    void *const after =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (before == MAP_FAILED || after == MAP_FAILED)
        _exit(3);
    for (unsigned i = 0; i < 1000; i++)
        exact_release(busy_block(16 + i));
    exact_checkpoint("locked");
    exact_say("{\"locked\": %d, \"before\": %u, \"after\": %u}\n", result == 0,
              resident_pages(before, bytes), resident_pages(after, bytes));
    munlockall();
}

/* As a daemon that may lock some memory and not all: nobody, with a limit that its own would fit.
 */
static void case_locked_by_nobody(void)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_max > (rlim_t)256 << 20)
        limit.rlim_max = (rlim_t)256 << 20;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || setresuid(65534, 65534, 65534) != 0)
        _exit(77);
    const int result = mlockall(MCL_CURRENT | MCL_FUTURE);
    unsigned char *const later = malloc((size_t)1 << 20);
    exact_say("{\"locked\": %d, \"later\": %d}\n", result == 0, later != NULL);
    free(later);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"clones", case_clones},
    {"fork_storm", case_fork_storm},
    {"many_sites", case_many_sites},
    {"address_space", case_address_space},
    {"region_end", case_region_end},
    {"locked", case_locked},
    {"locked_by_nobody", case_locked_by_nobody},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            cases[i].run();
            return 0;
        }
    }
    return 2;
}
