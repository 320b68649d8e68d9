// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_ledger.c - the ledger reader on a ledger that its target scribbled over.
 *
 * Runs in:    fuzzer
 * Threads:    one
 * Allocates:  two ledgers and an image, once
 * Fails:      by crashing, which is the finding
 *
 * An input is a list of scribbles, 12 bytes each: where (32 bits) and what (64 bits), both
 * little-endian, put over a ledger with ordinary contents. A whole ledger as input would be four
 * megabytes in which a mutation nearly never meets anything.
 */
#include "../test/support/support_ledger.h"
#include "ledger/ledger_validity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t rtd_fuzz_seed(unsigned index, uint8_t **out);

enum { SCRIBBLE_BYTES = 12 };

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* What every consumer of an image relies on. */
static void use_image(const struct rtd_image *image)
{
    static struct rtd_image_stack stack;
    double sum = 0;

    require(image->site_count >= 1 && image->tag_count >= RTD_TAG_FIRST);
    require(image->interval_bytes != 0);
    for (uint32_t i = 0; i < image->sample_count; i++) {
        require(image->samples[i].site < image->site_count && image->samples[i].interval != 0);
    }
    for (uint32_t i = 0; i < image->site_count; i++) {
        const struct rtd_image_site *const site = &image->sites[i];
        require(site->tag < image->tag_count);
        sum += site->birth_bytes + site->birth_count + site->death_bytes + site->death_count;
        rtd_image_stack_get(image, site->stack, &stack);
        require(stack.pc_count <= RTD_FRAME_MAX);
        for (uint32_t k = 0; k < stack.pc_count; k++) {
            const struct rtd_image_module *const module =
                rtd_image_module_at(image, stack.pcs[k], stack.generation);
            require(module == NULL || memchr(module->name, 0, sizeof(module->name)) != NULL);
        }
    }
    require(isfinite(sum));
    for (uint32_t i = 0; i < image->tag_count; i++) {
        struct rtd_image_tag tag = image->tags[i];
        require(rtd_validity_clean_text(tag.component, sizeof(tag.component)));
        require(rtd_validity_clean_text(tag.operation, sizeof(tag.operation)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct rtd_ledger *ordinary, *ledger;
    static struct rtd_image *image;

    if (ordinary == NULL) {
        ordinary = rtd_support_ledger_new();
        rtd_support_ledger_fill(ordinary, 1, 300);
        ledger = rtd_support_ledger_new();
        image = rtd_image_new();
        require(image != NULL);
    }
    memcpy(ledger, ordinary, sizeof(*ledger));
    for (size_t at = 0; at + SCRIBBLE_BYTES <= bytes; at += SCRIBBLE_BYTES) {
        uint32_t where;
        memcpy(&where, data + at, sizeof(where));
        memcpy((char *)ledger + where % (RTD_LEDGER_BYTES - 8), data + at + 4, 8);
    }
    if (rtd_image_read(image, ledger) == 0) {
        use_image(image);
    }
    return 0;
}

/* Scribbles at places that hold something; the driver mutates places and values. */
size_t rtd_fuzz_seed(unsigned index, uint8_t **out)
{
    static const size_t regions[] = {128,
                                     256,
                                     RTD_OFF_MODULES,
                                     RTD_OFF_NODES + 8 * RTD_ROOT_COUNT,
                                     RTD_OFF_TAGS + 2 * sizeof(struct rtd_tag),
                                     RTD_OFF_THREADS,
                                     RTD_OFF_BUCKETS,
                                     RTD_OFF_SAMPLES,
                                     RTD_OFF_SITES};
    const size_t size = SCRIBBLE_BYTES * (size_t)64;

    if (index >= RTD_ARRAY_LENGTH(regions)) {
        return 0;
    }
    *out = calloc(1, size);
    require(*out != NULL);
    for (size_t i = 0; i < 64; i++) {
        const uint32_t where = (uint32_t)(regions[index] + i * (index == 0 ? 8 : 184));
        const uint64_t value = UINT64_C(0x0101010101010101) * i;
        memcpy(*out + i * SCRIBBLE_BYTES, &where, sizeof(where));
        memcpy(*out + i * SCRIBBLE_BYTES + 4, &value, sizeof(value));
    }
    return size;
}
