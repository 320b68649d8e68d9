// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_table.h - what is known about code addresses: (module, offset) -> frames.
 *
 * Runs in:    collector, report on a recording, a program that links libriptide
 * Threads:    none of its own; one thread at a time (the caller locks). What it hands out stays
 *             in place until rtd_symbol_table_free(), also while entries are added
 * Allocates:  from the heap, within the limits below
 * Fails:      with -ENOMEM; what is beyond a limit is refused with -ENOSPC and counted
 *
 * Why apart from the resolver: a recording carries the frames that were known when it was made, so
 * a report on another machine fills this table from the file and never opens a module.
 *
 * An offset is the ELF virtual address of the call instruction: return address - 1 - load bias.
 */
#ifndef RTD_SYMBOL_TABLE_H
#define RTD_SYMBOL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* The longest build id that is looked at; linkers write 8, 16, 20 or 32 bytes. */
    RTD_SYMBOL_BUILD_ID_BYTES = 64,
    /* Most frames one address can have: itself and what is inlined around it. */
    RTD_SYMBOL_FRAMES = 64,
};

/* Limits of one table. */
#define RTD_SYMBOL_TABLE_ENTRIES ((size_t)1 << 20)
#define RTD_SYMBOL_TABLE_BYTES   ((size_t)256 << 20)

/*
 * Which file the code is in. Two modules are the same when path and build id are.
 * `path` is a string, never NULL; `build_id` may be NULL when `build_id_bytes` is 0 (unknown).
 */
struct rtd_symbol_module {
    const char *path;
    const uint8_t *build_id;
    size_t build_id_bytes;
};

/*
 * One function an address is in. `file` is "" and `line` 0 when only the symbol is known;
 * no string is ever NULL. `inlined` says that the function was inlined into the next frame.
 */
struct rtd_symbol_frame {
    const char *function;
    const char *file;
    uint32_t line;
    bool inlined;
};

struct rtd_symbol_table;

/* What rtd_symbol_table_each() shows; everything is borrowed and lives as long as the table. */
struct rtd_symbol_entry {
    const struct rtd_symbol_module *module;
    uint64_t offset;
    const struct rtd_symbol_frame *frames; /* innermost first */
    size_t frame_count;                    /* 0: looked up, nothing is known */
};

/* A return value other than 0 ends the walk and is handed on. */
typedef int (*rtd_symbol_entry_callback)(void *context, const struct rtd_symbol_entry *entry);

/* A new, empty table; the caller owns it. NULL and the reason in *err (which may be NULL). */
struct rtd_symbol_table *rtd_symbol_table_new(int *err);

/* Frees the table and every string, frame and module it handed out. NULL is allowed. */
void rtd_symbol_table_free(struct rtd_symbol_table *table);

/*
 * Remembers the frames (innermost first) of an address; frame_count 0 says that there are none.
 * Everything is copied. A NULL function or file counts as "". More than RTD_SYMBOL_FRAMES are cut
 * at the outer end. Returns 1 when something was added, 0 when the address was known already (its
 * first answer stays, but frames replace an answer that had none), -ENOSPC beyond a limit
 * (counted), -ENOMEM, -EINVAL.
 */
int rtd_symbol_table_add(struct rtd_symbol_table *table, const struct rtd_symbol_module *module,
                         uint64_t offset, const struct rtd_symbol_frame *frames,
                         size_t frame_count);

/*
 * The frames of an address, innermost first, their number in *frame_count; borrowed, valid until
 * the table is freed. NULL when the address was never looked up; not NULL and *frame_count 0 when
 * it was and nothing is known.
 */
const struct rtd_symbol_frame *rtd_symbol_table_get(const struct rtd_symbol_table *table,
                                                    const struct rtd_symbol_module *module,
                                                    uint64_t offset, size_t *frame_count);

/*
 * Shows the entries in the order they were added, beginning with number `first`; 0 is all. A writer
 * that has stored everything up to rtd_symbol_table_count() continues with that number as `first`;
 * an answer that replaced an empty one comes at the end, anew. Returns 0 or what the callback
 * returned. The callback must not add.
 */
int rtd_symbol_table_each(const struct rtd_symbol_table *table, size_t first,
                          rtd_symbol_entry_callback callback, void *context);

/* One more than the number of the newest entry. */
size_t rtd_symbol_table_count(const struct rtd_symbol_table *table);

/* Bytes held from the heap. */
size_t rtd_symbol_table_bytes(const struct rtd_symbol_table *table);

/* Entries refused because of a limit. */
uint64_t rtd_symbol_table_overflow_count(const struct rtd_symbol_table *table);

#endif
