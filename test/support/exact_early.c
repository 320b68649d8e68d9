// SPDX-License-Identifier: Apache-2.0
/*
 * exact_early.c - a library that allocates before the agent starts: its constructor runs first.
 *
 * Runs in:    the observed program of a test, preloaded behind the agent
 * Threads:    one
 * Allocates:  BLOCKS blocks, which the program frees
 * Fails:      by a null block
 */
#include <stdlib.h>

enum { BLOCKS = 64 };

static void *blocks[BLOCKS];

void *exact_early_block(unsigned index);

void *exact_early_block(unsigned index)
{
    return index < BLOCKS ? blocks[index] : NULL;
}

static __attribute__((constructor)) void start(void)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(100 + i);
}
