// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_writer.c - stacks, sites, tags, threads and modules; samples are in ledger_samples.c.
 *
 * Runs in:    agent (slow paths), tests
 * Threads:    any number of writers at once, lock-free
 * Allocates:  never; no syscall, no lock, no libc call
 * Fails:      see ledger_writer.h
 *
 * Statistics are relaxed adds: each is a sum of its own, and a reader that sees one addition
 * without its neighbour is off by one sample until its next read.
 */
#include "ledger/ledger_writer.h"

#include "base/base_math.h"

#include <errno.h>

#define RELAXED memory_order_relaxed

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

/*
 * Hashing scatters entries over every page of a table, and a page that is touched costs the program
 * 4 KiB and a fault. So a table is first filled at its beginning: only what finds no free place in
 * a short window there goes to the whole of it. Nothing is ever deleted, so a free place in the
 * first window proves that an entry is not in the table.
 */
enum { FIRST_NODES = 8192, FIRST_SITES = 1024, FIRST_PROBES = 16 };

/* The places where an entry may be, in order. */
struct probe {
    uint32_t first, span; /* of the part of the table that is looked at */
    uint32_t at;
    unsigned left; /* places to look at, this one included */
};

/* place = first + hash scaled to span. */
static struct probe probe_part(uint64_t hash, uint32_t first, uint32_t span, unsigned places)
{
    return (struct probe){first, span, first + (uint32_t)(((hash >> 32) * span) >> 32), places};
}

static bool probe_next(struct probe *probe)
{
    if (++probe->at == probe->first + probe->span)
        probe->at = probe->first;
    return --probe->left != 0;
}

/* ---- stack trie ---- */

/* The node of word among the places of probe. RTD_NONE: all are taken by others. */
static uint32_t insert_node(struct rtd_ledger *ledger, struct probe probe, uint64_t word,
                            bool *added)
{
    do {
        /* Relaxed is enough: the word is the whole node. */
        uint64_t seen = atomic_load_explicit(&ledger->nodes[probe.at], RELAXED);
        if (seen == 0) {
            if (atomic_load_explicit(&ledger->header.node_count, RELAXED) >= RTD_NODE_FILL_MAX)
                return RTD_NONE;
            if (atomic_compare_exchange_strong_explicit(&ledger->nodes[probe.at], &seen, word,
                                                        RELAXED, RELAXED)) {
                atomic_fetch_add_explicit(&ledger->header.node_count, 1, RELAXED);
                *added = true;
                return probe.at;
            }
        }
        if (seen == word)
            return probe.at;
    } while (probe_next(&probe));
    return RTD_NONE;
}

uint32_t rtd_node_insert(struct rtd_ledger *ledger, uint32_t parent, uint64_t pc, bool *added)
{
    const uint64_t word = ((uint64_t)parent << RTD_PC_BITS) | pc;
    const uint64_t hash = mix(word);

    *added = false;
    if (pc == 0 || pc >> RTD_PC_BITS != 0)
        return RTD_NONE;
    const uint32_t id = insert_node(
        ledger, probe_part(hash, RTD_ROOT_COUNT, FIRST_NODES, FIRST_PROBES), word, added);
    if (id != RTD_NONE)
        return id;
    return insert_node(
        ledger,
        probe_part(hash << 16, RTD_ROOT_COUNT, RTD_NODE_COUNT - RTD_ROOT_COUNT, RTD_NODE_PROBE_MAX),
        word, added);
}

/* ---- sites ---- */

/* The site of key among the places of probe. RTD_SITE_OVERFLOW: all are taken by others. */
static uint32_t insert_site(struct rtd_ledger *ledger, struct probe probe, uint64_t key)
{
    do {
        uint64_t seen = atomic_load_explicit(&ledger->sites[probe.at].key, RELAXED);
        /* Release pairs with the reader's acquire load of the key. */
        if (seen == 0 &&
            atomic_compare_exchange_strong_explicit(&ledger->sites[probe.at].key, &seen, key,
                                                    memory_order_release, RELAXED)) {
            atomic_fetch_add_explicit(&ledger->header.site_count, 1, RELAXED);
            return probe.at;
        }
        if (seen == key)
            return probe.at;
    } while (probe_next(&probe));
    return RTD_SITE_OVERFLOW;
}

