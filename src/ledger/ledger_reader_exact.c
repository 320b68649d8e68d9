// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_exact.c - sums the counters of an exact ledger's threads into an image.
 *
 * Runs in:    collector, tests
 * Threads:    the image is private; the ledger may be written meanwhile, by friend or foe
 * Allocates:  the image's arrays
 * Fails:      by a negative errno; refused sites are counted in image->rejected
 *
 * The region is a sparse file of gigabytes of which a process uses what its sites and threads need.
 * So the reader goes from data to data and copies pages out: a mapping would turn each hole that it
 * looks at into a page of memory. Every figure is a sum of its own and a copy is no snapshot: while
 * the target runs, a free may be seen without its allocation, and what then comes out negative is
 * 0. Of a dead target the sums are what was true at its end.
 */
#include "ledger/ledger_reader_exact.h"

#include "ledger/ledger_validity.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 64 << 10,
    CHUNK_COUNTERS = CHUNK_BYTES / sizeof(struct rtd_exact_counter),
    CHUNK_KEYS = CHUNK_BYTES / sizeof(uint64_t),
};

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

int rtd_exact_pread(int fd, void *out, size_t size, uint64_t offset)
{
    unsigned char *at = out;

    while (size != 0) {
        const ssize_t got = pread(fd, at, size, (off_t)offset);
        if (got < 0 && errno != EINTR) {
            return -errno;
        }
        if (got == 0) {
            return -EPROTO;
        }
        if (got > 0) {
            at += got;
            offset += (uint64_t)got;
            size -= (size_t)got;
        }
    }
    return 0;
}

uint64_t rtd_exact_next_data(int fd, uint64_t at, uint64_t end)
{
    const off_t data = lseek(fd, (off_t)at, SEEK_DATA);

    if (data < 0) {
        /* Only a hole is left, or the file system cannot tell: then everything is looked at. */
        return errno == ENXIO ? end : at;
    }
    return (uint64_t)data < end ? (uint64_t)data : end;
}

/* Adds to a sum that hostile figures shall not wrap. */
static void add_bounded(uint64_t *sum, uint64_t value)
{
    if (__builtin_add_overflow(*sum, value, sum)) {
        *sum = UINT64_MAX;
    }
}

static void add_counter(struct rtd_image *image, uint32_t index, uint32_t peak_epoch,
                        const struct rtd_exact_counter *counter)
{
    struct rtd_image_site *const site = &image->sites[index];
    struct rtd_image_count *const count = &image->exact->counts[index];
    const uint64_t allocations = LOAD(counter->allocations), frees = LOAD(counter->frees);
    const uint64_t allocated = LOAD(counter->allocated_bytes);
    const uint64_t freed = LOAD(counter->freed_bytes);
    const uint64_t last_ms = rtd_validity_time_ms(image->clock_ms, LOAD(counter->last_ms));
    const uint32_t max_size = LOAD(counter->max_size);

    if (allocations == 0 && frees == 0) {
        return;
    }
    add_bounded(&site->births, allocations);
    add_bounded(&site->deaths, frees);
    add_bounded(&count->allocated_bytes, allocated);
    add_bounded(&count->freed_bytes, freed);
    add_bounded(&count->temporary, LOAD(counter->temporary));
    /* Not touched since the peak: what it holds now it held then. */
    const uint32_t behind = peak_epoch - LOAD(counter->peak_epoch);
    if (peak_epoch == 0 || (behind != 0 && behind <= INT32_MAX)) {
        count->peak_bytes += allocated - freed;
        count->peak_blocks += allocations - frees;
    } else {
        count->peak_bytes += (uint64_t)LOAD(counter->peak_bytes);
        count->peak_blocks += (uint64_t)(int64_t)LOAD(counter->peak_blocks);
    }
    site->last_ms = last_ms > site->last_ms ? last_ms : site->last_ms;
    site->max_size = max_size > site->max_size ? max_size : site->max_size;
}

static void add_lifetime(struct rtd_image_site *site, const struct rtd_exact_lifetime *lifetime)
{
    uint64_t words[sizeof(*lifetime) / sizeof(uint64_t)], any = 0;

    /* Most sites have none: eight words are looked at faster than sixteen counters. */
    memcpy(words, lifetime, sizeof(words));
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(words); i++) {
        any |= words[i];
    }
    if (any == 0) {
        return;
    }
    add_bounded(&site->large_births, LOAD(lifetime->large));
    for (unsigned i = 1; i < RTD_LIFETIME_BUCKETS; i++) {
        const uint64_t sum = (uint64_t)site->lifetime[i] + LOAD(lifetime->deaths[i - 1]);
        site->lifetime[i] = sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
    }
}

union chunk {
    struct rtd_exact_counter counters[CHUNK_COUNTERS];
    struct rtd_exact_lifetime lifetimes[CHUNK_COUNTERS];
};

