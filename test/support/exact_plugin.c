// SPDX-License-Identifier: Apache-2.0
/*
 * exact_plugin.c - a library that allocates, to be loaded and unloaded by exact_shapes.
 *
 * Built twice: with SECOND_PLUGIN the first two functions have other names and the same code at the
 * same place, so that nothing but the closing tells them apart; the others have other frames.
 *
 * Runs in:    the observed program of a test
 * Threads:    any
 * Allocates:  one block a call, which is the caller's
 * Fails:      as malloc() does
 */
#include <stddef.h>
#include <stdlib.h>

#ifdef SECOND_PLUGIN
enum { ROOM_BYTES = 424 };
#define plugin_leaf  second_plugin_leaf
#define plugin_other second_plugin_other
#else
enum { ROOM_BYTES = 200 };
#endif

#define NOINLINE __attribute__((noinline))

void *plugin_call_leaf(size_t size);
void *plugin_call_other(size_t size);

static NOINLINE void *plugin_leaf(size_t size)
{
    void *const p = malloc(size);
    __asm__ volatile("" ::: "memory");
    return p;
}

void *plugin_call_leaf(size_t size)
{
    void *const p = plugin_leaf(size);
    __asm__ volatile("" ::: "memory");
    return p;
}

static NOINLINE void *plugin_other(size_t size)
{
    volatile char room[ROOM_BYTES];
    room[size % sizeof room] = 1;
    void *const p = realloc(NULL, size);
    __asm__ volatile("" ::: "memory");
    return p;
}

void *plugin_call_other(size_t size)
{
    void *const p = plugin_other(size);
    __asm__ volatile("" ::: "memory");
    return p;
}