uint32_t rtd_site_insert(struct rtd_ledger *ledger, uint32_t stack, uint32_t tag)
{
    const uint64_t key = RTD_SITE_KEY_USED | ((uint64_t)tag << 32) | stack;
    const uint64_t hash = mix(key);
    const uint32_t first = RTD_SITE_OVERFLOW + 1;

    uint32_t site = insert_site(ledger, probe_part(hash, first, FIRST_SITES, FIRST_PROBES), key);
    if (site == RTD_SITE_OVERFLOW)
        site = insert_site(
            ledger, probe_part(hash << 16, first, RTD_SITE_COUNT - first, RTD_SITE_PROBE_MAX), key);
    if (site == RTD_SITE_OVERFLOW)
        rtd_loss_add(ledger, RTD_LOSS_SITES_OVERFLOW, 1);
    return site;
}

static unsigned size_class(uint64_t size)
{
    return (unsigned)(size >= 1024) + (size >= 65536) + (size >= 1048576) + (size >= 16777216);
}

static unsigned lifetime_bucket(uint32_t age_ms)
{
    const uint32_t units = age_ms / RTD_LIFETIME_UNIT_MS;
    const unsigned bucket = units == 0 ? 0 : 32u - (unsigned)__builtin_clz(units);
    return bucket < RTD_LIFETIME_BUCKETS ? bucket : RTD_LIFETIME_BUCKETS - 1;
}

static void raise_to(_Atomic uint64_t *place, uint64_t value)
{
    uint64_t seen = atomic_load_explicit(place, RELAXED);
    while (seen < value &&
           !atomic_compare_exchange_weak_explicit(place, &seen, value, RELAXED, RELAXED))
        ;
}

/* Probability that an allocation of size bytes was sampled at this interval; always > 0. */
static double probability(uint64_t size, uint32_t interval)
{
    return rtd_math_one_minus_exp_neg(((double)size + 1.0) / (interval ? interval : 1));
}

uint64_t rtd_sample_weight(uint64_t size, uint32_t interval)
{
    return (uint64_t)((double)size / probability(size, interval) + 0.5);
}

/*
 * A number in [0, 1) that is spread evenly over successive births (multiples of the golden ratio).
 * Added before a variance is cut to its unit, it keeps the sum right where each term alone would
 * be cut to nothing.
 */
static double rounding_dither(uint64_t births)
{
    return (double)((births * UINT64_C(0x9e3779b97f4a7c15)) >> 11) * 0x1p-53;
}

void rtd_site_birth(struct rtd_ledger *ledger, uint32_t site, const struct rtd_site_event *event)
{
    struct rtd_site_record *const record = &ledger->sites[site];
    const double p = probability(event->size, event->interval);
    const double bytes = (double)event->size / p;
    const double count = 1.0 / p;
    const uint64_t count_q8 = (uint64_t)(count * 256.0 + 0.5);

    const uint64_t births = atomic_fetch_add_explicit(&record->births, 1, RELAXED);
    const double dither = rounding_dither(births);
    if (births == 0)
        atomic_store_explicit(&record->first_ms, event->now_ms, RELAXED);
    atomic_store_explicit(&record->last_ms, event->now_ms, RELAXED);
    atomic_fetch_add_explicit(&record->birth_bytes, (uint64_t)(bytes + 0.5), RELAXED);
    atomic_fetch_add_explicit(&record->birth_count_q8, count_q8, RELAXED);
    atomic_fetch_add_explicit(&record->birth_bytes_var,
                              (uint64_t)(bytes * bytes * (1.0 - p) / 4096.0 + dither), RELAXED);
    atomic_fetch_add_explicit(&record->birth_count_var,
                              (uint64_t)(16.0 * count * count * (1.0 - p) + dither), RELAXED);
    if (event->size > 1048576)
        atomic_fetch_add_explicit(&record->large_births, 1, RELAXED);
    raise_to(&record->max_size, event->size);
    atomic_fetch_add_explicit(&ledger->header.size_class_q8[size_class(event->size)], count_q8,
                              RELAXED);
}

