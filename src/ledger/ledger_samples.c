// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_samples.c - the live sampled objects: a bounded table without tombstones.
 *
 * Runs in:    agent (slow paths of malloc and free), tests
 * Threads:    any number of writers, lock-free
 * Allocates:  never; no syscall, no lock, no libc call
 * Fails:      RTD_SAMPLE_FULL when both buckets of an address are full
 *
 * An address has two buckets of seven slots. It goes to the first one that has room; `spilled` of
 * its first bucket counts the samples that went to their second, so that looking up an address
 * that is not sampled reads one cache line nearly always. A slot is free when its address is 0:
 * removal leaves nothing behind, so the cost of a lookup does not grow with the age of the process.
 *
 * Who may write a slot. An address stands in the table only while its block is allocated, and the
 * program's allocator gives an address to one owner at a time; so insert and take of one address
 * never run at once in a correct program, and in a wrong one (double free) the compare-and-swap
 * lets one of them win. Insert claims a slot with BUSY, fills the record, then publishes the
 * address. Thinning races with take; both remove by compare-and-swap.
 */
#include "base/base_math.h"
#include "ledger/ledger_writer.h"

#define RELAXED memory_order_relaxed
#define BUSY    UINT64_C(1) /* no block has this address */

struct slot {
    uint32_t bucket, index;
    bool second; /* in the address's second bucket */
};

static uint32_t first_bucket(uint64_t address)
{
    return (uint32_t)(((address >> 4) * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - RTD_BUCKET_BITS));
}

static uint32_t second_bucket(uint64_t address)
{
    const uint32_t other =
        (uint32_t)(((address >> 4) * UINT64_C(0xc2b2ae3d27d4eb4f)) >> (64 - RTD_BUCKET_BITS));
    return other != first_bucket(address) ? other : other ^ 1;
}

static _Atomic uint64_t *address_at(struct rtd_ledger *ledger, struct slot slot)
{
    return &ledger->buckets[slot.bucket].address[slot.index];
}

static struct rtd_sample *record_at(struct rtd_ledger *ledger, struct slot slot)
{
    return &ledger->samples[slot.bucket * 8 + slot.index];
}

static bool find_in(struct rtd_ledger *ledger, uint32_t bucket, uint64_t word, struct slot *slot)
{
    for (uint32_t i = 0; i < RTD_BUCKET_SLOTS; i++) {
        /* Acquire pairs with the publishing store in rtd_sample_insert(): the record is whole. */
        if (atomic_load_explicit(&ledger->buckets[bucket].address[i], memory_order_acquire) ==
            word) {
            slot->bucket = bucket;
            slot->index = i;
            return true;
        }
    }
    return false;
}

static bool find(struct rtd_ledger *ledger, uint64_t address, struct slot *slot)
{
    const uint32_t first = first_bucket(address);
    slot->second = false;
    if (find_in(ledger, first, address, slot))
        return true;
    if (atomic_load_explicit(&ledger->buckets[first].spilled, RELAXED) == 0)
        return false;
    slot->second = true;
    return find_in(ledger, second_bucket(address), address, slot);
}

static bool claim_in(struct rtd_ledger *ledger, uint32_t bucket, struct slot *slot)
{
    while (find_in(ledger, bucket, 0, slot)) {
        uint64_t empty = 0;
        if (atomic_compare_exchange_strong_explicit(address_at(ledger, *slot), &empty, BUSY,
                                                    memory_order_acquire, RELAXED))
            return true;
    }
    return false;
}

/* Marks the record as being written (seq odd) or whole (even); readers retry between. */
static void write_record(struct rtd_sample *record, const struct rtd_sample_value *value)
{
    const uint32_t seq = atomic_load_explicit(&record->seq, RELAXED) | 1;
    atomic_store_explicit(&record->seq, seq, RELAXED);
    /* Pairs with the reader's acquire fence: it sees the odd seq if it sees any field below. */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&record->size, value->size, RELAXED);
    atomic_store_explicit(&record->interval, value->interval, RELAXED);
    atomic_store_explicit(&record->site, value->site, RELAXED);
    atomic_store_explicit(&record->thread, value->thread, RELAXED);
    atomic_store_explicit(&record->birth_ms, value->birth_ms, RELAXED);
    atomic_store_explicit(&record->seq, seq + 1, memory_order_release);
}

