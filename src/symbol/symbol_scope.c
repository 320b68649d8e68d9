// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_scope.c - the full name of a function from its debug information.
 *
 * Runs in:    symbol worker
 * Threads:    one
 * Allocates:  see the header
 * Fails:      see the header
 */
#include "symbol/symbol_scope.h"

#include "base/base_macros.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

enum { ORIGINS_MAX = 8, NAMES_MAX = 4096 };

/* A function whose name was put together. */
struct rtd_symbol_scope_name {
    const void *die; /* its place in memory: offsets of two files may be equal */
    char *name;
};

bool rtd_symbol_scopes_is_scope(int tag)
{
    return tag == DW_TAG_namespace || tag == DW_TAG_module || tag == DW_TAG_class_type ||
           tag == DW_TAG_structure_type || tag == DW_TAG_union_type;
}

void rtd_symbol_scopes_fini(struct rtd_symbol_scopes *scopes)
{
    for (size_t i = 0; i < scopes->count; i++)
        free(scopes->names[i].name);
    free(scopes->names);
    *scopes = (struct rtd_symbol_scopes){.names = NULL};
}

/* Where the function was declared: the end of the chain of origins and specifications. */
static Dwarf_Die declaration_of(const Dwarf_Die *die)
{
    static const unsigned links[] = {DW_AT_abstract_origin, DW_AT_specification};
    Dwarf_Die at = *die;

    for (unsigned i = 0; i < ORIGINS_MAX; i++) {
        Dwarf_Attribute attribute;
        Dwarf_Die next;
        bool is_end = true;

        for (size_t k = 0; k < RTD_ARRAY_LENGTH(links) && is_end; k++)
            is_end = !dwarf_formref_die(dwarf_attr(&at, links[k], &attribute), &next);
        if (is_end)
            break;
        at = next;
    }
    return at;
}

/* NULL for a block or unit, which are no part of a name. */
static const char *scope_name(Dwarf_Die *scope)
{
    const int tag = dwarf_tag(scope);
    const char *name = dwarf_diename(scope);

    if (tag != DW_TAG_subprogram && !rtd_symbol_scopes_is_scope(tag))
        return NULL;
    if (name)
        return name;
    return tag == DW_TAG_namespace ? "(anonymous namespace)" : "{unnamed}";
}

/* "outer::inner::name" from the places around the declaration. */
static char *join_scopes(Dwarf_Die *scopes, int count, const char *name)
{
    char text[RTD_SYMBOL_NAME_BYTES] = "";
    size_t length = 0;

    /* The first is the function itself, the last the unit. */
    for (int i = count - 1; i > 0; i--) {
        const char *scope = scope_name(&scopes[i]);
        const size_t bytes = scope ? strlen(scope) : 0;

        if (bytes == 0 || length + bytes + 3 > sizeof(text))
            continue;
        memcpy(text + length, scope, bytes);
        memcpy(text + length + bytes, "::", 3);
        length += bytes + 2;
    }
    const size_t bytes = strnlen(name, sizeof(text) - length - 1);
    memcpy(text + length, name, bytes);
    text[length + bytes] = '\0';
    return strdup(text);
}

/* Past the limit, names stay short. */
static bool make_room(struct rtd_symbol_scopes *scopes)
{
    if (scopes->count < scopes->capacity)
        return true;
    if (scopes->count == NAMES_MAX)
        return false;
    const size_t capacity = scopes->capacity ? 2 * scopes->capacity : 16;
    struct rtd_symbol_scope_name *names = realloc(scopes->names, capacity * sizeof(*names));
    if (!names)
        return false;
    scopes->names = names;
    scopes->capacity = capacity;
    return true;
}

/*
 * gcc gives functions that are local to a unit (static, lambdas, templates over those) no linkage
 * name, and "operator()" alone says nothing. Finding the places around a declaration walks the
 * unit, so it is done once for each function.
 */
static const char *qualified_name(struct rtd_symbol_scopes *scopes, const Dwarf_Die *die,
                                  const char *name)
{
    Dwarf_Die declaration = declaration_of(die), *around = NULL;
    const void *const place = declaration.addr;

    for (size_t i = 0; i < scopes->count; i++)
        if (scopes->names[i].die == place)
            return scopes->names[i].name;
    if (!make_room(scopes))
        return name;
    const int count = dwarf_getscopes_die(&declaration, &around);
    char *joined = count > 0 ? join_scopes(around, count, name) : NULL;
    free(around);
    if (!joined)
        return name;
    scopes->names[scopes->count++] = (struct rtd_symbol_scope_name){place, joined};
    return joined;
}

/* C has one scope; for it the walk would find nothing. */
static bool has_scopes(Dwarf_Die *unit)
{
    const int language = dwarf_srclang(unit);

    return language == DW_LANG_C_plus_plus || language == DW_LANG_C_plus_plus_03 ||
           language == DW_LANG_C_plus_plus_11 || language == DW_LANG_C_plus_plus_14 ||
           language == DW_LANG_Rust;
}

const char *rtd_symbol_scopes_name(struct rtd_symbol_scopes *scopes, Dwarf_Die *unit,
                                   Dwarf_Die *die, struct rtd_symbol_scratch *scratch)
{
    static const unsigned mangled[] = {DW_AT_linkage_name, DW_AT_MIPS_linkage_name};
    Dwarf_Attribute attribute;
    const char *name;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(mangled); i++) {
        name = dwarf_formstring(dwarf_attr_integrate(die, mangled[i], &attribute));
        if (name && name[0])
            return rtd_symbol_name_demangle(scratch, name);
    }
    name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attribute));
    if (!name || !name[0])
        return "";
    return has_scopes(unit) ? qualified_name(scopes, die, name) : name;
}
