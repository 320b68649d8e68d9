/* SPDX-License-Identifier: Apache-2.0 */
/*
 * riptide/riptide.h - a C or C++ service that knows its own memory.
 *
 *     #include <riptide/riptide.h>
 *
 *     int main(void)
 *     {
 *         struct riptide_manager *manager = riptide_manager_open(NULL, NULL);
 *         uint32_t html = riptide_intern(manager, "extraction", "parse_html");
 *
 *         riptide_record_bytes(manager, html, 1024);
 *         serve();                                       // curl localhost:8080/metrics/memory
 *         riptide_manager_close(manager);
 *     }
 *
 * One call opens the manager: a memory tracker, a leak detector, an allocation analyzer, HTTP
 * endpoints, exporters, alerts and clean-up, each of which an option turns off. Link with
 * `pkg-config --cflags --libs riptide`.
 *
 * What is seen. A service feeds it records of memory that it names itself (arenas, pools, device
 * memory, or simply what it wants to follow). Linked with `riptide-heap` as well, or started by
 * `riptide run`, every malloc of the process is seen without a record. The two are never added up:
 * records are a domain of their own beside the heap.
 *
 * Cost: a record of interned names takes tens of nanoseconds and no lock that threads share;
 * bench/bench_records.c measures it. Memory: the tables of records take at most three
 * fifths of options.memory_limit_bytes (1 MB at least). The rest is for growth over time, names and
 * what stays of a report: with the default of 10 MB and everything full, a process held 9 MB more
 * than without a manager, and 19 MB more while a report was made. A watched heap is extra. One
 * thread works in the background; with endpoints one waits for the first client, and a few serve
 * from then on.
 *
 * Open a manager after closing inherited descriptors: it has some of its own. libmicrohttpd is
 * loaded when the first client comes, so a program that changes its root directory lets one come
 * before, or answers by riptide_answer_get().
 *
 * What it does not do: it is no allocator, and it does not call into the program but for the
 * alert callback.
 *
 * Errors: functions return 0 or a count, or a negative errno, or one of enum riptide_error;
 * riptide_strerror() has a text for each. NULL for a manager is -EINVAL everywhere.
 * Threads: all functions may be called from any thread at any time, but for
 * riptide_manager_close(). Those that analyze or answer want 192 KB of stack. Signals: only
 * functions that say so may be called in a signal handler; the others may not. Fork: the child has
 * a copy that is closed; every function returns RIPTIDE_E_FORKED there, and riptide_manager_close()
 * frees it. The parent goes on. Structs that a caller fills, or gets filled, begin with `size`: set
 * it to sizeof the struct (the _init function does), so that programs and libraries of different
 * versions understand each other. Bytes are bytes, MB are 1,048,576 bytes, times are nanoseconds
 * since 1970 UTC unless the name says otherwise.
 */
#ifndef RIPTIDE_RIPTIDE_H
#define RIPTIDE_RIPTIDE_H

#include <stddef.h>
#include <stdint.h>

#include <riptide/tags.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIPTIDE_VERSION_MAJOR 0
#define RIPTIDE_VERSION_MINOR 1
#define RIPTIDE_VERSION_PATCH 0

/* A figure that cannot be known here; never 0, which is a figure. */
#define RIPTIDE_UNAVAILABLE UINT64_MAX

/* Opaque: one open manager. A process may have several; each has its own records. */
struct riptide_manager;

/* ---- errors and version ------------------------------------------------------------------- */

enum riptide_error {
    RIPTIDE_E_FORKED = -4096,        /* the manager was opened by the parent of this process */
    RIPTIDE_E_DISABLED = -4097,      /* options turned this component off */
    RIPTIDE_E_UNKNOWN_BLOCK = -4098, /* the address was never recorded, or is released already */
    RIPTIDE_E_KNOWN_BLOCK = -4099,   /* the address is recorded and live: the older one was kept */
    RIPTIDE_E_UNAVAILABLE = -4100,   /* this allocator or kernel does not tell */
    RIPTIDE_E_NO_HTTP = -4101,       /* libmicrohttpd is not installed */
};

/* A text for an error of this library or an errno, negative or not; static, never NULL. */
const char *riptide_strerror(int error);

/* "0.1.0" of the library in use; static. */
const char *riptide_version(void);

/* ---- alerts -------------------------------------------------------------------------------- */

