// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_report.h - the report as data: what every face (text, JSON, HTTP, Prometheus) is made
 * from.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    a report is immutable once built
 * Allocates:  yes; a report owns all its strings and arrays
 * Fails:      rtd_report_new returns NULL when memory is short
 */
#ifndef RTD_ANALYZE_REPORT_H
#define RTD_ANALYZE_REPORT_H

#include "analyze/analyze_estimate.h"
#include "analyze/analyze_forecast.h"
#include "analyze/analyze_input.h"

/*
 * Ownership, for every type below: strings and arrays belong to the report and live as long as it
 * does. Equal strings are mostly the same pointer, but that is not promised: compare the texts.
 */

/* A place in code: where a call stands, or what was inlined there. */
struct rtd_report_frame {
    const char *function; /* demangled; NULL if unknown */
    const char *file;     /* NULL if unknown */
    uint32_t line;        /* 0 if unknown */
    const char *module;   /* path, never NULL ("?" if no module holds the pc) */
    const char *build_id; /* lower-case hex, "" if none */
    uint64_t offset;      /* ELF virtual address of the call; 0: given by name alone */
    bool inlined;
};

/* Each with its interval. allocated and allocations count from the start, live is of now. */
struct rtd_report_figures {
    struct rtd_estimate live_bytes, live_blocks, allocated_bytes, allocations;
};

/* What exact mode counts besides, from the start. */
struct rtd_report_counts {
    uint64_t frees, freed_bytes;
    uint64_t temporary;               /* freed before the same thread's next allocation */
    uint64_t peak_bytes, peak_blocks; /* live when the process held most */
    uint64_t max_size;                /* largest block asked for; of 4 GiB and more, as 4 GiB - 1 */
    uint64_t lifetime[RTD_LIFETIME_BUCKETS]; /* frees by age bucket */
};

/* From here on ids are of what a domain recorded without a stack: one a pair of names, by them. */
#define RTD_SITE_OF_TAG (UINT32_C(1) << 31)

/* All allocations made by one stack, as it is shown: ledger sites that look the same are merged. */
struct rtd_report_site {
    uint32_t id; /* stable within a recording: the leaf node id, or one of RTD_SITE_OF_TAG */
    uint32_t named_frame; /* index of the frame that names the site; == frame_count if none */
    const char *function, *file,
        *module; /* of that frame; function/file NULL if unknown; module never NULL */
    uint32_t line;
    const char *component, *operation;
    uint32_t frame_count;
    const struct rtd_report_frame
        *frames; /* leaf first; our hooks and the allocator are left out */
    bool truncated;
    struct rtd_report_figures figures;
    uint64_t samples_live, samples_total;   /* in exact mode all blocks are samples */
    const struct rtd_report_counts *counts; /* NULL in sampling mode */
    uint64_t first_seen_unix_ns, last_seen_unix_ns;
};

/* Sites and components each add up to the totals, to the last byte. */
struct rtd_report_component {
    const char *name; /* a tag's, or the module's of the naming frame */
    struct rtd_report_figures figures;
};

struct rtd_report_operation {
    const char *component, *name;
    struct rtd_report_figures figures;
};

/* The seed's LeakInfo with the reasons that fired and the site behind it. */
struct rtd_report_leak {
    const char *component;
    uint32_t site; /* id in sites[] of the largest contributor */
    const struct rtd_report_site *site_ref;
    uint64_t allocation_count; /* live blocks */
    uint64_t total_size_bytes; /* live bytes */
    double average_size_bytes;
    double growth_rate; /* bytes per hour, slope over the window */
    uint64_t first_seen_unix_ns, last_seen_unix_ns;
    uint32_t reason_count;
    const char *reasons[4]; /* "high_growth_rate", "large_live_size",
                               "small_allocation_accumulation", "peak_growth" */
};

/* A live block that is known one by one. */
struct rtd_report_block {
    uint64_t address, size_bytes; /* address 0: not known */
    uint64_t born_unix_ns;
    uint64_t alignment;                /* as it was recorded; 0: not known */
    uint32_t thread;                   /* tid or 0 */
    const char *component, *operation; /* those of the tag it was allocated under, if any */
    const struct rtd_report_site *site;
};

enum { RTD_LARGEST_MAX = 20 };

/* potential_leaks are ordered by size, the largest first. */
struct rtd_report_leaks {
    uint32_t potential_leak_count;      /* entries in potential_leaks */
    double growth_rate_mb_per_hour;     /* sum of the listed ones; MB are 2^20 bytes */
    const char *highest_risk_component; /* NULL if none */
    const struct rtd_report_leak *potential_leaks;
    uint32_t pattern_count;
    const char *const *suspicious_patterns;
    /*
     * The largest live blocks by size, then age (the oldest first), then address. Of the heap,
     * blocks are known that were sampled, and in exact mode those of the pages that were looked at:
     * large ones nearly always, small ones by chance. Of a domain, those in the samples.
     */
    uint32_t largest_count; /* at most RTD_LARGEST_MAX */
    const struct rtd_report_block *largest;
};

