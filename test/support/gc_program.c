// SPDX-License-Identifier: Apache-2.0
/*
 * gc_program.c - frees 128 MiB below a block that stays, then goes on allocating, or sleeps.
 *
 * Runs in:    test_gc.py
 * Threads:    one; two with "filter"
 * Allocates:  128 MiB, then little
 * Fails:      by its exit status
 *
 * The block at the top keeps the heap from shrinking: what is free stays resident until the
 * allocator is told. Argument: "busy", "idle", "vfork" (a child allocates in the shared memory),
 * "coroutine" (allocates on a stack of its own making only), or "filter" (a second thread
 * allocates, under a filter of system calls that kills the process when it gives memory back).
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { BLOCKS = 8192, BYTES = 16384, KEPT = 8, KEPT_BYTES = 60000, STACK_BYTES = 256 << 10 };

static char *blocks[BLOCKS];
static char stack[STACK_BYTES];
static ucontext_t main_context, other_context;

static void say_ready(void)
{
    (void)puts("ready");
    (void)fflush(stdout);
}

static void churn(void)
{
    char *kept[KEPT];
    for (int i = 0; i < KEPT; i++) {
        kept[i] = malloc(KEPT_BYTES);
        if (kept[i] == NULL)
            exit(1);
        memset(kept[i], 3, KEPT_BYTES);
    }
    usleep(1000);
    for (int i = 0; i < KEPT; i++)
        free(kept[i]);
}

static void churn_for_ever(void)
{
    for (;;)
        churn();
}

/* The child allocates, the parent waits for it: memory and ledger are one. */
static void churn_in_vfork_child(void)
{
    const pid_t child = vfork();
    if (child < 0)
        exit(1);
    if (child == 0) {
        for (int i = 0; i < 5000; i++)
            churn();
        _exit(0);
    }
    (void)waitpid(child, NULL, 0);
}

/* Only this thread has the filter: /proc/PID/status, which is the first thread's, shows none. */
static void *churn_filtered(void *unused)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
        exit(77);
    say_ready();
    churn_for_ever();
    return unused;
}

static void churn_under_a_filter(void)
{
    pthread_t thread;

    /* An arena of its own gives memory back with madvise() by itself. */
    if (mallopt(M_ARENA_MAX, 1) != 1 || pthread_create(&thread, NULL, churn_filtered, NULL) != 0)
        exit(1);
    (void)pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    const char *const what = argc > 1 ? argv[1] : "busy";
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BYTES);
        if (blocks[i] == NULL)
            return 1;
        memset(blocks[i], 1, BYTES);
    }
    char *const top = malloc(1000);
    if (top == NULL)
        return 1;
    memset(top, 2, 1000);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    if (strcmp(what, "filter") == 0)
        churn_under_a_filter();
    say_ready();
    if (strcmp(what, "busy") == 0) {
        churn_for_ever();
    } else if (strcmp(what, "vfork") == 0) {
        churn_in_vfork_child();
    } else if (strcmp(what, "coroutine") == 0) {
        (void)getcontext(&other_context);
        other_context.uc_stack.ss_sp = stack;
        other_context.uc_stack.ss_size = sizeof stack;
        other_context.uc_link = &main_context;
        makecontext(&other_context, churn_for_ever, 0);
        (void)swapcontext(&main_context, &other_context);
    } else {
        sleep(60);
    }
    return top[0] != 2;
}
