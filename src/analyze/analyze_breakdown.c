// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_breakdown.c - the resident memory of a process, each page of it in exactly one class.
 *
 * Runs in:    collector, a program that links libriptide
 * Threads:    see analyze_breakdown.h
 * Allocates:  a table of names for the call of rtd_breakdown_take()
 * Fails:      by a negative errno, with the breakdown unchanged
 */
#include "analyze/analyze_breakdown.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "track/track_smaps.h"

/* Addresses that the agent's image takes up; its .bss has several mappings. */
static const uint64_t AGENT_BYTES = UINT64_C(32) << 20;

enum { NAMES_MAX = 1024, GUARD_BYTES_MAX = 65536, BSS_BYTES_MAX = 262144, PAGE_BYTES = 4096 };

/* glibc's arenas begin at multiples of this, and their unused end looks like a guard. */
#define ARENA_BYTES (UINT64_C(64) << 20)

/* jemalloc maps what it keeps its own structures in, and more, in whole huge pages. */
#define JEMALLOC_BYTES (UINT64_C(2) << 20)

/* What has one name. A file is a module when any of its mappings may be executed. */
struct named {
    uint32_t class_index;
    bool executable;
    uint64_t bytes;
    char name[RTD_BREAKDOWN_NAME_BYTES];
};

struct taking {
    struct rtd_breakdown *out;
    const struct rtd_breakdown_known *known;
    uint64_t last_end, last_bytes;
    bool last_is_guard;
    uint64_t agent_start; /* of the agent's first mapping */
    uint32_t last_file;   /* index of the file that ended at last_end, NAMES_MAX: none */
    uint32_t count;
    struct named names[NAMES_MAX];
};

const char *rtd_breakdown_class_name(uint32_t class_index)
{
    static const char *const names[RTD_BREAKDOWN_CLASSES] = {
        [RTD_BREAKDOWN_LIVE] = "live_heap",
        [RTD_BREAKDOWN_FREE] = "allocator_free_and_retained",
        [RTD_BREAKDOWN_SLACK] = "allocator_slack",
        [RTD_BREAKDOWN_METADATA] = "allocator_metadata",
        [RTD_BREAKDOWN_ANONYMOUS] = "anonymous_mappings",
        [RTD_BREAKDOWN_STACKS] = "stacks",
        [RTD_BREAKDOWN_MODULES] = "modules",
        [RTD_BREAKDOWN_FILES] = "file_mappings",
        [RTD_BREAKDOWN_SHARED] = "shared_memory",
        [RTD_BREAKDOWN_RIPTIDE] = "riptide",
        [RTD_BREAKDOWN_KERNEL] = "vdso",
        [RTD_BREAKDOWN_RESIDUAL] = "residual",
    };

    return class_index < RTD_BREAKDOWN_CLASSES ? names[class_index] : "residual";
}

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* NAMES_MAX when there is no room: the bytes are in the class and in no part. Neighbours share a
 * name mostly, so the search goes backwards. */
static uint32_t find_name(struct taking *taking, uint32_t class_index, const char *name)
{
    for (uint32_t i = taking->count; i-- > 0;)
        if (taking->names[i].class_index == class_index &&
            strncmp(taking->names[i].name, name, RTD_BREAKDOWN_NAME_BYTES - 1) == 0)
            return i;
    if (taking->count == NAMES_MAX)
        return NAMES_MAX;
    struct named *const made = &taking->names[taking->count];
    made->class_index = class_index;
    (void)snprintf(made->name, sizeof(made->name), "%.*s", (int)sizeof(made->name) - 1, name);
    return taking->count++;
}

static uint32_t class_of_name(const struct rtd_smaps_area *area)
{
    const char *const name = area->name;

    if (strstr(name, "memfd:riptide") || strstr(name, "libriptide"))
        return RTD_BREAKDOWN_RIPTIDE;
    if (begins(name, "[stack"))
        return RTD_BREAKDOWN_STACKS;
    if (begins(name, "[v"))
        return RTD_BREAKDOWN_KERNEL;
    if (begins(name, "/memfd:") || begins(name, "/dev/shm/") || begins(name, "/SYSV") ||
        begins(name, "/dev/zero") || begins(name, "[anon_shmem"))
        return RTD_BREAKDOWN_SHARED;
    return name[0] == '/' ? RTD_BREAKDOWN_FILES : RTD_BREAKDOWN_RESIDUAL;
}

