// SPDX-License-Identifier: Apache-2.0
/*
 * manager_account.c - what happens when something is recorded or released.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any
 * Allocates:  never
 * Fails:      by a negative errno or enum riptide_error
 *
 * Sums. A cell takes a record only while its sum of that kind, by size or by address, stays within
 * 2^63, even if thousands of threads pass the check for a shared cell at once. So no sum of a cell
 * wraps and what is live is right for ever; sums over cells saturate.
 */
#include "manager/manager_record_state.h"
#include "manager/manager_scope.h"

#include <errno.h>

#define RELAXED   memory_order_relaxed
#define SUM_LIMIT (UINT64_C(1) << 63)

/* The tag of the scope in force on this thread. */
static uint32_t tag_in_force(struct rtd_records *records)
{
    char component[RTD_TAG_NAME_BYTES], operation[RTD_TAG_NAME_BYTES];
    const uint32_t scope = rtd_scope_get();
    if (scope < RTD_TAG_FIRST || scope >= RTD_TAG_COUNT)
        return 1 + RTD_RECORDS_DOMAIN;
    uint32_t tag = atomic_load_explicit(&records->scope_tags[scope], RELAXED);
    if (tag == 0) {
        if (rtd_scope_names(scope, component, operation) < 0)
            return 1 + RTD_RECORDS_DOMAIN;
        tag = rtd_records_intern(records, RTD_RECORDS_DOMAIN, component, operation);
        atomic_store_explicit(&records->scope_tags[scope], (uint16_t)tag, RELAXED);
    }
    return tag;
}

/* ---- recording ---- */

/* The thread's part of the tables during one call. */
struct seat {
    struct rtd_slab *slab;
    struct rtd_cell *cell;
    bool slab_shared, cell_shared;
    uint32_t tag, stamp;
    uint64_t sized; /* rtd_sized_of() */
};

static inline void sit_down(struct rtd_records *records, uint32_t tag, struct seat *seat)
{
    seat->tag = tag;
    seat->slab = rtd_slabs_get(&records->slabs);
    seat->slab_shared = rtd_slab_is_shared(&records->slabs, seat->slab);
    seat->cell = rtd_slabs_cell(&records->slabs, seat->slab, tag);
    seat->cell_shared = rtd_cell_is_shared(&records->slabs, seat->cell);
}

/* What every record begins with: tag, size, address and time of it count. 0 or an error. */
static inline int begin_record(struct rtd_records *records, const struct rtd_record *record,
                               struct seat *seat)
{
    uint32_t tag = record->tag;
    if (RTD_UNLIKELY(tag == 0))
        tag = tag_in_force(records);
    if (RTD_UNLIKELY(!rtd_names_has(&records->names, tag) ||
                     record->size_bytes > RTD_RECORDS_SIZE_LIMIT))
        return -EINVAL;
    sit_down(records, tag, seat);
    const uint64_t sum = atomic_load_explicit(
        record->address ? &seat->cell->birth_bytes : &seat->cell->in_bytes, RELAXED);
    if (RTD_UNLIKELY(sum + record->size_bytes > SUM_LIMIT))
        return -EOVERFLOW;
    seat->stamp = rtd_stamp_of(RTD_LIKELY(record->unix_ns == 0)
                                   ? rtd_clock_now_ms(&records->clock)
                                   : rtd_clock_at_ms(&records->clock, record->unix_ns));
    return 0;
}

static inline void count_sized(const struct seat *seat, uint64_t size_bytes, uint32_t place)
{
    rtd_count_up(&seat->cell->in_bytes, size_bytes, seat->cell_shared);
    rtd_count_up(&seat->cell->in_count, 1, seat->cell_shared);
    rtd_cell_note(seat->cell, size_bytes, seat->stamp, seat->cell_shared);
    if (RTD_UNLIKELY(seat->slab_shared))
        return;
    rtd_top_add(&seat->slab->top, seat->sized, rtd_top_where(seat->tag, place), seat->stamp);
    atomic_store_explicit(&seat->slab->last_address, 0, RELAXED);
}

int rtd_records_add_bytes(struct rtd_records *records, uint32_t tag, uint64_t size_bytes)
{
    const struct rtd_record record = {.size_bytes = size_bytes, .tag = tag};
    struct seat seat;
    const int error = begin_record(records, &record, &seat);
    if (RTD_UNLIKELY(error < 0))
        return error;
    seat.sized = rtd_sized_of(size_bytes, 0);
    count_sized(&seat, size_bytes, seat.tag);
    return 0;
}

