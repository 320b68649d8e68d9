// SPDX-License-Identifier: Apache-2.0
/*
 * exact_shapes.c - allocations under stacks that tempt a cache of stacks to be wrong.
 *
 * Runs in:    the observed program of a test: exact_shapes PLUGIN PLUGIN CASE [SEED]
 * Threads:    as the case says
 * Allocates:  blocks on accounts (exact_program.h), one account a function
 * Fails:      with status 3
 *
 * Each case allocates in named functions, keeps its own books on them, and prints those at the end
 * as JSON. The report must have the same figures for the same functions.
 */
#include "exact_program.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define ACCOUNT(name)                                                                              \
    static struct exact_account name##_account = {.function = #name};                              \
    static struct exact_account *const name##_books = &name##_account

enum {
    DEPTH_MAX = 1500,
    KEPT_MAX = 1 << 16,
    ROUNDS = 3000,
    COROUTINES = 8,
    STACK_BYTES = 64 << 10,
    THREADS = 8,
    ACCOUNTS_MAX = 4,
};

static uint64_t seed = 1;
static void *kept[KEPT_MAX];
static size_t kept_count;

/* Keeps every third block, so that live figures are something to compare. */
static void keep_or_release(void *block)
{
    if (kept_count < KEPT_MAX && exact_random(&seed) % 3 == 0)
        kept[kept_count++] = block;
    else
        exact_release(block);
}

static size_t some_bytes(void)
{
    return EXACT_BLOCK_BYTES_MIN + exact_random(&seed) % 500;
}

/* ---- recursion: one function, many depths ---- */

ACCOUNT(recurse);

static EXACT_NOINLINE void recurse(unsigned depth)
{
    if (depth == 0) {
        const size_t size = some_bytes();
        void *const p = malloc(size);
        exact_credit(recurse_books, p, size);
        keep_or_release(p);
    } else {
        recurse(depth - 1);
    }
    EXACT_KEEP_FRAME();
}

static void case_recursion(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        recurse(i % 7 == 0 ? (unsigned)(exact_random(&seed) % DEPTH_MAX)
                           : (unsigned)(exact_random(&seed) % 40));
}

/* ---- the same return addresses under different callers, frames of changing size ---- */

ACCOUNT(even_leaf);
ACCOUNT(odd_leaf);
ACCOUNT(array_leaf);

static EXACT_NOINLINE void *even_leaf(size_t size)
{
    void *const p = malloc(size);
    exact_credit(even_leaf_books, p, size);
    return p;
}

static EXACT_NOINLINE void *odd_leaf(size_t size)
{
    void *const p = calloc(1, size);
    exact_credit(odd_leaf_books, p, size);
    return p;
}

/* A frame whose size only it knows: its caller is found by the frame pointer. */
static EXACT_NOINLINE void *array_leaf(size_t size)
{
    volatile char *const room = __builtin_alloca(16 + size % 300);
    room[0] = 1;
    void *const p = malloc(size);
    exact_credit(array_leaf_books, p, size);
    EXACT_KEEP_FRAME();
    return p;
}

static void *odd(unsigned pattern, unsigned depth);

static EXACT_NOINLINE void *even(unsigned pattern, unsigned depth)
{
    void *p;
    if (depth == 0)
        p = even_leaf(some_bytes());
    else
        p = pattern & 1 ? odd(pattern >> 1, depth - 1) : even(pattern >> 1, depth - 1);
    EXACT_KEEP_FRAME();
    return p;
}

static EXACT_NOINLINE void *odd(unsigned pattern, unsigned depth)
{
    volatile char *const room = __builtin_alloca(8 + (pattern % 5) * 40);
    void *p;
    room[0] = 1;
    if (depth == 0)
        p = pattern & 2 ? array_leaf(some_bytes()) : odd_leaf(some_bytes());
    else
        p = pattern & 1 ? even(pattern >> 1, depth - 1) : odd(pattern >> 1, depth - 1);
    EXACT_KEEP_FRAME();
    return p;
}

static void case_mutual(void)
{
    for (unsigned i = 0; i < ROUNDS * 4; i++) {
        const unsigned pattern = (unsigned)exact_random(&seed);
        keep_or_release(even(pattern % 2048, pattern >> 16 & 15));
    }
}

/* ---- longjmp ---- */

ACCOUNT(jump_leaf);
ACCOUNT(after_jump);

/* Always true; the compiler shall not conclude that the recursion has no end. */
static volatile int may_jump = 1;