enum riptide_alert_kind { RIPTIDE_ALERT_PRESSURE = 1, RIPTIDE_ALERT_GROWTH = 2 };
enum riptide_alert_level { RIPTIDE_LEVEL_HIGH = 1, RIPTIDE_LEVEL_CRITICAL = 2 };

/* One beginning or end of an episode; borrowed for the call. */
struct riptide_alert {
    size_t size;
    uint32_t kind;           /* enum riptide_alert_kind */
    uint32_t level;          /* enum riptide_alert_level */
    uint32_t begins;         /* 1: the episode begins, or rises to this level; 0: it has ended */
    double value, threshold; /* pressure 0..1, or growth in MB per hour */
    uint64_t timestamp_ns, since_ns; /* now, and when the episode began */
    uint64_t rss_bytes, limit_bytes; /* limit_bytes: what pressure is measured against */
    const char *component;           /* growth: the component that grows most; "" if none */
    const char *reason;              /* one sentence for people */
};

/*
 * Called on the manager's own thread, once when an episode begins, once when its level rises, once
 * when it has ended; never twice for the same. A level is entered above its threshold and left
 * after two checks in a row at or below 95 % of it, so that a figure that flaps is one episode;
 * falling from critical to high is not told, rising again is. Growth has one level, high. It may
 * call any function of this library but riptide_manager_close(). While it runs, the manager does
 * nothing else.
 */
typedef void (*riptide_alert_callback)(const struct riptide_alert *alert, void *context);

/* ---- opening and closing ------------------------------------------------------------------- */

enum riptide_heap_mode {
    RIPTIDE_HEAP_AUTO =
        0, /* watched when the agent is in the process: by sampling, if we start it */
    RIPTIDE_HEAP_OFF = 1, /* the manager does not look at the heap */
    RIPTIDE_HEAP_SAMPLE = 2,
    RIPTIDE_HEAP_EXACT = 3,
};

/* The seed's thresholds; each criterion and pattern is a named reason in the answers. */
struct riptide_thresholds {
    size_t size;
    double growth_rate_mb_per_hour; /* high_growth_rate: more than this; 10 */
    uint64_t large_live_bytes;      /* large_live_size: more live than this...; 50 MB */
    double recent_seconds;          /* ...and allocated within these; 60 */
    uint64_t accumulation_count;    /* small_allocation_accumulation: more live blocks...; 1000 */
    uint64_t accumulation_bytes;    /* ...with more bytes in all; 1 MB */
    double peak_factor;             /* peak_growth: grown by this factor; 2 (so does 0) */
    uint64_t frequent_large_bytes;  /* pattern: blocks of more than this...; 1 MB */
    uint32_t frequent_large_count;  /* ...more than so many of them; 5 */
    uint32_t repeated_stack_count;  /* pattern: so many unfreed of one stack; 5 */
    double small_share;             /* recommendation: share of tiny and small; 0.8 */
    double huge_share;              /* recommendation: share of huge; 0.05 */
    uint64_t hot_component_bytes;   /* recommendation: a component holds more; 100 MB */
    uint64_t frequent_operation_count; /* recommendation: called more often; 10000 */
    uint64_t small_pattern_count;      /* recommendation: a component's small ones; 5000 */
    double pressure_high;              /* 0.7 */
    double pressure_alert;             /* 0.8 */
    double growth_alert_mb_per_hour;   /* 50 */
};

/* Fills *thresholds with the defaults named above. NULL is ignored. */
void riptide_thresholds_init(struct riptide_thresholds *thresholds);

