// SPDX-License-Identifier: Apache-2.0
/*
 * track_symbols.c - see track_symbols.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; the loader's lock keeps objects in place while they are read
 * Allocates:  never
 * Fails:      by finding nothing
 *
 * The loader lists objects in the order in which they were loaded, which for those that were there
 * at the start is the order in which it looks a name up. Objects that came later stand behind
 * them. Both kinds of hash tables are read: GNU's, and the older one of other linkers.
 */
#include "track/track_symbols.h"

#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

/* The dynamic section of one object, its tables as run-time addresses. */
struct tables {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *gnu_hash, *hash;
};

struct search {
    const struct rtd_symbols_query *query;
    struct rtd_symbols_object *object;
    uintptr_t *addresses;
    bool first; /* the next object is the program itself */
};

static const void *table_address(const struct dl_phdr_info *info, ElfW(Addr) value)
{
    /* glibc relocates the entries of most objects in place; the vDSO's stay relative. */
    return (const void *)(value < info->dlpi_addr ? info->dlpi_addr + value : value);
}

static struct tables read_tables(const struct dl_phdr_info *info, const ElfW(Dyn) * entry)
{
    struct tables out = {0};
    for (; entry && entry->d_tag != DT_NULL; entry++) {
        const void *const address = table_address(info, entry->d_un.d_ptr);
        if (entry->d_tag == DT_SYMTAB)
            out.symbols = address;
        else if (entry->d_tag == DT_STRTAB)
            out.strings = address;
        else if (entry->d_tag == DT_GNU_HASH)
            out.gnu_hash = address;
        else if (entry->d_tag == DT_HASH)
            out.hash = address;
    }
    return out;
}

/* The run-time address of a symbol if it is a function of that name, else 0. */
static uintptr_t address_of(const struct tables *tables, uint32_t index, const char *name,
                            ElfW(Addr) base)
{
    const ElfW(Sym) *const symbol = &tables->symbols[index];
    if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol->st_info) != STT_FUNC)
        return 0;
    return strcmp(tables->strings + symbol->st_name, name) == 0 ? base + symbol->st_value : 0;
}

static uintptr_t find_gnu(const struct tables *tables, const char *name, ElfW(Addr) base)
{
    const uint32_t bucket_count = tables->gnu_hash[0], first = tables->gnu_hash[1];
    const ElfW(Addr) *const bloom = (const void *)(tables->gnu_hash + 4);
    const uint32_t *const buckets = (const void *)(bloom + tables->gnu_hash[2]);
    const uint32_t *const chains = buckets + bucket_count;
    uint32_t hash = 5381;
    for (const char *at = name; *at; at++)
        hash = hash * 33 + (unsigned char)*at;
    uint32_t index = bucket_count ? buckets[hash % bucket_count] : 0;
    if (index < first)
        return 0;
    for (;; index++) {
        const uint32_t entry = chains[index - first];
        const uintptr_t address =
            ((entry ^ hash) >> 1) == 0 ? address_of(tables, index, name, base) : 0;
        /* The lowest bit of an entry ends its chain. */
        if (address || (entry & 1))
            return address;
    }
}

static uintptr_t find_old(const struct tables *tables, const char *name, ElfW(Addr) base)
{
    const uint32_t bucket_count = tables->hash[0], chain_count = tables->hash[1];
    const uint32_t *const buckets = tables->hash + 2, *const chains = buckets + bucket_count;
    uint32_t hash = 0;
    for (const char *at = name; *at; at++) {
        hash = (hash << 4) + (unsigned char)*at;
        hash = (hash ^ ((hash & 0xf0000000u) >> 24)) & 0x0fffffffu;
    }
    uint32_t index = bucket_count ? buckets[hash % bucket_count] : 0;
    for (uint32_t steps = 0; index != 0 && index < chain_count && steps < chain_count; steps++) {
        const uintptr_t address = address_of(tables, index, name, base);
        if (address)
            return address;
        index = chains[index];
    }
    return 0;
}

static uintptr_t find(const struct tables *tables, const char *name, ElfW(Addr) base)
{
    if (!tables->symbols || !tables->strings)
        return 0;
    if (tables->gnu_hash)
        return find_gnu(tables, name, base);
    return tables->hash ? find_old(tables, name, base) : 0;
}

/* Fills *out and returns the dynamic section, NULL if there is none. */
static const ElfW(Dyn) *
    read_object(const struct dl_phdr_info *info, struct rtd_symbols_object *out)
{
    const ElfW(Dyn) *dynamic = NULL;
    const char *const slash = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    const char *const name = slash ? slash + 1 : info->dlpi_name;
    *out = (struct rtd_symbols_object){.start = UINTPTR_MAX};
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const header = &info->dlpi_phdr[i];
        const uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_DYNAMIC)
            dynamic = (const void *)start;
        if (header->p_type != PT_LOAD)
            continue;
        if (start < out->start)
            out->start = start;
        if (start + header->p_memsz > out->end)
            out->end = start + header->p_memsz;
    }
    if (name)
        strncat(out->name, name, sizeof(out->name) - 1);
    return dynamic;
}

static int look_at(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    struct search *const search = context;
    const struct rtd_symbols_query *const query = search->query;
    struct rtd_symbols_object object;
    const ElfW(Dyn) *const dynamic = read_object(info, &object);
    const struct tables tables = read_tables(info, dynamic);
    const bool is_program = search->first;
    search->first = false;
    if (is_program)
        *search->object = object;
    if (!find(&tables, query->function, info->dlpi_addr))
        return 0;
    if (find(&tables, query->skip_marker, info->dlpi_addr) ||
        (query->skip_address >= object.start && query->skip_address < object.end))
        return 0;
    *search->object = object;
    for (unsigned i = 0; i < query->name_count; i++)
        search->addresses[i] = find(&tables, query->names[i], info->dlpi_addr);
    return 1;
}

bool rtd_symbols_find(const struct rtd_symbols_query *query, struct rtd_symbols_object *object,
                      uintptr_t *addresses)
{
    struct search search = {query, object, addresses, true};
    for (unsigned i = 0; i < query->name_count; i++)
        addresses[i] = 0;
    return dl_iterate_phdr(look_at, &search) == 1;
}
