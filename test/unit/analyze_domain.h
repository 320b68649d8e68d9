// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_domain.h - domains of a process built by hand, for the tests of analysis and its faces.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  images, freed by domain_fini()
 * Fails:      by a failed assertion
 */
#ifndef RTD_TEST_ANALYZE_DOMAIN_H
#define RTD_TEST_ANALYZE_DOMAIN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analyze/analyze_report.h"

#include <stdio.h>
#include <string.h>

#define DOMAIN_CODE    UINT64_C(0x10000)
#define DOMAIN_CREATED UINT64_C(1700000000000000000)

/* A domain in which nothing is recorded yet. Its module stands for functions given by name. */
static inline void domain_init(struct rtd_domain_record *domain, const char *name)
{
    *domain = (struct rtd_domain_record){.used_bytes = RTD_UNKNOWN_BYTES,
                                         .reserved_bytes = RTD_UNKNOWN_BYTES};
    snprintf(domain->name, sizeof domain->name, "%s", name);
    domain->image = rtd_image_new();
    assert_non_null(domain->image);
    assert_int_equal(rtd_image_exact_begin(domain->image), 0);
    domain->image->mode = RTD_MODE_EXACT;
    domain->image->created_unix_ns = DOMAIN_CREATED;
    domain->image->tag_count = 2;
    strcpy(domain->image->tags[1].component, "other");
    domain->image->exact->block_share = 1.0;
    domain->image->module_count = 1;
    struct rtd_image_module *module = &domain->image->modules[0];
    strcpy(module->name, "given names");
    module->start = DOMAIN_CODE;
    module->end = DOMAIN_CODE + 0x10000;
    module->bias = DOMAIN_CODE;
}

static inline void domain_fini(struct rtd_domain_record *domain)
{
    rtd_image_free(domain->image);
    rtd_series_fini(&domain->series);
}

static inline uint32_t domain_tag(struct rtd_domain_record *domain, const char *component,
                                  const char *operation)
{
    struct rtd_image_tag *tag = &domain->image->tags[domain->image->tag_count];
    snprintf(tag->component, sizeof tag->component, "%s", component);
    snprintf(tag->operation, sizeof tag->operation, "%s", operation);
    return domain->image->tag_count++;
}

/* A site under a tag, with a stack of one frame at that offset; offset 0: without a stack. */
static inline uint32_t domain_site(struct rtd_domain_record *domain, uint32_t tag, uint32_t offset)
{
    struct rtd_image *image = domain->image;
    const uint32_t index = image->site_count;
    assert_int_equal(rtd_image_exact_reserve(image, index + 1), 0);
    image->sites[index].tag = tag;
    if (offset) {
        const struct rtd_image_node node = {
            .pc = DOMAIN_CODE + offset + 1, .id = RTD_ROOT_COUNT + offset, .parent = 0};
        assert_true(rtd_image_exact_add(image, &node) >= 0);
        image->sites[index].stack = node.id;
    }
    return index;
}

static inline unsigned domain_class(uint64_t size)
{
    return size < 1024 ? 0 : size < 65536 ? 1 : size < 1 << 20 ? 2 : size < 16 << 20 ? 3 : 4;
}

/* A record by address; address 0: by size, of which no block is known. */
static inline void domain_birth(struct rtd_domain_record *domain, uint32_t index, uint64_t size,
                                uint32_t birth_ms, uint64_t address)
{
    struct rtd_image *image = domain->image;
    struct rtd_image_site *site = &image->sites[index];
    struct rtd_image_count *count = &image->exact->counts[index];
    if (site->births == 0)
        site->first_ms = birth_ms;
    site->last_ms = birth_ms;
    site->births++;
    site->birth_bytes += (double)size;
    site->birth_count += 1.0;
    count->allocated_bytes += size;
    count->live_bytes += size;
    count->live_blocks++;
    image->size_class_count[domain_class(size)] += 1.0;
    image->clock_ms = birth_ms;
    if (!address)
        return;
    assert_true(image->sample_count < RTD_SAMPLE_CAPACITY);
    image->samples[image->sample_count++] = (struct rtd_image_sample){
        .address = address, .size = size, .site = index, .interval = 1, .birth_ms = birth_ms};
}

/* Takes bytes and one block back from a site. */
static inline void domain_death(struct rtd_domain_record *domain, uint32_t index, uint64_t size)
{
    struct rtd_image_count *count = &domain->image->exact->counts[index];
    domain->image->sites[index].deaths++;
    domain->image->sites[index].death_bytes += (double)size;
    domain->image->sites[index].death_count += 1.0;
    count->freed_bytes += size;
    count->live_bytes -= size;
    count->live_blocks--;
}

/* The end of a second: a point of the series, as the manager adds it. */
static inline void domain_tick(struct rtd_domain_record *domain, uint32_t second)
{
    domain->image->clock_ms = (uint64_t)second * 1000 + 999;
    assert_int_equal(rtd_series_add(&domain->series, domain->image), 0);
}

#endif
