// SPDX-License-Identifier: Apache-2.0
/*
 * history_decode.c - payloads of a recording's blocks, from bytes to memory.
 *
 * Runs in:    report
 * Threads:    no shared state
 * Allocates:  images, the rows of series, symbols
 * Fails:      -EBADMSG for a payload that is not what its type says, -ENOMEM
 *
 * A block that fails may have added entries before its damage; they passed the checks, and a table
 * that only grows is right with any part of it. Blocks that replace are checked before they do.
 */
#include "history/history_decode.h"

#include "history/history_block.h"
#include "history/history_maps.h"
#include "ledger/ledger_validity.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SITE_BYTES = 160,
    SAMPLE_BYTES = 32,
    NODE_BYTES = 12,
    POINT_BYTES = 24,
};

static int ended(const struct rtd_cursor *in)
{
    /* Bytes behind what is known are a later version's additions. */
    return in->failed ? -EBADMSG : 0;
}

static struct rtd_image *image_of(struct rtd_decode_process *process)
{
    if (process->record->image == NULL) {
        process->record->image = rtd_image_new();
    }
    return process->record->image;
}

static int decode_meta(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_process_meta meta = {.id = process->record->meta.id};

    meta.pid = rtd_cursor_get_u32(in);
    meta.parent_pid = rtd_cursor_get_u32(in);
    meta.kind = rtd_cursor_get_u32(in);
    meta.status = rtd_cursor_get_u32(in);
    meta.exit_code = (int32_t)rtd_cursor_get_u32(in);
    meta.signal = (int32_t)rtd_cursor_get_u32(in);
    meta.started_unix_ns = rtd_cursor_get_u64(in);
    meta.ended_unix_ns = rtd_cursor_get_u64(in);
    rtd_cursor_get_text(in, meta.command, sizeof(meta.command));
    rtd_cursor_get_text(in, meta.executable, sizeof(meta.executable));
    rtd_cursor_get_text(in, meta.program, sizeof(meta.program));
    rtd_cursor_get_text(in, meta.allocator, sizeof(meta.allocator));
    rtd_cursor_get_text(in, meta.blind_reason, sizeof(meta.blind_reason));
    if (meta.status < RTD_PROCESS_RUNNING || meta.status > RTD_PROCESS_REPLACED) {
        return -EBADMSG;
    }
    if (in->failed) {
        return -EBADMSG;
    }
    process->record->meta = meta;
    process->has_meta = true;
    return 0;
}

static int decode_modules(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_image *const image = image_of(process);
    const uint32_t count = rtd_cursor_get_u32(in);

    if (image == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count && !in->failed; i++) {
        struct rtd_image_module module = {.start = rtd_cursor_get_u64(in)};
        module.end = rtd_cursor_get_u64(in);
        module.bias = rtd_cursor_get_u64(in);
        module.generation = rtd_cursor_get_u32(in);
        module.build_id_bytes = rtd_cursor_get_u32(in);
        const uint8_t *const build_id = rtd_cursor_get_bytes(in, module.build_id_bytes);
        rtd_cursor_get_text(in, module.name, sizeof(module.name));
        if (in->failed || module.build_id_bytes > sizeof(module.build_id)) {
            return -EBADMSG;
        }
        memcpy(module.build_id, build_id, module.build_id_bytes);
        if (image->module_count == RTD_MODULE_COUNT || !rtd_validity_check_module(&module)) {
            process->refused++;
            continue;
        }
        image->modules[image->module_count++] = module;
    }
    return ended(in);
}

static int decode_tags(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_image *const image = image_of(process);
    const uint32_t count = rtd_cursor_get_u32(in);

    if (image == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count && !in->failed; i++) {
        struct rtd_image_tag tag = {.component = ""};
        const uint32_t id = rtd_cursor_get_u32(in);
        rtd_cursor_get_text(in, tag.component, sizeof(tag.component));
        rtd_cursor_get_text(in, tag.operation, sizeof(tag.operation));
        if (in->failed || id < RTD_TAG_FIRST || id >= RTD_TAG_COUNT) {
            return -EBADMSG;
        }
        image->tags[id] = tag;
        image->tag_count = id >= image->tag_count ? id + 1 : image->tag_count;
    }
    return ended(in);
}

