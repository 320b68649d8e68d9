// SPDX-License-Identifier: Apache-2.0
/*
 * base_syscall.h - system calls without libc's wrappers.
 *
 * Runs in:    agent, at start-up, in the child handler of fork() and in mlockall(); a program that
 *             links libriptide, where a worker is started
 * Threads:    stateless
 * Allocates:  never
 * Fails:      returns the kernel's negative errno; never touches errno
 *
 * Why not libc's wrappers: socket(), connect() and close() are cancellation points, set errno, and
 * are interposed by other preloads (proxies, sandboxes) that must not see the agent's traffic.
 */
#ifndef RTD_BASE_SYSCALL_H
#define RTD_BASE_SYSCALL_H

/* Defined per architecture in base_syscall_<arch>.c. Unused arguments are 0. */
long rtd_syscall(long number, long a, long b, long c, long d, long e, long f);

/*
 * clone() into run(context), which must not return, on a stack of its own (its end, 16-aligned).
 * The new task's id, or a negative errno. Libc's version has a place in a sanitizer's tables.
 */
long rtd_syscall_clone(char *stack_end, long flags, void (*run)(void *context), void *context);

#endif
