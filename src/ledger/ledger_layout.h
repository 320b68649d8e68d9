// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_layout.h - the shared-memory format between agent and collector, version 2.
 *
 * Runs in:    agent (writer), collector (creator and reader)
 * Threads:    every field names its writer; all cross-process fields are lock-free atomics
 * Allocates:  never
 * Fails:      not applicable: layout only
 *
 * docs/ledger-format.md describes this file byte by byte and is normative; the static assertions
 * below hold the two together. No pointers, fixed-width fields, explicit padding.
 *
 *   offset 0        header           one page
 *   RTD_OFF_MODULES modules          RTD_MODULE_COUNT  x struct rtd_module
 *   RTD_OFF_NODES   stack trie       RTD_NODE_COUNT    x u64
 *   RTD_OFF_TAGS    tags             RTD_TAG_COUNT     x struct rtd_tag
 *   RTD_OFF_THREADS threads          RTD_THREAD_COUNT  x struct rtd_thread
 *   RTD_OFF_BUCKETS sample addresses RTD_BUCKET_COUNT  x struct rtd_bucket
 *   RTD_OFF_SAMPLES sample records   RTD_SAMPLE_COUNT  x struct rtd_sample
 *   RTD_OFF_SITES   site statistics  RTD_SITE_COUNT    x struct rtd_site_record
 *   RTD_OFF_MAPS    mapping events   RTD_MAP_COUNT     x struct rtd_map_event
 *
 * In exact mode the regions of ledger_exact.h follow, and nodes, buckets, samples and sites are
 * not used.
 *
 * Stack trie. A node is one 64-bit word: (parent node << 47) | return address. The word is
 * published by one compare-and-swap, so a node is never torn. The index of a node in the table is
 * its id, found by hashing (parent, pc) with linear probing. Ids below RTD_ROOT_COUNT are roots
 * and hold no word: root id = generation * 2 + truncated, where generation counts dlclose() calls
 * (saturating) and truncated says that the outermost frames are missing. The trie grows from the
 * outermost frame (child of a root) to the leaf (the caller of malloc); a stack id is the id of
 * its leaf node. Stack id 0 means "no stack was taken".
 */
#ifndef RTD_LEDGER_LAYOUT_H
#define RTD_LEDGER_LAYOUT_H

#include "base/base_macros.h"

#include <stdatomic.h>

#define RTD_LEDGER_MAGIC   UINT64_C(0x3152474c44545252) /* "RRTDLGR1" in memory order */
#define RTD_LEDGER_VERSION 2u

enum {
    RTD_HEADER_BYTES = 4096,
    RTD_MODULE_COUNT = 512,
    RTD_NODE_BITS = 17,
    RTD_NODE_COUNT = 1 << RTD_NODE_BITS,
    RTD_PC_BITS = 47,
    RTD_ROOT_COUNT = 2048,
    RTD_GENERATION_MAX = RTD_ROOT_COUNT / 2 - 1,
    RTD_NODE_PROBE_MAX = 64,
    RTD_NODE_FILL_MAX = RTD_NODE_COUNT / 8 * 7,
    RTD_TAG_COUNT = 512,
    RTD_TAG_NAME_BYTES = 60,
    RTD_THREAD_COUNT = 512,
    RTD_BUCKET_SLOTS = 7,
    RTD_BUCKET_BITS = 12,
    RTD_BUCKET_COUNT = 1 << RTD_BUCKET_BITS,
    RTD_SAMPLE_COUNT = RTD_BUCKET_COUNT * 8, /* record index = bucket * 8 + slot; slot 7 unused */
    RTD_SAMPLE_CAPACITY = RTD_BUCKET_COUNT * RTD_BUCKET_SLOTS,
    RTD_SITE_COUNT = 8192,
    RTD_SITE_PROBE_MAX = 64,
    RTD_LIFETIME_BUCKETS = 16,
    RTD_LIFETIME_UNIT_MS = 128, /* the clock word is ticked every 100 ms: no finer age is known */
    RTD_SIZE_CLASSES = 5,
    RTD_BUILD_ID_BYTES = 20,
    RTD_MODULE_NAME_BYTES = 304,
    RTD_FRAME_MAX = 256,
    RTD_MAP_COUNT = 1024, /* mapping events that the collector may be late by */
};