struct riptide_options {
    size_t size;
    /* What runs: 1 on, 0 off. All are on by default. */
    uint32_t tracker, leak_detector, allocation_analyzer, endpoints;
    uint32_t exporters; /* "/metrics" for Prometheus; this version pushes nothing (OTLP) */
    uint32_t alerts, cleanup;
    uint32_t heap;                /* enum riptide_heap_mode; AUTO */
    uint64_t heap_interval_bytes; /* mean bytes between samples, at most 1 GB; 0: adapts itself, the
                                     default, and the only one with EXACT */
    const char *listen_address;   /* numeric; NULL is "127.0.0.1"; borrowed for the call */
    uint16_t port;                /* 8080; 0 lets the kernel choose */
    uint16_t port_tries;  /* how many ports from `port` on may be tried; 16. 1: this one or none */
    uint32_t interval_ms; /* between snapshots and checks of alerts; 1000, at least 10 */
    uint64_t memory_limit_bytes;       /* see above; 10 MB, 1 MB to 1 TB */
    uint32_t cleanup_interval_seconds; /* 3600 */
    uint32_t retention_seconds;        /* detail older than this goes; 86400 */
    double time_scale; /* one second counts as so many in ages, windows, rates; 1. For tests. */
    const struct riptide_thresholds *thresholds; /* NULL: the defaults; borrowed for the call */
    riptide_alert_callback on_alert;             /* NULL: alerts only show in the endpoints */
    void *alert_context;                         /* handed to on_alert as it is */
    /*
     * The secret that POST /actions/gc asks for as "Authorization: Bearer TOKEN": 16 to 128
     * printable characters without blanks. NULL: the endpoints have no actions. Borrowed for the
     * call.
     */
    const char *action_token;
};

/* Fills *options with the defaults. NULL is ignored. */
void riptide_options_init(struct riptide_options *options);

/*
 * Opens a manager. options may be NULL: the defaults; they are copied. This library
 * reads the environment here and never again. Returns NULL and the reason
 * in *err (may be NULL): -EINVAL (an option makes no sense), -ENOMEM, -EADDRINUSE and what else
 * listening may fail with, RIPTIDE_E_NO_HTTP; then nothing was opened. When only a heap mode that
 * was asked for by name cannot be had, that is no error: riptide_heap_read() says why.
 */
struct riptide_manager *riptide_manager_open(const struct riptide_options *options, int *err);

/*
 * Ends the manager's thread and server and frees everything. No other call with this manager may be
 * under way or follow: the pointer is no longer valid. NULL is allowed. Watching the heap goes
 * on costing what it costs, but nobody looks; the process's next manager takes it up again.
 */
void riptide_manager_close(struct riptide_manager *manager);

/* The port of the endpoints; 0 when they are off. Or an error. */
int riptide_manager_port(const struct riptide_manager *manager);

/* How the heap is seen. Strings are static or live as long as the manager. */
struct riptide_heap_state {
    size_t size;
    uint32_t mode;      /* RIPTIDE_HEAP_OFF: not seen, reason says why; SAMPLE; EXACT */
    uint32_t joined;    /* 1: `riptide run` watches; the manager reads along */
    const char *reason; /* "" when it is seen as was asked for */
};
int riptide_heap_read(const struct riptide_manager *manager, struct riptide_heap_state *out);

/* ---- memory tracker ------------------------------------------------------------------------ */

/* What cannot be known is RIPTIDE_UNAVAILABLE. */
struct riptide_memory_snapshot {
    size_t size;
    uint64_t timestamp_ns;
    uint64_t rss_bytes;  /* resident set */
    uint64_t heap_bytes; /* live heap if it is watched, else what the allocator says is allocated */
    uint64_t virtual_bytes;
    uint64_t resident_bytes; /* the same as rss_bytes, under the seed's second name */
    uint64_t shared_bytes;
    uint64_t text_bytes;
    uint64_t data_bytes;
    uint64_t stack_bytes;
    uint64_t peak_rss_bytes, swap_bytes;
    /*
     * Of all limits that apply - control groups up the tree, RLIMIT_AS, RLIMIT_DATA, the machine's
     * memory - the one of which most is used, and pressure, 0..1: how much of it that is, by this
     * process and by others.
     */
    uint64_t limit_bytes;
    double pressure;
};

/*
 * Reads the snapshot now: constant cost, some 50 microseconds, once a second 200, no lock is waited
 * for; which limit is nearest, and what others use of it, may be known from a second ago. Only
 * where the heap is not watched, heap_bytes is the allocator's figure, asked for anew when that is
 * due (see riptide_allocator_read()). 0 or an error.
 */
int riptide_snapshot_read(struct riptide_manager *manager, struct riptide_memory_snapshot *out);

/* Figures of the allocator in use, each in bytes or RIPTIDE_UNAVAILABLE. */
struct riptide_allocator_stats {
    size_t size;
    const char *allocator;    /* "glibc", "jemalloc", "tcmalloc", "mimalloc" or "other"; static */
    uint64_t allocated_bytes; /* in blocks that are allocated */
    uint64_t active_bytes;    /* in pages that hold such blocks */
    uint64_t metadata_bytes;  /* the allocator's own */
    uint64_t resident_bytes;  /* of all this, in physical memory */
    uint64_t mapped_bytes;    /* address space in use */
    uint64_t retained_bytes;  /* kept for reuse */
    const char *unavailable;  /* "" or why some figure is unavailable; static */
};

