// SPDX-License-Identifier: Apache-2.0
/*
 * manager_blocks.h - the live blocks that were recorded by their address.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; each shard of the table has a lock of its own
 * Allocates:  never: lives in its owner's storage
 * Fails:      -EEXIST for an address that is live, -ENOENT for one that is not, -ENOSPC when its
 *             shard is full
 *
 * Open addressing with linear probing in each shard; who leaves has those behind him move up, so
 * there are no tombstones and a search ends at the first free slot. A block with address 0 is free.
 */
#ifndef RTD_MANAGER_BLOCKS_H
#define RTD_MANAGER_BLOCKS_H

#include "manager/manager_lock.h"
#include "manager/manager_sized.h"

#include <stdbool.h>

enum { RTD_BLOCK_SHARDS = 64 };

struct rtd_block {
    uint64_t address;
    uint64_t sized; /* rtd_sized_of() */
    uint32_t place; /* a tag or a site, see manager_records.h */
    uint32_t birth; /* a stamp */
};

/* A line each, or neighbours would wait for each other without knowing. */
struct rtd_block_shard {
    struct rtd_lock lock;
    _Atomic uint32_t count;
} __attribute__((aligned(64)));

struct rtd_blocks {
    uint32_t room;  /* slots of a shard */
    uint32_t limit; /* blocks of a shard: some slots stay free */
    struct rtd_block_shard *shards;
    struct rtd_block *slots; /* RTD_BLOCK_SHARDS * room */
};

/* In zeroed storage with shards, slots and room set; room is at least 8. */
void rtd_blocks_init(struct rtd_blocks *blocks);

/* Fetches what the next call for this address will touch: a table of megabytes is rarely at hand.
 */
void rtd_blocks_prefetch(const struct rtd_blocks *blocks, uint64_t address);

int rtd_blocks_insert(struct rtd_blocks *blocks, const struct rtd_block *block);

/* Takes the block out and into *out. */
int rtd_blocks_remove(struct rtd_blocks *blocks, uint64_t address, struct rtd_block *out);

/* Live blocks now. */
uint64_t rtd_blocks_count(const struct rtd_blocks *blocks);

/* Shows the blocks of one shard, which is locked meanwhile; each one is borrowed for the call. */
void rtd_blocks_each(struct rtd_blocks *blocks, unsigned shard,
                     void (*show)(void *context, const struct rtd_block *block), void *context);

void rtd_blocks_lock_all(struct rtd_blocks *blocks);
void rtd_blocks_unlock_all(struct rtd_blocks *blocks);

#endif