/* Tag ids with a fixed meaning. Tag 0: no tag in force. Tag 1: the table was full. */
enum { RTD_TAG_NONE = 0, RTD_TAG_OTHER = 1, RTD_TAG_FIRST = 2 };

/* Site 0 takes what no other site record could (site table full). */
enum { RTD_SITE_OVERFLOW = 0 };

enum rtd_mode { RTD_MODE_SAMPLE = 1, RTD_MODE_EXACT = 2 };

/* header.agent_state */
enum rtd_agent_state {
    RTD_AGENT_ABSENT = 0,   /* handed over, the agent has not answered yet */
    RTD_AGENT_READY = 1,    /* recording */
    RTD_AGENT_DISABLED = 2, /* a pass-through for good; agent_reason says why */
};

enum rtd_agent_reason {
    RTD_REASON_NONE = 0,
    RTD_REASON_NOT_INTERPOSED = 1, /* the program's malloc is not ours: blind */
    RTD_REASON_MAP_FAILED = 2,
    RTD_REASON_VERSION = 3,
    RTD_REASON_NO_MEMALIGN = 4, /* the allocator in use has no memalign of its own */
};

/* header.blind_spots */
enum { RTD_BLIND_TO_OPERATORS = 1 }; /* C++ code calls an operator new that bypasses malloc */

/* Low byte of header.request. */
enum rtd_request_state {
    RTD_REQUEST_NONE = 0,
    RTD_REQUEST_PENDING = 1, /* posted by the collector, which may still withdraw it */
    RTD_REQUEST_CLAIMED = 2, /* a thread of the target is at it */
    RTD_REQUEST_DONE = 3,
    RTD_REQUEST_UNSUPPORTED = 4, /* the allocator has no such function */
    RTD_REQUEST_FAILED = 5,      /* the allocator refused: request_error */
};

/* header.request_action: what the agent called to have free memory given back. */
enum rtd_release_action {
    RTD_RELEASE_NOTHING = 0,
    RTD_RELEASE_GLIBC = 1,    /* malloc_trim(0) */
    RTD_RELEASE_JEMALLOC = 2, /* mallctl: thread.tcache.flush, arena.<all>.purge */
    RTD_RELEASE_TCMALLOC = 3, /* MallocExtension_ReleaseFreeMemory() */
    RTD_RELEASE_MIMALLOC = 4, /* mi_collect(true) */
};

/* Each kind of loss has a counter in header.loss[]. Names: rtd_loss_name() in the reader. */
enum rtd_loss {
    RTD_LOSS_SAMPLES_NOT_STORED =
        0, /* both buckets full: sample counted in its site, not in the live set */
    RTD_LOSS_SAMPLES_THINNED =
        1, /* removed (or never stored) by thinning; not an error, estimates keep unbiased */
    RTD_LOSS_STACKS_TRUNCATED = 2, /* outermost frames missing */
    RTD_LOSS_STACKS_NOT_TAKEN = 3, /* no scratch buffer or trie full: sample has stack 0 */
    RTD_LOSS_SITES_OVERFLOW = 4,   /* sample went to site 0 */
    RTD_LOSS_MODULES_OVERFLOW = 5,
    RTD_LOSS_TAGS_OVERFLOW = 6,
    RTD_LOSS_THREADS_OVERFLOW = 7, /* thread without a block of its own */
    RTD_LOSS_STALE_SAMPLES = 8, /* address issued again while still listed: its free was not seen */
    RTD_LOSS_NESTED_SKIPPED = 9,   /* allocation from a signal handler inside the slow path */
    RTD_LOSS_GUARD_STALE = 10,     /* slow path left by longjmp; repaired */
    RTD_LOSS_UNMARKED = 11,        /* the allocator could not give a marked block: not sampled */
    RTD_LOSS_GENERATIONS = 12,     /* more dlclose() than generations */
    RTD_LOSS_FORK_UNOBSERVED = 13, /* written by the collector: children without a ledger */
    RTD_LOSS_MAPS_UNSEEN = 14,     /* written by the collector: mapping events overwritten unread */
    RTD_LOSS_COUNT = 24,
};

