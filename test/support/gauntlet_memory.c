// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet_memory.c - memory that must not become resident because somebody watches.
 *
 * Runs in:    the program under test
 * Threads:    one
 * Allocates:  up to 512 MiB resident, 1 GiB sparse
 * Fails:      through CHECK; the figures are compared by the test
 */
#include "gauntlet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int sparse_calloc(void)
{
    const size_t size = (size_t)1 << 30;
    const long before = gauntlet_status("VmRSS");
    unsigned char *const p = calloc(gauntlet_hide(size), 1);
    REQUIRE(p != NULL);
    for (size_t i = 0; i < size; i += size / 16)
        CHECK(p[i] == 0);
    gauntlet_figure("rss_growth_kib", gauntlet_status("VmRSS") - before);
    free(p);
    return 0;
}

static int sparse_calloc_from_the_heap_top(void)
{
    enum { COUNT = 6, SIZE = 20 << 20 };
    void *blocks[COUNT];
    free(malloc(gauntlet_hide(30 << 20)));
    void *const odd = malloc(100);
    const long before = gauntlet_status("VmRSS");
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = calloc(1, gauntlet_hide(SIZE));
        CHECK(blocks[i] != NULL);
    }
    gauntlet_figure("rss_growth_kib", gauntlet_status("VmRSS") - before);
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
    free(odd);
    return 0;
}

static int growth_to_512_mib(void)
{
    const size_t end = (size_t)512 << 20;
    size_t size = 4096;
    unsigned char *p = malloc(size);
    memset(p, 1, size);
    while (size < end) {
        const size_t next = size + size / 2 < end ? size + size / 2 : end;
        unsigned char *const larger = realloc(p, next);
        REQUIRE(larger != NULL);
        p = larger;
        CHECK(p[0] == 1 && p[size - 1] == 1);
        memset(p + size, 1, next - size);
        size = next;
    }
    gauntlet_figure("peak_rss_kib", gauntlet_status("VmHWM"));
    free(p);
    return 0;
}

/* Appends in small steps, as string builders do: each step is a realloc() in place, natively. */
static int growth_in_small_steps(void)
{
    enum { STEP = 4000, END = 24 << 20 };
    unsigned char *p = NULL;
    free(malloc(gauntlet_hide(30 << 20)));
    for (size_t size = STEP; size <= END; size += STEP) {
        unsigned char *const larger = realloc(p, size);
        REQUIRE(larger != NULL);
        p = larger;
        memset(p + size - STEP, (int)(size / STEP), STEP);
    }
    for (size_t at = 0; at + STEP <= END; at += STEP)
        CHECK(p[at] == (unsigned char)(at / STEP + 1));
    gauntlet_figure("peak_rss_kib", gauntlet_status("VmHWM"));
    free(p);
    return 0;
}

/* A working set that changes for a long time must not creep. */
static int steady_churn(void)
{
    gauntlet_churn(100000, 3);
    const long before = gauntlet_status("VmRSS");
    gauntlet_churn(600000, 4);
    gauntlet_figure("rss_growth_kib", gauntlet_status("VmRSS") - before);
    return 0;
}

const struct gauntlet_case gauntlet_memory_cases[] = {
    {"sparse_calloc", sparse_calloc},
    {"sparse_calloc_from_the_heap_top", sparse_calloc_from_the_heap_top},
    {"growth_to_512_mib", growth_to_512_mib},
    {"growth_in_small_steps", growth_in_small_steps},
    {"steady_churn", steady_churn},
    {NULL, NULL},
};
