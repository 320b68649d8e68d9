// SPDX-License-Identifier: Apache-2.0
/*
 * history_encode.c - payloads of a recording's blocks, from memory to bytes.
 *
 * Runs in:    collector
 * Threads:    no shared state
 * Allocates:  in the buffer it is given, and the tables of what is known
 * Fails:      by the buffer's flag
 */
#include "history/history_encode.h"

#include "history/history_block.h"
#include "ledger/ledger_validity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KNOWN_NODE_BITS = 64, KNOWN_NODE_WORDS = RTD_NODE_COUNT / KNOWN_NODE_BITS };

int rtd_encode_known_init(struct rtd_encode_known *known)
{
    known->nodes = calloc(KNOWN_NODE_WORDS, sizeof(known->nodes[0]));
    known->modules = calloc(RTD_MODULE_COUNT, sizeof(known->modules[0]));
    known->tags = calloc(RTD_TAG_COUNT, sizeof(known->tags[0]));
    if (known->nodes == NULL || known->modules == NULL || known->tags == NULL) {
        rtd_encode_known_fini(known);
        return -ENOMEM;
    }
    known->tag_count = RTD_TAG_FIRST;
    return 0;
}

void rtd_encode_known_fini(struct rtd_encode_known *known)
{
    free(known->exact_prints);
    free(known->tags);
    free(known->modules);
    free(known->nodes);
    *known = (struct rtd_encode_known){0};
}

void rtd_encode_meta(struct rtd_block_buffer *out, const struct rtd_process_meta *meta)
{
    rtd_block_buffer_put_u32(out, meta->pid);
    rtd_block_buffer_put_u32(out, meta->parent_pid);
    rtd_block_buffer_put_u32(out, meta->kind);
    rtd_block_buffer_put_u32(out, meta->status);
    rtd_block_buffer_put_u32(out, (uint32_t)meta->exit_code);
    rtd_block_buffer_put_u32(out, (uint32_t)meta->signal);
    rtd_block_buffer_put_u64(out, meta->started_unix_ns);
    rtd_block_buffer_put_u64(out, meta->ended_unix_ns);
    rtd_block_buffer_put_text(out, meta->command, sizeof(meta->command));
    rtd_block_buffer_put_text(out, meta->executable, sizeof(meta->executable));
    rtd_block_buffer_put_text(out, meta->program, sizeof(meta->program));
    rtd_block_buffer_put_text(out, meta->allocator, sizeof(meta->allocator));
    rtd_block_buffer_put_text(out, meta->blind_reason, sizeof(meta->blind_reason));
}

static bool is_same_module(const struct rtd_image_module *a, const struct rtd_image_module *b)
{
    return a->start == b->start && a->end == b->end && a->bias == b->bias &&
           a->generation == b->generation && a->build_id_bytes == b->build_id_bytes &&
           memcmp(a->build_id, b->build_id, sizeof(a->build_id)) == 0 &&
           strcmp(a->name, b->name) == 0;
}

static bool is_known_module(const struct rtd_encode_known *known,
                            const struct rtd_image_module *module)
{
    for (uint32_t i = 0; i < known->module_count; i++) {
        if (is_same_module(&known->modules[i], module)) {
            return true;
        }
    }
    return false;
}

/* A hostile ledger may show other modules each time: the file takes no more than an image has. */
static uint32_t module_room(const struct rtd_encode_known *known)
{
    return RTD_MODULE_COUNT - known->module_count;
}

uint32_t rtd_encode_modules(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                            const struct rtd_image *image)
{
    const size_t count_at = out->length;
    uint32_t count = 0;

    rtd_block_buffer_put_u32(out, 0);
    for (uint32_t i = 0; i < image->module_count && count < module_room(known); i++) {
        const struct rtd_image_module *const module = &image->modules[i];
        if (is_known_module(known, module)) {
            continue;
        }
        rtd_block_buffer_put_u64(out, module->start);
        rtd_block_buffer_put_u64(out, module->end);
        rtd_block_buffer_put_u64(out, module->bias);
        rtd_block_buffer_put_u32(out, module->generation);
        rtd_block_buffer_put_u32(out, module->build_id_bytes);
        rtd_block_buffer_put_bytes(out, module->build_id, module->build_id_bytes);
        rtd_block_buffer_put_text(out, module->name, sizeof(module->name));
        count++;
    }
    rtd_block_buffer_patch_u32(out, count_at, count);
    return count;
}

