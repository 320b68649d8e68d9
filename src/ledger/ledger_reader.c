// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader.c - images: making, filling from a ledger, copying, freeing.
 *
 * Runs in:    collector, report, tests, a program that links libriptide
 * Threads:    an image belongs to one thread at a time; the ledger may be written meanwhile
 * Allocates:  a block and one mapping an image, at rtd_image_new() and rtd_image_clone(); in exact
 *             mode also when the ledger grew
 * Fails:      with -EPROTO on a ledger that is not one; everything else is counted in rejected
 *
 * Why one mapping for all tables: a run may leave thousands of images (every child of a build), and
 * one a table would come near the kernel's limit of mappings. Why not from the heap: in a service
 * that looks at itself an image is made and dropped at each report, and an allocator keeps most of
 * what it once had. Reading allocates nothing, for it happens every second.
 */
#include "ledger/ledger_reader.h"

#include "ledger/ledger_reader_exact.h"
#include "ledger/ledger_reader_tables.h"
#include "ledger/ledger_validity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

struct image_tables {
    uint64_t nodes[RTD_NODE_COUNT];
    struct rtd_image_sample samples[RTD_SAMPLE_CAPACITY];
    struct rtd_image_site sites[RTD_SITE_COUNT];
    uint32_t site_map[RTD_SITE_COUNT];
    struct rtd_image_tag tags[RTD_TAG_COUNT];
    struct rtd_image_module modules[RTD_MODULE_COUNT];
};

/* The image is the first member, so a pointer to it is a pointer to the block. */
struct image_block {
    struct rtd_image image;
    struct image_tables *tables;
};

static void set_pointers(struct image_block *block)
{
    block->image.modules = block->tables->modules;
    block->image.nodes = block->tables->nodes;
    block->image.tags = block->tables->tags;
    block->image.samples = block->tables->samples;
    block->image.sites = block->tables->sites;
}

/* A block with empty tables, or NULL. */
static struct image_block *new_block(void)
{
    struct image_block *const block = calloc(1, sizeof(*block));

    if (block == NULL) {
        return NULL;
    }
    void *const tables = mmap(NULL, sizeof(*block->tables), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (tables == MAP_FAILED) {
        free(block);
        return NULL;
    }
    /* A page that is filled shall not cost a huge one; fails only where there are none. */
    (void)madvise(tables, sizeof(*block->tables), MADV_NOHUGEPAGE);
    block->tables = tables;
    return block;
}

struct rtd_image *rtd_image_new(void)
{
    struct image_block *const block = new_block();

    if (block == NULL) {
        return NULL;
    }
    set_pointers(block);
    rtd_validity_set_fixed_tags(block->tables->tags);
    block->image.mode = RTD_MODE_SAMPLE;
    block->image.interval_bytes = 1;
    block->image.tag_count = RTD_TAG_FIRST;
    block->image.site_count = 1;
    memset(block->image.empty_node_pages, true, sizeof(block->image.empty_node_pages));
    return &block->image;
}

void rtd_image_free(struct rtd_image *image)
{
    struct image_block *const block = (struct image_block *)image;

    if (image != NULL) {
        rtd_reader_exact_free(image);
        (void)munmap(block->tables, sizeof(*block->tables));
        free(block);
    }
}

struct rtd_image *rtd_image_clone(const struct rtd_image *image)
{
    struct image_block *const block = new_block();

