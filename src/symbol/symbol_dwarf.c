// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_dwarf.c - function, file, line and inlined calls of an address from DWARF.
 *
 * Runs in:    symbol worker
 * Threads:    one
 * Allocates:  see the header
 * Fails:      see the header
 *
 * Two levels, both sorted by address and searched by halving:
 *
 *     ranges of units  ->  unit  ->  ranges of its functions  ->  function  ->  its tree, walked
 *
 * The second level is built when the unit is first asked, from the places where functions usually
 * are (unit, namespaces, types). When the address is not in it, once more from everywhere
 * (functions inside functions).
 */
#include "symbol/symbol_dwarf.h"

#include "symbol/symbol_scope.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 64,
    RANGES_MAX = 4 << 20,
    /* Entries looked at for one file over its whole life. */
    STEPS_MAX = 100 << 20,
    /* How many ranges that begin below an address are tried; they overlap only in odd files. */
    OVERLAP_MAX = 64,
    LINE_ZERO_MAX = 16,
};

struct range {
    uint64_t low, high;
    Dwarf_Off die; /* of the function; of a unit's range: its number */
};

struct range_list {
    struct range *ranges;
    size_t count, capacity;
};

enum unit_state { UNIT_NEW, UNIT_USUAL_PLACES, UNIT_EVERYWHERE };

struct unit {
    Dwarf_Die die;
    struct range_list functions;
    enum unit_state state;
};

struct rtd_symbol_dwarf {
    Dwarf *dwarf;
    struct rtd_symbol_scopes scopes;
    struct unit *units;
    size_t unit_count, unit_capacity;
    struct range_list unit_ranges;
    uint32_t steps;
};

static int add_range(struct range_list *list, uint64_t low, uint64_t high, Dwarf_Off die)
{
    /* What the linker threw away stays in the debug information at 0 or at the very end. */
    if (low == 0 || high <= low || high >= UINT64_MAX - 1)
        return 0;
    if (list->count >= RANGES_MAX)
        return -1;
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        struct range *ranges = realloc(list->ranges, capacity * sizeof(*ranges));

        if (!ranges)
            return -1;
        list->ranges = ranges;
        list->capacity = capacity;
    }
    list->ranges[list->count++] = (struct range){low, high, die};
    return 0;
}

/* Every range of a unit or function; code that was split has several. */
static int add_ranges_of(struct range_list *list, Dwarf_Die *die, Dwarf_Off value)
{
    Dwarf_Addr base, low, high;
    ptrdiff_t at = 0;
    size_t count = 0;

    while (count++ < RANGES_MAX && (at = dwarf_ranges(die, at, &base, &low, &high)) > 0)
        if (add_range(list, low, high, value) < 0)
            return -1;
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    if (x->low != y->low)
        return x->low < y->low ? -1 : 1;
    /* The narrower later, so that the search from above meets it first. */
    return x->high > y->high ? -1 : x->high < y->high;
}

static void sort_ranges(struct range_list *list)
{
    if (list->count > 1)
        qsort(list->ranges, list->count, sizeof(*list->ranges), compare_ranges);
}

/* The latest range that begins at or below the address and holds it. */
static const struct range *find_range(const struct range_list *list, uint64_t address)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (list->ranges[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t tried = 0; low > 0 && tried < OVERLAP_MAX; tried++)
        if (list->ranges[--low].high > address)
            return &list->ranges[low];
    return NULL;
}

static int add_unit(struct rtd_symbol_dwarf *index, const Dwarf_Die *die)
{
    if (index->unit_count == index->unit_capacity) {
        const size_t capacity = index->unit_capacity ? 2 * index->unit_capacity : 16;
        struct unit *units = realloc(index->units, capacity * sizeof(*units));

        if (!units)
            return -1;
        index->units = units;
        index->unit_capacity = capacity;
    }
    index->units[index->unit_count] = (struct unit){.die = *die};
    const int err =
        add_ranges_of(&index->unit_ranges, &index->units[index->unit_count].die, index->unit_count);
    index->unit_count++;
    return err;
}

struct rtd_symbol_dwarf *rtd_symbol_dwarf_new(Dwarf *dwarf)
{
    struct rtd_symbol_dwarf *index = calloc(1, sizeof(*index));
    Dwarf_CU *cu = NULL;
    uint8_t type = 0;
    Dwarf_Die die;

