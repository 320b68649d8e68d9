// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_spawn.h - starts a program that the calling process will never hear of again.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; of the calling thread all signals are blocked for the length of the call
 * Allocates:  two small stacks for the length of the call, a pidfd
 * Fails:      by a negative errno; nothing is left behind
 *
 * Why not fork() or posix_spawn(): the caller is somebody's service. A child of it would send it
 * SIGCHLD and turn up in its waitpid(-1), and fork() would run its fork handlers. So a process in
 * between, which ends silently, starts the program; the program's parent is then whoever takes
 * orphans in. Memory is shared until the program runs, as with vfork(): nothing is copied, and
 * no handler of the caller runs in either process.
 *
 * Limitation: a caller that takes orphans in itself (process 1 of a container, PR_SET_CHILD_
 * SUBREAPER) gets the program as a child after all, and SIGCHLD at its end; it is reaped here.
 */
#ifndef RTD_SYMBOL_SPAWN_H
#define RTD_SYMBOL_SPAWN_H

/* Everything is borrowed for the call. */
struct rtd_symbol_program {
    const char *path;
    char *const *arguments, *const *environment; /* each ends with NULL */
    int fd, fd_there;                            /* this descriptor of ours is that one there */
};

/*
 * Starts it. Returns its process id, or a negative errno, also when it cannot be executed. *pidfd
 * is close-on-exec and the caller's, or -1 where the kernel has no such thing.
 */
int rtd_symbol_spawn(const struct rtd_symbol_program *program, int *pidfd);

/* Kills the process behind a pidfd, if it still runs, and closes it. -1 is allowed. */
void rtd_symbol_spawn_end(int pidfd);

#endif
