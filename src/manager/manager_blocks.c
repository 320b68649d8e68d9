// SPDX-License-Identifier: Apache-2.0
/*
 * manager_blocks.c - see manager_blocks.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; each shard of the table has a lock of its own
 * Allocates:  never
 * Fails:      by a negative errno
 */
#include "manager/manager_blocks.h"

#include <errno.h>

/* Where an address belongs. */
struct home {
    struct rtd_block_shard *shard;
    struct rtd_block *slots; /* of the shard */
    uint32_t at;
};

static uint64_t hash_address(uint64_t address)
{
    const uint64_t hash = address * UINT64_C(0x9e3779b97f4a7c15);
    return (hash ^ hash >> 32) * UINT64_C(0xd6e8feb86659fd93);
}

/* The bits below those of the shard, spread evenly over the slots, of which there is any number. */
static uint32_t slot_of(const struct rtd_blocks *blocks, uint64_t hash)
{
    return (uint32_t)((hash << 6 >> 32) * blocks->room >> 32);
}

static struct home find_home(const struct rtd_blocks *blocks, uint64_t address)
{
    const uint64_t hash = hash_address(address);
    const uint32_t shard = (uint32_t)(hash >> 58);
    return (struct home){&blocks->shards[shard], blocks->slots + (size_t)shard * blocks->room,
                         slot_of(blocks, hash)};
}

static uint32_t next_slot(const struct rtd_blocks *blocks, uint32_t at)
{
    return at + 1 == blocks->room ? 0 : at + 1;
}

void rtd_blocks_prefetch(const struct rtd_blocks *blocks, uint64_t address)
{
    const struct home home = find_home(blocks, address);
    __builtin_prefetch(&home.slots[home.at], 1);
}

void rtd_blocks_init(struct rtd_blocks *blocks)
{
    RTD_STATIC_ASSERT(RTD_BLOCK_SHARDS == 64, "six bits choose the shard");
    /* Four in five: beyond that probing becomes long. */
    blocks->limit = blocks->room - blocks->room / 5 - 1;
}

int rtd_blocks_insert(struct rtd_blocks *blocks, const struct rtd_block *block)
{
    const struct home home = find_home(blocks, block->address);
    uint32_t at = home.at;
    int result = 0;
    rtd_lock_acquire(&home.shard->lock);
    while (home.slots[at].address != 0 && home.slots[at].address != block->address)
        at = next_slot(blocks, at);
    const uint32_t count = atomic_load_explicit(&home.shard->count, memory_order_relaxed);
    if (home.slots[at].address != 0) {
        result = -EEXIST;
    } else if (count >= blocks->limit) {
        result = -ENOSPC;
    } else {
        home.slots[at] = *block;
        atomic_store_explicit(&home.shard->count, count + 1, memory_order_relaxed);
    }
    rtd_lock_release(&home.shard->lock);
    return result;
}

/* Fills the free slot at `hole` by who may move up, and the slot that becomes free thereby. */
static void close_hole(const struct rtd_blocks *blocks, struct rtd_block *slots, uint32_t hole)
{
    for (uint32_t at = next_slot(blocks, hole); slots[at].address != 0;
         at = next_slot(blocks, at)) {
        const uint32_t home = slot_of(blocks, hash_address(slots[at].address));
        /* Distances against the direction of probing, around the end of the table. */
        const uint32_t from_home = at >= home ? at - home : at + blocks->room - home;
        const uint32_t from_hole = at >= hole ? at - hole : at + blocks->room - hole;
        if (from_home >= from_hole) {
            slots[hole] = slots[at];
            hole = at;
        }
    }
    slots[hole].address = 0;
}

int rtd_blocks_remove(struct rtd_blocks *blocks, uint64_t address, struct rtd_block *out)
{
    const struct home home = find_home(blocks, address);
    uint32_t at = home.at;
    rtd_lock_acquire(&home.shard->lock);
    while (home.slots[at].address != 0 && home.slots[at].address != address)
        at = next_slot(blocks, at);
    const bool found = address != 0 && home.slots[at].address != 0;
    if (found) {
        *out = home.slots[at];
        close_hole(blocks, home.slots, at);
        atomic_fetch_sub_explicit(&home.shard->count, 1, memory_order_relaxed);
    }
    rtd_lock_release(&home.shard->lock);
    return found ? 0 : -ENOENT;
}

uint64_t rtd_blocks_count(const struct rtd_blocks *blocks)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < RTD_BLOCK_SHARDS; i++)
        count += atomic_load_explicit(&blocks->shards[i].count, memory_order_relaxed);
    return count;
}

void rtd_blocks_each(struct rtd_blocks *blocks, unsigned shard,
                     void (*show)(void *context, const struct rtd_block *block), void *context)
{
    const struct rtd_block *slots = blocks->slots + (size_t)shard * blocks->room;
    rtd_lock_acquire(&blocks->shards[shard].lock);
    uint32_t left = atomic_load_explicit(&blocks->shards[shard].count, memory_order_relaxed);
    for (uint32_t i = 0; i < blocks->room && left > 0; i++) {
        if (slots[i].address != 0) {
            show(context, &slots[i]);
            left--;
        }
    }
    rtd_lock_release(&blocks->shards[shard].lock);
}

void rtd_blocks_lock_all(struct rtd_blocks *blocks)
{
    for (unsigned i = 0; i < RTD_BLOCK_SHARDS; i++)
        rtd_lock_acquire(&blocks->shards[i].lock);
}

void rtd_blocks_unlock_all(struct rtd_blocks *blocks)
{
    for (unsigned i = RTD_BLOCK_SHARDS; i-- > 0;)
        rtd_lock_release(&blocks->shards[i].lock);
}
