// SPDX-License-Identifier: Apache-2.0
/*
 * bench_scope.c - what a RIPTIDE_SCOPE costs.
 *
 *     bench_scope [ROUNDS]
 *
 * Runs in:    `make bench`; built alone, with the agent linked, and with libriptide; alone it is
 *             also run under LD_PRELOAD
 * Threads:    one
 * Allocates:  the list of its measurements
 * Fails:      with status 1 when a scope did not end where it began
 *
 * Rounds with and without scopes take turns; the median of their differences is shown.
 */
#include <riptide/tags.h>

#ifdef BENCH_LIBRARY
#include <riptide/riptide.h>
#endif

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Short rounds: most of them pass between two interruptions of a busy machine. */
enum { SCOPES = 2000, ROUNDS_DEFAULT = 2001, ROUNDS_MAX = 20001 };

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Stands for the work inside a scope: the compiler must not merge one scope with the next. */
#define WORK() __asm__ volatile("" ::: "memory")

static __attribute__((noinline)) double time_without(void)
{
    const double start = now_ns();
    for (int i = 0; i < SCOPES; i++)
        WORK();
    return now_ns() - start;
}

static __attribute__((noinline)) double time_with(void)
{
    const double start = now_ns();
    for (int i = 0; i < SCOPES; i++) {
        RIPTIDE_SCOPE("bench", "scope");
        WORK();
    }
    return now_ns() - start;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS_DEFAULT;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    double *const costs = malloc((size_t)rounds * sizeof *costs);
    if (!costs)
        return 1;
    (void)time_with();
    for (int i = 0; i < rounds; i++) {
        const double without = time_without();
        costs[i] = (time_with() - without) / (double)SCOPES;
    }
    qsort(costs, (size_t)rounds, sizeof costs[0], compare);
#ifdef BENCH_LIBRARY
    printf("libriptide %s, ", riptide_version()); /* so that it is linked */
#endif
    printf("scope: %.2f ns (quartiles %.2f and %.2f of %d rounds), RipTide is %sin the process\n",
           costs[rounds / 2], costs[rounds / 4], costs[rounds / 4 * 3], rounds,
           riptide_scope_tag("bench", "scope") != 0 ? "" : "not ");
    free(costs);
    return riptide_scope_capture() == 0 ? 0 : 1;
}