static int decode_nodes(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_image *const image = image_of(process);
    const uint32_t count = rtd_cursor_get_u32(in);

    if (image == NULL) {
        return -ENOMEM;
    }
    if (!rtd_cursor_expect(in, count, NODE_BYTES)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t id = rtd_cursor_get_u32(in);
        const uint64_t word = rtd_cursor_get_u64(in);
        if (rtd_validity_check_node(id, word)) {
            image->nodes[id] = word;
            image->empty_node_pages[id / RTD_NODES_PER_PAGE] = false;
        } else {
            process->refused++;
        }
    }
    return ended(in);
}

/* Counts that a later version may raise: takes what fits, skips the rest. */
static void get_f64_list(struct rtd_cursor *in, double *out, uint32_t most)
{
    const uint32_t count = rtd_cursor_get_u32(in);

    if (!rtd_cursor_expect(in, count, 8)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const double value = rtd_cursor_get_f64(in);
        if (i < most) {
            out[i] = value;
        }
    }
}

static void get_u64_list(struct rtd_cursor *in, uint64_t *out, uint32_t most)
{
    const uint32_t count = rtd_cursor_get_u32(in);

    if (!rtd_cursor_expect(in, count, 8)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t value = rtd_cursor_get_u64(in);
        if (i < most) {
            out[i] = value;
        }
    }
}

static int decode_values(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_image *const image = image_of(process);

    if (image == NULL) {
        return -ENOMEM;
    }
    /* The shortest payload there can be, so that the fields below are all there. */
    if (in->left < 128) {
        return -EBADMSG;
    }
    image->created_unix_ns = rtd_cursor_get_u64(in);
    image->clock_ms = rtd_cursor_get_u64(in);
    image->interval_bytes = rtd_cursor_get_u64(in);
    image->session = rtd_cursor_get_u64(in);
    image->mode = rtd_cursor_get_u32(in);
    image->interval_fixed = rtd_cursor_get_u32(in) != 0;
    image->target_pid = rtd_cursor_get_u32(in);
    image->agent_state = rtd_cursor_get_u32(in);
    image->agent_reason = rtd_cursor_get_u32(in);
    image->agent_kind = rtd_cursor_get_u32(in);
    image->target_start = rtd_cursor_get_u64(in);
    image->generation = rtd_cursor_get_u32(in);
    image->storage_shift = rtd_cursor_get_u32(in);
    image->peak_live_bytes = rtd_cursor_get_u64(in);
    image->peak_ms = rtd_cursor_get_u64(in);
    image->samples_taken = rtd_cursor_get_u64(in);
    image->counted_bytes = rtd_cursor_get_u64(in);
    image->allocator_module_start = rtd_cursor_get_u64(in);
    image->rejected = rtd_cursor_get_u64(in);
    get_f64_list(in, image->size_class_count, RTD_SIZE_CLASSES);
    get_u64_list(in, image->loss, RTD_LOSS_COUNT);
    process->refused += rtd_validity_check_header(image);
    if (ended(in) != 0 || image->mode != RTD_MODE_EXACT || in->left == 0) {
        return ended(in);
    }
    return rtd_decode_exact_values(image, in);
}

static void decode_site(struct rtd_cursor *in, struct rtd_image_site *site)
{
    site->stack = rtd_cursor_get_u32(in);
    site->tag = rtd_cursor_get_u32(in);
    site->first_ms = rtd_cursor_get_u32(in);
    site->last_ms = rtd_cursor_get_u32(in);
    site->births = rtd_cursor_get_u64(in);
    site->birth_bytes = rtd_cursor_get_f64(in);
    site->birth_count = rtd_cursor_get_f64(in);
    site->birth_bytes_var = rtd_cursor_get_f64(in);
    site->birth_count_var = rtd_cursor_get_f64(in);
    site->deaths = rtd_cursor_get_u64(in);
    site->death_bytes = rtd_cursor_get_f64(in);
    site->death_count = rtd_cursor_get_f64(in);
    site->large_births = rtd_cursor_get_u64(in);
    site->max_size = rtd_cursor_get_u64(in);
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++) {
        site->lifetime[i] = rtd_cursor_get_u32(in);
    }
}

