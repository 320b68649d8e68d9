// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_writer.h - puts stacks, sites, samples, tags and threads into a ledger.
 *
 * Runs in:    agent (slow paths), tests
 * Threads:    any number of writers at once, lock-free; a reader in another process
 * Allocates:  never; no syscall, no lock
 * Fails:      by a "none" result after a bounded number of probes; the caller counts the loss
 *
 * Every entry is claimed by one compare-and-swap on one word. Two threads that insert the same
 * thing at the same moment may both succeed (duplicate trie node): readers merge by content.
 */
#ifndef RTD_LEDGER_WRITER_H
#define RTD_LEDGER_WRITER_H

#include "ledger/ledger_layout.h"

#include <stdbool.h>

#define RTD_NONE UINT32_MAX

/* Root of the trie for stacks taken in this dlclose() generation. */
static inline uint32_t rtd_node_root(uint32_t generation, bool truncated)
{
    const uint32_t g = generation < RTD_GENERATION_MAX ? generation : RTD_GENERATION_MAX;
    return g * 2 + (truncated ? 1 : 0);
}

/*
 * Finds or adds the child pc of parent. Sets *added when the node is new. RTD_NONE when the table
 * is too full.
 */
uint32_t rtd_node_insert(struct rtd_ledger *ledger, uint32_t parent, uint64_t pc, bool *added);

/* Finds or adds the site of (stack, tag); RTD_SITE_OVERFLOW when the table is too full. */
uint32_t rtd_site_insert(struct rtd_ledger *ledger, uint32_t stack, uint32_t tag);

/* One sampled birth or death of size bytes: weights follow from the interval it was drawn with. */
struct rtd_site_event {
    uint64_t size;
    uint32_t interval;
    uint32_t now_ms;
    uint32_t age_ms; /* deaths only */
};

void rtd_site_birth(struct rtd_ledger *ledger, uint32_t site, const struct rtd_site_event *event);
void rtd_site_death(struct rtd_ledger *ledger, uint32_t site, const struct rtd_site_event *event);

/* A live sample as the writer hands it over and gets it back. */
struct rtd_sample_value {
    uint64_t size;
    uint32_t interval, site, thread, birth_ms;
};

enum rtd_sample_result {
    RTD_SAMPLE_STORED = 0,
    RTD_SAMPLE_REPLACED = 1, /* the address was still listed: its free was not seen */
    RTD_SAMPLE_FULL = 2,
};

/* The caller owns the block at address (it is allocated and not yet returned to the program). */
enum rtd_sample_result rtd_sample_insert(struct rtd_ledger *ledger, uint64_t address,
                                         const struct rtd_sample_value *value);

/* Removes the sample of address; false when there is none. At most one caller gets it. */
bool rtd_sample_take(struct rtd_ledger *ledger, uint64_t address, struct rtd_sample_value *value);

/*
 * Doubles the storage interval, and the interval of every sample that is still below it, and keeps
 * each of those with the probability that leaves all estimates unbiased. One thread at a time
 * (others return at once with 0). Returns how many were removed.
 */
unsigned rtd_sample_thin(struct rtd_ledger *ledger, uint64_t *random_state);

/*
 * After RTD_SAMPLE_FULL: thins the samples of the least interval in the two buckets of address
 * alone until one of them went. Each sample carries its own interval, so estimates stay unbiased.
 * Another thread may take the room before the caller does.
 */
void rtd_sample_make_room(struct rtd_ledger *ledger, uint64_t address, uint64_t *random_state);

/* Weight of a sample: size / (1 - exp(-(size + 1) / interval)), rounded. */
uint64_t rtd_sample_weight(uint64_t size, uint32_t interval);

/* Finds or adds a component/operation pair; RTD_TAG_OTHER when the table is full. */
uint32_t rtd_tag_insert(struct rtd_ledger *ledger, const char *component, const char *operation);

/*
 * The same in a table of RTD_TAG_COUNT entries that is no ledger's; RTD_NONE when it is full.
 * *is_new: this call added the pair.
 */
uint32_t rtd_tag_table_insert(struct rtd_tag *table, const char *component, const char *operation,
                              bool *is_new);

/*
 * Copies the names of an entry into buffers of RTD_TAG_NAME_BYTES; RTD_TAG_OTHER is "other". 0, or
 * -ENOENT for an id that was not given out.
 */
int rtd_tag_table_names(const struct rtd_tag *table, uint32_t id, char *component, char *operation);

/* Gives a ledger an entry of such a table under the same id, unless it has one there. */
void rtd_tag_publish(struct rtd_ledger *ledger, const struct rtd_tag *table, uint32_t id);

/* Claims a block for a thread; RTD_NONE when all are taken. hint spreads the search. */
uint32_t rtd_thread_claim(struct rtd_ledger *ledger, uint32_t tid, uint32_t hint);

/* Appends a module (all fields but start and reserved taken from *value); false when full. */
struct rtd_module_value {
    uint64_t start, end, bias;
    uint32_t generation;
    uint32_t build_id_bytes;
    const uint8_t *build_id;
    const char *name; /* NUL-terminated, cut if too long */
};
bool rtd_module_append(struct rtd_ledger *ledger, const struct rtd_module_value *value);

/* Adds to a loss counter. */
static inline void rtd_loss_add(struct rtd_ledger *ledger, enum rtd_loss loss, uint64_t n)
{
    atomic_fetch_add_explicit(&ledger->header.loss[loss], n, memory_order_relaxed);
}

#endif
