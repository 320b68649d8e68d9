// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_scope.h - the full name of a function from its debug information.
 *
 * Runs in:    symbol worker
 * Threads:    one
 * Allocates:  the names that had to be put together, at most a few thousand
 * Fails:      with the short name
 */
#ifndef RTD_SYMBOL_SCOPE_H
#define RTD_SYMBOL_SCOPE_H

#include "symbol/symbol_name.h"

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>

struct rtd_symbol_scope_name;

/* What was found out so far for one file; start with all zero. */
struct rtd_symbol_scopes {
    struct rtd_symbol_scope_name *names;
    size_t count, capacity;
};

/*
 * The name of the function `die` of a unit: its linkage name demangled, or its own name, in C++
 * with the names around it. "" when it has none. Lives in the scratch, in the scopes or in the
 * Dwarf.
 */
const char *rtd_symbol_scopes_name(struct rtd_symbol_scopes *scopes, Dwarf_Die *unit,
                                   Dwarf_Die *die, struct rtd_symbol_scratch *scratch);

/* Frees the names; the scopes are empty then. */
void rtd_symbol_scopes_fini(struct rtd_symbol_scopes *scopes);

/* Whether functions are declared inside entries with this tag: namespaces and types. */
bool rtd_symbol_scopes_is_scope(int tag);

#endif
