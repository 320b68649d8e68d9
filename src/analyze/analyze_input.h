// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_input.h - what a report is built from, whichever seat builds it.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    borrowed, read-only
 * Allocates:  never
 * Fails:      not applicable: types only
 */
#ifndef RTD_ANALYZE_INPUT_H
#define RTD_ANALYZE_INPUT_H

#include "analyze/analyze_alerts.h"
#include "analyze/analyze_breakdown.h"
#include "analyze/analyze_series.h"
#include "analyze/analyze_thresholds.h"
#include "ledger/ledger_reader.h"
#include "symbol/symbol_table.h"
#include "track/track_maps.h"
#include "track/track_pressure.h"
#include "track/track_process.h"

enum {
    RTD_COMMAND_BYTES = 1024,
    RTD_PROGRAM_BYTES = 64,
    RTD_REASON_BYTES = 256,
    RTD_POINT_MAX = 600,
    RTD_DOMAIN_MAX = 16, /* "records" and the named ones */
    RTD_DOMAIN_NAME_BYTES = RTD_TAG_NAME_BYTES
};

/* A figure that is not known; never 0, which is a figure. */
#define RTD_UNKNOWN_BYTES UINT64_MAX

/* The module of functions that are given by name: offsets in it are numbers and no places. */
#define RTD_GIVEN_MODULE "given names"

enum rtd_process_status {
    RTD_PROCESS_RUNNING = 1, /* or: the collector died before it ended */
    RTD_PROCESS_EXITED = 2,
    RTD_PROCESS_KILLED = 3,
    RTD_PROCESS_BLIND = 4,    /* its allocations cannot be seen; blind_reason says why */
    RTD_PROCESS_REPLACED = 5, /* this image ended by an exec of the same pid */
};

/* What is known of one process image besides its ledger. */
struct rtd_process_meta {
    uint32_t id; /* 0 = the first image of the program that was run; unique in a recording */
    uint32_t pid, parent_pid;
    uint32_t kind;                           /* enum rtd_hello_kind; 0 = never said hello */
    uint32_t status;                         /* enum rtd_process_status */
    int32_t exit_code;                       /* -1 unknown */
    int32_t signal;                          /* 0 none */
    uint64_t started_unix_ns, ended_unix_ns; /* ended 0 = still running when last written */
    char command[RTD_COMMAND_BYTES];
    char executable[RTD_COMMAND_BYTES];
    char program[RTD_PROGRAM_BYTES];     /* the name it was started by; "" = unknown */
    char allocator[16];                  /* "glibc" ... as the report says it */
    char blind_reason[RTD_REASON_BYTES]; /* "" unless blind */
};

/* A point of the coarse time series that each process carries (decimated to RTD_POINT_MAX). */
struct rtd_process_point {
    uint64_t time_ms; /* since started_unix_ns */
    uint64_t rss_bytes, live_bytes;
};

/*
 * Memory that a program records itself, beside the heap: an image in exact form, whose sites are
 * (stack, tag) of the records and whose samples are blocks recorded by address.
 */
struct rtd_domain_record {
    char name[RTD_DOMAIN_NAME_BYTES]; /* of the first domain of a process: "records" */
    struct rtd_image *image;          /* owned; NULL when nothing was recorded */
    struct rtd_site_series series;
    uint64_t used_bytes, reserved_bytes; /* as the program states; RTD_UNKNOWN_BYTES if not */
};

/* One process image, complete: what analysis needs. Whoever made it owns it; a report borrows it
 * only while it is built. */
struct rtd_process_record {
    struct rtd_process_meta meta;
    struct rtd_image *image;           /* owned; NULL when blind */
    struct rtd_memory_snapshot memory; /* the last one; valid false if none */
    uint32_t point_count;
    struct rtd_process_point points[RTD_POINT_MAX];
    struct rtd_site_series series;
    struct rtd_mappings mappings; /* what the program mapped, by site; exact */
    /* Of a live process, when a report was made; not recorded. Not valid: never taken. */
    struct rtd_breakdown breakdown;
    struct rtd_limits limits;   /* like it, not recorded */
    struct rtd_pressure stalls; /* read with them */
    uint32_t domain_count;      /* at most RTD_DOMAIN_MAX */
    /* Owned; NULL unless the program records memory itself. The heap is in none of them. */
    struct rtd_domain_record *domains;
};

/*
 * Where images of domains come from that are too large to be had all at a time: `take` sets
 * domain->image of the first process before it is analyzed (0 or a negative errno, which fails the
 * report), `drop` may free it afterwards, also when take failed.
 */
struct rtd_domain_source {
    int (*take)(void *context, uint32_t index);
    void (*drop)(void *context, uint32_t index);
    void *context;
};

/* Everything is borrowed for the call of rtd_report_new(); the report copies what it keeps. */
struct rtd_report_input {
    uint32_t process_count;
    const struct rtd_process_record *const *processes; /* in order of id */
    const struct rtd_symbol_table *symbols;            /* NULL: frames have offsets only */
    bool complete;                                     /* false: the recording was cut short */
    const char *note; /* "" or one sentence; NULL is ""; read when all domains are analyzed */
    const struct rtd_domain_source *domains; /* NULL: the records have their images */
    uint64_t lost_writes;                    /* blocks that did not reach the file */
    double time_scale;                       /* what a second counts as: tests hurry; 0 is 1 */
    const struct rtd_thresholds *thresholds; /* NULL: the defaults */
    const struct rtd_alert_list *alerts;     /* in force; NULL: nobody watches for any */
};

#endif