void rtd_site_death(struct rtd_ledger *ledger, uint32_t site, const struct rtd_site_event *event)
{
    struct rtd_site_record *const record = &ledger->sites[site];
    const double p = probability(event->size, event->interval);

    atomic_fetch_add_explicit(&record->deaths, 1, RELAXED);
    atomic_fetch_add_explicit(&record->death_bytes, (uint64_t)((double)event->size / p + 0.5),
                              RELAXED);
    atomic_fetch_add_explicit(&record->death_count_q8, (uint64_t)(256.0 / p + 0.5), RELAXED);
    atomic_fetch_add_explicit(&record->lifetime[lifetime_bucket(event->age_ms)], 1, RELAXED);
}

/* ---- tags ---- */

/* Copies a name, cut to the field at a whole UTF-8 character. */
static void copy_name(char *out, const char *name)
{
    size_t length = 0;
    while (length < RTD_TAG_NAME_BYTES - 1 && name[length] != '\0') {
        out[length] = name[length];
        length++;
    }
    if (name[length] != '\0')
        while (length > 0 && ((unsigned char)name[length] & 0xc0) == 0x80)
            length--;
    out[length] = '\0';
}

static bool equal_names(const char *a, const char *b)
{
    size_t i = 0;
    while (a[i] != '\0' && a[i] == b[i])
        i++;
    return a[i] == b[i];
}

/* Writes an entry that was free into it; false: another thread was faster. */
static bool fill_tag(struct rtd_tag *tag, const char *component, const char *operation)
{
    uint32_t state = 0;
    if (!atomic_compare_exchange_strong_explicit(&tag->state, &state, 1, memory_order_acquire,
                                                 RELAXED))
        return false;
    copy_name(tag->component, component);
    copy_name(tag->operation, operation);
    /* Pairs with the acquire loads of those who look for a name: the names are whole. */
    atomic_store_explicit(&tag->state, 2, memory_order_release);
    return true;
}

/*
 * The state of an entry, once whoever fills it is done: 0.1 us later, unless it lost its processor.
 * Who goes on too soon may enter the same names a second time, which costs no more than an entry.
 */
static uint32_t settled_state(const struct rtd_tag *tag)
{
    enum { LOOKS = 2000 };
    uint32_t state = 1;
    for (int i = 0; i < LOOKS && state == 1; i++)
        state = atomic_load_explicit(&tag->state, memory_order_acquire);
    return state;
}

uint32_t rtd_tag_table_insert(struct rtd_tag *table, const char *component, const char *operation,
                              bool *is_new)
{
    char names[2][RTD_TAG_NAME_BYTES];
    copy_name(names[0], component);
    copy_name(names[1], operation);

    *is_new = false;
    for (uint32_t id = RTD_TAG_FIRST; id < RTD_TAG_COUNT; id++) {
        struct rtd_tag *const tag = &table[id];
        if (atomic_load_explicit(&tag->state, memory_order_acquire) == 0 &&
            fill_tag(tag, names[0], names[1])) {
            *is_new = true;
            return id;
        }
        if (settled_state(tag) == 2 && equal_names(tag->component, names[0]) &&
            equal_names(tag->operation, names[1]))
            return id;
    }
    return RTD_NONE;
}

