// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_table.c - what is known about code addresses: (module, offset) -> frames.
 *
 * Runs in:    collector, report on a recording, a program that links libriptide
 * Threads:    see the header
 * Allocates:  chunks for everything that is handed out, growing arrays for everything that is not
 * Fails:      see the header
 *
 * Three lists (strings, modules, entries), each with an open-addressing index of positions + 1.
 * Strings, frames and modules live in chunks that never move, so a pointer handed out stays good;
 * lists and indexes may move. An entry whose empty answer was replaced stays in its place and is
 * marked, so that numbers of entries never change.
 */
#include "symbol/symbol_table.h"

#include "base/base_macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 64 * 1024, FIRST_SLOTS = 64, PATH_BYTES_MAX = 4096, TEXT_BYTES_MAX = 8192 };

struct chunk {
    struct chunk *next;
    size_t used_bytes, size_bytes;
    max_align_t data[];
};

struct text {
    const char *text;
    uint64_t hash;
};

struct module {
    const struct rtd_symbol_module *module;
    uint64_t hash;
};

struct entry {
    uint64_t offset, hash;
    const struct rtd_symbol_frame *frames;
    uint32_t module;
    uint16_t frame_count;
    bool replaced;
};

/* One list and its index; `items` holds `count` elements of `item_bytes`. */
struct list {
    char *items;
    uint32_t *slots;
    size_t count, capacity, slot_count;
};

struct rtd_symbol_table {
    struct chunk *chunks;
    struct list texts, modules, entries;
    size_t bytes;
    uint64_t overflow_count;
};

/* Known and nothing to say: distinct from NULL. */
static const struct rtd_symbol_frame no_frames[1] = {{"", "", 0, false}};

/* FNV-1a: the texts are short, and hostile ones cost a slow table at worst. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Spreads the high bits into the low ones, which choose the slot. */
static uint64_t hash_finish(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ (hash >> 32);
}

static uint64_t hash_module(const struct rtd_symbol_module *module)
{
    const uint64_t hash =
        hash_bytes(UINT64_C(0xcbf29ce484222325), module->path, strlen(module->path) + 1);

    return hash_finish(hash_bytes(hash, module->build_id, module->build_id_bytes));
}

static uint64_t hash_address(uint64_t module_hash, uint64_t offset)
{
    return hash_finish(module_hash + offset * UINT64_C(0x9e3779b97f4a7c15));
}

static const struct text *text_at(const struct rtd_symbol_table *table, size_t i)
{
    return (const struct text *)(const void *)table->texts.items + i;
}

static const struct module *module_at(const struct rtd_symbol_table *table, size_t i)
{
    return (const struct module *)(const void *)table->modules.items + i;
}

static struct entry *entry_at(const struct rtd_symbol_table *table, size_t i)
{
    return (struct entry *)(void *)table->entries.items + i;
}

static bool modules_equal(const struct rtd_symbol_module *a, const struct rtd_symbol_module *b)
{
    return a->build_id_bytes == b->build_id_bytes && strcmp(a->path, b->path) == 0 &&
           (a->build_id_bytes == 0 || memcmp(a->build_id, b->build_id, a->build_id_bytes) == 0);
}

/* Counts what is held, so that a table fed by a hostile recording ends at the limit. */
static bool limit_reached(struct rtd_symbol_table *table, size_t more_bytes)
{
    if (more_bytes <= RTD_SYMBOL_TABLE_BYTES && table->bytes <= RTD_SYMBOL_TABLE_BYTES - more_bytes)
        return false;
    return true;
}

/* Room that never moves. What is left of the old chunk when a new one begins stays unused. */
static void *chunk_alloc(struct rtd_symbol_table *table, size_t bytes, int *err)
{
    const size_t alignment = sizeof(max_align_t);
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    struct chunk *chunk = table->chunks;

    if (!chunk || chunk->size_bytes - chunk->used_bytes < rounded) {
        const size_t size = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;

        if (limit_reached(table, size + sizeof(*chunk))) {
            *err = -ENOSPC;
            return NULL;
        }
        chunk = malloc(sizeof(*chunk) + size);
        if (!chunk) {
            *err = -ENOMEM;
            return NULL;
        }
        *chunk = (struct chunk){.next = table->chunks, .size_bytes = size};
        table->chunks = chunk;
        table->bytes += sizeof(*chunk) + size;
    }
    void *result = (char *)chunk->data + chunk->used_bytes;
    chunk->used_bytes += rounded;
    return result;
}

/* The hash stored in item i; it lies at hash_offset in each item. */
static uint64_t item_hash(const struct list *list, size_t item_bytes, size_t hash_offset, size_t i)
{
    uint64_t hash;

    memcpy(&hash, list->items + i * item_bytes + hash_offset, sizeof(hash));
    return hash;
}

/* The caller made room, so there is a free slot. */
static void slot_put(struct list *list, uint64_t hash, size_t position)
{
    size_t slot = (size_t)hash & (list->slot_count - 1);

    while (list->slots[slot] != 0)
        slot = (slot + 1) & (list->slot_count - 1);
    list->slots[slot] = (uint32_t)position + 1;
}

