// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_lookup.h - the best symbol for each of a batch of addresses.
 *
 * Runs in:    symbol worker
 * Threads:    no state
 * Allocates:  never (libelf reads the sections)
 * Fails:      addresses for which there is nothing keep what they have
 *
 * Why by batch: the symbols of a library are many and the addresses few, so one pass over the
 * unsorted symbols with a search among the sorted addresses is cheaper than sorting the symbols,
 * and needs no memory that grows with the file.
 */
#ifndef RTD_SYMBOL_LOOKUP_H
#define RTD_SYMBOL_LOOKUP_H

#include <libelf.h>
#include <stddef.h>
#include <stdint.h>

/* One address and what was found for it; start with everything but the first two zero. */
struct rtd_symbol_match {
    uint64_t offset;
    uint32_t index;     /* the caller's number for the address */
    uint32_t rank;      /* of the symbol found, 0 for none */
    const char *name;   /* as in the file; lives as long as the Elf; NULL: none */
    uint64_t start;     /* of the symbol */
    uint64_t end;       /* of the symbol; 0 when it has no size */
    uint64_t last_seen; /* start of the nearest symbol with a size at or below the address */
};

/*
 * Improves the matches, sorted by offset, with the symbols of all sections of this type
 * (SHT_DYNSYM or SHT_SYMTAB). A symbol with a size holds only the addresses inside.
 */
void rtd_symbol_lookup(Elf *elf, uint32_t section_type, struct rtd_symbol_match *matches,
                       size_t count);

/* How many underscores a name begins with: of two names for one place, fewer is the public one. */
unsigned rtd_symbol_underscores(const char *name);

#endif