static bool program_mapped(const struct taking *taking, const struct rtd_smaps_area *area)
{
    return taking->known->maps &&
           (rtd_maps_kind_at(taking->known->maps, area->start) >= 0 ||
            rtd_maps_kind_at(taking->known->maps, area->end - PAGE_BYTES) >= 0);
}

/* Whether a block that is known to live lies in the area. */
static bool holds_block(const struct rtd_breakdown_known *known, const struct rtd_smaps_area *area)
{
    size_t low = 0, high = known->block_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (known->blocks[middle] < area->start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < known->block_count && known->blocks[low] < area->end;
}

static bool is_allocators(const struct taking *taking, const struct rtd_smaps_area *area)
{
    return begins(area->permissions, "rw-p") &&
           (holds_block(taking->known, area) ||
            (taking->known->is_glibc && area->start % ARENA_BYTES == 0) ||
            (taking->known->is_jemalloc && area->start % JEMALLOC_BYTES == 0 &&
             area->end % JEMALLOC_BYTES == 0));
}

/* Behind a file's data; only the program itself and our own agent have large ones for certain. */
static bool is_plausible_bss(const struct taking *taking, const struct rtd_smaps_area *area)
{
    if (taking->names[taking->last_file].class_index == RTD_BREAKDOWN_RIPTIDE)
        return area->start - taking->agent_start < AGENT_BYTES;
    return taking->last_file == 0 || area->end - area->start <= BSS_BYTES_MAX;
}

/* Areas without a file: the class, and in *index the module when it is one's .bss. */
static uint32_t class_of_anonymous(const struct taking *taking, const struct rtd_smaps_area *area,
                                   uint32_t *index)
{
    const bool adjacent = taking->last_end == area->start;

    if (strcmp(area->name, "[heap]") == 0)
        return RTD_BREAKDOWN_FREE;
    const bool mapped = program_mapped(taking, area);
    if (adjacent && !mapped && taking->last_file < NAMES_MAX && begins(area->permissions, "rw-p") &&
        is_plausible_bss(taking, area)) {
        *index = taking->last_file;
        return taking->names[*index].class_index;
    }
    if (adjacent && taking->last_is_guard && taking->last_bytes <= GUARD_BYTES_MAX &&
        area->start % ARENA_BYTES != 0)
        return RTD_BREAKDOWN_STACKS;
    if (mapped || area->permissions[2] == 'x' || begins(area->name, "[anon:"))
        return RTD_BREAKDOWN_ANONYMOUS;
    return is_allocators(taking, area) ? RTD_BREAKDOWN_FREE : RTD_BREAKDOWN_RESIDUAL;
}

static int take_area(void *context, const struct rtd_smaps_area *area)
{
    struct taking *const taking = context;
    struct rtd_breakdown *const out = taking->out;
    uint32_t class_index = class_of_name(area), index = NAMES_MAX;

    const bool anonymous = class_index == RTD_BREAKDOWN_RESIDUAL;
    if (anonymous)
        class_index = class_of_anonymous(taking, area, &index);
    if (index == NAMES_MAX && class_index != RTD_BREAKDOWN_FREE)
        index = find_name(taking, class_index,
                          area->name[0]                           ? area->name
                          : class_index == RTD_BREAKDOWN_STACKS   ? "threads"
                          : area->permissions[2] == 'x'           ? "executable"
                          : class_index == RTD_BREAKDOWN_RESIDUAL ? "unnamed"
                                                                  : "program's own mmap");
    if (index < NAMES_MAX) {
        taking->names[index].bytes += area->rss_bytes;
        taking->names[index].executable |= !anonymous && area->permissions[2] == 'x';
    }
    out->bytes[class_index] += area->rss_bytes;
    out->anon_huge_bytes += area->anon_huge_bytes;
    out->swap_bytes += area->swap_bytes;
    if (class_index == RTD_BREAKDOWN_RIPTIDE && !taking->agent_start && strstr(area->name, ".so"))
        taking->agent_start = area->start;
    taking->last_end = area->end;
    taking->last_bytes = area->end - area->start;
    taking->last_is_guard = !area->inode && begins(area->permissions, "---p");
    /* What follows the agent's .bss may be more of it. */
    taking->last_file =
        (!anonymous && area->inode) || class_index == RTD_BREAKDOWN_RIPTIDE ? index : NAMES_MAX;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    const struct named *const left = a, *const right = b;

    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? 1 : -1;
    return strcmp(left->name, right->name);
}

static void keep_parts(struct taking *taking)
{
    struct rtd_breakdown *const out = taking->out;

    for (uint32_t i = 0; i < taking->count; i++) {
        struct named *const named = &taking->names[i];

        if (named->class_index != RTD_BREAKDOWN_FILES || !named->executable)
            continue;
        named->class_index = RTD_BREAKDOWN_MODULES;
        out->bytes[RTD_BREAKDOWN_FILES] -= named->bytes;
        out->bytes[RTD_BREAKDOWN_MODULES] += named->bytes;
    }
    qsort(taking->names, taking->count, sizeof(taking->names[0]), by_bytes);
    while (out->part_count < RTD_BREAKDOWN_PARTS && out->part_count < taking->count &&
           taking->names[out->part_count].bytes) {
        const struct named *const named = &taking->names[out->part_count];
        struct rtd_breakdown_part *const part = &out->parts[out->part_count++];

        part->class_index = named->class_index;
        part->bytes = named->bytes;
        memcpy(part->name, named->name, sizeof(part->name));
    }
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time = {0};

    (void)clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

int rtd_breakdown_take(const char *path, const struct rtd_breakdown_known *known,
                       struct rtd_breakdown *out)
{
    struct rtd_breakdown made = {.valid = true};
    struct rtd_smaps_summary summary;
    struct taking *const taking = calloc(1, sizeof(*taking));

    if (!taking)
        return -ENOMEM;
    taking->out = &made;
    taking->known = known;
    taking->last_file = NAMES_MAX;
    const int result = rtd_smaps_read(path, take_area, taking, &summary);
    if (result >= 0) {
        keep_parts(taking);
        made.taken_ns = clock_ns(CLOCK_MONOTONIC);
        made.taken_unix_ns = clock_ns(CLOCK_REALTIME);
        made.cost_ns = summary.cost_ns;
        made.areas = summary.areas;
        made.rss_bytes = summary.rss_bytes;
        made.allocator_bytes = made.bytes[RTD_BREAKDOWN_FREE];
        *out = made;
    }
    free(taking);
    return result;
}

static uint64_t take_most(uint64_t *left, uint64_t wanted)
{
    const uint64_t taken = wanted < *left ? wanted : *left;

    *left -= taken;
    return taken;
}

void rtd_breakdown_split(struct rtd_breakdown *breakdown, uint64_t live_bytes,
                         const struct rtd_allocator_figures *allocator)
{
    uint64_t left = breakdown->allocator_bytes;
    const bool knows_metadata =
        allocator->asked && allocator->metadata_bytes != RTD_ALLOCATOR_UNKNOWN;
    const bool knows_allocated =
        allocator->asked && allocator->allocated_bytes != RTD_ALLOCATOR_UNKNOWN;
    const uint64_t over = knows_allocated && allocator->allocated_bytes > live_bytes
                              ? allocator->allocated_bytes - live_bytes
                              : 0;

    if (!breakdown->valid)
        return;
    breakdown->split = true;
    breakdown->is_asked = knows_metadata || knows_allocated;
    breakdown->bytes[RTD_BREAKDOWN_LIVE] = take_most(&left, live_bytes);
    breakdown->bytes[RTD_BREAKDOWN_METADATA] =
        take_most(&left, knows_metadata ? allocator->metadata_bytes : 0);
    breakdown->bytes[RTD_BREAKDOWN_SLACK] = take_most(&left, over);
    breakdown->bytes[RTD_BREAKDOWN_FREE] = left;
}
