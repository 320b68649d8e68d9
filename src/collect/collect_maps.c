// SPDX-License-Identifier: Apache-2.0
/*
 * collect_maps.c - events to intervals, and intervals against /proc/PID/maps.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop, see collect_maps.h
 * Allocates:  the map of the process; the list of areas while it is compared
 * Fails:      by counting
 */
#include "collect/collect_maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SECOND_NS  UINT64_C(1000000000)
#define CORRECT_NS (10 * SECOND_NS)
/* munmap() of a large range takes long, and its event waits for it. */
#define PATIENCE_NS (2 * SECOND_NS)

enum { PAGE_BYTES = 4096, HUGE_SHIFT_DEFAULT = 21, AREAS_FIRST = 256, AREAS_MAX = 1 << 18 };

void rtd_collect_maps_fini(struct rtd_collect_maps *state)
{
    rtd_maps_free(state->maps);
    rtd_mappings_fini(&state->counts);
    memset(state, 0, sizeof(*state));
}

/* ---- events ---- */

/* The kernel maps whole pages; huge ones are as large as the flags say. */
static uint64_t round_length(uint64_t length, uint64_t flags)
{
    uint64_t page = PAGE_BYTES;

    if (flags & RTD_MAP_BREAK)
        return length;
    if (flags & MAP_HUGETLB) {
        const unsigned shift = (flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;
        page = UINT64_C(1) << (shift ? shift : (unsigned)HUGE_SHIFT_DEFAULT);
    }
    return length > UINT64_MAX - page ? length : (length + page - 1) & ~(page - 1);
}

static uint32_t kind_of(uint64_t flags)
{
    const bool is_shared = (flags & MAP_TYPE) != MAP_PRIVATE;

    if (flags & RTD_MAP_BREAK)
        return RTD_MAPPING_BREAK;
    if (flags & MAP_ANONYMOUS)
        return is_shared ? RTD_MAPPING_SHARED : RTD_MAPPING_ANONYMOUS;
    return is_shared ? RTD_MAPPING_SHARED_FILE : RTD_MAPPING_FILE;
}

static void remember_move(struct rtd_collect_maps *state, uint64_t address)
{
    const unsigned slot = state->move_count++ % RTD_COLLECT_MOVES;

    state->moves[slot].address = address;
    state->moves[slot].kind = rtd_maps_kind_at(state->maps, address);
}

/* Of the newest move that was noted from there; negative: none. */
static int noted_kind(const struct rtd_collect_maps *state, uint64_t address)
{
    const unsigned known =
        state->move_count < RTD_COLLECT_MOVES ? state->move_count : (unsigned)RTD_COLLECT_MOVES;

    for (unsigned i = 1; i <= known; i++) {
        const unsigned slot = (state->move_count - i) % RTD_COLLECT_MOVES;
        if (state->moves[slot].address == address)
            return state->moves[slot].kind;
    }
    return -ENOENT;
}

/*
 * What kind of mapping stood where mremap() took this one from. has_stayed: nothing was taken away.
 * A kind that is not known becomes the one that any area of the kernel's list confirms.
 */
static uint32_t moved_kind(const struct rtd_collect_maps *state, uint64_t address, bool has_stayed)
{
    const int kind =
        has_stayed ? rtd_maps_kind_at(state->maps, address) : noted_kind(state, address);

    return kind < 0 ? RTD_MAPPING_FILE : (uint32_t)kind;
}

static int apply(struct rtd_collect_maps *state, const struct rtd_map_value *event)
{
    struct rtd_mapping_owner owner = {event->stack, event->tag, kind_of(event->flags),
                                      event->time_ms};

    if (event->kind != RTD_MAP_NONE &&
        (event->tag >= RTD_TAG_COUNT || event->length >> RTD_PC_BITS != 0))
        return -EINVAL;
    switch (event->kind) {
    case RTD_MAP_NONE:
        return 0;
    case RTD_MAP_ADD:
        break;
    case RTD_MAP_REMOVE:
        if (event->flags & RTD_MAP_MOVING)
            remember_move(state, event->address);
        return rtd_maps_remove(state->maps, event->address,
                               round_length(event->length, event->flags));
    case RTD_MAP_MOVE:
        owner.kind = moved_kind(state, event->old_address, event->old_length == 0);
        break;
    default:
        return -EINVAL;
    }
    state->mapped_bytes += event->length;
    return rtd_maps_add(state->maps, event->address, round_length(event->length, event->flags),
                        &owner);
}

static void count_unseen(struct rtd_collect_maps *state, struct rtd_ledger *ledger, uint64_t count)
{
    state->counts.unseen += count;
    state->lossy = true;
    state->changed = true;
    atomic_fetch_add_explicit(&ledger->header.loss[RTD_LOSS_MAPS_UNSEEN], count,
                              memory_order_relaxed);
}

/* An event that is not there yet: true when it is to be waited for. */
static bool is_awaited(struct rtd_collect_maps *state, uint64_t now_ns, bool last)
{
    if (last)
        return false;
    if (!state->waiting_ns)
        state->waiting_ns = now_ns;
    return now_ns - state->waiting_ns < PATIENCE_NS;
}

void rtd_collect_maps_drain(struct rtd_collect_maps *state, struct rtd_ledger *ledger,
                            uint64_t now_ns, bool last)
{
    const uint64_t count = rtd_map_count(ledger);

    if (count == state->next)
        return;
    if (!state->maps)
        state->maps = rtd_maps_new(now_ns ^ (uintptr_t)state);
    if (!state->maps)
        return;
    if (count < state->next) {
        /* Tickets only grow: a scribbled counter. Go on from where it says. */
        state->counts.refused++;
        state->next = count;
        state->waiting_ns = 0;
    }
    if (count - state->next > RTD_MAP_COUNT) {
        count_unseen(state, ledger, count - state->next - RTD_MAP_COUNT);
        state->next = count - RTD_MAP_COUNT;
        state->waiting_ns = 0;
    }
    if (!state->drift_ns)
        state->drift_ns = now_ns;
    for (; state->next < count; state->next++) {
        struct rtd_map_value event;
        const enum rtd_map_read result = rtd_map_read(ledger, state->next, &event);
        if (result == RTD_MAP_READ_PENDING && is_awaited(state, now_ns, last))
            return;
        state->waiting_ns = 0;
        if (result != RTD_MAP_READ_DONE) {
            count_unseen(state, ledger, 1);
            continue;
        }
        state->counts.events++;
        state->changed = true;
        if (apply(state, &event) == -EINVAL)
            state->counts.refused++;
    }
}

/* ---- what the kernel says ---- */

struct area_list {
    struct rtd_mapping_area *areas;
    size_t count, capacity;
};

static int append_area(struct area_list *list, struct rtd_mapping_area area)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? list->capacity * 2 : (size_t)AREAS_FIRST;
        if (capacity > AREAS_MAX)
            return -ENOSPC;
        struct rtd_mapping_area *const areas =
            realloc(list->areas, capacity * sizeof(list->areas[0]));
        if (!areas)
            return -ENOMEM;
        list->areas = areas;
        list->capacity = capacity;
    }
    list->areas[list->count++] = area;
    return 0;
}

