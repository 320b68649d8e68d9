// SPDX-License-Identifier: Apache-2.0
/*
 * agent_real.h - the allocator behind the agent: the next definition of each malloc function that
 * is not another agent's.
 *
 * Runs in:    agent, any thread, also before any constructor
 * Threads:    the pointers are written once, with the same values by whoever comes first
 * Allocates:  never: resolution walks the loader's tables itself, without dlsym()
 * Fails:      a function that no later object defines falls back as agent_real.c says
 */
#ifndef RTD_AGENT_REAL_H
#define RTD_AGENT_REAL_H

#include "base/base_macros.h"

#include <stdbool.h>

/* Before resolution each pointer leads to a function that resolves and calls on. */
struct rtd_real {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*reallocarray)(void *, size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    size_t (*malloc_usable_size)(void *);
    void (*free_sized)(void *, size_t);
    void (*free_aligned_sized)(void *, size_t, size_t);
    int (*dlclose)(void *);
    void *(*mmap)(void *, size_t, int, int, int, int64_t);
    void *(*mmap64)(void *, size_t, int, int, int, int64_t);
    int (*munmap)(void *, size_t);
    void *(*mremap)(void *, size_t, size_t, int, ...);
    int (*brk)(void *);
    void *(*sbrk)(intptr_t);
    int (*mlockall)(int);
};

extern struct rtd_real rtd_real __attribute__((visibility("hidden")));

/*
 * Where the hooks lead when an allocation is not sampled: the real functions, or in exact mode
 * those of agent_exact.c, which see the program's frame because the hooks jump.
 */
extern struct rtd_real rtd_route __attribute__((visibility("hidden")));

/* Fills rtd_real, and rtd_route with the same. Idempotent until exact mode begins; any thread, any
 * time after the loader relocated this object. */
void rtd_real_resolve(void);

/* True when the program's own calls of malloc reach this agent (nothing before it defines it). */
bool rtd_real_is_interposed(void);

/*
 * True when another agent stands before this one: it is the one that records. One is preloaded by
 * `riptide run`, another may be linked to the program or into it.
 */
bool rtd_real_is_second(void);

/*
 * An address in the object that defines the real malloc, or NULL when that object does not define
 * memalign as well: marking a block would then mix two allocators.
 */
const void *rtd_real_malloc_module(void);

/*
 * True when the object that defines the real malloc defines operator new as well, so that it does
 * not pass through malloc, and some other object of the program calls it.
 */
bool rtd_real_operators_bypass(void);

/* True when the real malloc is glibc's own. Constant after rtd_real_resolve(). */
bool rtd_real_is_glibc(void);

/* The definition of name in the object that defines the real malloc, or NULL. */
void *rtd_real_beside_malloc(const char *name);

#endif
