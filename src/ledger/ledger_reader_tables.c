// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_tables.c - copies the tables of a ledger that may be written meanwhile.
 *
 * Runs in:    collector, tests
 * Threads:    the image is private; the ledger may be written meanwhile, by friend or foe
 * Allocates:  never
 * Fails:      never; refused records are counted in image->rejected
 *
 * The order of the steps is the reverse of the order in which a writer publishes: a sample is read
 * before its site, a site before its tag and its stack, a stack before its modules. What a record
 * refers to was therefore published before the record was seen, and is found.
 */
#include "ledger/ledger_reader_tables.h"

#include "ledger/ledger_validity.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum {
    SAMPLE_TRIES = 4,
    ADDRESS_BUSY = 1, /* a slot that is claimed and being filled: no sample yet */
};

/* A word of any type's memory. */
typedef uint64_t __attribute__((may_alias)) word_alias;

#define LOAD(field)         atomic_load_explicit(&(field), memory_order_relaxed)
#define LOAD_ACQUIRE(field) atomic_load_explicit(&(field), memory_order_acquire)

void rtd_reader_copy_words(void *to, const void *from, size_t size)
{
    word_alias *out = to;
    const word_alias *in = from;

    for (size_t i = 0; i < size / sizeof(uint64_t); i++) {
        out[i] = __atomic_load_n(&in[i], __ATOMIC_RELAXED);
    }
}

static bool is_written(const struct rtd_reader_pages *pages, const struct rtd_ledger *ledger,
                       const void *place)
{
    return pages->written[((uintptr_t)place - (uintptr_t)ledger) / RTD_PAGE_BYTES];
}

/* Nothing of this machine's memory is swapped out, so a page that is not in memory is nowhere. */
static bool is_nothing_swapped(void)
{
    struct sysinfo info;

    return sysinfo(&info) == 0 && info.totalswap == info.freeswap;
}

/*
 * One call instead of two an extent, of which a ledger in use has hundreds (0.1 ms instead of 0.7).
 * Swap is asked for afterwards: a page that went there before the call is still there.
 */
static bool find_resident(struct rtd_reader_pages *pages, const struct rtd_ledger *ledger)
{
    unsigned char resident[RTD_LEDGER_PAGES];

    if (mincore((void *)(uintptr_t)ledger, RTD_LEDGER_BYTES, resident) != 0 ||
        !is_nothing_swapped()) {
        return false;
    }
    for (size_t i = 0; i < RTD_LEDGER_PAGES; i++) {
        pages->written[i] = (resident[i] & 1) != 0;
    }
    return true;
}

/*
 * A page that fallocate() made and nobody has written since counts as a hole; one that was swapped
 * out counts as data. Extents beyond a bound are taken as one, which only costs time.
 */
static void find_extents(struct rtd_reader_pages *pages, int fd)
{
    enum { EXTENTS_MAX = 600 };
    off_t at = 0;

    memset(pages->written, false, sizeof(pages->written));
    for (int i = 0; at < (off_t)RTD_LEDGER_BYTES; i++) {
        const off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) {
            break; /* only a hole is left */
        }
        const off_t hole = i < EXTENTS_MAX && data >= 0 ? lseek(fd, data, SEEK_HOLE) : -1;
        const off_t from = data < 0 ? at : data;
        const off_t to = hole < from ? (off_t)RTD_LEDGER_BYTES : hole;
        for (off_t page = from / RTD_PAGE_BYTES; page * RTD_PAGE_BYTES < to; page++) {
            pages->written[page] = true;
        }
        at = to;
    }
}

void rtd_reader_pages_find(struct rtd_reader_pages *pages, const struct rtd_ledger *ledger, int fd)
{
    if (fd < 0) {
        memset(pages->written, true, sizeof(pages->written));
    } else if (!find_resident(pages, ledger)) {
        find_extents(pages, fd);
    }
}

enum sample_outcome { SAMPLE_TAKEN, SAMPLE_GONE, SAMPLE_TORN };

/* One try at a slot. TORN: a writer was at it. */
static enum sample_outcome copy_sample(struct rtd_image_sample *out,
                                       const _Atomic uint64_t *address,
                                       const struct rtd_sample *record, uint64_t clock_ms)
{
    /* Pairs with the writer's release of the address: the record is filled before it. */
    out->address = LOAD_ACQUIRE(*address);
    if (out->address <= ADDRESS_BUSY) {
        return SAMPLE_GONE;
    }
    /* Pairs with the writer's release of an even seq. */
    const uint32_t seq = LOAD_ACQUIRE(record->seq);
    if (seq & 1) {
        return SAMPLE_TORN;
    }
    /* Acquire on each field keeps the two second looks below behind them, without a fence. */
    out->interval = LOAD_ACQUIRE(record->interval);
    out->size = LOAD_ACQUIRE(record->size);
    out->site = LOAD_ACQUIRE(record->site);
    out->thread = LOAD_ACQUIRE(record->thread);
    out->birth_ms = rtd_validity_time_ms(clock_ms, LOAD_ACQUIRE(record->birth_ms));
    return LOAD_ACQUIRE(record->seq) == seq && LOAD(*address) == out->address ? SAMPLE_TAKEN
                                                                              : SAMPLE_TORN;
}