static int list_grow_slots(struct rtd_symbol_table *table, struct list *list, size_t item_bytes,
                           size_t hash_offset)
{
    const size_t slot_count = list->slot_count ? 2 * list->slot_count : FIRST_SLOTS;

    if (limit_reached(table, slot_count * sizeof(uint32_t)))
        return -ENOSPC;
    uint32_t *slots = calloc(slot_count, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    table->bytes += (slot_count - list->slot_count) * sizeof(uint32_t);
    free(list->slots);
    list->slots = slots;
    list->slot_count = slot_count;
    for (size_t i = 0; i < list->count; i++)
        slot_put(list, item_hash(list, item_bytes, hash_offset, i), i);
    return 0;
}

/* Makes room for one more item, so that the append that follows cannot fail. */
static int list_reserve(struct rtd_symbol_table *table, struct list *list, size_t item_bytes,
                        size_t hash_offset)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 32;

        if (limit_reached(table, capacity * item_bytes))
            return -ENOSPC;
        char *items = realloc(list->items, capacity * item_bytes);
        if (!items)
            return -ENOMEM;
        table->bytes += (capacity - list->capacity) * item_bytes;
        list->items = items;
        list->capacity = capacity;
    }
    /* At most three quarters full, counting the places of replaced entries too. */
    if (4 * (list->count + 1) > 3 * list->slot_count)
        return list_grow_slots(table, list, item_bytes, hash_offset);
    return 0;
}

static void list_append(struct list *list, const void *item, size_t item_bytes, uint64_t hash)
{
    memcpy(list->items + list->count * item_bytes, item, item_bytes);
    slot_put(list, hash, list->count);
    list->count++;
}

/* The one copy of a string in this table; NULL and the reason in *err. */
static const char *intern(struct rtd_symbol_table *table, const char *text, int *err)
{
    if (!text || !text[0])
        return "";
    const size_t length = strnlen(text, TEXT_BYTES_MAX);
    const uint64_t hash = hash_finish(hash_bytes(UINT64_C(0xcbf29ce484222325), text, length));
    const struct list *list = &table->texts;

    for (size_t slot = (size_t)hash; list->slot_count; slot++) {
        const uint32_t position = list->slots[slot & (list->slot_count - 1)];

        if (position == 0)
            break;
        const struct text *known = text_at(table, position - 1);
        if (known->hash == hash && strncmp(known->text, text, length) == 0 &&
            known->text[length] == '\0')
            return known->text;
    }
    *err = list_reserve(table, &table->texts, sizeof(struct text), offsetof(struct text, hash));
    if (*err < 0)
        return NULL;
    char *copy = chunk_alloc(table, length + 1, err);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    list_append(&table->texts, &(struct text){copy, hash}, sizeof(struct text), hash);
    return copy;
}

static const uint32_t *module_find(const struct rtd_symbol_table *table,
                                   const struct rtd_symbol_module *module, uint64_t hash)
{
    const struct list *list = &table->modules;

    for (size_t slot = (size_t)hash; list->slot_count; slot++) {
        const uint32_t *position = &list->slots[slot & (list->slot_count - 1)];

        if (*position == 0)
            break;
        const struct module *known = module_at(table, *position - 1);
        if (known->hash == hash && modules_equal(known->module, module))
            return position;
    }
    return NULL;
}

/* Number of the module in this table, which is added when new; negative errno. */
static int64_t module_intern(struct rtd_symbol_table *table, const struct rtd_symbol_module *module,
                             uint64_t hash)
{
    const uint32_t *position = module_find(table, module, hash);

    if (position)
        return (int64_t)*position - 1;
    int err =
        list_reserve(table, &table->modules, sizeof(struct module), offsetof(struct module, hash));
    if (err < 0)
        return err;
    struct rtd_symbol_module *copy =
        chunk_alloc(table, sizeof(*copy) + module->build_id_bytes, &err);
    if (!copy)
        return err;
    *copy = *module;
    copy->path = intern(table, module->path, &err);
    if (!copy->path)
        return err;
    if (module->build_id_bytes) {
        memcpy(copy + 1, module->build_id, module->build_id_bytes);
        copy->build_id = (const uint8_t *)(copy + 1);
    }
    list_append(&table->modules, &(struct module){copy, hash}, sizeof(struct module), hash);
    return (int64_t)table->modules.count - 1;
}

static uint32_t *entry_find(const struct rtd_symbol_table *table, uint32_t module, uint64_t offset,
                            uint64_t hash)
{
    const struct list *list = &table->entries;

    for (size_t slot = (size_t)hash; list->slot_count; slot++) {
        uint32_t *position = &list->slots[slot & (list->slot_count - 1)];

        if (*position == 0)
            break;
        const struct entry *entry = entry_at(table, *position - 1);
        if (!entry->replaced && entry->offset == offset && entry->module == module)
            return position;
    }
    return NULL;
}