/*
 * Asks the allocator of this process. Takes the allocator's own locks, one after the other; glibc
 * walks its free blocks under them, up to a microsecond each. The manager itself asks at most a
 * hundredth of the time, and hardly ever where it takes more than 10 ms.
 */
int riptide_allocator_read(struct riptide_manager *manager, struct riptide_allocator_stats *out);

/* One part of a sum. */
struct riptide_part {
    const char *name;
    const char *domain; /* "heap", "records", or a domain's name */
    uint64_t bytes;
};

/* An answer of the library: immutable, owned by the caller, freed by riptide_parts_free(). */
struct riptide_parts {
    size_t size;
    uint32_t count;
    const struct riptide_part *const *parts; /* the largest first, then by name */
};

/* Live bytes by component, of all domains. 0 and *out, or an error. */
int riptide_memory_breakdown(struct riptide_manager *manager, const struct riptide_parts **out);
void riptide_parts_free(const struct riptide_parts *parts); /* NULL is allowed */

struct riptide_gc_result {
    size_t size;
    uint64_t before_bytes, after_bytes; /* resident set */
    uint64_t freed_bytes;               /* 0 when it did not shrink */
    uint64_t duration_ns;
    const char *action; /* what was done, as "malloc_trim(0)"; static */
};

/*
 * Gives free memory of the allocator back to the kernel: malloc_trim, a purge of jemalloc's arenas,
 * MallocExtension::ReleaseFreeMemory, mi_collect. May take milliseconds, with the allocator's locks
 * held. 0; RIPTIDE_E_UNAVAILABLE when the allocator offers nothing of the kind.
 */
int riptide_force_gc(struct riptide_manager *manager, struct riptide_gc_result *out);

/* ---- records ------------------------------------------------------------------------------- */

/*
 * A number for a pair of names in the domain "records", to record with. Names are copied; up to 59
 * bytes each are kept, what is not UTF-8 or would disturb a terminal is replaced, NULL is "". About
 * 500 pairs are told apart; further ones get the tag of "other". Never 0, unless the manager is
 * NULL or forked. Recording with 0 charges the RIPTIDE_SCOPE in force on the thread, or "other"
 * when there is none, so the result need not be checked. Lock-free once a pair is known.
 */
uint32_t riptide_intern(struct riptide_manager *manager, const char *component,
                        const char *operation);

/*
 * Records bytes without an address: the seed's way, by component and size. Tens of nanoseconds.
 * Signal-safe when the thread has recorded before and tag is not 0. 0 or an error: -EINVAL for a
 * tag that is none and for 2^47 bytes and more, -EOVERFLOW when a thread's sum of the tag would be
 * more than 2^63.
 *
 * An allocator may record its own work with any of the functions below: no lock of theirs is held
 * while something is allocated, and they allocate nothing, but for a thread's first record.
 */
int riptide_record_bytes(struct riptide_manager *manager, uint32_t tag, uint64_t size_bytes);

/*
 * Takes such bytes back. More than is live is counted as over-released and changes nothing else;
 * 0 then, too: see riptide_records_read().
 */
int riptide_release_bytes(struct riptide_manager *manager, uint32_t tag, uint64_t size_bytes);

enum riptide_record_flags { RIPTIDE_CAPTURE_STACK = 1 };

/*
 * Records a block by its address, so that its release needs nothing else and its age is known.
 * RIPTIDE_CAPTURE_STACK walks the calling stack, about 5 ns a frame. An address that is live
 * already is RIPTIDE_E_KNOWN_BLOCK, counted, and the older record stays. When the table of blocks
 * is full the block is counted as untracked: in the allocations, in no live figure.
 */
int riptide_record_block(struct riptide_manager *manager, uint32_t tag, const void *address,
                         uint64_t size_bytes, uint32_t flags);

/* Takes a block back, from any thread. RIPTIDE_E_UNKNOWN_BLOCK is counted and harmless. */
int riptide_release_block(struct riptide_manager *manager, const void *address);

