// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_stacks.c - see analyze_stacks.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the report's arena and from the heap
 * Fails:      by -ENOMEM
 */
#include "analyze/analyze_stacks.h"

#include "analyze/analyze_place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rtd_module_name {
    const char *path, *build_id;
    enum rtd_frame_kind kind;
};

/* What is known of one return address: its frames, innermost first. */
struct rtd_place {
    uint64_t pc; /* 0 = free slot */
    uint32_t generation, frame_count;
    const struct rtd_report_frame *frames;
    const enum rtd_frame_kind *kinds;
};

enum { FIRST_PLACES = 1024, FRAMES_FIRST = 512 };

static void name_module(struct rtd_stacks *stacks, uint32_t index)
{
    const struct rtd_image_module *module = &stacks->record->image->modules[index];
    struct rtd_module_name *name = &stacks->modules[index];
    struct rtd_symbol_module key;
    char hex[2 * RTD_BUILD_ID_BYTES + 1] = "";
    rtd_place_key(module, &stacks->record->meta, &key);
    for (uint32_t i = 0; i < module->build_id_bytes && i < RTD_BUILD_ID_BYTES; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", module->build_id[i]);
    name->path = rtd_arena_intern(stacks->arena, key.path[0] ? key.path : "?");
    name->build_id = rtd_arena_intern(stacks->arena, hex);
    name->kind = rtd_attribute_module(name->path);
    /* A shared object whose malloc is the real one is an allocator under whatever name; a
     * program or C library that defines it is much else besides. */
    const uint64_t start = stacks->record->image->allocator_module_start;
    if (module->name[0] && name->kind == RTD_FRAME_PROGRAM && start >= module->start &&
        start < module->end)
        name->kind = RTD_FRAME_ALLOCATOR;
}

int rtd_stacks_init(struct rtd_stacks *stacks, const struct rtd_process_record *record,
                    const struct rtd_symbol_table *symbols, struct rtd_arena *arena)
{
    *stacks = (struct rtd_stacks){.record = record, .symbols = symbols, .arena = arena};
    const struct rtd_image *image = record->image;
    stacks->modules = calloc(image->module_count + 1u, sizeof *stacks->modules);
    stacks->places = calloc(FIRST_PLACES, sizeof *stacks->places);
    if (!stacks->modules || !stacks->places) {
        rtd_stacks_fini(stacks);
        return -ENOMEM;
    }
    stacks->place_slots = FIRST_PLACES;
    for (uint32_t i = 0; i < image->module_count; i++)
        name_module(stacks, i);
    return arena->failed ? -ENOMEM : 0;
}

void rtd_stacks_fini(struct rtd_stacks *stacks)
{
    free(stacks->kinds);
    free(stacks->frames);
    free(stacks->places);
    free(stacks->modules);
    stacks->kinds = NULL;
    stacks->frames = NULL;
    stacks->places = NULL;
    stacks->modules = NULL;
}

static size_t hash_place(uint64_t pc, uint32_t generation)
{
    const uint64_t mixed = (pc ^ ((uint64_t)generation << 48)) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 32);
}

static struct rtd_place *find_place(struct rtd_place *places, size_t slots, uint64_t pc,
                                    uint32_t generation)
{
    size_t at = hash_place(pc, generation) & (slots - 1);
    while (places[at].pc && (places[at].pc != pc || places[at].generation != generation))
        at = (at + 1) & (slots - 1);
    return &places[at];
}

static int grow_places(struct rtd_stacks *stacks)
{
    const size_t slots = stacks->place_slots * 2;
    struct rtd_place *places = calloc(slots, sizeof *places);
    if (!places)
        return -ENOMEM;
    for (size_t i = 0; i < stacks->place_slots; i++) {
        const struct rtd_place *old = &stacks->places[i];
        if (old->pc)
            *find_place(places, slots, old->pc, old->generation) = *old;
    }
    free(stacks->places);
    stacks->places = places;
    stacks->place_slots = slots;
    return 0;
}

static const char *text_or_null(struct rtd_arena *arena, const char *text)
{
    return text && text[0] ? rtd_arena_intern(arena, text) : NULL;
}