    if (!index)
        return NULL;
    index->dwarf = dwarf;
    while (index->steps++ < STEPS_MAX &&
           dwarf_get_units(dwarf, cu, &cu, NULL, &type, &die, NULL) == 0) {
        if (type != DW_UT_compile && type != DW_UT_skeleton)
            continue;
        if (add_unit(index, &die) < 0)
            break;
    }
    sort_ranges(&index->unit_ranges);
    return index;
}

void rtd_symbol_dwarf_free(struct rtd_symbol_dwarf *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < index->unit_count; i++)
        free(index->units[i].functions.ranges);
    rtd_symbol_scopes_fini(&index->scopes);
    free(index->units);
    free(index->unit_ranges.ranges);
    free(index);
}

/*
 * Depth and steps are bounded because a damaged file can make the tree as deep or as long as it
 * likes; what was found until then is used.
 */
static void collect(struct rtd_symbol_dwarf *index, struct unit *unit, Dwarf_Die *parent,
                    unsigned depth)
{
    const bool everywhere = unit->state == UNIT_EVERYWHERE;
    Dwarf_Die child;

    if (depth == DEPTH_MAX || dwarf_child(parent, &child) != 0)
        return;
    do {
        const int tag = dwarf_tag(&child);

        if (index->steps++ >= STEPS_MAX)
            return;
        if (tag == DW_TAG_subprogram &&
            add_ranges_of(&unit->functions, &child, dwarf_dieoffset(&child)) < 0)
            return;
        if (everywhere || rtd_symbol_scopes_is_scope(tag))
            collect(index, unit, &child, depth + 1);
    } while (dwarf_siblingof(&child, &child) == 0);
}

/* Builds the second level when it is first needed, and the thorough one when that was not enough.
 */
static const struct range *find_function(struct rtd_symbol_dwarf *index, struct unit *unit,
                                         uint64_t address)
{
    for (;;) {
        const struct range *found = find_range(&unit->functions, address);

        if (found || unit->state == UNIT_EVERYWHERE)
            return found;
        unit->state = unit->state == UNIT_NEW ? UNIT_USUAL_PLACES : UNIT_EVERYWHERE;
        unit->functions.count = 0;
        collect(index, unit, &unit->die, 0);
        sort_ranges(&unit->functions);
    }
}

/* The child of `parent` whose code the address is in. */
static bool child_around(struct rtd_symbol_dwarf *index, Dwarf_Die *parent, uint64_t address,
                         Dwarf_Die *out)
{
    if (dwarf_child(parent, out) != 0)
        return false;
    do {
        const int tag = dwarf_tag(out);

        if (index->steps++ >= STEPS_MAX)
            return false;
        if ((tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
             tag == DW_TAG_subprogram || tag == DW_TAG_try_block || tag == DW_TAG_catch_block) &&
            dwarf_haspc(out, address) > 0)
            return true;
    } while (dwarf_siblingof(out, out) == 0);
    return false;
}

/* The function and what is inlined in it around the address, outermost first. */
static size_t walk_function(struct rtd_symbol_dwarf *index, Dwarf_Die *function, uint64_t address,
                            Dwarf_Die chain[RTD_SYMBOL_FRAMES])
{
    Dwarf_Die at = *function, child;
    size_t count = 1;

    chain[0] = at;
    for (unsigned depth = 0; depth < 4 * DEPTH_MAX; depth++) {
        if (!child_around(index, &at, address, &child))
            break;
        at = child;
        if (dwarf_tag(&at) == DW_TAG_subprogram) {
            chain[0] = at;
            count = 1;
        } else if (dwarf_tag(&at) == DW_TAG_inlined_subroutine) {
            if (count == RTD_SYMBOL_FRAMES)
                break;
            chain[count++] = at;
        }
    }
    return count;
}

static const char *compilation_directory(Dwarf_Die *unit)
{
    Dwarf_Attribute attribute;

    return dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attribute));
}

