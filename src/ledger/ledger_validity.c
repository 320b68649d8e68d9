// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_validity.c - the checks between untrusted copies and an image.
 *
 * Runs in:    collector, report, tests
 * Threads:    pure functions on private copies
 * Allocates:  never
 * Fails:      by saying no
 *
 * Why a value is refused and not repaired: a repaired figure is a figure that nobody measured.
 * Only order (times) and text, which cannot bend a sum, are put right in place.
 */
#include "ledger/ledger_validity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Length of the well-formed character at text (at most left bytes), or 0. */
static size_t utf8_length(const unsigned char *text, size_t left)
{
    const unsigned char lead = text[0];
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t code = lead & (length == 1 ? 0x7fu : 0xffu >> (length + 1));
    static const uint32_t least[] = {0, 0x20, 0xa0, 0x800, 0x10000};

    if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || length > left) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (text[i] & 0x3fu);
    }
    /* least[] also keeps both ranges of control characters out, C0 and C1. */
    if (code < least[length] || code == 0x7f || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff)) {
        return 0;
    }
    return length;
}

bool rtd_validity_clean_text(char *text, size_t size)
{
    bool clean = text[size - 1] == '\0';
    text[size - 1] = '\0';
    const size_t length = strlen(text);

    for (size_t i = 0; i < length;) {
        const size_t step = utf8_length((const unsigned char *)text + i, length - i);
        if (step == 0) {
            text[i] = '?';
            clean = false;
        }
        i += step == 0 ? 1 : step;
    }
    memset(text + length, 0, size - length);
    return clean;
}

bool rtd_validity_check_module(struct rtd_image_module *module)
{
    if (module->start == 0 || module->start >= module->end || module->end > RTD_ADDRESS_LIMIT ||
        module->build_id_bytes > RTD_BUILD_ID_BYTES) {
        return false;
    }
    memset(module->build_id + module->build_id_bytes, 0,
           RTD_BUILD_ID_BYTES - module->build_id_bytes);
    (void)rtd_validity_clean_text(module->name, sizeof(module->name));
    return true;
}

bool rtd_validity_check_sample(const struct rtd_image_sample *sample)
{
    return sample->address != 0 && sample->address < RTD_ADDRESS_LIMIT &&
           sample->size < RTD_ADDRESS_LIMIT && sample->interval != 0 &&
           sample->interval <= RTD_INTERVAL_LIMIT;
}

static bool is_sum(double value)
{
    return isfinite(value) && value >= 0;
}

/* A time later than the clock is pulled back. */
static uint64_t bounded_ms(uint64_t time_ms, uint64_t clock_ms)
{
    return time_ms > clock_ms ? clock_ms : time_ms;
}

/* What cannot bend a sum is put right: order of times, a root in place of a stack. */
static void settle_site(struct rtd_image_site *site, uint64_t clock_ms)
{
    if (site->stack < RTD_ROOT_COUNT) {
        site->stack = 0;
    }
    if (site->large_births > site->births) {
        site->large_births = site->births;
    }
    site->first_ms = bounded_ms(site->first_ms, clock_ms);
    site->last_ms = bounded_ms(site->last_ms, clock_ms);
    if (site->last_ms < site->first_ms) {
        site->last_ms = site->first_ms;
    }
}

bool rtd_validity_check_site(struct rtd_image_site *site, uint64_t clock_ms)
{
    if (site->stack >= RTD_NODE_COUNT || site->births >= RTD_COUNTER_LIMIT ||
        site->deaths >= RTD_COUNTER_LIMIT || site->max_size >= RTD_ADDRESS_LIMIT) {
        return false;
    }
    if (!is_sum(site->birth_bytes) || !is_sum(site->birth_count) || !is_sum(site->death_bytes) ||
        !is_sum(site->death_count) || !is_sum(site->birth_bytes_var) ||
        !is_sum(site->birth_count_var) || site->birth_bytes >= (double)RTD_BYTES_LIMIT ||
        site->birth_count >= (double)RTD_BYTES_LIMIT ||
        site->death_bytes >= (double)RTD_BYTES_LIMIT ||
        site->death_count >= (double)RTD_BYTES_LIMIT) {
        return false;
    }
    settle_site(site, clock_ms);
    return true;
}

/* Sets *value to fallback unless it is below limit; returns 1 for a refusal. */
static unsigned refuse_u64(uint64_t *value, uint64_t limit, uint64_t fallback)
{
    if (*value < limit) {
        return 0;
    }
    *value = fallback;
    return 1;
}

static unsigned refuse_u32(uint32_t *value, uint32_t limit, uint32_t fallback)
{
    if (*value < limit) {
        return 0;
    }
    *value = fallback;
    return 1;
}

