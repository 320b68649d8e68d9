// SPDX-License-Identifier: Apache-2.0
/*
 * track_maps.h - what a program has mapped, by the call that mapped it.
 *
 * Runs in:    collector (rtd_maps), report (rtd_mappings, the result alone)
 * Threads:    one owner
 * Allocates:  intervals and sites, both bounded
 * Fails:      by -ENOMEM, or by listing less and counting it
 *
 * A map is fed with events in their order and knows at any time which call stands behind each
 * mapped byte. Invariants: intervals are disjoint; a site's live bytes are the lengths of its
 * intervals; the total's are the sum over sites.
 *
 * Bytes are address space: whole pages of mmap() whether touched or not, single bytes of the
 * program break. As with realloc(), mremap() takes from the site that mapped and gives to its own.
 */
#ifndef RTD_TRACK_MAPS_H
#define RTD_TRACK_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RTD_MAPPING_SITES_MAX = 4096, /* [0] takes what found no site of its own */
};

/* Addresses end here; longer ranges are cut. */
#define RTD_MAPPING_ADDRESS_LIMIT (UINT64_C(1) << 47)
/* Sums stay below this, whatever a target claims. */
#define RTD_MAPPING_BYTES_LIMIT (UINT64_C(1) << 60)

enum rtd_mapping_kind {
    RTD_MAPPING_ANONYMOUS = 0,
    RTD_MAPPING_SHARED = 1, /* anonymous, shared with children */
    RTD_MAPPING_FILE = 2,   /* a private copy of a file */
    RTD_MAPPING_SHARED_FILE = 3,
    RTD_MAPPING_BREAK = 4, /* brk(), sbrk() */
    RTD_MAPPING_KINDS = 5,
};

struct rtd_mapping_figures {
    uint64_t live_bytes, peak_bytes, total_bytes; /* total: all that was ever mapped */
    uint64_t live_count;                          /* contiguous pieces now */
    uint64_t calls;
};

/* One (stack, tag, kind). Times on the ledger's clock. */
struct rtd_mapping_site {
    uint32_t stack, tag;
    uint32_t kind; /* enum rtd_mapping_kind */
    uint32_t first_ms, last_ms;
    struct rtd_mapping_figures figures;
};

/* The result: a value of its own, as reports and recordings carry it. All zero: nothing seen. */
struct rtd_mappings {
    uint64_t events;          /* seen so far */
    uint64_t unseen;          /* overwritten before they were read */
    uint64_t refused;         /* events that made no sense */
    uint64_t corrections;     /* comparisons with what the kernel says */
    uint64_t corrected_bytes; /* that were gone unseen */
    uint64_t unlisted_bytes;  /* mapped when RTD_INTERVALS_MAX were listed already */
    struct rtd_mapping_figures total;
    uint32_t site_count;
    struct rtd_mapping_site *sites; /* owned; in order of appearance */
};

/* Frees the sites and makes it empty. */
void rtd_mappings_fini(struct rtd_mappings *mappings);

/* Who maps: the key of a site and the time of the call. */
struct rtd_mapping_owner {
    uint32_t stack, tag, kind, time_ms;
};

/* What the kernel lists: [start, end) and whether a file stands behind it. */
struct rtd_mapping_area {
    uint64_t start, end;
    bool is_file;
};

struct rtd_maps;

/* NULL when memory is short. seed: a number the target does not know. */
struct rtd_maps *rtd_maps_new(uint64_t seed);
void rtd_maps_free(struct rtd_maps *maps); /* NULL is allowed */

/*
 * A call mapped these bytes; what stood there is gone. 0; -EINVAL when it is no range of the
 * address space; -ENOMEM and -ENOSPC when it is counted but not listed.
 */
int rtd_maps_add(struct rtd_maps *maps, uint64_t start, uint64_t length,
                 const struct rtd_mapping_owner *owner);

/* These bytes are not mapped any more, as far as they were. 0 or the errors above. */
int rtd_maps_remove(struct rtd_maps *maps, uint64_t start, uint64_t length);

/* enum rtd_mapping_kind of what holds address; -ENOENT when nothing does. */
int rtd_maps_kind_at(struct rtd_maps *maps, uint64_t address);

/*
 * Drops what the kernel does not list: areas sorted by start, newer than the last event fed. A
 * private anonymous mapping where a file lies is gone too. Returns the bytes that went, or -ENOMEM.
 */
int64_t rtd_maps_confirm(struct rtd_maps *maps, const struct rtd_mapping_area *areas, size_t count);

/* Copies figures and sites into *out, freeing what it held; the counters of events there are the
 * caller's and stay. 0, or -ENOMEM with *out unchanged. */
int rtd_maps_copy(const struct rtd_maps *maps, struct rtd_mappings *out);

/* Stable snake_case word of a kind; "anonymous" for a number that is none. */
const char *rtd_mapping_kind_name(uint32_t kind);

#endif
