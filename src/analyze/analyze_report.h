// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_report.h - the report as data: what every face (text, JSON, HTTP, Prometheus) is made
 * from.
 *
 * Runs in:    collector, report
 * Threads:    a report is immutable once built
 * Allocates:  yes; a report owns all its strings and arrays
 * Fails:      rtd_report_new returns NULL when memory is short
 */
#ifndef RTD_ANALYZE_REPORT_H
#define RTD_ANALYZE_REPORT_H

#include "analyze/analyze_estimate.h"
#include "analyze/analyze_input.h"

struct rtd_report_frame {
    const char *function; /* demangled; NULL if unknown */
    const char *file;     /* NULL if unknown */
    uint32_t line;        /* 0 if unknown */
    const char *module;   /* path, never NULL ("?" if no module holds the pc) */
    const char *build_id; /* lower-case hex, "" if none */
    uint64_t offset;      /* ELF virtual address of the call */
    bool inlined;
};

struct rtd_report_figures {
    struct rtd_estimate live_bytes, live_blocks, allocated_bytes, allocations;
};

struct rtd_report_site {
    uint32_t id;          /* stable within a recording: the leaf node id */
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
    uint64_t samples_live, samples_total;
    uint64_t first_seen_unix_ns, last_seen_unix_ns;
};

struct rtd_report_component {
    const char *name;
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

struct rtd_report_leaks {
    uint32_t potential_leak_count; /* entries in potential_leaks */
    double growth_rate_mb_per_hour;
    const char *highest_risk_component; /* NULL if none */
    const struct rtd_report_leak *potential_leaks;
    uint32_t pattern_count;
    const char *const *suspicious_patterns;
};

struct rtd_report_recommendation {
    const char *id, *severity, *text;
};

struct rtd_report_allocations {
    double efficiency_score; /* 0..1 */
    uint32_t recommendation_count;
    const struct rtd_report_recommendation *recommendations;
    double
        distribution[RTD_SIZE_CLASSES]; /* estimated allocations by size class, all since start */
    uint64_t lifetime[RTD_LIFETIME_BUCKETS]; /* sampled deaths by age bucket, all sites */
};

/* One process image. */
struct rtd_report_process {
    struct rtd_process_meta meta; /* copied */
    double duration_seconds;
    uint64_t interval_bytes;
    struct rtd_report_figures totals;
    struct rtd_estimate peak_live_bytes;
    uint32_t site_count;
    const struct rtd_report_site *sites; /* by live bytes, then allocated bytes, then id */
    uint32_t component_count;
    const struct rtd_report_component *components; /* by live bytes, then name */
    uint32_t operation_count;
    const struct rtd_report_operation *operations;
    struct rtd_memory_snapshot memory; /* heap_bytes = totals.live_bytes.value */
    struct rtd_report_leaks leaks;
    struct rtd_report_allocations allocations;
    uint64_t losses[RTD_LOSS_COUNT];
    uint64_t rejected; /* ledger records refused by the reader's checks */
};

struct rtd_report {
    uint32_t mode; /* enum rtd_mode */
    uint32_t process_count;
    const struct rtd_report_process *processes; /* all images, in order of id */
    const struct rtd_report_process *target;    /* the newest image of the pid that was run */
    bool complete;                              /* false: the recording was cut short, see note */
    const char *note;                           /* "" or one sentence on what is missing */
    uint64_t recording_lost_writes;
};

/*
 * Builds the report. processes and symbols are borrowed for the call only. time_scale makes a
 * second count as that many (1 in production).
 */
struct rtd_report *rtd_report_new(const struct rtd_report_input *input);
void rtd_report_free(struct rtd_report *report);

#endif
