// SPDX-License-Identifier: Apache-2.0
/*
 * manager_sites.c - see manager_sites.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; each shard has a lock of its own
 * Allocates:  never
 * Fails:      by -ENOSPC
 */
#include "manager/manager_sites.h"

#include <errno.h>
#include <string.h>

/* Four multiplications under way at a time: a stack of 30 frames takes some ten nanoseconds. */
static uint64_t hash_key(const struct rtd_site_key *key)
{
    static const uint64_t prime = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t lanes[4] = {key->tag, key->pc_count, key->truncated, key->named};
    for (uint32_t i = 0; i < key->pc_count; i++) {
        uint64_t *lane = &lanes[i & 3];
        *lane = (*lane ^ key->pcs[i]) * prime;
        *lane ^= *lane >> 29;
    }
    uint64_t hash = 0;
    for (unsigned i = 0; i < 4; i++) {
        hash = (hash ^ lanes[i]) * prime;
        hash ^= hash >> 32;
    }
    return hash;
}

static uint16_t *slots_of(const struct rtd_sites *sites, unsigned shard)
{
    return sites->slots + (size_t)shard * sites->slot_count;
}

static uint64_t *words_of(const struct rtd_sites *sites, unsigned shard)
{
    return sites->words + (size_t)shard * sites->word_room;
}

const uint64_t *rtd_sites_pcs(const struct rtd_sites *sites, uint32_t number)
{
    return words_of(sites, number / sites->room) + sites->sites[number].at;
}

static bool is_site(const struct rtd_sites *sites, uint32_t number, uint64_t hash,
                    const struct rtd_site_key *key)
{
    const struct rtd_site *site = &sites->sites[number];
    RTD_STATIC_ASSERT(sizeof(uintptr_t) == sizeof(uint64_t), "a return address is a word");
    return site->hash == hash && site->tag == key->tag && site->pc_count == key->pc_count &&
           site->truncated == key->truncated && site->named == key->named &&
           memcmp(rtd_sites_pcs(sites, number), key->pcs, key->pc_count * sizeof(uint64_t)) == 0;
}

/* The slot that names the site, or the free one where it would stand. */
static uint16_t *find_slot(const struct rtd_sites *sites, unsigned shard, uint64_t hash,
                           const struct rtd_site_key *key)
{
    uint16_t *slots = slots_of(sites, shard);
    uint32_t at = (uint32_t)hash & (sites->slot_count - 1);
    while (slots[at] != 0 &&
           (!key || !is_site(sites, shard * sites->room + slots[at] - 1u, hash, key)))
        at = (at + 1) & (sites->slot_count - 1);
    return &slots[at];
}

/* A free index of the shard; there is one. */
static uint32_t free_index(const struct rtd_sites *sites, unsigned shard)
{
    const struct rtd_site_shard *own = &sites->shards[shard];
    uint32_t index = own->used;
    if (own->count < own->used) {
        for (index = 0; sites->sites[shard * sites->room + index].serial != 0; index++) {
        }
    }
    return index;
}

static uint32_t next_serial(struct rtd_sites *sites)
{
    uint32_t serial;
    do {
        serial = atomic_fetch_add_explicit(&sites->last_serial, 1, memory_order_relaxed) + 1;
    } while (serial == 0);
    return serial;
}

static int enter_site(struct rtd_sites *sites, unsigned shard, uint64_t hash,
                      const struct rtd_site_key *key, uint16_t *slot)
{
    struct rtd_site_shard *own = &sites->shards[shard];
    if (own->count == sites->room || sites->word_room - own->word_count <= key->pc_count)
        return -ENOSPC;
    const uint32_t index = free_index(sites, shard);
    const uint32_t number = shard * sites->room + index;
    uint64_t *words = words_of(sites, shard);
    words[own->word_count] = index;
    sites->sites[number] = (struct rtd_site){
        .hash = hash,
        .serial = next_serial(sites),
        .at = own->word_count + 1,
        .tag = (uint16_t)key->tag,
        .pc_count = (uint16_t)key->pc_count,
        .truncated = key->truncated,
        .named = key->named,
    };
    memcpy(words + own->word_count + 1, key->pcs, key->pc_count * sizeof words[0]);
    own->word_count += 1 + key->pc_count;
    own->count++;
    if (index == own->used)
        own->used++;
    *slot = (uint16_t)(index + 1);
    return (int)number;
}

int rtd_sites_lock(struct rtd_sites *sites, const struct rtd_site_key *key)
{
    const uint64_t hash = hash_key(key);
    const unsigned shard = (unsigned)(hash >> 60);
    RTD_STATIC_ASSERT(RTD_SITE_SHARDS == 16, "four bits choose the shard");
    rtd_sites_lock_shard(sites, shard);
    uint16_t *slot = find_slot(sites, shard, hash, key);
    const int number =
        *slot ? (int)(shard * sites->room + *slot - 1u) : enter_site(sites, shard, hash, key, slot);
    if (number < 0)
        rtd_sites_unlock_shard(sites, shard);
    return number;
}

struct rtd_site *rtd_sites_lock_number(struct rtd_sites *sites, uint32_t number)
{
    rtd_sites_lock_shard(sites, number / sites->room);
    return &sites->sites[number];
}

void rtd_sites_unlock(struct rtd_sites *sites, uint32_t number)
{
    rtd_sites_unlock_shard(sites, number / sites->room);
}

void rtd_sites_lock_shard(struct rtd_sites *sites, unsigned shard)
{
    rtd_lock_acquire(&sites->shards[shard].lock);
}

void rtd_sites_unlock_shard(struct rtd_sites *sites, unsigned shard)
{
    rtd_lock_release(&sites->shards[shard].lock);
}

/* Moves the stacks of sites that are left to the beginning. */
static void close_gaps(struct rtd_sites *sites, unsigned shard)
{
    struct rtd_site_shard *own = &sites->shards[shard];
    uint64_t *words = words_of(sites, shard);
    uint32_t to = 0, step;
    for (uint32_t from = 0; from < own->word_count; from += step) {
        struct rtd_site *site = &sites->sites[shard * sites->room + words[from]];
        step = 1u + site->pc_count;
        /* One that was dropped keeps its length until here. */
        if (site->serial != 0) {
            memmove(words + to, words + from, step * sizeof words[0]);
            site->at = to + 1;
            to += step;
        }
    }
    own->word_count = to;
}

static void refill_slots(struct rtd_sites *sites, unsigned shard)
{
    memset(slots_of(sites, shard), 0, sites->slot_count * sizeof(uint16_t));
    for (uint32_t i = 0; i < sites->shards[shard].used; i++) {
        const struct rtd_site *site = &sites->sites[shard * sites->room + i];
        if (site->serial != 0)
            *find_slot(sites, shard, site->hash, NULL) = (uint16_t)(i + 1);
    }
}

unsigned rtd_sites_drop(struct rtd_sites *sites, unsigned shard,
                        bool (*should_drop)(void *context, const struct rtd_site *site),
                        void *context)
{
    struct rtd_site_shard *own = &sites->shards[shard];
    unsigned dropped = 0;
    for (uint32_t i = 0; i < own->used; i++) {
        struct rtd_site *site = &sites->sites[shard * sites->room + i];
        if (site->serial != 0 && site->births == site->deaths && should_drop(context, site)) {
            site->serial = 0;
            own->count--;
            dropped++;
        }
    }
    if (dropped != 0) {
        close_gaps(sites, shard);
        refill_slots(sites, shard);
    }
    return dropped;
}
