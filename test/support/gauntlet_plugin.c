// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_plugin.c - a shared object that allocates in its constructor, on call, and at its end.
 *
 * Runs in:    the gauntlet, between dlopen() and dlclose()
 * Threads:    any
 * Allocates:  its whole point
 * Fails:      by NULL
 */
#include <stdlib.h>
#include <string.h>

void *gauntlet_plugin_make(size_t size, int depth);
void gauntlet_plugin_drop(void *p);

static void *own;

__attribute__((constructor)) static void come(void)
{
    own = malloc(77);
}

__attribute__((destructor)) static void go(void)
{
    free(own);
    free(calloc(3, 333));
}

__attribute__((noinline)) void *gauntlet_plugin_make(size_t size, int depth)
{
    void *const p = depth > 0 ? gauntlet_plugin_make(size, depth - 1) : malloc(size);
    if (p != NULL)
        memset(p, 0x42, size);
    return p;
}

void gauntlet_plugin_drop(void *p)
{
    free(p);
}
