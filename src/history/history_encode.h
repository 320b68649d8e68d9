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

/* What the file already has of one process's tables. Zero-initialised: nothing. */
struct rtd_encode_known {
    uint64_t *nodes; /* owned, RTD_NODE_COUNT words; NULL = none */
    struct rtd_image_module *modules;
    struct rtd_image_tag *tags; /* owned, RTD_TAG_COUNT */
    uint32_t module_count, tag_count;
};

/* Makes room for the tables: 0 or -ENOMEM. */
int rtd_encode_known_init(struct rtd_encode_known *known);
void rtd_encode_known_fini(struct rtd_encode_known *known);

/* Takes over that everything of image is in the file now. */
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
void rtd_encode_memory(struct rtd_block_buffer *out, const struct rtd_process_record *record);
void rtd_encode_series(struct rtd_block_buffer *out, const struct rtd_site_series *series);

/*
 * Appends entries of table from number first on, until the payload is large enough for one block.
 * Returns the number of the entry to go on with.
 */
size_t rtd_encode_symbols(struct rtd_block_buffer *out, const struct rtd_symbol_table *table,
                          size_t first);

#endif