/* One mapped object, appended by the agent when one of its addresses first stands in a stack. */
struct rtd_module {
    _Atomic uint64_t start; /* stored last, with release: 0 = not published */
    uint64_t end;           /* first address after the mapping */
    uint64_t bias;          /* run-time address minus ELF virtual address */
    uint32_t generation;    /* dlclose() generation in which it was seen */
    uint32_t build_id_bytes;
    uint8_t build_id[RTD_BUILD_ID_BYTES];
    uint32_t name_bytes;
    uint64_t reserved;
    char name[RTD_MODULE_NAME_BYTES]; /* path as the dynamic loader knows it; "" = the program */
};

/* A component / operation pair, appended by the agent. */
struct rtd_tag {
    _Atomic uint32_t state; /* 0 free, 1 being written, 2 published (release) */
    uint32_t reserved;
    char component[RTD_TAG_NAME_BYTES]; /* NUL-terminated, cut at a whole UTF-8 character */
    char operation[RTD_TAG_NAME_BYTES];
};

/* One thread's block. Single writer: the thread; the collector frees it when the tid is gone. */
struct rtd_thread {
    _Atomic uint32_t state; /* 0 free, 1 in use */
    _Atomic uint32_t tid;
    _Atomic uint64_t
        allocated_bytes;      /* (size + 1) summed over all allocations, to the last slow path */
    _Atomic uint64_t sampled; /* samples taken by this thread */
    _Atomic uint64_t slow_mallocs;
    _Atomic uint64_t sampled_frees; /* frees of samples by this thread */
    uint64_t reserved[11];
};

/* Addresses of live samples. A word is 0 when the slot is free. */
struct rtd_bucket {
    _Atomic uint64_t address[RTD_BUCKET_SLOTS];
    _Atomic uint64_t
        spilled; /* live samples whose first bucket this is but that live in their second */
};

/* The record beside an address. seq is odd while it is being written. */
struct rtd_sample {
    _Atomic uint32_t seq;
    _Atomic uint32_t interval; /* storage interval T in bytes: p = 1 - exp(-(size + 1) / T) */
    _Atomic uint64_t size;     /* bytes asked for */
    _Atomic uint32_t site;
    _Atomic uint32_t thread;   /* tid */
    _Atomic uint32_t birth_ms; /* header.clock_ms at birth, low 32 bits */
    uint32_t reserved;
};

/*
 * Cumulative statistics of one site = (stack, tag). Several threads add with relaxed atomics, on
 * the slow path only. Weights are fixed point: counts in 1/256, variances in the units below.
 * A birth's weight uses the sampling interval, a death's the storage interval.
 */
struct rtd_site_record {
    _Atomic uint64_t key; /* (tag << 32) | stack id, plus RTD_SITE_KEY_USED; 0 = free */
    _Atomic uint32_t first_ms;
    _Atomic uint32_t last_ms;
    _Atomic uint64_t births;          /* samples */
    _Atomic uint64_t birth_bytes;     /* sum of size / p */
    _Atomic uint64_t birth_count_q8;  /* sum of 256 / p */
    _Atomic uint64_t birth_bytes_var; /* sum of (size / p)^2 (1 - p) / 4096 */
    _Atomic uint64_t birth_count_var; /* sum of 16 (1 / p)^2 (1 - p) */
    _Atomic uint64_t deaths;          /* samples */
    _Atomic uint64_t death_bytes;     /* sum of size / p */
    _Atomic uint64_t death_count_q8;  /* sum of 256 / p */
    _Atomic uint64_t large_births;    /* samples of more than 1 MiB */
    _Atomic uint64_t max_size;        /* largest sampled size */
    /* Sampled deaths by age: bucket 0 below RTD_LIFETIME_UNIT_MS, bucket i in [2^(i-1), 2^i) units,
     * the last one open. */
    _Atomic uint32_t lifetime[RTD_LIFETIME_BUCKETS];
    uint64_t reserved[4];
};
#define RTD_SITE_KEY_USED (UINT64_C(1) << 63)

/* NONE: the call failed after all. */
enum rtd_map_kind { RTD_MAP_NONE = 0, RTD_MAP_ADD = 1, RTD_MAP_REMOVE = 2, RTD_MAP_MOVE = 3 };

/*
 * One successful mmap(), munmap(), mremap() or break change of the program, in a ring: event n
 * (from 0, by header.map_events) lies in entry n % RTD_MAP_COUNT.
 */
