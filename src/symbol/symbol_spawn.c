// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_spawn.c - starts a program that the calling process will never hear of again.
 *
 * Runs in:    a program that links libriptide
 * Threads:    see the header
 * Allocates:  two small stacks for the length of the call, a pidfd
 * Fails:      see the header
 *
 *     caller --clone(no signal at its end)--> between --clone--> program --execve-->
 *       |  sleeps until between has ended        |  sleeps until execve
 */
#include "symbol/symbol_spawn.h"

#include "base/base_macros.h"
#include "base/base_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_BYTES = 64 * 1024 };

/* Shared by the three processes; each writes while the one before it sleeps. */
struct launch {
    const struct rtd_symbol_program *program;
    char *stacks; /* two of STACK_BYTES */
    volatile long pid;
    volatile long error; /* negative errno of what failed */
};

/* The kernel's own, which is not libc's. */
struct kernel_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

/*
 * What runs where the memory is still the caller's, and not as the thread it seems to be. A
 * sanitizer keeps tables of handlers, descriptors and calls under way in that memory: neither its
 * instrumentation nor its versions of libc's functions may come to pass here. So these have no
 * instrumentation (RTD_NO_SANITIZER), and call the kernel by themselves.
 */

/* A handler of the caller must not run here, where the memory is still the caller's. */
RTD_NO_SANITIZER static void reset_signals(void)
{
    struct kernel_action action;
    uint64_t none = 0;

    for (long signal = 1; signal < NSIG; signal++) {
        if (rtd_syscall(SYS_rt_sigaction, signal, 0, (long)&action, sizeof(none), 0, 0) != 0 ||
            action.handler == (uintptr_t)SIG_IGN || action.handler == (uintptr_t)SIG_DFL)
            continue;
        action.handler = (uintptr_t)SIG_DFL;
        action.flags = 0;
        (void)rtd_syscall(SYS_rt_sigaction, signal, (long)&action, 0, sizeof(none), 0, 0);
    }
    (void)rtd_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof(none), 0, 0);
}

RTD_NO_SANITIZER static void run_program(void *context)
{
    struct launch *const launch = context;
    const struct rtd_symbol_program *const program = launch->program;

    reset_signals();
    long error = program->fd == program->fd_there
                     ? rtd_syscall(SYS_fcntl, program->fd, F_SETFD, 0, 0, 0, 0)
                     : rtd_syscall(SYS_dup3, program->fd, program->fd_there, 0, 0, 0, 0);
    if (error >= 0)
        error = rtd_syscall(SYS_execve, (long)program->path, (long)program->arguments,
                            (long)program->environment, 0, 0, 0);
    launch->error = error;
    (void)rtd_syscall(SYS_exit_group, 127, 0, 0, 0, 0, 0);
}

RTD_NO_SANITIZER static void run_between(void *context)
{
    struct launch *const launch = context;
    const long pid = rtd_syscall_clone(launch->stacks + (size_t)2 * STACK_BYTES,
                                       CLONE_VM | CLONE_VFORK | SIGCHLD, run_program, launch);

    if (pid < 0)
        launch->error = pid;
    launch->pid = pid;
    (void)rtd_syscall(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* With all signals blocked, in all three. */
static int start_both(struct launch *launch)
{
    const long between = rtd_syscall_clone(launch->stacks + STACK_BYTES, CLONE_VM | CLONE_VFORK,
                                           run_between, launch);

    if (between < 0)
        return (int)between;
    while (waitpid((pid_t)between, NULL, (int)__WCLONE) < 0 && errno == EINTR)
        continue;
    return (int)launch->error;
}

int rtd_symbol_spawn(const struct rtd_symbol_program *program, int *pidfd)
{
    struct launch launch = {.program = program};
    sigset_t all, before;
    int cancel = 0;
    void *const stacks = mmap(NULL, (size_t)2 * STACK_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    *pidfd = -1;
    if (stacks == MAP_FAILED)
        return -errno;
    launch.stacks = stacks;
    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = start_both(&launch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setcancelstate(cancel, NULL);
    (void)munmap(stacks, (size_t)2 * STACK_BYTES);
    if (error < 0)
        return error;
    /* Still its own number: it waits for our end of its socket. 1: a tool that copies our memory
     * where we share it, as valgrind does, keeps the number from us. */
    const pid_t pid = (pid_t)launch.pid;
    if (pid > 0)
        *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return pid > 0 ? pid : 1;
}

void rtd_symbol_spawn_end(int pidfd)
{
    if (pidfd < 0)
        return;
    siginfo_t ignored;

    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    /* Whoever takes in orphans itself would keep a zombie; for all others this is ECHILD. */
    while (waitid(P_PIDFD, (id_t)pidfd, &ignored, WEXITED) < 0 && errno == EINTR)
        continue;
    (void)close(pidfd);
}
