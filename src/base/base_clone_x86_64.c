// SPDX-License-Identifier: Apache-2.0
/*
 * base_clone_x86_64.c - clone() on x86-64 Linux, in a file of its own: the agent never clones.
 *
 * Runs in:    a program that links libriptide, where a worker is started
 * Threads:    stateless
 * Allocates:  never
 * Fails:      returns the kernel's negative errno
 */
#include "base/base_macros.h"
#include "base/base_syscall.h"

#include <sys/syscall.h>

RTD_NO_SANITIZER long rtd_syscall_clone(char *stack_end, long flags, void (*run)(void *context),
                                        void *context)
{
    long result = SYS_clone;
    register void *const argument __asm__("r12") = context;
    register const long child_tid __asm__("r10") = 0;
    register const long tls __asm__("r8") = 0;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%rbx\n\t"
                     "hlt\n"
                     "1:"
                     : "+a"(result)
                     : "D"(flags), "S"(stack_end), "d"(0L), "r"(child_tid), "r"(tls), "b"(run),
                       "r"(argument)
                     : "rcx", "r11", "memory", "cc");
    return result;
}
