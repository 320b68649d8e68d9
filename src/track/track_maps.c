// SPDX-License-Identifier: Apache-2.0
/*
 * track_maps.c - intervals and sites of a program's mappings, see track_maps.h.
 *
 * Runs in:    collector, tests
 * Threads:    one owner
 * Allocates:  intervals, sites, a hash table of the sites
 * Fails:      by -ENOMEM, or by listing less and counting it
 */
#include "track/track_maps.h"

#include "track/track_intervals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SITE_SLOTS = 2 * RTD_MAPPING_SITES_MAX, FIRST_SITES = 16, OVERFLOW_SITE = 0 };
enum { LISTED_MAX = RTD_INTERVALS_MAX / 8 * 7 };

struct rtd_maps {
    struct rtd_intervals intervals; /* owner: index of the site */
    struct rtd_mapping_figures total;
    uint64_t unlisted_bytes;
    struct rtd_mapping_site *sites;
    uint32_t site_count, site_capacity;
    uint16_t slots[SITE_SLOTS]; /* index of a site; 0: free */
};

void rtd_mappings_fini(struct rtd_mappings *mappings)
{
    free(mappings->sites);
    memset(mappings, 0, sizeof(*mappings));
}

struct rtd_maps *rtd_maps_new(uint64_t seed)
{
    struct rtd_maps *const maps = calloc(1, sizeof(*maps));

    if (!maps)
        return NULL;
    rtd_intervals_init(&maps->intervals, seed);
    maps->sites = calloc(FIRST_SITES, sizeof(maps->sites[0]));
    if (!maps->sites) {
        free(maps);
        return NULL;
    }
    maps->site_capacity = FIRST_SITES;
    maps->site_count = 1;
    return maps;
}

void rtd_maps_free(struct rtd_maps *maps)
{
    if (!maps)
        return;
    rtd_intervals_fini(&maps->intervals);
    free(maps->sites);
    free(maps);
}

/* ---- sites ---- */

static uint32_t hash_site(const struct rtd_mapping_owner *owner)
{
    uint64_t x = ((uint64_t)owner->stack << 32 | owner->tag) ^ (uint64_t)owner->kind << 24;

    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(x >> 40) & (SITE_SLOTS - 1);
}

static bool grow_sites(struct rtd_maps *maps)
{
    const uint32_t capacity = maps->site_capacity * 2;

    if (maps->site_count < maps->site_capacity)
        return true;
    if (capacity > RTD_MAPPING_SITES_MAX)
        return false;
    struct rtd_mapping_site *const sites = realloc(maps->sites, capacity * sizeof(maps->sites[0]));
    if (!sites)
        return false;
    maps->sites = sites;
    maps->site_capacity = capacity;
    return true;
}

/* The site of an owner, made when it is new; OVERFLOW_SITE when there is no room. */
static uint32_t site_of(struct rtd_maps *maps, const struct rtd_mapping_owner *owner)
{
    uint32_t at = hash_site(owner);

    /* Half full at most, so a free slot ends the search. */
    for (; maps->slots[at] != 0; at = (at + 1) & (SITE_SLOTS - 1)) {
        const struct rtd_mapping_site *const site = &maps->sites[maps->slots[at]];
        if (site->stack == owner->stack && site->tag == owner->tag && site->kind == owner->kind)
            return maps->slots[at];
    }
    if (!grow_sites(maps))
        return OVERFLOW_SITE;
    maps->sites[maps->site_count] = (struct rtd_mapping_site){
        .stack = owner->stack,
        .tag = owner->tag,
        .kind = owner->kind,
        .first_ms = owner->time_ms,
    };
    maps->slots[at] = (uint16_t)maps->site_count;
    return maps->site_count++;
}

static void add_bounded(uint64_t *sum, uint64_t bytes)
{
    *sum = bytes < RTD_MAPPING_BYTES_LIMIT - *sum ? *sum + bytes : RTD_MAPPING_BYTES_LIMIT;
}

static void count_bytes(struct rtd_mapping_figures *figures, uint64_t bytes)
{
    figures->live_bytes += bytes; /* disjoint ranges: never more than all addresses */
    if (figures->peak_bytes < figures->live_bytes)
        figures->peak_bytes = figures->live_bytes;
}

static void count_call(struct rtd_mapping_figures *figures, uint64_t bytes)
{
    figures->calls++;
    add_bounded(&figures->total_bytes, bytes);
}

/* ---- ranges ---- */

static bool is_range(uint64_t start, uint64_t *length)
{
    if (*length == 0 || start >= RTD_MAPPING_ADDRESS_LIMIT)
        return false;
    if (*length > RTD_MAPPING_ADDRESS_LIMIT - start)
        *length = RTD_MAPPING_ADDRESS_LIMIT - start;
    return true;
}

static void uncount(void *context, const struct rtd_interval *interval)
{
    struct rtd_maps *const maps = context;
    struct rtd_mapping_figures *const figures = &maps->sites[interval->owner].figures;
    const uint64_t bytes = interval->end - interval->start;

    figures->live_bytes -= bytes;
    figures->live_count--;
    maps->total.live_bytes -= bytes;
    maps->total.live_count--;
}

static void cut(struct rtd_maps *maps, uint64_t key)
{
    const uint32_t owner = rtd_intervals_cut(&maps->intervals, key);

    if (owner == RTD_INTERVAL_NONE)
        return;
    maps->sites[owner].figures.live_count++;
    maps->total.live_count++;
}

/* Makes [start, end) empty; needs room for two intervals. */
static void clear(struct rtd_maps *maps, uint64_t start, uint64_t end)
{
    cut(maps, start);
    cut(maps, end);
    rtd_intervals_take(&maps->intervals, start, end, uncount, maps);
}

