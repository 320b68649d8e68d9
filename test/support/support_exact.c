// SPDX-License-Identifier: Apache-2.0
/*
 * support_exact.c - exact ledgers with known contents, written without an agent.
 *
 * Runs in:    tests, fuzz drivers
 * Threads:    none
 * Allocates:  one memfd and one mapping of the whole of it
 * Fails:      by abort()
 */
#include "../support/support_exact.h"

#include "base/base_math.h"
#include "ledger/ledger_exact_writer.h"

#include <stdlib.h>
#include <sys/mman.h>

#define ADD(field, value) atomic_fetch_add_explicit(&(field), value, memory_order_relaxed)

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct rtd_support_exact *rtd_support_exact_new(void)
{
    const struct rtd_ledger_options options = {
        .mode = RTD_MODE_EXACT, .interval_bytes = 1, .seed = 1, .session = 77};
    struct rtd_support_exact *const made = calloc(1, sizeof(*made));

    require(made != NULL);
    require(rtd_ledger_create(&options, &made->handle) == 0);
    void *const mapping = mmap(NULL, RTD_LEDGER_EXACT_BYTES, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_NORESERVE, made->handle.fd, 0);
    require(mapping != MAP_FAILED);
    made->whole = mapping;
    made->exact = rtd_exact_of(made->whole);
    rtd_ledger_tick(made->whole, 100000);
    return made;
}

void rtd_support_exact_free(struct rtd_support_exact *made)
{
    munmap(made->whole, RTD_LEDGER_EXACT_BYTES);
    rtd_ledger_close(&made->handle);
    free(made);
}

uint32_t rtd_support_exact_site(struct rtd_support_exact *made, const uint64_t *pcs, unsigned count,
                                uint32_t tag)
{
    uint32_t node = rtd_node_root(0, false);
    bool added;

    for (unsigned i = 0; i < count; i++) {
        node = rtd_exact_node_insert(made->exact, node, pcs[i], &added);
        require(node != RTD_NONE);
    }
    return rtd_exact_site_insert(made->whole, count == 0 ? 0 : node, tag, 500);
}

/* What the agent does before a counter changes. */
static struct rtd_exact_counter *counter_of(struct rtd_support_exact *made,
                                            const struct rtd_support_event *event)
{
    struct rtd_exact_counter *const counter = &made->exact->counters[event->block][event->site];
    const uint32_t epoch = atomic_load(&made->exact->header.peak_epoch);

    if (atomic_load(&counter->peak_epoch) != epoch) {
        atomic_store(&counter->peak_bytes, (int64_t)(atomic_load(&counter->allocated_bytes) -
                                                     atomic_load(&counter->freed_bytes)));
        atomic_store(&counter->peak_blocks,
                     (int32_t)(atomic_load(&counter->allocations) - atomic_load(&counter->frees)));
        atomic_store(&counter->peak_epoch, epoch);
    }
    return counter;
}

void rtd_support_exact_birth(struct rtd_support_exact *made, const struct rtd_support_event *event)
{
    struct rtd_exact_counter *const counter = counter_of(made, event);
    struct rtd_exact_thread *const thread = &made->exact->threads[event->block];

    ADD(counter->allocations, 1);
    ADD(counter->allocated_bytes, event->size);
    ADD(made->exact->header.live_bytes, (int64_t)event->size);
    atomic_store(&counter->last_ms, 600);
    if (event->size > atomic_load(&counter->max_size)) {
        atomic_store(&counter->max_size, (uint32_t)event->size);
    }
    if (event->size >= 1024) {
        ADD(thread->size_class[event->size < 65536 ? 1 : event->size < 1 << 20 ? 2 : 3], 1);
    }
    if (event->size > 1 << 20) {
        ADD(made->exact->lifetimes[event->block][event->site].large, 1);
    }
}

void rtd_support_exact_death(struct rtd_support_exact *made, const struct rtd_support_event *event)
{
    struct rtd_exact_counter *const counter = counter_of(made, event);

    ADD(counter->frees, 1);
    ADD(counter->freed_bytes, event->size);
    ADD(counter->temporary, event->temporary ? 1 : 0);
    ADD(made->exact->header.live_bytes, -(int64_t)event->size);
    if (event->age_bucket != 0) {
        ADD(made->exact->lifetimes[event->block][event->site].deaths[event->age_bucket - 1], 1);
    }
}

