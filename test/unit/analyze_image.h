// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_image.h - images and process records built by hand, for the tests of analysis.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  a record with an image, freed by made_free()
 * Fails:      by a failed assertion
 */
#ifndef RTD_TEST_ANALYZE_IMAGE_H
#define RTD_TEST_ANALYZE_IMAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_report.h"
#include "base/base_math.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MADE_SITES = 64, MADE_SAMPLES = 65536, MADE_MODULES = 8, MADE_TAGS = 8 };

struct made {
    struct rtd_process_record *record;
    struct rtd_image *image;
    uint32_t next_node;
};

static inline struct made made_new(uint64_t interval_bytes)
{
    struct made made = {.next_node = RTD_ROOT_COUNT};
    made.record = calloc(1, sizeof *made.record);
    made.image = calloc(1, sizeof *made.image);
    assert_non_null(made.record);
    assert_non_null(made.image);
    made.image->modules = calloc(MADE_MODULES, sizeof *made.image->modules);
    made.image->nodes = calloc(RTD_NODE_COUNT, sizeof *made.image->nodes);
    made.image->tags = calloc(MADE_TAGS, sizeof *made.image->tags);
    made.image->samples = calloc(MADE_SAMPLES, sizeof *made.image->samples);
    made.image->sites = calloc(MADE_SITES, sizeof *made.image->sites);
    assert_non_null(made.image->sites);
    made.image->tag_count = 2;
    strcpy(made.image->tags[1].component, "other");
    made.image->site_count = 1;
    made.image->mode = RTD_MODE_SAMPLE;
    made.image->interval_bytes = interval_bytes;
    made.image->created_unix_ns = UINT64_C(1700000000000000000);
    made.record->image = made.image;
    made.record->meta.pid = 100;
    made.record->meta.status = RTD_PROCESS_RUNNING;
    made.record->meta.started_unix_ns = made.image->created_unix_ns;
    strcpy(made.record->meta.executable, "/opt/app/server");
    return made;
}

static inline void made_free(struct made *made)
{
    free(made->image->modules);
    free(made->image->nodes);
    free(made->image->tags);
    free(made->image->samples);
    free(made->image->sites);
    free(made->image);
    rtd_series_fini(&made->record->series);
    free(made->record);
}

/* Modules must be added in order of their start. */
static inline void made_module(struct made *made, const char *name, uint64_t start,
                               uint32_t generation)
{
    struct rtd_image_module *module = &made->image->modules[made->image->module_count++];
    snprintf(module->name, sizeof module->name, "%s", name);
    module->start = start;
    module->end = start + 0x10000;
    module->bias = start;
    module->generation = generation;
    module->build_id_bytes = 4;
    memset(module->build_id, (int)strlen(name), 4);
}

static inline uint32_t made_tag(struct made *made, const char *component, const char *operation)
{
    struct rtd_image_tag *tag = &made->image->tags[made->image->tag_count];
    snprintf(tag->component, sizeof tag->component, "%s", component);
    snprintf(tag->operation, sizeof tag->operation, "%s", operation);
    return made->image->tag_count++;
}

/* A stack of return addresses, leaf first, ended by 0. */
static inline uint32_t made_stack(struct made *made, uint32_t root, const uint64_t *pcs)
{
    uint32_t count = 0, node = root;
    while (pcs[count])
        count++;
    for (uint32_t i = count; i-- > 0;) {
        made->image->nodes[made->next_node] = ((uint64_t)node << RTD_PC_BITS) | pcs[i];
        made->image->empty_node_pages[made->next_node / RTD_NODES_PER_PAGE] = false;
        node = made->next_node++;
    }
    return node;
}

static inline uint32_t made_site(struct made *made, uint32_t stack, uint32_t tag)
{
    struct rtd_image_site *site = &made->image->sites[made->image->site_count];
    site->stack = stack;
    site->tag = tag;
    return made->image->site_count++;
}

/* Adds a birth of one sampled block; live says whether it is still there. */
static inline void made_birth(struct made *made, uint32_t index, uint64_t size, uint32_t birth_ms,
                              bool live)
{
    struct rtd_image_site *site = &made->image->sites[index];
    double probability = 1.0;
    if (made->image->mode == RTD_MODE_SAMPLE)
        probability =
            rtd_math_one_minus_exp_neg(((double)size + 1.0) / (double)made->image->interval_bytes);
    const double weight = (double)size / probability;
    if (site->births == 0 || birth_ms < site->first_ms)
        site->first_ms = birth_ms;
    if (birth_ms > site->last_ms)
        site->last_ms = birth_ms;
    site->births++;
    site->birth_bytes += weight;
    site->birth_count += 1.0 / probability;
    site->birth_bytes_var += weight * weight * (1.0 - probability);
    site->birth_count_var += (1.0 - probability) / (probability * probability);
    if (!live) {
        site->deaths++;
        site->death_bytes += weight;
        site->death_count += 1.0 / probability;
        site->lifetime[0]++;
        return;
    }
    assert_true(made->image->sample_count < MADE_SAMPLES);
    struct rtd_image_sample *sample = &made->image->samples[made->image->sample_count++];
    sample->address = UINT64_C(0x700000000000) + made->image->sample_count * 64;
    sample->size = size;
    sample->site = index;
    sample->interval = (uint32_t)made->image->interval_bytes;
    sample->birth_ms = birth_ms;
}

/* A report of one process. */
static inline struct rtd_report *made_report(const struct made *made,
                                             const struct rtd_symbol_table *symbols)
{
    const struct rtd_process_record *const list[] = {made->record};
    const struct rtd_report_input input = {.process_count = 1,
                                           .processes = list,
                                           .symbols = symbols,
                                           .complete = true,
                                           .note = "",
                                           .time_scale = 1.0};
    struct rtd_report *report = rtd_report_new(&input);
    assert_non_null(report);
    return report;
}

#endif