/* Everything that can be said of an allocation: the seed's AllocationInfo. */
struct riptide_allocation {
    size_t size;
    uint64_t timestamp_ns; /* 0: now. By the wall clock as it is set; may be before the last one */
    uint64_t size_bytes;
    uint64_t alignment;    /* a power of two; 0: not known. Shown with the largest blocks */
    const void *address;   /* NULL: by component and size */
    uint32_t tag;          /* 0: component and operation are given, or the scope in force */
    uint32_t flags;        /* enum riptide_record_flags */
    const char *component; /* as of riptide_intern(); borrowed for the call */
    const char *operation;
    const char *const *stack_trace; /* function names, innermost first; borrowed for the call */
    uint32_t stack_count;           /* 0: none given; at most 64 are kept */
};

/*
 * The one call that the other record functions are shorter forms of. 0 or an error; -EINVAL, and
 * nothing is recorded, also for an alignment that is no power of two.
 *
 * Times are kept on a clock that setting the wall clock does not disturb: to the millisecond for
 * the first 24 days of a manager, to a quarter of a second for 17 years. A timestamp_ns from before
 * the manager was opened counts as its opening, one beyond those years as their end.
 */
int riptide_record_allocation(struct riptide_manager *manager,
                              const struct riptide_allocation *allocation);

/*
 * The seed's form of a release: by component, whatever the operation: from what was recorded by
 * size in the domain "records", in order of the operations' names. What is more is over-released.
 */
int riptide_record_deallocation(struct riptide_manager *manager, const char *component,
                                uint64_t size_bytes);

/* Totals of all records since the manager was opened; exact but for what threads do meanwhile. */
struct riptide_record_totals {
    size_t size;
    uint64_t allocations, allocated_bytes;
    uint64_t releases, released_bytes;
    uint64_t live_bytes, live_blocks;
    uint64_t unknown_releases;                  /* of addresses that were not live */
    uint64_t over_released_bytes;               /* released by size beyond what was live */
    uint64_t known_blocks;                      /* recorded again while live: refused */
    uint64_t untracked_blocks, untracked_bytes; /* beyond the table of blocks */
    uint64_t names_in_other; /* how often "other" stood in for a pair of names without room */
    uint64_t memory_bytes;   /* that the records' tables take now */
};
int riptide_records_read(struct riptide_manager *manager, struct riptide_record_totals *out);

/* ---- domains ------------------------------------------------------------------------------- */

/*
 * A named domain for memory that hooks cannot see: "gpu", "arena", "shared pool". At most 15; the
 * name is kept and cleaned as those of components. Returns its id (> 0), the same for the same
 * name; -ENOSPC; -EINVAL for no name, and for "heap" and "records", which are not for naming.
 */
int riptide_domain_open(struct riptide_manager *manager, const char *name);

/*
 * As riptide_intern(), in a domain. Records of the tag belong to that domain. An id that is none,
 * such as an error of riptide_domain_open(), stands for "records".
 */
uint32_t riptide_domain_intern(struct riptide_manager *manager, int domain, const char *component,
                               const char *operation);

/*
 * States what a domain holds now, for an arena that knows it: bytes handed out, and bytes reserved
 * for it (RIPTIDE_UNAVAILABLE: not known). Shown beside what was recorded, added to nothing.
 */
int riptide_domain_set(struct riptide_manager *manager, int domain, uint64_t used_bytes,
                       uint64_t reserved_bytes);

/* ---- leak detector ------------------------------------------------------------------------- */

/* The seed's LeakInfo, with what it rests on. */
struct riptide_leak {
    const char *component;
    const char *domain;        /* "heap", "records", or a domain's name */
    uint64_t allocation_count; /* live */
    uint64_t total_size_bytes; /* live */
    double average_size_bytes;
    double growth_rate; /* bytes per hour: robust slope over the window */
    uint64_t first_seen_ns, last_seen_ns;
    uint32_t reason_count;
    const char *const *reasons;  /* "high_growth_rate", "large_live_size",
                                    "small_allocation_accumulation", "peak_growth" */
    const char *function, *file; /* of the largest contributor, NULL if not known */
    uint32_t line;               /* 0 if not known */
};

struct riptide_block {
    const char *component, *operation, *domain;
    uint64_t size_bytes;
    uint64_t timestamp_ns; /* of the allocation */
    const void *address;   /* NULL: recorded without */
    uint32_t stack_count;
    const char *const *stack_trace; /* function names, innermost first */
    uint64_t alignment;             /* as it was recorded; 0: not known, as of the heap */
};

