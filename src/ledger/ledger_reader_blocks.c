// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_blocks.c - some live blocks out of the shadow of an exact ledger, with their ages.
 *
 * Runs in:    collector, tests
 * Threads:    the image is private; the ledger may be written meanwhile
 * Allocates:  a list of extents, while it runs
 * Fails:      by a negative errno
 *
 * Counters say how much lives at a site and not how old it is. The shadow does, for every block,
 * but may be as large as a quarter of the heap. So the pages of it that hold data are listed, at
 * most VISIT_PAGES of them at equal distances are read, and when even their blocks are too many
 * every second, fourth, ... of them is kept. Which share that is of all stands in block_share.
 */
#include "ledger/ledger_reader_exact.h"

#include "ledger/ledger_validity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    VISIT_PAGES = 512,
    EXTENT_MAX = 16384,
    PAGE_WORDS = RTD_PAGE_BYTES / 8,
    MARGIN = RTD_SHADOW_SIZE_WORDS, /* words behind a page that its blocks may need */
};

/* Pages of the shadow that hold data, one behind the other. */
struct extent {
    uint32_t first, count;
};

enum {
    LEAF_PAGES = RTD_SHADOW_LEAF_STRIDE / PAGE_WORDS, /* the last holds no block's word */
    SHADOW_PAGES = RTD_SHADOW_LEAF_COUNT * LEAF_PAGES,
};

struct block_walk {
    struct rtd_image *image;
    int fd;
    uint64_t leaf_regions[RTD_SHADOW_LEAF_COUNT];
    struct extent *extents;
    uint32_t extent_count;
    uint64_t page_count;
    uint64_t seen, step; /* every step-th block is kept */
};

/* Makes room by joining neighbours: the hole between two counts as looked at and holds no block. */
static void join_extents(struct block_walk *walk)
{
    walk->extent_count /= 2;
    walk->page_count = 0;
    for (uint32_t i = 0; i < walk->extent_count; i++) {
        const struct extent a = walk->extents[(size_t)2 * i];
        const struct extent b = walk->extents[(size_t)2 * i + 1];
        walk->extents[i] = (struct extent){a.first, b.first + b.count - a.first};
        walk->page_count += walk->extents[i].count;
    }
}

static int list_extents(struct block_walk *walk)
{
    const uint64_t base = RTD_EXACT_AT(shadow);
    const uint64_t end = base + (uint64_t)SHADOW_PAGES * RTD_PAGE_BYTES;

    walk->extents = calloc(EXTENT_MAX, sizeof(walk->extents[0]));
    if (walk->extents == NULL) {
        return -ENOMEM;
    }
    for (uint64_t at = base;;) {
        if (walk->extent_count == EXTENT_MAX) {
            join_extents(walk);
        }
        at = rtd_exact_next_data(walk->fd, at, end);
        if (at >= end) {
            break;
        }
        const off_t hole = lseek(walk->fd, (off_t)at, SEEK_HOLE);
        const uint64_t to = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
        if (to <= at) {
            break;
        }
        walk->extents[walk->extent_count++] = (struct extent){
            .first = (uint32_t)((at - base) / RTD_PAGE_BYTES),
            .count = (uint32_t)((to - at) / RTD_PAGE_BYTES),
        };
        walk->page_count += (to - at) / RTD_PAGE_BYTES;
        at = to;
    }
    return 0;
}

/* Makes room by dropping every second block that was kept. */
static void thin_blocks(struct block_walk *walk)
{
    struct rtd_image *const image = walk->image;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < image->sample_count; i += 2) {
        image->samples[kept++] = image->samples[i];
    }
    image->sample_count = kept;
    walk->step *= 2;
}

/* When a block was born, from the low bits of the clock's units. */
static uint64_t birth_ms(const struct rtd_image *image, uint64_t word)
{
    const uint64_t now = image->clock_ms / RTD_LIFETIME_UNIT_MS;
    const uint64_t age =
        (now - (word >> RTD_SHADOW_BIRTH_SHIFT & RTD_SHADOW_BIRTH_MASK)) & RTD_SHADOW_BIRTH_MASK;

    /* The clock that was read may be older than the block: age is then next to a whole turn. */
    return age > now ? image->clock_ms : (now - age) * RTD_LIFETIME_UNIT_MS;
}