unsigned rtd_validity_check_header(struct rtd_image *image)
{
    unsigned refused = 0;

    if (image->mode != RTD_MODE_SAMPLE && image->mode != RTD_MODE_EXACT) {
        image->mode = RTD_MODE_SAMPLE;
        refused++;
    }
    if (image->interval_bytes == 0 || image->interval_bytes > RTD_INTERVAL_LIMIT) {
        /* 1 is the one interval that magnifies nothing. */
        image->interval_bytes = 1;
        refused++;
    }
    refused += refuse_u64(&image->clock_ms, RTD_CLOCK_LIMIT_MS, 0);
    refused += refuse_u32(&image->agent_state, RTD_AGENT_DISABLED + 1, RTD_AGENT_ABSENT);
    refused += refuse_u32(&image->agent_reason, 256, RTD_REASON_NONE);
    refused += refuse_u32(&image->agent_kind, 256, 0);
    refused += refuse_u32(&image->storage_shift, 32, 0);
    refused += refuse_u64(&image->peak_live_bytes, RTD_BYTES_LIMIT, 0);
    if (image->peak_ms > image->clock_ms) {
        image->peak_ms = image->clock_ms;
        refused++;
    }
    refused += refuse_u64(&image->samples_taken, RTD_COUNTER_LIMIT, 0);
    refused += refuse_u64(&image->counted_bytes, RTD_BYTES_LIMIT, 0);
    refused += refuse_u64(&image->allocator_module_start, RTD_ADDRESS_LIMIT, 0);
    for (unsigned i = 0; i < RTD_SIZE_CLASSES; i++) {
        if (!is_sum(image->size_class_count[i]) ||
            image->size_class_count[i] >= (double)RTD_BYTES_LIMIT) {
            image->size_class_count[i] = 0;
            refused++;
        }
    }
    for (unsigned i = 0; i < RTD_LOSS_COUNT; i++) {
        refused += refuse_u64(&image->loss[i], RTD_COUNTER_LIMIT, 0);
    }
    return refused;
}

bool rtd_validity_check_node(uint32_t index, uint64_t word)
{
    return index >= RTD_ROOT_COUNT && index < RTD_NODE_COUNT &&
           (word & (RTD_ADDRESS_LIMIT - 1)) != 0;
}

bool rtd_validity_check_exact_node(const struct rtd_image_node *node)
{
    return node->id >= RTD_ROOT_COUNT && node->id < RTD_EXACT_NODE_COUNT &&
           node->parent < RTD_EXACT_NODE_COUNT && node->pc != 0 && node->pc < RTD_ADDRESS_LIMIT;
}

/* A difference of figures that were read one after the other. */
static void clamp_difference(uint64_t *value, bool *torn)
{
    if (*value > INT64_MAX) {
        *value = 0;
        *torn = true;
    }
}

bool rtd_validity_check_count(struct rtd_image_site *site, struct rtd_image_count *count,
                              uint64_t clock_ms, bool *torn)
{
    uint64_t aged = 0;

    if (site->stack >= RTD_EXACT_NODE_COUNT || site->births >= RTD_COUNTER_LIMIT ||
        site->deaths >= RTD_COUNTER_LIMIT || count->allocated_bytes >= RTD_BYTES_LIMIT ||
        count->freed_bytes >= RTD_BYTES_LIMIT || count->temporary >= RTD_COUNTER_LIMIT) {
        return false;
    }
    clamp_difference(&count->live_bytes, torn);
    clamp_difference(&count->live_blocks, torn);
    clamp_difference(&count->peak_bytes, torn);
    clamp_difference(&count->peak_blocks, torn);
    if (count->peak_bytes >= RTD_BYTES_LIMIT || count->peak_blocks >= RTD_COUNTER_LIMIT) {
        return false;
    }
    for (unsigned i = 1; i < RTD_LIFETIME_BUCKETS; i++) {
        aged += site->lifetime[i];
    }
    const uint64_t young = site->deaths > aged ? site->deaths - aged : 0;
    site->lifetime[0] = young < UINT32_MAX ? (uint32_t)young : UINT32_MAX;
    site->birth_bytes = (double)count->allocated_bytes;
    site->birth_count = (double)site->births;
    site->birth_bytes_var = 0;
    site->birth_count_var = 0;
    site->death_bytes = (double)count->freed_bytes;
    site->death_count = (double)site->deaths;
    settle_site(site, clock_ms);
    return true;
}

static int compare_modules(const void *a, const void *b)
{
    const struct rtd_image_module *left = a;
    const struct rtd_image_module *right = b;

    if (left->start != right->start) {
        return left->start < right->start ? -1 : 1;
    }
    if (left->generation != right->generation) {
        return left->generation < right->generation ? -1 : 1;
    }
    return left->end < right->end ? -1 : left->end > right->end;
}

void rtd_validity_sort_modules(struct rtd_image_module *modules, uint32_t count)
{
    bool sorted = true;

    for (uint32_t i = 1; i < count && sorted; i++) {
        sorted = compare_modules(&modules[i - 1], &modules[i]) <= 0;
    }
    if (!sorted) {
        qsort(modules, count, sizeof(modules[0]), compare_modules);
    }
}

void rtd_validity_set_fixed_tags(struct rtd_image_tag *tags)
{
    memset(tags, 0, RTD_TAG_FIRST * sizeof(tags[0]));
    memcpy(tags[RTD_TAG_OTHER].component, "other", sizeof("other"));
    memcpy(tags[RTD_TAG_OTHER].operation, "other", sizeof("other"));
}
