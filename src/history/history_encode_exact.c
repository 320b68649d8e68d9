// SPDX-License-Identifier: Apache-2.0
/*
 * history_encode_exact.c - payloads of exact mode: nodes, sites that changed, live blocks.
 *
 * Runs in:    collector
 * Threads:    no shared state
 * Allocates:  in the buffer it is given, and the prints of the sites that the file has
 * Fails:      by the buffer's flag
 *
 * A compiler has a hundred thousand sites of which a second touches a few. So a site is written
 * when its figures differ from those in the file, which a print of 64 bits remembers: one change in
 * 2^64 would be missed until the next one.
 */
#include "history/history_block.h"
#include "history/history_encode.h"

#include <stdlib.h>

static uint64_t mix(uint64_t print, uint64_t value)
{
    print = (print ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return print ^ print >> 29;
}

/* Of everything that a row holds; never 0. */
static uint64_t print_site(const struct rtd_image *image, uint32_t index)
{
    const struct rtd_image_site *const site = &image->sites[index];
    const struct rtd_image_count *const count = &image->exact->counts[index];
    uint64_t print = mix(site->stack, (uint64_t)site->tag << 32 | site->first_ms);

    print = mix(print, site->births);
    print = mix(print, count->allocated_bytes);
    print = mix(print, site->deaths);
    print = mix(print, count->freed_bytes);
    print = mix(print, count->temporary);
    print = mix(print, count->peak_bytes);
    print = mix(print, count->peak_blocks);
    print = mix(print, site->large_births);
    print = mix(print, site->max_size << 32 ^ site->last_ms);
    for (unsigned i = 1; i + 1 < RTD_LIFETIME_BUCKETS; i += 2) {
        print = mix(print, (uint64_t)site->lifetime[i] << 32 | site->lifetime[i + 1]);
    }
    return mix(print, site->lifetime[RTD_LIFETIME_BUCKETS - 1]) | 1;
}

static bool is_used(const struct rtd_image_site *site)
{
    return site->births != 0 || site->deaths != 0;
}

static void encode_row(struct rtd_block_buffer *out, const struct rtd_image *image, uint32_t index,
                       uint32_t skipped)
{
    const struct rtd_image_site *const site = &image->sites[index];
    const struct rtd_image_count *const count = &image->exact->counts[index];
    const uint64_t fields[] = {
        skipped,
        site->stack,
        site->tag,
        (uint32_t)site->first_ms, /* the low half: see rtd_validity_time_ms() */
        (uint32_t)site->last_ms,
        site->births,
        count->allocated_bytes,
        site->deaths,
        count->freed_bytes,
        count->temporary,
        count->peak_bytes,
        count->peak_blocks,
        site->large_births,
        site->max_size,
    };
    uint32_t aged = 0;

    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(fields); i++) {
        rtd_block_buffer_put_varint(out, fields[i]);
    }
    for (unsigned i = 1; i < RTD_LIFETIME_BUCKETS; i++) {
        aged |= (site->lifetime[i] != 0 ? UINT32_C(1) : 0) << i;
    }
    rtd_block_buffer_put_varint(out, aged);
    for (unsigned i = 1; i < RTD_LIFETIME_BUCKETS; i++) {
        if (site->lifetime[i] != 0) {
            rtd_block_buffer_put_varint(out, site->lifetime[i]);
        }
    }
}

uint32_t rtd_encode_exact_sites(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                                const struct rtd_image *image)
{
    const size_t count_at = out->length + 4;
    uint32_t next = 0, count = 0;

    rtd_block_buffer_put_u32(out, image->site_count);
    rtd_block_buffer_put_u32(out, 0);
    for (uint32_t i = 0; i < image->site_count; i++) {
        const bool in_file = known != NULL && i < known->exact_site_count;
        if (in_file ? known->exact_prints[i] == print_site(image, i) : !is_used(&image->sites[i])) {
            continue;
        }
        encode_row(out, image, i, i - next);
        next = i + 1;
        count++;
    }
    rtd_block_buffer_patch_u32(out, count_at, count);
    return count;
}

/* The first node that the file may not have. */
static uint32_t first_node(const struct rtd_encode_known *known, const struct rtd_image *image)
{
    /* Fewer than before: the ledger became another one under us. */
    return known->exact_node_count <= image->exact->node_count ? known->exact_node_count : 0;
}

uint32_t rtd_encode_exact_nodes(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                                const struct rtd_image *image)
{
    const struct rtd_image_exact *const exact = image->exact;
    const uint32_t first = first_node(known, image);
    uint64_t before = 0;

    rtd_block_buffer_put_u32(out, exact->node_count - first);
    for (uint32_t i = first; i < exact->node_count; i++) {
        rtd_block_buffer_put_varint(out, exact->nodes[i].id);
        rtd_block_buffer_put_varint(out, exact->nodes[i].parent);
        rtd_block_buffer_put_signed(out, (int64_t)(exact->nodes[i].pc - before));
        before = exact->nodes[i].pc;
    }
    return exact->node_count - first;
}

void rtd_encode_exact_blocks(struct rtd_block_buffer *out, const struct rtd_image *image)
{
    uint64_t before = 0;

    rtd_block_buffer_put_f64(out, image->exact->block_share);
    rtd_block_buffer_put_u32(out, image->sample_count);
    for (uint32_t i = 0; i < image->sample_count; i++) {
        const struct rtd_image_sample *const sample = &image->samples[i];
        rtd_block_buffer_put_signed(out, (int64_t)(sample->address - before));
        rtd_block_buffer_put_varint(out, sample->size);
        rtd_block_buffer_put_varint(out, sample->site);
        rtd_block_buffer_put_varint(out, (uint32_t)sample->birth_ms);
        before = sample->address;
    }
}

void rtd_encode_exact_update(struct rtd_encode_known *known, const struct rtd_image *image)
{
    known->exact_node_count = image->exact->node_count;
    if (image->site_count > known->exact_site_room) {
        const uint32_t room = image->site_count + image->site_count / 4;
        void *const prints = realloc(known->exact_prints, room * sizeof(known->exact_prints[0]));
        if (prints == NULL) {
            known->exact_site_count = 0;
            return;
        }
        known->exact_prints = prints;
        known->exact_site_room = room;
    }
    for (uint32_t i = 0; i < image->site_count; i++) {
        known->exact_prints[i] = print_site(image, i);
    }
    known->exact_site_count = image->site_count;
}
