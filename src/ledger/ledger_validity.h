// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_validity.h - what a figure from outside must look like to enter an image.
 *
 * Runs in:    collector, report, tests
 * Threads:    pure functions on private copies
 * Allocates:  never
 * Fails:      by saying no; nothing here trusts its input
 *
 * One set of rules for both ways into an image, the mapped ledger and a recording, so that what a
 * consumer may rely on does not depend on where an image came from.
 */
#ifndef RTD_LEDGER_VALIDITY_H
#define RTD_LEDGER_VALIDITY_H

#include "ledger/ledger_reader.h"

/* End of the user half of the address space: code and blocks lie below it. */
#define RTD_ADDRESS_LIMIT (UINT64_C(1) << RTD_PC_BITS)
/* No honest cumulative counter reaches this, and sums of all records' counters cannot wrap. */
#define RTD_COUNTER_LIMIT (UINT64_C(1) << 49)
/* Estimated byte sums are larger: 2^60 bytes is an exabyte. */
#define RTD_BYTES_LIMIT (UINT64_C(1) << 60)
/* Largest sampling or storage interval that is believed. */
#define RTD_INTERVAL_LIMIT (UINT64_C(1) << 31)
/* A clock later than this (139 years) is not a clock. */
#define RTD_CLOCK_LIMIT_MS (UINT64_C(1) << 42)

/*
 * Makes text a NUL-terminated UTF-8 string without control characters in place: each offending
 * byte becomes '?', everything behind the terminator becomes zero. size >= 1 bytes are looked at.
 * True when it was fine already.
 */
bool rtd_validity_clean_text(char *text, size_t size);

/* Checks a copied module and cleans its name; false: not to be used. */
bool rtd_validity_check_module(struct rtd_image_module *module);

/* Checks address, size and interval of a copied sample; the site index is the caller's matter. */
bool rtd_validity_check_sample(const struct rtd_image_sample *sample);

/*
 * Checks a copied site and brings its times in order; a root in place of a stack becomes 0. The
 * tag is the caller's matter. False: not to be used.
 */
bool rtd_validity_check_site(struct rtd_image_site *site, uint64_t clock_ms);

/*
 * Checks the header values of an image; what is not believable becomes harmless. Returns how many
 * values were refused.
 */
unsigned rtd_validity_check_header(struct rtd_image *image);

/* True when a word may stand at this index of the trie: not a root's place, a pc inside. */
bool rtd_validity_check_node(uint32_t index, uint64_t word);

/* The same of a node of the exact trie. */
bool rtd_validity_check_exact_node(const struct rtd_image_node *node);

/*
 * Checks the sums of a site in exact mode, in which its live and peak figures are still differences
 * that may be negative (two's complement), and completes the site from them. False: not to be used.
 * *torn becomes true when a figure that cannot be negative was and became 0.
 */
bool rtd_validity_check_count(struct rtd_image_site *site, struct rtd_image_count *count,
                              uint64_t clock_ms, bool *torn);

/* Puts the modules in the order that rtd_image_module_at() needs. */
void rtd_validity_sort_modules(struct rtd_image_module *modules, uint32_t count);

/* The two tags that every image has. */
void rtd_validity_set_fixed_tags(struct rtd_image_tag *tags);

/*
 * The time that a ledger or a recording keeps as its low 32 bits: the newest one not after the
 * clock. One that is a little after it is of the moment in which the clock was read. So a process
 * of any age has right ages, and what is older than 49 days looks younger.
 */
static inline uint64_t rtd_validity_time_ms(uint64_t clock_ms, uint32_t low)
{
    const uint32_t age_ms = (uint32_t)clock_ms - low;
    const uint32_t just_now = UINT32_MAX - 60000;
    return age_ms > clock_ms || age_ms > just_now ? clock_ms : clock_ms - age_ms;
}

#endif
