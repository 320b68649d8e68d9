// SPDX-License-Identifier: Apache-2.0
/*
 * quick_start.c - one call, and the process knows its own memory.
 *
 * Runs in:    a process of its own
 * Threads:    main; the manager has one in the background
 * Allocates:  one block, which it records
 * Fails:      by exit status 1 and one sentence on stderr
 *
 * Prints a snapshot, the leak analysis and the components, then serves its endpoints until its
 * standard input ends (Ctrl-D).
 */
#include <inttypes.h>
#include <riptide/riptide.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 1024 * 1024 };

static const double bytes_per_mb = 1048576.0;

static int fail(const char *what, int error)
{
    fprintf(stderr, "quick_start: %s: %s\n", what, riptide_strerror(error));
    return 1;
}

/* A figure that cannot be known here is not 0: it is said. */
static void print_mb(const char *name, uint64_t bytes)
{
    if (bytes == RIPTIDE_UNAVAILABLE)
        printf("%s: unavailable\n", name);
    else
        printf("%s: %.1f MB\n", name, (double)bytes / bytes_per_mb);
}

static int show_memory(struct riptide_manager *manager)
{
    struct riptide_memory_snapshot snapshot = {.size = sizeof snapshot};
    const int error = riptide_snapshot_read(manager, &snapshot);

    if (error < 0)
        return fail("no snapshot", error);
    print_mb("RSS", snapshot.rss_bytes);
    print_mb("Heap", snapshot.heap_bytes);
    print_mb("Virtual", snapshot.virtual_bytes);
    return 0;
}

static int show_leaks(struct riptide_manager *manager)
{
    const struct riptide_leak_analysis *analysis = NULL;
    const int error = riptide_analyze_leaks(manager, &analysis);

    if (error < 0)
        return fail("no leak analysis", error);
    printf("Potential leaks: %" PRIu32 ", growing by %.2f MB/hour\n",
           analysis->potential_leak_count, analysis->growth_rate_mb_per_hour);
    riptide_leaks_free(analysis);
    return 0;
}

static int show_allocators(struct riptide_manager *manager)
{
    const struct riptide_allocation_analysis *analysis = NULL;
    const int error = riptide_analyze_allocations(manager, &analysis);

    if (error < 0)
        return fail("no allocation analysis", error);
    for (uint32_t i = 0; i < analysis->allocator_count; i++) {
        const struct riptide_part *const part = analysis->top_allocators[i];

        printf("%s (%s): %" PRIu64 " bytes\n", part->name, part->domain, part->bytes);
    }
    printf("Allocation efficiency: %.1f %%\n", analysis->efficiency_score * 100.0);
    riptide_allocations_free(analysis);
    return 0;
}

int main(void)
{
    int error = 0;
    int status = 1;
    char *page = NULL;
    struct riptide_manager *const manager = riptide_manager_open(NULL, &error);

    if (!manager)
        return fail("no manager", error);
    const uint32_t html = riptide_intern(manager, "extraction", "parse_html");
    page = malloc(PAGE_BYTES);
    if (!page)
        goto out;
    memset(page, ' ', PAGE_BYTES);
    error = riptide_record_block(manager, html, page, PAGE_BYTES, 0);
    if (error < 0) {
        fail("not recorded", error);
        goto out;
    }
    if (show_memory(manager) || show_leaks(manager) || show_allocators(manager))
        goto out;
    printf("Listening on http://127.0.0.1:%d\n", riptide_manager_port(manager));
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    status = 0;
out:
    riptide_release_block(manager, page);
    free(page);
    riptide_manager_close(manager);
    return status;
}
