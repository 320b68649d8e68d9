// SPDX-License-Identifier: Apache-2.0
/*
 * support_ledger.c - ledgers and process records with known contents, made without a target.
 *
 * Runs in:    tests, fuzz drivers
 * Threads:    none
 * Allocates:  yes
 * Fails:      by abort()
 */
#include "../support/support_ledger.h"

#include "base/base_math.h"
#include "ledger/ledger_writer.h"

#include <stdlib.h>
#include <string.h>

static void *checked(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

struct rtd_ledger *rtd_support_ledger_new(void)
{
    struct rtd_ledger *const ledger = checked(calloc(1, sizeof(*ledger)));
    struct rtd_header *const header = &ledger->header;

    header->magic = RTD_LEDGER_MAGIC;
    header->version = RTD_LEDGER_VERSION;
    header->header_bytes = RTD_HEADER_BYTES;
    header->total_bytes = RTD_LEDGER_BYTES;
    header->mode = RTD_MODE_SAMPLE;
    header->created_unix_ns = UINT64_C(1700000000000000000);
    header->session = 7;
    atomic_store(&header->interval_bytes, 65536);
    atomic_store(&header->clock_ms, 100000);
    return ledger;
}

static void fill_tables(struct rtd_ledger *ledger)
{
    static const uint8_t build_id[RTD_BUILD_ID_BYTES] = {0xde, 0xad, 0xbe, 0xef, 1, 2, 3};
    const struct rtd_module_value modules[] = {
        {0x7f0000100000, 0x7f0000200000, 0x7f0000100000, 0, 20, build_id, "/usr/lib/libwater.so.1"},
        {0x555500000000, 0x555500100000, 0x555500000000, 0, 8, build_id, ""},
        {0x7f0000100000, 0x7f0000180000, 0x7f0000100000, 3, 0, build_id, "/opt/later.so"},
    };

    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(modules); i++) {
        if (!rtd_module_append(ledger, &modules[i])) {
            abort();
        }
    }
    (void)rtd_tag_insert(ledger, "extraction", "parse_html");
    (void)rtd_tag_insert(ledger, "rendering",
                         "gr\xc3\xb6\xc3\x9f"
                         "e");
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t block = rtd_thread_claim(ledger, 1000 + i, i * 7);
        atomic_store(&ledger->threads[block].allocated_bytes, 1000 * (i + 1));
    }
}

/* A stack of some frames out of a small set, so that stacks share their outer part. */
static uint32_t random_stack(struct rtd_ledger *ledger, uint64_t *state)
{
    const unsigned depth = 2 + (unsigned)(rtd_random_next(state) % 12);
    uint32_t node = rtd_node_root(0, rtd_random_next(state) % 8 == 0);

    for (unsigned i = 0; i < depth; i++) {
        bool added;
        const uint64_t base = i < 6 ? UINT64_C(0x555500000000) : UINT64_C(0x7f0000100000);
        node = rtd_node_insert(ledger, node, base + 16 + 32 * (rtd_random_next(state) % 3) + i,
                               &added);
        if (node == RTD_NONE) {
            return 0;
        }
    }
    return node;
}

void rtd_support_ledger_fill(struct rtd_ledger *ledger, uint64_t seed, unsigned events)
{
    uint64_t state = seed;

    if (atomic_load(&ledger->header.module_count) == 0) {
        fill_tables(ledger);
    }
    for (unsigned i = 0; i < events; i++) {
        const uint32_t stack = random_stack(ledger, &state);
        const uint32_t tag = (uint32_t)(rtd_random_next(&state) % 3);
        const uint32_t site = rtd_site_insert(ledger, stack, tag == 0 ? 0 : RTD_TAG_OTHER + tag);
        const uint64_t size = 1 + (rtd_random_next(&state) & 0xffffff) % (UINT64_C(1) << (i % 22));
        const struct rtd_site_event event = {size, 65536, 1000 + i, 500};
        const uint64_t address = UINT64_C(0x600000000000) + 16 * (rtd_random_next(&state) >> 40);
        const struct rtd_sample_value value = {size, 65536, site, 1000, 1000 + i};

        rtd_site_birth(ledger, site, &event);
        atomic_fetch_add(&ledger->header.samples, 1);
        if (i % 3 == 0) {
            rtd_site_death(ledger, site, &event);
        } else if (rtd_sample_insert(ledger, address, &value) == RTD_SAMPLE_FULL) {
            rtd_loss_add(ledger, RTD_LOSS_SAMPLES_NOT_STORED, 1);
        }
    }
}

static void fill_figures(struct rtd_process_record *record)
{
    record->memory = (struct rtd_memory_snapshot){
        .time_unix_ns = UINT64_C(1700000001000000000),
        .rss_bytes = 11,
        .heap_bytes = 12,
        .virtual_bytes = 13,
        .resident_bytes = 14,
        .shared_bytes = 15,
        .text_bytes = 16,
        .data_bytes = 17,
        .stack_bytes = 18,
        .peak_rss_bytes = 19,
        .swap_bytes = 20,
        .peak_virtual_bytes = 21,
        .limit_bytes = 22,
        .limit_kind = RTD_LIMIT_CGROUP_MAX,
        .pressure = 0.375,
        .threads = 23,
        .minor_faults = 24,
        .major_faults = 25,
        .valid = true,
    };
    record->point_count = 10;
    for (uint32_t i = 0; i < record->point_count; i++) {
        record->points[i] = (struct rtd_process_point){i * 1000, 4096 * i, 100 * i};
    }
}