static void read_slot(struct rtd_image *image, const _Atomic uint64_t *address,
                      const struct rtd_sample *record)
{
    struct rtd_image_sample copy = {0};
    enum sample_outcome outcome = SAMPLE_TORN;

    /* A writer that died inside a record leaves it torn for good, so the tries are few. */
    for (unsigned i = 0; i < SAMPLE_TRIES && outcome == SAMPLE_TORN; i++) {
        outcome = copy_sample(&copy, address, record, image->clock_ms);
    }
    if (outcome == SAMPLE_GONE) {
        return;
    }
    if (outcome == SAMPLE_TORN || !rtd_validity_check_sample(&copy) ||
        copy.site >= RTD_SITE_COUNT) {
        image->rejected++;
        return;
    }
    /* At most RTD_SAMPLE_CAPACITY slots are visited, so there is room. */
    image->samples[image->sample_count++] = copy;
}

void rtd_reader_samples_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                             const struct rtd_reader_pages *pages)
{
    image->sample_count = 0;
    for (uint32_t bucket = 0; bucket < RTD_BUCKET_COUNT; bucket++) {
        if (!is_written(pages, ledger, &ledger->buckets[bucket])) {
            continue;
        }
        for (uint32_t slot = 0; slot < RTD_BUCKET_SLOTS; slot++) {
            const _Atomic uint64_t *address = &ledger->buckets[bucket].address[slot];
            if (LOAD(*address) > ADDRESS_BUSY) {
                read_slot(image, address, &ledger->samples[bucket * 8 + slot]);
            }
        }
    }
}

/* Copies one record; deaths before births, so that a death is never seen without its birth. */
static void copy_site(struct rtd_image_site *out, const struct rtd_site_record *record,
                      uint64_t key, uint64_t clock_ms)
{
    out->stack = (uint32_t)key;
    out->tag = (uint32_t)((key & ~RTD_SITE_KEY_USED) >> 32);
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++) {
        out->lifetime[i] = LOAD_ACQUIRE(record->lifetime[i]);
    }
    out->deaths = LOAD_ACQUIRE(record->deaths);
    out->death_bytes = (double)LOAD_ACQUIRE(record->death_bytes);
    out->death_count = (double)LOAD_ACQUIRE(record->death_count_q8) / 256;
    out->large_births = LOAD_ACQUIRE(record->large_births);
    out->max_size = LOAD_ACQUIRE(record->max_size);
    out->birth_bytes = (double)LOAD_ACQUIRE(record->birth_bytes);
    out->birth_count = (double)LOAD_ACQUIRE(record->birth_count_q8) / 256;
    out->birth_bytes_var = (double)LOAD_ACQUIRE(record->birth_bytes_var) * 4096;
    out->birth_count_var = (double)LOAD_ACQUIRE(record->birth_count_var) / 16;
    out->first_ms = rtd_validity_time_ms(clock_ms, LOAD(record->first_ms));
    out->last_ms = rtd_validity_time_ms(clock_ms, LOAD(record->last_ms));
    /* Births last: what counts a subset of them is older, and so not larger. */
    out->births = LOAD(record->births);
}

void rtd_reader_sites_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                           const struct rtd_reader_pages *pages, uint32_t *map)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < RTD_SITE_COUNT; i++) {
        /* Pairs with the release that publishes the key. */
        const uint64_t key = is_written(pages, ledger, &ledger->sites[i].key)
                                 ? LOAD_ACQUIRE(ledger->sites[i].key)
                                 : 0;
        map[i] = RTD_SITE_UNMAPPED;
        if (i != RTD_SITE_OVERFLOW && key == 0) {
            continue;
        }
        struct rtd_image_site *out = &image->sites[count];
        copy_site(out, &ledger->sites[i], i == RTD_SITE_OVERFLOW ? 0 : key, image->clock_ms);
        const bool keyed =
            i == RTD_SITE_OVERFLOW || ((key & RTD_SITE_KEY_USED) != 0 && out->tag < RTD_TAG_COUNT);
        if (!keyed || !rtd_validity_check_site(out, image->clock_ms)) {
            image->rejected++;
            if (i != RTD_SITE_OVERFLOW) {
                continue;
            }
            memset(out, 0, sizeof(*out));
        }
        map[i] = count++;
    }
    image->site_count = count;
}