static void decode_samples(struct rtd_decode_process *process, struct rtd_cursor *in,
                           uint32_t count)
{
    struct rtd_image *const image = process->record->image;

    image->sample_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct rtd_image_sample sample = {.address = rtd_cursor_get_u64(in)};
        sample.size = rtd_cursor_get_u64(in);
        sample.site = rtd_cursor_get_u32(in);
        sample.interval = rtd_cursor_get_u32(in);
        sample.thread = rtd_cursor_get_u32(in);
        sample.birth_ms = rtd_cursor_get_u32(in);
        if (sample.site >= image->site_count || !rtd_validity_check_sample(&sample)) {
            process->refused++;
            continue;
        }
        image->samples[image->sample_count++] = sample;
    }
}

static int decode_state(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_image *const image = image_of(process);
    const uint32_t sites = rtd_cursor_get_u32(in);
    const uint32_t samples = rtd_cursor_get_u32(in);

    if (image == NULL) {
        return -ENOMEM;
    }
    /* An image of exact mode has other arrays: the ledger said now this mode, now that. */
    if (image->exact != NULL) {
        process->refused++;
        return 0;
    }
    if (sites == 0 || sites > RTD_SITE_COUNT || samples > RTD_SAMPLE_CAPACITY || in->failed ||
        in->left < (size_t)sites * SITE_BYTES + (size_t)samples * SAMPLE_BYTES) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < sites; i++) {
        struct rtd_image_site *const site = &image->sites[i];
        decode_site(in, site);
        /* The clock is not known yet; a site that is refused keeps its place for the samples. */
        if (!rtd_validity_check_site(site, UINT64_MAX) || site->tag >= RTD_TAG_COUNT) {
            memset(site, 0, sizeof(*site));
            process->refused++;
        }
    }
    image->site_count = sites;
    decode_samples(process, in, samples);
    return ended(in);
}

/* Before all limits were compared, bit 1 told a control group's from physical memory. */
static uint32_t limit_kind(uint32_t flags)
{
    const uint32_t kind = flags >> 8 & 0xff;

    if (kind == 0)
        return flags & 2 ? RTD_LIMIT_CGROUP_MAX : RTD_LIMIT_HOST;
    return kind <= RTD_LIMIT_KINDS ? kind - 1 : RTD_LIMIT_HOST;
}

static int decode_memory(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_process_record *const record = process->record;
    struct rtd_memory_snapshot memory = {0};
    uint64_t *const figures[] = {
        &memory.time_unix_ns,   &memory.rss_bytes,      &memory.heap_bytes,
        &memory.virtual_bytes,  &memory.resident_bytes, &memory.shared_bytes,
        &memory.text_bytes,     &memory.data_bytes,     &memory.stack_bytes,
        &memory.peak_rss_bytes, &memory.swap_bytes,     &memory.peak_virtual_bytes,
        &memory.limit_bytes,    &memory.minor_faults,   &memory.major_faults,
    };
    const uint32_t flags = rtd_cursor_get_u32(in);

    memory.valid = (flags & 1) != 0;
    memory.limit_kind = limit_kind(flags);
    memory.threads = rtd_cursor_get_u32(in);
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(figures); i++) {
        *figures[i] = rtd_cursor_get_u64(in);
        if (*figures[i] > INT64_MAX) {
            return -EBADMSG;
        }
    }
    memory.pressure = rtd_cursor_get_f64(in);
    const uint32_t points = rtd_cursor_get_u32(in);
    if (!isfinite(memory.pressure) || points > RTD_POINT_MAX ||
        !rtd_cursor_expect(in, points, POINT_BYTES)) {
        return -EBADMSG;
    }
    record->memory = memory;
    record->point_count = points;
    for (uint32_t i = 0; i < points; i++) {
        record->points[i].time_ms = rtd_cursor_get_u64(in);
        record->points[i].rss_bytes = rtd_cursor_get_u64(in);
        record->points[i].live_bytes = rtd_cursor_get_u64(in);
    }
    return 0;
}

static void decode_row(struct rtd_cursor *in, struct rtd_series_row *row, uint32_t points)
{
    row->stack = rtd_cursor_get_u32(in);
    row->tag = rtd_cursor_get_u32(in);
    for (uint32_t k = 0; k < points; k++) {
        const float value = rtd_cursor_get_f32(in);
        row->live_bytes[k] = isfinite(value) && value >= 0 ? value : 0;
    }
}