int rtd_tag_table_names(const struct rtd_tag *table, uint32_t id, char *component, char *operation)
{
    if (id == RTD_TAG_OTHER) {
        copy_name(component, "other");
        copy_name(operation, "");
        return 0;
    }
    if (id < RTD_TAG_FIRST || id >= RTD_TAG_COUNT ||
        atomic_load_explicit(&table[id].state, memory_order_acquire) != 2)
        return -ENOENT;
    copy_name(component, table[id].component);
    copy_name(operation, table[id].operation);
    return 0;
}

uint32_t rtd_tag_insert(struct rtd_ledger *ledger, const char *component, const char *operation)
{
    bool is_new;
    const uint32_t id = rtd_tag_table_insert(ledger->tags, component, operation, &is_new);
    if (is_new)
        atomic_fetch_add_explicit(&ledger->header.tag_count, 1, RELAXED);
    if (id != RTD_NONE)
        return id;
    rtd_loss_add(ledger, RTD_LOSS_TAGS_OVERFLOW, 1);
    return RTD_TAG_OTHER;
}

void rtd_tag_publish(struct rtd_ledger *ledger, const struct rtd_tag *table, uint32_t id)
{
    if (id < RTD_TAG_FIRST || id >= RTD_TAG_COUNT ||
        atomic_load_explicit(&table[id].state, memory_order_acquire) != 2)
        return;
    if (atomic_load_explicit(&ledger->tags[id].state, RELAXED) == 0 &&
        fill_tag(&ledger->tags[id], table[id].component, table[id].operation))
        atomic_fetch_add_explicit(&ledger->header.tag_count, 1, RELAXED);
}

/* ---- threads ---- */

uint32_t rtd_thread_claim(struct rtd_ledger *ledger, uint32_t tid, uint32_t hint)
{
    for (uint32_t i = 0; i < RTD_THREAD_COUNT; i++) {
        const uint32_t index = (hint + i) % RTD_THREAD_COUNT;
        struct rtd_thread *const thread = &ledger->threads[index];
        uint32_t state = 0;
        /* Acquire pairs with the collector's release when it hands a dead thread's block back. */
        if (atomic_load_explicit(&thread->state, RELAXED) == 0 &&
            atomic_compare_exchange_strong_explicit(&thread->state, &state, 1, memory_order_acquire,
                                                    RELAXED)) {
            atomic_store_explicit(&thread->tid, tid, RELAXED);
            return index;
        }
    }
    rtd_loss_add(ledger, RTD_LOSS_THREADS_OVERFLOW, 1);
    return RTD_NONE;
}

/* ---- modules ---- */

bool rtd_module_append(struct rtd_ledger *ledger, const struct rtd_module_value *value)
{
    const uint32_t index = atomic_fetch_add_explicit(&ledger->header.module_count, 1, RELAXED);
    if (index >= RTD_MODULE_COUNT) {
        atomic_store_explicit(&ledger->header.module_count, RTD_MODULE_COUNT, RELAXED);
        rtd_loss_add(ledger, RTD_LOSS_MODULES_OVERFLOW, 1);
        return false;
    }
    struct rtd_module *const module = &ledger->modules[index];
    module->end = value->end;
    module->bias = value->bias;
    module->generation = value->generation;
    module->build_id_bytes =
        value->build_id_bytes < RTD_BUILD_ID_BYTES ? value->build_id_bytes : RTD_BUILD_ID_BYTES;
    for (uint32_t i = 0; i < module->build_id_bytes; i++)
        module->build_id[i] = value->build_id[i];
    uint32_t length = 0;
    while (length < RTD_MODULE_NAME_BYTES - 1 && value->name[length] != '\0') {
        module->name[length] = value->name[length];
        length++;
    }
    module->name[length] = '\0';
    module->name_bytes = length;
    /* Pairs with the readers' acquire load of start: the entry is whole. */
    atomic_store_explicit(&module->start, value->start, memory_order_release);
    return true;
}