/* The kernel lists areas in order of their addresses. */
static int read_areas(pid_t pid, struct area_list *list)
{
    char path[64], *line = NULL;
    size_t capacity = 0;
    int result = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *const file = fopen(path, "re");
    if (!file)
        return -errno;
    while (result == 0 && getline(&line, &capacity, file) > 0) {
        uint64_t start = 0, end = 0, inode = 0;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*x %*s %" SCNu64, &start, &end, &inode) == 3)
            /* The kernel keeps private huge pages in a file of its own. */
            result =
                append_area(list, (struct rtd_mapping_area){
                                      start, end, inode != 0 && !strstr(line, "/anon_hugepage")});
    }
    free(line);
    (void)fclose(file);
    return result;
}

/*
 * A process that is dead shows no areas, and one that has begun another program shows that one's.
 * The allocator's place, random in each image, tells whether the list is that of the ledger.
 */
static bool is_same_image(const struct area_list *list, uint64_t landmark)
{
    for (size_t i = 0; i < list->count; i++) {
        if (landmark >= list->areas[i].start && landmark < list->areas[i].end)
            return list->areas[i].is_file;
    }
    return false;
}

void rtd_collect_maps_correct(struct rtd_collect_maps *state, const struct rtd_ledger *ledger,
                              pid_t pid, uint64_t now_ns)
{
    struct area_list list = {NULL, 0, 0};

    if (!state->maps || !state->drift_ns)
        return;
    /* Without a loss there is time: it is for what passes unseen by nature. */
    const uint64_t since_ns = state->lossy ? state->corrected_ns : state->drift_ns;
    if (since_ns && now_ns - since_ns < CORRECT_NS)
        return;
    state->corrected_ns = now_ns;
    state->drift_ns = 0;
    state->lossy = false;
    if (read_areas(pid, &list) == 0 &&
        is_same_image(&list, ledger->header.allocator_module_start)) {
        const int64_t gone = rtd_maps_confirm(state->maps, list.areas, list.count);
        state->counts.corrections++;
        state->counts.corrected_bytes += gone > 0 ? (uint64_t)gone : 0;
        state->changed = true;
    }
    free(list.areas);
}

/* ---- figures ---- */

bool rtd_collect_maps_changed(const struct rtd_collect_maps *state)
{
    return state->changed;
}

int rtd_collect_maps_publish(struct rtd_collect_maps *state, struct rtd_mappings *out)
{
    if (!state->changed)
        return 0;
    out->events = state->counts.events;
    out->unseen = state->counts.unseen;
    out->refused = state->counts.refused;
    out->corrections = state->counts.corrections;
    out->corrected_bytes = state->counts.corrected_bytes;
    const int result = state->maps ? rtd_maps_copy(state->maps, out) : 0;
    if (result == 0)
        state->changed = false;
    return result;
}