static void read_record(const struct rtd_sample *record, struct rtd_sample_value *value)
{
    value->size = atomic_load_explicit(&record->size, RELAXED);
    value->interval = atomic_load_explicit(&record->interval, RELAXED);
    value->site = atomic_load_explicit(&record->site, RELAXED);
    value->thread = atomic_load_explicit(&record->thread, RELAXED);
    value->birth_ms = atomic_load_explicit(&record->birth_ms, RELAXED);
    if (value->site >= RTD_SITE_COUNT)
        value->site = RTD_SITE_OVERFLOW;
}

/* Keeps the agent's own running estimate of live bytes, from which the peak is known between reads.
 */
static void live_bytes_add(struct rtd_ledger *ledger, uint64_t weight, uint32_t now_ms)
{
    const uint64_t live =
        atomic_fetch_add_explicit(&ledger->header.live_bytes, weight, RELAXED) + weight;
    uint64_t peak = atomic_load_explicit(&ledger->header.peak_live_bytes, RELAXED);
    while ((int64_t)live > 0 && live > peak) {
        if (atomic_compare_exchange_weak_explicit(&ledger->header.peak_live_bytes, &peak, live,
                                                  RELAXED, RELAXED)) {
            atomic_store_explicit(&ledger->header.peak_ms, now_ms, RELAXED);
            break;
        }
    }
}

static void live_bytes_subtract(struct rtd_ledger *ledger, uint64_t weight)
{
    atomic_fetch_sub_explicit(&ledger->header.live_bytes, weight, RELAXED);
}

/* Empties a slot that still holds address; false when somebody else did. */
static bool remove_at(struct rtd_ledger *ledger, struct slot slot, uint64_t address)
{
    uint64_t expected = address;
    if (!atomic_compare_exchange_strong_explicit(address_at(ledger, slot), &expected, 0,
                                                 memory_order_acq_rel, RELAXED))
        return false;
    if (slot.second)
        atomic_fetch_sub_explicit(&ledger->buckets[first_bucket(address)].spilled, 1, RELAXED);
    atomic_fetch_sub_explicit(&ledger->header.live_samples, 1, RELAXED);
    return true;
}

enum rtd_sample_result rtd_sample_insert(struct rtd_ledger *ledger, uint64_t address,
                                         const struct rtd_sample_value *value)
{
    struct slot slot;
    const uint64_t weight = rtd_sample_weight(value->size, value->interval);
    if (find(ledger, address, &slot)) {
        struct rtd_sample_value stale;
        read_record(record_at(ledger, slot), &stale);
        live_bytes_subtract(ledger, rtd_sample_weight(stale.size, stale.interval));
        write_record(record_at(ledger, slot), value);
        live_bytes_add(ledger, weight, value->birth_ms);
        return RTD_SAMPLE_REPLACED;
    }
    const uint32_t first = first_bucket(address);
    slot.second = false;
    if (!claim_in(ledger, first, &slot)) {
        slot.second = true;
        if (!claim_in(ledger, second_bucket(address), &slot))
            return RTD_SAMPLE_FULL;
        /* Before the address: a lookup that needs the second bucket must know of it. */
        atomic_fetch_add_explicit(&ledger->buckets[first].spilled, 1, RELAXED);
    }
    write_record(record_at(ledger, slot), value);
    atomic_fetch_add_explicit(&ledger->header.live_samples, 1, RELAXED);
    atomic_store_explicit(address_at(ledger, slot), address, memory_order_release);
    live_bytes_add(ledger, weight, value->birth_ms);
    return RTD_SAMPLE_STORED;
}

bool rtd_sample_take(struct rtd_ledger *ledger, uint64_t address, struct rtd_sample_value *value)
{
    struct slot slot;
    if (!find(ledger, address, &slot))
        return false;
    read_record(record_at(ledger, slot), value);
    if (!remove_at(ledger, slot, address))
        return false;
    live_bytes_subtract(ledger, rtd_sample_weight(value->size, value->interval));
    return true;
}

/*
 * Doubles one sample's interval, or removes it, when the interval is below limit. True when it was
 * removed. Whoever doubles throws the coin: two threads that thin one sample at once must not throw
 * twice for one doubling.
 *
 * Why the limit: samples that were thinned before and outlived their crowd are sparse already.
 * Doubling them with every new crowd would leave a few of enormous weight.
 */