static void fill_mappings(struct rtd_mappings *mappings)
{
    struct rtd_maps *const maps = checked(rtd_maps_new(1));

    for (uint32_t i = 0; i < 12; i++) {
        const struct rtd_mapping_owner owner = {i * 300, i % 3, i % RTD_MAPPING_KINDS, i};
        (void)rtd_maps_add(maps, (UINT64_C(1) << 40) + i * 8192, 4096 + i, &owner);
    }
    if (rtd_maps_copy(maps, mappings) != 0) {
        abort();
    }
    mappings->events = 12;
    rtd_maps_free(maps);
}

struct rtd_process_record *rtd_support_record_new(const struct rtd_ledger *ledger, uint32_t id)
{
    struct rtd_process_record *const record = checked(calloc(1, sizeof(*record)));

    record->meta.id = id;
    record->meta.pid = 4000 + id;
    record->meta.parent_pid = 3999;
    record->meta.kind = 1;
    record->meta.status = RTD_PROCESS_RUNNING;
    record->meta.exit_code = -1;
    record->meta.started_unix_ns = UINT64_C(1700000000000000000);
    snprintf(record->meta.command, sizeof(record->meta.command), "./server --port %u", id);
    snprintf(record->meta.executable, sizeof(record->meta.executable), "/srv/server");
    snprintf(record->meta.allocator, sizeof(record->meta.allocator), "glibc");
    fill_figures(record);
    if (ledger != NULL) {
        record->image = checked(rtd_image_new());
        if (rtd_image_read(record->image, ledger) != 0 ||
            rtd_series_add(&record->series, record->image) != 0) {
            abort();
        }
        fill_mappings(&record->mappings);
    }
    return record;
}

void rtd_support_record_free(struct rtd_process_record *record)
{
    rtd_mappings_fini(&record->mappings);
    rtd_series_fini(&record->series);
    rtd_image_free(record->image);
    free(record);
}

struct rtd_symbol_table *rtd_support_symbols_new(void)
{
    static const uint8_t build_id[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const struct rtd_symbol_module water = {"/usr/lib/libwater.so.1", build_id, sizeof(build_id)};
    const struct rtd_symbol_module program = {"/srv/server", NULL, 0};
    const struct rtd_symbol_frame frames[] = {
        {"pour<int>", "src/pour.cc", 12, true},
        {"main", "src/main.cc", 99, false},
    };
    int err = 0;
    struct rtd_symbol_table *const table = checked(rtd_symbol_table_new(&err));

    if (rtd_symbol_table_add(table, &water, 0x123, frames, 2) != 1 ||
        rtd_symbol_table_add(table, &program, 0x456, frames + 1, 1) != 1 ||
        rtd_symbol_table_add(table, &program, 0x789, NULL, 0) != 1) {
        abort();
    }
    return table;
}

static int differs(const char *what, const void *a, const void *b, size_t size)
{
    if (memcmp(a, b, size) == 0) {
        return 0;
    }
    fprintf(stderr, "images differ in %s\n", what);
    return 1;
}

int rtd_support_images_differ(const struct rtd_image *a, const struct rtd_image *b)
{
    int bad = 0;
    const size_t head = offsetof(struct rtd_image, loss);

    /* interval_fixed has padding behind it: the ranges around it are compared. */
    bad += differs("interval_fixed", &a->interval_fixed, &b->interval_fixed, sizeof(bool));
    bad += differs("mode", &a->mode, &b->mode, sizeof(a->mode));
    bad += differs("times", a, b, offsetof(struct rtd_image, mode));
    bad += differs("values", (const char *)a + offsetof(struct rtd_image, target_pid),
                   (const char *)b + offsetof(struct rtd_image, target_pid),
                   head - offsetof(struct rtd_image, target_pid));
    bad += differs("losses", a->loss, b->loss, sizeof(a->loss));
    bad += differs("rejected", &a->rejected, &b->rejected, sizeof(a->rejected));
    bad += differs("module_count", &a->module_count, &b->module_count, 4);
    bad += differs("tag_count", &a->tag_count, &b->tag_count, 4);
    bad += differs("site_count", &a->site_count, &b->site_count, 4);
    bad += differs("sample_count", &a->sample_count, &b->sample_count, 4);
    if (bad != 0) {
        return 1;
    }
    for (uint32_t i = 0; i < a->module_count; i++) {
        bad += differs("a module", &a->modules[i], &b->modules[i],
                       offsetof(struct rtd_image_module, name) + RTD_MODULE_NAME_BYTES);
    }
    bad += differs("nodes", a->nodes, b->nodes, RTD_NODE_COUNT * sizeof(a->nodes[0]));
    bad += differs("tags", a->tags, b->tags, a->tag_count * sizeof(a->tags[0]));
    bad += differs("sites", a->sites, b->sites, a->site_count * sizeof(a->sites[0]));
    bad += differs("samples", a->samples, b->samples, a->sample_count * sizeof(a->samples[0]));
    return bad != 0;
}