static EXACT_NOINLINE void jump_leaf(jmp_buf place, unsigned depth)
{
    if (depth == 0) {
        const size_t size = some_bytes();
        void *const p = malloc(size);
        exact_credit(jump_leaf_books, p, size);
        keep_or_release(p);
        if (may_jump)
            longjmp(place, 1);
    } else {
        jump_leaf(place, depth - 1);
    }
    EXACT_KEEP_FRAME();
}

static EXACT_NOINLINE void after_jump(void)
{
    const size_t size = some_bytes();
    void *const p = malloc(size);
    exact_credit(after_jump_books, p, size);
    keep_or_release(p);
    EXACT_KEEP_FRAME();
}

static void case_longjmp(void)
{
    jmp_buf place;
    for (volatile unsigned i = 0; i < ROUNDS; i++) {
        if (setjmp(place) == 0)
            jump_leaf(place, i % 23);
        after_jump();
    }
}

/* ---- coroutines: one thread, many stacks, in memory of the heap and of mmap() ---- */

ACCOUNT(coroutine_leaf);

static ucontext_t main_context, contexts[COROUTINES];

static EXACT_NOINLINE void coroutine_leaf(unsigned depth)
{
    if (depth == 0) {
        const size_t size = some_bytes();
        void *const p = malloc(size);
        exact_credit(coroutine_leaf_books, p, size);
        keep_or_release(p);
    } else {
        coroutine_leaf(depth - 1);
    }
    EXACT_KEEP_FRAME();
}

static void coroutine(int number)
{
    for (unsigned i = 0; i < 200; i++) {
        coroutine_leaf((i + (unsigned)number) % 11);
        swapcontext(&contexts[number], &main_context);
    }
}

static void case_coroutines(void)
{
    static char in_program[COROUTINES / 2][STACK_BYTES];
    for (volatile int i = 0; i < COROUTINES; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_size = STACK_BYTES;
        contexts[i].uc_stack.ss_sp = i % 2 ? mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                           : in_program[i / 2];
        contexts[i].uc_link = &main_context;
        makecontext(&contexts[i], (void (*)(void))(uintptr_t)coroutine, 1, i);
    }
    for (unsigned round = 0; round < 200; round++)
        for (int i = 0; i < COROUTINES; i++)
            swapcontext(&main_context, &contexts[i]);
}

/* ---- a handler on a signal stack of its own ---- */

ACCOUNT(handler_leaf);
ACCOUNT(before_signal);

static EXACT_NOINLINE void handler_leaf(int number)
{
    const size_t size = some_bytes();
    (void)number;
    void *const p = malloc(size);
    exact_credit(handler_leaf_books, p, size);
    keep_or_release(p);
    EXACT_KEEP_FRAME();
}

static EXACT_NOINLINE void before_signal(unsigned depth)
{
    if (depth == 0) {
        const size_t size = some_bytes();
        void *const p = malloc(size);
        exact_credit(before_signal_books, p, size);
        keep_or_release(p);
        raise(SIGUSR1);
    } else {
        before_signal(depth - 1);
    }
    EXACT_KEEP_FRAME();
}

static void case_sigaltstack(void)
{
    static char memory[STACK_BYTES];
    const stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
    struct sigaction action = {.sa_handler = handler_leaf};
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        /* In turn on its own stack and on the thread's. */
        action.sa_flags = i % 2 ? SA_ONSTACK : 0;
        sigaction(SIGUSR1, &action, NULL);
        before_signal(i % 13);
    }
}

/* ---- code that comes and goes ---- */

static const char *plugin_paths[2];
ACCOUNT(plugin_leaf);
ACCOUNT(plugin_other);
ACCOUNT(second_plugin_leaf);
ACCOUNT(second_plugin_other);

static void call_plugin(void *handle, const char *name, struct exact_account *books)
{
    const size_t size = some_bytes();
    void *(*function)(size_t);
    void *const symbol = dlsym(handle, name);
    memcpy(&function, &symbol, sizeof symbol);
    void *const p = function(size);
    exact_credit(books, p, size);
    keep_or_release(p);
}

static void case_plugins(void)
{
    /* One call for both: their stacks must be alike to the last address. */
    struct exact_account *const leaf_books[] = {plugin_leaf_books, second_plugin_leaf_books};
    struct exact_account *const other_books[] = {plugin_other_books, second_plugin_other_books};
    for (unsigned i = 0; i < 60; i++) {
        void *const handle = dlopen(plugin_paths[i % 2], RTLD_NOW | RTLD_LOCAL);
        if (handle == NULL)
            _exit(3);
        for (unsigned n = 0; n < 20; n++) {
            call_plugin(handle, "plugin_call_leaf", leaf_books[i % 2]);
            call_plugin(handle, "plugin_call_other", other_books[i % 2]);
        }
        /* The other one comes to the same place. */
        dlclose(handle);
    }
}