/* Number of the line record for the address, negative when there is none. */
static ptrdiff_t find_line(Dwarf_Lines *lines, size_t count, uint64_t address)
{
    size_t low = 0, high = count;
    bool is_end = true;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        Dwarf_Addr at = 0;

        (void)dwarf_lineaddr(dwarf_onesrcline(lines, middle), &at);
        if (at <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || dwarf_lineendsequence(dwarf_onesrcline(lines, low - 1), &is_end) != 0 || is_end)
        return -1;
    return (ptrdiff_t)low - 1;
}

/*
 * Line 0 marks code that belongs to no line, often a call that two branches share. In a function
 * without inlined parts the nearest line before it is a better answer than none.
 */
static int line_or_before(Dwarf_Lines *lines, ptrdiff_t at, bool may_go_back)
{
    int line = 0;

    for (ptrdiff_t i = at; i >= 0 && i > at - LINE_ZERO_MAX; i--) {
        Dwarf_Line *record = dwarf_onesrcline(lines, (size_t)i);
        bool is_end = true;

        if (dwarf_lineendsequence(record, &is_end) != 0 || is_end ||
            dwarf_lineno(record, &line) != 0)
            return 0;
        if (line != 0 || !may_go_back)
            break;
    }
    return line;
}

/* The line table knows the place of the address itself, in whatever is inlined there. */
static void set_place(Dwarf_Die *unit, uint64_t address, bool may_go_back,
                      struct rtd_symbol_scratch *scratch, struct rtd_symbol_frame *frame)
{
    Dwarf_Lines *lines = NULL;
    size_t count = 0;

    if (dwarf_getsrclines(unit, &lines, &count) != 0)
        return;
    const ptrdiff_t at = find_line(lines, count, address);
    if (at < 0)
        return;
    const char *file = dwarf_linesrc(dwarf_onesrcline(lines, (size_t)at), NULL, NULL);
    const int line = line_or_before(lines, at, may_go_back);
    if (file)
        frame->file = rtd_symbol_path_tidy(scratch, compilation_directory(unit), file);
    frame->line = line > 0 ? (uint32_t)line : 0;
}

/* Where an inlined function was called: a place in the function around it. */
static void set_call_place(Dwarf_Die *unit, Dwarf_Die *inlined, struct rtd_symbol_scratch *scratch,
                           struct rtd_symbol_frame *frame)
{
    Dwarf_Attribute attribute;
    Dwarf_Files *files = NULL;
    Dwarf_Word value = 0;
    size_t count = 0;

    if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &value) == 0 &&
        value <= UINT32_MAX)
        frame->line = (uint32_t)value;
    if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &value) != 0 ||
        dwarf_getsrcfiles(unit, &files, &count) != 0 || value >= count)
        return;
    const char *file = dwarf_filesrc(files, (size_t)value, NULL, NULL);
    if (file)
        frame->file = rtd_symbol_path_tidy(scratch, compilation_directory(unit), file);
}

size_t rtd_symbol_dwarf_frames(struct rtd_symbol_dwarf *index, uint64_t address,
                               struct rtd_symbol_scratch *scratch,
                               struct rtd_symbol_frame frames[RTD_SYMBOL_FRAMES], uint64_t *entry)
{
    const struct range *unit_range = find_range(&index->unit_ranges, address);
    Dwarf_Die chain[RTD_SYMBOL_FRAMES], function;
    size_t count = 0;

    *entry = 0;
    if (!unit_range)
        return 0;
    struct unit *unit = &index->units[unit_range->die];
    const struct range *range = find_function(index, unit, address);
    if (range && dwarf_offdie(index->dwarf, range->die, &function)) {
        *entry = range->low;
        count = walk_function(index, &function, address, chain);
    }
    for (size_t i = 0; i < (count ? count : 1); i++) {
        Dwarf_Die *die = count ? &chain[count - 1 - i] : NULL;

        frames[i] = (struct rtd_symbol_frame){
            .function = die ? rtd_symbol_scopes_name(&index->scopes, &unit->die, die, scratch) : "",
            .file = "",
            .inlined = i + 1 < count};
        if (i == 0)
            set_place(&unit->die, address, count == 1, scratch, &frames[i]);
        else
            set_call_place(&unit->die, &chain[count - i], scratch, &frames[i]);
    }
    /* Neither a function nor a line: the unit's range alone says nothing. */
    if (count == 0)
        return frames[0].line > 0 ? 1 : 0;
    return count;
}
