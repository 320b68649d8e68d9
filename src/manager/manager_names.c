// SPDX-License-Identifier: Apache-2.0
/*
 * manager_names.c - see manager_names.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; finding a pair that is known takes no lock, entering one does
 * Allocates:  never
 * Fails:      by "other"
 */
#include "manager/manager_names.h"

#include "ledger/ledger_validity.h"

#include <errno.h>
#include <string.h>

#define RELAXED memory_order_relaxed

/* A pair that is looked for. */
struct wanted {
    uint32_t hash, component_hash;
    unsigned domain;
    char component[RTD_NAME_BYTES], operation[RTD_NAME_BYTES];
};

/* Where a text of more than `most` bytes is cut so that no character is halved. */
static size_t cut_length(const char *text, size_t most)
{
    size_t length = strnlen(text, most + 1);
    if (length <= most)
        return length;
    length = most;
    while (length > most - 3 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return length;
}

/* Looks at no more of a name than is kept: it may be megabytes long. */
static size_t clean_name(char *out, size_t size, const char *name)
{
    const size_t length = name ? cut_length(name, size - 1) : 0;
    if (length)
        memcpy(out, name, length);
    out[length] = '\0';
    (void)rtd_validity_clean_text(out, length + 1);
    return length;
}

static uint32_t hash_text(const char *text, size_t length, uint32_t seed)
{
    uint64_t hash = seed ^ UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(hash ^ hash >> 29);
}

static void prepare(struct wanted *wanted, unsigned domain, const char *component,
                    const char *operation)
{
    const size_t first = clean_name(wanted->component, sizeof wanted->component, component);
    const size_t second = clean_name(wanted->operation, sizeof wanted->operation, operation);
    memset(wanted->component + first, 0, sizeof wanted->component - first);
    memset(wanted->operation + second, 0, sizeof wanted->operation - second);
    wanted->domain = domain;
    wanted->component_hash = hash_text(wanted->component, first, domain);
    wanted->hash = hash_text(wanted->operation, second, wanted->component_hash);
}

static bool is_wanted(const struct rtd_name_pair *pair, const struct wanted *wanted)
{
    return pair->hash == wanted->hash && pair->domain == wanted->domain &&
           memcmp(pair->component, wanted->component, sizeof pair->component) == 0 &&
           memcmp(pair->operation, wanted->operation, sizeof pair->operation) == 0;
}

/* The tag, or 0 and the free slot where it would stand. */
static uint32_t find_pair(const struct rtd_names *names, const struct wanted *wanted,
                          uint32_t *slot)
{
    for (uint32_t at = wanted->hash % RTD_NAME_SLOTS;; at = (at + 1) % RTD_NAME_SLOTS) {
        /* Acquire pairs with enter_pair(): the pair is written. */
        const uint32_t tag = atomic_load_explicit(&names->slots[at], memory_order_acquire);
        if (tag == 0 || is_wanted(&names->pairs[tag], wanted)) {
            *slot = at;
            return tag;
        }
    }
}

static void write_pair(struct rtd_names *names, uint32_t tag, const struct wanted *wanted)
{
    struct rtd_name_pair *pair = &names->pairs[tag];
    pair->hash = wanted->hash;
    pair->component_hash = wanted->component_hash;
    pair->domain = wanted->domain;
    memcpy(pair->component, wanted->component, sizeof pair->component);
    memcpy(pair->operation, wanted->operation, sizeof pair->operation);
}

void rtd_names_init(struct rtd_names *names)
{
    struct wanted other;
    uint32_t slot;
    for (unsigned domain = 0; domain < RTD_DOMAIN_COUNT; domain++) {
        prepare(&other, domain, "other", "other");
        write_pair(names, 1 + domain, &other);
        /* Whoever uses these names for pairs of his own means the same. */
        (void)find_pair(names, &other, &slot);
        atomic_store_explicit(&names->slots[slot], (uint16_t)(1 + domain), RELAXED);
    }
    memcpy(names->domains[0], "records", sizeof "records");
    atomic_store_explicit(&names->domain_count, 1, RELAXED);
    atomic_store_explicit(&names->pair_count, RTD_NAME_FIRST, memory_order_release);
}

static uint32_t enter_pair(struct rtd_names *names, const struct wanted *wanted)
{
    uint32_t slot;
    rtd_lock_acquire(&names->lock);
    /* Another thread may have been faster. */
    uint32_t tag = find_pair(names, wanted, &slot);
    const uint32_t count = atomic_load_explicit(&names->pair_count, RELAXED);
    if (tag == 0 && count < RTD_NAME_TAGS) {
        tag = count;
        write_pair(names, tag, wanted);
        /* Release pairs with find_pair() and with readers of pair_count. */
        atomic_store_explicit(&names->pair_count, count + 1, memory_order_release);
        atomic_store_explicit(&names->slots[slot], (uint16_t)tag, memory_order_release);
    }
    rtd_lock_release(&names->lock);
    return tag;
}

uint32_t rtd_names_intern(struct rtd_names *names, unsigned domain, const char *component,
                          const char *operation, bool *other)
{
    struct wanted wanted;
    uint32_t slot;
    if (domain >= atomic_load_explicit(&names->domain_count, memory_order_acquire))
        domain = 0;
    prepare(&wanted, domain, component, operation);
    uint32_t tag = find_pair(names, &wanted, &slot);
    if (tag == 0 && !rtd_names_full(names))
        tag = enter_pair(names, &wanted);
    *other = tag == 0;
    return tag ? tag : 1 + domain;
}

bool rtd_names_has(const struct rtd_names *names, uint32_t tag)
{
    return tag != 0 && tag < atomic_load_explicit(&names->pair_count, memory_order_acquire);
}

unsigned rtd_names_domain(const struct rtd_names *names, uint32_t tag)
{
    return names->pairs[tag].domain;
}

bool rtd_names_full(const struct rtd_names *names)
{
    return atomic_load_explicit(&names->pair_count, RELAXED) == RTD_NAME_TAGS;
}

unsigned rtd_names_of_component(const struct rtd_names *names, const char *component,
                                uint16_t tags[RTD_NAME_TAGS])
{
    struct wanted wanted;
    unsigned found = 0;
    const uint32_t count = atomic_load_explicit(&names->pair_count, memory_order_acquire);
    prepare(&wanted, 0, component, NULL);
    for (uint32_t tag = 1; tag < count; tag++) {
        const struct rtd_name_pair *pair = &names->pairs[tag];
        if (pair->component_hash != wanted.component_hash || pair->domain != 0 ||
            memcmp(pair->component, wanted.component, sizeof pair->component) != 0)
            continue;
        unsigned at = found++;
        for (; at > 0 && strcmp(names->pairs[tags[at - 1]].operation, pair->operation) > 0; at--)
            tags[at] = tags[at - 1];
        tags[at] = (uint16_t)tag;
    }
    return found;
}

int rtd_names_compare(const struct rtd_names *names, uint32_t a, uint32_t b)
{
    const struct rtd_name_pair *x = &names->pairs[a], *y = &names->pairs[b];
    if (x->domain != y->domain)
        return x->domain < y->domain ? -1 : 1;
    const int order = strcmp(x->component, y->component);
    return order ? order : strcmp(x->operation, y->operation);
}

int rtd_names_domain_open(struct rtd_names *names, const char *name)
{
    char clean[RTD_NAME_BYTES];
    /* These two have a meaning of their own in every answer. */
    if (!name || clean_name(clean, sizeof clean, name) == 0 || strcmp(clean, "heap") == 0 ||
        strcmp(clean, "records") == 0)
        return -EINVAL;
    rtd_lock_acquire(&names->lock);
    const uint32_t count = atomic_load_explicit(&names->domain_count, RELAXED);
    uint32_t domain = 1;
    while (domain < count && strcmp(names->domains[domain], clean) != 0)
        domain++;
    if (domain == count && count < RTD_DOMAIN_COUNT) {
        memcpy(names->domains[domain], clean, strlen(clean) + 1);
        /* Release pairs with those who read the count before a name. */
        atomic_store_explicit(&names->domain_count, count + 1, memory_order_release);
    }
    rtd_lock_release(&names->lock);
    return domain < RTD_DOMAIN_COUNT ? (int)domain : -ENOSPC;
}

/* ---- functions ---- */

/* The id, or 0 and the free slot; the caller holds the lock. */
static uint32_t find_function(const struct rtd_functions *functions, const char *name,
                              uint32_t hash, uint32_t *slot)
{
    for (uint32_t at = hash;; at++) {
        *slot = at & (functions->slot_count - 1);
        const uint32_t id = functions->slots[*slot];
        if (id == 0 || strcmp(functions->text + functions->offsets[id], name) == 0)
            return id;
    }
}

uint32_t rtd_functions_intern(struct rtd_functions *functions, const char *name)
{
    char clean[RTD_FUNCTION_BYTES];
    uint32_t slot;
    const size_t length = clean_name(clean, sizeof clean, name);
    const uint32_t hash = hash_text(clean, length, 0);
    rtd_lock_acquire(&functions->lock);
    uint32_t id = find_function(functions, clean, hash, &slot);
    if (id == 0 && functions->count < functions->room &&
        functions->text_room - functions->text_used > length) {
        id = functions->count++;
        functions->offsets[id] = functions->text_used;
        memcpy(functions->text + functions->text_used, clean, length + 1);
        functions->text_used += (uint32_t)length + 1;
        functions->slots[slot] = (uint16_t)id;
    }
    rtd_lock_release(&functions->lock);
    return id;
}