/* ---- many threads through the same functions ---- */

ACCOUNT(thread_leaf);

static EXACT_NOINLINE void *thread_leaf(uint64_t *random, unsigned depth)
{
    void *p;
    if (depth == 0) {
        const size_t size = EXACT_BLOCK_BYTES_MIN + exact_random(random) % 300;
        p = malloc(size);
        exact_credit(thread_leaf_books, p, size);
    } else {
        p = thread_leaf(random, depth - 1);
    }
    EXACT_KEEP_FRAME();
    return p;
}

static void *thread_work(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        void *const p = thread_leaf(&random, (unsigned)(exact_random(&random) % 60));
        if (i % 10 != 0)
            exact_release(p);
    }
    return NULL;
}

static void case_threads(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, thread_work, (void *)(i + seed)) != 0)
            _exit(3);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* ---- a handler that interrupts anywhere; needs an allocator that may be interrupted ---- */

ACCOUNT(interrupted_leaf);
ACCOUNT(interrupting_leaf);

enum { SIGNALS = 4000, HANDLER_KEPT = 64 };
static _Atomic unsigned handled;

static EXACT_NOINLINE void *interrupting_leaf(size_t size)
{
    void *const p = malloc(size);
    exact_credit(interrupting_leaf_books, p, size);
    EXACT_KEEP_FRAME();
    return p;
}

static void interrupt(int number)
{
    static void *own[HANDLER_KEPT];
    (void)number;
    const unsigned n = handled++;
    void **const place = &own[n % HANDLER_KEPT];
    if (*place != NULL)
        exact_release(*place);
    *place = interrupting_leaf(20 + n % 200);
    exact_release(interrupting_leaf(30));
}

static EXACT_NOINLINE void interrupted_leaf(unsigned depth)
{
    if (depth == 0) {
        const size_t size = some_bytes();
        void *const p = malloc(size);
        exact_credit(interrupted_leaf_books, p, size);
        keep_or_release(p);
    } else {
        interrupted_leaf(depth - 1);
    }
    EXACT_KEEP_FRAME();
}

static void *send_signals(void *thread)
{
    while (handled < SIGNALS)
        pthread_kill(*(const pthread_t *)thread, SIGUSR2);
    return NULL;
}

static void case_interrupts(void)
{
    pthread_t self = pthread_self(), sender;
    struct sigaction action = {.sa_handler = interrupt};
    sigset_t set;
    sigaction(SIGUSR2, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    exact_release(interrupting_leaf(16));
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&sender, NULL, send_signals, &self) != 0)
        _exit(3);
    exact_checkpoint("begun");
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    for (unsigned i = 0; handled < SIGNALS; i++)
        interrupted_leaf(i % 19);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pthread_join(sender, NULL);
}

/* ---- the cases ---- */

static const struct {
    const char *name;
    void (*run)(void);
    const struct exact_account *accounts[ACCOUNTS_MAX];
} cases[] = {
    {"recursion", case_recursion, {&recurse_account}},
    {"mutual", case_mutual, {&even_leaf_account, &odd_leaf_account, &array_leaf_account}},
    {"longjmp", case_longjmp, {&jump_leaf_account, &after_jump_account}},
    {"coroutines", case_coroutines, {&coroutine_leaf_account}},
    {"sigaltstack", case_sigaltstack, {&handler_leaf_account, &before_signal_account}},
    {"plugins",
     case_plugins,
     {&plugin_leaf_account, &plugin_other_account, &second_plugin_leaf_account,
      &second_plugin_other_account}},
    {"threads", case_threads, {&thread_leaf_account}},
    {"interrupts", case_interrupts, {&interrupted_leaf_account, &interrupting_leaf_account}},
};

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    plugin_paths[0] = argv[1];
    plugin_paths[1] = argv[2];
    seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t count = 0;
        if (strcmp(cases[i].name, argv[3]) != 0)
            continue;
        cases[i].run();
        exact_checkpoint(cases[i].name);
        while (count < ACCOUNTS_MAX && cases[i].accounts[count] != NULL)
            count++;
        exact_print_accounts(cases[i].accounts, count);
        return 0;
    }
    return 2;
}
