// SPDX-License-Identifier: Apache-2.0
/*
 * bench_unwind.c - nanoseconds per frame of the unwinder, next to _Unwind_Backtrace().
 *
 * Runs in:    a benchmark process of its own
 * Threads:    one
 * Allocates:  only libgcc and stdio, outside the timed part
 * Fails:      exit status 1 when a stack comes back wrong, so that no wrong figure is printed
 *
 * Prints one key=value line: the best of several rounds, because on a shared machine the minimum
 * is the only steady figure. This file must be compiled without frame pointers (-O2 does).
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unwind.h>

#include "unwind/unwind.h"
#include "unwind/unwind_stack.h"

enum { DEPTH = 33, MAX_FRAMES = 128, WALKS = 2000, ROUNDS = 25, COLD_ROUNDS = 25 };

struct result {
    double walk_ns_per_frame;
    double libgcc_ns_per_frame;
    double cold_ns_per_pc;
    unsigned frames;
    enum rtd_unwind_end end;
};

static uintptr_t pcs[MAX_FRAMES];
static volatile unsigned sink;

static double now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *argument)
{
    unsigned *const count = argument;

    *count += _Unwind_GetIP(context) != 0;
    return _URC_NO_REASON;
}

static double best(double old, double sample)
{
    return old == 0 || sample < old ? sample : old;
}

static void measure(struct rtd_unwind_frame start, struct result *result)
{
    const struct rtd_unwind_bounds bounds = rtd_unwind_stack_bounds(start.sp);

    result->frames = rtd_unwind_walk(start, bounds, pcs, MAX_FRAMES, &result->end);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const double before = now_ns();
        for (unsigned i = 0; i < WALKS; i++) {
            sink += rtd_unwind_walk(start, bounds, pcs, MAX_FRAMES, &result->end);
        }
        result->walk_ns_per_frame =
            best(result->walk_ns_per_frame, (now_ns() - before) / (double)WALKS / result->frames);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = 0;
        const double before = now_ns();
        for (unsigned i = 0; i < WALKS / 20; i++) {
            _Unwind_Backtrace(count_frame, &count);
        }
        result->libgcc_ns_per_frame =
            best(result->libgcc_ns_per_frame, (now_ns() - before) / count);
    }
    for (unsigned round = 0; round < COLD_ROUNDS; round++) {
        rtd_unwind_flush();
        const double before = now_ns();
        sink += rtd_unwind_walk(start, bounds, pcs, MAX_FRAMES, &result->end);
        result->cold_ns_per_pc = best(result->cold_ns_per_pc, (now_ns() - before) / result->frames);
    }
}

/*
 * Eight functions with frames of different sizes and saved registers call each other in turn, so
 * that a walk sees different pcs and rules as in a real program, not one recursion.
 */
typedef unsigned (*link_function)(unsigned depth, struct result *result);
static link_function next_link(unsigned depth);

__attribute__((noinline)) static unsigned leaf(struct result *result)
{
    struct rtd_unwind_frame start;

    /* The frame as a caller of malloc() has it: its own pc, sp and rbp. */
    __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2"
                     : "=r"(start.pc), "=r"(start.sp), "=r"(start.fp));
    measure(start, result);
    return result->frames;
}

#define LINK(number, words)                                                                        \
    __attribute__((noinline)) static unsigned link_##number(unsigned depth, struct result *result) \
    {                                                                                              \
        volatile unsigned room[(words)];                                                           \
        room[0] = depth;                                                                           \
        const unsigned below = depth == 0 ? leaf(result) : next_link(depth)(depth - 1, result);    \
        return below + room[0] * (number);                                                         \
    }

LINK(1, 2)
LINK(2, 10)
LINK(3, 30)
LINK(4, 4)
LINK(5, 70)
LINK(6, 16)
LINK(7, 200)
LINK(8, 6)

static link_function next_link(unsigned depth)
{
    static const link_function links[] = {link_1, link_2, link_3, link_4,
                                          link_5, link_6, link_7, link_8};
    return links[depth % RTD_ARRAY_LENGTH(links)];
}

int main(void)
{
    struct result result = {.frames = 0};
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};

    getrlimit(RLIMIT_STACK, &limit);
    rtd_unwind_stack_init(limit.rlim_cur);
    /* main, two of libc and _start stand above, leaf below. */
    sink += link_1(DEPTH - 6, &result);
    if (result.end != RTD_UNWIND_COMPLETE || result.frames < DEPTH - 2) {
        fprintf(stderr, "bench_unwind: incomplete stack of %u frames\n", result.frames);
        return EXIT_FAILURE;
    }
    printf("frames=%u walk_ns_per_frame=%.2f libgcc_ns_per_frame=%.2f cold_ns_per_pc=%.0f\n",
           result.frames, result.walk_ns_per_frame, result.libgcc_ns_per_frame,
           result.cold_ns_per_pc);
    return EXIT_SUCCESS;
}