/* id is stable, for programs; severity is "info" or "warning"; text is one sentence for people. */
struct rtd_report_recommendation {
    const char *id, *severity, *text;
};

struct rtd_report_allocations {
    double efficiency_score; /* 0..1 */
    /*
     * Share of the allocator's resident bytes that no live block explains; negative: not known. Of
     * a process whose allocator was asked.
     */
    double fragmentation;
    uint32_t recommendation_count;
    const struct rtd_report_recommendation *recommendations;
    double
        distribution[RTD_SIZE_CLASSES]; /* estimated allocations by size class, all since start */
    uint64_t lifetime[RTD_LIFETIME_BUCKETS]; /* sampled deaths by age bucket, all sites */
};

/* All mappings made by one stack, of one kind: site.figures count pieces and calls, all exact. */
struct rtd_report_mapping {
    struct rtd_report_site site;
    const char *kind; /* rtd_mapping_kind_name() */
    struct rtd_estimate peak_live_bytes;
};

/* The domain of mappings: address space by the calls that mapped it, in no sum of the heap. */
struct rtd_report_mappings {
    struct rtd_report_figures figures; /* the sums over sites, to the byte */
    struct rtd_estimate peak_live_bytes;
    uint64_t events, unseen_events; /* seen, and overwritten before they were */
    uint64_t corrected_bytes;       /* found gone by asking the kernel */
    uint64_t unlisted_bytes;        /* mapped when too many pieces were listed already */
    uint32_t site_count;
    const struct rtd_report_mapping *sites; /* by live bytes, then mapped bytes, then id */
};

struct rtd_report_process;

/*
 * Memory that the program records itself, in no sum of the heap. It is seen as an exact heap is: as
 * a process of which only totals, counts, sites, components, operations, leaks and allocations mean
 * anything.
 */
struct rtd_report_domain {
    const char *name;                    /* of the first one: "records" */
    uint64_t used_bytes, reserved_bytes; /* as the program states; RTD_UNKNOWN_BYTES if not */
    const struct rtd_report_process *seen;
};

/* One process image. One that was blind from the start has no sites, and figures of zero that mean
 * nothing; one that went blind later has what was seen up to there. */
struct rtd_report_process {
    struct rtd_process_meta meta; /* copied */
    double duration_seconds;      /* of the image's life, or until it was last seen */
    uint64_t interval_bytes;      /* mean distance between samples at the end; 0 = not sampled */
    struct rtd_report_figures totals;
    struct rtd_estimate peak_live_bytes;
    const struct rtd_report_counts *counts; /* of all sites; NULL in sampling mode */
    double peak_seconds;                    /* when the peak was, since the process began */
    uint64_t unknown_frees; /* of blocks from before the start, or never ours; exact mode */
    uint64_t missed_frees;  /* blocks whose address was issued again, their free unseen */
    uint64_t untracked;     /* blocks that were counted as freed at once for want of room */
    uint32_t site_count;
    const struct rtd_report_site *sites; /* by live bytes, then allocated bytes, names, id */
    uint32_t component_count;
    const struct rtd_report_component *components; /* by live bytes, then name */
    uint32_t operation_count;
    const struct rtd_report_operation *operations;
    struct rtd_report_mappings mappings;
    bool heap_unseen; /* nobody watched the heap: its figures of zero mean nothing */
    uint32_t domain_count;
    const struct rtd_report_domain *domains; /* in the order of the record */
    /* heap_bytes: the live bytes of a heap that is seen, else what the allocator says, if asked. */
    struct rtd_memory_snapshot memory;
    struct rtd_forecast forecast;   /* when that reaches its limit */
    struct rtd_breakdown breakdown; /* of resident memory, if valid */
    struct rtd_limits limits;       /* all that apply, if valid */
    struct rtd_pressure stalls;     /* if the limits are */
    struct rtd_report_leaks leaks;
    struct rtd_report_allocations allocations;
    uint64_t losses[RTD_LOSS_COUNT];
    uint64_t rejected; /* ledger records refused by the reader's checks */
};

/* Immutable: any number of threads may read it. */
struct rtd_report {
    uint32_t mode; /* enum rtd_mode */
    uint32_t process_count;
    const struct rtd_report_process *processes; /* all images, in order of id */
    const struct rtd_report_process *target;    /* the newest image of the pid that was run */
    bool complete;                              /* false: the recording was cut short, see note */
    const char *note;                           /* "" or one sentence on what is missing */
    uint64_t recording_lost_writes;
    bool watches_alerts;          /* false: the following says nothing */
    struct rtd_alert_list alerts; /* in force when the report was made */
};

/* Builds the report from what is borrowed for the call. NULL when memory is short, and only then:
 * what the input lacks is missing in the report. */
struct rtd_report *rtd_report_new(const struct rtd_report_input *input);

/* NULL is allowed. */
void rtd_report_free(struct rtd_report *report);

#endif
