// SPDX-License-Identifier: Apache-2.0
/*
 * base_syscall_x86_64.c - the syscall instruction of x86-64 Linux.
 *
 * Runs in:    see base_syscall.h
 * Threads:    stateless
 * Allocates:  never
 * Fails:      returns the kernel's negative errno
 */
#include "base/base_syscall.h"

#include "base/base_macros.h"

RTD_NO_SANITIZER long rtd_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
