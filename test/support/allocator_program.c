// SPDX-License-Identifier: Apache-2.0
/*
 * allocator_program.c - allocates known amounts and prints what the allocator says of them.
 *
 * Runs in:    tests, behind the allocator that LD_PRELOAD names
 * Threads:    one
 * Allocates:  as its steps say; every byte is written
 * Fails:      by exit status 1 when memory or /proc cannot be had
 *
 * One line of JSON a step on stdout: the six figures (null: not known) and the resident set, read
 * here without the code under test. It ends with what a forced release did.
 */
#include "track/track_allocator.h"
#include "track/track_gc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SMALL_BYTES = 1000,
    SMALL_COUNT = 64 * 1024,
    LARGE_BYTES = 128 << 20,
    FRAGMENT_BYTES = 16 << 10,
    FRAGMENT_COUNT = 12800, /* 200 MiB */
    PIN_BYTES = 64,
};

static char *small[SMALL_COUNT], *fragments[FRAGMENT_COUNT], *pins[FRAGMENT_COUNT];

static uint64_t resident_bytes(void)
{
    char text[128];
    unsigned long long size, resident;
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    const ssize_t got = read(fd, text, sizeof text - 1);
    if (got <= 0)
        exit(1);
    close(fd);
    text[got] = '\0';
    if (sscanf(text, "%llu %llu", &size, &resident) != 2)
        exit(1);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static char *filled(size_t size)
{
    char *const block = malloc(size);
    if (!block)
        exit(1);
    return memset(block, 7, size);
}

static void print_figure(const char *name, uint64_t bytes)
{
    if (bytes == RTD_ALLOCATOR_UNKNOWN)
        printf(", \"%s\": null", name);
    else
        printf(", \"%s\": %" PRIu64, name, bytes);
}

static void step(const char *name)
{
    struct rtd_allocator_figures figures;
    rtd_allocator_read(&figures);
    printf("{\"step\": \"%s\", \"allocator\": \"%s\"", name, figures.name);
    print_figure("allocated", figures.allocated_bytes);
    print_figure("active", figures.active_bytes);
    print_figure("metadata", figures.metadata_bytes);
    print_figure("resident", figures.resident_bytes);
    print_figure("mapped", figures.mapped_bytes);
    print_figure("retained", figures.retained_bytes);
    printf(", \"unavailable\": \"%s\", \"rss\": %" PRIu64 "}\n", figures.unavailable,
           resident_bytes());
}

static void gc(const char *name)
{
    struct rtd_gc_result result;
    const uint64_t before_bytes = resident_bytes();
    const int error = rtd_track_gc(&result);
    printf("{\"step\": \"%s\", \"error\": %d, \"action\": \"%s\", \"before\": %" PRIu64
           ", \"after\": %" PRIu64 ", \"freed\": %" PRIu64 ", \"duration_ns\": %" PRIu64
           ", \"rss_before\": %" PRIu64 ", \"rss\": %" PRIu64 "}\n",
           name, error, result.action, result.before_bytes, result.after_bytes, result.freed_bytes,
           result.duration_ns, before_bytes, resident_bytes());
}

static void fill_small(void)
{
    for (unsigned i = 0; i < SMALL_COUNT; i++)
        small[i] = filled(SMALL_BYTES);
}

static void free_small(void)
{
    for (unsigned i = 0; i < SMALL_COUNT; i++)
        free(small[i]);
}

int main(void)
{
    static char buffer[BUFSIZ];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    step("start");
    fill_small();
    step("small");
    char *const large = filled(LARGE_BYTES);
    step("large");
    free(large);
    step("large_freed");
    free_small();
    step("small_freed");
    /* Between any two of them something stays, so that the heap cannot shrink at its end. */
    for (unsigned i = 0; i < FRAGMENT_COUNT; i++) {
        fragments[i] = filled(FRAGMENT_BYTES);
        pins[i] = filled(PIN_BYTES);
    }
    step("fragments");
    for (unsigned i = 0; i < FRAGMENT_COUNT; i++)
        free(fragments[i]);
    step("fragments_freed");
    gc("gc_fragments");
    step("pins");
    for (unsigned i = 0; i < FRAGMENT_COUNT; i++)
        free(pins[i]);
    fill_small();
    free_small();
    gc("gc_all");
    step("end");
    return 0;
}