/* One walk over all blocks of counters, or of lifetimes, from data to data. */
struct walk {
    struct rtd_image *image;
    int fd;
    bool lifetimes;
    uint32_t peak_epoch;
};

static void take_chunk(const struct walk *walk, uint32_t first, const union chunk *chunk,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (walk->lifetimes) {
            add_lifetime(&walk->image->sites[first + i], &chunk->lifetimes[i]);
        } else {
            add_counter(walk->image, first + i, walk->peak_epoch, &chunk->counters[i]);
        }
    }
}

static int walk_blocks(const struct walk *walk)
{
    const uint64_t record_bytes = sizeof(struct rtd_exact_counter);
    const uint64_t block_bytes = RTD_EXACT_SITE_COUNT * record_bytes;
    const uint64_t base = walk->lifetimes ? RTD_EXACT_AT(lifetimes) : RTD_EXACT_AT(counters);
    const uint64_t end = base + RTD_EXACT_BLOCK_COUNT * block_bytes;
    const uint32_t site_count = walk->image->site_count;
    union chunk chunk;

    for (uint64_t at = base; at < end;) {
        at = rtd_exact_next_data(walk->fd, at, end);
        const uint64_t block = (at - base) / block_bytes;
        const uint64_t first = (at - base) % block_bytes / record_bytes;
        if (at >= end || first >= site_count) {
            at = at >= end ? end : base + (block + 1) * block_bytes;
            continue;
        }
        const uint64_t left = site_count - first;
        const uint32_t count = left < CHUNK_COUNTERS ? (uint32_t)left : CHUNK_COUNTERS;
        const int error = rtd_exact_pread(walk->fd, &chunk, count * record_bytes,
                                          base + block * block_bytes + first * record_bytes);
        if (error != 0) {
            return error;
        }
        take_chunk(walk, (uint32_t)first, &chunk, count);
        at = base + block * block_bytes + (first + count) * record_bytes;
    }
    return 0;
}

/* Takes over the keys: stack, tag, first allocation. A site whose key is not there yet is empty. */
static int read_keys(struct rtd_image *image, int fd)
{
    uint64_t keys[CHUNK_KEYS];
    uint32_t times[CHUNK_KEYS];

    for (uint32_t first = 0; first < image->site_count; first += CHUNK_KEYS) {
        const uint32_t left = image->site_count - first;
        const uint32_t count = left < CHUNK_KEYS ? left : CHUNK_KEYS;
        int error = rtd_exact_pread(fd, keys, count * sizeof(keys[0]),
                                    RTD_EXACT_AT(site_keys) + first * sizeof(keys[0]));
        if (error == 0) {
            error = rtd_exact_pread(fd, times, count * sizeof(times[0]),
                                    RTD_EXACT_AT(site_first_ms) + first * sizeof(times[0]));
        }
        if (error != 0) {
            return error;
        }
        for (uint32_t i = 0; i < count; i++) {
            struct rtd_image_site *const site = &image->sites[first + i];
            if (first + i == RTD_SITE_OVERFLOW || (keys[i] & RTD_SITE_KEY_USED) == 0) {
                continue;
            }
            site->stack = (uint32_t)keys[i];
            site->tag = (uint32_t)((keys[i] & ~RTD_SITE_KEY_USED) >> 32);
            site->first_ms = rtd_validity_time_ms(image->clock_ms, times[i]);
        }
    }
    return 0;
}

/* Size classes and rare events of all threads. */
static int read_threads(struct rtd_image *image, int fd)
{
    enum { GROUP = 64 };
    struct rtd_exact_thread threads[GROUP];
    struct rtd_image_exact *const exact = image->exact;
    uint64_t classes[RTD_SIZE_CLASSES] = {0};
    uint64_t above = 0;

    exact->unknown_frees = exact->missed_frees = exact->untracked = exact->stack_misses = 0;
    for (uint32_t first = 0; first < RTD_EXACT_BLOCK_COUNT; first += GROUP) {
        const uint32_t left = RTD_EXACT_BLOCK_COUNT - first;
        const uint32_t count = left < GROUP ? left : GROUP;
        const int error = rtd_exact_pread(fd, threads, count * sizeof(threads[0]),
                                          RTD_EXACT_AT(threads) + first * sizeof(threads[0]));
        if (error != 0) {
            return error;
        }
        for (uint32_t i = 0; i < count; i++) {
            for (unsigned k = 1; k < RTD_SIZE_CLASSES; k++) {
                add_bounded(&classes[k], LOAD(threads[i].size_class[k]));
            }
            add_bounded(&exact->unknown_frees, LOAD(threads[i].unknown_frees));
            add_bounded(&exact->missed_frees, LOAD(threads[i].missed_frees));
            add_bounded(&exact->untracked, LOAD(threads[i].untracked));
            add_bounded(&exact->stack_misses, LOAD(threads[i].stack_misses));
        }
    }
    for (unsigned k = 1; k < RTD_SIZE_CLASSES; k++) {
        add_bounded(&above, classes[k]);
        image->size_class_count[k] = (double)classes[k];
    }
    image->size_class_count[0] =
        image->samples_taken > above ? (double)(image->samples_taken - above) : 0;
    return 0;
}

