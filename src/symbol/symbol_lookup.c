// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_lookup.c - the best symbol for each of a batch of addresses.
 *
 * Runs in:    symbol worker
 * Threads:    no state
 * Allocates:  never
 * Fails:      see the header
 *
 * Rank, best first: a symbol with a size that holds the address before one without; a function
 * before anything else in code; fewer leading underscores; global before weak before local. Of
 * equal rank, the innermost (the latest start), then the first seen.
 */
#include "symbol/symbol_lookup.h"

#include <gelf.h>
#include <string.h>

enum {
    SYMBOLS_MAX = 16 << 20,
    /* How far a symbol without a size may reach; hand-written assembly is short. */
    UNSIZED_BYTES_MAX = 4096,
};

struct batch {
    Elf *elf;
    struct rtd_symbol_match *matches;
    size_t count;
};

unsigned rtd_symbol_underscores(const char *name)
{
    return (unsigned)strspn(name, "_");
}

static uint32_t rank_of(const GElf_Sym *symbol, const char *name)
{
    const unsigned type = GELF_ST_TYPE(symbol->st_info);
    const unsigned binding = GELF_ST_BIND(symbol->st_info);
    const unsigned underscores = rtd_symbol_underscores(name);
    uint32_t rank = 1;

    if (symbol->st_size > 0)
        rank += 1000;
    if (type == STT_FUNC || type == STT_GNU_IFUNC)
        rank += 500;
    rank += 10 * (20 - (underscores < 20 ? underscores : 20));
    if (binding == STB_GLOBAL)
        rank += 2;
    else if (binding == STB_WEAK)
        rank += 1;
    return rank;
}

/* Position of the first match whose address is not below. */
static size_t first_at_or_above(const struct rtd_symbol_match *matches, size_t count,
                                uint64_t address)
{
    size_t low = 0, high = count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (matches[middle].offset < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void improve(struct rtd_symbol_match *match, const GElf_Sym *symbol, const char *name)
{
    const uint32_t rank = rank_of(symbol, name);

    if (symbol->st_size > 0 && symbol->st_value > match->last_seen)
        match->last_seen = symbol->st_value;
    if (rank < match->rank || (rank == match->rank && symbol->st_value <= match->start))
        return;
    match->rank = rank;
    match->name = name;
    match->start = symbol->st_value;
    match->end = symbol->st_size ? symbol->st_value + symbol->st_size : 0;
}

/* Function or label in an executable section; the section is remembered, symbols come in runs. */
static int is_code(Elf *elf, const GElf_Sym *symbol, size_t *section, GElf_Shdr *header)
{
    const unsigned type = GELF_ST_TYPE(symbol->st_info);

    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= SHN_LORESERVE)
        return 0;
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
        return 0;
    if (*section != symbol->st_shndx) {
        Elf_Scn *scn = elf_getscn(elf, symbol->st_shndx);

        *section = symbol->st_shndx;
        if (!scn || !gelf_getshdr(scn, header))
            memset(header, 0, sizeof(*header));
    }
    return (header->sh_flags & SHF_EXECINSTR) != 0;
}

static void take_symbol(const struct batch *batch, size_t strings, const GElf_Sym *symbol,
                        const GElf_Shdr *header)
{
    uint64_t end = symbol->st_value + symbol->st_size;

    if (symbol->st_size == 0) {
        end = symbol->st_value + UNSIZED_BYTES_MAX;
        if (end > header->sh_addr + header->sh_size)
            end = header->sh_addr + header->sh_size;
    }
    size_t i = first_at_or_above(batch->matches, batch->count, symbol->st_value);
    if (i == batch->count || batch->matches[i].offset >= end)
        return;
    const char *name = elf_strptr(batch->elf, strings, symbol->st_name);
    if (!name || !name[0] || name[0] == '$' || strncmp(name, ".L", 2) == 0)
        return;
    for (; i < batch->count && batch->matches[i].offset < end; i++)
        improve(&batch->matches[i], symbol, name);
}

static void take_section(const struct batch *batch, Elf_Scn *scn, const GElf_Shdr *table)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    size_t section = 0, symbols = table->sh_entsize ? table->sh_size / table->sh_entsize : 0;
    GElf_Shdr header = {0};

    if (symbols > SYMBOLS_MAX)
        symbols = SYMBOLS_MAX;
    for (size_t i = 1; data && i < symbols; i++) {
        GElf_Sym symbol;

        if (!gelf_getsym(data, (int)i, &symbol))
            break;
        if (is_code(batch->elf, &symbol, &section, &header))
            take_symbol(batch, table->sh_link, &symbol, &header);
    }
}

void rtd_symbol_lookup(Elf *elf, uint32_t section_type, struct rtd_symbol_match *matches,
                       size_t count)
{
    const struct batch batch = {elf, matches, count};
    Elf_Scn *scn = NULL;

    while ((scn = elf_nextscn(elf, scn)) != NULL) {
        GElf_Shdr header;

        if (gelf_getshdr(scn, &header) && header.sh_type == section_type)
            take_section(&batch, scn, &header);
    }
    /* A label counts for what follows it only up to the next function. */
    for (size_t i = 0; i < count; i++)
        if (matches[i].name && matches[i].end == 0 && matches[i].last_seen > matches[i].start)
            matches[i].name = NULL;
}