static void count_birth(const struct seat *seat, uint64_t address, uint64_t size_bytes)
{
    rtd_count_up(&seat->cell->births, 1, seat->cell_shared);
    rtd_count_up(&seat->cell->birth_bytes, size_bytes, seat->cell_shared);
    rtd_cell_note(seat->cell, size_bytes, seat->stamp, seat->cell_shared);
    if (!seat->slab_shared)
        atomic_store_explicit(&seat->slab->last_address, (uintptr_t)address, RELAXED);
}

static void count_death(const struct seat *seat, uint64_t size_bytes)
{
    rtd_count_up(&seat->cell->deaths, 1, seat->cell_shared);
    rtd_count_up(&seat->cell->death_bytes, size_bytes, seat->cell_shared);
}

/* Enters a block; counted as tracked, untracked or known already. The site, if any, is locked. */
static int enter_block(struct rtd_records *records, const struct seat *seat,
                       const struct rtd_record *record, uint32_t place)
{
    const struct rtd_block block = {record->address, seat->sized, place, seat->stamp};
    const unsigned domain = rtd_names_domain(&records->names, seat->tag);
    const int result = rtd_blocks_insert(&records->blocks, &block);
    if (result == -EEXIST) {
        rtd_count_up(&seat->slab->known_blocks, 1, seat->slab_shared);
        return RIPTIDE_E_KNOWN_BLOCK;
    }
    count_birth(seat, record->address, record->size_bytes);
    if (result == -ENOSPC) {
        rtd_count_up(&seat->slab->untracked_blocks[domain], 1, seat->slab_shared);
        rtd_count_up(&seat->slab->untracked_bytes[domain], record->size_bytes, seat->slab_shared);
        count_death(seat, record->size_bytes);
        return 1;
    }
    return 0;
}

static void note_at_site(struct rtd_site *site, uint64_t size_bytes, uint32_t stamp)
{
    if (site->sized_count + site->births == 0)
        site->first = site->last = stamp;
    site->first = stamp < site->first ? stamp : site->first;
    site->last = stamp > site->last ? stamp : site->last;
    site->max_size = size_bytes > site->max_size ? size_bytes : site->max_size;
    site->large += size_bytes > RTD_LARGE_BYTES;
}

/* Records with a stack; the cell counts everything, the site its part of it. */
static int add_at_site(struct rtd_records *records, const struct seat *seat,
                       const struct rtd_record *record)
{
    const struct rtd_site_key key = {record->pcs, record->pc_count, seat->tag, record->truncated,
                                     record->named};
    int result = 0;
    const int number = rtd_sites_lock(&records->sites, &key);
    if (number < 0) {
        rtd_count_up(&seat->slab->stacks_lost, 1, seat->slab_shared);
        if (record->address != 0)
            return enter_block(records, seat, record, seat->tag);
        count_sized(seat, record->size_bytes, seat->tag);
        return 0;
    }
    struct rtd_site *site = rtd_sites_at(&records->sites, (uint32_t)number);
    const uint32_t place = RTD_PLACE_SITE + (uint32_t)number;
    if (record->address != 0)
        result = enter_block(records, seat, record, place);
    else
        count_sized(seat, record->size_bytes, place);
    if (result >= 0) {
        const bool untracked = result > 0;
        note_at_site(site, record->size_bytes, seat->stamp);
        if (record->address == 0) {
            site->sized_count++;
            site->sized_bytes += record->size_bytes;
        } else {
            site->births++;
            site->birth_bytes += record->size_bytes;
            site->deaths += untracked;
            site->death_bytes += untracked ? record->size_bytes : 0;
        }
    }
    rtd_sites_unlock(&records->sites, (uint32_t)number);
    return result;
}

int rtd_records_add(struct rtd_records *records, const struct rtd_record *record)
{
    struct seat seat;
    if (RTD_UNLIKELY((record->alignment & (record->alignment - 1)) != 0))
        return -EINVAL;
    if (record->address != 0)
        rtd_blocks_prefetch(&records->blocks, record->address);
    int result = begin_record(records, record, &seat);
    if (RTD_UNLIKELY(result < 0))
        return result;
    seat.sized = rtd_sized_of(record->size_bytes, record->alignment);
    if (record->pc_count != 0 && record->pc_count <= RTD_RECORDS_STACK_MAX)
        result = add_at_site(records, &seat, record);
    else if (record->address != 0)
        result = enter_block(records, &seat, record, seat.tag);
    else
        count_sized(&seat, record->size_bytes, seat.tag);
    return result < 0 ? result : 0;
}