/* Copies with interned texts: functions and files repeat from address to address. */
static const struct rtd_symbol_frame *frames_copy(struct rtd_symbol_table *table,
                                                  const struct rtd_symbol_frame *frames,
                                                  size_t frame_count, int *err)
{
    if (frame_count == 0)
        return no_frames;
    struct rtd_symbol_frame *copies = chunk_alloc(table, frame_count * sizeof(*copies), err);
    if (!copies)
        return NULL;
    for (size_t i = 0; i < frame_count; i++) {
        copies[i] = frames[i];
        copies[i].function = intern(table, frames[i].function, err);
        copies[i].file = intern(table, frames[i].file, err);
        if (!copies[i].function || !copies[i].file)
            return NULL;
    }
    return copies;
}

struct rtd_symbol_table *rtd_symbol_table_new(int *err)
{
    struct rtd_symbol_table *table = calloc(1, sizeof(*table));

    if (!table && err)
        *err = -ENOMEM;
    if (table)
        table->bytes = sizeof(*table);
    return table;
}

void rtd_symbol_table_free(struct rtd_symbol_table *table)
{
    if (!table)
        return;
    for (struct chunk *chunk = table->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    struct list *const lists[] = {&table->texts, &table->modules, &table->entries};
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(lists); i++) {
        free(lists[i]->items);
        free(lists[i]->slots);
    }
    free(table);
}

/*
 * Everything that can fail comes before the entry is appended; what was interned for an entry that
 * then failed stays, harmless, in the table.
 */
static int add_entry(struct rtd_symbol_table *table, const struct rtd_symbol_module *module,
                     uint64_t offset, const struct rtd_symbol_frame *frames, size_t frame_count)
{
    const uint64_t module_hash = hash_module(module);
    const uint64_t hash = hash_address(module_hash, offset);
    const int64_t number = module_intern(table, module, module_hash);
    int err = 0;

    if (number < 0)
        return (int)number;
    const uint32_t *known = entry_find(table, (uint32_t)number, offset, hash);
    if (known && (frame_count == 0 || entry_at(table, *known - 1)->frame_count > 0))
        return 0;
    if (table->entries.count >= RTD_SYMBOL_TABLE_ENTRIES)
        return -ENOSPC;
    const size_t old = known ? *known : 0;
    err = list_reserve(table, &table->entries, sizeof(struct entry), offsetof(struct entry, hash));
    if (err < 0)
        return err;
    const struct rtd_symbol_frame *copies = frames_copy(table, frames, frame_count, &err);
    if (!copies)
        return err;
    if (old)
        entry_at(table, old - 1)->replaced = true;
    const struct entry entry = {.offset = offset,
                                .hash = hash,
                                .frames = copies,
                                .module = (uint32_t)number,
                                .frame_count = (uint16_t)frame_count};
    list_append(&table->entries, &entry, sizeof(entry), hash);
    return 1;
}

int rtd_symbol_table_add(struct rtd_symbol_table *table, const struct rtd_symbol_module *module,
                         uint64_t offset, const struct rtd_symbol_frame *frames, size_t frame_count)
{
    if (!module->path || strnlen(module->path, PATH_BYTES_MAX) == PATH_BYTES_MAX ||
        module->build_id_bytes > RTD_SYMBOL_BUILD_ID_BYTES || (frame_count && !frames) ||
        (module->build_id_bytes && !module->build_id))
        return -EINVAL;
    if (frame_count > RTD_SYMBOL_FRAMES)
        frame_count = RTD_SYMBOL_FRAMES;
    const int result = add_entry(table, module, offset, frames, frame_count);
    if (result == -ENOSPC)
        table->overflow_count++;
    return result;
}

const struct rtd_symbol_frame *rtd_symbol_table_get(const struct rtd_symbol_table *table,
                                                    const struct rtd_symbol_module *module,
                                                    uint64_t offset, size_t *frame_count)
{
    const uint64_t module_hash = hash_module(module);
    const uint32_t *number = module_find(table, module, module_hash);

    *frame_count = 0;
    if (!number)
        return NULL;
    const uint32_t *position =
        entry_find(table, *number - 1, offset, hash_address(module_hash, offset));
    if (!position)
        return NULL;
    const struct entry *entry = entry_at(table, *position - 1);
    *frame_count = entry->frame_count;
    return entry->frames;
}

int rtd_symbol_table_each(const struct rtd_symbol_table *table, size_t first,
                          rtd_symbol_entry_callback callback, void *context)
{
    for (size_t i = first; i < table->entries.count; i++) {
        const struct entry *entry = entry_at(table, i);
        const struct rtd_symbol_entry shown = {.module = module_at(table, entry->module)->module,
                                               .offset = entry->offset,
                                               .frames = entry->frames,
                                               .frame_count = entry->frame_count};
        const int result = entry->replaced ? 0 : callback(context, &shown);

        if (result != 0)
            return result;
    }
    return 0;
}

size_t rtd_symbol_table_count(const struct rtd_symbol_table *table)
{
    return table->entries.count;
}

size_t rtd_symbol_table_bytes(const struct rtd_symbol_table *table)
{
    return table->bytes;
}

uint64_t rtd_symbol_table_overflow_count(const struct rtd_symbol_table *table)
{
    return table->overflow_count;
}