/* Turns what the symbol table knows (or nothing) into frames of the report. */
static int make_frames(struct rtd_stacks *stacks, struct rtd_place *place,
                       const struct rtd_image_module *module)
{
    const struct rtd_symbol_frame *symbols = NULL;
    struct rtd_report_frame base = {.module = "?", .build_id = "", .offset = place->pc - 1};
    enum rtd_frame_kind kind = RTD_FRAME_PROGRAM;
    size_t known = 0;
    if (module) {
        const struct rtd_module_name *name =
            &stacks->modules[module - stacks->record->image->modules];
        struct rtd_symbol_module key;
        base.module = name->path;
        base.build_id = name->build_id;
        base.offset = rtd_place_offset(module, place->pc);
        kind = name->kind;
        rtd_place_key(module, &stacks->record->meta, &key);
        if (stacks->symbols)
            symbols = rtd_symbol_table_get(stacks->symbols, &key, base.offset, &known);
        /* There it is a number that depends on who was recorded first; the name says it all. */
        if (symbols && known != 0 && strcmp(base.module, RTD_GIVEN_MODULE) == 0)
            base.offset = 0;
    }
    if (!symbols || known == 0)
        known = 1;
    struct rtd_report_frame *frames = rtd_arena_take_array(stacks->arena, known, sizeof *frames);
    enum rtd_frame_kind *kinds = rtd_arena_take_array(stacks->arena, known, sizeof *kinds);
    if (!frames || !kinds)
        return -ENOMEM;
    for (size_t i = 0; i < known; i++) {
        frames[i] = base;
        if (symbols) {
            frames[i].function = text_or_null(stacks->arena, symbols[i].function);
            frames[i].file = text_or_null(stacks->arena, symbols[i].file);
            frames[i].line = symbols[i].line;
            frames[i].inlined = symbols[i].inlined;
        }
        kinds[i] = rtd_attribute_frame(kind, frames[i].function, frames[i].file);
    }
    place->frames = frames;
    place->kinds = kinds;
    place->frame_count = (uint32_t)known;
    return stacks->arena->failed ? -ENOMEM : 0;
}

static int get_place(struct rtd_stacks *stacks, uint64_t pc, uint32_t generation,
                     const struct rtd_place **out)
{
    if (stacks->place_count * 2 >= stacks->place_slots && grow_places(stacks) < 0)
        return -ENOMEM;
    struct rtd_place *place = find_place(stacks->places, stacks->place_slots, pc, generation);
    if (!place->pc) {
        struct rtd_place made = {.pc = pc, .generation = generation};
        const int result = make_frames(
            stacks, &made, rtd_image_module_at(stacks->record->image, pc - 1, generation));
        if (result < 0)
            return result;
        *place = made;
        stacks->place_count++;
    }
    *out = place;
    return 0;
}

static int reserve_frames(struct rtd_stacks *stacks, uint32_t count)
{
    if (count <= stacks->frame_room)
        return 0;
    uint32_t room = stacks->frame_room ? stacks->frame_room : FRAMES_FIRST;
    while (room < count)
        room *= 2;
    void *frames = realloc(stacks->frames, room * sizeof *stacks->frames);
    if (frames)
        stacks->frames = frames;
    void *kinds = realloc(stacks->kinds, room * sizeof *stacks->kinds);
    if (kinds)
        stacks->kinds = kinds;
    if (!frames || !kinds)
        return -ENOMEM;
    stacks->frame_room = room;
    return 0;
}

/* Interned strings are equal when their addresses are. */
static uint64_t hash_frame(uint64_t hash, const struct rtd_report_frame *frame)
{
    hash = (hash ^ frame->offset) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ (uint64_t)(uintptr_t)frame->module) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ (uint64_t)(uintptr_t)frame->function) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 31);
}

bool rtd_stacks_equal(const struct rtd_report_frame *a, const struct rtd_report_frame *b,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (a[i].offset != b[i].offset || a[i].module != b[i].module ||
            a[i].build_id != b[i].build_id || a[i].function != b[i].function)
            return false;
    }
    return true;
}

int rtd_stacks_get(struct rtd_stacks *stacks, uint32_t stack, struct rtd_stack_view *out)
{
    uint32_t count = 0;
    *out = (struct rtd_stack_view){0};
    stacks->stack.pc_count = 0;
    stacks->stack.truncated = false;
    if (stack != 0)
        rtd_image_stack_get(stacks->record->image, stack, &stacks->stack);
    for (uint32_t i = 0; i < stacks->stack.pc_count; i++) {
        const struct rtd_place *place = NULL;
        int result = stacks->stack.pcs[i] == 0 ? 0
                                               : get_place(stacks, stacks->stack.pcs[i],
                                                           stacks->stack.generation, &place);
        if (result < 0)
            return result;
        if (!place)
            continue;
        result = reserve_frames(stacks, count + place->frame_count);
        if (result < 0)
            return result;
        memcpy(stacks->frames + count, place->frames, place->frame_count * sizeof *place->frames);
        memcpy(stacks->kinds + count, place->kinds, place->frame_count * sizeof *place->kinds);
        count += place->frame_count;
    }
    const uint32_t leading = count ? rtd_attribute_leading(stacks->kinds, count) : 0;
    out->frame_count = count - leading;
    out->frames = count ? stacks->frames + leading : NULL;
    out->named_frame = count ? rtd_attribute_named(stacks->kinds + leading, out->frame_count) : 0;
    out->truncated = stacks->stack.truncated;
    out->hash = out->frame_count + (out->truncated ? 1u << 20 : 0);
    for (uint32_t i = 0; i < out->frame_count; i++)
        out->hash = hash_frame(out->hash, &out->frames[i]);
    return 0;
}