/* The seed's LeakAnalysis. Immutable, owned by the caller, freed by riptide_leaks_free(). */
struct riptide_leak_analysis {
    size_t size;
    double growth_rate_mb_per_hour;     /* sum over potential_leaks of the heap or of one domain:
                                           where it is largest, since they are never added up */
    const char *highest_risk_component; /* NULL if none */
    uint32_t potential_leak_count;
    const struct riptide_leak *const *potential_leaks; /* the largest first */
    uint32_t largest_count;
    const struct riptide_block *const *largest_allocations; /* live, at most 20 */
    uint32_t pattern_count;
    const char *const *suspicious_patterns; /* one sentence each */
};

/*
 * Analyses records and, where it is watched, the heap. Milliseconds; some seconds at most when
 * names for much new code are to be found. 0 and *out, or an error.
 */
int riptide_analyze_leaks(struct riptide_manager *manager,
                          const struct riptide_leak_analysis **out);
void riptide_leaks_free(const struct riptide_leak_analysis *analysis); /* NULL is allowed */

/* Used share of the nearest limit of memory, 0..1, as in the snapshot. 0 or an error. */
int riptide_memory_pressure(struct riptide_manager *manager, double *pressure);

/*
 * Drops detail older than retention_hours (> 0): blocks' and sites' histories that are not live.
 * Live accounting and totals stay. Returns how many entries were dropped, or an error. The manager
 * calls both functions itself when options.cleanup is on.
 */
int riptide_cleanup_leaks(struct riptide_manager *manager, double retention_hours);
int riptide_cleanup_allocations(struct riptide_manager *manager, double retention_hours);

/* ---- allocation analyzer ------------------------------------------------------------------- */

enum { RIPTIDE_SIZE_CLASSES = 5 };

struct riptide_size_class {
    const char *label; /* "tiny (<1KB)", "small (1KB-64KB)", "medium (64KB-1MB)",
                          "large (1MB-16MB)", "huge (>16MB)" */
    uint64_t count;    /* allocations since the start */
};

struct riptide_operation {
    const char *component, *name, *domain;
    uint64_t allocation_count, allocated_bytes; /* since the start */
    uint64_t live_count, live_bytes;
    double average_size_bytes;
};

struct riptide_recommendation {
    const char *id;       /* stable, for programs */
    const char *severity; /* "info" or "warning" */
    const char *text;     /* one sentence */
};

/* Immutable, owned by the caller, freed by riptide_allocations_free(). */
struct riptide_allocation_analysis {
    size_t size;
    uint32_t allocator_count;
    const struct riptide_part *const *top_allocators; /* live bytes by component, at most 20 */
    struct riptide_size_class distribution[RIPTIDE_SIZE_CLASSES];
    uint32_t operation_count;
    const struct riptide_operation *const *operations; /* by allocation_count, at most 20 */
    double efficiency_score; /* 0..1, 1 when nothing was allocated; docs/guide.md has the formula */
    /* Share of the allocator's resident bytes that no live block explains; negative: not known. */
    double fragmentation;
    uint32_t recommendation_count;
    const struct riptide_recommendation *const *recommendations;
};

int riptide_analyze_allocations(struct riptide_manager *manager,
                                const struct riptide_allocation_analysis **out);
void riptide_allocations_free(const struct riptide_allocation_analysis *analysis);

/* ---- endpoints next to an existing server -------------------------------------------------- */

/* Owned by the caller, freed by riptide_answer_free(). */
struct riptide_answer {
    size_t size;
    uint32_t status; /* of HTTP: 200, 404 ... */
    const char *content_type;
    const char *body; /* NUL-terminated as well */
    size_t body_bytes;
};

/*
 * Answers a GET as the manager's own endpoints would, for a program that has a server: "/metrics",
 * "/metrics/memory", "/metrics/leaks", "/metrics/allocations", "/api/v1/report", "/healthz" ...
 * A path that is unknown, or of what an option turned off, is answered 404. Works with
 * options.endpoints off. 0 and *out, or an error.
 */
int riptide_answer_get(struct riptide_manager *manager, const char *path,
                       const struct riptide_answer **out);
void riptide_answer_free(const struct riptide_answer *answer); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
