// SPDX-License-Identifier: Apache-2.0
/*
 * bench_pair.c - the cost of one 64-byte malloc and its free.
 *
 * Runs in:    a process of its own, with and without the agent
 * Threads:    one
 * Allocates:  one block at a time
 * Fails:      by exit status 1
 *
 * Why: the fast path is a handful of instructions, so it is measured where nothing else happens.
 * Prints the median over batches in ns per pair, which one preemption does not move.
 * bench_pair PAIRS runs that many once, without a clock: for counting instructions.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    BLOCK_BYTES = 64,
    BATCHES = 41,
    PAIRS_A_BATCH = 500 * 1000,
};

static void run_pairs(unsigned long pairs)
{
    for (unsigned long i = 0; i < pairs; i++) {
        void *block = malloc(BLOCK_BYTES);
        /* The compiler may not know that nobody looks at the block. */
        __asm__ volatile("" : "+r"(block)::"memory");
        free(block); /* NOLINT(clang-analyzer-unix.Malloc): it is the same block */
    }
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    double batch_ns[BATCHES];
    if (argc > 1) {
        run_pairs(strtoul(argv[1], NULL, 10));
        return 0;
    }
    run_pairs(PAIRS_A_BATCH);
    for (size_t i = 0; i < BATCHES; i++) {
        const double start_ns = now_ns();
        run_pairs(PAIRS_A_BATCH);
        batch_ns[i] = (now_ns() - start_ns) / (double)PAIRS_A_BATCH;
    }
    qsort(batch_ns, BATCHES, sizeof batch_ns[0], compare);
    printf("%.3f ns per pair\n", batch_ns[BATCHES / 2]);
    return 0;
}