    if (block == NULL) {
        return NULL;
    }
    block->image = *image;
    block->image.exact = NULL;
    set_pointers(block);
    if (image->exact != NULL && rtd_reader_exact_clone(&block->image, image) != 0) {
        rtd_image_free(&block->image);
        return NULL;
    }
    block->image.site_count = image->site_count;
    block->image.sample_count = image->sample_count;
    for (size_t i = 0; i < RTD_NODE_COUNT; i += RTD_NODES_PER_PAGE) {
        if (!image->empty_node_pages[i / RTD_NODES_PER_PAGE]) {
            memcpy(&block->tables->nodes[i], &image->nodes[i], RTD_PAGE_BYTES);
        }
    }
    memcpy(block->tables->modules, image->modules, image->module_count * sizeof(image->modules[0]));
    memcpy(block->tables->tags, image->tags, image->tag_count * sizeof(image->tags[0]));
    memcpy(block->tables->samples, image->samples, image->sample_count * sizeof(image->samples[0]));
    memcpy(block->image.sites, image->sites, image->site_count * sizeof(image->sites[0]));
    return &block->image;
}

/* True when the collector's half of the header is as it was made. */
static bool is_ledger(const struct rtd_ledger *ledger)
{
    uint64_t words[4];

    /* magic, version and header_bytes, total_bytes, mode: the first 32 bytes. */
    rtd_reader_copy_words(words, &ledger->header, 32);
    return words[0] == RTD_LEDGER_MAGIC && (uint32_t)words[1] == RTD_LEDGER_VERSION &&
           words[1] >> 32 == RTD_HEADER_BYTES && words[2] == rtd_ledger_bytes((uint32_t)words[3]);
}

/* Adds to a sum that hostile figures shall not wrap. */
static void add_bounded(uint64_t *sum, uint64_t value)
{
    if (__builtin_add_overflow(*sum, value, sum)) {
        *sum = UINT64_MAX;
    }
}

static uint64_t counted_bytes(const struct rtd_ledger *ledger)
{
    uint64_t sum = LOAD(ledger->header.retired_allocated_bytes);

    for (unsigned i = 0; i < RTD_THREAD_COUNT; i++) {
        if (LOAD(ledger->threads[i].state) != 0) {
            add_bounded(&sum, LOAD(ledger->threads[i].allocated_bytes));
        }
    }
    return sum;
}

/* Takes the header's values over unchecked; rtd_validity_check_header() comes after. */
static void copy_header(struct rtd_image *image, const struct rtd_ledger *ledger)
{
    const struct rtd_header *const header = &ledger->header;
    struct rtd_header copy;

    /* Pairs with the agent's release: what it wrote once at the start is there. */
    const uint32_t state = atomic_load_explicit(&header->agent_state, memory_order_acquire);
    /* Up to the counters: these words have writers that are done, or atomics. */
    rtd_reader_copy_words(&copy, header, offsetof(struct rtd_header, module_count));
    image->created_unix_ns = copy.created_unix_ns;
    image->clock_ms = copy.clock_ms;
    image->interval_bytes = copy.interval_bytes;
    image->session = copy.session;
    image->mode = copy.mode;
    image->interval_fixed = copy.interval_fixed != 0;
    image->target_pid = copy.target_pid;
    image->target_start = copy.target_start;
    image->agent_state = state;
    image->agent_reason = copy.agent_reason;
    image->agent_kind = copy.agent_kind;
    image->allocator_module_start = copy.allocator_module_start;
    image->generation = LOAD(header->generation);
    image->storage_shift = LOAD(header->storage_shift);
    image->peak_live_bytes = LOAD(header->peak_live_bytes);
    image->peak_ms = LOAD(header->peak_ms);
    image->samples_taken = LOAD(header->samples);
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++) {
        image->size_class_count[i] = (double)LOAD(header->size_class_q8[i]) / 256;
    }
    for (unsigned i = 0; i < RTD_LOSS_COUNT; i++) {
        image->loss[i] = LOAD(header->loss[i]);
    }
    image->counted_bytes = counted_bytes(ledger);
}

/* The tables that only sampling mode writes. */
static void read_sampled(struct rtd_image *image, const struct rtd_ledger *ledger,
                         const struct rtd_reader_pages *pages)
{
    struct image_block *const block = (struct image_block *)image;

    rtd_reader_exact_free(image);
    image->sites = block->tables->sites;
    rtd_reader_samples_read(image, ledger, pages);
    rtd_reader_sites_read(image, ledger, pages, block->tables->site_map);
    rtd_reader_samples_link(image, block->tables->site_map);
}

int rtd_image_read(struct rtd_image *image, const struct rtd_ledger *ledger)
{
    return rtd_image_read_sparse(image, ledger, -1);
}

/* An image that last held another ledger keeps nothing of that one's trie. */
static void forget_other(struct rtd_image *image, uint64_t session, uint64_t created_unix_ns)
{
    if (image->session != session || image->created_unix_ns != created_unix_ns) {
        struct image_block *const block = (struct image_block *)image;
        rtd_reader_exact_free(image);
        image->sites = block->tables->sites;
    }
}

int rtd_image_read_sparse(struct rtd_image *image, const struct rtd_ledger *ledger, int fd)
{
    const uint64_t session = image->session, created_unix_ns = image->created_unix_ns;
    struct rtd_reader_pages pages;
    int error = 0;

    if (!is_ledger(ledger)) {
        return -EPROTO;
    }
    rtd_reader_pages_find(&pages, ledger, fd);
    copy_header(image, ledger);
    image->rejected = rtd_validity_check_header(image);
    forget_other(image, session, created_unix_ns);
    if (image->mode == RTD_MODE_EXACT) {
        error = fd < 0 ? -EBADF : rtd_reader_exact_read(image, fd);
    } else {
        read_sampled(image, ledger, &pages);
    }
    if (error != 0) {
        return error;
    }
    rtd_reader_tags_read(image, ledger, &pages);
    rtd_reader_nodes_read(image, ledger, &pages);
    rtd_reader_modules_read(image, ledger, &pages);
    return 0;
}
