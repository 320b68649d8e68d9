// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_dwarf.h - function, file, line and inlined calls of an address from DWARF.
 *
 * Runs in:    symbol worker
 * Threads:    one; libdw 0.188 has process-wide state
 * Allocates:  an index of units at once, of the functions of a unit when first asked
 * Fails:      as if there were no debug information; hostile input may cost the whole process,
 *             which is why it is a process
 *
 * Why an own index: .debug_aranges is missing from what clang writes, and dwarf_getscopes() walks
 * the whole unit anew for each address.
 */
#ifndef RTD_SYMBOL_DWARF_H
#define RTD_SYMBOL_DWARF_H

#include "symbol/symbol_name.h"
#include "symbol/symbol_table.h"

#include <elfutils/libdw.h>
#include <stddef.h>
#include <stdint.h>

struct rtd_symbol_dwarf;

/* An index over borrowed debug information; NULL when there is nothing in it or no memory. */
struct rtd_symbol_dwarf *rtd_symbol_dwarf_new(Dwarf *dwarf);

/* NULL is allowed. The Dwarf stays the caller's and must still be open. */
void rtd_symbol_dwarf_free(struct rtd_symbol_dwarf *index);

/*
 * The frames of an address, innermost first; their number, 0 when nothing is known. Texts live in
 * the scratch or as long as the Dwarf. *entry is the start of the outermost function's code around
 * the address, 0 when unknown. A function without a name is "".
 */
size_t rtd_symbol_dwarf_frames(struct rtd_symbol_dwarf *index, uint64_t address,
                               struct rtd_symbol_scratch *scratch,
                               struct rtd_symbol_frame frames[RTD_SYMBOL_FRAMES], uint64_t *entry);

#endif
