// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_library.c - a library whose constructor and destructor allocate, whatever their order.
 *
 * Runs in:    the gauntlet, before main() and after it
 * Threads:    one
 * Allocates:  its whole point
 * Fails:      by _exit(99)
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 200 };

int gauntlet_library_early(void);

static unsigned char *early[COUNT];

static size_t size_of(size_t i)
{
    return 1 + i * i % 5000;
}

/* The smallest priority a program may use: before the constructors of nearly everybody. */
__attribute__((constructor(101))) static void begin(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        early[i] = i % 3 == 0   ? malloc(size_of(i))
                   : i % 3 == 1 ? calloc(1, size_of(i))
                                : realloc(malloc(10), size_of(i));
        memset(early[i], (int)i, size_of(i));
    }
}

int gauntlet_library_early(void)
{
    int whole = 0;
    for (size_t i = 0; i < COUNT; i++)
        whole += early[i][size_of(i) - 1] == (unsigned char)i;
    return whole;
}

__attribute__((destructor(101))) static void end(void)
{
    if (gauntlet_library_early() != COUNT)
        _exit(99);
    for (size_t i = 0; i < COUNT; i++)
        free(i % 2 ? early[i] : realloc(early[i], 100));
}