/* The break grows in many small steps: one piece, not one a step. */
static bool prolong_break(struct rtd_maps *maps, uint64_t start, uint64_t end, uint32_t site)
{
    struct rtd_interval *const before = start > 0 && maps->sites[site].kind == RTD_MAPPING_BREAK
                                            ? rtd_intervals_find(&maps->intervals, start - 1)
                                            : NULL;

    if (!before || before->end != start || before->owner != site)
        return false;
    before->end = end;
    return true;
}

int rtd_maps_add(struct rtd_maps *maps, uint64_t start, uint64_t length,
                 const struct rtd_mapping_owner *owner)
{
    if (!is_range(start, &length) || owner->kind >= RTD_MAPPING_KINDS)
        return -EINVAL;
    const uint32_t site = site_of(maps, owner);
    struct rtd_mapping_site *const known = &maps->sites[site];
    /* Two cuts and the new one. Removing must stay possible when no more can be added. */
    const int result =
        maps->intervals.count >= LISTED_MAX ? -ENOSPC : rtd_intervals_reserve(&maps->intervals, 3);

    known->last_ms = owner->time_ms;
    count_call(&known->figures, length);
    count_call(&maps->total, length);
    if (result < 0) {
        add_bounded(&maps->unlisted_bytes, length);
        (void)rtd_maps_remove(maps, start, length);
        return result;
    }
    clear(maps, start, start + length);
    if (!prolong_break(maps, start, start + length, site)) {
        rtd_intervals_add(&maps->intervals, (struct rtd_interval){start, start + length, site});
        known->figures.live_count++;
        maps->total.live_count++;
    }
    count_bytes(&known->figures, length);
    count_bytes(&maps->total, length);
    return 0;
}

int rtd_maps_remove(struct rtd_maps *maps, uint64_t start, uint64_t length)
{
    if (!is_range(start, &length))
        return -EINVAL;
    const int result = rtd_intervals_reserve(&maps->intervals, 2);
    if (result < 0)
        return result;
    clear(maps, start, start + length);
    return 0;
}

int rtd_maps_kind_at(struct rtd_maps *maps, uint64_t address)
{
    const struct rtd_interval *const found = rtd_intervals_find(&maps->intervals, address);

    if (!found || found->start > address)
        return -ENOENT;
    return (int)maps->sites[found->owner].kind;
}

/* ---- what the kernel says ---- */

/* The first address from `from` on that the kernel does not list for this kind, up to `to`. */
static uint64_t listed_until(const struct rtd_mapping_area *areas, size_t count, size_t *at,
                             uint64_t from, uint64_t to, bool refuse_files)
{
    while (*at < count && areas[*at].end <= from)
        (*at)++;
    for (size_t i = *at; from < to && i < count; i++) {
        if (areas[i].start > from || (refuse_files && areas[i].is_file))
            break;
        from = areas[i].end;
    }
    return from < to ? from : to;
}

/* The first address from `from` on that the kernel does list, up to `to`. */
static uint64_t missing_until(const struct rtd_mapping_area *areas, size_t count, size_t at,
                              uint64_t from, uint64_t to, bool refuse_files)
{
    for (size_t i = at; i < count && areas[i].start < to; i++) {
        if (areas[i].end <= from || (refuse_files && areas[i].is_file))
            continue;
        return areas[i].start > from ? areas[i].start : from;
    }
    return to;
}

int64_t rtd_maps_confirm(struct rtd_maps *maps, const struct rtd_mapping_area *areas, size_t count)
{
    const uint64_t before = maps->total.live_bytes;
    uint64_t from = 0;
    size_t at = 0;

    for (;;) {
        const struct rtd_interval *const found = rtd_intervals_find(&maps->intervals, from);
        if (!found)
            break;
        const uint32_t kind = maps->sites[found->owner].kind;
        const bool refuse_files = found->owner != OVERFLOW_SITE &&
                                  (kind == RTD_MAPPING_ANONYMOUS || kind == RTD_MAPPING_BREAK);
        const uint64_t end = found->end;
        from = from > found->start ? from : found->start;
        from = listed_until(areas, count, &at, from, end, refuse_files);
        if (from == end)
            continue;
        const uint64_t gone = missing_until(areas, count, at, from, end, refuse_files);
        if (rtd_maps_remove(maps, from, gone - from) < 0)
            return -ENOMEM;
        from = gone;
    }
    return (int64_t)(before - maps->total.live_bytes);
}

int rtd_maps_copy(const struct rtd_maps *maps, struct rtd_mappings *out)
{
    const bool overflown = maps->sites[OVERFLOW_SITE].figures.calls != 0;
    const uint32_t first = overflown ? OVERFLOW_SITE : 1;
    const uint32_t count = maps->site_count - first;
    struct rtd_mapping_site *const sites = realloc(out->sites, (count + 1) * sizeof(sites[0]));

    if (!sites)
        return -ENOMEM;
    memcpy(sites, &maps->sites[first], count * sizeof(sites[0]));
    out->sites = sites;
    out->site_count = count;
    out->total = maps->total;
    out->unlisted_bytes = maps->unlisted_bytes;
    return 0;
}

const char *rtd_mapping_kind_name(uint32_t kind)
{
    static const char *const names[RTD_MAPPING_KINDS] = {
        [RTD_MAPPING_ANONYMOUS] = "anonymous", [RTD_MAPPING_SHARED] = "shared",
        [RTD_MAPPING_FILE] = "file",           [RTD_MAPPING_SHARED_FILE] = "shared_file",
        [RTD_MAPPING_BREAK] = "break",
    };

    return names[kind < RTD_MAPPING_KINDS ? kind : RTD_MAPPING_ANONYMOUS];
}
