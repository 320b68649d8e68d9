// SPDX-License-Identifier: Apache-2.0
/*
 * exact_oracle_table.c - live blocks and sites of the exact oracle, one plain hash table each.
 *
 * Runs in:    the observed program of a test
 * Threads:    called with the oracle's lock held
 * Allocates:  with mmap only
 * Fails:      by aborting
 */
#include "exact_oracle.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FIRST_BLOCK_CAPACITY = 1 << 16, LARGE_BYTES = 1 << 20 };

static struct exact_file *file;
static struct oracle_block *blocks;
static size_t block_capacity;
static size_t block_count;
static uint64_t last_serial_given;

static size_t hash(uintptr_t key, size_t capacity)
{
    return (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (capacity - 1);
}

void exact_table_reset(struct exact_file *fresh)
{
    file = fresh;
    file->header.magic = EXACT_MAGIC;
    file->header.peak_epoch = 1;
    if (block_capacity != 0)
        memset(blocks, 0, block_capacity * sizeof *blocks);
    block_count = 0;
}

/* ---- live blocks ---- */

/* The slot that holds an address, or the free one where it belongs. */
static size_t find(uintptr_t address)
{
    size_t at = hash(address, block_capacity);
    while (blocks[at].address != 0 && blocks[at].address != address)
        at = (at + 1) & (block_capacity - 1);
    return at;
}

static void grow(void)
{
    struct oracle_block *const old = blocks;
    const size_t old_capacity = block_capacity;
    block_capacity = old_capacity == 0 ? FIRST_BLOCK_CAPACITY : old_capacity * 2;
    blocks = mmap(NULL, block_capacity * sizeof *blocks, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blocks == MAP_FAILED)
        abort();
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].address != 0)
            blocks[find(old[i].address)] = old[i];
    if (old != NULL)
        munmap(old, old_capacity * sizeof *old);
}

/* Linear probing without tombstones: what may not stand behind the hole moves into it. */
static void erase(size_t hole)
{
    for (size_t at = (hole + 1) & (block_capacity - 1); blocks[at].address != 0;
         at = (at + 1) & (block_capacity - 1)) {
        const size_t home = hash(blocks[at].address, block_capacity);
        if (((at - home) & (block_capacity - 1)) >= ((at - hole) & (block_capacity - 1))) {
            blocks[hole] = blocks[at];
            hole = at;
        }
    }
    blocks[hole].address = 0;
    block_count--;
}

/* ---- sites ---- */

static uint64_t hash_stack(const uintptr_t *pcs, size_t depth)
{
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < depth; i++)
        value = (value ^ pcs[i] ^ (value >> 29)) * 0x9e3779b97f4a7c15u;
    return value == 0 ? 1 : value;
}

static bool is_site(const struct exact_site *site, uint64_t key, const uintptr_t *pcs, size_t depth)
{
    return site->hash == key && site->depth == depth &&
           (depth == 0 || memcmp(&file->pcs[site->first_pc], pcs, depth * sizeof *pcs) == 0);
}

uint32_t exact_table_site(const uintptr_t *pcs, size_t depth)
{
    const uint64_t key = hash_stack(pcs, depth);
    size_t at = hash((uintptr_t)key, EXACT_SITE_CAPACITY);
    while (file->sites[at].hash != 0 && !is_site(&file->sites[at], key, pcs, depth))
        at = (at + 1) & (EXACT_SITE_CAPACITY - 1);
    struct exact_site *const site = &file->sites[at];
    if (site->hash == 0) {
        if (file->header.site_count + 1 >= EXACT_SITE_CAPACITY ||
            file->header.pc_count + depth > EXACT_PC_CAPACITY)
            abort();
        site->hash = key;
        site->depth = depth;
        site->first_pc = file->header.pc_count;
        if (depth != 0)
            memcpy(&file->pcs[site->first_pc], pcs, depth * sizeof *pcs);
        file->header.pc_count += depth;
        file->header.site_count++;
    }
    return (uint32_t)at;
}

static uint64_t live(const struct exact_figures *figures)
{
    return figures->allocated_bytes - figures->freed_bytes;
}

/* Before the first change after a new peak: keeps what the site held at the peak. */
static void keep_peak(struct exact_site *site)
{
    if (site->peak_epoch == file->header.peak_epoch)
        return;
    site->peak_epoch = file->header.peak_epoch;
    site->peak_bytes = live(&site->figures);
}

static void note_peak(void)
{
    struct exact_header *const header = &file->header;
    if (live(&header->total) <= header->peak_bytes)
        return;
    header->peak_bytes = live(&header->total);
    header->peak_blocks = header->total.allocations - header->total.frees;
    header->peak_epoch++;
}

/* ---- events ---- */

static size_t size_class(size_t size)
{
    return (size_t)(size >= 1 << 10) + (size >= 1 << 16) + (size >= 1 << 20) + (size >= 1 << 24);
}

static void count_birth(struct exact_figures *figures, size_t size)
{
    figures->allocations++;
    figures->allocated_bytes += size;
}

static void count_death(struct exact_figures *figures, size_t size, bool is_temporary)
{
    figures->frees++;
    figures->freed_bytes += size;
    figures->temporary += is_temporary;
}

uint64_t exact_table_birth(const struct oracle_block *block)
{
    if (2 * (block_count + 1) > block_capacity)
        grow();
    const size_t at = find(block->address);
    if (blocks[at].address != 0) {
        /* Its end was not seen: it counts as freed now. */
        keep_peak(&file->sites[blocks[at].site]);
        count_death(&file->sites[blocks[at].site].figures, blocks[at].size_bytes, false);
        count_death(&file->header.total, blocks[at].size_bytes, false);
        file->header.replaced_blocks++;
    } else {
        block_count++;
    }
    struct exact_site *const site = &file->sites[block->site];
    keep_peak(site);
    blocks[at] = *block;
    blocks[at].serial = ++last_serial_given;
    count_birth(&site->figures, block->size_bytes);
    count_birth(&file->header.total, block->size_bytes);
    file->header.size_class[size_class(block->size_bytes)]++;
    site->large += block->size_bytes > LARGE_BYTES;
    if (block->size_bytes > site->max_size_bytes)
        site->max_size_bytes = block->size_bytes;
    note_peak();
    return last_serial_given;
}

struct oracle_block exact_table_death(uintptr_t address, uint64_t last_serial)
{
    const size_t at = block_capacity == 0 ? 0 : find(address);
    if (block_capacity == 0 || blocks[at].address == 0) {
        file->header.unknown_frees++;
        return (struct oracle_block){0};
    }
    const struct oracle_block old = blocks[at];
    struct exact_site *const site = &file->sites[old.site];
    keep_peak(site);
    count_death(&site->figures, old.size_bytes, old.serial == last_serial);
    count_death(&file->header.total, old.size_bytes, old.serial == last_serial);
    erase(at);
    return old;
}

void exact_table_revive(const struct oracle_block *block, uint64_t last_serial)
{
    if (block->address == 0) {
        file->header.unknown_frees--;
        return;
    }
    struct exact_figures *const both[] = {&file->sites[block->site].figures, &file->header.total};
    for (size_t i = 0; i < sizeof both / sizeof both[0]; i++) {
        both[i]->frees--;
        both[i]->freed_bytes -= block->size_bytes;
        both[i]->temporary -= block->serial == last_serial;
    }
    blocks[find(block->address)] = *block;
    block_count++;
}