void rtd_support_exact_peak(struct rtd_support_exact *made, uint64_t time_ms)
{
    struct rtd_exact_header *const header = &made->exact->header;

    atomic_store(&header->peak_bytes, atomic_load(&header->live_bytes));
    atomic_store(&header->peak_ms, time_ms);
    ADD(header->peak_epoch, 1);
}

void rtd_support_exact_block(struct rtd_support_exact *made, uint64_t address, uint32_t site,
                             uint64_t size, uint64_t birth_ms)
{
    const uint64_t region = 1 + (address >> RTD_SHADOW_REGION_BITS);
    uint64_t shown = 0;
    uint32_t leaf = 0;

    while (atomic_load(&made->exact->leaf_regions[leaf]) != region) {
        if (atomic_load(&made->exact->leaf_regions[leaf]) == 0) {
            atomic_store(&made->exact->leaf_regions[leaf], region);
            ADD(made->exact->header.leaf_count, 1);
        } else {
            leaf++;
        }
    }
    _Atomic uint64_t *const word =
        &made->exact->shadow[leaf][(address & ((UINT64_C(1) << RTD_SHADOW_REGION_BITS) - 1)) >>
                                   RTD_SHADOW_GRANULE_SHIFT];
    if (size > RTD_SHADOW_SIZE_MASK)
        atomic_store(word + RTD_SHADOW_SIZE_WORDS, size << RTD_SHADOW_SIZE_WORD_SHIFT);
    else
        shown = RTD_SHADOW_SMALL | size << RTD_SHADOW_SIZE_SHIFT;
    atomic_store(word, (uint64_t)site << RTD_SHADOW_SITE_SHIFT | RTD_SHADOW_USED | shown |
                           (address >> 4 & 1) << RTD_SHADOW_HALF_SHIFT |
                           (birth_ms / RTD_LIFETIME_UNIT_MS & RTD_SHADOW_BIRTH_MASK)
                               << RTD_SHADOW_BIRTH_SHIFT);
}

static void fill_tables(struct rtd_support_exact *made)
{
    static const uint8_t build_id[RTD_BUILD_ID_BYTES] = {0xde, 0xad, 0xbe, 0xef};
    const struct rtd_module_value module = {
        0x555500000000, 0x555500100000, 0x555500000000, 0, 8, build_id, ""};

    require(rtd_module_append(made->whole, &module));
    require(rtd_tag_insert(made->whole, "extraction", "parse_html") == RTD_TAG_FIRST);
    require(rtd_tag_insert(made->whole, "rendering", "frame") == RTD_TAG_FIRST + 1);
}

void rtd_support_exact_fill(struct rtd_support_exact *made, uint64_t seed, unsigned events)
{
    uint64_t state = seed, pcs[12];

    if (atomic_load(&made->whole->header.module_count) == 0) {
        fill_tables(made);
    }
    for (unsigned i = 0; i < events; i++) {
        const unsigned depth = 1 + (unsigned)(rtd_random_next(&state) % RTD_ARRAY_LENGTH(pcs));
        const uint32_t tag = (uint32_t)(rtd_random_next(&state) % 3);
        for (unsigned k = 0; k < depth; k++) {
            pcs[k] = UINT64_C(0x555500000010) + 32 * (rtd_random_next(&state) % 3) + k;
        }
        struct rtd_support_event event = {
            .block = (uint32_t)(rtd_random_next(&state) % 5) * 128,
            .site = rtd_support_exact_site(made, pcs, depth, tag == 0 ? 0 : RTD_TAG_OTHER + tag),
            .size = 1 + rtd_random_next(&state) % (UINT64_C(1) << (i % 24)),
            .age_bucket = (unsigned)(rtd_random_next(&state) % RTD_LIFETIME_BUCKETS),
            .temporary = i % 7 == 0,
        };
        rtd_support_exact_birth(made, &event);
        if (i % 3 == 0) {
            event.block = 0; /* another thread frees it */
            rtd_support_exact_death(made, &event);
        } else {
            rtd_support_exact_block(made, UINT64_C(0x7f0000000000) + (uint64_t)i * 64, event.site,
                                    event.size < 64 ? event.size : 64, 1000 + i);
        }
        if (i == events / 2) {
            rtd_support_exact_peak(made, 2000);
        }
    }
}
