// SPDX-License-Identifier: Apache-2.0
/*
 * bench_churn.c - a large heap: random replacement among a million live blocks.
 *
 * Runs in:    a process of its own, with and without a profiler
 * Threads:    one
 * Allocates:  argument 1 live blocks (default 1,000,000) of 16 to 271 bytes, a table of pointers
 * Fails:      by exit status 1 for wrong usage, no memory, or a block that is not as it was written
 *
 * Why: what a profiler keeps for each live block costs memory and a cache miss; a heap that fits
 * into the cache hides both. Prints what is live at the end of the churn, which is the measure for
 * the profiler's own memory.
 * bench_churn [BLOCKS [REPLACEMENTS]]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEAST_BYTES = 16, SPREAD_BYTES = 256 };

static uint64_t seed = 0x9e3779b97f4a7c15u;

/* xorshift64: the same blocks in every run. */
static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint32_t *block_new(uint64_t *live_bytes)
{
    const uint32_t bytes = (uint32_t)(LEAST_BYTES + (draw() >> 24) % SPREAD_BYTES);
    uint32_t *const block = malloc(bytes);

    if (block == NULL) {
        exit(1);
    }
    *block = bytes;
    *live_bytes += bytes;
    return block;
}

int main(int argc, char **argv)
{
    const unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000 * 1000;
    const unsigned long replacements = argc > 2 ? strtoul(argv[2], NULL, 10) : 4 * 1000 * 1000;
    uint32_t **const blocks = count > 0 ? calloc(count, sizeof(uint32_t *)) : NULL;
    uint64_t live_bytes = 0;

    if (blocks == NULL) {
        fprintf(stderr, "usage: bench_churn [BLOCKS [REPLACEMENTS]]\n");
        return 1;
    }
    for (unsigned long i = 0; i < count; i++) {
        blocks[i] = block_new(&live_bytes);
    }
    for (unsigned long i = 0; i < replacements; i++) {
        uint32_t **const slot = &blocks[(draw() >> 16) % count];
        live_bytes -= **slot;
        free(*slot);
        *slot = block_new(&live_bytes);
    }
    printf("live_blocks=%lu live_bytes=%llu\n", count, (unsigned long long)live_bytes);
    for (unsigned long i = 0; i < count; i++) {
        live_bytes -= *blocks[i];
        free(blocks[i]);
    }
    free((void *)blocks);
    return live_bytes != 0;
}
