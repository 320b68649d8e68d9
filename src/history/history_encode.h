// SPDX-License-Identifier: Apache-2.0
/*
 * history_encode.h - payloads of a recording's blocks, from memory to bytes.
 *
 * Runs in:    collector
 * Threads:    no shared state
 * Allocates:  in the buffer it is given
 * Fails:      by the buffer's flag
 *
 * Each function appends one payload. Those of growing tables compare with what the file has (struct
 * rtd_encode_known) and return how many entries are new; 0 means that no block is needed.
 */
#ifndef RTD_HISTORY_ENCODE_H
#define RTD_HISTORY_ENCODE_H

#include "analyze/analyze_input.h"
#include "history/history_buffer.h"

/*
 * What the file already has of one process's tables. Zero-initialised: nothing. Of a node one bit
 * is enough: a word of the trie is written once and never changes, and a ledger whose words do
 * change lies in any case.
 */
struct rtd_encode_known {
    uint64_t *nodes; /* owned, RTD_NODE_COUNT bits; NULL = none */
    struct rtd_image_module *modules;
    struct rtd_image_tag *tags; /* owned, RTD_TAG_COUNT */
    uint32_t module_count, tag_count;
    uint32_t exact_node_count; /* of image->exact->nodes, which only grows */
    uint64_t *exact_prints;    /* owned; of each site's figures */
    uint32_t exact_site_count, exact_site_room;
};

/* Makes room for the tables: 0 or -ENOMEM. */
int rtd_encode_known_init(struct rtd_encode_known *known);
void rtd_encode_known_fini(struct rtd_encode_known *known);

/*
 * Takes over that everything of image is in the file now. When memory is short, the file has more
 * than is known, and the next call writes it once more.
 */
void rtd_encode_known_update(struct rtd_encode_known *known, const struct rtd_image *image);

void rtd_encode_meta(struct rtd_block_buffer *out, const struct rtd_process_meta *meta);
uint32_t rtd_encode_modules(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                            const struct rtd_image *image);
uint32_t rtd_encode_tags(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                         const struct rtd_image *image);
uint32_t rtd_encode_nodes(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                          const struct rtd_image *image);
void rtd_encode_values(struct rtd_block_buffer *out, const struct rtd_image *image);
void rtd_encode_state(struct rtd_block_buffer *out, const struct rtd_image *image);

/* Exact mode: nodes; how many are new. */
uint32_t rtd_encode_exact_nodes(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                                const struct rtd_image *image);

/* Exact mode: the sites that differ from what the file has (known), or all in use (NULL). */
uint32_t rtd_encode_exact_sites(struct rtd_block_buffer *out, const struct rtd_encode_known *known,
                                const struct rtd_image *image);

/* Exact mode: live blocks of which the age is known. */
void rtd_encode_exact_blocks(struct rtd_block_buffer *out, const struct rtd_image *image);

/* The exact part of rtd_encode_known_update(). */
void rtd_encode_exact_update(struct rtd_encode_known *known, const struct rtd_image *image);
void rtd_encode_memory(struct rtd_block_buffer *out, const struct rtd_process_record *record);
void rtd_encode_series(struct rtd_block_buffer *out, const struct rtd_site_series *series);

/*
 * Appends entries of table from number first on, until the payload is large enough for one block.
 * Returns the number of the entry to go on with.
 */
size_t rtd_encode_symbols(struct rtd_block_buffer *out, const struct rtd_symbol_table *table,
                          size_t first);

#endif