uint32_t rtd_encode_tags(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                         const struct rtd_image *image)
{
    const size_t count_at = out->length;
    uint32_t count = 0;

    rtd_block_buffer_put_u32(out, 0);
    for (uint32_t i = RTD_TAG_FIRST; i < image->tag_count; i++) {
        if (i < known->tag_count &&
            memcmp(&known->tags[i], &image->tags[i], sizeof(image->tags[i])) == 0) {
            continue;
        }
        rtd_block_buffer_put_u32(out, i);
        rtd_block_buffer_put_text(out, image->tags[i].component, RTD_TAG_NAME_BYTES);
        rtd_block_buffer_put_text(out, image->tags[i].operation, RTD_TAG_NAME_BYTES);
        count++;
    }
    rtd_block_buffer_patch_u32(out, count_at, count);
    return count;
}

static bool is_known_node(const struct rtd_encode_known *known, uint32_t index)
{
    return (known->nodes[index / KNOWN_NODE_BITS] >> index % KNOWN_NODE_BITS & 1) != 0;
}

uint32_t rtd_encode_nodes(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                          const struct rtd_image *image)
{
    const size_t count_at = out->length;
    uint32_t count = 0;

    rtd_block_buffer_put_u32(out, 0);
    for (uint32_t i = RTD_ROOT_COUNT; i < RTD_NODE_COUNT; i++) {
        if (image->empty_node_pages[i / RTD_NODES_PER_PAGE]) {
            i += RTD_NODES_PER_PAGE - 1; /* roots fill whole pages, so i is at a page's first */
            continue;
        }
        if (image->nodes[i] == 0 || is_known_node(known, i) ||
            !rtd_validity_check_node(i, image->nodes[i])) {
            continue;
        }
        rtd_block_buffer_put_u32(out, i);
        rtd_block_buffer_put_u64(out, image->nodes[i]);
        count++;
    }
    rtd_block_buffer_patch_u32(out, count_at, count);
    return count;
}

void rtd_encode_known_update(struct rtd_encode_known *known, const struct rtd_image *image)
{
    const uint32_t module_count = known->module_count;

    for (uint32_t i = RTD_ROOT_COUNT; i < RTD_NODE_COUNT; i++) {
        if (image->empty_node_pages[i / RTD_NODES_PER_PAGE]) {
            i += RTD_NODES_PER_PAGE - 1;
        } else if (image->nodes[i] != 0 && rtd_validity_check_node(i, image->nodes[i])) {
            known->nodes[i / KNOWN_NODE_BITS] |= UINT64_C(1) << i % KNOWN_NODE_BITS;
        }
    }
    for (uint32_t i = 0; i < image->module_count && known->module_count < RTD_MODULE_COUNT; i++) {
        const struct rtd_encode_known before = {.modules = known->modules,
                                                .module_count = module_count};
        if (!is_known_module(&before, &image->modules[i])) {
            known->modules[known->module_count++] = image->modules[i];
        }
    }
    memcpy(known->tags, image->tags, image->tag_count * sizeof(image->tags[0]));
    if (known->tag_count < image->tag_count) {
        known->tag_count = image->tag_count;
    }
    if (image->exact != NULL) {
        rtd_encode_exact_update(known, image);
    }
}

