// SPDX-License-Identifier: Apache-2.0
/*
 * bench_deep.c - the cost of one 64-byte malloc and its free at the end of a stack of N frames.
 *
 * Runs in:    a process of its own, with and without a profiler
 * Threads:    one
 * Allocates:  one block at a time
 * Fails:      by exit status 1 for wrong usage, no memory, or another number of frames
 *
 * Why: a profiler that records every allocation pays for the depth of the stack, not for the block.
 * The frames are different functions, built without frame pointers, and none is a tail call.
 * bench_deep FRAMES prints the medians over batches: CPU of the thread, which other processes do
 * not move much, and wall, in which the thread may wait for the profiler's other half. bench_deep
 * FRAMES PAIRS runs that many once, without a clock: for counting instructions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    BLOCK_BYTES = 64,
    MOST_FRAMES = 33,
    PAIRS_A_BATCH = 20 * 1000,
    FEWEST_BATCHES = 5,
    MOST_BATCHES = 1024
};

static const double run_ns = 0.4e9;

struct run {
    unsigned long frames; /* entered on the way down */
    unsigned long pairs;  /* 0: as many batches as fit into run_ns */
    size_t batches;
    double cpu_ns[MOST_BATCHES];
    double wall_ns[MOST_BATCHES];
};

static struct run run;

static double now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void run_pairs(unsigned long pairs)
{
    for (unsigned long i = 0; i < pairs; i++) {
        void *block = malloc(BLOCK_BYTES);
        /* The compiler may not know that nobody looks at the block. */
        __asm__ volatile("" : "+r"(block)::"memory");
        if (block == NULL) {
            exit(1);
        }
        free(block); /* NOLINT(clang-analyzer-unix.Malloc): it is the same block */
    }
}

static __attribute__((noinline)) void measure(void)
{
    const double start_ns = now_ns(CLOCK_MONOTONIC);
    double wall_ns = start_ns;

    if (run.pairs > 0) {
        run_pairs(run.pairs);
        return;
    }
    run_pairs(PAIRS_A_BATCH);
    while (run.batches < MOST_BATCHES &&
           (run.batches < FEWEST_BATCHES || wall_ns - start_ns < run_ns)) {
        const double cpu_before_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
        const double wall_before_ns = now_ns(CLOCK_MONOTONIC);
        run_pairs(PAIRS_A_BATCH);
        wall_ns = now_ns(CLOCK_MONOTONIC);
        run.cpu_ns[run.batches] =
            (now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_before_ns) / (double)PAIRS_A_BATCH;
        run.wall_ns[run.batches++] = (wall_ns - wall_before_ns) / (double)PAIRS_A_BATCH;
    }
}

/* What follows the call keeps it from being a tail call. */
#define FRAME(n, callee)                                                                           \
    static __attribute__((noinline)) void frame_##n(void)                                          \
    {                                                                                              \
        run.frames++;                                                                              \
        callee();                                                                                  \
        __asm__ volatile("" ::: "memory");                                                         \
    }

FRAME(1, measure)
FRAME(2, frame_1)
FRAME(3, frame_2)
FRAME(4, frame_3)
FRAME(5, frame_4)
FRAME(6, frame_5)
FRAME(7, frame_6)
FRAME(8, frame_7)
FRAME(9, frame_8)
FRAME(10, frame_9)
FRAME(11, frame_10)
FRAME(12, frame_11)
FRAME(13, frame_12)
FRAME(14, frame_13)
FRAME(15, frame_14)
FRAME(16, frame_15)
FRAME(17, frame_16)
FRAME(18, frame_17)
FRAME(19, frame_18)
FRAME(20, frame_19)
FRAME(21, frame_20)
FRAME(22, frame_21)
FRAME(23, frame_22)
FRAME(24, frame_23)
FRAME(25, frame_24)
FRAME(26, frame_25)
FRAME(27, frame_26)
FRAME(28, frame_27)
FRAME(29, frame_28)
FRAME(30, frame_29)
FRAME(31, frame_30)
FRAME(32, frame_31)
FRAME(33, frame_32)

static void (*const entries[MOST_FRAMES])(void) = {
    frame_1,  frame_2,  frame_3,  frame_4,  frame_5,  frame_6,  frame_7,  frame_8,  frame_9,
    frame_10, frame_11, frame_12, frame_13, frame_14, frame_15, frame_16, frame_17, frame_18,
    frame_19, frame_20, frame_21, frame_22, frame_23, frame_24, frame_25, frame_26, frame_27,
    frame_28, frame_29, frame_30, frame_31, frame_32, frame_33};

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof values[0], compare);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    const unsigned long frames = argc > 1 ? strtoul(argv[1], NULL, 10) : MOST_FRAMES;

    if (frames < 1 || frames > MOST_FRAMES) {
        fprintf(stderr, "usage: bench_deep [FRAMES (1..%d) [PAIRS]]\n", MOST_FRAMES);
        return 1;
    }
    run.pairs = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    entries[frames - 1]();
    if (run.frames != frames) {
        return 1;
    }
    if (run.batches > 0) {
        printf("frames=%lu cpu_ns_per_pair=%.3f wall_ns_per_pair=%.3f\n", frames,
               median(run.cpu_ns, run.batches), median(run.wall_ns, run.batches));
    }
    return 0;
}
