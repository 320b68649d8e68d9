// SPDX-License-Identifier: Apache-2.0
/*
 * manager_sites.h - a site is a stack under a tag, and what was recorded there.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; each shard has a lock of its own, which guards all that is in it
 * Allocates:  never: lives in its owner's storage
 * Fails:      a stack without room is not kept: what is recorded there belongs to its tag alone
 *
 * A shard has a table of sites, a hash table of their numbers, and words for their stacks. Each
 * stack is a header word (number of the site) and its return addresses; where a stack begins moves
 * when clean-up closes gaps, the number of a site never does. A site with live blocks is not
 * dropped, so a block may name it without holding anything.
 */
#ifndef RTD_MANAGER_SITES_H
#define RTD_MANAGER_SITES_H

#include "ledger/ledger_reader.h"
#include "manager/manager_lock.h"

enum { RTD_SITE_SHARDS = 16 };

struct rtd_site {
    uint64_t hash;
    uint32_t serial; /* unique for life; 0: the site is free */
    uint32_t at;     /* of its return addresses in the shard's words */
    uint16_t tag, pc_count;
    bool truncated, named;
    uint32_t first, last;              /* stamps */
    uint64_t sized_count, sized_bytes; /* recorded by size; what is live of them is not known */
    uint64_t births, birth_bytes, deaths, death_bytes; /* by address */
    uint64_t temporary, max_size;
    uint64_t peak_bytes, peak_blocks; /* live when an image held most; the images' own */
    uint32_t leaf; /* number of its stack in images, 0: in none yet; the images' own */
    uint32_t large;
    uint32_t ages[RTD_LIFETIME_BUCKETS - 1]; /* as in struct rtd_cell */
};

struct rtd_site_shard {
    struct rtd_lock lock;
    uint32_t count; /* sites that are not free */
    uint32_t used;  /* sites above were never used */
    uint32_t word_count;
} __attribute__((aligned(64)));

struct rtd_sites {
    _Atomic uint32_t last_serial;
    uint32_t room, word_room; /* of a shard */
    uint32_t slot_count;      /* of a shard: a power of two, at least twice room */
    struct rtd_site_shard *shards;
    struct rtd_site *sites; /* RTD_SITE_SHARDS * room; number = shard * room + index */
    uint16_t *slots;        /* RTD_SITE_SHARDS * slot_count: 1 + index */
    uint64_t *words;        /* RTD_SITE_SHARDS * word_room */
};

/* A stack that is looked for. */
struct rtd_site_key {
    const uintptr_t *pcs;
    uint32_t pc_count;
    uint32_t tag;
    bool truncated, named;
};

/*
 * Finds or enters the site and leaves its shard locked: rtd_sites_unlock() with the number.
 * -ENOSPC, then nothing is locked.
 */
int rtd_sites_lock(struct rtd_sites *sites, const struct rtd_site_key *key);

/* The site of a number, its shard locked; for those that have live blocks. */
struct rtd_site *rtd_sites_lock_number(struct rtd_sites *sites, uint32_t number);
void rtd_sites_unlock(struct rtd_sites *sites, uint32_t number);

/* Borrowed while the shard is locked. */
static inline struct rtd_site *rtd_sites_at(const struct rtd_sites *sites, uint32_t number)
{
    return &sites->sites[number];
}

/* The return addresses, innermost first; borrowed while the shard is locked. */
const uint64_t *rtd_sites_pcs(const struct rtd_sites *sites, uint32_t number);

void rtd_sites_lock_shard(struct rtd_sites *sites, unsigned shard);
void rtd_sites_unlock_shard(struct rtd_sites *sites, unsigned shard);

/*
 * Drops the sites of a locked shard that have no live block and that should_drop() agrees to;
 * returns how many.
 */
unsigned rtd_sites_drop(struct rtd_sites *sites, unsigned shard,
                        bool (*should_drop)(void *context, const struct rtd_site *site),
                        void *context);

#endif