void rtd_encode_values(struct rtd_block_buffer *out, const struct rtd_image *image)
{
    rtd_block_buffer_put_u64(out, image->created_unix_ns);
    rtd_block_buffer_put_u64(out, image->clock_ms);
    rtd_block_buffer_put_u64(out, image->interval_bytes);
    rtd_block_buffer_put_u64(out, image->session);
    rtd_block_buffer_put_u32(out, image->mode);
    rtd_block_buffer_put_u32(out, image->interval_fixed ? 1 : 0);
    rtd_block_buffer_put_u32(out, image->target_pid);
    rtd_block_buffer_put_u32(out, image->agent_state);
    rtd_block_buffer_put_u32(out, image->agent_reason);
    rtd_block_buffer_put_u32(out, image->agent_kind);
    rtd_block_buffer_put_u64(out, image->target_start);
    rtd_block_buffer_put_u32(out, image->generation);
    rtd_block_buffer_put_u32(out, image->storage_shift);
    rtd_block_buffer_put_u64(out, image->peak_live_bytes);
    rtd_block_buffer_put_u64(out, image->peak_ms);
    rtd_block_buffer_put_u64(out, image->samples_taken);
    rtd_block_buffer_put_u64(out, image->counted_bytes);
    rtd_block_buffer_put_u64(out, image->allocator_module_start);
    rtd_block_buffer_put_u64(out, image->rejected);
    rtd_block_buffer_put_u32(out, RTD_SIZE_CLASSES);
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++) {
        rtd_block_buffer_put_f64(out, image->size_class_count[i]);
    }
    rtd_block_buffer_put_u32(out, RTD_LOSS_COUNT);
    for (unsigned i = 0; i < RTD_LOSS_COUNT; i++) {
        rtd_block_buffer_put_u64(out, image->loss[i]);
    }
    if (image->exact != NULL) {
        rtd_block_buffer_put_u32(out, RTD_EXACT_VALUES);
        rtd_block_buffer_put_u64(out, image->exact->unknown_frees);
        rtd_block_buffer_put_u64(out, image->exact->missed_frees);
        rtd_block_buffer_put_u64(out, image->exact->untracked);
        rtd_block_buffer_put_u64(out, image->exact->stack_misses);
    }
}

static void encode_site(struct rtd_block_buffer *out, const struct rtd_image_site *site)
{
    rtd_block_buffer_put_u32(out, site->stack);
    rtd_block_buffer_put_u32(out, site->tag);
    /* A ledger's own times are as wide as the file's. */
    rtd_block_buffer_put_u32(out, (uint32_t)site->first_ms);
    rtd_block_buffer_put_u32(out, (uint32_t)site->last_ms);
    rtd_block_buffer_put_u64(out, site->births);
    rtd_block_buffer_put_f64(out, site->birth_bytes);
    rtd_block_buffer_put_f64(out, site->birth_count);
    rtd_block_buffer_put_f64(out, site->birth_bytes_var);
    rtd_block_buffer_put_f64(out, site->birth_count_var);
    rtd_block_buffer_put_u64(out, site->deaths);
    rtd_block_buffer_put_f64(out, site->death_bytes);
    rtd_block_buffer_put_f64(out, site->death_count);
    rtd_block_buffer_put_u64(out, site->large_births);
    rtd_block_buffer_put_u64(out, site->max_size);
    for (unsigned i = 0; i < RTD_LIFETIME_BUCKETS; i++) {
        rtd_block_buffer_put_u32(out, site->lifetime[i]);
    }
}

void rtd_encode_state(struct rtd_block_buffer *out, const struct rtd_image *image)
{
    rtd_block_buffer_put_u32(out, image->site_count);
    rtd_block_buffer_put_u32(out, image->sample_count);
    for (uint32_t i = 0; i < image->site_count; i++) {
        encode_site(out, &image->sites[i]);
    }
    for (uint32_t i = 0; i < image->sample_count; i++) {
        const struct rtd_image_sample *const sample = &image->samples[i];
        rtd_block_buffer_put_u64(out, sample->address);
        rtd_block_buffer_put_u64(out, sample->size);
        rtd_block_buffer_put_u32(out, sample->site);
        rtd_block_buffer_put_u32(out, sample->interval);
        rtd_block_buffer_put_u32(out, sample->thread);
        rtd_block_buffer_put_u32(out, (uint32_t)sample->birth_ms);
    }
}

void rtd_encode_memory(struct rtd_block_buffer *out, const struct rtd_process_record *record)
{
    const struct rtd_memory_snapshot *const memory = &record->memory;
    const uint64_t figures[] = {
        memory->time_unix_ns,   memory->rss_bytes,      memory->heap_bytes,
        memory->virtual_bytes,  memory->resident_bytes, memory->shared_bytes,
        memory->text_bytes,     memory->data_bytes,     memory->stack_bytes,
        memory->peak_rss_bytes, memory->swap_bytes,     memory->peak_virtual_bytes,
        memory->limit_bytes,    memory->minor_faults,   memory->major_faults,
    };
    const uint32_t points =
        record->point_count < RTD_POINT_MAX ? record->point_count : RTD_POINT_MAX;

    rtd_block_buffer_put_u32(out, (memory->valid ? 1u : 0u) | (memory->limit_kind + 1) << 8);
    rtd_block_buffer_put_u32(out, memory->threads);
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(figures); i++) {
        rtd_block_buffer_put_u64(out, figures[i]);
    }
    rtd_block_buffer_put_f64(out, memory->pressure);
    rtd_block_buffer_put_u32(out, points);
    for (uint32_t i = 0; i < points; i++) {
        rtd_block_buffer_put_u64(out, record->points[i].time_ms);
        rtd_block_buffer_put_u64(out, record->points[i].rss_bytes);
        rtd_block_buffer_put_u64(out, record->points[i].live_bytes);
    }
}

