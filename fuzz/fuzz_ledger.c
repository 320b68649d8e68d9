// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_ledger.c - the ledger reader on a ledger that its target scribbled over.
 *
 * Runs in:    fuzzer
 * Threads:    one
 * Allocates:  two ledgers, an exact one and two images, once
 * Fails:      by crashing, which is the finding
 *
 * An input is a list of scribbles, 12 bytes each: where (32 bits) and what (64 bits), both
 * little-endian, put over a ledger with ordinary contents. A whole ledger as input would be four
 * megabytes in which a mutation nearly never meets anything. With bit 31 of the place set the
 * scribble goes to an exact ledger, bits 28 to 30 say to which of its tables.
 */
#include "../test/support/support_exact.h"
#include "../test/support/support_ledger.h"
#include "ledger/ledger_validity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t rtd_fuzz_seed(unsigned index, uint8_t **out);

enum { SCRIBBLE_BYTES = 12, SCRIBBLES_MAX = 4096 };

/* Where exact scribbles go: tables of the exact part, and how many of their first bytes. */
static const struct {
    uint64_t offset, size;
} exact_places[8] = {
    {0, 1 << 16},
    {RTD_LEDGER_BYTES, 256},
    {RTD_LEDGER_BYTES + offsetof(struct rtd_exact, pcs), sizeof(uint64_t) * RTD_EXACT_PC_COUNT},
    {RTD_LEDGER_BYTES + offsetof(struct rtd_exact, nodes), sizeof(uint64_t) * RTD_EXACT_NODE_COUNT},
    {RTD_LEDGER_BYTES + offsetof(struct rtd_exact, site_keys), 8192},
    {RTD_LEDGER_BYTES + offsetof(struct rtd_exact, leaf_regions), 1 << 16},
    {RTD_LEDGER_BYTES + offsetof(struct rtd_exact, counters), 1 << 16},
    {RTD_LEDGER_BYTES + offsetof(struct rtd_exact, shadow), 1 << 16},
};

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

/* The exact ledger is gigabytes of holes: it is put right again, not made anew. */
struct undo {
    uint64_t offset, before;
};

static void scribble_exact(unsigned char *ledger, uint32_t where, const uint8_t *value,
                           struct undo *undo)
{
    const unsigned place = where >> 28 & 7;

    undo->offset = exact_places[place].offset +
                   (where & 0xfffffff) % (exact_places[place].size - sizeof(uint64_t));
    memcpy(&undo->before, ledger + undo->offset, sizeof(undo->before));
    memcpy(ledger + undo->offset, value, sizeof(undo->before));
}

static void run_exact(const uint8_t *data, size_t bytes)
{
    static struct rtd_support_exact *made;
    static struct rtd_image *image;
    static struct undo undo[SCRIBBLES_MAX];
    size_t count = 0;

    if (made == NULL) {
        made = rtd_support_exact_new();
        rtd_support_exact_fill(made, 1, 300);
        image = rtd_image_new();
        require(image != NULL);
    }
    unsigned char *const ledger = (unsigned char *)made->whole;
    for (size_t at = 0; at + SCRIBBLE_BYTES <= bytes && count < SCRIBBLES_MAX;
         at += SCRIBBLE_BYTES) {
        uint32_t where;
        memcpy(&where, data + at, sizeof(where));
        if (where >> 31 != 0) {
            scribble_exact(ledger, where, data + at + 4, &undo[count++]);
        }
    }
    if (count != 0 && rtd_image_read_sparse(image, made->handle.ledger, made->handle.fd) == 0) {
        require(rtd_image_blocks_read(image, made->handle.fd) == 0);
        use_image(image);
    }
    while (count-- > 0) {
        memcpy(ledger + undo[count].offset, &undo[count].before, sizeof(undo[count].before));
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
        if (where >> 31 == 0) {
            memcpy((char *)ledger + where % (RTD_LEDGER_BYTES - 8), data + at + 4, 8);
        }
    }
    if (rtd_image_read(image, ledger) == 0) {
        use_image(image);
    }
    run_exact(data, bytes);
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

    const unsigned exact = index - (unsigned)RTD_ARRAY_LENGTH(regions);
    const bool is_exact = index >= RTD_ARRAY_LENGTH(regions);

    if (is_exact && exact >= RTD_ARRAY_LENGTH(exact_places)) {
        return 0;
    }
    *out = calloc(1, size);
    require(*out != NULL);
    for (size_t i = 0; i < 64; i++) {
        const uint32_t where =
            is_exact ? UINT32_C(1) << 31 | exact << 28 | (uint32_t)(i * (exact == 1 ? 4 : 72))
                     : (uint32_t)(regions[index] + i * (index == 0 ? 8 : 184));
        const uint64_t value = UINT64_C(0x0101010101010101) * i;
        memcpy(*out + i * SCRIBBLE_BYTES, &where, sizeof(where));
        memcpy(*out + i * SCRIBBLE_BYTES + 4, &value, sizeof(value));
    }
    return size;
}