/* ---- releasing ---- */

/* Takes at most that from a tag's account; returns how many bytes it got. */
static uint64_t take_from_tag(struct rtd_records *records, uint32_t tag, uint64_t size_bytes)
{
    struct seat seat;
    sit_down(records, tag, &seat);
    const uint64_t got = rtd_slabs_take(&records->slabs, seat.cell, tag, size_bytes);
    if (got != 0)
        rtd_count_up(&seat.cell->out_count, 1, seat.cell_shared);
    if (got == size_bytes && !seat.slab_shared)
        rtd_top_remove(&seat.slab->top, size_bytes, tag);
    return got;
}

static void count_over_released(struct rtd_records *records, uint64_t bytes)
{
    struct rtd_slab *slab = rtd_slabs_get(&records->slabs);
    if (bytes != 0)
        rtd_count_up(&slab->over_released_bytes, bytes, rtd_slab_is_shared(&records->slabs, slab));
}

int rtd_records_take_bytes(struct rtd_records *records, uint32_t tag, uint64_t size_bytes)
{
    if (RTD_UNLIKELY(tag == 0))
        tag = tag_in_force(records);
    if (RTD_UNLIKELY(!rtd_names_has(&records->names, tag) || size_bytes > RTD_RECORDS_SIZE_LIMIT))
        return -EINVAL;
    count_over_released(records, size_bytes - take_from_tag(records, tag, size_bytes));
    return 0;
}

int rtd_records_take_component(struct rtd_records *records, const char *component,
                               uint64_t size_bytes)
{
    uint16_t tags[RTD_NAME_TAGS];
    if (size_bytes > RTD_RECORDS_SIZE_LIMIT)
        return -EINVAL;
    const unsigned count = rtd_names_of_component(&records->names, component, tags);
    for (unsigned i = 0; i < count && size_bytes != 0; i++)
        size_bytes -= take_from_tag(records, tags[i], size_bytes);
    /* A component for whose names there was no room was recorded there. */
    if (size_bytes != 0 && rtd_names_full(&records->names))
        size_bytes -= take_from_tag(records, 1 + RTD_RECORDS_DOMAIN, size_bytes);
    count_over_released(records, size_bytes);
    return 0;
}

/* A death as its site sees it; returns the site's tag. */
static uint32_t leave_site(struct rtd_records *records, const struct rtd_block *block,
                           unsigned bucket, bool temporary)
{
    const uint32_t number = block->place - RTD_PLACE_SITE;
    struct rtd_site *site = rtd_sites_lock_number(&records->sites, number);
    const uint32_t tag = site->tag;
    site->deaths++;
    site->death_bytes += rtd_sized_bytes(block->sized);
    site->temporary += temporary;
    if (bucket != 0)
        site->ages[bucket - 1]++;
    rtd_sites_unlock(&records->sites, number);
    return tag;
}

int rtd_records_take_block(struct rtd_records *records, uint64_t address)
{
    struct rtd_block block;
    struct seat seat;
    struct rtd_slab *slab = rtd_slabs_get(&records->slabs);
    const bool shared = rtd_slab_is_shared(&records->slabs, slab);
    if (rtd_blocks_remove(&records->blocks, address, &block) < 0) {
        rtd_count_up(&slab->unknown_releases, 1, shared);
        return RIPTIDE_E_UNKNOWN_BLOCK;
    }
    const uint32_t now = rtd_stamp_of(rtd_clock_now_ms(&records->clock));
    /* A birth that was stated to be later than now has no age. */
    const unsigned bucket =
        now > block.birth ? rtd_age_bucket(rtd_stamp_ms(now) - rtd_stamp_ms(block.birth)) : 0;
    const bool temporary =
        !shared && atomic_load_explicit(&slab->last_address, RELAXED) == (uintptr_t)address;
    const uint32_t tag =
        block.place < RTD_PLACE_SITE ? block.place : leave_site(records, &block, bucket, temporary);
    sit_down(records, tag, &seat);
    count_death(&seat, rtd_sized_bytes(block.sized));
    if (temporary)
        rtd_count_up(&seat.cell->temporary, 1, seat.cell_shared);
    if (bucket != 0)
        atomic_fetch_add_explicit(&seat.cell->ages[bucket - 1], 1, RELAXED);
    return 0;
}
