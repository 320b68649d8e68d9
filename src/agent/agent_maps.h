// SPDX-License-Identifier: Apache-2.0
/*
 * agent_maps.h - mmap(), munmap(), mremap() and the program break, by site.
 *
 * Runs in:    agent, any thread, also before the constructor, in signal handlers, after vfork()
 * Threads:    lock-free
 * Allocates:  never; no syscall but the one the program asked for
 * Fails:      as the real function does; errno is the real function's
 *
 * What is seen is what passes the dynamic symbol table: glibc maps thread stacks, large malloc()
 * blocks and libraries by calls inside itself, which are not seen. Left out as well are the calls
 * of the allocator behind us, whose memory is the heap's, and those of the dynamic loader.
 *
 * The exported functions have C names of their own, because <sys/mman.h> turns mmap into mmap64
 * where files are large.
 */
#ifndef RTD_AGENT_MAPS_H
#define RTD_AGENT_MAPS_H

#include "base/base_macros.h"

RTD_EXPORT void *rtd_maps_mmap(void *address, size_t length, int protection, int flags, int fd,
                               int64_t offset) __asm__("mmap");
RTD_EXPORT void *rtd_maps_mmap64(void *address, size_t length, int protection, int flags, int fd,
                                 int64_t offset) __asm__("mmap64");
RTD_EXPORT int rtd_maps_munmap(void *address, size_t length) __asm__("munmap");
RTD_EXPORT void *rtd_maps_mremap(void *old_address, size_t old_length, size_t length, int flags,
                                 ...) __asm__("mremap");
RTD_EXPORT int rtd_maps_brk(void *end) __asm__("brk");
RTD_EXPORT void *rtd_maps_sbrk(intptr_t increment) __asm__("sbrk");

#endif