void rtd_reader_samples_link(struct rtd_image *image, const uint32_t *map)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < image->sample_count; i++) {
        struct rtd_image_sample copy = image->samples[i];
        copy.site = map[copy.site];
        if (copy.site == RTD_SITE_UNMAPPED) {
            image->rejected++;
            continue;
        }
        image->samples[kept++] = copy;
    }
    image->sample_count = kept;
}

static bool read_tag(struct rtd_image_tag *out, const struct rtd_tag *tag)
{
    struct rtd_tag copy;

    /* Pairs with the release of state 2: both names are whole. */
    if (LOAD_ACQUIRE(tag->state) != 2) {
        return false;
    }
    rtd_reader_copy_words(&copy, tag, sizeof(copy));
    memcpy(out->component, copy.component, sizeof(out->component));
    memcpy(out->operation, copy.operation, sizeof(out->operation));
    (void)rtd_validity_clean_text(out->component, sizeof(out->component));
    (void)rtd_validity_clean_text(out->operation, sizeof(out->operation));
    return true;
}

void rtd_reader_tags_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                          const struct rtd_reader_pages *pages)
{
    const uint32_t count_before = image->tag_count;
    bool present[RTD_TAG_COUNT] = {true, true};

    rtd_validity_set_fixed_tags(image->tags);
    image->tag_count = RTD_TAG_FIRST;
    for (uint32_t i = RTD_TAG_FIRST; i < RTD_TAG_COUNT; i++) {
        present[i] = is_written(pages, ledger, &ledger->tags[i]) &&
                     read_tag(&image->tags[i], &ledger->tags[i]);
        if (present[i]) {
            image->tag_count = i + 1;
        } else if (i < count_before) {
            memset(&image->tags[i], 0, sizeof(image->tags[i]));
        }
    }
    for (uint32_t i = 0; i < image->site_count; i++) {
        if (!present[image->sites[i].tag]) {
            image->sites[i].tag = RTD_TAG_OTHER;
            image->rejected++;
        }
    }
}

void rtd_reader_nodes_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                           const struct rtd_reader_pages *pages)
{
    for (uint32_t page = 0; page < RTD_NODE_PAGES; page++) {
        const _Atomic uint64_t *const from = &ledger->nodes[page * RTD_NODES_PER_PAGE];
        uint64_t *const to = &image->nodes[page * RTD_NODES_PER_PAGE];
        const bool written = is_written(pages, ledger, from);
        if (!written && image->empty_node_pages[page]) {
            continue;
        }
        /* A word is whole by itself; whether it makes sense is asked when a stack is followed. */
        for (uint32_t i = 0; i < RTD_NODES_PER_PAGE; i++) {
            to[i] = written ? LOAD_ACQUIRE(from[i]) : 0;
        }
        image->empty_node_pages[page] = !written;
    }
    for (uint32_t i = 0; i < RTD_ROOT_COUNT; i++) {
        if (!image->empty_node_pages[i / RTD_NODES_PER_PAGE] && image->nodes[i] != 0) {
            image->rejected++;
            image->nodes[i] = 0;
        }
    }
}

static void read_module(struct rtd_image *image, const struct rtd_module *module)
{
    struct rtd_module copy;
    struct rtd_image_module *out = &image->modules[image->module_count];

    rtd_reader_copy_words(&copy, module, sizeof(copy));
    *out = (struct rtd_image_module){
        .start = copy.start,
        .end = copy.end,
        .bias = copy.bias,
        .generation = copy.generation,
        .build_id_bytes = copy.build_id_bytes,
    };
    memcpy(out->build_id, copy.build_id, sizeof(out->build_id));
    memcpy(out->name, copy.name, sizeof(out->name));
    if (!rtd_validity_check_module(out)) {
        image->rejected++;
        return;
    }
    image->module_count++;
}

void rtd_reader_modules_read(struct rtd_image *image, const struct rtd_ledger *ledger,
                             const struct rtd_reader_pages *pages)
{
    image->module_count = 0;
    for (uint32_t i = 0; i < RTD_MODULE_COUNT; i++) {
        /* Pairs with the release of start, which is stored last. */
        if (is_written(pages, ledger, &ledger->modules[i].start) &&
            LOAD_ACQUIRE(ledger->modules[i].start) != 0) {
            read_module(image, &ledger->modules[i]);
        }
    }
    rtd_validity_sort_modules(image->modules, image->module_count);
}