static int decode_series(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_site_series *const series = &process->record->series;
    const uint32_t points = rtd_cursor_get_u32(in);
    const uint32_t rows = rtd_cursor_get_u32(in);
    const uint64_t spacing_ms = rtd_cursor_get_u64(in);

    if (in->failed || points > RTD_SERIES_POINTS || rows > RTD_SERIES_ROWS ||
        in->left < (size_t)points * 8 + (size_t)rows * (8 + (size_t)points * 4)) {
        return -EBADMSG;
    }
    if (series->rows == NULL && rows != 0) {
        series->rows = calloc(RTD_SERIES_ROWS, sizeof(series->rows[0]));
        if (series->rows == NULL) {
            return -ENOMEM;
        }
    }
    series->point_count = points;
    series->spacing_ms = spacing_ms;
    series->row_count = 0;
    for (uint32_t i = 0; i < points; i++) {
        series->times_ms[i] = rtd_cursor_get_u64(in);
        if (i != 0 && series->times_ms[i] < series->times_ms[i - 1]) {
            series->point_count = 0;
            return -EBADMSG;
        }
    }
    for (uint32_t i = 0; i < rows; i++) {
        struct rtd_series_row *const row = &series->rows[series->row_count];
        decode_row(in, row, points);
        if (row->stack < RTD_EXACT_NODE_COUNT && row->tag < RTD_TAG_COUNT) {
            series->row_count++;
        } else {
            process->refused++;
        }
    }
    return ended(in);
}

int rtd_decode_process_block(struct rtd_decode_process *process, uint16_t type,
                             struct rtd_cursor *in)
{
    switch (type) {
    case RTD_BLOCK_META:
        return decode_meta(process, in);
    case RTD_BLOCK_MODULES:
        return decode_modules(process, in);
    case RTD_BLOCK_TAGS:
        return decode_tags(process, in);
    case RTD_BLOCK_NODES:
        return decode_nodes(process, in);
    case RTD_BLOCK_VALUES:
        return decode_values(process, in);
    case RTD_BLOCK_STATE:
        return decode_state(process, in);
    case RTD_BLOCK_MEMORY:
        return decode_memory(process, in);
    case RTD_BLOCK_SERIES:
        return decode_series(process, in);
    case RTD_BLOCK_MAPS:
        return rtd_decode_mappings(process, in);
    case RTD_BLOCK_EXACT_NODES:
    case RTD_BLOCK_EXACT_STATE:
    case RTD_BLOCK_EXACT_DELTA:
    case RTD_BLOCK_EXACT_BLOCKS:
        return image_of(process) == NULL ? -ENOMEM : rtd_decode_exact_block(process, type, in);
    default:
        return 0;
    }
}

/* Times stand in a recording with their low halves; the clock comes with the newest block. */
static void settle_times(struct rtd_image *image)
{
    for (uint32_t i = 0; i < image->site_count; i++) {
        struct rtd_image_site *const site = &image->sites[i];
        site->first_ms = rtd_validity_time_ms(image->clock_ms, (uint32_t)site->first_ms);
        site->last_ms = rtd_validity_time_ms(image->clock_ms, (uint32_t)site->last_ms);
    }
    for (uint32_t i = 0; i < image->sample_count; i++) {
        struct rtd_image_sample *const sample = &image->samples[i];
        sample->birth_ms = rtd_validity_time_ms(image->clock_ms, (uint32_t)sample->birth_ms);
    }
}

void rtd_decode_finish(struct rtd_decode_process *process)
{
    struct rtd_process_record *const record = process->record;
    struct rtd_image *const image = record->image;

    if (image == NULL) {
        return;
    }
    rtd_validity_sort_modules(image->modules, image->module_count);
    if (image->exact != NULL) {
        rtd_decode_exact_finish(process);
    }
    settle_times(image);
    for (uint32_t i = 0; i < image->site_count; i++) {
        if (image->exact == NULL) {
            (void)rtd_validity_check_site(&image->sites[i], image->clock_ms);
        }
        if (image->sites[i].tag >= image->tag_count) {
            image->sites[i].tag = RTD_TAG_OTHER;
            process->refused++;
        }
    }
    for (uint32_t i = 0; i < record->series.row_count; i++) {
        if (record->series.rows[i].tag >= image->tag_count) {
            record->series.rows[i].tag = RTD_TAG_OTHER;
            process->refused++;
        }
    }
    image->rejected += process->refused;
}

void rtd_decode_record_free(struct rtd_process_record *record)
{
    if (record != NULL) {
        rtd_mappings_fini(&record->mappings);
        rtd_series_fini(&record->series);
        rtd_image_free(record->image);
        free(record);
    }
}
