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

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_BYTES = 64 * 1024 };

/* Shared by the three processes; each writes while the one before it sleeps. */
struct launch {
    const struct rtd_symbol_program *program;
    char *stacks; /* two of STACK_BYTES */
    volatile pid_t pid;
    volatile int error; /* negative errno of what failed */
};

/* A handler of the caller must not run here, where the memory is still the caller's. */
static void reset_signals(void)
{
    sigset_t none;

    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) != 0 || action.sa_handler == SIG_IGN ||
            action.sa_handler == SIG_DFL)
            continue;
        action = (struct sigaction){.sa_handler = SIG_DFL};
        (void)sigaction(signal, &action, NULL);
    }
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int run_program(void *context)
{
    struct launch *const launch = context;
    const struct rtd_symbol_program *const program = launch->program;

    reset_signals();
    const bool is_there = program->fd == program->fd_there
                              ? fcntl(program->fd, F_SETFD, 0) == 0
                              : dup2(program->fd, program->fd_there) >= 0;
    if (is_there)
        (void)execve(program->path, program->arguments, program->environment);
    launch->error = -errno;
    return 127;
}

static int run_between(void *context)
{
    struct launch *const launch = context;
    const int pid = clone(run_program, launch->stacks + (size_t)2 * STACK_BYTES,
                          CLONE_VM | CLONE_VFORK | SIGCHLD, launch);

    if (pid < 0)
        launch->error = -errno;
    launch->pid = pid;
    return 0;
}

/* With all signals blocked, in all three. */
static int start_both(struct launch *launch)
{
    const pid_t between =
        clone(run_between, launch->stacks + STACK_BYTES, CLONE_VM | CLONE_VFORK, launch);

    if (between < 0)
        return -errno;
    while (waitpid(between, NULL, (int)__WCLONE) < 0 && errno == EINTR)
        continue;
    return launch->error;
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
    const pid_t pid = launch.pid;
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
