// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_arena.c - see analyze_arena.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  blocks as mappings, the table of strings from the heap
 * Fails:      by NULL and `failed`
 */
#include "analyze/analyze_arena.h"

#include "ledger/ledger_array.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rtd_arena_block {
    struct rtd_arena_block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char bytes[];
};

enum { FIRST_BLOCK_BYTES = 64 * 1024, LARGEST_BLOCK_BYTES = 1024 * 1024, FIRST_SLOTS = 256 };

void rtd_arena_fini(struct rtd_arena *arena)
{
    struct rtd_arena_block *block = arena->blocks;
    while (block) {
        struct rtd_arena_block *next = block->next;
        rtd_array_free(block, sizeof *block + block->size);
        block = next;
    }
    free(arena->strings);
    *arena = (struct rtd_arena){0};
}

static struct rtd_arena_block *add_block(struct rtd_arena *arena, size_t least)
{
    size_t size = arena->blocks ? arena->blocks->size * 2 : FIRST_BLOCK_BYTES;
    if (size > LARGEST_BLOCK_BYTES)
        size = LARGEST_BLOCK_BYTES;
    if (size < least)
        size = least;
    /* All are mappings: fresh pages are zero, and all of them go when a report goes. */
    struct rtd_arena_block *block = rtd_array_grow(NULL, 0, sizeof *block + size);
    if (!block)
        return NULL;
    block->size = size;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *rtd_arena_take(struct rtd_arena *arena, size_t bytes)
{
    const size_t align = alignof(max_align_t);
    if (bytes > SIZE_MAX / 2)
        goto refused;
    bytes = (bytes + align - 1) & ~(align - 1);
    struct rtd_arena_block *block = arena->blocks;
    if (!block || block->size - block->used < bytes)
        block = add_block(arena, bytes);
    if (!block)
        goto refused;
    void *result = block->bytes + block->used;
    block->used += bytes;
    return result;
refused:
    arena->failed = true;
    return NULL;
}

void *rtd_arena_take_array(struct rtd_arena *arena, size_t count, size_t bytes)
{
    if (bytes && count > SIZE_MAX / bytes) {
        arena->failed = true;
        return NULL;
    }
    return rtd_arena_take(arena, count * bytes);
}

static size_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ (hash >> 29));
}

/* The slot that holds text, or the free one where it belongs. */
static const char **find_slot(const char **slots, size_t slot_count, const char *text)
{
    size_t at = hash_text(text) & (slot_count - 1);
    while (slots[at] && strcmp(slots[at], text) != 0)
        at = (at + 1) & (slot_count - 1);
    return &slots[at];
}

static bool grow_strings(struct rtd_arena *arena)
{
    const size_t slot_count = arena->string_slots ? arena->string_slots * 2 : FIRST_SLOTS;
    const char **slots = calloc(slot_count, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < arena->string_slots; i++) {
        if (arena->strings[i])
            *find_slot(slots, slot_count, arena->strings[i]) = arena->strings[i];
    }
    free(arena->strings);
    arena->strings = slots;
    arena->string_slots = slot_count;
    return true;
}

const char *rtd_arena_intern(struct rtd_arena *arena, const char *text)
{
    if (!text)
        return NULL;
    if (arena->string_count * 2 >= arena->string_slots && !grow_strings(arena)) {
        arena->failed = true;
        return "";
    }
    const char **slot = find_slot(arena->strings, arena->string_slots, text);
    if (!*slot) {
        const size_t bytes = strlen(text) + 1;
        char *copy = rtd_arena_take(arena, bytes);
        if (!copy)
            return "";
        memcpy(copy, text, bytes);
        *slot = copy;
        arena->string_count++;
    }
    return *slot;
}

const char *rtd_arena_format(struct rtd_arena *arena, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return rtd_arena_intern(arena, text);
}