/* Checks every site and adds up the totals. A refused site stays, empty, for its number's sake. */
static void settle_sites(struct rtd_image *image, uint32_t peak_epoch)
{
    uint64_t live = 0, peak = 0, allocations = 0, bytes = 0;

    for (uint32_t i = 0; i < image->site_count; i++) {
        struct rtd_image_site *const site = &image->sites[i];
        struct rtd_image_count *const count = &image->exact->counts[i];
        bool torn = false;
        count->live_bytes = count->allocated_bytes - count->freed_bytes;
        count->live_blocks = site->births - site->deaths;
        const bool good = site->tag < RTD_TAG_COUNT &&
                          rtd_validity_check_count(site, count, image->clock_ms, &torn);
        if (!good) {
            memset(site, 0, sizeof(*site));
            memset(count, 0, sizeof(*count));
        }
        image->rejected += !good || (torn && image->writer_gone);
        add_bounded(&live, count->live_bytes);
        add_bounded(&peak, count->peak_bytes);
        add_bounded(&allocations, site->births);
        add_bounded(&bytes, count->allocated_bytes);
    }
    /* What threads have not handed in yet may make this moment the highest; it is so little that
     * the time of the peak remains what it is, if there was one. */
    if (live >= peak) {
        for (uint32_t i = 0; i < image->site_count; i++) {
            image->exact->counts[i].peak_bytes = image->exact->counts[i].live_bytes;
            image->exact->counts[i].peak_blocks = image->exact->counts[i].live_blocks;
        }
        image->peak_ms = peak_epoch != 0 ? image->peak_ms : image->clock_ms;
        peak = live;
    }
    image->peak_live_bytes = peak;
    image->samples_taken = allocations;
    add_bounded(&bytes, allocations);
    image->counted_bytes = bytes;
}

static int read_sites(struct rtd_image *image, int fd, uint32_t peak_epoch)
{
    struct walk walk = {.image = image, .fd = fd, .lifetimes = true, .peak_epoch = peak_epoch};

    /* Deaths by age before frees: each of them is among the frees that are seen. */
    int error = walk_blocks(&walk);
    if (error == 0) {
        walk.lifetimes = false;
        error = walk_blocks(&walk);
    }
    /* Stored before the first count: what was counted above has its key. */
    if (error == 0) {
        error = read_keys(image, fd);
    }
    return error;
}

int rtd_reader_exact_read(struct rtd_image *image, int fd)
{
    struct rtd_exact_header header;
    int error = rtd_image_exact_begin(image);

    if (error == 0) {
        image->sample_count = 0;
        image->exact->block_share = 0;
        error = rtd_exact_pread(fd, &header, sizeof(header), RTD_EXACT_AT(header));
    }
    if (error != 0) {
        image->site_count = 1;
        return error;
    }
    /* A number is counted as given out before a thread can use it. */
    uint32_t site_count = LOAD(header.site_count);
    if (site_count > RTD_EXACT_SITE_COUNT) {
        site_count = RTD_EXACT_SITE_COUNT;
        image->rejected++;
    }
    error = rtd_image_exact_reserve(image, site_count < 1 ? 1 : site_count);
    if (error != 0) {
        return error;
    }
    memset(image->sites, 0, image->site_count * sizeof(image->sites[0]));
    memset(image->exact->counts, 0, image->site_count * sizeof(image->exact->counts[0]));
    const uint64_t peak_ms = LOAD(header.peak_ms);
    image->peak_ms = peak_ms <= image->clock_ms ? peak_ms : image->clock_ms;
    error = read_sites(image, fd, LOAD(header.peak_epoch));
    if (error == 0) {
        settle_sites(image, LOAD(header.peak_epoch));
        error = read_threads(image, fd);
    }
    if (error == 0) {
        error = rtd_reader_exact_link(image, fd);
    }
    if (error != 0) {
        image->site_count = 1;
        image->peak_live_bytes = 0;
        memset(&image->sites[0], 0, sizeof(image->sites[0]));
        memset(&image->exact->counts[0], 0, sizeof(image->exact->counts[0]));
    }
    return error;
}

uint64_t rtd_image_live_hint(int fd)
{
    int64_t live = 0;

    if (rtd_exact_pread(fd, &live, sizeof(live), RTD_EXACT_AT(header.live_bytes)) != 0) {
        return 0;
    }
    return live > 0 ? (uint64_t)live : 0;
}