struct rtd_map_event {
    _Atomic uint64_t sequence; /* n + 1, stored last with release; older or bit 63 = not written */
    uint32_t kind;             /* enum rtd_map_kind */
    uint32_t stack;            /* as a site's; in exact mode an id of the exact trie */
    uint32_t tag;
    uint32_t time_ms;
    uint64_t address, length;         /* what is mapped now; REMOVE: what went */
    uint64_t old_address, old_length; /* MOVE: what was mapped before */
    uint64_t flags; /* ADD: of mmap(); bit 63: the program break; bit 62: ledger_maps.h */
};

struct rtd_header {
    /* Written by the collector before the hand-over. */
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t total_bytes;
    uint32_t mode;           /* enum rtd_mode */
    uint32_t interval_fixed; /* 1: the user gave --interval, never adapt */
    uint64_t seed;           /* of the samplers' random numbers */
    uint64_t created_unix_ns;
    uint32_t target_pid; /* as the collector sees it */
    uint32_t flags;
    uint64_t target_start; /* field 22 of /proc/PID/stat */
    uint64_t session;
    uint64_t reserved0[7];

    /* Offset 128. Ticked by the collector while it lives. */
    _Atomic uint64_t clock_ms;       /* milliseconds since created_unix_ns, monotonic */
    _Atomic uint64_t interval_bytes; /* T to use for the next draw; the agent may double it */
    _Atomic uint32_t no_handshake;   /* 1: the target runs under seccomp; do not talk at fork */
    uint32_t reserved1;
    _Atomic uint64_t adapt_low_ms; /* the collector's own: time spent below the rate aimed at */
    _Atomic uint64_t shadow_birth; /* exact mode: the clock as a shadow word, see ledger_exact.h */
    uint64_t reserved2[3];

    /* Offset 192. Written by the agent once. */
    _Atomic uint32_t agent_state;
    uint32_t agent_reason;
    uint32_t agent_pid; /* in the target's own namespace */
    uint32_t agent_parent;
    uint32_t agent_kind; /* enum rtd_hello_kind */
    uint32_t mark_mask;
    uint64_t allocator_module_start; /* run-time address of the real malloc */
    uint64_t blind_spots;            /* RTD_BLIND_TO_...: parts of the heap that do not pass here */
    uint64_t reserved3[3];

    /* Offset 256. Counters the agent adds to, slow path only. */
    _Atomic uint32_t module_count;
    _Atomic uint32_t node_count;
    _Atomic uint32_t tag_count;
    _Atomic uint32_t site_count;
    _Atomic uint32_t live_samples;
    _Atomic uint32_t storage_shift; /* storage interval = sampling interval << shift */
    _Atomic uint32_t generation;    /* dlclose() so far */
    _Atomic uint32_t thinning;      /* 1 while a thread thins the table */
    _Atomic uint64_t
        live_bytes; /* estimate kept by the agent, for the peak only; two's complement */
    _Atomic uint64_t peak_live_bytes;
    _Atomic uint64_t peak_ms;
    _Atomic uint64_t samples;    /* all taken */
    _Atomic uint64_t tick_clock; /* clock_ms at which tick_samples began */
    _Atomic uint64_t tick_samples;
    _Atomic uint64_t map_events;   /* mapping events begun so far */
    _Atomic uint64_t threads_seen; /* threads set up so far */

    /* Offset 352. Births by size: tiny < 1 KiB, small < 64 KiB, medium < 1 MiB, large < 16 MiB,
     * huge. */
    _Atomic uint64_t size_class_q8[RTD_SIZE_CLASSES];
    /* Totals of threads whose blocks the collector took back. */
    _Atomic uint64_t retired_allocated_bytes;
    _Atomic uint64_t retired_sampled;
    _Atomic uint64_t retired_threads;

    /* Offset 416. */
    _Atomic uint64_t loss[RTD_LOSS_COUNT];
    uint64_t reserved4[4];

    /* Offset 640. What an operator asks of the agent: see ledger_request.h. */
    _Atomic uint64_t request;        /* (number << 8) | enum rtd_request_state */
    _Atomic uint32_t request_action; /* enum rtd_release_action, by the agent with its answer */
    _Atomic int32_t request_error;   /* errno of an allocator that refused, 0: none */
    _Atomic uint64_t request_ns;     /* how long the allocator's call took */
    uint8_t reserved5[RTD_HEADER_BYTES - 664];
};

