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

#include "ledger/ledger_exact.h"

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
    uint8_t alignment_log; /* log2 + 1 of what was asked for; 0: not known, as of the heap */
    uint64_t birth_ms;     /* on the image's clock */
};

struct rtd_image_site {
    uint32_t stack; /* leaf node id, or 0: no stack */
    uint32_t tag;   /* index into image->tags */
    uint64_t first_ms, last_ms;
    uint64_t births;
    double birth_bytes, birth_count;         /* unbiased estimates since start */
    double birth_bytes_var, birth_count_var; /* their estimated variances */
    uint64_t deaths;
    double death_bytes, death_count;
    uint64_t large_births, max_size;
    uint32_t lifetime[RTD_LIFETIME_BUCKETS];
};

/*
 * What exact mode knows of a site beside its rtd_image_site, at the same index. There births and
 * deaths are the allocations and frees themselves, sums of bytes are the doubles next to the ones
 * here, and variances are 0.
 */
struct rtd_image_count {
    uint64_t allocated_bytes, freed_bytes;
    uint64_t live_bytes, live_blocks;
    uint64_t peak_bytes, peak_blocks; /* live when the process held most */
    uint64_t temporary;               /* freed before the same thread's next allocation */
};

/* A node of the exact trie. */
struct rtd_image_node {
    uint64_t pc;
    uint32_t id, parent;
};

/* What an image of an exact ledger has besides; arrays are owned and as long as they need be. */
struct rtd_image_exact {
    struct rtd_image_count *counts; /* image->site_count of them */
    uint32_t site_room;             /* of counts and of image->sites */
    bool *linked;                   /* as many: all nodes of the site's stack are here */
    uint32_t node_count, node_room; /* nodes come in any order and never change */
    uint32_t nodes_read;            /* ids below this were read in one go */
    struct rtd_image_node *nodes;
    uint32_t *node_slots; /* hash table of their ids: 1 + index; twice node_room */
    /* Frees of blocks from before the start or never ours; of blocks not seen to go; untracked. */
    uint64_t unknown_frees, missed_frees, untracked, stack_misses;
    double block_share; /* the share of all live blocks that is in samples[]; 0: not looked for */
    bool ages_partial;  /* not every death has an age: lifetime[0] is then what it says */
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
    /* Set by the caller of a read: the writer is dead, so figures that disagree are damage. */
    bool writer_gone;

    uint32_t module_count;
    struct rtd_image_module *modules;
    struct rtd_image_exact *exact; /* NULL in sampling mode; then nodes[] has the trie */
    uint64_t *nodes;               /* RTD_NODE_COUNT words, as in the ledger */
    /* True: these RTD_NODES_PER_PAGE words are all 0. Who writes to nodes clears it. */
    bool empty_node_pages[RTD_NODE_PAGES];
    uint32_t tag_count; /* >= 2: [0] none, [1] "other" */
    struct rtd_image_tag *tags;
    /* In exact mode some live blocks with their ages, see rtd_image_blocks_read(). */
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
 * image then keeps what it had. Modules come sorted by start and generation. An exact ledger cannot
 * be read without its file: -EBADF.
 */
int rtd_image_read(struct rtd_image *image, const struct rtd_ledger *ledger);

/*
 * The same, and asks the ledger's memfd first which pages were ever written, to leave the others
 * alone: a short-lived process uses a few dozen of a thousand. fd may be -1 in sampling mode; the
 * exact part is read by pread() from it, for that takes no memory where the file has none. Also
 * -ENOMEM in exact mode.
 */
int rtd_image_read_sparse(struct rtd_image *image, const struct rtd_ledger *ledger, int fd);

/* A copy with buffers of its own; NULL when memory is short. image must be of rtd_image_new(). */
struct rtd_image *rtd_image_clone(const struct rtd_image *image);

/*
 * Exact mode: replaces samples[] by live blocks from evenly spread pages of the shadow, at most
 * RTD_SAMPLE_CAPACITY, and sets exact->block_share. Costs milliseconds: for reports. 0, -ENOMEM or
 * an errno of reading; in sampling mode 0 without effect.
 */
int rtd_image_blocks_read(struct rtd_image *image, int fd);

/* The running total of an exact ledger, in bytes, up to what threads have not handed in. */
uint64_t rtd_image_live_hint(int fd);

/*
 * Makes sure that a stack id that stands in no site can be followed, as those of mapping events. 0,
 * -ENOMEM or an errno of reading; an id that is none in the ledger either is no error.
 */
int rtd_image_stack_load(struct rtd_image *image, int fd, uint32_t stack);

/* Gives the image its exact part, if it has none yet. 0 or -ENOMEM. */
int rtd_image_exact_begin(struct rtd_image *image);

/* Room for so many sites (1 to RTD_EXACT_SITE_COUNT), new ones zero. 0 or -ENOMEM. */
int rtd_image_exact_reserve(struct rtd_image *image, uint32_t site_count);

/*
 * Adds a node that passed rtd_validity_check_exact_node(). 1 when it is new, 0 when its id is there
 * already, -ENOMEM.
 */
int rtd_image_exact_add(struct rtd_image *image, const struct rtd_image_node *node);

/* The node of that id, or NULL. Borrowed until the next node is added. */
const struct rtd_image_node *rtd_image_exact_node(const struct rtd_image *image, uint32_t id);

/* Deaths of a site by age bucket; bucket 0 of exact mode may be beyond what lifetime[] holds. */
uint64_t rtd_image_lifetime(const struct rtd_image *image, uint32_t site, unsigned bucket);

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
