// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader.h - a private, validated copy of a ledger: the one reader interface of the house.
 *
 * Runs in:    collector, report, tests; never in a target that did not ask for it
 * Threads:    an image belongs to one thread at a time; the ledger may be written meanwhile
 * Allocates:  yes (malloc)
 * Fails:      by returning a negative errno; a hostile ledger costs counted rejects, never a crash
 *
 * Every mapped byte is hostile: each field is loaded once, checked, and only the copy is used.
 * Every index in an image is in range: consumers need no checks of their own.
 */
#ifndef RTD_LEDGER_READER_H
#define RTD_LEDGER_READER_H

#include "ledger/ledger_layout.h"

#include <stdbool.h>

enum {
    RTD_PAGE_BYTES = 4096,
    RTD_NODES_PER_PAGE = RTD_PAGE_BYTES / 8,
    RTD_NODE_PAGES = RTD_NODE_COUNT / RTD_NODES_PER_PAGE,
};

struct rtd_image_module {
    uint64_t start, end, bias;
    uint32_t generation;
    uint32_t build_id_bytes; /* 0..RTD_BUILD_ID_BYTES */
    uint8_t build_id[RTD_BUILD_ID_BYTES];
    char name[RTD_MODULE_NAME_BYTES]; /* NUL-terminated; "" = the program itself */
};

struct rtd_image_tag {
    char component[RTD_TAG_NAME_BYTES]; /* NUL-terminated, valid UTF-8 without control characters */
    char operation[RTD_TAG_NAME_BYTES];
};

struct rtd_image_sample {
    uint64_t address, size;
    uint32_t site;     /* index into image->sites */
    uint32_t interval; /* storage interval in bytes, >= 1: p = 1 - exp(-(size + 1) / interval) */
    uint32_t thread;   /* tid or 0 */
    uint32_t birth_ms; /* on the image's clock */
};

struct rtd_image_site {
    uint32_t stack; /* leaf node id, or 0: no stack */
    uint32_t tag;   /* index into image->tags */
    uint32_t first_ms, last_ms;
    uint64_t births;
    double birth_bytes, birth_count;         /* unbiased estimates since start */
    double birth_bytes_var, birth_count_var; /* their estimated variances */
    uint64_t deaths;
    double death_bytes, death_count;
    uint64_t large_births, max_size;
    uint32_t lifetime[RTD_LIFETIME_BUCKETS];
};

struct rtd_image {
    /* Header values. Times in milliseconds on the ledger's clock unless the name says otherwise. */
    uint64_t created_unix_ns, clock_ms, interval_bytes, session;
    uint32_t mode;
    bool interval_fixed;
    uint32_t target_pid, agent_state, agent_reason, agent_kind;
    uint64_t target_start;
    uint32_t generation, storage_shift;
    uint64_t peak_live_bytes, peak_ms, samples_taken;
    uint64_t counted_bytes; /* (size + 1) over all allocations, from the threads' counters */
    uint64_t allocator_module_start;
    double size_class_count[RTD_SIZE_CLASSES]; /* estimated births by size class */
    uint64_t loss[RTD_LOSS_COUNT];
    uint64_t rejected; /* fields or records refused by the checks of this read */

    uint32_t module_count;
    struct rtd_image_module *modules;
    uint64_t *nodes; /* RTD_NODE_COUNT words, as in the ledger */
    /* True: these RTD_NODES_PER_PAGE words are all 0. Who writes to nodes clears it. */
    bool empty_node_pages[RTD_NODE_PAGES];
    uint32_t tag_count; /* >= 2: [0] none, [1] "other" */
    struct rtd_image_tag *tags;
    uint32_t sample_count;
    struct rtd_image_sample *samples;
    uint32_t site_count; /* >= 1: [0] is the overflow site */
    struct rtd_image_site *sites;
};

/*
 * An empty image, owned by the caller; NULL when memory is short. Its arrays have room for what a
 * ledger can hold (RTD_MODULE_COUNT, RTD_NODE_COUNT, RTD_TAG_COUNT, RTD_SAMPLE_CAPACITY,
 * RTD_SITE_COUNT) and stay in place for life; pages that are never filled cost nothing.
 */
struct rtd_image *rtd_image_new(void);
void rtd_image_free(struct rtd_image *image); /* NULL is allowed */

/*
 * Copies what the ledger holds now into image (replacing its contents). Safe while the target
 * runs, scribbles, or is dead. Returns 0, or -EPROTO when magic, version or sizes are wrong: the
 * image then keeps what it had. Modules come sorted by start and generation.
 */
int rtd_image_read(struct rtd_image *image, const struct rtd_ledger *ledger);

/*
 * The same, and asks the ledger's memfd first which pages were ever written, to leave the others
 * alone: a short-lived process uses a few dozen of a thousand. fd may be -1.
 */
int rtd_image_read_sparse(struct rtd_image *image, const struct rtd_ledger *ledger, int fd);

/* A copy with buffers of its own; NULL when memory is short. image must be of rtd_image_new(). */
struct rtd_image *rtd_image_clone(const struct rtd_image *image);

struct rtd_image_stack {
    uint32_t generation;
    bool truncated;    /* outermost frames are missing */
    uint32_t pc_count; /* leaf first */
    uint64_t pcs[RTD_FRAME_MAX];
};

/* Follows the trie from a stack id to its root; bounded; an unusable id gives pc_count 0. */
void rtd_image_stack_get(const struct rtd_image *image, uint32_t stack,
                         struct rtd_image_stack *out);

/* The module that held pc in that generation, or NULL. Borrowed from image. */
const struct rtd_image_module *rtd_image_module_at(const struct rtd_image *image, uint64_t pc,
                                                   uint32_t generation);

/* Stable snake_case name of a loss, NULL for an unused number. */
const char *rtd_loss_name(unsigned loss);

#endif