void rtd_encode_series(struct rtd_block_buffer *out, const struct rtd_site_series *series)
{
    rtd_block_buffer_put_u32(out, series->point_count);
    rtd_block_buffer_put_u32(out, series->row_count);
    rtd_block_buffer_put_u64(out, series->spacing_ms);
    for (uint32_t i = 0; i < series->point_count; i++) {
        rtd_block_buffer_put_u64(out, series->times_ms[i]);
    }
    for (uint32_t i = 0; i < series->row_count; i++) {
        const struct rtd_series_row *const row = &series->rows[i];
        rtd_block_buffer_put_u32(out, row->stack);
        rtd_block_buffer_put_u32(out, row->tag);
        for (uint32_t k = 0; k < series->point_count; k++) {
            rtd_block_buffer_put_f32(out, row->live_bytes[k]);
        }
    }
}

/* The symbol block being filled: modules are named once a block. */
struct symbol_walk {
    struct rtd_block_buffer *out;
    size_t next; /* number of the entry to go on with */
    uint32_t module_count;
    const struct rtd_symbol_module *modules[RTD_SYMBOL_BLOCK_MODULES];
};

/* The module's number in this block; names it when it is new. */
static uint32_t symbol_module(struct symbol_walk *walk, const struct rtd_symbol_module *module)
{
    for (uint32_t i = walk->module_count; i-- > 0;) {
        if (walk->modules[i] == module) {
            return i;
        }
    }
    const size_t build_id_bytes = module->build_id_bytes < RTD_SYMBOL_BUILD_ID_BYTES
                                      ? module->build_id_bytes
                                      : RTD_SYMBOL_BUILD_ID_BYTES;
    rtd_block_buffer_put_u8(walk->out, RTD_SYMBOL_MARK_MODULE);
    rtd_block_buffer_put_text(walk->out, module->path, RTD_SYMBOL_PATH_MAX);
    rtd_block_buffer_put_u32(walk->out, (uint32_t)build_id_bytes);
    rtd_block_buffer_put_bytes(walk->out, module->build_id, build_id_bytes);
    walk->modules[walk->module_count] = module;
    return walk->module_count++;
}

static int encode_symbol(void *context, const struct rtd_symbol_entry *entry)
{
    struct symbol_walk *const walk = context;
    struct rtd_block_buffer *const out = walk->out;

    if (out->failed || out->length >= RTD_BLOCK_SYMBOL_TARGET ||
        walk->module_count == RTD_SYMBOL_BLOCK_MODULES) {
        return 1;
    }
    const uint32_t module = symbol_module(walk, entry->module);
    rtd_block_buffer_put_u8(out, RTD_SYMBOL_MARK_ENTRY);
    rtd_block_buffer_put_u32(out, module);
    rtd_block_buffer_put_u64(out, entry->offset);
    rtd_block_buffer_put_u32(out, (uint32_t)entry->frame_count);
    for (size_t i = 0; i < entry->frame_count; i++) {
        const struct rtd_symbol_frame *const frame = &entry->frames[i];
        rtd_block_buffer_put_text(out, frame->function, RTD_SYMBOL_TEXT_MAX);
        rtd_block_buffer_put_text(out, frame->file, RTD_SYMBOL_TEXT_MAX);
        rtd_block_buffer_put_u32(out, frame->line);
        rtd_block_buffer_put_u8(out, frame->inlined ? 1 : 0);
    }
    walk->next++;
    return 0;
}

size_t rtd_encode_symbols(struct rtd_block_buffer *out, const struct rtd_symbol_table *table,
                          size_t first)
{
    struct symbol_walk walk = {.out = out, .next = first};

    if (rtd_symbol_table_each(table, first, encode_symbol, &walk) == 0) {
        return rtd_symbol_table_count(table);
    }
    /* Replaced entries are not shown but numbered: going on here may repeat some, skips none. */
    return walk.next;
}
