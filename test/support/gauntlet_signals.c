// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_signals.c - handlers that allocate, handlers that jump, and ways to die.
 *
 * Runs in:    the program under test
 * Threads:    one, interrupted; two in the cases about dying
 * Allocates:  its whole point, also in handlers
 * Fails:      through CHECK
 *
 * glibc's malloc may not be re-entered by a handler. The cases therefore allocate in the handler
 * only while the interrupted code is outside malloc; those named "reentrant" do it anywhere and
 * need an allocator that allows it (reentrant_alloc.c).
 */
#include "gauntlet.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

enum { TICKS_WANTED = 300, JUMPS_WANTED = 200 };

static volatile sig_atomic_t ticks, in_malloc, anywhere, jumping;
static sigjmp_buf jump_target;

static void allocate_in_handler(void)
{
    unsigned char *blocks[6];
    for (size_t i = 0; i < 6; i++) {
        blocks[i] = i % 2 ? calloc(1, 40 + i * 300) : malloc(40 + i * 300);
        memset(blocks[i], 0x77, 40 + i * 300);
    }
    blocks[0] = realloc(blocks[0], 999);
    for (size_t i = 0; i < 6; i++) {
        CHECK(blocks[i][39] == 0x77);
        free(blocks[i]);
    }
}

static void on_tick(int signal)
{
    (void)signal;
    if (in_malloc && !anywhere)
        return;
    allocate_in_handler();
    ticks = ticks + 1;
    if (jumping)
        siglongjmp(jump_target, 1);
}

static void start_ticks(int flags)
{
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = flags};
    const struct itimerval every_ms = {{0, 1000}, {0, 1000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every_ms, NULL);
}

static void stop_ticks(void)
{
    const struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
}

static void churn_flagged(uint64_t seed)
{
    in_malloc = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    gauntlet_churn(20, seed);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    in_malloc = 0;
    for (volatile int i = 0; i < 3000; i = i + 1)
        ;
}

static int handler_allocates(void)
{
    start_ticks(SA_RESTART);
    for (uint64_t i = 0; ticks < TICKS_WANTED; i++)
        churn_flagged(i);
    stop_ticks();
    return 0;
}

static int reentrant_handler_allocates(void)
{
    anywhere = 1;
    return handler_allocates();
}

static int jump_out_of_handler(void)
{
    volatile unsigned jumps = 0;
    volatile uint64_t round = 0;
    jumping = 1;
    start_ticks(0);
    if (sigsetjmp(jump_target, 1) != 0)
        jumps = jumps + 1;
    in_malloc = 0;
    while (jumps < JUMPS_WANTED) {
        round = round + 1;
        churn_flagged(round);
    }
    stop_ticks();
    gauntlet_churn(1000, 5);
    return 0;
}

/* Jumps out of malloc itself: leaves the agent's slow path half done, again and again. */
static int reentrant_jump_out_of_handler(void)
{
    anywhere = 1;
    return jump_out_of_handler();
}

/* ---- a fault handled on a stack of its own ---- */

static unsigned char *guarded;

static void on_fault(int signal)
{
    (void)signal;
    allocate_in_handler();
    mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

static int fault_handler_on_its_own_stack(void)
{
    const struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_size = 32768};
    stack.ss_sp = malloc(stack.ss_size);
    CHECK(sigaltstack(&stack, NULL) == 0);
    sigaction(SIGSEGV, &action, NULL);
    guarded = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 200; i++) {
        mprotect(guarded, 4096, PROT_NONE);
        *(volatile unsigned char *)guarded = 1;
        gauntlet_churn(20, (uint64_t)i);
    }
    return 0;
}

static sigjmp_buf overflow_target;

static void on_overflow(int signal)
{
    (void)signal;
    allocate_in_handler();
    siglongjmp(overflow_target, 1);
}

__attribute__((noinline)) static int overflow_stack(volatile int depth)
{
    volatile char frame[2048];
    frame[0] = (char)depth;
    return depth < 0 ? frame[0] : overflow_stack(depth + 1) + frame[0];
}

static int recover_from_stack_overflow(void)
{
    const struct sigaction action = {.sa_handler = on_overflow, .sa_flags = SA_ONSTACK};
    static char space[32768];
    const stack_t stack = {.ss_sp = space, .ss_size = sizeof space};
    volatile int recovered = 0;
    CHECK(sigaltstack(&stack, NULL) == 0);
    sigaction(SIGSEGV, &action, NULL);
    while (recovered < 5) {
        if (sigsetjmp(overflow_target, 1) == 0)
            overflow_stack(0);
        recovered = recovered + 1;
        gauntlet_churn(100, 1);
    }
    printf("recovered %d\n", recovered);
    return 0;
}

/* ---- ways to end ---- */

static int die_by_abort(void)
{
    gauntlet_churn(100, 1);
    fflush(stdout);
    abort();
}

static int die_by_fault(void)
{
    gauntlet_churn(100, 1);
    fflush(stdout);
    *(volatile int *)gauntlet_hide(16) = 1;
    return 0;
}

static int die_by_kill(void)
{
    gauntlet_churn(100, 1);
    fflush(stdout);
    return raise(SIGKILL);
}

static int end_by_exit_group(void)
{
    gauntlet_churn(100, 1);
    fflush(stdout);
    _exit(77 - 7);
}

static void quick_handler(void)
{
    gauntlet_churn(100, 2);
    puts("quick_exit handler");
    fflush(stdout);
}

static int end_by_quick_exit(void)
{
    CHECK(at_quick_exit(quick_handler) == 0);
    quick_exit(9);
}

static void *held_until_exit;

static void at_exit_handler(void)
{
    gauntlet_churn(500, 3);
    free(held_until_exit);
    puts("atexit handler");
}

static int atexit_allocates(void)
{
    held_until_exit = malloc(123);
    atexit(at_exit_handler);
    return 12;
}

static void *exiting_thread(void *argument)
{
    gauntlet_churn(100, 1);
    fflush(stdout);
    exit(*(const int *)argument);
}

static int thread_calls_exit(void)
{
    const int status = 23;
    pthread_t thread;
    pthread_create(&thread, NULL, exiting_thread, (void *)(uintptr_t)&status);
    pthread_join(thread, NULL);
    return 0;
}

static int main_thread_leaves_first(void)
{
    static const int status = 24;
    pthread_t thread;
    pthread_create(&thread, NULL, exiting_thread, (void *)(uintptr_t)&status);
    pthread_exit(NULL);
}

const struct gauntlet_case gauntlet_signal_cases[] = {
    {"handler_allocates", handler_allocates},
    {"reentrant_handler_allocates", reentrant_handler_allocates},
    {"jump_out_of_handler", jump_out_of_handler},
    {"reentrant_jump_out_of_handler", reentrant_jump_out_of_handler},
    {"fault_handler_on_its_own_stack", fault_handler_on_its_own_stack},
    {"recover_from_stack_overflow", recover_from_stack_overflow},
    {"die_by_abort", die_by_abort},
    {"die_by_fault", die_by_fault},
    {"die_by_kill", die_by_kill},
    {"end_by_exit_group", end_by_exit_group},
    {"end_by_quick_exit", end_by_quick_exit},
    {"atexit_allocates", atexit_allocates},
    {"thread_calls_exit", thread_calls_exit},
    {"main_thread_leaves_first", main_thread_leaves_first},
    {NULL, NULL},
};