static bool thin_one(struct rtd_ledger *ledger, struct slot slot, uint64_t limit,
                     uint64_t *random_state)
{
    const uint64_t address = atomic_load_explicit(address_at(ledger, slot), memory_order_acquire);
    if (address == 0 || address == BUSY)
        return false;
    struct rtd_sample *const record = record_at(ledger, slot);
    struct rtd_sample_value value;
    read_record(record, &value);
    if (value.interval == 0 || value.interval > UINT32_MAX / 2 || value.interval >= limit)
        return false;
    uint32_t before = value.interval;
    if (!atomic_compare_exchange_strong_explicit(&record->interval, &before, value.interval * 2,
                                                 RELAXED, RELAXED))
        return false;
    const uint64_t doubled = rtd_sample_weight(value.size, value.interval * 2);
    atomic_fetch_add_explicit(&ledger->header.live_bytes,
                              doubled - rtd_sample_weight(value.size, value.interval), RELAXED);
    const double size = (double)value.size + 1.0;
    const double keep = rtd_math_one_minus_exp_neg(size / (2.0 * value.interval)) /
                        rtd_math_one_minus_exp_neg(size / value.interval);
    if (rtd_random_unit(random_state) <= keep)
        return false;
    slot.second = slot.bucket != first_bucket(address);
    if (!remove_at(ledger, slot, address))
        return false;
    live_bytes_subtract(ledger, doubled);
    return true;
}

static unsigned thin_bucket(struct rtd_ledger *ledger, uint32_t bucket, uint64_t limit,
                            uint64_t *random_state)
{
    unsigned removed = 0;
    for (uint32_t index = 0; index < RTD_BUCKET_SLOTS; index++)
        removed += thin_one(ledger, (struct slot){bucket, index, false}, limit, random_state);
    return removed;
}

/* The smallest interval in a bucket, or `least` when that is smaller. */
static uint64_t least_interval(const struct rtd_ledger *ledger, uint32_t bucket, uint64_t least)
{
    for (uint32_t index = 0; index < RTD_BUCKET_SLOTS; index++) {
        if (atomic_load_explicit(&ledger->buckets[bucket].address[index], memory_order_acquire) <=
            BUSY)
            continue;
        const uint32_t interval =
            atomic_load_explicit(&ledger->samples[bucket * 8 + index].interval, RELAXED);
        if (interval < least)
            least = interval;
    }
    return least;
}

void rtd_sample_make_room(struct rtd_ledger *ledger, uint64_t address, uint64_t *random_state)
{
    unsigned removed = 0;
    /* Blocks much larger than their interval are kept until it has grown to their size. */
    const uint32_t first = first_bucket(address), second = second_bucket(address);
    for (int doubling = 0; doubling < 32 && removed == 0; doubling++) {
        const uint64_t least =
            least_interval(ledger, second, least_interval(ledger, first, UINT32_MAX / 2));
        removed = thin_bucket(ledger, first, least * 2, random_state) +
                  thin_bucket(ledger, second, least * 2, random_state);
    }
    rtd_loss_add(ledger, RTD_LOSS_SAMPLES_THINNED, removed);
}

unsigned rtd_sample_thin(struct rtd_ledger *ledger, uint64_t *random_state)
{
    uint32_t idle = 0;
    unsigned removed = 0;
    if (!atomic_compare_exchange_strong_explicit(&ledger->header.thinning, &idle, 1,
                                                 memory_order_acquire, RELAXED))
        return 0;
    /* First the shift: samples stored from here on already carry the doubled interval. */
    const uint32_t shift = atomic_fetch_add_explicit(&ledger->header.storage_shift, 1, RELAXED) + 1;
    const uint64_t interval =
        atomic_load_explicit(&ledger->header.interval_bytes, RELAXED) & UINT32_MAX;
    const uint64_t limit = interval << (shift < 32 ? shift : 32);
    for (uint32_t bucket = 0; bucket < RTD_BUCKET_COUNT; bucket++)
        removed += thin_bucket(ledger, bucket, limit, random_state);
    rtd_loss_add(ledger, RTD_LOSS_SAMPLES_THINNED, removed);
    atomic_store_explicit(&ledger->header.thinning, 0, memory_order_release);
    return removed;
}
