// SPDX-License-Identifier: Apache-2.0
/*
 * manager_image_copy.c - the sites of a domain copied out of their tables, in order.
 *
 * Runs in:    a program that links libriptide
 * Threads:    one at a time; each shard is locked while it is copied
 * Allocates:  the copies, never while a shard is locked
 * Fails:      by -ENOMEM
 */
#include "manager/manager_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *function_at(const struct rtd_records *records, uint64_t pc)
{
    return records->functions.text + records->functions.offsets[pc - RTD_FUNCTION_BASE - 1];
}

static int compare_pcs(const struct rtd_records *records, bool named, uint64_t a, uint64_t b)
{
    if (a == b)
        return 0;
    return named ? strcmp(function_at(records, a), function_at(records, b)) : a < b ? -1 : 1;
}

static int compare_sites(const void *a, const void *b, void *context)
{
    const struct rtd_draft_site *x = a, *y = b;
    const struct rtd_image_draft *draft = context;
    const struct rtd_records *records = draft->records;
    const uint32_t count =
        x->site.pc_count < y->site.pc_count ? x->site.pc_count : y->site.pc_count;
    int order = x->site.tag == y->site.tag
                    ? 0
                    : rtd_names_compare(&records->names, x->site.tag, y->site.tag);
    if (order == 0 && x->site.named != y->site.named)
        order = x->site.named ? 1 : -1;
    for (uint32_t i = 0; i < count && order == 0; i++)
        order =
            compare_pcs(records, x->site.named, draft->words[x->at + i], draft->words[y->at + i]);
    if (order == 0)
        order = (x->site.pc_count > y->site.pc_count) - (x->site.pc_count < y->site.pc_count);
    if (order == 0)
        order = (x->site.truncated > y->site.truncated) - (x->site.truncated < y->site.truncated);
    return order;
}

static void copy_shard(struct rtd_image_draft *draft, unsigned shard, uint32_t *word_count)
{
    struct rtd_records *records = draft->records;
    const struct rtd_sites *sites = &records->sites;
    const uint32_t used = sites->shards[shard].used;
    for (uint32_t i = 0; i < used; i++) {
        const uint32_t number = shard * sites->room + i;
        const struct rtd_site *site = &sites->sites[number];
        if (site->serial == 0 || rtd_names_domain(&records->names, site->tag) != draft->domain)
            continue;
        draft->sites[draft->site_count++] = (struct rtd_draft_site){*site, number, *word_count};
        memcpy(draft->words + *word_count, rtd_sites_pcs(sites, number),
               site->pc_count * sizeof draft->words[0]);
        *word_count += site->pc_count;
    }
}

/* How many sites and words of stacks a draft has, or has room for. */
struct extent {
    uint32_t sites, words;
};

static int reserve(struct rtd_image_draft *draft, const struct extent *room)
{
    void *sites = realloc(draft->sites, room->sites * sizeof draft->sites[0]);
    if (sites)
        draft->sites = sites;
    void *words = realloc(draft->words, room->words * sizeof draft->words[0]);
    if (words)
        draft->words = words;
    return sites && words ? 0 : -ENOMEM;
}

/*
 * Locks a shard when there is room for all that it holds. Room is made while it is not locked:
 * whoever records would wait for the allocator, and one that records its own work for itself.
 */
static int lock_shard(struct rtd_image_draft *draft, unsigned shard, uint32_t word_count,
                      struct extent *room)
{
    struct rtd_sites *sites = &draft->records->sites;
    for (;;) {
        rtd_sites_lock_shard(sites, shard);
        const struct extent need = {draft->site_count + sites->shards[shard].count,
                                    word_count + sites->shards[shard].word_count};
        if (need.sites <= room->sites && need.words <= room->words)
            return 0;
        rtd_sites_unlock_shard(sites, shard);
        /* More than is needed now, so that this comes to an end while stacks come in. */
        *room =
            (struct extent){need.sites + need.sites / 4 + 64, need.words + need.words / 4 + 512};
        const int error = reserve(draft, room);
        if (error < 0)
            return error;
    }
}

/* ---- numbers of stacks ---- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return (hash ^ UINT64_C(0xff)) * UINT64_C(0x100000001b3);
}

/* Of names where there are names: numbers depend on who came first. */
static uint64_t hash_site(const struct rtd_image_draft *draft, const struct rtd_draft_site *site)
{
    const struct rtd_name_pair *pair = &draft->records->names.pairs[site->site.tag];
    uint64_t hash = UINT64_C(0xcbf29ce484222325) + site->site.truncated;
    hash = hash_text(hash_text(hash, pair->component), pair->operation);
    for (uint32_t i = 0; i < site->site.pc_count; i++) {
        const uint64_t pc = draft->words[site->at + i];
        hash = site->site.named ? hash_text(hash, function_at(draft->records, pc))
                                : (hash ^ pc) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* The number that the hash asks for, or the next that is free. */
static uint32_t choose_leaf(uint64_t *taken, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (RTD_IMAGE_LEAVES - 1);
    while (taken[at / 64] >> at % 64 & 1)
        at = (at + 1) & (RTD_IMAGE_LEAVES - 1);
    taken[at / 64] |= UINT64_C(1) << at % 64;
    return at + 1;
}

static void keep_leaf(struct rtd_image_draft *draft, const struct rtd_draft_site *copy)
{
    struct rtd_site *site = rtd_sites_lock_number(&draft->records->sites, copy->number);
    if (site->serial == copy->site.serial)
        site->leaf = copy->site.leaf;
    rtd_sites_unlock(&draft->records->sites, copy->number);
}

/* In the order of the image, which does not depend on threads either. 0 or -ENOMEM. */
static int number_stacks(struct rtd_image_draft *draft)
{
    uint64_t *taken = calloc(RTD_IMAGE_LEAVES / 64, sizeof taken[0]);
    if (!taken)
        return -ENOMEM;
    for (uint32_t i = 0; i < draft->site_count; i++) {
        const uint32_t leaf = draft->sites[i].site.leaf;
        if (leaf != 0)
            taken[(leaf - 1) / 64] |= UINT64_C(1) << (leaf - 1) % 64;
    }
    for (uint32_t i = 0; i < draft->site_count; i++) {
        struct rtd_draft_site *site = &draft->sites[i];
        if (site->site.leaf != 0)
            continue;
        site->site.leaf = choose_leaf(taken, hash_site(draft, site));
        keep_leaf(draft, site);
    }
    free(taken);
    return 0;
}

int rtd_image_draft_copy(struct rtd_image_draft *draft)
{
    struct extent room = {0, 0};
    uint32_t word_count = 0;
    draft->site_epoch = atomic_load_explicit(&draft->records->site_epoch, memory_order_relaxed);
    for (unsigned shard = 0; shard < RTD_SITE_SHARDS; shard++) {
        const int error = lock_shard(draft, shard, word_count, &room);
        if (error < 0)
            return error;
        copy_shard(draft, shard, &word_count);
        rtd_sites_unlock_shard(&draft->records->sites, shard);
    }
    if (draft->site_count)
        qsort_r(draft->sites, draft->site_count, sizeof draft->sites[0], compare_sites, draft);
    return number_stacks(draft);
}
