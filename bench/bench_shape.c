// SPDX-License-Identifier: Apache-2.0
/*
 * bench_shape.c - nanoseconds per stack lookup in exact mode: found again, and new.
 *
 * Runs in:    a benchmark process of its own
 * Threads:    one
 * Allocates:  one sparse ledger and stdio, outside the timed part
 * Fails:      exit status 1 when a lookup comes back wrong, so that no wrong figure is printed
 *
 * Prints one key=value line for each depth, the best of several rounds, because on a shared machine
 * the minimum is the only steady figure; and one for a recursion whose contexts are mostly new, a
 * mean that holds the first touch of each table. Processor time of the thread.
 * This file must be compiled without frame pointers (-O2 does).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "agent/agent_shape.h"
#include "unwind/unwind_stack.h"

enum { LEVELS = 8, LOOKUPS = 20000, ROUNDS = 25, TREE_DEPTH = 120, TREE_VISITS = 200000 };

struct rtd_agent rtd_agent;
__thread struct rtd_thread_state rtd_thread_state;

static struct rtd_ledger *ledger;
static double best_ns;
static volatile unsigned sink;

#define CAPTURE(frame)                                                                             \
    __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2"                       \
                     : "=r"((frame).pc), "=r"((frame).sp), "=r"((frame).fp))

static double now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* ---- found again ---- */

static __attribute__((noinline)) unsigned leaf(unsigned depth)
{
    struct rtd_unwind_frame frame;
    unsigned sum = depth;

    for (int round = 0; round < ROUNDS; round++) {
        const double start = now_ns();
        for (int i = 0; i < LOOKUPS; i++) {
            CAPTURE(frame);
            sum ^= rtd_shape_site(ledger, &rtd_thread_state, &frame);
        }
        const double ns = (now_ns() - start) / (double)LOOKUPS;
        if (best_ns == 0 || ns < best_ns)
            best_ns = ns;
    }
    return sum;
}

typedef unsigned level(unsigned depth);
static level *const levels[LEVELS];

#define LEVEL(n)                                                                                   \
    static __attribute__((noinline)) unsigned level##n(unsigned depth)                             \
    {                                                                                              \
        unsigned result = depth == 0 ? leaf(depth) : levels[depth % LEVELS](depth - 1);            \
        __asm__ volatile("" : "+r"(result));                                                       \
        return result + (n);                                                                       \
    }
LEVEL(0)
LEVEL(1)
LEVEL(2)
LEVEL(3)
LEVEL(4)
LEVEL(5)
LEVEL(6)
LEVEL(7)

static level *const levels[LEVELS] = {level0, level1, level2, level3,
                                      level4, level5, level6, level7};

/* ---- a recursion that looks up at every node of random trees, as a compiler does ---- */

static uint64_t random_state = 0x9e3779b97f4a7c15U;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static unsigned visits;
static unsigned visits_max;

typedef void visit(unsigned depth);
static visit *const visitors[LEVELS];

#define VISITOR(n)                                                                                 \
    static __attribute__((noinline)) void visitor##n(unsigned depth)                               \
    {                                                                                              \
        char local[(n)*24 + 8];                                                                    \
        struct rtd_unwind_frame frame;                                                             \
        __asm__ volatile("" : : "r"(local) : "memory");                                            \
        const uint64_t dice = random_next();                                                       \
        CAPTURE(frame);                                                                            \
        sink ^= rtd_shape_site(ledger, &rtd_thread_state, &frame);                                 \
        for (unsigned i = 0; i < 1 + (dice & 1) && depth < TREE_DEPTH && ++visits < visits_max;    \
             i++)                                                                                  \
            visitors[(dice >> (8 + 3 * i)) % LEVELS](depth + 1 + (unsigned)(dice >> 60) / 4);      \
        __asm__ volatile("" : : "r"(local) : "memory");                                            \
    }
VISITOR(0)
VISITOR(1)
VISITOR(2)
VISITOR(3)
VISITOR(4)
VISITOR(5)
VISITOR(6)
VISITOR(7)

static visit *const visitors[LEVELS] = {visitor0, visitor1, visitor2, visitor3,
                                        visitor4, visitor5, visitor6, visitor7};

static uint64_t misses(void)
{
    return atomic_load(&rtd_exact_of(ledger)->threads[0].stack_misses);
}

static void run_tree(void)
{
    const uint64_t misses_before = misses();
    const double start = now_ns();

    visits_max = TREE_VISITS;
    while (visits < visits_max)
        visitors[0](0);
    const double ns = (now_ns() - start) / visits;
    printf("recursion lookups=%u misses=%llu ns_per_lookup=%.1f nodes=%u\n", visits,
           (unsigned long long)(misses() - misses_before), ns,
           atomic_load(&rtd_exact_of(ledger)->header.node_count));
}

int main(int argc, char **argv)
{
    static const unsigned depths[] = {1, 12, 30, 61, 200};
    void *const memory = mmap(NULL, RTD_LEDGER_EXACT_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return 1;
    ledger = memory;
    rtd_agent.epoch = 1;
    rtd_unwind_stack_init(8U << 20);
    const bool is_tree_only = argc > 1 && strcmp(argv[1], "tree") == 0;
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(depths) && !is_tree_only; i++) {
        const uint64_t before = misses();
        best_ns = 0;
        sink ^= levels[0](depths[i]);
        const uint64_t missed = misses() - before;
        printf("frames=%u hit_ns=%.2f misses=%llu\n", depths[i] + 3, best_ns,
               (unsigned long long)missed);
        if (missed > 4)
            return 1;
    }
    run_tree();
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("max_rss_kib=%ld\n", usage.ru_maxrss);
    return 0;
}