static void keep_block(struct block_walk *walk, uint64_t address, uint64_t word, uint64_t size)
{
    struct rtd_image *const image = walk->image;
    const struct rtd_image_sample sample = {
        .address = address,
        .size = size,
        .site = (uint32_t)((word & RTD_SHADOW_SITE_MASK) >> RTD_SHADOW_SITE_SHIFT),
        .interval = 1,
        .birth_ms = birth_ms(image, word),
    };

    /* A site newer than the image's counters is not wrong; the block is just not looked at. */
    if (walk->seen++ % walk->step != 0 || sample.site >= image->site_count) {
        return;
    }
    if (!rtd_validity_check_sample(&sample)) {
        image->rejected++;
        return;
    }
    if (image->sample_count == RTD_SAMPLE_CAPACITY) {
        thin_blocks(walk);
    }
    image->samples[image->sample_count++] = sample;
}

/* What a block's word says, or the word behind it that has the size of a large one. */
static uint64_t block_size(const uint64_t *word)
{
    if ((*word & RTD_SHADOW_SMALL) != 0) {
        return *word >> RTD_SHADOW_SIZE_SHIFT & RTD_SHADOW_SIZE_MASK;
    }
    /* Another block's word there: this one went unseen, and its size with it. */
    if ((word[MARGIN] & RTD_SHADOW_USED) != 0) {
        return RTD_SHADOW_SIZE_MASK + 1;
    }
    return word[MARGIN] >> RTD_SHADOW_SIZE_WORD_SHIFT;
}

/* The blocks that begin on one page of a leaf; words has MARGIN more behind it. */
static void take_page(struct block_walk *walk, uint32_t page, const uint64_t *words)
{
    const uint64_t region = walk->leaf_regions[page / LEAF_PAGES];
    const uint64_t first = (uint64_t)(page % LEAF_PAGES) * PAGE_WORDS;

    if (region == 0 || region > RTD_SHADOW_REGION_COUNT || first >= RTD_SHADOW_LEAF_WORDS) {
        return;
    }
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        const uint64_t word = words[i];
        if ((word & RTD_SHADOW_USED) == 0) {
            continue;
        }
        const uint64_t offset = (first + i) << RTD_SHADOW_GRANULE_SHIFT;
        const uint64_t half = (word >> RTD_SHADOW_HALF_SHIFT & 1) * 16;
        keep_block(walk, ((region - 1) << RTD_SHADOW_REGION_BITS) + offset + half, word,
                   block_size(&words[i]));
    }
}

static int visit_page(struct block_walk *walk, uint32_t page)
{
    uint64_t words[PAGE_WORDS + MARGIN] = {0};
    /* Behind the last page of all there is nothing. */
    const bool is_last = page == SHADOW_PAGES - 1;
    const size_t size = is_last ? PAGE_WORDS * sizeof(words[0]) : sizeof(words);
    const int error = rtd_exact_pread(walk->fd, words, size,
                                      RTD_EXACT_AT(shadow) + (uint64_t)page * RTD_PAGE_BYTES);

    if (error == 0) {
        take_page(walk, page, words);
    }
    return error;
}

static int visit_pages(struct block_walk *walk)
{
    const uint64_t visits = walk->page_count < VISIT_PAGES ? walk->page_count : VISIT_PAGES;
    uint64_t before = 0;
    uint32_t extent = 0;
    int error = 0;

    for (uint64_t i = 0; i < visits && error == 0; i++) {
        /* The middle of each of `visits` equal parts. */
        const uint64_t number = (2 * i + 1) * walk->page_count / (2 * visits);
        while (extent + 1 < walk->extent_count && number - before >= walk->extents[extent].count) {
            before += walk->extents[extent++].count;
        }
        error = visit_page(walk, walk->extents[extent].first + (uint32_t)(number - before));
    }
    if (error == 0) {
        walk->image->exact->block_share =
            visits == 0 ? 1.0 : (double)visits / (double)walk->page_count / (double)walk->step;
    }
    return error;
}

int rtd_image_blocks_read(struct rtd_image *image, int fd)
{
    if (image->exact == NULL) {
        return 0;
    }
    struct block_walk *const walk = calloc(1, sizeof(*walk));
    if (walk == NULL) {
        return -ENOMEM;
    }
    walk->image = image;
    walk->fd = fd;
    walk->step = 1;
    image->sample_count = 0;
    image->exact->block_share = 0;
    int error = rtd_exact_pread(fd, walk->leaf_regions, sizeof(walk->leaf_regions),
                                RTD_EXACT_AT(leaf_regions));
    if (error == 0) {
        error = list_extents(walk);
    }
    if (error == 0) {
        error = visit_pages(walk);
    }
    if (error != 0) {
        image->sample_count = 0;
    }
    free(walk->extents);
    free(walk);
    return error;
}
