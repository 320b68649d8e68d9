// SPDX-License-Identifier: Apache-2.0
/*
 * history_decode_exact.c - payloads of exact mode, from bytes to memory.
 *
 * Runs in:    report
 * Threads:    no shared state
 * Allocates:  the exact part of an image
 * Fails:      -EBADMSG for a payload that is not what its type says, -ENOMEM
 */
#include "history/history_block.h"
#include "history/history_decode.h"
#include "ledger/ledger_validity.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* The shortest rows there can be: what a count must be matched by. */
enum { NODE_LEAST_BYTES = 3, ROW_LEAST_BYTES = 15, BLOCK_LEAST_BYTES = 4 };

static uint32_t get_u32_varint(struct rtd_cursor *in)
{
    const uint64_t value = rtd_cursor_get_varint(in);

    return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static int decode_nodes(struct rtd_decode_process *process, struct rtd_image *image,
                        struct rtd_cursor *in)
{
    const uint32_t count = rtd_cursor_get_u32(in);
    uint64_t pc = 0;

    if (count > RTD_EXACT_NODE_COUNT || !rtd_cursor_expect(in, count, NODE_LEAST_BYTES)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count && !in->failed; i++) {
        struct rtd_image_node node = {.id = get_u32_varint(in)};
        node.parent = get_u32_varint(in);
        pc += (uint64_t)rtd_cursor_get_signed(in);
        node.pc = pc;
        if (in->failed || !rtd_validity_check_exact_node(&node)) {
            process->refused++;
        } else if (rtd_image_exact_add(image, &node) < 0) {
            return -ENOMEM;
        }
    }
    return in->failed ? -EBADMSG : 0;
}

static void decode_row(struct rtd_cursor *in, struct rtd_image_site *site,
                       struct rtd_image_count *count)
{
    site->stack = get_u32_varint(in);
    site->tag = get_u32_varint(in);
    site->first_ms = get_u32_varint(in);
    site->last_ms = get_u32_varint(in);
    site->births = rtd_cursor_get_varint(in);
    count->allocated_bytes = rtd_cursor_get_varint(in);
    site->deaths = rtd_cursor_get_varint(in);
    count->freed_bytes = rtd_cursor_get_varint(in);
    count->temporary = rtd_cursor_get_varint(in);
    count->peak_bytes = rtd_cursor_get_varint(in);
    count->peak_blocks = rtd_cursor_get_varint(in);
    site->large_births = rtd_cursor_get_varint(in);
    site->max_size = rtd_cursor_get_varint(in);
    const uint32_t aged = get_u32_varint(in);
    for (unsigned i = 1; i < RTD_LIFETIME_BUCKETS; i++) {
        site->lifetime[i] = (aged >> i & 1) != 0 ? get_u32_varint(in) : 0;
    }
    count->live_bytes = count->allocated_bytes - count->freed_bytes;
    count->live_blocks = site->births - site->deaths;
}

static int decode_sites(struct rtd_decode_process *process, struct rtd_image *image, bool is_delta,
                        struct rtd_cursor *in)
{
    const uint32_t site_count = rtd_cursor_get_u32(in);
    const uint32_t rows = rtd_cursor_get_u32(in);
    uint32_t next = 0;

    if (site_count == 0 || site_count > RTD_EXACT_SITE_COUNT || rows > site_count ||
        !rtd_cursor_expect(in, rows, ROW_LEAST_BYTES)) {
        return -EBADMSG;
    }
    if (!is_delta) {
        image->site_count = 0; /* whatever was there begins as zeros again */
    }
    if (site_count > image->site_count && rtd_image_exact_reserve(image, site_count) != 0) {
        image->site_count = 1;
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < rows; i++) {
        struct rtd_image_site site = {0};
        struct rtd_image_count count = {0};
        bool torn = false;
        const uint64_t skipped = rtd_cursor_get_varint(in);
        decode_row(in, &site, &count);
        if (in->failed || skipped >= site_count - next) {
            return -EBADMSG;
        }
        next += (uint32_t)skipped;
        /* The clock is not known yet. */
        if (site.tag >= RTD_TAG_COUNT ||
            !rtd_validity_check_count(&site, &count, UINT64_MAX, &torn)) {
            process->refused++;
            site = (struct rtd_image_site){0};
            count = (struct rtd_image_count){0};
        }
        image->sites[next] = site;
        image->exact->counts[next] = count;
        next++;
        if (next == site_count && i + 1 < rows) {
            return -EBADMSG;
        }
    }
    return 0;
}

static int decode_blocks(struct rtd_decode_process *process, struct rtd_image *image,
                         struct rtd_cursor *in)
{
    const double share = rtd_cursor_get_f64(in);
    const uint32_t count = rtd_cursor_get_u32(in);
    uint64_t address = 0;

    if (!isfinite(share) || share < 0 || share > 1 || count > RTD_SAMPLE_CAPACITY ||
        !rtd_cursor_expect(in, count, BLOCK_LEAST_BYTES)) {
        return -EBADMSG;
    }
    image->sample_count = 0;
    image->exact->block_share = share;
    for (uint32_t i = 0; i < count && !in->failed; i++) {
        struct rtd_image_sample sample = {.interval = 1};
        address += (uint64_t)rtd_cursor_get_signed(in);
        sample.address = address;
        sample.size = rtd_cursor_get_varint(in);
        sample.site = get_u32_varint(in);
        sample.birth_ms = get_u32_varint(in);
        /* Which sites there are is known when all blocks are in. */
        if (in->failed || sample.site >= RTD_EXACT_SITE_COUNT ||
            !rtd_validity_check_sample(&sample)) {
            process->refused++;
            continue;
        }
        image->samples[image->sample_count++] = sample;
    }
    return in->failed ? -EBADMSG : 0;
}

int rtd_decode_exact_block(struct rtd_decode_process *process, uint16_t type, struct rtd_cursor *in)
{
    struct rtd_image *const image = process->record->image;
    const int error = rtd_image_exact_begin(image);

    if (error != 0) {
        return error;
    }
    switch (type) {
    case RTD_BLOCK_EXACT_NODES:
        return decode_nodes(process, image, in);
    case RTD_BLOCK_EXACT_STATE:
        return decode_sites(process, image, false, in);
    case RTD_BLOCK_EXACT_DELTA:
        return decode_sites(process, image, true, in);
    case RTD_BLOCK_EXACT_BLOCKS:
        return decode_blocks(process, image, in);
    default:
        return 0;
    }
}

int rtd_decode_exact_values(struct rtd_image *image, struct rtd_cursor *in)
{
    uint64_t values[RTD_EXACT_VALUES] = {0};
    const uint32_t count = rtd_cursor_get_u32(in);

    if (!rtd_cursor_expect(in, count, 8)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t value = rtd_cursor_get_u64(in);
        if (i < RTD_EXACT_VALUES) {
            values[i] = value < RTD_COUNTER_LIMIT ? value : 0;
        }
    }
    const int error = rtd_image_exact_begin(image);
    if (error == 0) {
        image->exact->unknown_frees = values[0];
        image->exact->missed_frees = values[1];
        image->exact->untracked = values[2];
        image->exact->stack_misses = values[3];
    }
    return error;
}

void rtd_decode_exact_finish(struct rtd_decode_process *process)
{
    struct rtd_image *const image = process->record->image;
    uint32_t kept = 0;
    bool torn = false;

    image->mode = RTD_MODE_EXACT;
    for (uint32_t i = 0; i < image->site_count; i++) {
        (void)rtd_validity_check_count(&image->sites[i], &image->exact->counts[i], image->clock_ms,
                                       &torn);
    }
    for (uint32_t i = 0; i < image->sample_count; i++) {
        if (image->samples[i].site < image->site_count) {
            image->samples[kept++] = image->samples[i];
        } else {
            process->refused++;
        }
    }
    image->sample_count = kept;
}