/* Region offsets; each region begins on a page. */
#define RTD_OFF_MODULES  ((size_t)RTD_HEADER_BYTES)
#define RTD_OFF_NODES    (RTD_OFF_MODULES + RTD_MODULE_COUNT * sizeof(struct rtd_module))
#define RTD_OFF_TAGS     (RTD_OFF_NODES + RTD_NODE_COUNT * sizeof(uint64_t))
#define RTD_OFF_THREADS  (RTD_OFF_TAGS + RTD_TAG_COUNT * sizeof(struct rtd_tag))
#define RTD_OFF_BUCKETS  (RTD_OFF_THREADS + RTD_THREAD_COUNT * sizeof(struct rtd_thread))
#define RTD_OFF_SAMPLES  (RTD_OFF_BUCKETS + RTD_BUCKET_COUNT * sizeof(struct rtd_bucket))
#define RTD_OFF_SITES    (RTD_OFF_SAMPLES + RTD_SAMPLE_COUNT * sizeof(struct rtd_sample))
#define RTD_OFF_MAPS     (RTD_OFF_SITES + RTD_SITE_COUNT * sizeof(struct rtd_site_record))
#define RTD_LEDGER_BYTES (RTD_OFF_MAPS + RTD_MAP_COUNT * sizeof(struct rtd_map_event))

/* The whole ledger as one type: a mapping is a struct rtd_ledger *. */
struct rtd_ledger {
    struct rtd_header header;
    struct rtd_module modules[RTD_MODULE_COUNT];
    _Atomic uint64_t nodes[RTD_NODE_COUNT];
    struct rtd_tag tags[RTD_TAG_COUNT];
    struct rtd_thread threads[RTD_THREAD_COUNT];
    struct rtd_bucket buckets[RTD_BUCKET_COUNT];
    struct rtd_sample samples[RTD_SAMPLE_COUNT];
    struct rtd_site_record sites[RTD_SITE_COUNT];
    struct rtd_map_event maps[RTD_MAP_COUNT];
};

RTD_STATIC_ASSERT(sizeof(struct rtd_header) == RTD_HEADER_BYTES, "header is one page");
RTD_STATIC_ASSERT(offsetof(struct rtd_header, clock_ms) == 128, "collector line");
RTD_STATIC_ASSERT(offsetof(struct rtd_header, agent_state) == 192, "agent line");
RTD_STATIC_ASSERT(offsetof(struct rtd_header, module_count) == 256, "counters");
RTD_STATIC_ASSERT(offsetof(struct rtd_header, size_class_q8) == 352, "size classes");
RTD_STATIC_ASSERT(offsetof(struct rtd_header, loss) == 416, "losses");
RTD_STATIC_ASSERT(offsetof(struct rtd_header, request) == 640, "request line");
RTD_STATIC_ASSERT(offsetof(struct rtd_header, reserved5) == 664, "end of the request line");
RTD_STATIC_ASSERT(sizeof(struct rtd_module) == 368, "module");
RTD_STATIC_ASSERT(sizeof(struct rtd_tag) == 128, "tag");
RTD_STATIC_ASSERT(sizeof(struct rtd_thread) == 128, "thread");
RTD_STATIC_ASSERT(sizeof(struct rtd_bucket) == 64, "bucket");
RTD_STATIC_ASSERT(sizeof(struct rtd_sample) == 32, "sample");
RTD_STATIC_ASSERT(sizeof(struct rtd_site_record) == 192, "site");
RTD_STATIC_ASSERT(sizeof(struct rtd_map_event) == 64, "map event");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, modules) == RTD_OFF_MODULES, "modules");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, nodes) == RTD_OFF_NODES, "nodes");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, tags) == RTD_OFF_TAGS, "tags");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, threads) == RTD_OFF_THREADS, "threads");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, buckets) == RTD_OFF_BUCKETS, "buckets");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, samples) == RTD_OFF_SAMPLES, "samples");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, sites) == RTD_OFF_SITES, "sites");
RTD_STATIC_ASSERT(offsetof(struct rtd_ledger, maps) == RTD_OFF_MAPS, "maps");
RTD_STATIC_ASSERT(sizeof(struct rtd_ledger) == RTD_LEDGER_BYTES, "total");
RTD_STATIC_ASSERT(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free to be shared");

#endif
